//! The store actor: every event is persisted through it. It owns the writer and opens the engine again after an error.
//!
//! Its mailbox is bounded by the façade's queue: each write carries its permit. It decides nothing about streams.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::claim::Claimed;
use super::commit::{Committer, GROUP_BYTES, Shared};
use super::compact::{CompactError, Compacted, Compaction, Folders};
use super::error::{AppendError, OpenError};
use super::home::Home;
use super::reader::Stage;
use super::work::Job;

/// The pause before the second attempt to open the engine again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Writes go on so soon after the disk takes them again, and the time that opening takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// So many writes in a group say that more are coming: it, and the one behind it, waits for them as long as they come. A write
/// without company waits for one pause at most, and only behind such a group.
const COMPANY: usize = 4;
/// How long such a group waits for the next of them.
const PAUSE: Duration = Duration::from_micros(200);
/// The longest such wait in all, and no longer than writing the group before took: a wait can save no more than that.
const LONGEST_LINGER: Duration = Duration::from_millis(3);

/// How long a writer that is dropped, and not closed, is waited for.
const LONGEST_JOIN: Duration = Duration::from_secs(1);

/// What the actor can be told.
pub(crate) enum StoreMsg {
    /// Write this.
    Write(Job),
    /// The writer cannot go on.
    Broke(String),
    /// The engine with this number cannot be read, though it is open.
    Suspect(u64),
    /// Try to open the engine again; the number of attempts before.
    Reopen(u32),
    /// The outcome.
    Reopened(u32, Result<Claimed, OpenError>),
    /// Let a copy take the engine's place.
    Swap(Box<(Compaction, Folders)>, Swapped),
    /// The outcome: the engine to go on with, unless it must be opened again.
    HasSwapped(Box<(Result<Claimed, OpenError>, Result<Compacted, CompactError>)>, Swapped),
    /// Finish what is queued and let go of the files.
    Close(oneshot::Sender<Result<(), String>>),
}

type Swapped = oneshot::Sender<Result<Compacted, CompactError>>;

pub(crate) struct StoreActor;

/// What a new actor begins with.
pub(crate) struct Start {
    pub(crate) home: Arc<Home>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) committer: Committer,
}

pub(crate) struct State {
    home: Arc<Home>,
    shared: Arc<Shared>,
    mode: Mode,
}

enum Mode {
    /// Groups are written by a thread.
    Thread(Writer),
    /// The engine never waits: written here, at once.
    Inline(Box<Committer>, Vec<Job>),
    /// Writes wait for a moment, until the engine is another one.
    Swapping(Vec<Job>),
    /// Nothing is written until the engine is open again.
    Broken(String),
    Closed,
}

/// The writer's thread; dropping it lets the thread finish what it has.
struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // Whoever drops it may be one of few threads that all else needs: what a disk does not let go of is left to it.
        let until = Instant::now() + LONGEST_JOIN;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.thread.take() {
            Some(thread) if thread.is_finished() => join(thread),
            Some(_) => tracing::error!("the store's writer does not end"),
            None => {}
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("the store's writer panicked");
    }
}

impl Writer {
    fn start(mut committer: Committer, shared: Arc<Shared>, actor: ActorRef<StoreMsg>) -> std::io::Result<Writer> {
        let (sender, jobs) = mpsc::channel();
        let work = move || {
            let mut group = Vec::new();
            let (mut last, mut took) = (0, Duration::ZERO);
            while let Some(()) = next_group(&jobs, &mut group, last, took) {
                last = group.len();
                let begun = Instant::now();
                if let Err(why) = committer.commit_caught(&shared, &mut group) {
                    refuse_all(&jobs, &mut group, &why, &actor);
                    return;
                }
                took = begun.elapsed();
            }
        };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(work)?;
        Ok(Writer { jobs: Some(sender), thread: Some(thread) })
    }

    /// Waits until everything handed to the thread is written, however long that takes.
    fn finish(mut self) {
        drop(self.jobs.take());
        self.thread.take().into_iter().for_each(join);
    }
}

/// Waits for a job and takes what else has arrived, up to a group's size; `last` is how many the group before had, and `took` how
/// long writing it took. `None` at the end.
fn next_group(jobs: &mpsc::Receiver<Job>, group: &mut Vec<Job>, last: usize, took: Duration) -> Option<()> {
    let first = jobs.recv().ok()?;
    let mut bytes = first.bytes;
    group.push(first);
    take_queued(jobs, group, &mut bytes);
    // Whoever waits for this group's answers is what the next one is made of: after a small one it would be small again.
    if group.len().max(last) < COMPANY {
        return Some(());
    }
    let (begun, mut before) = (Instant::now(), 0);
    while before < group.len() && bytes < GROUP_BYTES && begun.elapsed() + PAUSE <= took.min(LONGEST_LINGER) {
        before = group.len();
        std::thread::sleep(PAUSE);
        take_queued(jobs, group, &mut bytes);
    }
    Some(())
}

fn take_queued(jobs: &mpsc::Receiver<Job>, group: &mut Vec<Job>, bytes: &mut usize) {
    while *bytes < GROUP_BYTES
        && let Ok(job) = jobs.try_recv()
    {
        *bytes += job.bytes;
        group.push(job);
    }
}

/// After an error: tells the actor, and answers until it has taken the queue away.
fn refuse_all(jobs: &mpsc::Receiver<Job>, group: &mut Vec<Job>, why: &str, actor: &ActorRef<StoreMsg>) {
    if let Err(e) = actor.cast(StoreMsg::Broke(why.into())) {
        tracing::error!("the store actor is gone: {e}");
    }
    group.drain(..).for_each(|job| job.refuse(AppendError::Unknown));
    jobs.iter().for_each(|job| job.refuse(AppendError::Unavailable(why.into())));
}

impl State {
    fn start_writer(&mut self, committer: Committer, myself: &ActorRef<StoreMsg>) {
        self.mode = if self.home.inline() {
            Mode::Inline(Box::new(committer), Vec::new())
        } else {
            match Writer::start(committer, self.shared.clone(), myself.clone()) {
                Ok(writer) => Mode::Thread(writer),
                Err(e) => Mode::Broken(format!("no thread for the writer: {e}")),
            }
        };
        self.shared.writable.send_replace(!matches!(self.mode, Mode::Broken(_)));
    }

    fn write(&mut self, job: Job, myself: &ActorRef<StoreMsg>) {
        let broke = match &mut self.mode {
            Mode::Thread(Writer { jobs: Some(jobs), .. }) => {
                // The thread lives as long as its sender: a failed send cannot be.
                return jobs.send(job).unwrap_or_else(|e| e.0.refuse(AppendError::Unavailable("the writer is gone".into())));
            }
            Mode::Thread(_) | Mode::Closed => return job.refuse(AppendError::Unavailable("the store is closed".into())),
            Mode::Broken(why) => return job.refuse(AppendError::Unavailable(why.clone())),
            Mode::Swapping(waiting) => return waiting.push(job),
            Mode::Inline(committer, group) => {
                group.push(job);
                let done = committer.commit_caught(&self.shared, group);
                group.drain(..).for_each(|job| job.refuse(AppendError::Unknown));
                done.err()
            }
        };
        if let Some(why) = broke {
            self.broke(why, myself);
        }
    }

    fn broke(&mut self, why: String, myself: &ActorRef<StoreMsg>) {
        tracing::error!("the store takes no writes until it is open again: {why}");
        self.shared.writable.send_replace(false);
        let before = std::mem::replace(&mut self.mode, Mode::Broken(why));
        self.shared.reader.enter(Stage::Broken);
        self.reopen(0, Some(before), myself);
    }

    /// Opens the engine again beside the mailbox, once whoever wrote `before` has ended; the outcome comes back as a message.
    fn reopen(&mut self, attempt: u32, before: Option<Mode>, myself: &ActorRef<StoreMsg>) {
        if !matches!(self.mode, Mode::Broken(_)) {
            return;
        }
        let (home, shared, myself) = (self.home.clone(), self.shared.clone(), myself.clone());
        tokio::task::spawn_blocking(move || {
            drop(before);
            // Else nobody would ever try again.
            let claimed = catch_unwind(AssertUnwindSafe(|| home.reopen(&shared.reader)))
                .unwrap_or_else(|_| Err(OpenError::Failed("opening the engine panicked".into())));
            if let Err(e) = myself.cast(StoreMsg::Reopened(attempt, claimed)) {
                tracing::error!("the store actor is gone: {e}");
            }
        });
    }

    fn reopened(&mut self, attempt: u32, claimed: Result<Claimed, OpenError>, myself: &ActorRef<StoreMsg>) {
        if !matches!(self.mode, Mode::Broken(_)) {
            return;
        }
        match claimed {
            Ok(claimed) => {
                let epoch = claimed.claim.epoch;
                let committer = self.shared.take_over(claimed, !self.home.inline());
                self.start_writer(committer, myself);
                tracing::info!(epoch, "the store is open again");
            }
            Err(e) => {
                let why = e.to_string();
                match &self.mode {
                    Mode::Broken(before) if *before == why => {
                        tracing::debug!(attempt, "the store cannot be opened again yet: {why}");
                    }
                    _ => tracing::error!(attempt, "the store cannot be opened again yet: {why}"),
                }
                let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
                self.mode = Mode::Broken(why);
                // The timer's handle is not needed: a closed store ignores the message.
                drop(myself.send_after(pause, move || StoreMsg::Reopen(attempt + 1)));
            }
        }
    }

    /// The writer finishes what it has; then, beside the mailbox, the copy gets what was written meanwhile and takes the place.
    fn swap(&mut self, copy: (Compaction, Folders), reply: Swapped, myself: &ActorRef<StoreMsg>) {
        if !matches!(self.mode, Mode::Thread(_)) {
            let refused = Err(CompactError::File("the store takes no writes now".into()));
            return drop(reply.send(refused));
        }
        let writer = std::mem::replace(&mut self.mode, Mode::Swapping(Vec::new()));
        let (home, shared, myself) = (self.home.clone(), self.shared.clone(), myself.clone());
        tokio::task::spawn_blocking(move || {
            drop(writer);
            let held = home.hold();
            let (mut compaction, folders) = copy;
            let old = shared.reader.opened().engine.clone();
            let outcome = match compaction.catch_up(&shared.changes()) {
                Err(e) => {
                    drop(compaction);
                    if let Err(e) = folders.settle() {
                        tracing::warn!("what a compaction left cannot be removed: {e}");
                    }
                    (home.go_on(Some(old)), Err(e))
                }
                Ok(()) => {
                    shared.reader.enter(Stage::Broken);
                    let done = compaction.finish(&folders);
                    let claimed = home.go_on(None);
                    (claimed, done)
                }
            };
            drop(held);
            if myself.cast(StoreMsg::HasSwapped(Box::new(outcome), reply)).is_err() {
                tracing::error!("the store actor is gone");
            }
        });
    }

    fn has_swapped(
        &mut self,
        (claimed, done): (Result<Claimed, OpenError>, Result<Compacted, CompactError>),
        reply: Swapped,
        myself: &ActorRef<StoreMsg>,
    ) {
        let mode = std::mem::replace(&mut self.mode, Mode::Closed);
        let Mode::Swapping(waiting) = mode else {
            self.mode = mode;
            return drop(reply.send(Err(CompactError::File("the store was closed meanwhile".into()))));
        };
        match claimed {
            Ok(claimed) => {
                let committer = self.shared.take_over(claimed, !self.home.inline());
                self.start_writer(committer, myself);
            }
            Err(e) => self.broke(format!("after a compaction: {e}"), myself),
        }
        waiting.into_iter().for_each(|job| self.write(job, myself));
        // Whoever asked may have gone.
        drop(reply.send(done));
    }

    /// Ends the writer and closes the engine; the end may wait for a disk, so it happens beside the mailbox.
    fn close(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        let mode = std::mem::replace(&mut self.mode, Mode::Closed);
        self.shared.reader.enter(Stage::Closed);
        let (home, opened) = (self.home.clone(), self.shared.reader.opened());
        tokio::task::spawn_blocking(move || {
            if let Mode::Thread(writer) = mode {
                writer.finish();
            }
            let closed = home.close(&*opened.engine).map_err(|e| e.to_string());
            // Whoever asked may have gone.
            drop(reply.send(closed));
        });
    }
}

impl Actor for StoreActor {
    type Msg = StoreMsg;
    type State = State;
    type Arguments = Start;

    async fn pre_start(&self, myself: ActorRef<StoreMsg>, start: Start) -> Result<State, ActorProcessingErr> {
        let Start { home, shared, committer } = start;
        let mut state = State { home, shared, mode: Mode::Closed };
        state.start_writer(committer, &myself);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<StoreMsg>, message: StoreMsg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            StoreMsg::Write(job) => state.write(job, &myself),
            StoreMsg::Broke(why) => state.broke(why, &myself),
            StoreMsg::Suspect(number) => {
                if matches!(state.mode, Mode::Thread(_)) && state.shared.reader.stage() == (number, Stage::Open) {
                    state.broke("the engine cannot be read".into(), &myself);
                }
            }
            StoreMsg::Reopen(attempt) => state.reopen(attempt, None, &myself),
            StoreMsg::Reopened(attempt, claimed) => state.reopened(attempt, claimed, &myself),
            StoreMsg::Swap(copy, reply) => state.swap(*copy, reply, &myself),
            StoreMsg::HasSwapped(outcome, reply) => state.has_swapped(*outcome, reply, &myself),
            StoreMsg::Close(reply) => state.close(reply),
        }
        Ok(())
    }
}
