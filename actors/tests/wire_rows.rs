//! Everything an endpoint may do wrong, in each interface, whole and streamed: each ends as it should, bounded in time and
//! memory, without a word of the key, and leaves nothing behind.

#[expect(dead_code, reason = "each test takes its own share")]
mod wire_support;

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commedia_actors::model::endpoint::{Endpoint, Wire, connect};
use commedia_actors::model::peer::{Behaviour, Deed, End, Heard, Peer, Said, chunked, head, plain, sse};
use commedia_actors::model::{Answer, Deltas, ModelError, ModelErrorKind};
use serde_json::{Value as Json, json};
use wire_support::{PLANTED, WIRES, endpoint, request};

const WORDS: &str = "Grüße, 世界 \u{1f600}!";
/// A time-out that is waited for.
const SOON: Duration = Duration::from_millis(60);

/// What a row is to come to.
#[derive(Clone)]
enum Expect {
    /// The words above.
    Words,
    /// Any answer for which this holds.
    Answer(fn(&Answer) -> bool),
    /// An error of a kind whose message has these words.
    Fails(ModelErrorKind, &'static str),
    /// An error that asks for a pause of so many milliseconds.
    Pause(Option<u64>),
}

type Act = Arc<dyn Fn(&Heard) -> Vec<Deed> + Send + Sync>;

/// A kind of behaviour.
struct Row {
    name: &'static str,
    act: Act,
    expect: Expect,
    /// For which interfaces and forms.
    of: fn(Wire, bool) -> bool,
    /// What is hurried.
    hurry: fn(&mut Endpoint),
}

fn row(name: &'static str, expect: Expect, act: impl Fn(&Heard) -> Vec<Deed> + Send + Sync + 'static) -> Row {
    Row { name, act: Arc::new(act), expect, of: |_, _| true, hurry: |_| () }
}

impl Row {
    fn only(self, of: fn(Wire, bool) -> bool) -> Row {
        Row { of, ..self }
    }

    fn hurried(self, hurry: fn(&mut Endpoint)) -> Row {
        Row { hurry, ..self }
    }
}

fn good() -> Said {
    Said::words(WORDS)
}

/// A body in the form that is asked for.
fn body(heard: &Heard, said: &Said) -> Vec<u8> {
    match heard.stream {
        true => sse(&said.events(heard.wire, "m")),
        false => said.body(heard.wire, "m").to_string().into_bytes(),
    }
}

/// Any body, framed as the form that is asked for.
fn framed(heard: &Heard, body: &[u8]) -> Vec<Deed> {
    let kind = if heard.stream { "text/event-stream" } else { "application/json" };
    vec![Deed::Write(chunked(kind, &[body.to_vec()]))]
}

/// The head of an answer in chunks, and a chunk.
fn begun(heard: &Heard, piece: &[u8]) -> Vec<u8> {
    let kind = if heard.stream { "text/event-stream" } else { "application/json" };
    let whole = chunked(kind, &[piece.to_vec()]);
    whole[..whole.len() - b"0\r\n\r\n".len()].to_vec()
}

/// An error as the interface has it.
fn error(heard: &Heard, kind: &str, code: &str, message: &str) -> Json {
    match heard.wire {
        Wire::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
        _ => json!({"error": {"type": kind, "code": code, "message": message, "param": null}}),
    }
}

fn refusing(status: u16, headers: &'static [(&'static str, &'static str)], message: &'static str) -> Act {
    Arc::new(move |heard| vec![Deed::Write(plain(status, headers, &error(heard, "e", "e", message).to_string()))])
}

fn status(status: u16, expect: Expect) -> Row {
    Row { act: refusing(status, &[], "told"), ..row("a status", expect, |_| Vec::new()) }
}

fn pause(headers: &'static [(&'static str, &'static str)], expect: Option<u64>) -> Row {
    Row { act: refusing(429, headers, "slow down"), ..row("429 with a pause", Expect::Pause(expect), |_| Vec::new()) }
}

fn said(name: &'static str, expect: Expect, said: Said) -> Row {
    row(name, expect, move |heard| vec![Deed::Write(said.whole(heard))])
}

/// Statuses and what they ask for.
fn refusals() -> Vec<Row> {
    use Expect::Fails;
    use ModelErrorKind::*;
    let mut rows: Vec<Row> = [500, 502, 503, 529].map(|code| status(code, Fails(Overloaded, "broken or overloaded"))).into();
    rows.extend([
        status(401, Fails(Unauthorized, "refused the key (401): check ")),
        status(403, Fails(Unauthorized, "does not allow it (403)")),
        status(404, Fails(Refused, "no such model or address (404)")),
        status(400, Fails(Refused, "refused the request (400): told")),
        status(413, Fails(Refused, "too long (413)")),
        status(402, Fails(Quota, "quota is used up (402)")),
        status(408, Fails(Timeout, "(408)")),
        status(204, Fails(Malformed, "no body")),
        pause(&[], None),
        pause(&[("retry-after", "2")], Some(2000)),
        pause(&[("retry-after", "0.25")], Some(250)),
        pause(&[("retry-after-ms", "20"), ("retry-after", "9")], Some(20)),
        pause(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), ("date", "Wed, 21 Oct 2015 07:27:00 GMT")], Some(60_000)),
        pause(&[("x-ratelimit-reset-requests", "1m30s")], Some(90_000)),
        pause(&[("x-ratelimit-reset-tokens", "20ms")], Some(20)),
        pause(&[("retry-after", "soon")], None),
        pause(&[("retry-after", "-3")], None),
        pause(&[("retry-after", "1e30")], Some(86_400_000)),
        row("the quota is used up", Fails(Quota, "check the plan"), |heard| {
            let told = error(heard, "insufficient_quota", "insufficient_quota", "You exceeded your current quota");
            vec![Deed::Write(plain(429, &[], &told.to_string()))]
        }),
        row("the context is too long", Fails(Refused, "shorten the history"), |heard| {
            let told = error(heard, "invalid_request_error", "context_length_exceeded", "prompt is too long: 9 > 8");
            vec![Deed::Write(plain(400, &[], &told.to_string()))]
        }),
        row("the key is repeated", Fails(Unauthorized, "[key]"), |heard| {
            let told = format!("Incorrect API key provided: {PLANTED} ({}…{}).", &PLANTED[..9], &PLANTED[PLANTED.len() - 6..]);
            vec![Deed::Write(plain(401, &[], &error(heard, "e", "invalid_api_key", &told).to_string()))]
        }),
        said(
            "the key in an answer",
            Expect::Answer(|answer| answer.text.as_deref() == Some("Your key is [key].")),
            Said::words(format!("Your key is {PLANTED}.")),
        ),
        row("a page of many words", Fails(Overloaded, "(502): <html>"), |_| {
            let page = format!("<html>\r\n\u{7}{PLANTED}{}</html>", "x ".repeat(90_000));
            vec![Deed::Write(plain(502, &[("content-type", "text/html")], &page))]
        }),
    ]);
    rows
}

/// Answers that say something odd in good form.
fn odd_answers() -> Vec<Row> {
    use Expect::{Answer as Holds, Fails};
    use ModelErrorKind::*;
    let many = |n: usize| {
        let calls = (0..n).map(|n| (format!("c{n}"), "find_order".to_owned(), "{\"id\":\"7\"}".to_owned()));
        Said { calls: calls.collect(), tokens: Some((1, 1, 0)), ..Said::default() }
    };
    let ids = |ids: &[&str]| {
        let calls = ids.iter().map(|id| ((*id).to_owned(), "find_order".to_owned(), "{}".to_owned()));
        Said { calls: calls.collect(), ..Said::default() }
    };
    let ended = |end: End| Said { end, ..good() };
    vec![
        said("all is well", Expect::Words, good()),
        said(
            "tokens are counted",
            Holds(|a| (a.usage.tokens_in, a.usage.tokens_out) == (11, 7) && source(a).cached_tokens == 3),
            good(),
        ),
        said("no usage", Holds(|a| a.usage.tokens_in > 0 && a.usage.tokens_out > 0), Said { tokens: None, ..good() }),
        said("a tool nobody offered", Holds(|a| a.calls[0].1 == "nonsense"), Said::call("c", "nonsense", "{}")),
        said("no arguments", Holds(|a| a.calls[0].2.to_json_text() == "{}"), Said::call("c", "find_order", "")),
        said("arguments are cut", Fails(Malformed, "arguments that are no JSON"), Said::call("c", "find_order", "{\"id\": \"7")),
        said("a hundred calls", Holds(|a| a.calls.len() == 100), many(100)),
        said("a thousand calls", Fails(Malformed, "more than 128 calls"), many(1000)).only(|wire, _| wire != Wire::Messages),
        said("a thousand blocks", Fails(Malformed, "more than 256 blocks"), many(1000)).only(|wire, _| wire == Wire::Messages),
        said("ids are missing", Holds(|a| a.calls[0].0 == "call_t1_0_2_0" && a.calls[1].0 == "call_t1_0_2_1"), ids(&["", ""]))
            .only(|wire, stream| !(wire == Wire::Responses || stream && wire == Wire::Chat)),
        said("ids are repeated", Holds(|a| a.calls[0].0 == "c" && a.calls[1].0 == "c_2"), ids(&["c", "c"])),
        said("it is cut by its bound", Fails(Malformed, "raise max_output_tokens"), ended(End::Length)),
        said("a filter took it", Fails(Refused, "content"), ended(End::Filtered)).only(|wire, _| wire != Wire::Messages),
        said("a refusal", Fails(Refused, "(refusal): I cannot"), Said { refusal: Some("I cannot".into()), ..Said::default() })
            .only(|wire, _| wire != Wire::Messages),
        said("a stop for refusal", Fails(Refused, "(refusal)"), ended(End::Refused)).only(|wire, _| wire == Wire::Messages),
        said("neither words nor calls", Fails(Malformed, "neither words nor calls"), Said::default())
            .only(|wire, _| wire != Wire::Messages),
        said("nothing to add", Holds(|a| a.text.as_deref() == Some("")), Said::default()).only(|wire, _| wire == Wire::Messages),
        said("thoughts", Holds(|a| source(a).reasoning.is_some()), Said { thought: Some("c2ln".into()), ..good() })
            .only(|wire, _| wire != Wire::Chat),
        row("no choices", Fails(Malformed, ""), |heard| {
            let mut body = json!({"choices": [], "output": [], "status": "completed", "type": "response.completed"});
            body["response"] = body.clone();
            match heard.stream {
                true => framed(heard, &sse(&[(None, body.to_string())])),
                false => framed(heard, body.to_string().as_bytes()),
            }
        }),
        row("no finish reason", Fails(Malformed, "no finish reason"), |heard| {
            let mut body = good().body(heard.wire, "m");
            for place in ["/stop_reason", "/status", "/choices/0/finish_reason"] {
                body.pointer_mut(place).into_iter().for_each(|reason| *reason = Json::Null);
            }
            framed(heard, body.to_string().as_bytes())
        })
        .only(|_, stream| !stream),
        row("an error within a success", Fails(RateLimited, "too many requests"), |heard| {
            let told = error(heard, "rate_limit_error", "rate_limit_exceeded", "slow").to_string();
            let flat = json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}).to_string();
            match (heard.stream, heard.wire) {
                (false, _) => framed(heard, told.as_bytes()),
                (true, Wire::Responses) => framed(heard, &sse(&[(Some("error".into()), flat)])),
                (true, _) => framed(heard, &sse(&[(Some("error".into()), told)])),
            }
        }),
        row("an overload in the middle", Fails(Overloaded, "in the middle of its answer: busy"), |heard| {
            let told = error(heard, "overloaded_error", "server_error", "busy");
            let told = match heard.wire {
                Wire::Responses => json!({"type": "response.failed", "response": {"status": "failed", "error": told["error"]}}),
                _ => told,
            };
            let mut events = good().events(heard.wire, "m");
            events.truncate(2);
            events.push((None, told.to_string()));
            framed(heard, &sse(&events))
        })
        .only(|_, stream| stream),
    ]
}

fn source(answer: &Answer) -> commedia_actors::model::Source {
    answer.source.clone().expect("it came from outside")
}

/// Bytes that are odd.
fn odd_bytes() -> Vec<Row> {
    use Expect::{Fails, Words};
    use ModelErrorKind::*;
    let kind = |kind: &str, body: &[u8]| vec![Deed::Write(chunked(kind, &[body.to_vec()]))];
    vec![
        row("in pieces of one byte", Words, |heard| {
            let pieces: Vec<Vec<u8>> = body(heard, &good()).iter().map(|byte| vec![*byte]).collect();
            let kind = if heard.stream { "text/event-stream" } else { "application/json" };
            vec![Deed::Write(chunked(kind, &pieces))]
        }),
        row("garbage", Fails(Malformed, ""), |heard| framed(heard, b"data: }{\xff\x00\n\nnonsense")),
        row("a web page", Fails(Malformed, "web page"), move |_| kind("text/html; charset=utf-8", b"<!doctype html>")),
        row("a web page that says JSON", Fails(Malformed, "web page"), move |_| kind("application/json", b"\n <html></html>")),
        row("another type", Words, move |heard| kind("text/plain", &body(heard, &good()))),
        row("no type", Words, move |heard| kind("", &body(heard, &good()))),
        row("a stream that nobody asked for", Words, move |heard| {
            kind("text/event-stream", &sse(&good().events(heard.wire, "m")))
        }),
        row("no stream though asked for", Words, move |heard| {
            kind("application/json", good().body(heard.wire, "m").to_string().as_bytes())
        }),
        row("it says gzip, and is not", Words, |heard| {
            let body = String::from_utf8(body(heard, &good())).expect("text");
            let kind = if heard.stream { "text/event-stream" } else { "application/json" };
            vec![Deed::Write(plain(200, &[("content-encoding", "gzip"), ("content-type", kind)], &body))]
        }),
        row("it is gzip, though not asked for", Fails(Malformed, ""), |heard| framed(heard, b"\x1f\x8b\x08\x00\x00garbage")),
        row("an empty body", Fails(Malformed, ""), |heard| framed(heard, b"")),
        row("it is cut, in good order", Fails(Malformed, ""), |heard| {
            let body = body(heard, &good());
            framed(heard, &body[..body.len() / 2])
        }),
        row("comments and fields", Words, |heard| {
            let text = String::from_utf8(body(heard, &good())).expect("text");
            framed(heard, format!(": ping\n\n{}", text.replace("data: ", ": ping\nid: 1\nretry: 9\ndata:")).as_bytes())
        })
        .only(|_, stream| stream),
        row("CRLF", Words, |heard| {
            let text = String::from_utf8(body(heard, &good())).expect("text");
            framed(heard, format!("\u{feff}{}", text.replace('\n', "\r\n")).as_bytes())
        })
        .only(|_, stream| stream),
        row("data of many lines", Words, |heard| {
            let events = good().events(heard.wire, "m").into_iter().map(|(name, data)| {
                let data = serde_json::from_str::<Json>(&data).map_or(data, |json| format!("{json:#}"));
                (name, data.replace('\n', "\ndata: "))
            });
            framed(heard, &sse(&events.collect::<Vec<_>>()))
        })
        .only(|_, stream| stream),
        row("events of unknown kinds", Words, |heard| {
            let unknown = || (Some("news".to_owned()), json!({"type": "news", "x": [1, {}]}).to_string());
            let events = good().events(heard.wire, "m").into_iter().flat_map(|event| [unknown(), event]);
            framed(heard, &sse(&events.collect::<Vec<_>>()))
        })
        .only(|_, stream| stream),
        row("no head", Fails(Transport, "broke the connection off"), |_| {
            vec![Deed::Write(b"nonsense\r\n\r\n".to_vec()), Deed::Close]
        }),
    ]
}

/// Connections that break, stand still or never end.
fn connections() -> Vec<Row> {
    use Expect::{Fails, Words};
    use ModelErrorKind::*;
    let first: fn(&mut Endpoint) = |e| e.timeouts.first_byte = SOON;
    let between: fn(&mut Endpoint) = |e| e.timeouts.between_chunks = SOON;
    let total: fn(&mut Endpoint) = |e| e.timeouts.total = 2 * SOON;
    let half = |heard: &Heard| {
        let body = body(heard, &good());
        begun(heard, &body[..body.len() / 2])
    };
    let broke = || Fails(Transport, "broke the connection off");
    vec![
        row("it hangs before the head", Fails(Timeout, "to begin, more than 0.06 s"), |_| vec![Deed::Hang]).hurried(first),
        row("it hangs in the middle", Fails(Timeout, "waiting for more"), move |heard| {
            vec![Deed::Write(half(heard)), Deed::Hang]
        })
        .hurried(between),
        row("it hangs after the last event", Words, |heard| vec![Deed::Write(begun(heard, &body(heard, &good()))), Deed::Hang])
            .only(|_, stream| stream)
            .hurried(between),
        row("it drips", Fails(Timeout, "waiting for more"), move |heard| {
            let drip = || [Deed::Wait(4 * SOON), Deed::Write(b"1\r\n \r\n".to_vec())];
            [Deed::Write(half(heard))].into_iter().chain((0..9).flat_map(|_| drip())).collect()
        })
        .hurried(between),
        row("it never ends", Fails(Timeout, "waiting for"), |heard| {
            let ping = || [Deed::Write(b"5\r\n:...\n\r\n".to_vec()), Deed::Wait(SOON / 10)];
            [Deed::Write(begun(heard, b" "))].into_iter().chain((0..9_999).flat_map(|_| ping())).collect()
        })
        .hurried(total),
        row("a line of 100 MB", Fails(Malformed, "sent too much"), |heard| {
            vec![
                Deed::Write(begun(heard, b"data: {\"")),
                Deed::Write(b"6400000\r\n".to_vec()),
                Deed::Repeat(vec![b'x'; 1 << 20], 100),
            ]
        }),
        row("chunks without an end", broke(), move |heard| vec![Deed::Write(half(heard)), Deed::Close]),
        row("no end after the last event", Words, |heard| vec![Deed::Write(begun(heard, &body(heard, &good()))), Deed::Close])
            .only(|_, stream| stream),
        row("less than it said", broke(), |heard| {
            let kind = if heard.stream { "text/event-stream" } else { "application/json" };
            vec![
                Deed::Write(head(200, &[("content-type", kind), ("content-length", "999")])),
                Deed::Write(b"{".to_vec()),
                Deed::Close,
            ]
        }),
        row("a reset before the head", broke(), |_| vec![Deed::Reset]),
        row("a reset after the head", broke(), move |heard| vec![Deed::Write(half(heard)), Deed::Wait(SOON / 10), Deed::Reset]),
    ]
}

/// Makes one attempt, and gives its end with the pieces that were told.
async fn attempt(row: &Row, wire: Wire, stream: bool, peer: &Peer) -> (Result<Answer, ModelError>, String) {
    peer.set(Behaviour::Act(row.act.clone()));
    let mut endpoint = endpoint(wire, &peer.url());
    (row.hurry)(&mut endpoint);
    let provider = connect(endpoint).expect("an endpoint");
    let told = Arc::new(Mutex::new(String::new()));
    let kept = told.clone();
    let deltas = Deltas::new(move |text| kept.lock().expect("not poisoned").push_str(text));
    let ended = provider.attempt("m", &request(), Some(&deltas).filter(|_| stream)).await;
    let told = told.lock().expect("not poisoned").clone();
    (ended, told)
}

/// What is wrong with how an attempt ended.
fn wrong(expect: &Expect, ended: &Result<Answer, ModelError>) -> Option<String> {
    let holds = match (expect, ended) {
        (Expect::Words, Ok(answer)) => answer.text.as_deref() == Some(WORDS) && answer.calls.is_empty(),
        (Expect::Answer(holds), Ok(answer)) => holds(answer),
        (Expect::Fails(kind, words), Err(e)) => e.kind == *kind && e.message.contains(words),
        (Expect::Pause(pause), Err(e)) => {
            e.kind == ModelErrorKind::RateLimited && e.retry_after == pause.map(Duration::from_millis) && e.status == Some(429)
        }
        _ => false,
    };
    (!holds).then(|| format!("{ended:?}"))
}

fn rows() -> Vec<Row> {
    [refusals(), odd_answers(), odd_bytes(), connections()].into_iter().flatten().collect()
}

#[tokio::test]
async fn whatever_an_endpoint_does_ends_as_it_should() {
    let mut faults = String::new();
    for row in rows() {
        for (wire, stream) in WIRES.into_iter().flat_map(|wire| [(wire, false), (wire, true)]) {
            if !(row.of)(wire, stream) {
                continue;
            }
            let peer = Peer::start(Behaviour::Act(row.act.clone())).await.expect("a free port");
            let (ended, told) = attempt(&row, wire, stream, &peer).await;
            let place = format!("{} ({}, stream: {stream})", row.name, wire.word());
            if let Some(what) = wrong(&row.expect, &ended) {
                writeln!(faults, "{place}: {what}").expect("room");
            }
            if stream
                && ended.as_ref().is_ok_and(|a| a.text.as_deref() == Some(WORDS))
                && told != WORDS
                && !row.name.starts_with("no stream")
            {
                writeln!(faults, "{place}: was told `{told}`").expect("room");
            }
            let shown = format!("{ended:?}");
            let message = ended.err().map(|e| e.to_string()).unwrap_or_default();
            for piece in [PLANTED, &PLANTED[..9], &PLANTED[PLANTED.len() - 6..]] {
                if shown.contains(piece) || told.contains(piece) {
                    writeln!(faults, "{place}: the key is told: {shown}").expect("room");
                }
            }
            if message.chars().count() > 320 || message.chars().any(char::is_control) {
                writeln!(faults, "{place}: no short line: {message}").expect("room");
            }
            if peer.requests() != 1 {
                writeln!(faults, "{place}: {} requests", peer.requests()).expect("room");
            }
            // What was read, and what the system keeps ready in between.
            if peer.sent() > 32 << 20 {
                writeln!(faults, "{place}: {} bytes were taken", peer.sent()).expect("room");
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[tokio::test]
async fn a_redirect_takes_the_key_nowhere() {
    let other = Peer::start(Behaviour::Say(Box::new(good()))).await.expect("a free port");
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/v1", other.url());
        let peer = Peer::start(Behaviour::act(move |_| vec![Deed::Write(plain(status, &[("location", &to)], ""))]));
        let peer = peer.await.expect("a free port");
        for wire in WIRES {
            let refused =
                wire_support::connected(wire, &peer.url()).attempt("m", &request(), None).await.expect_err("a redirect");
            assert_eq!(refused.kind, ModelErrorKind::Refused);
            assert!(refused.message.contains("a redirect, which is not followed"), "{refused}");
        }
        assert_eq!((peer.requests(), other.requests()), (3, 0));
    }
}

#[tokio::test]
async fn nobody_listens_at_the_address() {
    let peer = Peer::start(Behaviour::Say(Box::new(good()))).await.expect("a free port");
    let url = peer.url();
    peer.stop();
    for wire in WIRES {
        let failed = loop {
            // The port is free as soon as the peer's task has ended.
            match wire_support::connected(wire, &url).attempt("m", &request(), None).await {
                Err(failed) if failed.message.contains("cannot be reached") => break failed,
                _ => tokio::task::yield_now().await,
            }
        };
        assert_eq!(failed.kind, ModelErrorKind::Transport);
        assert!(failed.message.contains("check base_url"), "{failed}");
    }
}

/// Waits for what follows at once, but on other tasks.
async fn soon(holds: impl Fn() -> bool) -> bool {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok()
}

#[tokio::test]
async fn who_goes_away_closes_the_connection() {
    let peer = Peer::start(Behaviour::act(|heard| vec![Deed::Write(begun(heard, b" ")), Deed::Hang])).await.expect("a free port");
    for (wire, stream) in WIRES.into_iter().flat_map(|wire| [(wire, false), (wire, true)]) {
        let provider = wire_support::connected(wire, &peer.url());
        let seen = peer.requests();
        let deltas = Deltas::new(|_| ());
        let asked = request();
        tokio::select! {
            ended = provider.attempt("m", &asked, Some(&deltas).filter(|_| stream)) => panic!("{ended:?}"),
            reached = soon(|| peer.requests() > seen) => assert!(reached),
        }
        assert!(soon(|| peer.connections() == 0).await, "{} stay open", peer.connections());
    }
}

/// Bytes this process has resident; none where there is no `/proc`.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().map_or(0, |kb| kb * 1024)
}

/// Attempts that are under way at once.
const AT_ONCE: usize = 32;

/// Each behaviour again and again, by providers that stay: `COMMEDIA_REPEATS` times (1,000 take some minutes).
#[tokio::test]
async fn nothing_is_left_behind() {
    let repeats = std::env::var("COMMEDIA_REPEATS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (mut warm, mut attempts) = (0, 0);
    for (n, row) in rows().into_iter().enumerate() {
        let row = Arc::new(row);
        // That one is bounded by bytes, of which each repetition takes many.
        let (repeats, at_once) = if row.name == "a line of 100 MB" { (repeats.min(100), 4) } else { (repeats, AT_ONCE) };
        let peer = Peer::start(Behaviour::Act(row.act.clone())).await.expect("a free port");
        let before = tasks();
        let providers = WIRES.map(|wire| {
            let mut endpoint = endpoint(wire, &peer.url());
            (row.hurry)(&mut endpoint);
            (wire, connect(endpoint).expect("an endpoint"))
        });
        let kinds = || WIRES.into_iter().flat_map(|wire| [(wire, false), (wire, true)]);
        let kinds: Vec<_> = kinds().filter(|(wire, stream)| (row.of)(*wire, *stream)).collect();
        let mut under_way = tokio::task::JoinSet::new();
        for (turn, (wire, stream)) in kinds.iter().cycle().take(repeats).copied().enumerate() {
            if turn >= at_once {
                under_way.join_next().await.expect("one is under way").expect("no panic");
            }
            let provider = providers.iter().find(|(w, _)| *w == wire).expect("each has one").1.clone();
            let row = row.clone();
            under_way.spawn(async move {
                let deltas = Deltas::new(|_| ());
                let ended = provider.attempt("m", &request(), Some(&deltas).filter(|_| stream)).await;
                let fault = wrong(&row.expect, &ended);
                assert!(fault.is_none(), "{} ({}, stream: {stream}): {fault:?}", row.name, wire.word());
            });
            attempts += 1;
        }
        while let Some(ended) = under_way.join_next().await {
            ended.expect("no panic");
        }
        assert_eq!(peer.requests(), repeats as u64, "{}", row.name);
        // What is kept for later is kept idle; with its provider it is gone.
        assert!(soon(|| peer.connections() <= 3 * at_once).await, "{}: {} stay open", row.name, peer.connections());
        drop(providers);
        assert!(soon(|| peer.connections() == 0).await, "{}: {} stay open", row.name, peer.connections());
        assert!(soon(|| tasks() <= before).await, "{}: {} tasks, and {before} before", row.name, tasks());
        if n == 20 {
            warm = resident();
        }
    }
    let grown = resident().saturating_sub(warm);
    println!("{attempts} attempts, {} KiB more resident since the twentieth behaviour", grown / 1024);
    assert!(grown < 160 << 20, "{grown} bytes were kept");
}
