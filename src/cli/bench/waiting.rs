//! `bench --workload waiting`: what a run costs that waits, how soon one is woken, and how soon all of them are there again
//! after the process that kept them was killed. The store is held by child processes, so that the kill is one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::Scenario;
use commedia_domain::value::Value;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use super::{BenchArgs, Folder, peak_rss_bytes, rss_bytes, text};
use crate::app::{App, command_failure, interrupted, open_failure, read_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::packs;
use crate::settings::durability_word;
use crate::source::Source;
use crate::statistics::percentile;

/// Runs that are woken, one after the other.
const WAKES: usize = 1000;

/// What a child process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Hold {
    /// Starts the runs and wakes some.
    Start,
    /// Finds the runs of the one before, and wakes some.
    Find,
}

/// The parent: it starts the children and kills them.
pub(super) async fn bench(app: &App, args: &BenchArgs) -> Result<Exit, Failure> {
    let folder = Folder::of(app)?;
    let held = folder.app(app);
    let work = {
        let (settings, runs, parallel, live) = (held.settings.clone(), args.runs(), args.parallel, args.live);
        move || {
            let child = |phase: &str| {
                let mut child = Command::new(std::env::current_exe().map_err(|e| internal(&e))?);
                child.args(["bench", "--workload", "waiting", "--hold", phase, "--runs"]).arg(runs.to_string());
                child.args(["--durability", durability_word(settings.durability), "--store"]).arg(&settings.store);
                child.args(live.then_some("--live")).args(["--workers", &settings.workers.to_string()]);
                child.args(["--parallel", &parallel.to_string()]);
                Held::start(child)
            };
            let started = child("start")?.answer()?;
            let found = if settings.in_memory() { Json::Null } else { child("find")?.answer()? };
            Ok::<_, Failure>((started, found))
        }
    };
    let (started, found) = tokio::select! {
        done = tokio::task::spawn_blocking(work) => done.map_err(|e| internal(&e))??,
        () = interrupted() => return Err(Failure::said(Exit::Interrupted)),
    };
    let json = json!({
        "schema": "commedia.bench/v1",
        "workload": "waiting",
        "engine": started["engine"],
        "durability": started["durability"],
        "parallel": args.parallel,
        "runs": args.runs(),
        "held": if args.live { "live" } else { "passivated" },
        "scenarios_per_s": started["starts_per_s"],
        "cpu_us_per_scenario": started["cpu_us"],
        "bytes_per_scenario": started["bytes"],
        "syncs": started["syncs"],
        "peak_rss_bytes": started["peak_rss_bytes"],
        "bytes_per_waiting_run": started["bytes_per_waiting_run"],
        "wake_p50_ms": started["wake_p50_ms"],
        "wake_p95_ms": started["wake_p95_ms"],
        "start_ms": found["start_ms"],
        "runs_found": found["runs"],
        "start_rss_bytes": found["rss_bytes"],
        "start_wake_p95_ms": found["wake_p95_ms"],
    });
    app.console.document(&json, || text(&json));
    if !found.is_null() && found["runs"] != args.runs() {
        return Err(Failure::new(Exit::Internal, format!("{} of {} runs are there after the kill", found["runs"], args.runs())));
    }
    Ok(Exit::Ok)
}

fn internal(e: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, e)
}

/// A child that holds the store until it is killed.
struct Held {
    child: Child,
    began: Instant,
}

impl Held {
    fn start(mut command: Command) -> Result<Held, Failure> {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| internal(&e))?;
        Ok(Held { child, began })
    }

    /// Its answers: the first comes when it has taken up the store, the second with its figures. Then it is killed.
    fn answer(mut self) -> Result<Json, Failure> {
        let mut lines = BufReader::new(self.child.stdout.take().ok_or_else(|| internal(&"no pipe"))?).lines();
        let mut line = || lines.next().and_then(Result::ok).ok_or_else(|| internal(&"the process that holds the store ended"));
        line()?;
        let start_ms = self.began.elapsed().as_secs_f64() * 1e3;
        let mut answer: Json = serde_json::from_str(&line()?).map_err(|e| internal(&e))?;
        answer["start_ms"] = start_ms.into();
        Ok(answer)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SIGKILL: whatever is not durable is gone.
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::warn!("the process that held the store: {e}");
        }
    }
}

/// The child: holds the store until it is killed.
pub(super) async fn hold(app: &App, args: &BenchArgs, hold: Hold) -> Result<Exit, Failure> {
    let before = rss_bytes().unwrap_or(0);
    let cpu = super::cpu_seconds().unwrap_or(0.0);
    let (runs, parallel) = (args.runs() as usize, args.parallel as usize);
    let runtime = app.open_waiting(if args.live { runs + parallel } else { parallel }, args.live).await.map_err(open_failure)?;
    let mut answer = json!({});
    if hold == Hold::Start {
        say(&json!({}))?;
        let begun = Instant::now();
        start_all(&runtime, args.runs(), parallel).await?;
        let stats = runtime.store_stats();
        let (engine, durability) = runtime.store_engine();
        answer["engine"] = engine.into();
        answer["durability"] = if engine == "memory" { "none" } else { durability_word(durability) }.into();
        answer["starts_per_s"] = (f64::from(args.runs()) / begun.elapsed().as_secs_f64()).into();
        answer["cpu_us"] = super::cpu_seconds().map(|now| (now - cpu) * 1e6 / f64::from(args.runs())).into();
        let bytes = super::as_f64(stats.bytes) / f64::from(args.runs());
        answer["bytes"] = bytes.into();
        answer["syncs"] = stats.syncs.into();
        // The engine's own threads come to rest.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = rss_bytes().unwrap_or(0);
        let growth = super::as_f64(after.saturating_sub(before)) / f64::from(args.runs());
        answer["bytes_per_waiting_run"] = growth.into();
    }
    let standings = runtime.standings().await.map_err(read_failure)?;
    if hold == Hold::Find {
        runtime.keep_time(&standings);
        say(&json!({}))?;
        // One that was told something when the kill came may still have work to do.
        answer["runs"] = (standings.waiting() + standings.interrupted.len()).into();
        answer["rss_bytes"] = rss_bytes().into();
    }
    let wakes = wake_some(&runtime, standings.waiting_ids().map(|run| run.id().clone()), standings.waiting()).await?;
    answer["wake_p50_ms"] = percentile(&wakes, 0.5).into();
    answer["wake_p95_ms"] = percentile(&wakes, 0.95).into();
    answer["peak_rss_bytes"] = peak_rss_bytes().into();
    say(&answer)?;
    std::future::pending::<()>().await;
    Ok(Exit::Ok)
}

fn say(answer: &Json) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}").and_then(|()| out.flush()).map_err(|e| internal(&e))
}

/// Starts the runs, so many at once: each ends at its first acknowledged append. Comes back when all of them wait.
async fn start_all(runtime: &Runtime, runs: u32, parallel: usize) -> Result<(), Failure> {
    let packed = packs::find("waiting").map(Source::pack).ok_or_else(|| internal(&"the bench's scenario is missing"))?;
    let loaded = packed.load().map_err(|faults| internal(&faults.first().map_or_else(String::new, ToString::to_string)))?;
    let scenario = Arc::new(loaded.scenario);
    let mut working = JoinSet::new();
    for seed in 0..runs {
        // A started run counts as such once it waits, durably.
        while seed as usize > runtime.waiting() + parallel {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if working.len() >= parallel
            && let Some(started) = working.join_next().await
        {
            started.map_err(|e| internal(&e))??;
        }
        working.spawn(start(runtime.clone(), scenario.clone(), u64::from(seed)));
    }
    while let Some(started) = working.join_next().await {
        started.map_err(|e| internal(&e))??;
    }
    while runtime.waiting() < runs as usize {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn start(runtime: Runtime, scenario: Arc<Scenario>, seed: u64) -> Result<(), Failure> {
    let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis())).unwrap_or(0);
    let input = RunInput { params: Vec::new(), seed, now, models: vec![ModelBinding::Offline] };
    runtime.start_run(scenario, input, StartOptions::default()).await.map(drop).map_err(start_failure)
}

/// Wakes runs drawn at random, one after the other; how long each took until the words to it were durable, sorted.
async fn wake_some(runtime: &Runtime, ids: impl Iterator<Item = RunId>, count: usize) -> Result<Vec<f64>, Failure> {
    // The runs are drawn by their hash: any order of wakes is as good as another, as long as it is not that of the store.
    let every = (count / WAKES).max(1);
    let mut drawn: Vec<RunId> = ids.step_by(every).take(WAKES).collect();
    drawn.sort_by_cached_key(|id| id.as_str().bytes().rev().collect::<Vec<u8>>());
    let seat = Seat { agent: AgentIx::from(0), replica: 0 };
    let mut took = Vec::with_capacity(drawn.len());
    for id in drawn {
        let begun = Instant::now();
        runtime.tell(&id, seat, "Are you there?", Value::Null).await.map_err(command_failure)?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}
