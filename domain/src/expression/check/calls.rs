//! Calls: which function, with how many arguments, of which kinds.

use super::loops::kind_of;
use super::{Checker, Typed};
use crate::expression::ast::{Expr, Word};
use crate::expression::comprehension::LoopKind;
use crate::expression::functions::{self, FUNCTIONS, FunctionDoc, MACROS};
use crate::expression::lexer::At;
use crate::expression::program::Node;
use crate::expression::types::{COLL, ITEMS, Kinds, LIST, NUM, TEXT, kinds_text};
use crate::expression::{Type, suggest};
use crate::value::{Key, Value};

impl Checker<'_> {
    pub(super) fn call(&mut self, target: Option<&Expr>, name: &Word, args: &[Expr], at: At) -> Typed {
        match (target, &*name.text) {
            (None, "has") => return self.has(args, at),
            (Some(source), word) if let Some(kind) = kind_of(word) => return self.comprehension(kind, source, name, args, at),
            _ => {}
        }
        let Some(function) = functions::find(&name.text) else {
            self.unknown_function(target, name);
            for arg in target.into_iter().chain(args) {
                self.expr(arg);
            }
            return Typed::unknown();
        };
        let exprs: Vec<&Expr> = target.into_iter().chain(args).collect();
        let typed: Vec<Typed> = if function.name == "coalesce" {
            let before = self.faults.len();
            let typed = exprs.iter().map(|e| self.expr(e)).collect();
            let added = self.faults.split_off(before);
            self.faults.extend(added.into_iter().filter(|f| !f.warning));
            typed
        } else {
            exprs.iter().map(|e| self.expr(e)).collect()
        };
        if target.is_some() && !function.method {
            let help = Some(format!("write `{}`", form(function.signature)));
            self.fault("cel_unknown_function", format!("`{}` is not called on a value", function.name), help, name.at);
        }
        if typed.len() < function.least || typed.len() > function.most {
            self.arity(function, typed.len(), name.at);
            return Typed::unknown();
        }
        let faults = self.faults.iter().filter(|f| !f.warning).count();
        for (place, (arg, expr)) in typed.iter().zip(&exprs).enumerate() {
            let alone = typed.len() == 1 && matches!(function.name, "min" | "max");
            let wanted = if alone { LIST } else { function.kinds(place) };
            self.argument(function, (place, wanted), arg, expr);
        }
        self.field_names(function, &typed, &exprs);
        let sound = faults == self.faults.iter().filter(|f| !f.warning).count();
        let types: Vec<Type> = typed.iter().map(|t| t.ty.clone()).collect();
        let ty = (function.returns)(&types);
        if !sound {
            return Typed::faulty(ty);
        }
        let nodes = typed.into_iter().map(|t| t.node).collect();
        Typed::new(self.lower(function, nodes, &exprs, at), ty)
    }

    fn unknown_function(&mut self, target: Option<&Expr>, name: &Word) {
        let help = if let Some(one) = MACROS.iter().find(|m| *m.name == *name.text) {
            Some(format!("write `{}`", form(one.signature)))
        } else {
            let known = FUNCTIONS.iter().map(|f| f.name).chain(MACROS.iter().map(|m| m.name));
            let near = suggest(&name.text, known).map(|near| format!("did you mean `{near}`?"));
            near.or_else(|| familiar(&name.text).map(str::to_owned))
        };
        let what = if target.is_some() { "method" } else { "function" };
        self.fault("cel_unknown_function", format!("unknown {what} `{}`", name.text), help, name.at);
    }

    fn arity(&mut self, function: &FunctionDoc, given: usize, at: At) {
        let (least, most) = (function.least, function.most);
        let wanted = if least == most {
            least.to_string()
        } else if most == least + 1 {
            format!("{least} or {most}")
        } else {
            format!("{least} to {most}")
        };
        let word = if wanted == "1" { "argument" } else { "arguments" };
        let help = Some(format!("write `{}`", form(function.signature)));
        self.fault("cel_arity", format!("`{}` takes {wanted} {word}, not {given}", function.name), help, at);
    }

    fn argument(&mut self, function: &FunctionDoc, (place, wanted): (usize, Kinds), arg: &Typed, expr: &Expr) {
        let given = arg.ty.kinds();
        if wanted & given == 0 {
            let text = self.text(expr);
            let help = match (wanted, given) {
                (LIST, COLL) => Some(format!("`{text}` holds records; take a field of each: `{text}.map(r, r.…)`")),
                (TEXT, _) if given & NUM == given => Some(format!("`string({text})` makes text of it")),
                _ if wanted & NUM == wanted && given == TEXT => Some(format!("`double({text})` makes a number of it")),
                _ => Some(format!("write `{}`", form(function.signature))),
            };
            let what = format!("`{}` takes {}, not {}", function.name, kinds_text(wanted), arg.ty.name());
            self.fault("cel_type", what, help, expr.at);
            return;
        }
        if place == 0
            && function.numbers
            && let Type::List(item) = &arg.ty
            && item.kinds() & NUM == 0
        {
            let text = self.text(expr);
            let help = match &**item {
                Type::Object(_) => Some(format!("take a field of each: `{text}.map(r, r.…)`")),
                _ => None,
            };
            self.fault("cel_type", format!("`{}` takes a list of numbers, not of {}", function.name, item.name()), help, expr.at);
        }
    }

    /// Checks texts that name fields of the records gone through.
    fn field_names(&mut self, function: &FunctionDoc, typed: &[Typed], exprs: &[&Expr]) {
        let names_fields = !function.fields.is_empty() || function.name == "where";
        if !names_fields || typed[0].ty.kinds() & ITEMS == 0 {
            return;
        }
        let Some(Type::Object(record)) = typed[0].ty.item().filter(|_| !matches!(typed[0].ty, Type::Dyn)) else { return };
        let of = self.text(exprs[0]);
        let unknown = |name: &str| !record.open && !record.fields.iter().any(|f| &*f.0 == name);
        for place in function.fields {
            let (Some(arg), Some(expr)) = (typed.get(*place), exprs.get(*place)) else { continue };
            if let Some(Value::Text(name)) = arg.node.constant()
                && unknown(name)
            {
                self.unknown_field(&record, &of, &Word { text: name.clone(), at: expr.at });
            }
        }
        if function.name == "lift" && unknown("type") {
            self.unknown_field(&record, &of, &Word { text: "type".into(), at: exprs[0].at });
        }
        if function.name == "where" {
            let names: Vec<Key> = match &typed[1].node {
                Node::Const(Value::Map(map)) => map.keys().cloned().collect(),
                Node::Map(entries, _) => entries.iter().filter_map(|e| e.0.constant()?.as_key()).collect(),
                _ => Vec::new(),
            };
            for name in names {
                if let Key::Text(text) = name
                    && unknown(&text)
                {
                    self.unknown_field(&record, &of, &Word { text, at: exprs[1].at });
                }
            }
        }
    }

    /// The node of a sound call, simplified where it can be.
    fn lower(&mut self, function: &'static FunctionDoc, mut nodes: Vec<Node>, exprs: &[&Expr], at: At) -> Node {
        match function.name {
            "coalesce" => return Node::Coalesce(nodes.into()),
            "size" => {
                if let [Node::Loop(one)] = nodes.as_mut_slice()
                    && one.kind == LoopKind::Filter
                {
                    one.kind = LoopKind::Count;
                    return nodes.remove(0);
                }
            }
            "matches" => {
                if let Some(Value::Text(text)) = nodes.get(1).and_then(Node::constant) {
                    match functions::pattern(text) {
                        Ok(pattern) if nodes[0].constant().is_none() => {
                            return Node::Matches(Box::new(nodes.remove(0)), pattern.into(), at);
                        }
                        Ok(_) => {}
                        Err(why) => {
                            self.fault("cel_type", why, None, exprs[1].at);
                            return Typed::unknown().node;
                        }
                    }
                }
            }
            _ => {}
        }
        let constant = function.name != "uuid" && !nodes.is_empty() && nodes.iter().all(|n| n.constant().is_some());
        let node = Node::Call(function, nodes.into(), at);
        if constant { self.fold(node, at) } else { node }
    }
}

/// How a function is called, without what comes back.
fn form(signature: &str) -> &str {
    signature.split(" -> ").next().unwrap_or(signature)
}

/// What a function known from other languages is called here.
fn familiar(name: &str) -> Option<&'static str> {
    Some(match name {
        "len" | "length" | "count" => "write `size(x)`, or `size(x.filter(y, …))`",
        "avg" | "average" => "write `mean(list)`",
        "any" => "write `items.exists(x, condition)`",
        "every" => "write `items.all(x, condition)`",
        "find" => "write `first(items.filter(x, condition))`",
        "reduce" | "fold" => "write `sum`, `min`, `max` or `join` of `items.map(x, …)`",
        "str" | "toString" | "to_string" => "write `string(x)`",
        "float" | "number" => "write `double(x)`",
        "uint" | "integer" | "trunc" => "write `int(x)`",
        "std" | "sd" | "stddev" => "write `stdev(list)`",
        "lower" | "toLowerCase" => "write `text.lowerAscii()`",
        "upper" | "toUpperCase" => "write `text.upperAscii()`",
        "rand" | "random" | "uniform" | "normal" | "bernoulli" => "chance is declared under `draws` and read as `draws.name`",
        "if" => "write `condition ? this : that`",
        "ln" => "write `log(x)`",
        "append" | "push" | "concat" => "write `list + [item]`",
        "percentile" => "write `quantile(list, 0.95)`",
        "timestamp_now" | "today" => "run time is the name `now`",
        "getFullYear" => "write `year(x)`",
        "getMonth" => "write `month(x)`, from 1",
        "getDayOfWeek" => "write `weekday(x)`",
        "getDayOfMonth" | "getDate" => "write `day(x)`",
        "getHours" => "write `hour(x)`",
        _ => return None,
    })
}
