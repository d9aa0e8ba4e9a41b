//! A rate: so many units a minute, spent before they are used. Who comes first is served first; nobody is let in early.
//! (The generic cell rate algorithm: one moment says it all, <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>.)

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What may be spent at once: the units of so long.
const BURST: Duration = Duration::from_secs(1);

/// A bucket of units.
#[derive(Debug)]
pub(super) struct Rate {
    /// How long one unit takes to come back.
    unit: Duration,
    /// When everything that was spent has come back.
    full_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// So many units a minute, one at least.
    pub(super) fn per_minute(units: u64) -> Rate {
        Rate { unit: Duration::from_secs(60) / u32::try_from(units.max(1)).unwrap_or(u32::MAX), full_at: Mutex::new(None) }
    }

    /// Spends units and says how long to wait before they may be used; where that is longer than `most`, nothing is spent.
    pub(super) fn spend(&self, units: u64, now: Instant, most: Duration) -> Result<Duration, Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let from = full_at.unwrap_or(now).max(now);
        // One unit is always there at once where nothing was spent.
        let wait = from.duration_since(now).saturating_sub(BURST.saturating_sub(self.unit));
        if wait > most {
            return Err(wait);
        }
        *full_at = Some(from + self.span(units));
        Ok(wait)
    }

    /// Units that were spent and not used, or used and not spent.
    pub(super) fn settle(&self, spent: u64, used: u64) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = full_at.as_mut() {
            let settled =
                if used > spent { Some(*at + self.span(used - spent)) } else { at.checked_sub(self.span(spent - used)) };
            *at = settled.unwrap_or(*at);
        }
    }

    fn span(&self, units: u64) -> Duration {
        self.unit.saturating_mul(u32::try_from(units).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn units_come_back_evenly() {
        let now = Instant::now();
        let rate = Rate::per_minute(60);
        let waits: Vec<u64> = (0..4).map(|_| rate.spend(1, now, LONG).expect("room").as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 3]);
        assert_eq!(rate.spend(1, now, Duration::from_secs(2)), Err(Duration::from_secs(4)));
        assert_eq!(rate.spend(1, now + Duration::from_secs(4), Duration::ZERO), Ok(Duration::ZERO));
        let fast = Rate::per_minute(600);
        let waits: Vec<u128> = (0..12).map(|_| fast.spend(1, now, LONG).expect("room").as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200], "a second's units at once");
    }

    #[test]
    fn what_was_not_used_comes_back_and_what_was_is_owed() {
        let now = Instant::now();
        let rate = Rate::per_minute(6000);
        assert_eq!(rate.spend(1000, now, LONG), Ok(Duration::ZERO));
        rate.settle(1000, 600);
        let wait = rate.spend(1, now, LONG).expect("room");
        assert_eq!(wait.as_millis(), 5010, "600 units are six seconds, less a second's burst");
        rate.settle(1, 301);
        assert_eq!(rate.spend(1, now, LONG).expect("room").as_millis(), 8020);
    }
}
