//! Whose is each share, and whether it is the part that stays or the rest.

use super::{Binder, CLAUSE, FAR, NEAR, WINDOW};
use crate::extraction::claims::{Raw, Says};
use crate::extraction::cues::{Hit, Role};
use crate::extraction::lexicon::Unit;
use crate::extraction::numbers::{Amount, Share};
use crate::scenario::Reads;

impl Binder<'_> {
    pub(super) fn share(&mut self, n: usize, share: Share) {
        let m = &self.mentions[n];
        let (at, to) = (m.at, m.to);
        let found = self.shared(at, to);
        let (text, near) = (self.text, found.map_or(FAR, |(_, d, _)| d));
        if let Some(quarters) = share.quarters {
            let long = at > 0
                && text.is(at - 1, &["for", "plan", "over", "lasting", "lasts", "run", "runs", "fur", "pour", "por"])
                || text.is(to, &["long", "season", "plan", "horizon"]);
            let whole = text.is(to, &["of"]) || near < CLAUSE && !long;
            if !whole {
                let amount = Amount { n: Some(quarters), unit: Unit::Quarter };
                return self.span(n, amount);
            }
        }
        let Some((param, near, rest)) = found else { return };
        let inherited = self.turned(at) == Some(param);
        let lone = share.percent && self.ends(to) && !share.counted;
        let back = self.text.is(to, &["back"]);
        if !back && self.is_foreign(at, to, param, near)
            || near >= NEAR && !lone && !inherited
            || share.counted && near >= NEAR && !inherited
        {
            return;
        }
        let rest = rest || self.remainder(at, to, param);
        let value = if rest { 1.0 - share.value } else { share.value };
        self.claim(n, param, Raw::Number(value), near < NEAR || inherited);
        if let (true, Some(claim)) = (rest, self.claims.last_mut())
            && let Says::Hard(readings, _) = &mut claim.says
        {
            readings.clear();
        }
    }

    /// Whether what stays is said to be the rest, in a clause behind: "60 % go out, the rest stays".
    fn remainder(&self, at: usize, to: usize, param: usize) -> bool {
        let (clause, sentence) = (self.frame.clause[at], self.frame.sentence[at]);
        let own = self.hits.iter().any(|h| h.param == param && h.role == Role::Cue && self.frame.clause[h.at] == clause);
        let words = ["rest", "remainder", "remaining", "balance", "reste", "resto", "restliche", "restlichen", "ubrige"];
        let behind = (to..self.frame.sentence.len().min(to + WINDOW))
            .find(|k| self.text.is(*k, &words) && self.frame.sentence[*k] == sentence);
        !own && behind.is_some_and(|k| self.distance(k, k + 1, param, Role::Cue) <= CLAUSE)
    }

    /// The share parameter nearest to a place, how near, and whether the rest of its whole is spoken of.
    pub(super) fn shared(&self, at: usize, to: usize) -> Option<(usize, usize, bool)> {
        let of = |p: usize| {
            let (cue, rest) = (self.distance(at, to, p, Role::Cue), self.distance(at, to, p, Role::Rest));
            (cue.min(rest), p, rest < cue)
        };
        let mut all: Vec<(usize, usize, bool)> = self.of(Reads::Share).map(of).collect();
        all.sort_unstable();
        match all.as_slice() {
            [(d, p, rest)] => Some((*p, *d, *rest)),
            [(d, p, rest), ..] if *d != FAR => Some((*p, *d, *rest)),
            _ => None,
        }
    }

    /// "60/40 stores to DC": which part is which is said by the words' order.
    pub(super) fn split(&mut self, n: usize, first: f64) {
        let m = &self.mentions[n];
        let Some((param, near, _)) = self.shared(m.at, m.to).filter(|(_, d, _)| *d < NEAR * 2) else { return };
        let sentence = self.frame.sentence[m.at];
        let inside =
            |h: &&Hit| h.param == param && self.frame.sentence[h.at] == sentence && h.at + WINDOW > m.at && h.at < m.to + WINDOW;
        let (cue, rest) = (
            self.hits
                .iter()
                .filter(inside)
                .filter(|h| h.role == Role::Cue && !self.text.is(h.at, &["hold", "keep", "split"]))
                .map(|h| h.at)
                .next_back(),
            self.hits.iter().filter(inside).filter(|h| h.role == Role::Rest).map(|h| h.at).next_back(),
        );
        match (cue, rest) {
            (Some(cue), Some(rest)) => {
                self.claim(n, param, Raw::Number(if cue < rest { first } else { 1.0 - first }), near < NEAR);
            }
            _ if first == 0.5 => self.claim(n, param, Raw::Number(first), near < NEAR),
            _ => self.unsettled(
                n,
                param,
                vec![Raw::Number(first), Raw::Number(1.0 - first)],
                "it does not say which part is which",
            ),
        }
    }
}
