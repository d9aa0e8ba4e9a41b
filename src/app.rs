//! The composition root: settings become a runtime, a signal becomes a drain. Nothing else builds a runtime.

use std::str::FromStr;

use commedia_actors::log::LoadError;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunSummary, Runtime, RuntimeOptions, StartError};
use commedia_actors::store::{AppendError, OpenError, ReadError};

use crate::failure::{Exit, Failure};
use crate::output::Console;
use crate::settings::Settings;

/// The process: its settings and its streams. The runtime is opened by the commands that need one.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub settings: Settings,
    /// Streams.
    pub console: Console,
}

impl App {
    /// Opens the store and starts the runtime, with room for so many live runs at least.
    pub async fn open(&self, live: usize) -> Result<Runtime, Failure> {
        self.try_open(live).await.map_err(open_failure)
    }

    /// The same, for a caller that has something to do where the store does not open.
    pub async fn try_open(&self, live: usize) -> Result<Runtime, OpenError> {
        let options = RuntimeOptions {
            store: self.settings.store.clone(),
            durability: self.settings.durability,
            max_live_runs: self.settings.max_live_runs.max(live),
            clock: self.settings.clock,
            ..RuntimeOptions::default()
        };
        Runtime::open(options).await
    }

    /// The runtime over a store that is there already; `None` where nothing was ever stored, and nothing is created.
    pub async fn open_stored(&self) -> Result<Option<Runtime>, Failure> {
        if self.is_stored() { self.open(1).await.map(Some) } else { Ok(None) }
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
        let found = find_in(&runtime.runs().await.map_err(read_failure)?, word);
        match found {
            Ok(id) => Ok((runtime, id)),
            Err(failure) => {
                close(&runtime).await;
                Err(failure.unwrap_or_else(none))
            }
        }
    }
}

fn find_in(runs: &[RunSummary], word: &str) -> Result<RunId, Option<Failure>> {
    if let Some(n) = word.strip_prefix('@') {
        let n: usize = n.parse().ok().filter(|n| *n > 0).ok_or_else(|| {
            Some(Failure::usage(format!("`{word}` is no run")).help("`@1` is the newest run, `@2` the one before"))
        })?;
        let missing = || Some(Failure::usage(format!("there is no run `{word}`: {} are stored", runs.len())));
        return runs.get(n - 1).map(|r| r.id.clone()).ok_or_else(missing);
    }
    if !word.starts_with("r_") || word.len() < 6 {
        return Err(None);
    }
    let mut matching = runs.iter().filter(|r| r.id.as_str().starts_with(word));
    match (matching.next(), matching.next()) {
        (Some(run), None) => Ok(run.id.clone()),
        (Some(_), Some(_)) => Err(Some(Failure::usage(format!("several runs begin with `{word}`")).help("write more of the id"))),
        (None, _) => Err(None),
    }
}

/// Lets go of the store. What went wrong is logged: everything acknowledged is durable already.
pub async fn close(runtime: &Runtime) {
    if let Err(why) = runtime.shutdown().await {
        tracing::warn!("closing the store: {why}");
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
        LoadError::Stopped(_) => Failure::new(Exit::Internal, e),
    }
}

/// Why a run was not started or resumed.
pub fn start_failure(e: StartError) -> Failure {
    match e {
        StartError::Parameters(faults) => Failure::invalid(faults.join("\nerror: ")),
        StartError::Unbuilt(_) => Failure::invalid(e),
        StartError::Load(e) => load_failure(e),
        StartError::Live(_) | StartError::Ended(..) => Failure::usage(e),
    }
}

/// Waits for the first SIGINT or SIGTERM. A second one ends the process at once.
pub async fn interrupted() {
    if signal().await {
        tokio::spawn(async {
            if signal().await {
                std::process::exit(Exit::Interrupted as i32);
            }
        });
    }
}

#[cfg(unix)]
async fn signal() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            came = interrupt.recv() => came.is_some(),
            came = terminate.recv() => came.is_some(),
        },
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signal() -> bool {
    match tokio::signal::ctrl_c().await {
        Ok(()) => true,
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str) -> RunSummary {
        RunSummary {
            id: RunId::from_str(id).expect("a run id"),
            scenario: "s".into(),
            status: "completed".into(),
            seed: 1,
            started_ms: 0,
            ended_ms: None,
            events: 1,
            damage: None,
        }
    }

    #[test]
    fn a_run_is_found_by_its_place_or_its_beginning() {
        let (b, a) = ("r_00000000000000000000000001", "r_0abcdef0000000000000000000");
        let runs = [run(a), run(b)];
        let check = |word: &str, expect: Option<&str>| {
            let found = find_in(&runs, word).ok();
            assert_eq!(found.as_ref().map(RunId::as_str), expect, "{word}");
        };
        check("@1", Some(a));
        check("@2", Some(b));
        check("@3", None);
        check("@0", None);
        check("@x", None);
        check("r_0abc", Some(a));
        check("r_0", None);
        check("r_0000", Some(b));
        check("r_zzzz", None);
        check("coin-shop", None);
    }
}
