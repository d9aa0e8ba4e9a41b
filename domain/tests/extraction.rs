//! Parameters from language: how much of it is read right. The rows are invented; their conventions stand in docs/extraction.md.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use commedia_domain::extraction::{Extracted, Extractor, MAX_TEXT_BYTES};
use commedia_domain::scenario::{FileError, Files, Scenario, load};
use commedia_domain::value::Value;
use serde_json::Value as Json;

/// How far a share may be from what was meant.
const TOLERANCE: f64 = 0.004;

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|e| FileError::Other(e.to_string()))
    }
}

fn pack_text() -> (Folder, String) {
    let folder = Folder(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/scenarios/retail-season")));
    let text = folder.read("retail-season.scenario.yaml").expect("the pack is there");
    (folder, String::from_utf8(text).expect("text"))
}

fn compiled(text: &str, folder: &dyn Files) -> Arc<Scenario> {
    let loaded = load("pack.yaml", text.as_bytes(), folder);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

fn pack() -> Arc<Scenario> {
    let (folder, text) = pack_text();
    compiled(&text, &folder)
}

fn equal(found: Option<&Value>, expect: &Json) -> bool {
    let found = found.map_or(Json::Null, Value::to_json);
    match (found.as_f64(), expect.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= if b.fract() == 0.0 && b > 1.0 { 0.0 } else { TOLERANCE },
        _ => found == *expect,
    }
}

struct Score {
    params: (usize, usize),
    strict: (usize, usize),
    rows: (usize, usize),
    rows_strict: (usize, usize),
    tags: BTreeMap<String, (usize, usize)>,
    misses: Vec<String>,
}

fn score(extractor: &Extractor, rows: &[Json], rename: &dyn Fn(&str) -> String) -> Score {
    let mut score =
        Score { params: (0, 0), strict: (0, 0), rows: (0, 0), rows_strict: (0, 0), tags: BTreeMap::new(), misses: Vec::new() };
    for row in rows {
        let today = row["today"].as_str().expect("today").parse().expect("a date");
        let found = extractor.extract(row["text"].as_str().expect("text"), today);
        let (mut right, mut strict) = (true, true);
        for (name, expect) in row["expect"].as_object().expect("expect") {
            let it: &Extracted = found.iter().find(|e| *e.name == rename(name)).expect("the parameter");
            let accepted = row["accept"][name].as_array().into_iter().flatten().any(|a| equal(it.value.as_ref(), a));
            let listed = |list: &str| row[list].as_array().is_some_and(|l| l.iter().any(|n| n == name));
            let value = equal(it.value.as_ref(), expect) || accepted;
            let flags = it.defaulted == listed("defaulted") && it.ambiguous == listed("ambiguous");
            score.params.0 += usize::from(value);
            score.params.1 += 1;
            score.strict.0 += usize::from(value && flags);
            score.strict.1 += 1;
            right &= value;
            strict &= value && flags;
            if !(value && flags) {
                score.misses.push(format!(
                    "{} {} | {name}: expected {expect}{}{}, found {:?}{}{} {:?} {:?}",
                    row["id"],
                    row["text"],
                    if listed("ambiguous") { " ambiguous" } else { "" },
                    if listed("defaulted") { " defaulted" } else { "" },
                    it.value,
                    if it.ambiguous { " ambiguous" } else { "" },
                    if it.defaulted { " defaulted" } else { "" },
                    it.text,
                    it.why,
                ));
            }
        }
        score.rows.0 += usize::from(right);
        score.rows.1 += 1;
        score.rows_strict.0 += usize::from(strict);
        score.rows_strict.1 += 1;
        for tag in row["tags"].as_array().into_iter().flatten().filter_map(Json::as_str).filter(|t| !t.starts_with("rule:")) {
            let entry = score.tags.entry(tag.to_owned()).or_default();
            entry.0 += usize::from(strict);
            entry.1 += 1;
        }
    }
    score
}

fn rows(text: &str) -> Vec<Json> {
    text.lines().filter(|l| !l.trim().is_empty()).map(|l| serde_json::from_str(l).expect("a row")).collect()
}

fn share((right, of): (usize, usize)) -> f64 {
    100.0 * right as f64 / of.max(1) as f64
}

fn told(name: &str, score: &Score) {
    println!(
        "{name}: parameters {:.2} % (with flags {:.2} %), utterances {:.2} % (with flags {:.2} %) of {}",
        share(score.params),
        share(score.strict),
        share(score.rows),
        share(score.rows_strict),
        score.rows.1
    );
    for (tag, (right, of)) in score.tags.iter().filter(|(_, (right, of))| right < of) {
        println!("  {tag}: {right} of {of}");
    }
}

/// What the rules must read right of the rows in `tests/extraction-data/`.
#[test]
fn the_rows_are_read() {
    let extractor = Extractor::new(pack());
    let sets = [("dev", include_str!("extraction-data/dev.jsonl")), ("more", include_str!("extraction-data/more.jsonl"))];
    for (name, set) in sets {
        let score = score(&extractor, &rows(set), &str::to_owned);
        told(name, &score);
        score.misses.iter().for_each(|m| println!("  {m}"));
        assert!(share(score.strict) >= 98.0 && share(score.rows_strict) >= 95.0, "{name}: the rules read less than they did");
    }
}

/// Nothing in the code knows the names of a pack's parameters: with other names, and the same hints, as much is read.
#[test]
fn other_names_read_the_same() {
    let names = [
        ("forecast_horizon_weeks", "alpha"),
        ("season_start_date", "beta"),
        ("replenishment_strategy", "gamma"),
        ("dc_holdback_percentage", "delta"),
        ("markdown_checkpoint_week", "epsilon"),
    ];
    let (folder, text) = pack_text();
    let block = |text: &str| {
        let from = text.find("\nparameters:").expect("parameters") + 1;
        let to = text.find("\nextraction:").expect("extraction");
        text[from..to].to_owned()
    };
    let parameters = names.iter().fold(block(&text), |text, (name, other)| text.replace(name, other));
    let small = format!("name: other\n{parameters}\nagents: {{a: {{kind: rules, rules: []}}}}\n");
    let extractor = Extractor::new(compiled(&small, &folder));
    let rename = |name: &str| names.iter().find(|n| n.0 == name).map_or_else(|| name.to_owned(), |n| n.1.to_owned());
    let rows = rows(include_str!("extraction-data/dev.jsonl"));
    let other = score(&extractor, &rows, &rename);
    let own = score(&Extractor::new(pack()), &rows, &str::to_owned);
    assert_eq!((other.strict, other.rows_strict), (own.strict, own.rows_strict), "{:#?}", other.misses);
}

/// Other parameters of another scenario are read by the same rules.
#[test]
fn any_scenario_is_read() {
    let source = "name: bakery\nparameters:\n  \
        days_ahead: {type: integer, minimum: 1, maximum: 60, default: 7, unit: day, extract: {cues: [plan*, ahead]}}\n  \
        opening: {type: string, format: date, default: 2026-01-05, extract: {cues: [open*, start*]}}\n  \
        flour: {type: string, enum: [rye, wheat, spelt], default: wheat, extract: {synonyms: {rye: [dark bread]}}}\n  \
        waste: {type: number, minimum: 0, maximum: 1, default: 0.1, unit: ratio, extract: {cues: [waste*, throw away]}}\n  \
        ovens: {type: integer, minimum: 0, maximum: 20, default: 2, extract: {cues: [oven, ovens]}}\n\
        agents: {a: {kind: rules, rules: []}}\n";
    let extractor = Extractor::new(compiled(source, &Folder(PathBuf::new())));
    let check = |text: &str, expect: &str| {
        let found = extractor.extract(text, "2026-01-14".parse().expect("a date"));
        let stated = found.iter().filter(|e| !e.defaulted);
        let shown = |e: &Extracted| match e.ambiguous {
            true => format!("{}=?", e.name),
            false => format!("{}={}", e.name, e.value.as_ref().map_or(Json::Null, Value::to_json)),
        };
        assert_eq!(stated.map(shown).collect::<Vec<_>>().join(" "), expect, "{text}");
    };
    check("Plan two weeks ahead with 3 ovens, rye, and 5% waste.", "days_ahead=14 flour=\"rye\" waste=0.05 ovens=3");
    check("Open next Monday with dark bread only.", "opening=\"2026-01-19\" flour=\"rye\"");
    check("No ovens, wheat or spelt.", "flour=? ovens=0");
    check("Plan 90 days.", "days_ahead=?");
    check("Hello.", "");
}

/// Whatever the text, the time is in proportion to its length.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
fn long_texts_take_no_long_time() {
    let extractor = Extractor::new(pack());
    let today = "2026-01-14".parse().expect("a date");
    let parts = [
        "1",
        "1 ",
        "no ",
        "(",
        "12 weeks ",
        "40% ",
        "12 to ",
        "not no ",
        "week ",
        "\n",
        "> ",
        ", ",
        "1/",
        "1.",
        "every ",
        "either ",
        "if ",
        "xqzw ",
        "a and ",
        "hold ",
        "the end of ",
        "markdown ",
        "no markdown ",
        "half ",
        "2 March ",
        "twenty ",
        "é",
        "…",
        "?",
        "from: ",
        "12 weeks, no, ",
        "hold 1 of ",
        "| 1 ",
        "a; ",
        "a: 1\n",
        "Max: 40%\n",
        "~~",
        "....",
        "1-2 ",
        "hold 2 of 3 units ",
        "2 deliveries a week ",
        "markdown 1 May ",
    ];
    for part in parts {
        let text = part.repeat(MAX_TEXT_BYTES / part.len());
        let begun = std::time::Instant::now();
        let found = extractor.extract(&text, today);
        assert_eq!(found.len(), 5);
        println!("{part:?}: {:?}", begun.elapsed());
        // Far above what it takes, and far below what squares would.
        assert!(begun.elapsed().as_secs() < 8, "{part:?} took {:?}", begun.elapsed());
    }
}

/// A set that is not part of the repository: `COMMEDIA_EXTRACTION_SET` names its file.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test may be told of a file")]
fn another_set_is_scored_where_one_is_named() {
    let Ok(path) = std::env::var("COMMEDIA_EXTRACTION_SET") else { return };
    let text = std::fs::read_to_string(&path).expect("the set is read");
    let score = score(&Extractor::new(pack()), &rows(&text), &str::to_owned);
    told(&path, &score);
    if std::env::var_os("COMMEDIA_EXTRACTION_MISSES").is_some() {
        score.misses.iter().for_each(|m| println!("  {m}"));
    }
}
