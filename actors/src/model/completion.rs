//! Answers of Chat Completions, whole or in pieces, as OpenAI gives them and as other servers do who say they speak it too.
//! (<https://platform.openai.com/docs/api-reference/chat/object>,
//! <https://platform.openai.com/docs/api-reference/chat-streaming>)

use serde::Deserialize;
use serde_json::Value as Json;

use crate::model::ModelError;
use crate::model::draft::{Asked, Draft, Input, Tokens};
use crate::model::stream::{Fold, Step};
use crate::model::voice::Voice;

/// A completion, or a piece of one. Everything may be missing.
#[derive(Deserialize)]
pub(crate) struct Completion {
    choices: Option<Vec<Choice>>,
    usage: Option<Counted>,
    error: Option<Json>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    message: Option<Said>,
    delta: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Said {
    content: Option<Json>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    index: Option<usize>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<Json>,
}

#[derive(Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Counted {
    fn tokens(&self) -> Option<Tokens> {
        let cached = self.prompt_tokens_details.as_ref().and_then(|d| d.cached_tokens).unwrap_or(0);
        Some(Tokens { input: self.prompt_tokens?, output: self.completion_tokens.unwrap_or(0), cached })
    }
}

/// The words of a content: a text, or parts with texts.
fn words(content: Option<Json>) -> Option<String> {
    match content? {
        Json::String(text) => Some(text),
        Json::Array(parts) => {
            Some(parts.iter().filter_map(|part| part.get("text").and_then(Json::as_str)).collect::<Vec<_>>().concat())
        }
        _ => None,
    }
}

impl Completion {
    /// What a whole completion holds: its first choice.
    pub(crate) fn draft(self, voice: &Voice) -> Result<Draft, ModelError> {
        if let Some(error) = self.error.filter(|e| !e.is_null()) {
            return Err(voice.told(&error));
        }
        let tokens = self.usage.and_then(|u| u.tokens());
        let choice = self.choices.into_iter().flatten().next();
        let choice = choice.ok_or_else(|| voice.malformed("gave an answer without choices"))?;
        let said = choice.message.unwrap_or_default();
        let mut draft = Draft {
            text: words(said.content),
            refusal: said.refusal,
            finish: choice.finish_reason.unwrap_or_default(),
            tokens,
            ..Draft::default()
        };
        for (place, call) in said.tool_calls.into_iter().flatten().enumerate() {
            let asked = draft.call(place, voice)?;
            asked.id = call.id.unwrap_or_default();
            if let Some(function) = call.function {
                asked.name = function.name.unwrap_or_default();
                asked.input = function.arguments.map_or_else(Input::default, Input::from);
            }
        }
        Ok(draft)
    }
}

/// A completion from its pieces.
#[derive(Default)]
pub(crate) struct Pieces {
    draft: Draft,
}

impl Fold for Pieces {
    fn take(&mut self, data: &[u8], voice: &Voice, tell: &mut dyn FnMut(&str)) -> Result<Step, ModelError> {
        if data == b"[DONE]" {
            return Ok(Step::Over);
        }
        let piece: Completion = match serde_json::from_slice(data) {
            Ok(piece) => piece,
            Err(e) => return Err(voice.malformed(format_args!("sent a piece of an answer that cannot be read: {e}"))),
        };
        if let Some(error) = piece.error.filter(|e| !e.is_null()) {
            return Err(voice.told(&error));
        }
        let tokens = piece.usage.and_then(|u| u.tokens());
        let counted = tokens.is_some();
        self.draft.tokens = tokens.or(self.draft.tokens);
        let Some(choices) = piece.choices else { return Ok(if counted { Step::Known } else { Step::Unknown }) };
        for choice in choices.into_iter().filter(|choice| choice.index == 0) {
            let said = choice.delta.or(choice.message).unwrap_or_default();
            if let Some(text) = words(said.content).filter(|text| !text.is_empty()) {
                tell(&text);
                self.draft.say(&text);
            }
            if let Some(text) = said.refusal {
                self.draft.refusal.get_or_insert_default().push_str(&text);
            }
            for call in said.tool_calls.into_iter().flatten() {
                self.add(call, voice)?;
            }
            if let Some(finish) = choice.finish_reason {
                self.draft.finish = finish;
            }
        }
        Ok(Step::Known)
    }

    fn ended(&self) -> bool {
        !self.draft.finish.is_empty()
    }

    fn draft(self: Box<Self>) -> Draft {
        self.draft
    }
}

impl Pieces {
    /// A piece of a call. A server that does not number its calls sends each whole.
    fn add(&mut self, call: Call, voice: &Voice) -> Result<(), ModelError> {
        let last = self.draft.calls.len();
        let names_one = call.function.as_ref().is_some_and(|f| f.name.as_ref().is_some_and(|name| !name.is_empty()));
        let mut place = call.index.unwrap_or(if names_one { last } else { last.saturating_sub(1) });
        let other = |there: &Asked| call.id.as_ref().is_some_and(|id| !id.is_empty() && !there.id.is_empty() && *id != there.id);
        // Some give the same number to each.
        if names_one && self.draft.calls.get(place).is_some_and(other) {
            place = last;
        }
        let asked = self.draft.call(place, voice)?;
        if asked.id.is_empty() {
            asked.id = call.id.unwrap_or_default();
        }
        let Some(function) = call.function else { return Ok(()) };
        if asked.name.is_empty() {
            asked.name = function.name.unwrap_or_default();
        }
        match function.arguments {
            Some(Json::String(piece)) => asked.add(&piece),
            Some(Json::Null) | None => {}
            Some(json) => asked.input = Input::Json(json),
        }
        Ok(())
    }
}
