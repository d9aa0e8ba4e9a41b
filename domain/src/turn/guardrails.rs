//! Guardrails of an `llm` agent: what goes in and out is checked, and the first that is not met decides.

use super::{Turn, TurnView, as_text};
use crate::body::Body;
use crate::event::{Failure, FailureClass, StepOutcome, Then, Trip};
use crate::message::StepId;
use crate::names::Names;
use crate::scenario::{GuardrailAt, GuardrailCheck, GuardrailThen, Scenario};
use crate::value::Value;

/// What a guardrail says.
#[derive(Debug)]
pub enum Verdict {
    /// The value is withheld, with these words.
    Reject(String),
    /// The turn fails.
    Fail(Failure),
}

impl Turn {
    /// A tool result that a guardrail fails the turn over; the trip itself is told by `withheld`.
    pub(super) fn tool_verdict(&self, view: &TurnView<'_>, step: StepId, outcome: &StepOutcome) -> Option<Then> {
        let (StepOutcome::Done { value, .. }, Some(tool)) = (outcome, self.tool_of(step)) else { return None };
        match self.check(view, &GuardrailAt::ToolResult(tool), value.value(), &mut Vec::new()) {
            Err(Verdict::Fail(failure)) => Some(Then::Failed(failure)),
            _ => None,
        }
    }

    /// A tool result with what a guardrail rejects withheld.
    pub(super) fn withheld(&self, view: &TurnView<'_>, step: StepId, outcome: StepOutcome, trips: &mut Vec<Trip>) -> StepOutcome {
        let (StepOutcome::Done { value, writes, sent }, Some(tool)) = (&outcome, self.tool_of(step)) else { return outcome };
        match self.check(view, &GuardrailAt::ToolResult(tool), value.value(), trips) {
            Err(Verdict::Reject(words)) => {
                let value = Body::new(Value::text(words), &view.facts.blobs);
                StepOutcome::Done { value, writes: writes.clone(), sent: sent.clone() }
            }
            _ => outcome,
        }
    }

    /// All guardrails at a place; the first that is not met decides.
    pub fn check(&self, view: &TurnView<'_>, at: &GuardrailAt, value: &Value, trips: &mut Vec<Trip>) -> Result<(), Verdict> {
        for (n, guardrail) in self.agent(view).guardrails.iter().enumerate().filter(|(_, g)| g.at == *at) {
            let names = Names {
                input: Some(value),
                output: Some(value),
                message: Some(&self.message),
                ..Names::plain(view.facts, view.world)
            };
            let holds = match &guardrail.check {
                GuardrailCheck::Expr(program) => match program.eval(&names, view.facts.limit()) {
                    Ok(value) => value == Value::Bool(true),
                    Err(e) => {
                        let message = format!("guardrail `{}`: {}", program.source(), e.message);
                        return Err(Verdict::Fail(Failure { class: FailureClass::Guardrail, message: message.into() }));
                    }
                },
                GuardrailCheck::DenyRegex(pattern) => !crate::expression::found(pattern, &as_text(value)),
                GuardrailCheck::Llm => true,
            };
            if holds {
                continue;
            }
            let number = u16::try_from(n).unwrap_or(u16::MAX);
            let place = place(view.scenario(), at);
            let words = guardrail.say.as_deref().map_or_else(|| format!("Refused by a guardrail at {place}."), str::to_owned);
            let retries = self.retries.get(&number).copied().unwrap_or(0);
            let then = match guardrail.then {
                GuardrailThen::Retry if retries < guardrail.max => "retry",
                GuardrailThen::Reject => "reject",
                GuardrailThen::Retry | GuardrailThen::Fail | GuardrailThen::Escalate => "fail",
            };
            trips.push(Trip { guardrail: number, at: place.as_str().into(), then: then.into() });
            return Err(if then == "fail" {
                let message = format!("a guardrail at {place} was not met: {words}");
                Verdict::Fail(Failure { class: FailureClass::Guardrail, message: message.into() })
            } else {
                Verdict::Reject(words)
            });
        }
        Ok(())
    }
}

fn place(scenario: &Scenario, at: &GuardrailAt) -> String {
    match at {
        GuardrailAt::Input => "input".into(),
        GuardrailAt::Output => "output".into(),
        GuardrailAt::Handoff => "handoff".into(),
        GuardrailAt::Tool(tool) => format!("tool.{}", crate::event::tool_name(scenario, *tool)),
        GuardrailAt::ToolResult(tool) => format!("tool.{}.result", crate::event::tool_name(scenario, *tool)),
    }
}
