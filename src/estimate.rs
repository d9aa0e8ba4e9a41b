//! What a run may ask of models at most, said before it starts. Simple on purpose: calls are bounded by the scenario's limits;
//! what each reads is counted from what is known of it, its instructions and tools, so the conversation comes on top.

use std::sync::Arc;

use commedia_actors::prices::{Prices, cost};
use commedia_domain::event::ModelBinding;
use commedia_domain::id::ModelIx;
use commedia_domain::run::budget::{DEFAULT_OUTPUT_TOKENS, micro_usd};
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
    estimate(scenario, prices, |alias| match alias.and_then(|m| models.get(m.at())).or(models.last()) {
        Some(ModelBinding::Provider { provider, model }) => Some((provider.clone(), model.clone())),
        _ => None,
    })
}

/// Of a scenario, by what its aliases name.
pub fn of_scenario(scenario: &Scenario, prices: &Prices) -> Option<Estimate> {
    estimate(scenario, prices, |alias| match &scenario.models[alias?.at()].target {
        ModelTarget::Provider { provider, model } => Some((provider.clone(), model.clone())),
        ModelTarget::Auto | ModelTarget::Stub => None,
    })
}

/// What the turns of an agent may come to at most.
struct Turns {
    /// How many there are of it.
    most: u64,
    calls: u64,
    tokens_in: u64,
    tokens_out: u64,
    cost_usd: Option<f64>,
}

fn estimate(
    scenario: &Scenario,
    prices: &Prices,
    asks: impl Fn(Option<ModelIx>) -> Option<(Arc<str>, Arc<str>)>,
) -> Option<Estimate> {
    let agents = scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm);
    let live: Vec<Turns> = agents.filter_map(|agent| turns(scenario, agent, prices, &asks)).collect();
    let all = scenario.limits.turns;
    // Each measure has the turns go to those that come to most by it: no run asks more.
    let most = |of: &dyn Fn(&Turns) -> u64| {
        let mut by: Vec<&Turns> = live.iter().collect();
        by.sort_by_key(|turns| std::cmp::Reverse(of(turns)));
        let (mut left, mut sum) = (all, 0_u64);
        for turns in by {
            let mine = turns.most.min(left);
            left -= mine;
            sum = sum.saturating_add(mine.saturating_mul(of(turns)));
        }
        sum
    };
    let priced = live.iter().all(|turns| turns.cost_usd.is_some());
    let micro = |turns: &Turns| micro_usd(turns.cost_usd.unwrap_or(0.0));
    #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
    let cost_usd = priced.then(|| most(&micro) as f64 / 1e6);
    (!live.is_empty()).then(|| Estimate {
        calls: most(&|turns| turns.calls),
        tokens_in: most(&|turns| turns.tokens_in),
        tokens_out: most(&|turns| turns.tokens_out),
        cost_usd,
        max_tokens: scenario.limits.tokens,
        max_cost_usd: scenario.limits.cost_usd,
    })
}

/// What a turn of an agent may come to: all its calls at the longest answer and the highest price of the models that may give
/// them, its own and its judges'. `None` where none of them is outside the process.
fn turns(
    scenario: &Scenario,
    agent: &Agent,
    prices: &Prices,
    asks: impl Fn(Option<ModelIx>) -> Option<(Arc<str>, Arc<str>)>,
) -> Option<Turns> {
    let mut longest = None;
    let mut price = Some((0.0_f64, 0.0_f64));
    for ix in agent.asks() {
        let Some((provider, model)) = asks(ix) else { continue };
        let alias = ix.map(|m| &*scenario.models[m.at()]);
        let answer = alias.and_then(|a| a.max_output_tokens).unwrap_or(DEFAULT_OUTPUT_TOKENS);
        longest = longest.max(Some(u64::from(answer)));
        for one in prices.answering(alias, &provider, &model) {
            price = price.zip(one.price).map(|(most, one)| (most.0.max(one.0), most.1.max(one.1)));
        }
    }
    let calls = per_turn(agent);
    let (tokens_in, tokens_out) = (calls.saturating_mul(reads(scenario, agent)), calls.saturating_mul(longest?));
    let most = agent.limits.turns.unwrap_or(u64::MAX);
    Some(Turns { most, calls, tokens_in, tokens_out, cost_usd: price.map(|price| cost(price, tokens_in, tokens_out)) })
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
        // A judge with a model of its own counts, too.
        let judged = "  a: {kind: llm, instructions: Hi, limits: {steps: 2}, guardrails: [{at: output, kind: llm, model: m, check: Well.}]}\n";
        check("limits: {turns: 1}", judged, &[("openai:*", (0.0, 10.0))], "2 2 200 Some(0.002)");
    }
}
