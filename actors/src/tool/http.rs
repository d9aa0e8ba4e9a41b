//! `http` tools: the one place from which a tool's request leaves the process.
//!
//! No proxy, no cookies, no compression, no redirects, no connection used twice: one call is one request on a connection of
//! its own, so that nothing below repeats what must not be repeated. What is told of a failure depends on what the server
//! did, never on how often it was tried.

pub(crate) mod answer;
mod secrets;

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use commedia_domain::event::{Failure, FailureClass};
use commedia_domain::scenario::EffectClass;
use commedia_domain::tool::http::{Content, KEY_HEADER, Request, Retry};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;

pub use super::attempt::Called;
use super::attempt::Policy;
use crate::clock::WallClock;
use crate::tool::address::Allowed;
use crate::transport;
use answer::attempt;
pub(crate) use secrets::Known;
pub use secrets::{NoSecrets, Secrets};

/// Calls at once; further ones wait for a place.
const CALLS: usize = 256;
/// Wall time until a connection stands.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Who calls servers for tools.
pub struct HttpTools {
    client: OnceLock<Result<reqwest::Client, String>>,
    allowed: Arc<Allowed>,
    secrets: Arc<dyn Secrets>,
    clock: WallClock,
    places: Semaphore,
}

/// A call, ready to be made.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tool's name.
    pub tool: Arc<str>,
    /// What is sent.
    pub request: Request,
    /// How often it may be performed.
    pub class: EffectClass,
    /// Wall time it may take, all attempts together.
    pub timeout: Duration,
    /// How it is tried again; only what may be repeated is.
    pub retry: Option<Retry>,
    /// The step's key: the same at each attempt.
    pub key: String,
}

impl HttpTools {
    /// With what an operator allows, and where secrets are.
    pub fn new(allowed: Allowed, secrets: Arc<dyn Secrets>, clock: WallClock) -> HttpTools {
        HttpTools { client: OnceLock::new(), allowed: Arc::new(allowed), secrets, clock, places: Semaphore::new(CALLS) }
    }

    /// Makes a call. Dropping the future ends it; whether it had happened by then nobody knows.
    pub async fn call(&self, call: &Call) -> Called {
        let failed = |why: String| {
            Called::Failed(Failure { class: FailureClass::Tool, message: format!("`{}`: {why}", call.tool).into() })
        };
        let Ok(_place) = self.places.acquire().await else { return failed("the runtime ends".into()) };
        let mut known = Known::default();
        let prepared = self.prepare(call, &mut known);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return failed(known.hidden(&why)),
        };
        let Call { tool, class, timeout, retry, key, .. } = call;
        let policy = Policy { tool, class: *class, timeout: *timeout, retry: *retry, key };
        policy.carry_out(|_| attempt(&prepared, &known), |text| self.pause_of(text)).await
    }

    /// The request with its secrets, to an address that may be reached as far as that is known yet.
    fn prepare(&self, call: &Call, known: &mut Known) -> Result<reqwest::RequestBuilder, String> {
        let request = &call.request;
        let url = known.fill(&request.url, &*self.secrets)?;
        let url = reqwest::Url::parse(&url).map_err(|e| format!("its url cannot be read: {e}"))?;
        permitted(&url, &self.allowed)?;
        let mut headers = HeaderMap::new();
        for (name, words) in &request.headers {
            let value = known.fill(words, &*self.secrets)?;
            let named = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| format!("the header `{name}` would hold control characters"))?;
            value.set_sensitive(true);
            headers.insert(named, value);
        }
        headers.insert(KEY_HEADER, HeaderValue::from_str(&call.key).map_err(|_| "its key is no header")?);
        let (kind, body) = match &request.body {
            None => (None, None),
            Some(Content::Text(words)) => (Some("text/plain; charset=utf-8"), Some(known.fill(words, &*self.secrets)?)),
            Some(Content::Json(filled)) => (Some("application/json"), Some(known.json(filled, &*self.secrets)?.to_string())),
        };
        if let Some(kind) = kind {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        }
        let method = reqwest::Method::from_bytes(request.method.word().as_bytes()).map_err(|e| e.to_string())?;
        let builder = self.client()?.request(method, url).headers(headers);
        Ok(match body {
            Some(body) => builder.body(body),
            None => builder,
        })
    }

    /// Made at the first call: reading the system's certificates takes a moment.
    fn client(&self) -> Result<&reqwest::Client, String> {
        let made = self.client.get_or_init(|| {
            guarded(&self.allowed)
                .pool_max_idle_per_host(0)
                .build()
                .map_err(|e| format!("no client for HTTP can be made: {}", transport::innermost(&e)))
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// What `Retry-After` asks for: seconds, or a moment.
    fn pause_of(&self, text: &str) -> Option<Duration> {
        if let Ok(seconds) = text.trim().parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let moment = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
        u64::try_from(moment - self.clock.now_ms()).ok().map(Duration::from_millis)
    }
}

/// A client that goes only where it may: no proxy, no redirects, nothing repeated, each name looked up and checked.
pub(super) fn guarded(allowed: &Arc<Allowed>) -> reqwest::ClientBuilder {
    transport::client().connect_timeout(CONNECT_WITHIN).dns_resolver(Arc::new(Guard { allowed: allowed.clone() }))
}

/// Whether an address may be called, as far as that is known yet: a name is checked where it is looked up, an address is never
/// looked up.
pub(super) fn permitted(url: &reqwest::Url, allowed: &Allowed) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("its url begins with `{}:`, and only `https:` and `http:` are called", url.scheme()));
    }
    let host = url.host_str().ok_or("its url names no host")?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if !allowed.permits(host, ip) => Err(not_allowed(host)),
        _ => Ok(()),
    }
}

fn not_allowed(host: &str) -> String {
    format!("`{host}` is not on the public network, and is not reached unless the operator allows it (`tools.http.allow`)")
}

/// Looks names up, and keeps of their addresses those that may be reached: the connection goes to one of these.
struct Guard {
    allowed: Arc<Allowed>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let kept: Vec<SocketAddr> = found.iter().copied().filter(|a| allowed.permits(host, a.ip())).collect();
            if kept.is_empty() {
                return Err(Box::new(NotAllowed(not_allowed(host))) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// An address that must not be reached.
#[derive(Debug)]
struct NotAllowed(String);

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for NotAllowed {}

impl fmt::Debug for HttpTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTools").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}
