//! A collection of the world: records in key order with secondary indexes. Clones share structure, so a view costs O(1).
//! An index is never stored: it follows from the records.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::value::{Key, Value};

/// What of a declared collection its data structure needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The collection's name.
    pub name: Arc<str>,
    /// The fields that make the key, in order; one of them, or several for a composite key.
    pub key: Vec<Arc<str>>,
    /// Fields with a secondary index.
    pub index: Vec<Arc<str>>,
}

/// Records by key, in key order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Collection {
    shape: Arc<Shape>,
    records: OrdMap<Key, Value>,
    /// One per field of `shape.index`, in that order.
    indexes: Vec<Index>,
    /// Records whose own fields do not make their key; while there are any, no key answers for a field.
    strays: usize,
}

/// A collection as it is stored: the records alone.
#[derive(Serialize, Deserialize)]
struct Stored {
    shape: Arc<Shape>,
    records: OrdMap<Key, Value>,
}

/// By content: indexes follow from the records.
impl PartialEq for Collection {
    fn eq(&self, other: &Collection) -> bool {
        self.records == other.records
    }
}

impl From<Collection> for Stored {
    fn from(collection: Collection) -> Stored {
        Stored { shape: collection.shape, records: collection.records }
    }
}

impl From<Stored> for Collection {
    fn from(stored: Stored) -> Collection {
        let mut collection = Collection::new(stored.shape);
        for (key, record) in &stored.records {
            collection.enter(key, record);
        }
        collection.records = stored.records;
        collection
    }
}

/// The keys of records by the value of one field.
#[derive(Debug, Clone)]
struct Index {
    field: Key,
    by: OrdMap<Key, OrdSet<Key>>,
    /// Records whose field holds what is no exact key, such as null or 1.5.
    others: OrdSet<Key>,
    /// Records without the field.
    absent: OrdSet<Key>,
}

/// The records that may have some fields equal to some values; all others surely have not.
#[derive(Debug)]
pub(crate) enum Candidates<'c> {
    /// The one of a key, or none.
    One(Option<&'c Value>),
    /// Those of an index: the equal ones, then the ones without the field.
    Set(Option<&'c OrdSet<Key>>, &'c OrdSet<Key>),
    /// Those whose composite key starts so.
    Prefix(Key),
}

impl Collection {
    /// An empty collection.
    pub fn new(shape: Arc<Shape>) -> Collection {
        let index = |field: &Arc<str>| Index {
            field: Key::Text(field.clone()),
            by: OrdMap::new(),
            others: OrdSet::new(),
            absent: OrdSet::new(),
        };
        let indexes = shape.index.iter().map(index).collect();
        Collection { shape, records: OrdMap::new(), indexes, strays: 0 }
    }
    /// The collection's shape.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }
    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
    /// The record of a key.
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.records.get(key)
    }
    /// The key a record has by its own fields; `None` where a key field is absent or no key.
    pub fn key_of(&self, record: &Value) -> Option<Key> {
        let part = |name: &Arc<str>| record.field(&Key::Text(name.clone())).and_then(Value::as_key);
        match self.shape.key.as_slice() {
            [one] => part(one),
            many => many.iter().map(part).collect::<Option<Vec<_>>>().map(|k| Key::List(k.into())),
        }
    }
    /// Sets the record of a key; the former one comes back.
    pub fn put(&mut self, key: Key, record: Value) -> Option<Value> {
        if let Some(former) = self.records.get(&key).cloned() {
            self.leave(&key, &former);
        }
        self.enter(&key, &record);
        self.records.insert(key, record)
    }
    /// Removes a record; it comes back.
    pub fn delete(&mut self, key: &Key) -> Option<Value> {
        let record = self.records.remove(key)?;
        self.leave(key, &record);
        Some(record)
    }
    /// All records in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Value)> {
        self.records.iter()
    }
    /// The records whose indexed `field` equals `value`, in key order; `None` where the field has no index.
    pub fn lookup(&self, field: &str, value: &Value) -> Option<Vec<(Key, Value)>> {
        let index = self.index(field)?;
        let pick = |keys: &OrdSet<Key>| keys.iter().filter_map(|k| Some((k.clone(), self.records.get(k)?.clone()))).collect();
        let Some(wanted) = value.exact_key() else {
            let equal = |(_, r): &(&Key, &Value)| r.field(&index.field) == Some(value);
            return Some(self.records.iter().filter(equal).map(|(k, r)| (k.clone(), r.clone())).collect());
        };
        Some(index.by.get(&wanted).map_or_else(Vec::new, pick))
    }

    /// How many records have each value of an indexed field, in the order of the values; `None` without such an index, or
    /// where some record has no value there that can be a key.
    pub(crate) fn groups(&self, field: &str) -> Option<impl Iterator<Item = (&Key, &OrdSet<Key>)>> {
        let index = self.index(field)?;
        (index.others.is_empty() && index.absent.is_empty()).then(|| index.by.iter())
    }

    /// The fewest records that an index or the key can narrow a search to, for fields that must equal exact keys.
    pub(crate) fn candidates(&self, wanted: &[(&Key, Key)]) -> Option<Candidates<'_>> {
        let value_of = |field: &Arc<str>| wanted.iter().find(|w| matches!(w.0, Key::Text(t) if t == field)).map(|w| &w.1);
        let mut parts: Vec<Key> = Vec::new();
        if self.strays == 0 {
            parts.extend(self.shape.key.iter().map_while(value_of).cloned());
            if parts.len() == self.shape.key.len() {
                let key = if parts.len() == 1 { parts.remove(0) } else { Key::List(parts.into()) };
                return Some(Candidates::One(self.records.get(&key)));
            }
        }
        let sets = self.indexes.iter().filter_map(|index| {
            let wanted = wanted.iter().find(|w| *w.0 == index.field)?;
            Some((index.by.get(&wanted.1), &index.absent))
        });
        if let Some((set, absent)) = sets.min_by_key(|(set, absent)| set.map_or(0, OrdSet::len) + absent.len()) {
            return Some(Candidates::Set(set, absent));
        }
        (!parts.is_empty()).then(|| Candidates::Prefix(Key::List(parts.into())))
    }

    /// The records whose composite key starts with the parts of `prefix`, in key order.
    pub(crate) fn with_prefix<'c>(&'c self, prefix: &'c Key) -> impl Iterator<Item = &'c Value> {
        let starts = move |key: &Key| matches!((key, prefix), (Key::List(k), Key::List(p)) if k.starts_with(p));
        self.records.range::<std::ops::RangeFrom<&Key>, Key>(prefix..).take_while(move |(k, _)| starts(k)).map(|(_, r)| r)
    }

    fn index(&self, field: &str) -> Option<&Index> {
        let place = self.shape.index.iter().position(|f| &**f == field)?;
        self.indexes.get(place)
    }

    fn enter(&mut self, key: &Key, record: &Value) {
        self.strays += usize::from(self.key_of(record).as_ref() != Some(key));
        for index in &mut self.indexes {
            match record.field(&index.field).map(Value::exact_key) {
                None => drop(index.absent.insert(key.clone())),
                Some(None) => drop(index.others.insert(key.clone())),
                Some(Some(value)) => drop(index.by.entry(value).or_default().insert(key.clone())),
            }
        }
    }

    fn leave(&mut self, key: &Key, record: &Value) {
        self.strays -= usize::from(self.key_of(record).as_ref() != Some(key));
        for index in &mut self.indexes {
            match record.field(&index.field).map(Value::exact_key) {
                None => drop(index.absent.remove(key)),
                Some(None) => drop(index.others.remove(key)),
                Some(Some(value)) => {
                    let empty = index.by.get_mut(&value).is_some_and(|keys| {
                        keys.remove(key);
                        keys.is_empty()
                    });
                    if empty {
                        index.by.remove(&value);
                    }
                }
            }
        }
    }
}

impl Candidates<'_> {
    /// Whether each candidate surely has the one field equal that was asked for, and how many they are.
    pub(crate) fn exact(&self) -> Option<usize> {
        match self {
            Candidates::One(found) => Some(usize::from(found.is_some())),
            Candidates::Set(set, absent) => absent.is_empty().then(|| set.map_or(0, OrdSet::len)),
            Candidates::Prefix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape() -> Arc<Shape> {
        Arc::new(Shape { name: "c".into(), key: vec!["k".into()], index: vec!["f".into(), "g".into()] })
    }

    fn field_value() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            (0i64..4).prop_map(|i| Some(Value::Int(i))),
            (0i64..8).prop_map(|i| Some(Value::Double(i as f64 / 2.0))),
            Just(Some(Value::Int(i64::MAX))),
            Just(Some(Value::Double(9.3e18))),
            "[ab]".prop_map(|t| Some(Value::text(t))),
            (0i64..2).prop_map(|i| Some(Value::list([Value::Int(i)]))),
            (0i64..2).prop_map(|i| Some(Value::list([Value::Double(i as f64)]))),
        ]
    }

    fn record(k: i64, f: Option<Value>, g: Option<Value>) -> Value {
        let fields = [("k", Some(Value::Int(k))), ("f", f), ("g", g)];
        Value::object(fields.into_iter().filter_map(|(n, v)| Some((n, v?))))
    }

    fn scan(c: &Collection, field: &str, value: &Value) -> Vec<(Key, Value)> {
        let equal = |(_, r): &(&Key, &Value)| r.get(field) == Some(value);
        c.iter().filter(equal).map(|(k, r)| (k.clone(), r.clone())).collect()
    }

    proptest! {
        #[test]
        fn an_index_finds_what_a_scan_finds(
            steps in prop::collection::vec((0i64..6, prop::option::weighted(0.8, (field_value(), field_value()))), 0..40),
            wanted in field_value(),
        ) {
            let mut c = Collection::new(shape());
            for (k, change) in steps {
                match change {
                    Some((f, g)) => drop(c.put(Key::Int(k), record(k, f, g))),
                    None => drop(c.delete(&Key::Int(k))),
                }
            }
            let again: Collection = postcard::from_bytes(&postcard::to_stdvec(&c).unwrap()).unwrap();
            let wanted = wanted.unwrap_or(Value::Bool(true));
            for field in ["f", "g"] {
                prop_assert_eq!(c.lookup(field, &wanted), Some(scan(&c, field, &wanted)));
                prop_assert_eq!(again.lookup(field, &wanted), Some(scan(&c, field, &wanted)));
            }
            prop_assert_eq!(c.strays, 0);
            for index in &c.indexes {
                let held: usize = index.by.values().map(OrdSet::len).sum();
                prop_assert_eq!(held + index.others.len() + index.absent.len(), c.len());
                prop_assert!(index.by.values().all(|keys| !keys.is_empty()));
            }
        }
    }

    #[test]
    fn a_field_without_index_has_no_lookup() {
        assert_eq!(Collection::new(shape()).lookup("k", &Value::Int(1)), None);
    }

    #[test]
    fn a_prefix_of_a_composite_key_is_a_range() {
        let shape = Arc::new(Shape { name: "c".into(), key: vec!["a".into(), "b".into()], index: vec![] });
        let mut c = Collection::new(shape);
        for (a, b) in [("x", 1), ("x", 2), ("y", 1), ("w", 9)] {
            let record = Value::object([("a", Value::text(a)), ("b", Value::Int(b))]);
            c.put(c.key_of(&record).unwrap(), record);
        }
        let (field, other) = (Key::text("a"), Key::text("b"));
        let Some(Candidates::Prefix(prefix)) = c.candidates(&[(&field, Key::text("x"))]) else { panic!("a prefix") };
        let found: Vec<_> = c.with_prefix(&prefix).map(|r| r.get("b").cloned()).collect();
        assert_eq!(found, [Some(Value::Int(1)), Some(Value::Int(2))]);
        assert!(c.candidates(&[(&other, Key::Int(1))]).is_none());
        let both = c.candidates(&[(&other, Key::Int(1)), (&field, Key::text("y"))]);
        assert_eq!(both.and_then(|found| found.exact()), Some(1));
    }

    #[test]
    fn a_record_under_a_foreign_key_turns_the_key_off() {
        let mut c = Collection::new(shape());
        c.put(Key::text("odd"), record(1, None, None));
        let field = Key::text("k");
        assert!(c.candidates(&[(&field, Key::Int(1))]).is_none());
        c.delete(&Key::text("odd"));
        assert!(c.candidates(&[(&field, Key::Int(1))]).is_some());
    }
}
