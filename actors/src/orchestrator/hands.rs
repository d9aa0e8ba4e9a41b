//! The actors of a run's agents: started at their first order, given steps one after the other, stopped when they have nothing
//! to do and there are many, or the run is to wait for a model.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use commedia_domain::id::AgentIx;
use commedia_domain::message::{Seat, StepId};
use commedia_domain::run::state::blob_key;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{Doing, OrchestratorMsg, State};
use crate::agent::{AgentActor, AgentArguments, AgentMsg};

/// Idle actors of agents a run keeps at most.
const IDLE_AGENTS: usize = 32;

/// Models and tools of each replica run side by side: each has an actor, told apart from shards from the other end.
fn place_of(seat: Seat) -> (AgentIx, u32) {
    (seat.agent, u32::MAX - seat.replica)
}

impl State {
    /// Gives a step to the actor of its seat.
    pub(super) async fn order_step(
        &mut self,
        seat: Seat,
        step: StepId,
        message: AgentMsg,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let actor = self.agent(place_of(seat), myself).await?;
        let doing = self.doing.entry(actor.get_id()).or_insert_with(|| Doing {
            agent: seat.agent,
            replicas: vec![seat.replica],
            turn: step.turn,
            steps: Vec::new(),
            at: Arc::new(AtomicU32::new(0)),
        });
        doing.turn = step.turn;
        doing.steps.push(step);
        if let Some(trace) = &mut self.trace {
            trace.ordered(seat, step, &message, &self.run);
        }
        actor.cast(message)?;
        Ok(())
    }

    /// An agent's actor, started at its first order.
    pub(super) async fn agent(
        &mut self,
        key: (AgentIx, u32),
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<ActorRef<AgentMsg>, ActorProcessingErr> {
        if let Some(actor) = self.agents.get(&key) {
            return Ok(actor.clone());
        }
        if self.agents.len() >= IDLE_AGENTS {
            self.stop_idle(&BTreeSet::new());
        }
        let arguments = AgentArguments {
            reports: myself.get_derived(),
            builtins: self.shared.builtins.clone(),
            model: self.shared.model.clone(),
            prices: self.shared.prices.clone(),
            http: self.shared.http.clone(),
            mcp: self.shared.mcp.clone(),
            blobs: blob_key(),
            listeners: self.live.start.pieces.then(|| (self.live.subscribers.listeners.clone(), self.shared.metrics.clone())),
        };
        let (actor, _) = Actor::spawn_linked(None, AgentActor, arguments, myself.get_cell()).await?;
        self.agents.insert(key, actor.clone());
        Ok(actor)
    }

    /// An agent's actor exists while it has work: those without any are stopped, but those of seats about to get some.
    pub(super) fn stop_idle(&mut self, but: &BTreeSet<Seat>) {
        let (doing, but): (_, BTreeSet<_>) = (&self.doing, but.iter().copied().map(place_of).collect());
        self.agents.retain(|place, actor| {
            let busy = but.contains(place) || doing.contains_key(&actor.get_id());
            if !busy {
                actor.stop(None);
            }
            busy
        });
    }
}
