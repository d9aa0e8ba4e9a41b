//! Where a store lives: how its engine is opened, and opened again after an error. Each engine is named here once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claim::{Claimed, claim, go_on};
use super::compact::Folders;
use super::directory::{Directory, STORE_FORMAT};
use super::disk::{Disk, forget};
use super::engine::{Durability, Engine, EngineError};
use super::error::OpenError;
use super::fjall::FjallEngine;
use super::highwater::{HighWater, Marks};
use super::listing::Layout;
use super::memory::MemoryEngine;
use super::reader::Reader;
use super::sled::SledEngine;
use crate::points::{Point, pass};

/// Opens an engine; called again after an error. Tests hand in engines that fail on demand.
pub type OpenEngine = dyn Fn() -> Result<Arc<dyn Engine>, EngineError> + Send + Sync;

/// A write of moderate size.
const LITTLE_BYTES: usize = 256 * 1024;

/// Opens an engine in a folder.
type OpenAt = dyn Fn(&Path) -> Result<Arc<dyn Engine>, EngineError> + Send + Sync;

/// The engines that keep files: their word in a URL, which is their folder's name too.
pub const ENGINES: [&str; 2] = ["sled", "fjall"];

/// The engine and the directory of a URL like `sled://DIR`; `None` for `memory:` and for what is no store.
pub fn place(url: &str) -> Option<(&'static str, &Path)> {
    let (word, dir) = url.split_once("://")?;
    let engine = ENGINES.into_iter().find(|engine| *engine == word)?;
    (!dir.is_empty()).then(|| (engine, Path::new(dir)))
}

/// A store's place.
pub(crate) struct Home {
    engine: Box<OpenEngine>,
    /// The engine's folder, and how one is opened at another.
    files: Option<(PathBuf, Box<OpenAt>)>,
    directory: Mutex<Option<Directory>>,
    high_water: Option<PathBuf>,
    durability: Durability,
    layout: Layout,
    inline: bool,
}

impl Home {
    /// The place that a URL names; a directory is locked from here on.
    pub(crate) fn at(url: &str, durability: Durability, cache_bytes: u64) -> Result<Home, OpenError> {
        if url == "memory:" {
            let memory = MemoryEngine::new();
            return Ok(Home::new(Box::new(move || Ok(Arc::new(memory.clone()))), durability, true));
        }
        let (engine, path) = place(url).ok_or_else(|| OpenError::Url(url.into()))?;
        Home::in_directory(path, engine, durability, move |dir| {
            Ok(match engine {
                "fjall" => Arc::new(FjallEngine::open(dir, cache_bytes)?),
                _ => Arc::new(SledEngine::open(dir, cache_bytes)?),
            })
        })
    }

    /// A place without files; `inline`: the engine never waits, so the actor itself writes.
    pub(crate) fn new(engine: Box<OpenEngine>, durability: Durability, inline: bool) -> Home {
        let layout = Layout::of(STORE_FORMAT);
        Home { engine, files: None, directory: Mutex::new(None), high_water: None, durability, layout, inline }
    }

    fn in_directory(
        path: &Path,
        engine: &str,
        durability: Durability,
        open: impl Fn(&Path) -> Result<Arc<dyn Engine>, EngineError> + Send + Sync + Clone + 'static,
    ) -> Result<Home, OpenError> {
        let directory = Directory::open(path, engine)?;
        let dir = directory.engine_dir(engine);
        Ok(Home {
            high_water: Some(directory.high_water()),
            layout: Layout::of(directory.format()),
            directory: Mutex::new(Some(directory)),
            files: Some((dir.clone(), Box::new(open.clone()))),
            engine: Box::new(move || {
                let settled = Folders::of(&dir).settle();
                settled.map_err(|e| EngineError::Failed(format!("cannot end a compaction in {}: {e}", dir.display())))?;
                open(&dir)
            }),
            durability,
            inline: false,
        })
    }

    pub(crate) fn inline(&self) -> bool {
        self.inline
    }

    /// The store's format; what has no files has the newest.
    pub(crate) fn format(&self) -> u32 {
        self.hold().as_ref().map_or(STORE_FORMAT, Directory::format)
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Opens the engine, looks it over and claims it. The high-water mark is read meanwhile: both take a while where a store
    /// is large.
    pub(crate) fn open(&self) -> Result<Claimed, OpenError> {
        if self.high_water.is_none() {
            return self.claim((self.engine)()?);
        }
        let (engine, marks) = std::thread::scope(|scope| {
            let marks = scope.spawn(|| self.marks());
            ((self.engine)(), marks.join())
        });
        let panicked = |_| OpenError::Failed("reading the high-water mark panicked".into());
        claim(engine?, marks.map_err(panicked)??, self.durability, self.layout)
    }

    /// The folders that take part in a compaction, where there are files.
    pub(crate) fn folders(&self) -> Option<Folders> {
        self.files.as_ref().map(|(dir, _)| Folders::of(dir))
    }

    /// Whether the disk has room for a write of moderate size.
    pub(crate) fn has_room(&self) -> bool {
        let dir = self.high_water.as_deref().and_then(Path::parent);
        dir.is_none_or(|dir| Disk::of(dir).no_room(LITTLE_BYTES, false).is_none())
    }

    /// Keeps the folder from being let go of.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Option<Directory>> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an engine of the same kind in another folder.
    pub(crate) fn engine_at(&self, folder: &Path) -> Result<Arc<dyn Engine>, EngineError> {
        self.files.as_ref().map_or(Err(EngineError::Closed), |(_, open)| open(folder))
    }

    /// Goes on in the same epoch with the engine that was given, or with the one that has taken its place.
    pub(crate) fn go_on(&self, engine: Option<Arc<dyn Engine>>) -> Result<Claimed, OpenError> {
        let marks = self.marks()?.ok_or_else(|| OpenError::Failed("there is no high-water mark".into()))?;
        let engine = engine.map_or_else(|| (self.engine)(), Ok)?;
        go_on(engine, marks, self.durability, self.layout)
    }

    /// Claims an engine that is open already.
    pub(crate) fn claim(&self, engine: Arc<dyn Engine>) -> Result<Claimed, OpenError> {
        claim(engine, self.marks()?, self.durability, self.layout)
    }

    fn marks(&self) -> Result<Option<(HighWater, Marks)>, OpenError> {
        let read = |path: &PathBuf| {
            HighWater::open(path)
                .map_err(|e| OpenError::Failed(format!("cannot read the high-water mark {}: {e}", path.display())))
        };
        self.high_water.as_ref().map(read).transpose()
    }

    /// Opens the engine again after an error. While the disk takes nothing the old one goes on serving reads; while there
    /// is none, they wait.
    pub(crate) fn reopen(&self, reader: &Reader) -> Result<Claimed, OpenError> {
        let directory = self.hold();
        if self.high_water.is_some() && directory.is_none() {
            return Err(OpenError::Failed("it was closed meanwhile".into()));
        }
        if let Some(directory) = &*directory {
            directory.probe().map_err(|e| OpenError::Failed(format!("the disk takes nothing: {e}")))?;
        }
        if let Err(e) = reader.opened().engine.close() {
            tracing::warn!("closing the engine after an error: {e}");
        }
        if let Some(directory) = &*directory
            && let Err(e) = forget(directory.path())
        {
            tracing::warn!("the store's files are read as the system remembers them: {e}");
        }
        pass(Point::ReopenBefore);
        let claimed = self.open()?;
        pass(Point::ReopenAfter);
        Ok(claimed)
    }

    /// Closes the engine and lets go of the directory.
    pub(crate) fn close(&self, engine: &dyn Engine) -> Result<(), EngineError> {
        pass(Point::CloseBefore);
        let closed = engine.close();
        pass(Point::CloseAfter);
        drop(self.hold().take());
        closed
    }
}
