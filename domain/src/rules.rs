//! Rules: a pure function from a message and the world to what a turn does. The first rule that matches wins; the entries of
//! its `emit` list apply top to bottom, each sees what the earlier ones did.

use std::sync::Arc;

use crate::body::Body;
use crate::event::{Entry, Failure, FailureClass, Injected, Outcome, Sent, WakeAt, Write};
use crate::expression::{EvalError, Program};
use crate::fault::{Occasion, Strike, StrikeKind};
use crate::id::AgentIx;
use crate::message::{Message, Seat, TurnId};
use crate::names::{AgentNames, Facts, Names};
use crate::scenario::{Carry, Data, Emit, Rule, SetTarget, Step, ToolRef};
use crate::schema::conform;
use crate::template::Template;
use crate::tool::{self, Builtins};
use crate::value::{Key, Value};
use crate::world::{World, Writer, matches};

/// Mailboxes one order serves at most.
pub const SHARD: usize = 1024;
/// Bytes of one turn's event above which the rest of an order is left to the next turn.
const EVENT_BYTES: usize = 48 * 1024;
/// Entries one turn may apply, `for_each` included.
const MAX_EMITS: usize = 100_000;

/// A turn, or turns of one block, to be evaluated at their commit position.
#[derive(Clone, Debug)]
pub struct Order {
    /// The first turn.
    pub turn: TurnId,
    /// The block.
    pub agent: AgentIx,
    /// What all see.
    pub facts: Facts,
    /// The world at the commit position.
    pub world: World,
    /// The mailboxes to serve, in wave order.
    pub mail: Vec<Batch>,
}

/// Mailboxes side by side with one and the same message.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The first replica.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The message.
    pub message: Arc<Message>,
    /// The ordinal of its kind in the tick.
    pub ordinal: u32,
}

impl Order {
    /// How many mailboxes there are to serve.
    pub fn len(&self) -> usize {
        self.mail.iter().map(|b| b.count as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mail.is_empty()
    }

    /// The replicas to serve, in wave order.
    pub fn replicas(&self) -> impl Iterator<Item = u32> {
        self.mail.iter().flat_map(|b| b.first..b.first + b.count)
    }
}

/// What an order came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// The first turn.
    pub turn: TurnId,
    /// How many of the order's mailboxes were worked off, from the first.
    pub count: usize,
    /// Those of them whose message was none for them (`handles … where`), as ranges of replicas: first, count.
    pub passed: Vec<(u32, u32)>,
    /// What the others did; idle ones are left out.
    pub entries: Vec<Entry>,
    /// The mailbox after the served ones that failed, if one did.
    pub failed: Option<(u32, Failure)>,
    /// The world as it is then.
    pub shaped: Option<Shaped>,
    /// Faults that struck tools.
    pub injected: Vec<Injected>,
}

/// The world that turns leave, and the one they found: a hint for who makes them true.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// The first turn.
    pub turn: TurnId,
    /// The world before.
    pub from: World,
    /// The world after.
    pub world: World,
}

/// A hint makes no difference.
impl PartialEq for Shaped {
    fn eq(&self, _: &Shaped) -> bool {
        true
    }
}

impl Served {
    /// Nothing of an order yet.
    pub fn nothing(turn: TurnId) -> Served {
        Served { turn, count: 0, passed: Vec::new(), entries: Vec::new(), failed: None, shaped: None, injected: Vec::new() }
    }
}

/// Serves an order: one mailbox after the other, each on the world the former left. `begin` is told each mailbox's place
/// before it is served, so that a crash can be laid at its door.
pub fn serve(order: &Order, builtins: &dyn Builtins, begin: impl Fn(u32)) -> Served {
    let agent = &*order.facts.scenario.agents[order.agent.at()];
    let rules: &[Rule] = match &agent.fallback {
        Some(crate::scenario::Fallback::Rules(rules)) if agent.kind == crate::scenario::AgentKind::Llm => rules,
        _ => &agent.rules,
    };
    let mut world = order.world.clone();
    let mut served = Served::nothing(order.turn);
    let mut names = AgentNames::new(agent, Seat { agent: order.agent, replica: 0 }, 0);
    let (mut weight, mut place, mut index) = (0, 0u32, order.turn.index);
    'order: for batch in &order.mail {
        let filter = agent.handles.filter(&batch.message);
        for replica in batch.first..batch.first + batch.count {
            begin(place);
            names.sit(Seat { agent: order.agent, replica }, batch.ordinal);
            let turn = TurnId { wave: order.turn.wave, index };
            let ids = order.facts.ids(&agent.name, turn, replica);
            let mut evaluation = Evaluation {
                order,
                names: &names,
                message: &batch.message,
                ids: &ids,
                world: &mut world,
                builtins,
                emits: 0,
                turn,
                calls: 0,
                injected: Vec::new(),
            };
            let done = match evaluation.wanted(filter) {
                Ok(true) => evaluation.run(rules).map(Some),
                Ok(false) => Ok(None),
                Err(e) => Err(e),
            };
            served.injected.append(&mut evaluation.injected);
            match done {
                Ok(None) => pass(&mut served.passed, replica),
                Ok(Some(entry)) => {
                    index += 1;
                    weight += entry_weight(&entry);
                    if !entry.is_idle() {
                        if served.entries.is_empty() {
                            served.entries.reserve_exact(order.len() - served.count);
                        }
                        served.entries.push(entry);
                    }
                }
                Err(message) => {
                    served.failed = Some((replica, Failure { class: FailureClass::Rule, message: message.into() }));
                    return served;
                }
            }
            served.count += 1;
            place += 1;
            if weight > EVENT_BYTES {
                break 'order;
            }
        }
    }
    // What was put by for turns that did nothing is not kept until the event is durable.
    if served.entries.len() < served.entries.capacity() / 2 {
        served.entries.shrink_to_fit();
    }
    served.shaped = Some(Shaped { turn: order.turn, from: order.world.clone(), world });
    served
}

fn pass(passed: &mut Vec<(u32, u32)>, replica: u32) {
    match passed.last_mut() {
        Some((first, count)) if *first + *count == replica => *count += 1,
        _ => passed.push((replica, 1)),
    }
}

fn entry_weight(entry: &Entry) -> usize {
    let body = |b: &Body| if b.blob().is_some() { 48 } else { b.value().weight() };
    let writes: usize = (entry.writes.iter())
        .map(|w| match w {
            Write::Put { record, .. } => 16 + body(record),
            Write::State { value, .. } | Write::Own { value, .. } => 4 + body(value),
            Write::Delete { .. } | Write::Wake { .. } => 16,
        })
        .sum();
    let sent: usize = entry.sent.iter().map(|s| 24 + body(&s.data) + s.text.as_ref().map_or(0, body)).sum();
    8 + writes + sent + entry.says.iter().map(body).sum::<usize>()
}

struct Evaluation<'a> {
    order: &'a Order,
    names: &'a AgentNames<'a>,
    message: &'a Message,
    ids: &'a crate::names::Ids<'a>,
    world: &'a mut World,
    builtins: &'a dyn Builtins,
    emits: usize,
    turn: TurnId,
    /// Calls of tools so far.
    calls: u32,
    /// Faults that struck them.
    injected: Vec<Injected>,
}

impl Evaluation<'_> {
    fn names(&self) -> Names<'_> {
        Names {
            agent: Some(self.names),
            message: Some(self.message),
            input: Some(&self.message.data),
            ids: Some(self.ids),
            ..Names::plain(&self.order.facts, self.world)
        }
    }

    /// Whether the message makes a turn.
    fn wanted(&self, filter: Option<&Program>) -> Result<bool, String> {
        let Some(filter) = filter else { return Ok(true) };
        filter.eval_bool(&self.names(), self.order.facts.limit()).map_err(|e| {
            let agent = &self.names.agent.name;
            format!("agent `{agent}`, `handles` of `{}`: {}", self.message.kind.word(), e.message)
        })
    }

    fn run(&mut self, rules: &[Rule]) -> Result<Entry, String> {
        let mut entry = Entry { replica: self.names.seat.replica, ..Entry::default() };
        let agent = &self.names.agent.name;
        for (n, rule) in rules.iter().enumerate() {
            let place = |e: &str| format!("agent `{agent}`, rule {}: {e}", n + 1);
            let holds = match &rule.when {
                None => true,
                Some(when) => {
                    let value = when.eval(&self.names(), self.order.facts.limit()).map_err(|e| place(&e.message))?;
                    match value {
                        Value::Bool(holds) => holds,
                        other => {
                            return Err(place(&format!("`{}` must be true or false, and is a {}", when.source(), other.kind())));
                        }
                    }
                }
            };
            if holds {
                for emit in &rule.emit {
                    self.emit(emit, &mut entry).map_err(|e| place(&e))?;
                    if entry.outcome != Outcome::Done {
                        break;
                    }
                }
                break;
            }
        }
        Ok(entry)
    }

    fn eval(&self, program: &Program) -> Result<Value, String> {
        program.eval(&self.names(), self.order.facts.limit()).map_err(|e| e.message)
    }

    fn build(&self, data: &Data) -> Result<Value, String> {
        self.names().build(data).map_err(|e: EvalError| e.message)
    }

    fn body(&self, data: Option<&Data>) -> Result<Body, String> {
        let value = data.map_or(Ok(Value::Null), |d| self.build(d))?;
        match value.not_finite() {
            Some(number) => Err(format!("{number} is not a finite number")),
            None => Ok(Body::new(value, &self.order.facts.blobs)),
        }
    }

    fn text(&self, template: Option<&Template>) -> Result<Option<Body>, String> {
        let render = |t: &Template| t.render(&self.names()).map_err(|e| e.message);
        Ok(template.map(render).transpose()?.map(|t| Body::new(Value::text(t), &self.order.facts.blobs)))
    }

    fn write(&mut self, entry: &mut Entry, prepare: impl FnOnce(&Writer<'_>) -> Result<Write, String>) -> Result<(), String> {
        let names = self.names();
        let writer =
            Writer { world: self.world, names: &names, agent: Some(self.names.seat.agent), blobs: &self.order.facts.blobs };
        let write = prepare(&writer)?;
        self.world.apply(&self.order.facts.scenario, Some(self.names.seat), &write);
        if entry.writes.is_empty() {
            entry.writes.reserve_exact(1);
        }
        entry.writes.push(write);
        Ok(())
    }

    fn take(&mut self, entry: &mut Entry, writes: Vec<Write>) {
        for write in writes {
            self.world.apply(&self.order.facts.scenario, Some(self.names.seat), &write);
            entry.writes.push(write);
        }
    }

    fn emit(&mut self, emit: &Emit, entry: &mut Entry) -> Result<(), String> {
        self.emits += 1;
        if self.emits > MAX_EMITS {
            return Err(format!("one turn may apply at most {MAX_EMITS} entries"));
        }
        match emit {
            Emit::Put { collection, value } => {
                let record = self.build(value)?;
                self.write(entry, |w| w.put(*collection, &record))
            }
            Emit::Patch { collection, key, value } => {
                let (key, change) = (self.eval(key)?, self.build(value)?);
                self.write(entry, |w| w.patch(*collection, &key, &change))
            }
            Emit::Delete { collection, key } => {
                let key = self.eval(key)?;
                let names = self.names();
                let (agent, blobs) = (Some(self.names.seat.agent), &self.order.facts.blobs);
                let writes = Writer { world: self.world, names: &names, agent, blobs }.delete(*collection, &key)?;
                self.take(entry, writes);
                Ok(())
            }
            Emit::Set(targets) => {
                entry.writes.reserve_exact(targets.len());
                targets.iter().try_for_each(|(target, data)| self.set(*target, data, entry))
            }
            Emit::Tell { to, replica, type_, message, data, delay } => {
                let sent = Sent {
                    to: *to,
                    replica: replica.as_ref().map(|p| self.replica(*to, p)).transpose()?,
                    label: type_.clone(),
                    text: self.text(message.as_ref())?,
                    data: self.body(data.as_ref())?,
                    at: delay.map_or(self.order.facts.now, |d| step_from(self.order.facts.now, d)),
                };
                entry.sent.push(sent);
                Ok(())
            }
            Emit::Handoff { to, message, data } => {
                let (text, data) = (self.text(message.as_ref())?, self.body(data.as_ref())?);
                let carry = (self.names.agent.handoffs.iter()).find(|h| h.to == *to).map_or(Carry::Full, |h| h.carry);
                entry.outcome = Outcome::Handoff { to: *to, carry, text, data };
                Ok(())
            }
            Emit::Call { tool, with, bind } => self.call(*tool, with.as_ref(), *bind, entry),
            Emit::Metric { metric, value } => {
                let value = self.build(value)?;
                match value.as_f64().filter(|v| v.is_finite()) {
                    Some(number) => entry.metrics.push((*metric, number)),
                    None => return Err(format!("a metric must be a finite number, and this is {}", value.to_json())),
                }
                Ok(())
            }
            Emit::Say(template) => {
                entry.says.extend(self.text(Some(template))?);
                Ok(())
            }
            Emit::Finish(data) => self.finish(data, entry),
            Emit::WakeAt(program) => {
                let at = match self.eval(program)? {
                    Value::Int(tick) => WakeAt::Tick(u64::try_from(tick).unwrap_or(0)),
                    Value::Timestamp(moment) => WakeAt::Moment(moment),
                    other => {
                        return Err(format!(
                            "`wake_at` takes a tick (int) or a moment (timestamp), and this is a {}",
                            other.kind()
                        ));
                    }
                };
                entry.writes.push(Write::Wake { at });
                Ok(())
            }
            Emit::ForEach { list, bind, body } => self.for_each(list, *bind, body, entry),
        }
    }

    fn set(&mut self, target: SetTarget, data: &Data, entry: &mut Entry) -> Result<(), String> {
        let value = self.build(data)?;
        self.write(entry, |w| w.set(target, &value))
    }

    fn replica(&self, to: AgentIx, program: &Program) -> Result<u32, String> {
        let value = self.eval(program)?;
        let name = &self.order.facts.scenario.agents[to.at()].name;
        match value {
            Value::Int(n) => u32::try_from(n).map_err(|_| format!("`{name}` has no replica {n}")),
            other => Err(format!("a replica is a whole number from 0, and this is a {}", other.kind())),
        }
    }

    fn call(&mut self, tool: ToolRef, with: Option<&Data>, bind: Option<u16>, entry: &mut Entry) -> Result<(), String> {
        let input = with.map_or_else(|| Ok(Value::object::<&str>([])), |d| self.build(d))?;
        self.struck(tool)?;
        let done = tool::perform(&self.names(), Some(self.names.seat.agent), tool, &input, self.builtins)?;
        self.take(entry, done.writes);
        entry.sent.extend(done.sent);
        if let Some(bind) = bind {
            self.names.bound.borrow_mut()[usize::from(bind)] = done.value;
        }
        Ok(())
    }

    /// The failure of a call that a fault strikes.
    fn struck(&mut self, tool: ToolRef) -> Result<(), String> {
        let (seat, turn, attempt) = (self.names.seat, self.turn, self.calls);
        self.calls += 1;
        let Some(storm) = &self.order.facts.storm else { return Ok(()) };
        let of_tool = |strike: &Strike| matches!(strike, Strike::Tool { tool: wanted, .. } if *wanted == tool);
        match storm.strikes(Occasion { seat, turn, attempt }, of_tool) {
            Some((fault, Strike::Tool { error, .. })) => {
                self.injected.push(Injected { fault, seat, turn, attempt, kind: StrikeKind::Tool });
                Err(error.to_string())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, data: &Data, entry: &mut Entry) -> Result<(), String> {
        let mut output = self.build(data)?.plain();
        if let Some(schema) = &self.names.agent.output {
            output = conform(&schema.ty, &output);
            matches(&output, schema).map_err(|e| format!("the output does not fit its schema: {e}"))?;
        }
        if let Some(number) = output.not_finite() {
            return Err(format!("the output holds {number}, which is not a finite number"));
        }
        entry.outcome = Outcome::Final { output: Body::new(output, &self.order.facts.blobs) };
        Ok(())
    }

    fn for_each(&mut self, list: &Program, bind: u16, body: &[Emit], entry: &mut Entry) -> Result<(), String> {
        let items: Vec<Value> = match self.eval(list)? {
            Value::List(items) => items.to_vec(),
            Value::Collection(c) => c.iter().map(|(_, record)| record.clone()).collect(),
            Value::Map(map) => map.keys().map(Key::to_value).collect(),
            other => return Err(format!("`for_each` needs a list, and `{}` is a {}", list.source(), other.kind())),
        };
        for item in items {
            self.names.bound.borrow_mut()[usize::from(bind)] = item;
            for emit in body {
                self.emit(emit, entry)?;
                if entry.outcome != Outcome::Done {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A moment so much later; months keep the day of the month where they can.
pub fn step_from(from: i64, step: Step) -> i64 {
    let moved = if step.months == 0 { Some(from) } else { add_months(from, step.months) };
    moved.unwrap_or(i64::MAX).saturating_add(step.ms)
}

fn add_months(from: i64, months: i64) -> Option<i64> {
    let moment = jiff::Timestamp::from_millisecond(from).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    moment.checked_add(jiff::Span::new().try_months(months).ok()?).ok().map(|z| z.timestamp().as_millisecond())
}
