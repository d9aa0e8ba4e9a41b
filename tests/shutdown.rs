//! SIGINT and SIGTERM on the real program while many runs work: it ends with 130, says how to go on, and has lost nothing;
//! at the second signal it ends at once, as safely as by a kill. `COMMEDIA_STOPS` (4) says how many.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

const RUNS: u64 = 40;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
        command.args(words).current_dir(self.path()).env_clear().env("HOME", self.path());
        command.arg("--data").arg(self.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ask(&self, words: &[&str]) -> Json {
        let output = self.command(words).args(["--output", "json"]).output().expect("starts");
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{words:?}: {e}\n{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Seed and digest of each run.
    fn digests(&self) -> BTreeMap<u64, String> {
        let check = self.ask(&["store", "check"]);
        assert_eq!(check["damage"], Json::Array(vec![]), "{check}");
        let digests: BTreeMap<String, String> = list(&check["runs"]).map(|r| (text(&r["run_id"]), text(&r["digest"]))).collect();
        let listed = self.ask(&["ls"]);
        list(&listed["runs"]).map(|r| (r["seed"].as_u64().expect("a seed"), digests[&text(&r["run_id"])].clone())).collect()
    }
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().expect("a list").iter()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

/// Starts many runs and sends signals when so many events were told; what was acknowledged, and all that was said.
fn stopped(home: &Home, after: usize, signals: &[&str]) -> (BTreeMap<(String, u64), String>, String) {
    let runs = RUNS.to_string();
    let words = ["run", "coin-shop", "--seed", "1", "--runs", &runs, "--parallel", "8", "--progress", "json"];
    let mut child = home.command(&words).spawn().expect("starts");
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let (mut told, mut said, mut events) = (BTreeMap::new(), String::new(), 0);
    let mut line = String::new();
    while err.read_line(&mut line).expect("is read") > 0 {
        match serde_json::from_str::<Json>(&line) {
            Ok(event) => {
                told.extend(event["seq"].as_u64().map(|seq| ((text(&event["run_id"]), seq), text(&event["type"]))));
                events += 1;
                if events == after {
                    signals.iter().for_each(|name| signal(child.id(), name));
                }
            }
            Err(_) => said += &line,
        }
        line.clear();
    }
    let mut out = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut out).expect("is read");
    assert_eq!(child.wait().expect("ends").code(), Some(130), "after {after}, {signals:?}: {said}");
    (told, said)
}

#[test]
fn a_stop_of_many_runs_loses_nothing() {
    let stops: usize = std::env::var("COMMEDIA_STOPS").map_or(4, |text| text.parse().expect("a number"));
    let straight = Home::new();
    let runs = RUNS.to_string();
    straight.ask(&["run", "coin-shop", "--seed", "1", "--runs", &runs, "--progress", "none"]);
    let undisturbed = straight.digests();
    for n in 0..stops {
        let home = Home::new();
        let signals = [&["TERM"][..], &["INT"], &["TERM", "INT"], &["INT", "TERM"]][n % 4];
        let (told, said) = stopped(&home, 20 + 61 * n, signals);
        if signals.len() == 1 {
            assert!(said.contains("commedia resume") && said.contains("runs were not started"), "{said}");
            // In order: nobody reads the log of a process that ended where it stood.
            assert!(!said.contains("not closed in order"), "{said}");
        }
        home.command(&["resume", "--progress", "none"]).output().expect("starts");
        for id in told.keys().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>() {
            let log = home.ask(&["tail", id]);
            let stored: Vec<(u64, String)> =
                list(&log["events"]).map(|e| (e["seq"].as_u64().expect("a seq"), text(&e["type"]))).collect();
            for ((_, seq), kind) in told.iter().filter(|((run, _), _)| run == id) {
                assert!(stored.contains(&(*seq, kind.clone())), "acknowledged event {seq} `{kind}` of {id} is lost");
            }
        }
        let digests = home.digests();
        assert!(!digests.is_empty() && digests.len() < undisturbed.len(), "{} of {RUNS} runs were begun", digests.len());
        digests.iter().for_each(|(seed, digest)| assert_eq!(digest, &undisturbed[seed], "seed {seed}, {signals:?}"));
    }
}
