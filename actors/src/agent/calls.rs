//! Calls that an agent's actor makes beside its mailbox: of models and of tools that leave the process. They stop with the
//! actor; one that panics is told as a crash of its own step, and touches no other.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use commedia_domain::body::Body;
use commedia_domain::event::{Failure, FailureClass, StepOutcome, tool_name};
use commedia_domain::message::StepId;
use commedia_domain::names::{Facts, Names};
use commedia_domain::scenario::{EffectClass, Schema, ToolRef};
use commedia_domain::tool::mcp::McpTool;
use commedia_domain::value::Value;
use commedia_domain::world::{World, matches};
use ractor::DerivedActorRef;
use tokio::task::JoinSet;

use super::{AgentReport, AgentState};
use crate::tool::http::{Call, Called};
use crate::tool::mcp::McpCall;

/// A call of a tool that leaves the process.
pub(crate) struct CallOrder {
    pub(crate) step: StepId,
    pub(crate) facts: Facts,
    pub(crate) world: World,
    pub(crate) tool: ToolRef,
    /// How often it may be performed.
    pub(crate) class: EffectClass,
    /// What the input of a server's tool must be; `None` where the server does not offer it.
    pub(crate) ready: Option<Schema>,
    pub(crate) input: Value,
    pub(crate) key: String,
    /// Whether it asks what became of the step, instead of performing it.
    pub(crate) check: bool,
}

/// The calls of one actor.
#[derive(Default)]
pub(super) struct Calls(JoinSet<()>);

impl Calls {
    /// Works on a step beside the mailbox; its report, or its crash, is told to the run.
    pub(super) fn spawn(
        &mut self,
        step: StepId,
        reports: DerivedActorRef<AgentReport>,
        call: impl Future<Output = AgentReport> + Send + 'static,
    ) {
        let mut call = Box::pin(call);
        let caught = poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
            Ok(Poll::Ready(report)) => Poll::Ready(report),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(AgentReport::StepCrashed { step, reason: words(&*panic).into() }),
        });
        self.beside(async move {
            if reports.cast(caught.await).is_err() {
                tracing::debug!(%step, "the run is gone; its step's outcome is dropped");
            }
        });
    }

    /// Something that waits and cannot panic.
    pub(super) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while self.0.try_join_next().is_some() {}
        self.0.spawn(work);
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

impl AgentState {
    /// A tool that leaves the process. What can be refused here is refused before a byte of it leaves.
    pub(super) fn call(&mut self, order: CallOrder) {
        let (step, check, blobs) = (order.step, order.check, self.given.blobs);
        let (http, mcp, reports) = (self.given.http.clone(), self.given.mcp.clone(), self.given.reports.clone());
        self.calls.spawn(step, reports, async move {
            let called = match prepared(&order) {
                Ok(Prepared::Http(call)) => http.call(&call).await,
                Ok(Prepared::Mcp(server, call)) => mcp.call(server, &call).await,
                Err(message) => Called::Failed(Failure { class: FailureClass::Tool, message: message.into() }),
            };
            if check {
                let answer = match called {
                    Called::Done(value) => Ok(value),
                    Called::Failed(failure) => Err(failure.message),
                    Called::Lost(why) => Err(why),
                };
                return AgentReport::StepChecked { step, answer };
            }
            match called {
                Called::Done(value) => {
                    let value = Body::new(value, &blobs);
                    let outcome = StepOutcome::Done { value, writes: Vec::new(), sent: Vec::new() };
                    AgentReport::StepEnded { step, outcome }
                }
                Called::Failed(failure) => AgentReport::StepEnded { step, outcome: StepOutcome::Failed(failure) },
                Called::Lost(reason) => AgentReport::StepLost { step, reason },
            }
        });
    }
}

/// A call that is ready to be made.
enum Prepared<'a> {
    Http(Call),
    Mcp(&'a McpTool, McpCall),
}

/// The call an order means; the error is for whoever called the tool.
fn prepared(order: &CallOrder) -> Result<Prepared<'_>, String> {
    let scenario = &order.facts.scenario;
    let (class, timeout) = (order.class, Duration::from_millis(scenario.timeout_ms(order.tool)));
    let spec =
        scenario.leaves(order.tool).ok_or_else(|| format!("`{}` does not leave the process", tool_name(scenario, order.tool)))?;
    if let Some((mcp, one)) = scenario.served(order.tool) {
        let full = one.full.clone();
        let schema = order.ready.as_ref().ok_or_else(|| format!("`{full}` was not offered when the run began"))?;
        matches(&order.input, schema).map_err(|e| format!("input of `{full}`: {e}"))?;
        let (input, key) = (order.input.plain(), order.key.clone());
        let call = McpCall { full, tool: one.name.clone(), input, class, timeout, retry: mcp.retry, key };
        return Ok(Prepared::Mcp(mcp, call));
    }
    let http = spec.http().ok_or_else(|| format!("`{}` does not leave the process", spec.name))?;
    matches(&order.input, &spec.input).map_err(|e| format!("input of `{}`: {e}", spec.name))?;
    let names = Names::plain(&order.facts, &order.world);
    let request = http.request(&names, &order.input).map_err(|e| format!("`{}`: {e}", spec.name))?;
    let tool = Arc::clone(&spec.name);
    Ok(Prepared::Http(Call { tool, request, class, timeout, retry: http.retry, key: order.key.clone() }))
}
