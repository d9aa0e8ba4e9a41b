//! Answers that are given again: only where a scenario asks for it (`models.*.cache`) at temperature 0, only for the very same
//! request, and never passed off as fresh: `answered_by: cache`, with the age. moka's one home.

use std::sync::Arc;

use async_trait::async_trait;
use commedia_domain::event::{AnsweredBy, Usage};
use commedia_domain::run::ModelRequest;
use moka::sync::Cache as Answers;

use crate::clock::WallClock;
use crate::model::cassette::{canonical, key};
use crate::model::{Answer, Deltas, Model, ModelError};

/// Memory the answers of a process may take, bytes.
const MAX_BYTES: u64 = 64 << 20;

/// A model whose answers are kept for a while.
pub struct Cache {
    inner: Arc<dyn Model>,
    clock: WallClock,
    answers: Answers<String, Arc<Kept>>,
}

/// An answer and when it came, milliseconds since 1970 UTC.
struct Kept {
    answer: Answer,
    at: i64,
}

impl Cache {
    /// A cache before a model.
    pub fn new(inner: Arc<dyn Model>, clock: WallClock) -> Cache {
        let weigh = |key: &String, kept: &Arc<Kept>| u32::try_from(key.len() + weight(&kept.answer)).unwrap_or(u32::MAX);
        Cache { inner, clock, answers: Answers::builder().weigher(weigh).max_capacity(MAX_BYTES).build() }
    }

    /// The answer that was kept, with its age, where it is young enough.
    fn kept(&self, key: &str, at_most_ms: u64) -> Option<Answer> {
        let kept = self.answers.get(key)?;
        // A clock that was set back makes no answer younger than new.
        let age = u64::try_from(self.clock.now_ms() - kept.at).unwrap_or(0);
        if age > at_most_ms {
            self.answers.invalidate(key);
            return None;
        }
        let mut answer = kept.answer.clone();
        answer.by = AnsweredBy::Cache;
        answer.usage = Usage::default();
        if let Some(source) = &mut answer.source {
            source.age_ms = Some(age);
            source.cached_tokens = 0;
        }
        Some(answer)
    }
}

/// About how many bytes an answer takes.
fn weight(answer: &Answer) -> usize {
    let calls: usize = answer.calls.iter().map(|(id, name, input)| id.len() + name.len() + input.weight()).sum();
    let source = answer.source.as_ref().map_or(0, |s| s.model.len() + s.reasoning.as_ref().map_or(0, |r| r.weight()));
    128 + answer.text.as_ref().map_or(0, String::len) + calls + source
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache(..)")
    }
}

#[async_trait]
impl Model for Cache {
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let for_ms = request.alias.as_ref().and_then(|alias| alias.cache_ms).filter(|_| request.temperature == Some(0.0));
        let Some(for_ms) = for_ms else { return self.inner.answer(request, deltas).await };
        let key = key(&canonical(request));
        if let Some(answer) = self.kept(&key, for_ms) {
            if let (Some(deltas), Some(text)) = (deltas, &answer.text) {
                deltas.tell(text);
            }
            return Ok(answer);
        }
        let answer = self.inner.answer(request, deltas).await?;
        // Only what a model outside the process said is worth keeping, and only it has a source to name.
        if answer.by == AnsweredBy::Model && answer.source.is_some() {
            self.answers.insert(key, Arc::new(Kept { answer: answer.clone(), at: self.clock.now_ms() }));
        }
        Ok(answer)
    }

    fn left_alone(&self) -> Vec<Arc<str>> {
        self.inner.left_alone()
    }
}
