//! Pages for people: the index, and two views of the API's document. All their parts come from here, so that they work without a
//! network and under a policy that lets nothing else in.

use std::sync::{Arc, LazyLock};

use aide::redoc::Redoc;
use aide::swagger::Swagger;
use http::{StatusCode, header};

use super::Api;
use super::exchange::{Answer, Asked, Handled};

/// What the pages of documents may load: what this server serves; styles and pictures that their scripts make.
const DOCUMENTS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                         font-src 'self' data:; connect-src 'self'; worker-src blob:; form-action 'self'; frame-ancestors 'none'";
const CACHED: &str = "public, max-age=3600";

/// The text between two marks.
fn between<'t>(text: &'t str, open: &str, close: &str) -> &'t str {
    let from = text.find(open).map_or(0, |at| at + open.len());
    let rest = &text[from..];
    &rest[..rest.find(close).unwrap_or(rest.len())]
}

/// The library carries each page as one text; its script and its style are told apart from it.
static SWAGGER: LazyLock<(String, String)> = LazyLock::new(|| {
    let page = Swagger::new("/openapi.json").html();
    // The script holds the words of closing tags: the last one before what follows it ends it.
    let script = page.split("<!-- `SwaggerUIBundle`").next().unwrap_or_default();
    let script = script.split_once("<script>").map_or("", |(_, rest)| rest);
    let script = script.rsplit_once("</script>").map_or(script, |(script, _)| script);
    (script.to_owned(), between(&page, "<style>", "</style>").to_owned())
});
static REDOC: LazyLock<String> = LazyLock::new(|| {
    let page = Redoc::new("/openapi.json").html();
    let script = page.split_once("<script>").map_or("", |(_, rest)| rest);
    let script = script.rsplit_once("Redoc.init(").map_or(script, |(script, _)| script);
    script.to_owned()
});

fn page(title: &str, body: &str) -> Answer {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{title}</title>\n{body}\n</html>\n"
    );
    Answer::whole(StatusCode::OK, "text/html; charset=utf-8", html).with(header::CONTENT_SECURITY_POLICY, DOCUMENTS)
}

fn asset(kind: &'static str, text: impl Into<bytes::Bytes>) -> Handled {
    Ok(Answer::whole(StatusCode::OK, kind, text).with(header::CACHE_CONTROL, CACHED))
}

pub(crate) async fn index(_: Arc<Api>, _: Asked) -> Handled {
    Ok(page(
        "commedia",
        "<link rel=\"stylesheet\" href=\"/assets/pages.css\"></head>\n<body>\n<main>\n<h1>commedia</h1>\n<p>Networks of agents, run \
         over scenarios, durably.</p>\n<ul>\n<li><a href=\"/docs\">The API, to try</a> (Swagger UI)</li>\n<li><a \
         href=\"/redoc\">The API, to read</a> (ReDoc)</li>\n<li><a href=\"/openapi.json\">Its document</a> (OpenAPI 3.1)</li>\n<li><a \
         href=\"/api/scenarios\">Scenarios</a> and <a href=\"/api/runs\">runs</a></li>\n<li><a href=\"/metrics\">Metrics</a> \
         (Prometheus), <a href=\"/livez\">/livez</a>, <a href=\"/readyz\">/readyz</a></li>\n</ul>\n</main>\n</body>",
    ))
}

pub(crate) async fn docs(_: Arc<Api>, _: Asked) -> Handled {
    Ok(page(
        "commedia: the API",
        "<link rel=\"stylesheet\" href=\"/assets/swagger-ui.css\"></head>\n<body>\n<div id=\"swagger-ui\"></div>\n<script \
         src=\"/assets/swagger-ui.js\"></script>\n<script src=\"/assets/docs.js\"></script>\n</body>",
    ))
}

pub(crate) async fn redoc(_: Arc<Api>, _: Asked) -> Handled {
    Ok(page(
        "commedia: the API",
        "</head>\n<body>\n<div id=\"redoc\"></div>\n<script src=\"/assets/redoc.js\"></script>\n<script \
         src=\"/assets/docs.js\"></script>\n</body>",
    ))
}

/// Where the set-up link leads: the first user is made here. What the link carries stays behind its `#`, and so out of logs.
pub(crate) async fn setup(_: Arc<Api>, _: Asked) -> Handled {
    Ok(page(
        "commedia: the first user",
        "<link rel=\"stylesheet\" href=\"/assets/pages.css\"></head>\n<body>\n<main>\n<h1>The first user</h1>\n<p>They own this \
         server's workspace, and let others in.</p>\n<form id=\"setup\">\n<p><label>Address<br><input name=\"email\" type=\"email\" \
         autocomplete=\"username\" required></label></p>\n<p><label>Password, 10 characters or more<br><input name=\"password\" \
         type=\"password\" minlength=\"10\" autocomplete=\"new-password\" required></label></p>\n<p><button>Make it so</button></p>\n\
         </form>\n<p id=\"said\" role=\"status\"></p>\n</main>\n<script src=\"/assets/setup.js\"></script>\n</body>",
    ))
}

/// Browsers ask for an icon; there is none, and they need not ask again today.
pub(crate) async fn icon(_: Arc<Api>, _: Asked) -> Handled {
    Ok(Answer::empty(StatusCode::NO_CONTENT).with(header::CACHE_CONTROL, "max-age=86400"))
}

/// What the pages load.
pub(crate) async fn assets(_: Arc<Api>, asked: Asked) -> Handled {
    match asked.places.first().map(String::as_str) {
        Some("swagger-ui.js") => asset("text/javascript", SWAGGER.0.as_str()),
        Some("swagger-ui.css") => asset("text/css", SWAGGER.1.as_str()),
        Some("redoc.js") => asset("text/javascript", REDOC.as_str()),
        Some("docs.js") => asset(
            "text/javascript",
            "const at = (id) => document.getElementById(id);\n\
             if (at('swagger-ui')) SwaggerUIBundle({url: '/openapi.json', dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null});\n\
             if (at('redoc')) Redoc.init('/openapi.json', {disableSearch: false}, at('redoc'));\n",
        ),
        Some("setup.js") => asset(
            "text/javascript",
            "const form = document.getElementById('setup'), said = document.getElementById('said');\n\
             form.addEventListener('submit', async (event) => {\n\
             \u{20} event.preventDefault();\n\
             \u{20} const token = location.hash.slice(1), email = form.email.value, password = form.password.value;\n\
             \u{20} const asked = {method: 'POST', headers: {'content-type': 'application/json'}, body: JSON.stringify({token, email, password})};\n\
             \u{20} const answer = await fetch('/api/auth/setup', asked);\n\
             \u{20} const body = await answer.json();\n\
             \u{20} said.textContent = answer.ok ? `${email} is there: log in with POST /api/auth/login (see /docs).` : body.detail;\n\
             \u{20} if (answer.ok) { form.remove(); history.replaceState(null, '', '/setup'); }\n\
             });\n",
        ),
        Some("pages.css") => asset(
            "text/css",
            "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c1b1a;background:#fbfaf8}main{max-width:40rem;margin:4rem \
             auto;padding:0 1rem}a{color:#8a1c3b}\n",
        ),
        _ => Err(super::problem::Problem::not_found("there is no such file")),
    }
}

pub(crate) async fn openapi(api: Arc<Api>, asked: Asked) -> Handled {
    let (bytes, tag) = &api.document;
    if asked.header("if-none-match").is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        return Ok(Answer::empty(StatusCode::NOT_MODIFIED).with(header::ETAG, tag));
    }
    let answer = Answer::whole(StatusCode::OK, "application/json", bytes.clone());
    Ok(answer.with(header::ETAG, tag).with(header::CACHE_CONTROL, "no-cache"))
}

/// The schemas that files and events follow.
pub(crate) async fn schema(_: Arc<Api>, asked: Asked) -> Handled {
    let schema = match asked.places.first().map(String::as_str) {
        Some("scenario") => commedia_domain::scenario::json_schema(),
        Some("event") => crate::events::json_schema(),
        Some("config") => crate::settings::json_schema(),
        _ => return Err(super::problem::Problem::not_found("there are schemas of `scenario`, `event` and `config`")),
    };
    Ok(Answer::whole(StatusCode::OK, "application/schema+json", schema.to_string()).with(header::CACHE_CONTROL, CACHED))
}
