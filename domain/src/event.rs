//! What happened. The order of the variants and of their fields is the stored format: append only, and raise `ENGINE`
//! whenever `decide` may give other canonical events for the same inputs.

mod bodies;
mod step;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::fault::{Fault, StrikeKind};
use crate::id::{AgentIx, CollectionIx, Hash32, MetricIx, StateIx, ToolIx, TriggerIx};
use crate::message::{Call, Chat, Seat, StepId, TurnId};
use crate::scenario::{Carry, ToolRef};
use crate::value::Key;

pub use step::{Answered, Recorded, Reply, StepOutcome, Then, Work};

/// The version of `decide`: logs of another engine are folded, but not compared.
pub const ENGINE: u16 = 1;
/// The version of the events' encoding, the first byte of each stored event.
pub const ENCODING: u8 = 1;

/// Which lane an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lane {
    /// What scenario, parameters, seed and outcomes determine.
    Canonical,
    /// How it came about on this machine.
    Operational,
}

/// An event of a run's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    // ── canonical ──
    /// The run exists.
    RunCreated(Box<Created>),
    /// Planning begins: the start messages are in their mailboxes.
    RunStarted {
        /// To whom, the words, what came along.
        messages: Vec<(AgentIx, Option<Body>, Body)>,
    },
    /// A turn is over, or as many turns of one block as a shard served together.
    TurnCompleted(Box<Completed>),
    /// A turn ended without a result; its message is set aside or the run fails.
    TurnFailed {
        /// Which.
        turn: TurnId,
        /// Whose.
        seat: Seat,
        /// Run time.
        at: i64,
        /// Why.
        failure: Failure,
    },
    /// A turn waits for others' answers.
    DelegateAsked {
        /// Which.
        turn: TurnId,
        /// Whose.
        seat: Seat,
        /// Run time.
        at: i64,
        /// The questions.
        asks: Vec<Ask>,
    },
    /// An answer came back to a waiting turn.
    DelegateReturned {
        /// Which.
        turn: TurnId,
        /// Whose.
        seat: Seat,
        /// The place the turn resumes at.
        resumes: TurnId,
        /// The call it answers.
        call_id: Arc<str>,
        /// The answer.
        output: Body,
    },
    /// A guardrail was not met.
    GuardrailTripped {
        /// In which turn.
        turn: TurnId,
        /// Whose.
        seat: Seat,
        /// What.
        trip: Trip,
    },
    /// A person's words reached the run.
    InputReceived {
        /// To whom.
        seat: Seat,
        /// The words.
        text: Body,
        /// What came along.
        data: Body,
        /// Run time.
        at: i64,
    },
    /// A trigger fired.
    TriggerFired(Box<Fired>),
    /// Time went on by a tick.
    TickAdvanced {
        /// The tick that begins, from 1.
        tick: u64,
        /// Run time.
        at: i64,
        /// `when` triggers whose condition had become false.
        fallen: Vec<TriggerIx>,
    },
    /// Metrics were read.
    MetricSampled {
        /// At which tick.
        tick: u64,
        /// Their values.
        values: Vec<Sample>,
    },
    /// A conversation was summarised for a handoff.
    ConversationSummarised {
        /// In which turn.
        turn: TurnId,
        /// The summary.
        summary: Body,
    },
    /// The run did what it should.
    RunCompleted(Box<Ended>),
    /// The run could not go on.
    RunFailed(Box<Ended>),
    /// Its time was up.
    RunTimedOut(Box<Ended>),
    /// A limit was reached.
    RunOverBudget(Box<Ended>),
    /// Somebody cancelled it.
    RunCancelled(Box<Ended>),
    // ── operational ──
    /// It waits for capacity.
    RunQueued,
    /// It stands still.
    RunPaused {
        /// Why.
        reason: Arc<str>,
    },
    /// It goes on.
    RunResumed,
    /// A step was planned.
    StepPlanned {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// Run time.
        at: i64,
        /// What is to be called.
        work: Work,
    },
    /// A step's outcome is durable, and what follows from it is decided.
    StepRecorded(Box<Recorded>),
    /// An agent crashed, as logs have it that know no pauses.
    AgentFailed {
        /// Who.
        seat: Seat,
        /// Over which turn.
        turn: TurnId,
        /// The panic or the error.
        reason: Arc<str>,
    },
    /// It was started again.
    AgentRestarted {
        /// Who.
        seat: Seat,
        /// How often within the window.
        restarts: u32,
    },
    /// It takes no more messages.
    AgentQuarantined {
        /// Who.
        seat: Seat,
        /// Why.
        reason: Arc<str>,
    },
    /// Time went on to a delayed message.
    TimerFired {
        /// Run time.
        at: i64,
        /// `when` triggers whose condition had become false.
        fallen: Vec<TriggerIx>,
    },
    /// A turn fell back from a configured model.
    TurnDegraded {
        /// Which.
        turn: TurnId,
        /// Why.
        reason: Arc<str>,
    },
    // ── canonical again, later than the rest ──
    /// Mailboxes whose message its receiver does not handle now (`handles … where`): it goes, and there is no turn.
    MessagePassed {
        /// The first turn there would have been.
        turn: TurnId,
        /// The block.
        agent: AgentIx,
        /// The mailboxes, as ranges of replicas: first, count.
        passed: Vec<(u32, u32)>,
    },
    // ── operational again ──
    /// An agent crashed.
    AgentCrashed(Box<Crash>),
    /// The run itself crashes whenever it is to decide: nothing more is decided before an operator releases it.
    RunQuarantined {
        /// The last crash's words.
        reason: Arc<str>,
    },
    /// An operator lets it go on, or end.
    RunReleased,
    /// Faults will be injected into the run.
    FaultsSet {
        /// Which.
        faults: Vec<Fault>,
    },
    /// One strikes.
    FaultInjected(Injected),
    /// A step is about to leave the process: nothing of it is sent before this is durable.
    StepDispatched {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// How often it was, this time included.
        attempt: u32,
    },
    /// A step was dispatched, and nobody knows what became of it.
    StepUnknown {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// How often it was dispatched.
        attempt: u32,
        /// Why nobody knows.
        reason: Arc<str>,
        /// Whether its `check` tool was asked and could not tell.
        checked: bool,
    },
    /// Somebody knows what became of a step; its outcome follows.
    StepReconciled {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// Who knows.
        by: Reconciler,
        /// What.
        how: Reconciled,
    },
    // ── canonical once more ──
    /// The older part of a conversation was replaced by a summary, for an agent whose `history` is bounded.
    HistorySummarised {
        /// In which turn.
        turn: TurnId,
        /// Whose.
        seat: Seat,
        /// How many messages, the oldest ones.
        replaced: u32,
        /// The summary.
        summary: Body,
    },
    // ── operational once more ──
    /// So much of the budgets is held for a step that is about to ask a model.
    BudgetReserved {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// How much at most.
        amount: Amount,
    },
    /// What a step took of the budgets; the rest of what was held for it is free again.
    BudgetSettled {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// How much.
        amount: Amount,
        /// Whether nobody knows: then it counts with all that was held.
        lost: bool,
    },
    /// A step is not performed: a budget has no room for it.
    BudgetRefused {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// How much it would have needed at most.
        amount: Amount,
        /// Which budget, and how much of it is left.
        reason: Arc<str>,
    },
    /// The workspace gave the run a slice of its budget of the day, or took back what the run did not need.
    BudgetGranted {
        /// The day, from 1970-01-01, UTC.
        day: i64,
        /// How much the run may spend of it now, with what it spent before.
        amount: Amount,
    },
    /// A server of tools was asked what it offers, for the whole run.
    ToolsDiscovered(Box<Discovered>),
    /// Words by which people find the run again.
    RunLabelled {
        /// Names and values.
        labels: Labels,
    },
}

/// Names and values by which people find a run again, in order of names.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Tokens and money, exact: what budgets are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
pub struct Amount {
    /// Tokens in and out.
    pub tokens: u64,
    /// Millionths of a USD.
    pub micro_usd: u64,
}

/// What a server of tools offers, as far as the scenario allows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// The server: a declared tool of kind `mcp`.
    pub server: ToolIx,
    /// Its own name and version; empty where it was not there.
    pub by: Arc<str>,
    /// What of the allowed tools it offers.
    pub offered: Vec<Offered>,
    /// Allowed tools that are left out, by position in `allow`, and why.
    pub missing: Vec<(u16, Arc<str>)>,
    /// Why it could not be asked.
    pub failure: Option<Arc<str>>,
}

/// A tool that a server offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offered {
    /// Which of the allowed ones, by position.
    pub tool: u16,
    /// What it does, in the server's words.
    pub description: Body,
    /// The JSON Schema of its input, JSON text.
    pub schema: Body,
    /// The server says that it changes nothing.
    pub read_only: bool,
    /// The server says that twice is as good as once.
    pub idempotent: bool,
}

/// A fault that strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// Which, by position.
    pub fault: u16,
    /// Whose turn it is.
    pub seat: Seat,
    /// Which turn.
    pub turn: TurnId,
    /// Which of several such occasions of the turn.
    pub attempt: u32,
    /// What kind of fault it is.
    pub kind: StrikeKind,
}

/// A crash of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Who.
    pub seat: Seat,
    /// Over which turn.
    pub turn: TurnId,
    /// The panic or the error.
    pub reason: Arc<str>,
    /// Wall time, milliseconds since 1970 UTC.
    pub wall: i64,
    /// Wall time from which it is started again; `None`: it is not.
    pub until: Option<i64>,
}

/// Who knew what became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reconciler {
    /// A person.
    Operator,
    /// The tool's `check`.
    Check,
}

impl Reconciler {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            Reconciler::Operator => "operator",
            Reconciler::Check => "check",
        }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reconciled {
    /// It happened.
    Succeeded,
    /// It failed.
    Failed,
    /// It did not happen, and is performed again.
    Retry,
}

impl Reconciled {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            Reconciled::Succeeded => "succeeded",
            Reconciled::Failed => "failed",
            Reconciled::Retry => "retry",
        }
    }
}

/// What a run is made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The scenario's name.
    pub scenario: Arc<str>,
    /// Its version.
    pub scenario_hash: Hash32,
    /// The seed of all draws.
    pub seed: u64,
    /// Parameters, in declaration order.
    pub params: Vec<Body>,
    /// Start of run time, milliseconds.
    pub start: i64,
    /// Ticks, if the clock has them.
    pub ticks: Option<u64>,
    /// How many of each agent, in declaration order.
    pub replicas: Vec<u32>,
    /// Who answers for each model alias, then (last) for agents without one.
    pub models: Vec<ModelBinding>,
}

/// Who answers for a model alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelBinding {
    /// No model: the agent's rules, else the stub.
    Offline,
    /// The stub.
    Stub,
    /// A provider and its model.
    Provider {
        /// The provider.
        provider: Arc<str>,
        /// Its name of the model.
        model: Arc<str>,
    },
}

/// Who answered in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnsweredBy {
    /// A model.
    Model,
    /// Rules.
    Rules,
    /// The stub.
    Stub,
    /// A cache.
    Cache,
}

impl AnsweredBy {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            AnsweredBy::Model => "model",
            AnsweredBy::Rules => "rules",
            AnsweredBy::Stub => "stub",
            AnsweredBy::Cache => "cache",
        }
    }
}

/// One or more turns of a block, committed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// The (first) turn.
    pub turn: TurnId,
    /// The block.
    pub agent: AgentIx,
    /// Run time.
    pub at: i64,
    /// Who answered.
    pub by: AnsweredBy,
    /// The mailboxes whose first message was consumed, as ranges of replicas: first, count.
    pub served: Vec<(u32, u32)>,
    /// What they did; those that did nothing are left out.
    pub entries: Vec<Entry>,
    /// What an `llm` turn added to its conversation.
    pub said: Vec<Chat>,
    /// Tokens and money.
    pub usage: Usage,
}

/// What one turn did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which of the block.
    pub replica: u32,
    /// Changes of the world, top to bottom.
    pub writes: Vec<Write>,
    /// Messages.
    pub sent: Vec<Sent>,
    /// Words.
    pub says: Vec<Body>,
    /// Metrics given by rules.
    pub metrics: Vec<(MetricIx, f64)>,
    /// Writes that were refused at the commit, with the reason.
    pub refused: Vec<(Write, Arc<str>)>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Entry {
    /// Whether nothing happened.
    pub fn is_idle(&self) -> bool {
        self.writes.is_empty()
            && self.sent.is_empty()
            && self.says.is_empty()
            && self.metrics.is_empty()
            && self.refused.is_empty()
            && self.outcome == Outcome::Done
    }
}

/// A change of the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Write {
    /// A record is there (again).
    Put {
        /// Where.
        collection: CollectionIx,
        /// Its key.
        key: Key,
        /// The whole record.
        record: Body,
    },
    /// A record is gone.
    Delete {
        /// Where.
        collection: CollectionIx,
        /// Its key.
        key: Key,
    },
    /// A state variable has a value.
    State {
        /// Which.
        ix: StateIx,
        /// The value.
        value: Body,
    },
    /// A field of the agent's own state has a value.
    Own {
        /// Which, by position.
        field: u16,
        /// The value.
        value: Body,
    },
    /// The agent gets no ticks before then.
    Wake {
        /// When.
        at: WakeAt,
    },
}

/// When somebody wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WakeAt {
    /// At a tick.
    Tick(u64),
    /// At the first tick from a moment of run time on.
    Moment(i64),
}

/// A message sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// To whom.
    pub to: AgentIx,
    /// Which of the block; all of it where absent.
    pub replica: Option<u32>,
    /// The tell's type.
    pub label: Arc<str>,
    /// Words.
    pub text: Option<Body>,
    /// What comes along.
    pub data: Body,
    /// Run time of delivery.
    pub at: i64,
}

/// How a turn ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Without an output.
    #[default]
    Done,
    /// The floor passed on.
    Handoff {
        /// To whom.
        to: AgentIx,
        /// How much of the conversation goes along.
        carry: Carry,
        /// Words.
        text: Option<Body>,
        /// What comes along.
        data: Body,
    },
    /// The final output.
    Final {
        /// It.
        output: Body,
    },
}

/// A question to a delegate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The call.
    pub call_id: Arc<str>,
    /// To whom.
    pub to: AgentIx,
    /// The question.
    pub text: Body,
}

/// Why a turn or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub class: FailureClass,
    /// What happened, with names and places.
    pub message: Arc<str>,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// An expression or a write of a rule.
    Rule,
    /// A model.
    Model,
    /// A tool.
    Tool,
    /// A guardrail.
    Guardrail,
    /// The output did not fit its schema.
    Output,
    /// Model calls of one turn.
    Steps,
    /// A crash of the agent.
    Crash,
    /// Time.
    Timeout,
    /// A budget.
    Budget,
}

impl FailureClass {
    /// The word users see.
    pub fn word(self) -> &'static str {
        match self {
            FailureClass::Rule => "rule",
            FailureClass::Model => "model",
            FailureClass::Tool => "tool",
            FailureClass::Guardrail => "guardrail",
            FailureClass::Output => "output",
            FailureClass::Steps => "steps",
            FailureClass::Crash => "crash",
            FailureClass::Timeout => "timeout",
            FailureClass::Budget => "budget",
        }
    }
}

/// A guardrail that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trip {
    /// Which of the agent's, by position.
    pub guardrail: u16,
    /// Where it stands, as users write it.
    pub at: Arc<str>,
    /// What was done: `reject retry fail`.
    pub then: Arc<str>,
}

/// A trigger that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fired {
    /// Which.
    pub trigger: TriggerIx,
    /// Run time.
    pub at: i64,
    /// The tick it belongs to.
    pub tick: u64,
    /// What it did.
    pub action: FiredAction,
    /// `when` triggers whose condition had become false.
    pub fallen: Vec<TriggerIx>,
}

/// What a fired trigger did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FiredAction {
    /// Nothing: its condition was false, or its cooldown not over. Only its next time moves.
    Skipped,
    /// A message.
    Told {
        /// To whom.
        to: AgentIx,
        /// Words.
        text: Option<Body>,
        /// What came along.
        data: Body,
    },
    /// A tool was called.
    Called {
        /// Its writes.
        writes: Vec<Write>,
        /// Its messages.
        sent: Vec<Sent>,
        /// Its result.
        result: Body,
    },
    /// A tool refused.
    Failed {
        /// Why.
        message: Arc<str>,
    },
}

/// A metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Which.
    pub metric: MetricIx,
    /// Its value; `None` where it has none.
    pub value: Option<f64>,
    /// Why it has none.
    pub error: Option<Arc<str>>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Run time.
    pub at: i64,
    /// What came out.
    pub result: Body,
    /// Final metrics.
    pub metrics: Vec<Sample>,
    /// Checks: whether they hold, or why they could not be read.
    pub checks: Vec<Checked>,
    /// The cause, for every end but completion.
    pub cause: Option<Arc<str>>,
}

/// A check's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Which, by position.
    pub check: u16,
    /// Whether it holds.
    pub passed: bool,
    /// Why it could not be read.
    pub error: Option<Arc<str>>,
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls of a model.
    pub model_calls: u32,
    /// Tokens in.
    pub tokens_in: u64,
    /// Tokens out.
    pub tokens_out: u64,
    /// USD.
    pub cost_usd: f64,
}

impl Usage {
    /// The sum.
    pub fn add(&mut self, other: &Usage) {
        self.model_calls += other.model_calls;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.cost_usd += other.cost_usd;
    }
}

impl Event {
    /// The event's lane.
    pub fn lane(&self) -> Lane {
        match self {
            Event::RunQueued
            | Event::RunPaused { .. }
            | Event::RunResumed
            | Event::StepPlanned { .. }
            | Event::StepRecorded(_)
            | Event::AgentFailed { .. }
            | Event::AgentCrashed(_)
            | Event::AgentRestarted { .. }
            | Event::RunQuarantined { .. }
            | Event::RunReleased
            | Event::FaultsSet { .. }
            | Event::FaultInjected(_)
            | Event::AgentQuarantined { .. }
            | Event::TimerFired { .. }
            | Event::TurnDegraded { .. }
            | Event::StepDispatched { .. }
            | Event::StepUnknown { .. }
            | Event::StepReconciled { .. }
            | Event::BudgetReserved { .. }
            | Event::BudgetSettled { .. }
            | Event::BudgetRefused { .. }
            | Event::BudgetGranted { .. }
            | Event::ToolsDiscovered(_)
            | Event::RunLabelled { .. } => Lane::Operational,
            _ => Lane::Canonical,
        }
    }

    /// The event's name, as users see it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::RunCreated(_) => "run.created",
            Event::RunStarted { .. } => "run.started",
            Event::TurnCompleted(_) => "turn.completed",
            Event::TurnFailed { .. } => "turn.failed",
            Event::DelegateAsked { .. } => "delegate.asked",
            Event::DelegateReturned { .. } => "delegate.returned",
            Event::GuardrailTripped { .. } => "guardrail.tripped",
            Event::InputReceived { .. } => "input.received",
            Event::TriggerFired(_) => "trigger.fired",
            Event::TickAdvanced { .. } => "tick.advanced",
            Event::MetricSampled { .. } => "metric.sampled",
            Event::ConversationSummarised { .. } | Event::HistorySummarised { .. } => "conversation.summarised",
            Event::RunCompleted(_) => "run.completed",
            Event::RunFailed(_) => "run.failed",
            Event::RunTimedOut(_) => "run.timed_out",
            Event::RunOverBudget(_) => "run.over_budget",
            Event::RunCancelled(_) => "run.cancelled",
            Event::RunQueued => "run.queued",
            Event::RunPaused { .. } => "run.paused",
            Event::RunResumed => "run.resumed",
            Event::StepPlanned { .. } => "step.planned",
            Event::StepRecorded(_) => "step.recorded",
            Event::AgentFailed { .. } | Event::AgentCrashed(_) => "agent.failed",
            Event::AgentRestarted { .. } => "agent.restarted",
            Event::AgentQuarantined { .. } => "agent.quarantined",
            Event::TimerFired { .. } => "timer.fired",
            Event::TurnDegraded { .. } => "turn.degraded",
            Event::MessagePassed { .. } => "message.passed",
            Event::RunQuarantined { .. } => "run.quarantined",
            Event::RunReleased => "run.released",
            Event::FaultsSet { .. } => "faults.set",
            Event::FaultInjected(_) => "fault.injected",
            Event::StepDispatched { .. } => "step.dispatched",
            Event::StepUnknown { .. } => "step.unknown",
            Event::StepReconciled { .. } => "step.reconciled",
            Event::BudgetReserved { .. } => "budget.reserved",
            Event::BudgetSettled { .. } => "budget.settled",
            Event::BudgetRefused { .. } => "budget.refused",
            Event::BudgetGranted { .. } => "budget.granted",
            Event::ToolsDiscovered(_) => "tools.discovered",
            Event::RunLabelled { .. } => "run.labelled",
        }
    }

    /// The stored bytes: the encoding's version, then the event.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(&mut bytes);
        bytes
    }

    /// The same, behind what is in a buffer.
    pub fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.push(ENCODING);
        postcard::serialize_with_flavor(self, Behind(bytes)).expect("events hold no collections and always encode");
    }

    /// The event of stored bytes. Bodies above one KiB are still to be filled.
    pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
        match bytes.split_first() {
            Some((&ENCODING, rest)) => match postcard::take_from_bytes(rest) {
                Ok((event, [])) => Ok(event),
                Ok((_, rest)) => Err(DecodeError(format!("{} bytes too many", rest.len()))),
                Err(e) => Err(DecodeError(e.to_string())),
            },
            Some((version, _)) => Err(DecodeError(format!("encoding {version} is not known to this version"))),
            None => Err(DecodeError("empty".into())),
        }
    }

    /// Visits every body of the event.
    pub fn bodies(&self, see: &mut dyn FnMut(&Body)) {
        bodies::read::event(self, see);
    }

    /// Visits every body of the event, to fill it.
    pub fn bodies_mut(&mut self, see: &mut dyn FnMut(&mut Body)) {
        bodies::fill::event(self, see);
    }
}

/// Where postcard writes to: behind what is there, many bytes at once.
struct Behind<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Stored bytes that are no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event: {0}")]
pub struct DecodeError(String);

/// The name a tool is called by, in a scenario.
pub fn tool_name(scenario: &crate::scenario::Scenario, tool: ToolRef) -> String {
    let collection = |c: CollectionIx| scenario.collections[c.at()].shape.name.clone();
    match tool {
        ToolRef::Declared(ToolIx(n)) => scenario.tools[usize::from(n)].name.to_string(),
        ToolRef::Query(c) => format!("query_{}", collection(c)),
        ToolRef::Get(c) => format!("get_{}", collection(c)),
        ToolRef::Put(c) => format!("put_{}", collection(c)),
        ToolRef::Delete(c) => format!("delete_{}", collection(c)),
        ToolRef::View(v) => format!("view_{}", scenario.views[v.at()].name),
        ToolRef::Served { .. } => scenario.served(tool).map_or_else(|| "?".to_owned(), |(_, one)| one.full.to_string()),
    }
}
