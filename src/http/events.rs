//! A run's events: as pages, as server-sent events, as lines of JSON; all from a cursor on, none missed and none twice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::follow::Follower;
use commedia_actors::log::LoadError;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use commedia_domain::event::Event;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;

use super::problem::{Fault, Problem};
use super::route::{Answer, Asked, Handled};
use super::runs::run_id;
use super::wire::EventsPage;
use super::{Api, ends};
use crate::events::{Teller, Told};

/// Stored events on a page that says nothing else.
const PAGE: u64 = 200;
/// A stream without news says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pieces of a stream that wait for a slow reader; behind them nothing is read for it.
const PIECES: usize = 4;

/// Stored events as clients see them, from behind a cursor on. How the run stood there says which moment of run time it is, and
/// whose the open turns are.
pub(crate) struct Feed {
    follower: Follower,
    teller: Teller,
    over: bool,
}

impl Feed {
    pub(crate) async fn new(runtime: &Runtime, id: &RunId, after: u64) -> Result<Feed, LoadError> {
        let (teller, over) = teller(runtime, id, after).await?;
        Ok(Feed { follower: runtime.follow(id, after).await?, teller, over })
    }

    /// Whether the last event of a run that has ended was told.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// What is behind the cursor, at least one stored event. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Vec<Vec<Told>>, LoadError> {
        let events = self.follower.next().await?;
        self.over |= events.last().is_some_and(|last| is_last(&last.event));
        Ok(events.iter().map(|event| self.teller.tell(event)).collect())
    }
}

/// Who tells the events behind a cursor, and whether there is nothing behind it any more.
async fn teller(runtime: &Runtime, id: &RunId, after: u64) -> Result<(Teller, bool), LoadError> {
    if after == 0 {
        let (_, scenario, _) = runtime.beginning(id).await?;
        return Ok((Teller::new(id.clone(), scenario), false));
    }
    let (run, _) = runtime.load_at(id, after).await?;
    let teller = Teller::new(id.clone(), run.scenario().clone()).behind(&run);
    Ok((teller, run.state().status.ended().is_some()))
}

/// Whether nothing comes behind an event.
fn is_last(event: &Event) -> bool {
    matches!(
        event,
        Event::RunCompleted(_) | Event::RunFailed(_) | Event::RunTimedOut(_) | Event::RunOverBudget(_) | Event::RunCancelled(_)
    )
}

pub(crate) async fn events(api: Arc<Api>, asked: Asked) -> Handled {
    let id = run_id(&asked)?;
    let after = match asked.header("last-event-id") {
        Some(seq) => seq.trim().parse().map_err(|_| {
            let fault = Fault { pointer: "Last-Event-ID".into(), message: "is the id of an event: a number".into() };
            Problem { errors: vec![fault], ..Problem::new("bad_request", "a header is wrong") }
        })?,
        None => asked.number("after").unwrap_or(0),
    };
    match asked.prefers(&["application/json", "text/event-stream", "application/x-ndjson"]) {
        Some("text/event-stream") => {
            let feed = Feed::new(&api.runtime, &id, after).await?;
            Ok(Answer::stream("text/event-stream", stream(api, feed, sse, b": still here\n\n")))
        }
        Some("application/x-ndjson") => {
            let feed = Feed::new(&api.runtime, &id, after).await?;
            Ok(Answer::stream("application/x-ndjson", stream(api, feed, lines, b"\n")))
        }
        _ => page(&api, &id, after, asked.number("limit").unwrap_or(PAGE)).await,
    }
}

async fn page(api: &Api, id: &RunId, after: u64, limit: u64) -> Handled {
    let last = api.runtime.summary(id).await?.events;
    let (mut teller, _) = teller(&api.runtime, id, after).await?;
    let (mut data, mut reached): (Vec<Map<String, Json>>, u64) = (Vec::new(), after);
    let to = last.min(after.saturating_add(limit));
    while reached < to {
        let events = api.runtime.events_page(id, reached + 1).await?;
        for event in events.iter().filter(|event| event.seq <= to) {
            reached = event.seq;
            data.extend(teller.tell(event).iter().filter_map(|told| told.to_json().as_object().cloned()));
        }
        if events.is_empty() {
            break;
        }
    }
    Ok(Answer::json(&EventsPage { data, next: (reached < last).then_some(reached) }))
}

/// How a stored event is written, with what is expanded from it.
type Write = fn(&[Told], &mut Vec<u8>);

/// Each event by its name. The seq is the id of the last one of those that share it: a reader that breaks off before gets all of
/// them again.
fn sse(told: &[Told], out: &mut Vec<u8>) {
    for (n, one) in told.iter().enumerate() {
        if n + 1 == told.len() {
            out.extend_from_slice(format!("id: {}\n", one.seq).as_bytes());
        }
        out.extend_from_slice(format!("event: {}\ndata: {}\n\n", one.kind, one.to_json()).as_bytes());
    }
}

fn lines(told: &[Told], out: &mut Vec<u8>) {
    told.iter().for_each(|one| out.extend_from_slice(format!("{}\n", one.to_json()).as_bytes()));
}

/// Writes a feed until the run has ended, the reader has gone or the server ends.
fn stream(api: Arc<Api>, mut feed: Feed, write: Write, heartbeat: &'static [u8]) -> mpsc::Receiver<Result<Bytes, Infallible>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        let mut closing = api.closing.subscribe();
        while !feed.is_over() {
            let piece = tokio::select! {
                told = tokio::time::timeout(HEARTBEAT, feed.next()) => match told {
                    Err(_) => Bytes::from_static(heartbeat),
                    Ok(Ok(told)) => {
                        let mut out = Vec::new();
                        told.iter().for_each(|told| write(told, &mut out));
                        out.into()
                    }
                    Ok(Err(why)) => {
                        tracing::warn!(%why, "a stream of events breaks off");
                        return;
                    }
                },
                () = ends(&mut closing) => return,
                () = sender.closed() => return,
            };
            if !piece.is_empty() && sender.send(Ok(piece)).await.is_err() {
                return;
            }
        }
    });
    receiver
}
