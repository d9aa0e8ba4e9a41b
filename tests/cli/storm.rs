//! Injected faults as users meet them: the pack in its storm and in calm weather, a file of faults, and what is refused.

use serde_json::Value as Json;

use crate::home::Home;

fn sum(run: &Json, field: &str) -> u64 {
    run["faults"].as_array().expect("a list").iter().map(|fault| fault[field].as_u64().expect("a count")).sum()
}

#[test]
fn the_drill_stands_its_storm_and_says_so() {
    let home = Home::new();
    for seed in ["1", "2", "3"] {
        let run = home.run(&["run", "fault-drill", "--seed", seed, "--output", "json"]).exits(0).json();
        assert_eq!((&run["status"], run["degraded"].as_bool()), (&"completed".into(), Some(true)), "seed {seed}");
        assert_eq!(run["metrics"]["orders"], run["metrics"]["shipped"], "seed {seed}");
        assert!(sum(&run, "injected") > 20 && sum(&run, "recovered") > 10, "seed {seed}: {}", run["faults"]);
        assert_eq!(sum(&run, "lost"), 0, "seed {seed}");
        let restarted: u64 = run["restarted"].as_array().expect("a list").iter().filter_map(|r| r["restarts"].as_u64()).sum();
        assert_eq!(run["restarts"].as_u64(), Some(restarted), "seed {seed}");
        assert!(restarted > 0, "seed {seed}");
        home.run(&["replay", "@1", "--verify"]).exits(0);
        assert_eq!(home.run(&["show", "@1", "--output", "json"]).exits(0).json()["faults"], run["faults"], "seed {seed}");
    }
    let shown = home.run(&["show", "@1"]).exits(0);
    for words in
        ["Restarts\n", "Faults\n", "a message from shop to warehouse is lost, p 0.1", "0 lost", "injected fault: a crash"]
    {
        assert!(shown.out.contains(words), "{words}\n{}", shown.out);
    }
    let told = home.run(&["tail", "@1", "--output", "jsonl"]).exits(0).lines();
    let count = |name: &str| told.iter().filter(|event| event["type"] == name).count();
    assert_eq!((count("faults.set"), count("fault.injected") > 20), (1, true));
    assert!(count("agent.failed") > 0 && count("agent.failed") == count("agent.restarted"));
}

#[test]
fn crashes_change_nothing_and_other_faults_do() {
    let home = Home::new();
    let play = |name: &str, faults: &str| {
        let file = home.file(name, faults);
        home.run(&["--memory", "run", "fault-drill", "--faults", &file, "--output", "json"]).exits(0).json()
    };
    let calm = play("calm.yaml", "[]");
    assert_eq!((calm["faults"].as_array().map(Vec::len), calm["restarts"].as_u64()), (Some(0), Some(0)));
    let crashes = play("crashes.yaml", "faults:\n  - crash: {agent: \"*\", p: 0.2}\n");
    assert!(sum(&crashes, "injected") > 20);
    assert_eq!((&crashes["digest"], &crashes["metrics"]), (&calm["digest"], &calm["metrics"]));
    let lost = play("lost.yaml", "- message: {to: warehouse, effect: drop, p: 0.3}\n");
    assert!(lost["digest"] != calm["digest"] && lost["metrics"]["resent"].as_f64() > Some(0.0));
}

#[test]
fn a_file_of_faults_is_checked_like_the_document() {
    let home = Home::new();
    let rows = [
        ("- crash: {agent: nobody, p: 0.2}\n", "storm.yaml:1:18", "there is no agent `nobody`"),
        ("- crash: {agent: shop}\n", "storm.yaml:1:3", "a crash needs `turn` or `p`"),
        ("- modle: {error: 500}\n", "storm.yaml:1:3", "did you mean `model`?"),
        ("crash: everything\n", "storm.yaml:1:1", "a file of faults must be a list"),
        ("- message: {effect: delay}\n", "storm.yaml:1:3", "needs `by`"),
        ("- crash: {agent: shop, p: 2}\n", "storm.yaml:1:27", "p"),
        ("- [", "storm.yaml:1:", ""),
    ];
    for (text, place, words) in rows {
        home.file("storm.yaml", text);
        let said = home.run(&["--memory", "run", "fault-drill", "--faults", "storm.yaml"]).exits(3);
        assert!(said.err.contains(place) && said.err.contains(words), "{text}\n{}", said.err);
    }
    home.run(&["--memory", "run", "fault-drill", "--faults", "none.yaml"]).exits(3);
}

#[test]
fn only_a_quarantined_run_is_released() {
    let home = Home::new();
    home.run(&["run", "coin-shop", "--quiet"]).exits(0);
    let said = home.run(&["release", "@1", "--to", "running"]).exits(2);
    assert!(said.err.contains("has ended: completed"), "{}", said.err);
    home.run(&["release", "@1"]).exits(2);
    home.run(&["release", "@1", "--to", "heaven"]).exits(2);
}
