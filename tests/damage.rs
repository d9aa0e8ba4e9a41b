//! Damage to a stored data folder as users meet it: each command shows what was stored or ends with 8 and names the place,
//! never with a panic, and never with less than was stored as if that were all.
//!
//! `COMMEDIA_FLIPS`: how often (12 on each engine); `COMMEDIA_FLIP_SEED`: the same again.

#![expect(unreachable_pub, reason = "the store's own tests use more of what is shared")]

#[path = "../actors/tests/store_support/damage.rs"]
mod damage;
#[path = "../actors/tests/store_support/files.rs"]
mod files;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use damage::Attack;
use files::{Random, copied, count_from_env, files};
use serde_json::Value as Json;

fn commedia(engine: &str, data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
    command.args(["--store", &format!("{engine}://{}", data.join("store").display())]).args(arguments);
    command.arg("--data").arg(data).args(["--output", "json"]).stdin(Stdio::null());
    command.output().expect("starts")
}

/// What a command printed, where it ended well; `None`: it named damage and ended with 8.
fn said(engine: &str, data: &Path, arguments: &[&str]) -> Option<Json> {
    let output = commedia(engine, data, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Some(serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}"))),
        Some(8) if arguments == ["store", "check"] && !out.is_empty() => {
            let report: Json = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{err}"));
            assert!(report["damage"].as_array().is_some_and(|all| !all.is_empty()), "{report}");
            None
        }
        Some(8) => {
            assert!(err.lines().any(|line| line.starts_with("error: ") && line.len() > 20), "{arguments:?}: {err}");
            None
        }
        code => panic!("{arguments:?} ended with {code:?}: {out}{err}"),
    }
}

fn digests(report: &Json) -> BTreeMap<String, String> {
    let runs = report["runs"].as_array().expect("runs").iter();
    runs.map(|run| (run["run_id"].to_string(), run["digest"].to_string())).collect()
}

fn damaged_folders(engine: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let whole = dir.path().join("whole");
    let run = |arguments: &[&str]| {
        let run = said(engine, &whole, arguments).expect("a run");
        (run["run_id"].as_str().expect("an id").to_owned(), run["digest"].clone())
    };
    let runs = [
        run(&["run", "coin-shop"]),
        run(&["run", "handoff-4", "--model", "stub"]),
        run(&["run", "retail-season", "--set", "forecast_horizon_weeks=4"]),
    ];
    let stored = digests(&said(engine, &whole, &["store", "check"]).expect("a report"));
    assert_eq!(stored.len(), runs.len());
    let mut random = Random::from_env("COMMEDIA_FLIP_SEED");
    let paths = files(&whole);
    let (mut healthy, count) = (0, count_from_env("COMMEDIA_FLIPS", 12));
    for n in 0..count {
        let copy = copied(&whole, dir.path(), "damaged");
        let path = copy.join(paths[random.below(paths.len() as u64) as usize].strip_prefix(&whole).expect("below it"));
        let done = Attack::any(&mut random).on(&path, &mut random);
        println!("{engine} {n}: {}: {done}", path.strip_prefix(&copy).expect("below it").display());
        // A store that lost its FORMAT, or everything, is made anew only where nothing else tells of it.
        if let Some(report) = said(engine, &copy, &["store", "check"]) {
            assert_eq!(digests(&report), stored, "{report}");
            healthy += 1;
        }
        if let Some(list) = said(engine, &copy, &["ls"]) {
            let listed = list["runs"].as_array().expect("runs").iter();
            let bad = listed.filter(|run| !run["damage"].is_null()).count();
            assert_eq!(list["runs"].as_array().expect("runs").len(), runs.len(), "{list} ({bad} of them damaged)");
        }
        for (id, digest) in &runs {
            if let Some(shown) = said(engine, &copy, &["show", id]) {
                assert_eq!(shown["digest"], *digest);
            }
        }
    }
    println!("{engine}: {count} damaged folders, {healthy} of them healthy all the same");
}

#[test]
fn damage_to_a_folder_of_sled_is_named() {
    damaged_folders("sled");
}

#[test]
fn damage_to_a_folder_of_fjall_is_named() {
    damaged_folders("fjall");
}
