//! Turns begin together and commit in wave order; a step's outcome is decided when it comes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::body::Body;
use crate::event::{
    AnsweredBy, Completed, Entry, Event, Failure, FailureClass, Outcome, StepOutcome, Then, Trip, Usage, Work, Write,
};
use crate::message::{Chain, Message, MessageKind, Seat, StepId, TurnId};
use crate::names::Names;
use crate::rules::Served;
use crate::run::mailboxes::Front;
use crate::run::wave::Wave;
use crate::run::{Refusal, Run};
use crate::scenario::{AgentKind, GuardrailAt};
use crate::turn::{Checks, Phase, Turn, TurnView};
use crate::value::Value;
use crate::world::{World, Writer};

impl Run {
    /// Plans the first step of every `llm` turn of the wave that has not begun, and brings answers home.
    pub(super) fn begin_turns(&self, wave: &Wave) -> Vec<Event> {
        let mut events = Vec::new();
        for (n, slot) in wave.places() {
            let seat = slot.seat();
            if self.slot_by_rules(seat) {
                continue;
            }
            let turn = wave.turn(n, self.is_real());
            match self.state.turns.get(&seat) {
                None if self.input_trip(seat, &slot.message).is_none() => {
                    events.push(self.first_step(turn, seat, &slot.message));
                }
                Some(open) if matches!(open.phase, Phase::Asking { .. }) => {
                    let call_id = slot.message.chain.as_ref().and_then(|c| c.answers.clone()).unwrap_or_default();
                    let output = Body::new(slot.message.data.clone(), &self.state.blobs());
                    events.push(Event::DelegateReturned { turn: open.id, seat, resumes: turn, call_id, output });
                    // Its message is gone once applied: the wave is worked out anew before the next one begins.
                    return events;
                }
                _ => {}
            }
        }
        events
    }

    /// The first step of a turn: the model's own, a judge's, or a summary.
    fn first_step(&self, turn: TurnId, seat: Seat, message: &Arc<Message>) -> Event {
        let (step, at) = (StepId { turn, n: 0 }, self.state.now);
        let begun = Turn::new(step, seat, message.clone(), at).of(&self.scenario.agents[seat.agent.at()]);
        let work = begun.pending().into_iter().next().map_or(Work::Model, |(_, work)| work);
        Event::StepPlanned { step, seat, at, work }
    }

    /// What an agent's input guardrails say of a message, those of them that need no judge.
    fn input_trip(&self, seat: Seat, message: &Arc<Message>) -> Option<(Vec<Trip>, Failure)> {
        let agent = &self.scenario.agents[seat.agent.at()];
        if !agent.guardrails.iter().any(|g| g.at == GuardrailAt::Input) {
            return None;
        }
        let facts = self.facts();
        let view = TurnView { facts: &facts, world: self.base_world(), live: false };
        let probe = Turn::new(StepId { turn: TurnId { wave: 0, index: 0 }, n: 0 }, seat, message.clone(), self.state.now);
        let mut checks = Checks::default();
        let failure = probe.input_verdict(&view, &mut checks).err()?;
        Some((checks.trips, failure))
    }

    /// The world the turns of the wave read: as it stood at the wave's start.
    pub(super) fn base_world(&self) -> &World {
        match &self.state.base {
            Some(base) if !self.is_real() && self.wave.as_ref().is_none_or(|w| w.number == self.state.wave) => base,
            _ => &self.state.world,
        }
    }

    /// Commits the next turn of the wave, if it is ready.
    pub(super) fn commit_next(&self, wave: &Wave) -> Result<Vec<Event>, Refusal> {
        let ready = |(n, slot): (u32, &Front)| {
            let seat = slot.seat();
            if self.slot_by_rules(seat) {
                return None;
            }
            match self.state.turns.get(&seat) {
                None => {
                    let turn = wave.turn(n, self.is_real());
                    let (trips, failure) = self.input_trip(seat, &slot.message)?;
                    let mut events: Vec<Event> =
                        trips.into_iter().map(|trip| Event::GuardrailTripped { turn, seat, trip }).collect();
                    events.push(Event::TurnFailed { turn, seat, at: self.state.now, failure });
                    Some(events)
                }
                Some(turn) => self.commit_turn(turn),
            }
        };
        let reach = if self.is_real() { wave.slots.len() } else { 1 };
        wave.places().take(reach).find_map(ready).ok_or(Refusal::Owed)
    }

    fn commit_turn(&self, turn: &Turn) -> Option<Vec<Event>> {
        let tripped = |trip: &crate::event::Trip| Event::GuardrailTripped { turn: turn.id, seat: turn.seat, trip: trip.clone() };
        let mut events: Vec<Event> = turn.trips.iter().map(tripped).collect();
        match &turn.phase {
            Phase::Ready { outcome } => {
                if let Some(end) = self.handoff_limit(outcome) {
                    return Some(vec![end]);
                }
                if let Some((replaced, summary)) = &turn.summed {
                    let (turn, seat, summary) = (turn.id, turn.seat, summary.clone());
                    events.push(Event::HistorySummarised { turn, seat, replaced: *replaced, summary });
                }
                events.extend(turn.summary.clone().map(|summary| Event::ConversationSummarised { turn: turn.id, summary }));
                let mut completed = self.complete(turn, outcome);
                for entry in &mut completed.entries {
                    self.strike_messages(turn.id, turn.seat, &mut entry.sent, &mut events);
                }
                events.push(Event::TurnCompleted(Box::new(completed)));
            }
            Phase::WillAsk { asks } => {
                events.push(Event::DelegateAsked { turn: turn.id, seat: turn.seat, at: self.state.now, asks: asks.clone() });
            }
            Phase::Failed(failure) if failure.class == FailureClass::Budget => {
                events.push(Event::RunOverBudget(Box::new(self.ended(Some(failure.message.clone())))));
            }
            Phase::Failed(failure) => {
                events.push(Event::TurnFailed { turn: turn.id, seat: turn.seat, at: self.state.now, failure: failure.clone() });
            }
            _ => return None,
        }
        Some(events)
    }

    fn complete(&self, turn: &Turn, outcome: &Outcome) -> Completed {
        let (mut writes, mut refused) = (Vec::new(), Vec::new());
        let facts = self.facts();
        let mut world = self.state.world.clone();
        for write in &turn.writes {
            let names = Names::plain(&facts, &world);
            let writer = Writer { world: &world, names: &names, agent: Some(turn.seat.agent), blobs: &facts.blobs };
            match writer.recheck(write) {
                Ok(()) => {
                    world.apply(&self.scenario, Some(turn.seat), write);
                    writes.push(write.clone());
                }
                Err(why) => refused.push((write.clone(), why.into())),
            }
        }
        let entry = Entry {
            replica: turn.seat.replica,
            writes,
            sent: turn.sent.clone(),
            says: Vec::new(),
            metrics: Vec::new(),
            refused,
            outcome: outcome.clone(),
        };
        Completed {
            turn: turn.id,
            agent: turn.seat.agent,
            at: self.state.now,
            by: turn.by,
            served: vec![(turn.seat.replica, 1)],
            entries: vec![entry],
            said: turn.said.clone(),
            usage: turn.usage,
        }
    }

    fn handoff_limit(&self, outcome: &Outcome) -> Option<Event> {
        let limit = self.scenario.limits.handoffs;
        let over = matches!(outcome, Outcome::Handoff { .. }) && self.state.counts.handoffs >= limit;
        over.then(|| self.exceeded("handoffs", &format!("{limit}")))
    }

    /// Rules were evaluated: the turns they served are committed.
    pub(super) fn decide_served(&self, mut served: Served) -> Result<Vec<Event>, Refusal> {
        let order = self.order().filter(|o| o.turn == served.turn).ok_or_else(|| Self::stale(served.turn))?;
        if served.count > order.len() || (served.count == 0 && served.failed.is_none()) {
            return Err(Refusal::Invalid(format!("{} mailboxes were served, {} were ordered", served.count, order.len())));
        }
        let (turn, agent, at) = (served.turn, order.agent, self.state.now);
        let mut passed: VecDeque<u32> = served.passed.iter().flat_map(|(first, count)| *first..*first + *count).collect();
        let skipped = passed.len();
        let ours = |replica: &u32| {
            let theirs = passed.front() == Some(replica);
            if theirs {
                passed.pop_front();
            }
            !theirs
        };
        let turns = ranges(order.replicas().take(served.count).filter(ours));
        let mut events: Vec<Event> = served.injected.drain(..).map(Event::FaultInjected).collect();
        if self.state.faults.is_some() {
            for entry in &mut served.entries {
                let turn = TurnId { index: turn.index.saturating_add(place_of(&turns, entry.replica)), ..turn };
                self.strike_messages(turn, Seat { agent, replica: entry.replica }, &mut entry.sent, &mut events);
            }
        }
        if !turns.is_empty() {
            if let Some(end) = served.entries.iter().find_map(|e| self.handoff_limit(&e.outcome)) {
                return Ok(vec![end]);
            }
            events.push(Event::TurnCompleted(Box::new(Completed {
                turn,
                agent,
                at,
                by: AnsweredBy::Rules,
                served: turns,
                entries: served.entries,
                said: Vec::new(),
                usage: Usage::default(),
            })));
        }
        if !served.passed.is_empty() {
            events.push(Event::MessagePassed { turn, agent, passed: served.passed });
        }
        if let Some((replica, failure)) = served.failed {
            let index = turn.index + u32::try_from(served.count - skipped).unwrap_or(u32::MAX);
            let turn = TurnId { wave: turn.wave, index };
            events.push(Event::TurnFailed { turn, seat: Seat { agent, replica }, at, failure });
        }
        Ok(events)
    }

    /// A step ended: its outcome is recorded, and what follows from it is decided.
    pub(super) fn decide_step(&self, step: StepId, outcome: StepOutcome) -> Result<Vec<Event>, Refusal> {
        let turn = self.state.turns.values().find(|t| t.owes(step)).ok_or_else(|| Self::stale(step))?;
        let facts = self.facts();
        let world = self.turn_world(turn);
        let live = self.is_live(turn.seat.agent);
        let recorded = turn.decide(&TurnView { facts: &facts, world: &world, live }, step, outcome);
        let mut events = self.settled(&recorded, turn.seat);
        if let (Phase::Summing { .. }, StepOutcome::Failed(failure)) = (&turn.phase, &recorded.outcome)
            && matches!(recorded.then, Then::Again { .. } | Then::Ready { .. })
        {
            let reason = format!("the conversation was not summarised, its last words stand for it: {}", failure.message).into();
            events.push(Event::TurnDegraded { turn: turn.id, reason });
        }
        if let StepOutcome::Replied(reply) = &recorded.outcome
            && let Some(why) = reply.instead.as_ref().filter(|_| !turn.degraded)
        {
            let reason = format!("{} answered instead: {why}", reply.model);
            events.push(Event::TurnDegraded { turn: turn.id, reason: reason.into() });
        }
        if matches!(recorded.then, Then::Fallback) {
            let why: Arc<str> = match &recorded.outcome {
                StepOutcome::Failed(failure) => failure.message.clone(),
                _ => "the model gave no usable answer".into(),
            };
            events.push(Event::TurnDegraded { turn: turn.id, reason: why });
        }
        events.insert(0, Event::StepRecorded(Box::new(recorded)));
        Ok(events)
    }

    /// The world an `llm` turn sees: the wave's, and its own writes.
    pub fn turn_world(&self, turn: &Turn) -> World {
        let mut world = self.base_world().clone();
        for write in &turn.writes {
            world.apply(&self.scenario, Some(turn.seat), write);
        }
        world
    }

    /// A person's words, for an agent that is there.
    pub(super) fn decide_tell(&self, seat: Seat, text: &str, data: Value) -> Result<Vec<Event>, Refusal> {
        let Some(replicas) = self.state.created.replicas.get(seat.agent.at()) else {
            return Err(Refusal::Invalid("there is no such agent".into()));
        };
        if seat.replica >= *replicas {
            return Err(Refusal::Invalid(format!("there is no replica {} of {replicas}", seat.replica)));
        }
        let agent = &self.scenario.agents[seat.agent.at()];
        if let Some(reason) = self.state.quarantined.get(&seat) {
            return Err(Refusal::Invalid(format!("`{}` is quarantined and hears nobody: {reason}", agent.name)));
        }
        let held = self.state.mail.len(seat);
        if held >= agent.supervision.mailbox as usize {
            return Err(Refusal::Full { agent: agent.name.clone(), held });
        }
        let blobs = self.state.blobs();
        let (text, data) = (Body::new(Value::text(text), &blobs), Body::new(data, &blobs));
        Ok(vec![Event::InputReceived { seat, text, data, at: self.state.now }])
    }

    /// Whether a seat counts towards `limits.turns`.
    pub(super) fn counts_turns(&self, seat: Seat) -> bool {
        self.scenario.agents[seat.agent.at()].kind != AgentKind::Rules
    }

    /// Turns that wait for an answer nobody owes any more: no message can come for them.
    pub(super) fn stranded(&self) -> Option<&Turn> {
        let waits = |t: &&Turn| matches!(t.phase, Phase::Asking { .. });
        let coming = |t: &Turn| {
            let about = |c: &Chain| c.stack.iter().any(|caller| caller.seat == t.seat);
            self.state.mail.apart().any(|m| m.kind == MessageKind::Return || m.chain.as_ref().is_some_and(|c| about(c)))
        };
        self.state.turns.values().map(Box::as_ref).filter(waits).find(|t| !coming(t))
    }
}

/// How many turns of the ranges come before a replica's.
fn place_of(turns: &[(u32, u32)], replica: u32) -> u32 {
    let before = turns.iter().take_while(|(first, count)| first.saturating_add(*count) <= replica).map(|(_, count)| count);
    let within = turns.iter().find(|(first, count)| (*first..first.saturating_add(*count)).contains(&replica));
    before.sum::<u32>() + within.map_or(0, |(first, _)| replica - first)
}

/// Replicas as ranges: first, count.
fn ranges(replicas: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for replica in replicas {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == replica => *count += 1,
            _ => ranges.push((replica, 1)),
        }
    }
    ranges
}

/// The writes of an event, with the seat that made them.
pub(super) fn puts(writes: &[Write]) -> impl Iterator<Item = (crate::id::CollectionIx, &crate::value::Key)> {
    writes.iter().filter_map(|w| match w {
        Write::Put { collection, key, .. } => Some((*collection, key)),
        _ => None,
    })
}
