//! Bounded fan-out of committed events. A follower that is too slow is let go, and reads the rest from the store.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::log::StoredEvent;

/// Events a follower may be behind.
pub const FOLLOWER_QUEUE: usize = 16 * 1024;

/// The followers of one run.
#[derive(Default)]
pub struct Subscribers {
    followers: Mutex<Vec<mpsc::Sender<StoredEvent>>>,
}

impl Subscribers {
    /// A new follower: it sees what is published from now on.
    pub fn follow(&self) -> Follow {
        let (sender, receiver) = mpsc::channel(FOLLOWER_QUEUE);
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Follow { events: ReceiverStream::new(receiver) }
    }

    /// Whether anybody follows.
    pub fn is_followed(&self) -> bool {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|follower| !follower.is_closed())
    }

    /// Publishes durable events; how many followers were let go because they were behind comes back.
    pub fn publish(&self, events: &[StoredEvent]) -> usize {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = followers.len();
        followers.retain(|follower| events.iter().all(|event| follower.try_send(event.clone()).is_ok()));
        before - followers.len()
    }

    /// Ends all streams: the run has ended, or rests.
    pub fn close(&self) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The committed events of a run, in order, as they come.
pub struct Follow {
    events: ReceiverStream<StoredEvent>,
}

impl Stream for Follow {
    type Item = StoredEvent;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StoredEvent>> {
        Pin::new(&mut self.events).poll_next(cx)
    }
}

impl Follow {
    /// The next event; `None` once the run has ended or rests, or the follower was let go.
    pub async fn next(&mut self) -> Option<StoredEvent> {
        tokio_stream::StreamExt::next(&mut self.events).await
    }
}
