//! Steps of a turn beside its model's own: judges of guardrails, and summaries of its conversation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Phase, Turn, as_text};
use crate::body::Body;
use crate::event::{Outcome, Sent, StepOutcome, Work, Write};
use crate::message::{Chain, Chat, Message, StepId};
use crate::run::state::blob_key;
use crate::scenario::{Agent, GuardrailAt, GuardrailCheck, HistoryBounds, ToolRef};
use crate::turn::guardrails::input_of;
use crate::value::Value;

/// Characters of a judge's reason that are kept.
const REASON_CHARS: usize = 500;
/// Characters a summary has at most that no model made: the last output, cut.
pub const SUMMARY_CHARS: usize = 800;
/// How the words begin that stand for what was summarised.
const SUMMARY_OF: &str = "Summary of the conversation so far:";

/// Calls answered without a step: the call, the answer.
pub(super) type Answers = Vec<(Arc<str>, Body)>;

/// A tool step of a turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolStep {
    /// The step.
    pub step: StepId,
    /// The call it answers.
    pub call_id: Arc<str>,
    /// The tool.
    pub tool: ToolRef,
    /// Its input.
    pub input: Body,
    /// Its result, once it is there.
    pub done: Option<ToolDone>,
}

/// What a tool step gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDone {
    /// What the model is told.
    pub content: Body,
    /// What it changed.
    pub writes: Vec<Write>,
    /// What it sent.
    pub sent: Vec<Sent>,
    /// Whether it failed: its words are no result, and nobody judges them.
    pub failed: bool,
}

/// A judge that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgeStep {
    /// The step.
    pub step: StepId,
    /// The guardrail, by position.
    pub guardrail: u16,
    /// The place among what is judged at once.
    pub slot: u32,
    /// What is judged.
    pub value: Body,
    /// How often this guardrail's judge was asked in this turn before.
    pub nth: u32,
    /// Whether it has spoken.
    pub done: bool,
}

/// What judges are asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Of {
    /// The message that begins the turn.
    Input,
    /// The model's last answer: its calls, or the final output.
    Answer,
    /// The results of tools.
    Tools {
        /// The steps, all done.
        steps: Vec<ToolStep>,
        /// What follows instead of the model.
        after: Option<Box<Outcome>>,
    },
}

/// A judge's word: `None` where all is well, else why not. A judge that cannot be asked, or that answers anything but a
/// verdict, has not said that all is well.
pub(super) fn word(outcome: &StepOutcome) -> Option<Arc<str>> {
    let text = match (outcome, outcome.answer()) {
        (StepOutcome::Failed(failure), _) => return Some(short(&format!("the judge could not be asked: {}", failure.message))),
        (_, Some(answer)) => as_text(answer.text.value()),
        _ => String::new(),
    };
    let json = text.find('{').zip(text.rfind('}')).and_then(|(from, to)| text.get(from..=to));
    let verdict = json.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
    match verdict.as_ref().and_then(|v| v.get("ok")).and_then(serde_json::Value::as_bool) {
        Some(true) => None,
        Some(false) => {
            let reason = verdict.as_ref().and_then(|v| v.get("reason")).and_then(serde_json::Value::as_str);
            Some(short(reason.filter(|r| !r.trim().is_empty()).unwrap_or("the judge gave no reason")))
        }
        None => Some("the judge's answer was no verdict".into()),
    }
}

fn short(text: &str) -> Arc<str> {
    text.chars().take(REASON_CHARS).collect::<String>().into()
}

/// The last words an agent said, cut: the summary where no model makes one.
pub fn last_words<'a>(chats: impl DoubleEndedIterator<Item = &'a Chat>) -> Option<String> {
    let last = chats.rev().find_map(|chat| match chat {
        Chat::Assistant { text, .. } if *text.value() != Value::Null => Some(as_text(text.value())),
        _ => None,
    });
    last.map(|text| text.chars().take(SUMMARY_CHARS).collect())
}

/// Where the last `keep` messages of a conversation begin: earlier where that would part a tool's result from its call, or
/// an answer from what the model thought before it.
pub fn kept_from(history: &[Chat], keep: u32) -> usize {
    let mut from = history.len().saturating_sub(keep as usize);
    while from > 0 && from < history.len() {
        let parts = matches!((&history[from - 1], &history[from]), (_, Chat::Tool { .. }) | (Chat::Reasoning { .. }, _));
        if !parts {
            break;
        }
        from -= 1;
    }
    from
}

/// How many messages, the oldest ones, are to be summarised before a turn.
fn to_summarise(bounds: HistoryBounds, message: &Message) -> u32 {
    let history = message.chain.as_ref().map_or(&[][..], |c| &c.history);
    match bounds.summarise_at {
        Some(at) if history.len() > at as usize => {
            let keep = bounds.keep.unwrap_or(at / 2);
            u32::try_from(kept_from(history, keep)).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

impl Turn {
    /// The turn as its agent begins it: judges of what came in, then a summary of a long conversation, then the model.
    #[must_use]
    pub fn of(mut self, agent: &Agent) -> Turn {
        let judges = agent.guardrails.iter().zip(0_u16..);
        let judges = judges.filter(|(g, _)| g.at == GuardrailAt::Input && matches!(g.check, GuardrailCheck::Llm(_)));
        self.inputs = judges.map(|(_, n)| n).collect();
        self.sums = to_summarise(agent.history, &self.message);
        self.next_step -= 1;
        self.open();
        self
    }

    /// The first phase that is left of the turn's beginning.
    pub(super) fn open(&mut self) {
        if !self.inputs.is_empty() {
            let value = Body::new(input_of(&self.message), &blob_key());
            let planned: Vec<_> = self.inputs.iter().map(|n| (*n, 0, value.clone())).collect();
            self.judge(&planned, Of::Input);
        } else if self.sums > 0 {
            self.phase = Phase::Summing { step: self.step(), outcome: None };
        } else {
            self.phase = Phase::Model { step: self.step() };
        }
    }

    /// Judges are asked.
    pub(super) fn judge(&mut self, planned: &[(u16, u32, Body)], of: Of) {
        let mut judges = Vec::with_capacity(planned.len());
        for (guardrail, slot, value) in planned {
            let times = self.judges.entry(*guardrail).or_default();
            let nth = *times;
            *times += 1;
            let (guardrail, slot, value) = (*guardrail, *slot, value.clone());
            judges.push(JudgeStep { step: self.step(), guardrail, slot, value, nth, done: false });
        }
        self.phase = Phase::Judging { judges, of };
    }

    /// Calls of judges so far.
    pub(super) fn judge_calls(&self) -> u32 {
        self.judges.values().sum()
    }

    /// A judge has spoken.
    pub(super) fn heard(&mut self, step: StepId, outcome: &StepOutcome) {
        let Phase::Judging { judges, .. } = &mut self.phase else { return };
        if let Some(found) = judges.iter_mut().find(|j| j.step == step) {
            found.done = true;
            self.verdicts.insert((found.guardrail, found.slot), word(outcome));
        }
    }

    /// A summary is there, or is not: then the last output stands for it, cut.
    pub(super) fn summed_up(&mut self, outcome: &StepOutcome) {
        let Phase::Summing { outcome: handoff, .. } = &self.phase else { return };
        let text = outcome.answer().map(|a| as_text(a.text.value())).filter(|t| !t.trim().is_empty() && t != "null");
        if handoff.is_some() {
            let text = text.or_else(|| last_words(self.said.iter())).unwrap_or_default();
            self.summary = Some(Body::new(Value::text(text), &blob_key()));
            return;
        }
        let sums = std::mem::take(&mut self.sums);
        let Some(chain) = &self.message.chain else { return };
        let (old, kept) = chain.history.split_at((sums as usize).min(chain.history.len()));
        let text = text.or_else(|| last_words(old.iter())).unwrap_or_default();
        let summary = Body::new(Value::text(text.as_str()), &blob_key());
        let stands = Chat::User { text: Body::new(Value::text(format!("{SUMMARY_OF}\n{text}")), &blob_key()) };
        let history = std::iter::once(stands).chain(kept.iter().cloned()).collect();
        let chain = Arc::new(Chain { history, ..Chain::clone(chain) });
        self.message = Arc::new(Message { chain: Some(chain), ..Message::clone(&self.message) });
        self.summed = Some((sums, summary));
    }

    /// The steps that are owed.
    pub fn pending(&self) -> Vec<(StepId, Work)> {
        match &self.phase {
            Phase::Model { step } => vec![(*step, Work::Model)],
            Phase::Tools { steps, .. } => (steps.iter().filter(|s| s.done.is_none()))
                .map(|s| (s.step, Work::Tool { call_id: s.call_id.clone(), tool: s.tool, input: s.input.clone() }))
                .collect(),
            Phase::Judging { judges, .. } => (judges.iter().filter(|j| !j.done))
                .map(|j| (j.step, Work::Judge { guardrail: j.guardrail, value: j.value.clone() }))
                .collect(),
            Phase::Summing { step, .. } => vec![(*step, Work::Summary)],
            _ => Vec::new(),
        }
    }

    /// Whether a step is owed.
    pub fn owes(&self, step: StepId) -> bool {
        match &self.phase {
            Phase::Model { step: s } | Phase::Summing { step: s, .. } => *s == step,
            Phase::Tools { steps, .. } => steps.iter().any(|s| s.step == step && s.done.is_none()),
            Phase::Judging { judges, .. } => judges.iter().any(|j| j.step == step && !j.done),
            _ => false,
        }
    }
}
