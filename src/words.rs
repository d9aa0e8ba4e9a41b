//! What people say to runs, read: which agent they mean, and what became of a step.

use std::sync::Arc;

use clap::ValueEnum;
use commedia_domain::event::Created;
use commedia_domain::expression::suggest;
use commedia_domain::id::AgentIx;
use commedia_domain::message::Seat;
use commedia_domain::scenario::Scenario;
use commedia_domain::step::Resolution;
use commedia_domain::value::Value;

use crate::failure::Failure;

/// Characters of a reason: it stands in an event, beside which nothing longer is kept.
pub const MAX_REASON: usize = 1000;

/// Labels of a run at most.
pub const MOST_LABELS: usize = 16;
/// Characters of a label's name and of its value.
const LONGEST_LABEL: usize = 63;

/// A label, `NAME=VALUE`.
pub fn label(text: &str) -> Result<(Arc<str>, Arc<str>), String> {
    let (name, value) = text.split_once('=').ok_or("a label is NAME=VALUE")?;
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    if !begins || name.len() > LONGEST_LABEL || !name.chars().all(plain) {
        return Err(format!(
            "a label's name has 1 to {LONGEST_LABEL} letters, digits and `._/-`, and begins with one of the former"
        ));
    }
    if value.len() > LONGEST_LABEL || !value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(format!("a label's value has at most {LONGEST_LABEL} characters of ASCII"));
    }
    Ok((name.into(), value.into()))
}

/// Whether one of the labels is that: `NAME=VALUE`, or `NAME` whatever its value.
pub fn has_label(labels: &[(Arc<str>, Arc<str>)], wanted: &str) -> bool {
    let (name, value) = wanted.split_once('=').map_or((wanted, None), |(name, value)| (name, Some(value)));
    labels.iter().any(|(n, v)| &**n == name && value.is_none_or(|value| value == &**v))
}

/// What became of a step of which nobody knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutcomeWord {
    /// It happened
    Succeeded,
    /// It did not happen, and is not to be tried again
    Failed,
    /// It did not happen, and is to be performed again, with the same key
    Retry,
}

impl OutcomeWord {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            OutcomeWord::Succeeded => "succeeded",
            OutcomeWord::Failed => "failed",
            OutcomeWord::Retry => "retry",
        }
    }
}

/// A resolution: an outcome, and what the step gave; of a failed one its reason.
pub fn resolution(outcome: OutcomeWord, result: Option<Value>) -> Result<Resolution, Failure> {
    match (outcome, result) {
        (OutcomeWord::Succeeded, result) => Ok(Resolution::Succeeded(result.unwrap_or(Value::Null))),
        (OutcomeWord::Failed, None) => Ok(Resolution::Failed("it failed, says the operator".into())),
        (OutcomeWord::Failed, Some(Value::Text(reason))) if reason.chars().count() <= MAX_REASON => {
            Ok(Resolution::Failed(reason))
        }
        (OutcomeWord::Failed, Some(Value::Text(_))) => {
            Err(Failure::usage(format!("a reason has at most {MAX_REASON} characters")).help("say where more of it is"))
        }
        (OutcomeWord::Failed, Some(_)) => {
            Err(Failure::usage("of a failed step, the result is the reason").help("a JSON string, such as \"no funds\""))
        }
        (OutcomeWord::Retry, None) => Ok(Resolution::Retry),
        (OutcomeWord::Retry, Some(_)) => Err(Failure::usage("with `retry` there is no result yet").help("leave it out")),
    }
}

/// The agent that a word means: `name`, or `name/3` where there are several.
pub fn seat(scenario: &Scenario, created: &Created, word: &str) -> Result<Seat, Failure> {
    let (name, number) = word.rsplit_once('/').map_or((word, None), |(name, number)| (name, Some(number)));
    let Some(at) = scenario.agents.iter().position(|agent| *agent.name == *name) else {
        let failure = Failure::usage(format!("scenario `{}` has no agent `{name}`", scenario.name));
        let names: Vec<&str> = scenario.agents.iter().map(|agent| &*agent.name).collect();
        return Err(failure.help(match suggest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has `{}`", names.join("`, `")),
        }));
    };
    let replicas = created.replicas.get(at).copied().unwrap_or(0);
    let several = || format!("there are {replicas} of `{name}`, `{name}/0` to `{name}/{}`", replicas.saturating_sub(1));
    let replica = match number {
        None if replicas == 1 => 0,
        None => return Err(Failure::usage(format!("which `{name}`?")).help(several())),
        Some(number) => {
            let found = number.parse::<u32>().ok().filter(|n| *n < replicas);
            found.ok_or_else(|| Failure::usage(format!("there is no agent `{word}`")).help(several()))?
        }
    };
    Ok(Seat { agent: AgentIx::from(at), replica })
}
