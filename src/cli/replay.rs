//! `commedia replay`: folds recorded outcomes, with no call of any model. `--verify` also decides everything anew.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::app::{App, close, load_failure};
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A run: its id, or @1 for the newest
    id: String,
    /// Decide everything anew and compare each canonical event, byte for byte
    #[arg(long)]
    verify: bool,
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
    let events = loaded.head.seq;
    let comparable = verified.as_ref().is_none_or(|v| v.comparable);
    let difference = verified.as_ref().and_then(|v| v.difference.as_ref().map(|d| (d.seq, d.what.clone())));
    let equal = verified.as_ref().filter(|v| v.comparable).map(|v| v.difference.is_none() && v.digest == loaded.digest);
    let json = json!({
        "schema": "commedia.replay/v1",
        "run_id": id.as_str(),
        "status": loaded.run.state().status.word(),
        "events": events,
        "canonical_events": verified.as_ref().map(|v| v.canonical),
        "model_calls": 0,
        "digest": loaded.digest.to_string(),
        "verified": verified.is_some(),
        "comparable": comparable,
        "equal": equal,
        "difference": difference.as_ref().map_or(Json::Null, |(seq, what)| json!({"seq": seq, "what": what})),
    });
    app.console.document(&json, || {
        let said = format!("{events} events, 0 model calls, digest {}", loaded.digest);
        match (&difference, equal) {
            _ if !comparable => format!("{said}\nnot comparable: another version of the engine decided this run\n"),
            (Some((seq, what)), _) => format!("{said}\ndiffers at event {seq} ✗\n  {what}\n"),
            (None, Some(true)) => format!("{said} equal ✓\n"),
            (None, Some(false)) => format!("{said}\nthe digests differ ✗\n"),
            (None, None) => format!("{said}\n"),
        }
    });
    Ok(if equal == Some(false) { Exit::Failed } else { Exit::Ok })
}
