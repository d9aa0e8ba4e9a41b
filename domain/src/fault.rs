//! Faults that are injected on purpose. Whether one strikes is a pure draw, keyed by (seed, fault, agent, replica, turn,
//! attempt): the same ones strike on any machine, with any number of threads, through any crash.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::draw::share;
use crate::id::{AgentIx, ModelIx};
use crate::message::{Seat, TurnId};
use crate::scenario::{Step, ToolRef};

/// A fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What strikes.
    pub what: Strike,
    /// How likely, of each occasion.
    pub p: f64,
}

/// What strikes, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Strike {
    /// An agent crashes over a message.
    Crash {
        /// Which; `None`: any.
        agent: Option<AgentIx>,
        /// In which of its turns in the run, from 1; `None`: in any.
        turn: Option<u64>,
    },
    /// A model fails.
    Model {
        /// Which; `None`: any.
        alias: Option<ModelIx>,
        /// How.
        error: ModelFault,
    },
    /// A model answers late.
    SlowModel {
        /// Which.
        alias: ModelIx,
        /// By so much wall time.
        add_ms: u64,
    },
    /// A tool answers late.
    SlowTool {
        /// Which.
        tool: ToolRef,
        /// By so much wall time.
        add_ms: u64,
    },
    /// A tool fails.
    Tool {
        /// Which.
        tool: ToolRef,
        /// With what words.
        error: Arc<str>,
    },
    /// A `tell` does not come as it was sent.
    Message {
        /// From whom; `None`: from any agent.
        from: Option<AgentIx>,
        /// To whom; `None`: to any.
        to: Option<AgentIx>,
        /// What happens to it.
        effect: MessageFault,
    },
}

/// How a model fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelFault {
    /// It is asked too often (429).
    TooMany,
    /// Its server fails (500).
    Server,
    /// It does not answer in time.
    Timeout,
    /// Its answer cannot be read.
    Malformed,
    /// Its answer is cut off.
    Truncated,
}

impl ModelFault {
    /// The words of the failure.
    pub fn words(self) -> &'static str {
        match self {
            ModelFault::TooMany => "429 too many requests",
            ModelFault::Server => "500 internal server error",
            ModelFault::Timeout => "no answer within the time there is",
            ModelFault::Malformed => "an answer that cannot be read",
            ModelFault::Truncated => "an answer that was cut off",
        }
    }
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageFault {
    /// It is lost.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes later, by so much run time.
    Delay(Step),
}

impl Strike {
    /// Its kind.
    pub fn kind(&self) -> StrikeKind {
        match self {
            Strike::Crash { .. } => StrikeKind::Crash,
            Strike::Model { .. } => StrikeKind::Model,
            Strike::SlowModel { .. } | Strike::SlowTool { .. } => StrikeKind::Latency,
            Strike::Tool { .. } => StrikeKind::Tool,
            Strike::Message { .. } => StrikeKind::Message,
        }
    }
}

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrikeKind {
    /// A crash of an agent.
    Crash,
    /// A failure of a model.
    Model,
    /// An outcome that comes late.
    Latency,
    /// A failure of a tool.
    Tool,
    /// A message that does not come as it was sent.
    Message,
}

impl StrikeKind {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            StrikeKind::Crash => "crash",
            StrikeKind::Model => "model",
            StrikeKind::Latency => "latency",
            StrikeKind::Tool => "tool",
            StrikeKind::Message => "message",
        }
    }

    /// Whether it changes what happens: a run that it strikes has another digest than one that it does not. A step that
    /// comes late changes nothing, unless it comes later than it may.
    pub fn changes_the_run(self) -> bool {
        matches!(self, StrikeKind::Model | StrikeKind::Tool | StrikeKind::Message)
    }

    /// Whether it is the turn that is struck, and may fail by it; else it is a message of the turn.
    pub fn strikes_a_turn(self) -> bool {
        self != StrikeKind::Message
    }
}

/// The faults of a run, and its seed.
#[derive(Clone, Debug)]
pub struct Storm {
    /// In the order they are written in.
    pub faults: Arc<Vec<Fault>>,
    /// The run's seed.
    pub seed: u64,
}

/// Where a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// Whose turn it is.
    pub seat: Seat,
    /// Which turn.
    pub turn: TurnId,
    /// Which of several such occasions of the turn.
    pub attempt: u32,
}

impl Storm {
    /// The first fault that strikes here, of those that `wanted` picks.
    pub fn strikes(&self, at: Occasion, wanted: impl Fn(&Strike) -> bool) -> Option<(u16, &Strike)> {
        let struck = |(n, fault): &(usize, &Fault)| wanted(&fault.what) && self.is_drawn(*n, fault.p, at);
        let found = self.faults.iter().enumerate().find(struck);
        found.map(|(n, fault)| (u16::try_from(n).unwrap_or(u16::MAX), &fault.what))
    }

    fn is_drawn(&self, n: usize, p: f64, at: Occasion) -> bool {
        let Occasion { seat, turn, attempt } = at;
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let key = [n, u32::from(seat.agent.0), seat.replica, turn.wave, turn.index, attempt];
        p >= 1.0 || p > 0.0 && share("commedia 2026 fault v1", self.seed, &key, "") < p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_strike_as_often_as_they_say_and_always_the_same() {
        let of = |p: f64| Fault { what: Strike::Crash { agent: None, turn: None }, p };
        for (p, least, most) in [(0.0, 0, 0), (0.1, 900, 1100), (1.0, 10_000, 10_000)] {
            for seed in 0..3 {
                let storm = Storm { faults: Arc::new(vec![of(p)]), seed };
                let count = || {
                    let at = |n: u32| Occasion {
                        seat: Seat { agent: AgentIx(1), replica: n % 10 },
                        turn: TurnId { wave: n / 100, index: n % 100 },
                        attempt: n % 3,
                    };
                    (0..10_000).filter(|n| storm.strikes(at(*n), |_| true).is_some()).collect::<Vec<u32>>()
                };
                let struck = count();
                assert!((least..=most).contains(&struck.len()), "p {p}, seed {seed}: {}", struck.len());
                assert_eq!(struck, count(), "p {p}, seed {seed}");
            }
        }
        let two = Storm { faults: Arc::new(vec![of(0.5), of(0.5)]), seed: 1 };
        let at = |n| Occasion { seat: Seat { agent: AgentIx(0), replica: 0 }, turn: TurnId { wave: n, index: 0 }, attempt: 0 };
        let found: Vec<Option<u16>> = (0..200).map(|n| two.strikes(at(n), |_| true).map(|f| f.0)).collect();
        for wanted in [None, Some(0), Some(1)] {
            assert!(found.iter().filter(|f| **f == wanted).count() > 20, "each fault has draws of its own: {wanted:?}");
        }
    }
}
