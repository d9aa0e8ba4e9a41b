//! What models cost, as data: per provider and model, USD per million tokens of input and of output. What a scenario says of an
//! alias goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_domain::event::{Amount, AnsweredBy, ModelBinding, Usage};
use commedia_domain::run::ModelRequest;
use commedia_domain::scenario::{AgentKind, ModelTarget, Scenario};

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

    /// The highest price that a request may be answered for: its model's, and those of the models it may fall back on.
    pub fn at_most(&self, request: &ModelRequest) -> Option<Price> {
        let alias = request.alias.as_deref();
        if let Some(price) = alias.and_then(|a| a.price) {
            return Some(price);
        }
        let ModelBinding::Provider { provider, model } = &request.binding else { return Some((0.0, 0.0)) };
        let further = alias.iter().flat_map(|a| &a.fallback).filter_map(|next| match &next.target {
            ModelTarget::Provider { provider, model } => Some(next.price.or_else(|| self.of(provider, model))),
            ModelTarget::Auto | ModelTarget::Stub => None,
        });
        std::iter::once(self.of(provider, model))
            .chain(further)
            .try_fold((0.0, 0.0), |most: Price, one| one.map(|(i, o)| (most.0.max(i), most.1.max(o))))
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
        let by = answer.source.as_ref().and_then(|s| s.model.split_once(':'));
        let other = by.filter(|(provider, model)| {
            !matches!(&request.binding, ModelBinding::Provider { provider: p, model: m } if **p == **provider && **m == **model)
        });
        let price = other.and_then(|(provider, model)| self.of(provider, model)).or_else(|| self.at_most(request));
        answer.usage.cost_usd = price.map_or(0.0, |price| cost(price, answer.usage.tokens_in, answer.usage.tokens_out));
    }

    /// The first model of a scenario's agents that has no price, where somebody counts its money: the alias, or the agent
    /// without one, and the model.
    pub fn missing(&self, scenario: &Scenario, models: &[ModelBinding], day: bool) -> Option<(Arc<str>, String)> {
        let run = day || scenario.limits.cost_usd.is_some();
        for agent in scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm && (run || a.limits.cost_usd.is_some())) {
            let judges = agent.guardrails.iter().filter_map(|g| match &g.check {
                commedia_domain::scenario::GuardrailCheck::Llm(judge) => judge.model,
                _ => None,
            });
            for model in std::iter::once(agent.model).chain(judges.map(Some)) {
                let alias = model.map(|m| &scenario.models[m.at()]);
                let Some(ModelBinding::Provider { provider, model }) = model.and_then(|m| models.get(m.at())).or(models.last())
                else {
                    continue;
                };
                if alias.is_none_or(|a| a.price.is_none()) && self.of(provider, model).is_none() {
                    let name = alias.map_or_else(|| agent.name.clone(), |a| a.name.clone());
                    return Some((name, format!("{provider}:{model}")));
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
