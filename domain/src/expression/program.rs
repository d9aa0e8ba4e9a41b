//! A compiled expression: a tree with every name resolved, and its evaluation.
//! It borrows what it iterates over; it never writes, and it never looks a name up.

use std::sync::Arc;

use super::ast::Op;
use super::comprehension::Loop;
use super::functions::FunctionDoc;
use super::lexer::At;
use super::machine::{Machine, SHORT, extent, show};
use super::operators::binary;
use super::types::{kind_of, kinds_text};
use super::{EvalError, Root, suggest};
use crate::value::{Key, Map, Value};

/// A part of a compiled expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Const(Value),
    Root(Root),
    /// A declared field of a name, by position.
    Field(Root, u16),
    /// A comprehension variable.
    Local(u16),
    /// A field of a comprehension variable, read without copying the record.
    LocalField(u16, Key, At),
    Select(Box<Node>, Key, At),
    /// `has` of a declared field by position: whether it is not null.
    HasField(Root, u16),
    Has(Box<Node>, Key, At),
    Index(Box<(Node, Node)>, At),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>, At),
    Not(Box<Node>, At),
    Neg(Box<Node>, At),
    And(Box<[Node]>, At),
    Or(Box<[Node]>, At),
    Cond(Box<[Node; 3]>, At),
    Binary(Op, Box<(Node, Node)>, At),
    Call(&'static FunctionDoc, Box<[Node]>, At),
    /// `matches` with a pattern known beforehand.
    Matches(Box<Node>, Arc<regex::Regex>, At),
    Coalesce(Box<[Node]>),
    Loop(Box<Loop>),
}

type Evaluated = Result<Value, EvalError>;

impl Node {
    /// The value. What is frequent and small stands here; the rest is kept out of line, so that the frame stays small.
    pub(super) fn eval(&self, m: &mut Machine<'_>) -> Evaluated {
        match self {
            Node::Const(value) => Ok(value.clone()),
            Node::Root(root) => m.scope.root(*root),
            Node::Field(root, index) => m.scope.field(*root, *index),
            Node::Local(slot) => Ok(m.locals[usize::from(*slot)].clone()),
            Node::LocalField(slot, key, at) => match &m.locals[usize::from(*slot)] {
                Value::Map(map) if let Some(value) = map.get(key) => Ok(value.clone()),
                other => select(other, key).map_err(|e| m.place(e, *at)),
            },
            Node::Binary(op, pair, at) => {
                let (a, b) = (pair.0.eval(m)?, pair.1.eval(m)?);
                match quick(*op, &a, &b) {
                    Some(value) => Ok(value),
                    None => binary(*op, &a, &b, m).map_err(|e| m.place(e, *at)),
                }
            }
            Node::Not(node, at) => not(node.eval(m)?, *at, m),
            Node::And(parts, at) => junction(parts, false, *at, m),
            Node::Or(parts, at) => junction(parts, true, *at, m),
            Node::Cond(parts, at) => match parts[0].eval(m)? {
                Value::Bool(true) => parts[1].eval(m),
                Value::Bool(false) => parts[2].eval(m),
                other => Err(no_condition(&other, *at, m)),
            },
            Node::Call(function, args, at) => call(function, args, *at, m),
            Node::Loop(one) => one.eval(m),
            Node::Select(..) | Node::HasField(..) | Node::Has(..) | Node::Index(..) | Node::List(_) => self.eval_rare(m),
            Node::Map(..) | Node::Neg(..) | Node::Matches(..) | Node::Coalesce(_) => self.eval_rare(m),
        }
    }

    #[inline(never)]
    fn eval_rare(&self, m: &mut Machine<'_>) -> Evaluated {
        match self {
            Node::Select(base, key, at) => {
                let base = base.eval(m)?;
                select(&base, key).map_err(|e| m.place(e, *at))
            }
            Node::HasField(root, index) => m.scope.field(*root, *index).map(|v| Value::Bool(!matches!(v, Value::Null))),
            Node::Has(base, key, at) => has(&base.eval(m)?, key).map_err(|e| m.place(e, *at)),
            Node::Index(pair, at) => {
                let (base, index) = (pair.0.eval(m)?, pair.1.eval(m)?);
                m.read_text(&index)?;
                item(&base, &index).map_err(|e| m.place(e, *at))
            }
            Node::List(items) => {
                let items = items.iter().map(|n| n.eval(m)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::List(Arc::new(items)))
            }
            Node::Map(entries, at) => map(entries, *at, m),
            Node::Neg(node, at) => negate(node.eval(m)?, *at, m),
            Node::Matches(text, pattern, at) => match text.eval(m)? {
                Value::Text(text) => m.charge(text.len() / 64).map(|()| Value::Bool(pattern.is_match(&text))),
                other => Err(m.fail(format!("`matches` takes a string, not {}", other.kind()), *at)),
            },
            Node::Coalesce(parts) => coalesce(parts, m),
            _ => Err(EvalError::new("a frequent part is evaluated by `eval`")),
        }
    }

    /// As `eval`, with null where a field, key or record on the way is absent.
    fn eval_optional(&self, m: &mut Machine<'_>) -> Evaluated {
        match self {
            Node::Select(base, key, at) => {
                let base = base.eval_optional(m)?;
                match &base {
                    Value::Null => Ok(Value::Null),
                    Value::Map(map) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
                    other => select(other, key).map_err(|e| m.place(e, *at)),
                }
            }
            Node::LocalField(slot, key, at) => match &m.locals[usize::from(*slot)] {
                Value::Null => Ok(Value::Null),
                Value::Map(map) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
                other => select(other, key).map_err(|e| m.place(e, *at)),
            },
            Node::Index(pair, at) => {
                let base = pair.0.eval_optional(m)?;
                if matches!(base, Value::Null) {
                    return Ok(Value::Null);
                }
                let index = pair.1.eval(m)?;
                find(&base, &index).map(|found| found.unwrap_or(Value::Null)).map_err(|e| m.place(e, *at))
            }
            other => other.eval(m),
        }
    }

    /// Whether the value is known.
    pub(super) fn constant(&self) -> Option<&Value> {
        match self {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }
}

/// The frequent operations on scalars that cannot fail; `None` leaves the rest to `binary`.
#[inline]
fn quick(op: Op, a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => Some(match op {
            Op::Add => Value::Int(x.checked_add(*y)?),
            Op::Sub => Value::Int(x.checked_sub(*y)?),
            Op::Mul => Value::Int(x.checked_mul(*y)?),
            Op::Eq => Value::Bool(x == y),
            Op::Ne => Value::Bool(x != y),
            Op::Lt => Value::Bool(x < y),
            Op::Le => Value::Bool(x <= y),
            Op::Gt => Value::Bool(x > y),
            Op::Ge => Value::Bool(x >= y),
            Op::Div | Op::Quotient | Op::Rem | Op::In => return None,
        }),
        (Value::Double(x), Value::Double(y)) => match op {
            Op::Add => Some(x + y).filter(|d| d.is_finite()).map(Value::Double),
            Op::Sub => Some(x - y).filter(|d| d.is_finite()).map(Value::Double),
            Op::Mul => Some(x * y).filter(|d| d.is_finite()).map(Value::Double),
            _ => None,
        },
        (Value::Text(x), Value::Text(y)) if x.len() < SHORT => match op {
            Op::Eq => Some(Value::Bool(x == y)),
            Op::Ne => Some(Value::Bool(x != y)),
            _ => None,
        },
        _ => None,
    }
}

#[cold]
fn no_condition(value: &Value, at: At, m: &Machine<'_>) -> EvalError {
    m.fail(format!("the condition of `? :` is {}, not bool: {}", value.kind(), show(value)), at)
}

fn coalesce(parts: &[Node], m: &mut Machine<'_>) -> Evaluated {
    for part in parts {
        let value = part.eval_optional(m)?;
        if !matches!(value, Value::Null) {
            return Ok(value);
        }
    }
    Ok(Value::Null)
}

#[inline(never)]
fn map(entries: &[(Node, Node)], at: At, m: &mut Machine<'_>) -> Evaluated {
    let mut out = Map::new();
    for (key, value) in entries {
        let key = key.eval(m)?;
        let Some(name) = key.as_key() else {
            return Err(m.fail(format!("{} {} cannot be a key", key.kind(), show(&key)), at));
        };
        if let Some(_former) = out.insert(name, value.eval(m)?) {
            return Err(m.fail(format!("the key {} stands twice", show(&key)), at));
        }
    }
    Ok(Value::Map(Arc::new(out)))
}

fn not(value: Value, at: At, m: &Machine<'_>) -> Evaluated {
    match value {
        Value::Bool(b) => Ok(Value::Bool(!b)),
        other => Err(m.fail(format!("`!` takes a bool, not {} {}", other.kind(), show(&other)), at)),
    }
}

fn negate(value: Value, at: At, m: &Machine<'_>) -> Evaluated {
    let negated = match &value {
        Value::Int(i) => i.checked_neg().map(Value::Int),
        Value::Double(d) => Some(Value::Double(-d)),
        Value::Duration(ms) => ms.checked_neg().map(Value::Duration),
        other => return Err(m.fail(format!("`-` takes a number, not {} {}", other.kind(), show(other)), at)),
    };
    negated.ok_or_else(|| m.fail(format!("integer overflow: -({})", show(&value)), at))
}

/// `&&` (`decisive` is false) or `||` (true): one decisive part decides, whatever errors the others are.
fn junction(parts: &[Node], decisive: bool, at: At, m: &mut Machine<'_>) -> Evaluated {
    let mut error = None;
    for part in parts {
        match part.eval(m) {
            Ok(Value::Bool(b)) if b == decisive => return Ok(Value::Bool(b)),
            Ok(Value::Bool(_)) => {}
            Ok(other) => {
                let symbol = if decisive { "||" } else { "&&" };
                error =
                    error.or_else(|| Some(m.fail(format!("`{symbol}` takes bools, not {} {}", other.kind(), show(&other)), at)));
            }
            Err(e) if m.exhausted => return Err(e),
            Err(e) => error = error.or(Some(e)),
        }
    }
    error.map_or(Ok(Value::Bool(!decisive)), Err)
}

#[inline(never)]
fn call(function: &'static FunctionDoc, args: &[Node], at: At, m: &mut Machine<'_>) -> Evaluated {
    let run = |values: &[Value], m: &mut Machine<'_>| {
        for (place, value) in values.iter().enumerate() {
            if kind_of(value) & function.kinds(place) == 0 {
                let (kind, wanted) = (value.kind(), kinds_text(function.kinds(place)));
                let what = format!("argument {} of `{}` is {kind}, not {wanted}: {}", place + 1, function.name, show(value));
                return Err(m.fail(what, at));
            }
        }
        if function.linear {
            m.charge(values.iter().map(extent).sum())?;
        } else {
            values.iter().try_for_each(|v| m.read_text(v))?;
        }
        let value = (function.call)(values, m).map_err(|e| m.place(e, at))?;
        m.read_text(&value)?;
        Ok(value)
    };
    match args {
        [] => run(&[], m),
        [a] => {
            let values = [a.eval(m)?];
            run(&values, m)
        }
        [a, b] => {
            let values = [a.eval(m)?, b.eval(m)?];
            run(&values, m)
        }
        many => {
            let values = many.iter().map(|n| n.eval(m)).collect::<Result<Vec<_>, _>>()?;
            run(&values, m)
        }
    }
}

/// The field of a value.
fn select(base: &Value, key: &Key) -> Evaluated {
    match base {
        Value::Map(map) => map.get(key).cloned().ok_or_else(|| no_key(key, map)),
        Value::Collection(c) => {
            Err(EvalError::new(format!("collection `{0}` has records, not fields: write {0}['{key}']", c.shape().name)))
        }
        other => Err(EvalError::new(format!("{} has no field `{key}`", other.kind()))),
    }
}

fn no_key(key: &Key, map: &Map) -> EvalError {
    let near = if map.len() <= 64 {
        let names: Vec<String> = map.keys().map(Key::to_string).collect();
        suggest(&key.to_string(), names.iter().map(String::as_str)).map(|near| format!(" (did you mean `{near}`?)"))
    } else {
        None
    };
    EvalError::new(format!("no key `{key}` in the map{}", near.unwrap_or_default()))
}

fn has(base: &Value, key: &Key) -> Evaluated {
    match base {
        Value::Map(map) => Ok(Value::Bool(map.contains_key(key))),
        Value::Collection(c) => Ok(Value::Bool(c.get(key).is_some())),
        other => Err(EvalError::new(format!("{} has no fields", other.kind()))),
    }
}

/// The item of a list, the value of a key, the record of a collection; an error where it is not there.
fn item(base: &Value, index: &Value) -> Evaluated {
    find(base, index)?.ok_or_else(|| match base {
        Value::List(items) => EvalError::new(format!("index {} is outside a list of {}", show(index), items.len())),
        Value::Map(map) => match index.as_key() {
            Some(key) => no_key(&key, map),
            None => EvalError::new(format!("no key {} in the map", show(index))),
        },
        Value::Collection(c) => EvalError::new(format!("no record {} in `{}`", show(index), c.shape().name)),
        other => EvalError::new(format!("{} has no items", other.kind())),
    })
}

/// As `item`, with `None` where it is not there.
pub(super) fn find(base: &Value, index: &Value) -> Result<Option<Value>, EvalError> {
    match (base, index) {
        (Value::List(items), Value::Int(i)) => Ok(usize::try_from(*i).ok().and_then(|i| items.get(i)).cloned()),
        (Value::List(_), other) => {
            Err(EvalError::new(format!("an index of a list is int, not {} {}", other.kind(), show(other))))
        }
        (Value::Map(map), key) => Ok(key.as_key().and_then(|k| map.get(&k).cloned())),
        (Value::Collection(c), key) => match key.as_key() {
            Some(key) => Ok(c.get(&key).cloned()),
            None => Err(EvalError::new(format!("{} {} is no key of `{}`", key.kind(), show(key), c.shape().name))),
        },
        (other, _) => Err(EvalError::new(format!("{} has no items to index", other.kind()))),
    }
}
