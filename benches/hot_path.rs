//! What a run costs, part by part: deciding, a wave of a population, the frame codec, an append per engine and durability, and
//! whole runs of `handoff-4` on the store in memory. Run with `cargo bench -- decide` and the like; compare ratios, not seconds.

use std::hint::black_box;
use std::sync::Arc;

use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::digest::Digest;
use commedia_actors::store::engine::Durability;
use commedia_actors::store::frame::{Cause, Frame, FrameBuilder, Lane};
use commedia_actors::store::{Append, Head, Options, Store, StreamId, StreamKind};
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::{Event, ModelBinding};
use commedia_domain::rules;
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use criterion::{Criterion, criterion_group, criterion_main};

const RULES: &str = include_str!("../config/scenarios/handoff-4-rules/handoff-4-rules.scenario.yaml");
const MODELS: &str = include_str!("../config/scenarios/handoff-4/handoff-4.scenario.yaml");
/// Runs that go on at once where whole ones are measured.
const AT_ONCE: u64 = 100;
const POPULATION: &str = r#"
name: population
clock: {tick: P1D, ticks: 1}
world: {state: {cash: {type: number, default: 100}}}
agents:
  customer:
    kind: rules
    replicas: 1000
    handles: [tick]
    draws: {buys: {bernoulli: {p: 0.5}}}
    rules: [{when: draws.buys, emit: [{set: {cash: "state.cash + 3.5"}}]}]
"#;

fn scenario(text: &str) -> Arc<Scenario> {
    load("bench.scenario.yaml", text.as_bytes(), &NoFiles).map(|l| Arc::new(l.scenario)).unwrap_or_else(|f| panic!("{f:?}"))
}

/// A whole run of rules agents, without actors or a store; its events come back.
fn play(scenario: &Arc<Scenario>) -> Vec<Event> {
    let models = vec![ModelBinding::Offline; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models };
    let created = NewRun::new(scenario, &input).unwrap_or_else(|e| panic!("{e:?}")).created;
    let mut run = Run::new(scenario.clone(), created);
    let mut log = Vec::new();
    loop {
        let command = match run.decide(Command::Proceed { wall: 0 }) {
            Ok(events) => {
                events.iter().for_each(|e| run.apply(e));
                log.extend(events);
                continue;
            }
            Err(Refusal::Owed) => run.pending().into_iter().find_map(|effect| match effect {
                Effect::Serve(order) => Some(Command::Served(rules::serve(&order, &BuiltinTools, |_| {}))),
                _ => None,
            }),
            Err(_) => return log,
        };
        let events = run.decide(command.expect("rules are owed")).expect("what was owed is taken");
        events.iter().for_each(|e| run.apply(e));
        log.extend(events);
    }
}

fn machines(c: &mut Criterion) {
    let rules = scenario(RULES);
    c.bench_function("decide/handoff-4 by rules, one run", |b| b.iter(|| black_box(play(&rules))));
    let fallbacks = scenario(MODELS);
    c.bench_function("decide/handoff-4 by the rules of fallbacks, one run", |b| b.iter(|| black_box(play(&fallbacks))));
    let population = scenario(POPULATION);
    c.bench_function("wave/1000 replicas, one tick", |b| b.iter(|| black_box(play(&population))));
}

fn frame(events: &[Vec<u8>], after: &Head, epoch: u64) -> commedia_actors::store::frame::EncodedFrame {
    let cause = Cause {
        kind: "bench".into(),
        id: Default::default(),
        payload_hash: Default::default(),
        principal: "bench".into(),
        wall_ms: 0,
    };
    let mut builder = FrameBuilder::new(1, after, epoch, cause);
    for event in events {
        builder.push(Lane::Canonical, event).expect("fits");
    }
    builder.encode().expect("not empty")
}

fn codec(c: &mut Criterion) {
    let events = play(&scenario(RULES));
    let payloads: Vec<Vec<u8>> = events.iter().map(Event::encode).collect();
    c.bench_function("codec/encode the frame of a run", |b| {
        b.iter(|| black_box(frame(&events.iter().map(Event::encode).collect::<Vec<_>>(), &Head::START, 1)));
    });
    let encoded = frame(&payloads, &Head::START, 1);
    c.bench_function("codec/decode and verify the frame of a run", |b| {
        b.iter(|| {
            let frame = Frame::decode(encoded.bytes()).expect("whole");
            frame.follows(&Head::START).expect("the chain's first");
            let mut digest = Digest::new();
            let events: Vec<Event> = frame
                .records
                .iter()
                .inspect(|r| digest.update(&r.bytes))
                .map(|r| Event::decode(&r.bytes).expect("an event"))
                .collect();
            black_box((events, digest.value()))
        });
    });
}

fn append(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    let payloads: Vec<Vec<u8>> = play(&scenario(RULES)).iter().map(Event::encode).collect();
    for (name, on_disk, durability) in [
        ("memory", false, Durability::Process),
        ("sled, process", true, Durability::Process),
        ("sled, fsync", true, Durability::Fsync),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let url = if on_disk { format!("sled://{}", folder.path().display()) } else { "memory:".to_owned() };
        let store = runtime.block_on(Store::open(&url, durability, Options::default())).expect("opens");
        let stream = StreamId::new("bench", StreamKind::Run, "one").expect("a name");
        let lease = store.lease(&stream);
        let mut head = Head::START;
        c.bench_function(&format!("append/{name}, one at a time"), |b| {
            b.iter(|| {
                let append = Append {
                    stream: stream.clone(),
                    expected: head,
                    lease,
                    frame: frame(&payloads, &head, lease.epoch),
                    blobs: Vec::new(),
                    meta: None,
                    live: Default::default(),
                };
                head = runtime.block_on(store.append(append)).expect("appends");
            });
        });
        runtime.block_on(store.close()).expect("closes");
    }
}

fn whole(c: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    for (name, text, binding) in [("rules", RULES, ModelBinding::Offline), ("stub", MODELS, ModelBinding::Stub)] {
        let scenario = scenario(text);
        let models = vec![binding; scenario.models.len() + 1];
        let runtime = tokio.block_on(Runtime::open(RuntimeOptions::default())).expect("opens");
        c.bench_function(&format!("handoff-4/{name}, {AT_ONCE} runs at once in memory"), |b| {
            b.iter(|| {
                tokio.block_on(async {
                    let mut handles = Vec::new();
                    for seed in 0..AT_ONCE {
                        let input = RunInput { params: Vec::new(), seed, now: 0, models: models.clone() };
                        let started = runtime.start_run(scenario.clone(), input, StartOptions::default()).await;
                        handles.push(started.unwrap_or_else(|e| panic!("{e}")));
                    }
                    for handle in handles {
                        let ended = handle.done().await.expect("ends");
                        assert_eq!(ended.run.state().status, Status::Completed, "{name}");
                    }
                });
            });
        });
        tokio.block_on(runtime.shutdown()).expect("closes");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(500));
    targets = machines, codec, append, whole
}
criterion_main!(benches);
