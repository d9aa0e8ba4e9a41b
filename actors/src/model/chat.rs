//! The Chat Completions wire format: a request to bytes, an answer from bytes.
//! (<https://platform.openai.com/docs/api-reference/chat>)

use commedia_domain::event::{AnsweredBy, Usage};
use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::turn::as_text;
use commedia_domain::value::Value;
use serde::{Deserialize, Serialize};

use crate::model::{Answer, ModelError};

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

/// A call, as it stands in requests and in answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) function: Function,
}

/// The called function; its arguments are JSON in a string.
#[derive(Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arguments: String,
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
    parameters: &'a serde_json::Value,
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
}

/// The request's bytes.
pub fn encode(model: &str, request: &ModelRequest) -> Vec<u8> {
    let plain = |role, content| Message { role, content: Some(content), tool_calls: Vec::new(), tool_call_id: None };
    let system = (!request.instructions.is_empty()).then(|| plain("system", request.instructions.clone()));
    let messages = request.messages.iter().map(|chat| match chat {
        Chat::User { text } => plain("user", as_text(text.value())),
        Chat::Assistant { text, calls, .. } => Message {
            role: "assistant",
            content: (*text.value() != Value::Null).then(|| as_text(text.value())),
            tool_calls: (calls.iter())
                .map(|c| ToolCall {
                    id: c.id.to_string(),
                    kind: "function".into(),
                    function: Function { name: c.name.to_string(), arguments: c.input.value().to_json().to_string() },
                })
                .collect(),
            tool_call_id: None,
        },
        Chat::Tool { call_id, content, .. } => Message { tool_call_id: Some(call_id), ..plain("tool", as_text(content.value())) },
    });
    let body = Request {
        model,
        messages: system.into_iter().chain(messages).collect(),
        tools: (request.tools.iter())
            .map(|t| Tool {
                kind: "function",
                function: Definition { name: &t.name, description: &t.description, parameters: &t.schema },
            })
            .collect(),
        temperature: request.temperature,
        max_completion_tokens: request.max_output_tokens,
        response_format: (request.output.as_ref())
            .map(|schema| ResponseFormat { kind: "json_schema", json_schema: JsonSchema { name: "output", schema } }),
    };
    serde_json::to_vec(&body).expect("strings, numbers and schemas always encode")
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Completion {
    pub(crate) id: String,
    pub(crate) object: String,
    pub(crate) model: String,
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Option<Tokens>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) index: u32,
    pub(crate) message: Said,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) role: String,
    pub(crate) content: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCall>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// The answer in a completion's bytes. An answer without a finish reason is none.
pub fn decode(bytes: &[u8], by: AnsweredBy) -> Result<Answer, ModelError> {
    let malformed = |what: String| ModelError::Malformed(what);
    let completion: Completion = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    let choice = completion.choices.into_iter().next().ok_or_else(|| malformed("it has no choices".into()))?;
    if choice.finish_reason.is_none() {
        return Err(malformed("it has no finish reason: it was cut off".into()));
    }
    let mut calls = Vec::with_capacity(choice.message.tool_calls.len());
    for call in choice.message.tool_calls {
        let arguments: &str = if call.function.arguments.trim().is_empty() { "{}" } else { &call.function.arguments };
        let json: serde_json::Value = serde_json::from_str(arguments)
            .map_err(|e| malformed(format!("the arguments of `{}` are no JSON: {e}", call.function.name)))?;
        calls.push((call.id, call.function.name, Value::from_json(&json)));
    }
    let tokens = completion.usage.unwrap_or(Tokens { prompt_tokens: 0, completion_tokens: 0 });
    let usage = Usage { model_calls: 1, tokens_in: tokens.prompt_tokens, tokens_out: tokens.completion_tokens, cost_usd: 0.0 };
    Ok(Answer { text: choice.message.content, calls, usage, by })
}
