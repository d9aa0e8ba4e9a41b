//! `commedia store`: `check` reads everything stored and names what is not as it was written; `copy` takes it elsewhere. The
//! other commands have files of their own.

mod backup;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use commedia_actors::runtime::Keep;
use commedia_actors::store::copy::{Copied, CopyError, copy};
use commedia_actors::store::{CheckReport, Damage, OpenError, StreamKind};
use serde_json::{Value as Json, json};

use crate::app::{App, close, interrupted, open_failure, read_failure};
use crate::failure::{Exit, Failure};
use crate::report::{columns, number};
use crate::settings::keep;

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    what: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Read everything and name all damage
    Check,
    /// Write everything stored to one file
    Backup {
        /// The file; it must not be there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make a store from a backup, in a data folder that is empty or not there yet
    Restore {
        /// The file that `backup` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give room back that the engine does not
    Compact,
    /// Delete runs that have ended, but for those that are to be kept
    Prune {
        /// Which are kept: so many of the newest, such as 1000, or those that ended within a span, such as 24h
        #[arg(long, value_name = "KEEP", value_parser = keep)]
        keep: Keep,
    },
    /// Take the store to another format
    Migrate {
        /// The format [default: the newest]
        #[arg(long, value_name = "N")]
        to: Option<u32>,
    },
    /// Copy a store to another folder, and to another engine if you like; a copy to the same engine is compact
    Copy {
        /// The store that is copied: sled://DIR or fjall://DIR
        #[arg(value_name = "FROM")]
        from: String,
        /// Where to: a folder that is empty or not there yet
        #[arg(value_name = "TO")]
        to: String,
    },
}

pub(super) async fn store(app: &App, args: &StoreArgs) -> Result<Exit, Failure> {
    match &args.what {
        StoreCommand::Check => check(app).await,
        StoreCommand::Backup { file } => backup::backup(app, file).await,
        StoreCommand::Restore { file } => backup::put_back(app, file).await,
        StoreCommand::Compact => upkeep::compact(app).await,
        StoreCommand::Prune { keep } => upkeep::prune(app, *keep).await,
        StoreCommand::Migrate { to } => upkeep::to_format(app, *to).await,
        StoreCommand::Copy { from, to } => copy_store(app, from, to).await,
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

async fn copy_store(app: &App, from: &str, to: &str) -> Result<Exit, Failure> {
    let done = tokio::select! {
        done = copy(from, to, app.settings.durability) => done,
        () = interrupted() => {
            app.console.note("nothing is at the target; what was copied so far is removed by the next attempt");
            return Err(Failure::said(Exit::Interrupted));
        }
    };
    let copied = done.map_err(copy_failure)?;
    let json = json!({
        "schema": "commedia.store-copy/v1", "from": from, "to": to, "streams": copied.streams, "frames": copied.frames,
        "events": copied.events, "blobs": copied.blobs, "snapshots": copied.snapshots, "bytes_from": copied.bytes_from,
        "bytes_to": copied.bytes_to,
    });
    app.console.document(&json, || copied_text(from, to, &copied));
    Ok(Exit::Ok)
}

fn copy_failure(e: CopyError) -> Failure {
    match e {
        CopyError::Usage(_) => Failure::usage(e),
        CopyError::Open { url, why } => {
            let failure = open_failure(why);
            Failure { message: format!("{url}: {}", failure.message), ..failure }
        }
        CopyError::Read(_) => Failure::store(e).help("`commedia store check --store URL` names all damage"),
        CopyError::Write(_) | CopyError::File(_) | CopyError::Differs(_) => Failure::store(e),
    }
}

fn copied_text(from: &str, to: &str, copied: &Copied) -> String {
    let Copied { streams, frames, events, blobs, snapshots, bytes_from, bytes_to } = *copied;
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let row = |name: &str, n: u64| vec![name.to_owned(), number(n as f64)];
    let counts = [("streams", streams), ("frames", frames), ("events", events), ("blobs", blobs), ("snapshots", snapshots)];
    let sizes = [("bytes before", bytes_from), ("bytes now", bytes_to)];
    let rows = counts.into_iter().chain(sizes).map(|(name, n)| row(name, n)).collect();
    format!("{}{from} and {to} have the same streams, heads and digests ✓\n", columns(rows))
}
