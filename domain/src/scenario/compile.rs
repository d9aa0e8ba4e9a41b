//! The decoded document into the types the machines use: names to positions, expressions and templates to programs.
//! All faults are told; what is broken is replaced by something harmless so that the rest is still checked.

mod agents;
mod draws;
mod env;
mod extraction;
mod graph;
mod guards;
mod http;
mod mcp;
mod measures;
mod parameters;
mod rules;
mod run;
mod seed;
mod sweeps;
mod tools;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::ScenarioDoc;
use super::faults::{Faults, Place, shorten, suggestion};
use super::load::Files;
use super::locate;
use super::node::Node;
use super::scalars::{Text, Tpl};
use super::{
    Agent, Bundle, CollectionSpec, Data, ModelAlias, Parameter, Program, Scenario, Template, Tool, Unbuilt, Variable, View,
};
use crate::expression::{self, Env, Fault, Type};
use crate::id::{AgentIx, Hash32};

/// Faults told of one expression or template.
const MAX_PER_TEXT: usize = 20;

/// What an expression's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Anything.
    Any,
    /// Truth.
    Bool,
    /// A number; truth counts as 0 or 1.
    Number,
    /// A list, a collection or a map.
    Many,
    /// A whole number.
    Int,
}

/// The state of a compilation.
pub(crate) struct Compiler<'a> {
    pub(crate) faults: Faults,
    files: &'a dyn Files,
    data_files: BTreeMap<String, Arc<[u8]>>,
    unbuilt: Vec<Unbuilt>,
    blank: Program,
    agent_names: Vec<Arc<str>>,
    parameters: Vec<Parameter>,
    models: Vec<Arc<ModelAlias>>,
    collections: Vec<CollectionSpec>,
    state: Vec<Variable>,
    views: Vec<View>,
    tools: Vec<Tool>,
    metric_names: Vec<Arc<str>>,
    /// Metrics that a rule gives a value.
    emitted: Vec<bool>,
    agents: Vec<Arc<Agent>>,
    /// The types each agent may be told, where it lists any.
    told: Vec<Option<Vec<Arc<str>>>>,
    /// Expressions with their places, for the estimate of their cost.
    costs: Vec<(Program, Place)>,
    /// `params state tick now` and the collections.
    world: Env,
    /// The same with `seed` and `run`.
    run: Env,
    /// Only `params`.
    params: Env,
}

impl<'a> Compiler<'a> {
    /// A compilation of nothing yet.
    pub(crate) fn new(faults: Faults, files: &'a dyn Files) -> Self {
        let blank = expression::compile("true", &Env::default());
        let blank = blank.map_or_else(|_| unreachable!("`true` is an expression"), |c| c.program);
        Compiler {
            faults,
            files,
            data_files: BTreeMap::new(),
            unbuilt: Vec::new(),
            blank,
            agent_names: Vec::new(),
            parameters: Vec::new(),
            models: Vec::new(),
            collections: Vec::new(),
            state: Vec::new(),
            views: Vec::new(),
            tools: Vec::new(),
            metric_names: Vec::new(),
            emitted: Vec::new(),
            agents: Vec::new(),
            told: Vec::new(),
            costs: Vec::new(),
            world: Env::default(),
            run: Env::default(),
            params: Env::default(),
        }
    }

    /// Compiles all of it. The result counts only where `faults` has no error.
    pub(crate) fn scenario(mut self, doc: &ScenarioDoc) -> (Scenario, Faults, BTreeMap<String, Arc<[u8]>>) {
        self.identity(doc);
        self.agent_names = doc.agents.names().map(Arc::from).collect();
        self.metric_names = doc.metrics.names().map(Arc::from).collect();
        self.emitted = vec![false; self.metric_names.len()];
        self.told = doc.agents.iter().map(|(_, agent)| tell_types(agent)).collect();
        self.parameters(doc);
        self.models(doc);
        let clock = self.clock(&doc.clock);
        self.world(doc);
        self.tools(doc);
        self.agents(doc);
        let (starts, ends, result) = self.starts(doc);
        let triggers = self.triggers(doc);
        let limits = self.limits(&doc.limits);
        let metrics = self.metrics(doc);
        let checks = self.checks(doc);
        let thresholds = self.thresholds(doc);
        self.sweeps(doc);
        let extraction = self.extraction(doc);
        let faults = self.injections(doc);
        if doc.at.written() && self.faults.errors() == 0 {
            self.graph(doc, &starts, &triggers, &clock);
            self.cost(limits.cel_steps);
        }
        let owned = |t: &Option<Text>| t.as_ref().map(|t| t.it.to_string());
        let mut scenario = Scenario {
            name: doc.name.it.clone(),
            title: owned(&doc.title),
            description: owned(&doc.description),
            version: doc.version.as_ref().map(|v| v.0.to_string()),
            labels: doc.labels.iter().map(|(k, v)| (k.text.to_string(), v.0.to_string())).collect(),
            hash: Hash32::default(),
            bundle: Bundle { document: "".into(), files: BTreeMap::new() },
            parameters: self.parameters,
            models: self.models,
            clock,
            collections: self.collections,
            state: self.state,
            views: self.views,
            tools: self.tools,
            agents: self.agents,
            starts,
            ends,
            result,
            triggers,
            metrics,
            checks,
            thresholds,
            limits,
            extraction,
            offers: Vec::new(),
            servers: Vec::new(),
            faults,
            unbuilt: self.unbuilt,
        };
        scenario.offers = crate::run::offers(&scenario);
        scenario.servers = mcp::servers(&scenario);
        (scenario, self.faults, self.data_files)
    }

    fn identity(&mut self, doc: &ScenarioDoc) {
        if !doc.name.is_broken()
            && let Some(why) = super::scalars::slug_fault(&doc.name.it)
        {
            self.faults.error("bad_name", doc.name.at, format!("`{}` is no name for a scenario: {why}", shorten(&doc.name.it)));
        }
        if doc.agents.is_empty() && doc.at.written() {
            self.faults
                .error("no_agents", doc.at, "a scenario needs at least one agent")
                .help("add `agents: {name: {kind: rules, …}}`");
        }
        let mut folded: BTreeMap<String, &str> = BTreeMap::new();
        for (key, _) in doc.agents.iter() {
            let name: String = key.text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            if let Some(first) = folded.insert(name, &key.text) {
                let message = format!("agents `{first}` and `{}` would share the tool name `transfer_to_…`", shorten(&key.text));
                self.faults.error("bad_name", key.at, message).help("let them differ in more than case and punctuation");
            }
        }
    }

    fn unbuilt(&mut self, at: Place, what: String) {
        let file = self.faults.sources.get(usize::from(at.file)).map(|s| s.name.clone()).unwrap_or_default();
        self.unbuilt.push(Unbuilt { what, file, span: at.span });
    }

    /// Tells where an agent may not be told a type.
    fn may_be_told(&mut self, to: AgentIx, type_: &str, at: Place) {
        let Some(Some(types)) = self.told.get(to.at()) else { return };
        if !types.iter().any(|t| **t == *type_) {
            let help = suggestion(type_, "types", types.iter().map(|t| &**t));
            let message = format!("agent `{}` handles no messages of type `{}`", self.agent_names[to.at()], shorten(type_));
            self.faults.error("unhandled_type", at, message).maybe_help(help);
        }
    }

    /// Warns of expressions that would take more steps than a run allows, with the collections as they begin.
    fn cost(&mut self, limit: u64) {
        let sizes: Vec<u64> = self.collections.iter().map(|c| (c.seed.len() as u64).max(32)).collect();
        let size_of = |root: expression::Root| match root {
            expression::Root::Collection(n) => sizes.get(usize::from(n)).copied().unwrap_or(32),
            _ => 32,
        };
        for (program, at) in std::mem::take(&mut self.costs) {
            let steps = program.estimate(&size_of);
            if steps > limit {
                let scans: Vec<String> = program.scans().iter().map(|(c, f)| format!("`index: [{f}]` on `{c}`")).collect();
                let help = if scans.is_empty() {
                    "look at fewer records at a time, or raise `limits.cel_steps`".to_owned()
                } else {
                    format!("add {}", scans.join(", "))
                };
                let message = format!("this expression may take about {steps} steps; `limits.cel_steps` is {limit}");
                self.faults.warn("cel_cost", at, message).help(help);
            }
        }
    }

    /// Whether a block has exactly one of its fields; tells where it has not.
    fn exactly_one<R: super::decode::Record>(&mut self, block: &R, what: &str, written: &[bool]) -> bool {
        let one = written.iter().filter(|w| **w).count() == 1;
        if !one && block.at().written() {
            let message = format!("{what} must be exactly one of {}", super::faults::listed(R::FIELDS.iter().copied()));
            self.faults.error("wrong_shape", block.at(), message);
        }
        one
    }

    /// The position of an agent.
    fn agent(&mut self, name: &Text) -> Option<AgentIx> {
        if name.is_broken() {
            return None;
        }
        if let Some(n) = self.agent_names.iter().position(|a| **a == *name.it) {
            return Some(AgentIx::from(n));
        }
        let help = suggestion(&name.it, "agents", self.agent_names.iter().map(|a| &**a));
        self.faults.error("unknown_agent", name.at, format!("there is no agent `{}`", shorten(&name.it))).maybe_help(help);
        None
    }

    /// A position among names, or a fault.
    fn position(&mut self, name: &Text, code: &'static str, what: &str, plural: &str, names: &[Arc<str>]) -> Option<usize> {
        if name.is_broken() {
            return None;
        }
        let found = names.iter().position(|n| **n == *name.it);
        if found.is_none() {
            let help = suggestion(&name.it, plural, names.iter().map(|n| &**n));
            self.faults.error(code, name.at, format!("there is no {what} `{}`", shorten(&name.it))).maybe_help(help);
        }
        found
    }

    fn collection(&mut self, name: &Text) -> Option<usize> {
        let names: Vec<Arc<str>> = self.collections.iter().map(|c| c.shape.name.clone()).collect();
        self.position(name, "unknown_collection", "collection", "collections", &names)
    }

    /// A compiled expression with its type; a blank one after a fault.
    fn program(&mut self, node: &Node, env: &Env, want: Want) -> (Program, Type) {
        let Some(scalar) = node.scalar() else { return (self.blank.clone(), Type::Dyn) };
        match expression::compile(&scalar.text, env) {
            Ok(compiled) => {
                self.text_faults(node, compiled.warnings, true);
                if !may_be(&compiled.ty, want) {
                    let expected = match want {
                        Want::Bool => "true or false (bool)",
                        Want::Number => "a number",
                        Want::Many => "a list",
                        Want::Int => "a whole number (int)",
                        Want::Any => "a value",
                    };
                    let message = format!("this expression must give {expected}, it gives {}", type_word(&compiled.ty));
                    self.faults.error("cel_type", node.at, message);
                }
                if node.at.written() {
                    self.costs.push((compiled.program.clone(), node.at));
                }
                (compiled.program, compiled.ty)
            }
            Err(faults) => {
                self.text_faults(node, faults, false);
                (self.blank.clone(), Type::Dyn)
            }
        }
    }

    fn text_faults(&mut self, node: &Node, found: Vec<Fault>, warnings: bool) {
        let braces = node.scalar().is_some_and(|s| s.text.contains("{{"));
        for fault in found.into_iter().take(MAX_PER_TEXT) {
            let at = locate::within(&mut self.faults, node, fault.at.0, fault.at.1);
            let help = if braces && fault.code == "cel_syntax" {
                Some("this is an expression, not a template: write names without `{{ }}`".to_owned())
            } else {
                fault.help
            };
            if warnings || fault.warning {
                self.faults.warn(fault.code, at, fault.message).maybe_help(help);
            } else {
                self.faults.error(fault.code, at, fault.message).maybe_help(help);
            }
        }
    }

    /// A compiled template; plain text after a fault.
    fn template(&mut self, tpl: &Tpl, env: &Env) -> Template {
        self.template_node(&tpl.0, env)
    }

    fn template_node(&mut self, node: &Node, env: &Env) -> Template {
        let Some(text) = node.scalar().map(|s| s.text.clone()) else { return Template::plain("") };
        match Template::compile(&text, env) {
            Ok((template, doubts)) => {
                self.text_faults(node, doubts, true);
                template
            }
            Err(faults) => {
                self.text_faults(node, faults, false);
                Template::plain(text)
            }
        }
    }

    /// A value built from expressions, with its type.
    fn data(&mut self, node: &Node, env: &Env) -> (Data, Type) {
        use super::node::{Kind, Plain};
        use crate::value::Value;
        match &node.kind {
            Kind::Broken => (Data::Literal(Value::Null), Type::Dyn),
            Kind::Scalar(s) => match s.value {
                Plain::Null => (Data::Literal(Value::Null), Type::Null),
                Plain::Bool(b) => (Data::Literal(Value::Bool(b)), Type::Bool),
                Plain::Int(i) => (Data::Literal(Value::Int(i)), Type::Int),
                Plain::Float(f) => (Data::Literal(Value::Double(f)), Type::Double),
                Plain::Text if s.text.trim().is_empty() => {
                    self.faults
                        .error("cel_syntax", node.at, "syntax: text here is an expression, and this one is empty")
                        .help("write an empty text as \"''\"");
                    (Data::Literal(Value::Null), Type::Dyn)
                }
                Plain::Text => {
                    let (program, ty) = self.program(node, env, Want::Any);
                    (Data::Program(program), ty)
                }
            },
            Kind::List(items) => {
                let (items, types): (Vec<Data>, Vec<Type>) = items.iter().map(|i| self.data(i, env)).unzip();
                let item =
                    types.split_first().filter(|(first, rest)| rest.iter().all(|t| t == *first)).map(|(first, _)| first.clone());
                let ty = Type::List(Box::new(item.unwrap_or(Type::Dyn)));
                if items.iter().all(|i| matches!(i, Data::Literal(_))) {
                    let values = items.into_iter().map(|i| if let Data::Literal(v) = i { v } else { Value::Null });
                    return (Data::Literal(Value::list(values)), ty);
                }
                (Data::List(items), ty)
            }
            Kind::Map(entries) => {
                let mut fields = Vec::with_capacity(entries.len());
                let mut types = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let (data, ty) = self.data(value, env);
                    fields.push((key.text.clone(), data));
                    types.push((key.text.clone(), ty));
                }
                let ty = Type::Object(Arc::new(expression::ObjectType { fields: types, open: false }));
                if fields.iter().all(|f| matches!(f.1, Data::Literal(_))) {
                    let values = fields.into_iter().map(|(k, v)| (k, if let Data::Literal(v) = v { v } else { Value::Null }));
                    return (Data::Literal(Value::object(values)), ty);
                }
                (Data::Map(fields), ty)
            }
        }
    }

    /// Tells where a value's type can never fit a variable or field.
    fn fits(&mut self, at: Place, what: &str, given: &Type, expected: &Type) {
        if never(given, expected) {
            let message = format!("{what} holds {}, this gives {}", type_word(expected), type_word(given));
            self.faults.error("cel_type", at, message);
        }
    }
}

/// The types an agent may be told; `None`: any.
fn tell_types(agent: &super::document::AgentDoc) -> Option<Vec<Arc<str>>> {
    use super::document::HandleDoc;
    let types: Vec<Arc<str>> =
        agent.handles.iter().filter_map(|h| if let HandleDoc::Tell(t, _) = h { Some(t.it.clone()) } else { None }).collect();
    (!types.is_empty()).then_some(types)
}

/// Whether a value of a type may be what is wanted.
fn may_be(ty: &Type, want: Want) -> bool {
    match ty {
        Type::Dyn => true,
        Type::OneOf(types) => types.iter().any(|t| may_be(t, want)),
        _ => match want {
            Want::Any => true,
            Want::Bool => matches!(ty, Type::Bool),
            Want::Number => matches!(ty, Type::Int | Type::Double | Type::Bool | Type::Null),
            Want::Many => matches!(ty, Type::List(_) | Type::Map(_) | Type::Object(_) | Type::Collection(_)),
            Want::Int => matches!(ty, Type::Int | Type::Double),
        },
    }
}

/// Whether no value of `given` can be one of `expected`.
fn never(given: &Type, expected: &Type) -> bool {
    match (given, expected) {
        (Type::Dyn, _) | (_, Type::Dyn) => false,
        (Type::OneOf(types), _) => types.iter().all(|t| never(t, expected)),
        (_, Type::OneOf(types)) => types.iter().all(|t| never(given, t)),
        (Type::Int | Type::Double, Type::Int | Type::Double) => false,
        (Type::List(_), Type::List(_)) => false,
        (Type::Map(_) | Type::Object(_) | Type::Collection(_), Type::Map(_) | Type::Object(_) | Type::Collection(_)) => false,
        // Moments and spans become text in a record.
        (Type::Timestamp | Type::Duration, Type::Text) => false,
        _ => std::mem::discriminant(given) != std::mem::discriminant(expected),
    }
}

/// A type as a message names it.
pub(crate) fn type_word(ty: &Type) -> String {
    match ty {
        Type::Dyn => "any value".into(),
        Type::Null => "null".into(),
        Type::Bool => "bool".into(),
        Type::Int => "int".into(),
        Type::Double => "double".into(),
        Type::Text => "string".into(),
        Type::Timestamp => "timestamp".into(),
        Type::Duration => "duration".into(),
        Type::List(_) => "list".into(),
        Type::Map(_) | Type::Object(_) => "map".into(),
        Type::Collection(c) => format!("the collection `{}`", c.name),
        Type::OneOf(types) => types.iter().map(type_word).collect::<Vec<_>>().join(" or "),
    }
}
