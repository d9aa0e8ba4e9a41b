//! Scenarios that a workspace keeps by name: each name has a stream of versions, the newest being what the name means.
//!
//! ```text
//! put ──another document──▶ version n + 1        put ──the same──▶ version n, nothing written        removed ──put──▶ version n + 1
//! ```
//! A version names a bundle, which is stored once and stays for the runs that play it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use commedia_domain::event::ENGINE;
use commedia_domain::id::Hash32;
use commedia_domain::scenario::Scenario;
use serde::{Deserialize, Serialize};

use crate::log::{LoadError, cause};
use crate::runtime::Runtime;
use crate::scope::WorkspaceId;
use crate::store::frame::{FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Head, StreamId, StreamKind};

/// Names of a workspace at most.
pub const NAMES: usize = 1_000;
/// Streams of names are told from those of bundles by this.
const PREFIX: &str = "name-";
/// Bytes of a stream of versions that are read at once.
const PAGE_BYTES: usize = 1024 * 1024;
/// Streams that are listed at once.
const PAGE: usize = 1_000;

/// What happens to a name, as it is stored. The order of the variants is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum NameEvent {
    Put { hash: [u8; 32], about: String },
    Removed,
}

/// A version of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which: the first is 1.
    pub number: u64,
    /// The hash of its bundle.
    pub hash: Hash32,
    /// What it is for, as the document says.
    pub about: String,
    /// When it was put, milliseconds since 1970 UTC.
    pub put_ms: i64,
    /// Who put it.
    pub by: Arc<str>,
}

/// A name with all its versions, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Its versions.
    pub versions: Vec<Version>,
    /// Whether it means nothing for now.
    pub removed: bool,
    head: Head,
}

impl Named {
    /// What the name means now.
    pub fn newest(&self) -> Option<&Version> {
        self.versions.last().filter(|_| !self.removed)
    }
}

/// Why a scenario was not put, or removed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// There is none of this name.
    #[error("there is no scenario `{0}` here")]
    Unknown(String),
    /// The name means another version than the caller thought.
    #[error("`{name}` is at version {version} by now")]
    Changed {
        /// The name.
        name: String,
        /// What it means; 0: nothing.
        version: u64,
    },
    /// There are too many.
    #[error("there are {0} scenarios already, and no more can be")]
    Full(usize),
    /// The store.
    #[error("{0}")]
    Load(#[from] LoadError),
}

/// What is known of names, so that each is read once.
#[derive(Default)]
pub(crate) struct Catalogue(Mutex<HashMap<WorkspaceId, HashMap<String, Arc<Named>>>>);

impl Catalogue {
    fn get(&self, workspace: &WorkspaceId, name: &str) -> Option<Arc<Named>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(workspace)?.get(name).cloned()
    }

    fn keep(&self, workspace: &WorkspaceId, named: Arc<Named>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(workspace.clone()).or_default().insert(named.name.clone(), named);
    }
}

impl Runtime {
    fn name_stream(&self, name: &str) -> Result<StreamId, CatalogueError> {
        let stream = StreamId::new(self.workspace.as_str(), StreamKind::Scenario, &format!("{PREFIX}{name}"));
        stream.map_err(|_| CatalogueError::Unknown(name.chars().take(64).collect()))
    }

    /// A name with its versions; one that was never put has none.
    pub async fn named(&self, name: &str) -> Result<Arc<Named>, CatalogueError> {
        if let Some(known) = self.shared.catalogue.get(&self.workspace, name) {
            return Ok(known);
        }
        let stream = self.name_stream(name)?;
        let mut named = Named { name: name.to_owned(), versions: Vec::new(), removed: false, head: Head::START };
        loop {
            let frames = self.shared.store.read_after(&stream, &named.head, PAGE_BYTES).await.map_err(LoadError::from)?;
            let Some(last) = frames.last() else { break };
            named.head = last.head();
            for frame in &frames {
                let cause = &frame.header.cause;
                for (seq, record) in frame.events() {
                    let event = postcard::from_bytes(&record.bytes);
                    match event.map_err(|e| LoadError::damaged(&stream, seq, e.to_string()))? {
                        NameEvent::Put { hash, about } => named.put(Hash32(hash), about, cause.wall_ms, cause.principal.clone()),
                        NameEvent::Removed => named.removed = true,
                    }
                }
            }
        }
        let named = Arc::new(named);
        if named.head != Head::START {
            self.shared.catalogue.keep(&self.workspace, named.clone());
        }
        Ok(named)
    }

    /// All names that mean something, in order.
    pub async fn catalogue(&self) -> Result<Vec<Arc<Named>>, CatalogueError> {
        let (workspace, mut names) = (self.workspace.as_str(), Vec::new());
        let mut after = self.name_stream("!")?;
        loop {
            let page =
                self.shared.store.streams(workspace, StreamKind::Scenario, Some(&after), PAGE).await.map_err(LoadError::from)?;
            let Some(last) = page.last() else { break };
            after = last.stream.clone();
            // Bundles stand before names: a hash begins with no letter behind `f`.
            names.extend(page.iter().filter_map(|listed| listed.stream.id().strip_prefix(PREFIX)).map(str::to_owned));
            if page.len() < PAGE {
                break;
            }
        }
        let mut all = Vec::new();
        for name in names {
            all.push(self.named(&name).await?);
        }
        all.retain(|named| named.newest().is_some());
        Ok(all)
    }

    /// A version of a scenario by its name: the newest, or another one.
    pub async fn scenario(&self, name: &str, number: Option<u64>) -> Result<(Version, Arc<Scenario>), CatalogueError> {
        let named = self.named(name).await?;
        let unknown = || CatalogueError::Unknown(number.map_or_else(|| name.to_owned(), |number| format!("{name}@{number}")));
        let version = match number {
            Some(number) => named.versions.iter().find(|version| version.number == number && !named.removed),
            None => named.newest(),
        };
        let version = version.ok_or_else(unknown)?.clone();
        let scenario = self.scenarios.load(&self.shared.store, &self.workspace, &version.hash).await?;
        Ok((version, scenario))
    }

    /// Puts a scenario under its name, durably, and says whether that is a new version; only where `may` says so of what the name
    /// means.
    pub async fn put_scenario(
        &self,
        scenario: &Arc<Scenario>,
        about: &str,
        may: impl Fn(Option<&Version>) -> bool + Send,
    ) -> Result<(Version, bool), CatalogueError> {
        let name = scenario.name.to_string();
        let now = self.shared.clock.now_ms();
        loop {
            let named = self.named(&name).await?;
            let newest = named.newest();
            if !may(newest) {
                return Err(CatalogueError::Changed { name, version: newest.map_or(0, |version| version.number) });
            }
            if let Some(same) = newest.filter(|version| version.hash == scenario.hash) {
                return Ok((same.clone(), false));
            }
            if newest.is_none() && self.catalogue().await?.len() >= NAMES {
                return Err(CatalogueError::Full(NAMES));
            }
            self.scenarios.store(&self.shared.store, &self.workspace, scenario, now).await?;
            let event = NameEvent::Put { hash: scenario.hash.0, about: about.to_owned() };
            if let Some(head) = self.append_name(&named, &event, now).await? {
                let mut next = Named { head, ..Named::clone(&named) };
                next.put(scenario.hash, about.to_owned(), now, self.principal.clone());
                let next = Arc::new(next);
                self.shared.catalogue.keep(&self.workspace, next.clone());
                let version = next.newest().cloned().ok_or_else(|| CatalogueError::Unknown(name.clone()))?;
                return Ok((version, true));
            }
        }
    }

    /// The name means nothing any more; runs of it go on.
    pub async fn remove_scenario(&self, name: &str, may: impl Fn(&Version) -> bool) -> Result<(), CatalogueError> {
        loop {
            let named = self.named(name).await?;
            match named.newest() {
                None => return Err(CatalogueError::Unknown(name.chars().take(64).collect())),
                Some(newest) if !may(newest) => {
                    return Err(CatalogueError::Changed { name: name.into(), version: newest.number });
                }
                Some(_) => {}
            }
            if let Some(head) = self.append_name(&named, &NameEvent::Removed, self.shared.clock.now_ms()).await? {
                let next = Named { head, removed: true, ..Named::clone(&named) };
                self.shared.catalogue.keep(&self.workspace, Arc::new(next));
                return Ok(());
            }
        }
    }

    /// Appends to a name's stream; `None` where somebody was quicker, and it is read again.
    async fn append_name(&self, named: &Named, event: &NameEvent, now: i64) -> Result<Option<Head>, CatalogueError> {
        let stream = self.name_stream(&named.name)?;
        let lease = self.shared.store.lease(&stream);
        let mut frame = FrameBuilder::new(ENGINE, &named.head, lease.epoch, cause("catalogue", &self.principal, &[], now));
        let bytes = postcard::to_stdvec(event).map_err(|e| LoadError::Stopped(e.to_string()))?;
        frame.push(Lane::Operational, &bytes).map_err(|_| LoadError::Stopped("an event does not fit into a frame".into()))?;
        let Some(frame) = frame.encode() else { return Ok(None) };
        let append = Append { stream, expected: named.head, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
        match self.shared.store.append(append).await {
            Ok(head) => Ok(Some(head)),
            Err(AppendError::Conflict { .. }) => {
                let mut known = self.shared.catalogue.0.lock().unwrap_or_else(PoisonError::into_inner);
                known.entry(self.workspace.clone()).or_default().remove(&named.name);
                Ok(None)
            }
            Err(e) => Err(LoadError::from(e).into()),
        }
    }
}

impl Named {
    fn put(&mut self, hash: Hash32, about: String, put_ms: i64, by: Arc<str>) {
        let number = self.versions.last().map_or(1, |version| version.number + 1);
        self.versions.push(Version { number, hash, about, put_ms, by });
        self.removed = false;
    }
}
