//! A run from its log: the newest valid snapshot and the tail, or all of it. The one code path by which a run comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use commedia_domain::event::{Created, Event};
use commedia_domain::id::Hash32;
use commedia_domain::run::Run;
use commedia_domain::run::state::STATE_VERSION;
use commedia_domain::scenario::compile_bundle;
use commedia_domain::scenario::{Bundle, Scenario};

use crate::live::LoadedRun;
use crate::log::{LoadError, StoredEvent, decode, read_page};
use crate::meta::{RunMeta, run_stream};
use crate::points::{Point, pass};
use crate::scope::{ScopedRun, WorkspaceId};
use crate::store::blob::Blob;
use crate::store::digest::Digest;
use crate::store::frame::{Cause, FrameBuilder, Lane};
use crate::store::live::LiveRow;
use crate::store::{Append, AppendError, Head, Store, StreamId, StreamKind};

/// A run folded from its log, ready to go on.
pub(crate) struct Recovered {
    pub(crate) stream: StreamId,
    pub(crate) loaded: LoadedRun,
    pub(crate) digest: Digest,
    pub(crate) meta: RunMeta,
    /// Events that its newest snapshot covers.
    pub(crate) snapshot_at: u64,
}

/// Scenario versions this process has compiled, and stored: each in the workspaces that use it.
#[derive(Default)]
pub(crate) struct Scenarios {
    known: Mutex<HashMap<(WorkspaceId, Hash32), Arc<Scenario>>>,
}

impl Scenarios {
    fn get(&self, workspace: &WorkspaceId, hash: &Hash32) -> Option<Arc<Scenario>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(workspace.clone(), *hash)).cloned()
    }

    fn keep(&self, workspace: &WorkspaceId, scenario: &Arc<Scenario>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert((workspace.clone(), scenario.hash), scenario.clone());
    }

    /// Makes a scenario version durable before the first run of it is.
    pub(crate) async fn store(
        &self,
        store: &Store,
        workspace: &WorkspaceId,
        scenario: &Arc<Scenario>,
        wall_ms: i64,
    ) -> Result<(), LoadError> {
        if self.get(workspace, &scenario.hash).is_some() {
            return Ok(());
        }
        let stream = scenario_stream(workspace, &scenario.hash)?;
        if store.head(&stream).await? == Head::START {
            let bytes = postcard::to_stdvec(&scenario.bundle).map_err(|e| LoadError::Scenario(e.to_string()))?;
            let blob = Blob::new(bytes);
            let cause = Cause {
                kind: "scenario".into(),
                id: scenario.hash,
                payload_hash: scenario.hash,
                principal: "local".into(),
                wall_ms,
            };
            let lease = store.lease(&stream);
            let mut frame = FrameBuilder::new(commedia_domain::event::ENGINE, &Head::START, lease.epoch, cause);
            let full = |_| LoadError::Scenario("its name is too long for a frame".into());
            frame.push(Lane::Canonical, &blob.name().0).map_err(full)?;
            frame.name_blob(blob.name()).map_err(full)?;
            let Some(frame) = frame.encode() else { return Ok(()) };
            pass(Point::ScenarioBefore);
            let append =
                Append { stream, expected: Head::START, lease, frame, blobs: vec![blob], meta: None, live: LiveRow::Keep };
            match store.append(append).await {
                // Two runs of a new version may begin at once: either may write it.
                Ok(_) | Err(AppendError::Conflict { .. }) => {}
                Err(e) => return Err(e.into()),
            }
            pass(Point::ScenarioAfter);
        }
        self.keep(workspace, scenario);
        Ok(())
    }

    /// The scenario of a stored run: the version it began with, whatever the author's file says now.
    pub(crate) async fn load(&self, store: &Store, workspace: &WorkspaceId, hash: &Hash32) -> Result<Arc<Scenario>, LoadError> {
        if let Some(scenario) = self.get(workspace, hash) {
            return Ok(scenario);
        }
        let stream = scenario_stream(workspace, hash)?;
        let missing = || LoadError::Scenario(format!("version {hash} is not in the store"));
        let frames = store.read(&stream, 1, 1 << 20).await?;
        let record = frames.first().and_then(|f| f.records.first()).ok_or_else(missing)?;
        let name = Hash32(record.bytes.as_slice().try_into().map_err(|_| missing())?);
        let bytes = store.blob(workspace.as_str(), name).await?.ok_or_else(missing)?;
        let bundle: Bundle = postcard::from_bytes(&bytes).map_err(|e| LoadError::Scenario(e.to_string()))?;
        let scenario = compile_bundle(&bundle)
            .map_err(|faults| LoadError::Scenario(faults.first().map_or_else(|| "it has faults".into(), ToString::to_string)))?;
        if scenario.hash != *hash {
            return Err(LoadError::Scenario(format!("it compiles to version {}, not {hash}", scenario.hash)));
        }
        let scenario = Arc::new(scenario);
        self.keep(workspace, &scenario);
        Ok(scenario)
    }
}

fn scenario_stream(workspace: &WorkspaceId, hash: &Hash32) -> Result<StreamId, LoadError> {
    StreamId::new(workspace.as_str(), StreamKind::Scenario, &hash.to_string()).map_err(|e| LoadError::Scenario(e.to_string()))
}

/// The stream of a run that must exist.
pub(crate) fn stream_of(id: &ScopedRun) -> Result<StreamId, LoadError> {
    run_stream(id).map_err(|_| LoadError::Unknown(id.to_string()))
}

/// Bytes of frames that somebody who reads on from a cursor is given at once; one may be larger.
const FOLLOWED_BYTES: usize = 64 * 1024;

/// A short page of a run's events from one on, decoded; empty behind the last. A reader may keep it for long.
pub(crate) async fn page(store: &Store, stream: &StreamId, from_seq: u64) -> Result<Vec<StoredEvent>, LoadError> {
    let frames = store.read(stream, from_seq, FOLLOWED_BYTES).await?;
    let (mut page, _) = decode(store, stream, frames, &Head::START).await?;
    page.retain(|event| event.seq >= from_seq);
    Ok(page)
}

/// All events of a run from one on, decoded.
pub(crate) async fn events(store: &Store, id: &ScopedRun, from_seq: u64) -> Result<Vec<StoredEvent>, LoadError> {
    let stream = stream_of(id)?;
    let mut events = Vec::new();
    let mut head = Head::START;
    loop {
        let (page, end) = read_page(store, &stream, &head).await?;
        if page.is_empty() {
            break;
        }
        head = end.head;
        events.extend(page.into_iter().filter(|e| e.seq >= from_seq));
    }
    if head == Head::START { Err(LoadError::Unknown(id.to_string())) } else { Ok(events) }
}

/// The first event of a run.
pub(crate) async fn created(store: &Store, stream: &StreamId, id: &ScopedRun) -> Result<(Created, i64), LoadError> {
    let frames = store.read(stream, 1, 1).await?;
    let first = frames.first().ok_or_else(|| LoadError::Unknown(id.to_string()))?;
    let record = first.records.first().ok_or_else(|| LoadError::Unknown(id.to_string()))?;
    let mut event = Event::decode(&record.bytes).map_err(|e| LoadError::damaged(stream, 1, e.to_string()))?;
    let mut missing = Vec::new();
    event.bodies(&mut |b| missing.extend(b.missing()));
    for name in missing {
        let bytes = store.blob(stream.workspace(), name).await?;
        event.bodies_mut(&mut |body| {
            if body.missing() == Some(name)
                && let Some(bytes) = &bytes
                && body.fill(bytes).is_err()
            {
                tracing::warn!(%stream, %name, "a parameter's blob cannot be read");
            }
        });
    }
    match event {
        Event::RunCreated(created) => Ok((*created, first.header.cause.wall_ms)),
        other => Err(LoadError::damaged(stream, 1, format!("the first event is `{}`, not `run.created`", other.name()))),
    }
}

/// Folds a run from its log: zero calls.
pub(crate) async fn recover(store: &Store, scenarios: &Scenarios, id: &ScopedRun) -> Result<Recovered, LoadError> {
    pass(Point::RecoverBefore);
    let stream = stream_of(id)?;
    let (created, started_ms) = created(store, &stream, id).await?;
    let scenario = scenarios.load(store, id.workspace(), &created.scenario_hash).await?;
    let mut meta = RunMeta::of(&created, started_ms);
    let (mut run, mut head, mut digest) = match snapshot(store, &stream, &scenario).await? {
        Some(found) => found,
        None => (Run::new(scenario, created), Head::START, Digest::new()),
    };
    pass(Point::RecoverSnapshot);
    let snapshot_at = head.seq;
    let mut last_ms = started_ms;
    let mut first = head == Head::START;
    loop {
        let (events, end) = read_page(store, &stream, &head).await?;
        let Some(last) = events.last() else { break };
        last_ms = last.wall_ms;
        for event in &events {
            if std::mem::take(&mut first) {
                continue;
            }
            run.apply(&event.event);
        }
        end.canonical.iter().for_each(|payload| digest.update(payload));
        head = end.head;
    }
    // A frame's time is that of its command; when its append was made stands beside it.
    // That row is no part of the log: a run whose row cannot be read is loaded all the same.
    if let Ok(Some(bytes)) = store.meta(&stream).await
        && let Some(written) = RunMeta::decode(&bytes).filter(|m| m.events == head.seq)
    {
        last_ms = last_ms.max(written.updated_ms);
    }
    meta.status = run.state().status.word().into();
    meta.updated_ms = last_ms;
    let ended_ms = run.state().status.ended().map(|_| last_ms);
    let loaded = LoadedRun { id: id.id().clone(), run, digest: digest.value(), head, started_ms, ended_ms };
    pass(Point::RecoverAfter);
    Ok(Recovered { stream, loaded, digest, meta, snapshot_at })
}

/// A run as it stood after an event, and which event that is: the one asked for, or the last one stored.
pub(crate) async fn fold_to(store: &Store, scenarios: &Scenarios, id: &ScopedRun, seq: u64) -> Result<(Run, u64), LoadError> {
    let stream = stream_of(id)?;
    let (created, _) = created(store, &stream, id).await?;
    let scenario = scenarios.load(store, id.workspace(), &created.scenario_hash).await?;
    let found = snapshot(store, &stream, &scenario).await?.filter(|(_, head, _)| head.seq <= seq);
    let (mut run, mut head) = found.map_or_else(|| (Run::new(scenario, created), Head::START), |(run, head, _)| (run, head));
    // The first event is what the run was made from.
    let mut reached = head.seq.max(1);
    loop {
        let (events, end) = read_page(store, &stream, &head).await?;
        let known = reached;
        for event in events.iter().filter(|event| event.seq > known && event.seq <= seq) {
            run.apply(&event.event);
            reached = event.seq;
        }
        head = end.head;
        if events.last().is_none_or(|last| last.seq >= seq) {
            return Ok((run, reached));
        }
    }
}

/// The newest snapshot of this state version whose head is the log's; a damaged or older one is passed over.
async fn snapshot(store: &Store, stream: &StreamId, scenario: &Arc<Scenario>) -> Result<Option<(Run, Head, Digest)>, LoadError> {
    let Some(found) = store.newest_snapshot(stream).await? else { return Ok(None) };
    if found.state_version != u32::from(STATE_VERSION) {
        return Ok(None);
    }
    let head = Head { seq: found.seq, hash: found.head_hash };
    let run = Run::restore(scenario.clone(), &found.bytes);
    Ok(run.ok().map(|run| (run, head, Digest::resume(found.digest))))
}
