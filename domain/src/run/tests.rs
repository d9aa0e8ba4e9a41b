//! What a whole block is told lies in one place or in each mailbox: nobody may see the difference.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::event::{Event, ModelBinding};
use crate::rules::{Order, serve};
use crate::scenario::{NoFiles, Scenario, load};

fn compile(text: &str) -> Arc<Scenario> {
    match load("test.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{}\n{text}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn begin(scenario: &Arc<Scenario>, seed: u64, cast_from: u32) -> Run {
    let input = RunInput { params: Vec::new(), seed, now: 0, models: vec![ModelBinding::Offline] };
    let created = NewRun::new(scenario, &input).unwrap_or_else(|e| panic!("{e:?}")).created;
    Run { cast_from, ..Run::new(scenario.clone(), created) }
}

/// Drives a run until it ends or so many decisions were made; `crash` may let an order kill its actor instead.
fn drive(run: &mut Run, steps: usize, crash: &dyn Fn(&Order) -> Option<u32>) -> Vec<Vec<Event>> {
    let mut decisions = Vec::new();
    while decisions.len() < steps {
        let events = match run.decide(Command::Proceed { wall: i64::MAX }) {
            Ok(events) => events,
            Err(Refusal::Over(_)) => break,
            Err(Refusal::Owed) => {
                let Some(Effect::Serve(order)) = run.pending().pop() else { panic!("rules are owed") };
                let command = match crash(&order) {
                    Some(place) => {
                        let replica = order.replicas().nth(place as usize).unwrap_or_default();
                        let turn = TurnId { index: order.turn.index + place, ..order.turn };
                        Command::Crashed { seat: Seat { agent: order.agent, replica }, turn, reason: "killed".into(), wall: 0 }
                    }
                    None => {
                        let mut served = serve(&order, &NoBuiltins, |_| {});
                        // With and without the hint, by turns.
                        run.expect(served.shaped.take().filter(|_| decisions.len() % 2 == 0));
                        Command::Served(served)
                    }
                };
                run.decide(command).expect("what was owed is taken")
            }
            Err(other) => panic!("{other}"),
        };
        events.iter().for_each(|e| run.apply(e));
        decisions.push(events);
    }
    decisions
}

/// Rules of a crowd, and what it subscribes to.
const RULES: [&str; 9] = [
    "{when: \"message.kind == 'tick' && draws.d\", emit: [{set: {self.n: self.n + 1}}, {tell: crowd, type: ping, data: {k: self.n}}]}",
    "{when: \"message.kind == 'tick' && self.replica == tick\", emit: [{tell: crowd, type: late, replica: \"(self.replica * 7) % params.size\", delay: PT90M}]}",
    "{when: \"message.kind == 'tell' && self.replica == 3 && message.type == 'ping'\", emit: [{set: {self.n: \"1 / (self.n * 0)\"}}]}",
    "{when: \"message.kind == 'tick' && (self.replica + tick) % 5 == 0\", emit: [{wake_at: tick + 2}, {put: notes, value: {id: self.replica, n: self.n}}]}",
    "{when: \"message.kind == 'tick' && self.replica % 4 == 1\", emit: [{wake_at: \"now + duration('PT3H')\"}, {set: {sum: state.sum + 1}}]}",
    "{when: \"message.kind == 'record' && draws.d\", emit: [{set: {sum: state.sum + 1}}, {tell: chief, type: seen}]}",
    "{when: \"message.kind == 'tell' && self.replica == 5\", emit: [{tell: crowd, type: late, delay: PT30M}, {finish: self.n}]}",
    "{when: \"message.kind == 'start'\", emit: [{set: {self.n: self.replica}}]}",
    "{otherwise: true, emit: [{set: {self.n: self.n + 2}}]}",
];
const HANDLES: [&str; 6] = [
    "tick",
    "{tick: {where: \"(self.n + tick) % 3 != 0\"}}",
    "{tell: ping}, {tell: late}",
    "{tell: ping, where: \"message.data.k + self.replica > 2\"}, {tell: late, where: \"state.sum < 9\"}",
    "{record: notes}",
    "{record: notes, where: \"size(notes) % 2 == 0 && message.key != self.replica\"}",
];

/// A scenario of a crowd; bits of `which` choose its parts.
fn crowd(which: u32, size: u32) -> String {
    let bit = |n: usize| which >> n & 1 == 1;
    let handles: Vec<&str> = (0..3).map(|n| HANDLES[2 * n + usize::from(bit(n))]).collect();
    let rules: Vec<String> = (0..RULES.len()).filter(|n| bit(n + 3)).map(|n| format!("      - {}\n", RULES[n])).collect();
    let rules = if rules.is_empty() { format!("      - {}\n", RULES[8]) } else { rules.concat() };
    let next = if bit(13) { "    next: chief\n" } else { "" };
    let then = if bit(14) { "quarantine" } else { "fail_run" };
    format!(
        "name: crowd\nparameters: {{size: {{type: integer, default: {size}}}}}\nclock: {{tick: PT1H, ticks: 4}}\n\
         world:\n  state: {{sum: {{type: integer, default: 0}}}}\n  collections:\n    notes: {{key: id, schema: {{type: object, \
         properties: {{id: {{type: integer}}, n: {{type: integer}}}}}}, access: {{read: ['*'], write: ['*']}}}}\n\
         agents:\n  chief:\n    kind: rules\n    handles: [tick, {{tell: seen}}, {{tell: ping}}]\n    rules:\n      - {{when: \
         \"message.kind == 'tell'\", emit: [{{set: {{sum: state.sum + 1}}}}, {{tell: crowd, type: ping, data: {{k: state.sum}}, delay: PT1H}}]}}\n\
         \x20 crowd:\n    kind: rules\n    replicas: {size}\n    handles: [{}]\n    self: {{n: {{type: integer, default: 0}}}}\n    \
         draws: {{d: {{bernoulli: {{p: 0.2}}}}}}\n{next}    supervision: {{max_restarts: 0, on_exhausted: {then}, mailbox: {{capacity: {}, \
         overflow: refuse}}}}\n    rules:\n{rules}start: [{{agent: crowd}}]\n",
        handles.join(", "),
        2 + which % 3,
    )
}

fn crowds() -> impl Strategy<Value = (u32, u32)> {
    (0_u32..1 << 15, 1_u32..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_cast_and_one_message_each_give_the_same_events(
        (which, size) in crowds(), seed in 0_u64..20, crash in 0_u32..60, cut in any::<prop::sample::Index>(), swap: bool,
    ) {
        let scenario = compile(&crowd(which, size));
        let crash = |o: &Order| (o.turn.wave == crash).then(|| o.len() as u32 / 2);
        let mut apart = begin(&scenario, seed, u32::MAX);
        let expected = drive(&mut apart, 4000, &crash);
        let mut cast = begin(&scenario, seed, 1);
        let got = drive(&mut cast, 4000, &crash);
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(&cast.state().counts, &apart.state().counts);
        prop_assert_eq!(&cast.state().world, &apart.state().world);
        prop_assert_eq!(cast.state().position, apart.state().position);

        // Killed anywhere, and gone on with from a snapshot, whichever way messages lie then.
        let cut = cut.index(expected.len() + 1);
        let mut again = begin(&scenario, seed, if swap { 1 } else { u32::MAX });
        expected[..cut].iter().flatten().for_each(|e| {
            let read = Event::decode(&e.encode()).expect("reads");
            again.apply(&read);
        });
        let mut again = Run::restore(scenario.clone(), &again.snapshot()).expect("restores");
        again.cast_from = if swap { u32::MAX } else { 1 };
        prop_assert_eq!(&drive(&mut again, 4000, &crash)[..], &expected[cut..], "cut behind decision {}", cut);
    }
}

/// Replicas as ranges: first, count.
type Replicas = Vec<(u32, u32)>;

/// The replicas that had a turn at each tick, with those that passed it by.
fn turns(run: &mut Run) -> Vec<(Replicas, Replicas)> {
    let mut all = Vec::new();
    for event in drive(run, 1000, &|_| None).into_iter().flatten() {
        match event {
            Event::TickAdvanced { .. } => all.push((Vec::new(), Vec::new())),
            Event::TurnCompleted(done) => all.last_mut().expect("in a tick").0.extend(done.served),
            Event::MessagePassed { passed, .. } => all.last_mut().expect("in a tick").1.extend(passed),
            _ => {}
        }
    }
    all
}

fn small(handles: &str, emit: &str) -> Run {
    let text = format!(
        "name: small\nclock: {{start: '2026-01-01T00:00:00Z', tick: P1D, ticks: 4}}\nworld: {{state: {{n: {{type: integer, default: 0}}}}}}\n\
         agents:\n  one:\n    kind: rules\n    replicas: 6\n    handles: [{handles}]\n    self: {{done: {{type: integer, default: 0}}}}\n    \
         rules: [{{otherwise: true, emit: [{{set: {{n: state.n + 1}}}}, {emit}]}}]\n"
    );
    begin(&compile(&text), 1, 1)
}

#[test]
fn a_filter_sees_what_was_committed_before_and_who_passes_has_no_turn() {
    let mut run = small("{tick: {where: 'state.n < 3 || self.replica == tick'}}", "{set: {self.done: self.done + 1}}");
    let expected = [
        (vec![(0, 3)], vec![(3, 3)]),
        (vec![(2, 1)], vec![(0, 2), (3, 3)]),
        (vec![(3, 1)], vec![(0, 3), (4, 2)]),
        (vec![(4, 1)], vec![(0, 4), (5, 1)]),
    ];
    assert_eq!(turns(&mut run), expected);
    assert_eq!((run.state().counts.rules_turns, run.state().status.word()), (6, "completed"));
}

#[test]
fn a_filter_that_is_no_condition_fails_the_turn_and_names_itself() {
    let mut run = small("{tick: {where: '1 / (state.n - 2) > -9'}}", "{set: {self.done: 1}}");
    drive(&mut run, 100, &|_| None);
    let cause = run.state().ended.as_ref().and_then(|e| e.cause.clone()).expect("failed");
    assert!(cause.starts_with("agent `one`, `handles` of `tick`: division by zero"), "{cause}");
    assert_eq!(run.state().counts.rules_turns, 3, "two turns and the one that failed");
}

#[test]
fn who_sleeps_gets_no_tick_before_its_time() {
    let rows = [
        ("{wake_at: tick + self.replica}", [vec![(0, 6)], vec![(0, 2)], vec![(0, 3)], vec![(0, 2), (3, 1)]]),
        ("{wake_at: \"now + duration('P2D')\"}", [vec![(0, 6)], vec![], vec![(0, 6)], vec![]]),
        ("{wake_at: \"now + duration('PT25H')\"}", [vec![(0, 6)], vec![], vec![(0, 6)], vec![]]),
        ("{wake_at: tick}", [vec![(0, 6)], vec![(0, 6)], vec![(0, 6)], vec![(0, 6)]]),
        ("{wake_at: tick + 9}, {wake_at: tick + 1}", [vec![(0, 6)], vec![(0, 6)], vec![(0, 6)], vec![(0, 6)]]),
    ];
    for (emit, expected) in rows {
        for cast_from in [1, u32::MAX] {
            let mut run = Run { cast_from, ..small("tick", emit) };
            let had: Vec<_> = turns(&mut run).into_iter().map(|t| t.0).collect();
            assert_eq!(had, expected, "{emit} {cast_from}");
        }
    }
}

const GOLDEN: &str = "83405b72cb94781f5213efce13b68298c01dfb463b68024fceaa5f678fff3568";

/// Fails when a population's log becomes another one: new bytes need a new `ENGINE` or `ENCODING`.
#[test]
fn a_population_with_filters_and_sleepers_has_the_log_it_had() {
    let text = "name: golden\nclock: {tick: P1D, ticks: 3}\nworld: {state: {n: {type: integer, default: 0}}}\nagents:\n  one:\n    \
                kind: rules\n    replicas: 20\n    handles: [{tick: {where: 'self.n + state.n < 8'}}, {tell: more}]\n    \
                self: {n: {type: integer, default: 0}}\n    draws: {d: {bernoulli: {p: 0.4}}, u: {uniform: {min: 0, max: 9}}}\n    rules:\n      \
                - {when: self.replica == 7 && tick == 1, emit: [{tell: one, type: more, delay: PT1H}]}\n      \
                - {when: draws.d, emit: [{set: {self.n: 'self.n + int(draws.u)', state.n: state.n + 1}}, {wake_at: tick + 2}]}\n";
    let events: Vec<Event> = drive(&mut begin(&compile(text), 7, 1), 1000, &|_| None).into_iter().flatten().collect();
    let names: Vec<&str> = events.iter().map(Event::name).collect();
    let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
    let golden = (names.len(), bytes.len(), crate::id::Hash32::of(&bytes).to_string());
    assert_eq!(golden, (55, 5364, GOLDEN.to_owned()), "{names:?}");
    assert!(names.contains(&"message.passed") && names.contains(&"timer.fired"));
}
