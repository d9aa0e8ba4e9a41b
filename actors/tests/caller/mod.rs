//! A model that calls tools, a secret, and what came of a run's calls: for tests of tools that leave the process.

use std::sync::Arc;

use async_trait::async_trait;
use commedia_actors::live::LoadedRun;
use commedia_actors::log::StoredEvent;
use commedia_actors::model::{Answer, Deltas, Model, ModelError};
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_actors::tool::http::Secrets;
use commedia_domain::event::{AnsweredBy, Event, ModelBinding, StepOutcome, Usage};
use commedia_domain::run::{ModelRequest, RunInput};
use commedia_domain::scenario::Scenario;
use commedia_domain::tool::http::Secret;
use commedia_domain::value::Value;

/// A model that calls some tools in its first answer, all at once, and then says that it is done.
pub(crate) struct Caller(pub(crate) Vec<(&'static str, &'static str)>);

#[async_trait]
impl Model for Caller {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let call = |(n, (tool, input)): (usize, &(&str, &str))| {
            (format!("call-{n}"), (*tool).to_owned(), Value::from_json_text(input).expect("JSON"))
        };
        let (text, calls) = match request.asked {
            0 => (None, self.0.iter().enumerate().map(call).collect()),
            _ => (Some("done".to_owned()), Vec::new()),
        };
        Ok(Answer { text, calls, usage: Usage::default(), by: AnsweredBy::Model, source: None })
    }
}

#[derive(Debug)]
pub(crate) struct Fixed;

impl Secrets for Fixed {
    fn read(&self, secret: &Secret) -> Result<String, String> {
        match secret {
            Secret::Env(name) if &**name == "TOKEN" => Ok("s3cret-token".into()),
            other => Err(format!("the secret {other} is not there")),
        }
    }
}

pub(crate) async fn play(runtime: &Runtime, scenario: &Arc<Scenario>) -> (LoadedRun, Vec<StoredEvent>) {
    let binding = ModelBinding::Provider { provider: "openai".into(), model: "gpt".into() };
    let models = vec![binding; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models };
    let handle = runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("ends or waits");
    let events = runtime.events(&run.id, 1).await.expect("events");
    (run, events)
}

/// What came of each tool's step, in the order of the calls, in short.
pub(crate) fn outcomes(events: &[StoredEvent]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Event::StepRecorded(recorded) = &*event.event {
            match &recorded.outcome {
                StepOutcome::Done { value, .. } => found.push((recorded.step, value.value().to_json_text())),
                StepOutcome::Failed(failure) => {
                    found.push((recorded.step, format!("{}: {}", failure.class.word(), failure.message)));
                }
                StepOutcome::Answered { .. } | StepOutcome::Replied(_) => {}
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, what)| what).collect()
}

pub(crate) fn count(events: &[StoredEvent], name: &str) -> usize {
    events.iter().filter(|e| e.event.name() == name).count()
}
