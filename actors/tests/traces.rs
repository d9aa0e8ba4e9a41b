//! Traces as the runtime makes them, whoever exports them: what belongs to what, what they tell, and that they change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use commedia_actors::clock::WallClock;
use commedia_actors::live::LoadedRun;
use commedia_actors::metrics::Metrics;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::telemetry::{Attribute, Queue, Span, Telemetry};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{NoFiles, load_with_faults};

const TROUPE: &str = include_str!("stage/troupe.scenario.yaml");

/// Plays a scenario with faults, traced where bodies are said to be told or not.
async fn play(text: &str, faults: &str, traced: Option<bool>) -> (LoadedRun, Vec<Span>) {
    let faults = (!faults.is_empty()).then_some(("storm.yaml", faults.as_bytes()));
    let loaded = load_with_faults("stage.scenario.yaml", text.as_bytes(), &NoFiles, faults);
    let scenario = Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario);
    static HANDS: AtomicI64 = AtomicI64::new(1_000_000);
    let (telemetry, queue): (Option<Telemetry>, Option<Queue>) =
        traced.map(|bodies| Telemetry::new(bodies, Arc::new(Metrics::new()))).unzip();
    let telemetry = telemetry.map(Arc::new);
    let options = RuntimeOptions { clock: WallClock::staged(&HANDS), telemetry, ..RuntimeOptions::default() };
    let runtime = Runtime::open(options).await.expect("opens");
    let models = vec![ModelBinding::Stub; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed: 7, now: 0, models };
    let run = runtime.start_run(scenario, input, StartOptions::default()).await.expect("starts").done().await.expect("ends");
    let spans = queue.map_or_else(Vec::new, |mut queue| std::iter::from_fn(move || queue.try_next()).collect());
    (run, spans)
}

fn text<'s>(span: &'s Span, name: &str) -> &'s str {
    match span.attribute(name) {
        Some(Attribute::Text(text)) => text,
        _ => "",
    }
}

/// Each span's name under the names above it, as `run > turn > step`.
fn paths(spans: &[Span]) -> BTreeMap<String, usize> {
    let by_id: BTreeMap<[u8; 8], &Span> = spans.iter().map(|span| (span.id, span)).collect();
    assert_eq!(by_id.len(), spans.len(), "ids are given twice");
    let mut found = BTreeMap::new();
    for span in spans {
        let (mut path, mut at) = (span.name.clone(), span);
        while let Some(parent) = at.parent {
            at = by_id.get(&parent).unwrap_or_else(|| panic!("`{}` belongs to nothing", at.name));
            assert!(at.start <= span.start && span.end <= at.end, "`{}` is outside of `{}`", span.name, at.name);
            path = format!("{} > {path}", at.name);
        }
        assert_eq!(
            (span.trace, text(span, "gen_ai.conversation.id")),
            (spans[0].trace, text(&spans[0], "gen_ai.conversation.id"))
        );
        *found.entry(path).or_default() += 1;
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_trace_has_each_run_turn_and_step_in_its_place() {
    let (run, spans) = play(TROUPE, "", Some(false)).await;
    let found = paths(&spans);
    let run_span = "invoke_workflow troupe";
    let planner = format!("{run_span} > invoke_agent planner");
    let expect = [
        (run_span.to_owned(), 1),
        (planner.clone(), 1),
        (format!("{planner} > chat stub"), 3),
        // Who is asked belongs to the turn that asked.
        (format!("{planner} > invoke_agent muse"), 1),
        (format!("{planner} > invoke_agent oracle > invoke_agent muse"), 1),
        (format!("{run_span} > invoke_agent writer > execute_tool put_notes"), 2),
        (format!("{run_span} > invoke_agent prompter"), 2),
    ];
    for (path, times) in expect {
        assert_eq!(found.get(&path), Some(&times), "{path}\n{found:#?}");
    }
    let chats = spans.iter().filter(|span| span.name == "chat stub").count() as u64;
    assert_eq!(chats, run.run.run_facts().model_calls, "a span for each call of a model");
    let root = spans.iter().find(|span| span.parent.is_none()).expect("a root");
    assert_eq!((text(root, "commedia.run.status"), root.failed), ("completed", false));
    assert_eq!(text(root, "gen_ai.conversation.id"), run.id.as_str());
    let chat = spans.iter().find(|span| span.name == "chat stub").expect("a model's step");
    let rows = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "commedia"),
        ("gen_ai.request.model", "stub"),
        ("gen_ai.response.model", "stub"),
        ("commedia.answered_by", "stub"),
    ];
    rows.iter().for_each(|(name, expect)| assert_eq!(text(chat, name), *expect, "{name}"));
    assert!(matches!(chat.attribute("gen_ai.usage.input_tokens"), Some(Attribute::Int(n)) if *n > 0));
    let tool = spans.iter().find(|span| span.name == "execute_tool put_notes").expect("a tool's step");
    assert!(!text(tool, "gen_ai.tool.call.id").is_empty() && text(tool, "gen_ai.tool.name") == "put_notes");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_goes_along_only_where_it_may() {
    let told = TROUPE.replace("Begin.", "planted-word").replace("Judge.", "planted-order");
    for bodies in [false, true] {
        let (_, spans) = play(&told, "", Some(bodies)).await;
        let all = format!("{spans:?}");
        for word in ["planted-word", "planted-order", "system_instructions", "output.messages", "call.arguments", "call.result"] {
            assert_eq!(all.contains(word), bodies, "{word} {bodies}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_told_by_its_kind_and_its_words_are_kept() {
    let storm = "- crash: {agent: writer, turn: 1}\n- tool: {name: cheer, error: planted-reason}\n";
    for bodies in [false, true] {
        let (_, spans) = play(TROUPE, storm, Some(bodies)).await;
        paths(&spans);
        for (name, kind) in [("chat stub", "crash"), ("execute_tool cheer", "tool")] {
            let failed = spans.iter().find(|span| span.name == name && text(span, "error.type") == kind);
            assert!(failed.is_some_and(|span| span.failed && span.reason.is_some() == bodies), "{name} {bodies}\n{spans:#?}");
        }
        assert_eq!(format!("{spans:?}").contains("planted-reason"), bodies);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_leaves_no_trace_in_the_digest() {
    let (plain, none) = play(TROUPE, "", None).await;
    let (traced, some) = play(TROUPE, "", Some(true)).await;
    assert_eq!((plain.digest, plain.head.seq), (traced.digest, traced.head.seq));
    assert!(none.is_empty() && !some.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_ends_what_is_open() {
    let (run, spans) = play(&format!("{TROUPE}limits: {{handoffs: 0}}\n"), "", Some(false)).await;
    assert!(run.run.state().status.ended().is_some());
    paths(&spans);
    let root = spans.iter().find(|span| span.parent.is_none()).expect("a root");
    assert!(root.failed && text(root, "error.type") == text(root, "commedia.run.status"), "{root:?}");
    assert!(spans.iter().any(|span| text(span, "error.type") == "run_over"), "{spans:#?}");
}
