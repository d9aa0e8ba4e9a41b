//! Group commit: many appends, one batch, one sync, then the acknowledgements.
//!
//! Synchronous and single-threaded; whoever runs it (a thread of its own, or the store actor for an engine that never
//! waits) hands it what has arrived. Nothing is acknowledged before it is as durable as promised.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::blob::{write_blob, write_snapshot};
use super::claim::{Claim, Claimed, control, read_control};
use super::compact::Changed;
use super::delete::{self, Delete};
use super::disk::Disk;
use super::engine::{Batch, Durability, Engine, EngineError, Guard, Order, ROW_LIMIT};
use super::error::{AppendError, ReadError};
use super::highwater::{DELETED, HighWater, push_line};
use super::key;
use super::listing::{Layout, Rows};
use super::live::{self, LiveRow};
use super::reader::{Before, Fresh, Opened, Reader};
use super::stream::{Head, Lease, StreamId, StreamKind};
use super::work::{Answer, Append, Job, Lives, Mark, Work};
use crate::points::{Point, pass};

/// A group takes no further jobs once it has this many bytes.
pub(crate) const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// The heads of streams written lately are kept in memory up to this many.
const HEADS_LIMIT: usize = 64 * 1024;

/// A group as it was acknowledged, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// How many jobs it held.
    pub jobs: usize,
    /// How many bytes of rows it wrote.
    pub bytes: usize,
    /// How many files were synced for it.
    pub syncs: u32,
    /// From its first look at the jobs to the acknowledgement.
    pub took: Duration,
}

/// Is told of every group; called on the writer's thread, so it must not wait.
pub trait Observe: Send + Sync {
    /// A group was acknowledged.
    fn committed(&self, group: &Group);
}

/// Totals since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) groups: AtomicU64,
    pub(crate) jobs: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) commit_nanos: AtomicU64,
}

impl Totals {
    fn count(&self, group: &Group) {
        let add = |total: &AtomicU64, n: u64| total.fetch_add(n, Ordering::Relaxed);
        add(&self.groups, 1);
        add(&self.jobs, group.jobs as u64);
        add(&self.bytes, group.bytes as u64);
        add(&self.syncs, u64::from(group.syncs));
        add(&self.commit_nanos, u64::try_from(group.took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What the writer shares with the façade.
pub(crate) struct Shared {
    pub(crate) reader: Reader,
    pub(crate) epoch: AtomicU64,
    pub(crate) totals: Totals,
    pub(crate) observer: Option<Arc<dyn Observe>>,
    /// The keys that are written, while the rows are copied to another engine.
    pub(crate) changed: Mutex<Option<Changed>>,
    /// Whether writes are taken.
    pub(crate) writable: watch::Sender<bool>,
    /// Whether they are not because the disk is full: whoever waits looks whether there is room.
    pub(crate) full: AtomicBool,
    /// One more than the number of the engine that could not be read last while it was open.
    pub(crate) suspected: AtomicU64,
}

impl Shared {
    /// There is room: if writes were refused for want of it, they are taken again.
    pub(crate) fn has_room(&self) {
        if self.full.load(Ordering::Acquire) && self.full.swap(false, Ordering::AcqRel) {
            self.writable.send_replace(true);
        }
    }

    /// Begins to note which keys are written, or ends it.
    pub(crate) fn note_changes(&self, on: bool) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = on.then(Changed::new);
    }

    /// Takes what was noted.
    pub(crate) fn changes(&self) -> Changed {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// Goes on with an engine that was claimed again, in its new epoch; returns its writer.
    pub(crate) fn take_over(&self, claimed: Claimed, hides: bool) -> Committer {
        self.reader.replace(claimed.opened);
        self.epoch.store(claimed.claim.epoch, Ordering::Release);
        Committer::new(self.reader.opened(), claimed.claim, hides)
    }
}

/// Writes groups.
pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    opened: Arc<Opened>,
    high_water: Option<HighWater>,
    /// Where its files are, if it has any.
    disk: Option<Disk>,
    durability: Durability,
    /// Whether readers may see a group before it is durable and must be kept from it.
    hides: bool,
    epoch: u64,
    group: u64,
    /// The control row as it stands in the engine.
    control: [u8; 24],
    heads: HashMap<StreamId, Head>,
    before: HashMap<StreamId, Before>,
    /// Whether the group at hand moves rows from the index to the live index.
    moves: bool,
    /// The rows of streams whose rows the group at hand writes, as it leaves them.
    listed: HashMap<StreamId, Rows>,
    batch: Batch,
    row: Vec<u8>,
    lines: Vec<u8>,
    /// Whether the group at hand makes the live index complete.
    completes: bool,
    /// Whether it only gives room back.
    gives_back: bool,
    /// The streams it deletes.
    gone: Vec<StreamId>,
    /// What it writes of streams that lists show.
    fresh: Vec<Fresh>,
}

impl Committer {
    /// A writer on an engine that was claimed; `opened` is what the readers got of it. `hides`: readers may come while a
    /// group is not durable yet.
    pub(crate) fn new(opened: Arc<Opened>, claim: Claim, hides: bool) -> Committer {
        let Claim { high_water, durability, epoch, group } = claim;
        Committer {
            engine: opened.engine.clone(),
            opened,
            disk: high_water.as_ref().and_then(|file| file.path().parent()).map(Disk::of),
            high_water,
            durability,
            hides,
            epoch,
            group,
            control: control(epoch, group),
            heads: HashMap::new(),
            before: HashMap::new(),
            listed: HashMap::new(),
            moves: false,
            batch: Batch::default(),
            row: Vec::new(),
            lines: Vec::new(),
            completes: false,
            gives_back: false,
            gone: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// Writes the jobs as one group and answers each. After an `Err` the engine must be opened again: what it holds of
    /// the group is unknown.
    pub(crate) fn commit(&mut self, shared: &Shared, jobs: &mut Vec<Job>) -> Result<(), String> {
        let started = Instant::now();
        pass(Point::GroupBegun);
        let count = jobs.len();
        self.batch.clear();
        self.before.clear();
        self.listed.clear();
        self.moves = false;
        self.completes = false;
        self.gone.clear();
        self.fresh.clear();
        self.gives_back = jobs.iter().all(|job| matches!(job.work, Work::Delete(..) | Work::Sweep(..)));
        // The permits live until the group is answered: what is in work still takes up room in the queue.
        let (mut answers, mut permits) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for job in jobs.drain(..) {
            permits.push(job._permit);
            answers.push(self.prepare(job.work));
        }
        let written = if self.batch.mark().1 == 0 { self.still_ours(&answers) } else { self.write(shared) };
        let outcome = match written {
            Ok(syncs) => {
                let group = Group { jobs: count, bytes: self.batch.size_bytes(), syncs, took: started.elapsed() };
                if group.bytes > 0 {
                    shared.totals.count(&group);
                    shared.observer.iter().for_each(|o| o.committed(&group));
                }
                Ok(())
            }
            Err(EngineError::Fenced(row)) => {
                let epoch = row.as_deref().and_then(read_control).map_or(self.epoch + 1, |(epoch, _)| epoch);
                self.reveal(shared);
                self.heads.clear();
                answers.iter_mut().for_each(|answer| answer.fail(&AppendError::Fenced { epoch }));
                Ok(())
            }
            Err(EngineError::Full(why)) => {
                self.heads.clear();
                shared.full.store(true, Ordering::Release);
                shared.writable.send_replace(false);
                answers.iter_mut().for_each(|answer| answer.fail(&AppendError::Unavailable(why.clone())));
                Ok(())
            }
            Err(e) => {
                self.heads.clear();
                answers.iter_mut().for_each(|answer| answer.fail(&AppendError::Unknown));
                Err(e.to_string())
            }
        };
        pass(Point::AcknowledgeBefore);
        answers.into_iter().for_each(Answer::send);
        pass(Point::AcknowledgeAfter);
        if self.heads.len() > HEADS_LIMIT {
            self.heads.clear();
        }
        outcome
    }

    /// A conflict is told to the owner only: whoever was fenced learns that instead.
    fn still_ours(&self, answers: &[Answer]) -> Result<u32, EngineError> {
        if answers.iter().any(Answer::conflicts) {
            let row = self.engine.get(key::CONTROL)?;
            if row.as_deref() != Some(&self.control) {
                return Err(EngineError::Fenced(row));
            }
        }
        Ok(0)
    }

    fn prepare(&mut self, work: Work) -> Answer {
        let mark = self.batch.mark();
        match work {
            Work::Append(append, reply) => {
                let answer = self.append(&append);
                if answer.is_err() {
                    self.batch.truncate(mark);
                }
                Answer::Head(reply, answer)
            }
            Work::Mark(mark, reply) => Answer::Head(reply, self.mark(&mark)),
            Work::Live(lives, reply) => {
                let written = self.lives(&lives);
                Answer::Done(reply, self.or_back(mark, written))
            }
            Work::Blobs(workspace, blobs, reply) => {
                let mut write = |blob| write_blob(&*self.engine, &workspace, blob, &mut self.row, &mut self.batch);
                let written = blobs.iter().try_for_each(&mut write).map_err(ReadError::of_store);
                Answer::Done(reply, self.or_back(mark, written))
            }
            Work::Delete(delete, reply) => {
                let more = self.delete(&delete);
                if more.is_err() {
                    self.batch.truncate(mark);
                }
                Answer::More(reply, more)
            }
            Work::Sweep(stream, reply) => {
                let more = delete::sweep(&*self.engine, &stream, &mut self.row, &mut self.batch);
                Answer::More(reply, more.map_err(|e| ReadError::of_stream(&stream, None)(e).into()))
            }
            Work::Forget(reply) => {
                let more = delete::forget(&*self.engine, &mut self.batch);
                Answer::More(reply, more.map_err(|e| ReadError::of_store(e).into()))
            }
            Work::Snapshot(stream, _, reply) if self.is_gone(&stream) => {
                Answer::Done(reply, Err(AppendError::Invalid("the stream was deleted")))
            }
            Work::Snapshot(stream, snapshot, reply) => {
                let written = write_snapshot(&*self.engine, &stream, &snapshot, &mut self.row, &mut self.batch)
                    .map_err(ReadError::of_stream(&stream, snapshot.seq));
                pass(Point::SnapshotBatched);
                Answer::Done(reply, self.or_back(mark, written))
            }
        }
    }

    fn or_back(&mut self, mark: (usize, usize), written: Result<(), ReadError>) -> Result<(), AppendError> {
        if written.is_err() {
            self.batch.truncate(mark);
        }
        Ok(written?)
    }

    /// Checks lease and head of what is to be written to a stream; whether nothing of it is stored yet comes back.
    fn expect(&mut self, stream: &StreamId, expected: &Head, lease: &Lease) -> Result<bool, AppendError> {
        if lease.shard != stream.shard() {
            return Err(AppendError::Invalid("the lease is for another shard"));
        }
        if lease.epoch != self.epoch {
            return Err(AppendError::Fenced { epoch: self.epoch });
        }
        let head = match self.heads.get(stream).copied() {
            Some(head) => head,
            None if self.opened.is_gone(stream)? => DELETED,
            None if *expected == Head::START && self.is_unheard_of(stream)? => return Ok(true),
            None => self.opened.head(stream)?,
        };
        if head == DELETED {
            return Err(AppendError::Invalid("the stream was deleted: its id is never used again"));
        }
        if head == *expected { Ok(false) } else { Err(AppendError::Conflict { head }) }
    }

    /// The first frame of a stream begins with event 1: where neither it nor a mark is, no later one is looked for.
    fn is_unheard_of(&mut self, stream: &StreamId) -> Result<bool, AppendError> {
        if self.opened.marks.of(stream).is_some() {
            return Ok(false);
        }
        let range = key::frames(stream);
        let first = self.engine.first(&range.from, &range.to, Order::Ascending);
        Ok(first.map_err(ReadError::of_stream(stream, None))?.is_none())
    }

    /// What is stored of a stream beside its log, and what the group at hand has made of it.
    fn rows(&mut self, stream: &StreamId) -> Result<Rows, ReadError> {
        match self.listed.get(stream) {
            Some(rows) => Ok(rows.clone()),
            None => Rows::read(&*self.engine, stream, &mut self.row).map_err(ReadError::of_stream(stream, None)),
        }
    }

    /// Writes what is stored of a stream beside its log.
    fn relist(&mut self, layout: Layout, stream: &StreamId, old: &Rows, change: (Option<&[u8]>, &LiveRow)) {
        let rows = old.change(layout, stream, change, &mut self.row, &mut self.batch);
        self.moves |= rows.has_left_the_index(old);
        self.listed.insert(stream.clone(), rows);
    }

    /// Writes rows of the live index.
    fn lives(&mut self, lives: &Lives) -> Result<(), ReadError> {
        let layout = lives.layout.unwrap_or(self.opened.layout);
        let old = |(stream, _): &(StreamId, LiveRow)| match self.rows(stream) {
            // One damaged row does not keep the others from being written.
            Err(ReadError::Damaged(damage)) => {
                tracing::warn!(%damage, "the live index is written without what lists show");
                Ok(Rows::unread())
            }
            read => read,
        };
        let olds: Vec<Rows> = lives.rows.iter().map(old).collect::<Result<_, _>>()?;
        for ((stream, live), old) in lives.rows.iter().zip(&olds) {
            // It may have been deleted since whoever asks for this has read it.
            if !self.is_gone(stream) {
                self.relist(layout, stream, old, (None, live));
            }
        }
        if lives.complete {
            live::complete(self.epoch, &mut self.batch);
            self.completes = true;
        }
        Ok(())
    }

    /// Whether a stream was deleted, as far as can be told; a group that cannot be read fails by itself.
    fn is_gone(&self, stream: &StreamId) -> bool {
        self.heads.get(stream).map_or_else(|| self.opened.is_gone(stream).unwrap_or(false), |head| *head == DELETED)
    }

    /// Takes a stream out of all lists and its rows away, or as many as one group takes; whether there are more.
    fn delete(&mut self, delete: &Delete) -> Result<bool, AppendError> {
        let Delete { stream, expected, lease, wall_ms } = delete;
        self.expect(stream, expected, lease)?;
        let refused = |e| AppendError::from(ReadError::of_stream(stream, None)(e));
        let old = self.rows(stream)?.meta;
        self.opened.deleted.store(true, Ordering::Release);
        delete::bury(stream, *wall_ms, &mut self.row, &mut self.batch);
        let more = delete::sweep(&*self.engine, stream, &mut self.row, &mut self.batch).map_err(refused)?;
        self.listed.remove(stream);
        self.remember(stream, *expected, DELETED, true, old);
        self.gone.push(stream.clone());
        Ok(more)
    }

    /// What lists show of a stream, where its head is still the expected one.
    fn mark(&mut self, mark: &Mark) -> Result<Head, AppendError> {
        let Mark { stream, expected, lease, meta, live } = mark;
        self.expect(stream, expected, lease)?;
        let old = self.rows(stream)?;
        self.relist(self.opened.layout, stream, &old, (Some(meta), live));
        self.remember(stream, *expected, *expected, true, old.meta);
        self.refresh(stream, *expected, Some(meta));
        Ok(*expected)
    }

    /// Checks an append against its stream and adds its rows to the batch.
    fn append(&mut self, append: &Append) -> Result<Head, AppendError> {
        let Append { stream, expected, lease, frame, blobs, meta, live } = append;
        let is_new = self.expect(stream, expected, lease)?;
        let head = *expected;
        if frame.after() != head {
            return Err(AppendError::Invalid("the frame does not follow the expected head"));
        }
        let refused = |e| AppendError::from(ReadError::of_stream(stream, frame.first_seq())(e));
        for blob in blobs {
            write_blob(&*self.engine, stream.workspace(), blob, &mut self.row, &mut self.batch).map_err(refused)?;
        }
        if !blobs.is_empty() {
            pass(Point::BlobsBatched);
        }
        let lists = meta.as_deref().or((head.seq == 0).then_some(&[][..]));
        let mut old = None;
        if lists.is_some() || *live != LiveRow::Keep {
            // Reading first also finds damage here, where it concerns one append and not a group.
            let rows = if is_new { Rows::default() } else { self.rows(stream)? };
            self.relist(self.opened.layout, stream, &rows, (lists, live));
            old = rows.meta;
        }
        for (part, bytes) in (0..).zip(frame.bytes().chunks(ROW_LIMIT)) {
            key::frame(stream, frame.first_seq(), part, &mut self.row);
            self.batch.put(&self.row, bytes);
        }
        self.remember(stream, head, frame.head(), lists.is_some(), old);
        self.refresh(stream, frame.head(), meta.as_deref());
        Ok(frame.head())
    }

    /// What lists will show of a stream once the group is acknowledged.
    fn refresh(&mut self, stream: &StreamId, head: Head, meta: Option<&[u8]>) {
        if stream.kind() == StreamKind::Run {
            self.fresh.push((stream.clone(), head, meta.map(Arc::from)));
        }
    }

    fn remember(&mut self, stream: &StreamId, head: Head, new: Head, writes_meta: bool, old: Option<Vec<u8>>) {
        match self.heads.get_mut(stream) {
            Some(known) => *known = new,
            None => drop(self.heads.insert(stream.clone(), new)),
        }
        if !self.hides && self.high_water.is_none() {
            return;
        }
        let before = self.before.entry(stream.clone()).or_insert(Before { head, meta: None, writes_meta: false });
        if writes_meta && !before.writes_meta {
            (before.meta, before.writes_meta) = (old, true);
        }
    }

    /// Applies and syncs the batch, and then the high-water mark.
    fn write(&mut self, shared: &Shared) -> Result<u32, EngineError> {
        if let Some(why) = self.disk.as_mut().and_then(|disk| disk.no_room(self.batch.size_bytes(), self.gives_back)) {
            return Err(EngineError::Full(why));
        }
        let group = self.group + 1;
        let control = control(self.epoch, group);
        self.batch.put(key::CONTROL, &control);
        self.lines.clear();
        if self.high_water.is_some() {
            for stream in self.before.keys() {
                push_line(&mut self.lines, group, self.epoch, self.heads.get(stream).map(|head| (stream, head)));
            }
            if self.before.is_empty() {
                push_line(&mut self.lines, group, self.epoch, None);
            }
        }
        if let Some(changed) = &mut *shared.changed.lock().unwrap_or_else(PoisonError::into_inner) {
            changed.extend(self.batch.iter().map(|(key, _)| key.to_vec()));
        }
        if self.hides {
            std::mem::swap(&mut self.before, &mut *shared.reader.unacked.write().unwrap_or_else(PoisonError::into_inner));
        }
        pass(Point::ApplyBefore);
        let moving = || self.moves.then(|| self.opened.moves.fetch_add(1, Ordering::AcqRel));
        moving();
        let applied = self.engine.apply(Guard { key: key::CONTROL, holds: Some(&self.control) }, &self.batch);
        moving();
        applied?;
        pass(Point::ApplyAfter);
        let mut syncs = self.engine.sync(self.durability)?;
        pass(Point::SyncAfter);
        if let Some(file) = &mut self.high_water {
            syncs += file
                .append(&self.lines, self.durability)
                .map_err(|e| EngineError::Failed(format!("cannot write the high-water mark: {e}")))?;
        }
        shared.has_room();
        if self.completes {
            self.opened.live.set();
        }
        shared.reader.recent.acknowledge(self.fresh.drain(..));
        for stream in self.gone.drain(..) {
            self.opened.marks.delete(&stream);
            self.heads.remove(&stream);
            shared.reader.recent.forget(&stream);
        }
        (self.group, self.control) = (group, control);
        self.reveal(shared);
        Ok(syncs)
    }

    /// Lets the readers see what the engine holds.
    fn reveal(&self, shared: &Shared) {
        if self.hides {
            shared.reader.unacked.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Like [`Committer::commit`], with a panic as one more reason to open the engine again.
    pub(crate) fn commit_caught(&mut self, shared: &Shared, jobs: &mut Vec<Job>) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| self.commit(shared, jobs))).unwrap_or_else(|_| Err("the writer panicked".into()))
    }
}
