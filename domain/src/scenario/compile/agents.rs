//! Agents: who they are, what they may do, to whom they pass on.

use std::sync::Arc;

use super::env::{message, own, run};
use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::id::{AgentIx, CollectionIx, ModelIx};
use crate::scenario::document::{AgentDoc, AgentLimitsDoc, FallbackDoc, HandleDoc, MAX_REPLICAS, ScenarioDoc, SupervisionDoc};
use crate::scenario::faults::{Place, shorten};
use crate::scenario::node::Key;
use crate::scenario::scalars::{Cel, Int, Text};
use crate::scenario::{
    Agent, AgentKind, AgentLimits, Fallback, Handles, HandoffSpec, HistoryBounds, Late, OWN_FIELDS, Overflow, Subscription,
    Supervision, ToolRef, Variable,
};
use crate::schema;

/// What the rules of one agent need to know while they are compiled.
pub(super) struct Frame {
    /// The agent's position.
    pub(super) agent: usize,
    /// The names its rules see, without those they bind themselves.
    pub(super) env: Env,
    /// Its own state.
    pub(super) own: Vec<crate::scenario::Variable>,
    /// How many names are bound so far.
    pub(super) bound: u16,
    /// Whether it handles ticks.
    pub(super) ticks: bool,
}

impl Compiler<'_> {
    pub(super) fn agents(&mut self, doc: &ScenarioDoc) {
        let shared = doc.supervision.clone();
        for (n, (key, agent)) in doc.agents.iter().enumerate() {
            let compiled = self.one_agent(n, key, agent, &shared);
            self.agents.push(Arc::new(compiled));
        }
    }

    fn one_agent(&mut self, n: usize, key: &Key, doc: &AgentDoc, shared: &SupervisionDoc) -> Agent {
        let kind = doc.kind.it;
        let name = shorten(&key.text);
        if kind == AgentKind::Human {
            self.unbuilt(doc.kind.at, format!("agent `{name}` of kind `human`"));
        }
        let own_state = self.variables(&doc.own.all, "field of `self`");
        for (field, _) in doc.own.iter().filter(|f| OWN_FIELDS.contains(&&*f.0.text)) {
            self.faults
                .error("bad_name", field.at, format!("`self.{}` is there by itself", field.text))
                .help("give the field another name");
        }
        let ticks = doc.handles.iter().any(|h| matches!(h, HandleDoc::Tick(_)));
        let mut frame = Frame { agent: n, env: self.agent_env(&own_state), own: own_state, bound: 0, ticks };
        let draws = self.draws(doc, &mut frame);
        let lets = self.lets(doc, &mut frame);
        let rules = self.rules(&doc.rules, &mut frame);
        let fallback = doc.fallback.as_ref().map(|f| match f {
            FallbackDoc::Stub => Fallback::Stub,
            FallbackDoc::Rules(rules) => Fallback::Rules(self.rules(&rules.rules, &mut frame)),
        });
        self.says_enough(key, doc);
        let tools = self.agent_tools(n, &doc.tools);
        let output = doc.output.as_ref().map(|o| schema::compile(&o.0, &mut self.faults));
        let output_type = output.as_ref().map_or(Type::Dyn, |o| o.ty.clone());
        let turn = self.turn_env();
        let run = self.run.clone();
        let handoffs = self.handoffs(n, doc, &run);
        let delegates = self.delegates(n, doc);
        let next = doc.next.as_ref().and_then(|t| self.agent(t));
        let judged = self.instructions_env(&[]);
        let guardrails =
            (doc.guardrails.iter()).filter_map(|g| self.guardrail(g, &tools, &turn, &judged, &output_type)).collect();
        if let Some(approval) = &doc.approval {
            self.approval(&name, approval, &tools, &turn);
        }
        let replicas = doc.replicas.as_ref().map_or(Late::Given(1), |r| {
            let path = format!("agents.{name}.replicas");
            self.late(r, &path, 1, MAX_REPLICAS)
        });
        let stub = self.script(doc, &tools, &handoffs, &delegates);
        Agent {
            name: key.text.clone(),
            ix: AgentIx::from(n),
            kind,
            instructions: doc.instructions.as_ref().map(|i| {
                let env = self.instructions_env(&frame.own);
                self.template(i, &env)
            }),
            model: doc.model.as_ref().and_then(|m| self.model(m)).map(ModelIx::from),
            tools,
            handoffs,
            delegates,
            next,
            output,
            guardrails,
            history: self.history(kind, doc),
            handles: self.handles(n, kind, &frame.own, &doc.handles),
            own: frame.own,
            draws,
            lets,
            rules,
            bound: frame.bound,
            replicas,
            population: doc.replicas.is_some(),
            limits: limits(&doc.limits),
            supervision: supervision(doc.supervision.as_ref(), shared),
            fallback,
            stub,
        }
    }

    /// Warns of an agent that could do nothing.
    fn says_enough(&mut self, key: &Key, doc: &AgentDoc) {
        let name = shorten(&key.text);
        match doc.kind.it {
            AgentKind::Llm if doc.instructions.is_none() => {
                self.faults.warn("no_instructions", key.at, format!("agent `{name}` asks a model, but has no `instructions`"));
            }
            AgentKind::Rules if doc.rules.is_empty() => {
                self.faults.warn("no_rules", key.at, format!("agent `{name}` is of `kind: rules`, but has none"));
            }
            _ => {}
        }
    }

    /// How much of a conversation a model sees.
    fn history(&mut self, kind: AgentKind, doc: &AgentDoc) -> HistoryBounds {
        let Some(history) = &doc.history else { return HistoryBounds::default() };
        let bounds = HistoryBounds { keep: history.keep.map(Int::get32), summarise_at: history.summarise_at.map(Int::get32) };
        if kind != AgentKind::Llm {
            self.faults
                .error("misplaced", history.at, "`history` belongs to an agent of `kind: llm`")
                .help("leave it out: rules see no conversation");
        }
        match (bounds.keep, bounds.summarise_at) {
            (None, None) => {
                self.faults.error("missing_field", history.at, "`history` says `keep`, `summarise_at` or both");
            }
            (Some(keep), Some(at)) if keep >= at => {
                let message = format!("`keep` of {keep} must be less than `summarise_at` of {at}, or nothing is summarised");
                self.faults.error("out_of_range", history.at, message);
            }
            _ => {}
        }
        bounds
    }

    /// `params state tick now seed run`, the collections, `message` and `self`.
    fn agent_env(&self, own_state: &[crate::scenario::Variable]) -> Env {
        let mut env = self.run.clone();
        env.declare("message", Root::Message, message());
        env.declare("self", Root::Own, own(own_state));
        env
    }

    /// What is known around a model's turn: no draws, no `self`.
    fn turn_env(&self) -> Env {
        self.run.with("message", Root::Message, message())
    }

    /// What instructions may name: no collections, which would not fit a prompt.
    fn instructions_env(&self, own_state: &[crate::scenario::Variable]) -> Env {
        let mut env = Env::default();
        for name in ["params", "state", "tick", "now", "run"] {
            if let Some((root, ty)) = self.run.find(name) {
                env.declare(name, root, ty.clone());
            }
        }
        env.declare("message", Root::Message, message());
        env.declare("input", Root::Input, Type::Dyn);
        env.declare("self", Root::Own, own(own_state));
        env
    }

    fn lets(&mut self, doc: &AgentDoc, frame: &mut Frame) -> Vec<(Arc<str>, crate::expression::Program)> {
        let mut out = Vec::new();
        for (n, (key, value)) in doc.lets.iter().enumerate() {
            let (program, ty) = self.program(&value.0, &frame.env, Want::Any);
            let hides = crate::scenario::scalars::root_fault(&key.text).is_some() || self.run.find(&key.text).is_some();
            if !hides {
                frame.env.declare(key.text.clone(), Root::Let(u16::try_from(n).unwrap_or(u16::MAX)), ty);
            }
            self.reads_allowed(frame.agent, &program, value.0.at);
            out.push((key.text.clone(), program));
        }
        out
    }

    /// Tells where an expression of an agent reads a collection the agent may not read.
    pub(super) fn reads_allowed(&mut self, agent: usize, program: &crate::expression::Program, at: Place) {
        let roots: Vec<usize> = program
            .reads()
            .roots
            .iter()
            .chain(program.reads().fields.iter().map(|f| &f.0))
            .filter_map(|r| if let Root::Collection(c) = r { Some(usize::from(*c)) } else { None })
            .collect();
        for collection in roots {
            if collection < self.collections.len() {
                self.demand(agent, collection, false, at);
            }
        }
    }

    fn agent_tools(&mut self, agent: usize, names: &[Text]) -> Vec<ToolRef> {
        let mut out = Vec::new();
        for name in names {
            let Some(tool) = self.tool(name) else { continue };
            let all = self.all_of_server(tool);
            if out.contains(&tool) || all.iter().any(|one| out.contains(one)) {
                self.faults.error("duplicate_name", name.at, format!("tool `{}` is listed twice", shorten(&name.it)));
                continue;
            }
            self.demand_tool(agent, tool, name.at);
            match self.is_server(tool) {
                true => out.extend(all),
                false => out.push(tool),
            }
        }
        out
    }

    fn handoffs(&mut self, agent: usize, doc: &AgentDoc, env: &Env) -> Vec<HandoffSpec> {
        let mut out: Vec<HandoffSpec> = Vec::new();
        for handoff in &doc.handoffs {
            let handoff = &handoff.0;
            let to = self.agent(&handoff.to);
            let when = handoff.when.as_ref().map(|w| {
                let (program, _) = self.program(&w.0, env, Want::Bool);
                self.reads_allowed(agent, &program, w.0.at);
                program
            });
            let Some(to) = to else { continue };
            if to.at() == agent {
                self.faults.error("self_handoff", handoff.to.at, "an agent cannot hand off to itself");
            } else if out.iter().any(|h| h.to == to) {
                self.faults.error(
                    "duplicate_name",
                    handoff.to.at,
                    format!("the handoff to `{}` is listed twice", shorten(&handoff.to.it)),
                );
            }
            out.push(HandoffSpec { to, carry: handoff.carry, when });
        }
        out
    }

    fn delegates(&mut self, agent: usize, doc: &AgentDoc) -> Vec<AgentIx> {
        let mut out = Vec::new();
        for name in &doc.delegates {
            let Some(to) = self.agent(name) else { continue };
            if to.at() == agent {
                self.faults.error("self_delegate", name.at, "an agent cannot ask itself");
            } else if out.contains(&to) {
                self.faults.error("duplicate_name", name.at, format!("the delegate `{}` is listed twice", shorten(&name.it)));
            }
            out.push(to);
        }
        out
    }

    fn handles(&mut self, agent: usize, kind: AgentKind, own_state: &[Variable], docs: &[HandleDoc]) -> Handles {
        let mut out = Handles::default();
        let mut env = self.world.with("run", Root::Run, run());
        env.declare("message", Root::Message, message());
        env.declare("self", Root::Own, own(own_state));
        for doc in docs {
            match doc {
                HandleDoc::Tick(where_) => out.tick = Some(self.subscription(agent, kind, where_.as_ref(), &env)),
                HandleDoc::User => out.user = true,
                HandleDoc::Tell(type_, where_) => {
                    let subscription = self.subscription(agent, kind, where_.as_ref(), &env);
                    if !type_.is_broken() {
                        out.tells.get_or_insert_default().push((type_.it.clone(), subscription));
                    }
                }
                HandleDoc::Record(name, where_) => {
                    let subscription = self.subscription(agent, kind, where_.as_ref(), &env);
                    if let Some(collection) = self.collection(name) {
                        self.demand(agent, collection, false, name.at);
                        let ix = CollectionIx::from(collection);
                        if !out.hears(ix) {
                            out.records.push((ix, subscription));
                        }
                    }
                }
                HandleDoc::Broken => {}
            }
        }
        out
    }

    fn subscription(&mut self, agent: usize, kind: AgentKind, where_: Option<&Cel>, env: &Env) -> Subscription {
        let Some(where_) = where_ else { return Subscription::default() };
        let (program, _) = self.program(&where_.0, env, Want::Bool);
        self.reads_allowed(agent, &program, where_.0.at);
        if kind != AgentKind::Rules {
            self.faults
                .error("misplaced", where_.0.at, "`where` belongs to an agent of `kind: rules`")
                .help("leave it out: a model sees every message it is sent");
        }
        Subscription(Some(program))
    }
}

fn limits(doc: &AgentLimitsDoc) -> AgentLimits {
    AgentLimits {
        steps: doc.steps.get32(),
        turns: doc.turns.map(Int::get),
        timeout_ms: doc.timeout.0,
        tokens: doc.tokens.map(Int::get),
        cost_usd: doc.cost_usd.map(|c| c.it),
    }
}

/// An agent's supervision: its own words, else the scenario's, else the defaults.
fn supervision(own: Option<&SupervisionDoc>, shared: &SupervisionDoc) -> Supervision {
    fn pick<T>(
        own: Option<&SupervisionDoc>,
        shared: &SupervisionDoc,
        field: impl Fn(&SupervisionDoc) -> Option<T>,
        default: T,
    ) -> T {
        own.and_then(&field).or_else(|| field(shared)).unwrap_or(default)
    }
    Supervision {
        max_restarts: pick(own, shared, |s| s.max_restarts.map(|n| n.get32()), 5),
        within_ms: pick(own, shared, |s| s.within.map(|w| w.0), 60_000),
        backoff_initial_ms: pick(own, shared, |s| s.backoff.as_ref()?.initial.map(|w| w.0), 200),
        backoff_factor: pick(own, shared, |s| s.backoff.as_ref()?.factor.map(|f| f.it), 2.0),
        backoff_max_ms: pick(own, shared, |s| s.backoff.as_ref()?.max.map(|w| w.0), 10_000),
        backoff_jitter: pick(own, shared, |s| s.backoff.as_ref()?.jitter.map(|j| j.it), 0.2),
        on_exhausted: pick(own, shared, |s| s.on_exhausted.map(Some), None),
        mailbox: pick(own, shared, |s| s.mailbox.as_ref()?.capacity.map(|n| n.get32()), 1024),
        overflow: pick(own, shared, |s| s.mailbox.as_ref()?.overflow, Overflow::FailRun),
    }
}
