//! `commedia why`: the chain of causes behind an event.

use clap::Args;
use serde_json::Value as Json;

use crate::app::{App, close, load_failure};
use crate::causes;
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// The event's position (`commedia tail` shows it)
    pub(super) seq: u64,
}

pub(super) async fn why(app: &App, args: &WhyArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let scenario = runtime.load(&id).await.map(|l| l.run.scenario().clone());
    let events = runtime.events(&id, 1).await;
    close(&runtime).await;
    let (scenario, events) = (scenario.map_err(load_failure)?, events.map_err(load_failure)?);
    let Some(json) = causes::told(&id, &scenario, &events, args.seq) else {
        return Err(Failure::usage(format!("run {id} has no event {}: it has {}", args.seq, events.len())));
    };
    tell(app, &json);
    Ok(Exit::Ok)
}

/// Prints the chain.
pub(super) fn tell(app: &App, json: &Json) {
    let rows = json["chain"].as_array().cloned().unwrap_or_default();
    app.console.list(json, &rows, || {
        let line = |row: &Json| {
            let because = row["because"].as_str().map_or_else(String::new, |how| format!("     ↑ {how}\n"));
            format!("{because}{}\n", row["line"].as_str().unwrap_or_default())
        };
        rows.iter().map(line).collect()
    });
}
