//! Agents: who they are, what they may do, to whom they pass on.

use std::sync::Arc;

use super::env::{message, own};
use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::id::{AgentIx, CollectionIx, ModelIx};
use crate::scenario::document::{
    AgentDoc, AgentLimitsDoc, ApprovalDoc, DrawDoc, FallbackDoc, GuardrailDoc, GuardrailKindDoc, HandleDoc, MAX_REPLICAS,
    ScenarioDoc, ScriptDoc, SupervisionDoc,
};
use crate::scenario::faults::{Place, listed, shorten};
use crate::scenario::node::{Key, Node, Plain};
use crate::scenario::scalars::Text;
use crate::scenario::{
    Agent, AgentKind, AgentLimits, Data, Draw, Fallback, Guardrail, GuardrailAt, GuardrailCheck, GuardrailThen, Handles,
    HandoffSpec, Late, OWN_FIELDS, Overflow, ScriptStep, Supervision, ToolRef,
};
use crate::schema;
use crate::value::Value;

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
        let mut frame = Frame { agent: n, env: self.agent_env(&own_state), own: own_state, bound: 0 };
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
        let guardrails = doc.guardrails.iter().filter_map(|g| self.guardrail(g, &tools, &turn, &output_type)).collect();
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
            handles: self.handles(n, &doc.handles),
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

    fn draws(&mut self, doc: &AgentDoc, frame: &mut Frame) -> Vec<(Arc<str>, Draw)> {
        let mut env = self.params.clone();
        for name in ["state", "self", "tick"] {
            if let Some((root, ty)) = frame.env.find(name) {
                env.declare(name, root, ty.clone());
            }
        }
        let mut draws = Vec::new();
        let mut types = Vec::new();
        for (key, draw) in doc.draws.iter() {
            if let Some((draw, ty)) = self.draw(key, draw, &env) {
                draws.push((key.text.clone(), draw));
                types.push((key.text.clone(), ty));
            } else {
                types.push((key.text.clone(), Type::Dyn));
            }
        }
        frame.env.declare("draws", Root::Draws, super::env::object(types));
        draws
    }

    fn draw(&mut self, key: &Key, doc: &DrawDoc, env: &Env) -> Option<(Draw, Type)> {
        let written = [
            doc.bernoulli.is_some(),
            doc.uniform.is_some(),
            doc.normal.is_some(),
            doc.lognormal.is_some(),
            doc.poisson.is_some(),
            doc.exponential.is_some(),
            doc.choice.is_some(),
        ];
        if !self.exactly_one(doc, &format!("draw `{}`", shorten(&key.text)), &written) {
            return None;
        }
        let (any, positive) = ((f64::MIN, f64::MAX), (0.0, f64::MAX));
        Some(if let Some(d) = &doc.bernoulli {
            (Draw::Bernoulli { p: self.draw_number(&d.p.0, "p", env, (0.0, 1.0)) }, Type::Bool)
        } else if let Some(d) = &doc.uniform {
            let (min, max) = (self.draw_number(&d.min.0, "min", env, any), self.draw_number(&d.max.0, "max", env, any));
            if let (Data::Literal(low), Data::Literal(high)) = (&min, &max)
                && let (Some(l), Some(h)) = (low.as_f64(), high.as_f64())
                && l >= h
            {
                self.faults.error("empty_range", d.min.0.at, format!("`min` {l} is not below `max` {h}"));
            }
            (Draw::Uniform { min, max }, Type::Double)
        } else if let Some(d) = &doc.normal {
            let mean = self.draw_number(&d.mean.0, "mean", env, any);
            (Draw::Normal { mean, sd: self.draw_number(&d.sd.0, "sd", env, positive) }, Type::Double)
        } else if let Some(d) = &doc.lognormal {
            let mu = self.draw_number(&d.mu.0, "mu", env, any);
            (Draw::Lognormal { mu, sigma: self.draw_number(&d.sigma.0, "sigma", env, positive) }, Type::Double)
        } else if let Some(d) = &doc.poisson {
            (Draw::Poisson { mean: self.draw_number(&d.mean.0, "mean", env, positive) }, Type::Int)
        } else if let Some(d) = &doc.exponential {
            (Draw::Exponential { mean: self.draw_number(&d.mean.0, "mean", env, positive) }, Type::Double)
        } else if let Some(d) = &doc.choice {
            return self.choice(&d.of.0, d.weights.as_ref().map(|w| &w.0), env);
        } else {
            return None;
        })
    }

    fn choice(&mut self, of: &Node, weights: Option<&Node>, env: &Env) -> Option<(Draw, Type)> {
        // The words of a list are words here: `of: [a, b]` chooses among texts. Text alone is an expression that gives a list.
        let (list, ty) = match &of.kind {
            crate::scenario::node::Kind::List(items) => {
                if items.is_empty() {
                    self.faults.error("wrong_shape", of.at, "there is nothing to choose from");
                }
                let values: Vec<Value> = items.iter().map(|i| Value::from_json(&i.to_json())).collect();
                let ty = item_type(&values);
                (Data::Literal(Value::list(values)), ty)
            }
            _ => {
                let (program, ty) = self.program(of, env, Want::Many);
                let item = if let Type::List(item) = ty { *item } else { Type::Dyn };
                (Data::Program(program), item)
            }
        };
        let weights = weights.map(|node| {
            if let crate::scenario::node::Kind::List(items) = &node.kind {
                let expected = of.items().len();
                if !of.items().is_empty() && items.len() != expected {
                    let message = format!("there are {} weights for {expected} choices", items.len());
                    self.faults.error("wrong_shape", node.at, message);
                }
                let all: Vec<Data> = items.iter().map(|i| self.draw_number(i, "weights", env, (0.0, f64::MAX))).collect();
                if !all.is_empty() && all.iter().all(|w| matches!(w, Data::Literal(v) if v.as_f64() == Some(0.0))) {
                    self.faults.error("out_of_range", node.at, "one of the weights must be above zero");
                }
                return Data::List(all);
            }
            let (program, _) = self.program(node, env, Want::Many);
            Data::Program(program)
        });
        Some((Draw::Choice { of: list, weights }, ty))
    }

    /// A parameter of a draw: a number within bounds, or an expression.
    fn draw_number(&mut self, node: &Node, name: &str, env: &Env, (min, max): (f64, f64)) -> Data {
        match node.scalar().map(|s| s.value) {
            Some(Plain::Int(_) | Plain::Float(_)) => {
                let it = node.to_json().as_f64().unwrap_or_default();
                if it < min {
                    self.faults.error("out_of_range", node.at, format!("`{name}` must not be below {min}: {it}"));
                } else if it > max {
                    self.faults.error("out_of_range", node.at, format!("`{name}` must not be above {max}: {it}"));
                }
                self.data(node, env).0
            }
            Some(Plain::Text) => Data::Program(self.program(node, env, Want::Number).0),
            _ => {
                self.faults.enter(name.into());
                crate::scenario::decode::wrong_type(node, "a number or an expression", &mut self.faults);
                self.faults.leave();
                Data::Literal(Value::Double(0.0))
            }
        }
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
            if let Some(tool) = self.tool(name) {
                if out.contains(&tool) {
                    self.faults.error("duplicate_name", name.at, format!("tool `{}` is listed twice", shorten(&name.it)));
                    continue;
                }
                self.demand_tool(agent, tool, name.at);
                out.push(tool);
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

    fn handles(&mut self, agent: usize, docs: &[HandleDoc]) -> Handles {
        let mut out = Handles::default();
        for doc in docs {
            match doc {
                HandleDoc::Tick => out.tick = true,
                HandleDoc::User => out.user = true,
                HandleDoc::Tell(type_) => {
                    if !type_.is_broken() {
                        out.tells.get_or_insert_default().push(type_.it.clone());
                    }
                }
                HandleDoc::Record(name) => {
                    if let Some(collection) = self.collection(name) {
                        self.demand(agent, collection, false, name.at);
                        let ix = CollectionIx::from(collection);
                        if !out.records.contains(&ix) {
                            out.records.push(ix);
                        }
                    }
                }
                HandleDoc::Broken => {}
            }
        }
        out
    }

    fn guardrail(&mut self, doc: &GuardrailDoc, tools: &[ToolRef], env: &Env, output: &Type) -> Option<Guardrail> {
        let at = self.guardrail_at(&doc.place, tools)?;
        let input_type = match at {
            GuardrailAt::Tool(ToolRef::Declared(t)) => self.tools[t.at()].input.ty.clone(),
            GuardrailAt::Tool(ToolRef::Put(c)) => self.collections[c.at()].schema.ty.clone(),
            _ => Type::Dyn,
        };
        let env = match at {
            GuardrailAt::Output => env.with("output", Root::Output, output.clone()),
            GuardrailAt::ToolResult(tool) => env.with("output", Root::Output, self.result_type(tool)),
            _ => env.with("input", Root::Input, input_type),
        };
        let check = match doc.kind {
            GuardrailKindDoc::Expr => GuardrailCheck::Expr(self.program(&doc.check.0, &env, Want::Bool).0),
            GuardrailKindDoc::Regex => {
                let pattern = doc.check.0.scalar().map(|s| s.text.clone()).unwrap_or_else(|| "".into());
                if let Some(why) = crate::expression::pattern_fault(&pattern) {
                    self.faults.error("bad_pattern", doc.check.0.at, why).help("patterns are those of the Rust crate `regex`");
                }
                GuardrailCheck::DenyRegex(pattern)
            }
            GuardrailKindDoc::Llm => {
                self.unbuilt(doc.check.0.at, "a guardrail of kind `llm`".into());
                GuardrailCheck::Llm
            }
        };
        if doc.then.it == GuardrailThen::Escalate {
            self.unbuilt(doc.then.at, "a guardrail with `then: escalate`".into());
        }
        let say = doc.say.as_ref().map(|s| s.it.clone());
        Some(Guardrail { at, check, then: doc.then.it, max: doc.max.get32(), say })
    }

    fn guardrail_at(&mut self, place: &Text, tools: &[ToolRef]) -> Option<GuardrailAt> {
        let text = &*place.it;
        match text {
            "" => return None,
            "input" => return Some(GuardrailAt::Input),
            "output" => return Some(GuardrailAt::Output),
            "handoff" => return Some(GuardrailAt::Handoff),
            _ => {}
        }
        let Some(name) = text.strip_prefix("tool.") else {
            let help = crate::scenario::faults::suggestion(
                text,
                "places",
                ["input", "output", "handoff", "tool.NAME", "tool.NAME.result"],
            );
            self.faults
                .error("unknown_value", place.at, format!("a guardrail cannot stand at `{}`", shorten(text)))
                .maybe_help(help);
            return None;
        };
        let (name, result) = name.strip_suffix(".result").map_or((name, false), |n| (n, true));
        let tool = self.tool_named(name, place.at)?;
        if !tools.contains(&tool) {
            let message = format!("this agent has no tool `{}`, so the guardrail would never be asked", shorten(name));
            self.faults.error("unknown_tool", place.at, message).help("add it to the agent's `tools`");
        }
        Some(if result { GuardrailAt::ToolResult(tool) } else { GuardrailAt::Tool(tool) })
    }

    fn approval(&mut self, name: &str, doc: &ApprovalDoc, tools: &[ToolRef], env: &Env) {
        self.unbuilt(doc.at, format!("`approval` of agent `{name}`"));
        if doc.tools.is_empty() {
            self.faults.error("missing_field", doc.at, "an approval names the `tools` it is for");
        }
        let mut input = Type::Dyn;
        for tool in &doc.tools {
            if let Some(found) = self.tool(tool) {
                if !tools.contains(&found) {
                    let message = format!("agent `{name}` has no tool `{}` to approve", shorten(&tool.it));
                    self.faults.error("unknown_tool", tool.at, message).help("add it to the agent's `tools`");
                }
                if let (ToolRef::Declared(t), [_]) = (found, doc.tools.as_slice()) {
                    input = self.tools[t.at()].input.ty.clone();
                }
            }
        }
        for by in doc.by.iter().filter(|b| &*b.it != "human") {
            self.agent(by);
        }
        if let Some(auto) = &doc.auto {
            let env = env.with("input", Root::Input, input);
            self.program(&auto.0, &env, Want::Bool);
        }
    }

    fn script(&mut self, doc: &AgentDoc, tools: &[ToolRef], handoffs: &[HandoffSpec], delegates: &[AgentIx]) -> Vec<ScriptStep> {
        let mut out = Vec::new();
        for step in &doc.stub {
            let verbs = [
                ("text", step.text.is_some() && step.ask.is_none()),
                ("output", step.output.is_some()),
                ("call", step.call.is_some()),
                ("handoff", step.handoff.is_some()),
                ("ask", step.ask.is_some()),
            ];
            if verbs.iter().filter(|v| v.1).count() != 1 {
                let message = format!("a scripted answer is exactly one of {}", listed(verbs.iter().map(|v| v.0)));
                self.faults.error("wrong_shape", step.at, message);
                continue;
            }
            if let Some(step) = self.script_step(step, tools, handoffs, delegates) {
                out.push(step);
            }
        }
        out
    }

    fn script_step(
        &mut self,
        step: &ScriptDoc,
        tools: &[ToolRef],
        handoffs: &[HandoffSpec],
        delegates: &[AgentIx],
    ) -> Option<ScriptStep> {
        let value = |node: &Node| Value::from_json(&node.to_json());
        if let Some(name) = &step.call {
            let tool = self.tool(name)?;
            if !tools.contains(&tool) {
                let message = format!("this agent has no tool `{}`", shorten(&name.it));
                self.faults.error("unknown_tool", name.at, message).help("add it to the agent's `tools`");
            }
            let with = step.with.as_ref().map_or_else(|| Value::object::<Arc<str>>([]), |w| value(&w.0));
            return Some(ScriptStep::Call { tool: name.it.clone(), with });
        }
        if let Some(name) = &step.handoff {
            let to = self.agent(name)?;
            if !handoffs.iter().any(|h| h.to == to) {
                let message = format!("this agent may not hand off to `{}`", shorten(&name.it));
                self.faults.error("unknown_agent", name.at, message).help("add it to the agent's `handoffs`");
            }
            return Some(ScriptStep::Handoff(name.it.clone()));
        }
        if let Some(name) = &step.ask {
            let to = self.agent(name)?;
            if !delegates.contains(&to) {
                let message = format!("this agent may not ask `{}`", shorten(&name.it));
                self.faults.error("unknown_agent", name.at, message).help("add it to the agent's `delegates`");
            }
            let text = step.text.as_ref().map_or_else(|| Arc::from(""), |t| t.it.clone());
            return Some(ScriptStep::Ask { agent: name.it.clone(), text });
        }
        match (&step.text, &step.output) {
            (_, Some(output)) => Some(ScriptStep::Output(value(&output.0))),
            (Some(text), None) => Some(ScriptStep::Text(text.it.clone())),
            (None, None) => None,
        }
    }
}

fn item_type(values: &[Value]) -> Type {
    let ty = |v: &Value| match v {
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Double(_) => Type::Double,
        Value::Text(_) => Type::Text,
        _ => Type::Dyn,
    };
    let first = values.first().map_or(Type::Dyn, ty);
    if values.iter().all(|v| ty(v) == first) { first } else { Type::Dyn }
}

fn limits(doc: &AgentLimitsDoc) -> AgentLimits {
    AgentLimits { steps: doc.steps.get32(), turns: doc.turns.map(crate::scenario::scalars::Int::get), timeout_ms: doc.timeout.0 }
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
