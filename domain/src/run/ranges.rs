//! Replicas of a block as ranges: what most of a block has in common costs as little as what one of it has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A set of replicas: the first of each range with its end (exclusive); ranges neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(BTreeMap<u32, u32>);

impl Ranges {
    /// All below a number.
    pub fn whole(count: u32) -> Ranges {
        Ranges((count > 0).then_some((0, count)).into_iter().collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order: first, end.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().map(|(first, end)| (*first, *end))
    }

    /// How many numbers are in them.
    pub fn count(&self) -> usize {
        self.iter().map(|(first, end)| (end - first) as usize).sum()
    }

    /// The end of the range a replica lies in.
    pub fn reach(&self, replica: u32) -> Option<u32> {
        self.0.range(..=replica).next_back().map(|(_, end)| *end).filter(|end| replica < *end)
    }

    /// Takes replicas out.
    pub fn remove(&mut self, first: u32, end: u32) {
        if first >= end {
            return;
        }
        while let Some((a, b)) = self.0.range(..end).next_back().map(|(a, b)| (*a, *b)).filter(|(_, b)| *b > first) {
            self.0.remove(&a);
            if end < b {
                self.0.insert(end, b);
            }
            if a < first {
                self.0.insert(a, first);
                return;
            }
        }
    }

    /// Puts a replica in.
    pub fn insert(&mut self, replica: u32) {
        if self.reach(replica).is_some() {
            return;
        }
        let end = self.0.remove(&(replica + 1)).unwrap_or(replica + 1);
        match self.0.range_mut(..replica).next_back().filter(|(_, e)| **e == replica) {
            Some((_, former)) => *former = end,
            None => {
                self.0.insert(replica, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_a_set_holds(steps in prop::collection::vec((any::<bool>(), 0u32..20, 0u32..6), 0..40)) {
            let (mut ranges, mut set) = (Ranges::whole(16), (0..16).collect::<BTreeSet<u32>>());
            for (insert, first, count) in steps {
                if insert {
                    ranges.insert(first);
                    set.insert(first);
                } else {
                    ranges.remove(first, first + count);
                    set.retain(|r| *r < first || *r >= first + count);
                }
                prop_assert_eq!(ranges.iter().flat_map(|(a, b)| a..b).collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
                let pairs: Vec<(u32, u32)> = ranges.iter().collect();
                prop_assert!(pairs.iter().all(|(a, b)| a < b) && pairs.windows(2).all(|w| w[0].1 < w[1].0), "{pairs:?}");
                for r in 0..24 {
                    prop_assert_eq!(ranges.reach(r).is_some(), set.contains(&r));
                }
            }
        }
    }
}
