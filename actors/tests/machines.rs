//! The machines' theorems: what is owed may be carried out in any order, a log may be cut behind any decision, a snapshot may
//! stand for its log, and the digest is the same; a command that is not due is refused and changes nothing.

mod stage;

use std::collections::{BTreeMap, BTreeSet};

use commedia_domain::event::{Event, StepOutcome};
use commedia_domain::id::AgentIx;
use commedia_domain::message::{Seat, StepId, TurnId};
use commedia_domain::rules::Served;
use commedia_domain::run::{Command, Effect, Run};
use commedia_domain::scenario::EffectClass;
use commedia_domain::step::{Next, Resolution};
use commedia_domain::value::Value;
use proptest::prelude::*;
use stage::{SCENARIOS, compile, created, digest, drive};

const ENOUGH: usize = 100_000;

/// A cheap stream of choices from one number.
fn choices(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |n| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0) % n
    }
}

fn ended(name: &str, run: &Run) -> &'static str {
    run.state().status.ended().unwrap_or_else(|| panic!("{name}: {:?}", run.state().status))
}

#[test]
fn each_scenario_ends_as_it_should() {
    for ((name, text), (status, turns)) in
        SCENARIOS.iter().zip([("completed", 0), ("completed", 6), ("completed", 0), ("completed", 1), ("completed", 3)])
    {
        let scenario = compile(text);
        let mut run = Run::new(scenario.clone(), created(&scenario, 1));
        drive(&mut run, ENOUGH, |_| 0);
        let state = run.state();
        let end = state.ended.as_ref().expect("ended");
        assert_eq!(ended(name, &run), status, "{name}: {:?}", end.cause);
        assert!(end.checks.iter().all(|c| c.passed), "{name}: {:?}", end.checks);
        assert_eq!(state.counts.turns, turns, "{name}");
        assert!(state.turns.is_empty(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_what_is_owed_gives_one_digest(which in 0..SCENARIOS.len(), seed in 0_u64..50, order in any::<u64>()) {
        let scenario = compile(SCENARIOS[which].1);
        let created = created(&scenario, seed);
        let mut first = Run::new(scenario.clone(), created.clone());
        let straight = drive(&mut first, ENOUGH, |_| 0);
        let mut second = Run::new(scenario.clone(), created.clone());
        let shuffled = drive(&mut second, ENOUGH, choices(order));
        prop_assert_eq!(digest(&created, straight.iter().flatten()), digest(&created, shuffled.iter().flatten()));
        prop_assert_eq!(&first.state().ended, &second.state().ended);
    }

    #[test]
    fn any_cut_and_what_is_pending_reach_the_same_digest(
        which in 0..SCENARIOS.len(), seed in 0_u64..50, cut in any::<prop::sample::Index>(), order in any::<u64>(), snapshot: bool,
    ) {
        let scenario = compile(SCENARIOS[which].1);
        let created = created(&scenario, seed);
        let mut live = Run::new(scenario.clone(), created.clone());
        let whole = drive(&mut live, ENOUGH, choices(order));
        let cut = cut.index(whole.len() + 1);

        // What was stored up to the cut is folded; nothing else of the process survives.
        let mut again = Run::new(scenario.clone(), created.clone());
        let kept: Vec<Event> = whole[..cut].iter().flatten().map(|e| {
            Event::decode(&e.encode()).map(|read| if filled(&read) { read } else { e.clone() }).expect("reads")
        }).collect();
        kept.iter().for_each(|e| again.apply(e));
        if snapshot {
            again = Run::restore(scenario.clone(), &again.snapshot()).expect("restores");
        }
        let rest = drive(&mut again, ENOUGH, choices(order.rotate_left(17)));
        let resumed = digest(&created, kept.iter().chain(rest.iter().flatten()));
        prop_assert_eq!(resumed, digest(&created, whole.iter().flatten()), "cut behind decision {} of {}", cut, whole.len());
        let log: Vec<Event> = kept.iter().chain(rest.iter().flatten()).cloned().collect();
        prop_assert_eq!(told(&log), Ok(()));
        prop_assert_eq!(&again.state().ended, &live.state().ended);
    }

    #[test]
    fn a_dispatched_effect_is_never_owed_again_by_itself(seed in 0_u64..50, order in any::<u64>()) {
        let (_, text) = SCENARIOS[4];
        let scenario = compile(text);
        let created = created(&scenario, seed);
        let mut live = Run::new(scenario.clone(), created.clone());
        let whole: Vec<Event> = drive(&mut live, ENOUGH, choices(order)).into_iter().flatten().collect();
        let mut again = Run::new(scenario.clone(), created);
        for event in &whole {
            again.apply(event);
            let Event::StepDispatched { step, .. } = event else { continue };
            let once_more = again.decide(Command::Dispatch { step: *step });
            for effect in again.pending() {
                let Effect::Reach { step: owed, tool, next, .. } = effect else { continue };
                let effect = again.class_of(tool) == EffectClass::Effect;
                if owed == *step {
                    prop_assert_eq!(next, if effect { Next::Lost } else { Next::Dispatch });
                    prop_assert_eq!(once_more.is_err(), effect, "{}", step);
                }
            }
        }
    }

    #[test]
    fn a_command_that_is_not_due_is_refused_and_never_a_panic(
        which in 0..SCENARIOS.len(), steps in 0_usize..60, wave in 0_u32..9, index in 0_u32..30, n in 0_u32..5, kind in 0_u8..11,
    ) {
        let scenario = compile(SCENARIOS[which].1);
        let mut run = Run::new(scenario.clone(), created(&scenario, 3));
        drive(&mut run, steps, |_| 0);
        let turn = TurnId { wave, index };
        let seat = Seat { agent: AgentIx(u16::try_from(n).unwrap_or(0)), replica: index };
        let owed: Vec<StepId> = run.state().turns.values().flat_map(|t| t.pending().into_iter().map(|(s, _)| s)).collect();
        let step = StepId { turn, n };
        let before = run.snapshot();
        let command = match kind {
            0 if !owed.contains(&step) => {
                let outcome = StepOutcome::Done { value: Default::default(), writes: Vec::new(), sent: Vec::new() };
                Command::StepEnded { step, outcome }
            }
            1 => Command::Served(Served { count: 1, ..Served::nothing(TurnId { wave: wave + 1000, index }) }),
            2 => Command::Resume,
            3 => Command::Tell { seat: Seat { replica: 1 << 30, ..seat }, text: "x".into(), data: Value::Null },
            7 => Command::Resolve { step, resolution: Resolution::Retry },
            8 => Command::Checked { step, answer: Ok(Value::Null) },
            9 if !owed.contains(&step) => Command::Dispatch { step },
            10 if !owed.contains(&step) => Command::Lost { step, reason: "x".into() },
            4 => Command::Crashed { seat: Seat { replica: 1 << 30, ..seat }, turn, reason: "x".into(), wall: 0 },
            5 => Command::Served(Served { count: 5000, ..Served::nothing(turn) }),
            _ => Command::Tell { seat: Seat { agent: AgentIx(999), replica: 0 }, text: "x".into(), data: Value::Null },
        };
        prop_assert!(run.decide(command.clone()).is_err(), "{command:?}");
        prop_assert_eq!(run.snapshot(), before, "a refusal changes nothing");
    }
}

/// Of a step that leaves the process the log tells a whole story, whatever was cut, lost, checked and resolved.
fn told(events: &[Event]) -> Result<(), String> {
    let mut attempts: BTreeMap<StepId, u32> = BTreeMap::new();
    let mut unknown: BTreeSet<StepId> = BTreeSet::new();
    let mut recorded: BTreeSet<StepId> = BTreeSet::new();
    for event in events {
        match event {
            Event::StepDispatched { step, attempt, .. } => {
                let before = attempts.insert(*step, *attempt).unwrap_or(0);
                if *attempt != before + 1 || unknown.contains(step) || recorded.contains(step) {
                    return Err(format!("{step} is dispatched a {attempt}. time after {before}"));
                }
            }
            Event::StepUnknown { step, attempt, .. } => {
                unknown.insert(*step);
                if attempts.get(step) != Some(attempt) || recorded.contains(step) {
                    return Err(format!("{step} is unknown after attempt {attempt}"));
                }
            }
            Event::StepReconciled { step, .. } if !unknown.remove(step) => return Err(format!("{step} was known")),
            Event::StepRecorded(done) if !recorded.insert(done.step) => return Err(format!("{} is recorded twice", done.step)),
            _ => {}
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(format!("{unknown:?} are left")) }
}

fn filled(event: &Event) -> bool {
    let mut all = true;
    event.bodies(&mut |b| all &= b.missing().is_none());
    all
}
