//! The high-water mark: a file beside the engine that says how far each stream was acknowledged.
//!
//! An engine that loses the end of its log, or one page, does so silently; this file, written and synced after each
//! group and before its acknowledgement, is what the loss is noticed by. Text, one mark a line, each with its check:
//! `group epoch seq hash stream check`; the last line of a stream counts. It is never ahead of the engine.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use commedia_domain::id::Hash32;

use super::engine::Durability;
use super::stream::{Head, StreamId};

/// The file grows in steps of zeros, so that most syncs need not write its length.
const STEP: u64 = 256 * 1024;

/// The file is written anew, one line a stream, when it is longer than this and twice what it then would be.
const COMPACT_ABOVE: u64 = 16 * 1024 * 1024;

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
    streams: HashMap<u64, Mark>,
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
    pub(crate) fn of(&self, stream: &StreamId) -> Option<&Mark> {
        if self.streams.is_empty() { None } else { self.streams.get(&fingerprint(stream)) }
    }
}

fn fingerprint(stream: &StreamId) -> u64 {
    half(&Hash32::of(stream.key()))
}

fn check(line: &[u8]) -> u32 {
    Hash32::of(line).0.first_chunk::<4>().map_or(0, |c| u32::from_be_bytes(*c))
}

/// Adds a line to a buffer; a line without a stream marks an opening.
pub(crate) fn push_line(lines: &mut Vec<u8>, group: u64, epoch: u64, mark: Option<(&StreamId, &Head)>) {
    let start = lines.len();
    let written = match mark {
        Some((stream, head)) => write!(lines, "{group} {epoch} {} {:016x} {stream} ", head.seq, half(&head.hash)),
        None => write!(lines, "{group} {epoch} 0 {:016x} - ", 0),
    };
    let check = check(&lines[start..]);
    written.and_then(|()| writeln!(lines, "{check:08x}")).expect("a buffer takes everything");
}

struct Line {
    group: u64,
    epoch: u64,
    stream: Option<(StreamId, Mark)>,
}

fn parse(line: &[u8]) -> Option<Line> {
    let at = line.len().checked_sub(8)?;
    let (body, sum) = line.split_at(at);
    if std::str::from_utf8(sum).ok()? != format!("{:08x}", check(body)) {
        return None;
    }
    let mut words = std::str::from_utf8(body).ok()?.split(' ');
    let (group, epoch, seq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let hash = u64::from_str_radix(words.next()?, 16).ok()?;
    let stream = match words.next()? {
        "-" => None,
        name => Some((name.parse().ok()?, Mark { seq, hash })),
    };
    Some(Line { group, epoch, stream })
}

/// Where the lines end, whether what follows is a torn line, and each line's place and content.
fn lines(bytes: &[u8]) -> (u64, bool, Vec<(usize, Option<Line>)>) {
    let text = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(len) = bytes[at..text].iter().position(|b| *b == b'\n') {
        found.push((at, parse(&bytes[at..at + len])));
        at += len + 1;
    }
    let mut torn = at < text;
    let mut end = at;
    // A crash tears the end only: a bad line counts as torn if no good one comes after it.
    while let Some((at, None)) = found.last() {
        (end, torn) = (*at, true);
        found.pop();
    }
    (end as u64, torn, found)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Each stream of the file with its last mark, for a check of everything.
pub(crate) fn streams(path: &Path) -> io::Result<Vec<(StreamId, Mark)>> {
    let mut streams: HashMap<StreamId, Mark> = HashMap::new();
    for (stream, mark) in lines(&read(path)?).2.into_iter().filter_map(|(_, line)| line?.stream) {
        let known = streams.entry(stream).or_insert(mark);
        *known = if mark.seq >= known.seq { mark } else { *known };
    }
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
        let (at, torn, lines) = lines(&bytes);
        let mut marks = Marks { torn, ..Marks::default() };
        for (at, line) in lines {
            let Some(line) = line else {
                marks.damage.push(format!("the line at byte {at} of the high-water mark is damaged"));
                continue;
            };
            marks.group = marks.group.max(line.group);
            marks.epoch = marks.epoch.max(line.epoch);
            if let Some((stream, mark)) = line.stream {
                let known = marks.streams.entry(fingerprint(&stream)).or_insert(mark);
                *known = if mark.seq >= known.seq { mark } else { *known };
            }
        }
        let file = File::options().read(true).write(true).open(path)?;
        if torn {
            // The torn end must not show through between the lines to come.
            file.set_len(at)?;
            file.sync_all()?;
        }
        let reserved = if torn { at } else { bytes.len() as u64 };
        let mut open = HighWater { path: path.to_path_buf(), file, at, reserved, compact_above: COMPACT_ABOVE };
        if at > 64 * 1024 && at / 100 > 2 * marks.streams.len() as u64 && marks.damage.is_empty() {
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
    fn compact(&mut self) -> io::Result<()> {
        let bytes = read(&self.path)?;
        let (_, _, all) = lines(&bytes);
        if all.iter().any(|(_, line)| line.is_none()) {
            // Damage is kept for a person to see.
            self.compact_above = u64::MAX;
            return Ok(());
        }
        let mut last: HashMap<StreamId, (u64, usize)> = HashMap::new();
        let mut opening = None;
        for (at, line) in all {
            match line.map(|line| (line.group, line.stream)) {
                Some((group, Some((stream, mark)))) => {
                    if last.get(&stream).is_none_or(|known| known.0 <= mark.seq) {
                        last.insert(stream, (mark.seq, at));
                    }
                    opening = opening.max(Some((group, at)));
                }
                Some((group, None)) => opening = opening.max(Some((group, at))),
                None => {}
            }
        }
        let mut keep: Vec<usize> = last.into_values().map(|(_, at)| at).chain(opening.map(|(_, at)| at)).collect();
        keep.sort_unstable();
        keep.dedup();
        let line = |at: usize| bytes[at..].split_inclusive(|b| *b == b'\n').next().unwrap_or_default();
        let kept: Vec<u8> = keep.into_iter().flat_map(line).copied().collect();
        let new = self.path.with_extension("new");
        fs::write(&new, &kept)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, &self.path)?;
        sync_parent(&self.path)?;
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
