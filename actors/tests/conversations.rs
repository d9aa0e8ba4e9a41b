//! Judges, bounded conversations and summaries over real runs with a scripted model; a replay of each asks nobody.

#[expect(dead_code, reason = "each test takes its own share")]
mod scripted;

use std::sync::Arc;

use Says::{Calls, Fails, Words};
use commedia_actors::runtime::Runtime;
use commedia_domain::event::{Event, StepOutcome};
use commedia_domain::message::Chat;
use commedia_domain::run::ModelRequest;
use commedia_domain::value::Value;
use scripted::{Played, Says, Scripted, cause, compile, count, options, play, verified};

async fn played(text: &str, script: &[(&str, Vec<Says>)]) -> (Played, Arc<Scripted>) {
    let model = Scripted::new(script);
    let runtime = Runtime::open(options(&model)).await.expect("opens");
    let played = play(&runtime, &compile(text)).await;
    verified(&runtime, &played, &model).await;
    runtime.shutdown().await.expect("closes");
    (played, model)
}

fn result(played: &Played) -> String {
    let ended = played.run.run.state().ended.as_ref();
    ended.map_or_else(String::new, |ended| ended.result.value().to_json().to_string())
}

const NO: Says = Words("{\"ok\": false, \"reason\": \"it is rude\"}");
const YES: Says = Words("Surely: {\"ok\": true, \"reason\": \"\"}");
const RUBBISH: Says = Words("I would rather not say.");

/// A desk with a judge at a place: it uses a tool where the model calls it, hands off to `boss` where the model does.
fn desk(at: &str, then: &str, more: &str) -> String {
    format!(
        "name: desk\nworld: {{state: {{paid: {{type: integer, default: 0}}}}}}\ntools:\n  pay: {{kind: state, input: {{type: object}}, \
         set: {{paid: state.paid + 1}}}}\nagents:\n  desk:\n    kind: llm\n    \
         instructions: Serve.\n    tools: [pay]\n    handoffs: [{{to: boss}}]\n    guardrails: [{{at: {at}, kind: llm, check: It is \
         polite., then: {then}{more}}}]\n  boss: {{kind: llm, instructions: Rule.}}\nstart: [{{agent: desk, message: hello}}]\nends: [desk, boss]\n\
         metrics: {{paid: {{value: state.paid}}}}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_judge_stands_at_each_place_and_what_it_says_counts() {
    let pay = || vec![Calls("pay", "{}"), Words("thanks")];
    let boss = || vec![Calls("transfer_to_boss", "{}"), Words("I stay")];
    // Where, then, what the desk and its judge say; the status, words of the result or cause, who was asked, and how often it paid.
    type Row = (&'static str, &'static str, Vec<Says>, Vec<Says>, &'static str, &'static str, &'static str, f64);
    let rows: Vec<Row> = vec![
        ("input", "reject", vec![], vec![YES], "completed", "done", "judge desk", 0.0),
        ("input", "reject", vec![], vec![NO], "failed", "the input was refused", "judge", 0.0),
        ("input", "fail", vec![], vec![NO], "failed", "it is rude", "judge", 0.0),
        ("input", "retry", vec![], vec![RUBBISH], "failed", "no verdict", "judge", 0.0),
        ("output", "reject", vec![], vec![YES], "completed", "done", "desk judge", 0.0),
        ("output", "reject", vec![], vec![NO], "completed", "Refused by a guardrail at output: it is rude", "desk judge", 0.0),
        (
            "output",
            "retry",
            vec![Words("go away"), Words("please go")],
            vec![NO, YES],
            "completed",
            "please go",
            "desk judge desk judge",
            0.0,
        ),
        ("output", "retry", vec![], vec![NO, NO, NO], "failed", "it is rude", "desk judge desk judge desk judge", 0.0),
        ("output", "fail", vec![], vec![NO], "failed", "a guardrail at output was not met", "desk judge", 0.0),
        ("output", "fail", vec![], vec![Fails], "failed", "the judge could not be asked: it is down", "desk judge", 0.0),
        ("output", "reject", vec![], vec![RUBBISH], "completed", "no verdict", "desk judge", 0.0),
        ("tool.pay", "reject", pay(), vec![YES], "completed", "thanks", "desk judge desk", 1.0),
        ("tool.pay", "reject", pay(), vec![NO], "completed", "thanks", "desk judge desk", 0.0),
        ("tool.pay", "retry", pay(), vec![NO], "completed", "thanks", "desk judge desk", 0.0),
        ("tool.pay", "fail", pay(), vec![NO], "failed", "a guardrail at tool.pay was not met", "desk judge", 0.0),
        ("tool.pay", "reject", pay(), vec![Fails], "completed", "thanks", "desk judge desk", 0.0),
        ("tool.pay.result", "reject", pay(), vec![NO], "completed", "thanks", "desk judge desk", 1.0),
        ("tool.pay.result", "fail", pay(), vec![NO], "failed", "a guardrail at tool.pay.result was not met", "desk judge", 0.0),
        ("handoff", "reject", boss(), vec![YES], "completed", "paid", "desk judge boss", 0.0),
        ("handoff", "reject", boss(), vec![NO], "completed", "I stay", "desk judge desk", 0.0),
        ("handoff", "retry", boss(), vec![NO], "completed", "I stay", "desk judge desk", 0.0),
        ("handoff", "fail", boss(), vec![NO], "failed", "a guardrail at handoff was not met", "desk judge", 0.0),
    ];
    for (at, then, desk_says, judge_says, status, words, who, paid) in rows {
        let row = format!("{at} {then} {judge_says:?}");
        let (played, model) = played(&desk(at, then, ""), &[("desk", desk_says), ("judge", judge_says)]).await;
        let found = if status == "completed" { result(&played) } else { cause(&played.run) };
        assert_eq!((played.status(), model.who().join(" ").as_str()), (status, who), "{row}: {found}");
        // A call that was refused is told to the model in the place of its result.
        let told = model.requests().last().map(|(_, request)| heard(request)).unwrap_or_default();
        assert!(found.contains(words) || told.contains(words), "{row}: {found}");
        let metric = played.run.run.state().ended.as_ref().and_then(|e| e.metrics[0].value);
        assert_eq!(metric, Some(paid), "{row}");
        let tripped = judge_words(&played);
        assert_eq!(count(&played.events, "guardrail.tripped") > 0, tripped, "{row}");
    }
}

/// Whether a judge said anything but that all is well.
fn judge_words(played: &Played) -> bool {
    played.events.iter().any(|e| match &*e.event {
        Event::StepRecorded(recorded) => match (recorded.outcome.answer(), &recorded.outcome) {
            (Some(answer), _) => [NO, RUBBISH].iter().any(|s| matches!(s, Words(w) if *answer.text.value() == Value::text(*w))),
            (None, StepOutcome::Failed(_)) => true,
            _ => false,
        },
        _ => false,
    })
}

/// What a model is told, one line a message.
fn heard(request: &ModelRequest) -> String {
    let line = |chat: &Chat| match chat {
        Chat::User { text } => format!("user {}", text.value().to_json_text()),
        Chat::Tool { name, content, .. } => format!("tool {name} {}", content.value().to_json_text()),
        Chat::Reasoning { .. } => "thought".to_owned(),
        Chat::Assistant { text, calls, .. } => {
            let calls: String = calls.iter().map(|c| format!(" calls {}", c.name)).collect();
            format!("model {}{calls}", text.value().to_json_text())
        }
    };
    request.messages.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn what_is_judged_is_material_and_judges_count_as_steps() {
    let (played, model) = played(&desk("output", "retry", ", say: Mind your words."), &[("judge", vec![NO])]).await;
    assert_eq!(played.status(), "completed");
    let requests = model.requests();
    let (judge, again) = (&requests[1].1, &requests[2].1);
    assert!(judge.instructions.ends_with("The rule:\nIt is polite."), "{}", judge.instructions);
    assert_eq!((heard(judge).as_str(), judge.tools.len()), ("user \"done\"", 0));
    assert!(heard(again).ends_with("user \"Mind your words.\""), "{}", heard(again));
    // Where the turn's calls are used up, a judge that would be one more is not asked, and the turn fails.
    let tight = desk("output", "reject", "").replace("instructions: Serve.", "instructions: Serve.\n    limits: {steps: 1}");
    let (tight, model) = self::played(&tight, &[]).await;
    assert_eq!((tight.status(), model.who().join(" ").as_str()), ("failed", "desk"));
    assert!(cause(&tight.run).contains("judges included"), "{}", cause(&tight.run));
}

#[tokio::test(start_paused = true)]
async fn a_guardrail_s_retries_are_no_repairs_of_the_schema() {
    let text = "name: s\nagents:\n  a:\n    kind: llm\n    output: {type: object, required: [n], properties: {n: {type: integer}}}\n    \
                guardrails: [{at: output, check: output.n > 5, then: retry, max: 3}]\n";
    let says = ["{\"n\": 1}", "{\"n\": 2}", "{\"n\": 3}", "rubbish", "{}", "{\"n\": 9}"].map(Words).to_vec();
    let (played, model) = played(text, &[("a", says)]).await;
    assert_eq!(
        (played.status(), result(&played).as_str(), model.asked()),
        ("completed", "{\"n\":9}", 6),
        "{}",
        cause(&played.run)
    );
}

/// One after the other, each with one call of a tool, and the conversation goes along.
fn relay(carry: &str, history: &str) -> String {
    let agent = |name: &str, next: &str, more: &str| {
        format!(
            "  {name}: {{kind: llm, instructions: I am {name}., tools: [look], handoffs: [{{to: {next}, carry: {carry}}}]{more}}}\n"
        )
    };
    format!(
        "name: relay\ntools:\n  look: {{kind: expr, input: {{type: object}}, returns: \"7\"}}\n\
         agents:\n{}{}  c: {{kind: llm, instructions: I am c.{history}, handoffs: [{{to: d}}]}}\n  d: {{kind: llm, instructions: I am d.}}\n\
         start: [{{agent: a, message: hello}}]\nends: [c, d]\n",
        agent("a", "b", ""),
        agent("b", "c", ""),
    )
}

fn relayed() -> Vec<(&'static str, Vec<Says>)> {
    let one = |next| vec![Calls("look", "{}"), Calls(next, "{}")];
    vec![("a", one("transfer_to_b")), ("b", one("transfer_to_c")), ("c", vec![Words("enough")])]
}

/// What the first request to somebody held.
fn first(model: &Scripted, who: &str) -> Vec<String> {
    let request = model.requests().into_iter().find(|(asked, _)| asked == who).unwrap_or_else(|| panic!("{who} was not asked"));
    heard(&request.1).lines().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_bounded_conversation_never_parts_a_result_from_its_call() {
    let (whole, model) = played(&relay("full", ""), &relayed()).await;
    assert_eq!(whole.status(), "completed", "{}", cause(&whole.run));
    let all = first(&model, "c");
    assert_eq!(all[0], "user \"hello\"");
    for keep in 1..=all.len() + 1 {
        let (bounded, model) = played(&relay("full", &format!(", history: {{keep: {keep}}}")), &relayed()).await;
        assert_eq!(bounded.status(), "completed", "keep {keep}: {}", cause(&bounded.run));
        let seen = first(&model, "c");
        assert!(all.ends_with(&seen), "keep {keep}: {seen:?}");
        assert!(seen.len() >= keep.min(all.len()) && seen.len() <= keep + 3, "keep {keep}: {seen:?}");
        let head = seen.first().map_or("", String::as_str);
        assert!(!head.starts_with("tool"), "keep {keep}: {seen:?}");
        // What the model thought stands before what it then said.
        let before = all.len().checked_sub(seen.len() + 1).map_or("", |n| all[n].as_str());
        assert_ne!(before, "thought", "keep {keep}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_last_goes_along_without_its_calls() {
    let (last, model) = played(&relay("last", ""), &[("a", vec![Says::Both("I pass", "transfer_to_b")])]).await;
    assert_eq!(last.status(), "completed", "{}", cause(&last.run));
    assert_eq!(first(&model, "b")[0], "model \"I pass\"");
    assert!(first(&model, "b").iter().all(|line| !line.contains("calls")), "{:?}", first(&model, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_long_conversation_is_summarised_once_and_for_good() {
    let summarised = |at: usize| relay("full", &format!(", history: {{keep: 2, summarise_at: {at}}}"));
    let (_, model) = played(&relay("full", ""), &relayed()).await;
    let all = first(&model, "c");
    // What the summary says, how often it is made; the beginning of what the model then sees.
    let rows = [
        (4, vec![Words("They looked.")], 1, "Summary of the conversation so far:\\nThey looked.\""),
        (4, vec![Fails], 1, "Summary of the conversation so far:"),
        (4, vec![Words("  ")], 1, "Summary of the conversation so far:"),
        (all.len(), vec![], 0, "user \"hello\""),
    ];
    for (at, says, summaries, words) in rows {
        let row = format!("{at} {says:?}");
        let fails = matches!(says.first(), Some(Fails));
        let mut script = relayed();
        script.push(("summary", says));
        script.retain(|(who, _)| *who != "c");
        script.push(("c", vec![Calls("transfer_to_d", "{}")]));
        let (played, model) = played(&summarised(at), &script).await;
        assert_eq!(played.status(), "completed", "{row}: {}", cause(&played.run));
        assert_eq!(model.who().iter().filter(|who| *who == "summary").count(), summaries, "{row}");
        assert_eq!(count(&played.events, "conversation.summarised"), summaries, "{row}");
        assert_eq!(count(&played.events, "turn.degraded"), usize::from(fails), "{row}");
        let (c, d) = (first(&model, "c"), first(&model, "d"));
        assert!(c[0].contains(words), "{row}: {c:?}");
        // The one it is handed to has the summary, too: it stands for the rest.
        assert_eq!((&d[0], summaries > 0), (&c[0], c.len() < all.len()), "{row}");
        if summaries > 0 {
            let asked = first(&model, "summary").join("\n");
            assert!(asked.contains("hello") && asked.contains("[calls look"), "{row}: {asked}");
            assert!(!asked.contains("thought"), "{row}: what was thought is nobody else's");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_summary_goes_along_where_the_floor_is_passed_with_one() {
    for (says, words, degraded) in [(Words("We looked; it is 7."), "We looked; it is 7.", 0), (Fails, "", 2)] {
        let mut script = relayed();
        script.push(("summary", vec![says, says]));
        let (played, model) = played(&relay("summary", ""), &script).await;
        assert_eq!(played.status(), "completed", "{says:?}: {}", cause(&played.run));
        assert_eq!(model.who().join(" "), "a a summary b b summary c", "{says:?}");
        assert_eq!(count(&played.events, "turn.degraded"), degraded, "{says:?}");
        let b = first(&model, "b");
        assert!(b.iter().any(|line| line.starts_with("user") && line.contains(words)), "{says:?}: {b:?}");
        assert!(b.iter().all(|line| !line.starts_with("tool") && !line.contains("calls")), "{says:?}: {b:?}");
    }
}
