//! `commedia show`: one run, folded from its log.

use clap::Args;

use crate::app::{App, close, load_failure};
use crate::failure::{Exit, Failure};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
}

pub(super) async fn show(app: &App, args: &ShowArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let loaded = runtime.load(&id).await.map_err(load_failure);
    close(&runtime).await;
    let loaded = loaded?;
    let (_, verdicts) = report::of_one(&loaded);
    app.console.document(&report::run_json(&loaded, &verdicts), || report::run_text(&loaded, &verdicts));
    Ok(Exit::Ok)
}
