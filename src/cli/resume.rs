//! `commedia resume`: goes on with what was interrupted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_actors::scope::Scoped;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::drive::{Watch, say_resume};
use super::run::{say_unknown, sum_up};
use crate::app::{App, close, interrupted, load_failure, read_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::output::say;
use crate::progress::{ManyProgress, Mode};
use crate::report::{self, Outcome};

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// A run: its id, or @1 for the newest; without one, every run that was interrupted, and every one whose time has come
    pub(super) id: Option<String>,
    /// So many of them at once [default: as many as may be live]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    parallel: Option<u32>,
    /// How progress is shown [default: bars on a terminal, else a line per 10 %]
    #[arg(long, value_name = "HOW")]
    progress: Option<Mode>,
}

impl ResumeArgs {
    pub(super) fn mode(&self, app: &App) -> Mode {
        Mode::chosen(self.progress, &app.console)
    }
}

pub(super) async fn resume(app: &App, args: &ResumeArgs) -> Result<Exit, Failure> {
    let mode = args.mode(app);
    if let Some(word) = &args.id {
        let (runtime, id) = app.find(word).await?;
        return one(app, &runtime, &id, mode, false).await;
    }
    let parallel = args.parallel.map_or(app.settings.max_live_runs, |n| n as usize);
    let Some(runtime) = app.open_stored_for(parallel).await? else { return Ok(none(app)) };
    let standings = runtime.standings().await.map_err(read_failure)?;
    let due = standings.due(app.settings.clock.now_ms());
    let left = standings.waiting() - due.len();
    let here = |run: Scoped<RunId>| (run.workspace() == runtime.workspace()).then(|| run.id().clone());
    let ids: Vec<RunId> = standings.interrupted.into_iter().chain(due).filter_map(here).collect();
    if left > 0 {
        let these = if left == 1 { "run waits for its time and is" } else { "runs wait for their time and are" };
        app.console.note(&format!("{left} {these} left in place"));
    }
    match ids.as_slice() {
        [] => {
            close(&runtime).await;
            Ok(none(app))
        }
        [id] => one(app, &runtime, id, mode, true).await,
        _ => many(app, &runtime, ids, mode, parallel).await,
    }
}

/// One run, shown as `run` shows it, to its end; with `until_wait` until it waits for its next moment.
async fn one(app: &App, runtime: &Runtime, id: &RunId, mode: Mode, until_wait: bool) -> Result<Exit, Failure> {
    let going = async {
        let before = runtime.load(id).await.map_err(load_failure)?;
        let state = before.run.state();
        crate::models::check(before.run.scenario(), &state.created.models, &app.settings.models)?;
        let start = StartOptions { until_wait, ..mode.start() };
        let handle = runtime.resume(id, start).await.map_err(start_failure)?;
        let scenario = before.run.scenario().clone();
        Watch { runtime, scenario: &scenario, mode, before: Some(&before) }.drive(handle).await
    };
    tokio::select! {
        loaded = going => {
            close(runtime).await;
            Ok(sum_up(app, &loaded?))
        }
        () = interrupted() => {
            close(runtime).await;
            say_resume(app, std::slice::from_ref(id));
            Ok(Exit::Interrupted)
        }
    }
}

/// Says once that all runs go on again.
struct Going {
    left: AtomicUsize,
    all: Notify,
}

/// Many runs, side by side. One that cannot be read is named; the others go on.
async fn many(app: &App, runtime: &Runtime, ids: Vec<RunId>, mode: Mode, parallel: usize) -> Result<Exit, Failure> {
    let began = std::time::Instant::now();
    let mut progress = ManyProgress::new(mode, ids.len() as u64, parallel.min(ids.len()));
    let mut working: JoinSet<(RunId, Result<LoadedRun, Failure>)> = JoinSet::new();
    let (mut all, mut failures, mut open): (Vec<LoadedRun>, Vec<(RunId, Failure)>, Vec<RunId>) = Default::default();
    let going = Arc::new(Going { left: ids.len().into(), all: Notify::new() });
    let count = ids.len();
    let mut next = ids.into_iter();
    let stop = interrupted();
    tokio::pin!(stop);
    loop {
        while working.len() < parallel
            && let Some(id) = next.next()
        {
            working.spawn(go_on(runtime.clone(), id, mode, going.clone()));
        }
        tokio::select! {
            ended = working.join_next() => match ended {
                None => break,
                Some(Ok((_, Ok(loaded)))) => {
                    progress.ended(Outcome::of(&loaded).exit() == Exit::Ok);
                    all.push(loaded);
                }
                Some(Ok((id, Err(failure)))) => {
                    progress.ended(false);
                    failures.push((id, failure));
                }
                Some(Err(e)) => return Err(Failure::new(Exit::Internal, e)),
            },
            () = going.all.notified() => {
                app.console.note(&format!("{count} runs go on, after {:.1} s", began.elapsed().as_secs_f64()));
            }
            () = &mut stop => {
                close(runtime).await;
                while let Some(ended) = working.join_next().await {
                    open.extend(ended.ok().map(|(id, _)| id));
                }
                open.extend(next);
                say_resume(app, &open);
                return Ok(Exit::Interrupted);
            }
        }
    }
    progress.finish();
    close(runtime).await;
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let exit = if all.is_empty() { Exit::Ok } else { sum_up_all(app, &all) };
    failures.iter().for_each(|(id, failure)| say(&format!("run {id} is passed over: {failure}")));
    Ok(Exit::of_all(failures.iter().map(|(_, f)| f.exit).chain([exit])))
}

async fn go_on(runtime: Runtime, id: RunId, mode: Mode, going: Arc<Going>) -> (RunId, Result<LoadedRun, Failure>) {
    let mode = if mode == Mode::Json { Mode::Json } else { Mode::None };
    let start = StartOptions { until_wait: true, ..mode.start() };
    let handle = runtime.resume(&id, start).await.map_err(start_failure);
    if going.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        going.all.notify_one();
    }
    let ended = match handle {
        Ok(handle) => {
            let scenario = handle.scenario.clone();
            Watch { runtime: &runtime, scenario: &scenario, mode, before: None }.drive(handle).await
        }
        Err(failure) => Err(failure),
    };
    (id, ended)
}

fn none(app: &App) -> Exit {
    app.console.document(&json!({"schema": "commedia.resumed/v1", "runs": []}), String::new);
    app.console.note("nothing was interrupted");
    Exit::Ok
}

fn sum_up_all(app: &App, all: &[LoadedRun]) -> Exit {
    let outcomes: Vec<Outcome> = all.iter().map(Outcome::of).collect();
    all.iter().for_each(|loaded| say_unknown(app, loaded));
    let runs: Vec<Json> = all.iter().map(|loaded| report::run_json(loaded, &[])).collect();
    let json = json!({"schema": "commedia.resumed/v1", "runs": runs});
    app.console.list(&json, &runs, || all.iter().map(|l| report::run_text(l, &[])).collect::<Vec<_>>().join("\n"));
    report::exit_of(&outcomes, &[])
}
