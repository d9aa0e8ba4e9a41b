//! `[http]`: where the front-end listens, and its bounds.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Env;
use crate::failure::Failure;

/// How the front-end is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of a JSON body.
    pub max_body_bytes: usize,
    /// How long the head of a request may take, and a connection may say nothing.
    pub head_timeout: Duration,
    /// How long a body may pause.
    pub body_timeout: Duration,
}

/// One layer of `[http]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerLayer {
    bind: Option<String>,
    max_connections: Option<usize>,
    max_body: Option<String>,
    head_timeout: Option<String>,
    body_timeout: Option<String>,
}

/// What the layers say together.
pub(crate) fn layered(env: Env<'_>, file: &ServerLayer, reference: &ServerLayer) -> Result<ServerSettings, Failure> {
    let word = |name: &str, file: &Option<String>, reference: &Option<String>| {
        env(name).or_else(|| file.clone()).or_else(|| reference.clone()).unwrap_or_default()
    };
    let span = |name: &str, text: &str| {
        let ms = commedia_domain::scenario::time::wall(text);
        ms.map(Duration::from_millis)
            .map_err(|why| Failure::usage(format!("{name} is a span such as `10s`, not `{text}`: {why}")))
    };
    let bind = word("COMMEDIA_HTTP__BIND", &file.bind, &reference.bind);
    let bind = bind.parse().map_err(|_| {
        Failure::usage(format!("http.bind is an address with a port, not `{bind}`")).help("such as 127.0.0.1:7140")
    })?;
    let connections = match env("COMMEDIA_HTTP__MAX_CONNECTIONS") {
        Some(text) => text.parse().ok(),
        None => file.max_connections.or(reference.max_connections),
    };
    let connections = connections.filter(|n| *n > 0);
    let most = word("COMMEDIA_HTTP__MAX_BODY", &file.max_body, &reference.max_body);
    let most = super::size("http.max_body", &most)?;
    Ok(ServerSettings {
        bind,
        max_connections: connections.ok_or_else(|| Failure::usage("http.max_connections is a whole number above 0"))?,
        max_body_bytes: usize::try_from(most).unwrap_or(usize::MAX),
        head_timeout: span(
            "http.head_timeout",
            &word("COMMEDIA_HTTP__HEAD_TIMEOUT", &file.head_timeout, &reference.head_timeout),
        )?,
        body_timeout: span(
            "http.body_timeout",
            &word("COMMEDIA_HTTP__BODY_TIMEOUT", &file.body_timeout, &reference.body_timeout),
        )?,
    })
}

/// The keys with their meaning.
pub(crate) fn json_schema() -> Json {
    json!({
        "bind": {"type": "string", "default": "127.0.0.1:7140", "description": "Where `commedia serve` listens"},
        "max_connections": {"type": "integer", "minimum": 1, "default": 16384, "description": "Connections at once; one more is told to come again"},
        "max_body": {"type": "string", "default": "2 MiB", "description": "How large a JSON body may be"},
        "head_timeout": {"type": "string", "default": "10s", "description": "How long the head of a request may take, and a connection may say nothing"},
        "body_timeout": {"type": "string", "default": "30s", "description": "How long a body may pause"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_before_what_holds_usually() {
        let reference = ServerLayer {
            bind: Some("127.0.0.1:1".into()),
            max_connections: Some(5),
            max_body: Some("2 MiB".into()),
            head_timeout: Some("10s".into()),
            body_timeout: Some("30s".into()),
        };
        let file = ServerLayer { max_body: Some("1 KiB".into()), ..ServerLayer::default() };
        let with = |name: &'static str, value: &'static str| {
            let env = move |n: &str| (n == name).then(|| value.to_owned());
            layered(&env, &file, &reference)
        };
        let found = with("COMMEDIA_HTTP__BIND", "[::1]:80").expect("settings");
        assert_eq!((found.bind.to_string().as_str(), found.max_connections, found.max_body_bytes), ("[::1]:80", 5, 1024));
        assert_eq!((found.head_timeout, found.body_timeout), (Duration::from_secs(10), Duration::from_secs(30)));
        for (name, value, words) in [
            ("COMMEDIA_HTTP__BIND", "localhost", "http.bind is an address with a port, not `localhost`"),
            ("COMMEDIA_HTTP__MAX_CONNECTIONS", "0", "http.max_connections is a whole number above 0"),
            ("COMMEDIA_HTTP__MAX_BODY", "big", "`http.max_body` is a size, and `big` is none"),
            ("COMMEDIA_HTTP__HEAD_TIMEOUT", "soon", "http.head_timeout is a span such as `10s`, not `soon`"),
        ] {
            assert!(with(name, value).expect_err(name).message.contains(words), "{name}");
        }
    }
}
