//! Planner → demand → inventory → pricing → end: four turns, three handoffs, one world write; many such runs at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::Scenario;
use tokio::task::JoinSet;

use super::{Bench, Measured, Meter};
use crate::app::{load_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::packs;
use crate::source::Source;

/// Runs before the meter starts, at most: by then the store's files are there and its caches filled.
const WARM_UP: u32 = 200;

/// A built-in pack, and who answers for its models.
pub(super) struct Variant {
    pub(super) pack: &'static str,
    pub(super) binding: ModelBinding,
}

/// Decided by rules.
pub(super) const RULES: Variant = Variant { pack: "handoff-4-rules", binding: ModelBinding::Offline };
/// Each turn a chat request that the stub answers.
pub(super) const STUB: Variant = Variant { pack: "handoff-4", binding: ModelBinding::Stub };

/// Each turn a chat request over HTTP, to wherever the settings say that OpenAI's interfaces are.
pub(super) fn http() -> Variant {
    Variant { pack: "handoff-4", binding: ModelBinding::Provider { provider: "openai".into(), model: "stub".into() } }
}

pub(super) async fn measure(bench: &Bench, variant: &Variant) -> Result<Measured, Failure> {
    let packed = packs::find(variant.pack).map(Source::pack);
    let source = packed.ok_or_else(|| Failure::new(Exit::Internal, "the bench's scenario is missing"))?;
    let loaded = source.load().map_err(|faults| {
        Failure::new(Exit::Internal, faults.first().map_or_else(|| "the bench's scenario".into(), ToString::to_string))
    })?;
    let (runtime, scenario) = (&bench.runtime, Arc::new(loaded.scenario));
    let rounds = |runs| on_a_worker(rounds(runtime.clone(), scenario.clone(), variant.binding.clone(), runs, bench.parallel));
    rounds((bench.runs / 10).clamp(1, WARM_UP)).await?;
    let meter = Meter::start(runtime);
    let (mut latencies_ms, turns) = rounds(bench.runs).await?;
    let cost = meter.stop(runtime);
    latencies_ms.sort_by(f64::total_cmp);
    Ok(Measured { cost, runs: bench.runs, turns, latencies_ms, bytes_per_waiting_run: None })
}

/// What would else wake the process' first thread for each run. Given up when it is dropped.
async fn on_a_worker<T: Send + 'static>(work: impl Future<Output = Result<T, Failure>> + Send + 'static) -> Result<T, Failure> {
    let mut one = JoinSet::new();
    one.spawn(work);
    let given_up = || Failure::new(Exit::Internal, "the bench was given up");
    one.join_next().await.ok_or_else(given_up)?.map_err(|e| Failure::new(Exit::Internal, e))?
}

/// So many scenarios, so many at once: the latency of each, and the turns of all.
async fn rounds(
    runtime: Runtime,
    scenario: Arc<Scenario>,
    binding: ModelBinding,
    runs: u32,
    parallel: u32,
) -> Result<(Vec<f64>, u64), Failure> {
    let mut working: JoinSet<Result<(Duration, u64), Failure>> = JoinSet::new();
    let (mut latencies_ms, mut turns) = (Vec::with_capacity(runs as usize), 0);
    let mut next = 0;
    loop {
        while next < runs && working.len() < parallel as usize {
            let (runtime, scenario, binding) = (runtime.clone(), scenario.clone(), binding.clone());
            let seed = u64::from(next);
            working.spawn(async move { once(&runtime, scenario, binding, seed).await });
            next += 1;
        }
        match working.join_next().await {
            None => return Ok((latencies_ms, turns)),
            Some(Err(e)) => return Err(Failure::new(Exit::Internal, e)),
            Some(Ok(one)) => {
                let (latency, its_turns) = one?;
                latencies_ms.push(latency.as_secs_f64() * 1e3);
                turns += its_turns;
            }
        }
    }
}

/// One scenario; its latency is from its start to its acknowledged end.
async fn once(runtime: &Runtime, scenario: Arc<Scenario>, binding: ModelBinding, seed: u64) -> Result<(Duration, u64), Failure> {
    let models = vec![binding; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed, now: 0, models };
    let begun = Instant::now();
    // In a box: the task of a run that waits is small.
    let handle = Box::pin(runtime.start_run(scenario, input, StartOptions::default())).await.map_err(start_failure)?;
    let loaded = handle.done().await.map_err(load_failure)?;
    let latency = begun.elapsed();
    let state = loaded.run.state();
    if state.status != Status::Completed {
        let cause = state.ended.as_ref().and_then(|e| e.cause.as_deref()).unwrap_or("it did not complete");
        return Err(Failure::new(Exit::Failed, format!("a run of the bench is {}: {cause}", state.status.word())));
    }
    Ok((latency, state.counts.turns + state.counts.rules_turns))
}
