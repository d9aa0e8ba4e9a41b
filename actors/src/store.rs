//! The store: every durable truth is a stream of frames in it. This file is its one door.
//!
//! Writes go through the store actor to the group commit and are acknowledged when durable; reads go straight to the
//! engine, never past what is acknowledged. A store knows no events: a record's bytes are its owner's. Engine types
//! never leave `store/`.

mod actor;
pub mod archive;
pub mod backup;
pub mod blob;
mod check;
mod claim;
mod commit;
pub mod compact;
pub mod copy;
mod delete;
pub mod digest;
mod directory;
mod disk;
pub mod engine;
mod error;
mod fjall;
pub mod frame;
mod highwater;
mod home;
mod journal;
mod key;
mod listing;
mod lists;
pub mod live;
mod losses;
pub mod memory;
pub mod migrate;
mod reader;
pub mod restore;
mod sled;
mod stream;
mod work;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use commedia_domain::id::Hash32;
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use actor::{Start, StoreActor, StoreMsg};
use blob::{BLOB_LIMIT, Blob, SNAPSHOT_LIMIT, Snapshot};
pub use check::{CheckReport, StreamCheck};
use claim::Claimed;
use commit::{Committer, Shared, Totals};
pub use commit::{Group, Observe};
pub use delete::Delete;
use directory::DELETING_FORMAT;
pub use directory::{OLDEST_FORMAT, STORE_FORMAT};
use engine::Durability;
pub use error::{AppendError, Damage, OpenError, ReadError};
use frame::{FRAME_LIMIT, Frame};
use home::Home;
pub use home::{ENGINES, OpenEngine, place};
use live::{LIVE_LIMIT, LiveRow};
pub use reader::Listed;
use reader::{Reader, Stage};
pub use stream::{BadName, Head, Lease, NAME_LIMIT, SHARDS, StreamId, StreamKind};
pub use work::{Append, Mark};
use work::{Job, Lives, Work};

/// The meta bytes of a stream are at most this many.
pub const META_LIMIT: usize = 4 * 1024;

/// The queue is counted in units of this many bytes.
const QUEUE_UNIT: usize = 1024;

/// So often whoever waits for room on the disk looks for it.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(250);

/// So long a read that fails while the engine is opened again waits for it.
const READ_PATIENCE: Duration = Duration::from_secs(10);

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The engine's page cache, in bytes (64 MiB).
    pub cache_bytes: u64,
    /// How much may wait to be written, in bytes (64 MiB); beyond it, callers wait.
    pub queue_bytes: usize,
    /// After this without an answer to any write a write is [`AppendError::Unknown`] (30 s): a slow disk is waited for.
    pub timeout: Duration,
    /// Is told of every group.
    pub observer: Option<Arc<dyn Observe>>,
    /// The actor that supervises the store's.
    pub supervisor: Option<ActorCell>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 64 * 1024 * 1024,
            queue_bytes: 64 * 1024 * 1024,
            timeout: Duration::from_secs(30),
            observer: None,
            supervisor: None,
        }
    }
}

/// Totals since a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups acknowledged.
    pub groups: u64,
    /// Writes in them.
    pub writes: u64,
    /// Bytes of rows in them.
    pub bytes: u64,
    /// Files synced for them.
    pub syncs: u64,
    /// Time spent on them.
    pub commit: Duration,
}

/// A handle on an open store; clones are handles on the same one. When the last is dropped the store closes.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    home: Arc<Home>,
    shared: Arc<Shared>,
    actor: RwLock<ActorRef<StoreMsg>>,
    queue: Arc<Semaphore>,
    options: Options,
    /// Held to read while everything is read, and to write while something is taken away.
    upkeep: tokio::sync::RwLock<()>,
    /// What the engine took when it was opened or compacted last, in bytes.
    compacted_bytes: std::sync::atomic::AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.actor.read().unwrap_or_else(PoisonError::into_inner).stop(None);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| format!("the call was given up: {e}"))
}

async fn start(
    home: &Arc<Home>,
    shared: &Arc<Shared>,
    committer: Committer,
    options: &Options,
) -> Result<ActorRef<StoreMsg>, OpenError> {
    let start = Start { home: home.clone(), shared: shared.clone(), committer };
    let spawned = match &options.supervisor {
        Some(supervisor) => Actor::spawn_linked(None, StoreActor, start, supervisor.clone()).await,
        None => Actor::spawn(None, StoreActor, start).await,
    };
    spawned.map(|(actor, _)| actor).map_err(|e| OpenError::Failed(format!("the store actor does not start: {e}")))
}

impl Store {
    /// Opens `memory:`, `sled://DIR` or `fjall://DIR`, creating it if need be. Opening raises the epoch: older leases are fenced.
    pub async fn open(url: &str, durability: Durability, options: Options) -> Result<Store, OpenError> {
        let (url, cache_bytes) = (url.to_string(), options.cache_bytes);
        let home = blocking(move || Home::at(&url, durability, cache_bytes)).await.map_err(OpenError::Failed)??;
        Store::open_home(home, options).await
    }

    /// Opens a store without a directory on an engine of the caller's; `inline`: the engine never waits, so groups are
    /// written by the actor itself, as in `memory:`.
    pub async fn open_engine(
        engine: Box<OpenEngine>,
        durability: Durability,
        inline: bool,
        options: Options,
    ) -> Result<Store, OpenError> {
        Store::open_home(Home::new(engine, durability, inline), options).await
    }

    async fn open_home(home: Home, options: Options) -> Result<Store, OpenError> {
        let home = Arc::new(home);
        let opening = home.clone();
        let claimed = blocking(move || opening.open()).await.map_err(OpenError::Failed)??;
        let shared = Arc::new(Shared {
            reader: Reader::new(claimed.opened),
            epoch: claimed.claim.epoch.into(),
            totals: Totals::default(),
            observer: options.observer.clone(),
            changed: std::sync::Mutex::default(),
            writable: watch::Sender::new(true),
            full: false.into(),
            suspected: 0.into(),
        });
        let committer = Committer::new(shared.reader.opened(), claimed.claim, !home.inline());
        let actor = RwLock::new(start(&home, &shared, committer, &options).await?);
        let queue = Arc::new(Semaphore::new(options.queue_bytes.div_ceil(QUEUE_UNIT).clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Store(Arc::new(Inner {
            compacted_bytes: shared.reader.opened().engine.size_bytes().into(),
            upkeep: tokio::sync::RwLock::default(),
            home,
            shared,
            actor,
            queue,
            options,
        })))
    }

    /// Starts a new store actor after the old one has died; the engine stays open, the epoch is raised.
    pub async fn revive(&self) -> Result<(), OpenError> {
        let (home, shared) = (self.0.home.clone(), self.0.shared.clone());
        shared.writable.send_replace(false);
        let claim = move || home.claim(shared.reader.opened().engine.clone());
        let claimed: Claimed = blocking(claim).await.map_err(OpenError::Failed)??;
        let committer = self.0.shared.take_over(claimed, !self.0.home.inline());
        let actor = start(&self.0.home, &self.0.shared, committer, &self.0.options).await?;
        *self.0.actor.write().unwrap_or_else(PoisonError::into_inner) = actor;
        Ok(())
    }

    fn actor(&self) -> ActorRef<StoreMsg> {
        self.0.actor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The store actor, for supervision.
    pub fn cell(&self) -> ActorCell {
        self.actor().get_cell()
    }

    /// The lease to write a stream with. This store grants all.
    pub fn lease(&self, stream: &StreamId) -> Lease {
        Lease { shard: stream.shard(), epoch: self.epoch() }
    }

    /// The store's epoch: raised each time it is opened, by whomever.
    pub fn epoch(&self) -> u64 {
        self.0.shared.epoch.load(Ordering::Acquire)
    }

    /// Whether it takes writes now.
    pub fn is_writable(&self) -> bool {
        *self.0.shared.writable.borrow()
    }

    /// Waits until the store takes writes: at once, unless its engine is being opened again or its actor started again.
    pub async fn until_writable(&self) {
        let shared = &self.0.shared;
        let mut writable = shared.writable.subscribe();
        loop {
            // The sender is kept by what the handle holds: this cannot fail while the handle is there.
            let waited = tokio::time::timeout(LOOK_FOR_ROOM, writable.wait_for(|writable| *writable)).await.is_ok();
            if waited {
                return;
            }
            if shared.full.load(Ordering::Acquire) && self.0.home.has_room() {
                shared.has_room();
            }
        }
    }

    /// Appends a frame and its blobs; the new head is durable. On [`AppendError::Unknown`] read the head.
    pub async fn append(&self, append: Append) -> Result<Head, AppendError> {
        limit("the frame", append.frame.bytes().len(), FRAME_LIMIT)?;
        limit("the meta row", append.meta.as_ref().map_or(0, Vec::len), META_LIMIT)?;
        limit("the live row", append.live.len(), LIVE_LIMIT)?;
        let mut bytes = append.frame.bytes().len() + append.meta.as_ref().map_or(0, Vec::len);
        for blob in &append.blobs {
            limit("a blob", blob.bytes().len(), BLOB_LIMIT)?;
            bytes += blob.bytes().len();
        }
        let (reply, answer) = oneshot::channel();
        self.write(Work::Append(append, reply), bytes, answer).await
    }

    /// Writes what lists show of a stream, provided it still has that head; for what changes without an event.
    pub async fn mark(&self, mark: Mark) -> Result<(), AppendError> {
        limit("the meta row", mark.meta.len(), META_LIMIT)?;
        limit("the live row", mark.live.len(), LIVE_LIMIT)?;
        let bytes = mark.meta.len() + mark.live.len();
        let (reply, answer) = oneshot::channel();
        self.write(Work::Mark(Box::new(mark), reply), bytes, answer).await.map(drop)
    }

    /// Writes rows of the live index anew; with `complete` they are known to be all from then on.
    pub async fn list_live(&self, rows: Vec<(StreamId, LiveRow)>, complete: bool) -> Result<(), AppendError> {
        self.write_lives(Lives { rows, complete, layout: None }).await
    }

    async fn write_lives(&self, lives: Lives) -> Result<(), AppendError> {
        let mut bytes = 0;
        for (_, row) in &lives.rows {
            limit("the live row", row.len(), LIVE_LIMIT)?;
            bytes += row.len();
        }
        let (reply, answer) = oneshot::channel();
        self.write(Work::Live(lives, reply), bytes, answer).await
    }

    /// Whether the live index names every stream that is not over: not so after a release that knows none has written.
    pub fn live_is_whole(&self) -> bool {
        self.0.shared.reader.opened().live.get()
    }

    /// Visits the rows of the live index in order of workspaces and ids: workspace, id and bytes. For starting up: what is being
    /// written meanwhile may be among them already.
    pub async fn visit_live(
        &self,
        kind: StreamKind,
        mut visit: impl FnMut(&str, &str, &[u8]) + Send + 'static,
    ) -> Result<(), ReadError> {
        self.read_once(move |shared| live::visit(&*shared.reader.opened().engine, kind, &mut visit)).await
    }

    /// The workspaces that hold anything, in order.
    pub async fn workspaces(&self) -> Result<Vec<String>, ReadError> {
        self.read_with(move |shared| shared.reader.workspaces()).await
    }

    /// Makes blobs durable before the frames that name them.
    pub async fn put_blobs(&self, workspace: &str, blobs: Vec<Blob>) -> Result<(), AppendError> {
        stream::check_name("workspace", workspace).map_err(|_| AppendError::Invalid("this cannot name a workspace"))?;
        let mut bytes = 0;
        for blob in &blobs {
            limit("a blob", blob.bytes().len(), BLOB_LIMIT)?;
            bytes += blob.bytes().len();
        }
        let (reply, answer) = oneshot::channel();
        self.write(Work::Blobs(workspace.into(), blobs, reply), bytes, answer).await
    }

    /// Keeps a snapshot of a stream's state; the one before it is kept too.
    pub async fn put_snapshot(&self, stream: &StreamId, snapshot: Snapshot) -> Result<(), AppendError> {
        let bytes = snapshot.bytes.len();
        limit("the snapshot", bytes, SNAPSHOT_LIMIT)?;
        let (reply, answer) = oneshot::channel();
        self.write(Work::Snapshot(stream.clone(), snapshot, reply), bytes, answer).await
    }

    /// One cast to the actor, with a place in the queue; then the wait for the acknowledgement.
    async fn write<T>(
        &self,
        work: Work,
        bytes: usize,
        answer: oneshot::Receiver<Result<T, AppendError>>,
    ) -> Result<T, AppendError> {
        let permit = self.room(bytes).await?;
        let cast = {
            let actor = self.0.actor.read().unwrap_or_else(PoisonError::into_inner);
            actor.cast(StoreMsg::Write(Job { work, bytes, _permit: permit }))
        };
        cast.map_err(|_| AppendError::Unavailable("the store actor is down".into()))?;
        let answered = match self.0.home.inline() {
            true => answer.await,
            false => match self.while_others_are_answered(answer).await {
                Some(answered) => answered,
                None => return Err(AppendError::Unknown),
            },
        };
        answered.unwrap_or(Err(AppendError::Unknown))
    }

    /// Waits for an answer for as long as groups are written: what stands in a long queue before a slow disk is not lost.
    async fn while_others_are_answered<T>(
        &self,
        mut answer: oneshot::Receiver<T>,
    ) -> Option<Result<T, oneshot::error::RecvError>> {
        let groups = || self.0.shared.totals.groups.load(Ordering::Relaxed);
        loop {
            let before = groups();
            match tokio::time::timeout(self.0.options.timeout, &mut answer).await {
                Ok(answered) => return Some(answered),
                Err(_) if groups() == before => return None,
                Err(_) => {}
            }
        }
    }

    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AppendError> {
        let most = self.0.options.queue_bytes.div_ceil(QUEUE_UNIT).max(1);
        let units = bytes.div_ceil(QUEUE_UNIT).clamp(1, most);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let closed = |_| AppendError::Unavailable("the store is closed".into());
        self.0.queue.clone().acquire_many_owned(units).await.map_err(closed)
    }

    /// Reads run where they are called for an engine in memory, and on a blocking thread for one on a disk.
    /// What cannot be read because the engine is opened again just now is read when it is.
    async fn read_with<T: Send + 'static>(
        &self,
        read: impl Fn(&Shared) -> Result<T, ReadError> + Send + Sync + 'static,
    ) -> Result<T, ReadError> {
        let (shared, read) = (&self.0.shared, Arc::new(read));
        let deadline = tokio::time::Instant::now() + READ_PATIENCE;
        loop {
            let (number, stage) = shared.reader.stage();
            let once = read.clone();
            let found = self.read_once(move |shared| once(shared)).await;
            let passes = matches!(found, Err(ReadError::Unavailable(_))) && stage != Stage::Closed;
            if !passes || tokio::time::Instant::now() >= deadline {
                return found;
            }
            // An engine that takes writes and cannot be read would stay so: after an error of the disk sled hides pages that its log
            // has. It is opened again, once.
            if shared.reader.stage() == (number, Stage::Open)
                && (shared.suspected.swap(number + 1, Ordering::AcqRel) == number + 1
                    || self.actor().cast(StoreMsg::Suspect(number)).is_err())
            {
                return found;
            }
            // At the deadline it is tried once more.
            drop(tokio::time::timeout_at(deadline, shared.reader.another(number)).await);
        }
    }

    async fn read_once<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        if !self.0.shared.reader.opened().engine.blocks() {
            return read(&self.0.shared);
        }
        let shared = self.0.shared.clone();
        blocking(move || read(&shared)).await.map_err(ReadError::Unavailable)?
    }

    /// A stream's acknowledged head; [`Head::START`] if it does not exist.
    pub async fn head(&self, stream: &StreamId) -> Result<Head, ReadError> {
        let stream = stream.clone();
        self.read_with(move |shared| shared.reader.head(&stream)).await
    }

    /// Whether a stream was deleted.
    pub async fn is_deleted(&self, stream: &StreamId) -> Result<bool, ReadError> {
        let stream = stream.clone();
        self.read_with(move |shared| shared.reader.opened().is_gone(&stream)).await
    }

    /// What was last written beside an append of a stream: a projection, never an authority.
    pub async fn meta(&self, stream: &StreamId) -> Result<Option<Vec<u8>>, ReadError> {
        let stream = stream.clone();
        self.read_with(move |shared| shared.reader.meta(&stream)).await
    }

    /// A stream's acknowledged head, and what was last written beside an append.
    pub async fn listing(&self, stream: &StreamId) -> Result<(Head, Option<Arc<[u8]>>), ReadError> {
        if let Some((head, meta)) = self.0.shared.reader.recent.get(stream) {
            return Ok((head, Some(meta)));
        }
        let stream = stream.clone();
        self.read_with(move |shared| Ok((shared.reader.head(&stream)?, shared.reader.meta(&stream)?.map(Arc::from)))).await
    }

    /// The acknowledged frames, beginning with the one that holds `from_seq`: at least one if there is one, then as
    /// many as `max_bytes` holds. Their hashes, their order and their chain are checked, save the first one's link.
    pub async fn read(&self, stream: &StreamId, from_seq: u64, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        let stream = stream.clone();
        self.read_with(move |shared| shared.reader.read(&stream, from_seq, max_bytes)).await
    }

    /// Like [`Store::read`] from the event after a known head, whose hash the first frame must name: so a whole stream
    /// read page by page from [`Head::START`], or from a snapshot, is one checked chain.
    pub async fn read_after(&self, stream: &StreamId, head: &Head, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        let (stream, head) = (stream.clone(), *head);
        self.read_with(move |shared| {
            let frames = shared.reader.read(&stream, head.seq + 1, max_bytes)?;
            if let Some(first) = frames.first() {
                let damaged =
                    |e: frame::FrameDamage| ReadError::Damaged(Damage::of_stream(&stream, first.header.first_seq, e.to_string()));
                first.follows(&head).map_err(damaged)?;
            }
            Ok(frames)
        })
        .await
    }

    /// The streams of a kind in a workspace, in order of ids, after a given one; at most `limit`.
    pub async fn streams(
        &self,
        workspace: &str,
        kind: StreamKind,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Listed>, ReadError> {
        let (workspace, after) = (workspace.to_string(), after.cloned());
        self.read_with(move |shared| shared.reader.list(Some((&workspace, kind)), after.as_ref(), limit)).await
    }

    /// The streams of a kind in a workspace from the last one back, or those before a given one; at most `limit` of those
    /// that `keep` wants, which sees name and meta row. The heads of the others are not looked at.
    pub async fn newest(
        &self,
        workspace: &str,
        kind: StreamKind,
        before: Option<&StreamId>,
        limit: usize,
        keep: impl Fn(&StreamId, Option<&[u8]>) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Listed>, ReadError> {
        let (workspace, before) = (workspace.to_string(), before.cloned());
        self.read_with(move |shared| shared.reader.newest((&workspace, kind), before.as_ref(), limit, &keep)).await
    }

    /// The streams of all workspaces, for starting up and for maintenance; at most `limit` after a given one.
    pub async fn every_stream(&self, after: Option<&StreamId>, limit: usize) -> Result<Vec<Listed>, ReadError> {
        let after = after.cloned();
        self.read_with(move |shared| shared.reader.list(None, after.as_ref(), limit)).await
    }

    /// A blob of a workspace; `None` if it has none of that name. Its bytes are compared with its name.
    pub async fn blob(&self, workspace: &str, name: Hash32) -> Result<Option<Vec<u8>>, ReadError> {
        let workspace = workspace.to_string();
        self.read_with(move |shared| blob::read_blob(&*shared.reader.opened().engine, &workspace, &name)).await
    }

    /// A stream's newest snapshot that can be read. One beyond the acknowledged head is passed over.
    pub async fn newest_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, ReadError> {
        let stream = stream.clone();
        self.read_with(move |shared| {
            let found = blob::newest_snapshot(&*shared.reader.opened().engine, &stream);
            let (snapshot, _) = found.map_err(ReadError::of_stream(&stream, None))?;
            let Some(snapshot) = snapshot else { return Ok(None) };
            let head = shared.reader.head(&stream)?;
            Ok((snapshot.seq <= head.seq).then_some(snapshot))
        })
        .await
    }

    /// The format of its files and keys.
    pub fn format(&self) -> u32 {
        self.0.home.format()
    }

    /// Reads everything and says what is wrong.
    pub async fn check(&self) -> Result<CheckReport, ReadError> {
        let _alone = self.0.upkeep.read().await;
        let shared = self.0.shared.clone();
        blocking(move || check::check(&shared.reader)).await.map_err(ReadError::Unavailable)?
    }

    /// What was found wrong when the store was opened.
    pub fn damage(&self) -> Vec<Damage> {
        self.0.shared.reader.opened().damage.clone()
    }

    /// Totals since it was opened.
    pub fn stats(&self) -> Stats {
        let totals = &self.0.shared.totals;
        let read = |total: &std::sync::atomic::AtomicU64| total.load(Ordering::Relaxed);
        Stats {
            groups: read(&totals.groups),
            writes: read(&totals.jobs),
            bytes: read(&totals.bytes),
            syncs: read(&totals.syncs),
            commit: Duration::from_nanos(read(&totals.commit_nanos)),
        }
    }

    /// The engine's name, what an acknowledgement promises, and how many bytes it takes.
    pub fn engine(&self) -> (&'static str, Durability, u64) {
        let engine = self.0.shared.reader.opened().engine.clone();
        (engine.name(), self.0.home.durability(), engine.size_bytes())
    }

    /// Writes what is queued, syncs and lets go of all files. Every later write is refused, and with files every read.
    pub async fn close(&self) -> Result<(), String> {
        self.0.queue.close();
        let (reply, answer) = oneshot::channel();
        self.actor().cast(StoreMsg::Close(reply)).map_err(|e| format!("the store actor is down: {e}"))?;
        answer.await.unwrap_or_else(|_| Err("the store actor died while closing".into()))
    }
}

fn limit(what: &'static str, bytes: usize, limit: usize) -> Result<(), AppendError> {
    if bytes > limit { Err(AppendError::TooLarge { what, bytes, limit }) } else { Ok(()) }
}
