//! A run with nothing to do before a moment of wall time: it waits, gives way where its place is wanted, and is passivated.
//!
//! Passivated, it is an entry in the table of timers and its log, nothing else. The order of the steps in `leave` is what
//! no timer and no waiter is lost by, whoever wakes the run meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{ActorProcessingErr, ActorRef};

use super::{OrchestratorMsg, State};
use crate::points::{Point, pass};
use crate::store::{AppendError, Mark};

/// The reason an orchestrator stops with whose run is passivated.
pub(crate) const PASSIVATED: &str = "passivated";
/// Events behind the last snapshot above which passivation takes one: a shorter tail is folded as quickly.
const LONG_TAIL: u64 = 64;

/// What is known of a wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// The moment of wall time before which nothing happens.
    pub(super) at: i64,
    /// The moment from which the orchestrator may go.
    idle_at: i64,
    since: Instant,
}

impl State {
    /// Nothing happens before a moment: what was decided becomes durable, and the actors of agents stop.
    pub(super) async fn wait(&mut self, at: i64, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        if self.wait.as_ref().is_some_and(|wait| wait.at == at) {
            self.shared.timers.set(&self.live.id, at);
            return Ok(());
        }
        self.settle(at).await?;
        if self.live.start.until_wait || self.shared.passivate_after == Some(Duration::ZERO) || self.shared.places.are_wanted() {
            self.leave();
            myself.stop(Some(PASSIVATED.into()));
            return Ok(());
        }
        let after = self.shared.passivate_after.and_then(|after| i64::try_from(after.as_millis()).ok()).unwrap_or(i64::MAX);
        let idle_at = self.shared.clock.now_ms().saturating_add(after);
        self.wait = Some(Wait { at, idle_at, since: Instant::now() });
        self.shared.timers.set(&self.live.id, at);
        self.shared.timers.set_idle(&self.live.id, idle_at);
        Ok(())
    }

    /// It waits from now on, durably.
    pub(super) async fn settle(&mut self, at: i64) -> Result<(), AppendError> {
        self.go_on();
        self.wait = Some(Wait { at, idle_at: i64::MAX, since: Instant::now() });
        self.flush().await?;
        self.depth.tell(&self.run, Instant::now());
        self.relist().await?;
        std::mem::take(&mut self.agents).into_values().for_each(|actor| actor.stop(None));
        self.doing = std::collections::HashMap::new();
        self.live.is_stored();
        Ok(())
    }

    /// A real clock's timer; one at a time, and asking again costs nothing.
    pub(super) async fn sleep_until(&mut self, at: i64) -> Result<(), ActorProcessingErr> {
        if self.woken == Some(at) {
            return Ok(());
        }
        self.flush().await?;
        self.forget_timer();
        self.woken = Some(at);
        self.shared.timers.set(&self.live.id, at);
        Ok(())
    }

    pub(super) fn forget_timer(&mut self) {
        if let Some(at) = self.woken.take() {
            self.shared.timers.unset(&self.live.id, at);
        }
    }

    /// What lists show where it changes without an event: a run that turns out to have nothing to do.
    pub(super) async fn relist(&mut self) -> Result<(), AppendError> {
        let waits = self.wait.map(|wait| wait.at);
        if !self.meta.is_outdated(self.run.state(), waits) {
            return Ok(());
        }
        pass(Point::RelistBefore);
        let (meta, live) = self.meta.update(self.run.state(), waits, self.shared.clock.now_ms());
        let stream = self.log.stream().clone();
        let lease = self.shared.store.lease(&stream);
        self.shared.store.mark(Mark { stream, expected: self.log.head(), lease, meta, live }).await?;
        pass(Point::RelistAfter);
        Ok(())
    }

    /// Wall time since the start or the last resume; waiting is not counted.
    pub(super) fn worked(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.wait.map_or(Duration::ZERO, |wait| wait.since.elapsed()))
    }

    /// The wait is over; `limits.wall` does not count it.
    pub(super) fn go_on(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.shared.timers.unset(&self.live.id, wait.at);
            self.shared.timers.unset_idle(&self.live.id, wait.idle_at);
            self.began += wait.since.elapsed();
        }
    }

    /// Its place is wanted, or it has waited long enough.
    pub(super) fn give_way(&mut self, myself: &ActorRef<OrchestratorMsg>) {
        if self.wait.is_some() {
            self.leave();
            myself.stop(Some(PASSIVATED.into()));
        } else if self.shared.places.are_wanted() {
            // It has work by now: another one is asked.
            self.shared.ask_to_give_way();
        }
    }

    /// The run has no orchestrator from now on. First whoever waits for the run is put where a waking finds him, then the run is no longer
    /// live, and last the timer is set: a timer that went off before found the run live, and is set again here.
    pub(super) fn leave(&mut self) {
        let Some(wait) = self.wait else { return };
        pass(Point::PassivateBefore);
        self.snapshot(LONG_TAIL);
        if self.live.start.until_wait {
            let loaded = self.loaded();
            self.live.finish(Ok(loaded));
        } else if self.live.is_awaited() {
            self.shared.registry.park(Arc::clone(&self.live));
        }
        let (live, shared) = (&self.live, &self.shared);
        shared.registry.remove(&live.id);
        live.leave_place();
        shared.timers.unset_idle(&live.id, wait.idle_at);
        shared.timers.set(&live.id, wait.at);
        pass(Point::PassivateAfter);
    }
}
