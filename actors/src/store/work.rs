//! What the store's writer can be asked for, and how it answers.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::blob::{Blob, Snapshot};
use super::delete::Delete;
use super::error::AppendError;
use super::frame::EncodedFrame;
use super::listing::Layout;
use super::live::LiveRow;
use super::stream::{Head, Lease, StreamId};

/// An append as the caller hands it over.
#[derive(Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The head the frame was decided on.
    pub expected: Head,
    /// The lease of the stream's shard.
    pub lease: Lease,
    /// The events.
    pub frame: EncodedFrame,
    /// Bodies that the events name; durable together with the frame.
    pub blobs: Vec<Blob>,
    /// What lists show of the stream (status and the like), replaced where given; at most [`super::META_LIMIT`] bytes.
    pub meta: Option<Vec<u8>>,
    /// The stream's row in the live index.
    pub live: LiveRow,
}

/// What lists show of a stream, to be written without an append.
#[derive(Debug)]
pub struct Mark {
    /// The stream.
    pub stream: StreamId,
    /// The head it must still have.
    pub expected: Head,
    /// The lease of the stream's shard.
    pub lease: Lease,
    /// What lists show; at most [`super::META_LIMIT`] bytes.
    pub meta: Vec<u8>,
    /// The stream's row in the live index.
    pub live: LiveRow,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, AppendError>>;

/// What the writer can be asked for.
pub(crate) enum Work {
    Append(Append, Reply<Head>),
    Mark(Box<Mark>, Reply<Head>),
    Live(Lives, Reply<()>),
    Blobs(Arc<str>, Vec<Blob>, Reply<()>),
    Snapshot(StreamId, Snapshot, Reply<()>),
    Delete(Box<Delete>, Reply<bool>),
    Sweep(StreamId, Reply<bool>),
    Forget(Reply<bool>),
}

/// Rows of the live index to be written without an append.
pub(crate) struct Lives {
    pub(crate) rows: Vec<(StreamId, LiveRow)>,
    /// Whether they make the index complete.
    pub(crate) complete: bool,
    /// How they are laid out; `None`: as the store's are.
    pub(crate) layout: Option<Layout>,
}

/// A piece of work with its place in the bounded queue.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) bytes: usize,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Job {
    /// Answers without having done anything.
    pub(crate) fn refuse(self, e: AppendError) {
        match self.work {
            Work::Append(_, reply) | Work::Mark(_, reply) => Answer::Head(reply, Err(e)).send(),
            Work::Delete(_, reply) | Work::Sweep(_, reply) | Work::Forget(reply) => Answer::More(reply, Err(e)).send(),
            Work::Blobs(_, _, reply) | Work::Snapshot(_, _, reply) | Work::Live(_, reply) => {
                Answer::Done(reply, Err(e)).send();
            }
        }
    }
}

/// An answer that waits for its group.
pub(crate) enum Answer {
    Head(Reply<Head>, Result<Head, AppendError>),
    Done(Reply<()>, Result<(), AppendError>),
    More(Reply<bool>, Result<bool, AppendError>),
}

impl Answer {
    pub(crate) fn send(self) {
        // A caller that no longer waits finds out by reading the head.
        match self {
            Answer::Head(reply, answer) => drop(reply.send(answer)),
            Answer::Done(reply, answer) => drop(reply.send(answer)),
            Answer::More(reply, answer) => drop(reply.send(answer)),
        }
    }

    pub(crate) fn conflicts(&self) -> bool {
        matches!(self, Answer::Head(_, Err(AppendError::Conflict { .. })) | Answer::More(_, Err(AppendError::Conflict { .. })))
    }

    /// Puts an error in the place of what depended on the group.
    pub(crate) fn fail(&mut self, e: &AppendError) {
        match self {
            Answer::Head(_, answer @ (Ok(_) | Err(AppendError::Conflict { .. }))) => *answer = Err(e.clone()),
            Answer::Done(_, answer @ Ok(())) => *answer = Err(e.clone()),
            Answer::More(_, answer @ (Ok(_) | Err(AppendError::Conflict { .. }))) => *answer = Err(e.clone()),
            Answer::Head(..) | Answer::Done(..) | Answer::More(..) => {}
        }
    }
}
