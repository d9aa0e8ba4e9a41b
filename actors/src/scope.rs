//! Workspaces, and names within one. Whatever is read or written is named by a [`Scoped`] id: what another workspace holds
//! cannot be asked for, and answers like what is not there.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::run_id::{Digits, RunId, new_key};

/// The workspace of a local data folder.
pub const LOCAL: &str = commedia_domain::run::state::WORKSPACE;

/// A workspace: `default`, or `w_` and 26 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspaceId(Arc<str>);

impl WorkspaceId {
    /// A new one.
    pub fn new() -> WorkspaceId {
        WorkspaceId(format!("w_{}", Digits::of(new_key())).into())
    }

    /// The one of a local data folder.
    pub fn local() -> WorkspaceId {
        static ID: LazyLock<Arc<str>> = LazyLock::new(|| LOCAL.into());
        WorkspaceId(ID.clone())
    }

    /// Its id as text, which names it in the store.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for WorkspaceId {
    fn default() -> WorkspaceId {
        WorkspaceId::new()
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no workspace's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no id of a workspace: one is `default`, or looks like `w_` and 26 letters and digits")]
pub struct BadWorkspaceId(String);

impl FromStr for WorkspaceId {
    type Err = BadWorkspaceId;
    fn from_str(text: &str) -> Result<WorkspaceId, BadWorkspaceId> {
        match text {
            LOCAL => Ok(WorkspaceId::local()),
            text if text.strip_prefix("w_").is_some_and(Digits::are) => Ok(WorkspaceId(text.into())),
            text => Err(BadWorkspaceId(text.chars().take(64).collect())),
        }
    }
}

/// A name within a workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scoped<I> {
    workspace: WorkspaceId,
    id: I,
}

/// A run of a workspace.
pub(crate) type ScopedRun = Scoped<RunId>;

impl<I> Scoped<I> {
    /// The name in that workspace.
    pub fn new(workspace: WorkspaceId, id: I) -> Scoped<I> {
        Scoped { workspace, id }
    }

    /// Where it holds.
    pub fn workspace(&self) -> &WorkspaceId {
        &self.workspace
    }

    /// What it names there.
    pub fn id(&self) -> &I {
        &self.id
    }
}

impl ScopedRun {
    /// The run's id as text.
    pub(crate) fn as_str(&self) -> &str {
        self.id.as_str()
    }
}

impl<I: fmt::Display> fmt::Display for Scoped<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_named_by_its_text() {
        let new = WorkspaceId::new();
        for id in [new.clone(), WorkspaceId::local()] {
            assert_eq!(id.as_str().parse().as_ref(), Ok(&id));
        }
        for wrong in ["", "w_", "Default", "w_0", "instance", &format!("{new}0"), &new.as_str()[1..]] {
            assert!(wrong.parse::<WorkspaceId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_same_id_elsewhere_is_another_name() {
        let run = RunId::new();
        let here = Scoped::new(WorkspaceId::local(), run.clone());
        assert_eq!(here, Scoped::new(WorkspaceId::local(), run.clone()));
        assert_ne!(here, Scoped::new(WorkspaceId::new(), run.clone()));
        assert_eq!(here.to_string(), run.to_string());
    }
}
