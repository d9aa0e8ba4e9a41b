//! The same seed gives the same digest: with 1, 2 and 8 workers, on sled and in memory, followed or not; another seed another.
//! And a flipped bit in a copy of the store is named, wherever it falls into what is still needed.

use std::path::Path;
use std::process::Command;

fn commedia(data: &Path, arguments: &[&str]) -> (Option<i32>, serde_json::Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
    command.args(arguments).args(["--output", "json"]).env("COMMEDIA_DATA", data);
    let output = command.output().expect("starts");
    let json = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
    (output.status.code(), json)
}

const SEASON: [&str; 6] = ["run", "retail-season", "--today", "2026-02-25", "--set", "forecast_horizon_weeks=8"];

#[test]
fn workers_engines_and_followers_leave_no_trace_in_the_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: [(&str, &[&str]); 6] = [
        ("one worker", &["--workers", "1"]),
        ("two workers", &["--workers", "2"]),
        ("eight workers", &["--workers", "8"]),
        ("in memory", &["--memory"]),
        ("nobody follows", &["--progress", "none"]),
        ("durability process", &["--durability", "process"]),
    ];
    let mut digests = Vec::new();
    for (name, more) in rows {
        let (code, run) = commedia(folder.path(), &[&SEASON[..], more].concat());
        assert_eq!((code, run["status"].as_str()), (Some(0), Some("completed")), "{name}: {run}");
        digests.push((name, run["digest"].as_str().expect("a digest").to_owned()));
    }
    assert!(digests.iter().all(|(_, digest)| *digest == digests[0].1), "{digests:#?}");
    let (_, other) = commedia(folder.path(), &[&SEASON[..], &["--seed", "2"]].concat());
    assert_ne!(other["digest"].as_str(), Some(digests[0].1.as_str()));
}

#[test]
fn a_flipped_bit_in_a_copy_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, run) = commedia(folder.path(), &SEASON);
    let digest = run["digest"].as_str().expect("a digest");
    let db = folder.path().join("store/sled/db");
    let whole = std::fs::read(&db).expect("sled keeps its log in `db`");
    // Words of the last event. sled writes a page again when it grows: only in the copy that counts does a flip do harm.
    let words = b"Season closed";
    let places: Vec<usize> = (0..whole.len() - words.len()).filter(|at| whole[*at..].starts_with(words)).collect();
    assert!(!places.is_empty(), "the result is in the log");
    let mut named = 0;
    for at in places {
        let mut flipped = whole.clone();
        flipped[at + 3] ^= 1;
        std::fs::write(&db, flipped).expect("is written");
        let (code, report) = commedia(folder.path(), &["store", "check"]);
        let damage = report["damage"].as_array().expect("a list");
        let intact = report["runs"].as_array().is_some_and(|runs| runs.iter().any(|r| r["digest"] == digest));
        match code {
            Some(0) => assert!(intact && damage.is_empty(), "byte {at}: all is well, and the run is not whole: {report}"),
            Some(8) => {
                assert!(!damage.is_empty(), "byte {at}: {report}");
                named += 1;
            }
            other => panic!("byte {at}: exit code {other:?}: {report}"),
        }
    }
    assert!(named > 0, "one of the copies is the one that counts");
}
