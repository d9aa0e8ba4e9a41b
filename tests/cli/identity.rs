//! Users, keys and workspaces as programs have them: who is let in, who is not, and that nothing crosses from one workspace to
//! another.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value as Json, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::home::Home;
use crate::serve::{Reply, Server};

const PASSWORD: &str = "correct horse battery";
const ROLES: [&str; 4] = ["viewer", "operator", "admin", "owner"];
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who asks a server.
struct Asker<'s> {
    server: &'s Server,
    token: String,
}

impl Asker<'_> {
    fn ask(&self, method: &str, path: &str, body: Option<&Json>) -> Reply {
        let bearer = format!("authorization: Bearer {}", self.token);
        self.server.ask(method, path, &[&bearer], body)
    }

    fn get(&self, path: &str) -> Json {
        self.ask("GET", path, None).json()
    }

    fn post(&self, path: &str, body: &Json) -> Reply {
        self.ask("POST", path, Some(body))
    }
}

fn serve(home: &Home) -> Server {
    Server::of(&mut home.command(&["serve", "--bind", "127.0.0.1:0", "--quiet"]))
}

/// What a command prints as JSON.
fn made(home: &Home, args: &[&str]) -> Json {
    let mut all = args.to_vec();
    all.extend(["--output", "json"]);
    let done = home.command(&all).env("COMMEDIA_PASSWORD", PASSWORD).output().expect("runs");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text"))
}

fn logged_in<'s>(server: &'s Server, email: &str) -> (Asker<'s>, Json) {
    let reply = server.ask("POST", "/api/auth/login", &[], Some(&json!({"email": email, "password": PASSWORD})));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let tokens = reply.json();
    (Asker { server, token: text(&tokens["access_token"]).to_owned() }, tokens)
}

#[test]
fn the_first_user_is_made_by_the_link_and_lets_others_in() {
    let home = Home::new();
    let mut command = home.command(&["serve", "--bind", "127.0.0.1:0"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let server = Server::of(command.stderr(Stdio::from(writer)));
    drop(command);
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    let link =
        lines.filter_map(|line| line.split("/setup#").nth(1).map(|rest| rest.split(' ').next().unwrap_or("").to_owned())).next();
    let link = link.expect("a link");
    assert_eq!(server.ask("GET", "/api/runs", &[], None).status, 401);
    let setup = |token: &str| {
        server.ask("POST", "/api/auth/setup", &[], Some(&json!({"token": token, "email": "Ann@x.org", "password": PASSWORD})))
    };
    assert_eq!(setup("x").status, 401);
    let short = json!({"token": link, "email": "not-an-address", "password": PASSWORD});
    assert_eq!(server.ask("POST", "/api/auth/setup", &[], Some(&short)).status, 422, "and the link is good still");
    let mut both = std::thread::scope(|scope| {
        let asking = [scope.spawn(|| setup(&link).status), scope.spawn(|| setup(&link).status)];
        asking.map(|one| one.join().expect("an answer"))
    });
    both.sort_unstable();
    assert_eq!((both, setup(&link).status), ([201, 401], 401), "one is the first");
    let (ann, tokens) = logged_in(&server, "ann@X.org ");
    assert_eq!(
        (&tokens["role"], &tokens["workspace_id"], &tokens["expires_in"]),
        (&json!("owner"), &json!("default"), &json!(3600))
    );
    let me = ann.get("/api/auth/me");
    assert_eq!((&me["email"], &me["role"], &me["key_id"]), (&json!("ann@x.org"), &json!("owner"), &Json::Null));

    let bob = ann.post("/api/users", &json!({"email": "bob@x.org", "password": PASSWORD, "role": "viewer"}));
    assert_eq!(bob.status, 201, "{}", bob.body);
    let key = ann.post("/api/keys", &json!({"name": "ci", "role": "operator"})).json();
    let ci = Asker { server: &server, token: text(&key["key"]).to_owned() };
    let run = ci.post("/api/runs", &json!({"scenario": "coin-shop"}));
    assert_eq!(run.status, 201, "{}", run.body);
    assert!(run.header("ratelimit").is_some_and(|left| left.starts_with("\"principal\";r=")), "{:?}", run.header("ratelimit"));
    // With a key of its own a request is done once, whoever asks how often; what is told once is told once.
    let once = |path: &str, body: Json| {
        let bearer = format!("authorization: Bearer {}", ann.token);
        server.ask("POST", path, &[&bearer, "idempotency-key: 1"], Some(&body))
    };
    let eve = json!({"email": "eve@x.org", "password": PASSWORD, "role": "viewer"});
    let (first, again) = (once("/api/users", eve.clone()), once("/api/users", eve));
    assert_eq!((first.status, again.status, &again.body), (201, 201, &first.body));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(again.header("location"), first.header("location"));
    let key_once = json!({"name": "once", "role": "viewer"});
    let (first, again) = (once("/api/keys", key_once.clone()), once("/api/keys", key_once));
    let place = first.header("location").expect("a place");
    assert_eq!((first.status, again.status, again.body.contains(place)), (201, 409, true), "{}", again.body);
    let (bob, _) = logged_in(&server, "bob@x.org");
    assert_eq!(bob.get("/api/runs")["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(bob.post("/api/runs", &json!({"scenario": "coin-shop"})).status, 403);
    // Who did it stands in the log.
    let events = bob.get(&format!("/api/runs/{}/events?limit=1", text(&run.json()["run_id"])));
    assert_eq!(events["data"][0]["cause"]["principal"], json!(format!("key:{}", text(&key["key_id"]))));
    assert_eq!(ann.ask("DELETE", &format!("/api/keys/{}", text(&key["key_id"])), None).status, 204);
    assert_eq!(ci.ask("GET", "/api/runs", None).status, 401);
}

#[test]
fn whatever_is_wrong_with_what_is_brought_the_answer_is_one() {
    let home = Home::new();
    made(&home, &["user", "create", "--email", "ann@x.org", "--role", "owner"]);
    let server = serve(&home);
    let (ann, _) = logged_in(&server, "ann@x.org");
    let parts: Vec<&str> = ann.token.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    let refused: Vec<String> = [
        vec![],
        vec!["authorization: Basic YW5uOng=".to_owned()],
        vec!["authorization: Bearer".to_owned()],
        vec![format!("authorization: Bearer {none}.{}.", parts[1])],
        vec![format!("authorization: Bearer {}.{}.{}", parts[0], parts[1], "A".repeat(43))],
        vec!["authorization: Bearer cm_00000000000000000000000000_x".to_owned()],
        vec!["authorization: Bearer cm_".to_owned()],
        vec!["authorization: Bearer \u{e9}".to_owned()],
    ]
    .iter()
    .map(|headers| {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let reply = server.ask("GET", "/api/runs", &headers, None);
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer realm=\"commedia\"")), "{headers:?}");
        reply.body
    })
    .collect();
    assert!(refused.iter().all(|body| *body == refused[0]), "{refused:?}");
    for (email, password) in [("ann@x.org", "wrong password"), ("eve@x.org", PASSWORD)] {
        let reply = server.ask("POST", "/api/auth/login", &[], Some(&json!({"email": email, "password": password})));
        assert_eq!((reply.status, &reply.body), (401, &refused[0]), "{email}");
    }
}

#[test]
fn a_session_goes_on_with_each_token_once() {
    let home = Home::new();
    made(&home, &["user", "create", "--email", "ann@x.org", "--role", "owner"]);
    let key = made(&home, &["key", "create", "--name", "ci", "--role", "viewer"]);
    let server = serve(&home);
    let refresh = |token: &Json| server.ask("POST", "/api/auth/refresh", &[], Some(&json!({"refresh_token": token})));
    let (ann, first) = logged_in(&server, "ann@x.org");
    let (other, _) = logged_in(&server, "ann@x.org");
    let second = refresh(&first["refresh_token"]).json();
    assert_eq!(ann.ask("GET", "/api/runs", None).status, 200, "an access token outlives a refresh");
    assert_eq!(refresh(&first["refresh_token"]).status, 401, "a token that refreshes does not");
    assert_eq!(refresh(&second["refresh_token"]).status, 401, "and its second use ends the session");
    assert_eq!(ann.ask("GET", "/api/runs", None).status, 401, "with its access tokens");
    assert_eq!(other.ask("POST", "/api/auth/logout", None).status, 204);
    assert_eq!(other.ask("GET", "/api/runs", None).status, 401);

    let (ann, _) = logged_in(&server, "ann@x.org");
    let wrong = ann.post("/api/auth/password", &json!({"current": "x", "new": "another password"}));
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["pointer"]), (422, &json!("/current")));

    let form = |body: &str, headers: &str| {
        let (host, length) = (&server.address, body.len());
        let head = format!("POST /api/auth/token HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}");
        let kind = format!("content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}");
        let reply = server.say(format!("{head}{kind}").as_bytes());
        (reply.status, reply.json())
    };
    let (status, tokens) = form("grant_type=password&username=ann%40x.org&password=correct+horse+battery", "");
    assert_eq!((status, &tokens["token_type"]), (200, &json!("Bearer")));
    let (status, tokens) = form(&format!("grant_type=refresh_token&refresh_token={}", text(&tokens["refresh_token"])), "");
    assert_eq!((status, &tokens["role"]), (200, &json!("owner")));
    let (id, secret) = (text(&key["key_id"]), text(&key["key"]));
    let (status, tokens) = form(&format!("grant_type=client_credentials&client_id={id}&client_secret={secret}"), "");
    assert_eq!((status, &tokens["role"], tokens.get("refresh_token")), (200, &json!("viewer"), None));
    let ci = Asker { server: &server, token: text(&tokens["access_token"]).to_owned() };
    assert_eq!(ci.get("/api/auth/me")["key_id"], key["key_id"]);
    for (body, error) in [
        ("grant_type=password&username=ann%40x.org&password=wrong", "invalid_grant"),
        ("grant_type=password&username=ann%40x.org", "invalid_request"),
        ("grant_type=client_credentials&client_id=k&client_secret=cm_x", "invalid_client"),
        ("username=ann%40x.org", "invalid_request"),
        ("grant_type=password&grant_type=password", "invalid_request"),
        ("grant_type=password&other=1&other=2&other=3&username=a&password=b", "invalid_grant"),
        ("grant_type=implicit", "unsupported_grant_type"),
    ] {
        assert_eq!(form(body, ""), (400, form(body, "").1), "{body}");
        assert_eq!(form(body, "").1["error"], error, "{body}");
    }
}

/// A way of one WebSocket's handshake: the status and what the server says of the subprotocol.
async fn opened(
    server: &Server,
    path: &str,
    protocol: Option<&str>,
) -> Result<(String, impl futures_util::Stream<Item = Json> + use<>), u16> {
    let mut request = format!("ws://{}{path}", server.address).into_client_request().expect("a request");
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().expect("a header"));
    }
    let stream = tokio::net::TcpStream::connect(&server.address).await.expect("a connection");
    match client_async(request, stream).await {
        Ok((socket, response)) => {
            let said = response.headers().get("sec-websocket-protocol").and_then(|p| p.to_str().ok()).unwrap_or("").to_owned();
            let frames = socket.map(|frame| match frame {
                Ok(tokio_tungstenite::tungstenite::Message::Text(text)) => serde_json::from_str(&text).expect("JSON"),
                Ok(tokio_tungstenite::tungstenite::Message::Close(Some(close))) => json!({"close": u16::from(close.code)}),
                _ => Json::Null,
            });
            Ok((said, frames))
        }
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(e) => panic!("{e}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_put_out_is_out_of_what_is_open() {
    let home = Home::new();
    made(&home, &["user", "create", "--email", "ann@x.org", "--role", "owner"]);
    made(&home, &["user", "create", "--email", "bob@x.org", "--role", "viewer"]);
    let server = serve(&home);
    let ((ann, _), (bob, _)) = (logged_in(&server, "ann@x.org"), logged_in(&server, "bob@x.org"));
    let run = ann.post("/api/runs", &json!({"scenario": "waiting"})).json();
    let path = format!("/ws/{}", text(&run["run_id"]));
    let ticket = bob.ask("POST", "/api/auth/ws-ticket", None).json();
    let with_ticket = format!("{path}?ticket={}", text(&ticket["ticket"]));
    assert_eq!(opened(&server, &path, None).await.err(), Some(401));
    let (said, frames) = opened(&server, &with_ticket, None).await.expect("a ticket opens");
    assert_eq!(said, "");
    assert_eq!(opened(&server, &with_ticket, None).await.err(), Some(401), "once");
    let bearer = format!("commedia, bearer.{}", bob.token);
    let (said, mut others) = opened(&server, &path, Some(&bearer)).await.expect("a subprotocol opens");
    assert_eq!(said, "commedia");
    let mut frames = Box::pin(frames);
    for kind in ["hello", "snapshot"] {
        assert_eq!(frames.next().await.expect("a frame")["type"], kind);
        assert_eq!(others.next().await.expect("a frame")["type"], kind);
    }
    let members = ann.get("/api/workspaces/default/members");
    let bobs = members["data"].as_array().into_iter().flatten().find(|m| m["email"] == "bob@x.org").expect("bob").clone();
    let gone = ann.ask("DELETE", &format!("/api/workspaces/default/members/{}", text(&bobs["user_id"])), None);
    assert_eq!(gone.status, 204, "{}", gone.body);
    let closed = async |frames: &mut (dyn futures_util::Stream<Item = Json> + Unpin + Send)| {
        tokio::time::timeout(PATIENCE, async {
            while let Some(frame) = frames.next().await {
                if !frame["close"].is_null() {
                    return frame["close"].clone();
                }
            }
            Json::Null
        })
        .await
        .expect("it is closed")
    };
    assert_eq!(closed(&mut frames).await, 4401);
    assert_eq!(closed(&mut others).await, 4401);
    assert_eq!(bob.ask("GET", "/api/runs", None).status, 401);
}

/// A workspace's feed tells what happens in all its runs, and in no other's; a cursor goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_s_feed_tells_of_its_runs_alone() {
    let home = Home::new();
    let other = made(&home, &["workspace", "create", "Other"]);
    let key = made(&home, &["key", "create", "--name", "here", "--role", "operator"]);
    let theirs =
        made(&home, &["key", "create", "--name", "there", "--role", "operator", "--workspace", text(&other["workspace_id"])]);
    let server = serve(&home);
    let here = Asker { server: &server, token: text(&key["key"]).to_owned() };
    let there = Asker { server: &server, token: text(&theirs["key"]).to_owned() };
    let bearer = format!("bearer.{}", here.token);
    let (said, frames) = opened(&server, "/ws/events", Some(&bearer)).await.expect("opens");
    assert_eq!(said, bearer, "a browser wants one of those it offered");
    let mut frames = Box::pin(frames);
    let mut next = async || tokio::time::timeout(PATIENCE, frames.next()).await.expect("in time").expect("a frame");
    assert_eq!(next().await["type"], "hello");
    let coin = json!({"scenario": "coin-shop"});
    there.post("/api/runs", &coin);
    let first = text(&here.post("/api/runs", &coin).json()["run_id"]).to_owned();
    let second = text(&here.post("/api/runs", &coin).json()["run_id"]).to_owned();
    let (mut ended, mut last, mut all) = (Vec::new(), String::new(), Vec::new());
    while ended.len() < 2 {
        let frame = next().await;
        assert!([first.as_str(), second.as_str()].contains(&text(&frame["run_id"])), "{frame}");
        last = text(&frame["cursor"]).to_owned();
        if frame["type"] == "run_status" && frame["status"] == "completed" {
            ended.push(text(&frame["run_id"]).to_owned());
        }
        all.push(frame);
    }
    // From the first frame's cursor the same comes again; behind the last one, only what is new.
    let (_, again) =
        opened(&server, &format!("/ws/events?after={}", text(&all[0]["cursor"])), Some(&bearer)).await.expect("opens");
    let told: Vec<Json> = again.skip(1).take(all.len() - 1).collect().await;
    assert_eq!(told, all[1..]);
    let (_, behind) = opened(&server, &format!("/ws/events?after={last}"), Some(&bearer)).await.expect("opens");
    let third = text(&here.post("/api/runs", &coin).json()["run_id"]).to_owned();
    let told: Vec<Json> = behind.skip(1).take(1).collect().await;
    assert_eq!(told[0]["run_id"], third);
    let (_, lost) = opened(&server, "/ws/events?after=elsewhere-7", Some(&bearer)).await.expect("opens");
    let told: Vec<Json> = lost.skip(1).take(1).collect().await;
    assert_eq!((&told[0]["type"], &told[0]["from"]), (&json!("lagged"), &json!("elsewhere-7")));
}

/// Every route of the API's document, for twelve askers in three workspaces of two accounts, each with a role: what is another
/// workspace's answers like what is nowhere, and what a role may not do is refused.
#[test]
fn nothing_crosses_from_one_workspace_to_another() {
    let home = Home::new();
    let second = made(&home, &["workspace", "create", "Second"]);
    let third = made(&home, &["workspace", "create", "Third", "--new-account"]);
    let workspaces = ["default", text(&second["workspace_id"]), text(&third["workspace_id"])];
    let mut keys: Vec<(usize, usize, Json)> = Vec::new();
    let mut users: Vec<Json> = Vec::new();
    for (w, workspace) in workspaces.iter().enumerate() {
        for (r, role) in ROLES.iter().enumerate() {
            let user = format!("{role}@{w}.org");
            users.push(made(&home, &["user", "create", "--email", &user, "--role", role, "--workspace", workspace]));
            keys.push((w, r, made(&home, &["key", "create", "--name", role, "--role", role, "--workspace", workspace])));
        }
    }
    let server = serve(&home);
    let asker = |key: &Json| Asker { server: &server, token: text(&key["key"]).to_owned() };
    let owner = |w: usize| asker(&keys.iter().find(|(of, r, _)| (*of, *r) == (w, 3)).expect("an owner").2);
    let runs: Vec<String> =
        (0..3).map(|w| text(&owner(w).post("/api/runs", &json!({"scenario": "waiting"})).json()["run_id"]).to_owned()).collect();
    let before: Vec<Json> = (0..3).map(|w| owner(w).get(&format!("/api/runs/{}", runs[w]))).collect();
    let document = owner(0).get("/openapi.json");
    let nowhere = [
        "r_00000000000000000000000000",
        "u_00000000000000000000000000",
        "w_00000000000000000000000000",
        "k_00000000000000000000000000",
    ];
    let (mut asked, mut crossings) = (0, Vec::new());
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let Some(needed) = operation["x-role"].as_str() else { continue };
            let needed = ROLES.iter().position(|role| *role == needed).expect("a role");
            let body = operation.pointer("/requestBody/content/application~1json/example");
            let places = path.contains("{run_id}")
                || path.contains("{user_id}")
                || path.contains("{workspace_id}")
                || path.contains("{key_id}");
            for (w, r, key) in &keys {
                for other in (0..3).filter(|other| other != w) {
                    let filled = |run: &str, user: &str, workspace: &str, key: &str| {
                        let path = path.replace("{run_id}", run).replace("{user_id}", user).replace("{workspace_id}", workspace);
                        let path = path.replace("{step_id}", "t1.0.1").replace("{seq}", "1");
                        path.replace("{key_id}", key).replace("{name}", "coin-shop")
                    };
                    let (user, theirs) = (&users[other * 4], keys.iter().find(|(of, ..)| *of == other).expect("a key"));
                    let foreign = filled(&runs[other], text(&user["user_id"]), workspaces[other], text(&theirs.2["key_id"]));
                    let unknown = filled(nowhere[0], nowhere[1], nowhere[2], nowhere[3]);
                    if !places {
                        continue;
                    }
                    asked += 2;
                    let who = asker(key);
                    let (foreign_reply, unknown_reply) =
                        (who.ask(&method.to_uppercase(), &foreign, body), who.ask(&method.to_uppercase(), &unknown, body));
                    // The ids themselves are the only difference.
                    let plain = |reply: &Reply, path: &str| {
                        let mut body = reply.body.clone();
                        for part in path.split('/').filter(|part| part.contains('_')) {
                            body = body.replace(part, "ID");
                        }
                        (reply.status, body.replace("the workspace `default`", "the workspace `ID`").replace("`default`", "`ID`"))
                    };
                    let (found, expect) = (plain(&foreign_reply, &foreign), plain(&unknown_reply, &unknown));
                    let refused = if *r < needed { 403 } else { 404 };
                    if found != expect || (found.0 != refused && found.0 != 409) {
                        crossings.push(format!("{} {method} {foreign}: {found:?}, not {expect:?}", ROLES[*r]));
                    }
                }
                if *r < needed && !path.contains("{user_id}") {
                    let own = path.replace("{run_id}", &runs[*w]).replace("{workspace_id}", workspaces[*w]);
                    let own = own.replace("{key_id}", text(&key["key_id"])).replace("{name}", "coin-shop");
                    let reply = asker(key).ask(&method.to_uppercase(), &own, body);
                    asked += 1;
                    if reply.status != 403 {
                        crossings.push(format!("{} {method} {own}: {}", ROLES[*r], reply.status));
                    }
                }
            }
        }
    }
    assert_eq!(crossings, Vec::<String>::new());
    assert!(asked > 1000, "{asked}");
    for w in 0..3 {
        let listed = owner(w).get("/api/runs");
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(owner(w).get(&format!("/api/runs/{}", runs[w])), before[w]);
        assert_eq!(owner(w).get("/api/keys")["data"].as_array().map(Vec::len), Some(4));
        assert_eq!(owner(w).get("/api/users")["data"].as_array().map(Vec::len), Some(4));
    }
}

/// A connection that is encrypted, to a server with a certificate of its own.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_where_a_certificate_is_named() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let home = Home::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    let (certificate, key) = (home.file("c.pem", made.cert.pem()), home.file("k.pem", made.signing_key.serialize_pem()));
    let mut command = home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]);
    let server = Server::of(command.env("COMMEDIA_HTTP__TLS__CERTIFICATE", &certificate).env("COMMEDIA_HTTP__TLS__KEY", key));

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let config =
        ClientConfig::builder_with_provider(std::sync::Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(&server.address).await.expect("a connection");
        connector.connect("localhost".try_into().expect("a name"), stream).await.expect("encrypted")
    };
    let mut stream = connect().await;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("strict-transport-security: max-age=31536000"), "{text}");

    let mut stream = connect().await;
    let run = json!({"scenario": "coin-shop"}).to_string();
    let head = format!(
        "POST /api/runs HTTP/1.1\r\nhost: localhost\r\nprefer: wait=20\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{run}",
        run.len()
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    let id = text.split("\"run_id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{text}"));
    let (socket, _) = client_async(format!("ws://localhost/ws/{id}"), connect().await).await.expect("a WebSocket");
    assert!(socket.count().await > 10, "its frames come over the same connection");

    let plain = home.run(&["serve", "--auth", "none", "--bind", "127.0.0.1:0"]);
    assert_eq!(plain.code, 8, "the folder is taken: {}", plain.err);
    let other = Home::new();
    let wrong = other
        .command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0"])
        .env("COMMEDIA_HTTP__TLS__CERTIFICATE", &certificate)
        .env("COMMEDIA_HTTP__TLS__KEY", &certificate)
        .output()
        .expect("runs");
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
}

#[test]
fn pages_of_elsewhere_ask_in_vain() {
    let home = Home::new();
    let mut command = home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]);
    let server = Server::of(command.env("COMMEDIA_HTTP__CORS__ORIGINS", "https://app.example.com"));
    let run = text(&server.ask("POST", "/api/runs", &[], Some(&json!({"scenario": "waiting"}))).json()["run_id"]).to_owned();
    let cancel = format!("/api/runs/{run}/cancel");
    let own = format!("origin: http://{}", server.address);
    for (header, status) in [
        ("origin: https://evil.example.com", 403),
        ("origin: null", 403),
        (own.as_str(), 200),
        ("origin: https://app.example.com", 200),
    ] {
        assert_eq!(server.ask("GET", "/api/runs", &[header], None).status, status, "{header}");
    }
    assert_eq!(server.ask("POST", &cancel, &["origin: https://evil.example.com"], None).status, 403);
    // A name that was made to lead here.
    let rebound = server.say(b"GET /api/runs HTTP/1.1\r\nhost: evil.example.com\r\nconnection: close\r\n\r\n");
    assert_eq!(rebound.status, 403, "{}", rebound.body);
    assert_eq!(server.say(b"GET /api/runs HTTP/1.1\r\nhost: localhost:99\r\nconnection: close\r\n\r\n").status, 200);

    let asked = [
        "origin: https://app.example.com",
        "access-control-request-method: POST",
        "access-control-request-headers: authorization",
    ];
    let preflight = server.ask("OPTIONS", "/api/runs", &asked, None);
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (200, Some("https://app.example.com")));
    let other =
        server.ask("OPTIONS", "/api/runs", &["origin: https://evil.example.com", "access-control-request-method: POST"], None);
    assert_eq!(other.header("access-control-allow-origin"), None);
    let small = server.ask("GET", "/livez", &["accept-encoding: gzip"], None);
    assert_eq!(small.header("content-encoding"), None);
}
