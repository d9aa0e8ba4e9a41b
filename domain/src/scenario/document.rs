//! The document's blocks: the one source of what may be written, how it is read, its JSON Schema and its defaults.

use super::decode::{OneOrMany, Spanned, record};
use super::scalars::{
    Cel, Data, Factor, Free, Header, Ident, Int, Iso, LateInt, LateTime, Named, NotNegative, Num, Pause, Raw, RawList, RawMap,
    RootName, SchemaNode, Share, Text, Tpl, Wall, Words,
};
pub(crate) use super::words::*;
use super::{Carry, ClockMode, Goal, MetricAt, OnExceed, OnExhausted, Overflow};

/// Replicas of one block.
pub(crate) const MAX_REPLICAS: i64 = 1_000_000;
/// Ticks of a run.
pub(crate) const MAX_TICKS: i64 = 10_000_000;
const ANY: i64 = i64::MAX;

type Count = Int<0, ANY>;
type AtLeastOne = Int<1, ANY>;
type Share1 = Num<Share>;

record! {
    /// A scenario: agents, their world, their clock, and what is measured. Everything but `name` and `agents` has a default.
    ScenarioDoc {
        /// The version of this format.
        "apiVersion" api_version: ApiVersion = ApiVersion;
        /// What the document is.
        "kind" kind: DocKind = DocKind;
        /// The scenario's name: letters, digits, `_` and `-`.
        "name" name: Text;
        /// A title for people.
        "title" title: Option<Text>;
        /// A longer text for people.
        "description" description: Option<Text>;
        /// The author's version of the scenario.
        "version" version: Option<Words>;
        /// Free labels.
        "labels" labels: Named<Words, Free>;
        /// Other files of this folder whose maps are merged under this one; what is written here wins. They are gone after the merge.
        "include" include: Vec<Text>;
        /// Model aliases by name.
        "models" models: Named<ModelDoc>;
        /// Parameters by name; each block is a JSON Schema with `unit`, `extract` and `default` (which may be `{cel: …}`).
        "parameters" parameters: Named<SchemaNode, Ident>;
        /// How parameters are read from natural language.
        "extraction" extraction: Option<ExtractionDoc>;
        /// Run time.
        "clock" clock: ClockDoc = ClockDoc::broken();
        /// What the agents share.
        "world" world: WorldDoc = WorldDoc::broken();
        /// Tools by name.
        "tools" tools: Named<ToolDoc>;
        /// Agents by name, in order.
        "agents" agents: Named<AgentDoc>;
        /// Restarts of all agents; an agent's own `supervision` wins field by field.
        "supervision" supervision: SupervisionDoc = SupervisionDoc::broken();
        /// Who gets the first messages; without it the first `llm` or `human` agent.
        "start" start: Option<OneOrMany<StartDoc>>;
        /// Agents whose final output ends the run.
        "ends" ends: OneOrMany<Text>;
        /// The agent whose output is the run's result; without it the start agent's latest.
        "result" result: Option<Text>;
        /// What happens by time or by condition, in order.
        "triggers" triggers: Vec<TriggerDoc>;
        /// Numbers read off a run, by name.
        "metrics" metrics: Named<MetricDoc, Ident>;
        /// What must be true of a run's end.
        "checks" checks: Vec<CheckDoc>;
        /// What must be true over many runs.
        "thresholds" thresholds: Vec<ThresholdDoc>;
        /// Plans of many runs over parameter values, by name.
        "sweeps" sweeps: Named<SweepDoc>;
        /// Bounds of a run.
        "limits" limits: LimitsDoc = LimitsDoc::broken();
        /// Faults to inject, seeded; not part of the scenario's hash.
        "faults" faults: Vec<FaultDoc>;
    }

    /// A model alias.
    ModelDoc {
        /// Who answers: `auto`, `stub`, or `provider:model` with a provider of `openai azure ollama anthropic`.
        "use" target: Text;
        /// Which of the provider's interfaces.
        "api" api: Option<ApiKind>;
        /// Where the provider is, if not at its usual address.
        "base_url" base_url: Option<Text>;
        /// Sampling temperature.
        "temperature" temperature: Option<Num<NotNegative>>;
        /// Bound of an answer, tokens.
        "max_output_tokens" max_output_tokens: Option<Int<1, 10_000_000>>;
        /// How long the answer to the very same request is given again; only with `temperature: 0`.
        "cache" cache: Option<Wall>;
        /// What it costs.
        "price" price: Option<PriceDoc>;
        /// Who answers in the same step where this one fails, in order: targets, or names of other aliases.
        "fallback" fallback: Vec<Text>;
    }

    /// USD per million tokens.
    PriceDoc {
        /// Of input.
        "input" input: Num<NotNegative>;
        /// Of output.
        "output" output: Num<NotNegative>;
        /// Of the input that the provider had cached; that of input if not said.
        "cached_input" cached_input: Option<Num<NotNegative>>;
    }

    /// How parameters are read from natural language.
    ExtractionDoc {
        /// The model alias that reads.
        "model" model: Option<Text>;
        /// When a person confirms.
        "confirm" confirm: Confirm = Confirm::Always;
        /// Below this a value is asked for, never guessed.
        "min_confidence" min_confidence: Share1 = Num::of(0.8);
        /// What happens to a parameter nothing was said about.
        "on_missing" on_missing: OnMissing = OnMissing::Default;
    }

    /// Run time.
    ClockDoc {
        /// `simulated`: time jumps to the next event; `real`: timers are wall time.
        "mode" mode: ClockMode = ClockMode::Simulated;
        /// When run time begins: a date (midnight UTC), a timestamp, or a template over `params`.
        "start" start: Option<LateTime>;
        /// Length of a tick, ISO 8601.
        "tick" tick: Option<Iso>;
        /// How many ticks: a number or a template over `params`.
        "ticks" ticks: Option<LateInt>;
    }

    /// What the agents share.
    WorldDoc {
        /// Collections of records by name.
        "collections" collections: Named<CollectionDoc, RootName>;
        /// Small shared scalars by name; each block is a JSON Schema with a `default`.
        "state" state: Named<SchemaNode, Ident>;
        /// Named aggregations.
        "views" views: Named<ViewDoc, Ident>;
    }

    /// A collection of records.
    CollectionDoc {
        /// What a record must be: the JSON Schema of an object; `x-ref: collection` (with `on_delete`) makes a reference.
        "schema" schema: SchemaNode;
        /// The field that is the key, or several of them.
        "key" key: OneOrMany<Text>;
        /// Whether it belongs to the run or outlives it.
        "scope" scope: Spanned<WorldScope> = Spanned::unwritten(WorldScope::Run);
        /// Whether records may only be added.
        "append_only" append_only: bool = false;
        /// Fields with an index.
        "index" index: Vec<Text>;
        /// Which agents may read and write; all, where nothing is said.
        "access" access: Option<AccessDoc>;
        /// The first records.
        "seed" seed: Option<SeedDoc>;
        /// Further conditions on a record.
        "validate" validate: Vec<ConditionDoc>;
        /// Where records define the schema of others.
        "schema_from" schema_from: Option<Raw>;
        /// Named changes of one record.
        "actions" actions: Named<ActionDoc, Ident>;
    }

    /// Which agents may read and write a collection; `"*"` is all of them.
    AccessDoc {
        /// Who may read.
        "read" read: Option<Vec<Text>>;
        /// Who may write.
        "write" write: Option<Vec<Text>>;
        /// Whether it may be read without signing in.
        "public" public: Option<bool>;
    }

    /// The first records of a collection: rows, or a CSV file of the scenario's folder.
    SeedDoc {
        /// The records.
        "rows" rows: Option<RawList>;
        /// A CSV file with a header line.
        "file" file: Option<Text>;
    }

    /// A condition on a record.
    ConditionDoc {
        /// True where all is well.
        "that" that: Cel;
        /// What to say otherwise.
        "say" say: Option<Text>;
    }

    /// A named change of one record.
    ActionDoc {
        /// For people and models.
        "description" description: Option<Text>;
        /// What the caller gives.
        "input" input: Option<SchemaNode>;
        /// Allowed only where this is true.
        "if" condition: Option<Cel>;
        /// Fields of the record and their new values.
        "set" set: Option<Named<Data, Free>>;
        /// A collection that gets a record.
        "put" put: Option<Text>;
        /// That record.
        "value" value: Option<Data>;
    }

    /// A named aggregation, readable as a tool.
    ViewDoc {
        /// Its value.
        "value" value: Cel;
        /// For people and models.
        "description" description: Option<Text>;
    }

    /// A tool. Which fields belong to it depends on its kind.
    ToolDoc {
        /// What it does.
        "kind" kind: ToolKindDoc;
        /// For models.
        "description" description: Option<Text>;
        /// What its input must be.
        "input" input: Option<SchemaNode>;
        /// How often it may be performed; by default `expr` and `builtin` are `read`, `state` and `message` `idempotent`, others `effect`.
        "effect" effect: Option<EffectDoc>;
        /// Wall time it may take.
        "timeout" timeout: Wall = Wall(60_000);
        /// How it is tried again.
        "retry" retry: Option<RetryDoc>;
        /// The value of an `expr` tool.
        "returns" returns: Option<Cel>;
        /// State variables that a `state` tool sets.
        "set" set: Option<Named<Cel, Free>>;
        /// The agent a `message` tool tells.
        "to" to: Option<Text>;
        /// The type of that message; the tool's name where none is given.
        "type" type_: Option<Text>;
        /// What comes along; the input where none is given.
        "data" data: Option<Data>;
        /// The built-in of a `builtin` tool.
        "use" builtin: Option<Text>;
        /// The method of an `http` tool.
        "method" method: Option<HttpMethod>;
        /// The address of an `http` tool.
        "url" url: Option<Tpl>;
        /// The headers of an `http` tool.
        "headers" headers: Option<Named<Header, Free>>;
        /// The body of an `http` tool.
        "body" body: Option<Raw>;
        /// The server of an `mcp` tool.
        "server" server: Option<ServerDoc>;
        /// The tools of an `mcp` server that may be used, by their own names.
        "allow" allow: Option<Vec<Text>>;
        /// How often single tools of an `mcp` server may be performed; for the others `effect` says it.
        "classes" classes: Option<Named<EffectDoc, Free>>;
        /// Wall time that single tools of an `mcp` server may take; for the others `timeout` says it.
        "timeouts" timeouts: Option<Named<Wall, Free>>;
        /// Whether an `mcp` server is believed where it says `readOnlyHint` or `idempotentHint` of a tool that `classes` does not name.
        "trust_hints" trust_hints: bool = false;
        /// Whether a run goes without it where it is not there.
        "optional" optional: bool = false;
        /// A tool that tells what became of a call without an answer.
        "check" check: Option<Text>;
    }

    /// How a tool is tried again.
    RetryDoc {
        /// How often at most.
        "max" max: Int<0, 100> = Int::of(2);
        /// First pause.
        "initial" initial: Wall = Wall(200);
        /// Growth of the pause.
        "factor" factor: Num<Factor> = Num::of(2.0);
        /// Longest pause.
        "max_delay" max_delay: Wall = Wall(10_000);
    }

    /// An MCP server.
    ServerDoc {
        /// A command to start.
        "command" command: Option<OneOrMany<Text>>;
        /// An address (streamable HTTP).
        "url" url: Option<Text>;
        /// How to sign in at the address.
        "auth" auth: Option<AuthDoc>;
        /// Environment of the command.
        "env" env: Option<Named<Words, Free>>;
    }

    /// How to sign in at a server.
    AuthDoc {
        /// The token of `Authorization: Bearer`: where it is.
        "bearer" bearer: Option<Text>;
        /// Headers that sign in.
        "headers" headers: Option<Named<Words, Free>>;
    }

    /// An agent.
    AgentDoc {
        /// How it decides: by a model, by rules, or by a person.
        "kind" kind: AgentKindDoc;
        /// What a model or a person is told; text with `{{ … }}`.
        "instructions" instructions: Option<Tpl>;
        /// A model alias; without one as if an alias with `use: auto`.
        "model" model: Option<Text>;
        /// What it may call: declared tools, `query_ get_ put_ delete_` with a collection, `view_` with a view.
        "tools" tools: Vec<Text>;
        /// To whom it may pass the floor.
        "handoffs" handoffs: Vec<OrName<HandoffDoc>>;
        /// Whom it may ask; the answer comes back to it.
        "delegates" delegates: Vec<Text>;
        /// Who gets the floor after its final output.
        "next" next: Option<Text>;
        /// The JSON Schema of its final output.
        "output" output: Option<SchemaNode>;
        /// Checks on what goes in and out.
        "guardrails" guardrails: Vec<GuardrailDoc>;
        /// How much of a conversation its model sees, and from when on the rest is summarised.
        "history" history: Option<HistoryDoc>;
        /// Tools a person must approve.
        "approval" approval: Option<ApprovalDoc>;
        /// What it subscribes to.
        "handles" handles: Vec<HandleDoc>;
        /// Its own state, per replica; each block is a JSON Schema with a `default`.
        "self" own: Named<SchemaNode, Ident>;
        /// Random draws by name, read as `draws.<name>`.
        "draws" draws: Named<DrawDoc, Ident>;
        /// Named values before the rules, in order.
        "let" lets: Named<Cel, RootName>;
        /// Rules; the first that matches wins.
        "rules" rules: Vec<RuleDoc>;
        /// How many of it there are: a number or a template over `params`.
        "replicas" replicas: Option<LateInt>;
        /// Bounds of a turn and of the agent.
        "limits" limits: AgentLimitsDoc = AgentLimitsDoc::broken();
        /// Its restarts, where they differ from the scenario's.
        "supervision" supervision: Option<SupervisionDoc>;
        /// Who answers a whole turn where the model cannot.
        "fallback" fallback: Option<FallbackDoc>;
        /// Scripted answers of the stub model, one per model call of a turn.
        "stub" stub: Vec<ScriptDoc>;
    }

    /// A handoff an agent may make.
    HandoffDoc {
        /// To whom.
        "to" to: Text;
        /// How much of the conversation goes along.
        "carry" carry: Carry = Carry::Full;
        /// Offered only where this is true.
        "when" when: Option<Cel>;
    }

    /// How much of a conversation a model sees. A tool's result is never separated from its call.
    HistoryDoc {
        /// The last so many messages of what was said before the turn.
        "keep" keep: Option<Int<1, 1_000_000>>;
        /// More messages than this are summarised but for the last `keep` (half of this, if not said).
        "summarise_at" summarise_at: Option<Int<2, 1_000_000>>;
    }

    /// A check on what goes in or out of an agent.
    GuardrailDoc {
        /// Where: `input`, `output`, `handoff`, `tool.NAME`, `tool.NAME.result`.
        "at" place: Text;
        /// How it is checked.
        "kind" kind: GuardrailKindDoc = GuardrailKindDoc::Expr;
        /// An expression that must be true, a pattern that must not be found, or a question to a model.
        "check" check: Cel;
        /// What happens where it is not met.
        "then" then: Spanned<super::GuardrailThen> = Spanned::unwritten(super::GuardrailThen::Reject);
        /// How many retries.
        "max" max: Int<0, 100> = Int::of(2);
        /// What the model or the user is told.
        "say" say: Option<Text>;
        /// The model alias that judges, for `kind: llm`; without it the agent's own.
        "model" model: Option<Text>;
        /// What the stub says as the judge, each time it is asked in a turn; then that all is well.
        "stub" stub: Option<Vec<bool>>;
    }

    /// Tools a person must approve.
    ApprovalDoc {
        /// Which.
        "tools" tools: Vec<Text>;
        /// Who may decide.
        "by" by: Vec<Text>;
        /// How long it may take.
        "timeout" timeout: Option<Wall>;
        /// What happens then.
        "on_timeout" on_timeout: Option<OnTimeout>;
        /// Whether the arguments may be changed.
        "editable" editable: bool = false;
        /// Approved without asking where this is true.
        "auto" auto: Option<Cel>;
        /// Ask only for the first so many.
        "first" first: Option<AtLeastOne>;
        /// Whether run time waits.
        "hold" hold: bool = true;
    }

    /// A random draw: exactly one of these.
    DrawDoc {
        /// True with probability `p`.
        "bernoulli" bernoulli: Option<BernoulliDoc>;
        /// Evenly between `min` and `max`.
        "uniform" uniform: Option<UniformDoc>;
        /// The normal distribution.
        "normal" normal: Option<NormalDoc>;
        /// e to the power of a normal one.
        "lognormal" lognormal: Option<LognormalDoc>;
        /// A count.
        "poisson" poisson: Option<MeanDoc>;
        /// A waiting time.
        "exponential" exponential: Option<MeanDoc>;
        /// One of a list.
        "choice" choice: Option<ChoiceDoc>;
    }

    /// True with a probability.
    BernoulliDoc {
        /// The probability, 0 to 1.
        "p" p: Data;
    }
    /// Evenly between two numbers.
    UniformDoc {
        /// Least.
        "min" min: Data;
        /// Below this.
        "max" max: Data;
    }
    /// The normal distribution.
    NormalDoc {
        /// Mean.
        "mean" mean: Data;
        /// Standard deviation.
        "sd" sd: Data;
    }
    /// e to the power of a normal one.
    LognormalDoc {
        /// Mean of the logarithm.
        "mu" mu: Data;
        /// Standard deviation of the logarithm.
        "sigma" sigma: Data;
    }
    /// A distribution with a mean.
    MeanDoc {
        /// Mean.
        "mean" mean: Data;
    }
    /// One of a list.
    ChoiceDoc {
        /// The list.
        "of" of: Data;
        /// As many weights.
        "weights" weights: Option<Data>;
    }

    /// A rule: where `when` is true (or `otherwise`), what is emitted.
    RuleDoc {
        /// Where it applies; without it always.
        "when" when: Option<Cel>;
        /// Where no rule above applies.
        "otherwise" otherwise: Option<Spanned<bool>>;
        /// What then happens, top to bottom.
        "emit" emit: Option<Vec<EmitDoc>>;
    }

    /// One thing that happens: exactly one verb of `put patch delete set tell handoff call metric say finish wake_at`, with what belongs to it.
    EmitDoc {
        /// Puts `value` into this collection.
        "put" put: Option<Text>;
        /// Changes fields of the record `key` of this collection.
        "patch" patch: Option<Text>;
        /// Deletes the record `key` of this collection.
        "delete" delete: Option<Text>;
        /// Sets variables of the state or of the agent, top to bottom.
        "set" set: Option<Named<Data, Free>>;
        /// Tells this agent.
        "tell" tell: Option<Text>;
        /// Passes the floor to this agent.
        "handoff" handoff: Option<Text>;
        /// Calls this tool.
        "call" call: Option<Text>;
        /// Gives this metric a value.
        "metric" metric: Option<Text>;
        /// Says something.
        "say" say: Option<Tpl>;
        /// The final output.
        "finish" finish: Option<Data>;
        /// No ticks before this tick (an int) or moment (a timestamp).
        "wake_at" wake_at: Option<Cel>;
        /// With `put`, `patch`, `metric`: text is an expression, other scalars are themselves.
        "value" value: Option<Data>;
        /// With `patch` and `delete`: which record.
        "key" key: Option<Cel>;
        /// With `tell`: the type of the message.
        "type" type_: Option<Text>;
        /// With `tell` and `handoff`: words.
        "message" message: Option<Tpl>;
        /// With `tell` and `handoff`: what comes along.
        "data" data: Option<Data>;
        /// With `tell`: which replica, from 0; all of them without it.
        "replica" replica: Option<Cel>;
        /// With `tell`: run time until it is delivered.
        "delay" delay: Option<Iso>;
        /// With `call`: the tool's input.
        "with" with: Option<Data>;
        /// With `call`: the name its result gets.
        "as" bind: Option<Text>;
        /// Once per item of a list.
        "for_each" for_each: Option<ForEachDoc>;
        /// With `for_each`: what happens for each item, if more than one thing.
        "emit" emit: Option<Vec<EmitDoc>>;
    }

    /// Once per item of a list.
    ForEachDoc {
        /// The list.
        "in" list: Cel;
        /// The name of the item.
        "as" bind: Text;
    }

    /// Bounds of an agent.
    AgentLimitsDoc {
        /// Model calls in one turn.
        "steps" steps: Int<1, 10_000> = Int::of(10);
        /// Turns in a run.
        "turns" turns: Option<AtLeastOne>;
        /// Wall time of one step.
        "timeout" timeout: Wall = Wall(60_000);
        /// Tokens in and out in a run, of models outside the process.
        "tokens" tokens: Option<AtLeastOne>;
        /// Money in a run.
        "cost_usd" cost_usd: Option<Num<NotNegative>>;
    }

    /// Restarts of agents.
    SupervisionDoc {
        /// How many within the window.
        "max_restarts" max_restarts: Option<Int<0, 1_000_000>>;
        /// The window.
        "within" within: Option<Wall>;
        /// Pauses between restarts.
        "backoff" backoff: Option<BackoffDoc>;
        /// What happens once they are used up.
        "on_exhausted" on_exhausted: Option<OnExhausted>;
        /// The agent's mailbox.
        "mailbox" mailbox: Option<MailboxDoc>;
    }

    /// Pauses between restarts.
    BackoffDoc {
        /// The first.
        "initial" initial: Option<Pause>;
        /// Growth.
        "factor" factor: Option<Num<Factor>>;
        /// The longest.
        "max" max: Option<Wall>;
        /// Share of a pause that is random.
        "jitter" jitter: Option<Share1>;
    }

    /// An agent's mailbox.
    MailboxDoc {
        /// Messages it holds.
        "capacity" capacity: Option<Int<1, 1_000_000>>;
        /// What happens to one more.
        "overflow" overflow: Option<Overflow>;
    }

    /// One scripted answer of the stub model: exactly one of `text output call handoff ask`.
    ScriptDoc {
        /// Words as the final output; with `ask`, the question.
        "text" text: Option<Text>;
        /// A structured final output.
        "output" output: Option<Raw>;
        /// A tool call.
        "call" call: Option<Text>;
        /// With `call`: its input.
        "with" with: Option<RawMap>;
        /// A handoff.
        "handoff" handoff: Option<Text>;
        /// A question to this delegate.
        "ask" ask: Option<Text>;
    }

    /// A first message.
    StartDoc {
        /// Who gets it.
        "agent" agent: Text;
        /// Its words.
        "message" message: Option<Tpl>;
        /// What comes along.
        "input" input: Option<Data>;
    }

    /// Something that happens by time or by condition: one of `every cron when after`, and `tell` or `call`.
    TriggerDoc {
        /// Its name.
        "name" name: Text;
        /// Again and again, first after one interval.
        "every" every: Option<Iso>;
        /// By the calendar: five fields, UTC.
        "cron" cron: Option<Text>;
        /// When this becomes true.
        "when" when: Option<Cel>;
        /// Once, so long after the start.
        "after" after: Option<Iso>;
        /// Only where this is true.
        "if" condition: Option<Cel>;
        /// A message to this agent.
        "tell" tell: Option<Text>;
        /// Its words.
        "message" message: Option<Tpl>;
        /// What comes along.
        "input" input: Option<Data>;
        /// A tool call.
        "call" call: Option<Text>;
        /// The tool's input.
        "with" with: Option<Data>;
        /// Run time before it may fire again.
        "cooldown" cooldown: Option<Iso>;
    }

    /// A number read off a run.
    MetricDoc {
        /// Its value; without one, rules give it.
        "value" value: Option<Cel>;
        /// When it is read.
        "at" read_at: MetricAt = MetricAt::End;
        /// Its unit.
        "unit" unit: Option<Words>;
        /// Which way it is better.
        "goal" goal: Option<Goal>;
    }

    /// What must be true of a run's end.
    CheckDoc {
        /// Its name.
        "name" name: Text;
        /// True where all is well.
        "that" that: Cel;
    }

    /// What must be true over many runs: a metric (or `run.<field>`) and comparisons of its statistics.
    ThresholdDoc {
        /// A metric, or a field of `run`.
        "metric" metric: Text;
        /// Arithmetic mean, such as `< 0.2`.
        "mean" mean: Option<Bound>;
        /// Standard deviation.
        "sd" sd: Option<Bound>;
        /// Median.
        "p50" p50: Option<Bound>;
        /// 95th percentile.
        "p95" p95: Option<Bound>;
        /// Least.
        "min" min: Option<Bound>;
        /// Greatest.
        "max" max: Option<Bound>;
        /// Share of runs where it is true, or not zero.
        "rate" rate: Option<Bound>;
    }

    /// A plan of many runs: `matrix` or `list`.
    SweepDoc {
        /// Values by parameter; every combination is run.
        "matrix" matrix: Option<Named<RawList, Free>>;
        /// Combinations of parameter values.
        "list" list: Option<Vec<Named<Raw, Free>>>;
        /// Runs of each combination.
        "runs" runs: Int<1, 1_000_000> = Int::of(1);
        /// Whether all combinations get the same seeds.
        "seeds" seeds: Seeds = Seeds::Common;
        /// What is compared with what.
        "compare" compare: Option<CompareDoc>;
        /// Ends early where this is true.
        "stop_when" stop_when: Option<Cel>;
        /// Who approves, with nobody there.
        "approvals" approvals: SweepApprovals = SweepApprovals::Reject;
        /// Runs at a time.
        "max_parallel" max_parallel: Option<Int<1, 100_000>>;
    }

    /// A comparison of combinations.
    CompareDoc {
        /// The metric.
        "metric" metric: Text;
        /// The combination the others are compared with.
        "baseline" baseline: Named<Raw, Free>;
        /// Confidence of the interval.
        "confidence" confidence: Share1 = Num::of(0.95);
    }

    /// Bounds of a run.
    LimitsDoc {
        /// `llm` and `human` turns.
        "turns" turns: AtLeastOne = Int::of(1000);
        /// Stored events.
        "events" events: AtLeastOne = Int::of(1_000_000);
        /// Handoffs.
        "handoffs" handoffs: Count = Int::of(100);
        /// Tokens in and out.
        "tokens" tokens: Option<AtLeastOne>;
        /// Money.
        "cost_usd" cost_usd: Option<Num<NotNegative>>;
        /// Wall time without waiting.
        "wall" wall: Wall = Wall(3_600_000);
        /// Run time, ISO 8601.
        "sim" sim: Option<Iso>;
        /// Bound of one expression's cost.
        "cel_steps" cel_steps: AtLeastOne = Int::of(1_000_000);
        /// Rounds of `when` triggers within one tick.
        "max_rounds" max_rounds: Int<1, 1000> = Int::of(8);
        /// What happens past one of them.
        "on_exceed" on_exceed: OnExceed = OnExceed::Fail;
    }

    /// A fault to inject: exactly one of these.
    FaultDoc {
        /// An agent crashes.
        "crash" crash: Option<CrashDoc>;
        /// A model fails.
        "model" model: Option<ModelFaultDoc>;
        /// A model or tool is slow.
        "latency" latency: Option<LatencyDoc>;
        /// A tool fails.
        "tool" tool: Option<ToolFaultDoc>;
        /// A message is lost, doubled or late.
        "message" message: Option<MessageFaultDoc>;
    }

    /// An agent crashes.
    CrashDoc {
        /// Which; `"*"` is any.
        "agent" agent: Text;
        /// In which of its turns.
        "turn" turn: Option<AtLeastOne>;
        /// How likely.
        "p" p: Option<Share1>;
    }
    /// A model fails.
    ModelFaultDoc {
        /// Which alias; without it any.
        "alias" alias: Option<Text>;
        /// How.
        "error" error: ModelError;
        /// How likely.
        "p" p: Share1 = Num::of(1.0);
    }
    /// A model or tool is slow.
    LatencyDoc {
        /// Which alias.
        "model" model: Option<Text>;
        /// Which tool.
        "tool" tool: Option<Text>;
        /// By how much.
        "add" add: EitherTime;
        /// How likely.
        "p" p: Share1 = Num::of(1.0);
    }
    /// A tool fails.
    ToolFaultDoc {
        /// Which.
        "name" name: Text;
        /// With what words.
        "error" error: Option<Text>;
        /// How likely.
        "p" p: Share1 = Num::of(1.0);
    }
    /// A message is lost, doubled or late.
    MessageFaultDoc {
        /// From whom.
        "from" from: Option<Text>;
        /// To whom.
        "to" to: Option<Text>;
        /// What happens to it.
        "effect" effect: MessageEffect;
        /// How late.
        "by" by: Option<EitherTime>;
        /// How likely.
        "p" p: Share1 = Num::of(1.0);
    }
}
