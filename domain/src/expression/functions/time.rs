//! Moments, days and spans, all in UTC. (Calendar by `jiff`.)

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{SignedDuration, Span, Timestamp, ToSpan};

use super::{EvalError, Machine, as_int, as_number, as_text};
use crate::expression::machine::show;
use crate::expression::operators::{finite, moment};
use crate::value::Value;

type Evaluated = Result<Value, EvalError>;

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

const DAY_MS: i64 = 86_400_000;

/// The moment of a text: with an offset, without one (UTC), or a date alone (midnight UTC).
fn parse_moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let utc = |datetime: DateTime| datetime.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp());
    let parsed = text.parse::<Timestamp>().ok().or_else(|| text.parse::<DateTime>().ok().and_then(utc));
    parsed.map(Timestamp::as_millisecond)
}

pub(super) fn timestamp(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let found = match &args[0] {
        Value::Timestamp(ms) => Some(Value::Timestamp(*ms)),
        Value::Int(seconds) => seconds.checked_mul(1000).and_then(moment),
        other => parse_moment(as_text(other)?).map(Value::Timestamp),
    };
    found.ok_or_else(|| EvalError::new(format!("{} is no moment such as 2026-01-05T08:00:00Z or 2026-01-05", show(&args[0]))))
}

pub(super) fn duration(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    if let Value::Duration(ms) = &args[0] {
        return Ok(Value::Duration(*ms));
    }
    let no = |why: &str| EvalError::new(format!("{} is no span of time such as PT1H or 90s{why}", show(&args[0])));
    let span: Span = as_text(&args[0])?.trim().parse().map_err(|_| no(""))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(no(": months and years are not always equally long"));
    }
    let days = i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let rest = span.weeks(0).days(0);
    let within = SignedDuration::try_from(rest).map_err(|_| no(""))?;
    let ms = i64::try_from(within.as_millis()).ok().and_then(|ms| days.checked_mul(DAY_MS)?.checked_add(ms));
    ms.map(Value::Duration).ok_or_else(|| no(": it is too long"))
}

/// The day of a moment or of a date's text.
fn day_of(value: &Value) -> Result<Date, EvalError> {
    let no = || EvalError::new(format!("{} is no date such as 2026-01-05", show(value)));
    let ms = match value {
        Value::Timestamp(ms) => *ms,
        other => parse_moment(as_text(other)?).ok_or_else(no)?,
    };
    let timestamp = Timestamp::from_millisecond(ms).map_err(|_| no())?;
    Ok(timestamp.to_zoned(jiff::tz::TimeZone::UTC).date())
}

pub(super) fn date(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::text(day_of(&args[0])?.to_string()))
}

pub(super) fn next_weekday(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (day, name) = (day_of(&args[0])?, as_text(&args[1])?.to_ascii_lowercase());
    let named = WEEKDAYS.iter().find(|(full, _)| *full == name || (name.len() == 3 && full.starts_with(&name)));
    let Some((_, weekday)) = named else {
        return Err(EvalError::new(format!("{} is no day of the week such as 'monday'", show(&args[1]))));
    };
    let next = day.nth_weekday(1, *weekday).map_err(|_| EvalError::new(format!("no {name} after {day} in the calendar")))?;
    Ok(Value::text(next.to_string()))
}

pub(super) fn add_days(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let days = as_int(&args[1])?;
    let over = || EvalError::new(format!("time overflow: {} and {days} days", show(&args[0])));
    match &args[0] {
        Value::Timestamp(ms) => days.checked_mul(DAY_MS).and_then(|d| ms.checked_add(d)).and_then(moment).ok_or_else(over),
        other => {
            let span = Span::new().try_days(days).map_err(|_| over())?;
            let later = day_of(other)?.checked_add(span).map_err(|_| over())?;
            Ok(Value::text(later.to_string()))
        }
    }
}

pub(super) fn days_between(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let (a, b) = (day_of(&args[0])?, day_of(&args[1])?);
    let span = a.until((jiff::Unit::Day, b)).unwrap_or_else(|_| 0.days());
    Ok(Value::Int(i64::from(span.get_days())))
}

pub(super) fn year(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Int(i64::from(day_of(&args[0])?.year())))
}

pub(super) fn month(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Int(i64::from(day_of(&args[0])?.month())))
}

pub(super) fn day(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    Ok(Value::Int(i64::from(day_of(&args[0])?.day())))
}

pub(super) fn weekday(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let day = day_of(&args[0])?.weekday();
    Ok(Value::text(WEEKDAYS.iter().find(|w| w.1 == day).map_or("", |w| w.0)))
}

pub(super) fn hour(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    match &args[0] {
        Value::Timestamp(ms) => Ok(Value::Int(ms.rem_euclid(DAY_MS) / 3_600_000)),
        other => Err(EvalError::new(format!("{} has no hour", other.kind()))),
    }
}

pub(super) fn season(args: &[Value], _: &mut Machine<'_>) -> Evaluated {
    let week = as_number(&args[0])?;
    let amplitude = args.get(1).map_or(Ok(0.35), as_number)?;
    let phase = args.get(2).map_or(Ok(13.0), as_number)?;
    let index = 1.0 + amplitude * libm::sin(std::f64::consts::TAU * (week - phase) / 52.0);
    finite(index, || format!("season({})", show(&args[0])))
}
