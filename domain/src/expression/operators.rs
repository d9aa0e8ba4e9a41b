//! What operators do with values. Ints never wrap, doubles never become infinite or NaN: both are errors with their operands.
//! (CEL's overloads, and one of our own: int with double widens to double.)

use std::cmp::Ordering;
use std::sync::Arc;

use super::EvalError;
use super::ast::Op;
use super::machine::{MAX_TEXT, Machine, show};
use super::types::mismatch;
use crate::value::Value;

/// `a op b`.
pub(super) fn binary(op: Op, a: &Value, b: &Value, m: &mut Machine<'_>) -> Result<Value, EvalError> {
    match op {
        Op::Eq => m.equal(a, b).map(Value::Bool),
        Op::Ne => m.equal(a, b).map(|e| Value::Bool(!e)),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            m.read_text(a)?;
            relation(op, a, b).map(Value::Bool)
        }
        Op::In => contains(a, b, m).map(Value::Bool),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Rem | Op::Quotient => arithmetic(op, a, b, m),
    }
}

fn arithmetic(op: Op, a: &Value, b: &Value, m: &mut Machine<'_>) -> Result<Value, EvalError> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) if op != Op::Quotient => integers(op, *x, *y),
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => doubles(op, a, b),
        (Value::Text(x), Value::Text(y)) if op == Op::Add => {
            if x.len() + y.len() > MAX_TEXT {
                return Err(EvalError::new(format!("a text of more than {MAX_TEXT} bytes")));
            }
            m.charge((x.len() + y.len()) / 64)?;
            Ok(Value::Text([&**x, &**y].concat().into()))
        }
        (Value::List(x), Value::List(y)) if op == Op::Add => {
            m.charge(x.len().saturating_add(y.len()))?;
            Ok(Value::List(Arc::new(x.iter().chain(y.iter()).cloned().collect())))
        }
        _ => moments(op, a, b),
    }
}

fn integers(op: Op, x: i64, y: i64) -> Result<Value, EvalError> {
    let result = match op {
        Op::Add => x.checked_add(y),
        Op::Sub => x.checked_sub(y),
        Op::Mul => x.checked_mul(y),
        Op::Div | Op::Rem if y == 0 => return Err(by_zero(op, &x, &y)),
        Op::Div => x.checked_div(y),
        _ => x.checked_rem(y),
    };
    result.map(Value::Int).ok_or_else(|| EvalError::new(format!("integer overflow: {x} {} {y}", op.symbol())))
}

fn by_zero(op: Op, x: &dyn std::fmt::Debug, y: &dyn std::fmt::Debug) -> EvalError {
    EvalError::new(format!("division by zero: {x:?} {} {y:?}", op.symbol()))
}

fn doubles(op: Op, a: &Value, b: &Value) -> Result<Value, EvalError> {
    let (Some(x), Some(y)) = (a.as_f64(), b.as_f64()) else {
        return Err(EvalError::new(mismatch(op, a.kind(), b.kind())));
    };
    let result = match op {
        Op::Add => x + y,
        Op::Sub => x - y,
        Op::Mul => x * y,
        Op::Div | Op::Quotient if y == 0.0 => return Err(by_zero(op, &x, &y)),
        Op::Div | Op::Quotient => x / y,
        _ => return Err(EvalError::new(mismatch(op, a.kind(), b.kind()))),
    };
    finite(result, || format!("{} {} {}", show(a), op.symbol(), show(b)))
}

/// A double that is a number; anything else is an error that shows how it came about.
pub(super) fn finite(result: f64, how: impl FnOnce() -> String) -> Result<Value, EvalError> {
    if result.is_finite() {
        Ok(Value::Double(result))
    } else {
        let what = if result.is_nan() { "not a number" } else { "beyond the range of a double" };
        Err(EvalError::new(format!("the result is {what}: {}", how())))
    }
}

/// A moment within the calendar (years -9999 to 9999).
pub(super) fn moment(ms: i64) -> Option<Value> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|t| Value::Timestamp(t.as_millisecond()))
}

fn moments(op: Op, a: &Value, b: &Value) -> Result<Value, EvalError> {
    let result = match (op, a, b) {
        (Op::Add, Value::Timestamp(x), Value::Duration(y)) | (Op::Add, Value::Duration(x), Value::Timestamp(y)) => {
            x.checked_add(*y).and_then(moment)
        }
        (Op::Sub, Value::Timestamp(x), Value::Duration(y)) => x.checked_sub(*y).and_then(moment),
        (Op::Sub, Value::Timestamp(x), Value::Timestamp(y)) => x.checked_sub(*y).map(Value::Duration),
        (Op::Add, Value::Duration(x), Value::Duration(y)) => x.checked_add(*y).map(Value::Duration),
        (Op::Sub, Value::Duration(x), Value::Duration(y)) => x.checked_sub(*y).map(Value::Duration),
        _ => {
            let text = mismatch(op, a.kind(), b.kind());
            return Err(EvalError::new(format!("{text}: {} {} {}", show(a), op.symbol(), show(b))));
        }
    };
    result.ok_or_else(|| EvalError::new(format!("time overflow: {} {} {}", show(a), op.symbol(), show(b))))
}

/// The order of two values of one kind, numbers of either kind included; `None` where they have none.
pub(super) fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) => Some(x.cmp(y)),
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::Text(x), Value::Text(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(y)),
        (Value::Timestamp(x), Value::Timestamp(y)) | (Value::Duration(x), Value::Duration(y)) => Some(x.cmp(y)),
        _ => None,
    }
}

fn relation(op: Op, a: &Value, b: &Value) -> Result<bool, EvalError> {
    let Some(order) = compare(a, b) else {
        let what = mismatch(op, a.kind(), b.kind());
        return Err(EvalError::new(format!("{what}: {} {} {}", show(a), op.symbol(), show(b))));
    };
    Ok(match op {
        Op::Lt => order == Ordering::Less,
        Op::Le => order != Ordering::Greater,
        Op::Gt => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

fn contains(wanted: &Value, place: &Value, m: &mut Machine<'_>) -> Result<bool, EvalError> {
    m.read_text(wanted)?;
    match place {
        Value::List(items) => {
            m.charge(items.len())?;
            for item in items.iter() {
                if m.equal(wanted, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(wanted.as_key().is_some_and(|k| map.contains_key(&k))),
        Value::Collection(c) => Ok(wanted.as_key().is_some_and(|k| c.get(&k).is_some())),
        _ => {
            Err(EvalError::new(format!("{}: {} in {}", mismatch(Op::In, wanted.kind(), place.kind()), show(wanted), show(place))))
        }
    }
}
