//! What is known of types before values are there: which kinds a value may have, what an operator makes of two of them.
//! Only a mismatch that no value could avoid is certain; everything else is left to the evaluation.

use super::ast::Op;
use super::{EvalError, Type};
use crate::value::Value;

/// A set of kinds, one bit each.
pub(super) type Kinds = u16;

/// Absence.
pub(super) const NULL: Kinds = 1;
/// Truth.
pub(super) const BOOL: Kinds = 1 << 1;
/// A whole number.
pub(super) const INT: Kinds = 1 << 2;
/// A number.
pub(super) const DOUBLE: Kinds = 1 << 3;
/// Text.
pub(super) const TEXT: Kinds = 1 << 4;
/// A list.
pub(super) const LIST: Kinds = 1 << 5;
/// A map.
pub(super) const MAP: Kinds = 1 << 6;
/// A moment.
pub(super) const TIME: Kinds = 1 << 7;
/// A span of time.
pub(super) const SPAN: Kinds = 1 << 8;
/// A collection.
pub(super) const COLL: Kinds = 1 << 9;
/// Any kind.
pub(super) const ANY: Kinds = (1 << 10) - 1;
/// An int or a double.
pub(super) const NUM: Kinds = INT | DOUBLE;
/// Values that have an order among their kind.
pub(super) const ORDERED: Kinds = NUM | TEXT | BOOL | TIME | SPAN;
/// A list or a collection, whose items are its records.
pub(super) const ITEMS: Kinds = LIST | COLL;

const NAMES: [&str; 10] = ["null", "bool", "int", "double", "string", "list", "map", "timestamp", "duration", "collection"];

/// The kinds of a set in words: `int or string`.
pub(super) fn kinds_text(kinds: Kinds) -> String {
    if kinds & ANY == ANY {
        return "any value".to_owned();
    }
    let words: Vec<&str> = (0..10).filter(|n| kinds & (1 << n) != 0).map(|n| NAMES[n as usize]).collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// The kind of a value.
pub(super) fn kind_of(value: &Value) -> Kinds {
    match value {
        Value::Null => NULL,
        Value::Bool(_) => BOOL,
        Value::Int(_) => INT,
        Value::Double(_) => DOUBLE,
        Value::Text(_) => TEXT,
        Value::List(_) => LIST,
        Value::Map(_) => MAP,
        Value::Timestamp(_) => TIME,
        Value::Duration(_) => SPAN,
        Value::Collection(_) => COLL,
    }
}

impl Type {
    /// The kinds a value of this type may have.
    pub(super) fn kinds(&self) -> Kinds {
        match self {
            Type::Dyn => ANY,
            Type::Null => NULL,
            Type::Bool => BOOL,
            Type::Int => INT,
            Type::Double => DOUBLE,
            Type::Text => TEXT,
            Type::Timestamp => TIME,
            Type::Duration => SPAN,
            Type::List(_) => LIST,
            Type::Map(_) | Type::Object(_) => MAP,
            Type::Collection(_) => COLL,
            Type::OneOf(types) => types.iter().fold(0, |all, t| all | t.kinds()),
        }
    }

    /// The type in words, as messages name it: `int`, `int or null`.
    pub fn name(&self) -> String {
        kinds_text(self.kinds())
    }

    /// A list of this type.
    pub(super) fn listed(self) -> Type {
        Type::List(Box::new(self))
    }

    /// The type of values that are of this type or of the other.
    #[must_use]
    pub fn or(self, other: Type) -> Type {
        if self == other {
            return self;
        }
        let mut all: Vec<Type> = Vec::new();
        for part in [self, other] {
            match part {
                Type::Dyn => return Type::Dyn,
                Type::OneOf(types) => types.into_iter().for_each(|t| add(&mut all, t)),
                one => add(&mut all, one),
            }
        }
        match all.len() {
            1 => all.remove(0),
            2..=6 => Type::OneOf(all),
            _ => Type::Dyn,
        }
    }

    /// The simple types this one stands for. `Dyn` is one of each.
    pub(super) fn atoms(&self) -> Vec<Type> {
        match self {
            Type::Dyn => vec![
                Type::Null,
                Type::Bool,
                Type::Int,
                Type::Double,
                Type::Text,
                Type::Timestamp,
                Type::Duration,
                Type::Dyn.listed(),
                Type::Map(Box::new(Type::Dyn)),
            ],
            Type::OneOf(types) => types.iter().flat_map(Type::atoms).collect(),
            one => vec![one.clone()],
        }
    }

    /// What iterating gives: items of a list, keys of a map, records of a collection. `None` where that is surely impossible.
    pub(super) fn item(&self) -> Option<Type> {
        match self {
            Type::Dyn | Type::Map(_) => Some(Type::Dyn),
            Type::List(item) => Some((**item).clone()),
            Type::Object(_) => Some(Type::Text),
            Type::Collection(c) => Some(Type::Object(c.record.clone())),
            Type::OneOf(types) => types.iter().filter_map(Type::item).reduce(Type::or),
            _ => None,
        }
    }
}

fn add(all: &mut Vec<Type>, one: Type) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// The type of `a op b`, or why no values of these types have one.
pub(super) fn binary_type(op: Op, a: &Type, b: &Type) -> Result<Type, EvalError> {
    let (left, right) = (a.atoms(), b.atoms());
    let mut result: Option<Type> = None;
    for l in &left {
        for r in &right {
            if let Some(ty) = pair_type(op, l, r) {
                result = Some(match result.take() {
                    Some(former) => former.or(ty),
                    None => ty,
                });
            }
        }
    }
    result.ok_or_else(|| EvalError::new(mismatch(op, &a.name(), &b.name())))
}

/// Why an operator has no value, in words.
pub(super) fn mismatch(op: Op, a: &str, b: &str) -> String {
    match op {
        Op::Add => format!("cannot add {a} and {b}"),
        Op::Sub => format!("cannot subtract {b} from {a}"),
        Op::Mul => format!("cannot multiply {a} and {b}"),
        Op::Div | Op::Quotient => format!("cannot divide {a} by {b}"),
        Op::Rem => format!("cannot take {a} % {b}: both must be int"),
        Op::Eq | Op::Ne => format!("{a} and {b} are never equal"),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => format!("cannot compare {a} and {b} with `{}`", op.symbol()),
        Op::In => format!("cannot look for {a} in {b}"),
    }
}

fn pair_type(op: Op, a: &Type, b: &Type) -> Option<Type> {
    let numbers = |l: &Type, r: &Type| match (l, r) {
        (Type::Int, Type::Int) => Some(Type::Int),
        (Type::Int | Type::Double, Type::Int | Type::Double) => Some(Type::Double),
        _ => None,
    };
    match op {
        Op::Add => match (a, b) {
            (Type::Text, Type::Text) => Some(Type::Text),
            (Type::List(l), Type::List(r)) => Some((**l).clone().or((**r).clone()).listed()),
            (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => Some(Type::Timestamp),
            (Type::Duration, Type::Duration) => Some(Type::Duration),
            _ => numbers(a, b),
        },
        Op::Sub => match (a, b) {
            (Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
            (Type::Timestamp, Type::Timestamp) | (Type::Duration, Type::Duration) => Some(Type::Duration),
            _ => numbers(a, b),
        },
        Op::Mul | Op::Div | Op::Quotient => numbers(a, b),
        Op::Rem => (a == &Type::Int && b == &Type::Int).then_some(Type::Int),
        Op::Eq | Op::Ne => may_equal(a, b).then_some(Type::Bool),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => {
            let (l, r) = (a.kinds(), b.kinds());
            let ordered = l & r & (BOOL | TEXT | TIME | SPAN) != 0;
            (ordered || (l & NUM != 0 && r & NUM != 0)).then_some(Type::Bool)
        }
        Op::In => match b {
            Type::List(item) => binary_type(Op::Eq, a, item).is_ok().then_some(Type::Bool),
            Type::Map(_) => (a.kinds() & (BOOL | NUM | TEXT | LIST) != 0).then_some(Type::Bool),
            Type::Object(_) => (a.kinds() & TEXT != 0).then_some(Type::Bool),
            Type::Collection(_) => (a.kinds() & (BOOL | NUM | TEXT | LIST) != 0).then_some(Type::Bool),
            _ => None,
        },
    }
}

fn may_equal(a: &Type, b: &Type) -> bool {
    let (l, r) = (a.kinds(), b.kinds());
    l & r != 0 || (l | r) & NULL != 0 || (l & NUM != 0 && r & NUM != 0) || (l & (MAP | COLL) != 0 && r & (MAP | COLL) != 0)
}

/// What would mend a mismatch, where that is plain.
pub(super) fn remedy(op: Op, a: &Type, b: &Type) -> Option<String> {
    let (l, r) = (a.kinds(), b.kinds());
    let either = |x: Kinds, y: Kinds| (l == x && r == y) || (l == y && r == x);
    let text = match op {
        Op::In if r == TEXT => "write `text.contains(part)`",
        Op::In => "`in` looks in a list, the keys of a map or the keys of a collection",
        _ if either(TIME, TEXT) => "turn the text into a moment: `timestamp(…)`",
        _ if either(TEXT, INT) || either(TEXT, DOUBLE) => match op {
            Op::Add => "turn the number into text: `string(…)`, or the text into a number: `double(…)`",
            _ => "a number is written without quotes; `double(…)` turns text into one",
        },
        Op::Rem => "`int(…)` makes a whole number",
        _ if l == NULL || r == NULL => "null has no value to calculate with",
        _ => return None,
    };
    Some(text.to_owned())
}
