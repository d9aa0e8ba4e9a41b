//! Which run is to be looked at when: one ordered set for all runs that wait, one timer for its earliest entry.
//!
//! A run that waits costs an entry of 40 bytes here, whether its orchestrator lives or not. An entry is no truth: the run's
//! log says what is due, so one too many does no harm, and one that goes off early is set again.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinHandle;

use crate::orchestrator::OrchestratorMsg;
use crate::run_id::{RunId, RunKey};
use crate::runtime::Runtime;
use crate::scope::{Scoped, ScopedRun, WorkspaceId};

/// The longest sleep: a wall clock that is set forward is noticed within it.
const LONGEST: Duration = Duration::from_secs(60);
/// Runs loaded at once because their time has come.
const LOADS: usize = 32;
/// After this a run that could not be loaded is tried again.
const AGAIN_MS: i64 = 5_000;

/// An entry: a moment of wall time, a run, and what is to become of it.
type Entry = (i64, TimerKey);

/// A run of a workspace, for a table of many.
pub(crate) type TimerKey = (WorkspaceId, RunKey);

pub(crate) fn key_of(run: &ScopedRun) -> TimerKey {
    (run.workspace().clone(), run.id().key())
}

pub(crate) fn run_of((workspace, key): TimerKey) -> ScopedRun {
    Scoped::new(workspace, RunId::of_key(key))
}

/// The table.
#[derive(Default)]
pub(crate) struct Timers {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Runs that have something to do at a moment.
    due: BTreeSet<Entry>,
    /// Runs whose orchestrators may go at a moment.
    idle: BTreeSet<Entry>,
    /// The moment the keeper sleeps until.
    armed: Option<i64>,
    keeper: Option<ActorRef<KeeperMsg>>,
}

/// What has come due.
pub(crate) enum Due {
    /// The run has something to do.
    Run(ScopedRun),
    /// The run's orchestrator has waited long enough.
    Idle(ScopedRun),
}

impl Timers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run has something to do at a moment.
    pub(crate) fn set(&self, run: &ScopedRun, at: i64) {
        let mut table = self.table();
        table.due.insert((at, key_of(run)));
        self.arm(table, at);
    }

    /// It has not, after all.
    pub(crate) fn unset(&self, run: &ScopedRun, at: i64) {
        self.table().due.remove(&(at, key_of(run)));
    }

    /// A run's orchestrator may go at a moment.
    pub(crate) fn set_idle(&self, run: &ScopedRun, at: i64) {
        let mut table = self.table();
        table.idle.insert((at, key_of(run)));
        self.arm(table, at);
    }

    /// It may not, after all.
    pub(crate) fn unset_idle(&self, run: &ScopedRun, at: i64) {
        self.table().idle.remove(&(at, key_of(run)));
    }

    /// The run whose orchestrator has been idle longest.
    pub(crate) fn pop_idlest(&self) -> Option<ScopedRun> {
        self.table().idle.pop_first().map(|(_, key)| run_of(key))
    }

    /// Takes over the entries of a whole store at its start.
    pub(crate) fn fill(&self, entries: Vec<(i64, TimerKey)>) {
        let mut table = self.table();
        let Some(first) = entries.iter().map(|(at, _)| *at).min() else { return };
        let mut filled: BTreeSet<Entry> = entries.into_iter().collect();
        if table.due.is_empty() {
            table.due = filled;
        } else {
            table.due.append(&mut filled);
        }
        self.arm(table, first);
    }

    /// How many runs wait for a moment.
    pub(crate) fn len(&self) -> usize {
        self.table().due.len()
    }

    /// Tells the keeper of an entry that comes before the one it sleeps for.
    fn arm(&self, mut table: MutexGuard<'_, Table>, at: i64) {
        if table.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        table.armed = Some(at);
        if let Some(keeper) = &table.keeper
            && keeper.cast(KeeperMsg::Look).is_err()
        {
            tracing::debug!("the runtime is gone; the timer goes off at the next start");
        }
    }

    /// When the keeper must look again; with `loads` at its limit a run to be loaded is no reason to.
    fn next(&self, may_load: bool) -> Option<i64> {
        let mut table = self.table();
        let due = table.due.first().filter(|_| may_load);
        let next = due.into_iter().chain(table.idle.first()).map(|(at, _)| *at).min();
        table.armed = next;
        next
    }

    /// Takes what is due out of the table; of runs to be loaded no more than `loads`.
    fn pop(&self, now: i64, mut loads: usize, is_live: impl Fn(&ScopedRun) -> bool) -> Vec<Due> {
        let mut table = self.table();
        let mut due = Vec::new();
        while let Some((at, key)) = table.due.first()
            && *at <= now
        {
            let run = run_of(key.clone());
            if !is_live(&run) {
                if loads == 0 {
                    break;
                }
                loads -= 1;
            }
            table.due.pop_first();
            due.push(Due::Run(run));
        }
        while table.idle.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = table.idle.pop_first()
        {
            due.push(Due::Idle(run_of(key)));
        }
        due
    }
}

pub(crate) enum KeeperMsg {
    /// Something may be due, or due earlier than it was.
    Look,
    /// A run was loaded, or could not be.
    Loaded,
}

/// The actor that looks at the table.
pub(crate) struct Keeper;

pub(crate) struct KeeperState {
    runtime: Runtime,
    loading: usize,
    sleep: Option<JoinHandle<Result<(), ractor::MessagingErr<KeeperMsg>>>>,
}

impl Actor for Keeper {
    type Msg = KeeperMsg;
    type State = KeeperState;
    type Arguments = Runtime;

    async fn pre_start(&self, myself: ActorRef<KeeperMsg>, runtime: Runtime) -> Result<KeeperState, ActorProcessingErr> {
        runtime.shared.timers.table().keeper = Some(myself.clone());
        myself.cast(KeeperMsg::Look)?;
        Ok(KeeperState { runtime, loading: 0, sleep: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<KeeperMsg>,
        message: KeeperMsg,
        state: &mut KeeperState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeeperMsg::Look => {}
            KeeperMsg::Loaded => state.loading = state.loading.saturating_sub(1),
        }
        state.look(&myself);
        Ok(())
    }
}

impl KeeperState {
    fn look(&mut self, myself: &ActorRef<KeeperMsg>) {
        let shared = self.runtime.shared.clone();
        let now = shared.clock.now_ms();
        for due in shared.timers.pop(now, LOADS.saturating_sub(self.loading), |run| shared.registry.get(run).is_some()) {
            let (run, message) = match due {
                Due::Run(run) => (run, OrchestratorMsg::Go),
                Due::Idle(run) => (run, OrchestratorMsg::GiveWay),
            };
            match (shared.registry.get(&run), message) {
                (Some(actor), message) => {
                    if actor.cast(message).is_err() {
                        tracing::debug!(%run, "it has just stopped, and has said itself when it is due");
                    }
                }
                (None, OrchestratorMsg::Go) => self.load(run, now, myself),
                (None, _) => {}
            }
        }
        if let Some(sleep) = self.sleep.take() {
            sleep.abort();
        }
        if let Some(next) = shared.timers.next(self.loading < LOADS) {
            let wait = Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or(0));
            self.sleep = Some(myself.send_after(wait.min(LONGEST), || KeeperMsg::Look));
        }
    }

    /// Wakes a run beside the mailbox. What cannot be read now is tried again later; what is damaged is named and left.
    fn load(&mut self, run: ScopedRun, now: i64, myself: &ActorRef<KeeperMsg>) {
        self.loading += 1;
        let (runtime, keeper) = (self.runtime.clone(), myself.clone());
        tokio::spawn(async move {
            let waking = Waking { runtime, keeper, run, again: Some(now.saturating_add(AGAIN_MS)) };
            waking.wake().await;
        });
    }
}

/// A run that is being woken: whatever becomes of the attempt, even a panic, its timer is not lost.
struct Waking {
    runtime: Runtime,
    keeper: ActorRef<KeeperMsg>,
    run: ScopedRun,
    again: Option<i64>,
}

impl Waking {
    async fn wake(mut self) {
        match self.runtime.of(&self.run).wake_due(&self.run).await {
            Ok(()) => self.again = None,
            Err(e) if e.passes() => tracing::warn!(run = %self.run, error = %e, "it cannot be woken now, and is tried again"),
            Err(e) => {
                self.again = None;
                tracing::warn!(run = %self.run, error = %e, "it cannot be woken");
            }
        }
    }
}

impl Drop for Waking {
    fn drop(&mut self) {
        if let Some(at) = self.again {
            self.runtime.shared.timers.set(&self.run, at);
        }
        if self.keeper.cast(KeeperMsg::Loaded).is_err() {
            tracing::debug!("the runtime is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8) -> ScopedRun {
        run_of((WorkspaceId::local(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]))
    }

    fn popped(timers: &Timers, now: i64, loads: usize, live: &[u8]) -> String {
        let due = timers.pop(now, loads, |run| live.contains(&run.id().key()[15]));
        let word = |due: &Due| match due {
            Due::Run(run) => run.id().key()[15].to_string(),
            Due::Idle(run) => format!("idle {}", run.id().key()[15]),
        };
        due.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_is_due_comes_in_order_and_once() {
        let timers = Timers::default();
        timers.set(&run(1), 30);
        timers.set(&run(2), 10);
        timers.set(&run(2), 10);
        timers.fill(vec![(20, key_of(&run(3))), (25, key_of(&run(4)))]);
        timers.set_idle(&run(5), 15);
        timers.unset(&run(4), 25);
        assert_eq!((timers.len(), timers.next(true), timers.next(false)), (3, Some(10), Some(15)));
        let check = |now, loads, live: &[u8], expect: &str| assert_eq!(popped(&timers, now, loads, live), expect, "at {now}");
        check(9, 9, &[], "");
        check(20, 0, &[], "idle 5");
        check(20, 1, &[], "2");
        check(20, 1, &[], "3");
        check(30, 0, &[1], "1");
        check(99, 9, &[], "");
        assert_eq!(timers.next(true), None);
    }

    #[test]
    fn the_idlest_gives_way_first() {
        let timers = Timers::default();
        timers.set_idle(&run(1), i64::MAX);
        timers.set_idle(&run(2), 5);
        assert_eq!([timers.pop_idlest(), timers.pop_idlest(), timers.pop_idlest()], [Some(run(2)), Some(run(1)), None]);
    }
}
