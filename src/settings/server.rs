//! `[http]`: where the front-end listens, and its bounds.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Env;
use super::rates::{self, RateSettings, RatesLayer};
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
    /// Bytes of a bundle.
    pub max_bundle_bytes: usize,
    /// How long the head of a request may take, and a connection may say nothing.
    pub head_timeout: Duration,
    /// How long a body may pause.
    pub body_timeout: Duration,
    /// How often somebody may ask.
    pub rates: RateSettings,
    /// The files of certificate and key, where connections are encrypted here.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Origins whose pages may read answers, beside this server's own.
    pub origins: Vec<String>,
    /// Proxies whose word on where a request comes from is taken.
    pub proxies: Vec<IpNet>,
    /// The header they say it in. One only: what a proxy does not write itself comes from whoever is before it.
    pub proxy_header: ProxyHeader,
}

/// How a proxy says where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// One layer of `[http]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerLayer {
    bind: Option<String>,
    max_connections: Option<usize>,
    max_body: Option<String>,
    max_bundle: Option<String>,
    head_timeout: Option<String>,
    body_timeout: Option<String>,
    rates: RatesLayer,
    tls: TlsLayer,
    cors: CorsLayer,
    proxies: Option<Vec<String>>,
    proxy_header: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsLayer {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CorsLayer {
    origins: Option<Vec<String>>,
}

fn tls(env: Env<'_>, file: &TlsLayer) -> Result<Option<(PathBuf, PathBuf)>, Failure> {
    let path = |name: &str, file: &Option<PathBuf>| env(name).map(PathBuf::from).or_else(|| file.clone());
    let certificate = path("COMMEDIA_HTTP__TLS__CERTIFICATE", &file.certificate).filter(|path| !path.as_os_str().is_empty());
    let key = path("COMMEDIA_HTTP__TLS__KEY", &file.key).filter(|path| !path.as_os_str().is_empty());
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        _ => Err(Failure::usage("http.tls wants both, a certificate and its key")),
    }
}

/// A list of the environment, with commas between, or of the file.
fn listed(env: Env<'_>, name: &str, file: &Option<Vec<String>>) -> Vec<String> {
    let split = |text: String| text.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    env(name).map(split).or_else(|| file.clone()).unwrap_or_default()
}

fn proxies(env: Env<'_>, file: &Option<Vec<String>>) -> Result<Vec<IpNet>, Failure> {
    let network = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let wrong =
        |text: &String| Failure::usage(format!("http.proxies names addresses and networks such as `10.0.0.0/8`, not `{text}`"));
    listed(env, "COMMEDIA_HTTP__PROXIES", file).iter().map(|text| network(text).map_err(|_| wrong(text))).collect()
}

fn proxy_header(text: &str) -> Result<ProxyHeader, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(ProxyHeader::XForwardedFor),
        "forwarded" => Ok(ProxyHeader::Forwarded),
        _ => Err(Failure::usage(format!("http.proxy_header is `X-Forwarded-For` or `Forwarded`, not `{text}`"))),
    }
}

fn origins(env: Env<'_>, file: &CorsLayer) -> Result<Vec<String>, Failure> {
    let origins = listed(env, "COMMEDIA_HTTP__CORS__ORIGINS", &file.origins);
    let is_one = |text: &str| {
        let place = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        place.is_some_and(|place| !place.is_empty() && place.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)))
    };
    match origins.iter().find(|text| !is_one(text)) {
        Some(text) => {
            Err(Failure::usage(format!("http.cors.origins names origins such as `https://app.example.com`, not `{text}`")))
        }
        None => Ok(origins),
    }
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
    let bundle = word("COMMEDIA_HTTP__MAX_BUNDLE", &file.max_bundle, &reference.max_bundle);
    let bundle = super::size("http.max_bundle", &bundle)?;
    Ok(ServerSettings {
        bind,
        max_connections: connections.ok_or_else(|| Failure::usage("http.max_connections is a whole number above 0"))?,
        max_body_bytes: usize::try_from(most).unwrap_or(usize::MAX),
        max_bundle_bytes: usize::try_from(bundle).unwrap_or(usize::MAX),
        head_timeout: span(
            "http.head_timeout",
            &word("COMMEDIA_HTTP__HEAD_TIMEOUT", &file.head_timeout, &reference.head_timeout),
        )?,
        body_timeout: span(
            "http.body_timeout",
            &word("COMMEDIA_HTTP__BODY_TIMEOUT", &file.body_timeout, &reference.body_timeout),
        )?,
        rates: rates::layered(env, &file.rates, &reference.rates)?,
        tls: tls(env, &file.tls)?,
        origins: origins(env, &file.cors)?,
        proxies: proxies(env, &file.proxies)?,
        proxy_header: proxy_header(&word("COMMEDIA_HTTP__PROXY_HEADER", &file.proxy_header, &reference.proxy_header))?,
    })
}

/// The keys with their meaning.
pub(crate) fn json_schema() -> Json {
    let section = |about: &str, properties: Json| json!({"type": "object", "description": about, "additionalProperties": false, "properties": properties});
    json!({
        "bind": {"type": "string", "default": "127.0.0.1:7140", "description": "Where `commedia serve` listens"},
        "max_connections": {"type": "integer", "minimum": 1, "default": 16384, "description": "Connections at once; one more is told to come again"},
        "max_body": {"type": "string", "default": "2 MiB", "description": "How large a JSON body may be"},
        "max_bundle": {"type": "string", "default": "16 MiB", "description": "How large a tar.gz of a scenario and its files may be"},
        "head_timeout": {"type": "string", "default": "10s", "description": "How long the head of a request may take, and a connection may say nothing"},
        "body_timeout": {"type": "string", "default": "30s", "description": "How long a body may pause"},
        "rates": section("How often somebody may ask a server with users: 100/s, 60/m, 10/h or off", rates::json_schema()),
        "tls": section("Files of PEM; where both are named, connections are encrypted", json!({
            "certificate": {"type": "string", "default": "", "description": "The certificate, and those that vouch for it"},
            "key": {"type": "string", "default": "", "description": "Its key"},
        })),
        "proxies": {"type": "array", "items": {"type": "string"}, "default": [], "description": "Addresses and networks of proxies in front, such as 10.0.0.0/8: the last address that they name and that is none of theirs is the client's"},
        "proxy_header": {"type": "string", "enum": ["X-Forwarded-For", "Forwarded"], "default": "X-Forwarded-For", "description": "The header in which they name it; the other one is not read"},
        "cors": section("Pages of other origins", json!({
            "origins": {"type": "array", "items": {"type": "string"}, "default": [], "description": "Origins whose pages may read answers, such as https://app.example.com"},
        })),
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
            max_bundle: Some("16 MiB".into()),
            head_timeout: Some("10s".into()),
            body_timeout: Some("30s".into()),
            proxy_header: Some("X-Forwarded-For".into()),
            ..ServerLayer::default()
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
            (
                "COMMEDIA_HTTP__RATES__LOG_IN",
                "often",
                "http.rates.log_in is a rate such as `100/s`, `60/m` or `off`, not `often`",
            ),
            ("COMMEDIA_HTTP__TLS__KEY", "key.pem", "http.tls wants both, a certificate and its key"),
            (
                "COMMEDIA_HTTP__PROXIES",
                "10.0.0.0/8, me",
                "http.proxies names addresses and networks such as `10.0.0.0/8`, not `me`",
            ),
            ("COMMEDIA_HTTP__PROXY_HEADER", "Via", "http.proxy_header is `X-Forwarded-For` or `Forwarded`, not `Via`"),
            ("COMMEDIA_HTTP__CORS__ORIGINS", "*", "http.cors.origins names origins such as `https://app.example.com`, not `*`"),
        ] {
            assert!(with(name, value).expect_err(name).message.contains(words), "{name}");
        }
    }
}
