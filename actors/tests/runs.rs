//! Runs from end to end on the memory store: what comes out, that it is the same again, and that it replays.

use std::sync::Arc;

use commedia_actors::live::LoadedRun;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::id::CollectionIx;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;

fn scenario(text: &str) -> Arc<Scenario> {
    match load("test.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

async fn play(runtime: &Runtime, scenario: &Arc<Scenario>, seed: u64, model: ModelBinding, follow: bool) -> LoadedRun {
    let models = vec![model; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed, now: 0, models };
    let handle =
        runtime.start_run(scenario.clone(), input, StartOptions { follow, ..StartOptions::default() }).await.expect("starts");
    handle.done().await.expect("ends")
}

async fn memory() -> Runtime {
    Runtime::open(RuntimeOptions::default()).await.expect("a memory store opens")
}

const COIN_SHOP: &str = r#"
name: coin-shop
clock: {tick: P1D, ticks: 30}
world: {state: {cash: {type: number, default: 100}}}
agents:
  customer:
    kind: rules
    replicas: 50
    handles: [tick]
    draws: {buys: {bernoulli: {p: 0.1}}}
    rules: [{when: draws.buys, emit: [{set: {cash: "state.cash + 3.5"}}]}]
metrics: {cash: {value: state.cash}}
"#;

/// More than go up to their first append at once, and each for longer than it may before it gives way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_hundred_at_once_each_ends_as_if_alone() {
    let runtime = memory().await;
    let scenario = scenario(COIN_SHOP);
    let alone = play(&runtime, &scenario, 1, ModelBinding::Offline, false).await;
    let mut working = tokio::task::JoinSet::new();
    for n in 0..300 {
        let (runtime, scenario) = (runtime.clone(), scenario.clone());
        working.spawn(async move { play(&runtime, &scenario, 1, ModelBinding::Offline, n % 10 == 0).await });
    }
    let mut ended = 0;
    while let Some(run) = working.join_next().await {
        assert_eq!(run.expect("ends").digest, alone.digest);
        ended += 1;
    }
    assert_eq!((ended, runtime.live()), (300, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coin_shop_earns_what_its_customers_pay() {
    let runtime = memory().await;
    let scenario = scenario(COIN_SHOP);
    let first = play(&runtime, &scenario, 1, ModelBinding::Offline, false).await;
    let state = first.run.state();
    assert_eq!(state.status, Status::Completed, "{:?}", state.ended);
    assert_eq!(state.counts.rules_turns, 30 * 50);
    let cash = state.ended.as_ref().and_then(|e| e.metrics[0].value).expect("a metric");
    assert!((300.0..1000.0).contains(&cash), "{cash}: 1,500 chances of 0.1 at 3.5 beside the 100");
    let again = play(&runtime, &scenario, 1, ModelBinding::Offline, true).await;
    assert_eq!(first.digest, again.digest, "the same seed, followed or not");
    let other = play(&runtime, &scenario, 2, ModelBinding::Offline, false).await;
    assert_ne!(first.digest, other.digest);
    for run in [first, again, other] {
        let verified = runtime.verify(&run.id).await.expect("reads");
        assert_eq!((verified.difference, verified.digest), (None, run.digest));
        assert_eq!(runtime.load(&run.id).await.expect("folds").digest, run.digest);
    }
}

const TROUPE: &str = r#"
name: troupe
models: {m: {use: stub}}
world:
  collections:
    notes:
      key: id
      schema: {type: object, required: [id, text], properties: {id: {type: string}, text: {type: string}}}
agents:
  planner:
    kind: llm
    model: m
    instructions: Plan.
    delegates: [oracle]
    handoffs: [writer]
  oracle:
    kind: llm
    model: m
    instructions: Answer.
    output: {type: object, required: [answer], properties: {answer: {type: integer, minimum: 1, maximum: 9}}}
  writer:
    kind: llm
    model: m
    instructions: Write.
    tools: [put_notes, query_notes]
    output: {type: object, required: [words], properties: {words: {type: integer, minimum: 1}}}
start: {agent: planner, message: Begin.}
result: writer
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stub_asks_calls_and_hands_off() {
    let runtime = memory().await;
    let scenario = scenario(TROUPE);
    let run = play(&runtime, &scenario, 7, ModelBinding::Stub, false).await;
    let state = run.run.state();
    assert_eq!(state.status, Status::Completed, "{:?}", state.ended);
    assert_eq!((state.counts.turns, state.counts.handoffs), (3, 1), "planner, oracle, writer");
    assert_eq!(state.world.collection(CollectionIx(0)).len(), 1);
    let result = state.ended.as_ref().expect("ended").result.value().clone();
    assert!(matches!(result.get("words"), Some(Value::Int(n)) if *n >= 1), "{result:?}");
    let verified = runtime.verify(&run.id).await.expect("reads");
    assert_eq!((verified.difference, verified.digest, verified.model_calls), (None, run.digest, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_never_reads_delays_nobody() {
    let runtime = memory().await;
    // More events than a follower's queue holds: each customer's turn is its own when replicas do not act at once.
    let text = COIN_SHOP.replace("P1D, ticks: 30", "P1D, ticks: 9000").replace("replicas: 50", "replicas: 1");
    let scenario = scenario(&text);
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![ModelBinding::Offline] };
    let mut handle =
        runtime.start_run(scenario, input, StartOptions { follow: true, ..StartOptions::default() }).await.expect("starts");
    let mut follower = handle.events.take().expect("followed");
    let id = handle.id.clone();
    let run = handle.done().await.expect("ends");
    assert_eq!(run.run.state().status, Status::Completed);
    let mut seen = 0;
    while let Some(event) = follower.next().await {
        seen += 1;
        assert_eq!(event.seq, seen, "what it got has no gap");
    }
    assert!(seen < run.head.seq, "it was let go before the end");
    let rest = runtime.events(&id, seen + 1).await.expect("reads");
    assert_eq!(seen + rest.len() as u64, run.head.seq, "the rest is in the store");
}
