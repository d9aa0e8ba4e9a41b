//! What a JSON Schema says that cannot be meant: unknown keywords and types, empty ranges, references that lead astray.

use std::collections::{BTreeMap, BTreeSet};

use super::{LIST, MAP, ONE, OURS};
use crate::scenario::decode::{COMMA, comma};
use crate::scenario::faults::{Faults, Place, closest, listed, shorten};
use crate::scenario::node::{Kind, Node};

/// Patterns of one document.
const MAX_PATTERNS: usize = 200;
/// Bytes of a pattern's text.
const MAX_PATTERN: usize = 1000;
const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "array", "object", "null"];
const PLAIN: [&str; 32] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "format",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$ref",
    "$comment",
    "contentEncoding",
    "contentMediaType",
];
const FORMATS: [&str; 19] = [
    "date",
    "date-time",
    "time",
    "duration",
    "email",
    "idn-email",
    "hostname",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "uri-template",
    "iri",
    "iri-reference",
    "uuid",
    "json-pointer",
    "relative-json-pointer",
    "regex",
];

/// Tells what is wrong with a schema beyond what its meta-schema says.
pub(super) fn check(node: &Node, faults: &mut Faults) {
    let mut lint = Lint { faults, refs: BTreeMap::new() };
    lint.schema(node, "", true);
    lint.cycles(node);
}

struct Lint<'f> {
    faults: &'f mut Faults,
    /// Which definitions each definition refers to; the schema outside of them is "".
    refs: BTreeMap<String, BTreeMap<String, Place>>,
}

impl Lint<'_> {
    fn schema(&mut self, node: &Node, within: &str, top: bool) {
        let Kind::Map(entries) = &node.kind else { return };
        for (key, value) in entries {
            let name = &*key.text;
            if ONE.contains(&name) {
                self.schema(value, within, false);
            } else if LIST.contains(&name) {
                value.items().iter().for_each(|v| self.schema(v, within, false));
            } else if MAP.contains(&name) {
                for (key, value) in value.entries() {
                    let definition = matches!(name, "$defs" | "definitions");
                    self.schema(value, if definition { &key.text } else { within }, false);
                }
            } else if name == "$ref" {
                self.reference(value, within);
            } else if !(PLAIN.contains(&name) || name.starts_with("x-") || name == "on_delete" || top && OURS.contains(&name)) {
                let all = ONE.iter().chain(&LIST).chain(&MAP).chain(&PLAIN).copied();
                let near = closest(name, all);
                let message = format!("`{}` is no keyword of JSON Schema, so it has no effect", shorten(name));
                let help = match near {
                    _ if comma(name, value) => COMMA.into(),
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "words of your own begin with `x-`".into(),
                };
                self.faults.warn("unknown_keyword", key.at, message).help(help);
            }
        }
        self.patterns(node);
        self.types(node);
        self.bounds(node);
        self.required(node);
        if let Some(format) = node.get("format")
            && let Some(text) = format.as_text()
            && !FORMATS.contains(&&**text)
        {
            let near = closest(text, FORMATS);
            let message = format!("the format `{}` is not known, so it is not checked", shorten(text));
            self.faults.warn("unknown_format", format.at, message).maybe_help(near.map(|n| format!("did you mean `{n}`?")));
        }
    }

    fn patterns(&mut self, node: &Node) {
        let keys = node.get("patternProperties").into_iter().flat_map(|p| p.entries().iter().map(|e| (e.0.text.clone(), e.0.at)));
        let own = node.get("pattern").and_then(|p| Some((p.as_text()?.clone(), p.at)));
        for (text, at) in keys.chain(own) {
            self.faults.patterns += 1;
            if self.faults.patterns > MAX_PATTERNS {
                let message = format!("the document has more than {MAX_PATTERNS} patterns");
                self.faults.error("too_many_patterns", at, message);
            } else if text.len() > MAX_PATTERN {
                self.faults.error("bad_pattern", at, format!("a pattern has at most {MAX_PATTERN} characters"));
            }
        }
    }

    fn types(&mut self, node: &Node) {
        let Some(ty) = node.get("type") else { return };
        let one = std::slice::from_ref(ty);
        for ty in if let Kind::List(items) = &ty.kind { items } else { one } {
            let word = ty.scalar().map(|s| s.text.clone()).unwrap_or_default();
            if TYPES.contains(&&*word) && (&*word != "null" || ty.as_text().is_some()) {
                continue;
            }
            let help = match (&*word, closest(&word, TYPES)) {
                ("null" | "", _) => "write \"null\" in quotes".to_owned(),
                ("int" | "i64" | "long", _) => "did you mean `integer`?".to_owned(),
                ("float" | "double", _) => "did you mean `number`?".to_owned(),
                ("str" | "text" | "date", _) => "did you mean `string`?".to_owned(),
                ("list", _) => "did you mean `array`?".to_owned(),
                ("map" | "dict", _) => "did you mean `object`?".to_owned(),
                (_, Some(near)) => format!("did you mean `{near}`?"),
                (_, None) => format!("one of {}", listed(TYPES)),
            };
            self.faults.error("unknown_type", ty.at, format!("`{}` is no type of JSON Schema", shorten(&word))).help(help);
        }
    }

    fn bounds(&mut self, node: &Node) {
        for (low, high) in
            [("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"), ("minProperties", "maxProperties")]
        {
            if let (Some(low_node), Some(high_node)) = (node.get(low), node.get(high))
                && let (Some(l), Some(h)) = (low_node.to_json().as_f64(), high_node.to_json().as_f64())
                && l > h
            {
                let message = format!("`{low}` {l} is above `{high}` {h}: no value can meet both");
                self.faults.error("empty_range", low_node.at, message).related(high_node.at, format!("`{high}` is here"));
            }
        }
    }

    fn required(&mut self, node: &Node) {
        let (Some(required), Some(properties)) = (node.get("required"), node.get("properties")) else { return };
        if node.get("patternProperties").is_some() {
            return;
        }
        for name in required.items() {
            let Some(text) = name.as_text() else { continue };
            if properties.get(text).is_none() {
                let near = closest(text, properties.entries().iter().map(|e| &*e.0.text));
                let message = format!("`required` names `{}`, which `properties` does not have", shorten(text));
                self.faults.error("unknown_property", name.at, message).maybe_help(near.map(|n| format!("did you mean `{n}`?")));
            }
        }
    }

    fn reference(&mut self, node: &Node, within: &str) {
        let target = node.as_text().map(|t| t.to_string()).unwrap_or_default();
        let name = target.strip_prefix("#/$defs/").or_else(|| target.strip_prefix("#/definitions/"));
        match name.filter(|n| !n.contains('/')) {
            Some(name) => {
                self.refs.entry(within.to_owned()).or_default().entry(name.to_owned()).or_insert(node.at);
            }
            None => {
                let message = format!("the reference `{}` leads out of this schema", shorten(&target));
                self.faults
                    .error("bad_schema", node.at, message)
                    .help("a reference names a definition of the same block: `#/$defs/name`");
            }
        }
    }

    fn cycles(&mut self, root: &Node) {
        let known: BTreeSet<&str> = ["$defs", "definitions"]
            .iter()
            .filter_map(|k| root.get(k))
            .flat_map(|d| d.entries().iter().map(|e| &*e.0.text))
            .collect();
        let refs = std::mem::take(&mut self.refs);
        for (from, targets) in &refs {
            for (to, at) in targets {
                if !known.contains(to.as_str()) {
                    let near = closest(to, known.iter().copied());
                    let message = format!("there is no definition `{}` in `$defs`", shorten(to));
                    self.faults.error("bad_schema", *at, message).maybe_help(near.map(|n| format!("did you mean `{n}`?")));
                    continue;
                }
                let (mut seen, mut todo) = (BTreeSet::new(), vec![to.as_str()]);
                while let Some(next) = todo.pop() {
                    if next == from && !from.is_empty() {
                        let message = format!("the definition `{}` leads back to itself", shorten(from));
                        self.faults.error("recursive_schema", *at, message).help("schemas here cannot recurse");
                        break;
                    }
                    if seen.insert(next) {
                        todo.extend(refs.get(next).into_iter().flat_map(|t| t.keys().map(String::as_str)));
                    }
                }
            }
        }
    }
}
