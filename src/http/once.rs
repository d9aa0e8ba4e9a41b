//! What is done once, however often a client asks with the same `Idempotency-Key`: the answer is kept for a day, and given again.
//!
//! A refusal is not kept: nothing was done, and the same may go well later. Of an answer that carries a secret only that it was
//! given is kept.

use std::sync::Arc;

use commedia_actors::once::{Answering, Kept, Once};
use commedia_domain::id::Hash32;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value as Json;
use tracing::Instrument;

use super::Api;
use super::exchange::{Answer, Asked, Content, Handled};
use super::problem::Problem;
use super::route::{Handler, Keyed, Route};
use super::runs;

/// Bytes of an idempotency key.
const KEY_LIMIT: usize = 255;

/// Says that an answer is of what was done before.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

fn kept(answer: &Answer, is_secret: bool) -> Option<Kept> {
    let Content::Whole(body) = &answer.body else { return None };
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let headers = answer.headers.iter().filter_map(text).collect();
    Some(Kept { status: answer.status.as_u16(), headers, body: (!is_secret).then(|| body.to_vec()) })
}

fn again(kept: Kept) -> Handled {
    let Some(body) = kept.body else {
        let place = kept.headers.into_iter().find(|(name, _)| name == header::LOCATION.as_str());
        let place = place.map_or_else(String::new, |(_, place)| format!(" ({place})"));
        let what =
            format!("this was done with the same key{place}, and is told once: remove what was made, and ask with another key");
        return Err(Problem::new("conflict", what));
    };
    let mut answer = Answer::empty(StatusCode::from_u16(kept.status).map_err(Problem::internal)?);
    answer.body = Content::Whole(body.into());
    for (name, value) in &kept.headers {
        answer = answer.with(HeaderName::try_from(name.as_str()).map_err(Problem::internal)?, value);
    }
    Ok(answer.with(REPLAYED, "true"))
}

/// The client's key for what it asks of a route, if it brought one.
pub(crate) fn key_of(asked: &Asked, route: &Route) -> Result<Option<Once>, Problem> {
    let Some(key) = asked.headers.get("idempotency-key") else { return Ok(None) };
    if asked.headers.get_all("idempotency-key").iter().any(|other| other != key) {
        return Err(Problem::header("Idempotency-Key", "is given twice, differently"));
    }
    let fit = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= KEY_LIMIT);
    let wrong = || Problem::header("Idempotency-Key", format!("must be 1 to {KEY_LIMIT} characters of ASCII"));
    let (key, principal) = (fit.ok_or_else(wrong)?, asked.context.principal());
    let place = [asked.context.workspace.as_str(), &principal, route.method.as_str(), route.path, key].join("\0");
    let mut payload = [asked.places.join("\0"), told(&asked.body)].join("\0").into_bytes();
    if let Some((kind, bytes)) = &asked.raw {
        payload.extend_from_slice(kind.as_bytes());
        payload.extend_from_slice(bytes);
    }
    Ok(Some(Once { key: Hash32::of(place.as_bytes()), payload: Hash32::of(&payload) }))
}

/// What a body says, without a password: of that not even a quick hash is kept.
fn told(body: &Json) -> String {
    match body {
        Json::Object(fields) => {
            let told = fields.iter().filter(|(name, _)| *name != "password");
            Json::Object(told.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
        }
        other => other.to_string(),
    }
}

/// What a route's handler answers, or has answered before.
pub(crate) async fn handled(api: Arc<Api>, route: &Route, mut asked: Asked) -> Handled {
    let once = if route.keyed == Keyed::No { None } else { key_of(&asked, route)? };
    let Some(once) = once else { return (route.handler)(api, asked).await };
    if route.keyed == Keyed::ByItself {
        asked.once = Some(once);
        return (route.handler)(api, asked).await;
    }
    let (handler, path, keyed) = (route.handler, route.path, route.keyed);
    // Whoever asks may go before the answer, and ask again: what has begun comes to its end all the same.
    let place = api.detached()?;
    let answering = async move {
        let _place = place;
        answered(api, (handler, path, keyed), asked, once).await
    };
    tokio::spawn(answering.in_current_span()).await.map_err(Problem::internal)?
}

type Way = (Handler, &'static str, Keyed);

async fn answered(api: Arc<Api>, (handler, path, keyed): Way, mut asked: Asked, once: Once) -> Handled {
    let runtime = asked.runtime.clone();
    let answering = runtime.answer_once(once).await?;
    if let Some(kept) = &answering.answered {
        return again(kept.clone());
    }
    let known = match keyed {
        Keyed::Command => commanded(&answering, &mut asked, once).await?,
        _ => None,
    };
    let is_known = known.is_some();
    let answer = match known {
        Some(answer) => answer,
        None => handler(api, asked).await?,
    };
    // It is done: that it may be done again is told to whoever runs this server.
    if let Some(kept) = kept(&answer, keyed == Keyed::Secret).filter(|_| answer.status.is_success())
        && let Err(why) = answering.keep(&kept).await
    {
        tracing::warn!(%why, route = path, "an answer is not kept for its idempotency key");
    }
    Ok(if is_known { answer.with(REPLAYED, "true") } else { answer })
}

/// What a command was that is found in its run's log though its answer is not: the server ended between the two, or could not say.
async fn commanded(answering: &Answering<'_>, asked: &mut Asked, once: Once) -> Result<Option<Answer>, Problem> {
    let id = runs::run_id(asked)?;
    let seq = answering.commanded(&id).await?;
    if seq.is_none() {
        asked.runtime = asked.runtime.with_key(once);
    }
    Ok(seq.map(|seq| runs::done(&id, seq)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_password_not_even_a_hash_is_kept() {
        let body = |password: &str| json!({"email": "ann@x.org", "password": password, "role": "viewer"});
        assert_eq!(told(&body("correct horse")), told(&body("battery")));
        assert_ne!(told(&body("battery")), told(&json!({"email": "bob@x.org", "role": "viewer"})));
    }
}
