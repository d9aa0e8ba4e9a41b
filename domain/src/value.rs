//! The one value type of expressions, world records, messages and events. Maps iterate in key order, always.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::collection::Collection;

/// A map in key order.
pub type Map = BTreeMap<Key, Value>;

/// A value of the scenario language. Clones are cheap: everything with a size is shared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Value {
    /// Absence.
    #[default]
    Null,
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; a double that enters a log is finite.
    Double(f64),
    /// Text.
    Text(Arc<str>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map in key order.
    Map(Arc<Map>),
    /// A moment, milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    /// A span of time, milliseconds.
    Duration(i64),
    /// A collection of the world, borrowed by sharing. Never stored: `plain` turns it into a map.
    #[serde(skip)]
    Collection(Arc<Collection>),
}

/// A key of a map or of a record. A composite key is a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// Truth.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(Arc<str>),
    /// A composite key, in the order the collection declares.
    List(Arc<[Key]>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Bool(b) => write!(f, "{b}"),
            Key::Int(i) => write!(f, "{i}"),
            Key::Text(t) => f.write_str(t),
            Key::List(parts) => {
                for (n, part) in parts.iter().enumerate() {
                    if n > 0 {
                        f.write_str("/")?;
                    }
                    write!(f, "{part}")?;
                }
                Ok(())
            }
        }
    }
}

impl Key {
    /// A text key.
    pub fn text(text: impl Into<Arc<str>>) -> Key {
        Key::Text(text.into())
    }

    /// The key as a value of an expression.
    pub fn to_value(&self) -> Value {
        match self {
            Key::Bool(b) => Value::Bool(*b),
            Key::Int(i) => Value::Int(*i),
            Key::Text(t) => Value::Text(t.clone()),
            Key::List(parts) => Value::List(Arc::new(parts.iter().map(Key::to_value).collect())),
        }
    }
}

impl Value {
    /// Text from anything that becomes a shared string.
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::Text(text.into())
    }

    /// A map with text keys.
    pub fn object<K: Into<Arc<str>>>(fields: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Map(Arc::new(fields.into_iter().map(|(k, v)| (Key::Text(k.into()), v)).collect()))
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(Arc::new(items.into_iter().collect()))
    }

    /// The field of a map with text keys; `None` for other values and for absent fields.
    pub fn get(&self, field: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(&Key::Text(Arc::from(field))),
            _ => None,
        }
    }

    /// As `get`, with the key made once by the caller: no allocation.
    pub fn field(&self, key: &Key) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(t) => Some(t),
            _ => None,
        }
    }

    /// The number as a double, from an int or a double.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "CEL widens int to double the same way")]
            Value::Int(i) => Some(*i as f64),
            Value::Double(d) => Some(*d),
            _ => None,
        }
    }

    /// The key this value can be, if any. A whole double is the int of the same size; a list of at most 16 scalars is a
    /// composite key.
    pub fn as_key(&self) -> Option<Key> {
        match self {
            Value::Bool(b) => Some(Key::Bool(*b)),
            Value::Int(i) => Some(Key::Int(*i)),
            #[expect(clippy::cast_possible_truncation, reason = "guarded: whole and within i64")]
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 9.0e15 => Some(Key::Int(*d as i64)),
            Value::Text(t) => Some(Key::Text(t.clone())),
            Value::List(items) => composite(items, Value::as_key),
            _ => None,
        }
    }

    /// As `as_key`, but `None` for ints that a double cannot tell apart. Two values with such keys are equal exactly where
    /// the keys are, and a value without one never equals a value that has one.
    pub fn exact_key(&self) -> Option<Key> {
        match self {
            Value::Int(i) if i.unsigned_abs() >= 9_000_000_000_000_000 => None,
            Value::List(items) => composite(items, Value::exact_key),
            other => other.as_key(),
        }
    }

    /// What kind of value this is, as the language names it in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "timestamp",
            Value::Duration(_) => "duration",
            Value::Collection(_) => "collection",
        }
    }

    /// The value with every collection in it turned into a map of records by key.
    #[must_use]
    pub fn plain(&self) -> Value {
        match self {
            Value::Collection(c) => Value::Map(Arc::new(c.iter().map(|(k, v)| (k.clone(), v.clone())).collect())),
            Value::List(items) if items.iter().any(Value::holds_collection) => Value::list(items.iter().map(Value::plain)),
            Value::Map(map) if map.values().any(Value::holds_collection) => {
                Value::Map(Arc::new(map.iter().map(|(k, v)| (k.clone(), v.plain())).collect()))
            }
            other => other.clone(),
        }
    }

    fn holds_collection(&self) -> bool {
        match self {
            Value::Collection(_) => true,
            Value::List(items) => items.iter().any(Value::holds_collection),
            Value::Map(map) => map.values().any(Value::holds_collection),
            _ => false,
        }
    }

    /// The first number in the value that JSON cannot hold (NaN or infinite).
    pub fn not_finite(&self) -> Option<f64> {
        match self {
            Value::Double(d) if !d.is_finite() => Some(*d),
            Value::List(items) => items.iter().find_map(Value::not_finite),
            Value::Map(map) => map.values().find_map(Value::not_finite),
            _ => None,
        }
    }

    /// About how many bytes the value takes when stored; cheap, never below the truth by more than a third.
    pub fn weight(&self) -> usize {
        match self {
            Value::Text(t) => 2 + t.len(),
            Value::List(items) => 2 + items.iter().map(Value::weight).sum::<usize>(),
            Value::Map(map) => 2 + map.iter().map(|(k, v)| key_weight(k) + v.weight()).sum::<usize>(),
            Value::Int(_) | Value::Double(_) | Value::Timestamp(_) | Value::Duration(_) => 9,
            Value::Null | Value::Bool(_) => 1,
            Value::Collection(c) => c.iter().map(|(k, v)| key_weight(k) + v.weight()).sum(),
        }
    }

    /// The value as JSON: durations in ISO 8601 seconds, timestamps in RFC 3339, composite keys joined by `/`.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as J;
        match self {
            Value::Null => J::Null,
            Value::Bool(b) => J::Bool(*b),
            Value::Int(i) => J::from(*i),
            Value::Double(d) => serde_json::Number::from_f64(*d).map_or(J::Null, J::Number),
            Value::Text(t) => J::from(&**t),
            Value::List(items) => J::Array(items.iter().map(Value::to_json).collect()),
            Value::Map(map) => J::Object(map.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect()),
            Value::Timestamp(ms) => J::from(timestamp_text(*ms)),
            Value::Duration(ms) => J::from(duration_text(*ms)),
            Value::Collection(_) => self.plain().to_json(),
        }
    }

    /// A value from JSON text, as `from_json` has it.
    pub fn from_json_text(text: &str) -> Result<Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = FromJson.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    /// The same as JSON text.
    pub fn to_json_text(&self) -> String {
        serde_json::to_string(&AsJson(self)).expect("a value's keys are texts in JSON")
    }

    /// A value from JSON. A whole JSON number within 64 bits is an int, every other one a double.
    pub fn from_json(json: &serde_json::Value) -> Value {
        use serde_json::Value as J;
        match json {
            J::Null => Value::Null,
            J::Bool(b) => Value::Bool(*b),
            J::Number(n) => n.as_i64().map_or_else(|| Value::Double(n.as_f64().unwrap_or(f64::MAX)), Value::Int),
            J::String(s) => Value::text(s.as_str()),
            J::Array(items) => Value::list(items.iter().map(Value::from_json)),
            J::Object(fields) => Value::object(fields.iter().map(|(k, v)| (k.as_str(), Value::from_json(v)))),
        }
    }
}

/// Reads a value from JSON as `from_json` does, without the tree in between.
struct FromJson;

impl<'de> Visitor<'de> for FromJson {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E>(self, i: i64) -> Result<Value, E> {
        Ok(Value::Int(i))
    }
    fn visit_u64<E>(self, u: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "what is no int is a double")]
        Ok(i64::try_from(u).map_or(Value::Double(u as f64), Value::Int))
    }
    fn visit_f64<E>(self, d: f64) -> Result<Value, E> {
        Ok(Value::Double(d))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(FromJson)? {
            list.push(item);
        }
        Ok(Value::List(Arc::new(list)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<std::borrow::Cow<'de, str>>()? {
            map.insert(Key::Text(name.into()), fields.next_value_seed(FromJson)?);
        }
        Ok(Value::Map(Arc::new(map)))
    }
}

impl<'de> DeserializeSeed<'de> for FromJson {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A value as `to_json` has it, written without the tree in between.
pub struct AsJson<'a>(pub &'a Value);

impl Serialize for AsJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(i) => serializer.serialize_i64(*i),
            Value::Double(d) if !d.is_finite() => serializer.serialize_unit(),
            Value::Double(d) => serializer.serialize_f64(*d),
            Value::Text(t) => serializer.serialize_str(t),
            Value::List(items) => serializer.collect_seq(items.iter().map(AsJson)),
            Value::Map(map) if map.keys().all(|key| matches!(key, Key::Text(_))) => {
                serializer.collect_map(map.iter().map(|(key, value)| (text_of(key), AsJson(value))))
            }
            // Keys that are equal as texts are one field of an object.
            Value::Map(_) | Value::Collection(_) => self.0.to_json().serialize(serializer),
            Value::Timestamp(ms) => serializer.serialize_str(&timestamp_text(*ms)),
            Value::Duration(ms) => serializer.serialize_str(&duration_text(*ms)),
        }
    }
}

fn text_of(key: &Key) -> &str {
    match key {
        Key::Text(text) => text,
        _ => "",
    }
}

/// The composite key of some parts; bounded, so that looking something up never takes long.
fn composite(parts: &[Value], key: fn(&Value) -> Option<Key>) -> Option<Key> {
    let part = |v: &Value| if matches!(v, Value::List(_)) { None } else { key(v) };
    if parts.len() > 16 {
        return None;
    }
    parts.iter().map(part).collect::<Option<Vec<_>>>().map(|k| Key::List(k.into()))
}

fn key_weight(key: &Key) -> usize {
    match key {
        Key::Text(t) => 2 + t.len(),
        Key::List(parts) => parts.iter().map(key_weight).sum(),
        Key::Bool(_) | Key::Int(_) => 3,
    }
}

/// A moment in RFC 3339, UTC, with milliseconds only where there are any.
pub fn timestamp_text(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms}ms"), |t| t.to_string())
}

/// The moment that a text says, milliseconds since 1970 UTC.
pub fn timestamp_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// A span as ISO 8601 in seconds.
pub fn duration_text(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let (s, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}PT{s}S") } else { format!("{sign}PT{s}.{rest:03}S") }
}

/// Equality as CEL has it: numbers compare across int and double, maps and lists by content.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a == b,
            #[expect(clippy::cast_precision_loss, reason = "CEL compares int and double as doubles")]
            (Value::Int(a), Value::Double(b)) | (Value::Double(b), Value::Int(a)) => *a as f64 == *b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Collection(_), _) | (_, Value::Collection(_)) => match (self.plain(), other.plain()) {
                (Value::Map(a), Value::Map(b)) => a == b,
                _ => false,
            },
            _ => false,
        }
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Value {
        Value::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(i: i64) -> Value {
        Value::Int(i)
    }
}
impl From<f64> for Value {
    fn from(d: f64) -> Value {
        Value::Double(d)
    }
}
impl From<&str> for Value {
    fn from(t: &str) -> Value {
        Value::text(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_the_same_with_and_without_a_tree() {
        for text in [
            r#"{"b": [1, -2, 1.0, 1e2, 18446744073709551615, 9223372036854775807, null, true], "a": {"x": "q\"\u00e9"}, "a": 3}"#,
            "[]",
            "{}",
            r#""text""#,
        ] {
            let tree: serde_json::Value = serde_json::from_str(text).expect("valid");
            let read = Value::from_json_text(text).expect("valid");
            assert_eq!(format!("{read:?}"), format!("{:?}", Value::from_json(&tree)), "{text}");
        }
        for text in ["{", "[1,]", "1 2", "", &"[".repeat(200)] {
            assert!(Value::from_json_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_the_same_with_and_without_a_tree() {
        let numbers = [0.1, 1.0, 1e300, f64::NAN, f64::INFINITY, -0.0].map(Value::Double);
        let mixed: Map =
            [(Key::Int(1), Value::Null), (Key::text("1"), Value::Bool(true)), (Key::List([Key::Int(2)].into()), Value::Int(3))]
                .into();
        for value in [
            Value::list(numbers),
            Value::object([("b", Value::text("\"q\" é \u{1}\n")), ("a", Value::list([])), ("c", Value::object::<&str>([]))]),
            Value::Map(Arc::new(mixed.clone())),
            Value::list([Value::Map(Arc::new(mixed)), Value::Timestamp(1), Value::Duration(-1500), Value::Int(i64::MIN)]),
        ] {
            assert_eq!(value.to_json_text(), value.to_json().to_string());
        }
    }
}
