//! Bodies beside the log: blobs named by their content, and snapshots. How both become rows, and are read back.
//!
//! A blob's row is kept per workspace, so that no workspace can tell what another holds. A snapshot is a cache of a
//! state, never an authority: one that cannot be read is passed over.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use commedia_domain::id::Hash32;
use commedia_domain::run::state::WORKSPACE;

use super::engine::{Batch, Engine, EngineError, Order, ROW_LIMIT};
use super::error::{Damage, ReadError};
use super::key;
use super::stream::StreamId;

/// A blob is at most this long, in bytes.
pub const BLOB_LIMIT: usize = 16 * 1024 * 1024;

/// A snapshot's state is at most this long, in bytes.
pub const SNAPSHOT_LIMIT: usize = 32 * 1024 * 1024;

const KEY_CONTEXT: &str = "commedia 2026 blob name v1";

/// The first byte of a blob's first row; another value is kept for one that was erased.
const PRESENT: u8 = 0;

/// A body with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    name: Hash32,
    bytes: Vec<u8>,
}

impl Blob {
    /// Names a body.
    pub fn new(bytes: Vec<u8>) -> Blob {
        Blob { name: blob_name(&bytes), bytes }
    }

    /// Its name, which events refer to it by.
    pub fn name(&self) -> Hash32 {
        self.name
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The name of a body: BLAKE3 under a key of its own, the same in every workspace. It counts for the digest, which must not
/// depend on where a run plays.
pub fn blob_name(bytes: &[u8]) -> Hash32 {
    static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key(KEY_CONTEXT, WORKSPACE.as_bytes()));
    Hash32(*blake3::keyed_hash(&KEY, bytes).as_bytes())
}

/// Writes a blob unless it is there already.
pub(crate) fn write_blob(
    engine: &dyn Engine,
    workspace: &str,
    blob: &Blob,
    row: &mut Vec<u8>,
    batch: &mut Batch,
) -> Result<(), EngineError> {
    key::blob(workspace, &blob.name, 0, row);
    if engine.get(row)?.is_some_and(|first| first.first() == Some(&PRESENT)) {
        return Ok(());
    }
    let len = u32::try_from(blob.bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (first, rest) = blob.bytes.split_at(blob.bytes.len().min(ROW_LIMIT - 5));
    batch.put_parts(row, &[&[PRESENT], &len, first]);
    for (part, bytes) in (1..).zip(rest.chunks(ROW_LIMIT)) {
        key::blob(workspace, &blob.name, part, row);
        batch.put(row, bytes);
    }
    Ok(())
}

/// Reads a blob and compares it with its name; `None` if there is none.
pub(crate) fn read_blob(engine: &dyn Engine, workspace: &str, name: &Hash32) -> Result<Option<Vec<u8>>, ReadError> {
    let damaged = |what: &str| ReadError::Damaged(Damage::of_store(format!("blob {name} of workspace {workspace}: {what}")));
    let (mut from, mut to) = (Vec::new(), Vec::new());
    key::blob(workspace, name, 0, &mut from);
    key::blob(workspace, name, u16::MAX, &mut to);
    let stored = gather(engine, &from, &to).map_err(|e| match e {
        EngineError::Damaged(what) => damaged(&what),
        e => ReadError::of_store(e),
    })?;
    let Some(stored) = stored else { return Ok(None) };
    let Some((head, bytes)) = stored.split_first_chunk::<5>() else { return Err(damaged("it is cut off")) };
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if head[0] != PRESENT || u32::try_from(bytes.len()) != Ok(len) || blob_name(bytes) != *name {
        return Err(damaged("its bytes are not those it is named by"));
    }
    Ok(Some(bytes.to_vec()))
}

/// Joins the parts 0, 1, … of a body; `None` if there is no row.
fn gather(engine: &dyn Engine, from: &[u8], to: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    let mut body: Option<Vec<u8>> = None;
    let mut next = 0;
    engine.scan(from, to, Order::Ascending, &mut |key, value| {
        if key::part(key) != Some(next) {
            return ControlFlow::Break(());
        }
        next = next.saturating_add(1);
        body.get_or_insert_default().extend_from_slice(value);
        ControlFlow::Continue(())
    })?;
    Ok(body)
}

/// A run's state at a seq, so that recovery need not read the whole stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last event that the state includes.
    pub seq: u64,
    /// The hash of the frame that ends with it: the tail must follow it.
    pub head_hash: Hash32,
    /// The digest up to it.
    pub digest: Hash32,
    /// The version of the state's encoding; another one is passed over by its reader.
    pub state_version: u32,
    /// The encoded state.
    pub bytes: Vec<u8>,
}

const SNAPSHOT_HEAD: usize = 8 + 32 + 32 + 4;

/// A snapshot as it is stored.
pub(crate) fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::with_capacity(SNAPSHOT_HEAD + snapshot.bytes.len() + 32);
    out.extend_from_slice(&snapshot.seq.to_be_bytes());
    out.extend_from_slice(&snapshot.head_hash.0);
    out.extend_from_slice(&snapshot.digest.0);
    out.extend_from_slice(&snapshot.state_version.to_be_bytes());
    out.extend_from_slice(&snapshot.bytes);
    let check = Hash32::of(&out);
    out.extend_from_slice(&check.0);
    out
}

/// A stored snapshot, if it is as it was written.
pub(crate) fn decode_snapshot(stored: &[u8]) -> Option<Snapshot> {
    let (body, check) = stored.split_last_chunk::<32>()?;
    if Hash32::of(body).0 != *check {
        return None;
    }
    let (seq, rest) = body.split_first_chunk()?;
    let (head_hash, rest) = rest.split_first_chunk()?;
    let (digest, rest) = rest.split_first_chunk()?;
    let (state_version, bytes) = rest.split_first_chunk()?;
    Some(Snapshot {
        seq: u64::from_be_bytes(*seq),
        head_hash: Hash32(*head_hash),
        digest: Hash32(*digest),
        state_version: u32::from_be_bytes(*state_version),
        bytes: bytes.to_vec(),
    })
}

/// The rows of a stream's snapshots, the newest first.
fn snapshot_rows(engine: &dyn Engine, stream: &StreamId) -> Result<Vec<(u64, u16)>, EngineError> {
    let range = key::snapshots(stream);
    let mut rows = Vec::new();
    engine.scan(&range.from, &range.to, Order::Descending, &mut |key, _| {
        rows.extend(key::seq_and_part(key));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// Writes a snapshot; of the earlier ones the newest stays, in case this one cannot be read one day.
pub(crate) fn write_snapshot(
    engine: &dyn Engine,
    stream: &StreamId,
    snapshot: &Snapshot,
    row: &mut Vec<u8>,
    batch: &mut Batch,
) -> Result<(), EngineError> {
    let rows = snapshot_rows(engine, stream)?;
    let spare = rows.iter().map(|(seq, _)| *seq).find(|seq| *seq < snapshot.seq);
    for (seq, part) in rows.into_iter().filter(|(seq, _)| Some(*seq) != spare) {
        key::snapshot(stream, seq, part, row);
        batch.delete(row);
    }
    for (part, bytes) in (0..).zip(encode_snapshot(snapshot).chunks(ROW_LIMIT)) {
        key::snapshot(stream, snapshot.seq, part, row);
        batch.put(row, bytes);
    }
    Ok(())
}

/// The newest snapshot that can be read, and the seqs of those that cannot.
pub(crate) fn newest_snapshot(engine: &dyn Engine, stream: &StreamId) -> Result<(Option<Snapshot>, Vec<u64>), EngineError> {
    let mut seqs: Vec<u64> = snapshot_rows(engine, stream)?.into_iter().map(|(seq, _)| seq).collect();
    seqs.dedup();
    let mut unreadable = Vec::new();
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for seq in seqs {
        key::snapshot(stream, seq, 0, &mut from);
        key::snapshot(stream, seq, u16::MAX, &mut to);
        match gather(engine, &from, &to) {
            Ok(stored) => match stored.as_deref().and_then(decode_snapshot).filter(|s| s.seq == seq) {
                Some(snapshot) => return Ok((Some(snapshot), unreadable)),
                None => unreadable.push(seq),
            },
            Err(EngineError::Damaged(_)) => unreadable.push(seq),
            Err(e) => return Err(e),
        }
    }
    Ok((None, unreadable))
}
