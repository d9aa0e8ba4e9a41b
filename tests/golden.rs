//! The worked example of docs/commit-example.md, byte by byte: coin-shop, two ticks. Fails when the program writes other bytes.
//! `COMMEDIA_BLESS=1` writes the page anew; do that only together with a new `ENGINE` or `ENCODING`.

use std::fmt::Write as _;
use std::sync::Arc;

use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::Head;
use commedia_actors::store::digest::Digest;
use commedia_actors::store::frame::{Cause, EncodedFrame, FrameBuilder, Lane};
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::{ENGINE, Event, ModelBinding};
use commedia_domain::rules;
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput};
use commedia_domain::scenario::{NoFiles, Scenario, load};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commit-example.md");
const BEGIN: &str = "<!-- golden: begin coin-shop-2";
const END: &str = "<!-- golden: end coin-shop-2 -->";
/// 2026-01-05T00:00:00Z.
const WALL_MS: i64 = 1_767_571_200_000;

/// The scenario as the page prints it: what is shown is what is run.
fn scenario(page: &str) -> Arc<Scenario> {
    let text = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page shows a scenario");
    load("coin-shop.scenario.yaml", text.as_bytes(), &NoFiles).map(|l| Arc::new(l.scenario)).unwrap_or_else(|f| panic!("{f:?}"))
}

fn input() -> RunInput {
    RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![ModelBinding::Offline] }
}

/// The decisions of the run, in order.
fn play(scenario: &Arc<Scenario>) -> Vec<Event> {
    let created = NewRun::new(scenario, &input()).unwrap_or_else(|e| panic!("{e:?}")).created;
    let mut log = vec![Event::RunCreated(Box::new(created.clone()))];
    let mut run = Run::new(scenario.clone(), created);
    loop {
        let events = match run.decide(Command::Proceed { wall: 0 }) {
            Ok(events) => events,
            Err(Refusal::Owed) => match run.pending().into_iter().next() {
                Some(Effect::Serve(order)) => {
                    let served = rules::serve(&order, &BuiltinTools, |_| {});
                    run.decide(Command::Served(served)).expect("what was owed is taken")
                }
                other => panic!("{other:?}"),
            },
            Err(_) => return log,
        };
        events.iter().for_each(|e| run.apply(e));
        log.extend(events);
    }
}

/// One frame for the creation, one for planning, one for each tick: as for a run that somebody follows.
fn frames(log: &[Event]) -> Vec<(EncodedFrame, Vec<&Event>)> {
    let mut groups: Vec<Vec<&Event>> = vec![vec![&log[0]]];
    for event in &log[1..] {
        if matches!(event, Event::RunStarted { .. } | Event::TickAdvanced { .. }) {
            groups.push(Vec::new());
        }
        groups.last_mut().expect("one is there").push(event);
    }
    let mut head = Head::START;
    groups
        .into_iter()
        .map(|events| {
            let kind = if head == Head::START { "run" } else { "advance" };
            let cause = Cause {
                kind: kind.into(),
                id: Default::default(),
                payload_hash: Default::default(),
                principal: "local".into(),
                wall_ms: WALL_MS,
            };
            let mut builder = FrameBuilder::new(ENGINE, &head, 1, cause);
            for event in &events {
                builder.push(Lane::Canonical, &event.encode()).expect("fits");
            }
            let frame = builder.encode().expect("not empty");
            head = frame.head();
            (frame, events)
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (n, byte) in bytes.iter().enumerate() {
        let gap = if n == 0 {
            ""
        } else if n % 32 == 0 {
            "\n              "
        } else if n % 4 == 0 {
            " "
        } else {
            ""
        };
        write!(text, "{gap}{byte:02x}").expect("a string takes it");
    }
    text
}

fn dump(log: &[Event]) -> (String, Digest) {
    let mut text = String::from("```text\n");
    let mut digest = Digest::new();
    for (n, (frame, events)) in frames(log).iter().enumerate() {
        let bytes = frame.bytes();
        let payloads: Vec<Vec<u8>> = events.iter().map(|e| e.encode()).collect();
        let framed = |p: &Vec<u8>| 1 + if p.len() < 128 { 1 } else { 2 } + p.len();
        let records: usize = payloads.iter().map(framed).sum();
        let header = bytes.len() - 8 - records;
        writeln!(text, "frame {}       {} bytes", n + 1, bytes.len()).expect("a string takes it");
        writeln!(text, "  header      {}", hex(&bytes[..header])).expect("a string takes it");
        let mut at = header;
        for (event, payload) in events.iter().zip(&payloads) {
            let len = framed(payload);
            let seq = frame.first_seq() + (payloads.iter().position(|p| std::ptr::eq(p, payload)).expect("it is one") as u64);
            writeln!(text, "  event {seq:<2}    {} ({} bytes)", event.name(), payload.len()).expect("a string takes it");
            writeln!(text, "              {}", hex(&bytes[at..at + len])).expect("a string takes it");
            digest.update(payload);
            at += len;
        }
        writeln!(text, "  check       {}", hex(&bytes[at..])).expect("a string takes it");
        writeln!(text, "  hash        {}", frame.head().hash).expect("a string takes it");
        writeln!(text, "  digest      {}\n", digest.value()).expect("a string takes it");
    }
    text.truncate(text.trim_end().len());
    text.push_str("\n```");
    (text, digest)
}

#[test]
fn the_page_shows_the_bytes_that_are_written() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let (made, _) = dump(&play(&scenario(&page)));
    let begin = page.find(BEGIN).and_then(|at| page[at..].find("-->").map(|n| at + n + 3)).expect("the page has the first mark");
    let end = page.find(END).expect("the page has the second mark");
    if std::env::var_os("COMMEDIA_BLESS").is_some() {
        std::fs::write(PAGE, format!("{}\n{made}\n{}", &page[..begin], &page[end..])).expect("the page can be written");
        return;
    }
    assert_eq!(page[begin..end].trim(), made, "the stored bytes changed: is that meant? then raise ENGINE and bless the page");
}

#[tokio::test]
async fn the_runtime_writes_the_same_digest_followed_or_not_in_memory_and_on_disk() {
    let page = std::fs::read_to_string(PAGE).expect("the page is there");
    let scenario = scenario(&page);
    let (_, digest) = dump(&play(&scenario));
    let folder = tempfile::tempdir().expect("a folder");
    for store in ["memory:".to_owned(), format!("sled://{}", folder.path().join("store").display())] {
        let options = RuntimeOptions { store: store.clone(), ..RuntimeOptions::default() };
        let runtime = Runtime::open(options).await.expect("opens");
        for follow in [false, true] {
            let handle = runtime
                .start_run(scenario.clone(), input(), StartOptions { follow, ..StartOptions::default() })
                .await
                .expect("starts");
            let run = handle.done().await.expect("ends");
            assert_eq!(run.digest, digest.value(), "{store}, followed: {follow}");
        }
        runtime.shutdown().await.expect("closes");
    }
}
