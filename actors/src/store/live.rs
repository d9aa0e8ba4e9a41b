//! The live index: the streams that are not over, each with a few bytes of its owner's, and beside them what lists show
//! (`listing.rs`), so that a start reads these rows and nothing else. A projection: written in the batch of the append that changes
//! it, rebuilt where it is missing.
//!
//! A row of its own holds the epoch in which the index was last complete. A release that knows no index raises the epoch
//! without that row, and so what it left out is noticed at the next opening.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use super::engine::{Batch, Engine, EngineError, Order};
use super::error::{Damage, ReadError};
use super::key;
use super::listing;
use super::stream::StreamKind;

/// A row of the live index is at most this long.
pub const LIVE_LIMIT: usize = 64;

/// What becomes of a stream's row in the live index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LiveRow {
    /// It stays as it is.
    #[default]
    Keep,
    /// It holds these bytes, at most [`LIVE_LIMIT`].
    Put(Vec<u8>),
    /// The stream is over: there is none.
    Remove,
}

impl LiveRow {
    pub(crate) fn len(&self) -> usize {
        if let LiveRow::Put(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Whether the index names every stream that is not over.
#[derive(Debug, Default)]
pub(crate) struct Whole(AtomicBool);

impl Whole {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Atomic::Acquire)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Atomic::Release);
    }

    /// As an engine has it that was last claimed in an epoch; `None`: never, so that nothing is stored.
    pub(crate) fn of(engine: &dyn Engine, epoch: Option<u64>) -> Result<Whole, EngineError> {
        let whole = match epoch {
            None => true,
            Some(epoch) => engine.get(key::LIVE_EPOCH)?.as_deref() == Some(&epoch.to_be_bytes()[..]),
        };
        Ok(Whole(whole.into()))
    }
}

/// Adds to a batch that the index is complete in an epoch.
pub(crate) fn complete(epoch: u64, batch: &mut Batch) {
    batch.put(key::LIVE_EPOCH, &epoch.to_be_bytes());
}

/// Visits the rows of a kind in order of workspaces and ids: workspace, id and bytes.
pub(crate) fn visit(engine: &dyn Engine, kind: StreamKind, visit: &mut dyn FnMut(&str, &str, &[u8])) -> Result<(), ReadError> {
    let range = key::lives();
    let read = engine.scan(&range.from, &range.to, Order::Ascending, &mut |key, bytes| {
        if let Some((workspace, of, id)) = key::listed_live(key)
            && of == kind
        {
            visit(workspace, id, listing::parts(bytes).0);
        }
        ControlFlow::Continue(())
    });
    read.map_err(|e| match e {
        EngineError::Damaged(what) => ReadError::Damaged(Damage::of_store(format!("the live index cannot be read: {what}"))),
        e => ReadError::Unavailable(e.to_string()),
    })
}
