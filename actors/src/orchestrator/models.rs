//! Steps that ask a model: of a turn itself, of a judge, of whoever summarises. Where somebody counts what models take, room in
//! the budgets is durable before any of them is asked.

use std::collections::BTreeSet;

use commedia_domain::event::{Amount, Event, Failure, FailureClass, ModelBinding, StepOutcome};
use commedia_domain::id::AgentIx;
use commedia_domain::message::{Seat, StepId};
use commedia_domain::run::budget::{DEFAULT_OUTPUT_TOKENS, Wanted};
use commedia_domain::run::{Command, ModelRequest};
use ractor::{ActorProcessingErr, ActorRef};

use super::{OrchestratorMsg, State};
use crate::agent::{AgentMsg, AgentReport};
use crate::budget::day_of;

/// Steps that are looked at together: each needs its request built.
const AT_ONCE: usize = 64;

/// A run that was started elsewhere, where its models had prices.
fn unpriced(model: &str) -> Failure {
    let message = format!(
        "a budget in USD is set, and nobody knows what `{model}` costs: say `price: {{input, output}}` at the alias, or set it \
         under `[prices]` in the settings"
    );
    Failure { class: FailureClass::Budget, message: message.into() }
}

impl State {
    /// Asks models what is owed.
    pub(super) async fn ask(
        &mut self,
        owed: Vec<(StepId, Seat)>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let by_day = self.shared.day_budget.limits().is_set();
        let (counted, free): (Vec<_>, Vec<_>) = owed.into_iter().partition(|(_, seat)| by_day || self.run.has_budget(seat.agent));
        self.requests(free, myself).await?;
        self.ask_within(counted, myself).await
    }

    /// What the steps ask. Those that no budget counts are asked at once; the others come back.
    async fn requests(
        &mut self,
        owed: Vec<(StepId, Seat)>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<Vec<(StepId, Seat, ModelRequest)>, ActorProcessingErr> {
        let limits = self.shared.day_budget.limits();
        let by_day = limits.is_set();
        let mut counted = Vec::new();
        let seats = owed.iter().map(|(_, seat)| *seat).collect();
        let mut none_has_left = true;
        for (step, seat) in owed {
            let money = limits.micro_usd.is_some() || self.run.counts_money(seat.agent);
            let request = self.run.model_request(step).and_then(|request| match self.shared.prices.at_most(&request) {
                Err(model) if money => Err(unpriced(&model)),
                _ => Ok(request),
            });
            let mut request = match request {
                Ok(request) => request,
                Err(failure) => {
                    let outcome = StepOutcome::Failed(failure);
                    myself.cast(OrchestratorMsg::Report(AgentReport::StepEnded { step, outcome }))?;
                    self.steps.insert(step);
                    continue;
                }
            };
            let leaves = matches!(request.binding, ModelBinding::Provider { .. });
            if leaves && (by_day || self.run.has_budget(seat.agent)) {
                // The bound that is reserved is the bound that is sent.
                request.max_output_tokens.get_or_insert(DEFAULT_OUTPUT_TOKENS);
                counted.push((step, seat, request));
                continue;
            }
            if leaves {
                if std::mem::take(&mut none_has_left) {
                    self.stop_idle(&seats);
                }
                self.flush().await?;
            }
            self.ask_one(step, seat, request, myself).await?;
        }
        Ok(counted)
    }

    /// Asks those of the steps for which there is room, in wave order, a few at a time: what waits is looked at anew with each
    /// answer, and most of many would only wait again.
    async fn ask_within(
        &mut self,
        mut owed: Vec<(StepId, Seat)>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        owed.sort_by_cached_key(|(step, seat)| self.run.place_of(*step, *seat));
        let mut waiting: BTreeSet<AgentIx> = BTreeSet::new();
        let mut owed = owed.into_iter();
        loop {
            let few: Vec<_> = owed.by_ref().filter(|(_, seat)| !waiting.contains(&seat.agent)).take(AT_ONCE).collect();
            if few.is_empty() {
                return Ok(());
            }
            let counted = self.requests(few, myself).await?;
            if !counted.is_empty() && !self.reserve(counted, &mut waiting, myself).await? {
                return Ok(());
            }
        }
    }

    /// Room for some steps, durable before any of them is asked; whether those behind them may be looked at, too. Agents that wait
    /// for room of their own are told.
    async fn reserve(
        &mut self,
        counted: Vec<(StepId, Seat, ModelRequest)>,
        waiting: &mut BTreeSet<AgentIx>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<bool, ActorProcessingErr> {
        let wanted: Vec<Wanted> = (counted.iter())
            .map(|(step, _, request)| Wanted { step: *step, amount: self.shared.prices.needed(request) })
            .collect();
        let limits = self.shared.day_budget.limits();
        let workspace = limits.is_set().then_some((limits.tokens.is_some(), limits.micro_usd.is_some()));
        if workspace.is_some() {
            self.take_slice(&wanted).await?;
        }
        let events = self.run.decide(Command::Reserve { wanted: wanted.clone(), workspace })?;
        let reserved: BTreeSet<StepId> = events
            .iter()
            .filter_map(|e| match e {
                Event::BudgetReserved { step, .. } => Some(*step),
                _ => None,
            })
            .collect();
        let refused = events.iter().any(|e| matches!(e, Event::BudgetRefused { .. }));
        self.take(events)?;
        self.stop_idle(&counted.iter().map(|(_, seat, _)| *seat).collect());
        self.flush().await?;
        let mut go_on = !refused;
        for ((step, seat, request), Wanted { amount, .. }) in counted.into_iter().zip(wanted) {
            if reserved.contains(&step) {
                self.ask_one(step, seat, request, myself).await?;
            } else {
                go_on &= !self.run.holds_up(seat.agent, amount, workspace);
                waiting.insert(seat.agent);
            }
        }
        if refused {
            myself.cast(OrchestratorMsg::Go)?;
        }
        Ok(go_on)
    }

    /// More of the workspace's budget of the day, where the run has too little for what it wants.
    async fn take_slice(&mut self, wanted: &[Wanted]) -> Result<(), ActorProcessingErr> {
        let now = self.shared.clock.now_ms();
        let (day, limits) = (day_of(now), self.shared.day_budget.limits());
        let short = self.run.short_of(wanted, day);
        let short = Amount {
            tokens: if limits.tokens.is_some() { short.tokens } else { 0 },
            micro_usd: if limits.micro_usd.is_some() { short.micro_usd } else { 0 },
        };
        let another_day = self.run.state().budget.grant().is_some_and(|grant| grant.day != day);
        let more = if short.is_nothing() {
            Amount::default()
        } else {
            let granted = self.shared.day_budget.grant(self.live.id.workspace(), now, short).await;
            granted.map_err(|e| format!("the workspace's budget of the day: {e}"))?
        };
        if another_day || !more.is_nothing() {
            let events = self.run.decide(Command::Granted { day, more })?;
            self.take(events)?;
        }
        Ok(())
    }

    /// The run is over: what it did not need of the day's budget goes back, before anybody is told of the end.
    pub(super) async fn give_back(&self) {
        let Some((day, amount)) = self.run.state().budget.left_of_grant() else { return };
        if amount.is_nothing() || self.run.state().status.ended().is_none() {
            return;
        }
        let (workspace, now) = (self.live.id.workspace(), self.shared.clock.now_ms());
        if let Err(e) = self.shared.day_budget.give_back(workspace, now, day, amount).await {
            tracing::warn!(error = %e, "what a run left of the workspace's budget was not given back; it is missing today");
        }
    }

    async fn ask_one(
        &mut self,
        step: StepId,
        seat: Seat,
        request: ModelRequest,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        self.order_struck(seat, step, None, AgentMsg::Ask(Box::new(request)), myself).await
    }
}
