//! What the names of expressions and templates hold: parameters, world, draws, the message, and so on. Reads only.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::body::BlobKey;
use crate::draw::{Distribution, DrawStem};
use crate::expression::{EvalError, Root, Scope};
use crate::fault::Storm;
use crate::id::{AgentIx, CollectionIx, StateIx};
use crate::message::{Message, MessageKind, Seat, TurnId};
use crate::scenario::{Agent, Data, Draw, MESSAGE_FIELDS, OWN_FIELDS, RUN_FIELDS, Scenario};
use crate::value::Value;
use crate::world::World;

/// What all expressions of a run see at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// Parameters, in declaration order.
    pub params: Arc<Vec<Value>>,
    /// The seed.
    pub seed: u64,
    /// The tick.
    pub tick: u64,
    /// Run time, milliseconds.
    pub now: i64,
    /// The run so far.
    pub run: RunFacts,
    /// Names of blobs.
    pub blobs: BlobKey,
    /// Faults to inject, where there are any.
    pub storm: Option<Storm>,
}

/// `run` in expressions: the fields of `RUN_FIELDS`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunFacts {
    /// The status' word.
    pub status: &'static str,
    /// `offline | stub | live`.
    pub mode: &'static str,
    /// The last tick there will be; 0 where there are none.
    pub ticks: u64,
    /// Turns of `llm` and `human` agents.
    pub turns: u64,
    /// Handoffs.
    pub handoffs: u64,
    /// Calls of a model.
    pub model_calls: u64,
    /// Tokens in.
    pub tokens_in: u64,
    /// Tokens out.
    pub tokens_out: u64,
    /// USD.
    pub cost_usd: f64,
    /// Whether a configured model failed somewhere.
    pub degraded: bool,
    /// Whether the run failed.
    pub failed: bool,
}

impl RunFacts {
    /// The field at a position of `RUN_FIELDS`.
    pub fn field(&self, position: usize) -> Value {
        let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        match position {
            0 => Value::text(self.status),
            1 => Value::text(self.mode),
            2 => count(self.ticks),
            3 => count(self.turns),
            4 => count(self.handoffs),
            5 => count(self.model_calls),
            6 => count(self.tokens_in),
            7 => count(self.tokens_out),
            8 => Value::Double(self.cost_usd),
            9 => Value::Bool(self.degraded),
            10 => Value::Bool(self.failed),
            _ => Value::Null,
        }
    }
}

impl Facts {
    /// The bound of one expression's cost.
    pub fn limit(&self) -> u64 {
        self.scenario.limits.cel_steps
    }

    /// Ids for an evaluation, derived from the seed and its path.
    pub fn ids<'a>(&self, path: &'a str, turn: TurnId, replica: u32) -> Ids<'a> {
        Ids { seed: self.seed, path, turn, replica, next: Cell::new(0) }
    }
}

/// The ids of one evaluation, in order: never random, never the run's. Nothing is hashed before one is asked for.
#[derive(Debug)]
pub struct Ids<'a> {
    seed: u64,
    path: &'a str,
    turn: TurnId,
    replica: u32,
    next: Cell<u32>,
}

impl Ids<'_> {
    /// The next id, in the form of a UUID of version 8.
    pub fn uuid(&self) -> Arc<str> {
        let n = self.next.replace(self.next.get() + 1);
        let mut hasher = blake3::Hasher::new_derive_key("commedia 2026 id v1");
        hasher.update(&self.seed.to_le_bytes()).update(&self.turn.wave.to_le_bytes()).update(&self.turn.index.to_le_bytes());
        hasher.update(&self.replica.to_le_bytes()).update(self.path.as_bytes());
        let hash = hasher.update(&n.to_le_bytes()).finalize();
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).into()
    }
}

/// The names of one evaluation.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// What all see.
    pub facts: &'a Facts,
    /// The world.
    pub world: &'a World,
    /// The agent whose expression it is.
    pub agent: Option<&'a AgentNames<'a>>,
    /// The message in hand.
    pub message: Option<&'a Message>,
    /// `input`.
    pub input: Option<&'a Value>,
    /// `output`.
    pub output: Option<&'a Value>,
    /// `record`.
    pub record: Option<&'a Value>,
    /// `metrics`.
    pub metrics: Option<&'a Value>,
    /// `trace`.
    pub trace: Option<&'a Value>,
    /// Ids for `uuid()`.
    pub ids: Option<&'a Ids<'a>>,
}

impl<'a> Names<'a> {
    /// Parameters, world, time: what every place sees.
    pub fn plain(facts: &'a Facts, world: &'a World) -> Names<'a> {
        Names {
            facts,
            world,
            agent: None,
            message: None,
            input: None,
            output: None,
            record: None,
            metrics: None,
            trace: None,
            ids: None,
        }
    }

    /// A value built from expressions.
    pub fn build(&self, data: &Data) -> Result<Value, EvalError> {
        Ok(match data {
            Data::Literal(value) => value.clone(),
            Data::Program(program) => program.eval(self, self.facts.limit())?,
            Data::Map(fields) => {
                let built: Result<Vec<_>, EvalError> = fields.iter().map(|(k, d)| Ok((k.clone(), self.build(d)?))).collect();
                Value::object(built?)
            }
            Data::List(items) => Value::list(items.iter().map(|d| self.build(d)).collect::<Result<Vec<_>, _>>()?),
        })
    }

    fn whole(&self, root: Root, count: usize, name: impl Fn(usize) -> Arc<str>) -> Result<Value, EvalError> {
        let field = |n: usize| Ok((name(n), self.field(root, u16::try_from(n).unwrap_or(u16::MAX))?));
        Ok(Value::object((0..count).map(field).collect::<Result<Vec<_>, EvalError>>()?))
    }

    fn agent(&self) -> Result<&'a AgentNames<'a>, EvalError> {
        self.agent.ok_or_else(|| EvalError::new("this name is known to agents only"))
    }
}

impl Scope for Names<'_> {
    fn root(&self, root: Root) -> Result<Value, EvalError> {
        let given = |value: Option<&Value>, name: &str| {
            value.cloned().ok_or_else(|| EvalError::new(format!("`{name}` has no value here")))
        };
        let scenario = &self.facts.scenario;
        match root {
            Root::Params => self.whole(root, scenario.parameters.len(), |n| scenario.parameters[n].name.clone()),
            Root::State => self.whole(root, scenario.state.len(), |n| scenario.state[n].name.clone()),
            Root::Draws => {
                let agent = self.agent()?.agent;
                self.whole(root, agent.draws.len(), |n| agent.draws[n].0.clone())
            }
            Root::Own => {
                let own = &self.agent()?.agent.own;
                let name = |n: usize| own.get(n).map_or_else(|| OWN_FIELDS[n - own.len()].into(), |v| v.name.clone());
                self.whole(root, own.len() + OWN_FIELDS.len(), name)
            }
            Root::Message => self.whole(root, MESSAGE_FIELDS.len(), |n| MESSAGE_FIELDS[n].into()),
            Root::Run => self.whole(root, RUN_FIELDS.len(), |n| RUN_FIELDS[n].into()),
            Root::Tick => Ok(Value::Int(i64::try_from(self.facts.tick).unwrap_or(i64::MAX))),
            Root::Now => Ok(Value::Timestamp(self.facts.now)),
            Root::Seed => Ok(Value::Int(self.facts.seed.cast_signed())),
            Root::Input => given(self.input, "input"),
            Root::Output => given(self.output, "output"),
            Root::Record => given(self.record, "record"),
            Root::Metrics => given(self.metrics, "metrics"),
            Root::Trace => given(self.trace, "trace"),
            Root::Approvals => Ok(Value::list([])),
            Root::Collection(n) => Ok(Value::Collection(self.world.collection(CollectionIx(n)).clone())),
            Root::Let(n) => self.agent()?.let_value(self, n),
            Root::Bound(n) => {
                let bound = self.agent()?.bound.borrow();
                bound.get(usize::from(n)).cloned().ok_or_else(|| EvalError::new("a bound name has no value here"))
            }
        }
    }

    fn field(&self, root: Root, index: u16) -> Result<Value, EvalError> {
        let at = usize::from(index);
        match root {
            Root::Params => Ok(self.facts.params[at].clone()),
            Root::State => Ok(self.world.state(StateIx(index)).clone()),
            Root::Draws => self.agent()?.draw(self, at),
            Root::Own => {
                let names = self.agent()?;
                let own = names.agent.own.len();
                Ok(match at.checked_sub(own) {
                    None => self.world.own(&self.facts.scenario, names.seat, index),
                    Some(0) => Value::text(seat_name(names.agent, names.seat.replica)),
                    Some(_) => Value::Int(i64::from(names.seat.replica)),
                })
            }
            Root::Message => {
                let message = self.message.ok_or_else(|| EvalError::new("`message` has no value here"))?;
                Ok(message_field(&self.facts.scenario, message, self.world, at))
            }
            Root::Run => Ok(self.facts.run.field(at)),
            _ => Err(EvalError::new("this name has no declared fields")),
        }
    }

    fn uuid(&self) -> Result<Arc<str>, EvalError> {
        self.ids.map(Ids::uuid).ok_or_else(|| EvalError::new("uuid() can be used in rules and tools only"))
    }
}

/// How one of a block is called: its name, with `/n` where the block has `replicas`.
pub fn seat_name(agent: &Agent, replica: u32) -> Arc<str> {
    if agent.population { format!("{}/{replica}", agent.name).into() } else { agent.name.clone() }
}

fn message_field(scenario: &Scenario, message: &Message, world: &World, at: usize) -> Value {
    let name = |ix: AgentIx| Value::Text(scenario.agents[ix.at()].name.clone());
    let text = |t: &Option<Arc<str>>| t.clone().map_or(Value::Null, Value::Text);
    match at {
        0 => Value::text(message.kind.word()),
        1 => text(&message.label),
        2 => message.from.map_or(Value::Null, name),
        3 => text(&message.text),
        4 => message.data.clone(),
        5 => message.record.as_ref().map_or(Value::Null, |(c, _)| Value::Text(scenario.collections[c.at()].shape.name.clone())),
        6 => message.record.as_ref().map_or(Value::Null, |(_, key)| key.to_value()),
        7 => message.record.as_ref().and_then(|(c, key)| world.collection(*c).get(key).cloned()).unwrap_or(Value::Null),
        _ => Value::Null,
    }
}

/// The names only an agent's expressions see. Draws and lets are evaluated when read, once a turn.
pub struct AgentNames<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// Which of the block.
    pub seat: Seat,
    /// How many messages of that kind it handled before in this tick.
    pub ordinal: u32,
    draws: RefCell<Vec<Option<Value>>>,
    /// The stems of draws that were read, by position, with the kind of message they are for.
    stems: RefCell<Vec<Option<(MessageKind, DrawStem)>>>,
    lets: RefCell<Vec<Option<Value>>>,
    /// Values of `for_each … as` and `call … as`.
    pub bound: RefCell<Vec<Value>>,
}

impl<'a> AgentNames<'a> {
    /// The names of one turn.
    pub fn new(agent: &'a Agent, seat: Seat, ordinal: u32) -> AgentNames<'a> {
        AgentNames {
            agent,
            seat,
            ordinal,
            draws: RefCell::default(),
            stems: RefCell::default(),
            lets: RefCell::default(),
            bound: RefCell::new(vec![Value::Null; usize::from(agent.bound)]),
        }
    }

    /// The names of the next turn of the block: nothing of the former is left.
    pub fn sit(&mut self, seat: Seat, ordinal: u32) {
        self.seat = seat;
        self.ordinal = ordinal;
        self.draws.get_mut().clear();
        self.lets.get_mut().clear();
        self.bound.get_mut().fill(Value::Null);
    }

    fn kept(cache: &RefCell<Vec<Option<Value>>>, at: usize) -> Option<Value> {
        cache.borrow().get(at).cloned().flatten()
    }

    fn keep(cache: &RefCell<Vec<Option<Value>>>, at: usize, value: &Value) {
        let mut cache = cache.borrow_mut();
        if cache.len() <= at {
            cache.resize(at + 1, None);
        }
        cache[at] = Some(value.clone());
    }

    fn let_value(&self, names: &Names<'_>, n: u16) -> Result<Value, EvalError> {
        let at = usize::from(n);
        if let Some(value) = Self::kept(&self.lets, at) {
            return Ok(value);
        }
        let (_, program) = &self.agent.lets[at];
        let value = program.eval(names, names.facts.limit())?;
        Self::keep(&self.lets, at, &value);
        Ok(value)
    }

    fn draw(&self, names: &Names<'_>, at: usize) -> Result<Value, EvalError> {
        if let Some(value) = Self::kept(&self.draws, at) {
            return Ok(value);
        }
        let (name, draw) = &self.agent.draws[at];
        let kind = names.message.map(|m| m.kind).ok_or_else(|| EvalError::new("`draws` have no value outside a turn"))?;
        let in_place = |e: EvalError| EvalError::new(format!("draw `{name}`: {}", e.message));
        let drawn = |d: Distribution| self.sample(&d, names.facts, at, name, kind);
        let value = distribution(draw, names).and_then(drawn).map_err(in_place)?;
        Self::keep(&self.draws, at, &value);
        Ok(value)
    }
}

impl AgentNames<'_> {
    fn sample(&self, of: &Distribution, facts: &Facts, at: usize, name: &str, kind: MessageKind) -> Result<Value, EvalError> {
        let mut stems = self.stems.borrow_mut();
        if stems.len() <= at {
            stems.resize_with(at + 1, || None);
        }
        let (_, stem) = match &mut stems[at] {
            Some(known) if known.0 == kind => known,
            other => other.insert((kind, DrawStem::new(facts.seed, &self.agent.name, name, kind))),
        };
        of.sample(&mut stem.rng(self.seat.replica, facts.tick, self.ordinal))
    }
}

fn distribution(draw: &Draw, names: &Names<'_>) -> Result<Distribution, EvalError> {
    let number = |data: &Data| {
        let value = names.build(data)?;
        value.as_f64().ok_or_else(|| EvalError::new(format!("a parameter must be a number, and this is a {}", value.kind())))
    };
    let list = |data: &Data| match names.build(data)?.plain() {
        Value::List(items) => Ok(items.to_vec()),
        other => Err(EvalError::new(format!("this must be a list, and it is a {}", other.kind()))),
    };
    Ok(match draw {
        Draw::Bernoulli { p } => Distribution::Bernoulli(number(p)?),
        Draw::Uniform { min, max } => Distribution::Uniform(number(min)?, number(max)?),
        Draw::Normal { mean, sd } => Distribution::Normal(number(mean)?, number(sd)?),
        Draw::Lognormal { mu, sigma } => Distribution::Lognormal(number(mu)?, number(sigma)?),
        Draw::Poisson { mean } => Distribution::Poisson(number(mean)?),
        Draw::Exponential { mean } => Distribution::Exponential(number(mean)?),
        Draw::Choice { of, weights } => {
            let weights = weights.as_ref().map_or(Ok(Vec::new()), list)?;
            Distribution::Choice(list(of)?, weights.iter().map(|w| w.as_f64().unwrap_or(f64::NAN)).collect())
        }
    })
}
