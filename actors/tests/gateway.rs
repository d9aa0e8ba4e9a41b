//! The gateway over scripted providers, in paused time: who is asked, how often and when, and what becomes of an endpoint that
//! is down.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use commedia_actors::log::StoredEvent;
use commedia_actors::metrics::Metrics;
use commedia_actors::model::gateway::{BreakerLimits, Directory, EndpointLimits, Found, Gateway, Place};
use commedia_actors::model::{Answer, Deltas, Model, ModelError, ModelErrorKind, Provider, Source};
use commedia_actors::prices::Prices;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_domain::event::{AnsweredBy, Event, ModelBinding, StepOutcome, Usage};
use commedia_domain::message::{StepId, TurnId};
use commedia_domain::run::{ModelRequest, RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use tokio::time::{Instant, sleep};

/// What a provider does with a request.
#[derive(Clone, Copy)]
enum Do {
    Answer,
    /// So many ms later.
    Late(u64),
    Fail(ModelErrorKind),
    /// With `Retry-After`, in seconds.
    Wait(u64),
    Hang,
}
use Do::{Answer as Ok_, Fail, Hang, Late, Wait};
use ModelErrorKind::*;

/// Does one thing after the other, and the last one for ever.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Do>>,
    asked: Mutex<Vec<(Instant, String)>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    is_down: AtomicBool,
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    fn new(script: &[Do]) -> Arc<Scripted> {
        Arc::new(Scripted { script: Mutex::new(script.iter().copied().collect()), ..Scripted::default() })
    }

    fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn next(&self) -> Do {
        let mut script = self.script.lock().unwrap();
        match (script.len(), self.is_down.load(Ordering::SeqCst)) {
            (_, true) => Fail(Transport),
            (0, false) => Ok_,
            (1, false) => script[0],
            (_, false) => script.pop_front().expect("two at least"),
        }
    }
}

#[async_trait]
impl Provider for Scripted {
    async fn attempt(&self, model: &str, _request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        self.asked.lock().unwrap().push((Instant::now(), model.to_owned()));
        self.most.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leave = Leave(&self.under_way);
        if let Some(deltas) = deltas {
            deltas.tell("hel");
        }
        match self.next() {
            Ok_ => {}
            Late(ms) => sleep(Duration::from_millis(ms)).await,
            Fail(kind) => return Err(ModelError::new(kind, format!("it is {}", kind.word()))),
            Wait(seconds) => {
                let asked = Some(Duration::from_secs(seconds));
                return Err(ModelError { retry_after: asked, ..ModelError::new(RateLimited, "too many") });
            }
            Hang => std::future::pending().await,
        }
        let usage = Usage { model_calls: 1, tokens_in: 1000, tokens_out: 100, cost_usd: 0.0 };
        let source = Some(Source { cached_tokens: 400, ..Source::default() });
        Ok(Answer { text: Some(format!("from {model}")), calls: Vec::new(), usage, by: AnsweredBy::Model, source })
    }
}

/// Providers by name; each is one endpoint.
struct Places(Vec<(&'static str, Arc<Scripted>)>, EndpointLimits);

impl Directory for Places {
    fn find(&self, place: &Place) -> Result<Found, ModelError> {
        let found = self.0.iter().find(|(name, _)| *name == &*place.provider);
        let (name, provider) = found.ok_or_else(|| ModelError::refused(format!("there is no `{}`", place.provider)))?;
        Ok(Found { provider: provider.clone(), endpoint: (*name).into(), limits: self.1 })
    }
}

const LIMITS: EndpointLimits = EndpointLimits {
    concurrency: 1024,
    queue: 10_000,
    requests_per_minute: None,
    tokens_per_minute: None,
    attempts: 4,
    backoff: Duration::from_millis(500),
    max_backoff: Duration::from_secs(8),
    breaker: BreakerLimits { failures: 5, window: Duration::from_secs(30), pause: Duration::from_secs(5) },
};

fn gateway(limits: EndpointLimits, places: &[(&'static str, Arc<Scripted>)]) -> (Arc<Gateway>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let prices = Arc::new(Prices::new([("openai:other".to_owned(), (4.0, 20.0))]));
    (Arc::new(Gateway::new(Arc::new(Places(places.to_vec(), limits)), prices, metrics.clone())), metrics)
}

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = load("x.scenario.yaml", text.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{text}\n{}", faults[0])).scenario)
}

/// A request to `openai:big` of an agent whose alias says `more`.
fn request(more: &str, has_fallback: bool) -> ModelRequest {
    let text = format!(
        "name: s\nmodels:\n  m: {{use: 'openai:big'{more}}}\n  b: {{use: 'ollama:small', price: {{input: 1, output: 1}}}}\n\
        agents: {{a: {{kind: llm, model: m, instructions: hi}}}}\n"
    );
    ModelRequest {
        step: StepId { turn: TurnId { wave: 1, index: 0 }, n: 0 },
        agent: "a".into(),
        replica: 0,
        binding: ModelBinding::Provider { provider: "openai".into(), model: "big".into() },
        alias: Some(scenario(&text).models[0].clone()),
        seed: 1,
        instructions: "hi".into(),
        messages: Vec::new(),
        tools: Vec::new(),
        output: None,
        temperature: None,
        max_output_tokens: None,
        script: Vec::new(),
        asked: 0,
        visited: Vec::new(),
        timeout_ms: 60_000,
        has_fallback,
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_pass_is_tried_again_and_only_in_time() {
    // What the provider does, how often it is asked, the error's kind and words, and the most and least seconds it takes.
    type Row<'r> = (&'r [Do], usize, Option<(ModelErrorKind, &'r str)>, (u64, u64));
    let rows: [Row<'_>; 14] = [
        (&[Ok_], 1, None, (0, 0)),
        (&[Fail(Transport), Ok_], 2, None, (0, 1)),
        (&[Fail(Malformed), Fail(Overloaded), Fail(Timeout), Ok_], 4, None, (0, 4)),
        (&[Fail(Transport)], 4, Some((Transport, "(4 attempts)")), (0, 4)),
        (&[Fail(Refused)], 1, Some((Refused, "it is refused")), (0, 0)),
        (&[Fail(Unauthorized)], 1, Some((Unauthorized, "it is unauthorized")), (0, 0)),
        (&[Fail(Quota)], 1, Some((Quota, "it is quota")), (0, 0)),
        (&[Fail(Transport), Fail(Unauthorized)], 2, Some((Unauthorized, "(2 attempts)")), (0, 1)),
        (&[Wait(20), Ok_], 2, None, (20, 20)),
        (&[Wait(25), Wait(25), Ok_], 3, None, (50, 50)),
        (&[Wait(61)], 1, Some((RateLimited, "asks to wait 61.0 s, and the step's deadline is in 60.0 s")), (0, 0)),
        (&[Wait(40), Wait(40)], 2, Some((RateLimited, "asks to wait 40.0 s, and the step's deadline is in 20.0 s")), (40, 40)),
        (&[Late(7000)], 1, None, (7, 7)),
        (&[Hang], 1, Some((Timeout, "did not answer within 60.0 s")), (60, 60)),
    ];
    for (n, (script, times, error, (least, most))) in rows.into_iter().enumerate() {
        let provider = Scripted::new(script);
        let (gateway, metrics) = gateway(LIMITS, &[("openai", provider.clone())]);
        let began = Instant::now();
        let answered = gateway.answer(&request("", false), None).await;
        let took = began.elapsed().as_secs_f64().floor();
        assert_eq!(provider.times(), times, "row {n}: {answered:?}");
        assert!((least as f64..=most as f64).contains(&took), "row {n}: {took} s");
        let counted = |outcome: &str| metrics.model_requests_total.with_label_values(&["openai:big", outcome]).get();
        match (answered, error) {
            (Ok(answer), None) => {
                assert_eq!((answer.text.as_deref(), counted("ok")), (Some("from big"), 1), "row {n}");
                let source = answer.source.expect("a source");
                assert_eq!((&*source.model, source.instead), ("openai:big", None), "row {n}");
            }
            (Err(e), Some((kind, words))) => {
                assert_eq!((e.kind, e.to_string().contains(words)), (kind, true), "row {n}: {e}");
                assert!(counted(kind.word()) > 0, "row {n}");
            }
            (other, _) => panic!("row {n}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_target_answers_and_says_why() {
    let next = ", fallback: ['ollama:small', stub]";
    // What each does; who answers, what is said of those before, seconds.
    let rows: [(&str, Do, Do, &str, &str, u64); 7] = [
        (next, Ok_, Ok_, "openai:big", "", 0),
        (next, Fail(Unauthorized), Ok_, "ollama:small", "it is unauthorized", 0),
        (next, Fail(Refused), Fail(Refused), "stub", "it is refused; then it is refused", 0),
        (next, Wait(40), Ok_, "ollama:small", "it asks to wait 40.0 s, and the step's deadline is in 30.0 s", 0),
        (next, Hang, Ok_, "ollama:small", "openai did not answer within 30.0 s", 30),
        (next, Hang, Hang, "stub", "then ollama did not answer within 15.0 s", 45),
        (", fallback: [b]", Fail(Quota), Ok_, "ollama:small", "it is quota", 0),
    ];
    for (n, (more, first, second, who, why, seconds)) in rows.into_iter().enumerate() {
        let places = [("openai", Scripted::new(&[first])), ("ollama", Scripted::new(&[second]))];
        let (gateway, _) = gateway(LIMITS, &places);
        let began = Instant::now();
        let answer = gateway.answer(&request(more, false), None).await.unwrap_or_else(|e| panic!("row {n}: {e}"));
        let source = answer.source.expect("a source");
        assert_eq!((&*source.model, began.elapsed().as_secs()), (who, seconds), "row {n}");
        assert_eq!(answer.by, if who == "stub" { AnsweredBy::Stub } else { AnsweredBy::Model }, "row {n}");
        let said = source.instead.unwrap_or_default();
        assert!(if why.is_empty() { said.is_empty() } else { said.contains(why) }, "row {n}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_costs_what_its_alias_says() {
    let rows = [
        ("", 0.0),
        (", price: {input: 2, output: 10}", 0.003),
        (", price: {input: 2, output: 10, cached_input: 0.5}", 0.0024),
        (", price: {input: 2, output: 10}, fallback: [stub]", 0.003),
    ];
    for (more, expect) in rows {
        let (gateway, metrics) = gateway(LIMITS, &[("openai", Scripted::new(&[Ok_]))]);
        let answer = gateway.answer(&request(more, false), None).await.expect("answers");
        assert!((answer.usage.cost_usd - expect).abs() < 1e-12, "{more}: {}", answer.usage.cost_usd);
        assert!((metrics.model_cost_usd_total.get() - expect).abs() < 1e-12, "{more}");
        assert_eq!(metrics.model_tokens_total.with_label_values(&["openai:big", "in"]).get(), 1000);
    }
    // Another model than the alias': its price, address and fallback are not this one's; the table knows its price.
    let down = Scripted::new(&[Fail(Refused)]);
    let (gateway, _) = gateway(LIMITS, &[("openai", Scripted::new(&[Ok_])), ("ollama", down)]);
    let mut other = request(", price: {input: 2, output: 10}, fallback: [stub]", false);
    other.binding = ModelBinding::Provider { provider: "openai".into(), model: "other".into() };
    assert_eq!(gateway.answer(&other, None).await.expect("answers").usage.cost_usd, 0.006);
    other.binding = ModelBinding::Provider { provider: "ollama".into(), model: "other".into() };
    assert!(gateway.answer(&other, None).await.is_err(), "the alias' fallback is not another model's");
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_the_line_is_bounded() {
    let many = |gateway: &Arc<Gateway>, n: usize, timeout_ms: u64| {
        let asked: Vec<_> = (0..n)
            .map(|_| {
                let (gateway, request) = (gateway.clone(), ModelRequest { timeout_ms, ..request("", true) });
                tokio::spawn(async move { gateway.answer(&request, None).await })
            })
            .collect();
        async move {
            let (mut well, mut errors) = (0, Vec::new());
            for one in asked {
                match one.await.expect("no panic") {
                    Ok(_) => well += 1,
                    Err(e) => errors.push(e.to_string()),
                }
            }
            (well, errors)
        }
    };
    // The limits, requests, their time-out; how many are answered, words of the others, seconds, the most at once.
    type Row = (EndpointLimits, usize, u64, usize, &'static str, u64, usize);
    let one = EndpointLimits { attempts: 1, ..LIMITS };
    let rows: [Row; 6] = [
        (EndpointLimits { concurrency: 3, ..one }, 30, 60_000, 30, "", 10, 3),
        (EndpointLimits { concurrency: 3, ..one }, 30, 4_990, 12, "openai ", 4, 3),
        (EndpointLimits { concurrency: 3, queue: 7, ..one }, 30, 60_000, 10, "7 requests wait for openai already", 4, 3),
        (EndpointLimits { requests_per_minute: Some(60), ..one }, 10, 60_000, 10, "", 10, 2),
        (EndpointLimits { requests_per_minute: Some(60), ..one }, 10, 4_500, 4, "openai ", 4, 2),
        (EndpointLimits { tokens_per_minute: Some(66_000), ..one }, 5, 60_000, 5, "", 1, 5),
    ];
    for (n, (limits, requests, timeout_ms, well, words, seconds, most)) in rows.into_iter().enumerate() {
        let provider = Scripted::new(&[Late(1000)]);
        let (gateway, _) = gateway(limits, &[("openai", provider.clone())]);
        let began = Instant::now();
        let (answered, errors) = many(&gateway, requests, timeout_ms).await;
        assert_eq!((answered, provider.most.load(Ordering::SeqCst)), (well, most), "row {n}: {errors:?}");
        assert!(errors.iter().all(|e| e.contains(words)), "row {n}: {errors:?}");
        assert_eq!(began.elapsed().as_secs(), seconds, "row {n}");
        assert_eq!(provider.under_way.load(Ordering::SeqCst), 0, "row {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_leaves_nothing_behind() {
    let provider = Scripted::new(&[Hang]);
    let limits = EndpointLimits { concurrency: 1, queue: 1, ..LIMITS };
    let (gateway, _) = gateway(limits, &[("openai", provider.clone())]);
    for n in 0..50 {
        let ask = || {
            let gateway = gateway.clone();
            tokio::spawn(async move { gateway.answer(&request("", false), None).await })
        };
        let (first, second) = (ask(), ask());
        tokio::task::yield_now().await;
        assert_eq!(provider.under_way.load(Ordering::SeqCst), 1, "round {n}");
        for asked in [first, second] {
            asked.abort();
            assert!(asked.await.is_err_and(|e| e.is_cancelled()));
        }
        assert_eq!(provider.under_way.load(Ordering::SeqCst), 0, "round {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_left_alone_and_tried_by_one() {
    let provider = Scripted::new(&[Ok_]);
    let limits = EndpointLimits { attempts: 1, ..LIMITS };
    let (gateway, _) = gateway(limits, &[("openai", provider.clone())]);
    let ask = || async { gateway.answer(&request("", true), None).await.map(|_| ()).map_err(|e| e.kind) };
    provider.is_down.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(ask().await, Err(Transport));
    }
    assert_eq!(gateway.left_alone(), ["openai".into()]);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(ask().await, Err(Open));
    }
    assert_eq!((provider.times(), began.elapsed().as_millis()), (5, 0), "nobody waits for it, and nobody reaches it");
    sleep(Duration::from_secs(5)).await;
    assert_eq!((ask().await, ask().await, provider.times()), (Err(Transport), Err(Open), 6), "one probe");
    provider.is_down.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(5)).await;
    assert_eq!((ask().await, ask().await, provider.times()), (Ok(()), Ok(()), 8));
    assert!(gateway.left_alone().is_empty());
    // Whoever has nobody to answer instead waits for it, within its attempts.
    provider.is_down.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(ask().await, Err(Transport));
    }
    provider.is_down.store(false, Ordering::SeqCst);
    let patient = EndpointLimits { attempts: 2, ..LIMITS };
    let (other, _) = self::gateway(patient, &[("openai", provider.clone())]);
    provider.is_down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(other.answer(&request("", true), None).await.is_err());
    }
    provider.is_down.store(false, Ordering::SeqCst);
    let began = Instant::now();
    assert!(other.answer(&request("", false), None).await.is_ok());
    assert!((4..=5).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn pieces_of_an_attempt_that_failed_are_told_to_be_over() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = told.clone();
    let deltas = Deltas::new(move |piece| listener.lock().unwrap().push(piece.to_owned()));
    let (gateway, _) = gateway(LIMITS, &[("openai", Scripted::new(&[Fail(Malformed), Ok_]))]);
    assert!(gateway.answer(&request("", false), Some(&deltas)).await.is_ok());
    assert_eq!(*told.lock().unwrap(), ["hel", "", "hel"]);
}

/// A day's question, for two months; somebody answers where the model does not.
const DIARY: &str = "
name: diary
clock: {tick: P1D, ticks: 60}
models: {m: {use: 'openai:big', fallback: [FURTHER]}}
agents:
  writer:
    kind: llm
    model: m
    instructions: \"Write, day {{ tick }}.\"
    handles: [tick]
    limits: {timeout: 20s}
    fallback: {rules: [{otherwise: true, emit: [{finish: \"'by rules'\"}]}]}
";

/// Who answered each step of a model outside.
fn models(events: &[StoredEvent]) -> Vec<String> {
    let model = |event: &StoredEvent| match &*event.event {
        Event::StepRecorded(recorded) => match &recorded.outcome {
            StepOutcome::Replied(reply) => Some(reply.model.to_string()),
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(model).collect()
}

/// A provider that takes two seconds an answer is down from second 20 to second 80, in the middle of a hundred runs: all
/// finish, by whoever answers instead; those turns are degraded, and the later ones are the model's again.
#[tokio::test(start_paused = true)]
async fn a_minute_without_the_endpoint_ends_no_run() {
    for (further, by) in [("'ollama:small'", AnsweredBy::Model), ("stub", AnsweredBy::Stub), ("", AnsweredBy::Rules)] {
        let places = [("openai", Scripted::new(&[Late(2000)])), ("ollama", Scripted::new(&[Late(2000)]))];
        let (gateway, metrics) = gateway(LIMITS, &places);
        let options = RuntimeOptions { model: Some(gateway), metrics: metrics.clone(), ..RuntimeOptions::default() };
        let runtime = Runtime::open(options).await.expect("opens");
        let scenario = scenario(&DIARY.replace("FURTHER", further));
        let openai = places[0].1.clone();
        let switch = tokio::spawn(async move {
            sleep(Duration::from_secs(20)).await;
            openai.is_down.store(true, Ordering::SeqCst);
            sleep(Duration::from_secs(60)).await;
            openai.is_down.store(false, Ordering::SeqCst);
        });
        let binding = ModelBinding::Provider { provider: "openai".into(), model: "big".into() };
        let mut runs = Vec::new();
        for seed in 0..100 {
            let input = RunInput { params: Vec::new(), seed, now: 0, models: vec![binding.clone(); 2] };
            runs.push(runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts"));
        }
        for run in runs {
            let loaded = run.done().await.expect("ends");
            let state = loaded.run.state();
            assert_eq!(state.status, Status::Completed, "{further}: {:?}", state.ended);
            assert!((1..61).contains(&state.counts.degraded), "{further}: {} turns are degraded", state.counts.degraded);
            let events = runtime.events(&loaded.id, 1).await.expect("events");
            let turns: Vec<AnsweredBy> = events
                .iter()
                .filter_map(|e| match &*e.event {
                    Event::TurnCompleted(done) => Some(done.by),
                    _ => None,
                })
                .collect();
            // Who answers without taking time is done with the months before the endpoint is back.
            let last = if by == AnsweredBy::Model { AnsweredBy::Model } else { by };
            assert_eq!((turns.len(), turns[0], turns[60]), (61, AnsweredBy::Model, last), "{further}: {turns:?}");
            let big = models(&events).iter().rposition(|m| m == "openai:big");
            assert_eq!(big == Some(60), by == AnsweredBy::Model, "{further}: back on the model, where there was time for it");
            if by != AnsweredBy::Model {
                assert_eq!(turns.iter().filter(|b| **b == by).count() as u64, state.counts.degraded, "{further}: {turns:?}");
            }
            let reasons: Vec<String> = events
                .iter()
                .filter_map(|e| match &*e.event {
                    Event::TurnDegraded { reason, .. } => Some(reason.to_string()),
                    _ => None,
                })
                .collect();
            assert_eq!(reasons.len() as u64, state.counts.degraded, "{further}");
            assert!(reasons.iter().all(|r| r.contains("it is transport") || r.contains("left alone")), "{further}: {reasons:?}");
        }
        switch.await.expect("switched");
        sleep(LIMITS.breaker.pause).await;
        let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![binding; 2] };
        let run = runtime.start_run(scenario, input, StartOptions::default()).await.expect("starts");
        assert_eq!(run.done().await.expect("ends").run.state().counts.degraded, 0, "{further}: the model answers again");
        let asked = places[0].1.times();
        let down = metrics.model_requests_total.with_label_values(&["openai:big", "transport"]).get();
        assert!(down < 200, "{further}: the endpoint was bothered {down} times while it was down, of {asked}");
        runtime.shutdown().await.expect("closes");
    }
}
