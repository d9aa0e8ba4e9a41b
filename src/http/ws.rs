//! `/ws/{run_id}`: one run, both directions. The handshake is hyper's and ours, the frames are tungstenite's over the upgraded
//! connection, with small buffers and bounded frames.
//!
//! ```text
//! Handshake ──101──▶ Greeting ──hello, snapshot──▶ Following ──the run's end, a close, an error, the server's end──▶ Closed
//! ```
//! A client that does not read is not read for: its cursor stays, and nothing is kept for it. Close codes: 1000 the run has ended,
//! 1001 the server ends, 1009 a frame is too large, 4408 nothing came from the client for too long, 4500 the feed broke off.

use std::sync::Arc;
use std::time::Duration;

use commedia_actors::run_id::RunId;
use commedia_domain::value::timestamp_text;
use futures_util::{SinkExt, StreamExt};
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::events::Feed;
use super::problem::Problem;
use super::route::{Answer, Asked, Handled};
use super::runs::run_id;
use super::wire::RunView;
use super::{Api, ends};
use crate::events::Told;

/// Bytes of a frame that a client sends.
const FRAME_LIMIT: usize = 1024 * 1024;
/// The buffer that is read into.
const READ_BUFFER: usize = 4 * 1024;
/// So often a silent client is asked whether it is there; one that does not answer until the next time is let go.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a frame may take to leave.
const SEND_WITHIN: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// What a client sends.
#[derive(Debug, Deserialize)]
struct Frame {
    #[serde(default)]
    id: Json,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
}

pub(crate) async fn run(api: Arc<Api>, mut asked: Asked) -> Handled {
    let id = run_id(&asked)?;
    let has = |name: &str, word: &str| {
        asked.header(name).is_some_and(|value| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(word)))
    };
    let key = asked.header("sec-websocket-key").map(str::to_owned);
    let (true, true, true, Some(key)) = (
        has("connection", "upgrade"),
        has("upgrade", "websocket"),
        asked.header("sec-websocket-version") == Some("13"),
        key.filter(|key| key.len() == 24),
    ) else {
        return Err(Problem::new("bad_request", "this path speaks WebSocket, version 13"));
    };
    if !super::is_same_origin(&asked) {
        return Err(Problem::new("bad_request", "pages of another origin may not open this WebSocket"));
    }
    let after = asked.number("after").unwrap_or(0);
    let raw = asked.query("view") == Some("events");
    let feed = Feed::new(&api.runtime, &id, after).await?;
    let upgrade = asked.upgrade.take().ok_or_else(|| Problem::new("bad_request", "the connection cannot be upgraded"))?;
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        if let Some(socket) = upgraded(upgrade).await {
            api.runtime.metrics().ws_clients.inc();
            Client { api: api.clone(), id, socket, raw, after }.serve(feed).await;
            api.runtime.metrics().ws_clients.dec();
        }
    });
    Ok(Answer::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(header::CONNECTION, "upgrade")
        .with(header::UPGRADE, "websocket")
        .with(header::SEC_WEBSOCKET_ACCEPT, &accept))
}

async fn upgraded(upgrade: OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(io) => {
            let mut config = WebSocketConfig::default();
            config.read_buffer_size = READ_BUFFER;
            config.write_buffer_size = 0;
            config.max_message_size = Some(FRAME_LIMIT);
            config.max_frame_size = Some(FRAME_LIMIT);
            Some(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await)
        }
        Err(e) => {
            tracing::debug!("a WebSocket was not opened: {e}");
            None
        }
    }
}

/// Why a client is let go.
enum Over {
    /// With words to it.
    Close(u16, &'static str),
    /// It has gone.
    Gone,
}

struct Client {
    api: Arc<Api>,
    id: RunId,
    socket: Socket,
    /// Whether it wants the events themselves.
    raw: bool,
    after: u64,
}

impl Client {
    async fn serve(mut self, feed: Feed) {
        let over = match self.follow(feed).await {
            Ok(over) | Err(over) => over,
        };
        if let Over::Close(code, why) = over {
            let frame = CloseFrame { code: CloseCode::from(code), reason: why.into() };
            // Whoever does not take it is gone.
            drop(tokio::time::timeout(Duration::from_secs(1), self.socket.close(Some(frame))).await);
        }
    }

    async fn follow(&mut self, mut feed: Feed) -> Result<Over, Over> {
        self.greet().await?;
        let mut closing = self.api.closing.subscribe();
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.tick().await;
        let mut heard = true;
        while !feed.is_over() {
            tokio::select! {
                told = feed.next() => match told {
                    Ok(told) => for stored in told {
                        for one in self.frames(&stored) {
                            self.send(one).await?;
                        }
                    },
                    Err(why) => {
                        tracing::warn!(run = %self.id, %why, "a feed breaks off");
                        return Ok(Over::Close(4500, "the feed broke off"));
                    }
                },
                frame = self.socket.next() => {
                    heard = true;
                    self.heard(frame).await?;
                }
                _ = ping.tick() => {
                    if !std::mem::take(&mut heard) {
                        return Ok(Over::Close(4408, "nothing came for a minute"));
                    }
                    self.send_message(Message::Ping(Vec::new().into())).await?;
                }
                () = ends(&mut closing) => return Ok(Over::Close(1001, "the server ends")),
            }
        }
        Ok(Over::Close(1000, "the run has ended"))
    }

    async fn greet(&mut self) -> Result<(), Over> {
        let protocol = json!({"type": "hello", "run_id": self.id.as_str(), "timestamp": self.now(), "after": self.after});
        self.send(protocol).await?;
        let run = match self.api.runtime.summary(&self.id).await {
            Ok(run) => json!(RunView::from(run)),
            Err(_) => return Err(Over::Close(4500, "the run cannot be read")),
        };
        let snapshot = json!({"type": "snapshot", "run_id": self.id.as_str(), "timestamp": self.now(), "run": run});
        self.send(snapshot).await
    }

    fn now(&self) -> String {
        timestamp_text(self.api.settings.clock.now_ms())
    }

    async fn send(&mut self, json: Json) -> Result<(), Over> {
        self.send_message(Message::text(json.to_string())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Over> {
        match tokio::time::timeout(SEND_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Gone),
            Err(_) => {
                self.api.runtime.metrics().ws_lagged_total.inc();
                Err(Over::Gone)
            }
        }
    }

    /// What a client sent.
    async fn heard(&mut self, frame: Option<Result<Message, WsError>>) -> Result<(), Over> {
        let text = match frame {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => return self.refuse(&Json::Null, "bad_request", "frames are text: JSON").await,
            Some(Err(WsError::Capacity(_))) => return Err(Over::Close(1009, "a frame is too large")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over::Gone),
        };
        let frame: Frame = match serde_json::from_str(&text) {
            Ok(frame) => frame,
            Err(e) => return self.refuse(&Json::Null, "bad_request", &format!("this frame cannot be read: {e}")).await,
        };
        let (runtime, reason) = (&self.api.runtime, frame.reason.unwrap_or_else(|| format!("{} over WebSocket", frame.kind)));
        let done = match frame.kind.as_str() {
            "ping" => {
                let pong = json!({"type": "pong", "id": frame.id, "run_id": self.id.as_str(), "timestamp": self.now()});
                return self.send(pong).await;
            }
            "cancel" => runtime.cancel(&self.id, &reason).await.map_err(Problem::from),
            "pause" => runtime.pause(&self.id, &reason).await.map_err(Problem::from),
            "resume" => runtime.resume(&self.id, Default::default()).await.map(|_| 0).map_err(Problem::from),
            "approve" | "reject" | "message" | "step" | "subscribe" => {
                Err(Problem::new("not_built", "this version does not have it"))
            }
            other => Err(Problem::new("bad_request", format!("there is no frame `{other}`"))),
        };
        match done {
            Ok(seq) => {
                let ack = json!({"type": "ack", "id": frame.id, "run_id": self.id.as_str(), "timestamp": self.now(), "to": seq});
                self.send(ack).await
            }
            Err(problem) => self.refuse(&frame.id, problem.code, &problem.detail).await,
        }
    }

    async fn refuse(&mut self, id: &Json, code: &str, detail: &str) -> Result<(), Over> {
        let (run_id, timestamp) = (self.id.as_str(), self.now());
        let error = json!({"type": "error", "id": id, "run_id": run_id, "timestamp": timestamp, "code": code, "detail": detail});
        self.send(error).await
    }

    /// A stored event as frames.
    fn frames(&self, told: &[Told]) -> Vec<Json> {
        told.iter().filter_map(|one| if self.raw { Some(one.to_json()) } else { frame(one) }).collect()
    }
}

/// An event as its frame; `None` for what only the events themselves say.
pub(crate) fn frame(told: &Told) -> Option<Json> {
    let agent = || told.agent.clone().map_or(Json::Null, Json::String);
    let status =
        |word: &str| json!({"type": "agent_status", "agent": agent(), "status": word, "message": told.text, "progress": null});
    let with = |kind: &str| {
        let mut fields = serde_json::Map::new();
        fields.insert("type".into(), json!(kind));
        if let Json::Object(data) = &told.data {
            fields.extend(data.iter().filter(|(name, _)| *name != "type").map(|(name, value)| (name.clone(), value.clone())));
        }
        if let Some(agent) = &told.agent {
            fields.entry("agent").or_insert_with(|| json!(agent));
        }
        Json::Object(fields)
    };
    let mut frame = match told.kind {
        "turn.started" | "step.planned" => status("thinking"),
        "step.dispatched" | "step.reconciled" => status("acting"),
        "step.unknown" | "delegate.asked" => status("waiting"),
        "turn.completed" => status("idle"),
        "turn.failed" | "agent.quarantined" => status("failed"),
        "turn.degraded" => status("degraded"),
        "agent.failed" | "agent.restarted" => status("restarting"),
        "tool.answered" => with("tool"),
        "handoff.made" => with("handoff"),
        "message.sent" | "input.received" => with("message"),
        "metric.sampled" => with("metric"),
        "record.put" | "record.deleted" => with("record"),
        kind => {
            let word = match kind.strip_prefix("run.")? {
                "created" => "queued",
                "started" | "resumed" | "released" => "running",
                word => word,
            };
            json!({"type": "run_status", "status": word, "message": told.text})
        }
    };
    frame["run_id"] = json!(told.run_id.as_str());
    frame["timestamp"] = json!(timestamp_text(told.time));
    frame["seq"] = json!(told.seq);
    if let Some(part) = told.part {
        frame["part"] = json!(part);
    }
    Some(frame)
}
