//! A store that never answers: a process that is asked to stop ends all the same, when its time is up or at the second
//! signal, and has lost nothing.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};

use serde_json::Value as Json;

use crate::judge::{self, Undisturbed};
use crate::stage::{Act, Stage, Told, signal, text};

/// A diary whose writer hangs at a point; signals are sent once it does. What it said after that, and its exit code.
fn hangs(stage: &Stage, at: &str, drain: &str, signals: &[&str], told: &mut Told) -> (String, Option<i32>) {
    let mut command = stage.command(&["run", "diary.scenario.yaml", "--model", "stub", "--progress", "json"]);
    // One thread: nothing may wait on it for what never comes.
    command.env("COMMEDIA_HANG_AT", at).env("COMMEDIA_RUNTIME__DRAIN", drain).env("COMMEDIA_RUNTIME__WORKERS", "1");
    let mut child = command.spawn().expect("starts");
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while err.read_line(&mut line).expect("is read") > 0 && !line.contains("no further at pass") {
        if let Ok(event) = serde_json::from_str::<Json>(&line) {
            told.extend(event["seq"].as_u64().map(|seq| ((text(&event["run_id"]), seq), text(&event["type"]))));
        }
        line.clear();
    }
    assert!(line.contains(at.split(':').next().expect("a point")), "{line}");
    signals.iter().for_each(|name| signal(child.id(), name));
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("is read");
    (rest, child.wait().expect("ends").code())
}

fn check(at: &str, drain: &str, signals: &[&str], says: Option<&str>) {
    let folder = crate::folder();
    let (stage, straight) =
        (Stage::new(&folder.path().join("stuck"), "sled"), Stage::new(&folder.path().join("straight"), "sled"));
    let mut told = Told::new();
    let (rest, code) = hangs(&stage, at, drain, signals, &mut told);
    assert_eq!(code, Some(130), "{at}, {signals:?}: {rest}");
    match says {
        Some(words) => assert!(rest.contains(words) && rest.contains("commedia resume"), "{at}: {rest}"),
        None => assert!(!rest.contains("commedia resume"), "{at}: {rest}"),
    }
    assert!(!told.is_empty(), "{at}: nothing was told before");
    stage.perform(Act::Diary(1), &mut VecDeque::new(), &mut told);
    straight.perform(Act::Diary(1), &mut VecDeque::new(), &mut Told::new());
    judge::judge(&stage, &Undisturbed::so_far(&straight), &told, at);
}

#[test]
fn a_stuck_store_holds_a_stop_up_no_longer_than_its_time() {
    for at in ["group.apply.before:6", "group.sync.after:9", "group.acknowledge.before:12"] {
        check(at, "200ms", &["TERM"], Some("not everything has stopped within 0.2 s"));
    }
}

#[test]
fn a_second_signal_ends_a_stuck_process_at_once() {
    for signals in [["TERM", "INT"], ["INT", "TERM"]] {
        check("group.apply.after:7", "1h", &signals, None);
    }
}
