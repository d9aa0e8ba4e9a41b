//! A check of a value that needs no JSON, for the keywords most schemas are made of. What it lets through is valid; about
//! everything else the validator is asked, which also says what is wrong.

use serde_json::{Map as JsonMap, Value as Json};

use crate::value::{Key, Value};

/// Whole numbers up to here are told apart by a double.
const EXACT: u64 = 1 << 53;
/// Keywords that ask nothing of a value.
const NOTES: [&str; 6] = ["title", "description", "default", "examples", "$comment", "deprecated"];

/// A schema of known keywords only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quick {
    /// The types it may have; empty: any.
    types: Vec<Kind>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    one_of: Option<Vec<Value>>,
    /// Characters of a text, at least and at most.
    length: (usize, Option<usize>),
    date: bool,
    /// Items of a list, at least and at most.
    count: (usize, Option<usize>),
    items: Option<Box<Quick>>,
    required: Vec<Key>,
    properties: Vec<(Key, Quick)>,
    rest: Rest,
}

/// What fields may be that are not among the properties.
#[derive(Clone, Debug, Default)]
enum Rest {
    #[default]
    Any,
    None,
    Of(Box<Quick>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Int,
    Number,
    Text,
    List,
    Map,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        Some(match name {
            "null" => Kind::Null,
            "boolean" => Kind::Bool,
            "integer" => Kind::Int,
            "number" => Kind::Number,
            "string" => Kind::Text,
            "array" => Kind::List,
            "object" => Kind::Map,
            _ => return None,
        })
    }

    fn holds(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Kind::Null, Value::Null)
                | (Kind::Bool, Value::Bool(_))
                | (Kind::Int | Kind::Number, Value::Int(_))
                | (Kind::Number, Value::Double(_))
                | (Kind::Text, Value::Text(_))
                | (Kind::List, Value::List(_))
                | (Kind::Map, Value::Map(_))
        )
    }
}

impl Quick {
    /// The check of a schema; `None` where it has a keyword that only the validator knows.
    pub(super) fn of(schema: &Json) -> Option<Quick> {
        let map = match schema {
            Json::Bool(true) => return Some(Quick::default()),
            Json::Object(map) => map,
            _ => return None,
        };
        let mut quick = Quick::default();
        map.iter().try_for_each(|(word, json)| quick.keyword(word, json, map))?;
        Some(quick)
    }

    fn keyword(&mut self, word: &str, json: &Json, map: &JsonMap<String, Json>) -> Option<()> {
        match word {
            _ if NOTES.contains(&word) || word.starts_with("x-") => {}
            "type" => {
                self.types = match json {
                    Json::String(name) => vec![Kind::named(name)?],
                    Json::Array(names) => names.iter().map(|n| Kind::named(n.as_str()?)).collect::<Option<_>>()?,
                    _ => return None,
                };
            }
            "minimum" => self.minimum = Some(exact(json)?),
            "maximum" => self.maximum = Some(exact(json)?),
            "exclusiveMinimum" => self.above = Some(exact(json)?),
            "exclusiveMaximum" => self.below = Some(exact(json)?),
            "enum" => self.one_of = Some(json.as_array()?.iter().map(scalar).collect::<Option<_>>()?),
            "const" => self.one_of = Some(vec![scalar(json)?]),
            "minLength" => self.length.0 = size(json)?,
            "maxLength" => self.length.1 = Some(size(json)?),
            "format" if json == "date" => self.date = true,
            "minItems" => self.count.0 = size(json)?,
            "maxItems" => self.count.1 = Some(size(json)?),
            "items" => self.items = Some(Box::new(Quick::of(json)?)),
            "required" => {
                self.required = json.as_array()?.iter().map(|n| n.as_str().map(Key::text)).collect::<Option<_>>()?;
            }
            "properties" => {
                let field = |(name, schema): (&String, &Json)| Some((Key::text(name.as_str()), Quick::of(schema)?));
                self.properties = json.as_object()?.iter().map(field).collect::<Option<_>>()?;
            }
            // Which fields are additional depends on this one too.
            "additionalProperties" if map.contains_key("patternProperties") => return None,
            "additionalProperties" => {
                self.rest = match json {
                    Json::Bool(true) => Rest::Any,
                    Json::Bool(false) => Rest::None,
                    schema => Rest::Of(Box::new(Quick::of(schema)?)),
                };
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether the value certainly meets the schema.
    pub(super) fn passes(&self, value: &Value) -> bool {
        if !self.types.is_empty() && !self.types.iter().any(|kind| kind.holds(value)) {
            return false;
        }
        if let Some(values) = &self.one_of
            && !values.iter().any(|v| std::mem::discriminant(v) == std::mem::discriminant(value) && v == value)
        {
            return false;
        }
        match value {
            Value::Null | Value::Bool(_) => true,
            Value::Int(i) => i.unsigned_abs() <= EXACT && self.in_range(value.as_f64().unwrap_or(f64::NAN)),
            Value::Double(d) => d.is_finite() && self.in_range(*d),
            Value::Text(text) => self.text(text),
            Value::List(items) => {
                let (least, most) = self.count;
                items.len() >= least
                    && most.is_none_or(|most| items.len() <= most)
                    && self.items.as_ref().is_none_or(|item| items.iter().all(|v| item.passes(v)))
            }
            Value::Map(map) => {
                self.required.iter().all(|key| map.contains_key(key))
                    && map.iter().all(|(key, v)| match (self.properties.iter().find(|(name, _)| name == key), &self.rest) {
                        (Some((_, schema)), _) => schema.passes(v),
                        (None, Rest::None) => false,
                        (None, Rest::Of(schema)) => matches!(key, Key::Text(_)) && schema.passes(v),
                        // A field nobody asks about may hold what JSON has another word for.
                        (None, Rest::Any) => matches!(key, Key::Text(_)),
                    })
            }
            Value::Timestamp(_) | Value::Duration(_) | Value::Collection(_) => false,
        }
    }

    fn in_range(&self, number: f64) -> bool {
        self.minimum.is_none_or(|least| number >= least)
            && self.maximum.is_none_or(|most| number <= most)
            && self.above.is_none_or(|least| number > least)
            && self.below.is_none_or(|most| number < most)
    }

    fn text(&self, text: &str) -> bool {
        let (least, most) = self.length;
        // A character takes one to four bytes: most lengths need no count.
        let long_enough = text.len() >= least.saturating_mul(4) || text.chars().count() >= least;
        let short_enough = most.is_none_or(|most| text.len() <= most || text.chars().count() <= most);
        long_enough && short_enough && (!self.date || is_date(text))
    }
}

/// A date that any month has; the others are left to the validator.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| bytes[from..to].iter().all(u8::is_ascii_digit);
    bytes.len() == 10
        && digits(0, 4)
        && bytes[4] == b'-'
        && digits(5, 7)
        && bytes[7] == b'-'
        && digits(8, 10)
        && ("01"..="12").contains(&&text[5..7])
        && ("01"..="28").contains(&&text[8..10])
}

fn exact(json: &Json) -> Option<f64> {
    let whole = json.as_i64().is_none_or(|i| i.unsigned_abs() <= EXACT);
    json.as_f64().filter(|_| whole && !json.is_u64() || json.as_u64().is_some_and(|u| u <= EXACT))
}

fn size(json: &Json) -> Option<usize> {
    json.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// A value that is equal in JSON exactly where it is equal here, among values of its own type.
fn scalar(json: &Json) -> Option<Value> {
    match json {
        Json::Null | Json::Bool(_) | Json::String(_) => Some(Value::from_json(json)),
        Json::Number(n) => n.as_i64().filter(|i| i.unsigned_abs() <= EXACT).map(Value::Int),
        Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn schemas() -> Vec<Json> {
        vec![
            json!({"type": "integer", "minimum": 1, "maximum": 52}),
            json!({"type": ["integer", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 10}),
            json!({"type": "number", "minimum": -0.5, "maximum": 1e3}),
            json!({"minimum": 3}),
            json!({"type": "string", "format": "date"}),
            json!({"type": "string", "minLength": 2, "maxLength": 4}),
            json!({"enum": ["a", "2026-03-02", 2, null, true]}),
            json!({"const": 1}),
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 0}}}),
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            json!({"type": "object", "properties": {"a": {}, "b": {"type": "string"}}, "additionalProperties": false}),
            json!({"title": "t", "x-note": [1]}),
            json!(true),
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        let number = prop_oneof![Just(0.0), Just(1.0), Just(-0.5), Just(0.5), Just(1e3), Just(1e300), Just(f64::NAN), -3.0..60.0];
        let whole = prop_oneof![-2i64..60, Just(i64::MAX), Just(i64::MIN), Just((1 << 53) + 1)];
        let text = prop_oneof![
            Just("2026-03-02"),
            Just("2026-02-30"),
            Just("2026-13-01"),
            Just("2026-3-2"),
            Just("a"),
            Just("äö"),
            Just("äöüßé"),
            Just("")
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            whole.prop_map(Value::Int),
            number.prop_map(Value::Double),
            text.prop_map(Value::text),
            Just(Value::Timestamp(0)),
            Just(Value::Duration(1500)),
        ];
        let key = prop_oneof![Just(Key::text("a")), Just(Key::text("b")), Just(Key::text("c")), Just(Key::Int(1))];
        leaf.prop_recursive(2, 8, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::list),
                prop::collection::btree_map(key.clone(), inner, 0..3).prop_map(|m| Value::Map(std::sync::Arc::new(m))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_passes_is_valid(value in values()) {
            for schema in schemas() {
                let quick = Quick::of(&schema).expect("its keywords are known");
                let validator = crate::schema::options().build(&schema).expect("compiles");
                if quick.passes(&value) {
                    prop_assert!(validator.is_valid(&value.to_json()), "{schema} and {}", value.to_json());
                }
            }
        }
    }

    #[test]
    fn the_usual_values_pass() {
        let rows = [
            (json!({"type": "integer", "minimum": 1, "maximum": 52}), Value::Int(12)),
            (json!({"type": "string", "format": "date"}), Value::text("2026-03-02")),
            (json!({"enum": ["none", "weekly"]}), Value::text("weekly")),
            (json!({"type": "number", "maximum": 1.0}), Value::Double(0.45)),
            (json!({"type": ["integer", "null"], "minimum": 1}), Value::Null),
            (
                json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}, "t": {"type": "string"}}}),
                Value::object([("n", Value::Int(1)), ("t", Value::text("x")), ("other", Value::Bool(true))]),
            ),
        ];
        for (schema, value) in rows {
            assert!(Quick::of(&schema).expect("known").passes(&value), "{schema}");
        }
    }

    #[test]
    fn what_it_does_not_know_is_left_to_the_validator() {
        for schema in [
            json!({"pattern": "a"}),
            json!({"type": "string", "format": "email"}),
            json!({"anyOf": [{"type": "string"}]}),
            json!({"items": {"multipleOf": 2}}),
            json!({"enum": [[1]]}),
            json!({"additionalProperties": false, "patternProperties": {"a": {}}}),
            json!(false),
        ] {
            assert!(Quick::of(&schema).is_none(), "{schema}");
        }
    }
}
