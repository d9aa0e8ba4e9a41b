//! Numbers and statistics. Ints stay ints where that is natural; no result is infinite or NaN.

use std::cmp::Ordering;

use super::{EvalError, Machine, as_int, as_number};
use crate::expression::machine::show;
use crate::expression::operators::{compare, finite};
use crate::value::Value;

type Evaluated = Result<Value, EvalError>;

fn overflow(name: &str, value: &Value) -> EvalError {
    EvalError::new(format!("integer overflow: {name}({})", show(value)))
}

pub(super) fn abs(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Int(i) => i.checked_abs().map(Value::Int).ok_or_else(|| overflow("abs", &args[0])),
        other => Ok(Value::Double(as_number(other)?.abs())),
    }
}

pub(super) fn min(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    extreme(args, Ordering::Less)
}

pub(super) fn max(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    extreme(args, Ordering::Greater)
}

fn extreme(args: &[Value], wanted: Ordering) -> Evaluated {
    let name = if wanted == Ordering::Less { "min" } else { "max" };
    let values = match args {
        [Value::List(items)] => items.as_slice(),
        [one] => return Err(EvalError::new(format!("`{name}` of one value takes a list, not {}", one.kind()))),
        many => many,
    };
    let Some(mut best) = values.first() else { return Err(EvalError::new(format!("the {name} of nothing"))) };
    for value in values {
        let order = compare(value, best).ok_or_else(|| {
            EvalError::new(format!(
                "`{name}` cannot compare {} and {}: {}, {}",
                value.kind(),
                best.kind(),
                show(value),
                show(best)
            ))
        })?;
        if order == wanted {
            best = value;
        }
    }
    Ok(best.clone())
}

pub(super) fn clamp(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (x, lo, hi) = (&args[0], &args[1], &args[2]);
    if compare(lo, hi) == Some(Ordering::Greater) {
        return Err(EvalError::new(format!("the least {} is above the greatest {}", show(lo), show(hi))));
    }
    Ok(if compare(x, lo) == Some(Ordering::Less) {
        lo.clone()
    } else if compare(x, hi) == Some(Ordering::Greater) {
        hi.clone()
    } else {
        x.clone()
    })
}

pub(super) fn round(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let digits = args.get(1).map_or(Ok(0), as_int)?.clamp(-400, 400);
    match &args[0] {
        Value::Int(_) if digits >= 0 => Ok(args[0].clone()),
        Value::Int(i) => round_int(*i, digits).map(Value::Int).ok_or_else(|| overflow("round", &args[0])),
        other => Ok(Value::Double(round_double(as_number(other)?, digits))),
    }
}

/// Half away from zero, to a power of ten.
fn round_int(i: i64, digits: i64) -> Option<i64> {
    let Some(unit) = u32::try_from(-digits).ok().and_then(|d| 10i64.checked_pow(d)) else {
        return (digits < -19 || i.unsigned_abs() < 5_000_000_000_000_000_000).then_some(0);
    };
    let rest = i % unit;
    let down = i - rest;
    if rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2) { down.checked_add(unit * rest.signum()) } else { Some(down) }
}

fn round_double(x: f64, digits: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 400")]
    let scale = libm::pow(10.0, digits.unsigned_abs() as f64);
    let rounded = if digits >= 0 { libm::round(x * scale) / scale } else { libm::round(x / scale) * scale };
    if rounded.is_finite() {
        rounded
    } else if digits >= 0 {
        x
    } else {
        0.0
    }
}

fn whole(args: &[Value], f: fn(f64) -> f64) -> Evaluated {
    match &args[0] {
        Value::Int(i) => Ok(Value::Int(*i)),
        other => Ok(Value::Double(f(as_number(other)?))),
    }
}

pub(super) fn floor(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    whole(args, libm::floor)
}

pub(super) fn ceil(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    whole(args, libm::ceil)
}

fn real(name: &str, args: &[Value], f: fn(f64) -> f64) -> Evaluated {
    finite(f(as_number(&args[0])?), || format!("{name}({})", show(&args[0])))
}

pub(super) fn sqrt(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    real("sqrt", args, libm::sqrt)
}

pub(super) fn exp(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    real("exp", args, libm::exp)
}

pub(super) fn log(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    real("log", args, libm::log)
}

pub(super) fn sin(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    real("sin", args, libm::sin)
}

pub(super) fn cos(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    real("cos", args, libm::cos)
}

pub(super) fn pow(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let result = libm::pow(as_number(&args[0])?, as_number(&args[1])?);
    finite(result, || format!("pow({}, {})", show(&args[0]), show(&args[1])))
}

/// The sum of numbers one by one: ints while they are ints, then doubles with Neumaier's compensation.
#[derive(Default)]
pub(super) struct Sum {
    whole: i64,
    real: f64,
    lost: f64,
    mixed: bool,
}

impl Sum {
    pub(super) fn add(&mut self, value: &Value, place: &dyn std::fmt::Display) -> Result<(), EvalError> {
        match value {
            Value::Int(i) => {
                let sum = self.whole.checked_add(*i);
                self.whole = sum.ok_or_else(|| EvalError::new(format!("integer overflow: {} + {i}", self.whole)))?;
            }
            Value::Double(d) => {
                self.mixed = true;
                self.double(*d);
            }
            other => return Err(EvalError::new(format!("{place} is {} {}, not a number", other.kind(), show(other)))),
        }
        Ok(())
    }

    fn double(&mut self, d: f64) {
        let next = self.real + d;
        self.lost += if self.real.abs() >= d.abs() { (self.real - next) + d } else { (d - next) + self.real };
        self.real = next;
    }

    pub(super) fn value(mut self) -> Evaluated {
        if !self.mixed {
            return Ok(Value::Int(self.whole));
        }
        #[expect(clippy::cast_precision_loss, reason = "CEL widens int to double the same way")]
        self.double(self.whole as f64);
        finite(self.real + self.lost, || "sum(…)".to_owned())
    }
}

pub(super) fn sum(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let Value::List(items) = &args[0] else { return Err(EvalError::new("sum takes a list")) };
    let mut sum = Sum::default();
    for (n, item) in items.iter().enumerate() {
        sum.add(item, &format_args!("item {n}"))?;
    }
    sum.value()
}

/// The numbers of a list, at least so many.
fn numbers(name: &str, list: &Value, least: usize) -> Result<Vec<f64>, EvalError> {
    let Value::List(items) = list else { return Err(EvalError::new(format!("{name} takes a list"))) };
    if items.len() < least {
        let counted = ["nothing", "one number"].get(items.len()).copied().unwrap_or("too few");
        return Err(EvalError::new(format!("the {name} of {counted}")));
    }
    let number = |(n, item): (usize, &Value)| {
        item.as_f64().ok_or_else(|| EvalError::new(format!("item {n} is {} {}, not a number", item.kind(), show(item))))
    };
    items.iter().enumerate().map(number).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a list has far fewer than 2^53 items")]
fn mean_of(numbers: &[f64]) -> Result<f64, EvalError> {
    let mut sum = Sum { mixed: true, ..Sum::default() };
    numbers.iter().for_each(|x| sum.double(*x));
    let mean = (sum.real + sum.lost) / numbers.len() as f64;
    finite(mean, || "mean(…)".to_owned()).and_then(|v| as_number(&v))
}

pub(super) fn mean(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    mean_of(&numbers("mean", &args[0], 1)?).map(Value::Double)
}

pub(super) fn median(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    quantile_of(numbers("median", &args[0], 1)?, 0.5, m)
}

pub(super) fn quantile(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let q = as_number(&args[1])?;
    if !(0.0..=1.0).contains(&q) {
        return Err(EvalError::new(format!("a quantile is between 0 and 1, not {}", show(&args[1]))));
    }
    quantile_of(numbers("quantile", &args[0], 1)?, q, m)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places within a list")]
fn quantile_of(mut numbers: Vec<f64>, q: f64, m: &mut Machine<'_>) -> Evaluated {
    m.charge(numbers.len().saturating_mul(numbers.len().max(1).ilog2() as usize))?;
    numbers.sort_unstable_by(f64::total_cmp);
    let h = (numbers.len() - 1) as f64 * q;
    let below = libm::floor(h) as usize;
    let above = (below + 1).min(numbers.len() - 1);
    let value = numbers[below] + (h - below as f64) * (numbers[above] - numbers[below]);
    finite(value, || "quantile(…)".to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "a list has far fewer than 2^53 items")]
fn variance_of(name: &str, list: &Value) -> Result<f64, EvalError> {
    let numbers = numbers(name, list, 2)?;
    let mean = mean_of(&numbers)?;
    let squares: f64 = numbers.iter().map(|x| (x - mean) * (x - mean)).sum();
    finite(squares / (numbers.len() - 1) as f64, || format!("{name}(…)")).and_then(|v| as_number(&v))
}

pub(super) fn variance(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    variance_of("variance", &args[0]).map(Value::Double)
}

pub(super) fn stdev(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    variance_of("stdev", &args[0]).map(|v| Value::Double(libm::sqrt(v)))
}
