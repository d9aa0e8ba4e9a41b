//! Who is let in: places of live runs in fair turns by workspace, a bounded queue for them, a ceiling of memory, and a bound
//! on the commands that one run has not answered yet. Past a bound there is a refusal that says when to come again; what was
//! let in is finished.
//!
//! ```text
//! a new run ──▶ a place is free ──▶ live       none free ──▶ queued by workspace, in turns ──▶ live
//!     └── the queue is full, or memory is ──▶ refused: try again in so long
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::runtime::Runtime;
use crate::scope::ScopedRun;

/// How long the memory that was read counts as current.
const MEMORY_FOR: Duration = Duration::from_millis(100);
/// Commands that one run has not answered yet, at most.
const COMMANDS: usize = 256;
/// The bounds of a hint when to come again.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);

/// A refusal because of a bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; try again in {} s", .retry_after.as_secs())]
pub struct Busy {
    /// Which bound, with its number.
    pub what: String,
    /// When it may go better.
    pub retry_after: Duration,
}

/// How somebody waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// With a run that nobody has accepted yet: past a bound it is refused.
    New,
    /// With one that was: it waits for as long as it takes.
    Accepted,
}

/// Why there is no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Busy(Busy),
    Closed,
}

/// The places of live runs.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<Queue>>);

struct Queue {
    free: usize,
    closed: bool,
    /// New runs that wait, and how many may.
    new: usize,
    most_new: usize,
    /// Who waits, by workspace; the one in front is next.
    lanes: VecDeque<(Arc<str>, VecDeque<Waiter>)>,
    /// How long a place was kept of late.
    kept: Duration,
    places: usize,
}

struct Waiter {
    entry: Entry,
    place: oneshot::Sender<Place>,
}

/// A place of a live run; the next one gets it when it is dropped.
pub(crate) struct Place {
    places: Places,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        let kept = self.since.elapsed();
        let mut queue = self.places.queue();
        // A moving average over about eight.
        queue.kept = queue.kept - queue.kept / 8 + kept / 8;
        let next = queue.next();
        let Some(next) = next else {
            queue.free += 1;
            return;
        };
        drop(queue);
        // Whoever has gone meanwhile drops the place he got, and so hands it on.
        drop(next.send(Place { places: self.places.clone(), since: Instant::now() }));
    }
}

impl Queue {
    /// The next of the workspace whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some((workspace, mut lane)) = self.lanes.pop_front() {
            let waiter = lane.pop_front();
            if !lane.is_empty() {
                self.lanes.push_back((workspace, lane));
            }
            if let Some(waiter) = waiter {
                self.new -= usize::from(waiter.entry == Entry::New);
                if !waiter.place.is_closed() {
                    return Some(waiter.place);
                }
            }
        }
        None
    }

    fn busy(&self) -> Busy {
        let what = format!("{} runs are live and {} wait for a place", self.places, self.new);
        Busy { what, retry_after: self.retry_after() }
    }

    /// When as many have gone as wait now.
    fn retry_after(&self) -> Duration {
        let rounds = u32::try_from(self.new / self.places.max(1)).unwrap_or(u32::MAX).saturating_add(1);
        self.kept.saturating_mul(rounds).clamp(SOONEST, LATEST)
    }
}

impl Places {
    pub(crate) fn new(places: usize, most_new: usize) -> Places {
        let places = places.max(1);
        let queue = Queue { free: places, closed: false, new: 0, most_new, lanes: VecDeque::new(), kept: Duration::ZERO, places };
        Places(Arc::new(Mutex::new(queue)))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if one is free and nobody waits.
    pub(crate) fn try_enter(&self) -> Option<Place> {
        let mut queue = self.queue();
        if queue.closed || queue.free == 0 {
            return None;
        }
        queue.free -= 1;
        Some(self.place())
    }

    fn place(&self) -> Place {
        Place { places: self.clone(), since: Instant::now() }
    }

    /// Waits for a place behind those of the same workspace.
    pub(crate) async fn enter(&self, workspace: &str, entry: Entry) -> Result<Place, NoPlace> {
        let waiting = {
            let mut queue = self.queue();
            if queue.closed {
                return Err(NoPlace::Closed);
            }
            if queue.free > 0 {
                queue.free -= 1;
                drop(queue);
                return Ok(self.place());
            }
            if entry == Entry::New && queue.new >= queue.most_new {
                return Err(NoPlace::Busy(queue.busy()));
            }
            queue.new += usize::from(entry == Entry::New);
            let (sender, waiting) = oneshot::channel();
            let waiter = Waiter { entry, place: sender };
            match queue.lanes.iter_mut().find(|(of, _)| **of == *workspace) {
                Some((_, lane)) => lane.push_back(waiter),
                None => queue.lanes.push_back((workspace.into(), VecDeque::from([waiter]))),
            }
            waiting
        };
        waiting.await.map_err(|_| NoPlace::Closed)
    }

    /// Whether somebody waits for one.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.queue().lanes.is_empty()
    }

    /// Refuses where a new run would find neither a place nor one in the queue.
    fn room(&self) -> Result<(), Busy> {
        let queue = self.queue();
        if queue.free == 0 && queue.new >= queue.most_new { Err(queue.busy()) } else { Ok(()) }
    }

    /// New runs that wait, and whether one more would be refused.
    fn waiting(&self) -> (usize, bool) {
        let queue = self.queue();
        (queue.new, queue.free == 0 && queue.new >= queue.most_new)
    }

    /// No run begins any more; whoever waits is told.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.lanes.clear();
    }
}

/// How much work there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Runs with an orchestrator.
    pub live: usize,
    /// New runs that wait for a place.
    pub queued: usize,
    /// Whether one more would be refused.
    pub is_full: bool,
}

impl Runtime {
    /// Refuses where a new run would be refused, before any work is spent on it. One that is let pass here may be refused later.
    pub fn room(&self) -> Result<(), Busy> {
        let shed = |reason: &str| self.shared.metrics.shed_total.with_label_values(&[reason]).inc();
        self.shared.places.room().inspect_err(|_| shed("runs"))?;
        self.shared.memory.check().inspect_err(|_| shed("memory"))
    }

    /// How much work there is.
    pub fn backlog(&self) -> Backlog {
        let (queued, is_full) = self.shared.places.waiting();
        Backlog { live: self.live(), queued, is_full: is_full || self.shared.memory.check().is_err() }
    }
}

/// The ceiling of the process' memory, for new runs.
pub(crate) struct Ceiling {
    most: Option<u64>,
    read: Mutex<Option<(Instant, u64)>>,
}

impl Ceiling {
    pub(crate) fn new(most: Option<u64>) -> Ceiling {
        Ceiling { most, read: Mutex::new(None) }
    }

    /// Refuses where more memory is resident than may be.
    pub(crate) fn check(&self) -> Result<(), Busy> {
        let Some(most) = self.most else { return Ok(()) };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let resident = match *read {
            Some((at, resident)) if at.elapsed() < MEMORY_FOR => resident,
            _ => {
                let resident = resident_bytes().unwrap_or(0);
                *read = Some((Instant::now(), resident));
                resident
            }
        };
        if resident <= most {
            return Ok(());
        }
        let mib = |bytes: u64| bytes >> 20;
        let what = format!("the process takes {} MiB, more than `runtime.max_memory` of {} MiB", mib(resident), mib(most));
        Err(Busy { what, retry_after: SOONEST })
    }
}

/// The commands of each run that are not answered yet: bounded, because an actor's own mailbox is not.
#[derive(Default)]
pub(crate) struct Commands(Mutex<HashMap<ScopedRun, usize>>);

/// The right to bring one command.
pub(crate) struct Turn<'c>(&'c Commands, ScopedRun);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

impl Commands {
    pub(crate) fn enter(&self, run: &ScopedRun) -> Result<Turn<'_>, Busy> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(run.clone()).or_insert(0);
        if *count >= COMMANDS {
            let what = format!("run `{run}` has {COMMANDS} commands to answer");
            return Err(Busy { what, retry_after: SOONEST });
        }
        *count += 1;
        Ok(Turn(self, run.clone()))
    }
}

/// Resident memory of this process; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn places_are_given_in_turns_by_workspace() {
        let places = Places::new(1, 100);
        let first = places.try_enter().expect("is free");
        assert!(places.try_enter().is_none());
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for (workspace, n) in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("b", 2)] {
            let (own, order) = (places.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let place = own.enter(workspace, Entry::New).await;
                order.lock().expect("not poisoned").push((workspace, n));
                tokio::time::sleep(Duration::from_secs(8)).await;
                drop(place);
            }));
            tokio::task::yield_now().await;
        }
        assert!(places.are_wanted());
        drop(first);
        for waiter in waiting {
            waiter.await.expect("ends");
        }
        let order = order.lock().expect("not poisoned").clone();
        assert_eq!(order, [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2), ("a", 3)]);
        assert!(!places.are_wanted() && places.try_enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn past_its_bound_the_queue_refuses_what_nobody_has_accepted() {
        let places = Places::new(2, 3);
        let held = [places.try_enter(), places.try_enter()];
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let own = places.clone();
            waiting.push(tokio::spawn(async move { own.enter("a", Entry::New).await.is_ok() }));
            tokio::task::yield_now().await;
        }
        let refused = places.enter("b", Entry::New).await;
        let Err(NoPlace::Busy(busy)) = refused else { panic!("it was let in") };
        assert_eq!(busy.to_string(), "2 runs are live and 3 wait for a place; try again in 1 s");
        let own = places.clone();
        let accepted = tokio::spawn(async move { own.enter("a", Entry::Accepted).await.is_ok() });
        tokio::task::yield_now().await;
        // One of those that wait has gone: his place in the queue is free again once it is his turn.
        waiting.remove(0).abort();
        tokio::task::yield_now().await;
        drop(held);
        for waiter in waiting {
            assert!(waiter.await.expect("ends"));
        }
        assert!(accepted.await.expect("ends"));
        let held = [places.try_enter(), places.try_enter()];
        assert!(held.iter().all(Option::is_some), "no place was lost");
        let own = places.clone();
        let last = tokio::spawn(async move { own.enter("a", Entry::Accepted).await.err() });
        tokio::task::yield_now().await;
        places.close();
        assert_eq!(last.await.expect("ends"), Some(NoPlace::Closed));
        assert_eq!(places.enter("a", Entry::Accepted).await.err(), Some(NoPlace::Closed));
    }

    #[test]
    fn above_the_ceiling_of_memory_new_runs_are_refused() {
        assert!(Ceiling::new(None).check().is_ok());
        if resident_bytes().is_none() {
            println!("skipped: this system does not say how much memory a process takes");
            return;
        }
        assert!(Ceiling::new(Some(u64::MAX)).check().is_ok());
        let refused = Ceiling::new(Some(1 << 20)).check().expect_err("a megabyte is too little");
        assert!(refused.what.ends_with("more than `runtime.max_memory` of 1 MiB"), "{refused}");
    }
}
