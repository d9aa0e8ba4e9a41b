//! `validate`: every fault told, with its place, as text and as the promised JSON.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::home::{Home, Said, keys};
use serde_json::Value as Json;

const GOOD: &str = "name: shop\nagents:\n  a: {kind: rules, handles: [tick], rules: [{otherwise: true, emit: [{say: hi}]}]}\nclock: {tick: P1D, ticks: 2}\n";
const MISSPELT: &str = "name: shop\nagents:\n  a: {kind: rules, rulez: []}\n  b: {kind: rules, rules: [], nexd: a}\n";

#[test]
fn json_is_as_promised() {
    let home = Home::new();
    let (good, bad) = (home.file("good.yaml", GOOD), home.file("bad.yaml", MISSPELT));
    let said = home.run(&["validate", &good, &bad, "no-such.yaml", "--output", "json"]).exits(3);
    let json = said.json();
    assert_eq!(keys(&json), ["schema", "files"]);
    assert_eq!(json["schema"], "commedia.validation/v1");
    let files = json["files"].as_array().expect("files");
    let told: Vec<(&str, bool)> =
        files.iter().map(|f| (f["file"].as_str().expect("a name"), f["ok"].as_bool().expect("a truth"))).collect();
    assert_eq!(told, [(good.as_str(), true), (bad.as_str(), false), ("no-such.yaml", false)]);
    files.iter().for_each(|f| assert_eq!(keys(f), ["file", "ok", "diagnostics"]));
    let faults = files[1]["diagnostics"].as_array().expect("faults");
    let places: Vec<(Option<u64>, Option<u64>, Option<u64>)> =
        faults.iter().map(|d| (d["line"].as_u64(), d["column"].as_u64(), d["end_column"].as_u64())).collect();
    assert!(places.contains(&(Some(3), Some(20), Some(24))) && places.contains(&(Some(4), Some(31), Some(34))), "{places:?}");
    for fault in faults {
        assert_eq!(keys(fault), ["severity", "code", "message", "line", "column", "end_column", "help"]);
    }
    assert_eq!(files[2]["diagnostics"][0]["code"], "file_not_found");
    assert_eq!(home.run(&["validate", &good, "--output", "jsonl"]).exits(0).lines().len(), 1);
}

#[test]
fn text_shows_the_line_and_the_remedy() {
    let home = Home::new();
    let bad = home.file("bad.yaml", MISSPELT);
    let said = home.run(&["validate", &bad]).exits(3);
    for words in ["error[", "bad.yaml:3:20", "3 |   a: {kind: rules, rulez: []}", "^^^^^", "rules", "bad.yaml:4:31", "0 files ok"]
    {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'), "colours only on a terminal");
    let good = home.file("good.yaml", GOOD);
    assert_eq!(home.run(&["validate", &good]).exits(0).out, "1 file ok · 1 agent · 0 collections · 0 parameters\n");
    let coloured = home.command(&["validate", &bad]).env("CLICOLOR_FORCE", "1").output().expect("starts");
    assert!(Said::from(coloured).out.contains('\u{1b}'));
    let plain = home.command(&["validate", &bad]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().expect("starts");
    assert!(!Said::from(plain).out.contains('\u{1b}'));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let home = Home::new();
    std::fs::create_dir(home.path("folder.yaml")).expect("created");
    for (name, words) in [("no-such.yaml", "does not exist"), ("folder.yaml", "is a folder"), ("no-pack", "no built-in scenario")]
    {
        let said = home.run(&["validate", name]).exits(3);
        assert!(said.out.contains(words) && said.out.contains(&format!("{name}:1:1")), "{}", said.out);
        let said = home.run(&["run", name]).exits(3);
        assert!(said.err.contains(words) && said.out.is_empty(), "{}", said.err);
    }
}

#[test]
fn a_fault_of_an_included_file_is_told_under_its_name() {
    let home = Home::new();
    home.file("part.yaml", "agents:\n  a: {kind: rules, rulez: []}\n");
    let whole = home.file("whole.yaml", "name: shop\ninclude: [part.yaml]\n");
    let json = home.run(&["validate", &whole, "--output", "json"]).exits(3).json();
    assert_eq!(
        (json["files"][0]["ok"].as_bool(), json["files"][0]["diagnostics"].as_array().map(Vec::len)),
        (Some(false), Some(0))
    );
    assert_eq!(
        (json["files"][1]["file"].as_str(), json["files"][1]["diagnostics"][0]["line"].as_u64()),
        (Some("part.yaml"), Some(2))
    );
    let said = home.run(&["validate", &whole]).exits(3);
    assert!(said.out.contains("2 |   a: {kind: rules, rulez: []}"), "{}", said.out);
}

#[test]
fn warnings_do_not_fail_unless_they_shall() {
    let home = Home::new();
    let file = home.file("idle.yaml", "name: shop\nagents:\n  a: {kind: rules, rules: []}\n");
    let said = home.run(&["validate", &file, "--output", "json"]).exits(0);
    let faults = said.json()["files"][0]["diagnostics"].clone();
    assert!(faults.as_array().is_some_and(|f| f.iter().any(|d| d["severity"] == "warning")), "{faults}");
    home.run(&["validate", &file, "--strict"]).exits(3);
}

#[test]
fn the_resolved_document_is_a_scenario_again() {
    let home = Home::new();
    let good = home.file("good.yaml", GOOD);
    let resolved = home.run(&["validate", &good, "--resolved"]).exits(0);
    assert!(resolved.out.contains("max_restarts") && resolved.out.starts_with("apiVersion: commedia/v1"), "{}", resolved.out);
    let again = home.file("again.yaml", &resolved.out);
    assert_eq!(home.run(&["validate", &again, "--resolved"]).exits(0).out, resolved.out);
    let json = home.run(&["validate", &good, "--resolved", "--output", "json"]).exits(0).json();
    assert_eq!(json["name"], "shop");
    for (form, words) in [("mermaid", "flowchart LR"), ("dot", "digraph \"shop\"")] {
        assert!(home.run(&["validate", &good, "--graph", form]).exits(0).out.contains(words));
    }
}

#[test]
fn standard_input_is_a_file() {
    let home = Home::new();
    let mut child = home
        .command(&["validate", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("piped").write_all(MISSPELT.as_bytes()).expect("written");
    let said = Said::from(child.wait_with_output().expect("ends")).exits(3);
    assert!(said.out.contains("<stdin>:3:20"), "{}", said.out);
}

/// The rows of `domain/tests/invalid-scenarios/index.jsonl`: exit code, line and words, through the program.
#[test]
fn each_invalid_scenario_is_told_where_it_is_wrong() {
    let home = Home::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("domain/tests/invalid-scenarios");
    let index = std::fs::read_to_string(folder.join("index.jsonl")).expect("the index");
    for row in index.lines().map(|l| serde_json::from_str::<Json>(l).expect("a row")) {
        let file = folder.join(row["file"].as_str().expect("a file"));
        let said = home.run(&["validate", &file.to_string_lossy(), "--output", "json"]);
        let exits: Vec<i64> = row["exit"].as_array().expect("exits").iter().filter_map(Json::as_i64).collect();
        assert!(exits.contains(&i64::from(said.code)), "{row}: {} {}", said.code, said.out);
        let json = said.json();
        let faults = json["files"][0]["diagnostics"].as_array().expect("faults");
        let mentions = |fault: &Json| {
            let text = format!("{} {}", fault["message"], fault["help"]);
            row["must_mention"].as_array().expect("words").iter().all(|wanted| match wanted {
                Json::Array(any) => any.iter().any(|w| text.contains(w.as_str().unwrap_or_default())),
                word => text.contains(word.as_str().unwrap_or_default()),
            })
        };
        assert!(faults.iter().any(|f| f["line"] == row["line"] && mentions(f)), "{row}: {}", said.out);
    }
}

#[test]
fn hostile_files_are_refused_quickly() {
    let home = Home::new();
    let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "))
    });
    let rows: [(&str, Vec<u8>); 8] = [
        ("deep.yaml", "[".repeat(100_000).into_bytes()),
        ("indent.yaml", (0..2000).flat_map(|n| format!("{}a:\n", " ".repeat(n)).into_bytes()).collect()),
        ("bomb.yaml", bomb.into_bytes()),
        ("nul.yaml", b"name: a\0b\n".to_vec()),
        ("utf8.yaml", b"name: \xff\xfe\n".to_vec()),
        ("long.yaml", format!("name: {}\n", "x".repeat(10_000_000)).into_bytes()),
        ("line.yaml", format!("name: s\nx-a: {}\nagentz: {{}}\n", "y".repeat(900_000)).into_bytes()),
        ("empty.yaml", Vec::new()),
    ];
    for (name, bytes) in rows {
        let file = home.file(name, bytes);
        for form in ["table", "json"] {
            let begun = Instant::now();
            let said = home.run(&["validate", &file, "--output", form]).exits(3);
            assert!(said.out.len() < 200_000, "{name}: {} bytes", said.out.len());
            // The bound is a second for the program as it is shipped; this one is not optimised.
            assert!(begun.elapsed() < Duration::from_secs(10), "{name}: {:?}", begun.elapsed());
        }
    }
}
