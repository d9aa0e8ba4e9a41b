//! Deleting streams: a tombstone takes a stream out of everything at once, then its rows go, in batches of a bounded size.
//!
//! A deleted stream is unknown, and its id is never written again. Its blobs may be named by others; they go when the store
//! is compacted. What a crash leaves is taken away after the next opening. Since format 2.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::engine::{Batch, Engine, EngineError, Order};
use super::error::{AppendError, ReadError};
use super::key;
use super::reader::Listed;
use super::stream::{Head, Lease, StreamId};
use super::work::Work;
use super::{DELETING_FORMAT, Store};

/// So many rows of a stream are removed at once.
const ROWS_AT_ONCE: usize = 4096;

/// So many streams are deleted side by side.
const STREAMS_AT_ONCE: usize = 256;

/// A stream that is to be deleted.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The stream.
    pub stream: StreamId,
    /// The head it must still have.
    pub expected: Head,
    /// The lease of the stream's shard.
    pub lease: Lease,
    /// The wall time, milliseconds since 1970 UTC: its tombstone may go long after.
    pub wall_ms: i64,
}

/// Puts the tombstone and takes the stream out of the lists.
pub(crate) fn bury(stream: &StreamId, wall_ms: i64, row: &mut Vec<u8>, batch: &mut Batch) {
    key::index(stream, row);
    batch.delete(row);
    key::live(stream, row);
    batch.delete(row);
    key::tombstone(stream, row);
    batch.put(row, &wall_ms.to_be_bytes());
}

/// Removes rows of a deleted stream; whether there are more, which is noted in a row of its own.
pub(crate) fn sweep(engine: &dyn Engine, stream: &StreamId, row: &mut Vec<u8>, batch: &mut Batch) -> Result<bool, EngineError> {
    let mut left = ROWS_AT_ONCE;
    for range in [key::frames(stream), key::snapshots(stream)] {
        engine.scan(&range.from, &range.to, Order::Ascending, &mut |key, _| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            batch.delete(key);
            ControlFlow::Continue(())
        })?;
    }
    key::leftover(stream, row);
    let more = left == 0;
    if more {
        batch.put(row, &[]);
    } else {
        batch.delete(row);
    }
    Ok(more)
}

/// Removes tombstones; whether there are more.
pub(crate) fn forget(engine: &dyn Engine, batch: &mut Batch) -> Result<bool, EngineError> {
    let (range, mut left) = (key::tombstones(), ROWS_AT_ONCE);
    engine.scan(&range.from, &range.to, Order::Ascending, &mut |key, _| {
        batch.delete(key);
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(left == 0)
}

impl Store {
    /// Removes all tombstones, for a format that knows none.
    pub(crate) async fn forget_deleted(&self) -> Result<(), AppendError> {
        self.sweep_leftovers().await?;
        loop {
            let (reply, answer) = oneshot::channel();
            if !self.write(Work::Forget(reply), 1024, answer).await? {
                return Ok(());
            }
        }
    }

    /// Deletes streams. One that has another head by now is left alone and named; the others are gone, durably. Waits while
    /// the store is read as a whole, for a backup or a check.
    pub async fn delete(&self, streams: Vec<Delete>) -> Result<Vec<(StreamId, AppendError)>, AppendError> {
        if self.format() < DELETING_FORMAT {
            return Err(AppendError::Invalid("deleting needs format 2 of the store: `commedia store migrate` makes it"));
        }
        let _alone = self.0.upkeep.write().await;
        let mut streams = streams.into_iter();
        let (mut working, mut refused) = (tokio::task::JoinSet::new(), Vec::new());
        loop {
            while working.len() < STREAMS_AT_ONCE
                && let Some(delete) = streams.next()
            {
                let store = self.clone();
                working.spawn(async move { (delete.stream.clone(), store.delete_one(delete).await) });
            }
            match working.join_next().await {
                None => return Ok(refused),
                Some(Ok((_, Ok(())))) => {}
                Some(Ok((stream, Err(e)))) => refused.push((stream, e)),
                Some(Err(_)) => return Err(AppendError::Unknown),
            }
        }
    }

    /// Deletes streams as a list has them; how many. One that is damaged, or is written meanwhile, is left.
    pub(crate) async fn delete_listed(&self, listed: impl Iterator<Item = Listed>, wall_ms: i64) -> Result<usize, AppendError> {
        let streams = listed.filter_map(|Listed { stream, head, .. }| {
            Some(Delete { expected: head.ok()?, lease: self.lease(&stream), stream, wall_ms })
        });
        let streams: Vec<Delete> = streams.collect();
        let asked = streams.len();
        Ok(if asked == 0 { 0 } else { asked - self.delete(streams).await?.len() })
    }

    async fn delete_one(&self, delete: Delete) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        let stream = delete.stream.clone();
        let more = self.write(Work::Delete(Box::new(delete), reply), 1024, answer).await?;
        if more { self.sweep(&stream).await } else { Ok(()) }
    }

    async fn sweep(&self, stream: &StreamId) -> Result<(), AppendError> {
        loop {
            let (reply, answer) = oneshot::channel();
            if !self.write(Work::Sweep(stream.clone(), reply), 1024, answer).await? {
                return Ok(());
            }
        }
    }

    /// Removes what a crash left of streams that were deleted; how many there were.
    pub async fn sweep_leftovers(&self) -> Result<usize, AppendError> {
        let found: Arc<Mutex<Vec<StreamId>>> = Arc::default();
        let into = found.clone();
        let list = self.read_with(move |shared| {
            let range = key::leftovers();
            let mut streams = Vec::new();
            let visit = &mut |key: &[u8], _: &[u8]| {
                streams.extend(key::left(key));
                ControlFlow::Continue(())
            };
            shared.reader.opened().engine.scan(&range.from, &range.to, Order::Ascending, visit).map_err(ReadError::of_store)?;
            *into.lock().unwrap_or_else(PoisonError::into_inner) = streams;
            Ok(())
        });
        list.await?;
        let streams = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in &streams {
            self.sweep(stream).await?;
        }
        Ok(streams.len())
    }
}
