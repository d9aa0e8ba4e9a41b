//! The root actor: starts an orchestrator for each run and brings a run back from its log when its orchestrator dies. One
//! run's death never touches another: strategies beyond one-for-one would repair nothing, because actors hold no truth.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SpawnErr, SupervisionEvent};

use crate::live::{Live, Shared};
use crate::log::LoadError;
use crate::orchestrator::rest::PASSIVATED;
use crate::orchestrator::{Begin, Orchestrator, OrchestratorMsg, Origin};
use crate::rebuild::{Death, Deaths, Next, quarantine, rebuild};
use crate::recovery::Scenarios;
use crate::runtime::Runtime;
use crate::store::AppendError;
use crate::timers::Keeper;

/// Before another attempt to bring the store's actor back.
const STORE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum SupervisorMsg {
    /// Keep time for the runs that wait.
    KeepTime(Runtime),
    /// Start a run's orchestrator; `first` is what it is told before anything else.
    Start { live: Arc<Live>, origin: Origin, first: Option<OrchestratorMsg>, reply: RpcReplyPort<Result<(), LoadError>> },
    /// A run has died before it had an orchestrator.
    Died { live: Arc<Live>, death: Death },
    /// A run was read again after a crash.
    Again { live: Arc<Live>, deaths: Deaths, origin: Result<Origin, LoadError> },
    /// The store has a new actor.
    StoreIsBack,
}

pub(crate) struct Supervisor;

pub(crate) struct SupervisorState {
    shared: Arc<Shared>,
    scenarios: Arc<Scenarios>,
    runs: HashMap<ActorId, (Arc<Live>, Deaths)>,
    store: ActorId,
    keeper: Option<(ActorId, Runtime)>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = (Arc<Shared>, Arc<Scenarios>);

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        (shared, scenarios): Self::Arguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let store = shared.store.cell();
        store.link(myself.get_cell());
        Ok(SupervisorState { shared, scenarios, runs: HashMap::new(), store: store.get_id(), keeper: None })
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
                let started = state.start(live, Deaths::default(), origin, first, &myself).await;
                let started = started.map_err(|death| match death {
                    Death::Store(e) => LoadError::Append(e),
                    Death::Crash(reason) => LoadError::Stopped(reason),
                });
                if reply.send(started).is_err() {
                    tracing::debug!("nobody waited for the run's start");
                }
            }
            SupervisorMsg::Died { live, death } => state.died(live, Deaths::default(), &death, myself),
            // A command has woken it meanwhile, and whoever waits for it goes on waiting there.
            SupervisorMsg::Again { live, .. } if !state.shared.registry.unpark_same(&live) => {}
            SupervisorMsg::Again { live, deaths, origin } => match origin {
                Ok(origin) => {
                    live.comes_back.store(false, Ordering::Release);
                    if let Err(death) = state.start(live.clone(), deaths.clone(), origin, None, &myself).await {
                        state.died(live, deaths, &death, myself);
                    }
                }
                // Its log would be folded to the same panic again.
                Err(LoadError::Panicked(reason)) => quarantine(&state.shared, live, reason),
                Err(e) => live.finish(Err(e)),
            },
            SupervisorMsg::StoreIsBack => {
                let store = state.shared.store.cell();
                store.link(myself.get_cell());
                state.store = store.get_id();
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
            SupervisionEvent::ActorTerminated(who, ..) if who.get_id() == state.store => {
                state.revive_store("it was stopped", myself);
                Ok(())
            }
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                state.ended(who.get_id(), reason.as_deref() == Some(PASSIVATED));
                Ok(())
            }
            SupervisionEvent::ActorFailed(who, reason) => {
                if let Some((_, runtime)) = state.keeper.take_if(|(keeper, _)| *keeper == who.get_id()) {
                    tracing::warn!(%reason, "the keeper of timers failed and is started again; the table of timers is whole");
                    return state.keep_time(runtime, &myself).await;
                }
                if who.get_id() == state.store {
                    state.revive_store(&reason.to_string(), myself);
                } else if let Some((live, deaths)) = state.runs.remove(&who.get_id()) {
                    state.shared.registry.remove_dead(&live.id, who.get_id());
                    state.died(live, deaths, &Death::of(&reason), myself);
                }
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
        deaths: Deaths,
        origin: Origin,
        first: Option<OrchestratorMsg>,
        myself: &ActorRef<SupervisorMsg>,
    ) -> Result<(), Death> {
        let begin = Begin { live: live.clone(), shared: self.shared.clone(), origin, first };
        let spawned = Actor::spawn_linked(None, Orchestrator, begin, myself.get_cell()).await;
        let (actor, _) = spawned.map_err(|e| match e {
            SpawnErr::StartupFailed(reason) => Death::of(&reason),
            e => Death::Crash(e.to_string()),
        })?;
        self.runs.insert(actor.get_id(), (live, deaths));
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
    fn died(&mut self, live: Arc<Live>, mut deaths: Deaths, death: &Death, myself: ActorRef<SupervisorMsg>) {
        live.end_first_leg();
        if let Death::Store(e) = death
            && live.is_asked_for()
            && !matches!(e, AppendError::Unknown)
        {
            // Nothing of it is stored, and nobody was told that it exists: whoever asked decides whether to ask again.
            live.leave_place();
            return live.finish(Err(LoadError::Append(e.clone())));
        }
        let next = deaths.next(death, self.shared.store.epoch());
        tracing::warn!(run = %live.id, ?death, ?next, "an orchestrator failed");
        let reason = match death {
            Death::Store(_) => "store",
            Death::Crash(_) => "orchestrator",
        };
        self.shared.metrics.actor_restarts_total.with_label_values(&[&*live.scenario.name, reason]).inc();
        match (next, death) {
            (Next::Rebuild(pause), _) => {
                live.comes_back.store(true, Ordering::Release);
                // Where a command finds it: two orchestrators of one run would only be in each other's way.
                self.shared.registry.park(live.clone());
                rebuild(&self.shared, &self.scenarios, live, deaths, pause, myself);
            }
            (Next::Quarantine | Next::LetGo, Death::Store(e)) => live.finish(Err(LoadError::Append(e.clone()))),
            (Next::Quarantine | Next::LetGo, Death::Crash(reason)) => quarantine(&self.shared, live, reason.clone()),
        }
    }

    /// The store's actor died: a new one is started beside the mailbox. Until then writes are refused; no run fails by it.
    fn revive_store(&self, reason: &str, myself: ActorRef<SupervisorMsg>) {
        tracing::error!(reason, "the store's actor failed and is started again");
        self.shared.metrics.actor_restarts_total.with_label_values(&["", "store"]).inc();
        let store = self.shared.store.clone();
        tokio::spawn(async move {
            while let Err(e) = store.revive().await {
                tracing::error!("the store's actor does not start again yet: {e}");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            if myself.cast(SupervisorMsg::StoreIsBack).is_err() {
                tracing::debug!("the runtime is gone");
            }
        });
    }
}
