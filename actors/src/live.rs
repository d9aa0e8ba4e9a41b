//! What outlives an orchestrator's crash: who waits for the run, who follows it, and its place among the live ones.

use std::sync::{Arc, Mutex, PoisonError};

use commedia_domain::event::Created;
use commedia_domain::id::Hash32;
use commedia_domain::run::Run;
use commedia_domain::scenario::Scenario;
use commedia_domain::tool::Builtins;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::clock::WallClock;
use crate::log::LoadError;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::registry::Registry;
use crate::run_id::RunId;
use crate::runtime::StartOptions;
use crate::store::{Head, Store};
use crate::subscribers::Subscribers;

/// What all actors of a runtime share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) builtins: Arc<dyn Builtins>,
    pub(crate) model: Option<Arc<dyn Model>>,
    pub(crate) clock: WallClock,
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

/// A run that is live in this process.
pub(crate) struct Live {
    pub(crate) id: RunId,
    pub(crate) scenario: Arc<Scenario>,
    /// The first event, for a run whose log may not be there yet.
    pub(crate) created: Option<Created>,
    pub(crate) subscribers: Subscribers,
    pub(crate) start: StartOptions,
    done: Mutex<Option<oneshot::Sender<Result<LoadedRun, LoadError>>>>,
    _permit: OwnedSemaphorePermit,
}

impl Live {
    pub(crate) fn new(
        id: RunId,
        scenario: Arc<Scenario>,
        created: Option<Created>,
        start: StartOptions,
        permit: OwnedSemaphorePermit,
    ) -> (Arc<Live>, oneshot::Receiver<Result<LoadedRun, LoadError>>) {
        let (sender, receiver) = oneshot::channel();
        let live = Live {
            id,
            scenario,
            created,
            subscribers: Subscribers::default(),
            start,
            done: Mutex::new(Some(sender)),
            _permit: permit,
        };
        (Arc::new(live), receiver)
    }

    /// The run has ended, or rests, or cannot go on: whoever waits is told, once.
    pub(crate) fn finish(&self, result: Result<LoadedRun, LoadError>) {
        let waiting = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting
            && waiting.send(result).is_err()
        {
            tracing::debug!(run = %self.id, "nobody waited for the run's end");
        }
        self.subscribers.close();
    }
}
