//! The accept loop: connections with bounds of their own, and an end that waits for answers under way.
//!
//! ```text
//! accept ──no place──▶ 503, closed        accept ──place──▶ (TLS) ──▶ requests, one after the other ──▶ closed
//! a request's head must be there within `head`; a connection that says nothing for so long is closed
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::{self, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::tls::Tls;

/// Bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;
/// What a connection is told that finds no place.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// The pause after an error of the listener, such as too many open files.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Bounds of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and how long a connection may say nothing.
    pub(crate) head: Duration,
}

/// Bytes that the kernel keeps for a client that does not read: what it grows to by itself is megabytes, and many such clients are
/// many.
const SEND_BUFFER: u32 = 128 * 1024;
/// Connections that wait to be taken.
const BACKLOG: u32 = 4096;

/// Listens at an address.
pub(crate) fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Those that are taken inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop`; then no more connections are taken, and those that work have `drain` to answer what they were asked.
pub(crate) async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    stop: impl Future<Output = ()>,
    drain: Duration,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
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
        let (service, peer) = (service.clone(), Peer(from.ip()));
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.clone().call(request)
        });
        let (protocol, tls, ends) = (protocol.clone(), tls.as_ref().map(|tls| tls.acceptor()), ending.subscribe());
        tokio::spawn(async move {
            let _place = place;
            let ended = match tls {
                None => answered(protocol.serve_connection(TokioIo::new(stream), answer), ends).await,
                Some(tls) => match tokio::time::timeout(limits.head, tls.accept(stream)).await {
                    Ok(Ok(stream)) => answered(protocol.serve_connection(TokioIo::new(stream), answer), ends).await,
                    Ok(Err(e)) => return tracing::debug!(%from, "a connection was not encrypted: {e}"),
                    Err(_) => return tracing::debug!(%from, "a connection was not encrypted in time"),
                },
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

/// A connection to its end; once no more are taken, to the end of what it was asked.
async fn answered<I, S, B>(connection: Connection<I, S>, mut ends: watch::Receiver<()>) -> hyper::Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = B, Error: Into<Box<dyn Error + Send + Sync>>>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let mut connection = std::pin::pin!(connection.with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender is there until all have ended, or were given up.
        _ = ends.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// What fits into the socket's buffer is said; a client that does not take it is not waited for.
fn turn_away(stream: &TcpStream) {
    if let Err(e) = stream.try_write(NO_PLACE) {
        tracing::debug!("a connection was turned away without a word: {e}");
    }
}
