//! Servers of tools that others wrote, at pinned versions: npm's `server-everything` over standard input and output and over
//! HTTP, and one made with the SDK for Python. Installed into a folder of the test's own; where a registry does not answer, or
//! the interpreter is not there, the test says that it was skipped.

#[expect(dead_code, reason = "each test takes its own share")]
mod caller;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use caller::{Caller, Fixed};
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::engine::Durability;
use commedia_actors::tool::address::Allowed;
use commedia_actors::tool::mcp::McpOptions;
use commedia_domain::event::{Event, ModelBinding, StepOutcome};
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, load};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The server from npm.
const EVERYTHING: &str = "@modelcontextprotocol/server-everything@2026.8.31";
/// The SDK from PyPI.
const SDK: &str = "mcp==2.3.0";

/// Runs an installer; `false`, with the reason said, where it cannot.
async fn installed(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let why = match tokio::time::timeout(Duration::from_secs(180), command.output()).await {
        Ok(Ok(out)) if out.status.success() => return true,
        Ok(Ok(out)) => String::from_utf8_lossy(&out.stderr).lines().last().unwrap_or_default().to_owned(),
        Ok(Err(e)) => e.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    println!("SKIPPED: `{program} {}`: {why}", arguments.join(" "));
    false
}

/// Plays one run in which an agent makes some calls; what came of each, in order.
async fn calls(server: &str, allow: &str, calls: &[(&'static str, &'static str)]) -> Vec<String> {
    let text = format!(
        "name: peers\nmodels: {{m: {{use: auto}}}}\ntools:\n  peer: {{kind: mcp, trust_hints: true, timeout: 20s, server: {server}, \
         allow: [{allow}]}}\nagents: {{clerk: {{kind: llm, model: m, tools: [peer]}}}}\n"
    );
    let loaded = load("peers.scenario.yaml", text.as_bytes(), &NoFiles).unwrap_or_else(|faults| panic!("{text}\n{faults:?}"));
    let options = RuntimeOptions {
        durability: Durability::Process,
        model: Some(Arc::new(Caller(calls.to_vec()))),
        http_allowed: Allowed::parse(&["127.0.0.1"]).expect("a list"),
        secrets: Arc::new(Fixed),
        mcp: McpOptions {
            programs: vec!["*".into()],
            environment: vec![("PATH".into(), std::env::var("PATH").unwrap_or_default())],
        },
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::open(options).await.expect("opens");
    let binding = ModelBinding::Provider { provider: "openai".into(), model: "gpt".into() };
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![binding; 2] };
    let handle = runtime.start_run(Arc::new(loaded.scenario), input, StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("ends");
    let events = runtime.events(&run.id, 1).await.expect("events");
    assert_eq!(run.run.state().status, Status::Completed, "{:?}", run.run.state().ended);
    let verified = runtime.verify(&run.id).await.expect("verifies");
    assert_eq!((verified.difference, verified.digest), (None, run.digest));
    assert!(!format!("{events:?}").contains("s3cret-token"), "the secret is in the log");
    runtime.shutdown().await.expect("stops");
    let mut found = Vec::new();
    for event in events {
        if let Event::StepRecorded(recorded) = &*event.event {
            match &recorded.outcome {
                StepOutcome::Done { value, .. } => found.push((recorded.step, value.value().to_json_text())),
                StepOutcome::Failed(failure) => found.push((recorded.step, format!("failed: {}", failure.message))),
                StepOutcome::Answered { .. } | StepOutcome::Replied(_) => {}
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, what)| what).collect()
}

const ASKED: [(&str, &str); 4] = [
    ("peer__echo", r#"{"message": "hello"}"#),
    ("peer__get-sum", r#"{"a": 2, "b": 3}"#),
    ("peer__get-structured-content", r#"{"location": "Chicago"}"#),
    ("peer__echo", r#"{"massage": 1}"#),
];
const ALLOWED: &str = "echo, get-sum, get-structured-content";

fn as_it_should(found: &[String]) {
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], r#""Echo: hello""#);
    assert!(found[1].contains('5'), "{found:?}");
    assert!(found[2].starts_with('{') && found[2].contains("temperature"), "{found:?}");
    assert!(found[3].starts_with("failed: input of `peer__echo`: ") && found[3].contains("message"), "{found:?}");
}

/// The server over HTTP, at a port of its own; it ends with what comes back.
async fn over_http(script: &Path) -> (Child, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let mut command = Command::new("node");
    command.arg(script).arg("streamableHttp").env("PORT", port.to_string()).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
    while let Some(line) = lines.next_line().await.expect("it speaks") {
        if line.contains("listening") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, port);
        }
    }
    panic!("it does not listen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_from_npm_over_a_pipe_and_over_http() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_string_lossy().into_owned();
    if !installed("npm", &["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", &at, EVERYTHING]).await {
        return;
    }
    let script = folder.path().join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let piped = calls(&format!("{{command: [node, \"{}\", stdio]}}", script.display()), ALLOWED, &ASKED).await;
    as_it_should(&piped);
    let (mut child, port) = over_http(&script).await;
    let server = format!("{{url: \"http://127.0.0.1:{port}/mcp\", auth: {{bearer: \"${{env:TOKEN}}\"}}}}");
    assert_eq!(calls(&server, ALLOWED, &ASKED).await, piped, "the same over HTTP");
    child.kill().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_made_with_the_sdk_for_python() {
    let folder = tempfile::tempdir().expect("a folder");
    let python = folder.path().join("bin/python").to_string_lossy().into_owned();
    let at = folder.path().to_string_lossy().into_owned();
    let ready = installed("python3", &["-m", "venv", &at]).await
        && installed(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK]).await;
    if !ready {
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp_support/peer.py");
    let asked = [("peer__add", r#"{"text": "milk"}"#), ("peer__add", r#"{"text": 7}"#), ("peer__fail", "{}")];
    let found = calls(&format!("{{command: [\"{python}\", \"{script}\"]}}"), "add, fail", &asked).await;
    assert_eq!(found[0], r#"{"notes":1}"#);
    assert!(found[1].starts_with("failed: input of `peer__add`: "), "{found:?}");
    assert!(found[2].starts_with("failed: `peer__fail`: ") && found[2].contains("the notebook is wet"), "{found:?}");
}
