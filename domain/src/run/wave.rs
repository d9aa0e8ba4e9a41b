//! Waves: for every agent with a deliverable message its first one, in one order that no thread can change.

use std::collections::VecDeque;

use crate::id::AgentIx;
use crate::message::{MessageKind, Seat, TurnId};
use crate::rules::{Batch, Order, SHARD};
use crate::run::Run;
use crate::run::mailboxes::Front;
use crate::turn::Phase;

/// What is left of the wave at hand.
#[derive(Clone, Debug)]
pub(super) struct Wave {
    /// Its number.
    pub(super) number: u32,
    /// The place of the first mailbox that is left.
    pub(super) first: u32,
    /// The mailboxes that are left, in commit order.
    pub(super) slots: VecDeque<Front>,
}

impl Front {
    /// The first of its seats.
    pub(super) fn seat(&self) -> Seat {
        Seat { agent: self.agent, replica: self.first }
    }
}

impl Wave {
    /// The turn of a mailbox that is left, by how many stand before it.
    pub(super) fn turn(&self, n: u32, real: bool) -> TurnId {
        if real {
            TurnId { wave: self.number.saturating_add(n), index: 0 }
        } else {
            TurnId { wave: self.number, index: self.first.saturating_add(n) }
        }
    }

    /// The slots that are left, each with how many mailboxes stand before it.
    pub(super) fn places(&self) -> impl Iterator<Item = (u32, &Front)> {
        self.slots.iter().scan(0u32, |next, slot| {
            let place = *next;
            *next = next.saturating_add(slot.count);
            Some((place, slot))
        })
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

    /// Mailboxes of the wave were served: they go. The next wave is worked out once none is left.
    pub(super) fn pop_slots(&mut self, agent: AgentIx, first: u32, count: u32) {
        let head = |w: &Wave| w.slots.front().is_some_and(|s| s.agent == agent && s.first == first && s.count >= count);
        match &mut self.wave {
            Some(wave) if head(wave) && (wave.slots.len() > 1 || wave.slots[0].count > count) => {
                let slot = &mut wave.slots[0];
                slot.first += count;
                slot.count -= count;
                if slot.count == 0 {
                    wave.slots.pop_front();
                }
                wave.first += count;
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

    fn eligible(&self, wave: u32) -> Vec<Front> {
        let state = &self.state;
        let mut slots: Vec<Front> = (state.mail.fronts(state.now))
            .filter_map(|mut slot| {
                let seat = slot.seat();
                if slot.count == 1 {
                    if state.turns.get(&seat).is_some_and(|t| matches!(t.phase, Phase::Asking { .. })) {
                        slot.message = state.mail.answer(seat)?.clone();
                    }
                    if state.held.get(&seat).is_some_and(|w| *w >= wave) || state.quarantined.contains_key(&seat) {
                        return None;
                    }
                }
                (slot.message.at <= state.now && slot.message.wave <= wave).then_some(slot)
            })
            .collect();
        slots.sort_by_key(|s| (s.message.at, s.message.position, s.message.index, s.seat()));
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
        let ready = |slot: &Front| self.slot_by_rules(slot.seat()) && !self.is_down(slot.seat());
        let head = if self.is_real() { wave.slots.iter().position(ready)? } else { 0 };
        let first = wave.slots.get(head)?;
        if !self.slot_by_rules(first.seat()) {
            return None;
        }
        let agent = first.agent;
        let most = if self.is_real() { 1 } else { u32::try_from(SHARD).unwrap_or(u32::MAX) };
        let (mut mail, mut taken) = (Vec::new(), 0);
        for slot in wave.slots.iter().skip(head).take_while(|s| s.agent == agent && self.slot_by_rules(s.seat())) {
            let count = slot.count.min(most - taken);
            self.batches(slot, count, &mut mail);
            taken += count;
            if taken == most {
                break;
            }
        }
        let turn = if self.is_real() { TurnId { wave: self.state.wave + 1, index: 0 } } else { wave.turn(0, false) };
        let order = Order { turn, agent, facts: self.facts(), world: self.state.world.clone(), mail };
        (!self.is_held(&order)).then_some(order)
    }

    /// The first mailboxes of a slot, together while their ordinals are the same.
    fn batches(&self, slot: &Front, count: u32, mail: &mut Vec<Batch>) {
        let (kind, end) = (slot.message.kind, slot.first + count);
        let batch = |first, end: u32, ordinal| Batch { first, count: end - first, message: slot.message.clone(), ordinal };
        let mut first = slot.first;
        while first < end {
            let ordinal = self.ordinal(Seat { agent: slot.agent, replica: first }, kind);
            let same = |r: &u32| self.ordinal(Seat { agent: slot.agent, replica: *r }, kind) == ordinal;
            // Of ticks there is one, and what is not drawn on is not counted.
            let alike = kind == MessageKind::Tick || self.state.ordinals.is_empty();
            let until = if alike { end } else { (first + 1..end).find(|r| !same(r)).unwrap_or(end) };
            mail.push(batch(first, until, ordinal));
            first = until;
        }
    }

    fn ordinal(&self, seat: Seat, kind: MessageKind) -> u32 {
        self.state.ordinals.get(&(seat, kind)).copied().unwrap_or(0)
    }
}
