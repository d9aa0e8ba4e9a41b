//! How much lies in a run's mailboxes, for the gauge: told when the run begins to wait, for its time or for what is outside, and
//! else once a second at most. What was told of a run is taken back when its orchestrator goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use commedia_domain::id::AgentIx;
use commedia_domain::run::Run;
use commedia_domain::scenario::Scenario;

use crate::metrics::Metrics;

/// How often it is told of a run that works.
const EVERY: Duration = Duration::from_secs(1);
/// Mailboxes that are counted whenever a run waits for what is outside; more are only counted so often.
const FEW: usize = 64;

/// What was told of one run.
pub(crate) struct Depth {
    metrics: Arc<Metrics>,
    scenario: Arc<Scenario>,
    told: BTreeMap<AgentIx, i64>,
    at: Instant,
}

impl Depth {
    pub(crate) fn new(metrics: Arc<Metrics>, scenario: Arc<Scenario>, now: Instant) -> Depth {
        Depth { metrics, scenario, told: BTreeMap::new(), at: now }
    }

    /// Tells, if the last time was long enough ago, or the run waits for what is outside.
    pub(crate) fn look(&mut self, run: &Run, is_outside: bool, now: Instant) {
        if now.duration_since(self.at) >= EVERY || is_outside && run.state().mail.boxes() <= FEW {
            self.tell(run, now);
        }
    }

    /// Tells now.
    pub(crate) fn tell(&mut self, run: &Run, now: Instant) {
        self.at = now;
        let held = if run.state().mail.is_empty() { BTreeMap::new() } else { run.state().mail.held() };
        if held.is_empty() && self.told.is_empty() {
            return;
        }
        self.change_to(held.into_iter().map(|(agent, count)| (agent, i64::try_from(count).unwrap_or(i64::MAX))).collect());
    }

    fn change_to(&mut self, held: BTreeMap<AgentIx, i64>) {
        let before = std::mem::replace(&mut self.told, held);
        let gone = before.keys().filter(|agent| !self.told.contains_key(agent));
        for agent in self.told.keys().chain(gone) {
            let of = |told: &BTreeMap<AgentIx, i64>| told.get(agent).copied().unwrap_or(0);
            let name = self.scenario.agents.get(agent.at()).map_or("", |agent| &*agent.name);
            let gauge = self.metrics.mailbox_depth.with_label_values(&[&*self.scenario.name, name]);
            gauge.add(of(&self.told).saturating_sub(of(&before)));
        }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        self.change_to(BTreeMap::new());
    }
}
