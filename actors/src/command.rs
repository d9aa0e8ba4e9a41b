//! A command to a run from outside: what, by whom, and with which key.

use std::sync::Arc;

use commedia_domain::run::Command;

use crate::log::cause;
use crate::once::Once;
use crate::runtime::Runtime;
use crate::store::frame::Cause;

/// A command from outside.
#[derive(Clone)]
pub struct Given {
    /// What.
    pub command: Box<Command>,
    /// Who.
    pub principal: Arc<str>,
    /// The key that whoever gave it may give it again with.
    pub once: Option<Once>,
}

impl Given {
    /// What the events that it leads to say of it: with the key, so that its receipt is the same write.
    pub(crate) fn cause(&self, wall_ms: i64) -> Cause {
        let kind = match &*self.command {
            Command::Tell { .. } => "tell",
            Command::Pause { .. } => "pause",
            Command::Resume => "resume",
            Command::Cancel { .. } => "cancel",
            Command::Resolve { .. } => "resolve",
            Command::Release { .. } => "release",
            _ => "command",
        };
        let why = cause(kind, &self.principal, &[], wall_ms);
        match self.once {
            Some(once) => Cause { id: once.key, payload_hash: once.payload, ..why },
            None => why,
        }
    }
}

impl Runtime {
    /// A command as whoever has this handle gives it.
    pub(crate) fn given(&self, command: Command) -> Given {
        Given { command: Box::new(command), principal: self.principal.clone(), once: self.once }
    }

    /// The same runtime for somebody who gives a command with a key: see [`crate::once::Answering::commanded`].
    pub fn with_key(&self, once: Once) -> Runtime {
        Runtime { once: Some(once), ..self.clone() }
    }
}
