//! Recordings of models: what was asked and what came back, one lane (file) per agent, so that a run can be had again without
//! a model. Playing never calls out: a request without a recorded answer is an error, and counted.
//!
//! ```text
//! DIR/cassette.json    {schema, scenario, scenario_hash, models: {alias: "provider:model" | "stub" | "offline"}}
//! DIR/<agent>.jsonl    a line an answer: {key, seed, replica, step, request, answer | error}
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use commedia_domain::event::{AnsweredBy, ModelBinding, Usage};
use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::model::{Answer, Deltas, Model, ModelError, ModelErrorKind, Source};

/// What a recording's header says it is.
const SCHEMA: &str = "commedia.cassette/v1";
/// The header's file.
const HEADER: &str = "cassette.json";
/// What a lane's file ends in.
const LANE: &str = "jsonl";
/// Bytes a line may have.
const MAX_LINE: u64 = 64 << 20;
/// Lanes a recording may have.
const MAX_LANES: usize = 10_000;

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always [`SCHEMA`].
    schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its version, in hexadecimal digits.
    pub scenario_hash: String,
    /// Who answered for each alias: `provider:model`, `stub` or `offline`; `*` is for agents without one.
    pub models: BTreeMap<String, String>,
}

impl Header {
    /// The header of a new recording; the bindings are those of the aliases, in order, then of agents without one.
    pub fn new<'a>(scenario: &str, hash: &str, aliases: impl Iterator<Item = &'a str>, bindings: &[ModelBinding]) -> Header {
        let models = aliases.chain(["*"]).map(str::to_owned).zip(bindings.iter().map(binding_text)).collect();
        Header { schema: SCHEMA.into(), scenario: scenario.into(), scenario_hash: hash.into(), models }
    }

    /// Who answered for an alias (or `*`); `None` where the recording does not know it.
    pub fn binding(&self, alias: &str) -> Option<ModelBinding> {
        self.models.get(alias).map(|text| match text.split_once(':') {
            Some((provider, model)) => ModelBinding::Provider { provider: provider.into(), model: model.into() },
            None if text == "stub" => ModelBinding::Stub,
            None => ModelBinding::Offline,
        })
    }
}

fn binding_text(binding: &ModelBinding) -> String {
    match binding {
        ModelBinding::Offline => "offline".into(),
        ModelBinding::Stub => "stub".into(),
        ModelBinding::Provider { provider, model } => format!("{provider}:{model}"),
    }
}

/// Why a recording cannot be made or played.
#[derive(Debug, thiserror::Error)]
pub enum CassetteError {
    /// There is one already.
    #[error("{path} holds a recording already; name another folder, or remove it", path = .0.display())]
    There(PathBuf),
    /// A file or folder.
    #[error("{path}: {1}", path = .0.display())]
    Io(PathBuf, io::Error),
    /// It is no recording.
    #[error("{path} is no recording: {1}", path = .0.display())]
    NotOne(PathBuf, String),
    /// A line cannot be read.
    #[error("{path}:{line}: not a recorded answer: {why}", path = .file.display())]
    Line {
        /// The lane.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        why: String,
    },
}

/// A line of a lane.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    seed: u64,
    replica: u32,
    step: String,
    request: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Played>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

/// A recorded answer.
#[derive(Clone, Serialize, Deserialize)]
struct Played {
    text: Option<String>,
    calls: Vec<(String, String, Json)>,
    by: String,
    model_calls: u32,
    tokens_in: u64,
    tokens_out: u64,
    cost_usd: f64,
    model: String,
    finish: String,
    cached_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
}

/// A recorded failure.
#[derive(Clone, Serialize, Deserialize)]
struct Failed {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    message: String,
}

/// All that a model's answer may depend on, with fields in a fixed order. Neither run, seed nor step are in it.
pub fn canonical(request: &ModelRequest) -> Json {
    let messages: Vec<Json> = request.messages.iter().map(chat_json).collect();
    let tools: Vec<Json> =
        request.tools.iter().map(|t| json!({"name": t.name, "description": t.description, "schema": t.schema})).collect();
    json!({
        "agent": &*request.agent,
        "model": binding_text(&request.binding),
        "base_url": request.alias.as_ref().and_then(|a| a.base_url.as_deref()),
        "temperature": request.temperature,
        "max_output_tokens": request.max_output_tokens,
        "output": request.output.as_deref(),
        "instructions": request.instructions,
        "tools": tools,
        "messages": messages,
    })
}

fn chat_json(chat: &Chat) -> Json {
    match chat {
        Chat::User { text } => json!({"user": text.value().to_json()}),
        Chat::Assistant { text, calls, .. } => {
            let calls: Vec<Json> =
                calls.iter().map(|c| json!({"id": &*c.id, "name": &*c.name, "input": c.input.value().to_json()})).collect();
            json!({"assistant": text.value().to_json(), "calls": calls})
        }
        Chat::Tool { call_id, content, .. } => json!({"tool": &**call_id, "content": content.value().to_json()}),
        Chat::Reasoning { items, .. } => json!({"reasoning": items.value().to_json()}),
    }
}

/// The name of a canonical request.
pub fn key(canonical: &Json) -> String {
    let hash = blake3::hash(canonical.to_string().as_bytes());
    hash.as_bytes()[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// The file of an agent's lane.
fn lane_file(agent: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if agent.chars().all(plain) && agent.len() <= 100 {
        return format!("{agent}.{LANE}");
    }
    let name: String = agent.chars().filter(|c| plain(*c)).take(60).collect();
    let hash = blake3::hash(agent.as_bytes());
    let tail: String = hash.as_bytes()[..4].iter().map(|b| format!("{b:02x}")).collect();
    format!("{name}~{tail}.{LANE}")
}

/// A model whose answers are recorded.
pub struct Recorder {
    inner: Arc<dyn Model>,
    dir: PathBuf,
    lanes: Mutex<HashMap<Arc<str>, File>>,
    lost: Mutex<Option<(u64, String)>>,
}

impl Recorder {
    /// Begins a recording in a folder that holds none.
    pub fn create(dir: &Path, header: &Header, inner: Arc<dyn Model>) -> Result<Recorder, CassetteError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |e| CassetteError::Io(path, e)
        };
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let path = dir.join(HEADER);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => CassetteError::There(dir.to_owned()),
            _ => CassetteError::Io(path.clone(), e),
        })?;
        let text = serde_json::to_string_pretty(header).expect("texts always encode");
        writeln!(file, "{text}").map_err(failed(&path))?;
        Ok(Recorder { inner, dir: dir.to_owned(), lanes: Mutex::default(), lost: Mutex::default() })
    }

    /// How many answers could not be written, and why the first one could not.
    pub fn lost(&self) -> Option<(u64, String)> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, agent: &Arc<str>, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match lanes.entry(agent.clone()) {
            std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let path = self.dir.join(lane_file(agent));
                place.insert(OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        file.write_all(&bytes)
    }
}

#[async_trait]
impl Model for Recorder {
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let answered = self.inner.answer(request, deltas).await;
        let canonical = canonical(request);
        let line = Line {
            key: key(&canonical),
            seed: request.seed,
            replica: request.replica,
            step: request.step.to_string(),
            request: canonical,
            answer: answered.as_ref().ok().map(Played::of),
            error: answered.as_ref().err().map(|e| Failed {
                kind: e.kind.word().into(),
                status: e.status,
                message: e.message.clone(),
            }),
        };
        // The answer is paid for: the run has it, and whoever records is told that the recording has a gap.
        if let Err(e) = self.write(&request.agent, &line) {
            tracing::error!(agent = %request.agent, "an answer could not be recorded: {e}");
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            lost.get_or_insert_with(|| (0, e.to_string())).0 += 1;
        }
        answered
    }
}

impl Played {
    fn of(answer: &Answer) -> Played {
        let source = answer.source.clone().unwrap_or_default();
        Played {
            text: answer.text.clone(),
            calls: answer.calls.iter().map(|(id, name, input)| (id.clone(), name.clone(), input.to_json())).collect(),
            by: answer.by.word().into(),
            model_calls: answer.usage.model_calls,
            tokens_in: answer.usage.tokens_in,
            tokens_out: answer.usage.tokens_out,
            cost_usd: answer.usage.cost_usd,
            model: source.model,
            finish: source.finish,
            cached_tokens: source.cached_tokens,
            reasoning: source.reasoning.map(|r| r.to_json()),
            age_ms: source.age_ms,
            instead: source.instead,
        }
    }

    fn answer(&self) -> Answer {
        Answer {
            text: self.text.clone(),
            calls: (self.calls.iter()).map(|(id, name, input)| (id.clone(), name.clone(), Value::from_json(input))).collect(),
            usage: Usage {
                model_calls: self.model_calls,
                tokens_in: self.tokens_in,
                tokens_out: self.tokens_out,
                cost_usd: self.cost_usd,
            },
            by: if self.by == AnsweredBy::Cache.word() { AnsweredBy::Cache } else { AnsweredBy::Model },
            source: Some(Source {
                model: self.model.clone(),
                finish: self.finish.clone(),
                cached_tokens: self.cached_tokens,
                reasoning: self.reasoning.as_ref().map(Value::from_json),
                age_ms: self.age_ms,
                instead: self.instead.clone(),
            }),
        }
    }
}

/// A recording that is played.
pub struct Cassette {
    dir: PathBuf,
    header: Header,
    lines: HashMap<String, Vec<Line>>,
    /// Lanes whose last line was cut off.
    cut: Vec<PathBuf>,
    misses: AtomicU64,
    first_miss: Mutex<Option<String>>,
}

impl Cassette {
    /// Reads a recording. A last line that was cut off is left out, and told by [`Cassette::cut`].
    pub fn open(dir: &Path) -> Result<Cassette, CassetteError> {
        let path = dir.join(HEADER);
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => CassetteError::NotOne(dir.to_owned(), format!("it has no {HEADER}")),
            _ => CassetteError::Io(path.clone(), e),
        })?;
        let header: Header = serde_json::from_str(&text).map_err(|e| CassetteError::NotOne(path.clone(), e.to_string()))?;
        if header.schema != SCHEMA {
            return Err(CassetteError::NotOne(path, format!("its schema is `{}`, not `{SCHEMA}`", header.schema)));
        }
        let mut cassette = Cassette {
            dir: dir.to_owned(),
            header,
            lines: HashMap::new(),
            cut: Vec::new(),
            misses: AtomicU64::new(0),
            first_miss: Mutex::default(),
        };
        let listed = std::fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut lanes: Vec<PathBuf> =
            listed.map_err(|e| CassetteError::Io(dir.to_owned(), e))?.iter().map(|e| e.path()).collect();
        lanes.retain(|path| path.extension().is_some_and(|e| e == LANE));
        lanes.sort();
        if lanes.len() > MAX_LANES {
            return Err(CassetteError::NotOne(dir.to_owned(), format!("it has more than {MAX_LANES} lanes")));
        }
        lanes.iter().try_for_each(|lane| cassette.lane(lane))?;
        Ok(cassette)
    }

    fn lane(&mut self, path: &Path) -> Result<(), CassetteError> {
        let failed = |e| CassetteError::Io(path.to_owned(), e);
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let read = io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut bytes).map_err(failed)?;
            if read == 0 {
                break;
            }
            let whole = bytes.last() == Some(&b'\n');
            if !whole && (read as u64) < MAX_LINE {
                self.cut.push(path.to_owned());
                break;
            }
            let fault = |why: String| CassetteError::Line { file: path.to_owned(), line, why };
            let read: Line = serde_json::from_slice(&bytes).map_err(|e| fault(e.to_string()))?;
            if key(&read.request) != read.key {
                return Err(fault("its key is not that of its request: it was edited; keep `key` and `request` together".into()));
            }
            if read.answer.is_none() && read.error.is_none() {
                return Err(fault("it has neither `answer` nor `error`".into()));
            }
            self.lines.entry(read.key.clone()).or_default().push(read);
        }
        Ok(())
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Lanes whose last line was cut off.
    pub fn cut(&self) -> &[PathBuf] {
        &self.cut
    }

    /// How many requests it had no answer to, and which the first was.
    pub fn misses(&self) -> Option<(u64, String)> {
        let first = self.first_miss.lock().unwrap_or_else(PoisonError::into_inner).clone();
        first.map(|first| (self.misses.load(Ordering::Relaxed), first))
    }

    /// The recorded line: of the same step of the same seed, else of the same seed, else any.
    fn find(&self, key: &str, request: &ModelRequest) -> Option<&Line> {
        let lines = self.lines.get(key)?;
        let step = request.step.to_string();
        let same_seed = |line: &&Line| line.seed == request.seed && line.replica == request.replica;
        let same_step = lines.iter().filter(same_seed).find(|line| line.step == step);
        same_step.or_else(|| lines.iter().find(same_seed)).or_else(|| lines.first())
    }

    /// A request it has no answer to: told with where it differs from what was recorded in its place.
    fn miss(&self, request: &ModelRequest, canonical: &Json) -> ModelError {
        let step = request.step.to_string();
        let in_place =
            |line: &&Line| line.seed == request.seed && line.step == step && line.request.get("agent") == canonical.get("agent");
        let near = self.lines.values().flatten().find(in_place);
        let differs = match near {
            Some(line) => format!("what was recorded in its place differs in {}", difference(&line.request, canonical)),
            None => "nothing was recorded in its place".into(),
        };
        let message = format!(
            "the recording {} has no answer to step {step} of `{}`: {differs}; record it again with --record",
            self.dir.display(),
            request.agent
        );
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.first_miss.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| message.clone());
        tracing::error!("{message}");
        ModelError::new(ModelErrorKind::Miss, message)
    }
}

/// The first place at which two requests differ, as a path.
fn difference(recorded: &Json, asked: &Json) -> String {
    match (recorded, asked) {
        (Json::Object(a), Json::Object(b)) => {
            let fields = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            let found = fields.map(|k| (k, a.get(k).unwrap_or(&Json::Null), b.get(k).unwrap_or(&Json::Null)));
            found.filter(|(_, a, b)| a != b).map(|(k, a, b)| join(k, &difference(a, b))).next().unwrap_or_default()
        }
        (Json::Array(a), Json::Array(b)) => {
            let n = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
            match (a.get(n), b.get(n)) {
                (Some(a), Some(b)) => join(&n.to_string(), &difference(a, b)),
                _ => n.to_string(),
            }
        }
        _ => String::new(),
    }
}

fn join(head: &str, tail: &str) -> String {
    if tail.is_empty() { format!("`{head}`") } else { format!("`{head}.{}`", tail.trim_matches('`')) }
}

#[async_trait]
impl Model for Cassette {
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let canonical = canonical(request);
        let Some(line) = self.find(&key(&canonical), request) else { return Err(self.miss(request, &canonical)) };
        match (&line.answer, &line.error) {
            (Some(answer), _) => {
                if let (Some(deltas), Some(text)) = (deltas, &answer.text) {
                    deltas.tell(text);
                }
                Ok(answer.answer())
            }
            (None, Some(error)) => Err(ModelError {
                kind: ModelErrorKind::of_word(&error.kind).unwrap_or(ModelErrorKind::Refused),
                status: error.status,
                retry_after: None,
                message: error.message.clone(),
            }),
            (None, None) => Err(self.miss(request, &canonical)),
        }
    }
}
