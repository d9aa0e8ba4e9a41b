//! Crash points: places with a name at which a process built with the feature `failpoints` can be told to die, to panic
//! or to hang. Without the feature, passing one is nothing.
//!
//! This list is the only one: listing, arming and the test that finds each point's call site all come from it.

#[cfg(feature = "failpoints")]
mod armed;

#[cfg(feature = "failpoints")]
pub use armed::{Act, arm};

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place between two steps that must survive a crash in between.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// Every point, in the order in which a process comes by them.
            pub const ALL: &[Point] = &[$(Point::$point,)*];

            /// Its name, as `commedia crash-points` lists it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// A new store's directory is locked and empty.
    CreateBefore = "store.create.before",
    /// Its high-water mark is there, its format is not.
    CreateHighWater = "store.create.high-water",
    /// Its format is there: it is a store.
    CreateAfter = "store.create.after",
    /// The engine is open, nothing of this opening is written.
    ClaimBefore = "store.claim.before",
    /// The new epoch is applied and not synced.
    ClaimApplied = "store.claim.applied",
    /// The new epoch is synced, and not in the high-water mark.
    ClaimSynced = "store.claim.synced",
    /// The new epoch is durable.
    ClaimAfter = "store.claim.after",
    /// A scenario version is about to be stored.
    ScenarioBefore = "scenario.store.before",
    /// A scenario version is stored.
    ScenarioAfter = "scenario.store.after",
    /// A new run's orchestrator is there, nothing of the run is stored.
    CreatedBefore = "run.create.before",
    /// A new run that somebody follows is stored, and its id told to nobody.
    CreatedAfter = "run.create.after",
    /// A frame of a run is about to be handed to the store.
    AppendBefore = "run.append.before",
    /// The frame was acknowledged, and nothing of it published.
    PublishBefore = "run.publish.before",
    /// It was published.
    PublishAfter = "run.publish.after",
    /// A group has its first job, and no row of it is made.
    GroupBegun = "group.begin",
    /// A frame's blobs are among the group's rows.
    BlobsBatched = "group.blobs",
    /// A snapshot is among the group's rows.
    SnapshotBatched = "group.snapshot",
    /// The group is whole and not applied.
    ApplyBefore = "group.apply.before",
    /// It is applied and not synced.
    ApplyAfter = "group.apply.after",
    /// It is synced, and not in the high-water mark.
    SyncAfter = "group.sync.after",
    /// The high-water mark is written and not synced.
    HighWaterWritten = "high-water.written",
    /// The high-water mark is synced, and nobody was answered.
    AcknowledgeBefore = "group.acknowledge.before",
    /// Everybody was answered.
    AcknowledgeAfter = "group.acknowledge.after",
    /// The high-water mark is written anew, beside the old one.
    CompactBefore = "high-water.compact.before",
    /// The new one is in its place.
    CompactAfter = "high-water.compact.after",
    /// A snapshot is taken and about to be handed to the store.
    SnapshotBefore = "snapshot.before",
    /// The snapshot was acknowledged.
    SnapshotAfter = "snapshot.after",
    /// A command is about to be decided.
    CommandBefore = "command.before",
    /// What a command led to is durable, and whoever gave it was not answered.
    CommandDurable = "command.durable",
    /// Whoever gave it was answered.
    CommandAnswered = "command.answered",
    /// A paused run is about to go on.
    UnpauseBefore = "run.unpause.before",
    /// That it goes on is durable; it has no orchestrator yet.
    UnpauseAfter = "run.unpause.after",
    /// A run that waits is about to lose its orchestrator.
    PassivateBefore = "run.passivate.before",
    /// It has none, and its timer is set.
    PassivateAfter = "run.passivate.after",
    /// What lists show of a run that waits is about to change without an event.
    RelistBefore = "run.relist.before",
    /// It has changed.
    RelistAfter = "run.relist.after",
    /// A run without an orchestrator is about to be read.
    WakeBefore = "run.wake.before",
    /// It has an orchestrator.
    WakeAfter = "run.wake.after",
    /// A run is about to be folded from its log.
    RecoverBefore = "run.recover.before",
    /// Its newest snapshot is read, the tail is not.
    RecoverSnapshot = "run.recover.snapshot",
    /// It is folded.
    RecoverAfter = "run.recover.after",
    /// A run has ended, and its last event is not stored.
    EndBefore = "run.end.before",
    /// Its last event is stored, and whoever waits was not told.
    EndStored = "run.end.stored",
    /// Whoever waited was told.
    EndAfter = "run.end.after",
    /// The engine failed and is closed.
    ReopenBefore = "store.reopen.before",
    /// It is open and claimed again; no write was taken.
    ReopenAfter = "store.reopen.after",
    /// A copy of a store is whole and beside its place.
    CopyBefore = "store.copy.before",
    /// It is in its place.
    CopyAfter = "store.copy.after",
    /// The process was asked to stop; live runs work on.
    DrainBefore = "drain.before",
    /// Live runs have stopped; the store is open.
    DrainAfter = "drain.after",
    /// The store's writer has ended, its engine is open.
    CloseBefore = "store.close.before",
    /// The engine is closed.
    CloseAfter = "store.close.after",
}

/// The process comes by a point.
#[inline(always)]
pub fn pass(point: Point) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Call sites of points below a folder.
    fn sites(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sites(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("points.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split("pass(Point::").skip(1);
                found.extend(calls.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn each_point_has_one_name_and_one_place() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        sites(&root.join("src"), &mut found);
        sites(&root.join("../src"), &mut found);
        found.sort();
        let mut listed: Vec<String> = Point::ALL.iter().map(|point| format!("{point:?}")).collect();
        listed.sort();
        assert_eq!(found, listed, "each point of the list is passed at one place, and each place passes a point of the list");
        let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), listed.len(), "a name stands for one point");
    }
}
