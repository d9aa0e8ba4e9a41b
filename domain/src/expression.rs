//! CEL over the run's own values: typed, free of side effects, always ends, with a cost bound before it starts.
//! (Language: <https://github.com/google/cel-spec>.)

mod ast;
mod check;
mod comprehension;
mod cost;
pub mod functions;
mod lexer;
mod machine;
mod operators;
mod parser;
mod program;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::value::Value;

/// A name an expression can start from. What it holds is the scope's business; declared fields are read by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// `params`, fields by position in the scenario's parameters.
    Params,
    /// `state`, fields by position in the scenario's state.
    State,
    /// `draws`, fields by position in the agent's draws; evaluated when read.
    Draws,
    /// `self`, fields by position in the agent's own state, then `id`, `replica`.
    Own,
    /// `tick`.
    Tick,
    /// `now`.
    Now,
    /// `seed`.
    Seed,
    /// `message`.
    Message,
    /// `run`.
    Run,
    /// `input` of a tool.
    Input,
    /// `output` of an agent, in output guardrails.
    Output,
    /// `record` in validation of a collection.
    Record,
    /// `metrics` in checks.
    Metrics,
    /// `trace` in checks.
    Trace,
    /// `approvals` in checks.
    Approvals,
    /// A collection by position.
    Collection(u16),
    /// A `let` of the agent by position.
    Let(u16),
    /// A name bound by `for_each … as` or `call … as`, by position in the agent's program.
    Bound(u16),
}

/// What is known of a value before it is there. Doubtful mismatches are no errors.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything.
    Dyn,
    /// Null.
    Null,
    /// Truth.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// Text.
    Text,
    /// A moment.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list.
    List(Box<Type>),
    /// A map with values of one type.
    Map(Box<Type>),
    /// A map with known fields.
    Object(Arc<ObjectType>),
    /// A collection of the world.
    Collection(Arc<CollectionType>),
    /// One of several, such as an integer or null.
    OneOf(Vec<Type>),
}

/// A map with known fields, in their declared order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ObjectType {
    /// Field names and types.
    pub fields: Vec<(Arc<str>, Type)>,
    /// Whether other fields may be there too.
    pub open: bool,
}

/// A collection as expressions see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionType {
    /// Its name.
    pub name: Arc<str>,
    /// The fields that make its key.
    pub key: Vec<Arc<str>>,
    /// The fields with an index.
    pub index: Vec<Arc<str>>,
    /// The records' fields.
    pub record: Arc<ObjectType>,
}

/// The names an expression may use, with their types.
#[derive(Clone, Debug, Default)]
pub struct Env {
    names: Vec<(Arc<str>, Root, Type)>,
}

impl Env {
    /// Declares a name; a later one hides an earlier one.
    pub fn declare(&mut self, name: impl Into<Arc<str>>, root: Root, ty: Type) {
        self.names.push((name.into(), root, ty));
    }
    /// The same environment with one more name.
    #[must_use]
    pub fn with(&self, name: impl Into<Arc<str>>, root: Root, ty: Type) -> Env {
        let mut env = self.clone();
        env.declare(name, root, ty);
        env
    }
    /// What a name stands for.
    pub fn find(&self, name: &str) -> Option<(Root, &Type)> {
        self.names.iter().rev().find(|n| &*n.0 == name).map(|n| (n.1, &n.2))
    }
    /// All names, in the order of declaration.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, Root, &Type)> {
        self.names.iter().map(|n| (&n.0, n.1, &n.2))
    }
}

/// Where an expression gets its values from, at evaluation.
pub trait Scope {
    /// The value of a name.
    fn root(&self, root: Root) -> Result<Value, EvalError>;
    /// The field at a declared position of a name whose type is an object (`params`, `state`, `draws`, `self`, `run`, …).
    fn field(&self, root: Root, index: u16) -> Result<Value, EvalError>;
    /// The next id of `uuid()`: derived from the seed and the path of the evaluation, never random.
    fn uuid(&self) -> Result<Arc<str>, EvalError>;
}

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What went wrong, with the names and values in question.
    pub message: String,
}

impl EvalError {
    /// An error from its text.
    pub fn new(message: impl fmt::Display) -> EvalError {
        EvalError { message: message.to_string() }
    }
}

/// A fault found in an expression's text; offsets count characters from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `cel_syntax`, `cel_unknown_name`, `cel_unknown_field`, `cel_unknown_function`, `cel_arity`, `cel_type`, `cel_cost`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The remedy, or a "did you mean".
    pub help: Option<String>,
    /// The part of the text it is about, characters from, to (exclusive).
    pub at: (usize, usize),
    /// A doubtful fault is a warning.
    pub warning: bool,
}

/// What an expression reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Names read whole.
    pub roots: BTreeSet<Root>,
    /// Single fields read by position.
    pub fields: BTreeSet<(Root, u16)>,
}

/// A compiled expression; immutable, shared by all runs of a scenario version. Clones share everything.
#[derive(Clone, Debug)]
pub struct Program(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<str>,
    reads: Reads,
    scans: Vec<(Arc<str>, Arc<str>)>,
    node: program::Node,
    /// Steps that are made at most once.
    cost: u64,
}

/// A compiled expression with the warnings found in it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The program.
    pub program: Program,
    /// The type of its value, as far as it is known.
    pub ty: Type,
    /// Warnings.
    pub warnings: Vec<Fault>,
}

/// Parses, resolves and checks an expression. All faults are told at once, in the order of their places.
pub fn compile(source: &str, env: &Env) -> Result<Compiled, Vec<Fault>> {
    let tree = parser::parse(source).map_err(|fault| vec![fault])?;
    let mut checker = check::Checker::new(env, source);
    let typed = checker.expr(&tree);
    let mut faults = checker.faults;
    faults.sort_by_key(|f| f.at);
    faults.dedup();
    if faults.iter().any(|f| !f.warning) {
        return Err(faults);
    }
    let cost = typed.node.cost();
    let inner = Inner { source: source.into(), reads: checker.reads, scans: checker.scans, node: typed.node, cost };
    Ok(Compiled { program: Program(Arc::new(inner)), ty: typed.ty, warnings: faults })
}

impl Program {
    /// The expression's text.
    pub fn source(&self) -> &str {
        &self.0.source
    }
    /// What it reads.
    pub fn reads(&self) -> &Reads {
        &self.0.reads
    }
    /// The value where it is the same in every scope.
    pub fn constant(&self) -> Option<&Value> {
        self.0.node.constant()
    }
    /// Collections the expression goes through record by record although it asks for a field to equal something, each with
    /// that field: an index on it would spare the scan.
    pub fn scans(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0.scans
    }
    /// About how many steps it takes at most, where names (above all collections) have the given sizes. Lists of unknown
    /// length count as 32, an index as leaving the square root of all records.
    pub fn estimate(&self, size_of: &dyn Fn(Root) -> u64) -> u64 {
        self.0.node.estimate(size_of).0
    }
    /// The value. `limit` is `limits.cel_steps`: an expression whose bound is above it is refused before it starts, or
    /// before it starts an iteration whose size shows only then. A value is never nested more than 128 deep.
    pub fn eval(&self, scope: &dyn Scope, limit: u64) -> Result<Value, EvalError> {
        let mut machine = machine::Machine::new(scope, &self.0.source, limit);
        machine.charge(usize::try_from(self.0.cost).unwrap_or(usize::MAX))?;
        let value = self.0.node.eval(&mut machine)?;
        if matches!(value, Value::List(_) | Value::Map(_)) {
            machine.walk(&value, machine::MAX_VALUE_DEPTH)?;
        }
        Ok(value)
    }
    /// As `eval`, for conditions: anything but a bool is an error.
    pub fn eval_bool(&self, scope: &dyn Scope, limit: u64) -> Result<bool, EvalError> {
        match self.eval(scope, limit)? {
            Value::Bool(b) => Ok(b),
            other => Err(EvalError::new(format!("`{}` is {}, not bool: {}", self.source(), other.kind(), machine::show(&other)))),
        }
    }
}

/// The one of some known words that a misspelt one most likely means.
pub fn suggest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let most = if word.chars().count() <= 3 { 1 } else { (word.chars().count() / 3).max(2) };
    let lower = word.to_lowercase();
    let near = known.filter(|k| *k != word).map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k));
    near.filter(|(distance, k)| *distance <= most && *distance < k.chars().count()).min_by_key(|n| n.0).map(|n| n.1)
}

/// What is wrong with a regular expression, if anything.
pub fn pattern_fault(pattern: &str) -> Option<String> {
    functions::text::pattern(pattern).err()
}

/// Whether a regular expression is found in a text; one that does not compile is found nowhere.
pub fn found(pattern: &str, text: &str) -> bool {
    functions::text::pattern(pattern).is_ok_and(|regex| regex.is_match(text))
}
