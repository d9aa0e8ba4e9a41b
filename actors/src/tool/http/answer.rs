//! One attempt of a call: what the server did, read within bounds.

use commedia_domain::value::Value;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};

use super::secrets::Known;
use crate::tool::attempt::Attempt;
use crate::transport::innermost;

/// Bytes of an answer.
const ANSWER_LIMIT: usize = 1024 * 1024;
/// Characters of a refusal's body that are told.
const TOLD: usize = 300;

pub(super) async fn attempt(request: &reqwest::RequestBuilder, known: &Known) -> Attempt {
    let Some(request) = request.try_clone() else { return Attempt::NotSent("its body cannot be sent".into()) };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(e) => {
            let e = e.without_url();
            let why = known.hidden(&innermost(&e));
            return match e.is_connect() || e.is_builder() {
                true => Attempt::NotSent(format!("no connection: {why}")),
                false => Attempt::Unclear(format!("the connection broke before an answer came: {why}")),
            };
        }
    };
    let status = answer.status();
    let json = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(is_json);
    let after = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = match read(answer).await {
        Ok(Some(body)) => known.hidden(&String::from_utf8_lossy(&body)),
        Ok(None) => {
            return Attempt::Refused(format!(
                "it answered {}, and its answer is longer than {} MiB",
                status.as_u16(),
                ANSWER_LIMIT >> 20
            ));
        }
        Err(e) => {
            let why = known.hidden(&innermost(&e.without_url()));
            return Attempt::Unclear(format!("it answered {}, and the answer broke off: {why}", status.as_u16()));
        }
    };
    judged(status, json, &body, after)
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// What a whole answer means.
fn judged(status: StatusCode, json: bool, body: &str, after: Option<String>) -> Attempt {
    if status.is_success() {
        let text = || Value::text(body);
        return Attempt::Done(match json {
            _ if body.is_empty() => Value::Null,
            true => Value::from_json_text(body).unwrap_or_else(|_| text()),
            false => text(),
        });
    }
    let told: String = body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TOLD).collect();
    let why = match (status.is_redirection(), told.is_empty()) {
        (true, _) => format!("it answered {}, a redirect, which is not followed", status.as_u16()),
        (false, true) => format!("it answered {}", status.as_u16()),
        (false, false) => format!("it answered {}: {told}", status.as_u16()),
    };
    match status.as_u16() {
        408 | 425 | 429 | 500 | 503 => Attempt::Passing { why, after },
        // Whoever stands in between does not know either.
        502 | 504 => Attempt::Unclear(why),
        _ => Attempt::Refused(why),
    }
}

/// The body, within its bound; `None` past it.
async fn read(mut answer: reqwest::Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > ANSWER_LIMIT {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_the_server_did() {
        let check = |status: u16, json: bool, body: &str, expect: Attempt| {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(judged(status, json, body, None), expect, "{status} {body}");
        };
        let passing = |why: &str| Attempt::Passing { why: why.into(), after: None };
        check(200, true, r#"{"id": 7}"#, Attempt::Done(Value::object([("id", Value::Int(7))])));
        check(200, true, "{broken", Attempt::Done(Value::text("{broken")));
        check(201, false, "paid", Attempt::Done(Value::text("paid")));
        check(204, true, "", Attempt::Done(Value::Null));
        check(301, false, "moved", Attempt::Refused("it answered 301, a redirect, which is not followed".into()));
        check(402, true, "no\n funds", Attempt::Refused("it answered 402: no funds".into()));
        check(404, false, "", Attempt::Refused("it answered 404".into()));
        check(429, false, "", passing("it answered 429"));
        check(500, false, "", passing("it answered 500"));
        check(502, false, "", Attempt::Unclear("it answered 502".into()));
        check(400, false, &"x".repeat(999), Attempt::Refused(format!("it answered 400: {}", "x".repeat(TOLD))));
    }

    #[test]
    fn json_is_known_by_its_kind() {
        for (kind, expect) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/json", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_json(kind), expect, "{kind}");
        }
    }
}
