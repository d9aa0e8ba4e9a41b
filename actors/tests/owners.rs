//! Two runtimes on one memory, as two processes on one disk: the newer owns, the older is fenced. Its runs stop and harm
//! nothing, whatever it goes on trying; and a stop does not wait for a model, nor longer than its time for a store.

mod store_support;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use async_trait::async_trait;
use commedia_actors::clock::WallClock;
use commedia_actors::live::LoadedRun;
use commedia_actors::model::{Answer, Deltas, Model, ModelError};
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunHandle, Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::{Options, Store, StreamId, StreamKind};
use commedia_domain::event::{AnsweredBy, ModelBinding, Usage};
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::run::{ModelRequest, RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;
use store_support::{Faulty, Place};
use tokio::sync::Semaphore;

const START_MS: i64 = 1_800_000_000_000;
const SEAT: Seat = Seat { agent: AgentIx(0), replica: 0 };

/// A model is asked on each of five days.
const DIARY: &str = "
name: diary
clock: {tick: P1D, ticks: 5}
models: {m: {use: stub}}
agents: {writer: {kind: llm, model: m, instructions: \"Write, day {{ tick }}.\", handles: [tick]}}
";

/// Rings each hour, three times; words of a person count too.
const BELL: &str = include_str!("stage/bell.scenario.yaml");

/// Answers as often as it is let.
struct Gated(Semaphore);

impl Gated {
    fn new(answers: usize) -> Arc<Gated> {
        Arc::new(Gated(Semaphore::new(answers)))
    }
}

#[async_trait]
impl Model for Gated {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        self.0.acquire().await.map_err(|e| ModelError::refused(e.to_string()))?.forget();
        let text = Some(format!("Written in step {}.", request.step));
        Ok(Answer { text, calls: Vec::new(), usage: Usage::default(), by: AnsweredBy::Model, source: None })
    }
}

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = load("x.scenario.yaml", text.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

fn options(model: &Arc<Gated>) -> RuntimeOptions {
    let clock = WallClock::staged(Box::leak(Box::new(AtomicI64::new(START_MS))));
    RuntimeOptions { clock, model: Some(model.clone()), ..RuntimeOptions::default() }
}

async fn start(runtime: &Runtime, text: &str, seed: u64) -> RunHandle {
    let provider = ModelBinding::Provider { provider: "gated".into(), model: "m".into() };
    let input = RunInput { params: Vec::new(), seed, now: START_MS, models: vec![provider; 2] };
    runtime.start_run(scenario(text), input, StartOptions { follow: true, ..StartOptions::default() }).await.expect("starts")
}

/// Lets everything happen that can without time going on.
async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

async fn undisturbed(seed: u64) -> LoadedRun {
    let runtime = Runtime::open(options(&Gated::new(1_000))).await.expect("opens");
    let run = start(&runtime, DIARY, seed).await.done().await.expect("ends");
    assert_eq!(run.run.state().status, Status::Completed);
    run
}

/// The epochs of a run's frames, in order; each frame follows the one before.
async fn epochs(store: &Store, id: &RunId) -> Vec<u64> {
    let stream = StreamId::new("default", StreamKind::Run, id.as_str()).expect("a name");
    let mut head = commedia_actors::store::Head::START;
    let mut epochs = Vec::new();
    for frame in store.read_after(&stream, &head, usize::MAX).await.expect("reads") {
        frame.follows(&head).expect("one chain");
        head = frame.head();
        epochs.push(frame.header.epoch);
    }
    epochs
}

fn says_fenced(what: &str, error: impl ToString) {
    let error = error.to_string();
    assert!(error.contains("the lease is outdated"), "{what}: {error}");
}

#[tokio::test(start_paused = true)]
async fn of_two_runtimes_the_newer_owns_and_the_older_harms_nothing() {
    let place = Place::memory();
    let (gate, open) = (Gated::new(0), Gated::new(1_000));
    let older = Runtime::open_on(place.open().await, options(&gate)).await.expect("opens");
    let mut handles = Vec::new();
    for seed in 0..5 {
        handles.push(start(&older, DIARY, seed).await);
    }
    let bell = start(&older, BELL, 9).await;
    settle().await;
    gate.0.add_permits(7);
    settle().await;

    let store = place.open().await;
    let newer = Runtime::open_on(store.clone(), options(&open)).await.expect("opens");
    let ids: Vec<RunId> = handles.iter().map(|handle| handle.id.clone()).collect();
    // The older one gets its answers now, and every command and every start it tries is refused.
    gate.0.add_permits(1_000);
    for (handle, id) in handles.into_iter().zip(&ids) {
        says_fenced("a run", handle.done().await.expect_err("it is fenced"));
        says_fenced("cancel", older.cancel(id, "no").await.expect_err("it is fenced"));
    }
    says_fenced("tell", older.tell(&bell.id, SEAT, "Hear!", Value::Null).await.expect_err("it is fenced"));

    let mut ended = Vec::new();
    for (seed, id) in (0..).zip(&ids) {
        let run = newer.resume(id, StartOptions::default()).await.expect("resumes").done().await.expect("ends");
        assert_eq!(run.digest, undisturbed(seed).await.digest, "seed {seed}");
        ended.push(run.head);
    }
    newer.keep_time(&newer.standings().await.expect("reads"));
    newer.tell(&bell.id, SEAT, "Hear!", Value::Null).await.expect("it owns the run");
    // Three hours go by, on the clocks of both.
    while newer.load(&bell.id).await.expect("reads").run.state().status.ended().is_none() {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }

    // And the older one goes on trying.
    for (id, head) in ids.iter().zip(&ended) {
        assert!(older.resume(id, StartOptions::default()).await.is_err(), "it has ended");
        assert!(older.tell(id, SEAT, "Hear!", Value::Null).await.is_err(), "it has ended");
        assert_eq!(newer.load(id).await.expect("reads").head, *head);
    }
    let again = start_refused(&older).await;
    says_fenced("a start", again);
    let rung = newer.load(&bell.id).await.expect("reads");
    let result = rung.run.state().ended.as_ref().map(|ended| ended.result.value().to_json().to_string());
    assert_eq!(result.as_deref(), Some(r#"{"rung":3,"told":1}"#));
    for id in ids.iter().chain([&bell.id]) {
        let epochs = epochs(&store, id).await;
        assert!(epochs.is_sorted() && epochs.first() == Some(&1) && epochs.last() == Some(&2), "{id}: {epochs:?}");
        assert!(newer.verify(id).await.expect("reads").difference.is_none(), "{id}");
    }
    assert_eq!(newer.check().await.expect("reads").damage, []);
    older.shutdown().await.expect("closes");
    newer.shutdown().await.expect("closes");
}

/// Why a fenced runtime starts no run.
async fn start_refused(runtime: &Runtime) -> String {
    let input = RunInput { params: Vec::new(), seed: 77, now: START_MS, models: vec![ModelBinding::Stub; 2] };
    let start = StartOptions { follow: true, ..StartOptions::default() };
    match runtime.start_run(scenario(DIARY), input, start).await {
        Ok(_) => "it was started".into(),
        Err(e) => e.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn owners_take_turns_and_the_run_is_the_undisturbed_one() {
    let place = Place::memory();
    let undisturbed = undisturbed(3).await;
    let mut owners: Vec<(Runtime, Arc<Gated>)> = Vec::new();
    let mut id: Option<RunId> = None;
    let mut store = place.open().await;
    for turn in 0..5 {
        let gate = Gated::new(0);
        let runtime = Runtime::open_on(store.clone(), options(&gate)).await.expect("opens");
        let handle = match &id {
            None => start(&runtime, DIARY, 3).await,
            Some(id) => runtime.resume(id, StartOptions::default()).await.expect("resumes"),
        };
        id = Some(handle.id.clone());
        gate.0.add_permits(1);
        settle().await;
        // All who owned it before get their answers too, and can do nothing with them.
        owners.iter().for_each(|(_, gate)| gate.0.add_permits(10));
        settle().await;
        owners.push((runtime, gate));
        if turn < 4 {
            store = place.open().await;
        } else {
            owners[4].1.0.add_permits(10);
            let run = handle.done().await.expect("ends");
            assert_eq!((run.digest, run.run.state().status.clone()), (undisturbed.digest, Status::Completed));
        }
    }
    let epochs = epochs(&store, &id.expect("an id")).await;
    assert!(epochs.is_sorted(), "{epochs:?}");
    assert!((1..=5).all(|epoch| epochs.contains(&epoch)), "each of the five has written: {epochs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_model() {
    let place = Place::memory();
    let gate = Gated::new(2);
    let runtime = Runtime::open_on(place.open().await, options(&gate)).await.expect("opens");
    let mut handles = Vec::new();
    for seed in 0..20 {
        handles.push(start(&runtime, DIARY, seed).await);
    }
    settle().await;
    let begun = tokio::time::Instant::now();
    runtime.shutdown().await.expect("closes");
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody was waited for");
    let again = Runtime::open_on(place.open().await, options(&Gated::new(1_000))).await.expect("opens");
    assert_eq!(again.standings().await.expect("reads").interrupted.len(), 20);
    for (seed, handle) in (0..).zip(handles) {
        let id = handle.id.clone();
        let left = handle.done().await.expect("it is told where the run stands");
        assert!(left.run.state().status.ended().is_none());
        let run = again.resume(&id, StartOptions::default()).await.expect("resumes").done().await.expect("ends");
        assert_eq!(run.digest, undisturbed(seed).await.digest, "seed {seed}");
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_stuck_store_as_long_as_it_may() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let model = Gated::new(0);
    let options = RuntimeOptions { drain: Duration::from_millis(50), ..options(&model) };
    let runtime = Runtime::open_on(store, options).await.expect("opens");
    let handle = start(&runtime, DIARY, 1).await;
    engine.set_gate(false);
    // Whether what began the run is through or not: its model's answer is to be written.
    model.0.add_permits(3);
    engine.until_waiting().await;
    let why = runtime.shutdown().await.expect_err("the store does not answer");
    assert!(why.contains("not everything has stopped within 0.05 s"), "{why}");
    let why = handle.done().await.expect_err("it has not stopped").to_string();
    assert!(why.contains("the runtime was closed before it had stopped"), "{why}");
    engine.set_gate(true);
}
