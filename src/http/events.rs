//! A run's events: as pages, as server-sent events, as lines of JSON; all from a cursor on, none missed and none twice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::log::LoadError;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use commedia_domain::event::Event;
use commedia_domain::value::timestamp_text;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::exchange::{Answer, Asked, Handled};
use super::gate::AuthContext;
use super::problem::Problem;
use super::runs::run_id;
use super::stretch::{Feed, Form};
use super::wire::{EventsPage, Line, TranscriptPage};
use super::{Api, ends};
use crate::events::{Teller, Told};

/// Stored events on a page that says nothing else.
const PAGE: u64 = 200;
/// A stream without news says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces of a stream that wait for a slow reader; behind them nothing is read for it.
const PIECES: usize = 4;
/// What is said without news.
pub(super) const SSE: Words =
    Words { heartbeat: b": still here\n\n", farewell: b"retry: 1000\n: the server ends: come again with the last id\n\n" };
pub(super) const LINES: Words = Words { heartbeat: b"\n", farewell: b"\n" };

/// What a stream says besides its events, which no reader takes for one.
#[derive(Clone, Copy)]
pub(super) struct Words {
    heartbeat: &'static [u8],
    /// When the server ends before the stream does.
    farewell: &'static [u8],
}

/// Who tells the events behind a cursor, or behind the last one where there are fewer, and the seq of that one; whether there is
/// nothing behind it any more.
pub(super) async fn teller(runtime: &Runtime, id: &RunId, after: u64) -> Result<(Teller, u64, bool), LoadError> {
    if after == 0 {
        let (_, scenario, _) = runtime.beginning(id).await?;
        return Ok((Teller::new(id.clone(), scenario), 0, false));
    }
    let (run, seq) = runtime.load_at(id, after).await?;
    let teller = Teller::new(id.clone(), run.scenario().clone()).behind(&run);
    Ok((teller, seq, run.state().status.ended().is_some()))
}

/// Whether nothing comes behind an event.
pub(super) fn is_last(event: &Event) -> bool {
    matches!(
        event,
        Event::RunCompleted(_) | Event::RunFailed(_) | Event::RunTimedOut(_) | Event::RunOverBudget(_) | Event::RunCancelled(_)
    )
}

pub(crate) async fn events(api: Arc<Api>, asked: Asked) -> Handled {
    let id = run_id(&asked)?;
    let after = match asked.header("last-event-id") {
        Some(seq) => seq.trim().parse().map_err(|_| Problem::header("Last-Event-ID", "is the id of an event: a number"))?,
        None => asked.number("after").unwrap_or(0),
    };
    match asked.prefers(&["application/json", "text/event-stream", "application/x-ndjson"]) {
        Some("text/event-stream") => {
            let feed = Feed::new(&asked.runtime, &id, after, Form::ServerSent).await?;
            Ok(Answer::stream("text/event-stream", stream(api, asked.context, feed, SSE)))
        }
        Some("application/x-ndjson") => {
            let feed = Feed::new(&asked.runtime, &id, after, Form::Lines).await?;
            Ok(Answer::stream("application/x-ndjson", stream(api, asked.context, feed, LINES)))
        }
        _ => page(&asked, &id, after).await,
    }
}

async fn page(asked: &Asked, id: &RunId, after: u64) -> Handled {
    let mut data: Vec<Map<String, Json>> = Vec::new();
    let limit = asked.number("limit").unwrap_or(PAGE);
    let next = visit(&asked.runtime, id, after, limit, |told| data.extend(told.to_json().as_object().cloned())).await?;
    Ok(Answer::json(&EventsPage { data, next }).linked(asked, next.as_ref()))
}

/// Each event of a page, expanded; what the next page comes after, where there is one.
async fn visit(
    runtime: &Runtime,
    id: &RunId,
    after: u64,
    limit: u64,
    mut each: impl FnMut(&Told),
) -> Result<Option<u64>, Problem> {
    let last = runtime.summary(id).await?.events;
    let (mut teller, ..) = teller(runtime, id, after).await?;
    let mut reached = after;
    let to = last.min(after.saturating_add(limit));
    while reached < to {
        let events = runtime.events_page(id, reached + 1).await?;
        for event in events.iter().filter(|event| event.seq <= to) {
            reached = event.seq;
            teller.tell(event).iter().for_each(&mut each);
        }
        if events.is_empty() {
            break;
        }
    }
    Ok((reached < last).then_some(reached))
}

/// What a transcript tells: what was said, handed on, asked and answered, and how it ended.
const SAID: [&str; 12] = [
    "model.answered",
    "tool.answered",
    "handoff.made",
    "message.sent",
    "input.received",
    "delegate.asked",
    "delegate.returned",
    "guardrail.tripped",
    "conversation.summarised",
    "run.started",
    "run.completed",
    "run.failed",
];

/// What was said and done, in order.
pub(crate) async fn transcript(_: Arc<Api>, asked: Asked) -> Handled {
    let (id, after) = (run_id(&asked)?, asked.number("after").unwrap_or(0));
    let mut data = Vec::new();
    let line = |told: &Told| {
        if SAID.contains(&told.kind) {
            let (agent, text) = (told.agent.clone(), told.text.clone());
            data.push(Line {
                seq: told.seq,
                kind: told.kind,
                at: told.at.map(timestamp_text),
                agent,
                text,
                data: told.data.clone(),
            });
        }
    };
    let next = visit(&asked.runtime, &id, after, asked.number("limit").unwrap_or(PAGE), line).await?;
    Ok(Answer::json(&TranscriptPage { data, next }).linked(&asked, next.as_ref()))
}

/// Each event by its name. The seq is the id of the last one of those that share it: a reader that breaks off before gets all of
/// them again.
pub(super) fn sse(told: &[Told], out: &mut Vec<u8>) {
    for (n, one) in told.iter().enumerate() {
        if n + 1 == told.len() {
            out.extend_from_slice(format!("id: {}\n", one.seq).as_bytes());
        }
        out.extend_from_slice(format!("event: {}\ndata: {}\n\n", one.kind, one.to_json()).as_bytes());
    }
}

pub(super) fn lines(told: &[Told], out: &mut Vec<u8>) {
    told.iter().for_each(|one| out.extend_from_slice(format!("{}\n", one.to_json()).as_bytes()));
}

/// What is streamed, piece by piece.
pub(super) trait Pieces: Send + 'static {
    /// The next piece; `None` at the end. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

impl Pieces for Feed {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over() {
            return None;
        }
        match Feed::next(self).await {
            Ok(piece) => Some(piece),
            Err(why) => {
                tracing::warn!(%why, "a stream of events breaks off");
                None
            }
        }
    }
}

/// Streams until the end, or until the reader has gone, may read no longer, or the server ends.
pub(super) fn stream(
    api: Arc<Api>,
    context: AuthContext,
    mut pieces: impl Pieces,
    words: Words,
) -> mpsc::Receiver<Result<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let (mut closing, mut watch) = (api.closing.subscribe(), api.gate.watch());
        loop {
            let piece = tokio::select! {
                piece = tokio::time::timeout(HEARTBEAT, pieces.next()) => match piece {
                    Err(_) => Bytes::from_static(words.heartbeat),
                    Ok(Some(piece)) => piece,
                    Ok(None) => return,
                },
                () = watch.changed(api.left_of(&context)) => match api.gate.still(&context).await {
                    Ok(Some(_)) => continue,
                    _ => return,
                },
                () = ends(&mut closing) => {
                    // Whoever does not read is not waited for.
                    drop(sender.try_send(Ok(Bytes::from_static(words.farewell))));
                    return;
                }
                () = sender.closed() => return,
            };
            if sender.send(Ok(piece)).await.is_err() {
                return;
            }
            // Runs go before whoever looks on.
            tokio::task::yield_now().await;
        }
    });
    receiver
}
