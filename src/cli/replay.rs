//! `commedia replay`: folds recorded outcomes, with no call of any model. `--verify` also decides everything anew.

use clap::Args;
use serde_json::Value as Json;

use crate::app::{App, close, load_failure};
use crate::failure::{Exit, Failure};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// Decide everything anew and compare each canonical event, byte for byte
    #[arg(long)]
    pub(super) verify: bool,
}

pub(super) async fn replay(app: &App, args: &ReplayArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let loaded = runtime.load(&id).await;
    let verified = match (&loaded, args.verify) {
        (Ok(_), true) => Some(runtime.verify(&id).await),
        _ => None,
    };
    close(&runtime).await;
    let loaded = loaded.map_err(load_failure)?;
    let verified = verified.transpose().map_err(load_failure)?;
    let json = report::replayed_json(&loaded, verified.as_ref());
    app.console.document(&json, || report::replayed_text(&json));
    Ok(if json["equal"] == Json::Bool(false) { Exit::Failed } else { Exit::Ok })
}
