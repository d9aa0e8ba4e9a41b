//! What dies is started again: agents after a pause, orchestrators from the log, the store's actor with no run failing. What
//! keeps dying is set aside, and an operator releases it.

mod store_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use commedia_actors::clock::WallClock;
use commedia_actors::log::LoadError;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartError, StartOptions};
use commedia_actors::store::Options;
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::{Event, ModelBinding};
use commedia_domain::id::Hash32;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;
use store_support::{Fault, Faulty, Place};

const START_MS: i64 = 1_800_000_000_000;

/// Panics so many times, then computes.
#[derive(Debug)]
struct Moody(AtomicU32);

impl Moody {
    fn times(times: u32) -> Arc<Moody> {
        Arc::new(Moody(times.into()))
    }
}

impl Builtins for Moody {
    fn call(&self, name: &str, _input: &Value) -> Result<Value, String> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        assert!(left.is_err(), "moody: {} to go", left.unwrap_or(0));
        BuiltinTools.call(name, &Value::object([("values", Value::list([Value::Int(1), Value::Int(3)]))]))
    }
}

fn compile(text: &str) -> Arc<Scenario> {
    let loaded = load("moody.scenario.yaml", text.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

/// An agent calls the tool in its turn at tick 1.
const AGENT: &str = r#"
name: moody-agent
clock: {tick: P1D, ticks: 2}
world: {state: {sum: {type: number, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  moody:
    kind: rules
    handles: [tick]
    tools: [describe]
    supervision: SUPERVISION
    rules:
      - when: tick == 1
        emit: [{call: describe, with: {values: [1, 3]}, as: found}, {set: {sum: "state.sum + found.mean"}}]
metrics: {sum: {value: state.sum}}
"#;

/// A trigger calls it: where it panics, the orchestrator dies.
const TRIGGER: &str = r#"
name: moody-trigger
clock: {tick: P1D, ticks: 3}
world: {state: {n: {type: integer, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  counter: {kind: rules, handles: [tick], rules: [{otherwise: true, emit: [{set: {n: "state.n + 1"}}]}]}
triggers: [{name: second, after: PT36H, call: describe, with: {values: [1, 3]}}]
metrics: {n: {value: state.n}}
"#;

fn options(builtins: Arc<dyn Builtins>) -> RuntimeOptions {
    let hands: &'static AtomicI64 = Box::leak(Box::new(AtomicI64::new(START_MS)));
    RuntimeOptions { builtins, clock: WallClock::staged(hands), ..RuntimeOptions::default() }
}

fn input(seed: u64) -> RunInput {
    RunInput { params: Vec::new(), seed, now: START_MS, models: vec![ModelBinding::Offline] }
}

async fn names(runtime: &Runtime, id: &RunId) -> Vec<&'static str> {
    runtime.events(id, 1).await.expect("reads").iter().map(|e| e.event.name()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_followed_by_a_pause_that_grows() {
    let scenario = compile(&AGENT.replace("SUPERVISION", "{backoff: {initial: 1s, factor: 3, max: 5s, jitter: 0}}"));
    let mut digests = Vec::new();
    for (times, waits) in [(0, &[][..]), (4, &[1_000, 3_000, 5_000, 5_000])] {
        let runtime = Runtime::open(options(Moody::times(times))).await.expect("opens");
        let began = tokio::time::Instant::now();
        let handle = runtime.start_run(scenario.clone(), input(1), StartOptions::default()).await.expect("starts");
        let id = handle.id.clone();
        let run = handle.done().await.expect("ends");
        let events = runtime.events(&id, 1).await.expect("reads");
        let pauses: Vec<i64> = (events.iter())
            .filter_map(|e| match &*e.event {
                Event::AgentCrashed(crash) => Some(crash.until.expect("goes on") - crash.wall),
                _ => None,
            })
            .collect();
        assert_eq!(pauses, waits);
        assert!(began.elapsed() >= Duration::from_millis(pauses.iter().sum::<i64>().unsigned_abs()), "they were waited for");
        let state = run.run.state();
        assert_eq!((&state.status, state.counts.restarts), (&Status::Completed, u64::from(times)));
        let known = state.restarts.values().next();
        assert_eq!(known.map(|r| (r.count, &*r.reason)), (times > 0).then_some((4, "moody: 1 to go")));
        assert_eq!(runtime.verify(&id).await.expect("verifies").difference, None);
        digests.push(run.digest);
    }
    assert_eq!(digests[0], digests[1], "pauses leave no trace");
}

#[tokio::test(start_paused = true)]
async fn crashes_that_lie_far_apart_do_not_add_up() {
    // Pauses of 40 s each: never more than two crashes within the minute of the window.
    for (within, status) in [("60s", Status::Completed), ("10m", Status::Failed)] {
        let supervision = format!(
            "{{max_restarts: 2, within: {within}, on_exhausted: fail_run, backoff: {{initial: 40s, max: 40s, jitter: 0}}}}"
        );
        let scenario = compile(&AGENT.replace("SUPERVISION", &supervision));
        let runtime = Runtime::open(options(Moody::times(5))).await.expect("opens");
        let handle = runtime.start_run(scenario, input(1), StartOptions::default()).await.expect("starts");
        let id = handle.id.clone();
        assert_eq!(handle.done().await.expect("ends").run.state().status, status, "within {within}");
        assert_eq!(runtime.verify(&id).await.expect("verifies").difference, None, "within {within}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_orchestrator_that_dies_is_rebuilt_three_times_and_then_quarantined() {
    let undisturbed = undisturbed(7).await;
    for (times, quarantined) in [(1, false), (3, false), (4, true)] {
        for follow in [false, true] {
            let runtime = Runtime::open(options(Moody::times(times))).await.expect("opens");
            let start = StartOptions { follow, ..StartOptions::default() };
            let mut handle = runtime.start_run(compile(TRIGGER), input(7), start.clone()).await.expect("starts");
            let neighbour = runtime.start_run(compile(&AGENT.replace("SUPERVISION", "{}")), input(7), start).await;
            let (id, followed) = (handle.id.clone(), handle.events.take());
            let ended = handle.done().await;
            neighbour.expect("starts").done().await.expect("is untouched");
            if quarantined {
                let Err(LoadError::Quarantined { reason, .. }) = ended else { panic!("{times} times: {ended:?}") };
                assert_eq!(reason, "moody: 1 to go");
                assert_eq!(names(&runtime, &id).await.last(), Some(&"run.quarantined"));
                let refused = runtime.resume(&id, StartOptions::default()).await;
                assert!(matches!(refused, Err(StartError::Load(LoadError::Quarantined { .. }))));
                let listed = runtime.runs().await.expect("lists");
                assert_eq!(listed.iter().find(|r| r.id == id).map(|r| r.status.as_str()), Some("quarantined"));
                assert_eq!(runtime.standings().await.expect("reads").quarantined, 1);
                assert!(runtime.cancel(&id, "enough").await.is_err(), "only a release touches it");
                runtime.release(&id, false).await.expect("is released");
                let again = runtime.resume(&id, StartOptions::default()).await.expect("goes on");
                assert_eq!(again.done().await.expect("ends").digest, undisturbed, "{times} times");
            } else {
                let run = ended.expect("ends");
                assert_eq!((&run.run.state().status, run.digest), (&Status::Completed, undisturbed), "{times} times");
                if let Some(mut events) = followed {
                    for seq in 1..=run.head.seq {
                        assert_eq!(events.next().await.map(|e| e.seq), Some(seq), "each once, {times} times");
                    }
                }
            }
            assert_eq!(runtime.verify(&id).await.expect("verifies").difference, None);
            assert!(runtime.check().await.expect("checks").damage.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_run_can_be_released_to_fail() {
    let runtime = Runtime::open(options(Moody::times(1000))).await.expect("opens");
    let handle = runtime.start_run(compile(TRIGGER), input(7), StartOptions::default()).await.expect("starts");
    let id = handle.id.clone();
    assert!(handle.done().await.is_err());
    let released = runtime.release(&id, true).await.expect("is released");
    assert_eq!(released.run.state().status, Status::Failed);
    let ended = released.run.state().ended.clone().expect("has an end");
    assert_eq!(ended.cause.as_deref(), Some("released to fail; it crashed: moody: 997 to go"));
    assert!(runtime.release(&id, true).await.is_err(), "it is over");
}

async fn undisturbed(seed: u64) -> Hash32 {
    let runtime = Runtime::open(options(Moody::times(0))).await.expect("opens");
    let handle = runtime.start_run(compile(TRIGGER), input(seed), StartOptions::default()).await.expect("starts");
    handle.done().await.expect("ends").digest
}

/// The writer is a thread: time is real here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_no_writes_fails_no_run() {
    let digest = undisturbed(7).await;
    for fault in [Fault::Apply, Fault::Half, Fault::Sync, Fault::Panic] {
        let engine = Faulty::new();
        let runtime = Runtime::open_on(engine.open(Options::default()).await, options(Moody::times(0))).await.expect("opens");
        let mut handles = Vec::new();
        for n in 0..8 {
            let start = StartOptions { follow: n % 2 == 0, ..StartOptions::default() };
            match runtime.start_run(compile(TRIGGER), input(7), start).await {
                Ok(handle) => handles.push(handle),
                // Refused with its reason, and not taken.
                Err(e) => assert!(n > 3 && matches!(e, StartError::Load(LoadError::Append(_))), "{e}"),
            }
            if n == 3 {
                engine.refuse_opens(2);
                engine.fail_next(fault);
            }
        }
        for mut handle in handles {
            let (id, followed) = (handle.id.clone(), handle.events.take());
            let run = handle.done().await.unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            assert_eq!(run.digest, digest, "{fault:?}");
            if let Some(mut events) = followed {
                for seq in 1..=run.head.seq {
                    assert_eq!(events.next().await.map(|e| e.seq), Some(seq), "each once, {fault:?}");
                }
            }
            assert_eq!(runtime.verify(&id).await.expect("verifies").difference, None);
        }
        assert!(engine.opens() > 1, "{fault:?} struck");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_store_actor_is_started_again() {
    let digest = undisturbed(7).await;
    let store = Place::memory_in_groups().open().await;
    let runtime = Runtime::open_on(store.clone(), options(Moody::times(0))).await.expect("opens");
    for round in 0..5 {
        let epoch = store.epoch();
        let start = StartOptions { follow: true, ..StartOptions::default() };
        let handle = runtime.start_run(compile(TRIGGER), input(7), start).await.expect("starts");
        store.cell().kill();
        let run = handle.done().await.unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert_eq!(run.digest, digest, "round {round}");
        let revived = async {
            while store.epoch() == epoch {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), revived).await.expect("a new actor, a new epoch");
    }
}
