//! The world of a run: records, state, the agents' own state. Clones share structure, so a wave's view costs O(1) a collection.
//! Every change is prepared (checked against schema, keys, references, conditions) before it is written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::{BlobKey, Body};
use crate::collection::Collection;
use crate::event::Write;
use crate::id::{AgentIx, CollectionIx, StateIx};
use crate::message::Seat;
use crate::names::Names;
use crate::scenario::{CollectionSpec, OnDelete, Scenario, Schema, SetTarget};
use crate::schema::conform;
use crate::value::{Key, Map, Value};

/// Records, state, and the agents' own state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct World {
    collections: Vec<Arc<Collection>>,
    state: Arc<Vec<Value>>,
    /// By agent, then piece of so many replicas, then replica and field; absent is the declared default.
    own: Vec<imbl::OrdMap<u32, Arc<Vec<Value>>>>,
}

/// Replicas whose own state lies together: one copy serves as many writes after a view was taken.
const PIECE: u32 = 32;

impl World {
    /// The world of a scenario version, before anything happened.
    pub fn new(scenario: &Scenario) -> World {
        World {
            collections: scenario.collections.iter().map(|c| c.seed.clone()).collect(),
            state: Arc::new(scenario.state.iter().map(|v| v.default.clone()).collect()),
            own: scenario.agents.iter().map(|_| imbl::OrdMap::new()).collect(),
        }
    }

    /// A collection.
    pub fn collection(&self, ix: CollectionIx) -> &Arc<Collection> {
        &self.collections[ix.at()]
    }

    /// A state variable.
    pub fn state(&self, ix: StateIx) -> &Value {
        &self.state[ix.at()]
    }

    /// A field of an agent's own state.
    pub fn own(&self, scenario: &Scenario, seat: Seat, field: u16) -> Value {
        let declared = &scenario.agents[seat.agent.at()].own;
        let piece = self.own[seat.agent.at()].get(&(seat.replica / PIECE));
        let value = piece.and_then(|values| values.get((seat.replica % PIECE) as usize * declared.len() + usize::from(field)));
        value.unwrap_or_else(|| &declared[usize::from(field)].default).clone()
    }

    /// Whether two worlds are one: they share everything, so no change lies between them. False says nothing.
    pub fn is(&self, other: &World) -> bool {
        let one = |a: &imbl::OrdMap<_, _>, b: &imbl::OrdMap<_, _>| a.ptr_eq(b) || (a.is_empty() && b.is_empty());
        Arc::ptr_eq(&self.state, &other.state)
            && self.collections.iter().zip(&other.collections).all(|(a, b)| Arc::ptr_eq(a, b))
            && self.own.iter().zip(&other.own).all(|(a, b)| one(a, b))
    }

    /// Makes a prepared change true.
    pub fn apply(&mut self, scenario: &Scenario, seat: Option<Seat>, write: &Write) {
        match write {
            Write::Put { collection, key, record } => {
                Arc::make_mut(&mut self.collections[collection.at()]).put(key.clone(), record.value().clone());
            }
            Write::Delete { collection, key } => {
                Arc::make_mut(&mut self.collections[collection.at()]).delete(key);
            }
            Write::State { ix, value } => Arc::make_mut(&mut self.state)[ix.at()] = value.value().clone(),
            Write::Own { field, value } => {
                let Some(seat) = seat else { return };
                let declared = &scenario.agents[seat.agent.at()].own;
                let place = (seat.replica % PIECE) as usize * declared.len();
                let values = Arc::make_mut(self.own[seat.agent.at()].entry(seat.replica / PIECE).or_default());
                while values.len() < place + declared.len() {
                    values.extend(declared.iter().map(|v| v.default.clone()));
                }
                values[place + usize::from(*field)] = value.value().clone();
            }
            // When somebody wakes is the run's to know.
            Write::Wake { .. } => {}
        }
    }
}

/// Who wants to write, and with which names conditions are read.
pub struct Writer<'a> {
    /// The world as it stands for the writer.
    pub world: &'a World,
    /// The names conditions see; `record` is set here.
    pub names: &'a Names<'a>,
    /// The writing agent; `None` for triggers.
    pub agent: Option<AgentIx>,
    /// Names of blobs.
    pub blobs: &'a BlobKey,
}

impl Writer<'_> {
    fn scenario(&self) -> &Scenario {
        &self.names.facts.scenario
    }

    fn writable(&self, collection: CollectionIx) -> Result<&CollectionSpec, String> {
        let spec = &self.scenario().collections[collection.at()];
        match (&spec.writers, self.agent) {
            (Some(writers), Some(agent)) if !writers.contains(&agent) => {
                Err(format!("agent `{}` may not write `{}`", self.scenario().agents[agent.at()].name, spec.shape.name))
            }
            _ => Ok(spec),
        }
    }

    /// A new or replaced record.
    pub fn put(&self, collection: CollectionIx, record: &Value) -> Result<Write, String> {
        let spec = self.writable(collection)?;
        let name = &spec.shape.name;
        let Value::Map(fields) = record.plain() else {
            return Err(format!("a record of `{name}` must be a map, and this is a {}", record.kind()));
        };
        let mut fields = fields;
        if spec.defaults.keys().any(|k| !fields.contains_key(k)) {
            let full: Map = spec.defaults.iter().chain(fields.iter()).map(|(k, v)| (k.clone(), v.clone())).collect();
            fields = Arc::new(full);
        }
        let record = conform(&spec.schema.ty, &Value::Map(fields));
        let key = self
            .world
            .collection(collection)
            .key_of(&record)
            .ok_or_else(|| format!("a record of `{name}` needs its key `{}`", spec.shape.key.join("`, `")))?;
        if spec.append_only && self.world.collection(collection).get(&key).is_some() {
            return Err(format!("`{name}` is append-only and has a record `{key}` already"));
        }
        self.check(spec, &record)?;
        Ok(Write::Put { collection, key, record: Body::new(record, self.blobs) })
    }

    fn check(&self, spec: &CollectionSpec, record: &Value) -> Result<(), String> {
        let name = &spec.shape.name;
        if let Some(number) = record.not_finite() {
            return Err(format!("a record of `{name}` holds {number}, which is not a finite number"));
        }
        matches(record, &spec.schema).map_err(|e| format!("`{name}`: {e}"))?;
        for reference in &spec.references {
            let Some(value) = record.get(&reference.field).filter(|v| **v != Value::Null) else { continue };
            let target = self.world.collection(reference.to);
            if value.as_key().is_none_or(|key| target.get(&key).is_none()) {
                let to = &target.shape().name;
                return Err(format!("`{name}.{}` names `{}`, which is not in `{to}`", reference.field, value.to_json()));
            }
        }
        if !spec.validate.is_empty() {
            let names = Names { record: Some(record), ..*self.names };
            for condition in &spec.validate {
                let held = condition.that.eval(&names, names.facts.limit()).map_err(|e| format!("`{name}`: {e}"))?;
                if held != Value::Bool(true) {
                    let why = condition.say.as_deref().unwrap_or_else(|| condition.that.source());
                    return Err(format!("`{name}`: {why}"));
                }
            }
        }
        Ok(())
    }

    /// Some fields of a record that is there.
    pub fn patch(&self, collection: CollectionIx, key: &Value, change: &Value) -> Result<Write, String> {
        let spec = self.writable(collection)?;
        let name = &spec.shape.name;
        if spec.append_only {
            return Err(format!("`{name}` is append-only: its records cannot be changed"));
        }
        let (key, old) = self.find(collection, key)?;
        let (Value::Map(old), Value::Map(change)) = (&old, change) else {
            return Err(format!("a patch of `{name}` must be a map, and this is a {}", change.kind()));
        };
        let merged: Map = old.iter().chain(change.iter()).map(|(k, v)| (k.clone(), v.clone())).collect();
        let record = conform(&spec.schema.ty, &Value::Map(Arc::new(merged)));
        if self.world.collection(collection).key_of(&record).as_ref() != Some(&key) {
            return Err(format!("a patch of `{name}` must not change the key `{key}`"));
        }
        self.check(spec, &record)?;
        Ok(Write::Put { collection, key, record: Body::new(record, self.blobs) })
    }

    fn find(&self, collection: CollectionIx, key: &Value) -> Result<(Key, Value), String> {
        let target = self.world.collection(collection);
        let name = &target.shape().name;
        let key = key.as_key().ok_or_else(|| format!("{} is no key of `{name}`", key.to_json()))?;
        match target.get(&key) {
            Some(record) => Ok((key, record.clone())),
            None => Err(format!("`{name}` has no record `{key}`")),
        }
    }

    /// A record goes, with what its references say; the record's own write is the last.
    pub fn delete(&self, collection: CollectionIx, key: &Value) -> Result<Vec<Write>, String> {
        let spec = self.writable(collection)?;
        if spec.append_only {
            return Err(format!("`{}` is append-only: its records cannot be deleted", spec.shape.name));
        }
        let (key, _) = self.find(collection, key)?;
        let mut writes = Vec::new();
        self.follow(collection, &key, &mut writes, 0)?;
        Ok(writes)
    }

    fn follow(&self, collection: CollectionIx, key: &Key, writes: &mut Vec<Write>, depth: u8) -> Result<(), String> {
        if depth > 16 {
            return Err(format!("a delete of `{key}` cascades too deep"));
        }
        let gone = |writes: &[Write], c: CollectionIx, k: &Key| {
            writes.iter().any(|w| matches!(w, Write::Delete { collection, key } if *collection == c && key == k))
        };
        for (n, other) in self.scenario().collections.iter().enumerate() {
            for reference in other.references.iter().filter(|r| r.to == collection) {
                let from = CollectionIx::from(n);
                let pointing: Vec<(Key, Value)> = (self.world.collection(from).iter())
                    .filter(|(_, r)| r.get(&reference.field).and_then(Value::as_key).as_ref() == Some(key))
                    .map(|(k, r)| (k.clone(), r.clone()))
                    .collect();
                for (k, record) in pointing {
                    if (from == collection && k == *key) || gone(writes, from, &k) {
                        continue;
                    }
                    match reference.on_delete {
                        OnDelete::Restrict => {
                            return Err(format!("`{key}` is still named by `{}` `{k}`", other.shape.name));
                        }
                        OnDelete::Cascade => self.follow(from, &k, writes, depth + 1)?,
                        OnDelete::SetNull => {
                            let Value::Map(fields) = record else { continue };
                            let mut fields = Map::clone(&fields);
                            fields.insert(Key::Text(reference.field.clone()), Value::Null);
                            let record = Value::Map(Arc::new(fields));
                            self.check(other, &record)?;
                            writes.push(Write::Put { collection: from, key: k, record: Body::new(record, self.blobs) });
                        }
                    }
                }
            }
        }
        if !gone(writes, collection, key) {
            writes.push(Write::Delete { collection, key: key.clone() });
        }
        Ok(())
    }

    /// A state variable, or a field of the agent's own state.
    pub fn set(&self, target: SetTarget, value: &Value) -> Result<Write, String> {
        let (variable, prefix) = match target {
            SetTarget::State(ix) => (&self.scenario().state[ix.at()], "state"),
            SetTarget::Own(field) => {
                let agent = self.agent.ok_or("only an agent has a state of its own")?;
                (&self.scenario().agents[agent.at()].own[usize::from(field)], "self")
            }
        };
        let value = conform(&variable.schema.ty, &value.plain());
        if let Some(number) = value.not_finite() {
            return Err(format!("`{prefix}.{}` would be {number}, which is not a finite number", variable.name));
        }
        matches(&value, &variable.schema).map_err(|e| format!("`{prefix}.{}`: {e}", variable.name))?;
        let value = Body::new(value, self.blobs);
        Ok(match target {
            SetTarget::State(ix) => Write::State { ix, value },
            SetTarget::Own(field) => Write::Own { field, value },
        })
    }

    /// Whether a prepared write still holds against the world as it stands now: schema aside, which cannot have changed.
    pub fn recheck(&self, write: &Write) -> Result<(), String> {
        match write {
            Write::Put { collection, key, record } => {
                let spec = &self.scenario().collections[collection.at()];
                if spec.append_only && self.world.collection(*collection).get(key).is_some() {
                    return Err(format!("`{}` is append-only and has a record `{key}` already", spec.shape.name));
                }
                self.check(spec, record.value())
            }
            Write::Delete { collection, key } => {
                let target = self.world.collection(*collection);
                match target.get(key) {
                    Some(_) => Ok(()),
                    None => Err(format!("`{}` has no record `{key}`", target.shape().name)),
                }
            }
            Write::State { .. } | Write::Own { .. } | Write::Wake { .. } => Ok(()),
        }
    }
}

/// Whether a value fits a schema; the first fault, in words.
pub fn matches(value: &Value, schema: &Schema) -> Result<(), String> {
    if schema.surely_holds(value) {
        return Ok(());
    }
    let json = value.to_json();
    match schema.validator.iter_errors(&json).next() {
        None => Ok(()),
        Some(error) => {
            let at = error.instance_path().to_string();
            Err(if at.is_empty() { error.to_string() } else { format!("{error} at {at}") })
        }
    }
}
