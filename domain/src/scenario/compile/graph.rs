//! Who can reach whom: agents nobody reaches, rings of handoffs without a bound.

use std::collections::BTreeSet;

use super::Compiler;
use super::parameters::ticks;
use crate::id::AgentIx;
use crate::scenario::document::{AgentDoc, EmitDoc, FallbackDoc, ScenarioDoc};
use crate::scenario::faults::{Place, shorten};
use crate::scenario::scalars::Text;
use crate::scenario::{Clock, Start, ToolKind, ToolRef, Trigger, TriggerAction};

/// Agents shown at either end of a long ring.
const SHOWN: usize = 4;

/// A pass of the floor: to whom, and where it is written.
type Edge = (usize, Place);

impl Compiler<'_> {
    /// Warnings over the whole; only where nothing is wrong otherwise.
    pub(super) fn graph(&mut self, doc: &ScenarioDoc, starts: &[Start], triggers: &[Trigger], clock: &Clock) {
        self.unreachable(doc, starts, triggers, clock);
        self.rings(doc, starts);
        if !ticks(clock) {
            for (key, agent) in doc.agents.iter() {
                if agent.handles.iter().any(|h| matches!(h, crate::scenario::document::HandleDoc::Tick(_))) {
                    let message = format!("agent `{}` handles ticks, but the clock has none", shorten(&key.text));
                    self.faults.warn("no_ticks", key.at, message).help("add `clock: {tick: P1D, ticks: 30}`");
                    break;
                }
            }
        }
    }

    fn number(&self, name: &Text) -> Option<usize> {
        self.agent_names.iter().position(|a| **a == *name.it)
    }

    /// Handoffs of an agent: declared ones, `next`, and those of its rules.
    fn floor(&self, agent: &AgentDoc) -> Vec<Edge> {
        let mut out: Vec<Edge> = Vec::new();
        for handoff in &agent.handoffs {
            out.extend(self.number(&handoff.0.to).map(|n| (n, handoff.0.to.at)));
        }
        out.extend(agent.next.as_ref().and_then(|t| Some((self.number(t)?, t.at))));
        for_all(agent, &mut |emit| out.extend(emit.handoff.as_ref().and_then(|t| Some((self.number(t)?, t.at)))));
        out
    }

    fn tool_target(&self, tool: ToolRef) -> Option<usize> {
        match tool {
            ToolRef::Declared(ix) => match &self.tools[ix.at()].kind {
                ToolKind::Message { to, .. } => Some(to.at()),
                _ => None,
            },
            _ => None,
        }
    }

    fn unreachable(&mut self, doc: &ScenarioDoc, starts: &[Start], triggers: &[Trigger], clock: &Clock) {
        let mut reached: BTreeSet<usize> = starts.iter().map(|s| s.agent.at()).collect();
        for trigger in triggers {
            match trigger.action {
                TriggerAction::Tell { to, .. } => reached.extend([to.at()]),
                TriggerAction::Call { tool, .. } => reached.extend(self.tool_target(tool)),
            }
        }
        for (n, agent) in self.agents.iter().enumerate() {
            if agent.handles.tick.is_some() && ticks(clock) || agent.handles.user || !agent.handles.records.is_empty() {
                reached.insert(n);
            }
        }
        let mut todo: Vec<usize> = reached.iter().copied().collect();
        while let Some(n) = todo.pop() {
            let Some((_, agent)) = doc.agents.all.get(n) else { continue };
            let mut next: Vec<usize> = self.floor(agent).into_iter().map(|e| e.0).collect();
            next.extend(agent.delegates.iter().filter_map(|d| self.number(d)));
            let compiled = &self.agents[n];
            next.extend(compiled.tools.iter().filter_map(|t| self.tool_target(*t)));
            for_all(agent, &mut |emit| {
                next.extend(emit.tell.as_ref().and_then(|t| self.number(t)));
                let called = emit.call.as_ref().and_then(|c| self.tools.iter().position(|t| t.name == c.it));
                next.extend(called.and_then(|t| self.tool_target(ToolRef::Declared(crate::id::ToolIx::from(t)))));
            });
            todo.extend(next.into_iter().filter(|n| reached.insert(*n)));
        }
        for (n, (key, _)) in doc.agents.iter().enumerate() {
            if !reached.contains(&n) {
                let message =
                    format!("nobody reaches agent `{}`: no start, trigger, handoff or message names it", shorten(&key.text));
                self.faults
                    .warn("unreachable_agent", key.at, message)
                    .help("name it in `start`, in a trigger, in `handoffs`, or let it handle ticks");
            }
        }
    }

    /// Rings of handoffs where neither the run nor an agent on them states a bound of its own.
    fn rings(&mut self, doc: &ScenarioDoc, starts: &[Start]) {
        if doc.limits.turns.at.written() || doc.limits.handoffs.at.written() {
            return;
        }
        let edges: Vec<Vec<Edge>> = doc
            .agents
            .iter()
            .map(|(_, agent)| if agent.limits.turns.is_some() { Vec::new() } else { self.floor(agent) })
            .collect();
        let first = starts.iter().map(|s: &Start| s.agent).chain((0..edges.len()).map(AgentIx::from));
        let mut done = vec![false; edges.len()];
        let mut told: BTreeSet<BTreeSet<usize>> = BTreeSet::new();
        for start in first {
            // Depth first, without recursion: a path of (agent, next edge to try).
            let mut path: Vec<(usize, usize)> = Vec::new();
            if !done[start.at()] {
                path.push((start.at(), 0));
            }
            while let Some((agent, edge)) = path.last_mut() {
                let agent = *agent;
                let Some((to, at)) = edges[agent].get(*edge).copied() else {
                    done[agent] = true;
                    path.pop();
                    continue;
                };
                *edge += 1;
                if let Some(from) = path.iter().position(|p| p.0 == to) {
                    let ring: Vec<usize> = path[from..].iter().map(|p| p.0).collect();
                    if told.len() < 20 && told.insert(ring.iter().copied().collect()) {
                        self.ring(&ring, at);
                    }
                } else if !done[to] {
                    path.push((to, 0));
                }
            }
        }
    }

    fn ring(&mut self, ring: &[usize], at: Place) {
        let mut names: Vec<String> = ring.iter().chain(ring.first()).map(|n| format!("`{}`", self.agent_names[*n])).collect();
        if names.len() > 2 * SHOWN {
            names.splice(SHOWN..names.len() - SHOWN, ["…".to_owned()]);
        }
        let message = format!("handoffs form a cycle without a bound of its own: {}", names.join(" → "));
        self.faults
            .warn("handoff_cycle", at, message)
            .help("state `limits.turns` or `limits.handoffs` of the run, or `limits.turns` of an agent on the cycle");
    }
}

/// Every entry of an agent's rules, those of its fallback too.
fn for_all(agent: &AgentDoc, visit: &mut dyn FnMut(&EmitDoc)) {
    fn entries(all: &[EmitDoc], visit: &mut dyn FnMut(&EmitDoc)) {
        for emit in all {
            visit(emit);
            entries(emit.emit.as_deref().unwrap_or_default(), visit);
        }
    }
    let fallback = match &agent.fallback {
        Some(FallbackDoc::Rules(rules)) => rules.rules.as_slice(),
        _ => &[],
    };
    for rule in agent.rules.iter().chain(fallback) {
        entries(rule.emit.as_deref().unwrap_or_default(), visit);
    }
}
