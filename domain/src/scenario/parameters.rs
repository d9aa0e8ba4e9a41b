//! Parameters of a scenario, and how they are read from language.

use std::sync::Arc;

use super::Schema;
use crate::expression::Program;
use crate::value::Value;

/// A parameter: a JSON Schema with a unit and a default.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Arc<str>,
    /// What its values must be.
    pub schema: Schema,
    /// The value where none is given.
    pub default: Option<Preset>,
    /// The unit, for people.
    pub unit: Option<String>,
    /// A title for people.
    pub title: Option<String>,
    /// What it means, for people.
    pub description: Option<String>,
    /// How it is read from language.
    pub extract: Extract,
}

/// How a parameter is read from language: `extract`.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    /// What kind of quantity it reads; worked out of the schema where it is not said.
    pub reads: Option<Reads>,
    /// Other words for its values.
    pub synonyms: Vec<(Value, Vec<String>)>,
    /// Texts and the values they mean, for a model.
    pub examples: Vec<(String, Value)>,
    /// Words by which it is spoken of.
    pub cues: Vec<String>,
    /// Words by which something else is spoken of.
    pub not: Vec<String>,
    /// Of a share: words for the other part of the whole.
    pub rest: Vec<String>,
    /// Of a position: the parameter that says how long the row is.
    pub of: Option<String>,
    /// Of a position or a length: the parameter that says which day is counted from.
    pub from: Option<String>,
}

/// What kind of quantity a parameter reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// So many units of time.
    Length,
    /// A place in a row of units of time: "week 7".
    Position,
    /// A day.
    Date,
    /// How often.
    Rhythm,
    /// A part of a whole.
    Share,
    /// A number.
    Number,
    /// One of a list.
    Choice,
    /// Yes or no.
    Truth,
    /// Words as they are: only a model reads them.
    Words,
}

/// How parameters are read from language: the scenario's `extraction`.
#[derive(Clone, Debug)]
pub struct Extraction {
    /// The model alias that reads; rules where there is none.
    pub model: Option<usize>,
    /// When a person confirms.
    pub confirm: Confirm,
    /// Below this nothing starts unasked.
    pub min_confidence: f64,
    /// What happens to a parameter nothing was said about.
    pub on_missing: OnMissing,
}

impl Default for Extraction {
    fn default() -> Extraction {
        Extraction { model: None, confirm: Confirm::Always, min_confidence: 0.8, on_missing: OnMissing::Default }
    }
}

/// When a person confirms extracted parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Every time.
    Always,
    /// Where something is ambiguous or not sure.
    WhenAmbiguous,
    /// Never; what is ambiguous or not sure is refused.
    Never,
}

/// What happens to a parameter nothing was said about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// It takes its default.
    Default,
    /// It takes its default once a person has confirmed that.
    Ask,
    /// Nothing starts.
    Fail,
}

/// A default: a value, or an expression resolved once at the start (names: `now`, `seed`, and earlier `params`).
#[derive(Clone, Debug)]
pub enum Preset {
    /// A value.
    Value(Value),
    /// An expression.
    Program(Program),
}
