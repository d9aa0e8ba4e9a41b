//! `/ws/{run_id}`: one run, both directions. The handshake is hyper's and ours, the frames are tungstenite's over the upgraded
//! connection, with small buffers and bounded frames.
//!
//! ```text
//! Handshake ──101──▶ Greeting ──hello, snapshot──▶ Following ──the run's end, a close, an error, the server's end──▶ Closed
//! ```
//! A client that does not read is not read for: its cursor stays. One to whom nothing can be sent for a minute is cut. docs/http.md lists
//! the codes of closing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use commedia_domain::identity::Role;
use commedia_domain::value::timestamp_text;
use futures_util::{SinkExt, StreamExt};
use http::{StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;
use tokio::time::error::Elapsed;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as End, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::exchange::{Answer, Asked, Handled};
use super::feed::Reader;
use super::gate::{AuthContext, Bearer};
use super::problem::Problem;
use super::route::is_own_origin;
use super::runs::{go_on, run_id, tell};
use super::stretch::{Feed, Form};
use super::wire::RunView;
use super::{Api, ends};
use crate::events::Told;
use crate::words::MAX_REASON;

/// Bytes of a frame that a client sends.
const FRAME_LIMIT: usize = 1024 * 1024;
/// The buffer that is read into.
const READ_BUFFER: usize = 1024;
/// So often a silent client is asked whether it is there; one that does not answer until the next time is let go.
const PING_EVERY: Duration = Duration::from_secs(30);
/// So long before its token ends a client is told.
const WARNED: Duration = Duration::from_secs(60);
/// Bytes of frames that leave at once.
const PART: usize = 16 * 1024;
/// How long that may take.
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
    /// Of `message`: to whom.
    #[serde(default)]
    agent: Option<String>,
    /// Of `message`: the words.
    #[serde(default)]
    text: Option<String>,
    /// Of `auth`: what goes on.
    #[serde(default)]
    token: Option<String>,
}

/// One run, both directions.
pub(crate) async fn run(api: Arc<Api>, asked: Asked) -> Handled {
    let id = run_id(&asked)?;
    let hands = Handshake::of(&api, &asked)?;
    let after = asked.number("after").unwrap_or(0);
    let form = if asked.query("view") == Some("events") { Form::EventFrames } else { Form::Frames };
    let feed = Feed::new(&asked.runtime, &id, after, form).await?;
    hands.shaken(api, asked, Source::Run { id, feed: Box::new(feed), after })
}

/// All runs of a workspace, from a cursor on.
pub(crate) async fn workspace(api: Arc<Api>, asked: Asked) -> Handled {
    let hands = Handshake::of(&api, &asked)?;
    let reader = Reader::new(&api, &asked.runtime, asked.query("after"));
    hands.shaken(api, asked, Source::Workspace(reader))
}

/// A handshake that can be answered.
struct Handshake {
    accept: String,
    protocol: Option<String>,
}

impl Handshake {
    fn of(api: &Api, asked: &Asked) -> Result<Handshake, Problem> {
        let has = |name: &str, word: &str| {
            asked.header(name).is_some_and(|value| value.split(',').any(|v| v.trim().eq_ignore_ascii_case(word)))
        };
        let key = asked.header("sec-websocket-key");
        let (true, true, true, Some(key)) = (
            has("connection", "upgrade"),
            has("upgrade", "websocket"),
            asked.header("sec-websocket-version") == Some("13"),
            key.filter(|key| key.len() == 24),
        ) else {
            return Err(Problem::new("bad_request", "this path speaks WebSocket, version 13"));
        };
        let host = asked.header("host").unwrap_or_default();
        if asked.header("origin").is_some_and(|origin| !is_own_origin(origin, host, &api.settings.http.origins)) {
            return Err(Problem::new("bad_request", "pages of another origin may not open this WebSocket"));
        }
        let protocol = asked.header("sec-websocket-protocol").and_then(chosen).map(str::to_owned);
        Ok(Handshake { accept: derive_accept_key(key.as_bytes()), protocol })
    }

    fn shaken(self, api: Arc<Api>, mut asked: Asked, source: Source) -> Handled {
        let upgrade = asked.upgrade.take().ok_or_else(|| Problem::new("bad_request", "the connection cannot be upgraded"))?;
        let (context, runtime) = (asked.context, asked.runtime);
        let run = if let Source::Run { id, .. } = &source { Some(id.clone()) } else { None };
        tokio::spawn(async move {
            if let Some(socket) = Box::pin(upgraded(upgrade)).await {
                let clients = runtime.metrics().ws_clients.clone();
                clients.inc();
                Client { api, runtime, context, is_warned: false, run, socket }.serve(source).await;
                clients.dec();
            }
        });
        let answer = Answer::empty(StatusCode::SWITCHING_PROTOCOLS)
            .with(header::CONNECTION, "upgrade")
            .with(header::UPGRADE, "websocket")
            .with(header::SEC_WEBSOCKET_ACCEPT, &self.accept);
        Ok(match self.protocol {
            Some(protocol) => answer.with(header::SEC_WEBSOCKET_PROTOCOL, &protocol),
            None => answer,
        })
    }
}

/// What a client follows.
enum Source {
    /// One run.
    Run { id: RunId, feed: Box<Feed>, after: u64 },
    /// All of a workspace.
    Workspace(Reader),
}

impl Source {
    fn is_over(&self) -> bool {
        matches!(self, Source::Run { feed, .. } if feed.is_over())
    }

    /// The next frames, written. Dropping the future loses nothing.
    async fn next(&mut self, now_ms: i64) -> Result<Bytes, String> {
        match self {
            Source::Run { feed, .. } => feed.next().await.map_err(|e| e.to_string()),
            Source::Workspace(reader) => {
                let told = reader.next(now_ms).await.ok_or("the feed has ended")?;
                let mut frames = Vec::new();
                told.iter().for_each(|(_, frame)| encode(frame, &mut frames));
                Ok(frames.into())
            }
        }
    }
}

/// The subprotocol that is answered: a browser wants one of those it offered, and rather not its token.
fn chosen(offered: &str) -> Option<&str> {
    let mut all = offered.split(',').map(str::trim).filter(|protocol| !protocol.is_empty());
    all.clone().find(|protocol| !protocol.starts_with("bearer.")).or_else(|| all.next())
}

async fn upgraded(upgrade: OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(io) => {
            let mut config = WebSocketConfig::default();
            config.read_buffer_size = READ_BUFFER;
            config.write_buffer_size = 0;
            config.max_message_size = Some(FRAME_LIMIT);
            config.max_frame_size = Some(FRAME_LIMIT);
            Some(WebSocketStream::from_raw_socket(TokioIo::new(io), End::Server, Some(config)).await)
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
    runtime: Runtime,
    context: AuthContext,
    /// Whether it was told that its token ends.
    is_warned: bool,
    /// The run that it follows, where it is one.
    run: Option<RunId>,
    socket: Socket,
}

// What a client holds while nothing happens is its task: what is seldom done is boxed, so that an idle one is small.
impl Client {
    async fn serve(mut self, source: Source) {
        let over = match self.follow(source).await {
            Ok(over) | Err(over) => over,
        };
        if let Over::Close(code, why) = over {
            let frame = CloseFrame { code: CloseCode::from(code), reason: why.into() };
            // Whoever does not take it is gone.
            drop(tokio::time::timeout(Duration::from_secs(1), self.socket.close(Some(frame))).await);
        }
    }

    async fn follow(&mut self, mut source: Source) -> Result<Over, Over> {
        Box::pin(self.greet(&source)).await?;
        let mut closing = self.api.closing.subscribe();
        let (mut ping, mut watch) = (tokio::time::interval(PING_EVERY), self.api.gate.watch());
        Box::pin(self.look()).await?;
        ping.tick().await;
        let mut heard = true;
        while !source.is_over() {
            let (look_in, now) = (self.look_in(), self.api.settings.clock.now_ms());
            tokio::select! {
                told = source.next(now) => match told {
                    Ok(frames) => {
                        self.send_written(&frames).await?;
                        // Runs go before whoever looks on: many clients that catch up at once would be a long round.
                        tokio::task::yield_now().await;
                    }
                    Err(why) => {
                        tracing::warn!(run = ?self.run, %why, "a feed breaks off");
                        return Ok(Over::Close(4500, "the feed broke off"));
                    }
                },
                frame = self.socket.next() => {
                    heard = true;
                    Box::pin(self.heard(frame)).await?;
                }
                _ = ping.tick() => {
                    if !std::mem::take(&mut heard) {
                        return Ok(Over::Close(4408, "nothing came for a minute"));
                    }
                    self.send_message(Message::Ping(Vec::new().into())).await?;
                }
                () = watch.changed(look_in) => Box::pin(self.look()).await?,
                () = ends(&mut closing) => return Ok(Over::Close(1001, "the server ends")),
            }
        }
        Ok(Over::Close(1000, "the run has ended"))
    }

    /// Whether the client may still follow; one whose token ends soon is told.
    async fn look(&mut self) -> Result<(), Over> {
        match self.api.gate.still(&self.context).await {
            Ok(Some(now)) => self.context = now,
            Ok(None) => return Err(Over::Close(4401, "say who you are again")),
            // It is asked again soon.
            Err(problem) => tracing::warn!(problem.detail, "nobody knows whether a client may still follow"),
        }
        let left = self.api.left_of(&self.context);
        if left.is_some_and(|left| left <= WARNED + Duration::from_millis(1)) && !std::mem::replace(&mut self.is_warned, true) {
            let mut warning = self.framed("auth_expiring");
            warning["at"] = json!(self.context.expires_ms.map(timestamp_text));
            return self.send(warning).await;
        }
        Ok(())
    }

    /// When it must be looked at next, because its token ends or nearly does.
    fn look_in(&self) -> Option<Duration> {
        let left = self.api.left_of(&self.context)?;
        Some(if self.is_warned { left } else { left.saturating_sub(WARNED) })
    }

    /// Another token of the same client.
    async fn renew(&mut self, token: Option<&str>) -> Result<(), Problem> {
        let wanted = Bearer { token: Some(token.unwrap_or_default()), ticket: None };
        let context = self.api.gate.let_in(wanted).await?;
        if context.principal() != self.context.principal() || context.workspace != self.context.workspace {
            return Err(Problem::new("forbidden", "this token is another's, or for another workspace"));
        }
        (self.context, self.is_warned) = (context, false);
        Ok(())
    }

    async fn greet(&mut self, source: &Source) -> Result<(), Over> {
        let mut hello = self.framed("hello");
        let id = match source {
            Source::Run { id, after, .. } => {
                hello["after"] = json!(after);
                id
            }
            Source::Workspace(reader) => {
                hello["cursor"] = json!(reader.cursor());
                return self.send(hello).await;
            }
        };
        self.send(hello).await?;
        let mut snapshot = self.framed("snapshot");
        snapshot["run"] = match self.runtime.summary(id).await {
            Ok(run) => json!(RunView::from(run)),
            Err(_) => return Err(Over::Close(4500, "the run cannot be read")),
        };
        self.send(snapshot).await
    }

    /// What every frame of ours begins with.
    fn framed(&self, kind: &str) -> Json {
        let mut frame = json!({"type": kind});
        if let Some(run) = &self.run {
            frame["run_id"] = json!(run.as_str());
        }
        frame["timestamp"] = json!(self.now());
        frame
    }

    fn now(&self) -> String {
        timestamp_text(self.api.settings.clock.now_ms())
    }

    async fn send(&mut self, json: Json) -> Result<(), Over> {
        self.send_message(Message::text(json.to_string())).await
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Over> {
        let sent = tokio::time::timeout(SEND_WITHIN, self.socket.send(message)).await;
        self.left(sent.map(|sent| sent.is_ok()))
    }

    /// Frames that are written already go past the WebSocket's own buffer, which is empty then.
    async fn send_written(&mut self, frames: &[u8]) -> Result<(), Over> {
        // Each part has its time: whoever reads slowly reads.
        for part in frames.chunks(PART) {
            let sending = async {
                let empty = self.socket.flush().await.is_ok();
                let io = self.socket.get_mut();
                empty && io.write_all(part).await.is_ok() && io.flush().await.is_ok()
            };
            let sent = tokio::time::timeout(SEND_WITHIN, sending).await;
            self.left(sent)?;
        }
        Ok(())
    }

    /// Whether what was sent has left; behind part of a frame nothing may follow.
    fn left(&self, sent: Result<bool, Elapsed>) -> Result<(), Over> {
        match sent {
            Ok(true) => Ok(()),
            Ok(false) => Err(Over::Gone),
            Err(_) => {
                self.runtime.metrics().ws_lagged_total.inc();
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
            Err(_) => {
                let json: Json = serde_json::from_str(&text).unwrap_or_default();
                let why = "a frame is an object of JSON with its `type`; `reason`, `agent`, `text` and `token` are text";
                return self.refuse(&json["id"], "bad_request", why).await;
            }
        };
        let (id, token) = (frame.id.clone(), frame.token.clone());
        let done = match frame.kind.as_str() {
            "ping" => {
                let mut pong = self.framed("pong");
                pong["id"] = id;
                return self.send(pong).await;
            }
            "auth" => self.renew(token.as_deref()).await.map(|()| None),
            _ => commanded(&self.api, &self.runtime, self.context.role, self.run.as_ref(), frame).await.map(Some),
        };
        match done {
            Ok(seq) => {
                let mut ack = self.framed("ack");
                ack["id"] = id;
                if let Some(seq) = seq {
                    ack["to"] = json!(seq);
                }
                self.send(ack).await
            }
            Err(problem) => self.refuse(&id, problem.code, &problem.detail).await,
        }
    }

    async fn refuse(&mut self, id: &Json, code: &str, detail: &str) -> Result<(), Over> {
        let mut error = self.framed("error");
        (error["id"], error["code"], error["detail"]) = (id.clone(), json!(code), json!(detail));
        self.send(error).await
    }
}

/// A command to a run; the seq that it led to.
async fn commanded(api: &Api, runtime: &Runtime, role: Role, run: Option<&RunId>, frame: Frame) -> Result<u64, Problem> {
    let elsewhere = || Problem::new("bad_request", "a workspace's feed takes `ping` and `auth`: command a run on its own socket");
    if matches!(&*frame.kind, "approve" | "reject" | "step" | "subscribe") {
        return Err(Problem::new("not_built", "this version does not have it"));
    }
    let id = run.ok_or_else(elsewhere)?;
    if frame.reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(Problem::new("bad_request", format!("a reason has at most {MAX_REASON} characters")));
    }
    let reason = frame.reason.unwrap_or_else(|| format!("{} over WebSocket", frame.kind));
    match frame.kind.as_str() {
        "cancel" | "pause" | "resume" | "message" if role < Role::Operator => {
            Err(Problem::new("forbidden", format!("this needs the role operator, and you are {role}")))
        }
        "cancel" => Ok(runtime.cancel(id, &reason).await?),
        "pause" => Ok(runtime.pause(id, &reason).await?),
        "resume" => go_on(api, runtime, id).await,
        "message" => match (frame.agent, frame.text) {
            (Some(agent), Some(text)) => tell(api, runtime, id, &agent, &text).await,
            _ => Err(Problem::new("bad_request", "a `message` names its `agent` and says its `text`")),
        },
        other => Err(Problem::new("bad_request", format!("there is no frame `{other}`"))),
    }
}

/// A text as a frame on its way to a client: whole, and not masked.
pub(crate) fn encode(text: &str, out: &mut Vec<u8>) {
    let header = FrameHeader { is_final: true, opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let formatted = header.format(text.len() as u64, out);
    debug_assert!(formatted.is_ok(), "a vector takes everything");
    out.extend_from_slice(text.as_bytes());
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
        "handoff.made" => {
            let mut handoff = with("handoff");
            handoff["from"] = agent();
            handoff
        }
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
