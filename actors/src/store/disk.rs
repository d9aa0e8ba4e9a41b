//! What a file system is asked beyond reading and writing: how much room there is, and to read again what it only
//! remembers. The one home of `rustix`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statvfs};

/// The room that is left free, so that an engine never meets a full disk by itself: a thirty-second part of the disk, but
/// at least and at most so much.
const LEAST_MARGIN: u64 = 1024 * 1024;
const MOST_MARGIN: u64 = 16 * 1024 * 1024;

/// How many times its own size a group may take: an engine writes pages, not rows.
const BYTES_A_BYTE: u64 = 2;

/// The disk that a store is on.
pub(crate) struct Disk {
    path: PathBuf,
    /// Whether it was found full, and that was said.
    full: bool,
}

impl Disk {
    /// The disk below a path.
    pub(crate) fn of(path: &Path) -> Disk {
        Disk { path: path.to_path_buf(), full: false }
    }

    /// Why there is no room for so many bytes more, if there is none. What gives room back may use a part of the margin.
    pub(crate) fn no_room(&mut self, bytes: usize, gives_back: bool) -> Option<String> {
        // A file system that cannot tell how full it is says so when it is written to.
        let about = statvfs(&self.path).ok()?;
        let (free, all) = (about.f_bavail.saturating_mul(about.f_frsize), about.f_blocks.saturating_mul(about.f_frsize));
        let margin = (all / 32).clamp(LEAST_MARGIN, MOST_MARGIN) / if gives_back { 4 } else { 1 };
        let needed = margin + bytes as u64 * BYTES_A_BYTE;
        let full = free < needed;
        if full != self.full {
            self.full = full;
            match full {
                true => tracing::error!(free, needed, "the disk is full: the store takes no writes until there is room"),
                false => tracing::info!(free, "there is room again: the store takes writes"),
            }
        }
        full.then(|| format!("the disk is full: {} KiB are free, {} KiB are needed", free / 1024, needed / 1024))
    }
}

/// Lets the system forget what it remembers of the files below a path, so that they are read from the disk: after a failed
/// sync its memory may hold what the disk never got. What was not written yet stays.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            forget(&entry?.path())?;
        }
        return Ok(());
    }
    match File::open(path) {
        Ok(file) => Ok(fadvise(&file, 0, None, Advice::DontNeed)?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_until_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::of(dir.path());
        assert_eq!(disk.no_room(0, true), None);
        for _ in 0..2 {
            let said = disk.no_room(usize::MAX / 4, false).expect("no disk is that large");
            assert!(said.starts_with("the disk is full: "), "{said}");
        }
        assert_eq!(disk.no_room(0, true), None);
        assert_eq!(Disk::of(&dir.path().join("nowhere")).no_room(usize::MAX / 4, false), None);
    }

    #[test]
    fn what_is_forgotten_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        let path = dir.path().join("below/file");
        fs::write(&path, "text").unwrap();
        forget(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"text");
        forget(&dir.path().join("nowhere")).unwrap();
    }
}
