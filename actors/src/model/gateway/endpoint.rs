//! One endpoint and what keeps it from being overrun: so many requests at once, so many a minute, a bounded line of those that
//! wait, and a breaker. All of the process that ask it share it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use super::breaker::{Breaker, BreakerLimits, Ticket};
use super::rate::Rate;
use crate::model::{Answer, Deltas, ModelError, ModelErrorKind, Provider};

/// Tokens an answer is reckoned at where its bound is not said.
const ANSWER_TOKENS: u64 = 512;
/// Bytes that make a token, about.
const TOKEN_BYTES: usize = 4;
/// An attempt that had this part of the step's time and no answer says that its endpoint hangs.
const FAIR_SHARE: u32 = 4;

/// What an endpoint may be asked to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLimits {
    /// Requests at once.
    pub concurrency: usize,
    /// Requests that wait for a place; one more is turned away.
    pub queue: usize,
    /// Requests a minute; `None`: as many as come.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, in and out.
    pub tokens_per_minute: Option<u64>,
    /// How often one request is sent at most, the first time included.
    pub attempts: u32,
    /// The pause before the second attempt is drawn up to this, before each further one up to twice as much.
    pub backoff: Duration,
    /// No pause is drawn longer.
    pub max_backoff: Duration,
    /// When it is left alone.
    pub breaker: BreakerLimits,
}

impl Default for EndpointLimits {
    fn default() -> EndpointLimits {
        EndpointLimits {
            concurrency: 1024,
            queue: 10_000,
            requests_per_minute: None,
            tokens_per_minute: None,
            attempts: 4,
            backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(8),
            breaker: BreakerLimits::default(),
        }
    }
}

/// An endpoint. Its name stands in errors.
pub(super) struct Endpoint {
    name: Arc<str>,
    pub(super) limits: EndpointLimits,
    places: Semaphore,
    waiting: AtomicUsize,
    requests: Option<Rate>,
    tokens: Option<Rate>,
    breaker: Mutex<Breaker>,
}

/// One of those that wait; leaves the line when it is dropped.
struct InLine<'e>(&'e AtomicUsize);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that is under way; given up unless its outcome is told.
struct UnderWay<'e> {
    endpoint: &'e Endpoint,
    ticket: Option<Ticket>,
    _place: SemaphorePermit<'e>,
}

impl UnderWay<'_> {
    /// What came of it, for the breaker.
    fn ended(mut self, outcome: &Result<Answer, ModelError>, had_time: bool) {
        if !had_time {
            return;
        }
        let Some(ticket) = self.ticket.take() else { return };
        let mut breaker = self.endpoint.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(e) if is_its_own(e.kind) => {
                if breaker.failed(ticket, Instant::now()) {
                    drop(breaker);
                    let pause = self.endpoint.limits.breaker.pause.as_secs_f64();
                    tracing::warn!("{} is left alone for {pause} s, because it fails: {e}", self.endpoint.name);
                }
            }
            Ok(_) | Err(_) => breaker.succeeded(ticket),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.endpoint.breaker.lock().unwrap_or_else(PoisonError::into_inner).given_up(ticket);
        }
    }
}

/// Whether an error says that the endpoint is down: another request would fare no better.
fn is_its_own(kind: ModelErrorKind) -> bool {
    matches!(kind, ModelErrorKind::Transport | ModelErrorKind::Overloaded | ModelErrorKind::Timeout)
}

impl Endpoint {
    pub(super) fn new(name: Arc<str>, limits: EndpointLimits) -> Endpoint {
        Endpoint {
            name,
            limits,
            places: Semaphore::new(limits.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            requests: limits.requests_per_minute.map(Rate::per_minute),
            tokens: limits.tokens_per_minute.map(Rate::per_minute),
            breaker: Mutex::new(Breaker::new(limits.breaker)),
        }
    }

    /// Whether nobody is let through to it just now.
    pub(super) fn is_left_alone(&self) -> bool {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).refuses(Instant::now()).is_some()
    }

    /// One attempt, once there is a place for it. All of it ends by the deadline.
    pub(super) async fn attempt(
        &self,
        provider: &dyn Provider,
        model: &str,
        request: &ModelRequest,
        deltas: Option<&Deltas>,
        deadline: Instant,
    ) -> Result<Answer, ModelError> {
        if let Some(again) = self.breaker.lock().unwrap_or_else(PoisonError::into_inner).refuses(Instant::now()) {
            return Err(self.is_open(again));
        }
        let reckoned = self.tokens.as_ref().map_or(0, |_| reckoned(request));
        let place = self.place(reckoned, deadline).await?;
        let ticket = self.breaker.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
        let ticket = ticket.map_err(|again| {
            self.settle(reckoned, 0);
            self.is_open(again)
        })?;
        let under_way = UnderWay { endpoint: self, ticket: Some(ticket), _place: place };
        let begun = Instant::now();
        let outcome = timeout_at(deadline, provider.attempt(model, request, deltas)).await;
        let is_cut = outcome.is_err();
        let outcome = outcome.unwrap_or_else(|_| {
            let seconds = (deadline - begun).as_secs_f64();
            Err(ModelError::new(ModelErrorKind::Timeout, format!("{} did not answer within {seconds:.1} s", self.name)))
        });
        match &outcome {
            Ok(answer) => self.settle(reckoned, answer.usage.tokens_in + answer.usage.tokens_out),
            Err(_) => self.settle(reckoned, 0),
        }
        // Who was let in shortly before the deadline says nothing about the endpoint.
        let had_time = !is_cut || deadline - begun >= Duration::from_millis(request.timeout_ms) / FAIR_SHARE;
        under_way.ended(&outcome, had_time);
        outcome
    }

    fn settle(&self, reckoned: u64, used: u64) {
        if let Some(tokens) = &self.tokens {
            tokens.settle(reckoned, used);
        }
    }

    fn is_open(&self, again: Option<Duration>) -> ModelError {
        let when = again.map_or_else(
            || "one request tries it just now".to_owned(),
            |again| format!("it is tried again in {:.1} s", again.as_secs_f64()),
        );
        let message = format!("{} failed too often and is left alone; {when}", self.name);
        ModelError { retry_after: again, ..ModelError::new(ModelErrorKind::Open, message) }
    }

    /// A place among those at once, when the rate allows it too. What has no chance before the deadline is turned away at once.
    async fn place(&self, reckoned: u64, deadline: Instant) -> Result<SemaphorePermit<'_>, ModelError> {
        if self.requests.is_none()
            && self.tokens.is_none()
            && let Ok(place) = self.places.try_acquire()
        {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let message = format!(
                "{} requests wait for {} already: run fewer at once, or raise `queue` or `concurrency` of its settings",
                self.limits.queue, self.name
            );
            return Err(ModelError::new(ModelErrorKind::RateLimited, message));
        }
        let _in_line = InLine(&self.waiting);
        let wait = self.spend(reckoned, deadline)?;
        if !wait.is_zero() {
            sleep(wait).await;
        }
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => {
                self.settle(reckoned, 0);
                let message = format!(
                    "{} gave no place among its {} requests at once before the step's deadline: run fewer at once, or raise \
                     `concurrency` of its settings",
                    self.name, self.limits.concurrency
                );
                Err(ModelError::new(ModelErrorKind::RateLimited, message))
            }
        }
    }

    /// Spends a request and its tokens; how long to wait for them.
    fn spend(&self, reckoned: u64, deadline: Instant) -> Result<Duration, ModelError> {
        let now = Instant::now();
        let most = deadline.saturating_duration_since(now);
        let late = |what: &str, wait: Duration| {
            let message = format!(
                "{} has no room for another request for {:.1} s, and the step's deadline is in {:.1} s: run fewer at once, or \
                 raise `{what}_per_minute` of its settings",
                self.name,
                wait.as_secs_f64(),
                most.as_secs_f64()
            );
            ModelError::new(ModelErrorKind::RateLimited, message)
        };
        let spend = |rate: &Option<Rate>, units: u64| rate.as_ref().map_or(Ok(Duration::ZERO), |r| r.spend(units, now, most));
        let requests = spend(&self.requests, 1).map_err(|wait| late("requests", wait))?;
        let tokens = spend(&self.tokens, reckoned).map_err(|wait| {
            if let Some(rate) = &self.requests {
                rate.settle(1, 0);
            }
            late("tokens", wait)
        })?;
        Ok(requests.max(tokens))
    }
}

/// The tokens a request takes, about: what is said to the model, and what it may answer.
fn reckoned(request: &ModelRequest) -> u64 {
    let said: usize = request
        .messages
        .iter()
        .map(|chat| match chat {
            Chat::User { text } => size(text),
            Chat::Assistant { text, calls, .. } => {
                size(text) + calls.iter().map(|c| c.name.len() + size(&c.input)).sum::<usize>()
            }
            Chat::Tool { content, .. } => size(content),
            Chat::Reasoning { items, .. } => size(items),
        })
        .sum();
    let tools: usize = request.tools.iter().map(|t| t.name.len() + t.description.len() + t.text.get().len()).sum();
    let bytes = (request.instructions.len() + said + tools) as u64;
    bytes.div_ceil(TOKEN_BYTES as u64) + request.max_output_tokens.map_or(ANSWER_TOKENS, u64::from)
}

fn size(body: &commedia_domain::body::Body) -> usize {
    match body.value() {
        commedia_domain::value::Value::Text(text) => text.len(),
        other => other.to_json_text().len(),
    }
}
