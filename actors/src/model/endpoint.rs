//! Where a provider is and how it is spoken to: address, interface, key, time-outs, bounds. `connect` makes a `Provider` of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Provider;
use crate::model::anthropic::Anthropic;
use crate::model::openai::OpenAi;

/// A text that is shown to nobody: neither `Debug` nor `Display` prints anything of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<Arc<str>>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Which interface an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// OpenAI's Responses: `POST {base_url}/responses`.
    Responses,
    /// Chat Completions: `POST {base_url}/chat/completions`.
    Chat,
    /// Anthropic's Messages: `POST {base_url}/v1/messages`.
    Messages,
}

impl Wire {
    /// The word errors know it by.
    pub fn word(self) -> &'static str {
        match self {
            Wire::Responses => "responses",
            Wire::Chat => "chat",
            Wire::Messages => "messages",
        }
    }
}

/// Wall time an attempt may take, and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// From the request to the answer's header. A plain answer begins when the model is done.
    pub first_byte: Duration,
    /// Without a byte, once the answer has begun.
    pub between_chunks: Duration,
    /// All of it.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(120),
            between_chunks: Duration::from_secs(60),
            total: Duration::from_secs(600),
        }
    }
}

/// Bytes an endpoint may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one line of a stream.
    pub line: usize,
    /// Of an answer.
    pub answer: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { line: 1 << 20, answer: 16 << 20 }
    }
}

/// One endpoint of a provider, in one of its interfaces.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The provider's name in scenarios: `openai azure ollama anthropic`. Errors and `Source::model` begin with it.
    pub provider: Arc<str>,
    /// Which interface it speaks.
    pub wire: Wire,
    /// Its address, as the provider's own libraries take it: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`,
    /// `https://api.anthropic.com`, `https://NAME.openai.azure.com`.
    pub base_url: String,
    /// The key; none for a server that wants none.
    pub key: Option<Secret>,
    /// Where the key comes from, for remedies: `OPENAI_API_KEY`.
    pub key_from: Arc<str>,
    /// Azure's classic surface (`AZURE_OPENAI_API_VERSION`): the model is a deployment and the interface must be `Chat`.
    /// `None`: the v1 surface.
    pub api_version: Option<String>,
    /// Further headers, such as an organisation's.
    pub headers: Vec<(String, Secret)>,
    /// Whether it is asked for a stream even where nobody listens.
    pub stream: bool,
    /// Its time-outs.
    pub timeouts: Timeouts,
    /// Its bounds.
    pub bounds: Bounds,
}

impl Endpoint {
    /// An endpoint without a key, with the usual time-outs and bounds.
    pub fn new(provider: impl Into<Arc<str>>, wire: Wire, base_url: impl Into<String>) -> Endpoint {
        let provider = provider.into();
        let key_from = match &*provider {
            "openai" => "OPENAI_API_KEY",
            "azure" => "AZURE_OPENAI_API_KEY",
            "anthropic" => "ANTHROPIC_API_KEY",
            _ => "its key",
        };
        Endpoint {
            provider,
            wire,
            base_url: base_url.into(),
            key: None,
            key_from: key_from.into(),
            api_version: None,
            headers: Vec::new(),
            stream: false,
            timeouts: Timeouts::default(),
            bounds: Bounds::default(),
        }
    }
}

/// Makes a provider of an endpoint: its client and its pool of connections are built here, once. Reaches nobody yet. The
/// error says what is wrong with the endpoint, and holds no key.
pub fn connect(endpoint: Endpoint) -> Result<Arc<dyn Provider>, String> {
    check(&endpoint)?;
    Ok(match endpoint.wire {
        Wire::Messages => Arc::new(Anthropic::new(&endpoint)?),
        Wire::Responses | Wire::Chat => Arc::new(OpenAi::new(&endpoint)?),
    })
}

fn check(endpoint: &Endpoint) -> Result<(), String> {
    let Endpoint { provider, base_url, .. } = endpoint;
    let rest = base_url.strip_prefix("https://").or_else(|| base_url.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(format!("base_url of `{provider}` is no address that begins with `https://` or `http://`"));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err(format!("base_url of `{provider}` holds a user or a password: give a key instead"));
    }
    if rest.contains(['?', '#']) || rest.contains(char::is_whitespace) {
        return Err(format!("base_url of `{provider}` holds more than an address: write it without `?`, `#` and spaces"));
    }
    if endpoint.key.as_ref().is_some_and(|key| key.reveal().trim().is_empty()) {
        return Err(format!("the key of `{provider}` is empty: set {}", endpoint.key_from));
    }
    if endpoint.api_version.as_deref().is_some_and(|v| v != "v1") && &**provider == "azure" && endpoint.wire != Wire::Chat {
        let word = endpoint.wire.word();
        return Err(format!("`azure` has no `{word}` with AZURE_OPENAI_API_VERSION: leave the version out, or take `api: chat`"));
    }
    Ok(())
}
