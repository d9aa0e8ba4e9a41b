//! Model aliases of a scenario.

use std::sync::Arc;

/// A model alias.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAlias {
    /// Its name.
    pub name: Arc<str>,
    /// Who answers.
    pub target: ModelTarget,
    /// Who answers in the same step where this one fails, in order; none of them has further ones of its own.
    pub fallback: Vec<Arc<ModelAlias>>,
    /// Which of the provider's interfaces; its usual one if not said.
    pub api: Option<Api>,
    /// Where the provider is, if not at its usual address.
    pub base_url: Option<Arc<str>>,
    /// How long the answer to the very same request is given again, milliseconds of wall time; only at temperature 0.
    pub cache_ms: Option<u64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Bound of an answer.
    pub max_output_tokens: Option<u32>,
    /// USD per million input and output tokens.
    pub price: Option<(f64, f64)>,
    /// USD per million of the input tokens that the provider had cached; those of input if not said.
    pub cached_price: Option<f64>,
}

/// Which of a provider's interfaces is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions.
    Chat,
}

/// `use:` of a model alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelTarget {
    /// Flag, then environment key, then local Ollama, then none: offline.
    Auto,
    /// The built-in stub.
    Stub,
    /// A provider and its model, such as `openai:gpt-4o-mini`.
    Provider {
        /// `openai azure ollama anthropic`.
        provider: Arc<str>,
        /// The provider's name of the model.
        model: Arc<str>,
    },
}
