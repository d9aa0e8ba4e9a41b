//! `http` tools: their templates, what may be read there, and who may call them.

use std::sync::Arc;

use super::Compiler;
use crate::expression::{self, Env, Root};
use crate::id::ToolIx;
use crate::scenario::document::{EffectDoc, HttpMethod, ScenarioDoc, ToolDoc, ToolKindDoc};
use crate::scenario::faults::{Place, shorten};
use crate::scenario::node::{Key, Kind, Node, Plain};
use crate::scenario::{EffectClass, Schema, ToolKind, ToolRef};
use crate::template::Template;
use crate::tool::http::{BodyPattern, HttpTool, MAX_URL, Method, Pattern, Piece, Retry, pieces};
use crate::value::Value;

/// Headers that are the runtime's, or the connection's.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Compiler<'_> {
    /// An `http` tool; its `check` is looked up once all tools are known.
    pub(super) fn http_tool(&mut self, tool: &ToolDoc, input: &Schema) -> ToolKind {
        let mut env = Env::default();
        env.declare("params", Root::Params, self.params_type());
        env.declare("seed", Root::Seed, expression::Type::Int);
        env.declare("input", Root::Input, input.ty.clone());
        let url = tool.url.as_ref().map_or_else(|| Pattern(Vec::new()), |u| self.url(&u.0, &env));
        let headers = tool.headers.iter().flat_map(|h| h.iter()).map(|(key, value)| self.header(key, &value.0, &env)).collect();
        let body = tool.body.as_ref().map(|b| self.body(&b.0, &env));
        let method = match tool.method {
            None | Some(HttpMethod::Get) => Method::Get,
            Some(HttpMethod::Post) => Method::Post,
            Some(HttpMethod::Put) => Method::Put,
            Some(HttpMethod::Patch) => Method::Patch,
            Some(HttpMethod::Delete) => Method::Delete,
        };
        if let (Some(body), Method::Get) = (&tool.body, method) {
            let help = "add `method: POST`, or put what it asks for into the `url`";
            self.faults.error("misplaced", body.0.owner(), "a request with the method GET has no body").help(help);
        }
        let retry = self.retry(tool);
        ToolKind::Http(Box::new(HttpTool { method, url, headers, body, retry, check: None }))
    }

    /// How a tool that leaves the process is tried again.
    pub(super) fn retry(&mut self, tool: &ToolDoc) -> Option<Retry> {
        let retry = tool.retry.as_ref()?;
        let single = tool.classes.iter().flat_map(|c| c.iter()).any(|(_, class)| *class != EffectDoc::Effect);
        if matches!(tool.effect, None | Some(EffectDoc::Effect)) && !single && !tool.trust_hints {
            let message = "a tool of class `effect` is never tried again: nobody would know whether it happened once or twice";
            let help = "say `effect: read` or `effect: idempotent` if that is what it is";
            self.faults.error("never_repeated", retry.at, message).help(help);
        }
        Some(Retry {
            max: u32::try_from(retry.max.it).unwrap_or(u32::MAX),
            initial_ms: retry.initial.0,
            factor: retry.factor.it,
            max_delay_ms: retry.max_delay.0,
        })
    }

    fn url(&mut self, node: &Node, env: &Env) -> Pattern {
        let text = node.scalar().map(|s| s.text.clone()).unwrap_or_default();
        let known = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        // A beginning that is filled in is looked at when it is known.
        if !text.is_empty() && !known && !text.starts_with("{{") && !text.starts_with("${") {
            let message = format!("`{}` is no address", shorten(&text));
            self.faults.error("bad_url", node.at, message).help("an address begins with `https://` or `http://`");
        } else if text.len() > MAX_URL {
            self.faults.error("bad_url", node.at, format!("an address has at most {MAX_URL} bytes"));
        }
        self.pattern(node, env, Template::compile_for_url)
    }

    fn header(&mut self, key: &Key, node: &Node, env: &Env) -> (Arc<str>, Pattern) {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.text.is_empty() || !key.text.chars().all(token) {
            self.faults.error("bad_header", key.at, format!("`{}` is no name of a header", shorten(&key.text)));
        } else if OURS.contains(&&*key.text.to_ascii_lowercase()) {
            let message = format!("the header `{}` is set by the runtime", shorten(&key.text));
            self.faults.error("bad_header", key.at, message).help("leave it out");
        }
        (key.text.clone(), self.pattern(node, env, Template::compile))
    }

    fn body(&mut self, node: &Node, env: &Env) -> BodyPattern {
        match &node.kind {
            Kind::Broken => BodyPattern::Literal(Value::Null),
            Kind::Scalar(s) => match s.value {
                Plain::Null => BodyPattern::Literal(Value::Null),
                Plain::Bool(b) => BodyPattern::Literal(Value::Bool(b)),
                Plain::Int(i) => BodyPattern::Literal(Value::Int(i)),
                Plain::Float(f) => BodyPattern::Literal(Value::Double(f)),
                Plain::Text => BodyPattern::Text(self.pattern(node, env, Template::compile)),
            },
            Kind::List(items) => BodyPattern::List(items.iter().map(|i| self.body_leaf(i, env)).collect()),
            Kind::Map(entries) => {
                BodyPattern::Map(entries.iter().map(|(k, v)| (k.text.clone(), self.body_leaf(v, env))).collect())
            }
        }
    }

    /// A leaf that is nothing but one name keeps the type of what it names.
    fn body_leaf(&mut self, node: &Node, env: &Env) -> BodyPattern {
        let pattern = self.body(node, env);
        let name = |text: &str| {
            let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim().to_owned();
            let plain = |part: &str| {
                part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            inside.split('.').all(plain).then_some(inside)
        };
        let Some(name) = node.scalar().and_then(|s| name(&s.text)) else { return pattern };
        match expression::compile(&name, env) {
            Ok(compiled) => BodyPattern::Value(compiled.program),
            // What is wrong with it was told of the template.
            Err(_) => pattern,
        }
    }

    /// A text with templates and secrets.
    fn pattern(&mut self, node: &Node, env: &Env, compile: CompileTemplate) -> Pattern {
        let Some(text) = node.scalar().map(|s| s.text.clone()) else { return Pattern(Vec::new()) };
        let mut out = Vec::new();
        for (from, piece) in pieces(&text) {
            out.push(match piece {
                Piece::Secret(secret) => Piece::Secret(secret),
                Piece::Known(text) => {
                    let (template, mut faults, doubts) = match compile(text, env) {
                        Ok((template, doubts)) => (template, doubts, true),
                        Err(faults) => (Template::plain(text), faults, false),
                    };
                    faults.iter_mut().for_each(|f| f.at = (f.at.0 + from, f.at.1 + from));
                    self.text_faults(node, faults, doubts);
                    Piece::Known(template)
                }
            });
        }
        Pattern(out)
    }

    /// `check` of each tool: a request that only reads.
    pub(super) fn checks_of_tools(&mut self, doc: &ScenarioDoc) {
        let names: Vec<Arc<str>> = self.tools.iter().map(|t| t.name.clone()).collect();
        for (n, (_, tool)) in doc.tools.iter().enumerate() {
            let Some(check) = &tool.check else { continue };
            let Some(found) = self.position(check, "unknown_tool", "tool", "tools", &names) else { continue };
            if tool.kind != ToolKindDoc::Http || self.tools[n].class != EffectClass::Effect {
                let message = "`check` belongs to a tool of kind `http` and class `effect`: any other is simply performed again";
                self.faults.error("misplaced", check.at, message).help("leave it out");
                continue;
            }
            let asks = &self.tools[found];
            if asks.class != EffectClass::Read || asks.http().is_none() {
                let message = format!("`{}` cannot tell what became of a call", shorten(&check.it));
                let help = "`check` names a tool of kind `http` with `effect: read`";
                self.faults.error("wrong_check", check.at, message).help(help);
            } else if let ToolKind::Http(http) = &mut self.tools[n].kind {
                http.check = Some(ToolIx::from(found));
            }
        }
    }

    /// Tells of a call from a place where nothing may leave the process.
    pub(super) fn stays_inside(&mut self, tool: ToolRef, from: &str, at: Place) {
        let (ToolRef::Declared(ix) | ToolRef::Served { server: ix, .. }) = tool else { return };
        let Some(tool) = self.tools.get(ix.at()) else { return };
        let kind = match &tool.kind {
            ToolKind::Http(_) => "http",
            ToolKind::Mcp(_) => "mcp",
            _ => return,
        };
        let message = format!(
            "{from} cannot call `{}`: a tool of kind `{kind}` leaves the process, and what is evaluated here is pure",
            tool.name
        );
        let help = "agents of kind `llm` call such tools: add it to the `tools` of one, and hand off to it or tell it";
        self.faults.error("leaves_process", at, message).help(help);
    }
}

/// How a stretch of text is compiled.
type CompileTemplate = fn(&str, &Env) -> Result<(Template, Vec<expression::Fault>), Vec<expression::Fault>>;
