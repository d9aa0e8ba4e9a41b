//! A model that says what it is told to, and counts; runs with it, and their replays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use commedia_actors::live::LoadedRun;
use commedia_actors::log::StoredEvent;
use commedia_actors::model::{Answer, Deltas, Model, ModelError, Source};
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::engine::Durability;
use commedia_domain::event::{AnsweredBy, ModelBinding, Usage};
use commedia_domain::run::{ModelRequest, RunInput};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;

/// What the model says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Words(&'static str),
    /// A call, with its input as JSON.
    Calls(&'static str, &'static str),
    /// Words, and a call with nothing in it.
    Both(&'static str, &'static str),
    Fails,
    Hang,
}

/// By who is asked (an agent's name, `judge`, `summary`) what is said, one after the other, then always `done`; a judge that has
/// no more to say finds that all is well. Each answer takes 10 tokens in and 90 out.
#[derive(Default)]
pub(crate) struct Scripted {
    script: Mutex<BTreeMap<String, VecDeque<Says>>>,
    /// Who was asked, and what.
    requests: Mutex<Vec<(String, ModelRequest)>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
    late: Duration,
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    pub(crate) fn new(script: &[(&str, Vec<Says>)]) -> Arc<Scripted> {
        let script = script.iter().map(|(who, says)| ((*who).to_owned(), says.iter().copied().collect())).collect();
        Arc::new(Scripted { script: Mutex::new(script), ..Scripted::default() })
    }

    /// Each answer comes so much later.
    pub(crate) fn late(late: Duration) -> Arc<Scripted> {
        Arc::new(Scripted { late, ..Scripted::default() })
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.requests().len()
    }

    /// Who was asked what, in order.
    pub(crate) fn requests(&self) -> Vec<(String, ModelRequest)> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who was asked, in order.
    pub(crate) fn who(&self) -> Vec<String> {
        self.requests().into_iter().map(|(who, _)| who).collect()
    }

    /// The most that were asked at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Model for Scripted {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let who = match &request.instructions {
            words if words.starts_with("You are a judge") => "judge".to_owned(),
            words if words.starts_with("Summarise") => "summary".to_owned(),
            _ => request.agent.to_string(),
        };
        let n = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.push((who.clone(), request.clone()));
            requests.len()
        };
        self.most.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leave = Leave(&self.under_way);
        let says = self.script.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&who).and_then(VecDeque::pop_front);
        if !self.late.is_zero() {
            tokio::time::sleep(self.late).await;
        }
        let (text, calls) = match says {
            Some(Says::Words(words)) => (Some(words.to_owned()), Vec::new()),
            Some(Says::Calls(tool, with)) => {
                let with = Value::from_json_text(with).expect("JSON");
                (None, vec![(format!("call-{n}"), tool.to_owned(), with)])
            }
            Some(Says::Both(words, tool)) => {
                (Some(words.to_owned()), vec![(format!("call-{n}"), tool.to_owned(), Value::object::<&str>([]))])
            }
            Some(Says::Fails) => return Err(ModelError::refused("it is down")),
            Some(Says::Hang) => std::future::pending().await,
            None if who == "judge" => (Some("{\"ok\": true, \"reason\": \"\"}".to_owned()), Vec::new()),
            None => (Some("done".to_owned()), Vec::new()),
        };
        let usage = Usage { model_calls: 1, tokens_in: 10, tokens_out: 90, cost_usd: 0.0 };
        let thought = Value::object([("thought", Value::Int(i64::try_from(n).unwrap_or(0)))]);
        let source = Source { model: "openai:gpt".into(), reasoning: Some(thought), ..Source::default() };
        Ok(Answer { text, calls, usage, by: AnsweredBy::Model, source: Some(source) })
    }
}

pub(crate) fn compile(text: &str) -> Arc<Scenario> {
    match load("s.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{text}\n{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

pub(crate) fn options(model: &Arc<Scripted>) -> RuntimeOptions {
    RuntimeOptions { durability: Durability::Process, model: Some(model.clone()), ..RuntimeOptions::default() }
}

/// A model outside the process answers for all.
pub(crate) fn input(scenario: &Scenario) -> RunInput {
    let live = ModelBinding::Provider { provider: "openai".into(), model: "gpt".into() };
    RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![live; scenario.models.len() + 1] }
}

/// A run that rests, and its events.
pub(crate) struct Played {
    pub(crate) run: LoadedRun,
    pub(crate) events: Vec<StoredEvent>,
}

impl Played {
    pub(crate) fn status(&self) -> &'static str {
        let status = &self.run.run.state().status;
        status.ended().unwrap_or(if status.is_paused() { "paused" } else { "live" })
    }
}

pub(crate) async fn play(runtime: &Runtime, scenario: &Arc<Scenario>) -> Played {
    let handle = runtime.start_run(scenario.clone(), input(scenario), StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("rests");
    let events = runtime.events(&run.id, 1).await.expect("events");
    Played { run, events }
}

/// Its replay is the same to the byte, and asks nobody.
pub(crate) async fn verified(runtime: &Runtime, played: &Played, model: &Scripted) {
    let asked = model.asked();
    let verified = runtime.verify(&played.run.id).await.expect("verifies");
    let loaded = runtime.load(&played.run.id).await.expect("loads");
    assert_eq!((verified.difference, verified.digest), (None, loaded.digest), "{}", cause(&played.run));
    assert_eq!(model.asked(), asked, "a replay asks nobody");
    assert_eq!(loaded.run.state().budget, played.run.run.state().budget, "folded anew the budgets are the same");
}

/// Why it stands where it stands.
pub(crate) fn cause(run: &LoadedRun) -> String {
    let state = run.run.state();
    match &state.status {
        commedia_domain::run::Status::Paused { reason } => reason.to_string(),
        _ => state.ended.as_ref().and_then(|ended| ended.cause.as_deref().map(str::to_owned)).unwrap_or_default(),
    }
}

pub(crate) fn count(events: &[StoredEvent], name: &str) -> usize {
    events.iter().filter(|e| e.event.name() == name).count()
}
