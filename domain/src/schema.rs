//! JSON Schema (draft 2020-12) for parameters, records and tools: compiled once, with the type expressions see.
//! The only home of `jsonschema`. Nothing is ever fetched; patterns match in linear time; schemas never recurse.

mod lint;
mod quick;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map as JsonMap, Value as Json, json};

use crate::expression::{ObjectType, Type};
use crate::scenario::Schema;
use crate::scenario::faults::{Faults, listed, shorten};
use crate::scenario::node::{Kind, Node};
use crate::value::{Key, Map, Value};
pub(crate) use quick::Quick;

/// Violations told of one value.
const MAX_VIOLATIONS: usize = 20;
/// Bytes of a compiled pattern.
const PATTERN_BYTES: usize = 1 << 18;
/// Keywords of ours that no JSON Schema knows; they are left out of what is compiled.
const OURS: [&str; 3] = ["unit", "extract", "on_delete"];
/// Keywords whose value is one schema, a list of them, or a map of them.
const ONE: [&str; 11] = [
    "items",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const MAP: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where in the value: a JSON pointer.
    pub pointer: String,
    /// The keyword of the schema that is not met.
    pub keyword: String,
    /// What is wrong, such as "5 is below the minimum 10".
    pub message: String,
}

impl Schema {
    /// A schema that anything meets.
    pub fn any() -> Schema {
        static ANY: LazyLock<Arc<Validator>> =
            LazyLock::new(|| Arc::new(jsonschema::validator_for(&Json::Bool(true)).expect("`true` is a schema")));
        Schema { json: Arc::new(json!({})), validator: ANY.clone(), quick: Some(Arc::default()), ty: Type::Dyn }
    }

    /// A schema that is not part of a document, such as one of a server. Never fetches; the error says why it cannot be used.
    pub fn of_json(json: Json) -> Result<Schema, String> {
        let validator = options().build(&json).map_err(|e| shorten(&e.to_string()))?;
        let (quick, ty) = (Quick::of(&json).map(Arc::new), type_of(&json));
        Ok(Schema { quick, json: Arc::new(json), validator: Arc::new(validator), ty })
    }

    /// Whether a value certainly meets the schema: cheap, and `false` where only the validator can tell.
    pub fn surely_holds(&self, value: &Value) -> bool {
        self.quick.as_ref().is_some_and(|quick| quick.passes(value))
    }

    /// What is wrong with a value, in the order found, at most twenty.
    pub fn violations(&self, json: &Json) -> Vec<Violation> {
        if self.validator.is_valid(json) {
            return Vec::new();
        }
        self.validator.iter_errors(json).take(MAX_VIOLATIONS).map(|e| violation(&e)).collect()
    }

    /// The value as this schema holds it (a whole number is a double where the schema says `number`), or what is wrong with it.
    pub fn admit(&self, value: &Value) -> Result<Value, Vec<Violation>> {
        let value = conform(&self.ty, value);
        if self.surely_holds(&value) {
            return Ok(value);
        }
        let violations = self.violations(&value.to_json());
        if violations.is_empty() { Ok(value) } else { Err(violations) }
    }

    /// A value from a person's text (a flag, a cell of a table), by the schema's type.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        let value = read(&self.ty, text)?;
        self.admit(&value).map_err(|v| v.into_iter().map(|v| v.message).collect::<Vec<_>>().join("; "))
    }
}

/// A value with its numbers as a type has them.
pub fn conform(ty: &Type, value: &Value) -> Value {
    match (ty, value) {
        (Type::Double, Value::Int(i)) => Value::Double(*i as f64),
        (Type::Int, Value::Double(d)) if d.fract() == 0.0 && d.abs() < 9.0e15 => Value::Int(*d as i64),
        (Type::OneOf(types), Value::Int(_)) if !types.contains(&Type::Int) && types.contains(&Type::Double) => {
            conform(&Type::Double, value)
        }
        (Type::OneOf(types), Value::Double(_)) if types.contains(&Type::Int) && !types.contains(&Type::Double) => {
            conform(&Type::Int, value)
        }
        (Type::OneOf(types), Value::List(_)) => {
            types.iter().find(|t| matches!(t, Type::List(_))).map_or_else(|| value.clone(), |t| conform(t, value))
        }
        (Type::OneOf(types), Value::Map(_)) => types
            .iter()
            .find(|t| matches!(t, Type::Object(_) | Type::Map(_)))
            .map_or_else(|| value.clone(), |t| conform(t, value)),
        (Type::List(item), Value::List(items)) => Value::list(items.iter().map(|v| conform(item, v))),
        (Type::Map(item), Value::Map(map)) => {
            Value::Map(Arc::new(map.iter().map(|(k, v)| (k.clone(), conform(item, v))).collect::<Map>()))
        }
        (Type::Object(object), Value::Map(map)) => {
            let of = |name: &str| object.fields.iter().find(|f| &*f.0 == name).map(|f| &f.1);
            let may_change = |(k, v): (&Key, &Value)| match (k, v) {
                (Key::Text(name), Value::Int(_)) => !matches!(of(name), None | Some(Type::Int)),
                (Key::Text(name), Value::Double(_)) => !matches!(of(name), None | Some(Type::Double)),
                (Key::Text(_), Value::List(_) | Value::Map(_)) => true,
                _ => false,
            };
            if !map.iter().any(may_change) {
                return value.clone();
            }
            let known: BTreeMap<&str, &Type> = object.fields.iter().map(|f| (&*f.0, &f.1)).collect();
            let field = |(k, v): (&Key, &Value)| match k {
                Key::Text(name) => (k.clone(), known.get(&**name).map_or_else(|| v.clone(), |t| conform(t, v))),
                _ => (k.clone(), v.clone()),
            };
            Value::Map(Arc::new(map.iter().map(field).collect::<Map>()))
        }
        _ => value.clone(),
    }
}

/// A value of a type from a text.
pub(crate) fn read(ty: &Type, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("`{}` is not {what}", shorten(text));
    match ty {
        Type::Int => text.trim().parse().map(Value::Int).map_err(|_| wrong("a whole number (an integer)")),
        Type::Double => match text.trim().parse::<f64>() {
            Ok(d) if d.is_finite() => Ok(Value::Double(d)),
            _ => Err(wrong("a number")),
        },
        Type::Bool => match text.trim() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(wrong("`true` or `false` (a boolean)")),
        },
        Type::Null => {
            if matches!(text.trim(), "" | "null") {
                Ok(Value::Null)
            } else {
                Err(wrong("null"))
            }
        }
        Type::Text => Ok(Value::text(text)),
        Type::OneOf(types) => {
            let rank = |t: &Type| match t {
                Type::Null => 0,
                Type::Int => 1,
                Type::Double => 2,
                Type::Bool => 3,
                Type::Text => 5,
                _ => 4,
            };
            let mut types: Vec<&Type> = types.iter().collect();
            types.sort_by_key(|t| rank(t));
            let mut last = Err(wrong("a value of its type"));
            for ty in types {
                last = read(ty, text);
                if last.is_ok() {
                    break;
                }
            }
            last
        }
        Type::Dyn => Ok(serde_json::from_str(text).map_or_else(|_| Value::text(text), |json| Value::from_json(&json))),
        _ => serde_json::from_str(text).map(|json| Value::from_json(&json)).map_err(|_| wrong("JSON")),
    }
}

/// The type expressions see of a schema.
pub fn type_of(schema: &Json) -> Type {
    let Json::Object(map) = schema else { return Type::Dyn };
    match map.get("type") {
        Some(Json::String(name)) => named_type(name, map),
        Some(Json::Array(names)) => one_of(names.iter().filter_map(Json::as_str).map(|n| named_type(n, map)).collect()),
        _ => {
            let values = map.get("enum").and_then(Json::as_array).cloned().or_else(|| map.get("const").map(|c| vec![c.clone()]));
            if let Some(values) = values.filter(|v| !v.is_empty()) {
                return one_of(values.iter().map(type_of_value).collect());
            }
            for key in ["anyOf", "oneOf"] {
                if let Some(all) = map.get(key).and_then(Json::as_array).filter(|a| !a.is_empty()) {
                    return one_of(all.iter().map(type_of).collect());
                }
            }
            if map.contains_key("properties") { named_type("object", map) } else { Type::Dyn }
        }
    }
}

fn one_of(types: Vec<Type>) -> Type {
    let mut all: Vec<Type> = Vec::new();
    for ty in types {
        if ty == Type::Dyn {
            return Type::Dyn;
        }
        if !all.contains(&ty) {
            all.push(ty);
        }
    }
    if all.len() == 1 { all.remove(0) } else { Type::OneOf(all) }
}

fn type_of_value(value: &Json) -> Type {
    match value {
        Json::Null => Type::Null,
        Json::Bool(_) => Type::Bool,
        Json::Number(n) => {
            if n.is_f64() {
                Type::Double
            } else {
                Type::Int
            }
        }
        Json::String(_) => Type::Text,
        _ => Type::Dyn,
    }
}

fn named_type(name: &str, map: &JsonMap<String, Json>) -> Type {
    match name {
        "string" => Type::Text,
        "integer" => Type::Int,
        "number" => Type::Double,
        "boolean" => Type::Bool,
        "null" => Type::Null,
        "array" => Type::List(Box::new(map.get("items").map_or(Type::Dyn, type_of))),
        "object" => match map.get("properties").and_then(Json::as_object) {
            Some(properties) => Type::Object(Arc::new(ObjectType {
                fields: properties.iter().map(|(k, v)| (Arc::from(k.as_str()), type_of(v))).collect(),
                open: map.get("additionalProperties") != Some(&Json::Bool(false)),
            })),
            None => Type::Map(Box::new(map.get("additionalProperties").map_or(Type::Dyn, type_of))),
        },
        _ => Type::Dyn,
    }
}

fn options<'o>() -> jsonschema::ValidationOptions<'o> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(4 * PATTERN_BYTES))
}

fn violation(error: &ValidationError<'_>) -> Violation {
    use ValidationErrorKind as E;
    let shown = |json: &Json| shorten(&json.to_string());
    let it = shown(error.instance());
    let message = match error.kind() {
        E::Minimum { limit } => format!("{it} is below the minimum {limit}"),
        E::Maximum { limit } => format!("{it} is above the maximum {limit}"),
        E::ExclusiveMinimum { limit } => format!("{it} must be above {limit}"),
        E::ExclusiveMaximum { limit } => format!("{it} must be below {limit}"),
        E::Enum { options } => format!("{it} is not one of {}", shown(options)),
        E::Constant { expected_value } => format!("{it} is not {}", shown(expected_value)),
        E::Type { .. } => {
            let expected = error.to_string();
            let expected = expected.rsplit(" is not of type").next().map(str::trim).unwrap_or_default();
            let expected = expected.trim_start_matches("s ").replace('"', "`");
            format!("{it} is not of type {expected}")
        }
        E::Required { property } => format!("field `{}` is missing", property.as_str().unwrap_or_default()),
        E::AdditionalProperties { unexpected } | E::UnevaluatedProperties { unexpected } => {
            format!("unknown field {}", listed(unexpected.iter().map(String::as_str)))
        }
        E::Format { format } => format!("{it} is not of format `{format}`"),
        E::Pattern { pattern } => format!("{it} does not match the pattern `{}`", shorten(pattern)),
        E::MinLength { limit } => format!("{it} is shorter than {limit} characters"),
        E::MaxLength { limit } => format!("{it} is longer than {limit} characters"),
        E::MinItems { limit } => format!("it has fewer than {limit} items"),
        E::MaxItems { limit } => format!("it has more than {limit} items"),
        E::MultipleOf { multiple_of } => format!("{it} is not a multiple of {multiple_of}"),
        E::UniqueItems => "it has the same item twice".into(),
        _ => error.to_string().chars().take(200).collect(),
    };
    let keyword = error.kind().keyword().to_owned();
    Violation { pointer: error.instance_path().as_str().to_owned(), keyword, message }
}

/// Compiles a schema of the document. Faults are told; after one, what stands in takes anything.
pub(crate) fn compile(node: &Node, faults: &mut Faults) -> Schema {
    if node.has_broken() {
        return Schema::any();
    }
    let before = faults.errors();
    lint::check(node, faults);
    let json = cleaned(node);
    let ty = type_of(&json);
    if faults.errors() > before {
        return Schema { ty, ..Schema::any() };
    }
    let errors: Vec<(String, String)> = jsonschema::draft202012::meta::validator()
        .iter_errors(&json)
        .take(MAX_VIOLATIONS)
        .map(|e| (e.instance_path().as_str().to_owned(), violation(&e).message))
        .collect();
    for (pointer, message) in &errors {
        let at = node.pointed(pointer);
        let word = pointer.rsplit('/').next().unwrap_or_default();
        faults.error("bad_schema", at.at, format!("the JSON Schema does not hold at `{}`: {message}", shorten(word)));
    }
    if !errors.is_empty() {
        return Schema { ty, ..Schema::any() };
    }
    match options().build(&json) {
        Ok(validator) => {
            Schema { quick: Quick::of(&json).map(Arc::new), json: Arc::new(json), validator: Arc::new(validator), ty }
        }
        Err(e) => {
            let at = node.pointed(e.instance_path().as_str()).at;
            faults.error("bad_schema", at, format!("the JSON Schema does not compile: {}", shorten(&e.to_string())));
            Schema { ty, ..Schema::any() }
        }
    }
}

/// The schema without our keywords, and without defaults that are expressions.
fn cleaned(node: &Node) -> Json {
    let Kind::Map(entries) = &node.kind else { return node.to_json() };
    let mut out = JsonMap::new();
    for (key, value) in entries {
        let name = &*key.text;
        if OURS.contains(&name) || name == "default" && value.get("cel").is_some() {
            continue;
        }
        let json = if ONE.contains(&name) {
            cleaned(value)
        } else if LIST.contains(&name) {
            match &value.kind {
                Kind::List(items) => Json::Array(items.iter().map(cleaned).collect()),
                _ => value.to_json(),
            }
        } else if MAP.contains(&name) {
            match &value.kind {
                Kind::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.text.to_string(), cleaned(v))).collect()),
                _ => value.to_json(),
            }
        } else {
            value.to_json()
        };
        out.insert(name.to_owned(), json);
    }
    Json::Object(out)
}
