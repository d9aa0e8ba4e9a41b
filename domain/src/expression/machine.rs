//! One evaluation: where values come from, what it may still cost, what comprehension variables hold.
//! Everything that is spent is charged before it is done, so an evaluation never does more than its limit.

use std::fmt::Write as _;

use super::lexer::At;
use super::{EvalError, Scope};
use crate::value::{Key, Value, duration_text, timestamp_text};

/// The longest text an expression may make, bytes.
pub(super) const MAX_TEXT: usize = 1 << 20;

/// Texts shorter than this, in bytes, are read for nothing.
pub(super) const SHORT: usize = 256;

/// How deep the value of an expression may be.
pub(super) const MAX_VALUE_DEPTH: u32 = 128;

/// The state of one evaluation.
pub(super) struct Machine<'a> {
    pub(super) scope: &'a dyn Scope,
    source: &'a str,
    limit: u64,
    spent: u64,
    /// Product of the sizes of the enclosing comprehensions.
    times: u64,
    /// Comprehension variables by slot.
    pub(super) locals: Vec<Value>,
    /// Once set, every error is final: `||` and `&&` swallow none.
    pub(super) exhausted: bool,
    /// The index whose lack makes an enclosing comprehension a scan.
    pub(super) missing: Option<(Key, std::sync::Arc<str>)>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(scope: &'a dyn Scope, source: &'a str, limit: u64) -> Machine<'a> {
        Machine { scope, source, limit, spent: 0, times: 1, locals: Vec::new(), exhausted: false, missing: None }
    }

    /// Spends steps that are about to be made.
    #[inline]
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), EvalError> {
        self.spent = self.spent.saturating_add(steps as u64);
        if self.spent > self.limit { Err(self.exhaust(self.spent)) } else { Ok(()) }
    }

    /// Spends what reading a long text takes.
    #[inline]
    pub(super) fn read_text(&mut self, value: &Value) -> Result<(), EvalError> {
        match value {
            Value::Text(t) if t.len() >= SHORT => self.charge(t.len() / 64),
            _ => Ok(()),
        }
    }

    /// Spends an iteration that is about to begin; the number comes back that `leave` takes.
    pub(super) fn enter(&mut self, items: usize, body: u64) -> Result<u64, EvalError> {
        let former = self.times;
        self.times = former.saturating_mul(items.max(1) as u64);
        self.spent = self.spent.saturating_add(body.saturating_mul(items as u64));
        let bound = self.times.saturating_mul(body).max(self.spent);
        if bound > self.limit { Err(self.exhaust(bound)) } else { Ok(former) }
    }

    /// Ends an iteration.
    pub(super) fn leave(&mut self, former: u64) {
        self.times = former;
    }

    #[cold]
    fn exhaust(&mut self, needed: u64) -> EvalError {
        self.exhausted = true;
        let mut text = format!(
            "the expression needs at least {needed} steps, more than the limit of {} (`limits.cel_steps`): `{}`",
            self.limit,
            cut(self.source, 200)
        );
        if let Some((field, collection)) = &self.missing {
            let _written = write!(text, "; add index: [{field}] to collection `{collection}`");
        }
        EvalError { message: text }
    }

    /// An error with the part of the expression it comes from.
    #[cold]
    pub(super) fn place(&self, error: EvalError, at: At) -> EvalError {
        if self.exhausted {
            return error;
        }
        let part = slice(self.source, at);
        EvalError { message: format!("{}, in `{}`", error.message, cut(&part, 80)) }
    }

    /// An error at a part of the expression.
    pub(super) fn fail(&self, message: impl std::fmt::Display, at: At) -> EvalError {
        self.place(EvalError::new(message), at)
    }

    /// Sets a comprehension variable.
    pub(super) fn set_local(&mut self, slot: u16, value: Value) {
        let slot = usize::from(slot);
        if self.locals.len() <= slot {
            self.locals.resize(slot + 1, Value::Null);
        }
        self.locals[slot] = value;
    }

    /// Charges for every item within a value, however often it is shared, before somebody walks all of it.
    pub(super) fn walk(&mut self, value: &Value, depth: u32) -> Result<(), EvalError> {
        let inner = |m: &mut Self, v: &Value| if depth == 0 { Err(too_deep()) } else { m.walk(v, depth - 1) };
        match value {
            Value::List(items) => {
                self.charge(items.len())?;
                items.iter().try_for_each(|v| inner(self, v))
            }
            Value::Map(map) => {
                self.charge(map.len())?;
                map.values().try_for_each(|v| inner(self, v))
            }
            _ => Ok(()),
        }
    }

    /// Whether two values are equal, as `Value::eq` has it, with every item compared charged for.
    pub(super) fn equal(&mut self, a: &Value, b: &Value) -> Result<bool, EvalError> {
        match (a, b) {
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.charge(a.len())?;
                for (a, b) in a.iter().zip(b.iter()) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.charge(a.len())?;
                for ((ka, a), (kb, b)) in a.iter().zip(b.iter()) {
                    if ka != kb || !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Collection(c), other) | (other, Value::Collection(c)) => {
                self.charge(c.len().saturating_mul(2))?;
                let (a, b) = (a.plain(), b.plain());
                if matches!(other, Value::Map(_) | Value::Collection(_)) { self.equal(&a, &b) } else { Ok(false) }
            }
            (Value::Text(x), Value::Text(y)) => {
                if x.len() != y.len() {
                    return Ok(false);
                }
                self.read_text(a)?;
                Ok(x == y)
            }
            _ => Ok(a == b),
        }
    }
}

fn too_deep() -> EvalError {
    EvalError::new(format!("a value nested more than {MAX_VALUE_DEPTH} deep"))
}

/// A part of a text.
pub(super) fn slice(source: &str, at: At) -> String {
    source.chars().skip(at.0 as usize).take(at.1.saturating_sub(at.0) as usize).collect()
}

/// A text of at most so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value as messages show it, in a few words.
pub(super) fn show(value: &Value) -> String {
    let mut out = String::new();
    show_into(value, 3, &mut out);
    cut(&out, 60)
}

fn show_into(value: &Value, depth: u8, out: &mut String) {
    let written = match value {
        Value::Null => write!(out, "null"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Int(i) => write!(out, "{i}"),
        Value::Double(d) => write!(out, "{d:?}"),
        Value::Text(t) => write!(out, "'{}'", cut(t, 40)),
        Value::Timestamp(ms) => write!(out, "{}", timestamp_text(*ms)),
        Value::Duration(ms) => write!(out, "{}", duration_text(*ms)),
        Value::Collection(c) => write!(out, "collection `{}`", c.shape().name),
        Value::List(items) if depth == 0 => write!(out, "a list of {}", items.len()),
        Value::Map(map) if depth == 0 => write!(out, "a map of {}", map.len()),
        Value::List(items) => {
            out.push('[');
            for (n, item) in items.iter().take(4).enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                show_into(item, depth - 1, out);
            }
            write!(out, "{}", if items.len() > 4 { ", …]" } else { "]" })
        }
        Value::Map(map) => {
            out.push('{');
            for (n, (key, item)) in map.iter().take(4).enumerate() {
                let _written = write!(out, "{}{key}: ", if n > 0 { ", " } else { "" });
                show_into(item, depth - 1, out);
            }
            write!(out, "{}", if map.len() > 4 { ", …}" } else { "}" })
        }
    };
    debug_assert!(written.is_ok(), "writing to a string never fails");
}

/// How many items a value has to go through.
pub(super) fn extent(value: &Value) -> usize {
    match value {
        Value::List(items) => items.len(),
        Value::Map(map) => map.len(),
        Value::Collection(c) => c.len(),
        Value::Text(t) => t.len() / 64,
        _ => 0,
    }
}
