//! `[telemetry]`: where traces of runs go, and what they tell.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Env;
use crate::failure::Failure;

/// Whether this build can export traces.
const BUILT: bool = cfg!(feature = "otlp");
/// Below the address of a collector that speaks OTLP over HTTP.
const TRACES: &str = "/v1/traces";
/// How an endpoint is set for all programs of a machine.
const STANDARD: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// What to do about a build without the feature.
pub const REMEDY: &str = "build with `cargo build --release --features otlp`";

/// What is said of traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Where spans are sent; `None`: nowhere.
    pub url: Option<String>,
    /// What this process is called in traces.
    pub service: String,
    /// Whether what was said goes along.
    pub bodies: bool,
    /// What to say before runs start: traces are wanted by the environment, and this build makes none.
    pub warning: Option<String>,
}

/// One layer of `[telemetry]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetryLayer {
    otlp_endpoint: Option<String>,
    bodies: Option<bool>,
}

/// What the layers say together.
pub(crate) fn layered(env: Env<'_>, file: &TelemetryLayer) -> Result<TelemetrySettings, Failure> {
    layered_for(BUILT, env, file)
}

fn layered_for(built: bool, env: Env<'_>, file: &TelemetryLayer) -> Result<TelemetrySettings, Failure> {
    let bodies = match env("COMMEDIA_TELEMETRY__BODIES").as_deref() {
        Some("true") => true,
        Some("false") => false,
        Some(word) => return Err(Failure::usage(format!("COMMEDIA_TELEMETRY__BODIES is `true` or `false`, not `{word}`"))),
        None => file.bodies.unwrap_or_default(),
    };
    let service = env("OTEL_SERVICE_NAME").unwrap_or_else(|| "commedia".into());
    let off = TelemetrySettings { url: None, service, bodies, warning: None };
    let ours = env("COMMEDIA_TELEMETRY__OTLP_ENDPOINT").map(|text| ("COMMEDIA_TELEMETRY__OTLP_ENDPOINT", text));
    let ours = ours.or_else(|| file.otlp_endpoint.clone().map(|text| ("telemetry.otlp_endpoint", text)));
    match ours.filter(|(_, text)| !text.is_empty()) {
        Some((_, text)) if text == "none" => return Ok(off),
        Some((name, _)) if !built => {
            let said = format!("{name} is set, and this build of commedia exports no traces");
            return Err(Failure::usage(said).help(format!("{REMEDY}, or leave it out")));
        }
        Some((name, text)) => return Ok(TelemetrySettings { url: Some(below(name, &text)?), ..off }),
        None => {}
    }
    let is_off = env("OTEL_SDK_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true"))
        || env("OTEL_TRACES_EXPORTER").is_some_and(|word| word == "none");
    let standard = STANDARD.iter().find_map(|name| Some((*name, env(name)?))).filter(|_| !is_off);
    let Some((name, text)) = standard else { return Ok(off) };
    if !built {
        let warning = format!("{name} is set, and this build of commedia exports no traces: {REMEDY}");
        return Ok(TelemetrySettings { warning: Some(warning), ..off });
    }
    // The variable of traces alone is taken as it is; the other one is an address to stand below.
    let url = if name == STANDARD[0] { checked(name, &text)? } else { below(name, &text)? };
    Ok(TelemetrySettings { url: Some(url), ..off })
}

fn below(name: &str, text: &str) -> Result<String, Failure> {
    let url = checked(name, text)?;
    let base = url.trim_end_matches('/');
    Ok(if base.ends_with(TRACES) { base.to_owned() } else { format!("{base}{TRACES}") })
}

/// The address of a collector; it stands in logs, so that it may hold no password.
fn checked(name: &str, text: &str) -> Result<String, Failure> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}');
    match host {
        Some(host) if host.contains('@') => Err(Failure::usage(format!("{name} may hold no password"))
            .help("headers with keys go into OTEL_EXPORTER_OTLP_HEADERS, such as \"authorization=Bearer KEY\"")),
        Some(host) if !host.is_empty() && !host.starts_with(':') && text.chars().all(plain) => Ok(text.to_owned()),
        _ => Err(Failure::usage(format!("{name} is the address of a collector, and `{text}` is none"))
            .help("such as \"http://127.0.0.1:4318\"; traces leave by OTLP over HTTP, not by gRPC")),
    }
}

pub(crate) fn json_schema() -> Json {
    json!({
        "otlp_endpoint": {"type": "string", "default": "", "description": "The collector's address (OTLP over HTTP), such as http://127.0.0.1:4318; empty: what OTEL_EXPORTER_OTLP_ENDPOINT says; none: no traces. Needs a build with the feature otlp"},
        "bodies": {"type": "boolean", "default": false, "description": "Whether instructions, messages, answers, inputs and results of tools go along"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(built: bool, env: &[(&str, &str)], file: &str) -> Result<TelemetrySettings, Failure> {
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        layered_for(built, &find, &toml_layer(file))
    }

    fn toml_layer(file: &str) -> TelemetryLayer {
        let file = file.split_once(" = ").map(|(key, value)| (key, value.trim_matches('"').to_owned()));
        match file {
            Some(("otlp_endpoint", value)) => TelemetryLayer { otlp_endpoint: Some(value), bodies: None },
            Some(("bodies", value)) => TelemetryLayer { otlp_endpoint: None, bodies: Some(value == "true") },
            _ => TelemetryLayer::default(),
        }
    }

    #[test]
    fn ours_go_before_the_machines_and_the_environment_before_the_file() {
        let (ours, all, traces) = ("COMMEDIA_TELEMETRY__OTLP_ENDPOINT", STANDARD[1], STANDARD[0]);
        type Row<'r> = (&'r [(&'r str, &'r str)], &'r str, Option<&'r str>);
        let rows: [Row<'_>; 9] = [
            (&[], "", None),
            (&[], "otlp_endpoint = \"http://f:4318\"", Some("http://f:4318/v1/traces")),
            (&[(ours, "http://e/x/")], "otlp_endpoint = \"http://f\"", Some("http://e/x/v1/traces")),
            (&[(ours, "https://e/v1/traces")], "", Some("https://e/v1/traces")),
            (&[(all, "http://m:4318")], "", Some("http://m:4318/v1/traces")),
            (&[(all, "http://m"), (traces, "http://t/as-it-is")], "", Some("http://t/as-it-is")),
            (&[(all, "http://m")], "otlp_endpoint = \"none\"", None),
            (&[(all, "http://m")], "otlp_endpoint = \"\"", Some("http://m/v1/traces")),
            (&[(all, "http://m"), ("OTEL_SDK_DISABLED", "true")], "", None),
        ];
        for (env, file, expect) in rows {
            let found = settings(true, env, file).expect("settings");
            assert_eq!(
                (found.url.as_deref(), found.service.as_str(), found.bodies),
                (expect, "commedia", false),
                "{env:?} {file}"
            );
        }
        assert!(settings(true, &[], "bodies = true").expect("settings").bodies);
        assert!(!settings(true, &[("COMMEDIA_TELEMETRY__BODIES", "false")], "bodies = true").expect("settings").bodies);
        assert_eq!(settings(true, &[("OTEL_SERVICE_NAME", "shop")], "").expect("settings").service, "shop");
    }

    #[test]
    fn what_cannot_be_is_said_with_the_remedy() {
        let check = |built: bool, env: &[(&str, &str)], file: &str, words: &str, remedy: &str| {
            let failure = settings(built, env, file).expect_err(words);
            assert!(failure.message.contains(words) && failure.to_string().contains(remedy), "{failure}");
        };
        check(false, &[], "otlp_endpoint = \"http://f\"", "telemetry.otlp_endpoint is set", "--features otlp");
        check(false, &[("COMMEDIA_TELEMETRY__OTLP_ENDPOINT", "http://f")], "", "exports no traces", "--features otlp");
        check(true, &[], "otlp_endpoint = \"127.0.0.1:4317\"", "`127.0.0.1:4317` is none", "http://127.0.0.1:4318");
        check(true, &[], "otlp_endpoint = \"http://\"", "`http://` is none", "not by gRPC");
        check(true, &[], "otlp_endpoint = \"http://u:secret@f\"", "may hold no password", "OTEL_EXPORTER_OTLP_HEADERS");
        check(true, &[("COMMEDIA_TELEMETRY__BODIES", "1")], "", "`true` or `false`, not `1`", "");
        let warned = settings(false, &[(STANDARD[1], "http://m")], "").expect("a machine's variable stops nobody");
        assert!(warned.url.is_none() && warned.warning.is_some_and(|w| w.contains(STANDARD[1]) && w.contains(REMEDY)));
    }
}
