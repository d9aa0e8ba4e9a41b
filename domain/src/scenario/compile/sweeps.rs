//! Plans of many runs and faults to inject: checked here, run elsewhere.

use super::Compiler;
use crate::scenario::document::{FaultDoc, ScenarioDoc, SweepDoc};
use crate::scenario::faults::{shorten, suggestion};
use crate::scenario::node::{Key, Kind, Node};
use crate::scenario::scalars::Text;
use crate::schema;
use crate::value::Value;

/// Combinations of one sweep.
const MAX_ARMS: usize = 10_000;

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

    pub(super) fn injections(&mut self, doc: &ScenarioDoc) {
        if let Some(first) = doc.faults.first() {
            self.unbuilt(first.at, "`faults`".into());
        }
        for fault in &doc.faults {
            self.injection(fault);
        }
    }

    fn injection(&mut self, fault: &FaultDoc) {
        let written = [
            fault.crash.is_some(),
            fault.model.is_some(),
            fault.latency.is_some(),
            fault.tool.is_some(),
            fault.message.is_some(),
        ];
        if !self.exactly_one(fault, "a fault", &written) {
            return;
        }
        let named = |name: &Text| Some(name.clone()).filter(|n| &*n.it != "*");
        if let Some(crash) = &fault.crash {
            named(&crash.agent).and_then(|n| self.agent(&n));
            if crash.turn.is_none() && crash.p.is_none() && crash.at.written() {
                self.faults.error("missing_field", crash.at, "a crash needs `turn` or `p`");
            }
        }
        if let Some(alias) = fault.model.as_ref().and_then(|m| m.alias.as_ref()) {
            self.model(alias);
        }
        if let Some(latency) = &fault.latency {
            if latency.model.is_some() == latency.tool.is_some() {
                self.faults.error("wrong_shape", latency.at, "a latency is that of a `model` or of a `tool`, one of the two");
            }
            latency.model.as_ref().and_then(|m| self.model(m));
            latency.tool.as_ref().and_then(|t| self.tool(t));
        }
        if let Some(tool) = &fault.tool {
            self.tool(&tool.name);
        }
        if let Some(message) = &fault.message {
            for name in [&message.from, &message.to].into_iter().flatten() {
                named(name).and_then(|n| self.agent(&n));
            }
            if message.effect == crate::scenario::document::MessageEffect::Delay && message.by.is_none() {
                self.faults.error("missing_field", message.at, "a delayed message needs `by`, how late it is");
            }
        }
    }
}
