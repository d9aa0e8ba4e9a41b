//! Runs started, ended and deleted, over and over: what is on the disk comes back to where it was.
//!
//! `COMMEDIA_CHURN`: how many runs on each engine (400).

mod store_support;

use commedia_actors::runtime::{DeleteError, Keep, Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::ENGINES;
use commedia_actors::store::engine::Durability;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{NoFiles, load};
use store_support::{count_from_env, url};

const TALK: &str = r"
name: talk
agents: {bell: {kind: rules, rules: [{otherwise: true, emit: [{say: 'Ding, ding, ding, ding, ding, ding, ding, ding.'}]}]}}
";

fn on_disk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    store_support::files(dir).iter().map(|path| std::fs::metadata(path).map_or(0, |about| about.blocks() * 512)).sum()
}

/// What a process holds is looked at: one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn room_comes_back() {
    let _alone = ALONE.lock().await;
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let options =
            RuntimeOptions { store: url(engine, dir.path()), durability: Durability::Process, ..RuntimeOptions::default() };
        let runtime = Runtime::open(options).await.unwrap();
        let scenario = std::sync::Arc::new(load("talk.yaml", TALK.as_bytes(), &NoFiles).unwrap().scenario);
        let play = async |runs: u64| {
            let mut ids = Vec::new();
            for _ in 0..runs {
                let handle = runtime
                    .start_run(
                        scenario.clone(),
                        RunInput { params: Vec::new(), seed: 1, now: 0, models: Vec::new() },
                        StartOptions::default(),
                    )
                    .await
                    .unwrap();
                ids.push(handle.done().await.unwrap().id);
            }
            ids
        };
        let keep = play(5).await;
        runtime.compact().await.unwrap();
        let base = on_disk(dir.path());
        let (mut most, rounds, runs) = (0, 4, count_from_env("COMMEDIA_CHURN", 400));
        for _ in 0..rounds {
            let ids = play(runs / rounds).await;
            assert_eq!(runtime.prune(Keep::Newest(5)).await.unwrap() as u64, runs / rounds);
            let gone = runtime.delete_run(&ids[0]).await.unwrap_err();
            assert!(matches!(gone, DeleteError::Unknown(_)), "{gone}");
            most = most.max(on_disk(dir.path()));
        }
        let done = runtime.compact().await.unwrap();
        let after = on_disk(dir.path());
        println!("{engine}: {base} bytes with 5 runs, at most {most}, {after} after {runs} runs more and 5 left; {done:?}");
        assert!(after < base + 300 * 1024 + 300 * runs, "{engine}: {base} to {after}");
        assert!(runtime.load(&keep[0]).await.is_err(), "the oldest went first");
        assert_eq!(runtime.runs().await.unwrap().len(), 5);
        assert_eq!(runtime.check().await.unwrap().damage, []);
        runtime.shutdown().await.unwrap();
    }
}

/// A shop with a crowd, a model's turn and a tool: what runs are made of.
const MIXED: &str = r#"
name: mixed
clock: {tick: P1D, ticks: 5}
models: {m: {use: stub}}
world: {state: {cash: {type: number, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  crowd:
    kind: rules
    replicas: 20
    handles: [tick]
    draws: {buys: {bernoulli: {p: 0.3}}}
    rules: [{when: draws.buys, emit: [{set: {cash: "state.cash + 3.5"}}, {tell: clerk, type: sale}]}]
  clerk: {kind: rules, handles: [{tell: sale}], tools: [describe], rules: [{otherwise: true, emit: [{call: describe, with: {values: [1, 2]}, as: d}]}]}
  planner: {kind: llm, model: m, instructions: Plan., handles: [tick], stub: [{text: planned}]}
faults: [{crash: {agent: "*", p: 0.01}}]
supervision: {backoff: {initial: 0ms}}
"#;

/// Counts what is allocated: an allocator gives back to the system what it likes, which says more of its threads than of us.
#[global_allocator]
static ALLOCATED: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// What a process holds that could leak.
#[derive(Clone, Copy, Debug)]
struct Held {
    memory: usize,
    handles: usize,
    tasks: usize,
    disk: u64,
}

fn held(dir: &std::path::Path) -> Option<Held> {
    Some(Held {
        memory: ALLOCATED.allocated(),
        handles: std::fs::read_dir("/proc/self/fd").ok()?.count(),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        disk: on_disk(dir),
    })
}

/// `COMMEDIA_CHURN_SECONDS`: how long on each engine (3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_while_runs_come_and_go() {
    let _alone = ALONE.lock().await;
    // Crashes that were asked for are not told, thousands of times.
    std::panic::set_hook(Box::new(|info| {
        if !info.payload_as_str().is_some_and(|words| words.starts_with(commedia_actors::agent::INJECTED)) {
            eprintln!("{info}");
        }
    }));
    let seconds = count_from_env("COMMEDIA_CHURN_SECONDS", 3);
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let options =
            RuntimeOptions { store: url(engine, dir.path()), durability: Durability::Process, ..RuntimeOptions::default() };
        let runtime = Runtime::open(options).await.unwrap();
        let scenario = std::sync::Arc::new(load("mixed.yaml", MIXED.as_bytes(), &NoFiles).unwrap().scenario);
        let round = async |runtime: &Runtime| {
            let mut playing = tokio::task::JoinSet::new();
            for seed in 0..50 {
                let (runtime, scenario) = (runtime.clone(), scenario.clone());
                playing.spawn(async move {
                    let models = vec![commedia_domain::event::ModelBinding::Stub; 2];
                    let start = StartOptions { follow: seed % 5 == 0, ..StartOptions::default() };
                    let input = RunInput { params: Vec::new(), seed, now: 0, models };
                    runtime.start_run(scenario, input, start).await.unwrap().done().await.unwrap();
                });
            }
            playing.join_all().await.len() as u64
        };
        // What is kept for reuse is there after some rounds, and so are the engine's own files.
        for _ in 0..5 {
            round(&runtime).await;
        }
        runtime.prune(Keep::Newest(5)).await.unwrap();
        runtime.compact().await.unwrap();
        let Some(base) = held(dir.path()) else {
            println!("skipped: this system does not say what a process holds");
            return;
        };
        let (began, mut runs, mut most) = (std::time::Instant::now(), 0, base.disk);
        while began.elapsed().as_secs() < seconds {
            for _ in 0..5 {
                runs += round(&runtime).await;
            }
            runtime.prune(Keep::Newest(5)).await.unwrap();
            let disk = on_disk(dir.path());
            most = most.max(disk);
            // As an operator's schedule would: what sled does not give back, a compaction does.
            if disk > base.disk + (32 << 20) {
                runtime.compact().await.unwrap();
            }
        }
        runtime.compact().await.unwrap();
        let after = held(dir.path()).expect("said it before");
        println!("{engine}: {runs} runs in {seconds} s; {base:?} before, {after:?} after, at most {most} bytes on disk");
        assert!(after.handles <= base.handles + 4, "{engine}: file handles");
        assert!(after.tasks <= base.tasks + 4, "{engine}: tasks");
        assert!(after.memory < base.memory + (4 << 20) + 300 * runs as usize, "{engine}: memory");
        // A row stays of each deleted run for two days, so that its id is never written again: some 530 bytes of sled's log,
        // with what it wrote of the row's page before; of a run that is there, thousands.
        assert!(after.disk < base.disk + (4 << 20) + 700 * runs, "{engine}: disk");
        assert_eq!(runtime.live(), 0);
        runtime.shutdown().await.unwrap();
    }
}
