//! The front-end: the whole table of routes on one screen. It drives the one filter and the API's document, so that they cannot
//! drift apart. Below the table nothing knows warp.

mod events;
mod listener;
mod openapi;
mod pages;
mod probes;
mod problem;
mod route;
mod runs;
mod scenarios;
mod wire;
mod ws;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::model::Model;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartError, StartOptions};
use commedia_domain::id::Hash32;
use http::Method;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::route::{Asked, InQuery, Kind, Route, Routes};
use self::scenarios::Catalogue;
use self::wire::{
    Document, Done, EventsPage, Extract, Health, NewRun, Object, Reason, Release, RunView, RunsPage, ScenarioView, ScenariosPage,
    StateView, Validated,
};
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// A handler as the table has it.
macro_rules! to {
    ($handler:path) => {
        |api, asked| Box::pin($handler(api, asked))
    };
}

/// Interrupted runs that are read at once when the server starts.
const AT_ONCE: usize = 64;
const STATUSES: &[&str] = &[
    "queued",
    "running",
    "waiting",
    "paused",
    "cancelling",
    "completed",
    "failed",
    "timed_out",
    "over_budget",
    "cancelled",
    "quarantined",
];
const IN_RUNS: &[InQuery] = &[
    InQuery { name: "limit", kind: Kind::Whole(1, 500), about: "Runs on a page (50)" },
    InQuery { name: "after", kind: Kind::Run, about: "The `next` of the page before" },
    InQuery { name: "status", kind: Kind::OneOf(STATUSES), about: "Only runs that stand so" },
    InQuery { name: "scenario", kind: Kind::Text(200), about: "Only runs of a scenario" },
];
const AFTER: InQuery = InQuery { name: "after", kind: Kind::Whole(0, u64::MAX >> 11), about: "Only events behind this seq" };
const IN_EVENTS: &[InQuery] = &[
    AFTER,
    InQuery { name: "limit", kind: Kind::Whole(1, 1000), about: "Stored events on a page (200); streams go on to the end" },
];
const IN_STATE: &[InQuery] = &[InQuery { name: "at", kind: Kind::Whole(1, u64::MAX >> 11), about: "The seq of an event" }];
const IN_WS: &[InQuery] = &[
    AFTER,
    InQuery { name: "view", kind: Kind::OneOf(&["frames", "events"]), about: "`events`: the durable events themselves" },
];

/// The table.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route> {
    let get = |path, id, handler| Route::new(Method::GET, path, id, handler);
    let post = |path, id, handler| Route::new(Method::POST, path, id, handler);
    let delete = |path, id, handler| Route::new(Method::DELETE, path, id, handler);
    let reason: fn() -> Json = || json!({"reason": "no longer needed"});
    vec![
        get("/", "index", to!(pages::index)).undocumented(),
        get("/docs", "docs", to!(pages::docs)).undocumented(),
        get("/redoc", "redoc", to!(pages::redoc)).undocumented(),
        get("/assets/{file}", "asset", to!(pages::assets)).undocumented(),
        get("/openapi.json", "openapi", to!(pages::openapi)).undocumented(),
        get("/schema/{kind}/v1.json", "schema", to!(pages::schema)).about("system", "The JSON Schema of a scenario, an event or the settings")
            .content(200, "The schema", vec![("application/schema+json", None)], &[]).fails(&["not_found"]),
        get("/livez", "livez", to!(probes::live)).about("system", "Whether the process answers").gives::<Health>(200, "It does"),
        get("/readyz", "readyz", to!(probes::ready)).about("system", "Whether a new run could begin now")
            .gives::<Health>(200, "It could").gives::<Health>(503, "Not now: `checks` says why"),
        get("/metrics", "metrics", to!(probes::metrics)).about("system", "Metrics in Prometheus' text format")
            .content(200, "The metrics", vec![("text/plain", None)], &[]),
        get("/api/system", "system", to!(probes::system)).about("system", "Live runs, queues, the store").gives::<Object>(200, "How it stands"),

        get("/api/scenarios", "list_scenarios", to!(scenarios::list)).about("scenarios", "Scenarios that can be run by name")
            .gives::<ScenariosPage>(200, "All of them"),
        get("/api/scenarios/{name}", "get_scenario", to!(scenarios::one)).about("scenarios", "One scenario with its parameters")
            .gives::<ScenarioView>(200, "The scenario").fails(&["not_found"]),
        post("/api/scenarios/validate", "validate_scenario", to!(scenarios::validate)).about("scenarios", "All that is wrong with a document")
            .takes::<Document>(scenarios::document_example).gives::<Validated>(200, "What was found, with lines and columns"),
        post("/api/parameters/extract", "extract_parameters", to!(scenarios::extract)).about("scenarios", "Parameters in a person's words; starts nothing")
            .takes::<Extract>(scenarios::extract_example).gives::<Object>(200, "Each parameter with the words it came from").fails(&["not_found"]),

        get("/api/runs", "list_runs", to!(runs::list)).about("runs", "Runs, newest first").query(IN_RUNS).gives::<RunsPage>(200, "A page"),
        post("/api/runs", "create_run", to!(runs::create)).about("runs", "Start a run; it is durable when this answers").takes::<NewRun>(runs::example)
            .content(201, "The run", vec![("application/json", Some(|g| g.subschema_for::<RunView>()))], &["Location", "Preference-Applied", "Idempotency-Replayed"])
            .fails(&["not_found", "conflict", "busy", "not_built"]),
        get("/api/runs/{run_id}", "get_run", to!(runs::one)).about("runs", "A run as lists have it")
            .content(200, "The run", vec![("application/json", Some(|g| g.subschema_for::<RunView>()))], &["ETag"])
            .content(304, "It is as it was", vec![], &["ETag"]).fails(&["not_found"]),
        delete("/api/runs/{run_id}", "delete_run", to!(runs::delete)).about("runs", "Delete a run that has ended, for good")
            .content(204, "It is gone", vec![], &[]).fails(&["not_found", "conflict"]),
        get("/api/runs/{run_id}/result", "get_result", to!(runs::result)).about("runs", "What came of a run that has ended")
            .gives::<Object>(200, "As `commedia run --output json` prints it").fails(&["not_found", "conflict"]),
        get("/api/runs/{run_id}/state", "get_state", to!(runs::state)).about("runs", "How a run stood after an event (the last one)").query(IN_STATE)
            .gives::<StateView>(200, "How it stood").fails(&["not_found"]),
        get("/api/runs/{run_id}/events", "get_events", to!(events::events)).about("runs", "A run's events: a page, or a stream as they come (Accept)")
            .query(IN_EVENTS).content(200, "The events", vec![("application/json", Some(|g| g.subschema_for::<EventsPage>())),
                ("text/event-stream", None), ("application/x-ndjson", None)], &[]).fails(&["not_found"]),
        post("/api/runs/{run_id}/cancel", "cancel_run", to!(runs::cancel)).about("runs", "End a run").may_take::<Reason>(reason)
            .gives::<Done>(200, "It ends").fails(&["not_found", "conflict", "busy"]),
        post("/api/runs/{run_id}/pause", "pause_run", to!(runs::pause)).about("runs", "Let a run stand still").may_take::<Reason>(reason)
            .gives::<Done>(200, "It stands still").fails(&["not_found", "conflict", "busy"]),
        post("/api/runs/{run_id}/resume", "resume_run", to!(runs::resume)).about("runs", "Go on with a run that stands still or was interrupted")
            .gives::<Done>(200, "It goes on").fails(&["not_found", "conflict", "busy", "not_built", "invalid"]),
        post("/api/runs/{run_id}/release", "release_run", to!(runs::release)).about("runs", "Let a quarantined run go on, or end")
            .takes::<Release>(|| json!({"to": "running"})).gives::<Done>(200, "So it is").fails(&["not_found", "conflict", "busy"]),
        get("/ws/{run_id}", "follow_run", to!(ws::run)).query(IN_WS).undocumented(),
    ]
}

/// Bounds of what is read of a request.
pub(crate) struct BodyLimits {
    pub(crate) body_bytes: usize,
    pub(crate) body_pause: Duration,
}

/// The front-end's state: what every handler is given.
pub(crate) struct Api {
    pub(crate) runtime: Runtime,
    pub(crate) settings: Settings,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) scenarios: Catalogue,
    pub(crate) limits: BodyLimits,
    pub(crate) routes: Routes,
    /// The API's document and its tag.
    pub(crate) document: (Bytes, String),
    /// Whether the server ends: streams end then.
    pub(crate) closing: watch::Sender<bool>,
    /// Requests so far, and what tells this process from others.
    requests: AtomicU64,
    process: u64,
}

impl Api {
    fn new(runtime: Runtime, settings: Settings, model: Arc<dyn Model>) -> Result<Api, Failure> {
        let routes = Routes::new(table(), openapi::body_schema).map_err(|why| Failure::new(Exit::Internal, why))?;
        let document = openapi::document(routes.table()).to_string();
        let tag = format!("\"{}\"", &Hash32::of(document.as_bytes()).to_string()[..16]);
        let limits = BodyLimits { body_bytes: settings.http.max_body_bytes, body_pause: settings.http.body_timeout };
        let process = RandomState::new().hash_one(std::process::id());
        let closing = watch::Sender::new(false);
        let scenarios = Catalogue::default();
        let (document, requests) = ((document.into(), tag), AtomicU64::new(0));
        Ok(Api { runtime, settings, model, scenarios, limits, routes, document, closing, requests, process })
    }

    /// An id for a request that brought none.
    pub(crate) fn request_id(&self) -> String {
        format!("{:016x}-{:x}", self.process, self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs that were interrupted go on, and those that wait are woken in their time. One that cannot go on is named, and left.
async fn go_on(api: Arc<Api>) {
    let standings = match api.runtime.standings().await {
        Ok(standings) => standings,
        Err(why) => return tracing::error!(%why, "runs that were interrupted are not known: restart the server"),
    };
    api.runtime.keep_time(&standings);
    let count = standings.interrupted.len();
    let mut working = JoinSet::new();
    for id in standings.interrupted {
        if working.len() >= AT_ONCE {
            working.join_next().await;
        }
        let api = api.clone();
        working.spawn(async move {
            if let Err(why) = resumed(&api, &id).await {
                tracing::warn!(run = %id, why, "an interrupted run does not go on");
            }
        });
    }
    working.join_all().await;
    if count > 0 {
        tracing::info!(count, "runs that were interrupted go on");
    }
}

async fn resumed(api: &Api, id: &RunId) -> Result<(), String> {
    let (created, scenario, _) = api.runtime.beginning(id).await.map_err(|e| e.to_string())?;
    crate::models::check(&scenario, &created.models, &api.settings.models).map_err(|failure| failure.to_string())?;
    match api.runtime.resume(id, StartOptions::default()).await {
        // Somebody was quicker.
        Ok(_) | Err(StartError::Live(_) | StartError::Ended(..)) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

/// Comes back when the server ends.
pub(crate) async fn ends(closing: &mut watch::Receiver<bool>) {
    // The sender is the front-end's state, which whoever waits holds.
    drop(closing.wait_for(|closing| *closing).await);
}

/// Whether a request comes from no page, or from one of this server's own.
pub(crate) fn is_same_origin(asked: &Asked) -> bool {
    let Some(origin) = asked.header("origin") else { return true };
    let host = asked.header("host");
    origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host)
}

/// Serves the runtime until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    runtime: Runtime,
    settings: Settings,
    model: Arc<dyn Model>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (drain, bounds) = (settings.drain, settings.http.clone());
    let api = Arc::new(Api::new(runtime, settings, model)?);
    let going_on = tokio::spawn(go_on(api.clone()));
    let limits = listener::Limits { connections: bounds.max_connections, head: bounds.head_timeout };
    let service = warp::service(api.clone().filter());
    let stopping = async {
        stop.await;
        api.closing.send_replace(true);
    };
    listener::serve(listener, service, limits, stopping, drain).await;
    going_on.abort();
    // Streams and WebSockets say that it ends.
    if tokio::time::timeout(drain, api.closing.closed()).await.is_err() {
        tracing::warn!("streams were cut: they had not ended within {} s", drain.as_secs_f64());
    }
    Ok(())
}
