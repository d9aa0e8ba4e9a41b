//! The layout of the keys: which row holds what. Frozen with the store's format.
//!
//! Each space has its first byte. Frames: `f ‖ stream key ‖ first seq ‖ part`. Numbers are big-endian, so that the
//! order of keys is the order of events.

use commedia_domain::id::Hash32;

use super::engine::Order;
use super::stream::{StreamId, StreamKind};

/// The one row that every group rewrites: epoch and number of groups.
pub(crate) const CONTROL: &[u8] = b"C";

const FRAME: u8 = b'f';
const BLOB: u8 = b'b';
const SNAPSHOT: u8 = b's';
const INDEX: u8 = b'i';
const LIVE: u8 = b'l';

const TOMBSTONE: u8 = b't';
const LEFTOVER: u8 = b'd';

/// The epoch in which the live index was last complete.
pub(crate) const LIVE_EPOCH: &[u8] = b"L";

fn stream_row(space: u8, stream: &StreamId, seq: u64, part: u16, key: &mut Vec<u8>) {
    key.clear();
    key.push(space);
    key.extend_from_slice(stream.key());
    key.extend_from_slice(&seq.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
}

/// A part of a frame.
pub(crate) fn frame(stream: &StreamId, first_seq: u64, part: u16, key: &mut Vec<u8>) {
    stream_row(FRAME, stream, first_seq, part, key);
}

/// A part of a snapshot.
pub(crate) fn snapshot(stream: &StreamId, seq: u64, part: u16, key: &mut Vec<u8>) {
    stream_row(SNAPSHOT, stream, seq, part, key);
}

/// The parts of the keys' space, in the order in which compaction reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Frames,
    Blobs,
    Snapshots,
    Tombstones,
    Rest,
}

impl Space {
    /// All keys, frames before the blobs that they name.
    pub(crate) fn all() -> [(Space, Range); 7] {
        let from = |space, from: u8, to: u8| (space, Range { from: vec![from], to: vec![to] });
        [
            from(Space::Frames, FRAME, FRAME + 1),
            from(Space::Blobs, BLOB, BLOB + 1),
            from(Space::Snapshots, SNAPSHOT, SNAPSHOT + 1),
            from(Space::Tombstones, TOMBSTONE, TOMBSTONE + 1),
            from(Space::Rest, 0, BLOB),
            from(Space::Rest, BLOB + 1, FRAME),
            from(Space::Rest, FRAME + 1, SNAPSHOT),
        ]
    }

    /// The space of a key.
    pub(crate) fn of(key: &[u8]) -> Space {
        match key.first() {
            Some(&FRAME) => Space::Frames,
            Some(&BLOB) => Space::Blobs,
            Some(&SNAPSHOT) => Space::Snapshots,
            Some(&TOMBSTONE) => Space::Tombstones,
            _ => Space::Rest,
        }
    }
}

/// A range of keys: `from <= key < to`.
#[derive(Clone)]
pub(crate) struct Range {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

impl Range {
    /// What an order meets first, up to a key and with it, and what it meets then; all of it without a key.
    pub(crate) fn split(self, edge: Option<Vec<u8>>, order: Order) -> (Range, Option<Range>) {
        let Some(edge) = edge else { return (self, None) };
        match order {
            Order::Ascending => {
                let behind = [&edge[..], &[0]].concat();
                (Range { from: self.from, to: behind.clone() }, Some(Range { from: behind, to: self.to }))
            }
            Order::Descending => (Range { from: edge.clone(), to: self.to }, Some(Range { from: self.from, to: edge })),
        }
    }
}

fn stream_rows(space: u8, stream: &StreamId) -> Range {
    let mut from = Vec::with_capacity(stream.key().len() + 1);
    from.push(space);
    from.extend_from_slice(stream.key());
    let mut to = from.clone();
    // A stream's key ends with a zero byte: the next possible key of another stream ends with one.
    if let Some(last) = to.last_mut() {
        *last = 1;
    }
    Range { from, to }
}

/// All frames of a stream.
pub(crate) fn frames(stream: &StreamId) -> Range {
    stream_rows(FRAME, stream)
}

/// All snapshots of a stream.
pub(crate) fn snapshots(stream: &StreamId) -> Range {
    stream_rows(SNAPSHOT, stream)
}

/// Seq and part of a row of a stream.
pub(crate) fn seq_and_part(key: &[u8]) -> Option<(u64, u16)> {
    let (rest, part) = key.split_last_chunk::<2>()?;
    let (_, seq) = rest.split_last_chunk::<8>()?;
    Some((u64::from_be_bytes(*seq), u16::from_be_bytes(*part)))
}

/// A stream's index row: `i ‖ workspace ‖ 0 ‖ kind ‖ id ‖ 0`, without the shard, so that lists are in order of ids.
pub(crate) fn index(stream: &StreamId, key: &mut Vec<u8>) {
    key.clear();
    key.push(INDEX);
    key.extend_from_slice(stream.listed());
}

/// The index rows of a kind in a workspace, or of all with `None`.
pub(crate) fn indexes(of: Option<(&str, StreamKind)>) -> Range {
    let Some((workspace, kind)) = of else { return Range { from: vec![INDEX], to: vec![INDEX + 1] } };
    let mut from = vec![INDEX];
    from.extend_from_slice(workspace.as_bytes());
    from.push(0);
    let mut to = from.clone();
    from.push(kind.code());
    to.push(kind.code() + 1);
    Range { from, to }
}

/// A stream's row in the live index: `l ‖ workspace ‖ 0 ‖ kind ‖ id ‖ 0`.
pub(crate) fn live(stream: &StreamId, key: &mut Vec<u8>) {
    index(stream, key);
    key[0] = LIVE;
}

/// All live rows.
pub(crate) fn lives() -> Range {
    Range { from: vec![LIVE], to: vec![LIVE + 1] }
}

/// The live rows of the streams whose index rows a range holds.
pub(crate) fn in_live(range: &Range) -> Range {
    let moved = |key: &[u8]| key.split_first().map_or(Vec::new(), |(space, rest)| [&[space - INDEX + LIVE], rest].concat());
    Range { from: moved(&range.from), to: moved(&range.to) }
}

/// The key of the index row of a live row's stream.
pub(crate) fn beside_live(key: &[u8]) -> Vec<u8> {
    [&[INDEX], key.get(1..).unwrap_or_default()].concat()
}

/// The stream of a live row.
pub(crate) fn of_live(key: &[u8]) -> Option<StreamId> {
    named(LIVE, key)
}

/// Workspace, kind and id in the key of a live row.
pub(crate) fn listed_live(key: &[u8]) -> Option<(&str, StreamKind, &str)> {
    parts(LIVE, key)
}

/// The index rows behind all those of a workspace.
pub(crate) fn indexes_behind(workspace: &str) -> Range {
    let mut from = vec![INDEX];
    from.extend_from_slice(workspace.as_bytes());
    from.push(1);
    Range { from, to: vec![INDEX + 1] }
}

/// A deleted stream's tombstone: `t ‖ workspace ‖ 0 ‖ kind ‖ id ‖ 0`. Since format 2.
pub(crate) fn tombstone(stream: &StreamId, key: &mut Vec<u8>) {
    index(stream, key);
    key[0] = TOMBSTONE;
}

/// All tombstones.
pub(crate) fn tombstones() -> Range {
    Range { from: vec![TOMBSTONE], to: vec![TOMBSTONE + 1] }
}

/// The row of a deleted stream that has rows left: `d ‖ workspace ‖ 0 ‖ kind ‖ id ‖ 0`. Since format 2.
pub(crate) fn leftover(stream: &StreamId, key: &mut Vec<u8>) {
    index(stream, key);
    key[0] = LEFTOVER;
}

/// All deleted streams that have rows left.
pub(crate) fn leftovers() -> Range {
    Range { from: vec![LEFTOVER], to: vec![LEFTOVER + 1] }
}

/// The stream of an index row.
pub(crate) fn indexed(key: &[u8]) -> Option<StreamId> {
    named(INDEX, key)
}

/// The stream that has rows left.
pub(crate) fn left(key: &[u8]) -> Option<StreamId> {
    named(LEFTOVER, key)
}

fn named(space: u8, key: &[u8]) -> Option<StreamId> {
    let (workspace, kind, id) = parts(space, key)?;
    StreamId::new(workspace, kind, id).ok()
}

fn parts(space: u8, key: &[u8]) -> Option<(&str, StreamKind, &str)> {
    let rest = key.strip_prefix(&[space])?.strip_suffix(&[0])?;
    let zero = rest.iter().position(|b| *b == 0)?;
    let kind = StreamKind::ALL.into_iter().find(|k| Some(&k.code()) == rest.get(zero + 1))?;
    Some((std::str::from_utf8(&rest[..zero]).ok()?, kind, std::str::from_utf8(rest.get(zero + 2..)?).ok()?))
}

/// A part of a blob: `b ‖ workspace ‖ 0 ‖ name ‖ part`.
pub(crate) fn blob(workspace: &str, name: &Hash32, part: u16, key: &mut Vec<u8>) {
    key.clear();
    key.push(BLOB);
    key.extend_from_slice(workspace.as_bytes());
    key.push(0);
    key.extend_from_slice(&name.0);
    key.extend_from_slice(&part.to_be_bytes());
}

/// Workspace and name in a blob's key.
pub(crate) fn blob_name(key: &[u8]) -> Option<(&[u8], &[u8; 32])> {
    let (workspace, name) = key.split_last_chunk::<2>()?.0.split_last_chunk()?;
    Some((workspace.strip_prefix(&[BLOB])?.strip_suffix(&[0])?, name))
}

/// The stream of a frame's key without its part.
pub(crate) fn stream_of_frame(key: &[u8]) -> Option<StreamId> {
    indexed(&index_of(key.get(1..key.len().checked_sub(8)?)?))
}

/// The key of the index row of a stream's key.
pub(crate) fn index_of(stream: &[u8]) -> Vec<u8> {
    [&[INDEX], stream.get(2..).unwrap_or_default()].concat()
}

/// The number of the part that a key ends with.
pub(crate) fn part(key: &[u8]) -> Option<u16> {
    key.last_chunk::<2>().map(|part| u16::from_be_bytes(*part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stream_reaches_into_another() {
        let names = [("a", "b"), ("a", "b0"), ("a", "b1"), ("ab", "b"), ("a", "a"), ("a", "é")];
        let streams: Vec<_> = names.iter().map(|(w, i)| StreamId::new(w, StreamKind::Run, i).unwrap()).collect();
        let mut key = Vec::new();
        for one in &streams {
            for other in &streams {
                for seq in [0, 1, u64::MAX] {
                    frame(other, seq, u16::MAX, &mut key);
                    let range = frames(one);
                    assert_eq!(range.from <= key && key < range.to, one == other, "{one} {other} {seq}");
                    assert_eq!(seq_and_part(&key), Some((seq, u16::MAX)));
                }
                index(other, &mut key);
                assert_eq!(indexed(&key).as_ref(), Some(other));
                let range = indexes(Some((one.workspace(), one.kind())));
                assert_eq!(range.from <= key && key < range.to, one.workspace() == other.workspace());
            }
        }
    }
}
