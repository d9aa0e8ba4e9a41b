//! `commedia resolve`: an operator says what became of a step that left the process and of which nobody knows; the run goes on.

use clap::Args;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::event::tool_name;
use commedia_domain::message::StepId;
use commedia_domain::run::{Command, Run, UnknownStep};
use commedia_domain::step::Resolution;
use commedia_domain::value::Value;
use serde_json::Value as Json;

use super::drive::{Watch, say_resume};
use super::run::sum_up;
use crate::app::{App, close, command_failure, interrupted, load_failure};
use crate::failure::{Exit, Failure};
use crate::progress::Mode;
use crate::words::{self, OutcomeWord};

#[derive(Debug, Args)]
pub(super) struct ResolveArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// The step, as `show` names it; without one they are named
    pub(super) step: Option<String>,
    /// What became of it
    #[arg(long, value_name = "OUTCOME")]
    pub(super) outcome: Option<OutcomeWord>,
    /// What it gave, as JSON; of a failed one its reason, as a JSON string
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    /// How progress is shown [default: bars on a terminal, else a line per 10 %]
    #[arg(long, value_name = "HOW")]
    progress: Option<Mode>,
}

pub(super) async fn resolve(app: &App, args: &ResolveArgs) -> Result<Exit, Failure> {
    let mode = Mode::chosen(args.progress, &app.console);
    let resolution = resolution(args)?;
    let (runtime, id) = app.find(&args.id).await?;
    tokio::select! {
        resolved = resolved(&runtime, &id, args, resolution, mode) => {
            close(&runtime).await;
            Ok(sum_up(app, &resolved?))
        }
        () = interrupted() => {
            close(&runtime).await;
            say_resume(app, std::slice::from_ref(&id));
            Ok(Exit::Interrupted)
        }
    }
}

/// What the arguments say became of the step; `None` where they do not.
fn resolution(args: &ResolveArgs) -> Result<Option<Resolution>, Failure> {
    let result = result(args)?.map(|json| Value::from_json(&json));
    args.outcome.map(|outcome| words::resolution(outcome, result)).transpose()
}

/// What the step gave.
pub(super) fn result(args: &ResolveArgs) -> Result<Option<Json>, Failure> {
    let parsed = args.result.as_deref().map(serde_json::from_str).transpose();
    parsed
        .map_err(|e| Failure::usage(format!("--result is no JSON: {e}")).help("a text is written in quotes: --result '\"paid\"'"))
}

/// The run once it has taken the words and ends, waits again or stands still.
async fn resolved(
    runtime: &Runtime,
    id: &RunId,
    args: &ResolveArgs,
    resolution: Option<Resolution>,
    mode: Mode,
) -> Result<LoadedRun, Failure> {
    let before = runtime.load(id).await.map_err(load_failure)?;
    let step = step(id, &before.run, args)?;
    let Some(resolution) = resolution else {
        return Err(Failure::usage(format!("what became of step {step}?")).help("--outcome succeeded, failed or retry"));
    };
    let start = StartOptions { until_wait: true, ..mode.start() };
    let command = Command::Resolve { step, resolution };
    let (handle, _) = runtime.go_on_with(id, command, start).await.map_err(command_failure)?;
    Watch { runtime, scenario: before.run.scenario(), mode, before: Some(&before) }.drive(handle).await
}

/// The step that is meant, of those of which nobody knows what became of them.
fn step(id: &RunId, run: &Run, args: &ResolveArgs) -> Result<StepId, Failure> {
    let open = run.unknown_steps();
    if open.is_empty() {
        let why = match run.state().status.ended() {
            Some(word) => format!("run `{id}` has ended ({word}): nothing in it waits for a resolution"),
            None => format!("run `{id}` does not wait for a resolution"),
        };
        return Err(Failure::usage(why)
            .help(format!("`commedia show {id}` says where it stands; `commedia resume {id}` goes on with it")));
    }
    let named = |word: &String| open.iter().find(|s| s.step.to_string() == *word).map(|s| s.step);
    if let Some(step) = args.step.as_ref().and_then(named) {
        return Ok(step);
    }
    let message = match &args.step {
        None => "which step?".to_owned(),
        Some(word) => format!("no step `{word}` of run `{id}` waits for a resolution"),
    };
    let named = |s: &UnknownStep| format!("{} ({})", s.step, tool_name(run.scenario(), s.tool));
    let all: Vec<String> = open.iter().map(named).collect();
    Err(Failure::usage(message).help(format!("it waits for {}", all.join(", "))))
}
