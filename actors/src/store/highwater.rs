//! The high-water mark: a file beside the engine that says how far each stream was acknowledged.
//!
//! An engine that loses the end of its log, or one page, does so silently; this file, written and synced after each
//! group and before its acknowledgement, is what the loss is noticed by. Text, one mark a line, each with its check:
//! `group epoch seq hash stream check`; the last line of a stream counts. It is never ahead of the engine.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use commedia_domain::id::Hash32;

use super::engine::Durability;
use super::stream::{Head, StreamId};
use crate::points::{Point, pass};

/// The file grows in steps of zeros, so that most syncs need not write its length.
const STEP: u64 = 256 * 1024;

/// The file is written anew, one line a stream, when it is longer than this and twice what it then would be.
const COMPACT_ABOVE: u64 = 16 * 1024 * 1024;

/// What stands in the place of a deleted stream's head: above all others, so that its line counts. Since format 2.
pub(crate) const DELETED: Head = Head { seq: u64::MAX, hash: Hash32([0; 32]) };

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The open file.
pub(crate) struct HighWater {
    path: PathBuf,
    file: File,
    at: u64,
    reserved: u64,
    compact_above: u64,
}

/// How far a stream was acknowledged: its seq and the first half of its head's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    hash: u64,
}

impl Mark {
    fn of(head: &Head) -> Mark {
        Mark { seq: head.seq, hash: half(&head.hash) }
    }

    /// Whether a head with the mark's seq is the acknowledged one.
    pub(crate) fn is(&self, head: &Head) -> bool {
        *self == Mark::of(head)
    }
}

fn half(hash: &Hash32) -> u64 {
    hash.0.first_chunk::<8>().map_or(0, |h| u64::from_be_bytes(*h))
}

/// What the file says.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// By fingerprint, in its order: a store may know a million streams, and this is read at each opening.
    streams: RwLock<Vec<(u64, Mark)>>,
    /// The number of the last acknowledged group.
    pub(crate) group: u64,
    /// The last epoch.
    pub(crate) epoch: u64,
    /// Lines that cannot be read, described.
    pub(crate) damage: Vec<String>,
    /// Whether a line at the end was cut off or is not its own: a crash while writing, or a flipped bit.
    pub(crate) torn: bool,
}

impl Marks {
    /// How far a stream was acknowledged before this process opened the store.
    pub(crate) fn of(&self, stream: &StreamId) -> Option<Mark> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        if streams.is_empty() {
            return None;
        }
        let found = streams.binary_search_by_key(&fingerprint(&stream.to_string()), |(print, _)| *print).ok()?;
        streams.get(found).map(|(_, mark)| *mark).filter(|mark| mark.seq != DELETED.seq)
    }

    /// A stream is deleted: nothing of it is missing.
    pub(crate) fn delete(&self, stream: &StreamId) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        let print = fingerprint(&stream.to_string());
        if let Ok(found) = streams.binary_search_by_key(&print, |(print, _)| *print) {
            streams[found].1 = Mark::of(&DELETED);
        }
    }
}

/// Tells the streams of a file apart; never stored.
fn fingerprint(stream: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(stream.as_bytes());
    hasher.finish()
}

fn check(line: &[u8]) -> u32 {
    Hash32::of(line).0.first_chunk::<4>().map_or(0, |c| u32::from_be_bytes(*c))
}

/// Adds a line to a buffer; a line without a stream marks an opening.
pub(crate) fn push_line(lines: &mut Vec<u8>, group: u64, epoch: u64, mark: Option<(&StreamId, &Head)>) {
    let start = lines.len();
    decimal(group, lines);
    decimal(epoch, lines);
    match mark {
        Some((stream, head)) => {
            decimal(head.seq, lines);
            hex(half(&head.hash), 16, lines);
            lines.push(b' ');
            stream.write(lines);
            lines.push(b' ');
        }
        None => lines.extend_from_slice(b"0 0000000000000000 - "),
    }
    let check = check(&lines[start..]);
    hex(check.into(), 8, lines);
    lines.push(b'\n');
}

/// A number with a blank behind it: there is a line for each write, and formatting it took longer than its check.
fn decimal(mut number: u64, lines: &mut Vec<u8>) {
    let mut digits = [b' '; 21];
    let mut at = digits.len() - 1;
    loop {
        at -= 1;
        digits[at] = DIGITS[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return lines.extend_from_slice(&digits[at..]);
        }
    }
}

/// The last digits of a number, in lower case.
fn hex(number: u64, digits: u32, lines: &mut Vec<u8>) {
    lines.extend((0..digits).rev().map(|n| DIGITS[(number >> (4 * n)) as usize & 15]));
}

struct Line<'l> {
    group: u64,
    epoch: u64,
    stream: Option<(&'l str, Mark)>,
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (body, sum) = line.split_last_chunk::<8>()?;
    let check = check(body);
    let digit = |n: usize| DIGITS[(check >> (28 - 4 * n)) as usize & 15];
    if (0..8).any(|n| sum[n] != digit(n)) {
        return None;
    }
    let mut words = std::str::from_utf8(body).ok()?.split(' ');
    let (group, epoch, seq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let hash = u64::from_str_radix(words.next()?, 16).ok()?;
    let stream = match words.next()? {
        "-" => None,
        name => Some((name, Mark { seq, hash })),
    };
    Some(Line { group, epoch, stream })
}

/// Disks write so much whole or not at all.
const SECTOR: usize = 512;

/// Where the lines end, and whether what follows is torn. A crash tears the last group only: bad lines count as torn if no good
/// one comes after them, or only such as belong to one group, whose pages a disk may write in any order: then they are holes.
fn end(bytes: &[u8]) -> (usize, bool) {
    let text = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let behind = |bytes: &[u8]| bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut end = behind(&bytes[..text]);
    let mut torn = end < text;
    while let Some(last) = end.checked_sub(1) {
        let start = behind(&bytes[..last]);
        if parse(&bytes[start..last]).is_some() {
            break;
        }
        (end, torn) = (start, true);
    }
    let (mut at, mut group) = (end, None);
    while let Some(last) = at.checked_sub(1) {
        at = behind(&bytes[..last]);
        match parse(&bytes[at..last]) {
            Some(line) if *group.get_or_insert(line.group) == line.group => {}
            None if group.is_some_and(|group| is_hole(&bytes[..last], at, group)) => (end, torn) = (at, true),
            _ => break,
        }
    }
    (end, torn)
}

/// Whether the line that begins at a byte has a hole where a part of a group's lines never got to the disk: it begins where the
/// group does, or with a sector, and ends with one. Nothing of an earlier group is missing with it.
fn is_hole(bytes: &[u8], at: usize, group: u64) -> bool {
    let line = &bytes[at..];
    let Some(before) = line.iter().position(|b| *b == 0) else { return false };
    let behind = line[before..].iter().position(|b| *b != 0).map_or(bytes.len(), |len| at + before + len);
    let own = format!("{group} ");
    let is_own = match before {
        0 => true,
        _ if before >= own.len() => line.starts_with(own.as_bytes()),
        // That its number begins alike says nothing; the line in front may.
        _ => own.as_bytes().starts_with(&line[..before]) && line_in_front(bytes, at).is_some_and(|line| line.group == group),
    };
    is_own && (before == 0 || (at + before).is_multiple_of(SECTOR)) && behind.is_multiple_of(SECTOR)
}

fn line_in_front(bytes: &[u8], at: usize) -> Option<Line<'_>> {
    let before = &bytes[..at.checked_sub(1)?];
    parse(before.rsplit(|b| *b == b'\n').next()?)
}

/// Each line's place and content.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Option<Line<'_>>)> {
    let mut at = 0;
    bytes.split_inclusive(|b| *b == b'\n').map(move |line| {
        let here = at;
        at += line.len();
        (here, parse(line.strip_suffix(b"\n").unwrap_or(line)))
    })
}

/// The last of each stream: what has the highest seq, and of equals what comes last.
fn last_of_each<T: Copy>(mut all: Vec<(u64, T)>, seq: impl Fn(&T) -> u64) -> Vec<(u64, T)> {
    all.sort_by_key(|(print, it)| (*print, seq(it)));
    all.reverse();
    all.dedup_by_key(|(print, _)| *print);
    all.reverse();
    all.shrink_to_fit();
    all
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Each stream of the file with its last mark, for a check of everything.
pub(crate) fn streams(path: &Path) -> io::Result<Vec<(StreamId, Mark)>> {
    let bytes = read(path)?;
    let mut streams: HashMap<StreamId, Mark> = HashMap::new();
    for (name, mark) in lines(&bytes[..end(&bytes).0]).filter_map(|(_, line)| line?.stream) {
        let Ok(stream) = name.parse() else { continue };
        let known = streams.entry(stream).or_insert(mark);
        *known = if mark.seq >= known.seq { mark } else { *known };
    }
    streams.retain(|_, mark| mark.seq != DELETED.seq);
    let mut streams: Vec<_> = streams.into_iter().collect();
    streams.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(streams)
}

impl HighWater {
    /// Creates an empty file, synced.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        File::create(path)?.sync_all()?;
        sync_parent(path)
    }

    /// Opens the file and reads it.
    pub(crate) fn open(path: &Path) -> io::Result<(HighWater, Marks)> {
        let bytes = read(path)?;
        let (at, torn) = end(&bytes);
        let mut marks = Marks { torn, ..Marks::default() };
        let mut streams = Vec::new();
        for (at, line) in lines(&bytes[..at]) {
            let Some(line) = line else {
                marks.damage.push(format!("the line at byte {at} of the high-water mark is damaged"));
                continue;
            };
            marks.group = marks.group.max(line.group);
            marks.epoch = marks.epoch.max(line.epoch);
            streams.extend(line.stream.map(|(name, mark)| (fingerprint(name), mark)));
        }
        let streams = last_of_each(streams, |mark| mark.seq);
        let living = streams.iter().filter(|(_, mark)| mark.seq != DELETED.seq).count() as u64;
        marks.streams = streams.into();
        let at = at as u64;
        let file = File::options().read(true).write(true).open(path)?;
        if torn {
            // The torn end must not show through between the lines to come.
            file.set_len(at)?;
            file.sync_all()?;
        }
        let reserved = if torn { at } else { bytes.len() as u64 };
        let mut open = HighWater { path: path.to_path_buf(), file, at, reserved, compact_above: COMPACT_ABOVE };
        if at > 64 * 1024 && at / 100 > 2 * living && marks.damage.is_empty() {
            open.compact()?;
        }
        Ok((open, marks))
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines; returns how many syncs it took.
    pub(crate) fn append(&mut self, lines: &[u8], durability: Durability) -> io::Result<u32> {
        let end = self.at + lines.len() as u64;
        if end > self.reserved {
            let reserved = end.next_multiple_of(STEP);
            let mut step = lines.to_vec();
            step.resize((reserved - self.at) as usize, 0);
            self.file.write_all_at(&step, self.at)?;
            self.reserved = reserved;
        } else {
            self.file.write_all_at(lines, self.at)?;
        }
        self.at = end;
        pass(Point::HighWaterWritten);
        let syncs = self.sync(durability)?;
        if self.at > self.compact_above {
            self.compact()?;
        }
        Ok(syncs)
    }

    fn sync(&self, durability: Durability) -> io::Result<u32> {
        match durability {
            Durability::Process => Ok(0),
            Durability::Fsync => self.file.sync_data().map(|()| 1),
        }
    }

    /// Writes the file anew with one line a stream and puts it in the old one's place.
    pub(crate) fn compact(&mut self) -> io::Result<()> {
        let bytes = read(&self.path)?;
        let bytes = &bytes[..end(&bytes).0];
        let (mut last, mut opening, mut damaged) = (Vec::new(), None, false);
        for (at, line) in lines(bytes) {
            let Some(line) = line else {
                damaged = true;
                break;
            };
            last.extend(line.stream.map(|(name, mark)| (fingerprint(name), (mark.seq, at))));
            opening = opening.max(Some((line.group, at)));
        }
        if damaged {
            // Damage is kept for a person to see.
            self.compact_above = u64::MAX;
            return Ok(());
        }
        // What was deleted is gone from the engine, durably, before its line is here: nobody misses it.
        let last = last_of_each(last, |(seq, _)| *seq).into_iter().filter(|(_, (seq, _))| *seq != DELETED.seq);
        let mut keep: Vec<usize> = last.map(|(_, (_, at))| at).chain(opening.map(|(_, at)| at)).collect();
        keep.sort_unstable();
        keep.dedup();
        let line = |at: usize| bytes[at..].split_inclusive(|b| *b == b'\n').next().unwrap_or_default();
        let mut kept = Vec::with_capacity(bytes.len());
        keep.into_iter().for_each(|at| kept.extend_from_slice(line(at)));
        let new = self.path.with_extension("new");
        fs::write(&new, &kept)?;
        File::open(&new)?.sync_all()?;
        pass(Point::CompactBefore);
        fs::rename(&new, &self.path)?;
        sync_parent(&self.path)?;
        pass(Point::CompactAfter);
        self.file = File::options().read(true).write(true).open(&self.path)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.at, self.reserved) = (kept.len() as u64, kept.len() as u64);
        self.compact_above = COMPACT_ABOVE.max(2 * self.at);
        Ok(())
    }
}

/// Syncs the directory that a file stands in.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::stream::StreamKind;

    fn head(seq: u64) -> Head {
        Head { seq, hash: Hash32::of(&seq.to_le_bytes()) }
    }

    fn stream(id: &str) -> StreamId {
        StreamId::new("w", StreamKind::Run, id).unwrap()
    }

    fn written(dir: &Path, marks: &[(&str, u64)]) -> PathBuf {
        let path = dir.join("high-water");
        HighWater::create(&path).unwrap();
        let (mut file, _) = HighWater::open(&path).unwrap();
        for (group, (id, seq)) in (1..).zip(marks) {
            let mut lines = Vec::new();
            push_line(&mut lines, group, 7, Some((&stream(id), &head(*seq))));
            assert_eq!(file.append(&lines, Durability::Fsync).unwrap(), 1);
        }
        path
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &[("a", 3), ("b", 1), ("a", 9)]);
        let (_, marks) = HighWater::open(&path).unwrap();
        assert!(marks.of(&stream("a")).unwrap().is(&head(9)));
        assert!(marks.of(&stream("b")).unwrap().is(&head(1)));
        assert!(!marks.of(&stream("b")).unwrap().is(&Head { seq: 1, hash: Hash32([1; 32]) }));
        assert_eq!(marks.of(&stream("c")), None);
        assert_eq!((marks.group, marks.epoch, marks.torn, marks.damage.len()), (3, 7, false, 0));
        assert_eq!(streams(&path).unwrap().len(), 2);
    }

    #[test]
    fn a_flip_in_the_middle_is_named_and_at_the_end_is_a_tear() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &[("a", 3), ("b", 1), ("a", 9)]);
        let whole = fs::read(&path).unwrap();
        let end = whole.iter().position(|b| *b == 0).unwrap();
        // A line that lost its newline is one with the last.
        let last = whole[..end - 1].iter().rposition(|b| *b == b'\n').unwrap();
        for at in 0..end {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(&path, &bytes).unwrap();
            let (_, marks) = HighWater::open(&path).unwrap();
            assert_eq!((marks.damage.is_empty(), marks.torn), (at >= last, at >= last), "flip at {at}");
        }
        for cut in 0..end {
            fs::write(&path, &whole[..cut]).unwrap();
            let (_, marks) = HighWater::open(&path).unwrap();
            assert!(marks.damage.is_empty() && marks.group < 3, "cut at {cut}");
        }
    }

    /// A group's lines may cover many pages, and a power cut leaves any of them.
    #[test]
    fn a_hole_in_the_last_group_is_a_tear_and_in_another_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &[("a", 3)]);
        let (mut file, _) = HighWater::open(&path).unwrap();
        let names: Vec<String> = (0..400).map(|n| format!("s{n}")).collect();
        let mut append = |group: u64| {
            let mut lines = Vec::new();
            names.iter().for_each(|name| push_line(&mut lines, group, 7, Some((&stream(name), &head(group)))));
            file.append(&lines, Durability::Process).unwrap();
        };
        append(2);
        let middle = fs::read(&path).unwrap().iter().rposition(|b| *b != 0).unwrap() + 1;
        append(3);
        let whole = fs::read(&path).unwrap();
        let end = whole.iter().rposition(|b| *b != 0).unwrap() + 1;
        for at in (0..end).step_by(4096) {
            let mut bytes = whole.clone();
            bytes[at..end.min(at + 4096)].fill(0);
            fs::write(&path, &bytes).unwrap();
            let (_, marks) = HighWater::open(&path).unwrap();
            let torn = at > middle;
            assert_eq!((marks.torn, marks.damage.is_empty()), (torn, torn), "the page at byte {at} of {end}, {middle}");
            assert!(!torn || marks.of(&stream("s0")).unwrap().seq >= 2 && marks.group >= 2);
        }
        // Of the page that it shares with the group before, the part that is its own; then also where it covers two pages only.
        let shared = middle.next_multiple_of(4096);
        for end in [end, shared + 2000, shared + 200] {
            let end = whole[..end].iter().rposition(|b| *b == b'\n').unwrap() + 1;
            let mut bytes = whole[..end].to_vec();
            bytes[middle..shared].fill(0);
            fs::write(&path, &bytes).unwrap();
            let (_, marks) = HighWater::open(&path).unwrap();
            assert_eq!((marks.torn, marks.damage.len(), marks.group), (true, 0, 2), "up to {end}");
        }
        // What is written behind a tear that was noticed is read as if there had been none.
        let (mut file, _) = HighWater::open(&path).unwrap();
        push_line_to(&mut file, 4);
        let (_, marks) = HighWater::open(&path).unwrap();
        assert_eq!((marks.torn, marks.damage.len(), marks.group), (false, 0, 4));
        // A flip in the same place is none of a power cut's.
        let mut bytes = whole.clone();
        bytes[middle + 5000] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (_, marks) = HighWater::open(&path).unwrap();
        assert_eq!((marks.torn, marks.damage.len()), (false, 1));
    }

    #[test]
    fn writing_goes_on_after_a_tear_and_after_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path(), &[("a", 3), ("b", 1)]);
        let whole = fs::read(&path).unwrap();
        let end = whole.iter().position(|b| *b == 0).unwrap();
        fs::write(&path, &whole[..end - 3]).unwrap();
        let (mut file, marks) = HighWater::open(&path).unwrap();
        assert_eq!((marks.group, marks.torn), (1, true));
        for seq in 4..2000 {
            let mut lines = Vec::new();
            push_line(&mut lines, seq, 7, Some((&stream("a"), &head(seq))));
            file.append(&lines, Durability::Process).unwrap();
        }
        push_line_to(&mut file, 2000);
        drop(file);
        let long = fs::metadata(&path).unwrap().len();
        let (mut file, marks) = HighWater::open(&path).unwrap();
        assert_eq!((marks.group, marks.of(&stream("a")).unwrap().seq), (2000, 1999));
        assert!(fs::metadata(&path).unwrap().len() < long / 100, "compacted");
        push_line_to(&mut file, 2001);
        let (_, marks) = HighWater::open(&path).unwrap();
        assert_eq!((marks.group, marks.of(&stream("a")).unwrap().seq), (2001, 1999));
        assert!(marks.damage.is_empty() && !marks.torn);
    }

    fn push_line_to(file: &mut HighWater, group: u64) {
        let mut lines = Vec::new();
        push_line(&mut lines, group, 8, None);
        file.append(&lines, Durability::Fsync).unwrap();
    }
}
