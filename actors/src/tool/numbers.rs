//! Reading numbers out of a tool's input and rounding them on the way out.

use commedia_domain::value::Value;

/// Most values a built-in takes in one list.
pub(super) const MOST_VALUES: usize = 10_000;

/// Largest absolute value a built-in takes.
pub(super) const LARGEST: f64 = 1e12;

/// The numbers of a list: numbers themselves, or records whose field `field` is one. A collection is read in key order.
pub(super) fn series(input: &Value, name: &str, field: &str) -> Result<Vec<f64>, String> {
    let items: Vec<&Value> = match input.get(name) {
        Some(Value::List(items)) => items.iter().collect(),
        Some(Value::Collection(records)) => records.iter().map(|(_, record)| record).collect(),
        Some(other) => return Err(format!("`{name}` must be a list of numbers, not {}", other.kind())),
        None => return Err(format!("`{name}` is missing: a list of numbers")),
    };
    if items.len() > MOST_VALUES {
        return Err(format!("`{name}` has {} values; at most {MOST_VALUES} are taken", items.len()));
    }
    items.into_iter().enumerate().map(|(i, item)| number(item, name, field, i)).collect()
}

fn number(item: &Value, name: &str, field: &str, at: usize) -> Result<f64, String> {
    let value = match item {
        Value::Map(_) => item.get(field).ok_or_else(|| format!("`{name}[{at}]` has no field `{field}`"))?,
        other => other,
    };
    match value {
        Value::Bool(b) => Ok(f64::from(u8::from(*b))),
        other => match other.as_f64() {
            Some(n) if n.is_finite() && n.abs() <= LARGEST => Ok(n),
            Some(n) => Err(format!("`{name}[{at}]` is {n}; values lie within ±{LARGEST:e}")),
            None => Err(format!("`{name}[{at}]` is {}, not a number", other.kind())),
        },
    }
}

/// A whole number between `least` and `most`, or `default` where it is absent or null.
pub(super) fn whole(input: &Value, name: &str, default: Option<i64>, least: i64, most: i64) -> Result<i64, String> {
    let given = match input.get(name) {
        None | Some(Value::Null) => default,
        Some(value) => match value.as_key() {
            Some(commedia_domain::value::Key::Int(n)) => Some(n),
            _ => return Err(format!("`{name}` must be a whole number, not {}", shown(value))),
        },
    };
    match given {
        Some(n) if (least..=most).contains(&n) => Ok(n),
        Some(n) => Err(format!("`{name}` is {n}; it must be {least} to {most}")),
        None => Err(format!("`{name}` is missing: a whole number, {least} to {most}")),
    }
}

/// Text, or `default` where it is absent or null.
pub(super) fn text<'a>(input: &'a Value, name: &str, default: &'a str) -> Result<&'a str, String> {
    match input.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_str().ok_or_else(|| format!("`{name}` must be text, not {}", shown(value))),
    }
}

/// Truth, or `default` where it is absent or null.
pub(super) fn truth(input: &Value, name: &str, default: bool) -> Result<bool, String> {
    match input.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(b)) => Ok(*b),
        Some(value) => Err(format!("`{name}` must be true or false, not {}", shown(value))),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => value.to_json().to_string(),
        other => other.kind().to_owned(),
    }
}

/// Refuses fields that are not in `known`, so that a misspelt option is never silently ignored.
pub(super) fn known_fields(input: &Value, known: &[&str]) -> Result<(), String> {
    let Value::Map(fields) = input else {
        return Err(format!("the input must be a map, not {}", input.kind()));
    };
    match fields.keys().find(|key| !known.contains(&key.to_string().as_str())) {
        Some(key) => Err(format!("unknown field `{key}`; known: {}", known.join(", "))),
        None => Ok(()),
    }
}

/// The number to six significant digits.
pub(super) fn six_digits(n: f64) -> f64 {
    let rounded = format!("{n:.5e}").parse().unwrap_or(n);
    if rounded == 0.0 { 0.0 } else { rounded }
}
