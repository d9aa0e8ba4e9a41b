//! The engine on fjall 3, fjall's one home: a log-structured merge tree behind a journal.
//!
//! A group is one batch in the journal and one `fdatasync`. Opening looks at the files first (`journal.rs`): fjall by
//! itself refuses a wrong checksum, and silently cuts off everything behind a byte of its journal that it cannot read.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use ::fjall::{Database, Error, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::directory::sync_all;
use super::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Visit, caught};
use super::highwater::sync_parent;
use super::journal::{damaged_list, mend};

/// The tree that holds all rows.
const ROWS: &str = "rows";

/// What is kept in memory before it is written as a table: smaller means more work for compaction, larger more memory
/// and a longer replay when opening (measured from 8 to 64 MiB).
const MEMTABLE_BYTES: u64 = 32 * 1024 * 1024;

/// The journals together, beyond which memory is written out to let go of the oldest: the least that fjall takes.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;

/// One to write tables out, one to compact: so a long compaction never holds up the writer.
const WORKERS: usize = 2;

/// A handle whose threads are at work is waited for so long; then it is left behind.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A fjall database in a directory of its own.
pub(crate) struct FjallEngine {
    open: RwLock<Option<Handle>>,
    dir: PathBuf,
    found: Vec<String>,
}

struct Handle {
    rows: Keyspace,
    db: Database,
}

fn failed(what: &str, path: &Path, e: &io::Error) -> EngineError {
    EngineError::Failed(format!("cannot {what} {}: {e}", path.display()))
}

fn convert(e: Error) -> EngineError {
    let damaged = |what: &dyn std::fmt::Debug| EngineError::Damaged(format!("fjall finds damaged data: {what:?}"));
    let of_io = |e: &io::Error| match e.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists => {
            damaged(e)
        }
        _ => EngineError::Failed(e.to_string()),
    };
    match e {
        Error::Io(e) | Error::Storage(::fjall::LsmError::Io(e)) => of_io(&e),
        Error::Poisoned => EngineError::Failed("fjall takes no writes after an error of the disk".into()),
        Error::Locked => EngineError::Failed("fjall's own lock is still held".into()),
        e => damaged(&e),
    }
}

fn builder(dir: &Path, cache_bytes: u64) -> ::fjall::DatabaseBuilder<Database> {
    Database::builder(dir)
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(WORKERS)
        .manual_journal_persist(true)
}

fn rows(db: &Database) -> Result<Keyspace, Error> {
    db.keyspace(ROWS, || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES))
}

impl FjallEngine {
    /// Opens or creates the database in `dir`. `cache_bytes` bounds its block cache.
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<FjallEngine, EngineError> {
        if !dir.exists() {
            create(dir, cache_bytes)?;
        }
        if let Some(list) = damaged_list(dir).map_err(|e| failed("look at the tables in", dir, &e))? {
            return Err(EngineError::Damaged(format!("fjall's list of tables {} is damaged or missing", list.display())));
        }
        let found = mend(dir).map_err(|e| failed("mend the journal in", dir, &e))?;
        found.iter().for_each(|what| tracing::warn!("{what}"));
        let started = Instant::now();
        let handle = loop {
            let opened =
                caught("fjall", || Ok(builder(dir, cache_bytes).open().and_then(|db| Ok(Handle { rows: rows(&db)?, db }))));
            match opened? {
                // Threads of a handle closed just now may hold the lock; our directory's keeps others away.
                Err(Error::Locked) if started.elapsed() < CLOSE_TIMEOUT => std::thread::sleep(Duration::from_millis(2)),
                opened => break opened.map_err(convert)?,
            }
        };
        Ok(FjallEngine { open: RwLock::new(Some(handle)), dir: dir.to_path_buf(), found })
    }

    fn with<T>(&self, call: impl FnOnce(&Handle) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let handle = open.as_ref().ok_or(EngineError::Closed)?;
        caught("fjall", || call(handle))
    }
}

/// fjall does not open what it was killed creating: a new database is made beside its place and renamed when whole.
fn create(dir: &Path, cache_bytes: u64) -> Result<(), EngineError> {
    let new = dir.with_extension("new");
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &new, &e)),
        _ => {}
    }
    caught("fjall", || {
        let db = builder(&new, cache_bytes).open().map_err(convert)?;
        rows(&db).map_err(convert)?;
        db.persist(PersistMode::SyncAll).map_err(convert)
    })?;
    sync_all(&new).map_err(|e| failed("sync", &new, &e))?;
    fs::rename(&new, dir).map_err(|e| failed("create", dir, &e))?;
    sync_parent(dir).map_err(|e| failed("sync", dir, &e))
}

/// What the files below a directory take up: a journal is longer than what was written to it.
fn disk_bytes(path: &Path) -> u64 {
    let below = |dir| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| disk_bytes(&entry.path())).sum();
    match path.symlink_metadata() {
        Ok(about) if about.is_dir() => below(path),
        Ok(about) => about.blocks() * 512,
        Err(_) => 0,
    }
}

impl Engine for FjallEngine {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        // Reading and then applying is atomic here: the directory's lock leaves room for one writer only.
        let held = self.get(guard.key)?;
        if held.as_deref() != guard.holds {
            return Err(EngineError::Fenced(held));
        }
        self.with(|Handle { rows, db }| {
            let mut writes = db.batch();
            for (key, value) in batch.iter() {
                match value {
                    Some(value) => writes.insert(rows, key, value),
                    None => writes.remove(rows, key),
                }
            }
            writes.commit().map_err(convert)
        })
    }

    /// What its threads sync when they write tables out, once in a while, is not counted.
    fn sync(&self, durability: Durability) -> Result<u32, EngineError> {
        let (mode, syncs) = match durability {
            Durability::Process => (PersistMode::Buffer, 0),
            Durability::Fsync => (PersistMode::SyncData, 1),
        };
        self.with(|handle| handle.db.persist(mode).map_err(convert))?;
        Ok(syncs)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.with(|handle| Ok(handle.rows.get(key).map_err(convert)?.map(|row| row.to_vec())))
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if from >= to {
            return Ok(());
        }
        self.with(|handle| {
            let mut range = handle.rows.range(from..to);
            while let Some(row) = if order == Order::Ascending { range.next() } else { range.next_back() } {
                let (key, value) = row.into_inner().map_err(convert)?;
                if let ControlFlow::Break(()) = visit(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn size_bytes(&self) -> u64 {
        disk_bytes(&self.dir)
    }

    fn blocks(&self) -> bool {
        true
    }

    fn close(&self) -> Result<(), EngineError> {
        let Some(handle) = self.open.write().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        // What is in memory stays in the journal: it is read again when opening, and a journal can be mended.
        let synced = caught("fjall", || handle.db.persist(PersistMode::SyncAll).map_err(convert));
        let (done, wait) = mpsc::channel();
        let dropping = move || {
            let dropped = caught("fjall", || {
                drop(handle);
                Ok(())
            });
            // Nobody listens any more after the time-out.
            done.send(dropped).ok();
        };
        std::thread::Builder::new()
            .name("fjall-close".into())
            .spawn(dropping)
            .map_err(|e| EngineError::Failed(format!("cannot start a thread: {e}")))?;
        let dropped = wait.recv_timeout(CLOSE_TIMEOUT).unwrap_or_else(|_| {
            Err(EngineError::Failed("fjall does not finish closing; its files stay locked until the process ends".into()))
        });
        synced.and(dropped)
    }

    fn found(&self) -> Vec<String> {
        self.found.clone()
    }
}

impl Drop for FjallEngine {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::warn!("closing fjall: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Row;
    use super::*;

    const GUARD: Guard<'_> = Guard { key: b"none", holds: None };

    fn all(engine: &FjallEngine) -> Result<Vec<Row>, EngineError> {
        let mut rows = Vec::new();
        engine.scan(b"", b"z", Order::Ascending, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    #[test]
    fn of_two_writes_of_a_key_in_one_batch_the_later_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fjall");
        let mut batch = Batch::default();
        batch.put(b"put-put", b"1");
        batch.put(b"put-put", b"2");
        batch.put(b"put-delete", b"1");
        batch.delete(b"put-delete");
        batch.put(b"delete-put", b"0");
        let engine = FjallEngine::open(&path, 1 << 20).unwrap();
        engine.apply(GUARD, &batch).unwrap();
        batch.clear();
        batch.delete(b"delete-put");
        batch.put(b"delete-put", b"2");
        engine.apply(GUARD, &batch).unwrap();
        let row = |key: &[u8]| (key.to_vec(), b"2".to_vec());
        let expected = vec![row(b"delete-put"), row(b"put-put")];
        assert_eq!(all(&engine).unwrap(), expected);
        engine.close().unwrap();
        let engine = FjallEngine::open(&path, 1 << 20).unwrap();
        assert_eq!(all(&engine).unwrap(), expected, "from the journal");
        engine.with(|handle| handle.rows.rotate_memtable_and_wait().map_err(convert)).unwrap();
        assert_eq!(all(&engine).unwrap(), expected, "from a table");
        assert_eq!(engine.get(b"put-delete").unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_in_a_table_never_gives_another_row() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, copy) = (dir.path().join("whole"), dir.path().join("copy"));
        let engine = FjallEngine::open(&whole, 1 << 20).unwrap();
        let rows: Vec<_> = (0..300_u32).map(|n| (n.to_be_bytes().to_vec(), n.to_le_bytes().repeat(40))).collect();
        let mut batch = Batch::default();
        rows.iter().for_each(|(key, value)| batch.put(key, value));
        engine.apply(GUARD, &batch).unwrap();
        engine.sync(Durability::Fsync).unwrap();
        engine.with(|handle| handle.rows.rotate_memtable_and_wait().map_err(convert)).unwrap();
        engine.close().unwrap();
        // Opening gives back the room that a new journal reserves: less to copy.
        FjallEngine::open(&whole, 1 << 20).unwrap().close().unwrap();
        let tables = whole.join("keyspaces/1/tables");
        let table = fs::read_dir(&tables).unwrap().flatten().next().expect("a table").path();
        let bytes = fs::read(&table).unwrap();
        let (mut right, mut refused) = (0, 0);
        for n in 0..30 {
            let at = n * bytes.len() / 30 + n % 7;
            if copy.exists() {
                fs::remove_dir_all(&copy).unwrap();
            }
            copy_dir(&whole, &copy);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (n % 8);
            fs::write(copy.join(table.strip_prefix(&whole).unwrap()), flipped).unwrap();
            match FjallEngine::open(&copy, 1 << 20).and_then(|engine| all(&engine)) {
                Ok(found) => {
                    assert_eq!(found, rows, "byte {at}");
                    right += 1;
                }
                Err(EngineError::Damaged(why)) => {
                    println!("byte {at}: {why}");
                    refused += 1;
                }
                Err(e) => panic!("byte {at}: {e}"),
            }
        }
        println!("{right} right, {refused} refused");
        assert!(refused > right);
    }

    #[test]
    fn a_flipped_bit_in_a_list_of_tables_is_named_and_ends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fjall");
        FjallEngine::open(&path, 1 << 20).unwrap().close().unwrap();
        for name in ["current", "v0"] {
            let list = path.join("keyspaces/1").join(name);
            let bytes = fs::read(&list).unwrap();
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                fs::write(&list, flipped).unwrap();
                let said = FjallEngine::open(&path, 1 << 20).err().expect("it must not open").to_string();
                assert!(said.contains("list of tables"), "{name} byte {at}: {said}");
            }
            fs::write(&list, bytes).unwrap();
        }
        FjallEngine::open(&path, 1 << 20).unwrap();
    }

    fn copy_dir(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_dir(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}
