//! A workspace's feed: what happens in all its runs, as frames, from a cursor on. One task for each workspace that anybody follows
//! expands the events once, and keeps the newest frames for all its followers.
//!
//! ```text
//! durable events ──▶ expanded, numbered, kept (the newest) ──▶ each follower, from its cursor
//! a cursor from before what is kept, or from another process ──▶ lagged {from, to}: read the runs, and go on from `to`
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use commedia_actors::feed::Published;
use commedia_actors::log::{LoadError, StoredEvent};
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use commedia_actors::scope::WorkspaceId;
use commedia_domain::value::timestamp_text;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use super::events::{LINES, Pieces, SSE, is_last, stream, teller};
use super::exchange::{Answer, Asked, Handled};
use super::problem::Problem;
use super::ws::frame;
use super::{Api, ends};
use crate::events::Teller;

/// Frames that are kept for followers that are behind.
const KEPT: usize = 8_192;
/// How often it is looked whether anybody still follows.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Frames that a follower is given at once.
const AT_ONCE: usize = 256;

/// The feeds that are followed.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<WorkspaceId, Arc<Hub>>>);

/// The newest frames of a workspace.
pub(crate) struct Hub {
    /// Told apart from those of other processes, and of earlier times.
    name: String,
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// How many came before the first that is kept.
    before: u64,
    frames: VecDeque<Arc<str>>,
}

impl Hub {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, mut one: serde_json::Value) {
        let mut kept = self.kept();
        let number = kept.before + kept.frames.len() as u64 + 1;
        one["cursor"] = json!(self.cursor(number));
        if kept.frames.len() >= KEPT {
            kept.frames.pop_front();
            kept.before += 1;
        }
        kept.frames.push_back(one.to_string().into());
        drop(kept);
        self.last.send_replace(number);
    }

    /// Something was left out here: whoever follows reads the runs.
    fn put_lagged(&self, now_ms: i64) {
        let at = self.cursor(*self.last.borrow());
        self.put(json!({"type": "lagged", "timestamp": timestamp_text(now_ms), "from": at, "to": at}));
    }

    fn cursor(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }

    /// The number that a cursor stands for here.
    fn number(&self, cursor: &str) -> Option<u64> {
        let (name, number) = cursor.rsplit_once('-')?;
        number.parse().ok().filter(|number| name == self.name && *number <= *self.last.borrow())
    }
}

/// Somebody who follows a workspace.
pub(crate) struct Reader {
    hub: Arc<Hub>,
    last: watch::Receiver<u64>,
    at: u64,
    /// A cursor that means nothing here, until that was told.
    lost: Option<String>,
}

impl Reader {
    /// Follows from a cursor on, or from now.
    pub(crate) fn new(api: &Arc<Api>, runtime: &Runtime, cursor: Option<&str>) -> Reader {
        let mut hubs = api.feeds.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hub = hubs.entry(runtime.workspace().clone()).or_insert_with(|| {
            let hub = Arc::new(Hub { name: api.request_id(), kept: Mutex::default(), last: watch::Sender::new(0) });
            tokio::spawn(gather(api.clone(), runtime.clone(), hub.clone()));
            hub
        });
        let (hub, last) = (hub.clone(), hub.last.subscribe());
        let now = *last.borrow();
        let known = cursor.map(|cursor| hub.number(cursor).ok_or_else(|| cursor.to_owned()));
        let (at, lost) = match known {
            Some(Ok(at)) => (at, None),
            Some(Err(cursor)) => (now, Some(cursor)),
            None => (now, None),
        };
        Reader { hub, last, at, lost }
    }

    /// Where it is.
    pub(crate) fn cursor(&self) -> String {
        self.hub.cursor(self.at)
    }

    /// The next frames, each with its number. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, now_ms: i64) -> Option<Vec<(u64, Arc<str>)>> {
        loop {
            if let Some(from) = self.lost.take() {
                return Some(vec![(self.at, self.lagged(&from, now_ms))]);
            }
            let seen = *self.last.borrow_and_update();
            let (before, frames) = {
                let kept = self.hub.kept();
                let skip = usize::try_from(self.at.saturating_sub(kept.before)).unwrap_or(usize::MAX);
                (kept.before, kept.frames.iter().skip(skip).take(AT_ONCE).cloned().collect::<Vec<_>>())
            };
            if self.at < before {
                self.lost = Some(self.cursor());
                self.at = before;
                continue;
            }
            if !frames.is_empty() {
                let first = self.at + 1;
                self.at += frames.len() as u64;
                return Some((first..).zip(frames).collect());
            }
            debug_assert!(seen <= self.at, "what is told of is kept");
            self.last.changed().await.ok()?;
        }
    }

    fn lagged(&self, from: &str, now_ms: i64) -> Arc<str> {
        json!({"type": "lagged", "timestamp": timestamp_text(now_ms), "from": from, "to": self.cursor(), "cursor": self.cursor()})
            .to_string()
            .into()
    }
}

/// Expands what becomes durable, for as long as anybody follows.
async fn gather(api: Arc<Api>, runtime: Runtime, hub: Arc<Hub>) {
    let mut heard = runtime.listen();
    let mut runs: HashMap<RunId, (Teller, u64)> = HashMap::new();
    let (mut look, mut alone, mut closing) = (tokio::time::interval(LOOK_EVERY), 0, api.closing.subscribe());
    loop {
        tokio::select! {
            published = heard.recv() => match published {
                Ok(published) => {
                    let run = published.run.clone();
                    if let Err(why) = tell(&runtime, &hub, &mut runs, published).await {
                        tracing::warn!(%run, %why, "a workspace's feed leaves out a run's events");
                        hub.put_lagged(api.settings.clock.now_ms());
                    }
                }
                // The runs that go on catch up from the store; of others nobody here knows what was missed.
                Err(RecvError::Lagged(_)) => hub.put_lagged(api.settings.clock.now_ms()),
                Err(RecvError::Closed) => return,
            },
            _ = look.tick() => {
                let mut hubs = api.feeds.0.lock().unwrap_or_else(PoisonError::into_inner);
                // The table's, this task's, and no follower's.
                alone = if Arc::strong_count(&hub) <= 2 { alone + 1 } else { 0 };
                if alone > 2 {
                    hubs.remove(runtime.workspace());
                    return;
                }
            }
            () = ends(&mut closing) => return,
        }
    }
}

/// A run's new events as frames; those that were missed are read from the store.
async fn tell(
    runtime: &Runtime,
    hub: &Hub,
    runs: &mut HashMap<RunId, (Teller, u64)>,
    published: Published,
) -> Result<(), LoadError> {
    let Published { run, last, events } = published;
    let first = events.first().map_or(last, |event| event.seq);
    let (mut known, mut cursor) = match runs.remove(&run) {
        Some(known) => known,
        None => (teller(runtime, &run, first - 1).await?.0, first - 1),
    };
    let mut over = false;
    let mut put = |event: &StoredEvent, cursor: &mut u64| {
        known.tell(event).iter().filter_map(frame).for_each(|one| hub.put(one));
        over |= is_last(&event.event);
        *cursor = event.seq;
    };
    while cursor < last {
        if first == cursor + 1 && !events.is_empty() {
            events.iter().for_each(|event| put(event, &mut cursor));
            break;
        }
        let page = runtime.events_page(&run, cursor + 1).await?;
        if page.is_empty() {
            break;
        }
        page.iter().filter(|event| event.seq <= last).for_each(|event| put(event, &mut cursor));
    }
    if !over {
        runs.insert(run, (known, cursor));
    }
    Ok(())
}

/// A workspace's frames as they are written.
struct Written {
    api: Arc<Api>,
    reader: Reader,
    lines: bool,
}

impl Pieces for Written {
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = String::new();
        for (number, one) in self.reader.next(self.api.settings.clock.now_ms()).await? {
            if self.lines {
                out.push_str(&format!("{one}\n"));
            } else {
                out.push_str(&format!("id: {}\ndata: {one}\n\n", self.reader.hub.cursor(number)));
            }
        }
        Some(out.into())
    }
}

/// The same as server-sent events, or as lines of JSON.
pub(crate) async fn events(api: Arc<Api>, asked: Asked) -> Handled {
    let cursor = asked.header("last-event-id").or_else(|| asked.query("after"));
    let kind = asked.prefers(&["text/event-stream", "application/x-ndjson"]);
    let kind = kind.ok_or_else(|| Problem::header("Accept", "must take `text/event-stream` or `application/x-ndjson`"))?;
    let lines = kind == "application/x-ndjson";
    let written = Written { reader: Reader::new(&api, &asked.runtime, cursor), api: api.clone(), lines };
    let words = if lines { LINES } else { SSE };
    Ok(Answer::stream(kind, stream(api, asked.context, written, words)))
}
