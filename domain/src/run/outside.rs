//! Steps that leave the process: dispatched before their first byte does, never repeated blindly, waited for where only an
//! operator can tell what became of one.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Event, Failure, FailureClass, Reconciled, Reconciler, StepOutcome, Then, Work};
use crate::message::{Seat, StepId};
use crate::run::{Effect, Refusal, Run, Status};
use crate::scenario::{EffectClass, Tool, ToolRef};
use crate::step::{Next, Resolution, Stage, next};
use crate::value::Value;

/// A step of which nobody knows what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnknownStep {
    /// Which.
    pub step: StepId,
    /// Whose.
    pub seat: Seat,
    /// The tool.
    pub tool: ToolRef,
    /// Its input.
    pub input: Body,
    /// How often it was dispatched.
    pub attempt: u32,
    /// Why nobody knows.
    pub reason: Arc<str>,
}

impl Run {
    /// What is owed to a step; `None` where only an operator's word is.
    pub(super) fn owed(&self, step: StepId, seat: Seat, work: Work) -> Option<Effect> {
        match &work {
            Work::Tool { tool, input, .. } if self.scenario.leaves(*tool).is_some() => {
                let next = self.next(step, *tool)?;
                Some(Effect::Reach { step, seat, tool: *tool, input: input.clone(), next })
            }
            _ => Some(Effect::Perform { step, seat, work }),
        }
    }

    /// A step that leaves the process and is owed: whose it is, what it calls.
    fn outside(&self, step: StepId) -> Result<(Seat, ToolRef, Body), Refusal> {
        let open = self.state.turns.values().filter(|turn| turn.id == step.turn);
        let found = open.flat_map(|turn| turn.pending().into_iter().map(|(s, work)| (turn.seat, s, work)));
        let mut named = found.filter_map(|(seat, s, work)| match work {
            Work::Tool { tool, input, .. } if s == step => Some((seat, tool, input)),
            _ => None,
        });
        let is_outside = |(_, tool, _): &(Seat, ToolRef, Body)| self.scenario.leaves(*tool).is_some();
        named.next().filter(is_outside).ok_or_else(|| Self::stale(step))
    }

    fn stage(&self, step: StepId) -> (u32, Option<&Stage>) {
        let stage = self.state.outside.get(&step);
        (stage.map_or(0, Stage::attempt), stage)
    }

    /// What is owed to a step of a tool that leaves the process.
    fn next(&self, step: StepId, tool: ToolRef) -> Option<Next> {
        let check = self.scenario.leaves(tool).and_then(Tool::http).and_then(|http| http.check);
        next(self.state.outside.get(&step), self.class_of(tool), check)
    }

    /// How often a tool that leaves the process may be performed.
    pub fn class_of(&self, tool: ToolRef) -> EffectClass {
        let whole = self.scenario.leaves(tool).map_or(EffectClass::Effect, |tool| tool.class);
        let Some((mcp, one)) = self.scenario.served(tool) else { return whole };
        let hinted = || self.ready(tool).and_then(|ready| ready.hinted).filter(|_| mcp.trust_hints);
        one.class.or_else(hinted).unwrap_or(whole)
    }

    /// A step is about to leave the process.
    pub(super) fn decide_dispatch(&self, step: StepId) -> Result<Vec<Event>, Refusal> {
        let (seat, tool, _) = self.outside(step)?;
        let (attempt, _) = self.stage(step);
        match self.next(step, tool) {
            Some(Next::Dispatch) => Ok(vec![Event::StepDispatched { step, seat, attempt: attempt + 1 }]),
            _ => Err(Refusal::Invalid(format!("step {step} was dispatched, and nobody knows what became of it"))),
        }
    }

    /// A dispatched step has no outcome, and there will be none.
    pub(super) fn decide_lost(&self, step: StepId, reason: Arc<str>) -> Result<Vec<Event>, Refusal> {
        let (seat, tool, _) = self.outside(step)?;
        let (attempt, stage) = self.stage(step);
        match (stage, self.next(step, tool)) {
            (Some(Stage::Dispatched { .. }), Some(Next::Lost)) => {
                Ok(vec![Event::StepUnknown { step, seat, attempt, reason, checked: false }])
            }
            _ => Err(Self::stale(step)),
        }
    }

    /// A `check` tool answered, or could not.
    pub(super) fn decide_checked(&self, step: StepId, answer: Result<Value, Arc<str>>) -> Result<Vec<Event>, Refusal> {
        let (seat, ..) = self.outside(step)?;
        let Some(Stage::Unknown { attempt, reason, checked: false }) = self.state.outside.get(&step) else {
            return Err(Self::stale(step));
        };
        let verdict = match &answer {
            Ok(answer) => Resolution::of_check(answer),
            Err(why) => Err(format!("its check failed: {why}")),
        };
        match verdict {
            Ok(resolution) => self.reconciled(step, seat, Reconciler::Check, resolution),
            Err(why) => {
                let reason = format!("{reason}; {why}").into();
                Ok(vec![Event::StepUnknown { step, seat, attempt: *attempt, reason, checked: true }])
            }
        }
    }

    /// An operator says what became of a step.
    pub(super) fn decide_resolve(&self, step: StepId, resolution: Resolution) -> Result<Vec<Event>, Refusal> {
        match (self.outside(step), self.state.outside.get(&step)) {
            (Ok((seat, ..)), Some(Stage::Unknown { .. })) => self.reconciled(step, seat, Reconciler::Operator, resolution),
            _ => Err(Refusal::Invalid(format!("step {step} does not wait for a resolution"))),
        }
    }

    fn reconciled(&self, step: StepId, seat: Seat, by: Reconciler, resolution: Resolution) -> Result<Vec<Event>, Refusal> {
        let (how, outcome) = match resolution {
            Resolution::Retry => (Reconciled::Retry, None),
            Resolution::Succeeded(value) => {
                let value = Body::new(value, &self.state.blobs());
                (Reconciled::Succeeded, Some(StepOutcome::Done { value, writes: Vec::new(), sent: Vec::new() }))
            }
            Resolution::Failed(message) => {
                (Reconciled::Failed, Some(StepOutcome::Failed(Failure { class: FailureClass::Tool, message })))
            }
        };
        let mut events = vec![Event::StepReconciled { step, seat, by, how }];
        if let Some(outcome) = outcome {
            events.extend(self.decide_step(step, outcome)?);
        }
        Ok(events)
    }

    /// Whether nothing is owed but operators' words: everything else has been done.
    pub(super) fn only_unresolved(&self) -> bool {
        let unknown = || self.state.outside.values().any(Stage::is_unknown);
        !self.state.outside.is_empty() && unknown() && self.next_restart().is_none() && self.owes().is_empty()
    }

    /// The steps of which nobody knows what became of them, in the order of their ids.
    pub fn unknown_steps(&self) -> Vec<UnknownStep> {
        if self.state.outside.is_empty() || self.state.status.ended().is_some() {
            return Vec::new();
        }
        let unknown = self.state.outside.iter().filter_map(|(step, stage)| match stage {
            Stage::Unknown { attempt, reason, .. } => {
                let (seat, tool, input) = self.outside(*step).ok()?;
                Some(UnknownStep { step: *step, seat, tool, input, attempt: *attempt, reason: reason.clone() })
            }
            _ => None,
        });
        unknown.collect()
    }

    /// Whether it waits for an operator, and for nothing else that the run itself could do now.
    pub fn is_unresolved(&self) -> bool {
        self.state.status == Status::Running && self.only_unresolved()
    }

    /// Makes an event of a step true.
    pub(super) fn stepped(&mut self, event: &Event) {
        let outside = &mut self.state.outside;
        match event {
            Event::StepDispatched { step, attempt, .. } => {
                outside.insert(*step, Stage::Dispatched { attempt: *attempt });
            }
            Event::StepUnknown { step, attempt, reason, checked, .. } => {
                outside.insert(*step, Stage::Unknown { attempt: *attempt, reason: reason.clone(), checked: *checked });
            }
            Event::StepReconciled { step, how: Reconciled::Retry, .. } => {
                let attempt = outside.get(step).map_or(1, Stage::attempt);
                outside.insert(*step, Stage::Again { attempt });
            }
            // Where the turn goes on, what else of it is outside is abandoned: nobody waits for it any more.
            Event::StepRecorded(recorded) if !outside.is_empty() => match recorded.then {
                Then::Wait => drop(outside.remove(&recorded.step)),
                _ => outside.retain(|step, _| step.turn != recorded.step.turn),
            },
            _ => {}
        }
    }
}
