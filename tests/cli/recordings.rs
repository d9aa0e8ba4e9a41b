//! Every pack with all its agents on a model, over HTTP: handoffs come by calls, what was answered is recorded, and played
//! with nobody there it is the same run to the byte. The key stays where it belongs.

use std::path::Path;
use std::time::Duration;

use commedia_actors::model::peer::{Behaviour, Peer};

use serde_json::Value as Json;

use crate::home::{self, Home};

/// A key that must be nowhere but in the requests.
const KEY: &str = "sk-planted-0123456789abcdef";

/// A peer on a runtime of its own: the program is another process.
struct Served {
    peer: Option<Peer>,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    fn start() -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let peer = runtime.block_on(Peer::start(Behaviour::Stub(Duration::ZERO))).expect("a port");
        Served { peer: Some(peer), runtime }
    }

    fn peer(&self) -> &Peer {
        self.peer.as_ref().expect("it runs")
    }

    fn stop(&mut self) {
        let _guard = self.runtime.enter();
        drop(self.peer.take());
    }
}

fn run(home: &Home, url: &str, api: &str, arguments: &[&str]) -> home::Said {
    let mut command = home.command(arguments);
    command.env("OPENAI_API_KEY", KEY).env("OPENAI_BASE_URL", format!("{url}/v1")).env("COMMEDIA_MODELS__OPENAI__API", api);
    command.output().expect("the program starts").into()
}

/// The same without what differs from run to run.
fn same(mut json: Json) -> Json {
    let fields = json.as_object_mut().expect("an object");
    for field in ["run_id", "started_at", "ended_at"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    json
}

fn all_bytes(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all_bytes(&path, found);
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
}

#[test]
fn every_pack_runs_on_a_model_and_again_without_it() {
    for (pack, api) in [
        ("retail-season", "responses"),
        ("retail-season", "chat"),
        ("startup-studio", "chat"),
        ("handoff-4", "responses"),
        ("fault-drill", "chat"),
    ] {
        let home = Home::new();
        let mut served = Served::start();
        let url = served.peer().url();
        let tape = home.path("tape").display().to_string();
        let common = ["run", pack, "--seed", "3", "--today", "2026-02-25", "--output", "json", "--progress", "json"];
        let with = |more: &[&'static str]| -> Vec<&str> { common.iter().chain(more).copied().collect() };
        let mut first = with(&["--model", "openai:gpt-4o-mini", "--record"]);
        first.push(&tape);
        let recorded = run(&home, &url, api, &first);
        let first = recorded.json();
        assert_eq!(first["status"], "completed", "{pack} {api}: {first}\n{}", recorded.err);
        let calls = first["usage"]["model_calls"].as_u64().expect("a number");
        let asked = served.peer().requests();
        assert!(calls > 3 && asked >= calls, "{pack} {api}: {calls} calls, {asked} requests");
        assert!(first["usage"]["tokens_in"].as_u64() > Some(0), "{first}");
        assert!(recorded.err.contains("turn.completed"), "{}", recorded.err);
        // Verified from its own log, and played: nobody is asked.
        home.run(&["replay", "@1", "--verify"]).exits(0);
        served.stop();
        let mut second = with(&["--cassette"]);
        second.push(&tape);
        let played = run(&home, &url, api, &second);
        assert_eq!(played.code, recorded.code, "{pack} {api}: {}", played.err);
        assert_eq!(same(played.json()), same(first), "{pack} {api}");
        // The key is in no log, event, error, report or recording.
        let mut found = vec![
            ("what was said".to_owned(), [recorded.out, recorded.err, played.out, played.err].concat().into_bytes()),
            ("the events".to_owned(), home.run(&["tail", "@1", "--output", "jsonl"]).exits(0).out.into_bytes()),
        ];
        all_bytes(&home.data(), &mut found);
        all_bytes(Path::new(&tape), &mut found);
        for (place, bytes) in found {
            let there = bytes.windows(KEY.len()).any(|w| w == KEY.as_bytes());
            assert!(!there, "{pack} {api}: the key stands in {place}");
        }
    }
}

#[test]
fn a_recording_is_refused_where_it_cannot_be_played() {
    let home = Home::new();
    let served = Served::start();
    let url = served.peer().url();
    let tape = home.path("tape").display().to_string();
    let nothing = home.run(&["run", "handoff-4", "--record", &tape]).exits(2);
    assert!(nothing.err.contains("nothing to record"), "{}", nothing.err);
    assert!(!home.path("tape").exists());
    let record = ["run", "handoff-4", "--model", "openai:gpt-4o-mini", "--record", &tape];
    run(&home, &url, "chat", &record).exits(0);
    let again = run(&home, &url, "chat", &record).exits(2);
    assert!(again.err.contains("holds a recording already"), "{}", again.err);
    let other = home.run(&["run", "startup-studio", "--cassette", &tape]).exits(3);
    assert!(other.err.contains("is a recording of `handoff-4`"), "{}", other.err);
    let none = home.run(&["run", "handoff-4", "--cassette", "nowhere"]).exits(3);
    assert!(none.err.contains("is no recording"), "{}", none.err);
    home.run(&["run", "handoff-4", "--cassette", &tape, "--model", "stub"]).exits(2);
    // An answer that is not there is told, whatever took its place, and never asked for.
    let lane = home.path("tape").join("fourth.jsonl");
    let lanes: Vec<_> = std::fs::read_dir(home.path("tape")).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    let lane = lanes
        .iter()
        .find(|l| **l == lane)
        .or(lanes.iter().find(|l| l.extension().is_some_and(|e| e == "jsonl")))
        .expect("a lane");
    std::fs::remove_file(lane).expect("removed");
    let before = served.peer().requests();
    let missed = run(&home, &url, "chat", &["run", "handoff-4", "--cassette", &tape]).exits(4);
    assert!(missed.err.contains("has no answer to step"), "{}", missed.err);
    assert_eq!(served.peer().requests(), before);
}

/// A process that is killed at the end.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

#[test]
fn the_tour_brings_a_model_and_takes_it_away() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the page");
    let home = Home::new();
    let line = |start: &str| {
        let line = page.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("README.md has no `{start}`"));
        line.split(' ').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    line("commedia peer --port 7000");
    let mut child = home.command(&["peer", "--output", "jsonl"]);
    let mut peer =
        Killed(child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().expect("starts"));
    let mut url = String::new();
    let out = peer.0.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut url).expect("its address");
    let url: Json = serde_json::from_str(&url).expect("JSON");
    let url = url["url"].as_str().expect("an address").to_owned();
    let words =
        |line: &[String]| line.iter().map(String::as_str).chain(["--output", "json"]).map(str::to_owned).collect::<Vec<_>>();
    let told = |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run(&home, &url, "chat", &words).exits(0).json()
    };
    let first = told(words(&line("commedia run handoff-4 --model")));
    assert!(first["usage"]["model_calls"].as_u64() > Some(4), "{first}");
    drop(peer);
    let second = told(words(&line("commedia run handoff-4 --cassette")));
    assert_eq!(same(second), same(first));
}
