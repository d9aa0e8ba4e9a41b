//! Text. Places count characters, never bytes; no result is longer than `MAX_TEXT`.

use std::sync::Arc;

use super::{EvalError, Machine, as_int, as_text};
use crate::expression::machine::{MAX_TEXT, cut, show};
use crate::value::Value;

type Evaluated = Result<Value, EvalError>;

pub(super) fn contains(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Bool(as_text(&args[0])?.contains(as_text(&args[1])?)))
}

pub(super) fn starts_with(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Bool(as_text(&args[0])?.starts_with(as_text(&args[1])?)))
}

pub(super) fn ends_with(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Bool(as_text(&args[0])?.ends_with(as_text(&args[1])?)))
}

/// A pattern ready for use, or what is wrong with it.
pub(in crate::expression) fn pattern(text: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|error| {
        let reason = match &error {
            regex::Error::CompiledTooBig(_) => "too large".to_owned(),
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        format!("the pattern `{}` cannot be used: {reason}", cut(text, 60))
    })
}

pub(super) fn matches(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let text = as_text(&args[1])?;
    m.charge(2000 + text.len())?;
    let pattern = pattern(text).map_err(EvalError::new)?;
    Ok(Value::Bool(pattern.is_match(as_text(&args[0])?)))
}

pub(super) fn lower(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::text(as_text(&args[0])?.to_ascii_lowercase()))
}

pub(super) fn upper(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::text(as_text(&args[0])?.to_ascii_uppercase()))
}

pub(super) fn trim(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::text(as_text(&args[0])?.trim()))
}

pub(super) fn split(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let (text, by) = (as_text(&args[0])?, as_text(&args[1])?);
    if by.is_empty() {
        m.charge(text.len())?;
        return Ok(Value::list(text.chars().map(|c| Value::text(c.to_string()))));
    }
    m.charge(text.matches(by).count())?;
    Ok(Value::list(text.split(by).map(Value::text)))
}

pub(super) fn join(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let Value::List(items) = &args[0] else { return Err(EvalError::new("join takes a list")) };
    let between = args.get(1).map_or(Ok(""), as_text)?;
    let mut out = String::new();
    for (n, item) in items.iter().enumerate() {
        let Some(text) = item.as_str() else {
            return Err(EvalError::new(format!(
                "item {n} is {} {}, not a string (`string(…)` makes one)",
                item.kind(),
                show(item)
            )));
        };
        out.push_str(if n > 0 { between } else { "" });
        out.push_str(text);
        short(out.len())?;
    }
    Ok(Value::text(out))
}

pub(super) fn replace(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (text, old, new) = (as_text(&args[0])?, as_text(&args[1])?, as_text(&args[2])?);
    let found = text.matches(old).count();
    short(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::text(text.replace(old, new)))
}

pub(super) fn substring(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let from = place(&args[1])?;
    let to = args.get(2).map_or(Ok(usize::MAX), place)?;
    if to < from {
        return Err(EvalError::new(format!("the end {to} is before the start {from}")));
    }
    let part: String = as_text(&args[0])?.chars().skip(from).take(to - from).collect();
    Ok(Value::Text(Arc::from(part)))
}

/// A place to count to, never negative.
pub(super) fn place(value: &Value) -> Result<usize, EvalError> {
    let i = as_int(value)?;
    usize::try_from(i).map_err(|_| EvalError::new(format!("a place counts from 0, not {i}")))
}

fn short(bytes: usize) -> Result<(), EvalError> {
    if bytes > MAX_TEXT { Err(EvalError::new(format!("a text of more than {MAX_TEXT} bytes"))) } else { Ok(()) }
}
