//! One session with a server, over its standard input and output or over HTTP.

use std::collections::HashMap;
use std::sync::Arc;

use commedia_domain::tool::http::Piece;
use commedia_domain::tool::mcp::{KEY_META, Server};
use commedia_domain::value::Value;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation, JsonObject,
    PaginatedRequestParams, RequestMetaObject, Tool,
};
use rmcp::service::{NotificationContext, RunningService, ServiceError, serve_client};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient};

use super::child::Process;
use super::{Described, Reach, answer};
use crate::tool::attempt::Attempt;
use crate::tool::http::{Known, guarded, permitted};

/// Bytes of one message of a server; a longer one is dropped, and its call gets no answer.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;
/// Pages of a list of tools.
const PAGES: usize = 50;
/// Tools of a server that are looked at.
const TOOLS: usize = 2_000;

/// A client of one server.
pub(super) struct Client {
    service: RunningService<RoleClient, Us>,
    process: Option<Process>,
    known: Arc<Known>,
}

/// What a server is told of us; what it asks of us (sampling, roots, elicitation) is refused.
struct Us;

impl ClientHandler for Us {
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("commedia", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        tracing::debug!("an MCP server changed its tools; runs under way keep what they were offered");
    }
}

impl Client {
    /// Starts or reaches a server, and agrees with it on how to speak. The error names what is wrong and never a secret.
    pub(super) async fn connect(reach: &Reach, server: &Server) -> Result<Client, String> {
        let mut known = Known::default();
        let made = match server {
            Server::Command { words, env } => Client::start(reach, words, env, &mut known).await,
            Server::Url { url, headers } => Client::reach(reach, url, headers, &mut known).await,
        };
        made.map_err(|why| known.hidden(&why))
    }

    async fn start(
        reach: &Reach,
        words: &[commedia_domain::tool::http::Words],
        env: &[(Arc<str>, commedia_domain::tool::http::Words)],
        known: &mut Known,
    ) -> Result<Client, String> {
        let secrets = &*reach.secrets;
        let words = words.iter().map(|word| known.fill(word, secrets)).collect::<Result<Vec<String>, String>>()?;
        let program = words.first().cloned().unwrap_or_default();
        if !reach.options.programs.iter().any(|may| *may == program || may == "*") {
            return Err(format!(
                "it would start `{program}`, and no program is started for a scenario unless the operator allows it \
                 (`tools.mcp.programs`)"
            ));
        }
        let mut environment = reach.options.environment.clone();
        for (name, value) in env {
            environment.push((name.to_string(), known.fill(value, secrets)?));
        }
        let known = Arc::new(known.clone());
        let (process, output, input) = Process::start(&words, &environment, &known)?;
        let transport = AsyncRwTransport::new_client(output, input).with_max_line_length(MESSAGE_LIMIT);
        match serve_client(Us, transport).await {
            Ok(service) => Ok(Client { service, process: Some(process), known }),
            Err(e) => {
                process.end().await;
                let said = process.said();
                let said = if said.is_empty() { said } else { format!("; it said: {said}") };
                Err(format!("`{program}` does not answer as an MCP server: {}{said}", answer::innermost(&e)))
            }
        }
    }

    async fn reach(
        reach: &Reach,
        url: &[Piece<String>],
        headers: &[(Arc<str>, commedia_domain::tool::http::Words)],
        known: &mut Known,
    ) -> Result<Client, String> {
        let secrets = &*reach.secrets;
        let url = known.fill(&url.to_vec(), secrets)?;
        let address = reqwest::Url::parse(&url).map_err(|e| format!("its url cannot be read: {e}"))?;
        permitted(&address, &reach.allowed)?;
        let mut fixed: HashMap<HeaderName, HeaderValue> = HashMap::new();
        for (name, words) in headers {
            let value = known.fill(words, secrets)?;
            let named = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| format!("the header `{name}` would hold control characters"))?;
            value.set_sensitive(true);
            fixed.insert(named, value);
        }
        let http = reach.http.get_or_init(|| {
            guarded(&reach.allowed).build().map_err(|e| format!("no client for HTTP can be made: {}", answer::innermost(&e)))
        });
        let config = StreamableHttpClientTransportConfig::with_uri(url)
            .custom_headers(fixed)
            .max_sse_event_size(MESSAGE_LIMIT)
            .reinit_on_expired_session(true);
        let transport = StreamableHttpClientTransport::with_client(http.clone()?, config);
        match serve_client(Us, transport).await {
            Ok(service) => Ok(Client { service, process: None, known: Arc::new(known.clone()) }),
            Err(e) => Err(format!("its address does not answer as an MCP server: {}", answer::innermost(&e))),
        }
    }

    /// Whether it can be spoken with.
    pub(super) fn is_alive(&self) -> bool {
        !self.service.is_transport_closed()
    }

    /// The server's own name and version.
    pub(super) fn name(&self) -> String {
        let info = self.service.peer_info();
        let named = info.as_ref().and_then(|info| info.server_info.as_ref());
        let text = named.map_or_else(|| "unnamed".to_owned(), |s| format!("{} {}", s.name, s.version));
        text.chars().filter(|c| !c.is_control()).take(100).collect()
    }

    /// All its tools, within bounds.
    pub(super) async fn tools(&self) -> Result<Vec<Described>, String> {
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES {
            let page = PaginatedRequestParams::default().with_cursor(cursor.take());
            let listed = self.service.list_tools(Some(page)).await;
            let listed =
                listed.map_err(|e| self.known.hidden(&format!("its tools cannot be listed: {}", answer::innermost(&e))))?;
            tools.extend(listed.tools.iter().map(described));
            if tools.len() > TOOLS {
                return Err(format!("it lists more than {TOOLS} tools"));
            }
            match listed.next_cursor {
                None => return Ok(tools),
                next => cursor = next,
            }
        }
        Err(format!("its list of tools has more than {PAGES} pages"))
    }

    /// One attempt at a call.
    pub(super) async fn call(&self, tool: &str, input: &Value, key: &str) -> Attempt {
        let arguments = match input.to_json() {
            serde_json::Value::Object(map) => map,
            serde_json::Value::Null => JsonObject::new(),
            _ => return Attempt::NotSent("its input is no object".into()),
        };
        let mut meta = RequestMetaObject::default();
        meta.insert(KEY_META.to_owned(), key.into());
        let mut params = CallToolRequestParams::new(tool.to_owned());
        (params.arguments, params.meta) = (Some(arguments), Some(meta));
        match self.service.call_tool_once(params).await {
            Ok(CallToolResponse::Complete(result)) => answer::judged(&result, &self.known),
            Ok(_) => Attempt::Refused("it asks for more input or for patience, which a call does not give".into()),
            Err(ServiceError::TransportClosed) => Attempt::Unclear(self.last_words()),
            Err(e) => answer::failed(&e, &self.known),
        }
    }

    /// How it ended, as far as that is known.
    pub(super) fn last_words(&self) -> String {
        let said = self.process.as_ref().map(Process::said).unwrap_or_default();
        let said = if said.is_empty() { said } else { format!("; it said: {said}") };
        format!("its server ended before an answer came{said}")
    }

    /// Ends the session, and the process with it.
    pub(super) async fn end(&self) {
        self.service.cancellation_token().cancel();
        if let Some(process) = &self.process {
            process.end().await;
        }
    }
}

fn described(tool: &Tool) -> Described {
    let hints = tool.annotations.as_ref();
    Described {
        name: tool.name.to_string(),
        description: tool.description.as_deref().or(tool.title.as_deref()).unwrap_or_default().to_owned(),
        schema: serde_json::Value::Object((*tool.input_schema).clone()).to_string(),
        read_only: hints.and_then(|h| h.read_only_hint).unwrap_or(false),
        idempotent: hints.and_then(|h| h.idempotent_hint).unwrap_or(false),
    }
}
