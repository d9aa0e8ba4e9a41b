//! What came out of runs: the JSON object that is promised, and the summary people read. Reads, never decides.

use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_domain::event::Sample;
use commedia_domain::id::MetricIx;
use commedia_domain::run::{Run, Status};
use commedia_domain::scenario::{Comparison, Goal, RUN_FIELDS, Scenario, Stat, Threshold, ThresholdOf};
use commedia_domain::value::timestamp_text;
use serde_json::{Map, Value as Json, json};

use crate::events::{body_json, check_json, samples, short_time, shown, usage_json};
use crate::failure::Exit;
use crate::statistics::Summary;

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
    /// Where it stands.
    pub status: Status,
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
            status: state.status.clone(),
            seed: state.created.seed,
            metrics: (0..run.scenario().metrics.len()).map(metric).collect(),
            facts: RUN_FIELDS.iter().map(|field| fact(run, field)).collect(),
            checks: ended.map_or_else(Vec::new, |e| e.checks.iter().map(|c| c.passed).collect()),
            json: run_json(loaded, &[]),
        }
    }

    /// The exit code it stands for: its status, then its checks.
    pub fn exit(&self) -> Exit {
        match Exit::of_status(&self.status) {
            Exit::Ok if self.checks.contains(&false) => Exit::Missed,
            exit => exit,
        }
    }
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
    json!({
        "schema": "commedia.run/v1",
        "run_id": loaded.id.as_str(),
        "scenario": &*created.scenario,
        "scenario_hash": created.scenario_hash.to_string(),
        "seed": created.seed,
        "status": state.status.word(),
        "parameters": parameters(run),
        "result": ended.map_or(Json::Null, |e| body_json(&e.result)),
        "metrics": metrics(run),
        "checks": checks,
        "thresholds": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
        "usage": usage_json(&state.usage),
        "degraded": state.counts.degraded > 0,
        "faults": [],
        "restarts": state.counts.restarts,
        "events": loaded.head.seq,
        "digest": loaded.digest.to_string(),
        "started_at": timestamp_text(loaded.started_ms),
        "ended_at": loaded.ended_ms.map(timestamp_text),
    })
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

/// A number as people read it: whole where it is whole, else to six significant digits.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e12).contains(&value.abs()) {
        return format!("{value:.4e}");
    }
    let whole = libm::floor(libm::log10(value.abs()));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10")]
    let decimals = (5.0 - whole).clamp(0.0, 10.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), number)
}

/// A span of wall time.
pub fn took(ms: i64) -> String {
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

/// Rows with aligned columns, two blanks of indent; columns of numbers to the right.
pub fn columns(rows: Vec<Vec<String>>) -> String {
    let wide = rows.iter().map(Vec::len).max().unwrap_or(0);
    let figure = |cell: &String| cell == "-" || cell.parse::<f64>().is_ok();
    let figures: Vec<bool> = (0..wide)
        .map(|n| {
            let cells = || rows.iter().filter_map(|row| row.get(n));
            cells().any(figure) && cells().skip(1).all(figure) && (rows.len() > 1 || cells().all(figure))
        })
        .collect();
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_rows(rows);
    for (n, figures) in figures.into_iter().enumerate() {
        if let Some(column) = table.column_mut(n) {
            column.set_padding((if n == 0 { 2 } else { 1 }, 1));
            if figures && n > 0 {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
    }
    if wide == 0 { String::new() } else { table.lines().map(|line| format!("{}\n", line.trim_end())).collect() }
}

/// The summary of one run.
pub fn run_text(loaded: &LoadedRun, verdicts: &[Verdict]) -> String {
    let (run, state) = (&loaded.run, loaded.run.state());
    let scenario = run.scenario();
    let created = &state.created;
    let ticks = created.ticks.map_or_else(String::new, |n| format!(" · tick {} of {n}", state.tick));
    let wall = loaded.ended_ms.map_or_else(String::new, |end| format!(" · {}", took(end - loaded.started_ms)));
    let mut out = format!("{} · {} · seed {}{ticks}{wall}\n", scenario.name, state.status.word(), created.seed);
    if let Some(cause) = state.ended.as_ref().and_then(|e| e.cause.as_ref()) {
        out += &format!("  because {cause}\n");
    }
    if let Status::Paused { reason } = &state.status {
        out += &format!("  because {reason}\n");
    }
    section(&mut out, "Parameters", parameter_rows(run));
    if let Some(ended) = &state.ended {
        let result = body_json(&ended.result);
        // Without an agent's output the result is the metrics, which follow.
        if !result.is_null() && result != samples(scenario, &ended.metrics) {
            out += &format!("\nResult\n  {}\n", result_text(&result));
        }
    }
    section(&mut out, "Metrics", metric_rows(run));
    section(&mut out, "Checks", check_rows(run));
    section(&mut out, "Thresholds", threshold_rows(verdicts));
    section(&mut out, "Agents", agent_rows(run));
    out += &format!("\n{}\n{} events · digest {}\nrun {}\n", usage_text(run), loaded.head.seq, loaded.digest, loaded.id);
    out
}

fn section(out: &mut String, title: &str, rows: Vec<Vec<String>>) {
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(title);
        out.push('\n');
        out.push_str(&columns(rows));
    }
}

/// A result within a screen: text as it is, everything else as JSON.
fn result_text(result: &Json) -> String {
    let text = match result {
        Json::String(text) => text.clone(),
        other => crate::output::pretty(other),
    };
    text.lines().take(40).collect::<Vec<_>>().join("\n  ")
}

fn parameter_rows(run: &Run) -> Vec<Vec<String>> {
    let values = run.scenario().parameters.iter().zip(run.state().params.iter());
    values.map(|(p, v)| vec![p.name.to_string(), shown(&v.to_json()), p.unit.clone().unwrap_or_default()]).collect()
}

fn metric_rows(run: &Run) -> Vec<Vec<String>> {
    let sampled = run.state().ended.as_ref().map(|e| &e.metrics);
    let row = |(n, m): (usize, &commedia_domain::scenario::Metric)| {
        let ix = MetricIx::from(n);
        let sample = sampled.and_then(|s| s.iter().find(|s| s.metric == ix));
        let value = sample.map_or(run.state().metrics[n].last, |s| s.value);
        let note = match (sample.and_then(|s| s.error.as_ref()), m.goal) {
            (Some(error), _) => error.to_string(),
            (None, Some(Goal::Maximize)) => "more is better".into(),
            (None, Some(Goal::Minimize)) => "less is better".into(),
            (None, None) => String::new(),
        };
        vec![m.name.to_string(), optional(value), m.unit.clone().unwrap_or_default(), note]
    };
    run.scenario().metrics.iter().enumerate().map(row).collect()
}

fn check_rows(run: &Run) -> Vec<Vec<String>> {
    let Some(ended) = &run.state().ended else { return Vec::new() };
    let row = |c: &commedia_domain::event::Checked| {
        let name = run.scenario().checks.get(usize::from(c.check)).map_or("?", |c| &*c.name);
        vec![format!("{} {name}", mark(Some(c.passed))), c.error.as_deref().unwrap_or_default().to_owned()]
    };
    ended.checks.iter().map(row).collect()
}

fn threshold_rows(verdicts: &[Verdict]) -> Vec<Vec<String>> {
    let row = |v: &Verdict| {
        let value = if v.passed.is_none() { "needs several runs".into() } else { optional(v.value) };
        vec![format!("{} {}", mark(v.passed), v.text), value]
    };
    verdicts.iter().map(row).collect()
}

fn mark(passed: Option<bool>) -> &'static str {
    match passed {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "·",
    }
}

fn agent_rows(run: &Run) -> Vec<Vec<String>> {
    let state = run.state();
    let agents = run.scenario().agents.iter().zip(&state.created.replicas).zip(&state.counts.by_agent);
    let row = |((a, replicas), turns): ((&std::sync::Arc<commedia_domain::scenario::Agent>, &u32), &u64)| {
        let name = if a.population { format!("{} ×{replicas}", a.name) } else { a.name.to_string() };
        let seats = state.quarantined.iter().filter(|(seat, _)| seat.agent == a.ix);
        let reason = seats.map(|(_, why)| format!("quarantined: {why}")).next().unwrap_or_default();
        let word = if *turns == 1 { "turn" } else { "turns" };
        vec![name, format!("{turns} {word}"), reason]
    };
    agents.map(row).collect()
}

fn usage_text(run: &Run) -> String {
    let usage = &run.state().usage;
    let counts = &run.state().counts;
    let mode = run.state().mode();
    let who = if mode == "stub" { "calls, answered by the stub" } else { "model calls" };
    let mut text = format!("{} {who}", usage.model_calls);
    if usage.model_calls > 0 {
        text += &format!(" · {} tokens in, {} out", usage.tokens_in, usage.tokens_out);
    }
    if usage.cost_usd > 0.0 {
        text += &format!(" · ${:.4}", usage.cost_usd);
    }
    text += &format!(" · {mode}");
    if counts.degraded > 0 {
        text += &format!(" · {} turns degraded", counts.degraded);
    }
    if counts.restarts > 0 {
        text += &format!(" · {} restarts", counts.restarts);
    }
    text
}

/// The summary of several runs.
pub fn runs_text(scenario: &Scenario, runs: &[Outcome], verdicts: &[Verdict]) -> String {
    let mut by_status: Vec<(&str, usize)> = Vec::new();
    for word in runs.iter().map(|r| r.status.word()) {
        match by_status.iter_mut().find(|(w, _)| *w == word) {
            Some((_, n)) => *n += 1,
            None => by_status.push((word, 1)),
        }
    }
    let statuses: Vec<String> = by_status.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let seeds = match (runs.first(), runs.last()) {
        (Some(a), Some(b)) => format!(" · seeds {} to {}", a.seed, b.seed),
        _ => String::new(),
    };
    let mut out = format!("{} · {} runs: {}{seeds}\n", scenario.name, runs.len(), statuses.join(", "));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for ((name, s), metric) in summaries(scenario, runs).into_iter().zip(&scenario.metrics) {
        let ci = s.ci95.map_or_else(|| "-".into(), |(lo, hi)| format!("{} to {}", number(lo), number(hi)));
        let unit = metric.unit.clone().unwrap_or_default();
        rows.push(vec![name, unit, s.n.to_string(), optional(s.mean), optional(s.sd), ci, optional(s.p50), optional(s.p95)]);
    }
    if !rows.is_empty() {
        let head = ["", "unit", "n", "mean", "sd", "95 % interval of the mean", "p50", "p95"];
        rows.insert(0, head.map(str::to_owned).to_vec());
    }
    section(&mut out, "Metrics", rows);
    section(&mut out, "Checks", checks_of_all(scenario, runs));
    section(&mut out, "Thresholds", threshold_rows(verdicts));
    if let (Some(first), Some(last)) = (runs.first(), runs.last()) {
        out += &format!("\nruns {} to {} (commedia ls)\n", first.id, last.id);
    }
    out
}

fn checks_of_all(scenario: &Scenario, runs: &[Outcome]) -> Vec<Vec<String>> {
    let row = |(n, check): (usize, &commedia_domain::scenario::Check)| {
        let verdicts = || runs.iter().filter_map(|r| r.checks.get(n));
        let (held, all) = (verdicts().filter(|passed| **passed).count(), verdicts().count());
        vec![format!("{} {}", mark(Some(held == all)), check.name), format!("{held} of {all}")]
    };
    scenario.checks.iter().enumerate().map(row).collect()
}

/// A moment of wall time in a list.
pub fn moment(ms: i64) -> String {
    short_time(ms - ms.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |value: f64, expect: &str| assert_eq!(number(value), expect);
        check(0.0, "0");
        check(612.5, "612.5");
        check(-3.0, "-3");
        check(0.351_234_9, "0.351235");
        check(123_456.789, "123457");
        check(1e-7, "1.0000e-7");
        check(2e15, "2.0000e15");
        check(f64::NAN, "-");
    }

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
