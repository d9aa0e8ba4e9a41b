//! The packs run offline and mean something: the season's books balance, each parameter moves what it should.

#[path = "packs/season.rs"]
mod season;

use season::{Season, int, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe() {
    let season = Season::open().await;
    let show = |name: String, rows: Vec<std::collections::BTreeMap<String, f64>>| {
        println!("== {name}");
        let names: Vec<String> = rows[0].keys().cloned().collect();
        for n in names {
            let v: Vec<f64> = rows.iter().map(|r| r[&n]).collect();
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            println!("   {n:18} mean {mean:12.4}  {:?}", v.iter().take(6).map(|x| (x * 1000.0).round() / 1000.0).collect::<Vec<_>>());
        }
    };
    let seeds = 1..=std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3u64);
    let arms: Vec<(&str, Vec<(&str, commedia_domain::value::Value)>)> = vec![
        ("default", vec![]),
        ("h0", vec![("dc_holdback_percentage", 0.0.into())]),
        ("h.25", vec![("dc_holdback_percentage", 0.25.into())]),
        ("h.65", vec![("dc_holdback_percentage", 0.65.into())]),
        ("h1", vec![("dc_holdback_percentage", 1.0.into())]),
        ("none", vec![("replenishment_strategy", text("none"))]),
        ("bi", vec![("replenishment_strategy", text("bi-weekly"))]),
        ("md6", vec![("markdown_checkpoint_week", int(6))]),
        ("md9", vec![("markdown_checkpoint_week", int(9))]),
        ("w52", vec![("forecast_horizon_weeks", int(52))]),
        ("w1", vec![("forecast_horizon_weeks", int(1))]),
        ("w26", vec![("forecast_horizon_weeks", int(26))]), ("h1bi", vec![("dc_holdback_percentage", 1.0.into()),("replenishment_strategy", text("bi-weekly"))]),("h.65bi", vec![("dc_holdback_percentage", 0.65.into()),("replenishment_strategy", text("bi-weekly"))]), ("h.8", vec![("dc_holdback_percentage", 0.8.into())]),("autumn", vec![("season_start_date", text("2026-09-07"))]),
        ("newyear", vec![("season_start_date", text("2027-12-31"))]),
    ];
    for (name, params) in arms {
        let t = std::time::Instant::now();
        let mut rows = Vec::new();
        for seed in seeds.clone() {
            rows.push(season.play(&params, seed).await);
        }
        show(format!("{name} {:?} per run", t.elapsed() / rows.len() as u32), rows);
    }
}
