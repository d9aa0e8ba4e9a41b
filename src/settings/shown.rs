//! Each setting with its value and where that comes from, for people. Secrets are never shown.

use serde_json::{Value as Json, json};

use super::{Env, Flags, REFERENCE, json_schema};

/// A setting as `commedia config show` has it.
pub struct Shown {
    /// Its key, such as `http.bind`.
    pub key: String,
    /// Its value; of a secret only that it is set.
    pub value: Json,
    /// `default`, a variable of the environment, a file, or a flag.
    pub origin: String,
}

/// Variables that other programs know, and the keys that they stand for.
const KNOWN_ELSEWHERE: [(&str, &str); 10] = [
    ("models.openai.key", "OPENAI_API_KEY"),
    ("models.openai.base_url", "OPENAI_BASE_URL"),
    ("models.azure.key", "AZURE_OPENAI_API_KEY"),
    ("models.azure.base_url", "AZURE_OPENAI_ENDPOINT"),
    ("models.azure.model", "AZURE_OPENAI_DEPLOYMENT"),
    ("models.azure.api_version", "AZURE_OPENAI_API_VERSION"),
    ("models.anthropic.key", "ANTHROPIC_API_KEY"),
    ("models.anthropic.base_url", "ANTHROPIC_BASE_URL"),
    ("models.ollama.base_url", "OLLAMA_HOST"),
    ("data", "COMMEDIA_DATA"),
];

fn at<'j>(json: &'j Json, key: &str) -> Option<&'j Json> {
    key.split('.').try_fold(json, |json, part| json.get(part))
}

/// All keys of a schema that hold a value themselves.
fn leaves(schema: &Json, prefix: &str, into: &mut Vec<(String, Json)>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if property["properties"].is_object() {
            leaves(property, &key, into);
        } else {
            into.push((key, property["default"].clone()));
        }
    }
}

/// All settings; `file` is the name and the text of the file that holds.
pub(super) fn shown(flags: &Flags, env: Env<'_>, file: Option<(&str, &str)>) -> Vec<Shown> {
    let parsed = |text: &str| toml::from_str::<Json>(text).unwrap_or(Json::Null);
    let (reference, (name, own)) = (parsed(REFERENCE), file.map_or(("", Json::Null), |(name, text)| (name, parsed(text))));
    let mut keys = Vec::new();
    leaves(&json_schema(), "", &mut keys);
    let flag = |key: &str| match key {
        "data" => flags.data.as_ref().map(|dir| (json!(dir), "--data")),
        "store.url" if flags.memory => Some((json!("memory:"), "--memory")),
        "store.url" => flags.store.as_ref().map(|url| (json!(url), "--store")),
        "store.durability" => flags.durability.map(|d| (json!(super::durability_word(d)), "--durability")),
        "runtime.workers" => flags.workers.map(|n| (json!(n), "--workers")),
        _ => None,
    };
    let show = |(key, usual): (String, Json)| {
        let variable = format!("COMMEDIA_{}", key.to_uppercase().replace('.', "__"));
        let elsewhere = KNOWN_ELSEWHERE.iter().filter(|(known, _)| *known == key).map(|(_, variable)| *variable);
        let by_name = elsewhere.chain([variable.as_str()]).find_map(|name| Some((json!(env(name)?), name.to_owned())));
        let (value, origin) = match flag(&key) {
            Some((value, flag)) => (value, flag.to_owned()),
            None => match (env(&variable), at(&own, &key), by_name) {
                (Some(value), ..) => (json!(value), variable.clone()),
                (None, Some(value), _) => (value.clone(), name.to_owned()),
                (None, None, Some(found)) => found,
                (None, None, None) => (at(&reference, &key).cloned().unwrap_or(usual), "default".to_owned()),
            },
        };
        let is_secret = key.ends_with(".key") && !key.starts_with("http.");
        let value = if is_secret && !value.is_null() && value != json!("") { json!("(set)") } else { value };
        Shown { key, value, origin }
    };
    keys.into_iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_says_where_it_comes_from() {
        let env = |name: &str| match name {
            "COMMEDIA_HTTP__BIND" => Some("[::1]:1".to_owned()),
            "OPENAI_API_KEY" => Some("sk-secret".to_owned()),
            _ => None,
        };
        let file = "[http]\nmax_body = '1 KiB'\nbind = 'x'\n[http.rates]\nlog_in = 'off'\n[models.anthropic]\nkey = 'literal'\n";
        let flags = Flags { workers: Some(3), ..Flags::default() };
        let all = shown(&flags, &env, Some(("commedia.toml", file)));
        let check = |key: &str, value: Json, origin: &str| {
            let found = all.iter().find(|shown| shown.key == key).unwrap_or_else(|| panic!("no {key}"));
            assert_eq!((&found.value, found.origin.as_str()), (&value, origin), "{key}");
        };
        check("http.bind", json!("[::1]:1"), "COMMEDIA_HTTP__BIND");
        check("http.max_body", json!("1 KiB"), "commedia.toml");
        check("http.rates.log_in", json!("off"), "commedia.toml");
        check("http.rates.address", json!("5000/s"), "default");
        check("http.max_connections", json!(16384), "default");
        check("runtime.workers", json!(3), "--workers");
        check("models.openai.key", json!("(set)"), "OPENAI_API_KEY");
        check("models.anthropic.key", json!("(set)"), "commedia.toml");
        assert!(
            all.iter().all(|shown| !shown.value.to_string().contains("secret") && !shown.value.to_string().contains("literal"))
        );
    }
}
