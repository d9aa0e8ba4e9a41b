//! Bounded fan-out of committed events. A follower that is too slow is let go, and reads the rest from the store. Pieces of
//! answers that are still coming go to listeners: they are no events, and a listener that is too slow misses some.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use commedia_domain::message::StepId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

use crate::log::StoredEvent;

/// Events a follower may be behind.
pub const FOLLOWER_QUEUE: usize = 16 * 1024;

/// Pieces a listener may be behind.
pub const PIECE_QUEUE: usize = 1024;

/// A piece of a model's answer while it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who speaks.
    pub agent: Arc<str>,
    /// Which of the block.
    pub replica: u32,
    /// In which step.
    pub step: StepId,
    /// The words; empty where the answer begins anew.
    pub text: Arc<str>,
}

/// Pieces of answers, as they come.
pub type Pieces = mpsc::Receiver<Piece>;

/// Those who listen while a model answers.
#[derive(Debug, Default)]
pub struct Listeners(Mutex<Vec<mpsc::Sender<Piece>>>);

impl Listeners {
    /// A new one: it hears what is said from now on.
    pub fn listen(&self) -> Pieces {
        let (sender, receiver) = mpsc::channel(PIECE_QUEUE);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Whether anybody listens.
    pub fn are_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|listener| !listener.is_closed())
    }

    /// Tells a piece; how many listeners missed it because they were behind comes back.
    pub fn tell(&self, piece: &Piece) -> usize {
        let mut missed = 0;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|listener| match listener.try_send(piece.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                missed += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
        missed
    }
}

/// The followers of one run.
#[derive(Default)]
pub struct Subscribers {
    followers: Mutex<Vec<mpsc::Sender<StoredEvent>>>,
    /// Those who hear answers while they come.
    pub listeners: Arc<Listeners>,
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
        self.listeners.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::message::TurnId;

    fn piece(text: &str) -> Piece {
        Piece { agent: "a".into(), replica: 0, step: StepId { turn: TurnId { wave: 1, index: 0 }, n: 0 }, text: text.into() }
    }

    #[test]
    fn a_slow_listener_misses_pieces_and_holds_nobody_up() {
        let subscribers = Subscribers::default();
        assert_eq!((subscribers.listeners.are_there(), subscribers.listeners.tell(&piece("nobody"))), (false, 0));
        let (mut slow, gone) = (subscribers.listeners.listen(), subscribers.listeners.listen());
        assert!(subscribers.listeners.are_there());
        drop(gone);
        let missed: usize = (0..PIECE_QUEUE + 3).map(|n| subscribers.listeners.tell(&piece(&n.to_string()))).sum();
        assert_eq!(missed, 3);
        assert_eq!(slow.try_recv().map(|piece| piece.text), Ok("0".into()));
        subscribers.close();
        assert!(!subscribers.listeners.are_there());
    }
}
