//! What lists show of a stream, and whether it is over: which rows hold that.
//!
//! A stream that is not over has one row for both, in the live index; when it ends, what lists show moves to the index. Before
//! format 3 the index had what lists show of every stream, and the live index a row beside it. A store that is between the two
//! has rows of both kinds: a reader goes by what a row says, and only a writer by the format.

use super::engine::{Batch, Engine, EngineError};
use super::key;
use super::live::{LIVE_LIMIT, LiveRow};
use super::reader::seal_meta;
use super::stream::StreamId;

/// The first format in which a stream that is not over has one row.
pub(crate) const JOINED_FORMAT: u32 = 3;

/// A row for both: this byte, how long the owner's bytes of the live index are, these, the sealed meta bytes. What was in the live
/// index before began with a byte of its owner's, of which none is this.
const JOINED: u8 = 0xf3;

/// How a writer lays rows out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Two rows for a stream that is not over.
    Apart,
    /// One.
    Joined,
}

impl Layout {
    /// That of a format.
    pub(crate) fn of(format: u32) -> Layout {
        if format < JOINED_FORMAT { Layout::Apart } else { Layout::Joined }
    }
}

/// What is stored of a stream beside its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// What lists show, sealed.
    pub(crate) meta: Option<Vec<u8>>,
    /// The owner's bytes in the live index; `None`: it is over.
    pub(crate) live: Option<Vec<u8>>,
    /// Whether both stand in one row.
    joined: bool,
}

/// The two parts of a row of the live index: the owner's bytes and, where it holds them, the sealed meta bytes. A damaged row for both
/// holds neither.
pub(crate) fn parts(row: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(rest) = row.strip_prefix(&[JOINED]) else { return (row, None) };
    let split = rest.split_first().and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
    split.map_or((&[], Some(&[])), |(live, meta)| (live, Some(meta)))
}

impl Rows {
    /// Of a stream whose rows cannot be read: whatever they are, they are written over.
    pub(crate) fn unread() -> Rows {
        Rows { live: Some(Vec::new()), ..Rows::default() }
    }

    /// As an engine has them. A stream that is written meanwhile may have its row in the live index, then in the index, and now
    /// and then the other way round: the first place is looked at once more before it has none.
    pub(crate) fn read(engine: &dyn Engine, stream: &StreamId, key: &mut Vec<u8>) -> Result<Rows, EngineError> {
        let mut found = Rows::default();
        for _ in 0..2 {
            key::live(stream, key);
            let row = engine.get(key)?;
            let row = row.as_deref().map(parts);
            found.live = row.map(|(live, _)| live.to_vec());
            if let Some((_, Some(meta))) = row {
                return Ok(Rows { meta: Some(meta.to_vec()), joined: true, ..found });
            }
            key::index(stream, key);
            found.meta = engine.get(key)?;
            if found.meta.is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// Whether these are the rows after one of the index was joined to the live index.
    pub(crate) fn has_left_the_index(&self, before: &Rows) -> bool {
        self.joined && !before.joined && before.meta.is_some()
    }

    /// What lists show alone, sealed. The index may have it though the live index cannot be read.
    pub(crate) fn meta(engine: &dyn Engine, stream: &StreamId, key: &mut Vec<u8>) -> Result<Option<Vec<u8>>, EngineError> {
        match Rows::read(engine, stream, key) {
            Ok(rows) => Ok(rows.meta),
            Err(e @ EngineError::Damaged(_)) => {
                key::index(stream, key);
                engine.get(key)?.map_or(Err(e), |row| Ok(Some(row)))
            }
            Err(e) => Err(e),
        }
    }

    /// Adds to a batch what makes the new rows of these; without `meta` what lists show stays. What is removed comes last: an engine
    /// may show a batch write by write.
    pub(crate) fn change(
        &self,
        layout: Layout,
        stream: &StreamId,
        (meta, live): (Option<&[u8]>, &LiveRow),
        key: &mut Vec<u8>,
        batch: &mut Batch,
    ) -> Rows {
        let (was_live, was_indexed, rewritten) = (self.live.is_some(), self.meta.is_some() && !self.joined, meta.is_some());
        let meta = meta.map(seal_meta).or_else(|| self.meta.clone());
        let (live, relisted) = match live {
            LiveRow::Keep => (self.live.clone(), false),
            LiveRow::Put(bytes) => (Some(bytes.clone()), true),
            LiveRow::Remove => (None, true),
        };
        let joined = layout == Layout::Joined && live.is_some() && meta.is_some();
        if let Some(meta) = meta.as_deref().filter(|_| !joined && (rewritten || self.joined)) {
            key::index(stream, key);
            batch.put(key, meta);
        }
        key::live(stream, key);
        match &live {
            Some(live) if joined => {
                // Only a damaged row is longer.
                let live = &live[..live.len().min(LIVE_LIMIT)];
                let len = u8::try_from(live.len()).unwrap_or_default();
                batch.put_parts(key, &[&[JOINED, len], live, meta.as_deref().unwrap_or_default()]);
            }
            Some(live) if relisted || self.joined => batch.put(key, live),
            None if was_live => batch.delete(key),
            Some(_) | None => {}
        }
        if joined && was_indexed {
            key::index(stream, key);
            batch.delete(key);
        }
        Rows { meta, live, joined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::engine::Guard;
    use crate::store::memory::MemoryEngine;
    use crate::store::stream::StreamKind;

    /// What stands in the live index and in the index of a stream.
    fn stored(engine: &MemoryEngine, stream: &StreamId) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let (mut live, mut index) = (Vec::new(), Vec::new());
        key::live(stream, &mut live);
        key::index(stream, &mut index);
        (engine.get(&live).unwrap(), engine.get(&index).unwrap())
    }

    #[test]
    fn rows_say_the_same_in_either_layout_and_on_the_way_between() {
        use LiveRow::{Keep, Put, Remove};
        let changes = [
            (Some("queued"), Put(vec![0])),
            (None, Put(vec![1, 9])),
            (Some("running"), Keep),
            (None, Keep),
            (Some("waiting"), Put(vec![])),
            (Some("completed"), Remove),
            (Some("again"), Keep),
            (None, Remove),
            (None, Put(vec![2; 64])),
            (None, Remove),
        ];
        // Each bit is a layout: all ways in which a store may have gone to and fro.
        for ways in 0..1_u32 << changes.len() {
            let (engine, stream) = (MemoryEngine::new(), StreamId::new("w", StreamKind::Run, "r").unwrap());
            let (mut key, mut said) = (Vec::new(), (None, None));
            for (n, (meta, live)) in changes.iter().enumerate() {
                let layout = if ways >> n & 1 == 0 { Layout::Joined } else { Layout::Apart };
                let mut batch = Batch::default();
                let rows = Rows::read(&engine, &stream, &mut key).unwrap();
                let rows = rows.change(layout, &stream, (meta.map(str::as_bytes), live), &mut key, &mut batch);
                engine.apply(Guard { key: b"none", holds: None }, &batch).unwrap();
                said.0 = meta.or(said.0);
                match live {
                    Keep => {}
                    Put(bytes) => said.1 = Some(bytes.clone()),
                    Remove => said.1 = None,
                }
                assert_eq!(
                    (rows.meta.clone(), rows.live.clone()),
                    (said.0.map(|m| seal_meta(m.as_bytes())), said.1.clone()),
                    "{ways:b} {n}"
                );
                assert_eq!(Rows::read(&engine, &stream, &mut key).unwrap(), rows, "{ways:b} {n}");
                let (in_live, in_index) = stored(&engine, &stream);
                let one = in_live.as_deref().is_some_and(|row| parts(row).1.is_some());
                assert_eq!(in_index.is_some(), !one, "what lists show is there once: {ways:b} {n}");
                if layout == Layout::Joined && meta.is_some() {
                    assert_eq!(in_live.is_some(), one, "one row: {ways:b} {n}");
                }
            }
        }
    }
}
