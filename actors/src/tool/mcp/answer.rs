//! What a server's answer to a call means, read within bounds.

use commedia_domain::value::Value;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use rmcp::service::ServiceError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::tool::attempt::Attempt;
use crate::tool::http::Known;
pub(super) use crate::transport::innermost;

/// Bytes of a result.
const RESULT_LIMIT: usize = 1024 * 1024;
/// Characters of a refusal that are told.
const TOLD: usize = 300;

/// A whole answer: structured content where there is some, else text; what is no text is named.
pub(super) fn judged(result: &CallToolResult, known: &Known) -> Attempt {
    let text = text_of(&result.content);
    if result.is_error == Some(true) {
        let why = if text.is_empty() { "it failed, and does not say why".to_owned() } else { text };
        return Attempt::Refused(told(&why, known));
    }
    let structured = result.structured_content.as_ref().map(ToString::to_string);
    let (json, body) = (structured.is_some(), known.hidden(&structured.unwrap_or(text)));
    if body.len() > RESULT_LIMIT {
        return Attempt::Refused(format!("it was carried out, and its result is longer than {} MiB", RESULT_LIMIT >> 20));
    }
    let text = || Value::text(&*body);
    Attempt::Done(match json {
        true => Value::from_json_text(&body).unwrap_or_else(|_| text()),
        false if body.is_empty() => Value::Null,
        false => text(),
    })
}

fn text_of(content: &[ContentBlock]) -> String {
    let part = |block: &ContentBlock| match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => left_out("image", &image.mime_type, image.data.len()),
        ContentBlock::Audio(audio) => left_out("audio", &audio.mime_type, audio.data.len()),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                left_out("resource", mime_type.as_deref().unwrap_or("of no known type"), blob.len())
            }
            _ => "[a resource, left out]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[resource {}]", link.uri),
        _ => "[content of an unknown kind, left out]".to_owned(),
    };
    content.iter().map(part).collect::<Vec<_>>().join("\n")
}

/// What stands for content that is no text; `encoded` is its length in base64.
fn left_out(what: &str, kind: &str, encoded: usize) -> String {
    format!("[{what} {kind}, {} bytes, left out]", encoded / 4 * 3)
}

fn told(text: &str, known: &Known) -> String {
    known.hidden(&text.split_whitespace().collect::<Vec<_>>().join(" ")).chars().take(TOLD).collect()
}

/// A call without a result.
pub(super) fn failed(error: &ServiceError, known: &Known) -> Attempt {
    match error {
        ServiceError::McpError(e) => Attempt::Refused(told(&format!("it was refused: {} ({})", e.message, e.code.0), known)),
        ServiceError::UnexpectedResponse => Attempt::Refused("it was answered with something else than a result".into()),
        ServiceError::TransportSend(e) => match e.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
            Some(e) => over_http(e, known),
            None => Attempt::Unclear(told(&format!("its server does not listen any more: {}", innermost(error)), known)),
        },
        other => Attempt::Unclear(told(&innermost(other), known)),
    }
}

/// What a failure on the way says of a call: whether it was sent, and whether it was carried out.
fn over_http(error: &StreamableHttpError<reqwest::Error>, known: &Known) -> Attempt {
    use StreamableHttpError as E;
    let why = || told(&innermost(error), known);
    match error {
        E::Client(e) if e.is_connect() || e.is_builder() => {
            Attempt::NotSent(format!("no connection: {}", told(&innermost(e), known)))
        }
        E::Client(_) => Attempt::Unclear(format!("the connection broke before an answer came: {}", why())),
        E::HttpStatus(status) => match status.status {
            429 | 500 | 503 => {
                Attempt::Passing { why: format!("it answered {}", status.status), after: status.retry_after.clone() }
            }
            _ => Attempt::Unclear(format!("it answered {}", status.status)),
        },
        E::AuthRequired(_) => Attempt::Refused("it answered 401: its server wants to be signed in to (`auth`)".into()),
        E::InsufficientScope(_) => Attempt::Refused("it answered 403: what signs in does not allow this".into()),
        E::SessionExpired | E::ReinitializationFailed(_) => Attempt::NotSent(format!("its session is over: {}", why())),
        E::UnexpectedServerResponse(said) if said.starts_with("HTTP 4") => Attempt::Refused(why()),
        E::ResponseBodyTooLarge { .. } => Attempt::Refused(why()),
        _ => Attempt::Unclear(why()),
    }
}
