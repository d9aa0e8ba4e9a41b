//! What goes over the wire: requests and answers. Their schemas are those of the API's document.

mod identity;

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_actors::run_id::RunId;
use commedia_actors::runtime::RunSummary;
use commedia_domain::event::tool_name;
use commedia_domain::id::{AgentIx, CollectionIx, StateIx};
use commedia_domain::message::Seat;
use commedia_domain::run::state::MetricState;
use commedia_domain::run::{Run, UnknownStep};
use commedia_domain::step::idempotency_key;
use commedia_domain::value::timestamp_text;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use crate::events::{labels_json, seat_name};
use crate::words::OutcomeWord;

pub(crate) use self::identity::*;

/// A run to be started.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRun {
    /// The name of a scenario; `GET /api/scenarios` lists them. `NAME@VERSION` for an older version.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) scenario: String,
    /// Values of parameters by name; what is not named has its default.
    #[serde(default)]
    pub(crate) parameters: Map<String, Json>,
    /// The seed of all random draws.
    #[serde(default = "one", deserialize_with = "whole")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_u64))]
    pub(crate) seed: u64,
    /// Who answers for every model: `PROVIDER:NAME` such as `openai:gpt-4o-mini`, `stub`, `auto` or `offline`. Default: what the
    /// scenario says.
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = r"^(auto|stub|offline|(openai|azure|ollama|anthropic):\S+)$"))]
    pub(crate) model: Option<String>,
    /// The day the run is asked for, as `2026-03-02`, which defaults such as "next Monday" count from. Default: today.
    #[serde(default)]
    #[schemars(extend("format" = "date"))]
    pub(crate) today: Option<String>,
    /// Names and values by which people find the run again: 16 at most.
    #[serde(default)]
    #[schemars(extend(
        "maxProperties" = 16,
        "propertyNames" = {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$"},
        "additionalProperties" = {"type": "string", "pattern": r"^[ -~]{0,63}$"}
    ))]
    pub(crate) labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Faults to inject in the place of the scenario's own, as its `faults` are written; `[]` for calm weather.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(crate) faults: Option<Vec<Map<String, Json>>>,
}

/// Beyond it JSON's numbers skip some.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_991.0;

fn one() -> u64 {
    1
}

/// A whole number, which JSON may write as `7.0`.
fn whole<'de, D: Deserializer<'de>>(given: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(given)?;
    let float = || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=LARGEST_WHOLE).contains(n));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and within the bounds")]
    let whole = number.as_u64().or_else(|| float().map(|n| n as u64));
    whole.ok_or_else(|| D::Error::custom(format!("{number} is no whole number")))
}

/// A run as lists have it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunView {
    /// Its id.
    pub(crate) run_id: String,
    /// Its scenario.
    pub(crate) scenario: String,
    /// `queued running waiting paused cancelling completed failed timed_out over_budget cancelled quarantined`, or `unknown` where its
    /// row is damaged.
    pub(crate) status: String,
    /// Where it is `waiting`: for a `timer`, or for a `reconciliation`, where somebody has to say what became of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_for: Option<&'static str>,
    /// The moment it waits for, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_until: Option<String>,
    /// The seed of its draws.
    pub(crate) seed: u64,
    /// Stored events so far.
    pub(crate) events: u64,
    /// Names and values by which people find it again.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(default)]
    pub(crate) labels: Map<String, Json>,
    /// When it was created.
    pub(crate) started_at: String,
    /// When it ended; `null` where it has not.
    pub(crate) ended_at: Option<String>,
    /// What is wrong with what is stored of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) damage: Option<String>,
}

impl From<RunSummary> for RunView {
    fn from(run: RunSummary) -> RunView {
        let word = if run.waits_ms.is_some() { "timer" } else { "reconciliation" };
        let waiting_for = (run.status == "waiting").then_some(word);
        RunView {
            run_id: run.id.to_string(),
            scenario: run.scenario,
            waiting_for,
            waiting_until: run.waits_ms.map(timestamp_text),
            status: run.status,
            seed: run.seed,
            events: run.events,
            labels: labels_json(&run.labels),
            started_at: timestamp_text(run.started_ms),
            ended_at: run.ended_ms.map(timestamp_text),
            damage: run.damage,
        }
    }
}

/// How a run stood after an event.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StateView {
    /// The run.
    pub(crate) run_id: String,
    /// The event.
    pub(crate) seq: u64,
    /// The status' word.
    pub(crate) status: String,
    /// The tick.
    pub(crate) tick: u64,
    /// Run time.
    pub(crate) at: String,
    /// State variables by name.
    pub(crate) state: Map<String, Json>,
    /// How many records each collection has.
    pub(crate) collections: BTreeMap<String, usize>,
    /// The agents, in declaration order.
    pub(crate) agents: Vec<AgentView>,
    /// The latest value of each metric that has one.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Steps of which nobody knows what became of them.
    pub(crate) unknown_steps: Vec<UnknownStepView>,
}

/// A step that left the process and of which nobody knows what became of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UnknownStepView {
    /// The step, as its resolution names it.
    pub(crate) step: String,
    /// Whose.
    pub(crate) agent: String,
    /// The tool that was called.
    pub(crate) tool: String,
    /// Which attempt it was, from 1.
    pub(crate) attempt: u32,
    /// The key that was sent along.
    pub(crate) idempotency_key: String,
    /// Why nobody knows.
    pub(crate) reason: String,
}

/// An agent in a run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentView {
    /// Its name.
    pub(crate) agent: String,
    /// How many there are of it.
    pub(crate) replicas: u32,
    /// Messages in its mailboxes, of the first thousand replicas.
    pub(crate) queued: usize,
    /// Turns of it that have begun and not ended.
    pub(crate) open_turns: usize,
    /// Replicas of it that take no more messages.
    pub(crate) quarantined: usize,
}

/// Replicas whose mailboxes are counted.
const COUNTED: u32 = 1000;

impl StateView {
    pub(crate) fn of(id: &RunId, seq: u64, run: &Run) -> StateView {
        let (scenario, state) = (run.scenario(), run.state());
        let names = |n: usize| scenario.metrics[n].name.to_string();
        let agent = |n: usize| {
            let (ix, replicas) = (AgentIx::from(n), state.created.replicas.get(n).copied().unwrap_or(0));
            let seats = (0..replicas.min(COUNTED)).map(|replica| Seat { agent: ix, replica });
            AgentView {
                agent: scenario.agents[n].name.to_string(),
                replicas,
                queued: seats.map(|seat| state.mail.len(seat)).sum(),
                open_turns: state.turns.keys().filter(|seat| seat.agent == ix).count(),
                quarantined: state.quarantined.keys().filter(|seat| seat.agent == ix).count(),
            }
        };
        let variable = |n: usize| (scenario.state[n].name.to_string(), state.world.state(StateIx::from(n)).to_json());
        let records =
            |n: usize| (scenario.collections[n].shape.name.to_string(), state.world.collection(CollectionIx::from(n)).len());
        let metric = |(n, metric): (usize, &MetricState)| Some((names(n), metric.last?));
        let unknown = |s: &UnknownStep| UnknownStepView {
            step: s.step.to_string(),
            agent: seat_name(scenario, s.seat),
            tool: tool_name(scenario, s.tool).to_string(),
            attempt: s.attempt,
            idempotency_key: idempotency_key(id.as_str(), s.step),
            reason: s.reason.to_string(),
        };
        StateView {
            run_id: id.to_string(),
            seq,
            status: state.status.word().into(),
            tick: state.tick,
            at: timestamp_text(state.now),
            state: (0..scenario.state.len()).map(variable).collect(),
            collections: (0..scenario.collections.len()).map(records).collect(),
            agents: (0..scenario.agents.len()).map(agent).collect(),
            metrics: state.metrics.iter().enumerate().filter_map(metric).collect(),
            unknown_steps: run.unknown_steps().iter().map(unknown).collect(),
        }
    }
}

/// A person's words to an agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Words {
    /// The agent; of several alike one by its number, such as `customer/3`.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) agent: String,
    /// The words.
    #[schemars(length(min = 1, max = 100_000))]
    pub(crate) text: String,
}

/// What became of a step of which nobody knew.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolved {
    /// Whether it happened.
    pub(crate) outcome: ResolvedAs,
    /// What it gave; of a failed one its reason, as text; of one to be tried again nothing.
    #[serde(default)]
    pub(crate) result: Option<Json>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResolvedAs {
    /// It happened.
    Succeeded,
    /// It did not happen, and is not to be tried again.
    Failed,
    /// It did not happen, and is to be performed again, with the same key.
    Retry,
}

impl From<ResolvedAs> for OutcomeWord {
    fn from(outcome: ResolvedAs) -> OutcomeWord {
        match outcome {
            ResolvedAs::Succeeded => OutcomeWord::Succeeded,
            ResolvedAs::Failed => OutcomeWord::Failed,
            ResolvedAs::Retry => OutcomeWord::Retry,
        }
    }
}

/// How a run is replayed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    /// Decide everything anew and compare each canonical event, byte for byte.
    #[serde(default)]
    pub(crate) verify: bool,
}

/// A page of runs, newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunsPage {
    /// The runs.
    pub(crate) data: Vec<RunView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// A page of a run's events.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct EventsPage {
    /// The events in order, as `/schema/event/v1.json` has them.
    pub(crate) data: Vec<Map<String, Json>>,
    /// What `after` asks for the next page; `null` where no more are stored.
    pub(crate) next: Option<u64>,
}

/// A line of a run's transcript.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Line {
    /// The stored event.
    pub(crate) seq: u64,
    /// The event's type, such as `model.answered`, `handoff.made`, `message.sent`, `tool.answered` or `input.received`.
    pub(crate) kind: &'static str,
    /// Run time.
    pub(crate) at: Option<String>,
    /// The agent.
    pub(crate) agent: Option<String>,
    /// What was said or done, for people.
    pub(crate) text: String,
    /// The same, as the event has it.
    pub(crate) data: Json,
}

/// A page of a run's transcript.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TranscriptPage {
    /// The lines in order.
    pub(crate) data: Vec<Line>,
    /// What `after` asks for the next page; `null` where no more events are stored.
    pub(crate) next: Option<u64>,
}

/// A provider of models.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelView {
    /// Its name in scenarios and in `model`.
    pub(crate) provider: &'static str,
    /// Whether there is a key and an address.
    pub(crate) configured: bool,
    /// The model that `auto` takes of it.
    pub(crate) model: Option<String>,
}

/// All providers.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ModelsPage {
    /// The providers, in the order in which `auto` looks at them.
    pub(crate) data: Vec<ModelView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// A tool.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolView {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) about: String,
    /// The JSON Schema of what it takes.
    pub(crate) input: Json,
}

/// All tools.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolsPage {
    /// The tools.
    pub(crate) data: Vec<ToolView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// Why something is done to a run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    /// In words, for the log.
    #[serde(default)]
    #[schemars(length(min = 1, max = 1000))]
    pub(crate) reason: Option<String>,
}

/// What becomes of a quarantined run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// Whether it is tried again, or has failed.
    pub(crate) to: ReleaseTo,
}

/// See [`Release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReleaseTo {
    /// It goes on.
    Running,
    /// It ends.
    Failed,
}

/// What a command led to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    /// The run.
    pub(crate) run_id: String,
    /// The seq of the last event that the command led to.
    pub(crate) seq: u64,
}

/// A scenario as lists have it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScenarioView {
    /// Its name.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) about: String,
    /// The hash of this version.
    pub(crate) hash: String,
    /// Its parameters.
    pub(crate) parameters: Vec<ParameterView>,
    /// The names of its agents.
    pub(crate) agents: Vec<String>,
    /// Where it comes from: `built_in` or `workspace`.
    pub(crate) source: &'static str,
    /// Which version it is; of one that is built in, 1.
    pub(crate) version: u64,
}

/// A version of a scenario.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VersionView {
    /// Which: the first is 1.
    pub(crate) version: u64,
    /// The hash of the document and its files.
    pub(crate) hash: String,
    /// When it was put; `null` for one that is built in.
    pub(crate) put_at: Option<String>,
    /// Who put it.
    pub(crate) put_by: String,
}

/// All versions of a scenario.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VersionsPage {
    /// The versions, the newest first.
    pub(crate) data: Vec<VersionView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// A parameter of a scenario.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ParameterView {
    /// Its name.
    pub(crate) name: String,
    /// The JSON Schema of its value.
    pub(crate) schema: Map<String, Json>,
}

/// A page of scenarios.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ScenariosPage {
    /// The scenarios.
    pub(crate) data: Vec<ScenarioView>,
    /// What `after` asks for the next page; `null` at the end.
    pub(crate) next: Option<String>,
}

/// A scenario's document to be looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// The scenario as YAML or JSON text.
    #[schemars(length(min = 1))]
    pub(crate) source: String,
}

/// Whether a scenario can be run.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Validated {
    /// Whether it has no errors.
    pub(crate) ok: bool,
    /// All that is wrong, as `commedia validate --output json` has it.
    pub(crate) diagnostics: Vec<Map<String, Json>>,
}

/// A text to read parameters out of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Extract {
    /// The name of a scenario.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) scenario: String,
    /// What is wanted, in a person's own words.
    #[schemars(length(min = 1, max = 16_384), regex(pattern = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]*$"))]
    pub(crate) text: String,
    /// The day it is written on, as `2026-03-02`. Default: today.
    #[serde(default)]
    #[schemars(extend("format" = "date"))]
    pub(crate) today: Option<String>,
}

/// An object whose shape is told elsewhere.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Object(pub(crate) Map<String, Json>);

impl Object {
    /// Of a value that is one; anything else is an empty one.
    pub(crate) fn of(json: Json) -> Object {
        match json {
            Json::Object(fields) => Object(fields),
            _ => Object(Map::new()),
        }
    }
}

/// Whether all is well.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`, or `unavailable`.
    pub(crate) status: &'static str,
    /// What was looked at, and how it stands.
    pub(crate) checks: Map<String, Json>,
}

/// An error (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemView {
    /// Always `about:blank`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The status in words.
    pub(crate) title: String,
    /// The status.
    pub(crate) status: u16,
    /// A word for programs.
    pub(crate) code: String,
    /// What is wrong, for people.
    pub(crate) detail: String,
    /// Where several things are wrong: each with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) errors: Option<Vec<FaultView>>,
}

/// What is wrong at one place.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FaultView {
    /// A JSON pointer into the body, or `?name` for the query.
    pub(crate) pointer: String,
    /// What, and the remedy.
    pub(crate) message: String,
}
