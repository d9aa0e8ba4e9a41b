//! Runs without an orchestrator: how one comes back when its timer is due or a command comes, and where it stands until
//! then. One load for each run at a time, few at once; which of two orchestrators lives is decided by the registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commedia_domain::run::{Command, Status};
use tokio::sync::{Notify, Semaphore};

use crate::admission::{Busy, Entry, NoPlace, Place};
use crate::live::{Live, LoadedRun, Shared};
use crate::log::LoadError;
use crate::meta::{RunMeta, Standing, run_stream};
use crate::orchestrator::outset::{SetOut, set_out};
use crate::orchestrator::{CommandError, OrchestratorMsg, Origin};
use crate::points::{Point, pass};
use crate::rebuild::{Death, end_words, recover_caught};
use crate::recovery::Recovered;
use crate::run_id::RunId;
use crate::runtime::{RunHandle, Runtime, StartError, StartOptions};
use crate::scope::{Scoped, ScopedRun, WorkspaceId};
use crate::store::live::LiveRow;
use crate::store::{AppendError, CheckReport, Damage, ReadError, StreamCheck, StreamId, StreamKind};
use crate::supervisor::SupervisorMsg;
use crate::timers::{TimerKey, key_of, run_of};
use crate::turns::{Turn, Turns};

/// Runs read from the store at once.
const LOADS: usize = 64;
/// So many runs that are loaded, or wait for their first leg, are a rush.
const RUSH: usize = 32;
/// How long a run stands still for it at most, at one time.
const LONGEST_RUSH: Duration = Duration::from_secs(5);
/// How often a command is brought to a run that goes to rest just then.
const ATTEMPTS: u32 = 8;
/// Rows of the live index written at once.
const PAGE: usize = 4096;

/// Why a command did not reach its run, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailed {
    /// The run or the store said no.
    #[error("{0}")]
    Command(#[from] CommandError),
    /// The run could not be read or started.
    #[error("{0}")]
    Start(#[from] StartError),
    /// The run has more commands to answer than it may have; nothing was done.
    #[error("{0}")]
    Busy(Busy),
    /// It came and went; nothing was done.
    #[error("run `{0}` could not be reached: try again")]
    Unreachable(RunId),
}

impl From<LoadError> for CommandFailed {
    fn from(e: LoadError) -> CommandFailed {
        CommandFailed::Start(StartError::Load(e))
    }
}

impl CommandFailed {
    /// Whether it may go better later: the store could not be read or written.
    pub(crate) fn passes(&self) -> bool {
        match self {
            CommandFailed::Command(CommandError::Store(e)) | CommandFailed::Start(StartError::Load(LoadError::Append(e))) => {
                matches!(e, AppendError::Unavailable(_) | AppendError::Unknown)
            }
            CommandFailed::Start(StartError::Load(e)) => {
                matches!(e, LoadError::Store(ReadError::Unavailable(_)) | LoadError::Stopped(_))
            }
            CommandFailed::Unreachable(_) | CommandFailed::Busy(_) => true,
            CommandFailed::Command(CommandError::Refused(_)) | CommandFailed::Start(_) => false,
        }
    }
}

/// The error over a run that only an operator lets go on.
pub(crate) fn quarantined(id: &RunId, status: &Status) -> Option<LoadError> {
    match status {
        Status::Quarantined { reason, .. } => Some(LoadError::Quarantined { id: id.to_string(), reason: reason.to_string() }),
        _ => None,
    }
}

impl Shared {
    /// A place among the live runs, for a run of this workspace. Where there is none a run that only waits gives way.
    pub(crate) async fn place(&self, workspace: &str, entry: Entry) -> Result<Place, StartError> {
        if entry == Entry::New {
            self.memory.check().map_err(|busy| self.shed("memory", busy))?;
        }
        if let Some(place) = self.places.try_enter() {
            return Ok(place);
        }
        self.ask_to_give_way();
        self.places.enter(workspace, entry).await.map_err(|none| match none {
            NoPlace::Busy(busy) => self.shed("runs", busy),
            NoPlace::Closed => LoadError::Stopped("the runtime is closing".into()).into(),
        })
    }

    fn shed(&self, reason: &str, busy: Busy) -> StartError {
        self.metrics.shed_total.with_label_values(&[reason]).inc();
        StartError::Busy(busy)
    }
}

/// Whether many runs want to begin, or to come back, at once, as after a start. Those that have worked for a while stand
/// still meanwhile: else the last would wait until the first are through.
#[derive(Default)]
pub(crate) struct Rush {
    loading: AtomicUsize,
    over: Notify,
}

/// One of the runs that are not there yet.
struct Rushing<'r>(&'r Rush);

impl Drop for Rushing<'_> {
    fn drop(&mut self) {
        if self.0.loading.fetch_sub(1, Ordering::Relaxed) == RUSH {
            self.0.over.notify_waiters();
        }
    }
}

impl Rush {
    fn enter(&self) -> Rushing<'_> {
        self.loading.fetch_add(1, Ordering::Relaxed);
        Rushing(self)
    }

    /// Whether it is on.
    pub(crate) fn is_on(&self) -> bool {
        self.loading.load(Ordering::Relaxed) >= RUSH
    }

    /// Waits until it is over, and not for ever.
    pub(crate) async fn is_over(&self) {
        let over = self.over.notified();
        if self.is_on() {
            // Whichever comes first.
            drop(tokio::time::timeout(LONGEST_RUSH, over).await);
        }
    }
}

fn gone(e: impl std::fmt::Display) -> LoadError {
    LoadError::Stopped(format!("the supervisor is gone: {e}"))
}

/// Which runs are being read from the store.
pub(crate) struct Loads {
    runs: Turns<ScopedRun>,
    at_once: Semaphore,
}

impl Default for Loads {
    fn default() -> Loads {
        Loads { runs: Turns::default(), at_once: Semaphore::new(LOADS) }
    }
}

impl Loads {
    /// Waits until nobody else loads the run.
    pub(crate) async fn alone(&self, run: &ScopedRun) -> Turn<'_, ScopedRun> {
        self.runs.alone(run).await
    }
}

/// The runs of a store that are not over, as the live index has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Runs that worked when their process ended, oldest first.
    pub interrupted: Vec<Scoped<RunId>>,
    /// Runs that wait for a moment of wall time, with that moment.
    waiting: Vec<(i64, TimerKey)>,
    /// How many are paused.
    pub paused: usize,
    /// How many are quarantined.
    pub quarantined: usize,
    /// Runs whose rows say nothing.
    unclear: Vec<ScopedRun>,
}

impl Standings {
    /// How many runs wait for a moment of wall time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The waiting runs whose moment has come, in its order.
    pub fn due(&self, now_ms: i64) -> Vec<Scoped<RunId>> {
        let mut due: Vec<&(i64, TimerKey)> = self.waiting.iter().filter(|(at, _)| *at <= now_ms).collect();
        due.sort_unstable();
        due.into_iter().map(|(_, key)| run_of(key.clone())).collect()
    }

    /// All waiting runs, in the order of their ids.
    pub fn waiting_ids(&self) -> impl Iterator<Item = Scoped<RunId>> {
        self.waiting.iter().map(|(_, key)| run_of(key.clone()))
    }

    fn put(&mut self, workspace: &WorkspaceId, id: &str, standing: Option<Standing>) {
        let Ok(id) = id.parse::<RunId>() else { return };
        let id = Scoped::new(workspace.clone(), id);
        match standing {
            Some(Standing::Waiting(at)) => self.waiting.push((at, key_of(&id))),
            Some(Standing::Paused) => self.paused += 1,
            Some(Standing::Quarantined) => self.quarantined += 1,
            Some(Standing::Working) => self.interrupted.push(id),
            None => self.unclear.push(id),
        }
    }
}

impl Runtime {
    /// The workspaces that hold anything, in order.
    pub async fn workspaces(&self) -> Result<Vec<WorkspaceId>, ReadError> {
        Ok(self.shared.store.workspaces().await?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The runs of all workspaces that are not over, from the live index: no other run is looked at. A store that an older
    /// release wrote is given its index first.
    pub async fn standings(&self) -> Result<Standings, ReadError> {
        let store = &self.shared.store;
        if !store.live_is_whole() {
            self.list_live().await?;
        }
        let found = Arc::new(Mutex::new(Standings::default()));
        let (into, mut of) = (found.clone(), WorkspaceId::local());
        let visit = move |workspace: &str, id: &str, row: &[u8]| {
            if of.as_str() != workspace {
                let Ok(other) = workspace.parse() else { return };
                of = other;
            }
            into.lock().unwrap_or_else(PoisonError::into_inner).put(&of, id, Standing::decode(row));
        };
        match store.visit_live(StreamKind::Run, visit).await {
            Ok(()) => {
                let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
                self.cleared_up(found).await
            }
            Err(ReadError::Damaged(damage)) => {
                tracing::warn!(%damage, "the rows of all runs are read instead");
                self.standings_of_lists().await
            }
            Err(e) => Err(e),
        }
    }

    /// Runs whose rows cannot be read, or say nothing, as the rows of lists have them.
    async fn cleared_up(&self, mut found: Standings) -> Result<Standings, ReadError> {
        for id in std::mem::take(&mut found.unclear) {
            let Ok(stream) = run_stream(&id) else { continue };
            let meta = self.shared.store.meta(&stream).await?.and_then(|meta| RunMeta::decode(&meta));
            // Where there is no such row either, the run is loaded, and says itself where it stands.
            let standing = meta.map_or(Some(Standing::Working), |meta| meta.standing());
            standing.into_iter().for_each(|standing| found.put(id.workspace(), id.as_str(), Some(standing)));
        }
        found.interrupted.sort_unstable();
        Ok(found)
    }

    /// The same from what lists show of each run: for an index that cannot be read.
    async fn standings_of_lists(&self) -> Result<Standings, ReadError> {
        let (mut found, mut after) = (Standings::default(), None);
        while let Some(page) = self.listed(&mut after).await? {
            for (stream, standing) in page.iter().filter(|(_, standing)| standing.is_some()) {
                let Ok(workspace) = stream.workspace().parse() else { continue };
                found.put(&workspace, stream.id(), *standing);
            }
        }
        Ok(found)
    }

    /// Writes the live index anew from what lists show of each run.
    async fn list_live(&self) -> Result<(), ReadError> {
        let store = &self.shared.store;
        let written = |e: AppendError| ReadError::Unavailable(e.to_string());
        let row = |standing: Option<Standing>| standing.map_or(LiveRow::Remove, |standing| LiveRow::Put(standing.encode()));
        let mut after = None;
        while let Some(page) = self.listed(&mut after).await? {
            let rows = page.into_iter().map(|(stream, standing)| (stream, row(standing)));
            store.list_live(rows.collect(), false).await.map_err(written)?;
        }
        store.list_live(Vec::new(), true).await.map_err(written)
    }

    /// A page of the runs of all workspaces with where they stand; `None` behind the last.
    async fn listed(&self, after: &mut Option<StreamId>) -> Result<Option<Vec<(StreamId, Option<Standing>)>>, ReadError> {
        let page = self.shared.store.every_stream(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.stream.clone());
        let standing = |meta: &[u8]| match RunMeta::decode(meta) {
            Some(meta) => meta.standing(),
            // Its log says where it stands.
            None => Some(Standing::Working),
        };
        let runs = page.into_iter().filter(|listed| listed.stream.kind() == StreamKind::Run);
        Ok(Some(runs.map(|listed| (listed.stream, standing(&listed.meta))).collect()))
    }

    /// What the live index has otherwise than the rows of lists, of runs that nobody works on here.
    pub(crate) async fn check_live(&self, report: &CheckReport) -> Result<Vec<Damage>, ReadError> {
        if !self.shared.store.live_is_whole() {
            return Ok(Vec::new());
        }
        /// By workspace and id.
        type Rows = HashMap<(String, String), Vec<u8>>;
        let rows: Arc<Mutex<Rows>> = Arc::default();
        let into = rows.clone();
        let visit = move |workspace: &str, id: &str, row: &[u8]| {
            into.lock().unwrap_or_else(PoisonError::into_inner).insert((workspace.into(), id.into()), row.into());
        };
        match self.shared.store.visit_live(StreamKind::Run, visit).await {
            Ok(()) => {}
            Err(ReadError::Damaged(damage)) => return Ok(vec![damage]),
            Err(e) => return Err(e),
        }
        let rows = std::mem::take(&mut *rows.lock().unwrap_or_else(PoisonError::into_inner));
        let wrong = |found: &StreamCheck| {
            let meta = RunMeta::decode(&found.meta).filter(|_| found.stream.kind() == StreamKind::Run && found.whole)?;
            let (workspace, id) = (found.stream.workspace(), found.stream.id());
            let row = rows.get(&(workspace.to_owned(), id.to_owned())).map(|row| Standing::decode(row));
            let run = workspace.parse().ok().zip(id.parse().ok()).map(|(workspace, id)| Scoped::new(workspace, id));
            let live = run.is_some_and(|run| self.shared.registry.get(&run).is_some());
            let what = match (meta.standing(), row) {
                _ if live => return None,
                (standing, Some(row)) if standing == row && row.is_some() => return None,
                (None, None) => return None,
                (Some(_), None) => "the live index does not name it, so `resume` passes it over",
                (_, Some(_)) => "the live index has it otherwise than its own row",
            };
            Some(Damage::of_stream(&found.stream, None, what))
        };
        Ok(report.streams.iter().filter_map(wrong).collect())
    }

    /// Waits for the moments of runs that wait, and wakes each when it has come.
    pub fn keep_time(&self, standings: &Standings) {
        self.shared.timers.fill(standings.waiting.clone());
    }

    /// How many runs wait for a moment of wall time, with an orchestrator or without.
    pub fn waiting(&self) -> usize {
        self.shared.timers.len()
    }

    /// How many runs have an orchestrator.
    pub fn live(&self) -> usize {
        self.shared.registry.len()
    }

    /// Brings a command to a run; one that has no orchestrator is woken for it. Answered when what it led to is durable.
    pub async fn command(&self, id: &RunId, command: Command) -> Result<u64, CommandFailed> {
        let scoped = self.scoped(id);
        let _turn = self.shared.commands.enter(&scoped).map_err(|busy| {
            self.shared.metrics.shed_total.with_label_values(&["commands"]).inc();
            CommandFailed::Busy(busy)
        })?;
        let given = self.given(command);
        for _ in 0..ATTEMPTS {
            let asked = |reply| OrchestratorMsg::Command { given: given.clone(), reply };
            if let Some(actor) = self.shared.registry.get(&scoped) {
                // Without an answer it went to rest before it came to the command.
                if let Ok(answer) = ractor::call!(actor, asked) {
                    return Ok(answer?);
                }
                tokio::task::yield_now().await;
                continue;
            }
            let load = self.loads.alone(&scoped).await;
            if self.shared.registry.get(&scoped).is_some() {
                continue;
            }
            let (reply, answer) = tokio::sync::oneshot::channel();
            let woken = self.wake(&scoped, Some(asked(reply.into())), StartOptions::default()).await?;
            drop(load);
            if let Ok(answer) = answer.await {
                return Ok(answer?);
            }
            drop(woken);
        }
        Err(CommandFailed::Unreachable(id.clone()))
    }

    /// Brings a command to a run that is not live here, and lets the run go on as `start` says.
    pub async fn go_on_with(&self, id: &RunId, command: Command, start: StartOptions) -> Result<(RunHandle, u64), CommandFailed> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let asked = OrchestratorMsg::Command { given: self.given(command), reply: reply.into() };
        let scoped = self.scoped(id);
        let load = self.loads.alone(&scoped).await;
        if self.shared.registry.get(&scoped).is_some() || self.shared.registry.is_parked(&scoped) {
            return Err(StartError::Live(id.clone()).into());
        }
        let handle = self.wake(&scoped, Some(asked), start).await?;
        drop(load);
        let seq = answer.await.map_err(|_| CommandFailed::Unreachable(id.clone()))??;
        Ok((handle.ok_or_else(|| CommandFailed::Unreachable(id.clone()))?, seq))
    }

    /// A run's timer is due.
    pub(crate) async fn wake_due(&self, id: &ScopedRun) -> Result<(), CommandFailed> {
        let load = self.loads.alone(id).await;
        if let Some(actor) = self.shared.registry.get(id) {
            if actor.cast(OrchestratorMsg::Go).is_err() {
                tracing::debug!(run = %id, "it has just stopped");
            }
            return Ok(());
        }
        let woken = self.wake(id, None, StartOptions::default()).await;
        drop(load);
        match woken {
            // Ended or live meanwhile: its timer is not its any more.
            Ok(_) | Err(CommandFailed::Start(StartError::Ended(..) | StartError::Live(_))) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Starts an orchestrator for a run that has none; `first` is what it is told before anything else. Whoever waited for
    /// the run when it was passivated goes on waiting, and then there is no handle.
    async fn wake(
        &self,
        id: &ScopedRun,
        first: Option<OrchestratorMsg>,
        start: StartOptions,
    ) -> Result<Option<RunHandle>, CommandFailed> {
        let place = self.shared.place(id.workspace().as_str(), Entry::Accepted).await?;
        pass(Point::WakeBefore);
        let recovered = self.recovered(id).await;
        let parked = self.shared.registry.unpark(id);
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(e) => {
                let failed = CommandFailed::from(e.clone());
                match parked {
                    // It was not stored yet, and is begun anew.
                    Some(live) if matches!(e, LoadError::Unknown(_)) && live.created().is_some() => {
                        self.shared.registry.park(live);
                    }
                    Some(live) if failed.passes() => self.shared.registry.park(live),
                    Some(live) => live.finish(Err(e)),
                    None => {}
                }
                return Err(failed);
            }
        };
        let status = &recovered.loaded.run.state().status;
        if let Some(quarantined) = quarantined(id.id(), status) {
            if let Some(live) = parked {
                live.finish(Err(quarantined.clone()));
            }
            return Err(quarantined.into());
        }
        if status.ended().is_some() || status.is_paused() && first.is_none() {
            let failed = status.ended().map(|word| StartError::Ended(id.id().clone(), word.into()));
            if let Some(live) = parked {
                live.finish(Ok(recovered.loaded));
            }
            return failed.map_or(Ok(None), |failed| Err(failed.into()));
        }
        let handle = match parked {
            Some(live) => {
                live.take_place(place);
                self.start_live(live, Origin::Stored(Box::new(recovered)), first).await?;
                None
            }
            None => Some(self.start_stored(id.clone(), recovered, start, place, first).await?),
        };
        pass(Point::WakeAfter);
        Ok(handle)
    }

    /// A run read from its log, few at once.
    pub(crate) async fn recovered(&self, id: &ScopedRun) -> Result<Recovered, LoadError> {
        let _rushing = self.shared.rush.enter();
        let _load = self.loads.at_once.acquire().await.map_err(|e| LoadError::Stopped(e.to_string()))?;
        recover_caught(&self.shared.store, &self.scenarios, id).await
    }

    async fn start_stored(
        &self,
        id: ScopedRun,
        recovered: Recovered,
        start: StartOptions,
        place: Place,
        first: Option<OrchestratorMsg>,
    ) -> Result<RunHandle, StartError> {
        let scenario = recovered.loaded.run.scenario().clone();
        let (live, done) = Live::new(id, self.principal.clone(), scenario, None, start, place);
        self.begin(live, done, Origin::Stored(Box::new(recovered)), first).await
    }

    /// Starts the orchestrator of a live run; one that cannot even begin ends the wait for it.
    pub(crate) async fn start_live(
        &self,
        live: Arc<Live>,
        origin: Origin,
        first: Option<OrchestratorMsg>,
    ) -> Result<(), StartError> {
        let awaited = live.clone();
        let started = if matches!(origin, Origin::New(_)) && live.start.is_stored_only() {
            // Whoever asks for it may go: what has become durable must be in the table of timers all the same.
            let (runtime, live) = (self.clone(), live.clone());
            let starting = tokio::spawn(async move { runtime.start_in_turn(live, origin, first).await });
            starting.await.unwrap_or_else(|e| {
                let death = Death::Crash(end_words(e));
                self.supervisor.cast(SupervisorMsg::Died { live: awaited.clone(), death }).map_err(gone)
            })
        } else {
            Box::pin(self.start_in_turn(live, origin, first)).await
        };
        if let Err(e) = &started {
            awaited.leave_place();
            awaited.finish(Err(e.clone()));
        }
        Ok(started?)
    }

    /// Once a place among the first legs is free.
    async fn start_in_turn(&self, live: Arc<Live>, origin: Origin, first: Option<OrchestratorMsg>) -> Result<(), LoadError> {
        let rushing = self.shared.rush.enter();
        let first_leg = self.shared.first_legs.clone().acquire_owned().await;
        drop(rushing);
        live.begin_first_leg(first_leg.map_err(|_| LoadError::Stopped("the runtime is closing".into()))?);
        let origin = match origin {
            Origin::New(created) if live.start.is_stored_only() => {
                // Whoever finds it as soon as it is durable waits until it is in the table of timers: two would work on it.
                let load = self.loads.alone(&live.id).await;
                let begun = Box::pin(set_out(&self.shared, &live, created)).await;
                drop(load);
                match begun {
                    Ok(SetOut::Goes(begun)) => Origin::Begun(begun),
                    Ok(SetOut::Waits) => return Ok(()),
                    Err(death) => return self.supervisor.cast(SupervisorMsg::Died { live, death }).map_err(gone),
                }
            }
            origin => origin,
        };
        let started = ractor::call!(self.supervisor, |reply| SupervisorMsg::Start { live, origin, first, reply });
        started.map_err(gone).flatten()
    }

    /// Tells those who wait for passivated runs where these stand, when the process ends.
    pub(crate) async fn release_parked(&self) {
        for live in self.shared.registry.all_parked() {
            self.shared.registry.unpark(&live.id);
            let loaded: Result<LoadedRun, LoadError> = self.recovered(&live.id).await.map(|r| r.loaded);
            live.finish(loaded);
        }
    }
}
