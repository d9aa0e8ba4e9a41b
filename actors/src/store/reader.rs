//! The read side: frames, heads and lists, straight from the engine.
//!
//! A read never shows what is not acknowledged yet, and never passes over what is missing: frames are checked against
//! their hashes, against each other, and against the high-water mark.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use super::engine::{Engine, Order};
use super::error::{Damage, ReadError};
use super::frame::Frame;
use super::highwater::Marks;
use super::key;
use super::listing::{Layout, Rows};
use super::live::Whole;
use super::stream::{Head, StreamId, StreamKind};

/// An opened engine with what is known about it.
pub(crate) struct Opened {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) marks: Marks,
    /// What was found wrong when it was opened.
    pub(crate) damage: Vec<Damage>,
    /// Whether something acknowledged was found missing, now or at an earlier opening: lists then look for it by name.
    pub(crate) lost: bool,
    /// The file with the high-water mark, which knows the streams' names too.
    pub(crate) high_water: Option<PathBuf>,
    /// Whether the live index can be relied on.
    pub(crate) live: Whole,
    /// How rows are laid out that are written.
    pub(crate) layout: Layout,
    /// Raised before and after a group that moves rows from the index to the live index: odd while one does.
    pub(crate) moves: AtomicU64,
    /// Whether any stream was ever deleted.
    pub(crate) deleted: AtomicBool,
}

/// What a stream was before the group that is being written now.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    pub(crate) head: Head,
    /// What lists showed, sealed, where the group writes that.
    pub(crate) meta: Option<Vec<u8>>,
    pub(crate) writes_meta: bool,
}

/// The streams of the group that is being written: a reader looks here *after* it has read from the engine, so what it
/// saw of an unfinished group is taken back.
pub(crate) type Unacked = RwLock<HashMap<StreamId, Before>>;

/// How it stands with the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is open.
    Open,
    /// It takes no writes any more, and is opened again; what it can still read it serves.
    Broken,
    /// It is closed for good.
    Closed,
}

/// Everything the read side needs.
pub(crate) struct Reader {
    opened: Mutex<Arc<Opened>>,
    /// With the number of the engine: each opening is another one.
    stage: watch::Sender<(u64, Stage)>,
    pub(crate) unacked: Unacked,
    /// Heads and rows of streams written lately.
    pub(crate) recent: Recent,
}

/// Streams that [`Recent`] holds at most.
const RECENT_LIMIT: usize = 16 * 1024;

/// What was acknowledged of streams lately, so that to ask for one is no work for a disk: head, and what lists show of it. Kept by
/// the writer; forgotten whole where it grows too large, or where nobody knows what the engine holds.
#[derive(Default)]
pub(crate) struct Recent(RwLock<HashMap<StreamId, Row>>);

/// A stream's head, and what lists show of it.
type Row = (Head, Arc<[u8]>);
/// What a group writes of a stream: its head, and what lists show where that is written.
pub(crate) type Fresh = (StreamId, Head, Option<Arc<[u8]>>);

impl Recent {
    pub(crate) fn get(&self, stream: &StreamId) -> Option<Row> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    /// A group was acknowledged. A stream whose row it does not write stays only where its row is known.
    pub(crate) fn acknowledge(&self, group: impl Iterator<Item = Fresh>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() > RECENT_LIMIT {
            known.clear();
        }
        for (stream, head, meta) in group {
            match (known.get_mut(&stream), meta) {
                (Some(entry), Some(meta)) => *entry = (head, meta),
                (Some(entry), None) => entry.0 = head,
                (None, Some(meta)) => drop(known.insert(stream, (head, meta))),
                (None, None) => {}
            }
        }
    }

    /// A stream was deleted.
    pub(crate) fn forget(&self, stream: &StreamId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(stream);
    }

    /// Nobody knows what the engine holds.
    pub(crate) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A stream in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub stream: StreamId,
    /// Its head, or why it has none that can be trusted.
    pub head: Result<Head, Damage>,
    /// What was last written beside an append.
    pub meta: Vec<u8>,
}

/// A stream with its index row.
pub(crate) type Indexed = (StreamId, Option<Vec<u8>>);

/// A stream's head, what lists show of it, its row in the live index.
pub(crate) type Standing = (Head, Vec<u8>, Option<Vec<u8>>);

/// How often a stream that is written to is looked at for a moment of rest.
const STANDING_ATTEMPTS: u32 = 2000;

/// A stored frame before it is decoded: the seq in its key, its bytes.
type Raw = (u64, Vec<u8>);

/// How a read of stored frames ends.
enum End {
    /// With the stream.
    Reached,
    /// Before it, or in a group that is being written.
    Open,
    /// At a place that cannot be read; what comes before it is served.
    Trouble(ReadError),
}

impl Reader {
    pub(crate) fn new(opened: Opened) -> Reader {
        let stage = watch::Sender::new((0, Stage::Open));
        Reader { opened: Mutex::new(Arc::new(opened)), stage, unacked: Unacked::default(), recent: Recent::default() }
    }

    /// Which engine it is, and how it stands with it.
    pub(crate) fn stage(&self) -> (u64, Stage) {
        *self.stage.borrow()
    }

    /// It stands otherwise from now on.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.send_modify(|now| now.1 = stage);
    }

    /// Waits for another engine than that of a number, or for the end.
    pub(crate) async fn another(&self, number: u64) {
        let mut stage = self.stage.subscribe();
        let found = stage.wait_for(|(now, stage)| *now != number || *stage == Stage::Closed).await;
        // The sender is this reader's own.
        drop(found);
    }

    /// The engine as it is now.
    pub(crate) fn opened(&self) -> Arc<Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with an engine that was opened again.
    pub(crate) fn replace(&self, opened: Opened) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
        self.unacked.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.recent.clear();
        self.stage.send_modify(|(number, stage)| (*number, *stage) = (*number + 1, Stage::Open));
    }

    fn before(&self, stream: &StreamId) -> Option<Before> {
        self.unacked.read().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    /// A stream's acknowledged head; `Head::START` for one that does not exist.
    pub(crate) fn head(&self, stream: &StreamId) -> Result<Head, ReadError> {
        let head = self.opened().head(stream);
        self.before(stream).map_or(head, |before| Ok(before.head))
    }

    /// The acknowledged frames from the one that holds `from_seq`; at least one, if there is one, and then as many as
    /// `max_bytes` holds.
    pub(crate) fn read(&self, stream: &StreamId, from_seq: u64, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        let (opened, from_seq) = (self.opened(), from_seq.max(1));
        if opened.is_gone(stream)? {
            return Ok(Vec::new());
        }
        let (mut raw, mut end) = opened.raw(stream, from_seq, max_bytes)?;
        if let Some(before) = self.before(stream) {
            // What a failed group left behind may not even be whole frames.
            raw.retain(|(first_seq, _)| *first_seq <= before.head.seq);
            end = if let End::Trouble(e) = end { End::Trouble(e) } else { End::Open };
        }
        opened.join(stream, from_seq, &raw, end)
    }

    /// What was last written beside an append of a stream; `None` where nothing was, or what is there cannot be trusted.
    pub(crate) fn meta(&self, stream: &StreamId) -> Result<Option<Vec<u8>>, ReadError> {
        let row = match self.before(stream).filter(|b| b.writes_meta) {
            Some(before) => before.meta,
            None => {
                let opened = self.opened();
                let row = Rows::meta(&*opened.engine, stream, &mut Vec::new());
                row.map_err(ReadError::of_stream(stream, None))?
            }
        };
        Ok(row.as_deref().and_then(open_meta).map(<[u8]>::to_vec))
    }

    /// What is stored beside a stream's log, in a group that is being written too.
    pub(crate) fn rows(&self, stream: &StreamId) -> Result<Rows, ReadError> {
        Rows::read(&*self.opened().engine, stream, &mut Vec::new()).map_err(ReadError::of_stream(stream, None))
    }

    /// A stream's head with what lists show of it and its row in the live index, all of one moment where it is not written to
    /// all the time; else the rows may be a little older than the head.
    pub(crate) fn standing(&self, stream: &StreamId) -> Result<Standing, ReadError> {
        for attempt in 1.. {
            let meta = self.meta(stream)?;
            let quiet = self.before(stream).is_none();
            let live = self.rows(stream)?.live;
            let head = self.head(stream)?;
            let same = quiet && self.before(stream).is_none() && self.meta(stream)? == meta && self.head(stream)? == head;
            if same || attempt >= STANDING_ATTEMPTS {
                return Ok((head, meta.unwrap_or_default(), live));
            }
            std::thread::yield_now();
        }
        unreachable!("the attempts end")
    }

    /// The streams of a kind in a workspace, or all with `None`, in order of their names, after a given one.
    pub(crate) fn list(
        &self,
        of: Option<(&str, StreamKind)>,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Listed>, ReadError> {
        let opened = self.opened();
        let rows = opened.index(of, after, limit, &|stream| self.before(stream))?;
        self.listed(&opened, rows)
    }

    /// The workspaces that hold anything, in order.
    pub(crate) fn workspaces(&self) -> Result<Vec<String>, ReadError> {
        self.opened().workspaces()
    }

    /// The streams of a kind in a workspace from the last one back, or those before a given one, that are wanted.
    pub(crate) fn newest(
        &self,
        of: (&str, StreamKind),
        before: Option<&StreamId>,
        limit: usize,
        keep: &dyn Fn(&StreamId, Option<&[u8]>) -> bool,
    ) -> Result<Vec<Listed>, ReadError> {
        let opened = self.opened();
        let rows = opened.newest(of, before, limit, keep, &|stream| self.before(stream))?;
        self.listed(&opened, rows)
    }

    /// Index rows with their heads, as far as they are acknowledged.
    fn listed(&self, opened: &Opened, rows: Vec<Indexed>) -> Result<Vec<Listed>, ReadError> {
        let mut listed = Vec::new();
        for (stream, meta) in rows {
            let before = self.before(&stream);
            let head = match &before {
                Some(before) if before.head == Head::START => continue,
                Some(before) => Ok(before.head),
                None => match opened.head(&stream) {
                    Ok(head) => Ok(head),
                    Err(ReadError::Damaged(damage)) => Err(damage),
                    Err(e) => return Err(e),
                },
            };
            let stored = before.filter(|b| b.writes_meta).map_or(meta, |b| b.meta);
            let meta = stored.as_deref().and_then(open_meta).map(<[u8]>::to_vec);
            let missing = || Damage::of_stream(&stream, None, "what lists show of it is damaged");
            let head = if meta.is_none() { head.and(Err(missing())) } else { head };
            listed.push(Listed { meta: meta.unwrap_or_default(), stream, head });
        }
        Ok(listed)
    }
}

/// An index row: the check of the meta bytes, then these.
pub(crate) fn seal_meta(meta: &[u8]) -> Vec<u8> {
    let hash = blake3::hash(meta);
    [&hash.as_bytes()[..8], meta].concat()
}

/// The meta bytes of an index row, if they are those that were written.
pub(crate) fn open_meta(row: &[u8]) -> Option<&[u8]> {
    let (check, meta) = row.split_first_chunk::<8>()?;
    (blake3::hash(meta).as_bytes()[..8] == check[..]).then_some(meta)
}

impl Opened {
    /// Whether a stream was deleted; what is left of it is nobody's.
    pub(crate) fn is_gone(&self, stream: &StreamId) -> Result<bool, ReadError> {
        if !self.deleted.load(Atomic::Acquire) {
            return Ok(false);
        }
        let mut key = Vec::new();
        key::tombstone(stream, &mut key);
        Ok(self.engine.get(&key).map_err(ReadError::of_stream(stream, None))?.is_some())
    }

    /// A stream's head as stored, checked against its mark. One that was deleted does not exist.
    pub(crate) fn head(&self, stream: &StreamId) -> Result<Head, ReadError> {
        if self.is_gone(stream)? {
            return Ok(Head::START);
        }
        let range = key::frames(stream);
        let last = self.engine.first(&range.from, &range.to, Order::Descending).map_err(ReadError::of_stream(stream, None))?;
        let last = last.and_then(|(key, _)| key::seq_and_part(&key));
        let head = match last {
            None => Head::START,
            Some((seq, _)) => {
                let (raw, end) = self.raw(stream, seq, usize::MAX)?;
                match (raw.first(), end) {
                    (_, End::Trouble(e)) => return Err(e),
                    (Some(raw), _) => decode(stream, raw)?.head(),
                    (None, _) => return Err(ReadError::Damaged(Damage::of_stream(stream, seq, "the last frame has vanished"))),
                }
            }
        };
        self.check_end(stream, &head)?;
        Ok(head)
    }

    /// Checks a stream's last head against how far it was acknowledged.
    pub(crate) fn check_end(&self, stream: &StreamId, head: &Head) -> Result<(), ReadError> {
        let Some(mark) = self.marks.of(stream) else { return Ok(()) };
        let damaged = |seq, what: String| Err(ReadError::Damaged(Damage::of_stream(stream, seq, what)));
        if head.seq < mark.seq {
            return damaged(head.seq + 1, format!("acknowledged events {} to {} are missing at the end", head.seq + 1, mark.seq));
        }
        if head.seq == mark.seq && !mark.is(head) {
            return damaged(head.seq, "the last frame is not the acknowledged one".into());
        }
        Ok(())
    }

    /// Decodes stored frames and checks that they follow each other, up to the acknowledged end if they reach the end.
    fn join(&self, stream: &StreamId, from_seq: u64, raw: &[Raw], end: End) -> Result<Vec<Frame>, ReadError> {
        let mut frames: Vec<Frame> = Vec::with_capacity(raw.len());
        for (n, stored) in (1..).zip(raw) {
            let frame = match decode(stream, stored) {
                Ok(frame) => frame,
                // The last one before a place that cannot be read may be there in part only.
                Err(_) if n == raw.len() && matches!(end, End::Trouble(_)) => break,
                Err(e) => return Err(e),
            };
            let place = match frames.last() {
                Some(before) => frame.follows(&before.head()),
                None if frame.header.first_seq == 1 => frame.follows(&Head::START),
                None if frame.header.first_seq <= from_seq => Ok(()),
                None => frame.follows(&Head { seq: from_seq - 1, hash: frame.header.prev_hash }),
            };
            place.map_err(|e| ReadError::Damaged(Damage::of_stream(stream, frame.header.first_seq, e.to_string())))?;
            frames.push(frame);
        }
        let last = frames.last().map_or(Head::START, Frame::head);
        // A frame that ends before `from_seq` is there only because it might have held it.
        frames.retain(|frame| frame.head().seq >= from_seq);
        match end {
            End::Reached => self.check_end(stream, &last)?,
            End::Trouble(e) if frames.is_empty() => return Err(e),
            End::Open | End::Trouble(_) => {}
        }
        Ok(frames)
    }

    /// The stored frames from the one that may hold `from_seq`, and how they end.
    fn raw(&self, stream: &StreamId, from_seq: u64, max_bytes: usize) -> Result<(Vec<Raw>, End), ReadError> {
        let mut range = key::frames(stream);
        let mut holder = Vec::new();
        key::frame(stream, from_seq, u16::MAX, &mut holder);
        let found = self.engine.first(&range.from, &holder, Order::Descending).map_err(ReadError::of_stream(stream, from_seq))?;
        let first_seq = found.and_then(|(key, _)| key::seq_and_part(&key)).map_or(from_seq, |(seq, _)| seq);
        key::frame(stream, first_seq, 0, &mut range.from);

        let mut raw: Vec<Raw> = Vec::new();
        let (mut bytes, mut end) = (0, End::Reached);
        let scanned = self.engine.scan(&range.from, &range.to, Order::Ascending, &mut |key, value| {
            let seq = key::seq_and_part(key).map_or(0, |(seq, _)| seq);
            match raw.last_mut() {
                Some((last, frame)) if *last == seq => frame.extend_from_slice(value),
                // Of one that ends before it the next one tells whether that is the end, or something is missing.
                Some(found) if bytes >= max_bytes && ends_behind(found, from_seq) => {
                    end = End::Open;
                    return ControlFlow::Break(());
                }
                _ => raw.push((seq, value.to_vec())),
            }
            bytes += value.len();
            ControlFlow::Continue(())
        });
        if let Err(e) = scanned {
            end = End::Trouble(ReadError::of_stream(stream, raw.last().map_or(first_seq, |(seq, _)| *seq))(e));
        }
        Ok((raw, end))
    }
}

/// Whether a frame reaches up to an event; one that cannot be read is told of where it is decoded.
fn ends_behind((first_seq, bytes): &Raw, seq: u64) -> bool {
    *first_seq >= seq || Frame::decode(bytes).map_or(true, |frame| frame.head().seq >= seq)
}

fn decode(stream: &StreamId, (seq, bytes): &Raw) -> Result<Frame, ReadError> {
    let damaged = |what: String| ReadError::Damaged(Damage::of_stream(stream, *seq, what));
    let frame = Frame::decode(bytes).map_err(|e| damaged(e.to_string()))?;
    if frame.header.first_seq != *seq {
        return Err(damaged(format!("the frame of event {} stands here", frame.header.first_seq)));
    }
    Ok(frame)
}
