//! Makes events true. Dumb on purpose: everything that needs judgement was decided before and stands in the event.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Ask, Completed, Crash, Ended, Entry, Event, Failure, Fired, FiredAction, Outcome, Sample, Sent, Write};
use crate::id::{AgentIx, TriggerIx};
use crate::message::{Caller, Chain, Chat, History, Message, MessageKind, Seat, TurnId};
use crate::rules::step_from;
use crate::run::Run;
use crate::run::commit::puts;
use crate::run::crash::AfterFailure;
use crate::run::ranges::Ranges;
use crate::run::state::{Ending, Status};
use crate::scenario::{Carry, Fallback, Overflow, TriggerOn};
use crate::turn::{Phase, Turn, as_text, carried, last_words};
use crate::value::Value;

pub(super) fn apply(run: &mut Run, event: &Event) {
    if !matches!(event, Event::RunCreated(_)) {
        run.state.counts.events += 1;
    }
    run.note(event);
    match event {
        Event::RunCreated(_) | Event::RunQueued | Event::GuardrailTripped { .. } => {}
        // Both are true of the turn since their step was recorded; they tell of it where it is committed.
        Event::ConversationSummarised { .. } | Event::HistorySummarised { .. } => {}
        Event::RunStarted { messages } => run.start(messages),
        Event::TurnCompleted(completed) => run.completed_turn(completed),
        Event::TurnFailed { turn, seat, at, failure } => run.failed_turn(*turn, *seat, *at, failure),
        Event::DelegateAsked { turn, seat, asks, .. } => run.asked(*turn, *seat, asks),
        Event::DelegateReturned { seat, resumes, call_id, output, .. } => run.returned(*seat, *resumes, call_id, output),
        Event::InputReceived { seat, text, data, at } => {
            run.state.position += 1;
            let message = run.message(MessageKind::User, None, Some(text), data.value().clone(), *at);
            run.deliver(*seat, Arc::new(message));
            run.renew_wave();
        }
        Event::TriggerFired(fired) => run.trigger_fired(fired),
        Event::TickAdvanced { tick, at, fallen } => run.ticked(*tick, *at, fallen),
        Event::TimerFired { at, fallen } => {
            run.move_to(*at);
            run.fall(fallen);
            run.renew_wave();
        }
        Event::MetricSampled { tick, values } => run.sampled(*tick, values),
        Event::RunCompleted(ended) => run.end(Status::Completed, ended),
        Event::RunFailed(ended) => run.end(Status::Failed, ended),
        Event::RunTimedOut(ended) => run.end(Status::TimedOut, ended),
        Event::RunOverBudget(ended) => run.end(Status::OverBudget, ended),
        Event::RunCancelled(ended) => run.end(Status::Cancelled, ended),
        Event::RunPaused { reason } => run.state.status = Status::Paused { reason: reason.clone() },
        Event::RunResumed => run.state.status = Status::Running,
        Event::RunQuarantined { reason } => {
            let begun = run.state.status != Status::Created;
            run.state.status = Status::Quarantined { reason: reason.clone(), begun };
        }
        Event::RunReleased => {
            let begun = !matches!(run.state.status, Status::Quarantined { begun: false, .. });
            run.state.status = if begun { Status::Running } else { Status::Created };
        }
        Event::StepPlanned { step, seat, at, .. } => run.begun(*step, *seat, *at),
        Event::StepDispatched { .. } | Event::StepUnknown { .. } | Event::StepReconciled { .. } => run.stepped(event),
        Event::StepRecorded(recorded) => {
            run.stepped(event);
            if let Some(turn) = run.state.turns.values_mut().find(|t| t.id == recorded.step.turn) {
                let fallback = &run.scenario.agents[turn.seat.agent.at()].fallback;
                turn.apply(recorded, matches!(fallback, Some(Fallback::Stub)));
            }
        }
        Event::AgentFailed { seat, turn, reason } => {
            run.crashed(&Crash { seat: *seat, turn: *turn, reason: reason.clone(), wall: 0, until: None });
        }
        Event::AgentCrashed(crash) => run.crashed(crash),
        Event::RunLabelled { labels } => run.state.labels = Arc::new(labels.clone()),
        Event::FaultsSet { faults } => run.state.faults = Some(Arc::new(faults.clone())),
        Event::FaultInjected(injected) => run.state.strikes.add(injected),
        Event::AgentRestarted { seat, .. } => run.restarted(*seat),
        Event::AgentQuarantined { seat, reason } => {
            run.state.mail.settle(*seat);
            run.state.quarantined.insert(*seat, reason.clone());
        }
        Event::BudgetReserved { .. }
        | Event::BudgetSettled { .. }
        | Event::BudgetRefused { .. }
        | Event::BudgetGranted { .. } => run.budgeted(event),
        Event::TurnDegraded { turn, .. } => {
            let turn = run.state.turns.values_mut().find(|t| t.id == *turn);
            let counted = turn.is_some_and(|turn| std::mem::replace(&mut turn.degraded, true));
            run.state.counts.degraded += u64::from(!counted);
        }
        Event::MessagePassed { turn, agent, passed } => run.passed(*turn, *agent, passed),
        Event::ToolsDiscovered(discovered) => run.discovered(discovered),
    }
}

impl Run {
    fn start(&mut self, messages: &[(AgentIx, Option<Body>, Body)]) {
        self.state.status = Status::Running;
        self.state.position += 1;
        for (n, trigger) in self.scenario.triggers.iter().enumerate() {
            let start = self.state.created.start;
            self.state.triggers[n].due = match &trigger.on {
                TriggerOn::Every(step) | TriggerOn::After(step) => Some(step_from(start, *step)),
                TriggerOn::Cron(cron) => next_cron(cron, start),
                TriggerOn::When(_) => None,
            };
        }
        for (n, (agent, text, data)) in messages.iter().enumerate() {
            let at = self.state.now;
            let mut message = self.message(MessageKind::Start, None, text.as_ref(), data.value().clone(), at);
            message.index = u32::try_from(n).unwrap_or(u32::MAX);
            self.broadcast(*agent, message);
        }
        self.renew_wave();
    }

    /// A message as of now; its index and sender are the caller's to set.
    fn message(&self, kind: MessageKind, label: Option<Arc<str>>, text: Option<&Body>, data: Value, at: i64) -> Message {
        Message {
            kind,
            label,
            from: None,
            text: text.and_then(|t| t.value().as_str()).map(Arc::from),
            data,
            at,
            position: self.state.position,
            index: 0,
            wave: self.state.wave + 1,
            record: None,
            chain: None,
        }
    }

    /// To every one of a block; a tick to those that are awake. What all of a block by rules get lies in one place.
    fn broadcast(&mut self, to: AgentIx, message: Message) {
        let replicas = self.state.created.replicas[to.at()];
        let mut hearers = match self.state.asleep.get_mut(&to) {
            Some(sleepers) if message.kind == MessageKind::Tick => sleepers.at_tick(self.state.tick, message.at).clone(),
            _ => Ranges::whole(replicas),
        };
        let message = Arc::new(message);
        let agent = &self.scenario.agents[to.at()];
        let (capacity, due) = (agent.supervision.mailbox as usize, message.at <= self.state.now);
        let many = replicas >= self.cast_from && !self.is_real() && due && self.state.by_rules(agent);
        if many && self.state.mail.may_cast(to, &message, capacity) {
            let block = Seat { agent: to, replica: 0 }..=Seat { agent: to, replica: u32::MAX };
            for (seat, _) in self.state.quarantined.range(block) {
                if hearers.reach(seat.replica).is_some() {
                    hearers.remove(seat.replica, seat.replica + 1);
                    self.state.counts.set_aside += 1;
                }
            }
            self.state.mail.cast(to, message, hearers);
            return;
        }
        for replica in hearers.iter().flat_map(|(first, end)| first..end) {
            self.deliver(Seat { agent: to, replica }, message.clone());
        }
    }

    /// Into a mailbox, behind what is due before it. A full one refuses or fails the run; a quarantined agent's message is set aside.
    fn deliver(&mut self, seat: Seat, message: Arc<Message>) {
        if self.state.quarantined.contains_key(&seat) {
            self.state.counts.set_aside += 1;
            self.answer_for_the_dead(&message, seat);
            return;
        }
        let supervision = &self.scenario.agents[seat.agent.at()].supervision;
        let held = self.state.mail.len(seat);
        if held >= supervision.mailbox as usize {
            self.state.counts.refused += 1;
            if supervision.overflow == Overflow::FailRun {
                let name = &self.scenario.agents[seat.agent.at()].name;
                let cause = format!("the mailbox of `{name}` is full: it holds {held} messages (`supervision.mailbox.capacity`)");
                self.state.ending.get_or_insert(Ending::Failed(cause.into()));
            }
            return;
        }
        self.state.mail.deliver(seat, message);
    }

    /// Whoever asked a quarantined agent gets an error, so that nobody waits for ever.
    fn answer_for_the_dead(&mut self, message: &Message, seat: Seat) {
        if message.kind == MessageKind::Ask
            && let Some(chain) = message.chain.clone()
        {
            let name = &self.scenario.agents[seat.agent.at()].name;
            let error = Value::object([("error", Value::text(format!("`{name}` is quarantined")))]);
            self.give_back(&chain, error, true, seat.agent);
        }
    }

    /// What a turn adds to its conversation: an `llm` turn says so itself, rules say what they said and gave.
    pub(super) fn said(&self, seat: Seat, completed: &Completed, entry: &Entry, message: &Message) -> Vec<Chat> {
        let heard = message.text.as_ref().map(|t| Chat::User { text: Body::new(Value::Text(t.clone()), &self.state.blobs()) });
        let mut said: Vec<Chat> = heard.into_iter().collect();
        if !completed.said.is_empty() {
            said.extend(completed.said.iter().cloned());
            return said;
        }
        let mut words: Vec<String> = entry.says.iter().map(|b| as_text(b.value())).collect();
        match &entry.outcome {
            Outcome::Final { output } => words.push(as_text(output.value())),
            Outcome::Handoff { text: Some(text), .. } => words.push(as_text(text.value())),
            _ => {}
        }
        if !words.is_empty() {
            let text = Body::new(Value::text(words.join("\n")), &self.state.blobs());
            said.push(Chat::Assistant { agent: seat.agent, text, calls: Vec::new() });
        }
        said
    }

    /// What goes along with a handoff; a summary that no model made is the last output, cut.
    pub(super) fn carry(&self, carry: Carry, history: &History, said: &[Chat], made: Option<&Body>) -> History {
        let blobs = self.state.blobs();
        let summary = made.cloned().or_else(|| last_words(said.iter()).map(|text| Body::new(Value::text(text), &blobs)));
        carried(carry, history, said, summary.as_ref())
    }

    /// The floor passes to one agent: to the sender's own number where the block has it, else to the first.
    #[expect(clippy::too_many_arguments, reason = "the parts of one message, written once")]
    pub(super) fn pass(
        &mut self,
        from: Seat,
        to: AgentIx,
        message: &Message,
        text: Option<&Body>,
        data: Value,
        history: History,
        index: u32,
    ) {
        let stack = message.chain.as_ref().map(|c| c.stack.clone()).unwrap_or_default();
        let at = self.state.now;
        let mut passed = self.message(MessageKind::Handoff, None, text, data, at);
        passed.from = Some(from.agent);
        passed.index = index;
        passed.chain = Some(Arc::new(Chain { history, stack, answers: None, failed: false }));
        let replica = if from.replica < self.state.created.replicas[to.at()] { from.replica } else { 0 };
        self.deliver(Seat { agent: to, replica }, Arc::new(passed));
    }

    /// A final output goes to whoever asked, else to `next`, else it ends the chain.
    pub(super) fn final_output(
        &mut self,
        seat: Seat,
        message: &Message,
        output: Value,
        history: &History,
        said: &[Chat],
        given: bool,
    ) {
        if given {
            self.state.outputs[seat.agent.at()] = Some(output.clone());
        }
        if let Some(chain) = message.chain.clone()
            && !chain.stack.is_empty()
        {
            self.give_back(&chain, output, false, seat.agent);
            return;
        }
        let agent = self.scenario.agents[seat.agent.at()].clone();
        if given && self.scenario.ends.contains(&seat.agent) {
            self.state.ending.get_or_insert(Ending::Done);
        } else if let Some(next) = agent.next {
            self.state.counts.handoffs += 1;
            let history = self.carry(Carry::Full, history, said, None);
            self.pass(seat, next, message, None, output, history, 0);
        }
    }

    /// The answer to the innermost question of a chain.
    fn give_back(&mut self, chain: &Chain, output: Value, failed: bool, from: AgentIx) {
        let Some((caller, rest)) = chain.stack.split_last() else { return };
        let at = self.state.now;
        let mut answer = self.message(MessageKind::Return, None, None, output, at);
        answer.from = Some(from);
        answer.chain = Some(Arc::new(Chain {
            history: History::default(),
            stack: rest.to_vec(),
            answers: Some(caller.call_id.clone()),
            failed,
        }));
        self.deliver(caller.seat, Arc::new(answer));
    }

    /// Messages of a turn or a trigger; the next free index comes back.
    pub(super) fn send(&mut self, from: Option<AgentIx>, sent: &[Sent]) -> u32 {
        for (n, one) in sent.iter().enumerate() {
            let mut message =
                self.message(MessageKind::Tell, Some(one.label.clone()), one.text.as_ref(), one.data.value().clone(), one.at);
            message.from = from;
            message.index = u32::try_from(n).unwrap_or(u32::MAX);
            match one.replica {
                None => self.broadcast(one.to, message),
                Some(replica) if replica < self.state.created.replicas[one.to.at()] => {
                    self.deliver(Seat { agent: one.to, replica }, Arc::new(message));
                }
                Some(_) => self.state.counts.refused += 1,
            }
        }
        u32::try_from(sent.len()).unwrap_or(u32::MAX)
    }

    /// Agents that handle a collection hear of each write to it.
    pub(super) fn tell_records(&mut self, from: Option<AgentIx>, writes: &[Write], mut index: u32) -> u32 {
        for (collection, key) in puts(writes) {
            let hearers: Vec<AgentIx> =
                self.scenario.agents.iter().filter(|a| a.handles.hears(collection)).map(|a| a.ix).collect();
            for agent in hearers {
                let at = self.state.now;
                let mut message = self.message(MessageKind::Record, None, None, Value::Null, at);
                message.from = from;
                message.index = index;
                message.record = Some((collection, key.clone()));
                index += 1;
                self.broadcast(agent, message);
            }
        }
        index
    }

    fn failed_turn(&mut self, turn: TurnId, seat: Seat, at: i64, failure: &Failure) {
        self.state.now = self.state.now.max(at);
        let open = self.state.turns.get(&seat).cloned();
        let stranded = open.as_ref().is_some_and(|t| matches!(t.phase, Phase::Asking { .. }));
        let served = if stranded { None } else { self.consume(seat, open.as_ref().map_or(turn, |t| t.slot)) };
        self.state.turns.remove(&seat);
        self.state.budget.abandon(open.as_ref().map_or(turn, |t| t.id));
        if let Some(open) = open.as_ref().filter(|_| !self.state.outside.is_empty()) {
            self.state.outside.retain(|step, _| step.turn != open.id);
        }
        self.settle_strikes(seat.agent, seat.replica, 1, false);
        self.count_turns(seat.agent, seat.replica, 1);
        if let Some(open) = &open {
            self.state.usage.add(&open.usage);
        }
        let message = open.map(|t| t.message).or(served);
        let chain = message.and_then(|m| m.chain.clone()).filter(|c| !c.stack.is_empty());
        self.state.position += 1;
        match (self.after_failure(seat, failure, chain.is_some()), chain) {
            (AfterFailure::Answer, Some(chain)) => {
                let error = Value::object([("error", Value::Text(failure.message.clone()))]);
                self.give_back(&chain, error, true, seat.agent);
            }
            (AfterFailure::FailRun, _) => {
                self.state.ending.get_or_insert(Ending::Failed(failure.message.clone()));
            }
            (AfterFailure::SetAside | AfterFailure::Answer, _) => {
                self.state.counts.set_aside += 1;
                self.state.quarantined.insert(seat, failure.message.clone());
                let rest = self.state.mail.clear(seat);
                self.state.counts.set_aside += rest.len() as u64;
                rest.iter().for_each(|m| self.answer_for_the_dead(m, seat));
            }
        }
        self.renew_wave();
    }

    fn begun(&mut self, step: crate::message::StepId, seat: Seat, at: i64) {
        let Some(message) = self.state.mail.front(seat).cloned() else { return };
        let turn = Turn::new(step, seat, message, at).of(&self.scenario.agents[seat.agent.at()]);
        self.state.turns.insert(seat, Box::new(turn));
        if self.is_real() {
            self.state.wave = self.state.wave.max(step.turn.wave);
            self.renew_wave();
        }
    }

    fn asked(&mut self, turn: TurnId, seat: Seat, asks: &[Ask]) {
        let slot = self.state.turns.get(&seat).map_or(turn, |t| t.slot);
        self.consume(seat, slot);
        self.state.position += 1;
        let Some(open) = self.state.turns.get_mut(&seat) else { return };
        open.phase = Phase::Asking { open: asks.iter().map(|a| a.call_id.clone()).collect() };
        let stack = open.message.chain.as_ref().map(|c| c.stack.clone()).unwrap_or_default();
        let id = open.id;
        for (n, ask) in asks.iter().enumerate() {
            let at = self.state.now;
            let mut message = self.message(MessageKind::Ask, None, Some(&ask.text), Value::Null, at);
            message.from = Some(seat.agent);
            message.index = u32::try_from(n).unwrap_or(u32::MAX);
            let mut stack = stack.clone();
            stack.push(Caller { seat, turn: id, call_id: ask.call_id.clone() });
            message.chain = Some(Arc::new(Chain { history: History::default(), stack, answers: None, failed: false }));
            self.deliver(Seat { agent: ask.to, replica: 0 }, Arc::new(message));
        }
        self.pop_slots(seat.agent, seat.replica, 1);
        self.after_commit();
    }

    /// An answer: the last one resumes the turn at its place in this wave; before that its place is simply used up.
    fn returned(&mut self, seat: Seat, resumes: TurnId, call_id: &Arc<str>, output: &Body) {
        let last = self.state.turns.get(&seat).is_some_and(|t| matches!(&t.phase, Phase::Asking { open } if open.len() <= 1));
        if last {
            // The answer stays in the mailbox, in front, until the turn commits: that keeps its place in the wave.
            self.state.mail.bring_answer(seat);
        } else {
            self.consume(seat, resumes);
        }
        if let Some(turn) = self.state.turns.get_mut(&seat) {
            turn.returned(call_id, output);
            turn.slot = resumes;
        }
        self.renew_wave();
    }

    fn trigger_fired(&mut self, fired: &Fired) {
        self.move_to(fired.at);
        self.state.tick = fired.tick;
        self.fall(&fired.fallen);
        let trigger = self.scenario.triggers[fired.trigger.at()].clone();
        let state = &mut self.state.triggers[fired.trigger.at()];
        match &trigger.on {
            TriggerOn::Every(step) => state.due = Some(step_from(state.due.unwrap_or(fired.at), *step)),
            TriggerOn::After(_) => state.due = None,
            TriggerOn::Cron(cron) => state.due = next_cron(cron, fired.at),
            TriggerOn::When(_) => state.edge = true,
        }
        if matches!(trigger.on, TriggerOn::When(_)) {
            self.state.rounds += 1;
        }
        if !matches!(fired.action, FiredAction::Skipped) {
            self.state.triggers[fired.trigger.at()].last = Some(fired.at);
        }
        self.state.position += 1;
        match &fired.action {
            FiredAction::Told { to, text, data } => {
                let label = Some(trigger.name.clone());
                let message = self.message(MessageKind::Trigger, label, text.as_ref(), data.value().clone(), fired.at);
                self.broadcast(*to, message);
            }
            FiredAction::Called { writes, sent, .. } => {
                for write in writes {
                    self.state.world.apply(&self.scenario, None, write);
                }
                let index = self.send(None, sent);
                self.tell_records(None, writes, index);
            }
            FiredAction::Skipped | FiredAction::Failed { .. } => {}
        }
        self.renew_wave();
    }

    fn ticked(&mut self, tick: u64, at: i64, fallen: &[TriggerIx]) {
        self.move_to(at);
        self.fall(fallen);
        self.state.tick = tick;
        self.state.sampled = false;
        self.state.rounds = 0;
        self.state.ordinals.clear();
        self.state.position += 1;
        let hearers: Vec<AgentIx> = self.scenario.agents.iter().filter(|a| a.handles.tick.is_some()).map(|a| a.ix).collect();
        for (n, agent) in hearers.into_iter().enumerate() {
            let data = Value::object([("tick", Value::Int(i64::try_from(tick).unwrap_or(i64::MAX)))]);
            let mut message = self.message(MessageKind::Tick, None, None, data, at);
            message.index = u32::try_from(n).unwrap_or(u32::MAX);
            self.broadcast(agent, message);
        }
        self.renew_wave();
    }

    fn move_to(&mut self, at: i64) {
        if at > self.state.now {
            self.state.now = at;
            self.state.rounds = 0;
        }
    }

    fn fall(&mut self, fallen: &[TriggerIx]) {
        for trigger in fallen {
            self.state.triggers[trigger.at()].edge = false;
        }
    }

    fn sampled(&mut self, tick: u64, values: &[Sample]) {
        self.state.sampled = true;
        for sample in values {
            let state = &mut self.state.metrics[sample.metric.at()];
            state.last = sample.value;
            if let Some(value) = sample.value {
                state.series.push((tick, value));
            }
        }
    }

    fn end(&mut self, status: Status, ended: &Ended) {
        self.state.status = status;
        // What turns took that are not committed was taken all the same.
        for turn in std::mem::take(&mut self.state.turns).into_values() {
            self.state.usage.add(&turn.usage);
            self.state.budget.abandon(turn.id);
        }
        self.state.outside.clear();
        self.state.ended = Some(ended.clone());
        self.wave = None;
    }

    /// The canonical events in short, where a check reads `trace`: type, agent, tick, at, and what tells them apart.
    fn note(&mut self, event: &Event) {
        if !self.scenario.checks.iter().any(|c| c.that.reads().roots.contains(&crate::expression::Root::Trace)) {
            return;
        }
        let name = |ix: AgentIx| Value::Text(self.scenario.agents[ix.at()].name.clone());
        let (agent, to, by) = match event {
            Event::TurnCompleted(c) => {
                let to = c.entries.iter().find_map(|e| match &e.outcome {
                    Outcome::Handoff { to, .. } => Some(name(*to)),
                    _ => None,
                });
                (name(c.agent), to.unwrap_or(Value::Null), Value::text(c.by.word()))
            }
            Event::TurnFailed { seat, .. } | Event::InputReceived { seat, .. } | Event::GuardrailTripped { seat, .. } => {
                (name(seat.agent), Value::Null, Value::Null)
            }
            Event::DelegateAsked { seat, asks, .. } => {
                (name(seat.agent), asks.first().map_or(Value::Null, |a| name(a.to)), Value::Null)
            }
            Event::TriggerFired(fired) if !matches!(fired.action, FiredAction::Skipped) => {
                (Value::Null, Value::Text(self.scenario.triggers[fired.trigger.at()].name.clone()), Value::Null)
            }
            Event::TickAdvanced { .. } => (Value::Null, Value::Null, Value::Null),
            _ => return,
        };
        self.state.trace.push(Value::object([
            ("type", Value::text(event.name())),
            ("agent", agent),
            ("to", to),
            ("by", by),
            ("tick", Value::Int(i64::try_from(self.state.tick).unwrap_or(i64::MAX))),
            ("at", Value::Timestamp(self.state.now)),
        ]));
    }
}

fn next_cron(cron: &cronexpr::Crontab, after: i64) -> Option<i64> {
    let moment = jiff::Timestamp::from_millisecond(after).ok()?;
    cron.find_next(moment).ok().map(|z| z.timestamp().as_millisecond())
}
