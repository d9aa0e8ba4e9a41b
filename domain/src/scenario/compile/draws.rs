//! Random draws: one distribution each, its parameters numbers within bounds or expressions.

use std::sync::Arc;

use super::agents::Frame;
use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::scenario::document::{AgentDoc, DrawDoc};
use crate::scenario::faults::shorten;
use crate::scenario::node::{Key, Kind, Node, Plain};
use crate::scenario::{Data, Draw};
use crate::value::Value;

impl Compiler<'_> {
    pub(super) fn draws(&mut self, doc: &AgentDoc, frame: &mut Frame) -> Vec<(Arc<str>, Draw)> {
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
            Kind::List(items) => {
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
            if let Kind::List(items) = &node.kind {
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
