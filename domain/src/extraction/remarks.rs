//! What is said of a parameter without a quantity: that there is none of it, all of it, or some of it; one of its values by
//! name; that it is not decided.

mod phrases;

use self::phrases::{IDLE, LOOSE};
use super::bind::Binder;
use super::claims::{Claim, Raw, Says};
use super::cues::{Hit, Role};
use super::lexicon::Sense;
use super::mentions::{Mention, What};
use super::modifiers::denied;
use super::numbers::breaks;
use super::words::any_phrase;
use crate::scenario::Reads;

/// Tokens between a denial and what it denies.
const REACH: usize = 5;
impl Binder<'_> {
    /// Claims of words; after quantities are bound, and put in order with them.
    pub(super) fn remark(&mut self) {
        self.named();
        self.bare();
        self.none();
        self.all();
        self.loose();
        self.claims.sort_by_key(|c| (c.at, c.to));
        self.open();
        self.claims.sort_by_key(|c| (c.at, c.to));
    }

    fn push(&mut self, param: usize, at: usize, to: usize, says: Says, sure: f64) {
        let says = match says {
            Says::Value(raw) if self.frame.asks[at] => Says::Soft(vec![raw], "it is asked, not said"),
            says => says,
        };
        self.claims.push(Claim { param, at, to, says, sure, strong: true });
    }

    /// Values by their names and synonyms.
    fn named(&mut self) {
        for hit in self.hits.iter().copied() {
            let Role::Value(n) = hit.role else { continue };
            // "one delivery a week" is a rhythm.
            let rhythm = self.mentions.iter().any(|m| m.at <= hit.at && hit.to < m.to && matches!(m.what, What::Rhythm(_)));
            if self.frame.aside[hit.at] || rhythm {
                continue;
            }
            let choice = &self.sought[hit.param].choices[n];
            let raw = Raw::Value(choice.value.clone());
            let mention = Mention { at: hit.at, to: hit.to, what: What::Rhythm(0), other: None, either: false };
            let not = self.distance(hit.at, hit.to, hit.param, Role::Not);
            if not < 3 {
                continue;
            }
            let says = if denied(self.text, self.frame, &mention, true) { Says::Denied } else { Says::Value(raw) };
            self.push(hit.param, hit.at, hit.to, says, 0.95);
        }
    }

    /// An option that says "none" and is all of its clause: "12 weeks / none / 25%".
    fn bare(&mut self) {
        for at in 0..self.text.tokens.len() {
            let word = self.text.word(at);
            if word.is_empty() || self.frame.aside[at] || !(at > 0 && breaks(self.text, at - 1) && breaks(self.text, at + 1)) {
                continue;
            }
            let named = |s: &super::cues::Sought| {
                s.choices.iter().any(|c| {
                    s.negative.as_ref() == Some(&c.value) && matches!(&c.value, crate::value::Value::Text(t) if **t == *word)
                })
            };
            let mut all = (0..self.sought.len()).filter(|p| named(&self.sought[*p]));
            let (Some(param), None) = (all.next(), all.next()) else { continue };
            // "markdown: none" is another's.
            let other = (0..self.sought.len()).any(|p| p != param && self.distance(at, at + 1, p, Role::Cue) < 4);
            if let (false, Some(negative)) = (other, self.sought[param].negative.clone()) {
                self.push(param, at, at + 1, Says::Value(Raw::Value(negative)), 0.85);
            }
        }
    }

    /// "no markdown", "skip the markdown", "markdown: none", "nothing is to be replenished".
    fn none(&mut self) {
        for hit in self.hits.iter().copied() {
            let Some(negative) = self.sought[hit.param].negative.clone() else { continue };
            if hit.role != Role::Cue || self.frame.aside[hit.at] {
                continue;
            }
            let Some((at, to)) = self.before(&hit).or_else(|| self.behind(&hit)).or_else(|| self.below(&hit)) else { continue };
            if self.valued(&hit) || self.denies_rhythm(&hit) || self.chosen_against(&hit, at) {
                continue;
            }
            self.push(hit.param, at.min(hit.at), to.max(hit.to), Says::Value(Raw::Value(negative)), 0.95);
        }
    }

    fn denies(&self, at: usize) -> bool {
        self.text.senses(at).any(|s| matches!(s, Sense::No | Sense::Nothing))
            || any_phrase(
                self.text,
                at,
                &[
                    "leave out",
                    "do without",
                    "get rid of",
                    "forget about",
                    "forgo",
                    "scrap",
                    "scratch",
                    "forget",
                    "cancel",
                    "remove",
                    "kill",
                    "renoncer",
                    "supprimer",
                    "pas de",
                    "pas d",
                    "exclude",
                    "lose the",
                    "verzichten",
                    "verzicht",
                ],
            )
            .is_some()
    }

    /// A denial before a cue: where it begins.
    fn before(&self, hit: &Hit) -> Option<(usize, usize)> {
        let from = hit.at.saturating_sub(REACH);
        let found = (from..hit.at).rev().find(|k| {
            self.denies(*k)
                && any_phrase(self.text, *k, IDLE).is_none()
                && !(k.checked_sub(1).is_some_and(|b| self.denies(b) || any_phrase(self.text, b, IDLE).is_some()))
                && self.frame.sentence[*k] == self.frame.sentence[hit.at]
        })?;
        let free = (found + 1..hit.at).all(|k| {
            !breaks(self.text, k)
                && !self
                    .text
                    .is(k, &["and", "und", "et", "but", "y", "change", "changes", "preference", "limit", "than", "more", "less"])
                && !self.other_cue(k, hit.param)
        });
        let quantity = self.mentions.iter().any(|m| m.at > found && m.to <= hit.at && !matches!(m.what, What::Rhythm(_)));
        let comma = self.text.sign(found + 1).is_some();
        (free && !quantity && !comma).then_some((found, hit.to))
    }

    fn other_cue(&self, at: usize, param: usize) -> bool {
        self.hits.iter().any(|h| h.at == at && h.param != param && h.role == Role::Cue && self.sought[h.param].negative.is_some())
    }

    /// A denial behind a cue: "markdown: none", "markdowns are not planned", "hold nothing back".
    fn behind(&self, hit: &Hit) -> Option<(usize, usize)> {
        let mut at = hit.to;
        let mut steps = 0;
        while steps < 4
            && (matches!(self.text.sign(at), Some(':' | '=' | '|' | '→'))
                || self.text.is(
                    at,
                    &[
                        "is",
                        "are",
                        "will",
                        "be",
                        "should",
                        "strategy",
                        "checkpoint",
                        "back",
                        "set",
                        "to",
                        "at",
                        "the",
                        "ist",
                        "wird",
                        "est",
                        "es",
                        "at",
                    ],
                ))
        {
            at += 1;
            steps += 1;
        }
        let word = self.text.senses(at).any(|s| s == Sense::Nothing)
            || self
                .text
                .is(at, &["no", "off", "never", "na", "keine", "kein", "aucun", "aucune", "ninguna", "ninguno", "nein", "non"])
                && (breaks(self.text, at + 1) || self.text.is(at, &["never", "off"]));
        let left = self.text.is(hit.to, &["out"])
            && (hit.at.saturating_sub(3)..hit.at)
                .any(|k| self.text.is(k, &["leave", "leaving", "take", "taking", "cut", "keep"]));
        let dropped = self.text.is(
            at,
            &[
                "verzichten",
                "verzichtet",
                "entfallen",
                "entfallt",
                "streichen",
                "gestrichen",
                "weglassen",
                "cancelled",
                "canceled",
                "excluded",
                "skipped",
                "omitted",
            ],
        );
        let word = word || dropped || left || self.text.is(at, &["empty", "leer", "vide", "vacio"]);
        let not_any = self.text.is(at, &["n"]) && self.text.sign(at + 1) == Some('/') && self.text.is(at + 2, &["a"]);
        let word = word || not_any && self.sought[hit.param].reads != Reads::Share;
        let zero = self.mentions.iter().any(|m| m.at <= at && at < m.to && matches!(m.what, What::Number(_) | What::Share(_)));
        let not = self.text.is(at, &["not", "nicht", "pas", "no", "isnt", "arent", "wont"])
            && any_phrase(
                self.text,
                at + 1,
                &[
                    "needed",
                    "required",
                    "wanted",
                    "planned",
                    "happening",
                    "necessary",
                    "an option",
                    "be needed",
                    "needed at all",
                    "relevant",
                    "applicable",
                    "notig",
                    "geplant",
                    "vorgesehen",
                    "gewunscht",
                    "erforderlich",
                    "notwendig",
                    "prevu",
                    "prevue",
                    "necessaire",
                    "necesario",
                    "necesaria",
                    "at all",
                    "this time",
                    "for this",
                    "back anything",
                    "desired",
                    "foreseen",
                    "allowed",
                    "going to happen",
                    "do",
                    "wanted here",
                ],
            )
            .is_some();
        ((word && !zero) || not).then_some((hit.at, at + 1 + usize::from(not)))
    }

    /// A denial in the column under a cue.
    fn below(&self, hit: &Hit) -> Option<(usize, usize)> {
        let name = self.cells[hit.at].filter(|c| c.head)?;
        let below = |k: &usize| self.cells[*k].is_some_and(|c| !c.head && c.table == name.table && c.column == name.column);
        let cell: Vec<usize> = (hit.to..self.cells.len().min(hit.to + 96)).filter(below).collect();
        let [at] = cell.as_slice() else { return None };
        let none = self.text.senses(*at).any(|s| s == Sense::Nothing) || self.text.is(*at, &["no", "na", "never"]);
        let dash = matches!(self.text.sign(*at), Some('-' | '–' | '—'));
        (none || dash && self.sought[hit.param].reads != Reads::Share).then_some((hit.at, at + 1))
    }

    /// Whether a quantity of the same parameter stands in the clause: then the denial is about that.
    fn valued(&self, hit: &Hit) -> bool {
        let clause = self.frame.clause[hit.at];
        let sentence = self.frame.sentence[hit.at];
        self.claims.iter().any(|c| {
            c.param == hit.param
                && self.frame.clause[c.at] == clause
                && self.frame.sentence[c.at] == sentence
                && c.at >= hit.to
                && !matches!(c.says, Says::Value(Raw::Value(_)))
        })
    }

    /// "don't replenish every week" denies the rhythm behind, and says nothing of the whole.
    fn denies_rhythm(&mut self, hit: &Hit) -> bool {
        let clause = self.frame.clause[hit.at];
        let (frame, mentions) = (self.frame, self.mentions);
        let is_rhythm = |c: &Claim| mentions.iter().any(|m| m.at == c.at && matches!(m.what, What::Rhythm(_)));
        let behind = |c: &&mut Claim| c.param == hit.param && frame.clause[c.at] == clause && c.at >= hit.to && is_rhythm(c);
        let mut any = false;
        for claim in self.claims.iter_mut().filter(behind) {
            claim.says = Says::Denied;
            any = true;
        }
        any
    }

    /// "no weekly replenishment but a fortnightly one" denies the rhythm between, and another is named.
    fn chosen_against(&self, hit: &Hit, from: usize) -> bool {
        let mut own =
            self.claims.iter().filter(|c| c.param == hit.param && self.frame.sentence[c.at] == self.frame.sentence[hit.at]);
        let between = self.claims.iter().any(|c| c.param == hit.param && c.says == Says::Denied && c.at > from && c.to <= hit.at);
        between && own.any(|c| c.at >= hit.to && matches!(c.says, Says::Value(_)))
    }

    /// "keep everything at the DC", "hold nothing", "everything goes out at once", "a decent share".
    fn all(&mut self) {
        for at in 0..self.text.tokens.len() {
            if self.frame.aside[at] || self.mentions.iter().any(|m| m.at <= at && at < m.to) {
                continue;
            }
            let lot = any_phrase(
                self.text,
                at,
                &[
                    "the lot",
                    "whole lot",
                    "the whole thing",
                    "every unit",
                    "every piece",
                    "full amount",
                    "full buy",
                    "100 percent",
                ],
            )
            .or_else(|| {
                (self.text.is(at, &["everything"]) && !self.text.is(at + 1, &["as", "like", "else", "is", "default"]))
                    .then_some(at + 1)
            });
            let of = at + 1 + usize::from(self.text.is(at + 1, &["of"]));
            let noun = of + usize::from(self.text.is(of, &["the", "our", "its", "it", "them"]));
            let whole = lot.is_some()
                || self.text.means(at, Sense::All)
                    && !self.text.is(
                        noun,
                        &[
                            "stores",
                            "shops",
                            "stories",
                            "five",
                            "weeks",
                            "in",
                            "categories",
                            "filialen",
                            "laden",
                            "magasins",
                            "tiendas",
                            "year",
                            "season",
                            "as",
                            "like",
                            "else",
                            "default",
                            "standard",
                            "usual",
                            "normal",
                            "andere",
                            "ubrige",
                            "weitere",
                            "wie",
                            "comme",
                            "como",
                            "lo",
                            "demas",
                        ],
                    );
            let vague = self.text.means(at, Sense::Vague) && lot.is_none();
            let at_all = at > 0 && self.text.is(at, &["all"]) && self.text.is(at - 1, &["at"]);
            if at_all || !whole && !vague {
                continue;
            }
            self.sized(at, lot.unwrap_or(at + 1), whole);
        }
    }

    /// "most of it": a part of a whole, however far its verb is.
    fn is_part(&self, at: usize) -> bool {
        self.text.is(
            at,
            &[
                "most",
                "majority",
                "some",
                "plenty",
                "bit",
                "little",
                "lots",
                "chunk",
                "portion",
                "slice",
                "grossteil",
                "teil",
                "partie",
                "parte",
            ],
        )
    }

    fn sized(&mut self, at: usize, to: usize, whole: bool) {
        let near = |b: &Self, p: usize, role: Role| b.distance(at, to, p, role);
        for param in 0..self.sought.len() {
            let (cue, rest) = (near(self, param, Role::Cue), near(self, param, Role::Rest));
            let closest =
                (0..self.sought.len()).filter(|p| *p != param).map(|p| near(self, p, Role::Cue)).min().unwrap_or(usize::MAX / 4);
            match self.sought[param].reads {
                Reads::Share if whole && cue <= 4 && cue <= rest => self.push(param, at, to, Says::Value(Raw::Number(1.0)), 0.85),
                Reads::Share if whole && rest <= 5 && rest < cue => {
                    let readings = vec![Raw::Number(0.0)];
                    self.push(param, at, to, Says::Soft(readings, "all of it goes, of what stays nothing is said"), 0.9);
                }
                Reads::Share | Reads::Length
                    if !whole
                        && (cue <= 3 || cue <= 8 && self.is_part(at) && self.sought[param].reads == Reads::Share)
                        && cue <= closest =>
                {
                    self.push(param, at, to, Says::Soft(Vec::new(), "no number is named"), 0.9);
                }
                _ => {}
            }
        }
    }

    /// Rhythms that say nothing, and times that are none: "as needed", "late in the season".
    fn loose(&mut self) {
        for at in 0..self.text.tokens.len() {
            if self.frame.aside[at] {
                continue;
            }
            if let Some(to) = any_phrase(self.text, at, LOOSE) {
                let rhythms = (0..self.sought.len()).filter(|p| self.sought[*p].reads == Reads::Rhythm);
                let near = rhythms.map(|p| (self.distance(at, to, p, Role::Cue), p)).min();
                let plain = any_phrase(
                    self.text,
                    at,
                    &["on demand", "as needed", "as required", "bei bedarf", "nach bedarf", "a la demande", "segun necesidad"],
                )
                .is_some();
                if let Some((_, param)) = near.filter(|(d, _)| *d < 10 || plain) {
                    self.push(param, at, to, Says::Soft(Vec::new(), "it is none of the values there are"), 0.9);
                }
            }
            let vague_time = self.text.means(at, Sense::Sometime)
                || any_phrase(
                    self.text,
                    at,
                    &[
                        "towards the end",
                        "toward the end",
                        "near the end",
                        "at the end",
                        "gegen ende",
                        "vers la fin",
                        "hacia el final",
                        "at some point",
                        "second half",
                        "first half",
                        "somewhere",
                        "the back half",
                        "irgendwo",
                        "the end of the season",
                        "when sales slow",
                        "end of season",
                        "end of the season",
                        "fin de saison",
                        "final de temporada",
                        "saisonende",
                    ],
                )
                .is_some();
            if vague_time {
                let positions = (0..self.sought.len()).filter(|p| self.sought[*p].reads == Reads::Position);
                let near = positions.map(|p| (self.distance(at, at + 1, p, Role::Cue), p)).min();
                if let Some((_, param)) = near.filter(|(d, _)| *d <= 8) {
                    self.push(param, at, at + 1, Says::Soft(Vec::new(), "it names no place"), 0.9);
                }
            }
        }
    }

    /// What is not decided stays open.
    fn open(&mut self) {
        for at in self.frame.open.clone() {
            if self.frame.aside[at] {
                continue;
            }
            let (clause, sentence) = (self.frame.clause[at], self.frame.sentence[at]);
            let inside = |c: &Claim, clause: u32| self.frame.clause[c.at] == clause;
            let mine: Vec<usize> = (0..self.claims.len()).filter(|n| inside(&self.claims[*n], clause)).collect();
            let cue = self
                .hits
                .iter()
                .filter(|h| h.role == Role::Cue && self.frame.clause[h.at] == clause)
                .filter(|h| !(h.at >= at && h.at < at + 3 && self.text.is(h.at, &["open", "offen", "ouvert", "abierto"])))
                .min_by_key(|h| h.at.abs_diff(at))
                .map(|h| (h.param, h.at, h.to));
            let earlier = (0..self.claims.len())
                .rev()
                .find(|n| self.claims[*n].at < at && self.frame.sentence[self.claims[*n].at].abs_diff(sentence) <= 1);
            let label = self.hits.iter().rev().find(|h| {
                h.role == Role::Cue
                    && h.to < at
                    && at - h.to <= 3
                    && (h.to..at).any(|k| matches!(self.text.sign(k), Some(':' | '=' | '|')))
            });
            let cue = label.map(|h| (h.param, h.at, h.to)).filter(|_| mine.is_empty()).or(cue);
            let targets: Vec<usize> = match (mine.is_empty(), cue, earlier) {
                (false, ..) => {
                    let nearest = mine.iter().min_by_key(|n| self.claims[**n].at.abs_diff(at)).map(|n| self.claims[*n].param);
                    mine.into_iter().filter(|n| Some(self.claims[*n].param) == nearest).collect()
                }
                (true, Some((param, from, to)), _) => {
                    self.claims.push(Claim {
                        param,
                        at: from,
                        to,
                        says: Says::Hard(Vec::new(), "it is not decided"),
                        sure: 0.9,
                        strong: true,
                    });
                    continue;
                }
                (true, None, Some(n)) => {
                    let param = self.claims[n].param;
                    (0..=n).rev().take_while(|k| self.claims[*k].param == param).collect()
                }
                _ => continue,
            };
            for n in targets {
                if let Says::Value(raw) = self.claims[n].says.clone() {
                    self.claims[n].says = Says::Hard(vec![raw], "it is not decided");
                }
            }
        }
    }
}
