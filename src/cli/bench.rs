//! `commedia bench`: how many scenarios a second this machine carries, and what each costs. No model; no network but, where a
//! workload speaks HTTP, a stub on this machine.
//!
//! A workload is a file of its own in `bench/`: it warms up, starts a `Meter`, works, and gives back what it `Measured`.

mod handoff;
mod population;
mod served;
mod waiting;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use commedia_actors::runtime::Runtime;
use commedia_actors::store::Stats;
use serde_json::{Value as Json, json};

use crate::app::{App, close, interrupted};
use crate::failure::{Exit, Failure};
use crate::report::{columns, number};
use crate::settings::durability_word;
use crate::statistics::percentile;

/// What `/proc/self/stat` counts in: `USER_HZ`, 100 on every Linux that Rust runs on (`man 5 proc`).
const CLOCK_TICKS_PER_S: f64 = 100.0;

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// What is run
    #[arg(long, value_name = "WORKLOAD", default_value = "handoff-4-rules")]
    workload: Workload,
    /// So many scenarios [default: 2000; population 4, waiting 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: Option<u32>,
    /// So many of them at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    parallel: u32,
    /// How long the stub's server waits before each answer, milliseconds (workload handoff-4-http)
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    latency: u64,
    /// A `commedia peer` that runs already, instead of one of the bench's own (workload handoff-4-http)
    #[arg(long, value_name = "URL", conflicts_with = "latency")]
    endpoint: Option<String>,
    /// Runs that wait keep their actors (workload waiting)
    #[arg(long)]
    live: bool,
    /// What a child of the bench does
    #[arg(long, hide = true, value_name = "PHASE")]
    hold: Option<waiting::Hold>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Four agents, three handoffs, decided by rules
    #[value(name = "handoff-4-rules")]
    Rules,
    /// The same, each turn a chat request that the stub answers
    #[value(name = "handoff-4-stub")]
    Stub,
    /// The same over HTTP: a server of the stub's answers, a process of its own
    #[value(name = "handoff-4-http")]
    Http,
    /// Ten thousand agents by rules, a hundred ticks: a million turns a run, so few runs are enough
    #[value(name = "population")]
    Population,
    /// Runs with nothing to do for a day: what each costs, how soon one is woken, how soon all are there after a kill
    #[value(name = "waiting")]
    Waiting,
}

impl Workload {
    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    async fn measure(self, bench: &Bench) -> Result<Measured, Failure> {
        match self {
            Workload::Rules => handoff::measure(bench, &handoff::RULES).await,
            Workload::Stub => handoff::measure(bench, &handoff::STUB).await,
            Workload::Http => handoff::measure(bench, &handoff::http()).await,
            Workload::Population => population::measure(bench).await,
            Workload::Waiting => Err(Failure::new(Exit::Internal, "this workload holds its store in processes of its own")),
        }
    }
}

/// What a workload works with.
struct Bench {
    runtime: Runtime,
    /// So many scenarios.
    runs: u32,
    /// So many of them at once.
    parallel: u32,
}

/// What a workload did while its meter ran.
struct Measured {
    cost: Cost,
    /// Scenarios, each to its acknowledged end.
    runs: u32,
    turns: u64,
    /// Of each scenario, from its start to its acknowledged end. Sorted.
    latencies_ms: Vec<f64>,
    /// Resident memory for each waiting run, where runs wait.
    bytes_per_waiting_run: Option<f64>,
}

/// What the process spent between two moments.
struct Cost {
    wall: Duration,
    /// User and system time.
    cpu_s: Option<f64>,
    bytes: u64,
    syncs: u64,
}

/// Starts when the warm-up is over.
struct Meter {
    begun: Instant,
    cpu_s: Option<f64>,
    stats: Stats,
}

impl Meter {
    fn start(runtime: &Runtime) -> Meter {
        let stats = runtime.store_stats();
        Meter { cpu_s: cpu_seconds(), stats, begun: Instant::now() }
    }

    fn stop(&self, runtime: &Runtime) -> Cost {
        let wall = self.begun.elapsed();
        let cpu_s = self.cpu_s.zip(cpu_seconds()).map(|(before, after)| after - before);
        let stats = runtime.store_stats();
        Cost { wall, cpu_s, bytes: stats.bytes - self.stats.bytes, syncs: stats.syncs - self.stats.syncs }
    }
}

impl BenchArgs {
    /// As many scenarios as were asked for, or as a workload needs for a figure.
    fn runs(&self) -> u32 {
        self.runs.unwrap_or(match self.workload {
            Workload::Rules | Workload::Stub | Workload::Http => 2000,
            Workload::Population => 4,
            Workload::Waiting => 10_000,
        })
    }
}

pub(super) async fn bench(app: &App, args: &BenchArgs) -> Result<Exit, Failure> {
    let idle = [
        ("--latency", args.latency != 0 && args.workload != Workload::Http, Workload::Http),
        ("--endpoint", args.endpoint.is_some() && args.workload != Workload::Http, Workload::Http),
        ("--live", args.live && args.workload != Workload::Waiting, Workload::Waiting),
    ];
    if let Some((flag, _, of)) = idle.into_iter().find(|(_, given, _)| *given) {
        let message = format!("`{flag}` means nothing to the workload `{}`", args.workload.name());
        return Err(Failure::usage(message).help(format!("it is for `--workload {}`", of.name())));
    }
    match args.hold {
        Some(hold) => return waiting::hold(app, args, hold).await,
        None if args.workload == Workload::Waiting => return waiting::bench(app, args).await,
        None => {}
    }
    let folder = Folder::of(app)?;
    let mut own = folder.app(app);
    let _served = match args.workload {
        Workload::Http => Some(served::serve(&mut own.settings.models, args)?),
        _ => None,
    };
    let runtime = own.open(args.parallel as usize).await?;
    let engine = runtime.store_engine();
    let bench = Bench { runtime, runs: args.runs(), parallel: args.parallel };
    let measured = tokio::select! {
        measured = args.workload.measure(&bench) => measured,
        () = interrupted() => Err(Failure::said(Exit::Interrupted)),
    };
    close(&bench.runtime).await;
    let measured = measured?;
    let runs = f64::from(measured.runs);
    let seconds = measured.cost.wall.as_secs_f64();
    let ms = |p: f64| percentile(&measured.latencies_ms, p);
    let json = json!({
        "schema": "commedia.bench/v1",
        "workload": args.workload.name(),
        "engine": engine.0,
        "durability": if engine.0 == "memory" { "none" } else { durability_word(engine.1) },
        "parallel": args.parallel,
        "runs": measured.runs,
        "scenarios_per_s": runs / seconds,
        "turns_per_s": as_f64(measured.turns) / seconds,
        "p50_ms": ms(0.5),
        "p95_ms": ms(0.95),
        "cpu_us_per_scenario": measured.cost.cpu_s.map(|s| s * 1e6 / runs),
        "bytes_per_scenario": as_f64(measured.cost.bytes) / runs,
        "syncs": measured.cost.syncs,
        "peak_rss_bytes": peak_rss_bytes(),
        "bytes_per_waiting_run": measured.bytes_per_waiting_run,
    });
    app.console.document(&json, || text(&json));
    Ok(Exit::Ok)
}

#[expect(clippy::cast_precision_loss, reason = "what a bench counts is far below 2^52")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

fn text(json: &Json) -> String {
    let value = |name: &str| match &json[name] {
        Json::Number(n) => number(n.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => text.clone(),
        _ => "-".into(),
    };
    let row = |name: &str, unit: &str| vec![name.to_owned(), value(name), unit.to_owned()];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let head = format!("{} on {} ({}), {cores} cores\n", value("workload"), value("engine"), value("durability"));
    let each = json["syncs"].as_f64().zip(json["runs"].as_f64()).map_or_else(|| "-".into(), |(syncs, runs)| number(syncs / runs));
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
        vec!["syncs_per_scenario".into(), each, String::new()],
        row("peak_rss_bytes", "bytes"),
        row("bytes_per_waiting_run", "bytes"),
        row("wake_p50_ms", "ms"),
        row("wake_p95_ms", "ms"),
        row("start_ms", "ms"),
        row("start_rss_bytes", "bytes"),
    ];
    let rows = rows.into_iter().filter(|row| row[1] != "-").collect();
    head + &columns(rows)
}

/// A folder of its own beside the store's, on the same disk; gone when the bench is over. A store in memory has none.
struct Folder(Option<(PathBuf, String)>);

impl Folder {
    fn of(app: &App) -> Result<Folder, Failure> {
        let Some((engine, store)) = app.settings.store.split_once("://") else { return Ok(Folder(None)) };
        let beside = Path::new(store).parent().unwrap_or_else(|| Path::new(""));
        let dir = beside.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .map_err(|e| Failure::store(format!("`{}` cannot be created: {}", dir.display(), crate::source::reason(&e))))?;
        let url = format!("{engine}://{}", dir.display());
        Ok(Folder(Some((dir, url))))
    }

    /// The process' settings with this folder's store.
    fn app(&self, app: &App) -> App {
        let mut settings = app.settings.clone();
        if let Some((_, url)) = &self.0 {
            settings.store.clone_from(url);
        }
        App::new(settings, crate::output::Console::new(app.console.format, app.console.quiet))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some((dir, _)) = &self.0
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
    memory("VmHWM:")
}

/// The memory this process has resident.
fn rss_bytes() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
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
