//! `commedia serve` as programs have it: over a socket, in the program's own words, through kills and odd clients.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::home::{Home, signal};

/// No answer takes longer; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server in a home; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn read(stream: &mut impl Read) -> Reply {
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while reader.read_line(&mut head).expect("a line of the head") > 2 {}
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {head}"));
        let header = |name: &str| head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)));
        let mut body = Vec::new();
        if let Some((_, length)) = header("content-length") {
            body.resize(length.trim().parse().expect("a length"), 0);
            reader.read_exact(&mut body).expect("the body");
        } else if header("transfer-encoding").is_some() {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size).expect("a chunk's size");
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk).expect("a chunk");
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        }
        Reply { status, head, body: String::from_utf8(body).expect("text") }
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name))).map(|(_, v)| v.trim())
    }
}

impl Server {
    fn start(home: &Home, env: &[(&str, &str)]) -> Server {
        Server::of(home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]).envs(env.iter().copied()))
    }

    /// The server that a command is.
    pub(crate) fn of(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
        let address = line.trim().split_once("://").unwrap_or_else(|| panic!("no address: {line}")).1.to_owned();
        Server { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a patience");
        stream
    }

    /// Bytes as they are, and what is answered.
    pub(crate) fn say(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("written");
        Reply::read(&mut stream)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[&str], body: Option<&Json>) -> Reply {
        let body = body.map(Json::to_string);
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        headers.iter().for_each(|header| request.push_str(&format!("{header}\r\n")));
        if let Some(body) = &body {
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body.as_deref().unwrap_or_default());
        self.say(request.as_bytes())
    }

    fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], None)
    }

    fn post(&self, path: &str, body: &Json) -> Reply {
        self.ask("POST", path, &[], Some(body))
    }

    /// A run that has been started; its id.
    fn begin(&self, body: &Json) -> String {
        let reply = self.post("/api/runs", body);
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.json()["run_id"].as_str().expect("an id").to_owned()
    }

    async fn follow(&self, id: &str, after: u64) -> WebSocketStream<tokio::net::TcpStream> {
        let stream = tokio::net::TcpStream::connect(&self.address).await.expect("a connection");
        let url = format!("ws://{}/ws/{id}?after={after}&view=events", self.address);
        client_async(url, stream).await.expect("a WebSocket").0
    }

    /// Waits for a run's end; the run as lists have it.
    fn ended(&self, id: &str) -> Json {
        let begun = Instant::now();
        loop {
            let run = self.get(&format!("/api/runs/{id}")).json();
            if !run["ended_at"].is_null() {
                return run;
            }
            assert!(begun.elapsed() < PATIENCE, "{run}");
            std::thread::yield_now();
        }
    }

    /// Waits until a run of `waiting` has heard as many words as it was told: they are recorded before they are heard.
    pub(crate) fn heard(&self, id: &str, told: u64) {
        let begun = Instant::now();
        loop {
            let state = self.get(&format!("/api/runs/{id}/state")).json();
            let heard = state["state"]["heard"].as_u64();
            if heard == Some(told) {
                return;
            }
            assert!(heard < Some(told) && begun.elapsed() < PATIENCE, "{state}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_run_is_started_followed_and_read_to_its_result() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let new = json!({"scenario": "coin-shop", "seed": 7});
    let reply = server.ask("POST", "/api/runs", &["prefer: wait=20", "x-request-id: mine-1"], Some(&new));
    let run = reply.json();
    let id = run["run_id"].as_str().expect("an id");
    assert_eq!((reply.status, run["status"].as_str(), run["events"].as_u64()), (201, Some("completed"), Some(63)));
    assert_eq!(reply.header("location"), Some(format!("/api/runs/{id}").as_str()));
    assert_eq!((reply.header("preference-applied"), reply.header("x-request-id")), (Some("wait=20"), Some("mine-1")));

    let result = server.get(&format!("/api/runs/{id}/result")).json();
    assert_eq!(
        (&result["schema"], &result["seed"], &result["status"]),
        (&json!("commedia.run/v1"), &json!(7), &json!("completed"))
    );
    let page = server.get("/api/runs?status=completed&scenario=coin-shop&limit=1");
    let next = format!("</api/runs?status=completed&scenario=coin-shop&limit=1&after={id}>; rel=\"next\"");
    assert_eq!((page.json()["data"][0]["run_id"].as_str(), page.header("link")), (Some(id), Some(next.as_str())));
    assert_eq!(server.get("/api/runs?status=failed").json(), json!({"data": [], "next": null}));

    let tag = server.get(&format!("/api/runs/{id}")).header("etag").expect("a tag").to_owned();
    let again = server.ask("GET", &format!("/api/runs/{id}"), &[&format!("if-none-match: {tag}")], None);
    assert_eq!((again.status, again.body.as_str()), (304, ""));

    // The same events in each of the three forms.
    let events = format!("/api/runs/{id}/events");
    let mut paged: Vec<Json> = Vec::new();
    let mut next = json!(0);
    while let Some(after) = next.as_u64() {
        let page = server.get(&format!("{events}?limit=10&after={after}")).json();
        paged.extend(page["data"].as_array().expect("events").iter().cloned());
        next = page["next"].clone();
    }
    let lines = server.ask("GET", &events, &["accept: application/x-ndjson"], None).body;
    let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, paged);
    let stream = server.ask("GET", &events, &["accept: text/event-stream", "last-event-id: 60"], None);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let data = |line: &str| serde_json::from_str::<Json>(line.strip_prefix("data: ")?).ok();
    let told: Vec<Json> = stream.body.lines().filter_map(data).collect();
    let rest: Vec<Json> = paged.iter().filter(|event| event["seq"].as_u64() > Some(60)).cloned().collect();
    assert_eq!(told, rest);
    let ids: Vec<u64> = stream.body.lines().filter_map(|l| l.strip_prefix("id: ")?.parse().ok()).collect();
    assert_eq!(ids, [61, 62, 63], "each stored event has its id once");

    // The document promises no field that an answer may lack.
    let document = server.get("/openapi.json").json();
    let (run, list) = (server.get(&format!("/api/runs/{id}")).json(), server.get("/api/runs").json());
    for field in document["components"]["schemas"]["RunView"]["required"].as_array().expect("fields") {
        let field = field.as_str().expect("a name");
        assert!(run.get(field).is_some() && list["data"][0].get(field).is_some(), "{field}: {run}");
    }

    // Its state after an event, then and now.
    let state = |query: &str| server.get(&format!("/api/runs/{id}/state{query}"));
    let (now, then) = (state("").json(), state("?at=2").json());
    assert_eq!((&now["seq"], &now["status"], &now["state"]["cash"]), (&json!(63), &json!("completed"), &json!(625.0)));
    assert_eq!((&then["seq"], &then["tick"], &then["state"]["cash"]), (&json!(2), &json!(0), &json!(100.0)));
    assert_eq!((state("?at=64").status, state("?at=0").status), (404, 400));

    assert_eq!(server.ask("DELETE", &format!("/api/runs/{id}"), &[], None).status, 204);
    assert_eq!(server.get(&format!("/api/runs/{id}")).status, 404);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("commedia_http_requests_total{route=\"/api/runs\",status=\"201\"} 1"), "{metrics}");
}

/// A request (method, path, headers, body), and what is answered: status, code, pointers.
type Row<'r> = (&'r str, &'r str, &'r [&'r str], Option<Json>, u16, &'r str, &'r [&'r str]);

/// Whatever cursor a reader comes with, it is told what one that read from the start is.
#[test]
fn every_cursor_leads_to_the_same_events() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    for scenario in ["fault-drill", "handoff-4", "retail-season"] {
        let reply = server.ask("POST", "/api/runs", &["prefer: wait=50"], Some(&json!({"scenario": scenario, "model": "stub"})));
        let id = reply.json()["run_id"].as_str().expect("an id").to_owned();
        let last = server.ended(&id)["events"].as_u64().expect("a count");
        let lines = |after: u64| {
            let path = format!("/api/runs/{id}/events?after={after}");
            server.ask("GET", &path, &["accept: application/x-ndjson"], None).body
        };
        let all = lines(0);
        let behind = |after: u64| -> Vec<&str> {
            let seq = |line: &str| serde_json::from_str::<Json>(line).ok().and_then(|event| event["seq"].as_u64());
            all.lines().filter(|line| seq(line).is_some_and(|seq| seq > after)).collect()
        };
        for after in (1..=last).step_by((last as usize / 25).max(1)).chain([last - 1, last, last + 5]) {
            assert_eq!(lines(after).lines().collect::<Vec<_>>(), behind(after), "{scenario} after {after} of {last}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let id = server.begin(&json!({"scenario": "waiting"}));
    let run = |path: &str| format!("/api/runs/{id}{path}");
    let gone = "/api/runs/r_00000000000000000000000000";
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let rows: &[Row<'_>] = &[
        ("GET", "/nowhere", &[], None, 404, "not_found", &[]),
        ("PUT", "/api/runs", &[], None, 405, "method_not_allowed", &[]),
        ("GET", gone, &[], None, 404, "not_found", &[]),
        ("GET", "/api/runs/nonsense", &[], None, 404, "not_found", &[]),
        ("GET", "/api/runs?limit=0&what=1", &[], None, 400, "bad_request", &["?limit", "?what"]),
        ("GET", "/api/runs?after=nonsense", &[], None, 400, "bad_request", &["?after"]),
        ("GET", &run("/events"), &["last-event-id: x"], None, 400, "bad_request", &["Last-Event-ID"]),
        ("GET", &run("/result"), &[], None, 409, "conflict", &[]),
        ("DELETE", &run(""), &[], None, 409, "conflict", &[]),
        ("POST", &run("/release"), &[], Some(json!({"to": "limbo"})), 422, "invalid", &["/to"]),
        ("POST", "/api/runs", &[], Some(json!({"scenario": "nobody-has-it"})), 404, "not_found", &[]),
        ("POST", "/api/runs", &[], Some(json!({"scenario": 5, "seed": -1})), 422, "invalid", &["/scenario", "/seed"]),
        ("POST", "/api/runs", &[], Some(json!({"scenario": "coin-shop", "model": "gpt"})), 422, "invalid", &["/model"]),
        ("POST", "/api/runs", &[], Some(json!({"scenario": "coin-shop", "today": "2026-02-30"})), 422, "invalid", &["/today"]),
        (
            "POST",
            "/api/runs",
            &[],
            Some(json!({"scenario": "retail-season", "parameters": {"markdown_threshold_pct": 900}})),
            422,
            "invalid",
            &["/parameters"],
        ),
        ("GET", &format!("/ws/{id}"), &[], None, 400, "bad_request", &[]),
    ];
    for (method, path, headers, body, status, code, pointers) in rows {
        let reply = server.ask(method, path, headers, body.as_ref());
        let problem = reply.json();
        assert_eq!((reply.status, problem["code"].as_str()), (*status, Some(*code)), "{method} {path} {}", reply.body);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        let found: Vec<&str> = problem["errors"].as_array().into_iter().flatten().filter_map(|e| e["pointer"].as_str()).collect();
        assert_eq!(found, *pointers, "{method} {path} {}", reply.body);
    }
    let allow = server.ask("PUT", "/api/runs", &[], None).header("allow").map(str::to_owned);
    assert_eq!(allow.as_deref(), Some("GET, HEAD, POST"));
    let raw = |kind: &str, body: &str| {
        let length = body.len();
        let head =
            format!("POST /api/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        let reply = server.say(format!("{head}{body}").as_bytes());
        (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(raw("text/plain", "{}"), (415, "unsupported_media_type".into()));
    assert_eq!(raw("application/json; charset=utf-8", "{\"scenario\""), (400, "bad_request".into()));
    assert_eq!(raw("application/json", &deep), (400, "bad_request".into()));
}

/// One run for a key, whoever asks at once, through a kill; another body is refused.
#[test]
fn a_key_starts_one_run() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let new = json!({"scenario": "coin-shop", "seed": 3});
    let ask = |server: &Server, body: &Json| server.ask("POST", "/api/runs", &["idempotency-key: order-66"], Some(body));
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&server, &new))).collect();
        asking.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    assert!(replies.iter().all(|reply| reply.status == 201), "{:?}", replies.iter().map(|r| &r.body).collect::<Vec<_>>());
    let ids: BTreeSet<String> = replies.iter().filter_map(|r| r.json()["run_id"].as_str().map(str::to_owned)).collect();
    let replayed = replies.iter().filter(|reply| reply.header("idempotency-replayed").is_some()).count();
    assert_eq!((ids.len(), replayed), (1, 7));
    signal(server.child.id(), "KILL");
    server.child.wait().expect("it ends");
    server = Server::start(&home, &[]);
    let again = ask(&server, &new);
    assert_eq!((again.status, ids.contains(again.json()["run_id"].as_str().expect("an id"))), (201, true));
    let other = ask(&server, &json!({"scenario": "coin-shop", "seed": 4}));
    assert_eq!((other.status, &other.json()["errors"][0]["pointer"]), (422, &json!("Idempotency-Key")));
    let unkeyed = server.post("/api/runs", &new);
    assert!(!ids.contains(unkeyed.json()["run_id"].as_str().expect("an id")));
    let started = again.json()["run_id"].as_str().expect("an id").to_owned();
    server.ended(&started);
    assert_eq!(server.ask("DELETE", &format!("/api/runs/{started}"), &[], None).status, 204);
    assert_eq!(ask(&server, &new).status, 404, "it was started, and is gone");
    let empty = server.ask("POST", "/api/runs", &["idempotency-key:"], Some(&new));
    assert_eq!((empty.status, &empty.json()["errors"][0]["pointer"]), (400, &json!("Idempotency-Key")));
    assert_eq!(server.get("/api/runs").json()["data"].as_array().map(Vec::len), Some(1));

    // What is said to a run is said once, too; a refusal is no answer to be kept.
    let run = server.post("/api/runs", &json!({"scenario": "waiting"})).json()["run_id"].as_str().expect("an id").to_owned();
    let tell = |server: &Server, text: &str| {
        let body = json!({"agent": "sleeper", "text": text});
        let reply = server.ask("POST", &format!("/api/runs/{run}/messages"), &["idempotency-key: 1"], Some(&body));
        (reply.status, reply.header("idempotency-replayed").is_some(), reply.body)
    };
    let (status, replayed, first) = tell(&server, "Hello.");
    assert_eq!((status, replayed), (200, false), "{first}");
    signal(server.child.id(), "KILL");
    server.child.wait().expect("it ends");
    server = Server::start(&home, &[]);
    assert_eq!(tell(&server, "Hello."), (200, true, first), "through a kill");
    assert_eq!(tell(&server, "Hello again.").0, 422);
    // Whoever goes before the answer and asks again has said it once.
    let body = json!({"agent": "sleeper", "text": "Hello?"}).to_string();
    let head = format!("POST /api/runs/{run}/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let request = format!("{head}connection: close\r\nidempotency-key: 3\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for _ in 0..5 {
        let mut gone = std::net::TcpStream::connect(&server.address).expect("connects");
        gone.write_all(request.as_bytes()).expect("is sent");
    }
    assert_eq!(server.say(request.as_bytes()).status, 200);
    server.heard(&run, 2);
    let say = |body: Json| server.ask("POST", &format!("/api/runs/{run}/messages"), &["idempotency-key: 4"], Some(&body)).status;
    let (nobody, sleeper) = (json!({"agent": "nobody", "text": "Hello!"}), json!({"agent": "sleeper", "text": "Hello!"}));
    assert_eq!((say(nobody.clone()), say(sleeper.clone()), say(sleeper)), (409, 200, 200), "what is refused may be put right");
    assert_eq!(say(nobody), 422);
    server.heard(&run, 3);
    let pause = |headers: &[&str]| server.ask("POST", &format!("/api/runs/{run}/pause"), headers, None).status;
    assert_eq!((pause(&[]), pause(&["idempotency-key: 2"])), (200, 409), "it stands still already");
    assert_eq!(server.ask("POST", &format!("/api/runs/{run}/resume"), &[], None).status, 200);
    assert_eq!((pause(&["idempotency-key: 2"]), pause(&["idempotency-key: 2"])), (200, 200));
}

/// A list is told whole, or page by page, where each says what the next one comes after.
#[test]
fn lists_are_paged() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let id = server.begin(&json!({"scenario": "coin-shop"}));
    server.ended(&id);
    let events = format!("/api/runs/{id}/events");
    let transcript = format!("/api/runs/{id}/transcript");
    let lists = ["/api/scenarios", "/api/scenarios/coin-shop/versions", "/api/models", "/api/tools", &events, &transcript];
    for path in lists {
        let whole = server.get(&format!("{path}?limit=1000")).json();
        let (mut pages, mut next) = (Vec::new(), Some(format!("{path}?limit=2")));
        while let Some(path) = next {
            let page = server.get(&path);
            assert_eq!(page.status, 200, "{path}: {}", page.body);
            let link = page.header("link").map(|link| link.trim_start_matches('<').split('>').next().unwrap_or_default());
            assert_eq!(link.is_some(), !page.json()["next"].is_null(), "{path}");
            next = link.map(str::to_owned);
            pages.extend(page.json()["data"].as_array().expect("a list").iter().cloned());
        }
        assert_eq!((Some(&pages), &whole["next"]), (whole["data"].as_array(), &Json::Null), "{path}");
    }
    assert_eq!(server.get("/api/scenarios?after=nobody").status, 409);
    assert_eq!(server.get("/api/scenarios?limit=0").status, 400);
}

/// What the dashboard and the alerts ask for is what `/metrics` tells.
#[test]
fn dashboards_and_alerts_ask_for_what_is_there() {
    let home = Home::new();
    let told = Server::start(&home, &[]).get("/metrics").body;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/monitoring");
    let mut asked = BTreeSet::new();
    for file in ["rules.yml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(root.join(file)).expect("the file");
        for prefix in ["commedia_", "process_"] {
            for (at, _) in text.match_indices(prefix) {
                let name: String = text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let name =
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned();
                asked.insert(name);
            }
        }
    }
    assert!(asked.len() > 15, "{asked:?}");
    for name in asked {
        assert!(told.contains(&format!("# TYPE {name} ")), "{name} is not told");
    }
}

#[test]
fn commands_reach_a_run_over_both_doors() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let id = server.begin(&json!({"scenario": "waiting"}));
    let run = |path: &str| format!("/api/runs/{id}{path}");
    let paused = server.post(&run("/pause"), &json!({"reason": "lunch"}));
    assert_eq!(paused.status, 200, "{}", paused.body);
    let stands = server.get(&run(""));
    assert_eq!(stands.json()["status"], "paused");
    let resume = |tag: &str| server.ask("POST", &run("/resume"), &[&format!("if-match: {tag}")], None).status;
    assert_eq!((resume("\"1\""), resume(stands.header("etag").expect("a tag"))), (412, 200), "as it is, and not as it was");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let frames = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&server.address).await.expect("a connection");
        let (mut socket, _) = client_async(format!("ws://{}/ws/{id}", server.address), stream).await.expect("a WebSocket");
        for frame in [
            "{",
            r#"{"id": 1, "type": "ping"}"#,
            r#"{"id": 2, "type": "approve"}"#,
            r#"{"id": 3, "type": "dance"}"#,
            r#"{"id": 5, "type": "message", "agent": "sleeper", "text": "Hello."}"#,
            r#"{"id": 6, "type": "message", "agent": "nobody", "text": "Hello."}"#,
            r#"{"id": 7, "type": "message"}"#,
        ] {
            socket.send(Message::text(frame)).await.expect("sent");
        }
        server.heard(&id, 1);
        socket.send(Message::text(r#"{"id": 4, "type": "cancel", "reason": "enough"}"#)).await.expect("sent");
        let mut frames: Vec<Json> = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => frames.push(serde_json::from_str(&text).expect("JSON")),
                Message::Close(Some(why)) => frames.push(json!({"type": "close", "code": u16::from(why.code)})),
                _ => {}
            }
        }
        frames
    });
    let kinds = |kind: &str| frames.iter().filter(|f| f["type"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!((&frames[0]["type"], &frames[1]["type"]), (&json!("hello"), &json!("snapshot")));
    let acknowledged: Vec<Json> = kinds("ack").into_iter().map(|frame| frame["id"].clone()).collect();
    assert_eq!((kinds("pong")[0]["id"].as_u64(), acknowledged), (Some(1), vec![json!(5), json!(4)]));
    let refused: Vec<(Json, Json)> = kinds("error").into_iter().map(|f| (f["id"].clone(), f["code"].clone())).collect();
    let expect = [
        (Json::Null, "bad_request"),
        (json!(2), "not_built"),
        (json!(3), "bad_request"),
        (json!(6), "conflict"),
        (json!(7), "bad_request"),
    ];
    assert_eq!(refused, expect.map(|(id, code)| (id, json!(code))));
    let last = kinds("run_status").pop().expect("a status");
    assert_eq!((&last["status"], &frames[frames.len() - 1]), (&json!("cancelled"), &json!({"type": "close", "code": 1000})));
    assert_eq!(server.ended(&id)["status"], "cancelled");
}

/// Followers that break off and come again, while the server is killed and started again: each sees every event once.
#[test]
fn followers_miss_nothing_and_get_nothing_twice_through_kills() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let ids: Vec<String> = (0..6).map(|seed| server.begin(&json!({"scenario": "retail-season", "seed": seed}))).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut seen: Vec<Vec<(u64, u64)>> = vec![Vec::new(); ids.len()];
    let mut over = BTreeSet::new();
    let mut round = 0;
    while over.len() < ids.len() {
        round += 1;
        assert!(round < 200, "{over:?}");
        for (n, id) in ids.iter().enumerate().filter(|(n, _)| !over.contains(n)).collect::<Vec<_>>() {
            // A client asks again for the whole of a stored event of which it has not seen the last part.
            let after = seen[n].last().map_or(0, |(seq, _)| seq - 1);
            seen[n].retain(|(seq, _)| *seq <= after);
            let most = 200 + (round * 137 + n * 31) % 900;
            let (told, ended) = runtime.block_on(async {
                let (mut socket, mut told, mut ended) = (server.follow(id, after).await, Vec::new(), false);
                while told.len() < most
                    && let Some(message) = socket.next().await
                {
                    match message.expect("a frame") {
                        Message::Text(text) => {
                            let event: Json = serde_json::from_str(&text).expect("JSON");
                            if let Some(seq) = event["seq"].as_u64() {
                                told.push((seq, event["part"].as_u64().unwrap_or(0)));
                            }
                        }
                        Message::Close(why) => ended = why.is_some_and(|why| u16::from(why.code) == 1000),
                        _ => {}
                    }
                }
                (told, ended)
            });
            seen[n].extend(told);
            if ended {
                over.insert(n);
            }
        }
        if round == 2 || round == 4 {
            signal(server.child.id(), "KILL");
            server.child.wait().expect("it ends");
            server = Server::start(&home, &[]);
        }
    }
    for (n, id) in ids.iter().enumerate() {
        let run = server.ended(id);
        let seqs: Vec<u64> = seen[n].iter().map(|(seq, _)| *seq).collect();
        let distinct: BTreeSet<(u64, u64)> = seen[n].iter().copied().collect();
        assert_eq!(distinct.len(), seen[n].len(), "run {n}: nothing twice");
        assert!(seqs.is_sorted(), "run {n}: in order");
        let all: BTreeSet<u64> = seqs.into_iter().collect();
        assert_eq!(all, (1..=run["events"].as_u64().expect("a count")).collect(), "run {n}: nothing missed");
        assert_eq!(run["status"], "completed", "run {n}");
    }
}

/// Whoever follows a run is told what one that reads it afterwards is, wherever he began, while others do the same.
#[test]
fn many_follow_one_run_from_many_places() {
    let home = Home::new();
    let server = Server::start(&home, &[]);
    let id = server.begin(&json!({"scenario": "retail-season", "seed": 3}));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let told: Vec<(u64, Vec<String>)> = runtime.block_on(async {
        let followers = (0..60_u64).map(|n| {
            let (server, id) = (&server, id.as_str());
            async move {
                // One has seen more than there will ever be: he is told nothing, and that it is over.
                let after = if n == 59 {
                    100_000
                } else if n % 3 == 0 {
                    0
                } else {
                    n
                };
                let (mut socket, mut told) = (server.follow(id, after).await, Vec::new());
                while let Some(Ok(Message::Text(text))) = socket.next().await {
                    let event: Json = serde_json::from_str(&text).expect("JSON");
                    if event["seq"].is_u64() {
                        told.push(text.to_string());
                    }
                }
                (after, told)
            }
        });
        futures_util::future::join_all(followers).await
    });
    let all = server.ask("GET", &format!("/api/runs/{id}/events"), &["accept: application/x-ndjson"], None).body;
    let seq = |line: &str| serde_json::from_str::<Json>(line).expect("JSON")["seq"].as_u64().expect("a seq");
    let all: Vec<(u64, &str)> = all.lines().map(|line| (seq(line), line)).collect();
    for (after, told) in told {
        let expect: Vec<&str> = all.iter().filter(|(seq, _)| *seq > after).map(|(_, line)| *line).collect();
        let differs = told.iter().zip(&expect).find(|(told, expect)| told != *expect);
        assert_eq!((differs, told.len()), (None, expect.len()), "after {after}");
    }
}

/// Slow, silent, endless and odd clients are ended within bounds, and hold nobody up.
#[test]
fn odd_clients_are_bounded() {
    let home = Home::new();
    let bounds = [
        ("COMMEDIA_HTTP__HEAD_TIMEOUT", "400ms"),
        ("COMMEDIA_HTTP__BODY_TIMEOUT", "300ms"),
        ("COMMEDIA_HTTP__MAX_BODY", "16 KiB"),
        ("COMMEDIA_HTTP__MAX_CONNECTIONS", "24"),
    ];
    let server = Server::start(&home, &bounds);
    let head =
        |more: &str| format!("POST /api/runs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\r\n\r\n");

    // Silent, and with half a head: closed, without a request's answer.
    let (mut silent, mut half) = (server.connect(), server.connect());
    half.write_all(b"GET /livez HTT").expect("written");
    for stream in [&mut silent, &mut half] {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("it is closed");
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
    }

    let slow = server.say(format!("{}{{", head("content-length: 100")).as_bytes());
    assert_eq!((slow.status, slow.json()["code"].as_str()), (408, Some("timeout")));

    let mut endless = server.connect();
    endless.write_all(head("transfer-encoding: chunked").as_bytes()).expect("written");
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    // The server may stop reading before all of it is written.
    (0..64).take_while(|_| endless.write_all(chunk.as_bytes()).is_ok()).for_each(drop);
    let reply = Reply::read(&mut endless);
    assert_eq!((reply.status, reply.json()["code"].as_str()), (413, Some("too_large")));

    // More connections than there are places: one more is told so; when some go there is room again.
    let many: Vec<TcpStream> = (0..24).map(|_| server.connect()).collect();
    let turned_away = server.say(b"");
    assert_eq!((turned_away.status, turned_away.header("retry-after")), (503, Some("1")));
    drop(many);
    let begun = Instant::now();
    let live = || {
        let mut stream = server.connect();
        let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        asked.is_ok() && Reply::read(&mut stream).status == 200
    };
    while !live() {
        assert!(begun.elapsed() < PATIENCE, "no room again");
    }

    // A frame that is too large.
    let id = server.begin(&json!({"scenario": "waiting"}));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let code = runtime.block_on(async {
        let mut socket = server.follow(&id, 0).await;
        // The server stops reading within it.
        drop(socket.send(Message::text("x".repeat(2 << 20))).await);
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(why))) => return why.map(|why| u16::from(why.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    });
    assert!(matches!(code, Some(1009) | None), "{code:?}");
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_server_that_is_asked_to_end_ends_its_streams_and_leaves_its_runs_in_place() {
    let home = Home::new();
    let mut server = Server::start(&home, &[]);
    let id = server.begin(&json!({"scenario": "waiting"}));
    let mut stream = server.connect();
    let asked = format!("GET /api/runs/{id}/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(asked.as_bytes()).expect("written");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.contains("run.created") {
        line.clear();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "it has ended");
    }
    signal(server.child.id(), "TERM");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("the end");
    assert!(rest.ends_with("0\r\n\r\n"), "the stream is whole: {rest:?}");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));
    let listed = home.run(&["ls", "--output", "jsonl"]).exits(0).lines();
    assert_eq!((listed[0]["run_id"].as_str(), listed[0]["status"].as_str()), (Some(id.as_str()), Some("waiting")));
}

/// The README's lines about the server, as a shell has them.
#[test]
fn the_lines_of_the_readme_work() {
    let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    if !has("curl") || !has("bash") {
        eprintln!("skipped: the lines need curl and bash");
        return;
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the page");
    let block = readme.split("<!-- shell: serve -->\n```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let lines =
        block.replace("commedia serve", &format!("{} serve", env!("CARGO_BIN_EXE_commedia"))).replace("7140", &port.to_string());
    let home = Home::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &format!("set -m\n{lines}\nwait")]).current_dir(home.path("")).env("PATH", path);
    bash.env("COMMEDIA_DATA", home.data()).env("HOME", home.path("")).stdin(Stdio::null());
    let said = bash.output().expect("bash runs");
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(
        out.contains("\"status\":\"completed\"") && out.contains("\"data\":[{\"run_id\""),
        "{out}\n{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn who_may_reach_it_must_be_said() {
    let home = Home::new();
    for (arguments, words) in [
        (&["serve", "--auth", "none", "--bind", "0.0.0.0:0"][..], "only this machine's own addresses are served"),
        (&["serve", "--workspace", "w_00000000000000000000000000"], "there is no workspace `w_0000"),
    ] {
        let said = home.run(arguments).exits(2);
        assert!(said.err.contains(words) && said.err.contains("help:"), "{}", said.err);
    }
}

/// One process owns a folder, and one a port.
#[test]
fn a_second_server_is_told_who_is_there() {
    let (home, other) = (Home::new(), Home::new());
    let server = Server::start(&home, &[]);
    let folder = home.run(&["serve", "--auth", "none", "--bind", "127.0.0.1:0"]).exits(8);
    assert!(folder.err.contains(&server.child.id().to_string()), "{}", folder.err);
    let port = other.run(&["serve", "--auth", "none", "--bind", &server.address]).exits(2);
    assert!(port.err.contains("cannot be listened on"), "{}", port.err);
    assert_eq!(server.get("/livez").status, 200);
}
