//! `mcp` tools: where a server of the Model Context Protocol is, which of its tools a scenario allows, and what the server
//! offered when the run began. Pure: secrets are named here and never known, and nothing is started or called from here.
//!
//! What may be called is fixed by the scenario (`allow`); only descriptions and schemas come from the server. They are pinned
//! for a run by its log, so that a server that is gone, or has changed, changes nothing of what is offered.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Discovered, Offered};
use crate::run::{CallKind, ToolDefinition};
use crate::scenario::{EffectClass, Schema};
use crate::tool::http::{Retry, Words};

/// What stands between a server's name and its tool's: `files__read_file`.
pub const SEPARATOR: &str = "__";
/// Characters of a tool's whole name, as providers of models take it.
pub const MAX_NAME: usize = 64;
/// Tools of one server that a scenario may allow.
pub const MAX_ALLOWED: usize = 128;
/// Characters of a tool's description that are kept.
pub const MAX_DESCRIPTION: usize = 4 * 1024;
/// Bytes of the JSON Schema of a tool's input; a tool with a longer one is left out.
pub const MAX_SCHEMA: usize = 64 * 1024;
/// The field of a call's `_meta` that carries the key of its step.
pub const KEY_META: &str = "commedia/idempotency-key";

/// A server, and what of it may be used.
#[derive(Clone, Debug)]
pub struct McpTool {
    /// Where it is.
    pub server: Server,
    /// Its tools that may be used, by their own names, in the scenario's order.
    pub allow: Vec<AllowedTool>,
    /// Whether what the server says of its tools (`readOnlyHint`, `idempotentHint`) is believed.
    pub trust_hints: bool,
    /// Whether a run goes without it where it is not there.
    pub optional: bool,
    /// How a call is tried again, where that is allowed.
    pub retry: Option<Retry>,
}

/// A tool of a server that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedTool {
    /// Its own name.
    pub name: Arc<str>,
    /// The name agents and models call it by.
    pub full: Arc<str>,
    /// What the scenario says of it; else the hints where they are trusted, else the class of the whole.
    pub class: Option<EffectClass>,
    /// Wall time a call may take, milliseconds.
    pub timeout_ms: u64,
}

/// Where a server is. Two tools with an equal place share one client.
#[derive(Clone, Debug, PartialEq)]
pub enum Server {
    /// A program to start; it is spoken with over its standard input and output.
    Command {
        /// The program and its arguments.
        words: Vec<Words>,
        /// Variables of its environment, besides the few that any program needs.
        env: Vec<(Arc<str>, Words)>,
    },
    /// An address (streamable HTTP).
    Url {
        /// The address.
        url: Words,
        /// Headers of each request, such as the one that signs in.
        headers: Vec<(Arc<str>, Words)>,
    },
}

/// What a server offered, as a run keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// By the position in `allow`; `None`: not offered.
    pub tools: Vec<Option<PinnedTool>>,
}

/// A tool that a server offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedTool {
    /// What it does, in the server's words.
    pub description: Arc<str>,
    /// The JSON Schema of its input, JSON text.
    pub schema: Arc<str>,
    /// The server says that it changes nothing.
    pub read_only: bool,
    /// The server says that twice is as good as once.
    pub idempotent: bool,
}

/// A tool that a server offered, ready to be used.
#[derive(Clone, Debug)]
pub struct Ready {
    /// As a model sees it.
    pub definition: Arc<ToolDefinition>,
    /// What its input must be.
    pub input: Schema,
    /// Which class the server's hints mean.
    pub hinted: Option<EffectClass>,
}

impl Pinned {
    /// Of an event; `tools` is how many the scenario allows.
    pub fn of(discovered: &Discovered, tools: usize) -> Pinned {
        let mut pinned = vec![None; tools];
        for Offered { tool, description, schema, read_only, idempotent } in &discovered.offered {
            let text = |body: &crate::body::Body| Arc::from(body.value().as_str().unwrap_or_default());
            if let Some(place) = pinned.get_mut(usize::from(*tool)) {
                let (description, schema) = (text(description), text(schema));
                *place = Some(PinnedTool { description, schema, read_only: *read_only, idempotent: *idempotent });
            }
        }
        Pinned { tools: pinned }
    }
}

impl PinnedTool {
    /// Ready to be used under a name; `None` where its schema cannot be read, which was looked at when it was recorded.
    pub fn ready(&self, name: &str) -> Option<Ready> {
        let json = serde_json::from_str(&self.schema).ok()?;
        let input = Schema::of_json(json).ok()?;
        let description = self.description.to_string();
        let definition = ToolDefinition::new(name.to_owned(), description, (*input.json).clone(), CallKind::Tool);
        let hinted = match (self.read_only, self.idempotent) {
            (true, _) => Some(EffectClass::Read),
            (false, true) => Some(EffectClass::Idempotent),
            (false, false) => None,
        };
        Some(Ready { definition, input, hinted })
    }
}

/// The whole name of a server's tool.
pub fn full_name(server: &str, tool: &str) -> String {
    format!("{server}{SEPARATOR}{tool}")
}

/// Why a tool cannot be called by a name.
pub fn name_fault(full: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if full.chars().count() > MAX_NAME {
        return Some(format!("it has {} characters, and models take at most {MAX_NAME}", full.chars().count()));
    }
    (!full.chars().all(plain)).then(|| "models take letters, digits, `_` and `-` only".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;
    use crate::id::ToolIx;
    use crate::value::Value;

    #[test]
    fn names_are_what_models_take() {
        let long = "x".repeat(65);
        let rows =
            [("files__read_file", None), ("files__a-b", None), (&*long, Some("65 characters")), ("files__a.b", Some("letters"))];
        for (name, expect) in rows {
            let found = name_fault(name);
            assert_eq!(found.is_some(), expect.is_some(), "{name}");
            assert!(expect.is_none_or(|words| found.is_some_and(|f| f.contains(words))), "{name}");
        }
    }

    #[test]
    fn what_was_offered_is_kept_by_position_and_ready_again() {
        let offered = |tool, schema: &str, read_only, idempotent| Offered {
            tool,
            description: Body::small(Value::text("reads")),
            schema: Body::small(Value::text(schema)),
            read_only,
            idempotent,
        };
        let schema = r#"{"type":"object","required":["path"],"properties":{"path":{"type":"string"}}}"#;
        let discovered = Discovered {
            server: ToolIx(0),
            by: "files 1".into(),
            offered: vec![offered(1, schema, true, false), offered(2, "{]", false, true), offered(9, "{}", false, false)],
            missing: vec![(0, "it is not offered".into())],
            failure: None,
        };
        let pinned = Pinned::of(&discovered, 3);
        assert_eq!(pinned.tools.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
        let ready = pinned.tools[1].as_ref().and_then(|t| t.ready("files__read")).expect("ready");
        assert_eq!((ready.definition.name.as_str(), ready.hinted), ("files__read", Some(EffectClass::Read)));
        assert_eq!(ready.definition.schema.to_string(), schema);
        assert_eq!(ready.input.violations(&serde_json::json!({"path": 1})).len(), 1);
        assert!(pinned.tools[2].as_ref().and_then(|t| t.ready("files__bad")).is_none(), "no schema");
    }
}
