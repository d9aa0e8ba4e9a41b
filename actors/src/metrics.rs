//! Every series of the process, named here and nowhere else. Base units; never a run id as a label.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use commedia_domain::event::{AnsweredBy, StepOutcome, Usage};
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::model::ModelErrorKind;

/// The process' metrics; passed in, never global.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Ended runs.
    pub runs_total: IntCounterVec,
    /// Live runs.
    pub runs_active: IntGauge,
    /// Wall time of runs.
    pub run_duration_seconds: Histogram,
    /// Turns.
    pub turns_total: IntCounterVec,
    /// Steps.
    pub steps_total: IntCounterVec,
    /// Handoffs.
    pub handoffs_total: IntCounter,
    /// Messages in mailboxes.
    pub mailbox_depth: IntGaugeVec,
    /// Restarts of actors.
    pub actor_restarts_total: IntCounterVec,
    /// Requests to models.
    pub model_requests_total: IntCounterVec,
    /// Time of model requests.
    pub model_seconds: Histogram,
    /// Tokens.
    pub model_tokens_total: IntCounterVec,
    /// Money.
    pub model_cost_usd_total: prometheus::Counter,
    /// Open approvals.
    pub approvals_pending: IntGauge,
    /// WebSocket clients.
    pub ws_clients: IntGauge,
    /// Followers let go.
    pub ws_lagged_total: IntCounter,
    /// Time of group commits.
    pub store_commit_seconds: Histogram,
    /// Writes in a group.
    pub store_batch_size: Histogram,
    /// Bytes written.
    pub store_bytes: Gauge,
    /// What was refused for want of room.
    pub shed_total: IntCounterVec,
    /// HTTP requests.
    pub http_requests_total: IntCounterVec,
    /// Time of HTTP requests.
    pub http_request_seconds: HistogramVec,
    /// Starts of MCP servers.
    pub mcp_starts_total: IntCounterVec,
    /// Injected faults.
    pub faults_injected_total: IntCounterVec,
    /// Spans of traces.
    pub telemetry_spans_total: IntCounterVec,
    usual: Usual,
    /// Models with series of their own.
    models: Arc<AtomicUsize>,
    /// Every name with its meaning.
    declared: Arc<[(String, String)]>,
}

/// Models with series of their own; all others are `other`.
const MAX_MODELS: usize = 256;

/// The series of one model, looked up once.
pub(crate) struct ModelSeries {
    label: String,
    requests: IntCounterVec,
    ok: IntCounter,
    tokens_in: IntCounter,
    tokens_out: IntCounter,
    seconds: Histogram,
    cost_usd: prometheus::Counter,
}

impl ModelSeries {
    /// A request was answered.
    pub(crate) fn answered(&self, took: Duration, usage: &Usage) {
        self.ok.inc();
        self.seconds.observe(took.as_secs_f64());
        self.tokens_in.inc_by(usage.tokens_in);
        self.tokens_out.inc_by(usage.tokens_out);
        if usage.cost_usd > 0.0 {
            self.cost_usd.inc_by(usage.cost_usd);
        }
    }

    /// A request failed, or was not sent.
    pub(crate) fn failed(&self, kind: ModelErrorKind, took: Duration) {
        self.requests.with_label_values(&[&self.label, kind.word()]).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// The series that count in every turn, looked up once.
#[derive(Clone, Debug)]
struct Usual {
    turns: [IntCounter; 4],
    model_steps: IntCounter,
    tool_steps: IntCounter,
}

impl Usual {
    fn of(turns: &IntCounterVec, steps: &IntCounterVec) -> Usual {
        let by = [AnsweredBy::Model, AnsweredBy::Rules, AnsweredBy::Stub, AnsweredBy::Cache];
        Usual {
            turns: by.map(|by| turns.with_label_values(&[by.word(), "completed"])),
            model_steps: steps.with_label_values(&["model", "ok"]),
            tool_steps: steps.with_label_values(&["tool", "ok"]),
        }
    }
}

const SECONDS: [f64; 14] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0];

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// All series, declared from the start.
    pub fn new() -> Metrics {
        let turns_total = counters("commedia_turns_total", "Turns", &["agent_kind", "outcome"]);
        let steps_total = counters("commedia_steps_total", "Steps", &["kind", "outcome"]);
        let made = Metrics {
            registry: Registry::new(),
            usual: Usual::of(&turns_total, &steps_total),
            models: Arc::default(),
            declared: Arc::default(),
            runs_total: counters("commedia_runs_total", "Ended runs", &["scenario", "status"]),
            runs_active: gauge("commedia_runs_active", "Live runs"),
            run_duration_seconds: histogram("commedia_run_duration_seconds", "Wall time of ended runs", &SECONDS),
            turns_total,
            steps_total,
            handoffs_total: counter("commedia_handoffs_total", "Handoffs"),
            mailbox_depth: made_well(IntGaugeVec::new(
                Opts::new("commedia_mailbox_depth", "Messages in mailboxes"),
                &["scenario", "agent"],
            )),
            actor_restarts_total: counters("commedia_actor_restarts_total", "Restarts of actors", &["scenario", "reason"]),
            model_requests_total: counters("commedia_model_requests_total", "Requests to models", &["model", "outcome"]),
            model_seconds: histogram("commedia_model_seconds", "Time of model requests", &SECONDS),
            model_tokens_total: counters("commedia_model_tokens_total", "Tokens", &["model", "direction"]),
            model_cost_usd_total: made_well(prometheus::Counter::new("commedia_model_cost_usd_total", "Cost of models in USD")),
            approvals_pending: gauge("commedia_approvals_pending", "Open approvals"),
            ws_clients: gauge("commedia_ws_clients", "WebSocket clients"),
            ws_lagged_total: counter("commedia_ws_lagged_total", "Followers let go because they were too slow"),
            store_commit_seconds: histogram("commedia_store_commit_seconds", "Time of group commits", &SECONDS),
            store_batch_size: histogram(
                "commedia_store_batch_size",
                "Writes in a group commit",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
            ),
            store_bytes: made_well(Gauge::new("commedia_store_bytes", "Bytes written to the store since it was opened")),
            shed_total: counters("commedia_shed_total", "What was refused for want of room", &["reason"]),
            http_requests_total: counters("commedia_http_requests_total", "HTTP requests", &["route", "status"]),
            http_request_seconds: made_well(HistogramVec::new(
                HistogramOpts::new("commedia_http_request_seconds", "Time of HTTP requests").buckets(SECONDS.to_vec()),
                &["route"],
            )),
            mcp_starts_total: counters("commedia_mcp_starts_total", "Starts of MCP servers", &["outcome"]),
            faults_injected_total: counters("commedia_faults_injected_total", "Injected faults", &["kind"]),
            telemetry_spans_total: counters("commedia_telemetry_spans_total", "Spans of traces", &["outcome"]),
        };
        Metrics { declared: made.register().into(), ..made }
    }

    /// Registers all series; their names, each with its meaning.
    fn register(&self) -> Vec<(String, String)> {
        let all: [Box<dyn prometheus::core::Collector>; 24] = [
            Box::new(self.runs_total.clone()),
            Box::new(self.runs_active.clone()),
            Box::new(self.run_duration_seconds.clone()),
            Box::new(self.turns_total.clone()),
            Box::new(self.steps_total.clone()),
            Box::new(self.handoffs_total.clone()),
            Box::new(self.mailbox_depth.clone()),
            Box::new(self.actor_restarts_total.clone()),
            Box::new(self.model_requests_total.clone()),
            Box::new(self.model_seconds.clone()),
            Box::new(self.model_tokens_total.clone()),
            Box::new(self.model_cost_usd_total.clone()),
            Box::new(self.approvals_pending.clone()),
            Box::new(self.ws_clients.clone()),
            Box::new(self.ws_lagged_total.clone()),
            Box::new(self.store_commit_seconds.clone()),
            Box::new(self.store_batch_size.clone()),
            Box::new(self.store_bytes.clone()),
            Box::new(self.shed_total.clone()),
            Box::new(self.http_requests_total.clone()),
            Box::new(self.http_request_seconds.clone()),
            Box::new(self.mcp_starts_total.clone()),
            Box::new(self.faults_injected_total.clone()),
            Box::new(self.telemetry_spans_total.clone()),
        ];
        let mut declared = Vec::new();
        for collector in all {
            declared.extend(collector.desc().into_iter().map(|desc| (desc.fq_name.clone(), desc.help.clone())));
            self.registry.register(collector).expect("each name stands here once");
        }
        #[cfg(target_os = "linux")]
        self.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("each name stands here once");
        declared
    }

    /// Counts completed turns.
    pub(crate) fn completed_turns(&self, by: AnsweredBy, turns: u64) {
        let series = match by {
            AnsweredBy::Model => 0,
            AnsweredBy::Rules => 1,
            AnsweredBy::Stub => 2,
            AnsweredBy::Cache => 3,
        };
        self.usual.turns[series].inc_by(turns);
    }

    /// The series of a model, `provider:model`. Scenarios name models, so that beyond a number of them all others are one.
    pub(crate) fn of_model(&self, model: &str) -> ModelSeries {
        let known = self.models.fetch_add(1, Ordering::Relaxed) < MAX_MODELS;
        let label = if known { model } else { "other" };
        ModelSeries {
            label: label.into(),
            ok: self.model_requests_total.with_label_values(&[label, "ok"]),
            tokens_in: self.model_tokens_total.with_label_values(&[label, "in"]),
            tokens_out: self.model_tokens_total.with_label_values(&[label, "out"]),
            requests: self.model_requests_total.clone(),
            seconds: self.model_seconds.clone(),
            cost_usd: self.model_cost_usd_total.clone(),
        }
    }

    /// Counts a step.
    pub(crate) fn step_ended(&self, outcome: &StepOutcome) {
        match outcome {
            StepOutcome::Answered { .. } | StepOutcome::Replied(_) => self.usual.model_steps.inc(),
            StepOutcome::Done { .. } => self.usual.tool_steps.inc(),
            StepOutcome::Failed(failure) => self.steps_total.with_label_values(&[failure.class.word(), "failed"]).inc(),
        }
    }

    /// The text Prometheus reads.
    pub fn render(&self) -> String {
        let (mut text, families) = (Vec::new(), self.registry.gather());
        if let Err(e) = TextEncoder::new().encode(&families, &mut text) {
            return format!("# metrics cannot be rendered: {e}\n");
        }
        let mut text = String::from_utf8_lossy(&text).into_owned();
        // What has not counted anything yet is declared all the same.
        for (name, help) in self.declared.iter().filter(|(name, _)| families.iter().all(|family| family.name() != name)) {
            let kind = match name {
                name if name.ends_with("_total") => "counter",
                name if name.ends_with("_seconds") => "histogram",
                _ => "gauge",
            };
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        text
    }
}

impl crate::store::Observe for Metrics {
    #[expect(clippy::cast_precision_loss, reason = "a metric")]
    fn committed(&self, group: &crate::store::Group) {
        self.store_commit_seconds.observe(group.took.as_secs_f64());
        self.store_batch_size.observe(group.jobs as f64);
        self.store_bytes.add(group.bytes as f64);
    }
}

fn made_well<T>(made: Result<T, prometheus::Error>) -> T {
    made.expect("the names and labels here are valid")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    made_well(IntCounterVec::new(Opts::new(name, help), labels))
}

fn counter(name: &str, help: &str) -> IntCounter {
    made_well(IntCounter::new(name, help))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    made_well(IntGauge::new(name, help))
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> Histogram {
    made_well(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_from_the_start_and_once() {
        let metrics = Metrics::new();
        let names = |text: &str| -> Vec<String> {
            text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned)).collect()
        };
        let before = names(&metrics.render());
        let declared = before.iter().filter(|name| name.starts_with("commedia_")).count();
        assert_eq!(declared, metrics.declared.len());
        metrics.shed_total.with_label_values(&["test"]).inc();
        let mut after = names(&metrics.render());
        let count = after.len();
        after.sort();
        after.dedup();
        assert_eq!((after.len(), count), (before.len(), before.len()));
    }
}
