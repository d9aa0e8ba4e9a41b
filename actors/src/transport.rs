//! What every request that leaves the process has in common: no proxy, no redirects, no repeats, no compression, and a
//! bound on the time and the bytes of each answer. Knows nothing of what is said.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Instant, timeout_at};

/// What makes requests, and keeps their connections.
pub(crate) type Client = reqwest::Client;
/// A request, ready to be sent.
pub(crate) type Request = reqwest::Request;
/// An answer whose body is not read yet.
pub(crate) type Response = reqwest::Response;

/// Connections to one host that are kept for later requests.
const KEPT_CONNECTIONS: usize = 1024;
/// How long one is kept unused: less than what servers usually allow.
const KEPT_FOR: Duration = Duration::from_secs(50);
/// Room for an answer of usual size.
const ANSWER_ROOM: usize = 2048;

/// A client that reaches one address and tries once. Whoever takes it sets what it needs besides.
pub(crate) fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("commedia/", env!("CARGO_PKG_VERSION")))
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
        for (name, value) in headers {
            let named = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            let value = HeaderValue::from_str(value);
            let mut value = value.map_err(|_| format!("the value of the header `{name}` holds characters that no header may"))?;
            value.set_sensitive(true);
            map.insert(named, value);
        }
        let client = client()
            .connect_timeout(limits.connect)
            .pool_max_idle_per_host(KEPT_CONNECTIONS)
            .pool_idle_timeout(KEPT_FOR)
            .build()
            .map_err(|e| format!("no client for HTTP can be made: {}", innermost(&e)))?;
        Ok(Line { client, headers: map, limits })
    }

    /// Its client, for a library that builds requests with it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A request with a JSON body.
    pub(crate) fn post(&self, url: &str, body: Vec<u8>) -> Result<Request, Fault> {
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        request.build().map_err(|e| Fault::NotConnected(innermost(&e.without_url())))
    }

    /// Sends a request with the line's own headers, whatever it carried of a key, and waits for the answer's header.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Arrival, Fault> {
        let headers = request.headers_mut();
        headers.remove(AUTHORIZATION);
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let sent = request.body().and_then(|b| b.as_bytes()).map_or(0, <[u8]>::len);
        let began = Instant::now();
        let end = began + self.limits.total;
        let first = began + self.limits.first_byte;
        match timeout_at(first.min(end), self.client.execute(request)).await {
            Ok(Ok(response)) => Ok(Arrival { response, limits: self.limits, end, sent, read: 0 }),
            Ok(Err(e)) if e.is_connect() && e.is_timeout() => Err(Fault::Late("connecting", self.limits.connect)),
            Ok(Err(e)) if e.is_connect() || e.is_builder() => Err(Fault::NotConnected(innermost(&e.without_url()))),
            Ok(Err(e)) => Err(Fault::Broken(innermost(&e.without_url()))),
            Err(_) if first <= end => Err(Fault::Late("waiting for its answer to begin", self.limits.first_byte)),
            Err(_) => Err(Fault::Late("waiting for its answer", self.limits.total)),
        }
    }
}

/// An answer that has begun. Dropping it closes its connection, unless it was read to its end.
pub(crate) struct Arrival {
    response: Response,
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
    pub(crate) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, Fault> {
        let quiet = Instant::now() + self.limits.between_chunks;
        let chunk = match timeout_at(quiet.min(self.end), self.response.chunk()).await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(e)) => return Err(Fault::Broken(innermost(&e.without_url()))),
            Err(_) if quiet <= self.end => {
                return Err(Fault::Late("waiting for more of its answer", self.limits.between_chunks));
            }
            Err(_) => return Err(Fault::Late("waiting for the end of its answer", self.limits.total)),
        };
        self.read += chunk.as_ref().map_or(0, |c| c.len());
        if self.read > self.limits.answer {
            return Err(Fault::TooLong("its answer", self.limits.answer));
        }
        Ok(chunk)
    }

    /// All of its body.
    pub(crate) async fn whole(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::with_capacity(ANSWER_ROOM);
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(chunk.as_ref());
        }
        Ok(body)
    }

    /// Reads what is left for a moment, so that the connection can be used again.
    pub(crate) async fn drain(&mut self, within: Duration) {
        self.end = self.end.min(Instant::now() + within);
        while let Ok(Some(_)) = self.chunk().await {}
    }
}

/// An answer with a body that was read already, for a library that wants one.
pub(crate) fn read_already(body: Vec<u8>) -> Response {
    http::Response::new(body).into()
}
