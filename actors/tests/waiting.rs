//! Runs that wait for moments of wall time, on a clock that goes with tokio's paused one: passivated and woken they are the
//! runs they would have been, no timer is lost, none goes off twice, and a start finds them without reading anything else.

mod store_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use commedia_actors::clock::WallClock;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunHandle, Runtime, RuntimeOptions, StartOptions};
use commedia_actors::scope::{Scoped, WorkspaceId};
use commedia_actors::store::{Options, Store};
use commedia_domain::event::{Event, ModelBinding};
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;
use store_support::{Fault, Faulty, Place};

const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_800_000_000_000;

/// Rings each hour, three times; words of a person count too.
const BELL: &str = include_str!("stage/bell.scenario.yaml");

const BELL_SEAT: Seat = Seat { agent: AgentIx(0), replica: 0 };
const NOW: Option<Duration> = Some(Duration::ZERO);

fn scenario() -> Arc<Scenario> {
    let loaded = load("bell.scenario.yaml", BELL.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

/// A wall clock that tests can turn.
fn hands() -> &'static AtomicI64 {
    Box::leak(Box::new(AtomicI64::new(START_MS)))
}

fn options(passivate_after: Option<Duration>) -> RuntimeOptions {
    RuntimeOptions { clock: WallClock::staged(hands()), passivate_after, ..RuntimeOptions::default() }
}

async fn start(runtime: &Runtime, seed: u64, start: StartOptions) -> RunHandle {
    let input = RunInput { params: Vec::new(), seed, now: START_MS, models: vec![ModelBinding::Offline] };
    runtime.start_run(scenario(), input, start).await.expect("starts")
}

/// Waits until a run is passivated. Tokio's time does not move meanwhile: nothing here sleeps.
async fn passivated(runtime: &Runtime, waiting: usize) {
    for _ in 0..10_000 {
        if (runtime.live(), runtime.waiting()) == (0, waiting) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} live, {} waiting", runtime.live(), runtime.waiting());
}

async fn names(runtime: &Runtime, id: &RunId) -> Vec<&'static str> {
    runtime.events(id, 1).await.expect("reads").iter().map(|e| e.event.name()).collect()
}

fn result(run: &LoadedRun) -> String {
    let ended = run.run.state().ended.as_ref();
    ended.map_or_else(|| format!("{:?}", run.run.state().status), |e| e.result.value().to_json().to_string())
}

#[tokio::test(start_paused = true)]
async fn passivated_or_not_it_is_the_same_run() {
    let mut runs = Vec::new();
    for passivate_after in [None, Some(Duration::from_secs(60)), NOW] {
        for follow in [false, true] {
            let runtime = Runtime::open(options(passivate_after)).await.expect("opens");
            let mut handle = start(&runtime, 1, StartOptions { follow, ..StartOptions::default() }).await;
            let (id, events) = (handle.id.clone(), handle.events.take());
            let run = handle.done().await.expect("ends");
            assert_eq!((runtime.live(), runtime.waiting()), (0, 0), "{passivate_after:?}");
            let mut seen = 0;
            if let Some(mut events) = events {
                while let Some(event) = events.next().await {
                    seen += 1;
                    assert_eq!(event.seq, seen, "followed over its passivations");
                }
                assert_eq!(seen, run.head.seq);
            }
            runs.push((result(&run), run.digest, names(&runtime, &id).await));
            runtime.shutdown().await.expect("closes");
        }
    }
    assert_eq!(runs[0].0, r#"{"rung":3,"told":0}"#);
    runs.iter().for_each(|run| assert_eq!(*run, runs[0]));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_only_waits_has_no_orchestrator_from_the_beginning() {
    // Nobody gives way here: whoever has an orchestrator keeps it.
    let runtime = Runtime::open(options(None)).await.expect("opens");
    let stored = StartOptions { stored: true, ..StartOptions::default() };
    let usual = start(&runtime, 1, StartOptions::default()).await;
    let (awaited, left) = (start(&runtime, 1, stored.clone()).await, start(&runtime, 1, stored).await.id.clone());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!((runtime.live(), runtime.waiting()), (1, 3), "one was not asked to be stored");
    let listed = runtime.summary(&awaited.id).await.expect("listed");
    assert_eq!((listed.status.as_str(), listed.waits_ms), ("waiting", Some(runtime.now_ms() + HOUR_MS)));
    // Somebody waits for the one; nobody for the other.
    let refused = runtime.resume(&awaited.id, StartOptions::default()).await.err().expect("it is awaited");
    assert!(refused.to_string().contains("is live already"), "{refused}");
    runtime.resume(&left, StartOptions::default()).await.expect("goes on, and waits");
    runtime.tell(&awaited.id, BELL_SEAT, "hello", Value::Null).await.expect("heard");
    let id = awaited.id.clone();
    let told = awaited.done().await.expect("ends");
    assert_eq!(result(&told), r#"{"rung":3,"told":1}"#);
    let usual = usual.done().await.expect("ends");
    assert_eq!(names(&runtime, &id).await[..2], names(&runtime, &usual.id).await[..2]);
    tokio::time::sleep(Duration::from_secs(4 * 3600)).await;
    let left = runtime.load(&left).await.expect("reads");
    assert_eq!((result(&left), left.digest), (result(&usual), usual.digest), "the same run");
}

/// Whoever starts a run may go before it is durable, whatever the store does meanwhile: it waits for its time, or was never there.
#[tokio::test]
async fn a_run_goes_on_though_whoever_started_it_has_gone() {
    for fault in [Fault::None, Fault::Sync, Fault::Half, Fault::Apply, Fault::Panic] {
        let engine = Faulty::new();
        let runtime = Runtime::open_on(engine.open(Options::default()).await, options(None)).await.expect("opens");
        let stored = StartOptions { stored: true, ..StartOptions::default() };
        // The scenario is stored with the first run, so that the second is one append.
        drop(start(&runtime, 1, stored.clone()).await);
        engine.set_gate(false);
        engine.fail_next(fault);
        tokio::select! {
            _ = start(&runtime, 2, stored) => panic!("{fault:?}: nothing is durable yet"),
            () = async {
                for _ in 0..1000 {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        engine.set_gate(true);
        let there = async {
            while runtime.waiting() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), there).await.unwrap_or_else(|_| panic!("{fault:?}: its timer is lost"));
        for run in runtime.runs().await.expect("reads") {
            assert_eq!(run.status, "waiting", "{fault:?}");
            runtime.tell(&run.id, BELL_SEAT, "hello", Value::Null).await.expect("heard");
        }
        runtime.shutdown().await.expect("closes");
    }
}

#[tokio::test(start_paused = true)]
async fn two_who_tell_at_once_wake_it_once_and_both_are_heard() {
    let runtime = Runtime::open(options(NOW)).await.expect("opens");
    let handle = start(&runtime, 1, StartOptions::default()).await;
    passivated(&runtime, 1).await;
    let tell = |text: &'static str| runtime.tell(&handle.id, BELL_SEAT, text, Value::Null);
    let (one, two, three) = tokio::join!(tell("one"), tell("two"), tell("three"));
    let mut seqs = [one.expect("heard"), two.expect("heard"), three.expect("heard")];
    seqs.sort_unstable();
    assert!(seqs[0] < seqs[1] && seqs[1] < seqs[2], "{seqs:?}");
    passivated(&runtime, 1).await;
    let id = handle.id.clone();
    let run = handle.done().await.expect("ends");
    assert_eq!(result(&run), r#"{"rung":3,"told":3}"#);
    let told = names(&runtime, &id).await.into_iter().filter(|n| *n == "input.received").count();
    assert_eq!(told, 3);
    let after = runtime.tell(&id, BELL_SEAT, "too late", Value::Null).await.expect_err("it has ended");
    assert!(after.to_string().contains("has ended: completed"), "{after}");
    let unknown = runtime.tell(&RunId::new(), BELL_SEAT, "who?", Value::Null).await.expect_err("there is none");
    assert!(unknown.to_string().contains("there is no run"), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_turned_back_revives_nothing() {
    let hands = hands();
    let options = RuntimeOptions { clock: WallClock::staged(hands), passivate_after: NOW, ..RuntimeOptions::default() };
    let runtime = Runtime::open(options).await.expect("opens");
    let handle = start(&runtime, 1, StartOptions::default()).await;
    let rung =
        |log: &[commedia_actors::log::StoredEvent]| log.iter().filter(|e| matches!(&*e.event, Event::TriggerFired(_))).count();
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert_eq!(rung(&runtime.events(&handle.id, 1).await.expect("reads")), 1);
    hands.fetch_sub(2 * HOUR_MS, Ordering::Relaxed);
    // The clock now shows an hour before the start: what has rung does not ring again, and the second ring is three hours off.
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(rung(&runtime.events(&handle.id, 1).await.expect("reads")), 1);
    hands.fetch_add(2 * HOUR_MS, Ordering::Relaxed);
    // Set right again, it is noticed within a minute.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(rung(&runtime.events(&handle.id, 1).await.expect("reads")) >= 2);
    let run = handle.done().await.expect("ends");
    assert_eq!(result(&run), r#"{"rung":3,"told":0}"#);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_gives_its_place_to_one_that_works() {
    let options = RuntimeOptions { max_live_runs: 2, ..options(None) };
    let runtime = Runtime::open(options).await.expect("opens");
    let mut handles = Vec::new();
    for seed in 0..20 {
        handles.push(start(&runtime, seed, StartOptions::default()).await);
    }
    assert!(runtime.live() <= 2, "{}", runtime.live());
    for handle in handles {
        let run = handle.done().await.expect("ends");
        assert_eq!(result(&run), r#"{"rung":3,"told":0}"#);
    }
}

async fn over(place: &Place, passivate_after: Option<Duration>) -> Runtime {
    let store: Store = place.open().await;
    Runtime::open_on(store, options(passivate_after)).await.expect("opens")
}

#[tokio::test(start_paused = true)]
async fn another_process_finds_who_waits_who_worked_and_who_is_paused() {
    let place = Place::memory();
    let first = over(&place, Some(Duration::from_secs(3600))).await;
    let mut ids = Vec::new();
    for seed in 0..6 {
        ids.push(start(&first, seed, StartOptions::default()).await.id.clone());
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    first.cancel(&ids[0], "enough").await.expect("cancels");
    first.pause(&ids[1], "later").await.expect("pauses");
    // The first is not shut down: as after a kill, the second takes over what is stored.
    let second = over(&place, NOW).await;
    let found = second.standings().await.expect("reads");
    assert_eq!((found.interrupted.len(), found.waiting(), found.paused), (0, 4, 1));
    let here = |ids: &[RunId]| ids.iter().map(|id| Scoped::new(WorkspaceId::local(), id.clone())).collect::<Vec<_>>();
    assert_eq!(found.waiting_ids().collect::<Vec<_>>(), here(&ids[2..]));
    assert_eq!(found.due(START_MS + HOUR_MS - 1), []);
    assert_eq!(found.due(START_MS + HOUR_MS), here(&ids[2..]));
    second.keep_time(&found);
    assert_eq!((second.live(), second.waiting()), (0, 4));
    tokio::time::sleep(Duration::from_secs(4 * 3600)).await;
    for id in &ids[2..] {
        let run = second.load(id).await.expect("reads");
        assert_eq!(
            (run.run.state().status.clone(), run.digest),
            (Status::Completed, second.load(id).await.expect("reads").digest)
        );
        assert_eq!(result(&run), r#"{"rung":3,"told":0}"#);
    }
    let left = second.standings().await.expect("reads");
    assert_eq!((left.interrupted.len(), left.waiting(), left.paused), (0, 0, 1), "ended runs are in no row");
    let resumed = second.resume(&ids[1], StartOptions::default()).await.expect("goes on");
    assert_eq!(result(&resumed.done().await.expect("ends")), r#"{"rung":3,"told":0}"#);
}

#[tokio::test(start_paused = true)]
async fn told_from_outside_it_goes_on_until_it_waits() {
    let place = Place::memory();
    let first = over(&place, NOW).await;
    let id = start(&first, 1, StartOptions::default()).await.id.clone();
    passivated(&first, 1).await;
    let second = over(&place, None).await;
    let until_wait = StartOptions { until_wait: true, ..StartOptions::default() };
    let tell = commedia_domain::run::Command::Tell { seat: BELL_SEAT, text: "Hear!".into(), data: Value::Null };
    let (handle, seq) = second.go_on_with(&id, tell.clone(), until_wait.clone()).await.expect("is told");
    let run = handle.done().await.expect("waits again");
    assert_eq!((run.waits(), seq, run.head.seq), (Some(START_MS + HOUR_MS), 3, 4));
    let listed = second.runs().await.expect("lists").remove(0);
    assert_eq!((listed.status.as_str(), listed.waits_ms), ("waiting", Some(START_MS + HOUR_MS)));
    let nobody =
        commedia_domain::run::Command::Tell { seat: Seat { agent: AgentIx(0), replica: 9 }, text: "x".into(), data: Value::Null };
    let refused = second.go_on_with(&id, nobody, until_wait).await.err().expect("is refused");
    assert!(refused.to_string().contains("there is no replica 9"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_store_without_the_index_is_given_one() {
    let Place::Memory { engine, .. } = Place::memory() else { unreachable!("in memory") };
    let place = Place::Memory { engine: engine.clone(), inline: true };
    let first = over(&place, NOW).await;
    for seed in 0..5 {
        start(&first, seed, StartOptions::default()).await;
    }
    passivated(&first, 5).await;
    let listed = first.standings().await.expect("reads");
    // As an older release would have left it: it raises the epoch, and writes no rows of the live index.
    forget_index(&engine);
    let second = over(&place, NOW).await;
    assert_eq!(second.standings().await.expect("reads"), listed);
    let third = over(&place, NOW).await;
    assert_eq!(third.standings().await.expect("reads"), listed, "and it is kept");
}

fn forget_index(engine: &commedia_actors::store::memory::MemoryEngine) {
    use commedia_actors::store::engine::{Batch, Engine, Guard, Order};
    let mut batch = Batch::default();
    for (from, to) in [(b"L", b"M"), (b"l", b"m")] {
        let visit = &mut |key: &[u8], row: &[u8]| {
            batch.delete(key);
            if let [0xf3, len, rest @ ..] = row {
                // What lists show stood in the index.
                batch.put(&[b"i", &key[1..]].concat(), &rest[usize::from(*len)..]);
            }
            std::ops::ControlFlow::Continue(())
        };
        engine.scan(from, to, Order::Ascending, visit).expect("scans");
    }
    assert_eq!(batch.iter().count(), 11, "five runs, twice, and the mark");
    let control = engine.get(b"C").expect("reads");
    engine.apply(Guard { key: b"C", holds: control.as_deref() }, &batch).expect("applies");
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_newest_first() {
    let runtime = Runtime::open(options(NOW)).await.expect("opens");
    let mut ids = Vec::new();
    for seed in 0..7 {
        ids.push(start(&runtime, seed, StartOptions::default()).await.id.clone());
    }
    passivated(&runtime, 7).await;
    ids.sort();
    ids.reverse();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = runtime.runs_page(after.as_ref(), 3, |_| true).await.expect("lists");
        seen.extend(page.runs.iter().map(|r| r.id.clone()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    let third = runtime.runs_page(None, 1, |run| run.seed == 2).await.expect("lists");
    assert_eq!(third.runs.iter().map(|r| r.seed).collect::<Vec<_>>(), [2]);
}

/// Two messages for each of three carriers, an hour from now.
const POST: &str = r"
name: post
clock: {mode: real}
start: {agent: office, message: Begin}
agents:
  office: {kind: rules, rules: [{otherwise: true, emit: [{tell: carrier, delay: PT1H}, {tell: carrier, replica: 1, delay: PT1H}]}]}
  carrier: {kind: rules, replicas: 3, rules: [{otherwise: true, emit: [{say: Here.}]}]}
";

#[tokio::test(start_paused = true)]
async fn what_lies_in_mailboxes_is_told_while_the_run_is_live() {
    let runtime = Runtime::open(options(None)).await.expect("opens");
    let loaded = load("post.yaml", POST.as_bytes(), &NoFiles);
    let scenario = Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario);
    let depth = async |expect: i64| {
        let gauge = runtime.metrics().mailbox_depth.with_label_values(&["post", "carrier"]);
        for _ in 0..10_000 {
            if gauge.get() == expect {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{}, not {expect}", gauge.get());
    };
    let mut handles = Vec::new();
    for seed in 1..=2 {
        let input = RunInput { params: Vec::new(), seed, now: START_MS, models: vec![ModelBinding::Offline] };
        handles.push(runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts"));
    }
    depth(8).await;
    runtime.cancel(&handles[0].id, "enough").await.expect("cancels");
    depth(4).await;
    let ended = handles.pop().expect("the other").done().await.expect("ends");
    assert_eq!(*ended.status_word(), *"completed");
    depth(0).await;
    runtime.shutdown().await.expect("closes");
}
