//! From claims to values: the newest message first, the last word of a correction, one value or none.

use jiff::civil::Date;

use super::claims::{Claim, Raw, Says};
use super::cues::Sought;
use super::frame::Frame;
use super::lexicon::Unit;
use super::mentions::Place;
use crate::scenario::{Parameter, Reads};
use crate::value::Value;

/// Tokens within which a word of correction belongs to the claim behind it.
const TURN: usize = 9;

/// What came of one parameter.
#[derive(Clone, Debug)]
pub(super) enum Settled {
    /// A value, and the claim it came from.
    Value(Value, Claim),
    /// Something was said that settles nothing: readings, why, and the claim.
    Open(Vec<Value>, String, Claim),
    /// Nothing was said.
    Silent,
}

/// What is known of the parameters settled before.
pub(super) struct Known<'a> {
    /// All parameters.
    pub parameters: &'a [Parameter],
    /// As they are sought.
    pub sought: &'a [Sought],
    /// Their values so far; a default where nothing was settled.
    pub values: &'a [Option<Value>],
    /// Which of them are open.
    pub open: &'a [bool],
}

enum Reading {
    Value(Value),
    Bad(Vec<Value>, String),
}

impl Known<'_> {
    /// Settles one parameter.
    pub(super) fn settle(&self, param: usize, claims: &[Claim], frame: &Frame) -> Settled {
        let mine: Vec<&Claim> = claims.iter().filter(|c| c.param == param).collect();
        let Some(newest) = mine.iter().map(|c| frame.age[c.at]).min() else { return Settled::Silent };
        let mine: Vec<&Claim> = mine.into_iter().filter(|c| frame.age[c.at] == newest).collect();
        let strong = mine.iter().any(|c| c.strong && matches!(c.says, Says::Value(_) | Says::Hard(..)));
        let turns = |c: &Claim| frame.turns.iter().any(|t| *t < c.at && c.at - t <= TURN);
        let weak_too = matches!(self.sought[param].reads, Reads::Date | Reads::Share | Reads::Rhythm);
        let mine: Vec<&Claim> = mine.into_iter().filter(|c| c.strong || !strong || !weak_too || turns(c)).collect();
        let mine = self.last_words(&mine, frame, claims);
        let denied = mine.iter().any(|c| c.says == Says::Denied);
        let said: Vec<&Claim> = mine.iter().copied().filter(|c| c.says != Says::Denied).collect();
        self.decide(param, &said, frame).unwrap_or_else(|| match mine.first() {
            Some(first) if denied => Settled::Open(Vec::new(), "it is only said what it is not".into(), (*first).clone()),
            _ => Settled::Silent,
        })
    }

    /// The claims from the last correction on.
    fn last_words<'c>(&self, mine: &[&'c Claim], frame: &Frame, all: &[Claim]) -> Vec<&'c Claim> {
        let mut from = 0;
        for (n, pair) in mine.windows(2).enumerate() {
            let (before, after) = (pair[0], pair[1]);
            let corrects = frame.turns.iter().any(|t| {
                *t >= before.to && *t < after.to && after.at.saturating_sub(*t) <= TURN
                    // "no" in "no markdown" corrects nothing else.
                    && !all.iter().any(|c| c.at <= *t && *t < c.to)
                    && !all.iter().any(|c| c.param != after.param && *t < c.at && c.to <= after.at && frame.clause[c.at] == frame.clause[*t])
            });
            if corrects && after.says != Says::Denied {
                from = n + 1;
            }
        }
        mine.get(from..).unwrap_or_default().to_vec()
    }

    fn decide(&self, param: usize, said: &[&Claim], frame: &Frame) -> Option<Settled> {
        let first = *said.first()?;
        let mut values: Vec<(Value, &Claim)> = Vec::new();
        let mut bad: Vec<(Vec<Value>, String, &Claim)> = Vec::new();
        let mut soft: Vec<(Vec<Value>, String, &Claim)> = Vec::new();
        for claim in said {
            let readings = |raws: &[Raw]| -> Vec<Value> {
                raws.iter()
                    .filter_map(|r| match self.read(param, r) {
                        Reading::Value(v) => Some(v),
                        Reading::Bad(..) => None,
                    })
                    .collect()
            };
            match &claim.says {
                Says::Value(raw) => match self.read(param, raw) {
                    Reading::Value(value) => {
                        if !values.iter().any(|(v, _)| same(v, &value)) {
                            values.push((value, claim));
                        }
                    }
                    Reading::Bad(readings, why) => bad.push((readings, why, claim)),
                },
                Says::Hard(raws, why) => bad.push((readings(raws), (*why).to_owned(), claim)),
                Says::Soft(raws, why) => soft.push((readings(raws), (*why).to_owned(), claim)),
                Says::Denied => {}
            }
        }
        // What was left open is settled by a later sentence that chooses one of the readings.
        if let [(value, claim)] = values.as_slice()
            && !bad.is_empty()
            && bad.iter().all(|(r, _, c)| frame.sentence[c.at] < frame.sentence[claim.at] && r.iter().any(|v| same(v, value)))
        {
            return Some(Settled::Value(value.clone(), (*claim).clone()));
        }
        let open = |mut all: Vec<(Vec<Value>, String, &Claim)>| {
            let (readings, why, claim) = all.remove(0);
            let mut readings = readings;
            all.into_iter().flat_map(|(r, ..)| r).chain(values.iter().map(|(v, _)| v.clone())).for_each(|v| {
                if !readings.iter().any(|r| same(r, &v)) {
                    readings.push(v);
                }
            });
            Settled::Open(readings, why, claim.clone())
        };
        if !bad.is_empty() {
            return Some(open(bad));
        }
        match values.as_slice() {
            [(value, claim)] => Some(Settled::Value(value.clone(), (*claim).clone())),
            [] if !soft.is_empty() => Some(open(soft)),
            [] => None,
            _ => {
                let readings = values.iter().map(|(v, _)| v.clone()).collect();
                Some(Settled::Open(readings, "different values are named".into(), first.clone()))
            }
        }
    }

    /// A claim's quantity as a value of its parameter.
    fn read(&self, param: usize, raw: &Raw) -> Reading {
        let sought = &self.sought[param];
        let value = match raw {
            Raw::Value(value) => value.clone(),
            Raw::Number(n) => number(*n, sought),
            Raw::Date(day) => Value::text(day.to_string()),
            Raw::Length(amount) => match amount.in_unit(sought.unit.unwrap_or(Unit::Day)) {
                Some(n) => number(n, sought),
                None => return Reading::Bad(Vec::new(), "it is no whole number of its unit".into()),
            },
            Raw::Place(place) => match self.place(param, *place) {
                Ok(n) => number(n, sought),
                Err((readings, why)) => {
                    return Reading::Bad(readings.into_iter().map(|n| number(n, sought)).collect(), why.into());
                }
            },
            Raw::Day(day) => match self.start(param) {
                Some(start) if *day >= start => {
                    let size = if sought.unit == Some(Unit::Week) { 7 } else { 1 };
                    Value::Int(days_between(start, *day).div_euclid(size) + 1)
                }
                _ => return Reading::Bad(Vec::new(), "the day it is counted from is open".into()),
            },
            Raw::End(day, yearless, week) => match self.end(param, *day, *yearless, *week) {
                Some(n) => number(n, sought),
                None => return Reading::Bad(Vec::new(), "the dates hold no whole number of its unit".into()),
            },
        };
        match self.parameters[param].schema.admit(&value) {
            Ok(value) => self.within(param, value),
            Err(violations) => Reading::Bad(Vec::new(), violations.first().map_or_else(String::new, |v| v.message.clone())),
        }
    }

    /// A place may not lie behind the end of what it is a place of.
    fn within(&self, param: usize, value: Value) -> Reading {
        let sought = &self.sought[param];
        let end =
            sought.of.filter(|_| sought.reads == Reads::Position).and_then(|of| self.values[of].as_ref()).and_then(as_number);
        match (as_number(&value), end) {
            (Some(n), Some(end)) if n > end => Reading::Bad(vec![value], "it lies behind the end".into()),
            _ => Reading::Value(value),
        }
    }

    fn place(&self, param: usize, place: Place) -> Result<f64, (Vec<f64>, &'static str)> {
        let of = self.sought[param].of;
        let end = of.filter(|of| !self.open[*of]).and_then(|of| self.values[of].as_ref()).and_then(as_number);
        match (place, end) {
            (Place::Nth(n), _) => Ok(n),
            (_, None) => Err((Vec::new(), "how long the whole is, is open")),
            (Place::Last(n), Some(end)) => Ok(end - f64::from(n)),
            (Place::Way(n, d), Some(end)) => {
                let at = end * f64::from(n) / f64::from(d);
                if at.fract() == 0.0 { Ok(at) } else { Err((vec![libm::floor(at), libm::ceil(at)], "it lies between two")) }
            }
        }
    }

    fn start(&self, param: usize) -> Option<Date> {
        let from = self.sought[param].from?;
        match self.values[from].as_ref().filter(|_| !self.open[from])? {
            Value::Text(day) => day.parse().ok(),
            _ => None,
        }
    }

    fn end(&self, param: usize, day: Date, yearless: bool, week: bool) -> Option<f64> {
        let start = self.start(param)?;
        let mut day = day;
        while yearless && day < start && day.year() < start.year() + 2 {
            day = Date::new(day.year() + 1, day.month(), day.day()).ok()?;
        }
        let days = days_between(start, day) + if week { 7 } else { 1 };
        let size = match self.sought[param].unit? {
            Unit::Week => 7,
            Unit::Day => 1,
            _ => return None,
        };
        (days > 0 && days % size == 0).then(|| (days / size) as f64)
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Double(n) => Some(*n),
        _ => None,
    }
}

/// A number as its parameter holds it; shares are rounded to four places.
fn number(n: f64, sought: &Sought) -> Value {
    if sought.whole || n.fract() == 0.0 && sought.reads != Reads::Share && libm::fabs(n) < 9e15 {
        return if n.fract() == 0.0 && libm::fabs(n) < 9e15 { Value::Int(n as i64) } else { Value::Double(n) };
    }
    Value::Double(libm::round(n * 10_000.0) / 10_000.0)
}

fn same(a: &Value, b: &Value) -> bool {
    match (as_number(a), as_number(b)) {
        (Some(a), Some(b)) => libm::fabs(a - b) < 1e-6,
        _ => a == b,
    }
}
