//! What must hold after any crash.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::stage::{Stage, Told, text};

/// What came of the play without a crash: the digest of each run of simulated time.
#[derive(Default)]
pub(crate) struct Undisturbed {
    digests: BTreeMap<(String, u64), String>,
}

/// A run with its row of the list and of the check.
struct Run {
    id: String,
    scenario: String,
    seed: u64,
    status: String,
    digest: String,
}

fn runs(stage: &Stage) -> Vec<Run> {
    let check = stage.ask(&["store", "check"]);
    assert_eq!(check["damage"], Json::Array(vec![]), "{check}");
    let checked = check["runs"].as_array().expect("runs").iter();
    let digests: BTreeMap<String, String> = checked.map(|run| (text(&run["run_id"]), text(&run["digest"]))).collect();
    let listed = stage.ask(&["ls"])["runs"].as_array().cloned().expect("runs");
    assert_eq!(digests.len(), listed.len(), "check and list name the same runs");
    let run = |row: Json| Run {
        id: text(&row["run_id"]),
        scenario: text(&row["scenario"]),
        seed: row["seed"].as_u64().expect("a seed"),
        status: text(&row["status"]),
        digest: digests[&text(&row["run_id"])].clone(),
    };
    listed.into_iter().map(run).collect()
}

impl Run {
    fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "paused")
    }
}

impl Undisturbed {
    pub(crate) fn of(stage: &Stage) -> Undisturbed {
        let found = Undisturbed::so_far(stage);
        assert_eq!(found.digests.len(), 8, "four diaries, three coin shops and one that stands still: {:?}", found.digests);
        found
    }

    /// Of as much of the play as was played.
    pub(crate) fn so_far(stage: &Stage) -> Undisturbed {
        let simulated = runs(stage).into_iter().filter(|run| run.scenario != "bell");
        Undisturbed { digests: simulated.map(|run| ((run.scenario, run.seed), run.digest)).collect() }
    }
}

/// Nothing acknowledged is lost, no step is recorded twice, digests are the undisturbed ones, the store is whole.
pub(crate) fn judge(stage: &Stage, undisturbed: &Undisturbed, told: &Told, what: &str) {
    let runs = runs(stage);
    let mut seen = BTreeSet::new();
    for run in &runs {
        assert!(seen.insert((&run.scenario, run.seed)), "{what}: {} {} was begun twice", run.scenario, run.seed);
        if let Some(digest) = undisturbed.digests.get(&(run.scenario.clone(), run.seed)).filter(|_| run.is_over()) {
            assert_eq!(&run.digest, digest, "{what}: {} {}", run.scenario, run.seed);
        }
        if told.keys().any(|(id, _)| *id == run.id) {
            log(stage, run, told, what);
        }
    }
    for (id, seq) in told.keys() {
        assert!(runs.iter().any(|run| run.id == *id), "{what}: run {id} told of event {seq} and is lost");
    }
}

fn log(stage: &Stage, run: &Run, told: &Told, what: &str) {
    let events = stage.log(&run.id);
    let mut once = BTreeSet::new();
    for (n, event) in (1..).zip(&events) {
        assert_eq!(event["seq"], n, "{what}: {} has a gap", run.id);
        let key = match event["type"].as_str() {
            Some("step.recorded") => event["step"].to_string(),
            Some("turn.completed" | "turn.failed") => event["turn"].to_string(),
            Some("input.received") => event["data"]["text"].to_string(),
            Some("tick.advanced") => event["data"]["tick"].to_string(),
            _ => continue,
        };
        assert!(once.insert((text(&event["type"]), key.clone())), "{what}: {} has {} {key} twice", run.id, event["type"]);
    }
    for ((_, seq), kind) in told.iter().filter(|((id, _), _)| *id == run.id) {
        let stored = usize::try_from(*seq).ok().and_then(|seq| events.get(seq - 1));
        let same = stored.is_some_and(|event| told_as(event).contains(kind));
        assert!(same, "{what}: acknowledged event {seq} `{kind}` of {} is lost: {stored:?}", run.id);
    }
    if run.scenario == "bell" {
        bell(stage, run, &events, what);
    }
}

/// The names under which a stored event is told.
fn told_as(event: &Json) -> Vec<String> {
    let finer = ["turn.started", "handoff.made", "message.sent", "record.put", "state.set", "model.answered", "tool.answered"];
    let parts = (event["type"] == "turn.completed").then_some(finer).into_iter().flatten();
    parts.map(str::to_owned).chain([text(&event["type"])]).collect()
}

/// On a real clock the moments are part of what happened: what came out is compared, and the log with itself.
fn bell(stage: &Stage, run: &Run, events: &[Json], what: &str) {
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    if run.status == "completed" {
        let shown = stage.ask(&["show", &run.id]);
        assert_eq!(shown["result"], serde_json::json!({"rung": 3, "told": 3}), "{what}");
        assert_eq!((count("trigger.fired"), count("input.received")), (3, 3), "{what}");
    }
    let verified = stage.command(&["replay", &run.id, "--verify"]).output().expect("starts");
    assert!(verified.status.success(), "{what}: {}", String::from_utf8_lossy(&verified.stderr));
}
