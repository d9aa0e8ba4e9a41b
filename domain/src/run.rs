//! The machine of a run: what may happen in it, made true, and owed. It holds every turn and every mailbox; only its
//! orchestrator asks it to decide. It never waits, never reads a clock, never draws on anything but its seed.
//!
//! ```text
//! Created → Running ⇄ Paused      Running │ Paused → Completed │ Failed │ TimedOut │ OverBudget │ Cancelled
//! any live state → Quarantined → (released) Running │ Failed
//! ```

mod apply;
mod begin;
pub mod budget;
mod commit;
pub mod crash;
mod finish;
pub mod mailboxes;
mod outside;
mod quiet;
pub mod ranges;
mod request;
mod served;
mod servers;
pub mod sleep;
pub mod state;
pub mod struck;
#[cfg(test)]
mod tests;
mod wave;

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Amount, Created, Discovered, Event, Failure, Injected, StepOutcome, Work};
use crate::id::ToolIx;
use crate::message::{Seat, StepId, TurnId};
use crate::names::{Facts, RunFacts};
use crate::rules::{Order, Served, Shaped};
use crate::scenario::{ClockMode, Scenario, ToolRef};
use crate::step::{Next, Resolution};
use crate::tool::{Builtins, NoBuiltins};
use crate::value::Value;

pub use begin::{NewRun, RunInput, defaults};
pub use outside::UnknownStep;
pub(crate) use request::offers;
pub use request::{CallKind, ModelRequest, ToolDefinition};
pub use state::{Counts, MetricState, State, Status};

/// What can be asked of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Do the next thing that needs nobody else. `wall` is used by a real clock, and for restarts.
    Proceed {
        /// Wall time, milliseconds since 1970 UTC.
        wall: i64,
    },
    /// Rules were evaluated, as an effect asked.
    Served(Served),
    /// A step ended, as an effect asked.
    StepEnded {
        /// Which.
        step: StepId,
        /// What came back.
        outcome: StepOutcome,
    },
    /// A step is about to leave the process. Nothing is sent before what this leads to is durable.
    Dispatch {
        /// Which.
        step: StepId,
    },
    /// A dispatched step has no outcome, and there will be none: nobody knows what became of it.
    Lost {
        /// Which.
        step: StepId,
        /// Why.
        reason: Arc<str>,
    },
    /// The `check` tool of an unknown step answered, or could not.
    Checked {
        /// Which.
        step: StepId,
        /// What it said, or why it did not.
        answer: Result<Value, Arc<str>>,
    },
    /// An operator says what became of an unknown step.
    Resolve {
        /// Which.
        step: StepId,
        /// What became of it.
        resolution: Resolution,
    },
    /// An agent's actor crashed over an order.
    Crashed {
        /// Who.
        seat: Seat,
        /// Over which turn.
        turn: TurnId,
        /// The panic's words.
        reason: Arc<str>,
        /// Wall time, milliseconds since 1970 UTC.
        wall: i64,
    },
    /// A person's words.
    Tell {
        /// To whom.
        seat: Seat,
        /// The words.
        text: Arc<str>,
        /// What came along.
        data: Value,
    },
    /// Stand still.
    Pause {
        /// Why.
        reason: Arc<str>,
    },
    /// Go on.
    Resume,
    /// End it.
    Cancel {
        /// Why.
        reason: Arc<str>,
    },
    /// The wall time of `limits.wall` is used up.
    WallUp,
    /// An operator lets a quarantined run go on, or fail.
    Release {
        /// Whether it is to fail.
        fail: bool,
    },
    /// Faults are about to strike; recorded before they do.
    Inject(Vec<Injected>),
    /// Steps are about to ask models outside the process: each gets room in the budgets, waits, or is refused.
    Reserve {
        /// Which, and what each may need.
        wanted: Vec<budget::Wanted>,
        /// Whether the workspace has a budget of tokens, and one of money.
        workspace: Option<(bool, bool)>,
    },
    /// The workspace gives a slice of its budget of a day.
    Granted {
        /// The day, from 1970-01-01, UTC.
        day: i64,
        /// How much more.
        more: Amount,
    },
    /// A server of tools said what it offers, or could not be asked.
    Discovered(Box<Discovered>),
}

/// What the world still owes a run.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Rules to evaluate, at their commit position.
    Serve(Box<Order>),
    /// A step of an `llm` turn.
    Perform {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// What to call.
        work: Work,
    },
    /// A step of an `llm` turn that leaves the process, and that nobody works on.
    Reach {
        /// Which.
        step: StepId,
        /// Whose.
        seat: Seat,
        /// The tool.
        tool: ToolRef,
        /// Its input.
        input: Body,
        /// What is owed to it.
        next: Next,
    },
    /// Ask a server of tools what it offers; nothing else happens before.
    Discover {
        /// The server.
        server: ToolIx,
    },
    /// Ask again at this moment of wall time.
    Wake {
        /// Milliseconds since 1970 UTC.
        at: i64,
    },
}

/// The run said no; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something is owed first; `pending` names it.
    #[error("the run waits for what it is owed")]
    Owed,
    /// Nothing happens before an operator says what became of a step; [`Run::unknown_steps`] names them.
    #[error("the run waits until somebody says what became of a step")]
    Unresolved,
    /// Nothing happens before this moment of wall time.
    #[error("nothing happens before {0}")]
    Wait(i64),
    /// The run is over.
    #[error("the run is over: {0}")]
    Over(&'static str),
    /// The run stands still.
    #[error("the run is paused")]
    Paused,
    /// The run crashes whenever it is to decide.
    #[error("the run is quarantined: release it first")]
    Quarantined,
    /// The report is for something that is not owed (any more).
    #[error("{0} is not owed")]
    Stale(String),
    /// The mailbox of whom it is for is full.
    #[error("the mailbox of `{agent}` is full: it holds {held} messages (`supervision.mailbox.capacity`)")]
    Full {
        /// Who.
        agent: Arc<str>,
        /// How many messages.
        held: usize,
    },
    /// It cannot be done in this state.
    #[error("{0}")]
    Invalid(String),
}

/// One execution of a scenario version.
#[derive(Clone, Debug)]
pub struct Run {
    scenario: Arc<Scenario>,
    state: State,
    /// Built-ins that triggers call; rules get them from whoever evaluates them.
    builtins: Arc<dyn Builtins>,
    /// The wave at hand, worked out from the state after each event; never stored.
    wave: Option<wave::Wave>,
    /// What a shard made of the world, until its turn is made true; never stored.
    result: Option<Shaped>,
    /// What servers of tools offered, made ready from the state; never stored.
    ready: Arc<servers::Offers>,
    /// From how many replicas on a message to a whole block lies in one place.
    cast_from: u32,
}

/// Replicas from which on keeping a message once is less work than one copy each.
const CAST_FROM: u32 = 8;

impl Run {
    /// A run of which nothing is known but its first event.
    pub fn new(scenario: Arc<Scenario>, created: Created) -> Run {
        let state = State::new(&scenario, created);
        Run::of(scenario, state)
    }

    fn of(scenario: Arc<Scenario>, state: State) -> Run {
        let (builtins, ready) = (Arc::new(NoBuiltins), Arc::default());
        Run { scenario, state, builtins, wave: None, result: None, ready, cast_from: CAST_FROM }
    }

    /// The run as a snapshot has it.
    pub fn restore(scenario: Arc<Scenario>, snapshot: &[u8]) -> Result<Run, postcard::Error> {
        let state = postcard::from_bytes(snapshot)?;
        let mut run = Run::of(scenario, state);
        run.renew_wave();
        run.renew_ready();
        Ok(run)
    }

    /// The same run with built-in tools for its triggers.
    #[must_use]
    pub fn with_builtins(mut self, builtins: Arc<dyn Builtins>) -> Run {
        self.builtins = builtins;
        self
    }

    /// The state as bytes, for a snapshot: a cache, never an authority.
    pub fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.state).expect("a state holds no collection values and always encodes")
    }

    /// The run itself, for an owner that is done with it: what stays behind is empty, and only good to be dropped.
    #[must_use]
    pub fn take(&mut self) -> Run {
        let scenario = self.scenario.clone();
        let (state, wave) = (std::mem::take(&mut self.state), self.wave.take());
        let (builtins, ready) = (self.builtins.clone(), self.ready.clone());
        Run { scenario, state, builtins, wave, ready, cast_from: self.cast_from, result: self.result.take() }
    }

    /// The scenario.
    pub fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    /// The state, to read.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// May it happen, and what then is true?
    pub fn decide(&self, command: Command) -> Result<Vec<Event>, Refusal> {
        if let Some(word) = self.state.status.ended() {
            return Err(Refusal::Over(word));
        }
        match command {
            Command::Release { fail } => self.decide_release(fail),
            _ if matches!(self.state.status, Status::Quarantined { .. }) => Err(Refusal::Quarantined),
            Command::Proceed { .. } if self.state.status.is_paused() => Err(Refusal::Paused),
            Command::Proceed { wall } => self.proceed(wall),
            Command::Served(served) => self.decide_served(served),
            Command::StepEnded { step, outcome } => self.decide_step(step, outcome),
            Command::Dispatch { step } => self.decide_dispatch(step),
            Command::Lost { step, reason } => self.decide_lost(step, reason),
            Command::Checked { step, answer } => self.decide_checked(step, answer),
            Command::Resolve { step, resolution } => self.decide_resolve(step, resolution),
            Command::Crashed { seat, turn, reason, wall } => self.decide_crash(seat, turn, reason, wall),
            Command::Tell { seat, text, data } => self.decide_tell(seat, &text, data),
            Command::Pause { reason } => match self.state.status {
                Status::Running => Ok(vec![Event::RunPaused { reason }]),
                _ => Err(Refusal::Invalid("only a running run can be paused".into())),
            },
            Command::Resume => match self.state.status {
                Status::Paused { .. } => Ok(vec![Event::RunResumed]),
                _ => Err(Refusal::Invalid("only a paused run can be resumed".into())),
            },
            Command::Cancel { reason } => Ok(vec![Event::RunCancelled(Box::new(self.ended(Some(reason))))]),
            Command::Inject(injected) => Ok(self.decide_injected(injected)),
            Command::Reserve { wanted, workspace } => self.decide_reserve(&wanted, workspace),
            Command::Granted { day, more } => Ok(self.decide_granted(day, more)),
            Command::Discovered(discovered) => self.decide_discovered(discovered),
            Command::WallUp => {
                let cause = format!("`limits.wall` of {} s is used up", self.scenario.limits.wall_ms / 1000);
                Ok(vec![Event::RunTimedOut(Box::new(self.ended(Some(cause.into()))))])
            }
        }
    }

    /// Makes an event true. Total: an event of this run's log always applies.
    pub fn apply(&mut self, event: &Event) {
        apply::apply(self, event);
    }

    /// The world that a turn about to be applied leaves, from whoever evaluated it. A hint: it is taken only where the turn
    /// began on exactly the world that is now, and spares making each write again.
    pub fn expect(&mut self, result: Option<Shaped>) {
        self.result = result;
    }

    /// What is owed, read from the state.
    pub fn pending(&self) -> Vec<Effect> {
        if self.state.status != Status::Running {
            return Vec::new();
        }
        let mut effects = self.owes();
        let served = effects.iter().any(|e| matches!(e, Effect::Serve(_)));
        let moment = if !served && self.is_real() { self.next_moment() } else { None };
        let wake = moment.into_iter().chain(self.next_restart()).min();
        effects.extend(wake.map(|at| Effect::Wake { at }));
        effects
    }

    /// What is owed now, whatever the clock says.
    fn owes(&self) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.undiscovered().map(|server| Effect::Discover { server }).collect();
        if !effects.is_empty() {
            return effects;
        }
        for turn in self.state.turns.values().filter(|turn| !self.is_down(turn.seat)) {
            effects.extend(turn.pending().into_iter().filter_map(|(step, work)| self.owed(step, turn.seat, work)));
        }
        if let Some(order) = self.order() {
            effects.push(Effect::Serve(Box::new(order)));
        }
        effects
    }

    fn proceed(&self, wall: i64) -> Result<Vec<Event>, Refusal> {
        if self.state.status == Status::Created {
            return Ok(vec![self.started()]);
        }
        if let Some(end) = self.must_end() {
            return Ok(vec![end]);
        }
        if self.undiscovered().next().is_some() {
            return Err(Refusal::Owed);
        }
        if !self.state.crashes.is_empty() {
            let restarts = self.restarts_due(wall);
            if !restarts.is_empty() {
                return Ok(restarts);
            }
        }
        match self.wave_at_hand() {
            Some(wave) => {
                let begun = self.begin_turns(wave);
                if !begun.is_empty() {
                    return Ok(begun);
                }
                match self.commit_next(wave) {
                    Err(Refusal::Owed) if self.only_unresolved() => self.unresolved(wall),
                    committed => committed,
                }
            }
            None => self.quiet(wall),
        }
    }

    /// Nothing but operators' words is owed: a real clock goes on meanwhile, a simulated one holds.
    fn unresolved(&self, wall: i64) -> Result<Vec<Event>, Refusal> {
        if self.is_real() { self.quiet(wall) } else { Err(Refusal::Unresolved) }
    }

    /// What all expressions see now.
    pub fn facts(&self) -> Facts {
        self.facts_at(self.state.tick, self.state.now)
    }

    fn facts_at(&self, tick: u64, now: i64) -> Facts {
        Facts {
            scenario: self.scenario.clone(),
            params: self.state.params.clone(),
            seed: self.state.created.seed,
            tick,
            now,
            run: self.run_facts(),
            blobs: self.state.blobs(),
            storm: self.storm(),
        }
    }

    /// `run` in expressions.
    pub fn run_facts(&self) -> RunFacts {
        let state = &self.state;
        RunFacts {
            status: state.status.word(),
            mode: state.mode(),
            ticks: state.created.ticks.unwrap_or(0),
            turns: state.counts.turns,
            handoffs: state.counts.handoffs,
            model_calls: u64::from(state.usage.model_calls),
            tokens_in: state.usage.tokens_in,
            tokens_out: state.usage.tokens_out,
            cost_usd: state.usage.cost_usd,
            degraded: state.counts.degraded > 0,
            failed: matches!(state.status, Status::Failed),
        }
    }

    fn is_real(&self) -> bool {
        self.scenario.clock.mode == ClockMode::Real
    }

    fn stale(what: impl std::fmt::Display) -> Refusal {
        Refusal::Stale(what.to_string())
    }

    fn failure(class: crate::event::FailureClass, message: impl std::fmt::Display) -> Failure {
        Failure { class, message: message.to_string().into() }
    }
}
