//! A route, what comes to its handler, what it answers; and the way from a request to its route. Handlers know none of warp's
//! types: one filter takes every request and looks it up in the table.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use commedia_actors::run_id::RunId;
use commedia_domain::scenario::Schema;
use futures_util::{FutureExt, Stream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use warp::Filter;

use super::Api;
use super::problem::{Fault, Problem};

/// What a handler answers with.
pub(crate) type Handled = Result<Answer, Problem>;
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
}

impl Route {
    pub(crate) fn new(method: Method, path: &'static str, id: &'static str, handler: Handler) -> Route {
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
        }
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

    pub(crate) fn undocumented(self) -> Route {
        Route { documented: false, ..self }
    }
}

/// What was asked, checked as far as its route says.
pub(crate) struct Asked {
    /// What stands in the path's places, in their order.
    pub(crate) places: Vec<String>,
    query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// The body, as its schema wants it; `{}` where there is none.
    body: Json,
    pub(crate) upgrade: Option<OnUpgrade>,
}

impl Asked {
    /// What the query says of a name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A number of the query, which was checked.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as its type.
    pub(crate) fn body<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        serde_json::from_value(self.body.take())
            .map_err(|e| Problem::invalid(vec![Fault { pointer: String::new(), message: e.to_string() }]))
    }

    /// The body as text, for what stands for it.
    pub(crate) fn body_text(&self) -> String {
        self.body.to_string()
    }

    /// The place of a type among what the client accepts, the first of those offered it likes best.
    pub(crate) fn prefers(&self, offered: &[&'static str]) -> Option<&'static str> {
        let Some(accept) = self.header("accept") else { return offered.first().copied() };
        let wanted = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next()?.to_ascii_lowercase();
            let q = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
            Some((kind, q))
        });
        let wanted: Vec<(String, f32)> = wanted.collect();
        let quality = |offer: &str| {
            let family = offer.split('/').next().unwrap_or_default();
            let rank = |range: &str| match range {
                range if range == offer => 3,
                range if range.strip_suffix("/*") == Some(family) => 2,
                "*/*" => 1,
                _ => 0,
            };
            let best = wanted.iter().filter(|(range, _)| rank(range) > 0).max_by_key(|(range, _)| rank(range));
            best.map_or(0.0, |(_, q)| *q)
        };
        let mut best: Option<(&'static str, f32)> = None;
        for offer in offered {
            let q = quality(offer);
            if q > best.map_or(0.0, |(_, q)| q) {
                best = Some((offer, q));
            }
        }
        best.map(|(offer, _)| offer)
    }
}

/// A body that is told.
pub(crate) enum Told {
    Whole(Bytes),
    Stream(mpsc::Receiver<Result<Bytes, Infallible>>),
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Told,
}

impl Answer {
    pub(crate) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Answer { status, headers, body: Told::Whole(body.into()) }
    }

    pub(crate) fn json(json: &impl serde::Serialize) -> Answer {
        match serde_json::to_vec(json) {
            Ok(bytes) => Answer::whole(StatusCode::OK, "application/json", bytes),
            Err(e) => Problem::internal(e).answer(),
        }
    }

    pub(crate) fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Told::Whole(Bytes::new()) }
    }

    /// A body that comes in pieces, from whoever holds the other end.
    pub(crate) fn stream(kind: &'static str, pieces: mpsc::Receiver<Result<Bytes, Infallible>>) -> Answer {
        let mut answer = Answer::whole(StatusCode::OK, kind, Bytes::new());
        answer.body = Told::Stream(pieces);
        answer
    }

    pub(crate) fn status(self, status: StatusCode) -> Answer {
        Answer { status, ..self }
    }

    /// With a header; a value that cannot stand in one is left out, and logged.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Answer {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => tracing::warn!(%name, value, "this cannot stand in a header"),
        }
        self
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
}

struct Ready {
    route: Route,
    segments: Vec<Segment>,
    body: Option<Schema>,
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
            let segment = |s: &'static str| if s.starts_with('{') { Segment::Place } else { Segment::Word(s) };
            let body = route.takes.as_ref().map(|takes| Schema::of_json(schema(takes))).transpose();
            let body = body.map_err(|e| format!("the body of {} has no schema: {e}", route.id))?;
            Ok(Ready { segments: route.path.split('/').skip(1).map(segment).collect(), body, route })
        };
        Ok(Routes { routes: table.into_iter().map(ready).collect::<Result<_, String>>()? })
    }

    pub(crate) fn table(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|ready| &ready.route)
    }

    fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let fits = |ready: &&Ready| {
            ready.segments.len() == parts.len()
                && ready.segments.iter().zip(&parts).all(|(segment, part)| match segment {
                    Segment::Word(word) => word == part,
                    Segment::Place => !part.is_empty(),
                })
        };
        // A path that is written out goes before one with places.
        let places = |ready: &&Ready| ready.segments.iter().filter(|segment| matches!(segment, Segment::Place)).count();
        let Some(best) = self.routes.iter().filter(fits).min_by_key(places).map(|ready| ready.route.path) else {
            return Found::Nothing;
        };
        let mut methods = Vec::new();
        for ready in self.routes.iter().filter(|ready| ready.route.path == best) {
            let asked = &ready.route.method;
            if asked == method || (method == Method::HEAD && asked == Method::GET) {
                let places = ready.segments.iter().zip(&parts).filter(|(segment, _)| matches!(segment, Segment::Place));
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
            .and(warp::body::stream())
            .then(move |method, path: warp::path::FullPath, query, headers, upgrade, body| {
                let envelope = Envelope { method, path: path.as_str().to_owned(), query, headers, upgrade };
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
        let metrics = self.runtime.metrics();
        metrics.http_requests_total.with_label_values(&[route, answer.status.as_str()]).inc();
        metrics.http_request_seconds.with_label_values(&[route]).observe(begun.elapsed().as_secs_f64());
        response(answer, &request_id, &method)
    }

    async fn handled<B: Buf + Send>(
        self: Arc<Self>,
        ready: &Ready,
        places: Vec<String>,
        envelope: Envelope,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Handled {
        let query = checked_query(&envelope.query, ready.route.query)?;
        let limits = &self.limits;
        let optional = ready.route.takes.as_ref().is_some_and(|takes| takes.optional);
        let body = match &ready.body {
            Some(schema) => {
                let bytes = whole(body, limits.body_bytes, limits.body_pause).await?;
                read_body(&bytes, schema, optional, envelope.headers.get(header::CONTENT_TYPE))?
            }
            // A body that nobody wants is not waited for: the connection is closed behind the answer if it goes on.
            None => Json::Null,
        };
        let asked = Asked { places, query, headers: envelope.headers, body, upgrade: envelope.upgrade };
        (ready.route.handler)(self.clone(), asked).await
    }
}

/// A whole body, within bounds of size and of pauses.
async fn whole<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>, most: usize, pause: Duration) -> Result<Bytes, Problem> {
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
                    return Err(Problem::new("too_large", format!("a body here has {most} bytes at most")));
                }
                bytes.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
            }
        }
    }
}

/// A body as JSON that fits its schema; all that is wrong at once.
fn read_body(bytes: &[u8], schema: &Schema, optional: bool, kind: Option<&HeaderValue>) -> Result<Json, Problem> {
    if bytes.is_empty() && optional {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" {
        let message = format!("a body here is `application/json`, not `{kind}`");
        return Err(Problem::new("unsupported_media_type", message));
    }
    let json: Json =
        serde_json::from_slice(bytes).map_err(|e| Problem::new("bad_request", format!("the body is not JSON: {e}")))?;
    let faults: Vec<Fault> =
        schema.violations(&json).into_iter().map(|v| Fault { pointer: v.pointer, message: v.message }).collect();
    if faults.is_empty() { Ok(json) } else { Err(Problem::invalid(faults)) }
}

fn response(answer: Answer, request_id: &str, method: &Method) -> warp::reply::Response {
    let mut response = match answer.body {
        Told::Whole(bytes) => warp::reply::Response::new(bytes.into()),
        Told::Stream(pieces) if method != Method::HEAD => {
            warp::Reply::into_response(warp::reply::stream(ReceiverStream::new(pieces)))
        }
        Told::Stream(_) => warp::reply::Response::new(Bytes::new().into()),
    };
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.extend(answer.headers);
    let mut usual = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    usual(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    usual(header::REFERRER_POLICY, "no-referrer");
    usual(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    usual(header::CACHE_CONTROL, "no-store");
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

    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        let asked = |accept: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            accept.map(|accept| headers.insert(header::ACCEPT, HeaderValue::from_static(accept)));
            Asked { places: Vec::new(), query: Vec::new(), headers, body: Json::Null, upgrade: None }
        };
        let offered = ["application/json", "text/event-stream"];
        for (accept, expect) in [
            (None, Some("application/json")),
            (Some("*/*"), Some("application/json")),
            (Some("text/event-stream"), Some("text/event-stream")),
            (Some("text/*, application/json;q=0.5"), Some("text/event-stream")),
            (Some("application/json;q=0, */*"), Some("text/event-stream")),
            (Some("image/png"), None),
        ] {
            assert_eq!(asked(accept).prefers(&offered), expect, "{accept:?}");
        }
    }
}
