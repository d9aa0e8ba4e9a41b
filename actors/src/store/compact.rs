//! Gives back room that an engine does not: the rows are copied into a new engine beside while the store is at work, compared,
//! and the two change places. Only for the last step, in which what was written meanwhile is copied too, do writes wait.
//!
//! Not copied are blobs that no frame names, rows of no stream, and tombstones that are old. The high-water mark stays: it
//! says the same of either. `ENGINE.compacting` grows, `ENGINE.compacted` is whole, `ENGINE.old` was.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::actor::StoreMsg;
use super::directory::sync_all;
use super::disk::Disk;
use super::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Row};
use super::error::{AppendError, Damage, ReadError};
use super::frame::Frame;
use super::highwater::sync_parent;
use super::key::{self, Range, Space};
use super::{Store, blocking};

/// So much is copied at once, in bytes.
const BATCH_BYTES: usize = 512 * 1024;

/// A tombstone is kept so long: ids are drawn at random, and a key that may ask for one again is good for a day.
const TOMBSTONE_MS: i64 = 2 * 24 * 3600 * 1000;

/// Where room must be worth the work: so much more than after the last time, and twice as much.
const WORTH_BYTES: u64 = 64 * 1024 * 1024;

/// The keys that were written while the rows were copied.
pub(crate) type Changed = BTreeSet<Vec<u8>>;

/// What compaction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// What the engine took on disk.
    pub bytes_before: u64,
    /// What it takes.
    pub bytes_after: u64,
    /// Rows copied.
    pub rows: u64,
    /// Rows left behind: blobs that nobody names, old tombstones.
    pub dropped: u64,
}

/// Why a store was not compacted; it is as it was, unless it says otherwise itself.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The store cannot be read, or is damaged.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The store takes no writes.
    #[error("{0}")]
    Write(#[from] AppendError),
    /// A file.
    #[error("{0}")]
    File(String),
}

impl From<EngineError> for CompactError {
    fn from(e: EngineError) -> CompactError {
        CompactError::Read(ReadError::of_store(e))
    }
}

/// The folders that take part, beside the engine's own.
pub(crate) struct Folders {
    engine: PathBuf,
    compacting: PathBuf,
    compacted: PathBuf,
    old: PathBuf,
}

impl Folders {
    pub(crate) fn of(engine: &Path) -> Folders {
        let with = |extension: &str| engine.with_extension(extension);
        Folders { engine: engine.into(), compacting: with("compacting"), compacted: with("compacted"), old: with("old") }
    }

    pub(crate) fn compacting(&self) -> &Path {
        &self.compacting
    }

    /// Ends what a crash has left: either the old one is at its place, or the new one comes there.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if !self.engine.exists() {
            for whole in [&self.compacted, &self.old] {
                if whole.exists() {
                    fs::rename(whole, &self.engine)?;
                    sync_parent(&self.engine)?;
                    break;
                }
            }
        }
        [&self.compacting, &self.compacted, &self.old].into_iter().try_for_each(|folder| remove(folder))
    }

    /// The new one is whole: it takes the place.
    fn swap(&self) -> io::Result<()> {
        sync_all(&self.compacting)?;
        fs::rename(&self.compacting, &self.compacted)?;
        sync_parent(&self.engine)?;
        fs::rename(&self.engine, &self.old)?;
        fs::rename(&self.compacted, &self.engine)?;
        sync_parent(&self.engine)
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A new engine that the rows of another are copied into.
pub(crate) struct Compaction {
    from: Arc<dyn Engine>,
    to: Arc<dyn Engine>,
    /// Where the copy grows.
    disk: Disk,
    now_ms: i64,
    batch: Batch,
    /// Blobs that frames name, each in its workspace: half of a hash. One too many keeps a blob too many.
    named: HashSet<u128>,
    /// The stream of the frame that was looked at last, and whether it is there.
    stream: (Vec<u8>, bool),
    done: Compacted,
    /// Of all rows that were copied, in their order.
    hash: blake3::Hasher,
}

const NO_GUARD: Guard<'_> = Guard { key: b"none", holds: None };

impl Compaction {
    pub(crate) fn new(from: Arc<dyn Engine>, to: Arc<dyn Engine>, folder: &Path, now_ms: i64) -> Compaction {
        let disk = Disk::of(folder);
        let done = Compacted { bytes_before: from.size_bytes(), ..Compacted::default() };
        let (batch, hash) = (Batch::default(), blake3::Hasher::new());
        Compaction { from, to, disk, now_ms, batch, named: HashSet::new(), stream: (Vec::new(), false), done, hash }
    }

    /// Copies all rows and reads them again. Frames come first: they say which blobs are kept.
    pub(crate) fn copy(&mut self) -> Result<(), CompactError> {
        for (space, range) in Space::all() {
            self.space(space, &range)?;
        }
        self.flush()?;
        let mut found = blake3::Hasher::new();
        for (_, range) in Space::all() {
            pages(&*self.to, &range.from, &range.to, &mut |rows| {
                rows.iter().for_each(|(key, value)| note(&mut found, key, value));
                Ok(())
            })?;
        }
        if found.finalize() != self.hash.finalize() {
            return Err(CompactError::File("the copy differs from the store".into()));
        }
        Ok(())
    }

    fn space(&mut self, space: Space, range: &Range) -> Result<(), CompactError> {
        let from = self.from.clone();
        // The parts of one frame, across pages.
        let mut frame: (Vec<u8>, Vec<u8>) = Default::default();
        pages(&*from, &range.from, &range.to, &mut |rows| {
            for (key, value) in rows {
                if space == Space::Frames {
                    let this = &key[..key.len().saturating_sub(2)];
                    if this != frame.0 {
                        self.look_at(&frame)?;
                        frame = (this.to_vec(), Vec::new());
                    }
                    frame.1.extend_from_slice(value);
                }
                if self.keeps(space, key, value)? { self.put(key, value)? } else { self.done.dropped += 1 }
            }
            Ok(())
        })?;
        self.look_at(&frame)
    }

    /// Takes note of the blobs that a frame names. A damaged one cannot tell: then nothing is dropped, and nothing compacted.
    fn look_at(&mut self, (key, bytes): &(Vec<u8>, Vec<u8>)) -> Result<(), CompactError> {
        if bytes.is_empty() || !self.stream.1 {
            return Ok(());
        }
        let stream = key::stream_of_frame(key);
        let damaged = |e: super::frame::FrameDamage| {
            let damage = Damage { stream: stream.clone(), seq: None, what: e.to_string() };
            CompactError::Read(ReadError::Damaged(damage))
        };
        let frame = Frame::decode(bytes).map_err(damaged)?;
        let Some(stream) = &stream else { return Ok(()) };
        self.named.extend(frame.header.blobs.iter().map(|name| half(stream.workspace().as_bytes(), &name.0)));
        Ok(())
    }

    fn keeps(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<bool, CompactError> {
        Ok(match space {
            Space::Frames | Space::Snapshots => self.has_stream(key)?,
            Space::Blobs => key::blob_name(key).is_none_or(|(workspace, name)| self.named.contains(&half(workspace, name))),
            Space::Tombstones => {
                let buried = value.try_into().map_or(i64::MAX, i64::from_be_bytes);
                buried > self.now_ms.saturating_sub(TOMBSTONE_MS)
            }
            Space::Rest => true,
        })
    }

    /// Whether the stream of a row was not deleted.
    fn has_stream(&mut self, key: &[u8]) -> Result<bool, CompactError> {
        let stream = &key[1..key.len().saturating_sub(10)];
        if stream != self.stream.0 {
            let index = key::index_of(stream);
            let mut tombstone = index.clone();
            tombstone[0] = b't';
            let there = self.from.get(&tombstone)?.is_none();
            self.stream = (stream.to_vec(), there);
        }
        Ok(self.stream.1)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), CompactError> {
        note(&mut self.hash, key, value);
        self.batch.put(key, value);
        self.done.rows += 1;
        if self.batch.size_bytes() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CompactError> {
        if let Some(why) = self.disk.no_room(self.batch.size_bytes(), false) {
            return Err(AppendError::Unavailable(why).into());
        }
        self.to.apply(NO_GUARD, &self.batch)?;
        self.to.sync(Durability::Process)?;
        self.batch.clear();
        Ok(())
    }

    /// Copies what was written meanwhile, with the blobs that it names; nothing is written any more.
    pub(crate) fn catch_up(&mut self, changed: &Changed) -> Result<(), CompactError> {
        let mut frames: BTreeSet<Vec<u8>> = BTreeSet::new();
        for key in changed {
            match self.from.get(key)? {
                Some(value) => self.batch.put(key, &value),
                None => self.batch.delete(key),
            }
            if Space::of(key) == Space::Frames {
                frames.insert(key[..key.len().saturating_sub(2)].to_vec());
            }
            if self.batch.size_bytes() >= BATCH_BYTES {
                self.flush()?;
            }
        }
        for frame in frames {
            let mut bytes = Vec::new();
            let to = [&frame[..], &[255, 255, 255]].concat();
            self.from.scan(&frame, &to, Order::Ascending, &mut |_, value| {
                bytes.extend_from_slice(value);
                ControlFlow::Continue(())
            })?;
            // Empty: its stream was deleted since.
            if let Ok(decoded) = Frame::decode(&bytes) {
                let stream = key::stream_of_frame(&frame);
                for name in stream.iter().flat_map(|stream| decoded.header.blobs.iter().map(move |name| (stream, name))) {
                    self.blob(name.0.workspace(), &name.1.0)?;
                }
            }
        }
        self.flush()?;
        self.to.sync(Durability::Fsync)?;
        for key in changed {
            if self.from.get(key)? != self.to.get(key)? {
                return Err(CompactError::File("the copy differs from the store".into()));
            }
        }
        Ok(())
    }

    fn blob(&mut self, workspace: &str, name: &[u8; 32]) -> Result<(), CompactError> {
        if !self.named.insert(half(workspace.as_bytes(), name)) {
            return Ok(());
        }
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let name = commedia_domain::id::Hash32(*name);
        key::blob(workspace, &name, 0, &mut from);
        key::blob(workspace, &name, u16::MAX, &mut to);
        let (batch, done) = (&mut self.batch, &mut self.done);
        self.from.scan(&from, &to, Order::Ascending, &mut |key, value| {
            batch.put(key, value);
            done.rows += 1;
            ControlFlow::Continue(())
        })?;
        if self.batch.size_bytes() >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Closes both and lets them change places.
    pub(crate) fn finish(self, folders: &Folders) -> Result<Compacted, CompactError> {
        let failed = |e: EngineError| CompactError::File(e.to_string());
        self.to.close().map_err(failed)?;
        self.from.close().map_err(failed)?;
        folders.swap().map_err(|e| CompactError::File(format!("cannot change folders: {e}")))?;
        Ok(self.done)
    }
}

fn half(workspace: &[u8], name: &[u8; 32]) -> u128 {
    let first = |bytes: &[u8; 32]| bytes.first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
    first(blake3::hash(workspace).as_bytes()) ^ first(name)
}

fn note(hash: &mut blake3::Hasher, key: &[u8], value: &[u8]) {
    hash.update(&(key.len() as u32).to_be_bytes());
    hash.update(&(value.len() as u32).to_be_bytes());
    hash.update(key);
    hash.update(value);
}

/// Visits rows page by page, so that no scan holds an engine for long.
fn pages(
    engine: &dyn Engine,
    from: &[u8],
    to: &[u8],
    visit: &mut dyn FnMut(&[Row]) -> Result<(), CompactError>,
) -> Result<(), CompactError> {
    let mut from = from.to_vec();
    loop {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        engine.scan(&from, to, Order::Ascending, &mut |key, value| {
            bytes += key.len() + value.len();
            rows.push((key.to_vec(), value.to_vec()));
            if bytes >= BATCH_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
        visit(&rows)?;
    }
}

impl Store {
    /// Gives room back while the store is at work. Without files there is nothing to do.
    pub async fn compact(&self, now_ms: i64) -> Result<Compacted, CompactError> {
        self.sweep_leftovers().await?;
        let _alone = self.0.upkeep.write().await;
        let Some(folders) = self.0.home.folders() else {
            let bytes = self.engine().2;
            return Ok(Compacted { bytes_before: bytes, bytes_after: bytes, ..Compacted::default() });
        };
        let shared = self.0.shared.clone();
        shared.note_changes(true);
        // Whatever is being written just now is done, unnoted, before the first row is read.
        let done = match self.list_live(Vec::new(), false).await {
            Ok(()) => self.compact_noted(folders, now_ms).await,
            Err(e) => Err(e.into()),
        };
        shared.note_changes(false);
        let done = done?;
        let bytes_after = self.engine().2;
        self.0.compacted_bytes.store(bytes_after, std::sync::atomic::Ordering::Relaxed);
        Ok(Compacted { bytes_after, ..done })
    }

    async fn compact_noted(&self, folders: Folders, now_ms: i64) -> Result<Compacted, CompactError> {
        let (home, from) = (self.0.home.clone(), self.0.shared.reader.opened().engine.clone());
        let copied = blocking(move || {
            let failed = |e: io::Error| CompactError::File(format!("cannot make room beside: {e}"));
            remove(&folders.compacting).map_err(failed)?;
            let copied = home.engine_at(folders.compacting()).map_err(CompactError::from).and_then(|to| {
                let mut compaction = Compaction::new(from, to, folders.compacting(), now_ms);
                compaction.copy().map(|()| compaction)
            });
            match copied {
                Ok(compaction) => Ok((compaction, folders)),
                Err(e) => remove(&folders.compacting).map_err(failed).and(Err(e)),
            }
        })
        .await
        .map_err(CompactError::File)?;
        let (reply, answer) = oneshot::channel();
        let (compaction, folders) = copied?;
        let swap = StoreMsg::Swap(Box::new((compaction, folders)), reply);
        self.actor().cast(swap).map_err(|e| CompactError::File(format!("the store actor is down: {e}")))?;
        answer.await.unwrap_or_else(|_| Err(CompactError::File("the store actor died".into())))
    }

    /// Whether compaction would give back much: the engine takes twice of what it took at first or after the last time, and
    /// 64 MiB more.
    pub fn is_worth_compacting(&self) -> bool {
        let base = self.0.compacted_bytes.load(std::sync::atomic::Ordering::Relaxed);
        self.0.home.folders().is_some() && self.engine().2 > 2 * base + WORTH_BYTES
    }
}
