//! Maps and collections: looking up, grouping, counting. Results are the same whether an index helped or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::convert::count;
use super::number::Sum;
use super::{EvalError, Machine, as_text, items};
use crate::collection::{Candidates, Collection};
use crate::expression::machine::{extent, show};
use crate::expression::program::find;
use crate::value::{Key, Value};

type Evaluated = Result<Value, EvalError>;

pub(super) fn keys(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(match &args[0] {
        Value::Map(map) => Value::list(map.keys().map(Key::to_value)),
        Value::Collection(c) => Value::list(c.iter().map(|(k, _)| k.to_value())),
        other => return Err(EvalError::new(format!("{} has no keys", other.kind()))),
    })
}

pub(super) fn values(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Map(map) => Ok(Value::list(map.values().cloned())),
        other => Ok(Value::list(items(other)?.into_owned())),
    }
}

pub(super) fn merge(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (Value::Map(a), Value::Map(b)) = (&args[0], &args[1]) else { return Err(EvalError::new("merge takes two maps")) };
    let mut both = (**a).clone();
    both.extend(b.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(Value::Map(Arc::new(both)))
}

pub(super) fn get(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    if matches!(args[0], Value::Null) {
        return Ok(args[2].clone());
    }
    Ok(find(&args[0], &args[1])?.unwrap_or_else(|| args[2].clone()))
}

pub(super) fn coalesce(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(args.iter().find(|v| !matches!(v, Value::Null)).cloned().unwrap_or(Value::Null))
}

pub(super) fn uuid(_: &[Value], m: &mut Machine<'_>) -> Evaluated {
    m.scope.uuid().map(Value::Text)
}

/// The records whose fields equal the wanted values, one by one; by index or key where there is one.
fn each(source: &Value, wanted: &[(&Key, &Value)], m: &mut Machine<'_>, keep: &mut dyn FnMut(&Value)) -> Result<(), EvalError> {
    let mut test = |record: &Value, m: &mut Machine<'_>| -> Result<(), EvalError> {
        for (field, value) in wanted {
            match record.field(field) {
                Some(held) if m.equal(held, value)? => {}
                _ => return Ok(()),
            }
        }
        keep(record);
        Ok(())
    };
    let Value::Collection(c) = source else {
        m.charge(extent(source))?;
        return items(source)?.iter().try_for_each(|record| test(record, m));
    };
    let exact: Vec<(&Key, Key)> = wanted.iter().filter_map(|(f, v)| Some((*f, v.exact_key()?))).collect();
    match c.candidates(&exact) {
        Some(Candidates::One(found)) => found.iter().try_for_each(|record| test(record, m)),
        Some(Candidates::Set(keys, _)) => {
            m.charge(keys.map_or(0, |k| k.len()))?;
            keys.iter().flat_map(|k| k.iter()).filter_map(|k| c.get(k)).try_for_each(|record| test(record, m))
        }
        Some(Candidates::Prefix(prefix)) => c.with_prefix(&prefix).try_for_each(|record| {
            m.charge(1)?;
            test(record, m)
        }),
        None => {
            scan_charge(c, wanted.first().map(|w| w.0), m)?;
            c.iter().try_for_each(|(_, record)| test(record, m))
        }
    }
}

/// Charges for all records, naming the index that would have spared it.
fn scan_charge(c: &Collection, field: Option<&Key>, m: &mut Machine<'_>) -> Result<(), EvalError> {
    let missing = field.filter(|f| !c.shape().index.iter().any(|i| matches!(f, Key::Text(t) if t == i)));
    let former = std::mem::replace(&mut m.missing, missing.map(|f| (f.clone(), c.shape().name.clone())));
    if m.missing.is_none() {
        m.missing = former.clone();
    }
    let charged = m.charge(c.len());
    m.missing = former;
    charged
}

pub(super) fn where_(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let Value::Map(fields) = &args[1] else { return Err(EvalError::new("where takes a map of fields")) };
    let wanted: Vec<(&Key, &Value)> = fields.iter().collect();
    let mut out = Vec::new();
    each(&args[0], &wanted, m, &mut |record| out.push(record.clone()))?;
    Ok(Value::list(out))
}

/// The value of a field as a group's key; `None` where it is absent or null.
fn group_key(record: &Value, field: &Key) -> Result<Option<Key>, EvalError> {
    match record.field(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_key() {
            Some(key) => Ok(Some(key)),
            None => Err(EvalError::new(format!("{} {} in field `{field}` cannot be a key", value.kind(), show(value)))),
        },
    }
}

/// The records for each value of a field.
fn grouped(args: &[Value], m: &mut Machine<'_>) -> Result<BTreeMap<Key, Vec<Value>>, EvalError> {
    m.charge(extent(&args[0]))?;
    let field = Key::text(as_text(&args[1])?);
    let mut groups: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
    for record in items(&args[0])?.iter() {
        if let Some(key) = group_key(record, &field)? {
            groups.entry(key).or_default().push(record.clone());
        }
    }
    Ok(groups)
}

pub(super) fn count_by(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    if let Value::Collection(c) = &args[0]
        && let Some(groups) = c.groups(as_text(&args[1])?)
    {
        let counts = groups.map(|(k, keys)| (k.clone(), count(keys.len())));
        return Ok(Value::Map(Arc::new(counts.collect())));
    }
    m.charge(extent(&args[0]))?;
    let field = Key::text(as_text(&args[1])?);
    let mut counts: BTreeMap<Key, usize> = BTreeMap::new();
    let mut one = |record: &Value| -> Result<(), EvalError> {
        if let Some(key) = group_key(record, &field)? {
            *counts.entry(key).or_default() += 1;
        }
        Ok(())
    };
    match &args[0] {
        Value::Collection(c) => c.iter().try_for_each(|(_, record)| one(record))?,
        other => items(other)?.iter().try_for_each(one)?,
    }
    Ok(Value::Map(Arc::new(counts.into_iter().map(|(k, n)| (k, count(n))).collect())))
}

pub(super) fn sum_by(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let number = Key::text(as_text(&args[2])?);
    let mut sums = BTreeMap::new();
    for (key, records) in grouped(args, m)? {
        let mut sum = Sum::default();
        for record in &records {
            match record.field(&number) {
                None | Some(Value::Null) => {}
                Some(value) => sum.add(value, &format_args!("field `{number}`"))?,
            }
        }
        sums.insert(key, sum.value()?);
    }
    Ok(Value::Map(Arc::new(sums)))
}

pub(super) fn group(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let groups = grouped(args, m)?;
    Ok(Value::Map(Arc::new(groups.into_iter().map(|(k, records)| (k, Value::list(records))).collect())))
}

pub(super) fn lift(args: &[Value], m: &mut Machine<'_>) -> Evaluated {
    let (by, kind) = (Key::text(as_text(&args[1])?), Key::text("type"));
    let mut counted = |variant: &Value, of: &Value| -> Result<f64, EvalError> {
        let mut n = 0u32;
        each(&args[0], &[(&by, variant), (&kind, of)], m, &mut |_| n += 1)?;
        Ok(f64::from(n))
    };
    let (success_b, trials_b) = (counted(&args[2], &args[4])?, counted(&args[2], &args[5])?);
    let (success_a, trials_a) = (counted(&args[3], &args[4])?, counted(&args[3], &args[5])?);
    if trials_a == 0.0 || trials_b == 0.0 || success_a == 0.0 {
        return Ok(Value::Null);
    }
    Ok(Value::Double((success_b / trials_b) / (success_a / trials_a) - 1.0))
}
