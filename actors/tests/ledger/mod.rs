//! A server that keeps a ledger: what was asked of it, under which key, how often. What it does with each request is the
//! test's to say: answer, break off before or after the effect, or never answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    pub(crate) fn key(&self) -> &str {
        self.header("idempotency-key")
    }
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// It is done and answered: status, headers, body.
    Answer(u16, String, String),
    /// The connection is closed before anything is done.
    Break,
    /// Nothing is done, and there is never an answer.
    Hang,
    /// It is done, and the connection is closed without an answer.
    DoneAndBreak,
    /// It is done, and there is never an answer.
    DoneAndHang,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Reply {
        Reply::Answer(status, "Content-Type: application/json\r\n".into(), body.into())
    }
}

type Script = Box<dyn FnMut(&Asked, usize) -> Reply + Send>;

/// The server; it ends with the test's process.
pub(crate) struct Ledger {
    address: SocketAddr,
    done: Arc<Mutex<Vec<Asked>>>,
}

fn locked<T: ?Sized>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    /// A server that does with each request what the script says; it is told how many were done before.
    pub(crate) fn new(script: impl FnMut(&Asked, usize) -> Reply + Send + 'static) -> Ledger {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let ledger = Ledger { address: listener.local_addr().expect("an address"), done: Arc::default() };
        let (done, script) = (ledger.done.clone(), Arc::new(Mutex::new(Box::new(script) as Script)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), done, script) = (stream, done.clone(), script.clone()) else { continue };
                std::thread::spawn(move || serve(stream, &done, &script));
            }
        });
        ledger
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was done, in order.
    pub(crate) fn done(&self) -> Vec<Asked> {
        locked(&self.done).clone()
    }

    /// How often a path was done under each of its keys.
    pub(crate) fn keys(&self, path: &str) -> std::collections::BTreeMap<String, usize> {
        let mut keys = std::collections::BTreeMap::new();
        for asked in locked(&self.done).iter().filter(|a| a.path == path) {
            *keys.entry(asked.key().to_owned()).or_default() += 1;
        }
        keys
    }
}

fn serve(mut stream: TcpStream, done: &Mutex<Vec<Asked>>, script: &Mutex<Script>) {
    let Some(asked) = read(&mut stream) else { return };
    let before = locked(done).len();
    let reply = locked(script)(&asked, before);
    if !matches!(reply, Reply::Break | Reply::Hang) {
        locked(done).push(asked);
    }
    match reply {
        Reply::Answer(status, headers, body) => {
            let answer =
                format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            // Whoever asked may be gone.
            drop(stream.write_all(answer.as_bytes()));
        }
        Reply::Break | Reply::DoneAndBreak => {}
        // Until whoever asked hangs up.
        Reply::Hang | Reply::DoneAndHang => drop(stream.read(&mut [0; 64])),
    }
}

/// A request, if a whole one comes.
fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let mut more = |bytes: &mut Vec<u8>| match stream.read(&mut chunk) {
        Ok(n) if n > 0 => {
            bytes.extend_from_slice(&chunk[..n]);
            Some(())
        }
        _ => None,
    };
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        more(&mut bytes)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
    let mut asked = Asked { method, path, headers: lines.filter_map(header).collect(), body: String::new() };
    let length = asked.header("content-length").parse().unwrap_or(0);
    while bytes.len() < head + 4 + length {
        more(&mut bytes)?;
    }
    asked.body = String::from_utf8_lossy(&bytes[head + 4..]).into_owned();
    Some(asked)
}
