//! Writes a store to one file while it is at work: each stream up to a head that was acknowledged, with what the frames
//! name and what lists show at that head. The file grows beside its place and is moved there when it is whole and synced.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use commedia_domain::id::Hash32;

pub use super::archive::{ArchiveError, BACKUP_FORMAT, Contents};
use super::archive::{Entry, Record, Writer};
use super::blob::encode_snapshot;
use super::error::{Damage, ReadError};
use super::highwater::sync_parent;
use super::stream::{Head, StreamId};
use super::{Store, blocking};

/// How much of a stream is held in memory at once, in bytes.
const PAGE_BYTES: usize = 1024 * 1024;

/// Streams are listed in pages of this many.
const PAGE_STREAMS: usize = 1000;

/// Blobs known to be written, so that they are not written again; forgotten beyond this many.
const KNOWN_BLOBS: usize = 64 * 1024;

/// Why there is no backup. Nothing is at the place that was named.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something stands at the place already.
    #[error("{} is there already: name a file that is not", .0.display())]
    Taken(PathBuf),
    /// The store cannot be read, or is damaged.
    #[error("the store: {0}")]
    Read(#[from] ReadError),
    /// The file cannot be written.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The work was given up.
    #[error("{0}")]
    Stopped(String),
}

/// Is told how far it has come.
pub type Progress<'p> = dyn Fn(&Contents) + Send + Sync + 'p;

/// A file that grows beside its place.
struct Growing {
    writer: Writer<BufWriter<File>>,
    beside: PathBuf,
}

impl Growing {
    fn begin(path: &Path) -> Result<Growing, BackupError> {
        let mut beside = OsString::from(path);
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        let failed = |why| BackupError::File { path: beside.clone(), why };
        if path.exists() {
            return Err(BackupError::Taken(path.into()));
        }
        let file = File::options().write(true).create(true).truncate(false).open(&beside).map_err(failed)?;
        // Another backup to the same place is left alone; what a killed one left is begun anew.
        file.try_lock().map_err(|e| failed(e.into()))?;
        file.set_len(0).map_err(failed)?;
        let writer = Writer::new(BufWriter::with_capacity(PAGE_BYTES, file)).map_err(failed)?;
        Ok(Growing { writer, beside })
    }

    fn write(&mut self, records: &[Record]) -> Result<(), BackupError> {
        let written = records.iter().try_for_each(|record| self.writer.write(record));
        written.map_err(|why| BackupError::File { path: self.beside.clone(), why })
    }

    /// Syncs it and moves it to its place.
    fn finish(self, path: &Path) -> Result<(), BackupError> {
        let Growing { writer, beside } = self;
        let moved = writer.finish().and_then(|buffer| {
            let file = buffer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(&beside, path)?;
            sync_parent(path)
        });
        moved.map_err(|why| BackupError::File { path: path.into(), why })
    }
}

impl Store {
    /// Writes everything to one file; the store goes on working. What is acknowledged before the call is in it, save what is
    /// deleted meanwhile: deleting waits.
    pub async fn backup(&self, path: &Path, progress: &Progress<'_>) -> Result<Contents, BackupError> {
        let _alone = self.0.upkeep.read().await;
        let at = path.to_path_buf();
        let growing = blocking(move || Growing::begin(&at)).await.map_err(BackupError::Stopped)??;
        let beside = growing.beside.clone();
        let mut work = Work { store: self, growing: Some(growing), contents: Contents::default(), known: HashSet::new() };
        let done = work.streams(progress).await;
        let done = match (done, work.growing.take()) {
            (Ok(()), Some(mut growing)) => {
                let (at, end) = (path.to_path_buf(), Record::End(work.contents));
                blocking(move || {
                    growing.write(&[end])?;
                    let bytes = growing.writer.bytes;
                    growing.finish(&at).map(|()| bytes)
                })
                .await
                .map_err(BackupError::Stopped)?
            }
            (Ok(()), None) => Err(BackupError::Stopped("the file was lost".into())),
            (Err(e), _) => Err(e),
        };
        match done {
            Ok(bytes) => Ok(Contents { bytes, ..work.contents }),
            Err(e) => {
                drop(work);
                // It is begun anew by the next attempt, should it stay.
                drop(fs::remove_file(beside));
                Err(e)
            }
        }
    }
}

struct Work<'s> {
    store: &'s Store,
    growing: Option<Growing>,
    contents: Contents,
    known: HashSet<(String, Hash32)>,
}

impl Work<'_> {
    async fn streams(&mut self, progress: &Progress<'_>) -> Result<(), BackupError> {
        let mut after: Option<StreamId> = None;
        loop {
            let page = self.store.every_stream(after.as_ref(), PAGE_STREAMS).await?;
            after = page.last().map(|listed| listed.stream.clone());
            if after.is_none() {
                return Ok(());
            }
            for listed in page {
                listed.head.map_err(ReadError::Damaged)?;
                self.stream(listed.stream).await?;
                progress(&self.contents);
            }
        }
    }

    /// One stream, up to where it stands now.
    async fn stream(&mut self, stream: StreamId) -> Result<(), BackupError> {
        let named = stream.clone();
        let (end, meta, live) = self.store.read_with(move |shared| shared.reader.standing(&named)).await?;
        let mut head = Head::START;
        let mut records = vec![Record::Stream(Entry { stream: stream.clone(), head: end, meta, live })];
        while head != end {
            let frames = self.store.read_after(&stream, &head, PAGE_BYTES).await?;
            let missing = || ReadError::Damaged(Damage::of_stream(&stream, head.seq + 1, "it ends before its head"));
            if frames.is_empty() {
                return Err(missing().into());
            }
            for frame in frames.into_iter().take_while(|frame| frame.head().seq <= end.seq) {
                let first_seq = frame.header.first_seq;
                let damaged = |what: String| ReadError::Damaged(Damage::of_stream(&stream, first_seq, what));
                for name in &frame.header.blobs {
                    if self.is_new(&stream, name) {
                        let bytes = self.store.blob(stream.workspace(), *name).await?;
                        let bytes = bytes.ok_or_else(|| damaged(format!("blob {name} is missing")))?;
                        records.push(Record::Blob(*name, bytes));
                        self.contents.blobs += 1;
                        self.put(&mut records).await?;
                    }
                }
                let encoded = frame.encode().map_err(|e| damaged(e.to_string()))?;
                records.push(Record::Frame(encoded.bytes().to_vec()));
                self.contents.frames += 1;
                self.contents.events += u64::from(frame.header.count);
                head = frame.head();
            }
            self.put(&mut records).await?;
        }
        let snapshot = self.store.newest_snapshot(&stream).await?.filter(|snapshot| snapshot.seq <= end.seq);
        if let Some(snapshot) = snapshot {
            records.push(Record::Snapshot(encode_snapshot(&snapshot)));
            self.contents.snapshots += 1;
        }
        self.contents.streams += 1;
        self.put(&mut records).await
    }

    fn is_new(&mut self, stream: &StreamId, name: &Hash32) -> bool {
        if self.known.len() >= KNOWN_BLOBS {
            self.known.clear();
        }
        self.known.insert((stream.workspace().to_owned(), *name))
    }

    async fn put(&mut self, records: &mut Vec<Record>) -> Result<(), BackupError> {
        let stopped = || BackupError::Stopped("an earlier write was given up".into());
        let (mut growing, records) = (self.growing.take().ok_or_else(stopped)?, std::mem::take(records));
        let written = blocking(move || growing.write(&records).map(|()| growing)).await;
        let growing = written.map_err(BackupError::Stopped)??;
        self.contents.bytes = growing.writer.bytes;
        self.growing = Some(growing);
        Ok(())
    }
}
