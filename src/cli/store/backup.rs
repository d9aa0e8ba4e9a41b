//! `commedia store backup` and `restore`: everything stored to one file, and back from it.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use commedia_actors::store::archive::ArchiveError;
use commedia_actors::store::backup::{BackupError, Contents};
use commedia_actors::store::restore::{RestoreError, restore};
use serde_json::{Value as Json, json};

use crate::app::{App, close, interrupted, open_failure};
use crate::failure::{Exit, Failure};
use crate::report::{columns, number};

/// How often progress is told.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn backup(app: &App, file: &Path) -> Result<Exit, Failure> {
    let Some(runtime) = app.open_stored().await? else {
        return Err(Failure::usage("there is no store here to back up").help("--data or --store names another one"));
    };
    let told = told(app, "backed up");
    let done = tokio::select! {
        done = runtime.backup(file, &told) => Some(done),
        () = interrupted() => None,
    };
    close(&runtime).await;
    let Some(done) = done else {
        app.console.note(&format!("nothing is at {}; the next attempt begins anew", file.display()));
        return Err(Failure::said(Exit::Interrupted));
    };
    let contents = done.map_err(backup_failure)?;
    say(app, "commedia.store-backup/v1", file, &contents, "holds the store ✓");
    Ok(Exit::Ok)
}

pub(super) async fn put_back(app: &App, file: &Path) -> Result<Exit, Failure> {
    let (url, told) = (app.settings.store.as_str(), told(app, "restored"));
    let done = tokio::select! {
        done = restore(file, url, app.settings.durability, &told) => done,
        () = interrupted() => {
            app.console.note("nothing is at the target; what was restored so far is removed by the next attempt");
            return Err(Failure::said(Exit::Interrupted));
        }
    };
    let contents = done.map_err(restore_failure)?;
    say(
        app,
        "commedia.store-restore/v1",
        file,
        &contents,
        &format!("is restored to {url}: the same streams, heads and events ✓"),
    );
    Ok(Exit::Ok)
}

/// Tells once in a while how far it has come.
fn told<'a>(app: &'a App, what: &'a str) -> impl Fn(&Contents) + Send + Sync + 'a {
    let last = Mutex::new(Instant::now());
    move |contents| {
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() >= EVERY {
            *last = Instant::now();
            let Contents { streams, events, bytes, .. } = contents;
            app.console.note(&format!("{what} so far: {streams} streams, {events} events, {} MiB", bytes >> 20));
        }
    }
}

fn say(app: &App, schema: &str, file: &Path, contents: &Contents, verdict: &str) {
    let Contents { streams, frames, events, blobs, snapshots, bytes } = *contents;
    let file = file.display().to_string();
    let json: Json = json!({
        "schema": schema, "file": file, "store": app.settings.store, "streams": streams, "frames": frames, "events": events,
        "blobs": blobs, "snapshots": snapshots, "bytes": bytes,
    });
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let row = |(name, n): (&str, u64)| vec![name.to_owned(), number(n as f64)];
    let rows = [
        ("streams", streams),
        ("frames", frames),
        ("events", events),
        ("blobs", blobs),
        ("snapshots", snapshots),
        ("bytes", bytes),
    ];
    app.console.document(&json, || format!("{}{file} {verdict}\n", columns(rows.map(row).to_vec())));
}

fn backup_failure(e: BackupError) -> Failure {
    match e {
        BackupError::Taken(_) => Failure::usage(e),
        BackupError::Read(_) => Failure::store(e).help("`commedia store check` names all damage"),
        BackupError::File { .. } | BackupError::Stopped(_) => Failure::store(e),
    }
}

fn restore_failure(e: RestoreError) -> Failure {
    match e {
        RestoreError::Usage(_) => Failure::usage(e),
        RestoreError::Backup { why: ArchiveError::File(_) | ArchiveError::Other, .. } => Failure::usage(e),
        RestoreError::Backup { why: ArchiveError::Newer { .. }, .. } => Failure::store(e),
        RestoreError::Backup { .. } => Failure::store(e).help("nothing was restored; use another backup"),
        RestoreError::Open(why) => open_failure(why),
        _ => Failure::store(e),
    }
}
