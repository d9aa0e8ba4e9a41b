//! Recordings and the cache of answers: a recorded run is had again without a model, a miss never calls out, and an answer
//! that is given again says so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use async_trait::async_trait;
use commedia_actors::clock::WallClock;
use commedia_actors::live::LoadedRun;
use commedia_actors::model::cache::Cache;
use commedia_actors::model::cassette::{Cassette, Header, Recorder};
use commedia_actors::model::{Answer, Deltas, Model, ModelError, ModelErrorKind, Source};
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::engine::Durability;
use commedia_domain::event::{AnsweredBy, Event, ModelBinding, Usage};
use commedia_domain::message::Chat;
use commedia_domain::run::{ModelRequest, RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;

/// A model outside the process: thinks, hands off in its first answer where it can, then speaks. Each answer is another one.
#[derive(Default)]
struct Outside {
    calls: AtomicU32,
    fails_at: Option<u32>,
}

#[async_trait]
impl Model for Outside {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.fails_at == Some(n) {
            return Err(ModelError {
                status: Some(503),
                ..ModelError::new(ModelErrorKind::Overloaded, "the endpoint is overloaded")
            });
        }
        let handoff = request.tools.iter().find(|t| t.name.starts_with("transfer_to_")).map(|t| t.name.clone());
        let heard = request.messages.iter().filter(|m| matches!(m, Chat::Reasoning { .. })).count();
        let thought = Value::object([("thought", Value::Int(i64::from(n))), ("heard", Value::Int(heard as i64))]);
        Ok(Answer {
            text: handoff.is_none().then(|| format!("answer {n} of {}", request.agent)),
            calls: handoff.into_iter().map(|name| (format!("call_{n}"), name, Value::object::<&str>([]))).collect(),
            usage: Usage { model_calls: 1, tokens_in: 10, tokens_out: 5, cost_usd: 0.25 },
            by: AnsweredBy::Model,
            source: Some(Source {
                model: "openai:gpt".into(),
                finish: "stop".into(),
                cached_tokens: 3,
                reasoning: Some(thought),
                age_ms: None,
                instead: None,
            }),
        })
    }
}

const CHAIN: &str = "
name: chain
models: {m: {use: auto, temperature: 0, cache: 10m}, warm: {use: auto, temperature: 1}}
agents:
  first: {kind: llm, model: m, instructions: Pass on., handoffs: [{to: second}]}
  second: {kind: llm, model: MODEL, instructions: \"WORDS\"}
";

fn compile(model: &str, words: &str) -> Arc<Scenario> {
    let text = CHAIN.replace("MODEL", model).replace("WORDS", words);
    match load("chain.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{faults:?}"),
    }
}

fn bindings(scenario: &Scenario) -> Vec<ModelBinding> {
    vec![ModelBinding::Provider { provider: "openai".into(), model: "gpt".into() }; scenario.models.len() + 1]
}

fn header(scenario: &Scenario) -> Header {
    Header::new(&scenario.name, "00", scenario.models.iter().map(|m| &*m.name), &bindings(scenario))
}

async fn play(scenario: &Arc<Scenario>, model: Arc<dyn Model>, seed: u64) -> (LoadedRun, Vec<Event>) {
    let options = RuntimeOptions { durability: Durability::Process, model: Some(model), ..RuntimeOptions::default() };
    let runtime = Runtime::open(options).await.expect("opens");
    let input = RunInput { params: Vec::new(), seed, now: 0, models: bindings(scenario) };
    let handle = runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("ends");
    assert!(runtime.verify(&run.id).await.expect("verified").difference.is_none());
    let events = runtime.events(&run.id, 1).await.expect("events").iter().map(|e| Event::clone(&e.event)).collect();
    (run, events)
}

async fn record(dir: &Path, scenario: &Arc<Scenario>, outside: Outside) -> (LoadedRun, Vec<Event>) {
    let recorder = Arc::new(Recorder::create(dir, &header(scenario), Arc::new(outside)).expect("begins"));
    let played = play(scenario, recorder.clone(), 1).await;
    assert_eq!(recorder.lost(), None);
    played
}

#[tokio::test]
async fn a_recorded_run_is_had_again_without_a_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let scenario = compile("m", "Speak.");
    let (recorded, events) = record(dir.path(), &scenario, Outside::default()).await;
    assert_eq!(recorded.run.state().status, Status::Completed);
    let cassette = Arc::new(Cassette::open(dir.path()).expect("opens"));
    assert_eq!(cassette.header().binding("m"), Some(bindings(&scenario)[0].clone()));
    assert_eq!(cassette.header().binding("other"), None);
    let (again, played) = play(&scenario, cassette.clone(), 1).await;
    assert_eq!(again.digest, recorded.digest);
    assert_eq!(played, events);
    assert_eq!(cassette.misses(), None);
    // Another seed asks the same: the content decides.
    assert_eq!(play(&scenario, cassette.clone(), 2).await.0.run.state().status, Status::Completed);
    assert_eq!(cassette.misses(), None);
}

#[tokio::test]
async fn a_recorded_failure_fails_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let scenario = compile("m", "Speak.");
    let (recorded, events) = record(dir.path(), &scenario, Outside { fails_at: Some(1), ..Outside::default() }).await;
    assert!(matches!(recorded.run.state().status, Status::Failed), "{:?}", recorded.run.state().status);
    let (again, played) = play(&scenario, Arc::new(Cassette::open(dir.path()).expect("opens")), 1).await;
    assert_eq!(again.digest, recorded.digest);
    assert_eq!(played, events);
}

#[tokio::test]
async fn a_miss_is_loud_and_names_what_differs() {
    let dir = tempfile::tempdir().expect("a folder");
    record(dir.path(), &compile("m", "Speak."), Outside::default()).await;
    let cassette = Arc::new(Cassette::open(dir.path()).expect("opens"));
    let (run, _) = play(&compile("m", "Speak up."), cassette.clone(), 1).await;
    assert!(matches!(run.run.state().status, Status::Failed));
    let (misses, first) = cassette.misses().expect("a miss");
    assert_eq!(misses, 1);
    for words in ["has no answer", "`second`", "`instructions`", "--record"] {
        assert!(first.contains(words), "{first}");
    }
}

#[test]
fn what_is_no_recording_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |words: &[&str]| {
        let e = Cassette::open(dir.path()).err().expect("refused").to_string();
        for word in words {
            assert!(e.contains(word), "{e}");
        }
    };
    refused(&["is no recording", "cassette.json"]);
    let write = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).expect("written");
    write("cassette.json", "{}");
    refused(&["cassette.json", "schema"]);
    write("cassette.json", r#"{"schema": "commedia.cassette/v9", "scenario": "a", "scenario_hash": "", "models": {}}"#);
    refused(&["commedia.cassette/v9"]);
    write("cassette.json", r#"{"schema": "commedia.cassette/v1", "scenario": "a", "scenario_hash": "", "models": {}}"#);
    write("a.jsonl", "rubbish\n");
    refused(&["a.jsonl:1", "not a recorded answer"]);
    let line = r#"{"key": "00", "seed": 1, "replica": 0, "step": "1.0.0", "request": {}}"#;
    write("a.jsonl", &format!("{line}\n"));
    refused(&["a.jsonl:1", "edited"]);
    // A last line that was cut off is left out, and told.
    write("a.jsonl", line);
    assert_eq!(Cassette::open(dir.path()).expect("opens").cut().len(), 1);
    let there = Recorder::create(dir.path(), &header(&compile("m", "")), Arc::new(Outside::default())).err().expect("refused");
    assert!(there.to_string().contains("holds a recording already"), "{there}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_again_says_so_and_costs_nothing() {
    static AT: AtomicI64 = AtomicI64::new(0);
    let outside = Arc::new(Outside::default());
    let cache: Arc<dyn Model> = Arc::new(Cache::new(outside.clone(), WallClock::staged(&AT)));
    let cached = compile("m", "Speak.");
    let (_, fresh) = play(&cached, cache.clone(), 1).await;
    AT.fetch_add(60_000, Ordering::Relaxed);
    let (_, events) = play(&cached, cache.clone(), 1).await;
    assert_eq!(outside.calls.load(Ordering::Relaxed), 2);
    let result = |events: &[Event]| match events.last() {
        Some(Event::RunCompleted(ended)) => ended.result.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(result(&events), result(&fresh));
    let replies: Vec<_> = (events.iter())
        .filter_map(|event| match event {
            Event::StepRecorded(recorded) => recorded.outcome.answer().map(|a| (a.by, *a.usage, recorded.outcome.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(replies.len(), 2);
    for (by, usage, outcome) in replies {
        assert_eq!((by, usage), (AnsweredBy::Cache, Usage::default()));
        let commedia_domain::event::StepOutcome::Replied(reply) = outcome else { panic!("not a reply") };
        assert!(reply.age_ms >= Some(60_000), "{:?}", reply.age_ms);
    }
    assert!(events.iter().any(|e| matches!(e, Event::TurnCompleted(done) if done.by == AnsweredBy::Cache)));
    // Past its time it is asked for again; at another temperature it is never kept.
    AT.fetch_add(600_000, Ordering::Relaxed);
    play(&cached, cache.clone(), 1).await;
    assert_eq!(outside.calls.load(Ordering::Relaxed), 4);
    let warm = compile("warm", "Speak.");
    play(&warm, cache.clone(), 1).await;
    play(&warm, cache.clone(), 1).await;
    assert_eq!(outside.calls.load(Ordering::Relaxed), 6);
}
