//! Whose is a number without a unit: by the cue beside it, the head of its column, what it corrects or stands against.

use super::{Binder, NEAR, TABLE, WINDOW};
use crate::extraction::claims::Raw;
use crate::extraction::cues::{Hit, Role};
use crate::extraction::dates;
use crate::extraction::lexicon::{Sense, Unit};
use crate::extraction::mentions::{Mention, Place, What};
use crate::extraction::numbers::{Amount, PIECES, Share, breaks, unit};
use crate::scenario::Reads;

impl Binder<'_> {
    pub(super) fn number(&mut self, n: usize, value: f64) {
        let m = self.mentions[n].clone();
        let (at, to) = (m.at, m.to);
        let text = self.text;
        let year = self.is_year(&m, value);
        let counts_other = |h: &Hit| {
            h.at == to
                && h.role == Role::Rest
                && text.is(to, &["stores", "shops", "doors", "filialen", "magasins", "tiendas", "laden"])
        };
        if unit(text, to).is_some() || self.hits.iter().any(counts_other) {
            return;
        }
        let free = self.ends(to)
            || text.is(to, PIECES)
            || matches!(text.sign(to), Some('-' | '–'))
            || text.is(to, &["or", "to", "either"]);
        let cue = self.headed(at).or_else(|| free.then(|| self.beside(at, to)).flatten());
        let param = match cue {
            Some(param) => param,
            None => match self.turned(at).filter(|_| free).or_else(|| self.pieces(at, to)).or_else(|| self.echoed(n)) {
                Some(param) => param,
                None => return,
            },
        };
        let sought = &self.sought[param];
        if year && sought.maximum.is_none_or(|m| m < 1900.0) {
            return;
        }
        match sought.reads {
            Reads::Date => {
                let before = self.claims.iter().rev().find(|c| c.param == param).and_then(|c| c.says.day());
                if let Some((dated, _)) = before.and_then(|b| dates::corrected(text, at, b))
                    && let Some(day) = dated.day()
                {
                    self.claim(n, param, Raw::Date(day), true);
                }
            }
            Reads::Length => {
                let amount = Amount { n: Some(value), unit: sought.unit.unwrap_or(Unit::Day) };
                self.claim(n, param, Raw::Length(amount), true);
            }
            Reads::Position => self.claim(n, param, Raw::Place(Place::Nth(value)), true),
            Reads::Share if self.text.is(to, PIECES) || self.of_them(to) || value > 100.0 => match self.total(n, value) {
                Some(total) => self.claim(n, param, Raw::Number(value / total), true),
                None if self.is_total(n, value) => {}
                None => self.unsettled(n, param, Vec::new(), "of how many is not said"),
            },
            Reads::Share if value == 1.0 => {
                self.unsettled(n, param, vec![Raw::Number(0.01), Raw::Number(1.0)], "it can be one per cent or all");
            }
            Reads::Share => self.claim(n, param, Raw::Number(if value > 1.0 { value / 100.0 } else { value }), true),
            Reads::Number => self.claim(n, param, Raw::Number(value), true),
            _ => {}
        }
    }

    /// "The last one was 16 weeks long; this one is 10": a bare number that stands against one told of something else.
    fn echoed(&self, n: usize) -> Option<usize> {
        let m = &self.mentions[n];
        let told = self.text.is(
            m.at.checked_sub(1)?,
            &[
                "has",
                "runs",
                "lasts",
                "takes",
                "uses",
                "only",
                "just",
                "nur",
                "solo",
                "seulement",
                "run",
                "is",
                "do",
                "does",
                "use",
                "want",
                "need",
                "plan",
                "take",
                "be",
                "go",
                "have",
                "ist",
                "sind",
                "brauchen",
                "wollen",
                "est",
                "son",
            ],
        );
        // "let's do 14" above a message that says "12 weeks".
        let asked = self.text.is(m.at.checked_sub(1)?, &["do", "make", "to", "take", "say", "want", "with", "be", "it"]);
        let older = self.mentions[n + 1..]
            .iter()
            .take(12)
            .find(|o| self.frame.age[o.at] > self.frame.age[m.at] && matches!(o.what, What::Span(_)));
        if let Some(older) = older.filter(|_| asked && breaks(self.text, m.to)) {
            return self.nearest(older.at, older.to, self.of(Reads::Length)).map(|(p, _)| p);
        }
        let length_or_share = |m: &&Mention| matches!(m.what, What::Span(_) | What::Share(_));
        let before = self.mentions[..n].iter().rev().take(3).find(length_or_share)?;
        let near = breaks(self.text, m.to) && m.at - before.to <= NEAR && self.frame.aside[before.at];
        match before.what {
            What::Span(_) if told && near => self.nearest(before.at, before.to, self.of(Reads::Length)).map(|(p, _)| p),
            What::Share(_) if told && near => self.shared(before.at, before.to).map(|(p, ..)| p),
            _ => None,
        }
    }

    /// Whether a number can be a year: four digits, and nothing that is counted.
    fn is_year(&self, m: &Mention, value: f64) -> bool {
        (1900.0..2200.0).contains(&value)
            && m.to == m.at + 1
            && self.text.digits(m.at).is_some_and(|d| d.len() == 4)
            && !self.text.is(m.to, PIECES)
            && !self.of_them(m.to)
    }

    /// Whether a number is the whole itself: a smaller one is the part.
    fn is_total(&self, n: usize, value: f64) -> bool {
        let smaller = |m: &Mention| matches!(m.what, What::Number(part) if part > 0.0 && part < value && !self.is_year(m, part));
        let said = self.mentions[n].at > 0 && self.text.is(self.mentions[n].at - 1, &["of", "von", "sur", "de"]);
        let to = self.mentions[n].to;
        let whole = (to..to + 3).any(|k| self.text.is(k, &["total", "altogether", "bought", "insgesamt", "ordered"]));
        let at = self.mentions[n].at;
        let bought = (at.saturating_sub(4)..at).any(|k| {
            self.text
                .is(k, &["bought", "buy", "ordered", "order", "total", "gekauft", "bestellt", "achete", "compramos", "comprado"])
        });
        let whole = whole || bought && self.text.is(to, PIECES);
        let part = |m: &Mention| matches!(m.what, What::Number(part) if part < value) && self.of_them(m.to);
        let whole = whole || self.text.is(to, PIECES) && self.mentions.iter().any(part);
        (said || whole) && self.mentions.iter().any(smaller)
    }

    fn of_them(&self, to: usize) -> bool {
        self.text.is(to, &["of"]) && self.text.is(to + 1, &["them", "those", "these"]) || self.text.is(to, &["davon", "dont"])
    }

    /// The share parameter that so many pieces belong to.
    fn pieces(&self, at: usize, to: usize) -> Option<usize> {
        let counted = self.text.is(to, PIECES) || self.of_them(to);
        self.shared(at, to).filter(|(_, near, rest)| counted && *near < NEAR && !rest).map(|(param, ..)| param)
    }

    /// The one larger number of the text that can be the whole of which so many are a part.
    fn total(&self, n: usize, value: f64) -> Option<f64> {
        let mut larger =
            self.mentions.iter().enumerate().filter(|(k, m)| *k != n && !self.frame.aside[m.at]).filter_map(|(_, m)| {
                match m.what {
                    What::Share(Share { total: Some(all), .. }) if all > value => Some(all),
                    What::Number(all) if all > value && !self.is_year(m, all) => Some(all),
                    _ => None,
                }
            });
        let first = larger.next()?;
        larger.next().is_none().then_some(first)
    }

    /// The parameter whose column a number stands in; a column of weeks holds a length.
    fn headed(&self, at: usize) -> Option<usize> {
        let cell = self.cells.get(at).copied().flatten().filter(|c| !c.head)?;
        let above = at.saturating_sub(TABLE)..at;
        let head = |k: &usize| self.cells[*k].is_some_and(|c| c.head && c.table == cell.table && c.column == cell.column);
        let numeric = |p: usize| matches!(self.sought[p].reads, Reads::Length | Reads::Position | Reads::Share | Reads::Number);
        let cue =
            self.hits.iter().rev().find(|h| h.role == Role::Cue && numeric(h.param) && head(&h.at) && above.contains(&h.at));
        cue.map(|h| h.param).or_else(|| {
            let unit = above.filter(head).find_map(|k| unit(self.text, k))?;
            self.of(Reads::Length).find(|p| self.sought[*p].unit == Some(unit))
        })
    }

    /// The parameter whose cue stands right before or behind a bare number, with nothing but small words between.
    fn beside(&self, at: usize, to: usize) -> Option<usize> {
        let numeric =
            |h: &&Hit| matches!(self.sought[h.param].reads, Reads::Length | Reads::Position | Reads::Share | Reads::Number);
        let small = |k: usize| {
            matches!(self.text.sign(k), Some('~' | '≈' | '('))
                || self.is_label(k)
                || self.text.senses(k).any(|s| matches!(s, Sense::Small | Sense::Article))
                || self
                    .text
                    .is(k, &["back", "value", "set", "week", "approximately", "number", "total", "equals", "nearly", "almost"])
        };
        let first = self.hits.partition_point(|h| h.at + WINDOW < at);
        let cues: Vec<&Hit> = self.hits[first..]
            .iter()
            .take_while(|h| h.at <= to + 2)
            .filter(|h| h.role == Role::Cue && !self.frame.aside[h.at])
            .filter(numeric)
            .collect();
        let before = cues.iter().filter(|h| h.to <= at && at - h.to <= 5 && (h.to..at).all(small)).max_by_key(|h| h.to);
        let behind = cues.iter().find(|h| h.at >= to && h.at - to <= 1 && !breaks(self.text, to));
        let touching = behind.filter(|h| h.at == to);
        // "hb=40 md=8"
        let labelled = before.filter(|h| (h.to..at).any(|k| matches!(self.text.sign(k), Some(':' | '=' | '→'))));
        labelled.or(touching).or(before).or(behind).map(|h| h.param)
    }
}
