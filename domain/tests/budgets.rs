//! Budgets through the machine of a run: whatever order answers, failures, crashes and restarts come in, no more is spent and
//! held than there is, nothing that waits waits for ever, and the same events give the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use commedia_domain::body::Body;
use commedia_domain::event::{Amount, AnsweredBy, Event, Failure, FailureClass, ModelBinding, StepOutcome, Usage, Work};
use commedia_domain::message::{Seat, StepId, TurnId};
use commedia_domain::run::budget::{Wanted, bound_micro_usd, micro_usd};
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::tool::NoBuiltins;
use commedia_domain::value::Value;
use proptest::prelude::*;

fn compile(text: &str) -> Arc<Scenario> {
    match load("s.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{text}\n{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn begin(scenario: &Arc<Scenario>) -> Run {
    let live = ModelBinding::Provider { provider: "openai".into(), model: "gpt".into() };
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![live; scenario.models.len() + 1] };
    Run::new(scenario.clone(), NewRun::new(scenario, &input).unwrap_or_else(|e| panic!("{e:?}")).created)
}

/// What a scenario of a crowd and its neighbour says.
/// Wall time at which whatever crashed at 0 may be started again.
const LATER: i64 = 600_000;

#[derive(Clone, Debug)]
struct Plan {
    replicas: u32,
    run: Option<u64>,
    own: Option<u64>,
    on_exceed: &'static str,
    fallback: Option<&'static str>,
    judges: usize,
    /// Tokens of the workspace, and how many it gives at once.
    day: Option<(u64, u64)>,
}

impl Plan {
    fn scenario(&self) -> Arc<Scenario> {
        let limit = |n: Option<u64>| n.map_or(String::new(), |n| format!(", tokens: {n}"));
        let judges = ["{at: output, kind: llm, check: It is well.}", "{at: output, kind: llm, check: It is short., then: retry}"];
        let fallback = match self.fallback {
            Some("rules") => "    fallback: {rules: [{otherwise: true, emit: [{finish: 1}]}]}\n".to_owned(),
            who => who.map_or(String::new(), |who| format!("    fallback: {who}\n")),
        };
        compile(&format!(
            "name: s\nlimits: {{on_exceed: {}{}}}\nagents:\n  crowd:\n    kind: llm\n    replicas: {}\n    limits: {{steps: 20{}}}\n    \
             guardrails: [{}]\n    supervision: {{max_restarts: 1, backoff: {{initial: 0ms}}, on_exhausted: {}}}\n{fallback}  other: \
             {{kind: llm, fallback: stub}}\nstart: [{{agent: crowd}}, {{agent: other}}, {{agent: crowd}}]\n",
            self.on_exceed,
            limit(self.run),
            self.replicas,
            limit(self.own),
            judges[..self.judges].join(", "),
            if self.fallback.is_some() { "fallback" } else { "quarantine" },
        ))
    }
}

/// What the events say of the tokens, kept without the machine.
#[derive(Default)]
struct Ledger {
    held: BTreeMap<StepId, (Seat, u64)>,
    spent: BTreeMap<Seat, u64>,
    granted: u64,
}

impl Ledger {
    fn over(&mut self, gone: impl Fn(&StepId) -> bool) {
        let steps: Vec<StepId> = self.held.keys().copied().filter(|step| gone(step)).collect();
        for step in steps {
            let (seat, tokens) = self.held.remove(&step).expect("it is there");
            *self.spent.entry(seat).or_default() += tokens;
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::BudgetReserved { step, seat, amount } => {
                assert!(self.held.insert(*step, (*seat, amount.tokens)).is_none(), "{step} holds some already");
            }
            Event::BudgetSettled { step, seat, amount, .. } => {
                assert!(self.held.remove(step).is_some(), "{step} holds nothing: {event:?}");
                *self.spent.entry(*seat).or_default() += amount.tokens;
            }
            Event::BudgetGranted { amount, .. } => self.granted = amount.tokens,
            Event::TurnCompleted(done) => self.over(|step| step.turn == done.turn),
            Event::TurnFailed { turn, .. } => self.over(|step| step.turn == *turn),
            Event::RunCompleted(_) | Event::RunFailed(_) | Event::RunOverBudget(_) | Event::RunCancelled(_) => {
                self.over(|_| true);
            }
            _ => {}
        }
    }

    fn taken(&self, of: impl Fn(&Seat) -> bool) -> u64 {
        let held = self.held.values().filter(|(seat, _)| of(seat)).map(|(_, tokens)| tokens);
        held.chain(self.spent.iter().filter(|(seat, _)| of(seat)).map(|(_, tokens)| tokens)).sum()
    }
}

/// A run, what is under way in it, and all that happened.
struct Play {
    plan: Plan,
    run: Run,
    under_way: BTreeMap<StepId, (Seat, u64)>,
    ledger: Ledger,
    events: Vec<Event>,
    pauses: u32,
}

impl Play {
    fn take(&mut self, events: &[Event]) {
        for event in events {
            self.run.apply(event);
            self.ledger.note(event);
            self.pauses += u32::from(matches!(event, Event::RunPaused { .. }));
        }
        self.events.extend(events.iter().cloned());
        let ledger = &self.ledger;
        let (spent, held) = self.run.state().budget.totals();
        assert_eq!(spent.tokens + held.tokens, ledger.taken(|_| true), "{:?}", self.events);
        assert_eq!(held.tokens, ledger.held.values().map(|(_, tokens)| tokens).sum::<u64>());
        assert!(self.plan.run.is_none_or(|most| ledger.taken(|_| true) <= most), "over the run's: {:?}", self.events);
        assert!(self.plan.own.is_none_or(|most| ledger.taken(|s| s.agent.0 == 0) <= most), "over the agent's: {:?}", self.events);
        assert!(self.plan.day.is_none_or(|(most, _)| ledger.granted <= most));
        assert!(self.plan.day.is_none() || ledger.taken(|_| true) <= ledger.granted, "over the day's: {:?}", self.events);
        for (step, seat) in ledger.held.iter().map(|(step, (seat, _))| (step, seat)) {
            let there = self.run.state().turns.get(seat).is_some_and(|t| t.id == step.turn && t.owes(*step));
            assert!(there, "{step} is held for, and nobody owes it: {:?}", self.events);
        }
    }

    fn decide(&mut self, command: Command) -> Result<(), Refusal> {
        let events = self.run.decide(command)?;
        self.take(&events);
        Ok(())
    }

    /// The steps of models that nobody works on.
    fn owed(&self) -> Vec<(StepId, Seat, bool)> {
        let mut owed = Vec::new();
        for effect in self.run.pending() {
            if let Effect::Perform { step, seat, work: Work::Model | Work::Judge { .. } | Work::Summary } = effect
                && !self.under_way.contains_key(&step)
            {
                let live = matches!(self.run.model_request(step).expect("a request").binding, ModelBinding::Provider { .. });
                owed.push((step, seat, live));
            }
        }
        owed
    }

    /// Room for all that want some; true where something came of it.
    fn reserve(&mut self, needs: &[u64]) -> bool {
        let owed = self.owed();
        for (step, _, _) in owed.iter().filter(|(_, _, live)| !live) {
            self.answer(*step, &Answer::Stub);
        }
        let need = |step: &StepId| needs[(step.turn.index as usize * 3 + step.n as usize) % needs.len()];
        let live = owed.iter().filter(|(_, _, live)| *live);
        let wanted: Vec<Wanted> =
            live.map(|(step, ..)| Wanted { step: *step, amount: Amount { tokens: need(step), micro_usd: 0 } }).collect();
        if wanted.is_empty() {
            return !owed.is_empty();
        }
        let before = self.events.len();
        if let Some((most, slice)) = self.plan.day {
            let short = self.run.short_of(&wanted, 7).tokens;
            let more = short.max(slice).min(most - self.ledger.granted);
            if short > 0 && more > 0 {
                self.decide(Command::Granted { day: 7, more: Amount { tokens: more, micro_usd: 0 } }).expect("granted");
            }
        }
        let workspace = self.plan.day.map(|_| (true, false));
        let events = self.run.decide(Command::Reserve { wanted: wanted.clone(), workspace }).expect("decides");
        for event in &events {
            if let Event::BudgetReserved { step, seat: of, amount } = event {
                self.under_way.insert(*step, (*of, amount.tokens));
            }
        }
        self.take(&events);
        self.events.len() > before || wanted.len() < owed.len()
    }

    fn answer(&mut self, step: StepId, how: &Answer) {
        let held = self.under_way.remove(&step).map_or(0, |(_, tokens)| tokens);
        let blobs = self.run.facts().blobs;
        let said = |text: &str, tokens: u64, by: AnsweredBy| StepOutcome::Answered {
            text: Body::new(Value::text(text), &blobs),
            calls: Vec::new(),
            by,
            usage: Usage { model_calls: 1, tokens_in: tokens, tokens_out: 0, cost_usd: 0.0 },
        };
        let outcome = match how {
            Answer::Well(share) => said("{\"ok\": true}", held * share / 100, AnsweredBy::Model),
            Answer::No => said("{\"ok\": false, \"reason\": \"no\"}", held, AnsweredBy::Model),
            Answer::Cache => said("{\"ok\": true}", 0, AnsweredBy::Cache),
            Answer::Stub => said("{\"ok\": true}", 0, AnsweredBy::Stub),
            Answer::Fails => StepOutcome::Failed(Failure { class: FailureClass::Model, message: "down".into() }),
        };
        match self.decide(Command::StepEnded { step, outcome }) {
            Ok(()) | Err(Refusal::Stale(_) | Refusal::Over(_)) => {}
            Err(other) => panic!("{other}"),
        }
        // Nobody waits for what a turn that goes on without it had asked.
        let run = &self.run;
        self.under_way.retain(|step, (seat, _)| run.state().turns.get(seat).is_some_and(|t| t.owes(*step)));
    }

    fn crash(&mut self, step: StepId) {
        let (seat, _) = self.under_way[&step];
        self.under_way.retain(|s, _| s.turn != step.turn);
        let turn: TurnId = step.turn;
        self.decide(Command::Crashed { seat, turn, reason: "bang".into(), wall: 0 }).expect("a crash");
    }

    /// The process dies: what is under way is lost, the run comes back from its log.
    fn kill(&mut self) {
        self.under_way.clear();
        let mut folded = begin(self.run.scenario());
        self.events.iter().for_each(|event| folded.apply(event));
        assert_eq!(folded.snapshot(), self.run.snapshot(), "the same events, the same state");
        self.run = Run::restore(self.run.scenario().clone(), &self.run.snapshot()).expect("a snapshot");
    }
}

#[derive(Clone, Debug)]
enum Answer {
    /// With so many hundredths of what was held.
    Well(u64),
    No,
    Cache,
    Stub,
    Fails,
}

#[derive(Clone, Debug)]
enum Do {
    Reserve,
    Answer(usize, Answer),
    Crash(usize),
    Kill,
}

fn moves() -> impl Strategy<Value = Vec<Do>> {
    let answer = prop_oneof![
        4 => (0_u64..=100).prop_map(Answer::Well),
        2 => Just(Answer::No),
        1 => Just(Answer::Cache),
        1 => Just(Answer::Fails),
    ];
    let one = prop_oneof![
        4 => Just(Do::Reserve),
        6 => (0_usize..100, answer).prop_map(|(n, how)| Do::Answer(n, how)),
        1 => (0_usize..100).prop_map(Do::Crash),
        1 => Just(Do::Kill),
    ];
    prop::collection::vec(one, 0..60)
}

fn plans() -> impl Strategy<Value = Plan> {
    let some = |most| proptest::option::weighted(0.7, 1_u64..most);
    let words =
        (prop::sample::select(vec!["fail", "pause", "fallback"]), prop::sample::select(vec![None, Some("stub"), Some("rules")]));
    (1_u32..6, some(1200), some(800), words, 0_usize..3, proptest::option::weighted(0.5, (0_u64..1000, 1_u64..200))).prop_map(
        |(replicas, run, own, (on_exceed, fallback), judges, day)| Plan { replicas, run, own, on_exceed, fallback, judges, day },
    )
}

/// Plays until nothing more can happen; panics where the run waits for nobody.
fn play(plan: Plan, moves: &[Do], needs: &[u64]) -> Play {
    let scenario = plan.scenario();
    let run = begin(&scenario);
    let mut play = Play { plan, run, under_way: BTreeMap::new(), ledger: Ledger::default(), events: Vec::new(), pauses: 0 };
    let mut moves = moves.iter();
    for _ in 0..2000 {
        match play.decide(Command::Proceed { wall: LATER }) {
            Ok(()) => continue,
            Err(Refusal::Over(_)) => return play,
            Err(Refusal::Paused) => {
                assert!(play.under_way.is_empty(), "it stands still while models are asked");
                if play.pauses > 3 {
                    return play;
                }
                play.decide(Command::Resume).expect("resumes");
                continue;
            }
            Err(Refusal::Owed) => {}
            Err(other) => panic!("{other}"),
        }
        if let Some(Effect::Serve(order)) = play.run.pending().into_iter().find(|e| matches!(e, Effect::Serve(_))) {
            play.decide(Command::Served(commedia_domain::rules::serve(&order, &NoBuiltins, |_| {}))).expect("served");
            continue;
        }
        let pick = |n: &usize| {
            let steps: Vec<StepId> = play.under_way.keys().copied().collect();
            (!steps.is_empty()).then(|| steps[n % steps.len()])
        };
        match moves.next() {
            Some(Do::Answer(n, how)) => {
                if let Some(step) = pick(n) {
                    play.answer(step, how);
                }
            }
            Some(Do::Crash(n)) => {
                if let Some(step) = pick(n) {
                    play.crash(step);
                }
            }
            Some(Do::Kill) => play.kill(),
            Some(Do::Reserve) => {
                play.reserve(needs);
            }
            None => {
                let first = play.under_way.keys().next().copied();
                match first {
                    Some(step) => play.answer(step, &Answer::Well(50)),
                    None => assert!(play.reserve(needs), "it waits for nobody: {:?}", play.events),
                }
            }
        }
    }
    panic!("it does not end: {:?}", play.run.state().status);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_things_takes_more_than_there_is(plan in plans(), moves in moves(), needs in prop::collection::vec(1_u64..400, 1..9)) {
        let mut play = play(plan, &moves, &needs);
        play.kill();
        if play.run.state().status.ended().is_some() {
            prop_assert!(play.ledger.held.is_empty());
        }
    }
}

fn seats(events: &[Event], name: &str) -> Vec<u32> {
    let of = |e: &Event| match e {
        Event::BudgetReserved { seat, .. } | Event::BudgetRefused { seat, .. } => Some(seat.replica),
        _ => None,
    };
    events.iter().filter(|e| e.name() == name).filter_map(of).collect()
}

#[test]
fn room_goes_in_wave_order_and_a_refusal_asks_nobody_behind_it() {
    let plan =
        |on_exceed, own, judges, fallback| Plan { replicas: 3, run: Some(250), own, on_exceed, fallback, judges, day: None };
    // Three of 100 have room for two; the third waits, and is refused once the others have taken all.
    let rows = [
        (plan("fail", None, 0, None), "over_budget", 1),
        (plan("pause", None, 0, None), "paused", 4),
        (plan("fallback", None, 0, Some("stub")), "completed", 5),
        (plan("fallback", None, 0, None), "over_budget", 1),
    ];
    for (plan, status, refused) in rows {
        let words = format!("{plan:?}");
        let scenario = plan.scenario();
        let mut run = Play {
            run: begin(&scenario),
            plan: plan.clone(),
            under_way: BTreeMap::new(),
            ledger: Ledger::default(),
            events: Vec::new(),
            pauses: 0,
        };
        while run.decide(Command::Proceed { wall: LATER }).is_ok() {}
        run.reserve(&[100]);
        assert_eq!(
            (seats(&run.events, "budget.reserved"), seats(&run.events, "budget.refused")),
            (vec![0, 1], vec![]),
            "{words}"
        );
        let all: Vec<Do> = (0..20).flat_map(|_| [Do::Reserve, Do::Answer(0, Answer::Well(100))]).collect();
        let ended = play(plan, &all, &[100]);
        let found = match &ended.run.state().status {
            Status::Paused { .. } => "paused",
            other => other.ended().unwrap_or("live"),
        };
        assert_eq!((found, seats(&ended.events, "budget.refused").len()), (status, refused), "{words}: {:?}", ended.events);
        assert_eq!(ended.ledger.taken(|_| true), 200, "{words}");
    }
}

#[test]
fn of_two_judges_of_one_turn_one_refusal_decides() {
    // The answer takes 100; then each judge would need 100, and there are 50 left.
    for fallback in [Some("stub"), Some("rules")] {
        let plan = Plan { replicas: 1, run: Some(150), own: None, on_exceed: "fallback", fallback, judges: 2, day: None };
        let all: Vec<Do> = (0..20).flat_map(|_| [Do::Reserve, Do::Answer(0, Answer::Well(100))]).collect();
        let ended = play(plan, &all, &[100]);
        assert_eq!(ended.run.state().status, Status::Completed);
        let mut by_turn: BTreeMap<TurnId, BTreeSet<u32>> = BTreeMap::new();
        for event in &ended.events {
            if let Event::BudgetRefused { step, .. } = event {
                assert!(by_turn.entry(step.turn).or_default().insert(step.n), "{fallback:?}: refused twice");
            }
        }
        assert!(by_turn.values().all(|steps| steps.len() == 1), "{fallback:?}: {by_turn:?}");
    }
}

#[test]
fn money_is_rounded_to_nobodys_advantage() {
    for (usd, cost, bound) in [
        (0.0, 0, 0),
        (1.0, 1_000_000, 1_000_000),
        (0.1 + 0.2, 300_000, 300_000),
        (0.000_000_4, 1, 0),
        (0.000_001_5, 2, 1),
        (-1.0, 0, 0),
        (f64::MAX, u64::MAX, u64::MAX),
    ] {
        assert_eq!((micro_usd(usd), bound_micro_usd(usd)), (cost, bound), "{usd}");
    }
}
