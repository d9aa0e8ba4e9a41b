//! The front-end: the whole table of routes on one screen. It drives the one filter and the API's document, so that they cannot
//! drift apart. Handlers know nothing of warp.

mod auth;
mod events;
mod exchange;
mod feed;
mod gate;
mod listener;
mod once;
mod openapi;
mod pages;
mod peer;
mod people;
mod probes;
mod problem;
mod rates;
mod route;
mod runs;
mod scenarios;
mod stretch;
mod tls;
mod token;
mod wire;
mod ws;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::model::Model;
use commedia_actors::runtime::Runtime;
use commedia_domain::id::Hash32;
use commedia_domain::identity::Role::{Admin, Owner, Viewer};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_layer::Layer;

use self::feed::Feeds;
use self::gate::AuthContext;
pub(crate) use self::gate::Gate;
pub(crate) use self::listener::listen;
use self::problem::Problem;
use self::rates::Rates;
use self::route::{InQuery, Keyed, Kind, Route, Routes};
use self::scenarios::Packs;
use self::wire::{
    Document, Done, EventsPage, Extract, Grant, Health, KeyMade, KeyView, KeysPage, LogIn, Me, MemberRole, MemberView,
    MembersPage, ModelsPage, NewKey, NewMember, NewRun, NewUser, NewWorkspace, Object, Password, ProblemView, Reason, Refresh,
    Release, Replay, Resolved, RunView, RunsPage, ScenarioView, ScenariosPage, SetUp, StateView, Ticket, TokenError, Tokens,
    ToolsPage, TranscriptPage, UsageView, UserView, UsersPage, Validated, VersionsPage, Words, WorkspaceView, WorkspacesPage,
};
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// A handler as the table has it.
macro_rules! to {
    ($handler:path) => {
        |api, asked| Box::pin($handler(api, asked))
    };
}

/// Whole runs that are folded at once for somebody who asks: it takes a core each.
const FOLDING: usize = 2;
/// How often what is kept for a while is looked through.
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
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
    InQuery { name: "label", kind: Kind::Text(200), about: "Only runs with a label: `NAME=VALUE`, or `NAME` with any value" },
];
/// The last seq that a number of JSON names exactly.
const LAST: u64 = (1 << 53) - 1;
const AFTER: InQuery = InQuery { name: "after", kind: Kind::Whole(0, LAST), about: "Only events behind this seq" };
const IN_EVENTS: &[InQuery] = &[
    AFTER,
    InQuery { name: "limit", kind: Kind::Whole(1, 1000), about: "Stored events on a page (200); streams go on to the end" },
];
const IN_STATE: &[InQuery] = &[InQuery { name: "at", kind: Kind::Whole(1, LAST), about: "The seq of an event" }];
const CURSOR: InQuery = InQuery { name: "after", kind: Kind::Text(100), about: "The `cursor` of the last frame" };
const IN_FEED: &[InQuery] = &[CURSOR];
const TICKET: InQuery =
    InQuery { name: "ticket", kind: Kind::Text(128), about: "What `POST /api/auth/ws-ticket` gave; good once" };
const IN_FEED_WS: &[InQuery] = &[CURSOR, TICKET];
const IN_WS: &[InQuery] = &[
    AFTER,
    TICKET,
    InQuery { name: "view", kind: Kind::OneOf(&["frames", "events"]), about: "`events`: the durable events themselves" },
];

const IN_LIST: &[InQuery] = &[
    InQuery { name: "limit", kind: Kind::Whole(1, 1000), about: "So many on a page; all of them where it is not said" },
    InQuery { name: "after", kind: Kind::Text(200), about: "The `next` of the page before" },
];

/// The table.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route> {
    let get = |path, id, handler| Route::new(Method::GET, path, id, handler);
    let post = |path, id, handler| Route::new(Method::POST, path, id, handler);
    let put = |path, id, handler| Route::new(Method::PUT, path, id, handler);
    let patch = |path, id, handler| Route::new(Method::PATCH, path, id, handler);
    let delete = |path, id, handler| Route::new(Method::DELETE, path, id, handler);
    let reason: fn() -> Json = || json!({"reason": "no longer needed"});
    vec![
        get("/", "index", to!(pages::index)).undocumented().open(),
        get("/docs", "docs", to!(pages::docs)).undocumented().open(),
        get("/redoc", "redoc", to!(pages::redoc)).undocumented().open(),
        get("/favicon.ico", "icon", to!(pages::icon)).undocumented().open(),
        get("/assets/{file}", "asset", to!(pages::assets)).undocumented().open(),
        get("/openapi.json", "openapi", to!(pages::openapi)).undocumented().open(),
        get("/schema/{kind}/v1.json", "schema", to!(pages::schema)).about("system", "The JSON Schema of a scenario, an event or the settings")
            .content(200, "The schema", vec![("application/schema+json", None)], &[]).fails(&["not_found"]).open(),
        get("/livez", "livez", to!(probes::live)).about("system", "Whether the process answers").gives::<Health>(200, "It does").open(),
        get("/readyz", "readyz", to!(probes::ready)).about("system", "Whether a new run could begin now")
            .gives::<Health>(200, "It could").gives::<Health>(503, "Not now: `checks` says why").open(),
        get("/metrics", "metrics", to!(probes::metrics)).about("system", "Metrics in Prometheus' text format")
            .content(200, "The metrics", vec![("text/plain", None)], &[]).open(),
        get("/api/system", "system", to!(probes::system)).about("system", "Live runs, queues, the store").gives::<Object>(200, "How it stands"),

        get("/api/models", "list_models", to!(probes::models)).about("system", "Providers of models, and whether there is a key").query(IN_LIST).gives::<ModelsPage>(200, "A page").fails(&["conflict"]),
        get("/api/tools", "list_tools", to!(probes::tools)).about("system", "Tools that any scenario may name without declaring a server").query(IN_LIST).gives::<ToolsPage>(200, "A page").fails(&["conflict"]),

        get("/api/scenarios", "list_scenarios", to!(scenarios::list)).about("scenarios", "Scenarios that can be run by name")
            .query(IN_LIST).gives::<ScenariosPage>(200, "A page").fails(&["conflict"]),
        post("/api/scenarios", "put_scenario", to!(scenarios::add)).about("scenarios", "Keep a scenario under its own name: a document, or a tar.gz with its files")
            .raw(scenarios::KINDS).content(200, "It is kept already", vec![("application/json", Some(|g| g.subschema_for::<ScenarioView>()))], &["ETag", "Location"])
            .content(201, "A new version", vec![("application/json", Some(|g| g.subschema_for::<ScenarioView>()))], &["ETag", "Location"]).fails(&["conflict", "uncompiled", "precondition_failed"]),
        get("/api/scenarios/{name}", "get_scenario", to!(scenarios::one)).about("scenarios", "One scenario with its parameters; `NAME@VERSION` for an older one")
            .content(200, "The scenario", vec![("application/json", Some(|g| g.subschema_for::<ScenarioView>()))], &["ETag"])
            .content(304, "It is as it was", vec![], &["ETag"]).fails(&["not_found"]),
        put("/api/scenarios/{name}", "replace_scenario", to!(scenarios::replace)).about("scenarios", "Keep a scenario under this name, which is its own; `If-Match` for no other's")
            .raw(scenarios::KINDS).content(200, "It is kept already", vec![("application/json", Some(|g| g.subschema_for::<ScenarioView>()))], &["ETag", "Location"])
            .content(201, "A new version", vec![("application/json", Some(|g| g.subschema_for::<ScenarioView>()))], &["ETag", "Location"]).fails(&["conflict", "uncompiled", "precondition_failed"]),
        delete("/api/scenarios/{name}", "delete_scenario", to!(scenarios::remove)).about("scenarios", "Forget a name; runs of it go on")
            .content(204, "It means nothing any more", vec![], &[]).fails(&["not_found", "conflict", "precondition_failed"]),
        get("/api/scenarios/{name}/versions", "list_versions", to!(scenarios::versions)).about("scenarios", "All versions of a scenario, the newest first")
            .query(IN_LIST).gives::<VersionsPage>(200, "A page").fails(&["not_found", "conflict"]),
        get("/api/scenarios/{name}/openapi.json", "get_scenario_openapi", to!(scenarios::document)).about("scenarios", "A document of the API in which runs are of this scenario")
            .gives::<Object>(200, "OpenAPI 3.1").fails(&["not_found"]),
        post("/api/scenarios/validate", "validate_scenario", to!(scenarios::validate)).keyed(Keyed::No).about("scenarios", "All that is wrong with a document")
            .takes::<Document>(scenarios::document_example).gives::<Validated>(200, "What was found, with lines and columns"),
        post("/api/parameters/extract", "extract_parameters", to!(scenarios::extract)).keyed(Keyed::No).about("scenarios", "Parameters in a person's words; starts nothing")
            .takes::<Extract>(scenarios::extract_example).gives::<Object>(200, "Each parameter with the words it came from").fails(&["not_found"]),

        get("/api/runs", "list_runs", to!(runs::list)).about("runs", "Runs, newest first").query(IN_RUNS).gives::<RunsPage>(200, "A page"),
        post("/api/runs", "create_run", to!(runs::create)).keyed(Keyed::ByItself).about("runs", "Start a run; it is durable when this answers").takes::<NewRun>(runs::example)
            .content(201, "The run", vec![("application/json", Some(|g| g.subschema_for::<RunView>()))], &["Location", "Preference-Applied"])
            .fails(&["not_found", "conflict", "busy", "not_built", "uncompiled"]),
        get("/api/runs/{run_id}", "get_run", to!(runs::one)).about("runs", "A run as lists have it")
            .content(200, "The run", vec![("application/json", Some(|g| g.subschema_for::<RunView>()))], &["ETag"])
            .content(304, "It is as it was", vec![], &["ETag"]).fails(&["not_found"]),
        delete("/api/runs/{run_id}", "delete_run", to!(runs::delete)).about("runs", "Delete a run that has ended, for good")
            .content(204, "It is gone", vec![], &[]).fails(&["not_found", "conflict", "precondition_failed"]),
        get("/api/runs/{run_id}/result", "get_result", to!(runs::result)).about("runs", "What came of a run that has ended")
            .gives::<Object>(200, "As `commedia run --output json` prints it").fails(&["not_found", "conflict"]),
        get("/api/runs/{run_id}/state", "get_state", to!(runs::state)).about("runs", "How a run stood after an event (the last one)").query(IN_STATE)
            .gives::<StateView>(200, "How it stood").fails(&["not_found"]),
        get("/api/runs/{run_id}/events", "get_events", to!(events::events)).about("runs", "A run's events: a page, or a stream as they come (Accept)")
            .query(IN_EVENTS).content(200, "The events", vec![("application/json", Some(|g| g.subschema_for::<EventsPage>())),
                ("text/event-stream", None), ("application/x-ndjson", None)], &[]).fails(&["not_found"]),
        get("/api/runs/{run_id}/transcript", "get_transcript", to!(events::transcript)).about("runs", "What was said and done in a run, in order: a page").query(IN_EVENTS)
            .gives::<TranscriptPage>(200, "A page").fails(&["not_found"]),
        post("/api/runs/{run_id}/cancel", "cancel_run", to!(runs::cancel)).keyed(Keyed::Command).about("runs", "End a run").may_take::<Reason>(reason)
            .gives::<Done>(200, "It ends").fails(&["not_found", "conflict", "busy", "precondition_failed"]),
        post("/api/runs/{run_id}/pause", "pause_run", to!(runs::pause)).keyed(Keyed::Command).about("runs", "Let a run stand still").may_take::<Reason>(reason)
            .gives::<Done>(200, "It stands still").fails(&["not_found", "conflict", "busy", "precondition_failed"]),
        post("/api/runs/{run_id}/resume", "resume_run", to!(runs::resume)).about("runs", "Go on with a run that stands still or was interrupted")
            .gives::<Done>(200, "It goes on").fails(&["not_found", "conflict", "busy", "not_built", "invalid", "precondition_failed"]),
        post("/api/runs/{run_id}/release", "release_run", to!(runs::release)).about("runs", "Let a quarantined run go on, or end")
            .takes::<Release>(|| json!({"to": "running"})).gives::<Done>(200, "So it is").fails(&["not_found", "conflict", "busy", "precondition_failed"]),
        post("/api/runs/{run_id}/messages", "tell_agent", to!(runs::message)).keyed(Keyed::Command).about("runs", "Say something to an agent of a run, which is woken for it").takes::<Words>(|| json!({"agent": "clerk", "text": "Close early today."}))
            .gives::<Done>(200, "It was heard").fails(&["not_found", "conflict", "busy", "precondition_failed"]),
        post("/api/runs/{run_id}/steps/{step_id}/resolution", "resolve_step", to!(runs::resolve)).keyed(Keyed::Command).about("runs", "Say what became of a step of which nobody knows; the run goes on")
            .takes::<Resolved>(|| json!({"outcome": "succeeded", "result": "paid"})).gives::<Done>(200, "It goes on").fails(&["not_found", "conflict", "busy", "precondition_failed"]),
        post("/api/runs/{run_id}/replay", "replay_run", to!(runs::replay)).keyed(Keyed::No).needs(Viewer).about("runs", "Fold a run from its log; with `verify` decide everything anew: no calls")
            .may_take::<Replay>(|| json!({"verify": true})).gives::<Object>(200, "As `commedia replay --output json` prints it").fails(&["not_found", "conflict", "busy"]),
        get("/api/runs/{run_id}/events/{seq}/causes", "get_causes", to!(runs::why)).about("runs", "The chain of causes behind an event")
            .gives::<Object>(200, "As `commedia why --output json` prints it").fails(&["not_found", "conflict", "busy"]),
        get("/api/events", "follow_workspace", to!(feed::events)).about("runs", "What happens in all runs of the workspace, as it comes (Accept)").query(IN_FEED)
            .content(200, "Frames as a WebSocket has them, each with its `cursor`", vec![("text/event-stream", None), ("application/x-ndjson", None)], &[]),
        get("/ws/events", "follow_workspace_ws", to!(ws::workspace)).query(IN_FEED_WS).undocumented(),
        get("/ws/{run_id}", "follow_run", to!(ws::run)).query(IN_WS).undocumented(),

        get("/setup", "setup_page", to!(pages::setup)).undocumented().open(),
        post("/api/auth/setup", "set_up", to!(auth::set_up)).about("auth", "Make the first user, with what the set-up link carries").open()
            .takes::<SetUp>(|| json!({"token": "…", "email": "ann@example.com", "password": "correct horse battery"}))
            .gives::<Tokens>(201, "The user's first tokens").fails(&["unauthorized", "conflict", "busy"]),
        post("/api/auth/login", "log_in", to!(auth::log_in)).about("auth", "Log in with a password").open().takes::<LogIn>(auth::log_in_example)
            .gives::<Tokens>(200, "Tokens of a new session").fails(&["unauthorized", "conflict", "busy"]),
        post("/api/auth/refresh", "refresh", to!(auth::refresh)).about("auth", "The next tokens of a session; a token that refreshes is good once").open()
            .takes::<Refresh>(|| json!({"refresh_token": "cr_…"})).gives::<Tokens>(200, "The next tokens").fails(&["unauthorized", "conflict", "busy"]),
        post("/api/auth/token", "token", to!(auth::token)).about("auth", "OAuth 2.0 tokens (RFC 6749): password, refresh_token, client_credentials").open()
            .form().takes::<Grant>(auth::grant_example).gives::<Tokens>(200, "Tokens").content(400, "None, and why", vec![("application/json", Some(|g| g.subschema_for::<TokenError>())), ("application/problem+json", Some(|g| g.subschema_for::<ProblemView>()))], &[]).content(401, "No such client", vec![("application/json", Some(|g| g.subschema_for::<TokenError>()))], &["WWW-Authenticate"]).fails(&["conflict", "busy"]),
        post("/api/auth/logout", "log_out", to!(auth::log_out)).keyed(Keyed::No).about("auth", "End the session, for whoever has its tokens").needs(Viewer)
            .content(204, "It has ended", vec![], &[]),
        post("/api/auth/ws-ticket", "ws_ticket", to!(auth::ws_ticket)).keyed(Keyed::No).about("auth", "A ticket that opens one WebSocket within 30 s").needs(Viewer)
            .gives::<Ticket>(200, "The ticket").fails(&["conflict", "busy"]),
        post("/api/auth/password", "set_password", to!(auth::password)).keyed(Keyed::No).about("auth", "Set another password; every other session ends").needs(Viewer)
            .takes::<Password>(|| json!({"current": "correct horse battery", "new": "a staple for the battery"}))
            .gives::<Tokens>(200, "Tokens of a new session").fails(&["conflict", "busy"]),
        get("/api/auth/me", "me", to!(auth::me)).about("auth", "Who you are, where, and what you may do").gives::<Me>(200, "You"),

        get("/api/users", "list_users", to!(people::users)).about("users", "Users who work in this workspace").needs(Admin).query(IN_LIST).gives::<UsersPage>(200, "A page").fails(&["conflict"]),
        post("/api/users", "create_user", to!(people::add_user)).about("users", "A new user, with a role in this workspace").needs(Admin)
            .takes::<NewUser>(people::user_example).gives::<UserView>(201, "The user").fails(&["conflict"]),
        get("/api/users/{user_id}", "get_user", to!(people::user)).about("users", "A user: yourself, or one of this workspace")
            .gives::<UserView>(200, "The user").fails(&["not_found", "conflict"]),
        delete("/api/users/{user_id}", "delete_user", to!(people::remove_user)).about("users", "Remove a user, everywhere").needs(Viewer)
            .content(204, "Gone", vec![], &[]).fails(&["forbidden", "not_found", "conflict"]),
        get("/api/workspaces", "list_workspaces", to!(people::workspaces)).about("workspaces", "Workspaces in which you have a role")
            .query(IN_LIST).gives::<WorkspacesPage>(200, "A page").fails(&["conflict"]),
        post("/api/workspaces", "create_workspace", to!(people::add_workspace)).about("workspaces", "A new workspace, which you own").needs(Admin)
            .takes::<NewWorkspace>(|| json!({"name": "Spring"})).gives::<WorkspaceView>(201, "The workspace").fails(&["conflict"]),
        get("/api/workspaces/{workspace_id}", "get_workspace", to!(people::workspace)).about("workspaces", "This workspace")
            .content(200, "The workspace", vec![("application/json", Some(|g| g.subschema_for::<WorkspaceView>()))], &["ETag"]).fails(&["not_found", "conflict"]),
        patch("/api/workspaces/{workspace_id}", "rename_workspace", to!(people::rename_workspace)).about("workspaces", "Call this workspace otherwise").needs(Owner)
            .takes::<NewWorkspace>(|| json!({"name": "Summer"})).content(200, "The workspace", vec![("application/json", Some(|g| g.subschema_for::<WorkspaceView>()))], &["ETag"]).fails(&["not_found", "conflict", "precondition_failed"]),
        get("/api/workspaces/{workspace_id}/usage", "get_usage", to!(people::usage)).about("workspaces", "What this workspace uses")
            .gives::<UsageView>(200, "So much").fails(&["not_found", "conflict"]),
        get("/api/workspaces/{workspace_id}/members", "list_members", to!(people::members)).about("workspaces", "Who works here").needs(Admin)
            .query(IN_LIST).gives::<MembersPage>(200, "A page").fails(&["not_found", "conflict"]),
        post("/api/workspaces/{workspace_id}/members", "add_member", to!(people::add_member)).about("workspaces", "Let a user of the account work here, too").needs(Admin)
            .takes::<NewMember>(|| json!({"email": "bob@example.com", "role": "viewer"})).gives::<MemberView>(201, "The member").fails(&["not_found", "conflict"]),
        put("/api/workspaces/{workspace_id}/members/{user_id}", "change_member", to!(people::change_member)).about("workspaces", "Give a member another role").needs(Admin)
            .takes::<MemberRole>(|| json!({"role": "admin"})).gives::<MemberView>(200, "The member").fails(&["not_found", "conflict"]),
        delete("/api/workspaces/{workspace_id}/members/{user_id}", "remove_member", to!(people::remove_member)).about("workspaces", "Let a member work here no longer").needs(Admin)
            .content(204, "Gone", vec![], &[]).fails(&["not_found", "conflict"]),
        get("/api/keys", "list_keys", to!(people::keys)).about("keys", "Keys to this workspace").needs(Admin).query(IN_LIST).gives::<KeysPage>(200, "A page").fails(&["conflict"]),
        post("/api/keys", "create_key", to!(people::add_key)).keyed(Keyed::Secret).about("keys", "A new key; its text is told once").needs(Admin).takes::<NewKey>(people::key_example)
            .gives::<KeyMade>(201, "The key").fails(&["not_found", "conflict"]),
        get("/api/keys/{key_id}", "get_key", to!(people::key)).about("keys", "A key").needs(Admin).gives::<KeyView>(200, "The key").fails(&["not_found", "conflict"]),
        delete("/api/keys/{key_id}", "revoke_key", to!(people::revoke_key)).about("keys", "Let a key open nothing any more").needs(Admin)
            .content(204, "Gone", vec![], &[]).fails(&["not_found", "conflict"]),
    ]
}

/// Bounds of what is read of a request.
pub(crate) struct BodyLimits {
    pub(crate) body_bytes: usize,
    pub(crate) bundle_bytes: usize,
    pub(crate) body_pause: Duration,
}

/// The front-end's state: what every handler is given.
pub(crate) struct Api {
    /// The runtime from within no asker's workspace: handlers are given one with what they are asked.
    pub(crate) instance: Runtime,
    pub(crate) gate: Box<Gate>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) settings: Settings,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) packs: Packs,
    /// Workspaces that somebody follows.
    pub(crate) feeds: Feeds,
    pub(crate) limits: BodyLimits,
    pub(crate) routes: Routes,
    /// The API's document and its tag.
    pub(crate) document: (Bytes, String),
    /// Whole runs that are folded at once for somebody who asks.
    pub(crate) folding: Arc<Semaphore>,
    /// Requests that are answered whether whoever asked has gone or not.
    detached: Arc<Semaphore>,
    /// Whether the server ends: streams end then.
    pub(crate) closing: watch::Sender<bool>,
    /// Requests so far, and what tells this process from others.
    requests: AtomicU64,
    process: u64,
}

impl Api {
    fn new(instance: Runtime, gate: Gate, settings: Settings, model: Arc<dyn Model>) -> Result<Api, Failure> {
        let routes = Routes::new(table(), openapi::body_schema).map_err(|why| Failure::new(Exit::Internal, why))?;
        let document = openapi::document(routes.table(), gate.has_users()).to_string();
        let tag = format!("\"{}\"", &Hash32::of(document.as_bytes()).to_string()[..16]);
        let limits = BodyLimits {
            body_bytes: settings.http.max_body_bytes,
            bundle_bytes: settings.http.max_bundle_bytes,
            body_pause: settings.http.body_timeout,
        };
        let process = RandomState::new().hash_one(std::process::id());
        let closing = watch::Sender::new(false);
        let (packs, feeds) = (Packs::default(), Feeds::default());
        let (document, requests, folding) = ((document.into(), tag), AtomicU64::new(0), Arc::new(Semaphore::new(FOLDING)));
        let detached = Arc::new(Semaphore::new(settings.http.max_connections));
        let rates = Arc::new(if gate.has_users() { Rates::new(&settings.http.rates) } else { Rates::none() });
        let gate = Box::new(gate);
        Ok(Api {
            instance,
            gate,
            rates,
            settings,
            model,
            packs,
            feeds,
            limits,
            routes,
            document,
            folding,
            detached,
            closing,
            requests,
            process,
        })
    }

    /// How long somebody is let in yet, where that ends.
    pub(crate) fn left_of(&self, context: &AuthContext) -> Option<Duration> {
        let left = context.expires_ms?.saturating_sub(self.settings.clock.now_ms());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)) + Duration::from_millis(1))
    }

    /// The right to work on when whoever asked has gone; there are as many as connections.
    pub(crate) fn detached(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = |_| Problem::new("busy", "too many requests with keys are being answered").after(1);
        self.detached.clone().try_acquire_owned().map_err(busy)
    }

    /// An id for a request that brought none.
    pub(crate) fn request_id(&self) -> String {
        format!("{:016x}-{:x}", self.process, self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

/// Runs that were interrupted go on, and those that wait are woken in their time. One that cannot go on is named, and left.
async fn go_on_with_all(api: Arc<Api>) {
    let standings = match api.instance.standings().await {
        Ok(standings) => standings,
        Err(why) => return tracing::error!(%why, "runs that were interrupted are not known: restart the server"),
    };
    api.instance.keep_time(&standings);
    let count = standings.interrupted.len();
    let mut working = JoinSet::new();
    for id in standings.interrupted {
        if working.len() >= AT_ONCE {
            working.join_next().await;
        }
        let api = api.clone();
        working.spawn(async move {
            match runs::go_on(&api, &api.instance.of(&id), id.id()).await {
                Ok(_) => {}
                Err(problem) => tracing::warn!(run = %id, why = problem.detail, "an interrupted run does not go on"),
            }
        });
    }
    working.join_all().await;
    if count > 0 {
        tracing::info!(count, "runs that were interrupted go on");
    }
}

/// Deletes what means nothing any more: answers kept for keys of requests, and sessions that are over.
async fn forget_what_is_over(api: Arc<Api>) {
    let mut hour = tokio::time::interval(FORGET_EVERY);
    loop {
        hour.tick().await;
        let receipts = match api.instance.forget_receipts().await {
            Ok(deleted) => deleted,
            Err(why) => {
                tracing::warn!(%why, "answers kept for keys of requests are not deleted");
                0
            }
        };
        let sessions = match api.gate.users() {
            Ok(users) => users.identity.sessions().forget_over().await,
            Err(_) => Ok(0),
        };
        let sessions = sessions.unwrap_or_else(|why| {
            tracing::warn!(%why, "sessions that are over are not deleted");
            0
        });
        if receipts + sessions > 0 {
            tracing::info!(receipts, sessions, "what means nothing any more was deleted");
        }
    }
}

/// Comes back when the server ends.
pub(crate) async fn ends(closing: &mut watch::Receiver<bool>) {
    // The sender is the front-end's state, which whoever waits holds.
    drop(closing.wait_for(|closing| *closing).await);
}

/// The API's document, of a server with users.
pub(crate) fn document() -> Json {
    openapi::document(table().iter(), true)
}

/// Whether a certificate and its key can be used.
pub(crate) fn check_tls(certificate: &std::path::Path, key: &std::path::Path) -> Result<(), Failure> {
    tls::acceptor(certificate, key).map(drop)
}

/// What is worth compressing: not what is small, and not what comes piece by piece.
fn compressed() -> impl Predicate {
    let stream = NotForContentType::const_new("application/x-ndjson");
    SizeAbove::new(1024).and(NotForContentType::SSE).and(stream)
}

/// Who may read answers besides this server's own pages: nobody, unless it is said.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let allowed: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if allowed.is_empty() {
        return None;
    }
    let exposed =
        ["etag", "link", "location", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id", "idempotency-replayed"];
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(
            ["authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "last-event-id", "prefer"]
                .map(HeaderName::from_static),
        )
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(Duration::from_secs(600));
    Some(cors)
}

/// Serves the runtime until `stop`.
pub(crate) async fn serve(
    listener: TcpListener,
    runtime: Runtime,
    gate: Gate,
    settings: Settings,
    model: Arc<dyn Model>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let (drain, bounds) = (settings.drain, settings.http.clone());
    let api = Arc::new(Api::new(runtime, gate, settings, model)?);
    let going_on = tokio::spawn(go_on_with_all(api.clone()));
    let forgetting = tokio::spawn(api.rates.clone().forget());
    let deleting = tokio::spawn(forget_what_is_over(api.clone()));
    let limits = listener::Limits { connections: bounds.max_connections, head: bounds.head_timeout };
    let tls = bounds.tls.clone().map(|(certificate, key)| tls::Tls::open(certificate, key)).transpose()?.map(Arc::new);
    let looking = tls.clone().map(|tls| tokio::spawn(tls.keep()));
    let service = Compression::new(warp::service(api.clone().filter())).compress_when(compressed());
    let stopping = async {
        stop.await;
        api.closing.send_replace(true);
    };
    match cors(&bounds.origins) {
        Some(cors) => listener::serve(listener, cors.layer(service), tls, limits, stopping, drain).await,
        None => listener::serve(listener, service, tls, limits, stopping, drain).await,
    }
    going_on.abort();
    forgetting.abort();
    deleting.abort();
    looking.iter().for_each(JoinHandle::abort);
    // Streams and WebSockets say that it ends.
    if tokio::time::timeout(drain, api.closing.closed()).await.is_err() {
        tracing::warn!("streams were cut: they had not ended within {} s", drain.as_secs_f64());
    }
    Ok(())
}
