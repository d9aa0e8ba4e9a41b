//! A run whose orchestrator died comes back from its log. Three deaths within a minute and one more: it is quarantined, so
//! that an operator looks at it. A store that takes no writes is nobody's death: the run waits until it does.
//!
//! ```text
//! live ──panic──▶ read from the log ──▶ live      the fourth within a minute ──▶ quarantined ──release──▶ live │ failed
//!   └──the store refused──▶ wait until it takes writes ──▶ read from the log ──▶ live
//! ```

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use commedia_domain::event::Event;
use ractor::{ActorProcessingErr, ActorRef};
use tokio::task::JoinError;
use tokio::time::Instant;

use crate::live::{Live, Shared};
use crate::log::{LoadError, LogWriter, cause};
use crate::meta::{RunMeta, run_stream};
use crate::orchestrator::Origin;
use crate::recovery::{Recovered, Scenarios, created, events, recover};
use crate::scope::ScopedRun;
use crate::store::{AppendError, Head, ReadError, Store};
use crate::supervisor::SupervisorMsg;

/// How often one run's orchestrator is started again within the window.
const MAX_RESTARTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);
/// Before a run is read again over the store's fault; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why an orchestrator died.
#[derive(Clone, Debug)]
pub(crate) enum Death {
    /// The store did not take its events; whatever it had decided since is decided again.
    Store(AppendError),
    /// It panicked, or could not go on.
    Crash(String),
}

impl Death {
    pub(crate) fn of(reason: &ActorProcessingErr) -> Death {
        match reason.downcast_ref::<AppendError>() {
            Some(e) => Death::Store(e.clone()),
            None => Death::Crash(reason.to_string()),
        }
    }
}

/// The deaths of a run's orchestrators.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deaths {
    crashes: Vec<Instant>,
    /// Refusals of the store in a row.
    refusals: u32,
}

/// What becomes of a run whose orchestrator died.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is read from its log, after a pause and once the store takes writes.
    Rebuild(Duration),
    /// It is set aside for an operator.
    Quarantine,
    /// Another process has taken over: it goes on there.
    LetGo,
}

impl Deaths {
    pub(crate) fn next(&mut self, death: &Death, epoch: u64) -> Next {
        match death {
            Death::Store(AppendError::Fenced { epoch: owner }) if *owner > epoch => Next::LetGo,
            Death::Store(
                AppendError::Fenced { .. } | AppendError::Unavailable(_) | AppendError::Unknown | AppendError::Conflict { .. },
            ) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(16)).min(LONGEST_PAUSE);
                self.refusals += 1;
                Next::Rebuild(pause)
            }
            Death::Store(_) | Death::Crash(_) => {
                let now = Instant::now();
                self.refusals = 0;
                self.crashes.retain(|at| now.duration_since(*at) <= WINDOW);
                self.crashes.push(now);
                if self.crashes.len() > MAX_RESTARTS { Next::Quarantine } else { Next::Rebuild(Duration::ZERO) }
            }
        }
    }
}

/// Reads a run from its log and tells the supervisor; beside its mailbox.
pub(crate) fn rebuild(
    shared: &Arc<Shared>,
    scenarios: &Arc<Scenarios>,
    live: Arc<Live>,
    deaths: Deaths,
    pause: Duration,
    supervisor: ActorRef<SupervisorMsg>,
) {
    let (shared, scenarios) = (shared.clone(), scenarios.clone());
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let origin = read(&shared, &scenarios, &live).await;
        let awaited = live.clone();
        if supervisor.cast(SupervisorMsg::Again { live, deaths, origin }).is_err() {
            awaited.finish(Err(closing()));
        }
    });
}

/// The run as its log has it. What became durable without its orchestrator hearing of it is published first.
async fn read(shared: &Arc<Shared>, scenarios: &Arc<Scenarios>, live: &Arc<Live>) -> Result<Origin, LoadError> {
    loop {
        until_writable(shared).await?;
        match (recover_caught(&shared.store, scenarios, &live.id).await, live.created()) {
            (Err(LoadError::Store(ReadError::Unavailable(why))), _) => {
                tracing::warn!(run = %live.id, %why, "the run cannot be read yet");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
            (Err(LoadError::Unknown(_)), Some(created)) => return Ok(Origin::New(created)),
            (Err(e), _) => return Err(e),
            (Ok(recovered), _) => {
                // What nobody had acknowledged was stored all the same.
                live.is_stored();
                if live.subscribers.is_followed() {
                    live.publish(&events(&shared.store, &live.id, live.published() + 1).await?);
                }
                shared.tell(&live.id, recovered.loaded.head.seq, &[]);
                return Ok(Origin::Stored(Box::new(recovered)));
            }
        }
    }
}

/// Waits until the store takes writes, but not in a runtime that closes.
async fn until_writable(shared: &Shared) -> Result<(), LoadError> {
    let mut is_closing = shared.closing.subscribe();
    tokio::select! {
        biased;
        // The sender is kept by what is shared: this ends only when it is so.
        _ = is_closing.wait_for(|closing| *closing) => Err(closing()),
        () = shared.store.until_writable() => Ok(()),
    }
}

fn closing() -> LoadError {
    LoadError::Stopped("the runtime is closing; the run goes on at the next start".into())
}

/// Like [`recover`]; a log over which the fold itself panics is told from one that cannot be read.
pub(crate) async fn recover_caught(store: &Store, scenarios: &Arc<Scenarios>, id: &ScopedRun) -> Result<Recovered, LoadError> {
    let (store, scenarios, id) = (store.clone(), scenarios.clone(), id.clone());
    let read = tokio::spawn(async move { recover(&store, &scenarios, &id).await }).await;
    read.unwrap_or_else(|e| Err(LoadError::Panicked(end_words(e))))
}

/// How a task ended that did not come to its end.
pub(crate) fn end_words(e: JoinError) -> String {
    e.try_into_panic().map_or_else(|e| e.to_string(), |panic| panic_words(&*panic))
}

/// What a panic said.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").to_owned()
}

/// Appends `run.quarantined` and folds nothing: that may be what the run crashes over.
pub(crate) fn quarantine(shared: &Arc<Shared>, live: Arc<Live>, reason: String) {
    let shared = shared.clone();
    tokio::spawn(async move {
        tracing::error!(run = %live.id, reason, "the run crashes whenever it is to go on, and is quarantined");
        let recorded = loop {
            if let Err(closing) = until_writable(&shared).await {
                break Err(closing);
            }
            match record(&shared, &live, &reason).await {
                Err(LoadError::Append(AppendError::Unavailable(_) | AppendError::Unknown | AppendError::Conflict { .. })) => {
                    tokio::time::sleep(LONGEST_PAUSE).await;
                }
                recorded => break recorded,
            }
        };
        let id = live.id.to_string();
        live.finish(Err(recorded.err().unwrap_or(LoadError::Quarantined { id, reason })));
        live.leave_place();
    });
}

async fn record(shared: &Shared, live: &Live, reason: &str) -> Result<(), LoadError> {
    let stream = run_stream(&live.id).map_err(|_| LoadError::Unknown(live.id.to_string()))?;
    let store = &shared.store;
    let head = store.head(&stream).await?;
    let now = shared.clock.now_ms();
    let why = cause("quarantine", &"local".into(), &[], now);
    let mut log = LogWriter::new(stream.clone(), store.lease(&stream), head, Default::default(), why);
    let known = store.meta(&stream).await?.and_then(|row| RunMeta::decode(&row));
    let mut meta = match (known, live.created()) {
        (Some(meta), _) if meta.is_quarantined() => return Ok(()),
        (Some(meta), _) => meta,
        (None, Some(created)) => RunMeta::of(&created, now),
        (None, None) => {
            let (created, started_ms) = created(store, &stream, &live.id).await?;
            RunMeta::of(&created, started_ms)
        }
    };
    if head == Head::START {
        let created = live.created().ok_or_else(|| LoadError::Unknown(live.id.to_string()))?;
        log.push(Event::RunCreated(created))?;
    }
    log.push(Event::RunQuarantined { reason: reason.into() })?;
    let (row, listed) = meta.quarantine(log.next_seq() - 1, now);
    let events = log.flush(store, Some(row), listed).await?;
    live.publish(&events);
    shared.tell(&live.id, log.head().seq, &events);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn crashes_are_counted_within_a_window_and_refusals_of_the_store_are_not() {
        let mut deaths = Deaths::default();
        let crash = Death::Crash("x".into());
        let rebuild = Next::Rebuild(Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(deaths.next(&crash, 1), rebuild);
        }
        let refused = Death::Store(AppendError::Unavailable("full".into()));
        let pauses: Vec<Next> = (0..8).map(|_| deaths.next(&refused, 1)).collect();
        let expected = [50, 100, 200, 400, 800, 1600, 2000, 2000];
        assert_eq!(pauses, expected.map(|ms| Next::Rebuild(Duration::from_millis(ms))));
        assert_eq!(deaths.next(&crash, 1), Next::Quarantine);
        tokio::time::advance(WINDOW + Duration::from_millis(1)).await;
        assert_eq!(deaths.next(&crash, 1), rebuild, "the others left the window");
        for (owner, next) in [(1, Next::Rebuild(FIRST_PAUSE)), (2, Next::LetGo)] {
            let fenced = Death::Store(AppendError::Fenced { epoch: owner });
            assert_eq!(Deaths::default().next(&fenced, 1), next, "owned in epoch {owner}");
        }
    }
}
