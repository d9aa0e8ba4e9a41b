//! What folding a run from its log came to, and deciding it anew.

use commedia_actors::live::LoadedRun;
use commedia_actors::verify::Verified;
use serde_json::{Value as Json, json};

/// The object that `commedia replay --output json` prints; `verified` where everything was decided anew.
pub fn replayed_json(loaded: &LoadedRun, verified: Option<&Verified>) -> Json {
    let difference = verified.and_then(|v| v.difference.as_ref());
    json!({
        "schema": "commedia.replay/v1",
        "run_id": loaded.id.as_str(),
        "status": loaded.run.state().status.word(),
        "events": loaded.head.seq,
        "canonical_events": verified.map(|v| v.canonical),
        "model_calls": 0,
        "digest": loaded.digest.to_string(),
        "verified": verified.is_some(),
        "comparable": verified.is_none_or(|v| v.comparable),
        "equal": verified.filter(|v| v.comparable).map(|v| v.difference.is_none() && v.digest == loaded.digest),
        "difference": difference.map_or(Json::Null, |d| json!({"seq": d.seq, "what": d.what})),
    })
}

/// The same for people.
pub fn replayed_text(replayed: &Json) -> String {
    let said = format!("{} events, 0 model calls, digest {}", replayed["events"], replayed["digest"].as_str().unwrap_or("-"));
    let difference = &replayed["difference"];
    match &replayed["equal"] {
        _ if replayed["comparable"] == Json::Bool(false) => {
            format!("{said}\nnot comparable: another version of the engine decided this run\n")
        }
        _ if !difference.is_null() => {
            format!("{said}\ndiffers at event {} ✗\n  {}\n", difference["seq"], difference["what"].as_str().unwrap_or_default())
        }
        Json::Bool(true) => format!("{said} equal ✓\n"),
        Json::Bool(false) => format!("{said}\nthe digests differ ✗\n"),
        _ => format!("{said}\n"),
    }
}
