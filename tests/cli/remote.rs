//! The same verbs on a server, and scenarios that it keeps by name.

use serde_json::{Value as Json, json};

use crate::home::{Home, Said};
use crate::serve::Server;

const HELLO: &str = "name: hello\nstart: {agent: greeter, message: Begin}\nparameters:\n  who: {type: string, default: you}\nagents:\n  greeter:\n    kind: rules\n    rules: \
                     [{otherwise: true, emit: [{finish: \"'hello ' + params.who\"}]}]\n";

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text"))
}

fn on(home: &Home, server: &Server, arguments: &[&str]) -> Said {
    let url = format!("http://{}", server.address);
    let mut all = arguments.to_vec();
    all.extend(["--server", &url]);
    home.run(&all)
}

#[test]
fn the_verbs_act_on_a_server() {
    let (home, there) = (Home::new(), Home::new());
    let server = Server::of(&mut there.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]));
    let local = home.run(&["run", "coin-shop", "--seed", "7", "--output", "json"]).exits(0).json();
    let run = on(&home, &server, &["run", "coin-shop", "--seed", "7", "--output", "json"]).exits(0).json();
    assert_eq!((&run["schema"], &run["digest"], &run["metrics"]), (&local["schema"], &local["digest"], &local["metrics"]));
    assert_eq!(crate::home::keys(&run), crate::home::keys(&local), "the same object");
    let id = text(&run["run_id"]).to_owned();
    let listed = on(&home, &server, &["ls", "--output", "jsonl"]).exits(0).lines();
    assert_eq!((listed.len(), text(&listed[0]["run_id"])), (1, id.as_str()));
    for word in [id.as_str(), "@1", &id[..20]] {
        let shown = on(&home, &server, &["show", word, "--output", "json"]).exits(0).json();
        assert_eq!(shown["digest"], run["digest"], "{word}");
    }
    let told = on(&home, &server, &["tail", "@1", "--output", "jsonl"]).exits(0).lines();
    assert_eq!((text(&told[0]["type"]), told.last().map(|event| text(&event["type"]))), ("run.created", Some("run.completed")));

    for arguments in [&["replay", "@1", "--verify"][..], &["why", "@1", "20"]] {
        let (local, there) = (home.run(arguments).exits(0).out, on(&home, &server, arguments).exits(0).out);
        assert_eq!(there, local, "{arguments:?}");
    }
    let words = [
        "run",
        "retail-season",
        "--ask",
        "12 weeks from 2 March, hold back a third, no markdown",
        "--today",
        "2026-02-25",
        "--yes",
        "--output",
        "json",
    ];
    let (local, there) = (home.run(&words).exits(0).json(), on(&home, &server, &words).exits(0).json());
    assert_eq!((&there["parameters"], &there["digest"]), (&local["parameters"], &local["digest"]));

    // A file of one's own is kept there, and run.
    let file = home.file("hello.scenario.yaml", HELLO);
    let run = on(&home, &server, &["run", &file, "--set", "who=Ann", "--output", "json"]).exits(0).json();
    assert_eq!(run["result"], "hello Ann");
    let detached = on(&home, &server, &["run", "waiting", "--detach", "--output", "json"]).exits(0).json();
    let waiting = text(&detached["run_id"]);
    on(&home, &server, &["pause", waiting]).exits(0);
    assert_eq!(on(&home, &server, &["show", waiting, "--output", "json"]).exits(0).json()["status"], "paused");
    on(&home, &server, &["resume", waiting]).exits(0);
    let seq = on(&home, &server, &["tell", waiting, "sleeper", "Wake up."]).exits(0).err;
    assert!(seq.is_empty(), "{seq}");
    server.heard(waiting, 1);
    on(&home, &server, &["cancel", waiting, "--reason", "enough"]).exits(0);
    assert_eq!(on(&home, &server, &["show", waiting, "--output", "json"]).exits(0).json()["status"], "cancelled");

    for (arguments, code, words) in [
        (&["show", "@99"][..], 2, "there is no run `@99` there"),
        (&["show", "r_00000000000000000000000000"], 2, "there is no run"),
        (&["run", "no-such-thing"], 3, "no-such-thing"),
        (&["run", "retail-season", "--set", "forecast_horizon_weeks=99"], 3, "forecast_horizon_weeks"),
        (&["run", "coin-shop", "--record", "tape"], 2, "`--record` does not go with a server"),
        (&["why", "@1", "99"], 2, "has no event 99"),
        (&["tell", "@1", "sleeper", "Wake up."], 2, "has ended"),
        (&["tell", "@1", "nobody", "Wake up."], 2, "has no agent `nobody`; it has `sleeper`"),
        (&["resolve", "@1"], 2, "does not wait for a resolution"),
        (&["run", "retail-season", "--ask", "12 to 14 weeks"], 3, "not confirmed"),
        (&["store", "check"], 2, "looks after a data folder"),
        (&["user", "ls"], 2, "this server has no users"),
    ] {
        let said = on(&home, &server, arguments).exits(code);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    drop(server);
    let gone = home.run(&["ls", "--server", "http://127.0.0.1:1"]).exits(7);
    assert!(gone.err.contains("cannot be reached"), "{}", gone.err);
    assert_eq!(home.run(&["ls", "--output", "jsonl"]).exits(0).lines().len(), 2, "nothing of that was done here");
}

#[test]
fn a_server_with_users_wants_to_know_who_asks() {
    let (home, there) = (Home::new(), Home::new());
    let key = there.run(&["key", "create", "--name", "ci", "--role", "admin", "--output", "json"]).exits(0).json();
    let server = Server::of(&mut there.command(&["serve", "--bind", "127.0.0.1:0", "--quiet"]));
    let refused = on(&home, &server, &["ls"]).exits(7);
    assert!(refused.err.contains("COMMEDIA_TOKEN"), "{}", refused.err);
    let url = format!("http://{}", server.address);
    let ask = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        let done = command
            .args(["--output", "json"])
            .env("COMMEDIA_SERVER", &url)
            .env("COMMEDIA_TOKEN", text(&key["key"]))
            .output()
            .expect("runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Json>(&done.stdout).expect("JSON")
    };
    let user = ask(&["user", "create", "--email", "bob@x.org", "--role", "viewer"]);
    assert!(text(&user["password"]).len() > 20);
    assert_eq!(ask(&["user", "ls"])["data"][0]["email"], "bob@x.org");
    ask(&["user", "revoke", "bob@x.org"]);
    assert_eq!(ask(&["key", "ls"])["data"][0]["key_id"], key["key_id"]);
    assert_eq!(ask(&["workspace", "ls"])["data"][0]["workspace_id"], "default");
    assert_eq!(ask(&["run", "coin-shop"])["status"], "completed");
}

/// An agent whose turns count, and one that draws; bounds that are kept, and one that is missed.
const DICE: &str = "name: dice\nstart: {agent: host, message: Begin}\nagents:\n  host:\n    kind: llm\n    instructions: Hand over.\n    \
                    handoffs: [player]\n    fallback: {rules: [{otherwise: true, emit: [{handoff: player, message: Go}]}]}\n  player:\n    \
                    kind: rules\n    draws: {n: {choice: {of: [1, 2, 3, 4, 5, 6]}}}\n    rules: [{otherwise: true, emit: [{set: {n: draws.n}}, \
                    {finish: draws.n}]}]\nworld: {state: {n: {type: integer, default: 0}}}\nmetrics: {n: {value: state.n}}\nchecks: \
                    [{name: it fell, that: 'state.n > 0'}]\nthresholds:\n  - {metric: run.turns, max: '== 1', min: '== 1'}\n  \
                    - {metric: run.handoffs, mean: '== 1'}\n  - {metric: run.failed, rate: '== 0'}\n  - {metric: n, max: '< 3'}\n";

#[test]
fn many_runs_on_a_server_are_summed_up_as_here() {
    let (home, there) = (Home::new(), Home::new());
    let key = there.run(&["key", "create", "--name", "ci", "--role", "operator", "--output", "json"]).exits(0).json();
    // So few requests that some are refused at first.
    let mut serve = there.command(&["serve", "--bind", "127.0.0.1:0", "--quiet"]);
    let server = Server::of(serve.env("COMMEDIA_HTTP__RATES__PRINCIPAL", "20/s"));
    let file = home.file("dice.scenario.yaml", DICE);
    let words = ["run", &file, "--runs", "12", "--seed", "5", "--output", "json"];
    let local = home.run(&words).exits(99).json();
    let on = |words: &[&str]| {
        let url = format!("http://{}", server.address);
        let mut command = home.command(words);
        Said::from(command.env("COMMEDIA_SERVER", url).env("COMMEDIA_TOKEN", text(&key["key"])).output().expect("runs"))
    };
    let there = on(&words).exits(99).json();
    let digests = |runs: &Json| -> Vec<Json> {
        let runs = runs["runs"].as_array().expect("runs").iter();
        runs.map(|run| json!([run["seed"], run["status"], run["digest"], run["metrics"], crate::home::keys(run)])).collect()
    };
    assert_eq!((digests(&there).len(), digests(&there)), (12, digests(&local)));
    for field in ["schema", "scenario_hash", "metrics", "thresholds"] {
        assert_eq!(there[field], local[field], "{field}");
    }
    let passed: Vec<_> = there["thresholds"].as_array().expect("verdicts").iter().map(|v| v["passed"].as_bool()).collect();
    assert_eq!(passed, [Some(true), Some(true), Some(true), Some(true), Some(false)]);
    let table = on(&["run", &file, "--runs", "3", "--parallel", "2"]).exits(99);
    assert!(table.out.starts_with("dice · 3 runs: 3 completed · seeds 1 to 3\n"), "{}", table.out);
    assert!(table.err.contains("100 %  3 of 3 runs"), "{}", table.err);
    let ids = on(&["run", "waiting", "--runs", "2", "--detach"]).exits(0).out;
    assert_eq!(ids.lines().filter(|id| id.starts_with("r_")).count(), 2, "{ids}");
    let waiting = on(&["run", "waiting", "--runs", "2", "--output", "json"]).exits(0).json();
    assert_eq!(waiting["runs"][1]["waiting_for"], "timer", "{waiting}");
    let refused = on(&["run", &file, "--runs", "2", "--set", "no=1"]).exits(3);
    assert!(refused.err.contains("no") && !refused.err.contains("started"), "{}", refused.err);
    let followed = on(&["run", &file, "--runs", "2", "--progress", "json", "--output", "json"]).exits(99);
    assert_eq!(followed.json()["runs"].as_array().map(Vec::len), Some(2), "{}", followed.err);
}

#[test]
fn faults_are_injected_on_a_server_as_here() {
    let (home, there) = (Home::new(), Home::new());
    let server = Server::of(&mut there.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]));
    let pack = there.run(&["validate", "fault-drill", "--resolved"]).exits(0).out;
    let (own, _) = pack.split_once("\nfaults:").expect("its faults");
    let own = &own.replacen("name: fault-drill", "name: drill", 1);
    // Files that differ in their faults are one version, which is kept there as it came first.
    let crash = home.file("crash.scenario.yaml", format!("{own}\nfaults:\n  - crash: {{agent: clerk, turn: 2}}\n"));
    let drop = home.file("drop.scenario.yaml", format!("{own}\nfaults:\n  - message: {{from: watch, effect: drop, p: 0.2}}\n"));
    let calm = home.file("calm.scenario.yaml", own);
    let none = home.file("none.yaml", "[]");
    let storm = home.file("storm.yaml", "faults:\n  - message: {to: clerk, effect: duplicate, p: 0.3}\n");
    let mut seen = Vec::new();
    for (scenario, faults) in [
        ("fault-drill", None),
        ("fault-drill", Some(&none)),
        ("fault-drill", Some(&storm)),
        (&*crash, None),
        (&*drop, None),
        (&*calm, None),
        (&*drop, Some(&storm)),
    ] {
        let mut words = vec!["run", scenario, "--seed", "3", "--output", "json"];
        words.extend(faults.iter().flat_map(|file| ["--faults", file.as_str()]));
        let (local, there) = (home.run(&words).exits(0).json(), on(&home, &server, &words).exits(0).json());
        assert_eq!((&there["digest"], &there["faults"]), (&local["digest"], &local["faults"]), "{words:?}");
        seen.push(there["faults"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(seen, [9, 0, 1, 1, 1, 0, 1]);
    let bad = home.file("bad.yaml", "- crash: {agent: nobody, turn: 1}\n");
    let said = on(&home, &server, &["run", "fault-drill", "--faults", &bad]).exits(3);
    assert!(said.err.contains("bad.yaml:1:"), "{}", said.err);
    let body =
        json!({"scenario": "fault-drill", "faults": [{"crash": {"agent": "clerk", "turn": 1}}, {"crash": {"agent": "nobody"}}]});
    let answer = server.ask("POST", "/api/runs", &[], Some(&body));
    let told = answer.json();
    let pointers: Vec<&str> = told["errors"].as_array().expect("errors").iter().map(|e| text(&e["pointer"])).collect();
    assert_eq!((answer.status, pointers), (409, vec!["/faults/1"; 2]), "{told}");
    for (error, words) in [("x".repeat(201), "at most 200 characters"), ("${env:HOME}".into(), "a secret cannot be used here")] {
        let body = json!({"scenario": "fault-drill", "faults": [{"tool": {"name": "set_pace", "error": error, "p": 0.5}}]});
        let answer = server.ask("POST", "/api/runs", &[], Some(&body));
        let told = answer.json();
        assert_eq!((answer.status, text(&told["errors"][0]["pointer"])), (409, "/faults/0"), "{told}");
        assert!(told.to_string().contains(words), "{told}");
    }
    assert_eq!(on(&home, &server, &["ls", "--output", "jsonl"]).exits(0).lines().len(), 7);
}

#[test]
fn labels_find_runs_again() {
    let home = Home::new();
    let plain = home.run(&["run", "coin-shop", "--output", "json"]).exits(0).json();
    let words = ["run", "coin-shop", "--label", "team=red", "--label", "n=1", "--label", "team=blue", "--output", "json"];
    let run = home.run(&words).exits(0).json();
    assert_eq!((&run["labels"], &plain["labels"]), (&json!({"n": "1", "team": "blue"}), &Json::Null));
    assert_eq!((&run["digest"], run["events"].as_u64()), (&plain["digest"], plain["events"].as_u64().map(|n| n + 1)));
    let count = |label: &str| home.run(&["ls", "--label", label, "--output", "jsonl"]).exits(0).lines().len();
    assert_eq!((count("team"), count("team=blue"), count("team=red"), count("n=1"), count("team=")), (1, 1, 0, 1, 0));
    home.run(&["run", "coin-shop", "--label", "team"]).exits(2);
    home.run(&["run", "coin-shop", "--label", "-x=1"]).exits(2);
    assert_eq!(home.run(&["replay", "@1", "--verify", "--output", "json"]).exits(0).json()["equal"], true);

    let server = Server::of(&mut home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]));
    let get = |path: &str| server.ask("GET", path, &[], None).json();
    let of = |label: &str| get(&format!("/api/runs?label={label}"))["data"].clone();
    on(&home, &server, &["run", "waiting", "--label", "team=blue", "--detach"]).exits(0);
    assert_eq!((of("team").as_array().map(Vec::len), &of("n%3D1")[0]["run_id"]), (Some(2), &run["run_id"]));
    // A row that is written anew has them, too.
    let id = text(&of("team%3Dblue")[0]["run_id"]).to_owned();
    on(&home, &server, &["tell", &id, "sleeper", "Wake up."]).exits(0);
    on(&home, &server, &["cancel", &id]).exits(0);
    assert_eq!(get(&format!("/api/runs/{id}"))["labels"], json!({"team": "blue"}));
    let there = on(&home, &server, &["run", "coin-shop", "--label", "team=green", "--runs", "2", "--output", "json"]).exits(0);
    assert_eq!(there.json()["runs"][1]["labels"], json!({"team": "green"}));
    let listed = on(&home, &server, &["ls", "--label", "team=green", "--limit", "1"]).exits(0);
    assert!(listed.err.contains("--label team=green --server"), "{}", listed.err);
    let post = |labels: Json| {
        let reply = server.ask("POST", "/api/runs", &[], Some(&json!({"scenario": "coin-shop", "labels": labels})));
        (reply.status, reply.json()["errors"][0]["pointer"].clone())
    };
    let many: serde_json::Map<String, Json> = (0..17).map(|n| (format!("l{n}"), json!("x"))).collect();
    assert_eq!(post(json!({"a": "b"})), (201, Json::Null));
    assert_eq!(post(Json::Object(many)), (422, json!("/labels")));
    assert_eq!(post(json!({"a b": "x"})).0, 422);
    assert_eq!(post(json!({"a": "\u{e9}"})), (422, json!("/labels/a")));
}

#[test]
fn scenarios_are_kept_by_name_with_their_versions() {
    let home = Home::new();
    let mut server = Server::of(&mut home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]));
    let put = |server: &Server, method: &str, path: &str, headers: &str, body: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/yaml\r\n",
            server.address
        );
        let reply = server.say(format!("{head}{headers}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        (reply.status, reply.header("etag").unwrap_or_default().to_owned(), reply.json())
    };
    let get = |server: &Server, path: &str| server.ask("GET", path, &[], None).json();
    let (status, tag, view) = put(&server, "POST", "/api/scenarios", "", HELLO);
    assert_eq!(
        (status, &view["name"], &view["version"], &view["source"]),
        (201, &json!("hello"), &json!(1), &json!("workspace"))
    );
    assert_eq!(put(&server, "POST", "/api/scenarios", "", HELLO).0, 200, "the same is no new version");
    let other = HELLO.replace("'hello '", "'good day '");
    let (status, _, view) = put(&server, "PUT", "/api/scenarios/hello", &format!("if-match: {tag}\r\n"), &other);
    assert_eq!((status, &view["version"]), (201, &json!(2)));
    let stale = put(&server, "PUT", "/api/scenarios/hello", &format!("if-match: {tag}\r\n"), HELLO);
    assert_eq!((stale.0, &stale.2["code"]), (412, &json!("precondition_failed")));
    assert_eq!(put(&server, "PUT", "/api/scenarios/bye", "", HELLO).0, 409, "the document has another name");
    let broken = put(&server, "POST", "/api/scenarios", "", "name: x\nagents:\n  a: {kind: nothing}\n");
    assert_eq!((broken.0, &broken.2["code"]), (409, &json!("uncompiled")));
    assert!(text(&broken.2["errors"][0]["pointer"]).starts_with("document.scenario.yaml:3:"), "{}", broken.2);
    let built_in = put(&server, "POST", "/api/scenarios", "", &HELLO.replace("name: hello", "name: coin-shop"));
    assert_eq!((built_in.0, &built_in.2["code"]), (409, &json!("conflict")));
    let run = |server: &Server, scenario: &str| {
        let body = json!({"scenario": scenario, "parameters": {"who": "Bob"}});
        let run = server.ask("POST", "/api/runs", &["prefer: wait=20"], Some(&body)).json();
        get(server, &format!("/api/runs/{}/result", text(&run["run_id"])))["result"].clone()
    };
    for (scenario, result) in [("hello", "good day Bob"), ("hello@1", "hello Bob"), ("hello@2", "good day Bob")] {
        assert_eq!(run(&server, scenario), result, "{scenario}");
    }
    let versions = get(&server, "/api/scenarios/hello/versions");
    assert_eq!((&versions["data"][0]["version"], &versions["data"][1]["version"]), (&json!(2), &json!(1)));
    let document = get(&server, "/api/scenarios/hello/openapi.json");
    assert_eq!(document["components"]["schemas"]["NewRun"]["properties"]["scenario"]["const"], "hello");
    let names = |server: &Server| {
        get(server, "/api/scenarios")["data"].as_array().expect("a list").iter().filter(|s| s["source"] == "workspace").count()
    };
    assert_eq!(names(&server), 1);
    drop(server);
    server = Server::of(&mut home.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]));
    assert_eq!(run(&server, "hello"), "good day Bob", "it is kept");
    let remove = |headers: &[&str]| server.ask("DELETE", "/api/scenarios/hello", headers, None).status;
    assert_eq!((remove(&[&format!("if-match: {tag}")]), remove(&[])), (412, 204));
    assert_eq!((names(&server), server.ask("GET", "/api/scenarios/hello", &[], None).status), (0, 404));
    let (status, _, view) = put(&server, "POST", "/api/scenarios", "", HELLO);
    assert_eq!((status, &view["version"]), (201, &json!(3)), "numbers are not used twice");
}

#[test]
fn settings_and_surroundings_are_told() {
    let home = Home::new();
    let shown = home.command(&["config", "show", "--output", "json"]).env("OPENAI_API_KEY", "sk-planted").output().expect("runs");
    let words = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(words.contains("\"http.bind\"") && words.contains("OPENAI_API_KEY") && !words.contains("sk-planted"), "{words}");
    let found = home.run(&["doctor", "--output", "json"]).exits(0).json();
    let checks: Vec<&str> = found["checks"].as_array().expect("checks").iter().map(|c| text(&c["check"])).collect();
    assert_eq!(checks, ["store", "disk", "files", "address", "models", "tls"]);
    assert_eq!(home.run(&["openapi"]).exits(0).json()["openapi"], "3.1.0");
    let server = Server::of(&mut home.command(&["up", "--bind", "127.0.0.1:0", "--quiet"]));
    let runs = server.ask("GET", "/api/runs", &[], None).json();
    assert_eq!((&runs["data"][0]["status"], &runs["data"][0]["scenario"]), (&json!("completed"), &json!("retail-season")));
    let id = text(&runs["data"][0]["run_id"]);
    let transcript = server.ask("GET", &format!("/api/runs/{id}/transcript"), &[], None).json();
    assert!(transcript["data"].as_array().expect("lines").iter().any(|line| line["kind"] == "handoff.made"), "{transcript}");
    let (models, tools) = (server.ask("GET", "/api/models", &[], None).json(), server.ask("GET", "/api/tools", &[], None).json());
    assert_eq!((&models["data"][0]["provider"], &tools["data"][3]["name"]), (&json!("openai"), &json!("forecast")));
    assert!(!home.data().exists(), "nothing is left behind");
}
