//! Plays the retail pack on a memory store and gives its metrics by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{FileError, Files, Loaded, Scenario, load};
use commedia_domain::value::Value;

/// The packs' folder.
pub(crate) fn packs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/scenarios")
}

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|_| FileError::NotFound)
    }
}

/// A pack's scenario, such as `coin-shop/coin-shop`; its faults in words otherwise.
pub(crate) fn pack(path: &str) -> Loaded {
    let file = packs().join(format!("{path}.scenario.yaml"));
    let source = std::fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let folder = Folder(file.parent().expect("a pack has a folder").to_owned());
    load(path, &source, &folder)
        .unwrap_or_else(|faults| panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))
}

pub(crate) fn text(t: &str) -> Value {
    Value::text(t)
}

pub(crate) fn int(n: i64) -> Value {
    Value::Int(n)
}

/// The pack, ready to be played.
pub(crate) struct Season {
    pub(crate) runtime: Runtime,
    pub(crate) scenario: Arc<Scenario>,
}

impl Season {
    pub(crate) async fn open() -> Season {
        let runtime = Runtime::open(RuntimeOptions::default()).await.expect("a memory store opens");
        Season { runtime, scenario: Arc::new(pack("retail-season/retail-season").scenario) }
    }

    /// Plays a season offline; starts on Monday 2026-03-02 where nothing else is said. Every check must hold.
    pub(crate) async fn play(&self, params: &[(&str, Value)], seed: u64) -> BTreeMap<String, f64> {
        let mut given = BTreeMap::from([("season_start_date".to_owned(), text("2026-03-02"))]);
        given.extend(params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let models = vec![ModelBinding::Offline; self.scenario.models.len() + 1];
        let input = RunInput { params: given.into_iter().collect(), seed, now: 0, models };
        let handle = self.runtime.start_run(self.scenario.clone(), input, StartOptions { follow: false }).await.expect("starts");
        let run = handle.done().await.expect("ends").run;
        let state = run.state();
        assert_eq!(state.status, Status::Completed, "seed {seed}, {params:?}: {:?}", state.ended);
        let ended = state.ended.as_ref().expect("it has ended");
        for check in &ended.checks {
            let name = &self.scenario.checks[usize::from(check.check)].name;
            assert!(check.passed, "seed {seed}, {params:?}: check `{name}` does not hold ({:?})", check.error);
        }
        let name = |at: usize| self.scenario.metrics[at].name.to_string();
        ended.metrics.iter().map(|s| (name(s.metric.at()), s.value.unwrap_or(f64::NAN))).collect()
    }
}
