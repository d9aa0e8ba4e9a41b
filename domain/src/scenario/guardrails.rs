//! Guardrails of an `llm` agent.

use std::sync::Arc;

use super::ToolRef;
use crate::expression::Program;
use crate::id::ModelIx;
use crate::template::Template;

/// A check on what goes in or out of an `llm` agent.
#[derive(Clone, Debug)]
pub struct Guardrail {
    /// Where it stands.
    pub at: GuardrailAt,
    /// What it asks.
    pub check: GuardrailCheck,
    /// What happens where it is not met.
    pub then: GuardrailThen,
    /// How many retries.
    pub max: u32,
    /// What the model or the user is told.
    pub say: Option<Arc<str>>,
}

/// Where a guardrail stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardrailAt {
    /// What comes in; names: `input` (the message's data), `message`.
    Input,
    /// The final output; name `output`.
    Output,
    /// A handoff; name `input` (`{to, …}`).
    Handoff,
    /// A tool's input; name `input`.
    Tool(ToolRef),
    /// A tool's result; name `output`.
    ToolResult(ToolRef),
}

/// What a guardrail asks.
#[derive(Clone, Debug)]
pub enum GuardrailCheck {
    /// An expression that must be true.
    Expr(Program),
    /// A pattern that must not be found in the text (of the value as JSON).
    DenyRegex(Arc<str>),
    /// A model as judge.
    Llm(Judge),
}

/// A model as judge.
#[derive(Clone, Debug)]
pub struct Judge {
    /// What it is to judge by.
    pub instruction: Template,
    /// The model alias; `None`: the agent's own.
    pub model: Option<ModelIx>,
    /// What the stub says in its place, each time it is asked in a turn; then that all is well.
    pub stub: Vec<bool>,
}

/// What happens where a guardrail is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardrailThen {
    /// The value is withheld; a tool call is answered with the words of `say`.
    Reject,
    /// The model is asked again, at most `max` times; then the turn fails.
    Retry,
    /// A person decides: not run by this version.
    Escalate,
    /// The turn fails.
    Fail,
}
