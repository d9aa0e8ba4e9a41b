//! `commedia store check`: reads everything stored and names what is not as it was written.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use commedia_actors::store::{CheckReport, Damage, OpenError, StreamKind};
use serde_json::{Value as Json, json};

use crate::app::{App, close, open_failure, read_failure};
use crate::failure::{Exit, Failure};
use crate::report::columns;

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    what: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read everything and name all damage
    Check,
}

pub(super) async fn store(app: &App, args: &StoreArgs) -> Result<Exit, Failure> {
    match args.what {
        StoreCommand::Check => check(app).await,
    }
}

async fn check(app: &App) -> Result<Exit, Failure> {
    let (report, statuses) = if app.is_stored() { read(app).await? } else { (CheckReport::default(), BTreeMap::new()) };
    let runs: Vec<Json> = (report.streams.iter().filter(|s| s.stream.kind() == StreamKind::Run))
        .map(|s| {
            let id = s.stream.id();
            json!({
                "run_id": id, "status": statuses.get(id).map_or("unknown", String::as_str), "events": s.events,
                "head": s.head.hash.to_string(), "digest": s.digest.to_string(),
            })
        })
        .collect();
    let damage: Vec<Json> = report.damage.iter().map(damage_json).collect();
    let json = json!({"schema": "commedia.store-check/v1", "runs": runs, "damage": damage});
    app.console.document(&json, || text(&runs, &report.damage));
    Ok(if report.damage.is_empty() { Exit::Ok } else { Exit::Store })
}

/// Reads it all. A store too damaged to be opened is a finding, not a failure of the check.
async fn read(app: &App) -> Result<(CheckReport, BTreeMap<String, String>), Failure> {
    let runtime = match app.try_open(1).await {
        Ok(runtime) => runtime,
        Err(OpenError::Damaged(damage)) => {
            return Ok((CheckReport { damage: vec![damage], ..CheckReport::default() }, BTreeMap::new()));
        }
        Err(e) => return Err(open_failure(e)),
    };
    let statuses = runtime.runs().await.unwrap_or_default();
    let report = runtime.check().await.map_err(read_failure);
    close(&runtime).await;
    Ok((report?, statuses.into_iter().map(|r| (r.id.to_string(), r.status)).collect()))
}

fn damage_json(damage: &Damage) -> Json {
    let run = damage.stream.as_ref().filter(|s| s.kind() == StreamKind::Run).map(|s| s.id().to_owned());
    json!({
        "run_id": run, "stream": damage.stream.as_ref().map(ToString::to_string), "seq": damage.seq, "what": damage.what,
    })
}

fn text(runs: &[Json], damage: &[Damage]) -> String {
    let words = |json: &Json| json.as_str().map_or_else(|| json.to_string(), str::to_owned);
    let rows: Vec<Vec<String>> =
        runs.iter().map(|r| [&r["run_id"], &r["status"], &r["events"], &r["digest"]].map(words).to_vec()).collect();
    let mut out = columns(rows);
    match damage {
        [] => out += &format!("{} runs read, all as they were written ✓\n", runs.len()),
        damage => {
            out += &format!("{} runs read, {} damaged places ✗\n", runs.len(), damage.len());
            damage.iter().for_each(|d| out += &format!("  {d}\n"));
        }
    }
    out
}
