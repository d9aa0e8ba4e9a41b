//! A run that is started once, however often a client asks with the same key.
//!
//! ```text
//! no receipt ──receipt durable: run id, payload──▶ receipt, no run ──started──▶ receipt and run
//! asked again: with the payload, whichever of the two comes next; with another payload, refused
//! ```
//! A crash between the two leaves a receipt without a run: whoever asks again starts it, with the id of the receipt. After a day
//! a key means something new.

use std::sync::Arc;

use commedia_domain::event::ENGINE;
use commedia_domain::id::Hash32;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::Scenario;

use crate::log::LoadError;
use crate::meta::run_stream;
use crate::run_id::{RunId, RunKey};
use crate::runtime::{RunHandle, Runtime, StartError, StartOptions};
use crate::store::frame::{Cause, FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Head, StreamId, StreamKind};

/// How long a key means the same, milliseconds.
const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// How often a receipt is looked at that others write, too.
const ATTEMPTS: usize = 3;
/// Bytes of a stream of receipts that are read; the last one counts.
const PAGE_BYTES: usize = 64 * 1024;

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

/// Why it was not started.
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

struct Receipt {
    run: RunId,
    payload: Hash32,
    wall_ms: i64,
}

impl Runtime {
    /// Starts a run, unless the same was asked before with the same key. Nothing is kept of a request that is refused for what it
    /// says.
    pub async fn start_once(
        &self,
        once: Once,
        scenario: Arc<Scenario>,
        input: RunInput,
        start: StartOptions,
    ) -> Result<Started, OnceError> {
        let created = self.admitted(&scenario, &input)?;
        let receipt = self.receipt(once).await?;
        if receipt.payload != once.payload {
            return Err(OnceError::Another);
        }
        let id = receipt.run;
        // Whoever asks at the same moment waits until the run is durable.
        let scoped = self.scoped(&id);
        let _load = self.loads.alone(&scoped).await;
        let stream = run_stream(&scoped).map_err(|_| LoadError::Unknown(id.to_string()))?;
        if self.shared.store.head(&stream).await.map_err(LoadError::from)? != Head::START {
            return Ok(Started::Known(id));
        }
        if self.shared.registry.get(&scoped).is_some() {
            // Whoever asked first has gone, and the run is not durable yet.
            return Err(StartError::Live(id).into());
        }
        Ok(Started::New(self.start_as(id, scenario, created, start).await?))
    }

    /// The receipt of a key: one that is there, or a new one, durable.
    async fn receipt(&self, once: Once) -> Result<Receipt, LoadError> {
        let (store, now) = (&self.shared.store, self.shared.clock.now_ms());
        let stream = StreamId::new(self.workspace.as_str(), StreamKind::Identity, &format!("once-{}", once.key));
        let stream = stream.map_err(|e| LoadError::Stopped(e.to_string()))?;
        for _ in 0..ATTEMPTS {
            let frames = store.read(&stream, 1, PAGE_BYTES).await?;
            let head = frames.last().map_or(Head::START, |frame| frame.head());
            let read = frames.last().and_then(|frame| {
                let run = RunKey::try_from(frame.records.last()?.bytes.as_slice()).ok()?;
                let cause = &frame.header.cause;
                Some(Receipt { run: RunId::of_key(run), payload: cause.payload_hash, wall_ms: cause.wall_ms })
            });
            if let Some(receipt) = read.filter(|receipt| now.saturating_sub(receipt.wall_ms) < KEPT_MS) {
                return Ok(receipt);
            }
            let receipt = Receipt { run: RunId::new(), payload: once.payload, wall_ms: now };
            let principal = self.principal.clone();
            let cause = Cause { kind: "once".into(), id: once.key, payload_hash: once.payload, principal, wall_ms: now };
            let lease = store.lease(&stream);
            let mut frame = FrameBuilder::new(ENGINE, &head, lease.epoch, cause);
            let full = |_| LoadError::Stopped("a receipt does not fit into a frame".into());
            frame.push(Lane::Operational, &receipt.run.key()).map_err(full)?;
            let Some(frame) = frame.encode() else { continue };
            let stream = stream.clone();
            let append = Append { stream, expected: head, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
            match store.append(append).await {
                Ok(_) => return Ok(receipt),
                // Another request with the same key was quicker.
                Err(AppendError::Conflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(LoadError::Append(AppendError::Unavailable("a receipt is written by many at once".into())))
    }
}
