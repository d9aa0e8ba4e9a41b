//! `commedia release`: an operator's word on a quarantined run, one that crashes whenever it is to go on.

use clap::{Args, ValueEnum};

use super::drive::place;
use crate::app::{App, close, command_failure};
use crate::failure::{Exit, Failure};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// A quarantined run: its id, or @1 for the newest
    pub(super) id: String,
    /// What becomes of it: it goes on at its next `resume`, or it has failed
    #[arg(long, value_name = "STATE")]
    to: To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    Running,
    Failed,
}

impl ReleaseArgs {
    pub(super) fn word(&self) -> &'static str {
        if self.to == To::Failed { "failed" } else { "running" }
    }
}

pub(super) async fn release(app: &App, args: &ReleaseArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let released = runtime.release(&id, args.to == To::Failed).await.map_err(command_failure);
    close(&runtime).await;
    let released = released?;
    app.console.document(&report::run_json(&released, &[]), || match args.to {
        To::Running => format!("run {id} is released; go on with it:\n  commedia resume {id}{}\n", place(app)),
        To::Failed => format!("run {id} has failed\n"),
    });
    Ok(Exit::Ok)
}
