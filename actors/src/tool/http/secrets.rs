//! Secrets in a request: read when it is made, kept no longer than the call, and taken out of everything that is told of it.

use commedia_domain::tool::http::{Filled, Piece, Secret, Words};
use serde_json::{Map, Value as Json};

/// Characters from which on a secret is taken out of what comes back: a shorter one would be found everywhere.
const LEAST_HIDDEN: usize = 6;

/// Where secrets are.
pub trait Secrets: Send + Sync + std::fmt::Debug {
    /// A secret's text; the error is for whoever called, and names the place, never the text.
    fn read(&self, secret: &Secret) -> Result<String, String>;
}

/// No secrets at all.
#[derive(Debug)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, secret: &Secret) -> Result<String, String> {
        Err(format!("there is no secret at {secret}"))
    }
}

/// The secrets a request was made with.
#[derive(Clone, Default)]
pub(crate) struct Known(Vec<(Secret, String)>);

impl Known {
    /// A text with its secrets.
    pub(crate) fn fill(&mut self, words: &Words, secrets: &dyn Secrets) -> Result<String, String> {
        let mut text = String::new();
        for piece in words {
            match piece {
                Piece::Known(known) => text += known,
                Piece::Secret(secret) => {
                    let value = secrets.read(secret)?;
                    text += &value;
                    self.0.push((secret.clone(), value));
                }
            }
        }
        Ok(text)
    }

    /// A JSON body with its secrets.
    pub(super) fn json(&mut self, filled: &Filled, secrets: &dyn Secrets) -> Result<Json, String> {
        Ok(match filled {
            Filled::Value(value) => value.to_json(),
            Filled::Text(words) => Json::String(self.fill(words, secrets)?),
            Filled::Map(fields) => {
                let mut map = Map::new();
                for (name, value) in fields {
                    map.insert(name.to_string(), self.json(value, secrets)?);
                }
                Json::Object(map)
            }
            Filled::List(items) => Json::Array(items.iter().map(|i| self.json(i, secrets)).collect::<Result<_, String>>()?),
        })
    }

    /// A text in which each secret is replaced by its place.
    pub(crate) fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (secret, value) in self.0.iter().filter(|(_, value)| value.len() >= LEAST_HIDDEN) {
            let place = secret.to_string();
            let escaped = Json::from(value.as_str()).to_string();
            for form in [value.as_str(), escaped.trim_matches('"')] {
                if text.contains(form) {
                    text = text.replace(form, &place);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed;

    impl Secrets for Fixed {
        fn read(&self, secret: &Secret) -> Result<String, String> {
            match secret {
                Secret::Env(name) if &**name == "TOKEN" => Ok("s3cr\"et!".into()),
                Secret::Env(name) if &**name == "SHORT" => Ok("a".into()),
                other => Err(format!("{other} is not set")),
            }
        }
    }

    #[test]
    fn a_secret_is_filled_in_and_never_told() {
        let mut known = Known::default();
        let secret = |name: &str| Piece::Secret(Secret::Env(name.into()));
        let words = vec![Piece::Known("Bearer ".to_owned()), secret("TOKEN"), secret("SHORT")];
        assert_eq!(known.fill(&words, &Fixed).expect("filled"), "Bearer s3cr\"et!a");
        let body = Filled::Map(vec![("k".into(), Filled::List(vec![Filled::Text(words)]))]);
        assert_eq!(known.json(&body, &Fixed).expect("filled").to_string(), r#"{"k":["Bearer s3cr\"et!a"]}"#);
        assert_eq!(known.fill(&vec![secret("NONE")], &Fixed).expect_err("none"), "${env:NONE} is not set");
        for (text, expect) in [
            ("no such key s3cr\"et!", "no such key ${env:TOKEN}"),
            (r#"{"key": "s3cr\"et!"}"#, r#"{"key": "${env:TOKEN}"}"#),
            ("a banana", "a banana"),
        ] {
            assert_eq!(known.hidden(text), expect);
        }
    }
}
