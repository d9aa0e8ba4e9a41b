//! The summary people read: aligned columns, short numbers, verdicts as marks. The only home of `comfy-table`.

use commedia_actors::live::LoadedRun;
use commedia_domain::event::tool_name;
use commedia_domain::id::{AgentIx, MetricIx};
use commedia_domain::message::Seat;
use commedia_domain::run::crash::Restarts;
use commedia_domain::run::{Run, Status};
use commedia_domain::scenario::{Goal, Scenario};
use serde_json::Value as Json;

use super::{Outcome, Verdict, summaries};
use crate::events::{agent_name, body_json, samples, seat_name, short_time, shown};
use crate::storm;

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
    let mut out = format!("{} · {} · seed {}{ticks}{wall}\n", scenario.name, loaded.status_word(), created.seed);
    if let Some(at) = loaded.waits() {
        out += &format!("  until {}\n", moment(at));
    }
    if let Some(cause) = state.ended.as_ref().and_then(|e| e.cause.as_ref()) {
        out += &format!("  because {cause}\n");
    }
    if let Status::Paused { reason } | Status::Quarantined { reason, .. } = &state.status {
        out += &format!("  because {reason}\n");
    }
    section(&mut out, "Steps of which nobody knows what became of them", unknown_rows(run));
    if let Some(first) = run.unknown_steps().first() {
        out += &format!("  say it: commedia resolve {} {} --outcome succeeded|failed|retry\n", loaded.id, first.step);
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
    section(&mut out, "Restarts", restart_rows(run));
    section(&mut out, "Faults", storm::to_rows(run));
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

fn unknown_rows(run: &Run) -> Vec<Vec<String>> {
    let row = |step: &commedia_domain::run::UnknownStep| {
        let tool = tool_name(run.scenario(), step.tool);
        let call = format!("{tool} {}", shown(&body_json(&step.input)));
        vec![step.step.to_string(), seat_name(run.scenario(), step.seat), call, step.reason.to_string()]
    };
    run.unknown_steps().iter().map(row).collect()
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

/// Who was started again, how often, and why last.
fn restart_rows(run: &Run) -> Vec<Vec<String>> {
    let row = |(agent, known): (&AgentIx, &Restarts)| {
        let last = seat_name(run.scenario(), Seat { agent: *agent, replica: known.replica });
        vec![agent_name(run.scenario(), *agent), known.count.to_string(), format!("last {last}: {}", known.reason)]
    };
    run.state().restarts.iter().map(row).collect()
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
    for word in runs.iter().map(|r| &*r.word) {
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
}
