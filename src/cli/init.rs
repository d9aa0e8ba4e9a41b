//! `commedia init`: writes a scenario to start from, and the schema editors read. Never overwrites.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::output::pretty;
use crate::packs::{self, Pack};
use crate::report::columns;
use crate::source::reason;

/// Where editors find the schema, from the scenario's folder.
const SCHEMA: &str = ".commedia/scenario.v1.schema.json";

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The folder; it is created where there is none
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The scenario to start from
    #[arg(long, value_name = "NAME", default_value = "coin-shop")]
    example: String,
    /// List the scenarios there are
    #[arg(long, conflicts_with = "example")]
    list: bool,
}

pub(super) fn init(app: &App, args: &InitArgs) -> Result<Exit, Failure> {
    if args.list {
        return Ok(list(app));
    }
    let Some(pack) = packs::find(&args.example).filter(|p| p.listed) else {
        let known: Vec<&str> = packs::names().collect();
        return Err(Failure::usage(format!("there is no built-in scenario `{}`", args.example))
            .help(format!("there are `{}`", known.join("`, `"))));
    };
    let files = files(pack);
    let there = |(path, bytes): &&(String, Vec<u8>)| {
        fs::read(args.dir.join(path)).is_ok_and(|found| found != *bytes) || args.dir.join(path).is_dir()
    };
    // The schema of another version may stay: it is a help for editors, nothing reads it.
    let taken: Vec<&str> = files.iter().filter(|f| f.0 != SCHEMA).filter(there).map(|f| f.0.as_str()).collect();
    if !taken.is_empty() {
        let files = if taken.len() == 1 { "file is" } else { "files are" };
        return Err(Failure::usage(format!("nothing was written: this {files} there already: {}", taken.join(", ")))
            .help("name another folder: commedia init DIR"));
    }
    let mut written: Vec<&str> = Vec::new();
    for (path, bytes) in &files {
        if write_new(&args.dir.join(path), bytes)? {
            written.push(path);
        }
    }
    let dir = args.dir.display().to_string();
    let json = json!({"schema": "commedia.init/v1", "dir": dir, "example": pack.name, "written": written});
    app.console.document(&json, || written.iter().map(|f| format!("{}\n", args.dir.join(f).display())).collect());
    if written.is_empty() {
        app.console.note("nothing was written: all files are there already");
    }
    let entry = args.dir.join(pack.entry());
    app.console.note(&format!("next:\n  commedia validate {0}\n  commedia run {0}", entry.display()));
    Ok(Exit::Ok)
}

fn list(app: &App) -> Exit {
    let packs: Vec<&Pack> = packs::PACKS.iter().filter(|p| p.listed).collect();
    let rows: Vec<Json> = packs.iter().map(|p| json!({"name": p.name, "about": p.about})).collect();
    let json = json!({"schema": "commedia.examples/v1", "examples": rows});
    app.console.list(&json, &rows, || columns(packs.iter().map(|p| vec![p.name.to_owned(), p.about.to_owned()]).collect()));
    Exit::Ok
}

/// The files to write: the pack's, and the schema, which the scenario's first line tells editors of.
fn files(pack: &Pack) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = pack.files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
    let schema = format!("{}\n", pretty(&commedia_domain::scenario::json_schema()));
    files.push((SCHEMA.to_owned(), schema.into_bytes()));
    files
}

/// Writes a file that is not there; whether it was written.
fn write_new(path: &Path, bytes: &[u8]) -> Result<bool, Failure> {
    let failed = |e: &io::Error| Failure::invalid(format!("`{}` cannot be written: {}", path.display(), reason(e)));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| failed(&e))?;
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(bytes).map(|()| true).map_err(|e| failed(&e)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(failed(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_tells_editors_where_its_schema_is() {
        let line = format!("# yaml-language-server: $schema=./{SCHEMA}\n");
        for pack in packs::PACKS {
            for (path, bytes) in pack.files.iter().filter(|(path, _)| path.ends_with(".scenario.yaml")) {
                assert!(bytes.starts_with(line.as_bytes()), "{path}");
            }
        }
    }
}
