//! The API's document (OpenAPI 3.1), made from the table of routes: what is not in the table is not in the document, and what is
//! in the table answers as the document says.

use commedia_domain::identity::Role;
use commedia_domain::scenario::Scenario;
use http::Method;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::problem::CODES;
use super::route::{InQuery, Keyed, Kind, Route, Takes};
use super::wire::{ProblemView, ScenarioView};
use crate::packs;
use crate::source::Source;

/// Codes of problems that any route may answer with.
const ALWAYS: &[&str] = &["bad_request", "internal", "unavailable"];
/// The id of a run: 128 bits.
const RUN_ID: &str = "^r_[0-7][0-9a-hjkmnp-tv-z]{25}$";
/// What a path's places hold.
const PLACES: &[(&str, &str, &str)] = &[
    ("run_id", RUN_ID, "A run's id, as its creation answered it."),
    ("step_id", "^t[0-9]{1,10}\\.[0-9]{1,10}\\.[0-9]{1,10}$", "A step, as `unknown_steps` of the run's state names it."),
    ("seq", "^[1-9][0-9]{0,15}$", "The seq of an event."),
    ("name", "^[a-z0-9][a-z0-9._-]{0,99}(@[0-9]{1,9})?$", "A scenario's name; with `@` and a number an older version."),
    ("user_id", "^u_[0-9a-hjkmnp-tv-z]{26}$", "A user's id."),
    ("workspace_id", "^(default|w_[0-9a-hjkmnp-tv-z]{26})$", "The id of the workspace that you are in."),
    ("key_id", "^k_[0-9a-hjkmnp-tv-z]{26}$", "A key's id."),
    ("kind", "^(scenario|event|config)$", "Of what: `scenario`, `event` or `config`."),
];

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    settings.into_generator()
}

/// The whole schema of what a route takes, standing alone.
pub(crate) fn body_schema(takes: &Takes) -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let schema = (takes.schema)(&mut generator);
    let definitions = generator.take_definitions(true);
    json!({"$defs": definitions, "allOf": [schema]})
}

/// The document.
pub(crate) fn document<'t>(table: impl Iterator<Item = &'t Route>, has_users: bool) -> Json {
    let mut generator = generator();
    let mut paths: Map<String, Json> = Map::new();
    for route in table.filter(|route| route.documented) {
        let operation = operation(route, &mut generator, has_users);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let problem = generator.subschema_for::<ProblemView>();
    let mut definitions = generator.take_definitions(true);
    if let Some(new_run) = definitions.get_mut("NewRun") {
        new_run["allOf"] = packs::PACKS.iter().filter_map(parameters_of).collect();
    }
    let responses: Map<String, Json> = CODES
        .iter()
        .map(|(code, _, about)| {
            let example = super::problem::Problem::new(code, about).to_json();
            let content = json!({"application/problem+json": {"schema": problem, "example": example}});
            let mut response = json!({"description": about, "content": content});
            if matches!(*code, "busy" | "unavailable") {
                response["headers"] =
                    json!({"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}});
            }
            ((*code).to_owned(), response)
        })
        .collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "commedia",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs networks of agents over scenarios, durably. Errors are `application/problem+json` (RFC 9457) with a `code`. \
                            Lists answer `{data, next}`; `after` takes `next`. Every answer has an `X-Request-Id`.",
            "license": {"name": "Apache-2.0 OR MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": definitions, "responses": responses},
    });
    if has_users {
        let flows = json!({
            "password": {"tokenUrl": "/api/auth/token", "refreshUrl": "/api/auth/token", "scopes": {}},
            "clientCredentials": {"tokenUrl": "/api/auth/token", "scopes": {}},
        });
        document["security"] = json!([{"bearer": []}, {"oauth2": []}]);
        document["components"]["securitySchemes"] = json!({
            "bearer": {"type": "http", "scheme": "bearer", "description": "An access token, or an API key `cm_…`"},
            "oauth2": {"type": "oauth2", "flows": flows},
        });
    }
    document
}

/// The document of a server in which runs are of one scenario: what it takes is said where a run is started.
pub(crate) fn document_of<'t>(
    table: impl Iterator<Item = &'t Route>,
    has_users: bool,
    view: &ScenarioView,
    scenario: &Scenario,
) -> Json {
    let mut document = document(table, has_users);
    document["info"]["title"] = json!(format!("commedia: {}", view.name));
    document["info"]["description"] = json!(view.about);
    let new_run = &mut document["components"]["schemas"]["NewRun"];
    new_run["properties"]["scenario"] = json!({"const": view.name, "description": "This scenario"});
    new_run["properties"]["parameters"] = parameters(scenario);
    if let Some(fields) = new_run.as_object_mut() {
        fields.remove("allOf");
    }
    if let Some(body) = document.pointer_mut("/paths/~1api~1runs/post/requestBody/content/application~1json/example") {
        *body = json!({"scenario": view.name, "parameters": {}, "seed": 7});
    }
    document
}

/// What a scenario takes as parameters.
fn parameters(scenario: &Scenario) -> Json {
    let properties: Map<String, Json> =
        scenario.parameters.iter().map(|parameter| (parameter.name.to_string(), (*parameter.schema.json).clone())).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// What a built-in scenario takes as parameters, as a condition on a run to be started.
fn parameters_of(pack: &packs::Pack) -> Option<Json> {
    let parameters = parameters(&Source::pack(pack).load().ok()?.scenario);
    Some(json!({
        "if": {"properties": {"scenario": {"const": pack.name}}, "required": ["scenario"]},
        "then": {"properties": {"parameters": parameters}},
    }))
}

fn operation(route: &Route, generator: &mut SchemaGenerator, has_users: bool) -> Json {
    let mut parameters: Vec<Json> =
        route.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).map(place).collect();
    parameters.extend(route.query.iter().map(in_query));
    let mut responses = Map::new();
    for gives in &route.gives {
        let content: Map<String, Json> = (gives.content.iter())
            .map(|(kind, schema)| {
                let is_stream = matches!(*kind, "text/event-stream" | "application/x-ndjson");
                let usual = || if is_stream || kind.ends_with("json") { json!({}) } else { json!({"type": "string"}) };
                let schema = schema.map_or_else(usual, |schema| schema(generator).to_value());
                ((*kind).to_owned(), json!({"schema": schema}))
            })
            .collect();
        let headers: Map<String, Json> =
            gives.headers.iter().map(|name| ((*name).to_owned(), json!({"schema": {"type": "string"}}))).collect();
        let mut response = json!({"description": gives.about});
        if !content.is_empty() {
            response["content"] = Json::Object(content);
        }
        if !headers.is_empty() {
            response["headers"] = Json::Object(headers);
        }
        responses.insert(gives.status.to_string(), response);
    }
    let body: &[&str] = if route.takes.is_some() || !route.raw.is_empty() {
        &["timeout", "too_large", "unsupported_media_type", "invalid"]
    } else {
        &[]
    };
    let signed: &[&str] = match route.needs {
        Some(Role::Viewer) => &["unauthorized", "busy"],
        Some(_) => &["unauthorized", "forbidden", "busy"],
        None => &[],
    };
    let signed = if has_users { signed } else { &[] };
    let limited: &[&str] = if has_users { &["busy"] } else { &[] };
    for code in ALWAYS.iter().chain(body).chain(route.fails).chain(signed).chain(limited) {
        let status = CODES.iter().find(|(known, ..)| known == code).map_or(500, |(_, status, _)| *status);
        responses.entry(status.to_string()).or_insert_with(|| json!({"$ref": format!("#/components/responses/{code}")}));
    }
    let mut operation = json!({
        "operationId": route.id,
        "tags": [route.tag],
        "summary": route.about,
        "responses": responses,
    });
    if let Some(role) = route.needs.filter(|_| has_users) {
        operation["x-role"] = role.word().into();
    }
    if has_users && route.needs.is_none() {
        operation["security"] = json!([]);
    }
    if !route.raw.is_empty() {
        // What a scenario must be is more than a schema of JSON can say, so JSON is told of in words.
        let told = route.raw.iter().filter(|kind| **kind != "application/json");
        let schema = json!({"schema": {"type": "string", "format": "binary"}});
        let content: Map<String, Json> = told.map(|kind| ((*kind).to_owned(), schema.clone())).collect();
        let about = "A scenario, as /schema/scenario/v1.json has it: YAML, the same as JSON (`application/json`), or a tar.gz with its files";
        operation["requestBody"] = json!({"required": true, "description": about, "content": content});
    }
    if let Some(takes) = &route.takes {
        let schema = (takes.schema)(generator);
        let content = json!({route.content_type(): {"schema": schema, "example": (takes.example)()}});
        operation["requestBody"] = json!({"required": !takes.optional, "content": content});
    }
    if route.method == Method::POST && route.id == "create_run" {
        let link = |id: &str| json!({"operationId": id, "parameters": {"run_id": "$response.body#/run_id"}});
        let linked = [
            "get_run",
            "get_events",
            "get_state",
            "get_transcript",
            "get_result",
            "replay_run",
            "tell_agent",
            "cancel_run",
            "pause_run",
            "resume_run",
            "release_run",
            "delete_run",
        ];
        let links: Map<String, Json> = linked.iter().map(|id| ((*id).to_owned(), link(id))).collect();
        operation["responses"]["201"]["links"] = Json::Object(links);
        let waits = json!({"name": "Prefer", "in": "header", "required": false, "schema": {"type": "string"},
            "description": "`wait=10` answers when the run has ended, or after so many seconds (RFC 7240)"});
        parameters.push(waits);
    }
    if route.keyed != Keyed::No {
        operation["description"] = told_once(route.keyed).into();
    }
    if !parameters.is_empty() {
        operation["parameters"] = Json::Array(parameters);
    }
    operation
}

/// What the header `Idempotency-Key` means to a route. It is told in words: as a parameter, clients that make up values would
/// use one key for many requests, and each but the first is refused.
fn told_once(keyed: Keyed) -> String {
    let again = match keyed {
        Keyed::Secret => "from the second time on the answer is a 409 that names what was made",
        Keyed::No | Keyed::ByItself | Keyed::Answer | Keyed::Command => {
            "from the second time on the answer is the same, with `Idempotency-Replayed: true`"
        }
    };
    format!(
        "With the header `Idempotency-Key` (1 to 255 characters) the same request is done once within a day, however often it is asked: \
         {again}. Another request to this route with the same key is refused with 422."
    )
}

fn place(name: &str) -> Json {
    let (_, pattern, about) = PLACES.iter().find(|(known, ..)| *known == name).unwrap_or(&("", "^.+$", ""));
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": {"type": "string", "pattern": pattern}})
}

fn in_query(query: &InQuery) -> Json {
    let schema = match query.kind {
        Kind::Whole(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
        Kind::OneOf(words) => json!({"type": "string", "enum": words}),
        Kind::Run => json!({"type": "string", "pattern": RUN_ID}),
        Kind::Text(most) => json!({"type": "string", "minLength": 1, "maxLength": most, "pattern": r"^[^\u0000]*$"}),
    };
    json!({"name": query.name, "in": "query", "required": false, "description": query.about, "schema": schema})
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;
    use crate::http::table;
    use crate::http::wire::NewRun;

    /// What stands alone has all that it refers to.
    fn schema_of<T: JsonSchema>() -> Json {
        body_schema(&Takes { schema: |g| g.subschema_for::<T>(), example: || Json::Null, optional: false })
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let routes = table();
        let document = document(routes.iter(), true);
        let text = document.to_string();
        let references: Vec<&str> = text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 20, "{}", references.len());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn operations_are_named_once_and_say_what_they_are_for() {
        let routes = table();
        let mut ids: Vec<&str> = routes.iter().map(|route| route.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for route in routes.iter().filter(|route| route.documented) {
            assert!(!route.about.is_empty() && !route.gives.is_empty(), "{}", route.id);
            for code in route.fails {
                assert!(CODES.iter().any(|(known, ..)| known == code), "{}: {code}", route.id);
            }
            for place in route.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
                assert!(PLACES.iter().any(|(known, ..)| *known == place), "{}: {place}", route.id);
            }
        }
    }

    #[test]
    fn examples_are_what_their_schemas_want() {
        for route in table() {
            let Some(takes) = &route.takes else { continue };
            let schema =
                commedia_domain::scenario::Schema::of_json(body_schema(takes)).unwrap_or_else(|e| panic!("{}: {e}", route.id));
            assert_eq!(schema.violations(&(takes.example)()), Vec::new(), "{}", route.id);
        }
        let schema = commedia_domain::scenario::Schema::of_json(schema_of::<NewRun>()).expect("a schema");
        let pointers = |json: Json| schema.violations(&json).into_iter().map(|v| v.pointer).collect::<Vec<_>>();
        assert_eq!(pointers(json!({"scenario": "", "seed": -1})), ["/scenario", "/seed"]);
        assert_eq!(pointers(json!({"scenario": "x", "sed": 1})).len(), 1);
    }
}
