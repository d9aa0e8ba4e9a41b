//! What tests of the wire have in common: a conversation, endpoints at a peer.

use std::sync::Arc;
use std::time::Duration;

use commedia_actors::model::Provider;
use commedia_actors::model::endpoint::{Endpoint, Secret, Wire, connect};
use commedia_domain::body::Body;
use commedia_domain::event::ModelBinding;
use commedia_domain::id::AgentIx;
use commedia_domain::message::{Call, Chat, StepId, TurnId};
use commedia_domain::run::{CallKind, ModelRequest, ToolDefinition};
use commedia_domain::value::Value;
use serde_json::{Value as Json, json};

/// A key that must not be found anywhere.
pub(crate) const PLANTED: &str = "planted-0f9e8d7c6b5a4321";

pub(crate) const WIRES: [Wire; 3] = [Wire::Responses, Wire::Chat, Wire::Messages];

/// Who speaks an interface.
pub(crate) fn provider_of(wire: Wire) -> &'static str {
    match wire {
        Wire::Responses | Wire::Chat => "openai",
        Wire::Messages => "anthropic",
    }
}

/// An endpoint at a peer, with the planted key and time enough.
pub(crate) fn endpoint(wire: Wire, url: &str) -> Endpoint {
    let mut endpoint = Endpoint::new(provider_of(wire), wire, format!("{url}/v1"));
    endpoint.key = Some(Secret::new(PLANTED));
    let long = Duration::from_secs(60);
    (endpoint.timeouts.connect, endpoint.timeouts.first_byte) = (long, long);
    (endpoint.timeouts.between_chunks, endpoint.timeouts.total) = (long, long);
    endpoint
}

pub(crate) fn connected(wire: Wire, url: &str) -> Arc<dyn Provider> {
    connect(endpoint(wire, url)).expect("an endpoint")
}

pub(crate) fn tool(name: &str, schema: Json, kind: CallKind) -> Arc<ToolDefinition> {
    let text = serde_json::value::to_raw_value(&schema).expect("JSON");
    Arc::new(ToolDefinition { name: name.into(), description: format!("What {name} does."), schema, text, kind })
}

/// A request with one word, and a tool.
pub(crate) fn request() -> ModelRequest {
    let open = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}});
    ModelRequest {
        step: StepId { turn: TurnId { wave: 1, index: 0 }, n: 2 },
        agent: "clerk".into(),
        replica: 0,
        binding: ModelBinding::Stub,
        alias: None,
        seed: 1,
        instructions: "You are a clerk.".into(),
        messages: vec![user("Where is order 7?")],
        tools: vec![tool("find_order", open, CallKind::Tool)],
        output: None,
        temperature: None,
        max_output_tokens: None,
        script: Vec::new(),
        asked: 0,
        visited: vec!["clerk".into()],
        timeout_ms: 1000,
        has_fallback: false,
    }
}

pub(crate) fn user(text: &str) -> Chat {
    Chat::User { text: Body::small(Value::text(text)) }
}

pub(crate) fn assistant(text: Option<&str>, calls: &[(&str, &str, &str)]) -> Chat {
    let call = |(id, name, input): &(&str, &str, &str)| Call {
        id: (*id).into(),
        name: (*name).into(),
        input: Body::small(Value::from_json_text(input).expect("JSON")),
    };
    let text = Body::small(text.map_or(Value::Null, Value::text));
    Chat::Assistant { agent: AgentIx(0), text, calls: calls.iter().map(call).collect() }
}

pub(crate) fn result(id: &str, name: &str, content: &str) -> Chat {
    let content = Body::small(Value::from_json_text(content).expect("JSON"));
    Chat::Tool { call_id: id.into(), name: name.into(), content }
}

pub(crate) fn reasoning(from: &str, item: &Json) -> Chat {
    let items = Value::list([Value::from_json(item)]);
    let items = Value::object([("from", Value::text(from)), ("items", items)]);
    Chat::Reasoning { agent: AgentIx(0), items: Body::small(items) }
}
