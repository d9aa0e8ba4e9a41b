//! How long an endpoint asks to be left alone, in every form in which that is said. What makes no sense is no answer.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// The longest pause that is reported; who waits has a bound of its own.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Headers that say when a limit is lifted, each with the header that says how much of it is left.
const RESETS: [(&str, &str); 5] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
];

/// The pause that some headers ask for. Moments are compared with the answer's own `Date`, else with `now_ms`.
///
/// `retry-after-ms` goes before `Retry-After` (seconds, a fraction of them, or a date: RFC 9110 §10.2.3). Without either it
/// is the longest wait for a limit of which nothing is left, or, where nobody says what is left, for any of them.
pub(crate) fn pause<'a>(header: impl Fn(&str) -> Option<&'a str>, now_ms: i64) -> Option<Duration> {
    let now = || header("date").and_then(moment).unwrap_or(now_ms);
    let asked = header("retry-after-ms").and_then(|text| span(text, 1e-3));
    let asked = asked.or_else(|| header("retry-after").and_then(|text| span(text, 1.0).or_else(|| until(text, now()))));
    asked.or_else(|| {
        let waits = RESETS.iter().filter_map(|(reset, left)| {
            let left = header(left).and_then(|n| n.trim().parse::<u64>().ok());
            let text = header(reset).filter(|_| left.is_none_or(|n| n == 0))?;
            written(text).or_else(|| until(text, now()))
        });
        waits.max()
    })
}

/// A number of units.
fn span(text: &str, unit: f64) -> Option<Duration> {
    let number: f64 = text.trim().parse().ok()?;
    let seconds = (number * unit).min(LONGEST_PAUSE.as_secs_f64());
    (number >= 0.0).then(|| Duration::from_secs_f64(seconds))
}

/// `1h2m3.5s`, `20ms`, or plain seconds.
fn written(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(seconds) = span(text, 1.0) {
        return Some(seconds);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let tail = &rest[digits..];
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let unit = match &tail[..letters] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        sum = sum.saturating_add(span(&rest[..digits], unit)?);
        rest = &tail[letters..];
    }
    (!text.is_empty()).then(|| sum.min(LONGEST_PAUSE))
}

/// From now to a moment; one that is over is no wait.
fn until(text: &str, now_ms: i64) -> Option<Duration> {
    let wait = moment(text)?.saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(LONGEST_PAUSE))
}

/// Milliseconds since 1970 of a date of HTTP or of RFC 3339.
fn moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let http = || rfc2822::parse(text).ok().map(|zoned| zoned.timestamp());
    let at = http().or_else(|| text.parse::<Timestamp>().ok())?;
    Some(at.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_in_every_form() {
        let now_ms = 1_445_412_420_000; // Wed, 21 Oct 2015 07:27:00 GMT
        let check = |headers: &[(&str, &str)], expect: Option<u64>| {
            let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, text)| *text);
            let told = pause(header, now_ms).map(|d| u64::try_from(d.as_millis()).expect("short"));
            assert_eq!(told, expect, "{headers:?}");
        };
        check(&[], None);
        check(&[("retry-after", "2")], Some(2000));
        check(&[("retry-after", " 0 ")], Some(0));
        check(&[("retry-after", "0.5")], Some(500));
        check(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(60_000));
        check(&[("retry-after", "Wed, 21 Oct 2015 07:26:00 GMT")], Some(0));
        check(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), ("date", "Wed, 21 Oct 2015 07:27:55 GMT")], Some(5000));
        check(&[("retry-after-ms", "20"), ("retry-after", "2")], Some(20));
        check(&[("retry-after-ms", "soon"), ("retry-after", "2")], Some(2000));
        check(&[("retry-after", "-5")], None);
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "NaN")], None);
        check(&[("retry-after", "inf")], Some(86_400_000));
        check(&[("retry-after", "99999999999999999999999")], Some(86_400_000));
        check(&[("retry-after", "Tue, 31 Dec 2999 23:59:59 GMT")], Some(86_400_000));
        check(&[("x-ratelimit-reset-requests", "1m30s")], Some(90_000));
        check(&[("x-ratelimit-reset-requests", "20ms"), ("x-ratelimit-reset-tokens", "6m0s")], Some(360_000));
        let left = ("x-ratelimit-remaining-tokens", "7000");
        check(&[("x-ratelimit-reset-requests", "20ms"), ("x-ratelimit-reset-tokens", "6m0s"), left], Some(20));
        check(&[("x-ratelimit-reset-requests", "1h2m3.5s")], Some(3_723_500));
        check(&[("x-ratelimit-reset-requests", "12")], Some(12_000));
        check(&[("x-ratelimit-reset-requests", "1y")], None);
        check(&[("x-ratelimit-reset-requests", "s")], None);
        check(&[("x-ratelimit-reset-requests", "")], None);
        check(&[("anthropic-ratelimit-requests-reset", "2015-10-21T07:27:30Z")], Some(30_000));
    }
}
