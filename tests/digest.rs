//! The same seed gives the same digest: with 1, 2 and 8 workers, on sled, on fjall and in memory, followed or not; another seed another.
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
    let fjall = format!("fjall://{}", folder.path().join("fjall").display());
    let rows: [(&str, &[&str]); 7] = [
        ("one worker", &["--workers", "1"]),
        ("two workers", &["--workers", "2"]),
        ("eight workers", &["--workers", "8"]),
        ("in memory", &["--memory"]),
        ("on fjall", &["--store", &fjall]),
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
    // Each engine's log. sled writes a page again when it grows: only in the copy that counts does a flip do harm.
    flip("sled", "sled/db");
    flip("fjall", "fjall/0.jnl");
}

fn flip(engine: &str, log: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, other) = (folder.path().join("store"), folder.path().join("flipped"));
    let url = |dir: &Path| format!("{engine}://{}", dir.display());
    let (_, run) = commedia(folder.path(), &[&SEASON[..], &["--store", &url(&store)]].concat());
    let digest = run["digest"].as_str().expect("a digest");
    let whole = std::fs::read(store.join(log)).expect("the engine's log");
    // Words of the last event.
    let words = b"Season closed";
    let places: Vec<usize> = (0..whole.len() - words.len()).filter(|at| whole[*at..].starts_with(words)).collect();
    assert!(!places.is_empty(), "the result is in the log");
    let mut named = 0;
    for at in places {
        copy_dir(&store, &other);
        let mut flipped = whole.clone();
        flipped[at + 3] ^= 1;
        std::fs::write(other.join(log), flipped).expect("is written");
        let (code, report) = commedia(folder.path(), &["store", "check", "--store", &url(&other)]);
        let damage = report["damage"].as_array().expect("a list");
        let intact = report["runs"].as_array().is_some_and(|runs| runs.iter().any(|r| r["digest"] == digest));
        match code {
            Some(0) => {
                assert!(intact && damage.is_empty(), "{engine} byte {at}: all is well, and the run is not whole: {report}");
            }
            Some(8) => {
                assert!(!damage.is_empty(), "{engine} byte {at}: {report}");
                named += 1;
            }
            other => panic!("{engine} byte {at}: exit code {other:?}: {report}"),
        }
        std::fs::remove_dir_all(&other).expect("is removed");
    }
    assert!(named > 0, "{engine}: one of the copies is the one that counts");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            assert!(std::fs::copy(entry.path(), target).is_ok());
        }
    }
}

#[test]
fn a_copy_of_a_store_has_the_same_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = |engine: &str, name: &str| format!("{engine}://{}", folder.path().join(name).display());
    let (sled, fjall, compact) = (url("sled", "a"), url("fjall", "b"), url("sled", "c"));
    let (_, run) = commedia(folder.path(), &[&SEASON[..], &["--store", &sled]].concat());
    let checked = |store: &str| commedia(folder.path(), &["store", "check", "--store", store]);
    let expected = checked(&sled);
    assert_eq!((expected.0, &expected.1["runs"][0]["digest"]), (Some(0), &run["digest"]));
    for (from, to) in [(&sled, &fjall), (&fjall, &compact)] {
        let (code, said) = commedia(folder.path(), &["store", "copy", from, to]);
        assert_eq!(
            (code, said["schema"].as_str(), said["streams"].as_u64()),
            (Some(0), Some("commedia.store-copy/v1"), Some(2)),
            "{said}"
        );
        assert_eq!(checked(to), expected, "{to}");
    }
    let (code, _) = commedia(folder.path(), &["store", "copy", &sled, &fjall]);
    assert_eq!(code, Some(2), "the target is not empty");
    let (code, _) = commedia(folder.path(), &["ls", "--store", &url("sled", "b")]);
    assert_eq!(code, Some(8), "another engine's store");
    let id = run["run_id"].as_str().expect("an id");
    let (code, replayed) = commedia(folder.path(), &["replay", id, "--verify", "--store", &fjall]);
    assert_eq!(code, Some(0), "{replayed}");
}
