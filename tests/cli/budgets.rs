//! What a run may ask at most is said before it starts; a budget of the environment refuses it with its name; and a kill while a
//! model is asked loses no count.

use std::process::Stdio;
use std::time::Duration;

use commedia_actors::model::peer::{Behaviour, Peer};

use crate::home::{self, Home};

/// A peer on a runtime of its own: the program is another process.
fn peer(late: Duration) -> (tokio::runtime::Runtime, Peer) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let peer = runtime.block_on(Peer::start(Behaviour::Stub(late))).expect("a port");
    (runtime, peer)
}

fn scenario(limits: &str) -> String {
    format!(
        "name: song\nmodels: {{m: {{use: 'openai:gpt-4o-mini', max_output_tokens: 100}}}}\nlimits: {{turns: 3{limits}}}\n\
         agents: {{a: {{kind: llm, model: m, instructions: Sing., limits: {{steps: 2}}}}}}\nstart: [{{agent: a}}, {{agent: a}}]\n"
    )
}

fn command(home: &Home, url: &str, arguments: &[&str], environment: &[(&str, &str)]) -> std::process::Command {
    let mut command = home.command(arguments);
    command.env("OPENAI_API_KEY", "sk-test-0123456789").env("OPENAI_BASE_URL", format!("{url}/v1"));
    command.envs(environment.iter().copied());
    command
}

#[test]
fn what_may_be_asked_at_most_is_said_before_it_is() {
    let home = Home::new();
    let (_runtime, peer) = peer(Duration::ZERO);
    let url = peer.url();
    let file = home.file("song.scenario.yaml", scenario(", tokens: 5000, cost_usd: 0.5"));
    let line = "at most 6 model calls; all of them would read about";
    let said = home.run(&["validate", &file]).exits(0);
    let json = home.run(&["validate", &file, "--output", "json"]).exits(0).json();
    let estimate = &json["files"][0]["estimate"];
    assert_eq!((&estimate["model_calls"], &estimate["tokens_out"]), (&6.into(), &600.into()), "{json}");
    assert_eq!((&estimate["max_tokens"], &estimate["max_cost_usd"]), (&5000.into(), &0.5.into()), "{json}");
    let ran: home::Said = command(&home, &url, &["run", &file], &[]).output().expect("starts").into();
    let ran = ran.exits(0);
    for (place, words) in [("validate", format!("{}{}", said.out, said.err)), ("run", ran.err)] {
        for word in [line, "never more than 5000 tokens (`limits.tokens`)", "never more than $0.5 (`limits.cost_usd`)"] {
            assert!(words.contains(word), "{place}: {words}");
        }
    }
}

#[test]
fn a_budget_of_the_environment_refuses_and_says_its_name() {
    let (_runtime, peer) = peer(Duration::ZERO);
    let url = peer.url();
    let rows = [
        ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "0.000001", 5, "`budgets.workspace_per_day_usd` gives this run $0.000001"),
        ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_TOKENS", "50", 5, "`budgets.workspace_per_day_tokens` gives this run 50 tokens"),
        ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "1", 0, ""),
        ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "-1", 2, "an amount of USD, 0 or more, and is `-1`"),
        ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_TOKENS", "many", 2, "a whole number of tokens, 0 or more, and is `many`"),
    ];
    for (name, value, code, words) in rows {
        let home = Home::new();
        let file = home.file("song.scenario.yaml", scenario(""));
        let before = peer.requests();
        let ran: home::Said = command(&home, &url, &["run", &file], &[(name, value)]).output().expect("starts").into();
        let ran = ran.exits(code);
        assert!(format!("{}{}", ran.out, ran.err).contains(words), "{name}={value}: {}{}", ran.out, ran.err);
        assert_eq!(peer.requests() > before, code == 0, "{name}={value}");
    }
    // Nobody knows what this model costs: refused before anything is stored.
    let home = Home::new();
    let file = home.file("song.scenario.yaml", scenario("").replace("gpt-4o-mini", "gpt-unheard-of"));
    let day = [("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "1")];
    let ran: home::Said = command(&home, &url, &["run", &file], &day).output().expect("starts").into();
    assert_ne!(ran.code, 0, "{}", ran.out);
    assert!(ran.err.contains("nobody knows what `openai:gpt-unheard-of` costs (`m`)"), "{}", ran.err);
    assert!(home.run(&["ls", "--output", "jsonl"]).exits(0).out.is_empty());
}

#[test]
fn a_kill_while_a_model_is_asked_loses_no_count() {
    let home = Home::new();
    let file = home.file("song.scenario.yaml", scenario(", tokens: 300"));
    let (slow_runtime, slow) = peer(Duration::from_secs(600));
    let mut child =
        command(&home, &slow.url(), &["run", &file], &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    while slow.requests() == 0 {
        assert!(child.try_wait().expect("there").is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    let guard = slow_runtime.enter();
    drop(slow);
    drop(guard);
    let (_runtime, peer) = peer(Duration::ZERO);
    let ran: home::Said = command(&home, &peer.url(), &["resume", "@1"], &[]).output().expect("starts").into();
    // What nobody heard is gone, and once more has room; the second turn has none.
    let ran = ran.exits(5);
    assert_eq!(peer.requests(), 1, "{}{}", ran.out, ran.err);
    let events = home.run(&["tail", "@1", "--output", "jsonl"]).exits(0).out;
    assert_eq!(events.lines().filter(|l| l.contains("budget.settled") && l.contains("\"lost\":true")).count(), 1, "{events}");
    home.run(&["replay", "@1", "--verify"]).exits(0);
}
