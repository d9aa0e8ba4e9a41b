//! How a run begins, what happens in it by itself, how it ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::parameters::span_of;
use super::{Compiler, Want};
use crate::id::AgentIx;
use crate::scenario::document::{ScenarioDoc, StartDoc, TriggerDoc};
use crate::scenario::faults::{Place, listed, shorten};
use crate::scenario::scalars::Text;
use crate::scenario::{AgentKind, Start, ToolRef, Trigger, TriggerAction, TriggerOn};

/// Characters of a cron expression.
const MAX_CRON: usize = 120;
/// Characters of a free name.
const MAX_FREE_NAME: usize = 128;

impl Compiler<'_> {
    pub(super) fn starts(&mut self, doc: &ScenarioDoc) -> (Vec<Start>, Vec<AgentIx>, Option<AgentIx>) {
        let starts = match &doc.start {
            Some(starts) => starts.0.iter().filter_map(|s| self.start(s)).collect(),
            None => {
                let first = doc.agents.iter().position(|(_, a)| a.kind.it != AgentKind::Rules);
                first.map(|n| Start { agent: AgentIx::from(n), message: None, input: None }).into_iter().collect()
            }
        };
        let ends = doc.ends.0.iter().filter_map(|name| self.agent(name)).collect();
        let result = doc.result.as_ref().and_then(|name| self.agent(name));
        (starts, ends, result)
    }

    fn start(&mut self, doc: &StartDoc) -> Option<Start> {
        let agent = self.agent(&doc.agent);
        let env = self.run.clone();
        let message = doc.message.as_ref().map(|m| self.template(m, &self.plain_env()));
        let input = doc.input.as_ref().map(|i| self.data(&i.0, &env).0);
        Some(Start { agent: agent?, message, input })
    }

    /// What templates outside of agents may name.
    pub(super) fn plain_env(&self) -> crate::expression::Env {
        let mut env = crate::expression::Env::default();
        for name in ["params", "state", "tick", "now", "seed", "run"] {
            if let Some((root, ty)) = self.run.find(name) {
                env.declare(name, root, ty.clone());
            }
        }
        env
    }

    pub(super) fn triggers(&mut self, doc: &ScenarioDoc) -> Vec<Trigger> {
        let mut seen = BTreeSet::new();
        let mut out = Vec::new();
        for trigger in &doc.triggers {
            self.free_name(&trigger.name, "trigger", &mut seen);
            let on = self.trigger_on(trigger);
            let env = self.run.clone();
            let if_ = trigger.condition.as_ref().map(|c| self.program(&c.0, &env, Want::Bool).0);
            let action = self.trigger_action(trigger);
            if let (Some(on), Some(action)) = (on, action) {
                out.push(Trigger { name: trigger.name.it.clone(), on, if_, action, cooldown: span_of(&trigger.cooldown) });
            }
        }
        out
    }

    /// A name of the author's own making: short, and there once.
    pub(super) fn free_name(&mut self, name: &Text, what: &str, seen: &mut BTreeSet<Arc<str>>) {
        if name.is_broken() {
            return;
        }
        if name.it.chars().count() > MAX_FREE_NAME || name.it.contains('\n') {
            self.faults.error(
                "bad_name",
                name.at,
                format!("the name of a {what} is one line of at most {MAX_FREE_NAME} characters"),
            );
        }
        if !seen.insert(name.it.clone()) {
            self.faults.error("duplicate_name", name.at, format!("there is a {what} named `{}` already", shorten(&name.it)));
        }
    }

    fn trigger_on(&mut self, doc: &TriggerDoc) -> Option<TriggerOn> {
        let written = [
            ("every", doc.every.as_ref().map(|e| e.at)),
            ("cron", doc.cron.as_ref().map(|c| c.at)),
            ("when", doc.when.as_ref().map(|w| w.0.owner())),
            ("after", doc.after.as_ref().map(|a| a.at)),
        ];
        let found: Vec<(&str, Place)> = written.iter().filter_map(|(n, at)| at.map(|at| (*n, at))).collect();
        match found.as_slice() {
            [_] => {}
            [] => {
                let at = if doc.name.at.written() { doc.name.at } else { doc.at };
                let message = format!("trigger `{}` does not say when it fires", shorten(&doc.name.it));
                self.faults.error("wrong_shape", at, message).help(format!("one of {}", listed(written.iter().map(|w| w.0))));
                return None;
            }
            [(first, _), (second, at), ..] => {
                let message =
                    format!("a trigger has one of `every`, `cron`, `when`, `after`; this one has `{first}` and `{second}`");
                self.faults.error("wrong_shape", *at, message).help("make two triggers of it");
                return None;
            }
        }
        if let Some(every) = &doc.every {
            return Some(TriggerOn::Every(every.it));
        }
        if let Some(after) = &doc.after {
            return Some(TriggerOn::After(after.it));
        }
        if let Some(cron) = &doc.cron {
            return self.cron(cron);
        }
        let when = doc.when.as_ref()?;
        let env = self.run.clone();
        Some(TriggerOn::When(self.program(&when.0, &env, Want::Bool).0))
    }

    /// Five fields, UTC. The only home of `cronexpr`.
    fn cron(&mut self, text: &Text) -> Option<TriggerOn> {
        if text.is_broken() {
            return None;
        }
        let shown = shorten(&text.it);
        let fields = text.it.split_whitespace().count();
        let help = "five fields, UTC: minute hour day-of-month month day-of-week, such as `0 9 * * MON-FRI`";
        if fields != 5 || !text.it.is_ascii() || text.it.len() > MAX_CRON {
            let message = format!("the cron expression `{shown}` has {fields} fields; it must have five fields");
            self.faults.error("bad_cron", text.at, message).help(help);
            return None;
        }
        let mut options = cronexpr::ParseOptions::default();
        options.fallback_timezone_option = cronexpr::FallbackTimezoneOption::UTC;
        match cronexpr::parse_crontab_with(&text.it, options) {
            Ok(crontab) => {
                if crontab.find_next("1970-01-01T00:00:00Z").is_err() {
                    self.faults.error(
                        "bad_cron",
                        text.at,
                        format!("the cron expression `{shown}` names a moment that never comes"),
                    );
                    return None;
                }
                Some(TriggerOn::Cron(Arc::new(crontab)))
            }
            Err(e) => {
                let said = e.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches([' ', '^']).to_owned();
                self.faults
                    .error(
                        "bad_cron",
                        text.at,
                        format!("the cron expression `{shown}` is wrong in one of its five fields: {}", shorten(&why)),
                    )
                    .help(help);
                None
            }
        }
    }

    fn trigger_action(&mut self, doc: &TriggerDoc) -> Option<TriggerAction> {
        let misplaced = |c: &mut Self, at: Option<Place>, field: &str, of: &str| {
            if let Some(at) = at {
                c.faults.error("misplaced", at, format!("`{field}` belongs to `{of}`"));
            }
        };
        match (&doc.tell, &doc.call) {
            (Some(tell), None) => {
                misplaced(self, doc.with.as_ref().map(|w| w.0.owner()), "with", "call");
                let to = self.agent(tell);
                let (env, plain) = (self.run.clone(), self.plain_env());
                let message = doc.message.as_ref().map(|m| self.template(m, &plain));
                let input = doc.input.as_ref().map(|i| self.data(&i.0, &env).0);
                Some(TriggerAction::Tell { to: to?, message, input })
            }
            (None, Some(call)) => {
                misplaced(self, doc.message.as_ref().map(|m| m.0.owner()), "message", "tell");
                misplaced(self, doc.input.as_ref().map(|i| i.0.owner()), "input", "tell");
                let tool = self.tool(call);
                if let Some(tool) = tool {
                    self.stays_inside(tool, "a trigger", call.at);
                }
                let env = self.run.clone();
                let with = doc.with.as_ref().map(|w| match tool {
                    Some(ToolRef::Put(collection)) => self.record_value(collection.at(), &w.0, &env, true),
                    _ => {
                        let (data, ty) = self.data(&w.0, &env);
                        if let Some(tool) = tool {
                            self.input_fits(tool, &w.0, &ty);
                        }
                        data
                    }
                });
                Some(TriggerAction::Call { tool: tool?, with })
            }
            (Some(_), Some(call)) => {
                self.faults
                    .error("wrong_shape", call.at, "a trigger has `tell` or `call`, not both")
                    .help("make two triggers of it");
                None
            }
            (None, None) => {
                let at = if doc.name.at.written() { doc.name.at } else { doc.at };
                let message = format!("trigger `{}` does not say what it does", shorten(&doc.name.it));
                self.faults.error("wrong_shape", at, message).help("add `tell: agent` or `call: tool`");
                None
            }
        }
    }
}
