//! What each stored event says: `data` for programs, a few words for people.

use std::sync::Arc;

use commedia_domain::event::{
    Amount, Ask, Created, Discovered, Ended, Event, Fired, FiredAction, ModelBinding, Offered, Outcome, Recorded, Reply, Sample,
    Sent, StepOutcome, Then, Usage, WakeAt, Work, Write, tool_name,
};
use commedia_domain::message::Call;
use commedia_domain::scenario::{Carry, Scenario, ToolRef};
use commedia_domain::value::timestamp_text;
use serde_json::{Map, Value as Json, json};

use super::{agent_name, body_json, seat_name, shown};
use crate::storm;

/// Data and words of an event.
pub(super) fn of(scenario: &Scenario, event: &Event) -> (Json, String) {
    match event {
        Event::RunCreated(created) => (created_json(scenario, created), format!("{} · seed {}", created.scenario, created.seed)),
        Event::RunStarted { messages } => started(scenario, messages),
        Event::TurnCompleted(completed) => super::expand::completed(scenario, completed),
        Event::TurnFailed { failure, .. } => {
            (json!({"class": failure.class.word(), "message": &*failure.message}), failure.message.to_string())
        }
        Event::DelegateAsked { asks, .. } => {
            let to: Vec<String> = asks.iter().map(|a| agent_name(scenario, a.to)).collect();
            (json!({"asks": asks_json(scenario, asks)}), format!("asks {}", to.join(", ")))
        }
        Event::DelegateReturned { resumes, call_id, output, .. } => {
            let output = body_json(output);
            let text = shown(&output);
            (json!({"call_id": &**call_id, "resumes": resumes.to_string(), "output": output}), text)
        }
        Event::GuardrailTripped { trip, .. } => {
            let data = json!({"guardrail": trip.guardrail, "where": &*trip.at, "then": &*trip.then});
            (data, format!("at {}: {}", trip.at, trip.then))
        }
        Event::InputReceived { text, data, .. } => {
            (json!({"text": body_json(text), "data": body_json(data)}), shown(&body_json(text)))
        }
        Event::TriggerFired(fired) => fired_data(scenario, fired),
        Event::TickAdvanced { tick, .. } => (json!({"tick": tick}), format!("tick {tick}")),
        Event::MessagePassed { passed, .. } => {
            let count: u32 = passed.iter().map(|(_, n)| n).sum();
            (json!({"passed": count, "replicas": passed}), format!("{count} passed it by"))
        }
        Event::MetricSampled { tick, values } => {
            let values = samples(scenario, values);
            let text = shown(&values);
            (json!({"tick": tick, "values": values}), text)
        }
        Event::HistorySummarised { replaced, summary, .. } => {
            (json!({"summary": body_json(summary), "replaced": replaced}), shown(&body_json(summary)))
        }
        Event::ConversationSummarised { summary, .. } => (json!({"summary": body_json(summary)}), shown(&body_json(summary))),
        Event::RunCompleted(e)
        | Event::RunFailed(e)
        | Event::RunTimedOut(e)
        | Event::RunOverBudget(e)
        | Event::RunCancelled(e) => ended(scenario, e),
        operational => operation(scenario, operational),
    }
}

fn operation(scenario: &Scenario, event: &Event) -> (Json, String) {
    match event {
        Event::RunPaused { reason } | Event::RunQuarantined { reason } => (json!({"reason": &**reason}), reason.to_string()),
        Event::StepPlanned { work, .. } => work_data(scenario, work),
        Event::StepRecorded(recorded) => recorded_data(scenario, recorded),
        Event::AgentFailed { reason, .. } | Event::AgentQuarantined { reason, .. } | Event::TurnDegraded { reason, .. } => {
            (json!({"reason": &**reason}), reason.to_string())
        }
        Event::AgentCrashed(crash) => {
            let until = crash.until.map(timestamp_text);
            let text = match &until {
                Some(until) => format!("{}; again at {until}", crash.reason),
                None => format!("{}; once too often", crash.reason),
            };
            (json!({"reason": &*crash.reason, "at": timestamp_text(crash.wall), "again_at": until}), text)
        }
        Event::RunLabelled { labels } => {
            let words: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (json!({"labels": labels_json(labels)}), words.join(", "))
        }
        Event::FaultsSet { faults } => {
            let faults: Vec<String> = faults.iter().map(|fault| storm::words(scenario, fault)).collect();
            (json!({"faults": faults}), faults.join("; "))
        }
        Event::FaultInjected(injected) => {
            let text = format!("fault {}, {}", injected.fault + 1, injected.kind.word());
            (json!({"fault": injected.fault, "kind": injected.kind.word(), "attempt": injected.attempt}), text)
        }
        Event::AgentRestarted { restarts, .. } => (json!({"restarts": restarts}), format!("restart {restarts}")),
        Event::StepDispatched { attempt, .. } => (json!({"attempt": attempt}), format!("attempt {attempt}")),
        Event::StepUnknown { attempt, reason, checked, .. } => {
            (json!({"attempt": attempt, "reason": &**reason, "checked": checked}), format!("unknown: {reason}"))
        }
        Event::StepReconciled { by, how, .. } => {
            (json!({"outcome": how.word(), "by": by.word()}), format!("{}, says the {}", how.word(), by.word()))
        }
        Event::BudgetReserved { amount, .. } => (amount_json(*amount), format!("at most {}", amount_text(*amount))),
        Event::BudgetSettled { amount, lost, .. } => {
            let mut data = amount_json(*amount);
            merge(&mut data, json!({"lost": lost}));
            let text = if *lost { "no answer; all that was held counts: " } else { "" };
            (data, format!("{text}{}", amount_text(*amount)))
        }
        Event::BudgetRefused { amount, reason, .. } => {
            let mut data = amount_json(*amount);
            merge(&mut data, json!({"reason": &**reason}));
            (data, reason.to_string())
        }
        Event::BudgetGranted { day, amount } => {
            let mut data = amount_json(*amount);
            merge(&mut data, json!({"day": day}));
            (data, format!("of the workspace's day: {}", amount_text(*amount)))
        }
        Event::ToolsDiscovered(found) => discovered_data(scenario, found),
        Event::TimerFired { at, .. } => (json!({"at": timestamp_text(*at)}), String::new()),
        _ => (json!({}), String::new()),
    }
}

fn amount_json(amount: Amount) -> Json {
    json!({"tokens": amount.tokens, "micro_usd": amount.micro_usd})
}

fn amount_text(amount: Amount) -> String {
    let money = match amount.micro_usd {
        0 => String::new(),
        micros => format!(", ${}.{:06}", micros / 1_000_000, micros % 1_000_000),
    };
    format!("{} tokens{money}", amount.tokens)
}

/// What a server of tools offers: `{server, by, tools: [{name, description, schema, read_only, idempotent}], missing, failure}`.
fn discovered_data(scenario: &Scenario, found: &Discovered) -> (Json, String) {
    let name = |tool: u16| tool_name(scenario, ToolRef::Served { server: found.server, tool });
    let offered = |tool: &Offered| {
        json!({
            "name": name(tool.tool), "description": body_json(&tool.description), "schema": body_json(&tool.schema),
            "read_only": tool.read_only, "idempotent": tool.idempotent,
        })
    };
    let missing: Vec<Json> = found.missing.iter().map(|(tool, why)| json!({"name": name(*tool), "why": &**why})).collect();
    let server = scenario.tools.get(found.server.at()).map_or("?", |tool| &*tool.name);
    let text = match (&found.failure, missing.len()) {
        (Some(why), _) => format!("{server}: {why}"),
        (None, 0) => format!("{server}: {} tools of {}", found.offered.len(), found.by),
        (None, n) => format!("{server}: {} tools of {}, and {n} are missing", found.offered.len(), found.by),
    };
    let data = json!({
        "server": server, "by": &*found.by, "tools": found.offered.iter().map(offered).collect::<Vec<_>>(), "missing": missing,
        "failure": found.failure.as_deref(),
    });
    (data, text)
}

fn created_json(scenario: &Scenario, created: &Created) -> Json {
    let params: Map<String, Json> =
        scenario.parameters.iter().zip(&created.params).map(|(p, v)| (p.name.to_string(), body_json(v))).collect();
    let replicas: Map<String, Json> =
        scenario.agents.iter().zip(&created.replicas).map(|(a, n)| (a.name.to_string(), json!(n))).collect();
    let aliases = scenario.models.iter().map(|m| m.name.to_string()).chain(["*".to_owned()]);
    let models: Map<String, Json> = aliases.zip(&created.models).map(|(name, m)| (name, binding_json(m))).collect();
    json!({
        "scenario": &*created.scenario, "scenario_hash": created.scenario_hash.to_string(), "seed": created.seed,
        "parameters": params, "start": timestamp_text(created.start), "ticks": created.ticks, "replicas": replicas, "models": models,
    })
}

fn binding_json(binding: &ModelBinding) -> Json {
    match binding {
        ModelBinding::Offline => json!("offline"),
        ModelBinding::Stub => json!("stub"),
        ModelBinding::Provider { provider, model } => json!(format!("{provider}:{model}")),
    }
}

type StartMessage = (commedia_domain::id::AgentIx, Option<commedia_domain::body::Body>, commedia_domain::body::Body);

fn started(scenario: &Scenario, messages: &[StartMessage]) -> (Json, String) {
    let to: Vec<String> = messages.iter().map(|(agent, ..)| agent_name(scenario, *agent)).collect();
    let messages: Vec<Json> = (messages.iter().zip(&to))
        .map(|((_, text, data), to)| json!({"to": to, "text": text.as_ref().map(body_json), "data": body_json(data)}))
        .collect();
    let text = if to.is_empty() { String::new() } else { format!("→ {}", to.join(", ")) };
    (json!({"messages": messages}), text)
}

fn fired_data(scenario: &Scenario, fired: &Fired) -> (Json, String) {
    let name = scenario.triggers.get(fired.trigger.at()).map_or("?", |t| &*t.name);
    let (action, more, text) = match &fired.action {
        FiredAction::Skipped => ("skipped", json!({}), "skipped".to_owned()),
        FiredAction::Told { to, text, data } => {
            let to = agent_name(scenario, *to);
            let words = format!("→ {to}");
            ("told", json!({"to": to, "text": text.as_ref().map(body_json), "data": body_json(data)}), words)
        }
        FiredAction::Called { writes, sent, result } => {
            let writes: Vec<Json> = writes.iter().map(|w| write_json(scenario, w).1).collect();
            let sent: Vec<Json> = sent.iter().map(|s| sent_json(scenario, s)).collect();
            let words = format!("called: {}", shown(&body_json(result)));
            ("called", json!({"writes": writes, "sent": sent, "result": body_json(result)}), words)
        }
        FiredAction::Failed { message } => ("failed", json!({"message": &**message}), format!("failed: {message}")),
    };
    let mut data = json!({"trigger": name, "tick": fired.tick, "action": action});
    merge(&mut data, more);
    (data, format!("{name} {text}"))
}

fn ended(scenario: &Scenario, ended: &Ended) -> (Json, String) {
    let checks: Vec<Json> = ended.checks.iter().map(|c| check_json(scenario, c)).collect();
    let data = json!({
        "result": body_json(&ended.result), "metrics": samples(scenario, &ended.metrics), "checks": checks, "cause": ended.cause.as_deref(),
    });
    let text = ended.cause.as_ref().map_or_else(|| shown(&body_json(&ended.result)), ToString::to_string);
    (data, text)
}

/// A check's verdict: `{name, passed, error}`.
pub(crate) fn check_json(scenario: &Scenario, check: &commedia_domain::event::Checked) -> Json {
    let name = scenario.checks.get(usize::from(check.check)).map_or("?", |c| &*c.name);
    json!({"name": name, "passed": check.passed, "error": check.error.as_deref()})
}

/// Metrics by name; null where one has no value.
pub(crate) fn samples(scenario: &Scenario, samples: &[Sample]) -> Json {
    let named = samples.iter().filter_map(|s| scenario.metrics.get(s.metric.at()).map(|m| (m.name.to_string(), json!(s.value))));
    Json::Object(named.collect())
}

fn work_data(scenario: &Scenario, work: &Work) -> (Json, String) {
    match work {
        Work::Model => (json!({"call": "model"}), "model".into()),
        Work::Summary => (json!({"call": "summary"}), "summary".into()),
        Work::Judge { guardrail, value } => {
            let text = format!("judge of guardrail {guardrail}: {}", shown(&body_json(value)));
            (json!({"call": "judge", "guardrail": guardrail, "input": body_json(value)}), text)
        }
        Work::Tool { call_id, tool, input } => {
            let name = tool_name(scenario, *tool);
            let text = format!("{name} {}", shown(&body_json(input)));
            (json!({"call": "tool", "call_id": &**call_id, "tool": name, "input": body_json(input)}), text)
        }
    }
}

fn replied_data(reply: &Reply) -> (Json, String) {
    let calls: Vec<Json> = reply.calls.iter().map(call_json).collect();
    let words = answer_text(&body_json(&reply.text), &calls);
    let mut data = json!({
        "outcome": "answered", "text": body_json(&reply.text), "calls": calls, "answered_by": reply.by.word(),
        "usage": usage_json(&reply.usage), "model": &*reply.model, "finish": &*reply.finish, "cached_tokens": reply.cached_tokens,
    });
    if let Some(age) = reply.age_ms {
        merge(&mut data, json!({"age_ms": age}));
    }
    (data, words)
}

fn recorded_data(scenario: &Scenario, recorded: &Recorded) -> (Json, String) {
    let (mut data, text) = match &recorded.outcome {
        StepOutcome::Replied(reply) => replied_data(reply),
        StepOutcome::Answered { text, calls, by, usage } => {
            let calls: Vec<Json> = calls.iter().map(call_json).collect();
            let words = answer_text(&body_json(text), &calls);
            let data = json!({"outcome": "answered", "text": body_json(text), "calls": calls, "answered_by": by.word(), "usage": usage_json(usage)});
            (data, words)
        }
        StepOutcome::Done { value, writes, sent } => {
            let writes: Vec<Json> = writes.iter().map(|w| write_json(scenario, w).1).collect();
            let sent: Vec<Json> = sent.iter().map(|s| sent_json(scenario, s)).collect();
            let data = json!({"outcome": "done", "value": body_json(value), "writes": writes, "sent": sent});
            (data, shown(&body_json(value)))
        }
        StepOutcome::Failed(failure) => {
            let data = json!({"outcome": "failed", "class": failure.class.word(), "message": &*failure.message});
            (data, format!("failed: {}", failure.message))
        }
    };
    let then = match &recorded.then {
        Then::Wait => "wait",
        Then::Again { .. } => "again",
        Then::Tools { .. } => "tools",
        Then::Ask { .. } => "ask",
        Then::Ready { .. } => "ready",
        Then::Fallback => "fallback",
        Then::Failed(_) => "failed",
        Then::Judge { .. } => "judge",
        Then::Summarise { .. } => "summarise",
    };
    merge(&mut data, json!({"then": then}));
    (data, text)
}

/// What an answer says or calls, in a few words.
pub(super) fn answer_text(text: &Json, calls: &[Json]) -> String {
    let called: Vec<String> = calls.iter().map(|c| format!("{}(…)", c["name"].as_str().unwrap_or("?"))).collect();
    match text {
        Json::Null => called.join(", "),
        text if called.is_empty() => shown(text),
        text => format!("{} · {}", shown(text), called.join(", ")),
    }
}

pub(super) fn call_json(call: &Call) -> Json {
    json!({"id": &*call.id, "name": &*call.name, "input": body_json(&call.input)})
}

pub(crate) fn labels_json(labels: &[(Arc<str>, Arc<str>)]) -> Map<String, Json> {
    labels.iter().map(|(name, value)| (name.to_string(), Json::from(&**value))).collect()
}

pub(crate) fn usage_json(usage: &Usage) -> Json {
    json!({
        "model_calls": usage.model_calls, "tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "cost_usd": usage.cost_usd,
    })
}

fn asks_json(scenario: &Scenario, asks: &[Ask]) -> Vec<Json> {
    let one = |a: &Ask| json!({"call_id": &*a.call_id, "to": agent_name(scenario, a.to), "text": body_json(&a.text)});
    asks.iter().map(one).collect()
}

/// The event a write is told as, and its data.
pub(super) fn write_json(scenario: &Scenario, write: &Write) -> (&'static str, Json) {
    let collection = |ix: commedia_domain::id::CollectionIx| {
        scenario.collections.get(ix.at()).map_or_else(|| format!("#{}", ix.0), |c| c.shape.name.to_string())
    };
    match write {
        Write::Put { collection: c, key, record } => {
            ("record.put", json!({"collection": collection(*c), "key": key.to_value().to_json(), "record": body_json(record)}))
        }
        Write::Delete { collection: c, key } => {
            ("record.deleted", json!({"collection": collection(*c), "key": key.to_value().to_json()}))
        }
        Write::State { ix, value } => {
            let name = scenario.state.get(ix.at()).map_or("?", |v| &*v.name);
            ("state.set", json!({"scope": "state", "name": name, "value": body_json(value)}))
        }
        Write::Own { field, value } => ("state.set", json!({"scope": "self", "field": field, "value": body_json(value)})),
        Write::Wake { at: WakeAt::Tick(tick) } => ("wake.set", json!({"tick": tick})),
        Write::Wake { at: WakeAt::Moment(at) } => ("wake.set", json!({"at": timestamp_text(*at)})),
    }
}

pub(super) fn sent_json(scenario: &Scenario, sent: &Sent) -> Json {
    let to = match sent.replica {
        Some(replica) => seat_name(scenario, commedia_domain::message::Seat { agent: sent.to, replica }),
        None => agent_name(scenario, sent.to),
    };
    json!({
        "to": to, "type": &*sent.label, "text": sent.text.as_ref().map(body_json), "data": body_json(&sent.data),
        "deliver_at": timestamp_text(sent.at),
    })
}

/// How a turn ended: its word, its data.
pub(super) fn outcome_json(scenario: &Scenario, outcome: &Outcome) -> (&'static str, Json) {
    match outcome {
        Outcome::Done => ("done", json!({})),
        Outcome::Handoff { to, carry, text, data } => {
            let carry = match carry {
                Carry::Full => "full",
                Carry::Last => "last",
                Carry::Summary => "summary",
                Carry::None => "none",
            };
            let data = json!({
                "to": agent_name(scenario, *to), "carry": carry, "text": text.as_ref().map(body_json), "data": body_json(data),
            });
            ("handoff", data)
        }
        Outcome::Final { output } => ("final", json!({"output": body_json(output)})),
    }
}

fn merge(data: &mut Json, more: Json) {
    if let (Json::Object(fields), Json::Object(more)) = (data, more) {
        fields.extend(more);
    }
}
