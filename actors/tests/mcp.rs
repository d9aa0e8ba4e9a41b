//! Servers of tools (MCP) that behave in every way but the right one: the run goes on or says why not, what may have happened
//! is never done again blindly, and what was offered stays what it was.
//!
//! The server is a script for `python3`; where there is none, the tests say that they were skipped.

mod caller;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use caller::{Fixed, count, outcomes, play};
use commedia_actors::live::LoadedRun;
use commedia_actors::model::{Answer, Deltas, Model, ModelError};
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::engine::Durability;
use commedia_actors::tool::mcp::McpOptions;
use commedia_domain::run::{ModelRequest, Status};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::value::Value;

/// A model that calls some tools, and notes what it was offered.
#[derive(Clone, Default)]
struct Caller {
    calls: Vec<(&'static str, &'static str)>,
    offered: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Caller {
    fn of(calls: &[(&'static str, &'static str)]) -> Caller {
        Caller { calls: calls.to_vec(), offered: Arc::default() }
    }

    fn offered(&self) -> Vec<Vec<String>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Model for Caller {
    async fn answer(&self, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let tools = request.tools.iter().map(|tool| format!("{} {} {}", tool.name, tool.description, tool.text)).collect();
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(tools);
        caller::Caller(self.calls.clone()).answer(request, deltas).await
    }
}

/// A server of its own kind, with the notes it takes.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// `None` where there is no Python.
    fn new() -> Option<Stage> {
        let there = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
        if !there {
            println!("SKIPPED: python3 is not installed");
        }
        there.then(|| Stage { folder: tempfile::tempdir().expect("a folder") })
    }

    fn notes(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default()
    }

    fn count(&self, what: &str) -> usize {
        self.notes().lines().filter(|line| line.starts_with(what)).count()
    }

    fn scenario(&self, how: &str, more: &str) -> Arc<Scenario> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp_support/server.py");
        let notes = self.folder.path().join("notes");
        let text = format!(
            "name: shop\nmodels: {{m: {{use: auto}}}}\ntools:\n  desk:\n    kind: mcp\n    \
             server: {{command: [python3, -I, \"{script}\", {how}, \"{}\"], env: {{TOKEN: \"${{env:TOKEN}}\"}}}}\n    \
             allow: [work, look]\n    classes: {{look: read}}\n    timeout: 400ms\n{more}\nagents:\n  \
             clerk: {{kind: llm, model: m, tools: [desk]}}\n",
            notes.display()
        );
        compile(&text)
    }
}

fn compile(text: &str) -> Arc<Scenario> {
    match load("shop.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{text}\n{faults:?}"),
    }
}

fn options(model: &Caller, programs: &[&str]) -> RuntimeOptions {
    let path = std::env::var("PATH").unwrap_or_default();
    RuntimeOptions {
        durability: Durability::Process,
        model: Some(Arc::new(model.clone())),
        secrets: Arc::new(Fixed),
        mcp: McpOptions {
            programs: programs.iter().map(|p| (*p).to_owned()).collect(),
            environment: vec![("PATH".into(), path)],
        },
        ..RuntimeOptions::default()
    }
}

async fn runtime(model: &Caller) -> Runtime {
    Runtime::open(options(model, &["python3"])).await.expect("opens")
}

fn cause(run: &LoadedRun) -> String {
    run.run.state().ended.as_ref().and_then(|ended| ended.cause.as_deref().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_what_the_server_did() {
    let Some(_) = Stage::new() else { return };
    let rows = [
        ("plain", r#""done""#),
        ("structured", r#"{"n":7}"#),
        ("image", r#""a picture:\n[image image/png, 3 bytes, left out]""#),
        ("garbage", r#""done""#),
        ("asks", r#""done""#),
        ("two-pages", r#""done""#),
        ("fails", "tool: `desk__work`: the printer is on fire"),
        ("changes", "tool: `desk__work`: it was refused: there is no tool work any more (-32602)"),
        ("big", "tool: `desk__work`: it was carried out, and its result is longer than 1 MiB"),
    ];
    for (how, expect) in rows {
        let stage = Stage::new().expect("python3 is there");
        let model = Caller::of(&[("desk__work", r#"{"n": 1}"#)]);
        let runtime = runtime(&model).await;
        let (run, events) = play(&runtime, &stage.scenario(how, "    timeouts: {work: 10s}")).await;
        assert_eq!(run.run.state().status, Status::Completed, "{how}: {}", cause(&run));
        assert_eq!(outcomes(&events), [expect], "{how}");
        assert_eq!((count(&events, "tools.discovered"), count(&events, "step.dispatched")), (1, 1), "{how}");
        let verified = runtime.verify(&run.id).await.expect("verifies");
        assert_eq!((verified.difference, verified.digest), (None, run.digest), "{how}");
        let offered = model.offered();
        assert_eq!(offered[0], offered[1], "{how}: what is offered stays");
        assert!(offered[0][0].starts_with("desk__work Does some work. {\"type\":\"object\""), "{how}: {offered:?}");
        let keys: Vec<usize> = stage.notes().lines().filter(|l| l.starts_with("call ")).map(str::len).collect();
        assert_eq!(keys, ["call work ".len() + 32], "{how}: the step's key goes along");
        runtime.shutdown().await.expect("stops");
        assert_eq!(stage.count("end"), 1, "{how}: the server ends with the runtime");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_without_an_answer_is_unknown_and_a_read_has_failed() {
    let Some(_) = Stage::new() else { return };
    let late = "no answer within 0.4 s";
    for (how, why) in [
        ("silent", late),
        ("late", late),
        ("wrong-id", late),
        ("floods", late),
        ("dies", "its server ended before an answer came; it said: out of ink, says ${env:TOKEN}"),
    ] {
        let stage = Stage::new().expect("python3 is there");
        let model = Caller::of(&[("desk__work", "{}")]);
        let first = runtime(&model).await;
        let (run, events) = play(&first, &stage.scenario(how, "")).await;
        assert_eq!((run.status_word(), run.run.is_unresolved()), ("waiting", true), "{how}");
        let unknown = run.run.unknown_steps();
        assert_eq!(unknown.iter().map(|u| &*u.reason).collect::<Vec<_>>(), [why], "{how}");
        assert_eq!(stage.count("call"), 1, "{how}: an effect is never repeated");
        assert!(!format!("{events:?}").contains("s3cret-token"), "{how}: the secret is in the log");
        first.shutdown().await.expect("stops");

        let model = Caller::of(&[("desk__look", "{}")]);
        let second = runtime(&model).await;
        let (run, events) = play(&second, &stage.scenario(how, "")).await;
        assert_eq!(run.run.state().status, Status::Completed, "{how}");
        let class = if why == late { "timeout" } else { "tool" };
        assert_eq!(outcomes(&events), [format!("{class}: `desk__look`: {why}")], "{how}");
        second.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_server_is_started_again_within_bounds() {
    let Some(stage) = Stage::new() else { return };
    let model = Caller::of(&[("desk__look", "{}")]);
    let more = "    retry: {max: 3, initial: 1ms, max_delay: 2ms}\n    timeouts: {look: 20s}";
    let first = runtime(&model).await;
    let (_, events) = play(&first, &stage.scenario("dies-once", more)).await;
    assert_eq!(outcomes(&events), [r#""done""#]);
    assert_eq!((stage.count("start"), stage.count("call")), (2, 2));
    let keys: std::collections::BTreeSet<String> =
        stage.notes().lines().filter(|l| l.starts_with("call")).map(str::to_owned).collect();
    assert_eq!(keys.len(), 1, "one key for both attempts");
    first.shutdown().await.expect("stops");

    // Five starts within a minute, and no more: the sixth is refused at once.
    let stage = Stage::new().expect("python3 is there");
    let more = "    retry: {max: 9, initial: 1ms, max_delay: 2ms}\n    timeouts: {look: 30s}";
    let second = runtime(&model).await;
    let (_, events) = play(&second, &stage.scenario("dies", more)).await;
    let found = outcomes(&events);
    assert!(found[0].contains("its server was started 5 times within 60 s"), "{found:?}");
    assert_eq!((stage.count("start"), stage.count("call")), (5, 5));
    second.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_must_be_there_ends_the_run_at_its_start_and_one_that_need_not_is_left_out() {
    let Some(_) = Stage::new() else { return };
    for (how, allow, why) in [
        ("dead", "", "does not answer as an MCP server: connection closed: initialize response; it said: cannot open the ledger"),
        ("pages", "", "its list of tools has more than 50 pages"),
        ("many", "", "it lists more than 2000 tools"),
        ("schemas", "", "`work`: the schema of its input cannot be used"),
        ("long-schema", "", "`work`: the schema of its input is longer than 64 KiB"),
        ("plain", "    allow: [work, wrok]\n    classes: {}", "`wrok`: it is not offered; work, look are"),
    ] {
        let stage = Stage::new().expect("python3 is there");
        let model = Caller::of(&[]);
        let scenario = |optional: &str| {
            let plain = stage.scenario(how, optional);
            let text = String::from_utf8_lossy(plain.bundle.document.as_bytes()).into_owned();
            let text =
                if allow.is_empty() { text } else { text.replace("\"look\"]", "\"wrok\"]").replace("\"look\":\"read\"", "") };
            compile(&text)
        };
        let runtime = runtime(&model).await;
        let (run, events) = play(&runtime, &scenario("")).await;
        assert_eq!(run.run.state().status, Status::Failed, "{how}");
        assert!(cause(&run).starts_with("the MCP server `desk` (`optional: true` goes without it): "), "{how}: {}", cause(&run));
        assert!(cause(&run).contains(why), "{how}: {}", cause(&run));
        assert_eq!((count(&events, "step.planned"), model.offered().len()), (0, 0), "{how}: nothing happened");
        let verified = runtime.verify(&run.id).await.expect("verifies");
        assert_eq!((verified.difference, verified.digest), (None, run.digest), "{how}");

        let (run, events) = play(&runtime, &scenario("    optional: true")).await;
        assert_eq!(run.run.state().status, Status::Completed, "{how}: {}", cause(&run));
        assert_eq!(count(&events, "tools.discovered"), 1, "{how}");
        let left: Vec<String> = model.offered()[0].iter().map(|t| t.split(' ').next().unwrap_or_default().to_owned()).collect();
        let expect: &[&str] = match how {
            "schemas" | "long-schema" => &["desk__look"],
            "plain" => &["desk__work"],
            _ => &[],
        };
        assert_eq!(left, expect, "{how}");
        runtime.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_offered_is_the_runs_own_even_with_the_server_gone() {
    let Some(stage) = Stage::new() else { return };
    let store = stage.folder.path().join("store");
    let scenario = stage.scenario("silent", "");
    let model = Caller::of(&[("desk__work", "{}")]);
    let mut given = options(&model, &["python3"]);
    given.store = format!("sled://{}", store.display());
    let first = Runtime::open(given.clone()).await.expect("opens");
    let (run, _) = play(&first, &scenario).await;
    assert!(run.run.is_unresolved());
    first.shutdown().await.expect("stops");
    let before = model.offered();

    // No program may be started any more: the run goes on with what its log says was offered.
    given.mcp.programs.clear();
    let second = Runtime::open(given).await.expect("opens");
    let step = run.run.unknown_steps()[0].step;
    let handle = second.resume(&run.id, StartOptions { until_wait: true, ..StartOptions::default() }).await.expect("resumes");
    drop(handle.done().await.expect("waits"));
    let resolution = commedia_domain::step::Resolution::Succeeded(Value::text("it did"));
    second.resolve(&run.id, step, resolution).await.expect("resolves");
    let done = loop {
        let loaded = second.load(&run.id).await.expect("loads");
        if loaded.run.state().status.ended().is_some() {
            break loaded;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(done.run.state().status, Status::Completed);
    let after = model.offered();
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_eq!(before[0], after[1], "the same definitions");
    assert_eq!(stage.count("start"), 1, "nothing was started again");
    let verified = second.verify(&run.id).await.expect("verifies");
    assert_eq!((verified.difference, verified.digest), (None, done.digest));
    second.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_share_a_server_which_sees_only_what_it_is_given() {
    let Some(stage) = Stage::new() else { return };
    let model = Caller::of(&[("desk__work", "{}"), ("desk__work", r#"{"n": "many"}"#), ("desk__gone", "{}")]);
    let runtime = runtime(&model).await;
    let scenario = stage.scenario("environment", "    timeouts: {work: 10s}");
    for _ in 0..3 {
        let (_, events) = play(&runtime, &scenario).await;
        let found = outcomes(&events);
        // Whatever stands between us and the interpreter adds variables of its own; none of ours may be there.
        let given: Vec<&str> = found[0].trim_matches('"').split(' ').collect();
        assert!(given.contains(&"PATH") && given.contains(&"TOKEN") && given.contains(&"${env:TOKEN}"), "{given:?}");
        let ours = |name: &str| name.starts_with("CARGO") || name.starts_with("NEXTEST");
        assert!(std::env::vars().any(|(name, _)| ours(&name)) && !given.iter().any(|name| ours(name)), "{given:?}");
        assert!(found[1].starts_with("tool: input of `desk__work`: "), "{found:?}");
    }
    assert_eq!((stage.count("start"), stage.count("call")), (1, 3), "one process for all runs");
    runtime.shutdown().await.expect("stops");
    assert_eq!(stage.count("end"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_program_is_started_unless_the_operator_allows_it() {
    let Some(stage) = Stage::new() else { return };
    let model = Caller::of(&[]);
    for (programs, starts) in [(&[][..], 0), (&["node"][..], 0), (&["*"][..], 1)] {
        let runtime = Runtime::open(options(&model, programs)).await.expect("opens");
        let (run, _) = play(&runtime, &stage.scenario("plain", "")).await;
        let refused = cause(&run).contains("it would start `python3`, and no program is started")
            && cause(&run).contains("tools.mcp.programs");
        assert_eq!((refused, stage.count("start")), (starts == 0, starts), "{programs:?}: {}", cause(&run));
        runtime.shutdown().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_goes_with_all_it_started() {
    let Some(stage) = Stage::new() else { return };
    let model = Caller::of(&[("desk__work", "{}")]);
    let runtime = runtime(&model).await;
    // A shell between us and the server, as `npx` is one.
    let document = stage
        .scenario("silent", "")
        .bundle
        .document
        .replace("[\"python3\"", "[\"sh\",\"-c\",\"python3 \\\"$@\\\"; true\",\"sh\"");
    let mut given = options(&model, &["sh"]);
    given.drain = Duration::from_secs(30);
    drop(runtime);
    let runtime = Runtime::open(given).await.expect("opens");
    let (run, _) = play(&runtime, &compile(&document)).await;
    assert!(run.run.is_unresolved(), "{}", cause(&run));
    let notes = stage.notes();
    let pid = notes.lines().find_map(|l| l.strip_prefix("start ")).expect("it started").to_owned();
    let alive = || Path::new("/proc").join(&pid).exists();
    assert!(alive());
    runtime.shutdown().await.expect("stops");
    assert!(!alive(), "the process is still there");
}
