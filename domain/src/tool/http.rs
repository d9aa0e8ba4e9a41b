//! `http` tools: what a request is made of. Pure: secrets are named here and never known, and nothing is sent from here.
//! A request reads only what cannot change between two attempts (`input`, `params`, `seed`), so that one key means one request.

use std::sync::Arc;

use crate::expression::{EvalError, Program};
use crate::id::ToolIx;
use crate::names::Names;
use crate::template::Template;
use crate::value::Value;

/// Characters of an address.
pub const MAX_URL: usize = 8 * 1024;
/// The header that carries the key of a step.
pub const KEY_HEADER: &str = "Idempotency-Key";
/// The field of a `check` tool's input that holds the key of the step it is asked about.
pub const KEY_FIELD: &str = "idempotency_key";

/// A tool that is a request to a server.
#[derive(Clone, Debug)]
pub struct HttpTool {
    /// The method.
    pub method: Method,
    /// The address; what templates put in is percent-encoded.
    pub url: Pattern,
    /// Headers, in declaration order.
    pub headers: Vec<(Arc<str>, Pattern)>,
    /// The body; where nothing is said the input, for a method that has one.
    pub body: Option<BodyPattern>,
    /// How it is tried again, where that is allowed.
    pub retry: Option<Retry>,
    /// A tool that tells what became of a call without an answer.
    pub check: Option<ToolIx>,
}

/// Methods of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or does.
    Post,
    /// Replaces.
    Put,
    /// Changes.
    Patch,
    /// Deletes.
    Delete,
}

impl Method {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }

    /// Whether the input is its body where no body is declared.
    fn has_body(self) -> bool {
        matches!(self, Method::Post | Method::Put | Method::Patch)
    }
}

/// How a call is tried again: exponential pauses with full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retry {
    /// How often at most.
    pub max: u32,
    /// First pause at most, milliseconds.
    pub initial_ms: u64,
    /// Growth of the pause.
    pub factor: f64,
    /// Longest pause, milliseconds.
    pub max_delay_ms: u64,
}

/// Where a secret is: known to the operator's process, never to a scenario or a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A variable of the environment.
    Env(Arc<str>),
    /// A file.
    File(Arc<str>),
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Env(name) => write!(f, "${{env:{name}}}"),
            Secret::File(path) => write!(f, "${{file:{path}}}"),
        }
    }
}

/// A stretch of a text: what is known, or a secret's place.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<T> {
    /// What is known.
    Known(T),
    /// A secret goes here.
    Secret(Secret),
}

/// A text with templates and secrets, told apart before anything is filled in: what a template gives is never read for secrets.
#[derive(Clone, Debug)]
pub struct Pattern(pub Vec<Piece<Template>>);

/// A body with templates and secrets.
#[derive(Clone, Debug)]
pub enum BodyPattern {
    /// A value as it is.
    Literal(Value),
    /// A text.
    Text(Pattern),
    /// A value of the input or the parameters, with its type: a leaf that is nothing but `{{ input.name }}`.
    Value(Program),
    /// A map.
    Map(Vec<(Arc<str>, BodyPattern)>),
    /// A list.
    List(Vec<BodyPattern>),
}

/// A text with the places of secrets.
pub type Words = Vec<Piece<String>>;

/// A request as far as the domain knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: Words,
    /// Headers.
    pub headers: Vec<(Arc<str>, Words)>,
    /// The body.
    pub body: Option<Content>,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text, as it is.
    Text(Words),
    /// JSON.
    Json(Filled),
}

/// A JSON body with the places of secrets.
#[derive(Clone, Debug, PartialEq)]
pub enum Filled {
    /// A value.
    Value(Value),
    /// A text.
    Text(Words),
    /// A map.
    Map(Vec<(Arc<str>, Filled)>),
    /// A list.
    List(Vec<Filled>),
}

impl Pattern {
    fn fill(&self, names: &Names<'_>) -> Result<Words, EvalError> {
        let piece = |piece: &Piece<Template>| {
            Ok(match piece {
                Piece::Known(template) => Piece::Known(template.render(names)?),
                Piece::Secret(secret) => Piece::Secret(secret.clone()),
            })
        };
        self.0.iter().map(piece).collect()
    }
}

impl BodyPattern {
    fn fill(&self, names: &Names<'_>) -> Result<Filled, EvalError> {
        Ok(match self {
            BodyPattern::Literal(value) => Filled::Value(value.clone()),
            BodyPattern::Text(pattern) => Filled::Text(pattern.fill(names)?),
            BodyPattern::Value(program) => Filled::Value(program.eval(names, names.facts.limit())?.plain()),
            BodyPattern::Map(fields) => {
                Filled::Map(fields.iter().map(|(k, v)| Ok((k.clone(), v.fill(names)?))).collect::<Result<_, EvalError>>()?)
            }
            BodyPattern::List(items) => Filled::List(items.iter().map(|i| i.fill(names)).collect::<Result<_, EvalError>>()?),
        })
    }
}

impl HttpTool {
    /// The request for an input; the error is for whoever called.
    pub fn request(&self, names: &Names<'_>, input: &Value) -> Result<Request, String> {
        let names = Names { input: Some(input), ..Names::plain(names.facts, names.world) };
        let at = |place: &str| {
            let place = place.to_owned();
            move |e: EvalError| format!("its {place}: {}", e.message)
        };
        let headers = self.headers.iter().map(|(name, value)| {
            let filled = value.fill(&names).map_err(at(&format!("header `{name}`")))?;
            Ok((name.clone(), filled))
        });
        let body = match &self.body {
            None if self.method.has_body() => Some(Content::Json(Filled::Value(input.plain()))),
            None => None,
            Some(BodyPattern::Text(pattern)) => Some(Content::Text(pattern.fill(&names).map_err(at("body"))?)),
            Some(pattern) => Some(Content::Json(pattern.fill(&names).map_err(at("body"))?)),
        };
        let url = self.url.fill(&names).map_err(at("url"))?;
        Ok(Request { method: self.method, url, headers: headers.collect::<Result<_, String>>()?, body })
    }
}

/// Characters that stand for themselves anywhere in an address.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// A value within an address, percent-encoded: it stays one segment, whatever it holds. `None` for `.` and `..`, which no
/// encoding keeps from being read as a way through folders.
pub(crate) fn percent_encoded(text: &str) -> Option<String> {
    use std::fmt::Write as _;
    if matches!(text, "." | "..") {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else if write!(out, "%{byte:02X}").is_err() {
            return None;
        }
    }
    Some(out)
}

/// Splits a text at its references to secrets; each stretch with the character it begins at.
pub(crate) fn pieces(text: &str) -> Vec<(usize, Piece<&str>)> {
    let mut out = Vec::new();
    let (mut known, mut at) = (0, 0);
    while let Some(found) = text[at..].find("${") {
        let open = at + found;
        let secret = text[open + 2..].split_once('}').and_then(|(inside, _)| match inside.split_once(':') {
            Some(("env", name)) => Some((inside.len(), Secret::Env(name.into()))),
            Some(("file", path)) => Some((inside.len(), Secret::File(path.trim().into()))),
            _ => None,
        });
        at = open + 2;
        if let Some((length, secret)) = secret {
            if open > known {
                out.push((text[..known].chars().count(), Piece::Known(&text[known..open])));
            }
            out.push((text[..open].chars().count(), Piece::Secret(secret)));
            at = open + 2 + length + 1;
            known = at;
        }
    }
    if known < text.len() {
        out.push((text[..known].chars().count(), Piece::Known(&text[known..])));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_secrets() {
        let show = |text: &str| {
            let show = |(at, piece): (usize, Piece<&str>)| match piece {
                Piece::Known(text) => format!("{at}:{text}"),
                Piece::Secret(secret) => format!("{at}:<{secret}>"),
            };
            pieces(text).into_iter().map(show).collect::<Vec<_>>().join("|")
        };
        for (text, expect) in [
            ("", ""),
            ("plain", "0:plain"),
            ("Bearer ${env:TOKEN}", "0:Bearer |7:<${env:TOKEN}>"),
            ("${env:A}${file: /x/y }é", "0:<${env:A}>|8:<${file:/x/y}>|22:é"),
            ("é${env:A}b", "0:é|1:<${env:A}>|9:b"),
            ("${other:A} ${", "0:${other:A} ${"),
        ] {
            assert_eq!(show(text), expect, "{text}");
        }
    }

    #[test]
    fn what_goes_into_an_address_stays_one_segment() {
        for (text, expect) in [
            ("o-1.b_c~d", Some("o-1.b_c~d")),
            ("a/../b?c#d@e:f", Some("a%2F..%2Fb%3Fc%23d%40e%3Af")),
            ("é ", Some("%C3%A9%20")),
            ("..", None),
            (".", None),
            ("...", Some("...")),
            ("%2e%2e", Some("%252e%252e")),
        ] {
            assert_eq!(percent_encoded(text).as_deref(), expect, "{text}");
        }
    }
}
