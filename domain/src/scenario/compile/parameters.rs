//! Parameters, models, the clock, extraction and limits.

use std::sync::Arc;

use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::scenario::document::{ClockDoc, LimitsDoc, MAX_TICKS, ScenarioDoc, WorldScope};
use crate::scenario::faults::{Place, closest, listed, shorten};
use crate::scenario::node::{Key, Kind, Node, Plain};
use crate::scenario::scalars::{Iso, LateInt, SchemaNode, Text};
use crate::scenario::words::ApiKind;
use crate::scenario::{
    Api, Clock, ClockMode, Late, Limits, ModelAlias, ModelTarget, Parameter, Preset, Schema, Variable, decode, scalars, time,
};
use crate::schema;
use crate::value::Value;

/// Who may answer for `provider:model`.
const PROVIDERS: [&str; 4] = ["openai", "azure", "ollama", "anthropic"];

/// Entries of an alias' `fallback` at most, those of the aliases it names included.
const MAX_FALLBACK: usize = 16;

impl Compiler<'_> {
    pub(super) fn parameters(&mut self, doc: &ScenarioDoc) {
        for (key, block) in doc.parameters.iter() {
            let node = &block.0;
            let schema = self.block_schema(key, node, "parameter");
            let text = |field: &str| node.get(field).and_then(Node::scalar).map(|s| s.text.to_string());
            let default = node.get("default").map(|default| self.preset(key, default, &schema));
            let extract = node.get("extract").map(|extract| {
                self.faults.enter(format!("parameters.{}.extract", shorten(&key.text)).into());
                let extract = self.extract(doc, &key.text, extract, &schema, node);
                self.faults.leave();
                extract
            });
            self.text_field(node, "unit");
            let (unit, title, description) = (text("unit"), text("title"), text("description"));
            let extract = extract.unwrap_or_default();
            self.parameters.push(Parameter { name: key.text.clone(), schema, default, unit, title, description, extract });
        }
        let mut env = Env::default();
        env.declare("params", Root::Params, self.params_type());
        self.params = env;
    }

    /// The schema of a parameter or variable; it should say what it holds.
    fn block_schema(&mut self, key: &Key, node: &Node, what: &str) -> Schema {
        let says = ["type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"].iter().any(|k| node.get(k).is_some());
        if !says && !node.is_broken() {
            let message = format!("{what} `{}` does not say its `type`, so anything fits", shorten(&key.text));
            self.faults.warn("no_type", key.at, message).help("add `type:` integer, number, string, boolean, array or object");
        }
        schema::compile(node, &mut self.faults)
    }

    fn text_field(&mut self, node: &Node, field: &str) {
        if let Some(value) = node.get(field).filter(|v| v.as_text().is_none()) {
            self.faults.enter(field.into());
            decode::wrong_type(value, "text (a string)", &mut self.faults);
            self.faults.leave();
        }
    }

    fn preset(&mut self, key: &Key, default: &Node, schema: &Schema) -> Preset {
        if let Kind::Map(entries) = &default.kind
            && let [(field, cel)] = entries.as_slice()
            && &*field.text == "cel"
        {
            let mut env = Env::default();
            env.declare("now", Root::Now, Type::Timestamp);
            env.declare("seed", Root::Seed, Type::Int);
            env.declare("params", Root::Params, self.params_type());
            let (program, ty) = self.program(cel, &env, Want::Any);
            self.fits(cel.at, &format!("parameter `{}`", key.text), &ty, &schema.ty);
            return Preset::Program(program);
        }
        Preset::Value(self.checked(default, schema, &format!("the default of `{}`", shorten(&key.text)), "default_out_of_range"))
    }

    /// A literal that must meet a schema; each violation is told at its own place.
    pub(super) fn checked(&mut self, node: &Node, schema: &Schema, what: &str, code: &'static str) -> Value {
        let value = schema::conform(&schema.ty, &Value::from_json(&node.to_json()));
        if node.has_broken() {
            return value;
        }
        for violation in schema.violations(&value.to_json()) {
            let at = node.pointed(&violation.pointer).at;
            self.faults.error(code, at, format!("{what} does not fit: {}", violation.message));
        }
        value
    }

    /// The fields of a raw map.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, known: &[&'static str]) -> Option<decode::Fields<'n>> {
        decode::Fields::of(node, known, &mut self.faults)
    }

    pub(super) fn models(&mut self, doc: &ScenarioDoc) {
        let mut aliases = Vec::with_capacity(doc.models.iter().count());
        for (key, model) in doc.models.iter() {
            if model.cache.is_some() && model.temperature.as_ref().is_none_or(|t| t.it != 0.0) {
                let message = format!("model `{}` keeps answers (`cache`), but not at temperature 0", key.text);
                let help = "write `temperature: 0`: at any other an answer is one of many, and giving it again is not the same";
                self.faults.error("cache_needs_zero", key.at, message).help(help);
            }
            aliases.push(ModelAlias {
                name: key.text.clone(),
                target: self.target(&model.target),
                fallback: Vec::new(),
                api: model.api.map(|api| match api {
                    ApiKind::Responses => Api::Responses,
                    ApiKind::Chat => Api::Chat,
                }),
                cache_ms: model.cache.as_ref().map(|wall| wall.0),
                base_url: model.base_url.as_ref().and_then(|url| self.base_url(url)),
                temperature: model.temperature.map(|t| t.it),
                max_output_tokens: model.max_output_tokens.map(scalars::Int::get32),
                price: model.price.as_ref().map(|p| (p.input.it, p.output.it)),
                cached_price: model.price.as_ref().and_then(|p| p.cached_input).map(|p| p.it),
            });
        }
        let named: Vec<Vec<Next>> = (doc.models.iter().zip(&aliases))
            .map(|((_, model), alias)| model.fallback.iter().map(|text| self.next(text, alias, &aliases)).collect())
            .collect();
        for (at, ((key, _), alias)) in doc.models.iter().zip(&aliases).enumerate() {
            let fallback = follow(at, &named, &aliases).unwrap_or_else(|why| {
                let message = format!("`fallback` of model `{}` {why}", shorten(&key.text));
                self.faults.error("bad_fallback", key.at, message).help("name targets, or aliases that do not lead back here");
                Vec::new()
            });
            self.models.push(Arc::new(ModelAlias { fallback, ..alias.clone() }));
        }
    }

    /// An entry of `fallback`: the name of another alias, or a target, which takes over what the alias says of answers.
    fn next(&mut self, text: &Text, alias: &ModelAlias, aliases: &[ModelAlias]) -> Next {
        if let Some(at) = aliases.iter().position(|a| *a.name == *text.it) {
            return Next::Alias(at);
        }
        let target = if &*text.it == "auto" {
            self.faults
                .error("unknown_provider", text.at, "`auto` is no fallback: what it finds is not known before the run")
                .help("name a provider and its model, `stub`, or another alias");
            ModelTarget::Stub
        } else {
            self.target(text)
        };
        Next::Target(Arc::new(ModelAlias {
            name: text.it.clone(),
            target,
            fallback: Vec::new(),
            api: None,
            base_url: None,
            cache_ms: None,
            temperature: alias.temperature,
            max_output_tokens: alias.max_output_tokens,
            price: None,
            cached_price: None,
        }))
    }

    /// The address of a model's server: no user, no query; a key never stands in it.
    fn base_url(&mut self, text: &Text) -> Option<Arc<str>> {
        let url = &*text.it;
        if url.starts_with("${env:") && url.ends_with('}') && url.matches('$').count() == 1 {
            return Some(url.into());
        }
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let fits = rest.is_some_and(|rest| {
            let host = rest.split('/').next().unwrap_or_default();
            !host.is_empty() && !host.contains('@') && !rest.contains(['?', '#', '\\']) && !rest.contains(char::is_whitespace)
        });
        if !fits {
            let message = format!("`{}` is no address of a model's server", shorten(url));
            self.faults.error("bad_url", text.at, message).help("such as `http://127.0.0.1:8000/v1`, without user or query");
            return None;
        }
        Some(url.trim_end_matches('/').into())
    }

    /// `use:` of a model alias.
    fn target(&mut self, text: &Text) -> ModelTarget {
        let words = &*text.it;
        match words {
            "" | "auto" => return ModelTarget::Auto,
            "stub" => return ModelTarget::Stub,
            _ => {}
        }
        let shown = shorten(words);
        let Some((provider, model)) = words.split_once(':') else {
            if PROVIDERS.contains(&words) {
                let message = format!("`{shown}` names a provider but no model");
                self.faults.error("unknown_provider", text.at, message).help(format!("write `{shown}:` and the model's name"));
            } else {
                self.unknown_provider(text.at, words, words.split('/').next().unwrap_or(words), None);
            }
            return ModelTarget::Auto;
        };
        if !PROVIDERS.contains(&provider) {
            self.unknown_provider(text.at, words, provider, Some(model));
            return ModelTarget::Auto;
        }
        if model.trim().is_empty() || model.len() > 200 || model.chars().any(char::is_whitespace) {
            let message = format!("`{shown}` names no model of `{provider}`");
            self.faults.error("unknown_provider", text.at, message).help(format!("write `{provider}:` and the model's name"));
        }
        ModelTarget::Provider { provider: provider.into(), model: model.into() }
    }

    fn unknown_provider(&mut self, at: Place, words: &str, provider: &str, model: Option<&str>) {
        if let Some((known, rest)) = words.split_once('/')
            && PROVIDERS.contains(&known)
        {
            let message = format!("`{}` has a slash where a colon belongs", shorten(words));
            self.faults.error("unknown_provider", at, message).help(format!("write `{known}:{}`", shorten(rest)));
            return;
        }
        let near = closest(provider, PROVIDERS.iter().copied().chain(["auto", "stub"]));
        let help = match (near, model) {
            (Some(near @ ("auto" | "stub")), _) => format!("did you mean `{near}`?"),
            (Some(near), Some(model)) => format!("did you mean `{near}:{}`?", shorten(model)),
            (Some(near), None) => format!("did you mean `{near}:<model>`?"),
            (None, _) => format!("`auto`, `stub`, or one of {} with `:` and a model", listed(PROVIDERS)),
        };
        self.faults.error("unknown_provider", at, format!("there is no provider `{}`", shorten(provider))).help(help);
    }

    pub(super) fn clock(&mut self, clock: &ClockDoc) -> Clock {
        let start = clock.start.as_ref().filter(|s| !s.0.is_broken()).map(|start| {
            let text = start.0.as_text().cloned().unwrap_or_else(|| "".into());
            if text.contains("{{") {
                let env = self.params.clone();
                return Late::Template(self.template_node(&start.0, &env));
            }
            Late::Given(time::moment(&text).unwrap_or_else(|why| {
                let message = format!("`clock.start` is no date: `{}` ({why})", shorten(&text));
                self.faults.error("bad_date", start.0.at, message);
                0
            }))
        });
        let ticks = clock.ticks.as_ref().map(|t| self.late(t, "clock.ticks", 1, MAX_TICKS));
        if let (Some(ticks), None) = (&clock.ticks, &clock.tick) {
            self.faults
                .error("missing_field", ticks.0.owner(), "`clock.ticks` says how many ticks, but not how long one is")
                .help("add `tick:`, such as `tick: P1D`");
        }
        Clock { mode: clock.mode, start, tick: clock.tick.as_ref().map(|t| t.it), ticks }
    }

    /// A number within bounds, or a template over `params`.
    pub(super) fn late(&mut self, doc: &LateInt, path: &str, min: i64, max: i64) -> Late<u64> {
        match doc.0.scalar().map(|s| s.value) {
            Some(Plain::Int(it)) => {
                self.faults.enter(path.into());
                scalars::within(doc.0.at, it, min, max, &mut self.faults);
                self.faults.leave();
                Late::Given(u64::try_from(it).unwrap_or_default())
            }
            Some(Plain::Text) => {
                let env = self.params.clone();
                Late::Template(self.template_node(&doc.0, &env))
            }
            _ => Late::Given(1),
        }
    }

    /// The variables of `state` or `self`.
    pub(super) fn variables(&mut self, blocks: &[(Key, SchemaNode)], what: &str) -> Vec<Variable> {
        let mut out = Vec::with_capacity(blocks.len());
        for (key, block) in blocks {
            let schema = self.block_schema(key, &block.0, what);
            let default = match block.0.get("default") {
                Some(default) => {
                    self.checked(default, &schema, &format!("the default of `{}`", shorten(&key.text)), "default_out_of_range")
                }
                None => {
                    if !block.0.is_broken() {
                        let message = format!("{what} `{}` has no `default`, so it would begin with nothing", shorten(&key.text));
                        self.faults.error("missing_field", key.at, message).help("add `default:`");
                    }
                    Value::Null
                }
            };
            self.text_field(&block.0, "unit");
            if let Some((extract, _)) = block.0.entries().iter().find(|e| &*e.0.text == "extract") {
                self.faults.error("unknown_field", extract.at, format!("`extract` belongs to parameters, not to a {what}"));
            }
            out.push(Variable { name: key.text.clone(), schema, default });
        }
        out
    }

    pub(super) fn limits(&mut self, doc: &LimitsDoc) -> Limits {
        Limits {
            turns: doc.turns.get(),
            events: doc.events.get(),
            handoffs: doc.handoffs.get(),
            tokens: doc.tokens.map(scalars::Int::get),
            cost_usd: doc.cost_usd.map(|c| c.it),
            wall_ms: doc.wall.0,
            sim: doc.sim.as_ref().map(|s| s.it),
            cel_steps: doc.cel_steps.get(),
            max_rounds: doc.max_rounds.get32(),
            on_exceed: doc.on_exceed,
        }
    }

    /// The position of a model alias.
    pub(super) fn model(&mut self, name: &Text) -> Option<usize> {
        let names: Vec<Arc<str>> = self.models.iter().map(|m| m.name.clone()).collect();
        self.position(name, "unknown_model", "model alias", "model aliases", &names)
    }
}

/// An entry of a `fallback`.
enum Next {
    /// The alias at this position, and its own fallback behind it.
    Alias(usize),
    /// A target.
    Target(Arc<ModelAlias>),
}

/// Who answers where an alias fails, in order, each once; the error says why that cannot be.
fn follow(at: usize, named: &[Vec<Next>], aliases: &[ModelAlias]) -> Result<Vec<Arc<ModelAlias>>, &'static str> {
    let mut found: Vec<Arc<ModelAlias>> = Vec::new();
    let mut open: Vec<&Next> = named[at].iter().rev().collect();
    while let Some(next) = open.pop() {
        let one = match next {
            Next::Target(target) => target.clone(),
            Next::Alias(next) if *next == at => return Err("leads back to itself"),
            Next::Alias(next) => Arc::new(aliases[*next].clone()),
        };
        if found.contains(&one) {
            continue;
        }
        if found.len() == MAX_FALLBACK {
            return Err("has more than 16 entries, with those of the aliases it names");
        }
        found.push(one);
        if let Next::Alias(next) = next {
            open.extend(named[*next].iter().rev());
        }
    }
    Ok(found)
}

/// Whether a clock ticks.
pub(super) fn ticks(clock: &Clock) -> bool {
    clock.tick.is_some() && (clock.ticks.is_some() || clock.mode == ClockMode::Real)
}

/// Whether a collection outlives the run.
pub(super) fn outlives(scope: WorldScope) -> bool {
    scope == WorldScope::Workspace
}

/// Whether a span was written.
pub(super) fn span_of(iso: &Option<Iso>) -> Option<crate::scenario::Step> {
    iso.as_ref().map(|i| i.it)
}
