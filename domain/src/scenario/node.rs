//! A document as a tree with places, in the author's order. What it means is not known here.

use std::sync::Arc;

use serde_json::Value as Json;

use super::faults::{Place, shorten};

/// A node of the document.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it stands.
    pub(crate) at: Place,
    /// Where the key it belongs to stands, if it belongs to one.
    pub(crate) key_at: Option<Place>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// One word, number or text.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map; each key once.
    Map(Vec<(Key, Node)>),
    /// Something about which a fault has been told already.
    Broken,
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// As written; never resolved, so `on` and `1` are text.
    pub(crate) text: Arc<str>,
    /// Where.
    pub(crate) at: Place,
}

/// A scalar.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// Its text, escapes and folding undone.
    pub(crate) text: Arc<str>,
    /// What the text is by the core schema of YAML 1.2.
    pub(crate) value: Plain,
    /// How it was written.
    pub(crate) style: Style,
}

/// What a scalar is by the core schema of YAML 1.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Plain {
    /// Nothing.
    Null,
    /// Truth.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text.
    Text,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `|` or `>`.
    Block,
}

impl Node {
    /// A node about which a fault has been told.
    pub(crate) fn broken(at: Place) -> Node {
        Node { at, key_at: None, kind: Kind::Broken }
    }

    /// Where to point for what is missing in it: the key it belongs to, else itself.
    pub(crate) fn owner(&self) -> Place {
        self.key_at.unwrap_or(self.at)
    }

    /// The scalar, if it is one.
    pub(crate) fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(s) => Some(s),
            _ => None,
        }
    }

    /// The text, if it is text and not a number, a truth or nothing.
    pub(crate) fn as_text(&self) -> Option<&Arc<str>> {
        self.scalar().filter(|s| s.value == Plain::Text).map(|s| &s.text)
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> &[(Key, Node)] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| &*e.0.text == key).map(|e| &e.1)
    }

    /// Whether a fault has been told about it.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, Kind::Broken)
    }

    /// Whether it or something in it is broken.
    pub(crate) fn has_broken(&self) -> bool {
        match &self.kind {
            Kind::Broken => true,
            Kind::Scalar(_) => false,
            Kind::List(items) => items.iter().any(Node::has_broken),
            Kind::Map(entries) => entries.iter().any(|e| e.1.has_broken()),
        }
    }

    /// The node at a JSON pointer below this one; where the path ends early, the last one on it.
    pub(crate) fn pointed(&self, pointer: &str) -> &Node {
        let mut node = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.kind {
                Kind::List(items) => part.parse::<usize>().ok().and_then(|n| items.get(n)),
                _ => node.get(&part),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// What it is, in a message: "text `seven`", "a list".
    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::Broken => "something unreadable".into(),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
            Kind::Scalar(s) => match s.value {
                Plain::Null => "nothing (null)".into(),
                Plain::Bool(b) => format!("the truth value `{b}`"),
                Plain::Int(i) => format!("the number {i}"),
                Plain::Float(_) => format!("the number {}", shorten(&s.text)),
                Plain::Text => format!("the text `{}`", shorten(&s.text)),
            },
        }
    }

    /// The node as JSON, keys in order.
    pub(crate) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Broken => Json::Null,
            Kind::Scalar(s) => match s.value {
                Plain::Null => Json::Null,
                Plain::Bool(b) => Json::Bool(b),
                Plain::Int(i) => Json::from(i),
                Plain::Float(f) => serde_json::Number::from_f64(f).map_or(Json::Null, Json::Number),
                Plain::Text => Json::from(&*s.text),
            },
            Kind::List(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Kind::Map(entries) => Json::Object(entries.iter().map(|(k, v)| (k.text.to_string(), v.to_json())).collect()),
        }
    }

    /// A node from JSON that nobody wrote in a file.
    pub(crate) fn from_json(json: &Json) -> Node {
        let at = Place::default();
        let kind = match json {
            Json::Null => scalar("null", Plain::Null),
            Json::Bool(b) => scalar(if *b { "true" } else { "false" }, Plain::Bool(*b)),
            Json::Number(n) => {
                let value = n.as_i64().map_or_else(|| Plain::Float(n.as_f64().unwrap_or(f64::MAX)), Plain::Int);
                scalar(&n.to_string(), value)
            }
            Json::String(s) => scalar(s, Plain::Text),
            Json::Array(items) => Kind::List(items.iter().map(Node::from_json).collect()),
            Json::Object(fields) => {
                let entry = |(k, v): (&String, &Json)| {
                    let node = Node { key_at: Some(at), ..Node::from_json(v) };
                    (Key { text: k.as_str().into(), at }, node)
                };
                Kind::Map(fields.iter().map(entry).collect())
            }
        };
        Node { at, key_at: None, kind }
    }
}

fn scalar(text: &str, value: Plain) -> Kind {
    Kind::Scalar(Scalar { text: text.into(), value, style: Style::Plain })
}

/// What an unquoted scalar is by the core schema (YAML 1.2.2 §10.3.2). `Err` for numbers a document cannot hold.
pub(crate) fn resolve(text: &str) -> Result<Plain, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Plain::Null),
        "true" | "True" | "TRUE" => return Ok(Plain::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Plain::Bool(false)),
        _ => {}
    }
    if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err("numbers must be finite");
    }
    let based =
        |digits: &str, base| i64::from_str_radix(digits, base).map(Plain::Int).map_err(|_| "the number does not fit 64 bits");
    if let Some(hex) = text.strip_prefix("0x").filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit())) {
        return based(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|d| !d.is_empty() && d.bytes().all(|b| (b'0'..=b'7').contains(&b))) {
        return based(octal, 8);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Plain::Int).map_err(|_| "the number does not fit 64 bits");
    }
    if is_float(digits) {
        return match text.parse::<f64>() {
            Ok(f) if f.is_finite() => Ok(Plain::Float(f)),
            _ => Err("numbers must be finite"),
        };
    }
    Ok(Plain::Text)
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut at = whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if whole == 0 && fraction == 0 {
            return false;
        }
        at += 1 + fraction;
    } else if whole == 0 {
        return false;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at.min(bytes.len()));
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == bytes.len()
}
