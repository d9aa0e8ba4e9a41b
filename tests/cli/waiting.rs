//! Runs that wait for moments of wall time: left in place, told something, gone on with when their time has come.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::home::{Home, Said, signal};
use serde_json::Value as Json;

const CLERK: &str = r#"
name: clerk
clock: {mode: real}
world: {state: {heard: {type: integer, default: 0}}}
agents:
  clerk:
    kind: rules
    rules:
      - {when: "message.kind == 'user'", emit: [{set: {heard: "state.heard + 1"}}]}
      - {otherwise: true, emit: [{finish: "{'heard': state.heard}"}]}
  twins: {kind: rules, replicas: 2, rules: []}
triggers: [{name: later, after: PT24H, tell: clerk}]
ends: [clerk]
result: clerk
"#;

/// A run of the clerk, left waiting; its id.
fn left_waiting(home: &Home) -> String {
    let file = home.file("clerk.scenario.yaml", CLERK);
    let mut command = home.command(&["run", &file, "--progress", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let event = |line: Option<std::io::Result<String>>| serde_json::from_str::<Json>(&line?.ok()?).ok();
    let id = event(lines.next()).expect("it tells of its start")["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(event(lines.next()).expect("a second event")["type"], "run.started");
    signal(child.id(), "TERM");
    drop(lines);
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    id
}

#[test]
fn a_run_that_waits_is_told_and_goes_on_when_its_time_has_come() {
    let home = Home::new();
    let (id, other) = (left_waiting(&home), left_waiting(&home));
    let rows = home.run(&["ls", "--status", "waiting", "--output", "jsonl"]).exits(0).lines();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!((&rows[1]["waiting_for"], rows[1]["waiting_until"].is_string()), (&"timer".into(), true));

    let left = home.run(&["resume"]).exits(0);
    assert!(left.err.contains("2 runs wait for their time and are left in place"), "{}", left.err);
    assert!(left.err.contains("nothing was interrupted"), "{}", left.err);

    for heard in 1..=2 {
        let told = home.run(&["tell", &id, "clerk", "Hear!", "--output", "json"]).exits(0).json();
        assert_eq!(
            (&told["run_id"], &told["status"], &told["waiting_for"]),
            (&id.as_str().into(), &"waiting".into(), &"timer".into())
        );
        assert_eq!(told["events"], 2 + 2 * heard, "the words and a turn each time");
    }
    let shown = home.run(&["show", &id]).exits(0).out;
    assert!(shown.contains("clerk · waiting") && shown.contains("until 20"), "{shown}");

    let check = |arguments: &[&str], words: &str| {
        let said = home.run(arguments).exits(2);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    };
    check(&["tell", &id, "clark", "Hear!"], "did you mean `clerk`?");
    check(&["tell", &id, "nobody", "Hear!"], "it has `clerk`, `twins`");
    check(&["tell", &id, "twins", "Hear!"], "`twins/0` to `twins/1`");
    check(&["tell", &id, "twins/2", "Hear!"], "there is no agent `twins/2`");
    check(&["tell", "r_00000000000000000000000000", "clerk", "Hear!"], "there is no run");

    // A day later, by the clock.
    let late = |arguments: &[&str]| {
        let output = home.command(arguments).env("COMMEDIA_CLOCK_OFFSET_S", "90000").output().expect("starts");
        Said::from(output)
    };
    let ended = late(&["resume", "--output", "json"]).exits(0).json();
    let of =
        |id: &str| ended["runs"].as_array().expect("two runs").iter().find(|r| r["run_id"] == id).expect("it is there").clone();
    assert_eq!((&of(&id)["status"], &of(&id)["result"]), (&"completed".into(), &serde_json::json!({"heard": 2})));
    assert_eq!(of(&other)["result"], serde_json::json!({"heard": 0}));
    check(&["tell", &id, "clerk", "Hear!"], "has ended (completed)");
    assert_eq!(home.run(&["store", "check", "--output", "json"]).exits(0).json()["damage"], Json::Array(vec![]));
}

#[test]
fn lists_come_in_pages() {
    let home = Home::new();
    home.run(&["run", "coin-shop", "--runs", "5"]).exits(0);
    let page = |more: &[&str]| {
        let arguments = [&["ls", "--limit", "2", "--output", "json"][..], more].concat();
        home.run(&arguments).exits(0).json()
    };
    let (mut next, mut seen) = (page(&[]), Vec::new());
    loop {
        seen.extend(next["runs"].as_array().expect("runs").iter().map(|r| r["run_id"].as_str().expect("an id").to_owned()));
        match next["next"].as_str().map(str::to_owned) {
            Some(after) => next = page(&["--after", &after]),
            None => break,
        }
    }
    let all: Vec<String> = (home.run(&["ls", "--output", "jsonl"]).exits(0).lines().iter())
        .map(|r| r["run_id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!((seen.len(), &seen), (5, &all));
}

#[test]
fn after_a_kill_all_that_waited_are_there() {
    let home = Home::new();
    for more in [&[][..], &["--live"]] {
        let arguments = [&["bench", "--workload", "waiting", "--runs", "150", "--output", "json"][..], more].concat();
        let figures = home.run(&arguments).exits(0).json();
        assert_eq!((&figures["runs_found"], &figures["engine"]), (&150.into(), &"sled".into()), "{figures}");
        for figure in ["bytes_per_waiting_run", "wake_p50_ms", "wake_p95_ms", "start_ms"] {
            assert!(figures[figure].is_number(), "{figure}: {figures}");
        }
    }
}
