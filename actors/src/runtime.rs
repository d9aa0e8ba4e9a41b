//! The one public door: a cheap handle on a store, its supervisor and the live runs.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use commedia_domain::event::{Amount, Created, Labels, ModelBinding};
use commedia_domain::fault::Fault;
use commedia_domain::message::{Seat, StepId};
use commedia_domain::run::{Command, NewRun, Run, RunInput};
use commedia_domain::scenario::Scenario;
use commedia_domain::step::Resolution;
use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;
use ractor::{Actor, ActorRef, call};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::admission::{Busy, Ceiling, Commands, Entry, Places};
use crate::budget::{DayBudget, DayLimits};
use crate::catalogue::Catalogue;
use crate::clock::WallClock;
use crate::feed::Feeds;
use crate::follow::Follower;
use crate::live::{Finished, Live, LoadedRun, Shared};
use crate::log::{LoadError, StoredEvent};
use crate::meta::{RunMeta, run_stream};
use crate::metrics::Metrics;
use crate::model::Model;
use crate::once::Once;
use crate::orchestrator::{CommandError, OrchestratorMsg, Origin};
pub use crate::passive::{CommandFailed, Standings};
use crate::passive::{Loads, Rush, quarantined};
use crate::points::{Point, pass};
use crate::prices::Prices;
use crate::rebuild::recover_caught;
use crate::recovery::{Recovered, Scenarios, created, events, fold_to, page, stream_of};
use crate::registry::Registry;
use crate::run_id::RunId;
use crate::scope::{Scoped, ScopedRun, WorkspaceId};
use crate::store::engine::Durability;
use crate::store::{CheckReport, Head, OpenError, Options, ReadError, Stats, Store, StreamId, StreamKind};
use crate::subscribers::{Follow, Pieces};
use crate::supervisor::{Supervisor, SupervisorMsg};
use crate::telemetry::Telemetry;
use crate::timers::Timers;
use crate::tool::address::Allowed;
use crate::tool::http::{HttpTools, NoSecrets, Secrets};
use crate::tool::mcp::{McpOptions, McpServers};
use crate::turns::Turns;
pub use crate::upkeep::{DeleteError, Keep};
use crate::verify::{Verified, verify};

/// Runs for each thread that go up to their first append at once.
const FIRST_LEGS: usize = 32;

/// How long the last spans of traces may take to leave.
const LAST_SPANS: Duration = Duration::from_secs(5);
/// How long the supervisor may take for its own end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a runtime is opened.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// `memory:`, `sled://DIR` or `fjall://DIR`.
    pub store: String,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// Live runs at most; further ones wait for a place.
    pub max_live_runs: usize,
    /// New runs that wait for a place at most; further ones are refused, with a hint when to come again.
    pub max_queued_runs: usize,
    /// New runs are refused while the process takes more memory, in bytes; `None`: however much it takes.
    pub max_memory_bytes: Option<u64>,
    /// A run that waits for a moment of wall time is passivated after so long (10 s): it then costs an entry in a table. Zero:
    /// at once; `None`: only where its place is wanted. One that does nothing but wait from its beginning has no orchestrator at all
    /// where [`StartOptions::stored`] asks for it alone.
    pub passivate_after: Option<Duration>,
    /// How long a shutdown waits for live runs and for the store (30 s).
    pub drain: Duration,
    /// Which ended runs are kept (all); the others are deleted.
    pub keep_ended: Keep,
    /// The engine's page cache, in bytes; `None`: the store's default.
    pub cache_bytes: Option<u64>,
    /// The wall clock.
    pub clock: WallClock,
    /// Built-in tools: pure functions.
    pub builtins: Arc<dyn Builtins>,
    /// Who answers for providers.
    pub model: Option<Arc<dyn Model>>,
    /// The process' metrics, which the model may share.
    pub metrics: Arc<Metrics>,
    /// What models cost.
    pub prices: Arc<Prices>,
    /// What the workspace's runs may spend on models together, a day.
    pub day_limits: DayLimits,
    /// What tools of kind `http` may reach besides public addresses.
    pub http_allowed: Allowed,
    /// Where the secrets are that such tools name.
    pub secrets: Arc<dyn Secrets>,
    /// What tools of kind `mcp` may start.
    pub mcp: McpOptions,
    /// Where spans of traces go, if anywhere.
    pub telemetry: Option<Arc<Telemetry>>,
}

impl Default for RuntimeOptions {
    fn default() -> RuntimeOptions {
        RuntimeOptions {
            store: "memory:".into(),
            durability: Durability::Fsync,
            max_live_runs: 1024,
            max_queued_runs: 10_000,
            max_memory_bytes: None,
            passivate_after: Some(Duration::from_secs(10)),
            drain: Duration::from_secs(30),
            keep_ended: Keep::All,
            cache_bytes: None,
            clock: WallClock::default(),
            builtins: Arc::new(crate::tool::BuiltinTools),
            model: None,
            metrics: Arc::new(Metrics::new()),
            prices: Arc::default(),
            day_limits: DayLimits::default(),
            http_allowed: Allowed::default(),
            secrets: Arc::new(NoSecrets),
            mcp: McpOptions::default(),
            telemetry: None,
        }
    }
}

/// How a run is started or resumed.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// The run is durable before its id comes back: with whatever it does up to its first append, which comes soon.
    pub stored: bool,
    /// Somebody follows: the run's creation is durable before its id comes back, each tick is an append, events are published.
    pub follow: bool,
    /// Somebody looks on: as above, but a tick is no append of its own. Events come as they become durable anyway.
    pub watch: bool,
    /// The handle is done when the run waits, too; its orchestrator goes then.
    pub until_wait: bool,
    /// Somebody wants to hear answers while they come: models are asked for them piece by piece.
    pub pieces: bool,
    /// Names and values by which people find a new run again.
    pub labels: Arc<Labels>,
    /// The faults that are injected into a new run; `None`: those that the scenario says.
    pub faults: Option<Arc<[Fault]>>,
}

impl StartOptions {
    /// Whether the run is to be durable before its id comes back, and nobody sees how it comes to that.
    pub(crate) fn is_stored_only(&self) -> bool {
        self.stored && !self.follow && !self.watch
    }

    /// Whether somebody waits for what becomes durable.
    pub(crate) fn is_seen(&self) -> bool {
        self.stored || self.follow || self.watch
    }
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
    /// A budget of money counts on a model whose price nobody knows; nothing was stored.
    #[error("{0}")]
    Price(String),
    /// The store or the actors.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// A bound is reached; nothing was stored.
    #[error("{0}")]
    Busy(Busy),
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
    /// The version it plays.
    pub scenario: Arc<Scenario>,
    /// Its events as they become durable, where it is followed.
    pub events: Option<Follow>,
    /// Pieces of models' answers as they come, where they were asked for.
    pub pieces: Option<Pieces>,
    done: oneshot::Receiver<Finished>,
    /// Behind `done`: it looks whether anybody waits.
    _parked: Parked,
}

/// Whoever waits for a run without an orchestrator is kept for as long as he does; the handle keeps nothing of the run itself.
struct Parked {
    live: Weak<Live>,
    shared: Weak<Shared>,
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let (Some(live), Some(shared)) = (self.live.upgrade(), self.shared.upgrade())
            && !live.is_awaited()
            && !live.comes_back.load(Ordering::Acquire)
        {
            shared.registry.unpark_same(&live);
        }
    }
}

impl RunHandle {
    /// Waits until the run has ended or is paused.
    pub async fn done(self) -> Result<LoadedRun, LoadError> {
        self.done.await.map_or_else(|_| Err(LoadError::Stopped("the runtime is gone".into())), |finished| *finished)
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
    /// The moment of wall time that it waits for, where its status is `waiting`.
    pub waits_ms: Option<i64>,
    /// The seed.
    pub seed: u64,
    /// Wall time of its creation, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// Wall time of its end.
    pub ended_ms: Option<i64>,
    /// Stored events.
    pub events: u64,
    /// Names and values by which people find it again.
    pub labels: Labels,
    /// What is wrong with its stream.
    pub damage: Option<String>,
}

/// What a workspace uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Runs with an orchestrator.
    pub live: usize,
    /// What of the day's budget runs have been given.
    pub granted: Amount,
}

/// A page of a list of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<RunSummary>,
    /// The run that the next page comes after, where there may be one.
    pub next: Option<RunId>,
}

/// The runtime, as somebody sees it from within a workspace: nothing of another one can be named here. Clones are handles on the
/// same one.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) workspace: WorkspaceId,
    /// Who acts, as causes name it.
    pub(crate) principal: Arc<str>,
    /// The key with which a command is given, if it is.
    pub(crate) once: Option<Once>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scenarios: Arc<Scenarios>,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) loads: Arc<Loads>,
}

impl Runtime {
    /// Opens the store and starts the supervisor. Nothing that was interrupted goes on by itself: see [`Runtime::resume`].
    pub async fn open(options: RuntimeOptions) -> Result<Runtime, OpenError> {
        let metrics = options.metrics.clone();
        let mut store_options = Options { observer: Some(metrics.clone()), ..Options::default() };
        store_options.cache_bytes = options.cache_bytes.unwrap_or(store_options.cache_bytes);
        let store = Store::open(&options.store, options.durability, store_options).await?;
        Runtime::over(store, metrics, options).await
    }

    /// The runtime over a store that is open already, such as one that tests keep over two of them.
    pub async fn open_on(store: Store, options: RuntimeOptions) -> Result<Runtime, OpenError> {
        let metrics = options.metrics.clone();
        Runtime::over(store, metrics, options).await
    }

    async fn over(store: Store, metrics: Arc<Metrics>, options: RuntimeOptions) -> Result<Runtime, OpenError> {
        let mcp = McpServers::new(options.mcp, options.http_allowed.clone(), options.secrets.clone(), metrics.clone());
        let shared = Arc::new(Shared {
            day_budget: DayBudget::new(options.day_limits, store.clone()),
            prices: options.prices,
            store,
            registry: Registry::default(),
            metrics,
            mcp: Arc::new(mcp),
            builtins: options.builtins,
            model: options.model,
            http: Arc::new(HttpTools::new(options.http_allowed, options.secrets, options.clock)),
            clock: options.clock,
            timers: Timers::default(),
            closing: watch::Sender::new(false),
            places: Places::new(options.max_live_runs, options.max_queued_runs),
            memory: Ceiling::new(options.max_memory_bytes),
            feeds: Feeds::default(),
            catalogue: Catalogue::default(),
            keys: Turns::default(),
            commands: Commands::default(),
            rush: Rush::default(),
            first_legs: Arc::new(Semaphore::new(FIRST_LEGS * tokio::runtime::Handle::current().metrics().num_workers())),
            passivate_after: options.passivate_after,
            drain: options.drain,
            telemetry: options.telemetry,
        });
        let (scenarios, keep_ended) = (Arc::new(Scenarios::default()), options.keep_ended);
        let spawned = Actor::spawn(None, Supervisor, (shared.clone(), scenarios.clone())).await;
        let (supervisor, _) = spawned.map_err(|e| OpenError::Failed(format!("the supervisor does not start: {e}")))?;
        let (workspace, principal) = (WorkspaceId::local(), "local".into());
        let runtime = Runtime { workspace, principal, once: None, shared, scenarios, supervisor, loads: Arc::default() };
        let kept = runtime.supervisor.cast(SupervisorMsg::KeepTime(runtime.clone()));
        kept.map_err(|e| OpenError::Failed(format!("the supervisor does not start: {e}")))?;
        if keep_ended != Keep::All {
            drop(tokio::spawn(runtime.clone().keep(keep_ended)));
        }
        Ok(runtime)
    }

    /// The same runtime from within a workspace, for somebody whom the causes of events name.
    pub fn within(&self, workspace: WorkspaceId, principal: impl Into<Arc<str>>) -> Runtime {
        Runtime { workspace, principal: principal.into(), ..self.clone() }
    }

    /// The same runtime from within the workspace of a run.
    pub fn of<I>(&self, id: &Scoped<I>) -> Runtime {
        Runtime { workspace: id.workspace().clone(), ..self.clone() }
    }

    /// The workspace that this handle sees.
    pub fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    pub(crate) fn scoped(&self, id: &RunId) -> ScopedRun {
        Scoped::new(self.workspace.clone(), id.clone())
    }

    /// Starts a run. Waits for a place among the live ones, unless too many wait already.
    pub async fn start_run(
        &self,
        scenario: Arc<Scenario>,
        input: RunInput,
        start: StartOptions,
    ) -> Result<RunHandle, StartError> {
        let created = self.admitted(&scenario, &input)?;
        self.start_as(RunId::new(), scenario, created, start).await
    }

    /// What a new run begins with, if it may begin; nothing is stored.
    pub(crate) fn admitted(&self, scenario: &Arc<Scenario>, input: &RunInput) -> Result<Box<Created>, StartError> {
        if let Some(unbuilt) = scenario.unbuilt.first() {
            return Err(StartError::Unbuilt(format!("{} is not part of this version", unbuilt.what)));
        }
        let new = NewRun::new(scenario, input).map_err(StartError::Parameters)?;
        self.priced(scenario, &input.models)?;
        Ok(Box::new(new.created))
    }

    /// A new run by its id.
    pub(crate) async fn start_as(
        &self,
        id: RunId,
        scenario: Arc<Scenario>,
        created: Box<Created>,
        start: StartOptions,
    ) -> Result<RunHandle, StartError> {
        let place = self.shared.place(self.workspace.as_str(), Entry::New).await?;
        self.scenarios.store(&self.shared.store, &self.workspace, &scenario, self.shared.clock.now_ms()).await?;
        let principal = self.principal.clone();
        let (live, done) = Live::new(self.scoped(&id), principal, scenario, Some(created.clone()), start, place);
        self.begin(live, done, Origin::New(created), None).await
    }

    /// Whether every model has a price whose money somebody counts.
    fn priced(&self, scenario: &Scenario, models: &[ModelBinding]) -> Result<(), StartError> {
        let by_day = self.shared.day_budget.limits().micro_usd.is_some();
        let Some((name, model)) = self.shared.prices.missing(scenario, models, by_day) else { return Ok(()) };
        Err(StartError::Price(format!(
            "a budget in USD is set, and nobody knows what `{model}` costs (`{name}`): say `price: {{input, output}}` at the alias, \
             or set it under `[prices]` in the settings"
        )))
    }

    /// Goes on with a run that was interrupted or paused.
    pub async fn resume(&self, id: &RunId, start: StartOptions) -> Result<RunHandle, StartError> {
        let scoped = self.scoped(id);
        let is_live = || self.shared.registry.get(&scoped).is_some() || self.shared.registry.is_parked(&scoped);
        if is_live() {
            return Err(StartError::Live(id.clone()));
        }
        // A run that is just being woken, or goes to rest while a place is waited for, would have two orchestrators, and whoever
        // waits for the first would never be told.
        let _load = self.loads.alone(&scoped).await;
        let place = self.shared.place(self.workspace.as_str(), Entry::Accepted).await?;
        if is_live() {
            return Err(StartError::Live(id.clone()));
        }
        let mut recovered = self.recovered(&scoped).await?;
        let status = &recovered.loaded.run.state().status;
        if let Some(word) = status.ended() {
            return Err(StartError::Ended(id.clone(), word.into()));
        }
        if let Some(quarantined) = quarantined(id, status) {
            return Err(quarantined.into());
        }
        self.priced(recovered.loaded.run.scenario(), &recovered.loaded.run.state().created.models)?;
        if status.is_paused() {
            recovered = self.decided(recovered, Command::Resume).await?;
        }
        let scenario = recovered.loaded.run.scenario().clone();
        let (live, done) = Live::new(scoped, self.principal.clone(), scenario, None, start, place);
        self.begin(live, done, Origin::Stored(Box::new(recovered)), None).await
    }

    /// Lets a quarantined run go on at its next resume, or fail.
    pub async fn release(&self, id: &RunId, fail: bool) -> Result<LoadedRun, CommandFailed> {
        let scoped = self.scoped(id);
        if self.shared.registry.get(&scoped).is_some() || self.shared.registry.is_parked(&scoped) {
            return Err(StartError::Live(id.clone()).into());
        }
        let recovered = self.recovered(&scoped).await?;
        if let Some(word) = recovered.loaded.run.state().status.ended() {
            return Err(StartError::Ended(id.clone(), word.into()).into());
        }
        let command = Command::Release { fail };
        recovered.loaded.run.decide(command.clone()).map_err(CommandError::Refused)?;
        Ok(self.decided(recovered, command).await?.loaded)
    }

    /// What a command leads to in a run without an orchestrator, durable.
    async fn decided(&self, mut recovered: Recovered, command: Command) -> Result<Recovered, LoadError> {
        use crate::log::LogWriter;
        pass(Point::UnpauseBefore);
        let given = self.given(command);
        let why = given.cause(self.shared.clock.now_ms());
        let events = recovered.loaded.run.decide(*given.command).map_err(|e| LoadError::Stopped(e.to_string()))?;
        let store = &self.shared.store;
        let lease = store.lease(&recovered.stream);
        let mut log = LogWriter::new(recovered.stream.clone(), lease, recovered.loaded.head, recovered.digest, why);
        for event in events {
            let event = log.push(event)?;
            recovered.loaded.run.apply(&event);
        }
        let (meta, live) = recovered.meta.update(recovered.loaded.run.state(), None, self.shared.clock.now_ms());
        let events = log.flush(store, Some(meta), live).await?;
        recovered.loaded.head = log.head();
        let scoped = self.scoped(&recovered.loaded.id);
        self.shared.tell(&scoped, log.head().seq, &events);
        pass(Point::UnpauseAfter);
        Ok(recovered)
    }

    pub(crate) async fn begin(
        &self,
        live: Arc<Live>,
        done: oneshot::Receiver<Finished>,
        origin: Origin,
        first: Option<OrchestratorMsg>,
    ) -> Result<RunHandle, StartError> {
        let (id, scenario) = (live.id.id().clone(), live.scenario.clone());
        let events = (live.start.follow || live.start.watch).then(|| live.subscribers.follow());
        let pieces = live.start.pieces.then(|| live.subscribers.listeners.listen());
        let waits = matches!(origin, Origin::New(_)) && live.start.is_seen();
        let stored = waits.then(|| live.when_stored());
        let parked = Parked { live: Arc::downgrade(&live), shared: Arc::downgrade(&self.shared) };
        self.start_live(live, origin, first).await?;
        let handle = RunHandle { id, scenario, events, pieces, done, _parked: parked };
        if let Some(stored) = stored
            && stored.await.is_err()
        {
            // Nobody says that it is durable: how it ended instead says why.
            let loaded = handle.done().await?;
            return Err(LoadError::Stopped(format!("run `{}` was not stored", loaded.id)).into());
        }
        Ok(handle)
    }

    /// All runs, newest first.
    pub async fn runs(&self) -> Result<Vec<RunSummary>, ReadError> {
        Ok(self.runs_page(None, usize::MAX, |_| true).await?.runs)
    }

    /// The newest `limit` runs, or those before a given one, that are wanted. Of the others only the row of the list is read.
    pub async fn runs_page(
        &self,
        before: Option<&RunId>,
        limit: usize,
        wanted: impl Fn(&RunSummary) -> bool + Send + Sync + 'static,
    ) -> Result<RunPage, ReadError> {
        let wanted = Arc::new(wanted);
        let workspace = self.workspace.as_str();
        let stream = |id: &RunId| run_stream(&self.scoped(id)).ok();
        let (mut runs, mut before) = (Vec::new(), before.and_then(stream));
        while runs.len() < limit {
            let wanted = wanted.clone();
            let keep = move |stream: &StreamId, meta: Option<&[u8]>| {
                let id = stream.id().parse::<RunId>().ok();
                id.is_some_and(|id| wanted(&summary(id, meta.unwrap_or_default(), None)))
            };
            let ask = (limit - runs.len()).min(1000);
            let page = self.shared.store.newest(workspace, StreamKind::Run, before.as_ref(), ask, keep).await?;
            let (found, last) = (page.len(), page.last().map(|listed| listed.stream.clone()));
            for listed in page {
                let Ok(id) = listed.stream.id().parse::<RunId>() else { continue };
                let mut run = summary(id, &listed.meta, listed.head.as_ref().err().map(ToString::to_string));
                if let Ok(head) = listed.head {
                    run.events = head.seq;
                }
                runs.push(run);
            }
            if found < ask {
                return Ok(RunPage { runs, next: None });
            }
            before = last.or(before);
        }
        let next = runs.last().map(|run| run.id.clone());
        Ok(RunPage { runs, next })
    }

    /// The runs whose ids begin with a word, at most `limit`.
    pub async fn runs_beginning(&self, word: &str, limit: usize) -> Result<Vec<RunId>, ReadError> {
        let workspace = self.workspace.as_str();
        let Ok(from) = StreamId::new(workspace, StreamKind::Run, word) else { return Ok(Vec::new()) };
        let mut ids: Vec<RunId> = Vec::new();
        if let Ok(id) = word.parse() {
            ids.push(id);
        }
        let page = self.shared.store.streams(workspace, StreamKind::Run, Some(&from), limit).await?;
        let found = page.iter().filter(|listed| listed.stream.id().starts_with(word)).filter_map(|l| l.stream.id().parse().ok());
        ids.extend(found);
        ids.truncate(limit);
        Ok(ids)
    }

    /// Folds a run from its log: zero calls.
    pub async fn load(&self, id: &RunId) -> Result<LoadedRun, LoadError> {
        Ok(recover_caught(&self.shared.store, &self.scenarios, &self.scoped(id)).await?.loaded)
    }

    /// A run's stored events from one on.
    pub async fn events(&self, id: &RunId, from_seq: u64) -> Result<Vec<StoredEvent>, LoadError> {
        events(&self.shared.store, &self.scoped(id), from_seq).await
    }

    /// A run's stored events behind a seq, as they become durable; of a run that must exist.
    pub async fn follow(&self, id: &RunId, after: u64) -> Result<Follower, LoadError> {
        let scoped = self.scoped(id);
        if self.shared.store.head(&stream_of(&scoped)?).await? == Head::START {
            return Err(LoadError::Unknown(id.to_string()));
        }
        Ok(Follower::new(self.shared.clone(), scoped, after))
    }

    /// How a run began, the scenario version it plays, and the wall time of its creation, milliseconds since 1970 UTC.
    pub async fn beginning(&self, id: &RunId) -> Result<(Created, Arc<Scenario>, i64), LoadError> {
        let scoped = self.scoped(id);
        let (created, started_ms) = created(&self.shared.store, &stream_of(&scoped)?, &scoped).await?;
        let scenario = self.scenarios.load(&self.shared.store, &self.workspace, &created.scenario_hash).await?;
        Ok((created, scenario, started_ms))
    }

    /// A run as it stood after an event, or after the last one where there are fewer; and which that was.
    pub async fn load_at(&self, id: &RunId, seq: u64) -> Result<(Run, u64), LoadError> {
        fold_to(&self.shared.store, &self.scenarios, &self.scoped(id), seq).await
    }

    /// A line of the list: one run alone.
    pub async fn summary(&self, id: &RunId) -> Result<RunSummary, LoadError> {
        let (head, meta) = self.shared.store.listing(&stream_of(&self.scoped(id))?).await?;
        if head == Head::START {
            return Err(LoadError::Unknown(id.to_string()));
        }
        Ok(RunSummary { events: head.seq, ..summary(id.clone(), meta.as_deref().unwrap_or_default(), None) })
    }

    /// Some of a run's stored events from one on: at least one, if there is one.
    pub async fn events_page(&self, id: &RunId, from_seq: u64) -> Result<Vec<StoredEvent>, LoadError> {
        page(&self.shared.store, &stream_of(&self.scoped(id))?, from_seq).await
    }

    /// Replays a run through `decide` and compares every canonical event.
    pub async fn verify(&self, id: &RunId) -> Result<Verified, LoadError> {
        let log = events(&self.shared.store, &self.scoped(id), 1).await?;
        let stream = run_stream(&self.scoped(id)).map_err(|_| LoadError::Unknown(id.to_string()))?;
        let frames = self.shared.store.read(&stream, 1, 1).await?;
        let engine = frames.first().map_or(0, |f| f.header.engine);
        let loaded = self.load(id).await?;
        Ok(verify(loaded.run.scenario(), &log, engine, &self.shared.builtins))
    }

    /// Reads everything stored and says what is wrong.
    pub async fn check(&self) -> Result<CheckReport, ReadError> {
        let mut report = self.shared.store.check().await?;
        let live = self.check_live(&report).await?;
        report.damage.extend(live);
        Ok(report)
    }

    /// Words of a person to an agent of a run, which is woken for them.
    pub async fn tell(&self, id: &RunId, seat: Seat, text: &str, data: Value) -> Result<u64, CommandFailed> {
        self.command(id, Command::Tell { seat, text: text.into(), data }).await
    }

    /// What became of a step of which nobody knew; the run goes on with it.
    pub async fn resolve(&self, id: &RunId, step: StepId, resolution: Resolution) -> Result<u64, CommandFailed> {
        self.command(id, Command::Resolve { step, resolution }).await
    }

    /// Ends a run.
    pub async fn cancel(&self, id: &RunId, reason: &str) -> Result<u64, CommandFailed> {
        self.command(id, Command::Cancel { reason: reason.into() }).await
    }

    /// Lets a run stand still.
    pub async fn pause(&self, id: &RunId, reason: &str) -> Result<u64, CommandFailed> {
        self.command(id, Command::Pause { reason: reason.into() }).await
    }

    /// What the workspace uses now.
    pub async fn usage(&self) -> Result<Usage, LoadError> {
        let live = self.shared.registry.count(&self.workspace);
        let granted = self.shared.day_budget.given(&self.workspace, self.shared.clock.now_ms()).await?;
        Ok(Usage { live, granted })
    }

    /// The process' metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// What the store has written since it was opened.
    pub fn store_stats(&self) -> Stats {
        self.shared.store.stats()
    }

    /// The wall clock, milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }

    /// Whether the store takes writes now.
    pub fn is_writable(&self) -> bool {
        self.shared.store.is_writable()
    }

    /// The store's engine and durability.
    pub fn store_engine(&self) -> (&'static str, Durability) {
        let (engine, durability, _) = self.shared.store.engine();
        (engine, durability)
    }

    /// Live runs stop where they are, with everything decided durable; then the store closes. What has not stopped within
    /// [`RuntimeOptions::drain`] is given up: what of it was not acknowledged is decided again when it is resumed.
    pub async fn shutdown(&self) -> Result<(), String> {
        let closed = tokio::time::timeout(self.shared.drain, self.drain()).await;
        // Whoever still waits for a run is told so.
        let told = self.supervisor.stop_and_wait(None, Some(LAST_WORDS)).await;
        if told.is_err() {
            tracing::debug!("the supervisor did not stop in time");
        }
        if let Some(telemetry) = &self.shared.telemetry
            && !telemetry.flush(LAST_SPANS.min(self.shared.drain)).await
        {
            tracing::warn!("the last spans of traces have not left");
        }
        closed.unwrap_or_else(|_| Err(format!("not everything has stopped within {} s", self.shared.drain.as_secs_f64())))
    }

    async fn drain(&self) -> Result<(), String> {
        self.shared.closing.send_replace(true);
        self.shared.places.close();
        // Else each run that stops would let another one begin behind it.
        self.shared.first_legs.close();
        pass(Point::DrainBefore);
        // All at once, so that their last appends are one group.
        let mut draining = tokio::task::JoinSet::new();
        for actor in self.shared.registry.all() {
            draining.spawn(async move {
                if call!(actor, OrchestratorMsg::Drain).is_err() {
                    tracing::debug!("a run ended while it was asked to stop");
                }
            });
        }
        draining.join_all().await;
        pass(Point::DrainAfter);
        self.release_parked().await;
        self.shared.mcp.stop().await;
        let closed = self.shared.store.close().await;
        // A run that set out just then may have been put aside meanwhile.
        self.release_parked().await;
        closed
    }
}

fn summary(id: RunId, meta: &[u8], damage: Option<String>) -> RunSummary {
    let Some(meta) = RunMeta::decode(meta) else {
        let damage = damage.or_else(|| Some("its list row cannot be read".into()));
        return RunSummary {
            id,
            scenario: String::new(),
            status: "unknown".into(),
            waits_ms: None,
            seed: 0,
            started_ms: 0,
            ended_ms: None,
            events: 0,
            labels: Labels::new(),
            damage,
        };
    };
    let live = matches!(meta.status.as_str(), "queued" | "running" | "paused" | "waiting" | "quarantined");
    RunSummary {
        id,
        scenario: meta.scenario.to_string(),
        waits_ms: meta.waits,
        seed: meta.seed,
        started_ms: meta.started_ms,
        ended_ms: (!live).then_some(meta.updated_ms),
        status: meta.status,
        events: meta.events,
        labels: meta.labels.to_vec(),
        damage,
    }
}
