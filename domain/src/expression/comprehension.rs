//! `all exists exists_one filter map sort_by` and counting, over lists, keys of maps and records of collections in key order.
//! Where a condition asks for a field to equal something, an index or the key of a collection narrows the records first.

use std::sync::Arc;

use super::lexer::At;
use super::machine::{Machine, show};
use super::operators::compare;
use super::program::Node;
use super::{EvalError, types};
use crate::collection::{Candidates, Collection};
use crate::value::{Key, Value};

/// What a comprehension makes of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
    SortBy,
    /// How many items `Filter` would give, without making the list.
    Count,
}

/// How few items a condition leaves to go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrow {
    /// All.
    Scan,
    /// Those of an index.
    Index,
    /// Those of a key.
    Key,
}

/// A comprehension.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) source: Node,
    /// The condition, where there is one; for `Map` its optional filter.
    pub(super) condition: Option<Node>,
    /// What `Map` and `SortBy` make of an item.
    pub(super) body: Option<Node>,
    pub(super) slot: u16,
    /// Parts `item.field == value` of the condition's conjunction, the value free of the item.
    pub(super) probes: Box<[(Key, Node)]>,
    /// Whether the condition is the one probe and nothing else.
    pub(super) pure: bool,
    /// What the declared key and indexes promise for an estimate; an evaluation looks for itself.
    pub(super) narrow: Narrow,
    /// Nodes of condition and body, without those of inner comprehensions.
    pub(super) cost: u64,
    pub(super) at: At,
}

impl Loop {
    /// The value.
    #[inline(never)]
    pub(super) fn eval(&self, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let source = self.source.eval(m)?;
        match &source {
            Value::List(items) => self.over(items.iter().cloned(), items.len(), m),
            Value::Map(map) => self.over(map.keys().map(Key::to_value), map.len(), m),
            Value::Collection(c) => self.records(c, m),
            other => Err(m.fail(format!("cannot go through {} {}", other.kind(), show(other)), self.at)),
        }
    }

    fn records(&self, c: &Collection, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let Some((first, _)) = self.probes.first() else {
            return self.over(c.iter().map(|(_, r)| r.clone()), c.len(), m);
        };
        let former = m.missing.clone();
        let mut wanted = Vec::with_capacity(self.probes.len());
        if c.len() > 1 {
            for (field, node) in &self.probes {
                match node.eval(m) {
                    Ok(value) => wanted.extend(value.exact_key().map(|k| (field, k))),
                    Err(e) if m.exhausted => return Err(e),
                    Err(_) => {}
                }
            }
        }
        let found = match c.candidates(&wanted) {
            Some(found) => self.narrowed(c, &found, m),
            None => {
                if !c.shape().index.iter().any(|f| matches!(first, Key::Text(t) if t == f)) {
                    m.missing = Some((first.clone(), c.shape().name.clone()));
                }
                self.over(c.iter().map(|(_, r)| r.clone()), c.len(), m)
            }
        };
        m.missing = former;
        found
    }

    fn narrowed(&self, c: &Collection, found: &Candidates<'_>, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        if self.kind == LoopKind::Count
            && self.pure
            && let Some(count) = found.exact()
        {
            return Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)));
        }
        match found {
            Candidates::One(one) => self.over(one.iter().map(|r| (*r).clone()), usize::from(one.is_some()), m),
            Candidates::Set(None, absent) if absent.is_empty() => self.over(std::iter::empty(), 0, m),
            Candidates::Set(Some(keys), absent) if absent.is_empty() => {
                self.over(keys.iter().filter_map(|k| c.get(k).cloned()), keys.len(), m)
            }
            Candidates::Set(keys, absent) => {
                m.charge(absent.len() + keys.map_or(0, |k| k.len()))?;
                let mut all: Vec<&Key> = keys.iter().flat_map(|k| k.iter()).chain(absent.iter()).collect();
                all.sort_unstable();
                self.over(all.iter().filter_map(|k| c.get(k).cloned()), all.len(), m)
            }
            Candidates::Prefix(prefix) => {
                let records: Vec<&Value> = c.with_prefix(prefix).collect();
                self.over(records.iter().map(|r| (*r).clone()), records.len(), m)
            }
        }
    }

    /// The items one by one; charged for before the first.
    fn over(&self, items: impl Iterator<Item = Value>, count: usize, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let times = m.enter(count, self.cost)?;
        let made = match self.kind {
            LoopKind::All => self.any(items, false, m),
            LoopKind::Exists => self.any(items, true, m),
            LoopKind::ExistsOne => self.count(items, m).map(|n| Value::Bool(n == 1)),
            LoopKind::Count => self.count(items, m).map(Value::Int),
            LoopKind::Filter | LoopKind::Map => self.list(items, m),
            LoopKind::SortBy => self.sorted(items, m),
        };
        m.leave(times);
        made
    }

    /// Whether the condition gives `decisive` for some item; its errors count only where none does.
    fn any(&self, items: impl Iterator<Item = Value>, decisive: bool, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let mut error = None;
        for item in items {
            m.set_local(self.slot, item);
            match self.holds(m) {
                Ok(b) if b == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(e) if m.exhausted => return Err(e),
                Err(e) => error = error.or(Some(e)),
            }
        }
        error.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn count(&self, items: impl Iterator<Item = Value>, m: &mut Machine<'_>) -> Result<i64, EvalError> {
        let mut count = 0;
        for item in items {
            m.set_local(self.slot, item);
            count += i64::from(self.holds(m)?);
        }
        Ok(count)
    }

    fn list(&self, items: impl Iterator<Item = Value>, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let mut out = Vec::new();
        if self.condition.is_none() {
            out.reserve(items.size_hint().0);
        }
        for item in items {
            m.set_local(self.slot, item);
            if self.holds(m)? {
                out.push(match &self.body {
                    Some(body) => body.eval(m)?,
                    None => m.locals[usize::from(self.slot)].clone(),
                });
            }
        }
        Ok(Value::List(Arc::new(out)))
    }

    fn sorted(&self, items: impl Iterator<Item = Value>, m: &mut Machine<'_>) -> Result<Value, EvalError> {
        let mut keyed = Vec::new();
        for item in items {
            m.set_local(self.slot, item.clone());
            let key = self.body.as_ref().map_or(Ok(Value::Null), |b| b.eval(m))?;
            keyed.push((key, item));
        }
        sort_values(&mut keyed, |pair| &pair.0, m).map_err(|e| m.place(e, self.at))?;
        Ok(Value::List(Arc::new(keyed.into_iter().map(|(_, item)| item).collect())))
    }

    fn holds(&self, m: &mut Machine<'_>) -> Result<bool, EvalError> {
        let Some(condition) = &self.condition else { return Ok(true) };
        match condition.eval(m)? {
            Value::Bool(b) => Ok(b),
            other => Err(m.fail(format!("the condition is {}, not bool: {}", other.kind(), show(&other)), self.at)),
        }
    }
}

/// Sorts by keys of one kind, stably; an error names two that have no order.
pub(super) fn sort_values<T>(items: &mut [T], key: impl Fn(&T) -> &Value, m: &mut Machine<'_>) -> Result<(), EvalError> {
    let count = items.len();
    m.charge(count.saturating_mul(count.max(1).ilog2() as usize))?;
    if let Some(first) = items.first() {
        let former = key(first);
        let odd = items.iter().map(&key).find(|k| compare(former, k).is_none());
        if let Some(odd) = odd {
            let what = format!("cannot sort {} and {}: {}, {}", former.kind(), odd.kind(), show(former), show(odd));
            return Err(EvalError::new(format!("{what} (sorted are values of one kind: {})", types::kinds_text(types::ORDERED))));
        }
    }
    items.sort_by(|a, b| compare(key(a), key(b)).unwrap_or(std::cmp::Ordering::Equal));
    Ok(())
}
