//! Past a bound there is a refusal that says when to come again; what was let in is finished.

use std::sync::Arc;
use std::time::Duration;

use commedia_actors::admission::resident_bytes;
use commedia_actors::runtime::{CommandFailed, Runtime, RuntimeOptions, StartError, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load_with_faults};
use commedia_domain::value::Value;

/// An agent that takes an hour over each message, and holds ten more.
const SLOW: &str = r#"
name: slow
models: {m: {use: stub}}
agents:
  slow:
    kind: llm
    model: m
    instructions: Take your time.
    handles: [user]
    limits: {timeout: 2h}
    supervision: {mailbox: {capacity: 10, overflow: refuse}}
    stub: [{text: done}]
start: {agent: slow, message: Go}
limits: {wall: 100d}
faults: [{latency: {model: m, add: 1h}}]
"#;

/// A crowd that tells one agent more than it holds.
const CROWD: &str = r#"
name: crowd
clock: {tick: PT1H, ticks: TICKS}
world: {state: {heard: {type: integer, default: 0}}}
agents:
  crowd:
    kind: rules
    replicas: 1000
    handles: [tick]
    rules: [{otherwise: true, emit: [{tell: one, type: word, delay: PT30M}]}]
  one:
    kind: rules
    handles: [{tell: word}]
    supervision: {mailbox: {capacity: 100, overflow: refuse}}
    rules: [{otherwise: true, emit: [{set: {heard: "state.heard + 1"}}]}]
metrics: {heard: {value: state.heard}}
"#;

const ONE: Seat = Seat { agent: AgentIx(0), replica: 0 };

fn compile(text: &str) -> Arc<Scenario> {
    let loaded = load_with_faults("stage.scenario.yaml", text.as_bytes(), &NoFiles, None);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

fn input(scenario: &Scenario) -> RunInput {
    RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![ModelBinding::Stub; scenario.models.len() + 1] }
}

/// `COMMEDIA_MESSAGES` sets how many.
fn messages(few: u64) -> u64 {
    std::env::var("COMMEDIA_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_new_runs_and_finishes_the_others() {
    let options = RuntimeOptions { max_live_runs: 2, max_queued_runs: 3, ..RuntimeOptions::default() };
    let runtime = Runtime::open(options).await.expect("opens");
    let scenario = compile(SLOW);
    let mut starting = Vec::new();
    for _ in 0..5 {
        let (runtime, scenario) = (runtime.clone(), scenario.clone());
        starting.push(tokio::spawn(async move {
            let handle = runtime.start_run(scenario.clone(), input(&scenario), StartOptions::default()).await.expect("is let in");
            handle.done().await.expect("ends").run.state().status.clone()
        }));
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
    let refused = runtime.start_run(scenario.clone(), input(&scenario), StartOptions::default()).await.err();
    let Some(StartError::Busy(busy)) = refused else { panic!("{refused:?}") };
    assert_eq!(busy.what, "2 runs are live and 3 wait for a place");
    assert!(busy.retry_after >= Duration::from_secs(1));
    assert_eq!(runtime.metrics().shed_total.with_label_values(&["runs"]).get(), 1);
    for run in starting {
        assert_eq!(run.await.expect("ends"), Status::Completed);
    }
    runtime.start_run(scenario.clone(), input(&scenario), StartOptions::default()).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_is_told_far_more_than_it_holds() {
    let wanted = messages(20_000);
    let runtime = Runtime::open(RuntimeOptions::default()).await.expect("opens");
    let scenario = compile(SLOW);
    let handle = runtime.start_run(scenario.clone(), input(&scenario), StartOptions { follow: true, ..Default::default() }).await;
    let handle = handle.expect("starts");
    let before = resident_bytes();
    let mut tellers = tokio::task::JoinSet::new();
    // More tellers than one run may owe answers to.
    for _ in 0..1000 {
        let (runtime, id) = (runtime.clone(), handle.id.clone());
        tellers.spawn(async move {
            let (mut heard, mut full, mut busy) = (0, 0, 0);
            for _ in 0..wanted / 1000 {
                match runtime.tell(&id, ONE, "more", Value::Null).await {
                    Ok(_) => heard += 1,
                    Err(CommandFailed::Busy(_)) => busy += 1,
                    Err(CommandFailed::Command(e)) if e.to_string().contains("the mailbox of `slow` is full: it holds 10") => {
                        full += 1;
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            (heard, full, busy)
        });
    }
    let (heard, full, busy) = tellers.join_all().await.into_iter().fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2));
    println!("{heard} heard, {full} found the mailbox full, {busy} were told to come again");
    assert_eq!((heard, heard + full + busy), (9, wanted), "the one in hand is in the mailbox until its turn is over");
    let shed = |reason| runtime.metrics().shed_total.with_label_values(&[reason]).get();
    assert_eq!((shed("mailbox"), shed("commands")), (full, busy), "each is counted");
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after.saturating_sub(before) < 64 << 20, "{before} B before, {after} B after");
    }
    runtime.cancel(&handle.id, "enough").await.expect("is heard among all that");
    assert_eq!(handle.done().await.expect("ends").run.state().status, Status::Cancelled);
}

#[tokio::test]
async fn agents_tell_one_of_them_far_more_than_it_holds() {
    let ticks = messages(10_000) / 1000;
    let runtime = Runtime::open(RuntimeOptions::default()).await.expect("opens");
    let scenario = compile(&CROWD.replace("TICKS", &ticks.to_string()));
    let before = resident_bytes();
    let handle = runtime.start_run(scenario.clone(), input(&scenario), StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("ends");
    let state = run.run.state();
    let heard = state.ended.as_ref().and_then(|e| e.metrics[0].value);
    // What the last tick sends would come after the end.
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let expected = (ticks - 1) as f64 * 100.0;
    assert_eq!((&state.status, heard), (&Status::Completed, Some(expected)));
    assert_eq!(state.counts.refused, ticks * 900);
    assert_eq!(runtime.metrics().shed_total.with_label_values(&["mailbox"]).get(), ticks * 900);
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        assert!(after.saturating_sub(before) < 128 << 20, "{before} B before, {after} B after");
    }
}
