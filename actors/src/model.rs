//! Whoever answers a model step. One file each; this one only says what all have in common.

pub mod chat;
pub mod stub;

use std::sync::Arc;

use async_trait::async_trait;
use commedia_domain::body::{BlobKey, Body};
use commedia_domain::event::{AnsweredBy, Failure, FailureClass, StepOutcome, Usage};
use commedia_domain::message::Call;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;

/// A model that answers requests.
///
/// Cancellable: dropping the future ends the call, and nothing of it may go on. The caller sets the deadline. An answer
/// always reports its usage.
#[async_trait]
pub trait Model: Send + Sync {
    /// One answer.
    async fn answer(&self, request: &ModelRequest) -> Result<Answer, ModelError>;
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
}

/// Why there is no answer, by what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Trying again may help.
    #[error("{0}")]
    Transient(String),
    /// Trying again cannot help: the request or the key is refused.
    #[error("{0}")]
    Permanent(String),
    /// The answer could not be read.
    #[error("the model's answer could not be read: {0}")]
    Malformed(String),
}

/// An answer or its failure as the outcome of a step.
pub fn outcome(answer: Result<Answer, ModelError>, blobs: &BlobKey) -> StepOutcome {
    match answer {
        Ok(answer) => StepOutcome::Answered {
            text: Body::new(answer.text.map_or(Value::Null, Value::text), blobs),
            calls: (answer.calls.into_iter())
                .map(|(id, name, input)| Call { id: id.into(), name: name.into(), input: Body::new(input, blobs) })
                .collect(),
            by: answer.by,
            usage: answer.usage,
        },
        Err(e) => StepOutcome::Failed(Failure { class: FailureClass::Model, message: Arc::from(e.to_string()) }),
    }
}
