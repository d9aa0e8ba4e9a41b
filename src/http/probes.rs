//! Whether the process lives, whether it can take work, and its metrics.

use std::sync::Arc;

use http::{StatusCode, header};
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::route::{Answer, Asked, Handled};
use super::wire::Health;

fn health(well: bool, checks: Map<String, Json>) -> Answer {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(&Health { status: if well { "ok" } else { "unavailable" }, checks }).status(status)
}

/// The process answers: nothing else is looked at.
pub(crate) async fn live(_: Arc<Api>, _: Asked) -> Handled {
    Ok(health(true, Map::new()))
}

/// Whether a new run could begin now.
pub(crate) async fn ready(api: Arc<Api>, _: Asked) -> Handled {
    let runtime = &api.runtime;
    let (writable, closing) = (runtime.is_writable(), *api.closing.borrow());
    let backlog = runtime.backlog();
    let mut checks = Map::new();
    checks.insert("store".into(), json!({"ok": writable, "engine": runtime.store_engine().0}));
    checks.insert(
        "backlog".into(),
        json!({"ok": !backlog.is_full, "waiting_for_a_place": backlog.queued, "live_runs": backlog.live}),
    );
    checks.insert("server".into(), json!({"ok": !closing, "ends": closing}));
    let well = writable && !backlog.is_full && !closing;
    let answer = health(well, checks);
    Ok(if well { answer } else { answer.with(header::RETRY_AFTER, "1") })
}

pub(crate) async fn metrics(api: Arc<Api>, _: Asked) -> Handled {
    Ok(Answer::whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", api.runtime.metrics().render()))
}

/// What the process is made of, and how much of it is in use.
pub(crate) async fn system(api: Arc<Api>, _: Asked) -> Handled {
    let (runtime, backlog) = (&api.runtime, api.runtime.backlog());
    let (engine, durability) = runtime.store_engine();
    let stats = runtime.store_stats();
    Ok(Answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "actors": {"live_runs": backlog.live, "waiting_runs": runtime.waiting()},
        "mailboxes": {"waiting_for_a_place": backlog.queued},
        "store": {
            "engine": engine,
            "durability": crate::settings::durability_word(durability),
            "groups": stats.groups,
            "writes": stats.writes,
            "bytes": stats.bytes,
            "syncs": stats.syncs,
            "writable": runtime.is_writable(),
        },
    })))
}
