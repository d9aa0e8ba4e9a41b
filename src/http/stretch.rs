//! A run's events as they are written to whoever follows it. What comes behind a seq is read and written once in each form, for all
//! who are there; a client holds a stretch of bytes, and how far it is in it.
//!
//! ```text
//! cursor ──a stretch begins here──▶ its bytes, piece by piece ──▶ cursor
//!    └──none──▶ wait for events ──▶ one reads and writes them, the others wait for that ──▶ a stretch begins here
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use commedia_actors::follow::Follower;
use commedia_actors::log::{LoadError, StoredEvent};
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::Runtime;
use tokio::sync::OnceCell;

use super::events::{is_last, lines, sse, teller};
use super::ws::{encode, frame};
use crate::events::{Teller, Told};

/// Bytes of a piece, unless one stored event has more: it is never cut.
const PIECE: usize = 16 * 1024;
/// Bytes above which a stretch ends: told, events are larger, and the slowest reader holds what it was given.
const STRETCH: usize = 256 * 1024;
/// Bytes of the newest stretches that are kept for each who follows the run, and for all of them.
const KEPT_EACH: usize = 16 * 1024;
const KEPT_MOST: usize = 1024 * 1024;
/// Stretches above which those that nobody holds are forgotten.
const MANY: usize = 64;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As frames of a WebSocket.
    Frames,
    /// As themselves, in frames of a WebSocket.
    EventFrames,
    /// As server-sent events.
    ServerSent,
    /// As lines of JSON.
    Lines,
}

impl Form {
    fn write(self, told: &[Told], out: &mut Vec<u8>) {
        match self {
            Form::Frames => told.iter().filter_map(frame).for_each(|frame| encode(&frame.to_string(), out)),
            Form::EventFrames => told.iter().for_each(|one| encode(&one.to_json().to_string(), out)),
            Form::ServerSent => sse(told, out),
            Form::Lines => lines(told, out),
        }
    }
}

/// Events of a run behind a seq, written.
struct Stretch {
    bytes: Bytes,
    /// Where each stored event ends.
    ends: Vec<usize>,
    /// The seq of the last one.
    last: u64,
    /// Whether nothing comes behind it any more.
    over: bool,
    /// Who tells what does.
    teller: Arc<Teller>,
}

impl Stretch {
    /// `None` where there are no events.
    fn of(events: &[StoredEvent], teller: &Teller, form: Form) -> Option<Stretch> {
        let (mut teller, mut bytes, mut ends, mut last) = (teller.clone(), Vec::new(), Vec::new(), None);
        for event in events {
            if bytes.len() >= STRETCH {
                break;
            }
            form.write(&teller.tell(event), &mut bytes);
            ends.push(bytes.len());
            last = Some(event);
        }
        let (last, over) = last.map(|last| (last.seq, is_last(&last.event)))?;
        Some(Stretch { bytes: bytes.into(), ends, last, over, teller: Arc::new(teller) })
    }

    /// How many of its events come up to a seq.
    fn up_to(&self, seq: u64) -> usize {
        let before = self.last - self.ends.len() as u64;
        usize::try_from(seq.saturating_sub(before)).unwrap_or(usize::MAX).min(self.ends.len())
    }

    /// A piece from behind the first `told` events on, and how many are told then. `None` behind the last.
    fn piece(&self, told: usize) -> Option<(Bytes, usize)> {
        let from = told.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let first = *self.ends.get(told)?;
        let more = self.ends[told + 1..].iter().take_while(|end| **end - from <= PIECE);
        let (count, to) = more.fold((1, first), |(count, _), end| (count + 1, *end));
        Some((self.bytes.slice(from..to), told + count))
    }
}

/// The stretches of a run in one form.
#[derive(Default)]
struct Shelf {
    known: Mutex<Known>,
    /// Held by whoever reads and writes one.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// By the seq they come behind.
    stretches: BTreeMap<u64, Weak<Stretch>>,
    /// The newest, so that they are there for those who come a moment later.
    kept: VecDeque<Arc<Stretch>>,
}

impl Shelf {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, after: u64) -> Option<Arc<Stretch>> {
        self.known().stretches.get(&after)?.upgrade()
    }

    fn put(&self, after: u64, stretch: &Arc<Stretch>, followers: usize) {
        let mut known = self.known();
        if known.stretches.len() >= MANY {
            known.stretches.retain(|_, stretch| stretch.strong_count() > 0);
        }
        known.stretches.insert(after, Arc::downgrade(stretch));
        known.kept.push_back(stretch.clone());
        let most = if followers < 2 { 0 } else { (followers * KEPT_EACH).min(KEPT_MOST) };
        let mut bytes: usize = known.kept.iter().map(|kept| kept.bytes.len()).sum();
        while bytes > most
            && let Some(oldest) = known.kept.pop_front()
        {
            bytes -= oldest.bytes.len();
        }
    }
}

/// What the followers of a run share.
#[derive(Default)]
struct Shelves {
    /// Who tells it from its beginning on.
    beginning: OnceCell<Arc<Teller>>,
    by_form: [Shelf; 4],
}

/// A run's events behind a cursor, as they become durable, written in one form.
pub(crate) struct Feed {
    follower: Follower,
    /// What comes up to here is known to the client.
    after: u64,
    form: Form,
    shelves: Arc<Shelves>,
    teller: Arc<Teller>,
    /// The stretch at hand, and how many of its events are told.
    at_hand: Option<(Arc<Stretch>, usize)>,
    over: bool,
}

impl Feed {
    pub(crate) async fn new(runtime: &Runtime, id: &RunId, after: u64, form: Form) -> Result<Feed, LoadError> {
        if after == 0 {
            let follower = runtime.follow(id, 0).await?;
            let shelves: Arc<Shelves> = follower.common();
            let beginning = async { Ok::<_, LoadError>(Arc::new(teller(runtime, id, 0).await?.0)) };
            let teller = shelves.beginning.get_or_try_init(|| beginning).await?.clone();
            return Ok(Feed { follower, after, form, shelves, teller, at_hand: None, over: false });
        }
        // What others are told from there on must not depend on a cursor that no event has reached yet.
        let (teller, reached, over) = teller(runtime, id, after).await?;
        let follower = runtime.follow(id, reached.min(after)).await?;
        let shelves = follower.common();
        Ok(Feed { follower, after, form, shelves, teller: Arc::new(teller), at_hand: None, over })
    }

    /// Whether the last event of a run that has ended was told.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// The next piece: whole events. Nothing once it is over. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Bytes, LoadError> {
        loop {
            if let Some((stretch, told)) = &mut self.at_hand
                && let Some((piece, now)) = stretch.piece(*told)
            {
                *told = now;
                self.over = stretch.over && now == stretch.ends.len();
                if self.over || !piece.is_empty() {
                    return Ok(piece);
                }
            }
            self.at_hand = self.at_hand.take().filter(|(stretch, told)| *told < stretch.ends.len());
            if self.over {
                return Ok(Bytes::new());
            }
            let stretch = Box::pin(self.stretch()).await?;
            self.follower.skip_to(stretch.last);
            self.teller = stretch.teller.clone();
            let known = stretch.up_to(self.after);
            self.over = stretch.over && known == stretch.ends.len();
            self.at_hand = Some((stretch, known));
        }
    }

    /// The stretch behind the cursor, as soon as there is one.
    async fn stretch(&mut self) -> Result<Arc<Stretch>, LoadError> {
        let shelves = self.shelves.clone();
        let (shelf, after) = (&shelves.by_form[self.form as usize], self.follower.cursor());
        loop {
            if let Some(known) = shelf.get(after) {
                return Ok(known);
            }
            self.follower.ready().await?;
            let _writing = shelf.writing.lock().await;
            if let Some(known) = shelf.get(after) {
                return Ok(known);
            }
            let events = self.follower.read().await?;
            if let Some(stretch) = Stretch::of(&events, &self.teller, self.form) {
                let stretch = Arc::new(stretch);
                shelf.put(after, &stretch, self.follower.count());
                return Ok(stretch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::scenario::{NoFiles, load};

    fn stretch(lengths: &[usize]) -> Arc<Stretch> {
        let source = b"name: s\nagents:\n  a: {kind: rules, rules: [{otherwise: true, emit: [{finish: '1'}]}]}\n";
        let scenario = load("s.scenario.yaml", source, &NoFiles).expect("a scenario").scenario;
        let mut end = 0;
        let mut add = |length: &usize| {
            end += length;
            end
        };
        let ends: Vec<usize> = lengths.iter().map(&mut add).collect();
        let teller = Arc::new(Teller::new(RunId::new(), Arc::new(scenario)));
        Arc::new(Stretch { bytes: vec![b'x'; end].into(), ends, last: 1, over: false, teller })
    }

    #[test]
    fn a_piece_has_whole_events_and_at_least_one() {
        let check = |lengths: &[usize], expect: &[usize]| {
            let (stretch, mut told, mut pieces) = (stretch(lengths), 0, Vec::new());
            while let Some((piece, now)) = stretch.piece(told) {
                assert!(now > told);
                told = now;
                pieces.push(piece.len());
            }
            assert_eq!((told, pieces.as_slice()), (lengths.len(), expect), "{lengths:?}");
        };
        check(&[], &[]);
        check(&[10, 0, 20], &[30]);
        check(&[0, 0], &[0]);
        check(&[PIECE - 1, 1, 1], &[PIECE, 1]);
        check(&[PIECE + 1, 5], &[PIECE + 1, 5]);
        check(&[5, PIECE + 1, 5], &[5, PIECE + 1, 5]);
    }

    #[test]
    fn what_is_kept_is_bounded_by_how_many_follow() {
        let check = |followers: usize, lengths: &[usize], expect: usize| {
            let shelf = Shelf::default();
            for (after, length) in (0..).zip(lengths) {
                shelf.put(after, &stretch(&[*length]), followers);
            }
            let there = (0..lengths.len() as u64).filter(|after| shelf.get(*after).is_some()).count();
            assert_eq!((there, shelf.known().kept.len()), (expect, expect), "{followers}: {lengths:?}");
        };
        check(1, &[100, 100], 0);
        check(2, &[100, 100], 2);
        check(2, &[KEPT_EACH, KEPT_EACH, KEPT_EACH], 2);
        check(2, &[2 * KEPT_EACH + 1], 0);
        check(1_000_000, &[KEPT_MOST / 2; 4], 2);
        check(1_000_000, &[KEPT_MOST + 1, 7], 1);
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let shelf = Shelf::default();
        let held: Vec<_> = (0..2).map(|after| (after, stretch(&[1]))).collect();
        held.iter().for_each(|(after, stretch)| shelf.put(*after, stretch, 1));
        (10..10 + 3 * MANY as u64).for_each(|after| shelf.put(after, &stretch(&[1]), 1));
        assert!(shelf.known().stretches.len() <= MANY);
        assert!(held.iter().all(|(after, stretch)| shelf.get(*after).is_some_and(|found| Arc::ptr_eq(&found, stretch))));
    }
}
