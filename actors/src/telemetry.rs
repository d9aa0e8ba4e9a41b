//! Traces of runs: what was committed, as spans in OpenTelemetry's words for generative AI. Never part of a log, a digest or a
//! replay, and never in a run's way: what there is no room for is dropped and counted.

mod bodies;
mod names;
#[cfg(feature = "otlp")]
pub mod otlp;
pub(crate) mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::metrics::Metrics;

/// Spans that wait to be exported at most.
const QUEUE: usize = 8 * 1024;
/// Bytes of them at most.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// About how many bytes a span takes besides its texts.
const BARE_SPAN: usize = 512;

/// A span that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace: the bits of the run's id.
    pub trace: [u8; 16],
    /// Its id.
    pub id: [u8; 8],
    /// The span it belongs to; none for a run.
    pub parent: Option<[u8; 8]>,
    /// Its name: the operation, and of what.
    pub name: String,
    /// Whether it is a request to somebody outside the process.
    pub is_client: bool,
    /// When it began, since 1970 UTC.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub failed: bool,
    /// Why it failed, where bodies are told.
    pub reason: Option<Arc<str>>,
}

/// What is known of a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(Arc<str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Texts.
    Texts(Vec<Arc<str>>),
}

impl Span {
    /// What is known of it by a name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let texts = self.attributes.iter().map(|(_, value)| match value {
            Attribute::Text(text) => text.len(),
            Attribute::Texts(texts) => texts.iter().map(|t| t.len()).sum(),
            Attribute::Int(_) | Attribute::Float(_) => 0,
        });
        BARE_SPAN + self.reason.as_ref().map_or(0, |r| r.len()) + texts.sum::<usize>()
    }
}

/// What stands in the queue.
enum Told {
    Span(Box<Span>),
    /// All before this is to leave now; whoever waits is told.
    Flush(oneshot::Sender<()>),
}

/// Where spans go. Passed in with the runtime's options; without it nothing of a trace is made.
#[derive(Debug)]
pub struct Telemetry {
    queue: mpsc::Sender<Told>,
    bytes: Arc<AtomicUsize>,
    bodies: bool,
    metrics: Arc<Metrics>,
    has_dropped: AtomicBool,
}

/// The other end: spans on their way to whoever exports them.
#[derive(Debug)]
pub struct Queue {
    told: mpsc::Receiver<Told>,
    bytes: Arc<AtomicUsize>,
}

impl Telemetry {
    /// A queue of spans, and its other end. `bodies`: what was said goes along.
    pub fn new(bodies: bool, metrics: Arc<Metrics>) -> (Telemetry, Queue) {
        let (queue, told) = mpsc::channel(QUEUE);
        let bytes = Arc::new(AtomicUsize::new(0));
        let telemetry = Telemetry { queue, bytes: bytes.clone(), bodies, metrics, has_dropped: AtomicBool::new(false) };
        (telemetry, Queue { told, bytes })
    }

    /// Tells a span, if there is room for it.
    fn tell(&self, span: Span) {
        let weight = span.weight();
        let fits = self.bytes.fetch_add(weight, Ordering::Relaxed) + weight <= QUEUE_BYTES;
        if !fits || self.queue.try_send(Told::Span(Box::new(span))).is_err() {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
            self.dropped(1);
        }
    }

    fn dropped(&self, spans: u64) {
        self.metrics.telemetry_spans_total.with_label_values(&["dropped"]).inc_by(spans);
        if !self.has_dropped.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "spans of traces are dropped: more of them are made than the collector takes, or a run makes too many"
            );
        }
    }

    /// All spans so far leave, or the time is up: whether they did.
    pub async fn flush(&self, within: Duration) -> bool {
        let (sender, left) = oneshot::channel();
        let asked = async { self.queue.send(Told::Flush(sender)).await.is_ok() && left.await.is_ok() };
        tokio::time::timeout(within, asked).await.unwrap_or(false)
    }
}

impl Queue {
    /// The next span; `None` where none waits. For whoever looks, not for whoever exports: nobody is waited for.
    pub fn try_next(&mut self) -> Option<Span> {
        loop {
            match self.told.try_recv().ok()? {
                Told::Span(span) => return Some(self.taken(*span)),
                Told::Flush(done) => told(done),
            }
        }
    }

    fn taken(&self, span: Span) -> Span {
        self.bytes.fetch_sub(span.weight(), Ordering::Relaxed);
        span
    }
}

/// Whoever waits for all before to leave is told; by now nobody may.
fn told(done: oneshot::Sender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("nobody waited any longer for the spans to leave");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: usize) -> Span {
        Span {
            trace: [1; 16],
            id: [2; 8],
            parent: None,
            name: "chat m".into(),
            is_client: true,
            start: Duration::ZERO,
            end: Duration::ZERO,
            attributes: vec![("a", Attribute::Text("x".repeat(text).into()))],
            failed: false,
            reason: None,
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted() {
        for (spans, text, room) in [(QUEUE + 3, 0, QUEUE), (10, QUEUE_BYTES / 4, 3)] {
            let metrics = Arc::new(Metrics::new());
            let (telemetry, mut queue) = Telemetry::new(false, metrics.clone());
            (0..spans).for_each(|_| telemetry.tell(span(text)));
            let dropped = metrics.telemetry_spans_total.with_label_values(&["dropped"]).get();
            assert_eq!(dropped, (spans - room) as u64, "{spans} {text}");
            assert_eq!(std::iter::from_fn(|| queue.try_next()).count(), room);
            assert_eq!(telemetry.bytes.load(Ordering::Relaxed), 0, "the room is given back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_told_for_what_does_not_leave() {
        let (telemetry, queue) = Telemetry::new(false, Arc::default());
        assert!(!telemetry.flush(Duration::from_secs(2)).await);
        drop(queue);
        assert!(!telemetry.flush(Duration::from_secs(2)).await);
    }
}
