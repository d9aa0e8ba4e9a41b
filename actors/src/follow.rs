//! Whoever follows a run from a cursor on, for as long as they like and whichever orchestrator works on it.
//!
//! The store is what is read; what was published lately lies in a ring that all followers of a run share, and tells them that
//! there is more. A follower is a cursor: nothing waits for one that does not ask, and it misses nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::live::Shared;
use crate::log::{LoadError, StoredEvent};
use crate::recovery::{page, stream_of};
use crate::scope::ScopedRun;

/// Events that a run's ring holds: a follower further behind reads them from the store.
const RECENT: usize = 512;

/// What the followers of one run share.
pub(crate) struct Topic {
    recent: Mutex<VecDeque<StoredEvent>>,
    /// The seq of the last event that was published.
    last: watch::Sender<u64>,
    /// What followers share besides.
    common: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { recent: Mutex::default(), last: watch::Sender::new(0), common: OnceLock::new() }
    }
}

impl Topic {
    /// Durable events, in order.
    pub(crate) fn publish(&self, events: &[StoredEvent]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.back().is_some_and(|known| known.seq + 1 != first.seq) {
            recent.clear();
        }
        recent.extend(events[events.len().saturating_sub(RECENT)..].iter().cloned());
        let over = recent.len().saturating_sub(RECENT);
        recent.drain(..over);
        drop(recent);
        self.last.send_replace(last.seq);
    }

    /// There are events up to a seq, whose bytes are in the store.
    pub(crate) fn tell(&self, seq: u64) {
        self.last.send_if_modified(|last| {
            let more = seq > *last;
            *last = seq.max(*last);
            more
        });
    }

    /// The events behind a seq, if all of them are in the ring.
    fn after(&self, seq: u64) -> Option<Vec<StoredEvent>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let first = recent.front()?.seq;
        if first > seq + 1 {
            return None;
        }
        let from = usize::try_from(seq + 1 - first).unwrap_or(usize::MAX).min(recent.len());
        (from < recent.len()).then(|| recent.range(from..).cloned().collect())
    }
}

/// The events of a run behind a cursor, as they are durable.
pub struct Follower {
    shared: Arc<Shared>,
    id: ScopedRun,
    topic: Arc<Topic>,
    published: watch::Receiver<u64>,
    cursor: u64,
    /// Whether the store was read since the topic is there: before that, nobody may have told of what it holds.
    caught_up: bool,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.registry.leave(&self.id);
    }
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, id: ScopedRun, after: u64) -> Follower {
        let topic = shared.registry.enter(&id);
        let published = topic.last.subscribe();
        Follower { shared, id, topic, published, cursor: after, caught_up: false }
    }

    /// The seq behind which it is.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The events up to a seq are known.
    pub fn skip_to(&mut self, seq: u64) {
        self.cursor = self.cursor.max(seq);
    }

    /// How many follow the run.
    pub fn count(&self) -> usize {
        self.topic.last.receiver_count()
    }

    /// What all who follow the run share besides, made for the first who asks: of one type in a process.
    pub fn common<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let common = self.topic.common.get_or_init(|| Arc::new(T::default())).clone();
        common.downcast().unwrap_or_default()
    }

    /// Waits until there may be events behind the cursor. Dropping the future loses nothing.
    pub async fn ready(&mut self) -> Result<(), LoadError> {
        while self.caught_up && *self.published.borrow_and_update() <= self.cursor {
            let changed = self.published.changed().await;
            changed.map_err(|_| LoadError::Stopped("the runtime is gone".into()))?;
        }
        Ok(())
    }

    /// The events behind the cursor, as many as are there within a bound, and maybe none: then [`Follower::ready`] waits. The cursor stays
    /// until [`Follower::skip_to`]; dropping the future loses nothing. An error where the run was deleted meanwhile.
    pub async fn read(&mut self) -> Result<Vec<StoredEvent>, LoadError> {
        let published = *self.published.borrow_and_update();
        let events = match self.topic.after(self.cursor) {
            Some(events) => events,
            None if self.caught_up && published <= self.cursor => Vec::new(),
            None => {
                // Boxed, so that whoever waits is small.
                let events = Box::pin(page(&self.shared.store, &stream_of(&self.id)?, self.cursor + 1)).await?;
                self.caught_up = events.is_empty();
                if events.is_empty() && published > self.cursor {
                    return Err(LoadError::Unknown(self.id.id().to_string()));
                }
                events
            }
        };
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::event::{Event, Lane};
    use commedia_domain::id::Hash32;
    use std::ops::RangeInclusive;

    fn events(seqs: RangeInclusive<u64>) -> Vec<StoredEvent> {
        let cause = Arc::new(crate::log::cause("test", &"me".into(), Hash32::default().0.as_slice(), 0));
        let event = Arc::new(Event::RunQuarantined { reason: "x".into() });
        let one = |seq| StoredEvent { seq, lane: Lane::Operational, wall_ms: 0, event: event.clone(), cause: cause.clone() };
        seqs.map(one).collect()
    }

    #[test]
    fn the_ring_gives_what_it_has_whole_or_nothing() {
        let topic = Topic::default();
        let check = |after: u64, expect: Option<(u64, u64)>| {
            let found = topic.after(after).map(|events| (events[0].seq, events[events.len() - 1].seq));
            assert_eq!(found, expect, "after {after}");
        };
        check(0, None);
        topic.publish(&events(5..=7));
        check(3, None);
        check(4, Some((5, 7)));
        check(6, Some((7, 7)));
        check(7, None);
        topic.publish(&events(8..=8));
        check(4, Some((5, 8)));
        topic.publish(&events(20..=21));
        check(8, None);
        check(19, Some((20, 21)));
        topic.publish(&events(22..=22 + RECENT as u64));
        check(20, None);
        check(22, Some((23, 22 + RECENT as u64)));
        assert_eq!(*topic.last.borrow(), 22 + RECENT as u64);
    }
}
