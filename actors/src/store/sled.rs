//! The engine on sled 0.34.7, sled's one home, with what sled leaves out.
//!
//! `flush` is no fsync on Linux: each sync goes through a descriptor of our own. A half-written snapshot of an earlier
//! process is deleted before opening. sled panics on damaged pages: every call catches that and names it.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};

use super::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Visit, caught};

/// sled's thread for garbage collection wakes this often; without it no space would ever be used again.
const FLUSH_EVERY_MS: u64 = 500;

/// A handle whose threads have died over damage may never finish closing; then it is left behind.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How sled says that a file of its own is still locked.
const LOCKED: &str = "could not acquire lock";

/// A sled database in a directory of its own.
pub(crate) struct SledEngine {
    db: RwLock<Option<::sled::Db>>,
    /// Our own descriptor of the log: it reports an error of writing back even if sled has swallowed it.
    log: File,
    dir: PathBuf,
    config: ::sled::Config,
    /// How many batches were applied.
    batches: AtomicU64,
    /// When the directory of sled's blob files last changed; rows within the limit never get there.
    blobs_changed: Mutex<Option<SystemTime>>,
}

fn failed(what: &str, path: &Path, e: &io::Error) -> EngineError {
    EngineError::Failed(format!("{what} {}: {e}", path.display()))
}

fn sync_path(path: &Path) -> Result<(), EngineError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| failed("cannot sync", path, &e))
}

fn convert(e: ::sled::Error) -> EngineError {
    match e {
        ::sled::Error::Corruption { .. } => EngineError::Damaged(format!("sled finds damaged data: {e}")),
        ::sled::Error::CollectionNotFound(_) => EngineError::Damaged("sled misses its tree".into()),
        ::sled::Error::ReportableBug(text) => EngineError::Damaged(format!("sled finds what cannot be: {text}")),
        ::sled::Error::Unsupported(text) => EngineError::Damaged(format!("sled cannot read this: {text}")),
        ::sled::Error::Io(e) => EngineError::Failed(e.to_string()),
    }
}

/// Opens sled. Its threads may hold on to the files of a handle closed just now; our directory's lock is what keeps
/// others away, so that is waited for.
fn open_db(config: &::sled::Config) -> Result<::sled::Db, EngineError> {
    let started = Instant::now();
    loop {
        match caught("sled", || Ok(config.open())) {
            Ok(Err(::sled::Error::Io(e))) if e.to_string().contains(LOCKED) && started.elapsed() < CLOSE_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(2));
            }
            opened => return opened?.map_err(convert),
        }
    }
}

impl SledEngine {
    /// Opens or creates the database in `dir`. `cache_bytes` bounds sled's page cache.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<SledEngine, EngineError> {
        fs::create_dir_all(dir).map_err(|e| failed("cannot create", dir, &e))?;
        set_bad_snapshots_aside(dir)?;
        let config = ::sled::Config::default()
            .path(dir)
            .mode(::sled::Mode::LowSpace)
            .cache_capacity(cache_bytes)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .use_compression(false);
        let db = open_db(&config)?;
        let path = dir.join("db");
        let log = File::open(&path).map_err(|e| failed("cannot open", &path, &e))?;
        let engine = SledEngine {
            db: RwLock::new(Some(db)),
            log,
            dir: dir.to_path_buf(),
            config,
            batches: AtomicU64::new(0),
            blobs_changed: Mutex::new(None),
        };
        engine.sync_everything()?;
        Ok(engine)
    }

    /// Syncs each file and directory that opening may have written, and the directory above.
    fn sync_everything(&self) -> Result<(), EngineError> {
        for entry in fs::read_dir(&self.dir).map_err(|e| failed("cannot list", &self.dir, &e))? {
            let path = entry.map_err(|e| failed("cannot list", &self.dir, &e))?.path();
            sync_path(&path)?;
        }
        sync_path(&self.dir)?;
        self.dir.parent().map_or(Ok(()), sync_path)
    }

    /// Should sled have moved a page into a file of its own after all, that file is synced too.
    fn sync_blobs(&self) -> Result<u32, EngineError> {
        let dir = self.dir.join("blobs");
        let changed = fs::metadata(&dir).and_then(|m| m.modified()).map_err(|e| failed("cannot look at", &dir, &e))?;
        let mut seen = self.blobs_changed.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == Some(changed) {
            return Ok(0);
        }
        let mut syncs = 0;
        for entry in fs::read_dir(&dir).map_err(|e| failed("cannot list", &dir, &e))? {
            let path = entry.map_err(|e| failed("cannot list", &dir, &e))?.path();
            match File::open(&path).and_then(|f| f.sync_all()) {
                Ok(()) => syncs += 1,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed("cannot sync", &path, &e)),
            }
        }
        sync_path(&dir)?;
        *seen = Some(changed);
        Ok(syncs + 1)
    }

    fn with<T>(&self, call: impl FnOnce(&::sled::Db) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(EngineError::Closed)?;
        caught("sled", || call(db))
    }
}

/// So many neighbours at least are walked over, and not looked up one by one.
const NEIGHBOURS: usize = 4;
/// Keys of neighbours differ in so many bytes at the end at most: those of runs that were created within a second.
const UNLIKE: usize = 20;

/// Looks at each page that holds, or held, one of the keys.
fn look_at(db: &::sled::Db, mut keys: Vec<&[u8]>) -> ::sled::Result<()> {
    keys.sort_unstable();
    let mut rest = &keys[..];
    while let [first, ..] = rest {
        let like = |key: &&&[u8]| key.len() == first.len() && key.starts_with(&first[..first.len().saturating_sub(UNLIKE)]);
        let (near, others) = rest.split_at(rest.iter().take_while(like).count());
        rest = others;
        if near.len() < NEIGHBOURS || !walk_over(db, near)? {
            near.iter().try_for_each(|key| db.get(key).map(drop))?;
        }
    }
    Ok(())
}

/// Walks from the first key to the last; `false` where too much that is not theirs lies between them.
fn walk_over(db: &::sled::Db, keys: &[&[u8]]) -> ::sled::Result<bool> {
    let [first, .., last] = *keys else { return Ok(false) };
    for (n, row) in db.range::<&[u8], _>(first..=last).enumerate() {
        row?;
        if n > 2 * keys.len() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// sled takes a snapshot it did not finish for a whole one, and refuses to open with a damaged one; its log is complete
/// without either. The unfinished are removed, the damaged kept under another name.
fn set_bad_snapshots_aside(dir: &Path) -> Result<(), EngineError> {
    for entry in fs::read_dir(dir).map_err(|e| failed("cannot list", dir, &e))? {
        let path = entry.map_err(|e| failed("cannot list", dir, &e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with("snap.") {
            continue;
        }
        if name.ends_with(".generating") {
            fs::remove_file(&path).map_err(|e| failed("cannot remove", &path, &e))?;
        } else if !is_whole_snapshot(&fs::read(&path).map_err(|e| failed("cannot read", &path, &e))?) {
            tracing::warn!("sled's snapshot {} is damaged; its log is read instead", path.display());
            fs::rename(&path, dir.join(format!("damaged-{name}"))).map_err(|e| failed("cannot rename", &path, &e))?;
        }
    }
    Ok(())
}

/// A snapshot of sled's ends with its length (8 bytes) and the CRC-32 of what comes before these.
fn is_whole_snapshot(bytes: &[u8]) -> bool {
    let Some((rest, crc)) = bytes.split_last_chunk::<4>() else { return false };
    let Some((body, _)) = rest.split_last_chunk::<8>() else { return false };
    let shift = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !body.is_empty()
        && !body.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shift)) == u32::from_le_bytes(*crc)
}

impl Engine for SledEngine {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        // Reading and then applying is atomic here: the directory's lock leaves room for one writer only.
        let held = self.get(guard.key)?;
        if held.as_deref() != guard.holds {
            return Err(EngineError::Fenced(held));
        }
        let mut writes = ::sled::Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.with(|db| {
            db.apply_batch(writes).map_err(convert)?;
            // Whoever looks at a page that has grown too large splits it, and cannot read it if that fails. After an error
            // of the disk everything fails that writes; so that readers are served then, what was written is looked at now.
            look_at(db, batch.iter().map(|(key, _)| key).collect()).map_err(convert)
        })
    }

    fn sync(&self, durability: Durability) -> Result<u32, EngineError> {
        self.with(|db| db.flush().map(|_| ()).map_err(convert))?;
        match durability {
            Durability::Process => Ok(0),
            Durability::Fsync => {
                self.log.sync_data().map_err(|e| failed("cannot sync", &self.dir.join("db"), &e))?;
                Ok(1 + self.sync_blobs()?)
            }
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.with(|db| Ok(db.get(key).map_err(convert)?.map(|row| row.to_vec())))
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if from >= to {
            return Ok(());
        }
        self.with(|db| {
            let mut rows = db.range(from..to);
            while let Some(row) = if order == Order::Ascending { rows.next() } else { rows.next_back() } {
                let (key, value) = row.map_err(convert)?;
                if let ControlFlow::Break(()) = visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn size_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |m| m.len())
    }

    fn blocks(&self) -> bool {
        true
    }

    fn close(&self) -> Result<(), EngineError> {
        let Some(db) = self.db.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        let flushed = caught("sled", || db.flush().map(|_| ()).map_err(convert));
        let (done, wait) = mpsc::channel();
        // Opening writes a snapshot of where everything is. With one that is up to date a flipped bit in the log costs the
        // pages it hits; without, all that was written since the last.
        let refresh = (self.batches.load(Ordering::Relaxed) > 1).then(|| self.config.clone());
        let dropping = move || {
            let dropped = caught("sled", || {
                drop(db);
                refresh.map_or(Ok(()), |config| open_db(&config).map(drop))
            });
            // Nobody listens any more after the time-out.
            done.send(dropped).ok();
        };
        std::thread::Builder::new()
            .name("sled-close".into())
            .spawn(dropping)
            .map_err(|e| EngineError::Failed(format!("cannot start a thread: {e}")))?;
        let dropped = wait.recv_timeout(CLOSE_TIMEOUT).unwrap_or_else(|_| {
            Err(EngineError::Failed("sled does not finish closing; its files stay locked until the process ends".into()))
        });
        flushed?;
        dropped?;
        self.log.sync_all().map_err(|e| failed("cannot sync", &self.dir.join("db"), &e))
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::warn!("closing sled: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_walked_over_unless_too_much_lies_between() {
        let dir = tempfile::tempdir().unwrap();
        let db = ::sled::Config::default().path(dir.path()).open().unwrap();
        let key = |n: usize| format!("i-default-r_0123456789{n:016}");
        let put = |ns: &mut dyn Iterator<Item = usize>| ns.for_each(|n| drop(db.insert(key(n), "row").unwrap()));
        let check = |ns: &[usize], expect: bool| {
            let keys: Vec<String> = ns.iter().map(|n| key(*n)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
            assert_eq!(walk_over(&db, &keys).unwrap(), expect, "{ns:?}");
            look_at(&db, keys.into_iter().rev().collect()).unwrap();
        };
        put(&mut (0..40).map(|n| n * 100));
        let wide: Vec<usize> = (0..40).map(|n| n * 100).collect();
        check(&wide, true);
        check(&[0, 100, 200, 300], true);
        check(&[0, 1, 2, 3900], false);
        // Rows that were removed are none.
        check(&[10, 20, 30, 40], true);
        check(&[5], false);
        put(&mut (0..4000));
        check(&wide, false);
        assert_eq!(db.len(), 4000);
    }
}
