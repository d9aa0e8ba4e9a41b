//! Whose is each quantity: every mention is given to at most one parameter, by the cues around it, and by what it can be.
//! What is denied, asked, bounded or not decided stays marked as such.

mod bare;
mod shares;

use jiff::civil::Date;

use super::claims::{Claim, Raw, Says};
use super::cues::{Hit, Role, Sought};
use super::dates::{self, Dated};
use super::frame::Frame;
use super::lexicon::{Sense, Unit};
use super::mentions::{Mention, Place, What};
use super::modifiers::{bounded, changes, denied};
use super::numbers::{self, Amount, breaks, unit};
use super::tables::Cell;
use super::words::{Text, any_phrase};
use crate::scenario::Reads;

/// Tokens that a cue is looked for to both sides.
const WINDOW: usize = 24;
/// Tokens that the head of a column is looked for above its cells.
const TABLE: usize = 96;
/// What a border of clauses counts in tokens, and one of sentences.
const CLAUSE: usize = 5;
const SENTENCE: usize = 40;
/// As near as a cue must be to speak of something by itself.
const NEAR: usize = 12;
/// Nowhere.
const FAR: usize = usize::MAX / 4;

/// What is being read.
pub(super) struct Binder<'a> {
    /// The text.
    pub text: &'a Text<'a>,
    /// Its frame.
    pub frame: &'a Frame,
    /// The cells of its tables.
    pub cells: &'a [Option<Cell>],
    /// The phrases in it, in order.
    pub hits: &'a [Hit],
    /// The quantities in it, in order.
    pub mentions: &'a [Mention],
    /// The parameters.
    pub sought: &'a [Sought],
    /// The day it was written.
    pub today: Date,
    /// What was found out.
    pub claims: Vec<Claim>,
}

impl Binder<'_> {
    /// Gives every quantity to its parameter.
    pub(super) fn bind(&mut self) {
        for n in 0..self.mentions.len() {
            let mention = &self.mentions[n];
            if self.frame.aside.get(mention.at).copied().unwrap_or(false) {
                continue;
            }
            match mention.what.clone() {
                What::Date(dated) => self.date(n, &dated),
                What::Span(amount) => self.span(n, amount),
                What::Place(place, unit) => self.place(n, place, unit),
                What::Rhythm(days) => self.rhythm(n, days),
                What::Share(share) => self.share(n, share),
                What::Split(first) => self.split(n, first),
                What::Number(value) => self.number(n, value),
            }
        }
    }

    fn of(&self, reads: Reads) -> impl Iterator<Item = usize> {
        self.sought.iter().enumerate().filter(move |(_, s)| s.reads == reads).map(|(ix, _)| ix)
    }

    /// How far the nearest phrase of a role of a parameter is.
    pub(super) fn distance(&self, at: usize, to: usize, param: usize, role: Role) -> usize {
        let reach = if self.cells.get(at).is_some_and(Option::is_some) { TABLE } else { WINDOW };
        let first = self.hits.partition_point(|h| h.at + reach < at);
        let near = self.hits[first..].iter().take_while(|h| h.at <= to + WINDOW);
        near.filter(|h| h.param == param && h.role == role).map(|h| self.gap(at, to, h)).min().unwrap_or(FAR)
    }

    fn gap(&self, at: usize, to: usize, hit: &Hit) -> usize {
        if self.frame.aside[hit.at] || self.frame.age[hit.at] != self.frame.age[at.min(self.frame.age.len() - 1)] {
            return FAR;
        }
        let (tokens, a, b) =
            if hit.to <= at { (at - hit.to, hit.to - 1, at) } else { (hit.at.saturating_sub(to), to.saturating_sub(1), hit.at) };
        // A cell belongs to the head of its column.
        if let (Some(name), Some(cell)) = (self.cells[hit.at], self.cells.get(at).copied().flatten())
            && name.table == cell.table
            && name.head != cell.head
        {
            return if name.column == cell.column { 1 } else { FAR };
        }
        // "holdback: 40%" is one clause.
        if hit.to <= at && at - hit.to <= 5 && (hit.to..at).all(|k| self.is_label(k)) {
            return tokens;
        }
        // "markdown?" and in the next line "week 12".
        let asked = (hit.to..at.min(hit.to + 2)).find(|k| hit.to <= at && self.text.sign(*k) == Some('?'));
        if asked.is_some_and(|q| {
            at - q <= 5
                && (q + 1..at).all(|k| {
                    !breaks(self.text, k)
                        || self.text.sign(k) == Some(':')
                        || self.text.tokens[k].kind == super::words::Kind::Line
                })
        }) {
            return tokens;
        }
        let clauses = self.frame.clause[a].abs_diff(self.frame.clause[b]) as usize;
        let sentences = self.frame.sentence[a].abs_diff(self.frame.sentence[b]) as usize;
        tokens + clauses * CLAUSE + sentences * SENTENCE
    }

    /// What may stand between a label and its value: "holdback (%) = 40", "| horizon | 12 |".
    fn is_label(&self, at: usize) -> bool {
        matches!(self.text.sign(at), Some(':' | '=' | '|' | '→' | '%' | '(' | ')' | '[' | ']'))
            || self.text.means(at, Sense::Percent) && matches!(self.text.sign(at + 1), Some(':' | '=' | '|' | ')' | ']'))
    }

    /// The parameter of some kind whose cue is nearest, and how near; the only one there is where no cue is.
    fn nearest(&self, at: usize, to: usize, of: impl Iterator<Item = usize>) -> Option<(usize, usize)> {
        let mut all: Vec<(usize, usize)> = of.map(|p| (self.distance(at, to, p, Role::Cue), p)).collect();
        all.sort_unstable();
        match all.as_slice() {
            [(d, p)] => Some((*p, *d)),
            [(d, p), ..] if *d != FAR => Some((*p, *d)),
            _ => None,
        }
    }

    fn is_foreign(&self, at: usize, to: usize, param: usize, near: usize) -> bool {
        // What has a quantity of its own behind it takes no other: "30% (VAT 20%)".
        let own = |h: &&Hit| {
            let first = self.mentions.partition_point(|m| m.at < h.to);
            let behind = self.mentions.get(first).filter(|m| m.at <= h.to + 1);
            h.at >= to && behind.is_some_and(|m| matches!(m.what, What::Share(_)))
        };
        let near_hits =
            self.hits.iter().skip(self.hits.partition_point(|h| h.at + WINDOW < at)).take_while(|h| h.at <= to + WINDOW);
        let not = near_hits
            .filter(|h| h.param == param && h.role == Role::Not && !own(h))
            .map(|h| self.gap(at, to, h))
            .min()
            .unwrap_or(FAR);
        not < near && not < NEAR
    }

    /// Whether a word that tells nothing of a plan, or nothing at all, follows: what stands there belongs to no other noun.
    fn ends(&self, to: usize) -> bool {
        if breaks(self.text, to) || self.text.tokens.get(to).is_none_or(|t| t.kind != super::words::Kind::Word) {
            return true;
        }
        let telling =
            |s: Sense| matches!(s, Sense::Small | Sense::No | Sense::Nothing | Sense::Rhythm(_) | Sense::Article | Sense::Num(_));
        self.hits.iter().any(|h| h.at == to)
            || self.text.senses(to).any(telling)
            || any_phrase(
                self.text,
                to,
                &[
                    "si", "yes", "ja", "oui", "cycle", "rhythm", "basis", "schedule", "cadence", "interval", "pattern", "turnus",
                    "please", "back", "max", "min", "holdback", "tops", "minimum", "maximum", "plus", "thx",
                ],
            )
            .is_some()
    }

    fn claim(&mut self, mention: usize, param: usize, raw: Raw, strong: bool) {
        let m = &self.mentions[mention];
        let mut says = Says::Value(raw.clone());
        let sure = if strong { 0.95 } else { 0.85 };
        if let Some(other) = m.other {
            says = if !m.either && changes(self.text, self.frame, m.at) {
                Says::Value(self.again(&raw, other, param))
            } else {
                Says::Hard(vec![raw.clone(), self.again(&raw, other, param)], if m.either { "two are named" } else { "a range" })
            };
        } else if denied(self.text, self.frame, m, !self.claims.is_empty()) {
            says = Says::Denied;
        } else if bounded(self.text, self.frame, m, &|k| self.hits.iter().any(|h| h.role == Role::Cue && h.at <= k && k < h.to)) {
            says = Says::Soft(vec![raw], "only a bound is named");
        } else if self.frame.asks[m.at] {
            says = Says::Soft(vec![raw], "it is asked, not said");
        }
        self.claims.push(Claim { param, at: m.at, to: m.to, says, sure: if self.mended(m) { sure - 0.1 } else { sure }, strong });
    }

    fn mended(&self, m: &Mention) -> bool {
        self.text.tokens[m.at..m.to].iter().any(|t| t.mended)
    }

    /// The same quantity with another number.
    fn again(&self, raw: &Raw, other: f64, param: usize) -> Raw {
        match raw {
            Raw::Place(Place::Nth(_)) => Raw::Place(Place::Nth(other)),
            Raw::Number(_) if self.sought[param].reads == Reads::Share && other > 1.0 => Raw::Number(other / 100.0),
            Raw::Number(_) => Raw::Number(other),
            Raw::Length(amount) => Raw::Length(Amount { n: Some(other), ..*amount }),
            other => {
                debug_assert!(param < self.sought.len());
                other.clone()
            }
        }
    }

    fn unsettled(&mut self, mention: usize, param: usize, readings: Vec<Raw>, why: &'static str) {
        let m = &self.mentions[mention];
        self.claims.push(Claim { param, at: m.at, to: m.to, says: Says::Hard(readings, why), sure: 0.9, strong: true });
    }

    fn date(&mut self, n: usize, dated: &Dated) {
        let (at, to) = (self.mentions[n].at, self.mentions[n].to);
        let Some((param, near)) = self.nearest(at, to, self.of(Reads::Date)) else { return };
        if let Some(length) = self.ends_length(n, param) {
            if let Some(day) = dated.day() {
                self.claims.push(Claim {
                    param: length,
                    at,
                    to,
                    says: Says::Value(Raw::End(day, dated.yearless, dated.week)),
                    sure: 0.9,
                    strong: true,
                });
            }
            return;
        }
        let place =
            self.nearest(at, to, self.of(Reads::Position)).filter(|(p, d)| *d < near && *d < NEAR && !self.is_taken(*p, at, to));
        if let Some((place, _)) = place {
            match dated.day() {
                _ if self.text.is(at, &["in", "dans", "en"]) => {
                    self.unsettled(n, place, Vec::new(), "it can be counted in two ways");
                }
                Some(day) => self.claim(n, place, Raw::Day(day), true),
                None => self.soft(n, place, Vec::new(), "it names no day"),
            }
            return;
        }
        if self.is_foreign(at, to, param, near) {
            return;
        }
        if dated.weak && near >= NEAR {
            // "in 12 weeks" without a start is no date.
            let after_turn = self.turned(at).is_some_and(|p| p == param);
            let season = self.text.is(to - 1, &["spring", "summer", "autumn", "fall", "winter"]);
            if !after_turn && (season || dated.day().is_some() || !self.fills(at, to)) {
                return;
            }
        }
        // "move it from 2 March to 9 March": the first one is no more.
        if at > 0 && self.text.is(at - 1, &["to", "auf", "au", "al", "a"]) && changes(self.text, self.frame, at) {
            self.claims.iter_mut().filter(|c| c.param == param && c.to + WINDOW > at).for_each(|c| c.says = Says::Denied);
        }
        let readings = dated.readings.iter().map(|d| Raw::Date(*d)).collect();
        match (dated.day(), dated.why) {
            (Some(day), _) => self.claim(n, param, Raw::Date(day), near < NEAR),
            (None, Some("it names no day")) => self.soft(n, param, readings, "it names no day"),
            (None, why) => self.unsettled(n, param, readings, why.unwrap_or("it is not clear")),
        }
    }

    /// Whether a number stands right behind the cue of a position behind a date: "13 Apr, md 7".
    fn is_taken(&self, param: usize, at: usize, to: usize) -> bool {
        let counted = |h: &Hit| {
            let first = self.mentions.partition_point(|m| m.at < h.to);
            let behind = self.mentions.get(first).filter(|m| m.at <= h.to + 1 && m.at != at);
            behind.is_some_and(|m| matches!(m.what, What::Number(_) | What::Place(..)))
        };
        self.hits.iter().any(|h| h.param == param && h.role == Role::Cue && h.at >= to && h.at <= to + NEAR && counted(h))
    }

    /// Whether a quantity is all that its clause says.
    fn fills(&self, at: usize, to: usize) -> bool {
        let same = |k: usize| self.frame.clause.get(k) == self.frame.clause.get(at);
        let idle = |k: usize| {
            self.text.word(k).is_empty()
                || self.text.senses(k).any(|s| matches!(s, Sense::Small | Sense::Article | Sense::Sometime | Sense::Vague))
        };
        (0..at).rev().take_while(|k| same(*k)).all(idle) && (to..self.text.tokens.len()).take_while(|k| same(*k)).all(idle)
    }

    fn soft(&mut self, n: usize, param: usize, readings: Vec<Raw>, why: &'static str) {
        let m = &self.mentions[n];
        self.claims.push(Claim { param, at: m.at, to: m.to, says: Says::Soft(readings, why), sure: 0.9, strong: true });
    }

    /// The length whose end a date is: "until 24 May", or the second of "from … to …".
    fn ends_length(&self, n: usize, date: usize) -> Option<usize> {
        let length = self.sought.iter().position(|s| s.reads == Reads::Length && s.from == Some(date))?;
        let m = &self.mentions[n];
        let before = m.at.checked_sub(1)?;
        let text = self.text;
        let until = [
            "until",
            "till",
            "through",
            "thru",
            "ending",
            "ends",
            "end",
            "finish",
            "finishing",
            "finishes",
            "bis",
            "jusqu",
            "hasta",
            "closing",
        ];
        let ending = (before.saturating_sub(2)..=before).any(|k| {
            let direct = (k + 1..m.at).all(|s| matches!(text.sign(s), Some(':' | '=' | '|' | '"')));
            text.is(k, &until) && (direct || self.frame.clause[k] == self.frame.clause[m.at])
        });
        let previous = n
            .checked_sub(1)
            .map(|p| &self.mentions[p])
            .filter(|p| matches!(p.what, What::Date(ref d) if !d.weak || d.readings.len() == 1));
        let joined = previous.is_some_and(|p| {
            let between = p.to..m.at;
            between.len() <= 3
                && between.clone().any(|k| {
                    text.is(k, &["to", "until", "till", "through", "thru", "bis", "au", "al", "hasta", "a", "and"])
                        || matches!(text.sign(k), Some('-' | '–' | '—'))
                })
                && (!between.clone().any(|k| text.is(k, &["and"]))
                    || (p.at.saturating_sub(3)..p.at).any(|k| text.is(k, &["between", "entre"])))
                && between.clone().all(|k| text.sign(k) != Some(',') && text.sign(k) != Some('.'))
                && self.frame.turns.iter().all(|t| !between.contains(t))
        });
        let start = previous.is_some_and(|p| {
            let between = p.at.checked_sub(1).filter(|k| text.is(*k, &["between", "entre", "zwischen"]));
            between
                .is_some_and(|k| self.hits.iter().any(|h| h.param == date && h.role == Role::Cue && h.to <= k && k - h.to <= 2))
        });
        let joined = joined && !start;
        ((ending || joined) && !changes(text, self.frame, m.at)).then_some(length)
    }

    fn span(&mut self, n: usize, amount: Amount) {
        let m = &self.mentions[n];
        let (at, to) = (m.at, m.to);
        let text = self.text;
        if text.is(to, &["ago", "old", "earlier", "notice", "tot"])
            || text.is(to, &["before"]) && self.of(Reads::Position).next().is_none()
        {
            return;
        }
        // "three days a week" tells how often, not how long.
        let rate = (text.means(to, Sense::Article) || text.means(to, Sense::Every)) && unit(text, to + 1).is_some();
        let of_rate =
            n.checked_sub(1).is_some_and(|p| self.mentions[p].to == at && matches!(self.mentions[p].what, What::Span(_)));
        if rate || of_rate && text.means(at, Sense::Article) {
            return;
        }
        if self.interval(n, amount) {
            return;
        }
        let place = self.nearest(at, to, self.of(Reads::Position)).filter(|(_, d)| *d < SENTENCE);
        let length = self.nearest(at, to, self.of(Reads::Length));
        let first = (1..3)
            .take_while(|k| at > *k && text.is(at - k, &["the", "first", "about", "den", "ersten", "les", "las", "primeras"]))
            .count();
        let behind = at - first;
        let after = behind > 0 && text.is(behind - 1, &["after", "nach", "apres", "once"])
            || at > 0
                && text.is(
                    at - 1,
                    &["after", "nach", "apres", "despues", "past", "tras", "at", "once", "when", "nachdem", "sobald"],
                )
            || at > 1 && text.is(at - 1, &["de"]) && text.is(at - 2, &["despues"]);
        let into = text.is(to, &["in", "into"])
            && !text.is(to, &["on"])
            && (breaks(text, to + 1) || text.is(to, &["into"]) || text.is(to + 1, &["we", "to", "the", "and"]));
        let over = text.is(to, &["are", "have", "is"]) && text.is(to + 1, &["over", "up", "gone", "passed", "behind", "done"]);
        let into_it = text.is(to, &["into"]) || text.is(to, &["in"]) && breaks(text, to + 1);
        let later = over
            || text.is(to, &["later", "after", "before"])
            || text.is(to, &["from"]) && text.is(to + 2, &["end"])
            || text.is(to, &["spater", "apres", "despues"]);
        if let Some((place, near)) = place
            && (after || into || later && near < NEAR)
            && (near <= length.map_or(FAR, |(_, d)| d.max(2)) || (into_it || over) && near < NEAR)
        {
            let raw = |n: f64| Raw::Place(Place::Nth(n));
            let unit = self.sought[place].unit.unwrap_or(Unit::Week);
            let readings = match amount.in_unit(unit) {
                Some(n) if !text.is(to, &["before", "from"]) => vec![raw(n), raw(n + 1.0)],
                _ => Vec::new(),
            };
            self.unsettled(n, place, readings, "after so many can be that one or the next");
            return;
        }
        let Some((param, near)) = length else { return };
        if self.is_foreign(at, to, param, near) || later && near >= NEAR && !text.is(to, &["from"]) {
            return;
        }
        match amount.n {
            None => self.soft(n, param, Vec::new(), "no number is named"),
            Some(_) => self.claim(n, param, Raw::Length(amount), near < NEAR),
        }
    }

    /// "replenishment interval: 2 weeks", "a two-week cycle": a length that is a rhythm.
    fn interval(&mut self, n: usize, amount: Amount) -> bool {
        let (at, to) = (self.mentions[n].at, self.mentions[n].to);
        let words = &[
            "interval",
            "intervals",
            "rhythm",
            "cadence",
            "frequency",
            "cycle",
            "cycles",
            "spacing",
            "rhythmus",
            "takt",
            "turnus",
            "abstand",
            "abstanden",
            "intervall",
            "intervalle",
            "rythme",
            "frequence",
            "intervalo",
            "ritmo",
            "frecuencia",
        ];
        let named = self.text.is(to, words)
            || (at.saturating_sub(4)..at).any(|k| {
                self.text.is(k, words)
                    && (self.frame.clause[k] == self.frame.clause[at]
                        || (k + 1..at).all(|l| self.is_label(l) || self.text.is(l, &["is"])))
            });
        let Some((param, _)) = self.nearest(at, to, self.of(Reads::Rhythm)).filter(|(_, d)| named && *d < NEAR) else {
            return false;
        };
        let days = amount.days().and_then(|d| u32::try_from(d).ok()).filter(|d| *d > 0);
        match self.sought[param].choices.iter().find(|c| days.is_some() && c.days == days) {
            Some(choice) => {
                let raw = Raw::Value(choice.value.clone());
                self.claim(n, param, raw, true);
            }
            None => self.unsettled(n, param, Vec::new(), "it is none of the values there are"),
        }
        true
    }

    fn place(&mut self, n: usize, place: Place, named: Option<Unit>) {
        let m = self.mentions[n].clone();
        let (at, to) = (m.at, m.to);
        if dates::of_a_month(self.text, to) {
            let sought = self.of(Reads::Date).chain(self.of(Reads::Position));
            if let Some((param, _)) = self.nearest(at, to, sought).filter(|(_, d)| *d < NEAR) {
                self.soft(n, param, Vec::new(), "it names no day");
            }
            return;
        }
        let position = self
            .nearest(at, to, self.of(Reads::Position))
            .filter(|(p, d)| *d < SENTENCE + NEAR && !self.is_foreign(at, to, *p, *d));
        let position = position.or_else(|| {
            let before = self.mentions.get(n.checked_sub(1)?)?;
            let stands_against = self.frame.aside[before.at] && matches!(before.what, What::Place(..)) && at - before.to <= NEAR;
            self.nearest(before.at, before.to, self.of(Reads::Position)).filter(|_| stands_against).map(|(p, _)| (p, NEAR))
        });
        let turned = self.turned(at);
        let position = position.or_else(|| turned.filter(|p| self.sought[*p].reads == Reads::Position).map(|p| (p, NEAR)));
        let only_from = at > 0
            && self.text.is(at - 1, &["from", "ab", "desde", "vom"])
            && !self
                .hits
                .iter()
                .any(|h| h.role == Role::Cue && h.to + 6 > at && h.to < at && self.sought[h.param].reads == Reads::Date);
        let date = self.nearest(at, to, self.of(Reads::Date)).filter(|(p, d)| *d < NEAR && !only_from && self.is_named(at, *p));
        // "first day" where it is a cue is no place.
        let way = matches!(place, Place::Way(..));
        if !way && self.hits.iter().any(|h| h.role == Role::Cue && h.at <= at && to <= h.to) {
            return;
        }
        let alone = !matches!((place, named), (Place::Nth(_), Some(Unit::Week))) || date.is_none();
        match (position, date) {
            (Some((p, d)), date) if alone || date.is_none_or(|(_, e)| d <= e) => {
                let cue = d < SENTENCE || turned == Some(p) || self.is_short(at);
                if !cue {
                    return;
                }
                if named.is_some_and(|u| Some(u) != self.sought[p].unit) {
                    self.unsettled(n, p, Vec::new(), "it is counted in another unit");
                } else {
                    self.claim(n, p, Raw::Place(place), true);
                    self.whole(p, to);
                }
            }
            (_, Some((p, _))) => {
                if let Place::Nth(week) = place
                    && named == Some(Unit::Week)
                {
                    let dated = dates::coming_week(self.today, week as i32);
                    match dated.day() {
                        _ if m.other.is_some() => self.unsettled(n, p, Vec::new(), "two are named"),
                        Some(day) => self.claim(n, p, Raw::Date(day), true),
                        None => self.unsettled(n, p, Vec::new(), "there is no such week"),
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a parameter is spoken of near a place by more than a preposition.
    fn is_named(&self, at: usize, param: usize) -> bool {
        let near = |h: &&Hit| {
            h.param == param
                && h.role == Role::Cue
                && h.at.abs_diff(at) <= NEAR
                && self.frame.sentence[h.at] == self.frame.sentence[at]
        };
        let preposition = |h: &Hit| h.to == h.at + 1 && self.text.is(h.at, &["from", "ab", "desde", "vom", "des"]);
        self.hits.iter().filter(near).any(|h| !preposition(h))
    }

    /// "week 6 of 12" says how long the whole is, too.
    fn whole(&mut self, position: usize, to: usize) {
        let Some(length) = self.sought[position].of else { return };
        let at = to + usize::from(self.text.is(to, &["out"]));
        let of = self.text.is(at, &["of", "de", "von", "sur"]);
        let number = numbers::number(self.text, at + 1).filter(|n| of && unit(self.text, n.to).is_none() && self.ends(n.to));
        if let Some(n) = number {
            let amount = Amount { n: Some(n.value), unit: self.sought[length].unit.unwrap_or(Unit::Week) };
            let says = Says::Value(Raw::Length(amount));
            self.claims.push(Claim { param: length, at: at + 1, to: n.to, says, sure: 0.9, strong: true });
        }
    }

    /// Whether the sentence of a token has hardly more than it.
    fn is_short(&self, at: usize) -> bool {
        let same = |n: usize| self.frame.sentence.get(n) == self.frame.sentence.get(at);
        let before = (1..=6).take_while(|k| at.checked_sub(*k).is_some_and(same)).count();
        let after = (1..=6).take_while(|k| same(at + k)).count();
        before + after <= 5
    }

    fn rhythm(&mut self, n: usize, days: u32) {
        let (at, to) = (self.mentions[n].at, self.mentions[n].to);
        let Some((param, near)) = self.nearest(at, to, self.of(Reads::Rhythm)) else { return };
        let place = self
            .nearest(at, to, self.of(Reads::Position))
            .filter(|(_, d)| *d + 1 < near && *d <= 4 && self.mentions.get(n + 1).is_none_or(|m| m.at - to > 1));
        if let Some((place, _)) = place {
            self.unsettled(n, place, Vec::new(), "more than one is named");
            return;
        }
        if self.is_foreign(at, to, param, near)
            || near > 1 && !self.ends(to) && !(near < CLAUSE && self.text.is(to, &["stores", "shops"]))
        {
            return;
        }
        let sought = &self.sought[param];
        match sought.choices.iter().find(|c| days > 0 && c.days == Some(days)) {
            Some(choice) => {
                let raw = Raw::Value(choice.value.clone());
                self.claim(n, param, raw, near < NEAR);
            }
            None if denied(self.text, self.frame, &self.mentions[n], true) => {}
            None => self.unsettled(n, param, Vec::new(), "it is none of the values there are"),
        }
    }

    /// The parameter of what was said last, where it is being corrected here.
    fn turned(&self, at: usize) -> Option<usize> {
        let last = self.claims.last()?;
        if last.says == Says::Denied && at >= last.to && at - last.to <= 2 {
            return Some(last.param);
        }
        let turn = self.frame.turns.iter().rev().find(|t| **t < at)?;
        let near = *turn >= last.at && at - turn <= 6 && self.frame.age[*turn] <= self.frame.age[last.at];
        near.then_some(last.param)
    }
}
