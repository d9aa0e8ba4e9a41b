//! A server in the place of the local data folder: the same verbs over its API. What it refuses is told in its own words.

use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value as Json;

use crate::failure::{Exit, Failure};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come; a stream says every 15 s that it is there.
const SILENCE: Duration = Duration::from_secs(90);
/// Bytes of an answer that are read.
const LONGEST: usize = 64 << 20;

/// How long a server that is away is waited for, and one that is busy, where that is done at all; and the longest pause before
/// it is asked again.
const AWAY: Duration = Duration::from_secs(30);
const BUSY: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why nothing came of a request.
struct Refused {
    failure: Failure,
    again: Again,
}

/// Whether the same may be asked again.
enum Again {
    /// It would be answered the same.
    No,
    /// The server is away, or went away meanwhile.
    WhenThere,
    /// It is busy, for so long.
    After(Duration),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        refused.failure
    }
}

/// A server, and who asks it.
pub struct Remote {
    client: Client,
    url: String,
    token: Option<String>,
}

impl Remote {
    /// The server at a URL; `token` is an API key or an access token.
    pub fn new(url: &str, token: Option<String>) -> Result<Remote, Failure> {
        let wrong = || Failure::usage(format!("`{url}` is no server's URL")).help("one is http://127.0.0.1:7140");
        let place = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or_else(wrong)?;
        if place.trim_matches('/').is_empty() || place.contains(['?', '#', '@']) {
            return Err(wrong());
        }
        let client = Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).build();
        let client = client.map_err(|e| Failure::new(Exit::Internal, e))?;
        Ok(Remote { client, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn asked(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Refused> {
        let response = request.send().await;
        let response = response.map_err(|e| Refused { failure: self.unreachable(&e), again: Again::WhenThere })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let retry = response.headers().get("retry-after").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = bounded(response).await.unwrap_or_default();
        let problem: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        let pause = || retry.as_deref().and_then(|seconds| seconds.parse().ok()).map_or(PAUSE, Duration::from_secs);
        let again = match status.as_u16() {
            429 | 503 => Again::After(pause().clamp(PAUSE, LONGEST_PAUSE)),
            502 | 504 => Again::WhenThere,
            _ => Again::No,
        };
        Err(Refused { failure: refused(status, &problem, retry.as_deref(), &self.url), again })
    }

    fn unreachable(&self, e: &reqwest::Error) -> Failure {
        let mut why: &dyn std::error::Error = e;
        while let Some(source) = why.source() {
            why = source;
        }
        Failure::new(Exit::Server, format!("{} cannot be reached: {why}", self.url)).help("is `commedia serve` running there?")
    }

    /// What a route answers.
    pub async fn get(&self, path: &str) -> Result<Json, Failure> {
        self.json(self.asked(Method::GET, path)).await
    }

    /// What a route answers to a body.
    pub async fn post(&self, path: &str, body: &Json) -> Result<Json, Failure> {
        self.json(self.asked(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_string())).await
    }

    /// What a route answers to a body that comes with a key: it is done once, however often it is asked. A server that is away
    /// for a moment, or busy, is asked again.
    pub async fn post_once(&self, path: &str, body: &Json, key: &str, prefer: Option<&str>) -> Result<Json, Failure> {
        let post = || self.asked(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_string());
        let keyed = || post().header("idempotency-key", key);
        self.patiently(|| prefer.map_or_else(keyed, |prefer| keyed().header("prefer", prefer))).await
    }

    /// What a route answers; a server that is away for a moment, or busy, is asked again.
    pub async fn get_patiently(&self, path: &str) -> Result<Json, Failure> {
        self.patiently(|| self.asked(Method::GET, path)).await
    }

    async fn patiently(&self, request: impl Fn() -> RequestBuilder) -> Result<Json, Failure> {
        let begun = Instant::now();
        let mut away: Option<Instant> = None;
        loop {
            let Refused { failure, again } = match self.answered(request()).await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let pause = match again {
                Again::WhenThere if away.get_or_insert_with(Instant::now).elapsed() < AWAY => PAUSE,
                Again::After(pause) if begun.elapsed() < BUSY => {
                    away = None;
                    pause
                }
                _ => return Err(failure),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// What a route answers to a body of another type.
    pub async fn put(&self, path: &str, kind: &str, body: Vec<u8>) -> Result<Json, Failure> {
        self.json(self.asked(Method::PUT, path).header(CONTENT_TYPE, kind).body(body)).await
    }

    /// Something is to go.
    pub async fn delete(&self, path: &str) -> Result<(), Failure> {
        Ok(self.sent(self.asked(Method::DELETE, path)).await.map(drop)?)
    }

    async fn json(&self, request: RequestBuilder) -> Result<Json, Failure> {
        Ok(self.answered(request).await?)
    }

    async fn answered(&self, request: RequestBuilder) -> Result<Json, Refused> {
        let body = bounded(self.sent(request).await?).await;
        let body = body.map_err(|why| Refused { failure: self.broken(&why), again: Again::WhenThere })?;
        serde_json::from_slice(&body).map_err(|e| Refused { failure: self.broken(&e.to_string()), again: Again::No })
    }

    fn broken(&self, why: &str) -> Failure {
        Failure::new(Exit::Server, format!("what {} answers cannot be read: {why}", self.url))
    }

    /// Each line of a stream, until it ends or `each` says that it is enough.
    pub async fn lines(&self, path: &str, mut each: impl FnMut(Json) -> Result<bool, Failure>) -> Result<(), Failure> {
        let mut response = self.sent(self.asked(Method::GET, path).header(ACCEPT, "application/x-ndjson")).await?;
        let mut rest = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.unreachable(&e))? {
            rest.extend_from_slice(&piece);
            if rest.len() > LONGEST {
                return Err(self.broken("a line is too long"));
            }
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if line.len() > 1 && !each(serde_json::from_slice(&line).map_err(|e| self.broken(&e.to_string()))?)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Text as it stands in a query.
pub fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A whole answer, within bounds.
async fn bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| e.to_string())? {
        body.extend_from_slice(&piece);
        if body.len() > LONGEST {
            return Err("it is too long".into());
        }
    }
    Ok(body)
}

/// A problem as the command line tells it.
fn refused(status: StatusCode, problem: &Json, retry: Option<&str>, url: &str) -> Failure {
    let detail = problem["detail"].as_str().map_or_else(|| format!("{url} answered {status}"), str::to_owned);
    let errors = problem["errors"].as_array().into_iter().flatten();
    let told: Vec<String> = errors
        .map(|e| {
            format!("{} {}", e["pointer"].as_str().unwrap_or_default(), e["message"].as_str().unwrap_or_default())
                .trim()
                .to_owned()
        })
        .collect();
    let words = if told.len() > 1 { told.join("\nerror: ") } else { detail };
    match status.as_u16() {
        401 => Failure::new(Exit::Server, format!("{url} lets nobody in so: {words}"))
            .help("set COMMEDIA_TOKEN to an API key or an access token"),
        403 => Failure::new(Exit::Server, words),
        422 => Failure::invalid(words),
        409 if problem["code"] == "uncompiled" => Failure::invalid(words),
        429 | 503 => {
            let when = retry.map_or_else(String::new, |seconds| format!("; try again in {seconds} s"));
            Failure::new(Exit::Server, format!("{words}{when}"))
        }
        400..500 => Failure::usage(words),
        _ => Failure::new(Exit::Server, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_server_says_is_told_with_its_exit() {
        let check = |status: u16, problem: Json, retry: Option<&str>, exit: Exit, words: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let failure = refused(status, &problem, retry, "http://h");
            assert_eq!((failure.exit, failure.message.as_str()), (exit, words), "{status}");
        };
        check(404, json!({"detail": "there is no run"}), None, Exit::Usage, "there is no run");
        check(409, json!({"detail": "it has ended"}), None, Exit::Usage, "it has ended");
        check(422, json!({"detail": "/seed: no"}), None, Exit::Invalid, "/seed: no");
        let two = json!({"detail": "2", "errors": [{"pointer": "/a", "message": "x"}, {"pointer": "", "message": "y"}]});
        check(422, two, None, Exit::Invalid, "/a x\nerror: y");
        check(401, json!({"detail": "who"}), None, Exit::Server, "http://h lets nobody in so: who");
        check(429, json!({"detail": "busy"}), Some("3"), Exit::Server, "busy; try again in 3 s");
        check(502, Json::Null, None, Exit::Server, "http://h answered 502 Bad Gateway");
        for url in ["", "h:1", "ftp://h", "http://", "http://a@h", "http://h?x"] {
            assert!(Remote::new(url, None).is_err(), "{url}");
        }
        assert_eq!(Remote::new("http://h:1/", None).map(|r| r.url).ok().as_deref(), Some("http://h:1"));
    }
}
