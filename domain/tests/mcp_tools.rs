//! What a scenario may say of a server of tools: names, places, classes, secrets; and what a run makes of what the server offered.

use std::sync::Arc;

use commedia_domain::body::Body;
use commedia_domain::event::{Discovered, Event, ModelBinding, Offered, tool_name};
use commedia_domain::id::ToolIx;
use commedia_domain::run::{Command, Effect, NewRun, Refusal, Run, RunInput};
use commedia_domain::scenario::{EffectClass, NoFiles, Scenario, ToolRef, load};
use commedia_domain::tool::http::Piece;
use commedia_domain::tool::mcp::Server;
use commedia_domain::value::Value;

const DESK: &str = "desk: {kind: mcp, server: {command: [npx, desk]}, allow: [read, write]}";

fn text(tools: &str, agent: &str) -> String {
    format!("name: s\ntools:\n  {tools}\nagents: {{a: {{kind: llm, instructions: x, {agent}}}}}\n")
}

fn compile(tools: &str, agent: &str) -> Arc<Scenario> {
    match load("s.scenario.yaml", text(tools, agent).as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{tools}: {faults:?}"),
    }
}

#[test]
fn what_is_wrong_with_a_server_is_told() {
    let check = |tools: &str, agent: &str, words: &str| {
        let faults = load("s.scenario.yaml", text(tools, agent).as_bytes(), &NoFiles).err().unwrap_or_default();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|f| f.contains(words)), "{tools} {agent}: {words}\n{told:#?}");
    };
    let all = "tools: [desk]";
    check("desk: {kind: mcp, allow: [x]}", all, "missing field `server`");
    check("desk: {kind: mcp, server: {command: npx}}", all, "missing field `allow`");
    check("desk: {kind: mcp, server: {command: npx}, allow: []}", all, "missing field `allow`");
    check("desk: {kind: mcp, server: {}, allow: [x]}", all, "has a `command` or a `url`, one of the two");
    check("desk: {kind: mcp, server: {command: a, url: \"https://b\"}, allow: [x]}", all, "one of the two");
    check("desk: {kind: mcp, server: {url: desk.example}, allow: [x]}", all, "is no address of a server");
    check("desk: {kind: mcp, server: {command: \"${env:SHELL}\"}, allow: [x]}", all, "begins with the name of a program");
    check(
        "desk: {kind: mcp, server: {command: a, auth: {bearer: \"${env:X}\"}}, allow: [x]}",
        all,
        "belongs to a server with a `url`",
    );
    check(
        "desk: {kind: mcp, server: {url: \"https://b\", env: {A: b}}, allow: [x]}",
        all,
        "belongs to a server with a `command`",
    );
    check("desk: {kind: mcp, server: {command: a, env: {\"A B\": b}}, allow: [x]}", all, "is no name of a variable");
    check(
        "desk: {kind: mcp, server: {url: \"https://b\", auth: {bearer: abc}}, allow: [x]}",
        all,
        "a secret, which never stands",
    );
    check(
        "desk: {kind: mcp, server: {url: \"https://b\", auth: {headers: {Host: \"${env:X}\"}}}, allow: [x]}",
        all,
        "set by the runtime",
    );
    check("desk: {kind: mcp, server: {command: a}, allow: [x, x]}", all, "listed twice");
    check("desk: {kind: mcp, server: {command: a}, allow: [a.b]}", all, "letters, digits, `_` and `-` only");
    check(&format!("desk: {{kind: mcp, server: {{command: a}}, allow: [{}]}}", "x".repeat(60)), all, "at most 64");
    check("desk: {kind: mcp, server: {command: a}, allow: [x], classes: {y: read}}", all, "not one of the tools in `allow`");
    check("desk: {kind: mcp, server: {command: a}, allow: [x], timeouts: {y: 1s}}", all, "not one of the tools in `allow`");
    check("desk: {kind: mcp, server: {command: a}, allow: [x], retry: {max: 1}}", all, "never tried again");
    check("desk: {kind: mcp, server: {command: a}, allow: [x], input: {type: object}}", all, "`input` does not belong");
    check("desk: {kind: expr, returns: \"1\", trust_hints: true}", all, "does not belong to a tool of this kind");
    check(DESK, "tools: [desk__raed]", "did you mean `desk__read`?");
    check(DESK, "tools: [desk, desk__read]", "listed twice");
    check(
        DESK,
        "tools: [desk], guardrails: [{at: tool.desk, kind: expr, check: \"true\", then: fail}]",
        "one of its tools is wanted",
    );
    check(DESK, "tools: [desk], stub: [{call: desk}]", "one of its tools is wanted");
    let rule = "tools: [desk], fallback: {rules: [{otherwise: true, emit: [{call: desk__read}]}]}";
    check(DESK, rule, "a tool of kind `mcp` leaves the process");
}

#[test]
fn a_server_is_its_allowed_tools() {
    let scenario = compile(
        "other: {kind: expr, returns: \"1\"}\n  desk: {kind: mcp, timeout: 5s, effect: idempotent, server: {url: \"https://d.example\", \
         auth: {bearer: \"${env:KEY}\"}}, allow: [read, write, sign], classes: {sign: effect, read: read}, timeouts: {sign: 9s}}",
        "tools: [other, desk], guardrails: [{at: tool.desk__sign, kind: expr, check: \"true\", then: fail}]",
    );
    let tools: Vec<String> = scenario.agents[0].tools.iter().map(|t| tool_name(&scenario, *t)).collect();
    assert_eq!(tools, ["other", "desk__read", "desk__write", "desk__sign"]);
    assert_eq!(scenario.servers.len(), 1);
    let mcp = scenario.tools[1].mcp().expect("a server");
    let Server::Url { headers, .. } = &mcp.server else { panic!("{:?}", mcp.server) };
    assert!(matches!(&headers[0].1[..], [Piece::Known(word), Piece::Secret(_)] if word == "Bearer "));
    let run = Run::new(scenario.clone(), created(&scenario));
    let served = |tool| ToolRef::Served { server: ToolIx(1), tool };
    use EffectClass::{Effect, Idempotent, Read};
    for (tool, class, timeout) in [(0, Read, 5000), (1, Idempotent, 5000), (2, Effect, 9000)] {
        assert_eq!((run.class_of(served(tool)), scenario.timeout_ms(served(tool))), (class, timeout));
    }
}

fn created(scenario: &Arc<Scenario>) -> commedia_domain::event::Created {
    let input = RunInput { params: Vec::new(), seed: 1, now: 0, models: vec![ModelBinding::Stub] };
    NewRun::new(scenario, &input).unwrap_or_else(|e| panic!("{e:?}")).created
}

fn offered(tool: u16, read_only: bool, idempotent: bool) -> Offered {
    let schema = r#"{"type":"object"}"#;
    let (description, schema) = (Body::small(Value::text("it")), Body::small(Value::text(schema)));
    Offered { tool, description, schema, read_only, idempotent }
}

#[test]
fn a_run_asks_once_before_anything_else_and_keeps_the_answer() {
    let desk = "desk: {kind: mcp, server: {command: [npx, desk]}, allow: [read, write], optional: true, HINTS}";
    for (hints, class) in [("trust_hints: true", EffectClass::Read), ("trust_hints: false", EffectClass::Effect)] {
        let scenario = compile(&desk.replace("HINTS", hints), "tools: [desk]");
        let mut run = Run::new(scenario.clone(), created(&scenario));
        let proceed = Command::Proceed { wall: 0 };
        for event in run.decide(proceed.clone()).expect("starts") {
            run.apply(&event);
        }
        assert_eq!(run.decide(proceed.clone()), Err(Refusal::Owed));
        assert!(matches!(&run.pending()[..], [Effect::Discover { server: ToolIx(0) }]), "{:?}", run.pending());
        let found = Discovered {
            server: ToolIx(0),
            by: "desk 1".into(),
            offered: vec![offered(0, true, false)],
            missing: vec![(1, "it is not offered".into())],
            failure: None,
        };
        let events = run.decide(Command::Discovered(Box::new(found.clone()))).expect("decides");
        assert!(matches!(&events[..], [Event::ToolsDiscovered(_)]));
        events.iter().for_each(|event| run.apply(event));
        assert!(run.decide(Command::Discovered(Box::new(found))).is_err(), "it is asked once");
        let read = ToolRef::Served { server: ToolIx(0), tool: 0 };
        assert_eq!(run.class_of(read), class, "{hints}");

        // A snapshot has it, too.
        let again = Run::restore(scenario.clone(), &run.snapshot()).expect("restores");
        assert!(again.ready(read).is_some());
        for event in again.decide(proceed).expect("goes on") {
            run.apply(&event);
        }
        let step = run.state().turns.values().next().expect("a turn").pending()[0].0;
        let tools: Vec<String> = run.model_request(step).expect("a request").tools.iter().map(|t| t.name.clone()).collect();
        assert_eq!(tools, ["desk__read"], "what is missing is left out");
    }
}

#[test]
fn agents_by_rules_need_no_server() {
    let scenario = compile(DESK, "tools: [desk], fallback: {rules: [{otherwise: true, emit: [{finish: \"1\"}]}]}");
    let mut plain = created(&scenario);
    plain.models = vec![ModelBinding::Offline];
    let mut run = Run::new(scenario.clone(), plain);
    for event in run.decide(Command::Proceed { wall: 0 }).expect("starts") {
        run.apply(&event);
    }
    assert!(!run.pending().iter().any(|effect| matches!(effect, Effect::Discover { .. })), "{:?}", run.pending());
}
