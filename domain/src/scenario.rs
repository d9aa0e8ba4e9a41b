//! A scenario as the machines use it: immutable, names resolved to positions, programs and templates compiled.

mod compile;
pub(crate) mod decode;
mod document;
pub(crate) mod faults;
mod guardrails;
mod include;
mod load;
mod locate;
mod models;
mod naming;
pub(crate) mod node;
mod parameters;
mod scalars;
mod secrets;
mod syntax;
mod text;
pub mod time;
mod words;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use guardrails::{Guardrail, GuardrailAt, GuardrailCheck, GuardrailThen, Judge};
pub use load::{
    FileError, Files, Loaded, MAX_FILE_BYTES, NoFiles, compile_bundle, compile_faults, inside, json_schema, load,
    load_with_faults, read_data,
};
pub use models::{Api, ModelAlias, ModelTarget};
pub use parameters::{Confirm, Extract, Extraction, OnMissing, Parameter, Preset, Reads};

use crate::collection::Shape;
use crate::expression::{Program, Type};
use crate::fault::Fault;
use crate::id::{AgentIx, CollectionIx, Hash32, MetricIx, ModelIx, StateIx, ToolIx, ViewIx};
use crate::message::{Message, MessageKind};
use crate::tool::http::HttpTool;
use crate::tool::mcp::{AllowedTool, McpTool};
use crate::value::{Map, Value};

/// The fields of `message` in expressions, in their declared order.
/// `kind` is `start handoff ask return tell tick trigger record user`; `type` the tell's type or the trigger's name; `from`
/// the sending agent's name or null; `text` the words; `data` what came along; `collection`, `key`, `record` for a world write.
pub const MESSAGE_FIELDS: [&str; 8] = ["kind", "type", "from", "text", "data", "collection", "key", "record"];

/// The fields of `run` in expressions, in their declared order.
/// `status` text; `mode` `offline | stub | live`; `ticks` the last tick; counts of turns, handoffs, model calls, tokens; cost in USD;
/// `degraded` and `failed` truth.
pub const RUN_FIELDS: [&str; 11] =
    ["status", "mode", "ticks", "turns", "handoffs", "model_calls", "tokens_in", "tokens_out", "cost_usd", "degraded", "failed"];

/// The fields that `self` has after the agent's own: `id` (the agent's name, with `/n` for replica n of several) and `replica` (from 0).
pub const OWN_FIELDS: [&str; 2] = ["id", "replica"];

/// The immutable document, compiled.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: Arc<str>,
    /// A title for people.
    pub title: Option<String>,
    /// A longer text.
    pub description: Option<String>,
    /// The author's version.
    pub version: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// BLAKE3 of the resolved bundle: what the scenario *is*.
    pub hash: Hash32,
    /// What it was compiled from; enough to compile it again.
    pub bundle: Bundle,
    /// Parameters, in declaration order.
    pub parameters: Vec<Parameter>,
    /// Model aliases, in declaration order.
    pub models: Vec<Arc<ModelAlias>>,
    /// The clock.
    pub clock: Clock,
    /// Collections, in declaration order.
    pub collections: Vec<CollectionSpec>,
    /// State variables, in declaration order.
    pub state: Vec<Variable>,
    /// Views, in declaration order.
    pub views: Vec<View>,
    /// Tools, in declaration order.
    pub tools: Vec<Tool>,
    /// Agents, in declaration order.
    pub agents: Vec<Arc<Agent>>,
    /// Who gets the first messages.
    pub starts: Vec<Start>,
    /// Agents whose final output ends the run.
    pub ends: Vec<AgentIx>,
    /// The agent whose output is the result.
    pub result: Option<AgentIx>,
    /// Triggers, in declaration order.
    pub triggers: Vec<Trigger>,
    /// Metrics, in declaration order.
    pub metrics: Vec<Metric>,
    /// Checks of one run.
    pub checks: Vec<Check>,
    /// Thresholds over many runs.
    pub thresholds: Vec<Threshold>,
    /// Limits of a run.
    pub limits: Limits,
    /// How parameters are read from language.
    pub extraction: Extraction,
    /// What each agent's model may call: definitions of its tools, handoffs and delegates, in this order.
    pub offers: Vec<Vec<Arc<crate::run::ToolDefinition>>>,
    /// The MCP servers that `llm` agents may call, and which these are.
    pub servers: Vec<(ToolIx, Vec<AgentIx>)>,
    /// Faults to inject; no part of the version.
    pub faults: Vec<Fault>,
    /// What the document asks for and this version does not run, with its place; `run` refuses where any is there.
    pub unbuilt: Vec<Unbuilt>,
}

/// The document after includes and defaults, and its data files: a scenario version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bundle {
    /// The resolved document, JSON text with keys in declaration order.
    pub document: Arc<str>,
    /// Data files by the path the document names them with.
    pub files: BTreeMap<String, Arc<[u8]>>,
}

/// A feature that parses and validates, and that `run` refuses in this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbuilt {
    /// What it is, such as "agent `approver` of kind `human`".
    pub what: String,
    /// The file, as the user named it.
    pub file: String,
    /// Where it stands in the author's file.
    pub span: crate::diagnostic::Span,
}

/// A JSON Schema with its compiled validator.
#[derive(Clone)]
pub struct Schema {
    /// The schema as written, with `unit`, `extract` and other keywords of ours left out.
    pub json: Arc<serde_json::Value>,
    /// Its validator.
    pub validator: Arc<jsonschema::Validator>,
    /// A check without JSON, where its keywords are all common ones.
    pub(crate) quick: Option<Arc<crate::schema::Quick>>,
    /// What expressions know of it.
    pub ty: Type,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({})", self.json)
    }
}

/// Text with `{{ … }}`.
pub use crate::template::Template;

/// A number or text that may be written as a template, resolved once at the start of a run.
#[derive(Clone, Debug)]
pub enum Late<T> {
    /// Given.
    Given(T),
    /// A template over `params`, rendered and parsed at the start.
    Template(Template),
}

/// The clock of a run.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Simulated or real.
    pub mode: ClockMode,
    /// Start of run time, milliseconds since 1970 UTC; a run without one starts at 1970-01-01 (simulated) or now (real).
    pub start: Option<Late<i64>>,
    /// Length of a tick in run time.
    pub tick: Option<Step>,
    /// How many ticks.
    pub ticks: Option<Late<u64>>,
}

/// Whose time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockMode {
    /// Time jumps to the earliest pending message once all work before it is done.
    Simulated,
    /// Timers are wall time.
    Real,
}

/// A span of run time; months and years depend on the moment they start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// Whole months (a year is twelve).
    pub months: i64,
    /// The rest, milliseconds.
    pub ms: i64,
}

/// A declared collection.
#[derive(Clone, Debug)]
pub struct CollectionSpec {
    /// Name, key fields, indexed fields.
    pub shape: Arc<Shape>,
    /// What a record must be.
    pub schema: Schema,
    /// Defaults of absent fields, applied at a put.
    pub defaults: Map,
    /// Whether records may only be added.
    pub append_only: bool,
    /// References: field, the collection it points into, what happens at a delete there.
    pub references: Vec<Reference>,
    /// Further conditions on a record.
    pub validate: Vec<Condition>,
    /// The agents that may write; `None` is every agent.
    pub writers: Option<Vec<AgentIx>>,
    /// The agents that may read; `None` is every agent.
    pub readers: Option<Vec<AgentIx>>,
    /// The records of the scenario version, checked.
    pub seed: Arc<crate::collection::Collection>,
    /// `scope: workspace`.
    pub workspace_scope: bool,
}

/// A field that names a record of another collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field.
    pub field: Arc<str>,
    /// The collection it points into.
    pub to: CollectionIx,
    /// What a delete of the record pointed at does.
    pub on_delete: OnDelete,
}

/// What a delete of a record does to those that point at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// The delete is refused.
    Restrict,
    /// They are deleted too.
    Cascade,
    /// Their field becomes null.
    SetNull,
}

/// A condition with the words for where it does not hold.
#[derive(Clone, Debug)]
pub struct Condition {
    /// True where all is well; names: `record`, `params`, `state`, collections, `tick`, `now`.
    pub that: Program,
    /// What to say otherwise.
    pub say: Option<Arc<str>>,
}

/// A small shared scalar, or a field of an agent's own state.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name.
    pub name: Arc<str>,
    /// What it may hold.
    pub schema: Schema,
    /// What it holds at first.
    pub default: Value,
}

/// A named aggregation, readable as a tool.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// Its value; names: `params`, `state`, collections, `tick`, `now`.
    pub value: Program,
    /// For people and models.
    pub description: Option<String>,
}

/// A declared tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: Arc<str>,
    /// For models.
    pub description: String,
    /// What its input must be.
    pub input: Schema,
    /// What it does.
    pub kind: ToolKind,
    /// `read`, `idempotent`, `effect`.
    pub class: EffectClass,
    /// Wall time it may take, milliseconds.
    pub timeout_ms: u64,
}

/// How often a tool may be performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectClass {
    /// Changes nothing.
    Read,
    /// Twice is as good as once, with the same key.
    Idempotent,
    /// Never repeated blindly.
    Effect,
}

/// What a declared tool does. Programs see `input`, `params`, `state`, collections, `tick`, `now`, `seed`.
#[derive(Clone, Debug)]
pub enum ToolKind {
    /// Returns a value.
    Expr {
        /// The value.
        returns: Program,
    },
    /// Sets state variables, top to bottom.
    State {
        /// Variables and their new values.
        set: Vec<(StateIx, Program)>,
    },
    /// Sends a `tell`.
    Message {
        /// To whom.
        to: AgentIx,
        /// The tell's type; the tool's name where none is given.
        type_: Arc<str>,
        /// What comes along; the input where none is given.
        data: Option<Data>,
    },
    /// A built-in of the runtime, such as `forecast`.
    Builtin {
        /// Its name.
        name: Arc<str>,
    },
    /// A request to a server: leaves the process.
    Http(Box<HttpTool>),
    /// Stands in after a fault.
    Unbuilt,
    /// A server of tools: each call leaves the process.
    Mcp(Box<McpTool>),
}

impl Tool {
    /// What it asks a server, if it leaves the process.
    pub fn http(&self) -> Option<&HttpTool> {
        if let ToolKind::Http(http) = &self.kind { Some(http) } else { None }
    }

    /// The server of tools that it is.
    pub fn mcp(&self) -> Option<&McpTool> {
        if let ToolKind::Mcp(mcp) = &self.kind { Some(mcp) } else { None }
    }
}

impl Scenario {
    /// The server of a served tool, and the tool.
    pub fn served(&self, tool: ToolRef) -> Option<(&McpTool, &AllowedTool)> {
        let ToolRef::Served { server, tool } = tool else { return None };
        let mcp = self.tools.get(server.at())?.mcp()?;
        Some((mcp, mcp.allow.get(usize::from(tool))?))
    }

    /// The server a served tool belongs to, or the declared tool itself, where a call of it leaves the process.
    pub fn leaves(&self, tool: ToolRef) -> Option<&Tool> {
        match tool {
            ToolRef::Declared(ix) => self.tools.get(ix.at()).filter(|tool| tool.http().is_some()),
            ToolRef::Served { server, .. } => self.tools.get(server.at()).filter(|tool| tool.mcp().is_some()),
            _ => None,
        }
    }

    /// Wall time a call that leaves the process may take, milliseconds.
    pub fn timeout_ms(&self, tool: ToolRef) -> u64 {
        let whole = || self.leaves(tool).map_or(0, |tool| tool.timeout_ms);
        self.served(tool).map_or_else(whole, |(_, one)| one.timeout_ms)
    }
}

/// Something an agent may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum ToolRef {
    /// A declared tool.
    Declared(ToolIx),
    /// `query_<collection>`: records whose fields equal the given ones, at most `limit`.
    Query(CollectionIx),
    /// `get_<collection>`: one record by key.
    Get(CollectionIx),
    /// `put_<collection>`: one record.
    Put(CollectionIx),
    /// `delete_<collection>`: one record by key.
    Delete(CollectionIx),
    /// `view_<view>`.
    View(ViewIx),
    /// `<server>__<tool>`: a tool of an MCP server.
    Served {
        /// The server: a declared tool of kind `mcp`.
        server: ToolIx,
        /// Which of the tools it allows, by position.
        tool: u16,
    },
}

/// How an agent decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum AgentKind {
    /// By a model.
    Llm,
    /// By rules.
    Rules,
    /// By a person.
    Human,
}

/// A declared agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// Its place.
    pub ix: AgentIx,
    /// How it decides.
    pub kind: AgentKind,
    /// Instructions of an `llm` agent; names: `params`, `tick`, `now`, `state`, `message`, `input`, `self`, `run`.
    pub instructions: Option<Template>,
    /// The model alias of an `llm` agent; `None`: as if an alias with `use: auto` were named.
    pub model: Option<ModelIx>,
    /// What it may call, in order.
    pub tools: Vec<ToolRef>,
    /// To whom it may hand off, in order.
    pub handoffs: Vec<HandoffSpec>,
    /// Whom it may ask.
    pub delegates: Vec<AgentIx>,
    /// Who gets the floor after its final output.
    pub next: Option<AgentIx>,
    /// What its final output must be.
    pub output: Option<Schema>,
    /// Checks on what goes in and out.
    pub guardrails: Vec<Guardrail>,
    /// How much of a conversation its model sees.
    pub history: HistoryBounds,
    /// What it subscribes to.
    pub handles: Handles,
    /// Its own state, per replica.
    pub own: Vec<Variable>,
    /// Random draws, evaluated when read. Each is read in expressions as `draws.<name>`.
    pub draws: Vec<(Arc<str>, Draw)>,
    /// Named values before the rules, in order, evaluated when read and then kept for the turn.
    pub lets: Vec<(Arc<str>, Program)>,
    /// Rules; the first that matches wins.
    pub rules: Vec<Rule>,
    /// How many names `for_each … as` and `call … as` bind in the rules.
    pub bound: u16,
    /// How many of it there are.
    pub replicas: Late<u64>,
    /// Whether `replicas` was written at all, so that `self.id` is `name/n`.
    pub population: bool,
    /// Bounds of one turn and of the agent.
    pub limits: AgentLimits,
    /// Restarts.
    pub supervision: Supervision,
    /// Who answers where the model cannot.
    pub fallback: Option<Fallback>,
    /// Scripted answers of the stub, one list per turn.
    pub stub: Vec<ScriptStep>,
}

/// One scripted answer of the stub model.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptStep {
    /// Words as the final output.
    Text(Arc<str>),
    /// A structured final output.
    Output(Value),
    /// A tool call.
    Call {
        /// The tool's name.
        tool: Arc<str>,
        /// Its input.
        with: Value,
    },
    /// A handoff, by the agent's name.
    Handoff(Arc<str>),
    /// A question to a delegate.
    Ask {
        /// The delegate's name.
        agent: Arc<str>,
        /// The question.
        text: Arc<str>,
    },
}

/// Who answers where the model cannot.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// The stub.
    Stub,
    /// Rules, for the whole turn.
    Rules(Vec<Rule>),
}

/// A handoff an agent may make.
#[derive(Clone, Debug)]
pub struct HandoffSpec {
    /// To whom.
    pub to: AgentIx,
    /// How much of the conversation goes along.
    pub carry: Carry,
    /// Offered only where this is true.
    pub when: Option<Program>,
}

/// How much of what was said before a turn its model sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryBounds {
    /// The last so many messages; all of them where absent.
    pub keep: Option<u32>,
    /// More messages than this are summarised but for the last `keep`.
    pub summarise_at: Option<u32>,
}

/// How much of a conversation a handoff carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Carry {
    /// All of it.
    Full,
    /// The last output.
    Last,
    /// A summary.
    Summary,
    /// Nothing.
    None,
}

/// What an agent subscribes to. Addressed messages (`start handoff ask return trigger`) always reach it.
#[derive(Clone, Debug, Default)]
pub struct Handles {
    /// Every tick.
    pub tick: Option<Subscription>,
    /// Words of a person.
    pub user: bool,
    /// Types of `tell`; `None`: any.
    pub tells: Option<Vec<(Arc<str>, Subscription)>>,
    /// World writes to these collections.
    pub records: Vec<(CollectionIx, Subscription)>,
}

/// When a message that is subscribed to makes a turn: always, or where an expression over `params state self tick now
/// message run` and the collections is true at the turn's commit position.
#[derive(Clone, Debug, Default)]
pub struct Subscription(pub Option<Program>);

impl Agent {
    /// The aliases of models it asks: its own, then those that its judges name. `None`: whoever answers without an alias.
    pub fn asks(&self) -> impl Iterator<Item = Option<ModelIx>> + '_ {
        let judges = self.guardrails.iter().filter_map(|guardrail| match &guardrail.check {
            GuardrailCheck::Llm(judge) => judge.model,
            _ => None,
        });
        std::iter::once(self.model).chain(judges.map(Some))
    }
}

impl Handles {
    /// Whether writes to a collection are told.
    pub fn hears(&self, collection: CollectionIx) -> bool {
        self.records.iter().any(|r| r.0 == collection)
    }

    /// What must be true for a message to make a turn.
    pub fn filter(&self, message: &Message) -> Option<&Program> {
        let subscription = match message.kind {
            MessageKind::Tick => self.tick.as_ref(),
            MessageKind::Tell => {
                let wanted = message.label.as_ref()?;
                self.tells.iter().flatten().find(|t| t.0 == *wanted).map(|t| &t.1)
            }
            MessageKind::Record => {
                let (wanted, _) = message.record.as_ref()?;
                self.records.iter().find(|r| r.0 == *wanted).map(|r| &r.1)
            }
            _ => None,
        };
        subscription?.0.as_ref()
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it applies; `None` is `otherwise`.
    pub when: Option<Program>,
    /// What then happens, top to bottom.
    pub emit: Vec<Emit>,
}

/// One entry of an `emit` list.
#[derive(Clone, Debug)]
pub enum Emit {
    /// Puts a record.
    Put {
        /// Where.
        collection: CollectionIx,
        /// The record.
        value: Data,
    },
    /// Changes fields of a record.
    Patch {
        /// Where.
        collection: CollectionIx,
        /// Which record.
        key: Program,
        /// The fields to change.
        value: Data,
    },
    /// Deletes a record.
    Delete {
        /// Where.
        collection: CollectionIx,
        /// Which record.
        key: Program,
    },
    /// Sets variables of the state or of the agent, top to bottom.
    Set(Vec<(SetTarget, Data)>),
    /// Sends a `tell`.
    Tell {
        /// To whom: every replica of it, unless `replica` says which.
        to: AgentIx,
        /// Which replica, from 0.
        replica: Option<Program>,
        /// The tell's type.
        type_: Arc<str>,
        /// Words.
        message: Option<Template>,
        /// What comes along.
        data: Option<Data>,
        /// Run time until it is delivered.
        delay: Option<Step>,
    },
    /// Passes the floor; ends the turn.
    Handoff {
        /// To whom.
        to: AgentIx,
        /// Words.
        message: Option<Template>,
        /// What comes along.
        data: Option<Data>,
    },
    /// Calls a tool.
    Call {
        /// Which.
        tool: ToolRef,
        /// Its input.
        with: Option<Data>,
        /// Where its result is bound (`Root::Bound`).
        bind: Option<u16>,
    },
    /// Gives a metric a value.
    Metric {
        /// Which.
        metric: MetricIx,
        /// The value.
        value: Data,
    },
    /// Says something.
    Say(Template),
    /// The final output; ends the turn.
    Finish(Data),
    /// No ticks before this tick or moment.
    WakeAt(Program),
    /// Entries once per item of a list (or of a collection, or of a map's keys).
    ForEach {
        /// The list.
        list: Program,
        /// Where the item is bound (`Root::Bound`).
        bind: u16,
        /// The entries.
        body: Vec<Emit>,
    },
}

/// What a `set` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTarget {
    /// A state variable.
    State(StateIx),
    /// A field of the agent's own state, by position.
    Own(u16),
}

/// A value built from expressions: text in the file is CEL, other scalars are themselves, lists and maps are built.
#[derive(Clone, Debug)]
pub enum Data {
    /// A literal.
    Literal(Value),
    /// An expression.
    Program(Program),
    /// A map.
    Map(Vec<(Arc<str>, Data)>),
    /// A list.
    List(Vec<Data>),
}

/// A random draw; parameters are numbers or expressions over `params`, `state`, `self`, `tick`.
#[derive(Clone, Debug)]
pub enum Draw {
    /// True with probability p.
    Bernoulli {
        /// Probability.
        p: Data,
    },
    /// Evenly between min (included) and max (excluded).
    Uniform {
        /// Least.
        min: Data,
        /// Below this.
        max: Data,
    },
    /// The normal distribution.
    Normal {
        /// Mean.
        mean: Data,
        /// Standard deviation.
        sd: Data,
    },
    /// e to the power of a normal one.
    Lognormal {
        /// Mean of the logarithm.
        mu: Data,
        /// Standard deviation of the logarithm.
        sigma: Data,
    },
    /// A count with a mean.
    Poisson {
        /// Mean.
        mean: Data,
    },
    /// A waiting time with a mean.
    Exponential {
        /// Mean.
        mean: Data,
    },
    /// One of a list, with weights.
    Choice {
        /// The list.
        of: Data,
        /// As many weights; all equal where absent.
        weights: Option<Data>,
    },
}

/// Who gets a first message.
#[derive(Clone, Debug)]
pub struct Start {
    /// The agent.
    pub agent: AgentIx,
    /// Its words.
    pub message: Option<Template>,
    /// What comes along; resolved with `params`.
    pub input: Option<Data>,
}

/// Something that happens by time or by condition.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Its name.
    pub name: Arc<str>,
    /// What sets it off.
    pub on: TriggerOn,
    /// Fires only where this is true.
    pub if_: Option<Program>,
    /// What it does.
    pub action: TriggerAction,
    /// Run time before it may fire again.
    pub cooldown: Option<Step>,
}

/// What sets a trigger off.
#[derive(Clone, Debug)]
pub enum TriggerOn {
    /// Again and again, first after one interval from the start.
    Every(Step),
    /// By the calendar, five fields, UTC.
    Cron(Arc<cronexpr::Crontab>),
    /// When a condition becomes true.
    When(Program),
    /// Once, so long after the start.
    After(Step),
}

/// What a trigger does.
#[derive(Clone, Debug)]
pub enum TriggerAction {
    /// A message to an agent.
    Tell {
        /// To whom.
        to: AgentIx,
        /// Words.
        message: Option<Template>,
        /// What comes along.
        input: Option<Data>,
    },
    /// A tool call.
    Call {
        /// Which.
        tool: ToolRef,
        /// Its input.
        with: Option<Data>,
    },
}

/// A number read off a run.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name.
    pub name: Arc<str>,
    /// Its value; `None`: rules give it (`{metric: name, value}`). Names: `params state tick now seed run`, collections.
    pub value: Option<Program>,
    /// When it is read.
    pub at: MetricAt,
    /// Its unit.
    pub unit: Option<String>,
    /// `maximize` or `minimize`.
    pub goal: Option<Goal>,
}

/// When a metric is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricAt {
    /// At each tick.
    Tick,
    /// At the end.
    End,
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

/// What must be true of a run's end.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name.
    pub name: Arc<str>,
    /// True where all is well; names as for a metric, and `metrics`, `trace`, `approvals`.
    pub that: Program,
}

/// What must be true over all runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// What it measures.
    pub of: ThresholdOf,
    /// Which statistic of it.
    pub stat: Stat,
    /// The comparison.
    pub op: Comparison,
    /// With what.
    pub bound: f64,
    /// As written, such as `p95(wape) < 0.35`.
    pub text: String,
}

/// What a threshold measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThresholdOf {
    /// A metric.
    Metric(MetricIx),
    /// A field of `run`, by position in `RUN_FIELDS`.
    Run(u16),
}

/// A statistic over runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stat {
    /// Arithmetic mean.
    Mean,
    /// Standard deviation of the sample.
    Sd,
    /// Median.
    P50,
    /// 95th percentile.
    P95,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// Share of runs where it is true, or not zero.
    Rate,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
}

/// Limits of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `llm` and `human` turns.
    pub turns: u64,
    /// Stored events.
    pub events: u64,
    /// Handoffs.
    pub handoffs: u64,
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// Money.
    pub cost_usd: Option<f64>,
    /// Wall time without waiting, milliseconds.
    pub wall_ms: u64,
    /// Run time.
    pub sim: Option<Step>,
    /// Bound of one expression's cost.
    pub cel_steps: u64,
    /// Rounds of `when` triggers within one tick.
    pub max_rounds: u32,
    /// What happens past one of them.
    pub on_exceed: OnExceed,
}

/// What happens past a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExceed {
    /// The run fails.
    Fail,
    /// The run pauses.
    Pause,
    /// Models are replaced by fallbacks.
    Fallback,
}

/// Bounds of an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgentLimits {
    /// Model calls in one turn.
    pub steps: u32,
    /// Turns in a run.
    pub turns: Option<u64>,
    /// Wall time of one step, milliseconds.
    pub timeout_ms: u64,
    /// Tokens in and out in a run, of models outside the process.
    pub tokens: Option<u64>,
    /// Money in a run.
    pub cost_usd: Option<f64>,
}

/// Restarts of an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Supervision {
    /// How many within the window.
    pub max_restarts: u32,
    /// The window, wall time in milliseconds.
    pub within_ms: u64,
    /// First pause, milliseconds.
    pub backoff_initial_ms: u64,
    /// Growth of the pause.
    pub backoff_factor: f64,
    /// Longest pause, milliseconds.
    pub backoff_max_ms: u64,
    /// Share of the pause that is random.
    pub backoff_jitter: f64,
    /// What happens once they are used up; `None`: not written, so `quarantine` for crashes and `fail_run` for an error of a
    /// rule, which no restart can mend.
    pub on_exhausted: Option<OnExhausted>,
    /// Messages an agent's mailbox holds.
    pub mailbox: u32,
    /// What happens to one more.
    pub overflow: Overflow,
}

/// What happens once an agent's restarts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExhausted {
    /// The message is set aside, the run goes on.
    Quarantine,
    /// The run fails.
    FailRun,
    /// The agent's fallback answers.
    Fallback,
}

/// What happens to a message more than a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The run fails.
    FailRun,
    /// The message is refused, and counted.
    Refuse,
}
