//! The gateway: the one `Model` of a process, over all its endpoints. Who is asked, in which order, how often, and what it cost.
//!
//! ```text
//! a request:  Waiting ──place──▶ Trying ──answer──▶ Answered      Trying ──transient error──▶ Pausing ──▶ Waiting
//!             any ──no chance before the deadline, attempts used up, an error no attempt mends──▶ the next target, else Failed
//! ```

mod breaker;
mod endpoint;
mod rate;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use commedia_domain::event::{ModelBinding, Usage};
use commedia_domain::run::ModelRequest;
use commedia_domain::scenario::{Api, ModelAlias, ModelTarget};
use tokio::time::{Instant, sleep};

pub use self::breaker::BreakerLimits;
use self::endpoint::Endpoint;
pub use self::endpoint::EndpointLimits;
use crate::metrics::{Metrics, ModelSeries};
use crate::model::{Answer, Deltas, Model, ModelError, ModelErrorKind, Provider, Source, stub};
use crate::prices::{Price, Prices};

/// Routes a process keeps: models at their addresses. Scenarios name them, so there is a bound.
const MAX_ROUTES: usize = 1024;
/// Characters of what is told of targets that failed.
const MAX_REASON: usize = 400;
/// Tokens that prices are given for.
const PRICED_TOKENS: f64 = 1e6;

/// Where a model is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `openai azure ollama anthropic`.
    pub provider: Arc<str>,
    /// Which of the provider's interfaces; its usual one if not said.
    pub api: Option<Api>,
    /// Where the scenario says the provider is, if not at its usual address.
    pub base_url: Option<Arc<str>>,
}

/// What is found at a place.
pub struct Found {
    /// Who speaks its format.
    pub provider: Arc<dyn Provider>,
    /// The endpoint's name, which stands in errors: places of one name share limits and breaker.
    pub endpoint: Arc<str>,
    /// Its limits.
    pub limits: EndpointLimits,
}

/// Finds endpoints: the process' settings and keys, which the gateway never sees.
pub trait Directory: Send + Sync {
    /// What is at a place. Called once for each, and quick.
    fn find(&self, place: &Place) -> Result<Found, ModelError>;
}

/// A model at its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    place: Place,
    model: Arc<str>,
}

struct Route {
    /// As `provider:model`.
    label: Arc<str>,
    provider: Arc<dyn Provider>,
    endpoint: Arc<Endpoint>,
    series: ModelSeries,
}

/// What has been found so far.
#[derive(Default)]
struct Routes {
    routes: HashMap<Address, Arc<Route>>,
    endpoints: HashMap<Arc<str>, Arc<Endpoint>>,
}

/// The gateway.
pub struct Gateway {
    directory: Arc<dyn Directory>,
    prices: Arc<Prices>,
    metrics: Arc<Metrics>,
    routes: RwLock<Routes>,
    /// Draws of pauses so far: no two alike, in no two processes.
    drawn: AtomicU64,
}

/// Somebody who may answer a step.
struct Target<'r> {
    to: ModelTarget,
    /// What the scenario says of it; `None` where the scenario does not know it.
    alias: Option<&'r ModelAlias>,
}

impl Gateway {
    /// Over the endpoints of a directory; what an alias does not say of its price the table does.
    pub fn new(directory: Arc<dyn Directory>, prices: Arc<Prices>, metrics: Arc<Metrics>) -> Gateway {
        let drawn = AtomicU64::new(RandomState::new().hash_one(std::process::id()));
        Gateway { directory, prices, metrics, routes: RwLock::default(), drawn }
    }

    /// The route of a model at its place.
    fn route(&self, address: &Address) -> Result<Arc<Route>, ModelError> {
        if let Some(route) = self.routes.read().unwrap_or_else(PoisonError::into_inner).routes.get(address) {
            return Ok(route.clone());
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.routes.get(address) {
            return Ok(route.clone());
        }
        if routes.routes.len() >= MAX_ROUTES {
            let message = format!("this process has asked {MAX_ROUTES} different models, and asks no others");
            return Err(ModelError::refused(message));
        }
        let found = self.directory.find(&address.place)?;
        let made = || Arc::new(Endpoint::new(found.endpoint.clone(), found.limits));
        let endpoint = routes.endpoints.entry(found.endpoint.clone()).or_insert_with(made).clone();
        let label: Arc<str> = format!("{}:{}", address.place.provider, address.model).into();
        let series = self.metrics.of_model(&label);
        let route = Arc::new(Route { label, provider: found.provider, endpoint, series });
        routes.routes.insert(address.clone(), route.clone());
        Ok(route)
    }

    /// One target, as often as its endpoint's settings say.
    async fn ask(
        &self,
        target: &Target<'_>,
        request: &ModelRequest,
        deltas: Option<&Deltas>,
        deadline: Instant,
        is_last: bool,
    ) -> Result<Answer, ModelError> {
        let (provider, model) = match &target.to {
            ModelTarget::Provider { provider, model } => (provider.clone(), model.clone()),
            ModelTarget::Stub | ModelTarget::Auto => return stub::answer(request),
        };
        let place =
            Place { provider, api: target.alias.and_then(|a| a.api), base_url: target.alias.and_then(|a| a.base_url.clone()) };
        let address = Address { place, model: model.clone() };
        let route = self.route(&address)?;
        let limits = route.endpoint.limits;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let begun = Instant::now();
            let answered = route.endpoint.attempt(&*route.provider, &model, request, deltas, deadline).await;
            let error = match answered {
                Ok(mut answer) => {
                    let cached = answer.source.as_ref().map_or(0, |s| s.cached_tokens);
                    let said = target.alias.and_then(|a| a.price.map(|price| (price, a.cached_price)));
                    let (provider, model) = (&address.place.provider, &address.model);
                    let price = said.or_else(|| self.prices.of(provider, model).map(|price| (price, None)));
                    answer.usage.cost_usd = price.map_or(0.0, |(price, less)| cost(price, less, &answer.usage, cached));
                    let source = answer.source.get_or_insert_with(Source::default);
                    if source.model.is_empty() {
                        source.model = route.label.to_string();
                    }
                    route.series.answered(begun.elapsed(), &answer.usage);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            route.series.failed(error.kind, begun.elapsed());
            // An endpoint that is left alone is waited for only where nobody else can answer.
            let waits = error.kind == ModelErrorKind::Open && is_last && !request.has_fallback;
            if attempt >= limits.attempts || !(error.kind.is_transient() || waits) {
                return Err(after(error, attempt));
            }
            let pause = error.retry_after.unwrap_or_default().max(self.pause(&limits, attempt));
            let left = deadline.saturating_duration_since(Instant::now());
            if pause >= left {
                return Err(no_time(error, pause, left));
            }
            tracing::debug!(model = %route.label, attempt, pause_s = pause.as_secs_f64(), %error, "a model is asked again");
            sleep(pause).await;
            if let Some(deltas) = deltas {
                deltas.tell("");
            }
        }
    }

    /// A pause with full jitter: drawn from nothing up to a bound that doubles.
    fn pause(&self, limits: &EndpointLimits, attempt: u32) -> Duration {
        let bound = limits.backoff.saturating_mul(1 << (attempt - 1).min(16)).min(limits.max_backoff);
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        // SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
        let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "53 bits of it")]
        let share = ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(share)
    }
}

#[async_trait]
impl Model for Gateway {
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let deadline = Instant::now() + Duration::from_millis(request.timeout_ms);
        let targets = targets(request);
        let mut failed: Option<ModelError> = None;
        for (n, target) in targets.iter().enumerate() {
            let is_last = n + 1 == targets.len();
            // Who has somebody behind them may take half of what time is left.
            let left = deadline.saturating_duration_since(Instant::now());
            let until = if is_last { deadline } else { Instant::now() + left / 2 };
            match self.ask(target, request, deltas, until, is_last).await {
                Ok(mut answer) => {
                    if let Some(error) = failed {
                        let source = answer.source.get_or_insert_with(|| Source { model: "stub".into(), ..Source::default() });
                        source.instead = Some(error.message);
                    }
                    return Ok(answer);
                }
                Err(error) => {
                    if !is_last {
                        tracing::info!(agent = %request.agent, %error, "the next of the alias' fallback is asked");
                    }
                    failed = Some(joined(failed, error));
                }
            }
        }
        Err(failed.unwrap_or_else(|| ModelError::refused("no model is bound to this agent")))
    }

    fn left_alone(&self) -> Vec<Arc<str>> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let left_alone = routes.endpoints.iter().filter(|(_, endpoint)| endpoint.is_left_alone());
        let mut names: Vec<Arc<str>> = left_alone.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}

/// Who may answer, in order. What an alias says holds for its own target, and for whatever `auto` found.
fn targets(request: &ModelRequest) -> Vec<Target<'_>> {
    let ModelBinding::Provider { provider, model } = &request.binding else {
        return vec![Target { to: ModelTarget::Stub, alias: None }];
    };
    let to = ModelTarget::Provider { provider: provider.clone(), model: model.clone() };
    let alias = request.alias.as_deref();
    let known = alias.filter(|a| a.target == to || a.target == ModelTarget::Auto);
    let further = known.map(|a| a.fallback.as_slice()).unwrap_or_default();
    let further = further.iter().map(|next| Target { to: next.target.clone(), alias: Some(next) });
    std::iter::once(Target { to, alias: known }).chain(further).collect()
}

/// What an answer costs at a price, with that of cached tokens where it is another one.
fn cost((input, output): Price, less: Option<f64>, usage: &Usage, cached: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
    let tokens = |n: u64| n as f64 / PRICED_TOKENS;
    let cached = cached.min(usage.tokens_in);
    tokens(usage.tokens_in - cached) * input + tokens(cached) * less.unwrap_or(input) + tokens(usage.tokens_out) * output
}

/// An error after several attempts says how many they were.
fn after(error: ModelError, attempts: u32) -> ModelError {
    if attempts < 2 {
        return error;
    }
    ModelError { message: format!("{} ({attempts} attempts)", error.message), ..error }
}

/// A pause that does not end before the deadline is not begun.
fn no_time(error: ModelError, pause: Duration, left: Duration) -> ModelError {
    let asked = if error.retry_after.is_some_and(|asked| asked >= pause) { "it asks to wait" } else { "the next attempt is in" };
    let message = format!(
        "{} ({asked} {:.1} s, and the step's deadline is in {:.1} s)",
        error.message,
        pause.as_secs_f64(),
        left.as_secs_f64()
    );
    ModelError { message, ..error }
}

/// The errors of targets, one after the other; the last one's kind.
fn joined(before: Option<ModelError>, error: ModelError) -> ModelError {
    let Some(before) = before else { return error };
    let message: String = format!("{}; then {}", before.message, error.message).chars().take(MAX_REASON).collect();
    ModelError { message, ..error }
}
