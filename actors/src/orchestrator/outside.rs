//! Steps that leave the process. The intent of each is durable before its first byte leaves; what came of it is durable on
//! arrival. One that was dispatched and that nobody works on is performed again, or its fate is unknown: the domain says which.

use commedia_domain::body::Body;
use commedia_domain::event::{AnsweredBy, Discovered};
use commedia_domain::id::ToolIx;
use commedia_domain::message::{Seat, StepId};
use commedia_domain::run::Command;
use commedia_domain::scenario::{EffectClass, ToolRef};
use commedia_domain::step::{Next, check_input, idempotency_key};
use ractor::{ActorProcessingErr, ActorRef};

use super::{OrchestratorMsg, State};
use crate::agent::{AgentMsg, AgentReport, CallOrder};
use crate::store::AppendError;

/// Why nobody knows what became of a step that was found without an outcome.
const NO_OUTCOME: &str = "it was dispatched, and whoever did so ended before an outcome was recorded";

/// What is owed to a step that leaves the process.
pub(super) struct Owed {
    pub(super) step: StepId,
    pub(super) seat: Seat,
    pub(super) tool: ToolRef,
    pub(super) input: Body,
    pub(super) next: Next,
}

impl State {
    /// Dispatches what may be, says of the rest that its fate is unknown, and asks about that where a tool can tell.
    pub(super) async fn reach(&mut self, owed: Vec<Owed>, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        let mut orders: Vec<(Seat, StepId, AgentMsg)> = Vec::with_capacity(owed.len());
        let mut changed = false;
        for Owed { step, seat, tool, input, next } in owed {
            let performed = (next == Next::Dispatch).then_some(tool);
            let strike = performed.and_then(|tool| self.run.step_strike(step, seat, Some(tool)));
            // What a fault ends before it begins never leaves the process.
            let stays = strike.as_ref().is_some_and(|s| s.crash || s.failure.is_some());
            let limit_ms = self.run.scenario().timeout_ms(tool);
            let (command, tool, check) = match next {
                Next::Dispatch => (Some(Command::Dispatch { step }), tool, false),
                Next::Lost => (Some(Command::Lost { step, reason: NO_OUTCOME.into() }), tool, false),
                Next::Check(check) => (None, ToolRef::Declared(check), true),
            };
            if let Some(strike) = &strike {
                self.inject(strike.injected.clone())?;
            }
            if let Some(command) = command.filter(|_| !stays) {
                let events = self.run.decide(command).map_err(|e| format!("step {step} cannot go on: {e}"))?;
                self.take(events)?;
            }
            if next == Next::Lost {
                changed = true;
                continue;
            }
            let Some(turn) = self.run.state().turns.get(&seat) else { continue };
            let key = idempotency_key(self.live.id.as_str(), step);
            let input = if check { check_input(input.value(), &key) } else { input.value().clone() };
            let (facts, world) = (self.run.facts(), self.run.turn_world(turn));
            let class = if check { EffectClass::Read } else { self.run.class_of(tool) };
            let ready = self.run.ready(tool).map(|ready| ready.input.clone());
            let call = AgentMsg::Call(Box::new(CallOrder { step, facts, world, tool, class, ready, input, key, check }));
            let order = match strike {
                Some(strike) => AgentMsg::Struck { step, strike: Box::new(strike), limit_ms, then: Box::new(call) },
                None => call,
            };
            orders.push((seat, step, order));
        }
        self.flush().await?;
        for (seat, step, order) in orders {
            self.steps.insert(step);
            self.order_step(seat, step, order, myself).await?;
        }
        if changed {
            myself.cast(OrchestratorMsg::Go)?;
        }
        Ok(())
    }

    /// Asks servers of tools what they offer; the answer comes back as a message.
    pub(super) fn discover(&mut self, server: ToolIx, myself: &ActorRef<OrchestratorMsg>) {
        if !self.discovering.insert(server) {
            return;
        }
        let (scenario, servers) = (self.run.scenario().clone(), self.shared.mcp.clone());
        let (blobs, myself) = (self.run.state().blobs(), myself.clone());
        drop(tokio::spawn(async move {
            let Some(mcp) = scenario.tools.get(server.at()).and_then(|tool| tool.mcp()) else { return };
            let found = Box::new(servers.discover(server, mcp, &blobs).await);
            if myself.cast(OrchestratorMsg::Discovered(found)).is_err() {
                tracing::debug!("the run is gone; what a server of tools offers is dropped");
            }
        }));
    }

    /// A server of tools said what it offers.
    pub(super) fn discovered(&mut self, found: Box<Discovered>) -> Result<(), AppendError> {
        self.discovering.remove(&found.server);
        let spec = self.run.scenario().tools.get(found.server.at());
        if let Some(spec) = spec.filter(|_| found.failure.is_some() || !found.missing.is_empty()) {
            let why = found.failure.as_deref().unwrap_or("some of its tools are not offered");
            tracing::warn!(run = %self.live.id, server = %spec.name, why, "the run goes without tools of an MCP server, or ends");
        }
        match self.run.decide(Command::Discovered(found)) {
            Ok(events) => self.take(events),
            Err(refusal) => {
                tracing::debug!(run = %self.live.id, %refusal, "what a server of tools offers was not asked for");
                Ok(())
            }
        }
    }

    /// Whether an outcome came from outside the process: it is durable on arrival, so that nothing is asked twice.
    pub(super) fn is_from_outside(&self, report: &AgentReport) -> bool {
        match report {
            AgentReport::StepEnded { step, outcome } => {
                let model = outcome.answer().is_some_and(|answered| matches!(answered.by, AnsweredBy::Model | AnsweredBy::Cache));
                model || self.run.state().outside.contains_key(step)
            }
            AgentReport::StepLost { .. } | AgentReport::StepChecked { .. } => true,
            AgentReport::Served(_) | AgentReport::StepCrashed { .. } => false,
        }
    }
}
