//! One per run: decide → append → apply → publish → perform. The only one that writes the run's log.
//!
//! Pure work needs no barrier: events wait in one frame until something leaves the process (an answer somebody waits for, a
//! follower's tick, the end), the frame is full, or 20 ms of its own work have passed. Nothing is visible before it is durable.

mod depth;
mod end;
mod hands;
mod models;
pub(crate) mod outset;
mod outside;
mod reports;
pub(crate) mod rest;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use commedia_domain::body::Body;
use commedia_domain::event::{Created, Discovered, Event, Injected, Labels, Work};
use commedia_domain::id::{AgentIx, ToolIx};
use commedia_domain::message::{Seat, StepId, TurnId};
use commedia_domain::rules::{Order, SHARD};
use commedia_domain::run::state::STATE_VERSION;
use commedia_domain::run::{Command, Effect, Refusal, Run};
use commedia_domain::scenario::ToolRef;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use self::depth::Depth;
use crate::agent::{AgentMsg, AgentReport, ToolOrder};
use crate::command::Given;
use crate::live::{Live, Shared};
use crate::log::{LogWriter, cause};
use crate::meta::RunMeta;
use crate::points::{Point, pass};
use crate::recovery::Recovered;
use crate::store::blob::Snapshot;
use crate::store::{AppendError, Head};
use crate::telemetry::trace::Trace;

/// Wall time after which what waits is appended where somebody looks on; where nobody does, so much time of its own work:
/// a run that only waits for its turn on a busy machine has nothing new to say.
const APPEND_WITHIN: Duration = Duration::from_millis(20);
/// Own work after which a run looks whether others want to begin or to come back.
const LEG: Duration = Duration::from_millis(1);
/// Wall time after which what waits is appended whoever looks on.
const APPEND_AT_LAST: Duration = Duration::from_secs(1);
/// Events after which a snapshot is taken.
const SNAPSHOT_EVERY: u64 = 512;

/// What an orchestrator is told.
pub enum OrchestratorMsg {
    /// Go on.
    Go,
    /// An agent reports.
    Report(AgentReport),
    /// A command from outside, answered when it is durable.
    Command {
        /// What, and by whom.
        given: Given,
        /// The seq it led to, or the refusal.
        reply: RpcReplyPort<Result<u64, CommandError>>,
    },
    /// Make room, if the run has nothing to do.
    GiveWay,
    /// Those that wanted to begin have begun.
    RushOver,
    /// A server of tools said what it offers.
    Discovered(Box<Discovered>),
    /// Stop at this point; everything decided becomes durable first.
    Drain(RpcReplyPort<()>),
}

impl From<AgentReport> for OrchestratorMsg {
    fn from(report: AgentReport) -> OrchestratorMsg {
        OrchestratorMsg::Report(report)
    }
}

impl TryFrom<OrchestratorMsg> for AgentReport {
    type Error = ();
    fn try_from(message: OrchestratorMsg) -> Result<AgentReport, ()> {
        match message {
            OrchestratorMsg::Report(report) => Ok(report),
            _ => Err(()),
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The run said no.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It was not acknowledged.
    #[error("{0}")]
    Store(#[from] AppendError),
}

pub(crate) struct Orchestrator;

/// How an orchestrator begins.
pub(crate) enum Origin {
    /// With a new run.
    New(Box<Created>),
    /// With one that has set out.
    Begun(Box<State>),
    /// With a run folded from its log.
    Stored(Box<Recovered>),
}

pub(crate) struct Begin {
    pub(crate) live: Arc<Live>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) origin: Origin,
    /// What it is to be told before anything else.
    pub(crate) first: Option<OrchestratorMsg>,
}

pub(crate) struct State {
    live: Arc<Live>,
    shared: Arc<Shared>,
    run: Run,
    log: LogWriter,
    meta: RunMeta,
    principal: Arc<str>,
    agents: HashMap<(AgentIx, u32), ActorRef<AgentMsg>>,
    /// What each agent's actor works on: seats in order, the turn, the place of the mailbox being served.
    doing: HashMap<ActorId, Doing>,
    steps: BTreeSet<StepId>,
    /// Servers of tools that are being asked what they offer.
    discovering: BTreeSet<ToolIx>,
    order: Option<TurnId>,
    began: Instant,
    appended: Instant,
    /// Time of its own work since the last append.
    busy: Duration,
    /// It keeps a place among the few that go up to their first append.
    first_leg: bool,
    /// Time of its own work since it last looked whether others want to begin.
    leg: Duration,
    /// It lets others begin. A command is answered all the same, and ends it.
    stands_still: bool,
    snapshot_at: u64,
    /// Bytes of the last snapshot, and of the log since.
    snapshot_bytes: usize,
    logged: usize,
    /// Its creation is to be durable before anything else happens.
    opening: bool,
    /// The moment for which a timer is set while steps are open.
    woken: Option<i64>,
    wait: Option<rest::Wait>,
    /// What the gauge of mailboxes was told.
    depth: Depth,
    /// Spans of what it does, where somebody wants them.
    trace: Option<Box<Trace>>,
}

struct Doing {
    agent: AgentIx,
    replicas: Vec<u32>,
    turn: TurnId,
    /// The steps it works on; none for rules.
    steps: Vec<StepId>,
    at: Arc<AtomicU32>,
}

// What an actor holds while it waits is its task: state and futures are boxed, so that a run that waits is small.
impl Actor for Orchestrator {
    type Msg = OrchestratorMsg;
    type State = Box<State>;
    type Arguments = Begin;

    async fn pre_start(&self, myself: ActorRef<OrchestratorMsg>, mut begin: Begin) -> Result<Box<State>, ActorProcessingErr> {
        let first = begin.first.take();
        let state = State::begin(begin)?;
        if !state.shared.registry.insert(state.live.id.clone(), myself.clone()) {
            return Err(format!("run `{}` is live already", state.live.id).into());
        }
        if let Some(first) = first {
            myself.cast(first)?;
        }
        myself.cast(OrchestratorMsg::Go)?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<OrchestratorMsg>,
        message: OrchestratorMsg,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            OrchestratorMsg::Go => state.woken = None,
            OrchestratorMsg::RushOver => state.stands_still = false,
            OrchestratorMsg::Discovered(found) => {
                state.discovered(found)?;
                Box::pin(state.flush()).await?;
            }
            OrchestratorMsg::Report(report) => {
                let from_outside = state.is_from_outside(&report);
                let of_model = matches!(&report, AgentReport::StepEnded { outcome, .. } if outcome.answer().is_some());
                state.reported(report)?;
                if from_outside && of_model {
                    // What follows from a model's answer, up to the next request, goes into the same append as the answer:
                    // it is durable before anything else leaves. A model is asked at least once, so no more is needed.
                    Box::pin(state.go_ahead(&myself)).await?;
                    return Ok(Box::pin(state.flush_answer()).await?);
                }
                // The shards of a large population report one after the other, with nothing to decide in between.
                if from_outside || state.log.is_full() {
                    Box::pin(state.flush()).await?;
                }
            }
            OrchestratorMsg::Command { given, reply } => {
                let answer = Box::pin(state.command(given)).await;
                pass(Point::CommandDurable);
                let failed = match &answer {
                    Err(CommandError::Store(e)) => Some(e.clone()),
                    _ => None,
                };
                if reply.send(answer).is_err() {
                    tracing::debug!(run = %state.live.id, "nobody waited for the command's answer");
                }
                pass(Point::CommandAnswered);
                if let Some(e) = failed {
                    return Err(e.into());
                }
                state.stands_still = false;
            }
            OrchestratorMsg::GiveWay => {
                state.give_way(&myself);
                return Ok(());
            }
            OrchestratorMsg::Drain(reply) => {
                Box::pin(state.flush()).await?;
                state.rest();
                if reply.send(()).is_err() {
                    tracing::debug!(run = %state.live.id, "nobody waited for the drain");
                }
                myself.stop(None);
                return Ok(());
            }
        }
        Box::pin(state.go_ahead(&myself)).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<OrchestratorMsg>,
        event: SupervisionEvent,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, reason) => {
                state.crashed(&who, &reason.to_string())?;
                Box::pin(state.go_ahead(&myself)).await
            }
            // An idle agent's actor was stopped; it held nothing.
            _ => Ok(()),
        }
    }
}

impl State {
    fn begin(begin: Begin) -> Result<Box<State>, ActorProcessingErr> {
        let Begin { live, shared, origin, .. } = begin;
        let principal = live.principal.clone();
        let now = shared.clock.now_ms();
        let (run, log, meta, snapshot_at, fresh) = match origin {
            Origin::New(created) => {
                let stream = crate::meta::run_stream(&live.id)?;
                let why = cause("run", &principal, created.scenario_hash.0.as_slice(), now);
                let lease = shared.store.lease(&stream);
                let mut log = LogWriter::new(stream, lease, Head::START, Default::default(), why);
                log.push(Event::RunCreated(created.clone()))?;
                let meta = RunMeta::fresh(&created, now);
                (Run::new(live.scenario.clone(), *created), log, meta, 0, true)
            }
            Origin::Begun(state) => return Ok(state),
            Origin::Stored(stored) => {
                let lease = shared.store.lease(&stored.stream);
                let why = cause("resume", &principal, &[], now);
                let log = LogWriter::new(stored.stream, lease, stored.loaded.head, stored.digest, why);
                (stored.loaded.run, log, stored.meta, stored.snapshot_at, false)
            }
        };
        let run = run.with_builtins(shared.builtins.clone());
        let told = shared.telemetry.clone();
        let trace = told.map(|told| Box::new(Trace::new(told, live.id.id().clone(), meta.started_ms, now)));
        let depth = Depth::new(shared.metrics.clone(), run.scenario().clone(), Instant::now());
        let mut state = Box::new(State {
            live,
            shared,
            run,
            log,
            meta,
            principal,
            agents: HashMap::new(),
            doing: HashMap::new(),
            steps: BTreeSet::new(),
            discovering: BTreeSet::new(),
            order: None,
            began: Instant::now(),
            appended: Instant::now(),
            busy: Duration::ZERO,
            first_leg: true,
            leg: Duration::ZERO,
            stands_still: false,
            snapshot_at,
            snapshot_bytes: 0,
            logged: 0,
            opening: false,
            woken: None,
            wait: None,
            depth,
            trace,
        });
        if fresh {
            pass(Point::CreatedBefore);
        }
        let labels = &state.live.start.labels;
        if fresh && !labels.is_empty() {
            let labels = Labels::clone(labels);
            state.take(vec![Event::RunLabelled { labels }])?;
        }
        let faults = state.live.start.faults.as_deref().unwrap_or(&state.run.scenario().faults);
        if fresh && !faults.is_empty() {
            let faults = faults.to_vec();
            state.take(vec![Event::FaultsSet { faults }])?;
        }
        state.opening = fresh && (state.live.start.follow || state.live.start.watch);
        Ok(state)
    }

    /// Everything that can happen now without waiting happens; then what is owed is ordered.
    async fn advance(&mut self, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        let mut since = Instant::now();
        loop {
            let limit = Duration::from_millis(self.run.scenario().limits.wall_ms);
            let command = if self.worked() > limit && self.run.state().status.ended().is_none() {
                Command::WallUp
            } else {
                Command::Proceed { wall: self.shared.clock.now_ms() }
            };
            match self.run.decide(command) {
                Ok(events) => {
                    let ticked = events.iter().any(|e| matches!(e, Event::TickAdvanced { .. }));
                    if ticked && self.live.start.follow {
                        self.flush().await?;
                    }
                    self.take(events)?;
                    let now = Instant::now();
                    self.busy += now.duration_since(since);
                    self.leg += now.duration_since(since);
                    since = now;
                    if self.leg > LEG && self.end_leg(myself).await? {
                        return Ok(());
                    }
                    if self.log.is_full() || self.is_late(now) {
                        self.flush().await?;
                        since = Instant::now();
                    }
                }
                Err(Refusal::Owed) => return self.perform(myself).await,
                Err(Refusal::Wait(at)) => return self.wait(at, myself).await,
                Err(stop @ (Refusal::Over(_) | Refusal::Paused | Refusal::Quarantined | Refusal::Unresolved)) => {
                    self.meta.unresolved = stop == Refusal::Unresolved;
                    self.agents.drain().for_each(|(_, actor)| actor.stop(None));
                    pass(Point::EndBefore);
                    self.flush().await?;
                    if self.meta.unresolved {
                        self.relist().await?;
                    }
                    pass(Point::EndStored);
                    Box::pin(self.give_back()).await;
                    self.finish();
                    pass(Point::EndAfter);
                    myself.stop(None);
                    return Ok(());
                }
                Err(refusal) => return Err(format!("the run refuses to go on: {refusal}").into()),
            }
        }
    }

    /// It has worked for a while: others may begin. Where many want to, it stands still until they have, with everything
    /// decided durable.
    async fn end_leg(&mut self, myself: &ActorRef<OrchestratorMsg>) -> Result<bool, AppendError> {
        self.leg = Duration::ZERO;
        if self.first_leg {
            self.end_first_leg();
        }
        if !self.shared.rush.is_on() {
            return Ok(false);
        }
        self.flush().await?;
        self.stands_still = true;
        let (shared, myself) = (self.shared.clone(), myself.clone());
        tokio::spawn(async move {
            shared.rush.is_over().await;
            if myself.cast(OrchestratorMsg::RushOver).is_err() {
                tracing::debug!("the run has stopped meanwhile");
            }
        });
        Ok(true)
    }

    /// The run goes on with what has come; where it stands still, that is only made durable.
    async fn go_ahead(&mut self, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        if std::mem::take(&mut self.opening) {
            self.flush().await?;
            pass(Point::CreatedAfter);
        }
        if self.stands_still {
            return Ok(self.flush().await?);
        }
        self.advance(myself).await
    }

    /// It has come to its first append, or has worked for long enough: the next run may begin.
    fn end_first_leg(&mut self) {
        self.first_leg = false;
        self.live.end_first_leg();
    }

    /// Whether what waits has waited long enough.
    fn is_late(&self, now: Instant) -> bool {
        let waited = now.duration_since(self.appended);
        let seen = self.live.start.is_seen();
        waited > if seen { APPEND_WITHIN } else { APPEND_AT_LAST } || self.busy > APPEND_WITHIN
    }

    /// Decided events: encoded behind what waits, and made true of the working state.
    fn take(&mut self, events: Vec<Event>) -> Result<(), AppendError> {
        self.go_on();
        self.meta.unresolved = false;
        let refused = self.run.state().counts.refused;
        for event in events {
            let seq = self.log.next_seq();
            let event = self.log.push(event)?;
            self.count(&event);
            if let Some(trace) = &mut self.trace {
                trace.saw(&event, seq, &self.run);
            }
            self.run.apply(&event);
        }
        let refused = self.run.state().counts.refused - refused;
        if refused > 0 {
            self.shared.metrics.shed_total.with_label_values(&["mailbox"]).inc_by(refused);
        }
        Ok(())
    }

    fn count(&self, event: &Event) {
        let metrics = &self.shared.metrics;
        match event {
            Event::TurnCompleted(done) => {
                let turns: u64 = done.served.iter().map(|(_, n)| u64::from(*n)).sum();
                metrics.completed_turns(done.by, turns);
                let handoffs =
                    done.entries.iter().filter(|e| matches!(e.outcome, commedia_domain::event::Outcome::Handoff { .. }));
                metrics.handoffs_total.inc_by(handoffs.count() as u64);
            }
            Event::TurnFailed { failure, .. } => {
                metrics.turns_total.with_label_values(&[failure.class.word(), "failed"]).inc();
            }
            Event::StepRecorded(recorded) => metrics.step_ended(&recorded.outcome),
            Event::FaultInjected(injected) => {
                metrics.faults_injected_total.with_label_values(&[injected.kind.word()]).inc();
            }
            Event::AgentRestarted { .. } => {
                let scenario = &self.run.scenario().name;
                metrics.actor_restarts_total.with_label_values(&[scenario, &"panic".into()]).inc();
            }
            _ => {}
        }
    }

    /// One append of all that waits; published once it is durable.
    async fn flush(&mut self) -> Result<(), AppendError> {
        if self.first_leg {
            self.end_first_leg();
        }
        if self.log.is_dirty() {
            let (meta, live) = self.meta.beside(self.run.state(), self.wait.map(|w| w.at), self.shared.clock.now_ms());
            self.logged += self.log.waiting_bytes();
            pass(Point::AppendBefore);
            let first = self.log.head() == Head::START;
            let events = self.log.flush(&self.shared.store, meta, live).await?;
            if first {
                self.live.is_stored();
            }
            pass(Point::PublishBefore);
            let lagged = self.live.publish(&events);
            self.shared.tell(&self.live.id, self.log.head().seq, &events);
            pass(Point::PublishAfter);
            if let Some(trace) = &mut self.trace {
                trace.durable();
            }
            self.shared.metrics.ws_lagged_total.inc_by(lagged as u64);
            self.snapshot(SNAPSHOT_EVERY);
        }
        self.appended = Instant::now();
        self.depth.look(&self.run, !self.steps.is_empty(), self.appended);
        self.busy = Duration::ZERO;
        let why = cause("advance", &self.principal, &[], self.shared.clock.now_ms());
        self.log.set_cause(why);
        Ok(())
    }

    /// A model's answer that nothing has made durable yet.
    async fn flush_answer(&mut self) -> Result<(), AppendError> {
        if self.log.is_dirty() { self.flush().await } else { Ok(()) }
    }

    /// A snapshot every so many events, and not before the log has grown by as much as the last one took: all snapshots
    /// together stay in proportion to the log, and so does what is folded behind the newest.
    fn snapshot(&mut self, every: u64) {
        let events = self.run.state().counts.events;
        if events < self.snapshot_at + every || self.logged < self.snapshot_bytes || self.run.state().status.ended().is_some() {
            return;
        }
        self.snapshot_at = events;
        let head = self.log.head();
        let snapshot = Snapshot {
            seq: head.seq,
            head_hash: head.hash,
            digest: self.log.digest(),
            state_version: u32::from(STATE_VERSION),
            bytes: self.run.snapshot(),
        };
        (self.snapshot_bytes, self.logged) = (snapshot.bytes.len(), 0);
        let (store, stream) = (self.shared.store.clone(), self.log.stream().clone());
        tokio::spawn(async move {
            pass(Point::SnapshotBefore);
            if let Err(e) = store.put_snapshot(&stream, snapshot).await {
                tracing::debug!(%stream, error = %e, "a snapshot was not kept; the log alone rebuilds the run");
            }
            pass(Point::SnapshotAfter);
        });
    }

    /// Orders what is owed and not under way.
    async fn perform(&mut self, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        let effects = self.run.pending();
        if effects.is_empty() {
            return Err("the run waits and owes nothing".into());
        }
        let (mut outside, mut asked) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Serve(order) if self.order != Some(order.turn) => self.serve(*order, myself).await?,
                Effect::Perform { step, seat, work } if !self.steps.contains(&step) => match work {
                    Work::Tool { tool, input, .. } => self.step(step, seat, (tool, &input), myself).await?,
                    Work::Model | Work::Judge { .. } | Work::Summary => asked.push((step, seat)),
                },
                Effect::Reach { step, seat, tool, input, next } if !self.steps.contains(&step) => {
                    outside.push(outside::Owed { step, seat, tool, input, next });
                }
                Effect::Wake { at } => self.sleep_until(at).await?,
                Effect::Discover { server } => self.discover(server, myself),
                Effect::Serve(_) | Effect::Perform { .. } | Effect::Reach { .. } => {}
            }
        }
        if !asked.is_empty() {
            self.ask(asked, myself).await?;
        }
        if !outside.is_empty() {
            self.reach(outside, myself).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, order: Order, myself: &ActorRef<OrchestratorMsg>) -> Result<(), ActorProcessingErr> {
        self.order = Some(order.turn);
        let first = Seat { agent: order.agent, replica: order.replicas().next().unwrap_or_default() };
        let shard = first.replica / u32::try_from(SHARD).unwrap_or(1024);
        let actor = self.agent((first.agent, shard), myself).await?;
        let at = Arc::new(AtomicU32::new(0));
        let doing = Doing {
            agent: order.agent,
            replicas: order.replicas().collect(),
            turn: order.turn,
            steps: Vec::new(),
            at: at.clone(),
        };
        self.doing.insert(actor.get_id(), doing);
        let crash = self.run.crash_in(&order);
        let dies_at = crash.map(|(place, _)| place);
        self.inject(crash.map(|(_, injected)| injected).into_iter().collect())?;
        if let Some(trace) = &mut self.trace {
            trace.serving(&order);
        }
        actor.cast(AgentMsg::Serve { order: Box::new(order), at, dies_at })?;
        Ok(())
    }

    /// Faults about to strike are in the log before they do.
    fn inject(&mut self, injected: Vec<Injected>) -> Result<(), ActorProcessingErr> {
        if injected.is_empty() {
            return Ok(());
        }
        let events = self.run.decide(Command::Inject(injected))?;
        Ok(self.take(events)?)
    }

    /// A tool that needs nothing outside the process.
    async fn step(
        &mut self,
        step: StepId,
        seat: Seat,
        (tool, input): (ToolRef, &Body),
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(turn) = self.run.state().turns.get(&seat) else { return Ok(()) };
        let order = AgentMsg::Tool(Box::new(ToolOrder {
            step,
            agent: seat.agent,
            facts: self.run.facts(),
            world: self.run.turn_world(turn),
            message: turn.message.clone(),
            tool,
            input: input.value().clone(),
        }));
        self.order_struck(seat, step, Some(tool), order, myself).await
    }

    /// Gives a step to its agent, with whatever faults strike it.
    async fn order_struck(
        &mut self,
        seat: Seat,
        step: StepId,
        tool: Option<ToolRef>,
        message: AgentMsg,
        myself: &ActorRef<OrchestratorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let message = match self.run.step_strike(step, seat, tool) {
            Some(strike) => {
                self.inject(strike.injected.clone())?;
                let limit_ms = self.run.scenario().agents[seat.agent.at()].limits.timeout_ms;
                AgentMsg::Struck { step, strike: Box::new(strike), limit_ms, then: Box::new(message) }
            }
            None => message,
        };
        self.steps.insert(step);
        self.order_step(seat, step, message, myself).await
    }

    /// A command from outside: what is decided is durable before it is answered.
    async fn command(&mut self, given: Given) -> Result<u64, CommandError> {
        pass(Point::CommandBefore);
        self.flush().await?;
        let why = given.cause(self.shared.clock.now_ms());
        let events = self.run.decide(*given.command).inspect_err(|refusal| {
            if matches!(refusal, Refusal::Full { .. }) {
                self.shared.metrics.shed_total.with_label_values(&["mailbox"]).inc();
            }
        })?;
        self.log.set_cause(why);
        self.take(events)?;
        self.flush().await?;
        Ok(self.log.head().seq)
    }
}
