//! The composition root: settings become a runtime, a signal becomes a drain. Nothing else builds a runtime.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use commedia_actors::identity::Identity;
use commedia_actors::log::LoadError;
use commedia_actors::metrics::Metrics;
use commedia_actors::model::Model;
use commedia_actors::model::cache::Cache;
use commedia_actors::model::gateway::Gateway;
use commedia_actors::orchestrator::CommandError;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{CommandFailed, Runtime, RuntimeOptions, StartError};
use commedia_actors::scope::WorkspaceId;
use commedia_actors::store::{AppendError, OpenError, ReadError};
use commedia_actors::telemetry::Telemetry;

use crate::failure::{Exit, Failure};
use crate::models::Providers;
use crate::output::{Console, say};
use crate::settings::Settings;
pub use crate::signals::interrupted;
use crate::tape::Tape;

/// The process: its settings and its streams. The runtime is opened by the commands that need one.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub settings: Settings,
    /// Streams.
    pub console: Console,
    /// Whoever answers for models outside the process, with the metrics it counts in; made when first wanted.
    models: OnceLock<(Arc<Cache>, Arc<Metrics>)>,
    /// Where traces go, made when first wanted.
    #[cfg(feature = "otlp")]
    telemetry: OnceLock<Option<Arc<Telemetry>>>,
}

impl App {
    /// A process of these.
    pub fn new(settings: Settings, console: Console) -> App {
        App {
            settings,
            console,
            models: OnceLock::new(),
            #[cfg(feature = "otlp")]
            telemetry: OnceLock::new(),
        }
    }

    /// Where traces go, if anywhere. That they cannot be made is said, and stops nobody.
    #[cfg(feature = "otlp")]
    fn telemetry(&self) -> Option<Arc<Telemetry>> {
        let settings = &self.settings.telemetry;
        let start = || {
            let url = settings.url.as_ref()?;
            let started =
                commedia_actors::telemetry::otlp::start(url, &settings.service, settings.bodies, self.models().1.clone());
            started.inspect_err(|why| say(&format!("warning: no traces are exported: {why}"))).ok().map(Arc::new)
        };
        self.telemetry.get_or_init(start).clone()
    }

    #[cfg(not(feature = "otlp"))]
    fn telemetry(&self) -> Option<Arc<Telemetry>> {
        None
    }

    fn models(&self) -> &(Arc<Cache>, Arc<Metrics>) {
        self.models.get_or_init(|| {
            let metrics = Arc::new(Metrics::new());
            let providers = Arc::new(Providers(self.settings.models.clone()));
            let gateway = Arc::new(Gateway::new(providers, Arc::new(self.settings.prices.clone()), metrics.clone()));
            (Arc::new(Cache::new(gateway, self.settings.clock)), metrics)
        })
    }

    /// Whoever answers for models outside the process.
    pub fn model(&self) -> Arc<dyn Model> {
        self.models().0.clone()
    }

    /// Opens the store and starts the runtime, with room for so many live runs at least.
    pub async fn open(&self, live: usize) -> Result<Runtime, Failure> {
        let runtime = self.try_open(live).await.map_err(open_failure)?;
        self.known(runtime).await
    }

    /// The same, for a caller that has something to do where the store does not open.
    pub async fn try_open(&self, live: usize) -> Result<Runtime, OpenError> {
        let runtime =
            Runtime::open(RuntimeOptions { max_live_runs: self.settings.max_live_runs.max(live), ..self.options() }).await?;
        Ok(self.within(runtime))
    }

    /// A runtime whose workspace is there; else it is closed again.
    async fn known(&self, runtime: Runtime) -> Result<Runtime, Failure> {
        let here = runtime.workspace().clone();
        if here == WorkspaceId::local() {
            return Ok(runtime);
        }
        let found = Identity::open(&runtime).await.map(|identity| identity.directory().workspace(here.as_str()).is_ok());
        if matches!(found, Ok(true)) {
            return Ok(runtime);
        }
        close(&runtime).await;
        let missing =
            || Failure::usage(format!("there is no workspace `{here}` here")).help("`commedia workspace ls` lists them");
        Err(found.map_or_else(|e| Failure::new(Exit::Store, e), |_| missing()))
    }

    /// From within the workspace that was asked for.
    fn within(&self, runtime: Runtime) -> Runtime {
        runtime.within(self.settings.workspace.clone(), "local")
    }

    /// The same, with models' answers recorded or played.
    pub async fn open_with(&self, live: usize, tape: &Tape) -> Result<Runtime, Failure> {
        if let Some(warning) = &self.settings.telemetry.warning {
            say(&format!("warning: {warning}"));
        }
        let model = Some(tape.model(self.model())?);
        let options = RuntimeOptions { max_live_runs: self.settings.max_live_runs.max(live), model, ..self.options() };
        let runtime = Runtime::open(options).await.map_err(open_failure)?;
        self.known(self.within(runtime)).await
    }

    fn options(&self) -> RuntimeOptions {
        let (model, metrics) = self.models().clone();
        RuntimeOptions {
            model: Some(model),
            metrics,
            store: self.settings.store.clone(),
            durability: self.settings.durability,
            max_live_runs: self.settings.max_live_runs,
            max_queued_runs: self.settings.max_queued_runs,
            max_memory_bytes: self.settings.max_memory_bytes,
            clock: self.settings.clock,
            passivate_after: self.settings.passivate_after,
            drain: self.settings.drain,
            keep_ended: self.settings.keep_ended,
            prices: Arc::new(self.settings.prices.clone()),
            day_limits: self.settings.day_limits,
            http_allowed: self.settings.http_allowed.clone(),
            mcp: self.settings.mcp.clone(),
            telemetry: self.telemetry(),
            secrets: Arc::new(crate::secrets::ProcessSecrets),
            ..RuntimeOptions::default()
        }
    }

    /// The runtime of the bench for runs that wait: passivated at once, or never.
    pub async fn open_waiting(&self, live: usize, held_live: bool) -> Result<Runtime, OpenError> {
        let options = RuntimeOptions {
            max_live_runs: live,
            passivate_after: (!held_live).then_some(std::time::Duration::ZERO),
            ..self.options()
        };
        Runtime::open(options).await
    }

    /// The runtime over a store that is there already; `None` where nothing was ever stored, and nothing is created.
    pub async fn open_stored(&self) -> Result<Option<Runtime>, Failure> {
        if self.is_stored() { self.open(1).await.map(Some) } else { Ok(None) }
    }

    /// The same, with room for so many live runs at least.
    pub async fn open_stored_for(&self, live: usize) -> Result<Option<Runtime>, Failure> {
        if self.is_stored() { self.open(live).await.map(Some) } else { Ok(None) }
    }

    /// Whether there may be a store: a folder that is not there holds none.
    pub fn is_stored(&self) -> bool {
        self.settings.store_dir().is_none_or(std::path::Path::exists)
    }

    /// The runtime and the run that a word means: an id, `@1` for the newest, or an id's unique beginning.
    pub async fn find(&self, word: &str) -> Result<(Runtime, RunId), Failure> {
        let none = || Failure::usage(format!("there is no run `{word}` here")).help("`commedia ls` lists them");
        let Some(runtime) = self.open_stored().await? else { return Err(none()) };
        if let Ok(id) = RunId::from_str(word) {
            return Ok((runtime, id));
        }
        match find_in(&runtime, word).await {
            Ok(Some(id)) => Ok((runtime, id)),
            Ok(None) => {
                close(&runtime).await;
                Err(none())
            }
            Err(failure) => {
                close(&runtime).await;
                Err(failure)
            }
        }
    }
}

/// How a word names a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'w> {
    /// By its place, the newest being 1.
    Place(usize),
    /// By its id's beginning.
    Beginning(&'w str),
    /// Not at all.
    Other,
}

impl Word<'_> {
    fn of(word: &str) -> Option<Word<'_>> {
        match word.strip_prefix('@') {
            Some(n) => n.parse().ok().filter(|n| *n > 0).map(Word::Place),
            None if !word.starts_with("r_") || word.len() < 6 => Some(Word::Other),
            None => Some(Word::Beginning(word)),
        }
    }
}

/// Looks a run up without reading all of them.
async fn find_in(runtime: &Runtime, word: &str) -> Result<Option<RunId>, Failure> {
    let no_place = || Failure::usage(format!("`{word}` is no run")).help("`@1` is the newest run, `@2` the one before");
    match Word::of(word).ok_or_else(no_place)? {
        Word::Place(n) => {
            let page = runtime.runs_page(None, n, |_| true).await.map_err(read_failure)?;
            let missing = || Failure::usage(format!("there is no run `{word}`: {} are stored", page.runs.len()));
            page.runs.get(n - 1).map(|run| Some(run.id.clone())).ok_or_else(missing)
        }
        Word::Beginning(word) => match runtime.runs_beginning(word, 2).await.map_err(read_failure)?.as_slice() {
            [] => Ok(None),
            [id] => Ok(Some(id.clone())),
            _ => Err(Failure::usage(format!("several runs begin with `{word}`")).help("write more of the id")),
        },
        Word::Other => Ok(None),
    }
}

/// Lets go of the store, within `runtime.drain`. What went wrong is said: everything acknowledged is durable already.
pub async fn close(runtime: &Runtime) {
    if let Err(why) = runtime.shutdown().await {
        say(&format!("warning: the store was not closed in order: {why}; all that was acknowledged is kept"));
    }
}

/// Why a store does not open, with the remedy.
pub fn open_failure(e: OpenError) -> Failure {
    let failure = Failure::store(&e);
    match e {
        OpenError::Locked { .. } => failure.help("wait for the other process, or use another --data folder, or --memory"),
        OpenError::Newer { .. } => failure,
        OpenError::OtherEngine { found, .. } => {
            failure.help(format!("--store {found}://DIR opens it; `commedia store copy` changes its engine"))
        }
        OpenError::Damaged(_) => failure.help("restore it from a backup, or use another --data folder"),
        OpenError::Failed(_) => failure.help("--data names another folder"),
        OpenError::Url(_) => Failure { exit: Exit::Usage, ..failure },
    }
}

/// Why the store cannot be read.
pub fn read_failure(e: ReadError) -> Failure {
    Failure::store(e).help("`commedia store check` names all damage")
}

/// Why a run cannot be read.
pub fn load_failure(e: LoadError) -> Failure {
    match e {
        LoadError::Unknown(_) => Failure::usage(e),
        LoadError::Store(e) => read_failure(e),
        LoadError::Append(AppendError::Damaged(_)) => Failure::store(e).help("`commedia store check` names all damage"),
        LoadError::Append(_) => Failure::store(e),
        LoadError::Scenario(_) => Failure::invalid(e),
        LoadError::Stopped(_) | LoadError::Panicked(_) => Failure::new(Exit::Internal, e),
        LoadError::Quarantined { ref id, .. } => {
            let help = format!("`commedia release {id} --to running` lets it try again, `--to failed` ends it");
            Failure::new(Exit::Failed, e).help(help)
        }
    }
}

/// Why a run was not started or resumed.
pub fn start_failure(e: StartError) -> Failure {
    match e {
        StartError::Parameters(faults) => Failure::invalid(faults.join("\nerror: ")),
        StartError::Unbuilt(_) | StartError::Price(_) => Failure::invalid(e),
        StartError::Load(e) => load_failure(e),
        StartError::Live(_) | StartError::Ended(..) => Failure::usage(e),
        StartError::Busy(_) => Failure::new(Exit::Limit, e),
    }
}

/// Why a command did not reach its run, or was refused.
pub fn command_failure(e: CommandFailed) -> Failure {
    match e {
        CommandFailed::Command(CommandError::Refused(refusal)) => Failure::usage(refusal),
        CommandFailed::Command(CommandError::Store(e)) => load_failure(LoadError::Append(e)),
        CommandFailed::Start(e) => start_failure(e),
        CommandFailed::Busy(_) => Failure::new(Exit::Limit, e),
        CommandFailed::Unreachable(_) => Failure::new(Exit::Internal, e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_its_place_or_its_beginning() {
        let check = |word: &str, expect: Option<Word<'_>>| assert_eq!(Word::of(word), expect, "{word}");
        check("@1", Some(Word::Place(1)));
        check("@0", None);
        check("@x", None);
        check("r_0abc", Some(Word::Beginning("r_0abc")));
        check("r_0", Some(Word::Other));
        check("coin-shop", Some(Word::Other));
    }
}
