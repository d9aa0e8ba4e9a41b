//! The trace of a run, as its orchestrator works on it: a span for the run, for each turn, for each step. Made of what is
//! decided, with the times at which it was begun and decided in this process; told once that is durable.
//!
//! The trace has the run's own id, and the ids of spans follow from those of run and turn: what another process went on with
//! belongs to the same trace.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use commedia_domain::event::{
    Completed, Ended, Event, Failure, ModelBinding, Outcome, Recorded, StepOutcome, Usage, Work, tool_name,
};
use commedia_domain::id::{AgentIx, Hash32};
use commedia_domain::message::{Message, Seat, StepId, TurnId};
use commedia_domain::rules::Order;
use commedia_domain::run::{ModelRequest, Run};
use commedia_domain::scenario::ToolRef;

use super::{Attribute, Span, Telemetry, bodies, names};
use crate::agent::AgentMsg;
use crate::run_id::RunId;

/// Spans of one run that an orchestrator makes at most, its own aside: more than viewers of traces show.
const MOST: u64 = 20_000;

type SpanId = [u8; 8];

/// The trace of a run.
pub(crate) struct Trace {
    telemetry: Arc<Telemetry>,
    run: RunId,
    /// Where the times of this process begin.
    base: (Instant, Duration),
    /// When the run was created.
    started: Duration,
    turns: HashMap<TurnId, Begun>,
    steps: HashMap<StepId, Step>,
    /// What rules serve now: the first turn, when it was begun, the span it belongs to.
    served: Option<(TurnId, Duration, SpanId)>,
    /// Spans of what is decided and not durable yet.
    decided: Vec<Span>,
    made: u64,
    left_out: u64,
}

/// A turn that is not over.
struct Begun {
    at: Duration,
    /// Who was asked last: provider and model.
    model: Option<(Arc<str>, Arc<str>)>,
}

/// A step that somebody works on.
struct Step {
    at: Duration,
    seat: Seat,
    name: String,
    is_client: bool,
    attributes: Attributes,
}

/// What is known of spans, by name.
type Attributes = Vec<(&'static str, Attribute)>;
/// The word of a failure, and its words.
type Why<'a> = (&'static str, &'a Arc<str>);

fn text(text: &str) -> Attribute {
    Attribute::Text(text.into())
}

fn count(number: u64) -> Attribute {
    Attribute::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn ms(at: i64) -> Duration {
    Duration::from_millis(u64::try_from(at).unwrap_or(0))
}

fn usage(usage: &Usage) -> impl Iterator<Item = (&'static str, Attribute)> {
    let cost = (usage.cost_usd > 0.0).then_some((names::COST_USD, Attribute::Float(usage.cost_usd)));
    [(names::INPUT_TOKENS, count(usage.tokens_in)), (names::OUTPUT_TOKENS, count(usage.tokens_out))].into_iter().chain(cost)
}

impl Trace {
    /// Of a run that was created at a moment and is worked on from now on, milliseconds since 1970 UTC.
    pub(crate) fn new(telemetry: Arc<Telemetry>, run: RunId, started_ms: i64, now_ms: i64) -> Trace {
        Trace {
            telemetry,
            run,
            base: (Instant::now(), ms(now_ms)),
            started: ms(started_ms),
            turns: HashMap::new(),
            steps: HashMap::new(),
            served: None,
            decided: Vec::new(),
            made: 0,
            left_out: 0,
        }
    }

    fn now(&self) -> Duration {
        self.base.1 + self.base.0.elapsed()
    }

    /// The id of a span of this run, by what it is of.
    fn id(&self, of: &str) -> SpanId {
        let hash = Hash32::of(format!("{} {of}", self.run).as_bytes());
        std::array::from_fn(|n| hash.0[n])
    }

    fn run_span(&self) -> SpanId {
        self.id("run")
    }

    fn turn_span(&self, turn: TurnId) -> SpanId {
        self.id(&turn.to_string())
    }

    /// The span a turn belongs to: that of the turn which asked, or the run's.
    fn parent(&self, message: &Message) -> SpanId {
        let asked = message.chain.as_ref().and_then(|chain| chain.stack.last());
        asked.map_or_else(|| self.run_span(), |caller| self.turn_span(caller.turn))
    }

    fn begin(&mut self, turn: TurnId) -> &mut Begun {
        let at = self.now();
        self.turns.entry(turn).or_insert(Begun { at, model: None })
    }

    /// Rules are about to serve mailboxes.
    pub(crate) fn serving(&mut self, order: &Order) {
        let parent = order.mail.first().map_or_else(|| self.run_span(), |batch| self.parent(&batch.message));
        self.served = Some((order.turn, self.now(), parent));
    }

    /// A step is given to whoever works on it.
    pub(crate) fn ordered(&mut self, seat: Seat, step: StepId, message: &AgentMsg, run: &Run) {
        let mut message = message;
        while let AgentMsg::Struck { then, .. } = message {
            message = then;
        }
        let state = run.state().turns.get(&seat);
        let work = state.and_then(|turn| turn.pending().into_iter().find(|(owed, _)| *owed == step)).map(|(_, work)| work);
        let turn = self.begin(step.turn);
        let begun = match message {
            AgentMsg::Ask(request) => {
                let who = asked_of(&request.binding);
                turn.model = Some(who.clone());
                self.asked(seat, step, request, who, work.as_ref())
            }
            AgentMsg::Tool(order) => self.called(seat, step, order.tool, work.as_ref(), run),
            AgentMsg::Call(order) if !order.check => self.called(seat, step, order.tool, work.as_ref(), run),
            // It is asked what became of a step whose span is over.
            AgentMsg::Call(_) | AgentMsg::Serve { .. } | AgentMsg::Struck { .. } => return,
        };
        self.steps.insert(step, begun);
    }

    /// A model is about to be asked.
    fn asked(&self, seat: Seat, step: StepId, request: &ModelRequest, who: (Arc<str>, Arc<str>), work: Option<&Work>) -> Step {
        let kind = match work {
            Some(Work::Judge { .. }) => "judge",
            Some(Work::Summary) => "summary",
            _ => "answer",
        };
        let mut attributes = vec![
            (names::PROVIDER_NAME, Attribute::Text(who.0)),
            (names::REQUEST_MODEL, Attribute::Text(who.1.clone())),
            (names::STEP_KIND, text(kind)),
            (names::OUTPUT_TYPE, text(if request.output.is_some() { "json" } else { "text" })),
        ];
        attributes.extend(request.max_output_tokens.map(|n| (names::REQUEST_MAX_TOKENS, count(n.into()))));
        attributes.extend(request.temperature.map(|t| (names::REQUEST_TEMPERATURE, Attribute::Float(t))));
        if self.telemetry.bodies {
            attributes.push((names::SYSTEM_INSTRUCTIONS, Attribute::Text(bodies::instructions(request).into())));
            attributes.push((names::INPUT_MESSAGES, Attribute::Text(bodies::conversation(request).into())));
        }
        let is_client = matches!(request.binding, ModelBinding::Provider { .. });
        self.step(seat, step, (names::CHAT, &who.1), is_client, attributes)
    }

    /// A tool is about to be called.
    fn called(&self, seat: Seat, step: StepId, tool: ToolRef, work: Option<&Work>, run: &Run) -> Step {
        let name = tool_name(run.scenario(), tool);
        let mut attributes = vec![(names::TOOL_NAME, text(&name)), (names::TOOL_TYPE, text("function"))];
        if let Some(Work::Tool { call_id, input, .. }) = work {
            attributes.push((names::TOOL_CALL_ID, Attribute::Text(call_id.clone())));
            if self.telemetry.bodies {
                attributes.push((names::TOOL_ARGUMENTS, Attribute::Text(bodies::text_of(input.value()).into())));
            }
        }
        self.step(seat, step, (names::EXECUTE_TOOL, &name), false, attributes)
    }

    fn step(&self, seat: Seat, step: StepId, (operation, of): (&'static str, &str), is_client: bool, more: Attributes) -> Step {
        let mut attributes = vec![(names::OPERATION, text(operation)), (names::STEP, text(&step.to_string()))];
        attributes.extend(more);
        Step { at: self.now(), seat, name: format!("{operation} {of}"), is_client, attributes }
    }

    /// An event was decided, and is about to change the run.
    pub(crate) fn saw(&mut self, event: &Event, seq: u64, run: &Run) {
        match event {
            Event::StepPlanned { step, .. } => {
                self.begin(step.turn);
            }
            Event::StepRecorded(recorded) => self.recorded(recorded, seq, run),
            Event::StepUnknown { step, reason, .. } => self.end_step(*step, seq, Vec::new(), Some(("unknown", reason)), run),
            Event::AgentCrashed(crash) => {
                let open = self.open_steps(|step| step.turn == crash.turn);
                open.into_iter().for_each(|step| self.end_step(step, seq, Vec::new(), Some(("crash", &crash.reason)), run));
            }
            Event::TurnCompleted(done) => self.completed(done, run),
            Event::TurnFailed { turn, seat, failure, .. } => {
                let open = run.state().turns.get(seat).filter(|open| open.id == *turn);
                let spent = open.map(|open| open.usage).unwrap_or_default();
                let more = usage(&spent).collect();
                self.end_turn((*turn, *seat), more, Some((failure.class.word(), &failure.message)), run);
            }
            Event::RunCompleted(ended) => self.ended(None, ended, seq, run),
            Event::RunFailed(ended) => self.ended(Some("failed"), ended, seq, run),
            Event::RunTimedOut(ended) => self.ended(Some("timed_out"), ended, seq, run),
            Event::RunOverBudget(ended) => self.ended(Some("over_budget"), ended, seq, run),
            Event::RunCancelled(ended) => self.ended(Some("cancelled"), ended, seq, run),
            _ => {}
        }
    }

    fn open_steps(&self, of: impl Fn(&StepId) -> bool) -> Vec<StepId> {
        let mut open: Vec<StepId> = self.steps.keys().copied().filter(of).collect();
        open.sort();
        open
    }

    fn recorded(&mut self, recorded: &Recorded, seq: u64, run: &Run) {
        let mut more = Vec::new();
        let mut failure: Option<&Failure> = None;
        match &recorded.outcome {
            StepOutcome::Done { value, .. } if self.telemetry.bodies => {
                more.push((names::TOOL_RESULT, Attribute::Text(bodies::text_of(value.value()).into())));
            }
            StepOutcome::Done { .. } => {}
            StepOutcome::Failed(why) => failure = Some(why),
            StepOutcome::Answered { .. } | StepOutcome::Replied(_) => {}
        }
        if let Some(answered) = recorded.outcome.answer() {
            let finish: Arc<str> = match &recorded.outcome {
                StepOutcome::Replied(reply) => {
                    // As `provider:model`; the provider may have been another one than was asked first.
                    let (provider, model) = reply.model.split_once(':').unwrap_or(("", &reply.model));
                    if !provider.is_empty() {
                        more.push((names::PROVIDER_NAME, text(names::provider(provider))));
                    }
                    more.push((names::RESPONSE_MODEL, text(model)));
                    more.push((names::CACHED_TOKENS, count(reply.cached_tokens)));
                    reply.finish.clone()
                }
                _ => {
                    more.push((names::RESPONSE_MODEL, text(names::STUB)));
                    if answered.calls.is_empty() { "stop".into() } else { "tool_calls".into() }
                }
            };
            more.extend(usage(answered.usage));
            more.push((names::ANSWERED_BY, text(answered.by.word())));
            if self.telemetry.bodies {
                more.push((names::OUTPUT_MESSAGES, Attribute::Text(bodies::answer(&answered, &finish).into())));
            }
            more.push((names::FINISH_REASONS, Attribute::Texts(vec![finish])));
        }
        self.end_step(recorded.step, seq, more, failure.map(|f| (f.class.word(), &f.message)), run);
    }

    /// A step is over. One that nobody worked on, such as one that an operator resolved, has no span.
    fn end_step(&mut self, id: StepId, seq: u64, more: Attributes, failure: Option<Why<'_>>, run: &Run) {
        let Some(mut step) = self.steps.remove(&id) else { return };
        for (name, value) in more {
            step.attributes.retain(|(n, _)| *n != name);
            step.attributes.push((name, value));
        }
        step.attributes.push((names::AGENT_NAME, self.agent_name(step.seat.agent, run)));
        let span = Span {
            id: self.id(&format!("{id} {seq}")),
            parent: Some(self.turn_span(id.turn)),
            is_client: step.is_client,
            ..self.span(step.name, step.at, step.attributes, failure)
        };
        self.made(span);
    }

    fn agent_name(&self, agent: AgentIx, run: &Run) -> Attribute {
        Attribute::Text(run.scenario().agents[agent.at()].name.clone())
    }

    fn completed(&mut self, done: &Completed, run: &Run) {
        let turns: u64 = done.served.iter().map(|(_, n)| u64::from(*n)).sum();
        let seat = Seat { agent: done.agent, replica: done.served.first().map_or(0, |(first, _)| *first) };
        let mut more: Vec<_> = usage(&done.usage).collect();
        more.push((names::ANSWERED_BY, text(done.by.word())));
        if turns > 1 {
            more.push((names::TURNS, count(turns)));
        }
        let handoff = done.entries.iter().find_map(|entry| match &entry.outcome {
            Outcome::Handoff { to, .. } => Some(*to),
            _ => None,
        });
        more.extend(handoff.map(|to| (names::HANDOFF_TO, self.agent_name(to, run))));
        self.end_turn((done.turn, seat), more, None, run);
    }

    fn end_turn(&mut self, (turn, seat): (TurnId, Seat), more: Attributes, failure: Option<Why<'_>>, run: &Run) {
        let served = self.served.filter(|(first, ..)| first.wave == turn.wave && first.index <= turn.index);
        let begun = self.turns.remove(&turn);
        let at = begun.as_ref().map(|begun| begun.at).or(served.map(|(_, at, _)| at)).unwrap_or_else(|| self.now());
        let open = run.state().turns.get(&seat).filter(|open| open.id == turn);
        let asked = open.map(|open| self.parent(&open.message));
        let parent = asked.or(served.map(|(.., parent)| parent)).unwrap_or_else(|| self.run_span());
        let agent = self.agent_name(seat.agent, run);
        let Attribute::Text(name) = &agent else { return };
        let name = format!("{} {name}", names::INVOKE_AGENT);
        let mut attributes = vec![
            (names::OPERATION, text(names::INVOKE_AGENT)),
            (names::AGENT_NAME, agent),
            (names::TURN, text(&turn.to_string())),
            (names::REPLICA, count(seat.replica.into())),
        ];
        match begun.and_then(|begun| begun.model) {
            Some((provider, model)) => {
                attributes.push((names::PROVIDER_NAME, Attribute::Text(provider)));
                attributes.push((names::REQUEST_MODEL, Attribute::Text(model)));
            }
            None => attributes.push((names::PROVIDER_NAME, text(names::OURSELVES))),
        }
        attributes.extend(more);
        let span = self.span(name, at, attributes, failure);
        let span = Span { id: self.turn_span(turn), parent: Some(parent), ..span };
        self.made(span);
    }

    /// The run is over, and so is whatever is still open.
    fn ended(&mut self, word: Option<&'static str>, ended: &Ended, seq: u64, run: &Run) {
        let none: Arc<str> = "".into();
        let failure = word.map(|word| (word, ended.cause.as_ref().unwrap_or(&none)));
        let left = Some(("run_over", &none));
        let steps = self.open_steps(|_| true);
        steps.into_iter().for_each(|step| self.end_step(step, seq, Vec::new(), left, run));
        let mut open: Vec<(TurnId, Seat)> = run.state().turns.values().map(|turn| (turn.id, turn.seat)).collect();
        open.sort();
        let mut total = run.state().usage;
        // Who was asked is over before who asked.
        for (turn, seat) in open.into_iter().rev() {
            let spent = run.state().turns.get(&seat).map(|turn| turn.usage).unwrap_or_default();
            total.add(&spent);
            self.end_turn((turn, seat), usage(&spent).collect(), left, run);
        }
        let state = run.state();
        let mut attributes = vec![
            (names::OPERATION, text(names::INVOKE_WORKFLOW)),
            (names::WORKFLOW_NAME, Attribute::Text(run.scenario().name.clone())),
            (names::STATUS, text(word.unwrap_or("completed"))),
            (names::SEED, text(&state.created.seed.to_string())),
        ];
        attributes.extend(usage(&total));
        if self.left_out > 0 {
            attributes.push((names::LEFT_OUT, count(self.left_out)));
        }
        let name = format!("{} {}", names::INVOKE_WORKFLOW, run.scenario().name);
        let span = self.span(name, self.started, attributes, failure);
        self.decided.push(Span { id: self.run_span(), parent: None, ..span });
    }

    fn span(&self, name: String, start: Duration, mut attributes: Attributes, failure: Option<Why<'_>>) -> Span {
        attributes.push((names::CONVERSATION_ID, text(self.run.as_str())));
        attributes.extend(failure.map(|(word, _)| (names::ERROR_TYPE, text(word))));
        // Words of failures may quote what was said.
        let reason = failure.filter(|_| self.telemetry.bodies).map(|(_, why)| bodies::bounded(why.to_string()).into());
        Span {
            trace: self.run.key(),
            id: [0; 8],
            parent: None,
            name,
            is_client: false,
            start,
            end: self.now().max(start),
            attributes,
            failed: failure.is_some(),
            reason,
        }
    }

    fn made(&mut self, span: Span) {
        if self.made >= MOST {
            self.left_out += 1;
            self.telemetry.dropped(1);
            return;
        }
        self.made += 1;
        self.decided.push(span);
    }

    /// All that was decided is durable: it is told.
    pub(crate) fn durable(&mut self) {
        self.decided.drain(..).for_each(|span| self.telemetry.tell(span));
    }
}

/// Who is asked: provider and model.
fn asked_of(binding: &ModelBinding) -> (Arc<str>, Arc<str>) {
    match binding {
        ModelBinding::Provider { provider, model } => (names::provider(provider).into(), model.clone()),
        ModelBinding::Stub | ModelBinding::Offline => (names::OURSELVES.into(), names::STUB.into()),
    }
}
