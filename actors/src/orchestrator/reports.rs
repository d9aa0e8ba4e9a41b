//! What agents report, and how they die: an outcome leads to events; a crash counts against the message in hand, and what its
//! actor worked on is owed again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use commedia_domain::message::{Seat, StepId, TurnId};
use commedia_domain::run::Command;
use ractor::{ActorCell, ActorProcessingErr};

use super::State;
use crate::agent::AgentReport;

impl State {
    pub(super) fn reported(&mut self, report: AgentReport) -> Result<(), ActorProcessingErr> {
        let command = match report {
            AgentReport::Served(mut served) => {
                self.run.expect(served.shaped.take());
                if self.order == Some(served.turn) {
                    self.order = None;
                }
                self.doing.retain(|_, d| !d.steps.is_empty() || d.turn != served.turn);
                Command::Served(served)
            }
            AgentReport::StepEnded { step, outcome } => {
                self.is_done(step);
                Command::StepEnded { step, outcome }
            }
            AgentReport::StepLost { step, reason } => {
                self.is_done(step);
                Command::Lost { step, reason }
            }
            AgentReport::StepChecked { step, answer } => {
                self.is_done(step);
                Command::Checked { step, answer }
            }
            AgentReport::StepCrashed { step, reason } => return self.step_crashed(step, reason),
        };
        match self.run.decide(command) {
            Ok(events) => Ok(self.take(events)?),
            Err(refusal) => {
                // The ghost of a restarted agent: counted, and the run goes on as if nothing had come.
                self.shared.metrics.shed_total.with_label_values(&["stale_report"]).inc();
                tracing::debug!(run = %self.live.id, %refusal, "a report was refused");
                Ok(())
            }
        }
    }

    /// An agent's actor died: its step is owed again, and the crash counts against the message in hand.
    pub(super) fn crashed(&mut self, who: &ActorCell, reason: &str) -> Result<(), ActorProcessingErr> {
        self.agents.retain(|_, actor| actor.get_id() != who.get_id());
        let Some(doing) = self.doing.remove(&who.get_id()) else { return Ok(()) };
        if doing.steps.is_empty() {
            self.order = None;
        } else {
            // Whatever else of that turn was in its mailbox is gone with it, and owed again.
            self.steps.retain(|s| s.turn != doing.turn);
        }
        let at = doing.at.load(Ordering::Relaxed);
        let replica = doing.replicas.get(at as usize).copied().unwrap_or_default();
        let seat = Seat { agent: doing.agent, replica };
        let turn = TurnId { wave: doing.turn.wave, index: doing.turn.index + at };
        self.crashed_over(seat, turn, reason.into())
    }

    /// A call panicked: its step alone is owed again, and the crash counts against the message in hand.
    pub(super) fn step_crashed(&mut self, step: StepId, reason: Arc<str>) -> Result<(), ActorProcessingErr> {
        self.is_done(step);
        let seat = self.run.state().turns.values().find(|turn| turn.owes(step)).map(|turn| turn.seat);
        let Some(seat) = seat else { return Ok(()) };
        self.crashed_over(seat, step.turn, reason)
    }

    /// Nobody works on a step any more.
    pub(super) fn is_done(&mut self, step: StepId) {
        self.steps.remove(&step);
        self.doing.retain(|_, doing| match doing.steps.iter().position(|s| *s == step) {
            Some(at) => {
                doing.steps.swap_remove(at);
                !doing.steps.is_empty()
            }
            None => true,
        });
    }

    /// A crash counts against the message in hand.
    pub(super) fn crashed_over(&mut self, seat: Seat, turn: TurnId, reason: Arc<str>) -> Result<(), ActorProcessingErr> {
        match self.run.decide(Command::Crashed { seat, turn, reason: reason.clone(), wall: self.shared.clock.now_ms() }) {
            Ok(events) => Ok(self.take(events)?),
            Err(refusal) => {
                tracing::warn!(run = %self.live.id, %refusal, %reason, "an agent crashed over nothing that is owed");
                Ok(())
            }
        }
    }
}
