//! Lists of streams, from the rows of the index and of the live index ([`super::listing`]), in order of ids.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering as Atomic;

use super::engine::{EngineError, Order};
use super::error::ReadError;
use super::highwater;
use super::key;
use super::listing::{self, Rows};
use super::reader::{Before, Indexed, Opened, open_meta};
use super::stream::{Head, StreamId, StreamKind};

/// So many rows of the live index are looked at before those of the index beside them.
const WINDOW: usize = 1024;

/// How often a list is read again because rows moved from the index to the live index meanwhile.
const ATTEMPTS: usize = 100;

/// What a stream was before the group that is being written, if that writes it.
pub(crate) type Earlier<'a> = dyn Fn(&StreamId) -> Option<Before> + 'a;

/// Whether a stream is wanted, by its name and what lists show.
pub(crate) type Keep<'a> = dyn Fn(&StreamId, Option<&[u8]>) -> bool + 'a;

/// A page of a list that is asked for.
struct Page<'a> {
    /// Of the index.
    range: key::Range,
    order: Order,
    limit: usize,
    keep: &'a Keep<'a>,
    earlier: &'a Earlier<'a>,
}

impl Opened {
    /// What lists show of the streams of a kind in a workspace, or of all with `None`, after a given one.
    pub(crate) fn index(
        &self,
        of: Option<(&str, StreamKind)>,
        after: Option<&StreamId>,
        limit: usize,
        earlier: &Earlier<'_>,
    ) -> Result<Vec<Indexed>, ReadError> {
        let mut range = key::indexes(of);
        if let Some(after) = after {
            let mut from = Vec::new();
            key::index(after, &mut from);
            from.push(0);
            range.from = range.from.max(from);
        }
        self.page(&Page { range, order: Order::Ascending, limit, keep: &|_, _| true, earlier })
    }

    /// The workspaces that rows name, in order.
    pub(crate) fn workspaces(&self) -> Result<Vec<String>, ReadError> {
        let first = |range| Page { range, order: Order::Ascending, limit: 1, keep: &|_, _| true, earlier: &|_| None };
        let (mut found, mut range) = (Vec::new(), key::indexes(None));
        while let Some((stream, _)) = self.page(&first(range))?.pop() {
            range = key::indexes_behind(stream.workspace());
            found.push(stream.workspace().to_owned());
        }
        Ok(found)
    }

    /// What lists show from the last stream back, or from before a given one, of those that are wanted.
    pub(crate) fn newest(
        &self,
        of: (&str, StreamKind),
        before: Option<&StreamId>,
        limit: usize,
        keep: &Keep<'_>,
        earlier: &Earlier<'_>,
    ) -> Result<Vec<Indexed>, ReadError> {
        let mut range = key::indexes(Some(of));
        if let Some(before) = before {
            let mut to = Vec::new();
            key::index(before, &mut to);
            range.to = range.to.min(to);
        }
        self.page(&Page { range, order: Order::Descending, limit, keep, earlier })
    }

    fn page(&self, page: &Page<'_>) -> Result<Vec<Indexed>, ReadError> {
        match (self.settled(page), &self.high_water) {
            (Ok(_), Some(path)) if self.lost => self.by_name(page, path),
            (Ok(rows), _) => Ok(rows),
            (Err(EngineError::Damaged(_)), Some(path)) => self.by_name(page, path),
            (Err(e), _) => Err(ReadError::of_store(e)),
        }
    }

    /// As [`Opened::windows`], read again where a row may have been missed that moved to what was read already.
    fn settled(&self, page: &Page<'_>) -> Result<Vec<Indexed>, EngineError> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let moves = self.moves.load(Atomic::Acquire);
            let rows = self.windows(page)?;
            let still = moves.is_multiple_of(2) && self.moves.load(Atomic::Acquire) == moves;
            if still || attempts.next().is_none() {
                return Ok(rows);
            }
            std::thread::yield_now();
        }
    }

    /// What lists show of the streams in a range of the index that are wanted, as far as they are acknowledged. Of those that are not
    /// over it stands in the live index; that is read first, as a stream that ends goes from there to the index, and one that is met
    /// in both has ended. Neither is read further than the other, so that a page costs what lies before its end.
    fn windows(&self, page: &Page<'_>) -> Result<Vec<Indexed>, EngineError> {
        let &Page { ref range, order, limit, keep, earlier } = page;
        let take = |stream: StreamId, stored: &[u8], into: &mut Vec<Indexed>| {
            let row = match earlier(&stream) {
                Some(before) if before.head == Head::START => return,
                Some(before) if before.writes_meta => before.meta,
                _ => Some(stored.to_vec()),
            };
            if keep(&stream, row.as_deref().and_then(open_meta)) {
                into.push((stream, row));
            }
        };
        let (mut rows, mut rest) = (Vec::new(), range.clone());
        while rows.len() < limit {
            let (mut live, mut edge, mut seen, wanted) = (Vec::new(), None, 0, limit - rows.len());
            let window = key::in_live(&rest);
            self.engine.scan(&window.from, &window.to, order, &mut |key, value| {
                seen += 1;
                if let (Some(stream), (_, Some(meta))) = (key::of_live(key), listing::parts(value)) {
                    take(stream, meta, &mut live);
                }
                if live.len() < wanted && seen < WINDOW {
                    return ControlFlow::Continue(());
                }
                edge = Some(key::beside_live(key));
                ControlFlow::Break(())
            })?;
            let (part, beyond) = rest.split(edge, order);
            let mut found = Vec::new();
            self.engine.scan(&part.from, &part.to, order, &mut |key, value| {
                if let Some(stream) = key::indexed(key) {
                    take(stream, value, &mut found);
                }
                if found.len() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if !live.is_empty() {
                found.append(&mut live);
                // In the order of their rows, which is not that of their keys; stable, so that of two the index' comes first.
                found.sort_by(|(a, _), (b, _)| match order {
                    Order::Ascending => a.listed().cmp(b.listed()),
                    Order::Descending => b.listed().cmp(a.listed()),
                });
                found.dedup_by(|(later, _), (first, _)| later == first);
            }
            rows.append(&mut found);
            let Some(beyond) = beyond else { break };
            rest = beyond;
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// The rows of a page one by one, where its range cannot be read as a whole, or its end was lost: what can be read is served, and
    /// what was acknowledged is named.
    fn by_name(&self, page: &Page<'_>, path: &Path) -> Result<Vec<Indexed>, ReadError> {
        let range = &page.range;
        let streams = highwater::streams(path).map_err(|e| ReadError::Unavailable(e.to_string()))?;
        let keyed = streams.into_iter().map(|(stream, _)| {
            let mut key = Vec::new();
            key::index(&stream, &mut key);
            (key, stream)
        });
        let mut keyed: Vec<_> = keyed.filter(|(key, _)| range.from <= *key && *key < range.to).collect();
        // Of a stream whose line in the file is damaged too the row is the only sign.
        for range in [&key::in_live(range), range] {
            let also = &mut |key: &[u8], _: &[u8]| {
                let stream = key::indexed(key).or_else(|| key::of_live(key));
                keyed.extend(stream.map(|stream| {
                    let mut key = Vec::new();
                    key::index(&stream, &mut key);
                    (key, stream)
                }));
                ControlFlow::Continue(())
            };
            match self.engine.scan(&range.from, &range.to, Order::Ascending, also) {
                Ok(()) | Err(EngineError::Damaged(_)) => {}
                Err(e) => return Err(ReadError::of_store(e)),
            }
        }
        keyed.sort_unstable();
        keyed.dedup();
        if page.order == Order::Descending {
            keyed.reverse();
        }
        let (mut rows, mut key) = (Vec::new(), Vec::new());
        for (_, stream) in keyed {
            if rows.len() >= page.limit {
                break;
            }
            let row = match Rows::meta(&*self.engine, &stream, &mut key) {
                Ok(row) => row,
                Err(EngineError::Damaged(_)) => None,
                Err(e) => return Err(ReadError::of_store(e)),
            };
            if (page.keep)(&stream, row.as_deref().and_then(open_meta)) {
                rows.push((stream, row));
            }
        }
        Ok(rows)
    }
}
