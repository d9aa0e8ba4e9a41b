//! Names: what they look like, and blocks by name in the author's order.

use std::marker::PhantomData;

use serde_json::{Value as Json, json};

use super::decode::{Decode, Defs, wrong_type};
use super::faults::{Faults, shorten};
use super::node::{Key, Kind, Node};

/// Characters of a name.
const MAX_NAME: usize = 64;
/// Words that the expression language keeps for itself.
const CEL_WORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];
/// Names that mean something in every expression.
pub(crate) const RESERVED: [&str; 15] = [
    "params",
    "state",
    "draws",
    "self",
    "tick",
    "now",
    "seed",
    "message",
    "run",
    "input",
    "output",
    "record",
    "metrics",
    "trace",
    "approvals",
];

/// What the keys of a map must look like.
pub(crate) trait Rule: Clone + std::fmt::Debug {
    /// A pattern for the JSON Schema.
    const PATTERN: &'static str;
    /// What is wrong with a key, if anything.
    fn fault(name: &str) -> Option<String>;
}

/// Names that expressions use: identifiers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ident;
/// Identifiers that stand for themselves in expressions, so they may not hide a name of the language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RootName;
/// Names of agents and aliases: letters, digits, `_` and `-`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slug;
/// Keys of the author's own making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Free;

/// What is wrong with an identifier, if anything.
pub(crate) fn ident_fault(name: &str) -> Option<String> {
    let mut chars = name.chars();
    let good =
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.len() > MAX_NAME {
        return Some(format!("a name has at most {MAX_NAME} characters"));
    }
    if !good {
        return Some("a name that expressions use has letters, digits and `_`, and begins with a letter".into());
    }
    CEL_WORDS.contains(&name).then(|| "the expression language keeps this word for itself".into())
}

/// What is wrong with the name of a collection, a `let` or a bound item, if anything.
pub(crate) fn root_fault(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some("this name is reserved: it means something in every expression".into());
    }
    ident_fault(name)
}

/// What is wrong with the name of an agent, if anything.
pub(crate) fn slug_fault(name: &str) -> Option<String> {
    let mut chars = name.chars();
    if name.len() > MAX_NAME {
        return Some(format!("a name has at most {MAX_NAME} characters"));
    }
    if name == "*" {
        return Some("`*` means every agent and is no agent's name".into());
    }
    let good = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    (!good).then(|| "a name has letters, digits, `_` and `-`, and begins with a letter".into())
}

impl Rule for Ident {
    const PATTERN: &'static str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";
    fn fault(name: &str) -> Option<String> {
        ident_fault(name)
    }
}
impl Rule for RootName {
    const PATTERN: &'static str = "^[A-Za-z_][A-Za-z0-9_]{0,63}$";
    fn fault(name: &str) -> Option<String> {
        root_fault(name)
    }
}
impl Rule for Slug {
    const PATTERN: &'static str = "^[A-Za-z][A-Za-z0-9_-]{0,63}$";
    fn fault(name: &str) -> Option<String> {
        slug_fault(name)
    }
}
impl Rule for Free {
    const PATTERN: &'static str = "^.+$";
    fn fault(name: &str) -> Option<String> {
        name.trim().is_empty().then(|| "a name must not be empty".into())
    }
}

/// Blocks by name, in the author's order.
#[derive(Clone, Debug)]
pub(crate) struct Named<T, R = Slug> {
    /// The blocks.
    pub(crate) all: Vec<(Key, T)>,
    rule: PhantomData<R>,
}

impl<T, R> Named<T, R> {
    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|e| &*e.0.text)
    }
    /// The place of a name in the order.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.all.iter().position(|e| &*e.0.text == name)
    }
    /// Names and blocks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &T)> {
        self.all.iter().map(|e| (&e.0, &e.1))
    }
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<T: Decode, R: Rule> Decode for Named<T, R> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let Kind::Map(entries) = &node.kind else {
            wrong_type(node, "a map from names to blocks", faults);
            return Self::broken();
        };
        let mut all = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Some(why) = R::fault(&key.text) {
                let message = format!("`{}` is no name for an entry of `{}`: {why}", shorten(&key.text), faults.path());
                faults.error("bad_name", key.at, message);
            }
            faults.enter(key.text.clone());
            let block = if value.is_broken() { T::broken() } else { T::decode(value, faults) };
            all.push((key.clone(), block));
            faults.leave();
        }
        Named { all, rule: PhantomData }
    }
    fn absent() -> Option<Self> {
        Some(Self::broken())
    }
    fn broken() -> Self {
        Named { all: Vec::new(), rule: PhantomData }
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::Object(self.all.iter().filter_map(|(k, v)| Some((k.text.to_string(), v.encode()?))).collect()))
    }
    fn schema(defs: &mut Defs) -> Json {
        json!({"type": "object", "propertyNames": {"pattern": R::PATTERN}, "additionalProperties": T::schema(defs)})
    }
}
