//! What came out of runs: the JSON object that is promised, verdicts over many runs, and (in `text`) the summary people read.
//! Reads, never decides.

mod replayed;
mod text;

use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_domain::event::{Sample, tool_name};
use commedia_domain::id::{AgentIx, MetricIx};
use commedia_domain::message::Seat;
use commedia_domain::run::crash::Restarts;
use commedia_domain::run::{Run, Status, UnknownStep};
use commedia_domain::scenario::{Comparison, RUN_FIELDS, Scenario, Stat, Threshold, ThresholdOf};
use commedia_domain::step::idempotency_key;
use commedia_domain::value::timestamp_text;
use serde_json::{Map, Value as Json, json};

use crate::events::{agent_name, body_json, check_json, labels_json, samples, seat_name, usage_json};
use crate::failure::Exit;
use crate::statistics::Summary;
use crate::storm;

pub use replayed::{replayed_json, replayed_text};
pub use text::{columns, moment, number, run_text, runs_text, took};

/// A threshold's verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// As written, such as `p95(wape) < 0.35`.
    pub text: String,
    /// The statistic; `None` where there are too few runs for it.
    pub value: Option<f64>,
    /// Whether it holds; `None` where it cannot be told from so few runs.
    pub passed: Option<bool>,
}

impl Verdict {
    fn to_json(&self) -> Json {
        json!({"threshold": self.text, "value": self.value, "passed": self.passed})
    }
}

/// What is kept of a run when several are looked at together.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its id.
    pub id: RunId,
    /// The word of where it stands: `waiting` where its time has not come, or somebody has to say what became of a step.
    pub word: String,
    /// What that means for the process, its checks aside.
    stands: Exit,
    seed: u64,
    /// Final metrics, in declaration order, of a run that completed.
    metrics: Vec<Option<f64>>,
    /// The fields of `run` as numbers, in the order of `RUN_FIELDS`.
    facts: Vec<Option<f64>>,
    /// Verdicts of the checks, in declaration order; none where it has not ended.
    checks: Vec<bool>,
    json: Json,
}

impl Outcome {
    /// Of a loaded run.
    pub fn of(loaded: &LoadedRun) -> Outcome {
        let (run, state) = (&loaded.run, loaded.run.state());
        let ended = state.ended.as_ref();
        let completed = ended.filter(|_| state.status == Status::Completed);
        let metric = |n: usize| completed.and_then(|e| value_of(&e.metrics, MetricIx::from(n)));
        Outcome {
            id: loaded.id.clone(),
            word: loaded.status_word().into(),
            stands: stands(loaded),
            seed: state.created.seed,
            metrics: (0..run.scenario().metrics.len()).map(metric).collect(),
            facts: RUN_FIELDS.iter().map(|field| fact(run, field)).collect(),
            checks: ended.map_or_else(Vec::new, |e| e.checks.iter().map(|c| c.passed).collect()),
            json: run_json(loaded, &[]),
        }
    }

    /// Of a run as a server tells it: of one that has ended what came of it, of another one its line in lists. `None` where it is
    /// neither.
    pub fn of_json(scenario: &Scenario, json: Json) -> Option<Outcome> {
        let word = json["status"].as_str()?.to_owned();
        let number = |at: &Json| at.as_f64().or_else(|| at.as_bool().map(|is| f64::from(u8::from(is))));
        let metric = |name: &str| number(&json["metrics"][name]).filter(|_| word == "completed");
        let fact = |field: &str| match field {
            "failed" => Some(f64::from(u8::from(word == "failed"))),
            "degraded" => number(&json[field]),
            "ticks" | "turns" | "handoffs" => number(&json["counts"][field]),
            _ => number(&json["usage"][field]),
        };
        Some(Outcome {
            id: json["run_id"].as_str()?.parse().ok()?,
            stands: stands_of_json(&json),
            seed: json["seed"].as_u64()?,
            metrics: scenario.metrics.iter().map(|m| metric(&m.name)).collect(),
            facts: RUN_FIELDS.iter().map(|field| fact(field)).collect(),
            checks: checks_of_json(&json).collect(),
            word,
            json: without_counts(json),
        })
    }

    /// Whether it came to its own end.
    pub fn completed(&self) -> bool {
        self.word == Status::Completed.word()
    }

    /// The exit code it stands for: its status, then its checks.
    pub fn exit(&self) -> Exit {
        match self.stands {
            Exit::Ok if self.checks.contains(&false) => Exit::Missed,
            exit => exit,
        }
    }
}

fn checks_of_json(json: &Json) -> impl Iterator<Item = bool> {
    json["checks"].as_array().into_iter().flatten().map(|check| check["passed"] == Json::Bool(true))
}

fn stands_of_json(json: &Json) -> Exit {
    match json["status"].as_str().unwrap_or_default() {
        "completed" => Exit::Ok,
        "waiting" if json["waiting_for"] == "timer" => Exit::Ok,
        "waiting" | "paused" | "timed_out" | "over_budget" => Exit::Limit,
        "cancelled" | "cancelling" => Exit::Cancelled,
        "queued" | "running" => Exit::Interrupted,
        _ => Exit::Failed,
    }
}

/// The exit code that a run stands for as a server tells it: its status, then its checks.
pub fn exit_of_json(json: &Json) -> Exit {
    match stands_of_json(json) {
        Exit::Ok if checks_of_json(json).any(|passed| !passed) => Exit::Missed,
        exit => exit,
    }
}

/// What a run's status means for the process.
fn stands(loaded: &LoadedRun) -> Exit {
    let status = &loaded.run.state().status;
    match Exit::of_status(status) {
        // Somebody has to be asked, and there is nobody.
        Exit::Interrupted if loaded.status_word() == "waiting" && !loaded.run.unknown_steps().is_empty() => Exit::Limit,
        // It waits for its time only.
        Exit::Interrupted if *status != Status::Created && loaded.status_word() != status.word() => Exit::Ok,
        exit => exit,
    }
}

/// What a server tells of a run besides the promised object, which thresholds of the client's read.
pub fn with_counts(mut json: Json, run: &Run) -> Json {
    let facts = run.run_facts();
    json["counts"] = json!({"ticks": facts.ticks, "turns": facts.turns, "handoffs": facts.handoffs});
    json
}

/// The promised object alone.
pub fn without_counts(mut json: Json) -> Json {
    if let Some(fields) = json.as_object_mut() {
        fields.shift_remove("counts");
    }
    json
}

/// The verdicts of a scenario's thresholds over some of its runs. Metrics count where the run completed.
pub fn thresholds(scenario: &Scenario, runs: &[Outcome]) -> Vec<Verdict> {
    let verdict = |threshold: &Threshold| {
        let values: Vec<f64> = match threshold.of {
            ThresholdOf::Metric(ix) => runs.iter().filter_map(|r| r.metrics.get(ix.at()).copied().flatten()).collect(),
            ThresholdOf::Run(n) => runs.iter().filter_map(|r| r.facts.get(usize::from(n)).copied().flatten()).collect(),
        };
        let value = statistic(threshold.stat, &values);
        let too_few = threshold.stat == Stat::Sd && runs.len() < 2;
        let passed = value.is_some_and(|v| compare(v, threshold.op, threshold.bound));
        Verdict { text: threshold.text.clone(), value, passed: (!too_few).then_some(passed) }
    };
    scenario.thresholds.iter().map(verdict).collect()
}

/// One run judged by itself: its thresholds count where it completed.
pub fn of_one(loaded: &LoadedRun) -> (Outcome, Vec<Verdict>) {
    let outcome = Outcome::of(loaded);
    let verdicts = match outcome.completed() {
        true => thresholds(loaded.run.scenario(), std::slice::from_ref(&outcome)),
        false => Vec::new(),
    };
    (outcome, verdicts)
}

/// The exit code of some runs judged together.
pub fn exit_of(runs: &[Outcome], verdicts: &[Verdict]) -> Exit {
    let missed = verdicts.iter().any(|v| v.passed == Some(false)).then_some(Exit::Missed);
    Exit::of_all(runs.iter().map(Outcome::exit).chain(missed))
}

fn value_of(samples: &[Sample], ix: MetricIx) -> Option<f64> {
    samples.iter().find(|s| s.metric == ix).and_then(|s| s.value)
}

fn statistic(stat: Stat, values: &[f64]) -> Option<f64> {
    let summary = Summary::of(values.iter().copied());
    match stat {
        Stat::Mean => summary.mean,
        Stat::Sd => summary.sd,
        Stat::P50 => summary.p50,
        Stat::P95 => summary.p95,
        Stat::Min => summary.min,
        Stat::Max => summary.max,
        Stat::Rate => Summary::of(values.iter().map(|v| f64::from(u8::from(*v != 0.0)))).mean,
    }
}

fn compare(value: f64, op: Comparison, bound: f64) -> bool {
    match op {
        Comparison::Lt => value < bound,
        Comparison::Le => value <= bound,
        Comparison::Gt => value > bound,
        Comparison::Ge => value >= bound,
        Comparison::Eq => (value - bound).abs() <= f64::EPSILON * value.abs().max(bound.abs()),
    }
}

/// A field of `run` as a number, where it is one.
fn fact(run: &Run, field: &str) -> Option<f64> {
    let facts = run.run_facts();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = |n: u64| n as f64;
    Some(match field {
        "ticks" => count(facts.ticks),
        "turns" => count(facts.turns),
        "handoffs" => count(facts.handoffs),
        "model_calls" => count(facts.model_calls),
        "tokens_in" => count(facts.tokens_in),
        "tokens_out" => count(facts.tokens_out),
        "cost_usd" => facts.cost_usd,
        "degraded" => f64::from(u8::from(facts.degraded)),
        "failed" => f64::from(u8::from(facts.failed)),
        _ => return None,
    })
}

/// The object that `run`, `resume` and `show` print for one run. Its keys are a promise.
pub fn run_json(loaded: &LoadedRun, verdicts: &[Verdict]) -> Json {
    let (run, state) = (&loaded.run, loaded.run.state());
    let scenario = run.scenario();
    let created = &state.created;
    let ended = state.ended.as_ref();
    let checks: Vec<Json> = ended.map_or_else(Vec::new, |e| e.checks.iter().map(|c| check_json(scenario, c)).collect());
    let mut json = json!({
        "schema": "commedia.run/v1",
        "run_id": loaded.id.as_str(),
        "scenario": &*created.scenario,
        "scenario_hash": created.scenario_hash.to_string(),
        "seed": created.seed,
        "status": loaded.status_word(),
        "parameters": parameters(run),
        "result": ended.map_or(Json::Null, |e| body_json(&e.result)),
        "metrics": metrics(run),
        "checks": checks,
        "thresholds": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
        "usage": usage_json(&state.usage),
        "degraded": state.counts.degraded > 0,
        "faults": storm::to_json(run),
        "restarts": state.counts.restarts,
        "events": loaded.head.seq,
        "digest": loaded.digest.to_string(),
        "started_at": timestamp_text(loaded.started_ms),
        "ended_at": loaded.ended_ms.map(timestamp_text),
    });
    if !state.labels.is_empty() {
        json["labels"] = labels_json(&state.labels).into();
    }
    let restarted = restarted(run);
    if !restarted.is_empty() {
        json["restarted"] = restarted.into();
    }
    if let Status::Quarantined { reason, .. } = &state.status {
        json["reason"] = (&**reason).into();
    }
    if let Some(at) = loaded.waits() {
        json["waiting_for"] = "timer".into();
        json["waiting_until"] = timestamp_text(at).into();
    }
    let unknown = unknown_steps(loaded);
    if !unknown.is_empty() {
        if json["status"] == "waiting" {
            json["waiting_for"] = "reconciliation".into();
        }
        json["unknown_steps"] = unknown.into();
    }
    json
}

/// The steps of which nobody knows what became of them.
fn unknown_steps(loaded: &LoadedRun) -> Vec<Json> {
    let run = &loaded.run;
    let json = |step: &UnknownStep| {
        let tool = tool_name(run.scenario(), step.tool);
        json!({
            "step": step.step.to_string(), "agent": seat_name(run.scenario(), step.seat), "tool": tool,
            "input": body_json(&step.input), "attempt": step.attempt,
            "idempotency_key": idempotency_key(loaded.id.as_str(), step.step), "reason": &*step.reason,
        })
    };
    run.unknown_steps().iter().map(json).collect()
}

/// Who was started again, how often, and why last.
fn restarted(run: &Run) -> Vec<Json> {
    let row = |(agent, known): (&AgentIx, &Restarts)| {
        let name = seat_name(run.scenario(), Seat { agent: *agent, replica: known.replica });
        json!({"agent": agent_name(run.scenario(), *agent), "restarts": known.count, "last": {"agent": name, "reason": &*known.reason}})
    };
    run.state().restarts.iter().map(row).collect()
}

fn parameters(run: &Run) -> Json {
    let values = run.scenario().parameters.iter().zip(run.state().params.iter());
    Json::Object(values.map(|(p, v)| (p.name.to_string(), v.to_json())).collect())
}

/// Final metrics by name; of a run that is not over the last ones read.
fn metrics(run: &Run) -> Json {
    match &run.state().ended {
        Some(ended) => samples(run.scenario(), &ended.metrics),
        None => {
            let last = run.scenario().metrics.iter().zip(&run.state().metrics);
            Json::Object(last.map(|(m, s)| (m.name.to_string(), json!(s.last))).collect())
        }
    }
}

/// The object that several runs of one scenario print.
pub fn runs_json(scenario: &Scenario, runs: &[Outcome], verdicts: &[Verdict]) -> Json {
    let metrics: Map<String, Json> = summaries(scenario, runs).into_iter().map(|(name, s)| (name, s.to_json())).collect();
    json!({
        "schema": "commedia.runs/v1",
        "scenario": &*scenario.name,
        "scenario_hash": scenario.hash.to_string(),
        "runs": runs.iter().map(|r| r.json.clone()).collect::<Vec<_>>(),
        "metrics": metrics,
        "thresholds": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
    })
}

/// Each metric over the completed runs.
fn summaries(scenario: &Scenario, runs: &[Outcome]) -> Vec<(String, Summary)> {
    let of = |n: usize| Summary::of(runs.iter().filter_map(|r| r.metrics[n]));
    scenario.metrics.iter().enumerate().map(|(n, m)| (m.name.to_string(), of(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_and_statistics() {
        let check =
            |stat: Stat, values: &[f64], expect: Option<f64>| assert_eq!(statistic(stat, values), expect, "{stat:?} {values:?}");
        check(Stat::Mean, &[1.0, 2.0, 3.0], Some(2.0));
        check(Stat::Rate, &[0.0, 1.0, 2.0, 0.0], Some(0.5));
        check(Stat::Max, &[1.0, 5.0], Some(5.0));
        check(Stat::Sd, &[1.0], None);
        check(Stat::P50, &[], None);
        for (op, expect) in [
            (Comparison::Lt, false),
            (Comparison::Le, true),
            (Comparison::Eq, true),
            (Comparison::Ge, true),
            (Comparison::Gt, false),
        ] {
            assert_eq!(compare(0.1 + 0.2, op, 0.300_000_000_000_000_04), expect, "{op:?}");
        }
    }
}
