//! The format of a backup: one file, read and written from front to end.
//!
//! `commedia backup 1`, a line feed, then records: kind (1 byte), length (u32), payload, check (16 bytes). A record's check is
//! that of everything before it and its own bytes (BLAKE3), so a record that is changed, lost, moved or cut off is found at
//! its place. The last record holds the totals. Numbers are big-endian.

use std::io::{self, Read, Write};

use commedia_domain::id::Hash32;

use super::blob::{BLOB_LIMIT, SNAPSHOT_LIMIT};
use super::stream::{Head, StreamId};

/// The format that this program writes, and the newest it reads.
pub const BACKUP_FORMAT: u32 = 1;

const CHECK_LEN: usize = 16;

/// A payload is at most this long: a snapshot or a blob with what stands beside it.
const PAYLOAD_LIMIT: usize = 1024 + if SNAPSHOT_LIMIT > BLOB_LIMIT { SNAPSHOT_LIMIT } else { BLOB_LIMIT };

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Streams.
    pub streams: u64,
    /// Frames in them.
    pub frames: u64,
    /// Events in these.
    pub events: u64,
    /// Blobs that the frames name; one may be counted again in a very large store.
    pub blobs: u64,
    /// Snapshots: each stream's newest.
    pub snapshots: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A stream as it was when it was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) stream: StreamId,
    pub(crate) head: Head,
    pub(crate) meta: Vec<u8>,
    pub(crate) live: Option<Vec<u8>>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A stream begins.
    Stream(Entry),
    /// A blob of its workspace, which the next frame names: name and bytes.
    Blob(Hash32, Vec<u8>),
    /// Its next frame.
    Frame(Vec<u8>),
    /// Its snapshot, as it is stored.
    Snapshot(Vec<u8>),
    /// The end: what came before.
    End(Contents),
}

/// Why a backup cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not as it was written.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Where the record begins.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A later release wrote it.
    #[error("it has format {found}; this program knows formats up to {BACKUP_FORMAT}: use a newer commedia")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It is no backup.
    #[error("it is no backup of commedia")]
    Other,
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    File(#[from] io::Error),
}

impl Record {
    fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Record::Stream(Entry { stream, head, meta, live }) => {
                let mut out = Vec::new();
                put(&mut out, stream.to_string().as_bytes());
                out.extend_from_slice(&head.seq.to_be_bytes());
                out.extend_from_slice(&head.hash.0);
                out.push(u8::from(live.is_some()));
                put(&mut out, live.as_deref().unwrap_or_default());
                put(&mut out, meta);
                (b'S', out)
            }
            Record::Blob(name, bytes) => (b'B', [&name.0[..], bytes].concat()),
            Record::Frame(bytes) => (b'F', bytes.clone()),
            Record::Snapshot(bytes) => (b'N', bytes.clone()),
            Record::End(contents) => {
                let Contents { streams, frames, events, blobs, snapshots, .. } = contents;
                (b'E', [streams, frames, events, blobs, snapshots].map(|n| n.to_be_bytes()).concat())
            }
        }
    }

    fn decode(kind: u8, payload: Vec<u8>) -> Option<Record> {
        Some(match kind {
            b'S' => {
                let mut rest = &payload[..];
                let stream = std::str::from_utf8(take(&mut rest)?).ok()?.parse().ok()?;
                let (seq, after) = rest.split_first_chunk()?;
                let (hash, after) = after.split_first_chunk()?;
                let (is_live, after) = after.split_first()?;
                rest = after;
                let live = take(&mut rest)?.to_vec();
                let meta = take(&mut rest)?.to_vec();
                let head = Head { seq: u64::from_be_bytes(*seq), hash: Hash32(*hash) };
                let live = (*is_live == 1).then_some(live);
                Record::Stream(Entry { stream, head, meta, live }).when(rest.is_empty())?
            }
            b'B' => {
                let (name, bytes) = payload.split_first_chunk()?;
                Record::Blob(Hash32(*name), bytes.to_vec())
            }
            b'F' => Record::Frame(payload),
            b'N' => Record::Snapshot(payload),
            b'E' => {
                let (numbers, []) = payload.as_chunks::<8>() else { return None };
                let [streams, frames, events, blobs, snapshots] = <[[u8; 8]; 5]>::try_from(numbers).ok()?.map(u64::from_be_bytes);
                Record::End(Contents { streams, frames, events, blobs, snapshots, bytes: 0 })
            }
            _ => return None,
        })
    }

    fn when(self, holds: bool) -> Option<Record> {
        holds.then_some(self)
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part);
}

fn take<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let (len, after) = rest.split_first_chunk()?;
    let (part, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *rest = after;
    Some(part)
}

fn title(format: u32) -> String {
    format!("commedia backup {format}\n")
}

/// The check of a record, and of all before it.
fn chained(before: &Hash32, kind: u8, payload: &[u8]) -> Hash32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before.0);
    hasher.update(&[kind]);
    hasher.update(&(payload.len() as u64).to_be_bytes());
    hasher.update(payload);
    Hash32(*hasher.finalize().as_bytes())
}

/// The writing end.
pub(crate) struct Writer<W> {
    to: W,
    check: Hash32,
    pub(crate) bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(mut to: W) -> io::Result<Writer<W>> {
        let title = title(BACKUP_FORMAT);
        to.write_all(title.as_bytes())?;
        Ok(Writer { to, check: Hash32::of(title.as_bytes()), bytes: title.len() as u64 })
    }

    pub(crate) fn write(&mut self, record: &Record) -> io::Result<()> {
        let (kind, payload) = record.encode();
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_LIMIT);
        let len = len.ok_or_else(|| io::Error::other("a record is too long"))?;
        self.check = chained(&self.check, kind, &payload);
        self.to.write_all(&[kind])?;
        self.to.write_all(&len.to_be_bytes())?;
        self.to.write_all(&payload)?;
        self.to.write_all(&self.check.0[..CHECK_LEN])?;
        self.bytes += (5 + payload.len() + CHECK_LEN) as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}

/// The reading end.
pub(crate) struct Reader<R> {
    from: R,
    check: Hash32,
    at: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(mut from: R) -> Result<Reader<R>, ArchiveError> {
        let mut title = Vec::new();
        while title.last() != Some(&b'\n') && title.len() < 32 {
            let mut byte = [0];
            match from.read(&mut byte)? {
                0 => return Err(ArchiveError::Other),
                _ => title.push(byte[0]),
            }
        }
        let format = std::str::from_utf8(&title).ok().and_then(|t| t.strip_prefix("commedia backup ")?.trim_end().parse().ok());
        match format {
            None => Err(ArchiveError::Other),
            Some(found) if found > BACKUP_FORMAT => Err(ArchiveError::Newer { found }),
            Some(0) => Err(ArchiveError::Other),
            Some(_) => Ok(Reader { check: Hash32::of(&title), at: title.len() as u64, from }),
        }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// That something is wrong with the record that was read last, which ends here.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { at: self.at, what: what.into() }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        self.from.read_exact(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends here, and is not whole"),
            _ => ArchiveError::File(e),
        })
    }

    /// The next record, checked. Behind the last one nothing may come.
    pub(crate) fn next(&mut self) -> Result<Record, ArchiveError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if len > PAYLOAD_LIMIT {
            return Err(self.damaged("a record's length cannot be"));
        }
        let mut payload = vec![0; len];
        self.fill(&mut payload)?;
        let mut stored = [0; CHECK_LEN];
        self.fill(&mut stored)?;
        let check = chained(&self.check, head[0], &payload);
        if check.0[..CHECK_LEN] != stored {
            return Err(self.damaged("a record is not as it was written"));
        }
        let record = Record::decode(head[0], payload).ok_or_else(|| self.damaged("a record makes no sense"))?;
        self.at += (5 + len + CHECK_LEN) as u64;
        self.check = check;
        if matches!(record, Record::End(_)) && self.from.read(&mut [0])? > 0 {
            return Err(self.damaged("something stands behind its end"));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::StreamKind;
    use super::*;

    fn records() -> Vec<Record> {
        let stream = StreamId::new("w", StreamKind::Run, "a").unwrap();
        let head = Head { seq: 3, hash: Hash32([5; 32]) };
        let contents = Contents { streams: 1, frames: 2, events: 3, blobs: 4, snapshots: 5, bytes: 0 };
        vec![
            Record::Stream(Entry { stream: stream.clone(), head, meta: vec![1, 2], live: Some(vec![]) }),
            Record::Blob(Hash32([9; 32]), vec![3; 40]),
            Record::Frame(vec![4; 30]),
            Record::Snapshot(vec![]),
            Record::Stream(Entry { stream, head, meta: vec![], live: None }),
            Record::End(contents),
        ]
    }

    fn written() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        records().iter().for_each(|record| writer.write(record).unwrap());
        assert_eq!(writer.bytes, writer.to.len() as u64);
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, ArchiveError> {
        let mut reader = Reader::new(bytes)?;
        let mut records = Vec::new();
        while !matches!(records.last(), Some(Record::End(_))) {
            records.push(reader.next()?);
        }
        assert_eq!(reader.at(), bytes.len() as u64);
        Ok(records)
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        assert_eq!(read(&written()).unwrap(), records());
    }

    #[test]
    fn each_flipped_bit_each_cut_and_each_addition_is_found() {
        let whole = written();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "byte {at} bit {bit}");
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        let longer = read(&[&whole[..], b"x"].concat()).unwrap_err().to_string();
        assert!(longer.contains("behind its end"), "{longer}");
    }

    #[test]
    fn a_record_that_is_left_out_or_repeated_is_found_there() {
        let title = title(BACKUP_FORMAT).len();
        let whole = written();
        let len = |at: usize| 5 + u32::from_be_bytes(*whole[at + 1..].first_chunk().unwrap()) as usize + CHECK_LEN;
        let second = title + len(title);
        let third = second + len(second);
        for bytes in [[&whole[..second], &whole[third..]].concat(), [&whole[..third], &whole[second..]].concat()] {
            let at = if bytes.len() < whole.len() { second } else { third };
            assert!(matches!(read(&bytes), Err(ArchiveError::Damaged { at: found, .. }) if found == at as u64));
        }
    }

    #[test]
    fn what_is_no_backup_or_a_newer_one_is_said() {
        for (text, expect) in [("", "no backup"), ("PK", "no backup"), ("commedia backup 2\n", "format 2")] {
            let said = Reader::new(text.as_bytes()).err().expect("refused").to_string();
            assert!(said.contains(expect), "{text}: {said}");
        }
    }
}
