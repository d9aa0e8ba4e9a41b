//! A run's log: events to frames and back. It encodes, hashes and chains; the store only writes.

use std::borrow::Cow;
use std::sync::Arc;

use commedia_domain::body::Body;
use commedia_domain::event::{ENGINE, Event};
use commedia_domain::id::Hash32;

use crate::store::blob::Blob;
use crate::store::digest::Digest;
use crate::store::frame::{Cause, Frame, FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Damage, Head, Lease, ReadError, Store, StreamId};

/// Bytes read from the store at once.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a frame above which the next event begins a new one: below the limit by the largest event a turn makes.
const FRAME_FULL: usize = 160 * 1024;

/// An event with its place in the log.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its position, from 1.
    pub seq: u64,
    /// Its lane.
    pub lane: commedia_domain::event::Lane,
    /// Wall time of its frame, milliseconds since 1970 UTC.
    pub wall_ms: i64,
    /// What happened.
    pub event: Arc<Event>,
    /// What led to it.
    pub cause: Arc<Cause>,
}

/// What the events of a run led to, by command.
pub fn cause(kind: impl Into<Cow<'static, str>>, principal: &Arc<str>, payload: &[u8], wall_ms: i64) -> Cause {
    Cause {
        kind: kind.into(),
        id: Hash32::default(),
        payload_hash: if payload.is_empty() { Hash32::default() } else { Hash32::of(payload) },
        principal: principal.clone(),
        wall_ms,
    }
}

/// The writing end of a run's log.
pub(crate) struct LogWriter {
    stream: StreamId,
    lease: Lease,
    head: Head,
    digest: Digest,
    frame: Option<FrameBuilder>,
    cause: Arc<Cause>,
    blobs: Vec<Blob>,
    unpublished: Vec<StoredEvent>,
    next_seq: u64,
    /// The bytes of the event at hand; kept for its room.
    payload: Vec<u8>,
}

impl LogWriter {
    pub(crate) fn new(stream: StreamId, lease: Lease, head: Head, digest: Digest, cause: Cause) -> LogWriter {
        LogWriter {
            stream,
            lease,
            head,
            digest,
            frame: None,
            cause: Arc::new(cause),
            blobs: Vec::new(),
            unpublished: Vec::new(),
            next_seq: head.seq + 1,
            payload: Vec::new(),
        }
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// The seq of the next event.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) fn digest(&self) -> Hash32 {
        self.digest.value()
    }

    pub(crate) fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Whether anything waits to be appended.
    pub(crate) fn is_dirty(&self) -> bool {
        self.frame.is_some()
    }

    /// About how many bytes wait.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, FrameBuilder::size)
    }

    /// Whether the next event should begin a new frame.
    pub(crate) fn is_full(&self) -> bool {
        self.frame.as_ref().is_some_and(|f| f.size() > FRAME_FULL)
    }

    /// The cause of the events from now on; what was pushed before must be flushed first.
    pub(crate) fn set_cause(&mut self, cause: Cause) {
        self.cause = Arc::new(cause);
    }

    /// Encodes an event behind what waits already.
    pub(crate) fn push(&mut self, event: Event) -> Result<Arc<Event>, AppendError> {
        self.payload.clear();
        event.encode_into(&mut self.payload);
        let payload = &self.payload;
        let canonical = event.lane() == commedia_domain::event::Lane::Canonical;
        let lane = if canonical { Lane::Canonical } else { Lane::Operational };
        let (head, cause, lease) = (self.head, &self.cause, self.lease);
        let frame = self.frame.get_or_insert_with(|| FrameBuilder::new(ENGINE, &head, lease.epoch, Cause::clone(cause)));
        let full = |_| AppendError::TooLarge { what: "one event", bytes: payload.len(), limit: crate::store::frame::FRAME_LIMIT };
        frame.push(lane, payload).map_err(full)?;
        let mut apart: Vec<Blob> = Vec::new();
        event.bodies(&mut |body: &Body| {
            if let Some((_, bytes)) = body.blob() {
                apart.push(Blob::new(bytes));
            }
        });
        for blob in apart {
            frame.name_blob(blob.name()).map_err(full)?;
            if !self.blobs.iter().any(|b| b.name() == blob.name()) {
                self.blobs.push(blob);
            }
        }
        if canonical {
            self.digest.update(payload);
        }
        let event = Arc::new(event);
        let stored = StoredEvent {
            seq: self.next_seq,
            lane: event.lane(),
            wall_ms: self.cause.wall_ms,
            event: event.clone(),
            cause: self.cause.clone(),
        };
        self.next_seq += 1;
        self.unpublished.push(stored);
        Ok(event)
    }

    /// Appends what waits, in one frame; what is then durable comes back, to be published.
    pub(crate) async fn flush(
        &mut self,
        store: &Store,
        meta: Option<Vec<u8>>,
        live: LiveRow,
    ) -> Result<Vec<StoredEvent>, AppendError> {
        let Some(frame) = self.frame.take().and_then(FrameBuilder::encode) else { return Ok(Vec::new()) };
        let append = Append {
            stream: self.stream.clone(),
            expected: self.head,
            lease: self.lease,
            frame,
            blobs: std::mem::take(&mut self.blobs),
            meta,
            live,
        };
        self.head = store.append(append).await?;
        Ok(std::mem::take(&mut self.unpublished))
    }
}

/// Why a log cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// No run has this id.
    #[error("there is no run `{0}` here (see `commedia ls`)")]
    Unknown(String),
    /// The store cannot be read, or what it holds is not as it was written.
    #[error("{0}")]
    Store(#[from] ReadError),
    /// A write was not acknowledged.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// The stored scenario no longer compiles: another version wrote it.
    #[error("the run's scenario cannot be compiled by this version: {0}")]
    Scenario(String),
    /// The run's actor is gone and could not be brought back.
    #[error("the run stopped: {0}")]
    Stopped(String),
    /// Folding its log panicked.
    #[error("the run's log cannot be folded: {0}")]
    Panicked(String),
    /// It crashes whenever it is to go on.
    #[error("run `{id}` is quarantined: {reason}")]
    Quarantined {
        /// Which.
        id: String,
        /// The last crash's words.
        reason: String,
    },
}

impl LoadError {
    /// Damage that a reader of events found.
    pub(crate) fn damaged(stream: &StreamId, seq: u64, what: impl Into<String>) -> LoadError {
        LoadError::Store(ReadError::Damaged(Damage { stream: Some(stream.clone()), seq: Some(seq), what: what.into() }))
    }
}

/// A page of a log, decoded, with bodies filled. Empty at the end.
pub(crate) async fn read_page(store: &Store, stream: &StreamId, after: &Head) -> Result<(Vec<StoredEvent>, Digested), LoadError> {
    let frames = store.read_after(stream, after, PAGE_BYTES).await?;
    decode(store, stream, frames, after).await
}

/// Frames as events, with bodies filled; `after` is the head before them.
pub(crate) async fn decode(
    store: &Store,
    stream: &StreamId,
    frames: Vec<Frame>,
    after: &Head,
) -> Result<(Vec<StoredEvent>, Digested), LoadError> {
    let mut events = Vec::new();
    let mut digested = Digested { head: *after, canonical: Vec::new() };
    for frame in frames {
        digested.head = frame.head();
        let cause = Arc::new(frame.header.cause.clone());
        let engine = frame.header.engine;
        for (seq, record) in frame.events() {
            let damage = |e: String| LoadError::damaged(stream, seq, e);
            let mut event = Event::decode(&record.bytes).map_err(|e| damage(format!("{e} (engine {engine})")))?;
            fill(store, stream, seq, &mut event).await?;
            if record.lane == Lane::Canonical {
                digested.canonical.push(record.bytes.clone());
            }
            let lane = event.lane();
            events.push(StoredEvent { seq, lane, wall_ms: cause.wall_ms, event: Arc::new(event), cause: cause.clone() });
        }
    }
    Ok((events, digested))
}

/// Where a page ends, and the payloads that count for the digest.
pub(crate) struct Digested {
    pub(crate) head: Head,
    pub(crate) canonical: Vec<Vec<u8>>,
}

async fn fill(store: &Store, stream: &StreamId, seq: u64, event: &mut Event) -> Result<(), LoadError> {
    let mut missing: Vec<Hash32> = Vec::new();
    event.bodies(&mut |b: &Body| missing.extend(b.missing()));
    if missing.is_empty() {
        return Ok(());
    }
    let mut found = std::collections::HashMap::new();
    for name in missing {
        if let Some(bytes) = store.blob(stream.workspace(), name).await? {
            found.insert(name, bytes);
        }
    }
    let mut damage = None;
    event.bodies_mut(&mut |body| {
        let Some(name) = body.missing() else { return };
        match found.get(&name).map(|bytes| body.fill(bytes)) {
            Some(Ok(())) => {}
            Some(Err(e)) => damage = Some(format!("blob {name}: {e}")),
            None => damage = Some(format!("blob {name} is missing")),
        }
    });
    damage.map_or(Ok(()), |what| Err(LoadError::damaged(stream, seq, what)))
}
