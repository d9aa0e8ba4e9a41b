//! An answer as it is gathered, whatever the interface and however it came; and when it is one. Whatever is missing, doubled
//! or cut off is settled here, the same for all.

use std::collections::BTreeSet;

use commedia_domain::event::{AnsweredBy, Usage};
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use serde_json::Value as Json;

use crate::model::veil::Veil;
use crate::model::voice::Voice;
use crate::model::{Answer, ModelError, ModelErrorKind, Source};

/// Calls an answer may hold.
pub(crate) const MAX_CALLS: usize = 128;
/// About so many bytes make a token, where an endpoint does not count them itself.
const BYTES_OF_A_TOKEN: usize = 4;

/// What was gathered of an answer.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// Its words.
    pub(crate) text: Option<String>,
    /// What it says where it refuses to answer.
    pub(crate) refusal: Option<String>,
    /// Its calls.
    pub(crate) calls: Vec<Asked>,
    /// Why it ended; empty while it did not.
    pub(crate) finish: String,
    /// Tokens, where the endpoint counts them.
    pub(crate) tokens: Option<Tokens>,
    /// What the model thought, as the provider wants it back.
    pub(crate) reasoning: Vec<Json>,
}

/// A call as it came.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Input,
}

/// A call's input: JSON in a text, or JSON.
#[derive(Debug)]
pub(crate) enum Input {
    Text(String),
    Json(Json),
}

impl Default for Input {
    fn default() -> Input {
        Input::Text(String::new())
    }
}

impl From<Json> for Input {
    fn from(json: Json) -> Input {
        match json {
            Json::String(text) => Input::Text(text),
            Json::Null => Input::default(),
            json => Input::Json(json),
        }
    }
}

impl Asked {
    /// A further piece of the input's text.
    pub(crate) fn add(&mut self, piece: &str) {
        match &mut self.input {
            Input::Text(text) => text.push_str(piece),
            Input::Json(_) => self.input = Input::Text(piece.to_owned()),
        }
    }
}

/// Tokens as an endpoint counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
}

/// What an answer belongs to.
pub(crate) struct Context<'a> {
    pub(crate) voice: &'a Voice,
    pub(crate) model: &'a str,
    pub(crate) request: &'a ModelRequest,
    /// Bytes of the request.
    pub(crate) sent: usize,
}

impl Context<'_> {
    /// Who is asked, as `provider:model`.
    pub(crate) fn who(&self) -> String {
        who(self.voice.provider(), self.model)
    }
}

/// A model's full name.
pub(crate) fn who(provider: &str, model: &str) -> String {
    format!("{provider}:{model}")
}

/// What a model thought, marked with whose it is: no other model is given it.
pub(crate) fn mark(who: &str, items: &[Json]) -> Value {
    let items = Value::list(items.iter().map(Value::from_json));
    Value::object([("from", Value::text(who)), ("items", items)])
}

/// What a model thought, if it is this model's.
pub(crate) fn marked<'a>(who: &str, kept: &'a Value) -> impl Iterator<Item = &'a Value> + use<'a> {
    let own = kept.get("from").and_then(Value::as_str) == Some(who);
    let items = kept.get("items").filter(|_| own);
    items.into_iter().flat_map(|items| match items {
        Value::List(items) => items.iter(),
        _ => [].iter(),
    })
}

impl Draft {
    /// More of its words.
    pub(crate) fn say(&mut self, piece: &str) {
        self.text.get_or_insert_default().push_str(piece);
    }

    /// The call at a place, made where it is new.
    pub(crate) fn call(&mut self, place: usize, voice: &Voice) -> Result<&mut Asked, ModelError> {
        if place >= MAX_CALLS {
            return Err(too_many(voice));
        }
        if self.calls.len() <= place {
            self.calls.resize_with(place + 1, Asked::default);
        }
        Ok(&mut self.calls[place])
    }

    /// The answer, if it is one.
    pub(crate) fn settle(mut self, of: &Context<'_>) -> Result<Answer, ModelError> {
        let voice = of.voice;
        self.judge(voice)?;
        self.hide(&voice.veil());
        self.calls.retain(|call| !(call.name.is_empty() && call.id.is_empty()));
        if self.calls.len() > MAX_CALLS {
            return Err(too_many(voice));
        }
        let said = self.text.as_ref().map_or(0, String::len);
        let text = self.text.filter(|text| !text.is_empty() || self.calls.is_empty());
        let text = text.map(|text| if of.request.output.is_some() { unfenced(text) } else { text });
        if text.is_none() && self.calls.is_empty() {
            return Err(voice.malformed("gave an empty answer: neither words nor calls"));
        }
        let asked = self.calls.len();
        let mut calls = Vec::with_capacity(asked);
        let mut taken = BTreeSet::new();
        for (n, call) in self.calls.into_iter().enumerate() {
            let input = read_input(&call, voice)?;
            let id = unique(call.id, &mut taken, || format!("call_{}_{n}", of.request.step).replace('.', "_"));
            calls.push((id, call.name, input));
        }
        let counted = self.tokens.unwrap_or_else(|| Tokens {
            input: of.sent.div_ceil(BYTES_OF_A_TOKEN) as u64,
            output: (said.div_ceil(BYTES_OF_A_TOKEN) + 16 * asked) as u64,
            cached: 0,
        });
        let usage = Usage { model_calls: 1, tokens_in: counted.input, tokens_out: counted.output, cost_usd: 0.0 };
        let model = of.who();
        let reasoning = (!self.reasoning.is_empty()).then(|| mark(&model, &self.reasoning));
        let source = Source { model, finish: self.finish, cached_tokens: counted.cached, reasoning, age_ms: None, instead: None };
        Ok(Answer { text, calls, usage, by: AnsweredBy::Model, source: Some(source) })
    }

    /// Takes keys out of all that is kept of it.
    fn hide(&mut self, veil: &Veil<'_>) {
        self.text.iter_mut().for_each(|text| veil.over(text));
        for call in &mut self.calls {
            veil.over(&mut call.id);
            veil.over(&mut call.name);
            match &mut call.input {
                Input::Text(text) => veil.over(text),
                Input::Json(json) => veil.over_json(json),
            }
        }
        self.reasoning.iter_mut().for_each(|item| veil.over_json(item));
    }

    /// Whether it ended, and well.
    fn judge(&self, voice: &Voice) -> Result<(), ModelError> {
        use ModelErrorKind::{Overloaded, Refused};
        if let Some(words) = self.refusal.as_deref().filter(|words| !words.is_empty()) {
            return Err(voice.error(Refused, format_args!("refused to answer (refusal): {}", voice.clean(words))));
        }
        match &*self.finish {
            "" => Err(voice.malformed("cut its answer off: it has no finish reason")),
            "length" | "max_tokens" | "max_output_tokens" => {
                Err(voice.malformed(format_args!("cut its answer off ({}): raise max_output_tokens", self.finish)))
            }
            "model_context_window_exceeded" => {
                Err(voice.error(Refused, "reached the end of the model's context: shorten the history"))
            }
            "content_filter" => Err(voice.error(Refused, "filtered the answer's content (content_filter)")),
            "refusal" => Err(voice.error(Refused, "refused to answer (refusal)")),
            "error" => Err(voice.error(Overloaded, "failed in the middle of its answer")),
            _ => Ok(()),
        }
    }
}

fn too_many(voice: &Voice) -> ModelError {
    voice.malformed(format_args!("asked for more than {MAX_CALLS} calls at once"))
}

fn read_input(call: &Asked, voice: &Voice) -> Result<Value, ModelError> {
    match &call.input {
        Input::Json(json) => Ok(Value::from_json(json)),
        Input::Text(text) if text.trim().is_empty() => Ok(Value::object::<&str>([])),
        Input::Text(text) => Value::from_json_text(text).map_err(|e| {
            voice.malformed(format_args!("called `{}` with arguments that are no JSON: {e}", voice.clean(&call.name)))
        }),
    }
}

/// An id that no other call of the answer has; one that is missing is made of the call's place.
fn unique(id: String, taken: &mut BTreeSet<String>, made: impl Fn() -> String) -> String {
    let base = if id.trim().is_empty() { made() } else { id };
    let mut id = base.clone();
    for n in 2.. {
        if taken.insert(id.clone()) {
            break;
        }
        id = format!("{base}_{n}");
    }
    id
}

/// JSON out of the fence that models like to put around it.
fn unfenced(text: String) -> String {
    let body = text.trim();
    let inside = body.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inside.map(|inside| inside.strip_prefix("json").unwrap_or(inside).trim()) {
        Some(inside) => inside.to_owned(),
        None => text,
    }
}
