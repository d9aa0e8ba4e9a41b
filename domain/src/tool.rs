//! Tools that need nothing outside the process: records, views, expressions, state, messages, and the runtime's built-ins,
//! which come in as a port and must be pure.

pub mod http;
pub mod mcp;

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Sent, Write, tool_name};
use crate::expression::EvalError;
use crate::id::{AgentIx, CollectionIx};
use crate::names::Names;
use crate::scenario::{SetTarget, ToolKind, ToolRef};
use crate::value::{Key, Value};
use crate::world::{World, Writer, matches};

/// Built-in tools of the runtime. Each is a pure function: the same input gives the same value on any machine.
pub trait Builtins: Send + Sync + std::fmt::Debug {
    /// The value of a built-in; the error is for whoever called.
    fn call(&self, name: &str, input: &Value) -> Result<Value, String>;
}

/// No built-ins: each call is refused. For tests of the domain.
#[derive(Debug)]
pub struct NoBuiltins;

impl Builtins for NoBuiltins {
    fn call(&self, name: &str, _input: &Value) -> Result<Value, String> {
        Err(format!("there is no built-in `{name}`"))
    }
}

/// What a tool gave.
#[derive(Debug, Default)]
pub struct ToolDone {
    /// Its value, for the caller.
    pub value: Value,
    /// What it changed.
    pub writes: Vec<Write>,
    /// What it sent.
    pub sent: Vec<Sent>,
}

/// How many records `query_` gives where no limit is named, and at most.
pub const QUERY_LIMIT: usize = 100;

/// Performs a tool against the world as the caller sees it. The world is not changed: the writes say what would be.
pub fn perform(
    names: &Names<'_>,
    agent: Option<AgentIx>,
    tool: ToolRef,
    input: &Value,
    builtins: &dyn Builtins,
) -> Result<ToolDone, String> {
    let world = names.world;
    let names = Names { input: Some(input), ..*names };
    let writer = Writer { world, names: &names, agent, blobs: &names.facts.blobs };
    let key = |collection: CollectionIx| key_input(&names, collection, input);
    let done = match tool {
        ToolRef::Query(collection) => query(&names, collection, input)?.into(),
        ToolRef::Get(c) => (key(c)?.as_key()).and_then(|k| world.collection(c).get(&k).cloned()).unwrap_or(Value::Null).into(),
        ToolRef::Put(c) => {
            let write = writer.put(c, input)?;
            let value = match &write {
                Write::Put { key, .. } => Value::object([("key", key.to_value())]),
                _ => Value::Null,
            };
            ToolDone { value, writes: vec![write], sent: Vec::new() }
        }
        ToolRef::Delete(c) => {
            let writes = writer.delete(c, &key(c)?)?;
            ToolDone { value: Value::object([("deleted", Value::Bool(true))]), writes, sent: Vec::new() }
        }
        ToolRef::View(v) => names.facts.scenario.views[v.at()].value.eval(&names, names.facts.limit()).map_err(text)?.into(),
        ToolRef::Served { .. } => {
            return Err(format!("`{}` leaves the process, and nothing here may", tool_name(&names.facts.scenario, tool)));
        }
        ToolRef::Declared(ix) => {
            let spec = names.facts.scenario.tools[ix.at()].clone();
            matches(input, &spec.input).map_err(|e| format!("input of `{}`: {e}", spec.name))?;
            match &spec.kind {
                ToolKind::Expr { returns } => returns.eval(&names, names.facts.limit()).map_err(text)?.into(),
                ToolKind::State { set } => set_state(&names, agent, set)?,
                ToolKind::Message { to, type_, data } => {
                    let data = data.as_ref().map_or_else(|| Ok(input.clone()), |d| names.build(d)).map_err(text)?;
                    let data = Body::new(data, &names.facts.blobs);
                    let sent = Sent { to: *to, replica: None, label: type_.clone(), text: None, data, at: names.facts.now };
                    ToolDone { value: Value::object([("sent", Value::Bool(true))]), writes: Vec::new(), sent: vec![sent] }
                }
                ToolKind::Builtin { name } => builtins.call(name, &input.plain())?.into(),
                ToolKind::Http(_) | ToolKind::Mcp(_) => {
                    return Err(format!("`{}` leaves the process, and nothing here may", spec.name));
                }
                ToolKind::Unbuilt => return Err(format!("tool `{}` is not available in this version", spec.name)),
            }
        }
    };
    match done.value.not_finite() {
        Some(number) => Err(format!("`{}` gave {number}, which is not a finite number", tool_name(&names.facts.scenario, tool))),
        None => Ok(done),
    }
}

impl From<Value> for ToolDone {
    fn from(value: Value) -> ToolDone {
        ToolDone { value: value.plain(), ..ToolDone::default() }
    }
}

fn text(error: EvalError) -> String {
    error.message
}

fn set_state(
    names: &Names<'_>,
    agent: Option<AgentIx>,
    set: &[(crate::id::StateIx, crate::expression::Program)],
) -> Result<ToolDone, String> {
    let mut world: World = names.world.clone();
    let mut writes = Vec::new();
    for (ix, program) in set {
        let now = Names { world: &world, ..*names };
        let value = program.eval(&now, names.facts.limit()).map_err(text)?;
        let writer = Writer { world: &world, names: &now, agent, blobs: &names.facts.blobs };
        let write = writer.set(SetTarget::State(*ix), &value)?;
        world.apply(&names.facts.scenario, None, &write);
        writes.push(write);
    }
    let fields = set.iter().map(|(ix, _)| (names.facts.scenario.state[ix.at()].name.clone(), world.state(*ix).clone()));
    Ok(ToolDone { value: Value::object(fields), writes, sent: Vec::new() })
}

/// The key in a tool's input: `key`, or the collection's key fields by name.
fn key_input(names: &Names<'_>, collection: CollectionIx, input: &Value) -> Result<Value, String> {
    let shape = names.world.collection(collection).shape();
    if let Some(key) = input.get("key") {
        return Ok(key.clone());
    }
    let parts: Option<Vec<Value>> = shape.key.iter().map(|k| input.get(k).cloned()).collect();
    match parts.as_deref() {
        Some([one]) => Ok(one.clone()),
        Some(many) => Ok(Value::list(many.to_vec())),
        None => Err(format!("name the key of `{}`: `{}`", shape.name, shape.key.join("`, `"))),
    }
}

/// Records whose fields equal those of the input, in key order; `limit` and `order: "desc"` are ours.
fn query(names: &Names<'_>, collection: CollectionIx, input: &Value) -> Result<Value, String> {
    let records = names.world.collection(collection);
    let empty = Arc::default();
    let fields = match input {
        Value::Map(fields) => fields,
        Value::Null => &empty,
        other => return Err(format!("a query must be a map of fields, and this is a {}", other.kind())),
    };
    let limit = match input.get("limit") {
        Some(Value::Int(n)) => usize::try_from(*n).map_err(|_| "`limit` must not be negative".to_owned())?.min(QUERY_LIMIT),
        _ => QUERY_LIMIT,
    };
    let asked: Vec<(&str, &Value)> = (fields.iter())
        .filter_map(|(k, v)| match k {
            Key::Text(name) if !matches!(&**name, "limit" | "order") => Some((&**name, v)),
            _ => None,
        })
        .collect();
    let fits = |record: &Value| asked.iter().all(|(name, value)| record.get(name) == Some(value));
    let found: Vec<Value> = match asked.iter().find_map(|(name, value)| records.lookup(name, value)) {
        Some(some) => some.into_iter().map(|(_, r)| r).filter(|r| fits(r)).collect(),
        None if input.get("order").and_then(Value::as_str) == Some("desc") => {
            records.iter().rev().map(|(_, r)| r).filter(|r| fits(r)).take(limit).cloned().collect()
        }
        None => records.iter().map(|(_, r)| r).filter(|r| fits(r)).take(limit).cloned().collect(),
    };
    Ok(Value::list(found.into_iter().take(limit)))
}
