//! Who hands off to whom, asks whom and tells whom, as text that mermaid or graphviz draw.

use std::collections::BTreeSet;

use commedia_domain::id::AgentIx;
use commedia_domain::scenario::{AgentKind, Emit, Fallback, Rule, Scenario, ToolKind, ToolRef, TriggerAction};

/// What an arrow means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Handoff,
    Next,
    Ask,
    Tell,
    Trigger,
}

/// From (an agent, or a trigger by name), to, what.
type Edge = (Result<AgentIx, String>, AgentIx, Kind);

fn edges(scenario: &Scenario) -> BTreeSet<(String, AgentIx, Kind)> {
    let mut found: Vec<Edge> = Vec::new();
    for agent in &scenario.agents {
        let from = || Ok(agent.ix);
        found.extend(agent.handoffs.iter().map(|h| (from(), h.to, Kind::Handoff)));
        found.extend(agent.next.iter().map(|to| (from(), *to, Kind::Next)));
        found.extend(agent.delegates.iter().map(|to| (from(), *to, Kind::Ask)));
        for tool in &agent.tools {
            if let ToolRef::Declared(ix) = tool
                && let Some(ToolKind::Message { to, .. }) = scenario.tools.get(ix.at()).map(|t| &t.kind)
            {
                found.push((from(), *to, Kind::Tell));
            }
        }
        let mut from_rules = |rules: &[Rule]| {
            rules.iter().for_each(|rule| emits(&rule.emit, &mut |to, kind| found.push((Ok(agent.ix), to, kind))));
        };
        from_rules(&agent.rules);
        if let Some(Fallback::Rules(rules)) = &agent.fallback {
            from_rules(rules);
        }
    }
    for trigger in &scenario.triggers {
        if let TriggerAction::Tell { to, .. } = &trigger.action {
            found.push((Err(trigger.name.to_string()), *to, Kind::Trigger));
        }
    }
    let id = |from: Result<AgentIx, String>| from.map_or_else(|name| format!("trigger:{name}"), |ix| format!("agent:{}", ix.0));
    found.into_iter().map(|(from, to, kind)| (id(from), to, kind)).collect()
}

fn emits(entries: &[Emit], see: &mut dyn FnMut(AgentIx, Kind)) {
    for entry in entries {
        match entry {
            Emit::Tell { to, .. } => see(*to, Kind::Tell),
            Emit::Handoff { to, .. } => see(*to, Kind::Handoff),
            Emit::ForEach { body, .. } => emits(body, see),
            _ => {}
        }
    }
}

/// The node's place among triggers, or the agent's.
fn node(scenario: &Scenario, id: &str) -> String {
    match id.split_once(':') {
        Some(("trigger", name)) => {
            let n = scenario.triggers.iter().position(|t| &*t.name == name).unwrap_or(0);
            format!("t{n}")
        }
        Some((_, n)) => format!("a{n}"),
        None => id.to_owned(),
    }
}

/// A name without what either language reads as its own.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c == '\\' || c.is_control() { '_' } else { c }).collect()
}

/// A mermaid flowchart.
pub fn mermaid(scenario: &Scenario) -> String {
    let mut out = format!("---\ntitle: {}\n---\nflowchart LR\n", plain(&scenario.name));
    for agent in &scenario.agents {
        let name = plain(&agent.name);
        let label = if agent.population { format!("{name} ×n") } else { name };
        let shape = match agent.kind {
            AgentKind::Llm => format!("([\"{label}\"])"),
            AgentKind::Rules => format!("[\"{label}\"]"),
            AgentKind::Human => format!("{{{{\"{label}\"}}}}"),
        };
        out += &format!("  a{}{shape}\n", agent.ix.0);
    }
    for (n, trigger) in scenario.triggers.iter().enumerate() {
        if matches!(trigger.action, TriggerAction::Tell { .. }) {
            out += &format!("  t{n}((\"{}\"))\n", plain(&trigger.name));
        }
    }
    for (from, to, kind) in edges(scenario) {
        let arrow = match kind {
            Kind::Handoff => "==>",
            Kind::Next => "==>|next|",
            Kind::Ask => "-.->|asks|",
            Kind::Tell => "-->|tells|",
            Kind::Trigger => "-.->",
        };
        out += &format!("  {} {arrow} a{}\n", node(scenario, &from), to.0);
    }
    out
}

/// A graphviz digraph.
pub fn dot(scenario: &Scenario) -> String {
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n", plain(&scenario.name));
    for agent in &scenario.agents {
        let shape = match agent.kind {
            AgentKind::Llm => "ellipse",
            AgentKind::Rules => "box",
            AgentKind::Human => "hexagon",
        };
        let more = if agent.population { " ×n" } else { "" };
        out += &format!("  a{} [label=\"{}{more}\", shape={shape}];\n", agent.ix.0, plain(&agent.name));
    }
    for (n, trigger) in scenario.triggers.iter().enumerate() {
        if matches!(trigger.action, TriggerAction::Tell { .. }) {
            out += &format!("  t{n} [label=\"{}\", shape=circle];\n", plain(&trigger.name));
        }
    }
    for (from, to, kind) in edges(scenario) {
        let style = match kind {
            Kind::Handoff => "style=bold",
            Kind::Next => "style=bold, label=\"next\"",
            Kind::Ask => "style=dashed, label=\"asks\"",
            Kind::Tell => "label=\"tells\"",
            Kind::Trigger => "style=dashed",
        };
        out += &format!("  {} -> a{} [{style}];\n", node(scenario, &from), to.0);
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::scenario::{NoFiles, load};

    #[test]
    fn a_graph_has_every_arrow_once() {
        let source = "name: shop\nagents:\n  a: {kind: llm, instructions: hi, handoffs: [{to: b}], delegates: [c]}\n  \
                      b: {kind: rules, rules: [{otherwise: true, emit: [{tell: c, type: x}, {tell: c, type: y}]}]}\n  c: {kind: rules, rules: []}\n\
                      triggers: [{name: noon, every: P1D, tell: a}]\nclock: {tick: P1D, ticks: 2}\n";
        let loaded = load("s.yaml", source.as_bytes(), &NoFiles).map_err(|d| d[0].to_string()).expect("a scenario");
        let expect = "---\ntitle: shop\n---\nflowchart LR\n  a0([\"a\"])\n  a1[\"b\"]\n  a2[\"c\"]\n  t0((\"noon\"))\n  a0 ==> a1\n  a0 -.->|asks| a2\n  \
                      a1 -->|tells| a2\n  t0 -.-> a0\n";
        assert_eq!(mermaid(&loaded.scenario), expect);
        let dot = dot(&loaded.scenario);
        assert!(dot.contains("a1 -> a2 [label=\"tells\"];") && dot.ends_with("}\n"), "{dot}");
    }
}
