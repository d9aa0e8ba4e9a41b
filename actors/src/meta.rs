//! What lists show of a run, written beside each append: a projection, rebuilt from the log where it is lost.

use std::sync::Arc;

use commedia_domain::event::Created;
use commedia_domain::run::State;
use commedia_domain::run::state::WORKSPACE;
use serde::{Deserialize, Serialize};

use crate::run_id::RunId;
use crate::store::{BadName, StreamId, StreamKind};

/// The stream of a run.
pub(crate) fn run_stream(id: &RunId) -> Result<StreamId, BadName> {
    StreamId::new(WORKSPACE, StreamKind::Run, id.as_str())
}

/// What lists show of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunMeta {
    pub(crate) scenario: Arc<str>,
    pub(crate) seed: u64,
    pub(crate) status: String,
    pub(crate) started_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) events: u64,
    pub(crate) tick: u64,
}

impl RunMeta {
    pub(crate) fn of(created: &Created, now: i64) -> RunMeta {
        RunMeta {
            scenario: created.scenario.clone(),
            seed: created.seed,
            status: "queued".into(),
            started_ms: now,
            updated_ms: now,
            events: 1,
            tick: 0,
        }
    }

    /// As of now, encoded.
    pub(crate) fn update(&mut self, state: &State, now: i64) -> Vec<u8> {
        let status = state.status.word();
        if self.status != status {
            status.clone_into(&mut self.status);
        }
        self.updated_ms = now;
        self.events = state.counts.events;
        self.tick = state.tick;
        postcard::to_stdvec(self).expect("plain data encodes")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<RunMeta> {
        postcard::from_bytes(bytes).ok()
    }
}
