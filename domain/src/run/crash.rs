//! Crashes: each counts against the message in hand, for as long as the window is. A pause follows, longer each time, and
//! then the step is owed again. Past the intensity the message is set aside, or what `on_exhausted` says.
//!
//! ```text
//! at work ──crash──▶ down until a moment of wall time ──restart──▶ at work      crash past the intensity ──▶ set aside │ run fails │ fallback
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::draw::share;
use crate::event::{Crash, Event, Failure, FailureClass, StepOutcome};
use crate::message::{Seat, TurnId};
use crate::rules::Order;
use crate::run::{Refusal, Run};
use crate::scenario::{OnExhausted, Supervision};

/// Pauses double at most so often; what they then are is longer than any bound of them.
const MOST_DOUBLINGS: u32 = 64;

/// The crashes over the message in hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crashes {
    /// Wall time of each within the window, oldest first.
    pub times: Vec<i64>,
    /// How many over this message in all.
    pub attempts: u32,
    /// It is down, and started again at this moment of wall time.
    pub until: Option<i64>,
}

/// How often an agent was started again, and why last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// Times.
    pub count: u64,
    /// Which of the block crashed last.
    pub replica: u32,
    /// The last crash's words.
    pub reason: Arc<str>,
}

impl Crashes {
    /// One more.
    pub(super) fn add(&mut self, crash: &Crash, within_ms: i64) {
        self.times.retain(|at| is_within(*at, crash.wall, within_ms));
        self.times.push(crash.wall);
        self.attempts += 1;
        self.until = crash.until;
    }

    /// How many there are with one more at this moment.
    fn with_one_at(&self, wall: i64, within_ms: i64) -> u32 {
        let recent = self.times.iter().filter(|at| is_within(**at, wall, within_ms)).count();
        u32::try_from(recent).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Whether the pause is over. A clock that was set back makes it no longer than the longest there is.
    fn may_restart(&self, wall: i64, longest_ms: i64) -> bool {
        self.until.is_some_and(|until| until <= wall || until.saturating_sub(wall) > longest_ms)
    }
}

/// A clock that was set back takes nothing out of the window.
fn is_within(at: i64, now: i64, within_ms: i64) -> bool {
    now.saturating_sub(at) <= within_ms
}

impl Supervision {
    pub(super) fn within(&self) -> i64 {
        i64::try_from(self.within_ms).unwrap_or(i64::MAX)
    }

    /// The pause after so many crashes: grown from the first one, bounded, and more or less by a share drawn in [0, 1).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds; what is too large is the largest"
    )]
    fn pause_ms(&self, crashes: u32, drawn: f64) -> i64 {
        let growth = self.backoff_factor.max(1.0).powi(crashes.saturating_sub(1).min(MOST_DOUBLINGS) as i32);
        let pause = (self.backoff_initial_ms as f64 * growth).min(self.backoff_max_ms as f64);
        (pause * (1.0 + self.backoff_jitter * (2.0 * drawn - 1.0))) as i64
    }

    fn longest_pause_ms(&self) -> i64 {
        self.pause_ms(u32::MAX, 1.0)
    }
}

impl Run {
    /// A crash counts against the message in hand. Past the intensity the message is set aside as `on_exhausted` says.
    pub(super) fn decide_crash(&self, seat: Seat, turn: TurnId, reason: Arc<str>, wall: i64) -> Result<Vec<Event>, Refusal> {
        if self.state.mail.front(seat).is_none() && !self.state.turns.contains_key(&seat) {
            return Err(Self::stale(turn));
        }
        let agent = &self.scenario.agents[seat.agent.at()];
        let supervision = &agent.supervision;
        let so_far = self.state.crashes.get(&seat);
        let crashes = so_far.map_or(1, |c| c.with_one_at(wall, supervision.within()));
        if crashes <= supervision.max_restarts {
            let attempt = so_far.map_or(0, |c| c.attempts);
            let drawn = share(
                "commedia 2026 backoff v1",
                self.state.created.seed,
                &[seat.replica, turn.wave, turn.index, attempt],
                &agent.name,
            );
            let pause = supervision.pause_ms(crashes, drawn);
            let mut events =
                vec![Event::AgentCrashed(Box::new(Crash { seat, turn, reason, wall, until: Some(wall.saturating_add(pause)) }))];
            if pause == 0 {
                events.push(Event::AgentRestarted { seat, restarts: crashes });
            }
            return Ok(events);
        }
        let message = format!("`{}` crashed {crashes} times over one message: {reason}", agent.name);
        let failure = Self::failure(FailureClass::Crash, message);
        let mut events = vec![Event::AgentCrashed(Box::new(Crash { seat, turn, reason, wall, until: None }))];
        let taken = supervision.on_exhausted == Some(OnExhausted::Fallback) && agent.fallback.is_some();
        if let Some(step) = self.state.turns.get(&seat).filter(|_| taken).and_then(|t| t.pending().first().map(|(step, _)| *step))
        {
            let given_up = self.decide_step(step, StepOutcome::Failed(failure.clone()))?;
            if given_up.iter().any(|e| matches!(e, Event::TurnDegraded { .. })) {
                events.extend(given_up);
                return Ok(events);
            }
        }
        if supervision.on_exhausted != Some(OnExhausted::FailRun) {
            events.push(Event::AgentQuarantined { seat, reason: failure.message.clone() });
        }
        events.push(Event::TurnFailed { turn, seat, at: self.state.now, failure });
        Ok(events)
    }

    /// Agents whose pause is over.
    pub(super) fn restarts_due(&self, wall: i64) -> Vec<Event> {
        let due = self.state.crashes.iter().filter(|(seat, crashes)| {
            crashes.may_restart(wall, self.scenario.agents[seat.agent.at()].supervision.longest_pause_ms())
        });
        due.map(|(seat, crashes)| Event::AgentRestarted { seat: *seat, restarts: crashes.attempts }).collect()
    }

    /// Whether an agent is down.
    pub(super) fn is_down(&self, seat: Seat) -> bool {
        !self.state.crashes.is_empty() && self.state.crashes.get(&seat).is_some_and(|c| c.until.is_some())
    }

    /// Whether somebody that an order is for is down: then nobody of it is served, so that its turns stay one event.
    pub(super) fn is_held(&self, order: &Order) -> bool {
        let down = |replica| self.is_down(Seat { agent: order.agent, replica });
        !self.state.crashes.is_empty() && order.replicas().any(down)
    }

    /// When the first of those that are down is started again.
    pub(super) fn next_restart(&self) -> Option<i64> {
        self.state.crashes.values().filter_map(|c| c.until).min()
    }

    pub(super) fn crashed(&mut self, crash: &Crash) {
        let within = self.scenario.agents[crash.seat.agent.at()].supervision.within();
        self.state.crashes.entry(crash.seat).or_default().add(crash, within);
        let known = self.state.restarts.entry(crash.seat.agent).or_default();
        (known.replica, known.reason) = (crash.seat.replica, crash.reason.clone());
    }

    pub(super) fn restarted(&mut self, seat: Seat) {
        self.state.counts.restarts += 1;
        self.state.restarts.entry(seat.agent).or_default().count += 1;
        if let Some(crashes) = self.state.crashes.get_mut(&seat) {
            crashes.until = None;
        }
    }

    /// What a failed turn does to the run: the caller of a question gets an error, else the agent's supervision says.
    pub(super) fn after_failure(&self, seat: Seat, failure: &Failure, asked: bool) -> AfterFailure {
        let supervision = &self.scenario.agents[seat.agent.at()].supervision;
        match (supervision.on_exhausted, failure.class) {
            _ if asked => AfterFailure::Answer,
            (None, FailureClass::Crash) | (Some(OnExhausted::Quarantine | OnExhausted::Fallback), _) => AfterFailure::SetAside,
            (None | Some(OnExhausted::FailRun), _) => AfterFailure::FailRun,
        }
    }
}

/// What follows a failed turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Whoever asked gets an error.
    Answer,
    /// The message is set aside and the agent with it; the run goes on.
    SetAside,
    /// The run fails.
    FailRun,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Overflow;

    fn supervision(initial: u64, factor: f64, max: u64, jitter: f64) -> Supervision {
        Supervision {
            max_restarts: 5,
            within_ms: 1000,
            backoff_initial_ms: initial,
            backoff_factor: factor,
            backoff_max_ms: max,
            backoff_jitter: jitter,
            on_exhausted: None,
            mailbox: 1,
            overflow: Overflow::Refuse,
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_vary_by_their_share() {
        let plain = supervision(200, 2.0, 10_000, 0.0);
        let pauses: Vec<i64> = [1, 2, 3, 4, 6, 7, 1000, u32::MAX].map(|n| plain.pause_ms(n, 0.5)).into();
        assert_eq!(pauses, [200, 400, 800, 1600, 6400, 10_000, 10_000, 10_000]);
        let jittered = supervision(200, 2.0, 10_000, 0.2);
        let drawn: Vec<i64> = [0.0, 0.25, 0.5, 0.75].map(|d| jittered.pause_ms(1, d)).into();
        assert_eq!(drawn, [160, 180, 200, 220]);
        assert_eq!(jittered.longest_pause_ms(), 12_000);
        assert_eq!(supervision(0, 2.0, 10_000, 0.2).pause_ms(5, 0.9), 0);
    }

    #[test]
    fn a_crash_leaves_the_window_and_a_clock_set_back_prolongs_no_pause() {
        let crash = |wall, until| {
            let at = TurnId { wave: 1, index: 0 };
            let seat = Seat { agent: crate::id::AgentIx(0), replica: 0 };
            Crash { seat, turn: at, reason: "x".into(), wall, until }
        };
        let mut crashes = Crashes::default();
        for wall in [0, 500, 900] {
            crashes.add(&crash(wall, Some(wall + 50)), 1000);
        }
        let rows = [(900, 4), (1000, 4), (1001, 3), (1501, 2), (1901, 1), (-5000, 4)];
        for (wall, count) in rows {
            assert_eq!(crashes.with_one_at(wall, 1000), count, "at {wall}");
        }
        for (wall, may) in [(949, false), (950, true), (-9000, true), (-100, false)] {
            assert_eq!(crashes.may_restart(wall, 2000), may, "at {wall}");
        }
        crashes.add(&crash(1600, None), 1000);
        assert_eq!((crashes.times.as_slice(), crashes.attempts, crashes.may_restart(i64::MAX, 0)), (&[900, 1600][..], 4, false));
    }
}
