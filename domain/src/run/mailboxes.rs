//! The mailboxes of record. What a whole block is told at once lies here once, as a *cast*: the message and the replicas
//! that have not come to it yet. A replica's queue is the cast's message, while it is among them, and then its own messages.
//! Nobody outside sees the difference, only the cost.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::AgentIx;
use crate::message::{Message, MessageKind, Seat};
use crate::run::ranges::Ranges;

/// One message to many of a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cast {
    message: Arc<Message>,
    /// Who has not come to it yet; never nobody.
    left: Ranges,
}

/// All mailboxes of a run; only those that hold something take room.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Mailboxes {
    /// Each in order of (at, position, index); none is empty.
    queues: BTreeMap<Seat, VecDeque<Arc<Message>>>,
    /// At most one a block. It stands before all that its replicas hold in `queues`.
    casts: BTreeMap<AgentIx, Cast>,
    /// From when on each of `queues` has something to deliver; follows from them.
    due: BTreeSet<(i64, Seat)>,
}

/// Mailboxes as a snapshot has them.
#[derive(Serialize, Deserialize)]
struct Stored {
    queues: BTreeMap<Seat, VecDeque<Arc<Message>>>,
    casts: BTreeMap<AgentIx, Cast>,
}

impl From<Mailboxes> for Stored {
    fn from(mail: Mailboxes) -> Stored {
        Stored { queues: mail.queues, casts: mail.casts }
    }
}

impl From<Stored> for Mailboxes {
    fn from(stored: Stored) -> Mailboxes {
        let due = stored.queues.iter().filter_map(|(seat, queue)| queue.front().map(|m| (m.at, *seat))).collect();
        Mailboxes { queues: stored.queues, casts: stored.casts, due }
    }
}

/// Some of a block whose first message is one and the same.
#[derive(Clone, Debug)]
pub struct Front {
    /// The block.
    pub agent: AgentIx,
    /// The first of them.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Their first message.
    pub message: Arc<Message>,
}

/// The order in which a mailbox is worked off.
fn rank(message: &Message) -> (i64, u64, u32) {
    (message.at, message.position, message.index)
}

fn seats(agent: AgentIx, first: u32, last: u32) -> RangeInclusive<Seat> {
    Seat { agent, replica: first }..=Seat { agent, replica: last }
}

impl Mailboxes {
    /// Whether no mailbox holds anything.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.casts.is_empty()
    }

    /// How many messages a mailbox holds.
    pub fn len(&self, seat: Seat) -> usize {
        self.queues.get(&seat).map_or(0, VecDeque::len) + usize::from(self.told(seat).is_some())
    }

    /// How many mailboxes hold messages of their own.
    pub fn boxes(&self) -> usize {
        self.queues.len()
    }

    /// How many messages the mailboxes of each block hold together.
    pub fn held(&self) -> BTreeMap<AgentIx, usize> {
        let mut held: BTreeMap<AgentIx, usize> = BTreeMap::new();
        for (seat, queue) in &self.queues {
            *held.entry(seat.agent).or_default() += queue.len();
        }
        for (agent, cast) in &self.casts {
            *held.entry(*agent).or_default() += cast.left.count();
        }
        held
    }

    /// The first message of a mailbox.
    pub fn front(&self, seat: Seat) -> Option<&Arc<Message>> {
        self.told(seat).or_else(|| self.queues.get(&seat).and_then(VecDeque::front))
    }

    /// The messages of a mailbox in order.
    pub fn queue(&self, seat: Seat) -> impl Iterator<Item = &Arc<Message>> {
        self.told(seat).into_iter().chain(self.queues.get(&seat).into_iter().flatten())
    }

    /// Messages that lie in one mailbox alone: all but those a whole block was told.
    pub fn apart(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.queues.values().flatten()
    }

    fn told(&self, seat: Seat) -> Option<&Arc<Message>> {
        let cast = self.casts.get(&seat.agent)?;
        cast.left.reach(seat.replica).map(|_| &cast.message)
    }

    /// Puts a message into a mailbox, behind what is due before it.
    pub fn deliver(&mut self, seat: Seat, message: Arc<Message>) {
        if self.told(seat).is_some_and(|told| rank(told) > rank(&message)) {
            self.settle(seat);
        }
        let queue = match self.queues.entry(seat) {
            Entry::Vacant(place) => {
                self.due.insert((message.at, seat));
                place.insert(VecDeque::with_capacity(1)).push_back(message);
                return;
            }
            Entry::Occupied(place) => place.into_mut(),
        };
        let behind = queue.iter().rposition(|m| rank(m) <= rank(&message)).map_or(0, |n| n + 1);
        if behind == 0
            && let Some(former) = queue.front()
        {
            self.due.remove(&(former.at, seat));
            self.due.insert((message.at, seat));
        }
        queue.insert(behind, message);
    }

    /// Whether a message to a block may lie here once: it comes before all that the block's mailboxes hold, none of them is
    /// full, and no other cast to the block is out.
    pub fn may_cast(&self, agent: AgentIx, message: &Message, capacity: usize) -> bool {
        let fits = |queue: &VecDeque<Arc<Message>>| {
            queue.len() < capacity && queue.front().is_none_or(|first| rank(first) > rank(message))
        };
        capacity > 0
            && !self.casts.contains_key(&agent)
            && (self.queues.is_empty() || self.queues.range(seats(agent, 0, u32::MAX)).all(|(_, queue)| fits(queue)))
    }

    /// Tells some of a block; `may_cast` was asked before.
    pub fn cast(&mut self, agent: AgentIx, message: Arc<Message>, to: Ranges) {
        if !to.is_empty() {
            self.casts.insert(agent, Cast { message, left: to });
        }
    }

    /// The cast that a mailbox begins with, and the end of the replicas from this one on that begin with it too.
    pub fn cast_at(&self, seat: Seat) -> Option<(&Arc<Message>, u32)> {
        let cast = self.casts.get(&seat.agent)?;
        cast.left.reach(seat.replica).map(|end| (&cast.message, end))
    }

    /// Some of a block have come to the cast to it; those of them that hold more are named.
    pub fn take_cast(&mut self, agent: AgentIx, first: u32, end: u32, mut more: impl FnMut(Seat)) {
        if let Entry::Occupied(mut cast) = self.casts.entry(agent) {
            cast.get_mut().left.remove(first, end);
            if cast.get().left.is_empty() {
                cast.remove();
            }
        }
        if !self.queues.is_empty() && first < end {
            self.queues.range(seats(agent, first, end - 1)).for_each(|(seat, _)| more(*seat));
        }
    }

    /// A replica's part of a cast becomes the first message of its own.
    pub fn settle(&mut self, seat: Seat) {
        let Some(message) = self.told(seat).cloned() else { return };
        self.take_cast(seat.agent, seat.replica, seat.replica + 1, |_| ());
        self.push_front(seat, message);
    }

    fn push_front(&mut self, seat: Seat, message: Arc<Message>) {
        let queue = self.queues.entry(seat).or_default();
        if let Some(former) = queue.front() {
            self.due.remove(&(former.at, seat));
        }
        self.due.insert((message.at, seat));
        queue.push_front(message);
    }

    /// Takes the first message out of a mailbox, or its first answer; whether it holds more comes with it.
    pub fn take(&mut self, seat: Seat, answer: bool) -> Option<(Arc<Message>, bool)> {
        self.settle(seat);
        let Entry::Occupied(mut place) = self.queues.entry(seat) else { return None };
        let queue = place.get_mut();
        let at = if answer { queue.iter().position(|m| m.kind == MessageKind::Return).unwrap_or(0) } else { 0 };
        let message = queue.remove(at)?;
        if at == 0 {
            self.due.remove(&(message.at, seat));
            if let Some(next) = queue.front() {
                self.due.insert((next.at, seat));
            }
        }
        let more = !queue.is_empty();
        if !more {
            place.remove();
        }
        Some((message, more))
    }

    /// The first answer in a mailbox becomes its first message.
    pub fn bring_answer(&mut self, seat: Seat) {
        self.settle(seat);
        if let Some(queue) = self.queues.get_mut(&seat)
            && let Some(n) = queue.iter().position(|m| m.kind == MessageKind::Return).filter(|n| *n > 0)
            && let Some(answer) = queue.remove(n)
        {
            self.push_front(seat, answer);
        }
    }

    /// Takes all out of a mailbox.
    pub fn clear(&mut self, seat: Seat) -> VecDeque<Arc<Message>> {
        self.settle(seat);
        let queue = self.queues.remove(&seat).unwrap_or_default();
        if let Some(first) = queue.front() {
            self.due.remove(&(first.at, seat));
        }
        queue
    }

    /// What a moment finds at the front: casts by range, then mailboxes that begin with a message of their own, in no order.
    pub fn fronts(&self, now: i64) -> impl Iterator<Item = Front> {
        let casts = self.casts.iter().flat_map(|(agent, cast)| {
            let front = |(first, end)| Front { agent: *agent, first, count: end - first, message: cast.message.clone() };
            cast.left.iter().map(front)
        });
        let last = Seat { agent: AgentIx(u16::MAX), replica: u32::MAX };
        let due = self.due.range(..=(now, last)).filter(|(_, seat)| self.casts.is_empty() || self.told(*seat).is_none());
        casts.chain(due.filter_map(|(_, seat)| {
            let message = self.queues.get(seat)?.front()?.clone();
            Some(Front { agent: seat.agent, first: seat.replica, count: 1, message })
        }))
    }

    /// The first answer in a mailbox.
    pub fn answer(&self, seat: Seat) -> Option<&Arc<Message>> {
        self.queues.get(&seat)?.iter().find(|m| m.kind == MessageKind::Return)
    }

    /// The next moment after one at which a mailbox has something that it does not have yet, of mailboxes that are heeded.
    pub fn next_after(&self, now: i64, heeded: impl Fn(Seat) -> bool) -> Option<i64> {
        let first = Seat { agent: AgentIx(0), replica: 0 };
        self.due.range((now.saturating_add(1), first)..).find(|(_, seat)| heeded(*seat)).map(|(at, _)| *at)
    }
}
