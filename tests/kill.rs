//! `kill -9` at random moments between a run's first and its last append: nothing acknowledged is lost, and the digest is the
//! undisturbed run's, on each engine. `COMMEDIA_KILLS` sets how many runs (12, on sled; 4 on fjall),
//! `COMMEDIA_SEED` repeats a failure, and is printed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const WEEKS: u32 = 52;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

/// A data folder is named after the engine of its store.
fn commedia(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
    let engine = data.extension().expect("an engine").to_string_lossy();
    command.arg("--store").arg(format!("{engine}://{}", data.join("store").display()));
    command.args(arguments).arg("--data").arg(data).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn json(data: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = commedia(data, arguments).output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn season(seed: &str) -> Vec<String> {
    let weeks = format!("forecast_horizon_weeks={WEEKS}");
    ["run", "retail-season", "--today", "2026-02-25", "--seed", seed, "--set", &weeks, "--progress", "json", "--output", "json"]
        .map(str::to_owned)
        .to_vec()
}

/// Acknowledged events by seq, as the progress lines told them.
type Told = BTreeMap<u64, String>;

/// Starts a command and kills it once it has told so many events and a moment more; the run's id comes back if it was told.
fn kill_after(data: &Path, arguments: &[&str], events: u64, spins: u64, told: &mut Told) -> Option<String> {
    let mut child = commedia(data, arguments).spawn().expect("starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let (mut id, mut seen) = (None, 0);
    for line in lines.map_while(Result::ok) {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        id = id.or_else(|| event["run_id"].as_str().map(str::to_owned));
        if let Some(seq) = event["seq"].as_u64() {
            told.insert(seq, event["type"].as_str().unwrap_or_default().to_owned());
            seen += 1;
        }
        if seen >= events {
            (0..spins).for_each(|_| std::hint::spin_loop());
            break;
        }
    }
    child.kill().expect("is killed, or has ended");
    child.wait().expect("is reaped");
    id
}

#[test]
fn a_killed_run_loses_nothing_and_ends_with_the_same_digest() {
    kill_runs("sled", 12);
}

#[test]
fn a_killed_run_loses_nothing_on_fjall_either() {
    kill_runs("fjall", 4);
}

fn kill_runs(engine: &str, default_kills: u64) {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (kills, seed) = (number("COMMEDIA_KILLS", default_kills), number("COMMEDIA_SEED", u64::from(std::process::id())));
    eprintln!("COMMEDIA_KILLS={kills} COMMEDIA_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let straight = season("5");
    let straight: Vec<&str> = straight.iter().map(String::as_str).collect();
    let undisturbed = json(&folder.path().join("straight").with_extension(engine), &straight);
    assert_eq!(undisturbed["status"], "completed", "{undisturbed}");
    let events = undisturbed["events"].as_u64().expect("a count");
    assert!(events > u64::from(WEEKS), "{events} events, at least one append a week");

    let (mut interrupted, mut checked) = (0, 0);
    for n in 0..kills {
        let data = folder.path().join(format!("run-{n}.{engine}"));
        let mut told = Told::new();
        let Some(id) = kill_after(&data, &straight, 1 + chance.below(events - 1), chance.below(2_000_000), &mut told) else {
            panic!("run {n}: no event was told");
        };
        // One run in ten is killed again while it resumes, up to four times more.
        let again = if n % 10 == 3 { 1 + chance.below(4) } else { 0 };
        for _ in 0..again {
            let resume = ["resume", id.as_str(), "--progress", "json"];
            kill_after(&data, &resume, 1 + chance.below(20), chance.below(500_000), &mut told);
        }
        let before = json(&data, &["show", &id, "--output", "json"]);
        let ended = if before["status"] == "completed" {
            before
        } else {
            interrupted += 1;
            json(&data, &["resume", &id, "--output", "json"])
        };
        assert_eq!(ended["digest"], undisturbed["digest"], "run {n}, seed {seed}, killed after {} events", told.len());
        assert_eq!(ended["status"], "completed", "run {n}");
        let log = commedia(&data, &["tail", &id, "--output", "jsonl"]).output().expect("starts");
        let stored: BTreeMap<u64, Vec<String>> =
            String::from_utf8_lossy(&log.stdout).lines().fold(BTreeMap::new(), |mut all, line| {
                let event: serde_json::Value = serde_json::from_str(line).expect("a line is an event");
                let entry: &mut Vec<String> = all.entry(event["seq"].as_u64().expect("a seq")).or_default();
                entry.push(event["type"].as_str().unwrap_or_default().to_owned());
                all
            });
        for (seq, kind) in &told {
            assert!(
                stored.get(seq).is_some_and(|types| types.contains(kind)),
                "run {n}: acknowledged event {seq} `{kind}` is lost"
            );
            checked += 1;
        }
        let report = json(&data, &["store", "check", "--output", "json"]);
        assert_eq!(report["damage"].as_array().map(Vec::len), Some(0), "run {n}: {report}");
    }
    eprintln!("{engine}: {kills} runs, {interrupted} interrupted and resumed, {checked} acknowledged events checked: none lost");
    assert!(interrupted * 2 >= kills, "most kills must come before the end: {interrupted} of {kills}");
}

const PATIENT: &str = r"
name: patient
clock: {mode: real}
agents: {bell: {kind: rules, rules: [{otherwise: true, emit: [{say: Ding.}]}]}}
triggers: [{name: later, after: PT1H, tell: bell, message: Ring.}]
";

#[test]
fn a_terminated_run_says_how_to_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("patient.scenario.yaml");
    std::fs::write(&file, PATIENT).expect("is written");
    let data = folder.path().join("data.sled");
    let mut child = commedia(&data, &["run", file.to_str().expect("UTF-8"), "--progress", "json"]).spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next().expect("it tells of its start").expect("UTF-8");
    let id = serde_json::from_str::<serde_json::Value>(&first).expect("JSON")["run_id"].as_str().expect("an id").to_owned();
    let killed = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().expect("a shell is there");
    assert!(killed.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().expect("ends").code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains(&format!("commedia resume {id}"))), "{rest:?}");
    let shown = json(&data, &["show", &id, "--output", "json"]);
    assert!(shown["ended_at"].is_null(), "{shown}");
}
