//! Plans of many runs and faults to inject: checked here, run elsewhere.

use super::Compiler;
use crate::fault::{Fault, MessageFault, ModelFault, Strike};
use crate::id::{AgentIx, ModelIx};
use crate::scenario::document::{FaultDoc, MessageEffect, ModelError, ScenarioDoc, SweepDoc};
use crate::scenario::faults::{shorten, suggestion};
use crate::scenario::node::{Key, Kind, Node};
use crate::scenario::scalars::{Int, Text};
use crate::schema;
use crate::value::Value;

/// Combinations of one sweep.
const MAX_ARMS: usize = 10_000;
/// Faults that are injected at most, and characters of the words of one: they are an event of the run.
const MOST_FAULTS: usize = 100;
const LONGEST_ERROR: usize = 200;

impl Compiler<'_> {
    pub(super) fn sweeps(&mut self, doc: &ScenarioDoc) {
        for (key, sweep) in doc.sweeps.iter() {
            self.sweep(key, sweep);
        }
    }

    fn sweep(&mut self, key: &Key, sweep: &SweepDoc) {
        let name = shorten(&key.text);
        match (&sweep.matrix, &sweep.list) {
            (Some(_), Some(_)) => {
                self.faults.error("wrong_shape", key.at, format!("sweep `{name}` has `matrix` or `list`, not both"));
            }
            (None, None) if sweep.at.written() => {
                self.faults
                    .error("wrong_shape", key.at, format!("sweep `{name}` has no values"))
                    .help("add `matrix: {parameter: [values]}` or `list: [{…}]`");
            }
            _ => {}
        }
        let mut arms = 1usize;
        for (parameter, values) in sweep.matrix.iter().flat_map(|m| m.iter()) {
            let found = self.swept(parameter);
            let items = values.0.items();
            if items.is_empty() && matches!(values.0.kind, Kind::List(_)) {
                self.faults.error("wrong_shape", values.0.at, format!("there are no values of `{}`", shorten(&parameter.text)));
            }
            arms = arms.saturating_mul(items.len().max(1));
            if let Some(found) = found {
                items.iter().for_each(|v| self.sweep_value(found, v));
            }
        }
        if arms > MAX_ARMS {
            self.faults.error(
                "too_many_arms",
                key.at,
                format!("sweep `{name}` has {arms} combinations; the bound is {MAX_ARMS}"),
            );
        }
        for arm in sweep.list.iter().flatten() {
            self.arm(arm.iter().map(|(k, v)| (k, &v.0)));
        }
        if let Some(compare) = &sweep.compare {
            let names = self.metric_names.clone();
            self.position(&compare.metric, "unknown_metric", "metric", "metrics", &names);
            self.arm(compare.baseline.iter().map(|(k, v)| (k, &v.0)));
        }
        if let Some(stop) = &sweep.stop_when {
            self.stop_when(&stop.0);
        }
    }

    fn arm<'n>(&mut self, values: impl Iterator<Item = (&'n Key, &'n Node)>) {
        for (parameter, value) in values {
            if let Some(found) = self.swept(parameter) {
                self.sweep_value(found, value);
            }
        }
    }

    fn swept(&mut self, key: &Key) -> Option<usize> {
        let name = key.text.strip_prefix("params.").unwrap_or(&key.text);
        let found = self.parameters.iter().position(|p| &*p.name == name);
        if found.is_none() {
            let names: Vec<_> = self.parameters.iter().map(|p| p.name.clone()).collect();
            let help = suggestion(name, "parameters", names.iter().map(|n| &**n));
            self.faults.error("unknown_parameter", key.at, format!("there is no parameter `{}`", shorten(name))).maybe_help(help);
        }
        found
    }

    fn sweep_value(&mut self, parameter: usize, node: &Node) {
        if node.has_broken() {
            return;
        }
        let (schema, name) = (self.parameters[parameter].schema.clone(), self.parameters[parameter].name.clone());
        let value = schema::conform(&schema.ty, &Value::from_json(&node.to_json()));
        for violation in schema.violations(&value.to_json()) {
            let at = node.pointed(&violation.pointer).at;
            self.faults.error(
                "sweep_out_of_range",
                at,
                format!("the sweep's value of `{name}` does not fit: {}", violation.message),
            );
        }
    }

    /// A condition over the runs so far has functions of its own; only its syntax is checked here.
    fn stop_when(&mut self, node: &Node) {
        let Some(scalar) = node.scalar() else { return };
        if let Err(faults) = crate::expression::compile(&scalar.text, &self.run.clone()) {
            let syntax = faults.into_iter().filter(|f| f.code == "cel_syntax").collect();
            self.text_faults(node, syntax, false);
        }
    }

    pub(super) fn injections(&mut self, doc: &ScenarioDoc) -> Vec<Fault> {
        // A stored version that has more goes on as it began.
        if let Some(more) = doc.faults.get(MOST_FAULTS).filter(|more| more.at.written()) {
            let message = format!("{} faults are injected; at most {MOST_FAULTS} may be", doc.faults.len());
            self.faults.error("too_many", more.at, message);
            return Vec::new();
        }
        doc.faults.iter().filter_map(|fault| self.injection(fault)).collect()
    }

    fn injection(&mut self, fault: &FaultDoc) -> Option<Fault> {
        let written = [
            fault.crash.is_some(),
            fault.model.is_some(),
            fault.latency.is_some(),
            fault.tool.is_some(),
            fault.message.is_some(),
        ];
        if !self.exactly_one(fault, "a fault", &written) {
            return None;
        }
        if let Some(crash) = &fault.crash {
            if crash.turn.is_none() && crash.p.is_none() && crash.at.written() {
                self.faults.error("missing_field", crash.at, "a crash needs `turn` or `p`");
            }
            let what = Strike::Crash { agent: self.anybody_or(Some(&crash.agent))?, turn: crash.turn.map(Int::get) };
            return Some(Fault { what, p: crash.p.map_or(1.0, |p| p.it) });
        }
        if let Some(model) = &fault.model {
            let alias = match model.alias.as_ref().filter(|alias| &*alias.it != "*") {
                Some(alias) => Some(ModelIx::from(self.model(alias)?)),
                None => None,
            };
            return Some(Fault { what: Strike::Model { alias, error: model_fault(model.error) }, p: model.p.it });
        }
        if let Some(latency) = &fault.latency {
            let add_ms = latency.add.ms();
            let what = match (&latency.model, &latency.tool) {
                (Some(alias), None) => Strike::SlowModel { alias: ModelIx::from(self.model(alias)?), add_ms },
                (None, Some(tool)) => Strike::SlowTool { tool: self.single_tool(tool)?, add_ms },
                _ => {
                    let message = "a latency is that of a `model` or of a `tool`, one of the two";
                    self.faults.error("wrong_shape", latency.at, message);
                    return None;
                }
            };
            return Some(Fault { what, p: latency.p.it });
        }
        if let Some(tool) = &fault.tool {
            let too_long = |error: &&Text| error.at.written() && error.it.chars().count() > LONGEST_ERROR;
            if let Some(error) = tool.error.as_ref().filter(too_long) {
                self.faults.error("too_long", error.at, format!("the words of a fault are at most {LONGEST_ERROR} characters"));
                return None;
            }
            let error = tool.error.as_ref().map_or_else(|| "injected fault".into(), |e| e.it.clone());
            return Some(Fault { what: Strike::Tool { tool: self.single_tool(&tool.name)?, error }, p: tool.p.it });
        }
        let message = fault.message.as_ref()?;
        let (from, to) = (self.anybody_or(message.from.as_ref())?, self.anybody_or(message.to.as_ref())?);
        let effect = match (message.effect, &message.by) {
            (MessageEffect::Drop, _) => MessageFault::Drop,
            (MessageEffect::Duplicate, _) => MessageFault::Duplicate,
            (MessageEffect::Delay, Some(by)) => MessageFault::Delay(by.step()),
            (MessageEffect::Delay, None) => {
                self.faults.error("missing_field", message.at, "a delayed message needs `by`, how late it is");
                return None;
            }
        };
        Some(Fault { what: Strike::Message { from, to, effect }, p: message.p.it })
    }

    /// An agent, or anybody where there is no name or `"*"`; `None` where there is no such agent.
    #[expect(clippy::option_option, reason = "a fault, anybody, or somebody")]
    fn anybody_or(&mut self, name: Option<&Text>) -> Option<Option<AgentIx>> {
        match name.filter(|name| &*name.it != "*") {
            Some(name) => self.agent(name).map(Some),
            None => Some(None),
        }
    }
}

fn model_fault(error: ModelError) -> ModelFault {
    match error {
        ModelError::TooMany => ModelFault::TooMany,
        ModelError::Server => ModelFault::Server,
        ModelError::Timeout => ModelFault::Timeout,
        ModelError::Malformed => ModelFault::Malformed,
        ModelError::Truncated => ModelFault::Truncated,
    }
}
