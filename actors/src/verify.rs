//! `replay --verify`: an empty run is fed the recorded outcomes and commands, decides again, and every canonical event is
//! compared byte for byte. No model is called: outcomes come from the log, rules are evaluated anew.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use commedia_domain::event::{Crash, Discovered, ENGINE, Event, FailureClass, Lane, StepOutcome};
use commedia_domain::id::{Hash32, ToolIx};
use commedia_domain::message::StepId;
use commedia_domain::rules;
use commedia_domain::run::{Command, Effect, Refusal, Run};
use commedia_domain::scenario::{ClockMode, Scenario};
use commedia_domain::tool::Builtins;

use crate::log::StoredEvent;
use crate::store::digest::Digest;

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Stored events read.
    pub events: u64,
    /// Canonical ones compared.
    pub canonical: u64,
    /// Calls of a model: none, always.
    pub model_calls: u64,
    /// The digest of the replayed events.
    pub digest: Hash32,
    /// The first event that differs.
    pub difference: Option<Difference>,
    /// False where another engine decided the run: then nothing was compared.
    pub comparable: bool,
}

/// Where a replay parts from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The stored event's position.
    pub seq: u64,
    /// What stands there and what came instead.
    pub what: String,
}

/// Replays a log through `decide`.
pub fn verify(scenario: &Arc<Scenario>, log: &[StoredEvent], engine: u16, builtins: &Arc<dyn Builtins>) -> Verified {
    let mut replay = Replay::new(log, scenario.clock.mode == ClockMode::Real);
    let mut verified = Verified {
        events: log.len() as u64,
        canonical: 0,
        model_calls: 0,
        digest: Hash32::default(),
        difference: None,
        comparable: engine == ENGINE,
    };
    if !verified.comparable {
        return verified;
    }
    let Some(Event::RunCreated(created)) = log.first().map(|e| &*e.event) else {
        verified.difference = Some(Difference { seq: 1, what: "the log does not begin with `run.created`".into() });
        return verified;
    };
    let mut run = Run::new(scenario.clone(), Created::clone(created)).with_builtins(builtins.clone());
    verified.difference = replay.step(&[Event::RunCreated(created.clone())]).err();
    // Faults are no part of the scenario, and what they strike is decided by draws.
    log.iter().filter(|e| matches!(&*e.event, Event::FaultsSet { .. })).for_each(|e| run.apply(&e.event));
    while verified.difference.is_none() && !replay.expected.is_empty() {
        match replay.next(&run, &**builtins) {
            Ok(events) => {
                verified.difference = replay.step(&events).err();
                events.iter().for_each(|event| run.apply(event));
            }
            Err(what) => {
                let seq = replay.expected.front().map_or(0, |e| e.seq);
                verified.difference = Some(Difference { seq, what });
            }
        }
    }
    verified.canonical = replay.compared;
    verified.digest = replay.digest.value();
    verified
}

use commedia_domain::event::Created;

struct Replay {
    /// Canonical events still to come.
    expected: VecDeque<StoredEvent>,
    outcomes: BTreeMap<StepId, StepOutcome>,
    /// What servers of tools offered.
    discovered: BTreeMap<ToolIx, Box<Discovered>>,
    /// On a real clock what befell steps, in its order: there the order in which they end is an outcome, too.
    steps: VecDeque<StoredEvent>,
    crashes: VecDeque<Crash>,
    compared: u64,
    digest: Digest,
}

impl Replay {
    fn new(log: &[StoredEvent], real: bool) -> Replay {
        let of_step = |e: &Event| {
            matches!(e, Event::StepRecorded(_) | Event::StepDispatched { .. })
                || matches!(e, Event::StepUnknown { .. } | Event::StepReconciled { .. })
        };
        Replay {
            expected: log.iter().filter(|e| e.lane == Lane::Canonical).cloned().collect(),
            outcomes: (log.iter())
                .filter_map(|e| match &*e.event {
                    Event::StepRecorded(recorded) => Some((recorded.step, recorded.outcome.clone())),
                    _ => None,
                })
                .collect(),
            discovered: (log.iter())
                .filter_map(|e| match &*e.event {
                    Event::ToolsDiscovered(found) => Some((found.server, found.clone())),
                    _ => None,
                })
                .collect(),
            steps: log.iter().filter(|e| real && of_step(&e.event)).cloned().collect(),
            crashes: log.iter().filter_map(|e| crash(&e.event)).collect(),
            compared: 0,
            digest: Digest::new(),
        }
    }

    /// Compares what was decided with what is stored.
    fn step(&mut self, events: &[Event]) -> Result<(), Difference> {
        for event in events.iter().filter(|e| e.lane() == Lane::Canonical) {
            let Some(stored) = self.expected.pop_front() else {
                // The log may end before the run does: it was cut, or the run is still live.
                return Ok(());
            };
            let (now, then) = (event.encode(), stored.event.encode());
            if now != then {
                let what = format!("the log has `{}`, the replay decides `{}`", stored.event.name(), event.name());
                return Err(Difference {
                    seq: stored.seq,
                    what: if stored.event.name() == event.name() { format!("`{}` has other bytes", event.name()) } else { what },
                });
            }
            self.digest.update(&now);
            self.compared += 1;
        }
        Ok(())
    }

    /// The next decision: a command from outside where the log says so, else what the run does by itself.
    fn next(&mut self, run: &Run, builtins: &dyn Builtins) -> Result<Vec<Event>, String> {
        let seq = self.expected.front().map_or(u64::MAX, |e| e.seq);
        if let Some(befell) = self.steps.pop_front_if(|e| e.seq < seq && is_due(run, &e.event)) {
            return match &*befell.event {
                Event::StepRecorded(recorded) => {
                    let outcome = self.outcomes.remove(&recorded.step).unwrap_or_else(|| recorded.outcome.clone());
                    run.decide(Command::StepEnded { step: recorded.step, outcome }).map_err(|e| e.to_string())
                }
                other => Ok(vec![other.clone()]),
            };
        }
        let next = self.expected.front().map(|e| (*e.event).clone());
        if run.state().status.is_paused() {
            return run.decide(Command::Resume).map_err(|e| e.to_string());
        }
        match &next {
            Some(Event::InputReceived { seat, text, data, .. }) => {
                let text = text.value().as_str().unwrap_or_default().into();
                return run.decide(Command::Tell { seat: *seat, text, data: data.value().clone() }).map_err(|e| e.to_string());
            }
            Some(Event::RunCancelled(end)) => {
                let reason = end.cause.clone().unwrap_or_default();
                return run.decide(Command::Cancel { reason }).map_err(|e| e.to_string());
            }
            Some(Event::TurnFailed { failure, turn, seat, .. }) if failure.class == FailureClass::Crash => {
                // The crashes over this message; those that a restart mended left no trace in the canonical lane.
                let over = |c: &Crash| c.seat == *seat && c.turn == *turn;
                let found = self.crashes.iter().position(over).and_then(|n| self.crashes.remove(n));
                if let Some(Crash { seat, turn, reason, wall, .. }) = found {
                    return run.decide(Command::Crashed { seat, turn, reason, wall }).map_err(|e| e.to_string());
                }
            }
            _ => {}
        }
        let wall = next.as_ref().and_then(moment).unwrap_or(i64::MAX);
        match run.decide(Command::Proceed { wall }) {
            Ok(events) => Ok(events),
            Err(Refusal::Owed) => self.owed(run, builtins, next.as_ref()),
            Err(refusal) => match next {
                Some(Event::RunTimedOut(_)) => run.decide(Command::WallUp).map_err(|e| e.to_string()),
                _ => Err(format!("the replay stops: {refusal}")),
            },
        }
    }

    fn owed(&mut self, run: &Run, builtins: &dyn Builtins, next: Option<&Event>) -> Result<Vec<Event>, String> {
        for effect in run.pending() {
            match effect {
                Effect::Serve(order) => {
                    let served = rules::serve(&order, builtins, |_| {});
                    return run.decide(Command::Served(served)).map_err(|e| e.to_string());
                }
                Effect::Perform { step, .. } | Effect::Reach { step, .. } => {
                    if let Some(outcome) = self.outcomes.remove(&step) {
                        return run.decide(Command::StepEnded { step, outcome }).map_err(|e| e.to_string());
                    }
                }
                Effect::Discover { server } => {
                    if let Some(found) = self.discovered.remove(&server) {
                        return run.decide(Command::Discovered(found)).map_err(|e| e.to_string());
                    }
                }
                Effect::Wake { .. } => {}
            }
        }
        match next {
            Some(Event::RunTimedOut(_)) => run.decide(Command::WallUp).map_err(|e| e.to_string()),
            _ => Err("the log has no outcome for what the replay owes".into()),
        }
    }
}

/// Whether the step that something befell is owed by now.
fn is_due(run: &Run, event: &Event) -> bool {
    let step = match event {
        Event::StepRecorded(recorded) => recorded.step,
        Event::StepDispatched { step, .. } | Event::StepUnknown { step, .. } | Event::StepReconciled { step, .. } => *step,
        _ => return false,
    };
    run.state().turns.values().any(|turn| turn.owes(step))
}

/// The crash that an event tells of.
fn crash(event: &Event) -> Option<Crash> {
    match event {
        Event::AgentCrashed(crash) => Some((**crash).clone()),
        Event::AgentFailed { seat, turn, reason } => {
            Some(Crash { seat: *seat, turn: *turn, reason: reason.clone(), wall: 0, until: None })
        }
        _ => None,
    }
}

/// The run time of an event that moves a real clock.
fn moment(event: &Event) -> Option<i64> {
    match event {
        Event::TriggerFired(fired) => Some(fired.at),
        Event::TickAdvanced { at, .. } | Event::TimerFired { at, .. } => Some(*at),
        _ => None,
    }
}
