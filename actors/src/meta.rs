//! What lists show of a run, written beside each append: a projection, rebuilt from the log where it is lost.

use std::sync::Arc;

use commedia_domain::event::{Created, Labels};
use commedia_domain::run::{State, Status};
use serde::{Deserialize, Serialize};

use crate::scope::ScopedRun;
use crate::store::live::LiveRow;
use crate::store::{BadName, StreamId, StreamKind};

/// The status' word of a run that has nothing to do before a moment of wall time: derived, no event of its own.
pub(crate) const WAITING: &str = "waiting";
/// The status' word of a run that crashes whenever it is to go on.
const QUARANTINED: &str = "quarantined";

/// The stream of a run.
pub(crate) fn run_stream(id: &ScopedRun) -> Result<StreamId, BadName> {
    StreamId::new(id.workspace().as_str(), StreamKind::Run, id.as_str())
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
    /// The moment of wall time it waits for. Stored behind the other fields, where an older release does not look.
    #[serde(skip)]
    pub(crate) waits: Option<i64>,
    /// Names and values by which people find it again; stored behind that.
    #[serde(skip)]
    pub(crate) labels: Arc<Labels>,
    /// Whether it waits for an operator to say what became of a step.
    #[serde(skip)]
    pub(crate) unresolved: bool,
    #[serde(skip)]
    listed: Listed,
    /// Whether the row of this moment is stored.
    #[serde(skip)]
    stored: bool,
}

/// Stands where a moment would, before labels of a run that waits for none: no number, also to a release that knows no labels.
const NO_NUMBER: [u8; 10] = [0xff; 10];

/// While nothing changes but counts, the row that lists show is written so often: a run that works in small appends writes one row
/// with each, and not two.
const REFRESH_MS: i64 = 1000;

/// What the live index holds of a run, as far as its orchestrator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Listed {
    /// Whatever an earlier orchestrator left there.
    #[default]
    Unknown,
    /// No row.
    Nothing,
    /// This row.
    As(Standing),
}

/// Where a run that is not over stands, as the live index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It works; found at a start, it was interrupted.
    Working,
    /// It has nothing to do before this moment of wall time.
    Waiting(i64),
    /// It stands still on purpose.
    Paused,
    /// It crashes whenever it is to go on.
    Quarantined,
}

impl Standing {
    /// The row: a byte, and behind it the moment of one that waits. Frozen with the store's format.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Standing::Working => vec![0],
            Standing::Waiting(at) => [&[1][..], &at.to_be_bytes()].concat(),
            Standing::Paused => vec![2],
            Standing::Quarantined => vec![3],
        }
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Standing> {
        match (row.first()?, &row[1..]) {
            (0, []) => Some(Standing::Working),
            (1, at) => at.try_into().ok().map(|at| Standing::Waiting(i64::from_be_bytes(at))),
            (2, []) => Some(Standing::Paused),
            (3, []) => Some(Standing::Quarantined),
            _ => None,
        }
    }
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
            waits: None,
            labels: Arc::default(),
            unresolved: false,
            listed: Listed::Unknown,
            stored: false,
        }
    }

    /// Of a run that was never stored, so that the live index holds nothing of it.
    pub(crate) fn fresh(created: &Created, now: i64) -> RunMeta {
        RunMeta { listed: Listed::Nothing, ..RunMeta::of(created, now) }
    }

    /// Beside an append: the row that lists show, where it is worth writing, and what becomes of the live index. Lists take the
    /// number of events of a run that is not over from its head.
    pub(crate) fn beside(&mut self, state: &State, waits: Option<i64>, now: i64) -> (Option<Vec<u8>>, LiveRow) {
        let recent = self.stored && (0..REFRESH_MS).contains(&now.saturating_sub(self.updated_ms));
        if recent && !self.is_outdated(state, waits) {
            return (None, LiveRow::Keep);
        }
        let (row, live) = self.update(state, waits, now);
        (Some(row), live)
    }

    /// As of now: the row that lists show, and what becomes of the live index.
    pub(crate) fn update(&mut self, state: &State, waits: Option<i64>, now: i64) -> (Vec<u8>, LiveRow) {
        let status = self.word(state, waits);
        if self.status != status {
            status.clone_into(&mut self.status);
        }
        self.updated_ms = now;
        self.events = state.counts.events;
        self.tick = state.tick;
        self.waits = waits;
        self.labels.clone_from(&state.labels);
        let listed = self.standing().map_or(Listed::Nothing, Listed::As);
        let live = match listed {
            _ if listed == self.listed => LiveRow::Keep,
            Listed::As(standing) => LiveRow::Put(standing.encode()),
            Listed::Nothing | Listed::Unknown => LiveRow::Remove,
        };
        (self.listed, self.stored) = (listed, true);
        (self.encode(), live)
    }

    fn word(&self, state: &State, waits: Option<i64>) -> &'static str {
        let waiting = (waits.is_some() || self.unresolved) && state.status == Status::Running;
        if waiting { WAITING } else { state.status.word() }
    }

    /// As of its quarantine, with so many events: nothing of its state is known.
    pub(crate) fn quarantine(&mut self, events: u64, now: i64) -> (Vec<u8>, LiveRow) {
        (self.status, self.waits, self.events, self.updated_ms) = (QUARANTINED.into(), None, events, now);
        (self.encode(), LiveRow::Put(Standing::Quarantined.encode()))
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.status == QUARANTINED
    }

    /// Whether what lists show is no longer so.
    pub(crate) fn is_outdated(&self, state: &State, waits: Option<i64>) -> bool {
        self.waits != waits || self.status != self.word(state, waits)
    }

    /// Where the run stands; `None`: it is over.
    pub(crate) fn standing(&self) -> Option<Standing> {
        match (self.status.as_str(), self.waits) {
            ("waiting", Some(at)) => Some(Standing::Waiting(at)),
            ("paused", _) => Some(Standing::Paused),
            (QUARANTINED, _) => Some(Standing::Quarantined),
            ("queued" | "running" | "waiting", _) => Some(Standing::Working),
            _ => None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).expect("plain data encodes");
        match self.waits {
            Some(at) => bytes.extend(postcard::to_stdvec(&at).expect("a number encodes")),
            None if self.labels.is_empty() => {}
            None => bytes.extend_from_slice(&NO_NUMBER),
        }
        if !self.labels.is_empty() {
            bytes.extend(postcard::to_stdvec(&*self.labels).expect("text encodes"));
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<RunMeta> {
        let (meta, rest) = postcard::take_from_bytes::<RunMeta>(bytes).ok()?;
        let (waits, rest) = match postcard::take_from_bytes(rest) {
            Ok((at, rest)) => (Some(at), rest),
            Err(_) => (None, rest.strip_prefix(&NO_NUMBER).unwrap_or_default()),
        };
        Some(RunMeta { waits, labels: Arc::new(postcard::from_bytes(rest).unwrap_or_default()), ..meta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(status: &str) -> RunMeta {
        RunMeta {
            scenario: "s".into(),
            seed: 7,
            status: status.into(),
            started_ms: 1,
            updated_ms: 2,
            events: 3,
            tick: 4,
            waits: None,
            labels: Arc::default(),
            unresolved: false,
            listed: Listed::Unknown,
            stored: false,
        }
    }

    #[test]
    fn a_row_says_where_the_run_stands() {
        let meta = |status: &str, waits| RunMeta { waits, ..meta(status) };
        let check = |status: &str, waits, expect: Option<Standing>| {
            let meta = meta(status, waits);
            assert_eq!(RunMeta::decode(&meta.encode()), Some(meta.clone()), "{status}");
            let labelled = RunMeta { labels: Arc::new(vec![("team".into(), "blue".into())]), ..meta.clone() };
            assert_eq!(RunMeta::decode(&labelled.encode()), Some(labelled.clone()), "{status}");
            // As a release reads it that knows no labels.
            let row = labelled.encode();
            let (_, rest) = postcard::take_from_bytes::<RunMeta>(&row).unwrap();
            assert_eq!(postcard::from_bytes::<i64>(rest).ok(), waits, "{status}");
            assert_eq!(meta.standing(), expect, "{status}");
            assert_eq!(expect.and_then(|s| Standing::decode(&s.encode())), expect);
        };
        check("waiting", Some(-5), Some(Standing::Waiting(-5)));
        check("running", None, Some(Standing::Working));
        check("queued", None, Some(Standing::Working));
        check("paused", None, Some(Standing::Paused));
        check("quarantined", None, Some(Standing::Quarantined));
        check("completed", None, None);
        for row in [&[][..], &[4], &[0, 0], &[1, 0], &[2, 1]] {
            assert_eq!(Standing::decode(row), None, "{row:?}");
        }
    }

    #[test]
    fn beside_an_append_a_row_is_written_where_more_than_counts_has_changed() {
        let mut state = State { status: Status::Running, ..State::default() };
        let mut meta = RunMeta { listed: Listed::Nothing, ..meta("queued") };
        let mut check = |state: &State, waits, now, writes: bool| {
            let (row, _) = meta.beside(state, waits, now);
            assert_eq!(row.is_some(), writes, "{waits:?} at {now}");
        };
        check(&state, None, 10, true);
        state.counts.events += 5;
        check(&state, None, 10 + REFRESH_MS - 1, false);
        check(&state, None, 10 + REFRESH_MS, true);
        check(&state, Some(99), 10 + REFRESH_MS, true);
        check(&state, None, 10 + REFRESH_MS, true);
        check(&state, None, 5, true);
        state.status = Status::Completed;
        check(&state, None, 6, true);
    }
}
