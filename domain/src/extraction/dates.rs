//! Dates in a text, in the many ways people write them, counted from a day. An impossible or undecided date is found too:
//! it has no reading, or several.

use jiff::ToSpan;
use jiff::civil::{Date, ISOWeekDate, Weekday};

use super::lexicon::{Lang, Sense, Unit};
use super::numbers::{amount, count, ordinal};
use super::words::Text;

/// A date, or what may be one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dated {
    /// What it can mean: one day where it is clear.
    pub readings: Vec<Date>,
    /// Why it is not clear.
    pub why: Option<&'static str>,
    /// Whether it stands for a time at all only beside a cue: "in March", "soon", "the 9th".
    pub weak: bool,
    /// Whether its year was not written.
    pub yearless: bool,
    /// Whether it is the Monday of a numbered week.
    pub week: bool,
}

impl Dated {
    fn clear(date: Date) -> Dated {
        Dated { readings: vec![date], why: None, weak: false, yearless: false, week: false }
    }

    fn unclear(readings: Vec<Date>, why: &'static str) -> Dated {
        Dated { readings, why: Some(why), weak: false, yearless: false, week: false }
    }

    /// The day, where it is one.
    pub(super) fn day(&self) -> Option<Date> {
        match self.readings.as_slice() {
            [one] if self.why.is_none() => Some(*one),
            _ => None,
        }
    }
}

type Found = Option<(Dated, usize)>;

/// A date at a place.
pub(super) fn date(text: &Text<'_>, at: usize, today: Date) -> Found {
    with_weekday(text, at, today)
        .or_else(|| numeric(text, at))
        .or_else(|| written(text, at, today))
        .or_else(|| iso_week(text, at, today))
        .or_else(|| nth_weekday(text, at, today))
        .or_else(|| of_month(text, at, today))
        .or_else(|| relative(text, at, today))
        .or_else(|| vague(text, at, today))
}

fn weekday(text: &Text<'_>, at: usize) -> Option<i8> {
    let day = text.find(at, |s| match s {
        Sense::Weekday(d) => Some(d),
        _ => None,
    })?;
    // "sun", "sat", "mar" and the like are words too.
    (text.word(at).len() > 3 || text.is(at, &["mon", "tue", "wed", "thu", "fri"])).then_some(day)
}

fn month(text: &Text<'_>, at: usize) -> Option<i8> {
    text.find(at, |s| match s {
        Sense::Month(m) => Some(m),
        _ => None,
    })
}

/// A weekday before or behind its date.
fn with_weekday(text: &Text<'_>, at: usize, today: Date) -> Found {
    if let Some(day) = weekday(text, at) {
        let mut next = at + 1;
        next += usize::from(matches!(text.sign(next), Some(',' | '.')));
        next += usize::from(text.is(next, &["the", "den", "dem", "le", "el", "am"]));
        let (dated, to) = numeric(text, next).or_else(|| written(text, next, today))?;
        return Some((agreed(dated, day), to));
    }
    let (dated, to) = numeric(text, at).or_else(|| written(text, at, today))?;
    let behind = to + usize::from(matches!(text.sign(to), Some('(' | ',')));
    let behind = behind + usize::from(text.is(behind, &["a", "is"]));
    match weekday(text, behind) {
        Some(day) if behind > to && dated.day().is_some() => Some((agreed(dated, day), behind + 1)),
        _ => None,
    }
}

fn agreed(dated: Dated, day: i8) -> Dated {
    let fits = |d: &Date| d.weekday().to_monday_one_offset() == day;
    let fitting: Vec<Date> = dated.readings.iter().copied().filter(fits).collect();
    match fitting.as_slice() {
        [one] => Dated { yearless: dated.yearless, ..Dated::clear(*one) },
        _ if dated.readings.is_empty() => dated,
        _ => {
            let near = dated.readings.iter().flat_map(|d| [-3, -2, -1, 1, 2, 3].map(|n| d.saturating_add(n.days()))).find(fits);
            let readings = dated.readings.iter().copied().chain(near).collect();
            Dated::unclear(readings, "the weekday contradicts the date")
        }
    }
}

fn century(digits: &str) -> Option<i16> {
    let year: i16 = digits.parse().ok()?;
    match digits.len() {
        2 => Some(2000 + year),
        4 if (1900..=2199).contains(&year) => Some(year),
        _ => None,
    }
}

fn made(year: i16, month: i8, day: i8) -> Dated {
    Date::new(year, month, day).map_or_else(|_| Dated::unclear(Vec::new(), "there is no such day"), Dated::clear)
}

/// Dates in digits: 2026-03-02, 2026/3/2, 20260302, 02.03.2026, 02.03., 16/03/2026.
fn numeric(text: &Text<'_>, at: usize) -> Found {
    let first = text.digits(at)?;
    if first.len() == 8 && !(text.glued(at + 1) && text.digits(at + 2).is_some() && text.sign(at + 1).is_some()) {
        let (year, month, day) = (first[..4].parse().ok()?, first[4..6].parse().ok()?, first[6..].parse().ok()?);
        let plausible = (2000..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        return plausible.then(|| (made(year, month, day), at + 1));
    }
    let sign = text.sign(at + 1).filter(|s| matches!(s, '-' | '/' | '.'))?;
    let spaced = sign == '.' && text.lang == Lang::De;
    if !text.glued(at + 1) || !(text.glued(at + 2) || spaced) {
        return None;
    }
    let second = text.digits(at + 2)?;
    let third = (text.sign(at + 3) == Some(sign) && text.glued(at + 3) && (text.glued(at + 4) || spaced))
        .then(|| text.digits(at + 4))
        .flatten();
    let small = |d: &str| d.parse::<i8>().ok().filter(|_| d.len() <= 2);
    let Some(third) = third else {
        // "07.09." without a year is read with the next one by the caller's day; a plain "12.5" is no date.
        return None;
    };
    if first.len() == 4 {
        let (year, month, day) = (century(first)?, small(second)?, small(third)?);
        return Some((made(year, month, day), at + 5));
    }
    let (a, b, year) = (small(first)?, small(second)?, century(third)?);
    if sign == '.' {
        return Some((made(year, b, a), at + 5));
    }
    let (day_first, month_first) = (Date::new(year, b, a).ok(), Date::new(year, a, b).ok());
    let words = text.tokens.get(at + 5..).unwrap_or_default().iter().take(4).map(|t| t.text.as_str());
    let named =
        locale(words).or((text.lang != Lang::En).then_some(true)).or_else(|| locale(text.tokens.iter().map(|t| t.text.as_str())));
    let dated = match (day_first, month_first, named) {
        (Some(d), _, Some(true)) => Dated::clear(d),
        (_, Some(m), Some(false)) => Dated::clear(m),
        (Some(d), Some(m), _) if d == m => Dated::clear(d),
        (Some(d), None, None) => Dated::clear(d),
        (None, Some(m), None) => Dated::clear(m),
        (Some(d), Some(m), None) => Dated::unclear(vec![d, m], "day and month can be read both ways"),
        _ => Dated::unclear(Vec::new(), "there is no such day"),
    };
    Some((dated, at + 5))
}

/// Whether words say that the day comes first (`true`) or the month.
fn locale<'w>(words: impl Iterator<Item = &'w str>) -> Option<bool> {
    let mut last = "";
    for word in words {
        match (last, word) {
            (_, "uk" | "british" | "european" | "eu" | "dmy" | "ddmmyyyy" | "europe" | "australian") | ("day", "first") => {
                return Some(true);
            }
            (_, "usa" | "american" | "mdy" | "mmddyyyy")
            | ("month", "first")
            | ("us", "format" | "style" | "date" | "notation" | "order") => {
                return Some(false);
            }
            ("dd", "mm") => return Some(true),
            ("mm", "dd") => return Some(false),
            ("/", _) => {}
            _ => {}
        }
        if word != "/" {
            last = word;
        }
    }
    None
}

/// The next time a day of a month comes, counting today.
fn coming(today: Date, month: i8, day: i8) -> Dated {
    let years = (0..=8).map(|n| Date::new(today.year() + n, month, day));
    let next = years.flatten().find(|d| *d >= today);
    let dated = next.map_or_else(|| Dated::unclear(Vec::new(), "there is no such day"), Dated::clear);
    Dated { yearless: true, ..dated }
}

/// A day number, with whatever ending it has.
fn day_number(text: &Text<'_>, at: usize) -> Option<(i8, usize)> {
    let (n, to) = match text.digits(at) {
        Some(digits) if digits.len() <= 2 => {
            let ending = text.glued(at + 1)
                && (text.is(at + 1, &["st", "nd", "rd", "th", "er", "o"]) || matches!(text.sign(at + 1), Some('.' | 'º')));
            (digits.parse().ok()?, at + 1 + usize::from(ending))
        }
        Some(_) => return None,
        None => {
            let (n, to) = ordinal(text, at).or_else(|| {
                let n = super::numbers::number(text, at).filter(|n| n.value.fract() == 0.0 && n.value < 32.0)?;
                Some((n.value as i32, n.to))
            })?;
            (i8::try_from(n).ok()?, to)
        }
    };
    (1..=99).contains(&n).then_some((n, to))
}

/// A year behind a month: "2026", "'26", "26".
fn year(text: &Text<'_>, at: usize, short: bool) -> Option<(i16, usize)> {
    let at = at + usize::from(text.sign(at) == Some(',') && text.digits(at + 1).is_some_and(|d| d.len() == 4));
    let at = at + usize::from(text.is(at, &["de", "del", "of", "in"]) && text.digits(at + 1).is_some_and(|d| d.len() == 4));
    let digits = text.digits(at)?;
    if digits.len() == 4 {
        return century(digits).map(|y| (y, at + 1));
    }
    let two = short && digits.len() == 2 && digits.parse::<u8>().is_ok_and(|y| (20..=60).contains(&y));
    let behind = super::numbers::unit(text, at + 1).is_none() && super::numbers::percent(text, at + 1).is_none();
    let single = !matches!(text.sign(at + 1), Some('-' | ':')) || !text.glued(at + 1);
    (two && behind && single).then(|| century(digits)).flatten().map(|y| (y, at + 1))
}

/// "2 March 2026", "March 2nd", "2. März", "2 de marzo de 2026", "the second of March".
fn written(text: &Text<'_>, at: usize, today: Date) -> Found {
    if let Some((day, to)) = day_number(text, at) {
        let to = to + usize::from(text.is(to, &["of", "de"]));
        if let Some(named) = month(text, to)
            && !(text.is(to, &["may", "mar"]) && text.is(to + 1, &["be"]))
        {
            let dot = usize::from(text.sign(to + 1) == Some('.') && text.glued(to + 1) && text.digits(to + 2).is_some());
            return Some(match year(text, to + 1 + dot, true) {
                Some((year, to)) => (made(year, named, day), to),
                None => (coming(today, named, day), to + 1),
            });
        }
        // "07.09." in a text whose dates are dotted.
        if text.sign(at + 1) == Some('.')
            && text.glued(at + 1)
            && text.sign(at + 3) == Some('.')
            && text.glued(at + 3)
            && text.lang == Lang::De
        {
            let (day, month): (i8, i8) = (text.digits(at)?.parse().ok()?, text.digits(at + 2)?.parse().ok()?);
            return (text.digits(at + 4).is_none() || !text.glued(at + 4)).then(|| (coming(today, month, day), at + 4));
        }
        return None;
    }
    let named = month(text, at)?;
    let next = at + 1 + usize::from(text.sign(at + 1) == Some('.') && text.glued(at + 1));
    let next = next + usize::from(text.is(next, &["the"]));
    // "March 2026" has no day: it is vague.
    let (day, to) = day_number(text, next)?;
    if super::numbers::unit(text, to).is_some() || super::numbers::percent(text, to).is_some() {
        return None;
    }
    Some(match year(text, to, text.sign(to) == Some(',') || text.glued(to)).or_else(|| year(text, to, true)) {
        Some((year, to)) => (made(year, named, day), to),
        None => (coming(today, named, day), to),
    })
}

/// The Monday of an ISO week.
pub(super) fn monday(year: i16, week: i32) -> Option<Date> {
    let week = i8::try_from(week).ok()?;
    ISOWeekDate::new(year, week, Weekday::Monday).ok().map(ISOWeekDate::date)
}

/// A numbered week of the calendar without a year: its next Monday, counting today.
pub(super) fn coming_week(today: Date, week: i32) -> Dated {
    let year = today.iso_week_date().year();
    let next = (0..=8).filter_map(|n| monday(year + n, week)).find(|d| *d >= today).filter(|_| (1..=53).contains(&week));
    let dated = next.map_or_else(|| Dated::unclear(Vec::new(), "there is no such week"), Dated::clear);
    Dated { week: true, ..dated }
}

/// "KW 36", "ISO week 10", "calendar week 36 of 2026", "2026-W10", "W10 2026", "week 36 of 2026".
fn iso_week(text: &Text<'_>, at: usize, today: Date) -> Found {
    if let Some(digits) = text.digits(at).filter(|d| d.len() == 4) {
        let next = at + 1 + usize::from(text.sign(at + 1) == Some('-'));
        if text.is(next, &["w", "kw"]) && text.digits(next + 1).is_some_and(|d| d.len() <= 2) {
            let (year, week) = (century(digits)?, text.digits(next + 1)?.parse().ok()?);
            return Some((in_year(year, week), next + 2));
        }
        return None;
    }
    let mut next = at;
    let mut sure = text.is(next, &["kw", "cw", "iw", "kalenderwoche", "isoweek", "calweek"]);
    if sure {
        next += 1;
    } else {
        sure = text.is(next, &["iso", "calendar"]);
        next += usize::from(sure);
        let unit = text.means(next, Sense::Unit(Unit::Week)) || text.is(next, &["w"]) && text.glued(next + 1);
        if !unit {
            return None;
        }
        next += 1;
        let named = text.is(next, &["iso", "calendaire", "calendario", "number", "no"]);
        sure |= text.is(next, &["iso", "calendaire"]);
        next += usize::from(named);
    }
    next += usize::from(text.sign(next) == Some('.'));
    let week = match text.digits(next) {
        Some(digits) if digits.len() <= 2 => digits.parse().ok()?,
        Some(_) => return None,
        None => {
            let n = super::numbers::number(text, next)?;
            let week = n.value as i32;
            next = n.to - 1;
            week
        }
    };
    let to = next + 1;
    let joint = to
        + usize::from(matches!(text.sign(to), Some('/' | ',' | '-')))
        + usize::from(text.is(to, &["of", "in", "de", "del", "von", "im", "des"]));
    let joint = joint + usize::from(text.is(joint, &["year", "jahr", "jahres", "the"]));
    match text.digits(joint).filter(|d| d.len() == 4).and_then(century) {
        Some(year) => Some((in_year(year, week), joint + 1)),
        None => sure.then(|| (coming_week(today, week), to)),
    }
}

fn in_year(year: i16, week: i32) -> Dated {
    let found = monday(year, week).filter(|_| (1..=53).contains(&week));
    let dated = found.map_or_else(|| Dated::unclear(Vec::new(), "there is no such week"), Dated::clear);
    Dated { week: true, ..dated }
}

/// "the first Monday of April", "last Monday in June 2026", "second Monday of next month".
fn nth_weekday(text: &Text<'_>, at: usize, today: Date) -> Found {
    let (n, to) = ordinal(text, at)?;
    let day = weekday(text, to)?;
    let mut next = to + 1;
    next += usize::from(text.is(next, &["of", "in", "im", "d", "de", "du", "en", "del"]));
    let (year_of, month_of, to) = if let Some((month, year, to)) = next_month(text, next, today) {
        (Some(year), month, to)
    } else {
        let named = month(text, next)?;
        year(text, next + 1, false).map_or((None, named, next + 1), |(y, to)| (Some(y), named, to))
    };
    let which = Weekday::from_monday_one_offset(day).ok()?;
    let nth = i8::try_from(n).ok()?;
    let of = |year: i16| Date::new(year, month_of, 1).and_then(|d| d.nth_weekday_of_month(nth, which)).ok();
    let found = match year_of {
        Some(year) => of(year),
        None => (0..=2).filter_map(|n| of(today.year() + n)).find(|d| *d >= today),
    };
    Some((found.map_or_else(|| Dated::unclear(Vec::new(), "there is no such day"), Dated::clear), to))
}

/// "next month", "this month": month, year and the place behind.
fn next_month(text: &Text<'_>, at: usize, today: Date) -> Option<(i8, i16, usize)> {
    let at = at + usize::from(text.is(at, &["the", "des", "le", "el", "del"]));
    let next = text.means(at, Sense::Next);
    let pair = (next || text.means(at, Sense::This)) && text.means(at + 1, Sense::Unit(Unit::Month));
    let behind = text.means(at, Sense::Unit(Unit::Month)) && text.means(at + 1, Sense::Next);
    let ahead = i8::from(next || behind);
    (pair || behind).then(|| {
        let first = today.first_of_month().saturating_add(i32::from(ahead).months());
        (first.month(), first.year(), at + 2)
    })
}

/// "the 1st of next month", "the 15th".
fn of_month(text: &Text<'_>, at: usize, today: Date) -> Found {
    let (n, to) = ordinal(text, at)?;
    let day = i8::try_from(n).ok().filter(|d| (1..=31).contains(d))?;
    let next = to + usize::from(text.is(to, &["of", "de", "du", "del"]));
    if let Some((month, year, to)) = next_month(text, next, today) {
        return Some((made(year, month, day), to));
    }
    let the = at.checked_sub(1).is_some_and(|b| text.is(b, &["the", "am", "le", "el", "zum"]));
    let alone = super::numbers::breaks(text, to) || text.is(to, &["for", "with", "and", "please", "instead"]);
    if !(the && alone && text.digits(at).is_some()) {
        return None;
    }
    let months = (0..=12).map(|n| today.first_of_month().saturating_add(n.months()));
    let found = months.filter_map(|m| Date::new(m.year(), m.month(), day).ok()).find(|d| *d >= today)?;
    Some((Dated { weak: true, yearless: true, ..Dated::clear(found) }, to))
}

fn next_weekday(today: Date, day: i8) -> Date {
    let ahead = (i32::from(day) - i32::from(today.weekday().to_monday_one_offset())).rem_euclid(7);
    today.saturating_add((if ahead == 0 { 7 } else { ahead }).days())
}

/// Days counted from today: "tomorrow", "next Monday", "in three weeks", "two weeks from Monday", "a week on Monday".
fn relative(text: &Text<'_>, at: usize, today: Date) -> Found {
    let clear = |date: Date, to: usize| Some((Dated::clear(date), to));
    if text.is(at, &["day"]) && text.is(at + 1, &["after"]) && text.is(at + 2, &["tomorrow"]) {
        return clear(today.saturating_add(2.days()), at + 3);
    }
    if text.is(at, &["apres", "pasado"]) && text.is(at + 1, &["demain", "manana"]) {
        return clear(today.saturating_add(2.days()), at + 2);
    }
    if text.is(at, &["aujourd"]) && text.is(at + 1, &["hui"]) {
        return clear(today, at + 2);
    }
    let near = text.find(at, |s| match s {
        Sense::Today(n) => Some(n),
        _ => None,
    });
    if let Some(n) = near {
        if text.sign(at + 1) == Some('+')
            && let Some((length, to)) = amount(text, at + 2)
            && let Some(days) = length.days()
        {
            return clear(today.saturating_add(n.days()).saturating_add(days.days()), to);
        }
        // "two weeks from today" is read from its beginning; "today's" is no date.
        let owned = text.word(at + 1) == "s" && text.glued(at + 1);
        return (!owned).then(|| Dated::clear(today.saturating_add(n.days()))).map(|d| (d, at + 1));
    }
    span_from(text, at, today).or_else(|| named_day(text, at, today))
}

/// "in three weeks", "three weeks from now", "two weeks from Monday", "a week on Monday", "Monday week".
fn span_from(text: &Text<'_>, at: usize, today: Date) -> Found {
    let preposition = text.is(at, &["in", "dans", "en"]) || text.is(at, &["dentro"]) && text.is(at + 1, &["de"]);
    let from = at + usize::from(preposition) + usize::from(preposition && text.is(at, &["dentro"]));
    let from = from + usize::from(preposition && text.is(from, &["about", "around", "exactly", "roughly", "genau", "another"]));
    let (length, to) = amount(text, from)?;
    let plus = |base: Date| -> Option<Date> {
        let n = length.n?;
        if n.fract() != 0.0 || !(0.0..=520.0).contains(&n) {
            return None;
        }
        match (length.days(), length.in_unit(Unit::Month)) {
            (Some(days), _) => base.checked_add(days.days()).ok(),
            (None, Some(months)) => base.checked_add((months as i32).months()).ok(),
            _ => None,
        }
    };
    let dated = |date: Option<Date>| date.map_or_else(|| Dated::unclear(Vec::new(), "it names no day"), Dated::clear);
    let behind = text.is(to, &["from", "after", "ab", "a", "desde", "following"]);
    if behind {
        if text.is(to + 1, &["now", "jetzt", "maintenant", "ahora", "here"]) {
            return Some((dated(plus(today)), to + 2));
        }
        if text.is(to, &["from", "ab", "desde", "after"]) {
            let next = to + 1 + usize::from(text.is(to + 1, &["the", "this"]));
            let base = with_weekday(text, next, today)
                .or_else(|| numeric(text, next))
                .or_else(|| written(text, next, today))
                .or_else(|| named_day(text, next, today))
                .or_else(|| text.means(next, Sense::Today(0)).then(|| (Dated::clear(today), next + 1)))
                .or_else(|| text.means(next, Sense::Today(1)).then(|| (Dated::clear(today.saturating_add(1.days())), next + 1)));
            // "12 weeks from 2 March" is a length and its start; only "weeks from Monday" and the like count on.
            let (base, end) = base?;
            let counted = weekday(text, next).is_some() && text.digits(next + 1).is_none()
                || text.find(next, |s| matches!(s, Sense::Today(_)).then_some(())).is_some();
            let small =
                length.n.is_some_and(|n| n <= 4.0) || text.find(next, |s| matches!(s, Sense::Today(_)).then_some(())).is_some();
            let counted = counted && small && !text.means(next, Sense::Next);
            return (counted && text.is(to, &["from", "after", "ab"])).then(|| (dated(base.day().and_then(plus)), end));
        }
    }
    if text.is(to, &["on"]) || text.is(to, &["s"]) {
        let small = length.days().is_some_and(|d| d <= 28);
        if let Some(day) = weekday(text, to + 1).filter(|_| small && text.is(to, &["on"]) && text.digits(to + 2).is_none()) {
            return Some((dated(plus(next_weekday(today, day))), to + 2));
        }
    }
    let time = text.is(to, &["time"]) || text.is(to, &["s"]) && text.is(to + 1, &["time"]);
    let ahead = preposition || time;
    let end = if time { to + 1 + usize::from(text.is(to, &["s"])) } else { to };
    // "in three weeks" counts on from today; whether it is meant so, or as a length, is for the cues to say.
    ahead.then(|| (Dated { weak: !time, ..dated(plus(today)) }, end))
}

/// "next Monday", "Monday after next", "Monday week", "this Friday", "lundi prochain".
fn named_day(text: &Text<'_>, at: usize, today: Date) -> Found {
    let at_next = text.means(at, Sense::Next);
    let at_this = text.means(at, Sense::This);
    let after = text.is(at, &["ubernachsten", "uebernaechsten", "ubernachster"]);
    let start = at + usize::from(at_next || at_this || after);
    let day = weekday(text, start)?;
    let end = start + 1;
    let base = next_weekday(today, day);
    let week = 7.days();
    if after || text.is(end, &["after"]) && text.means(end + 1, Sense::Next) {
        return Some((Dated::clear(base.saturating_add(week)), if after { end } else { end + 2 }));
    }
    if text.is(end, &["week"]) || text.is(end, &["in"]) && text.is(end + 1, &["a"]) && text.is(end + 2, &["week"]) {
        return Some((Dated::clear(base.saturating_add(week)), if text.is(end, &["week"]) { end + 1 } else { end + 3 }));
    }
    // "Thursday next week"
    if text.means(end, Sense::Next) && text.means(end + 1, Sense::Unit(Unit::Week)) {
        return Some((Dated::clear(next_weekday(today, 1).saturating_add(i32::from(day - 1).days())), end + 2));
    }
    // "Monday in two weeks": not settled whether from that Monday or from today.
    if text.means(end, Sense::Next) {
        return Some((Dated::clear(base), end + 1));
    }
    // "next Thursday", said before the Thursday of the same week, can be either.
    let english = at_next && text.is(at, &["next", "nxt"]);
    if english && day > today.weekday().to_monday_one_offset() {
        return Some((Dated::unclear(vec![base, base.saturating_add(week)], "this week's or the next one's"), end));
    }
    let plain = !at_next && !at_this;
    // "Mondays", "every Monday" are no day.
    let every = plain
        && (text.word(start).ends_with("days")
            || at > 0 && (text.means(at - 1, Sense::Every) || text.is(at - 1, &["on"]) && text.word(start).ends_with("days")));
    (!every).then(|| (Dated { weak: plain, ..Dated::clear(base) }, end))
}

/// "end of March", "early September", "March 2026", "next month", "as soon as possible", "Easter".
fn vague(text: &Text<'_>, at: usize, today: Date) -> Found {
    let about = |readings: Vec<Date>, to: usize| Some((Dated { weak: true, ..Dated::unclear(readings, "it names no day") }, to));
    let edge = text.is(
        at,
        &[
            "end",
            "beginning",
            "start",
            "early",
            "late",
            "mid",
            "middle",
            "ende",
            "anfang",
            "mitte",
            "fin",
            "debut",
            "mi",
            "finales",
            "principios",
            "mediados",
            "opening",
            "close",
        ],
    );
    let half = super::numbers::ordinal(text, at).is_some_and(|(n, to)| matches!(n, 1 | 2) && text.is(to, &["half"]));
    let mut next = at + usize::from(half);
    if edge || half {
        if written(text, at + 1, today).is_some() {
            return None;
        }
        next += 1;
        while text.is(next, &["of", "in", "the", "de", "des", "du", "d", "to", "mid", "late"]) && next < at + 4 {
            next += 1;
        }
    }
    if let Some(named) = month(text, next).filter(|_| {
        !text.is(next, &["may", "mar", "mars"]) || edge || half || text.digits(next + 1).is_some_and(|d| d.len() == 4)
    }) {
        let (year_of, to) = year(text, next + 1, false).map_or((None, next + 1), |(y, to)| (Some(y), to));
        let readings = if edge { edges(text.word(at), named, year_of, today) } else { Vec::new() };
        return about(readings, to);
    }
    if let Some((.., to)) = next_month(text, next, today) {
        return about(Vec::new(), to);
    }
    let week = text.means(at, Sense::Next) && text.means(at + 1, Sense::Unit(Unit::Week));
    let behind = text.means(at, Sense::Unit(Unit::Week)) && text.means(at + 1, Sense::Next);
    if week || behind {
        return about(vec![next_weekday(today, 1)], at + 2);
    }
    if text.means(at, Sense::Next) && super::numbers::unit(text, at + 1).is_some() {
        return about(Vec::new(), at + 2);
    }
    let quarter =
        text.is(at, &["q"]) && text.glued(at + 1) && text.digits(at + 1).is_some_and(|d| matches!(d, "1" | "2" | "3" | "4"));
    if quarter {
        return about(Vec::new(), at + 2);
    }
    if text.is(at, &["turn"])
        && text.is(at + 1, &["of"])
        && text.is(at + 2, &["the"])
        && super::numbers::unit(text, at + 3).is_some()
    {
        return about(Vec::new(), at + 4);
    }
    let feast = text.is(
        at,
        &[
            "easter",
            "christmas",
            "xmas",
            "ostern",
            "weihnachten",
            "paques",
            "noel",
            "pascua",
            "navidad",
            "thanksgiving",
            "ramadan",
        ],
    );
    let soon = text.find(at, |s| (s == Sense::Sometime).then_some(())).is_some();
    let possible = text.is(at, &["as", "so"]) && text.is(at + 1, &["soon", "bald", "early"]);
    if text.is(at, &["asap"]) || text.is(at, &["as"]) && text.is(at + 1, &["soon"]) && text.is(at + 2, &["as"]) {
        return Some((Dated::unclear(Vec::new(), "it names no day"), at + if text.is(at, &["asap"]) { 1 } else { 4 }));
    }
    if feast || soon || possible {
        return about(Vec::new(), at + 1);
    }
    // "right away", "straight away", "at once" said of a start.
    if text.is(at, &["right", "straight"]) && text.is(at + 1, &["away", "now"])
        || text.is(at, &["lo"]) && text.is(at + 1, &["antes"])
    {
        return about(Vec::new(), at + 2);
    }
    let season = text.is(at, &["spring", "summer", "autumn", "fall", "winter"])
        && at > 0
        && text.is(at - 1, &["in", "the", "this", "next", "early", "late"]);
    let open = season && super::numbers::breaks(text, at + 1);
    if open { about(Vec::new(), at + 1) } else { None }
}

/// The days that the edge of a month can mean.
fn edges(word: &str, month: i8, year: Option<i16>, today: Date) -> Vec<Date> {
    let first = |year: i16| Date::new(year, month, 1).ok();
    let start = match year {
        Some(year) => first(year),
        None => first(today.year()).filter(|d| d.last_of_month() >= today).or_else(|| first(today.year() + 1)),
    };
    let Some(start) = start else { return Vec::new() };
    match word {
        "end" | "late" | "ende" | "fin" | "finales" | "close" => {
            let last = start.last_of_month();
            let monday = last.saturating_sub(i32::from(last.weekday().to_monday_zero_offset()).days());
            vec![monday, last]
        }
        "mid" | "middle" | "mitte" | "mi" | "mediados" => vec![start.saturating_add(14.days())],
        _ => vec![start, start.nth_weekday_of_month(1, Weekday::Monday).unwrap_or(start)],
    }
}

/// A day number that corrects the day of a date said before: "the 9th", "9".
pub(super) fn corrected(text: &Text<'_>, at: usize, before: Date) -> Found {
    let (day, to) = day_number(text, at)?;
    Some((made(before.year(), before.month(), day), to))
}

/// Whether the month of something counted follows: "the first week of June".
pub(super) fn of_a_month(text: &Text<'_>, at: usize) -> bool {
    let at = at + usize::from(text.is(at, &["of", "in", "im", "de", "du", "d", "en"]));
    let next = text.means(at, Sense::Next) || text.is(at, &["the"]);
    month(text, at).is_some() || text.means(at + usize::from(next), Sense::Unit(Unit::Month))
}

/// Whether a unit of time is counted at a place, so that a number there is no date.
pub(super) fn counts(text: &Text<'_>, at: usize) -> bool {
    count(text, at).is_some_and(|n| super::numbers::unit(text, n.to).is_some())
}
