//! What is done once, however often a client asks with the same key: a run is started, an answer is given, a run is commanded.
//! ```text
//! a run:      no receipt ──receipt durable: run id, payload──▶ receipt, no run ──started──▶ receipt and run
//! an answer:  no receipt ──done──▶ done, no receipt ──receipt durable: answer, payload──▶ receipt
//! a command:  no receipt ──durable: the run's head──▶ announced ──done: its frame has the key──▶ done ──receipt──▶ receipt
//! asked again: with the payload, whichever of these comes next; with another payload, refused
//! ```
//! Receipts are streams named by day and key; those of the days before yesterday are deleted, and their names never come again.

use std::borrow::Cow;
use std::sync::Arc;

use commedia_domain::event::ENGINE;
use commedia_domain::id::Hash32;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::log::LoadError;
use crate::meta::run_stream;
use crate::recovery::stream_of;
use crate::run_id::{RunId, RunKey};
use crate::runtime::{DeleteError, RunHandle, Runtime, StartError, StartOptions};
use crate::store::frame::{Cause, FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, Head, StreamId, StreamKind};
use crate::turns::Turn;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a key means the same, milliseconds; then it means something new.
const KEPT_MS: i64 = DAY_MS;
/// Bytes of a stream of receipts that are read; the last one counts.
const PAGE_BYTES: usize = 512 * 1024;
/// Receipts that are deleted at once.
const PAGE: usize = 1000;
/// How their streams' names begin.
const MARK: &str = "once-";
/// Kinds of receipts: of what was done, and of a command that is about to be given.
const DONE: &str = "once";
const ANNOUNCED: &str = "announced";

/// A client's key, in the place where it holds, and what it was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// The hash of workspace, principal, route and key.
    pub key: Hash32,
    /// The hash of what was asked.
    pub payload: Hash32,
}

/// What became of it.
pub enum Started {
    /// The run begins now.
    New(RunHandle),
    /// It was started before.
    Known(RunId),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    /// The key was used for something else.
    #[error("this key was used for another request within a day")]
    Another,
    /// As without a key.
    #[error("{0}")]
    Start(#[from] StartError),
}

impl From<LoadError> for OnceError {
    fn from(e: LoadError) -> OnceError {
        OnceError::Start(e.into())
    }
}

/// What is kept under a key.
struct Receipt {
    kind: Cow<'static, str>,
    bytes: Vec<u8>,
    payload: Hash32,
    wall_ms: i64,
}

/// An answer as it is kept. The order of the fields is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// What it said; `None` where that was for one pair of eyes.
    pub body: Option<Vec<u8>>,
}

/// The right to answer what is asked with a key; whoever asks with it meanwhile waits. After a crash between what was done and
/// its receipt, whoever asks again does it again; a command to a run is found by its key: see [`Answering::commanded`].
pub struct Answering<'r> {
    runtime: &'r Runtime,
    once: Once,
    /// What was answered before.
    pub answered: Option<Kept>,
    /// The run's last event when a command was announced that has no answer.
    announced: Option<u64>,
    _turn: Turn<'r, Hash32>,
}

impl Answering<'_> {
    /// The answer is durable from then on, for whoever asks again.
    pub async fn keep(&self, answer: &Kept) -> Result<(), LoadError> {
        let bytes = postcard::to_stdvec(answer).map_err(|e| LoadError::Stopped(e.to_string()))?;
        self.runtime.keep_receipt(&self.once, DONE, &bytes).await
    }

    /// The seq that a command to a run has led to, where it was given with this key and its answer is not known. Else it is
    /// announced, durably: it may be given now, by [`Runtime::with_key`].
    pub async fn commanded(&self, id: &RunId) -> Result<Option<u64>, OnceError> {
        let stream = stream_of(&self.runtime.scoped(id))?;
        let Some(announced) = self.announced else {
            let head = self.runtime.shared.store.head(&stream).await.map_err(LoadError::from)?;
            if head != Head::START {
                self.runtime.keep_receipt(&self.once, ANNOUNCED, &head.seq.to_be_bytes()).await?;
            }
            return Ok(None);
        };
        let (mut after, mut found) = (announced, None);
        loop {
            let frames = self.runtime.shared.store.read(&stream, after + 1, PAGE_BYTES).await.map_err(LoadError::from)?;
            let Some(last) = frames.last() else { return Ok(found) };
            after = last.head().seq;
            for frame in &frames {
                let cause = &frame.header.cause;
                match (cause.id == self.once.key, found) {
                    (true, _) if cause.payload_hash != self.once.payload => return Err(OnceError::Another),
                    (true, _) => found = Some(frame.head().seq),
                    (false, Some(seq)) => return Ok(Some(seq)),
                    (false, None) => {}
                }
            }
        }
    }
}

fn day_of(wall_ms: i64) -> i64 {
    wall_ms.div_euclid(DAY_MS)
}

impl Runtime {
    /// Starts a run, unless the same was asked before with the same key. Nothing is kept of a request that is refused for what it
    /// says. After a crash between receipt and run, whoever asks again starts the run under the receipt's id.
    pub async fn start_once(
        &self,
        once: Once,
        scenario: Arc<Scenario>,
        input: RunInput,
        start: StartOptions,
    ) -> Result<Started, OnceError> {
        let created = self.admitted(&scenario, &input)?;
        // Whoever asks at the same moment waits until the run is durable.
        let _turn = self.shared.keys.alone(&once.key).await;
        let id = match self.run_of(&once).await? {
            Some((id, true)) => return Ok(Started::Known(id)),
            Some((id, false)) => id,
            None => {
                let id = RunId::new();
                self.keep_receipt(&once, DONE, &id.key()).await?;
                id
            }
        };
        let scoped = self.scoped(&id);
        if self.shared.registry.get(&scoped).is_some() {
            // Whoever asked first has gone, and the run is not durable yet.
            return Err(StartError::Live(id).into());
        }
        Ok(Started::New(self.start_as(id, scenario, created, start).await?))
    }

    /// The run that was started with a key, if it is there.
    pub async fn started_once(&self, once: &Once) -> Result<Option<RunId>, OnceError> {
        let _turn = self.shared.keys.alone(&once.key).await;
        Ok(self.run_of(once).await?.filter(|(_, is_there)| *is_there).map(|(id, _)| id))
    }

    /// The run of a key's receipt, and whether it is durable; one that was deleted is unknown.
    async fn run_of(&self, once: &Once) -> Result<Option<(RunId, bool)>, OnceError> {
        let Some(receipt) = self.receipt(once).await? else { return Ok(None) };
        let key = RunKey::try_from(receipt.bytes.as_slice()).map_err(|_| LoadError::Stopped("a receipt names no run".into()))?;
        let id = RunId::of_key(key);
        let (store, unknown) = (&self.shared.store, || LoadError::Unknown(id.to_string()));
        let stream = run_stream(&self.scoped(&id)).map_err(|_| unknown())?;
        if store.is_deleted(&stream).await.map_err(LoadError::from)? {
            return Err(unknown().into());
        }
        let is_there = store.head(&stream).await.map_err(LoadError::from)? != Head::START;
        Ok(Some((id, is_there)))
    }

    /// The turn to answer what is asked with a key, and what was answered before.
    pub async fn answer_once(&self, once: Once) -> Result<Answering<'_>, OnceError> {
        let turn = self.shared.keys.alone(&once.key).await;
        let unreadable = |why: String| LoadError::Stopped(format!("a receipt cannot be read: {why}"));
        let (mut answered, mut announced) = (None, None);
        if let Some(Receipt { kind, bytes, .. }) = self.receipt(&once).await? {
            if kind == ANNOUNCED {
                let seq = bytes.try_into().map_err(|_| unreadable("no seq".into()))?;
                announced = Some(u64::from_be_bytes(seq));
            } else {
                answered = Some(postcard::from_bytes(&bytes).map_err(|e| unreadable(e.to_string()))?);
            }
        }
        Ok(Answering { runtime: self, once, answered, announced, _turn: turn })
    }

    fn receipts(&self, day: i64, key: &Hash32) -> Result<StreamId, LoadError> {
        let stream = StreamId::new(self.workspace.as_str(), StreamKind::Identity, &format!("{MARK}{day:06}-{key}"));
        stream.map_err(|e| LoadError::Stopped(e.to_string()))
    }

    /// What is kept under a key, if that was asked with the same payload. Of what was announced the payload stands where it is done.
    async fn receipt(&self, once: &Once) -> Result<Option<Receipt>, OnceError> {
        let now = self.shared.clock.now_ms();
        for day in [day_of(now), day_of(now) - 1] {
            let frames = self.shared.store.read(&self.receipts(day, &once.key)?, 1, PAGE_BYTES).await.map_err(LoadError::from)?;
            let receipt = frames.last().and_then(|frame| {
                let cause = &frame.header.cause;
                let bytes = frame.records.last()?.bytes.to_vec();
                Some(Receipt { kind: cause.kind.clone(), bytes, payload: cause.payload_hash, wall_ms: cause.wall_ms })
            });
            match receipt.filter(|receipt| now.saturating_sub(receipt.wall_ms) < KEPT_MS) {
                Some(receipt) if receipt.kind != ANNOUNCED && receipt.payload != once.payload => return Err(OnceError::Another),
                Some(receipt) => return Ok(Some(receipt)),
                None => {}
            }
        }
        Ok(None)
    }

    async fn keep_receipt(&self, once: &Once, kind: &'static str, bytes: &[u8]) -> Result<(), LoadError> {
        let (store, now) = (&self.shared.store, self.shared.clock.now_ms());
        let stream = self.receipts(day_of(now), &once.key)?;
        let (head, lease, principal) = (store.head(&stream).await?, store.lease(&stream), self.principal.clone());
        let cause = Cause { kind: kind.into(), id: once.key, payload_hash: once.payload, principal, wall_ms: now };
        let mut frame = FrameBuilder::new(ENGINE, &head, lease.epoch, cause);
        let full = || LoadError::Stopped("a receipt does not fit into a frame".into());
        frame.push(Lane::Operational, bytes).map_err(|_| full())?;
        let frame = frame.encode().ok_or_else(full)?;
        let append = Append { stream, expected: head, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
        store.append(append).await?;
        Ok(())
    }

    /// Deletes the receipts of all workspaces whose keys mean something new by now; how many.
    pub async fn forget_receipts(&self) -> Result<usize, DeleteError> {
        let now = self.shared.clock.now_ms();
        let oldest = format!("{MARK}{:06}-", day_of(now) - 1);
        let mut deleted = 0;
        for workspace in self.workspaces().await? {
            let mut after = None;
            loop {
                let page = self.shared.store.streams(workspace.as_str(), StreamKind::Identity, after.as_ref(), PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.stream.clone());
                let over = |id: &str| id.starts_with(MARK) && id < oldest.as_str();
                let over = page.into_iter().filter(|listed| over(listed.stream.id()));
                deleted += self.shared.store.delete_listed(over, now).await?;
            }
        }
        Ok(deleted)
    }
}
