//! Makes a store from a backup: each record is checked, each frame must follow the one before, and the whole is read again
//! and counted before it is moved to its place. A damaged backup is refused and leaves nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::archive::{ArchiveError, Contents, Entry, Reader, Record};
use super::backup::Progress;
use super::blob::{Blob, decode_snapshot};
use super::directory::{remove_unfinished, sync_all};
use super::engine::Durability;
use super::error::{AppendError, OpenError, ReadError};
use super::frame::{EncodedFrame, Frame};
use super::highwater::sync_parent;
use super::home::place;
use super::live::LiveRow;
use super::stream::Head;
use super::{Append, Options, Store, blocking};

/// So many records are read ahead.
const AHEAD: usize = 4;

/// Why nothing was restored. Nothing is at the target's place.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The call makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The backup.
    #[error("the backup {}: {why}", .path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: ArchiveError,
    },
    /// The target does not open.
    #[error("the target: {0}")]
    Open(#[from] OpenError),
    /// The target takes no writes.
    #[error("the target: {0}")]
    Write(#[from] AppendError),
    /// The target cannot be read.
    #[error("the target: {0}")]
    Read(#[from] ReadError),
    /// A file of the target.
    #[error("the target: {0}")]
    File(String),
    /// What was made is not what the backup says.
    #[error("what was restored differs from the backup: {0}")]
    Differs(String),
}

/// Restores a backup to a URL whose directory must be empty or not be there.
pub async fn restore(from: &Path, to: &str, durability: Durability, progress: &Progress<'_>) -> Result<Contents, RestoreError> {
    let usage = |what: String| RestoreError::Usage(what);
    let wrong = || usage(format!("`{to}` names no files to restore to: write `sled://DIRECTORY` or `fjall://DIRECTORY`"));
    let (engine, target) = place(to).ok_or_else(wrong)?;
    match fs::read_dir(target).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(usage(format!("{} is not empty: name a folder that is not there yet", target.display()))),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(usage(format!("{}: {e}", target.display()))),
        Ok(false) | Err(_) => {}
    }
    let mut beside = OsString::from(target);
    beside.push(".restoring");
    let (beside, target) = (PathBuf::from(beside), target.to_path_buf());
    let url = format!("{engine}://{}", beside.display());
    let remove = async || {
        let beside = beside.clone();
        blocking(move || remove_unfinished(&beside)).await.map_err(RestoreError::File)
    };
    // The backup is looked at first: a wrong file's name makes no folder.
    let records = read_ahead(from).await?;
    remove().await??;
    match fill(from, records, &url, durability, progress).await {
        Ok(contents) => {
            let moving = move || {
                sync_all(&beside)?;
                fs::rename(&beside, &target).and_then(|()| sync_parent(&target))
            };
            let moved = blocking(moving).await.map_err(RestoreError::File)?;
            moved.map_err(|e| RestoreError::File(format!("cannot move it to its place: {e}")))?;
            Ok(contents)
        }
        Err(e) => {
            remove().await??;
            Err(e)
        }
    }
}

type Records = mpsc::Receiver<Result<(Record, u64), ArchiveError>>;

/// Reads and checks records on a thread of its own, a few ahead.
async fn read_ahead(path: &Path) -> Result<Records, RestoreError> {
    let failed = |path: &Path, why| RestoreError::Backup { path: path.into(), why };
    let at = path.to_path_buf();
    let opened = blocking(move || Reader::new(BufReader::with_capacity(1 << 20, File::open(at)?))).await;
    let mut reader = opened.map_err(RestoreError::File)?.map_err(|why| failed(path, why))?;
    let (sender, records) = mpsc::channel(AHEAD);
    let work = move || {
        loop {
            let record = reader.next().map(|record| (record, reader.at()));
            let last = matches!(record, Err(_) | Ok((Record::End(_), _)));
            // Nobody reads on after a failure of the target.
            if sender.blocking_send(record).is_err() || last {
                return;
            }
        }
    };
    drop(tokio::task::spawn_blocking(work));
    Ok(records)
}

/// Fills a new store, opens it again and compares it with what was counted.
async fn fill(
    from: &Path,
    records: Records,
    url: &str,
    durability: Durability,
    progress: &Progress<'_>,
) -> Result<Contents, RestoreError> {
    // Synced as a whole before it comes to its place.
    let store = Store::open(url, Durability::Process, Options::default()).await?;
    let mut filling = Filling { path: from, store: &store, contents: Contents::default(), heads: 0, open: None };
    let filled = filling.records(records, progress).await;
    let (contents, heads) = (filling.contents, filling.heads);
    let closed = store.close().await.map_err(|e| RestoreError::File(format!("closing: {e}")));
    filled?;
    closed?;
    let store = Store::open(url, durability, Options::default()).await?;
    let report = store.check().await;
    store.close().await.map_err(|e| RestoreError::File(format!("closing: {e}")))?;
    let report = report?;
    if let Some(damage) = report.damage.first() {
        return Err(RestoreError::Differs(damage.to_string()));
    }
    let found = report.streams.iter().fold(0, |sum: u64, s| sum.wrapping_add(mark(&s.stream.to_string(), &s.head)));
    let (frames, events) = report.streams.iter().fold((0, 0), |(f, e), s| (f + s.frames, e + s.events));
    if (report.streams.len() as u64, frames, events, found) != (contents.streams, contents.frames, contents.events, heads) {
        return Err(RestoreError::Differs(format!("{} streams, {frames} frames, {events} events", report.streams.len())));
    }
    Ok(contents)
}

/// A number for a stream at a head; their sum stands for all, in whatever order.
fn mark(stream: &str, head: &Head) -> u64 {
    let hash = blake3::hash(&[stream.as_bytes(), &head.seq.to_be_bytes(), &head.hash.0].concat());
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A stream that is being filled.
struct Open {
    entry: Entry,
    head: Head,
    blobs: Vec<Blob>,
}

struct Filling<'f> {
    path: &'f Path,
    store: &'f Store,
    contents: Contents,
    heads: u64,
    open: Option<Open>,
}

impl Filling<'_> {
    async fn records(&mut self, mut records: Records, progress: &Progress<'_>) -> Result<(), RestoreError> {
        let failed = |why| RestoreError::Backup { path: self.path.into(), why };
        let path = self.path;
        let wrong = |at: u64, what: &str| RestoreError::Backup {
            path: path.into(),
            why: ArchiveError::Damaged { at, what: what.into() },
        };
        loop {
            let next = records.recv().await.ok_or_else(|| RestoreError::File("reading the backup was given up".into()))?;
            let (record, at) = next.map_err(failed)?;
            let wrong = |what: &str| wrong(at, what);
            self.contents.bytes = at;
            match record {
                Record::Stream(entry) => {
                    self.end_stream().map_err(wrong)?;
                    self.heads = self.heads.wrapping_add(mark(&entry.stream.to_string(), &entry.head));
                    self.contents.streams += 1;
                    self.open = Some(Open { entry, head: Head::START, blobs: Vec::new() });
                    progress(&self.contents);
                }
                Record::Blob(name, bytes) => {
                    let open = self.open.as_mut().ok_or_else(|| wrong("a blob of no stream"))?;
                    let blob = Blob::new(bytes);
                    if blob.name() != name {
                        return Err(wrong("a blob is not what it is named by"));
                    }
                    open.blobs.push(blob);
                    self.contents.blobs += 1;
                }
                Record::Frame(bytes) => {
                    let open = self.open.as_mut().ok_or_else(|| wrong("a frame of no stream"))?;
                    let events = Frame::decode(&bytes).map_err(|e| wrong(&e.to_string()))?.header.count;
                    let frame = EncodedFrame::from_bytes(bytes).map_err(|e| wrong(&e.to_string()))?;
                    if frame.after() != open.head {
                        return Err(wrong("a frame does not follow the one before"));
                    }
                    append(self.store, open, frame).await?;
                    self.contents.frames += 1;
                    self.contents.events += u64::from(events);
                }
                Record::Snapshot(bytes) => {
                    let open = self.open.as_ref().ok_or_else(|| wrong("a snapshot of no stream"))?;
                    let snapshot = decode_snapshot(&bytes).ok_or_else(|| wrong("a snapshot cannot be read"))?;
                    self.store.put_snapshot(&open.entry.stream, snapshot).await?;
                    self.contents.snapshots += 1;
                }
                Record::End(said) => {
                    self.end_stream().map_err(wrong)?;
                    let bytes = self.contents.bytes;
                    if self.contents != (Contents { bytes, ..said }) {
                        return Err(wrong("its totals are not those of what it holds"));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// A stream ends where it said it would.
    fn end_stream(&mut self) -> Result<(), &'static str> {
        match self.open.take() {
            Some(open) if open.head != open.entry.head || !open.blobs.is_empty() => Err("a stream ends before its head"),
            _ => Ok(()),
        }
    }
}

/// Appends a frame; what lists show of the stream comes with its last one.
async fn append(store: &Store, open: &mut Open, frame: EncodedFrame) -> Result<(), RestoreError> {
    let last = frame.head() == open.entry.head;
    let append = Append {
        stream: open.entry.stream.clone(),
        expected: open.head,
        lease: store.lease(&open.entry.stream),
        frame,
        blobs: std::mem::take(&mut open.blobs),
        meta: last.then(|| open.entry.meta.clone()),
        live: open.entry.live.clone().filter(|_| last).map_or(LiveRow::Keep, LiveRow::Put),
    };
    open.head = store.append(append).await?;
    Ok(())
}
