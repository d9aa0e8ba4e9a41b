//! `mcp` tools: where a server is, and what of it may be called. What it really offers is known when a run begins.

use std::sync::Arc;

use super::Compiler;
use crate::id::{AgentIx, ToolIx};
use crate::scenario::document::{EffectDoc, ServerDoc, ToolDoc};
use crate::scenario::faults::{Place, shorten, suggestion};
use crate::scenario::node::Key;
use crate::scenario::scalars::Text;
use crate::scenario::{AgentKind, EffectClass, Scenario, ToolKind, ToolRef};
use crate::tool::http::{MAX_URL, Piece, Words, pieces};
use crate::tool::mcp::{AllowedTool, MAX_ALLOWED, McpTool, SEPARATOR, Server, full_name, name_fault};

/// Headers that are the protocol's, or the connection's.
const OURS: [&str; 11] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl Compiler<'_> {
    /// An `mcp` tool: a server, and its tools that may be called.
    pub(super) fn mcp_tool(&mut self, key: &Key, tool: &ToolDoc) -> ToolKind {
        let missing = |c: &mut Self, field: &str, help: &str| {
            let message = format!("missing field `{field}` in tool `{}`", shorten(&key.text));
            c.faults.error("missing_field", key.at, message).help(help.to_owned());
        };
        if let Some(input) = &tool.input {
            let message = "`input` does not belong to a tool of kind `mcp`: its server says what each of its tools takes";
            self.faults.error("misplaced", input.0.owner(), message).help("leave it out");
        }
        let server = match &tool.server {
            Some(server) => self.server(server),
            None => {
                missing(self, "server", "add `server: {command: [npx, …]}` or `server: {url: …}`");
                None
            }
        };
        if tool.allow.as_ref().is_none_or(Vec::is_empty) {
            missing(self, "allow", "add `allow: [name]`: the tools of the server that may be called, by their own names");
        }
        let allow = self.allowed(key, tool);
        self.names_allowed(tool, &allow);
        let retry = self.retry(tool);
        let Some(server) = server else { return ToolKind::Unbuilt };
        let (trust_hints, optional) = (tool.trust_hints, tool.optional);
        ToolKind::Mcp(Box::new(McpTool { server, allow, trust_hints, optional, retry }))
    }

    fn server(&mut self, doc: &ServerDoc) -> Option<Server> {
        let misplaced = |c: &mut Self, at: Place, field: &str, with: &str| {
            c.faults.error("misplaced", at, format!("`{field}` belongs to a server with a `{with}`"));
        };
        match (&doc.command, &doc.url) {
            (Some(command), None) => {
                if let Some(auth) = &doc.auth {
                    misplaced(self, auth.at, "auth", "url");
                }
                let words: Vec<Words> = command.0.iter().map(|word| places(&word.it)).collect();
                if words.first().is_none_or(|w| w.iter().any(|piece| matches!(piece, Piece::Secret(_)))) {
                    self.faults.error("wrong_shape", doc.at, "a `command` begins with the name of a program");
                }
                let env = doc.env.iter().flat_map(|e| e.iter());
                let env: Vec<(Arc<str>, Words)> = env.map(|(key, value)| (self.variable(key), places(&value.0))).collect();
                Some(Server::Command { words, env })
            }
            (None, Some(url)) => {
                if let Some((key, _)) = doc.env.as_ref().and_then(|e| e.all.first()) {
                    misplaced(self, key.at, "env", "command");
                }
                let known = ["http://", "https://", "${"].iter().any(|scheme| url.it.starts_with(scheme));
                if !known || url.it.len() > MAX_URL {
                    let message = format!("`{}` is no address of a server", shorten(&url.it));
                    self.faults.error("bad_url", url.at, message).help("an address begins with `https://` or `http://`");
                }
                let mut headers: Vec<(Arc<str>, Words)> = Vec::new();
                if let Some(auth) = &doc.auth {
                    let bearer = |token: &Text| {
                        let mut words = vec![Piece::Known("Bearer ".to_owned())];
                        words.extend(places(&token.it));
                        (Arc::from("Authorization"), words)
                    };
                    headers.extend(auth.bearer.as_ref().map(bearer));
                    let more = auth.headers.iter().flat_map(|h| h.iter());
                    headers.extend(more.map(|(key, value)| (self.sign_in_header(key), places(&value.0))));
                }
                Some(Server::Url { url: places(&url.it), headers })
            }
            _ => {
                self.faults.error("wrong_shape", doc.at, "an MCP server has a `command` or a `url`, one of the two");
                None
            }
        }
    }

    fn variable(&mut self, key: &Key) -> Arc<str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if key.text.is_empty() || !key.text.chars().all(plain) || key.text.starts_with(|c: char| c.is_ascii_digit()) {
            self.faults.error("bad_name", key.at, format!("`{}` is no name of a variable", shorten(&key.text)));
        }
        key.text.clone()
    }

    fn sign_in_header(&mut self, key: &Key) -> Arc<str> {
        let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if key.text.is_empty() || !key.text.chars().all(token) {
            self.faults.error("bad_header", key.at, format!("`{}` is no name of a header", shorten(&key.text)));
        } else if OURS.contains(&&*key.text.to_ascii_lowercase()) {
            let message = format!("the header `{}` is set by the runtime", shorten(&key.text));
            self.faults.error("bad_header", key.at, message).help("leave it out");
        }
        key.text.clone()
    }

    fn allowed(&mut self, key: &Key, tool: &ToolDoc) -> Vec<AllowedTool> {
        let mut out: Vec<AllowedTool> = Vec::new();
        for name in tool.allow.iter().flatten().filter(|name| !name.is_broken()) {
            let full = full_name(&key.text, &name.it);
            if out.iter().any(|one| one.name == name.it) {
                self.faults.error("duplicate_name", name.at, format!("`{}` is listed twice", shorten(&name.it)));
                continue;
            }
            if let Some(why) = name_fault(&full) {
                let message = format!("`{}` cannot be offered to a model as `{}`: {why}", shorten(&name.it), shorten(&full));
                self.faults.error("bad_name", name.at, message);
            }
            if self.tools.iter().any(|t| *t.name == *full) {
                self.faults.error("duplicate_name", name.at, format!("there is a tool `{}` already", shorten(&full)));
            }
            let class =
                tool.classes.iter().flat_map(|c| c.iter()).find(|(k, _)| k.text == name.it).map(|(_, class)| class_of(*class));
            let timeout = tool.timeouts.iter().flat_map(|t| t.iter()).find(|(k, _)| k.text == name.it);
            let timeout_ms = timeout.map_or(tool.timeout.0, |(_, wall)| wall.0);
            out.push(AllowedTool { name: name.it.clone(), full: full.into(), class, timeout_ms });
        }
        if out.len() > MAX_ALLOWED {
            self.faults.error("too_many", key.at, format!("{} tools are allowed; at most {MAX_ALLOWED} may be", out.len()));
        }
        out
    }

    /// Tells where something is said of a tool that is not allowed.
    fn names_allowed(&mut self, tool: &ToolDoc, allow: &[AllowedTool]) {
        let classes = tool.classes.iter().flat_map(|c| c.iter()).map(|(key, _)| key);
        let timeouts = tool.timeouts.iter().flat_map(|t| t.iter()).map(|(key, _)| key);
        for key in classes.chain(timeouts) {
            if !allow.iter().any(|one| one.name == key.text) {
                let help = suggestion(&key.text, "allowed tools", allow.iter().map(|one| &*one.name));
                let message = format!("`{}` is not one of the tools in `allow`", shorten(&key.text));
                self.faults.error("unknown_tool", key.at, message).maybe_help(help);
            }
        }
    }

    /// A tool of a server, by its whole name.
    pub(super) fn served(&self, name: &str) -> Option<ToolRef> {
        name.find(SEPARATOR)?;
        let servers = self.tools.iter().enumerate().filter_map(|(n, tool)| Some((n, tool.mcp()?)));
        let mut found = servers.filter_map(|(n, mcp)| Some((n, mcp.allow.iter().position(|one| &*one.full == name)?)));
        found.next().map(|(server, tool)| ToolRef::Served { server: ToolIx::from(server), tool: position(tool) })
    }

    /// Whether a name stands for a server with all that is allowed of it.
    pub(super) fn is_server(&self, tool: ToolRef) -> bool {
        matches!(tool, ToolRef::Declared(ix) if self.tools.get(ix.at()).is_some_and(|t| t.mcp().is_some()))
    }

    /// All that is allowed of a server; nothing of any other tool.
    pub(super) fn all_of_server(&self, tool: ToolRef) -> Vec<ToolRef> {
        let ToolRef::Declared(server) = tool else { return Vec::new() };
        let Some(mcp) = self.tools.get(server.at()).and_then(|t| t.mcp()) else { return Vec::new() };
        (0..mcp.allow.len()).map(|n| ToolRef::Served { server, tool: position(n) }).collect()
    }

    /// A tool by name, where a whole server cannot be meant.
    pub(super) fn single_tool(&mut self, name: &Text) -> Option<ToolRef> {
        let tool = self.tool(name)?;
        self.single(tool, name)?;
        Some(tool)
    }

    /// Tells where a whole server is named, and one tool is wanted.
    pub(super) fn single(&mut self, tool: ToolRef, name: &Text) -> Option<()> {
        if !self.is_server(tool) {
            return Some(());
        }
        let one = self.all_of_server(tool).first().and_then(|one| match one {
            ToolRef::Served { server, tool } => Some(self.tools[server.at()].mcp()?.allow[usize::from(*tool)].full.clone()),
            _ => None,
        });
        let message = format!("`{}` names a whole MCP server, and one of its tools is wanted here", shorten(&name.it));
        let help = one.map(|full| format!("such as `{full}`"));
        self.faults.error("unknown_tool", name.at, message).maybe_help(help);
        None
    }
}

/// The servers that agents of kind `llm` may call, and which these are.
pub(super) fn servers(scenario: &Scenario) -> Vec<(ToolIx, Vec<AgentIx>)> {
    let mut out: Vec<(ToolIx, Vec<AgentIx>)> = Vec::new();
    for agent in scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm) {
        for tool in &agent.tools {
            let ToolRef::Served { server, .. } = tool else { continue };
            match out.iter_mut().find(|(ix, _)| ix == server) {
                Some((_, users)) if users.last() == Some(&agent.ix) => {}
                Some((_, users)) => users.push(agent.ix),
                None => out.push((*server, vec![agent.ix])),
            }
        }
    }
    out.sort_unstable_by_key(|(server, _)| *server);
    out
}

fn class_of(class: EffectDoc) -> EffectClass {
    match class {
        EffectDoc::Read => EffectClass::Read,
        EffectDoc::Idempotent => EffectClass::Idempotent,
        EffectDoc::Effect => EffectClass::Effect,
    }
}

/// A text with the places of secrets; nothing else in it is filled in.
fn places(text: &str) -> Words {
    let place = |(_, piece): (usize, Piece<&str>)| match piece {
        Piece::Known(text) => Piece::Known(text.to_owned()),
        Piece::Secret(secret) => Piece::Secret(secret),
    };
    pieces(text).into_iter().map(place).collect()
}

fn position(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}
