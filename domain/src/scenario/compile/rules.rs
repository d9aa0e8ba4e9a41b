//! Rules: conditions and what they emit.

use std::sync::Arc;

use super::agents::Frame;
use super::{Compiler, Want, type_word};
use crate::expression::{Env, Root, Type};
use crate::id::{CollectionIx, MetricIx};
use crate::scenario::document::{EmitDoc, RuleDoc};
use crate::scenario::faults::{Place, listed, shorten, suggestion};
use crate::scenario::node::{Key, Node};
use crate::scenario::scalars::{Text, root_fault};
use crate::scenario::{Data, Emit, Rule, SetTarget, ToolRef};

/// The closed list of verbs.
const VERBS: [&str; 11] = ["put", "patch", "delete", "set", "tell", "handoff", "call", "metric", "say", "finish", "wake_at"];

impl Compiler<'_> {
    pub(super) fn rules(&mut self, docs: &[RuleDoc], frame: &mut Frame) -> Vec<Rule> {
        let mut out: Vec<Rule> = Vec::new();
        for doc in docs {
            if !doc.at.written() && doc.emit.is_none() && doc.when.is_none() {
                continue;
            }
            let when = self.condition(doc, frame);
            if out.last().is_some_and(|r: &Rule| r.when.is_none()) {
                let message = "no message reaches this rule: the one above it always applies";
                self.faults
                    .warn("unreachable_rule", doc.at, message)
                    .help("the first rule that applies wins: put `otherwise` last");
            }
            let mut emit = Vec::new();
            match &doc.emit {
                Some(entries) => {
                    let env = frame.env.clone();
                    emit = self.emits(entries, &env, frame);
                }
                None => {
                    self.faults.error("missing_field", doc.at, "missing field `emit` in this rule").help("add `emit: [{…}]`");
                }
            }
            out.push(Rule { when, emit });
        }
        out
    }

    fn condition(&mut self, doc: &RuleDoc, frame: &Frame) -> Option<crate::expression::Program> {
        match (&doc.when, &doc.otherwise) {
            (Some(_), Some(otherwise)) => {
                self.faults.error("wrong_shape", otherwise.at, "a rule has `when` or `otherwise`, not both");
                None
            }
            (None, None) => {
                self.faults
                    .error("missing_field", doc.at, "missing field `when` in this rule")
                    .help("add `when:` and an expression, or `otherwise: true`");
                None
            }
            (None, Some(otherwise)) => {
                if !otherwise.it {
                    self.faults.error("wrong_shape", otherwise.at, "`otherwise` is `true` or left out");
                }
                None
            }
            (Some(when), None) => {
                let (program, _) = self.program(&when.0, &frame.env, Want::Bool);
                self.reads_allowed(frame.agent, &program, when.0.at);
                Some(program)
            }
        }
    }

    /// Entries top to bottom; each sees the names those above it bound.
    fn emits(&mut self, docs: &[EmitDoc], env: &Env, frame: &mut Frame) -> Vec<Emit> {
        let mut env = env.clone();
        let mut out = Vec::with_capacity(docs.len());
        for doc in docs {
            if let Some(emit) = self.emit(doc, &mut env, frame) {
                out.push(emit);
            }
        }
        out
    }

    fn emit(&mut self, doc: &EmitDoc, env: &mut Env, frame: &mut Frame) -> Option<Emit> {
        let Some(for_each) = &doc.for_each else {
            if let Some(emit) = &doc.emit {
                let at = emit.first().map_or(doc.at, |e| e.at);
                self.faults.error("misplaced", at, "a list `emit` within `emit` belongs beside `for_each`");
                return None;
            }
            return self.verb(doc, env, frame);
        };
        let (list, ty) = self.program(&for_each.list.0, env, Want::Many);
        self.reads_allowed(frame.agent, &list, for_each.list.0.at);
        let item = match ty {
            Type::List(item) => *item,
            Type::Collection(c) => Type::Object(c.record.clone()),
            _ => Type::Dyn,
        };
        let (bind, mut inner) = self.bound(&for_each.bind, item, env, frame);
        let body = match &doc.emit {
            Some(entries) => {
                if let Some((verb, at)) = verbs(doc).first() {
                    let message = format!("beside `for_each` stands one verb or a list `emit`, not both (`{verb}`)");
                    self.faults.error("wrong_shape", *at, message);
                }
                self.emits(entries, &inner, frame)
            }
            None => self.verb(doc, &mut inner, frame).into_iter().collect(),
        };
        Some(Emit::ForEach { list, bind, body })
    }

    /// A new name, its position and the environment with it.
    fn bound(&mut self, name: &Text, ty: Type, env: &Env, frame: &mut Frame) -> (u16, Env) {
        let bind = frame.bound;
        if !name.is_broken() {
            let why = root_fault(&name.it).or_else(|| {
                let taken = matches!(env.find(&name.it), Some((Root::Collection(_) | Root::Let(_), _)));
                taken.then(|| "a collection or a `let` has it already".into())
            });
            if let Some(why) = why {
                self.faults.error("bad_name", name.at, format!("`{}` cannot be the name of an item: {why}", shorten(&name.it)));
            }
        }
        frame.bound = frame.bound.saturating_add(1);
        (bind, env.with(name.it.clone(), Root::Bound(bind), ty))
    }

    fn verb(&mut self, doc: &EmitDoc, env: &mut Env, frame: &mut Frame) -> Option<Emit> {
        let found = verbs(doc);
        let verb = match found.as_slice() {
            [(verb, _)] => *verb,
            [] => {
                self.faults
                    .error("no_verb", doc.at, "this entry says nothing that happens")
                    .help(format!("one of {}", listed(VERBS)));
                return None;
            }
            [.., (second, at)] => {
                let (first, _) = found[0];
                let message = format!("an entry has exactly one verb, this one has `{first}` and `{second}`");
                self.faults.error("two_verbs", *at, message).help("make two entries of it");
                return None;
            }
        };
        self.companions_fit(doc, verb);
        let agent = frame.agent;
        match verb {
            "put" => {
                let collection = self.written(doc.put.as_ref()?, agent)?;
                let value = self.needed(doc.value.as_ref().map(|v| &v.0), "value", doc)?;
                let data = self.record_value(collection, value, env, true);
                self.data_reads(agent, &data, value.at);
                Some(Emit::Put { collection: CollectionIx::from(collection), value: data })
            }
            "patch" => {
                let collection = self.written(doc.patch.as_ref()?, agent)?;
                self.not_append_only(collection, "changed", doc.patch.as_ref()?.at);
                let key = self.needed(doc.key.as_ref().map(|k| &k.0), "key", doc)?;
                let (key, _) = self.program(key, env, Want::Any);
                let value = self.needed(doc.value.as_ref().map(|v| &v.0), "value", doc)?;
                let data = self.record_value(collection, value, env, false);
                self.data_reads(agent, &data, value.at);
                Some(Emit::Patch { collection: CollectionIx::from(collection), key, value: data })
            }
            "delete" => {
                let collection = self.written(doc.delete.as_ref()?, agent)?;
                self.not_append_only(collection, "deleted", doc.delete.as_ref()?.at);
                let key = self.needed(doc.key.as_ref().map(|k| &k.0), "key", doc)?;
                Some(Emit::Delete { collection: CollectionIx::from(collection), key: self.program(key, env, Want::Any).0 })
            }
            "set" => self.set(doc, env, frame),
            "tell" => self.tell(doc, env, frame),
            "handoff" => {
                let to = self.agent(doc.handoff.as_ref()?)?;
                if to.at() == agent {
                    self.faults.error("self_handoff", doc.handoff.as_ref()?.at, "an agent cannot hand off to itself");
                }
                let message = doc.message.as_ref().map(|m| self.template(m, &template_env(env)));
                let data = doc.data.as_ref().map(|d| self.read_data(agent, &d.0, env));
                Some(Emit::Handoff { to, message, data })
            }
            "call" => self.call(doc, env, frame),
            "metric" => {
                let names = self.metric_names.clone();
                let metric = self.position(doc.metric.as_ref()?, "unknown_metric", "metric", "metrics", &names)?;
                self.emitted[metric] = true;
                let value = self.needed(doc.value.as_ref().map(|v| &v.0), "value", doc)?;
                let (data, ty) = self.data(value, env);
                self.data_reads(agent, &data, value.at);
                if !super::may_be(&ty, Want::Number) {
                    self.faults.error("cel_type", value.at, format!("a metric is a number, this gives {}", type_word(&ty)));
                }
                Some(Emit::Metric { metric: MetricIx::from(metric), value: data })
            }
            "wake_at" => self.wake_at(doc, env, frame),
            "say" => Some(Emit::Say(self.template(doc.say.as_ref()?, &template_env(env)))),
            _ => Some(Emit::Finish(self.read_data(agent, &doc.finish.as_ref()?.0, env))),
        }
    }

    /// The tick or the moment before which the agent wants no ticks.
    fn wake_at(&mut self, doc: &EmitDoc, env: &Env, frame: &Frame) -> Option<Emit> {
        let at = &doc.wake_at.as_ref()?.0;
        let (program, ty) = self.program(at, env, Want::Any);
        self.reads_allowed(frame.agent, &program, at.at);
        if super::never(&ty, &Type::OneOf(vec![Type::Int, Type::Timestamp])) {
            let message = format!("`wake_at` takes a tick (int) or a moment (timestamp), this gives {}", type_word(&ty));
            self.faults.error("cel_type", at.at, message).help("write `wake_at: tick + 5` or `wake_at: now + duration('P1D')`");
        }
        if !frame.ticks {
            self.faults
                .error("misplaced", at.at, "`wake_at` belongs to an agent that handles ticks")
                .help("add `handles: [tick]`, or leave it out");
        }
        Some(Emit::WakeAt(program))
    }

    fn set(&mut self, doc: &EmitDoc, env: &Env, frame: &Frame) -> Option<Emit> {
        let mut all = Vec::new();
        for (name, value) in doc.set.as_ref()?.iter() {
            let (data, ty) = self.data(&value.0, env);
            self.data_reads(frame.agent, &data, value.0.at);
            if let Some((target, expected)) = self.set_target(name, frame) {
                self.fits(value.0.at, &format!("`{}`", shorten(&name.text)), &ty, &expected);
                if let (Data::Literal(literal), SetTarget::State(ix)) = (&data, target) {
                    self.literal_fits(literal, ix.at(), value.0.at);
                }
                all.push((target, data));
            }
        }
        Some(Emit::Set(all))
    }

    fn literal_fits(&mut self, literal: &crate::value::Value, state: usize, at: Place) {
        let variable = &self.state[state];
        if let Err(violations) = variable.schema.admit(literal) {
            let name = variable.name.clone();
            for violation in violations {
                self.faults.error("out_of_range", at, format!("`{name}` cannot hold it: {}", violation.message));
            }
        }
    }

    fn read_data(&mut self, agent: usize, node: &Node, env: &Env) -> Data {
        let (data, _) = self.data(node, env);
        self.data_reads(agent, &data, node.at);
        data
    }

    fn data_reads(&mut self, agent: usize, data: &Data, at: Place) {
        match data {
            Data::Literal(_) => {}
            Data::Program(program) => self.reads_allowed(agent, program, at),
            Data::Map(fields) => fields.iter().for_each(|f| self.data_reads(agent, &f.1, at)),
            Data::List(items) => items.iter().for_each(|i| self.data_reads(agent, i, at)),
        }
    }

    /// A collection the agent may write.
    fn written(&mut self, name: &Text, agent: usize) -> Option<usize> {
        let collection = self.collection(name)?;
        self.demand(agent, collection, true, name.at);
        Some(collection)
    }

    fn needed<'n>(&mut self, node: Option<&'n Node>, field: &str, doc: &EmitDoc) -> Option<&'n Node> {
        if node.is_none() {
            let (verb, at) = verbs(doc).first().copied().unwrap_or(("", doc.at));
            self.faults
                .error("missing_field", at, format!("missing field `{field}` beside `{verb}`"))
                .help(format!("add `{field}:`"));
        }
        node
    }

    fn set_target(&mut self, name: &Key, frame: &Frame) -> Option<(SetTarget, Type)> {
        let own = |field: &str| frame.own.iter().position(|v| &*v.name == field);
        let of_own = |n: usize| (SetTarget::Own(u16::try_from(n).unwrap_or(u16::MAX)), frame.own[n].schema.ty.clone());
        if let Some(field) = name.text.strip_prefix("self.") {
            if let Some(n) = own(field) {
                return Some(of_own(n));
            }
            let help = suggestion(field, "fields of `self`", frame.own.iter().map(|v| &*v.name));
            self.faults.error("unknown_variable", name.at, format!("`self` has no field `{}`", shorten(field))).maybe_help(help);
            return None;
        }
        let bare = name.text.strip_prefix("state.");
        let in_state = self.state.iter().any(|v| *v.name == *bare.unwrap_or(&name.text));
        match own(&name.text).filter(|_| bare.is_none()) {
            Some(_) if in_state => {
                let message = format!("`{}` is in `state` and in `self`", shorten(&name.text));
                self.faults.error("ambiguous", name.at, message).help(format!("write `state.{0}` or `self.{0}`", name.text));
                None
            }
            Some(n) => Some(of_own(n)),
            None => {
                if !in_state && !frame.own.is_empty() {
                    let all = self.state.iter().chain(&frame.own).map(|v| v.name.clone()).collect::<Vec<_>>();
                    let help = suggestion(&name.text, "variables", all.iter().map(|n| &**n));
                    let message = format!("neither `state` nor `self` has `{}`", shorten(&name.text));
                    self.faults.error("unknown_variable", name.at, message).maybe_help(help);
                    return None;
                }
                let ix = self.state_variable(&name.text, name.at)?;
                Some((SetTarget::State(ix), self.state[ix.at()].schema.ty.clone()))
            }
        }
    }

    fn tell(&mut self, doc: &EmitDoc, env: &Env, frame: &Frame) -> Option<Emit> {
        let to = self.agent(doc.tell.as_ref()?);
        let replica = doc.replica.as_ref().map(|r| self.program(&r.0, env, Want::Int).0);
        let type_ = doc.type_.as_ref().map_or_else(|| Arc::from("tell"), |t| t.it.clone());
        let message = doc.message.as_ref().map(|m| self.template(m, &template_env(env)));
        let data = doc.data.as_ref().map(|d| self.read_data(frame.agent, &d.0, env));
        let delay = doc.delay.as_ref().map(|d| d.it);
        let at = doc.type_.as_ref().map_or(doc.tell.as_ref()?.at, |t| t.at);
        self.may_be_told(to?, &type_, at);
        Some(Emit::Tell { to: to?, replica, type_, message, data, delay })
    }

    fn call(&mut self, doc: &EmitDoc, env: &mut Env, frame: &mut Frame) -> Option<Emit> {
        let name = doc.call.as_ref()?;
        let tool = self.tool(name)?;
        self.stays_inside(tool, "a rule", name.at);
        self.demand_tool(frame.agent, tool, name.at);
        let with = doc.with.as_ref().map(|w| {
            if let ToolRef::Put(collection) = tool {
                let data = self.record_value(collection.at(), &w.0, env, true);
                self.data_reads(frame.agent, &data, w.0.at);
                return data;
            }
            let (data, ty) = self.data(&w.0, env);
            self.data_reads(frame.agent, &data, w.0.at);
            self.input_fits(tool, &w.0, &ty);
            data
        });
        let bind = doc.bind.as_ref().map(|name| {
            let ty = self.result_type(tool);
            let (bind, with_it) = self.bound(name, ty, env, frame);
            *env = with_it;
            bind
        });
        Some(Emit::Call { tool, with, bind })
    }

    /// Tells of an input that a declared tool can never take.
    pub(super) fn input_fits(&mut self, tool: ToolRef, node: &Node, given: &Type) {
        let ToolRef::Declared(ix) = tool else { return };
        let (input, name) = (self.tools[ix.at()].input.clone(), self.tools[ix.at()].name.clone());
        self.fits(node.at, &format!("the input of `{name}`"), given, &input.ty);
        let Type::Object(object) = given else { return };
        for ((key, value), (_, ty)) in node.entries().iter().zip(&object.fields) {
            self.record_field(key, &input.ty, ty, value.at);
        }
        let required = input.json.get("required").and_then(serde_json::Value::as_array);
        for field in required.into_iter().flatten().filter_map(serde_json::Value::as_str) {
            if node.get(field).is_none() {
                self.faults.error(
                    "missing_field",
                    node.owner(),
                    format!("the input of `{name}` needs the field `{}`", shorten(field)),
                );
            }
        }
    }
}

/// Templates see no collections.
fn template_env(env: &Env) -> Env {
    let mut out = Env::default();
    for (name, root, ty) in env.names().filter(|n| !matches!(n.1, Root::Collection(_))) {
        out.declare(name.clone(), root, ty.clone());
    }
    out
}

/// The verbs an entry has, with their places.
fn verbs(doc: &EmitDoc) -> Vec<(&'static str, Place)> {
    let text = |t: &Option<Text>| t.as_ref().map(|t| t.at);
    [
        ("put", text(&doc.put)),
        ("patch", text(&doc.patch)),
        ("delete", text(&doc.delete)),
        ("set", doc.set.as_ref().map(|s| s.all.first().map_or(doc.at, |f| f.0.at))),
        ("tell", text(&doc.tell)),
        ("handoff", text(&doc.handoff)),
        ("call", text(&doc.call)),
        ("metric", text(&doc.metric)),
        ("say", doc.say.as_ref().map(|s| s.0.owner())),
        ("finish", doc.finish.as_ref().map(|f| f.0.owner())),
        ("wake_at", doc.wake_at.as_ref().map(|w| w.0.owner())),
    ]
    .into_iter()
    .filter_map(|(verb, at)| at.map(|at| (verb, at)))
    .collect()
}

/// Fields that belong to verbs: name, place where written, the verbs.
fn companions(doc: &EmitDoc) -> [(&'static str, Option<Place>, &'static [&'static str]); 9] {
    let node = |n: Option<&Node>| n.map(Node::owner);
    [
        ("value", node(doc.value.as_ref().map(|v| &v.0)), &["put", "patch", "metric"]),
        ("key", node(doc.key.as_ref().map(|k| &k.0)), &["patch", "delete"]),
        ("type", doc.type_.as_ref().map(|t| t.at), &["tell"]),
        ("message", node(doc.message.as_ref().map(|m| &m.0)), &["tell", "handoff"]),
        ("data", node(doc.data.as_ref().map(|d| &d.0)), &["tell", "handoff"]),
        ("replica", node(doc.replica.as_ref().map(|r| &r.0)), &["tell"]),
        ("delay", doc.delay.as_ref().map(|d| d.at), &["tell"]),
        ("with", node(doc.with.as_ref().map(|w| &w.0)), &["call"]),
        ("as", doc.bind.as_ref().map(|b| b.at), &["call"]),
    ]
}

impl Compiler<'_> {
    fn companions_fit(&mut self, doc: &EmitDoc, verb: &str) {
        for (field, at, of) in companions(doc) {
            if let Some(at) = at
                && !of.contains(&verb)
            {
                let message = format!("`{field}` does not belong to `{verb}`");
                self.faults.error("misplaced", at, message).help(format!("`{field}` belongs to {}", listed(of.iter().copied())));
            }
        }
    }
}
