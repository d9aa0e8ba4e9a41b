//! What becomes durable in a workspace, for whoever listens there: a hint with the events at hand. Whoever misses some is told how
//! many, and reads the runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::log::StoredEvent;
use crate::run_id::RunId;
use crate::runtime::Runtime;
use crate::scope::{ScopedRun, WorkspaceId};

/// Appends that a listener may be behind.
const BEHIND: usize = 4096;

/// Events of a run that are durable.
#[derive(Clone, Debug)]
pub struct Published {
    /// Whose.
    pub run: RunId,
    /// The seq of the last one.
    pub last: u64,
    /// The events, where they were at hand; else the store has them.
    pub events: Arc<[StoredEvent]>,
}

/// Who listens, by workspace.
#[derive(Default)]
pub(crate) struct Feeds {
    listeners: Mutex<HashMap<WorkspaceId, broadcast::Sender<Published>>>,
    /// How many workspaces are listened to: mostly none.
    count: AtomicUsize,
}

impl Feeds {
    /// Tells whoever listens in the run's workspace.
    pub(crate) fn publish(&self, run: &ScopedRun, last: u64, events: &[StoredEvent]) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = listeners.get(run.workspace()) else { return };
        let published = Published { run: run.id().clone(), last, events: events.into() };
        if sender.send(published).is_err() {
            // The last of them has gone.
            listeners.remove(run.workspace());
            self.count.store(listeners.len(), Ordering::Relaxed);
        }
    }

    fn listen(&self, workspace: &WorkspaceId) -> broadcast::Receiver<Published> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = listeners.entry(workspace.clone()).or_insert_with(|| broadcast::Sender::new(BEHIND));
        let receiver = sender.subscribe();
        self.count.store(listeners.len(), Ordering::Relaxed);
        receiver
    }
}

impl Runtime {
    /// What becomes durable in this workspace from now on.
    pub fn listen(&self) -> broadcast::Receiver<Published> {
        self.shared.feeds.listen(&self.workspace)
    }
}
