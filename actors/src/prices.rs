//! What models cost, as data: per provider and model, USD per million tokens of input and of output. What a scenario says of an
//! alias goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_domain::event::{Amount, AnsweredBy, ModelBinding, Usage};
use commedia_domain::run::ModelRequest;
use commedia_domain::scenario::{AgentKind, ModelAlias, ModelTarget, Scenario};

use crate::model::Answer;

/// USD per million tokens of input and of output.
pub type Price = (f64, f64);

/// Prices by `provider:model`; `provider:*` stands for all models of a provider that are not named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, Price>);

impl Prices {
    /// A table of these.
    pub fn new(prices: impl IntoIterator<Item = (String, Price)>) -> Prices {
        Prices(prices.into_iter().collect())
    }

    /// The price of a provider's model.
    pub fn of(&self, provider: &str, model: &str) -> Option<Price> {
        self.0.get(&format!("{provider}:{model}")).or_else(|| self.0.get(&format!("{provider}:*"))).copied()
    }

    /// The models that may answer for a binding, its own first, each with its price. What an alias says holds for its own target,
    /// and for whatever `auto` found; not for a model that was named instead.
    pub fn answering(&self, alias: Option<&ModelAlias>, provider: &Arc<str>, model: &Arc<str>) -> Vec<(String, Option<Price>)> {
        let to = ModelTarget::Provider { provider: provider.clone(), model: model.clone() };
        let known = alias.filter(|a| a.target == to || a.target == ModelTarget::Auto);
        let own = known.and_then(|a| a.price).or_else(|| self.of(provider, model));
        let further = known.iter().flat_map(|a| &a.fallback).filter_map(|next| match &next.target {
            ModelTarget::Provider { provider, model } => {
                Some((format!("{provider}:{model}"), next.price.or_else(|| self.of(provider, model))))
            }
            ModelTarget::Auto | ModelTarget::Stub => None,
        });
        std::iter::once((format!("{provider}:{model}"), own)).chain(further).collect()
    }

    fn answering_request(&self, request: &ModelRequest) -> Vec<(String, Option<Price>)> {
        match &request.binding {
            ModelBinding::Provider { provider, model } => self.answering(request.alias.as_deref(), provider, model),
            ModelBinding::Stub | ModelBinding::Offline => Vec::new(),
        }
    }

    /// The highest price that a request may be answered for: its model's, and those of the models it may fall back on. The error
    /// names one that has none.
    pub fn at_most(&self, request: &ModelRequest) -> Result<Price, String> {
        let most = |most: Price, (name, price): (String, Option<Price>)| match price {
            Some((input, output)) => Ok((most.0.max(input), most.1.max(output))),
            None => Err(name),
        };
        self.answering_request(request).into_iter().try_fold((0.0, 0.0), most)
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
        let named = self.answering_request(request).into_iter().find(|(name, _)| name == by).and_then(|(_, price)| price);
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
                let answering = self.answering(alias.map(|a| &**a), provider, model);
                if let Some((unpriced, _)) = answering.into_iter().find(|(_, price)| price.is_none()) {
                    return Some((alias.map_or_else(|| agent.name.clone(), |a| a.name.clone()), unpriced));
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
