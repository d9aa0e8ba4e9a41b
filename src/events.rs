//! Events as clients see them: an envelope with JSON, and one line for people. Stored events are compact; finer ones are
//! expanded from `turn.completed` here, on reading. The shapes are promises (`commedia schema event`).

mod data;
mod expand;
mod schema;

use std::collections::HashMap;
use std::sync::Arc;

use commedia_actors::log::StoredEvent;
use commedia_actors::run_id::RunId;
use commedia_domain::body::Body;
use commedia_domain::event::{Event, Lane};
use commedia_domain::id::AgentIx;
use commedia_domain::message::{Seat, StepId, TurnId};
use commedia_domain::run::Run;
use commedia_domain::scenario::Scenario;
use commedia_domain::value::timestamp_text;
use serde_json::{Map, Value as Json, json};

pub(crate) use data::{check_json, labels_json, samples, usage_json};
pub use schema::json_schema;

/// Characters of a value in a line for people.
const SHOWN: usize = 100;

/// An event as it is told: stored, or expanded from a stored one.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The stored event's position.
    pub seq: u64,
    /// The place among those expanded from it, from 0.
    pub part: Option<u32>,
    /// Its lane.
    pub lane: Lane,
    /// Its name.
    pub kind: &'static str,
    /// Whose run.
    pub run_id: RunId,
    /// Run time, milliseconds since 1970 UTC, where it is known.
    pub at: Option<i64>,
    /// Wall time of its append, milliseconds since 1970 UTC.
    pub time: i64,
    /// The agent, as `self.id` names it.
    pub agent: Option<String>,
    /// The turn.
    pub turn: Option<TurnId>,
    /// The step.
    pub step: Option<StepId>,
    /// What led to it: the command's kind and who gave it.
    pub cause: Json,
    /// What happened.
    pub data: Json,
    /// The same for people.
    pub text: String,
}

impl Told {
    /// The envelope `{seq, part?, lane, type, run_id, at, time, agent?, turn?, step?, cause, data}`.
    pub fn to_json(&self) -> Json {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Json| fields.insert(name.to_owned(), value);
        set("seq", json!(self.seq));
        if let Some(part) = self.part {
            set("part", json!(part));
        }
        set("lane", json!(lane_word(self.lane)));
        set("type", json!(self.kind));
        set("run_id", json!(self.run_id.as_str()));
        set("at", self.at.map_or(Json::Null, |at| json!(timestamp_text(at))));
        set("time", json!(timestamp_text(self.time)));
        if let Some(agent) = &self.agent {
            set("agent", json!(agent));
        }
        if let Some(turn) = self.turn {
            set("turn", json!(turn.to_string()));
        }
        if let Some(step) = self.step {
            set("step", json!(step.to_string()));
        }
        set("cause", self.cause.clone());
        set("data", self.data.clone());
        Json::Object(fields)
    }

    /// One line: position, run time, agent, type, what happened.
    pub fn line(&self) -> String {
        let at = self.at.map_or_else(|| "-".into(), short_time);
        let agent = self.agent.as_deref().unwrap_or("-");
        format!("{:>6}  {at:<16}  {agent:<14}  {:<18}  {}", self.seq, self.kind, self.text).trim_end().to_owned()
    }
}

/// The word of a lane.
pub fn lane_word(lane: Lane) -> &'static str {
    match lane {
        Lane::Canonical => "canonical",
        Lane::Operational => "operational",
    }
}

/// A moment to the minute; the date alone at midnight.
pub fn short_time(ms: i64) -> String {
    let text = timestamp_text(ms);
    match text.split_once('T') {
        Some((date, "00:00:00Z")) => date.to_owned(),
        Some((date, time)) if time.len() >= 8 => format!("{date} {}", time[..8].strip_suffix(":00").unwrap_or(&time[..8])),
        _ => text,
    }
}

/// Tells the events of one run, in order.
#[derive(Clone, Debug)]
pub struct Teller {
    run_id: RunId,
    scenario: Arc<Scenario>,
    /// Run time as far as it has been told.
    now: Option<i64>,
    /// Whose the turns are that have begun: later events of theirs do not say.
    open: HashMap<TurnId, String>,
}

impl Teller {
    /// For a run of a scenario. Run time is known once `run.created` or an event with a time has been told.
    pub fn new(run_id: RunId, scenario: Arc<Scenario>) -> Teller {
        Teller { run_id, scenario, now: None, open: HashMap::new() }
    }

    /// The same, from a known moment of run time on.
    #[must_use]
    pub fn from(self, now: i64) -> Teller {
        Teller { now: Some(now), ..self }
    }

    /// The same, behind an event after which the run stood so.
    #[must_use]
    pub fn behind(self, run: &Run) -> Teller {
        let state = run.state();
        let open = state.turns.iter().map(|(seat, turn)| (turn.id, seat_name(&self.scenario, *seat)));
        Teller { now: Some(state.now), open: open.collect(), ..self }
    }

    /// A stored event alone, not expanded.
    pub fn stored(&mut self, stored: &StoredEvent) -> Told {
        self.now = moment(&stored.event).or(self.now);
        let (agent, turn, step) = self.place(&stored.event);
        let agent = agent.or_else(|| turn.and_then(|t| self.open.get(&t).cloned()));
        match (&*stored.event, turn, &agent) {
            (Event::StepPlanned { .. }, Some(turn), Some(agent)) => {
                self.open.insert(turn, agent.clone());
            }
            (Event::TurnCompleted(_) | Event::TurnFailed { .. }, Some(turn), _) => {
                self.open.remove(&turn);
            }
            _ => {}
        }
        let (data, text) = data::of(&self.scenario, &stored.event);
        Told {
            seq: stored.seq,
            part: None,
            lane: stored.lane,
            kind: stored.event.name(),
            run_id: self.run_id.clone(),
            at: self.now,
            time: stored.wall_ms,
            agent,
            turn,
            step,
            cause: json!({"kind": stored.cause.kind, "principal": &*stored.cause.principal}),
            data,
            text,
        }
    }

    /// A stored event with what is expanded from it, in the order it happened.
    pub fn tell(&mut self, stored: &StoredEvent) -> Vec<Told> {
        let whole = self.stored(stored);
        match &*stored.event {
            Event::TurnCompleted(completed) => expand::turn(&self.scenario, completed, whole),
            _ => vec![whole],
        }
    }

    fn place(&self, event: &Event) -> (Option<String>, Option<TurnId>, Option<StepId>) {
        let name = |seat: &Seat| Some(seat_name(&self.scenario, *seat));
        match event {
            Event::TurnCompleted(c) => {
                let agent = match c.served.as_slice() {
                    [(replica, 1)] => seat_name(&self.scenario, Seat { agent: c.agent, replica: *replica }),
                    _ => agent_name(&self.scenario, c.agent),
                };
                (Some(agent), Some(c.turn), None)
            }
            Event::MessagePassed { turn, agent, .. } => (Some(agent_name(&self.scenario, *agent)), Some(*turn), None),
            Event::TurnFailed { turn, seat, .. }
            | Event::DelegateAsked { turn, seat, .. }
            | Event::DelegateReturned { turn, seat, .. }
            | Event::GuardrailTripped { turn, seat, .. }
            | Event::HistorySummarised { turn, seat, .. }
            | Event::AgentFailed { turn, seat, .. } => (name(seat), Some(*turn), None),
            Event::FaultInjected(injected) => (name(&injected.seat), Some(injected.turn), None),
            Event::AgentCrashed(crash) => (name(&crash.seat), Some(crash.turn), None),
            Event::InputReceived { seat, .. } | Event::AgentRestarted { seat, .. } | Event::AgentQuarantined { seat, .. } => {
                (name(seat), None, None)
            }
            Event::ConversationSummarised { turn, .. } | Event::TurnDegraded { turn, .. } => (None, Some(*turn), None),
            Event::StepPlanned { step, seat, .. }
            | Event::StepDispatched { step, seat, .. }
            | Event::StepUnknown { step, seat, .. }
            | Event::StepReconciled { step, seat, .. }
            | Event::BudgetReserved { step, seat, .. }
            | Event::BudgetSettled { step, seat, .. }
            | Event::BudgetRefused { step, seat, .. } => (name(seat), Some(step.turn), Some(*step)),
            Event::StepRecorded(recorded) => (None, Some(recorded.step.turn), Some(recorded.step)),
            _ => (None, None, None),
        }
    }
}

/// The run time an event states.
fn moment(event: &Event) -> Option<i64> {
    match event {
        Event::RunCreated(created) => Some(created.start),
        Event::TurnCompleted(completed) => Some(completed.at),
        Event::TriggerFired(fired) => Some(fired.at),
        Event::TurnFailed { at, .. }
        | Event::DelegateAsked { at, .. }
        | Event::InputReceived { at, .. }
        | Event::TickAdvanced { at, .. }
        | Event::StepPlanned { at, .. }
        | Event::TimerFired { at, .. } => Some(*at),
        Event::RunCompleted(e)
        | Event::RunFailed(e)
        | Event::RunTimedOut(e)
        | Event::RunOverBudget(e)
        | Event::RunCancelled(e) => Some(e.at),
        _ => None,
    }
}

/// An agent's name, or `name/n` for one of a population: what `self.id` says.
pub fn seat_name(scenario: &Scenario, seat: Seat) -> String {
    match scenario.agents.get(seat.agent.at()) {
        Some(agent) if agent.population => format!("{}/{}", agent.name, seat.replica),
        _ => agent_name(scenario, seat.agent),
    }
}

/// A block's name.
pub fn agent_name(scenario: &Scenario, ix: AgentIx) -> String {
    scenario.agents.get(ix.at()).map_or_else(|| format!("#{}", ix.0), |a| a.name.to_string())
}

/// A body as JSON. One whose blob was erased is `{blob, missing: true}`.
pub fn body_json(body: &Body) -> Json {
    match body.missing() {
        Some(name) => json!({"blob": name.to_string(), "missing": true}),
        None => body.value().to_json(),
    }
}

/// A value in a line: compact, cut at a hundred characters.
pub fn shown(json: &Json) -> String {
    let text = match json {
        Json::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if clean.chars().nth(SHOWN).is_some() {
        let mut cut: String = clean.chars().take(SHOWN - 1).collect();
        cut.push('…');
        cut
    } else {
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_short() {
        let check = |text: &str, expect: &str| {
            let ms = text.parse::<jiff::Timestamp>().expect("a moment").as_millisecond();
            assert_eq!(short_time(ms), expect);
        };
        check("2026-03-02T00:00:00Z", "2026-03-02");
        check("2026-03-02T08:30:00Z", "2026-03-02 08:30");
        check("2026-03-02T08:30:05.250Z", "2026-03-02 08:30:05");
    }

    #[test]
    fn values_are_cut_and_clean() {
        assert_eq!(shown(&json!("two\n lines")), "two lines");
        assert_eq!(shown(&json!("\u{1b}[31mred")), "\u{fffd}[31mred");
        assert_eq!(shown(&json!({"a": [1, 2]})), r#"{"a":[1,2]}"#);
        assert_eq!(shown(&json!("é".repeat(200))).chars().count(), SHOWN);
    }
}
