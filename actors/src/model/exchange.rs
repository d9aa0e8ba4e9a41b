//! One exchange with an endpoint: a request goes out, a whole answer or a stream comes in, and what is neither is told. The
//! same for all interfaces.

use serde::de::DeserializeOwned;

use crate::model::draft::Draft;
use crate::model::endpoint::Endpoint;
use crate::model::sse::{Events, Odd};
use crate::model::stream::{self, Fold};
use crate::model::voice::Voice;
use crate::model::{Deltas, ModelError};
use crate::transport::{Arrival, Fault, Limits, Line, Request};

/// An endpoint that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The way there.
    pub(crate) line: Line,
    /// Who tells of its failures.
    pub(crate) voice: Voice,
    bound: usize,
}

/// What came.
pub(crate) enum Came {
    /// A whole answer: its bytes, and those of the request.
    Whole(Vec<u8>, usize),
    /// A stream, folded; bytes of the request.
    Folded(Draft, usize),
}

impl Exchange {
    /// With the headers each request gets.
    pub(crate) fn new(endpoint: &Endpoint, own: &[(&str, &str)]) -> Result<Exchange, String> {
        let mut headers = own.to_vec();
        headers.extend(endpoint.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())));
        let limits = Limits {
            connect: endpoint.timeouts.connect,
            first_byte: endpoint.timeouts.first_byte,
            between_chunks: endpoint.timeouts.between_chunks,
            total: endpoint.timeouts.total,
            answer: endpoint.bounds.answer,
        };
        let line = Line::new(&headers, limits).map_err(|e| format!("{}: {e}", endpoint.provider))?;
        Ok(Exchange { line, voice: Voice::new(endpoint), bound: endpoint.bounds.line })
    }

    /// Sends a request. A stream is folded, whether it was asked for or not; so is one that says to be something else.
    pub(crate) async fn perform(
        &self,
        request: Request,
        fold: Box<dyn Fold>,
        deltas: Option<&Deltas>,
    ) -> Result<Came, ModelError> {
        let voice = &self.voice;
        let mut arrival = self.line.send(request).await.map_err(|fault| voice.fault(fault))?;
        if !(200..300).contains(&arrival.status()) {
            return Err(voice.refusal(arrival).await);
        }
        let sent = arrival.sent();
        match kind(&arrival) {
            Kind::Stream => Ok(Came::Folded(stream::read(arrival, fold, self.bound, voice, deltas).await?, sent)),
            Kind::Page => Err(self.page()),
            Kind::Other => {
                let body = arrival.whole().await.map_err(|fault| voice.fault(fault))?;
                self.whole(body, sent, fold, deltas)
            }
        }
    }

    fn whole(&self, body: Vec<u8>, sent: usize, mut fold: Box<dyn Fold>, deltas: Option<&Deltas>) -> Result<Came, ModelError> {
        let text = body.trim_ascii_start();
        if text.is_empty() {
            return Err(self.voice.malformed("gave an empty answer: it has no body"));
        }
        if text.starts_with(b"<") {
            return Err(self.page());
        }
        if ![&b"data:"[..], b"event:", b":"].iter().any(|start| text.starts_with(start)) {
            return Ok(Came::Whole(body, sent));
        }
        let mut veil = self.voice.veil();
        let mut tell = |piece: &str| stream::tell(deltas, &veil.piece(piece));
        let taken: Result<(), Stop> = Events::new(self.bound).take(text, |data| {
            fold.take(data, &self.voice, &mut tell)?;
            Ok(())
        });
        match taken {
            Err(Stop(Some(error))) => Err(error),
            Err(Stop(None)) => Err(self.voice.fault(Fault::TooLong("a line of its answer", self.bound))),
            Ok(()) => {
                stream::told_last(deltas, &mut veil);
                Ok(Came::Folded(fold.draft(), sent))
            }
        }
    }

    fn page(&self) -> ModelError {
        self.voice.malformed("answered with a web page: check base_url, and whether something stands in between")
    }

    /// A whole answer as its interface has it.
    pub(crate) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ModelError> {
        serde_json::from_slice(body).map_err(|e| self.voice.malformed(format_args!("gave an answer that cannot be read: {e}")))
    }
}

/// Why bytes that are events give no answer: an error, or a line that is too long.
struct Stop(Option<ModelError>);

impl From<Odd> for Stop {
    fn from(_: Odd) -> Stop {
        Stop(None)
    }
}

impl From<ModelError> for Stop {
    fn from(error: ModelError) -> Stop {
        Stop(Some(error))
    }
}

/// What an answer says that it is.
enum Kind {
    Stream,
    Page,
    Other,
}

fn kind(arrival: &Arrival) -> Kind {
    let kind = arrival.header("content-type").unwrap_or_default().to_ascii_lowercase();
    match kind.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => Kind::Stream,
        "text/html" => Kind::Page,
        _ => Kind::Other,
    }
}
