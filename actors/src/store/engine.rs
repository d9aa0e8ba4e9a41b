//! What the store asks of a storage engine: an ordered map with atomic batches. A further engine is one more file.
//!
//! An engine knows no streams and no frames. It may panic or lie about damaged files: checks above it find that out.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives a power cut: every file written is synced first.
    #[default]
    Fsync,
    /// Survives the end of the process, not that of the machine.
    Process,
}

impl Durability {
    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::Process => "process",
        }
    }
}

/// Rows handed to an engine are at most this long: the largest size that keeps sled's pages out of its unsynced blob
/// files (17 rows to a page of less than 128 KiB).
pub const ROW_LIMIT: usize = 6 * 1024;

/// Why an engine did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The guard's row holds something else: another writer is at work. Nothing was written.
    #[error("another writer has taken over")]
    Fenced(Option<Vec<u8>>),
    /// What is stored cannot be read.
    #[error("{0}")]
    Damaged(String),
    /// Input or output failed; whether a write took place is unknown.
    #[error("{0}")]
    Failed(String),
    /// The engine is closed.
    #[error("the store is closed")]
    Closed,
    /// There is no room on the disk. Nothing was written.
    #[error("{0}")]
    Full(String),
}

/// Which end of a range a scan begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest key first.
    Ascending,
    /// The largest key first.
    Descending,
}

/// A row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Gets each row of a scan: key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A row that must hold these bytes (`None`: must be absent) for a batch to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// The row's key.
    pub key: &'a [u8],
    /// What it must hold.
    pub holds: Option<&'a [u8]>,
}

/// An ordered map of byte strings. All calls block; none is made from a task that must not wait.
pub trait Engine: Send + Sync {
    /// The engine's name, as in the store's URL.
    fn name(&self) -> &'static str;

    /// Applies all writes or none, provided the guard holds. Durable after the next [`Engine::sync`].
    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError>;

    /// Makes durable what was applied; returns how many files were synced.
    fn sync(&self, durability: Durability) -> Result<u32, EngineError>;

    /// The row of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Visits the rows with `from <= key < to` until told to stop.
    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError>;

    /// How many bytes it takes on disk, or in memory.
    fn size_bytes(&self) -> u64;

    /// Whether calls may wait for a disk, so that async callers must leave their thread.
    fn blocks(&self) -> bool;

    /// Lets go of all files, after a last sync; every later call fails.
    fn close(&self) -> Result<(), EngineError>;

    /// What it found wrong in its files when it was opened, and left out; what is missing for that is found above it.
    fn found(&self) -> Vec<String> {
        Vec::new()
    }

    /// The first row of a scan.
    fn first(&self, from: &[u8], to: &[u8], order: Order) -> Result<Option<Row>, EngineError> {
        let mut found = None;
        self.scan(from, to, order, &mut |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

/// Runs a call of an engine's library; a panic there is damage.
pub(crate) fn caught<T>(library: &str, call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(EngineError::Damaged(format!("{library} gave up: {}", text.unwrap_or("a panic"))))
    })
}

/// Writes to be applied together, kept in one buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Batch {
    data: Vec<u8>,
    writes: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    key_at: usize,
    value_at: usize,
    end: usize,
    delete: bool,
}

impl Batch {
    /// Writes a row.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_parts(key, &[value]);
    }

    /// Writes a row whose value is the concatenation of parts.
    pub fn put_parts(&mut self, key: &[u8], parts: &[&[u8]]) {
        self.write(key, parts, false);
    }

    /// Removes a row.
    pub fn delete(&mut self, key: &[u8]) {
        self.write(key, &[], true);
    }

    fn write(&mut self, key: &[u8], parts: &[&[u8]], delete: bool) {
        let key_at = self.data.len();
        self.data.extend_from_slice(key);
        let value_at = self.data.len();
        parts.iter().for_each(|part| self.data.extend_from_slice(part));
        self.writes.push(Write { key_at, value_at, end: self.data.len(), delete });
    }

    /// The writes in order: key, and value or `None` for a removal. Of two with one key the later counts.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.writes.iter().map(|w| {
            let value = (!w.delete).then(|| &self.data[w.value_at..w.end]);
            (&self.data[w.key_at..w.value_at], value)
        })
    }

    /// How many bytes the keys and values have together.
    pub fn size_bytes(&self) -> usize {
        self.data.len()
    }

    /// How far it is filled, to go back to with [`Batch::truncate`].
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.data.len(), self.writes.len())
    }

    /// Forgets what was written since the mark.
    pub(crate) fn truncate(&mut self, mark: (usize, usize)) {
        self.data.truncate(mark.0);
        self.writes.truncate(mark.1);
    }

    /// Empties it and keeps a buffer of moderate size.
    pub(crate) fn clear(&mut self) {
        self.truncate((0, 0));
        self.data.shrink_to(8 * 1024 * 1024);
    }
}
