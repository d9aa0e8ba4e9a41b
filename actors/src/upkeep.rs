//! Looking after what is stored while runs are at work: backups, deleting runs that have ended, giving room back.

use std::path::Path;
use std::time::Duration;

use ractor::ActorStatus;

use crate::meta::{RunMeta, run_stream};
use crate::run_id::RunId;
use crate::runtime::{RunSummary, Runtime};
use crate::store::backup::{BackupError, Contents, Progress};
use crate::store::compact::{CompactError, Compacted};
use crate::store::{AppendError, Delete, Head, ReadError};

/// How often ended runs are looked through, where not all are kept.
const EVERY: Duration = Duration::from_secs(10);

/// So many runs are deleted at once.
const PAGE: usize = 1000;

/// Which of the runs that have ended are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// The newest, so many.
    Newest(usize),
    /// Those that ended within this time.
    For(Duration),
}

/// Why a run was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// There is none.
    #[error("there is no run `{0}` here (see `commedia ls`)")]
    Unknown(RunId),
    /// It has not ended.
    #[error("run `{0}` has not ended: it is {1}")]
    Live(RunId, String),
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// It was not deleted.
    #[error("{0}")]
    Write(#[from] AppendError),
}

impl Runtime {
    /// Writes everything stored to one file while runs go on: each run up to an event that was acknowledged.
    pub async fn backup(&self, path: &Path, progress: &Progress<'_>) -> Result<Contents, BackupError> {
        self.shared.store.backup(path, progress).await
    }

    /// Gives room back that the engine does not, while runs go on.
    pub async fn compact(&self) -> Result<Compacted, CompactError> {
        self.shared.store.compact(self.shared.clock.now_ms()).await
    }

    /// Deletes a run that has ended: from then on it is unknown, and its id is never used again.
    pub async fn delete_run(&self, id: &RunId) -> Result<(), DeleteError> {
        let delete = self.deletion(id).await?;
        let refused = self.shared.store.delete(vec![delete]).await?;
        refused.into_iter().next().map_or(Ok(()), |(_, e)| Err(e.into()))
    }

    async fn deletion(&self, id: &RunId) -> Result<Delete, DeleteError> {
        let store = &self.shared.store;
        let scoped = self.scoped(id);
        let stream = run_stream(&scoped).map_err(|_| DeleteError::Unknown(id.clone()))?;
        if self.shared.registry.get(&scoped).is_some() || self.shared.registry.is_parked(&scoped) {
            return Err(DeleteError::Live(id.clone(), "live".into()));
        }
        let expected = store.head(&stream).await?;
        if expected == Head::START {
            return Err(DeleteError::Unknown(id.clone()));
        }
        let meta = store.meta(&stream).await?.and_then(|row| RunMeta::decode(&row));
        let status = meta.as_ref().map_or("of unknown status", |meta| meta.status.as_str());
        let ended = meta.as_ref().is_some_and(|meta| meta.standing().is_none() && status != "quarantined");
        if !ended {
            return Err(DeleteError::Live(id.clone(), status.into()));
        }
        Ok(Delete { lease: store.lease(&stream), stream, expected, wall_ms: self.shared.clock.now_ms() })
    }

    /// Deletes the ended runs that are not to be kept, of each workspace; how many.
    pub async fn prune(&self, keep: Keep) -> Result<usize, DeleteError> {
        self.shared.store.sweep_leftovers().await?;
        let mut deleted = 0;
        for workspace in self.workspaces().await? {
            deleted += self.within(workspace, self.principal.clone()).prune_workspace(keep).await?;
        }
        Ok(deleted)
    }

    async fn prune_workspace(&self, keep: Keep) -> Result<usize, DeleteError> {
        let now = self.shared.clock.now_ms();
        let (count, since) = match keep {
            Keep::All => return Ok(0),
            Keep::Newest(count) => (count, i64::MAX),
            Keep::For(age) => (0, now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))),
        };
        let wanted = move |run: &RunSummary| run.ended_ms.is_some_and(|ended| ended < since);
        let (mut passed, mut before, mut deleted) = (0, None, 0);
        loop {
            let page = self.runs_page(before.as_ref(), PAGE, wanted).await?;
            let skip = count.saturating_sub(passed).min(page.runs.len());
            passed += skip;
            let mut deletions = Vec::new();
            for run in page.runs.iter().skip(skip) {
                match self.deletion(&run.id).await {
                    Ok(delete) => deletions.push(delete),
                    // It is read on, or came to life; a damaged one is left for a person.
                    Err(DeleteError::Live(..) | DeleteError::Unknown(_) | DeleteError::Read(ReadError::Damaged(_))) => {}
                    Err(e) => return Err(e),
                }
            }
            let asked = deletions.len();
            deleted += asked - self.shared.store.delete(deletions).await?.len();
            if page.next.is_none() || page.runs.len() < PAGE {
                return Ok(deleted);
            }
            before = page.next;
        }
    }

    /// Keeps to it for as long as the runtime is open; room is given back where that is worth the work.
    pub(crate) async fn keep(self, keep: Keep) {
        let store = &self.shared.store;
        while self.supervisor.get_status() < ActorStatus::Stopping {
            match self.prune(keep).await {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, "ended runs were deleted"),
                Err(e) => tracing::warn!("ended runs are not deleted: {e}"),
            }
            if store.is_worth_compacting() {
                match self.compact().await {
                    Ok(done) => tracing::info!(?done, "the store was compacted"),
                    Err(e) => tracing::warn!("the store is not compacted: {e}"),
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
