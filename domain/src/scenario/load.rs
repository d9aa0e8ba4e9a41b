//! From a file to a compiled scenario, or to all its faults at once. No file is opened here: `Files` does that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::compile::Compiler;
use super::decode::Decode;
use super::document::{ScenarioDoc, StartDoc};
use super::faults::Faults;
use super::node::{Key, Kind, Node};
use super::scalars::{Int, Num, Pause, Text, Wall};
use super::{AgentKind, Bundle, Overflow, Scenario, include, secrets, text, yaml};
use crate::diagnostic::{Diagnostic, Severity};
use crate::fault::Fault;
use crate::id::Hash32;

/// Bytes of one data file.
pub const MAX_FILE_BYTES: usize = 16 << 20;
/// Bytes of a stored document; it holds its defaults, so it is larger than what an author may write.
const MAX_BUNDLE_BYTES: usize = 32 << 20;
/// Top-level fields that do not change what a scenario is.
const UNHASHED: [&str; 4] = ["faults", "title", "description", "labels"];

/// Where files of the scenario's folder come from. Paths are relative, use `/` and never leave the folder.
pub trait Files {
    /// The bytes of a file; at most [`MAX_FILE_BYTES`].
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileError {
    /// There is none.
    NotFound,
    /// It is larger than [`MAX_FILE_BYTES`].
    TooLarge,
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotFound => f.write_str("it does not exist"),
            FileError::TooLarge => write!(f, "it is larger than {} MiB", MAX_FILE_BYTES >> 20),
            FileError::Other(why) => f.write_str(why),
        }
    }
}

/// No files at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotFound)
    }
}

impl Files for BTreeMap<String, Arc<[u8]>> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.get(path).map(|bytes| bytes.to_vec()).ok_or(FileError::NotFound)
    }
}

/// A scenario that can be run, and what somebody should look at.
#[derive(Debug)]
pub struct Loaded {
    /// The scenario.
    pub scenario: Scenario,
    /// Warnings, by place.
    pub warnings: Vec<Diagnostic>,
}

/// A path within the scenario's folder, without `.` and `..`; `None` where it leads out of it.
pub fn inside(path: &str) -> Option<String> {
    if path.is_empty() || path.len() > 1024 || path.starts_with(['/', '\\', '~']) || path.contains([':', '\0', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Reads a scenario. `file_name` is shown in diagnostics as it is given; its last part stands for the file itself in `include`.
/// All faults of all its files come back at once, by place, at most a hundred of them.
pub fn load(file_name: &str, source: &[u8], files: &dyn Files) -> Result<Loaded, Vec<Diagnostic>> {
    load_with_faults(file_name, source, files, None)
}

/// The same, with the faults of another file in the place of its own: its name and its bytes, a list or a map with `faults`.
pub fn load_with_faults(
    file_name: &str,
    source: &[u8],
    files: &dyn Files,
    injected: Option<(&str, &[u8])>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut faults = Faults::default();
    let Some(mut root) = include::read(file_name, source, files, &mut faults) else { return Err(faults.finish()) };
    if let Some((name, source)) = injected {
        replace_faults(&mut root, name, source, &mut faults);
    }
    secrets::check(&root, &mut faults);
    compile(&root, files, faults).map(|(mut scenario, document, files, warnings)| {
        scenario.bundle = Bundle { document: document.into(), files };
        scenario.hash = hash(&scenario.bundle);
        Loaded { scenario, warnings }
    })
}

/// The faults of a file, a list or a map with `faults`, for runs of a stored bundle.
pub fn compile_faults(bundle: &Bundle, file_name: &str, source: &[u8]) -> Result<Vec<Fault>, Vec<Diagnostic>> {
    let (mut root, mut faults) = read_bundle(bundle)?;
    replace_faults(&mut root, file_name, source, &mut faults);
    secrets::check(&root, &mut faults);
    compile(&root, &bundle.files, faults).map(|(scenario, _, _, _)| scenario.faults)
}

/// Puts the list of a file of faults in the place of the document's.
fn replace_faults(root: &mut Node, name: &str, source: &[u8], faults: &mut Faults) {
    let (file, text) = text::text_of(source, name, faults);
    let Some(mut list) = text.and_then(|text| yaml::parse(&text, file, faults, &mut yaml::Budget::default())) else { return };
    if let Kind::Map(entries) = &mut list.kind
        && let [(key, _)] = entries.as_slice()
        && &*key.text == "faults"
    {
        list = entries.remove(0).1;
    }
    if !matches!(list.kind, Kind::List(_)) {
        faults
            .error("wrong_type", list.at, format!("a file of faults must be a list, found {}", list.shown()))
            .help("such as `- crash: {agent: \"*\", p: 0.05}`");
        return;
    }
    if let Kind::Map(entries) = &mut root.kind {
        let key = Key { text: "faults".into(), at: list.at };
        entries.retain(|(key, _)| &*key.text != "faults");
        entries.push((key, list));
    }
}

/// Reads a YAML or JSON file of plain values, such as parameters, within the bounds of a scenario. A file of nothing is null.
pub fn read_data(file_name: &str, source: &[u8]) -> Result<Json, Vec<Diagnostic>> {
    let mut faults = Faults::default();
    let (file, text) = text::text_of(source, file_name, &mut faults);
    let root = text.and_then(|text| yaml::parse(&text, file, &mut faults, &mut yaml::Budget::default()));
    if faults.errors() > 0 { Err(faults.finish()) } else { Ok(root.map_or(Json::Null, |root| root.to_json())) }
}

/// Compiles a stored bundle again: the same scenario with the same hash.
pub fn compile_bundle(bundle: &Bundle) -> Result<Scenario, Vec<Diagnostic>> {
    let (root, faults) = read_bundle(bundle)?;
    compile(&root, &bundle.files, faults).map(|(mut scenario, _, _, _)| {
        scenario.bundle = bundle.clone();
        scenario.hash = hash(bundle);
        scenario
    })
}

fn read_bundle(bundle: &Bundle) -> Result<(Node, Faults), Vec<Diagnostic>> {
    let mut faults = Faults::default();
    let file = faults.add_source("bundle", "".into());
    let at = super::faults::Place { file, ..Default::default() };
    if bundle.document.len() > MAX_BUNDLE_BYTES {
        faults.error("too_large", at, "the stored document is too large");
        return Err(faults.finish());
    }
    match serde_json::from_str::<Json>(&bundle.document) {
        Ok(json) => Ok((Node::from_json(&json), faults)),
        Err(e) => {
            faults.error("bad_bundle", at, format!("the stored document is no JSON: {e}"));
            Err(faults.finish())
        }
    }
}

type Compiled = (Scenario, String, BTreeMap<String, Arc<[u8]>>, Vec<Diagnostic>);

fn compile(root: &Node, files: &dyn Files, mut faults: Faults) -> Result<Compiled, Vec<Diagnostic>> {
    let mut doc = ScenarioDoc::decode(root, &mut faults);
    if !matches!(root.kind, Kind::Map(_)) {
        return Err(faults.finish());
    }
    let (scenario, faults, data) = Compiler::new(faults, files).scenario(&doc);
    let errors = faults.errors() > 0;
    let diagnostics = faults.finish();
    if errors || diagnostics.iter().any(|d| d.severity == Severity::Error) {
        return Err(diagnostics);
    }
    fill(&mut doc);
    let document = doc.encode().map(|json| json.to_string()).unwrap_or_default();
    Ok((scenario, document, data, diagnostics))
}

/// Writes out the defaults that depend on the rest of the document.
fn fill(doc: &mut ScenarioDoc) {
    if doc.start.is_none() {
        let first = doc.agents.iter().find(|(_, a)| a.kind.it != AgentKind::Rules).map(|(k, _)| k);
        let start = first.map(|key| StartDoc { agent: Text { at: key.at, it: key.text.clone() }, ..StartDoc::broken() });
        doc.start = Some(super::decode::OneOrMany(start.into_iter().collect()));
    }
    let s = &mut doc.supervision;
    s.max_restarts.get_or_insert(Int::of(5));
    s.within.get_or_insert(Wall(60_000));
    let backoff = s.backoff.get_or_insert_with(Decode::broken);
    backoff.initial.get_or_insert(Pause(200));
    backoff.factor.get_or_insert(Num::of(2.0));
    backoff.max.get_or_insert(Wall(10_000));
    backoff.jitter.get_or_insert(Num::of(0.2));
    let mailbox = s.mailbox.get_or_insert_with(Decode::broken);
    mailbox.capacity.get_or_insert(Int::of(1024));
    mailbox.overflow.get_or_insert(Overflow::FailRun);
}

/// BLAKE3 over the resolved document without what only people read, and over its data files.
fn hash(bundle: &Bundle) -> Hash32 {
    let mut json: Json = serde_json::from_str(&bundle.document).unwrap_or_default();
    if let Json::Object(fields) = &mut json {
        UNHASHED.iter().for_each(|f| {
            fields.shift_remove(*f);
        });
    }
    let document = json.to_string();
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"commedia.scenario/v1");
    part(document.as_bytes());
    for (path, bytes) in &bundle.files {
        part(path.as_bytes());
        part(bytes);
    }
    Hash32(*hasher.finalize().as_bytes())
}

impl Scenario {
    /// The document after includes, with every default written out, keys in declaration order.
    pub fn resolved(&self) -> Json {
        serde_json::from_str(&self.bundle.document).unwrap_or_default()
    }
}

/// The JSON Schema of scenario files (draft 2020-12), made from the types that read them.
pub fn json_schema() -> Json {
    let mut defs = super::decode::Defs::default();
    let root = ScenarioDoc::schema(&mut defs);
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/schema/scenario/v1.json",
        "title": "commedia scenario, apiVersion commedia/v1",
        "$ref": root["$ref"],
        "$defs": defs.0,
    })
}
