//! What a model is asked: built from the state when the step is performed, never stored.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};

use crate::event::{ModelBinding, tool_name};
use crate::expression::EvalError;
use crate::message::{Chat, MessageKind, StepId};
use crate::names::{AgentNames, Names};
use crate::run::Run;
use crate::scenario::{Agent, Scenario, ScriptStep, ToolRef};
use crate::turn::{TurnView, as_text, ask_name, handoff_name, offered};
use crate::value::Value;

/// A tool, a handoff or a delegate as a model sees it.
#[derive(Clone, Debug)]
pub struct ToolDefinition {
    /// The name to call.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its input.
    pub schema: serde_json::Value,
    /// The same as text, written once.
    pub text: Box<RawValue>,
    /// What kind of call it is.
    pub kind: CallKind,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// Runs a tool.
    Tool,
    /// Passes the floor.
    Handoff,
    /// Asks a delegate.
    Ask,
}

/// One request to a model.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// Which step it is.
    pub step: StepId,
    /// The agent's name.
    pub agent: Arc<str>,
    /// Which of the block.
    pub replica: u32,
    /// Who answers.
    pub binding: ModelBinding,
    /// The run's seed, for the stub.
    pub seed: u64,
    /// The system's words.
    pub instructions: String,
    /// The conversation, oldest first.
    pub messages: Vec<Chat>,
    /// What may be called.
    pub tools: Vec<Arc<ToolDefinition>>,
    /// What the final output must be.
    pub output: Option<Arc<serde_json::Value>>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Bound of the answer.
    pub max_output_tokens: Option<u32>,
    /// Scripted answers of the stub.
    pub script: Vec<ScriptStep>,
    /// Calls of the model in this turn before this one.
    pub asked: u32,
    /// Agents that spoke in this conversation, by name.
    pub visited: Vec<Arc<str>>,
    /// Wall time it may take, milliseconds.
    pub timeout_ms: u64,
}

impl Run {
    /// The request of a model step that is owed.
    pub fn model_request(&self, step: StepId) -> Result<ModelRequest, EvalError> {
        let turn = self.state.turns.values().find(|t| t.owes(step)).ok_or_else(|| EvalError::new("the step is not owed"))?;
        let agent = self.scenario.agents[turn.seat.agent.at()].clone();
        let facts = self.facts();
        let world = self.turn_world(turn);
        let own = AgentNames::new(&agent, turn.seat, 0);
        let names = Names {
            agent: Some(&own),
            message: Some(&turn.message),
            input: Some(&turn.message.data),
            ..Names::plain(&facts, &world)
        };
        let instructions = match &agent.instructions {
            Some(template) => template.render(&names)?,
            None => String::new(),
        };
        let history = turn.message.chain.iter().flat_map(|c| c.history.iter());
        let mut messages: Vec<Chat> = history.cloned().collect();
        let words = self.words(&turn.message);
        if let Some(words) = words {
            messages.push(Chat::User { text: crate::body::Body::new(Value::text(words), &facts.blobs) });
        }
        messages.extend(turn.said.iter().cloned());
        let visited = messages.iter().filter_map(|c| match c {
            Chat::Assistant { agent, .. } => Some(self.scenario.agents[agent.at()].name.clone()),
            _ => None,
        });
        let alias = agent.model.map(|m| &self.scenario.models[m.at()]);
        Ok(ModelRequest {
            step,
            agent: agent.name.clone(),
            replica: turn.seat.replica,
            binding: if turn.stubbed { ModelBinding::Stub } else { self.state.binding(&agent).clone() },
            seed: facts.seed,
            instructions,
            visited: visited.collect(),
            tools: self.offered(&agent, &TurnView { facts: &facts, world: &world }),
            output: agent.output.as_ref().map(|s| s.json.clone()),
            temperature: alias.and_then(|a| a.temperature),
            max_output_tokens: alias.and_then(|a| a.max_output_tokens),
            script: agent.stub.clone(),
            asked: turn.asked,
            timeout_ms: agent.limits.timeout_ms,
            messages,
        })
    }

    /// The words of a message to a model: its text, and what came along as JSON.
    fn words(&self, message: &crate::message::Message) -> Option<String> {
        let data = (message.data != Value::Null).then(|| as_text(&message.data));
        match (&message.text, data, message.kind) {
            (Some(text), Some(data), _) => Some(format!("{text}\n{data}")),
            (Some(text), None, _) => Some(text.to_string()),
            (None, Some(data), _) => Some(data),
            (None, None, MessageKind::Record) => message.record.as_ref().map(|(collection, key)| {
                format!("A record of `{}` was written: {key}", self.scenario.collections[collection.at()].shape.name)
            }),
            (None, None, MessageKind::Handoff) => None,
            (None, None, kind) => Some(kind.word().to_owned()),
        }
    }

    /// What an agent's model may call now: handoffs have a condition, the rest is always there.
    fn offered(&self, agent: &Agent, view: &TurnView<'_>) -> Vec<Arc<ToolDefinition>> {
        let all = &self.scenario.offers[agent.ix.at()];
        let handoff = |n: usize| n.checked_sub(agent.tools.len()).and_then(|n| agent.handoffs.get(n));
        let now = |n: usize| handoff(n).is_none_or(|spec| offered(view, spec));
        all.iter().enumerate().filter(|(n, _)| now(*n)).map(|(_, definition)| definition.clone()).collect()
    }
}

impl ToolDefinition {
    fn new(name: String, description: String, schema: serde_json::Value, kind: CallKind) -> Arc<ToolDefinition> {
        let text = to_raw_value(&schema).expect("a schema is JSON");
        Arc::new(ToolDefinition { name, description, schema, text, kind })
    }
}

/// What the models of a scenario's agents may call, by agent: its tools, then its handoffs, then its delegates. Worked out
/// once for a scenario version.
pub(crate) fn offers(scenario: &Scenario) -> Vec<Vec<Arc<ToolDefinition>>> {
    let empty = || serde_json::json!({"type": "object", "properties": {}});
    let of = |agent: &Arc<Agent>| {
        let tools = agent.tools.iter().map(|tool| definition(scenario, *tool));
        let handoffs = agent.handoffs.iter().map(|h| {
            let name = &scenario.agents[h.to.at()].name;
            let description = format!("Handoff to the {name} agent to handle the request.");
            ToolDefinition::new(handoff_name(name), description, empty(), CallKind::Handoff)
        });
        let asks = agent.delegates.iter().map(|d| {
            let name = &scenario.agents[d.at()].name;
            let schema = serde_json::json!({
                "type": "object",
                "required": ["question"],
                "properties": {"question": {"type": "string"}},
            });
            ToolDefinition::new(ask_name(name), format!("Ask the {name} agent a question."), schema, CallKind::Ask)
        });
        tools.chain(handoffs).chain(asks).collect()
    };
    scenario.agents.iter().map(of).collect()
}

fn definition(scenario: &Scenario, tool: ToolRef) -> Arc<ToolDefinition> {
    let name = tool_name(scenario, tool);
    let collection = |c: crate::id::CollectionIx| &scenario.collections[c.at()];
    let by_key = |c: crate::id::CollectionIx| {
        let spec = collection(c);
        let properties = spec.schema.json.get("properties").cloned().unwrap_or_default();
        let keys: serde_json::Map<String, serde_json::Value> = (spec.shape.key.iter())
            .map(|k| (k.to_string(), properties.get(&**k).cloned().unwrap_or_else(|| serde_json::json!({}))))
            .collect();
        serde_json::json!({"type": "object", "required": spec.shape.key, "properties": keys})
    };
    let (description, schema) = match tool {
        ToolRef::Declared(ix) => {
            let spec = &scenario.tools[ix.at()];
            (spec.description.clone(), (*spec.input.json).clone())
        }
        ToolRef::Query(c) => {
            let mut properties = collection(c).schema.json.get("properties").cloned().unwrap_or_default();
            if let Some(map) = properties.as_object_mut() {
                map.insert(
                    "limit".into(),
                    serde_json::json!({"type": "integer", "minimum": 1, "maximum": crate::tool::QUERY_LIMIT}),
                );
            }
            (
                format!("Records of `{}` whose fields equal the given ones.", collection(c).shape.name),
                serde_json::json!({"type": "object", "properties": properties}),
            )
        }
        ToolRef::Get(c) => (format!("The record of `{}` with a key.", collection(c).shape.name), by_key(c)),
        ToolRef::Put(c) => (format!("Writes a record of `{}`.", collection(c).shape.name), (*collection(c).schema.json).clone()),
        ToolRef::Delete(c) => (format!("Deletes the record of `{}` with a key.", collection(c).shape.name), by_key(c)),
        ToolRef::View(v) => {
            let view = &scenario.views[v.at()];
            (
                view.description.clone().unwrap_or_else(|| format!("The view `{}`.", view.name)),
                serde_json::json!({"type": "object", "properties": {}}),
            )
        }
    };
    ToolDefinition::new(name, description, schema, CallKind::Tool)
}
