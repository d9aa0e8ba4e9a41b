//! Takes a store from one format to another, forwards or back, step by step. Each step can be done again after a crash.
//!
//! Format 1: frames, blobs, snapshots, index and live rows. Format 2: tombstones too, and lines of deleted streams in the
//! high-water mark, which a program that knows format 1 only would take for losses. Back to 1 these are removed: what was
//! deleted stays deleted, and that it ever was is forgotten.

use super::directory::{Directory, OLDEST_FORMAT, STORE_FORMAT};
use super::engine::Durability;
use super::error::{AppendError, OpenError};
use super::highwater::HighWater;
use super::home::place;
use super::{Options, Store, blocking};

/// Why the format is as it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The call makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The store does not open.
    #[error("{0}")]
    Open(#[from] OpenError),
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
        None if to < from => store.forget_deleted().await.map_err(MigrateError::Write),
        None => Ok(()),
    };
    store.close().await.map_err(MigrateError::File)?;
    ready?;
    if to != from {
        let path = path.to_path_buf();
        blocking(move || step(&path, engine, to)).await.map_err(MigrateError::File)??;
    }
    Ok((from, to))
}

fn step(path: &std::path::Path, engine: &str, to: u32) -> Result<(), MigrateError> {
    let mut directory = Directory::open(path, engine)?;
    if to < directory.format() {
        let failed = |e: std::io::Error| MigrateError::File(format!("cannot write the high-water mark anew: {e}"));
        let (mut file, _) = HighWater::open(&directory.high_water()).map_err(failed)?;
        file.compact().map_err(failed)?;
    }
    Ok(directory.set_format(to, engine)?)
}
