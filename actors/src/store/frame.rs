//! The codec of a frame, the only atomic unit of a stream. Pure: no I/O, no clock.
//!
//! `format ‖ header (postcard) ‖ records ‖ check`: a record is its lane's byte, its length (LEB128) and its bytes; the
//! check is the first 8 bytes of the BLAKE3 hash of all before it. That whole hash is the frame's, and the next frame
//! names it, so a flipped bit, a lost frame and a swapped one are all found. What a record means is the caller's.

use std::borrow::Cow;
use std::sync::Arc;

use commedia_domain::id::Hash32;
use serde::{Deserialize, Serialize};

use super::stream::Head;

/// An encoded frame is at most this long, in bytes.
pub const FRAME_LIMIT: usize = 256 * 1024;

/// The format this program writes; it reads this one and no newer.
pub const FRAME_FORMAT: u8 = 1;

const CHECK_LEN: usize = 8;

/// An upper bound of a header without its texts and blob names, with the check.
const HEADER_ROOM: usize = 192;

/// Whose course an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Determined by scenario, parameters, seed and outcomes; in the digest.
    Canonical,
    /// How it came about: attempts, waits, restarts; not in the digest.
    Operational,
}

impl Lane {
    fn code(self) -> u8 {
        match self {
            Lane::Canonical => 0,
            Lane::Operational => 1,
        }
    }

    fn from_code(code: u8) -> Option<Lane> {
        match code {
            0 => Some(Lane::Canonical),
            1 => Some(Lane::Operational),
            _ => None,
        }
    }
}

/// One encoded event; its bytes carry their own version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it counts for the digest.
    pub lane: Lane,
    /// The event as its owner encoded it.
    pub bytes: Vec<u8>,
}

/// The command that led to a frame: the receipt stands in the same write as the effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The command's kind, a short word.
    pub kind: Cow<'static, str>,
    /// The command's id: the hash of scope and idempotency key.
    pub id: Hash32,
    /// The hash of the command's payload.
    pub payload_hash: Hash32,
    /// Who gave it.
    pub principal: Arc<str>,
    /// When it was taken, in milliseconds since 1970, UTC.
    pub wall_ms: i64,
}

/// What stands before the records. The order of the fields is the order of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The frame's format.
    pub format: u8,
    /// The version of the machine that decided the events.
    pub engine: u16,
    /// The seq of the first record.
    pub first_seq: u64,
    /// How many records follow; at least one.
    pub count: u32,
    /// The epoch of the writer.
    pub epoch: u64,
    /// The hash of the frame before; zero in a stream's first.
    pub prev_hash: Hash32,
    /// The command behind it.
    pub cause: Cause,
    /// The blobs that the records name, so that a check finds one that is missing.
    pub blobs: Vec<Hash32>,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What stands before the records.
    pub header: Header,
    /// The events, `first_seq` first.
    pub records: Vec<Record>,
    /// The frame's hash.
    pub hash: Hash32,
}

/// What is wrong with the bytes of a frame, or with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameDamage {
    /// Fewer bytes than the shortest frame.
    #[error("the frame is cut off: {0} bytes")]
    Short(usize),
    /// The bytes are not those that were written.
    #[error("the checksum does not match its bytes")]
    Checksum,
    /// Written by a later release.
    #[error("frame format {0} is newer than this program's ({FRAME_FORMAT})")]
    Newer(u8),
    /// Intact, but no frame.
    #[error("not a frame: {0}")]
    Malformed(&'static str),
    /// Another frame's place.
    #[error("events {expected} to {before} are missing", before = .found.saturating_sub(1))]
    Gap {
        /// The seq that should come next.
        expected: u64,
        /// The seq that comes.
        found: u64,
    },
    /// A seq that was there before.
    #[error("event {found} stands where event {expected} belongs")]
    Order {
        /// The seq that should come next.
        expected: u64,
        /// The seq that comes.
        found: u64,
    },
    /// Its predecessor is not the one it was written after.
    #[error("the hash chain breaks: the frame names another predecessor")]
    Chain,
}

impl Frame {
    /// Reads a frame; its checksum, its shape and its length are checked, its place in a chain is not.
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameDamage> {
        let (body, hash) = verify(bytes)?;
        if body[0] != FRAME_FORMAT {
            return Err(if body[0] > FRAME_FORMAT { FrameDamage::Newer(body[0]) } else { FrameDamage::Malformed("format 0") });
        }
        let (header, mut rest) = read_header(body)?;
        let mut records = Vec::with_capacity(usize::try_from(header.count).unwrap_or(0).min(rest.len() / 2 + 1));
        for _ in 0..header.count {
            let (record, after) = read_record(rest)?;
            records.push(record);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(FrameDamage::Malformed("bytes after the last record"));
        }
        Ok(Frame { header, records, hash })
    }

    /// The bytes it was read from, for another store; an error if they would be others.
    pub fn encode(&self) -> Result<EncodedFrame, FrameDamage> {
        let mut records = Vec::new();
        for record in &self.records {
            records.push(record.lane.code());
            write_number(record.bytes.len() as u64, &mut records);
            records.extend_from_slice(&record.bytes);
        }
        let frame = FrameBuilder { header: self.header.clone(), records };
        let encoded = frame.encode().ok_or(FrameDamage::Malformed("no events"))?;
        if encoded.hash == self.hash { Ok(encoded) } else { Err(FrameDamage::Checksum) }
    }

    /// The head of the stream once this frame is its last.
    pub fn head(&self) -> Head {
        Head { seq: last_seq(&self.header), hash: self.hash }
    }

    /// Checks that the frame is the next one after a head.
    pub fn follows(&self, head: &Head) -> Result<(), FrameDamage> {
        let (expected, found) = (head.seq + 1, self.header.first_seq);
        match found.cmp(&expected) {
            std::cmp::Ordering::Greater => Err(FrameDamage::Gap { expected, found }),
            std::cmp::Ordering::Less => Err(FrameDamage::Order { expected, found }),
            std::cmp::Ordering::Equal if self.header.prev_hash != head.hash => Err(FrameDamage::Chain),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    /// The records with their seqs.
    pub fn events(&self) -> impl Iterator<Item = (u64, &Record)> {
        (self.header.first_seq..).zip(&self.records)
    }
}

fn last_seq(header: &Header) -> u64 {
    header.first_seq.saturating_add(u64::from(header.count)).saturating_sub(1)
}

/// Splits off the check and compares it; the hash is the frame's.
fn verify(bytes: &[u8]) -> Result<(&[u8], Hash32), FrameDamage> {
    let Some((body, check)) = bytes.split_last_chunk::<CHECK_LEN>() else { return Err(FrameDamage::Short(bytes.len())) };
    if body.is_empty() {
        return Err(FrameDamage::Short(bytes.len()));
    }
    let hash = Hash32::of(body);
    if hash.0[..CHECK_LEN] != check[..] { Err(FrameDamage::Checksum) } else { Ok((body, hash)) }
}

fn read_header(body: &[u8]) -> Result<(Header, &[u8]), FrameDamage> {
    let (header, rest) =
        postcard::take_from_bytes::<Header>(body).map_err(|_| FrameDamage::Malformed("the header cannot be read"))?;
    if header.count == 0 || header.first_seq == 0 || header.first_seq.checked_add(u64::from(header.count)).is_none() {
        return Err(FrameDamage::Malformed("seq and count make no sense"));
    }
    Ok((header, rest))
}

fn read_record(bytes: &[u8]) -> Result<(Record, &[u8]), FrameDamage> {
    let cut = || FrameDamage::Malformed("a record is cut off");
    let (lane, rest) = bytes.split_first().ok_or_else(cut)?;
    let lane = Lane::from_code(*lane).ok_or(FrameDamage::Malformed("an unknown lane"))?;
    let (len, rest) = postcard::take_from_bytes::<u32>(rest).map_err(|_| cut())?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).map_err(|_| cut())?).ok_or_else(cut)?;
    Ok((Record { lane, bytes: payload.to_vec() }, rest))
}

/// A frame as it is stored, with what the store must know of it.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    first_seq: u64,
    last_seq: u64,
    prev_hash: Hash32,
    hash: Hash32,
    bytes: Vec<u8>,
}

impl EncodedFrame {
    /// Takes bytes as another stream holds them, as a fork does; they are decoded once to be sure.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<EncodedFrame, FrameDamage> {
        let frame = Frame::decode(&bytes)?;
        Ok(EncodedFrame {
            first_seq: frame.header.first_seq,
            last_seq: last_seq(&frame.header),
            prev_hash: frame.header.prev_hash,
            hash: frame.hash,
            bytes,
        })
    }

    /// The seq of its first event.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// The head of the stream once it is appended.
    pub fn head(&self) -> Head {
        Head { seq: self.last_seq, hash: self.hash }
    }

    /// The head it must be appended to.
    pub fn after(&self) -> Head {
        Head { seq: self.first_seq - 1, hash: self.prev_hash }
    }

    /// The stored bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for EncodedFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "frame {}..={} {} ({} bytes)", self.first_seq, self.last_seq, self.hash, self.bytes.len())
    }
}

/// The event does not fit into this frame any more: encode it, append it, begin the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame is full: an encoded frame holds at most {FRAME_LIMIT} bytes")]
pub struct FrameFull;

/// Collects the events of one append.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    header: Header,
    records: Vec<u8>,
}

impl FrameBuilder {
    /// An empty frame after a head.
    pub fn new(engine: u16, after: &Head, epoch: u64, cause: Cause) -> FrameBuilder {
        let header = Header {
            format: FRAME_FORMAT,
            engine,
            first_seq: after.seq + 1,
            count: 0,
            epoch,
            prev_hash: after.hash,
            cause,
            blobs: Vec::new(),
        };
        FrameBuilder { header, records: Vec::new() }
    }

    /// Adds an event; it gets the next seq, which is returned. A frame that has no room for it is left as it was.
    pub fn push(&mut self, lane: Lane, payload: &[u8]) -> Result<u64, FrameFull> {
        if self.size() + payload.len() + 6 > FRAME_LIMIT {
            return Err(FrameFull);
        }
        self.records.push(lane.code());
        write_number(payload.len() as u64, &mut self.records);
        self.records.extend_from_slice(payload);
        self.header.count += 1;
        Ok(last_seq(&self.header))
    }

    /// Says that an event names this blob; the same name counts once.
    pub fn name_blob(&mut self, name: Hash32) -> Result<(), FrameFull> {
        if self.header.blobs.contains(&name) {
            return Ok(());
        }
        if self.size() + 32 > FRAME_LIMIT {
            return Err(FrameFull);
        }
        self.header.blobs.push(name);
        Ok(())
    }

    /// How many bytes it has at most when encoded.
    pub fn size(&self) -> usize {
        let header =
            HEADER_ROOM + self.header.cause.kind.len() + self.header.cause.principal.len() + 32 * self.header.blobs.len();
        header + self.records.len()
    }

    /// How many events it holds.
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// The stored bytes and their hash; `None` while it holds no event.
    pub fn encode(self) -> Option<EncodedFrame> {
        if self.header.count == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.size());
        write_header(&self.header, &mut bytes);
        bytes.extend_from_slice(&self.records);
        let hash = Hash32::of(&bytes);
        bytes.extend_from_slice(&hash.0[..CHECK_LEN]);
        let (first_seq, last_seq) = (self.header.first_seq, last_seq(&self.header));
        Some(EncodedFrame { first_seq, last_seq, prev_hash: self.header.prev_hash, hash, bytes })
    }
}

/// LEB128, as postcard writes every unsigned number.
fn write_number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The bytes that postcard gives a header, written several times as fast: hashes as a whole instead of byte by byte.
fn write_header(header: &Header, out: &mut Vec<u8>) {
    let Header { format, engine, first_seq, count, epoch, prev_hash, cause, blobs } = header;
    out.push(*format);
    [u64::from(*engine), *first_seq, u64::from(*count), *epoch].into_iter().for_each(|n| write_number(n, out));
    out.extend_from_slice(&prev_hash.0);
    write_number(cause.kind.len() as u64, out);
    out.extend_from_slice(cause.kind.as_bytes());
    out.extend_from_slice(&cause.id.0);
    out.extend_from_slice(&cause.payload_hash.0);
    write_number(cause.principal.len() as u64, out);
    out.extend_from_slice(cause.principal.as_bytes());
    write_number(((cause.wall_ms << 1) ^ (cause.wall_ms >> 63)).cast_unsigned(), out);
    write_number(blobs.len() as u64, out);
    blobs.iter().for_each(|name| out.extend_from_slice(&name.0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cause() -> Cause {
        Cause {
            kind: "start".into(),
            id: Hash32([1; 32]),
            payload_hash: Hash32([2; 32]),
            principal: "ann".into(),
            wall_ms: 1_763_683_200_000,
        }
    }

    fn sample() -> EncodedFrame {
        let mut frame = FrameBuilder::new(3, &Head { seq: 299, hash: Hash32([9; 32]) }, 4, cause());
        assert_eq!(frame.push(Lane::Canonical, b"first"), Ok(300));
        assert_eq!(frame.push(Lane::Operational, b""), Ok(301));
        assert_eq!(frame.push(Lane::Canonical, &[0xab; 130]), Ok(302));
        frame.name_blob(Hash32([7; 32])).unwrap();
        frame.name_blob(Hash32([7; 32])).unwrap();
        frame.encode().unwrap()
    }

    /// The bytes of a stored frame are a promise: this list changes only together with `FRAME_FORMAT`.
    #[test]
    fn the_bytes_of_a_frame_are_frozen() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let frame = sample();
        let parts = [
            "01",                                   // format
            "03",                                   // engine
            "ac02",                                 // first_seq 300
            "03",                                   // count
            "04",                                   // epoch
            &"09".repeat(32),                       // prev_hash
            "057374617274",                         // cause: kind
            &"01".repeat(32),                       //   id
            &"02".repeat(32),                       //   payload_hash
            "03616e6e",                             //   principal
            "80b0afbbd466",                         //   wall_ms (zigzag)
            "01",                                   // blobs
            &"07".repeat(32),                       //
            "00056669727374",                       // canonical, 5 bytes
            "0100",                                 // operational, empty
            &format!("008201{}", "ab".repeat(130)), // canonical, 130 bytes
        ];
        let body = parts.concat();
        let (stored, check) = frame.bytes().split_at(frame.bytes().len() - CHECK_LEN);
        assert_eq!(hex(stored), body);
        assert_eq!(hex(check), hex(&Hash32::of(stored).0[..CHECK_LEN]));
        assert_eq!(frame.head().hash, Hash32::of(stored));
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let encoded = sample();
        let frame = Frame::decode(encoded.bytes()).unwrap();
        assert_eq!(frame.header.cause, cause());
        assert_eq!((frame.header.engine, frame.header.epoch, frame.header.blobs.len()), (3, 4, 1));
        assert_eq!(
            frame.events().map(|(seq, r)| (seq, r.lane, r.bytes.len())).collect::<Vec<_>>(),
            [(300, Lane::Canonical, 5), (301, Lane::Operational, 0), (302, Lane::Canonical, 130)]
        );
        assert_eq!(frame.head(), encoded.head());
        assert_eq!(frame.follows(&encoded.after()), Ok(()));
        assert_eq!(EncodedFrame::from_bytes(encoded.bytes().to_vec()), Ok(encoded));
    }

    #[test]
    fn a_wrong_place_is_named() {
        let encoded = sample();
        let frame = Frame::decode(encoded.bytes()).unwrap();
        let check = |seq, byte, expect: &str| {
            assert_eq!(frame.follows(&Head { seq, hash: Hash32([byte; 32]) }).unwrap_err().to_string(), expect);
        };
        check(296, 9, "events 297 to 299 are missing");
        check(300, 9, "event 300 stands where event 301 belongs");
        check(299, 8, "the hash chain breaks: the frame names another predecessor");
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_found() {
        let encoded = sample();
        for at in 0..encoded.bytes().len() {
            for bit in 0..8 {
                let mut bytes = encoded.bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert_eq!(Frame::decode(&bytes), Err(FrameDamage::Checksum), "byte {at} bit {bit}");
            }
            assert!(Frame::decode(&encoded.bytes()[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_intact_frame_of_another_shape_is_refused() {
        let seal = |mut body: Vec<u8>| {
            let hash = Hash32::of(&body);
            body.extend_from_slice(&hash.0[..CHECK_LEN]);
            Frame::decode(&body).unwrap_err()
        };
        let encoded = sample();
        let body = &encoded.bytes()[..encoded.bytes().len() - CHECK_LEN];
        assert_eq!(seal([&[2], &body[1..]].concat()), FrameDamage::Newer(2));
        assert_eq!(seal(body[..body.len() - 1].to_vec()), FrameDamage::Malformed("a record is cut off"));
        assert_eq!(seal([body, &[0]].concat()), FrameDamage::Malformed("bytes after the last record"));
        assert_eq!(seal(vec![1]), FrameDamage::Malformed("the header cannot be read"));
    }

    #[test]
    fn a_full_frame_says_so_and_stays_within_the_limit() {
        let mut frame = FrameBuilder::new(
            u16::MAX,
            &Head { seq: u64::MAX - 1000, hash: Hash32([0; 32]) },
            u64::MAX,
            Cause { wall_ms: i64::MIN, ..cause() },
        );
        let mut pushed = 0;
        while frame.push(Lane::Canonical, &[1; 1000]).is_ok() {
            pushed += 1;
        }
        assert_eq!(frame.name_blob(Hash32([1; 32])), Ok(()));
        assert_eq!(frame.push(Lane::Canonical, &[1; 1000]), Err(FrameFull));
        assert_eq!(frame.count(), pushed);
        let encoded = frame.encode().unwrap();
        assert!(encoded.bytes().len() <= FRAME_LIMIT);
        assert_eq!(Frame::decode(encoded.bytes()).unwrap().records.len(), pushed as usize);
        assert_eq!(FrameBuilder::new(1, &Head::START, 1, cause()).encode(), None);
    }

    proptest! {
        #[test]
        fn a_header_is_written_as_postcard_writes_it(
            (engine, first_seq, count, epoch, wall_ms) in any::<(u16, u64, u32, u64, i64)>(),
            (kind, principal) in (".{0,200}", ".{0,200}"),
            blobs in proptest::collection::vec(any::<[u8; 32]>(), 0..4),
        ) {
            let cause = Cause { kind: kind.into(), principal: principal.into(), wall_ms, ..cause() };
            let blobs = blobs.into_iter().map(Hash32).collect();
            let header = Header { format: 1, engine, first_seq, count, epoch, prev_hash: Hash32([3; 32]), cause, blobs };
            let mut bytes = Vec::new();
            write_header(&header, &mut bytes);
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&header).unwrap());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut body = bytes.clone();
            if let Some(first) = body.first_mut() { *first = FRAME_FORMAT; }
            let hash = Hash32::of(&body);
            body.extend_from_slice(&hash.0[..CHECK_LEN]);
            prop_assert!(Frame::decode(&bytes).is_err());
            if let Ok(frame) = Frame::decode(&body) {
                prop_assert_eq!(EncodedFrame::from_bytes(body).unwrap().head(), frame.head());
            }
        }
    }
}
