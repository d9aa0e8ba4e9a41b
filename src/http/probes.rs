//! Whether the process lives, whether it can take work, and its metrics.

use std::sync::Arc;

use commedia_actors::tool::{BUILTINS, BuiltinDoc};
use http::{StatusCode, header};
use serde_json::{Map, Value as Json, json};

use super::Api;
use super::exchange::{Answer, Asked, Handled};
use super::wire::{Health, ModelView, ModelsPage, ToolView, ToolsPage};
use crate::settings::models::ProviderSettings;

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
    let runtime = &api.instance;
    let (writable, closing) = (runtime.is_writable(), *api.closing.borrow());
    let backlog = runtime.backlog();
    let mut checks = Map::new();
    checks.insert("store".into(), json!({"ok": writable, "engine": runtime.store_engine().0}));
    checks.insert(
        "backlog".into(),
        json!({"ok": !backlog.is_full, "waiting_for_a_place": backlog.queued, "live_runs": backlog.live}),
    );
    // A run can begin without them, and its agents' fallbacks answer.
    let left_alone = api.model.left_alone();
    checks.insert("models".into(), json!({"ok": left_alone.is_empty(), "left_alone": left_alone}));
    checks.insert("server".into(), json!({"ok": !closing, "ends": closing}));
    let well = writable && !backlog.is_full && !closing;
    let answer = health(well, checks);
    Ok(if well { answer } else { answer.with(header::RETRY_AFTER, "1") })
}

pub(crate) async fn metrics(api: Arc<Api>, _: Asked) -> Handled {
    Ok(Answer::whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", api.instance.metrics().render()))
}

/// Who may answer for models.
pub(crate) async fn models(api: Arc<Api>, asked: Asked) -> Handled {
    let known: Vec<&str> = api.settings.models.configured().collect();
    let view = |p: &ProviderSettings| ModelView { provider: p.name, configured: known.contains(&p.name), model: p.model.clone() };
    let all = api.settings.models.providers.iter().map(view).collect();
    asked.listed(all, |model: &ModelView| model.provider.to_owned(), |data, next| ModelsPage { data, next })
}

/// Tools that come with the program.
pub(crate) async fn tools(_: Arc<Api>, asked: Asked) -> Handled {
    let schema = |text: &str| serde_json::from_str(text).unwrap_or(Json::Null);
    let view = |tool: &BuiltinDoc| ToolView { name: tool.name.into(), about: tool.description.into(), input: schema(tool.input) };
    asked.listed(BUILTINS.iter().map(view).collect(), |tool: &ToolView| tool.name.clone(), |data, next| ToolsPage { data, next })
}

/// What the process is made of, and how much of it is in use.
pub(crate) async fn system(api: Arc<Api>, _: Asked) -> Handled {
    let (runtime, backlog) = (&api.instance, api.instance.backlog());
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
