//! What the peer says, in each interface's true form, whole or as events; and as HTTP.

use serde_json::{Value as Json, json};

use super::Heard;
use crate::model::endpoint::Wire;
use crate::model::stub;

/// An answer, whatever the interface.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its words.
    pub text: Option<String>,
    /// Its calls: id, name, arguments as text.
    pub calls: Vec<(String, String, String)>,
    /// A refusal, where the interface has a place for one.
    pub refusal: Option<String>,
    /// Why it ends.
    pub end: End,
    /// Tokens in, out and, of those in, cached; none: the answer does not say.
    pub tokens: Option<(u64, u64, u64)>,
    /// What the model thought, encrypted or signed.
    pub thought: Option<String>,
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It is done.
    #[default]
    Done,
    /// It reached its bound.
    Length,
    /// A filter took it.
    Filtered,
    /// The model refused.
    Refused,
}

impl Said {
    /// Words.
    pub fn words(text: impl Into<String>) -> Said {
        Said { text: Some(text.into()), tokens: Some((11, 7, 3)), ..Said::default() }
    }

    /// A call.
    pub fn call(id: &str, name: &str, arguments: &str) -> Said {
        let calls = vec![(id.to_owned(), name.to_owned(), arguments.to_owned())];
        Said { calls, tokens: Some((11, 7, 3)), ..Said::default() }
    }

    /// What the stub would say: each tool once since the floor was passed, then a handoff that was not made yet, else words.
    pub fn by_stub(heard: &Heard) -> Said {
        Said::judged(heard, 1)
    }

    /// The same in as few answers as can be: all that is left to be called, and the handoff, in one.
    pub fn briskly(heard: &Heard) -> Said {
        Said::judged(heard, usize::MAX)
    }

    /// So many of the calls that are left, or words where none is.
    fn judged(heard: &Heard, most: usize) -> Said {
        let is_handoff = |name: &str| name.starts_with("transfer_to_");
        let called = heard.called();
        let since = called.iter().rposition(|name| name.is_none_or(is_handoff)).map_or(0, |n| n + 1);
        let seed = || heard.body.to_string();
        let tools = heard.tools().filter(|(name, _)| !is_handoff(name)).skip(called.len() - since);
        let tools = tools.map(|(name, schema)| (name, stub::example(schema, seed().as_bytes()).to_string()));
        let pass = heard.tools().find(|(name, _)| is_handoff(name) && !called.contains(&Some(name)));
        let left = tools.chain(pass.map(|(name, _)| (name, "{}".to_owned())));
        let calls: Vec<_> = (called.len()..)
            .zip(left.take(most))
            .map(|(n, (name, input))| (format!("call-{n}"), name.to_owned(), input))
            .collect();
        let said = match heard.output() {
            _ if !calls.is_empty() => Said { calls, ..Said::default() },
            Some(schema) => Said::words(stub::example(&schema, seed().as_bytes()).to_string()),
            None => Said::words("[stub] Nothing to add."),
        };
        Said { tokens: Some((64, 16, 0)), ..said }
    }

    /// The answer as HTTP, in the form the request asks for.
    pub fn whole(&self, heard: &Heard) -> Vec<u8> {
        match heard.stream {
            true => chunked("text/event-stream", &[sse(&self.events(heard.wire, heard.model()))]),
            false => plain(200, &[], &self.body(heard.wire, heard.model()).to_string()),
        }
    }

    /// The body of a whole answer.
    pub fn body(&self, wire: Wire, model: &str) -> Json {
        match wire {
            Wire::Chat => self.chat(model),
            Wire::Responses => self.response(model),
            Wire::Messages => self.message(model),
        }
    }

    /// The events of a streamed one: name, where the interface has names, and data.
    pub fn events(&self, wire: Wire, model: &str) -> Vec<(Option<String>, String)> {
        let events = match wire {
            Wire::Chat => {
                let mut events = self.chat_events(model);
                let done = (None, "[DONE]".to_owned());
                return events.drain(..).map(|data| (None, data.to_string())).chain([done]).collect();
            }
            Wire::Responses => self.response_events(model),
            Wire::Messages => self.message_events(model),
        };
        events.into_iter().map(|data| (data["type"].as_str().map(str::to_owned), data.to_string())).collect()
    }

    fn finish(&self) -> &'static str {
        match self.end {
            End::Done if self.calls.is_empty() => "stop",
            End::Done => "tool_calls",
            End::Length => "length",
            End::Filtered => "content_filter",
            End::Refused => "stop",
        }
    }

    fn chat(&self, model: &str) -> Json {
        let calls = self.calls.iter().map(
            |(id, name, arguments)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}),
        );
        let mut message = json!({"role": "assistant", "content": self.text, "refusal": self.refusal});
        if !self.calls.is_empty() {
            message["tool_calls"] = calls.collect();
        }
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": self.finish()});
        let mut body =
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": model, "choices": [choice]});
        if let Some(usage) = self.chat_usage() {
            body["usage"] = usage;
        }
        body
    }

    fn chat_usage(&self) -> Option<Json> {
        let (input, output, cached) = self.tokens?;
        let details = json!({"cached_tokens": cached});
        let total = input + output;
        Some(
            json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": total, "prompt_tokens_details": details}),
        )
    }

    fn chat_events(&self, model: &str) -> Vec<Json> {
        let piece = |choices: Json, usage: Json| {
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model,
                "choices": choices, "usage": usage})
        };
        let delta = |delta: Json| piece(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Json::Null);
        let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
        events.extend(self.text.iter().flat_map(|text| halves(text)).map(|text| delta(json!({"content": text}))));
        events.extend(self.refusal.iter().map(|text| delta(json!({"refusal": text}))));
        for (n, (id, name, arguments)) in self.calls.iter().enumerate() {
            let function = json!({"name": name, "arguments": ""});
            events.push(delta(json!({"tool_calls": [{"index": n, "id": id, "type": "function", "function": function}]})));
            let more = |text| delta(json!({"tool_calls": [{"index": n, "function": {"arguments": text}}]}));
            events.extend(halves(arguments).map(more));
        }
        events.push(piece(json!([{"index": 0, "delta": {}, "finish_reason": self.finish()}]), Json::Null));
        events.extend(self.chat_usage().map(|usage| piece(json!([]), usage)));
        events
    }

    fn response(&self, model: &str) -> Json {
        let (status, reason) = match self.end {
            End::Done | End::Refused => ("completed", None),
            End::Length => ("incomplete", Some("max_output_tokens")),
            End::Filtered => ("incomplete", Some("content_filter")),
        };
        let usage = self.tokens.map(|(input, output, cached)| {
            json!({"input_tokens": input, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output,
                "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output})
        });
        json!({"id": "resp_1", "object": "response", "created_at": 0, "status": status, "error": null,
            "incomplete_details": reason.map(|reason| json!({"reason": reason})), "model": model, "output": self.items(),
            "parallel_tool_calls": true, "store": false, "usage": usage})
    }

    fn items(&self) -> Vec<Json> {
        let thought = (self.thought.iter())
            .map(|secret| json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": secret}));
        let words = self.text.iter().map(|text| json!({"type": "output_text", "text": text, "annotations": []}));
        let content: Vec<Json> =
            words.chain(self.refusal.iter().map(|text| json!({"type": "refusal", "refusal": text}))).collect();
        let message = (!content.is_empty())
            .then(|| json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": content}));
        let calls = self.calls.iter().enumerate().map(|(n, (id, name, arguments))| {
            json!({"id": format!("fc_{n}"), "type": "function_call", "status": "completed", "call_id": id, "name": name,
                "arguments": arguments})
        });
        thought.chain(message).chain(calls).collect()
    }

    fn response_events(&self, model: &str) -> Vec<Json> {
        let whole = self.response(model);
        let mut begun = whole.clone();
        begun["status"] = "in_progress".into();
        begun["output"] = json!([]);
        let mut events = vec![
            json!({"type": "response.created", "response": begun}),
            json!({"type": "response.in_progress", "response": begun}),
        ];
        for (n, item) in self.items().into_iter().enumerate() {
            let kind = item["type"].as_str().unwrap_or_default().to_owned();
            events.push(json!({"type": "response.output_item.added", "output_index": n, "item": {"type": kind}}));
            if let Some(text) = item["content"][0]["text"].as_str() {
                let told = |text: &str| json!({"type": "response.output_text.delta", "output_index": n, "delta": text});
                events.extend(halves(text).map(told));
            }
            if let Some(arguments) = item["arguments"].as_str() {
                let told =
                    |text: &str| json!({"type": "response.function_call_arguments.delta", "output_index": n, "delta": text});
                events.extend(halves(arguments).map(told));
            }
            events.push(json!({"type": "response.output_item.done", "output_index": n, "item": item}));
        }
        let last = format!("response.{}", whole["status"].as_str().unwrap_or_default());
        events.push(json!({"type": last, "response": whole}));
        for (n, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = n.into();
        }
        events
    }

    fn stop_reason(&self) -> &'static str {
        match self.end {
            End::Done if self.calls.is_empty() => "end_turn",
            End::Done => "tool_use",
            End::Length => "max_tokens",
            End::Filtered | End::Refused => "refusal",
        }
    }

    fn message_usage(&self) -> Option<Json> {
        let (input, output, cached) = self.tokens?;
        Some(json!({"input_tokens": input - cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
            "output_tokens": output}))
    }

    fn message(&self, model: &str) -> Json {
        let thought = self.thought.iter().map(|text| json!({"type": "thinking", "thinking": "Hm.", "signature": text}));
        let words = self.text.iter().filter(|t| !t.is_empty()).map(|text| json!({"type": "text", "text": text}));
        let calls = self.calls.iter().map(|(id, name, arguments)| {
            let input = serde_json::from_str(arguments).unwrap_or(Json::String(arguments.clone()));
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        });
        let content: Vec<Json> = thought.chain(words).chain(calls).collect();
        let mut body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": content,
            "stop_reason": self.stop_reason(), "stop_sequence": null});
        if let Some(usage) = self.message_usage() {
            body["usage"] = usage;
        }
        body
    }

    fn message_events(&self, model: &str) -> Vec<Json> {
        let mut begun = Said { tokens: self.tokens, ..Said::default() }.message(model);
        begun["stop_reason"] = Json::Null;
        let mut events = vec![json!({"type": "message_start", "message": begun}), json!({"type": "ping"})];
        let mut add = |n: usize, begin: Json, deltas: Vec<Json>| {
            events.push(json!({"type": "content_block_start", "index": n, "content_block": begin}));
            events.extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": n, "delta": delta})));
            events.push(json!({"type": "content_block_stop", "index": n}));
        };
        let mut n = 0;
        for secret in self.thought.iter() {
            let deltas = vec![
                json!({"type": "thinking_delta", "thinking": "Hm."}),
                json!({"type": "signature_delta", "signature": secret}),
            ];
            add(n, json!({"type": "thinking", "thinking": "", "signature": ""}), deltas);
            n += 1;
        }
        for text in self.text.iter().filter(|t| !t.is_empty()) {
            let deltas = halves(text).map(|text| json!({"type": "text_delta", "text": text})).collect();
            add(n, json!({"type": "text", "text": ""}), deltas);
            n += 1;
        }
        for (id, name, arguments) in &self.calls {
            let deltas = halves(arguments).map(|t| json!({"type": "input_json_delta", "partial_json": t})).collect();
            add(n, json!({"type": "tool_use", "id": id, "name": name, "input": {}}), deltas);
            n += 1;
        }
        let mut last = json!({"type": "message_delta", "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null}});
        if let Some(usage) = self.message_usage() {
            last["usage"] = usage;
        }
        events.extend([last, json!({"type": "message_stop"})]);
        events
    }
}

/// A text in two pieces, cut between characters.
fn halves(text: &str) -> impl Iterator<Item = &str> {
    let middle = text.char_indices().nth(text.chars().count() / 2).map_or(text.len(), |(at, _)| at);
    let (a, b) = text.split_at(middle);
    [a, b].into_iter().filter(|piece| !piece.is_empty())
}

/// Events as they are written.
pub fn sse(events: &[(Option<String>, String)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, data) in events {
        if let Some(name) = name {
            text += &format!("event: {name}\n");
        }
        text += &format!("data: {data}\n\n");
    }
    text.into_bytes()
}

/// The head of an answer; its headers end here.
pub fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Told\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// A whole answer of JSON, with further headers.
pub fn plain(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let length = body.len().to_string();
    let mut all = vec![("content-type", "application/json"), ("content-length", &length)];
    for header in headers {
        all.retain(|(name, _)| name != &header.0);
        all.push(*header);
    }
    let mut bytes = head(status, &all);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// An answer in chunks, with its end.
pub fn chunked(kind: &str, pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = head(200, &[("content-type", kind), ("transfer-encoding", "chunked")]);
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
