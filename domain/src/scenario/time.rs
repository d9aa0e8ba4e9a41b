//! Spans and moments as the document writes them: ISO 8601 for run time, number and unit for wall time.

use jiff::civil;

use super::{Late, Step};
use crate::expression::{EvalError, Scope};

/// A thousand years; longer spans are mistakes.
const MAX_MS: i64 = 1000 * 366 * 86_400_000;
const MAX_MONTHS: i64 = 12_000;

/// An ISO 8601 duration such as `P1W` or `PT1H`; longer than zero.
pub fn step(text: &str) -> Result<Step, String> {
    if text.len() > 64 || !text.starts_with('P') {
        return Err("expected an ISO 8601 duration".into());
    }
    let span: jiff::Span = text.parse().map_err(|_| "expected an ISO 8601 duration".to_owned())?;
    let too_long = || "longer than a thousand years".to_owned();
    let months = i64::from(span.get_years()) * 12 + i64::from(span.get_months());
    let parts = [
        (i64::from(span.get_weeks()), 7 * 86_400_000),
        (i64::from(span.get_days()), 86_400_000),
        (i64::from(span.get_hours()), 3_600_000),
        (span.get_minutes(), 60_000),
        (span.get_seconds(), 1000),
        (span.get_milliseconds(), 1),
    ];
    let mut ms = 0i64;
    for (n, unit) in parts {
        ms = n.checked_mul(unit).and_then(|p| ms.checked_add(p)).ok_or_else(too_long)?;
    }
    if ms > MAX_MS || months > MAX_MONTHS {
        return Err(too_long());
    }
    if span.get_microseconds() != 0 || span.get_nanoseconds() != 0 {
        return Err("finer than a millisecond".into());
    }
    if ms <= 0 && months <= 0 {
        return Err("it must be longer than zero".into());
    }
    Ok(Step { months, ms })
}

/// A span of wall time such as `200ms`, `60s`, `2m`, `2h`, `1d`, in milliseconds; at most a year.
pub fn wall(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        "" => return Err("it has no unit".into()),
        _ => return Err("expected a number and one of `ms s m h d`".into()),
    };
    if number.len() > 15 {
        return Err("longer than a year".into());
    }
    let number: f64 = number.parse().map_err(|_| "expected a number and a unit".to_owned())?;
    let ms = libm::round(number * factor);
    if ms > 366.0 * 86_400_000.0 {
        return Err("longer than a year".into());
    }
    if ms < 1.0 {
        return Err("it must be longer than zero".into());
    }
    Ok(ms as u64)
}

/// Whether a span of wall time is none at all, such as `0ms`.
pub fn is_none(text: &str) -> bool {
    let unit = ["ms", "s", "m", "h", "d"].iter().find_map(|unit| text.strip_suffix(unit));
    unit.is_some_and(|number| !number.is_empty() && number.len() <= 15 && number.parse() == Ok(0.0))
}

/// Wall time as the document writes it.
pub fn wall_text(ms: u64) -> String {
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// A date (midnight UTC) or a timestamp with its offset, in milliseconds since 1970 UTC.
pub fn moment(text: &str) -> Result<i64, String> {
    let plain_date =
        text.len() == 10 && text.bytes().enumerate().all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() });
    if plain_date {
        let date: civil::Date = text.parse().map_err(|_| "there is no such day".to_owned())?;
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| "out of range".to_owned())?;
        return Ok(zoned.timestamp().as_millisecond());
    }
    if text.len() > 64 || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("expected a date such as `2026-03-02` or a timestamp such as `2026-03-02T08:00:00Z`".into());
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(t) => Ok(t.as_millisecond()),
        Err(_) if text.parse::<civil::DateTime>().is_ok() => Err("a timestamp needs its offset: add `Z` for UTC".into()),
        Err(_) => Err("expected a date such as `2026-03-02` or a timestamp such as `2026-03-02T08:00:00Z`".into()),
    }
}

impl Step {
    /// The moment `n` steps after `start` (milliseconds since 1970 UTC); months end on a day that exists. `None` past the calendar.
    pub fn after(self, start: i64, n: u64) -> Option<i64> {
        let n = i64::try_from(n).ok()?;
        let mut at = start;
        if self.months != 0 {
            let zoned = jiff::Timestamp::from_millisecond(start).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
            let span = jiff::Span::new().try_months(self.months.checked_mul(n)?).ok()?;
            at = zoned.checked_add(span).ok()?.timestamp().as_millisecond();
        }
        at.checked_add(self.ms.checked_mul(n)?)
    }
}

impl Late<i64> {
    /// The moment, milliseconds since 1970 UTC.
    pub fn moment(&self, scope: &dyn Scope) -> Result<i64, EvalError> {
        match self {
            Late::Given(ms) => Ok(*ms),
            Late::Template(template) => {
                let text = template.render(scope)?;
                moment(text.trim()).map_err(|why| EvalError::new(format!("`{}` gave `{text}`: {why}", template.source())))
            }
        }
    }
}

impl Late<u64> {
    /// The number; a rendered one above `most` is an error.
    pub fn number(&self, scope: &dyn Scope, most: u64) -> Result<u64, EvalError> {
        match self {
            Late::Given(n) => Ok(*n),
            Late::Template(template) => {
                let text = template.render(scope)?;
                let whole = text.trim().strip_suffix(".0").unwrap_or(text.trim());
                whole.parse().ok().filter(|n| *n <= most).ok_or_else(|| {
                    EvalError::new(format!("`{}` gave `{text}`, expected a whole number up to {most}", template.source()))
                })
            }
        }
    }
}
