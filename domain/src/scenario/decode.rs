//! One declaration per block of the document gives its type, its reading with all faults, its JSON Schema and its JSON.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json, json};

use super::faults::{Faults, Place, closest, listed, shorten};
use super::node::{Key, Kind, Node, Plain};

/// Unknown fields of one block for which a meaning is guessed.
const MAX_GUESSES: usize = 100;

/// The definitions of a JSON Schema under construction.
#[derive(Default)]
pub(crate) struct Defs(pub(crate) JsonMap<String, Json>);

/// A part of the document.
pub(crate) trait Decode: Sized {
    /// Reads a node; what is wrong goes to `faults`, and something harmless stands in for it.
    fn decode(node: &Node, faults: &mut Faults) -> Self;
    /// The value where the field is not written; `None`: it must be.
    fn absent() -> Option<Self> {
        None
    }
    /// What stands in after a fault.
    fn broken() -> Self;
    /// As JSON, defaults included; `None` where nothing is to be written.
    fn encode(&self) -> Option<Json>;
    /// Its JSON Schema.
    fn schema(defs: &mut Defs) -> Json;
}

/// A block with fields.
pub(crate) trait Record {
    /// Its fields, as the document names them.
    const FIELDS: &'static [&'static str];
    /// Where it stands.
    fn at(&self) -> Place;
}

/// The fields of a map while a record takes them.
pub(crate) struct Fields<'n> {
    /// Where to point for what is missing.
    pub(crate) at: Place,
    entries: Vec<(&'n str, &'n Node)>,
    /// The author's own fields, `x-…`.
    pub(crate) extra: Vec<(Key, Node)>,
}

impl<'n> Fields<'n> {
    /// The fields of a node; unknown ones are told, and taken for the one they most likely mean.
    pub(crate) fn of(node: &'n Node, known: &[&'static str], faults: &mut Faults) -> Option<Fields<'n>> {
        let Kind::Map(map) = &node.kind else {
            wrong_type(node, "a map of fields", faults);
            return None;
        };
        let mut fields = Fields { at: node.owner(), entries: Vec::new(), extra: Vec::new() };
        let present: BTreeSet<&str> = map.iter().map(|e| &*e.0.text).collect();
        let mut unknown = 0;
        for (key, value) in map {
            let name = &*key.text;
            if let Some(field) = known.iter().find(|k| **k == name) {
                fields.entries.push((field, value));
            } else if name.starts_with("x-") {
                fields.extra.push((key.clone(), value.clone()));
            } else {
                unknown += 1;
                let free = known.iter().copied().filter(|k| !present.contains(k));
                let near = (unknown <= MAX_GUESSES)
                    .then(|| closest(name, free).or_else(|| closest(name, known.iter().copied())))
                    .flatten();
                let help = match (obsolete(name), near) {
                    _ if comma(name, value) => COMMA.into(),
                    (Some(words), _) => words.to_owned(),
                    (None, Some(near)) => format!("did you mean `{near}`?"),
                    (None, None) if known.len() <= 16 => format!("known fields: {}", listed(known.iter().copied())),
                    (None, None) => "see the JSON Schema for what may stand here; a name of your own begins with `x-`".into(),
                };
                let message = format!("unknown field `{}` in `{}`", shorten(name), faults.path());
                faults.error("unknown_field", key.at, message).help(help);
                if let Some(near) = near
                    && !present.contains(near)
                    && !fields.entries.iter().any(|e| e.0 == near)
                {
                    fields.entries.push((near_in(known, near), value));
                }
            }
        }
        Some(fields)
    }

    /// Takes a field.
    pub(crate) fn take<T: Decode>(&mut self, name: &'static str, default: Option<T>, faults: &mut Faults) -> T {
        match self.entries.iter().find(|e| e.0 == name) {
            Some((_, node)) => {
                faults.enter(name.into());
                let value = if node.is_broken() { T::broken() } else { T::decode(node, faults) };
                faults.leave();
                value
            }
            None => default.unwrap_or_else(|| {
                let message = format!("missing field `{name}` in `{}`", faults.path());
                faults.error("missing_field", self.at, message).help(format!("add `{name}:`"));
                T::broken()
            }),
        }
    }
}

/// The remedy for a text in brackets that a comma ended.
pub(crate) const COMMA: &str = "within brackets a comma ends a text: put the whole text in quotes";

/// Whether a key is the rest of a text in brackets after a comma.
pub(crate) fn comma(key: &str, value: &Node) -> bool {
    key.contains(' ') && value.scalar().is_some_and(|s| s.value == Plain::Null)
}

fn near_in(known: &[&'static str], name: &str) -> &'static str {
    known.iter().copied().find(|k| *k == name).unwrap_or("")
}

/// Words other formats have for what is said differently here.
fn obsolete(field: &str) -> Option<&'static str> {
    Some(match field {
        "restart" => "an agent is always restarted; `supervision` says how often",
        "strategy" => "only one-for-one exists: leave it out",
        "deny" => "the pattern that must not be found stands in `check`",
        "on" => "an agent `handles: [tick, user, {tell: type}, {record: collection}]`",
        "mode" => "a question that comes back is `delegates: [agent]`",
        "group_by" => "use the functions `group`, `count_by` and `sum_by` in `value`",
        _ => return None,
    })
}

/// Tells that something else was expected.
pub(crate) fn wrong_type(node: &Node, expected: &str, faults: &mut Faults) {
    if node.is_broken() {
        return;
    }
    let path = faults.path();
    let mut help = None;
    if let Kind::Scalar(s) = &node.kind {
        if s.value == Plain::Null {
            help = Some("give it a value, or leave the field out".to_owned());
        } else if s.text.contains("{{") && s.value == Plain::Text {
            help = Some("a template cannot stand here".into());
        }
    }
    let message = if path == "the document" {
        format!("a scenario must be {expected}, found {}", node.shown())
    } else {
        format!("`{path}` must be {expected}, found {}", node.shown())
    };
    faults.error("wrong_type", node.at, message).maybe_help(help);
}

/// Declares blocks of the document: struct, reading, JSON Schema and JSON from one place.
macro_rules! record {
    ($( $(#[doc = $doc:literal])* $name:ident { $( $(#[doc = $fdoc:literal])* $key:literal $field:ident : $ty:ty $(= $default:expr)? ; )* } )*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            /// Where it stands: its key, if it has one.
            pub(crate) at: $crate::scenario::faults::Place,
            $( $(#[doc = $fdoc])* pub(crate) $field: $ty, )*
            /// Fields of the author's own, `x-…`.
            pub(crate) extra: Vec<($crate::scenario::node::Key, $crate::scenario::node::Node)>,
        }
        impl $crate::scenario::decode::Record for $name {
            const FIELDS: &'static [&'static str] = &[$($key),*];
            fn at(&self) -> $crate::scenario::faults::Place {
                self.at
            }
        }
        impl $crate::scenario::decode::Decode for $name {
            fn decode(node: &$crate::scenario::node::Node, faults: &mut $crate::scenario::faults::Faults) -> Self {
                match $crate::scenario::decode::Fields::of(node, <Self as $crate::scenario::decode::Record>::FIELDS, faults) {
                    None => Self { at: node.owner(), ..Self::broken() },
                    Some(mut fields) => Self {
                        at: fields.at,
                        $( $field: fields.take::<$ty>($key, $crate::scenario::decode::default_of!($ty $(, $default)?), faults), )*
                        extra: fields.extra,
                    },
                }
            }
            fn broken() -> Self {
                Self {
                    at: $crate::scenario::faults::Place::default(),
                    $( $field: $crate::scenario::decode::default_of!($ty $(, $default)?)
                        .unwrap_or_else(<$ty as $crate::scenario::decode::Decode>::broken), )*
                    extra: Vec::new(),
                }
            }
            fn encode(&self) -> Option<serde_json::Value> {
                let mut fields = serde_json::Map::new();
                $( if let Some(json) = $crate::scenario::decode::Decode::encode(&self.$field) { fields.insert($key.into(), json); } )*
                for (key, node) in &self.extra {
                    fields.insert(key.text.to_string(), node.to_json());
                }
                Some(serde_json::Value::Object(fields))
            }
            fn schema(defs: &mut $crate::scenario::decode::Defs) -> serde_json::Value {
                let name = stringify!($name).trim_end_matches("Doc");
                defs.define(name, |defs| {
                    let mut block = $crate::scenario::decode::Block::new(&[$($doc),*]);
                    $( block.field::<$ty>(defs, $key, &[$($fdoc),*], $crate::scenario::decode::default_of!($ty $(, $default)?)); )*
                    block.close()
                })
            }
        }
    )*};
}

/// The value of a field that is not written.
macro_rules! default_of {
    ($ty:ty) => {
        <$ty as $crate::scenario::decode::Decode>::absent()
    };
    ($ty:ty, $default:expr) => {
        Some::<$ty>($default)
    };
}

/// Declares words of a closed list that stand for values.
macro_rules! choice {
    ($( $ty:ty { $( $word:literal => $value:expr ),* $(,)? } )*) => {$(
        impl $crate::scenario::decode::Decode for $ty {
            fn decode(node: &$crate::scenario::node::Node, faults: &mut $crate::scenario::faults::Faults) -> Self {
                const WORDS: &[&str] = &[$($word),*];
                match $crate::scenario::decode::word(node, WORDS, faults) {
                    $( Some($word) => $value, )*
                    _ => Self::broken(),
                }
            }
            fn broken() -> Self {
                let all: &[$ty] = &[$($value),*];
                all[0].clone()
            }
            fn encode(&self) -> Option<serde_json::Value> {
                $( if *self == $value { return Some($word.into()); } )*
                None
            }
            fn schema(_: &mut $crate::scenario::decode::Defs) -> serde_json::Value {
                serde_json::json!({"type": "string", "enum": [$($word),*]})
            }
        }
    )*};
}

pub(crate) use {choice, default_of, record};

/// A word of a closed list.
pub(crate) fn word(node: &Node, words: &'static [&'static str], faults: &mut Faults) -> Option<&'static str> {
    let all = || words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    let Some(text) = node.scalar().map(|s| s.text.clone()).filter(|t| !t.is_empty()) else {
        wrong_type(node, &format!("one of {}", all()), faults);
        return None;
    };
    let found = words.iter().copied().find(|w| *w == &*text);
    if found.is_none() {
        let near = closest(&text, words.iter().copied());
        let help = near.map_or_else(|| format!("one of {}", all()), |near| format!("did you mean `{near}`? (one of {})", all()));
        let message = format!("`{}` is not a value of `{}`", shorten(&text), faults.path());
        faults.error("unknown_value", node.at, message).help(help);
    }
    found
}

impl Defs {
    /// A definition by name, built once; a reference to it comes back.
    pub(crate) fn define(&mut self, name: &str, build: impl FnOnce(&mut Defs) -> Json) -> Json {
        if !self.0.contains_key(name) {
            self.0.insert(name.into(), Json::Null);
            let built = build(self);
            self.0.insert(name.into(), built);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }
}

/// The JSON Schema of a block under construction.
pub(crate) struct Block {
    json: JsonMap<String, Json>,
    properties: JsonMap<String, Json>,
    required: Vec<Json>,
}

impl Block {
    /// An empty block with its description.
    pub(crate) fn new(doc: &[&str]) -> Block {
        let mut json = JsonMap::new();
        json.insert("type".into(), "object".into());
        json.insert("description".into(), prose(doc).into());
        Block { json, properties: JsonMap::new(), required: Vec::new() }
    }
    /// One more field.
    pub(crate) fn field<T: Decode>(&mut self, defs: &mut Defs, key: &str, doc: &[&str], default: Option<T>) {
        let mut schema = T::schema(defs);
        if let Json::Object(map) = &mut schema {
            map.insert("description".into(), prose(doc).into());
            match default.as_ref().map(Decode::encode) {
                Some(Some(json)) => {
                    map.insert("default".into(), json);
                }
                Some(None) => {}
                None => self.required.push(key.into()),
            }
        }
        self.properties.insert(key.into(), schema);
    }
    /// The block's schema.
    pub(crate) fn close(mut self) -> Json {
        self.json.insert("properties".into(), Json::Object(self.properties));
        if !self.required.is_empty() {
            self.json.insert("required".into(), Json::Array(self.required));
        }
        self.json.insert("patternProperties".into(), json!({"^x-": {}}));
        self.json.insert("additionalProperties".into(), false.into());
        Json::Object(self.json)
    }
}

fn prose(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        Some(T::decode(node, faults))
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn broken() -> Self {
        None
    }
    fn encode(&self) -> Option<Json> {
        self.as_ref().and_then(Decode::encode)
    }
    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let Kind::List(items) = &node.kind else {
            wrong_type(node, "a list", faults);
            return Vec::new();
        };
        let mut out = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            if !item.is_broken() {
                faults.enter(Arc::from(n.to_string()));
                out.push(T::decode(item, faults));
                faults.leave();
            }
        }
        out
    }
    fn absent() -> Option<Self> {
        Some(Vec::new())
    }
    fn broken() -> Self {
        Vec::new()
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::Array(self.iter().filter_map(Decode::encode).collect()))
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({"type": "array", "items": T::schema(defs)})
    }
}

/// One, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        match &node.kind {
            Kind::List(_) => OneOrMany(Vec::decode(node, faults)),
            _ => OneOrMany(vec![T::decode(node, faults)]),
        }
    }
    fn absent() -> Option<Self> {
        Some(Self::broken())
    }
    fn broken() -> Self {
        OneOrMany(Vec::new())
    }
    fn encode(&self) -> Option<Json> {
        self.0.encode()
    }
    fn schema(defs: &mut Defs) -> Json {
        let one = T::schema(defs);
        json!({"anyOf": [one.clone(), {"type": "array", "items": one}]})
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    /// Where.
    pub(crate) at: Place,
    /// What.
    pub(crate) it: T,
}

impl<T> Spanned<T> {
    /// A value nobody wrote.
    pub(crate) fn unwritten(it: T) -> Self {
        Spanned { at: Place::default(), it }
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        Spanned { at: node.at, it: T::decode(node, faults) }
    }
    fn broken() -> Self {
        Spanned::unwritten(T::broken())
    }
    fn encode(&self) -> Option<Json> {
        self.it.encode()
    }
    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}
