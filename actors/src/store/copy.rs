//! Copies a store, frame by frame and checked on the way, to another place and another engine.
//!
//! The copy grows in a directory beside its place and is moved there when it is whole and was compared: an interrupted
//! copy leaves nothing at the place, and the next attempt removes what it left beside it. Nothing is run again.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use commedia_domain::id::Hash32;
use tokio::task::JoinSet;

use super::blob::Blob;
use super::check::StreamCheck;
use super::directory::remove_unfinished;
use super::engine::Durability;
use super::error::{AppendError, Damage, OpenError, ReadError};
use super::highwater::sync_parent;
use super::home::place;
use super::live::LiveRow;
use super::stream::{Head, StreamId, StreamKind};
use super::{Append, Listed, Options, Store, blocking};
use crate::points::{Point, pass};

/// So many streams are copied at once: they share groups, and so syncs.
const STREAMS_AT_ONCE: usize = 256;

/// How much of a stream is held in memory at once, in bytes.
const PAGE_BYTES: usize = 256 * 1024;

/// Streams are listed in pages of this many.
const PAGE_STREAMS: usize = 1000;

/// Blobs known to be copied, so that they are not read again; forgotten beyond this many.
const KNOWN_BLOBS: usize = 64 * 1024;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Streams.
    pub streams: u64,
    /// Frames in them.
    pub frames: u64,
    /// Events in these.
    pub events: u64,
    /// Blobs that the frames name.
    pub blobs: u64,
    /// Snapshots: each stream's newest.
    pub snapshots: u64,
    /// What the source takes on disk.
    pub bytes_from: u64,
    /// What the copy takes.
    pub bytes_to: u64,
}

/// Why there is no copy. What is at the source is as it was, and nothing is at the target's place.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The URLs cannot be copied between.
    #[error("{0}")]
    Usage(String),
    /// One of the two does not open.
    #[error("{url}: {why}")]
    Open {
        /// Which.
        url: String,
        /// Why.
        why: OpenError,
    },
    /// The source cannot be read, or is damaged.
    #[error("the source: {0}")]
    Read(#[from] ReadError),
    /// The target takes no writes.
    #[error("the target: {0}")]
    Write(#[from] AppendError),
    /// A file of the target.
    #[error("the target: {0}")]
    File(String),
    /// The copy is not what the source is.
    #[error("the copy differs from the source: {0}")]
    Differs(String),
}

/// Copies the store at one URL to another, whose directory must be empty or not be there.
pub async fn copy(from: &str, to: &str, durability: Durability) -> Result<Copied, CopyError> {
    let (engine, target, beside) = places(from, to)?;
    blocking({
        let beside = beside.clone();
        move || remove_unfinished(&beside)
    })
    .await
    .map_err(CopyError::File)?
    .map_err(|why| CopyError::Open { url: to.into(), why })?;
    let beside_url = format!("{engine}://{}", beside.display());
    let source = open(from, durability).await?;
    let mut copied = Copied { bytes_from: source.engine().2, ..Copied::default() };
    let done = fill(&source, &beside_url, durability, &mut copied).await;
    close(&source).await?;
    done?;
    pass(Point::CopyBefore);
    let moved = blocking(move || fs::rename(&beside, &target).and_then(|()| sync_parent(&target))).await;
    moved.map_err(CopyError::File)?.map_err(|e| CopyError::File(format!("cannot move it to its place: {e}")))?;
    pass(Point::CopyAfter);
    Ok(copied)
}

/// The target's engine and directory, and the one beside it that the copy grows in.
fn places(from: &str, to: &str) -> Result<(&'static str, PathBuf, PathBuf), CopyError> {
    let usage = |what: String| Err(CopyError::Usage(what));
    let (Some((_, source)), Some((engine, target))) = (place(from), place(to)) else {
        let which = if place(from).is_none() { from } else { to };
        return usage(format!("`{which}` names no files to copy: write `sled://DIRECTORY` or `fjall://DIRECTORY`"));
    };
    if !source.join("FORMAT").exists() {
        return usage(format!("there is no store at {}", source.display()));
    }
    match fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return usage(format!("{} is not empty: name a folder that is not there yet", target.display())),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return usage(format!("{}: {e}", target.display())),
        Ok(false) | Err(_) => {}
    }
    let mut beside = OsString::from(target);
    beside.push(".copying");
    Ok((engine, target.to_path_buf(), beside.into()))
}

async fn open(url: &str, durability: Durability) -> Result<Store, CopyError> {
    let opened = Store::open(url, durability, Options::default()).await;
    opened.map_err(|why| CopyError::Open { url: url.into(), why })
}

async fn close(store: &Store) -> Result<(), CopyError> {
    store.close().await.map_err(|e| CopyError::File(format!("closing: {e}")))
}

/// Fills a new store from another, opens it again and compares the two.
async fn fill(source: &Store, url: &str, durability: Durability, copied: &mut Copied) -> Result<(), CopyError> {
    let target = open(url, durability).await?;
    let done = copy_streams(source, &target, copied).await;
    close(&target).await?;
    done?;
    let target = open(url, durability).await?;
    let compared = compare(source, &target).await;
    copied.bytes_to = target.engine().2;
    close(&target).await?;
    compared
}

async fn copy_streams(source: &Store, target: &Store, copied: &mut Copied) -> Result<(), CopyError> {
    let known = Arc::new(Mutex::new(HashSet::new()));
    let mut working = JoinSet::new();
    let mut after: Option<StreamId> = None;
    loop {
        let page = source.every_stream(after.as_ref(), PAGE_STREAMS).await?;
        after = page.last().map(|listed| listed.stream.clone());
        if after.is_none() {
            break;
        }
        for listed in page {
            if working.len() >= STREAMS_AT_ONCE {
                take_note(working.join_next().await, copied)?;
            }
            let one = Stream { source: source.clone(), target: target.clone(), known: known.clone() };
            working.spawn(one.copy(listed));
        }
    }
    while !working.is_empty() {
        take_note(working.join_next().await, copied)?;
    }
    Ok(())
}

type Joined = Option<Result<Result<Copied, CopyError>, tokio::task::JoinError>>;

fn take_note(joined: Joined, total: &mut Copied) -> Result<(), CopyError> {
    let Some(joined) = joined else { return Ok(()) };
    let one = joined.map_err(|e| CopyError::File(format!("a stream's copy was given up: {e}")))??;
    total.streams += one.streams;
    total.frames += one.frames;
    total.events += one.events;
    total.blobs += one.blobs;
    total.snapshots += one.snapshots;
    Ok(())
}

/// What copies one stream.
struct Stream {
    source: Store,
    target: Store,
    known: Arc<Mutex<HashSet<(String, Hash32)>>>,
}

impl Stream {
    async fn copy(self, listed: Listed) -> Result<Copied, CopyError> {
        let Listed { stream, head: end, meta } = listed;
        let end = end.map_err(ReadError::Damaged)?;
        let mut copied = Copied { streams: 1, ..Copied::default() };
        let live = self.live(&stream).await?;
        let mut head = Head::START;
        while head != end {
            let frames = self.source.read_after(&stream, &head, PAGE_BYTES).await?;
            if frames.is_empty() {
                return Err(CopyError::Differs(format!("{stream} ends at {}, its head is at {}", head.seq, end.seq)));
            }
            for frame in frames {
                let encoded = frame
                    .encode()
                    .map_err(|e| ReadError::Damaged(Damage::of_stream(&stream, frame.header.first_seq, e.to_string())))?;
                let blobs = self.blobs(&stream, frame.header.first_seq, &frame.header.blobs).await?;
                copied.frames += 1;
                copied.events += u64::from(frame.header.count);
                copied.blobs += blobs.len() as u64;
                let append = Append {
                    stream: stream.clone(),
                    expected: head,
                    lease: self.target.lease(&stream),
                    frame: encoded,
                    blobs,
                    meta: (frame.head() == end).then(|| meta.clone()),
                    live: live.clone(),
                };
                head = self.target.append(append).await?;
            }
        }
        if let Some(snapshot) = self.source.newest_snapshot(&stream).await? {
            self.target.put_snapshot(&stream, snapshot).await?;
            copied.snapshots = 1;
        }
        Ok(copied)
    }

    /// The stream's row in the live index. Where the source's is not whole, every run is looked at again at the next start.
    async fn live(&self, stream: &StreamId) -> Result<LiveRow, ReadError> {
        let named = stream.clone();
        let row = self.source.read_with(move |shared| Ok(shared.reader.rows(&named)?.live)).await?;
        let unknown = stream.kind() == StreamKind::Run && !self.source.live_is_whole();
        Ok(row.or_else(|| unknown.then(Vec::new)).map_or(LiveRow::Keep, LiveRow::Put))
    }

    /// The blobs that a frame names and that were not copied yet.
    async fn blobs(&self, stream: &StreamId, seq: u64, names: &[Hash32]) -> Result<Vec<Blob>, CopyError> {
        let mut blobs = Vec::new();
        for name in names {
            let new = {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= KNOWN_BLOBS {
                    known.clear();
                }
                known.insert((stream.workspace().to_string(), *name))
            };
            if new {
                let missing = || ReadError::Damaged(Damage::of_stream(stream, seq, format!("blob {name} is missing")));
                let bytes = self.source.blob(stream.workspace(), *name).await?.ok_or_else(missing)?;
                blobs.push(Blob::new(bytes));
            }
        }
        Ok(blobs)
    }
}

/// Both sides have the same streams, heads, events, digests and index rows, and the copy is whole.
async fn compare(source: &Store, target: &Store) -> Result<(), CopyError> {
    let (ours, theirs) = (source.check().await?, target.check().await?);
    if let Some(damage) = theirs.damage.first() {
        return Err(CopyError::Differs(damage.to_string()));
    }
    let differs = |a: &StreamCheck, b: &StreamCheck| (a != b).then(|| a.stream.to_string());
    let first = ours.streams.iter().zip(&theirs.streams).find_map(|(a, b)| differs(a, b));
    match first {
        Some(stream) => Err(CopyError::Differs(stream)),
        None if ours.streams.len() != theirs.streams.len() => {
            Err(CopyError::Differs(format!("{} streams, not {}", theirs.streams.len(), ours.streams.len())))
        }
        None => Ok(()),
    }
}
