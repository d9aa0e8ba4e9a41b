//! Whoever answers a model step. One file each; this one only says what all have in common.

mod anthropic;
pub mod cache;
pub mod cassette;
pub mod chat;
mod completion;
mod draft;
pub mod endpoint;
mod exchange;
pub mod gateway;
mod messages;
mod openai;
mod output;
pub mod peer;
mod responses;
mod retry_after;
mod sse;
mod stream;
pub mod stub;
mod veil;
mod voice;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use commedia_domain::body::{BlobKey, Body};
use commedia_domain::event::{AnsweredBy, Failure, FailureClass, Reply, StepOutcome, Usage};
use commedia_domain::message::Call;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;

/// A model that answers requests: whatever it takes, with its limits, retries and fallbacks.
///
/// Cancellable: dropping the future ends the call, and nothing of it may go on. The caller sets the deadline. An answer
/// always reports its usage.
#[async_trait]
pub trait Model: Send + Sync {
    /// One answer. Pieces of it are told as they come where somebody listens; the answer holds everything all the same.
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError>;

    /// The endpoints that failed so often that they are not asked just now, by name.
    fn left_alone(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// One endpoint of a provider, in one of its interfaces: a request to its wire format and the answer back, once. No retries,
/// no limits and no fallbacks of its own: those are the gateway's.
///
/// Cancellable: dropping the future closes the connection or gives it back.
#[async_trait]
pub trait Provider: Send + Sync {
    /// One attempt, with the provider's name of the model. Streamed where somebody listens. Bounded in memory whatever the
    /// endpoint sends, and in time by the provider's own time-outs (connect, first byte, between chunks, total).
    async fn attempt(&self, model: &str, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError>;
}

/// Where pieces of an answer are told while they come. They are no events: they have no seq, and are not stored.
#[derive(Clone)]
pub struct Deltas(Arc<dyn Fn(&str) + Send + Sync>);

impl Deltas {
    /// Tells a function, which must not wait.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Deltas {
        Deltas(Arc::new(tell))
    }

    /// A piece of the answer's words; an empty one says that the answer begins anew.
    pub fn tell(&self, text: &str) {
        (self.0)(text);
    }
}

impl fmt::Debug for Deltas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deltas(..)")
    }
}

/// A model's answer: words, calls, or both.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its words; `None` where it only called.
    pub text: Option<String>,
    /// Calls: id, name, input.
    pub calls: Vec<(String, String, Value)>,
    /// Tokens and money.
    pub usage: Usage,
    /// Who answered.
    pub by: AnsweredBy,
    /// Who it was outside the process, and what else it said of itself; `None`: the stub.
    pub source: Option<Source>,
}

/// What is known of an answer that came from outside the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Who it was, as `provider:model`.
    pub model: String,
    /// The provider's word for why it ended.
    pub finish: String,
    /// Of the tokens in, those the provider had cached.
    pub cached_tokens: u64,
    /// What the model thought, as its provider wants it back.
    pub reasoning: Option<Value>,
    /// How old a cache's answer is, milliseconds.
    pub age_ms: Option<u64>,
    /// Why those did not answer that were asked before; the gateway says it.
    pub instead: Option<String>,
}

/// Why there is no answer. Its words name the endpoint and the remedy, and never hold a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What kind of error it is, by what the caller can do.
    pub kind: ModelErrorKind,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What happened, and the remedy.
    pub message: String,
}

/// What kind of error it is, by what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelErrorKind {
    /// No connection, or it broke: trying again may help.
    Transport,
    /// Too many requests (429): trying again later helps.
    RateLimited,
    /// The endpoint is broken or overloaded (5xx, 529): trying again may help.
    Overloaded,
    /// A time-out passed: trying again may help.
    Timeout,
    /// The answer could not be read, or was cut off: trying again may help.
    Malformed,
    /// The request is refused (400, 404, 413, 422, …): trying again cannot help.
    Refused,
    /// The key is wrong or lacks a right (401, 403): trying again cannot help.
    Unauthorized,
    /// The account's quota is used up: trying again cannot help.
    Quota,
    /// The endpoint is left alone for now, because it failed too often.
    Open,
    /// A recording has no answer to this request.
    Miss,
}

impl ModelErrorKind {
    /// The word metrics and reports know it by.
    pub fn word(self) -> &'static str {
        match self {
            ModelErrorKind::Transport => "transport",
            ModelErrorKind::RateLimited => "rate_limited",
            ModelErrorKind::Overloaded => "overloaded",
            ModelErrorKind::Timeout => "timeout",
            ModelErrorKind::Malformed => "malformed",
            ModelErrorKind::Refused => "refused",
            ModelErrorKind::Unauthorized => "unauthorized",
            ModelErrorKind::Quota => "quota",
            ModelErrorKind::Open => "open",
            ModelErrorKind::Miss => "miss",
        }
    }

    /// The kind of a word.
    pub fn of_word(word: &str) -> Option<ModelErrorKind> {
        use ModelErrorKind::*;
        let all = [Transport, RateLimited, Overloaded, Timeout, Malformed, Refused, Unauthorized, Quota, Open, Miss];
        all.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether the same request may succeed when it is sent again.
    pub fn is_transient(self) -> bool {
        use ModelErrorKind::*;
        matches!(self, Transport | RateLimited | Overloaded | Timeout | Malformed)
    }
}

impl ModelError {
    /// An error of a kind.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> ModelError {
        ModelError { kind, status: None, retry_after: None, message: message.into() }
    }

    /// The answer could not be read.
    pub fn malformed(message: impl Into<String>) -> ModelError {
        ModelError::new(ModelErrorKind::Malformed, message)
    }

    /// The request is refused.
    pub fn refused(message: impl Into<String>) -> ModelError {
        ModelError::new(ModelErrorKind::Refused, message)
    }
}

/// An answer or its failure as the outcome of a step.
pub fn outcome(answer: Result<Answer, ModelError>, blobs: &BlobKey) -> StepOutcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(e) => {
            let class = if e.kind == ModelErrorKind::Timeout { FailureClass::Timeout } else { FailureClass::Model };
            return StepOutcome::Failed(Failure { class, message: e.message.into() });
        }
    };
    let text = Body::new(answer.text.map_or(Value::Null, Value::text), blobs);
    let calls = answer.calls.into_iter();
    let calls =
        calls.map(|(id, name, input)| Call { id: id.into(), name: name.into(), input: Body::new(input, blobs) }).collect();
    let (by, usage) = (answer.by, answer.usage);
    match answer.source {
        None => StepOutcome::Answered { text, calls, by, usage },
        Some(source) => StepOutcome::Replied(Box::new(Reply {
            text,
            calls,
            by,
            usage,
            cached_tokens: source.cached_tokens,
            model: source.model.into(),
            finish: source.finish.into(),
            reasoning: source.reasoning.map(|items| Body::new(items, blobs)),
            age_ms: source.age_ms,
            instead: source.instead.map(Into::into),
        })),
    }
}
