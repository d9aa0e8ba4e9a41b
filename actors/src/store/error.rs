//! What can go wrong with a store, grouped by what a caller can do about it.

use std::fmt;
use std::path::PathBuf;

use super::engine::EngineError;
use super::stream::{Head, StreamId};

/// Something stored that is not as it was written. It is named, its stream is refused, the rest is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The stream it belongs to; `None`: the store's own files.
    pub stream: Option<StreamId>,
    /// The first event that is concerned, where known.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    pub(crate) fn of_store(what: impl Into<String>) -> Damage {
        Damage { stream: None, seq: None, what: what.into() }
    }

    pub(crate) fn of_stream(stream: &StreamId, seq: impl Into<Option<u64>>, what: impl Into<String>) -> Damage {
        Damage { stream: Some(stream.clone()), seq: seq.into(), what: what.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.stream, self.seq) {
            (Some(stream), Some(seq)) => write!(f, "{stream}, event {seq}: {}", self.what),
            (Some(stream), None) => write!(f, "{stream}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on it.
    #[error("{} is in use by process {pid}", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The other process, 0 where it cannot be told.
        pid: u32,
    },
    /// A later release wrote it.
    #[error("the store has format {found}; this program knows formats up to {known}: use a newer commedia")]
    Newer {
        /// The stored format.
        found: u32,
        /// The newest known one.
        known: u32,
    },
    /// Another engine wrote it.
    #[error("{} holds a store of the engine {found}; the URL names {named}", .path.display())]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine that wrote it.
        found: String,
        /// The one asked for.
        named: String,
    },
    /// It cannot be read at all.
    #[error("the store is damaged: {0}")]
    Damaged(Damage),
    /// A file could not be read or written.
    #[error("the store cannot be opened: {0}")]
    Failed(String),
    /// No such kind of store.
    #[error("`{0}` is no store: write `sled://DIRECTORY`, `fjall://DIRECTORY` or `memory:`")]
    Url(String),
}

impl From<EngineError> for OpenError {
    fn from(e: EngineError) -> OpenError {
        match e {
            EngineError::Damaged(what) => OpenError::Damaged(Damage::of_store(what)),
            EngineError::Failed(what) | EngineError::Full(what) => OpenError::Failed(what),
            EngineError::Fenced(_) | EngineError::Closed => OpenError::Failed(e.to_string()),
        }
    }
}

/// Why a write was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The stream has another head: read on from there and decide again. Nothing was written.
    #[error("the stream is at {} already", .head.seq)]
    Conflict {
        /// Its head.
        head: Head,
    },
    /// The lease is not of this epoch: take a new one and rebuild. Nothing was written.
    #[error("the lease is outdated: the store is in epoch {epoch}")]
    Fenced {
        /// The store's epoch.
        epoch: u64,
    },
    /// The store takes no writes now; it is being opened again. Nothing was written.
    #[error("the store takes no writes: {0}")]
    Unavailable(String),
    /// Whether it was written is unknown: read the head before anything else, never send it again blindly.
    #[error("the store did not answer: whether the events are stored is unknown")]
    Unknown,
    /// Larger than the store takes. Nothing was written.
    #[error("{what} has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        limit: usize,
    },
    /// The call contradicts itself. Nothing was written.
    #[error("{0}")]
    Invalid(&'static str),
    /// The stream is damaged and refused. Nothing was written.
    #[error("{0}")]
    Damaged(Damage),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What was to be read is not as it was written.
    #[error("{0}")]
    Damaged(Damage),
    /// The store cannot be read now.
    #[error("the store cannot be read: {0}")]
    Unavailable(String),
}

impl From<ReadError> for AppendError {
    fn from(e: ReadError) -> AppendError {
        match e {
            ReadError::Damaged(damage) => AppendError::Damaged(damage),
            ReadError::Unavailable(why) => AppendError::Unavailable(why),
        }
    }
}

impl ReadError {
    /// An engine's error while reading a stream.
    pub(crate) fn of_stream(stream: &StreamId, seq: impl Into<Option<u64>>) -> impl FnOnce(EngineError) -> ReadError {
        move |e| match e {
            EngineError::Damaged(what) => ReadError::Damaged(Damage::of_stream(stream, seq, what)),
            e => ReadError::Unavailable(e.to_string()),
        }
    }

    /// An engine's error while reading what belongs to no single stream.
    pub(crate) fn of_store(e: EngineError) -> ReadError {
        match e {
            EngineError::Damaged(what) => ReadError::Damaged(Damage::of_store(what)),
            e => ReadError::Unavailable(e.to_string()),
        }
    }
}
