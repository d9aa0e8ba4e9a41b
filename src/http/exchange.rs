//! What a handler is given, and what it answers: free of warp's types and of where they are spoken.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::IpAddr;

use bytes::Bytes;
use commedia_actors::once::Once;
use commedia_actors::runtime::Runtime;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::gate::AuthContext;
use super::problem::Problem;
use super::rates::Left;
use crate::remote::encoded;

/// Room for the headers of an answer, those that all have among them.
const HEADERS: usize = 12;

/// What a handler answers with.
pub(crate) type Handled = Result<Answer, Problem>;

/// What was asked, checked as far as its route says.
pub(crate) struct Asked {
    /// What stands in the path's places, in their order.
    pub(crate) places: Vec<String>,
    /// The path, as it was asked for.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// The body, as its schema wants it; `{}` where there is none.
    pub(crate) body: Json,
    /// The body as it came, with its type, where the route takes it so.
    pub(crate) raw: Option<(&'static str, Bytes)>,
    pub(crate) upgrade: Option<OnUpgrade>,
    /// Where it comes from.
    pub(crate) peer: Option<IpAddr>,
    /// Who asks.
    pub(crate) context: AuthContext,
    /// The client's key, where the route does what is asked once by itself.
    pub(crate) once: Option<Once>,
    /// The runtime from within the asker's workspace.
    pub(crate) runtime: Runtime,
}

impl Asked {
    /// What stands in one of the path's places.
    pub(crate) fn place(&self, n: usize) -> &str {
        self.places.get(n).map_or("", String::as_str)
    }

    /// What the query says of a name.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A number of the query, which was checked.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.query(name)?.parse().ok()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Refuses what is asked of something that is not as `If-Match` says, where that is said; `tag` is of how it is.
    pub(crate) fn if_match(&self, tag: Option<&str>) -> Result<(), Problem> {
        let is_as = |tags: &str| tag.is_some_and(|tag| tags == "*" || tags.split(',').any(|known| known.trim() == tag));
        match self.header("if-match").map(str::trim) {
            Some(tags) if !is_as(tags) => Err(Problem::new("precondition_failed", "it is not what `If-Match` says any more")),
            _ => Ok(()),
        }
    }

    /// A page of a list, with what the next one comes after. Where nothing is said it is the whole list.
    pub(crate) fn listed<T, P: Serialize>(
        &self,
        all: Vec<T>,
        name: impl Fn(&T) -> String,
        page: impl FnOnce(Vec<T>, Option<String>) -> P,
    ) -> Handled {
        let behind = |after: &str| {
            let gone = || Problem::new("conflict", "there is nothing here any more that is called as `after` says: begin again");
            all.iter().position(|one| name(one) == after).map(|at| at + 1).ok_or_else(gone)
        };
        let from = self.query("after").map_or(Ok(0), behind)?;
        let limit = self.number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let more = all.len() - from > limit;
        let data: Vec<T> = all.into_iter().skip(from).take(limit).collect();
        let next = data.last().filter(|_| more).map(name);
        Ok(Answer::json(&page(data, next.clone())).linked(self, next.as_ref()))
    }

    /// The body as its type.
    pub(crate) fn body<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        serde_json::from_value(self.body.take()).map_err(|e| Problem::invalid_at("", e))
    }

    /// The place of a type among what the client accepts, the first of those offered it likes best.
    pub(crate) fn prefers(&self, offered: &[&'static str]) -> Option<&'static str> {
        preferred(self.header("accept"), offered)
    }
}

fn preferred(accept: Option<&str>, offered: &[&'static str]) -> Option<&'static str> {
    let Some(accept) = accept else { return offered.first().copied() };
    let wanted = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        let q = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        Some((kind, q))
    });
    let wanted: Vec<(String, f32)> = wanted.collect();
    let quality = |offer: &str| {
        let family = offer.split('/').next().unwrap_or_default();
        let rank = |range: &str| match range {
            range if range == offer => 3,
            range if range.strip_suffix("/*") == Some(family) => 2,
            "*/*" => 1,
            _ => 0,
        };
        let best = wanted.iter().filter(|(range, _)| rank(range) > 0).max_by_key(|(range, _)| rank(range));
        best.map_or(0.0, |(_, q)| *q)
    };
    let mut best: Option<(&'static str, f32)> = None;
    for offer in offered {
        let q = quality(offer);
        if q > best.map_or(0.0, |(_, q)| q) {
            best = Some((offer, q));
        }
    }
    best.map(|(offer, _)| offer)
}

/// The body of an answer.
pub(crate) enum Content {
    Whole(Bytes),
    Stream(mpsc::Receiver<Result<Bytes, Infallible>>),
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Content,
}

impl Answer {
    pub(crate) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Answer { status, headers, body: Content::Whole(body.into()) }
    }

    pub(crate) fn json(json: &impl serde::Serialize) -> Answer {
        match serde_json::to_vec(json) {
            Ok(bytes) => Answer::whole(StatusCode::OK, "application/json", bytes),
            Err(e) => Problem::internal(e).answer(),
        }
    }

    pub(crate) fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: Content::Whole(Bytes::new()) }
    }

    /// A body that comes in pieces, from whoever holds the other end.
    pub(crate) fn stream(kind: &'static str, pieces: mpsc::Receiver<Result<Bytes, Infallible>>) -> Answer {
        let mut answer = Answer::whole(StatusCode::OK, kind, Bytes::new());
        answer.body = Content::Stream(pieces);
        answer
    }

    pub(crate) fn status(self, status: StatusCode) -> Answer {
        Answer { status, ..self }
    }

    /// With how often it may still be asked.
    pub(crate) fn limited(self, left: &Left) -> Answer {
        let (state, policy) = left.headers();
        self.with(HeaderName::from_static("ratelimit"), &state).with(HeaderName::from_static("ratelimit-policy"), &policy)
    }

    /// With a `Link` to the next page of what was asked, where there is one.
    pub(crate) fn linked(self, asked: &Asked, next: Option<&impl Display>) -> Answer {
        let Some(next) = next else { return self };
        let said = asked.query.iter().filter(|(name, _)| name != "after");
        let said: String = said.map(|(name, value)| format!("{name}={}&", encoded(value))).collect();
        let link = format!("<{}?{said}after={}>; rel=\"next\"", asked.path, encoded(&next.to_string()));
        self.with(header::LINK, &link)
    }

    /// With a header; a value that cannot stand in one is left out, and logged.
    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Answer {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => tracing::warn!(%name, value, "this cannot stand in a header"),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_is_offered_is_chosen() {
        let offered = ["application/json", "text/event-stream"];
        for (accept, expect) in [
            (None, Some("application/json")),
            (Some("*/*"), Some("application/json")),
            (Some("text/event-stream"), Some("text/event-stream")),
            (Some("text/*, application/json;q=0.5"), Some("text/event-stream")),
            (Some("application/json;q=0, */*"), Some("text/event-stream")),
            (Some("image/png"), None),
        ] {
            assert_eq!(preferred(accept, &offered), expect, "{accept:?}");
        }
    }
}
