//! Agents that panic: the step is repeated, the neighbours notice nothing, and a poison message is set aside in the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::ModelBinding;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{NoFiles, load};
use commedia_domain::tool::Builtins;
use commedia_domain::value::Value;

/// Panics so many times over each poisoned input, then computes.
#[derive(Debug)]
struct Moody {
    times: u32,
    panics: Mutex<HashMap<String, u32>>,
}

impl Builtins for Moody {
    fn call(&self, name: &str, input: &Value) -> Result<Value, String> {
        if input.get("poison") == Some(&Value::Bool(true)) {
            let mut panics = self.panics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let so_far = panics.entry(input.to_json().to_string()).or_insert(0);
            *so_far += 1;
            let so_far = *so_far;
            drop(panics);
            assert!(so_far > self.times, "moody: {so_far} of {}", self.times);
        }
        BuiltinTools.call(name, &Value::object([("values", Value::list([Value::Int(1), Value::Int(3)]))]))
    }
}

const CRASHY: &str = r#"
name: crashy
clock: {tick: P1D, ticks: 3}
world: {state: {sum: {type: number, default: 0}, calm: {type: integer, default: 0}}}
tools: {describe: {kind: builtin, use: describe}}
agents:
  moody:
    kind: rules
    replicas: 4
    handles: [tick]
    tools: [describe]
    supervision: {max_restarts: MAX, backoff: {initial: 0ms}}
    rules:
      - otherwise: true
        emit:
          - {call: describe, with: {poison: "self.replica == 2 && tick == 2", who: self.id, tick: tick}, as: found}
          - set: {sum: "state.sum + found.mean"}
  calm:
    kind: rules
    handles: [tick]
    rules: [{otherwise: true, emit: [{set: {calm: "state.calm + 1"}}]}]
metrics: {sum: {value: state.sum}, calm: {value: state.calm}}
"#;

async fn play(max: &str, times: u32) -> (Status, u64, usize, Vec<Option<f64>>, String) {
    let text = CRASHY.replace("MAX", max);
    let loaded = load("crashy.scenario.yaml", text.as_bytes(), &NoFiles).unwrap_or_else(|faults| panic!("{faults:?}"));
    let scenario = Arc::new(loaded.scenario);
    let options = RuntimeOptions { builtins: Arc::new(Moody { times, panics: Mutex::default() }), ..RuntimeOptions::default() };
    let runtime = Runtime::open(options).await.expect("opens");
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![ModelBinding::Offline] };
    let handle = runtime.start_run(scenario, input, StartOptions::default()).await.expect("starts");
    let run = handle.done().await.expect("ends");
    let state = run.run.state();
    let metrics = state.ended.as_ref().map(|e| e.metrics.iter().map(|m| m.value).collect()).unwrap_or_default();
    (state.status.clone(), state.counts.restarts, state.quarantined.len(), metrics, run.digest.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_repeated_and_leaves_no_trace_in_the_digest() {
    let undisturbed = play("5", 0).await;
    assert_eq!((&undisturbed.0, undisturbed.1, undisturbed.2), (&Status::Completed, 0, 0));
    assert_eq!(undisturbed.3, [Some(24.0), Some(3.0)]);
    let crashed = play("5", 4).await;
    assert_eq!((crashed.0, crashed.1, crashed.2), (Status::Completed, 4, 0));
    assert_eq!((crashed.3, crashed.4), (undisturbed.3, undisturbed.4), "metrics and digest are the undisturbed run's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_is_set_aside_and_the_run_goes_on() {
    let (status, restarts, quarantined, metrics, _) = play("2", 1000).await;
    assert_eq!((status, restarts, quarantined), (Status::Completed, 2, 1));
    // The poisoned replica is missing from tick 2 on: 12 turns less two, each adding 2; the calm neighbour had all its ticks.
    assert_eq!(metrics, [Some(20.0), Some(3.0)]);
}
