//! What outlives an orchestrator's crash: who waits for the run, who follows it, and its place among the live ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commedia_domain::event::Created;
use commedia_domain::id::Hash32;
use commedia_domain::run::{Command, Refusal, Run};
use commedia_domain::scenario::Scenario;
use commedia_domain::tool::Builtins;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::admission::{Ceiling, Commands, Place, Places};
use crate::budget::DayBudget;
use crate::catalogue::Catalogue;
use crate::clock::WallClock;
use crate::feed::Feeds;
use crate::log::{LoadError, StoredEvent};
use crate::meta::WAITING;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::orchestrator::OrchestratorMsg;
use crate::passive::Rush;
use crate::prices::Prices;
use crate::registry::Registry;
use crate::run_id::RunId;
use crate::runtime::StartOptions;
use crate::scope::ScopedRun;
use crate::store::{Head, Store};
use crate::subscribers::Subscribers;
use crate::telemetry::Telemetry;
use crate::timers::Timers;
use crate::tool::http::HttpTools;
use crate::tool::mcp::McpServers;
use crate::turns::Turns;

/// What all actors of a runtime share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) builtins: Arc<dyn Builtins>,
    pub(crate) model: Option<Arc<dyn Model>>,
    /// What models cost.
    pub(crate) prices: Arc<Prices>,
    /// What the workspace's runs may spend together.
    pub(crate) day_budget: DayBudget,
    pub(crate) http: Arc<HttpTools>,
    pub(crate) mcp: Arc<McpServers>,
    pub(crate) clock: WallClock,
    pub(crate) timers: Timers,
    /// Whether the runtime closes.
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) places: Places,
    /// The ceiling of memory for new runs.
    pub(crate) memory: Ceiling,
    /// Whoever listens to whole workspaces.
    pub(crate) feeds: Feeds,
    /// Scenarios by name.
    pub(crate) catalogue: Catalogue,
    /// Keys of requests that are being answered.
    pub(crate) keys: Turns<Hash32>,
    /// Commands that are not answered yet.
    pub(crate) commands: Commands,
    /// Whether many runs want to begin at once.
    pub(crate) rush: Rush,
    /// Few runs at once go up to their first append: more would only push out of the caches what the others need.
    pub(crate) first_legs: Arc<Semaphore>,
    /// A run that has waited so long is passivated; `None`: only where its place is wanted.
    pub(crate) passivate_after: Option<Duration>,
    /// How long a shutdown waits.
    pub(crate) drain: Duration,
    /// Where spans of traces go, if anywhere.
    pub(crate) telemetry: Option<Arc<Telemetry>>,
}

impl Shared {
    /// Events of a run are durable: its followers and those of its workspace are told. Without them, up to which one.
    pub(crate) fn tell(&self, run: &ScopedRun, last: u64, events: &[StoredEvent]) {
        if let Some(topic) = self.registry.topic(run) {
            match events {
                [] => topic.tell(last),
                events => topic.publish(events),
            }
        }
        self.feeds.publish(run, last, events);
    }

    /// The run that has waited longest is asked for its place.
    pub(crate) fn ask_to_give_way(&self) {
        while let Some(run) = self.timers.pop_idlest() {
            if self.registry.get(&run).is_some_and(|actor| actor.cast(OrchestratorMsg::GiveWay).is_ok()) {
                return;
            }
        }
    }
}

/// A run folded from its log.
#[derive(Clone, Debug)]
pub struct LoadedRun {
    /// Its id.
    pub id: RunId,
    /// The machine, as far as the log goes.
    pub run: Run,
    /// The digest of its canonical events.
    pub digest: Hash32,
    /// The last stored event.
    pub head: Head,
    /// Wall time of its creation, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// Wall time of its end.
    pub ended_ms: Option<i64>,
}

impl LoadedRun {
    /// The moment of wall time before which it has nothing to do, whether that has passed or not: it waits. `None` where it
    /// works, stands still or is over.
    pub fn waits(&self) -> Option<i64> {
        match self.run.decide(Command::Proceed { wall: i64::MIN }) {
            Err(Refusal::Wait(at)) => Some(at),
            _ => None,
        }
    }

    /// The status' word: that of the machine, or `waiting`.
    pub fn status_word(&self) -> &'static str {
        if self.waits().is_some() || self.run.is_unresolved() { WAITING } else { self.run.state().status.word() }
    }
}

/// What whoever waits for a run's end is told; in a box, as a place for it is kept for as long as the run lives.
pub(crate) type Finished = Box<Result<LoadedRun, LoadError>>;

/// A run that is live in this process.
pub(crate) struct Live {
    pub(crate) id: ScopedRun,
    /// Who let it go on, as causes name it.
    pub(crate) principal: Arc<str>,
    pub(crate) scenario: Arc<Scenario>,
    /// The first event, for a run whose log may not be there yet.
    created: Mutex<Option<Box<Created>>>,
    pub(crate) subscribers: Subscribers,
    /// The seq of the last event its followers were told of, in this process.
    published: AtomicU64,
    pub(crate) start: StartOptions,
    done: Mutex<Option<oneshot::Sender<Finished>>>,
    /// Is told, once, that the log is there.
    stored: Mutex<Option<oneshot::Sender<()>>>,
    place: Mutex<Option<Place>>,
    /// It is read from its log again, and goes on whether anybody waits for it or not.
    pub(crate) comes_back: AtomicBool,
    /// Its place among those that run up to their first append, while it does.
    first_leg: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Live {
    pub(crate) fn new(
        id: ScopedRun,
        principal: Arc<str>,
        scenario: Arc<Scenario>,
        created: Option<Box<Created>>,
        start: StartOptions,
        place: Place,
    ) -> (Arc<Live>, oneshot::Receiver<Finished>) {
        let (sender, receiver) = oneshot::channel();
        let live = Live {
            id,
            principal,
            scenario,
            created: Mutex::new(created),
            subscribers: Subscribers::default(),
            published: AtomicU64::new(0),
            start,
            done: Mutex::new(Some(sender)),
            stored: Mutex::default(),
            place: Mutex::new(Some(place)),
            comes_back: AtomicBool::new(false),
            first_leg: Mutex::new(None),
        };
        (Arc::new(live), receiver)
    }

    /// The first event, for a run whose log may not be there yet.
    pub(crate) fn created(&self) -> Option<Box<Created>> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durable events, to whoever follows; how many followers were let go because they were behind comes back.
    pub(crate) fn publish(&self, events: &[StoredEvent]) -> usize {
        if let Some(last) = events.last() {
            self.published.store(last.seq, Ordering::Relaxed);
        }
        self.subscribers.publish(events)
    }

    /// The seq of the last event its followers were told of.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// The log is there: the first event is not kept twice.
    pub(crate) fn is_stored(&self) {
        if let Some(waiting) = self.stored.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever waited may have gone.
            waiting.send(()).ok();
        }
        drop(self.created.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Comes back when the log is there; with an error where the run has ended without one.
    pub(crate) fn when_stored(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Whether somebody waits for a log that is not there yet: the run is not accepted before it is.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether anybody waits for the run's end or follows it.
    pub(crate) fn is_awaited(&self) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.as_ref().is_some_and(|done| !done.is_closed()) || self.subscribers.is_followed()
    }

    /// A run without an orchestrator keeps no place.
    pub(crate) fn leave_place(&self) {
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// It runs up to its first append.
    pub(crate) fn begin_first_leg(&self, permit: OwnedSemaphorePermit) {
        *self.first_leg.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// It has come to its first append, or to a wait: the next run may begin.
    pub(crate) fn end_first_leg(&self) {
        drop(self.first_leg.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// It has an orchestrator again.
    pub(crate) fn take_place(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// The run has ended, or rests, or cannot go on: whoever waits is told, once.
    pub(crate) fn finish(&self, result: Result<LoadedRun, LoadError>) {
        let waiting = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting
            && waiting.send(Box::new(result)).is_err()
        {
            tracing::debug!(run = %self.id, "nobody waited for the run's end");
        }
        drop(self.stored.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.subscribers.close();
        self.end_first_leg();
    }
}
