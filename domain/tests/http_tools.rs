//! What an `http` tool sends: templates filled in, secrets left in their places, types kept, addresses kept whole.

use std::sync::Arc;

use commedia_domain::event::ModelBinding;
use commedia_domain::names::Names;
use commedia_domain::run::{NewRun, Run, RunInput};
use commedia_domain::scenario::{NoFiles, Scenario, load};
use commedia_domain::tool::http::{Content, Filled, Piece, Request, Words};
use commedia_domain::value::Value;

fn compile(tool: &str) -> Arc<Scenario> {
    let text = format!(
        "name: s\nparameters: {{base: {{type: string, default: \"https://api.example/v1\"}}}}\ntools:\n  t: {tool}\n\
         agents: {{a: {{kind: llm, tools: [t]}}}}\n"
    );
    match load("s.scenario.yaml", text.as_bytes(), &NoFiles) {
        Ok(loaded) => Arc::new(loaded.scenario),
        Err(faults) => panic!("{tool}: {faults:?}"),
    }
}

fn request(tool: &str, input: &str) -> Result<Request, String> {
    let scenario = compile(tool);
    let input_of_run = RunInput { params: Vec::new(), seed: 7, now: 0, models: vec![ModelBinding::Stub] };
    let created = NewRun::new(&scenario, &input_of_run).unwrap_or_else(|e| panic!("{e:?}")).created;
    let run = Run::new(scenario.clone(), created);
    let (facts, state) = (run.facts(), run.state());
    let input = Value::from_json_text(input).expect("JSON");
    scenario.tools[0].http().expect("an http tool").request(&Names::plain(&facts, &state.world), &input)
}

fn words(words: &Words) -> String {
    let show = |piece: &Piece<String>| match piece {
        Piece::Known(text) => text.clone(),
        Piece::Secret(secret) => format!("<{secret}>"),
    };
    words.iter().map(show).collect()
}

fn json(filled: &Filled) -> String {
    match filled {
        Filled::Value(value) => value.to_json_text(),
        Filled::Text(text) => format!("{:?}", words(text)),
        Filled::Map(fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k:?}:{}", json(v))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Filled::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
    }
}

/// The request in one line, or why there is none.
fn shown(tool: &str, input: &str) -> String {
    let request = match request(tool, input) {
        Ok(request) => request,
        Err(why) => return why,
    };
    let body = match &request.body {
        None => String::new(),
        Some(Content::Text(text)) => format!(" text {}", words(text)),
        Some(Content::Json(filled)) => format!(" json {}", json(filled)),
    };
    let headers: String = request.headers.iter().map(|(name, value)| format!(" {name}: {};", words(value))).collect();
    format!("{} {}{headers}{body}", request.method.word(), words(&request.url))
}

#[test]
fn a_request_is_what_its_templates_say() {
    let input = r#"{"id": "a/../b?c", "n": 12, "list": [1, 2], "evil": "${env:HOME}", "dots": ".."}"#;
    for (tool, expect) in [
        (r#"{kind: http, url: "https://x.example/tide"}"#, "GET https://x.example/tide"),
        (
            r#"{kind: http, url: "https://x.example/o/{{ input.id }}?n={{ input.n }}"}"#,
            "GET https://x.example/o/a%2F..%2Fb%3Fc?n=12",
        ),
        (r#"{kind: http, url: "{{ params.base | safe }}/{{ input.n }}"}"#, "GET https://api.example/v1/12"),
        (r#"{kind: http, url: "${env:BASE}/o/{{ seed }}"}"#, "GET <${env:BASE}>/o/7"),
        (r#"{kind: http, url: "https://x.example/{{ input.dots }}"}"#, "its url: "),
        (r#"{kind: http, url: "https://x.example/{{ input.nothing }}"}"#, "its url: "),
        (
            r#"{kind: http, url: "https://x.example", headers: {Authorization: "Bearer ${env:T}", X-N: 3, X-E: "{{ input.evil }}"}}"#,
            "GET https://x.example Authorization: Bearer <${env:T}>; X-N: 3; X-E: ${env:HOME};",
        ),
        (
            r#"{kind: http, url: "https://x.example", method: POST}"#,
            r#"POST https://x.example json {"dots":"..","evil":"${env:HOME}","id":"a/../b?c","list":[1,2],"n":12}"#,
        ),
        (r#"{kind: http, url: "https://x.example", method: DELETE}"#, "DELETE https://x.example"),
        (
            r#"{kind: http, url: "https://x.example", method: PUT, body: "n={{ input.n }}&k=${env:K}"}"#,
            "PUT https://x.example text n=12&k=<${env:K}>",
        ),
        (
            r#"{kind: http, url: "https://x.example", method: PATCH, body: {n: "{{ input.n }}", t: "no {{ input.n }}", l: ["{{input.list}}", true, null], k: "${env:K}", e: "{{ input.evil }}"}}"#,
            r#"PATCH https://x.example json {"n":12,"t":"no 12","l":[[1,2],true,null],"k":"<${env:K}>","e":"${env:HOME}"}"#,
        ),
    ] {
        let found = shown(tool, input);
        assert!(if expect.ends_with(": ") { found.starts_with(expect) } else { found == expect }, "{tool}\n{found}\n{expect}");
    }
}

#[test]
fn what_a_template_gives_is_never_read_for_secrets() {
    let request = request(
        r#"{kind: http, url: "https://x.example", method: POST, headers: {X-A: "{{ input.a }}${env:B}"}, body: {a: "{{ input.a }}"}}"#,
        r#"{"a": "${env:A}"}"#,
    );
    let request = request.expect("a request");
    assert!(matches!(&request.headers[0].1[..], [Piece::Known(text), Piece::Secret(_)] if text == "${env:A}"));
    let Some(Content::Json(Filled::Map(fields))) = &request.body else { panic!("{:?}", request.body) };
    assert_eq!(fields[0].1, Filled::Value(Value::text("${env:A}")));
}
