//! Where injected faults strike, and what became of the turns they struck.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Failure, FailureClass, Injected, Sent};
use crate::fault::{MessageFault, Occasion, Storm, Strike, StrikeKind};
use crate::id::AgentIx;
use crate::message::{Seat, StepId, TurnId};
use crate::rules::{Order, step_from};
use crate::run::Run;
use crate::scenario::ToolRef;

/// What faults did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strikes {
    /// By fault.
    pub counts: Vec<StrikeCount>,
    /// The faults that struck turns which are not over yet.
    open: BTreeMap<Seat, Vec<Injected>>,
}

/// What one fault did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrikeCount {
    /// How often it struck.
    pub injected: u64,
    /// Turns it struck that came to their end all the same.
    pub recovered: u64,
    /// Turns it struck that failed.
    pub lost: u64,
}

/// What strikes a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepStrike {
    /// The faults, to be recorded before the step is performed.
    pub injected: Vec<Injected>,
    /// Its actor dies over it.
    pub crash: bool,
    /// It fails, without having been performed.
    pub failure: Option<Failure>,
    /// Its outcome comes so much later, milliseconds.
    pub delay_ms: u64,
}

impl Strikes {
    pub(super) fn add(&mut self, injected: &Injected) {
        let n = usize::from(injected.fault);
        if self.counts.len() <= n {
            self.counts.resize(n + 1, StrikeCount::default());
        }
        self.counts[n].injected += 1;
        if injected.kind.strikes_a_turn() {
            self.open.entry(injected.seat).or_default().push(*injected);
        }
    }

    fn knows(&self, injected: &Injected) -> bool {
        self.open.get(&injected.seat).is_some_and(|open| open.contains(injected))
    }

    /// A turn is over.
    pub(super) fn settle(&mut self, seat: Seat, recovered: bool) {
        for injected in self.open.remove(&seat).unwrap_or_default() {
            let count = &mut self.counts[usize::from(injected.fault)];
            *(if recovered { &mut count.recovered } else { &mut count.lost }) += 1;
        }
    }

    pub(super) fn are_open(&self) -> bool {
        !self.open.is_empty()
    }
}

impl Run {
    pub(super) fn storm(&self) -> Option<Storm> {
        self.state.faults.as_ref().map(|faults| Storm { faults: faults.clone(), seed: self.state.created.seed })
    }

    fn attempts(&self, seat: Seat) -> u32 {
        self.state.crashes.get(&seat).map_or(0, |c| c.attempts)
    }

    /// The mailbox of an order over which its actor is to die: how many stand before it, and the fault.
    pub fn crash_in(&self, order: &Order) -> Option<(u32, Injected)> {
        let storm = self.storm()?;
        for (place, replica) in (0u32..).zip(order.replicas()) {
            let seat = Seat { agent: order.agent, replica };
            let turn = TurnId { index: order.turn.index.saturating_add(place), ..order.turn };
            if let Some(injected) = self.crash_of(&storm, seat, turn, u64::from(place)) {
                return Some((place, injected));
            }
        }
        None
    }

    fn crash_of(&self, storm: &Storm, seat: Seat, turn: TurnId, before: u64) -> Option<Injected> {
        let number = self.state.counts.by_agent[seat.agent.at()] + before + 1;
        let attempt = self.attempts(seat);
        let wanted = |strike: &Strike| match strike {
            // Said of one turn it strikes once, whatever its likelihood.
            Strike::Crash { agent, turn: Some(wanted) } => {
                agent.is_none_or(|a| a == seat.agent) && *wanted == number && attempt == 0
            }
            Strike::Crash { agent, turn: None } => agent.is_none_or(|a| a == seat.agent),
            _ => false,
        };
        let (fault, _) = storm.strikes(Occasion { seat, turn, attempt }, wanted)?;
        Some(Injected { fault, seat, turn, attempt, kind: StrikeKind::Crash })
    }

    /// What strikes a step that is owed.
    pub fn step_strike(&self, step: StepId, seat: Seat, tool: Option<ToolRef>) -> Option<StepStrike> {
        let storm = self.storm()?;
        let turn = self.state.turns.get(&seat)?;
        let mut struck = StepStrike::default();
        if let Some(crash) = self.crash_of(&storm, seat, step.turn, 0) {
            struck.injected.push(crash);
            struck.crash = true;
            return Some(struck);
        }
        let alias = self.scenario.agents[seat.agent.at()].model;
        let at = Occasion { seat, turn: step.turn, attempt: step.n };
        let injected = |fault, kind| Injected { fault, seat, turn: step.turn, attempt: step.n, kind };
        let late = storm.strikes(at, |strike| match (strike, tool) {
            (Strike::SlowModel { alias: wanted, .. }, None) => alias == Some(*wanted) && !turn.stubbed,
            (Strike::SlowTool { tool: wanted, .. }, Some(tool)) => tool == *wanted,
            _ => false,
        });
        if let Some((fault, Strike::SlowModel { add_ms, .. } | Strike::SlowTool { add_ms, .. })) = late {
            struck.injected.push(injected(fault, StrikeKind::Latency));
            struck.delay_ms = *add_ms;
        }
        let failed = storm.strikes(at, |strike| match (strike, tool) {
            (Strike::Model { alias: wanted, .. }, None) => wanted.is_none_or(|w| alias == Some(w)) && !turn.stubbed,
            (Strike::Tool { tool: wanted, .. }, Some(tool)) => tool == *wanted,
            _ => false,
        });
        if let Some((fault, strike)) = failed {
            struck.injected.push(injected(fault, strike.kind()));
            struck.failure = failure(strike);
        }
        (!struck.injected.is_empty()).then_some(struck)
    }

    /// Faults that are about to strike; one that is recorded already, before its actor or the process died, is not again.
    pub(super) fn decide_injected(&self, injected: Vec<Injected>) -> Vec<Event> {
        injected.into_iter().filter(|i| !self.state.strikes.knows(i)).map(Event::FaultInjected).collect()
    }

    /// What becomes of the messages of a turn; what strikes them is told in front of the turn.
    pub(super) fn strike_messages(&self, turn: TurnId, seat: Seat, sent: &mut Vec<Sent>, events: &mut Vec<Event>) {
        let Some(storm) = self.storm() else { return };
        let mut left = Vec::with_capacity(sent.len());
        for (n, mut one) in std::mem::take(sent).into_iter().enumerate() {
            let attempt = u32::try_from(n).unwrap_or(u32::MAX);
            let any = |wanted: &Option<AgentIx>, is: AgentIx| wanted.is_none_or(|w| w == is);
            let struck = storm.strikes(
                Occasion { seat, turn, attempt },
                |strike| matches!(strike, Strike::Message { from, to, .. } if any(from, seat.agent) && any(to, one.to)),
            );
            let Some((fault, Strike::Message { effect, .. })) = struck else {
                left.push(one);
                continue;
            };
            events.push(Event::FaultInjected(Injected { fault, seat, turn, attempt, kind: StrikeKind::Message }));
            match effect {
                MessageFault::Drop => {}
                MessageFault::Duplicate => left.extend([one.clone(), one]),
                MessageFault::Delay(by) => {
                    one.at = step_from(one.at, *by);
                    left.push(one);
                }
            }
        }
        *sent = left;
    }

    /// Turns that have begun and wait for an outcome keep the faults that struck them; what is over settles them.
    pub(super) fn settle_strikes(&mut self, agent: AgentIx, first: u32, count: u32, recovered: bool) {
        if self.state.strikes.are_open() {
            (first..first + count).for_each(|replica| self.state.strikes.settle(Seat { agent, replica }, recovered));
        }
    }
}

/// The failure that a fault stands for.
fn failure(strike: &Strike) -> Option<Failure> {
    match strike {
        Strike::Model { error, .. } => {
            let class = if *error == crate::fault::ModelFault::Timeout { FailureClass::Timeout } else { FailureClass::Model };
            Some(Failure { class, message: format!("injected fault: {}", error.words()).into() })
        }
        Strike::Tool { error, .. } => Some(Failure { class: FailureClass::Tool, message: error.clone() }),
        _ => None,
    }
}
