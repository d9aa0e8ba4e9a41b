//! Runs: started, listed, commanded, deleted, and what came of them.

use std::sync::Arc;
use std::time::Duration;

use commedia_actors::once::Started;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunSummary, Runtime, StartOptions};
use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::event::Created;
use commedia_domain::fault;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{Scenario, compile_faults};
use commedia_domain::value::Value;
use http::{HeaderName, StatusCode, header};
use serde_json::{Map, Value as Json, json};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::Api;
use super::exchange::{Answer, Asked, Handled};
use super::once::REPLAYED;
use super::problem::{Fault, Problem};
use super::scenarios::{find, the_day};
use super::wire::{Done, NewRun, Object, Reason, Release, ReleaseTo, Replay, Resolved, RunView, RunsPage, StateView, Words};
use crate::causes;
use crate::day;
use crate::models::{self, Wanted};
use crate::report;
use crate::words;

/// Runs on a page that says nothing else.
const PAGE: u64 = 50;
/// Events of a run that is folded as a whole.
const FOLDED_EVENTS: u64 = 200_000;
/// How long that waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Seconds that `Prefer: wait` waits at most.
const LONGEST_WAIT: u64 = 60;

/// What diagnostics call the faults of a request.
const FAULTS: &str = "faults";

/// The run that a path names; a word that is no id is unknown like any other.
pub(crate) fn run_id(asked: &Asked) -> Result<RunId, Problem> {
    let word = asked.places.first().map_or("", String::as_str);
    word.parse().map_err(|_| Problem::not_found("there is no such run here"))
}

pub(crate) async fn create(api: Arc<Api>, mut asked: Asked) -> Handled {
    let wait = prefers_wait(&asked);
    if let Some(once) = asked.once
        && let Some(id) = asked.runtime.started_once(&once).await?
    {
        return Ok(created(&asked, &id).await?.with(REPLAYED, "true"));
    }
    // A refusal is cheap.
    asked.runtime.room().map_err(Problem::busy)?;
    let new: NewRun = asked.body()?;
    let scenario = find(&api, &asked.runtime, &new.scenario).await?.scenario;
    let offline = new.model.as_deref() == Some("offline");
    let wanted = Wanted { model: new.model.as_deref().filter(|_| !offline), offline };
    let bound = models::bind(&scenario, wanted, &api.settings.models).await;
    // The request is as it should be; this server has no key, or nobody answers.
    let bound = bound.map_err(|failure| Problem::from(failure).into_conflict())?;
    let now = match &new.today {
        Some(day) => day::midnight(the_day(day)?).map_err(|failure| Problem::invalid_at("/today", failure))?,
        None => api.settings.clock.now_ms(),
    };
    let params = new.parameters.iter().map(|(name, value)| (name.clone(), Value::from_json(value))).collect();
    let input = RunInput { params, seed: new.seed, now, models: bound.models };
    // It is durable before it is answered.
    let labels = Arc::new(new.labels.into_iter().collect());
    let faults = match new.faults {
        Some(list) => Some(faults_for(&api, &scenario, list).await?),
        None => None,
    };
    let start = StartOptions { stored: true, labels, faults, ..StartOptions::default() };
    let started = match asked.once {
        Some(once) => {
            let (runtime, place) = (asked.runtime.clone(), api.detached()?);
            let starting = async move {
                let _place = place;
                runtime.start_once(once, scenario, input, start).await
            };
            // Whoever asks may go before the answer, and ask again.
            tokio::spawn(starting.in_current_span()).await.map_err(Problem::internal)??
        }
        None => Started::New(asked.runtime.start_run(scenario, input, start).await?),
    };
    match started {
        Started::Known(id) => Ok(created(&asked, &id).await?.with(REPLAYED, "true")),
        Started::New(handle) => {
            let id = handle.id.clone();
            let Some(seconds) = wait else { return created(&asked, &id).await };
            drop(tokio::time::timeout(Duration::from_secs(seconds), handle.done()).await);
            let applied = format!("wait={seconds}");
            Ok(created(&asked, &id).await?.with(HeaderName::from_static("preference-applied"), &applied))
        }
    }
}

/// Faults to inject, compiled for a scenario.
async fn faults_for(api: &Api, scenario: &Arc<Scenario>, list: Vec<Map<String, Json>>) -> Result<Arc<[fault::Fault]>, Problem> {
    if list.is_empty() {
        return Ok(Arc::default());
    }
    let (scenario, turn) = (scenario.clone(), turn(api).await?);
    let compiled = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let list = Json::Array(list.into_iter().map(Json::Object).collect());
        if scenario.resolved()["faults"] == list {
            return Ok(scenario.faults.clone());
        }
        // Each on a line of its own, which says which one a diagnostic is about.
        let lines: Vec<String> = list.as_array().into_iter().flatten().map(Json::to_string).collect();
        compile_faults(&scenario.bundle, FAULTS, format!("[\n{}\n]", lines.join(",\n")).as_bytes())
    });
    compiled.await.map_err(Problem::internal)?.map(Arc::from).map_err(|found| {
        let errors = found.into_iter().filter(|found| found.severity == Severity::Error);
        let fault = |found: Diagnostic| Fault {
            pointer: match found.span.line.checked_sub(2) {
                Some(n) if found.file == FAULTS => format!("/faults/{n}"),
                _ => "/faults".into(),
            },
            message: [Some(found.message), found.help].into_iter().flatten().collect::<Vec<_>>().join("; "),
        };
        Problem::uncompiled(errors.map(fault).collect())
    })
}

async fn created(asked: &Asked, id: &RunId) -> Handled {
    let view = RunView::from(asked.runtime.summary(id).await?);
    Ok(Answer::json(&view).status(StatusCode::CREATED).with(header::LOCATION, &format!("/api/runs/{id}")))
}

/// The seconds of `Prefer: wait=N`.
fn prefers_wait(asked: &Asked) -> Option<u64> {
    let preferences = asked.header("prefer")?.split([',', ';']).filter_map(|preference| preference.split_once('='));
    let (_, wait) = preferences.map(|(name, value)| (name.trim(), value)).find(|(name, _)| name.eq_ignore_ascii_case("wait"))?;
    wait.trim().trim_matches('"').parse::<u64>().ok().map(|seconds| seconds.min(LONGEST_WAIT))
}

pub(crate) async fn list(_: Arc<Api>, asked: Asked) -> Handled {
    let limit = asked.number("limit").unwrap_or(PAGE);
    let after: Option<RunId> = asked.query("after").and_then(|id| id.parse().ok());
    let (status, scenario) = (asked.query("status").map(str::to_owned), asked.query("scenario").map(str::to_owned));
    let label = asked.query("label").map(str::to_owned);
    let wanted = move |run: &RunSummary| {
        label.as_ref().is_none_or(|label| words::has_label(&run.labels, label))
            && status.as_ref().is_none_or(|status| *status == run.status)
            && scenario.as_ref().is_none_or(|name| *name == run.scenario)
    };
    let page = asked.runtime.runs_page(after.as_ref(), usize::try_from(limit).unwrap_or(1), wanted).await?;
    let next = page.next.map(|id| id.to_string());
    let data = page.runs.into_iter().map(RunView::from).collect();
    let page = RunsPage { data, next };
    Ok(Answer::json(&page).linked(&asked, page.next.as_ref()))
}

fn tag(run: &RunSummary) -> String {
    format!("\"{}\"", run.events)
}

/// The run that a path names, if it still is as `If-Match` says, where that is said.
async fn unchanged(asked: &Asked) -> Result<RunId, Problem> {
    let id = run_id(asked)?;
    if asked.headers.contains_key(header::IF_MATCH) {
        asked.if_match(Some(&tag(&asked.runtime.summary(&id).await?)))?;
    }
    Ok(id)
}

pub(crate) async fn one(_: Arc<Api>, asked: Asked) -> Handled {
    let run = asked.runtime.summary(&run_id(&asked)?).await?;
    let tag = tag(&run);
    if asked.header("if-none-match").is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED).with(header::ETAG, &tag));
    }
    Ok(Answer::json(&RunView::from(run)).with(header::ETAG, &tag))
}

pub(crate) async fn delete(_: Arc<Api>, asked: Asked) -> Handled {
    asked.runtime.delete_run(&unchanged(&asked).await?).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// What came of a run that has ended: the object that `commedia run --output json` prints, and its `counts`.
pub(crate) async fn result(_: Arc<Api>, asked: Asked) -> Handled {
    let loaded = asked.runtime.load(&run_id(&asked)?).await?;
    if loaded.run.state().status.ended().is_none() {
        let word = loaded.status_word();
        return Err(Problem::new("conflict", format!("run `{}` has no result yet: it is {word}", loaded.id)));
    }
    let (_, verdicts) = report::of_one(&loaded);
    Ok(Answer::json(&Object::of(report::with_counts(report::run_json(&loaded, &verdicts), &loaded.run))))
}

/// How a run stood after an event.
pub(crate) async fn state(_: Arc<Api>, asked: Asked) -> Handled {
    let (id, at) = (run_id(&asked)?, asked.number("at"));
    let (run, seq) = asked.runtime.load_at(&id, at.unwrap_or(u64::MAX)).await?;
    if let Some(at) = at.filter(|at| *at > seq) {
        let message = format!("the run has {seq} events, and none with seq {at}");
        let errors = vec![Fault { pointer: "?at".into(), message }];
        return Err(Problem { errors, ..Problem::not_found("there is no such event") });
    }
    Ok(Answer::json(&StateView::of(&id, seq, &run)))
}

/// The words of a client, or a few of ours.
fn reason(asked: &mut Asked, usual: &str) -> Result<String, Problem> {
    Ok(asked.body::<Reason>()?.reason.unwrap_or_else(|| usual.to_owned()))
}

/// What a command led to.
pub(crate) fn done(id: &RunId, seq: u64) -> Answer {
    Answer::json(&Done { run_id: id.to_string(), seq })
}

pub(crate) async fn cancel(_: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, reason) = (unchanged(&asked).await?, reason(&mut asked, "cancelled over HTTP")?);
    Ok(done(&id, asked.runtime.cancel(&id, &reason).await?))
}

pub(crate) async fn pause(_: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, reason) = (unchanged(&asked).await?, reason(&mut asked, "paused over HTTP")?);
    Ok(done(&id, asked.runtime.pause(&id, &reason).await?))
}

pub(crate) async fn resume(api: Arc<Api>, asked: Asked) -> Handled {
    let id = unchanged(&asked).await?;
    Ok(done(&id, go_on(&api, &asked.runtime, &id).await?))
}

/// Whether a run's models can be reached as things are: without them it would only fail.
async fn reached(api: &Api, runtime: &Runtime, id: &RunId) -> Result<(), Problem> {
    let (created, scenario, _) = runtime.beginning(id).await?;
    can_reach(api, &scenario, &created)
}

fn can_reach(api: &Api, scenario: &Scenario, created: &Created) -> Result<(), Problem> {
    let reached = models::check(scenario, &created.models, &api.settings.models);
    reached.map_err(|failure| Problem::from(failure).into_conflict())
}

/// A run goes on, if its models can be reached. The seq of its last event comes back.
pub(crate) async fn go_on(api: &Api, runtime: &Runtime, id: &RunId) -> Result<u64, Problem> {
    reached(api, runtime, id).await?;
    runtime.resume(id, StartOptions::default()).await?;
    Ok(runtime.summary(id).await?.events)
}

pub(crate) async fn release(api: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, release) = (unchanged(&asked).await?, asked.body::<Release>()?);
    if release.to == ReleaseTo::Running {
        // Before it is released: it would stand there without anybody to go on with it.
        reached(&api, &asked.runtime, &id).await?;
    }
    let loaded = asked.runtime.release(&id, release.to == ReleaseTo::Failed).await?;
    let seq = if release.to == ReleaseTo::Running { go_on(&api, &asked.runtime, &id).await? } else { loaded.head.seq };
    Ok(done(&id, seq))
}

/// A person's words to an agent, which is woken for them.
pub(crate) async fn message(api: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, words) = (unchanged(&asked).await?, asked.body::<Words>()?);
    Ok(done(&id, tell(&api, &asked.runtime, &id, &words.agent, &words.text).await?))
}

/// The agent hears the words; the seq that they led to.
pub(crate) async fn tell(api: &Api, runtime: &Runtime, id: &RunId, agent: &str, text: &str) -> Result<u64, Problem> {
    let (created, scenario, _) = runtime.beginning(id).await?;
    let seat = words::seat(&scenario, &created, agent).map_err(|failure| Problem::unfit("/agent", &failure))?;
    can_reach(api, &scenario, &created)?;
    Ok(runtime.tell(id, seat, text, Value::Null).await?)
}

/// Somebody says what became of a step of which nobody knew.
pub(crate) async fn resolve(api: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, resolved) = (unchanged(&asked).await?, asked.body::<Resolved>()?);
    let loaded = asked.runtime.load(&id).await?;
    let open = loaded.run.unknown_steps();
    let step = open.iter().map(|open| open.step).find(|step| step.to_string() == asked.place(1));
    let none =
        || Problem::not_found(format!("no step `{}` of the run waits for somebody to say what became of it", asked.place(1)));
    let step = step.ok_or_else(none)?;
    let resolution = words::resolution(resolved.outcome.into(), resolved.result.as_ref().map(Value::from_json));
    let resolution = resolution.map_err(|failure| Problem::unfit("/result", &failure))?;
    reached(&api, &asked.runtime, &id).await?;
    Ok(done(&id, asked.runtime.resolve(&id, step, resolution).await?))
}

/// A turn among those who have something large to do.
async fn turn(api: &Api) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = tokio::time::timeout(TURN_WITHIN, api.folding.clone().acquire_owned()).await;
    turn.map_err(|_| Problem::new("busy", "others have as much to do").after(1))?.map_err(Problem::internal)
}

/// Folds a whole run where it holds up nobody: on a thread of its own, few at once, and not one that is too long to be held.
async fn folded<T, F>(api: &Api, runtime: &Runtime, id: &RunId, fold: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    let events = runtime.summary(id).await?.events;
    if events > FOLDED_EVENTS {
        let what = format!("the run has {events} events, more than the {FOLDED_EVENTS} that are folded at once over HTTP");
        return Err(Problem::new("conflict", format!("{what}: ask where its data folder is")));
    }
    let turn = turn(api).await?;
    let handle = tokio::runtime::Handle::current();
    let folding = tokio::task::spawn_blocking(move || {
        // For as long as it works, whether anybody waits for it or not.
        let _turn = turn;
        handle.block_on(fold)
    });
    folding.await.map_err(Problem::internal)?
}

/// A run folded from its log; with `verify` decided anew, too.
pub(crate) async fn replay(api: Arc<Api>, mut asked: Asked) -> Handled {
    let (id, replay) = (run_id(&asked)?, asked.body::<Replay>()?);
    let (runtime, run) = (asked.runtime.clone(), id.clone());
    let replayed = folded(&api, &asked.runtime, &id, async move {
        let verified = if replay.verify { Some(runtime.verify(&run).await?) } else { None };
        let loaded = runtime.load(&run).await?;
        if verified.as_ref().is_some_and(|verified| verified.events != loaded.head.seq) {
            return Err(Problem::new("conflict", "the run goes on while it is compared: wait for its end, or pause it"));
        }
        Ok(report::replayed_json(&loaded, verified.as_ref()))
    });
    Ok(Answer::json(&Object::of(replayed.await?)))
}

/// The chain of causes behind an event.
pub(crate) async fn why(api: Arc<Api>, asked: Asked) -> Handled {
    let (id, word) = (run_id(&asked)?, asked.place(1).to_owned());
    let (runtime, run) = (asked.runtime.clone(), id.clone());
    let told = folded(&api, &asked.runtime, &id, async move {
        let (_, scenario, _) = runtime.beginning(&run).await?;
        let events = runtime.events(&run, 1).await?;
        let told = word.parse().ok().and_then(|seq| causes::told(&run, &scenario, &events, seq));
        told.ok_or_else(|| Problem::not_found(format!("the run has no event {word}")))
    });
    Ok(Answer::json(&Object::of(told.await?)))
}

/// An example of a run to be started.
pub(crate) fn example() -> serde_json::Value {
    json!({"scenario": "coin-shop", "parameters": {}, "seed": 7})
}
