//! The files of `invalid-scenarios/` as rows: each has one known fault (one has two), told at its line, with its words.

use std::path::PathBuf;

use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::scenario::{FileError, Files, load};
use serde_json::Value;

struct Folder(PathBuf);

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.0.join(path)).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => FileError::NotFound,
            _ => FileError::Other(e.to_string()),
        })
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/invalid-scenarios")
}

/// All diagnostics of a file, warnings included.
fn diagnose(file: &str) -> Vec<Diagnostic> {
    let path = folder().join(file);
    let source = std::fs::read(&path).unwrap();
    match load(&path.to_string_lossy(), &source, &Folder(path.parent().unwrap().to_owned())) {
        Ok(loaded) => loaded.warnings,
        Err(all) => all,
    }
}

fn words_of(d: &Diagnostic) -> String {
    let related = d.related.as_ref().map(|r| r.1.as_str());
    [Some(d.message.as_str()), d.label.as_deref(), d.help.as_deref(), related]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

fn mentions(d: &Diagnostic, row: &Value) -> bool {
    let text = words_of(d);
    let has = |w: &Value| text.contains(&w.as_str().unwrap().to_lowercase());
    row["must_mention"].as_array().unwrap().iter().all(|w| match w {
        Value::Array(any) => any.iter().any(has),
        one => has(one),
    })
}

fn meets(d: &Diagnostic, row: &Value, lines_ok: bool) -> bool {
    let mut lines = vec![row["line"].as_u64().unwrap()];
    if lines_ok && let Some(more) = row["lines_ok"].as_array() {
        lines.extend(more.iter().filter_map(Value::as_u64));
    }
    let severity = if row["severity"] == "warning" { Severity::Warning } else { Severity::Error };
    lines.contains(&u64::from(d.span.line)) && d.severity == severity && mentions(d, row)
}

fn in_columns(d: &Diagnostic, row: &Value) -> bool {
    let (from, to) = (row["column_range"][0].as_u64().unwrap(), row["column_range"][1].as_u64().unwrap());
    u64::from(d.span.line) != row["line"].as_u64().unwrap()
        || (from..=to).contains(&u64::from(d.span.column)) && u64::from(d.span.end_column) <= to
}

#[test]
fn each_known_fault_is_told_at_its_place_with_its_words() {
    let index = std::fs::read_to_string(folder().join("index.jsonl")).unwrap();
    let mut failed = Vec::new();
    for line in index.lines().filter(|l| !l.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).unwrap();
        let file = row["file"].as_str().unwrap();
        let found = diagnose(file);
        let own = std::slice::from_ref(&row);
        let faults = row["faults"].as_array().map_or(own, Vec::as_slice);
        for fault in faults {
            let good = found.iter().find(|d| meets(d, fault, true));
            if good.is_none_or(|d| !in_columns(d, fault)) {
                failed.push(format!(
                    "{file} {fault}\n{}",
                    found.iter().map(|d| format!("    {d} {:?}\n", d.span)).collect::<String>()
                ));
            }
        }
        let errors = found.iter().any(|d| d.severity == Severity::Error);
        if errors != (row["exit"][0] == 3) {
            failed.push(format!("{file}: {found:?}"));
        }
    }
    assert!(failed.is_empty(), "{} rows failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_valid_files_have_no_fault_at_all() {
    for file in ["valid-base/bakery-week.scenario.yaml", "valid-base/tool-lending.scenario.yaml"] {
        assert_eq!(diagnose(file), [], "{file}");
    }
}
