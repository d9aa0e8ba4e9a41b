//! A route, what comes to its handler, what it answers; and the way from a request to its route. Handlers know none of warp's
//! types: one filter takes every request and looks it up in the table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use commedia_actors::run_id::RunId;
use commedia_domain::identity::Role;
use commedia_domain::scenario::Schema;
use commedia_domain::schema::Violation;
use futures_util::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use hyper::upgrade::OnUpgrade;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value as Json;
use tokio_stream::wrappers::ReceiverStream;
use warp::Filter;

use super::Api;
use super::auth;
use super::exchange::{Answer, Asked, Content, Handled};
use super::gate::{AuthContext, Bearer};
use super::listener::Peer;
use super::once;
use super::peer;
use super::problem::{Fault, Problem};
use super::rates::Left;

/// A handler: a function of the process' state and of what was asked.
pub(crate) type Handler = fn(Arc<Api>, Asked) -> Pin<Box<dyn Future<Output = Handled> + Send>>;
/// The schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> schemars::Schema;

/// Bytes of a request's id that are taken over.
const REQUEST_ID_LIMIT: usize = 128;
/// What a page may load: nothing, unless its answer says otherwise.
const CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The kind of a value in a query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A whole number within bounds.
    Whole(u64, u64),
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// Text of so many characters at most.
    Text(usize),
    /// The id of a run.
    Run,
}

/// What may stand in a route's query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InQuery {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) about: &'static str,
}

/// What a route takes as its body.
#[derive(Clone)]
pub(crate) struct Takes {
    pub(crate) schema: SchemaOf,
    pub(crate) example: fn() -> Json,
    /// Whether the body may be left out.
    pub(crate) optional: bool,
}

/// What a route answers where all is well.
#[derive(Clone)]
pub(crate) struct Gives {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    /// Types of content, each with its schema if it has one.
    pub(crate) content: Vec<(&'static str, Option<SchemaOf>)>,
    pub(crate) headers: &'static [&'static str],
}

/// What an `Idempotency-Key` means to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// Nothing: it changes nothing, or its answers let somebody in.
    No,
    /// Its handler sees to it.
    ByItself,
    /// Its answer is kept.
    Answer,
    /// A command to a run, found in the run's log by its key; its answer is kept, too.
    Command,
    /// Only that it was answered is kept.
    Secret,
}

/// A line of the table.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With `{name}` for what varies.
    pub(crate) path: &'static str,
    /// The operation's name, as generated clients have it.
    pub(crate) id: &'static str,
    pub(crate) handler: Handler,
    pub(crate) tag: &'static str,
    pub(crate) about: &'static str,
    pub(crate) query: &'static [InQuery],
    pub(crate) takes: Option<Takes>,
    pub(crate) gives: Vec<Gives>,
    /// Codes of problems beside those that every route may answer with.
    pub(crate) fails: &'static [&'static str],
    /// Whether it is part of the API's document.
    pub(crate) documented: bool,
    /// What one must be to ask; `None`: anybody may.
    pub(crate) needs: Option<Role>,
    /// Whether the body is a form instead of JSON.
    pub(crate) form: bool,
    /// Types of a body that is taken as it comes.
    pub(crate) raw: &'static [&'static str],
    pub(crate) keyed: Keyed,
}

impl Route {
    pub(crate) fn new(method: Method, path: &'static str, id: &'static str, handler: Handler) -> Route {
        let (needs, keyed) = if method == Method::GET { (Role::Viewer, Keyed::No) } else { (Role::Operator, Keyed::Answer) };
        Route {
            method,
            path,
            id,
            handler,
            tag: "pages",
            about: "",
            query: &[],
            takes: None,
            gives: Vec::new(),
            fails: &[],
            documented: true,
            needs: Some(needs),
            form: false,
            raw: &[],
            keyed,
        }
    }

    /// Anybody may ask.
    pub(crate) fn open(self) -> Route {
        Route { needs: None, keyed: Keyed::No, ..self }
    }

    pub(crate) fn keyed(self, keyed: Keyed) -> Route {
        Route { keyed, ..self }
    }

    /// Only somebody with a role, or with one that may do more.
    pub(crate) fn needs(self, role: Role) -> Route {
        Route { needs: Some(role), ..self }
    }

    /// The body is `application/x-www-form-urlencoded`: an object of texts.
    pub(crate) fn form(self) -> Route {
        Route { form: true, ..self }
    }

    pub(crate) fn about(self, tag: &'static str, about: &'static str) -> Route {
        Route { tag, about, ..self }
    }

    pub(crate) fn query(self, query: &'static [InQuery]) -> Route {
        Route { query, ..self }
    }

    pub(crate) fn takes<T: JsonSchema>(self, example: fn() -> Json) -> Route {
        Route { takes: Some(Takes { schema: |g| g.subschema_for::<T>(), example, optional: false }), ..self }
    }

    /// A body that may be left out: then it is `{}`.
    pub(crate) fn may_take<T: JsonSchema>(self, example: fn() -> Json) -> Route {
        Route { takes: Some(Takes { schema: |g| g.subschema_for::<T>(), example, optional: true }), ..self }
    }

    pub(crate) fn gives<T: JsonSchema>(self, status: u16, about: &'static str) -> Route {
        self.content(status, about, vec![("application/json", Some(|g| g.subschema_for::<T>()))], &[])
    }

    pub(crate) fn content(
        mut self,
        status: u16,
        about: &'static str,
        content: Vec<(&'static str, Option<SchemaOf>)>,
        headers: &'static [&'static str],
    ) -> Route {
        self.gives.push(Gives { status, about, content, headers });
        self
    }

    pub(crate) fn fails(self, fails: &'static [&'static str]) -> Route {
        Route { fails, ..self }
    }

    /// The body is taken as it comes, if it is of one of these types.
    pub(crate) fn raw(self, raw: &'static [&'static str]) -> Route {
        Route { raw, ..self }
    }

    /// What its body is.
    pub(crate) fn content_type(&self) -> &'static str {
        if self.form { "application/x-www-form-urlencoded" } else { "application/json" }
    }

    pub(crate) fn undocumented(self) -> Route {
        Route { documented: false, ..self }
    }
}

/// A segment of a route's path.
enum Segment {
    Word(&'static str),
    Place,
}

/// The table, ready to be looked up in.
pub(crate) struct Routes {
    routes: Vec<Ready>,
    paths: Vec<PathRoutes>,
}

struct Ready {
    route: Route,
    body: Option<Schema>,
}

/// A path with the routes that have it, by their places in the table.
struct PathRoutes {
    segments: Vec<Segment>,
    routes: Vec<usize>,
}

impl PathRoutes {
    fn fits(&self, parts: &[&str]) -> bool {
        self.segments.len() == parts.len()
            && self.segments.iter().zip(parts).all(|(segment, part)| match segment {
                Segment::Word(word) => word == part,
                Segment::Place => !part.is_empty(),
            })
    }

    fn places(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Place)).count()
    }
}

/// How a path is looked up.
enum Found<'r> {
    Route(&'r Ready, Vec<String>),
    /// The path is there, with other methods.
    Methods(Vec<Method>),
    Nothing,
}

impl Routes {
    /// `schema` gives the whole JSON Schema of what a route takes.
    pub(crate) fn new(table: Vec<Route>, schema: impl Fn(&Takes) -> Json) -> Result<Routes, String> {
        let ready = |route: Route| {
            let body = route.takes.as_ref().map(|takes| Schema::of_json(schema(takes))).transpose();
            let body = body.map_err(|e| format!("the body of {} has no schema: {e}", route.id))?;
            Ok(Ready { body, route })
        };
        let routes = table.into_iter().map(ready).collect::<Result<Vec<Ready>, String>>()?;
        let segment = |s: &'static str| if s.starts_with('{') { Segment::Place } else { Segment::Word(s) };
        let mut by_path: BTreeMap<&'static str, Vec<usize>> = BTreeMap::new();
        for (at, ready) in routes.iter().enumerate() {
            by_path.entry(ready.route.path).or_default().push(at);
        }
        let path =
            |(path, routes): (&'static str, _)| PathRoutes { segments: path.split('/').skip(1).map(segment).collect(), routes };
        let mut paths: Vec<PathRoutes> = by_path.into_iter().map(path).collect();
        // A path that is written out goes before one with places.
        paths.sort_by_key(PathRoutes::places);
        Ok(Routes { routes, paths })
    }

    pub(crate) fn table(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|ready| &ready.route)
    }

    fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let Some(found) = self.paths.iter().find(|path| path.fits(&parts)) else {
            return Found::Nothing;
        };
        let mut methods = Vec::new();
        for ready in found.routes.iter().filter_map(|at| self.routes.get(*at)) {
            let asked = &ready.route.method;
            if asked == method || (method == Method::HEAD && asked == Method::GET) {
                let places = found.segments.iter().zip(&parts).filter(|(segment, _)| matches!(segment, Segment::Place));
                return match places.map(|(_, part)| decoded(part, false)).collect::<Option<Vec<String>>>() {
                    Some(places) => Found::Route(ready, places),
                    None => Found::Nothing,
                };
            }
            methods.push(asked.clone());
            if asked == Method::GET {
                methods.push(Method::HEAD);
            }
        }
        Found::Methods(methods)
    }
}

/// Text of a URL; `None` where it is none.
fn decoded(text: &str, form: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if form => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// The pairs of a query, as the route wants them; all that is wrong at once.
fn checked_query(text: &str, wanted: &[InQuery]) -> Result<Vec<(String, String)>, Problem> {
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decoded(name, true), decoded(value, true)) else {
            faults.push(Fault { pointer: "?".into(), message: format!("`{pair}` cannot be read") });
            continue;
        };
        let mut wrong = |message: String| faults.push(Fault { pointer: format!("?{name}"), message });
        let Some(known) = wanted.iter().find(|known| known.name == name) else {
            wrong(match wanted {
                [] => "this route takes no query".into(),
                some => format!("is not known; known are {}", some.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")),
            });
            continue;
        };
        let digits = value.bytes().all(|b| b.is_ascii_digit());
        match known.kind {
            Kind::Whole(from, to) if !digits || value.parse::<u64>().map_or(true, |n| n < from || n > to) => {
                wrong(format!("must be a whole number from {from} to {to}, and is `{value}`"));
            }
            Kind::OneOf(words) if !words.contains(&value.as_str()) => wrong(format!("must be one of {}", words.join(", "))),
            Kind::Text(most) if value.is_empty() || value.chars().count() > most => {
                wrong(format!("must be text of 1 to {most} characters"));
            }
            Kind::Run if value.parse::<RunId>().is_err() => wrong(format!("must be the id of a run, and is `{value}`")),
            _ if pairs.iter().any(|(n, _)| *n == name) => wrong("is given twice".into()),
            _ => pairs.push((name, value)),
        }
    }
    if faults.is_empty() {
        Ok(pairs)
    } else {
        Err(Problem { errors: faults, ..Problem::new("bad_request", "the query is wrong") })
    }
}

/// What stands around a request besides its body.
struct Envelope {
    peer: Option<IpAddr>,
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    upgrade: Option<OnUpgrade>,
}

impl Api {
    /// The one filter: every request of the front-end goes through it.
    pub(crate) fn filter(self: Arc<Self>) -> impl Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone {
        let query = warp::query::raw().or(warp::any().map(String::new)).unify();
        warp::method()
            .and(warp::path::full())
            .and(query)
            .and(warp::header::headers_cloned())
            .and(warp::ext::optional::<OnUpgrade>())
            .and(warp::ext::optional::<Peer>())
            .and(warp::body::stream())
            .then(move |method, path: warp::path::FullPath, query, headers, upgrade, peer: Option<Peer>, body| {
                let http = &self.settings.http;
                let peer = peer.map(|Peer(address)| peer::client(address, &headers, &http.proxies, http.proxy_header));
                let path = path.as_str().to_owned();
                let envelope = Envelope { peer, method, path, query, headers, upgrade };
                self.clone().answer(envelope, body)
            })
    }

    async fn answer<B: Buf + Send>(
        self: Arc<Self>,
        envelope: Envelope,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> warp::reply::Response {
        let begun = Instant::now();
        let given = envelope.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let given = given.filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_LIMIT && id.bytes().all(|b| b.is_ascii_graphic()));
        let request_id = given.map_or_else(|| self.request_id(), str::to_owned);
        let span = tracing::info_span!("request", id = %request_id, method = %envelope.method, path = %envelope.path);
        let (method, api) = (envelope.method.clone(), self.clone());
        let working = AssertUnwindSafe(tracing::Instrument::instrument(
            async move {
                match api.routes.find(&envelope.method, &envelope.path) {
                    Found::Route(ready, places) => {
                        let handled = api.clone().handled(ready, places, envelope, body).await;
                        (ready.route.path, handled.unwrap_or_else(|problem| problem.answer()))
                    }
                    Found::Methods(methods) => {
                        let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                        let problem = Problem::new("method_not_allowed", format!("this path knows {allow}"));
                        ("", Problem { allow: Some(allow), ..problem }.answer())
                    }
                    Found::Nothing => ("", Problem::not_found("there is no such path; see /docs").answer()),
                }
            },
            span.clone(),
        ));
        let (route, answer) = working.catch_unwind().await.unwrap_or_else(|_| {
            let _entered = span.enter();
            ("", Problem::internal("a handler panicked").answer())
        });
        let metrics = self.instance.metrics();
        metrics.http_requests_total.with_label_values(&[route, answer.status.as_str()]).inc();
        metrics.http_request_seconds.with_label_values(&[route]).observe(begun.elapsed().as_secs_f64());
        response(answer, &request_id, &method, self.settings.http.tls.is_some())
    }

    async fn handled<B: Buf + Send>(
        self: Arc<Self>,
        ready: &Ready,
        places: Vec<String>,
        envelope: Envelope,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Handled {
        self.rates.address(envelope.peer)?;
        let (context, left) = self.let_in(&ready.route, &envelope).await?;
        let handled = self.given_in(ready, places, envelope, context, body).await;
        Ok(match left {
            Some(left) => handled.unwrap_or_else(|problem| problem.answer()).limited(&left),
            None => handled?,
        })
    }

    /// Who asks, if they may, and how often they still may.
    async fn let_in(&self, route: &Route, envelope: &Envelope) -> Result<(AuthContext, Option<Left>), Problem> {
        let Some(needed) = route.needs else { return Ok((AuthContext::anybody(), None)) };
        if !self.gate.has_users() {
            check_own(envelope, &self.settings.http.origins)?;
        }
        let ticket = envelope.query.split('&').find_map(|pair| pair.strip_prefix("ticket="));
        let bearer = Bearer::of(&envelope.headers, ticket.filter(|_| envelope.path.starts_with("/ws/")));
        let context = self.gate.let_in(bearer).await?;
        let left = if self.gate.has_users() { self.rates.known(&context.principal(), &context.workspace)? } else { None };
        if context.role < needed {
            let what = format!("this needs the role {needed}, and you are {}", context.role);
            return Err(Problem { left: left.map(Box::new), ..Problem::new("forbidden", what) });
        }
        Ok((context, left))
    }

    async fn given_in<B: Buf + Send>(
        self: Arc<Self>,
        ready: &Ready,
        places: Vec<String>,
        envelope: Envelope,
        context: AuthContext,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Handled {
        let query = checked_query(&envelope.query, ready.route.query)?;
        let limits = &self.limits;
        let mut raw = None;
        let body = match &ready.body {
            Some(schema) => {
                let bytes = whole(body, &envelope.headers, limits.body_bytes, limits.body_pause).await?;
                match read_body(&bytes, schema, &ready.route, envelope.headers.get(header::CONTENT_TYPE)) {
                    Err(problem) if ready.route.form && matches!(problem.code, "invalid" | "bad_request") => {
                        return Ok(auth::refused("invalid_request", &problem.detail));
                    }
                    read => read?,
                }
            }
            None if !ready.route.raw.is_empty() => {
                let kind = media_type(envelope.headers.get(header::CONTENT_TYPE));
                let Some(kind) = ready.route.raw.iter().find(|known| **known == kind) else {
                    let known = ready.route.raw.join("`, `");
                    return Err(Problem::new("unsupported_media_type", format!("a body here is `{known}`, not `{kind}`")));
                };
                let most = if *kind == "application/gzip" { limits.bundle_bytes } else { limits.body_bytes };
                raw = Some((*kind, whole(body, &envelope.headers, most, limits.body_pause).await?));
                Json::Null
            }
            // A body that nobody wants is not waited for: the connection is closed behind the answer if it goes on.
            None => Json::Null,
        };
        let Envelope { headers, upgrade, peer, path, .. } = envelope;
        let runtime = self.instance.within(context.workspace.clone(), context.principal());
        let asked = Asked { places, path, query, headers, body, raw, upgrade, peer, context, once: None, runtime };
        once::handled(self.clone(), &ready.route, asked).await
    }
}

/// A server that asks nobody who they are is for this machine's programs and its own pages: not for a page of elsewhere that sends a
/// request here without reading the answer, nor for one whose name was made to lead here.
fn check_own(envelope: &Envelope, origins: &[String]) -> Result<(), Problem> {
    let text = |name: &str| envelope.headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    let address = || name.trim_matches(['[', ']']).parse::<IpAddr>();
    if !name.eq_ignore_ascii_case("localhost") && !address().is_ok_and(|address| address.is_loopback()) {
        return Err(Problem::new(
            "forbidden",
            "a server without users answers to this machine's own names: localhost, 127.0.0.1, [::1]",
        ));
    }
    match text("origin") {
        Some(origin) if !is_own_origin(origin, host, origins) => {
            Err(Problem::new("forbidden", "pages of another origin may ask nothing of a server without users"))
        }
        _ => Ok(()),
    }
}

/// Whether a page of an origin is this server's own, or one of those that are named.
pub(crate) fn is_own_origin(origin: &str, host: &str, named: &[String]) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| authority == host) || named.iter().any(|named| named == origin)
}

/// A whole body, within bounds of size and of pauses.
async fn whole<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    headers: &HeaderMap,
    most: usize,
    pause: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new("too_large", format!("a body here has {most} bytes at most"));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if told.is_some_and(|told| told > most) {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    loop {
        match tokio::time::timeout(pause, body.next()).await {
            Err(_) => {
                let seconds = pause.as_secs_f64();
                return Err(Problem::new("timeout", format!("nothing of the body came for {seconds} s")));
            }
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Err(_))) => return Err(Problem::new("bad_request", "the body broke off")),
            Ok(Some(Ok(mut piece))) => {
                if bytes.len() + piece.remaining() > most {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
        }
    }
}

/// A body as JSON that fits its schema; all that is wrong at once.
fn read_body(bytes: &[u8], schema: &Schema, route: &Route, kind: Option<&HeaderValue>) -> Result<Json, Problem> {
    if bytes.is_empty() && route.takes.as_ref().is_some_and(|takes| takes.optional) {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    let kind = media_type(kind);
    let wanted = route.content_type();
    if kind != wanted {
        return Err(Problem::new("unsupported_media_type", format!("a body here is `{wanted}`, not `{kind}`")));
    }
    let json: Json = if route.form {
        form(bytes).ok_or_else(|| Problem::new("bad_request", "the form cannot be read"))?
    } else {
        serde_json::from_slice(bytes).map_err(|e| Problem::new("bad_request", format!("the body is not JSON: {e}")))?
    };
    let faults: Vec<Fault> =
        schema.violations(&json).into_iter().map(|v| Fault { message: told(&v), pointer: v.pointer }).collect();
    if faults.is_empty() { Ok(json) } else { Err(Problem::invalid(faults)) }
}

/// What is wrong, without what it is wrong with where that is a secret.
fn told(violation: &Violation) -> String {
    let field = violation.pointer.rsplit('/').next().unwrap_or_default();
    match ["password", "current", "new", "token", "refresh_token", "client_secret"].contains(&field) {
        true => format!("does not meet `{}` of its schema", violation.keyword),
        false => violation.message.clone(),
    }
}

/// A type of content without what stands behind it.
fn media_type(kind: Option<&HeaderValue>) -> String {
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A form as an object of texts; what is named twice is a list of them, which no schema wants of a field that it knows.
fn form(bytes: &[u8]) -> Option<Json> {
    let mut fields = serde_json::Map::new();
    for pair in std::str::from_utf8(bytes).ok()?.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // What is no text stands as it came: no field that is known has it.
        let text = |part: &str| decoded(part, true).unwrap_or_else(|| part.to_owned());
        let (name, value) = (text(name), Json::from(text(value)));
        match fields.get_mut(&name) {
            Some(before) => *before = Json::Array(vec![before.take(), value]),
            None => drop(fields.insert(name, value)),
        }
    }
    Some(fields.into())
}

fn response(answer: Answer, request_id: &str, method: &Method, is_encrypted: bool) -> warp::reply::Response {
    let mut response = match answer.body {
        Content::Whole(bytes) => warp::reply::Response::new(bytes.into()),
        Content::Stream(pieces) if method != Method::HEAD => {
            warp::Reply::into_response(warp::reply::stream(ReceiverStream::new(pieces)))
        }
        Content::Stream(_) => warp::reply::Response::new(Bytes::new().into()),
    };
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    *headers = answer.headers;
    let mut usual = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    usual(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    usual(header::REFERRER_POLICY, "no-referrer");
    usual(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    usual(header::CACHE_CONTROL, "no-store");
    if is_encrypted {
        usual(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_checked_as_its_route_says() {
        const KNOWN: &[InQuery] = &[
            InQuery { name: "limit", kind: Kind::Whole(1, 500), about: "" },
            InQuery { name: "status", kind: Kind::OneOf(&["running", "failed"]), about: "" },
            InQuery { name: "scenario", kind: Kind::Text(5), about: "" },
        ];
        let pairs = |text: &str| checked_query(text, KNOWN);
        let check = |text: &str, expect: &[(&str, &str)]| {
            let found = pairs(text).unwrap_or_else(|p| panic!("{text}: {p:?}"));
            let expect: Vec<(String, String)> = expect.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("", &[]);
        check("limit=500&status=failed", &[("limit", "500"), ("status", "failed")]);
        check("scenario=a%20b+c&", &[("scenario", "a b c")]);
        for (text, pointer) in [
            ("limit=0", "?limit"),
            ("limit=501", "?limit"),
            ("limit=+1", "?limit"),
            ("limit=", "?limit"),
            ("limit=1&limit=2", "?limit"),
            ("status=done", "?status"),
            ("scenario=", "?scenario"),
            ("scenario=abcdef", "?scenario"),
            ("scenario=%ff", "?"),
            ("scenario=%00", "?"),
            ("other=1", "?other"),
        ] {
            let problem = pairs(text).expect_err(text);
            assert_eq!((problem.code, problem.errors[0].pointer.as_str()), ("bad_request", pointer), "{text}");
        }
        assert_eq!(pairs("limit=0&status=x&y").expect_err("three").errors.len(), 3);
    }

    #[test]
    fn a_path_finds_its_route() {
        let routes = Routes::new(crate::http::table(), crate::http::openapi::body_schema).expect("routes");
        let check = |method: Method, path: &str, expect: &str| {
            let found = match routes.find(&method, path) {
                Found::Route(ready, places) => format!("{} {}", ready.route.id, places.join(" ")).trim().to_owned(),
                Found::Methods(methods) => methods.iter().map(Method::as_str).collect::<Vec<_>>().join(" "),
                Found::Nothing => String::new(),
            };
            assert_eq!(found, expect, "{method} {path}");
        };
        check(Method::GET, "/", "index");
        check(Method::GET, "/api/runs/r_1", "get_run r_1");
        check(Method::HEAD, "/api/runs/r%5F1", "get_run r_1");
        check(Method::PUT, "/api/runs", "GET HEAD POST");
        check(Method::GET, "/api/scenarios/validate", "POST");
        check(Method::GET, "/api/scenarios/coin-shop", "get_scenario coin-shop");
        for nowhere in ["/api/runs/", "/api", "//", "/api/runs/%ff", "/api/runs/a/b", ""] {
            check(Method::GET, nowhere, "");
        }
    }
}
