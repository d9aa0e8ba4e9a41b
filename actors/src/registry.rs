//! Which actor works on which run, in this process, and who waits for runs that have none. Nobody keeps an `ActorRef`
//! beside it.

use std::sync::Arc;

use dashmap::DashMap;
use ractor::{ActorId, ActorRef};

use crate::follow::Topic;
use crate::live::Live;
use crate::orchestrator::OrchestratorMsg;
use crate::scope::{ScopedRun, WorkspaceId};

/// Live runs by id.
#[derive(Default)]
pub struct Registry {
    live: DashMap<ScopedRun, ActorRef<OrchestratorMsg>>,
    parked: DashMap<ScopedRun, Arc<Live>>,
    /// Runs that somebody follows, with how many do.
    topics: DashMap<ScopedRun, (Arc<Topic>, usize)>,
}

impl Registry {
    /// The orchestrator of a live run.
    pub(crate) fn get(&self, run: &ScopedRun) -> Option<ActorRef<OrchestratorMsg>> {
        self.live.get(run).map(|entry| entry.value().clone())
    }

    /// A run is live; false where it was already.
    pub(crate) fn insert(&self, run: ScopedRun, actor: ActorRef<OrchestratorMsg>) -> bool {
        match self.live.entry(run) {
            dashmap::Entry::Occupied(_) => false,
            dashmap::Entry::Vacant(slot) => {
                slot.insert(actor);
                true
            }
        }
    }

    /// A run is no longer live here.
    pub(crate) fn remove(&self, run: &ScopedRun) {
        self.live.remove(run);
    }

    /// An orchestrator has died: the run is no longer live here, unless another one works on it by now.
    pub(crate) fn remove_dead(&self, run: &ScopedRun, actor: ActorId) {
        self.live.remove_if(run, |_, registered| registered.get_id() == actor);
    }

    /// Somebody waits for a run that has no orchestrator for the time being.
    pub(crate) fn park(&self, live: Arc<Live>) {
        self.parked.insert(live.id.clone(), live);
    }

    /// Whoever waits for a run that has no orchestrator.
    pub(crate) fn unpark(&self, run: &ScopedRun) -> Option<Arc<Live>> {
        self.parked.remove(run).map(|(_, live)| live)
    }

    /// Takes one that was parked back; false where another has been put there, or it was taken already.
    pub(crate) fn unpark_same(&self, live: &Arc<Live>) -> bool {
        self.parked.remove_if(&live.id, |_, parked| Arc::ptr_eq(parked, live)).is_some()
    }

    /// Whether somebody waits for a run that has no orchestrator.
    pub(crate) fn is_parked(&self, run: &ScopedRun) -> bool {
        self.parked.contains_key(run)
    }

    /// All runs that somebody waits for and that have no orchestrator.
    pub(crate) fn all_parked(&self) -> Vec<Arc<Live>> {
        self.parked.iter().map(|e| e.value().clone()).collect()
    }

    /// What the followers of a run share, if it has any.
    pub(crate) fn topic(&self, run: &ScopedRun) -> Option<Arc<Topic>> {
        self.topics.get(run).map(|entry| entry.value().0.clone())
    }

    /// One more follows a run.
    pub(crate) fn enter(&self, run: &ScopedRun) -> Arc<Topic> {
        let mut entry = self.topics.entry(run.clone()).or_default();
        entry.1 += 1;
        entry.0.clone()
    }

    /// One fewer does; with the last the topic goes.
    pub(crate) fn leave(&self, run: &ScopedRun) {
        self.topics.remove_if_mut(run, |_, (_, followers)| {
            *followers -= 1;
            *followers == 0
        });
    }

    /// How many runs are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// How many of a workspace are.
    pub(crate) fn count(&self, workspace: &WorkspaceId) -> usize {
        self.live.iter().filter(|entry| entry.key().workspace() == workspace).count()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// All live orchestrators.
    pub(crate) fn all(&self) -> Vec<ActorRef<OrchestratorMsg>> {
        self.live.iter().map(|e| e.value().clone()).collect()
    }
}
