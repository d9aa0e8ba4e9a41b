//! Days as people name them, and moments of them. All days are those of UTC.

use commedia_actors::clock::WallClock;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::failure::{Exit, Failure};

/// The day it is by a clock.
pub fn today(clock: WallClock) -> Result<Date, Failure> {
    let now = jiff::Timestamp::from_millisecond(clock.now_ms());
    now.map(|now| now.to_zoned(TimeZone::UTC).date()).map_err(|e| Failure::new(Exit::Internal, e))
}

/// A day's beginning, milliseconds since 1970 UTC; an error where no clock goes so far.
pub fn midnight(day: Date) -> Result<i64, Failure> {
    let midnight = day.to_zoned(TimeZone::UTC).map_err(|e| Failure::usage(format!("{day}: {e}")))?;
    Ok(midnight.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight() {
        let day = |text: &str| text.parse::<Date>().ok();
        assert_eq!(day("2026-03-02").and_then(|day| midnight(day).ok()), Some(1_772_409_600_000));
        assert_eq!(day("2026-02-30"), None);
        assert!(today(WallClock::default()).is_ok());
    }
}
