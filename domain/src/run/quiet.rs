//! When no message can be delivered: conditions are read, then metrics, then time goes on, or the run is complete.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Event, Fired, FiredAction, Sample};
use crate::expression::Program;
use crate::id::{MetricIx, TriggerIx};
use crate::names::{Facts, Names};
use crate::rules::step_from;
use crate::run::{Refusal, Run};
use crate::scenario::{Metric, MetricAt, Trigger, TriggerAction, TriggerOn};
use crate::tool;
use crate::value::Value;

impl Run {
    /// The next thing at a quiet point.
    pub(super) fn quiet(&self, wall: i64) -> Result<Vec<Event>, Refusal> {
        if let Some(turn) = self.stranded() {
            let failure = Self::failure(crate::event::FailureClass::Tool, "nobody is left to answer its questions");
            return Ok(vec![Event::TurnFailed { turn: turn.id, seat: turn.seat, at: self.state.now, failure }]);
        }
        let unresolved = self.only_unresolved();
        let goes_on = self.state.turns.is_empty() || unresolved && self.is_real();
        if !goes_on {
            return Err(if unresolved { Refusal::Unresolved } else { Refusal::Owed });
        }
        let (fired, fallen) = match self.conditions() {
            Ok(edges) => edges,
            Err(cause) => return Ok(vec![self.failed(cause)]),
        };
        if !fired.is_empty() {
            if self.state.rounds >= self.scenario.limits.max_rounds {
                let name = &self.scenario.triggers[fired[0].at()].name;
                let cause = format!("livelock: `when` triggers fired {} times at one moment, `{name}` last", self.state.rounds);
                return Ok(vec![self.failed(cause)]);
            }
            let facts = self.facts();
            return Ok(self.fire(&fired, &facts, fallen));
        }
        if let Some(sampled) = self.sample_tick() {
            return Ok(vec![sampled]);
        }
        let Some(next) = self.next_moment() else {
            return if unresolved { Err(Refusal::Unresolved) } else { Ok(vec![self.completed()]) };
        };
        if let Some(sim) = self.scenario.limits.sim
            && next > step_from(self.state.created.start, sim)
        {
            let cause = "`limits.sim` is used up".to_owned();
            return Ok(vec![Event::RunTimedOut(Box::new(self.ended(Some(cause.into()))))]);
        }
        if self.is_real() && next > wall {
            return Err(Refusal::Wait(next));
        }
        Ok(self.move_time(next, fallen))
    }

    /// `when` triggers that became true, and those that became false.
    fn conditions(&self) -> Result<(Vec<TriggerIx>, Vec<TriggerIx>), String> {
        let (mut fired, mut fallen) = (Vec::new(), Vec::new());
        if !self.scenario.triggers.iter().any(|t| matches!(t.on, TriggerOn::When(_))) {
            return Ok((fired, fallen));
        }
        let facts = self.facts();
        let names = Names::plain(&facts, &self.state.world);
        for (n, trigger) in self.scenario.triggers.iter().enumerate() {
            let TriggerOn::When(when) = &trigger.on else { continue };
            let holds = truth(when, &names).map_err(|e| format!("trigger `{}`: {e}", trigger.name))?;
            match (self.state.triggers[n].edge, holds) {
                (false, true) => fired.push(TriggerIx::from(n)),
                (true, false) => fallen.push(TriggerIx::from(n)),
                _ => {}
            }
        }
        Ok((fired, fallen))
    }

    /// The next moment of run time at which something happens; `None`: nothing will.
    pub(super) fn next_moment(&self) -> Option<i64> {
        let state = &self.state;
        let timers = state.triggers.iter().filter_map(|t| t.due);
        let delayed = state.mail.next_after(state.now, |seat| !state.quarantined.contains_key(&seat));
        let next = timers.chain(delayed).min();
        match self.last_moment() {
            None => next,
            Some(_) if Some(state.tick) >= state.created.ticks => None,
            Some(last) => Some(next.filter(|at| *at <= last).unwrap_or(i64::MAX).min(self.tick_moment(state.tick + 1))),
        }
    }

    /// The moment of the last tick, where the clock has ticks.
    fn last_moment(&self) -> Option<i64> {
        self.state.created.ticks.filter(|_| self.scenario.clock.tick.is_some()).map(|n| self.tick_moment(n))
    }

    fn tick_moment(&self, tick: u64) -> i64 {
        let n = i64::try_from(tick).unwrap_or(i64::MAX);
        self.scenario.clock.tick.map_or(i64::MAX, |step| {
            let whole = crate::scenario::Step { months: step.months.saturating_mul(n), ms: step.ms.saturating_mul(n) };
            step_from(self.state.created.start, whole)
        })
    }

    fn move_time(&self, to: i64, fallen: Vec<TriggerIx>) -> Vec<Event> {
        let ticks = self.last_moment().is_some() && self.tick_moment(self.state.tick + 1) == to;
        let tick = self.state.tick + u64::from(ticks);
        let due: Vec<TriggerIx> = (self.state.triggers.iter().enumerate())
            .filter(|(_, t)| t.due.is_some_and(|at| at <= to))
            .map(|(n, _)| TriggerIx::from(n))
            .collect();
        let facts = self.facts_at(tick, to);
        let mut events = self.fire(&due, &facts, if ticks { Vec::new() } else { fallen.clone() });
        if ticks {
            events.push(Event::TickAdvanced { tick, at: to, fallen });
        } else if events.is_empty() {
            events.push(Event::TimerFired { at: to, fallen });
        }
        events
    }

    /// The events of triggers that go off at one moment, in declaration order; later ones see what earlier ones wrote.
    fn fire(&self, due: &[TriggerIx], facts: &Facts, mut fallen: Vec<TriggerIx>) -> Vec<Event> {
        let mut world = self.state.world.clone();
        let mut events = Vec::with_capacity(due.len() + 1);
        for ix in due {
            let trigger = &self.scenario.triggers[ix.at()];
            let names = Names::plain(facts, &world);
            let action = self.trigger_action(*ix, trigger, &names);
            if let FiredAction::Called { writes, .. } = &action {
                for write in writes {
                    world.apply(&self.scenario, None, write);
                }
            }
            let fallen = std::mem::take(&mut fallen);
            events.push(Event::TriggerFired(Box::new(Fired { trigger: *ix, at: facts.now, tick: facts.tick, action, fallen })));
        }
        events
    }

    fn trigger_action(&self, ix: TriggerIx, trigger: &Trigger, names: &Names<'_>) -> FiredAction {
        let state = &self.state.triggers[ix.at()];
        let cooling = match (trigger.cooldown, state.last) {
            (Some(cooldown), Some(last)) => names.facts.now < step_from(last, cooldown),
            _ => false,
        };
        let failed = |message: String| FiredAction::Failed { message: message.into() };
        match trigger.if_.as_ref().map_or(Ok(true), |p| truth(p, names)) {
            _ if cooling => FiredAction::Skipped,
            Ok(true) => self.act(&trigger.action, names).unwrap_or_else(failed),
            Ok(false) => FiredAction::Skipped,
            Err(e) => failed(e),
        }
    }

    fn act(&self, action: &TriggerAction, names: &Names<'_>) -> Result<FiredAction, String> {
        let blobs = &names.facts.blobs;
        let build = |data: &Option<crate::scenario::Data>| {
            data.as_ref().map_or(Ok(Value::Null), |d| names.build(d)).map_err(|e| e.message)
        };
        Ok(match action {
            TriggerAction::Tell { to, message, input } => {
                let text = message.as_ref().map(|t| t.render(names)).transpose().map_err(|e| e.message)?;
                let text = text.map(|t| Body::new(Value::text(t), blobs));
                FiredAction::Told { to: *to, text, data: Body::new(build(input)?, blobs) }
            }
            TriggerAction::Call { tool, with } => {
                let input = build(with)?;
                let input = if input == Value::Null { Value::object::<&str>([]) } else { input };
                let done = tool::perform(names, None, *tool, &input, &*self.builtins)?;
                FiredAction::Called { writes: done.writes, sent: done.sent, result: Body::new(done.value, blobs) }
            }
        })
    }

    fn sample_tick(&self) -> Option<Event> {
        let wanted = self.state.tick > 0 && !self.state.sampled;
        let any = || self.scenario.metrics.iter().any(|m| m.at == MetricAt::Tick && m.value.is_some());
        (wanted && any()).then(|| Event::MetricSampled {
            tick: self.state.tick,
            values: self.sample(|m| m.at == MetricAt::Tick && m.value.is_some()),
        })
    }

    /// The values of some metrics, now.
    pub(super) fn sample(&self, which: impl Fn(&Metric) -> bool) -> Vec<Sample> {
        let facts = self.facts();
        let names = Names::plain(&facts, &self.state.world);
        (self.scenario.metrics.iter().enumerate())
            .filter(|(_, m)| which(m))
            .map(|(n, metric)| {
                let given = || self.state.metrics[n].last.ok_or_else(|| Arc::from("no rule gave it a value"));
                let read = |p: &Program| {
                    let value = p.eval(&names, facts.limit()).map_err(|e| Arc::from(e.message.as_str()))?;
                    let number = match value {
                        Value::Bool(b) => Some(f64::from(u8::from(b))),
                        ref other => other.as_f64(),
                    };
                    number.filter(|v| v.is_finite()).ok_or_else(|| Arc::from(format!("{} is no finite number", value.to_json())))
                };
                let result: Result<f64, Arc<str>> = metric.value.as_ref().map_or_else(given, read);
                Sample { metric: MetricIx::from(n), value: result.as_ref().ok().copied(), error: result.err() }
            })
            .collect()
    }
}

fn truth(program: &Program, names: &Names<'_>) -> Result<bool, String> {
    match program.eval(names, names.facts.limit()) {
        Ok(Value::Bool(b)) => Ok(b),
        Ok(other) => Err(format!("`{}` must be true or false, and is a {}", program.source(), other.kind())),
        Err(e) => Err(e.message),
    }
}
