//! Numbers, parts of one, and lengths of time in a text. Each reader looks at one place and says how far it read.

use super::lexicon::{Lang, Sense, Unit};
use super::words::{Kind, Text};

/// Words of one number at most.
const MAX_WORDS: usize = 8;

/// A number and the token behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// What it says.
    pub value: f64,
    /// The token behind.
    pub to: usize,
    /// Whether it stands in digits.
    pub digits: bool,
}

/// A number in digits or words.
pub(super) fn number(text: &Text<'_>, at: usize) -> Option<Number> {
    if let Some(negative) = minus(text, at) {
        let number = in_digits(text, negative).or_else(|| in_words(text, negative))?;
        return Some(Number { value: -number.value, ..number });
    }
    let pointed = text.is(at, &["point"]).then(|| in_words(text, at + 1)).flatten().filter(|n| n.value < 10.0);
    if let Some(tenths) = pointed {
        return Some(Number { value: tenths.value / 10.0, ..tenths });
    }
    let number = in_digits(text, at).or_else(|| in_words(text, at))?;
    let factor = match text.word(number.to) {
        "million" | "millions" | "mio" | "millionen" | "millones" => 1e6,
        "k" if number.digits && text.glued(number.to) => 1e3,
        "m" | "mn" if number.digits && text.glued(number.to) => 1e6,
        "thousand" | "tausend" | "mille" | "mil" if number.digits => 1e3,
        _ => return Some(number),
    };
    Some(Number { value: number.value * factor, to: number.to + 1, ..number })
}

/// The place behind a sign or word that makes a number negative.
fn minus(text: &Text<'_>, at: usize) -> Option<usize> {
    let before = at.checked_sub(1).is_some_and(|b| text.digits(b).is_some());
    let sign = matches!(text.sign(at), Some('-' | '−' | '–')) && text.glued(at + 1) && !(before && text.glued(at));
    (text.is(at, &["minus", "negative", "moins", "menos"]) || sign && !before).then_some(at + 1)
}

fn in_digits(text: &Text<'_>, at: usize) -> Option<Number> {
    // ".35"
    if text.sign(at) == Some('.') && text.glued(at + 1) && text.tokens.get(at).is_some_and(|t| t.apart) {
        let value = format!("0.{}", text.digits(at + 1)?).parse().ok()?;
        return Some(Number { value, to: at + 2, digits: true });
    }
    let mut whole = text.digits(at)?.to_owned();
    let mut to = at + 1;
    let mut tail = String::new();
    while let Some(sign @ ('.' | ',' | '\'')) = text.sign(to)
        && text.glued(to)
        && text.glued(to + 1)
        && let Some(more) = text.digits(to + 1)
        && to < at + 1 + 2 * MAX_WORDS
    {
        let repeated = text.sign(to + 2) == Some(sign) && text.digits(to + 3).is_some() && text.glued(to + 3);
        let thousands = more.len() == 3 && whole != "0" && (sign == if text.lang == Lang::En { ',' } else { '.' } || repeated);
        if !thousands {
            tail = more.to_owned();
            to += 2;
            break;
        }
        whole.push_str(more);
        to += 2;
    }
    let value = if tail.is_empty() { whole.parse().ok()? } else { format!("{whole}.{tail}").parse().ok()? };
    Some(Number { value, to, digits: true })
}

fn in_words(text: &Text<'_>, at: usize) -> Option<Number> {
    let num = |at: usize| {
        text.find(at, |s| match s {
            Sense::Num(n) => Some(n),
            _ => None,
        })
    };
    let (mut total, mut current, mut to) = (0_u32, None::<u32>, at);
    while to < at + MAX_WORDS {
        let Some(n) = num(to) else {
            // "twenty and one", "treinta y dos", "vingt et un"
            let joint = text.is(to, &["and", "y", "et"]) && current.is_some_and(|c| c >= 20 && (c % 10 == 0 || c >= 100));
            let next = num(to + 1).or_else(|| (text.is(to + 1, &["un", "une", "uno", "una"])).then_some(1));
            match (joint, next, current) {
                (true, Some(next), Some(c)) if next < 10 || c >= 100 && next < 100 => {
                    current = Some(c + next);
                    to += 2;
                    continue;
                }
                _ => break,
            }
        };
        let grown = match (current, n) {
            (None, n) => Some(n),
            (Some(c), 12) if text.is(to, &["dozen", "dozens"]) && c < 20 => Some(c * 12),
            (Some(c), 100) if c < 100 => Some(c * 100),
            (Some(c), 1000) if c < 1000 => {
                total = c * 1000;
                Some(0)
            }
            (Some(4), 20) if text.lang == Lang::Fr => Some(80),
            (Some(10), n @ 7..=9) if text.lang == Lang::Fr => Some(10 + n),
            (Some(c), n) if c >= 20 && c % 10 == 0 && c < 100 && n < 10 => Some(c + n),
            (Some(c @ (60 | 80)), n) if text.lang == Lang::Fr && n < 20 => Some(c + n),
            (Some(0), n) if total > 0 => Some(n),
            (Some(c), n) if c >= 100 && c % 100 == 0 && n < 100 => Some(c + n),
            _ => None,
        };
        let Some(grown) = grown else { break };
        current = Some(grown);
        to += 1;
    }
    let mut value = f64::from(total) + f64::from(current?);
    if to == at {
        return None;
    }
    // "two and a half", "zwei einhalb"
    if text.is(to, &["and"]) && text.is(to + 1, &["a", "one"]) && text.is(to + 2, &["half"]) {
        value += 0.5;
        to += 3;
    }
    // "twelve point five"
    if text.is(to, &["point", "komma", "virgule", "coma"])
        && let Some(digit) = num(to + 1).filter(|n| *n < 10)
    {
        value += f64::from(digit) / 10.0;
        to += 2;
    }
    Some(Number { value, to, digits: false })
}

/// A number, or "a" or "one" standing for it.
pub(super) fn count(text: &Text<'_>, at: usize) -> Option<Number> {
    number(text, at).or_else(|| {
        let one = text.means(at, Sense::Article);
        let dozen = one.then(|| number(text, at + 1)).flatten().filter(|n| n.value >= 12.0 && !n.digits);
        dozen.or_else(|| one.then_some(Number { value: 1.0, to: at + 1, digits: false }))
    })
}

/// The place of something in an order: "third", "3rd", "last".
pub(super) fn ordinal(text: &Text<'_>, at: usize) -> Option<(i32, usize)> {
    if let Some(digits) = text.digits(at) {
        let n: i32 = digits.parse().ok().filter(|n| *n <= 1000)?;
        let ending = text.is(at + 1, &["st", "nd", "rd", "th", "er", "ere", "eme", "e", "o", "a", "nd"]) && text.glued(at + 1);
        let dotted =
            text.sign(at + 1) == Some('.') && text.glued(at + 1) && text.lang == Lang::De && !text.word(at + 2).is_empty();
        let sign = matches!(text.sign(at + 1), Some('º' | 'ª' | '°'));
        return (ending || dotted || sign).then_some((n, at + 2));
    }
    let ord = |at: usize| {
        text.find(at, |s| match s {
            Sense::Ord(n) => Some(n),
            _ => None,
        })
    };
    if let Some(n) = ord(at) {
        // "second to last", "last but one"
        if n == 2 && text.is(at + 1, &["to"]) && ord(at + 2) == Some(-1) {
            return Some((-2, at + 3));
        }
        if n == -1 && text.is(at + 1, &["but"]) && text.is(at + 2, &["one"]) {
            return Some((-2, at + 3));
        }
        return Some((n, at + 1));
    }
    // "twenty-first"
    let tens = in_words(text, at).filter(|n| n.value >= 20.0 && n.value % 10.0 == 0.0)?;
    let one = ord(tens.to).filter(|n| (1..10).contains(n))?;
    Some((tens.value as i32 + one, tens.to + 1))
}

/// A unit of time at a place.
pub(super) fn unit(text: &Text<'_>, at: usize) -> Option<Unit> {
    text.find(at, |s| match s {
        Sense::Unit(u) => Some(u),
        _ => None,
    })
    .or_else(|| {
        // "w" and "d" behind digits.
        let short = text.glued(at) && at > 0 && text.digits(at - 1).is_some();
        match text.word(at) {
            "w" if short => Some(Unit::Week),
            "d" if short => Some(Unit::Day),
            "m" if short => Some(Unit::Month),
            "y" if short => Some(Unit::Year),
            _ => None,
        }
    })
}

/// A length of time: so many units; `None` is "a few".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Amount {
    /// How many.
    pub n: Option<f64>,
    /// Of what.
    pub unit: Unit,
}

impl Amount {
    /// Whole days, where it has some: months have none.
    pub(super) fn days(self) -> Option<i64> {
        let n = self.n?;
        let days = match self.unit {
            Unit::Day => n,
            Unit::Week => n * 7.0,
            Unit::Fortnight => n * 14.0,
            _ => return None,
        };
        (days.fract() == 0.0 && days.abs() < 1e6).then_some(days as i64)
    }

    /// The amount in another unit, where it is whole there.
    pub(super) fn in_unit(self, to: Unit) -> Option<f64> {
        let n = self.n?;
        if n.abs() > 1e6 {
            return None;
        }
        let whole = |x: f64| (libm::fabs(x - libm::round(x)) < 1e-9).then(|| libm::round(x));
        if self.unit == to {
            return Some(n);
        }
        let months = match self.unit {
            Unit::Month => Some(n),
            Unit::Quarter => Some(n * 3.0),
            Unit::Half => Some(n * 6.0),
            Unit::Year => Some(n * 12.0),
            _ => None,
        };
        let size = |u: Unit| match u {
            Unit::Month => 1.0,
            Unit::Quarter => 3.0,
            Unit::Half => 6.0,
            _ => 12.0,
        };
        match (to, months, self.days()) {
            (Unit::Week, Some(months), _) => whole(months).map(|m| libm::round(m * 52.0 / 12.0)),
            (Unit::Week, None, Some(days)) => whole(days as f64 / 7.0),
            (Unit::Day, None, Some(days)) => Some(days as f64),
            (Unit::Day, Some(months), _) => whole(months).map(|m| libm::round(m * 365.0 / 12.0)),
            (Unit::Fortnight, None, Some(days)) => whole(days as f64 / 14.0),
            (Unit::Month | Unit::Quarter | Unit::Half | Unit::Year, Some(months), _) => whole(months / size(to)),
            _ => None,
        }
    }
}

/// A length of time at a place: "12 weeks", "a fortnight", "half a year", "a few weeks", "weeks: 12".
pub(super) fn amount(text: &Text<'_>, at: usize) -> Option<(Amount, usize)> {
    if text.is(at, &["anderthalb", "eineinhalb"]) {
        return unit(text, at + 1).map(|unit| (Amount { n: Some(1.5), unit }, at + 2));
    }
    if let Some(found) = of_half(text, at) {
        return Some(found);
    }
    if text.is(
        at,
        &[
            "few",
            "several",
            "couple",
            "some",
            "many",
            "paar",
            "einige",
            "mehrere",
            "quelques",
            "plusieurs",
            "unas",
            "unos",
            "algunas",
            "varias",
            "pocas",
        ],
    ) {
        let to = at + 1 + usize::from(text.is(at + 1, &["of", "de"]));
        return unit(text, to).map(|unit| (Amount { n: None, unit }, to + 1));
    }
    let first = count(text, at)?;
    if text.is(first.to, &["few", "couple", "handful", "paar"]) && !first.digits {
        return amount(text, first.to).map(|(a, to)| (Amount { n: None, ..a }, to));
    }
    let mut to = first.to;
    // "12 full weeks", "12 calendar weeks", "12 selling weeks", "a dozen of weeks"
    if unit(text, to).is_none() && unit(text, to + 1).is_some() && text.sign(to).is_none() && is_plain_filler(text, to) {
        to += 1;
    }
    let unit = unit(text, to)?;
    let fraction = text.is(to + 1, &["and"]) && text.is(to + 2, &["a"]) && text.is(to + 3, &["half", "quarter"]);
    if fraction {
        let part = if text.is(to + 3, &["half"]) { 0.5 } else { 0.25 };
        return Some((Amount { n: Some(first.value + part), unit }, to + 4));
    }
    Some((Amount { n: Some(first.value), unit }, to + 1))
}

fn is_plain_filler(text: &Text<'_>, at: usize) -> bool {
    text.is(
        at,
        &[
            "full",
            "whole",
            "calendar",
            "selling",
            "trading",
            "complete",
            "consecutive",
            "straight",
            "of",
            "solid",
            "total",
            "more",
            "volle",
            "ganze",
            "pleines",
            "completas",
            "ish",
            "odd",
            "single",
            "entire",
            "season",
        ],
    )
}

fn of_half(text: &Text<'_>, at: usize) -> Option<(Amount, usize)> {
    let start = if text.means(at, Sense::Article) && text.means(at + 1, Sense::Part(2)) { at + 1 } else { at };
    if !text.means(start, Sense::Part(2)) {
        return None;
    }
    let to = start + 1 + usize::from(text.means(start + 1, Sense::Article));
    let amount = match unit(text, to)? {
        Unit::Year => Amount { n: Some(1.0), unit: Unit::Half },
        unit => Amount { n: Some(0.5), unit },
    };
    Some((amount, to + 1))
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Of one.
    pub value: f64,
    /// Whether it stands as a percentage.
    pub percent: bool,
    /// The same words as quarters of a year, where they can mean these.
    pub quarters: Option<f64>,
    /// Whether it is two numbers, "300 of 1000", which need not be a share at all.
    pub counted: bool,
    /// The whole, where it is a number.
    pub total: Option<f64>,
}

impl Share {
    fn of(value: f64) -> Share {
        Share { value, percent: false, quarters: None, counted: false, total: None }
    }
}

/// Whether "percent" stands at a place, and the place behind.
pub(super) fn percent(text: &Text<'_>, at: usize) -> Option<usize> {
    if matches!(text.sign(at), Some('%' | '％')) {
        return Some(at + 1);
    }
    if text.means(at, Sense::Percent) && !text.is(at, &["percentage"]) {
        return Some(at + 1);
    }
    let pairs = [("per", "cent"), ("pour", "cent"), ("por", "ciento"), ("por", "cien")];
    pairs.iter().any(|(a, b)| text.word(at) == *a && text.word(at + 1) == *b).then_some(at + 2)
}

/// A share at a place: "40%", "a third", "3/4", "½", "one in three", "300 of 1000".
pub(super) fn share(text: &Text<'_>, at: usize) -> Option<(Share, usize)> {
    if let Some(value) = match text.sign(at) {
        Some('½') => Some(0.5),
        Some('¼') => Some(0.25),
        Some('¾') => Some(0.75),
        Some('⅓') => Some(1.0 / 3.0),
        Some('⅔') => Some(2.0 / 3.0),
        Some('⅕') => Some(0.2),
        _ => None,
    } {
        return Some((Share::of(value), at + 1));
    }
    if let Some(first) = number(text, at) {
        if let Some(to) = percent(text, first.to) {
            return Some((Share { percent: true, ..Share::of(first.value / 100.0) }, to));
        }
        if let Some(found) = two_numbers(text, first) {
            return Some(found);
        }
    }
    one_in(text, at).or_else(|| part(text, at))
}

/// Words for single pieces of what is shared out.
pub(super) const PIECES: &[&str] = &[
    "unit",
    "units",
    "piece",
    "pieces",
    "pcs",
    "pair",
    "pairs",
    "item",
    "items",
    "garment",
    "garments",
    "carton",
    "cartons",
    "box",
    "boxes",
    "stuck",
    "teile",
    "einheiten",
    "unites",
    "unidades",
    "piezas",
    "pallets",
    "pallet",
    "articles",
    "stk",
];

/// "one unit in four", "two pieces out of five", "every third unit".
fn one_in(text: &Text<'_>, at: usize) -> Option<(Share, usize)> {
    if text.means(at, Sense::Every) {
        let (n, to) = ordinal(text, at + 1).filter(|(n, _)| *n > 1)?;
        let piece = text.is(to, PIECES);
        return (piece || breaks(text, to))
            .then(|| (Share { counted: true, ..Share::of(1.0 / f64::from(n)) }, to + usize::from(piece)));
    }
    let first = count(text, at)?;
    let piece = text.is(first.to, PIECES);
    let joint = first.to + usize::from(piece);
    let out = usize::from(text.is(joint, &["out"]));
    if !text.is(joint + out, &["in", "of", "von", "sur", "de"]) {
        return None;
    }
    let every = joint + out + 1 + usize::from(text.is(joint + out + 1, &["every", "the", "our"]));
    let second = number(text, every).filter(|s| s.value > first.value && (piece || s.value <= 20.0))?;
    (unit(text, second.to).is_none() && percent(text, second.to).is_none() && !text.is(second.to, &["stores", "shops"]))
        .then(|| (Share { counted: true, total: Some(second.value), ..Share::of(first.value / second.value) }, second.to))
}

fn two_numbers(text: &Text<'_>, first: Number) -> Option<(Share, usize)> {
    // "3/4", not "10wks / start" and not "16/03".
    if text.sign(first.to) == Some('/') && text.glued(first.to) && text.glued(first.to + 1) && first.digits {
        let second = in_digits(text, first.to + 1)?;
        let known = [2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 100.0].contains(&second.value);
        let more = text.sign(second.to) == Some('/');
        return (known && first.value < second.value && first.value > 0.0 && !more)
            .then(|| (Share::of(first.value / second.value), second.to));
    }
    let every = text.is(first.to, &["in"]) || text.is(first.to, &["out"]) && text.is(first.to + 1, &["of"]);
    let of = text.is(first.to, &["of", "von", "sur", "de"]);
    if !every && !of {
        return None;
    }
    let mut to = first.to + 1 + usize::from(text.is(first.to, &["out"]));
    while text.is(to, &["the", "our", "every", "a", "total", "den", "les", "los", "las"]) && to < first.to + 5 {
        to += 1;
    }
    let second = number(text, to).filter(|s| s.value > first.value && s.value > 0.0 && first.value >= 0.0)?;
    if unit(text, second.to).is_some() || text.is(second.to, &["stores", "shops"]) {
        return None;
    }
    // "week 6 of 12" is no share: the caller reads places first.
    Some((Share { counted: true, total: Some(second.value), ..Share::of(first.value / second.value) }, second.to))
}

fn part(text: &Text<'_>, at: usize) -> Option<(Share, usize)> {
    let of = |at: usize| {
        text.find(at, |s| match s {
            Sense::Part(n) => Some(n),
            _ => None,
        })
    };
    let counted = count(text, at).filter(|n| n.value >= 1.0 && n.value < 20.0 && !(n.value == 1.0 && n.digits));
    if let Some(n) = counted
        && let Some(parts) = of(n.to)
    {
        if unit(text, n.to + 1).is_some() && parts != 4 && parts != 2 || f64::from(parts) < n.value {
            return None;
        }
        let value = n.value / f64::from(parts);
        let quarters = (parts == 4 && unit(text, n.to) == Some(Unit::Quarter)).then_some(n.value);
        return Some((Share { quarters, ..Share::of(value) }, n.to + 1));
    }
    let parts = of(at)?;
    let plain = text.is(
        at,
        &["half", "halfte", "haelfte", "moitie", "mitad", "drittel", "viertel", "funftel", "fuenftel", "zehntel", "tiers"],
    );
    let determined = at.checked_sub(1).is_some_and(|b| text.is(b, &["la", "le", "el", "die", "das", "der", "un", "one"]));
    let noun = !matches!(parts, 3 | 5 | 6 | 8 | 10 | 20) && determined && text.lang != Lang::En;
    (plain || noun).then(|| (Share::of(1.0 / f64::from(parts)), at + 1))
}

/// Whether a token ends a clause.
pub(super) fn breaks(text: &Text<'_>, at: usize) -> bool {
    let Some(token) = text.tokens.get(at) else { return true };
    match token.kind {
        Kind::Line => true,
        Kind::Sign(c) => {
            matches!(
                c,
                '.' | '!'
                    | '?'
                    | ';'
                    | ','
                    | ':'
                    | '('
                    | ')'
                    | '['
                    | ']'
                    | '/'
                    | '|'
                    | '{'
                    | '}'
                    | '–'
                    | '—'
                    | '…'
                    | '•'
                    | '*'
                    | '+'
            ) || c == '-' && token.apart
        }
        _ => false,
    }
}
