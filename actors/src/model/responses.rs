//! The Responses wire format, without anything stored at the provider: what the model thought comes back encrypted and goes
//! with the next request. (<https://platform.openai.com/docs/api-reference/responses/create>,
//! <https://platform.openai.com/docs/api-reference/responses-streaming>)

use std::borrow::Cow;

use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::model::ModelError;
use crate::model::chat::words;
use crate::model::draft::{Asked, Draft, Input, Tokens, marked};
use crate::model::output::{Wanted, fits_strict};
use crate::model::stream::{Fold, Step};
use crate::model::voice::Voice;

/// What a model is told where a conversation holds no word yet: the interface takes no empty one.
pub(crate) const BEGIN: &str = "Begin.";

#[derive(Serialize)]
pub(crate) struct Request<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instructions: Cow<'a, str>,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    include: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Words {
        role: &'static str,
        content: Cow<'a, str>,
    },
    Call {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: &'a str,
        name: &'a str,
        arguments: String,
    },
    Result {
        #[serde(rename = "type")]
        kind: &'static str,
        call_id: &'a str,
        output: Cow<'a, str>,
    },
    Kept(Json),
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
    strict: bool,
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    schema: &'a Json,
    strict: bool,
}

/// The request as it is written. `who`: the model's full name, which marks what it thought.
pub(crate) fn body<'a>(model: &'a str, who: &str, request: &'a ModelRequest, stream: bool) -> Request<'a> {
    let wanted = Wanted::of(request, false);
    let mut input = Vec::with_capacity(request.messages.len() + 1);
    for chat in &request.messages {
        match chat {
            Chat::User { text } => input.push(Item::Words { role: "user", content: words(text.value()) }),
            Chat::Assistant { text, calls, .. } => {
                if *text.value() != Value::Null {
                    input.push(Item::Words { role: "assistant", content: words(text.value()) });
                }
                input.extend(calls.iter().map(|call| Item::Call {
                    kind: "function_call",
                    call_id: &call.id,
                    name: &call.name,
                    arguments: call.input.value().to_json_text(),
                }));
            }
            Chat::Tool { call_id, content, .. } => {
                input.push(Item::Result { kind: "function_call_output", call_id, output: words(content.value()) });
            }
            Chat::Reasoning { items, .. } => {
                input.extend(marked(who, items.value()).map(|item| Item::Kept(item.to_json())));
            }
        }
    }
    if input.is_empty() {
        input.push(Item::Words { role: "user", content: BEGIN.into() });
    }
    Request {
        model,
        instructions: wanted.instructions(request),
        input,
        tools: (request.tools.iter())
            .map(|t| Tool {
                kind: "function",
                name: &t.name,
                description: &t.description,
                parameters: &t.text,
                strict: fits_strict(&t.schema),
            })
            .collect(),
        text: wanted
            .schema()
            .map(|schema| Text { format: Format { kind: "json_schema", name: "output", schema, strict: fits_strict(schema) } }),
        temperature: request.temperature,
        max_output_tokens: request.max_output_tokens,
        store: false,
        include: thinks(model).then_some(["reasoning.encrypted_content"]),
        stream: stream.then_some(true),
    }
}

/// Whether a model reasons, by its name: the others refuse to be asked for encrypted reasoning.
fn thinks(model: &str) -> bool {
    let number = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    match (model.strip_prefix("gpt-"), model.strip_prefix('o')) {
        (Some(rest), _) => number(rest).is_some_and(|n| n >= 5) && !rest.contains("chat"),
        (None, Some(rest)) => number(rest).is_some(),
        (None, None) => false,
    }
}

/// An answer. Everything may be missing.
#[derive(Default, Deserialize)]
pub(crate) struct Reply {
    status: Option<String>,
    error: Option<Json>,
    incomplete_details: Option<Incomplete>,
    output: Option<Vec<Json>>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Counted {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Reply {
    /// What a whole answer holds.
    pub(crate) fn draft(self, voice: &Voice) -> Result<Draft, ModelError> {
        if let Some(error) = self.error.filter(|e| !e.is_null()) {
            return Err(voice.told(&error));
        }
        let finish = match self.status.as_deref() {
            Some("completed") => "completed".to_owned(),
            Some("incomplete") => self.incomplete_details.and_then(|d| d.reason).unwrap_or_default(),
            Some("failed") => "error".to_owned(),
            _ => String::new(),
        };
        let tokens = self.usage.and_then(|u| {
            let cached = u.input_tokens_details.and_then(|d| d.cached_tokens).unwrap_or(0);
            Some(Tokens { input: u.input_tokens?, output: u.output_tokens.unwrap_or(0), cached })
        });
        let mut draft = Draft { finish, tokens, ..Draft::default() };
        for item in self.output.into_iter().flatten() {
            add(&mut draft, item, voice)?;
        }
        Ok(draft)
    }
}

/// An item of the output.
fn add(draft: &mut Draft, mut item: Json, voice: &Voice) -> Result<(), ModelError> {
    let taken = |json: Option<&mut Json>| match json.map(Json::take) {
        Some(Json::String(text)) => text,
        _ => String::new(),
    };
    match item.get("type").and_then(Json::as_str) {
        Some("message") => {
            for part in item.get_mut("content").and_then(Json::as_array_mut).into_iter().flatten() {
                match part.get("type").and_then(Json::as_str) {
                    Some("output_text") => draft.say(&taken(part.get_mut("text"))),
                    Some("refusal") => draft.refusal = Some(taken(part.get_mut("refusal"))),
                    _ => {}
                }
            }
        }
        Some("function_call") => {
            let id = match taken(item.get_mut("call_id")) {
                id if id.is_empty() => taken(item.get_mut("id")),
                id => id,
            };
            let name = taken(item.get_mut("name"));
            let input = item.get_mut("arguments").map(Json::take).map_or_else(Input::default, Input::from);
            *draft.call(draft.calls.len(), voice)? = Asked { id, name, input };
        }
        // Without its encrypted content nobody could find it again: nothing is stored.
        Some("reasoning") if item.get("encrypted_content").is_some_and(Json::is_string) => draft.reasoning.push(item),
        _ => {}
    }
    Ok(())
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    delta: Option<Json>,
    item: Option<Json>,
    response: Option<Reply>,
    error: Option<Json>,
}

/// An answer from its events.
#[derive(Default)]
pub(crate) struct Pieces {
    items: Vec<Json>,
    done: Option<Draft>,
}

/// Beginnings of the kinds of events that say nothing the last one does not.
const PASSED: [&str; 8] = [
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_",
    "response.content_part.",
    "response.refusal.",
    "response.function_call_arguments.",
    "response.reasoning",
];

impl Fold for Pieces {
    fn take(&mut self, data: &[u8], voice: &Voice, tell: &mut dyn FnMut(&str)) -> Result<Step, ModelError> {
        if data == b"[DONE]" {
            return Ok(Step::Over);
        }
        let event: Event = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(e) => return Err(voice.malformed(format_args!("sent a piece of an answer that cannot be read: {e}"))),
        };
        match &*event.kind {
            "response.output_text.delta" => {
                if let Some(Json::String(text)) = &event.delta {
                    tell(text);
                }
            }
            "response.output_item.done" => self.items.extend(event.item),
            "response.completed" | "response.incomplete" | "response.failed" => {
                let mut reply = event.response.unwrap_or_default();
                if reply.output.as_ref().is_none_or(Vec::is_empty) {
                    reply.output = Some(std::mem::take(&mut self.items));
                }
                self.done = Some(reply.draft(voice)?);
                return Ok(Step::Over);
            }
            "error" => {
                let flat = || serde_json::from_slice(data).unwrap_or_default();
                return Err(voice.told(&event.error.filter(Json::is_object).unwrap_or_else(flat)));
            }
            kind if PASSED.iter().any(|start| kind.starts_with(start)) => {}
            _ => return Ok(Step::Unknown),
        }
        Ok(Step::Known)
    }

    fn ended(&self) -> bool {
        self.done.is_some()
    }

    fn draft(self: Box<Self>) -> Draft {
        self.done.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::thinks;

    #[test]
    fn models_that_reason_are_known_by_their_names() {
        for (model, expect) in [
            ("gpt-5", true),
            ("gpt-5.4-mini", true),
            ("gpt-10", true),
            ("gpt-5-chat-latest", false),
            ("gpt-4o", false),
            ("gpt-4.1", false),
            ("gpt-oss-20b", false),
            ("o4-mini", true),
            ("o3", true),
            ("omni", false),
            ("llama3", false),
        ] {
            assert_eq!(thinks(model), expect, "{model}");
        }
    }
}
