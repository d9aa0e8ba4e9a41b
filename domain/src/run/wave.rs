//! Waves: for every agent with a deliverable message its first one, in one order that no thread can change.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{Message, MessageKind, Seat, TurnId};
use crate::rules::{Order, SHARD};
use crate::run::Run;
use crate::turn::Phase;

/// A mailbox to be served.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// Whose.
    pub(super) seat: Seat,
    /// Its first message.
    pub(super) message: Arc<Message>,
}

/// What is left of the wave at hand.
#[derive(Clone, Debug)]
pub(super) struct Wave {
    /// Its number.
    pub(super) number: u32,
    /// The place of the first slot that is left.
    pub(super) first: u32,
    /// The slots that are left, in commit order.
    pub(super) slots: VecDeque<Slot>,
}

impl Wave {
    /// The turn of a slot that is left.
    pub(super) fn turn(&self, n: usize, real: bool) -> TurnId {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        if real {
            TurnId { wave: self.number.saturating_add(n), index: 0 }
        } else {
            TurnId { wave: self.number, index: self.first.saturating_add(n) }
        }
    }
}

impl Run {
    /// The wave at hand; `None` where no message can be delivered now.
    pub(super) fn wave_at_hand(&self) -> Option<&Wave> {
        self.wave.as_ref()
    }

    /// Works the wave out from the state again.
    pub(super) fn renew_wave(&mut self) {
        self.wave = self.form_wave();
    }

    /// A mailbox of the wave was served: its slot goes. The next wave is worked out once none is left.
    pub(super) fn pop_slot(&mut self, seat: Seat) {
        let head = |w: &Wave| w.slots.front().is_some_and(|s| s.seat == seat);
        match &mut self.wave {
            Some(wave) if head(wave) && wave.slots.len() > 1 => {
                wave.slots.pop_front();
                wave.first += 1;
            }
            _ => self.wave = None,
        }
    }

    fn form_wave(&self) -> Option<Wave> {
        if self.state.mail.is_empty() {
            return None;
        }
        if self.is_real() {
            let slots = self.eligible(u32::MAX);
            return (!slots.is_empty()).then(|| Wave { number: self.state.wave + 1, first: 0, slots: slots.into() });
        }
        let at_hand = self.state.wave;
        let slots = self.eligible(at_hand);
        if !slots.is_empty() {
            return Some(Wave { number: at_hand, first: self.state.served, slots: slots.into() });
        }
        let slots = self.eligible(at_hand + 1);
        (!slots.is_empty()).then(|| Wave { number: at_hand + 1, first: 0, slots: slots.into() })
    }

    fn eligible(&self, wave: u32) -> Vec<Slot> {
        let state = &self.state;
        let mut slots: Vec<Slot> = (state.mail.iter())
            .filter_map(|(seat, queue)| {
                let waiting = state.turns.get(seat).is_some_and(|t| matches!(t.phase, Phase::Asking { .. }));
                let message = if waiting { queue.iter().find(|m| m.kind == MessageKind::Return)? } else { queue.front()? };
                let held = state.held.get(seat).is_some_and(|w| *w >= wave);
                let due = message.at <= state.now && message.wave <= wave && !held && !state.quarantined.contains_key(seat);
                due.then(|| Slot { seat: *seat, message: message.clone() })
            })
            .collect();
        slots.sort_by_key(|s| (s.message.at, s.message.position, s.message.index, s.seat));
        slots
    }

    /// Whether a slot is decided by rules: its agent's kind, no model, or a turn that fell back.
    pub(super) fn slot_by_rules(&self, seat: Seat) -> bool {
        let fell_back = self.state.turns.get(&seat).is_some_and(|t| t.phase == Phase::Fallback);
        fell_back || self.state.by_rules(&self.scenario.agents[seat.agent.at()])
    }

    /// The rules to evaluate next: the slots of one block at the head of the wave. `None` where the head is none of rules.
    pub(super) fn order(&self) -> Option<Order> {
        if self.must_end().is_some() {
            return None;
        }
        let wave = self.wave_at_hand()?;
        let head = if self.is_real() { wave.slots.iter().position(|s| self.slot_by_rules(s.seat))? } else { 0 };
        let first = wave.slots.get(head)?;
        if !self.slot_by_rules(first.seat) {
            return None;
        }
        let agent = first.seat.agent;
        let mail = (wave.slots.iter().skip(head))
            .take_while(|s| s.seat.agent == agent && self.slot_by_rules(s.seat))
            .take(if self.is_real() { 1 } else { SHARD })
            .map(|s| (s.seat.replica, s.message.clone(), self.ordinal(s.seat, s.message.kind)))
            .collect();
        let turn = if self.is_real() { TurnId { wave: self.state.wave + 1, index: 0 } } else { wave.turn(head, false) };
        Some(Order { turn, agent, facts: self.facts(), world: self.state.world.clone(), mail })
    }

    fn ordinal(&self, seat: Seat, kind: MessageKind) -> u32 {
        self.state.ordinals.get(&(seat, kind)).copied().unwrap_or(0)
    }
}
