//! `kill -9` around an effect: before it is dispatched, before it happens, before its outcome is recorded, after that. Whole
//! processes against a server that counts: an effect never happens twice, what may be repeated is so with one key, and the
//! digest is the undisturbed run's. `COMMEDIA_EFFECTS` sets how many kills (12); `COMMEDIA_SEED` repeats a failure, and is printed.

#[path = "../actors/tests/ledger/mod.rs"]
#[expect(dead_code, reason = "the runtime's own tests use the rest of it")]
mod ledger;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ledger::{Ledger, Reply};
use serde_json::Value as Json;

const ERRAND: &str = r#"
name: errand
parameters: {ledger: {type: string}}
models: {m: {use: stub}}
tools:
  pay: {kind: http, method: POST, url: "{{ params.ledger | safe }}/pay", timeout: 1h}
  book: {kind: http, method: PUT, url: "{{ params.ledger | safe }}/book", effect: idempotent, timeout: 1h}
agents:
  buyer:
    kind: llm
    model: m
    tools: [pay, book]
    stub: [{call: pay, with: {sum: 5}}, {call: book, with: {room: 7}}, {text: Done.}]
"#;

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the step is dispatched, at any moment.
    BeforeDispatch,
    /// The request has come; nothing was done of it.
    BeforeEffect,
    /// It was done; no answer has left.
    BeforeAnswer,
    /// It was answered, and the outcome is durable.
    AfterRecord,
}

const ALL: [At; 4] = [At::BeforeDispatch, At::BeforeEffect, At::BeforeAnswer, At::AfterRecord];

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

fn commedia(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
    command.args(arguments).arg("--data").arg(data).env("COMMEDIA_TOOLS__HTTP__ALLOW", "127.0.0.1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The exit code and the JSON of a command.
fn said(data: &Path, arguments: &[&str]) -> (i32, Json) {
    let output = commedia(data, arguments).args(["--output", "json"]).output().expect("starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}\n{err}"));
    (output.status.code().expect("a code"), json)
}

fn kill(mut child: Child) {
    child.kill().expect("is killed, or has ended");
    child.wait().expect("is reaped");
}

/// A server that breaks off or hangs at one path's first request, and tells when it has come.
fn server(path: &'static str, at: At) -> (Ledger, Receiver<()>) {
    let (tell, came) = channel();
    let mut first = true;
    let ledger = Ledger::new(move |asked, _| {
        let mine = asked.path == path && std::mem::take(&mut first);
        match at {
            // The connection stays open while the process is killed: nothing of this request is done.
            At::BeforeEffect if mine => {
                tell.send(()).expect("the test waits");
                Reply::Hang
            }
            At::BeforeAnswer if mine => {
                tell.send(()).expect("the test waits");
                Reply::DoneAndHang
            }
            _ => Reply::json(200, if asked.path == "/pay" { r#"{"receipt": 1}"# } else { r#"{"room": 7}"# }),
        }
    });
    (ledger, came)
}

/// Starts a run and kills it where that is wanted; its id comes back.
fn killed(data: &Path, arguments: &[&str], path: &str, at: At, came: &Receiver<()>, spins: u64) -> String {
    let mut child = commedia(data, arguments).args(["--progress", "json"]).spawn().expect("starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut events = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Json>(&line).ok());
    let first = events.next().expect("it tells of its start");
    let id = first["run_id"].as_str().expect("an id").to_owned();
    let nth = if path == "/pay" { 1 } else { 2 };
    match at {
        At::BeforeDispatch => (0..spins).for_each(|_| std::hint::spin_loop()),
        At::BeforeEffect | At::BeforeAnswer => came.recv_timeout(Duration::from_secs(60)).expect("a request comes"),
        At::AfterRecord => {
            // The outcome of the tool's step is the one behind its dispatch.
            let mut dispatched = 0;
            for event in &mut events {
                dispatched += u32::from(event["type"] == "step.dispatched");
                if dispatched == nth && event["type"] == "step.recorded" {
                    break;
                }
            }
        }
    }
    kill(child);
    id
}

#[test]
fn an_effect_never_happens_twice_wherever_the_process_is_killed() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("COMMEDIA_EFFECTS", 12), number("COMMEDIA_SEED", u64::from(std::process::id())));
    eprintln!("COMMEDIA_EFFECTS={kills} COMMEDIA_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("errand.scenario.yaml");
    std::fs::write(&file, ERRAND).expect("written");
    let file = file.to_str().expect("UTF-8");
    let (mut interrupted, mut unknown, mut repeated, mut retried) = (0, 0, 0, 0);
    for n in 0..kills {
        let at = ALL[usize::try_from(n % 4).expect("small")];
        let path = if n / 4 % 3 == 2 { "/book" } else { "/pay" };
        let (ledger, came) = server(path, at);
        let data = folder.path().join(format!("run-{n}"));
        let given = format!("ledger={}", ledger.url());
        let run = ["run", file, "--set", &given];
        let id = killed(&data, &run, path, at, &came, chance.below(3_000_000));
        let (mut code, mut json) = said(&data, &["show", &id]);
        if json["ended_at"].is_null() {
            interrupted += 1;
            (code, json) = said(&data, &["resume", &id]);
        }
        while code == 5 {
            assert_eq!((&json["status"], &json["waiting_for"]), (&"waiting".into(), &"reconciliation".into()), "{n} {at:?}");
            let step = json["unknown_steps"][0].clone();
            assert_eq!((step["tool"].as_str(), step["attempt"].as_u64()), (Some("pay"), Some(1)), "{n} {at:?}: {step}");
            unknown += 1;
            // The operator asks the ledger, which knows the key.
            let key = step["idempotency_key"].as_str().expect("a key");
            let step = step["step"].as_str().expect("a step");
            let resolve = ["resolve", &id, step, "--outcome"];
            (code, json) = if ledger.keys("/pay").contains_key(key) {
                said(&data, &[&resolve[..], &["succeeded", "--result", r#"{"receipt": 1}"#]].concat())
            } else {
                retried += 1;
                said(&data, &[&resolve[..], &["retry"]].concat())
            };
        }
        assert_eq!((code, &json["status"]), (0, &"completed".into()), "{n} {at:?} {path}: {json}");
        let (pays, books) = (ledger.keys("/pay"), ledger.keys("/book"));
        assert_eq!(pays.values().copied().collect::<Vec<_>>(), [1], "{n} {at:?} {path}: an effect happens once");
        assert_eq!(books.len(), 1, "{n} {at:?} {path}: what is repeated has one key: {books:?}");
        repeated += books.values().sum::<usize>() - 1;
        let straight = folder.path().join(format!("straight-{n}"));
        if n < 4 {
            let (_, undisturbed) = said(&straight, &run);
            assert_eq!(json["digest"], undisturbed["digest"], "{n} {at:?} {path}");
        }
        let (_, verified) = said(&data, &["replay", &id, "--verify"]);
        assert_eq!(verified["difference"], Json::Null, "{n} {at:?}: {verified}");
        std::fs::remove_dir_all(&data).expect("removed");
    }
    eprintln!(
        "{kills} kills, {interrupted} before the end: {unknown} effects of which nobody knew ({retried} had not happened), {repeated} calls repeated with their key, none twice"
    );
    assert!(
        interrupted * 2 >= kills && unknown * 5 >= kills,
        "{interrupted} came before the end, {unknown} left an effect unknown"
    );
}

#[test]
fn an_operator_is_told_what_to_say_and_what_he_cannot() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("errand.scenario.yaml");
    std::fs::write(&file, ERRAND).expect("written");
    let data = folder.path().join("data");
    let (ledger, came) = server("/pay", At::BeforeAnswer);
    let given = format!("ledger={}", ledger.url());
    let run = ["run", file.to_str().expect("UTF-8"), "--set", &given];
    let id = killed(&data, &run, "/pay", At::BeforeAnswer, &came, 0);
    let text = |arguments: &[&str], code: i32| {
        let output = commedia(&data, arguments).output().expect("starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        format!("{out}{err}")
    };
    // Nobody has gone on with it yet: it was interrupted.
    assert!(text(&["resolve", &id, "t1.0.1", "--outcome", "retry"], 2).contains("does not wait for a resolution"));
    let resumed = text(&["resume", &id], 5);
    assert!(resumed.contains(&format!("commedia resolve {id} t1.0.1 --outcome succeeded|failed|retry")), "{resumed}");
    let shown = text(&["show", &id], 0);
    assert!(shown.contains("errand · waiting") && shown.contains("t1.0.1") && shown.contains("pay {\"sum\":5}"), "{shown}");
    assert!(shown.contains(&format!("commedia resolve {id} t1.0.1")), "{shown}");
    let (_, listed) = said(&data, &["ls"]);
    assert_eq!((&listed["runs"][0]["status"], &listed["runs"][0]["waiting_for"]), (&"waiting".into(), &"reconciliation".into()));
    assert!(text(&["resume"], 5).contains("resolve"));
    for (arguments, words) in [
        (&["resolve", &id][..], "which step?"),
        (&["resolve", &id], "it waits for t1.0.1 (pay)"),
        (&["resolve", &id, "t9.9.9", "--outcome", "retry"], "no step `t9.9.9`"),
        (&["resolve", &id, "t1.0.1"], "--outcome succeeded, failed or retry"),
        (&["resolve", &id, "t1.0.1", "--outcome", "maybe"], "possible values: succeeded, failed, retry"),
        (&["resolve", &id, "t1.0.1", "--outcome", "succeeded", "--result", "{paid"], "--result is no JSON"),
        (&["resolve", &id, "t1.0.1", "--outcome", "retry", "--result", "1"], "leave it out"),
        (&["resolve", &id, "t1.0.1", "--outcome", "failed", "--result", "1"], "is the reason"),
        (&["resolve", "r_00000000000000000000000000", "t1.0.1", "--outcome", "retry"], "there is no run"),
    ] {
        let said = text(arguments, 2);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    // The same on a server.
    let mut serving = commedia(&data, &["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]).spawn().expect("starts");
    let url = BufReader::new(serving.stdout.take().expect("piped")).lines().next().expect("a line").expect("a URL");
    let there = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
        let output = command.args(arguments).args(["--server", &url, "--output", "json"]).output().expect("starts");
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    for (arguments, code, words) in [
        (&["resolve", &id][..], 2, "which step?"),
        (&["resolve", &id], 2, "it waits for t1.0.1 (pay)"),
        (&["resolve", &id, "t9.9.9", "--outcome", "retry"], 2, "no step `t9.9.9`"),
        (&["resolve", &id, "t1.0.1", "--outcome", "retry", "--result", "1"], 2, "leave it out"),
        (&["resolve", &id, "t1.0.1", "--outcome", "failed", "--result", "\"no funds\""], 0, "\"run_id\""),
        (&["resolve", &id, "t1.0.1", "--outcome", "retry"], 2, "no step `t1.0.1`"),
    ] {
        let (exit, said) = there(arguments);
        assert!(exit == Some(code) && said.contains(words), "{arguments:?}: {exit:?} {said}");
    }
    let mut ended = Json::Null;
    while ended["status"] != "completed" {
        ended = serde_json::from_str(&there(&["show", &id]).1).expect("JSON");
        assert!(ended["status"] == "completed" || ended["status"] == "running", "{ended}");
    }
    kill(serving);
    assert!(text(&["resolve", &id, "t1.0.1", "--outcome", "retry"], 2).contains("has ended (completed)"));
    let log = text(&["tail", &id], 0);
    assert!(log.contains("failed, says the operator") && log.contains("no funds"), "{log}");
    assert_eq!(ledger.keys("/pay").into_values().collect::<Vec<_>>(), [1]);
}
