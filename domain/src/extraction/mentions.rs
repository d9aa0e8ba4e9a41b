//! Quantities in a text, wherever they stand and whatever they are of: dates, lengths, places in a row, rhythms, shares, numbers.

use jiff::civil::Date;

use super::dates::{self, Dated};
use super::lexicon::{Lang, Sense, Unit};
use super::numbers::{self, Amount, Share};
use super::words::Text;

/// A place in a row of weeks or the like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// Counted from the first, which is 1.
    Nth(f64),
    /// Counted from the end: 0 is the last.
    Last(u32),
    /// A part of the way.
    Way(u32, u32),
}

/// What is mentioned.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A day.
    Date(Dated),
    /// A length of time.
    Span(Amount),
    /// A place in a row of a unit; `None` the unit of whoever takes it.
    Place(Place, Option<Unit>),
    /// A rhythm: days between two; 0 where whole days do not tell.
    Rhythm(u32),
    /// A part of a whole.
    Share(Share),
    /// Two parts that make a whole, the first of them.
    Split(f64),
    /// A number without a unit.
    Number(f64),
}

/// A quantity and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Mention {
    /// The first token.
    pub at: usize,
    /// The token behind.
    pub to: usize,
    /// What it is.
    pub what: What,
    /// The other end of a range, or the other of two.
    pub other: Option<f64>,
    /// Whether the two are alternatives.
    pub either: bool,
}

/// All quantities of a text, in order.
pub(super) fn mentions(text: &Text<'_>, today: Date) -> Vec<Mention> {
    let mut all: Vec<Mention> = Vec::new();
    let mut at = 0;
    while at < text.tokens.len() {
        match at_place(text, at, today) {
            Some(mention) if mention.to > at => {
                at = mention.to;
                let through = through_week(text, &mention);
                all.push(mention);
                if let Some(through) = through {
                    at = through.to;
                    all.push(through);
                }
            }
            _ => at += 1,
        }
    }
    all
}

/// "KW 37 to 48": the second week of a range, of the year of the first.
fn through_week(text: &Text<'_>, first: &Mention) -> Option<Mention> {
    let What::Date(dated) = &first.what else { return None };
    let day = dated.day().filter(|_| dated.week)?;
    let joint = text.is(first.to, &["to", "until", "till", "through", "bis", "au", "a"])
        || matches!(text.sign(first.to), Some('-' | '–'));
    let at = first.to + 1;
    let week = text.digits(at).filter(|d| joint && d.len() <= 2)?.parse().ok()?;
    let of = at + 1 + usize::from(text.is(at + 1, &["of", "in", "de"]));
    let year = text.digits(of).filter(|d| d.len() == 4 && of > at + 1).and_then(|d| d.parse().ok());
    let monday = dates::monday(year.unwrap_or(day.iso_week_date().year()), week)?;
    let dated = Dated { readings: vec![monday], why: None, weak: false, yearless: year.is_none(), week: true };
    Some(Mention { at, to: if year.is_some() { of + 1 } else { at + 1 }, what: What::Date(dated), other: None, either: false })
}

fn at_place(text: &Text<'_>, at: usize, today: Date) -> Option<Mention> {
    let plain = |(what, to): (What, usize)| Mention { at, to, what, other: None, either: false };
    if is_other(text, at) {
        return None;
    }
    let found = rhythm(text, at)
        .map(|(days, to)| (What::Rhythm(days), to))
        .or_else(|| date_range(text, at, today))
        .or_else(|| {
            if dates::counts(text, at) && !from_today(text, at, today) {
                None
            } else {
                dates::date(text, at, today).map(|(d, to)| (What::Date(d), to))
            }
        })
        .map(plain);
    found
        .or_else(|| quarters_of_year(text, at).map(plain))
        .or_else(|| way(text, at).map(plain))
        .or_else(|| place(text, at))
        .or_else(|| split(text, at).filter(|(w, _)| *w == What::Split(0.5)).map(plain))
        .or_else(|| range(text, at))
        .or_else(|| ambiguous_quarter(text, at).map(plain))
        .or_else(|| numbers::amount(text, at).map(|(a, to)| plain((What::Span(a), to))))
        .or_else(|| split(text, at).map(plain))
        .or_else(|| numbers::share(text, at).map(|(s, to)| plain((What::Share(s), to))))
        .or_else(|| units_first(text, at).map(plain))
        .or_else(|| numbers::number(text, at).map(|n| plain((What::Number(n.value), n.to))))
}

/// Numbers that name things: prices, telephone numbers, versions, times of day.
fn is_other(text: &Text<'_>, at: usize) -> bool {
    if text.digits(at).is_none() {
        return false;
    }
    let money = |n: usize| matches!(text.sign(n), Some('$' | '€' | '£' | '¥' | '#' | '@'));
    let before = at > 0 && (money(at - 1) || text.is(at - 1, &["eur", "usd", "gbp", "chf", "euro", "euros"]));
    let clock = text.sign(at + 1) == Some(':')
        && text.glued(at + 1)
        && text.glued(at + 2)
        && text.digits(at + 2).is_some_and(|d| d.len() == 2 && *d < *"60")
        && text.digits(at).is_some_and(|d| d.len() <= 2 && d.parse::<u8>().is_ok_and(|h| h < 24));
    let behind = numbers::number(text, at).is_some_and(|n| {
        money(n.to)
            || text.is(n.to, &["eur", "usd", "gbp", "chf", "euro", "euros", "dollars", "am", "pm", "uhr"])
                && !text.is(n.to + 1, &["montag"])
    });
    let minutes = at > 1
        && text.sign(at - 1) == Some(':')
        && text.glued(at)
        && text.glued(at - 1)
        && text.digits(at - 2).is_some_and(|d| d.len() <= 2)
        && text.digits(at).is_some_and(|d| d.len() == 2);
    let phone = at > 0 && text.sign(at - 1) == Some('+') && text.glued(at);
    before || clock || minutes || behind || phone
}

/// "two weeks from today" begins with a number and is a date all the same.
fn from_today(text: &Text<'_>, at: usize, today: Date) -> bool {
    dates::date(text, at, today).is_some_and(|(d, to)| !d.weak && to > at + 2)
}

/// "from 2 to 29 March 2026": the first day borrows month and year of the second.
fn date_range(text: &Text<'_>, at: usize, today: Date) -> Option<(What, usize)> {
    let first = text.digits(at).filter(|d| d.len() <= 2)?;
    let ending =
        usize::from(text.glued(at + 1) && (text.is(at + 1, &["st", "nd", "rd", "th"]) || text.sign(at + 1) == Some('.')));
    let joint = at + 1 + ending;
    let joins = text.is(joint, &["to", "until", "till", "through", "bis", "au", "al", "or", "and"])
        || matches!(text.sign(joint), Some('-' | '–'));
    let next = joint + 1 + usize::from(text.is(joint + 1, &["the"]));
    if !joins || text.digits(next).is_none_or(|d| d.len() > 2) {
        return None;
    }
    let (second, _) = dates::date(text, next, today)?;
    let day = second.day()?;
    let first = Date::new(day.year(), day.month(), first.parse().ok()?).ok().filter(|d| *d < day)?;
    let dated = Dated { readings: vec![first], why: None, weak: false, yearless: second.yearless, week: false };
    Some((What::Date(dated), at + 1 + ending))
}

/// A rhythm: "weekly", "every two weeks", "every other week", "twice a week", "1×/wk", "bi-weekly", "semi-weekly".
pub(super) fn rhythm(text: &Text<'_>, at: usize) -> Option<(u32, usize)> {
    let word = |at: usize| {
        text.find(at, |s| match s {
            Sense::Rhythm(days) => Some(days),
            _ => None,
        })
    };
    if text.is(at, &["bi", "semi", "half", "twice", "thrice", "two", "three", "four", "2", "tri", "ten"])
        && word(at + 1).is_some()
    {
        let weekly = word(at + 1) == Some(7);
        return Some((if weekly && text.is(at, &["bi", "two", "2"]) { 14 } else { 0 }, at + 2));
    }
    if let Some(n) = numbers::number(text, at).filter(|n| n.digits && n.value >= 1.0 && n.value < 100.0)
        && word(n.to) == Some(7)
        && n.to == at + 1
        && text.glued(n.to)
    {
        return Some((n.value as u32 * 7, n.to + 1));
    }
    // "14-tägig", "2-wöchig"
    if let Some(n) = numbers::number(text, at).filter(|n| n.value >= 1.0 && n.value < 100.0) {
        let ends = |stems: &[&str]| {
            stems.iter().any(|s| text.word(n.to).strip_prefix(s).is_some_and(|e| matches!(e, "" | "e" | "er" | "en" | "es")))
        };
        let days = if ends(&["tagig", "taglich"]) {
            1
        } else if ends(&["wochig"]) {
            7
        } else {
            0
        };
        if days > 0 {
            return Some((n.value as u32 * days, n.to + 1));
        }
    }
    if let Some(days) = word(at) {
        return Some((days, at + 1));
    }
    // "on Mondays", "on Mondays and Thursdays"
    let each = |k: usize| weekday(text, k) && text.word(k).ends_with("days");
    if text.is(at, &["on"]) && each(at + 1) {
        let more = text.is(at + 2, &["and", "or"]) && each(at + 3);
        return Some(if more { (0, at + 4) } else { (7, at + 2) });
    }
    repeated(text, at).or_else(|| times(text, at)).or_else(|| alternating(text, at))
}

/// "every two weeks", "each week", "alle 14 Tage", "every Monday", "every other week".
fn repeated(text: &Text<'_>, at: usize) -> Option<(u32, usize)> {
    let all = text.is(at, &["all"]) && numbers::number(text, at + 1).is_some();
    if !all && !text.means(at, Sense::Every) || text.is(at, &["per", "pro"]) {
        return None;
    }
    let mut next = at + 1;
    next += usize::from(text.is(next, &["and"]) && text.is(next + 1, &["every"])) * 2;
    next += usize::from(text.is(next, &["les", "las", "los", "single", "las"]));
    let (n, to) = if text.means(next, Sense::Other) {
        (2.0, next + 1)
    } else if let Some((n, to)) =
        numbers::ordinal(text, next).filter(|(n, to)| *n > 0 && (numbers::unit(text, *to).is_some() || weekday(text, *to)))
    {
        (f64::from(n), to)
    } else if let Some(n) = numbers::number(text, next) {
        (n.value, n.to)
    } else if text.is(next, &["few", "couple", "several", "so", "now"]) {
        let to = next + 1 + usize::from(text.is(next + 1, &["of"]));
        return numbers::unit(text, to).map(|_| (0, to + 1));
    } else {
        (1.0, next)
    };
    if weekday(text, to) {
        return Some(((n * 7.0) as u32, to + 1));
    }
    let unit = numbers::unit(text, to)?;
    let days = Amount { n: Some(n), unit }.days().and_then(|d| u32::try_from(d).ok()).unwrap_or(0);
    // "tous les quinze jours", "cada quince días" are two weeks; so are "acht Tage" one.
    let days = match (text.lang, unit, days) {
        (Lang::Fr | Lang::Es, Unit::Day, 15) => 14,
        (Lang::Fr | Lang::Es | Lang::De, Unit::Day, 8) => 7,
        (_, _, days) => days,
    };
    // "every week or two"
    if text.is(to + 1, &["or"]) && numbers::number(text, to + 2).is_some_and(|n| numbers::unit(text, n.to).is_none()) {
        return Some((0, to + 3));
    }
    Some((days, to + 1))
}

fn weekday(text: &Text<'_>, at: usize) -> bool {
    text.find(at, |s| matches!(s, Sense::Weekday(_)).then_some(())).is_some() && text.word(at).len() > 3
}

/// "once a week", "twice per month", "2x/wk", "einmal pro Woche", "une fois par semaine", "once every two weeks".
fn times(text: &Text<'_>, at: usize) -> Option<(u32, usize)> {
    let (n, mut to) = if text.is(at, &["once", "einmal"]) && !text.means(at + 1, Sense::Num(1)) {
        (1.0, at + 1)
    } else if text.is(at, &["twice", "zweimal"]) {
        (2.0, at + 1)
    } else if text.is(at, &["thrice", "dreimal"]) {
        (3.0, at + 1)
    } else {
        let n = numbers::count(text, at).filter(|n| n.value >= 1.0 && n.value <= 31.0)?;
        let sign = matches!(text.sign(n.to), Some('×')) || text.is(n.to, &["x"]);
        let words = &[
            "time",
            "times",
            "mal",
            "fois",
            "vez",
            "veces",
            "deliveries",
            "delivery",
            "drops",
            "drop",
            "shipments",
            "shipment",
            "lieferungen",
            "lieferung",
            "livraisons",
            "livraison",
            "entregas",
            "entrega",
        ];
        let top_up = text.is(n.to, &["top"]) && text.is(n.to + 1, &["up", "ups"]);
        if !(sign || top_up || text.is(n.to, words)) {
            return None;
        }
        (n.value, n.to + 1 + usize::from(top_up))
    };
    let slash = text.sign(to) == Some('/');
    let joint = slash
        || text.means(to, Sense::Article)
        || text.means(to, Sense::Every)
        || text.is(to, &["per", "pro", "par", "por", "in", "a", "la", "al", "die"]);
    if !joint {
        return None;
    }
    if let Some((days, to)) = repeated(text, to) {
        return Some((if days > 0 && (f64::from(days) / n).fract() == 0.0 { (f64::from(days) / n) as u32 } else { 0 }, to));
    }
    to += 1;
    let each = numbers::number(text, to).filter(|n| n.value >= 1.0);
    to = each.map_or(to, |n| n.to);
    let unit = numbers::unit(text, to)?;
    let days = Amount { n: Some(each.map_or(1.0, |n| n.value)), unit }.days().map_or(0.0, |d| d as f64 / n);
    Some((if days.fract() == 0.0 { days as u32 } else { 0 }, to + 1))
}

/// "une semaine sur deux", "alternate weeks", "on alternate weeks".
fn alternating(text: &Text<'_>, at: usize) -> Option<(u32, usize)> {
    if text.means(at, Sense::Article)
        && numbers::unit(text, at + 1) == Some(Unit::Week)
        && text.is(at + 2, &["sur"])
        && text.is(at + 3, &["deux"])
    {
        return Some((14, at + 4));
    }
    if text.is(at, &["alternate", "alternating"]) && numbers::unit(text, at + 1) == Some(Unit::Week) {
        return Some((14, at + 2));
    }
    (text.is(at, &["semana"]) && text.is(at + 1, &["si"]) && text.is(at + 2, &["semana"]) && text.is(at + 3, &["no"]))
        .then_some((14, at + 4))
}

/// A part of the way: "halfway", "midpoint", "a third of the way", "mid-season".
fn way(text: &Text<'_>, at: usize) -> Option<(What, usize)> {
    let middle = text.is(at, &["halfway", "midway", "midpoint", "midseason", "halbzeit", "mitte", "midterm", "saisonmitte"]);
    let two = text.is(at, &["half", "mid"]) && text.is(at + 1, &["way", "point", "season", "term", "time", "through", "mark"]);
    let french = text.is(at, &["mi"]) && text.is(at + 1, &["saison", "parcours", "chemin", "temporada"]);
    let middle_of = text.is(at, &["middle", "milieu", "mitad"])
        && text.is(at + 1, &["of", "de"])
        && text.is(at + 2, &["the", "la", "it", "season", "temporada", "saison", "horizon"])
        && !text.is(at + 2, &["month"])
        && !text.is(at + 3, &["stock", "buy", "mercancia", "month", "compra"]);
    let spanish = text.is(at, &["a"])
        && text.is(at + 1, &["mitad"])
        && text.is(at + 2, &["de"])
        && text.is(at + 3, &["temporada", "camino", "la"]);
    let french_middle = text.is(at, &["milieu"]);
    if middle || two || french || middle_of || spanish || french_middle {
        let to = at
            + if middle || french_middle {
                1
            } else if spanish {
                4
            } else {
                2
            };
        return Some((What::Place(Place::Way(1, 2), None), to));
    }
    let (share, to) = numbers::share(text, at).filter(|(s, _)| !s.counted)?;
    let way = text.is(to, &["of"]) && text.is(to + 1, &["the", "its"]) && text.is(to + 2, &["way"])
        || text.is(to, &["way", "through", "into"]) && !share.percent && !text.is(to + 1, &["the", "dc"])
        || text.is(to, &["in"]) && !share.percent && numbers::breaks(text, to + 1)
        || text.is(to, &["der"]) && text.is(to + 1, &["strecke", "saison", "zeit"])
        || text.is(to, &["of", "into", "through"]) && text.is(to + 1, &["the"]) && text.is(to + 2, &["season", "horizon"]);
    let (n, d) = [2_u32, 3, 4, 5, 8, 10, 100].into_iter().find_map(|d| {
        let n = share.value * f64::from(d);
        (libm::fabs(n - libm::round(n)) < 1e-6).then_some((libm::round(n) as u32, d))
    })?;
    way.then_some((What::Place(Place::Way(n, d), None), to + 1))
}

/// "week 7", "wk5", "the third week", "week seven of twelve", "last week", "weeks 4 and 8".
fn place(text: &Text<'_>, at: usize) -> Option<Mention> {
    let made =
        |what: Place, unit: Unit, to: usize| Mention { at, to, what: What::Place(what, Some(unit)), other: None, either: false };
    let named = numbers::unit(text, at)
        .or_else(|| (text.is(at, &["w"]) && text.glued(at + 1) && text.digits(at + 1).is_some()).then_some(Unit::Week));
    if let Some(unit) = named {
        let next = at + 1;
        let next = next
            + usize::from(
                text.is(next, &["number", "no", "nr", "nummer", "numero"])
                    && (text.digits(next + 1).is_some() || numbers::number(text, next + 1).is_some()),
            );
        let next = next
            + usize::from(
                text.sign(next) == Some('#')
                    || text.sign(next) == Some('.') && text.glued(next) && text.digits(next + 1).is_some(),
            );
        let n = numbers::number(text, next).filter(|n| n.value >= 0.0 && n.value < 1000.0 && n.value.fract() == 0.0)?;
        if numbers::unit(text, n.to).is_some()
            || numbers::percent(text, n.to).is_some()
            || text.sign(next).is_some()
            || starts_date(text, n.to)
        {
            return None;
        }
        let mut mention = made(Place::Nth(n.value), unit, n.to);
        let listed = numbers::number(text, n.to + 1).filter(|m| {
            text.sign(n.to) == Some(',')
                && text.is(m.to, &["and", "or", "und", "oder", "et", "ou", "y", "o"])
                && numbers::number(text, m.to + 1)
                    .is_some_and(|l| numbers::unit(text, l.to).is_none() && numbers::percent(text, l.to).is_none())
        });
        if let Some(m) = listed.filter(|m| numbers::unit(text, m.to).is_none()) {
            mention.other = Some(m.value);
            mention.to = m.to;
            mention.either = true;
            return Some(mention);
        }
        let joint = text.is(n.to, &["or", "to", "and", "bis", "oder", "ou", "o", "y", "et", "und", "a", "through"])
            || matches!(text.sign(n.to), Some('-' | '–' | '/'));
        if joint
            && let Some(m) = numbers::number(text, n.to + 1)
            && m.value.fract() == 0.0
            && m.value > 0.0
            && numbers::unit(text, m.to).is_none()
            && numbers::percent(text, m.to).is_none()
            && !starts_date(text, m.to)
        {
            mention.other = Some(m.value);
            mention.to = m.to;
            mention.either = true;
        }
        return Some(mention);
    }
    let (n, to) = numbers::ordinal(text, at)?;
    // "the seventh of twelve weeks"
    let whole = numbers::amount(text, to + 1).filter(|(a, _)| text.is(to, &["of", "von", "der", "des", "de"]) && a.n.is_some());
    if let Some((amount, _)) = whole
        && n > 0
    {
        return Some(made(Place::Nth(f64::from(n)), amount.unit, to));
    }
    let unit = numbers::unit(text, to)?;
    if unit == Unit::Quarter && text.is(to + 1, &["of"]) {
        return None;
    }
    let what = if n < 0 { Place::Last(n.unsigned_abs() - 1) } else { Place::Nth(f64::from(n)) };
    Some(made(what, unit, to + 1))
}

fn starts_date(text: &Text<'_>, to: usize) -> bool {
    text.find(to, |s| matches!(s, Sense::Month(_)).then_some(())).is_some()
}

/// "12 to 14 weeks", "between 30 and 40%", "12-14 weeks", "10 or 12 weeks".
fn range(text: &Text<'_>, at: usize) -> Option<Mention> {
    let first = numbers::count(text, at).filter(|n| n.to > at)?;
    let percent = numbers::percent(text, first.to);
    let unit_of_first = if percent.is_none() { numbers::unit(text, first.to) } else { None };
    let joint = percent.unwrap_or(first.to + usize::from(unit_of_first.is_some()));
    let word = text.is(joint, &["to", "or", "and", "bis", "oder", "ou", "o", "a", "und", "et", "y", "through"]);
    let sign = matches!(text.sign(joint), Some('-' | '–' | '—' | '~'));
    if !word && !sign {
        return None;
    }
    let article = &["el", "la", "le", "les", "the", "dem", "den", "der"];
    let before = if at > 1 && text.is(at - 1, article) { at - 1 } else { at };
    let between = before > 0 && text.is(before - 1, &["between", "zwischen", "entre"]);
    if text.is(joint, &["and", "und", "et", "y"]) && !between {
        return None;
    }
    let next = joint + 1 + usize::from(text.is(joint + 1, &["maybe", "perhaps", "even", "possibly"]));
    let next = next + usize::from(between && text.is(next, article));
    let second = numbers::count(text, next)?;
    let either = text.is(joint, &["or", "oder", "ou", "o"]);
    if let Some(to) = numbers::percent(text, second.to) {
        let sum = first.value + second.value;
        if sign && libm::fabs(sum - 100.0) < 1e-9 && text.glued(joint) {
            return None;
        }
        let share = Share { value: first.value / 100.0, percent: true, quarters: None, counted: false, total: None };
        return Some(Mention { at, to, what: What::Share(share), other: Some(second.value / 100.0), either });
    }
    let bare =
        unit_of_first.is_none() && numbers::unit(text, second.to).is_none() && percent.is_none() && first.digits && second.digits;
    if bare && (sign || between) && first.value < second.value && libm::fabs(first.value + second.value - 100.0) > 1e-9 {
        let more = text.sign(second.to) == Some('-') && text.glued(second.to);
        let closed = numbers::breaks(text, second.to) || text.is(second.to, &["and", "for", "at", "of"]);
        return (closed && !more).then_some(Mention {
            at,
            to: second.to,
            what: What::Number(first.value),
            other: Some(second.value),
            either: false,
        });
    }
    let unit = numbers::unit(text, second.to)?;
    if unit_of_first.is_some_and(|u| u != unit) {
        return None;
    }
    let amount = Amount { n: Some(first.value), unit };
    Some(Mention { at, to: second.to + 1, what: What::Span(amount), other: Some(second.value), either })
}

/// "three quarters of a year", "drei Viertel des Jahres".
fn quarters_of_year(text: &Text<'_>, at: usize) -> Option<(What, usize)> {
    let (share, to) = numbers::share(text, at).filter(|(s, _)| s.quarters.is_some() || s.value == 0.75)?;
    let of = to + usize::from(text.is(to, &["of", "de", "des", "d"]));
    let year = of + usize::from(text.means(of, Sense::Article) || text.is(of, &["the"]));
    let amount = Amount { n: Some(share.value * 4.0), unit: Unit::Quarter };
    (of > to && numbers::unit(text, year) == Some(Unit::Year)).then_some((What::Span(amount), year + 1))
}

/// "one quarter", "a quarter": of a year or of a whole; both are kept.
fn ambiguous_quarter(text: &Text<'_>, at: usize) -> Option<(What, usize)> {
    numbers::share(text, at).filter(|(s, _)| s.quarters.is_some()).map(|(s, to)| (What::Share(s), to))
}

/// "60/40", "70:30", "60-40".
fn split(text: &Text<'_>, at: usize) -> Option<(What, usize)> {
    if text.is(at, &["fifty"]) && text.is(at + 1, &["fifty"]) {
        return Some((What::Split(0.5), at + 2));
    }
    let first = numbers::number(text, at).filter(|n| n.digits)?;
    let joint = numbers::percent(text, first.to).unwrap_or(first.to);
    if first.value == 50.0 && matches!(text.sign(joint), Some('-' | '–' | '/')) && text.digits(joint + 1) == Some("50") {
        return Some((What::Split(0.5), joint + 2));
    }
    if !matches!(text.sign(joint), Some('/' | ':' | '-' | '–')) && !text.is(joint, &["to", "zu", "a"]) {
        return None;
    }
    let second = numbers::number(text, joint + 1).filter(|n| n.digits)?;
    let whole = first.value + second.value;
    let to = numbers::percent(text, second.to).unwrap_or(second.to);
    let more = matches!(text.sign(to), Some('/' | ':' | '.')) && text.glued(to) && text.digits(to + 1).is_some();
    let said = text.is(to, &["split", "ratio", "aufteilung", "repartition", "reparto"]);
    (!more && (libm::fabs(whole - 100.0) < 1e-9 || said && whole > 0.0)).then_some((What::Split(first.value / whole), to))
}

/// "weeks: 12", "number of weeks = 12".
fn units_first(text: &Text<'_>, at: usize) -> Option<(What, usize)> {
    let unit = numbers::unit(text, at)?;
    let sign = at + 1 + usize::from(matches!(text.sign(at + 1), Some(')' | ']')));
    let signed = matches!(text.sign(sign), Some(':' | '=' | '|'));
    let said = text.is(at + 1, &["is", "are"]);
    if !signed && !said {
        return None;
    }
    let n = numbers::number(text, sign + 1)
        .filter(|n| numbers::unit(text, n.to).is_none() && numbers::percent(text, n.to).is_none())?;
    let plural = text.word(at).ends_with('s') || text.is(at, &["wochen", "tage", "monate", "mois"]);
    plural.then_some((What::Span(Amount { n: Some(n.value), unit }), n.to))
}
