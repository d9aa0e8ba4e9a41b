//! The wall clock, as a port: the only place that asks the machine what time it is. Tests put it on tokio's time, which
//! they can pause, and turn it back.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock with an offset, so that tests from outside can move it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    /// Seconds added to the machine's time.
    pub offset_s: i64,
    staged: Option<Staged>,
}

/// A clock that goes with tokio's.
#[derive(Clone, Copy, Debug)]
struct Staged {
    began: tokio::time::Instant,
    at_ms: &'static AtomicI64,
}

impl WallClock {
    /// The machine's time and so many seconds.
    pub fn offset(offset_s: i64) -> WallClock {
        WallClock { offset_s, staged: None }
    }

    /// For tests: shows `at_ms` now and goes with tokio's time from there. Whoever changes `at_ms` turns the clock.
    pub fn staged(at_ms: &'static AtomicI64) -> WallClock {
        WallClock { offset_s: 0, staged: Some(Staged { began: tokio::time::Instant::now(), at_ms }) }
    }

    /// Milliseconds since 1970 UTC.
    pub fn now_ms(&self) -> i64 {
        let whole = |d: std::time::Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        if let Some(staged) = &self.staged {
            return staged.at_ms.load(Ordering::Relaxed).saturating_add(whole(staged.began.elapsed()));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole);
        since.saturating_add(self.offset_s.saturating_mul(1000))
    }
}
