//! The root actor: starts an orchestrator for each run and brings a run back from its log when its orchestrator dies. One
//! run's death never touches another: strategies beyond one-for-one would repair nothing, because actors hold no truth.

use std::collections::HashMap;
use std::sync::Arc;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::live::{Live, Shared};
use crate::log::LoadError;
use crate::orchestrator::rest::PASSIVATED;
use crate::orchestrator::{Begin, Orchestrator, OrchestratorMsg, Origin};
use crate::recovery::{Scenarios, recover};
use crate::runtime::Runtime;
use crate::timers::Keeper;

/// How often one run's orchestrator is started again.
const MAX_RESTARTS: u32 = 3;

pub(crate) enum SupervisorMsg {
    /// Keep time for the runs that wait.
    KeepTime(Runtime),
    /// Start a run's orchestrator; `first` is what it is told before anything else.
    Start { live: Arc<Live>, origin: Origin, first: Option<OrchestratorMsg>, reply: RpcReplyPort<Result<(), LoadError>> },
    /// A run was read again after a crash.
    Again { live: Arc<Live>, restarts: u32, origin: Result<Origin, LoadError> },
}

pub(crate) struct Supervisor;

pub(crate) struct SupervisorState {
    shared: Arc<Shared>,
    scenarios: Arc<Scenarios>,
    runs: HashMap<ActorId, (Arc<Live>, u32)>,
    keeper: Option<(ActorId, Runtime)>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = (Arc<Shared>, Arc<Scenarios>);

    async fn pre_start(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        (shared, scenarios): Self::Arguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        Ok(SupervisorState { shared, scenarios, runs: HashMap::new(), keeper: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::KeepTime(runtime) => state.keep_time(runtime, &myself).await?,
            SupervisorMsg::Start { live, origin, first, reply } => {
                let started = state.start(live, 0, origin, first, &myself).await;
                if reply.send(started).is_err() {
                    tracing::debug!("nobody waited for the run's start");
                }
            }
            SupervisorMsg::Again { live, restarts, origin } => {
                let started = match origin {
                    Ok(origin) => state.start(live.clone(), restarts, origin, None, &myself).await,
                    Err(e) => Err(e),
                };
                if let Err(e) = started {
                    live.finish(Err(e));
                }
            }
        }
        Ok(())
    }

    /// Whoever waits for a run that could not be stopped in time is told.
    async fn post_stop(&self, _: ActorRef<SupervisorMsg>, state: &mut SupervisorState) -> Result<(), ActorProcessingErr> {
        for (live, _) in state.runs.values() {
            live.finish(Err(LoadError::Stopped("the runtime was closed before it had stopped".into())));
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                state.ended(who.get_id(), reason.as_deref() == Some(PASSIVATED));
                Ok(())
            }
            SupervisionEvent::ActorFailed(who, reason) => {
                if let Some((_, runtime)) = state.keeper.take_if(|(keeper, _)| *keeper == who.get_id()) {
                    tracing::warn!(%reason, "the keeper of timers failed and is started again; the table of timers is whole");
                    return state.keep_time(runtime, &myself).await;
                }
                state.failed(who.get_id(), &reason.to_string(), myself);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl SupervisorState {
    /// An orchestrator that cannot even begin ends its run's wait with the reason.
    async fn start(
        &mut self,
        live: Arc<Live>,
        restarts: u32,
        origin: Origin,
        first: Option<OrchestratorMsg>,
        myself: &ActorRef<SupervisorMsg>,
    ) -> Result<(), LoadError> {
        let begin = Begin { live: live.clone(), shared: self.shared.clone(), origin, first };
        let spawned = Actor::spawn_linked(None, Orchestrator, begin, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|e| LoadError::Stopped(e.to_string()))?;
        self.runs.insert(actor.get_id(), (live, restarts));
        #[expect(clippy::cast_possible_wrap, reason = "a count of live runs")]
        self.shared.metrics.runs_active.set(self.runs.len() as i64);
        Ok(())
    }

    async fn keep_time(&mut self, runtime: Runtime, myself: &ActorRef<SupervisorMsg>) -> Result<(), ActorProcessingErr> {
        let (keeper, _) = Actor::spawn_linked(None, Keeper, runtime.clone(), myself.get_cell()).await?;
        self.keeper = Some((keeper.get_id(), runtime));
        Ok(())
    }

    fn ended(&mut self, who: ActorId, passivated: bool) {
        if let Some((live, _)) = self.runs.remove(&who)
            && !passivated
        {
            // Harmless where the run has told its end already.
            live.finish(Err(LoadError::Stopped("its orchestrator stopped".into())));
        }
        #[expect(clippy::cast_possible_wrap, reason = "a count of live runs")]
        self.shared.metrics.runs_active.set(self.runs.len() as i64);
    }

    /// The working state is gone; the log is not. It is read beside the mailbox, then the run goes on from there.
    fn failed(&mut self, who: ActorId, reason: &str, myself: ActorRef<SupervisorMsg>) {
        let Some((live, restarts)) = self.runs.remove(&who) else { return };
        self.shared.registry.remove(&live.id);
        tracing::warn!(run = %live.id, reason, restarts, "an orchestrator failed; its run is rebuilt from the log");
        self.shared.metrics.actor_restarts_total.with_label_values(&[&*live.scenario.name, "orchestrator"]).inc();
        if restarts >= MAX_RESTARTS {
            live.finish(Err(LoadError::Stopped(format!("its orchestrator failed {} times: {reason}", restarts + 1))));
            return;
        }
        let (store, scenarios) = (self.shared.store.clone(), self.scenarios.clone());
        tokio::spawn(async move {
            let origin = match (recover(&store, &scenarios, &live.id).await, live.created()) {
                (Ok(recovered), _) => Ok(Origin::Stored(Box::new(recovered))),
                (Err(LoadError::Unknown(_)), Some(created)) => Ok(Origin::New(created)),
                (Err(e), _) => Err(e),
            };
            let again = SupervisorMsg::Again { live, restarts: restarts + 1, origin };
            if myself.cast(again).is_err() {
                tracing::debug!("the runtime is gone; the run goes on at the next start");
            }
        });
    }
}
