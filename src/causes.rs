//! The chain of causes behind an event: the message it came of, who sent that, and so on back to where the run began.
//! Read from the log alone, by folding it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use commedia_actors::log::StoredEvent;
use commedia_actors::run_id::RunId;
use commedia_domain::event::{Completed, Event};
use commedia_domain::message::{Message, MessageKind, Seat, StepId, TurnId};
use commedia_domain::run::Run;
use commedia_domain::scenario::{Scenario, TriggerOn};
use serde_json::{Value as Json, json};

use crate::events::{Teller, Told, agent_name, seat_name};

/// A step back: the earlier event, and how the later one came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// The earlier event.
    pub seq: u64,
    /// In words, such as "took up a handoff from planner".
    pub how: String,
}

/// The chain behind an event, nearest cause first; `None` where the log has no such event.
pub fn chain(scenario: &Arc<Scenario>, events: &[StoredEvent], seq: u64) -> Option<Vec<Because>> {
    events.iter().find(|e| e.seq == seq)?;
    let mut fold = Fold::default();
    let mut run: Option<Run> = None;
    for stored in events.iter().take_while(|e| e.seq <= seq) {
        match (&mut run, &*stored.event) {
            (None, Event::RunCreated(created)) => run = Some(Run::new(scenario.clone(), (**created).clone())),
            (None, _) => return Some(Vec::new()),
            (Some(run), event) => {
                if let Some(because) = fold.because(scenario, run, event) {
                    fold.causes.insert(stored.seq, because);
                }
                run.apply(event);
                fold.sent(run.state().position, stored.seq);
                fold.remember(stored.seq, event);
            }
        }
    }
    let mut links: Vec<Because> = Vec::new();
    let mut at = seq;
    while let Some(because) = fold.causes.get(&at).filter(|b| b.seq < at) {
        at = because.seq;
        links.push(because.clone());
    }
    Some(links)
}

/// The object that `commedia why --output json` prints: the chain, each event with its line for people. `None` as with [`chain`].
pub fn told(id: &RunId, scenario: &Arc<Scenario>, events: &[StoredEvent], seq: u64) -> Option<Json> {
    let links = chain(scenario, events, seq)?;
    let mut teller = Teller::new(id.clone(), scenario.clone());
    let wanted: BTreeSet<u64> = links.iter().map(|link| link.seq).chain([seq]).collect();
    let each = events.iter().take_while(|e| e.seq <= seq).map(|e| (e.seq, teller.stored(e)));
    let told: BTreeMap<u64, Told> = each.filter(|(at, _)| wanted.contains(at)).collect();
    let steps = std::iter::once((seq, None)).chain(links.iter().map(|link| (link.seq, Some(link.how.as_str()))));
    let row = |(seq, how): (u64, Option<&str>)| {
        let event = told.get(&seq)?;
        Some(json!({"because": how, "line": event.line(), "event": event.to_json()}))
    };
    Some(
        json!({"schema": "commedia.why/v1", "run_id": id.as_str(), "seq": seq, "chain": steps.filter_map(row).collect::<Vec<_>>()}),
    )
}

/// What must be known of the log so far.
#[derive(Default)]
struct Fold {
    /// The event behind each commit position; messages name the position they were sent at.
    positions: BTreeMap<u64, u64>,
    /// The latest event of each kind that others follow from.
    causes: BTreeMap<u64, Because>,
    turns: BTreeMap<TurnId, u64>,
    steps: BTreeMap<StepId, u64>,
    /// What a step did last outside the process.
    outside: BTreeMap<StepId, (u64, &'static str)>,
    started: Option<u64>,
    moment: Option<u64>,
    last: u64,
}

impl Fold {
    /// An event was applied: positions up to here are its own.
    fn sent(&mut self, position: u64, seq: u64) {
        let known = self.positions.last_key_value().map_or(0, |(p, _)| *p);
        for p in known + 1..=position {
            self.positions.insert(p, seq);
        }
        self.last = seq;
    }

    fn remember(&mut self, seq: u64, event: &Event) {
        match event {
            Event::StepPlanned { step, .. } => {
                self.steps.insert(*step, seq);
                self.turns.insert(step.turn, seq);
            }
            Event::StepRecorded(recorded) => {
                self.turns.insert(recorded.step.turn, seq);
            }
            Event::StepDispatched { step, .. } | Event::StepUnknown { step, .. } | Event::StepReconciled { step, .. } => {
                let how = match event {
                    Event::StepDispatched { .. } => "the step was dispatched",
                    Event::StepUnknown { .. } => "nobody knew what became of the step",
                    _ => "somebody said what became of the step",
                };
                self.outside.insert(*step, (seq, how));
            }
            Event::DelegateAsked { turn, .. } | Event::DelegateReturned { turn, .. } | Event::TurnDegraded { turn, .. } => {
                self.turns.insert(*turn, seq);
            }
            Event::RunStarted { .. } => (self.started, self.moment) = (Some(seq), Some(seq)),
            Event::TickAdvanced { .. } | Event::TimerFired { .. } => self.moment = Some(seq),
            _ => {}
        }
    }

    /// How an event came about, before it is applied.
    fn because(&self, scenario: &Scenario, run: &Run, event: &Event) -> Option<Because> {
        let of_turn = |turn: &TurnId, how: &str| self.turns.get(turn).map(|seq| Because { seq: *seq, how: how.to_owned() });
        match event {
            Event::RunCreated(_) => None,
            Event::RunStarted { .. } => Some(Because { seq: 1, how: "the run was created".into() }),
            Event::TurnCompleted(done) => of_turn(&done.turn, "its last step").or_else(|| self.served(scenario, run, done)),
            Event::StepPlanned { step, seat, .. } if step.n == 0 => self.message(scenario, run, *seat),
            Event::StepPlanned { step, .. } => of_turn(&step.turn, "the turn went on"),
            Event::StepRecorded(recorded) => self.behind(&recorded.step),
            Event::TurnFailed { turn, seat, .. } | Event::AgentFailed { turn, seat, .. } => {
                of_turn(turn, "its last step").or_else(|| self.message(scenario, run, *seat))
            }
            Event::FaultInjected(injected) => {
                of_turn(&injected.turn, "its last step").or_else(|| self.message(scenario, run, injected.seat))
            }
            Event::ToolsDiscovered(_) => self.before("the run began"),
            Event::FaultsSet { .. } | Event::RunLabelled { .. } => Some(Because { seq: 1, how: "the run was created".into() }),
            Event::AgentCrashed(crash) => {
                of_turn(&crash.turn, "its last step").or_else(|| self.message(scenario, run, crash.seat))
            }
            Event::DelegateAsked { turn, .. } => of_turn(turn, "its model asked"),
            Event::GuardrailTripped { turn, seat, .. } => {
                of_turn(turn, "its last step").or_else(|| self.message(scenario, run, *seat))
            }
            Event::DelegateReturned { seat, .. } => {
                let back = run.state().mail.answer(*seat)?;
                self.sender(scenario, back)
            }
            Event::ConversationSummarised { turn, .. }
            | Event::HistorySummarised { turn, .. }
            | Event::TurnDegraded { turn, .. } => of_turn(turn, "its last step"),
            Event::BudgetReserved { step, .. } | Event::BudgetRefused { step, .. } => {
                of_turn(&step.turn, "a model was to be asked")
            }
            Event::BudgetSettled { step, .. } => of_turn(&step.turn, "its model's answer was there, or would not come"),
            Event::AgentRestarted { .. } | Event::AgentQuarantined { .. } => self.before("the agent crashed"),
            Event::TriggerFired(fired) => match scenario.triggers.get(fired.trigger.at()) {
                Some(trigger) if matches!(trigger.on, TriggerOn::When(_)) => self.before("its condition became true"),
                _ => self.start("it was due, by the clock of the run"),
            },
            Event::TickAdvanced { .. } | Event::TimerFired { .. } => self.start("time goes on once all work is done"),
            Event::MetricSampled { .. } => self.moment.map(|seq| Because { seq, how: "all work of the tick was done".into() }),
            Event::RunCompleted(_) | Event::RunFailed(_) | Event::RunTimedOut(_) | Event::RunOverBudget(_) => {
                self.before("this was the last thing that happened")
            }
            Event::MessagePassed { agent, passed, .. } => {
                let (replica, _) = passed.first()?;
                self.message(scenario, run, Seat { agent: *agent, replica: *replica })
            }
            Event::StepDispatched { step, .. } | Event::StepUnknown { step, .. } | Event::StepReconciled { step, .. } => {
                self.behind(step)
            }
            Event::RunQueued
            | Event::RunPaused { .. }
            | Event::RunQuarantined { .. }
            | Event::RunReleased
            | Event::RunResumed
            | Event::RunCancelled(_)
            | Event::BudgetGranted { .. }
            | Event::InputReceived { .. } => None,
        }
    }

    /// What a step's event comes of: what it did last outside the process, else that it was planned.
    fn behind(&self, step: &StepId) -> Option<Because> {
        if let Some((seq, how)) = self.outside.get(step) {
            return Some(Because { seq: *seq, how: (*how).to_owned() });
        }
        let planned = self.steps.get(step).or_else(|| self.turns.get(&step.turn));
        planned.map(|seq| Because { seq: *seq, how: "the step was planned".into() })
    }

    /// The clock has no cause but the run's beginning: what happened in between did not set it going.
    fn start(&self, how: &str) -> Option<Because> {
        self.started.map(|seq| Because { seq, how: how.to_owned() })
    }

    fn before(&self, how: &str) -> Option<Because> {
        (self.last > 0).then(|| Because { seq: self.last, how: how.to_owned() })
    }

    /// The message a turn of rules took up; of a population's, the first one's.
    fn served(&self, scenario: &Scenario, run: &Run, done: &Completed) -> Option<Because> {
        let (replica, _) = done.served.first()?;
        self.message(scenario, run, Seat { agent: done.agent, replica: *replica })
    }

    /// The message a seat has before it.
    fn message(&self, scenario: &Scenario, run: &Run, seat: Seat) -> Option<Because> {
        let state = run.state();
        let open = state.turns.get(&seat).map(|t| t.message.clone());
        let message = open.or_else(|| state.mail.front(seat).cloned())?;
        let because = self.sender(scenario, &message)?;
        Some(Because { how: format!("{} {}", seat_name(scenario, seat), because.how), ..because })
    }

    /// The event that sent a message.
    fn sender(&self, scenario: &Scenario, message: &Message) -> Option<Because> {
        let seq = *self.positions.get(&message.position)?;
        let from = message.from.map_or_else(String::new, |ix| format!(" from {}", agent_name(scenario, ix)));
        let label = message.label.as_deref().map_or_else(String::new, |l| format!(" `{l}`"));
        let how = match message.kind {
            MessageKind::Start => "took up its start message".into(),
            MessageKind::Tick => "took up the tick".into(),
            MessageKind::Handoff => format!("took up a handoff{from}"),
            MessageKind::Ask => format!("was asked{from}"),
            MessageKind::Return => format!("got an answer{from}"),
            MessageKind::Tell => format!("was told{label}{from}"),
            MessageKind::Trigger => format!("was told by trigger{label}"),
            MessageKind::Record => format!("saw a record written{from}"),
            MessageKind::User => "heard a person's words".into(),
        };
        Some(Because { seq, how })
    }
}
