//! Text with `{{ … }}` (Jinja by minijinja, strict: an unbound name is an error, never an empty text).
//! The only home of `minijinja`. A rendering is bounded in steps and in size; it reads nothing the template does not name.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::expression::{Env, EvalError, Fault, Root, Scope, Type};
use crate::scenario::faults::{closest, shorten, suggestion};
use crate::value::{Key, Value};

/// Bytes of a rendered text.
pub const MAX_RENDERED: usize = 64 * 1024;
/// Steps of a rendering.
const FUEL: u64 = 100_000;
/// Functions that every template has.
const FUNCTIONS: [&str; 4] = ["range", "dict", "namespace", "loop"];
const NAME: &str = "template";

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    source: Arc<str>,
    /// The engine with this one template; `None` where the text has no `{{`.
    engine: Option<Arc<Environment<'static>>>,
    reads: Vec<Read>,
}

/// A name the template reads, and which of its fields.
#[derive(Clone, Debug)]
struct Read {
    name: Arc<str>,
    root: Root,
    /// `None`: all of it.
    fields: Option<Vec<(Arc<str>, u16)>>,
}

impl Template {
    /// A text as it is.
    pub fn plain(text: impl Into<Arc<str>>) -> Template {
        Template { source: text.into(), engine: None, reads: Vec::new() }
    }

    /// Compiles a template; each name and each field of a known type it reads must be there. All faults are told at once.
    pub fn compile(source: &str, env: &Env) -> Result<Template, Vec<Fault>> {
        if !["{{", "{%", "{#"].iter().any(|open| source.contains(open)) {
            return Ok(Template::plain(source));
        }
        let whole = (0, source.chars().count());
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_fuel(Some(FUEL));
        engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        if let Err(e) = engine.add_template_owned(NAME, source.to_owned()) {
            let at = e.line().and_then(|l| line_at(source, l)).unwrap_or(whole);
            let message = format!("template syntax: {}", e.detail().unwrap_or("it cannot be read"));
            let help = Some("a template is text with `{{ name }}`, `{{ name | filter }}`, `{% if … %}`".to_owned());
            return Err(vec![Fault { code: "template_syntax", message, help, at, warning: false }]);
        }
        let mut faults = Vec::new();
        let mut reads: BTreeMap<Arc<str>, Read> = BTreeMap::new();
        let tokens = tokens(source);
        let mut paths: Vec<String> =
            engine.get_template(NAME).map(|t| t.undeclared_variables(true).into_iter().collect()).unwrap_or_default();
        paths.sort();
        for path in paths {
            let mut parts = path.split('.');
            let name = parts.next().unwrap_or_default();
            let fields: Vec<&str> = parts.collect();
            if env.find(name).is_none() && FUNCTIONS.contains(&name) {
                continue;
            }
            match bind(env, name, &fields) {
                Ok(read) => merge(&mut reads, read),
                Err((depth, message, help)) => {
                    let shown: Vec<&str> = path.split('.').take(depth + 1).collect();
                    for at in places(&tokens, &shown, whole) {
                        let (message, help) = (message.clone(), help.clone());
                        faults.push(Fault { code: "template_unbound", message, help, at, warning: false });
                    }
                }
            }
        }
        filters(&engine, &tokens, &mut faults);
        if faults.is_empty() {
            Ok(Template { source: source.into(), engine: Some(Arc::new(engine)), reads: reads.into_values().collect() })
        } else {
            Err(faults)
        }
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it reads.
    pub fn reads(&self) -> crate::expression::Reads {
        let mut reads = crate::expression::Reads::default();
        for read in &self.reads {
            match &read.fields {
                None => {
                    reads.roots.insert(read.root);
                }
                Some(fields) => reads.fields.extend(fields.iter().map(|f| (read.root, f.1))),
            }
        }
        reads
    }

    /// The text with its values, at most 64 KiB.
    pub fn render(&self, scope: &dyn Scope) -> Result<String, EvalError> {
        let Some(engine) = &self.engine else { return Ok(self.source.to_string()) };
        // A value that cannot be read is left out: only a template that comes to need it fails.
        let mut unread: Option<EvalError> = None;
        let mut context = BTreeMap::new();
        for read in &self.reads {
            let value = match &read.fields {
                None => scope.root(read.root).map(|v| to_jinja(&v)),
                Some(fields) => {
                    let mut map = BTreeMap::new();
                    for (name, index) in fields {
                        match scope.field(read.root, *index) {
                            Ok(value) => {
                                map.insert(name.to_string(), to_jinja(&value));
                            }
                            Err(e) => unread = unread.or(Some(e)),
                        }
                    }
                    Ok(minijinja::Value::from_iter(map))
                }
            };
            match value {
                Ok(value) => {
                    context.insert(read.name.to_string(), value);
                }
                Err(e) => unread = unread.or(Some(e)),
            }
        }
        let template = engine.get_template(NAME).map_err(|e| EvalError::new(words(&e)))?;
        let mut out = Bounded(Vec::new());
        match template.render_captured_to(minijinja::Value::from_iter(context), &mut out) {
            Ok(_) => String::from_utf8(out.0).map_err(|_| EvalError::new("the rendered text is not UTF-8")),
            Err(e) => Err(match (e.kind(), unread) {
                (ErrorKind::UndefinedError, Some(cause)) => cause,
                (ErrorKind::WriteFailure, _) => EvalError::new(format!("the rendered text is longer than {MAX_RENDERED} bytes")),
                (ErrorKind::OutOfFuel, _) => EvalError::new("the template takes too many steps"),
                _ => EvalError::new(format!("template `{}`: {}", shorten(&self.source), words(&e))),
            }),
        }
    }
}

fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What of the environment a path reads, or how far it leads, what is wrong and the remedy.
fn bind(env: &Env, name: &str, fields: &[&str]) -> Result<Read, (usize, String, Option<String>)> {
    let Some((root, ty)) = env.find(name) else {
        let help = suggestion(name, "names", env.names().map(|n| &**n.0));
        return Err((0, format!("unknown name `{}` in the template", shorten(name)), help));
    };
    let mut here = ty;
    for (depth, field) in fields.iter().enumerate() {
        let Type::Object(object) = here else { break };
        match object.fields.iter().find(|f| &*f.0 == *field) {
            Some((_, ty)) => here = ty,
            None if object.open => break,
            None => {
                let owner = std::iter::once(name).chain(fields[..depth].iter().copied()).collect::<Vec<_>>().join(".");
                let help = suggestion(field, "fields", object.fields.iter().map(|f| &*f.0));
                return Err((depth + 1, format!("unknown field `{}` of `{}`", shorten(field), shorten(&owner)), help));
            }
        }
    }
    let fields = match (ty, fields.first()) {
        (Type::Object(object), first) => {
            let all = object.fields.iter().enumerate().filter(|(_, f)| first.is_none_or(|name| &*f.0 == *name));
            let all: Vec<_> = all.map(|(n, f)| (f.0.clone(), u16::try_from(n).unwrap_or(u16::MAX))).collect();
            if all.is_empty() && first.is_some() { None } else { Some(all) }
        }
        _ => None,
    };
    Ok(Read { name: name.into(), root, fields })
}

fn merge(reads: &mut BTreeMap<Arc<str>, Read>, read: Read) {
    match reads.get_mut(&read.name) {
        None => {
            reads.insert(read.name.clone(), read);
        }
        Some(known) => match (&mut known.fields, read.fields) {
            (Some(known), Some(more)) => more.into_iter().for_each(|f| {
                if !known.contains(&f) {
                    known.push(f);
                }
            }),
            (known, _) => *known = None,
        },
    }
}

/// A dotted path or the name of a filter within `{{ … }}` or `{% … %}`, with its characters from, to (exclusive).
struct Token {
    path: Vec<String>,
    filter: bool,
    at: (usize, usize),
}

/// The names of a template. Only for places: what is read is known from the engine.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Vec::new();
    let (mut n, mut inside) = (0, None);
    while n < chars.len() {
        let two = (chars[n], chars.get(n + 1).copied().unwrap_or(' '));
        match inside {
            None => {
                inside = match two {
                    ('{', '{') => Some('}'),
                    ('{', '%') => Some('%'),
                    ('{', '#') => Some('#'),
                    _ => None,
                };
                n += if inside.is_some() { 2 } else { 1 };
            }
            Some(close) if two == (close, '}') => {
                inside = None;
                n += 2;
            }
            Some('#') => n += 1,
            Some(_) if matches!(chars[n], '"' | '\'') => {
                let quote = chars[n];
                n += 1;
                while n < chars.len() && chars[n] != quote {
                    n += if chars[n] == '\\' { 2 } else { 1 };
                }
                n += 1;
            }
            Some(_) if chars[n].is_alphabetic() || chars[n] == '_' => {
                let before = chars[..n].iter().rev().find(|c| !c.is_whitespace()).copied();
                let start = n;
                let mut path = vec![String::new()];
                loop {
                    while n < chars.len() && (chars[n].is_alphanumeric() || chars[n] == '_') {
                        if let Some(part) = path.last_mut() {
                            part.push(chars[n]);
                        }
                        n += 1;
                    }
                    if chars.get(n) == Some(&'.') && chars.get(n + 1).is_some_and(|c| c.is_alphabetic() || *c == '_') {
                        path.push(String::new());
                        n += 1;
                    } else {
                        break;
                    }
                }
                out.push(Token { path, filter: before == Some('|'), at: (start, n) });
            }
            Some(_) => n += 1,
        }
    }
    out
}

/// Where a path stands; the whole text where it is not found.
fn places(tokens: &[Token], path: &[&str], whole: (usize, usize)) -> Vec<(usize, usize)> {
    let found: Vec<_> = tokens
        .iter()
        .filter(|t| !t.filter && t.path.len() >= path.len() && t.path.iter().zip(path).all(|(a, b)| a == b))
        .map(|t| (t.at.0, t.at.0 + path.iter().map(|p| p.chars().count() + 1).sum::<usize>() - 1))
        .take(8)
        .collect();
    if found.is_empty() { vec![whole] } else { found }
}

/// Tells of filters the engine does not have, which it would only find when it renders.
fn filters(engine: &Environment<'_>, tokens: &[Token], faults: &mut Vec<Fault>) {
    const COMMON: [&str; 24] = [
        "abs",
        "capitalize",
        "count",
        "default",
        "first",
        "float",
        "format",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "max",
        "min",
        "replace",
        "reverse",
        "round",
        "sort",
        "sum",
        "trim",
        "upper",
    ];
    for token in tokens.iter().filter(|t| t.filter) {
        let name = token.path.join(".");
        let probe = engine.render_str(&format!("{{{{ 1 | {name} }}}}"), ());
        if probe.is_err_and(|e| e.kind() == ErrorKind::UnknownFilter) {
            let help = closest(&name, COMMON).map(|n| format!("did you mean `{n}`?"));
            let message = format!("unknown filter `{}` in the template", shorten(&name));
            faults.push(Fault { code: "template_filter", message, help, at: token.at, warning: false });
        }
    }
}

fn line_at(source: &str, line: usize) -> Option<(usize, usize)> {
    let mut start = 0;
    for (n, text) in source.split('\n').enumerate() {
        let length = text.chars().count();
        if n + 1 == line {
            return Some((start, start + length.max(1)));
        }
        start += length + 1;
    }
    None
}

fn to_jinja(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Double(d) => (*d).into(),
        Value::Text(t) => minijinja::Value::from(&**t),
        Value::List(items) => items.iter().map(to_jinja).collect::<Vec<_>>().into(),
        Value::Map(map) => minijinja::Value::from_iter(map.iter().map(|(k, v)| {
            let key = match k {
                Key::Text(t) => t.to_string(),
                other => other.to_string(),
            };
            (key, to_jinja(v))
        })),
        Value::Timestamp(ms) => crate::value::timestamp_text(*ms).into(),
        Value::Duration(ms) => crate::value::duration_text(*ms).into(),
        Value::Collection(_) => to_jinja(&value.plain()),
    }
}
