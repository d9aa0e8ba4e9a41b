//! The store actor: every event is persisted through it. It owns the writer and opens the engine again after an error.
//!
//! Its mailbox is bounded by the façade's queue: each write carries its permit. It decides nothing about streams.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::claim::Claimed;
use super::commit::{Committer, GROUP_BYTES, Job, Shared};
use super::error::{AppendError, OpenError};
use super::home::Home;

/// The pause before the second attempt to open the engine again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// So many writes that came while the last group was written say that more are coming: the group waits for them, half as
/// long as the last one took. A write without company never waits.
const COMPANY: usize = 4;
/// The longest such wait.
const LONGEST_LINGER: Duration = Duration::from_millis(1);

/// What the actor can be told.
pub(crate) enum StoreMsg {
    /// Write this.
    Write(Job),
    /// The writer cannot go on.
    Broke(String),
    /// Try to open the engine again; the number of attempts before.
    Reopen(u32),
    /// The outcome.
    Reopened(u32, Result<Claimed, OpenError>),
    /// Finish what is queued and let go of the files.
    Close(oneshot::Sender<Result<(), String>>),
}

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
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Writer {
    fn start(mut committer: Committer, shared: Arc<Shared>, actor: ActorRef<StoreMsg>) -> std::io::Result<Writer> {
        let (sender, jobs) = mpsc::channel();
        let work = move || {
            let mut group = Vec::new();
            let mut took = Duration::ZERO;
            while let Some(()) = next_group(&jobs, &mut group, took) {
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
}

/// Waits for a job and takes what else has arrived, up to a group's size; `None` at the end.
fn next_group(jobs: &mpsc::Receiver<Job>, group: &mut Vec<Job>, took: Duration) -> Option<()> {
    let first = jobs.recv().ok()?;
    let mut bytes = first.bytes;
    group.push(first);
    take_queued(jobs, group, &mut bytes);
    if group.len() >= COMPANY && bytes < GROUP_BYTES {
        std::thread::sleep((took / 2).min(LONGEST_LINGER));
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
        self.mode = Mode::Broken(why);
        self.reopen(0, myself);
    }

    /// Opens the engine again beside the mailbox; the outcome comes back as a message.
    fn reopen(&mut self, attempt: u32, myself: &ActorRef<StoreMsg>) {
        if !matches!(self.mode, Mode::Broken(_)) {
            return;
        }
        let (home, shared, myself) = (self.home.clone(), self.shared.clone(), myself.clone());
        tokio::task::spawn_blocking(move || {
            let claimed = home.reopen(&shared.reader.opened());
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
                tracing::error!("the store cannot be opened again yet: {e}");
                let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
                self.mode = Mode::Broken(e.to_string());
                // The timer's handle is not needed: a closed store ignores the message.
                drop(myself.send_after(pause, move || StoreMsg::Reopen(attempt + 1)));
            }
        }
    }

    /// Ends the writer and closes the engine; the end may wait for a disk, so it happens beside the mailbox.
    fn close(&mut self, reply: oneshot::Sender<Result<(), String>>) {
        let mode = std::mem::replace(&mut self.mode, Mode::Closed);
        let (home, opened) = (self.home.clone(), self.shared.reader.opened());
        tokio::task::spawn_blocking(move || {
            drop(mode);
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
            StoreMsg::Reopen(attempt) => state.reopen(attempt, &myself),
            StoreMsg::Reopened(attempt, claimed) => state.reopened(attempt, claimed, &myself),
            StoreMsg::Close(reply) => state.close(reply),
        }
        Ok(())
    }
}
