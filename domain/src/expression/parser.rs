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
    let expr = parser.expression()?;
    match &parser.peek().kind {
        Kind::End => Ok(expr),
        _ => Err(parser.unexpected("an operator or the end of the expression")),
    }
}

struct Parser {
    tokens: Vec<Token>,
    pos: usize,
    nesting: u32,
}

type Parsed = Result<Expr, Fault>;

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

    fn unexpected(&self, expected: &str) -> Fault {
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
        syntax(format!("expected {expected}, found {}", token.show()), help, at)
    }

    fn node(&self, kind: ExprKind, at: At) -> Parsed {
        let mut expr = Expr { kind, at, depth: 0 };
        expr.depth = 1 + expr.children().iter().map(|e| e.depth).max().unwrap_or(0);
        if expr.depth > MAX_DEPTH {
            return Err(syntax(format!("more than {MAX_DEPTH} operators deep"), Some("split it into several `let`s"), at));
        }
        Ok(expr)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.nesting >= MAX_NESTING {
            let help = Some("split it into several `let`s");
            return Err(syntax(format!("nested more than {MAX_NESTING} deep"), help, self.peek().at));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn expression(&mut self) -> Parsed {
        self.nested(|p| {
            let cond = p.binary(1)?;
            if !p.eat("?") {
                return Ok(cond);
            }
            let then = p.expression()?;
            if !p.eat(":") {
                return Err(p.unexpected("`:` and what else it is"));
            }
            let other = p.expression()?;
            let at = (cond.at.0, other.at.1);
            p.node(ExprKind::Cond(Box::new([cond, then, other])), at)
        })
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
            self.advance();
            let right = self.binary(binding + 1)?;
            let at = (left.at.0, right.at.1);
            let chained = last == Some(joint);
            let kind = match (joint, left.kind) {
                (Joint::And, ExprKind::And(parts)) if chained => ExprKind::And(push(parts, right)),
                (Joint::Or, ExprKind::Or(parts)) if chained => ExprKind::Or(push(parts, right)),
                (Joint::And, kind) => ExprKind::And(vec![Expr { kind, ..left }, right]),
                (Joint::Or, kind) => ExprKind::Or(vec![Expr { kind, ..left }, right]),
                (Joint::Op(op), kind) => ExprKind::Binary(op, Box::new((Expr { kind, ..left }, right))),
            };
            left = self.node(kind, at)?;
            last = Some(joint);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let from = self.peek().at.0;
        if self.eat("!") {
            let operand = self.nested(Parser::unary)?;
            let at = (from, operand.at.1);
            return self.node(ExprKind::Not(Box::new(operand)), at);
        }
        if self.is("-") {
            if *self.peek_second() == Kind::Int(1 << 63) {
                self.pos += 2;
                let literal = self.node(ExprKind::Literal(Value::Int(i64::MIN)), (from, self.end_of_last()))?;
                return self.postfix(literal);
            }
            self.advance();
            let operand = self.nested(Parser::unary)?;
            let at = (from, operand.at.1);
            return match operand.kind {
                ExprKind::Literal(Value::Int(i)) if i != i64::MIN => self.node(ExprKind::Literal(Value::Int(-i)), at),
                ExprKind::Literal(Value::Double(d)) => self.node(ExprKind::Literal(Value::Double(-d)), at),
                kind => self.node(ExprKind::Neg(Box::new(Expr { kind, ..operand })), at),
            };
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn postfix(&mut self, mut base: Expr) -> Parsed {
        loop {
            let from = base.at.0;
            if self.eat(".") {
                let token = self.advance();
                let (Kind::Name(text) | Kind::Quoted(text)) = token.kind else {
                    self.pos -= 1;
                    return Err(self.unexpected("a field's name"));
                };
                let word = Word { text, at: token.at };
                let kind = if self.is("(") {
                    let args = self.arguments()?;
                    ExprKind::Call { target: Some(Box::new(base)), name: word, args }
                } else {
                    ExprKind::Select { base: Box::new(base), field: word }
                };
                base = self.node(kind, (from, self.end_of_last()))?;
            } else if self.eat("[") {
                let index = self.expression()?;
                if !self.eat("]") {
                    return Err(self.unexpected("`]`"));
                }
                let kind = ExprKind::Index { base: Box::new(base), index: Box::new(index) };
                base = self.node(kind, (from, self.end_of_last()))?;
            } else {
                return Ok(base);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek().clone();
        let at = token.at;
        match token.kind {
            Kind::Int(i) => {
                let Ok(i) = i64::try_from(i) else {
                    return Err(syntax(
                        format!("the number {i} does not fit in 64 bits"),
                        Some("write it as a double: 1e20"),
                        at,
                    ));
                };
                self.literal(Value::Int(i), at)
            }
            Kind::Double(d) => self.literal(Value::Double(d), at),
            Kind::Text(t) => self.literal(Value::Text(t), at),
            Kind::Name(name) => match &*name {
                "true" => self.literal(Value::Bool(true), at),
                "false" => self.literal(Value::Bool(false), at),
                "null" => self.literal(Value::Null, at),
                word if RESERVED.contains(&word) => Err(self.unexpected("a value or a name")),
                _ => self.name(Word { text: name, at }),
            },
            Kind::Quoted(text) => self.name(Word { text, at }),
            Kind::Sym("(") => {
                self.advance();
                let inner = self.expression()?;
                if !self.eat(")") {
                    return Err(self.unexpected("`)`"));
                }
                Ok(Expr { at: (at.0, self.end_of_last()), ..inner })
            }
            Kind::Sym("[") => {
                self.advance();
                let items = self.sequence("]", Parser::expression)?;
                self.node(ExprKind::List(items), (at.0, self.end_of_last()))
            }
            Kind::Sym("{") => {
                self.advance();
                let entries = self.sequence("}", Parser::entry)?;
                self.node(ExprKind::Map(entries), (at.0, self.end_of_last()))
            }
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

    fn arguments(&mut self) -> Result<Vec<Expr>, Fault> {
        self.advance();
        self.sequence(")", Parser::expression)
    }

    fn entry(&mut self) -> Result<(Expr, Expr), Fault> {
        let key = self.expression()?;
        if !self.eat(":") {
            return Err(self.unexpected("`:` and a value"));
        }
        Ok((key, self.expression()?))
    }

    fn sequence<T>(&mut self, close: &'static str, item: fn(&mut Parser) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
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

fn push(mut parts: Vec<Expr>, one: Expr) -> Vec<Expr> {
    parts.push(one);
    parts
}
