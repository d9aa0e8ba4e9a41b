//! A store's directory: its lock, its format and the files that stand beside the engine's.
//!
//! One process owns it. The operating system's lock decides, so a dead process' lock is no lock; the pid inside is for
//! the message only.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::{Damage, OpenError};
use super::highwater::{HighWater, sync_parent};
use super::home::ENGINES;
use crate::points::{Point, pass};

/// The format of new stores, and the newest that this program knows.
pub const STORE_FORMAT: u32 = 3;

/// The oldest format that this program knows.
pub const OLDEST_FORMAT: u32 = 1;

/// The first format in which streams can be deleted: an older program would miss them.
pub(crate) const DELETING_FORMAT: u32 = 2;

/// How much room a store that ran into a full disk must find before it is opened again.
const PROBE_BYTES: usize = 1024 * 1024;

/// A locked directory; the lock ends with the value, or with the process.
pub(crate) struct Directory {
    path: PathBuf,
    format: u32,
    _lock: File,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |e| OpenError::Failed(format!("cannot {what} {}: {e}", path.display()))
}

impl Directory {
    /// Creates the directory if need be, locks it and checks its format and engine.
    pub(crate) fn open(path: &Path, engine: &str) -> Result<Directory, OpenError> {
        if !path.exists() {
            fs::create_dir_all(path).map_err(failed("create", path))?;
            sync_parent(path).map_err(failed("sync", path))?;
        }
        let mut directory = Directory { path: path.to_path_buf(), format: STORE_FORMAT, _lock: lock(path)? };
        let format = directory.path.join("FORMAT");
        match fs::read_to_string(&format) {
            Ok(text) => directory.format = directory.check_format(&text, engine)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => directory.initialise(engine)?,
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(damaged("FORMAT cannot be read")),
            Err(e) => return Err(failed("read", &format)(e)),
        }
        Ok(directory)
    }

    fn check_format(&self, text: &str, engine: &str) -> Result<u32, OpenError> {
        let stated = text.strip_prefix("commedia store ").and_then(|rest| rest.strip_suffix('\n')?.split_once(' '));
        let (found, stated_engine) = stated.ok_or_else(|| damaged("FORMAT cannot be read"))?;
        let found: u32 = found.parse().map_err(|_| damaged("FORMAT cannot be read"))?;
        if found > STORE_FORMAT {
            return Err(OpenError::Newer { found, known: STORE_FORMAT });
        }
        if found < OLDEST_FORMAT {
            return Err(damaged("FORMAT names a format that never was"));
        }
        if !ENGINES.contains(&stated_engine) {
            return Err(damaged("FORMAT names an engine that never was"));
        }
        if stated_engine != engine {
            let found = stated_engine.escape_default().to_string();
            return Err(OpenError::OtherEngine { path: self.path.clone(), found, named: engine.into() });
        }
        if !self.high_water().exists() {
            return Err(damaged("the high-water mark's file is missing: whether events are lost cannot be told"));
        }
        Ok(found)
    }

    /// A new store. FORMAT comes last: with it, everything else is there.
    fn initialise(&self, engine: &str) -> Result<(), OpenError> {
        if self.engine_dir(engine).exists() {
            return Err(damaged("FORMAT is missing, but there is data"));
        }
        pass(Point::CreateBefore);
        let high_water = self.high_water();
        HighWater::create(&high_water).map_err(failed("create", &high_water))?;
        pass(Point::CreateHighWater);
        self.write_format(STORE_FORMAT, engine)?;
        pass(Point::CreateAfter);
        Ok(())
    }

    /// Writes which format it has from now on, in one step.
    fn write_format(&self, number: u32, engine: &str) -> Result<(), OpenError> {
        let format = self.path.join("FORMAT");
        let new = format.with_extension("new");
        fs::write(&new, format!("commedia store {number} {engine}\n")).map_err(failed("write", &new))?;
        File::open(&new).and_then(|f| f.sync_all()).map_err(failed("sync", &new))?;
        fs::rename(&new, &format).map_err(failed("create", &format))?;
        sync_parent(&format).map_err(failed("sync", &format))
    }

    /// The format it has.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    /// Gives it another format; what that asks of its rows is done before, or after where it asks less.
    pub(crate) fn set_format(&mut self, number: u32, engine: &str) -> Result<(), OpenError> {
        self.write_format(number, engine)?;
        self.format = number;
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps its files.
    pub(crate) fn engine_dir(&self, engine: &str) -> PathBuf {
        self.path.join(engine)
    }

    /// The file with the high-water mark.
    pub(crate) fn high_water(&self) -> PathBuf {
        self.path.join("high-water")
    }

    /// Whether the disk takes and keeps a megabyte: asked before an engine is opened again after an error.
    pub(crate) fn probe(&self) -> io::Result<()> {
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut f| {
            f.write_all(&vec![0x5a; PROBE_BYTES])?;
            f.sync_all()
        });
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => written.and(Err(e)),
            _ => written,
        }
    }
}

/// Removes a directory that a copy grew in, unless one grows in it now.
pub(crate) fn remove_unfinished(path: &Path) -> Result<(), OpenError> {
    if !path.exists() {
        return Ok(());
    }
    let lock = lock(path)?;
    fs::remove_dir_all(path).map_err(failed("remove", path))?;
    drop(lock);
    Ok(())
}

/// Syncs a directory with everything below it.
pub(crate) fn sync_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_all(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

fn damaged(what: &str) -> OpenError {
    OpenError::Damaged(Damage::of_store(what))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = path.join("lock");
    let mut lock =
        File::options().read(true).write(true).create(true).truncate(false).open(&file).map_err(failed("open", &file))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0);
            return Err(OpenError::Locked { path: path.to_path_buf(), pid });
        }
        Err(TryLockError::Error(e)) => return Err(failed("lock", &file)(e)),
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed("write", &file))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_a_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let open = || Directory::open(&path, "sled").map(drop).map_err(|e| e.to_string());
        let owner = Directory::open(&path, "sled").unwrap();
        assert_eq!(open(), Err(format!("{} is in use by process {}", path.display(), std::process::id())));
        owner.probe().unwrap();
        drop(owner);
        assert_eq!(open(), Ok(()));
        fs::write(path.join("lock"), "4000000\n").unwrap();
        assert_eq!(open(), Ok(()), "a dead process' lock");

        let check = |text: &str, expect: &str| {
            fs::write(path.join("FORMAT"), text).unwrap();
            assert_eq!(open(), Err(expect.into()));
        };
        check("commedia store 4 sled\n", "the store has format 4; this program knows formats up to 3: use a newer commedia");
        fs::write(path.join("FORMAT"), "commedia store 1 sled\n").unwrap();
        assert_eq!(Directory::open(&path, "sled").unwrap().format(), 1);
        check("commedia store 0 sled\n", "the store is damaged: FORMAT names a format that never was");
        let other = format!("{} holds a store of the engine fjall; the URL names sled", path.display());
        check("commedia store 1 fjall\n", &other);
        check("kommedia store 1 sled\n", "the store is damaged: FORMAT cannot be read");
        fs::write(path.join("FORMAT"), [0xff, 0xfe]).unwrap();
        assert!(open().is_err());
        fs::write(path.join("FORMAT"), "commedia store 1 sled\n").unwrap();
        fs::remove_file(path.join("high-water")).unwrap();
        assert!(open().unwrap_err().contains("high-water mark's file is missing"));
        fs::remove_file(path.join("FORMAT")).unwrap();
        assert_eq!(open(), Ok(()), "nothing is stored yet");
        fs::remove_file(path.join("FORMAT")).unwrap();
        fs::create_dir(path.join("sled")).unwrap();
        assert_eq!(open(), Err("the store is damaged: FORMAT is missing, but there is data".into()));
    }
}
