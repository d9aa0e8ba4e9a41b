//! Connections of requests to models: one client for each line, with TLS as the system's own roots say, and a bound
//! on the time a connection takes, the handshake included.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::Body;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tower_service::Service;

/// What makes requests, and keeps their connections. It follows no redirect, knows no proxy, and says nothing twice but what was
/// given to a connection that closed before a byte of it was written.
pub(crate) type Client = legacy::Client<Connector, Body>;

/// So long a connection may say nothing before it is asked whether it is there, and between these questions; and so many of them.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVES: u32 = 3;

/// A client that gives a connection so long to come about, and keeps so many to a host for so long unused.
pub(super) fn client(connect: Duration, kept: usize, kept_for: Duration) -> Result<Client, String> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    tcp.set_keepalive(Some(KEEP_ALIVE));
    tcp.set_keepalive_interval(Some(KEEP_ALIVE));
    tcp.set_keepalive_retries(Some(KEEP_ALIVES));
    let tls = HttpsConnectorBuilder::new().try_with_platform_verifier().map_err(|e| e.to_string())?;
    let connector = Connector { inner: tls.https_or_http().enable_http1().wrap_connector(tcp), within: connect };
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(kept)
        .pool_idle_timeout(kept_for)
        .build(connector))
}

/// Whether what failed took too long.
pub(super) fn is_late(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        let timed_out = |e: &io::Error| e.kind() == io::ErrorKind::TimedOut;
        if error.is::<Elapsed>() || error.downcast_ref().is_some_and(timed_out) {
            return true;
        }
        at = error.source();
    }
    false
}

/// Makes a connection, within its time.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    within: Duration,
}

type Failed = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.within, self.inner.call(place));
        Box::pin(async move { connecting.await? })
    }
}
