//! Collections, state and views.

use std::sync::Arc;

use super::parameters::outlives;
use super::{Compiler, Want};
use crate::collection::{Collection, Shape};
use crate::expression::{Env, Root, Type};
use crate::id::{AgentIx, CollectionIx};
use crate::scenario::decode::Decode;
use crate::scenario::document::{ActionDoc, CollectionDoc, ScenarioDoc, WorldScope};
use crate::scenario::faults::{Place, shorten, suggestion};
use crate::scenario::node::{Key, Kind, Node};
use crate::scenario::scalars::Text;
use crate::scenario::{CollectionSpec, Condition, OnDelete, Reference, Schema, View};
use crate::schema;
use crate::value::{Map, Value};

impl Compiler<'_> {
    pub(super) fn world(&mut self, doc: &ScenarioDoc) {
        let world = &doc.world;
        self.state = self.variables(&world.state.all, "state variable");
        let mut nodes = Vec::new();
        for (key, block) in world.collections.iter() {
            let spec = self.collection_spec(key, block);
            self.collections.push(spec);
            nodes.push((key, block));
        }
        for (n, (_, block)) in nodes.iter().enumerate() {
            self.collections[n].references = self.references(&block.schema.0);
        }
        self.environments();
        self.names_once(doc);
        for (n, (key, block)) in nodes.iter().enumerate() {
            self.conditions(n, block);
            for (name, action) in block.actions.iter() {
                self.action(n, name, action);
            }
            if outlives(block.scope.it) {
                self.unbuilt(block.scope.at, format!("collection `{}` of `scope: workspace`", key.text));
            }
        }
        self.seeds(&nodes);
        let env = self.world.clone();
        for (key, view) in world.views.iter() {
            let (value, _) = self.program(&view.value.0, &env, Want::Any);
            let description = view.description.as_ref().map(|d| d.it.to_string());
            self.views.push(View { name: key.text.clone(), value, description });
        }
    }

    /// A collection's name stands for itself in expressions, so no other such name may hide it.
    fn names_once(&mut self, doc: &ScenarioDoc) {
        for (_, agent) in doc.agents.iter() {
            for (key, _) in agent.lets.iter() {
                if doc.world.collections.position(&key.text).is_some() {
                    let message = format!("`{}` is a collection's name already", shorten(&key.text));
                    self.faults.error("bad_name", key.at, message).help("give the `let` another name");
                }
            }
        }
    }

    fn collection_spec(&mut self, key: &Key, block: &CollectionDoc) -> CollectionSpec {
        let node = &block.schema.0;
        if let Some(from) = &block.schema_from {
            self.unbuilt(from.0.at, format!("`schema_from` of collection `{}`", key.text));
        }
        let mut schema = schema::compile(node, &mut self.faults);
        match schema.ty {
            Type::Object(_) | Type::Map(_) | Type::Dyn => {}
            _ => {
                let at = node.get("type").map_or(node.owner(), |t| t.at);
                self.faults.error("wrong_type", at, "records are maps: their schema must be of `type: object`");
                schema = Schema::any();
            }
        }
        let properties = node.get("properties");
        let known: Vec<&str> = properties.iter().flat_map(|p| p.entries().iter().map(|e| &*e.0.text)).collect();
        if block.key.0.is_empty() && !node.is_broken() && block.at.written() && properties.is_some() {
            let message = format!("missing field `key` in collection `{}`", shorten(&key.text));
            self.faults.error("missing_field", key.at, message).help("name the field that tells one record from another");
        }
        let keys = self.field_names(&block.key.0, &known, "key", properties);
        let index = self.field_names(&block.index, &known, "index", properties);
        let mut defaults = Map::new();
        for (name, property) in properties.iter().flat_map(|p| p.entries()) {
            if let Some(default) = property.get("default").filter(|d| !d.has_broken()) {
                let own = schema::type_of(&property.to_json());
                let value = self.property_default(default, &schema, &own, &name.text);
                defaults.insert(crate::value::Key::Text(name.text.clone()), value);
            }
        }
        let access = block.access.as_ref();
        let writers = access.and_then(|a| a.write.as_ref()).and_then(|w| self.access(w));
        let readers = access.and_then(|a| a.read.as_ref()).and_then(|r| self.access(r));
        let shape = Arc::new(Shape { name: key.text.clone(), key: keys, index });
        CollectionSpec {
            seed: Arc::new(Collection::new(shape.clone())),
            shape,
            schema,
            defaults,
            append_only: block.append_only,
            references: Vec::new(),
            validate: Vec::new(),
            writers,
            readers,
            workspace_scope: block.scope.it == WorldScope::Workspace,
        }
    }

    /// The default of a field, checked by the collection's whole schema.
    fn property_default(&mut self, default: &Node, schema: &Schema, own: &Type, name: &str) -> Value {
        let value = schema::conform(own, &Value::from_json(&default.to_json()));
        let alone = serde_json::json!({ name: value.to_json() });
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        for violation in schema.violations(&alone) {
            let Some(rest) = violation.pointer.strip_prefix(&pointer).filter(|r| r.is_empty() || r.starts_with('/')) else {
                continue;
            };
            let at = default.pointed(rest).at;
            let message = format!("the default of `{}` does not fit: {}", shorten(name), violation.message);
            self.faults.error("default_out_of_range", at, message);
        }
        value
    }

    fn field_names(&mut self, names: &[Text], known: &[&str], what: &str, properties: Option<&Node>) -> Vec<Arc<str>> {
        let mut out: Vec<Arc<str>> = Vec::new();
        for name in names.iter().filter(|n| !n.is_broken()) {
            if out.contains(&name.it) {
                self.faults.error("duplicate_name", name.at, format!("`{}` is named twice in `{what}`", shorten(&name.it)));
                continue;
            }
            match properties.and_then(|p| p.get(&name.it)) {
                Some(property) if what == "key" => self.key_type(name, property),
                Some(_) => {}
                None if properties.is_some() => {
                    let help = suggestion(&name.it, "fields", known.iter().copied());
                    let message = format!("`{what}` names `{}`, which the schema's `properties` do not have", shorten(&name.it));
                    self.faults.error("unknown_property", name.at, message).maybe_help(help);
                    continue;
                }
                None => {}
            }
            out.push(name.it.clone());
        }
        out
    }

    fn key_type(&mut self, name: &Text, property: &Node) {
        let ty = schema::type_of(&property.to_json());
        if matches!(ty, Type::List(_) | Type::Map(_) | Type::Object(_) | Type::Null) {
            let message = format!("`{}` cannot be a key: a key is text, a whole number or a boolean", shorten(&name.it));
            self.faults.error("bad_key", name.at, message);
        }
    }

    /// The agents of an access list; `None` is every agent.
    fn access(&mut self, names: &[Text]) -> Option<Vec<AgentIx>> {
        let all = names.iter().any(|n| &*n.it == "*");
        let known: Vec<AgentIx> = names.iter().filter(|n| &*n.it != "*").filter_map(|n| self.agent(n)).collect();
        (!all).then_some(known)
    }

    fn references(&mut self, schema: &Node) -> Vec<Reference> {
        let mut out = Vec::new();
        for (field, property) in schema.get("properties").iter().flat_map(|p| p.entries()) {
            let on_delete = property.get("on_delete").or_else(|| property.get("x-on-delete"));
            let Some(target) = property.get("x-ref") else {
                if let Some(on_delete) = on_delete {
                    self.faults.error("misplaced", on_delete.owner(), "`on_delete` belongs beside `x-ref`");
                }
                continue;
            };
            self.faults.enter("on_delete".into());
            let then = on_delete.map(|n| OnDelete::decode(n, &mut self.faults));
            self.faults.leave();
            self.faults.enter("x-ref".into());
            let name = Text::decode(target, &mut self.faults);
            self.faults.leave();
            if let Some(to) = self.collection(&name) {
                let reference = Reference {
                    field: field.text.clone(),
                    to: CollectionIx::from(to),
                    on_delete: then.unwrap_or(OnDelete::Restrict),
                };
                let pointed = &self.collections[to];
                if pointed.shape.key.len() > 1 {
                    let message =
                        format!("`{}` has a key of several fields, which one field cannot point at", pointed.shape.name);
                    self.faults.error("bad_reference", target.at, message);
                }
                out.push(reference);
            }
        }
        out
    }

    fn record_env(&self, n: usize) -> Env {
        self.world.with("record", Root::Record, self.collections[n].schema.ty.clone())
    }

    fn conditions(&mut self, n: usize, block: &CollectionDoc) {
        let env = self.record_env(n);
        for condition in &block.validate {
            let (that, _) = self.program(&condition.that.0, &env, Want::Bool);
            let say = condition.say.as_ref().map(|s| s.it.clone());
            self.collections[n].validate.push(Condition { that, say });
        }
    }

    /// Actions are checked; nothing runs them yet.
    fn action(&mut self, n: usize, name: &Key, action: &ActionDoc) {
        let input = action.input.as_ref().map(|i| schema::compile(&i.0, &mut self.faults).ty).unwrap_or(Type::Dyn);
        let env = self.record_env(n).with("input", Root::Input, input);
        if let Some(condition) = &action.condition {
            self.program(&condition.0, &env, Want::Bool);
        }
        let record = self.collections[n].schema.ty.clone();
        for (field, value) in action.set.iter().flat_map(|s| s.iter()) {
            let (_, given) = self.data(&value.0, &env);
            self.record_field(field, &record, &given, value.0.at);
        }
        match (&action.put, &action.value) {
            (Some(put), Some(value)) => {
                if let Some(to) = self.collection(put) {
                    self.record_value(to, &value.0, &env, true);
                }
            }
            (Some(put), None) => {
                self.faults.error("missing_field", put.at, format!("action `{}` puts nothing", name.text)).help("add `value:`");
            }
            (None, Some(value)) => {
                self.faults.error("misplaced", value.0.owner(), "`value` belongs to `put`");
            }
            (None, None) => {}
        }
    }

    /// A field of a record that is given a value.
    pub(super) fn record_field(&mut self, field: &Key, record: &Type, given: &Type, at: Place) {
        let Type::Object(object) = record else { return };
        match object.fields.iter().find(|f| f.0 == field.text) {
            Some((_, ty)) => self.fits(at, &format!("field `{}`", shorten(&field.text)), given, ty),
            None => {
                let help = suggestion(&field.text, "fields", object.fields.iter().map(|f| &*f.0));
                let near = help.as_deref().is_some_and(|h| h.starts_with("did you mean"));
                let message = format!("records have no field `{}`", shorten(&field.text));
                if !object.open || near {
                    self.faults.error("unknown_property", field.at, message).maybe_help(help);
                }
            }
        }
    }

    /// A record that is put (`whole`) or changed.
    pub(super) fn record_value(&mut self, collection: usize, node: &Node, env: &Env, whole: bool) -> crate::scenario::Data {
        let (data, ty) = self.data(node, env);
        let spec = &self.collections[collection];
        let (record, name) = (spec.schema.ty.clone(), spec.shape.name.clone());
        let Kind::Map(entries) = &node.kind else {
            self.fits(node.at, &format!("a record of `{name}`"), &ty, &Type::Map(Box::new(Type::Dyn)));
            return data;
        };
        let required: Vec<Arc<str>> = spec
            .schema
            .json
            .get("required")
            .and_then(serde_json::Value::as_array)
            .map(|r| r.iter().filter_map(|n| n.as_str().map(Arc::from)).collect())
            .unwrap_or_default();
        let missing: Vec<Arc<str>> = required
            .into_iter()
            .filter(|r| !entries.iter().any(|e| e.0.text == *r))
            .filter(|r| !spec.defaults.contains_key(&crate::value::Key::Text(r.clone())))
            .collect();
        if let Type::Object(given) = &ty {
            for ((key, value), (_, ty)) in entries.iter().zip(&given.fields) {
                self.record_field(key, &record, ty, value.at);
            }
        }
        for field in missing.iter().filter(|_| whole) {
            let message = format!("a record of `{name}` needs the field `{}`", shorten(field));
            self.faults.error("missing_field", node.owner(), message);
        }
        data
    }

    /// Whether an agent may read or write a collection.
    pub(super) fn may(&self, agent: usize, collection: usize, write: bool) -> bool {
        let spec = &self.collections[collection];
        let list = if write { &spec.writers } else { &spec.readers };
        list.as_ref().is_none_or(|l| l.iter().any(|a| a.at() == agent))
    }

    /// Tells where an agent lacks a right.
    pub(super) fn demand(&mut self, agent: usize, collection: usize, write: bool, at: Place) {
        if self.may(agent, collection, write) {
            return;
        }
        let (name, right) = (&self.collections[collection].shape.name, if write { "write" } else { "read" });
        let message = format!("agent `{}` may not {right} `{name}`", self.agent_names[agent]);
        let help = format!("add it to `world.collections.{name}.access.{right}`");
        self.faults.error("access_denied", at, message).help(help);
    }
}
