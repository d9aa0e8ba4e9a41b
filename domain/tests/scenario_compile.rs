//! What a compiled scenario holds, what its bundle and hash depend on, and that the JSON Schema says what the reader does.

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_domain::diagnostic::Diagnostic;
use commedia_domain::expression::{Env, EvalError, Root, Scope, Type};
use commedia_domain::id::{AgentIx, CollectionIx, MetricIx, StateIx, ToolIx};
use commedia_domain::scenario::*;
use commedia_domain::value::{Key, Value};
use serde_json::{Value as Json, json};

const COIN_SHOP: &str = include_str!("scenarios/coin-shop.scenario.yaml");
const HARBOUR: &str = include_str!("scenarios/harbour.scenario.yaml");
const VALID: [&str; 4] = [
    COIN_SHOP,
    HARBOUR,
    include_str!("invalid-scenarios/valid-base/bakery-week.scenario.yaml"),
    include_str!("invalid-scenarios/valid-base/tool-lending.scenario.yaml"),
];

type FileMap = BTreeMap<String, Arc<[u8]>>;

fn files() -> FileMap {
    files_of(&[
        ("berths.csv", "berth_id,depth,kind\nb1,9.5,deep\nb2,4,\n"),
        ("part.yaml", "parameters:\n  extra_ships: {type: integer, minimum: 0, default: 1}\n"),
    ])
}

fn files_of(all: &[(&str, &str)]) -> FileMap {
    all.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().into())).collect()
}

fn loaded(source: &str) -> Scenario {
    load("x.scenario.yaml", source.as_bytes(), &files()).unwrap_or_else(|e| panic!("{}", lines(&e))).scenario
}

fn faults(source: &str, files: &FileMap) -> Vec<String> {
    match load("x.scenario.yaml", source.as_bytes(), files) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(all) => all.iter().map(ToString::to_string).collect(),
    }
}

fn lines(all: &[Diagnostic]) -> String {
    all.iter().map(|d| format!("{d}\n")).collect()
}

#[test]
fn the_smallest_scenario_has_everything_else_by_default() {
    let s = loaded(COIN_SHOP);
    assert_eq!((&*s.name, s.agents.len(), s.starts.len()), ("coin-shop", 1, 0));
    assert_eq!(s.clock.mode, ClockMode::Simulated);
    assert_eq!(s.clock.tick, Some(Step { months: 0, ms: 86_400_000 }));
    assert!(matches!(s.clock.ticks, Some(Late::Given(30))));
    assert_eq!((s.state[0].default.clone(), s.state[0].schema.ty.clone()), (Value::Double(100.0), Type::Double));
    assert!(matches!(s.state[0].default, Value::Double(_)), "a number is a double from the start");
    let a = &s.agents[0];
    assert_eq!((a.kind, a.population, a.handles.tick.is_some(), a.bound), (AgentKind::Rules, true, true, 0));
    assert!(matches!(a.replicas, Late::Given(50)));
    assert!(matches!(a.draws[0].1, Draw::Bernoulli { p: Data::Literal(Value::Double(p)) } if p == 0.1));
    let [Rule { when: Some(when), emit }] = a.rules.as_slice() else { panic!("{:?}", a.rules) };
    assert_eq!(when.source(), "draws.buys");
    assert!(when.reads().fields.contains(&(Root::Draws, 0)));
    assert!(matches!(&emit[..], [Emit::Set(set)] if matches!(set[..], [(SetTarget::State(StateIx(0)), Data::Program(_))])));
    let l = &s.limits;
    assert_eq!(
        (l.turns, l.events, l.handoffs, l.wall_ms, l.cel_steps, l.max_rounds),
        (1000, 1_000_000, 100, 3_600_000, 1_000_000, 8)
    );
    assert_eq!((l.tokens, l.cost_usd, l.on_exceed), (None, None, OnExceed::Fail));
    let v = a.supervision;
    assert_eq!((v.max_restarts, v.within_ms, v.backoff_initial_ms, v.backoff_max_ms), (5, 60_000, 200, 10_000));
    assert_eq!((v.backoff_factor, v.backoff_jitter, v.on_exhausted, v.mailbox), (2.0, 0.2, None, 1024));
    assert_eq!(a.limits, AgentLimits { steps: 10, turns: None, timeout_ms: 60_000, tokens: None, cost_usd: None });
    assert!(s.unbuilt.is_empty());
}

#[test]
fn names_become_positions() {
    let s = loaded(HARBOUR);
    assert_eq!(
        s.parameters.iter().map(|p| &*p.name).collect::<Vec<_>>(),
        ["extra_ships", "ships", "first_day", "weather", "limit"]
    );
    assert_eq!(s.parameters[4].schema.ty, Type::OneOf(vec![Type::Int, Type::Null]));
    assert!(matches!(s.parameters[2].default, Some(Preset::Program(_))));
    assert_eq!(s.parameters[1].unit.as_deref(), Some("ship"));
    assert_eq!(s.parameters[1].schema.json.get("unit"), None);
    let [next] = s.models[0].fallback.as_slice() else { panic!("{:?}", s.models[0].fallback) };
    assert_eq!((&next.target, next.temperature, next.price), (&ModelTarget::Stub, s.models[0].temperature, None));
    assert_eq!(s.models[1].target, ModelTarget::Provider { provider: "ollama".into(), model: "qwen3:8b".into() });
    assert_eq!(s.models[1].price, Some((0.0, 0.5)));
    let ships = &s.collections[1];
    assert_eq!(ships.references, [Reference { field: "berth".into(), to: CollectionIx(0), on_delete: OnDelete::Restrict }]);
    assert_eq!(ships.defaults.get(&Key::text("load")), Some(&Value::Int(0)));
    assert_eq!(ships.seed.get(&Key::text("a2")).and_then(|r| r.get("load").cloned()), Some(Value::Int(0)));
    let berth = s.collections[0].seed.get(&Key::text("b2")).unwrap();
    assert!(matches!(berth.get("depth"), Some(Value::Double(_))), "{berth:?}");
    assert_eq!(berth.get("kind"), None);
    assert_eq!((s.collections[0].writers.clone(), s.collections[0].readers.clone()), (Some(vec![AgentIx(2)]), None));
    let master = &s.agents[0];
    assert_eq!(master.tools, [ToolRef::Query(CollectionIx(1)), ToolRef::Put(CollectionIx(1)), ToolRef::Declared(ToolIx(0))]);
    assert_eq!((master.handoffs[0].to, master.handoffs[0].carry, master.next), (AgentIx(3), Carry::Full, Some(AgentIx(2))));
    assert_eq!(master.delegates, [AgentIx(1)]);
    assert_eq!(master.guardrails[2].at, GuardrailAt::Tool(ToolRef::Put(CollectionIx(1))));
    assert!(matches!(&master.guardrails[1].check, GuardrailCheck::DenyRegex(p) if &**p == "(?i)sink"));
    // The agent's own supervision wins field by field over the scenario's, which wins over the defaults.
    let v = master.supervision;
    assert_eq!((v.max_restarts, v.within_ms, v.on_exhausted), (2, 30_000, Some(OnExhausted::Quarantine)));
    assert_eq!((v.backoff_initial_ms, v.backoff_max_ms, v.mailbox, v.overflow), (100, 10_000, 10, Overflow::Refuse));
    let input = Value::object([("load", Value::Int(2))]);
    assert_eq!(master.stub[0], ScriptStep::Call { tool: "toll".into(), with: input });
    let pilot = &s.agents[3];
    assert_eq!(pilot.bound, 2);
    assert!(matches!(pilot.handles.tells.as_deref(), Some([(storm, _)]) if &**storm == "storm"));
    assert!(matches!(&pilot.rules[0].emit[1], Emit::Set(set) if set[0].0 == SetTarget::Own(0)));
    let emit = &pilot.rules[1].emit;
    assert!(matches!(&emit[3], Emit::Tell { to: AgentIx(4), delay: Some(Step { ms: 7_200_000, .. }), .. }));
    assert!(matches!(&emit[4], Emit::Call { tool: ToolRef::Declared(ToolIx(0)), bind: Some(0), .. }));
    assert!(
        matches!(&emit[5], Emit::Metric { metric: MetricIx(1), value: Data::Program(p) } if p.reads().roots.contains(&Root::Bound(0)))
    );
    assert!(matches!(&pilot.rules[2].emit[0], Emit::ForEach { bind: 1, body, .. } if body.len() == 2));
    assert!(pilot.rules[2].when.is_none());
    let [trigger, ..] = s.triggers.as_slice() else { panic!() };
    assert!(matches!(trigger.on, TriggerOn::Cron(_)));
    assert_eq!(s.thresholds[0].text, "mean(cash) > 5");
    assert_eq!(s.thresholds[1].of, ThresholdOf::Run(10));
    assert!(s.unbuilt.is_empty(), "{:?}", s.unbuilt);
}

#[test]
fn a_stored_bundle_compiles_to_the_same_scenario() {
    for source in VALID {
        let first = loaded(source);
        let again = compile_bundle(&first.bundle).unwrap_or_else(|e| panic!("{}", lines(&e)));
        assert_eq!(first.hash, again.hash);
        // Maps of positions and programs in their order; validators and places are no part of what a scenario is.
        let shape = |s: &Scenario| {
            format!("{:?}{:?}{:?}{:?}{:?}{:?}{:?}", s.agents, s.tools, s.collections, s.state, s.starts, s.metrics, s.clock)
        };
        assert_eq!(shape(&first), shape(&again));
        // Reading the resolved document changes nothing any more.
        let resolved =
            load("r.yaml", first.bundle.document.as_bytes(), &first.bundle.files).unwrap_or_else(|e| panic!("{}", lines(&e)));
        assert_eq!(resolved.scenario.bundle.document, first.bundle.document);
        assert_eq!(resolved.scenario.hash, first.hash);
        let stored: Bundle = serde_json::from_str(&serde_json::to_string(&first.bundle).unwrap()).unwrap();
        assert_eq!(compile_bundle(&stored).unwrap().hash, first.hash);
    }
    let bad = Bundle { document: "{".into(), files: BTreeMap::new() };
    assert!(compile_bundle(&bad).is_err());
}

/// A version that an earlier release stored compiles for ever: bounds on faults hold for what is read from now on.
#[test]
fn faults_are_bounded_but_for_what_is_stored_already() {
    let mut stored = loaded(HARBOUR).bundle;
    let crash = json!({"crash": {"agent": "*", "p": 0.5}});
    for (n, fits) in [(100, true), (101, false)] {
        let list = Json::Array(vec![crash.clone(); n]);
        let found = compile_faults(&stored, "storm", list.to_string().as_bytes());
        assert_eq!(found.as_ref().map(Vec::len).ok(), fits.then_some(100), "{n}");
        let mut document: Json = serde_json::from_str(&stored.document).unwrap();
        document["faults"] = list;
        stored.document = document.to_string().into();
        assert_eq!(compile_bundle(&stored).unwrap().faults.len(), n);
    }
    let told = compile_faults(&stored, "storm", json!([crash, {"crash": {"agent": "nobody"}}]).to_string().as_bytes());
    assert!(told.unwrap_err().iter().all(|found| found.file == "storm"));
}

#[test]
fn the_hash_is_what_a_scenario_is() {
    let hash = |source: &str| loaded(source).hash;
    let base = hash(HARBOUR);
    let same = [
        HARBOUR.replace("title: A harbour", "title: Another harbour"),
        HARBOUR.replace("description: Ships come, a pilot brings them in.", "description: Other words."),
        HARBOUR.replace("labels: {domain: test}", "labels: {domain: other}"),
        HARBOUR.replace("  - crash: {agent: pilot, turn: 2}\n", ""),
        HARBOUR.replace("# A scenario that uses the whole language, for tests.", "# Other words."),
        HARBOUR.replace("carry: full", "").replace("runs: 4", "runs: 4 # four"),
        HARBOUR.replace("handoffs: [pilot]", "handoffs: [{to: pilot, carry: full}]"),
        HARBOUR.replace("    limits: {steps: 5, turns: 20}", "    limits: {turns: 20, steps: 5, timeout: 60s}"),
    ];
    for source in same {
        assert_eq!(hash(&source), base);
    }
    let others = [
        HARBOUR.replace("default: 4, unit: ship", "default: 5, unit: ship"),
        HARBOUR.replace("size(ships) < 5", "size(ships) < 6"),
        HARBOUR.replace("version: 1.0", "version: 1.1"),
    ];
    for source in others {
        assert_ne!(hash(&source), base);
    }
    let mut other = files();
    other.insert("berths.csv".into(), b"berth_id,depth,kind\nb1,9.5,deep\nb2,5,\n"[..].into());
    assert_ne!(load("x", HARBOUR.as_bytes(), &other).unwrap().scenario.hash, base);
}

#[test]
fn resolved_prints_every_default() {
    let json = loaded(COIN_SHOP).resolved();
    for (pointer, value) in [
        ("/apiVersion", json!("commedia/v1")),
        ("/kind", json!("Scenario")),
        ("/clock/mode", json!("simulated")),
        ("/limits/turns", json!(1000)),
        ("/limits/wall", json!("1h")),
        ("/supervision/backoff/jitter", json!(0.2)),
        ("/agents/customer/limits/steps", json!(10)),
        ("/metrics/cash/at", json!("end")),
        ("/start", json!([])),
    ] {
        assert_eq!(json.pointer(pointer), Some(&value), "{pointer}");
    }
    assert_eq!(json.get("include"), Some(&json!([])));
}

#[test]
fn includes_merge_below_and_tell_faults_in_their_own_files() {
    let base = "name: n\ninclude: [a.yaml, sub/b.yaml]\nagents: {x: {kind: rules, handles: [tick], rules: [{otherwise: true, emit: []}]}}\nclock: {ticks: 3}\n";
    let good = files_of(&[
        ("a.yaml", "clock: {tick: P1D, ticks: 9}\nlimits: {turns: 5, handoffs: 6}\n"),
        ("sub/b.yaml", "limits: {turns: 7}\ninclude: [./c.yaml]\n"),
        ("c.yaml", "limits: {events: 8}\n"),
    ]);
    let s = load("n.yaml", base.as_bytes(), &good).unwrap().scenario;
    assert!(matches!(s.clock.ticks, Some(Late::Given(3))), "the including file wins");
    assert_eq!((s.limits.turns, s.limits.handoffs, s.limits.events), (7, 6, 8), "later files win over earlier ones");
    assert!(s.bundle.files.is_empty());
    let bad = files_of(&[("a.yaml", "clock: {tick: P1D}\nlimits:\n  turnz: 5\n"), ("sub/b.yaml", "a: [\n")]);
    let all = faults(base, &bad);
    assert!(all.iter().any(|d| d.starts_with("a.yaml:3:3: error[unknown_field]")), "{all:#?}");
    assert!(all.iter().any(|d| d.starts_with("sub/b.yaml:")), "{all:#?}");
    let ring = files_of(&[("a.yaml", "include: [sub/b.yaml]\n"), ("sub/b.yaml", "include: [a.yaml]\n")]);
    let all = faults(base, &ring);
    assert!(all.iter().any(|d| d.contains("sub/b.yaml:1:11") && d.contains("a.yaml") && d.contains("cycle")), "{all:#?}");
}

#[test]
fn each_bad_cell_of_a_table_is_told() {
    let with = |csv: &str| {
        let mut all = files();
        all.insert("berths.csv".into(), csv.as_bytes().into());
        faults(HARBOUR, &all)
    };
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            "berth_id,depth,kind\nb1,deep,deep\nb2,-4,flat\n",
            &[("berths.csv:2:4:", "deep"), ("berths.csv:3:4:", "minimum 0"), ("berths.csv:3:7:", "flat")],
        ),
        ("berth_id,dept\nb1,1\n", &[("berths.csv:1:10:", "did you mean `depth`")]),
        ("berth_id,depth,depth\nb1,1,2\n", &[("berths.csv:1:16:", "twice")]),
        ("berth_id,depth\nb1,1\nb1,2\n", &[("berths.csv:3:1:", "twice")]),
        ("berth_id,depth\nb1\n", &[("berths.csv:2:1:", "1 cells, the header has 2")]),
        ("berth_id,depth\n,4\n", &[("berths.csv:2:", "`berth_id` is missing")]),
        ("berth_id,depth\n\"b,1\",x\n", &[("berths.csv:2:7:", "number")]),
        ("berth_id,depth\r\nb1,4\r\n\r\nb2,y\r\n", &[("berths.csv:4:4:", "number")]),
        ("", &[("x.scenario.yaml:31:20:", "empty")]),
    ];
    for (csv, wanted) in rows {
        let found = with(csv);
        for (place, words) in *wanted {
            assert!(
                found.iter().any(|d| d.starts_with(place) && d.contains(words)),
                "{csv:?}: wanted {place} {words}, found {found:#?}"
            );
        }
    }
    assert!(with("\u{feff}berth_id,depth\nb1,4\nb2,5\n").is_empty());
    let mut binary = files();
    binary.insert("berths.csv".into(), b"berth_id\n\xff\n"[..].into());
    assert!(faults(HARBOUR, &binary)[0].contains("UTF-8"));
}

#[test]
fn several_faults_are_told_at_once_by_place() {
    let source = HARBOUR
        .replace("temperature: 0.3", "temperature: hot")
        .replace("tick: P1D, ticks", "tick: daily, ticks")
        .replace("returns: \"input.load * 2.5\"", "returns: \"input.load *\"")
        .replace("{{ params.ships | round }}", "{{ params.shipz }}")
        .replace("ends: [clerk_two]", "ends: [nobody]");
    let found = faults(&source, &files());
    let places: Vec<&str> = found.iter().map(|d| d.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "x.scenario.yaml:11:35",
            "x.scenario.yaml:19:65",
            "x.scenario.yaml:62:43",
            "x.scenario.yaml:73:14",
            "x.scenario.yaml:146:8"
        ],
        "{found:#?}"
    );
    let unquoted = HARBOUR.replace("title: A harbour", "title: {{ params.x }}").replace("ends: [clerk_two]", "ends: [nobody]");
    assert_eq!(faults(&unquoted, &files()).len(), 2, "what follows an unquoted template is read all the same");
}

struct Fixed;

impl Scope for Fixed {
    fn root(&self, root: Root) -> Result<Value, EvalError> {
        match root {
            Root::Tick => Ok(Value::Int(3)),
            Root::Input => Ok(Value::object([("n", Value::Int(7)), ("list", Value::list([Value::text("a"), Value::text("b")]))])),
            _ => Err(EvalError::new("no such root")),
        }
    }
    fn field(&self, _root: Root, index: u16) -> Result<Value, EvalError> {
        match index {
            0 => Ok(Value::text("rye")),
            1 => Ok(Value::Double(12.5)),
            _ => Err(EvalError::new("field 2 is not there")),
        }
    }
    fn uuid(&self) -> Result<Arc<str>, EvalError> {
        Ok("u".into())
    }
}

fn template_env() -> Env {
    let object = |fields: &[(&str, Type)]| {
        let fields = fields.iter().map(|(n, t)| (Arc::from(*n), t.clone())).collect();
        Type::Object(Arc::new(commedia_domain::expression::ObjectType { fields, open: false }))
    };
    let mut env = Env::default();
    env.declare("params", Root::Params, object(&[("flour", Type::Text), ("price", Type::Double), ("late", Type::Int)]));
    env.declare("input", Root::Input, Type::Dyn);
    env.declare("tick", Root::Tick, Type::Int);
    env
}

#[test]
fn templates_read_only_what_they_name() {
    let rows: &[(&str, Result<&str, &str>)] = &[
        ("plain { text }", Ok("plain { text }")),
        ("{{ params.flour }} {{ params.price }}", Ok("rye 12.5")),
        ("{{ params.price | round }}% {{ params.flour | upper }}", Ok("12.0% RYE")),
        ("{{ tick + 1 }}", Ok("4")),
        ("{{ input.n }} {{ input.list | join('-') }} {{ input.list | length }}", Ok("7 a-b 2")),
        ("{% for x in input.list %}{{ loop.index }}{{ x }}{% endfor %}", Ok("1a2b")),
        ("{% if tick > 5 %}{{ params.late }}{% endif %}early", Ok("early")),
        ("{% set y = tick %}{{ y }}{{ range(3) | length }}", Ok("33")),
        ("{{ params.late }}", Err("field 2 is not there")),
        ("{{ input.missing }}", Err("undefined")),
        ("{% for x in range(100000) %}{{ x }}{% endfor %}", Err("")),
        ("{{ params.flour * 100000 }}", Err("")),
        ("<b>{{ params.flour }}</b>", Ok("<b>rye</b>")),
    ];
    for (source, wanted) in rows {
        let (template, doubts) = Template::compile(source, &template_env()).unwrap_or_else(|e| panic!("{source}: {e:?}"));
        assert_eq!(doubts, []);
        match (template.render(&Fixed), wanted) {
            (Ok(text), Ok(wanted)) => assert_eq!(&text, wanted, "{source}"),
            (Err(e), Err(words)) => assert!(e.message.contains(words), "{source}: {e}"),
            (other, _) => panic!("{source}: {other:?}"),
        }
    }
}

#[test]
fn template_faults_have_their_place() {
    let rows: &[(&str, (usize, usize), &str)] = &[
        ("ab {{ params.flower }}", (6, 19), "flower"),
        ("é {{ flour }}", (5, 10), "flour"),
        ("{{ params.flour | uper }}", (18, 22), "uper"),
        ("{{ params.flour.x.y }} {{ nix }}", (26, 29), "nix"),
        ("one\ntwo {{ \n", (8, 14), "syntax"),
        ("{{ \"params.flower\" }} {{ params.flower }}", (25, 38), "flower"),
    ];
    for (source, at, word) in rows {
        let found = Template::compile(source, &template_env()).map(|_| ()).unwrap_err();
        assert!(found.iter().any(|f| (f.at == *at || *word == "syntax") && f.message.contains(word)), "{source}: {found:?}");
    }
}

#[test]
fn spans_and_moments_are_read() {
    let step = |months, ms| Ok(Step { months, ms });
    for (text, wanted) in [
        ("P1W", step(0, 604_800_000)),
        ("P1D", step(0, 86_400_000)),
        ("PT1H", step(0, 3_600_000)),
        ("P1M", step(1, 0)),
        ("P1Y2M", step(14, 0)),
        ("P1DT0.5S", step(0, 86_400_500)),
    ] {
        assert_eq!(time::step(text), wanted, "{text}");
    }
    for bad in ["", "P", "1d", "P0D", "-P1D", "P1X", "PT0.0001S", "P99999Y", "1 hour", "p1d", "P1W "] {
        assert!(time::step(bad).is_err(), "{bad}");
    }
    for (text, wanted) in [("200ms", 200), ("60s", 60_000), ("1.5m", 90_000), ("2h", 7_200_000), ("1d", 86_400_000)] {
        assert_eq!(time::wall(text), Ok(wanted), "{text}");
        assert_eq!(time::wall(&time::wall_text(wanted)), Ok(wanted));
    }
    for bad in ["", "60", "s", "1w", "0s", "-1s", "1e3s", "400d", "1..2s", "99999999999999999999s", "1 s"] {
        assert!(time::wall(bad).is_err(), "{bad}");
    }
    assert_eq!(time::moment("2026-03-02"), Ok(1_772_409_600_000));
    assert_eq!(time::moment("2026-03-02T08:00:00Z"), Ok(1_772_438_400_000));
    assert_eq!(time::moment("2026-03-02T08:00:00+01:00"), Ok(1_772_434_800_000));
    for bad in ["2026-02-30", "2026-3-2", "tomorrow", "2026-03-02T08:00:00", "02.03.2026", ""] {
        assert!(time::moment(bad).is_err(), "{bad}");
    }
    let january = time::moment("2026-01-31").unwrap();
    assert_eq!(Step { months: 1, ms: 0 }.after(january, 1), time::moment("2026-02-28").ok());
    assert_eq!(Step { months: 1, ms: 0 }.after(january, 2), time::moment("2026-03-31").ok());
    assert_eq!(Step { months: 0, ms: 1 }.after(0, u64::MAX), None);
}

#[test]
fn parameters_are_read_from_text() {
    let s = loaded(HARBOUR);
    let read = |n: usize, text: &str| s.parameters[n].schema.read(text).map_err(|e| e.to_lowercase());
    assert_eq!(read(1, "7"), Ok(Value::Int(7)));
    assert!(read(1, "70").unwrap_err().contains("maximum 9"));
    assert!(read(1, "many").unwrap_err().contains("integer"));
    assert_eq!(read(2, "2026-03-02"), Ok(Value::text("2026-03-02")));
    assert!(read(2, "2026-03-32").unwrap_err().contains("date"));
    assert!(read(3, "stormy").unwrap_err().contains("rough"));
    assert_eq!((read(4, "null"), read(4, "3")), (Ok(Value::Null), Ok(Value::Int(3))));
}

#[test]
fn the_json_schema_takes_the_valid_files_and_no_others() {
    let schema = json_schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for source in VALID {
        let resolved = loaded(source).resolved();
        let errors: Vec<String> = validator.iter_errors(&resolved).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let refused = [
        json!({}),
        json!({"name": "n", "agents": {"a": {"kind": "rules"}}, "nam": 1}),
        json!({"name": "n", "agents": {"a": {"kind": "x"}}}),
    ];
    assert!(refused.iter().all(|r| !validator.is_valid(r)));
    assert!(validator.is_valid(&json!({"name": "n", "x-mine": 1, "agents": {"a": {"kind": "rules"}}})));
}

#[test]
fn every_block_of_the_schema_is_described() {
    fn walk(json: &Json, path: &str) {
        if let Some(properties) = json.get("properties").and_then(Json::as_object) {
            for (name, property) in properties {
                let words = property.get("description").and_then(Json::as_str).unwrap_or_default();
                assert!(words.len() > 3 || property.get("const").is_some(), "{path}.{name} has no description");
            }
        }
    }
    let schema = json_schema();
    for (name, block) in schema["$defs"].as_object().unwrap() {
        walk(block, name);
    }
    let top = schema["$defs"]["Scenario"]["properties"].as_object().unwrap();
    let keys = "apiVersion kind name title description version labels models parameters extraction clock world tools agents \
                supervision start ends result triggers metrics checks thresholds sweeps limits faults include";
    let mut wanted: Vec<&str> = keys.split_whitespace().collect();
    let mut found: Vec<&str> = top.keys().map(String::as_str).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted, "the top-level keys are those of the format's page");
}

#[test]
fn paths_stay_inside_the_folder() {
    for (path, wanted) in [
        ("a.csv", Some("a.csv")),
        ("./a/./b.csv", Some("a/b.csv")),
        ("a/../b.csv", Some("b.csv")),
        ("../a.csv", None),
        ("a/../../b.csv", None),
        ("/a.csv", None),
        ("C:\\a.csv", None),
        ("a\\b.csv", None),
        ("~/a", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(inside(path).as_deref(), wanted, "{path}");
    }
}
