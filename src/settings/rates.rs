//! `[http.rates]`: how often somebody may ask a server with users.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Env;
use crate::failure::Failure;

/// So many within a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// Within how long.
    pub per: Duration,
}

/// `None`: as often as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSettings {
    /// Requests from one address.
    pub address: Option<Rate>,
    /// Requests of one user or key.
    pub principal: Option<Rate>,
    /// Requests within one workspace.
    pub workspace: Option<Rate>,
    /// Passwords tried from one address, and for one user.
    pub log_in: Option<Rate>,
}

/// One layer of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RatesLayer {
    address: Option<String>,
    principal: Option<String>,
    workspace: Option<String>,
    log_in: Option<String>,
}

/// `1000/s`, `60/m`, `100/h` or `off`.
fn rate(name: &str, text: &str) -> Result<Option<Rate>, Failure> {
    if text == "off" {
        return Ok(None);
    }
    let read = || {
        let (count, unit) = text.split_once('/')?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let count = count.trim().parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
        Some(Rate { count, per: Duration::from_secs(per) })
    };
    let wrong = || Failure::usage(format!("{name} is a rate such as `100/s`, `60/m` or `off`, not `{text}`"));
    read().map(Some).ok_or_else(wrong)
}

/// What the layers say together.
pub(crate) fn layered(env: Env<'_>, file: &RatesLayer, reference: &RatesLayer) -> Result<RateSettings, Failure> {
    let one = |key: &str, file: &Option<String>, reference: &Option<String>| {
        let text = env(&format!("COMMEDIA_HTTP__RATES__{}", key.to_uppercase())).or_else(|| file.clone());
        rate(&format!("http.rates.{key}"), &text.or_else(|| reference.clone()).unwrap_or_else(|| "off".into()))
    };
    Ok(RateSettings {
        address: one("address", &file.address, &reference.address)?,
        principal: one("principal", &file.principal, &reference.principal)?,
        workspace: one("workspace", &file.workspace, &reference.workspace)?,
        log_in: one("log_in", &file.log_in, &reference.log_in)?,
    })
}

/// The keys with their meaning.
pub(crate) fn json_schema() -> Json {
    let one = |usual: &str, about: &str| json!({"type": "string", "default": usual, "description": about});
    json!({
        "address": one("5000/s", "Requests from one address (a network of 64 bits, where it is of version 6)"),
        "principal": one("2000/s", "Requests of one user or key"),
        "workspace": one("5000/s", "Requests within one workspace"),
        "log_in": one("60/m", "Passwords tried from one address, and for one user"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_span() {
        let per = |count, seconds| Some(Rate { count, per: Duration::from_secs(seconds) });
        for (text, expect) in [("5/s", per(5, 1)), ("60/m", per(60, 60)), ("1 / h", per(1, 3600)), ("off", None)] {
            assert_eq!(rate("x", text).expect(text), expect, "{text}");
        }
        for text in ["", "5", "0/s", "-1/s", "5/d", "1000001/s", "on"] {
            assert!(rate("x", text).is_err(), "{text}");
        }
        let none = |_: &str| None;
        let file = RatesLayer { address: Some("1/s".into()), ..RatesLayer::default() };
        let found = layered(&none, &file, &RatesLayer::default()).expect("settings");
        assert_eq!((found.address, found.log_in), (per(1, 1), None));
    }
}
