//! The fuzz targets over their corpus, and over random changes of it. What libFuzzer found (`fuzz/run`) is in the corpus.
//! `COMMEDIA_FUZZ_CASES` (3000) says how many changes of each target, `COMMEDIA_SEED` repeats them.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use targets::TARGETS;

/// No measure of speed: far above what any input takes, and far below what a blow-up would.
const AT_MOST: Duration = Duration::from_secs(20);
/// Inputs are cut here.
const LONGEST: usize = 16 * 1024;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = root().join("tests/fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("is read"))).collect()
}

/// The words of `fuzz/words.dict`.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(root().join("fuzz/words.dict")).expect("the words are there");
    let quoted = text.lines().filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    quoted.map(|word| word.replace("\\\"", "\"").replace("\\\\", "\\").into_bytes()).collect()
}

/// An input with a few things done to it.
fn changed(all: &[(PathBuf, Vec<u8>)], words: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = all[chance.below(all.len())].1.clone();
    for _ in 0..1 + chance.below(4) {
        let (at, end) = (chance.below(bytes.len() + 1), chance.below(bytes.len() + 1));
        let (from, to) = (at.min(end), at.max(end).min(at.min(end) + 64));
        match chance.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.splice(from..to, words[chance.below(words.len())].iter().copied())),
            2 => drop(bytes.splice(at..at, words[chance.below(words.len())].iter().copied())),
            3 => drop(bytes.drain(from..to)),
            4 => {
                let part = bytes[from..to].to_vec();
                bytes.splice(at..at, part.repeat(1 + chance.below(4)));
            }
            5 => {
                let other = &all[chance.below(all.len())].1;
                let cut = chance.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[cut..]);
            }
            _ => {
                let byte = u8::try_from(chance.below(256)).unwrap_or_default();
                bytes.insert(at, byte);
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn check(name: &str, target: targets::Target, input: &[u8], what: &str) {
    let begun = Instant::now();
    if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
        panic!("{name}, {what}: a panic over {} bytes:\n{}", input.len(), String::from_utf8_lossy(input));
    }
    assert!(begun.elapsed() < AT_MOST, "{name}, {what}: {:?} over:\n{}", begun.elapsed(), String::from_utf8_lossy(input));
}

#[test]
fn what_was_found_once_does_no_harm() {
    for (name, target) in TARGETS {
        let all = corpus(name);
        assert!(!all.is_empty(), "the corpus of `{name}` is empty");
        for (path, input) in all {
            check(name, target, &input, &path.display().to_string());
        }
    }
}

#[test]
fn random_changes_do_no_harm() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (cases, seed) = (number("COMMEDIA_FUZZ_CASES", 3000), number("COMMEDIA_SEED", u64::from(std::process::id())));
    eprintln!("COMMEDIA_FUZZ_CASES={cases} COMMEDIA_SEED={seed}");
    let words = words();
    assert!(words.len() > 100, "{} words", words.len());
    for (name, target) in TARGETS {
        let (all, mut chance) = (corpus(name), Chance(seed | 1));
        for n in 0..cases {
            check(name, target, &changed(&all, &words, &mut chance), &format!("change {n} of seed {seed}"));
        }
    }
}
