//! Looks at fjall's files before fjall reads them: lists of tables are compared with their checksums, journals are mended.
//! A batch that is not as it was written is left out and the others are kept; what was left out stands in a file of its
//! own, for a person, and the store names the events that are missing.
//!
//! fjall 3's format: a batch is a start (tag 1, u32 items, u64 seqno), items (tag 2, type, compression, u64 tree, u16
//! key length, u32 length, u32 length on disk, key, value) and an end (tag 3, XXH3 of the items, `FJL` 3); numbers are
//! little-endian. Zeros, reserved room, follow the last one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::highwater::sync_parent;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: &[u8] = b"FJL\x03";

const START_LEN: usize = 13;
const ITEM_HEAD_LEN: usize = 21;
const END_LEN: usize = 13;

/// Seqnos grow from batch to batch, nearly always by one. The last one's may be larger by so many and still be believed.
const SEQNO_STEP: u64 = 1024;

/// Looks through each journal; returns what was found in the middle of one. A torn end, what a crash leaves, is cut off
/// without a word: nothing of it was acknowledged, or the high-water mark knows better.
pub(crate) fn mend(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    if fs::read(dir.join("version")).is_ok_and(|version| version != MAGIC) {
        // Another format, or a damaged file: fjall says so.
        return Ok(found);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            found.extend(mend_file(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

/// Compares each tree's list of tables, `vN`, with the checksum that stands in `current` behind the number N. fjall does not:
/// a flipped bit there can hide tables, or make it ask for more memory than there is, which ends the process.
pub(crate) fn damaged_list(dir: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir.join("keyspaces"))? {
        let tree = entry?.path();
        let current = match fs::read(tree.join("current")) {
            Ok(current) => current,
            // A database comes to its place with all its trees, so none is ever half made there.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(tree.join("current"))),
            Err(e) => return Err(e),
        };
        let fields = current.split_first_chunk::<8>().and_then(|(n, rest)| Some((n, rest.split_first_chunk::<16>()?)));
        let Some((number, (checksum, kind))) = fields else { return Ok(Some(tree.join("current"))) };
        let list = tree.join(format!("v{}", u64::from_le_bytes(*number)));
        let bytes = match fs::read(&list) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(list)),
            bytes => bytes?,
        };
        if kind != [0] || xxh3_128(&bytes) != u128::from_le_bytes(*checksum) {
            return Ok(Some(list));
        }
    }
    Ok(None)
}

/// The whole batches of a journal in order, and whether other bytes than zeros stand between or after them.
struct Batches {
    whole: Vec<Range<usize>>,
    /// Places in the middle, with a whole batch somewhere after them.
    bad: Vec<Range<usize>>,
    torn: bool,
}

fn mend_file(path: &Path) -> io::Result<Option<String>> {
    let bytes = fs::read(path)?;
    let batches = batches(&bytes);
    // Where nothing can be read, fjall decides: this may not be the format we know.
    let Some(end) = batches.whole.last().map(|last| last.end) else { return Ok(None) };
    let Some(first) = batches.bad.first() else {
        if batches.torn {
            let file = File::options().write(true).open(path)?;
            file.set_len(end as u64)?;
            file.sync_all()?;
        }
        return Ok(None);
    };
    let aside = free_name(path);
    fs::copy(path, &aside)?;
    File::open(&aside)?.sync_all()?;
    let new = path.with_extension("mended");
    let mut file = File::create(&new)?;
    for batch in &batches.whole {
        file.write_all(&bytes[batch.clone()])?;
    }
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)?;
    let (places, lost) = (batches.bad.len(), batches.bad.iter().map(Range::len).sum::<usize>());
    Ok(Some(format!(
        "the journal {} was damaged at {places} place(s), the first at byte {}: {lost} bytes are left out; a copy is {}",
        path.display(),
        first.start,
        aside.display()
    )))
}

/// A name beside the journal that fjall passes over.
fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| path.with_extension(format!("damaged-{n}"));
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
}

fn batches(bytes: &[u8]) -> Batches {
    let mut found = Batches { whole: Vec::new(), bad: Vec::new(), torn: false };
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let mut at = 0;
    while at < used {
        let walked = batch(bytes, at);
        if let Some((end, true)) = walked {
            found.whole.push(at..end);
            at = end;
            continue;
        }
        // The next one begins where this one ends; if that cannot be told, where a whole one does.
        let whole = |at: &usize| matches!(batch(bytes, *at), Some((_, true)));
        let next = walked.map(|(end, _)| end).filter(whole).or_else(|| (at + 1..used).find(whole));
        let Some(next) = next else {
            found.torn = true;
            break;
        };
        found.bad.push(at..next);
        at = next;
    }
    found.leave_out_wrong_seqnos(bytes);
    found
}

impl Batches {
    /// No checksum covers a batch's seqno, and fjall takes the row with the highest: a batch that is out of order goes.
    fn leave_out_wrong_seqnos(&mut self, bytes: &[u8]) {
        let seqno = |batch: &Range<usize>| bytes[batch.start + 5..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        let mut kept: Vec<Range<usize>> = Vec::with_capacity(self.whole.len());
        for (n, batch) in self.whole.iter().enumerate() {
            let (before, this) = (kept.last().map(seqno), seqno(batch));
            let after = |step: usize| self.whole.get(n + step).map(seqno);
            let wrong = match (before, after(1)) {
                (Some(before), _) if this <= before => true,
                (Some(before), Some(next)) => this >= next && next > before && this != before + 1,
                (Some(before), None) => this > before + SEQNO_STEP,
                // Of the first two the third decides which it is.
                (None, Some(next)) => this >= next && after(2).is_none_or(|third| this >= third),
                (None, None) => false,
            };
            if wrong { self.bad.push(batch.clone()) } else { kept.push(batch.clone()) }
        }
        self.whole = kept;
        self.bad.sort_by_key(|place| place.start);
    }
}

/// Where the batch that begins here ends by its lengths, and whether it is as it was written.
fn batch(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    if *bytes.get(start)? != START {
        return None;
    }
    let items = u32::from_le_bytes(*bytes.get(start + 1..start + START_LEN)?.first_chunk()?);
    let mut at = start + START_LEN;
    for _ in 0..items {
        let head = bytes.get(at..at + ITEM_HEAD_LEN)?;
        if head[0] != ITEM {
            return None;
        }
        let key = usize::from(u16::from_le_bytes(*head[11..].first_chunk()?));
        let value = usize::try_from(u32::from_le_bytes(*head[17..].first_chunk()?)).ok()?;
        at = at.checked_add(ITEM_HEAD_LEN + key)?.checked_add(value)?;
    }
    let end = bytes.get(at..at.checked_add(END_LEN)?)?;
    let sum = u64::from_le_bytes(*end[1..].first_chunk()?);
    let whole = end[0] == END && end[9..] == *MAGIC && sum == xxh3_64(&bytes[start + START_LEN..at]);
    Some((at + END_LEN, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(seqno: u64, rows: &[(&str, &str)]) -> Vec<u8> {
        let mut items = Vec::new();
        for (key, value) in rows {
            items.extend([ITEM, 0, 0]);
            items.extend(1_u64.to_le_bytes());
            items.extend((key.len() as u16).to_le_bytes());
            items.extend([(value.len() as u32).to_le_bytes(), (value.len() as u32).to_le_bytes()].concat());
            items.extend([key.as_bytes(), value.as_bytes()].concat());
        }
        let start = [&[START][..], &(rows.len() as u32).to_le_bytes(), &seqno.to_le_bytes()].concat();
        let end = [&[END][..], &xxh3_64(&items).to_le_bytes(), MAGIC].concat();
        [start, items, end].concat()
    }

    /// Which batches are left, by their bytes, and whether some place in the middle is named.
    fn mended(bytes: &[u8], all: &[Vec<u8>]) -> (Vec<usize>, bool) {
        let found = batches(bytes);
        let left: Vec<u8> = found.whole.iter().flat_map(|batch| &bytes[batch.clone()]).copied().collect();
        let (mut at, mut kept) = (0, Vec::new());
        while let Some(n) = (0..all.len()).find(|n| left[at..].starts_with(&all[*n])) {
            kept.push(n);
            at += all[n].len();
        }
        assert_eq!(at, left.len(), "nothing else is left");
        (kept, !found.bad.is_empty())
    }

    #[test]
    fn a_flipped_bit_costs_its_batch_and_no_other() {
        let all = [
            one(7, &[("a", "1"), ("b", "22")]),
            one(8, &[("FJL\u{3}", "FJL\u{3}")]),
            one(9, &[("c", "")]),
            one(10, &[("d", "4")]),
        ];
        let whole = [all.concat(), vec![0; 50]].concat();
        assert_eq!(mended(&whole, &all), (vec![0, 1, 2, 3], false));
        let mut start = 0;
        for (n, batch) in all.iter().enumerate() {
            let others: Vec<usize> = (0..all.len()).filter(|other| *other != n).collect();
            for at in 0..batch.len() {
                // A seqno at either end may have changed and be in order still: then no row is hidden by an older one.
                if (5..13).contains(&at) && (n == 0 || n == 3) {
                    continue;
                }
                for bit in 0..8 {
                    let mut bytes = whole.clone();
                    bytes[start + at] ^= 1 << bit;
                    let at = format!("batch {n} byte {at} bit {bit}");
                    // Of the last batch a flip looks like a tear.
                    assert_eq!(mended(&bytes, &all), (others.clone(), n < 3), "{at}");
                }
            }
            start += batch.len();
        }
        let mut high = whole.clone();
        high[5 + 6] = 1;
        assert_eq!(mended(&high, &all), (vec![1, 2, 3], true), "above the next");
        high = whole.clone();
        high[start - all[3].len() + 5 + 6] = 1;
        assert_eq!(mended(&high, &all), (vec![0, 1, 2], true), "far above the one before");
    }

    #[test]
    fn what_is_left_out_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("3.jnl");
        let (first, second, third) = (one(7, &[("a", "1")]), one(8, &[("b", "2")]), one(9, &[("c", "3")]));
        let mut bytes = [&first[..], &second, &third, &[0; 9]].concat();
        bytes[first.len() + 30] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let said = mend(dir.path()).unwrap();
        assert!(
            said.len() == 1 && said[0].contains(&format!("the first at byte {}: {} bytes", first.len(), second.len())),
            "{said:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), [&first[..], &third].concat());
        assert_eq!(fs::read(path.with_extension("damaged-1")).unwrap(), bytes);
        assert_eq!(mend(dir.path()).unwrap(), Vec::<String>::new(), "once is enough");
        for (version, mended) in [("FJL\u{4}", false), ("FJL\u{3}", true)] {
            fs::write(dir.path().join("version"), version).unwrap();
            fs::write(&path, &bytes[..first.len() + 10]).unwrap();
            mend(dir.path()).unwrap();
            assert_eq!(fs::read(&path).unwrap() == first, mended, "{version}");
        }
        fs::write(&path, "what we do not know").unwrap();
        assert_eq!(mend(dir.path()).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read(&path).unwrap(), b"what we do not know");
        fs::remove_file(dir.path().join("version")).unwrap();
        fs::write(&path, &bytes[..first.len() + 10]).unwrap();
        assert_eq!(mend(dir.path()).unwrap(), Vec::<String>::new(), "a torn end");
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_torn_end_is_cut_off() {
        let all = [one(7, &[("a", "1")]), one(8, &[("b", "2")])];
        let whole = all.concat();
        for len in 0..=whole.len() {
            let (kept, said) = mended(&whole[..len], &all);
            assert_eq!((kept.len(), said), (usize::from(len >= all[0].len()) + usize::from(len == whole.len()), false), "{len}");
        }
    }
}
