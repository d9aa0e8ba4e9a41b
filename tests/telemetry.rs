//! Traces of the program as a collector hears them: OTLP over HTTP, read by its field numbers. The collector is this test.

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use commedia_actors::model::peer::{Behaviour, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const DESK: &str = r#"
name: desk
models: {m: {use: auto}}
world: {state: {notes: {type: integer, default: 0}}}
tools:
  note: {kind: state, description: Takes a note, input: {type: object, properties: {}}, set: {notes: "state.notes + 1"}}
agents:
  clerk: {kind: llm, model: m, instructions: You are the planted-order clerk., tools: [note], handoffs: [boss]}
  boss: {kind: llm, model: m, instructions: Decide.}
start: [{agent: clerk, message: Here is the planted-word.}]
"#;
/// Keys that must be nowhere but in requests to whom they belong.
const KEY: &str = "sk-planted-0123456789abcdef";
const COLLECTOR_KEY: &str = "planted-collector-key";

/// A request to the collector: its head, its body.
type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A collector on a free port, which answers each request with a status.
async fn collector(status: &'static str) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let heard = Heard::default();
    let told = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, status, told.clone()));
        }
    });
    (url, heard)
}

async fn serve(mut stream: TcpStream, status: &str, heard: Heard) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|n| n.trim().parse::<usize>().ok());
        let whole = end + 4 + length.expect("a length");
        while bytes.len() < whole {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let rest = bytes.split_off(whole);
        heard.lock().unwrap().push((head, bytes.split_off(end + 4)));
        bytes = rest;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A field of a message of protocol buffers.
#[derive(Debug)]
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a message, with their numbers; all of the bytes must be fields.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (first, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(first & 127) << shift;
            shift += 7;
            if first & 128 == 0 {
                return value;
            }
        }
    }
    fn taken<'b>(bytes: &mut &'b [u8], length: usize) -> &'b [u8] {
        let (taken, rest) = bytes.split_at(length);
        *bytes = rest;
        taken
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(taken(&mut bytes, 8).try_into().expect("eight bytes"))),
            2 => {
                let length = varint(&mut bytes);
                Field::Bytes(taken(&mut bytes, usize::try_from(length).expect("a length")))
            }
            5 => Field::Number(u32::from_le_bytes(taken(&mut bytes, 4).try_into().expect("four bytes")).into()),
            other => panic!("a field of kind {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

/// All messages of a number.
fn all(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    let of = |(n, field)| match field {
        Field::Bytes(bytes) if n == number => Some(bytes),
        _ => None,
    };
    fields(bytes).into_iter().filter_map(of).collect()
}

fn one(bytes: &[u8], number: u64) -> Vec<u8> {
    all(bytes, number).first().map_or_else(Vec::new, |found| found.to_vec())
}

fn number(bytes: &[u8], wanted: u64) -> u64 {
    let of = |(n, field)| match field {
        Field::Number(value) if n == wanted => Some(value),
        _ => None,
    };
    fields(bytes).into_iter().find_map(of).unwrap_or(0)
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// An attribute's value (`AnyValue`) as text.
fn value(bytes: &[u8]) -> String {
    match fields(bytes).into_iter().next() {
        Some((1, Field::Bytes(text))) => utf8(text),
        Some((3, Field::Number(number))) => number.to_string(),
        Some((4, Field::Number(bits))) => f64::from_bits(bits).to_string(),
        Some((5, Field::Bytes(list))) => all(list, 1).into_iter().map(value).collect::<Vec<_>>().join(","),
        other => panic!("a value of another kind: {other:?}"),
    }
}

fn attributes(bytes: &[u8], number: u64) -> BTreeMap<String, String> {
    all(bytes, number).into_iter().map(|pair| (utf8(&one(pair, 1)), value(&one(pair, 2)))).collect()
}

#[derive(Clone, Debug)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    kind: u64,
    nanos: (u64, u64),
    attributes: BTreeMap<String, String>,
    status: u64,
}

impl Span {
    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// The spans of what a collector heard, by the numbers of opentelemetry/proto/trace/v1/trace.proto.
fn spans(heard: &Heard) -> Vec<Span> {
    let mut found = Vec::new();
    for (_, body) in heard.lock().unwrap().iter() {
        for resource_spans in all(body, 1) {
            let resource = attributes(&one(resource_spans, 1), 1);
            assert_eq!(resource.get("service.name").map(String::as_str), Some("commedia"), "{resource:?}");
            for span in all(resource_spans, 2).into_iter().flat_map(|scope| all(scope, 2)) {
                found.push(Span {
                    trace: one(span, 1),
                    id: one(span, 2),
                    parent: one(span, 4),
                    name: utf8(&one(span, 5)),
                    kind: number(span, 6),
                    nanos: (number(span, 7), number(span, 8)),
                    attributes: attributes(span, 9),
                    status: number(&one(span, 15), 3),
                });
            }
        }
    }
    found
}

/// Runs the desk with variables, and waits for its end.
async fn run(variables: Vec<(&'static str, String)>) -> (Output, Duration) {
    tokio::task::spawn_blocking(move || {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("desk.scenario.yaml"), DESK).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
        command
            .args(["run", "desk.scenario.yaml", "--seed", "7", "--memory", "--output", "json"])
            .current_dir(home.path())
            .env_clear();
        command.env("HOME", home.path()).envs(variables).stdin(Stdio::null());
        let began = Instant::now();
        (command.output().expect("the program starts"), began.elapsed())
    })
    .await
    .expect("it ends")
}

fn said(output: &Output) -> (i32, serde_json::Value, String) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {err}"));
    (output.status.code().expect("a code"), json, err)
}

const OURS: &str = "COMMEDIA_TELEMETRY__OTLP_ENDPOINT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_a_model_is_a_trace_without_what_was_said() {
    for bodies in [false, true] {
        let (url, heard) = collector("200 OK").await;
        let peer = Peer::start(Behaviour::Stub(Duration::ZERO)).await.expect("a port");
        let (output, _) = run(vec![
            (OURS, url),
            ("COMMEDIA_TELEMETRY__BODIES", bodies.to_string()),
            ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer {COLLECTOR_KEY}")),
            ("OPENAI_API_KEY", KEY.into()),
            ("OPENAI_BASE_URL", format!("{}/v1", peer.url())),
            ("COMMEDIA_MODELS__OPENAI__MODEL", "big-model".into()),
        ])
        .await;
        let (code, json, err) = said(&output);
        assert_eq!(code, 0, "{err}");
        let spans = spans(&heard);
        for (head, body) in heard.lock().unwrap().iter() {
            assert!(
                head.starts_with("post /v1/traces http/1.1") && head.contains("content-type: application/x-protobuf"),
                "{head}"
            );
            assert!(head.contains(COLLECTOR_KEY), "{head}");
            let text = String::from_utf8_lossy(body);
            for word in ["planted-word", "planted-order"] {
                assert_eq!(text.contains(word), bodies, "{word} {bodies}");
            }
            assert!(!text.contains(KEY) && !text.contains(COLLECTOR_KEY), "a key was told");
        }
        assert!(!err.contains(KEY) && !err.contains(COLLECTOR_KEY));

        let named = |name: &str| spans.iter().filter(|s| s.name == name).cloned().collect::<Vec<_>>();
        let root = named("invoke_workflow desk").pop().expect("the run");
        let [clerk, boss] = ["clerk", "boss"].map(|name| named(&format!("invoke_agent {name}")).pop().expect("a turn"));
        let (chats, tools) = (named("chat big-model"), named("execute_tool note"));
        assert_eq!((tools.len(), spans.len()), (1, 3 + chats.len() + tools.len()), "{spans:#?}");
        assert!(chats.len() >= 3, "{spans:#?}");
        assert!(root.parent.is_empty() && clerk.parent == root.id && boss.parent == root.id);
        assert!(chats.iter().all(|chat| chat.parent == clerk.id || chat.parent == boss.id) && tools[0].parent == clerk.id);
        for span in &spans {
            assert_eq!((span.trace.len(), span.id.len(), &span.trace, span.status), (16, 8, &root.trace, 0), "{span:?}");
            assert!(root.nanos.0 <= span.nanos.0 && span.nanos.0 <= span.nanos.1 && span.nanos.1 <= root.nanos.1, "{span:?}");
            assert_eq!(span.get("gen_ai.conversation.id"), json["run_id"].as_str().expect("an id"));
            assert_eq!(span.get("gen_ai.operation.name"), span.name.split(' ').next().expect("an operation"));
            // CLIENT for who leaves the process, else INTERNAL.
            assert_eq!(span.kind, if span.name.starts_with("chat") { 3 } else { 1 });
        }
        let first = &chats[0];
        for (name, expect) in [
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "big-model"),
            ("gen_ai.response.model", "big-model"),
            ("gen_ai.agent.name", "clerk"),
            ("commedia.answered_by", "model"),
            ("commedia.step.kind", "answer"),
        ] {
            assert_eq!(first.get(name), expect, "{name} {first:#?}");
        }
        assert!(!first.get("gen_ai.response.finish_reasons").is_empty());
        let tokens = |span: &Span, name: &str| span.get(name).parse::<u64>().expect("a number");
        for name in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
            assert!(tokens(first, name) > 0);
            assert_eq!(chats.iter().map(|chat| tokens(chat, name)).sum::<u64>(), tokens(&root, name), "{name}");
        }
        assert_eq!((tools[0].get("gen_ai.tool.name"), tools[0].get("gen_ai.tool.call.id").is_empty()), ("note", false));
        assert_eq!(clerk.get("commedia.handoff.to"), "boss");
        if bodies {
            let said: serde_json::Value = serde_json::from_str(first.get("gen_ai.input.messages")).expect("JSON");
            assert_eq!(said[0]["parts"][0]["content"], "Here is the planted-word.", "{said}");
            assert!(first.get("gen_ai.system_instructions").contains("planted-order"));
            assert!(!tools[0].get("gen_ai.tool.call.arguments").is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_the_stub_goes_where_the_machines_variable_says() {
    let (url, heard) = collector("200 OK").await;
    let (output, _) = run(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url.clone())]).await;
    assert_eq!(said(&output).0, 0);
    let found = spans(&heard);
    assert!(found.iter().any(|span| span.name == "invoke_workflow desk"), "{found:#?}");
    let heard_before = heard.lock().unwrap().len();
    let (output, _) = run(vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url), (OURS, "none".into())]).await;
    assert_eq!((said(&output).0, heard.lock().unwrap().len()), (0, heard_before), "none is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_or_refuses_does_no_harm() {
    // A port that nobody listens on, a collector that refuses, one that fails, one that never answers.
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = format!("http://{}", unused.local_addr().expect("an address"));
    drop(unused);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let never = format!("http://{}", silent.local_addr().expect("an address"));
    let rows = [
        (nobody, "do not reach the collector"),
        (collector("400 Bad Request").await.0, "do not reach the collector"),
        (collector("503 Service Unavailable").await.0, "do not reach the collector"),
        (never, "have not left"),
    ];
    let (plain, _) = run(Vec::new()).await;
    let (_, plain, _) = said(&plain);
    for (url, words) in rows {
        let (output, took) = run(vec![(OURS, url.clone()), ("COMMEDIA_RUNTIME__DRAIN", "2s".into())]).await;
        let (code, json, err) = said(&output);
        assert_eq!((code, &json["digest"]), (0, &plain["digest"]), "{url} {err}");
        assert_eq!(err.matches(words).count(), 1, "{url} {err}");
        assert!(took < Duration::from_secs(30), "{url}: {took:?}");
    }
}
