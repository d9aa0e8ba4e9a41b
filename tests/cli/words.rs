//! The words of the command line: help, versions, schemas, completions, what is refused.

use std::io::Read;
use std::process::Stdio;

use crate::home::{Home, keys};

const DAILY: [&str; 5] = ["init", "validate", "run", "show", "serve"];
const REST: [&str; 13] =
    ["ask", "ls", "tail", "why", "resume", "resolve", "tell", "replay", "store", "schema", "bench", "completions", "version"];

#[test]
fn help_shows_the_daily_verbs_and_all_of_them_when_asked() {
    let home = Home::new();
    let verb =
        |text: &str, verb: &str| text.lines().any(|l| l.trim_start().starts_with(&format!("{verb} ")) && l.starts_with("  "));
    let short = home.run(&["help"]).exits(0).out;
    let all = home.run(&["help", "--all"]).exits(0).out;
    for name in DAILY {
        assert!(verb(&short, name) && verb(&all, name), "{name}: {short}");
    }
    for name in REST {
        assert!(!verb(&short, name) && verb(&all, name), "{name}: {all}");
    }
    assert!(all.contains("99  a check or threshold was missed"), "{all}");
    let run = home.run(&["help", "run"]).exits(0).out;
    assert!(run.contains("--set <NAME=VALUE>") && run.contains("--runs"), "{run}");
    assert!(home.run(&[]).exits(2).err.contains("Usage: commedia"));
}

#[test]
fn what_is_not_there_is_a_usage_error() {
    let home = Home::new();
    let check = |arguments: &[&str], words: &str| {
        let said = home.run(arguments).exits(2);
        assert!(said.err.contains(words) && said.out.is_empty(), "{arguments:?}: {}", said.err);
    };
    check(&["sweep", "coin-shop", "x"], "unrecognized subcommand");
    check(&["help", "fork"], "there is no command `fork`");
    check(&["bench", "--latency", "5"], "`--latency` means nothing to the workload `handoff-4-rules`");
    check(&["bench", "--workload", "handoff-4-stub", "--live"], "`--live` means nothing");
    check(&["run"], "SCENARIO");
    check(&["run", "coin-shop", "--set", "x"], "name=value");
    check(&["run", "coin-shop", "--runs", "0"], "1..=");
    check(&["run", "coin-shop", "--today", "yesterday"], "yesterday");
    check(&["run", "coin-shop", "--memory", "--data", "x"], "cannot be used with");
    check(&["ls", "--server", "localhost:1"], "`localhost:1` is no server's URL");
    check(&["ls", "--server", "http://localhost", "--memory"], "cannot be used with");
    check(&["show", "@1"], "there is no run `@1`");
    check(&["show", "r_00000000000000000000000000"], "there is no run");
    check(&["ls", "--store", "mysql://x"], "`mysql://x` is no store");
    check(&["run", "coin-shop", "--record", "x"], "`--record` has nothing to record");
    check(&["run", "coin-shop", "--detach"], "`--detach` needs a server");
    assert!(!home.data().exists(), "nothing was created");
}

#[test]
fn the_environment_is_checked_too() {
    let home = Home::new();
    let check = |name: &str, value: &str, code: i32, words: &str| {
        let output = home.command(&["ls"]).env(name, value).output().expect("starts");
        let said = crate::home::Said::from(output).exits(code);
        assert!(said.err.contains(words), "{}", said.err);
    };
    check("COMMEDIA_SERVER", "http://127.0.0.1:1", 7, "cannot be reached");
    check("COMMEDIA_WORKSPACE", "mine", 2, "`mine` is no id of a workspace");
    check("COMMEDIA_STORE__URI", "memory:", 2, "`COMMEDIA_STORE__URI` means nothing");
    check("COMMEDIA_STORE__DURABILITY", "maybe", 2, "not `maybe`");
    check("COMMEDIA_STORE__URL", "memory:", 0, "no runs here");
    home.file("commedia.toml", "[store]\ndurabilty = \"fsync\"\n");
    check("LANG", "C", 3, "commedia.toml:2: unknown field `durabilty`");
}

#[test]
fn version_schemas_and_completions() {
    let home = Home::new();
    let version = home.run(&["version", "--output", "json"]).exits(0).json();
    assert_eq!(keys(&version), ["schema", "version", "engine", "event_encoding", "store_format"]);
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(home.run(&["--version"]).exits(0).out.starts_with("commedia 0."));
    for of in ["scenario", "event", "config"] {
        let schema = home.run(&["schema", of]).exits(0).json();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{of}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).exits(0).out;
        assert!(script.contains("commedia") && script.contains("replay"), "{shell}");
    }
}

#[test]
fn init_writes_a_scenario_and_never_overwrites() {
    let home = Home::new();
    let examples = home.run(&["init", "--list", "--output", "jsonl"]).exits(0).lines();
    let names: Vec<&str> = examples.iter().map(|e| e["name"].as_str().expect("a name")).collect();
    assert!(names.contains(&"coin-shop") && names.contains(&"retail-season") && !names.contains(&"handoff-4"), "{names:?}");
    for name in names {
        let dir = format!("of-{name}");
        let said = home.run(&["init", &dir, "--example", name]).exits(0);
        let file = format!("{dir}/{name}.scenario.yaml");
        assert!(said.out.lines().any(|l| l == file), "{}", said.out);
        assert!(home.path(&format!("{dir}/.commedia/scenario.v1.schema.json")).is_file());
        home.run(&["validate", &file]).exits(0);
        assert!(home.run(&["init", &dir, "--example", name]).exits(0).out.is_empty(), "all is there already");
    }
    let file = home.file("of-coin-shop/coin-shop.scenario.yaml", "name: mine\n");
    let said = home.run(&["init", "of-coin-shop"]).exits(2);
    assert!(said.err.contains("nothing was written") && said.err.contains("coin-shop.scenario.yaml"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(file).expect("still there"), "name: mine\n");
    assert!(home.run(&["init", "x", "--example", "nope"]).exits(2).err.contains("there are `coin-shop`"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = Home::new();
    let mut child = home.command(&["schema", "scenario"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    assert_eq!((child.wait().expect("ends").code(), err.as_str()), (Some(0), ""));
}
