//! Declared tools, and the names under which anything may be called.

use super::{Compiler, Want};
use crate::expression::{Root, Type};
use crate::id::{CollectionIx, StateIx, ToolIx, ViewIx};
use crate::scenario::document::{EffectDoc, ScenarioDoc, ToolDoc, ToolKindDoc};
use crate::scenario::faults::{Place, listed, shorten, suggestion};
use crate::scenario::node::{Key, Node};
use crate::scenario::scalars::Text;
use crate::scenario::{EffectClass, Schema, Tool, ToolKind, ToolRef};
use crate::{scenario::faults::closest, schema};

/// What `builtin` tools may use.
pub(crate) const BUILTINS: [&str; 5] = ["accuracy", "correlation", "describe", "forecast", "linear_regression"];
const WORLD: [&str; 4] = ["query_", "get_", "put_", "delete_"];

impl Compiler<'_> {
    pub(super) fn tools(&mut self, doc: &ScenarioDoc) {
        for (key, tool) in doc.tools.iter() {
            if self.generated(&key.text).is_some() {
                let message =
                    format!("`{}` is the name of a tool that collections and views give by themselves", shorten(&key.text));
                self.faults.error("bad_name", key.at, message).help("give the tool another name");
            }
            let compiled = self.declared(key, tool);
            self.tools.push(compiled);
        }
        self.checks_of_tools(doc);
    }

    fn declared(&mut self, key: &Key, tool: &ToolDoc) -> Tool {
        self.belongs(tool);
        let input = tool.input.as_ref().map_or_else(Schema::any, |i| schema::compile(&i.0, &mut self.faults));
        let env = self.run.with("input", Root::Input, input.ty.clone());
        self.pure_class(tool);
        let class = match (tool.effect, tool.kind) {
            (Some(EffectDoc::Read), _) | (None, ToolKindDoc::Expr | ToolKindDoc::Builtin) => EffectClass::Read,
            (Some(EffectDoc::Idempotent), _) | (None, ToolKindDoc::State | ToolKindDoc::Message) => EffectClass::Idempotent,
            (Some(EffectDoc::Effect), _) | (None, ToolKindDoc::Http | ToolKindDoc::Mcp) => EffectClass::Effect,
        };
        let missing = |c: &mut Self, field: &str| {
            let message = format!("missing field `{field}` in tool `{}`", shorten(&key.text));
            c.faults.error("missing_field", key.at, message).help(format!("add `{field}:`"));
        };
        let kind = match tool.kind {
            ToolKindDoc::Expr => match &tool.returns {
                Some(returns) => ToolKind::Expr { returns: self.program(&returns.0, &env, Want::Any).0 },
                None => {
                    missing(self, "returns");
                    ToolKind::Unbuilt
                }
            },
            ToolKindDoc::State => {
                if tool.set.is_none() {
                    missing(self, "set");
                }
                let mut set = Vec::new();
                for (name, value) in tool.set.iter().flat_map(|s| s.iter()) {
                    let (program, ty) = self.program(&value.0, &env, Want::Any);
                    if let Some(ix) = self.state_variable(&name.text, name.at) {
                        let expected = self.state[ix.at()].schema.ty.clone();
                        self.fits(value.0.at, &format!("`{}`", name.text), &ty, &expected);
                        set.push((ix, program));
                    }
                }
                ToolKind::State { set }
            }
            ToolKindDoc::Message => {
                if tool.to.is_none() {
                    missing(self, "to");
                }
                let to = tool.to.as_ref().and_then(|t| self.agent(t));
                let type_ = tool.type_.as_ref().map_or_else(|| key.text.clone(), |t| t.it.clone());
                if let Some(to) = to {
                    self.may_be_told(to, &type_, tool.type_.as_ref().map_or(key.at, |t| t.at));
                }
                let to = to.unwrap_or(crate::id::AgentIx(0));
                let data = tool.data.as_ref().map(|d| self.data(&d.0, &env).0);
                ToolKind::Message { to, type_, data }
            }
            ToolKindDoc::Builtin => match &tool.builtin {
                Some(name) => {
                    self.builtin(name);
                    ToolKind::Builtin { name: name.it.clone() }
                }
                None => {
                    missing(self, "use");
                    ToolKind::Unbuilt
                }
            },
            ToolKindDoc::Http => {
                if tool.url.is_none() {
                    missing(self, "url");
                }
                self.http_tool(tool, &input)
            }
            ToolKindDoc::Mcp => self.mcp_tool(key, tool),
        };
        let description = tool.description.as_ref().map(|d| d.it.to_string()).unwrap_or_default();
        Tool { name: key.text.clone(), description, input, kind, class, timeout_ms: tool.timeout.0 }
    }

    /// Tells of a class that a tool within the process cannot have: what it does is part of the turn's event, once.
    fn pure_class(&mut self, tool: &ToolDoc) {
        let inside = !matches!(tool.kind, ToolKindDoc::Http | ToolKindDoc::Mcp);
        if inside && tool.effect == Some(EffectDoc::Effect) {
            let message = "a tool of this kind stays within the process: it is never an `effect`";
            self.faults.warn("wrong_class", tool.at, message).help("leave `effect:` out");
        }
    }

    fn builtin(&mut self, name: &Text) {
        if !name.is_broken() && !BUILTINS.contains(&&*name.it) {
            let help = suggestion(&name.it, "built-in tools", BUILTINS);
            self.faults
                .error("unknown_builtin", name.at, format!("there is no built-in tool `{}`", shorten(&name.it)))
                .maybe_help(help);
        }
    }

    /// Tells of fields that belong to another kind of tool.
    fn belongs(&mut self, tool: &ToolDoc) {
        use ToolKindDoc as K;
        let node = |n: Option<&Node>| n.map(|n| n.key_at.unwrap_or(n.at));
        let text = |t: &Option<Text>| t.as_ref().map(|t| t.at);
        let fields: [(&str, Option<Place>, &[K]); 16] = [
            ("returns", node(tool.returns.as_ref().map(|r| &r.0)), &[K::Expr]),
            ("set", tool.set.as_ref().and_then(|s| s.all.first().map(|f| f.0.at)), &[K::State]),
            ("to", text(&tool.to), &[K::Message]),
            ("type", text(&tool.type_), &[K::Message]),
            ("data", node(tool.data.as_ref().map(|d| &d.0)), &[K::Message]),
            ("use", text(&tool.builtin), &[K::Builtin]),
            ("url", node(tool.url.as_ref().map(|u| &u.0)), &[K::Http]),
            ("method", tool.method.map(|_| tool.at), &[K::Http]),
            ("headers", tool.headers.as_ref().and_then(|h| h.all.first().map(|f| f.0.at)), &[K::Http]),
            ("body", node(tool.body.as_ref().map(|b| &b.0)), &[K::Http]),
            ("server", tool.server.as_ref().map(|s| s.at), &[K::Mcp]),
            ("allow", tool.allow.as_ref().and_then(|a| a.first().map(|t| t.at)), &[K::Mcp]),
            ("classes", tool.classes.as_ref().and_then(|c| c.all.first().map(|f| f.0.at)), &[K::Mcp]),
            ("timeouts", tool.timeouts.as_ref().and_then(|t| t.all.first().map(|f| f.0.at)), &[K::Mcp]),
            ("trust_hints", tool.trust_hints.then_some(tool.at), &[K::Mcp]),
            ("retry", tool.retry.as_ref().map(|r| r.at), &[K::Http, K::Mcp]),
        ];
        for (field, at, kinds) in fields {
            if let Some(at) = at
                && !kinds.contains(&tool.kind)
            {
                let kinds: Vec<String> = kinds.iter().map(|k| format!("{k:?}").to_lowercase()).collect();
                let message = format!("`{field}` does not belong to a tool of this kind");
                let help = format!("`{field}` belongs to tools of kind {}", listed(kinds.iter().map(String::as_str)));
                self.faults.error("misplaced", at, message).help(help);
            }
        }
    }

    /// A state variable by name.
    pub(super) fn state_variable(&mut self, name: &str, at: Place) -> Option<StateIx> {
        let bare = name.strip_prefix("state.").unwrap_or(name);
        if let Some(n) = self.state.iter().position(|v| &*v.name == bare) {
            return Some(StateIx::from(n));
        }
        let help = suggestion(bare, "state variables", self.state.iter().map(|v| &*v.name));
        self.faults.error("unknown_variable", at, format!("there is no state variable `{}`", shorten(bare))).maybe_help(help);
        None
    }

    /// A tool that a collection or view gives.
    pub(super) fn generated(&self, name: &str) -> Option<ToolRef> {
        for prefix in WORLD {
            if let Some(rest) = name.strip_prefix(prefix)
                && let Some(n) = self.collections.iter().position(|c| &*c.shape.name == rest)
            {
                let ix = CollectionIx::from(n);
                return Some(match prefix {
                    "query_" => ToolRef::Query(ix),
                    "get_" => ToolRef::Get(ix),
                    "put_" => ToolRef::Put(ix),
                    _ => ToolRef::Delete(ix),
                });
            }
        }
        let view = name.strip_prefix("view_")?;
        self.views.iter().position(|v| &*v.name == view).map(|n| ToolRef::View(ViewIx::from(n)))
    }

    /// Anything that may be called, by name.
    pub(super) fn tool(&mut self, name: &Text) -> Option<ToolRef> {
        self.tool_named(&name.it, name.at)
    }

    pub(super) fn tool_named(&mut self, name: &str, at: Place) -> Option<ToolRef> {
        if name.is_empty() {
            return None;
        }
        if let Some(n) = self.tools.iter().position(|t| &*t.name == name) {
            return Some(ToolRef::Declared(ToolIx::from(n)));
        }
        if let Some(found) = self.generated(name).or_else(|| self.served(name)) {
            return Some(found);
        }
        let world = self.collections.iter().flat_map(|c| WORLD.map(|p| format!("{p}{}", c.shape.name)));
        let views = self.views.iter().map(|v| format!("view_{}", v.name));
        let served = self.tools.iter().filter_map(Tool::mcp).flat_map(|mcp| mcp.allow.iter().map(|one| one.full.to_string()));
        let all: Vec<String> = self.tools.iter().map(|t| t.name.to_string()).chain(world).chain(views).chain(served).collect();
        let help = closest(name, all.iter().map(String::as_str)).map_or_else(
            || "tools are those of `tools:`, `query_ get_ put_ delete_` with a collection, `view_` with a view".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        self.faults.error("unknown_tool", at, format!("there is no tool `{}`", shorten(name))).help(help);
        None
    }

    /// Tells where an agent may not call a tool.
    pub(super) fn demand_tool(&mut self, agent: usize, tool: ToolRef, at: Place) {
        match tool {
            ToolRef::Query(c) | ToolRef::Get(c) => self.demand(agent, c.at(), false, at),
            ToolRef::Put(c) => self.demand(agent, c.at(), true, at),
            ToolRef::Delete(c) => {
                self.demand(agent, c.at(), true, at);
                self.not_append_only(c.at(), "deleted", at);
            }
            ToolRef::Declared(_) | ToolRef::View(_) | ToolRef::Served { .. } => {}
        }
    }

    /// Tells where a record of an append-only collection is to be changed.
    pub(super) fn not_append_only(&mut self, collection: usize, what: &str, at: Place) {
        let spec = &self.collections[collection];
        if spec.append_only {
            let message = format!("records of `{}` are only added, never {what}: it is `append_only`", spec.shape.name);
            self.faults.error("append_only", at, message);
        }
    }

    /// The type of a tool's result, as far as it is known.
    pub(super) fn result_type(&self, tool: ToolRef) -> Type {
        match tool {
            ToolRef::Query(_) => Type::List(Box::new(Type::Dyn)),
            _ => Type::Dyn,
        }
    }
}
