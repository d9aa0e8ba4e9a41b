//! The machines without actors: a run driven step by step, so that tests can cut it, reorder what is owed, and go on.

use std::sync::Arc;

use commedia_actors::model::{outcome, stub};
use commedia_actors::store::digest::Digest;
use commedia_actors::tool::BuiltinTools;
use commedia_domain::event::{Created, Event, Failure, FailureClass, Lane, ModelBinding, StepOutcome, Work};
use commedia_domain::id::Hash32;
use commedia_domain::names::Names;
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::{rules, tool};

/// Scenarios that between them use every part of the machines.
pub(crate) const SCENARIOS: [(&str, &str); 4] = [
    ("shop", include_str!("shop.scenario.yaml")),
    ("troupe", include_str!("troupe.scenario.yaml")),
    ("timers", include_str!("timers.scenario.yaml")),
    ("faulty", include_str!("faulty.scenario.yaml")),
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

/// Carries out one thing that is owed.
pub(crate) fn carry_out(run: &Run, effect: &Effect) -> Option<Command> {
    match effect {
        Effect::Serve(order) => Some(Command::Served(rules::serve(order, &BuiltinTools, |_| {}))),
        Effect::Wake { .. } => None,
        Effect::Perform { step, seat, work } => {
            let facts = run.facts();
            let outcome = match work {
                Work::Model => outcome(stub::answer(&run.model_request(*step).expect("renders")), &facts.blobs),
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
                let command = carry_out(run, effect).expect("no timers in simulated time");
                run.decide(command).expect("what was owed is taken")
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
