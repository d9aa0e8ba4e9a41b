//! The actor of an agent (or of a shard of a population) while it has work. It performs the steps it is told and reports
//! upward; it holds no truth: losing it loses nothing, the run names what it owed again.

pub(crate) mod calls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use commedia_domain::body::BlobKey;
use commedia_domain::event::{Failure, FailureClass, ModelBinding, StepOutcome};
use commedia_domain::id::AgentIx;
use commedia_domain::message::{Message, StepId};
use commedia_domain::names::{Facts, Names};
use commedia_domain::rules::{self, Order, Served};
use commedia_domain::run::ModelRequest;
use commedia_domain::run::struck::StepStrike;
use commedia_domain::scenario::ToolRef;
use commedia_domain::tool::{self, Builtins};
use commedia_domain::value::Value;
use commedia_domain::world::World;
use ractor::{Actor, ActorProcessingErr, ActorRef, DerivedActorRef};

pub(crate) use self::calls::CallOrder;
use self::calls::Calls;
use crate::metrics::Metrics;
use crate::model::{self, Deltas, Model, stub};
use crate::prices::Prices;
use crate::subscribers::{Listeners, Piece};
use crate::tool::http::HttpTools;
use crate::tool::mcp::McpServers;

/// How the words of a crash begin that a fault asked for.
pub const INJECTED: &str = "injected fault: a crash";

/// What an agent is told.
pub(crate) enum AgentMsg {
    /// Evaluate rules; `at` says which mailbox is being served, for whoever must explain a crash. A fault may have it die at
    /// one of them.
    Serve { order: Box<Order>, at: Arc<AtomicU32>, dies_at: Option<u32> },
    /// Ask a model.
    Ask(Box<ModelRequest>),
    /// A step that faults strike: it dies, fails or comes late.
    Struck { step: StepId, strike: Box<StepStrike>, limit_ms: u64, then: Box<AgentMsg> },
    /// Run a tool that needs nothing outside the process.
    Tool(Box<ToolOrder>),
    /// Call a tool that leaves the process.
    Call(Box<CallOrder>),
}

/// A tool step.
pub(crate) struct ToolOrder {
    pub(crate) step: StepId,
    pub(crate) agent: AgentIx,
    pub(crate) facts: Facts,
    pub(crate) world: World,
    pub(crate) message: Arc<Message>,
    pub(crate) tool: ToolRef,
    pub(crate) input: Value,
}

/// What an agent reports.
pub enum AgentReport {
    /// Rules were evaluated.
    Served(Served),
    /// A step ended.
    StepEnded {
        /// Which.
        step: StepId,
        /// What came back.
        outcome: StepOutcome,
    },
    /// Nobody knows what became of a step that has left the process.
    StepLost {
        /// Which.
        step: StepId,
        /// Why not.
        reason: Arc<str>,
    },
    /// A step's `check` answered, or could not.
    StepChecked {
        /// Which.
        step: StepId,
        /// What it said.
        answer: Result<Value, Arc<str>>,
    },
    /// A step's call panicked beside the mailbox; its actor lives.
    StepCrashed {
        /// Which.
        step: StepId,
        /// The panic's words.
        reason: Arc<str>,
    },
}

/// What an agent's actor is made from.
pub(crate) struct AgentArguments {
    pub(crate) reports: DerivedActorRef<AgentReport>,
    pub(crate) builtins: Arc<dyn Builtins>,
    pub(crate) model: Option<Arc<dyn Model>>,
    pub(crate) prices: Arc<Prices>,
    pub(crate) http: Arc<HttpTools>,
    pub(crate) mcp: Arc<McpServers>,
    pub(crate) blobs: BlobKey,
    /// Who hears its models' answers while they come, if anybody; and where is counted what they miss.
    pub(crate) listeners: Option<(Arc<Listeners>, Arc<Metrics>)>,
}

pub(crate) struct AgentState {
    given: AgentArguments,
    calls: Calls,
}

pub(crate) struct AgentActor;

impl Actor for AgentActor {
    type Msg = AgentMsg;
    type State = AgentState;
    type Arguments = AgentArguments;

    async fn pre_start(&self, _myself: ActorRef<AgentMsg>, given: AgentArguments) -> Result<AgentState, ActorProcessingErr> {
        Ok(AgentState { given, calls: Calls::default() })
    }

    async fn handle(
        &self,
        myself: ActorRef<AgentMsg>,
        message: AgentMsg,
        state: &mut AgentState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AgentMsg::Serve { order, at, dies_at } => {
                let served = rules::serve(&order, &*state.given.builtins, |n| {
                    at.store(n, Ordering::Relaxed);
                    assert!(dies_at != Some(n), "{INJECTED}");
                });
                state.report(AgentReport::Served(served))
            }
            AgentMsg::Struck { step, strike, limit_ms, then } => {
                assert!(!strike.crash, "{INJECTED}");
                state.struck(step, *strike, limit_ms, *then, myself)
            }
            AgentMsg::Ask(request) => state.ask(*request),
            AgentMsg::Call(order) => {
                state.call(*order);
                Ok(())
            }
            AgentMsg::Tool(order) => {
                let report = AgentReport::StepEnded { step: order.step, outcome: state.tool(&order) };
                state.report(report)
            }
        }
    }
}

impl AgentState {
    fn report(&self, report: AgentReport) -> Result<(), ActorProcessingErr> {
        Ok(self.given.reports.cast(report)?)
    }

    /// A fault's own outcome, or the step itself, after what the fault adds; past the step's time it has failed.
    fn struck(
        &mut self,
        step: StepId,
        strike: StepStrike,
        limit_ms: u64,
        then: AgentMsg,
        myself: ActorRef<AgentMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let late = (strike.delay_ms >= limit_ms).then(|| Failure {
            class: FailureClass::Timeout,
            message: format!("injected fault: no answer within {} s", Duration::from_millis(limit_ms).as_secs_f64()).into(),
        });
        let failure = late.or(strike.failure);
        let reports = self.given.reports.clone();
        let wait = Duration::from_millis(strike.delay_ms.min(limit_ms));
        let go_on = move || match failure {
            Some(failure) => reports.cast(AgentReport::StepEnded { step, outcome: StepOutcome::Failed(failure) }).map_err(drop),
            None => myself.cast(then).map_err(drop),
        };
        if wait.is_zero() {
            return go_on().map_err(|()| "the run is gone".into());
        }
        self.calls.beside(async move {
            tokio::time::sleep(wait).await;
            if go_on().is_err() {
                tracing::debug!(%step, "the run is gone; its step's outcome is dropped");
            }
        });
        Ok(())
    }

    /// The stub answers in place; a real model works beside the mailbox, and stops with the actor.
    fn ask(&mut self, request: ModelRequest) -> Result<(), ActorProcessingErr> {
        let (step, blobs) = (request.step, self.given.blobs);
        let model = match (&request.binding, &self.given.model) {
            (ModelBinding::Provider { .. }, Some(model)) => model.clone(),
            (ModelBinding::Provider { provider, .. }, None) => {
                let message = format!("this runtime was given nobody who speaks to provider `{provider}`").into();
                let outcome = StepOutcome::Failed(Failure { class: FailureClass::Model, message });
                return self.report(AgentReport::StepEnded { step, outcome });
            }
            (ModelBinding::Stub | ModelBinding::Offline, _) => {
                let outcome = model::outcome(stub::answer(&request), &blobs);
                return self.report(AgentReport::StepEnded { step, outcome });
            }
        };
        let (reports, prices) = (self.given.reports.clone(), self.given.prices.clone());
        let deltas = self.deltas(&request);
        self.calls.spawn(step, reports, async move {
            let limit = Duration::from_millis(request.timeout_ms);
            let outcome = match tokio::time::timeout(limit, model.answer(&request, deltas.as_ref())).await {
                Ok(mut answer) => {
                    answer.iter_mut().for_each(|answer| prices.charge(&request, answer));
                    model::outcome(answer, &blobs)
                }
                Err(_) => StepOutcome::Failed(Failure {
                    class: FailureClass::Timeout,
                    message: format!("the model did not answer within {} s", limit.as_secs_f64()).into(),
                }),
            };
            AgentReport::StepEnded { step, outcome }
        });
        Ok(())
    }

    /// Where pieces of an answer are told; `None` where nobody listens.
    fn deltas(&self, request: &ModelRequest) -> Option<Deltas> {
        let (listeners, metrics) = self.given.listeners.clone()?;
        if !listeners.are_there() {
            return None;
        }
        let (agent, replica, step) = (request.agent.clone(), request.replica, request.step);
        Some(Deltas::new(move |text| {
            let missed = listeners.tell(&Piece { agent: agent.clone(), replica, step, text: text.into() });
            if missed > 0 {
                metrics.shed_total.with_label_values(&["piece"]).inc_by(missed as u64);
            }
        }))
    }

    fn tool(&self, order: &ToolOrder) -> StepOutcome {
        let names = Names { message: Some(&order.message), ..Names::plain(&order.facts, &order.world) };
        let ids = order.facts.ids("tool", order.step.turn, order.step.n);
        let names = Names { ids: Some(&ids), ..names };
        match tool::perform(&names, Some(order.agent), order.tool, &order.input, &*self.given.builtins) {
            Ok(done) => StepOutcome::Done {
                value: commedia_domain::body::Body::new(done.value, &self.given.blobs),
                writes: done.writes,
                sent: done.sent,
            },
            Err(message) => StepOutcome::Failed(Failure { class: FailureClass::Tool, message: message.into() }),
        }
    }
}
