//! The accept loop: connections with bounds of their own, TLS where it is configured, and an end that waits for answers under way.
//!
//! ```text
//! accept ──no place──▶ 503, closed        accept ──place──▶ (TLS) ──▶ requests, one after the other ──▶ closed
//! a request's head must be there within `head`; a connection that says nothing for so long is closed
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;
/// What a connection is told that finds no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The pause after an error of the listener, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and how long a connection may say nothing.
    pub(crate) head: Duration,
}

/// Serves until `stop`; then no more connections are taken, and those that work have `drain` to answer what they were asked.
pub(crate) async fn serve<S>(listener: TcpListener, service: S, limits: Limits, stop: impl Future<Output = ()>, drain: Duration)
where
    S: Service<Request<Incoming>, Response = warp::reply::Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    // Each connection hears that it is to end, and that it has ended is seen.
    let ending = watch::Sender::new(());
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(HEAD_BYTES).half_close(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    tracing::warn!("a connection was not taken: {e}");
                    tokio::time::sleep(AFTER_ERROR).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(&stream);
            continue;
        };
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!("a connection has gone: {e}");
        }
        let connection = protocol.serve_connection(TokioIo::new(stream), service_fn(answered(service.clone(), from)));
        let connection = connection.with_upgrades();
        let mut ends = ending.subscribe();
        tokio::spawn(async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                // The sender is there until all have ended, or were given up.
                _ = ends.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            // What a client breaks off is its own affair.
            if let Err(e) = ended {
                tracing::debug!(%from, "a connection ended: {e}");
            }
        });
    }
    drop(listener);
    ending.send_replace(());
    if tokio::time::timeout(drain, ending.closed()).await.is_err() {
        tracing::warn!("connections were cut: they had not ended within {} s", drain.as_secs_f64());
    }
}

/// The service for one connection: each request knows where it came from.
fn answered<S>(service: S, from: SocketAddr) -> impl Fn(Request<Incoming>) -> S::Future
where
    S: Service<Request<Incoming>> + Clone,
{
    move |mut request| {
        request.extensions_mut().insert(from);
        service.clone().call(request)
    }
}

/// What fits into the socket's buffer is said; a client that does not take it is not waited for.
fn turn_away(stream: &TcpStream) {
    if let Err(e) = stream.try_write(NO_PLACE) {
        tracing::debug!("a connection was turned away without a word: {e}");
    }
}
