//! `run` on a server: one run that is followed, or many with seeds one after the other, summed up here.
//!
//! Each of many is asked for under a key of its own, so that a server that is busy, or started again, is asked again and
//! starts it once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use commedia_actors::run_id::RunId;
use commedia_domain::scenario::Scenario;
use futures_util::StreamExt;
use serde_json::{Value as Json, json};

use super::{text, told, with_schema, without_null};
use crate::app::{App, interrupted};
use crate::cli::run::{RunArgs, load};
use crate::events::labels_json;
use crate::failure::{Exit, Failure};
use crate::output::say;
use crate::packs;
use crate::progress::{ManyProgress, Mode};
use crate::remote::Remote;
use crate::report::{self, Outcome};

/// How often a stream may break off without a word in between, and the pause before it is asked for again.
const BREAKS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// Of many runs so many at once, unless it is said.
const AT_ONCE: usize = 16;
/// How long a request for one of many waits for its end; after that it is looked at so often.
const WAIT: &str = "wait=1";
const LOOK: Duration = Duration::from_millis(500);

/// A run on a server: a file is kept there under its name first, so that its version is there for good.
pub(super) async fn run(app: &App, remote: &Remote, args: &RunArgs) -> Result<Exit, Failure> {
    args.refuse_local_flags()?;
    let scenario = load(app, &args.scenario, None, Mode::None)?;
    let built_in = packs::find(&args.scenario).is_some() && !std::path::Path::new(&args.scenario).is_file();
    let faults = args.faults_as_json(app, (!built_in).then_some(&scenario))?;
    let word = if built_in {
        args.scenario.clone()
    } else {
        let packed = crate::bundle::write(&scenario.name, &scenario.bundle).map_err(|e| Failure::new(Exit::Internal, e))?;
        let kept = remote.put(&format!("/api/scenarios/{}", scenario.name), "application/gzip", packed).await?;
        format!("{}@{}", scenario.name, kept["version"])
    };
    let today = args.today.map(|day| day.to_string());
    let read = match args.words()? {
        Some(text) => {
            let body = without_null(json!({"scenario": word, "text": text, "today": today}));
            Some(remote.post("/api/parameters/extract", &body).await?)
        }
        None => None,
    };
    let body = without_null(json!({
        "scenario": word,
        "parameters": args.parameters_as_json(app, &scenario, read.as_ref())?,
        "seed": args.seed,
        "model": if args.offline { Some("offline") } else { args.model.as_deref() },
        "today": today,
        // A server that knows no labels is told of none.
        "labels": Some(labels_json(&args.labels()?)).filter(|labels| !labels.is_empty()),
        "faults": faults,
    }));
    match args.runs() {
        None => one(app, remote, args, &body).await,
        Some(runs) => many(app, remote, &Many { args, scenario: &scenario, body, mode: args.mode(app), runs }).await,
    }
}

async fn one(app: &App, remote: &Remote, args: &RunArgs, body: &Json) -> Result<Exit, Failure> {
    let started = remote.post("/api/runs", body).await?;
    let id = text(&started, "run_id").to_owned();
    if args.detach {
        app.console
            .document(&json!({"schema": "commedia.run/v1", "run_id": id, "status": started["status"]}), || format!("{id}\n"));
        return Ok(Exit::Ok);
    }
    let mode = args.mode(app);
    if mode != Mode::Json {
        app.console.note(&format!("run {id} is on {}; `commedia cancel {id}` ends it", remote.url()));
    }
    to_its_end(app, remote, &id, mode, 0).await
}

/// Lets a run go on, and follows it.
pub(super) async fn resume(app: &App, remote: &Remote, id: &str, mode: Mode) -> Result<Exit, Failure> {
    let before = remote.get(&format!("/api/runs/{id}")).await?["events"].as_u64().unwrap_or_default();
    remote.post(&format!("/api/runs/{id}/resume"), &json!({})).await?;
    tokio::select! {
        ended = to_its_end(app, remote, id, mode, before) => ended,
        // It waits for its time there, and nobody needs to wait here.
        stands = until_it_stands(remote, id) => {
            stands?;
            came_to(app, remote, id).await
        }
    }
}

/// Tells what came of a run, or how it stands.
async fn came_to(app: &App, remote: &Remote, id: &str) -> Result<Exit, Failure> {
    let run = remote.get(&format!("/api/runs/{id}")).await?;
    if run["ended_at"].is_null() {
        app.console.document(&with_schema("run", &run), || format!("run {id} is {}\n", text(&run, "status")));
        return Ok(report::exit_of_json(&run));
    }
    let result = report::without_counts(remote.get(&format!("/api/runs/{id}/result")).await?);
    app.console.document(&result, || told(&result));
    let missed = result["thresholds"].as_array().into_iter().flatten().any(|verdict| verdict["passed"] == Json::Bool(false));
    Ok(Exit::of_all([report::exit_of_json(&result), if missed { Exit::Missed } else { Exit::Ok }]))
}

/// Follows a run from behind an event, and tells what came of it.
async fn to_its_end(app: &App, remote: &Remote, id: &str, mode: Mode, mut cursor: u64) -> Result<Exit, Failure> {
    tokio::select! {
        over = follow(remote, id, mode, &mut cursor) => drop(over?),
        () = interrupted() => {
            app.console.note(&format!("it goes on there; follow it:\n  commedia tail {id} --server {}", remote.url()));
            return Ok(Exit::Interrupted);
        }
    };
    came_to(app, remote, id).await
}

/// What a server tells of a run.
fn outcome_of(remote: &Remote, scenario: &Scenario, run: Json) -> Result<Outcome, Failure> {
    let id = text(&run, "run_id").to_owned();
    Outcome::of_json(scenario, run)
        .ok_or_else(|| Failure::new(Exit::Server, format!("what {} tells of run {id} cannot be read", remote.url())))
}

/// Follows a run from behind an event until it is over (`true`), or stands still for somebody to look at.
async fn follow(remote: &Remote, id: &str, mode: Mode, cursor: &mut u64) -> Result<bool, Failure> {
    let (mut over, mut stands) = (false, false);
    let mut breaks = 0;
    loop {
        let path = format!("/api/runs/{id}/events?after={cursor}");
        let each = |event: Json| {
            if mode == Mode::Json {
                let line =
                    json!({"run_id": id, "seq": event["seq"], "type": event["type"], "agent": event["agent"], "at": event["at"]});
                say(&line.to_string());
            }
            // Events that share a seq come again with it, if the stream breaks between them.
            let seq = event["seq"].as_u64().unwrap_or(1);
            (*cursor, breaks) = (seq.saturating_sub(1).max(*cursor), 0);
            let kind = text(&event, "type");
            over = matches!(kind, "run.completed" | "run.failed" | "run.timed_out" | "run.over_budget" | "run.cancelled");
            stands = matches!(kind, "run.paused" | "run.quarantined");
            if over || stands {
                *cursor = seq;
            }
            Ok(!over && !stands)
        };
        let followed = remote.lines(&path, each).await;
        if over || stands {
            return Ok(over);
        }
        // The stream has ended, or broke off: the server may have been started again.
        breaks += 1;
        match followed {
            Err(failure) if failure.exit != Exit::Server || breaks > BREAKS => return Err(failure),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Several runs: the same but for the seed.
struct Many<'a> {
    args: &'a RunArgs,
    scenario: &'a Scenario,
    body: Json,
    mode: Mode,
    runs: u32,
}

impl Many<'_> {
    fn seed(&self, n: u32) -> u64 {
        self.args.seed.wrapping_add(n.into())
    }

    /// Starts one; what the server answers.
    async fn start(&self, remote: &Remote, keys: &RunId, n: u32) -> Result<Json, Failure> {
        let mut body = self.body.clone();
        body["seed"] = self.seed(n).into();
        let wait = (!self.args.detach).then_some(WAIT);
        remote.post_once("/api/runs", &body, &format!("{keys}-{n}"), wait).await
    }

    /// Waits for one until it has ended, stands still, or waits for its time.
    async fn end(&self, remote: &Remote, mut run: Json) -> Result<Outcome, Failure> {
        let id = text(&run, "run_id").to_owned();
        let mut cursor = 0;
        while is_going(&run) {
            match self.mode {
                Mode::Json => tokio::select! {
                    followed = follow(remote, &id, Mode::Json, &mut cursor) => drop(followed?),
                    stands = until_it_stands(remote, &id) => stands?,
                },
                _ => tokio::time::sleep(LOOK).await,
            }
            run = remote.get_patiently(&format!("/api/runs/{id}")).await?;
        }
        if !run["ended_at"].is_null() {
            run = remote.get_patiently(&format!("/api/runs/{id}/result")).await?;
        }
        outcome_of(remote, self.scenario, run)
    }
}

/// Whether a run has neither ended, nor stands still, nor waits for its time.
fn is_going(run: &Json) -> bool {
    run["ended_at"].is_null() && matches!(text(run, "status"), "queued" | "running" | "cancelling")
}

/// That a run waits is no event: it is looked at, and once more, so that whoever follows it has been told all.
async fn until_it_stands(remote: &Remote, id: &str) -> Result<(), Failure> {
    let mut stood = 0;
    while stood < 2 {
        tokio::time::sleep(LOOK).await;
        stood = if is_going(&remote.get_patiently(&format!("/api/runs/{id}")).await?) { 0 } else { stood + 1 };
    }
    Ok(())
}

async fn many(app: &App, remote: &Remote, many: &Many<'_>) -> Result<Exit, Failure> {
    // A server that is not there, or lets nobody in, is told at once.
    remote.get("/api/runs?limit=1").await?;
    let parallel = many.args.parallel().unwrap_or(AT_ONCE).min(many.runs as usize);
    let (keys, asked, answered) = (RunId::new(), Cell::new(0), Cell::new(0));
    let a_run = |n: u32| {
        let (keys, asked, answered) = (&keys, &asked, &answered);
        async move {
            asked.set(asked.get().max(n + 1));
            let run = many.start(remote, keys, n).await?;
            answered.set(answered.get() + 1);
            if many.args.detach {
                return Ok((n, run, None));
            }
            let ended = many.end(remote, run.clone()).await;
            match ended {
                Err(failure) if failure.exit == Exit::Server => Err(failure),
                ended => Ok((n, run, Some(ended))),
            }
        }
    };
    let mut progress = ManyProgress::new(many.mode, many.runs.into(), parallel);
    let (mut started, mut outcomes, mut failures) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut working = std::pin::pin!(futures_util::stream::iter(0..many.runs).map(a_run).buffer_unordered(parallel));
    let mut stop = std::pin::pin!(interrupted());
    let cut = loop {
        let next: Option<Result<_, Failure>> = tokio::select! {
            next = working.next() => next,
            () = &mut stop => break Some(Ok(Exit::Interrupted)),
        };
        match next {
            None => break None,
            Some(Err(failure)) => break Some(Err(failure)),
            Some(Ok((n, run, ended))) => {
                progress.ended(!matches!(&ended, Some(Err(_))) && ended.iter().flatten().all(Outcome::completed));
                match ended {
                    Some(Ok(outcome)) => drop(outcomes.insert(n, outcome)),
                    Some(Err(failure)) => failures.push((text(&run, "run_id").to_owned(), failure)),
                    None => {}
                }
                started.insert(n, run);
            }
        }
    };
    progress.finish();
    if let Some(cut) = cut {
        if cut.is_err() && answered.get() == 0 {
            return cut;
        }
        app.console.note(&format!("what was started goes on there:\n  commedia ls --server {}", remote.url()));
        let (unanswered, left) = (asked.get() - answered.get(), many.runs - asked.get());
        if unanswered > 0 {
            say(&format!("of seeds {} to {}, {unanswered} have no answer yet", many.seed(0), many.seed(asked.get() - 1)));
        }
        if left > 0 {
            say(&format!("{left} runs were not started: --seed {} --runs {left}", many.seed(asked.get())));
        }
        return cut;
    }
    if many.args.detach {
        let runs: Vec<&Json> = started.values().collect();
        let json = json!({"schema": "commedia.list/v1", "runs": runs, "next": null});
        app.console.document(&json, || runs.iter().map(|run| format!("{}\n", text(run, "run_id"))).collect());
        return Ok(Exit::Ok);
    }
    let outcomes: Vec<Outcome> = outcomes.into_values().collect();
    let verdicts = report::thresholds(many.scenario, &outcomes);
    let json = report::runs_json(many.scenario, &outcomes, &verdicts);
    app.console.document(&json, || report::runs_text(many.scenario, &outcomes, &verdicts));
    failures.iter().for_each(|(id, failure)| say(&format!("run {id}: {failure}")));
    let failed = failures.iter().map(|(_, failure)| failure.exit);
    Ok(Exit::of_all(failed.chain([report::exit_of(&outcomes, &verdicts)])))
}
