//! `commedia cancel` and `pause`: a command to a run.

use clap::Args;
use serde_json::json;

use crate::app::{App, close, command_failure};
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct CommandArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl CommandArgs {
    /// The words of whoever asks, or a few of ours.
    pub(super) fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("on the command line")
    }
}

pub(super) async fn cancel(app: &App, args: &CommandArgs) -> Result<Exit, Failure> {
    commanded(app, args, "is cancelled", async |runtime, id, reason| runtime.cancel(id, reason).await).await
}

pub(super) async fn pause(app: &App, args: &CommandArgs) -> Result<Exit, Failure> {
    commanded(app, args, "stands still", async |runtime, id, reason| runtime.pause(id, reason).await).await
}

async fn commanded(
    app: &App,
    args: &CommandArgs,
    words: &str,
    command: impl AsyncFnOnce(
        &commedia_actors::runtime::Runtime,
        &commedia_actors::run_id::RunId,
        &str,
    ) -> Result<u64, commedia_actors::runtime::CommandFailed>,
) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let done = command(&runtime, &id, args.reason()).await.map_err(command_failure);
    close(&runtime).await;
    let seq = done?;
    let json = json!({"schema": "commedia.done/v1", "run_id": id.as_str(), "seq": seq});
    app.console.document(&json, || format!("run {id} {words}\n"));
    Ok(Exit::Ok)
}
