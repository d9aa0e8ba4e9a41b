//! Text with `{{ … }}` (Jinja by minijinja, strict: an unbound name is an error, never an empty text).
//! The only home of `minijinja`. A rendering is bounded in steps and in size; it reads nothing the template does not name.

mod scan;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::expression::{Env, EvalError, Fault, Root, Scope, Type};
use crate::scenario::faults::{closest, shorten, suggestion};
use crate::tool::http::percent_encoded;
use crate::value::Value;
use scan::{Scan, Token, places, scan};

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

    /// Compiles a template; each name and each field of a known type it reads must be there. All faults are told at once;
    /// fields that a map may have without declaring them are warnings.
    pub fn compile(source: &str, env: &Env) -> Result<(Template, Vec<Fault>), Vec<Fault>> {
        Template::compile_into(source, env, false)
    }

    /// The same for an address: each value is percent-encoded, unless it went through `| safe`.
    pub fn compile_for_url(source: &str, env: &Env) -> Result<(Template, Vec<Fault>), Vec<Fault>> {
        Template::compile_into(source, env, true)
    }

    fn compile_into(source: &str, env: &Env, url: bool) -> Result<(Template, Vec<Fault>), Vec<Fault>> {
        if !["{{", "{%", "{#"].iter().any(|open| source.contains(open)) {
            return Ok((Template::plain(source), Vec::new()));
        }
        let whole = (0, source.chars().count());
        let Scan { tokens, too_complex } = scan(source);
        if let Some((at, what)) = too_complex {
            let message = format!("a template here cannot have {what}");
            let help = Some("work it out in an expression (CEL), such as a `let` or a view".to_owned());
            return Err(vec![Fault { code: "template_too_complex", message, help, at, warning: false }]);
        }
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_fuel(Some(FUEL));
        engine.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        if url {
            engine.set_formatter(within_url);
        }
        if let Err(e) = engine.add_template_owned(NAME, source.to_owned()) {
            let at = e.line().and_then(|l| line_at(source, l)).unwrap_or(whole);
            let message = format!("template syntax: {}", e.detail().unwrap_or("it cannot be read"));
            let help = Some("a template is text with `{{ name }}`, `{{ name | filter }}`, `{% if … %}`".to_owned());
            return Err(vec![Fault { code: "template_syntax", message, help, at, warning: false }]);
        }
        let mut faults = Vec::new();
        let mut reads: BTreeMap<Arc<str>, Read> = BTreeMap::new();
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
                Ok((read, doubt)) => {
                    merge(&mut reads, read);
                    faults.extend(doubt.into_iter().flat_map(|d| d.faults(&tokens, &path, whole)));
                }
                Err(wrong) => faults.extend(wrong.faults(&tokens, &path, whole)),
            }
        }
        filters(&engine, &tokens, &mut faults);
        if faults.iter().all(|f| f.warning) {
            let reads = reads.into_values().collect();
            Ok((Template { source: source.into(), engine: Some(Arc::new(engine)), reads }, faults))
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
                    Ok(minijinja::Value::from(map))
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
        match template.render_captured_to(minijinja::Value::from(context), &mut out) {
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

/// Writes a value into an address.
fn within_url(
    out: &mut minijinja::Output<'_>,
    _state: &mut minijinja::State<'_, '_>,
    value: &minijinja::Value,
) -> Result<(), minijinja::Error> {
    let text = value.to_string();
    let refused = |what: &'static str| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let text = match value.is_safe() {
        true => text,
        false => percent_encoded(&text).ok_or_else(|| refused("`.` and `..` cannot be put into an address"))?,
    };
    out.write_str(&text).map_err(|_| refused("the address cannot be written"))
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

/// Whether a scope gives the fields of a name one by one.
fn by_position(root: Root) -> bool {
    matches!(root, Root::Params | Root::State | Root::Draws | Root::Own | Root::Message | Root::Run)
}

/// What is wrong with a path, or may be.
struct Wrong {
    /// Which part of the path it is about.
    part: usize,
    message: String,
    help: Option<String>,
    doubtful: bool,
}

impl Wrong {
    /// A fault for each place of the path.
    fn faults(self, tokens: &[Token], path: &str, whole: (usize, usize)) -> Vec<Fault> {
        let shown: Vec<&str> = path.split('.').take(self.part + 1).collect();
        let at = places(tokens, &shown, whole).into_iter();
        let Wrong { message, help, doubtful: warning, .. } = self;
        at.map(|at| Fault { code: "template_unbound", message: message.clone(), help: help.clone(), at, warning }).collect()
    }
}

/// What of the environment a path reads, with a doubt; or what is wrong with it.
fn bind(env: &Env, name: &str, fields: &[&str]) -> Result<(Read, Option<Wrong>), Wrong> {
    let Some((root, ty)) = env.find(name) else {
        let help = suggestion(name, "names", env.names().map(|n| &**n.0));
        let message = format!("unknown name `{}` in the template", shorten(name));
        return Err(Wrong { part: 0, message, help, doubtful: false });
    };
    let mut doubt = None;
    let mut here = ty;
    for (depth, field) in fields.iter().enumerate() {
        let Type::Object(object) = here else { break };
        match object.fields.iter().find(|f| &*f.0 == *field) {
            Some((_, ty)) => here = ty,
            None => {
                let owner = std::iter::once(name).chain(fields[..depth].iter().copied()).collect::<Vec<_>>().join(".");
                let help = suggestion(field, "fields", object.fields.iter().map(|f| &*f.0));
                let how = if object.open { "undeclared" } else { "unknown" };
                let message = format!("{how} field `{}` of `{}`", shorten(field), shorten(&owner));
                let wrong = Wrong { part: depth + 1, message, help, doubtful: object.open };
                if !wrong.doubtful {
                    return Err(wrong);
                }
                doubt = Some(wrong);
                break;
            }
        }
    }
    let fields = match (ty, fields.first()) {
        (Type::Object(object), first) if by_position(root) => {
            let all = object.fields.iter().enumerate().filter(|(_, f)| first.is_none_or(|name| &*f.0 == *name));
            let all: Vec<_> = all.map(|(n, f)| (f.0.clone(), u16::try_from(n).unwrap_or(u16::MAX))).collect();
            if all.is_empty() && first.is_some() { None } else { Some(all) }
        }
        _ => None,
    };
    Ok((Read { name: name.into(), root, fields }, doubt))
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
        Value::Map(map) => minijinja::Value::from(
            map.iter().map(|(k, v)| (k.to_string(), to_jinja(v))).collect::<BTreeMap<String, minijinja::Value>>(),
        ),
        Value::Timestamp(ms) => crate::value::timestamp_text(*ms).into(),
        Value::Duration(ms) => crate::value::duration_text(*ms).into(),
        Value::Collection(_) => to_jinja(&value.plain()),
    }
}
