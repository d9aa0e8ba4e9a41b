//! What stands around an agent's model: guardrails, approvals, and the stub's script.

use std::sync::Arc;

use super::{Compiler, Want};
use crate::expression::{Env, Root, Type};
use crate::id::{AgentIx, ModelIx};
use crate::scenario::document::{AgentDoc, ApprovalDoc, GuardrailDoc, GuardrailKindDoc, ScriptDoc};
use crate::scenario::faults::{listed, shorten};
use crate::scenario::node::Node;
use crate::scenario::scalars::Text;
use crate::scenario::{Guardrail, GuardrailAt, GuardrailCheck, GuardrailThen, HandoffSpec, Judge, ScriptStep, ToolRef};
use crate::value::Value;

impl Compiler<'_> {
    pub(super) fn guardrail(
        &mut self,
        doc: &GuardrailDoc,
        tools: &[ToolRef],
        env: &Env,
        judge_env: &Env,
        output: &Type,
    ) -> Option<Guardrail> {
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
            GuardrailKindDoc::Llm => GuardrailCheck::Llm(Judge {
                instruction: self.template_node(&doc.check.0, judge_env),
                model: doc.model.as_ref().and_then(|m| self.model(m)).map(ModelIx::from),
                stub: doc.stub.clone().unwrap_or_default(),
            }),
        };
        if !matches!(check, GuardrailCheck::Llm(_)) && (doc.model.is_some() || doc.stub.is_some()) {
            self.faults.error("misplaced", doc.at, "`model` and `stub` belong to a guardrail of `kind: llm`");
        }
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
        self.single(tool, place)?;
        if !tools.contains(&tool) {
            let message = format!("this agent has no tool `{}`, so the guardrail would never be asked", shorten(name));
            self.faults.error("unknown_tool", place.at, message).help("add it to the agent's `tools`");
        }
        Some(if result { GuardrailAt::ToolResult(tool) } else { GuardrailAt::Tool(tool) })
    }

    pub(super) fn approval(&mut self, name: &str, doc: &ApprovalDoc, tools: &[ToolRef], env: &Env) {
        self.unbuilt(doc.at, format!("`approval` of agent `{name}`"));
        if doc.tools.is_empty() {
            self.faults.error("missing_field", doc.at, "an approval names the `tools` it is for");
        }
        let mut input = Type::Dyn;
        for tool in &doc.tools {
            if let Some(found) = self.single_tool(tool) {
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

    pub(super) fn script(
        &mut self,
        doc: &AgentDoc,
        tools: &[ToolRef],
        handoffs: &[HandoffSpec],
        delegates: &[AgentIx],
    ) -> Vec<ScriptStep> {
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
            self.single(tool, name)?;
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
