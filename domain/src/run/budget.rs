//! Budgets: what a step that asks a model outside the process may need at most is held before it is asked.
//!
//! ```text
//! wanted ──room──▶ reserved ──answer──▶ settled (what it took)
//!   │                  └──no answer──▶ settled (all that was held: nobody knows)
//!   └──no room──▶ waits while others hold some of it ──nobody does──▶ refused
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Amount, AnsweredBy, Event, Failure, FailureClass, ModelBinding, Recorded, StepOutcome, Then, Usage};
use crate::id::AgentIx;
use crate::message::{Seat, StepId, TurnId};
use crate::run::{Refusal, Run};
use crate::scenario::OnExceed;
use crate::turn::{Phase, Turn};

/// Bound of an answer where the model alias says none and a budget counts on one.
pub const DEFAULT_OUTPUT_TOKENS: u32 = 4096;

/// A step that is about to ask a model, and what it may need at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The step.
    pub step: StepId,
    /// How much at most.
    pub amount: Amount,
}

/// The state of a run's budgets. What is spent and what is held never exceed one by what models are asked; only an answer that
/// took more than was estimated can. A refusal is a recorded outcome: a replay asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// What is held, by step.
    open: BTreeMap<StepId, (AgentIx, Amount)>,
    /// What was spent, by agent.
    spent: BTreeMap<AgentIx, Amount>,
    /// What the workspace gave.
    grant: Option<Grant>,
}

/// What the workspace gave a run of its budget of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The day, from 1970-01-01, UTC.
    pub day: i64,
    /// How much of it, all in all.
    pub given: Amount,
    /// How much of that was spent.
    pub used: Amount,
}

/// What a budget is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Run,
    Agent(AgentIx),
    Workspace,
}

impl Amount {
    /// Of a step's usage.
    pub fn of(usage: &Usage) -> Amount {
        Amount { tokens: usage.tokens_in.saturating_add(usage.tokens_out), micro_usd: micro_usd(usage.cost_usd) }
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount { tokens: self.tokens.saturating_add(other.tokens), micro_usd: self.micro_usd.saturating_add(other.micro_usd) }
    }

    /// What is left; nothing below nothing.
    #[must_use]
    pub fn less(self, other: Amount) -> Amount {
        Amount { tokens: self.tokens.saturating_sub(other.tokens), micro_usd: self.micro_usd.saturating_sub(other.micro_usd) }
    }

    /// Of each the smaller one.
    #[must_use]
    pub fn at_most(self, other: Amount) -> Amount {
        Amount { tokens: self.tokens.min(other.tokens), micro_usd: self.micro_usd.min(other.micro_usd) }
    }

    /// Whether it is nothing.
    pub fn is_nothing(self) -> bool {
        self == Amount::default()
    }
}

/// What something costs in millionths, rounded up: nothing is a little cheaper than it is.
pub fn micro_usd(usd: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below, and a saturating cast")]
    let micros = (usd.max(0.0) * 1e6 - 1e-6).ceil() as u64;
    micros
}

/// Millionths as what they are of.
pub fn usd(micro_usd: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sums of money stay far below 2^53 millionths")]
    let micros = micro_usd as f64;
    micros / 1e6
}

/// A bound in millionths, rounded down: no budget is a little larger than it was said to be.
pub fn bound_micro_usd(usd: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below, and a saturating cast")]
    let micros = (usd.max(0.0) * 1e6 + 1e-6).floor() as u64;
    micros
}

impl Budget {
    fn held(&self, scope: Scope) -> Amount {
        let of = |agent: &AgentIx| !matches!(scope, Scope::Agent(a) if a != *agent);
        self.open.values().filter(|(agent, _)| of(agent)).fold(Amount::default(), |sum, (_, amount)| sum.plus(*amount))
    }

    fn spent(&self, scope: Scope) -> Amount {
        match scope {
            Scope::Run => self.spent.values().fold(Amount::default(), |sum, amount| sum.plus(*amount)),
            Scope::Agent(agent) => self.spent.get(&agent).copied().unwrap_or_default(),
            Scope::Workspace => self.grant.map_or(Amount::default(), |g| g.used),
        }
    }

    fn reserve(&mut self, step: StepId, agent: AgentIx, amount: Amount) {
        self.open.insert(step, (agent, amount));
    }

    fn settle(&mut self, step: StepId, agent: AgentIx, amount: Amount) {
        self.open.remove(&step);
        let spent = self.spent.entry(agent).or_default();
        *spent = spent.plus(amount);
        if let Some(grant) = &mut self.grant {
            grant.used = grant.used.plus(amount);
        }
    }

    /// A turn is over: what is still held for its steps counts as spent, because nobody will know.
    pub(super) fn abandon(&mut self, turn: TurnId) {
        let of_turn: Vec<_> = self.open.iter().filter(|(step, _)| step.turn == turn).map(|(s, held)| (*s, *held)).collect();
        for (step, (agent, amount)) in of_turn {
            self.settle(step, agent, amount);
        }
    }

    /// What the workspace gave, and what was spent of it.
    pub fn grant(&self) -> Option<Grant> {
        self.grant
    }

    /// What was spent, what is held.
    pub fn totals(&self) -> (Amount, Amount) {
        (self.spent(Scope::Run), self.held(Scope::Run))
    }

    /// What of a day's grant nobody needs: not spent, and not held.
    pub fn left_of_grant(&self) -> Option<(i64, Amount)> {
        let grant = self.grant?;
        Some((grant.day, grant.given.less(grant.used).less(self.held(Scope::Workspace))))
    }
}

impl Run {
    /// Whether asking an agent's model is counted against a budget of the run's scenario.
    pub fn has_budget(&self, agent: AgentIx) -> bool {
        let (limits, own) = (&self.scenario.limits, &self.scenario.agents[agent.at()].limits);
        limits.tokens.is_some() || limits.cost_usd.is_some() || own.tokens.is_some() || own.cost_usd.is_some()
    }

    /// Whether somebody counts the money that asking an agent's model costs.
    pub fn counts_money(&self, agent: AgentIx) -> bool {
        self.scenario.limits.cost_usd.is_some() || self.scenario.agents[agent.at()].limits.cost_usd.is_some()
    }

    /// How much more the workspace would have to give on a day for these steps, next to what is held: no more than the run's own
    /// budget has room for.
    pub fn short_of(&self, wanted: &[Wanted], day: i64) -> Amount {
        let budget = &self.state.budget;
        let limits = &self.scenario.limits;
        let grant = budget.grant.filter(|g| g.day == day);
        let (given, used) = grant.map_or_else(Default::default, |g| (g.given, g.used));
        let (tokens, micro_usd) = (limits.tokens.unwrap_or(u64::MAX), limits.cost_usd.map_or(u64::MAX, bound_micro_usd));
        let (spent, held) = budget.totals();
        let room = Amount { tokens, micro_usd }.less(spent).less(held);
        // What is held for a step that is asked once more is spent, and the step needs as much again.
        let wanted = wanted.iter().fold(Amount::default(), |sum, w| sum.plus(w.amount));
        // Answers may take more than was held for them, and so more than was given.
        used.plus(held).plus(wanted.at_most(room)).less(given)
    }

    /// Where a step that waits for room stands among others, if it is owed.
    pub fn place_of(&self, step: StepId, seat: Seat) -> Option<(TurnId, u32)> {
        self.state.turns.get(&seat).filter(|turn| turn.id == step.turn).map(|turn| (turn.slot, step.n))
    }

    /// Whether a step without room holds up those of other agents behind it, too.
    pub fn holds_up(&self, agent: AgentIx, amount: Amount, workspace: Option<(bool, bool)>) -> bool {
        let own = matches!(self.no_room(&self.state.budget, agent, amount, workspace), Some((Scope::Agent(_), _)));
        !own || self.scenario.limits.on_exceed == OnExceed::Pause
    }

    /// The first turn, in wave order, that ends the run because a budget refused it: what stands behind it is not asked.
    fn doomed(&self) -> Option<TurnId> {
        let refused = |turn: &&Turn| matches!(&turn.phase, Phase::Failed(f) if f.class == FailureClass::Budget);
        self.state.turns.values().map(Box::as_ref).filter(refused).map(|turn| turn.slot).min()
    }

    /// What the workspace gives on a day, all in all.
    pub(super) fn decide_granted(&self, day: i64, more: Amount) -> Vec<Event> {
        let before = self.state.budget.grant.filter(|g| g.day == day).map_or(Amount::default(), |g| g.given);
        vec![Event::BudgetGranted { day, amount: before.plus(more) }]
    }

    /// Steps that are about to ask a model, together: in wave order each gets its room, waits for others' answers, or is
    /// refused. A step that holds some already was asked before, and nobody heard the answer.
    pub(super) fn decide_reserve(&self, wanted: &[Wanted], workspace: Option<(bool, bool)>) -> Result<Vec<Event>, Refusal> {
        let mut steps = Vec::with_capacity(wanted.len());
        for w in wanted {
            let turn = self.state.turns.values().find(|t| t.owes(w.step)).ok_or_else(|| Self::stale(w.step))?;
            steps.push((turn.slot, turn.seat, *w));
        }
        steps.sort_by_key(|(slot, _, w)| (*slot, w.step.n));
        let mut budget = self.state.budget.clone();
        let mut events = Vec::new();
        for (_, seat, w) in &steps {
            if let Some((agent, amount)) = budget.open.get(&w.step).copied() {
                budget.settle(w.step, agent, amount);
                events.push(Event::BudgetSettled { step: w.step, seat: *seat, amount, lost: true });
            }
        }
        let mut waiting: BTreeSet<AgentIx> = BTreeSet::new();
        let mut doomed = self.doomed();
        let mut refused: Option<TurnId> = None;
        for (slot, seat, Wanted { step, amount }) in steps {
            if doomed.is_some_and(|first| slot >= first) {
                break;
            }
            // What becomes of the turn is decided by the first of its steps that is refused.
            if waiting.contains(&seat.agent) || refused == Some(step.turn) {
                continue;
            }
            let Some((scope, reason)) = self.no_room(&budget, seat.agent, amount, workspace) else {
                budget.reserve(step, seat.agent, amount);
                events.push(Event::BudgetReserved { step, seat, amount });
                continue;
            };
            let pauses = self.scenario.limits.on_exceed == OnExceed::Pause;
            if !budget.held(if pauses { Scope::Run } else { scope }).is_nothing() {
                match scope {
                    Scope::Agent(agent) if !pauses => waiting.insert(agent),
                    _ => break,
                };
                continue;
            }
            events.push(Event::BudgetRefused { step, seat, amount, reason: reason.clone() });
            if pauses {
                events.push(Event::RunPaused { reason });
                break;
            }
            let failure = Failure { class: FailureClass::Budget, message: reason };
            let mut decided = self.decide_step(step, StepOutcome::Failed(failure))?;
            // What was held for a step that is asked once more has been settled above.
            decided.retain(|e| !matches!(e, Event::BudgetSettled { step, .. } if !budget.open.contains_key(step)));
            let fails = |e: &Event| matches!(e, Event::StepRecorded(recorded) if matches!(recorded.then, Then::Failed(_)));
            doomed = if decided.iter().any(fails) { Some(slot) } else { doomed };
            refused = Some(step.turn);
            events.extend(decided);
        }
        Ok(events)
    }

    /// The budget that has no room, and its words.
    fn no_room(
        &self,
        budget: &Budget,
        agent: AgentIx,
        amount: Amount,
        workspace: Option<(bool, bool)>,
    ) -> Option<(Scope, Arc<str>)> {
        let spec = &self.scenario.agents[agent.at()];
        let limits = &self.scenario.limits;
        let given = budget.grant.unwrap_or_default().given;
        let (tokens, money) = workspace.unwrap_or_default();
        let of_agent = |name: &str| format!("`agents.{}.limits.{name}`", spec.name);
        let rows = [
            (Scope::Run, "`limits.tokens`".to_owned(), limits.tokens, None),
            (Scope::Run, "`limits.cost_usd`".to_owned(), None, limits.cost_usd.map(bound_micro_usd)),
            (Scope::Agent(agent), of_agent("tokens"), spec.limits.tokens, None),
            (Scope::Agent(agent), of_agent("cost_usd"), None, spec.limits.cost_usd.map(bound_micro_usd)),
            (Scope::Workspace, "`budgets.workspace_per_day_tokens`".to_owned(), tokens.then_some(given.tokens), None),
            (Scope::Workspace, "`budgets.workspace_per_day_usd`".to_owned(), None, money.then_some(given.micro_usd)),
        ];
        for (scope, name, tokens, money) in rows {
            let taken = budget.spent(scope).plus(budget.held(scope));
            let short = tokens.is_some_and(|limit| taken.tokens.saturating_add(amount.tokens) > limit)
                || money.is_some_and(|limit| taken.micro_usd.saturating_add(amount.micro_usd) > limit);
            if short {
                return Some((scope, words(&name, scope, (tokens, money), taken, amount).into()));
            }
        }
        None
    }

    /// What a step's outcome settles: what is held for it, and where its turn asks nobody any more, what is held for the turn's
    /// other steps, whose answers nobody will hear.
    pub(super) fn settled(&self, recorded: &Recorded, seat: Seat) -> Vec<Event> {
        let open = &self.state.budget.open;
        let lost = |step: StepId, amount: Amount| Event::BudgetSettled { step, seat, amount, lost: true };
        let own = open.get(&recorded.step).map(|(_, held)| match recorded.outcome.answer() {
            Some(answer) => {
                let amount = if answer.by == AnsweredBy::Cache { Amount::default() } else { Amount::of(answer.usage) };
                Event::BudgetSettled { step: recorded.step, seat, amount, lost: false }
            }
            None => lost(recorded.step, *held),
        });
        let over = matches!(recorded.then, Then::Failed(_) | Then::Fallback);
        let of_turn = |step: &StepId| over && step.turn == recorded.step.turn && *step != recorded.step;
        let others = open.iter().filter(|(step, _)| of_turn(step)).map(|(step, (_, held))| lost(*step, *held));
        own.into_iter().chain(others).collect()
    }

    /// Makes an event of a budget true.
    pub(super) fn budgeted(&mut self, event: &Event) {
        let budget = &mut self.state.budget;
        match event {
            Event::BudgetReserved { step, seat, amount } => budget.reserve(*step, seat.agent, *amount),
            Event::BudgetSettled { step, seat, amount, .. } => budget.settle(*step, seat.agent, *amount),
            Event::BudgetGranted { day, amount } => {
                let used = budget.grant.filter(|g| g.day == *day).map_or(Amount::default(), |g| g.used);
                budget.grant = Some(Grant { day: *day, given: *amount, used });
            }
            _ => {}
        }
    }

    /// Whether a model outside the process answers an agent's steps.
    pub fn is_live(&self, agent: AgentIx) -> bool {
        matches!(self.state.binding(&self.scenario.agents[agent.at()]), ModelBinding::Provider { .. })
    }
}

/// Which budget has no room, and what to do.
fn words(name: &str, scope: Scope, limit: (Option<u64>, Option<u64>), taken: Amount, amount: Amount) -> String {
    let (limit, taken, amount) = match limit {
        (Some(limit), _) => (format!("{limit} tokens"), format!("{} tokens", taken.tokens), format!("{} tokens", amount.tokens)),
        (None, limit) => (dollars(limit.unwrap_or(0)), dollars(taken.micro_usd), dollars(amount.micro_usd)),
    };
    let given = if scope == Scope::Workspace { "gives this run" } else { "is" };
    format!("{name} {given} {limit}, {taken} of it are used, and the next call of a model may need {amount}")
}

fn dollars(micros: u64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}
