//! Tools that leave the process, against a server that counts: what each answer means, what is tried again and what never,
//! what may be reached, and what becomes of a call that panics or of which nobody knows.

mod caller;
mod ledger;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use caller::{Caller, Fixed, count, outcomes, play};
use commedia_actors::live::LoadedRun;
use commedia_actors::model::{Answer, Deltas, Model, ModelError};
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::engine::Durability;
use commedia_actors::tool::address::Allowed;
use commedia_actors::tool::http::Secrets;
use commedia_domain::run::{ModelRequest, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::step::Resolution;
use commedia_domain::tool::http::Secret;
use commedia_domain::value::Value;
use ledger::{Ledger, Reply};

fn compile(tools: &str, more: &str) -> Arc<Scenario> {
    let names: Vec<&str> = tools.lines().filter_map(|l| l.trim().split_once(": {").map(|(name, _)| name)).collect();
    let text = format!(
        "name: shop\nmodels: {{m: {{use: auto}}}}\ntools:\n{tools}\nagents:\n  buyer: {{kind: llm, model: m, tools: [{}]}}\n{more}\n",
        names.join(", ")
    );
    match load("shop.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{text}\n{faults:?}"),
    }
}

async fn runtime(allow: &[&str], model: impl Model + 'static) -> Runtime {
    let options = RuntimeOptions {
        durability: Durability::Process,
        model: Some(Arc::new(model)),
        http_allowed: Allowed::parse(allow).expect("a list"),
        secrets: Arc::new(Fixed),
        ..RuntimeOptions::default()
    };
    Runtime::open(options).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_what_the_server_did() {
    let big = "x".repeat(1024 * 1024 + 1);
    let ledger = Ledger::new(move |asked, _| match asked.path.as_str() {
        "/json" => Reply::json(200, r#"{"id": 7, "paid": true}"#),
        "/text" => Reply::Answer(200, String::new(), "as it is".into()),
        "/echo" => Reply::Answer(200, String::new(), format!("{} {}", asked.header("authorization"), asked.body)),
        "/moved" => Reply::Answer(302, "Location: http://127.0.0.1:1/\r\n".into(), String::new()),
        "/refused" => Reply::Answer(402, String::new(), "no funds for s3cret-token".into()),
        "/big" => Reply::Answer(200, String::new(), big.clone()),
        _ => Reply::Answer(404, String::new(), String::new()),
    });
    let url = ledger.url();
    let tools = format!(
        "  json: {{kind: http, url: \"{url}/json\"}}\n  text: {{kind: http, url: \"{url}/text\"}}\n  \
         echo: {{kind: http, method: POST, url: \"{url}/echo\", headers: {{Authorization: \"Bearer ${{env:TOKEN}}\"}}}}\n  \
         moved: {{kind: http, url: \"{url}/moved\"}}\n  \
         refused: {{kind: http, url: \"{url}/refused\", headers: {{Authorization: \"${{env:TOKEN}}\"}}}}\n  big: {{kind: http, url: \"{url}/big\"}}\n  \
         nosecret: {{kind: http, url: \"{url}/json\", headers: {{X: \"${{env:NONE}}\"}}}}\n  \
         strict: {{kind: http, url: \"{url}/json\", input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}}}"
    );
    let scenario = compile(&tools, "");
    let rows = [
        ("json", "{}", r#"{"id":7,"paid":true}"#),
        ("text", "{}", r#""as it is""#),
        ("echo", r#"{"order": 7}"#, r#""Bearer ${env:TOKEN} {\"order\":7}""#),
        ("moved", "{}", "tool: `moved`: it answered 302, a redirect, which is not followed"),
        ("refused", "{}", "tool: `refused`: it answered 402: no funds for ${env:TOKEN}"),
        ("big", "{}", "tool: `big`: it answered 200, and its answer is longer than 1 MiB"),
        ("nosecret", "{}", "tool: `nosecret`: the secret ${env:NONE} is not there"),
        ("strict", r#"{"n": "seven"}"#, "tool: input of `strict`: "),
    ];
    let runtime = runtime(&["127.0.0.1"], Caller(rows.map(|(tool, input, _)| (tool, input)).to_vec())).await;
    let (run, events) = play(&runtime, &scenario).await;
    assert_eq!(run.run.state().status, Status::Completed);
    let found = outcomes(&events);
    assert_eq!(found.len(), rows.len(), "{found:?}");
    for ((tool, _, expect), found) in rows.iter().zip(&found) {
        assert!(if expect.ends_with(": ") { found.starts_with(expect) } else { found == expect }, "{tool}: {found}");
    }
    let log: String = events.iter().map(|e| format!("{:?}", e.event)).collect();
    assert!(!log.contains("s3cret-token"), "the secret is in the log");
    assert_eq!(count(&events, "step.dispatched"), rows.len());
    let verified = runtime.verify(&run.id).await.expect("verifies");
    assert_eq!((verified.difference, verified.digest), (None, run.digest));
    for asked in ledger.done() {
        assert_eq!(asked.key().len(), 32, "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_may_be_repeated_is_tried_again_and_always_with_one_key() {
    let ledger = Ledger::new(|asked, _| {
        static TIMES: AtomicU32 = AtomicU32::new(0);
        match asked.path.as_str() {
            "/never" => Reply::Answer(503, String::new(), String::new()),
            "/never?once" => Reply::Answer(503, String::new(), String::new()),
            "/bad" => Reply::Answer(400, String::new(), String::new()),
            _ if TIMES.fetch_add(1, Ordering::Relaxed) % 3 < 2 => Reply::Answer(429, "Retry-After: 0\r\n".into(), String::new()),
            _ => Reply::json(200, "1"),
        }
    });
    let url = ledger.url();
    let retry = "retry: {max: 4, initial: 1ms, max_delay: 2ms}";
    let tools = format!(
        "  again: {{kind: http, url: \"{url}/again\", effect: idempotent, {retry}}}\n  \
         bad: {{kind: http, url: \"{url}/bad\", effect: read, {retry}}}\n  \
         never: {{kind: http, url: \"{url}/never\", effect: read, {retry}}}\n  \
         later: {{kind: http, url: \"{url}/never\", effect: read, timeout: 5s, retry: {{max: 3, initial: 1h, max_delay: 1h}}}}\n  \
         once: {{kind: http, url: \"{url}/never?once\"}}"
    );
    let scenario = compile(&tools, "");
    let runtime = runtime(&["127.0.0.0/8"], Caller(vec![("again", "{}"), ("bad", "{}"), ("never", "{}"), ("once", "{}")])).await;
    let (run, events) = play(&runtime, &scenario).await;
    assert_eq!(run.run.state().status, Status::Completed);
    let expect = ["1", "tool: `bad`: it answered 400", "tool: `never`: it answered 503", "tool: `once`: it answered 503"];
    assert_eq!(outcomes(&events)[..3], expect[..3]);
    let times = |path: &str| ledger.keys(path).into_values().collect::<Vec<_>>();
    assert_eq!((times("/again"), times("/bad"), times("/never")), (vec![3], vec![1], vec![5]), "one key, so often");
    assert_eq!(times("/never?once"), vec![1], "an effect is never tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_public_is_not_reached_unless_it_is_allowed() {
    let ledger = Ledger::new(|_, _| Reply::json(200, "1"));
    let port = ledger.url().rsplit(':').next().expect("a port").to_owned();
    let hosts = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "169.254.169.254", "[::1]"];
    let tools: Vec<String> =
        (hosts.iter().enumerate()).map(|(n, host)| format!("  t{n}: {{kind: http, url: \"http://{host}:{port}/\"}}")).collect();
    let scenario = compile(&tools.join("\n"), "");
    let calls: Vec<(&'static str, &'static str)> = ["t0", "t1", "t2", "t3", "t4", "t5", "t6"].map(|t| (t, "{}")).to_vec();
    let strict = runtime(&[], Caller(calls.clone())).await;
    let (_, events) = play(&strict, &scenario).await;
    let found = outcomes(&events);
    assert_eq!(found.len(), hosts.len());
    assert!(found.iter().all(|f| f.contains("is not on the public network") && f.contains("tools.http.allow")), "{found:#?}");
    assert_eq!(ledger.done(), []);
    let allowing = runtime(&["localhost", "127.0.0.1"], Caller(calls[..5].to_vec())).await;
    let (_, events) = play(&allowing, &scenario).await;
    assert_eq!(outcomes(&events), ["1"; 5]);
}

const PAY: &str = "  pay: {kind: http, method: POST, url: \"URL/pay\", timeout: 400ms, CHECK}\n  \
                   look: {kind: http, url: \"URL/look\", effect: read}\n  find: {kind: http, url: \"URL/find/{{ input.idempotency_key }}\", effect: read}";

fn paying(ledger: &Ledger, check: bool, more: &str) -> Arc<Scenario> {
    let check = if check { "check: find" } else { "effect: effect" };
    compile(&PAY.replace("URL", &ledger.url()).replace("CHECK", check), more)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_without_an_answer_waits_for_an_operator_and_stops_no_other_call() {
    for (reply, reason) in [
        (Reply::DoneAndHang, "no answer within 0.4 s"),
        (Reply::Hang, "no answer within 0.4 s"),
        (Reply::DoneAndBreak, "the connection broke before an answer came"),
        (Reply::Break, "the connection broke before an answer came"),
        (Reply::Answer(504, String::new(), String::new()), "it answered 504"),
    ] {
        let script = reply.clone();
        let ledger = Ledger::new(move |asked, _| if asked.path == "/pay" { script.clone() } else { Reply::json(200, "1") });
        let scenario = paying(&ledger, false, "");
        let runtime = runtime(&["127.0.0.1"], Caller(vec![("pay", r#"{"sum": 5}"#), ("look", "{}")])).await;
        let (run, events) = play(&runtime, &scenario).await;
        assert_eq!((run.status_word(), run.run.is_unresolved()), ("waiting", true), "{reply:?}");
        assert_eq!(outcomes(&events), ["1"], "the other call is done");
        let unknown = run.run.unknown_steps();
        assert_eq!(unknown.len(), 1);
        assert!(unknown[0].reason.contains(reason), "{}", unknown[0].reason);
        let listed = runtime.runs().await.expect("lists");
        assert_eq!((listed[0].status.as_str(), listed[0].waits_ms), ("waiting", None));

        // To resume it changes nothing: it waits, and nothing is called.
        let handle = runtime.resume(&run.id, StartOptions::default()).await.expect("resumes");
        assert!(handle.done().await.expect("waits").run.is_unresolved());
        let so_often = |n: usize| if matches!(reply, Reply::Break | Reply::Hang) { vec![] } else { vec![n] };
        assert_eq!(ledger.keys("/pay").into_values().collect::<Vec<_>>(), so_often(1));

        // Performed again on an operator's word, and then once more without an answer: the same key.
        runtime.resolve(&run.id, unknown[0].step, Resolution::Retry).await.expect("resolves");
        let waits = settled(&runtime, &run).await;
        assert_eq!(waits.run.unknown_steps()[0].attempt, 2);
        assert_eq!(ledger.keys("/pay").into_values().collect::<Vec<_>>(), so_often(2));
        let paid = Resolution::Succeeded(Value::text("paid"));
        runtime.resolve(&run.id, unknown[0].step, paid.clone()).await.expect("resolves");
        let ended = settled(&runtime, &run).await;
        assert_eq!(ended.run.state().status, Status::Completed);
        let twice = runtime.resolve(&run.id, unknown[0].step, paid).await.expect_err("is over").to_string();
        assert!(twice.contains("has ended"), "{twice}");
        let events = runtime.events(&run.id, 1).await.expect("events");
        assert_eq!(outcomes(&events), [r#""paid""#, "1"]);
        assert_eq!((count(&events, "step.unknown"), count(&events, "step.reconciled")), (2, 2));
        assert_eq!(runtime.verify(&run.id).await.expect("verifies").difference, None);
    }
}

/// The run once it has ended or waits for an operator again.
async fn settled(runtime: &Runtime, run: &LoadedRun) -> LoadedRun {
    loop {
        let loaded = runtime.load(&run.id).await.expect("loads");
        if runtime.live() == 0 && (loaded.run.state().status.ended().is_some() || loaded.run.is_unresolved()) {
            return loaded;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_what_became_of_an_effect() {
    for (answer, paid, outcome) in [
        (r#"{"outcome": "succeeded", "result": "found"}"#, 1, Some(r#""found""#)),
        (r#"{"outcome": "failed", "error": "no funds"}"#, 1, Some("tool: no funds")),
        (r#"{"outcome": "not_performed"}"#, 2, Some(r#""paid""#)),
        (r#"{"outcome": "unknown"}"#, 1, None),
        ("what?", 1, None),
    ] {
        let ledger = Ledger::new(move |asked, done| match asked.path.as_str() {
            "/pay" if done > 0 => Reply::json(200, r#""paid""#),
            "/pay" => Reply::DoneAndBreak,
            _ => Reply::json(200, answer),
        });
        let scenario = paying(&ledger, true, "");
        let runtime = runtime(&["127.0.0.1"], Caller(vec![("pay", r#"{"sum": 5}"#)])).await;
        let (run, events) = play(&runtime, &scenario).await;
        let keys = ledger.keys("/pay");
        let key = keys.keys().next().expect("a key").clone();
        assert_eq!(keys.into_values().collect::<Vec<_>>(), [paid], "{answer}");
        assert_eq!(ledger.keys(&format!("/find/{key}")).into_iter().collect::<Vec<_>>(), [(key, 1)], "{answer}");
        match outcome {
            Some(outcome) => assert_eq!(outcomes(&events), [outcome], "{answer}"),
            None => assert!(run.run.unknown_steps()[0].reason.contains("its check"), "{answer}"),
        }
        assert_eq!(run.run.is_unresolved(), outcome.is_none(), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_real_clock_others_go_on_while_a_step_waits() {
    let ledger = Ledger::new(|_, _| Reply::DoneAndBreak);
    let more = "  bell: {kind: rules, rules: [{otherwise: true, emit: [{set: {rings: \"state.rings + 1\"}}]}]}\n\
                clock: {mode: real}\nworld: {state: {rings: {type: integer, default: 0}}}\n\
                triggers: [{name: ring, after: PT0.05S, tell: bell}]\nstart: [{agent: buyer, message: Buy.}]";
    let scenario = paying(&ledger, false, more);
    let runtime = runtime(&["127.0.0.1"], Caller(vec![("pay", "{}")])).await;
    let (run, _) = play(&runtime, &scenario).await;
    assert!(run.run.is_unresolved());
    assert_eq!(run.run.state().world.state(commedia_domain::id::StateIx(0)), &Value::Int(1), "the bell has rung meanwhile");
    let step = run.run.unknown_steps()[0].step;
    runtime.resolve(&run.id, step, Resolution::Succeeded(Value::Null)).await.expect("resolves");
    let ended = settled(&runtime, &run).await;
    assert_eq!(ended.run.state().status, Status::Completed);
    let verified = runtime.verify(&run.id).await.expect("verifies");
    assert_eq!((verified.difference, verified.digest), (None, ended.digest));
}

/// Panics so many times, then answers as a caller does.
struct Moody {
    panics: AtomicU32,
    caller: Caller,
}

#[async_trait]
impl Model for Moody {
    async fn answer(&self, request: &ModelRequest, _deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let left = self.panics.load(Ordering::Relaxed);
        if left > 0 {
            self.panics.store(left - 1, Ordering::Relaxed);
        }
        assert!(left == 0, "moody");
        self.caller.answer(request, None).await
    }
}

#[derive(Debug)]
struct Mine(Mutex<u32>);

impl Secrets for Mine {
    fn read(&self, _secret: &Secret) -> Result<String, String> {
        let mut left = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *left > 0 {
            *left -= 1;
            drop(left);
            panic!("a mine");
        }
        Ok("harmless".into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_panics_is_a_crash_of_its_step_and_of_no_other() {
    let ledger = Ledger::new(|asked, _| Reply::json(200, if asked.path == "/look" { "1" } else { "2" }));
    let url = ledger.url();
    for class in ["read", "effect"] {
        let tools = format!(
            "  look: {{kind: http, url: \"{url}/look\", effect: read}}\n  mine: {{kind: http, url: \"{url}/mine\", effect: {class}, headers: {{X: \"${{env:M}}\"}}}}"
        );
        let scenario = compile(&tools, "supervision: {backoff: {initial: 0ms}}");
        let options = RuntimeOptions {
            model: Some(Arc::new(Moody { panics: AtomicU32::new(2), caller: Caller(vec![("mine", "{}"), ("look", "{}")]) })),
            http_allowed: Allowed::parse(&["127.0.0.1"]).expect("a list"),
            secrets: Arc::new(Mine(Mutex::new(1))),
            ..RuntimeOptions::default()
        };
        let runtime = Runtime::open(options).await.expect("opens");
        let (run, events) = play(&runtime, &scenario).await;
        assert_eq!(run.run.state().counts.restarts, 3, "two of the model, one of the tool");
        assert_eq!(count(&events, "agent.failed"), 3);
        let reached = ledger.keys("/mine").len();
        if class == "read" {
            assert_eq!(reached, 1);
            assert_eq!(run.run.state().status, Status::Completed);
            assert_eq!(outcomes(&events), ["2", "1"]);
        } else {
            assert_eq!(reached, 1, "that of the run before");
            // It was dispatched: what became of it the panic does not tell.
            assert!(run.run.is_unresolved());
            assert_eq!(outcomes(&events), ["1"]);
        }
    }
}
