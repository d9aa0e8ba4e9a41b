//! `http` tools: the one place from which a tool's request leaves the process. The only home of `reqwest`.
//!
//! No proxy, no cookies, no compression, no redirects, no connection used twice: one call is one request on a connection of
//! its own, so that nothing below repeats what must not be repeated. What is told of a failure depends on what the server
//! did, never on how often it was tried.

mod answer;
mod secrets;

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use commedia_domain::event::{Failure, FailureClass};
use commedia_domain::scenario::EffectClass;
use commedia_domain::tool::http::{Content, KEY_HEADER, Request, Retry};
use commedia_domain::value::Value;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::WallClock;
use crate::tool::address::Allowed;
use answer::{Attempt, attempt};
use secrets::Known;
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

/// What came of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Called {
    /// The server's answer.
    Done(Value),
    /// It is certain that it failed.
    Failed(Failure),
    /// It may have happened: nobody knows. Only of a tool of class `effect`.
    Lost(Arc<str>),
}

impl HttpTools {
    /// With what an operator allows, and where secrets are.
    pub fn new(allowed: Allowed, secrets: Arc<dyn Secrets>, clock: WallClock) -> HttpTools {
        HttpTools { client: OnceLock::new(), allowed: Arc::new(allowed), secrets, clock, places: Semaphore::new(CALLS) }
    }

    /// Makes a call. Dropping the future ends it; whether it had happened by then nobody knows.
    pub async fn call(&self, call: &Call) -> Called {
        let failed = |class: FailureClass, why: String| {
            Called::Failed(Failure { class, message: format!("`{}`: {why}", call.tool).into() })
        };
        let Ok(_place) = self.places.acquire().await else { return failed(FailureClass::Tool, "the runtime ends".into()) };
        let mut known = Known::default();
        let prepared = self.prepare(call, &mut known);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return failed(FailureClass::Tool, known.hidden(&why)),
        };
        let deadline = Instant::now() + call.timeout;
        let late = format!("no answer within {} s", call.timeout.as_secs_f64());
        let may_repeat = call.class != EffectClass::Effect;
        let mut tries = 0;
        loop {
            let tried = match tokio::time::timeout_at(deadline, attempt(&prepared, &known)).await {
                Ok(tried) => tried,
                Err(_) if may_repeat => return failed(FailureClass::Timeout, late),
                Err(_) => return Called::Lost(late.into()),
            };
            let (why, pause) = match tried {
                Attempt::Done(value) => return Called::Done(value),
                Attempt::Refused(why) => return failed(FailureClass::Tool, why),
                Attempt::NotSent(why) if !may_repeat => return failed(FailureClass::Tool, why),
                Attempt::Unclear(why) if !may_repeat => return Called::Lost(why.into()),
                Attempt::Passing { why, .. } if !may_repeat => return failed(FailureClass::Tool, why),
                Attempt::NotSent(why) | Attempt::Unclear(why) => (why, None),
                Attempt::Passing { why, after } => (why, after.and_then(|text| self.pause_of(&text))),
            };
            let Some(retry) = call.retry.filter(|retry| tries < retry.max) else { return failed(FailureClass::Tool, why) };
            let pause = pause.unwrap_or_default().max(jittered(&retry, &call.key, tries));
            if Instant::now() + pause >= deadline {
                return failed(FailureClass::Tool, why);
            }
            tracing::debug!(tool = %call.tool, tries, ?pause, "the call is tried again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// The request with its secrets, to an address that may be reached as far as that is known yet.
    fn prepare(&self, call: &Call, known: &mut Known) -> Result<reqwest::RequestBuilder, String> {
        let request = &call.request;
        let url = known.fill(&request.url, &*self.secrets)?;
        let url = reqwest::Url::parse(&url).map_err(|e| format!("its url cannot be read: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("its url begins with `{}:`, and only `https:` and `http:` are called", url.scheme()));
        }
        let host = url.host_str().ok_or("its url names no host")?;
        // A name is checked where it is looked up; an address is never looked up.
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>()
            && !self.allowed.permits(host, ip)
        {
            return Err(not_allowed(host));
        }
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
            let resolver = Guard { allowed: self.allowed.clone() };
            let client = reqwest::Client::builder()
                .user_agent(concat!("commedia/", env!("CARGO_PKG_VERSION")))
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .pool_max_idle_per_host(0)
                .connect_timeout(CONNECT_WITHIN)
                .dns_resolver(Arc::new(resolver));
            client.build().map_err(|e| format!("no client for HTTP can be made: {}", answer::innermost(&e)))
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

fn not_allowed(host: &str) -> String {
    format!("`{host}` is not on the public network, and is not reached unless the operator allows it (`tools.http.allow`)")
}

/// A pause of exponential growth with full jitter, drawn from the step's key: no two steps wait alike.
fn jittered(retry: &Retry, key: &str, tries: u32) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "pauses are short")]
    let (initial, most) = (retry.initial_ms as f64, retry.max_delay_ms as f64);
    let ceiling = (initial * retry.factor.powi(i32::try_from(tries).unwrap_or(i32::MAX))).min(most);
    let mut mixed = u64::from_str_radix(key.get(..16).unwrap_or_default(), 16).unwrap_or_default();
    mixed = mixed.wrapping_add(u64::from(tries).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    #[expect(clippy::cast_precision_loss, reason = "53 bits of it")]
    let share = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    Duration::from_secs_f64((ceiling * share / 1000.0).max(0.0))
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
