//! `commedia tell`: a person's words to an agent of a stored run, which is woken for them.

use clap::Args;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::expression::suggest;
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::run::{Command, Run};
use commedia_domain::value::Value;

use super::drive::{Watch, say_resume};
use super::run::sum_up;
use crate::app::{App, close, command_failure, interrupted, load_failure};
use crate::failure::{Exit, Failure};
use crate::progress::Mode;

#[derive(Debug, Args)]
pub(super) struct TellArgs {
    /// A run: its id, or @1 for the newest
    id: String,
    /// An agent; of several alike one by its number, such as customer/3
    agent: String,
    /// The words
    text: String,
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
    let seat = seat(run, &args.agent)?;
    let command = Command::Tell { seat, text: args.text.as_str().into(), data: Value::Null };
    let start = StartOptions { until_wait: true, ..mode.start() };
    let (handle, _) = runtime.go_on_with(id, command, start).await.map_err(command_failure)?;
    Watch { runtime, scenario: run.scenario(), mode, before: Some(&before) }.drive(handle).await
}

/// The agent that a word means: `name`, or `name/3` where there are several.
fn seat(run: &Run, word: &str) -> Result<Seat, Failure> {
    let (name, number) = word.rsplit_once('/').map_or((word, None), |(name, number)| (name, Some(number)));
    let scenario = run.scenario();
    let Some(at) = scenario.agents.iter().position(|agent| *agent.name == *name) else {
        let failure = Failure::usage(format!("scenario `{}` has no agent `{name}`", scenario.name));
        let names: Vec<&str> = scenario.agents.iter().map(|agent| &*agent.name).collect();
        return Err(failure.help(match suggest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has `{}`", names.join("`, `")),
        }));
    };
    let replicas = run.state().created.replicas.get(at).copied().unwrap_or(0);
    let several = || format!("there are {replicas} of `{name}`, `{name}/0` to `{name}/{}`", replicas.saturating_sub(1));
    let replica = match number {
        None if replicas == 1 => 0,
        None => return Err(Failure::usage(format!("which `{name}`?")).help(several())),
        Some(number) => {
            let found = number.parse::<u32>().ok().filter(|n| *n < replicas);
            found.ok_or_else(|| Failure::usage(format!("there is no agent `{word}`")).help(several()))?
        }
    };
    Ok(Seat { agent: AgentIx::from(at), replica })
}
