//! What waits in an agent's mailbox, and the conversation it may carry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::id::{AgentIx, CollectionIx};
use crate::value::{Key, Value};

/// A turn: the wave it belongs to and its place in that wave, counted in mailboxes served. Derived from the run's course alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnId {
    /// The wave, from 1 over the whole run.
    pub wave: u32,
    /// The place in the wave, from 0.
    pub index: u32,
}

impl std::fmt::Display for TurnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "t{}.{}", self.wave, self.index)
    }
}

/// A step: one call inside a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId {
    /// Its turn.
    pub turn: TurnId,
    /// Its number in the turn, from 0.
    pub n: u32,
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.turn, self.n)
    }
}

/// One agent of a block: most blocks have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seat {
    /// The block.
    pub agent: AgentIx,
    /// Which of it, from 0.
    pub replica: u32,
}

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MessageKind {
    /// The run begins.
    Start,
    /// The floor was passed.
    Handoff,
    /// A delegate's question.
    Ask,
    /// The answer to one.
    Return,
    /// Told by an agent.
    Tell,
    /// Time went on.
    Tick,
    /// A trigger fired.
    Trigger,
    /// A record was written that the agent handles.
    Record,
    /// A person's words.
    User,
}

impl MessageKind {
    /// The word expressions know it by.
    pub fn word(self) -> &'static str {
        match self {
            MessageKind::Start => "start",
            MessageKind::Handoff => "handoff",
            MessageKind::Ask => "ask",
            MessageKind::Return => "return",
            MessageKind::Tell => "tell",
            MessageKind::Tick => "tick",
            MessageKind::Trigger => "trigger",
            MessageKind::Record => "record",
            MessageKind::User => "user",
        }
    }

    /// Whether the receiver has the floor: its final output goes to whoever asked, or ends the chain.
    pub fn has_floor(self) -> bool {
        !matches!(self, MessageKind::Tick | MessageKind::Tell | MessageKind::Record)
    }
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Its kind.
    pub kind: MessageKind,
    /// A tell's type or a trigger's name.
    pub label: Option<Arc<str>>,
    /// Who sent it.
    pub from: Option<AgentIx>,
    /// Its words.
    pub text: Option<Arc<str>>,
    /// What came along.
    pub data: Value,
    /// Run time from which it may be delivered, milliseconds.
    pub at: i64,
    /// The sender's commit position.
    pub position: u64,
    /// The place in the sender's output.
    pub index: u32,
    /// The first wave it may be served in.
    pub wave: u32,
    /// The world write it tells of.
    pub record: Option<(CollectionIx, Key)>,
    /// The conversation it continues and who waits for its end.
    pub chain: Option<Arc<Chain>>,
}

/// A conversation so far, shared by those who read it. Handed on, it is short and copied whole: that is cheaper than a tree.
pub type History = Arc<[Chat]>;

/// A conversation with the stack of those who wait for an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// What was said so far.
    pub history: History,
    /// Who asked, innermost last; at most `MAX_DEPTH`.
    pub stack: Vec<Caller>,
    /// The call that a `return` answers.
    pub answers: Option<Arc<str>>,
    /// Whether a `return` brings an error instead of an answer.
    pub failed: bool,
}

/// How deep questions may nest.
pub const MAX_DEPTH: usize = 8;

/// An agent that waits for a delegate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who asked.
    pub seat: Seat,
    /// The turn it asked in.
    pub turn: TurnId,
    /// The call that the answer belongs to.
    pub call_id: Arc<str>,
}

/// One entry of a conversation with a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Chat {
    /// Words to the agent.
    User {
        /// The words.
        text: Body,
    },
    /// An agent's answer.
    Assistant {
        /// Whose.
        agent: AgentIx,
        /// Its words; null where it only called.
        text: Body,
        /// Its calls.
        calls: Vec<Call>,
    },
    /// What a call gave.
    Tool {
        /// Which call.
        call_id: Arc<str>,
        /// The called name.
        name: Arc<str>,
        /// The result.
        content: Body,
    },
    /// What a model thought, as its provider wants it back: kept for the same model, never read.
    Reasoning {
        /// Whose.
        agent: AgentIx,
        /// The provider's items, unchanged.
        items: Body,
    },
}

/// A call a model asks for: a tool, a handoff or a question to a delegate, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The model's id of it, unique within the answer.
    pub id: Arc<str>,
    /// The called name.
    pub name: Arc<str>,
    /// The input.
    pub input: Body,
}
