//! The packs run offline and mean something: books balance, each parameter moves what it should, the forecast is worth its name.

#[path = "../config/scenarios/retail-season/generate/history.rs"]
mod history;
#[path = "packs/season.rs"]
mod season;
#[path = "packs/studio.rs"]
mod studio;

use std::collections::BTreeMap;

use commedia_actors::tool::builtin;
use commedia_domain::event::ModelBinding;
use commedia_domain::run::Status;
use commedia_domain::value::Value;
use season::{Folder, Season, int, pack, packs, play, text};
use serde_json::json;

const PACKS: [&str; 6] = ["coin-shop", "fault-drill", "handoff-4", "handoff-4-rules", "retail-season", "startup-studio"];
const SEEDS: u64 = 4;

#[test]
fn packs_load_without_a_fault_or_a_warning() {
    for name in PACKS {
        let loaded = pack(name);
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        assert!(loaded.scenario.unbuilt.is_empty(), "{name}: {:?}", loaded.scenario.unbuilt);
        assert_eq!(&*loaded.scenario.name, name);
        let source = std::fs::read_to_string(packs().join(format!("{name}/{name}.scenario.yaml"))).expect("readable");
        assert!(source.starts_with("# yaml-language-server: $schema=./.commedia/scenario.v1.schema.json\n"), "{name}");
    }
}

#[test]
fn the_coin_shop_has_its_fifteen_lines() {
    let source = std::fs::read_to_string(packs().join("coin-shop/coin-shop.scenario.yaml")).expect("readable");
    assert!(source.lines().count() <= 15);
}

#[test]
fn the_data_are_what_their_generator_makes() {
    let data = packs().join("retail-season/data");
    let mut there: Vec<String> = std::fs::read_dir(&data)
        .expect("the folder is there")
        .map(|e| e.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    there.sort();
    let made = history::files();
    assert_eq!(there, made.iter().map(|f| f.0).collect::<Vec<_>>());
    for (name, text) in made {
        let committed = std::fs::read_to_string(data.join(name)).expect("readable");
        assert!(committed == text, "{name} differs: `cargo run --example generate_history`, and look at what changed");
    }
}

/// WAPE over all categories of the history's last `held_back` weeks, by a method that is told of the promotions.
fn error_of(method: &str, held_back: usize) -> f64 {
    let text = history::files().into_iter().find(|f| f.0 == "history.csv").expect("it is made").1;
    let mut rows: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse().expect("a number");
        rows.entry(cells[0].to_owned()).or_default().push((number(3), number(4)));
    }
    let (mut wrong, mut all) = (0.0, 0.0);
    for series in rows.values() {
        let (units, promotions): (Vec<f64>, Vec<f64>) = series.iter().copied().unzip();
        let seen = units.len() - held_back;
        let input = json!({
            "series": units[..seen], "promotions": promotions[..seen], "promotions_ahead": promotions[seen..],
            "horizon": held_back, "method": method, "integers": true,
        });
        let output = builtin("forecast", &Value::from_json(&input)).expect("it is there").expect("it answers").to_json();
        for (step, actual) in units[seen..].iter().enumerate() {
            wrong += (output["units"][step].as_f64().expect("a number") - actual).abs();
            all += actual;
        }
    }
    wrong / all
}

#[test]
fn the_forecast_beats_seasonal_naive_on_the_season_held_back() {
    for (weeks, at_most) in [(52, 0.75), (26, 0.85), (12, 0.75)] {
        let (forecast, naive) = (error_of("auto", weeks), error_of("seasonal_naive", weeks));
        println!("last {weeks} weeks: forecast {forecast:.4}, seasonal naive {naive:.4}");
        assert!(forecast < at_most * naive, "last {weeks} weeks: forecast {forecast:.4}, seasonal naive {naive:.4}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_season_makes_sense_offline() {
    let season = Season::open().await;
    let means = season.means(&[], SEEDS).await;
    let within = |name: &str, low: f64, high: f64| {
        let mean = means[name];
        assert!((low..=high).contains(&mean), "{name} is {mean}, not within {low} to {high}: {means:?}");
    };
    within("sell_through", 0.7, 0.95);
    within("lost_sales", 0.0, 0.06);
    within("wape", 0.03, 0.15);
    within("forecast_skill", 0.1, 0.8);
    within("average_price", 50.0, 65.0);
    within("reforecasts", 0.5, 6.0);
    within("unaccounted_units", 0.0, 0.0);
    within("gross_margin", 1.0, means["revenue"]);
}

/// A value of a parameter, a metric, and at least which change of its mean (relative to the default's; its sign is the direction).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_moves_a_metric() {
    type Row = (&'static str, Value, &'static [(&'static str, f64)]);
    let rows: [Row; 10] = [
        ("forecast_horizon_weeks", int(26), &[("revenue", 1.0), ("units_sold", 1.0)]),
        ("forecast_horizon_weeks", int(1), &[("revenue", -0.9)]),
        ("season_start_date", text("2026-09-07"), &[("revenue", 0.1), ("units_bought", 0.1), ("average_price", -0.01)]),
        ("replenishment_strategy", text("none"), &[("sell_through", -0.3), ("lost_sales", 5.0), ("revenue", -0.3)]),
        ("replenishment_strategy", text("bi-weekly"), &[("deliveries", -0.4), ("sell_through", -0.0005)]),
        ("dc_holdback_percentage", Value::Double(0.0), &[("lost_sales", 2.0), ("sell_through", -0.05)]),
        ("dc_holdback_percentage", Value::Double(0.8), &[("stockouts", 0.3), ("revenue", -0.003)]),
        ("dc_holdback_percentage", Value::Double(1.0), &[("lost_sales", 2.0), ("sell_through", -0.05)]),
        ("markdown_checkpoint_week", int(6), &[("sell_through", 0.02), ("average_price", -0.01), ("revenue", 0.002)]),
        ("markdown_checkpoint_week", int(9), &[("markdowns_taken", f64::INFINITY), ("sell_through", 0.02)]),
    ];
    let season = Season::open().await;
    let base = season.means(&[], SEEDS).await;
    for (parameter, value, moves) in rows {
        let means = season.means(&[(parameter, value.clone())], SEEDS).await;
        for (metric, least) in moves {
            let change = means[*metric] / base[*metric] - 1.0;
            println!("{parameter} = {value:?}: {metric} {:.4} → {:.4} ({:+.2} %)", base[*metric], means[*metric], change * 100.0);
            let moved = if *least < 0.0 { change <= *least } else { change >= *least };
            assert!(moved, "{parameter} = {value:?}: {metric} moves by {change:+.5}, expected at least {least:+}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seasons_at_the_edges_keep_their_books() {
    let season = Season::open().await;
    let rows: [&[(&str, Value)]; 6] = [
        &[("forecast_horizon_weeks", int(1)), ("markdown_checkpoint_week", int(1))],
        &[("forecast_horizon_weeks", int(52)), ("season_start_date", text("2027-12-31")), ("markdown_checkpoint_week", int(26))],
        &[("forecast_horizon_weeks", int(2)), ("replenishment_strategy", text("bi-weekly"))],
        &[("dc_holdback_percentage", int(1)), ("replenishment_strategy", text("none"))],
        &[("dc_holdback_percentage", int(0)), ("markdown_checkpoint_week", int(12))],
        &[("season_start_date", text("2024-02-29")), ("markdown_checkpoint_week", int(52))],
    ];
    for (n, params) in rows.into_iter().enumerate() {
        let metrics = season.play(params, 100 + n as u64).await;
        assert_eq!(metrics["unaccounted_units"], 0.0, "{params:?}");
        if params.iter().any(|p| p.1 == text("none")) {
            assert_eq!(metrics["units_sold"], 0.0, "nothing ever reaches a store");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_season_is_the_same_again_and_replays() {
    let season = Season::open().await;
    let start = [("season_start_date", text("2026-03-02"))];
    let first = play(&season.runtime, &season.scenario, &start, 7, ModelBinding::Offline).await;
    let again = play(&season.runtime, &season.scenario, &start, 7, ModelBinding::Offline).await;
    let other = play(&season.runtime, &season.scenario, &start, 8, ModelBinding::Offline).await;
    assert_eq!(first.digest, again.digest);
    assert_ne!(first.digest, other.digest);
    let verified = season.runtime.verify(&first.id).await.expect("reads");
    assert_eq!((verified.difference, verified.digest), (None, first.digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stub_may_play_too() {
    let season = Season::open().await;
    let start = [("season_start_date", text("2026-03-02"))];
    let run = play(&season.runtime, &season.scenario, &start, 1, ModelBinding::Stub).await;
    let state = run.run.state();
    assert_eq!(state.status, Status::Completed, "{:?}", state.ended);
    let failed: Vec<_> = state.ended.iter().flat_map(|e| &e.metrics).filter_map(|m| m.error.as_ref()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_turns_three_handoffs_one_write() {
    let season = Season::open().await;
    for (name, model, turns) in [
        ("handoff-4", ModelBinding::Offline, 4),
        ("handoff-4", ModelBinding::Stub, 4),
        ("handoff-4-rules", ModelBinding::Offline, 0),
    ] {
        let scenario = std::sync::Arc::new(pack(name).scenario);
        let run = play(&season.runtime, &scenario, &[], 1, model).await;
        let state = run.run.state();
        assert_eq!(state.status, Status::Completed, "{name}: {:?}", state.ended);
        assert_eq!((state.counts.turns, state.counts.turns + state.counts.rules_turns), (turns, 4), "{name}: {:?}", state.counts);
        assert_eq!(state.counts.handoffs, 3, "{name}: {:?}", state.counts);
        assert_eq!(state.ended.as_ref().and_then(|e| e.metrics[0].value), Some(1.0), "{name}: one plan is written");
    }
}

#[test]
fn a_folder_gives_no_file_it_has_not() {
    use commedia_domain::scenario::{FileError, Files};
    assert_eq!(Folder(packs()).read("no/such.csv"), Err(FileError::NotFound));
}
