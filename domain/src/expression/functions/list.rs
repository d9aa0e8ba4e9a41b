//! Lists, and collections where they are read like one: records in key order.

use std::collections::BTreeSet;

use super::convert::count;
use super::text::place;
use super::{EvalError, Machine, as_int, as_text, items};
use crate::expression::comprehension::sort_values;
use crate::value::Value;

type Evaluated = Result<Value, EvalError>;

pub(super) fn range(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let (from, to) = match args {
        [to] => (0, as_int(to)?),
        [from, to, ..] => (as_int(from)?, as_int(to)?),
        [] => return Err(EvalError::new("range takes one or two ints")),
    };
    let length = (i128::from(to) - i128::from(from)).max(0);
    m.charge(usize::try_from(length).unwrap_or(usize::MAX))?;
    Ok(Value::list((from..to).map(Value::Int)))
}

pub(super) fn sort(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let mut sorted = items(&args[0])?.into_owned();
    sort_values(&mut sorted, |v| v, m)?;
    Ok(Value::list(sorted))
}

pub(super) fn reverse(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::list(items(&args[0])?.iter().rev().cloned()))
}

pub(super) fn distinct(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let (mut keys, mut others, mut out) = (BTreeSet::new(), Vec::<Value>::new(), Vec::new());
    for item in items(&args[0])?.iter() {
        if let Some(key) = item.exact_key() {
            if keys.insert(key) {
                out.push(item.clone());
            }
            continue;
        }
        let mut known = false;
        m.charge(others.len())?;
        for other in &others {
            known = known || m.equal(item, other)?;
        }
        if !known {
            others.push(item.clone());
            out.push(item.clone());
        }
    }
    Ok(Value::list(out))
}

pub(super) fn flatten(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let mut out = Vec::new();
    for item in items(&args[0])?.iter() {
        match item {
            Value::List(inner) => {
                m.charge(inner.len())?;
                out.extend(inner.iter().cloned());
            }
            other => out.push(other.clone()),
        }
    }
    Ok(Value::list(out))
}

pub(super) fn zip(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (a, b) = (items(&args[0])?, items(&args[1])?);
    Ok(Value::list(a.iter().zip(b.iter()).map(|(a, b)| Value::list([a.clone(), b.clone()]))))
}

pub(super) fn enumerate(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::list(items(&args[0])?.iter().enumerate().map(|(n, item)| Value::list([count(n), item.clone()]))))
}

pub(super) fn slice(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let from = place(&args[1])?;
    let to = args.get(2).map_or(Ok(usize::MAX), place)?;
    if to < from {
        return Err(EvalError::new(format!("the end {to} is before the start {from}")));
    }
    Ok(Value::list(items(&args[0])?.iter().skip(from).take(to - from).cloned()))
}

pub(super) fn index_of(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let found = match &args[0] {
        Value::Text(text) => text.find(as_text(&args[1])?).map(|bytes| text[..bytes].chars().count()),
        list => {
            let mut found = None;
            for (n, item) in items(list)?.iter().enumerate() {
                if m.equal(item, &args[1])? {
                    found = Some(n);
                    break;
                }
            }
            found
        }
    };
    Ok(found.map_or(Value::Int(-1), count))
}

pub(super) fn first(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(match &args[0] {
        Value::Collection(c) => c.iter().next().map(|(_, r)| r.clone()),
        other => items(other)?.first().cloned(),
    }
    .unwrap_or(Value::Null))
}

pub(super) fn last(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(match &args[0] {
        Value::Collection(c) => c.iter().next_back().map(|(_, r)| r.clone()),
        other => items(other)?.last().cloned(),
    }
    .unwrap_or(Value::Null))
}
