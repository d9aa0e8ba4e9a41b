//! One fault at a time in a scenario that uses the whole language: where it is told, and with which words.

use std::collections::BTreeMap;
use std::sync::Arc;

use commedia_domain::diagnostic::{Diagnostic, Severity};
use commedia_domain::scenario::load;

const BASE: &str = include_str!("scenarios/harbour.scenario.yaml");
const CSV: &str = "berth_id,depth,kind\nb1,9.5,deep\nb2,4.0,shallow\n";

fn files() -> BTreeMap<String, Arc<[u8]>> {
    let part = "parameters:\n  extra_ships: {type: integer, minimum: 0, default: 1}\n";
    BTreeMap::from([("berths.csv".to_owned(), CSV.as_bytes().into()), ("part.yaml".to_owned(), part.as_bytes().into())])
}

fn diagnose(source: &str) -> Vec<Diagnostic> {
    match load("harbour.scenario.yaml", source.as_bytes(), &files()) {
        Ok(loaded) => loaded.warnings,
        Err(all) => all,
    }
}

fn shown(all: &[Diagnostic]) -> String {
    all.iter().map(|d| format!("  {d}\n")).collect()
}

/// `old` is replaced by `new`; the fault stands in the line of `at` (its last occurrence's first line) and says all `words`.
fn check(severity: Severity, (old, new, at, words): (&str, &str, &str, &[&str]), failed: &mut Vec<String>) {
    assert_eq!(BASE.matches(old).count(), 1, "`{old}` must stand in the base once");
    let source = BASE.replace(old, new);
    let line = source.lines().position(|l| l.contains(at)).unwrap_or_else(|| panic!("no line has `{at}`")) as u32 + 1;
    let found = diagnose(&source);
    let good = found.iter().any(|d| {
        let text = format!("{} {}", d.message, d.help.as_deref().unwrap_or("")).to_lowercase();
        d.severity == severity && d.span.line == line && words.iter().all(|w| text.contains(&w.to_lowercase()))
    });
    let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
    if !good || severity == Severity::Warning && errors > 0 || errors > 9 {
        failed.push(format!("`{old}` → `{new}`: wanted line {line} with {words:?}, found\n{}", shown(&found)));
    }
}

#[test]
fn the_base_has_no_fault() {
    let found = diagnose(BASE);
    assert!(found.is_empty(), "{}", shown(&found));
}

#[test]
fn each_error_is_told_where_it_is() {
    let rows: &[(&str, &str, &str, &[&str])] = &[
        // The document.
        ("apiVersion: commedia/v1", "apiVersion: commedia/v2", "commedia/v2", &["commedia/v1"]),
        ("kind: Scenario", "kind: Scenery", "Scenery", &["Scenario"]),
        ("name: harbour", "name: har bour", "har bour", &["har bour", "name"]),
        ("name: harbour", "nam: harbour", "nam: harbour", &["nam", "name"]),
        ("name: harbour", "name: 5", "name: 5", &["text"]),
        ("title: A harbour", "title: [A harbour]", "[A harbour]", &["title", "text", "list"]),
        ("include: [part.yaml]", "include: [parts.yaml]", "parts.yaml", &["parts.yaml", "not found"]),
        ("include: [part.yaml]", "include: [../part.yaml]", "../part.yaml", &["folder"]),
        ("include: [part.yaml]", "include: [/etc/passwd]", "/etc/passwd", &["folder"]),
        // Models.
        ("use: \"ollama:qwen3:8b\"", "use: ollama/qwen3:8b", "ollama/qwen3", &["slash", "ollama:qwen3:8b"]),
        ("use: \"ollama:qwen3:8b\"", "use: openia:gpt", "openia", &["openia", "openai:gpt"]),
        ("use: \"ollama:qwen3:8b\"", "use: anthropic", "use: anthropic", &["anthropic", "model"]),
        ("temperature: 0.3", "temperature: -0.3", "-0.3", &["temperature", "negative", "-0.3"]),
        ("temperature: 0.3", "temperature: warm", "warm", &["number", "warm"]),
        ("max_output_tokens: 500", "max_output_tokens: 0", "max_output_tokens: 0", &["at least 1"]),
        ("fallback: [stub]", "fallback: [stubb]", "stubb", &["stub"]),
        // Parameters.
        (
            "{type: integer, minimum: 1, maximum: 9, default: 4, unit: ship}",
            "{type: interger, default: 4}",
            "interger",
            &["interger", "integer"],
        ),
        ("minimum: 1, maximum: 9", "minimum: 9, maximum: 1", "minimum: 9", &["minimum", "maximum"]),
        ("default: 4, unit: ship", "default: many, unit: ship", "default: many", &["ships", "many", "integer"]),
        ("default: calm", "default: stormy", "default: stormy", &["weather", "stormy", "calm"]),
        ("calm: [quiet sea]", "clam: [quiet sea]", "clam", &["clam", "calm"]),
        ("{cel: \"next_weekday(now, 'monday')\"}", "{cel: \"next_weekday(nowe, 'monday')\"}", "nowe", &["nowe", "now"]),
        ("extract: {synonyms:", "extract: {synonym:", "{synonym:", &["synonym", "synonyms"]),
        ("model: clerk, confirm: always", "model: clark, confirm: always", "clark", &["clark", "clerk"]),
        ("model: clerk, confirm: always", "model: clerk, confirm: sometimes", "sometimes", &["sometimes", "always", "never"]),
        ("min_confidence: 0.8", "min_confidence: 1.8", "1.8", &["min_confidence", "at most 1"]),
        // The clock.
        ("mode: simulated", "mode: simulatd", "simulatd", &["simulated"]),
        ("start: \"{{ params.first_day }}\"", "start: \"{{ params.frist_day }}\"", "frist_day", &["frist_day", "first_day"]),
        ("start: \"{{ params.first_day }}\"", "start: 2026-02-30", "2026-02-30", &["2026-02-30", "day"]),
        ("start: \"{{ params.first_day }}\"", "start: soon", "start: soon", &["soon", "date"]),
        ("tick: P1D", "tick: 1d", "tick: 1d", &["1d", "ISO 8601"]),
        ("tick: P1D", "tick: P0D", "tick: P0D", &["longer than zero"]),
        ("ticks: 10", "ticks: 0", "ticks: 0", &["ticks", "at least 1"]),
        ("ticks: 10", "ticks: -10", "ticks: -10", &["ticks", "negative", "-10"]),
        ("ticks: 10", "ticks: 10.5", "ticks: 10.5", &["ticks", "integer"]),
        ("tick: P1D, ticks: 10", "ticks: 10", "ticks: 10", &["tick"]),
        // The world.
        ("key: ship_id", "key: shipid", "key: shipid", &["shipid", "ship_id"]),
        ("key: ship_id\n", "kee: ship_id\n", "kee:", &["kee", "key"]),
        ("index: [berth]", "index: [bert]", "index: [bert]", &["bert", "berth"]),
        ("required: [ship_id, berth]", "required: [ship_id, birth]", "birth", &["birth", "berth"]),
        ("x-ref: berths", "x-ref: births", "births", &["births", "berths"]),
        ("on_delete: restrict", "on_delete: restrain", "restrain", &["restrict", "cascade", "set_null"]),
        ("ship_id: a1, berth: b1", "ship_id: a1, berth: b9", "b9", &["b9", "berths"]),
        ("ship_id: a1, berth: b1", "ship_id: a2, berth: b1", "berth: b2", &["a2", "twice"]),
        ("ship_id: a1, berth: b1", "berth: b1", "- {berth: b1", &["ship_id", "missing"]),
        ("ship_id: a1, berth: b1, load: 3", "ship_id: a1, berth: b1, load: heavy", "heavy", &["load", "heavy"]),
        ("seed: {file: berths.csv}", "seed: {file: births.csv}", "births.csv", &["births.csv", "not found"]),
        ("seed: {file: berths.csv}", "seed: {}", "seed: {}", &["rows", "file"]),
        ("access: {read: [\"*\"], write: [pilot]}", "access: {read: [\"*\"], write: [pilote]}", "pilote", &["pilote", "pilot"]),
        ("that: \"record.load >= 0\"", "that: \"record.load + 1\"", "record.load + 1", &["bool", "int"]),
        ("scope: run", "scope: universe", "universe", &["run", "workspace"]),
        ("append_only: false", "append_only: maybe", "maybe", &["true", "false"]),
        ("money: {type: number, default: 100}", "money: {type: number}", "money: {type: number}", &["money", "default"]),
        ("money: {type: number, default: 100}", "money: {type: number, default: lots}", "lots", &["money", "lots"]),
        ("money: {type: number, default: 100}", "mo-ney: {type: number, default: 100}", "mo-ney", &["mo-ney", "name"]),
        ("busy: {value: \"size(ships)\"", "busy: {value: \"size(shps)\"", "shps", &["shps", "ships"]),
        ("busy: {value: \"size(ships)\"", "busy: {valu: \"size(ships)\"", "valu:", &["valu", "value"]),
        // Tools.
        ("kind: expr, returns", "kind: exprs, returns", "exprs", &["expr"]),
        ("returns: \"input.load * 2.5\"", "returns: \"input.lode * 2.5\"", "lode", &["lode", "load"]),
        ("kind: expr, returns: \"input.load * 2.5\"", "kind: expr", "toll:", &["returns"]),
        (
            "set: {money: \"state.money + input.amount\"}",
            "set: {mony: \"state.money + input.amount\"}",
            "mony",
            &["mony", "money"],
        ),
        ("set: {money: \"state.money + input.amount\"}", "set: {money: \"'rich'\"}", "rich", &["money", "double", "string"]),
        ("to: pilot, type: storm", "to: pilots, type: storm", "pilots", &["pilots", "pilot"]),
        ("to: pilot, type: storm", "to: pilot, type: sturm", "sturm", &["sturm", "pilot", "storm"]),
        ("use: forecast", "use: forcast", "forcast", &["forcast", "forecast"]),
        ("timeout: 30s", "timeout: 30", "timeout: 30", &["30", "unit"]),
        ("effect: idempotent", "effect: sometimes", "effect: sometimes", &["read", "idempotent", "effect"]),
        (
            "url: \"https://example.org/tide\"",
            "url: \"https://example.org/tide\", returns: \"1\"",
            "returns: \"1\"",
            &["returns", "expr"],
        ),
        ("\"https://example.org/tide\"", "example.org/tide", "example.org/tide", &["address", "https://"]),
        ("\"https://example.org/tide\"", "\"https://example.org/{{ inputs.at }}\"", "inputs.at", &["inputs", "input"]),
        (
            "\"https://example.org/tide\"",
            "\"https://example.org/{{ state.money }}\"",
            "state.money }}",
            &["unknown name `state`"],
        ),
        ("\"Bearer ${env:TIDE_TOKEN}\"", "\"${env:TIDE_TOKEN} {{ inpt }}\"", "inpt", &["inpt", "input"]),
        ("headers: {Authorization", "headers: {Idempotency-Key", "Idempotency-Key", &["set by the runtime"]),
        ("headers: {Authorization", "headers: {Author ization", "Author ization", &["no name of a header"]),
        ("kind: http, url", "kind: http, body: {a: 1}, url", "body: {a", &["GET has no body", "method: POST"]),
        ("kind: http, url", "kind: http, retry: {max: 1}, url", "retry", &["never tried again", "idempotent"]),
        ("kind: http, url", "kind: http, check: tides, url", "tides", &["tides", "tide"]),
        ("kind: http, url", "kind: http, check: toll, url", "toll, url", &["cannot tell", "effect: read"]),
        ("kind: http, url", "kind: http, effect: read, check: tide, url", "tide", &["`check` belongs to"]),
        ("call: toll, with: {load: 1.5}", "call: tide, with: {load: 1.5}", "call: tide", &["a rule cannot call `tide`"]),
        ("call: earn", "call: tide", "call: tide", &["a trigger cannot call `tide`", "agents of kind `llm`"]),
        // Agents.
        ("kind: llm # harbourmaster", "kind: lm", "kind: lm", &["lm", "llm"]),
        ("kind: llm # harbourmaster", "kind: stochastic", "stochastic", &["rules"]),
        ("model: clerk # harbourmaster", "model: clrk", "clrk", &["clrk", "clerk"]),
        ("{{ params.ships | round }}", "{{ params.ships | rond }}", "rond", &["rond", "round"]),
        ("{{ params.ships | round }}", "{{ params.ships | round", "params.ships | round", &["template"]),
        ("{{ params.ships | round }}", "{{ ships }}", "{{ ships }}", &["ships"]),
        (
            "tools: [query_ships, put_ships, toll]",
            "tools: [query_ship, put_ships, toll]",
            "query_ship,",
            &["query_ship", "query_ships"],
        ),
        ("tools: [query_ships, put_ships, toll]", "tools: [query_ships, put_ships, tol]", "tol]", &["tol", "toll"]),
        (
            "tools: [query_ships, put_ships, toll]",
            "tools: [query_ships, put_berths, toll]",
            "put_berths",
            &["harbourmaster", "write", "berths"],
        ),
        ("handoffs: [pilot]", "handoffs: [pilo]", "pilo]", &["pilo", "pilot"]),
        ("handoffs: [pilot]", "handoffs: [{to: pilot, carry: everything}]", "everything", &["full", "summary", "none"]),
        ("handoffs: [pilot]", "handoffs: [{to: pilot, when: \"params.ships\"}]", "params.ships\"}", &["bool", "int"]),
        ("handoffs: [pilot]", "handoffs: [harbourmaster]", "handoffs: [harbourmaster]", &["itself"]),
        ("delegates: [weatherman]", "delegates: [wetherman]", "wetherman", &["wetherman", "weatherman"]),
        ("next: clerk_two", "next: clerk_too", "clerk_too", &["clerk_too", "clerk_two"]),
        ("output: {type: object", "output: {type: objekt", "objekt", &["object"]),
        ("at: output, check: \"output.fee > 0\"", "at: outputs, check: \"output.fee > 0\"", "outputs", &["outputs", "output"]),
        ("then: retry", "then: retri", "retri", &["retry"]),
        ("check: \"(?i)sink\"", "check: \"(?i)sink(\"", "sink(", &["pattern"]),
        ("at: tool.put_ships", "at: tool.put_shops", "put_shops", &["put_shops", "put_ships"]),
        ("limits: {steps: 5, turns: 20}", "limits: {steps: 0, turns: 20}", "steps: 0", &["steps", "at least 1"]),
        ("limits: {steps: 5, turns: 20}", "limits: {steps: 5, turn: 20}", "turn: 20", &["turn", "turns"]),
        (
            "supervision: {max_restarts: 2, within: 30s}",
            "supervision: {max_restarts: 2, within: P1D}",
            "within: P1D",
            &["P1D", "60s"],
        ),
        ("supervision: {max_restarts: 2, within: 30s}", "supervision: {max_restart: 2}", "max_restart:", &["max_restarts"]),
        ("fallback: stub", "fallback: stob", "stob", &["stub"]),
        ("- {call: toll, with: {load: 2}}", "- {call: tolls, with: {load: 2}}", "tolls", &["tolls", "toll"]),
        ("- {handoff: pilot}", "- {handoff: weatherman}", "handoff: weatherman", &["weatherman", "handoffs"]),
        ("- {text: The fee is set.}", "- {text: The fee is set., handoff: pilot}", "fee is set.", &["exactly one"]),
        ("handles: [tick, {tell: storm}]", "handles: [tik, {tell: storm}]", "tik,", &["tick"]),
        ("handles: [{record: ships}]", "handles: [{record: shops}]", "shops", &["shops", "ships"]),
        ("handles: [{record: ships}]", "handles: {record: ships}", "handles: {record: ships}", &["list"]),
        (
            "handles: [tick, {tell: storm}]",
            "handles: [{tick: {where: draws.gale}}, {tell: storm}]",
            "{where: draws.gale}",
            &["draws"],
        ),
        (
            "handles: [tick, {tell: storm}]",
            "handles: [{tick: {where: tick + 1}}, {tell: storm}]",
            "{where: tick + 1}",
            &["true or false"],
        ),
        ("handles: [tick, {tell: storm}]", "handles: [{tick: {when: a}}, {tell: storm}]", "{when: a}", &["when"]),
        ("handles: [{tell: work}]", "handles: [{tell: work, where: self.nobody}]", "self.nobody", &["nobody"]),
        ("handles: [{tell: work}]", "handles: [{tell: work, record: ships}]", "record: ships}]", &["is one of"]),
        ("    handles: [user]", "    handles: [{tell: x, where: 'true'}]", "where: 'true'", &["kind: rules"]),
        ("- {set: {seen: self.seen + 1}}", "- {wake_at: \"'soon'\"}", "soon", &["tick (int)", "string"]),
        ("emit: [{say: \"Aye {{ message.data.n }}\"}]", "emit: [{wake_at: tick + 1}]", "wake_at:", &["handles: [tick]"]),
        ("seen: {type: integer, default: 0}", "seen: {type: integer, default: 0.5}", "default: 0.5", &["seen", "integer"]),
        ("seen: {type: integer, default: 0}", "id: {type: integer, default: 0}", "id: {type: integer", &["self.id"]),
        ("gale: {bernoulli: {p: 0.2}}", "gale: {bernoulli: {p: 1.2}}", "1.2", &["p", "above 1"]),
        ("gale: {bernoulli: {p: 0.2}}", "gale: {bernouli: {p: 0.2}}", "bernouli", &["bernoulli"]),
        ("gale: {bernoulli: {p: 0.2}}", "gale: {bernoulli: {q: 0.2}}", "{q: 0.2}", &["q"]),
        ("gale: {bernoulli: {p: 0.2}}", "gale: {}", "gale: {}", &["gale", "exactly one"]),
        ("weights: [3, 1]", "weights: [3, 1, 2]", "weights: [3, 1, 2]", &["3 weights", "2 choices"]),
        ("room: \"size(ships) < 5\"", "tick: \"size(ships) < 5\"", "tick: \"size(ships) < 5\"", &["reserved", "tick"]),
        ("room: \"size(ships) < 5\"", "ships: \"size(ships) < 5\"", "ships: \"size(ships) < 5\"", &["collection"]),
        ("replicas: 3", "replicas: 2000000", "2000000", &["replicas", "at most 1000000"]),
        ("replicas: 3", "replicas: none", "replicas: none", &["replicas", "integer"]),
        // Rules and what they emit.
        ("- when: draws.gale", "- wen: draws.gale", "wen:", &["wen", "when"]),
        ("- when: draws.gale", "- when: draws.gail", "gail", &["gail", "gale"]),
        ("- when: draws.gale", "- when: draws.wind", "- when: draws.wind", &["bool"]),
        ("- otherwise: true", "- otherwise: false", "otherwise: false", &["otherwise", "true"]),
        ("{set: {money: state.money - 1}}", "{sett: {money: state.money - 1}}", "sett", &["sett", "set"]),
        ("{set: {money: state.money - 1}}", "{set: {muney: state.money - 1}}", "muney", &["muney", "money"]),
        (
            "{set: {money: state.money - 1}}",
            "{set: {money: state.money - 1}, say: Hallo}",
            "say: Hallo",
            &["set", "say", "exactly one"],
        ),
        ("{set: {money: state.money - 1}}", "{set: {money: state.money -}}", "state.money -}", &["syntax"]),
        ("{set: {money: state.money - 1}}", "{set: {money: \"{{ state.money }}\"}}", "{{ state.money }}", &["{{"]),
        ("{put: ships, value: {ship_id: \"uuid()\"", "{put: boats, value: {ship_id: \"uuid()\"", "boats", &["boats"]),
        ("{put: ships, value: {ship_id: \"uuid()\"", "{put: ships, value: {shipid: \"uuid()\"", "shipid", &["shipid", "ship_id"]),
        (
            "{put: ships, value: {ship_id: \"uuid()\", berth: \"'b1'\", load: \"2\"}}",
            "{put: ships, value: {ship_id: \"uuid()\", load: \"2\"}}",
            "ship_id: \"uuid()\", load",
            &["berth"],
        ),
        (
            "{put: ships, value: {ship_id: \"uuid()\", berth: \"'b1'\", load: \"2\"}}",
            "{put: ships}",
            "{put: ships}",
            &["value", "put"],
        ),
        ("load: \"2\"}}", "load: \"'x'\"}}", "load: \"'x'\"", &["load", "string"]),
        ("{patch: ships, key: \"'a1'\"", "{patch: ships, kee: \"'a1'\"", "kee:", &["kee", "key"]),
        ("{patch: ships, key: \"'a1'\"", "{patch: berths, key: \"'a1'\"", "patch: berths", &["pilot", "write", "berths"]),
        ("{delete: ships, key: \"'a2'\"}", "{delete: ships}", "{delete: ships}", &["key", "delete"]),
        ("{tell: sailor, type: work, data:", "{tell: sailr, type: work, data:", "sailr", &["sailr", "sailor"]),
        ("{tell: sailor, type: work, data:", "{tell: sailor, type: werk, data:", "werk", &["werk", "work"]),
        ("{tell: sailor, type: work, data:", "{tell: sailor, type: work, with:", "work, with:", &["with", "call"]),
        ("delay: PT2H", "delay: 2h", "delay: 2h", &["2h", "ISO 8601"]),
        ("{call: toll, with: {load: 1.5}, as: fee}", "{call: toll, with: {lode: 1.5}, as: fee}", "lode: 1.5", &["load"]),
        (
            "{call: toll, with: {load: 1.5}, as: fee}",
            "{call: toll, with: {load: 1.5}, as: message}",
            "as: message",
            &["reserved"],
        ),
        ("{metric: fees, value: \"fee\"}", "{metric: fee, value: \"fee\"}", "metric: fee,", &["fees"]),
        ("{metric: fees, value: \"fee\"}", "{metric: fees, value: \"feee\"}", "feee", &["feee", "fee"]),
        ("for_each: {in: ships, as: s}", "for_each: {in: ships, az: s}", "az:", &["as"]),
        ("for_each: {in: ships, as: s}", "for_each: {in: state.money, as: s}", "in: state.money", &["list"]),
        ("finish: {done: true}", "finsh: {done: true}", "finsh", &["finish"]),
        // How a run begins and ends.
        ("agent: harbourmaster, message: \"Open", "agent: harbormaster, message: \"Open", "harbormaster", &["harbourmaster"]),
        ("agent: harbourmaster, message: \"Open", "agnt: harbourmaster, message: \"Open", "agnt", &["agent"]),
        ("ends: [clerk_two]", "ends: [clerk_tow]", "clerk_tow", &["clerk_two"]),
        ("result: clerk_two", "result: 7", "result: 7", &["text"]),
        ("cron: \"0 6 * * MON\"", "cron: \"0 25 * * MON\"", "0 25", &["cron", "five fields"]),
        ("cron: \"0 6 * * MON\"", "cron: \"0 0 6 * * MON\"", "0 0 6", &["cron", "five fields"]),
        ("every: P2D", "every: P2D, after: P3D", "after: P3D", &["every", "after"]),
        ("every: P2D, ", "", "name: tide", &["every", "cron", "when", "after"]),
        ("tell: weatherman, message: Look", "message: Look", "name: tide", &["tell", "call"]),
        ("when: \"state.money < 10.0\"", "when: \"state.money\"", "when: \"state.money\"", &["bool", "double"]),
        ("cooldown: P1D", "cooldown: tomorrow", "tomorrow", &["tomorrow", "ISO 8601"]),
        ("call: earn, with: {amount: \"5.0\"}", "call: urn, with: {amount: \"5.0\"}", "call: urn", &["urn", "tools"]),
        // What is measured.
        (
            "{value: state.money, unit: USD, goal: maximize}",
            "{value: state.mony, unit: USD, goal: maximize}",
            "mony",
            &["mony", "money"],
        ),
        ("goal: maximize", "goal: most", "goal: most", &["maximize", "minimize"]),
        ("at: tick", "at: dawn", "at: dawn", &["tick", "end"]),
        ("fees: {unit: USD}", "feez: {unit: USD}", "feez", &["feez", "value"]),
        ("that: \"metrics.cash >= 0.0\"", "that: \"metrics.cahs >= 0.0\"", "cahs", &["cahs", "cash"]),
        ("mean: \"> 5\"", "mean: \"5\"", "mean: \"5\"", &["comparison", "< 0.2"]),
        ("mean: \"> 5\"", "median: \"> 5\"", "median", &["median"]),
        ("metric: run.failed", "metric: run.fialed", "run.fialed", &["fialed", "failed"]),
        ("matrix: {ships: [2, 4]}", "matrix: {ships: [2, 40]}", "[2, 40]", &["40", "9", "ships"]),
        ("matrix: {ships: [2, 4]}", "matrix: {shops: [2, 4]}", "shops", &["shops", "ships"]),
        ("matrix: {ships: [2, 4]}", "matrix: {ships: 2}", "{ships: 2}", &["list"]),
        ("baseline: {ships: 4}", "baseline: {ships: 0}", "ships: 0", &["0", "1", "ships"]),
        ("compare: {metric: cash", "compare: {metric: csh", "csh", &["csh", "cash"]),
        ("seeds: common", "seeds: comon", "comon", &["common"]),
        ("runs: 4", "runs: -4", "runs: -4", &["runs", "-4"]),
        // Bounds and injected faults.
        ("wall: 5m", "wall: 5 minutes", "5 minutes", &["5 minutes", "60s"]),
        ("cost_usd: 1.5", "cost_usd: -1.5", "-1.5", &["cost_usd", "negative"]),
        ("on_exceed: pause", "on_exceed: stop", "on_exceed: stop", &["fail", "pause", "fallback"]),
        ("crash: {agent: pilot, turn: 2}", "crash: {agent: pilit, turn: 2}", "pilit", &["pilit", "pilot"]),
        ("model: {alias: clerk, error: 429, p: 0.1}", "model: {alias: clerk, error: 428, p: 0.1}", "error: 428", &["428", "429"]),
        ("latency: {tool: toll, add: 2s}", "latency: {tool: toll, add: 2}", "add: 2}", &["duration"]),
        (
            "message: {from: pilot, to: sailor, effect: drop, p: 0.1}",
            "message: {from: pilot, to: sailor, effect: delay, p: 0.1}",
            "effect: delay",
            &["by"],
        ),
        // Secrets.
        ("Authorization: \"Bearer ${env:TIDE_TOKEN}\"", "Authorization: \"Bearer abcdef\"", "abcdef", &["secret", "${env:NAME}"]),
        ("title: A harbour", "title: sk-abcdefghij0123456789", "sk-abc", &["API key", "secret"]),
        ("title: A harbour", "title: \"${env:HOME}\"", "env:HOME", &["secret"]),
        // YAML.
        (
            "\"Open the harbour for {{ params.ships }} ships.\"",
            "Open for {{ params.ships }} ships.",
            "Open for",
            &["quotes", "{{"],
        ),
        ("title: A harbour", "title: A harbour: with a colon", "with a colon", &["syntax", "quotes"]),
        ("title: A harbour", "title: \"A harbour", "A harbour", &["quote"]),
        ("title: A harbour", "title: 'it's'", "it's", &["syntax", "quote"]),
        ("title: A harbour", "title: @home", "@home", &["@", "quotes"]),
        ("title: A harbour", "title: *home", "*home", &["home", "anchor"]),
        ("title: A harbour", "title: !secret home", "!secret", &["!secret", "tag"]),
        ("title: A harbour", "<<: {title: A}", "<<", &["merge"]),
        ("title: A harbour", "title: {{ params.ships }}", "title: {{", &["quote"]),
        ("title: A harbour", "title: .nan", ".nan", &["finite"]),
        ("title: A harbour", "? [a, b]\n: c", "? [a", &["key"]),
        ("title: A harbour", "title: \"a\\0b\"", "title", &["control", "0000"]),
        ("    kind: llm # harbourmaster", "     kind: llm # harbourmaster", "     kind: llm", &["indented", "5", "4"]),
        ("  weatherman:\n", " weatherman:\n", " weatherman:", &["indentation"]),
        ("    handles: [user]", "    handles: [user", "handles: [user", &["bracket", "not closed"]),
        ("limits: {turns: 50,", "limits: {turns: 50, {", "limits: {turns: 50, {", &["bracket"]),
        ("triggers:\n", "triggers\n", "triggers", &["triggers", ":"]),
        ("    next: clerk_two", "    next:clerk_two", "next:clerk_two", &["next", "space"]),
        ("read: [\"*\"], write: [pilot]", "read: [*], write: [pilot]", "read: [*]", &["\"*\"", "quotes"]),
    ];
    let mut failed = Vec::new();
    for row in rows {
        check(Severity::Error, *row, &mut failed);
    }
    assert!(failed.is_empty(), "{} of {} rows failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[test]
fn each_warning_is_told_where_it_is() {
    let rows: &[(&str, &str, &str, &[&str])] = &[
        ("minimum: 1, maximum: 9", "minimun: 1, maximum: 9", "minimun", &["minimun", "minimum"]),
        ("format: date", "format: dat", "format: dat,", &["dat", "date"]),
        ("that: \"record.load >= 0\"", "that: \"record.laod >= 0\"", "laod", &["laod", "load"]),
        ("at: output, check: \"output.fee > 0\"", "at: output, check: \"output.free > 0\"", "output.free", &["free", "fee"]),
        ("{say: \"Ship {{ s.ship_id }}\"}", "{say: \"Ship {{ s.shipid }}\"}", "s.shipid", &["shipid", "ship_id"]),
        ("{tell: sailor, type: work, data:", "{tell: pilot, type: storm, data:", "  sailor:", &["sailor", "reaches"]),
        (
            "- when: strong && draws",
            "- otherwise: true\n        emit: []\n      - when: strong && draws",
            "- when: strong",
            &["always"],
        ),
        ("tick: P1D, ticks: 10", "x-no: ticks", "  pilot:", &["ticks", "clock"]),
        ("limits: {turns: 50,", "limits: {cel_steps: 2, turns: 50,", "double(s.load)", &["cel_steps", "steps"]),
        ("    instructions: Write it down.\n", "", "  clerk_two:", &["clerk_two", "instructions"]),
    ];
    let mut failed = Vec::new();
    for row in rows {
        check(Severity::Warning, *row, &mut failed);
    }
    assert!(failed.is_empty(), "{} of {} rows failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
}
