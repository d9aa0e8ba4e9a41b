//! Macros: their forms, their variables, and which of their conditions an index or a key can answer.

use std::sync::Arc;

use super::{Checker, Typed};
use crate::expression::Type;
use crate::expression::ast::{Expr, Op, Word};
use crate::expression::comprehension::{Loop, LoopKind, Narrow};
use crate::expression::lexer::At;
use crate::expression::program::Node;
use crate::value::{Key, Value};

/// The comprehension a name stands for.
pub(super) fn kind_of(name: &str) -> Option<LoopKind> {
    Some(match name {
        "all" => LoopKind::All,
        "exists" => LoopKind::Exists,
        "exists_one" => LoopKind::ExistsOne,
        "filter" => LoopKind::Filter,
        "map" => LoopKind::Map,
        "sort_by" => LoopKind::SortBy,
        _ => return None,
    })
}

impl Checker<'_> {
    pub(super) fn comprehension(&mut self, kind: LoopKind, source: &Expr, name: &Word, args: &[Expr], at: At) -> Typed {
        let items = self.expr(source);
        let forms = if kind == LoopKind::Map { 2..=3 } else { 2..=2 };
        if !forms.contains(&args.len()) {
            let form = if kind == LoopKind::Map { "x, value" } else { "x, condition" };
            let help = Some(format!("write `{}.{}({form})`", self.text(source), name.text));
            let counted = if kind == LoopKind::Map { "2 or 3" } else { "2" };
            self.fault("cel_arity", format!("`{}` takes {counted} arguments, not {}", name.text, args.len()), help, name.at);
            return Typed::unknown();
        }
        let Some(variable) = args[0].as_name() else {
            let help = Some(format!("write `{}.{}(x, …x…)`", self.text(source), name.text));
            self.fault("cel_syntax", format!("the first argument of `{}` is a name for the item", name.text), help, args[0].at);
            return Typed::unknown();
        };
        let item = items.ty.item().unwrap_or_else(|| {
            let what = format!("`{}` goes through a list, a map or a collection, not {}", name.text, items.ty.name());
            self.fault("cel_type", what, None, source.at);
            Type::Dyn
        });
        let slot = u16::try_from(self.locals.len()).unwrap_or(u16::MAX);
        self.locals.push((variable.clone(), item.clone()));
        let (condition, body) = self.parts(kind, name, args);
        self.locals.pop();
        let ty = match (kind, &body) {
            (LoopKind::Filter | LoopKind::SortBy, _) => item.listed(),
            (LoopKind::Map, Some(body)) => body.ty.clone().listed(),
            _ => Type::Bool,
        };
        let built = self.build(kind, items, condition, body.map(|b| b.node), slot, at);
        Typed::new(Node::Loop(Box::new(built)), ty)
    }

    fn parts(&mut self, kind: LoopKind, name: &Word, args: &[Expr]) -> (Option<Node>, Option<Typed>) {
        let of = format!("the condition of `{}`", name.text);
        match (kind, args) {
            (LoopKind::Map, [_, condition, body]) => (Some(self.condition(condition, &of)), Some(self.expr(body))),
            (LoopKind::Map | LoopKind::SortBy, [_, body, ..]) => (None, Some(self.expr(body))),
            (_, [_, condition, ..]) => (Some(self.condition(condition, &of)), None),
            _ => (None, None),
        }
    }

    fn build(&mut self, kind: LoopKind, items: Typed, condition: Option<Node>, body: Option<Node>, slot: u16, at: At) -> Loop {
        let mut probes = Vec::new();
        let mut pure = false;
        if let Some(condition) = &condition
            && kind != LoopKind::All
        {
            collect(condition, slot, &mut probes);
            pure = matches!(condition, Node::Binary(..)) && probes.len() == 1;
        }
        let narrow = self.narrow(&items.ty, &probes);
        let cost = condition.iter().chain(&body).map(Node::cost).sum::<u64>().max(1);
        Loop { kind, source: items.node, condition, body, slot, probes: probes.into(), pure, narrow, cost, at }
    }

    /// What the declared key and indexes make of the probes; a scan for want of an index is noted.
    fn narrow(&mut self, ty: &Type, probes: &[(Key, Node)]) -> Narrow {
        let (Type::Collection(c), Some((Key::Text(first), _))) = (ty, probes.first()) else { return Narrow::Scan };
        let asked = |field: &Arc<str>| probes.iter().any(|p| matches!(&p.0, Key::Text(t) if t == field));
        if !c.key.is_empty() && c.key.iter().all(asked) {
            Narrow::Key
        } else if c.index.iter().any(asked) || c.key.first().is_some_and(asked) {
            Narrow::Index
        } else {
            let scan = (c.name.clone(), first.clone());
            if !self.scans.contains(&scan) {
                self.scans.push(scan);
            }
            Narrow::Scan
        }
    }
}

/// Parts `item.field == value` of a conjunction, where the value is free of the item and of new ids.
fn collect(condition: &Node, slot: u16, probes: &mut Vec<(Key, Node)>) {
    match condition {
        Node::And(parts, _) => parts.iter().for_each(|p| collect(p, slot, probes)),
        Node::Binary(Op::Eq, pair, _) => {
            let probe = match &**pair {
                (Node::LocalField(s, key, _), value) if *s == slot && free(value, slot) => Some((key, value)),
                (value, Node::LocalField(s, key, _)) if *s == slot && free(value, slot) => Some((key, value)),
                _ => None,
            };
            if let Some((key, value)) = probe {
                probes.push((key.clone(), value.clone()));
            }
        }
        _ => {}
    }
}

fn free(value: &Node, slot: u16) -> bool {
    !value.any(&|n| match n {
        Node::Local(s) | Node::LocalField(s, ..) => *s == slot,
        Node::Call(function, ..) => function.name == "uuid",
        Node::Const(value) => matches!(value, Value::Collection(_)),
        _ => false,
    })
}
