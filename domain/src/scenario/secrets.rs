//! Secrets never stand in a document: `${env:NAME}` and `${file:PATH}` only where one is used, and no literal that looks like a key.

use super::faults::{Faults, Place};
use super::node::{Kind, Node};

/// Looks through a whole document.
pub(crate) fn check(root: &Node, faults: &mut Faults) {
    let mut path: Vec<&str> = Vec::new();
    walk(root, &mut path, faults);
}

fn walk<'n>(node: &'n Node, path: &mut Vec<&'n str>, faults: &mut Faults) {
    match &node.kind {
        Kind::Broken => {}
        Kind::Scalar(s) => text(&s.text, node.at, path, faults),
        Kind::List(items) => items.iter().for_each(|i| walk(i, path, faults)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                path.push(&key.text);
                walk(value, path, faults);
                path.pop();
            }
        }
    }
}

fn text(text: &str, at: Place, path: &[&str], faults: &mut Faults) {
    if let Some(what) = key_like(text) {
        faults
            .error("secret_literal", at, format!("this looks like {what}; a secret never stands in a scenario"))
            .help("name where it is: `${env:NAME}` or `${file:PATH}`");
        return;
    }
    let allowed = matches!(path, ["tools", _, "url" | "headers" | "body" | "server", ..] | ["models", _, "base_url"]);
    let references = text.matches("${env:").count() + text.matches("${file:").count();
    if references > 0 && !allowed {
        faults
            .error("secret_misplaced", at, "a secret cannot be used here: what it holds would be stored with the run")
            .help("`${env:NAME}` and `${file:PATH}` may stand in a tool's `url`, `headers`, `body`, `server`, and in a model's `base_url`");
    } else if references > 0 && well_formed(text) != references {
        faults
            .error("secret_malformed", at, "this reference to a secret is not well formed")
            .help("`${env:NAME}` or `${file:PATH}`");
    } else if let ["tools", _, "server", "auth", ..] = path
        && references == 0
    {
        faults
            .error("secret_literal", at, "what signs in at a server is a secret, which never stands in a scenario")
            .help("name where it is: `${env:NAME}` or `${file:PATH}`");
    } else if let ["tools", _, "headers", header] = path
        && references == 0
        && ["authorization", "api-key", "apikey", "token", "secret", "password"].iter().any(|w| header.to_lowercase().contains(w))
    {
        faults
            .error("secret_literal", at, format!("the header `{header}` holds a secret, which never stands in a scenario"))
            .help("name where it is: `${env:NAME}` or `${file:PATH}`");
    }
}

fn well_formed(text: &str) -> usize {
    text.split("${")
        .skip(1)
        .filter(|rest| {
            let Some((inside, _)) = rest.split_once('}') else { return false };
            match inside.split_once(':') {
                Some(("env", name)) => {
                    !name.is_empty()
                        && !name.starts_with(|c: char| c.is_ascii_digit())
                        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                }
                Some(("file", path)) => !path.trim().is_empty(),
                _ => false,
            }
        })
        .count()
}

/// What a text looks like, if it looks like a key.
fn key_like(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    for word in words.filter(|w| w.len() >= 16 && w.len() <= 4096) {
        let rest = |prefix: &str, least: usize| word.strip_prefix(prefix).is_some_and(|r| r.len() >= least && mixed(r));
        if rest("sk-", 16) || rest("sk_live_", 10) || rest("rk_live_", 10) || rest("cm_", 20) {
            return Some("an API key");
        }
        if ["ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "hf_", "xoxb-", "xoxp-", "xoxa-", "xoxr-"]
            .iter()
            .any(|p| rest(p, 16))
        {
            return Some("an access token");
        }
        let aws = ["AKIA", "ASIA"].iter().any(|p| word.starts_with(p)) && word.len() == 20;
        if aws && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return Some("an AWS key");
        }
        if word.starts_with("AIza") && word.len() == 39 {
            return Some("a Google API key");
        }
        if word.starts_with("eyJ") && word.split('.').filter(|p| p.len() >= 10).count() == 3 {
            return Some("a signed token");
        }
    }
    None
}

/// Keys mix letters and digits; words with dashes do not.
fn mixed(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic())
}
