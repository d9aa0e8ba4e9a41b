//! The Chat Completions wire format: a request to bytes, and the stub's answer from bytes; `model/completion.rs` reads those
//! of others. (<https://platform.openai.com/docs/api-reference/chat/create>)

use std::borrow::Cow;

use commedia_domain::event::{AnsweredBy, Usage};
use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::output::{Wanted, fits_strict};
use crate::model::{Answer, ModelError};

/// Room for a request of usual size.
const REQUEST_ROOM: usize = 4096;

#[derive(Serialize)]
pub(crate) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// How a server likes its requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Whether it is told which schemas are strict, and takes no other roots than objects.
    pub(crate) strict: bool,
    /// Whether it knows the bound of an answer by its older name only.
    pub(crate) older: bool,
    /// Whether it is to answer in a stream.
    pub(crate) stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

/// A call, as it stands in requests and in answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct ToolCall<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) function: Function<'a>,
}

/// The called function; its arguments are JSON in a string.
#[derive(Serialize, Deserialize)]
pub(crate) struct Function<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) arguments: Cow<'a, str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Definition<'a>,
}

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    schema: &'a serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// The request's bytes.
pub fn encode(model: &str, request: &ModelRequest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_ROOM);
    let body = body(model, request, Manner::default());
    serde_json::to_writer(&mut bytes, &body).expect("strings, numbers and schemas always encode");
    bytes
}

/// The request as it is written.
pub(crate) fn body<'a>(model: &'a str, request: &'a ModelRequest, manner: Manner) -> Request<'a> {
    fn plain<'a>(role: &'static str, content: Cow<'a, str>) -> Message<'a> {
        Message { role, content: Some(content), tool_calls: Vec::new(), tool_call_id: None }
    }
    let wanted = Wanted::of(request, !manner.strict);
    let instructions = wanted.instructions(request);
    let system = (!instructions.is_empty()).then(|| plain("system", instructions));
    let messages = request.messages.iter().filter_map(|chat| match chat {
        Chat::User { text } => Some(plain("user", words(text.value()))),
        Chat::Assistant { text, calls, .. } => Some(Message {
            role: "assistant",
            content: (*text.value() != Value::Null).then(|| words(text.value())),
            tool_calls: (calls.iter())
                .map(|c| ToolCall {
                    id: Cow::Borrowed(&*c.id),
                    kind: "function".into(),
                    function: Function { name: Cow::Borrowed(&*c.name), arguments: c.input.value().to_json_text().into() },
                })
                .collect(),
            tool_call_id: None,
        }),
        Chat::Tool { call_id, content, .. } => {
            Some(Message { tool_call_id: Some(call_id), ..plain("tool", words(content.value())) })
        }
        // This format has no place for it.
        Chat::Reasoning { .. } => None,
    });
    let strict = |schema| manner.strict.then(|| fits_strict(schema)).filter(|fits| *fits);
    Request {
        model,
        messages: system.into_iter().chain(messages).collect(),
        tools: (request.tools.iter())
            .map(|t| Tool {
                kind: "function",
                function: Definition {
                    name: &t.name,
                    description: &t.description,
                    parameters: &t.text,
                    strict: strict(&t.schema),
                },
            })
            .collect(),
        temperature: request.temperature,
        max_completion_tokens: request.max_output_tokens.filter(|_| !manner.older),
        max_tokens: request.max_output_tokens.filter(|_| manner.older),
        response_format: wanted.schema().map(|schema| ResponseFormat {
            kind: "json_schema",
            json_schema: JsonSchema { name: "output", schema, strict: strict(schema) },
        }),
        stream: manner.stream.then_some(true),
        stream_options: manner.stream.then_some(StreamOptions { include_usage: true }),
    }
}

/// A text as it is, anything else as JSON.
pub(crate) fn words(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_json_text()),
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Completion<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) object: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) choices: Vec<Choice<'a>>,
    pub(crate) usage: Option<Tokens>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Choice<'a> {
    pub(crate) index: u32,
    #[serde(borrow)]
    pub(crate) message: Said<'a>,
    pub(crate) finish_reason: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Said<'a> {
    #[serde(borrow)]
    pub(crate) role: Cow<'a, str>,
    pub(crate) content: Option<String>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// The answer in a completion's bytes. An answer without a finish reason is none.
pub fn decode(bytes: &[u8], by: AnsweredBy) -> Result<Answer, ModelError> {
    let malformed = |what: String| ModelError::malformed(format!("the model's answer could not be read: {what}"));
    let completion: Completion<'_> = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    let choice = completion.choices.into_iter().next().ok_or_else(|| malformed("it has no choices".into()))?;
    if choice.finish_reason.is_none() {
        return Err(malformed("it has no finish reason: it was cut off".into()));
    }
    let mut calls = Vec::with_capacity(choice.message.tool_calls.len());
    for call in choice.message.tool_calls {
        let arguments: &str = if call.function.arguments.trim().is_empty() { "{}" } else { &call.function.arguments };
        let input = Value::from_json_text(arguments)
            .map_err(|e| malformed(format!("the arguments of `{}` are no JSON: {e}", call.function.name)))?;
        calls.push((call.id.into_owned(), call.function.name.into_owned(), input));
    }
    let tokens = completion.usage.unwrap_or(Tokens { prompt_tokens: 0, completion_tokens: 0 });
    let usage = Usage { model_calls: 1, tokens_in: tokens.prompt_tokens, tokens_out: tokens.completion_tokens, cost_usd: 0.0 };
    Ok(Answer { text: choice.message.content, calls, usage, by, source: None })
}
