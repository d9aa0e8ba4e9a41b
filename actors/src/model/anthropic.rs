//! Claude by the Messages interface: a small adapter of our own.

use async_trait::async_trait;
use commedia_domain::run::ModelRequest;

use crate::model::draft::{Context, who};
use crate::model::endpoint::Endpoint;
use crate::model::exchange::{Came, Exchange};
use crate::model::messages::{self, Pieces, Reply, VERSION};
use crate::model::{Answer, Deltas, ModelError, Provider};
use crate::transport::post;

/// Room for a request of usual size.
const REQUEST_ROOM: usize = 4096;

/// An endpoint of the Messages interface.
pub(crate) struct Anthropic {
    exchange: Exchange,
    url: String,
    always_stream: bool,
}

impl Anthropic {
    /// The provider of an endpoint whose address was checked.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Anthropic, String> {
        let key = endpoint.key.as_ref().map(|key| ("x-api-key", key.reveal()));
        let own: Vec<(&str, &str)> = [("anthropic-version", VERSION)].into_iter().chain(key).collect();
        let exchange = Exchange::new(endpoint, &own)?;
        let base = endpoint.base_url.trim_end_matches('/').trim_end_matches("/v1");
        Ok(Anthropic { exchange, url: format!("{base}/v1/messages"), always_stream: endpoint.stream })
    }
}

#[async_trait]
impl Provider for Anthropic {
    async fn attempt(&self, model: &str, request: &ModelRequest, deltas: Option<&Deltas>) -> Result<Answer, ModelError> {
        let voice = &self.exchange.voice;
        let stream = self.always_stream || deltas.is_some();
        let who = who(voice.provider(), model);
        let mut body = Vec::with_capacity(REQUEST_ROOM);
        serde_json::to_writer(&mut body, &messages::body(model, &who, request, stream))
            .map_err(|e| ModelError::refused(format!("the request cannot be written: {e}")))?;
        let made = post(&self.url, body).map_err(|fault| voice.fault(fault))?;
        let (draft, sent) = match self.exchange.perform(made, Box::<Pieces>::default(), deltas).await? {
            Came::Folded(draft, sent) => (draft, sent),
            Came::Whole(body, sent) => (self.exchange.read::<Reply>(&body)?.draft(voice)?, sent),
        };
        draft.settle(&Context { voice, model, request, sent })
    }
}
