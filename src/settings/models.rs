//! `[models]`: where each provider is, where its key is kept, what it may be asked to bear. Keys themselves are read when an
//! endpoint is first used, and never kept here.

use std::time::Duration;

use commedia_actors::model::endpoint::Timeouts;
use commedia_actors::model::gateway::{BreakerLimits, EndpointLimits};
use commedia_domain::tool::http::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::Env;
use crate::failure::Failure;

/// The providers a scenario may name.
pub const PROVIDERS: [&str; 4] = ["openai", "azure", "ollama", "anthropic"];
/// How the names of variables of `[models.NAME]` begin.
const PREFIX: &str = "COMMEDIA_MODELS__";

/// What is said of models.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Hosts, with or without a port, that a scenario's `base_url` may name; `*` for any.
    pub hosts: Vec<String>,
    /// What is said of each provider, in the order of [`PROVIDERS`].
    pub providers: [ProviderSettings; 4],
}

impl ModelSettings {
    /// What is said of a provider.
    pub fn provider(&self, name: &str) -> Option<&ProviderSettings> {
        self.providers.iter().find(|p| p.name == name)
    }

    /// The providers that can be asked: there is an address, and a key.
    pub fn configured(&self) -> impl Iterator<Item = &'static str> {
        self.providers.iter().filter(|p| p.key.is_some() && p.base_url.is_some()).map(|p| p.name)
    }
}

/// What is said of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderSettings {
    /// Its name in scenarios.
    pub name: &'static str,
    /// Its address, where one is known: from the settings, else from the environment, else its own.
    pub base_url: Option<String>,
    /// Where its key is, if anywhere.
    pub key: Option<Secret>,
    /// Further hosts that its key may go to, where a scenario names them.
    pub key_hosts: Vec<String>,
    /// Which interface it speaks, if not its usual one: `responses` or `chat`.
    pub api: Option<String>,
    /// Azure's classic surface.
    pub api_version: Option<String>,
    /// The model that `auto` takes.
    pub model: Option<String>,
    /// Whether it is always asked for a stream.
    pub stream: bool,
    /// Its limits.
    pub limits: EndpointLimits,
    /// Its time-outs.
    pub timeouts: Timeouts,
}

/// One layer of `[models]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModelsLayer {
    hosts: Option<Vec<String>>,
    openai: ProviderLayer,
    azure: ProviderLayer,
    ollama: ProviderLayer,
    anthropic: ProviderLayer,
}

/// One layer of `[models.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct ProviderLayer {
    base_url: Option<String>,
    key: Option<String>,
    key_hosts: Option<Vec<String>>,
    api: Option<String>,
    api_version: Option<String>,
    model: Option<String>,
    stream: Option<bool>,
    concurrency: Option<u32>,
    queue: Option<u32>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    attempts: Option<u32>,
    backoff: Option<String>,
    max_backoff: Option<String>,
    connect_timeout: Option<String>,
    first_byte_timeout: Option<String>,
    chunk_timeout: Option<String>,
    timeout: Option<String>,
    breaker_failures: Option<u32>,
    breaker_window: Option<String>,
    breaker_pause: Option<String>,
}

/// The keys of `[models.NAME]`, with what each holds and means.
const KEYS: [(&str, &str, &str); 21] = [
    ("base_url", "string", "Its address"),
    ("key", "string", "Where its key is: ${env:NAME} or ${file:PATH}"),
    ("key_hosts", "array", "Further hosts that its key may go to, where a scenario's base_url names them"),
    ("api", "string", "Its interface: responses or chat"),
    ("api_version", "string", "Azure's classic surface: its version"),
    ("model", "string", "The model that `auto` takes"),
    ("stream", "boolean", "Whether it is always asked for a stream"),
    ("concurrency", "integer", "Requests at once"),
    ("queue", "integer", "Requests that wait for a place; one more is turned away"),
    ("requests_per_minute", "integer", "Requests a minute; unset or 0: as many as come"),
    ("tokens_per_minute", "integer", "Tokens a minute, in and out; unset or 0: as many as come"),
    ("attempts", "integer", "How often a request is sent at most"),
    ("backoff", "string", "The first pause between attempts is drawn up to this, each further one up to twice as much"),
    ("max_backoff", "string", "No pause is drawn longer"),
    ("connect_timeout", "string", "Until a connection stands"),
    ("first_byte_timeout", "string", "From the request to the answer's header"),
    ("chunk_timeout", "string", "Without a byte once the answer has begun"),
    ("timeout", "string", "All of an attempt"),
    ("breaker_failures", "integer", "Failures in a row after which it is left alone"),
    ("breaker_window", "string", "They count together within so long"),
    ("breaker_pause", "string", "How long it is left alone before one request tries again"),
];

/// Whether a variable's name is one of `[models]`.
pub(super) fn is_known(variable: &str) -> bool {
    let Some(rest) = variable.strip_prefix(PREFIX) else { return false };
    rest == "HOSTS"
        || rest.split_once("__").is_some_and(|(provider, key)| {
            PROVIDERS.iter().any(|p| p.to_uppercase() == provider) && KEYS.iter().any(|(k, ..)| k.to_uppercase() == key)
        })
}

/// The settings of models: a variable before the file, the file before a provider's own variables and the defaults.
pub(crate) fn layered(env: Env<'_>, file: &ModelsLayer) -> Result<ModelSettings, Failure> {
    let listed = |text: String| text.split(',').map(|host| host.trim().to_owned()).collect::<Vec<_>>();
    let hosts = env(&format!("{PREFIX}HOSTS")).map(listed).or(file.hosts.clone()).unwrap_or_else(|| vec!["*".into()]);
    let of = |name: &'static str, layer: &ProviderLayer| {
        let layer = over(name, env, layer)?;
        provider(name, env, layer).map_err(|why| Failure::usage(format!("models.{name}.{why}")))
    };
    let [openai, azure, ollama, anthropic] = PROVIDERS;
    Ok(ModelSettings {
        hosts,
        providers: [
            of(openai, &file.openai)?,
            of(azure, &file.azure)?,
            of(ollama, &file.ollama)?,
            of(anthropic, &file.anthropic)?,
        ],
    })
}

/// A layer with what variables say instead.
fn over(name: &str, env: Env<'_>, layer: &ProviderLayer) -> Result<ProviderLayer, Failure> {
    let mut said = Map::new();
    for (key, kind, _) in KEYS {
        let variable = format!("{PREFIX}{}__{}", name.to_uppercase(), key.to_uppercase());
        let Some(text) = env(&variable) else { continue };
        let wrong = |what: &str| Failure::usage(format!("{variable} must be {what}, and is `{text}`"));
        let value = match kind {
            "integer" => json!(text.parse::<u64>().map_err(|_| wrong("a whole number"))?),
            "boolean" => json!(text.parse::<bool>().map_err(|_| wrong("true or false"))?),
            "array" => json!(text.split(',').map(str::trim).collect::<Vec<_>>()),
            _ => json!(text),
        };
        said.insert(key.into(), value);
    }
    if said.is_empty() {
        return Ok(layer.clone());
    }
    let mut all = serde_json::to_value(layer).unwrap_or_default();
    if let Json::Object(all) = &mut all {
        all.extend(said);
    }
    serde_json::from_value(all).map_err(|e| Failure::usage(format!("models.{name}: {e}")))
}

fn provider(name: &'static str, env: Env<'_>, layer: ProviderLayer) -> Result<ProviderSettings, String> {
    let span = |key: &str, text: Option<String>, default: Duration| match text {
        None => Ok(default),
        Some(text) => match commedia_domain::scenario::time::wall(&text) {
            Ok(ms) => Ok(Duration::from_millis(ms)),
            Err(why) => Err(format!("{key} is a span such as `30s`, not `{text}`: {why}")),
        },
    };
    let key = layer.key.as_deref().map(secret).transpose()?;
    let (address, variable) = match name {
        "openai" => ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        "azure" => ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"),
        "anthropic" => ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
        _ => ("OLLAMA_HOST", ""),
    };
    let own = own_address(name).map(str::to_owned);
    let base_url = match layer.base_url.or_else(|| env(address)) {
        Some(url) if name == "ollama" => Some(ollama(&url)),
        Some(url) => Some(url.trim_end_matches('/').to_owned()),
        None => own,
    };
    let key = key.or_else(|| (!variable.is_empty() && env(variable).is_some()).then(|| Secret::Env(variable.into())));
    if let Some(api) = layer.api.as_deref().filter(|api| !["responses", "chat"].contains(api)) {
        return Err(format!("api is `responses` or `chat`, not `{api}`"));
    }
    let (limits, breaker, timeouts) = (EndpointLimits::default(), BreakerLimits::default(), Timeouts::default());
    let limits = EndpointLimits {
        concurrency: layer.concurrency.map_or(limits.concurrency, |n| n.max(1) as usize),
        queue: layer.queue.map_or(limits.queue, |n| n as usize),
        requests_per_minute: layer.requests_per_minute.filter(|n| *n > 0),
        tokens_per_minute: layer.tokens_per_minute.filter(|n| *n > 0),
        attempts: layer.attempts.map_or(limits.attempts, |n| n.max(1)),
        backoff: span("backoff", layer.backoff, limits.backoff)?,
        max_backoff: span("max_backoff", layer.max_backoff, limits.max_backoff)?,
        breaker: BreakerLimits {
            failures: layer.breaker_failures.map_or(breaker.failures, |n| n.max(1)),
            window: span("breaker_window", layer.breaker_window, breaker.window)?,
            pause: span("breaker_pause", layer.breaker_pause, breaker.pause)?,
        },
    };
    let timeouts = Timeouts {
        connect: span("connect_timeout", layer.connect_timeout, timeouts.connect)?,
        first_byte: span("first_byte_timeout", layer.first_byte_timeout, timeouts.first_byte)?,
        between_chunks: span("chunk_timeout", layer.chunk_timeout, timeouts.between_chunks)?,
        total: span("timeout", layer.timeout, timeouts.total)?,
    };
    let model = layer.model.or_else(|| match name {
        "openai" => Some("gpt-4o-mini".into()),
        "anthropic" => Some("claude-haiku-4-5".into()),
        "azure" => env("AZURE_OPENAI_DEPLOYMENT"),
        _ => None,
    });
    let version = layer.api_version.or_else(|| (name == "azure").then(|| env("AZURE_OPENAI_API_VERSION")).flatten());
    Ok(ProviderSettings {
        name,
        base_url,
        key,
        key_hosts: layer.key_hosts.unwrap_or_default(),
        api: layer.api,
        api_version: version,
        model,
        stream: layer.stream.unwrap_or_default(),
        limits,
        timeouts,
    })
}

/// The address a provider has of its own; Azure's is each customer's.
pub fn own_address(name: &str) -> Option<&'static str> {
    match name {
        "openai" => Some("https://api.openai.com/v1"),
        "anthropic" => Some("https://api.anthropic.com"),
        "ollama" => Some("http://127.0.0.1:11434/v1"),
        _ => None,
    }
}

/// `OLLAMA_HOST` as Ollama itself reads it, `HOST`, `HOST:PORT` or an address, with the path of its compatible interface.
fn ollama(host: &str) -> String {
    let host = host.trim_end_matches('/');
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    if rest.contains('/') {
        return format!("{scheme}://{rest}");
    }
    // What a server listens on is not where it is reached.
    let rest = rest.replacen("0.0.0.0", "127.0.0.1", 1);
    let port = if rest.contains(':') || scheme == "https" { "" } else { ":11434" };
    format!("{scheme}://{rest}{port}/v1")
}

/// A key's place; never the key itself.
fn secret(text: &str) -> Result<Secret, String> {
    let inside = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|inside| inside.split_once(':'));
    match inside {
        Some(("env", name)) if !name.is_empty() => Ok(Secret::Env(name.into())),
        Some(("file", path)) if !path.is_empty() => Ok(Secret::File(path.into())),
        _ => Err("key says where the key is, `${env:NAME}` or `${file:PATH}`; the key itself does not belong in a file".into()),
    }
}

/// The JSON Schema of `[models]`.
pub(super) fn json_schema() -> Json {
    let key = |(name, kind, about): (&str, &str, &str)| (name.to_owned(), json!({"type": kind, "description": about}));
    let provider = |name: &str| {
        let properties: Map<String, Json> = KEYS.into_iter().map(key).collect();
        let about = format!("What is said of the provider `{name}`");
        json!({"type": "object", "description": about, "additionalProperties": false, "properties": properties})
    };
    let mut all = Map::new();
    let hosts = "Hosts that a scenario's base_url may name, with or without a port; \"*\": any";
    all.insert("hosts".into(), json!({"type": "array", "items": {"type": "string"}, "default": ["*"], "description": hosts}));
    all.extend(PROVIDERS.map(|name| (name.to_owned(), provider(name))));
    Json::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(env: &[(&str, &str)], file: &str) -> Result<ModelSettings, Failure> {
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        layered(&find, &toml::from_str(file).map_err(Failure::usage)?)
    }

    #[test]
    fn a_variable_goes_before_the_file_before_the_providers_own_variables() {
        let check = |env: &[(&str, &str)], file: &str, provider: &str, url: Option<&str>, key: Option<Secret>| {
            let found = settings(env, file).expect("settings");
            let found = found.provider(provider).expect("known");
            assert_eq!((found.base_url.as_deref(), found.key.clone()), (url, key), "{env:?} {file}");
        };
        let variable = |name: &str| Some(Secret::Env(name.into()));
        let own = Some("https://api.openai.com/v1");
        check(&[], "", "openai", own, None);
        check(&[("OPENAI_API_KEY", "x")], "", "openai", own, variable("OPENAI_API_KEY"));
        check(&[("OPENAI_BASE_URL", "http://p/v1/")], "", "openai", Some("http://p/v1"), None);
        let file = "[openai]\nbase_url = 'http://f'\nkey = '${env:MY}'";
        check(&[("OPENAI_API_KEY", "x"), ("OPENAI_BASE_URL", "http://p")], file, "openai", Some("http://f"), variable("MY"));
        check(&[("COMMEDIA_MODELS__OPENAI__BASE_URL", "http://e")], file, "openai", Some("http://e"), variable("MY"));
        check(&[("AZURE_OPENAI_ENDPOINT", "https://me.test/")], "", "azure", Some("https://me.test"), None);
        check(&[], "", "azure", None, None);
        let hosts = [("", "127.0.0.1:11434"), ("box", "box:11434"), ("0.0.0.0:99", "127.0.0.1:99"), ("http://b:1/", "b:1")];
        for (host, expect) in hosts {
            let env: &[_] = if host.is_empty() { &[] } else { &[("OLLAMA_HOST", host)] };
            check(env, "", "ollama", Some(&format!("http://{expect}/v1")), None);
        }
        let found = settings(&[("COMMEDIA_MODELS__OLLAMA__CONCURRENCY", "2")], "[ollama]\ntimeout = '9s'").expect("settings");
        let ollama = found.provider("ollama").expect("known");
        assert_eq!((ollama.limits.concurrency, ollama.timeouts.total), (2, Duration::from_secs(9)));
        assert!(is_known("COMMEDIA_MODELS__OLLAMA__CONCURRENCY") && !is_known("COMMEDIA_MODELS__OLLAMA__CONCURENCY"));
    }

    #[test]
    fn what_cannot_be_is_one_clear_line_without_the_key() {
        let check = |env: &[(&str, &str)], file: &str, words: &str| {
            let failure = settings(env, file).expect_err(words);
            assert!(failure.message.contains(words), "{}", failure.message);
            assert!(!failure.message.contains("sk-planted"), "{}", failure.message);
        };
        check(&[], "[openai]\nkey = 'sk-planted'", "models.openai.key says where the key is");
        check(&[("COMMEDIA_MODELS__AZURE__KEY", "sk-planted")], "", "models.azure.key says where the key is");
        check(&[], "[openai]\ntimeout = 'soon'", "models.openai.timeout is a span such as `30s`, not `soon`");
        check(&[], "[openai]\napi = 'soap'", "models.openai.api is `responses` or `chat`, not `soap`");
        check(&[("COMMEDIA_MODELS__OPENAI__ATTEMPTS", "x")], "", "COMMEDIA_MODELS__OPENAI__ATTEMPTS must be a whole number");
    }
}
