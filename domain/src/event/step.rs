//! Steps of turns as events tell of them: what is called, what came back, what follows. The order of the variants and of their
//! fields is the stored format: append only.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AnsweredBy, Ask, Failure, Outcome, Sent, Trip, Usage, Write};
use crate::body::Body;
use crate::message::{Call, StepId};
use crate::scenario::ToolRef;

/// What a step calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// The model, with the conversation so far.
    Model,
    /// A tool.
    Tool {
        /// The call.
        call_id: Arc<str>,
        /// Which.
        tool: ToolRef,
        /// Its input.
        input: Body,
    },
    /// A judge: a model that says whether a guardrail is met.
    Judge {
        /// Which of the agent's guardrails, by position.
        guardrail: u16,
        /// What is judged.
        value: Body,
    },
    /// A model, to summarise the conversation.
    Summary,
}

/// A durable outcome, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Which step.
    pub step: StepId,
    /// What came back.
    pub outcome: StepOutcome,
    /// What follows.
    pub then: Then,
    /// Guardrails that were not met.
    pub trips: Vec<Trip>,
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StepOutcome {
    /// A model's answer.
    Answered {
        /// Words; null where it only called.
        text: Body,
        /// Calls.
        calls: Vec<Call>,
        /// Who answered.
        by: AnsweredBy,
        /// Tokens and money.
        usage: Usage,
    },
    /// A tool's result.
    Done {
        /// The value.
        value: Body,
        /// Its writes.
        writes: Vec<Write>,
        /// Its messages.
        sent: Vec<Sent>,
    },
    /// It failed.
    Failed(Failure),
    /// The answer of a model outside the process, or of a cache.
    Replied(Box<Reply>),
}

impl StepOutcome {
    /// What a model (or the stub) answered, whichever way it is stored.
    pub fn answer(&self) -> Option<Answered<'_>> {
        match self {
            StepOutcome::Answered { text, calls, by, usage } => Some(Answered { text, calls, by: *by, usage, reasoning: None }),
            StepOutcome::Replied(reply) => Some(Answered {
                text: &reply.text,
                calls: &reply.calls,
                by: reply.by,
                usage: &reply.usage,
                reasoning: reply.reasoning.as_ref(),
            }),
            StepOutcome::Done { .. } | StepOutcome::Failed(_) => None,
        }
    }
}

/// A model's answer, as it is read.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Words; null where it only called.
    pub text: &'a Body,
    /// Calls.
    pub calls: &'a [Call],
    /// Who answered.
    pub by: AnsweredBy,
    /// Tokens and money.
    pub usage: &'a Usage,
    /// What the model thought.
    pub reasoning: Option<&'a Body>,
}

/// The answer of a model outside the process, or of a cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Words; null where it only called.
    pub text: Body,
    /// Calls.
    pub calls: Vec<Call>,
    /// Who answered.
    pub by: AnsweredBy,
    /// Tokens and money.
    pub usage: Usage,
    /// Of the tokens in, those the provider had cached.
    pub cached_tokens: u64,
    /// Who it was, as `provider:model`.
    pub model: Arc<str>,
    /// The provider's word for why it ended.
    pub finish: Arc<str>,
    /// What the model thought, as its provider wants it back.
    pub reasoning: Option<Body>,
    /// How old a cache's answer is, milliseconds of wall time.
    pub age_ms: Option<u64>,
    /// Why those did not answer that were asked before: somebody further down the alias' `fallback` did.
    pub instead: Option<Arc<str>>,
}

/// What follows from an outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Then {
    /// Other steps of the same answer are still open.
    Wait,
    /// The model is asked again; these answers and words go to it first.
    Again {
        /// Calls answered without a step.
        answers: Vec<(Arc<str>, Body)>,
        /// Words to the model, such as a repair message.
        words: Option<Body>,
    },
    /// Tools run; what is in `answers` needs none.
    Tools {
        /// Steps planned with this record, numbered from the turn's next step on: call, tool, input.
        planned: Vec<(Arc<str>, ToolRef, Body)>,
        /// Calls answered without a step.
        answers: Vec<(Arc<str>, Body)>,
        /// What follows once they are done, instead of the model.
        after: Option<Box<Outcome>>,
    },
    /// Delegates are asked; the turn waits.
    Ask {
        /// The questions.
        asks: Vec<Ask>,
        /// Calls answered without a step.
        answers: Vec<(Arc<str>, Body)>,
    },
    /// The turn is ready to commit.
    Ready {
        /// Calls answered without a step.
        answers: Vec<(Arc<str>, Body)>,
        /// How it ends.
        outcome: Box<Outcome>,
    },
    /// The agent's fallback takes the whole turn.
    Fallback,
    /// The turn failed.
    Failed(Failure),
    /// Judges are asked, side by side; what follows is decided once all have spoken.
    Judge {
        /// Steps planned with this record: guardrail, the place among those judged at once, what is judged.
        planned: Vec<(u16, u32, Body)>,
    },
    /// The conversation is summarised before the floor is handed off.
    Summarise {
        /// Calls answered without a step.
        answers: Vec<(Arc<str>, Body)>,
        /// How the turn ends then.
        outcome: Box<Outcome>,
    },
}
