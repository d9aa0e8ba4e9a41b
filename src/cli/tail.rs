//! `commedia tail`: a run's events, one a line.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::app::{App, close, load_failure};
use crate::events::{Teller, Told};
use crate::failure::{Exit, Failure};
use crate::output::Format;

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// A run: its id, or @1 for the newest
    pub(super) id: String,
    /// The first event to tell
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub(super) from: u64,
    /// Only stored events, without what is expanded from them
    #[arg(long)]
    pub(super) stored: bool,
}

pub(super) async fn tail(app: &App, args: &TailArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let scenario = runtime.load(&id).await.map(|l| l.run.scenario().clone());
    // From the first one on: an event's run time may stand in an earlier one.
    let events = runtime.events(&id, 1).await;
    close(&runtime).await;
    let (scenario, events) = (scenario.map_err(load_failure)?, events.map_err(load_failure)?);
    let mut teller = Teller::new(id, scenario);
    let mut whole: Vec<Json> = Vec::new();
    for stored in &events {
        let told = if args.stored { vec![teller.stored(stored)] } else { teller.tell(stored) };
        if stored.seq < args.from {
            continue;
        }
        for event in told {
            match app.console.format {
                Format::Jsonl => app.console.line(&event.to_json().to_string()),
                Format::Table => line(app, &event),
                Format::Json | Format::Yaml => whole.push(event.to_json()),
            }
        }
        if app.console.gone() {
            break;
        }
    }
    if matches!(app.console.format, Format::Json | Format::Yaml) {
        app.console.document(&json!({"schema": "commedia.events/v1", "events": whole}), String::new);
    }
    Ok(Exit::Ok)
}

/// People see what happened, not that it began.
fn line(app: &App, event: &Told) {
    if event.kind != "turn.started" {
        app.console.line(&event.line());
    }
}
