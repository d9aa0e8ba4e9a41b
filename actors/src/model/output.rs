//! How a model is asked for JSON: by the interface's own means where the schema permits, else in words.

use std::borrow::Cow;

use commedia_domain::run::ModelRequest;
use serde_json::Value as Json;

/// Keywords of JSON Schema that strict outputs know
/// (<https://platform.openai.com/docs/guides/structured-outputs#supported-schemas>).
const STRICT_KEYWORDS: [&str; 18] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "description",
    "title",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "pattern",
];
/// How deep a strict schema may nest.
const STRICT_DEPTH: usize = 10;

/// What the final output must be, and how that is said.
pub(crate) enum Wanted<'a> {
    /// Anything.
    Anything,
    /// By the interface's own means.
    Schema(&'a Json),
    /// In words, at the end of the instructions.
    Words(&'a Json),
}

impl<'a> Wanted<'a> {
    /// Of a request; `any_root`: the interface takes schemas of other values than objects.
    pub(crate) fn of(request: &'a ModelRequest, any_root: bool) -> Wanted<'a> {
        match request.output.as_deref() {
            None => Wanted::Anything,
            Some(schema) if any_root || is_object(schema) => Wanted::Schema(schema),
            Some(schema) => Wanted::Words(schema),
        }
    }

    /// The schema for the interface.
    pub(crate) fn schema(&self) -> Option<&'a Json> {
        match self {
            Wanted::Schema(schema) => Some(schema),
            Wanted::Anything | Wanted::Words(_) => None,
        }
    }

    /// The instructions, with what is asked for in words.
    pub(crate) fn instructions(&self, request: &'a ModelRequest) -> Cow<'a, str> {
        let told = Cow::Borrowed(request.instructions.as_str());
        match self {
            Wanted::Words(schema) => {
                let space = if told.is_empty() { "" } else { "\n\n" };
                let ask = "When you give your final answer, give only JSON, without a fence and without a word around it";
                Cow::Owned(format!("{told}{space}{ask}. It must be valid under this JSON Schema: {schema}"))
            }
            Wanted::Anything | Wanted::Schema(_) => told,
        }
    }
}

fn is_object(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("object")
}

/// Whether a schema may be called strict: objects list all their properties as required and allow no others.
pub(crate) fn fits_strict(schema: &Json) -> bool {
    is_object(schema) && schema.get("anyOf").is_none() && fits(schema, STRICT_DEPTH)
}

fn fits(schema: &Json, depth: usize) -> bool {
    let (Some(map), Some(below)) = (schema.as_object(), depth.checked_sub(1)) else { return false };
    if !map.keys().all(|key| STRICT_KEYWORDS.contains(&key.as_str())) {
        return false;
    }
    let children = map.get("anyOf").and_then(Json::as_array).into_iter().flatten().chain(map.get("items"));
    let properties = map.get("properties").and_then(Json::as_object);
    let typed = ["type", "enum", "const", "anyOf"].iter().any(|key| map.contains_key(*key));
    let closed = || {
        let required: Vec<&str> =
            map.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        let all = properties.is_none_or(|p| p.keys().all(|key| required.contains(&key.as_str())));
        all && map.get("additionalProperties") == Some(&Json::Bool(false))
    };
    let array = map.get("type").and_then(Json::as_str) != Some("array") || map.contains_key("items");
    let object = (properties.is_none() && !is_object(schema)) || closed();
    typed && array && object && children.chain(properties.into_iter().flat_map(|p| p.values())).all(|child| fits(child, below))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_closed_schemas_are_strict() {
        let closed = |properties: Json, required: Json| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
        for (schema, expect) in [
            (closed(json!({"a": {"type": "string"}}), json!(["a"])), true),
            (closed(json!({"a": {"type": "array", "items": {"type": ["string", "null"]}}}), json!(["a"])), true),
            (closed(json!({"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}), json!(["a"])), true),
            (closed(json!({}), json!([])), true),
            (closed(json!({"a": {"type": "string"}}), json!([])), false),
            (closed(json!({"a": {"type": "object"}}), json!(["a"])), false),
            (closed(json!({"a": {"type": "array"}}), json!(["a"])), false),
            (closed(json!({"a": {}}), json!(["a"])), false),
            (closed(json!({"a": {"type": "string", "default": "b"}}), json!(["a"])), false),
            (closed(json!({"a": {"allOf": [{"type": "string"}]}}), json!(["a"])), false),
            (json!({"type": "object", "properties": {}}), false),
            (json!({"type": "array", "items": {"type": "string"}}), false),
            (json!(true), false),
        ] {
            assert_eq!(fits_strict(&schema), expect, "{schema}");
        }
        let deep = (0..20).fold(json!({"type": "string"}), |inner, _| closed(json!({"a": inner}), json!(["a"])));
        assert!(!fits_strict(&deep));
    }
}
