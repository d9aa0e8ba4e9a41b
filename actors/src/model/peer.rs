//! A server that answers as a model's would: in the true wire formats, whole or streamed, with the stub's judgement. It can be
//! told to behave badly in any way that bytes permit. For tests and benches: it listens on this machine only.

mod hear;
mod say;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use hear::Heard;
pub use say::{End, Said, chunked, head, plain, sse};

/// Bytes of a request's head.
const HEAD_LIMIT: usize = 64 * 1024;
/// Bytes of a request's body.
const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Bytes that are read at once.
const READ_SIZE: usize = 16 * 1024;

/// What is done about a request.
type Act = dyn Fn(&Heard) -> Vec<Deed> + Send + Sync;

/// How requests are answered.
#[derive(Clone)]
pub enum Behaviour {
    /// As the stub would, after a while: each offered tool once, then a handoff to whom none was made yet, else words.
    Stub(Duration),
    /// The same in as few answers as can be: all tools and the handoff in one.
    Brisk(Duration),
    /// Always this.
    Say(Box<Said>),
    /// With whatever a function makes of the request.
    Act(Arc<Act>),
}

impl Behaviour {
    /// With a function.
    pub fn act(act: impl Fn(&Heard) -> Vec<Deed> + Send + Sync + 'static) -> Behaviour {
        Behaviour::Act(Arc::new(act))
    }
}

/// A thing done on a connection. After the last one the next request is waited for.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Sends bytes.
    Write(Vec<u8>),
    /// Sends the same bytes so many times.
    Repeat(Vec<u8>, usize),
    /// Waits.
    Wait(Duration),
    /// Does nothing until the other side is gone.
    Hang,
    /// Ends the connection in order.
    Close,
    /// Ends the connection with a reset.
    Reset,
}

/// A running server. It ends when it is dropped.
pub struct Peer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    requests: AtomicU64,
    connections: AtomicUsize,
    sent: AtomicU64,
}

impl Peer {
    /// Starts one on a free port of this machine.
    pub async fn start(behaviour: Behaviour) -> io::Result<Peer> {
        Peer::start_at(0, behaviour).await
    }

    /// Starts one on a port of this machine.
    pub async fn start_at(port: u16, behaviour: Behaviour) -> io::Result<Peer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            requests: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
        });
        let task = tokio::spawn(listen(listener, shared.clone()));
        Ok(Peer { address, shared, task })
    }

    /// Where it is: `http://127.0.0.1:PORT`. The interfaces are below `/v1`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Behaves otherwise from the next request on.
    pub fn set(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Ends it, with all its connections.
    pub fn stop(self) {}

    /// Waits until it is ended from elsewhere.
    pub async fn wait(mut self) {
        if let Err(e) = (&mut self.task).await {
            tracing::warn!("the peer ended: {e}");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.spawn(serve(stream, shared.clone()));
            }
            Err(e) => tracing::debug!("no connection was accepted: {e}"),
        }
        while open.try_join_next().is_some() {}
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    let mut buffer = Vec::with_capacity(READ_SIZE);
    if let Err(e) = answer_all(&mut stream, &mut buffer, &shared).await {
        tracing::trace!("a connection ended: {e}");
    }
}

/// Answers requests one after the other until the connection ends.
async fn answer_all(stream: &mut TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(heard) = read(stream, buffer).await? {
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let deeds = match behaviour {
            Behaviour::Stub(latency) | Behaviour::Brisk(latency) => {
                if !latency.is_zero() {
                    tokio::time::sleep(latency).await;
                }
                let is_brisk = matches!(behaviour, Behaviour::Brisk(_));
                let said = if is_brisk { Said::briskly(&heard) } else { Said::by_stub(&heard) };
                vec![Deed::Write(said.whole(&heard))]
            }
            Behaviour::Say(said) => vec![Deed::Write(said.whole(&heard))],
            Behaviour::Act(act) => act(&heard),
        };
        for deed in deeds {
            if !perform(stream, deed, shared).await? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether the connection goes on.
async fn perform(stream: &mut TcpStream, deed: Deed, shared: &Shared) -> io::Result<bool> {
    match deed {
        Deed::Write(bytes) => write(stream, &bytes, shared).await?,
        Deed::Repeat(bytes, times) => {
            for _ in 0..times {
                write(stream, &bytes, shared).await?;
            }
        }
        Deed::Wait(time) => tokio::time::sleep(time).await,
        Deed::Hang => {
            let mut ignored = [0; 64];
            while stream.read(&mut ignored).await? > 0 {}
            return Ok(false);
        }
        Deed::Close => {
            stream.shutdown().await?;
            return Ok(false);
        }
        Deed::Reset => {
            stream.set_zero_linger()?;
            return Ok(false);
        }
    }
    Ok(true)
}

async fn write(stream: &mut TcpStream, bytes: &[u8], shared: &Shared) -> io::Result<()> {
    stream.write_all(bytes).await?;
    shared.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// The next request; `None` where the connection ended.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Heard>> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).map_err(|_| odd("a head that is no text"))?;
            let (path, headers) = hear::head(head).ok_or_else(|| odd("no head of a request"))?;
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.map_or(Ok(0), |(_, n)| n.parse::<usize>()).map_err(|_| odd("no length"))?;
            if length > BODY_LIMIT {
                return Err(odd("a body that is too long"));
            }
            let whole = end + 4 + length;
            while buffer.len() < whole {
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            let heard = Heard::new(path, headers, &buffer[end + 4..whole]);
            buffer.drain(..whole);
            return Ok(Some(heard));
        }
        if buffer.len() > HEAD_LIMIT {
            return Err(odd("a head that is too long"));
        }
        buffer.reserve(READ_SIZE);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
