//! `commedia why`: the chain of causes behind an event.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::app::{App, close, load_failure};
use crate::causes::chain;
use crate::events::{Teller, Told};
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// A run: its id, or @1 for the newest
    id: String,
    /// The event's position (`commedia tail` shows it)
    seq: u64,
}

pub(super) async fn why(app: &App, args: &WhyArgs) -> Result<Exit, Failure> {
    let (runtime, id) = app.find(&args.id).await?;
    let scenario = runtime.load(&id).await.map(|l| l.run.scenario().clone());
    let events = runtime.events(&id, 1).await;
    close(&runtime).await;
    let (scenario, events) = (scenario.map_err(load_failure)?, events.map_err(load_failure)?);
    let Some(links) = chain(&scenario, &events, args.seq) else {
        return Err(Failure::usage(format!("run {id} has no event {}: it has {}", args.seq, events.len())));
    };
    let mut teller = Teller::new(id.clone(), scenario);
    let told: Vec<Told> = events.iter().take_while(|e| e.seq <= args.seq).map(|e| teller.stored(e)).collect();
    let find = |seq: u64| told.iter().find(|t| t.seq == seq);
    let steps: Vec<(u64, Option<&str>)> =
        std::iter::once((args.seq, None)).chain(links.iter().map(|l| (l.seq, Some(l.how.as_str())))).collect();
    let rows: Vec<Json> =
        steps.iter().filter_map(|(seq, how)| find(*seq).map(|t| json!({"because": how, "event": t.to_json()}))).collect();
    let json = json!({"schema": "commedia.why/v1", "run_id": id.as_str(), "seq": args.seq, "chain": rows});
    app.console.list(&json, &rows, || {
        let line = |(seq, how): &(u64, Option<&str>)| {
            let because = how.map_or_else(String::new, |how| format!("     ↑ {how}\n"));
            find(*seq).map_or_else(String::new, |t| format!("{because}{}\n", t.line()))
        };
        steps.iter().map(line).collect()
    });
    Ok(Exit::Ok)
}
