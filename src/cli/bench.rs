//! `commedia bench`: how many scenarios a second this machine carries, and what each costs. No network, no model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_actors::store::place;
use commedia_domain::event::ModelBinding;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::Scenario;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use crate::app::{App, close, interrupted, load_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::packs;
use crate::report::{columns, number};
use crate::settings::durability_word;
use crate::source::Source;
use crate::statistics::percentile;

/// What `/proc/self/stat` counts in: `USER_HZ`, 100 on every Linux that Rust runs on (`man 5 proc`).
const CLOCK_TICKS_PER_S: f64 = 100.0;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What is run
    #[arg(long, value_name = "WORKLOAD", default_value = "handoff-4-rules")]
    workload: Workload,
    /// So many scenarios
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: u32,
    /// So many of them at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    parallel: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// Four agents, three handoffs, decided by rules
    #[value(name = "handoff-4-rules")]
    Rules,
    /// The same, each turn a chat request that the stub answers
    #[value(name = "handoff-4-stub")]
    Stub,
}

impl Workload {
    fn name(self) -> &'static str {
        match self {
            Workload::Rules => "handoff-4-rules",
            Workload::Stub => "handoff-4-stub",
        }
    }

    fn pack(self) -> &'static str {
        match self {
            Workload::Rules => "handoff-4-rules",
            Workload::Stub => "handoff-4",
        }
    }

    fn binding(self) -> ModelBinding {
        match self {
            Workload::Rules => ModelBinding::Offline,
            Workload::Stub => ModelBinding::Stub,
        }
    }
}

pub(super) async fn bench(app: &App, args: &BenchArgs) -> Result<Exit, Failure> {
    let packed = packs::find(args.workload.pack()).map(Source::pack);
    let source = packed.ok_or_else(|| Failure::new(Exit::Internal, "the bench's scenario is missing"))?;
    let loaded = source.load().map_err(|faults| {
        Failure::new(Exit::Internal, faults.first().map_or_else(|| "the bench's scenario".into(), ToString::to_string))
    })?;
    let work = Work { scenario: Arc::new(loaded.scenario), binding: args.workload.binding() };
    let folder = Folder::of(app)?;
    let runtime = folder.app(app).open(args.parallel as usize).await?;
    let engine = runtime.store_engine();
    let measuring = async {
        let warm_up = (args.runs / 10).clamp(1, 200);
        rounds(&runtime, &work, warm_up, args.parallel).await?;
        let before = (cpu_seconds(), runtime.store_stats());
        let measured = rounds(&runtime, &work, args.runs, args.parallel).await?;
        Ok((before, measured, (cpu_seconds(), runtime.store_stats())))
    };
    let measured: Result<_, Failure> = tokio::select! {
        measured = measuring => measured,
        () = interrupted() => Err(Failure::said(Exit::Interrupted)),
    };
    close(&runtime).await;
    let ((cpu, stats), measured, (cpu_after, stats_after)) = measured?;
    let runs = f64::from(args.runs);
    let seconds = measured.wall.as_secs_f64();
    let cpu_us = cpu.zip(cpu_after).map(|(before, after)| (after - before) * 1e6 / runs);
    let ms = |p: f64| percentile(&measured.latencies_ms, p);
    #[expect(clippy::cast_precision_loss, reason = "bytes of a bench are far below 2^52")]
    let bytes = (stats_after.bytes - stats.bytes) as f64 / runs;
    #[expect(clippy::cast_precision_loss, reason = "turns of a bench are far below 2^52")]
    let turns = measured.turns as f64 / seconds;
    let json = json!({
        "schema": "commedia.bench/v1",
        "workload": args.workload.name(),
        "engine": engine.0,
        "durability": if engine.0 == "memory" { "none" } else { durability_word(engine.1) },
        "parallel": args.parallel,
        "runs": args.runs,
        "scenarios_per_s": runs / seconds,
        "turns_per_s": turns,
        "p50_ms": ms(0.5),
        "p95_ms": ms(0.95),
        "cpu_us_per_scenario": cpu_us,
        "bytes_per_scenario": bytes,
        "syncs": stats_after.syncs - stats.syncs,
        "peak_rss_bytes": peak_rss_bytes(),
        "bytes_per_waiting_run": null,
    });
    app.console.document(&json, || text(&json));
    Ok(Exit::Ok)
}

fn text(json: &Json) -> String {
    let value = |name: &str| match &json[name] {
        Json::Number(n) => number(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => text.clone(),
        _ => "-".into(),
    };
    let row = |name: &str, unit: &str| vec![name.to_owned(), value(name), unit.to_owned()];
    let head = format!("{} on {} ({})\n", value("workload"), value("engine"), value("durability"));
    let rows = vec![
        row("runs", ""),
        row("parallel", ""),
        row("scenarios_per_s", ""),
        row("turns_per_s", ""),
        row("p50_ms", "ms"),
        row("p95_ms", "ms"),
        row("cpu_us_per_scenario", "µs"),
        row("bytes_per_scenario", "bytes"),
        row("syncs", ""),
        row("peak_rss_bytes", "bytes"),
    ];
    head + &columns(rows)
}

/// What is measured.
struct Work {
    scenario: Arc<Scenario>,
    binding: ModelBinding,
}

struct Measured {
    wall: Duration,
    /// Sorted.
    latencies_ms: Vec<f64>,
    turns: u64,
}

/// So many scenarios, so many at once; the latency of one is from its start to its acknowledged end.
async fn rounds(runtime: &Runtime, work: &Work, runs: u32, parallel: u32) -> Result<Measured, Failure> {
    let begun = Instant::now();
    let mut working: JoinSet<Result<(Duration, u64), Failure>> = JoinSet::new();
    let mut measured = Measured { wall: Duration::ZERO, latencies_ms: Vec::with_capacity(runs as usize), turns: 0 };
    let mut next = 0;
    loop {
        while next < runs && working.len() < parallel as usize {
            let (runtime, scenario, binding) = (runtime.clone(), work.scenario.clone(), work.binding.clone());
            let seed = u64::from(next);
            working.spawn(async move { once(&runtime, scenario, binding, seed).await });
            next += 1;
        }
        match working.join_next().await {
            None => break,
            Some(Err(e)) => return Err(Failure::new(Exit::Internal, e)),
            Some(Ok(one)) => {
                let (latency, turns) = one?;
                measured.latencies_ms.push(latency.as_secs_f64() * 1e3);
                measured.turns += turns;
            }
        }
    }
    measured.wall = begun.elapsed();
    measured.latencies_ms.sort_by(f64::total_cmp);
    Ok(measured)
}

async fn once(runtime: &Runtime, scenario: Arc<Scenario>, binding: ModelBinding, seed: u64) -> Result<(Duration, u64), Failure> {
    let models = vec![binding; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed, now: 0, models };
    let begun = Instant::now();
    let handle = runtime.start_run(scenario, input, StartOptions::default()).await.map_err(start_failure)?;
    let loaded = handle.done().await.map_err(load_failure)?;
    let latency = begun.elapsed();
    let state = loaded.run.state();
    if state.status != Status::Completed {
        let cause = state.ended.as_ref().and_then(|e| e.cause.as_deref()).unwrap_or("it did not complete");
        return Err(Failure::new(Exit::Failed, format!("a run of the bench is {}: {cause}", state.status.word())));
    }
    Ok((latency, state.counts.turns + state.counts.rules_turns))
}

/// A folder of its own beside the data, on the same disk; gone when the bench is over.
struct Folder(Option<std::path::PathBuf>);

impl Folder {
    fn of(app: &App) -> Result<Folder, Failure> {
        if app.settings.store_dir().is_none() {
            return Ok(Folder(None));
        }
        let dir = app.settings.data.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .map_err(|e| Failure::store(format!("`{}` cannot be created: {}", dir.display(), crate::source::reason(&e))))?;
        Ok(Folder(Some(dir)))
    }

    /// The process' settings with this folder's store.
    fn app(&self, app: &App) -> App {
        let mut settings = app.settings.clone();
        if let Some(dir) = &self.0 {
            let engine = place(&settings.store).map_or("sled", |(engine, _)| engine);
            settings.store = format!("{engine}://{}", dir.display());
        }
        App { settings, console: crate::output::Console::new(app.console.format, app.console.quiet) }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(dir) = &self.0
            && let Err(e) = std::fs::remove_dir_all(dir)
        {
            tracing::warn!("`{}` is left behind: {e}", dir.display());
        }
    }
}

/// User and system time of this process so far; `None` where there is no `/proc`.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    cpu_ticks(&stat).map(|ticks| ticks / CLOCK_TICKS_PER_S)
}

/// `utime` and `stime`, fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some(user + system)
}

/// The most memory this process has had resident.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_the_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 120 34 0 0 20 0 5";
        assert_eq!(cpu_ticks(stat), Some(154.0));
        assert_eq!(cpu_ticks("42 (x"), None);
    }
}
