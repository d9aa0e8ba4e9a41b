//! Names of streams, and positions in them.
//!
//! A stream is the unit of order and of recovery: one writer, one gap-free sequence, one hash chain. No read and no
//! write spans two of them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use commedia_domain::id::Hash32;

/// Leases are granted per shard; a stream's shard never changes.
pub const SHARDS: u16 = 1024;

/// A workspace's name and a stream's id are at most this long, in bytes.
pub const NAME_LIMIT: usize = 128;

/// What a stream is the truth about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKind {
    /// One execution of a scenario.
    Run,
    /// A workspace's shared world.
    Ledger,
    /// A sweep and its arms.
    Sweep,
    /// Money and tokens.
    Budget,
    /// Users, keys, workspaces.
    Identity,
    /// A scenario and its versions.
    Scenario,
}

impl StreamKind {
    /// Every kind, in the order of its stored code.
    pub const ALL: [StreamKind; 6] =
        [StreamKind::Run, StreamKind::Ledger, StreamKind::Sweep, StreamKind::Budget, StreamKind::Identity, StreamKind::Scenario];

    /// The byte that stands for the kind in keys; frozen.
    pub(crate) fn code(self) -> u8 {
        match self {
            StreamKind::Run => 1,
            StreamKind::Ledger => 2,
            StreamKind::Sweep => 3,
            StreamKind::Budget => 4,
            StreamKind::Identity => 5,
            StreamKind::Scenario => 6,
        }
    }

    fn from_code(code: u8) -> Option<StreamKind> {
        StreamKind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The word shown to people.
    pub fn name(self) -> &'static str {
        match self {
            StreamKind::Run => "run",
            StreamKind::Ledger => "ledger",
            StreamKind::Sweep => "sweep",
            StreamKind::Budget => "budget",
            StreamKind::Identity => "identity",
            StreamKind::Scenario => "scenario",
        }
    }
}

/// A stream's name: workspace, kind and id. Cheap to clone; it carries its encoded key.
///
/// The key is `shard ‖ workspace ‖ 0 ‖ kind ‖ id ‖ 0`; names hold no byte below 0x21, so no key is another's prefix.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamId {
    /// More of the hash that the shard comes from: what tables are told, and two that differ are told apart by.
    print: u64,
    key: Arc<[u8]>,
}

impl Hash for StreamId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.print);
    }
}

impl Ord for StreamId {
    fn cmp(&self, other: &StreamId) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl PartialOrd for StreamId {
    fn partial_cmp(&self, other: &StreamId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a name cannot be a workspace's or a stream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name a {what}: 1 to 128 bytes without blanks, control characters and `/`")]
pub struct BadName {
    what: &'static str,
    name: String,
}

/// Checks a workspace's or a stream's name: 1 to 128 bytes, no blank, no control character, no `/`.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), BadName> {
    let fine = |c: char| !c.is_control() && !c.is_whitespace() && c != '/';
    let all_fine = || name.bytes().all(|b| b.is_ascii_graphic() && b != b'/') || name.chars().all(fine);
    if name.is_empty() || name.len() > NAME_LIMIT || !all_fine() {
        return Err(BadName { what, name: name.chars().take(NAME_LIMIT).collect() });
    }
    Ok(())
}

impl StreamId {
    /// The stream of that kind and id in a workspace.
    pub fn new(workspace: &str, kind: StreamKind, id: &str) -> Result<StreamId, BadName> {
        check_name("workspace", workspace)?;
        check_name("stream", id)?;
        let mut key = Vec::with_capacity(workspace.len() + id.len() + 5);
        key.extend_from_slice(&[0, 0]);
        key.extend_from_slice(workspace.as_bytes());
        key.extend_from_slice(&[0, kind.code()]);
        key.extend_from_slice(id.as_bytes());
        key.push(0);
        let hash = blake3::hash(&key[2..]);
        let [low, high, rest @ ..] = hash.as_bytes();
        let shard = u16::from_le_bytes([*low, *high]) % SHARDS;
        key[..2].copy_from_slice(&shard.to_be_bytes());
        let print = rest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(StreamId { print, key: key.into() })
    }

    /// The encoded key: shard, workspace, kind, id.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The key without the shard: lists are in its order.
    pub(crate) fn listed(&self) -> &[u8] {
        &self.key[2..]
    }

    fn split(&self) -> (&[u8], u8, &[u8]) {
        let rest = &self.key[2..self.key.len() - 1];
        let zero = rest.iter().position(|b| *b == 0).unwrap_or(0);
        (&rest[..zero], rest[zero + 1], &rest[zero + 2..])
    }

    /// The shard whose lease a writer of this stream holds.
    pub fn shard(&self) -> u16 {
        u16::from_be_bytes([self.key[0], self.key[1]])
    }

    /// The workspace it belongs to.
    pub fn workspace(&self) -> &str {
        std::str::from_utf8(self.split().0).unwrap_or_default()
    }

    /// What it is the truth about.
    pub fn kind(&self) -> StreamKind {
        StreamKind::from_code(self.split().1).unwrap_or(StreamKind::Run)
    }

    /// Its id within workspace and kind.
    pub fn id(&self) -> &str {
        std::str::from_utf8(self.split().2).unwrap_or_default()
    }

    /// Adds its name to a buffer, as it is displayed.
    pub(crate) fn write(&self, text: &mut Vec<u8>) {
        let (workspace, _, id) = self.split();
        for part in [workspace, b"/", self.kind().name().as_bytes(), b"/", id] {
            text.extend_from_slice(part);
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.workspace(), self.kind().name(), self.id())
    }
}
impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for StreamId {
    type Err = BadName;
    fn from_str(text: &str) -> Result<StreamId, BadName> {
        let bad = || BadName { what: "stream", name: text.chars().take(NAME_LIMIT).collect() };
        let mut parts = text.splitn(3, '/');
        let (Some(workspace), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let kind = StreamKind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(bad)?;
        StreamId::new(workspace, kind, id)
    }
}

/// How far a stream has come: the seq of its last event and the hash of its last frame. A new stream's is `Head::START`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// The last event's seq; events count from 1, without a gap.
    pub seq: u64,
    /// The last frame's hash, which the next frame names as its predecessor.
    pub hash: Hash32,
}

impl Head {
    /// The head of a stream without events.
    pub const START: Head = Head { seq: 0, hash: Hash32([0; 32]) };
}

/// The right to write the streams of a shard. Opening a store anew raises the epoch, and older leases are fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard it is for.
    pub shard: u16,
    /// The epoch in which it was granted.
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_key_and_text() {
        for (workspace, kind, id) in [
            ("default", StreamKind::Run, "0190-ab"),
            ("w", StreamKind::Scenario, "retail-season"),
            ("ä", StreamKind::Budget, "ß"),
        ] {
            let stream = StreamId::new(workspace, kind, id).unwrap();
            assert_eq!((stream.workspace(), stream.kind(), stream.id()), (workspace, kind, id));
            assert_eq!(stream.to_string().parse(), Ok(stream.clone()));
            assert!(stream.shard() < SHARDS);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for (workspace, id) in
            [("", "a"), ("a", ""), ("a b", "c"), ("a", "b/c"), ("a\0", "b"), ("a", "b\n"), ("a", &"x".repeat(129))]
        {
            assert!(StreamId::new(workspace, StreamKind::Run, id).is_err(), "{workspace:?} {id:?}");
        }
        for text in ["", "a", "a/run", "a/walk/b", "a/run/"] {
            assert!(text.parse::<StreamId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_shard_of_a_stream_is_frozen() {
        let shard = |id| StreamId::new("default", StreamKind::Run, id).unwrap().shard();
        assert_eq!([shard("a"), shard("b"), shard("c")], [32, 199, 252]);
    }
}
