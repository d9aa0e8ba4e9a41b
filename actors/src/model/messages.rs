//! The Messages wire format of Anthropic: a request to bytes, answers whole or from their events. It has no crate that is
//! kept by its makers, and needs little.
//! (<https://docs.anthropic.com/en/api/messages>, <https://docs.anthropic.com/en/api/messages-streaming>)

use std::borrow::Cow;
use std::collections::BTreeMap;

use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::json;
use serde_json::value::RawValue;

use crate::model::ModelError;
use crate::model::chat::words;
use crate::model::draft::{Asked, Draft, Input, MAX_CALLS, Tokens, marked};
use crate::model::output::Wanted;
use crate::model::responses::BEGIN;
use crate::model::stream::{Fold, Step};
use crate::model::voice::Voice;

/// The version of the interface that is spoken.
pub(crate) const VERSION: &str = "2023-06-01";
/// The bound of an answer where none is set: the interface wants one, and every model permits this.
const DEFAULT_MAX_TOKENS: u32 = 4096;
/// What a model is told where the last word was its own.
const GO_ON: &str = "Go on.";

#[derive(Serialize)]
pub(crate) struct Request<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    system: Cow<'a, str>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Block<'a> {
    Text {
        #[serde(rename = "type")]
        kind: &'static str,
        text: Cow<'a, str>,
    },
    Call {
        #[serde(rename = "type")]
        kind: &'static str,
        id: String,
        name: &'a str,
        input: Json,
    },
    Result {
        #[serde(rename = "type")]
        kind: &'static str,
        tool_use_id: String,
        content: Cow<'a, str>,
    },
    Kept(Json),
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a RawValue,
}

/// Ids of calls as the interface wants them: of few characters, and unique in the whole conversation.
#[derive(Default)]
struct Ids<'a> {
    /// By the id in the conversation: how often it was used, and its last name here.
    used: BTreeMap<&'a str, (u32, String)>,
}

impl<'a> Ids<'a> {
    fn call(&mut self, id: &'a str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let (count, last) = self.used.entry(id).or_default();
        *count += 1;
        let base: String = id.chars().map(plain).collect();
        *last = if *count == 1 { base } else { format!("{base}_{count}") };
        last.clone()
    }

    fn result(&mut self, id: &'a str) -> String {
        match self.used.get(id) {
            Some((_, last)) => last.clone(),
            None => self.call(id),
        }
    }
}

fn text(text: Cow<'_, str>) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text { kind: "text", text })
}

/// The request as it is written. `who`: the model's full name, which marks what it thought.
pub(crate) fn body<'a>(model: &'a str, who: &str, request: &'a ModelRequest, stream: bool) -> Request<'a> {
    // Which models take a schema is not to be known from here: all understand it in words.
    let wanted = request.output.as_deref().map_or(Wanted::Anything, Wanted::Words);
    let mut messages: Vec<Message<'a>> = Vec::with_capacity(request.messages.len());
    let mut ids = Ids::default();
    let mut add = |role: &'static str, block: Block<'a>| match messages.last_mut() {
        Some(last) if last.role == role => last.content.push(block),
        _ => messages.push(Message { role, content: vec![block] }),
    };
    for chat in &request.messages {
        match chat {
            Chat::User { text: told } => text(words(told.value())).into_iter().for_each(|block| add("user", block)),
            Chat::Assistant { text: said, calls, .. } => {
                let said = text(words(said.value())).filter(|_| *said.value() != Value::Null);
                said.into_iter().for_each(|block| add("assistant", block));
                for call in calls {
                    let input = match call.input.value().to_json() {
                        input @ Json::Object(_) => input,
                        other => json!({ "value": other }),
                    };
                    add("assistant", Block::Call { kind: "tool_use", id: ids.call(&call.id), name: &call.name, input });
                }
            }
            Chat::Tool { call_id, content, .. } => {
                let content = words(content.value());
                add("user", Block::Result { kind: "tool_result", tool_use_id: ids.result(call_id), content });
            }
            Chat::Reasoning { items, .. } => {
                marked(who, items.value()).for_each(|item| add("assistant", Block::Kept(item.to_json())));
            }
        }
    }
    let plain = |words: &'static str| Message { role: "user", content: text(words.into()).into_iter().collect() };
    if messages.first().is_none_or(|first| first.role != "user") {
        messages.insert(0, plain(BEGIN));
    }
    if messages.last().is_some_and(|last| last.role != "user") {
        messages.push(plain(GO_ON));
    }
    Request {
        model,
        max_tokens: request.max_output_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        system: wanted.instructions(request),
        messages,
        tools: (request.tools.iter())
            .map(|t| Tool { name: &t.name, description: &t.description, input_schema: &t.text })
            .collect(),
        temperature: request.temperature,
        stream: stream.then_some(true),
    }
}

/// An answer, or the head of one. Everything may be missing.
#[derive(Default, Deserialize)]
pub(crate) struct Reply {
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<Vec<Json>>,
    stop_reason: Option<String>,
    usage: Option<Counted>,
    error: Option<Json>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Counted {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Counted {
    /// What a later count says, where it says it.
    fn or(self, earlier: Counted) -> Counted {
        Counted {
            input_tokens: self.input_tokens.or(earlier.input_tokens),
            cache_creation_input_tokens: self.cache_creation_input_tokens.or(earlier.cache_creation_input_tokens),
            cache_read_input_tokens: self.cache_read_input_tokens.or(earlier.cache_read_input_tokens),
            output_tokens: self.output_tokens.or(earlier.output_tokens),
        }
    }

    /// The interface counts what was cached apart from the rest.
    fn tokens(self) -> Option<Tokens> {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let input = self.input_tokens? + cached + self.cache_creation_input_tokens.unwrap_or(0);
        Some(Tokens { input, output: self.output_tokens.unwrap_or(0), cached })
    }
}

impl Reply {
    /// What a whole answer holds.
    pub(crate) fn draft(self, voice: &Voice) -> Result<Draft, ModelError> {
        if let Some(error) = self.error.filter(|e| !e.is_null()) {
            return Err(voice.told(&error));
        }
        if self.kind.as_deref() != Some("message") {
            return Err(voice.malformed("gave an answer that is no message: check base_url"));
        }
        let mut pieces = Pieces { counted: self.usage.unwrap_or_default(), ..Pieces::default() };
        pieces.finish = self.stop_reason.unwrap_or_default();
        for (n, block) in self.content.into_iter().flatten().enumerate() {
            pieces.begin(n, block, voice)?;
        }
        Ok(Box::new(pieces).draft())
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    index: Option<usize>,
    message: Option<Reply>,
    content_block: Option<Json>,
    delta: Option<Delta>,
    usage: Option<Counted>,
    error: Option<Json>,
}

#[derive(Default, Deserialize)]
struct Delta {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    stop_reason: Option<String>,
}

/// A block of an answer.
enum Part {
    Words(String),
    Call(Asked),
    Thought(Json),
    Other,
}

/// An answer from its events.
#[derive(Default)]
pub(crate) struct Pieces {
    parts: Vec<Part>,
    finish: String,
    counted: Counted,
}

/// Blocks an answer may hold: its calls, and as many others.
const MAX_PARTS: usize = 2 * MAX_CALLS;

impl Pieces {
    fn begin(&mut self, place: usize, mut block: Json, voice: &Voice) -> Result<(), ModelError> {
        if place >= MAX_PARTS {
            return Err(voice.malformed(format_args!("gave an answer of more than {MAX_PARTS} blocks")));
        }
        let mut taken = |name: &str| match block.get_mut(name).map(Json::take) {
            Some(Json::String(text)) => text,
            _ => String::new(),
        };
        let part = match &*taken("type") {
            "text" => Part::Words(taken("text")),
            "tool_use" => {
                let (id, name) = (taken("id"), taken("name"));
                let input = block.get_mut("input").map(Json::take).map_or_else(Input::default, Input::from);
                Part::Call(Asked { id, name, input })
            }
            kind @ ("thinking" | "redacted_thinking") => {
                block["type"] = kind.into();
                Part::Thought(block)
            }
            _ => Part::Other,
        };
        if self.parts.len() <= place {
            self.parts.resize_with(place + 1, || Part::Other);
        }
        self.parts[place] = part;
        Ok(())
    }

    fn add(&mut self, place: usize, delta: Delta, tell: &mut dyn FnMut(&str)) {
        let append = |thought: &mut Json, name: &str, piece: &str| match &mut thought[name] {
            Json::String(text) => text.push_str(piece),
            other => *other = piece.into(),
        };
        match self.parts.get_mut(place) {
            Some(Part::Words(words)) => {
                if let Some(piece) = &delta.text {
                    tell(piece);
                    words.push_str(piece);
                }
            }
            Some(Part::Call(call)) => {
                if let Some(piece) = &delta.partial_json {
                    call.add(piece);
                }
            }
            Some(Part::Thought(thought)) => {
                for (name, piece) in [("thinking", &delta.thinking), ("signature", &delta.signature)] {
                    if let Some(piece) = piece {
                        append(thought, name, piece);
                    }
                }
            }
            Some(Part::Other) | None => {}
        }
    }
}

impl Fold for Pieces {
    fn take(&mut self, data: &[u8], voice: &Voice, tell: &mut dyn FnMut(&str)) -> Result<Step, ModelError> {
        let event: Event = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(e) => return Err(voice.malformed(format_args!("sent a piece of an answer that cannot be read: {e}"))),
        };
        let place = event.index.unwrap_or(usize::MAX);
        match &*event.kind {
            "message_start" => {
                let head = event.message.unwrap_or_default();
                self.counted = head.usage.unwrap_or_default();
            }
            "content_block_start" => self.begin(place, event.content_block.unwrap_or_default(), voice)?,
            "content_block_delta" => self.add(place, event.delta.unwrap_or_default(), tell),
            "message_delta" => {
                self.finish = event.delta.unwrap_or_default().stop_reason.unwrap_or_default();
                self.counted = event.usage.unwrap_or_default().or(self.counted);
            }
            "message_stop" => return Ok(Step::Over),
            "error" => return Err(voice.told(&event.error.unwrap_or_default())),
            "ping" | "content_block_stop" => {}
            _ => return Ok(Step::Unknown),
        }
        Ok(Step::Known)
    }

    fn ended(&self) -> bool {
        !self.finish.is_empty()
    }

    fn draft(self: Box<Self>) -> Draft {
        let mut draft = Draft { finish: self.finish, tokens: self.counted.tokens(), ..Draft::default() };
        let mut said = String::new();
        for part in self.parts {
            match part {
                Part::Words(words) => said.push_str(&words),
                Part::Call(call) => draft.calls.push(call),
                Part::Thought(thought) => draft.reasoning.push(thought),
                Part::Other => {}
            }
        }
        // Having nothing to add is an answer here: the interface gives no block then.
        draft.text = Some(said);
        draft
    }
}
