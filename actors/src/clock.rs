//! The wall clock, as a port: the only place that asks the machine what time it is. Timers are tokio's, so tests can pause them.

use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock with an offset, so that tests from outside can move it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    /// Seconds added to the machine's time.
    pub offset_s: i64,
}

impl WallClock {
    /// Milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        since.saturating_add(self.offset_s.saturating_mul(1000))
    }
}
