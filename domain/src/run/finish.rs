//! How a run ends: its result, metrics and checks are read, once.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Checked, Ended, Event};
use crate::names::Names;
use crate::run::state::{Ending, Status};
use crate::run::{Refusal, Run};
use crate::scenario::OnExceed;
use crate::turn::Phase;
use crate::value::Value;

impl Run {
    /// The event that ends the run now, if it must.
    pub(super) fn must_end(&self) -> Option<Event> {
        match &self.state.ending {
            Some(Ending::Done) => return Some(self.completed()),
            Some(Ending::Failed(cause)) => return Some(self.failed(cause.clone())),
            None => {}
        }
        let limits = &self.scenario.limits;
        let state = &self.state;
        let over = |count: u64, limit: u64, name: &str| (count > limit).then(|| self.exceeded(name, &limit.to_string()));
        // Where fallbacks are to answer, the budgets refuse what is too much, and the run goes on.
        let ends = limits.on_exceed != OnExceed::Fallback || state.mode() != "live";
        // Turns that have begun count before they are committed, so that no more than the limit ever run.
        let open = || state.turns.values().filter(|t| !matches!(t.phase, Phase::Fallback)).count() as u64;
        let near = state.counts.turns + state.turns.len() as u64 > limits.turns;
        (if near { over(state.counts.turns + open(), limits.turns, "turns") } else { None })
            .or_else(|| over(state.counts.events, limits.events, "events"))
            .or_else(|| {
                limits.tokens.filter(|_| ends).and_then(|l| over(state.usage.tokens_in + state.usage.tokens_out, l, "tokens"))
            })
            .or_else(|| {
                let limit = limits.cost_usd.filter(|l| ends && state.usage.cost_usd > *l)?;
                Some(self.exceeded("cost_usd", &limit.to_string()))
            })
            .or_else(|| {
                let agents = self.scenario.agents.iter().zip(&state.counts.by_agent);
                let mut over = agents.filter_map(|(a, n)| a.limits.turns.filter(|l| n > l).map(|l| (a, l)));
                over.next().map(|(a, l)| self.exceeded(&format!("turns of agent `{}`", a.name), &l.to_string()))
            })
    }

    /// A limit was passed: what `on_exceed` says.
    pub(super) fn exceeded(&self, name: &str, limit: &str) -> Event {
        let cause: Arc<str> = format!("`limits.{name}` of {limit} is used up").into();
        match self.scenario.limits.on_exceed {
            OnExceed::Pause => Event::RunPaused { reason: cause },
            OnExceed::Fail | OnExceed::Fallback => Event::RunOverBudget(Box::new(self.ended(Some(cause)))),
        }
    }

    /// An operator's word on a quarantined run. Nothing is computed for one that is to fail: that may be what it crashes over.
    pub(super) fn decide_release(&self, fail: bool) -> Result<Vec<Event>, Refusal> {
        let Status::Quarantined { reason, .. } = &self.state.status else {
            return Err(Refusal::Invalid("only a quarantined run can be released".into()));
        };
        if !fail {
            return Ok(vec![Event::RunReleased]);
        }
        let cause: Arc<str> = format!("released to fail; it crashed: {reason}").into();
        let ended = Ended { at: self.state.now, cause: Some(cause), ..Ended::default() };
        Ok(vec![Event::RunReleased, Event::RunFailed(Box::new(ended))])
    }

    pub(super) fn completed(&self) -> Event {
        Event::RunCompleted(Box::new(self.ended(None)))
    }

    pub(super) fn failed(&self, cause: impl Into<Arc<str>>) -> Event {
        Event::RunFailed(Box::new(self.ended(Some(cause.into()))))
    }

    /// Result, metrics and checks as they stand.
    pub(super) fn ended(&self, cause: Option<Arc<str>>) -> Ended {
        let metrics = self.sample(|_| true);
        let values = Value::object(metrics.iter().map(|s| {
            let name = self.scenario.metrics[s.metric.at()].name.clone();
            (name, s.value.map_or(Value::Null, Value::Double))
        }));
        let facts = self.facts();
        let trace = Value::list(self.state.trace.iter().cloned());
        let names = Names { metrics: Some(&values), trace: Some(&trace), ..Names::plain(&facts, &self.state.world) };
        let checks = (self.scenario.checks.iter().enumerate())
            .map(|(n, check)| {
                let (passed, error) = match check.that.eval(&names, facts.limit()) {
                    Ok(Value::Bool(passed)) => (passed, None),
                    Ok(other) => (false, Some(format!("it must be true or false, and is a {}", other.kind()).into())),
                    Err(e) => (false, Some(e.message.into())),
                };
                Checked { check: u16::try_from(n).unwrap_or(u16::MAX), passed, error }
            })
            .collect();
        let spoken = |agent: crate::id::AgentIx| self.state.outputs[agent.at()].clone();
        let result = match (self.scenario.result, self.scenario.starts.first()) {
            (Some(agent), _) => spoken(agent),
            (None, Some(start)) => spoken(start.agent),
            (None, None) => None,
        };
        let result = Body::new(result.unwrap_or(values), &facts.blobs);
        Ended { at: self.state.now, result, metrics, checks, cause }
    }
}
