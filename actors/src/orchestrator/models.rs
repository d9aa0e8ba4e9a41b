//! Steps that ask a model: of a turn itself, of a judge, of whoever summarises. Where somebody counts what models take, room in
//! the budgets is durable before any of them is asked.

use std::collections::BTreeMap;

use commedia_domain::event::{Amount, Event, ModelBinding, StepOutcome};
use commedia_domain::message::{Seat, StepId};
use commedia_domain::run::budget::{DEFAULT_OUTPUT_TOKENS, Wanted};
use commedia_domain::run::{Command, ModelRequest};
use ractor::{ActorProcessingErr, ActorRef};

use super::{OrchestratorMsg, State};
use crate::agent::{AgentMsg, AgentReport};
use crate::budget::day_of;

impl State {
    /// Asks models what is owed. Those that a budget counts are looked at together, in wave order.
    pub(super) async fn ask(
        &mut self,
        owed: Vec<(StepId, Seat)>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let by_day = self.shared.day_budget.limits().is_set();
        let mut counted: BTreeMap<StepId, (Seat, ModelRequest)> = BTreeMap::new();
        for (step, seat) in owed {
            let mut request = match self.run.model_request(step) {
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
                counted.insert(step, (seat, request));
                continue;
            }
            if leaves {
                self.flush().await?;
            }
            self.ask_one(step, seat, request, myself).await?;
        }
        if counted.is_empty() { Ok(()) } else { self.ask_within(counted, myself).await }
    }

    /// Asks those of the steps for which there is room.
    async fn ask_within(
        &mut self,
        mut counted: BTreeMap<StepId, (Seat, ModelRequest)>,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let wanted: Vec<Wanted> = counted
            .iter()
            .map(|(step, (_, request))| Wanted { step: *step, amount: self.shared.prices.needed(request) })
            .collect();
        let limits = self.shared.day_budget.limits();
        let workspace = limits.is_set().then_some((limits.tokens.is_some(), limits.micro_usd.is_some()));
        if workspace.is_some() {
            self.take_slice(&wanted).await?;
        }
        let events = self.run.decide(Command::Reserve { wanted, workspace })?;
        let reserved: Vec<StepId> = events
            .iter()
            .filter_map(|e| match e {
                Event::BudgetReserved { step, .. } => Some(*step),
                _ => None,
            })
            .collect();
        let refused = events.iter().any(|e| matches!(e, Event::BudgetRefused { .. }));
        self.take(events)?;
        self.flush().await?;
        for step in reserved {
            if let Some((seat, request)) = counted.remove(&step) {
                self.ask_one(step, seat, request, myself).await?;
            }
        }
        if refused {
            myself.cast(OrchestratorMsg::Go)?;
        }
        Ok(())
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
            self.shared.day_budget.grant(now, short).await.map_err(|e| format!("the workspace's budget of the day: {e}"))?
        };
        if another_day || !more.is_nothing() {
            let events = self.run.decide(Command::Granted { day, more })?;
            self.take(events)?;
        }
        Ok(())
    }

    /// The run is over: what it did not need of the day's budget goes back, beside it.
    pub(super) fn give_back(&self) {
        let Some((day, amount)) = self.run.state().budget.left_of_grant() else { return };
        if amount.is_nothing() || self.run.state().status.ended().is_none() {
            return;
        }
        let (shared, now) = (self.shared.clone(), self.shared.clock.now_ms());
        tokio::spawn(async move {
            if let Err(e) = shared.day_budget.give_back(now, day, amount).await {
                tracing::warn!(error = %e, "what a run left of the workspace's budget was not given back; it is missing today");
            }
        });
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
