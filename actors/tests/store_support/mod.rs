//! What the store's tests share: places to open a store at, frames to write, engines that fail on demand.
#![expect(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses a part of it")]

pub mod damage;
pub mod files;
pub mod samples;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use commedia_actors::store::blob::Blob;
use commedia_actors::store::engine::{Batch, Durability, Engine, EngineError, Guard, Order, Visit};
use commedia_actors::store::frame::{Cause, EncodedFrame, Frame, FrameBuilder, Lane};
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::memory::MemoryEngine;
use commedia_actors::store::{Append, AppendError, Head, Options, Store, StreamId, StreamKind};
use commedia_domain::id::Hash32;
pub use files::{Random, copied, copy_dir, count_from_env, files};

/// A place where a store can be opened again and again.
pub enum Place {
    Memory { engine: MemoryEngine, inline: bool },
    Files { engine: &'static str, dir: tempfile::TempDir },
}

impl Place {
    pub fn memory() -> Place {
        Place::Memory { engine: MemoryEngine::new(), inline: true }
    }

    pub fn memory_in_groups() -> Place {
        Place::Memory { engine: MemoryEngine::new(), inline: false }
    }

    pub fn sled() -> Place {
        Place::Files { engine: "sled", dir: tempfile::tempdir().unwrap() }
    }

    pub fn fjall() -> Place {
        Place::Files { engine: "fjall", dir: tempfile::tempdir().unwrap() }
    }

    pub async fn open(&self) -> Store {
        match self {
            Place::Memory { engine, inline } => {
                let engine = engine.clone();
                let open = Box::new(move || Ok(Arc::new(engine.clone()) as Arc<dyn Engine>));
                Store::open_engine(open, Durability::Fsync, *inline, Options::default()).await.unwrap()
            }
            Place::Files { engine, dir } => open_files(engine, dir.path()).await,
        }
    }
}

pub async fn open_files(engine: &str, dir: &Path) -> Store {
    Store::open(&url(engine, dir), Durability::Fsync, Options::default()).await.unwrap()
}

pub fn url(engine: &str, dir: &Path) -> String {
    format!("{engine}://{}", dir.display())
}

pub fn run(id: &str) -> StreamId {
    StreamId::new("default", StreamKind::Run, id).unwrap()
}

pub fn cause() -> Cause {
    Cause { kind: "test".into(), id: Hash32([1; 32]), payload_hash: Hash32([2; 32]), principal: "ann".into(), wall_ms: 1 }
}

/// The payload that stands at a seq of a stream in these tests; its length varies with the seq.
pub fn payload(stream: &StreamId, seq: u64) -> Vec<u8> {
    let hash = Hash32::of(format!("{stream} {seq}").as_bytes());
    hash.0.iter().copied().cycle().take(usize::from(hash.0[0]) + usize::from(hash.0[1] & 3) * 300).collect()
}

/// The lane of the event at a seq.
pub fn lane(seq: u64) -> Lane {
    if seq.is_multiple_of(3) { Lane::Operational } else { Lane::Canonical }
}

pub fn frame(stream: &StreamId, after: &Head, count: u64) -> EncodedFrame {
    frame_with(stream, after, count, &[])
}

pub fn frame_with(stream: &StreamId, after: &Head, count: u64, blobs: &[Blob]) -> EncodedFrame {
    let mut frame = FrameBuilder::new(1, after, 1, cause());
    for seq in after.seq + 1..=after.seq + count {
        assert_eq!(frame.push(lane(seq), &payload(stream, seq)), Ok(seq));
    }
    blobs.iter().for_each(|blob| frame.name_blob(blob.name()).unwrap());
    frame.encode().unwrap()
}

pub fn append_of(store: &Store, stream: &StreamId, after: &Head, count: u64) -> Append {
    Append {
        stream: stream.clone(),
        expected: *after,
        lease: store.lease(stream),
        frame: frame(stream, after, count),
        blobs: Vec::new(),
        meta: None,
        live: LiveRow::Keep,
    }
}

pub async fn append(store: &Store, stream: &StreamId, after: &Head, count: u64) -> Result<Head, AppendError> {
    store.append(append_of(store, stream, after, count)).await
}

/// Appends frames of the given sizes to a new stream.
pub async fn fill(store: &Store, stream: &StreamId, counts: &[u64]) -> Head {
    let mut head = store.head(stream).await.unwrap();
    for count in counts {
        head = append(store, stream, &head, *count).await.unwrap();
    }
    head
}

/// Reads a stream to its end in pages, each checked to follow the one before, and checks every payload.
pub async fn verify(store: &Store, stream: &StreamId, page_bytes: usize) -> Head {
    let mut head = Head::START;
    loop {
        let frames = store.read_after(stream, &head, page_bytes).await.unwrap();
        if frames.is_empty() {
            return head;
        }
        for frame in &frames {
            frame.follows(&head).unwrap();
            check_payloads(stream, frame);
            head = frame.head();
        }
    }
}

pub fn check_payloads(stream: &StreamId, frame: &Frame) {
    for (seq, record) in frame.events() {
        assert_eq!((record.lane, &record.bytes), (lane(seq), &payload(stream, seq)), "{stream} {seq}");
    }
}

/// What goes wrong next in a [`Faulty`] engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    /// The batch is not applied, and the engine says so.
    Apply,
    /// All rows but every second one are applied, and the engine says so.
    Half,
    /// The batch is applied; the sync fails.
    Sync,
    /// The call panics before anything happens.
    Panic,
}

/// An engine in memory with a gate before each sync, faults, and rows that cannot be read.
#[derive(Clone)]
pub struct Faulty(Arc<FaultyState>);

struct FaultyState {
    memory: MemoryEngine,
    gate: (Mutex<bool>, Condvar),
    waiting: AtomicBool,
    fault: Mutex<Fault>,
    opens: AtomicU64,
    refuse_opens: AtomicU64,
    applies_left: AtomicU64,
    unreadable: Mutex<Option<Vec<u8>>>,
    hides: AtomicBool,
}

impl Faulty {
    pub fn new() -> Faulty {
        Faulty::on(MemoryEngine::new())
    }

    /// The same rows as another process would open them: what goes wrong here goes on doing so.
    pub fn elsewhere(&self) -> Faulty {
        Faulty::on(self.0.memory.clone())
    }

    fn on(memory: MemoryEngine) -> Faulty {
        Faulty(Arc::new(FaultyState {
            memory,
            gate: (Mutex::new(true), Condvar::new()),
            waiting: AtomicBool::new(false),
            fault: Mutex::new(Fault::None),
            opens: AtomicU64::new(0),
            refuse_opens: AtomicU64::new(0),
            applies_left: AtomicU64::new(u64::MAX),
            unreadable: Mutex::new(None),
            hides: AtomicBool::new(false),
        }))
    }

    pub async fn open(&self, options: Options) -> Store {
        let engine = self.clone();
        let open = move || {
            engine.0.opens.fetch_add(1, Ordering::SeqCst);
            if engine.0.refuse_opens.load(Ordering::SeqCst) > 0 {
                engine.0.refuse_opens.fetch_sub(1, Ordering::SeqCst);
                return Err(EngineError::Failed("no".into()));
            }
            engine.0.hides.store(false, Ordering::SeqCst);
            Ok(Arc::new(engine.clone()) as Arc<dyn Engine>)
        };
        Store::open_engine(Box::new(open), Durability::Fsync, false, options).await.unwrap()
    }

    pub fn set_gate(&self, open: bool) {
        *self.0.gate.0.lock().unwrap() = open;
        self.0.gate.1.notify_all();
    }

    /// Until the writer stands at the closed gate.
    pub async fn until_waiting(&self) {
        while !self.0.waiting.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    pub fn fail_next(&self, fault: Fault) {
        *self.0.fault.lock().unwrap() = fault;
    }

    pub fn refuse_opens(&self, n: u64) {
        self.0.refuse_opens.store(n, Ordering::SeqCst);
    }

    /// After so many batches more none is applied.
    pub fn fail_after(&self, batches: u64) {
        self.0.applies_left.store(batches, Ordering::SeqCst);
    }

    pub fn opens(&self) -> u64 {
        self.0.opens.load(Ordering::SeqCst)
    }

    /// Rows whose key holds these bytes cannot be read any more.
    pub fn damage(&self, part_of_key: &[u8]) {
        *self.0.unreadable.lock().unwrap() = Some(part_of_key.to_vec());
    }

    /// Rows whose key holds these bytes are gone.
    pub fn lose(&self, part_of_key: &[u8]) {
        let mut batch = Batch::default();
        let all = &mut |key: &[u8], _: &[u8]| {
            if key.windows(part_of_key.len()).any(|w| w == part_of_key) {
                batch.delete(key);
            }
            ControlFlow::Continue(())
        };
        self.0.memory.scan(&[], &[0xff; 9], Order::Ascending, all).unwrap();
        assert!(batch.size_bytes() > 0);
        self.0.memory.apply(Guard { key: b"none", holds: None }, &batch).unwrap();
    }

    /// Nothing can be read until it is opened again.
    pub fn hide(&self) {
        self.0.hides.store(true, Ordering::SeqCst);
    }

    fn take(&self, fault: Fault) -> bool {
        let mut next = self.0.fault.lock().unwrap();
        let hit = *next == fault;
        if hit {
            *next = Fault::None;
        }
        hit
    }

    fn readable(&self, key: &[u8]) -> Result<(), EngineError> {
        if self.0.hides.load(Ordering::SeqCst) {
            return Err(EngineError::Failed("a hidden page".into()));
        }
        let bad = self.0.unreadable.lock().unwrap();
        match &*bad {
            Some(part) if key.windows(part.len()).any(|w| w == part) => Err(EngineError::Damaged("a bad page".into())),
            _ => Ok(()),
        }
    }
}

impl Engine for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        if self.take(Fault::Panic) {
            panic!("told to");
        }
        let left = self.0.applies_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(EngineError::Failed("told to fail".into()));
        }
        self.0.applies_left.store(left - u64::from(left != u64::MAX), Ordering::SeqCst);
        if self.take(Fault::Apply) {
            return Err(EngineError::Failed("no space left".into()));
        }
        if self.take(Fault::Half) {
            let mut half = Batch::default();
            batch.iter().step_by(2).for_each(|(key, value)| half.put(key, value.unwrap_or_default()));
            self.0.memory.apply(guard, &half)?;
            return Err(EngineError::Failed("no space left".into()));
        }
        self.0.memory.apply(guard, batch)
    }

    fn sync(&self, _: Durability) -> Result<u32, EngineError> {
        let mut open = self.0.gate.0.lock().unwrap();
        self.0.waiting.store(!*open, Ordering::SeqCst);
        while !*open {
            open = self.0.gate.1.wait(open).unwrap();
        }
        self.0.waiting.store(false, Ordering::SeqCst);
        if self.take(Fault::Sync) { Err(EngineError::Failed("input/output error".into())) } else { Ok(1) }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.readable(key)?;
        self.0.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let mut bad = Ok(());
        self.0.memory.scan(from, to, order, &mut |key, value| {
            bad = self.readable(key);
            if bad.is_err() { ControlFlow::Break(()) } else { visit(key, value) }
        })?;
        bad
    }

    fn size_bytes(&self) -> u64 {
        self.0.memory.size_bytes()
    }

    fn blocks(&self) -> bool {
        false
    }

    fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}
