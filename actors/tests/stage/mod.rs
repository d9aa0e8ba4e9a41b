//! The machines without actors: a run driven step by step, so that tests can cut it, reorder what is owed, and go on.

use std::sync::Arc;

use commedia_actors::model::{outcome, stub};
use commedia_actors::store::digest::Digest;
use commedia_actors::tool::BuiltinTools;
use commedia_domain::body::Body;
use commedia_domain::event::{
    AnsweredBy, Created, Event, Failure, FailureClass, Lane, ModelBinding, StepOutcome, Usage, Work, tool_name,
};
use commedia_domain::id::Hash32;
use commedia_domain::message::{Call, Seat, StepId};
use commedia_domain::names::Names;
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput};
use commedia_domain::scenario::{NoFiles, Scenario, ToolRef, load};
use commedia_domain::step::{Next, Resolution, Stage};
use commedia_domain::value::Value;
use commedia_domain::{rules, tool};

/// Scenarios that between them use every part of the machines.
pub(crate) const SCENARIOS: [(&str, &str); 5] = [
    ("shop", include_str!("shop.scenario.yaml")),
    ("troupe", include_str!("troupe.scenario.yaml")),
    ("timers", include_str!("timers.scenario.yaml")),
    ("faulty", include_str!("faulty.scenario.yaml")),
    ("errands", include_str!("errands.scenario.yaml")),
];

pub(crate) fn compile(text: &str) -> Arc<Scenario> {
    match load("stage.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

pub(crate) fn created(scenario: &Arc<Scenario>, seed: u64) -> Created {
    let models = vec![ModelBinding::Stub; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed, now: 0, models };
    NewRun::new(scenario, &input).unwrap_or_else(|e| panic!("{e:?}")).created
}

/// What a step outside the process gives, whenever and however often it is performed.
fn answer(run: &Run, step: StepId, tool: ToolRef) -> Value {
    Value::object([("tool", Value::text(tool_name(run.scenario(), tool))), ("step", Value::text(step.to_string()))])
}

/// What may come of a step outside the process; `choice` says what of it does.
fn reached(run: &Run, step: StepId, tool: ToolRef, next: Next, choice: usize) -> Command {
    let value = Body::new(answer(run, step, tool), &run.facts().blobs);
    let ended = Command::StepEnded { step, outcome: StepOutcome::Done { value, writes: Vec::new(), sent: Vec::new() } };
    match (next, run.state().outside.get(&step), choice % 4) {
        (Next::Dispatch, Some(Stage::Dispatched { .. }), 0 | 1) | (Next::Lost, _, 0) => ended,
        (Next::Dispatch, ..) => Command::Dispatch { step },
        (Next::Lost, ..) => Command::Lost { step, reason: "lost".into() },
        (Next::Check(_), _, choice) => {
            let says =
                |outcome: &str| Ok(Value::object([("outcome", Value::text(outcome)), ("result", answer(run, step, tool))]));
            let answer = match choice {
                0 => says("succeeded"),
                1 => says("not_performed"),
                2 => says("unknown"),
                _ => Err("it does not answer".into()),
            };
            Command::Checked { step, answer }
        }
    }
}

/// What an operator says once nothing else is owed.
fn resolved(run: &Run, choice: usize) -> Command {
    let unknown = run.unknown_steps();
    let one = &unknown[choice % unknown.len()];
    let resolution =
        if choice.is_multiple_of(3) { Resolution::Retry } else { Resolution::Succeeded(answer(run, one.step, one.tool)) };
    Command::Resolve { step: one.step, resolution }
}

/// All tools of an agent in one answer.
fn all_at_once(run: &Run, seat: Seat) -> StepOutcome {
    let call = |(n, tool): (usize, &ToolRef)| Call {
        id: format!("all-{n}").into(),
        name: tool_name(run.scenario(), *tool).into(),
        input: Body::small(Value::object::<&str>([])),
    };
    let calls = run.scenario().agents[seat.agent.at()].tools.iter().enumerate().map(call).collect();
    StepOutcome::Answered { text: Body::default(), calls, by: AnsweredBy::Stub, usage: Usage::default() }
}

/// Carries out one thing that is owed.
pub(crate) fn carry_out(run: &Run, effect: &Effect, choice: usize) -> Option<Command> {
    match effect {
        Effect::Reach { step, tool, next, .. } => Some(reached(run, *step, *tool, *next, choice)),
        Effect::Serve(order) => Some(Command::Served(rules::serve(order, &BuiltinTools, |_| {}))),
        Effect::Discover { .. } | Effect::Wake { .. } => None,
        Effect::Perform { step, seat, work } => {
            let facts = run.facts();
            let outcome = match work {
                Work::Model if step.n == 0 && &*run.scenario().agents[seat.agent.at()].name == "parallel" => {
                    all_at_once(run, *seat)
                }
                Work::Model | Work::Judge { .. } | Work::Summary => {
                    outcome(stub::answer(&run.model_request(*step).expect("renders")), &facts.blobs)
                }
                Work::Tool { tool, input, .. } => {
                    let world = run.turn_world(&run.state().turns[seat]);
                    let names = Names::plain(&facts, &world);
                    match tool::perform(&names, Some(seat.agent), *tool, input.value(), &BuiltinTools) {
                        Ok(done) => StepOutcome::Done {
                            value: commedia_domain::body::Body::new(done.value, &facts.blobs),
                            writes: done.writes,
                            sent: done.sent,
                        },
                        Err(message) => StepOutcome::Failed(Failure { class: FailureClass::Tool, message: message.into() }),
                    }
                }
            };
            Some(Command::StepEnded { step: *step, outcome })
        }
    }
}

/// Drives a run until it ends or `steps` decisions were made; what is owed is carried out in the order `pick` says. The
/// events of each decision come back: a frame may end behind any of them.
pub(crate) fn drive(run: &mut Run, steps: usize, mut pick: impl FnMut(usize) -> usize) -> Vec<Vec<Event>> {
    let mut decisions = Vec::new();
    while decisions.len() < steps {
        let events = match run.decide(Command::Proceed { wall: i64::MAX }) {
            Ok(events) => events,
            Err(Refusal::Owed) => {
                let owed = run.pending();
                assert!(!owed.is_empty(), "a run that waits must owe something: {:?}", run.state().status);
                let effect = &owed[pick(owed.len()) % owed.len()];
                let command = carry_out(run, effect, pick(12)).expect("no timers in simulated time");
                run.decide(command).expect("what was owed is taken")
            }
            Err(Refusal::Unresolved) => {
                assert!(run.is_unresolved() && run.pending().is_empty(), "nothing else is owed");
                run.decide(resolved(run, pick(12))).expect("what an operator says is taken")
            }
            Err(Refusal::Over(_) | Refusal::Paused) => break,
            Err(other) => panic!("{other}"),
        };
        events.iter().for_each(|e| run.apply(e));
        decisions.push(events);
    }
    decisions
}

pub(crate) fn digest<'a>(created: &Created, events: impl IntoIterator<Item = &'a Event>) -> Hash32 {
    let mut digest = Digest::new();
    digest.update(&Event::RunCreated(Box::new(created.clone())).encode());
    events.into_iter().filter(|e| e.lane() == Lane::Canonical).for_each(|e| digest.update(&e.encode()));
    digest.value()
}
