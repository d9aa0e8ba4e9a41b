//! The startup studio: it means something offline, each parameter moves a metric, and the critic sends work back.

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_actors::runtime::{Runtime, RuntimeOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::Status;
use commedia_domain::scenario::Scenario;
use commedia_domain::value::Value;

use crate::season::{int, pack, play, text};

const SEEDS: u64 = 12;

struct Studio {
    runtime: Runtime,
    scenario: Arc<Scenario>,
}

impl Studio {
    async fn open() -> Studio {
        let builtins = Arc::new(commedia_actors::tool::BuiltinTools);
        let runtime = Runtime::open(RuntimeOptions { builtins, ..Default::default() }).await.expect("a memory store opens");
        Studio { runtime, scenario: Arc::new(pack("startup-studio").scenario) }
    }

    /// The metrics of a run whose checks all hold.
    async fn metrics(&self, params: &[(&str, Value)], seed: u64, model: ModelBinding) -> BTreeMap<String, f64> {
        let run = play(&self.runtime, &self.scenario, params, seed, model).await.run;
        let state = run.state();
        assert_eq!(state.status, Status::Completed, "seed {seed}, {params:?}: {:?}", state.ended);
        let ended = state.ended.as_ref().expect("it has ended");
        assert!(ended.checks.iter().all(|c| c.passed), "seed {seed}, {params:?}: {:?}", ended.checks);
        let value = |s: &commedia_domain::event::Sample| {
            (self.scenario.metrics[s.metric.at()].name.to_string(), s.value.unwrap_or_else(|| panic!("seed {seed}: {s:?}")))
        };
        ended.metrics.iter().map(value).collect()
    }

    async fn means(&self, params: &[(&str, Value)]) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for seed in 1..=SEEDS {
            for (name, value) in self.metrics(params, seed, ModelBinding::Offline).await {
                *sums.entry(name).or_default() += value / SEEDS as f64;
            }
        }
        sums
    }
}

/// A value of a parameter, a metric, and at least how much its mean changes (its sign is the direction).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_of_the_studio_moves_a_metric() {
    type Row = (&'static str, Value, &'static [(&'static str, f64)]);
    let rows: [Row; 10] = [
        ("idea", text("A thing"), &[("som", -200_000.0), ("sent_back", 0.2)]),
        ("segment", text("studios"), &[("som", -300_000.0), ("sent_back", 1.0)]),
        ("price_per_month", Value::Double(55.0), &[("price", 20.0), ("cash_after_two_years", 100_000.0)]),
        ("starting_cash", Value::Double(150_000.0), &[("cash_after_two_years", -50_000.0), ("approved", -0.5)]),
        ("marketing_budget", Value::Double(30_000.0), &[("spend", 10_000.0)]),
        ("team_cost", Value::Double(40_000.0), &[("cash_after_two_years", -100_000.0), ("approved", -0.5)]),
        ("churn_per_month", Value::Double(0.1), &[("ltv_to_cac", -0.5), ("price", 10.0)]),
        ("minimum_runway_months", int(36), &[("sent_back", 0.2)]),
        ("rounds", int(0), &[("sent_back", -0.3), ("approved", -0.2)]),
        ("segment", text("repair"), &[("som", -300_000.0), ("approved", -0.5)]),
    ];
    let studio = Studio::open().await;
    let usual = studio.means(&[]).await;
    println!("usual: {usual:?}");
    assert!(usual["approved"] > 0.8 && usual["sent_back"] > 0.2, "{usual:?}");
    for (name, value, moves) in rows {
        let found = studio.means(&[(name, value.clone())]).await;
        for (metric, least) in moves {
            let by = found[*metric] - usual[*metric];
            assert!(by * least.signum() >= least.abs(), "{name} = {value:?} moves {metric} by {by}, not {least}: {found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_studio_comes_to_a_pitch_by_rules_and_by_the_stub() {
    let studio = Studio::open().await;
    for model in [ModelBinding::Offline, ModelBinding::Stub] {
        let metrics = studio.metrics(&[], 1, model).await;
        assert!(metrics["approved"] > 0.0 && metrics["som"] > 0.0, "{metrics:?}");
    }
}
