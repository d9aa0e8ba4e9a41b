//! `commedia store compact`, `prune` and `migrate`: room given back, ended runs deleted, another format.

use commedia_actors::runtime::{DeleteError, Keep};
use commedia_actors::store::compact::{CompactError, Compacted};
use commedia_actors::store::migrate::{MigrateError, migrate};
use serde_json::json;

use crate::app::{App, close, open_failure, read_failure};
use crate::failure::{Exit, Failure};

pub(super) async fn compact(app: &App) -> Result<Exit, Failure> {
    let Some(runtime) = app.open_stored().await? else { return Err(nothing()) };
    app.console.note("the rows are copied and compared; an interrupted compaction leaves the store as it was");
    let done = runtime.compact().await;
    close(&runtime).await;
    let Compacted { bytes_before, bytes_after, rows, dropped } = done.map_err(|e| match e {
        CompactError::Read(e) => read_failure(e),
        e => Failure::store(e),
    })?;
    let json = json!({
        "schema": "commedia.store-compact/v1", "store": app.settings.store, "bytes_before": bytes_before,
        "bytes_after": bytes_after, "rows": rows, "dropped": dropped,
    });
    let said = format!("{bytes_before} bytes before, {bytes_after} now; {rows} rows kept, {dropped} dropped, all compared ✓\n");
    app.console.document(&json, || said);
    Ok(Exit::Ok)
}

pub(super) async fn prune(app: &App, keep: Keep) -> Result<Exit, Failure> {
    let Some(runtime) = app.open_stored().await? else { return Err(nothing()) };
    let done = runtime.prune(keep).await;
    close(&runtime).await;
    let deleted = done.map_err(|e| match e {
        DeleteError::Read(e) => read_failure(e),
        e => Failure::store(e),
    })?;
    let json = json!({"schema": "commedia.store-prune/v1", "store": app.settings.store, "deleted": deleted});
    app.console.document(&json, || format!("{deleted} ended runs deleted\n"));
    if deleted > 0 {
        app.console.note("`commedia store compact` gives their room back");
    }
    Ok(Exit::Ok)
}

pub(super) async fn to_format(app: &App, to: Option<u32>) -> Result<Exit, Failure> {
    let (from, to) = migrate(&app.settings.store, to, app.settings.durability).await.map_err(|e| match e {
        MigrateError::Usage(_) => Failure::usage(e),
        MigrateError::Open(why) => open_failure(why),
        e => Failure::store(e),
    })?;
    let json = json!({"schema": "commedia.store-migrate/v1", "store": app.settings.store, "from": from, "to": to});
    let said = if from == to { format!("already at format {to}\n") } else { format!("from format {from} to format {to} ✓\n") };
    app.console.document(&json, || said);
    Ok(Exit::Ok)
}

fn nothing() -> Failure {
    Failure::usage("there is no store here").help("--data or --store names another one")
}
