//! Budgets over real runs with a scripted model: refused before the call, whoever asks side by side, over days and restarts; a
//! replay of each is the same to the byte and asks nobody.

#[expect(dead_code, reason = "each test takes its own share")]
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use commedia_actors::budget::DayLimits;
use commedia_actors::clock::WallClock;
use commedia_actors::prices::Prices;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartError, StartOptions};
use commedia_domain::event::{Amount, Event, ModelBinding};
use commedia_domain::run::{RunInput, Status};
use scripted::{Played, Says, Scripted, cause, compile, count, input, options, play, verified};

const START_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// A call needs some 1,010 tokens at most, and takes 100: so many fit into a budget.
fn chorus(limits: &str, agent: &str, starts: usize) -> String {
    let start = vec!["{agent: a}"; starts].join(", ");
    format!(
        "name: chorus\nmodels: {{m: {{use: auto, max_output_tokens: 1000, price: {{input: 1, output: 1}}}}}}\nlimits: {{{limits}}}\n\
         agents:\n  a: {{kind: llm, model: m, instructions: Sing.{agent}}}\nstart: [{start}]\n"
    )
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_refused_before_it_is_asked() {
    let stub = ", fallback: stub";
    // What the run and the agent say; the status, calls of a model, refusals, and words of why.
    let rows = [
        ("tokens: 1200", "", "over_budget", 2, 1, "`limits.tokens` is 1200 tokens, 200 tokens of it are used, and the next call"),
        ("cost_usd: 0.0012", "", "over_budget", 2, 1, "`limits.cost_usd` is $0.001200, $0.000200 of it are used"),
        ("", ", limits: {tokens: 1200}", "over_budget", 2, 1, "`agents.a.limits.tokens` is 1200 tokens"),
        ("", ", limits: {cost_usd: 0.0012}", "over_budget", 2, 1, "`agents.a.limits.cost_usd` is $0.001200"),
        ("tokens: 900", "", "over_budget", 0, 1, "0 tokens of it are used, and the next call of a model may need 10"),
        ("tokens: 1200, on_exceed: pause", "", "paused", 2, 1, "`limits.tokens` is 1200 tokens"),
        ("tokens: 1200, on_exceed: fallback", stub, "completed", 2, 4, ""),
        ("cost_usd: 0.0012, on_exceed: fallback", stub, "completed", 2, 4, ""),
        ("tokens: 1200, on_exceed: fallback", "", "over_budget", 2, 1, "`limits.tokens` is 1200 tokens"),
        ("tokens: 100000", "", "completed", 6, 0, ""),
    ];
    for (limits, agent, status, calls, refused, words) in rows {
        let model = Scripted::new(&[]);
        let runtime = Runtime::open(options(&model)).await.expect("opens");
        let played = play(&runtime, &compile(&chorus(limits, agent, 6))).await;
        let row = format!("{limits}{agent}: {}", cause(&played.run));
        assert_eq!((played.status(), model.asked()), (status, calls), "{row}");
        assert_eq!(count(&played.events, "budget.refused"), refused, "{row}");
        assert_eq!(count(&played.events, "budget.reserved"), calls, "{row}");
        assert!(cause(&played.run).contains(words), "{row}");
        let (spent, held) = played.run.run.state().budget.totals();
        assert_eq!(
            (spent, held),
            (Amount { tokens: 100 * calls as u64, micro_usd: 100 * calls as u64 }, Amount::default()),
            "{row}"
        );
        verified(&runtime, &played, &model).await;
        if status == "paused" {
            // Nothing has changed: it stands still again, and nobody is asked.
            let again =
                runtime.resume(&played.run.id, StartOptions::default()).await.expect("resumes").done().await.expect("rests");
            assert!(matches!(again.run.state().status, Status::Paused { .. }), "{row}");
            assert_eq!(model.asked(), calls, "{row}");
            runtime.cancel(&played.run.id, "enough").await.ok();
            let played = Played { events: runtime.events(&played.run.id, 1).await.expect("events"), run: again };
            verified(&runtime, &played, &model).await;
        }
        runtime.shutdown().await.expect("closes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_side_by_side_never_have_more_than_there_is() {
    // About 1,010 each: there is room for 19 at once, and 20,000 tokens are gone after 190 answers.
    for (limits, own) in [("tokens: 20000, on_exceed: fallback", ""), ("on_exceed: fallback", ", limits: {tokens: 20000}")] {
        let model = Scripted::late(Duration::from_millis(50));
        let runtime = Runtime::open(options(&model)).await.expect("opens");
        let text = chorus(limits, &format!(", replicas: 1000, fallback: stub{own}"), 1);
        let played = play(&runtime, &compile(&text)).await;
        assert_eq!(played.status(), "completed", "{}", cause(&played.run));
        assert!(model.asked() > 180 && model.asked() <= 200, "{}", model.asked());
        assert!(model.most() > 10 && model.most() <= 19, "{} at once", model.most());
        let (mut held, mut spent, mut most) = (0, 0, 0);
        let mut open = std::collections::BTreeMap::new();
        for event in &played.events {
            match &*event.event {
                Event::BudgetReserved { step, amount, .. } => {
                    held += amount.tokens;
                    open.insert(*step, amount.tokens);
                }
                Event::BudgetSettled { step, amount, .. } => {
                    held -= open.remove(step).expect("it is held");
                    spent += amount.tokens;
                }
                _ => {}
            }
            most = most.max(held + spent);
        }
        assert!(most <= 20_000, "{most}");
        assert_eq!((held, spent), (0, 100 * model.asked() as u64));
        verified(&runtime, &played, &model).await;
        runtime.shutdown().await.expect("closes");
    }
}

/// A wall clock that tests can turn.
fn hands() -> &'static AtomicI64 {
    Box::leak(Box::new(AtomicI64::new(START_MS)))
}

fn daily(model: &Arc<Scripted>, limits: DayLimits, hands: &'static AtomicI64) -> RuntimeOptions {
    RuntimeOptions { day_limits: limits, clock: WallClock::staged(hands), ..options(model) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_share_the_budget_of_a_day_whatever_is_opened_again() {
    let tokens = DayLimits { tokens: Some(12_000), micro_usd: None };
    let money = DayLimits { tokens: None, micro_usd: Some(12_000) };
    for (limits, name) in
        [(tokens, "`budgets.workspace_per_day_tokens` gives this run"), (money, "`budgets.workspace_per_day_usd`")]
    {
        let (folder, hands) = (tempfile::tempdir().expect("a folder"), hands());
        let model = Scripted::new(&[]);
        let open = || RuntimeOptions { store: format!("sled://{}", folder.path().display()), ..daily(&model, limits, hands) };
        let runtime = Runtime::open(open()).await.expect("opens");
        let scenario = compile(&chorus("", "", 20));
        // Ten runs of twenty calls at once, and there is room for some 110 calls.
        let mut working = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let (runtime, scenario) = (runtime.clone(), scenario.clone());
            working.spawn(async move { play(&runtime, &scenario).await });
        }
        let played = working.join_all().await;
        let taken: u64 = played.iter().map(|p| p.run.run.state().budget.totals().0.tokens).sum();
        assert_eq!(taken, 100 * model.asked() as u64);
        assert!(taken <= 12_000, "{taken}");
        assert!(played.iter().any(|p| cause(&p.run).contains(name)), "{}", cause(&played[0].run));
        for one in &played {
            verified(&runtime, one, &model).await;
        }
        // What they did not need they gave back: another one takes it up to the last call there is room for.
        let rest = play(&runtime, &compile(&chorus("", "", 150))).await;
        assert_eq!(rest.status(), "over_budget");
        let before = model.asked();
        assert!((10_900..=12_000).contains(&(100 * before)), "{before} calls");
        runtime.shutdown().await.expect("closes");
        // The same day in another process: nothing is left. The next day begins anew.
        let runtime = Runtime::open(open()).await.expect("opens again");
        let none = play(&runtime, &scenario).await;
        assert_eq!((none.status(), model.asked()), ("over_budget", before), "{}", cause(&none.run));
        hands.fetch_add(DAY_MS, Ordering::Relaxed);
        let next = play(&runtime, &scenario).await;
        assert_eq!((next.status(), model.asked()), ("completed", before + 20), "{}", cause(&next.run));
        verified(&runtime, &next, &model).await;
        runtime.shutdown().await.expect("closes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_paused_for_the_day_goes_on_the_next() {
    let hands = hands();
    let model = Scripted::new(&[]);
    let limits = DayLimits { tokens: Some(1_200), micro_usd: None };
    let runtime = Runtime::open(daily(&model, limits, hands)).await.expect("opens");
    let scenario = compile(&chorus("on_exceed: pause", "", 5));
    let mut run = play(&runtime, &scenario).await.run;
    for (day, calls) in [(0, 2), (1, 4), (2, 5)] {
        if day > 0 {
            hands.fetch_add(DAY_MS, Ordering::Relaxed);
            run = runtime.resume(&run.id, StartOptions::default()).await.expect("resumes").done().await.expect("rests");
        }
        assert_eq!(model.asked(), calls, "day {day}: {:?}", run.run.state().status);
    }
    assert_eq!(run.run.state().status, Status::Completed);
    let events = runtime.events(&run.id, 1).await.expect("events");
    verified(&runtime, &Played { run, events }, &model).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_answers_take_more_than_was_held_goes_on_with_the_day_s_budget() {
    let hands = hands();
    let model = Scripted::new(&[]);
    let limits = DayLimits { tokens: Some(1_500), micro_usd: None };
    let runtime = Runtime::open(daily(&model, limits, hands)).await.expect("opens");
    // Some 60 are held for a call, and a slice of the day is 30: the run is given what it is short of, again and again.
    let text = chorus("", "", 6).replace("max_output_tokens: 1000", "max_output_tokens: 50");
    let played = play(&runtime, &compile(&text)).await;
    assert_eq!((played.status(), model.asked()), ("completed", 6), "{}", cause(&played.run));
    verified(&runtime, &played, &model).await;
    runtime.shutdown().await.expect("closes");
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_no_more_of_the_day_than_its_own_budget_has_room_for() {
    let hands = hands();
    let model = Scripted::late(Duration::from_millis(10));
    let limits = DayLimits { tokens: Some(50_000), micro_usd: None };
    let runtime = Runtime::open(daily(&model, limits, hands)).await.expect("opens");
    let greedy = compile(&chorus("tokens: 3000, on_exceed: fallback", ", replicas: 1000, fallback: stub", 1));
    let greedy = play(&runtime, &greedy).await;
    let most = greedy.events.iter().filter_map(|e| match &*e.event {
        Event::BudgetGranted { amount, .. } => Some(amount.tokens),
        _ => None,
    });
    assert!(most.max().is_some_and(|tokens| tokens <= 4_000), "it took more than it can use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_when_the_process_ended_counts_as_spent() {
    let folder = tempfile::tempdir().expect("a folder");
    let hands = hands();
    let limits = DayLimits { tokens: Some(10_000), micro_usd: None };
    let store = format!("sled://{}", folder.path().display());
    let hangs = Scripted::new(&[("a", vec![Says::Words("la"), Says::Hang])]);
    let runtime = Runtime::open(RuntimeOptions { store: store.clone(), ..daily(&hangs, limits, hands) }).await.expect("opens");
    let scenario = compile(&chorus("tokens: 3000", "", 3));
    let handle = runtime.start_run(scenario.clone(), input(&scenario), StartOptions::default()).await.expect("starts");
    while hangs.asked() < 2 {
        tokio::task::yield_now().await;
    }
    runtime.shutdown().await.expect("closes");
    let model = Scripted::new(&[]);
    let runtime = Runtime::open(RuntimeOptions { store, ..daily(&model, limits, hands) }).await.expect("opens again");
    let (spent, held) = runtime.load(&handle.id).await.expect("loads").run.state().budget.totals();
    assert_eq!(spent.tokens, 100);
    assert!(held.tokens > 1_000, "what is held is durable before the call");
    let run = runtime.resume(&handle.id, StartOptions::default()).await.expect("resumes").done().await.expect("ends");
    // 100 of the first, all that was held for the one nobody heard, 100 for asking it once more, 100 of the third.
    let (taken, open) = run.run.state().budget.totals();
    assert_eq!((taken.tokens, open), (300 + held.tokens, Amount::default()));
    let events = runtime.events(&handle.id, 1).await.expect("events");
    let lost = events.iter().filter(|e| matches!(&*e.event, Event::BudgetSettled { lost: true, .. })).count();
    assert_eq!((lost, model.asked()), (1, 2), "{}", cause(&run));
    assert_eq!(run.run.state().status, Status::Completed, "{}", cause(&run));
    verified(&runtime, &Played { run, events }, &model).await;
    // The day counts it, too: 10,000 less what this run took have no room for ten more.
    let last = play(&runtime, &compile(&chorus("", "", 200))).await;
    let left = 10_000 - taken.tokens;
    assert_eq!(last.status(), "over_budget");
    assert!(last.run.run.state().budget.totals().0.tokens <= left);
    assert!(last.run.run.state().budget.totals().0.tokens > left - 1_200);
    runtime.shutdown().await.expect("closes");
}

#[tokio::test(start_paused = true)]
async fn money_without_a_price_is_refused_before_anything_is_stored() {
    let text = |limits: &str, alias: &str, more: &str| {
        format!(
            "name: s\nmodels: {{m: {{use: auto{alias}}}, j: {{use: 'openai:judge'}}, p: {{use: 'openai:gpt', price: {{input: 1, \
             output: 1}}}}}}\nlimits: {{{limits}}}\nagents: {{a: {{kind: llm, model: m{more}}}}}\n"
        )
    };
    let (price, judge) = (", price: {input: 1, output: 1}", ", guardrails: [{at: output, kind: llm, model: j, check: Well.}]");
    let money = DayLimits { tokens: None, micro_usd: Some(1_000_000) };
    let none = DayLimits::default();
    // The scenario, the day's budget, prices of the settings; who has no price.
    let rows = [
        (text("", "", ""), none, "", None),
        (text("tokens: 9000", "", ""), none, "", None),
        (text("cost_usd: 1", "", ""), none, "", Some("`openai:gpt` costs (`m`)")),
        (text("", "", ""), money, "", Some("`openai:gpt` costs (`m`)")),
        (text("", "", ", limits: {cost_usd: 1}"), none, "", Some("`openai:gpt`")),
        (text("cost_usd: 1", price, ""), none, "", None),
        (text("cost_usd: 1", "", ""), none, "openai:gpt", None),
        (text("cost_usd: 1", "", ""), none, "openai:*", None),
        (text("cost_usd: 1", price, judge), none, "", Some("`openai:judge` costs (`j`)")),
        (text("cost_usd: 1", &format!("{price}, fallback: ['ollama:small']"), ""), none, "", Some("`ollama:small` costs (`m`)")),
        (text("cost_usd: 1", &format!("{price}, fallback: ['ollama:small']"), ""), none, "ollama:*", None),
        (text("cost_usd: 1", ", fallback: [stub]", ""), none, "openai:gpt", None),
    ];
    for (text, day_limits, priced, expect) in rows {
        let model = Scripted::new(&[]);
        let prices = Prices::new((!priced.is_empty()).then(|| (priced.to_owned(), (1.0, 1.0))));
        let runtime =
            Runtime::open(RuntimeOptions { day_limits, prices: Arc::new(prices), ..options(&model) }).await.expect("opens");
        let scenario = compile(&text);
        let bound = |name: &str| ModelBinding::Provider { provider: "openai".into(), model: name.into() };
        let models = vec![bound("gpt"), bound("judge"), bound("gpt"), bound("gpt")];
        let input = RunInput { models, ..input(&scenario) };
        match (runtime.start_run(scenario, input, StartOptions::default()).await, expect) {
            (Ok(handle), None) => drop(handle.done().await.expect("ends")),
            (Err(StartError::Price(words)), Some(expect)) => {
                assert!(words.contains(expect) && words.contains("[prices]"), "{text}: {words}");
                assert_eq!((runtime.runs().await.expect("lists").len(), model.asked()), (0, 0), "{text}");
            }
            (Ok(_), Some(_)) => panic!("{text}: it has begun"),
            (Err(e), _) => panic!("{text}: {e}"),
        }
    }
}
