//! The machine of one `llm` turn: what a step's outcome leads to. Decides nothing outside itself; the run commits it.
//!
//! ```text
//! (Judging: input) ──▶ (Summing: history) ──▶ Model
//! Model ──answer──▶ (Judging) ──▶ Ready │ Tools ──all done──▶ (Judging) ──▶ Model │ Ready
//!   └──── repair, retry ───┘      Ready with a handoff ──▶ (Summing) ──▶ Ready
//! Model ──ask_──▶ Asking ──all back──▶ Model                  any ──failure──▶ Fallback │ Failed
//! ```

mod guardrails;
mod judges;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::event::{AnsweredBy, Ask, Failure, FailureClass, Outcome, Recorded, Sent, StepOutcome, Then, Trip, Usage, Write};
use crate::id::AgentIx;
use crate::message::{Call, Chat, History, MAX_DEPTH, Message, Seat, StepId, TurnId};
use crate::names::{Facts, Names};
use crate::scenario::{Agent, AgentKind, Carry, Fallback, GuardrailAt, OnExceed, OnExhausted, Scenario};
use crate::schema::conform;
use crate::value::Value;
use crate::world::{World, matches};

pub use guardrails::{Checks, Verdict, input_of};
pub use judges::{JudgeStep, Of, SUMMARY_CHARS, ToolDone, ToolStep, kept_from, last_words};

/// How often an output that does not fit its schema is sent back.
pub const MAX_REPAIRS: u32 = 2;
/// Calls one answer may hold; further ones are answered that they were ignored.
pub const MAX_CALLS: usize = 64;

/// A turn of an `llm` agent that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Which.
    pub id: TurnId,
    /// Its place in the wave it commits in; another one than `id` after an answer came back.
    pub slot: TurnId,
    /// Whose.
    pub seat: Seat,
    /// What it handles.
    pub message: Arc<Message>,
    /// Run time it began at.
    pub at: i64,
    /// Where it stands.
    pub phase: Phase,
    /// The next step's number.
    pub next_step: u32,
    /// What it added to its conversation.
    pub said: Vec<Chat>,
    /// What its tools changed.
    pub writes: Vec<Write>,
    /// What its tools sent.
    pub sent: Vec<Sent>,
    /// Guardrails that were not met.
    pub trips: Vec<Trip>,
    /// Output repairs so far.
    pub repairs: u32,
    /// Retries so far, by guardrail.
    pub retries: BTreeMap<u16, u32>,
    /// Answers of the model so far.
    pub asked: u32,
    /// Tokens and money.
    pub usage: Usage,
    /// Who answered last.
    pub by: AnsweredBy,
    /// The stub answers instead of the model, which failed.
    pub stubbed: bool,
    /// Somebody answered instead of the configured model, which failed.
    pub degraded: bool,
    /// Judges that are to see what came in, before anything else.
    pub inputs: Vec<u16>,
    /// How often each guardrail's judge was asked.
    pub judges: BTreeMap<u16, u32>,
    /// What judges said of what is judged now, by guardrail and place: `None` where all is well, else why not.
    pub verdicts: BTreeMap<(u16, u32), Option<Arc<str>>>,
    /// How many messages of the conversation so far are to be summarised first, the oldest ones.
    pub sums: u32,
    /// How many messages a summary has replaced, and the summary.
    pub summed: Option<(u32, Body)>,
    /// The summary that goes along with a handoff.
    pub summary: Option<Body>,
}

/// Where a turn stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// The model is asked.
    Model {
        /// The step.
        step: StepId,
    },
    /// Tools run.
    Tools {
        /// The steps, in the order of the calls.
        steps: Vec<ToolStep>,
        /// What follows instead of the model.
        after: Option<Box<Outcome>>,
    },
    /// Questions are decided and committed in wave order.
    WillAsk {
        /// The questions.
        asks: Vec<Ask>,
    },
    /// Delegates work.
    Asking {
        /// The calls that are still open.
        open: Vec<Arc<str>>,
    },
    /// It can be committed.
    Ready {
        /// How it ends.
        outcome: Box<Outcome>,
    },
    /// The agent's rules take it, at its commit position.
    Fallback,
    /// It can be committed as failed.
    Failed(Failure),
    /// Judges are asked, side by side.
    Judging {
        /// Which.
        judges: Vec<JudgeStep>,
        /// About what.
        of: Of,
    },
    /// A model summarises the conversation.
    Summing {
        /// The step.
        step: StepId,
        /// The handoff it is for; without one it is for the turn's own model.
        outcome: Option<Box<Outcome>>,
    },
}

/// What a turn needs to see to decide.
pub struct TurnView<'a> {
    /// The facts of its moment.
    pub facts: &'a Facts,
    /// The world it reads.
    pub world: &'a World,
    /// Whether a model outside the process answers for the agent.
    pub live: bool,
}

impl TurnView<'_> {
    fn scenario(&self) -> &Scenario {
        &self.facts.scenario
    }
}

/// The name a model calls a handoff by: `transfer_to_<agent>`, lower case, other characters as `_`
/// (the OpenAI Agents SDK's convention).
pub fn handoff_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("transfer_to_{}", agent.chars().map(plain).collect::<String>())
}

/// The name a model asks a delegate by.
pub fn ask_name(agent: &str) -> String {
    handoff_name(agent).replacen("transfer_to_", "ask_", 1)
}

impl Turn {
    /// A turn that begins with its model's first step.
    pub fn new(step: StepId, seat: Seat, message: Arc<Message>, at: i64) -> Turn {
        Turn {
            id: step.turn,
            slot: step.turn,
            seat,
            message,
            at,
            phase: Phase::Model { step },
            next_step: step.n + 1,
            said: Vec::new(),
            writes: Vec::new(),
            sent: Vec::new(),
            trips: Vec::new(),
            repairs: 0,
            retries: BTreeMap::new(),
            asked: 0,
            usage: Usage::default(),
            by: AnsweredBy::Model,
            stubbed: false,
            degraded: false,
            inputs: Vec::new(),
            judges: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            sums: 0,
            summed: None,
            summary: None,
        }
    }

    /// What a step's outcome leads to. The caller has checked that the step is owed.
    pub fn decide(&self, view: &TurnView<'_>, step: StepId, outcome: StepOutcome) -> Recorded {
        let mut checks = Checks::default();
        let then = match (&self.phase, &outcome) {
            (_, StepOutcome::Failed(failure)) if failure.class == FailureClass::Crash => self.give_up(view, failure.clone()),
            (Phase::Model { .. } | Phase::Judging { .. }, StepOutcome::Failed(failure))
                if failure.class == FailureClass::Budget =>
            {
                self.give_up(view, failure.clone())
            }
            (Phase::Model { .. }, StepOutcome::Failed(failure)) => self.give_up(view, failure.clone()),
            (Phase::Model { .. }, outcome) => match outcome.answer() {
                Some(answer) => self.answered(view, answer.text, answer.calls, &mut checks),
                None => Then::Failed(Failure {
                    class: FailureClass::Model,
                    message: "a tool's result came back for a model's step".into(),
                }),
            },
            (Phase::Tools { steps, .. }, _) if steps.iter().filter(|s| s.done.is_none()).count() > 1 => Then::Wait,
            (Phase::Tools { steps, after }, outcome) => {
                self.tools_done(view, (steps, after.as_deref()), Some((step, outcome)), &mut checks)
            }
            (Phase::Judging { judges, .. }, _) if judges.iter().filter(|j| !j.done).count() > 1 => Then::Wait,
            (Phase::Judging { of, .. }, outcome) => {
                let mut judged = self.clone();
                judged.heard(step, outcome);
                judged.judged(view, of, &mut checks)
            }
            (Phase::Summing { outcome: Some(handoff), .. }, _) => Then::Ready { answers: Vec::new(), outcome: handoff.clone() },
            (Phase::Summing { outcome: None, .. }, _) => Then::Again { answers: Vec::new(), words: None },
            _ => Then::Wait,
        };
        let then = self.first(view, then, &mut checks);
        Recorded { step, outcome, then, trips: checks.trips }
    }

    /// Judges that are wanted are asked first, and a summary is made before the floor goes with one.
    fn first(&self, view: &TurnView<'_>, then: Then, checks: &mut Checks) -> Then {
        if !checks.wanted.is_empty() && !matches!(then, Then::Failed(_) | Then::Fallback) {
            checks.trips.clear();
            let (steps, planned) = (self.agent(view).limits.steps, std::mem::take(&mut checks.wanted));
            let calls = self.asked_now() + u32::try_from(planned.len()).unwrap_or(u32::MAX);
            if calls > steps {
                let message = format!(
                    "judges would be call {calls} of a model in one turn, and {steps} are allowed (`limits.steps`, judges included)"
                );
                return self.give_up(view, Failure { class: FailureClass::Steps, message: message.into() });
            }
            return Then::Judge { planned };
        }
        match then {
            Then::Ready { answers, outcome }
                if view.live
                    && !self.stubbed
                    && !matches!(self.phase, Phase::Summing { .. })
                    && matches!(*outcome, Outcome::Handoff { carry: Carry::Summary, .. }) =>
            {
                Then::Summarise { answers, outcome }
            }
            then => then,
        }
    }

    /// The model is asked again, unless the turn has used up its calls.
    fn again(&self, view: &TurnView<'_>, answers: Vec<(Arc<str>, Body)>, words: Option<Body>) -> Then {
        let steps = self.agent(view).limits.steps;
        if self.asked_now() >= steps {
            let message = format!("the model was called {steps} times in one turn (`limits.steps`) without a final output");
            return self.give_up(view, Failure { class: FailureClass::Steps, message: message.into() });
        }
        Then::Again { answers, words }
    }

    /// Calls of the model and of judges so far, the open ones included.
    fn asked_now(&self) -> u32 {
        self.asked + self.judge_calls() + u32::from(matches!(self.phase, Phase::Model { .. }))
    }

    fn agent<'a>(&self, view: &'a TurnView<'_>) -> &'a Agent {
        &view.scenario().agents[self.seat.agent.at()]
    }

    fn give_up(&self, view: &TurnView<'_>, failure: Failure) -> Then {
        let agent = self.agent(view);
        let mendable = match failure.class {
            FailureClass::Model | FailureClass::Timeout => true,
            FailureClass::Budget => view.scenario().limits.on_exceed == OnExceed::Fallback,
            FailureClass::Crash => agent.supervision.on_exhausted == Some(OnExhausted::Fallback),
            _ => false,
        };
        match &agent.fallback {
            Some(Fallback::Rules(_)) if mendable => Then::Fallback,
            // In its own place the stub would only do the same again.
            Some(Fallback::Stub) if mendable && !self.stubbed => Then::Fallback,
            _ => Then::Failed(failure),
        }
    }

    fn answered(&self, view: &TurnView<'_>, text: &Body, calls: &[Call], checks: &mut Checks) -> Then {
        if calls.is_empty() {
            return self.final_output(view, text, checks);
        }
        let agent = self.agent(view);
        let scenario = view.scenario();
        let (mut planned, mut asks, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        let mut handoff: Option<Outcome> = None;
        let reply = |text: &str| Body::new(Value::text(text), &view.facts.blobs);
        for (call, slot) in calls.iter().zip(0_u32..) {
            let name = &*call.name;
            if slot as usize >= MAX_CALLS {
                answers.push((call.id.clone(), reply("Too many calls in one answer; this one was ignored.")));
            } else if let Some(spec) = agent.handoffs.iter().find(|h| handoff_name(&scenario.agents[h.to.at()].name) == name) {
                match self.handoff(view, spec, (call, slot), text, &mut handoff, checks) {
                    Ok(answer) => answers.push((call.id.clone(), answer)),
                    Err(failure) => return Then::Failed(failure),
                }
            } else if let Some(to) = agent.delegates.iter().find(|d| ask_name(&scenario.agents[d.at()].name) == name) {
                match self.may_ask(*to) {
                    Ok(()) => asks.push(Ask { call_id: call.id.clone(), to: *to, text: question(call, view) }),
                    Err(why) => answers.push((call.id.clone(), reply(why))),
                }
            } else if let Some(tool) = agent.tools.iter().find(|t| crate::event::tool_name(scenario, **t) == name) {
                match self.check(view, &GuardrailAt::Tool(*tool), slot, call.input.value(), checks) {
                    Ok(()) => planned.push((call.id.clone(), *tool, call.input.clone())),
                    Err(Verdict::Reject(words)) => answers.push((call.id.clone(), reply(&words))),
                    Err(Verdict::Fail(failure)) => return Then::Failed(failure),
                }
            } else {
                answers.push((call.id.clone(), reply(&format!("There is no tool `{name}`."))));
            }
        }
        if !planned.is_empty() {
            // Questions asked in the same answer are put off: their calls are answered, the model may ask again.
            for ask in asks {
                answers.push((ask.call_id, reply("Ask again once the other calls are done.")));
            }
            return Then::Tools { planned, answers, after: handoff.map(Box::new) };
        }
        match handoff {
            Some(outcome) => {
                answers.extend(asks.into_iter().map(|a| (a.call_id, reply("Ignored: the floor was handed off."))));
                Then::Ready { answers, outcome: Box::new(outcome) }
            }
            None if asks.is_empty() => self.again(view, answers, None),
            None => Then::Ask { asks, answers },
        }
    }

    /// The first handoff of an answer wins, if its guardrails hold and it is offered now.
    fn handoff(
        &self,
        view: &TurnView<'_>,
        spec: &crate::scenario::HandoffSpec,
        (call, slot): (&Call, u32),
        text: &Body,
        taken: &mut Option<Outcome>,
        checks: &mut Checks,
    ) -> Result<Body, Failure> {
        let scenario = view.scenario();
        let reply = |text: String| Body::new(Value::text(text), &view.facts.blobs);
        if taken.is_some() {
            return Ok(reply("Multiple handoffs detected, ignoring this one.".into()));
        }
        if !offered(view, spec) {
            return Ok(reply(format!("`{}` cannot take over now.", scenario.agents[spec.to.at()].name)));
        }
        let name = scenario.agents[spec.to.at()].name.clone();
        let input = Value::object([("to", Value::Text(name.clone())), ("input", call.input.value().clone())]);
        match self.check(view, &GuardrailAt::Handoff, slot, &input, checks) {
            Err(Verdict::Reject(words)) => return Ok(reply(words)),
            Err(Verdict::Fail(failure)) => return Err(failure),
            Ok(()) => {}
        }
        let words = Some(text.clone()).filter(|t| *t.value() != Value::Null);
        *taken = Some(Outcome::Handoff { to: spec.to, carry: spec.carry, text: words, data: call.input.clone() });
        Ok(Body::small(Value::object([("assistant", Value::Text(name))])))
    }

    fn may_ask(&self, to: AgentIx) -> Result<(), &'static str> {
        let stack = self.message.chain.as_ref().map_or(&[][..], |c| &c.stack);
        if to == self.seat.agent || stack.iter().any(|c| c.seat.agent == to) {
            return Err("Refused: that agent waits for this answer itself.");
        }
        if stack.len() + 1 > MAX_DEPTH { Err("Refused: questions nest too deep.") } else { Ok(()) }
    }

    fn final_output(&self, view: &TurnView<'_>, text: &Body, checks: &mut Checks) -> Then {
        let agent = self.agent(view);
        let output = match &agent.output {
            None => text.value().clone(),
            Some(schema) => {
                let parsed = text.value().as_str().map_or_else(
                    || Ok(text.value().clone()),
                    |t| serde_json::from_str(t).map(|j| Value::from_json(&j)).map_err(|e| format!("it is no JSON: {e}")),
                );
                match parsed.and_then(|v| {
                    let v = conform(&schema.ty, &v);
                    matches(&v, schema).map(|()| v)
                }) {
                    Ok(value) => value,
                    Err(e) if self.repairs < MAX_REPAIRS => {
                        let words = format!("The answer does not fit the output schema: {e}. Answer again with JSON only.");
                        return self.again(view, Vec::new(), Some(Body::new(Value::text(words), &view.facts.blobs)));
                    }
                    Err(e) => {
                        let message = format!("the output does not fit its schema after {MAX_REPAIRS} repairs: {e}");
                        return self.give_up(view, Failure { class: FailureClass::Output, message: message.into() });
                    }
                }
            }
        };
        match self.check(view, &GuardrailAt::Output, 0, &output, checks) {
            Ok(()) => {
                let output = Body::new(output, &view.facts.blobs);
                Then::Ready { answers: Vec::new(), outcome: Box::new(Outcome::Final { output }) }
            }
            Err(Verdict::Reject(words)) if checks.trips.last().is_some_and(|t| &*t.then == "retry") => {
                self.again(view, Vec::new(), Some(Body::new(Value::text(words), &view.facts.blobs)))
            }
            Err(Verdict::Reject(words)) => {
                let output = Body::new(Value::text(words), &view.facts.blobs);
                Then::Ready { answers: Vec::new(), outcome: Box::new(Outcome::Final { output }) }
            }
            Err(Verdict::Fail(failure)) => Then::Failed(failure),
        }
    }

    /// Makes a recorded outcome true; `by_stub`: the agent's fallback is the stub.
    pub fn apply(&mut self, recorded: &Recorded, by_stub: bool) {
        for trip in &recorded.trips {
            if &*trip.then == "retry" {
                *self.retries.entry(trip.guardrail).or_default() += 1;
            }
        }
        self.trips.extend(recorded.trips.iter().cloned());
        if let Some(answered) = recorded.outcome.answer() {
            self.usage.add(answered.usage);
        }
        match (&self.phase, &recorded.outcome) {
            (Phase::Judging { .. }, outcome) => self.heard(recorded.step, outcome),
            (Phase::Summing { .. }, outcome) => self.summed_up(outcome),
            (_, StepOutcome::Answered { .. } | StepOutcome::Replied(_)) => self.answer(&recorded.outcome),
            (_, StepOutcome::Done { value, writes, sent }) => {
                let (content, writes, sent) = (value.clone(), writes.clone(), sent.clone());
                self.tool_done(recorded.step, ToolDone { content, writes, sent, failed: false });
            }
            (_, StepOutcome::Failed(failure)) => {
                let content = Body::small(Value::object([("error", Value::Text(failure.message.clone()))]));
                self.tool_done(recorded.step, ToolDone { content, writes: Vec::new(), sent: Vec::new(), failed: true });
            }
        }
        let retried = recorded.trips.iter().any(|trip| &*trip.then == "retry");
        match recorded.then {
            Then::Fallback if by_stub => self.start_over(),
            _ => self.follow(&recorded.then, retried),
        }
    }

    fn answer(&mut self, outcome: &StepOutcome) {
        let Some(answered) = outcome.answer() else { return };
        let agent = self.seat.agent;
        self.asked += 1;
        self.by = answered.by;
        self.said.extend(answered.reasoning.map(|items| Chat::Reasoning { agent, items: items.clone() }));
        self.said.push(Chat::Assistant { agent, text: answered.text.clone(), calls: answered.calls.to_vec() });
    }

    /// The stub takes the whole turn: nothing of what the model and its tools did stays.
    fn start_over(&mut self) {
        self.said.clear();
        self.writes.clear();
        self.sent.clear();
        self.trips.clear();
        self.retries.clear();
        self.judges.clear();
        self.verdicts.clear();
        self.summary = None;
        (self.repairs, self.asked, self.stubbed) = (0, 0, true);
        self.open();
    }

    fn tool_done(&mut self, step: StepId, result: ToolDone) {
        if let Phase::Tools { steps, .. } = &mut self.phase
            && let Some(found) = steps.iter_mut().find(|s| s.step == step)
        {
            found.done = Some(result);
        }
    }

    /// What was decided is made true; `retried`: a guardrail has the model asked again, not its schema.
    fn follow(&mut self, then: &Then, retried: bool) {
        match then {
            Then::Wait => return,
            Then::Judge { planned } => {
                let of = match std::mem::replace(&mut self.phase, Phase::Fallback) {
                    Phase::Tools { steps, after } => Of::Tools { steps, after },
                    Phase::Judging { of, .. } => of,
                    _ => Of::Answer,
                };
                return self.judge(planned, of);
            }
            _ => self.verdicts.clear(),
        }
        let answered = match then {
            Then::Again { answers, .. }
            | Then::Tools { answers, .. }
            | Then::Ask { answers, .. }
            | Then::Ready { answers, .. }
            | Then::Summarise { answers, .. } => self.gather(answers),
            _ => self.gather(&[]),
        };
        let begins = matches!(self.phase, Phase::Judging { of: Of::Input, .. });
        match then {
            Then::Wait | Then::Judge { .. } => {}
            Then::Again { .. } if begins => {
                self.inputs.clear();
                self.open();
            }
            Then::Again { words, .. } => {
                self.reply(&answered);
                if let Some(text) = words {
                    self.repairs += u32::from(!retried);
                    self.said.push(Chat::User { text: text.clone() });
                }
                self.phase = Phase::Model { step: self.step() };
            }
            Then::Tools { planned, after, .. } => {
                self.reply(&answered);
                let steps = (planned.iter())
                    .map(|(call_id, tool, input)| ToolStep {
                        step: self.step(),
                        call_id: call_id.clone(),
                        tool: *tool,
                        input: input.clone(),
                        done: None,
                    })
                    .collect();
                self.phase = Phase::Tools { steps, after: after.clone() };
            }
            Then::Ask { asks, .. } => {
                self.reply(&answered);
                self.phase = Phase::WillAsk { asks: asks.clone() };
            }
            Then::Ready { outcome, .. } => {
                self.reply(&answered);
                self.phase = Phase::Ready { outcome: outcome.clone() };
            }
            Then::Summarise { outcome, .. } => {
                self.reply(&answered);
                self.phase = Phase::Summing { step: self.step(), outcome: Some(outcome.clone()) };
            }
            Then::Fallback => self.phase = Phase::Fallback,
            Then::Failed(failure) => self.phase = Phase::Failed(failure.clone()),
        }
    }

    /// The next step's id.
    pub fn step(&mut self) -> StepId {
        let step = StepId { turn: self.id, n: self.next_step };
        self.next_step += 1;
        step
    }

    /// Tool results join the conversation in the order of their calls, whatever order they came in; what stands for one that
    /// is withheld is in `answers`. The answers that are left come back.
    fn gather(&mut self, answers: &[(Arc<str>, Body)]) -> Vec<(Arc<str>, Body)> {
        let steps = match &mut self.phase {
            Phase::Tools { steps, .. } | Phase::Judging { of: Of::Tools { steps, .. }, .. } => std::mem::take(steps),
            _ => return answers.to_vec(),
        };
        let withheld = |id: &Arc<str>| answers.iter().find(|(call, _)| call == id).map(|(_, words)| words.clone());
        for step in &steps {
            let Some(done) = &step.done else { continue };
            let name = self.called(&step.call_id);
            let content = withheld(&step.call_id).unwrap_or_else(|| done.content.clone());
            self.said.push(Chat::Tool { call_id: step.call_id.clone(), name, content });
            self.writes.extend(done.writes.iter().cloned());
            self.sent.extend(done.sent.iter().cloned());
        }
        answers.iter().filter(|(id, _)| !steps.iter().any(|s| s.call_id == *id)).cloned().collect()
    }

    /// A delegate's answer.
    pub fn returned(&mut self, call_id: &Arc<str>, output: &Body) {
        let name = self.called(call_id);
        self.said.push(Chat::Tool { call_id: call_id.clone(), name, content: output.clone() });
        if let Phase::Asking { open } = &mut self.phase {
            open.retain(|id| id != call_id);
            if open.is_empty() {
                self.phase = Phase::Model { step: self.step() };
            }
        }
    }

    fn reply(&mut self, answers: &[(Arc<str>, Body)]) {
        for (call_id, content) in answers {
            let name = self.called(call_id);
            self.said.push(Chat::Tool { call_id: call_id.clone(), name, content: content.clone() });
        }
    }

    fn called(&self, call_id: &Arc<str>) -> Arc<str> {
        let calls = self.said.iter().rev().find_map(|chat| match chat {
            Chat::Assistant { calls, .. } => calls.iter().find(|c| c.id == *call_id),
            _ => None,
        });
        calls.map_or_else(|| call_id.clone(), |c| c.name.clone())
    }
}

/// Whether a handoff is offered now.
pub fn offered(view: &TurnView<'_>, spec: &crate::scenario::HandoffSpec) -> bool {
    let names = Names::plain(view.facts, view.world);
    spec.when.as_ref().is_none_or(|when| matches!(when.eval(&names, view.facts.limit()), Ok(Value::Bool(true))))
}

fn question(call: &Call, view: &TurnView<'_>) -> Body {
    let input = call.input.value();
    let text = ["question", "text", "message"].iter().find_map(|f| input.get(f)).and_then(Value::as_str).map(str::to_owned);
    Body::new(Value::text(text.unwrap_or_else(|| as_text(input))), &view.facts.blobs)
}

/// A value as the text a model reads: text as it is, everything else as JSON.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::Text(t) => t.to_string(),
        other => other.to_json_text(),
    }
}

/// How much of a conversation goes along with a handoff: the history before the turn and what the turn said.
pub fn carried(carry: Carry, history: &History, said: &[Chat], summary: Option<&Body>) -> History {
    match carry {
        Carry::None => History::default(),
        Carry::Full => history.iter().chain(said).cloned().collect(),
        Carry::Summary => summary.map(|text| Chat::User { text: text.clone() }).into_iter().collect(),
        Carry::Last => {
            let last = said
                .iter()
                .chain(history.iter())
                .rev()
                .find(|c| matches!(c, Chat::Assistant { text, .. } if *text.value() != Value::Null));
            // Its calls stay behind: their results do not go along.
            let words = last.map(|chat| match chat {
                Chat::Assistant { agent, text, .. } => Chat::Assistant { agent: *agent, text: text.clone(), calls: Vec::new() },
                other => other.clone(),
            });
            words.into_iter().collect()
        }
    }
}

/// Whether an agent's turns are decided by rules: its kind, or an `llm` agent without a model that has rules to fall back on.
pub fn by_rules(agent: &Agent, offline: bool) -> bool {
    match agent.kind {
        AgentKind::Rules => true,
        AgentKind::Llm => offline && matches!(agent.fallback, Some(Fallback::Rules(_))),
        AgentKind::Human => false,
    }
}
