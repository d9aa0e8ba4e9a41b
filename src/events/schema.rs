//! The JSON Schema of events, from one table of their types. `tests/cli/store.rs` holds what is told against it.

use serde_json::{Map, Value as Json, json};

/// Name, lane (`c` canonical, `o` operational, `x` expanded on reading), meaning, fields of `data`.
const TYPES: &[(&str, char, &str, &[&str])] = &[
    (
        "run.created",
        'c',
        "The run exists",
        &["scenario", "scenario_hash", "seed", "parameters", "start", "ticks", "replicas", "models"],
    ),
    ("run.started", 'c', "Planning begins: the start messages are in their mailboxes", &["messages"]),
    ("turn.started", 'x', "An agent, or several of a population, took up a message", &["served", "answered_by"]),
    ("model.answered", 'x', "A model's answer; `answered_by` says who really gave it", &["answered_by", "text", "calls"]),
    ("tool.answered", 'x', "A tool's result", &["call_id", "tool", "content"]),
    ("record.put", 'x', "A record is there (again)", &["collection", "key", "record"]),
    ("record.deleted", 'x', "A record is gone", &["collection", "key"]),
    ("state.set", 'x', "A variable of the world (`state`) or of the agent (`self`) has a value", &["scope", "name", "value"]),
    ("wake.set", 'x', "The agent gets no ticks before a tick or a moment", &["tick", "at"]),
    ("message.sent", 'x', "A message to an agent", &["to", "type", "text", "data", "deliver_at"]),
    ("handoff.made", 'x', "The floor passed on", &["to", "carry", "text", "data"]),
    (
        "turn.completed",
        'c',
        "A turn is over, or as many of one population as were served together",
        &["served", "acted", "answered_by", "outcome", "output", "says", "metrics", "refused", "usage"],
    ),
    ("message.passed", 'c', "A message that its receivers do not handle now: there is no turn", &["passed", "replicas"]),
    ("turn.failed", 'c', "A turn ended without a result", &["class", "message"]),
    ("delegate.asked", 'c', "A turn waits for others' answers", &["asks"]),
    ("delegate.returned", 'c', "An answer came back to a waiting turn", &["call_id", "resumes", "output"]),
    ("guardrail.tripped", 'c', "A guardrail was not met", &["guardrail", "where", "then"]),
    ("input.received", 'c', "A person's words reached the run", &["text", "data"]),
    (
        "trigger.fired",
        'c',
        "A trigger fired",
        &["trigger", "tick", "action", "to", "text", "data", "writes", "sent", "result", "message"],
    ),
    ("tick.advanced", 'c', "Time went on by a tick", &["tick"]),
    ("metric.sampled", 'c', "Metrics were read", &["tick", "values"]),
    (
        "conversation.summarised",
        'c',
        "A conversation was summarised, for a handoff or because it was long",
        &["summary", "replaced"],
    ),
    ("run.completed", 'c', "The run did what it should", ENDED),
    ("run.failed", 'c', "The run could not go on", ENDED),
    ("run.timed_out", 'c', "Its time was up", ENDED),
    ("run.over_budget", 'c', "A limit was reached", ENDED),
    ("run.cancelled", 'c', "Somebody cancelled it", ENDED),
    ("run.queued", 'o', "It waits for capacity", &[]),
    ("run.paused", 'o', "It stands still", &["reason"]),
    ("run.resumed", 'o', "It goes on", &[]),
    ("step.planned", 'o', "A step was planned", &["call", "call_id", "tool", "input", "guardrail"]),
    (
        "step.recorded",
        'o',
        "A step's outcome is durable",
        &["outcome", "text", "calls", "answered_by", "usage", "value", "writes", "sent", "class", "message", "then"],
    ),
    ("agent.failed", 'o', "An agent crashed", &["reason"]),
    ("agent.restarted", 'o', "It was started again", &["restarts"]),
    ("agent.quarantined", 'o', "It takes no more messages", &["reason"]),
    ("timer.fired", 'o', "Time went on to a delayed message", &["at"]),
    ("turn.degraded", 'o', "A turn fell back from a configured model", &["reason"]),
    ("budget.reserved", 'o', "So much of the budgets is held for a step that is about to ask a model", &["tokens", "micro_usd"]),
    ("budget.settled", 'o', "What a step took of the budgets", &["tokens", "micro_usd", "lost"]),
    ("budget.refused", 'o', "A budget has no room for a step", &["tokens", "micro_usd", "reason"]),
    ("budget.granted", 'o', "What the workspace gave the run of its budget of a day", &["tokens", "micro_usd", "day"]),
];

const ENDED: &[&str] = &["result", "metrics", "checks", "cause"];

/// The JSON Schema of one event, as `tail --output jsonl` prints it.
pub fn json_schema() -> Json {
    let kinds: Vec<Json> = TYPES
        .iter()
        .map(|(name, lane, about, fields)| {
            let properties: Map<String, Json> = fields.iter().map(|f| ((*f).to_owned(), json!(true))).collect();
            let lane = if *lane == 'o' { "operational" } else { "canonical" };
            json!({
                "description": about,
                "properties": {
                    "type": {"const": name},
                    "lane": {"const": lane},
                    "data": {"type": "object", "additionalProperties": false, "properties": properties},
                },
            })
        })
        .collect();
    let moment = |about: &str| json!({"type": ["string", "null"], "format": "date-time", "description": about});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/schema/event/v1.json",
        "title": "an event of a run",
        "type": "object",
        "required": ["seq", "lane", "type", "run_id", "at", "time", "cause", "data"],
        "properties": {
            "seq": {"type": "integer", "minimum": 1, "description": "The stored event's position"},
            "part": {"type": "integer", "minimum": 0, "description": "The place among events expanded from one stored event"},
            "lane": {"enum": ["canonical", "operational"]},
            "type": {"type": "string"},
            "run_id": {"type": "string"},
            "at": moment("Run time"),
            "time": moment("Wall time of the append"),
            "agent": {"type": "string", "description": "name, or name/n for one of a population"},
            "turn": {"type": "string"},
            "step": {"type": "string"},
            "cause": {
                "type": "object",
                "properties": {"kind": {"type": "string"}, "principal": {"type": "string"}},
                "description": "The command that led to it",
            },
            "data": {"type": "object"},
        },
        "oneOf": kinds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_there_once_and_expanded_ones_are_canonical() {
        let mut names: Vec<&str> = TYPES.iter().map(|t| t.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TYPES.len());
        let schema = json_schema();
        let lane = |name: &str| {
            let kinds = schema["oneOf"].as_array().expect("types");
            let kind = kinds.iter().find(|k| k["properties"]["type"]["const"] == name).expect("listed");
            kind["properties"]["lane"]["const"].as_str().expect("a lane").to_owned()
        };
        for (name, expect) in [("handoff.made", "canonical"), ("step.planned", "operational"), ("run.created", "canonical")] {
            assert_eq!(lane(name), expect, "{name}");
        }
    }
}
