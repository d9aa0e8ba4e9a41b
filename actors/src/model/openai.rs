//! OpenAI's two interfaces, and whoever speaks them too: Azure, Ollama, vLLM, llama.cpp. The one home of `async-openai`: it
//! makes the requests (address, query, body). What comes back is ours to read: its own reader has no bounds, forgets what
//! kind a failure is, and logs what it cannot read. It never tries again by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context as Task, Poll};

use async_openai::Client;
use async_openai::config::{Config, OpenAIConfig};
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::traits::RequestOptionsBuilder;
use async_trait::async_trait;
use commedia_domain::run::ModelRequest;
use reqwest::{ResponseBuilderExt, Url};
use serde::de::IgnoredAny;

use crate::model::chat::{self, Manner};
use crate::model::completion::{self, Completion};
use crate::model::draft::{Context, who};
use crate::model::endpoint::{Endpoint, Wire};
use crate::model::exchange::{Came, Exchange};
use crate::model::responses::{self, Reply};
use crate::model::stream::Fold;
use crate::model::{Answer, Deltas, ModelError, ModelErrorKind, Provider};
use crate::transport::{Request, client, innermost};

/// The library builds requests with a client, and sends none.
static BUILDER: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| client().build().map_err(|e| innermost(&e)));
/// Where the answer comes from that it is told.
static NOWHERE: LazyLock<Url> = LazyLock::new(|| Url::parse("http://localhost").expect("an address"));

/// An endpoint of OpenAI's interfaces.
pub(crate) struct OpenAi {
    exchange: Exchange,
    client: Client<Arc<dyn Config>>,
    wire: Wire,
    /// Azure's classic surface has the model in the path, and this version in the query.
    classic: Option<String>,
    manner: Manner,
}

impl OpenAi {
    /// The provider of an endpoint whose address was checked.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<OpenAi, String> {
        let azure = &*endpoint.provider == "azure";
        let key = endpoint.key.as_ref().map(|key| match azure {
            true => ("api-key", key.reveal().to_owned()),
            false => ("authorization", format!("Bearer {}", key.reveal())),
        });
        let own: Vec<(&str, &str)> = key.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let exchange = Exchange::new(endpoint, &own)?;
        let classic = endpoint.api_version.clone().filter(|version| azure && version != "v1");
        let base = endpoint.base_url.trim_end_matches('/');
        let base = match (azure && !base.contains("/openai"), &classic) {
            (true, Some(_)) => format!("{base}/openai"),
            (true, None) => format!("{base}/openai/v1"),
            (false, _) => base.to_owned(),
        };
        // Everything is said here, so that nothing comes from the environment; the key goes another way.
        let config = OpenAIConfig::new().with_api_base(base).with_api_key("").with_org_id("").with_project_id("");
        let config: Arc<dyn Config> = Arc::new(config);
        let manner = Manner { strict: true, older: !azure && &*endpoint.provider != "openai", stream: endpoint.stream };
        Ok(OpenAi {
            client: Client::build(BUILDER.clone().map_err(|e| format!("{}: {e}", endpoint.provider))?, config),
            exchange,
            wire: endpoint.wire,
            classic,
            manner,
        })
    }

    /// The request as the library makes it.
    async fn made(&self, model: &str, who: &str, request: &ModelRequest, stream: bool) -> Result<Request, OpenAIError> {
        let taker = Taker::default();
        let client = self.client.clone().with_http_service(taker.clone());
        match (self.wire, &self.classic) {
            (Wire::Responses, _) => {
                let body = responses::body(model, who, request, stream);
                client.responses().create_byot::<_, IgnoredAny>(body).await?;
            }
            (_, classic) => {
                let body = chat::body(model, request, Manner { stream, ..self.manner });
                let chat = match classic {
                    None => client.chat(),
                    Some(version) => {
                        let chat = client.chat().path(format!("/deployments/{model}/chat/completions"))?;
                        chat.query(&[("api-version", version)])?
                    }
                };
                chat.create_byot::<_, IgnoredAny>(body).await?;
            }
        }
        let taken = taker.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| OpenAIError::InvalidArgument("no request was made".into()))
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn attempt(&self, model: &str, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let voice = &self.exchange.voice;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.classic.is_some() && !model.chars().all(plain) {
            return Err(voice.error(ModelErrorKind::Refused, "has deployments named of letters, digits and `-_.` only"));
        }
        let who = who(voice.provider(), model);
        // What it takes to make the request is gone while its answer is waited for.
        let made = Box::pin(self.made(model, &who, request, self.manner.stream || deltas.is_some())).await;
        let made = made.map_err(|e| {
            let why = voice.clean(&e.to_string());
            voice.error(ModelErrorKind::Refused, format_args!("cannot be asked this: {why}"))
        })?;
        let fold: Box<dyn Fold> = match self.wire {
            Wire::Responses => Box::<responses::Pieces>::default(),
            Wire::Chat | Wire::Messages => Box::<completion::Pieces>::default(),
        };
        let (draft, sent) = match self.exchange.perform(made, fold, deltas).await? {
            Came::Folded(draft, sent) => (draft, sent),
            Came::Whole(body, sent) if self.wire == Wire::Responses => (self.exchange.read::<Reply>(&body)?.draft(voice)?, sent),
            Came::Whole(body, sent) => (self.exchange.read::<Completion>(&body)?.draft(voice)?, sent),
        };
        draft.settle(&Context { voice, model, request, sent })
    }
}

/// Takes the one request that a call of the library makes; the library is told an answer that means nothing.
#[derive(Clone, Default)]
struct Taker(Arc<Mutex<Option<Request>>>);

impl tower_service::Service<HttpRequestFactory> for Taker {
    type Response = reqwest::Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<reqwest::Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, made: HttpRequestFactory) -> Self::Future {
        let taker = self.clone();
        Box::pin(async move {
            let request = Request::try_from(made.build().await?)?;
            *taker.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
            let nothing = http::Response::builder().url(NOWHERE.clone()).body("null");
            Ok(nothing.map_err(|e| OpenAIError::InvalidArgument(e.to_string()))?.into())
        })
    }
}
