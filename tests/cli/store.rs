//! What is stored, read again: lists, events, causes, replays, checks, and a store that somebody else has.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use crate::home::{Home, keys, signal};
use serde_json::Value as Json;

#[test]
fn lists_are_empty_at_first_and_newest_first_then() {
    let home = Home::new();
    let none = home.run(&["ls", "--output", "json"]).exits(0);
    assert_eq!(none.json()["runs"], Json::Array(vec![]));
    assert!(home.run(&["store", "check"]).exits(0).out.contains("0 runs read"));
    assert!(!home.data().exists(), "reading creates nothing");
    let id = |name: &str| home.run(&["run", name, "--output", "json"]).exits(0).json()["run_id"].clone();
    let (first, second) = (id("coin-shop"), id("handoff-4"));
    let rows = home.run(&["ls", "--output", "jsonl"]).exits(0).lines();
    assert_eq!(rows.iter().map(|r| &r["run_id"]).collect::<Vec<_>>(), [&second, &first]);
    assert_eq!(keys(&rows[0]), ["run_id", "scenario", "status", "seed", "events", "started_at", "ended_at", "damage"]);
    assert_eq!(home.run(&["ls", "--limit", "1", "--output", "jsonl"]).exits(0).lines().len(), 1);
    assert_eq!(home.run(&["ls", "--scenario", "coin-shop", "--output", "jsonl"]).exits(0).lines()[0]["run_id"], first);
    let shown = |word: &str| home.run(&["show", word, "--output", "json"]).exits(0).json()["run_id"].clone();
    assert_eq!((shown("@1"), shown("@2")), (second.clone(), first));
    assert_eq!(shown(&second.as_str().expect("an id")[..20]), second);
    assert!(home.run(&["show", "@3"]).exits(2).err.contains("2 are stored"));
}

#[test]
fn memory_keeps_nothing() {
    let home = Home::new();
    home.run(&["run", "coin-shop", "--memory"]).exits(0);
    assert!(!home.data().exists());
    assert_eq!(home.run(&["ls", "--memory", "--output", "jsonl"]).exits(0).lines().len(), 0);
}

/// Data fields by type, as `schema event` lists them.
fn table(home: &Home) -> BTreeMap<String, Vec<String>> {
    let schema = home.run(&["schema", "event"]).exits(0).json();
    let kinds = schema["oneOf"].as_array().expect("types").iter();
    kinds
        .map(|k| {
            let fields = keys(&k["properties"]["data"]["properties"]).into_iter().map(str::to_owned).collect();
            (k["properties"]["type"]["const"].as_str().expect("a name").to_owned(), fields)
        })
        .collect()
}

#[test]
fn events_are_told_as_the_schema_says() {
    let home = Home::new();
    let table = table(&home);
    for arguments in [&["coin-shop"][..], &["handoff-4"], &["handoff-4", "--model", "stub"], &["retail-season"]] {
        let events = home.run(&[&["run", "--output", "json"], arguments].concat()).exits(0).json()["events"].as_u64();
        let told = home.run(&["tail", "@1", "--output", "jsonl"]).exits(0).lines();
        let (mut seq, mut part) = (0, None);
        for event in &told {
            let fields = table.get(event["type"].as_str().expect("a type")).unwrap_or_else(|| panic!("{event}"));
            keys(&event["data"]).iter().for_each(|k| assert!(fields.iter().any(|f| f == k), "{event}"));
            let mut envelope = keys(event);
            envelope.retain(|k| !["part", "agent", "turn", "step"].contains(k));
            assert_eq!(envelope, ["seq", "lane", "type", "run_id", "at", "time", "cause", "data"]);
            let next = (event["seq"].as_u64().expect("a seq"), event["part"].as_u64());
            match (part, next.1) {
                (Some(before), Some(now)) if next.0 == seq => assert_eq!(now, before + 1, "{event}"),
                (_, first) => assert!(next.0 == seq + 1 && first.is_none_or(|p| p == 0), "{event}"),
            }
            (seq, part) = next;
        }
        assert_eq!(Some(seq), events, "{arguments:?}");
        let from = home.run(&["tail", "@1", "--from", "3", "--output", "jsonl"]).exits(0).lines();
        assert_eq!(from, told.iter().filter(|e| e["seq"].as_u64() >= Some(3)).cloned().collect::<Vec<_>>());
        let lines = home.run(&["tail", "@1"]).exits(0).out;
        assert!(lines.lines().next().is_some_and(|l| l.contains("run.created")), "{lines}");
    }
}

#[test]
fn every_event_has_a_cause_back_to_the_beginning() {
    let home = Home::new();
    for arguments in
        [&["handoff-4"][..], &["handoff-4", "--model", "stub"], &["retail-season", "--set", "forecast_horizon_weeks=4"]]
    {
        let events = home.run(&[&["run", "--output", "json"], arguments].concat()).exits(0).json()["events"].as_u64();
        for seq in (2..=events.expect("events")).step_by(7) {
            let why = home.run(&["why", "@1", &seq.to_string(), "--output", "json"]).exits(0).json();
            let chain = why["chain"].as_array().expect("a chain");
            let seqs: Vec<u64> = chain.iter().filter_map(|c| c["event"]["seq"].as_u64()).collect();
            assert!(
                seqs[0] == seq && seqs.is_sorted_by(|a, b| a > b) && seqs.last() == Some(&1),
                "{arguments:?} {seq}: {seqs:?}"
            );
        }
    }
    home.run(&["run", "handoff-4"]).exits(0);
    let told = home.run(&["why", "@1", "6"]).exits(0).out;
    let words = [
        "pricing took up a handoff from inventory",
        "inventory took up a handoff from demand",
        "demand took up a handoff from planner",
        "planner took up its start message",
        "the run was created",
    ];
    let places: Vec<Option<usize>> = words.iter().map(|w| told.find(w)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{told}");
    assert!(home.run(&["why", "@1", "999"]).exits(2).err.contains("has no event 999"));
}

#[test]
fn a_replay_calls_nobody_and_finds_the_same() {
    let home = Home::new();
    for arguments in [&["coin-shop"][..], &["handoff-4", "--model", "stub"]] {
        let run = home.run(&[&["run", "--output", "json"], arguments].concat()).exits(0).json();
        let replay = home.run(&["replay", "@1", "--verify", "--output", "json"]).exits(0).json();
        assert_eq!((&replay["equal"], replay["model_calls"].as_u64()), (&true.into(), Some(0)));
        assert_eq!((&replay["digest"], &replay["events"], &replay["difference"]), (&run["digest"], &run["events"], &Json::Null));
        let text = home.run(&["replay", "@1", "--verify"]).exits(0).out;
        assert!(text.contains("0 model calls") && text.trim_end().ends_with("equal ✓"), "{text}");
    }
}

#[test]
fn a_check_reads_everything() {
    let home = Home::new();
    let run = home.run(&["run", "coin-shop", "--output", "json"]).exits(0).json();
    let json = home.run(&["store", "check", "--output", "json"]).exits(0).json();
    assert_eq!(keys(&json), ["schema", "runs", "damage"]);
    assert_eq!(keys(&json["runs"][0]), ["run_id", "status", "events", "head", "digest"]);
    for key in ["run_id", "status", "events", "digest"] {
        assert_eq!(json["runs"][0][key], run[key], "{key}");
    }
    assert_eq!(json["damage"], Json::Array(vec![]));
    home.file("data/store/FORMAT", "something else\n");
    let json = home.run(&["store", "check", "--output", "json"]).exits(8).json();
    assert!(json["damage"][0]["what"].as_str().is_some_and(|w| w.contains("FORMAT")), "{json}");
    let said = home.run(&["ls"]).exits(8);
    assert!(said.err.contains("damaged"), "{}", said.err);
}

/// A run on a real clock holds the store; another process is told which one.
#[cfg(unix)]
#[test]
fn a_store_has_one_process() {
    let home = Home::new();
    let slow = home.file(
        "slow.yaml",
        "name: slow\nclock: {mode: real, tick: PT1H, ticks: 5}\nagents:\n  a: {kind: rules, handles: [tick], rules: []}\n",
    );
    let mut child =
        home.command(&["run", &slow, "--progress", "json"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    err.read_line(&mut line).expect("the run has begun");
    for arguments in [&["ls"][..], &["run", "coin-shop"], &["store", "check"]] {
        let said = home.run(arguments).exits(8);
        assert!(said.err.contains(&format!("process {}", child.id())), "{arguments:?}: {}", said.err);
    }
    signal(child.id(), "TERM");
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    home.run(&["ls"]).exits(0);
}

#[test]
fn a_bench_prints_the_promised_figures() {
    let home = Home::new();
    let elsewhere = home.data().join("elsewhere");
    let beside = format!("--store=sled://{}", elsewhere.join("store").display());
    let rows = [
        ("handoff-4-rules", "--quiet"),
        ("handoff-4-stub", "--memory"),
        ("handoff-4-http", "--quiet"),
        ("handoff-4-rules", &beside),
    ];
    for (workload, store) in rows {
        let arguments = ["bench", "--workload", workload, "--runs", "6", "--parallel", "2", "--output", "json", store];
        let json = home.run(&arguments).exits(0).json();
        let expect = [
            "schema",
            "workload",
            "engine",
            "durability",
            "parallel",
            "runs",
            "scenarios_per_s",
            "turns_per_s",
            "p50_ms",
            "p95_ms",
            "cpu_us_per_scenario",
            "bytes_per_scenario",
            "syncs",
            "peak_rss_bytes",
            "bytes_per_waiting_run",
        ];
        assert_eq!(keys(&json), expect);
        assert!(json["scenarios_per_s"].as_f64() > Some(0.0) && json["p95_ms"].as_f64() >= json["p50_ms"].as_f64(), "{json}");
        let per_turn = json["turns_per_s"].as_f64().zip(json["scenarios_per_s"].as_f64()).map(|(t, s)| t / s);
        assert!(per_turn.is_some_and(|n| (n - 4.0).abs() < 1e-9), "{json}");
    }
    let left =
        |folder: &Path| std::fs::read_dir(folder).expect("is there").map(|e| e.expect("is read").path()).collect::<Vec<_>>();
    assert_eq!(left(&home.data()), std::slice::from_ref(&elsewhere), "the bench works where its store is, and cleans up");
    assert!(left(&elsewhere).is_empty(), "the bench cleans up: {:?}", left(&elsewhere));
}
