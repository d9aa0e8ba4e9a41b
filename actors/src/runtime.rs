//! The one public door: a cheap handle on a store, its supervisor and the live runs.

use std::sync::Arc;

use commedia_domain::message::Seat;
use commedia_domain::run::{Command, NewRun, RunInput};
use commedia_domain::scenario::Scenario;
use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;
use ractor::{Actor, ActorRef, call};
use tokio::sync::{Semaphore, oneshot};

use crate::clock::WallClock;
use crate::live::{Live, LoadedRun, Shared};
use crate::log::{LoadError, StoredEvent};
use crate::meta::{RunMeta, run_stream};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::orchestrator::{CommandError, OrchestratorMsg, Origin};
use crate::recovery::{Scenarios, events, recover};
use crate::registry::Registry;
use crate::run_id::RunId;
use crate::store::engine::Durability;
use crate::store::{CheckReport, OpenError, Options, ReadError, Stats, Store, StreamId, StreamKind};
use crate::subscribers::Follow;
use crate::supervisor::{Supervisor, SupervisorMsg};
use crate::verify::{Verified, verify};

/// How a runtime is opened.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// `memory:`, `sled://DIR` or `fjall://DIR`.
    pub store: String,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// Live runs at most; further ones wait for a place.
    pub max_live_runs: usize,
    /// The wall clock.
    pub clock: WallClock,
    /// Built-in tools: pure functions.
    pub builtins: Arc<dyn Builtins>,
    /// Who answers for providers.
    pub model: Option<Arc<dyn Model>>,
}

impl Default for RuntimeOptions {
    fn default() -> RuntimeOptions {
        RuntimeOptions {
            store: "memory:".into(),
            durability: Durability::Fsync,
            max_live_runs: 1024,
            clock: WallClock::default(),
            builtins: Arc::new(crate::tool::BuiltinTools),
            model: None,
        }
    }
}

/// How a run is started or resumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Somebody follows: the run's creation is durable before its id comes back, each tick is an append, events are published.
    pub follow: bool,
    /// Somebody looks on: as above, but a tick is no append of its own. Events come as they become durable anyway.
    pub watch: bool,
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Parameters are missing or wrong; nothing was stored.
    #[error("{}", .0.join("\n"))]
    Parameters(Vec<String>),
    /// The scenario asks for what this version does not run; nothing was stored.
    #[error("{0}")]
    Unbuilt(String),
    /// The store or the actors.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// The run is live in this process already.
    #[error("run `{0}` is live already")]
    Live(RunId),
    /// It has ended.
    #[error("run `{0}` has ended: {1}")]
    Ended(RunId, String),
}

/// A started run.
pub struct RunHandle {
    /// Its id.
    pub id: RunId,
    /// Its events as they become durable, where it is followed.
    pub events: Option<Follow>,
    done: oneshot::Receiver<Result<LoadedRun, LoadError>>,
}

impl RunHandle {
    /// Waits until the run has ended or is paused.
    pub async fn done(self) -> Result<LoadedRun, LoadError> {
        self.done.await.unwrap_or_else(|_| Err(LoadError::Stopped("the runtime is gone".into())))
    }
}

/// A line of a list of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The scenario's name.
    pub scenario: String,
    /// The status' word.
    pub status: String,
    /// The seed.
    pub seed: u64,
    /// Wall time of its creation, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// Wall time of its end.
    pub ended_ms: Option<i64>,
    /// Stored events.
    pub events: u64,
    /// What is wrong with its stream.
    pub damage: Option<String>,
}

/// The runtime. Clones are handles on the same one.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
    scenarios: Arc<Scenarios>,
    supervisor: ActorRef<SupervisorMsg>,
    places: Arc<Semaphore>,
}

impl Runtime {
    /// Opens the store and starts the supervisor. Nothing that was interrupted goes on by itself: see [`Runtime::resume`].
    pub async fn open(options: RuntimeOptions) -> Result<Runtime, OpenError> {
        let metrics = Arc::new(Metrics::new());
        let store_options = Options { observer: Some(metrics.clone()), ..Options::default() };
        let store = Store::open(&options.store, options.durability, store_options).await?;
        let shared = Arc::new(Shared {
            store,
            registry: Registry::default(),
            metrics,
            builtins: options.builtins,
            model: options.model,
            clock: options.clock,
        });
        let scenarios = Arc::new(Scenarios::default());
        let spawned = Actor::spawn(None, Supervisor, (shared.clone(), scenarios.clone())).await;
        let (supervisor, _) = spawned.map_err(|e| OpenError::Failed(format!("the supervisor does not start: {e}")))?;
        let places = Arc::new(Semaphore::new(options.max_live_runs.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Runtime { shared, scenarios, supervisor, places })
    }

    /// Starts a run. Waits for a place among the live ones.
    pub async fn start_run(
        &self,
        scenario: Arc<Scenario>,
        input: RunInput,
        start: StartOptions,
    ) -> Result<RunHandle, StartError> {
        if let Some(unbuilt) = scenario.unbuilt.first() {
            return Err(StartError::Unbuilt(format!("{} is not part of this version", unbuilt.what)));
        }
        let new = NewRun::new(&scenario, &input).map_err(StartError::Parameters)?;
        self.scenarios.store(&self.shared.store, &scenario, self.shared.clock.now_ms()).await?;
        let created = Box::new(new.created);
        let again = Some((*created).clone());
        self.begin(RunId::new(), scenario, again, start, Origin::New(created)).await
    }

    /// Goes on with a run that was interrupted or paused.
    pub async fn resume(&self, id: &RunId, start: StartOptions) -> Result<RunHandle, StartError> {
        if self.shared.registry.get(id).is_some() {
            return Err(StartError::Live(id.clone()));
        }
        let mut recovered = recover(&self.shared.store, &self.scenarios, id).await?;
        let state = recovered.loaded.run.state();
        if let Some(word) = state.status.ended() {
            return Err(StartError::Ended(id.clone(), word.into()));
        }
        if state.status.is_paused() {
            recovered = self.unpause(recovered).await?;
        }
        let scenario = recovered.loaded.run.scenario().clone();
        self.begin(id.clone(), scenario, None, start, Origin::Stored(Box::new(recovered))).await
    }

    /// A paused run's `run.resumed`, durable before its orchestrator starts.
    async fn unpause(&self, mut recovered: crate::recovery::Recovered) -> Result<crate::recovery::Recovered, LoadError> {
        use crate::log::{LogWriter, cause};
        let events = recovered.loaded.run.decide(Command::Resume).map_err(|e| LoadError::Stopped(e.to_string()))?;
        let store = &self.shared.store;
        let why = cause("resume", &"local".into(), &[], self.shared.clock.now_ms());
        let lease = store.lease(&recovered.stream);
        let mut log = LogWriter::new(recovered.stream.clone(), lease, recovered.loaded.head, recovered.digest, why);
        for event in events {
            let event = log.push(event, commedia_domain::run::state::WORKSPACE)?;
            recovered.loaded.run.apply(&event);
        }
        log.flush(store, None).await?;
        recovered.loaded.head = log.head();
        Ok(recovered)
    }

    async fn begin(
        &self,
        id: RunId,
        scenario: Arc<Scenario>,
        created: Option<commedia_domain::event::Created>,
        start: StartOptions,
        origin: Origin,
    ) -> Result<RunHandle, StartError> {
        let gone = |what: String| StartError::Load(LoadError::Stopped(what));
        let place = self.places.clone().acquire_owned().await.map_err(|e| gone(e.to_string()))?;
        let (live, done) = Live::new(id.clone(), scenario, created, start, place);
        let events = (start.follow || start.watch).then(|| live.subscribers.follow());
        let started = call!(self.supervisor, |reply| SupervisorMsg::Start { live, origin, reply });
        started.map_err(|e| gone(format!("the supervisor is gone: {e}")))??;
        Ok(RunHandle { id, events, done })
    }

    /// All runs, newest first.
    pub async fn runs(&self) -> Result<Vec<RunSummary>, ReadError> {
        let workspace = commedia_domain::run::state::WORKSPACE;
        let mut runs = Vec::new();
        let mut after: Option<StreamId> = None;
        loop {
            let page = self.shared.store.streams(workspace, StreamKind::Run, after.as_ref(), 1000).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.stream.clone());
            for listed in page {
                let Ok(id) = listed.stream.id().parse::<RunId>() else { continue };
                runs.push(summary(id, &listed.meta, listed.head.err().map(|d| d.to_string())));
            }
        }
        runs.reverse();
        Ok(runs)
    }

    /// Folds a run from its log: zero calls.
    pub async fn load(&self, id: &RunId) -> Result<LoadedRun, LoadError> {
        Ok(recover(&self.shared.store, &self.scenarios, id).await?.loaded)
    }

    /// A run's stored events from one on.
    pub async fn events(&self, id: &RunId, from_seq: u64) -> Result<Vec<StoredEvent>, LoadError> {
        events(&self.shared.store, id, from_seq).await
    }

    /// Replays a run through `decide` and compares every canonical event.
    pub async fn verify(&self, id: &RunId) -> Result<Verified, LoadError> {
        let log = events(&self.shared.store, id, 1).await?;
        let stream = run_stream(id).map_err(|_| LoadError::Unknown(id.to_string()))?;
        let frames = self.shared.store.read(&stream, 1, 1).await?;
        let engine = frames.first().map_or(0, |f| f.header.engine);
        let loaded = self.load(id).await?;
        Ok(verify(loaded.run.scenario(), &log, engine, &self.shared.builtins))
    }

    /// Reads everything stored and says what is wrong.
    pub async fn check(&self) -> Result<CheckReport, ReadError> {
        self.shared.store.check().await
    }

    /// Words of a person to an agent of a live run.
    pub async fn tell(&self, id: &RunId, seat: Seat, text: &str, data: Value) -> Result<u64, CommandFailed> {
        self.command(id, Command::Tell { seat, text: text.into(), data }).await
    }

    /// Ends a live run.
    pub async fn cancel(&self, id: &RunId, reason: &str) -> Result<u64, CommandFailed> {
        self.command(id, Command::Cancel { reason: reason.into() }).await
    }

    /// Lets a live run stand still.
    pub async fn pause(&self, id: &RunId, reason: &str) -> Result<u64, CommandFailed> {
        self.command(id, Command::Pause { reason: reason.into() }).await
    }

    async fn command(&self, id: &RunId, command: Command) -> Result<u64, CommandFailed> {
        let actor = self.shared.registry.get(id).ok_or_else(|| CommandFailed::NotLive(id.clone()))?;
        let principal: Arc<str> = "local".into();
        let command = Box::new(command);
        let answer = call!(actor, |reply| OrchestratorMsg::Command { command, principal, reply });
        Ok(answer.map_err(|_| CommandFailed::NotLive(id.clone()))??)
    }

    /// The process' metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// What the store has written since it was opened.
    pub fn store_stats(&self) -> Stats {
        self.shared.store.stats()
    }

    /// The store's engine and durability.
    pub fn store_engine(&self) -> (&'static str, Durability) {
        let (engine, durability, _) = self.shared.store.engine();
        (engine, durability)
    }

    /// Live runs stop where they are, with everything decided durable; then the store closes.
    pub async fn shutdown(&self) -> Result<(), String> {
        self.places.close();
        for actor in self.shared.registry.all() {
            if call!(actor, OrchestratorMsg::Drain).is_err() {
                tracing::debug!("a run ended while it was asked to stop");
            }
        }
        self.supervisor.stop(None);
        self.shared.store.close().await
    }
}

/// Why a command did not reach its run, or was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommandFailed {
    /// No live run has this id.
    #[error("run `{0}` is not live here")]
    NotLive(RunId),
    /// The run or the store said no.
    #[error("{0}")]
    Command(#[from] CommandError),
}

fn summary(id: RunId, meta: &[u8], damage: Option<String>) -> RunSummary {
    let Some(meta) = RunMeta::decode(meta) else {
        let damage = damage.or_else(|| Some("its list row cannot be read".into()));
        return RunSummary {
            id,
            scenario: String::new(),
            status: "unknown".into(),
            seed: 0,
            started_ms: 0,
            ended_ms: None,
            events: 0,
            damage,
        };
    };
    let live = matches!(meta.status.as_str(), "queued" | "running" | "paused" | "waiting");
    RunSummary {
        id,
        scenario: meta.scenario.to_string(),
        seed: meta.seed,
        started_ms: meta.started_ms,
        ended_ms: (!live).then_some(meta.updated_ms),
        status: meta.status,
        events: meta.events,
        damage,
    }
}
