//! What a text claims about parameters, before it is settled.

use jiff::civil::Date;

use super::mentions::Place;
use super::numbers::Amount;
use crate::value::Value;

/// A quantity on its way to a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// A value as it is.
    Value(Value),
    /// A number.
    Number(f64),
    /// A length of time.
    Length(Amount),
    /// A day.
    Date(Date),
    /// A place in a row.
    Place(Place),
    /// A day that says a place in a row.
    Day(Date),
    /// The last day of a length; whether its year was not written, and whether it is a whole week.
    End(Date, bool, bool),
}

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Says {
    /// A value.
    Value(Raw),
    /// Not that one.
    Denied,
    /// Something that settles nothing, and gives way to a value.
    Soft(Vec<Raw>, &'static str),
    /// Something that leaves the value unsettled whatever else is said.
    Hard(Vec<Raw>, &'static str),
}

impl Says {
    /// The day it names.
    pub(super) fn day(&self) -> Option<Date> {
        match self {
            Says::Value(Raw::Date(day)) => Some(*day),
            _ => None,
        }
    }
}

/// One claim about one parameter.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The parameter.
    pub param: usize,
    /// The first token.
    pub at: usize,
    /// The token behind.
    pub to: usize,
    /// What is said.
    pub says: Says,
    /// How sure it is that this is meant, from 0 to 1.
    pub sure: f64,
    /// Whether a cue speaks for it.
    pub strong: bool,
}
