//! What every request that leaves the process has in common: no proxy, no redirects, no repeats, no compression, and a
//! bound on the time and the bytes of each answer. Knows nothing of what is said.

mod connector;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use reqwest::Body;
use tokio::time::{Instant, timeout_at};

use connector::{Client, is_late};

/// A request, ready to be sent.
pub(crate) type Request = http::Request<Body>;

/// Connections to one host that are kept for later requests.
const KEPT_CONNECTIONS: usize = 1024;
/// How long one is kept unused: less than what servers usually allow.
const KEPT_FOR: Duration = Duration::from_secs(50);
/// Room for an answer of usual size.
const ANSWER_ROOM: usize = 2048;
/// Who asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("commedia/", env!("CARGO_PKG_VERSION")));

/// A client that reaches one address and tries once. Whoever takes it sets what it needs besides.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(AGENT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
}

/// The last error of a chain: what it comes down to, without the address.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// Why an answer did not come whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection: no byte of the request was sent.
    NotConnected(String),
    /// The connection broke, before the answer or in the middle of it.
    Broken(String),
    /// Nothing came in time: while what, and how long it may take.
    Late(&'static str, Duration),
    /// More bytes than the bound came: of what, and the bound.
    TooLong(&'static str, usize),
}

/// Wall time of one exchange, and the bytes of its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Until a connection stands.
    pub(crate) connect: Duration,
    /// Until the answer's header.
    pub(crate) first_byte: Duration,
    /// Without a byte, once the answer has begun.
    pub(crate) between_chunks: Duration,
    /// All of it.
    pub(crate) total: Duration,
    /// Bytes of an answer.
    pub(crate) answer: usize,
}

/// A request with a JSON body.
pub(crate) fn post(url: &str, body: Vec<u8>) -> Result<Request, Fault> {
    let wrong = |e: &(dyn Error + 'static)| Fault::NotConnected(innermost(e));
    // An address as people write it: in any script.
    let url = reqwest::Url::parse(url).map_err(|e| wrong(&e))?;
    let request = http::Request::post(url.as_str()).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.body(body.into()).map_err(|e| wrong(&e))
}

/// The way to one host: its client, the headers each request gets, and the limits.
#[derive(Debug)]
pub(crate) struct Line {
    client: Client,
    headers: HeaderMap,
    limits: Limits,
}

impl Line {
    /// A line on which each request gets some headers, whose values are shown to nobody.
    pub(crate) fn new(headers: &[(&str, &str)], limits: Limits) -> Result<Line, String> {
        let mut map = HeaderMap::new();
        map.insert(USER_AGENT, AGENT);
        map.insert(ACCEPT, HeaderValue::from_static("*/*"));
        for (name, value) in headers {
            let named = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(|_| format!("the value of the header `{name}` holds characters that no header may"))?;
            value.set_sensitive(true);
            map.insert(named, value);
        }
        let client = connector::client(limits.connect, KEPT_CONNECTIONS, KEPT_FOR);
        let client = client.map_err(|e| format!("no client for HTTP can be made: {e}"))?;
        Ok(Line { client, headers: map, limits })
    }

    /// Sends a request with the line's own headers, whatever it carried of a key, and waits for the answer's header.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Arrival, Fault> {
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let sent = request.body().as_bytes().map_or(0, <[u8]>::len);
        let began = Instant::now();
        let end = began + self.limits.total;
        let first = began + self.limits.first_byte;
        match timeout_at(first.min(end), self.client.request(request)).await {
            Ok(Ok(response)) => Ok(Arrival { response, limits: self.limits, end, sent, read: 0 }),
            Ok(Err(e)) if e.is_connect() && is_late(&e) => Err(Fault::Late("connecting", self.limits.connect)),
            Ok(Err(e)) if e.is_connect() => Err(Fault::NotConnected(innermost(&e))),
            Ok(Err(e)) => Err(Fault::Broken(innermost(&e))),
            Err(_) if first <= end => Err(Fault::Late("waiting for its answer to begin", self.limits.first_byte)),
            Err(_) => Err(Fault::Late("waiting for its answer", self.limits.total)),
        }
    }
}

/// An answer that has begun. Dropping it closes its connection, unless it was read to its end.
pub(crate) struct Arrival {
    response: http::Response<Incoming>,
    limits: Limits,
    end: Instant,
    sent: usize,
    read: usize,
}

impl Arrival {
    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|v| v.to_str().ok())
    }

    /// Bytes of the request's body.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        let quiet = Instant::now() + self.limits.between_chunks;
        let until = quiet.min(self.end);
        loop {
            let frame = match timeout_at(until, self.response.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(e))) => return Err(Fault::Broken(innermost(&e))),
                Err(_) if quiet <= self.end => {
                    return Err(Fault::Late("waiting for more of its answer", self.limits.between_chunks));
                }
                Err(_) => return Err(Fault::Late("waiting for the end of its answer", self.limits.total)),
            };
            // What follows a body besides is nobody's.
            let Ok(chunk) = frame.into_data() else { continue };
            self.read += chunk.len();
            if self.read > self.limits.answer {
                return Err(Fault::TooLong("its answer", self.limits.answer));
            }
            return Ok(Some(chunk));
        }
    }

    /// All of its body.
    pub(crate) async fn whole(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::with_capacity(ANSWER_ROOM);
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Reads what is left for a moment, so that the connection can be used again.
    pub(crate) async fn drain(&mut self, within: Duration) {
        self.end = self.end.min(Instant::now() + within);
        while let Ok(Some(_)) = self.chunk().await {}
    }
}
