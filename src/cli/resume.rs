//! `commedia resume`: goes on with what was interrupted.

use clap::Args;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use serde_json::{Value as Json, json};

use super::drive::{Watch, say_resume};
use super::run::sum_up;
use crate::app::{App, close, interrupted, load_failure, read_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::output::say;
use crate::progress::Mode;
use crate::report::{self, Outcome};

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// A run: its id, or @1 for the newest; without one, every run that was interrupted
    id: Option<String>,
    /// How progress is shown [default: bars on a terminal, else a line per 10 %]
    #[arg(long, value_name = "HOW")]
    progress: Option<Mode>,
}

pub(super) async fn resume(app: &App, args: &ResumeArgs) -> Result<Exit, Failure> {
    let mode = Mode::chosen(args.progress, &app.console);
    let (runtime, ids) = match &args.id {
        Some(word) => {
            let (runtime, id) = app.find(word).await?;
            (runtime, vec![id])
        }
        None => match app.open_stored().await? {
            Some(runtime) => {
                let ids = open_runs(&runtime).await?;
                (runtime, ids)
            }
            None => return Ok(none(app)),
        },
    };
    let mut all: Vec<LoadedRun> = Vec::new();
    let stop = interrupted();
    tokio::pin!(stop);
    for (n, id) in ids.iter().enumerate() {
        let going = go_on(&runtime, id, mode);
        tokio::select! {
            loaded = going => match loaded {
                Ok(loaded) => all.push(loaded),
                Err(failure) => {
                    close(&runtime).await;
                    return Err(failure);
                }
            },
            () = &mut stop => {
                close(&runtime).await;
                say_resume(app, &ids[n..]);
                return Ok(Exit::Interrupted);
            }
        }
    }
    close(&runtime).await;
    Ok(match all.as_slice() {
        [] => none(app),
        [one] => sum_up(app, one),
        many => sum_up_all(app, many),
    })
}

/// Runs that were cut off; paused ones stand still on purpose.
async fn open_runs(runtime: &Runtime) -> Result<Vec<RunId>, Failure> {
    let runs = runtime.runs().await.map_err(read_failure)?;
    let mut open: Vec<RunId> = Vec::new();
    for run in runs {
        match (&run.damage, run.status.as_str()) {
            (Some(damage), _) => say(&format!("run {} is passed over: {damage}", run.id)),
            (None, "queued" | "running") => open.push(run.id),
            _ => {}
        }
    }
    open.reverse();
    Ok(open)
}

async fn go_on(runtime: &Runtime, id: &RunId, mode: Mode) -> Result<LoadedRun, Failure> {
    let before = runtime.load(id).await.map_err(load_failure)?;
    let handle = runtime.resume(id, mode.start()).await.map_err(start_failure)?;
    let scenario = before.run.scenario().clone();
    Watch { runtime, scenario: &scenario, mode, before: Some(&before) }.drive(handle).await
}

fn none(app: &App) -> Exit {
    app.console.document(&json!({"schema": "commedia.resumed/v1", "runs": []}), String::new);
    app.console.note("nothing was interrupted");
    Exit::Ok
}

fn sum_up_all(app: &App, all: &[LoadedRun]) -> Exit {
    let outcomes: Vec<Outcome> = all.iter().map(Outcome::of).collect();
    let runs: Vec<Json> = all.iter().map(|loaded| report::run_json(loaded, &[])).collect();
    let json = json!({"schema": "commedia.resumed/v1", "runs": runs});
    app.console.list(&json, &runs, || all.iter().map(|l| report::run_text(l, &[])).collect::<Vec<_>>().join("\n"));
    report::exit_of(&outcomes, &[])
}
