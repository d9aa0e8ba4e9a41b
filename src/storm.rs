//! Injected faults as people read them, and what became of the turns they struck.

use commedia_domain::event::tool_name;
use commedia_domain::fault::{Fault, MessageFault, Strike};
use commedia_domain::id::{AgentIx, ModelIx};
use commedia_domain::run::Run;
use commedia_domain::run::struck::StrikeCount;
use commedia_domain::scenario::Scenario;
use serde_json::{Value as Json, json};

use crate::events::agent_name;
use crate::report::took;

/// A fault in words, such as `crash of demand in turn 2`.
pub fn words(scenario: &Scenario, fault: &Fault) -> String {
    let agent = |ix: &Option<AgentIx>| ix.map_or_else(|| "any agent".into(), |ix| agent_name(scenario, ix));
    let model = |ix: ModelIx| scenario.models.get(ix.at()).map_or("?", |m| &*m.name);
    let later = |ms: u64| took(i64::try_from(ms).unwrap_or(i64::MAX));
    let what = match &fault.what {
        Strike::Crash { agent: of, turn: Some(turn) } => format!("crash of {} in turn {turn}", agent(of)),
        Strike::Crash { agent: of, turn: None } => format!("crash of {}", agent(of)),
        Strike::Model { alias: Some(alias), error } => format!("model {}: {}", model(*alias), error.words()),
        Strike::Model { alias: None, error } => format!("any model: {}", error.words()),
        Strike::SlowModel { alias, add_ms } => format!("model {} is {} late", model(*alias), later(*add_ms)),
        Strike::SlowTool { tool, add_ms } => format!("tool {} is {} late", tool_name(scenario, *tool), later(*add_ms)),
        Strike::Tool { tool, error } => format!("tool {}: {error}", tool_name(scenario, *tool)),
        Strike::Message { from, to, effect } => {
            let effect = match effect {
                MessageFault::Drop => "is lost",
                MessageFault::Duplicate => "comes twice",
                MessageFault::Delay(_) => "comes late",
            };
            format!("a message from {} to {} {effect}", agent(from), agent(to))
        }
    };
    if fault.p < 1.0 { format!("{what}, p {}", fault.p) } else { what }
}

fn rows(run: &Run) -> Vec<(&Fault, StrikeCount)> {
    let state = run.state();
    let faults = state.faults.iter().flat_map(|faults| faults.iter());
    faults.enumerate().map(|(n, fault)| (fault, state.strikes.counts.get(n).copied().unwrap_or_default())).collect()
}

/// One object for each fault of a run: what it is, how often it struck, how many of the turns it struck came to their end.
pub fn to_json(run: &Run) -> Vec<Json> {
    let row = |(fault, count): (&Fault, StrikeCount)| {
        json!({
            "fault": words(run.scenario(), fault), "kind": fault.what.kind().word(), "injected": count.injected,
            "recovered": count.recovered, "lost": count.lost, "changes_the_run": fault.what.kind().changes_the_run(),
        })
    };
    rows(run).into_iter().map(row).collect()
}

/// The same as rows of a table, with a verdict on the whole at the end.
pub fn to_rows(run: &Run) -> Vec<Vec<String>> {
    let rows = rows(run);
    let mut table: Vec<Vec<String>> = (rows.iter())
        .map(|(fault, count)| {
            let became = match &fault.what {
                Strike::Message { .. } => String::new(),
                _ => format!("{} recovered, {} lost", count.recovered, count.lost),
            };
            vec![words(run.scenario(), fault), count.injected.to_string(), became]
        })
        .collect();
    if !table.is_empty() {
        let sum = |of: fn(&StrikeCount) -> u64| rows.iter().map(|(_, count)| of(count)).sum::<u64>();
        let became = format!("{} recovered, {} lost", sum(|c| c.recovered), sum(|c| c.lost));
        table.push(vec!["in all".into(), sum(|c| c.injected).to_string(), became]);
    }
    table
}
