//! `commedia tell`: a person's words to an agent of a stored run, which is woken for them.

use clap::Args;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::run::Command;
use commedia_domain::value::Value;

use super::drive::{Watch, say_resume};
use super::run::sum_up;
use crate::app::{App, close, command_failure, interrupted, load_failure};
use crate::failure::{Exit, Failure};
use crate::progress::Mode;
use crate::words::seat;

#[derive(Debug, Args)]
pub(super) struct TellArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// An agent; of several alike one by its number, such as customer/3
    pub(super) agent: String,
    /// The words
    pub(super) text: String,
    /// How progress is shown [default: bars on a terminal, else a line per 10 %]
    #[arg(long, value_name = "HOW")]
    progress: Option<Mode>,
}

pub(super) async fn tell(app: &App, args: &TellArgs) -> Result<Exit, Failure> {
    let mode = Mode::chosen(args.progress, &app.console);
    let (runtime, id) = app.find(&args.id).await?;
    tokio::select! {
        told = told(&runtime, &id, args, mode) => {
            close(&runtime).await;
            Ok(sum_up(app, &told?))
        }
        () = interrupted() => {
            close(&runtime).await;
            say_resume(app, std::slice::from_ref(&id));
            Ok(Exit::Interrupted)
        }
    }
}

/// The run once it has heard the words and waits again, stands still or is over.
async fn told(runtime: &Runtime, id: &RunId, args: &TellArgs, mode: Mode) -> Result<LoadedRun, Failure> {
    let before = runtime.load(id).await.map_err(load_failure)?;
    let run = &before.run;
    if let Some(word) = run.state().status.ended() {
        return Err(Failure::usage(format!("run `{id}` has ended ({word}): nobody in it hears you")));
    }
    let seat = seat(run.scenario(), &run.state().created, &args.agent)?;
    let command = Command::Tell { seat, text: args.text.as_str().into(), data: Value::Null };
    let start = StartOptions { until_wait: true, ..mode.start() };
    let (handle, _) = runtime.go_on_with(id, command, start).await.map_err(command_failure)?;
    Watch { runtime, scenario: run.scenario(), mode, before: Some(&before) }.drive(handle).await
}
