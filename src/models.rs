//! Who answers: what a flag, a scenario, the environment or a local server say, in this order; and where each provider is, with
//! its key. A key goes to the host it belongs to and to no other, whatever a scenario says.

mod probe;

use std::sync::Arc;

use commedia_actors::model::endpoint::{Endpoint, Secret as Key, Wire, connect};
use commedia_actors::model::gateway::{Directory, Found, Place};
use commedia_actors::model::{ModelError, ModelErrorKind};
use commedia_actors::tool::http::Secrets;
use commedia_domain::event::ModelBinding;
use commedia_domain::scenario::{Agent, AgentKind, Api, ModelAlias, ModelTarget, Scenario};
use commedia_domain::tool::http::Secret;

use crate::failure::Failure;
use crate::secrets::ProcessSecrets;
use crate::settings::models::{ModelSettings, PROVIDERS, ProviderSettings, own_address};

/// How a person asks for a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'w> {
    /// `--model`.
    pub model: Option<&'w str>,
    /// `--offline`.
    pub offline: bool,
}

/// Who answers for each alias of a scenario, then for agents without one.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The bindings, as a run stores them.
    pub models: Vec<ModelBinding>,
    /// Where the answer to `auto` came from, such as `OPENAI_API_KEY`; `None` where nobody asked or nothing was found.
    pub found_by: Option<String>,
    /// Fallbacks of aliases that cannot be reached as things are, in words.
    pub notes: Vec<String>,
}

impl Bound {
    /// The model that reads parameters out of texts, where one outside the process does: its binding and its alias.
    pub fn reads(&self, scenario: &Scenario) -> Option<(&ModelBinding, Option<Arc<ModelAlias>>)> {
        let at = scenario.extraction.model;
        let binding = at.and_then(|at| self.models.get(at)).or(self.models.last());
        let binding = binding.filter(|binding| matches!(binding, ModelBinding::Provider { .. }))?;
        Some((binding, at.and_then(|at| scenario.models.get(at)).cloned()))
    }
}

/// Who answers for each alias. What can be known to fail is refused here, before anything is stored.
pub async fn bind(scenario: &Scenario, wanted: Wanted<'_>, settings: &ModelSettings) -> Result<Bound, Failure> {
    let count = scenario.models.len() + 1;
    let all = |binding: ModelBinding| Bound { models: vec![binding; count], found_by: None, notes: Vec::new() };
    match wanted.model {
        _ if wanted.offline => return Ok(all(ModelBinding::Offline)),
        Some("stub") => return Ok(all(ModelBinding::Stub)),
        Some("auto") | None => {}
        Some(text) => {
            let binding = flag(text)?;
            reachable(&binding, None, settings)?;
            return Ok(Bound { found_by: Some("--model".into()), ..all(binding) });
        }
    }
    let asks = |agent: &Agent| {
        let target = agent.model.and_then(|m| scenario.models.get(m.at())).map(|alias| &alias.target);
        agent.kind == AgentKind::Llm && matches!(target, None | Some(ModelTarget::Auto))
    };
    let found = if scenario.agents.iter().any(|agent| asks(agent)) { automatic(settings).await? } else { None };
    let (auto, found_by) = match found {
        Some((binding, by)) => (binding, Some(by)),
        None => (ModelBinding::Offline, None),
    };
    let (mut models, mut notes) = (Vec::with_capacity(count), Vec::new());
    for alias in &scenario.models {
        models.push(match &alias.target {
            ModelTarget::Auto => auto.clone(),
            ModelTarget::Stub => ModelBinding::Stub,
            ModelTarget::Provider { provider, model } => {
                let binding = ModelBinding::Provider { provider: provider.clone(), model: model.clone() };
                reachable(&binding, Some(alias), settings)?;
                binding
            }
        });
        for next in &alias.fallback {
            if let ModelTarget::Provider { provider, model } = &next.target
                && let Err(e) = open(settings, &place(provider, Some(next)))
            {
                notes.push(format!("`{}` cannot fall back on {provider}:{model}: {e}", alias.name));
            }
        }
    }
    models.push(auto);
    Ok(Bound { models, found_by, notes })
}

/// Refuses to go on with a run whose models cannot be reached, such as for want of a key: it would only fail.
pub fn check(scenario: &Scenario, bound: &[ModelBinding], settings: &ModelSettings) -> Result<(), Failure> {
    for (n, binding) in bound.iter().enumerate() {
        let ModelBinding::Provider { provider, model } = binding else { continue };
        let alias = scenario.models.get(n).filter(|alias| {
            let target = ModelTarget::Provider { provider: provider.clone(), model: model.clone() };
            alias.target == target || alias.target == ModelTarget::Auto
        });
        reachable(binding, alias.map(|a| &**a), settings)?;
    }
    Ok(())
}

/// `--model PROVIDER:MODEL`.
fn flag(text: &str) -> Result<ModelBinding, Failure> {
    let wrong = |message: String| {
        Err(Failure::invalid(message).help("such as `--model openai:gpt-4o-mini`; else `auto`, `stub`, or `--offline`"))
    };
    match text.split_once(':') {
        Some((provider, model)) if PROVIDERS.contains(&provider) && !model.trim().is_empty() => {
            Ok(ModelBinding::Provider { provider: provider.into(), model: model.into() })
        }
        Some((provider, _)) if PROVIDERS.contains(&provider) => wrong(format!("`{text}` names no model of `{provider}`")),
        Some((provider, _)) => wrong(format!("there is no provider `{provider}`: known are {}", PROVIDERS.join(", "))),
        None => wrong(format!("`{text}` is no model")),
    }
}

/// What `auto` finds: a key in the environment or the settings, else a local Ollama; and what it was found by.
async fn automatic(settings: &ModelSettings) -> Result<Option<(ModelBinding, String)>, Failure> {
    for name in ["openai", "azure", "anthropic"] {
        let Some(provider) = settings.provider(name).filter(|p| p.key.is_some() && p.base_url.is_some()) else { continue };
        let by = match &provider.key {
            Some(Secret::Env(variable)) => variable.to_string(),
            _ => format!("models.{name}.key"),
        };
        let Some(model) = &provider.model else {
            let message = format!("{by} is set, and nothing says which model of `{name}` answers");
            return Err(Failure::invalid(message).help(format!(
                "set AZURE_OPENAI_DEPLOYMENT or `model` under [models.{name}], or say `--model {name}:NAME`, or `--offline`"
            )));
        };
        let binding = ModelBinding::Provider { provider: name.into(), model: model.as_str().into() };
        reachable(&binding, None, settings)?;
        return Ok(Some((binding, by)));
    }
    let Some(ollama) = settings.provider("ollama") else { return Ok(None) };
    let Some(base_url) = &ollama.base_url else { return Ok(None) };
    let found = probe::first_model(base_url).await;
    Ok(found.map(|first| {
        let model = ollama.model.clone().unwrap_or(first);
        let by = format!("a local Ollama at {}", origin(base_url).map_or_else(|| base_url.clone(), |o| o.authority));
        (ModelBinding::Provider { provider: "ollama".into(), model: model.into() }, by)
    }))
}

/// What keeps a bound model from being asked, such as a missing key.
fn reachable(binding: &ModelBinding, alias: Option<&ModelAlias>, settings: &ModelSettings) -> Result<(), Failure> {
    let ModelBinding::Provider { provider, .. } = binding else { return Ok(()) };
    let opened = open(settings, &place(provider, alias)).map(drop);
    opened.map_err(|e| Failure::invalid(e).help("or leave models out: `--offline`, or `--model stub`"))
}

/// Where a scenario says that a model is.
fn place(provider: &Arc<str>, alias: Option<&ModelAlias>) -> Place {
    Place { provider: provider.clone(), api: alias.and_then(|a| a.api), base_url: alias.and_then(|a| a.base_url.clone()) }
}

/// The host a provider is asked at, for the line that says who answers.
pub fn host(settings: &ModelSettings, provider: &Arc<str>, alias: Option<&ModelAlias>) -> String {
    let base = open(settings, &place(provider, alias)).map(|(endpoint, _)| endpoint.base_url);
    base.ok().and_then(|url| origin(&url)).map_or_else(|| "an unknown host".into(), |origin| origin.authority)
}

/// The providers of this process, for the gateway.
#[derive(Debug)]
pub struct Providers(pub ModelSettings);

impl Directory for Providers {
    fn find(&self, place: &Place) -> Result<Found, ModelError> {
        let (endpoint, name) = open(&self.0, place).map_err(|e| ModelError::new(ModelErrorKind::Unauthorized, e))?;
        let limits = self.0.provider(&place.provider).map(|p| p.limits).unwrap_or_default();
        let provider = connect(endpoint).map_err(ModelError::refused)?;
        Ok(Found { provider, endpoint: name, limits })
    }
}

/// The endpoint at a place, with the key that belongs there, and its name.
fn open(settings: &ModelSettings, place: &Place) -> Result<(Endpoint, Arc<str>), String> {
    let name = &*place.provider;
    let provider = settings.provider(name).ok_or_else(|| format!("there is no provider `{name}`"))?;
    let said = place.base_url.as_deref().map(address).transpose()?;
    let usual = provider.base_url.as_deref();
    let base = said.as_deref().or(usual).ok_or_else(|| {
        format!("where `{name}` is is not known: set AZURE_OPENAI_ENDPOINT, or `base_url` under [models.{name}]")
    })?;
    let at = origin(base).ok_or_else(|| format!("`base_url` of `{name}` is no address of a server"))?;
    if said.is_some() && !is_allowed(&settings.hosts, &at) {
        let host = &at.authority;
        return Err(format!("`{host}` is not among the hosts that a scenario's `base_url` may name: add it to `models.hosts`"));
    }
    let is_own = own_address(name).and_then(origin).is_some_and(|own| own == at);
    let belongs = is_own || usual.and_then(origin).is_some_and(|o| o == at) || is_listed(&provider.key_hosts, &at);
    let key = match &provider.key {
        Some(secret) if belongs => Some(ProcessSecrets.read(secret).map_err(|why| format!("the key of `{name}`: {why}"))?),
        _ => None,
    };
    if key.is_none() && (name == "azure" || (is_own && name != "ollama")) {
        return Err(no_key(name, &at, provider));
    }
    let mut endpoint = Endpoint::new(place.provider.clone(), wire(place, provider, is_own)?, base);
    endpoint.key = key.map(|key| Key::new(key.as_str()));
    if let Some(secret) = &provider.key {
        endpoint.key_from = match secret {
            Secret::Env(variable) => variable.clone(),
            Secret::File(path) => path.clone(),
        };
    }
    endpoint.api_version = provider.api_version.clone();
    endpoint.stream = provider.stream;
    endpoint.timeouts = provider.timeouts;
    let is_usual = usual.and_then(origin).is_some_and(|o| o == at);
    Ok((endpoint, if is_usual { name.into() } else { format!("{name} at {}", at.authority).into() }))
}

fn no_key(name: &str, at: &Origin, provider: &ProviderSettings) -> String {
    if provider.key.is_some() {
        let host = &at.authority;
        return format!("the key of `{name}` does not belong to `{host}`: add the host to `key_hosts` under [models.{name}]");
    }
    let variable = match name {
        "azure" => "AZURE_OPENAI_API_KEY",
        "anthropic" => "ANTHROPIC_API_KEY",
        _ => "OPENAI_API_KEY",
    };
    format!("there is no key for `{name}`: set {variable}, or `key` under [models.{name}] in commedia.toml")
}

/// The interface that is spoken: the alias' word, the settings', else the provider's usual one. Servers that are only
/// compatible have Chat Completions.
fn wire(place: &Place, provider: &ProviderSettings, is_own: bool) -> Result<Wire, String> {
    let said = place.api.map(|api| match api {
        Api::Responses => Wire::Responses,
        Api::Chat => Wire::Chat,
    });
    let set = provider.api.as_deref().map(|api| if api == "responses" { Wire::Responses } else { Wire::Chat });
    match (provider.name, said.or(set)) {
        ("anthropic", Some(other)) => Err(format!("`anthropic` speaks Messages, and no `api: {}`", other.word())),
        ("anthropic", None) => Ok(Wire::Messages),
        ("azure", Some(Wire::Responses)) if provider.api_version.is_some() => {
            Err("Azure's classic surface (AZURE_OPENAI_API_VERSION) has `api: chat` only".into())
        }
        (_, Some(wire)) => Ok(wire),
        ("openai", None) if is_own => Ok(Wire::Responses),
        (_, None) => Ok(Wire::Chat),
    }
}

/// A `base_url` of a scenario: as it is, or the whole of it from the operator's environment. What is read is not shown.
fn address(text: &str) -> Result<String, String> {
    let Some(name) = text.strip_prefix("${env:").and_then(|rest| rest.strip_suffix('}')) else { return Ok(text.into()) };
    let value = ProcessSecrets.read(&Secret::Env(name.into())).map_err(|why| format!("`base_url`: {why}"))?;
    match origin(&value) {
        Some(_) => Ok(value.trim_end_matches('/').to_owned()),
        None => Err(format!("`base_url`: the variable `{name}` holds no address of a server")),
    }
}

/// Whom an address reaches: what browsers call its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    is_secure: bool,
    /// Host and port, lower case; the scheme's usual port is left out.
    authority: String,
}

fn origin(url: &str) -> Option<Origin> {
    let (is_secure, rest) = match url.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') || authority.contains(char::is_whitespace) {
        return None;
    }
    let authority = authority.to_ascii_lowercase();
    let usual = if is_secure { ":443" } else { ":80" };
    Some(Origin { is_secure, authority: authority.strip_suffix(usual).unwrap_or(&authority).trim_end_matches('.').to_owned() })
}

/// Whether a scenario may name a host.
fn is_allowed(hosts: &[String], at: &Origin) -> bool {
    hosts.iter().any(|host| host == "*") || is_listed(hosts, at)
}

/// Whether a host is listed, with its port or for any port.
fn is_listed(hosts: &[String], at: &Origin) -> bool {
    let bare = |authority: &str| match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    };
    hosts.iter().any(|host| host.eq_ignore_ascii_case(&at.authority) || host.eq_ignore_ascii_case(&bare(&at.authority)))
}
