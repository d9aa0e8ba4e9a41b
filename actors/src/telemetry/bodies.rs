//! What was said, as the conventions write it in attributes: JSON text, bounded. Only where the settings ask for it.

use commedia_domain::event::Answered;
use commedia_domain::message::{Call, Chat};
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde_json::{Value as Json, json};

/// Bytes of one text.
const TEXT: usize = 8 * 1024;
/// Bytes of all messages of a request; the newest ones stay.
const MESSAGES: usize = 64 * 1024;

/// The system's words.
pub(super) fn instructions(request: &ModelRequest) -> String {
    json!([{"type": "text", "content": bounded(request.instructions.clone())}]).to_string()
}

/// The conversation, oldest first: as much of its end as there is room for.
pub(super) fn conversation(request: &ModelRequest) -> String {
    let mut room = MESSAGES;
    let mut newest = Vec::new();
    for chat in request.messages.iter().rev() {
        let Some(message) = message(chat).map(|json| json.to_string()) else { continue };
        if message.len() > room {
            break;
        }
        room -= message.len();
        newest.push(message);
    }
    newest.reverse();
    format!("[{}]", newest.join(","))
}

fn message(chat: &Chat) -> Option<Json> {
    let (role, parts) = match chat {
        Chat::User { text } => ("user", vec![words(text.value())]),
        Chat::Assistant { text, calls, .. } => ("assistant", parts(text.value(), calls)),
        Chat::Tool { call_id, content, .. } => {
            ("tool", vec![json!({"type": "tool_call_response", "id": call_id, "response": text_of(content.value())})])
        }
        Chat::Reasoning { .. } => return None,
    };
    Some(json!({"role": role, "parts": parts}))
}

/// What a model answered.
pub(super) fn answer(answered: &Answered<'_>, finish: &str) -> String {
    json!([{"role": "assistant", "parts": parts(answered.text.value(), answered.calls), "finish_reason": finish}]).to_string()
}

fn parts(text: &Value, calls: &[Call]) -> Vec<Json> {
    let called =
        |call: &Call| json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": text_of(call.input.value())});
    let said = (*text != Value::Null).then(|| words(text));
    said.into_iter().chain(calls.iter().map(called)).collect()
}

fn words(text: &Value) -> Json {
    json!({"type": "text", "content": text_of(text)})
}

/// A value as text: strings as they are, all else as JSON.
pub(super) fn text_of(value: &Value) -> String {
    bounded(value.as_str().map_or_else(|| value.to_json_text(), str::to_owned))
}

/// A text that is not too long; what is left off is counted.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > TEXT {
        let at = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let rest = text.len() - at;
        text.truncate(at);
        text.push_str(&format!("… ({rest} bytes left off)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let cut = bounded("ä".repeat(TEXT));
        assert!(cut.len() < TEXT + 64 && cut.ends_with(&format!("… ({TEXT} bytes left off)")), "{}", &cut[TEXT - 8..]);
        assert_eq!(bounded("short".into()), "short");
    }
}
