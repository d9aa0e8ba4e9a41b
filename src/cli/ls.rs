//! `commedia ls`: runs, newest first.

use clap::Args;
use commedia_actors::runtime::RunSummary;
use commedia_domain::value::timestamp_text;
use serde_json::{Value as Json, json};

use crate::app::{App, close, read_failure};
use crate::failure::{Exit, Failure};
use crate::report::{columns, moment, took};

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only the newest so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only runs of this status, such as running or failed
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only runs of this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
}

pub(super) async fn ls(app: &App, args: &LsArgs) -> Result<Exit, Failure> {
    let mut runs = match app.open_stored().await? {
        Some(runtime) => {
            let runs = runtime.runs().await.map_err(read_failure);
            close(&runtime).await;
            runs?
        }
        None => Vec::new(),
    };
    let wanted = |asked: &Option<String>, found: &str| asked.as_ref().is_none_or(|a| a == found);
    runs.retain(|r| wanted(&args.status, &r.status) && wanted(&args.scenario, &r.scenario));
    runs.truncate(args.limit.unwrap_or(usize::MAX));
    let rows: Vec<Json> = runs.iter().map(row_json).collect();
    let json = json!({"schema": "commedia.list/v1", "runs": rows});
    app.console.list(&json, &rows, || table(&runs));
    if runs.is_empty() {
        app.console.note("no runs here; a first one: commedia run coin-shop");
    }
    Ok(Exit::Ok)
}

fn row_json(run: &RunSummary) -> Json {
    json!({
        "run_id": run.id.as_str(), "scenario": run.scenario, "status": run.status, "seed": run.seed, "events": run.events,
        "started_at": timestamp_text(run.started_ms), "ended_at": run.ended_ms.map(timestamp_text), "damage": run.damage,
    })
}

fn table(runs: &[RunSummary]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let head = ["run", "scenario", "status", "seed", "events", "started", "took"].map(str::to_owned).to_vec();
    let row = |run: &RunSummary| {
        let took = run.ended_ms.map_or_else(String::new, |end| took(end - run.started_ms));
        let status = if run.damage.is_some() { "damaged".into() } else { run.status.clone() };
        let (seed, events) = (run.seed.to_string(), run.events.to_string());
        vec![run.id.to_string(), run.scenario.clone(), status, seed, events, moment(run.started_ms), took]
    };
    columns(std::iter::once(head).chain(runs.iter().map(row)).collect())
}
