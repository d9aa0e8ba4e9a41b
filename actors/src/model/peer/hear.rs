//! What the peer understands of a request: enough to answer it as the stub would.

use serde_json::Value as Json;

use crate::model::endpoint::Wire;

/// Where a schema that is asked for in words begins.
const SCHEMA_FOLLOWS: &str = "JSON Schema: ";

/// A request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its path with its query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Json,
    /// Which interface it is for.
    pub wire: Wire,
    /// Whether a stream is asked for.
    pub stream: bool,
}

/// Path and headers of a request's head.
pub(super) fn head(text: &str) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = text.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((path, headers.collect()))
}

impl Heard {
    pub(super) fn new(path: String, headers: Vec<(String, String)>, body: &[u8]) -> Heard {
        let body: Json = serde_json::from_slice(body).unwrap_or_default();
        let at = path.split('?').next().unwrap_or_default();
        let wire = match () {
            () if at.ends_with("/responses") => Wire::Responses,
            () if at.ends_with("/messages") => Wire::Messages,
            () => Wire::Chat,
        };
        let stream = body.get("stream").and_then(Json::as_bool).unwrap_or(false);
        Heard { path, headers, body, wire, stream }
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        self.body.get("model").and_then(Json::as_str).unwrap_or("peer")
    }

    /// The offered tools: name and schema of the input.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &Json)> {
        items(&self.body["tools"]).filter_map(|tool| match self.wire {
            Wire::Chat => Some((tool["function"]["name"].as_str()?, &tool["function"]["parameters"])),
            Wire::Responses => Some((tool["name"].as_str()?, &tool["parameters"])),
            Wire::Messages => Some((tool["name"].as_str()?, &tool["input_schema"])),
        })
    }

    /// What was called so far, oldest first; `None` where words ended a turn.
    pub fn called(&self) -> Vec<Option<&str>> {
        let mut found = Vec::new();
        match self.wire {
            Wire::Chat => {
                for message in items(&self.body["messages"]).filter(|m| m["role"] == "assistant") {
                    let mut calls = items(&message["tool_calls"]).map(|call| call["function"]["name"].as_str()).peekable();
                    match calls.peek() {
                        Some(_) => found.extend(calls),
                        None => found.push(None),
                    }
                }
            }
            Wire::Responses => {
                let own = |item: &&Json| item["role"] == "assistant" || item["type"] == "function_call";
                found.extend(items(&self.body["input"]).filter(own).map(|item| item["name"].as_str()));
            }
            Wire::Messages => {
                for message in items(&self.body["messages"]).filter(|m| m["role"] == "assistant") {
                    found.extend(items(&message["content"]).map(|block| block["name"].as_str()));
                }
            }
        }
        found
    }

    /// The schema of the final output, said by the interface's own means or in words.
    pub fn output(&self) -> Option<Json> {
        let (own, words) = match self.wire {
            Wire::Chat => (&self.body["response_format"]["json_schema"]["schema"], &self.body["messages"][0]["content"]),
            Wire::Responses => (&self.body["text"]["format"]["schema"], &self.body["instructions"]),
            Wire::Messages => (&Json::Null, &self.body["system"]),
        };
        let in_words = || {
            let (_, schema) = words.as_str()?.rsplit_once(SCHEMA_FOLLOWS)?;
            serde_json::from_str(schema).ok()
        };
        if own.is_null() { in_words() } else { Some(own.clone()) }
    }
}

fn items(list: &Json) -> impl Iterator<Item = &Json> {
    list.as_array().into_iter().flatten()
}
