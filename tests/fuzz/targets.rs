//! What is fuzzed: functions that take any bytes and must neither panic, nor hang, nor contradict themselves. Shared by
//! `tests/fuzz.rs` and by libFuzzer (`fuzz/`).

#[path = "../../actors/tests/stage/mod.rs"]
#[expect(dead_code, reason = "each user needs a part of it")]
mod stage;

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use commedia_actors::store::frame::Frame;
use commedia_domain::event::{Event, ModelBinding};
use commedia_domain::expression::{CollectionType, Env, EvalError, ObjectType, Root, Scope, Type, compile};
use commedia_domain::extraction::Extractor;
use commedia_domain::id::Hash32;
use commedia_domain::run::{NewRun, Run, RunInput};
use commedia_domain::scenario::{ClockMode, NoFiles, load};
use commedia_domain::template::Template;
use commedia_domain::value::Value;

/// A target.
pub(crate) type Target = fn(&[u8]);

/// Each target with its name, which is that of its corpus too.
pub(crate) const TARGETS: [(&str, Target); 7] = [
    ("scenario", scenario),
    ("play", play),
    ("expression", expression),
    ("template", template),
    ("frame", frame),
    ("event", event),
    ("words", words),
];

/// Any bytes as a scenario: compiled, or refused with errors that name places in the text.
fn scenario(data: &[u8]) {
    let faults = match load("fuzzed.scenario.yaml", data, &NoFiles) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            faults
        }
    };
    for fault in &faults {
        assert!(fault.span.line >= 1 && fault.span.column >= 1, "a fault nowhere: {fault:?}");
    }
}

/// A scenario that compiles, played for a while by the machines: whatever happens in it, none of them panics.
fn play(data: &[u8]) {
    let Ok(loaded) = load("fuzzed.scenario.yaml", data, &NoFiles) else { return };
    let scenario = Arc::new(loaded.scenario);
    let models = vec![ModelBinding::Stub; scenario.models.len() + 1];
    let Ok(new) = NewRun::new(&scenario, &RunInput { params: Vec::new(), seed: 1, now: 0, models }) else { return };
    // Large populations are slow, and no more than small ones; real clocks need somebody who waits.
    let small = new.created.replicas.iter().map(|n| u64::from(*n)).sum::<u64>() <= 100;
    if !small || scenario.clock.mode == ClockMode::Real || !scenario.unbuilt.is_empty() {
        return;
    }
    let mut run = Run::new(scenario, new.created).with_builtins(Arc::new(commedia_actors::tool::BuiltinTools));
    stage::drive(&mut run, 60, |_| 0);
}

/// The names of a rules agent, with a value each.
struct World {
    ids: Cell<u32>,
}

fn object(fields: &[(&str, Type)]) -> Arc<ObjectType> {
    let fields = fields.iter().map(|(name, ty)| (Arc::from(*name), ty.clone())).collect();
    Arc::new(ObjectType { fields, open: false })
}

fn names() -> Env {
    let sale = object(&[("week", Type::Int), ("shop", Type::Text), ("units", Type::Int), ("price", Type::Double)]);
    let sales = CollectionType { name: "sales".into(), key: vec!["week".into()], index: vec!["shop".into()], record: sale };
    let mut env = Env::default();
    env.declare("params", Root::Params, Type::Object(object(&[("weeks", Type::Int), ("tone", Type::Text)])));
    env.declare("state", Root::State, Type::Object(object(&[("cash", Type::Double), ("wasted", Type::Int)])));
    env.declare("self", Root::Own, Type::Object(object(&[("id", Type::Text), ("replica", Type::Int)])));
    env.declare("tick", Root::Tick, Type::Int);
    env.declare("now", Root::Now, Type::Timestamp);
    env.declare("seed", Root::Seed, Type::Int);
    env.declare("message", Root::Message, Type::Object(object(&[("kind", Type::Text), ("data", Type::Dyn)])));
    env.declare("anything", Root::Bound(0), Type::Dyn);
    env.declare("limits", Root::Let(0), Type::Map(Box::new(Type::Int)));
    env.declare("span", Root::Let(1), Type::Duration);
    env.declare("tags", Root::Let(2), Type::List(Box::new(Type::Text)));
    env.declare("sales", Root::Let(3), Type::Collection(Arc::new(sales)));
    env
}

impl Scope for World {
    fn root(&self, root: Root) -> Result<Value, EvalError> {
        let list = |items: &[Value]| Value::list(items.to_vec());
        Ok(match root {
            Root::Tick => Value::Int(7),
            Root::Seed => Value::Int(i64::MIN),
            Root::Now => Value::Timestamp(1_800_000_000_000),
            Root::Let(0) => Value::object([("low", Value::Int(1)), ("high", Value::Int(i64::MAX))]),
            Root::Let(1) => Value::Duration(86_400_000),
            Root::Let(2) => list(&[Value::text("é"), Value::text(""), Value::text("a🦀b")]),
            Root::Bound(_) => {
                let mixed = [Value::Null, Value::Int(3), Value::Double(0.5), Value::text("x"), Value::Bool(true)];
                Value::object([("list", list(&mixed)), ("text", Value::text("{{ tick }}")), ("none", Value::Null)])
            }
            Root::Message => Value::object([("kind", self.field(root, 0)?), ("data", self.field(root, 1)?)]),
            Root::Params => Value::object([("weeks", self.field(root, 0)?), ("tone", self.field(root, 1)?)]),
            Root::State => Value::object([("cash", self.field(root, 0)?), ("wasted", self.field(root, 1)?)]),
            Root::Own => Value::object([("id", self.field(root, 0)?), ("replica", self.field(root, 1)?)]),
            _ => return Err(EvalError::new("it is not here")),
        })
    }

    fn field(&self, root: Root, index: u16) -> Result<Value, EvalError> {
        Ok(match (root, index) {
            (Root::State, 0) => Value::Double(1e300),
            (Root::Own, 0) => Value::text("customer/3"),
            (Root::Params, 1) => Value::text("warm"),
            (Root::Message, 0) => Value::text("tell"),
            (Root::Message, _) => Value::object([("n", Value::Int(-1))]),
            _ => Value::Int(12),
        })
    }

    fn uuid(&self) -> Result<Arc<str>, EvalError> {
        self.ids.set(self.ids.get() + 1);
        Ok(format!("id-{}", self.ids.get()).into())
    }
}

fn in_bounds(at: (usize, usize), text: &str) {
    assert!(at.0 <= at.1 && at.1 <= text.chars().count() + 1, "a fault at {at:?} of {} characters", text.chars().count());
}

/// Any text as an expression: evaluated twice it has one value.
fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match compile(text, &names()) {
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            faults.iter().for_each(|fault| in_bounds(fault.at, text));
        }
        Ok(compiled) => {
            let value = || compiled.program.eval(&World { ids: Cell::new(0) }, 20_000).map(|value| format!("{value:?}"));
            assert_eq!(value(), value(), "{text}");
        }
    }
}

/// Any text as a template: rendered twice it is one text.
fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Template::compile(text, &names()) {
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a reason");
            faults.iter().for_each(|fault| in_bounds(fault.at, text));
        }
        Ok((template, _)) => {
            let render = || template.render(&World { ids: Cell::new(0) });
            assert_eq!(render(), render(), "{text}");
        }
    }
}

/// Any bytes as a frame, as they are and with a check that holds: what is read is written as the same bytes.
fn frame(data: &[u8]) {
    let sealed = [data, &Hash32::of(data).0[..8]].concat();
    for bytes in [data, &sealed] {
        if let Ok(frame) = Frame::decode(bytes)
            && let Ok(encoded) = frame.encode()
        {
            assert_eq!(encoded.bytes(), bytes);
            assert_eq!(encoded.head(), frame.head());
        }
    }
}

/// Any bytes as an event: what is read and written is read as the same again.
fn event(data: &[u8]) {
    let Ok(mut event) = Event::decode(data) else { return };
    let (mut seen, mut filled) = (0, 0);
    event.bodies(&mut |_| seen += 1);
    event.bodies_mut(&mut |_| filled += 1);
    assert_eq!(seen, filled, "both ways visit the same bodies");
    assert!(!event.name().is_empty());
    let bytes = event.encode();
    let again = Event::decode(&bytes).expect("what was written is read").encode();
    assert_eq!(bytes, again);
}

/// Any words as a wish: what comes back is valid, and its quotes stand in the text.
fn words(data: &[u8]) {
    static EXTRACTOR: LazyLock<Extractor> = LazyLock::new(|| {
        let text = include_str!("../../config/scenarios/retail-season/retail-season.scenario.yaml");
        let part = |from: &str, to: &str| &text[text.find(from).expect("a part")..text.find(to).expect("its end")];
        let source =
            format!("name: words\n{}\nagents: {{a: {{kind: rules, rules: []}}}}\n", part("\nparameters:", "\nextraction:"));
        let loaded = load("words.scenario.yaml", source.as_bytes(), &NoFiles);
        Extractor::new(Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario))
    });
    let text = String::from_utf8_lossy(data);
    let today = "2026-01-14".parse().expect("a date");
    let found = EXTRACTOR.extract(&text, today);
    for (found, parameter) in found.iter().zip(&EXTRACTOR.scenario().parameters) {
        let value = found.value.as_ref().expect("each has a default");
        assert!(parameter.schema.admit(value).is_ok(), "{found:?}");
        assert!(text.contains(&found.text) && (0.0..=1.0).contains(&found.confidence), "{found:?}");
        assert!(!(found.defaulted && found.ambiguous), "{found:?}");
    }
}
