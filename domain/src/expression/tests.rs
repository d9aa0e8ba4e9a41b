//! Rows over one small world: two collections with an index, one with a composite key, the names of a rules agent.

mod cost;
mod errors;
mod faults;
mod properties;
mod values;

use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::collection::{Collection, Shape};
use crate::value::{Key, Value};

fn object(fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(n, t)| (Arc::from(*n), t.clone())).collect();
    Type::Object(Arc::new(ObjectType { fields, open: false }))
}

fn collection(name: &str, key: &[&str], index: &[&str], fields: &[(&str, Type)]) -> Type {
    let names = |n: &[&str]| n.iter().map(|f| Arc::from(*f)).collect();
    let Type::Object(record) = object(fields) else { unreachable!() };
    Type::Collection(Arc::new(CollectionType { name: name.into(), key: names(key), index: names(index), record }))
}

fn int_or_null() -> Type {
    Type::OneOf(vec![Type::Int, Type::Null])
}

fn env() -> Env {
    let mut env = Env::default();
    env.declare(
        "params",
        Root::Params,
        object(&[("weeks", Type::Int), ("share", Type::Double), ("checkpoint", int_or_null()), ("tone", Type::Text)]),
    );
    env.declare("state", Root::State, object(&[("cash", Type::Double), ("wasted", Type::Int)]));
    env.declare("draws", Root::Draws, object(&[("buys", Type::Bool), ("rain", Type::Double)]));
    env.declare("self", Root::Own, object(&[("id", Type::Text), ("replica", Type::Int)]));
    env.declare("tick", Root::Tick, Type::Int);
    env.declare("now", Root::Now, Type::Timestamp);
    env.declare("seed", Root::Seed, Type::Int);
    env.declare("message", Root::Message, object(&[("kind", Type::Text), ("data", Type::Dyn)]));
    env.declare("input", Root::Input, object(&[("base", Type::Double), ("tags", Type::Text.listed())]));
    env.declare("anything", Root::Bound(0), Type::Dyn);
    env.declare("limits", Root::Let(0), Type::Map(Box::new(Type::Int)));
    env.declare("sales", Root::Collection(0), sales_type());
    env.declare(
        "events",
        Root::Collection(1),
        collection(
            "events",
            &["id"],
            &["type"],
            &[("id", Type::Int), ("type", Type::Text), ("variant", Type::Text), ("day", Type::Int)],
        ),
    );
    env.declare(
        "plan",
        Root::Collection(2),
        collection("plan", &["week", "shop"], &[], &[("week", Type::Int), ("shop", Type::Text), ("units", Type::Int)]),
    );
    env
}

fn sales_type() -> Type {
    collection(
        "sales",
        &["week"],
        &["shop"],
        &[("week", Type::Int), ("shop", Type::Text), ("units", Type::Int), ("price", Type::Double)],
    )
}

fn fill(shape: Shape, records: impl IntoIterator<Item = Value>) -> Arc<Collection> {
    let mut c = Collection::new(Arc::new(shape));
    for record in records {
        let key = c.key_of(&record).expect("records have their key");
        c.put(key, record);
    }
    Arc::new(c)
}

fn shape(name: &str, key: &[&str], index: &[&str]) -> Shape {
    let names = |n: &[&str]| n.iter().map(|f| Arc::from(*f)).collect();
    Shape { name: name.into(), key: names(key), index: names(index) }
}

/// The values the rows read.
struct World {
    collections: Vec<Arc<Collection>>,
    uuids: Cell<u32>,
    reads: Cell<u32>,
}

impl World {
    fn new() -> World {
        let sale = |(week, shop, units, price): (i64, &str, i64, f64)| {
            Value::object([
                ("week", Value::Int(week)),
                ("shop", Value::text(shop)),
                ("units", Value::Int(units)),
                ("price", Value::Double(price)),
            ])
        };
        let sales = [(1, "a", 10, 2.0), (2, "b", 20, 1.5), (3, "a", 30, 1.0)].map(sale);
        let event = |(id, kind, variant): (i64, &str, &str)| {
            Value::object([
                ("id", Value::Int(id)),
                ("type", Value::text(kind)),
                ("variant", Value::text(variant)),
                ("day", Value::Int(id / 2)),
            ])
        };
        let events = [
            (1, "sent", "a"),
            (2, "sent", "a"),
            (3, "sent", "a"),
            (4, "sent", "a"),
            (5, "replied", "a"),
            (6, "sent", "b"),
            (7, "sent", "b"),
            (8, "replied", "b"),
        ]
        .map(event);
        let planned = |(week, shop, units): (i64, &str, i64)| {
            Value::object([("week", Value::Int(week)), ("shop", Value::text(shop)), ("units", Value::Int(units))])
        };
        let plan = [(1, "a", 5), (1, "b", 6), (2, "a", 7)].map(planned);
        World {
            collections: vec![
                fill(shape("sales", &["week"], &["shop"]), sales),
                fill(shape("events", &["id"], &["type"]), events),
                fill(shape("plan", &["week", "shop"], &[]), plan),
            ],
            uuids: Cell::new(0),
            reads: Cell::new(0),
        }
    }
}

impl Scope for World {
    fn root(&self, root: Root) -> Result<Value, EvalError> {
        self.reads.set(self.reads.get() + 1);
        Ok(match root {
            Root::Tick => Value::Int(3),
            Root::Now => Value::Timestamp(1_767_600_000_000),
            Root::Seed => Value::Int(1),
            Root::Input => Value::object([("base", Value::Double(2.5)), ("tags", Value::list(["x", "y"].map(Value::text)))]),
            Root::Params => Value::object([("weeks", self.field(root, 0)?), ("share", self.field(root, 1)?)]),
            Root::Bound(0) => Value::object([("a", Value::Int(1)), ("list", Value::list([Value::Int(1), Value::text("x")]))]),
            Root::Let(0) => Value::object([("low", Value::Int(2)), ("high", Value::Int(8))]),
            Root::Collection(n) => Value::Collection(self.collections[usize::from(n)].clone()),
            other => return Err(EvalError::new(format!("{other:?} is not here"))),
        })
    }
    fn field(&self, root: Root, index: u16) -> Result<Value, EvalError> {
        self.reads.set(self.reads.get() + 1);
        Ok(match (root, index) {
            (Root::Params, 0) => Value::Int(12),
            (Root::Params, 1) => Value::Double(0.25),
            (Root::Params, 2) => Value::Null,
            (Root::Params, 3) => Value::text("plain"),
            (Root::State, 0) => Value::Double(100.0),
            (Root::State, 1) => Value::Int(7),
            (Root::Draws, 0) => Value::Bool(true),
            (Root::Draws, 1) => Value::Double(0.5),
            (Root::Own, 0) => Value::text("shop/2"),
            (Root::Own, 1) => Value::Int(2),
            (Root::Message, 0) => Value::text("tick"),
            (Root::Message, 1) => Value::Null,
            other => return Err(EvalError::new(format!("{other:?} is not here"))),
        })
    }
    fn uuid(&self) -> Result<Arc<str>, EvalError> {
        self.uuids.set(self.uuids.get() + 1);
        Ok(format!("00000000-0000-4000-8000-{:012}", self.uuids.get()).into())
    }
}

const LIMIT: u64 = 1_000_000;

fn compiled(source: &str) -> Compiled {
    compile(source, &env()).unwrap_or_else(|faults| panic!("{source}: {faults:#?}"))
}

fn eval(source: &str) -> Result<Value, EvalError> {
    compiled(source).program.eval(&World::new(), LIMIT)
}

/// The value of an expression as JSON text; doubles keep their point.
#[track_caller]
fn check(source: &str, expected: &str) {
    let value = eval(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    assert_eq!(value.to_json().to_string(), expected, "{source}");
    let ty = compiled(source).ty;
    let kind = type_of(&value).kinds();
    assert!(ty.kinds() & kind != 0, "{source} is said to be {ty:?}");
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Double(_) => Type::Double,
        Value::Text(_) => Type::Text,
        Value::List(_) => Type::Dyn.listed(),
        Value::Map(_) => Type::Map(Box::new(Type::Dyn)),
        Value::Timestamp(_) => Type::Timestamp,
        Value::Duration(_) => Type::Duration,
        Value::Collection(_) => sales_type(),
    }
}

#[test]
fn every_function_has_its_meaning_and_examples_that_hold() {
    let mut names = std::collections::BTreeSet::new();
    for function in functions::FUNCTIONS {
        assert!(names.insert(function.name), "{} stands twice", function.name);
        assert!(function.signature.starts_with(&format!("{}(", function.name)), "{}", function.signature);
        assert!(function.meaning.ends_with('.'), "{}", function.name);
        assert!(!function.examples.is_empty(), "{}", function.name);
        for (source, expected) in function.examples {
            assert!(source.contains(&format!("{}(", function.name)), "{source}");
            check(source, expected);
        }
    }
}
