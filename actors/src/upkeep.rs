//! Looking after what is stored while runs are at work.

use std::path::Path;

use crate::runtime::Runtime;
use crate::store::backup::{BackupError, Contents, Progress};

impl Runtime {
    /// Writes everything stored to one file while runs go on: each run up to an event that was acknowledged.
    pub async fn backup(&self, path: &Path, progress: &Progress<'_>) -> Result<Contents, BackupError> {
        self.shared.store.backup(path, progress).await
    }
}
