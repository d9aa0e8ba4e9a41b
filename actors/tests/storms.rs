//! Injected faults: crashes leave no trace in the digest, the others do exactly what they say, and each is told.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use commedia_actors::clock::WallClock;
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_domain::event::{Event, ModelBinding};
use commedia_domain::fault::StrikeKind;
use commedia_domain::run::struck::StrikeCount;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load_with_faults};

const SHOP: &str = include_str!("stage/shop.scenario.yaml");
const TROUPE: &str = include_str!("stage/troupe.scenario.yaml");
const FAULTY: &str = include_str!("stage/faulty.scenario.yaml");
const TIMERS: &str = include_str!("stage/timers.scenario.yaml");

fn compile(text: &str, faults: &str) -> Arc<Scenario> {
    let faults = (!faults.is_empty()).then_some(("storm.yaml", faults.as_bytes()));
    let loaded = load_with_faults("stage.scenario.yaml", text.as_bytes(), &NoFiles, faults);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

async fn play_on(runtime: &Runtime, scenario: &Arc<Scenario>, seed: u64, binding: ModelBinding) -> LoadedRun {
    let models = vec![binding; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed, now: 0, models };
    let handle = runtime.start_run(scenario.clone(), input, StartOptions::default()).await.expect("starts");
    handle.done().await.expect("ends")
}

async fn verified(runtime: &Runtime, id: &RunId, what: &str) {
    let verified = runtime.verify(id).await.expect("verifies");
    assert_eq!(verified.difference, None, "{what}");
}

/// On a wall clock that goes with tokio's paused time: pauses between restarts take none.
async fn runtime() -> Runtime {
    // Crashes that were asked for are not told, thousands of times.
    std::panic::set_hook(Box::new(|info| {
        if !info.payload_as_str().is_some_and(|words| words.starts_with(commedia_actors::agent::INJECTED)) {
            eprintln!("{info}");
        }
    }));
    static HANDS: AtomicI64 = AtomicI64::new(0);
    Runtime::open(RuntimeOptions { clock: WallClock::staged(&HANDS), ..RuntimeOptions::default() }).await.expect("opens")
}

/// So many seeds; `COMMEDIA_SEEDS` sets how many.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let count = std::env::var("COMMEDIA_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(few);
    0..count
}

#[tokio::test(start_paused = true)]
async fn crashes_leave_no_trace_in_the_digest() {
    let storm = "- crash: {agent: \"*\", p: 0.2}\n- crash: {agent: \"*\", turn: 1}\n";
    let runtime = runtime().await;
    let mut struck = 0;
    for (name, text) in [("shop", SHOP), ("troupe", TROUPE), ("faulty", FAULTY), ("timers", TIMERS)] {
        // No restart intensity is used up: six in a row do come, over many seeds.
        let text = &format!("{text}\nsupervision: {{max_restarts: 50}}\n");
        let (plain, stormy) = (compile(text, ""), compile(text, storm));
        assert_eq!(plain.hash, stormy.hash, "faults are no part of the version");
        for seed in seeds(6) {
            for binding in [ModelBinding::Offline, ModelBinding::Stub] {
                let undisturbed = play_on(&runtime, &plain, seed, binding.clone()).await;
                let run = play_on(&runtime, &stormy, seed, binding.clone()).await;
                let what = format!("{name}, seed {seed}, {binding:?}");
                let state = run.run.state();
                let calm = undisturbed.run.state();
                assert_eq!((&state.status, &state.quarantined), (&calm.status, &calm.quarantined), "{what}");
                assert_eq!(run.digest, undisturbed.digest, "{what}");
                let counts = &state.strikes.counts;
                assert!(counts.iter().all(|c| c.injected == c.recovered + c.lost), "{what}: {counts:?}");
                assert_eq!(counts.iter().map(|c| c.injected).sum::<u64>(), state.counts.restarts, "{what}");
                struck += state.counts.restarts;
                verified(&runtime, &run.id, &what).await;
                let again = play_on(&runtime, &stormy, seed, binding.clone()).await;
                assert_eq!(again.run.state().strikes, state.strikes, "the same strike again: {what}");
            }
        }
    }
    assert!(struck > 100, "they struck: {struck}");
}

/// Two agents by rules, a count that flows between them, and a tool.
const FLOW: &str = r#"
name: flow
clock: {tick: P1D, ticks: 4}
world: {state: {sent: {type: integer, default: 0}, heard: {type: integer, default: 0}, late: {type: integer, default: 0}, done: {type: integer, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  sender:
    kind: rules
    handles: [tick]
    rules: [{otherwise: true, emit: [{set: {sent: "state.sent + 1"}}, {tell: hearer, type: word, data: {tick: tick}}]}]
  hearer:
    kind: rules
    handles: [{tell: word}]
    rules: [{otherwise: true, emit: [{set: {heard: "state.heard + 1", late: "state.late + (tick - message.data.tick)"}}]}]
  caller:
    kind: rules
    handles: [tick]
    tools: [describe]
    supervision: {on_exhausted: quarantine}
    rules: [{otherwise: true, emit: [{call: describe, with: {values: [1]}, as: found}, {set: {done: "state.done + 1"}}]}]
metrics: {sent: {value: state.sent}, heard: {value: state.heard}, late: {value: state.late}, done: {value: state.done}}
"#;

/// One `llm` agent with a fallback, and one that hears its answer.
const ASKED: &str = r#"
name: asked
models: {planner: {use: stub}, other: {use: stub}}
world: {state: {by_rules: {type: integer, default: 0}}}
tools: {describe: {kind: builtin, use: describe, input: {type: object, properties: {values: {type: array}}}}}
agents:
  planner:
    kind: llm
    model: planner
    instructions: Plan.
    tools: [describe]
    stub: [{call: describe, with: {values: [1, 3]}}, {text: planned}]
    limits: {timeout: 30s}
    FALLBACK
start: {agent: planner, message: Go}
result: planner
"#;

#[tokio::test(start_paused = true)]
async fn each_fault_does_what_it_says() {
    let runtime = runtime().await;
    let done = |counts: &[(u64, u64, u64)]| -> Vec<StrikeCount> {
        counts
            .iter()
            .map(|(injected, recovered, lost)| StrikeCount { injected: *injected, recovered: *recovered, lost: *lost })
            .collect()
    };
    // What is injected; sent, heard, late, done; what is counted.
    type Row = (&'static str, [f64; 4], &'static [(u64, u64, u64)]);
    let rows: [Row; 8] = [
        ("- message: {from: sender, to: caller, effect: drop}", [4.0, 4.0, 0.0, 4.0], &[]),
        ("- message: {from: sender, to: hearer, effect: drop}", [4.0, 0.0, 0.0, 4.0], &[(4, 0, 0)]),
        ("- message: {effect: duplicate}", [4.0, 8.0, 0.0, 4.0], &[(4, 0, 0)]),
        ("- message: {to: \"*\", effect: delay, by: P2D}", [4.0, 2.0, 4.0, 4.0], &[(4, 0, 0)]),
        ("- message: {effect: drop, p: 0}", [4.0, 4.0, 0.0, 4.0], &[]),
        ("- tool: {name: describe, error: out of order}", [4.0, 4.0, 0.0, 0.0], &[(1, 0, 1)]),
        ("- crash: {agent: hearer, turn: 3}", [4.0, 4.0, 0.0, 4.0], &[(1, 1, 0)]),
        ("- latency: {tool: describe, add: 5s}", [4.0, 4.0, 0.0, 4.0], &[]),
    ];
    for (storm, expected, counts) in rows {
        let run = play_on(&runtime, &compile(FLOW, storm), 1, ModelBinding::Offline).await;
        let state = run.run.state();
        let metrics: Vec<f64> = state.ended.iter().flat_map(|e| e.metrics.iter().filter_map(|m| m.value)).collect();
        assert_eq!((&state.status, metrics.as_slice()), (&Status::Completed, &expected[..]), "{storm}");
        assert_eq!(state.strikes.counts, done(counts), "{storm}");
        verified(&runtime, &run.id, storm).await;
        let told = runtime.events(&run.id, 1).await.expect("reads");
        let injected: Vec<StrikeKind> = (told.iter())
            .filter_map(|e| match &*e.event {
                Event::FaultInjected(injected) => Some(injected.kind),
                _ => None,
            })
            .collect();
        assert_eq!(injected.len() as u64, counts.iter().map(|c| c.0).sum::<u64>(), "{storm}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_is_answered_for_as_the_agent_says() {
    let runtime = runtime().await;
    let rules = "fallback: {rules: [{otherwise: true, emit: [{set: {by_rules: 1}}, {finish: \"'by rules'\"}]}]}";
    let all = |error: &str| format!("- model: {{alias: planner, error: {error}}}");
    // Each injected error, what the agent falls back on, the status, the result, whether it is degraded.
    let rows: [(String, &str, Status, &str, bool); 9] = [
        (all("429"), rules, Status::Completed, "by rules", true),
        (all("500"), rules, Status::Completed, "by rules", true),
        (all("timeout"), rules, Status::Completed, "by rules", true),
        (all("malformed"), rules, Status::Completed, "by rules", true),
        (all("truncated"), "fallback: stub", Status::Completed, "planned", true),
        (all("500"), "", Status::Failed, "", false),
        ("- model: {alias: other, error: 500}".into(), "", Status::Completed, "planned", false),
        ("- tool: {name: describe, error: out of order}".into(), "", Status::Completed, "planned", false),
        ("- latency: {model: planner, add: 40s}".into(), rules, Status::Completed, "by rules", true),
    ];
    for (storm, fallback, status, result, degraded) in rows {
        let what = format!("{storm} with {fallback}");
        let began = tokio::time::Instant::now();
        let run = play_on(&runtime, &compile(&ASKED.replace("FALLBACK", fallback), &storm), 1, ModelBinding::Stub).await;
        let state = run.run.state();
        assert_eq!((&state.status, state.counts.degraded > 0), (&status, degraded), "{what}");
        let said = state.ended.as_ref().and_then(|e| e.result.value().as_str()).unwrap_or_default();
        assert_eq!(if status == Status::Completed { said } else { "" }, result, "{what}");
        if storm.contains("latency") {
            assert_eq!(began.elapsed().as_secs(), 30, "it waits as long as the step may take");
        }
        verified(&runtime, &run.id, &what).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_comes_late_and_changes_nothing() {
    let runtime = runtime().await;
    let calm = play_on(&runtime, &compile(&ASKED.replace("FALLBACK", ""), ""), 1, ModelBinding::Stub).await;
    let storm = "- latency: {model: planner, add: 2s}\n- latency: {tool: describe, add: PT3S}";
    let began = tokio::time::Instant::now();
    let run = play_on(&runtime, &compile(&ASKED.replace("FALLBACK", ""), storm), 1, ModelBinding::Stub).await;
    assert_eq!(began.elapsed().as_secs(), 2 + 3 + 2, "asked twice, with a call between");
    assert_eq!(run.digest, calm.digest);
}

/// `COMMEDIA_PANICS` sets how many in all.
#[tokio::test(start_paused = true)]
async fn runs_survive_any_number_of_crashes() {
    let wanted: u64 = std::env::var("COMMEDIA_PANICS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let text = format!("{SHOP}\nsupervision: {{max_restarts: 1000, backoff: {{initial: 0ms}}}}\n");
    let (calm, stormy) = (compile(&text, ""), compile(&text, "- crash: {agent: \"*\", p: 0.35}"));
    let runtime = runtime().await;
    let (mut crashes, mut seed, mut runs) = (0, 0, 0);
    while crashes < wanted {
        let undisturbed = play_on(&runtime, &calm, seed, ModelBinding::Stub).await;
        // Side by side, so that a crash could reach a neighbour.
        let storms: Vec<_> = (0..10).map(|_| tokio::spawn(play(runtime.clone(), stormy.clone(), seed))).collect();
        for storm in storms {
            let run = storm.await.expect("plays");
            assert_eq!(run.digest, undisturbed.digest, "seed {seed}");
            crashes += run.run.state().counts.restarts;
            runs += 1;
        }
        seed += 1;
    }
    let restarts = runtime.metrics().actor_restarts_total.with_label_values(&["shop", "orchestrator"]).get();
    assert_eq!(restarts, 0, "no neighbour and no orchestrator was started again");
    println!("{crashes} crashes over {runs} runs");
}

async fn play(runtime: Runtime, scenario: Arc<Scenario>, seed: u64) -> LoadedRun {
    play_on(&runtime, &scenario, seed, ModelBinding::Stub).await
}
