//! Guardrails of an `llm` agent: what goes in and out is checked, and the first that is not met decides. What needs no model
//! is asked first; judges are asked only of what holds so far, all of them at once.

use super::{Turn, TurnView, as_text};
use crate::body::Body;
use crate::event::{Failure, FailureClass, StepOutcome, Then, Trip};
use crate::message::{Message, StepId};
use crate::names::Names;
use crate::scenario::{Guardrail, GuardrailAt, GuardrailCheck, GuardrailThen, Scenario};
use crate::turn::judges::{Answers, Of, ToolStep};
use crate::value::Value;

/// What a guardrail says.
#[derive(Debug)]
pub enum Verdict {
    /// The value is withheld, with these words.
    Reject(String),
    /// The turn fails.
    Fail(Failure),
}

/// What came of checks: those that were not met, and the judges whose word is still wanted.
#[derive(Debug, Default)]
pub struct Checks {
    /// Guardrails that were not met.
    pub trips: Vec<Trip>,
    /// Guardrail, place among what is judged at once, what is judged.
    pub wanted: Vec<(u16, u32, Body)>,
}

/// What an input guardrail sees of a message: its data, else its words.
pub fn input_of(message: &Message) -> Value {
    match (&message.data, &message.text) {
        (Value::Null, Some(text)) => Value::Text(text.clone()),
        (data, _) => data.clone(),
    }
}

impl Turn {
    /// All guardrails at a place; the first that is not met decides. A judge that has not spoken yet is wanted, and until then
    /// taken for met.
    pub fn check(
        &self,
        view: &TurnView<'_>,
        at: &GuardrailAt,
        slot: u32,
        value: &Value,
        checks: &mut Checks,
    ) -> Result<(), Verdict> {
        let here = || (self.agent(view).guardrails.iter().zip(0_u16..)).filter(|(g, _)| g.at == *at);
        for (guardrail, n) in here() {
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
                GuardrailCheck::Llm(_) => true,
            };
            if !holds {
                return Err(self.tripped(view, guardrail, n, None, checks));
            }
        }
        for (guardrail, n) in here().filter(|(g, _)| matches!(g.check, GuardrailCheck::Llm(_))) {
            match self.verdicts.get(&(n, slot)) {
                None => checks.wanted.push((n, slot, Body::new(value.clone(), &view.facts.blobs))),
                Some(None) => {}
                Some(Some(reason)) => return Err(self.tripped(view, guardrail, n, Some(reason), checks)),
            }
        }
        Ok(())
    }

    /// A guardrail is not met.
    fn tripped(&self, view: &TurnView<'_>, guardrail: &Guardrail, n: u16, reason: Option<&str>, checks: &mut Checks) -> Verdict {
        let place = place(view.scenario(), &guardrail.at);
        let words = match (&guardrail.say, reason) {
            (Some(say), _) => say.to_string(),
            (None, Some(reason)) => format!("Refused by a guardrail at {place}: {reason}"),
            (None, None) => format!("Refused by a guardrail at {place}."),
        };
        let retries = self.retries.get(&n).copied().unwrap_or(0);
        let then = match guardrail.then {
            GuardrailThen::Retry if retries < guardrail.max => "retry",
            GuardrailThen::Reject => "reject",
            GuardrailThen::Retry | GuardrailThen::Fail | GuardrailThen::Escalate => "fail",
        };
        checks.trips.push(Trip { guardrail: n, at: place.as_str().into(), then: then.into() });
        if then == "fail" {
            let message = format!("a guardrail at {place} was not met: {words}");
            Verdict::Fail(Failure { class: FailureClass::Guardrail, message: message.into() })
        } else {
            Verdict::Reject(words)
        }
    }

    /// What the guardrails say of the message that begins the turn.
    pub fn input_verdict(&self, view: &TurnView<'_>, checks: &mut Checks) -> Result<(), Failure> {
        match self.check(view, &GuardrailAt::Input, 0, &input_of(&self.message), checks) {
            Ok(()) => Ok(()),
            Err(Verdict::Reject(words)) => {
                let message = format!("the input was refused: {words}").into();
                Err(Failure { class: FailureClass::Guardrail, message })
            }
            Err(Verdict::Fail(failure)) => Err(failure),
        }
    }

    /// All tools are done: what a guardrail rejects of their results is withheld from the model. Checked in the order of the
    /// calls, whatever order the results came in.
    pub(super) fn tools_done(
        &self,
        view: &TurnView<'_>,
        (steps, after): (&[ToolStep], Option<&crate::event::Outcome>),
        last: Option<(StepId, &StepOutcome)>,
        checks: &mut Checks,
    ) -> Then {
        let mut answers: Answers = Vec::new();
        for (step, slot) in steps.iter().zip(0_u32..) {
            let came = match (&step.done, last) {
                (Some(done), _) if !done.failed => &done.content,
                (None, Some((id, StepOutcome::Done { value, .. }))) if id == step.step => value,
                _ => continue,
            };
            match self.check(view, &GuardrailAt::ToolResult(step.tool), slot, came.value(), checks) {
                Ok(()) => {}
                Err(Verdict::Reject(words)) => {
                    answers.push((step.call_id.clone(), Body::new(Value::text(words), &view.facts.blobs)));
                }
                Err(Verdict::Fail(failure)) => return Then::Failed(failure),
            }
        }
        match after {
            Some(after) => Then::Ready { answers, outcome: Box::new(after.clone()) },
            None => self.again(view, answers, None),
        }
    }

    /// All judges have spoken: what they were asked about is decided once more, now with their words.
    pub(super) fn judged(&self, view: &TurnView<'_>, of: &Of, checks: &mut Checks) -> Then {
        match of {
            Of::Input => match self.input_verdict(view, checks) {
                Ok(()) => self.again(view, Vec::new(), None),
                Err(failure) => Then::Failed(failure),
            },
            Of::Answer => match self.said.last() {
                Some(crate::message::Chat::Assistant { text, calls, .. }) => self.answered(view, text, calls, checks),
                _ => {
                    let message = "judges spoke of an answer that is not there".into();
                    Then::Failed(Failure { class: FailureClass::Guardrail, message })
                }
            },
            Of::Tools { steps, after } => self.tools_done(view, (steps, after.as_deref()), None, checks),
        }
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
