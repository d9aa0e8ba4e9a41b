//! Parameters, models, the clock, extraction and limits.

use std::sync::Arc;

use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::scenario::document::{ClockDoc, LimitsDoc, MAX_TICKS, ModelDoc, ScenarioDoc, WorldScope};
use crate::scenario::faults::{Place, closest, listed, shorten, suggestion};
use crate::scenario::node::{Key, Kind, Node, Plain};
use crate::scenario::scalars::{Iso, LateInt, SchemaNode, Text};
use crate::scenario::{
    Clock, ClockMode, Late, Limits, ModelAlias, ModelTarget, Parameter, Preset, Schema, Variable, decode, scalars, time,
};
use crate::schema;
use crate::value::Value;

/// Who may answer for `provider:model`.
const PROVIDERS: [&str; 4] = ["openai", "azure", "ollama", "anthropic"];

impl Compiler<'_> {
    pub(super) fn parameters(&mut self, doc: &ScenarioDoc) {
        for (key, block) in doc.parameters.iter() {
            let node = &block.0;
            let schema = self.block_schema(key, node, "parameter");
            let text = |field: &str| node.get(field).and_then(Node::scalar).map(|s| s.text.to_string());
            let default = node.get("default").map(|default| self.preset(key, default, &schema));
            if let Some(extract) = node.get("extract") {
                self.faults.enter(format!("parameters.{}.extract", shorten(&key.text)).into());
                self.extract(&key.text, extract, &schema, node);
                self.faults.leave();
            }
            self.text_field(node, "unit");
            let (unit, description) = (text("unit"), text("description"));
            self.parameters.push(Parameter { name: key.text.clone(), schema, default, unit, description });
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

    fn extract(&mut self, name: &str, extract: &Node, schema: &Schema, block: &Node) {
        let Some(mut fields) = self.fields(extract, &["synonyms", "examples", "accept"]) else { return };
        let words =
            block.get("enum").map(|e| e.items().iter().filter_map(|i| i.scalar().map(|s| s.text.clone())).collect::<Vec<_>>());
        let synonyms: Option<scalars::RawMap> = fields.take("synonyms", Some(None), &mut self.faults);
        let _: Option<Vec<Text>> = fields.take("accept", Some(None), &mut self.faults);
        let examples: Option<scalars::RawMap> = fields.take("examples", Some(None), &mut self.faults);
        for (key, value) in synonyms.iter().flat_map(|s| s.0.entries()) {
            if let Some(words) = &words
                && !words.contains(&key.text)
            {
                let help = suggestion(&key.text, "values", words.iter().map(|w| &**w));
                let message = format!("`{}` is no value of `{name}`, so it can have no synonyms", shorten(&key.text));
                self.faults.error("unknown_value", key.at, message).maybe_help(help);
            }
            let ok = match &value.kind {
                Kind::List(items) => items.iter().all(|i| i.scalar().is_some()),
                _ => value.as_text().is_some(),
            };
            if !ok {
                self.faults.error("wrong_type", value.at, format!("synonyms are a list of texts, found {}", value.shown()));
            }
        }
        for (_, value) in examples.iter().flat_map(|s| s.0.entries()) {
            self.checked(value, schema, &format!("an example of `{name}`"), "example_out_of_range");
        }
    }

    /// The fields of a raw map.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, known: &[&'static str]) -> Option<decode::Fields<'n>> {
        decode::Fields::of(node, known, &mut self.faults)
    }

    pub(super) fn models(&mut self, doc: &ScenarioDoc) {
        for (key, model) in doc.models.iter() {
            let target = self.target(&model.target);
            let fallback: Vec<ModelTarget> = model.fallback.iter().map(|t| self.target(t)).collect();
            self.unbuilt_targets(key, model, &target, &fallback);
            self.models.push(ModelAlias {
                name: key.text.clone(),
                target,
                fallback,
                temperature: model.temperature.map(|t| t.it),
                max_output_tokens: model.max_output_tokens.map(scalars::Int::get32),
                price: model.price.as_ref().map(|p| (p.input.it, p.output.it)),
            });
        }
    }

    fn unbuilt_targets(&mut self, key: &Key, model: &ModelDoc, target: &ModelTarget, fallback: &[ModelTarget]) {
        let texts = std::iter::once(&model.target).chain(&model.fallback);
        for (text, target) in texts.zip(std::iter::once(target).chain(fallback)) {
            if matches!(target, ModelTarget::Provider { .. }) {
                self.unbuilt(text.at, format!("model `{}` of provider `{}`", key.text, shorten(&text.it)));
            }
        }
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

    pub(super) fn extraction(&mut self, doc: &ScenarioDoc) {
        if let Some(extraction) = &doc.extraction
            && let Some(model) = &extraction.model
        {
            self.model(model);
        }
    }

    /// The position of a model alias.
    pub(super) fn model(&mut self, name: &Text) -> Option<usize> {
        let names: Vec<Arc<str>> = self.models.iter().map(|m| m.name.clone()).collect();
        self.position(name, "unknown_model", "model alias", "model aliases", &names)
    }
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
