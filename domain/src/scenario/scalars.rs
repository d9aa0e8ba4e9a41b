//! The smallest parts of the document: names, texts, numbers in a range, spans of time, expressions.

use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Step;
use super::decode::{Decode, Defs, wrong_type};
use super::faults::{Faults, Place, shorten};
pub(crate) use super::naming::*;
use super::node::{Kind, Node, Plain};
use super::time;

/// A text, not empty.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// Where.
    pub(crate) at: Place,
    /// The text; empty only after a fault.
    pub(crate) it: Arc<str>,
}

impl Text {
    /// Whether there is nothing to look up, because a fault was told.
    pub(crate) fn is_broken(&self) -> bool {
        self.it.is_empty()
    }
}

impl Decode for Text {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let Some(text) = node.as_text() else {
            wrong_type(node, "text (a string)", faults);
            return Text { at: node.at, it: "".into() };
        };
        if text.trim().is_empty() {
            let message = format!("`{}` must not be empty", faults.path());
            faults.error("empty_text", node.at, message);
            return Text { at: node.at, it: "".into() };
        }
        Text { at: node.at, it: text.clone() }
    }
    fn broken() -> Self {
        Text { at: Place::default(), it: "".into() }
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::from(&*self.it))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// Any scalar, taken as the text it was written with: a version `1.0` stays `1.0`.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Arc<str>);

impl Decode for Words {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        match node.scalar() {
            Some(s) if s.value != Plain::Null => Words(s.text.clone()),
            _ => {
                wrong_type(node, "text (a string)", faults);
                Self::broken()
            }
        }
    }
    fn broken() -> Self {
        Words("".into())
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::from(&*self.0))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

impl Decode for bool {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        match node.scalar().map(|s| s.value) {
            Some(Plain::Bool(b)) => b,
            _ => {
                wrong_type(node, "`true` or `false` (a boolean)", faults);
                false
            }
        }
    }
    fn broken() -> Self {
        false
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::Bool(*self))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "boolean"})
    }
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Int<const MIN: i64, const MAX: i64> {
    /// Where; line 0 for a default.
    pub(crate) at: Place,
    /// The number.
    pub(crate) it: i64,
}

impl<const MIN: i64, const MAX: i64> Int<MIN, MAX> {
    /// A number nobody wrote.
    pub(crate) fn of(it: i64) -> Self {
        Int { at: Place::default(), it }
    }
    /// The number; never negative where the bounds are not.
    pub(crate) fn get(self) -> u64 {
        u64::try_from(self.it).unwrap_or_default()
    }
    /// The number in 32 bits.
    pub(crate) fn get32(self) -> u32 {
        u32::try_from(self.it.max(0)).unwrap_or(u32::MAX)
    }
}

/// Tells of a whole number out of its bounds; says whether it is within.
pub(crate) fn within(at: Place, it: i64, min: i64, max: i64, faults: &mut Faults) -> bool {
    let path = faults.path();
    let message = if it < 0 && min >= 0 {
        format!("{path} must not be negative: {it}")
    } else if it < min {
        format!("{path} must be at least {min}: {it}")
    } else if it > max {
        format!("{path} must be at most {max}: {it}")
    } else {
        return true;
    };
    faults.error("out_of_range", at, message);
    false
}

impl<const MIN: i64, const MAX: i64> Decode for Int<MIN, MAX> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        match node.scalar().map(|s| s.value) {
            Some(Plain::Int(it)) => {
                let ok = within(node.at, it, MIN, MAX, faults);
                Int { at: node.at, it: if ok { it } else { MIN } }
            }
            _ => {
                wrong_type(node, "a whole number (an integer)", faults);
                Int { at: node.at, it: MIN }
            }
        }
    }
    fn broken() -> Self {
        Int::of(MIN)
    }
    fn encode(&self) -> Option<Json> {
        Some(self.it.into())
    }
    fn schema(_: &mut Defs) -> Json {
        if MAX == i64::MAX {
            json!({"type": "integer", "minimum": MIN})
        } else {
            json!({"type": "integer", "minimum": MIN, "maximum": MAX})
        }
    }
}

/// Which numbers a `Num` may hold.
pub(crate) trait Range: Clone + std::fmt::Debug {
    /// The least, and whether it is itself within.
    const MIN: (f64, bool);
    /// The greatest.
    const MAX: f64;
}

macro_rules! ranges {
    ($($(#[$doc:meta])* $name:ident $min:expr, $included:expr, $max:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;
        impl Range for $name {
            const MIN: (f64, bool) = ($min, $included);
            const MAX: f64 = $max;
        }
    )*};
}

ranges! {
    /// Zero or more.
    NotNegative 0.0, true, f64::MAX;
    /// Between zero and one.
    Share 0.0, true, 1.0;
    /// At least one.
    Factor 1.0, true, 1000.0;
}

/// A number within bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Num<R> {
    /// The number.
    pub(crate) it: f64,
    range: PhantomData<R>,
}

impl<R> Num<R> {
    /// A number nobody wrote.
    pub(crate) fn of(it: f64) -> Self {
        Num { it, range: PhantomData }
    }
}

impl<R: Range> Decode for Num<R> {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let it = match node.scalar().map(|s| s.value) {
            Some(Plain::Int(i)) => i as f64,
            Some(Plain::Float(f)) => f,
            _ => {
                wrong_type(node, "a number", faults);
                return Self::broken();
            }
        };
        let ((min, included), max) = (R::MIN, R::MAX);
        let path = faults.path();
        let message = if it < 0.0 && min >= 0.0 {
            format!("{path} must not be negative: {it}")
        } else if it < min || it == min && !included {
            format!("{path} must be {} {min}: {it}", if included { "at least" } else { "above" })
        } else if it > max {
            format!("{path} must be at most {max}: {it}")
        } else {
            return Num { it, range: PhantomData };
        };
        faults.error("out_of_range", node.at, message);
        Self::broken()
    }
    fn broken() -> Self {
        Num::of(1.0)
    }
    fn encode(&self) -> Option<Json> {
        serde_json::Number::from_f64(self.it).map(Json::Number)
    }
    fn schema(_: &mut Defs) -> Json {
        let mut json = json!({"type": "number"});
        json[if R::MIN.1 { "minimum" } else { "exclusiveMinimum" }] = R::MIN.0.into();
        if R::MAX < f64::MAX {
            json["maximum"] = R::MAX.into();
        }
        json
    }
}

/// A span of wall time: a number and a unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall(pub(crate) u64);

impl Decode for Wall {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let path = faults.path();
        let Some(scalar) = node.scalar().filter(|s| s.value != Plain::Null) else {
            wrong_type(node, "a duration such as `60s`", faults);
            return Self::broken();
        };
        match time::wall(&scalar.text) {
            Ok(ms) => Wall(ms),
            Err(why) => {
                faults
                    .error("bad_duration", node.at, format!("`{path}` is no duration: `{}` ({why})", shorten(&scalar.text)))
                    .help("wall time is a number and a unit: `200ms`, `60s`, `2m`, `2h`, `1d`");
                Self::broken()
            }
        }
    }
    fn broken() -> Self {
        Wall(1000)
    }
    fn encode(&self) -> Option<Json> {
        Some(time::wall_text(self.0).into())
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"})
    }
}

/// A span of wall time that may be none: `0ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause(pub(crate) u64);

impl Decode for Pause {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let none = node.scalar().is_some_and(|s| time::is_none(&s.text));
        if none { Pause(0) } else { Pause(Wall::decode(node, faults).0) }
    }
    fn broken() -> Self {
        Pause(Wall::broken().0)
    }
    fn encode(&self) -> Option<Json> {
        Wall(self.0).encode()
    }
    fn schema(defs: &mut Defs) -> Json {
        Wall::schema(defs)
    }
}

/// A span of run time, ISO 8601.
#[derive(Clone, Debug)]
pub(crate) struct Iso {
    /// Where.
    pub(crate) at: Place,
    /// As written.
    pub(crate) text: Arc<str>,
    /// The span.
    pub(crate) it: Step,
}

impl Decode for Iso {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        let path = faults.path();
        let Some(scalar) = node.scalar().filter(|s| s.value != Plain::Null) else {
            wrong_type(node, "an ISO 8601 duration such as `P1W`", faults);
            return Self::broken();
        };
        match time::step(&scalar.text) {
            Ok(it) => Iso { at: node.at, text: scalar.text.clone(), it },
            Err(why) => {
                faults
                    .error("bad_duration", node.at, format!("`{path}` is no duration: `{}` ({why})", shorten(&scalar.text)))
                    .help("run time is an ISO 8601 duration: `P1D` a day, `P1W` a week, `P1M` a month, `PT1H` an hour");
                Self::broken()
            }
        }
    }
    fn broken() -> Self {
        Iso { at: Place::default(), text: "P1D".into(), it: Step { months: 0, ms: 86_400_000 } }
    }
    fn encode(&self) -> Option<Json> {
        Some(Json::from(&*self.text))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": "string", "pattern": "^P", "examples": ["P1D", "P1W", "PT1H"]})
    }
}

/// An expression.
#[derive(Clone, Debug)]
pub(crate) struct Cel(pub(crate) Node);

impl Decode for Cel {
    fn decode(node: &Node, faults: &mut Faults) -> Self {
        if node.scalar().is_some_and(|s| s.value != Plain::Null && !s.text.trim().is_empty()) {
            return Cel(node.clone());
        }
        wrong_type(node, "an expression (CEL)", faults);
        Self::broken()
    }
    fn broken() -> Self {
        Cel(Node::broken(Place::default()))
    }
    /// Always as text: `3.10` must not come back as `3.1`.
    fn encode(&self) -> Option<Json> {
        Some(self.0.scalar().map_or(Json::Null, |s| Json::from(&*s.text)))
    }
    fn schema(_: &mut Defs) -> Json {
        json!({"type": ["string", "number", "boolean"], "description": "an expression (CEL)"})
    }
}

/// Declares parts that keep their node, to be read with names in scope.
macro_rules! nodes {
    ($($(#[$doc:meta])* $name:ident, $ok:expr, $expected:literal, $schema:tt;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) Node);
        impl Decode for $name {
            fn decode(node: &Node, faults: &mut Faults) -> Self {
                let ok: fn(&Node) -> bool = $ok;
                if ok(node) {
                    return $name(node.clone());
                }
                wrong_type(node, $expected, faults);
                $name(Node::broken(node.at))
            }
            fn broken() -> Self {
                $name(Node::broken(Place::default()))
            }
            fn encode(&self) -> Option<Json> {
                Some(self.0.to_json())
            }
            fn schema(_: &mut Defs) -> Json {
                json!($schema)
            }
        }
    )*};
}

nodes! {
    /// Text with `{{ … }}`.
    Tpl, |n| n.as_text().is_some(), "text (a string)", {"type": "string"};
    /// The value of a header: a text, a number or truth.
    Header, |n| n.scalar().is_some_and(|s| s.value != Plain::Null), "text (a string)", {"type": ["string", "number", "boolean"]};
    /// Anything built of expressions.
    Data, |n| !n.is_broken(), "a value", {};
    /// Anything.
    Raw, |n| !n.is_broken(), "a value", {};
    /// A JSON Schema with keywords of ours.
    SchemaNode, |n| matches!(n.kind, Kind::Map(_)), "a JSON Schema (a map)",
        {"$ref": "https://json-schema.org/draft/2020-12/schema"};
    /// A whole number, or a template that gives one.
    LateInt, |n| n.scalar().is_some_and(|s| matches!(s.value, Plain::Int(_)) || s.value == Plain::Text && s.text.contains("{{")),
        "a whole number (an integer) or a template", {"type": ["integer", "string"]};
    /// A date, a timestamp, or a template that gives one.
    LateTime, |n| n.as_text().is_some(), "a date or a timestamp", {"type": "string"};
    /// A map from names to anything.
    RawMap, |n| matches!(n.kind, Kind::Map(_)), "a map", {"type": "object"};
    /// A list of anything.
    RawList, |n| matches!(n.kind, Kind::List(_)), "a list", {"type": "array"};
}
