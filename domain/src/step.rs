//! The machine of a step that leaves the process. Steps that stay inside have no stage, and cost nothing here.
//!
//! ```text
//! planned ──dispatch──▶ dispatched(n) ──outcome──▶ recorded: no stage any more
//! dispatched(n), nobody at it ──read, idempotent: dispatch──▶ dispatched(n + 1), with the same key
//!                             └─effect: lost──▶ unknown(n) ──check, operator: succeeded, failed──▶ recorded
//!                                                          └─not performed──▶ again(n) ──dispatch──▶ dispatched(n + 1)
//! ```

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::ToolIx;
use crate::message::StepId;
use crate::scenario::EffectClass;
use crate::tool::http::KEY_FIELD;
use crate::value::Value;

/// Where a step stands that has left the process; one without a stage is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It was sent, or is about to be: the intent is durable.
    Dispatched {
        /// How often.
        attempt: u32,
    },
    /// Nobody knows what became of it.
    Unknown {
        /// How often it was dispatched.
        attempt: u32,
        /// Why not.
        reason: Arc<str>,
        /// Whether its `check` tool was asked and could not tell.
        checked: bool,
    },
    /// It is known that it did not happen: it may be dispatched again.
    Again {
        /// How often it was dispatched.
        attempt: u32,
    },
}

/// What is owed to a step that nobody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To make its intent durable, and then to call.
    Dispatch,
    /// To say that its fate is unknown.
    Lost,
    /// To ask this tool what became of it.
    Check(ToolIx),
}

impl Stage {
    /// How often it was dispatched.
    pub fn attempt(&self) -> u32 {
        match self {
            Stage::Dispatched { attempt } | Stage::Unknown { attempt, .. } | Stage::Again { attempt } => *attempt,
        }
    }

    /// Whether nobody knows what became of it.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Stage::Unknown { .. })
    }
}

/// What is owed to a step of a tool of a class, and of one that can tell what became of a call; `None`: an operator's word.
pub fn next(stage: Option<&Stage>, class: EffectClass, check: Option<ToolIx>) -> Option<Next> {
    match (stage, class) {
        (None | Some(Stage::Again { .. }), _) => Some(Next::Dispatch),
        (Some(Stage::Dispatched { .. }), EffectClass::Read | EffectClass::Idempotent) => Some(Next::Dispatch),
        (Some(Stage::Dispatched { .. }), EffectClass::Effect) => Some(Next::Lost),
        (Some(Stage::Unknown { checked: false, .. }), _) => check.map(Next::Check),
        (Some(Stage::Unknown { checked: true, .. }), _) => None,
    }
}

/// What somebody who knows says of a step whose fate was unknown.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It happened, and gave this.
    Succeeded(Value),
    /// It happened and failed, or was refused.
    Failed(Arc<str>),
    /// It did not happen: it is to be performed again, with the same key.
    Retry,
}

impl Resolution {
    /// What a `check` tool's answer says, by its `outcome`: `succeeded` with `result`, `failed` with `error`,
    /// `not_performed`. Anything else decides nothing, and the words say why.
    pub fn of_check(answer: &Value) -> Result<Resolution, String> {
        match answer.get("outcome").and_then(Value::as_str) {
            Some("succeeded") => Ok(Resolution::Succeeded(answer.get("result").cloned().unwrap_or(Value::Null))),
            Some("failed") => {
                Ok(Resolution::Failed(answer.get("error").and_then(Value::as_str).unwrap_or("it failed, says its check").into()))
            }
            Some("not_performed") => Ok(Resolution::Retry),
            Some("unknown") => Err("its check does not know either".into()),
            _ => Err("its check gave no `outcome` of `succeeded`, `failed`, `not_performed` or `unknown`".into()),
        }
    }
}

/// The key of a step's calls: the same at each attempt, another one in any other run.
pub fn idempotency_key(run: &str, step: StepId) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("commedia 2026 idempotency key v1");
    hasher.update(run.as_bytes()).update(&[0]);
    hasher.update(&step.turn.wave.to_le_bytes()).update(&step.turn.index.to_le_bytes()).update(&step.n.to_le_bytes());
    hasher.finalize().as_bytes()[..16].iter().map(|b| format!("{b:02x}")).collect()
}

/// What a `check` tool is given: the input of the step, and its key.
pub fn check_input(input: &Value, key: &str) -> Value {
    let with_key = [(Arc::from(KEY_FIELD), Value::text(key))];
    match input {
        Value::Map(fields) => {
            let named = fields.iter().map(|(name, value)| (Arc::from(name.to_string()), value.clone()));
            Value::object(named.chain(with_key))
        }
        other => Value::object([(Arc::from("input"), other.clone())].into_iter().chain(with_key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TurnId;
    use crate::scenario::{NoFiles, load};

    const TOOLS: &str = r#"
name: tools
tools:
  read: {kind: http, url: "https://example.org", effect: read}
  same: {kind: http, url: "https://example.org", effect: idempotent}
  pay: {kind: http, url: "https://example.org"}
  paid: {kind: http, url: "https://example.org", check: read}
agents: {a: {kind: llm, tools: [read, same, pay, paid]}}
"#;

    #[test]
    fn what_is_owed_follows_from_stage_and_class() {
        let loaded = load("tools.scenario.yaml", TOOLS.as_bytes(), &NoFiles).unwrap_or_else(|faults| panic!("{faults:?}"));
        let tools = loaded.scenario.tools;
        let unknown = |checked| Stage::Unknown { attempt: 1, reason: "".into(), checked };
        let read = Next::Check(ToolIx(0));
        let rows = [
            (None, [Some(Next::Dispatch); 4]),
            (Some(Stage::Again { attempt: 1 }), [Some(Next::Dispatch); 4]),
            (
                Some(Stage::Dispatched { attempt: 1 }),
                [Some(Next::Dispatch), Some(Next::Dispatch), Some(Next::Lost), Some(Next::Lost)],
            ),
            (Some(unknown(false)), [None, None, None, Some(read)]),
            (Some(unknown(true)), [None; 4]),
        ];
        for (stage, expect) in rows {
            let found: Vec<Option<Next>> =
                tools.iter().map(|t| next(stage.as_ref(), t.class, t.http().and_then(|http| http.check))).collect();
            assert_eq!(found, expect, "{stage:?}");
        }
    }

    #[test]
    fn a_key_is_frozen_and_no_other_steps() {
        let step = |wave, index, n| StepId { turn: TurnId { wave, index }, n };
        assert_eq!(idempotency_key("r_1", step(1, 2, 3)), FROZEN);
        let mut all: Vec<String> = vec![idempotency_key("r_2", step(1, 2, 3)), idempotency_key("r_", step(1, 2, 3))];
        for (wave, index, n) in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 2, 3), (0, 0, 0)] {
            all.push(idempotency_key("r_1", step(wave, index, n)));
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    const FROZEN: &str = "338e3bcfa193f9b571de565c3ee55c10";

    #[test]
    fn a_check_says_what_became_of_a_call() {
        let check = |json: &str, expect: Result<Resolution, &str>| {
            let found = Resolution::of_check(&Value::from_json_text(json).expect("JSON"));
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{json}"),
                (Err(found), Err(words)) => assert!(found.contains(words), "{json}: {found}"),
                (found, _) => panic!("{json}: {found:?}"),
            }
        };
        check(
            r#"{"outcome": "succeeded", "result": {"id": 7}}"#,
            Ok(Resolution::Succeeded(Value::object([("id", Value::Int(7))]))),
        );
        check(r#"{"outcome": "succeeded"}"#, Ok(Resolution::Succeeded(Value::Null)));
        check(r#"{"outcome": "failed", "error": "no funds"}"#, Ok(Resolution::Failed("no funds".into())));
        check(r#"{"outcome": "not_performed"}"#, Ok(Resolution::Retry));
        check(r#"{"outcome": "unknown"}"#, Err("does not know"));
        for other in ["{}", "[]", r#""succeeded""#, r#"{"outcome": true}"#, r#"{"outcome": "done"}"#] {
            check(other, Err("no `outcome`"));
        }
    }

    #[test]
    fn a_check_is_given_the_input_and_the_key() {
        let order = Value::object([("order", Value::Int(7))]);
        assert_eq!(check_input(&order, "k"), Value::object([("order", Value::Int(7)), ("idempotency_key", Value::text("k"))]));
        assert_eq!(
            check_input(&Value::Int(1), "k"),
            Value::object([("input", Value::Int(1)), ("idempotency_key", Value::text("k"))])
        );
    }
}
