//! The bytes that are sent: one conversation in each interface, compared with golden files that were checked against the
//! published shapes (<https://platform.openai.com/docs/api-reference/responses/create>,
//! <https://platform.openai.com/docs/api-reference/chat/create>, <https://docs.anthropic.com/en/api/messages>,
//! <https://learn.microsoft.com/azure/ai-services/openai/reference>). `COMMEDIA_BLESS=1` writes them anew.

mod wire_support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commedia_actors::model::Deltas;
use commedia_actors::model::endpoint::{Endpoint, Secret, Wire, connect};
use commedia_actors::model::peer::{Behaviour, Deed, Heard, Peer, Said};
use commedia_actors::model::stub;
use commedia_domain::run::{CallKind, ModelRequest};
use serde_json::json;
use wire_support::{PLANTED, WIRES, assistant, connected, endpoint, provider_of, reasoning, request, result, tool, user};

/// A peer that keeps what it hears.
async fn listener() -> (Peer, Arc<Mutex<Vec<Heard>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let peer = Peer::start(Behaviour::act(move |request| {
        kept.lock().expect("not poisoned").push(request.clone());
        vec![Deed::Write(Said::words("Done.").whole(request))]
    }));
    (peer.await.expect("a free port"), heard)
}

fn conversation() -> ModelRequest {
    let closed = json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}},
        "additionalProperties": false});
    let thought = json!({"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"});
    let thinking = json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"});
    let mut request = request();
    request.tools.push(tool("find_customer", closed.clone(), CallKind::Tool));
    request.tools.push(tool("transfer_to_boss", json!({"type": "object", "properties": {}}), CallKind::Handoff));
    request.output = Some(Arc::new(closed));
    request.max_output_tokens = Some(500);
    request.temperature = Some(0.5);
    request.messages.extend([
        reasoning("openai:gpt-5", &thought),
        reasoning("anthropic:gpt-5", &thinking),
        reasoning("azure:other", &json!({"type": "reasoning", "encrypted_content": "of another"})),
        assistant(Some("I look."), &[("call.1", "find_order", r#"{"id": "7"}"#), ("call-2", "find_customer", r#"{"id": "c"}"#)]),
        result("call.1", "find_order", r#"{"state": "sent"}"#),
        result("call-2", "find_customer", r#""Ada""#),
        assistant(None, &[("call-2", "find_order", r#"{"id": "8"}"#)]),
        result("call-2", "find_order", r#"{"error": "none"}"#),
        user("And now?"),
    ]);
    request
}

fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("COMMEDIA_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(text, golden, "{name}");
}

#[tokio::test]
async fn a_conversation_is_written_as_each_interface_wants_it() {
    let (peer, heard) = listener().await;
    for wire in WIRES {
        let provider = connected(wire, &peer.url());
        let nobody = Deltas::new(|_| {});
        for deltas in [None, Some(&nobody)] {
            let answer = provider.attempt("gpt-5", &conversation(), deltas).await.expect("an answer");
            assert_eq!(answer.text.as_deref(), Some("Done."));
        }
        let heard: Vec<Heard> = heard.lock().expect("not poisoned").drain(..).collect();
        let [plain, streamed] = &heard[..] else { panic!("{} requests", heard.len()) };
        compare(&format!("{}.json", wire.word()), &format!("{:#}\n", plain.body));
        let mut expect = plain.body.clone();
        expect["stream"] = true.into();
        if wire == Wire::Chat {
            expect["stream_options"] = json!({"include_usage": true});
        }
        assert_eq!(streamed.body, expect);
    }
}

#[tokio::test]
async fn each_endpoint_has_its_address_and_its_key() {
    let (peer, heard) = listener().await;
    let url = peer.url();
    let bearer = format!("Bearer {PLANTED}");
    let check = |endpoint: Endpoint, path: &'static str, keys: [Option<&str>; 3]| {
        let (heard, keys) = (heard.clone(), keys.map(|k| k.map(str::to_owned)));
        async move {
            let provider = connect(endpoint).expect("an endpoint");
            provider.attempt("m-1", &request(), None).await.expect("an answer");
            let heard = heard.lock().expect("not poisoned").pop().expect("a request");
            assert_eq!(heard.path, path);
            let found = ["authorization", "api-key", "x-api-key"].map(|name| heard.header(name).map(str::to_owned));
            assert_eq!(found, keys, "{path}");
            heard
        }
    };
    let of = |provider: &str, wire: Wire, base: &str, key: bool| {
        let key = key.then(|| Secret::new(PLANTED));
        Endpoint { key, ..Endpoint::new(provider, wire, format!("{url}{base}")) }
    };
    check(of("openai", Wire::Responses, "/v1", true), "/v1/responses", [Some(&bearer), None, None]).await;
    check(of("openai", Wire::Chat, "/v1/", true), "/v1/chat/completions", [Some(&bearer), None, None]).await;
    let heard = check(of("ollama", Wire::Chat, "/v1", false), "/v1/chat/completions", [None; 3]).await;
    assert_eq!(heard.body["max_completion_tokens"], serde_json::Value::Null);
    let azure = [None, Some(PLANTED), None];
    check(of("azure", Wire::Chat, "", true), "/openai/v1/chat/completions", azure).await;
    check(of("azure", Wire::Responses, "/openai/v1", true), "/openai/v1/responses", azure).await;
    let classic = Endpoint { api_version: Some("2024-10-21".into()), ..of("azure", Wire::Chat, "/", true) };
    check(classic, "/openai/deployments/m-1/chat/completions?api-version=2024-10-21", azure).await;
    let heard = check(of("anthropic", Wire::Messages, "", true), "/v1/messages", [None, None, Some(PLANTED)]).await;
    assert_eq!(heard.header("anthropic-version"), Some("2023-06-01"));
    let mut more = of("openai", Wire::Chat, "/v1", true);
    more.headers.push(("OpenAI-Organization".into(), Secret::new("org-1")));
    let heard = check(more, "/v1/chat/completions", [Some(&bearer), None, None]).await;
    assert_eq!(heard.header("openai-organization"), Some("org-1"));
}

#[test]
fn an_endpoint_that_cannot_be_is_refused_without_its_key() {
    let check = |change: &dyn Fn(&mut Endpoint), expect: &str| {
        let mut endpoint = Endpoint::new("azure", Wire::Responses, "https://a.example/v1");
        endpoint.key = Some(Secret::new(format!("{PLANTED}\n")));
        change(&mut endpoint);
        let refused = connect(endpoint).map(|_| ()).expect_err(expect);
        assert!(refused.contains(expect) && !refused.contains(PLANTED), "{refused}");
    };
    check(&|e| e.base_url = "a.example".into(), "no address that begins with");
    check(&|e| e.base_url = "https:///v1".into(), "no address that begins with");
    check(&|e| e.base_url = format!("https://u:{PLANTED}@a.example"), "holds a user or a password");
    check(&|e| e.base_url = "https://a.example/v1?x=1".into(), "more than an address");
    check(&|e| e.key = Some(Secret::new(" ")), "is empty: set AZURE_OPENAI_API_KEY");
    check(&|e| e.api_version = Some("2024-10-21".into()), "take `api: chat`");
    check(&|_| (), "holds characters that no header may");
    let shown = format!("{:?} {}", endpoint(Wire::Chat, "http://127.0.0.1:1"), Secret::new(PLANTED));
    assert!(!shown.contains(PLANTED), "{shown}");
}

/// The peer takes the same way through a conversation as the stub, in each interface.
#[tokio::test]
async fn the_peer_judges_as_the_stub_does() {
    let empty = || json!({"type": "object", "properties": {}});
    let mut asked = request();
    asked.tools.push(tool("ask_expert", empty(), CallKind::Ask));
    asked.tools.push(tool("transfer_to_boss", empty(), CallKind::Handoff));
    asked.output = Some(Arc::new(json!({"type": "array", "items": {"type": "integer"}})));
    for wire in WIRES {
        let peer = Peer::start(Behaviour::Stub(Duration::ZERO)).await.expect("a free port");
        let provider = connected(wire, &peer.url());
        let (mut request, mut way) = (asked.clone(), Vec::new());
        loop {
            let by_stub = stub::answer(&request).expect("an answer");
            let answer = provider.attempt("m", &request, None).await.expect("an answer");
            let names = |calls: &[(String, String, _)]| calls.iter().map(|(_, name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&answer.calls), names(&by_stub.calls), "{}", wire.word());
            let Some((id, name, input)) = answer.calls.first() else {
                let text = answer.text.unwrap_or_default();
                assert!(text.starts_with('['), "{} {}", provider_of(wire), text);
                break;
            };
            request.messages.extend([assistant(None, &[(id, name, &input.to_json_text())]), result(id, name, "true")]);
            request.asked += 1;
            if name.starts_with("transfer_to_") {
                request.visited.push("boss".into());
                request.asked = 0;
                request.tools.retain(|t| t.kind == CallKind::Handoff);
            }
            way.push(name.clone());
        }
        assert_eq!(way, ["find_order", "ask_expert", "transfer_to_boss"], "{}", wire.word());
        assert_eq!(peer.requests(), 4);
        assert_eq!(peer.connections(), 1, "one connection is used again");
    }
}
