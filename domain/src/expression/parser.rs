//! Tokens to a tree, by precedence climbing. Nesting, depth and length are bounded, so no text exhausts the stack.
//! (Grammar: <https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax>.)

use super::Fault;
use super::ast::{Expr, ExprKind, Op, Word};
use super::lexer::{At, Kind, Token, syntax, tokens};
use crate::value::Value;

/// How deep brackets, prefixes and alternatives may nest.
pub(super) const MAX_NESTING: u32 = 64;
/// How deep a tree may be, chains of operators and selections included.
pub(super) const MAX_DEPTH: u16 = 160;

/// Words CEL keeps for itself.
const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The tree of a text, or the first fault of its syntax.
pub(super) fn parse(source: &str) -> Result<Expr, Fault> {
    let mut parser = Parser { tokens: tokens(source)?, pos: 0, nesting: 0 };
    if parser.peek().kind == Kind::End {
        return Err(syntax("expected an expression, found nothing", None, (0, 1)));
    }
    let expr = parser.expression().map_err(|fault| *fault)?;
    match &parser.peek().kind {
        Kind::End => Ok(*expr),
        _ => Err(*parser.unexpected("an operator or the end of the expression")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    nesting: u32,
}

/// Boxed on both sides, so that the frames of a deep text stay small.
type Parsed = Result<Box<Expr>, Box<Fault>>;

/// A syntax fault, boxed.
fn fault(what: impl std::fmt::Display, help: Option<&str>, at: At) -> Box<Fault> {
    Box::new(syntax(what, help, at))
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.pos.min(self.tokens.len() - 1)]
    }

    fn peek_second(&self) -> &Kind {
        &self.tokens[(self.pos + 1).min(self.tokens.len() - 1)].kind
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.pos += 1;
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, Kind::Sym(s) if s == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.pos += usize::from(found);
        found
    }

    fn end_of_last(&self) -> u32 {
        self.tokens[self.pos.saturating_sub(1).min(self.tokens.len() - 1)].at.1
    }

    fn unexpected(&self, expected: &str) -> Box<Fault> {
        let token = self.peek();
        let help = match &token.kind {
            Kind::Name(n) if &**n == "and" => Some("and is written `&&`"),
            Kind::Name(n) if &**n == "or" => Some("or is written `||`"),
            Kind::Name(n) if &**n == "not" => Some("not is written `!`"),
            Kind::Name(n) if matches!(&**n, "if" | "else") => Some("a choice is written `condition ? this : that`"),
            Kind::Name(n) if &**n == "is" => Some("equality is written `==`"),
            Kind::Sym("*") if self.pos > 0 && matches!(self.tokens[self.pos - 1].kind, Kind::Sym("*")) => {
                Some("a power is written `pow(x, y)`")
            }
            _ => None,
        };
        let at = if token.kind == Kind::End { (token.at.0.saturating_sub(1), token.at.0.max(1)) } else { token.at };
        fault(format!("expected {expected}, found {}", token.show()), help, at)
    }

    fn node(&self, kind: ExprKind, at: At) -> Parsed {
        let mut expr = Expr { kind, at, depth: 0 };
        expr.depth = 1 + expr.children().iter().map(|e| e.depth).max().unwrap_or(0);
        if expr.depth > MAX_DEPTH {
            return Err(fault(format!("more than {MAX_DEPTH} operators deep"), Some("split it into several `let`s"), at));
        }
        Ok(Box::new(expr))
    }

    fn expression(&mut self) -> Parsed {
        self.deeper()?;
        let cond = self.binary(1)?;
        let parsed = if self.eat("?") { self.alternatives(cond) } else { Ok(cond) };
        self.nesting -= 1;
        parsed
    }

    fn deeper(&mut self) -> Result<(), Box<Fault>> {
        if self.nesting >= MAX_NESTING {
            let help = Some("split it into several `let`s");
            return Err(fault(format!("nested more than {MAX_NESTING} deep"), help, self.peek().at));
        }
        self.nesting += 1;
        Ok(())
    }

    #[expect(clippy::boxed_local, reason = "a box keeps the callers' frames small")]
    fn alternatives(&mut self, cond: Box<Expr>) -> Parsed {
        let then = self.expression()?;
        if !self.eat(":") {
            return Err(self.unexpected("`:` and what else it is"));
        }
        let other = self.expression()?;
        let at = (cond.at.0, other.at.1);
        self.node(ExprKind::Cond(Box::new([*cond, *then, *other])), at)
    }

    /// The operator at the cursor and how tightly it binds.
    fn operator(&self) -> Option<(Joint, u8)> {
        let op = match &self.peek().kind {
            Kind::Sym("||") => return Some((Joint::Or, 1)),
            Kind::Sym("&&") => return Some((Joint::And, 2)),
            Kind::Sym("+") => Op::Add,
            Kind::Sym("-") => Op::Sub,
            Kind::Sym("*") => Op::Mul,
            Kind::Sym("/") => Op::Div,
            Kind::Sym("%") => Op::Rem,
            Kind::Sym("==") => Op::Eq,
            Kind::Sym("!=") => Op::Ne,
            Kind::Sym("<") => Op::Lt,
            Kind::Sym("<=") => Op::Le,
            Kind::Sym(">") => Op::Gt,
            Kind::Sym(">=") => Op::Ge,
            Kind::Name(n) if &**n == "in" => Op::In,
            _ => return None,
        };
        Some((Joint::Op(op), op.binding()))
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        let mut last = None;
        while let Some((joint, binding)) = self.operator() {
            if binding < least {
                break;
            }
            self.pos += 1;
            let right = self.binary(binding + 1)?;
            left = self.join(joint, last == Some(joint), left, right)?;
            last = Some(joint);
        }
        Ok(left)
    }

    /// Two operands as one; further parts of one chain of `&&` or `||` join it.
    #[expect(clippy::boxed_local, reason = "a box keeps the callers' frames small")]
    fn join(&mut self, joint: Joint, chained: bool, left: Box<Expr>, right: Box<Expr>) -> Parsed {
        let at = (left.at.0, right.at.1);
        let parts = |left: Expr, right: Expr| match left.kind {
            ExprKind::And(mut parts) | ExprKind::Or(mut parts) if chained => {
                parts.push(right);
                parts
            }
            kind => vec![Expr { kind, ..left }, right],
        };
        let kind = match joint {
            Joint::And => ExprKind::And(parts(*left, *right)),
            Joint::Or => ExprKind::Or(parts(*left, *right)),
            Joint::Op(op) => ExprKind::Binary(op, Box::new((*left, *right))),
        };
        self.node(kind, at)
    }

    fn unary(&mut self) -> Parsed {
        if self.is("!") || self.is("-") {
            return self.prefixed();
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn prefixed(&mut self) -> Parsed {
        let from = self.peek().at.0;
        let not = self.is("!");
        if !not && *self.peek_second() == Kind::Int(1 << 63) {
            self.pos += 2;
            let literal = self.node(ExprKind::Literal(Value::Int(i64::MIN)), (from, self.end_of_last()))?;
            return self.postfix(literal);
        }
        self.pos += 1;
        self.deeper()?;
        let operand = self.unary()?;
        self.nesting -= 1;
        let at = (from, operand.at.1);
        let kind = match operand.kind {
            _ if not => ExprKind::Not(operand),
            ExprKind::Literal(Value::Int(i)) if i != i64::MIN => ExprKind::Literal(Value::Int(-i)),
            ExprKind::Literal(Value::Double(d)) => ExprKind::Literal(Value::Double(-d)),
            _ => ExprKind::Neg(operand),
        };
        self.node(kind, at)
    }

    fn postfix(&mut self, mut base: Box<Expr>) -> Parsed {
        loop {
            if self.eat(".") {
                base = self.member(base)?;
            } else if self.eat("[") {
                let index = self.expression()?;
                if !self.eat("]") {
                    return Err(self.unexpected("`]`"));
                }
                let at = (base.at.0, self.end_of_last());
                base = self.node(ExprKind::Index { base, index }, at)?;
            } else {
                return Ok(base);
            }
        }
    }

    fn member(&mut self, base: Box<Expr>) -> Parsed {
        let token = self.advance();
        let (Kind::Name(text) | Kind::Quoted(text)) = token.kind else {
            self.pos -= 1;
            return Err(self.unexpected("a field's name"));
        };
        let (from, name) = (base.at.0, Word { text, at: token.at });
        let kind = if self.is("(") {
            let args = self.arguments()?;
            ExprKind::Call { target: Some(base), name, args }
        } else {
            ExprKind::Select { base, field: name }
        };
        self.node(kind, (from, self.end_of_last()))
    }

    fn primary(&mut self) -> Parsed {
        match self.peek().kind {
            Kind::Sym("(") => self.group(),
            Kind::Sym("[") => self.list(),
            Kind::Sym("{") => self.map(),
            _ => self.simple(),
        }
    }

    fn group(&mut self) -> Parsed {
        let from = self.peek().at.0;
        self.pos += 1;
        let mut inner = self.expression()?;
        if !self.eat(")") {
            return Err(self.unexpected("`)`"));
        }
        inner.at = (from, self.end_of_last());
        Ok(inner)
    }

    fn list(&mut self) -> Parsed {
        let from = self.peek().at.0;
        self.pos += 1;
        let items = self.sequence("]", Parser::item)?;
        self.node(ExprKind::List(items), (from, self.end_of_last()))
    }

    fn map(&mut self) -> Parsed {
        let from = self.peek().at.0;
        self.pos += 1;
        let entries = self.sequence("}", Parser::entry)?;
        self.node(ExprKind::Map(entries), (from, self.end_of_last()))
    }

    /// A literal, a name, or a call of a function.
    fn simple(&mut self) -> Parsed {
        let token = self.peek().clone();
        let at = token.at;
        match token.kind {
            Kind::Name(name) => match &*name {
                "true" => self.literal(Value::Bool(true), at),
                "false" => self.literal(Value::Bool(false), at),
                "null" => self.literal(Value::Null, at),
                word if RESERVED.contains(&word) => Err(self.unexpected("a value or a name")),
                _ => self.name(Word { text: name, at }),
            },
            Kind::Quoted(text) => self.name(Word { text, at }),
            Kind::Int(i) => match i64::try_from(i) {
                Ok(i) => self.literal(Value::Int(i), at),
                Err(_) => {
                    let help = Some("write it as a double: 1e20");
                    Err(fault(format!("the number {i} does not fit in 64 bits"), help, at))
                }
            },
            Kind::Double(d) => self.literal(Value::Double(d), at),
            Kind::Text(t) => self.literal(Value::Text(t), at),
            _ => Err(self.unexpected("a value or a name")),
        }
    }

    fn literal(&mut self, value: Value, at: At) -> Parsed {
        self.advance();
        self.node(ExprKind::Literal(value), at)
    }

    fn name(&mut self, name: Word) -> Parsed {
        self.advance();
        if !self.is("(") {
            return self.node(ExprKind::Name(name.text), name.at);
        }
        let args = self.arguments()?;
        let at = (name.at.0, self.end_of_last());
        self.node(ExprKind::Call { target: None, name, args }, at)
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Box<Fault>> {
        self.advance();
        self.sequence(")", Parser::item)
    }

    fn item(&mut self) -> Result<Expr, Box<Fault>> {
        self.expression().map(|expr| *expr)
    }

    fn entry(&mut self) -> Result<(Expr, Expr), Box<Fault>> {
        let key = self.item()?;
        if !self.eat(":") {
            return Err(self.unexpected("`:` and a value"));
        }
        Ok((key, self.item()?))
    }

    fn sequence<T>(&mut self, close: &'static str, item: fn(&mut Parser) -> Result<T, Box<Fault>>) -> Result<Vec<T>, Box<Fault>> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(items);
            }
            items.push(item(self)?);
            if !self.eat(",") && !self.is(close) {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
    }
}

/// What joins two operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
    Op(Op),
}
