//! All that is true of a run. Serialisable, so that a snapshot is these bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::body::BlobKey;
use crate::event::{Created, Labels, ModelBinding, Usage};
use crate::fault::Fault;
use crate::id::{AgentIx, ToolIx};
use crate::message::{MessageKind, Seat, StepId};
use crate::run::budget::Budget;
use crate::run::crash::{Crashes, Restarts};
use crate::run::mailboxes::Mailboxes;
use crate::run::sleep::Sleepers;
use crate::run::struck::Strikes;
use crate::scenario::{Agent, Scenario};
use crate::step::Stage;
use crate::tool::mcp::Pinned;
use crate::turn::{Turn, by_rules};
use crate::value::Value;
use crate::world::World;

/// The version of the snapshot's form.
pub const STATE_VERSION: u16 = 6;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Its first event exists.
    #[default]
    Created,
    /// It works.
    Running,
    /// It stands still.
    Paused {
        /// Why.
        reason: Arc<str>,
    },
    /// It crashes whenever it is to decide; an operator releases it.
    Quarantined {
        /// The last crash's words.
        reason: Arc<str>,
        /// Whether it had begun.
        begun: bool,
    },
    /// It did what it should.
    Completed,
    /// It could not go on.
    Failed,
    /// Its time was up.
    TimedOut,
    /// A limit was reached.
    OverBudget,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// The word users see.
    pub fn word(&self) -> &'static str {
        match self {
            Status::Created => "queued",
            Status::Running => "running",
            Status::Paused { .. } => "paused",
            Status::Quarantined { .. } => "quarantined",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::TimedOut => "timed_out",
            Status::OverBudget => "over_budget",
            Status::Cancelled => "cancelled",
        }
    }

    /// The word of an ended run.
    pub fn ended(&self) -> Option<&'static str> {
        match self {
            Status::Created | Status::Running | Status::Paused { .. } | Status::Quarantined { .. } => None,
            ended => Some(ended.word()),
        }
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        matches!(self, Status::Paused { .. })
    }
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Stored events; the seq of the last one.
    pub events: u64,
    /// Turns of `llm` and `human` agents.
    pub turns: u64,
    /// Turns of rules agents.
    pub rules_turns: u64,
    /// Handoffs.
    pub handoffs: u64,
    /// Turns that fell back from a configured model.
    pub degraded: u64,
    /// Restarts of agents.
    pub restarts: u64,
    /// Messages refused by a full mailbox.
    pub refused: u64,
    /// Messages set aside for a quarantined agent.
    pub set_aside: u64,
    /// Turns by agent.
    pub by_agent: Vec<u64>,
}

/// What a trigger remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerState {
    /// Whether a `when` was true at the last quiet point.
    pub edge: bool,
    /// When it last fired.
    pub last: Option<i64>,
    /// When it is due.
    pub due: Option<i64>,
}

/// What a metric remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricState {
    /// Values by tick.
    pub series: Vec<(u64, f64)>,
    /// The last one.
    pub last: Option<f64>,
}

/// All that is true of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// What it was made from.
    pub created: Created,
    /// Parameters, in declaration order.
    pub params: Arc<Vec<Value>>,
    /// Where it stands.
    pub status: Status,
    /// The world.
    pub world: World,
    /// The world at the start of the wave at hand, once that wave has committed something.
    pub base: Option<World>,
    /// The wave that last committed.
    pub wave: u32,
    /// Mailboxes it has served.
    pub served: u32,
    /// Run time, milliseconds.
    pub now: i64,
    /// The tick.
    pub tick: u64,
    /// Rounds of `when` triggers since time last moved.
    pub rounds: u32,
    /// Whether the tick's metrics were read.
    pub sampled: bool,
    /// The mailboxes of record.
    pub mail: Mailboxes,
    /// Who gets no ticks for now; only blocks in which somebody ever slept.
    pub asleep: BTreeMap<AgentIx, Sleepers>,
    /// Mailboxes served in a wave that hold more: not again in that wave.
    pub held: BTreeMap<Seat, u32>,
    /// The last commit position.
    pub position: u64,
    /// Turns of `llm` agents that have begun.
    pub turns: BTreeMap<Seat, Box<Turn>>,
    /// Triggers, by position.
    pub triggers: Vec<TriggerState>,
    /// Metrics, by position.
    pub metrics: Vec<MetricState>,
    /// The latest final output of each agent.
    pub outputs: Vec<Option<Value>>,
    /// What was counted.
    pub counts: Counts,
    /// Tokens and money.
    pub usage: Usage,
    /// Messages handled in this tick, by seat and kind; ticks aside, of which there is one.
    pub ordinals: BTreeMap<(Seat, MessageKind), u32>,
    /// Crashes over the message in hand.
    pub crashes: BTreeMap<Seat, Crashes>,
    /// Who was started again, and why.
    pub restarts: BTreeMap<AgentIx, Restarts>,
    /// Words by which people find it again.
    pub labels: Arc<Labels>,
    /// Faults to inject, where there are any.
    pub faults: Option<Arc<Vec<Fault>>>,
    /// What they did.
    pub strikes: Strikes,
    /// Agents that take no more messages, and why.
    pub quarantined: BTreeMap<Seat, Arc<str>>,
    /// Why the run ends at its next decision: a final output of an agent in `ends`, or a failure.
    pub ending: Option<Ending>,
    /// The canonical events in short, where a check reads `trace`.
    pub trace: Vec<Value>,
    /// The end, once it is there.
    pub ended: Option<crate::event::Ended>,
    /// Steps that have left the process and have no outcome yet.
    pub outside: BTreeMap<StepId, Stage>,
    /// What models outside the process took, and what is held for those that are asked.
    pub budget: Budget,
    /// What servers of tools offered, by server; pinned for the run.
    pub servers: BTreeMap<ToolIx, Pinned>,
}

/// Why a run ends at its next decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// An agent of `ends` gave its final output.
    Done,
    /// It cannot go on.
    Failed(Arc<str>),
}

impl State {
    /// The state before anything but the creation happened.
    pub fn new(scenario: &Scenario, created: Created) -> State {
        State {
            params: Arc::new(created.params.iter().map(|b| b.value().clone()).collect()),
            status: Status::Created,
            world: World::new(scenario),
            base: None,
            wave: 0,
            served: 0,
            now: created.start,
            tick: 0,
            rounds: 0,
            sampled: false,
            mail: Mailboxes::default(),
            asleep: BTreeMap::new(),
            held: BTreeMap::new(),
            position: 0,
            turns: BTreeMap::new(),
            triggers: vec![TriggerState::default(); scenario.triggers.len()],
            metrics: vec![MetricState::default(); scenario.metrics.len()],
            outputs: vec![None; scenario.agents.len()],
            counts: Counts { events: 1, by_agent: vec![0; scenario.agents.len()], ..Counts::default() },
            usage: Usage::default(),
            ordinals: BTreeMap::new(),
            crashes: BTreeMap::new(),
            restarts: BTreeMap::new(),
            labels: Arc::default(),
            faults: None,
            strikes: Strikes::default(),
            quarantined: BTreeMap::new(),
            ending: None,
            trace: Vec::new(),
            ended: None,
            outside: BTreeMap::new(),
            budget: Budget::default(),
            servers: BTreeMap::new(),
            created,
        }
    }

    /// Names of blobs, the same wherever a run plays.
    pub fn blobs(&self) -> BlobKey {
        blob_key()
    }

    /// Who answers for an agent's model.
    pub fn binding(&self, agent: &Agent) -> &ModelBinding {
        let models = &self.created.models;
        agent.model.and_then(|m| models.get(m.at())).or(models.last()).unwrap_or(&ModelBinding::Offline)
    }

    /// Whether an agent's turns are decided by rules.
    pub fn by_rules(&self, agent: &Agent) -> bool {
        by_rules(agent, *self.binding(agent) == ModelBinding::Offline)
    }

    /// `offline | stub | live`: who answers for the agents that want a model.
    pub fn mode(&self) -> &'static str {
        let any = |wanted: fn(&ModelBinding) -> bool| self.created.models.iter().any(wanted);
        if any(|m| matches!(m, ModelBinding::Provider { .. })) {
            "live"
        } else if any(|m| *m == ModelBinding::Stub) {
            "stub"
        } else {
            "offline"
        }
    }
}

/// The names of blobs, in every workspace: they count for the digest. Derived once.
pub fn blob_key() -> BlobKey {
    static KEY: LazyLock<BlobKey> = LazyLock::new(|| BlobKey::of_workspace(WORKSPACE));
    *KEY
}

/// The workspace of a local data folder.
pub const WORKSPACE: &str = "default";
