//! The engine in memory: for tests, for `--memory`, and as the model that the others are compared with.
//!
//! Clones share their rows, so that two stores can be opened on the same memory, as two processes on one disk.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use super::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Visit};

/// An ordered map in memory; nothing of it outlives the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    rows: Arc<RwLock<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    map: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: u64,
}

impl Rows {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += value.len() as u64;
        match self.map.get_mut(key) {
            Some(row) => self.bytes -= std::mem::replace(row, value.into()).len() as u64,
            None => {
                self.bytes += key.len() as u64;
                self.map.insert(key.into(), value.into());
            }
        }
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some(row) = self.map.remove(key) {
            self.bytes -= (key.len() + row.len()) as u64;
        }
    }
}

impl MemoryEngine {
    /// Empty memory.
    pub fn new() -> MemoryEngine {
        MemoryEngine::default()
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let held = rows.map.get(guard.key).map(|row| &row[..]);
        if held != guard.holds {
            return Err(EngineError::Fenced(held.map(<[u8]>::to_vec)));
        }
        for (key, value) in batch.iter() {
            match value {
                Some(value) => rows.put(key, value),
                None => rows.delete(key),
            }
        }
        Ok(())
    }

    fn sync(&self, _: Durability) -> Result<u32, EngineError> {
        Ok(0)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.map.get(key).map(|row| row.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if from >= to {
            return Ok(());
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut range = rows.map.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        while let Some((key, value)) = if order == Order::Ascending { range.next() } else { range.next_back() } {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).bytes
    }

    fn blocks(&self) -> bool {
        false
    }

    fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}
