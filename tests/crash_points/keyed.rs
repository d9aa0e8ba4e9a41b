//! A server that dies around a command which came with a key: whoever gives it again has given it once.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use serde_json::Value as Json;

use crate::stage::{Act, Stage, Told, signal, text};

struct Served {
    child: Child,
    address: String,
}

fn served(stage: &Stage, crash_at: Option<&str>) -> Served {
    let mut command = stage.command(&["serve", "--auth", "none", "--bind", "127.0.0.1:0", "--quiet"]);
    let mut child = command.envs(crash_at.map(|point| ("COMMEDIA_CRASH_AT", point))).spawn().expect("starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
    let address = line.trim().split_once("://").unwrap_or_else(|| panic!("no address: {line}")).1.to_owned();
    Served { child, address }
}

/// Words to the bell with a key: the answer's head and body, where there is one.
fn told(served: &Served, bell: &str, words: &str) -> Option<(String, String)> {
    let body = format!(r#"{{"agent": "bell", "text": "{words}"}}"#);
    let head = format!(
        "POST /api/runs/{bell}/messages HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nidempotency-key: one\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        served.address,
        body.len()
    );
    let mut stream = TcpStream::connect(&served.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a patience");
    stream.write_all((head + &body).as_bytes()).expect("written");
    let mut answer = String::new();
    // A server that has died resets the connection.
    stream.read_to_string(&mut answer).unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(head, body)| (head.to_lowercase(), body.to_owned()))
}

fn check(engine: &'static str, crash_at: &str, is_done: bool) {
    let folder = crate::folder();
    let stage = Stage::new(&folder.path().join("keyed"), engine);
    stage.perform(Act::Bell, &mut VecDeque::new(), &mut Told::new());
    let bell = text(&stage.runs("bell")[0]["run_id"]);

    let mut first = served(&stage, Some(crash_at));
    assert_eq!(told(&first, &bell, "close early"), None, "{crash_at}");
    assert!(!first.child.wait().expect("ends").success(), "{crash_at}");

    let mut second = served(&stage, None);
    let answered = told(&second, &bell, "close early").unwrap_or_else(|| panic!("{crash_at}: no answer"));
    let is_replayed = |(head, _): &(String, String)| head.contains("\r\nidempotency-replayed: true");
    assert!(answered.0.starts_with("http/1.1 200") && is_replayed(&answered) == is_done, "{crash_at}: {answered:?}");
    let again = told(&second, &bell, "close early").expect("an answer");
    assert!(again.1 == answered.1 && is_replayed(&again), "{crash_at}: {again:?}");
    let other = told(&second, &bell, "close late").expect("an answer");
    assert!(other.0.starts_with("http/1.1 422"), "{crash_at}: {other:?}");
    signal(second.child.id(), "TERM");
    assert!(second.child.wait().expect("ends").success(), "{crash_at}");

    let heard: Vec<Json> = stage.log(&bell).into_iter().filter(|event| event["data"]["text"] == "close early").collect();
    let answer: Json = serde_json::from_str(&answered.1).expect("JSON");
    assert_eq!(heard.iter().map(|event| &event["seq"]).collect::<Vec<_>>(), [&answer["seq"]], "{crash_at}");
}

#[test]
fn a_command_with_a_key_is_given_once_though_the_server_dies_around_it() {
    for engine in ["sled", "fjall"] {
        for (crash_at, is_done) in [("command.before", false), ("command.durable", true), ("command.answered", true)] {
            check(engine, crash_at, is_done);
        }
    }
}
