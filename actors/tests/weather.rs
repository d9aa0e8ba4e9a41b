//! The whole system on one thread, on a clock that only goes on when nothing else can: many runs, random commands, an engine
//! that fails and panics, agents that panic. What was acknowledged is in the log, every run comes to its end, and a run that
//! nobody told anything is the undisturbed one.
//!
//! `COMMEDIA_STORMS` (20) says how many; each prints its seed, and `COMMEDIA_SEED` is the first one's. Ids of runs and the
//! threads that open engines are not drawn from it: a seed repeats the weather, not each single moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commedia_actors::clock::WallClock;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{CommandFailed, Runtime, RuntimeOptions, StartError, StartOptions};
use commedia_actors::store::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Visit};
use commedia_actors::store::memory::MemoryEngine;
use commedia_actors::store::{Options, Store};
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::ModelBinding;
use commedia_domain::id::{AgentIx, Hash32};
use commedia_domain::message::Seat;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;

const START_MS: i64 = 1_800_000_000_000;
const SEAT: Seat = Seat { agent: AgentIx(0), replica: 0 };
/// Runs of simulated time, and as many that ring.
const RUNS: u64 = 10;
/// So many markets nobody commands.
const LET_ALONE: u64 = 4;
const COMMANDS: usize = 60;
/// How often what was interrupted is resumed until all is over.
const ROUNDS: usize = 50;

/// Rules, a tool that may panic, a model's steps.
const MARKET: &str = "
name: market
clock: {tick: P1D, ticks: 12}
models: {m: {use: stub}}
world: {state: {sum: {type: number, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  trader:
    kind: rules
    replicas: 3
    handles: [tick]
    tools: [describe]
    supervision: {max_restarts: 10000}
    draws: {units: {uniform: {min: 0, max: 9}}}
    rules:
      - otherwise: true
        emit:
          - {call: describe, with: {values: \"[tick, draws.units]\"}, as: found}
          - set: {sum: \"state.sum + found.mean\"}
  clerk: {kind: llm, model: m, instructions: \"Day {{ tick }}.\", handles: [tick], supervision: {max_restarts: 10000}}
metrics: {sum: {value: state.sum}}
";

const BELL: &str = include_str!("stage/bell.scenario.yaml");

/// Draws that can be shared.
#[derive(Clone)]
struct Chance(Arc<AtomicU64>);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, n: usize) -> usize {
        let step = |x: u64| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |x| Some(step(x))).unwrap_or_default();
        (step(x) >> 33) as usize % n.max(1)
    }

    /// One time in so many.
    fn once_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Memory that fails by chance while the storm lasts.
#[derive(Clone)]
struct Stormy {
    memory: MemoryEngine,
    chance: Chance,
    storm: Arc<AtomicBool>,
    failures: Arc<AtomicU64>,
}

impl Stormy {
    fn strikes(&self, once_in: usize) -> bool {
        let strikes = self.storm.load(Ordering::Relaxed) && self.chance.once_in(once_in);
        self.failures.fetch_add(u64::from(strikes), Ordering::Relaxed);
        strikes
    }

    fn failed<T>(what: &str) -> Result<T, EngineError> {
        Err(EngineError::Failed(what.into()))
    }
}

impl Engine for Stormy {
    fn name(&self) -> &'static str {
        "stormy"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        if self.strikes(60) {
            return Stormy::failed("nothing was written");
        }
        assert!(!self.strikes(120), "the engine panics");
        self.memory.apply(guard, batch)?;
        if self.strikes(60) { Stormy::failed("it was written, and nobody knows") } else { Ok(()) }
    }

    fn sync(&self, durability: Durability) -> Result<u32, EngineError> {
        if self.strikes(60) { Stormy::failed("input/output error") } else { self.memory.sync(durability) }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.memory.scan(from, to, order, visit)
    }

    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes()
    }

    fn blocks(&self) -> bool {
        false
    }

    fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// Tools whose agent panics now and then.
struct Panicky {
    chance: Chance,
    storm: Arc<AtomicBool>,
    panics: Arc<AtomicU64>,
}

impl std::fmt::Debug for Panicky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Panicky")
    }
}

impl Builtins for Panicky {
    fn call(&self, name: &str, input: &Value) -> Result<Value, String> {
        if self.storm.load(Ordering::Relaxed) && self.chance.once_in(25) {
            self.panics.fetch_add(1, Ordering::Relaxed);
            panic!("an agent panics");
        }
        BuiltinTools.call(name, input)
    }
}

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = load("x.scenario.yaml", text.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

fn input(seed: u64) -> RunInput {
    RunInput { params: Vec::new(), seed, now: START_MS, models: vec![ModelBinding::Stub; 2] }
}

/// Nothing may wait for ever: with nothing else to do the clock goes on, and a month is soon over.
async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let month = Duration::from_secs(30 * 86_400);
    tokio::time::timeout(month, work).await.unwrap_or_else(|_| panic!("{what} waits for ever"))
}

/// The digest of each market without a storm.
async fn undisturbed() -> BTreeMap<u64, Hash32> {
    let runtime = Runtime::open(RuntimeOptions::default()).await.expect("opens");
    let mut digests = BTreeMap::new();
    for seed in 0..RUNS {
        let handle = runtime.start_run(scenario(MARKET), input(seed), StartOptions::default()).await.expect("starts");
        digests.insert(seed, handle.done().await.expect("ends").digest);
    }
    digests
}

/// What is known of what was asked.
#[derive(Default)]
struct Asked {
    /// Runs that somebody gave a command, whatever came of it.
    commanded: BTreeSet<RunId>,
    /// Acknowledged commands: the run, the seq, the event.
    acknowledged: Vec<(RunId, u64, &'static str)>,
    /// Answers that were no acknowledgement.
    refused: usize,
}

/// The system in a storm.
struct Storm {
    seed: u64,
    chance: Chance,
    storm: Arc<AtomicBool>,
    engine: Stormy,
    panics: Arc<AtomicU64>,
    store: Store,
    runtime: Runtime,
    known: Mutex<Vec<RunId>>,
    asked: Mutex<Asked>,
}

impl Storm {
    async fn new(seed: u64) -> Storm {
        let (chance, storm) = (Chance::new(seed), Arc::new(AtomicBool::new(false)));
        let engine = Stormy {
            memory: MemoryEngine::new(),
            chance: Chance::new(seed ^ 0x5eed),
            storm: storm.clone(),
            failures: Arc::default(),
        };
        let opened = engine.clone();
        let open = move || match opened.strikes(3) {
            true => Stormy::failed("it does not open"),
            false => Ok(Arc::new(opened.clone()) as Arc<dyn Engine>),
        };
        let store = Store::open_engine(Box::new(open), Durability::Fsync, true, Options::default()).await.expect("opens");
        let panics = Arc::new(AtomicU64::new(0));
        let tools = Panicky { chance: Chance::new(seed ^ 0xa9e7), storm: storm.clone(), panics: panics.clone() };
        let options = RuntimeOptions {
            clock: WallClock::staged(Box::leak(Box::new(AtomicI64::new(START_MS)))),
            passivate_after: [None, Some(Duration::ZERO), Some(Duration::from_secs(60))][chance.below(3)],
            max_live_runs: 4 + chance.below(30),
            builtins: Arc::new(tools),
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::open_on(store.clone(), options).await.expect("opens");
        Storm { seed, chance, storm, engine, panics, store, runtime, known: Mutex::default(), asked: Mutex::default() }
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn some_run(&self) -> Option<RunId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(self.chance.below(known.len())).cloned()
    }

    async fn pause(&self) {
        for _ in 0..self.chance.below(200) {
            tokio::task::yield_now().await;
        }
        if self.chance.once_in(4) {
            tokio::time::sleep(Duration::from_secs(self.chance.below(1200) as u64)).await;
        }
    }

    /// Begins a run, and again until it is begun: somebody wants it.
    async fn begin(&self, text: &str, seed: u64) {
        let start = StartOptions {
            follow: seed.is_multiple_of(2),
            watch: seed.is_multiple_of(3),
            stored: seed.is_multiple_of(5) || seed % 6 == 1,
            ..StartOptions::default()
        };
        for _ in 0..ROUNDS {
            self.pause().await;
            let begun = self.runtime.start_run(scenario(text), input(seed), start.clone());
            if let Ok(handle) = within("a start", begun).await {
                if text == BELL || seed >= LET_ALONE {
                    self.known.lock().unwrap_or_else(PoisonError::into_inner).push(handle.id.clone());
                }
                // It ends, stands still, or stops because of the store: whichever, it is looked after below.
                let what = format!("run {} of seed {seed}, {}", handle.id, self.seed);
                drop(within(&what, handle.done()).await);
                return;
            }
        }
        panic!("seed {}: run {seed} was not begun", self.seed);
    }

    async fn command(&self) {
        self.pause().await;
        let Some(run) = self.some_run() else { return };
        let (event, answer) = match self.chance.below(5) {
            0 | 1 => ("input.received", self.told(&run, self.runtime.tell(&run, SEAT, "Hear!", Value::Null)).await),
            2 => ("run.paused", self.told(&run, self.runtime.pause(&run, "a rest")).await),
            3 if self.chance.once_in(3) => ("run.cancelled", self.told(&run, self.runtime.cancel(&run, "enough")).await),
            _ => {
                self.asked().commanded.insert(run.clone());
                // Most are live, and are refused.
                drop(within("a resume", self.runtime.resume(&run, StartOptions::default())).await);
                return;
            }
        };
        match answer {
            Ok(seq) => self.asked().acknowledged.push((run, seq, event)),
            Err(_) => self.asked().refused += 1,
        }
    }

    async fn told(&self, run: &RunId, command: impl Future<Output = Result<u64, CommandFailed>>) -> Result<u64, CommandFailed> {
        self.asked().commanded.insert(run.clone());
        within("a command", command).await
    }

    /// The storm is over: what stopped is resumed, as an operator would, until all is over.
    async fn recover(&self) {
        self.storm.store(false, Ordering::Relaxed);
        for _ in 0..ROUNDS {
            let runs = self.runtime.runs().await.expect("reads");
            let open: Vec<RunId> = runs.into_iter().filter(|run| run.ended_ms.is_none()).map(|run| run.id).collect();
            if open.is_empty() {
                return;
            }
            for id in open {
                match within("a late resume", self.runtime.resume(&id, StartOptions::default())).await {
                    Ok(handle) => drop(handle),
                    Err(StartError::Live(_) | StartError::Ended(..)) => {}
                    Err(StartError::Load(e)) => tracing::debug!("{e}"),
                    Err(e) => panic!("seed {}: {id}: {e}", self.seed),
                }
            }
            tokio::time::sleep(Duration::from_secs(1800)).await;
        }
        panic!("seed {}: still open: {:?}", self.seed, self.runtime.runs().await);
    }

    async fn judge(&self, undisturbed: &BTreeMap<u64, Hash32>) {
        let seed = self.seed;
        let acknowledged = self.asked().acknowledged.clone();
        for (run, seq, kind) in &acknowledged {
            let log = self.runtime.events(run, 1).await.expect("reads");
            let found = log.iter().any(|event| event.seq <= *seq && event.event.name() == *kind);
            let last = log.last().map_or(0, |event| event.seq);
            assert!(found && last >= *seq, "seed {seed}: acknowledged {kind} at {seq} of {run} is lost");
        }
        let mut markets = 0;
        for summary in self.runtime.runs().await.expect("reads") {
            let run = self.runtime.load(&summary.id).await.expect("reads");
            assert!(run.run.state().status.ended().is_some(), "seed {seed}: {}", summary.id);
            let verified = self.runtime.verify(&summary.id).await.expect("reads");
            assert!(verified.difference.is_none(), "seed {seed}: {} {:?}", summary.id, verified.difference);
            if summary.scenario == "market" && !self.asked().commanded.contains(&summary.id) {
                markets += 1;
                assert_eq!(run.digest, undisturbed[&summary.seed], "seed {seed}: market {}", summary.seed);
            }
        }
        assert!(markets >= LET_ALONE, "seed {seed}: {markets} markets that nobody commanded");
        assert_eq!(self.store.check().await.expect("reads").damage, [], "seed {seed}");
    }
}

async fn storm(seed: u64, undisturbed: &BTreeMap<u64, Hash32>) -> [u64; 4] {
    let system = Arc::new(Storm::new(seed).await);
    system.storm.store(true, Ordering::Relaxed);
    let mut working = tokio::task::JoinSet::new();
    for n in 0..RUNS {
        for text in [MARKET, BELL] {
            let system = system.clone();
            working.spawn(async move { system.begin(text, n).await });
        }
    }
    let commanding = system.clone();
    let commands = tokio::spawn(async move {
        for _ in 0..COMMANDS {
            commanding.command().await;
        }
    });
    commands.await.expect("no panic");
    system.recover().await;
    while let Some(begun) = working.join_next().await {
        begun.expect("no panic");
    }
    // Those that were begun late.
    system.recover().await;
    system.judge(undisturbed).await;
    system.runtime.shutdown().await.expect("closes");
    let asked = system.asked();
    let (acknowledged, refused) = (asked.acknowledged.len() as u64, asked.refused as u64);
    [system.engine.failures.load(Ordering::Relaxed), system.panics.load(Ordering::Relaxed), acknowledged, refused]
}

#[test]
fn whatever_fails_what_was_acknowledged_is_kept_and_all_comes_to_its_end() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (storms, first) = (number("COMMEDIA_STORMS", 20), number("COMMEDIA_SEED", u64::from(std::process::id())));
    // Panics are what this is about; the first line of each is enough.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let mut total = [0; 4];
    for seed in first..first + storms {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
        eprintln!("COMMEDIA_SEED={seed}");
        let weather = runtime.block_on(async { storm(seed, &undisturbed().await).await });
        total.iter_mut().zip(weather).for_each(|(sum, n)| *sum += n);
    }
    let [failures, panics, acknowledged, refused] = total;
    eprintln!(
        "{storms} storms: {failures} failures of the engine, {panics} panics, {acknowledged} commands kept, {refused} refused"
    );
    assert!(failures > storms && panics > storms && acknowledged > storms, "there was no storm");
}
