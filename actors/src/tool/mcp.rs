//! `mcp` tools: servers of the Model Context Protocol, started or reached when a run first needs them, asked what they offer,
//! called. One client per server and process, shared by all runs. The home of `rmcp`, with its folder.
//!
//! A server may die, flood, stall or change its tools: its calls fail, and nothing else does. It is started again within
//! bounds; a call that may have happened is never made again unless the scenario says that it may be.

mod answer;
mod child;
mod client;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use commedia_domain::body::{BlobKey, Body};
use commedia_domain::event::{Discovered, Failure, FailureClass, Offered};
use commedia_domain::id::ToolIx;
use commedia_domain::scenario::{EffectClass, Schema};
use commedia_domain::tool::http::Retry;
use commedia_domain::tool::mcp::{MAX_DESCRIPTION, MAX_SCHEMA, McpTool, Server};
use commedia_domain::value::Value;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::tool::address::Allowed;
use crate::tool::attempt::{Attempt, Called, Policy};
use crate::tool::http::Secrets;
use client::Client;

/// Calls of one server at once; further ones wait for a place.
const CALLS: usize = 16;
/// Servers of one process at once.
const SERVERS: usize = 64;
/// Wall time from the start of a server until its tools are known.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often a server is started within [`STARTS_WITHIN`]; after that it is left alone until the time has passed.
const STARTS: usize = 5;
/// See [`STARTS`].
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Pause before a second start, and the growth of the pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause before a start.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What an operator allows of servers of tools.
#[derive(Clone, Default)]
pub struct McpOptions {
    /// Programs that may be started, as scenarios write them; `*` is any.
    pub programs: Vec<String>,
    /// The variables that each started program gets, besides those its scenario names: `PATH` and the like, never a key.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for McpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpOptions").field("programs", &self.programs).finish_non_exhaustive()
    }
}

/// The servers of tools of a process.
pub struct McpServers {
    reach: Arc<Reach>,
    peers: Mutex<Vec<Arc<Peer>>>,
}

/// With what servers are reached.
struct Reach {
    options: McpOptions,
    allowed: Arc<Allowed>,
    secrets: Arc<dyn Secrets>,
    http: OnceLock<Result<reqwest::Client, String>>,
    metrics: Arc<Metrics>,
}

/// A server that somebody wanted.
struct Peer {
    server: Server,
    slot: Arc<tokio::sync::Mutex<Slot>>,
    places: Semaphore,
}

/// Its client, while it lives, and when it was started.
#[derive(Default)]
struct Slot {
    client: Option<Arc<Client>>,
    starts: VecDeque<Instant>,
    last_failure: Option<String>,
}

/// A call, ready to be made.
#[derive(Clone, Debug)]
pub struct McpCall {
    /// The name it was called by.
    pub full: Arc<str>,
    /// The server's own name of it.
    pub tool: Arc<str>,
    /// Its input, an object.
    pub input: Value,
    /// How often it may be performed.
    pub class: EffectClass,
    /// Wall time it may take, all attempts together.
    pub timeout: Duration,
    /// How it is tried again; only what may be repeated is.
    pub retry: Option<Retry>,
    /// The step's key: the same at each attempt.
    pub key: String,
}

impl McpServers {
    /// With what an operator allows, and where secrets are.
    pub fn new(options: McpOptions, allowed: Allowed, secrets: Arc<dyn Secrets>, metrics: Arc<Metrics>) -> McpServers {
        let reach = Reach { options, allowed: Arc::new(allowed), secrets, http: OnceLock::new(), metrics };
        McpServers { reach: Arc::new(reach), peers: Mutex::default() }
    }

    /// Makes a call. Dropping the future ends it; whether it had happened by then nobody knows.
    pub async fn call(&self, mcp: &McpTool, call: &McpCall) -> Called {
        let peer = match self.peer(&mcp.server) {
            Ok(peer) => peer,
            Err(why) => {
                let message = format!("`{}`: {why}", call.full).into();
                return Called::Failed(Failure { class: FailureClass::Tool, message });
            }
        };
        let McpCall { full, class, timeout, retry, key, .. } = call;
        let policy = Policy { tool: full, class: *class, timeout: *timeout, retry: *retry, key };
        policy.carry_out(|deadline| self.attempt(&peer, call, deadline), |_| None).await
    }

    async fn attempt(&self, peer: &Peer, call: &McpCall, deadline: Instant) -> Attempt {
        let not_sent = |what: &str| Attempt::NotSent(format!("{what} within {} s", call.timeout.as_secs_f64()));
        let _place = match tokio::time::timeout_at(deadline, peer.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Attempt::NotSent("the runtime ends".into()),
            Err(_) => return not_sent("its server had no place for it"),
        };
        let client = match tokio::time::timeout_at(deadline, self.client(peer)).await {
            Ok(Ok(client)) => client,
            Ok(Err(why)) => return Attempt::NotSent(why),
            Err(_) => return not_sent("its server was not ready"),
        };
        client.call(&call.tool, &call.input, &call.key).await
    }

    /// What a server offers of the tools a scenario allows. Always an answer, within a bound of time.
    pub async fn discover(&self, server: ToolIx, mcp: &McpTool, blobs: &BlobKey) -> Discovered {
        let asked = async {
            let client = self.client(&*self.peer(&mcp.server)?).await?;
            Ok((client.name(), client.tools().await?))
        };
        let late = || Err(format!("it was not ready within {} s", READY_WITHIN.as_secs()));
        let asked: Result<_, String> = tokio::time::timeout(READY_WITHIN, asked).await.unwrap_or_else(|_| late());
        let mut found = Discovered { server, by: "".into(), offered: Vec::new(), missing: Vec::new(), failure: None };
        match asked {
            Err(why) => found.failure = Some(why.into()),
            Ok((by, tools)) => {
                found.by = by.into();
                for (n, one) in (0_u16..).zip(&mcp.allow) {
                    match tools.iter().find(|tool| tool.name == *one.name) {
                        None => found.missing.push((n, not_offered(&tools).into())),
                        Some(tool) => match offered(n, tool, blobs) {
                            Ok(offered) => found.offered.push(offered),
                            Err(why) => found.missing.push((n, why.into())),
                        },
                    }
                }
            }
        }
        found
    }

    /// All servers that were started end, with everything they started.
    pub async fn stop(&self) {
        let peers = std::mem::take(&mut *self.peers.lock().unwrap_or_else(PoisonError::into_inner));
        for peer in &peers {
            peer.places.close();
        }
        let mut ending = tokio::task::JoinSet::new();
        for peer in peers {
            ending.spawn(async move {
                if let Some(client) = peer.slot.lock().await.client.take() {
                    client.end().await;
                }
            });
        }
        ending.join_all().await;
    }

    fn peer(&self, server: &Server) -> Result<Arc<Peer>, String> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = peers.iter().find(|peer| peer.server == *server) {
            return Ok(found.clone());
        }
        if peers.len() >= SERVERS {
            return Err(format!("this process has {SERVERS} MCP servers already, and takes no further one"));
        }
        let peer = Peer { server: server.clone(), slot: Arc::default(), places: Semaphore::new(CALLS) };
        peers.push(Arc::new(peer));
        peers.last().cloned().ok_or_else(|| "there is no server".to_owned())
    }

    /// The living client of a server, started (again) if it must be. Whoever waits may give up: the start goes on for the next.
    async fn client(&self, peer: &Peer) -> Result<Arc<Client>, String> {
        let slot = peer.slot.clone().lock_owned().await;
        if let Some(client) = slot.client.as_ref().filter(|client| client.is_alive()) {
            return Ok(client.clone());
        }
        let (reach, server) = (self.reach.clone(), peer.server.clone());
        let started = tokio::spawn(async move { start(&reach, &server, slot).await });
        started.await.map_err(|e| format!("its server could not be started: {e}"))?
    }
}

async fn start(reach: &Reach, server: &Server, mut slot: OwnedMutexGuard<Slot>) -> Result<Arc<Client>, String> {
    if let Some(dead) = slot.client.take() {
        slot.last_failure = Some(dead.last_words());
        dead.end().await;
    }
    let now = Instant::now();
    slot.starts.retain(|at| now.duration_since(*at) < STARTS_WITHIN);
    if slot.starts.len() >= STARTS {
        let why = slot.last_failure.clone().unwrap_or_default();
        let within = STARTS_WITHIN.as_secs();
        return Err(format!("its server was started {STARTS} times within {within} s, and is left alone for a while: {why}"));
    }
    if let Some(last) = slot.starts.back() {
        let doubled = u32::try_from(slot.starts.len()).unwrap_or(u32::MAX).saturating_sub(1).min(16);
        tokio::time::sleep_until(*last + FIRST_PAUSE.saturating_mul(1 << doubled).min(LONGEST_PAUSE)).await;
    }
    slot.starts.push_back(Instant::now());
    let late = || Err(format!("its server was not ready within {} s", READY_WITHIN.as_secs()));
    let made = tokio::time::timeout(READY_WITHIN, Client::connect(reach, server)).await.unwrap_or_else(|_| late());
    let outcome = if made.is_ok() { "started" } else { "failed" };
    reach.metrics.mcp_starts_total.with_label_values(&[outcome]).inc();
    match made {
        Ok(client) => {
            let client = Arc::new(client);
            slot.client = Some(client.clone());
            Ok(client)
        }
        Err(why) => {
            tracing::debug!(%why, "an MCP server did not start");
            slot.last_failure = Some(why.clone());
            Err(why)
        }
    }
}

/// A tool as its server describes it.
struct Described {
    name: String,
    description: String,
    schema: String,
    read_only: bool,
    idempotent: bool,
}

fn not_offered(tools: &[Described]) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = tools.iter().take(SHOWN).map(|tool| tool.name.as_str()).collect();
    let more = if tools.len() > SHOWN { format!(" and {} more", tools.len() - SHOWN) } else { String::new() };
    if names.is_empty() { "it offers no tools".into() } else { format!("it is not offered; {}{more} are", names.join(", ")) }
}

fn offered(place: u16, tool: &Described, blobs: &BlobKey) -> Result<Offered, String> {
    if tool.schema.len() > MAX_SCHEMA {
        return Err(format!("the schema of its input is longer than {} KiB", MAX_SCHEMA >> 10));
    }
    let json: serde_json::Value = serde_json::from_str(&tool.schema).map_err(|e| format!("the schema of its input: {e}"))?;
    Schema::of_json(json).map_err(|why| format!("the schema of its input cannot be used: {why}"))?;
    let description: String = tool.description.chars().take(MAX_DESCRIPTION).collect();
    Ok(Offered {
        tool: place,
        description: Body::new(Value::text(description), blobs),
        schema: Body::new(Value::text(&*tool.schema), blobs),
        read_only: tool.read_only,
        idempotent: tool.idempotent,
    })
}

impl fmt::Debug for McpServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpServers").field("options", &self.reach.options).finish_non_exhaustive()
    }
}
