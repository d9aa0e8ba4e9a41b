//! What is measured and what must hold: metrics, checks, thresholds.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::env::object;
use super::{Compiler, Want};
use crate::expression::{Root, Type};
use crate::id::MetricIx;
use crate::scenario::document::{Bound, ScenarioDoc};
use crate::scenario::faults::{listed, shorten, suggestion};
use crate::scenario::scalars::Text;
use crate::scenario::{Check, Metric, RUN_FIELDS, Stat, Threshold, ThresholdOf};

impl Compiler<'_> {
    pub(super) fn metrics(&mut self, doc: &ScenarioDoc) -> Vec<Metric> {
        let env = self.run.clone();
        let mut out = Vec::new();
        for (n, (key, metric)) in doc.metrics.iter().enumerate() {
            let value = metric.value.as_ref().map(|v| self.program(&v.0, &env, Want::Number).0);
            if value.is_none() && !self.emitted[n] && metric.at.written() {
                let message = format!("metric `{}` has no `value`, and no rule gives it one", shorten(&key.text));
                self.faults
                    .error("missing_field", key.at, message)
                    .help("add `value:`, or emit `{metric: name, value: …}` in a rule");
            }
            let unit = metric.unit.as_ref().map(|u| u.0.to_string());
            out.push(Metric { name: key.text.clone(), value, at: metric.read_at, unit, goal: metric.goal });
        }
        out
    }

    pub(super) fn checks(&mut self, doc: &ScenarioDoc) -> Vec<Check> {
        // A metric that was never read is null.
        let metric = |n: &Arc<str>| (n.clone(), Type::OneOf(vec![Type::Double, Type::Null]));
        let metrics = object(self.metric_names.iter().map(metric));
        let many = || Type::List(Box::new(Type::Dyn));
        let env = self.run.with("metrics", Root::Metrics, metrics).with("trace", Root::Trace, many()).with(
            "approvals",
            Root::Approvals,
            many(),
        );
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        for check in &doc.checks {
            self.free_name(&check.name, "check", &mut seen);
            let (that, _) = self.program(&check.that.0, &env, Want::Bool);
            out.push(Check { name: check.name.it.clone(), that });
        }
        out
    }

    pub(super) fn thresholds(&mut self, doc: &ScenarioDoc) -> Vec<Threshold> {
        let mut out = Vec::new();
        for threshold in &doc.thresholds {
            let of = self.measured(&threshold.metric);
            let stats: [(&str, Stat, &Option<Bound>); 7] = [
                ("mean", Stat::Mean, &threshold.mean),
                ("sd", Stat::Sd, &threshold.sd),
                ("p50", Stat::P50, &threshold.p50),
                ("p95", Stat::P95, &threshold.p95),
                ("min", Stat::Min, &threshold.min),
                ("max", Stat::Max, &threshold.max),
                ("rate", Stat::Rate, &threshold.rate),
            ];
            if stats.iter().all(|s| s.2.is_none()) {
                let at = if threshold.metric.at.written() { threshold.metric.at } else { threshold.at };
                let message = "this threshold compares nothing";
                self.faults
                    .error("wrong_shape", at, message)
                    .help(format!("add one of {}, such as `mean: \"< 0.2\"`", listed(stats.iter().map(|s| s.0))));
            }
            let Some(of) = of else { continue };
            for (name, stat, bound) in stats {
                if let Some(bound) = bound {
                    let text = format!("{name}({}) {}", threshold.metric.it, bound.text);
                    out.push(Threshold { of: of.clone(), stat, op: bound.op, bound: bound.number, text });
                }
            }
        }
        out
    }

    /// A metric, or a field of `run`.
    fn measured(&mut self, name: &Text) -> Option<ThresholdOf> {
        if name.is_broken() {
            return None;
        }
        if let Some(field) = name.it.strip_prefix("run.") {
            if let Some(n) = RUN_FIELDS.iter().position(|f| *f == field) {
                if matches!(field, "status" | "mode") {
                    self.faults.error("unknown_metric", name.at, format!("`run.{field}` is text, not a number"));
                }
                return Some(ThresholdOf::Run(u16::try_from(n).unwrap_or(u16::MAX)));
            }
            let help = suggestion(field, "fields of `run`", RUN_FIELDS);
            self.faults.error("unknown_metric", name.at, format!("`run` has no field `{}`", shorten(field))).maybe_help(help);
            return None;
        }
        let names = self.metric_names.clone();
        self.position(name, "unknown_metric", "metric", "metrics", &names).map(|n| ThresholdOf::Metric(MetricIx::from(n)))
    }
}
