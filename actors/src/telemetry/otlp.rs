//! Spans to a collector, by OTLP over HTTP. A task of its own takes them from the queue: nobody waits for it but whoever ends
//! the process, for so long. A collector that is not there is named once, and what it misses is counted.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{Attribute, Queue, Span, Telemetry, Told, told};
use crate::metrics::Metrics;
use crate::transport;

/// Spans of one request.
const BATCH: usize = 512;
/// How long a span waits for others to go with it.
const COMPANY: Duration = Duration::from_secs(1);
/// Wall time of one request, its repeats included.
const REQUEST: Duration = Duration::from_secs(10);
/// Wall time until a connection stands.
const CONNECT: Duration = Duration::from_secs(3);
/// Characters of what is told of a collector that failed.
const REASON: usize = 300;

/// Spans to the collector at a URL, which is taken as it is. Must be called where tokio runs.
pub fn start(url: &str, service: &str, bodies: bool, metrics: Arc<Metrics>) -> Result<Telemetry, String> {
    let client = transport::client().connect_timeout(CONNECT).timeout(REQUEST).build();
    let client = client.map_err(|e| transport::innermost(&e))?;
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(REQUEST)
        .build()
        .map_err(|e| e.to_string())?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    exporter.set_resource(&Resource::builder().with_service_name(service.to_owned()).with_attribute(version).build());
    let (telemetry, queue) = Telemetry::new(bodies, metrics.clone());
    drop(tokio::spawn(export(queue, exporter, url.to_owned(), metrics)));
    Ok(telemetry)
}

/// Takes spans from the queue until nobody is left who makes any.
async fn export(mut queue: Queue, exporter: SpanExporter, url: String, metrics: Arc<Metrics>) {
    let scope = InstrumentationScope::builder("commedia").with_version(env!("CARGO_PKG_VERSION")).build();
    let mut outage = false;
    loop {
        let mut batch: Vec<SpanData> = Vec::new();
        let mut flushed: Vec<oneshot::Sender<()>> = Vec::new();
        let mut until: Option<Instant> = None;
        let mut is_open = true;
        while batch.len() < BATCH && flushed.is_empty() {
            let next = match until {
                Some(until) => timeout_at(until, queue.told.recv()).await,
                None => Ok(queue.told.recv().await),
            };
            match next {
                Ok(Some(Told::Span(span))) => {
                    batch.push(data(queue.taken(*span), &scope));
                    until.get_or_insert_with(|| Instant::now() + COMPANY);
                }
                Ok(Some(Told::Flush(done))) => flushed.push(done),
                Ok(None) => {
                    is_open = false;
                    break;
                }
                Err(_) => break,
            }
        }
        let spans = batch.len() as u64;
        if spans > 0 {
            let sent = exporter.export(batch).await;
            let outcome = if sent.is_ok() { "exported" } else { "failed" };
            metrics.telemetry_spans_total.with_label_values(&[outcome]).inc_by(spans);
            match sent {
                Ok(()) => outage = false,
                Err(e) if !outage => {
                    outage = true;
                    let why: String = e.to_string().chars().take(REASON).collect();
                    tracing::warn!(%url, %why, "traces do not reach the collector; runs go on without, and spans are counted as failed");
                }
                Err(_) => {}
            }
        }
        flushed.into_iter().for_each(told);
        if !is_open {
            return;
        }
    }
}

/// A span in the library's words.
fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace),
        SpanId::from_bytes(span.id),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let status = match span.failed {
        true => Status::error(span.reason.as_deref().unwrap_or_default().to_owned()),
        false => Status::Unset,
    };
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: if span.is_client { SpanKind::Client } else { SpanKind::Internal },
        name: Cow::Owned(span.name),
        start_time: UNIX_EPOCH + span.start,
        end_time: UNIX_EPOCH + span.end,
        attributes: span.attributes.into_iter().map(|(name, value)| KeyValue::new(name, attribute(value))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    }
}

fn attribute(value: Attribute) -> Value {
    match value {
        Attribute::Text(text) => Value::String(StringValue::from(text)),
        Attribute::Int(number) => Value::I64(number),
        Attribute::Float(number) => Value::F64(number),
        Attribute::Texts(texts) => Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect())),
    }
}
