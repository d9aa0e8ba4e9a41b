//! How many steps an expression may take: one per node, times the sizes of what encloses it.

use super::Root;
use super::ast::Op;
use super::comprehension::{Loop, LoopKind, Narrow};
use super::machine::extent;
use super::program::Node;

/// What a list of unknown length counts as in an estimate.
const UNKNOWN: u64 = 32;

impl Node {
    /// The parts directly below that are evaluated as often as this one: of a comprehension its source and probes.
    fn parts(&self) -> Vec<&Node> {
        match self {
            Node::Const(_) | Node::Root(_) | Node::Field(..) | Node::Local(_) | Node::LocalField(..) | Node::HasField(..) => {
                Vec::new()
            }
            Node::Select(n, ..) | Node::Has(n, ..) | Node::Not(n, _) | Node::Neg(n, _) | Node::Matches(n, ..) => vec![n],
            Node::Index(pair, _) | Node::Binary(_, pair, _) => vec![&pair.0, &pair.1],
            Node::List(items) | Node::And(items, _) | Node::Or(items, _) | Node::Coalesce(items) | Node::Call(_, items, _) => {
                items.iter().collect()
            }
            Node::Map(entries, _) => entries.iter().flat_map(|(k, v)| [k, v]).collect(),
            Node::Cond(parts, _) => parts.iter().collect(),
            Node::Loop(one) => std::iter::once(&one.source).chain(one.probes.iter().map(|p| &p.1)).collect(),
        }
    }

    /// The parts that a comprehension evaluates for each item.
    pub(super) fn repeated(&self) -> Vec<&Node> {
        match self {
            Node::Loop(one) => one.condition.iter().chain(&one.body).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether some part, this one included, is as asked.
    pub(super) fn any(&self, asked: &dyn Fn(&Node) -> bool) -> bool {
        asked(self) || self.parts().into_iter().chain(self.repeated()).any(|n| n.any(asked))
    }

    /// Nodes that are evaluated at most once, whatever the sizes are.
    pub(super) fn cost(&self) -> u64 {
        1 + self.parts().into_iter().map(Node::cost).sum::<u64>()
    }

    /// An upper bound of the steps with collections of the given sizes, and the size of the value.
    pub(super) fn estimate(&self, size_of: &dyn Fn(Root) -> u64) -> (u64, u64) {
        if let Node::Loop(one) = self {
            return one.estimate(size_of);
        }
        let parts: Vec<(u64, u64)> = self.parts().into_iter().map(|n| n.estimate(size_of)).collect();
        let steps = parts.iter().fold(1u64, |all, p| all.saturating_add(p.0));
        let sizes = parts.iter().fold(0u64, |all, p| all.saturating_add(p.1));
        match self {
            Node::Const(value) => (steps, extent(value) as u64),
            Node::Root(root) => (steps, size_of(*root)),
            Node::Call(function, ..) if function.linear => (steps.saturating_add(sizes), sizes),
            Node::Call(function, ..) if function.name == "range" => (steps.saturating_add(UNKNOWN), UNKNOWN),
            Node::Call(function, ..) if matches!(function.name, "where" | "count_by" | "sum_by" | "group") => {
                (steps.saturating_add(sizes), sizes)
            }
            Node::Call(function, ..) if function.name == "lift" => (steps.saturating_add(sizes.saturating_mul(4)), 0),
            Node::Binary(Op::In, pair, _) if !matches!(pair.1, Node::Root(Root::Collection(_))) => {
                (steps.saturating_add(sizes), 0)
            }
            Node::Binary(Op::Add, ..) | Node::Cond(..) | Node::Coalesce(_) => (steps, sizes),
            Node::List(items) => (steps, items.len() as u64),
            Node::Map(entries, _) => (steps, entries.len() as u64),
            Node::Field(..) | Node::Local(_) | Node::LocalField(..) | Node::Select(..) | Node::Index(..) => (steps, UNKNOWN),
            _ => (steps, 0),
        }
    }
}

impl Loop {
    fn estimate(&self, size_of: &dyn Fn(Root) -> u64) -> (u64, u64) {
        let (mut steps, size) = self.source.estimate(size_of);
        for (_, probe) in &self.probes {
            steps = steps.saturating_add(probe.estimate(size_of).0);
        }
        let items = match self.narrow {
            Narrow::Scan => size,
            Narrow::Index => size.isqrt() + 1,
            Narrow::Key => size.min(1),
        };
        let body = self.condition.iter().chain(&self.body).fold(0u64, |all, n| all.saturating_add(n.estimate(size_of).0));
        let made = if matches!(self.kind, LoopKind::Filter | LoopKind::Map | LoopKind::SortBy) { items } else { 0 };
        (steps.saturating_add(items.saturating_mul(body)).saturating_add(1), made)
    }
}
