//! Keys taken out of what an endpoint answers, whole and piece by piece: there are some that say a key back.

use serde_json::Value as Json;

/// Characters from which on a secret is taken out of an answer: a shorter one may be a word like any other.
const LEAST: usize = 16;
const INSTEAD: &str = "[key]";

/// What no answer may hold.
pub(crate) struct Veil<'s> {
    secrets: Vec<&'s str>,
    /// What may be the beginning of a secret, and was not told yet.
    held: String,
}

impl<'s> Veil<'s> {
    pub(crate) fn new(secrets: impl Iterator<Item = &'s str>) -> Veil<'s> {
        Veil { secrets: secrets.filter(|secret| secret.len() >= LEAST).collect(), held: String::new() }
    }

    /// A text without them.
    pub(crate) fn over(&self, text: &mut String) {
        for secret in &self.secrets {
            if text.contains(secret) {
                *text = text.replace(secret, INSTEAD);
            }
        }
    }

    /// JSON whose texts are without them.
    pub(crate) fn over_json(&self, json: &mut Json) {
        match json {
            Json::String(text) => self.over(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.over_json(item)),
            Json::Object(fields) => fields.values_mut().for_each(|field| self.over_json(field)),
            _ => {}
        }
    }

    /// What may be told once a further piece has come.
    pub(crate) fn piece(&mut self, piece: &str) -> String {
        let mut text = std::mem::take(&mut self.held) + piece;
        self.over(&mut text);
        let begins = |at: &usize| self.secrets.iter().any(|secret| secret.starts_with(&text[*at..]));
        let open = text.char_indices().map(|(at, _)| at).find(begins).unwrap_or(text.len());
        self.held = text.split_off(open);
        text
    }

    /// What was held back, at the end.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "planted-key-1234567890";

    #[test]
    fn a_key_is_taken_out_however_it_is_cut() {
        let text = format!("the key {KEY} and plan{KEY}, planted-key-12, no");
        let expect = "the key [key] and plan[key], planted-key-12, no";
        for size in 1..=text.len() {
            let mut veil = Veil::new([KEY, "short"].into_iter());
            let mut told = String::new();
            for piece in text.as_bytes().chunks(size) {
                told += &veil.piece(std::str::from_utf8(piece).expect("ASCII"));
                assert!(!told.contains(KEY), "{size}");
            }
            told += &veil.rest();
            assert_eq!(told, expect, "{size}");
        }
    }

    #[test]
    fn it_is_taken_out_of_json() {
        let mut json = json!({"a": [format!("({KEY})"), 1], "b": {"c": "short"}});
        Veil::new([KEY, "short"].into_iter()).over_json(&mut json);
        assert_eq!(json, json!({"a": ["([key])", 1], "b": {"c": "short"}}));
    }
}
