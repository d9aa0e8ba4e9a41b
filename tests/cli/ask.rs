//! Parameters from language, as the program has them.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::home::{Home, keys};

const TODAY: [&str; 2] = ["--today", "2026-01-14"];

fn ask(home: &Home, text: &str) -> Json {
    let said = home.run(&["ask", "retail-season", text, TODAY[0], TODAY[1], "--output", "json"]).exits(0);
    serde_json::from_str(&said.out).expect("one JSON document")
}

#[test]
fn what_a_text_says_is_one_document() {
    let home = Home::new();
    let said = ask(&home, "14 weeks from 2 March 2026, no markdown, hold 30 to 40%");
    assert_eq!(keys(&said), ["schema", "scenario", "extraction_id", "needs_confirmation", "parameters"]);
    assert_eq!((&said["schema"], &said["needs_confirmation"]), (&"commedia.extraction/v1".into(), &true.into()));
    let weeks = &said["parameters"]["forecast_horizon_weeks"];
    assert_eq!(keys(weeks), ["value", "text", "confidence", "defaulted", "ambiguous", "by"]);
    assert_eq!((&weeks["value"], &weeks["text"], &weeks["by"]), (&14.into(), &"14 weeks".into(), &"rules".into()));
    let share = &said["parameters"]["dc_holdback_percentage"];
    assert_eq!((&share["ambiguous"], &share["value"], &share["readings"]), (&true.into(), &0.45.into(), &vec![0.3, 0.4].into()));
    assert_eq!(said["parameters"]["markdown_checkpoint_week"]["defaulted"], false);
    assert_eq!(said["parameters"]["replenishment_strategy"]["defaulted"], true);
    assert_eq!(said["extraction_id"], ask(&home, "14 weeks from 2 March 2026, no markdown, hold 30 to 40%")["extraction_id"]);
    let silent = ask(&home, "");
    assert!(silent["parameters"].as_object().expect("a map").values().all(|p| p["defaulted"] == true));
    assert!(!home.data().exists(), "nothing was stored");
}

#[test]
fn a_text_may_come_from_standard_input() {
    let home = Home::new();
    let mut command = home.command(&["ask", "retail-season", "-", TODAY[0], TODAY[1], "--output", "json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("a pipe").write_all(b"ten weeks").expect("written");
    let out = child.wait_with_output().expect("ends");
    let said: Json = serde_json::from_slice(&out.stdout).expect("one JSON document");
    assert_eq!(said["parameters"]["forecast_horizon_weeks"]["value"], 10);
    home.run(&["ask", "retail-season", "a\u{7}b"]).exits(3);
}

#[test]
fn nothing_starts_that_nobody_confirmed() {
    let home = Home::new();
    let run = |more: &[&str]| {
        home.run(&[&["run", "retail-season", TODAY[0], TODAY[1], "--progress", "none", "--output", "json"], more].concat())
    };
    let refused = |more: &[&str], words: &str| {
        let said = run(more).exits(3);
        assert!(said.err.contains(words) && said.out.is_empty(), "{more:?}: {}", said.err);
        assert!(!home.data().exists(), "nothing was stored");
    };
    refused(&["--ask", "4 weeks"], "--yes");
    refused(&["--ask", "4 to 5 weeks", "--yes"], "--set forecast_horizon_weeks=");
    let said = run(&["--ask", "4 to 5 weeks, hold 30%", "--yes", "--set", "forecast_horizon_weeks=4"]).exits(0);
    let ran: Json = serde_json::from_str(&said.out).expect("one JSON document");
    let with = &ran["parameters"];
    assert_eq!((&with["forecast_horizon_weeks"], &with["dc_holdback_percentage"]), (&4.into(), &0.3.into()));
    assert_eq!(with["season_start_date"], "2026-01-19");
}

/// docs/extraction.md shows what is printed. `COMMEDIA_BLESS=1` writes it anew.
#[test]
fn the_page_shows_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/extraction.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let (mark, open) = ("<!-- ask: commedia ask retail-season \"", "```text\n");
    let from = page.find(mark).expect("the mark") + mark.len();
    let text = page[from..].split('"').next().expect("its end");
    let begin = from + page[from..].find(open).expect("a block") + open.len();
    let end = begin + page[begin..].find("\n```").expect("its end");
    let home = Home::new();
    let said = home.run(&["ask", "retail-season", text, TODAY[0], TODAY[1]]).exits(0).out;
    let made = format!("{}{}{}", &page[..begin], said.trim_end(), &page[end..]);
    if std::env::var_os("COMMEDIA_BLESS").is_some() {
        std::fs::write(&path, made).expect("written");
    } else {
        assert_eq!(page, made, "run it with COMMEDIA_BLESS=1");
    }
}
