//! `commedia ls`: runs, newest first, a page at a time.

use clap::Args;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{RunPage, RunSummary};
use commedia_domain::value::timestamp_text;
use serde_json::{Value as Json, json};

use crate::app::{App, close, read_failure};
use crate::events::labels_json;
use crate::failure::{Exit, Failure};
use crate::report::{columns, moment, took};
use crate::words;

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// So many runs at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Those before this run: the next page, for the last one of a page
    #[arg(long, value_name = "RUN")]
    after: Option<RunId>,
    /// Only runs of this status, such as running, waiting or failed
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only runs of this scenario
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Only runs with this label, whatever its value where none is said
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Option<String>,
}

impl LsArgs {
    /// The same as a query of the API.
    pub(super) fn query(&self) -> String {
        let mut query = format!("limit={}", self.limit.clamp(1, 500));
        self.after.iter().for_each(|id| query.push_str(&format!("&after={id}")));
        for (name, value) in [("status", &self.status), ("scenario", &self.scenario), ("label", &self.label)] {
            value.iter().for_each(|value| query.push_str(&format!("&{name}={}", crate::remote::encoded(value))));
        }
        query
    }

    /// The words that ask for the page behind a run.
    pub(super) fn next(&self, last: &str) -> String {
        let mut words = format!("commedia ls --after {last}");
        for (flag, value) in [("--status", &self.status), ("--scenario", &self.scenario), ("--label", &self.label)] {
            value.iter().for_each(|value| words.push_str(&format!(" {flag} {value}")));
        }
        words
    }
}

pub(super) async fn ls(app: &App, args: &LsArgs) -> Result<Exit, Failure> {
    let (status, scenario, label) = (args.status.clone(), args.scenario.clone(), args.label.clone());
    let asked = |asked: &Option<String>, found: &str| asked.as_ref().is_none_or(|a| a == found);
    let labelled = move |run: &RunSummary| label.as_ref().is_none_or(|label| words::has_label(&run.labels, label));
    let wanted = move |run: &RunSummary| asked(&status, &run.status) && asked(&scenario, &run.scenario) && labelled(run);
    let page = match app.open_stored().await? {
        Some(runtime) => {
            let began = std::time::Instant::now();
            let page = runtime.runs_page(args.after.as_ref(), args.limit, wanted).await.map_err(read_failure);
            tracing::debug!(took_ms = began.elapsed().as_secs_f64() * 1e3, "the page is read");
            close(&runtime).await;
            page?
        }
        None => RunPage { runs: Vec::new(), next: None },
    };
    let rows: Vec<Json> = page.runs.iter().map(row_json).collect();
    let next = page.next.as_ref().map(RunId::as_str);
    let json = json!({"schema": "commedia.list/v1", "runs": rows, "next": next});
    app.console.list(&json, &rows, || table(&page.runs));
    match next {
        _ if page.runs.is_empty() => app.console.note("no runs here; a first one: commedia run coin-shop"),
        Some(last) => app.console.note(&format!("older ones: {}", args.next(last))),
        None => {}
    }
    Ok(Exit::Ok)
}

fn row_json(run: &RunSummary) -> Json {
    let mut row = json!({
        "run_id": run.id.as_str(), "scenario": run.scenario, "status": run.status, "seed": run.seed, "events": run.events,
        "started_at": timestamp_text(run.started_ms), "ended_at": run.ended_ms.map(timestamp_text), "damage": run.damage,
    });
    if !run.labels.is_empty() {
        row["labels"] = labels_json(&run.labels).into();
    }
    match run.waits_ms {
        Some(at) => {
            row["waiting_for"] = "timer".into();
            row["waiting_until"] = timestamp_text(at).into();
        }
        None if run.status == "waiting" => row["waiting_for"] = "reconciliation".into(),
        None => {}
    }
    row
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
