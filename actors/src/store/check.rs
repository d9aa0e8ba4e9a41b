//! Reads everything stored and says what is wrong with it. Changes nothing.

use std::collections::{BTreeMap, HashSet};

use commedia_domain::id::Hash32;

use super::blob::{newest_snapshot, read_blob};
use super::digest::Digest;
use super::error::{Damage, ReadError};
use super::frame::Lane;
use super::highwater;
use super::reader::{Reader, open_meta};
use super::stream::{Head, StreamId};

/// How much of a stream is held in memory at once, in bytes.
const PAGE_BYTES: usize = 1024 * 1024;

/// Streams are listed in pages of this many.
const PAGE_STREAMS: usize = 1000;

/// What a check found in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamCheck {
    /// The stream.
    pub stream: StreamId,
    /// The last event that can be trusted, and its frame.
    pub head: Head,
    /// How many events come up to there.
    pub events: u64,
    /// How many frames.
    pub frames: u64,
    /// The digest of the canonical events among them.
    pub digest: Hash32,
    /// Whether all that was acknowledged is there, in an unbroken chain.
    pub whole: bool,
    /// What was last written beside an append.
    pub meta: Vec<u8>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Every stream, in order of names.
    pub streams: Vec<StreamCheck>,
    /// Everything that is not as it was written; empty: all is well.
    pub damage: Vec<Damage>,
}

/// Checks all streams with their blobs and snapshots, and the high-water mark.
pub(crate) fn check(reader: &Reader) -> Result<CheckReport, ReadError> {
    let mut report = CheckReport { damage: reader.opened().damage.clone(), ..CheckReport::default() };
    let mut streams = indexed(reader, &mut report)?;
    if let Some(path) = &reader.opened().high_water {
        let marked = highwater::streams(path).map_err(|e| ReadError::Unavailable(e.to_string()))?;
        for (stream, _) in marked {
            streams.entry(stream).or_insert(None);
        }
    }
    let mut blobs = HashSet::new();
    for (stream, row) in streams {
        let checked = check_stream(reader, stream, row, &mut blobs, &mut report.damage)?;
        report.streams.extend(checked);
    }
    Ok(report)
}

/// The streams that the index knows. An index that cannot be read is damage; the high-water mark knows the names too.
fn indexed(reader: &Reader, report: &mut CheckReport) -> Result<BTreeMap<StreamId, Option<Vec<u8>>>, ReadError> {
    let mut streams = BTreeMap::new();
    let mut after = None;
    loop {
        match reader.opened().index(None, after.as_ref(), PAGE_STREAMS, &|_| None) {
            Ok(page) => {
                let full = page.len() == PAGE_STREAMS;
                after = page.last().map(|(stream, _)| stream.clone());
                streams.extend(page);
                if !full {
                    return Ok(streams);
                }
            }
            Err(ReadError::Damaged(damage)) => {
                report.damage.push(Damage::of_store(format!("the index of streams cannot be read: {}", damage.what)));
                return Ok(streams);
            }
            Err(e) => return Err(e),
        }
    }
}

fn check_stream(
    reader: &Reader,
    stream: StreamId,
    row: Option<Vec<u8>>,
    blobs: &mut HashSet<(String, Hash32)>,
    damage: &mut Vec<Damage>,
) -> Result<Option<StreamCheck>, ReadError> {
    let meta = row.as_deref().and_then(open_meta).map(<[u8]>::to_vec);
    let mut found = StreamCheck {
        stream: stream.clone(),
        head: Head::START,
        events: 0,
        frames: 0,
        digest: Hash32::default(),
        whole: true,
        meta: meta.clone().unwrap_or_default(),
    };
    match walk(reader, &mut found, blobs, damage) {
        Ok(()) => {}
        Err(ReadError::Damaged(what)) => {
            damage.push(what);
            found.whole = false;
        }
        Err(e) => return Err(e),
    }
    if found.whole && found.head == Head::START {
        // Created by a group that is being written now.
        return Ok(None);
    }
    if meta.is_none() {
        let what = if row.is_some() { "what lists show of it is damaged" } else { "what lists show of it is missing" };
        damage.push(Damage::of_stream(&stream, None, what));
    }
    check_snapshots(reader, &found, damage)?;
    Ok(Some(found))
}

/// Reads a stream from its first event to its head.
fn walk(
    reader: &Reader,
    found: &mut StreamCheck,
    blobs: &mut HashSet<(String, Hash32)>,
    damage: &mut Vec<Damage>,
) -> Result<(), ReadError> {
    let mut digest = Digest::new();
    // A live stream goes on growing: what comes later is not this check's.
    let end = reader.head(&found.stream).map_or(u64::MAX, |head| head.seq);
    while found.head.seq < end {
        let frames = reader.read(&found.stream, found.head.seq + 1, PAGE_BYTES)?;
        if frames.is_empty() {
            return Ok(());
        }
        for frame in frames {
            let first_seq = frame.header.first_seq;
            let place = frame.follows(&found.head);
            place.map_err(|e| ReadError::Damaged(Damage::of_stream(&found.stream, first_seq, e.to_string())))?;
            for record in frame.records.iter().filter(|record| record.lane == Lane::Canonical) {
                digest.update(&record.bytes);
            }
            for name in &frame.header.blobs {
                check_blob(reader, &found.stream, first_seq, name, blobs, damage)?;
            }
            found.head = frame.head();
            found.events += frame.records.len() as u64;
            found.frames += 1;
            found.digest = digest.value();
        }
    }
    Ok(())
}

fn check_blob(
    reader: &Reader,
    stream: &StreamId,
    seq: u64,
    name: &Hash32,
    known: &mut HashSet<(String, Hash32)>,
    damage: &mut Vec<Damage>,
) -> Result<(), ReadError> {
    if !known.insert((stream.workspace().into(), *name)) {
        return Ok(());
    }
    match read_blob(&*reader.opened().engine, stream.workspace(), name) {
        Ok(Some(_)) => {}
        Ok(None) => damage.push(Damage::of_stream(stream, seq, format!("blob {name} is missing"))),
        Err(ReadError::Damaged(what)) => damage.push(Damage::of_stream(stream, seq, what.what)),
        Err(e) => return Err(e),
    }
    Ok(())
}

fn check_snapshots(reader: &Reader, found: &StreamCheck, damage: &mut Vec<Damage>) -> Result<(), ReadError> {
    let unreadable = match newest_snapshot(&*reader.opened().engine, &found.stream) {
        Ok((_, unreadable)) => unreadable,
        Err(e) => match ReadError::of_stream(&found.stream, None)(e) {
            ReadError::Damaged(what) => {
                damage.push(what);
                Vec::new()
            }
            e => return Err(e),
        },
    };
    let name = |seq| Damage::of_stream(&found.stream, seq, "a snapshot is damaged (it is passed over, nothing is lost)");
    damage.extend(unreadable.into_iter().map(name));
    Ok(())
}
