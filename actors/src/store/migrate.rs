//! Takes a store from one format to another, forwards or back, step by step. Each step can be done again after a crash.
//!
//! Format 1: frames, blobs, snapshots, index and live rows. Format 2: tombstones too, and lines of deleted streams in the
//! high-water mark, which a program that knows format 1 only would take for losses. Back to 1 these are removed: what was
//! deleted stays deleted, and that it ever was is forgotten. Format 3: one row for what lists show of a stream that is not over
//! and for its row in the live index (`listing.rs`); a program that knows no such row is kept away before the first is
//! written, and until the last is taken apart.

use std::sync::{Arc, Mutex, PoisonError};

use super::directory::{DELETING_FORMAT, Directory, OLDEST_FORMAT, STORE_FORMAT};
use super::engine::Durability;
use super::error::{AppendError, OpenError, ReadError};
use super::highwater::HighWater;
use super::home::place;
use super::listing::{JOINED_FORMAT, Layout};
use super::live::LiveRow;
use super::stream::{StreamId, StreamKind};
use super::work::Lives;
use super::{Options, Store, blocking};

/// So many rows are written at once.
const ROWS_AT_ONCE: usize = 1000;

/// Why the format is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The call makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The store does not open.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The store cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The store takes no writes.
    #[error("{0}")]
    Write(#[from] AppendError),
    /// A file.
    #[error("{0}")]
    File(String),
}

/// Gives the store at a URL another format, the newest by default; answers with the one it had and the one it has.
pub async fn migrate(url: &str, to: Option<u32>, durability: Durability) -> Result<(u32, u32), MigrateError> {
    let to = to.unwrap_or(STORE_FORMAT);
    if !(OLDEST_FORMAT..=STORE_FORMAT).contains(&to) {
        return Err(MigrateError::Usage(format!("there is no format {to}: formats known are {OLDEST_FORMAT} to {STORE_FORMAT}")));
    }
    let (engine, path) = place(url).ok_or_else(|| MigrateError::Usage(format!("`{url}` names no files")))?;
    if !path.join("FORMAT").exists() {
        return Err(MigrateError::Usage(format!("there is no store at {}", path.display())));
    }
    // Opening looks it over: a damaged store keeps its format.
    let store = Store::open(url, durability, Options::default()).await?;
    let (from, damage) = (store.format(), store.damage());
    let ready = match damage.first() {
        Some(damage) => Err(MigrateError::Open(OpenError::Damaged(damage.clone()))),
        None if to < from => go_back(&store, from, to).await,
        None => Ok(()),
    };
    store.close().await.map_err(MigrateError::File)?;
    ready?;
    if to != from {
        let path = path.to_path_buf();
        blocking(move || step(&path, engine, from, to)).await.map_err(MigrateError::File)??;
    }
    if to >= JOINED_FORMAT {
        // Also where it has that format: an earlier call may have been cut short.
        let store = Store::open(url, durability, Options::default()).await?;
        let joined = store.lay_out(Layout::Joined).await;
        store.close().await.map_err(MigrateError::File)?;
        joined?;
    }
    Ok((from, to))
}

/// Takes out of a store what an older format does not know.
async fn go_back(store: &Store, from: u32, to: u32) -> Result<(), MigrateError> {
    if to < DELETING_FORMAT {
        store.forget_deleted().await?;
    }
    if from >= JOINED_FORMAT && to < JOINED_FORMAT {
        store.lay_out(Layout::Apart).await?;
    }
    Ok(())
}

impl Store {
    /// Lays the rows of all streams that are not over out anew.
    async fn lay_out(&self, layout: Layout) -> Result<(), MigrateError> {
        let mut rows: Vec<(StreamId, LiveRow)> = Vec::new();
        for kind in StreamKind::ALL {
            let found: Arc<Mutex<Vec<(StreamId, LiveRow)>>> = Arc::default();
            let into = found.clone();
            let visit = move |workspace: &str, id: &str, row: &[u8]| {
                let Ok(stream) = StreamId::new(workspace, kind, id) else { return };
                into.lock().unwrap_or_else(PoisonError::into_inner).push((stream, LiveRow::Put(row.into())));
            };
            self.visit_live(kind, visit).await?;
            rows.append(&mut found.lock().unwrap_or_else(PoisonError::into_inner));
        }
        while !rows.is_empty() {
            let some = rows.split_off(rows.len().saturating_sub(ROWS_AT_ONCE));
            self.write_lives(Lives { rows: some, complete: false, layout: Some(layout) }).await?;
        }
        Ok(())
    }
}

fn step(path: &std::path::Path, engine: &str, from: u32, to: u32) -> Result<(), MigrateError> {
    let mut directory = Directory::open(path, engine)?;
    if directory.format() != from {
        return Err(MigrateError::Usage("another process gave the store another format meanwhile: look, and try again".into()));
    }
    if to < DELETING_FORMAT && directory.format() >= DELETING_FORMAT {
        let failed = |e: std::io::Error| MigrateError::File(format!("cannot write the high-water mark anew: {e}"));
        let (mut file, _) = HighWater::open(&directory.high_water()).map_err(failed)?;
        file.compact().map_err(failed)?;
    }
    Ok(directory.set_format(to, engine)?)
}
