//! How an endpoint's failures are told: what kind each is, one line with the provider's name and the remedy, and never a key.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::clock::WallClock;
use crate::model::endpoint::{Endpoint, Secret};
use crate::model::retry_after::pause;
use crate::model::veil::Veil;
use crate::model::{ModelError, ModelErrorKind};
use crate::transport::{Arrival, Fault};

/// Characters of an endpoint's own words that are told.
const TOLD: usize = 200;
/// Characters from which on a secret, or a piece of it, is taken out of what is told: a shorter one would be found everywhere.
const LEAST_HIDDEN: usize = 6;
/// Bytes of a failure's body that are looked at.
const LOOKED_AT: usize = 16 * 1024;

/// Whoever tells of an endpoint's failures.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    provider: Arc<str>,
    key_from: Arc<str>,
    has_key: bool,
    secrets: Vec<Secret>,
    clock: WallClock,
}

/// What an endpoint says of a failure, in any of the shapes in use: OpenAI's, Anthropic's, FastAPI's, Ollama's.
#[derive(Default)]
struct Said {
    words: String,
    /// Its type and its code, in lower case.
    kind: String,
}

#[derive(Deserialize)]
struct Shape {
    error: Option<Json>,
    message: Option<Json>,
    detail: Option<Json>,
}

impl Said {
    fn of(body: &str) -> Said {
        let list = body.trim_start().starts_with('[').then(|| serde_json::from_str::<Vec<Shape>>(body).ok()).flatten();
        let shape = list.and_then(|l| l.into_iter().next()).or_else(|| serde_json::from_str(body).ok());
        let Some(shape) = shape else { return Said { words: body.to_owned(), kind: String::new() } };
        match shape.error.or(shape.message).or(shape.detail) {
            Some(error) => Said::of_error(&error),
            None => Said { words: body.to_owned(), kind: String::new() },
        }
    }

    fn of_error(error: &Json) -> Said {
        let text = |name: &str| match error.get(name) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(code)) => code.to_string(),
            _ => String::new(),
        };
        let words = match error {
            Json::String(words) => words.clone(),
            Json::Object(_) if error.get("message").is_some_and(Json::is_string) => text("message"),
            other => other.to_string(),
        };
        Said { words, kind: format!("{} {}", text("type"), text("code")).to_ascii_lowercase() }
    }

    fn has(&self, parts: &[&str]) -> bool {
        let words = self.words.to_ascii_lowercase();
        parts.iter().any(|part| self.kind.contains(part) || words.contains(part))
    }
}

const QUOTA: [&str; 5] =
    ["insufficient_quota", "exceeded your current quota", "billing_", "credit balance is too low", "insufficient_balance"];
const TOO_LONG: [&str; 5] =
    ["context_length_exceeded", "maximum context length", "prompt is too long", "context window", "exceeds the context"];
const FILTERED: [&str; 3] = ["content_filter", "content_policy", "responsibleaipolicy"];

impl Voice {
    pub(crate) fn new(endpoint: &Endpoint) -> Voice {
        Voice {
            provider: endpoint.provider.clone(),
            key_from: endpoint.key_from.clone(),
            has_key: endpoint.key.is_some(),
            secrets: endpoint.key.iter().chain(endpoint.headers.iter().map(|(_, value)| value)).cloned().collect(),
            clock: WallClock::default(),
        }
    }

    /// What keeps keys out of an answer.
    pub(crate) fn veil(&self) -> Veil<'_> {
        Veil::new(self.secrets.iter().map(Secret::reveal))
    }

    /// The provider's name.
    pub(crate) fn provider(&self) -> &str {
        &self.provider
    }

    /// An error in our own words, which hold nothing of the endpoint's.
    pub(crate) fn error(&self, kind: ModelErrorKind, what: impl std::fmt::Display) -> ModelError {
        ModelError::new(kind, format!("{} {what}", self.provider))
    }

    /// The answer could not be read.
    pub(crate) fn malformed(&self, what: impl std::fmt::Display) -> ModelError {
        self.error(ModelErrorKind::Malformed, what)
    }

    /// Why an answer did not come whole.
    pub(crate) fn fault(&self, fault: Fault) -> ModelError {
        use ModelErrorKind::*;
        match fault {
            Fault::NotConnected(why) => {
                let why = self.clean(&why);
                self.error(Transport, format_args!("cannot be reached: {why}: check base_url, and whether it runs"))
            }
            Fault::Broken(why) => {
                let why = self.clean(&why);
                self.error(Transport, format_args!("broke the connection off: {why}"))
            }
            Fault::Late(what, limit) => {
                let seconds = limit.as_secs_f64();
                self.error(Timeout, format_args!("took too long: {what}, more than {seconds} s"))
            }
            Fault::TooLong(what, bound) => self.malformed(format_args!("sent too much: {what} has more than {bound} bytes")),
        }
    }

    /// The error of an answer whose status is no success. Reads its body within a bound.
    pub(crate) async fn refusal(&self, mut arrival: Arrival) -> ModelError {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = arrival.chunk().await {
            let chunk = chunk.as_ref();
            body.extend_from_slice(&chunk[..chunk.len().min(LOOKED_AT - body.len())]);
            if body.len() == LOOKED_AT {
                break;
            }
        }
        let status = arrival.status();
        let mut error = self.judged(status, &Said::of(&String::from_utf8_lossy(&body)));
        error.status = Some(status);
        if error.kind.is_transient() {
            error.retry_after = pause(|name| arrival.header(name), self.clock.now_ms());
        }
        error
    }

    fn judged(&self, status: u16, said: &Said) -> ModelError {
        use ModelErrorKind::*;
        let told = match self.clean(&said.words) {
            told if told.is_empty() => String::new(),
            told => format!(": {told}"),
        };
        let from = &self.key_from;
        let (kind, what) = match status {
            300..=399 => {
                let what = format!("answered {status}, a redirect, which is not followed: set base_url to where it leads");
                return self.error(Refused, what);
            }
            401 if !self.has_key => (Unauthorized, format!("wants a key ({status}): set {from}")),
            401 => (Unauthorized, format!("refused the key ({status}): check {from}")),
            402 | 429 if status == 402 || said.has(&QUOTA) => {
                (Quota, format!("says that the quota is used up ({status}): check the plan and its billing"))
            }
            400 | 403 if said.has(&QUOTA) => {
                (Quota, format!("says that the quota is used up ({status}): check the plan and its billing"))
            }
            400 | 403 | 422 if said.has(&FILTERED) => (Refused, format!("filtered the request's content ({status})")),
            403 => (Unauthorized, format!("does not allow it ({status}): check what {from} may do")),
            400 | 413 | 422 if said.has(&TOO_LONG) || status == 413 => {
                let remedy = "shorten the history, or take a model with more context";
                (Refused, format!("finds the conversation too long ({status}): {remedy}"))
            }
            404 => (Refused, format!("knows no such model or address ({status}): check the model's name and base_url")),
            408 => (Timeout, format!("gave up waiting ({status})")),
            429 => (RateLimited, format!("has had too many requests ({status})")),
            409 | 425 | 500 | 502..=504 | 506.. => (Overloaded, format!("is broken or overloaded ({status})")),
            _ => (Refused, format!("refused the request ({status})")),
        };
        self.error(kind, format!("{what}{told}"))
    }

    /// An error that came within an answer whose status was a success.
    pub(crate) fn told(&self, error: &Json) -> ModelError {
        use ModelErrorKind::*;
        let said = Said::of_error(error);
        let status = match () {
            () if said.has(&QUOTA) => 402,
            () if said.has(&["rate_limit", "429"]) => 429,
            () if said.has(&["authentication", "invalid_api_key"]) => 401,
            () if said.has(&["permission"]) => 403,
            () if said.has(&["not_found"]) => 404,
            () if said.has(&TOO_LONG) || said.has(&FILTERED) || said.has(&["invalid_request", "invalid_prompt"]) => 400,
            () => 500,
        };
        let mut error = self.judged(status, &said);
        if error.kind == Overloaded {
            error.message = format!("{} failed in the middle of its answer: {}", self.provider, self.clean(&said.words));
        }
        error
    }

    /// An endpoint's words as they may be told: one short line without control characters, and without anything of a key.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text: String = text.chars().take(LOOKED_AT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in self.secrets.iter().map(Secret::reveal).filter(|s| s.len() >= LEAST_HIDDEN) {
            text = text.replace(secret, "[key]");
        }
        let words = text.split_whitespace().map(|word| if self.like_a_key(word) { "[key]" } else { word });
        let line = words.collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(TOLD) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    }

    /// Whether a word holds what looks like a key, or a piece of the one in use.
    fn like_a_key(&self, word: &str) -> bool {
        let piece = |secret: &str| {
            let head: String = secret.chars().take(LEAST_HIDDEN).collect();
            let skipped = secret.chars().count().saturating_sub(LEAST_HIDDEN);
            let tail: String = secret.chars().skip(skipped).collect();
            head.len() >= LEAST_HIDDEN && (word.contains(&head) || word.contains(&tail))
        };
        ["sk-", "sk_", "Bearer"].iter().any(|start| word.trim_start_matches(['"', '\'', '`', '(']).starts_with(start))
            || self.secrets.iter().any(|s| piece(s.reveal()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::endpoint::Wire;

    fn voice() -> Voice {
        let key = Some(Secret::new("planted-key-1234567890"));
        Voice::new(&Endpoint { key, ..Endpoint::new("openai", Wire::Chat, "http://127.0.0.1:1/v1") })
    }

    #[test]
    fn a_status_is_told_with_its_kind_and_remedy() {
        use ModelErrorKind::*;
        let check = |status: u16, body: &str, kind: ModelErrorKind, message: &str| {
            let error = voice().judged(status, &Said::of(body));
            assert_eq!((error.kind, &*error.message), (kind, message), "{status} {body}");
        };
        check(401, "", Unauthorized, "openai refused the key (401): check OPENAI_API_KEY");
        check(403, r#"{"detail": "no"}"#, Unauthorized, "openai does not allow it (403): check what OPENAI_API_KEY may do: no");
        let quota = "openai says that the quota is used up (429): check the plan and its billing: You exceeded";
        check(429, r#"{"error": {"message": "You exceeded", "code": "insufficient_quota"}}"#, Quota, quota);
        check(429, "slow", RateLimited, "openai has had too many requests (429): slow");
        let long = "openai finds the conversation too long (400): shorten the history, or take a model with more context: m";
        check(400, r#"{"error": {"message": "m", "code": "context_length_exceeded"}}"#, Refused, long);
        check(400, r#"[{"error": {"message": "m", "code": 400}}]"#, Refused, "openai refused the request (400): m");
        check(400, r#"{"error": "m"}"#, Refused, "openai refused the request (400): m");
        let filtered = "openai filtered the request's content (400): m";
        check(400, r#"{"error": {"message": "m", "code": "content_filter"}}"#, Refused, filtered);
        for status in [409, 500, 502, 503, 504, 520, 529] {
            check(status, "", Overloaded, &format!("openai is broken or overloaded ({status})"));
        }
        for status in [405, 410, 415, 422, 451, 501, 505] {
            check(status, "", Refused, &format!("openai refused the request ({status})"));
        }
    }

    #[test]
    fn words_are_one_short_line_without_keys() {
        for (text, expect) in [
            ("a\r\n\u{1b}[31m b\0c", "a [31m b c"),
            ("the key planted-key-1234567890 is wrong", "the key [key] is wrong"),
            ("the key (planted-***7890) is wrong", "the key [key] is wrong"),
            ("provided: sk-proj-****abcd.", "provided: [key]"),
            ("'Bearer x'", "[key] x'"),
        ] {
            assert_eq!(voice().clean(text), expect, "{text}");
        }
        let long = voice().clean(&"é".repeat(999));
        assert_eq!(long.chars().count(), TOLD + 1);
    }
}
