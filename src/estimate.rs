//! What a run may ask of models at most, said before it starts. Simple on purpose: calls are bounded by the scenario's limits;
//! what each reads is counted from what is known of it, its instructions and tools, so the conversation comes on top.

use commedia_actors::prices::{Prices, cost};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::budget::DEFAULT_OUTPUT_TOKENS;
use commedia_domain::scenario::{Agent, AgentKind, GuardrailCheck, ModelTarget, Scenario};
use serde_json::{Value as Json, json};

/// About so many bytes make a token.
const BYTES_PER_TOKEN: u64 = 4;

/// What models may be asked at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Calls at most: turns × calls of a turn.
    pub calls: u64,
    /// Tokens read, if all these calls were made: instructions and tools alone.
    pub tokens_in: u64,
    /// Tokens answered at most.
    pub tokens_out: u64,
    /// What these tokens cost; `None` where a price is not known.
    pub cost_usd: Option<f64>,
    /// `limits.tokens`.
    max_tokens: Option<u64>,
    /// `limits.cost_usd`.
    max_cost_usd: Option<f64>,
}

/// Of a run, by who answers in it; `None` where no model outside the process does.
pub fn of_run(scenario: &Scenario, models: &[ModelBinding], prices: &Prices) -> Option<Estimate> {
    estimate(scenario, prices, |agent| match agent.model.and_then(|m| models.get(m.at())).or(models.last()) {
        Some(ModelBinding::Provider { provider, model }) => Some((provider.to_string(), model.to_string())),
        _ => None,
    })
}

/// Of a scenario, by what its aliases name.
pub fn of_scenario(scenario: &Scenario, prices: &Prices) -> Option<Estimate> {
    estimate(scenario, prices, |agent| match &scenario.models[agent.model?.at()].target {
        ModelTarget::Provider { provider, model } => Some((provider.to_string(), model.to_string())),
        ModelTarget::Auto | ModelTarget::Stub => None,
    })
}

fn estimate(scenario: &Scenario, prices: &Prices, asks: impl Fn(&Agent) -> Option<(String, String)>) -> Option<Estimate> {
    let agents = scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm);
    let mut live: Vec<(&Agent, (String, String))> = agents.filter_map(|a| asks(a).map(|model| (&**a, model))).collect();
    // The turns go to those that may ask most in one: no run asks more.
    live.sort_by_key(|(agent, _)| std::cmp::Reverse(per_turn(agent)));
    let mut all = Estimate {
        calls: 0,
        tokens_in: 0,
        tokens_out: 0,
        cost_usd: Some(0.0),
        max_tokens: scenario.limits.tokens,
        max_cost_usd: scenario.limits.cost_usd,
    };
    let mut turns = scenario.limits.turns;
    for (agent, (provider, model)) in &live {
        let mine = agent.limits.turns.unwrap_or(turns).min(turns);
        turns -= mine;
        let calls = mine.saturating_mul(per_turn(agent));
        let alias = agent.model.map(|m| &scenario.models[m.at()]);
        let answer = alias.and_then(|a| a.max_output_tokens).unwrap_or(DEFAULT_OUTPUT_TOKENS);
        let (input, output) = (calls.saturating_mul(reads(scenario, agent)), calls.saturating_mul(u64::from(answer)));
        let price = alias.and_then(|a| a.price).or_else(|| prices.of(provider, model));
        all.calls = all.calls.saturating_add(calls);
        all.tokens_in = all.tokens_in.saturating_add(input);
        all.tokens_out = all.tokens_out.saturating_add(output);
        all.cost_usd = all.cost_usd.zip(price).map(|(sum, price)| sum + cost(price, input, output));
    }
    (!live.is_empty()).then_some(all)
}

/// Calls of one turn at most: `limits.steps`, judges included, and summaries.
fn per_turn(agent: &Agent) -> u64 {
    let history = u64::from(agent.history.summarise_at.is_some());
    let handoff = u64::from(agent.handoffs.iter().any(|h| h.carry == commedia_domain::scenario::Carry::Summary));
    let inputs = agent.guardrails.iter().filter(|g| matches!(g.check, GuardrailCheck::Llm(_))).count() as u64;
    // Judges of what comes in are asked whatever `steps` says.
    u64::from(agent.limits.steps).max(inputs) + history + handoff
}

/// Tokens of an agent's instructions and tools.
fn reads(scenario: &Scenario, agent: &Agent) -> u64 {
    let instructions = agent.instructions.as_ref().map_or(0, |t| t.source().len());
    let tools = scenario.offers[agent.ix.at()].iter();
    let tools: usize = tools.map(|t| t.name.len() + t.description.len() + t.text.get().len()).sum();
    ((instructions + tools) as u64).div_ceil(BYTES_PER_TOKEN)
}

impl Estimate {
    /// One line for people.
    pub fn line(&self) -> String {
        let cost = self.cost_usd.map_or_else(|| ", at prices nobody told".into(), |usd| format!(", about ${usd:.2}"));
        let mut line = format!(
            "at most {} model calls; all of them would read about {} tokens (instructions and tools; the conversation comes on \
             top) and answer with at most {}{cost}",
            self.calls,
            short(self.tokens_in),
            short(self.tokens_out),
        );
        if let Some(tokens) = self.max_tokens {
            line += &format!("; never more than {} tokens (`limits.tokens`)", short(tokens));
        }
        if let Some(usd) = self.max_cost_usd {
            line += &format!("; never more than ${usd} (`limits.cost_usd`)");
        }
        line
    }

    /// The same for programs.
    pub fn to_json(&self) -> Json {
        json!({
            "model_calls": self.calls, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out, "cost_usd": self.cost_usd,
            "max_tokens": self.max_tokens, "max_cost_usd": self.max_cost_usd,
        })
    }
}

/// A count in thousands or millions.
fn short(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{}k", n / 1000),
        _ => format!("{}M", n / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::scenario::{NoFiles, load};

    #[test]
    fn calls_are_bounded_by_limits_and_prices_by_what_is_known() {
        let check = |limits: &str, agents: &str, prices: &[(&str, (f64, f64))], expect: &str| {
            let text =
                format!("name: x\nmodels: {{m: {{use: 'openai:gpt', max_output_tokens: 100}}}}\n{limits}\nagents:\n{agents}");
            let scenario = load("x.yaml", text.as_bytes(), &NoFiles).expect("compiles").scenario;
            let prices = Prices::new(prices.iter().map(|(name, price)| ((*name).to_owned(), *price)));
            let found = of_scenario(&scenario, &prices);
            let found =
                found.map_or_else(String::new, |e| format!("{} {} {} {:?}", e.calls, e.tokens_in, e.tokens_out, e.cost_usd));
            assert_eq!(found, expect, "{text}");
        };
        let one = "  a: {kind: llm, model: m, instructions: Say hello to me.}\n";
        let two = "  a: {kind: llm, model: m, instructions: Hi, limits: {turns: 2, steps: 20}}\n  b: {kind: llm, model: m, instructions: Hi}\n";
        check("", "  a: {kind: llm, instructions: Hi}\n", &[], "");
        check("limits: {turns: 12}", one, &[], "120 480 12000 None");
        check("limits: {turns: 12}", one, &[("openai:*", (1.0, 10.0))], "120 480 12000 Some(0.12048)");
        check("limits: {turns: 5}", two, &[("openai:gpt", (0.0, 0.0))], "70 70 7000 Some(0.0)");
    }
}
