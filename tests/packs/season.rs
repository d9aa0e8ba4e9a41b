//! Plays the retail pack on a memory store and gives its metrics by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use commedia_actors::live::LoadedRun;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_domain::event::{ModelBinding, Sample};
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{FileError, Files, Loaded, Scenario, load};
use commedia_domain::value::Value;

/// The packs' folder.
pub(crate) fn packs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/scenarios")
}

/// A folder's files.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|_| FileError::NotFound)
    }
}

/// A pack's scenario, such as `coin-shop`; its faults in words otherwise.
pub(crate) fn pack(name: &str) -> Loaded {
    let folder = Folder(packs().join(name));
    let file = format!("{name}.scenario.yaml");
    let source = folder.read(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
    load(&file, &source, &folder)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

pub(crate) fn text(t: &str) -> Value {
    Value::text(t)
}

pub(crate) fn int(n: i64) -> Value {
    Value::Int(n)
}

/// Plays a scenario to its end, one model for every alias.
pub(crate) async fn play(
    runtime: &Runtime,
    scenario: &Arc<Scenario>,
    params: &[(&str, Value)],
    seed: u64,
    model: ModelBinding,
) -> LoadedRun {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let models = vec![model; scenario.models.len() + 1];
    let input = RunInput { params, seed, now: 0, models };
    let handle = runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts");
    handle.done().await.expect("ends")
}

/// The retail pack on a memory store.
pub(crate) struct Season {
    pub(crate) runtime: Runtime,
    pub(crate) scenario: Arc<Scenario>,
}

impl Season {
    pub(crate) async fn open() -> Season {
        let builtins = Arc::new(commedia_actors::tool::BuiltinTools);
        let runtime = Runtime::open(RuntimeOptions { builtins, ..Default::default() }).await.expect("a memory store opens");
        Season { runtime, scenario: Arc::new(pack("retail-season").scenario) }
    }

    /// Plays a season offline; starts on Monday 2026-03-02 where nothing else is said. Every check must hold.
    pub(crate) async fn play(&self, params: &[(&str, Value)], seed: u64) -> BTreeMap<String, f64> {
        let mut given = BTreeMap::from([("season_start_date", text("2026-03-02"))]);
        given.extend(params.iter().cloned());
        let given: Vec<(&str, Value)> = given.into_iter().collect();
        let run = play(&self.runtime, &self.scenario, &given, seed, ModelBinding::Offline).await.run;
        let state = run.state();
        assert_eq!(state.status, Status::Completed, "seed {seed}, {params:?}: {:?}", state.ended);
        let ended = state.ended.as_ref().expect("it has ended");
        for check in &ended.checks {
            let name = &self.scenario.checks[usize::from(check.check)].name;
            assert!(check.passed, "seed {seed}, {params:?}: check `{name}` does not hold ({:?})", check.error);
        }
        let name = |at: usize| self.scenario.metrics[at].name.to_string();
        let value = |s: &Sample| {
            s.value.unwrap_or_else(|| panic!("seed {seed}, {params:?}: {} has no value: {:?}", name(s.metric.at()), s.error))
        };
        ended.metrics.iter().map(|s| (name(s.metric.at()), value(s))).collect()
    }

    /// The means of the metrics over the seeds 1 to `seeds`: the same ones for every choice of parameters.
    pub(crate) async fn means(&self, params: &[(&str, Value)], seeds: u64) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for seed in 1..=seeds {
            for (name, value) in self.play(params, seed).await {
                *sums.entry(name).or_default() += value / seeds as f64;
            }
        }
        sums
    }
}
