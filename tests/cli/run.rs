//! `run` and `resume`: what is printed, what it exits with, what a signal does.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::home::{Home, Said, keys, signal};
use serde_json::Value as Json;

const RUN_KEYS: [&str; 19] = [
    "schema",
    "run_id",
    "scenario",
    "scenario_hash",
    "seed",
    "status",
    "parameters",
    "result",
    "metrics",
    "checks",
    "thresholds",
    "usage",
    "degraded",
    "faults",
    "restarts",
    "events",
    "digest",
    "started_at",
    "ended_at",
];

/// A scenario of one counter, with more of what a test is about.
fn counter(more: &str) -> String {
    format!(
        "name: counter\nclock: {{tick: P1D, ticks: 3}}\nworld: {{state: {{n: {{type: integer, default: 0}}}}}}\nagents:\n  a:\n    kind: rules\n    \
         handles: [tick]\n    rules: [{{otherwise: true, emit: [{{set: {{n: state.n + 1}}}}]}}]\nmetrics: {{n: {{value: state.n}}}}\n{more}"
    )
}

#[test]
fn a_run_prints_the_promised_object() {
    let home = Home::new();
    let said = home.run(&["run", "coin-shop", "--output", "json", "--quiet"]).exits(0);
    assert_eq!(said.err, "");
    let run = said.json();
    assert_eq!(keys(&run), RUN_KEYS);
    assert_eq!(keys(&run["usage"]), ["model_calls", "tokens_in", "tokens_out", "cost_usd"]);
    assert_eq!(
        (&run["schema"], &run["scenario"], &run["status"]),
        (&"commedia.run/v1".into(), &"coin-shop".into(), &"completed".into())
    );
    assert_eq!((run["seed"].as_u64(), run["digest"].as_str().map(str::len)), (Some(1), Some(64)));
    assert!(run["metrics"]["cash"].as_f64().is_some_and(|cash| cash > 100.0), "{run}");
    let shown = home.run(&["show", "@1", "--output", "json"]).exits(0).json();
    assert_eq!(shown, run);
    let table = home.run(&["show", run["run_id"].as_str().expect("an id")]).exits(0).out;
    assert!(table.contains("cash") && table.contains(run["digest"].as_str().expect("a digest")), "{table}");
}

#[test]
fn the_same_seed_gives_the_same_digest() {
    let home = Home::new();
    let digest = |arguments: &[&str]| {
        let arguments = [&["run", "coin-shop", "--output", "json"], arguments].concat();
        home.run(&arguments).exits(0).json()["digest"].clone()
    };
    let first = digest(&[]);
    for arguments in [
        &["--memory"][..],
        &["--workers", "1"],
        &["--workers", "2", "--progress", "none"],
        &["--workers", "8", "--memory"],
        &["--durability", "process"],
        &["--offline", "--seed", "1"],
    ] {
        assert_eq!(digest(arguments), first, "{arguments:?}");
    }
    assert_ne!(digest(&["--seed", "2"]), first);
}

#[test]
fn several_runs_are_summed_up() {
    let home = Home::new();
    let said = home.run(&["run", "coin-shop", "--runs", "5", "--parallel", "2", "--seed", "7", "--output", "json"]).exits(0);
    let json = said.json();
    assert_eq!(keys(&json), ["schema", "scenario", "scenario_hash", "runs", "metrics", "thresholds"]);
    let seeds: Vec<u64> = json["runs"].as_array().expect("runs").iter().filter_map(|r| r["seed"].as_u64()).collect();
    assert_eq!(seeds, [7, 8, 9, 10, 11]);
    json["runs"].as_array().expect("runs").iter().for_each(|r| assert_eq!(keys(r), RUN_KEYS));
    let cash = &json["metrics"]["cash"];
    assert_eq!(keys(cash), ["n", "mean", "sd", "ci95", "p50", "p95"]);
    let (mean, ci) = (cash["mean"].as_f64().expect("a mean"), cash["ci95"].as_array().expect("an interval"));
    assert!(cash["n"] == 5 && ci[0].as_f64() < Some(mean) && ci[1].as_f64() > Some(mean), "{cash}");
    let alone = home.run(&["run", "coin-shop", "--seed", "9", "--output", "json"]).exits(0).json();
    assert_eq!(json["runs"][2]["digest"], alone["digest"]);
    assert!(said.err.contains("100 %  5 of 5 runs"), "{}", said.err);
    let table = home.run(&["run", "coin-shop", "--runs", "2"]).exits(0).out;
    assert!(table.contains("2 completed") && table.contains("95 % interval"), "{table}");
}

#[test]
fn exit_codes() {
    let home = Home::new();
    let check = |more: &str, arguments: &[&str], code: i32, status: &str| {
        let file = home.file("counter.yaml", counter(more));
        let said = home.run(&[&["run", &file, "--output", "json"], arguments].concat()).exits(code);
        assert_eq!(said.json()["status"], status, "{more}");
        said
    };
    check("", &[], 0, "completed");
    check("checks: [{name: enough, that: metrics.n >= 3.0}]\n", &[], 0, "completed");
    let missed = check("checks: [{name: enough, that: metrics.n > 3.0}]\n", &[], 99, "completed").json();
    assert_eq!((&missed["checks"][0]["name"], &missed["checks"][0]["passed"]), (&"enough".into(), &false.into()));
    let missed = check("thresholds: [{metric: n, mean: '< 3'}]\n", &[], 99, "completed").json();
    assert_eq!(
        (missed["thresholds"][0]["value"].as_f64(), missed["thresholds"][0]["passed"].as_bool()),
        (Some(3.0), Some(false))
    );
    check("limits: {events: 3}\n", &[], 5, "over_budget");
    let paused = check("limits: {events: 3, on_exceed: pause}\n", &[], 5, "paused");
    assert!(paused.err.contains("commedia resume r_"), "{}", paused.err);
    let failing = counter("").replace("state.n + 1", "1 / state.n");
    let file = home.file("failing.yaml", &failing);
    let said = home.run(&["run", &file]).exits(4);
    assert!(said.out.contains("failed") && said.out.contains("because"), "{}", said.out);
    let said = home.run(&["run", &file, "--runs", "3", "--output", "json"]).exits(4);
    assert_eq!((said.json()["runs"].as_array().map(Vec::len), said.json()["metrics"]["n"]["n"].as_u64()), (Some(3), Some(0)));
}

#[test]
fn parameters_are_typed_checked_and_kept() {
    let home = Home::new();
    let parameters = "parameters:\n  weeks: {type: integer, minimum: 1, default: 4}\n  plan: {type: string, default: weekly}\n  \
                      mark: {type: [integer, \"null\"], default: 3}\n";
    let file = home.file("counter.yaml", counter(parameters));
    let params = home.file("params.yaml", "weeks: 9\nplan: '7'\n");
    let run = |arguments: &[&str]| home.run(&[&["run", &file, "--output", "json", "--quiet"], arguments].concat());
    let check = |arguments: &[&str], expect: &str| {
        assert_eq!(run(arguments).exits(0).json()["parameters"].to_string(), expect);
    };
    check(&[], r#"{"weeks":4,"plan":"weekly","mark":3}"#);
    check(&["--set", "weeks=12", "--set", "plan=12", "--set", "mark=null"], r#"{"weeks":12,"plan":"12","mark":null}"#);
    check(&["--params", &params, "--set", "weeks=2"], r#"{"weeks":2,"plan":"7","mark":3}"#);
    let stored = home.run(&["ls", "--output", "jsonl"]).exits(0).lines().len();
    let refused = |arguments: &[&str], words: &str| {
        let said = run(arguments).exits(3);
        assert!(said.err.contains(words) && said.out.is_empty(), "{}", said.err);
    };
    refused(&["--set", "weeks=0"], "weeks");
    refused(&["--set", "weeks=many"], "weeks");
    refused(&["--set", "weks=3"], "did you mean `weeks`?");
    refused(&["--params", "no-such.yaml"], "no-such.yaml");
    refused(&["--params", &home.file("list.yaml", "[1, 2]\n")], "must be a map");
    assert_eq!(home.run(&["ls", "--output", "jsonl"]).exits(0).lines().len(), stored, "nothing was stored");
}

#[test]
fn what_is_not_built_is_refused_and_nothing_stored() {
    let home = Home::new();
    let human = home.file("human.yaml", "name: s\nagents:\n  boss: {kind: human}\n");
    home.run(&["validate", &human]).exits(0);
    let said = home.run(&["run", &human]).exits(3);
    assert!(
        said.err.contains("human.yaml:3:") && said.err.contains("`boss`") && said.err.contains("not part of this version"),
        "{}",
        said.err
    );
    for (model, remedy) in [("openai:gpt-4o-mini", "set OPENAI_API_KEY"), ("llama", "`--offline`")] {
        let said = home.run(&["run", "handoff-4", "--model", model]).exits(3);
        assert!(said.err.contains(remedy), "{}", said.err);
    }
    assert!(!home.data().exists(), "nothing was created");
}

#[test]
fn progress_is_told_on_standard_error() {
    let home = Home::new();
    let run = |arguments: &[&str]| home.run(&[&["run", "handoff-4", "--output", "json"], arguments].concat()).exits(0);
    let said = run(&["--progress", "json"]);
    let lines: Vec<Json> = said.err.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    let id = said.json()["run_id"].clone();
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(keys(line), ["run_id", "seq", "type", "agent", "at"]);
        assert_eq!((&line["run_id"], line["seq"].as_u64()), (&id, Some(n as u64 + 1)));
    }
    assert_eq!(
        (lines[0]["type"].as_str(), lines.last().and_then(|l| l["type"].as_str())),
        (Some("run.created"), Some("run.completed"))
    );
    assert_eq!(lines.len() as u64, said.json()["events"].as_u64().expect("events"));
    let said = run(&["--progress", "plain"]);
    assert!(
        said.err.contains("offline: rules answer for planner, demand, inventory, pricing; nothing leaves this machine"),
        "{}",
        said.err
    );
    let said = run(&["--progress", "none", "--model", "stub"]);
    assert!(said.err.starts_with("stub: the stub answers for planner") && said.err.lines().count() == 1, "{}", said.err);
    let said = home.run(&["run", "coin-shop"]).exits(0);
    assert_eq!(said.err.lines().filter(|l| l.contains(" %  tick ")).count(), 10, "{}", said.err);
    assert!(!home.run(&["run", "coin-shop", "--live"]).exits(0).err.contains('\u{1b}'), "no bars without a terminal");
}

/// Signals at some moment of a long run: it exits with 130, and what resumes it has the digest of the undisturbed one.
#[cfg(unix)]
#[test]
fn a_signal_saves_the_run() {
    let home = Home::new();
    let long = counter("").replace("ticks: 3", "ticks: 400");
    let file = home.file("long.yaml", long);
    let whole = home.run(&["run", &file, "--memory", "--output", "json"]).exits(0).json();
    for (name, events) in [("TERM", 1), ("INT", 100)] {
        let mut child = home
            .command(&["run", &file, "--progress", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut err = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        (0..events).for_each(|_| {
            line.clear();
            err.read_line(&mut line).expect("a line");
        });
        let id = serde_json::from_str::<Json>(&line).expect("JSON")["run_id"].as_str().expect("an id").to_owned();
        signal(child.id(), name);
        let rest: Vec<String> = err.lines().map_while(Result::ok).collect();
        let output = child.wait_with_output().expect("ends");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0), "{name}: {rest:?}");
        assert!(rest.iter().any(|l| l.trim() == format!("commedia resume {id}")), "{rest:?}");
        let listed = home.run(&["ls", "--status", "running", "--output", "jsonl"]).exits(0).lines();
        assert_eq!(listed.len(), 1);
        let resumed = if name == "TERM" {
            home.run(&["resume", "--output", "json"])
        } else {
            home.run(&["resume", &id, "--output", "json"])
        };
        let resumed = resumed.exits(0).json();
        assert_eq!(keys(&resumed), RUN_KEYS);
        assert_eq!((&resumed["run_id"], &resumed["digest"]), (&id.into(), &whole["digest"]), "{name}");
    }
    let none = home.run(&["resume", "--output", "json"]).exits(0).json();
    assert_eq!(none["runs"].as_array().map(Vec::len), Some(0));
    assert!(home.run(&["resume", "@1"]).exits(2).err.contains("has ended"));
}

#[test]
fn a_paused_run_goes_on_when_it_is_named() {
    let home = Home::new();
    let file = home.file("counter.yaml", counter("limits: {events: 3, on_exceed: pause}\n"));
    let id = home.run(&["run", &file, "--output", "json"]).exits(5).json()["run_id"].as_str().expect("an id").to_owned();
    assert!(home.run(&["resume"]).exits(0).err.contains("nothing was interrupted"));
    let again: Said = home.run(&["resume", &id, "--output", "json"]);
    assert_eq!(again.json()["run_id"], id.as_str());
}

/// What the shards of one wave report is more than a frame holds.
#[test]
fn a_wave_of_many_shards_is_cut_into_frames() {
    let said =
        Home::new().run(&["run", "population", "--set", "shoppers=30000", "--set", "ticks=1", "--memory", "--output", "json"]);
    let run = said.exits(0).json();
    assert_eq!((run["status"].as_str(), run["restarts"].as_u64()), (Some("completed"), Some(0)));
}
