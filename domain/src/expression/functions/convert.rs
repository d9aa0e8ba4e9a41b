//! Conversions between kinds, and what every value has: a size, a kind, a text.

use super::{EvalError, Machine, as_text};
use crate::expression::machine::{MAX_TEXT, MAX_VALUE_DEPTH, show};
use crate::value::{Value, duration_text, timestamp_text};

type Evaluated = Result<Value, EvalError>;

/// A count as an int.
pub(super) fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

pub(super) fn size(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Text(t) => Ok(count(t.chars().count())),
        Value::List(items) => Ok(count(items.len())),
        Value::Map(map) => Ok(count(map.len())),
        Value::Collection(c) => Ok(count(c.len())),
        other => Err(EvalError::new(format!("{} has no size", other.kind()))),
    }
}

/// A double as an int, without its fraction.
pub(super) fn truncate(d: f64) -> Evaluated {
    let whole = libm::trunc(d);
    if (-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(&whole) {
        #[expect(clippy::cast_possible_truncation, reason = "within i64, as just checked")]
        Ok(Value::Int(whole as i64))
    } else {
        Err(EvalError::new(format!("{d:?} does not fit in an int")))
    }
}

pub(super) fn int(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Double(d) => truncate(*d),
        Value::Text(t) => {
            let parsed = t.trim().parse().map(Value::Int);
            parsed.map_err(|_| EvalError::new(format!("{} is no whole number", show(&args[0]))))
        }
        Value::Timestamp(ms) => Ok(Value::Int(ms.div_euclid(1000))),
        Value::Duration(ms) => Ok(Value::Int(ms / 1000)),
        other => Ok(other.clone()),
    }
}

pub(super) fn double(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Text(t) => match t.trim().parse::<f64>() {
            Ok(d) if d.is_finite() => Ok(Value::Double(d)),
            _ => Err(EvalError::new(format!("{} is no number", show(&args[0])))),
        },
        #[expect(clippy::cast_precision_loss, reason = "a span of 285,000 years is exact to the millisecond")]
        Value::Duration(ms) => Ok(Value::Double(*ms as f64 / 1000.0)),
        other => super::as_number(other).map(Value::Double),
    }
}

pub(super) fn string(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(match &args[0] {
        Value::Bool(b) => Value::text(if *b { "true" } else { "false" }),
        Value::Int(i) => Value::text(i.to_string()),
        Value::Double(d) => Value::text(double_text(*d)),
        Value::Timestamp(ms) => Value::text(timestamp_text(*ms)),
        Value::Duration(ms) => Value::text(duration_text(*ms)),
        other => Value::text(as_text(other)?),
    })
}

/// The shortest text that reads back as the same double; a whole one without a point, as CEL has it.
fn double_text(d: f64) -> String {
    let size = d.abs();
    if size == 0.0 || (1e-5..1e16).contains(&size) { format!("{d}") } else { format!("{d:e}") }
}

pub(super) fn bool(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Bool(b) => Ok(Value::Bool(*b)),
        other => match as_text(other)? {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(EvalError::new(format!("{} is neither 'true' nor 'false'", show(other)))),
        },
    }
}

pub(super) fn kind(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::text(args[0].kind()))
}

pub(super) fn json(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let value = match &args[0] {
        Value::Collection(c) => {
            m.charge(c.len())?;
            args[0].plain()
        }
        other => other.clone(),
    };
    m.walk(&value, MAX_VALUE_DEPTH)?;
    if value.weight() > MAX_TEXT {
        return Err(EvalError::new(format!("a text of more than {MAX_TEXT} bytes")));
    }
    Ok(Value::text(value.to_json().to_string()))
}
