//! Who of a block gets no ticks for now. Ordered by when they wake, so that a sleeper costs nothing until then.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::WakeAt;
use crate::run::ranges::Ranges;

/// The sleepers of a block, and who is awake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Sleepers {
    replicas: u32,
    until: BTreeMap<u32, WakeAt>,
    by_tick: BTreeSet<(u64, u32)>,
    by_moment: BTreeSet<(i64, u32)>,
    awake: Ranges,
}

/// Sleepers as a snapshot has them.
#[derive(Serialize, Deserialize)]
struct Stored {
    replicas: u32,
    until: BTreeMap<u32, WakeAt>,
}

impl From<Sleepers> for Stored {
    fn from(sleepers: Sleepers) -> Stored {
        Stored { replicas: sleepers.replicas, until: sleepers.until }
    }
}

impl From<Stored> for Sleepers {
    fn from(stored: Stored) -> Sleepers {
        let mut sleepers = Sleepers::new(stored.replicas);
        stored.until.into_iter().for_each(|(replica, at)| sleepers.sleep(replica, at));
        sleepers
    }
}

impl Sleepers {
    /// Nobody sleeps.
    pub fn new(replicas: u32) -> Sleepers {
        Sleepers {
            replicas,
            until: BTreeMap::new(),
            by_tick: BTreeSet::new(),
            by_moment: BTreeSet::new(),
            awake: Ranges::whole(replicas),
        }
    }

    /// A replica sleeps until then, whatever was said before.
    pub fn sleep(&mut self, replica: u32, at: WakeAt) {
        self.wake(replica);
        self.until.insert(replica, at);
        self.awake.remove(replica, replica + 1);
        match at {
            WakeAt::Tick(tick) => self.by_tick.insert((tick, replica)),
            WakeAt::Moment(moment) => self.by_moment.insert((moment, replica)),
        };
    }

    /// A replica sleeps no more.
    pub fn wake(&mut self, replica: u32) {
        match self.until.remove(&replica) {
            None => return,
            Some(WakeAt::Tick(tick)) => self.by_tick.remove(&(tick, replica)),
            Some(WakeAt::Moment(moment)) => self.by_moment.remove(&(moment, replica)),
        };
        self.awake.insert(replica);
    }

    /// A tick comes: those whose time it is wake, and who is awake then comes back.
    pub fn at_tick(&mut self, tick: u64, moment: i64) -> &Ranges {
        while let Some(replica) = self.by_tick.first().filter(|s| s.0 <= tick).map(|s| s.1) {
            self.wake(replica);
        }
        while let Some(replica) = self.by_moment.first().filter(|s| s.0 <= moment).map(|s| s.1) {
            self.wake(replica);
        }
        &self.awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_wakes_at_its_tick_or_moment_and_the_last_word_counts() {
        let mut sleepers = Sleepers::new(5);
        let rows =
            [(0, WakeAt::Tick(3)), (1, WakeAt::Moment(250)), (2, WakeAt::Tick(9)), (4, WakeAt::Tick(2)), (2, WakeAt::Tick(4))];
        rows.into_iter().for_each(|(replica, at)| sleepers.sleep(replica, at));
        let expected: [(u64, &[(u32, u32)]); 4] = [(1, &[(3, 4)]), (2, &[(3, 5)]), (3, &[(0, 2), (3, 5)]), (4, &[(0, 5)])];
        for (tick, awake) in expected {
            let stored: Sleepers = postcard::from_bytes(&postcard::to_stdvec(&sleepers).expect("encodes")).expect("decodes");
            assert_eq!(stored, sleepers, "tick {tick}");
            let moment = i64::try_from(tick).expect("small") * 100;
            assert_eq!(sleepers.at_tick(tick, moment).iter().collect::<Vec<_>>(), awake, "tick {tick}");
        }
    }
}
