//! What models cost, as data: per provider and model, USD per million tokens of input and of output. What a scenario says of an
//! alias goes first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use commedia_domain::event::{Amount, AnsweredBy, ModelBinding, Usage};
use commedia_domain::run::ModelRequest;
use commedia_domain::scenario::{AgentKind, ModelAlias, ModelTarget, Scenario};

use crate::model::Answer;

/// USD per million tokens of input and of output.
pub type Price = (f64, f64);

/// Prices by provider and model; the model `*` stands for all of a provider that are not named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<Box<str>, BTreeMap<Box<str>, Price>>);

/// A model that may answer, and its price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answering<'a> {
    /// Its provider.
    pub provider: &'a str,
    /// Its name there.
    pub model: &'a str,
    /// What it costs, if that is known.
    pub price: Option<Price>,
}

impl Answering<'_> {
    /// Whether it is the one that is called `provider:model` so.
    fn is(&self, name: &str) -> bool {
        name.split_once(':').is_some_and(|(provider, model)| (self.provider, self.model) == (provider, model))
    }
}

impl fmt::Display for Answering<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.model)
    }
}

impl Prices {
    /// A table of these, by `provider:model`.
    pub fn new(prices: impl IntoIterator<Item = (String, Price)>) -> Prices {
        let mut table: BTreeMap<Box<str>, BTreeMap<Box<str>, Price>> = BTreeMap::new();
        for (name, price) in prices {
            let (provider, model) = name.split_once(':').unwrap_or((&name, ""));
            table.entry(provider.into()).or_default().insert(model.into(), price);
        }
        Prices(table)
    }

    /// The price of a provider's model.
    pub fn of(&self, provider: &str, model: &str) -> Option<Price> {
        let models = self.0.get(provider)?;
        models.get(model).or_else(|| models.get("*")).copied()
    }

    /// The models that may answer for a binding, its own first, each with its price. What an alias says holds for its own target,
    /// and for whatever `auto` found; not for a model that was named instead.
    pub fn answering<'a>(
        &'a self,
        alias: Option<&'a ModelAlias>,
        provider: &'a str,
        model: &'a str,
    ) -> impl Iterator<Item = Answering<'a>> {
        let known = alias.filter(|alias| match &alias.target {
            ModelTarget::Auto => true,
            ModelTarget::Stub => false,
            ModelTarget::Provider { provider: p, model: m } => (&**p, &**m) == (provider, model),
        });
        let own = known.and_then(|alias| alias.price).or_else(|| self.of(provider, model));
        let further = known.into_iter().flat_map(|alias| &alias.fallback).filter_map(|next| match &next.target {
            ModelTarget::Provider { provider, model } => {
                Some(Answering { provider, model, price: next.price.or_else(|| self.of(provider, model)) })
            }
            ModelTarget::Auto | ModelTarget::Stub => None,
        });
        std::iter::once(Answering { provider, model, price: own }).chain(further)
    }

    fn answering_request<'a>(&'a self, request: &'a ModelRequest) -> impl Iterator<Item = Answering<'a>> {
        let asked = match &request.binding {
            ModelBinding::Provider { provider, model } => Some((provider, model)),
            ModelBinding::Stub | ModelBinding::Offline => None,
        };
        asked.into_iter().flat_map(|(provider, model)| self.answering(request.alias.as_deref(), provider, model))
    }

    /// The highest price that a request may be answered for: its model's, and those of the models it may fall back on. The error
    /// names one that has none.
    pub fn at_most(&self, request: &ModelRequest) -> Result<Price, String> {
        let most = |most: Price, answering: Answering<'_>| match answering.price {
            Some((input, output)) => Ok((most.0.max(input), most.1.max(output))),
            None => Err(answering.to_string()),
        };
        self.answering_request(request).try_fold((0.0, 0.0), most)
    }

    /// What a request may need at most of a budget; without a price its money is not counted.
    pub fn needed(&self, request: &ModelRequest) -> Amount {
        let (tokens_in, tokens_out) = request.tokens_at_most();
        let cost_usd = self.at_most(request).map_or(0.0, |price| cost(price, tokens_in, tokens_out));
        Amount::of(&Usage { model_calls: 1, tokens_in, tokens_out, cost_usd })
    }

    /// Says in an answer what it cost, where whoever gave it did not. A cache's answer costs nothing.
    pub fn charge(&self, request: &ModelRequest, answer: &mut Answer) {
        if answer.by != AnsweredBy::Model || answer.usage.cost_usd > 0.0 {
            return;
        }
        let by = answer.source.as_ref().map_or("", |source| &source.model);
        let named = self.answering_request(request).find(|answering| answering.is(by)).and_then(|answering| answering.price);
        let known = || by.split_once(':').and_then(|(provider, model)| self.of(provider, model));
        let price = named.or_else(known).or_else(|| self.at_most(request).ok());
        answer.usage.cost_usd = price.map_or(0.0, |price| cost(price, answer.usage.tokens_in, answer.usage.tokens_out));
    }

    /// The first model that may answer a scenario's agents or their judges and has no price, where somebody counts its money: the
    /// alias, or the agent without one, and the model.
    pub fn missing(&self, scenario: &Scenario, models: &[ModelBinding], day: bool) -> Option<(Arc<str>, String)> {
        let run = day || scenario.limits.cost_usd.is_some();
        for agent in scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm && (run || a.limits.cost_usd.is_some())) {
            for ix in agent.asks() {
                let alias = ix.map(|m| &scenario.models[m.at()]);
                let Some(ModelBinding::Provider { provider, model }) = ix.and_then(|m| models.get(m.at())).or(models.last())
                else {
                    continue;
                };
                let mut answering = self.answering(alias.map(|a| &**a), provider, model);
                if let Some(unpriced) = answering.find(|answering| answering.price.is_none()) {
                    return Some((alias.map_or_else(|| agent.name.clone(), |a| a.name.clone()), unpriced.to_string()));
                }
            }
        }
        None
    }
}

/// What so many tokens cost.
#[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^52")]
pub fn cost((input, output): Price, tokens_in: u64, tokens_out: u64) -> f64 {
    (input * tokens_in as f64 + output * tokens_out as f64) / 1e6
}
