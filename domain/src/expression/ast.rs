//! The tree of an expression as written: no names resolved, no types, every part with its place.

use std::sync::Arc;

use super::lexer::At;
use crate::value::Value;

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) at: At,
    /// Longest way down to a leaf; bounded, so that walking the tree never exhausts the stack.
    pub(super) depth: u16,
}

/// A name with its place.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) text: Arc<str>,
    pub(super) at: At,
}

/// What a part is.
#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Literal(Value),
    Name(Arc<str>),
    Select {
        base: Box<Expr>,
        field: Word,
    },
    Index {
        base: Box<Expr>,
        index: Box<Expr>,
    },
    Call {
        target: Option<Box<Expr>>,
        name: Word,
        args: Vec<Expr>,
    },
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    /// `a && b && c`, flat, so that a long chain is not deep.
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Cond(Box<[Expr; 3]>),
    Binary(Op, Box<(Expr, Expr)>),
}

/// An operator with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    /// `/` where one side is declared a double: never the division of ints, even if the value happens to be whole.
    Quotient,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
}

impl Op {
    /// The operator as written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::Div | Op::Quotient => "/",
            Op::Rem => "%",
            Op::Eq => "==",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::In => "in",
        }
    }

    /// How tightly it binds; `&&` is 2, `||` is 1.
    pub(super) fn binding(self) -> u8 {
        match self {
            Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::In => 3,
            Op::Add | Op::Sub => 4,
            Op::Mul | Op::Div | Op::Quotient | Op::Rem => 5,
        }
    }
}

impl Expr {
    /// The parts directly below.
    pub(super) fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Name(_) => Vec::new(),
            ExprKind::Select { base, .. } => vec![base],
            ExprKind::Index { base, index } => vec![base, index],
            ExprKind::Call { target, args, .. } => target.iter().map(AsRef::as_ref).chain(args).collect(),
            ExprKind::List(items) | ExprKind::And(items) | ExprKind::Or(items) => items.iter().collect(),
            ExprKind::Map(entries) => entries.iter().flat_map(|(k, v)| [k, v]).collect(),
            ExprKind::Not(e) | ExprKind::Neg(e) => vec![e],
            ExprKind::Cond(parts) => parts.iter().collect(),
            ExprKind::Binary(_, pair) => vec![&pair.0, &pair.1],
        }
    }

    /// The name, where the part is one.
    pub(super) fn as_name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            ExprKind::Name(name) => Some(name),
            _ => None,
        }
    }
}
