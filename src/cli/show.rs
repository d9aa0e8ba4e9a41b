//! `commedia show`: one run, folded from its log.

use clap::Args;
use commedia_domain::run::Status;

use crate::app::{App, close, load_failure};
use crate::failure::{Exit, Failure};
use crate::report::{self, Outcome};

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// A run: its id, or @1 for the newest
    id: String,
}

pub(super) async fn show(app: &App, args: &ShowArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let loaded = runtime.load(&id).await.map_err(load_failure);
    close(&runtime).await;
    let loaded = loaded?;
    let outcome = [Outcome::of(&loaded)];
    let verdicts = match outcome[0].status {
        Status::Completed => report::thresholds(loaded.run.scenario(), &outcome),
        _ => Vec::new(),
    };
    app.console.document(&report::run_json(&loaded, &verdicts), || report::run_text(&loaded, &verdicts));
    Ok(Exit::Ok)
}
