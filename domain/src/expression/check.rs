//! From the tree as written to the tree that is evaluated: names become places, certain mismatches become faults.
//! Every fault of an expression is told; after one, checking goes on with an unknown type.

mod calls;
mod fields;
mod loops;

use std::sync::Arc;

use super::ast::{Expr, ExprKind, Op};
use super::lexer::At;
use super::machine::{Machine, slice};
use super::program::Node;
use super::types::{BOOL, NUM, SPAN, binary_type, remedy};
use super::{Env, EvalError, Fault, ObjectType, Reads, Root, Scope, Type, suggest};
use crate::value::{Key, Value};

/// A part with the type of its value.
pub(super) struct Typed {
    pub(super) node: Node,
    pub(super) ty: Type,
}

impl Typed {
    fn new(node: Node, ty: Type) -> Typed {
        Typed { node, ty }
    }

    /// What stands for a part with a fault: of no known type, and no constant, so that nothing is concluded from it.
    fn unknown() -> Typed {
        Typed::faulty(Type::Dyn)
    }

    /// As `unknown`, where the type is known all the same.
    fn faulty(ty: Type) -> Typed {
        Typed { node: Node::Coalesce(Box::new([])), ty }
    }
}

/// The check of one expression.
pub(super) struct Checker<'e> {
    pub(super) env: &'e Env,
    pub(super) source: &'e str,
    pub(super) faults: Vec<Fault>,
    pub(super) reads: Reads,
    /// Collections gone through for want of an index, with the field that asks for one.
    pub(super) scans: Vec<(Arc<str>, Arc<str>)>,
    locals: Vec<(Arc<str>, Type)>,
}

/// The most bytes a folded constant may take.
const MAX_FOLDED: usize = 4096;

impl<'e> Checker<'e> {
    pub(super) fn new(env: &'e Env, source: &'e str) -> Checker<'e> {
        Checker { env, source, faults: Vec::new(), reads: Reads::default(), scans: Vec::new(), locals: Vec::new() }
    }

    fn fault(&mut self, code: &'static str, message: impl std::fmt::Display, help: Option<String>, at: At) {
        let at = (at.0 as usize, at.1 as usize);
        self.faults.push(Fault { code, message: message.to_string(), help, at, warning: false });
    }

    fn warn(&mut self, code: &'static str, message: impl std::fmt::Display, help: Option<String>, at: At) {
        let at = (at.0 as usize, at.1 as usize);
        self.faults.push(Fault { code, message: message.to_string(), help, at, warning: true });
    }

    fn text(&self, expr: &Expr) -> String {
        super::machine::cut(&slice(self.source, expr.at), 40)
    }

    /// Checks a part.
    pub(super) fn expr(&mut self, expr: &Expr) -> Typed {
        match &expr.kind {
            ExprKind::Literal(value) => Typed::new(Node::Const(value.clone()), literal_type(value)),
            ExprKind::Name(name) => self.name(name, expr.at),
            ExprKind::Select { base, field } => self.select(base, field, expr.at),
            ExprKind::Index { base, index } => self.index(base, index, expr.at),
            ExprKind::Call { target, name, args } => self.call(target.as_deref(), name, args, expr.at),
            ExprKind::List(items) => self.list(items),
            ExprKind::Map(entries) => self.map(entries, expr.at),
            ExprKind::Not(inner) => self.not(inner, expr.at),
            ExprKind::Neg(inner) => self.negate(inner, expr.at),
            ExprKind::And(parts) => self.junction(parts, "&&", expr.at),
            ExprKind::Or(parts) => self.junction(parts, "||", expr.at),
            ExprKind::Cond(parts) => self.cond(parts, expr.at),
            ExprKind::Binary(op, pair) => self.binary(*op, pair, expr.at),
        }
    }

    fn name(&mut self, name: &Arc<str>, at: At) -> Typed {
        if let Some((slot, ty)) = self.local(name) {
            return Typed::new(Node::Local(slot), ty);
        }
        if let Some((root, ty)) = self.env.find(name) {
            let ty = ty.clone();
            self.reads.roots.insert(root);
            return Typed::new(Node::Root(root), ty);
        }
        let help = self.help_for_name(name);
        self.fault("cel_unknown_name", format!("unknown name `{name}`"), help, at);
        Typed::unknown()
    }

    /// The slot and type of a comprehension variable.
    fn local(&self, name: &str) -> Option<(u16, Type)> {
        let slot = self.locals.iter().rposition(|l| &*l.0 == name)?;
        Some((u16::try_from(slot).ok()?, self.locals[slot].1.clone()))
    }

    fn help_for_name(&self, name: &str) -> Option<String> {
        for (root, _, ty) in self.env.names() {
            if let Type::Object(object) = ty
                && object.fields.iter().any(|f| &*f.0 == name)
            {
                return Some(format!("did you mean `{root}.{name}`?"));
            }
        }
        let names: Vec<&str> = self.locals.iter().map(|l| &*l.0).chain(self.env.names().map(|n| &**n.0)).collect();
        if let Some(near) = suggest(name, names.iter().copied()) {
            return Some(format!("did you mean `{near}`?"));
        }
        match name {
            "True" | "False" | "None" | "nil" | "undefined" => Some("the words are `true`, `false` and `null`".to_owned()),
            _ if names.is_empty() => Some(format!("no names can be used here; text is written in quotes: '{name}'")),
            _ if names.len() <= 16 => Some(format!("names here: {}; text is written in quotes: '{name}'", names.join(", "))),
            _ => Some(format!("text is written in quotes: '{name}'")),
        }
    }

    fn list(&mut self, items: &[Expr]) -> Typed {
        let (nodes, types): (Vec<Node>, Vec<Type>) = items.iter().map(|e| self.expr(e)).map(|t| (t.node, t.ty)).unzip();
        let item = types.into_iter().reduce(Type::or).unwrap_or(Type::Dyn);
        let constant = nodes.iter().map(|n| n.constant().cloned()).collect::<Option<Vec<_>>>();
        let node = constant.map_or_else(|| Node::List(nodes.into()), |values| Node::Const(Value::list(values)));
        Typed::new(node, item.listed())
    }

    fn map(&mut self, entries: &[(Expr, Expr)], at: At) -> Typed {
        let mut object = ObjectType::default();
        let (mut nodes, mut value_type, mut named, mut twice) = (Vec::new(), None::<Type>, true, false);
        for (key, value) in entries {
            let (typed, item) = (self.key(key), self.expr(value));
            if let Some(Value::Text(name)) = typed.node.constant() {
                if object.fields.iter().any(|f| f.0 == *name) {
                    self.fault("cel_type", format!("the key '{name}' stands twice"), None, key.at);
                    twice = true;
                }
                object.fields.push((name.clone(), item.ty.clone()));
            } else {
                named = false;
            }
            value_type = Some(match value_type.take() {
                Some(former) => former.or(item.ty),
                None => item.ty,
            });
            nodes.push((typed.node, item.node));
        }
        let ty = if named && !entries.is_empty() {
            Type::Object(Arc::new(object))
        } else {
            Type::Map(Box::new(value_type.unwrap_or(Type::Dyn)))
        };
        let constant = !twice && nodes.iter().all(|(k, v)| k.constant().is_some() && v.constant().is_some());
        let node = Node::Map(nodes.into(), at);
        Typed::new(if constant { self.fold(node, at) } else { node }, ty)
    }

    /// The key of a map's entry; a bare word that is no name was meant as text.
    fn key(&mut self, key: &Expr) -> Typed {
        if let Some(name) = key.as_name()
            && self.local(name).is_none()
            && self.env.find(name).is_none()
        {
            let help = Some(format!("a field's name in a map is written in quotes: '{name}'"));
            self.fault("cel_unknown_name", format!("unknown name `{name}`"), help, key.at);
            return Typed::unknown();
        }
        let typed = self.expr(key);
        let allowed = BOOL | NUM | super::types::TEXT | super::types::LIST;
        if typed.ty.kinds() & allowed == 0 {
            self.fault("cel_type", format!("{} cannot be a key", typed.ty.name()), None, key.at);
        }
        typed
    }

    fn not(&mut self, inner: &Expr, at: At) -> Typed {
        let typed = self.expr(inner);
        if typed.ty.kinds() & BOOL == 0 {
            self.fault("cel_type", format!("`!` takes a bool, not {}", typed.ty.name()), None, inner.at);
            return Typed::faulty(Type::Bool);
        }
        let constant = typed.node.constant().is_some();
        let node = Node::Not(Box::new(typed.node), at);
        Typed::new(if constant { self.fold(node, at) } else { node }, Type::Bool)
    }

    fn negate(&mut self, inner: &Expr, at: At) -> Typed {
        let typed = self.expr(inner);
        if typed.ty.kinds() & (NUM | SPAN) == 0 {
            self.fault("cel_type", format!("`-` takes a number, not {}", typed.ty.name()), None, inner.at);
            return Typed::unknown();
        }
        let constant = typed.node.constant().is_some();
        let node = Node::Neg(Box::new(typed.node), at);
        Typed::new(if constant { self.fold(node, at) } else { node }, typed.ty)
    }

    /// Checks a part that must be true or false.
    fn condition(&mut self, expr: &Expr, of: &str) -> Node {
        let typed = self.expr(expr);
        if typed.ty.kinds() & BOOL == 0 {
            let text = self.text(expr);
            let help = if typed.ty.kinds() & NUM != 0 { Some(format!("compare it: `{text} > 0`")) } else { None };
            self.fault("cel_type", format!("{of} is {}, not bool", typed.ty.name()), help, expr.at);
        }
        typed.node
    }

    fn junction(&mut self, parts: &[Expr], symbol: &str, at: At) -> Typed {
        let of = format!("a side of `{symbol}`");
        let nodes: Box<[Node]> = parts.iter().map(|e| self.condition(e, &of)).collect();
        let node = if symbol == "&&" { Node::And(nodes, at) } else { Node::Or(nodes, at) };
        Typed::new(node, Type::Bool)
    }

    fn cond(&mut self, parts: &[Expr; 3], at: At) -> Typed {
        let cond = self.condition(&parts[0], "the condition of `? :`");
        let (then, other) = (self.expr(&parts[1]), self.expr(&parts[2]));
        let ty = then.ty.or(other.ty);
        let node = match cond.constant() {
            Some(Value::Bool(true)) => then.node,
            Some(Value::Bool(false)) => other.node,
            _ => Node::Cond(Box::new([cond, then.node, other.node]), at),
        };
        Typed::new(node, ty)
    }

    fn binary(&mut self, op: Op, pair: &(Expr, Expr), at: At) -> Typed {
        let (a, b) = (self.expr(&pair.0), self.expr(&pair.1));
        if op == Op::In {
            self.check_key(&b.ty, &a, &pair.0, &pair.1);
        }
        let ty = match binary_type(op, &a.ty, &b.ty) {
            Ok(ty) => ty,
            Err(EvalError { message }) => {
                let help = remedy(op, &a.ty, &b.ty);
                self.fault("cel_type", message, help, at);
                Type::Dyn
            }
        };
        let real = |ty: &Type| ty.kinds() & NUM == super::types::DOUBLE;
        let op = if op == Op::Div && (real(&a.ty) || real(&b.ty)) { Op::Quotient } else { op };
        let constant = a.node.constant().is_some() && b.node.constant().is_some();
        let node = Node::Binary(op, Box::new((a.node, b.node)), at);
        Typed::new(if constant && ty != Type::Dyn { self.fold(node, at) } else { node }, ty)
    }

    /// The value of a part whose parts are known. One that always fails is doubtful only: it may never be reached.
    fn fold(&mut self, node: Node, at: At) -> Node {
        let mut machine = Machine::new(&Nowhere, self.source, 10_000);
        match node.eval(&mut machine) {
            Ok(value) if value.weight() <= MAX_FOLDED => Node::Const(value),
            Ok(_) => node,
            Err(_) if machine.exhausted => node,
            Err(error) => {
                self.warn("cel_type", format!("this always fails: {error}"), None, at);
                node
            }
        }
    }
}

/// The scope of constants: nothing is there.
struct Nowhere;

impl Scope for Nowhere {
    fn root(&self, _: Root) -> Result<Value, EvalError> {
        Err(EvalError::new("a constant reads no names"))
    }
    fn field(&self, _: Root, _: u16) -> Result<Value, EvalError> {
        Err(EvalError::new("a constant reads no names"))
    }
    fn uuid(&self) -> Result<Arc<str>, EvalError> {
        Err(EvalError::new("a constant has no id"))
    }
}

fn literal_type(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Double(_) => Type::Double,
        Value::Text(_) => Type::Text,
        _ => Type::Dyn,
    }
}

/// The key of a field's name.
fn field_key(name: &Arc<str>) -> Key {
    Key::Text(name.clone())
}
