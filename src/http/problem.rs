//! Every error of the front-end as RFC 9457 has it: `application/problem+json` with `code` and, where several things are wrong,
//! `errors` with a JSON pointer each. Never internals: those are logged with the request's id.

use std::fmt::Display;

use bytes::Bytes;
use commedia_actors::admission::Busy;
use commedia_actors::log::LoadError;
use commedia_actors::once::OnceError;
use commedia_actors::orchestrator::CommandError;
use commedia_actors::runtime::{CommandFailed, DeleteError, StartError};
use commedia_actors::store::{AppendError, ReadError};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};

use super::exchange::Answer;
use super::rates::Left;
use crate::failure::Failure;

/// What is wrong at one place of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A JSON pointer into the body, or `?name` for what the query says.
    pub(crate) pointer: String,
    /// What, and the remedy.
    pub(crate) message: String,
}

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// A word for programs; a promise.
    pub(crate) code: &'static str,
    /// For people.
    pub(crate) detail: String,
    pub(crate) errors: Vec<Fault>,
    /// Seconds after which it may be tried again.
    pub(crate) retry_after: Option<u64>,
    /// The methods that a path knows.
    pub(crate) allow: Option<String>,
    /// The bound on how often somebody asks that was reached.
    pub(crate) left: Option<Box<Left>>,
}

/// Every code with what it means: the table of docs/http.md.
pub(crate) const CODES: &[(&str, u16, &str)] = &[
    ("bad_request", 400, "The request cannot be read: its query, its JSON, its headers."),
    ("unauthorized", 401, "Nobody is let in with what came along, or nothing did."),
    ("forbidden", 403, "The role is too small for it."),
    ("not_found", 404, "There is no such thing here, or it is somebody else's."),
    ("method_not_allowed", 405, "The path knows other methods; `Allow` lists them."),
    ("timeout", 408, "The request's body did not come on."),
    ("conflict", 409, "What is asked does not fit how things stand, such as the end of a run."),
    (
        "uncompiled",
        409,
        "The document is no scenario that can be run, or the faults are none, beyond what a schema says; `errors` says where.",
    ),
    ("precondition_failed", 412, "It is not what `If-Match` says any more."),
    ("too_large", 413, "The body is larger than the route takes."),
    ("unsupported_media_type", 415, "The body is of a type that the route does not take."),
    ("invalid", 422, "The request was read, and what it says is wrong; `errors` says where."),
    ("busy", 429, "A bound is reached; try again after `Retry-After` seconds."),
    ("internal", 500, "A fault of the server itself; its log has more under the request's id."),
    ("not_built", 501, "This version does not have it."),
    ("unavailable", 503, "The store takes no writes, or the server ends; try again after `Retry-After` seconds."),
];

impl Problem {
    pub(crate) fn new(code: &'static str, detail: impl Display) -> Problem {
        let status =
            CODES.iter().find(|(known, ..)| *known == code).and_then(|(_, status, _)| StatusCode::from_u16(*status).ok());
        Problem {
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            detail: detail.to_string(),
            errors: Vec::new(),
            retry_after: None,
            allow: None,
            left: None,
        }
    }

    /// Several things are wrong.
    pub(crate) fn invalid(errors: Vec<Fault>) -> Problem {
        let detail = match errors.as_slice() {
            [one] if one.pointer.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.pointer, one.message),
            several => format!("{} things are wrong", several.len()),
        };
        Problem { errors, ..Problem::new("invalid", detail) }
    }

    /// A document is no scenario.
    pub(crate) fn uncompiled(errors: Vec<Fault>) -> Problem {
        let invalid = Problem::invalid(errors);
        Problem { errors: invalid.errors, ..Problem::new("uncompiled", invalid.detail) }
    }

    /// What a field says does not fit the run, which no schema can tell.
    pub(crate) fn unfit(pointer: &str, failure: &Failure) -> Problem {
        let message =
            [Some(failure.message.as_str()), failure.help.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let errors = vec![Fault { pointer: pointer.into(), message: message.clone() }];
        Problem { errors, ..Problem::new("conflict", message) }
    }

    /// One thing is wrong, at one place; an empty pointer is the whole of what was asked.
    pub(crate) fn invalid_at(pointer: &str, message: impl Display) -> Problem {
        Problem::invalid(vec![Fault { pointer: pointer.into(), message: message.to_string() }])
    }

    /// A header that cannot be read as it should be.
    pub(crate) fn header(name: &str, message: impl Display) -> Problem {
        let errors = vec![Fault { pointer: name.into(), message: message.to_string() }];
        Problem { errors, ..Problem::new("bad_request", "a header is wrong") }
    }

    /// The store, or the server, cannot do it just now; the log says why.
    fn unavailable(what: &str, why: impl Display) -> Problem {
        tracing::warn!(%why, "{what}");
        Problem::new("unavailable", what).after(1)
    }

    pub(crate) fn busy(busy: Busy) -> Problem {
        let after = busy.retry_after.as_secs() + 1;
        Problem::new("busy", busy).after(after)
    }

    fn no_run(id: impl Display) -> Problem {
        Problem::not_found(format!("there is no run `{id}` here"))
    }

    pub(crate) fn not_found(what: impl Display) -> Problem {
        Problem::new("not_found", what)
    }

    /// What a client is not told, and the log is.
    pub(crate) fn internal(why: impl Display) -> Problem {
        tracing::error!(%why, "a request failed");
        Problem::new("internal", "the server failed; its log says more under the request's id")
    }

    /// The same words about how things stand here, and not about the request.
    pub(crate) fn into_conflict(self) -> Problem {
        Problem::new("conflict", self.detail)
    }

    pub(crate) fn after(self, seconds: u64) -> Problem {
        Problem { retry_after: Some(seconds.max(1)), ..self }
    }

    pub(crate) fn to_json(&self) -> Json {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if !self.errors.is_empty() {
            let errors: Vec<Json> = self.errors.iter().map(|e| json!({"pointer": e.pointer, "message": e.message})).collect();
            body["errors"] = Json::Array(errors);
        }
        body
    }

    pub(crate) fn answer(&self) -> Answer {
        let body = Bytes::from(self.to_json().to_string());
        let mut answer = Answer::whole(self.status, "application/problem+json", body);
        if let Some(seconds) = self.retry_after {
            answer.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == "unauthorized" {
            answer.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"commedia\""));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            answer.headers.insert(header::ALLOW, allow);
        }
        if let Some(left) = &self.left {
            answer = answer.limited(left);
        }
        answer
    }
}

impl From<ReadError> for Problem {
    fn from(e: ReadError) -> Problem {
        match e {
            ReadError::Unavailable(why) => Problem::unavailable("the store cannot be read just now", why),
            other => Problem::internal(other),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(e: AppendError) -> Problem {
        match e {
            AppendError::Unavailable(why) => Problem::unavailable("the store takes no writes just now", why),
            AppendError::TooLarge { .. } => Problem::invalid_at("", e),
            AppendError::Unknown => Problem::unavailable("the store did not answer in time: look whether it was done", e),
            other => Problem::internal(other),
        }
    }
}

impl From<LoadError> for Problem {
    fn from(e: LoadError) -> Problem {
        match e {
            LoadError::Unknown(id) => Problem::no_run(id),
            LoadError::Store(e) => e.into(),
            LoadError::Append(e) => e.into(),
            LoadError::Quarantined { .. } => Problem::new("conflict", e),
            LoadError::Stopped(why) => Problem::unavailable("the server ends", why),
            other => Problem::internal(other),
        }
    }
}

impl From<StartError> for Problem {
    fn from(e: StartError) -> Problem {
        match e {
            StartError::Parameters(faults) => {
                let fault = |message: String| Fault { pointer: "/parameters".into(), message };
                Problem::invalid(faults.into_iter().map(fault).collect())
            }
            StartError::Unbuilt(_) => Problem::new("not_built", e),
            StartError::Price(why) => Problem::invalid_at("", why),
            StartError::Load(e) => e.into(),
            StartError::Busy(busy) => Problem::busy(busy),
            StartError::Live(_) | StartError::Ended(..) => Problem::new("conflict", e),
        }
    }
}

impl From<OnceError> for Problem {
    fn from(e: OnceError) -> Problem {
        match e {
            OnceError::Another => Problem::invalid_at("Idempotency-Key", e),
            OnceError::Start(e) => e.into(),
        }
    }
}

impl From<CommandFailed> for Problem {
    fn from(e: CommandFailed) -> Problem {
        match e {
            CommandFailed::Command(CommandError::Refused(refusal)) => Problem::new("conflict", refusal),
            CommandFailed::Command(CommandError::Store(e)) => e.into(),
            CommandFailed::Start(e) => e.into(),
            CommandFailed::Busy(busy) => Problem::busy(busy),
            CommandFailed::Unreachable(_) => Problem::new("unavailable", e).after(1),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(e: DeleteError) -> Problem {
        match e {
            DeleteError::Unknown(id) => Problem::no_run(id),
            DeleteError::Live(..) => Problem::new("conflict", e),
            DeleteError::Read(e) => e.into(),
            DeleteError::Write(e) => e.into(),
        }
    }
}

/// What a command line would be told.
impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let message = match failure.help {
            Some(help) => format!("{}; {help}", failure.message),
            None => failure.message,
        };
        Problem::invalid_at("", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../docs/http.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 4).collect();
        for (code, status, about) in CODES {
            assert!(rows.contains(&format!("| `{code}` | {status} | {about} |").as_str()), "{code}");
        }
        let codes = rows.iter().filter(|row| row.split('|').nth(2).is_some_and(|n| n.trim().parse::<u16>().is_ok())).count();
        assert_eq!(codes, CODES.len());
    }
}
