//! Turns made true: one by one, or as many of a block as were served together, over one message.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Completed, Entry, Outcome, WakeAt, Write};
use crate::id::AgentIx;
use crate::message::{Message, MessageKind, Seat, TurnId};
use crate::run::Run;
use crate::run::commit::puts;
use crate::run::sleep::Sleepers;
use crate::turn::Phase;
use crate::value::Value;

impl Run {
    /// A mailbox of a wave is worked off: the first of a new wave begins it.
    pub(super) fn enter_wave(&mut self, wave: u32) {
        if wave > self.state.wave {
            if !self.is_real() {
                self.state.base = Some(self.state.world.clone());
            }
            self.state.wave = wave;
            self.state.served = 0;
            self.state.held.clear();
        }
    }

    /// Takes a served mailbox's message out of it.
    pub(super) fn consume(&mut self, seat: Seat, turn: TurnId) -> Option<Arc<Message>> {
        self.enter_wave(turn.wave);
        self.state.served += 1;
        let asking = self.state.turns.get(&seat).is_some_and(|t| matches!(t.phase, Phase::Asking { .. }));
        let (message, more) = self.state.mail.take(seat, asking)?;
        if more {
            self.state.held.insert(seat, self.state.wave);
        }
        if message.kind != MessageKind::Tick && !self.scenario.agents[seat.agent.at()].draws.is_empty() {
            *self.state.ordinals.entry((seat, message.kind)).or_default() += 1;
        }
        Some(message)
    }

    pub(super) fn count_turns(&mut self, agent: AgentIx, first: u32, count: u32) {
        let seat = Seat { agent, replica: first };
        if self.counts_turns(seat) {
            self.state.counts.turns += u64::from(count);
        } else {
            self.state.counts.rules_turns += u64::from(count);
        }
        self.state.counts.by_agent[agent.at()] += u64::from(count);
        self.forget_crashes(agent, first, count);
        self.settle_strikes(agent, first, count, true);
    }

    /// A crash counts against the message in hand only.
    fn forget_crashes(&mut self, agent: AgentIx, first: u32, count: u32) {
        if !self.state.crashes.is_empty() {
            for replica in first..first + count {
                self.state.crashes.remove(&Seat { agent, replica });
            }
        }
    }

    /// Mailboxes whose message is none for them: it goes, and no turn was.
    pub(super) fn passed(&mut self, turn: TurnId, agent: AgentIx, passed: &[(u32, u32)]) {
        self.enter_wave(turn.wave);
        for (first, count) in passed {
            let end = first.saturating_add(*count);
            let mut at = *first;
            while at < end {
                let seat = Seat { agent, replica: at };
                let to = self.state.mail.cast_at(seat).map_or(at + 1, |(_, reach)| reach.min(end));
                if to - at == 1 {
                    if self.state.mail.take(seat, false).is_some_and(|(_, more)| more) {
                        self.state.held.insert(seat, self.state.wave);
                    }
                } else {
                    self.take_cast(agent, at, to);
                }
                self.state.served += to - at;
                self.forget_crashes(agent, at, to - at);
                self.settle_strikes(agent, at, to - at, true);
                self.pop_slots(agent, at, to - at);
                at = to;
            }
        }
        self.after_commit();
    }

    pub(super) fn take_cast(&mut self, agent: AgentIx, first: u32, end: u32) {
        let (held, wave) = (&mut self.state.held, self.state.wave);
        self.state.mail.take_cast(agent, first, end, |seat| {
            held.insert(seat, wave);
        });
    }

    pub(super) fn completed_turn(&mut self, completed: &Completed) {
        let result = self.result.take().filter(|r| r.turn == completed.turn && r.from.is(&self.state.world));
        let writes = result.is_none() || cfg!(debug_assertions);
        let mut entries = &completed.entries[..];
        let mut index = completed.turn.index;
        for (first, count) in &completed.served {
            let end = first.saturating_add(*count);
            let mut at = *first;
            while at < end {
                let seat = Seat { agent: completed.agent, replica: at };
                let cast = self.state.mail.cast_at(seat).map(|(message, reach)| (message.clone(), reach.min(end)));
                let to = match cast {
                    Some((message, to)) => {
                        let mine = entries.iter().take_while(|e| (at..to).contains(&e.replica)).count();
                        self.completed_cast(completed, (at, to), &message, &entries[..mine], writes);
                        entries = &entries[mine..];
                        to
                    }
                    None => {
                        let mine = entries.split_first().filter(|(e, _)| e.replica == at);
                        entries = mine.map_or(entries, |(_, rest)| rest);
                        self.completed_one(completed, seat, index, mine.map(|(e, _)| e), writes);
                        at + 1
                    }
                };
                index = index.saturating_add(to - at);
                at = to;
            }
        }
        if let Some(result) = result {
            debug_assert_eq!(self.state.world, result.world, "the world a shard left is not what its writes make of the former");
            self.state.world = result.world;
        }
        self.state.usage.add(&completed.usage);
        self.after_commit();
    }

    fn completed_one(&mut self, completed: &Completed, seat: Seat, index: u32, entry: Option<&Entry>, writes: bool) {
        let open = self.state.turns.get(&seat);
        let slot = open.map_or(TurnId { wave: completed.turn.wave, index }, |t| t.slot);
        let served = self.consume(seat, slot);
        let turn = self.state.turns.remove(&seat);
        self.count_turns(seat.agent, seat.replica, 1);
        // A resumed turn handles what it began with; the message in the mailbox was the answer.
        let (message, summary) = match turn {
            Some(turn) => {
                self.state.budget.abandon(turn.id);
                (Some(turn.message), turn.summary)
            }
            None => (served, None),
        };
        if let Some(message) = message {
            let idle = Entry::default();
            self.commit_entry(seat, completed, entry.unwrap_or(&idle), (&message, summary.as_ref()), writes);
        }
        self.pop_slots(seat.agent, seat.replica, 1);
    }

    /// As many turns over one message: what is the same for all is done once. No turn of such a block is ever open.
    fn completed_cast(
        &mut self,
        completed: &Completed,
        (first, end): (u32, u32),
        message: &Arc<Message>,
        entries: &[Entry],
        writes: bool,
    ) {
        let agent = completed.agent;
        let spec = self.scenario.agents[agent.at()].clone();
        self.enter_wave(completed.turn.wave);
        self.state.served += end - first;
        self.count_turns(agent, first, end - first);
        self.pop_slots(agent, first, end - first);
        if message.kind != MessageKind::Tick && !spec.draws.is_empty() {
            for replica in first..end {
                *self.state.ordinals.entry((Seat { agent, replica }, message.kind)).or_default() += 1;
            }
        }
        let heard = |e: &Entry| puts(&e.writes).any(|(c, _)| self.scenario.agents.iter().any(|a| a.handles.hears(c)));
        let quiet = |e: &Entry| e.sent.is_empty() && e.outcome == Outcome::Done && !heard(e);
        if !(message.kind.has_floor() && spec.next.is_some()) && entries.iter().all(quiet) {
            self.take_cast(agent, first, end);
            for entry in entries {
                self.commit_changes(Seat { agent, replica: entry.replica }, entry, writes);
            }
            self.state.position += u64::from(end - first);
            return;
        }
        let mut entries = entries.iter().peekable();
        let idle = Entry::default();
        for replica in first..end {
            self.take_cast(agent, replica, replica + 1);
            let entry = entries.next_if(|e| e.replica == replica).unwrap_or(&idle);
            self.commit_entry(Seat { agent, replica }, completed, entry, (message, None), writes);
        }
    }

    pub(super) fn after_commit(&mut self) {
        if self.wave.is_none() || self.is_real() {
            self.renew_wave();
        }
    }

    /// What an entry changes in the world and in metrics.
    fn commit_changes(&mut self, seat: Seat, entry: &Entry, writes: bool) {
        for write in &entry.writes {
            match write {
                Write::Wake { at } => self.sleep(seat, *at),
                _ if writes => self.state.world.apply(&self.scenario, Some(seat), write),
                _ => {}
            }
        }
        for (metric, value) in &entry.metrics {
            let state = &mut self.state.metrics[metric.at()];
            state.series.push((self.state.tick, *value));
            state.last = Some(*value);
        }
    }

    /// No ticks until then; a time that has come wakes.
    fn sleep(&mut self, seat: Seat, at: WakeAt) {
        let replicas = self.state.created.replicas[seat.agent.at()];
        let over = match at {
            WakeAt::Tick(tick) => tick <= self.state.tick,
            WakeAt::Moment(moment) => moment <= self.state.now,
        };
        if !over {
            self.state.asleep.entry(seat.agent).or_insert_with(|| Sleepers::new(replicas)).sleep(seat.replica, at);
        } else if let Some(sleepers) = self.state.asleep.get_mut(&seat.agent) {
            sleepers.wake(seat.replica);
        }
    }

    /// What an entry leads to; where the floor is handed off, a summary that a model made goes along.
    fn commit_entry(
        &mut self,
        seat: Seat,
        completed: &Completed,
        entry: &Entry,
        (message, summary): (&Message, Option<&Body>),
        writes: bool,
    ) {
        self.commit_changes(seat, entry, writes);
        self.state.position += 1;
        let mut index = self.send(Some(seat.agent), &entry.sent);
        index = self.tell_records(Some(seat.agent), &entry.writes, index);
        let history = message.chain.as_ref().map(|c| c.history.clone()).unwrap_or_default();
        let said = self.said(seat, completed, entry, message);
        match &entry.outcome {
            Outcome::Done if message.kind.has_floor() => {
                let output = entry.says.last().map_or(Value::Null, |b| b.value().clone());
                self.final_output(seat, message, output, &history, &said, false);
            }
            Outcome::Done => {}
            Outcome::Final { output } => self.final_output(seat, message, output.value().clone(), &history, &said, true),
            Outcome::Handoff { to, carry, text, data } => {
                self.state.counts.handoffs += 1;
                let history = self.carry(*carry, &history, &said, summary);
                self.pass(seat, *to, message, text.as_ref(), data.value().clone(), history, index);
            }
        }
    }
}
