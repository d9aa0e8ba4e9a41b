//! How a run begins: parameters checked, templates of the clock resolved, start messages written.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Created, Event, ModelBinding};
use crate::id::AgentIx;
use crate::names::{Facts, Names, RunFacts};
use crate::run::Run;
use crate::run::state::blob_key;
use crate::scenario::{Parameter, Preset, Scenario};
use crate::schema::conform;
use crate::value::Value;
use crate::world::{World, matches};

/// How many of one agent there may be.
const MAX_REPLICAS: u64 = 1_000_000;
/// How many ticks a clock may have.
const MAX_TICKS: u64 = 10_000_000;

/// What a person asks a run to be made from.
#[derive(Clone, Debug)]
pub struct RunInput {
    /// Parameters by name; the others have their defaults.
    pub params: Vec<(String, Value)>,
    /// The seed of all draws.
    pub seed: u64,
    /// What `now` is in defaults, and the start of a real clock: milliseconds since 1970 UTC.
    pub now: i64,
    /// Who answers for each alias, then for agents without one.
    pub models: Vec<ModelBinding>,
}

/// A run ready to be stored.
pub struct NewRun {
    /// Its first event's content.
    pub created: Created,
}

impl NewRun {
    /// Checks parameters and resolves what depends on them. All faults at once, each naming the parameter and the remedy.
    pub fn new(scenario: &Arc<Scenario>, input: &RunInput) -> Result<NewRun, Vec<String>> {
        let blobs = blob_key();
        let params = resolve(scenario, input)?;
        let facts = Facts {
            scenario: scenario.clone(),
            params: Arc::new(params.clone()),
            seed: input.seed,
            tick: 0,
            now: input.now,
            run: no_facts(),
            blobs,
            storm: None,
        };
        let world = World::new(scenario);
        let names = Names::plain(&facts, &world);
        let mut faults = Vec::new();
        let mut late = |what: &str, value: Result<u64, crate::expression::EvalError>| {
            value.map_err(|e| faults.push(format!("{what}: {}", e.message))).unwrap_or(0)
        };
        let clock = &scenario.clock;
        let ticks = clock.ticks.as_ref().map(|t| late("`clock.ticks`", t.number(&names, MAX_TICKS)));
        let replicas = (scenario.agents.iter())
            .map(|a| late(&format!("`agents.{}.replicas`", a.name), a.replicas.number(&names, MAX_REPLICAS)))
            .map(|n| u32::try_from(n).unwrap_or(u32::MAX))
            .collect();
        let start = match &clock.start {
            Some(late) => late.moment(&names).map_err(|e| faults.push(format!("`clock.start`: {}", e.message))).unwrap_or(0),
            None if clock.mode == crate::scenario::ClockMode::Real => input.now,
            None => 0,
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(NewRun {
            created: Created {
                scenario: scenario.name.clone(),
                scenario_hash: scenario.hash,
                seed: input.seed,
                params: params.into_iter().map(|v| Body::new(v, &blobs)).collect(),
                start,
                ticks,
                replicas,
                models: input.models.clone(),
            },
        })
    }
}

fn no_facts() -> RunFacts {
    RunFacts {
        status: "queued",
        mode: "offline",
        ticks: 0,
        turns: 0,
        handoffs: 0,
        model_calls: 0,
        tokens_in: 0,
        tokens_out: 0,
        cost_usd: 0.0,
        degraded: false,
        failed: false,
    }
}

fn resolve(scenario: &Arc<Scenario>, input: &RunInput) -> Result<Vec<Value>, Vec<String>> {
    let mut faults = Vec::new();
    for (name, _) in &input.params {
        if !scenario.parameters.iter().any(|p| *p.name == **name) {
            let known: Vec<&str> = scenario.parameters.iter().map(|p| &*p.name).collect();
            let near = known.iter().map(|k| (strsim::damerau_levenshtein(k, name), *k)).min().filter(|(d, _)| *d <= 3);
            let help = near.map_or_else(
                || if known.is_empty() { "it has none".into() } else { format!("it has `{}`", known.join("`, `")) },
                |(_, k)| format!("did you mean `{k}`?"),
            );
            faults.push(format!("scenario `{}` has no parameter `{name}`: {help}", scenario.name));
        }
    }
    let mut values: Vec<Value> = Vec::with_capacity(scenario.parameters.len());
    for parameter in &scenario.parameters {
        let given = input.params.iter().rev().find(|(name, _)| **name == *parameter.name).map(|(_, v)| v.clone());
        let value = match given {
            Some(value) => Ok(value),
            None => preset(scenario, parameter, &values, input.seed, input.now),
        };
        let value =
            value.map(|v| conform(&parameter.schema.ty, &v.plain())).and_then(|v| matches(&v, &parameter.schema).map(|()| v));
        values.push(value.map_err(|e| faults.push(format!("parameter `{}`: {e}", parameter.name))).unwrap_or(Value::Null));
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// The default of a parameter, given the values of those before it.
fn preset(scenario: &Arc<Scenario>, parameter: &Parameter, before: &[Value], seed: u64, now: i64) -> Result<Value, String> {
    match &parameter.default {
        Some(Preset::Value(value)) => Ok(value.clone()),
        Some(Preset::Program(program)) => {
            let mut params = before.to_vec();
            params.resize(scenario.parameters.len(), Value::Null);
            let facts = Facts {
                scenario: scenario.clone(),
                params: Arc::new(params),
                seed,
                tick: 0,
                now,
                run: no_facts(),
                blobs: blob_key(),
                storm: None,
            };
            let world = World::new(scenario);
            program.eval(&Names::plain(&facts, &world), facts.limit()).map_err(|e| format!("its default: {}", e.message))
        }
        None => Err(format!("it has no default: give one with `--set {}=…`", parameter.name)),
    }
}

/// The parameters' defaults at a moment, in declaration order; `None` where one has none. An expression that needs a seed has 1.
pub fn defaults(scenario: &Arc<Scenario>, now: i64) -> Vec<Option<Value>> {
    let mut values: Vec<Value> = Vec::with_capacity(scenario.parameters.len());
    let mut found = Vec::with_capacity(scenario.parameters.len());
    for parameter in &scenario.parameters {
        let value = preset(scenario, parameter, &values, 1, now).ok().map(|v| conform(&parameter.schema.ty, &v.plain()));
        values.push(value.clone().unwrap_or(Value::Null));
        found.push(value);
    }
    found
}

impl Run {
    /// The first event after the creation: start messages written.
    pub(super) fn started(&self) -> Event {
        let facts = self.facts();
        let names = Names::plain(&facts, &self.state.world);
        let mut messages: Vec<(AgentIx, Option<Body>, Body)> = Vec::new();
        for start in &self.scenario.starts {
            let text = start.message.as_ref().map(|t| t.render(&names)).transpose();
            let data = start.input.as_ref().map_or(Ok(Value::Null), |d| names.build(d));
            match (text, data) {
                (Ok(text), Ok(data)) => {
                    let text = text.map(|t| Body::new(Value::text(t), &facts.blobs));
                    messages.push((start.agent, text, Body::new(data, &facts.blobs)));
                }
                (Err(e), _) | (_, Err(e)) => {
                    let name = &self.scenario.agents[start.agent.at()].name;
                    return self.failed(format!("the start message of `{name}`: {}", e.message));
                }
            }
        }
        Event::RunStarted { messages }
    }
}
