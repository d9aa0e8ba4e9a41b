//! `turn.completed`, expanded: what an agent heard from its model and tools, wrote, sent and handed on, in that order.

use commedia_domain::event::{Completed, Entry, Outcome};
use commedia_domain::message::{Chat, Seat, TurnId};
use commedia_domain::scenario::Scenario;
use serde_json::{Map, Value as Json, json};

use super::data::{answer_text, call_json, outcome_json, sent_json, usage_json, write_json};
use super::{Told, body_json, seat_name, shown};

/// The parts of a completed turn; the last one is the turn's end, with what was stored.
pub(super) fn turn(scenario: &Scenario, completed: &Completed, whole: Told) -> Vec<Told> {
    let mut parts = Parts { like: whole.clone(), told: Vec::new() };
    let served: u32 = completed.served.iter().map(|(_, n)| n).sum();
    let by = completed.by.word();
    let agent = whole.agent.clone();
    parts.push("turn.started", agent.as_deref(), whole.turn, json!({"served": served, "answered_by": by}), String::new());
    for chat in &completed.said {
        match chat {
            Chat::User { .. } | Chat::Reasoning { .. } => {}
            Chat::Assistant { text, calls, .. } => {
                let calls: Vec<Json> = calls.iter().map(call_json).collect();
                let words = answer_text(&body_json(text), &calls);
                let data = json!({"answered_by": by, "text": body_json(text), "calls": calls});
                parts.push("model.answered", agent.as_deref(), whole.turn, data, format!("({by}) {words}"));
            }
            Chat::Tool { call_id, name, content } => {
                let content = body_json(content);
                let words = format!("{name}: {}", shown(&content));
                let data = json!({"call_id": &**call_id, "tool": &**name, "content": content});
                parts.push("tool.answered", agent.as_deref(), whole.turn, data, words);
            }
        }
    }
    for entry in &completed.entries {
        let seat = Seat { agent: completed.agent, replica: entry.replica };
        parts.entry(scenario, &seat_name(scenario, seat), turn_of(completed, entry.replica), entry);
    }
    parts.push(whole.kind, agent.as_deref(), whole.turn, whole.data, whole.text);
    parts.told
}

/// The turn of one replica of a shard: its place among those served.
fn turn_of(completed: &Completed, replica: u32) -> TurnId {
    let mut before = 0;
    for (first, count) in &completed.served {
        if (*first..first.saturating_add(*count)).contains(&replica) {
            return TurnId { wave: completed.turn.wave, index: completed.turn.index + before + (replica - first) };
        }
        before += count;
    }
    completed.turn
}

struct Parts {
    like: Told,
    told: Vec<Told>,
}

impl Parts {
    fn push(&mut self, kind: &'static str, agent: Option<&str>, turn: Option<TurnId>, data: Json, text: String) {
        let part = u32::try_from(self.told.len()).ok();
        let like = &self.like;
        self.told.push(Told {
            seq: like.seq,
            part,
            lane: like.lane,
            kind,
            run_id: like.run_id.clone(),
            at: like.at,
            time: like.time,
            agent: agent.map(str::to_owned),
            turn,
            step: None,
            cause: like.cause.clone(),
            data,
            text,
        });
    }

    fn entry(&mut self, scenario: &Scenario, agent: &str, turn: TurnId, entry: &Entry) {
        let (agent, turn) = (Some(agent), Some(turn));
        for write in &entry.writes {
            let (kind, mut data) = write_json(scenario, write);
            name_own(scenario, self.like.agent.as_deref(), &mut data);
            let text = match kind {
                "record.put" => format!("{} {} {}", words(&data["collection"]), words(&data["key"]), shown(&data["record"])),
                "wake.set" => format!("no ticks before {}", words(data.get("tick").unwrap_or(&data["at"]))),
                "record.deleted" => format!("{} {}", words(&data["collection"]), words(&data["key"])),
                _ => format!("{}.{} = {}", words(&data["scope"]), words(&data["name"]), shown(&data["value"])),
            };
            self.push(kind, agent, turn, data, text);
        }
        for sent in &entry.sent {
            let data = sent_json(scenario, sent);
            let text = format!("→ {} {} {}", words(&data["to"]), words(&data["type"]), shown(&data["data"]));
            self.push("message.sent", agent, turn, data, text);
        }
        if let Outcome::Handoff { .. } = &entry.outcome {
            let (_, data) = outcome_json(scenario, &entry.outcome);
            let text = format!("→ {} {}", words(&data["to"]), shown(&data["data"]));
            self.push("handoff.made", agent, turn, data, text);
        }
    }
}

fn words(json: &Json) -> String {
    shown(json)
}

/// A field of the agent's own state by its name instead of its position.
fn name_own(scenario: &Scenario, agent: Option<&str>, data: &mut Json) {
    let Json::Object(fields) = data else { return };
    let Some(field) = fields.shift_remove("field").and_then(|f| f.as_u64()) else { return };
    let block = agent.and_then(|name| name.split('/').next());
    let agent = scenario.agents.iter().find(|a| block == Some(&*a.name));
    let variable = agent.and_then(|a| a.own.get(usize::try_from(field).unwrap_or(usize::MAX)));
    let name = variable.map_or_else(|| json!(field), |v| json!(&*v.name));
    let value = fields.shift_remove("value").unwrap_or_default();
    fields.insert("name".into(), name);
    fields.insert("value".into(), value);
}

/// Data and words of a completed turn as a whole.
pub(super) fn completed(scenario: &Scenario, completed: &Completed) -> (Json, String) {
    let served: u32 = completed.served.iter().map(|(_, n)| n).sum();
    let entries = &completed.entries;
    let mut fields = Map::new();
    fields.insert("served".into(), json!(served));
    fields.insert("acted".into(), json!(entries.len()));
    fields.insert("answered_by".into(), json!(completed.by.word()));
    let mut text = if served > 1 { format!("{} of {served} acted", entries.len()) } else { String::new() };
    if let ([entry], 1) = (entries.as_slice(), served) {
        let (word, data) = outcome_json(scenario, &entry.outcome);
        fields.insert("outcome".into(), json!(word));
        match &data["output"] {
            Json::Null => {}
            output => {
                text = shown(output);
                fields.insert("output".into(), output.clone());
            }
        }
    }
    let says: Vec<Json> = entries.iter().flat_map(|e| &e.says).map(body_json).collect();
    if let (Some(said), true) = (says.last(), text.is_empty()) {
        text = shown(said);
    }
    fields.insert("says".into(), Json::Array(says));
    let metric = |(ix, value): &(commedia_domain::id::MetricIx, f64)| json!({"metric": scenario.metrics.get(ix.at()).map(|m| &*m.name), "value": value});
    fields.insert("metrics".into(), entries.iter().flat_map(|e| &e.metrics).map(metric).collect());
    let refused = |(write, why): &(commedia_domain::event::Write, std::sync::Arc<str>)| {
        let (kind, data) = write_json(scenario, write);
        json!({"type": kind, "data": data, "reason": &**why})
    };
    fields.insert("refused".into(), entries.iter().flat_map(|e| &e.refused).map(refused).collect());
    fields.insert("usage".into(), usage_json(&completed.usage));
    (Json::Object(fields), text)
}
