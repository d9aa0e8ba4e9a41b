//! The stub: answers without a model, deterministically from (seed, agent, replica, turn, call). It calls each listed tool
//! once, asks each delegate once, hands off to the first agent that has not spoken yet, else gives a final output that
//! obeys the schema. A script goes first. Whatever it says is labelled: it pretends to no judgement.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use commedia_domain::event::AnsweredBy;
use commedia_domain::run::{CallKind, ModelRequest, ToolDefinition};
use commedia_domain::scenario::ScriptStep;
use commedia_domain::turn::{ask_name, handoff_name};
use serde_json::{Value as Json, json};

use crate::model::chat::{self, Choice, Completion, Function, Said, Tokens, ToolCall};
use crate::model::{Answer, Deltas, Model, ModelError};

/// The stub model.
pub struct Stub;

#[async_trait]
impl Model for Stub {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        answer(request)
    }
}

/// Room for an answer of usual size.
const ANSWER_ROOM: usize = 1024;

/// The stub's answer, at once: a real chat request is built, a real completion is written and read.
pub fn answer(request: &ModelRequest) -> Result<Answer, ModelError> {
    let asked = chat::encode("stub", request);
    let said = say(request);
    let completion = Completion {
        id: format!("stub-{}", request.step).into(),
        object: "chat.completion".into(),
        model: "stub".into(),
        usage: Some(Tokens {
            prompt_tokens: tokens(asked.len()),
            completion_tokens: tokens(said.content.as_ref().map_or(16, String::len)),
        }),
        choices: vec![Choice {
            index: 0,
            finish_reason: Some(if said.tool_calls.is_empty() { "stop" } else { "tool_calls" }.into()),
            message: said,
        }],
    };
    let mut bytes = Vec::with_capacity(ANSWER_ROOM);
    serde_json::to_writer(&mut bytes, &completion).map_err(|e| ModelError::malformed(e.to_string()))?;
    chat::decode(&bytes, AnsweredBy::Stub)
}

/// About four bytes make a token.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

fn say(request: &ModelRequest) -> Said<'_> {
    let mut chance = Chance::of(request);
    let asked = request.asked as usize;
    if let Some(step) = request.script.get(asked) {
        return scripted(step, request);
    }
    let of = |kind: CallKind| request.tools.iter().filter(move |t| t.kind == kind);
    let mut once = of(CallKind::Tool).chain(of(CallKind::Ask)).skip(asked.saturating_sub(request.script.len()));
    if let Some(tool) = once.next() {
        return call(&*tool.name, &instance(&tool.schema, &mut chance, 0), request);
    }
    let unvisited = |t: &&Arc<ToolDefinition>| !request.visited.iter().any(|name| handoff_name(name) == t.name);
    if let Some(handoff) = of(CallKind::Handoff).find(unvisited) {
        return call(&*handoff.name, &json!({}), request);
    }
    match &request.output {
        Some(schema) => words(instance(schema, &mut chance, 0).to_string()),
        None => words(format!("[stub] {} has nothing to add.", request.agent)),
    }
}

fn scripted<'a>(step: &'a ScriptStep, request: &ModelRequest) -> Said<'a> {
    match step {
        ScriptStep::Text(text) => words(text.to_string()),
        ScriptStep::Output(value) => words(value.to_json().to_string()),
        ScriptStep::Call { tool, with } => call(&**tool, &with.to_json(), request),
        ScriptStep::Handoff(agent) => call(handoff_name(agent), &json!({}), request),
        ScriptStep::Ask { agent, text } => call(ask_name(agent), &json!({ "question": &**text }), request),
    }
}

fn words(text: String) -> Said<'static> {
    Said { role: "assistant".into(), content: Some(text), tool_calls: Vec::new() }
}

fn call<'a>(name: impl Into<Cow<'a, str>>, arguments: &Json, request: &ModelRequest) -> Said<'a> {
    let call = ToolCall {
        id: format!("call-{}", request.step.n).into(),
        kind: "function".into(),
        function: Function { name: name.into(), arguments: arguments.to_string().into() },
    };
    Said { role: "assistant".into(), content: None, tool_calls: vec![call] }
}

/// A value that fits a schema as far as the stub can tell, chosen by a seed.
pub(crate) fn example(schema: &Json, seed: &[u8]) -> Json {
    instance(schema, &mut Chance { place: Place::Seed(seed), key: None, next: 0 }, 0)
}

/// What the choices depend on.
enum Place<'a> {
    Request(&'a ModelRequest),
    Seed(&'a [u8]),
}

/// A stream of choices that depends on nothing but the request's place.
struct Chance<'a> {
    place: Place<'a>,
    /// Made at the first choice: most answers need none.
    key: Option<blake3::Hasher>,
    next: u32,
}

impl Chance<'_> {
    fn of(request: &ModelRequest) -> Chance<'_> {
        Chance { place: Place::Request(request), key: None, next: 0 }
    }

    fn key(&mut self) -> &blake3::Hasher {
        let place = &self.place;
        self.key.get_or_insert_with(|| {
            let mut key = blake3::Hasher::new_derive_key("commedia 2026 stub v1");
            match place {
                Place::Request(request) => {
                    key.update(&request.seed.to_le_bytes()).update(request.agent.as_bytes());
                    key.update(&request.replica.to_le_bytes()).update(request.step.to_string().as_bytes())
                }
                Place::Seed(seed) => key.update(seed),
            };
            key
        })
    }

    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.next += 1;
        let next = self.next.to_le_bytes();
        let hash = self.key().clone().update(&next).finalize();
        let bytes: [u8; 8] = hash.as_bytes()[..8].try_into().unwrap_or_default();
        u64::from_le_bytes(bytes) % n.max(1)
    }
}

/// How deep a schema is followed.
const MAX_DEPTH: u32 = 12;

/// A value that fits a schema of the usual keywords. Others may be missed: the runtime checks the answer as it would a model's.
fn instance(schema: &Json, chance: &mut Chance<'_>, depth: u32) -> Json {
    if depth > MAX_DEPTH {
        return Json::Null;
    }
    for (key, take) in [("const", None), ("default", None), ("enum", Some(())), ("anyOf", Some(())), ("oneOf", Some(()))] {
        match (schema.get(key), take) {
            (Some(value), None) => return value.clone(),
            (Some(Json::Array(of)), Some(())) if !of.is_empty() => {
                let picked = &of[usize::try_from(chance.below(of.len() as u64)).unwrap_or(0)];
                return if key == "enum" { picked.clone() } else { instance(picked, chance, depth + 1) };
            }
            _ => {}
        }
    }
    let kind = match schema.get("type") {
        Some(Json::String(kind)) => kind.as_str(),
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|k| *k != "null").unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => object(schema, chance, depth),
        "array" => {
            let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(1).min(64);
            let items = schema.get("items").cloned().unwrap_or_else(|| json!({"type": "string"}));
            Json::Array((0..least).map(|_| instance(&items, chance, depth + 1)).collect())
        }
        "integer" => {
            let (low, high) = bounds(schema, 0.0, 100.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the schema or by 100")]
            let (low, span) = (low.ceil() as i64, (high.floor() - low.ceil()).clamp(0.0, 1e9) as u64);
            json!(low.saturating_add_unsigned(chance.below(span + 1)))
        }
        "number" => {
            let (low, high) = bounds(schema, 0.0, 1.0);
            #[expect(clippy::cast_precision_loss, reason = "a thousandth is fine enough")]
            let share = (1 + chance.below(999)) as f64 / 1000.0;
            json!(((low + (high - low) * share) * 1e6).round() / 1e6)
        }
        "boolean" => json!(chance.below(2) == 1),
        "null" => Json::Null,
        _ => text(schema, chance),
    }
}

fn object(schema: &Json, chance: &mut Chance<'_>, depth: u32) -> Json {
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = schema.get("properties").and_then(Json::as_object);
    let fields = properties.into_iter().flatten().filter(|(name, _)| required.contains(&name.as_str()));
    Json::Object(fields.map(|(name, schema)| (name.clone(), instance(schema, chance, depth + 1))).collect())
}

/// The least and the greatest number a schema allows, within reach of a default range.
fn bounds(schema: &Json, low: f64, high: f64) -> (f64, f64) {
    let read = |key: &str| schema.get(key).and_then(Json::as_f64);
    let least = read("minimum").or_else(|| read("exclusiveMinimum").map(|v| v + 1.0));
    let most = read("maximum").or_else(|| read("exclusiveMaximum").map(|v| v - 1.0));
    let low = least.unwrap_or_else(|| most.map_or(low, |m| low.min(m)));
    (low, most.unwrap_or_else(|| high.max(low + 1.0)).max(low))
}

fn text(schema: &Json, chance: &mut Chance<'_>) -> Json {
    let n = chance.below(1000);
    let base = match schema.get("format").and_then(Json::as_str) {
        Some("date") => format!("2026-{:02}-{:02}", 1 + n % 12, 1 + n % 28),
        Some("date-time") => format!("2026-{:02}-{:02}T00:00:00Z", 1 + n % 12, 1 + n % 28),
        Some("email") => format!("stub{n}@example.test"),
        Some("uri") => format!("https://example.test/{n}"),
        _ => format!("[stub] {n}"),
    };
    let size = |key: &str| schema.get(key).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
    let least = size("minLength").unwrap_or(0).min(10_000);
    let mut text = base;
    while text.chars().count() < least {
        text.push('.');
    }
    Json::String(text.chars().take(size("maxLength").unwrap_or(usize::MAX)).collect())
}
