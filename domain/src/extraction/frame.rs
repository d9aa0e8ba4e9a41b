//! The frame of what is said: clauses and sentences, which message of a thread it stands in, and what is told of other times,
//! other people and cases that may never be.

mod phrases;

use self::phrases::{AGREED, NOW, OPEN, OTHERS, PAST, POLITE, POLITE_IF, SUPPOSED, TURNS, USUALLY};
use super::lexicon::{Sense, senses};
use super::numbers::breaks;
use super::thread::{ages, heads_message};
use super::words::{Kind, Text, any_phrase};

/// Where each token stands.
pub(super) struct Frame {
    /// Its clause.
    pub clause: Vec<u32>,
    /// Its sentence.
    pub sentence: Vec<u32>,
    /// How old its message is: 0 is the newest.
    pub age: Vec<u32>,
    /// Whether it is told of something else than this plan.
    pub aside: Vec<bool>,
    /// Whether its sentence asks.
    pub asks: Vec<bool>,
    /// Tokens where what was said is taken back.
    pub turns: Vec<usize>,
    /// Tokens that say it is not decided.
    pub open: Vec<usize>,
}

impl Frame {
    /// Reads the frame of a text, written on a day of a year.
    pub(super) fn of(text: &Text<'_>, year: i16) -> Frame {
        let count = text.tokens.len();
        let mut frame = Frame {
            clause: Vec::with_capacity(count),
            sentence: Vec::with_capacity(count),
            age: ages(text),
            aside: vec![false; count],
            asks: vec![false; count],
            turns: Vec::new(),
            open: Vec::new(),
        };
        frame.divide(text);
        frame.heads(text);
        frame.set_aside(text, year);
        frame.questions(text);
        if frame.age.iter().any(|a| *a > 0) && (0..count.min(3)).any(|at| any_phrase(text, at, AGREED).is_some()) {
            (0..count).filter(|at| frame.age[*at] > 0).for_each(|at| frame.asks[at] = false);
        }
        for at in 0..count {
            if any_phrase(text, at, TURNS).is_some() || arrow(text, at) {
                frame.turns.push(at);
            }
            // "open for 35 days" is decided.
            let opens = any_phrase(text, at, OPEN)
                .is_some_and(|n| text.is(n - 1, &["open"]) && text.is(n, &["for", "from", "on", "until", "to", "daily"]));
            if any_phrase(text, at, OPEN).is_some() && !opens {
                frame.open.push(at);
            }
        }
        frame
    }

    fn divide(&mut self, text: &Text<'_>) {
        let (mut clause, mut sentence) = (0, 0);
        for (at, token) in text.tokens.iter().enumerate() {
            let new_age = at > 0 && self.age[at] != self.age[at - 1];
            let blank = token.kind == Kind::Line && at > 0 && text.tokens[at - 1].kind == Kind::Line;
            let bullet = token.kind == Kind::Line && matches!(text.sign(at + 1), Some('-' | '*' | '•' | '>'));
            let labelled = token.kind == Kind::Line && labels(text, at + 1);
            if new_age || blank || bullet || labelled {
                sentence += 1;
            }
            let joint = text.is(
                at,
                &[
                    "and", "but", "und", "aber", "et", "mais", "y", "pero", "while", "whereas", "then", "dann", "puis", "luego",
                    "plus",
                ],
            );
            let within = super::numbers::number(text, at + 1).is_some() && at > 0 && number_before(text, at);
            if joint && !within {
                clause += 1;
            }
            self.clause.push(clause);
            self.sentence.push(sentence);
            if breaks(text, at) && !(matches!(text.sign(at), Some('/' | '.' | ',' | ':')) && between_digits(text, at)) {
                clause += 1;
                // "in week 6... or rather week 8" goes on.
                let dots = text.sign(at) == Some('…') || text.sign(at) == Some('.') && at > 0 && text.sign(at - 1) == Some('.');
                let goes_on =
                    dots && text.tokens.get(at + 1).is_some_and(|t| text.source[t.at..].starts_with(char::is_lowercase));
                let full = matches!(text.sign(at), Some('.' | '!' | '?' | ';' | '…')) && !goes_on;
                let short = text.sign(at) == Some('.')
                    && at > 0
                    && text.is(
                        at - 1,
                        &["approx", "ca", "no", "nr", "vs", "incl", "excl", "wk", "wks", "max", "min", "z", "b", "st"],
                    );
                if full && !short && text.tokens.get(at + 1).is_none_or(|t| t.apart) {
                    sentence += 1;
                }
            }
        }
    }

    /// The lines that head a message say nothing of the plan.
    fn heads(&mut self, text: &Text<'_>) {
        let mut line_start = true;
        let mut aside = false;
        for (at, token) in text.tokens.iter().enumerate() {
            if line_start {
                let start = (at..at + 8).find(|n| !matches!(text.sign(*n), Some('>' | '|'))).unwrap_or(at);
                let named = text.is(
                    start,
                    &[
                        "date", "sent", "to", "cc", "bcc", "from", "datum", "gesendet", "an", "von", "a", "de", "envoye",
                        "enviado", "para", "fecha",
                    ],
                ) && text.sign(start + 1) == Some(':')
                    && (self.age.iter().any(|a| *a > 0) || text.is(start, &["from", "von", "sent", "cc"]));
                aside = heads_message(text, at) || named;
            }
            line_start = token.kind == Kind::Line;
            self.aside[at] |= aside;
        }
    }

    /// Marks what is told of other times, other people and cases that may never be.
    fn set_aside(&mut self, text: &Text<'_>, year: i16) {
        let mut until = None::<u32>;
        let mut bracket = None::<Option<u32>>;
        let struck = |at: usize| text.sign(at) == Some('~') && text.sign(at + 1) == Some('~') && text.glued(at + 1);
        let mut strike = false;
        for at in 0..text.tokens.len() {
            strike ^= struck(at);
            self.aside[at] |= strike;

            let sentence = self.sentence[at];
            if until.is_some_and(|s| s != sentence) {
                until = None;
            }
            let like = at > 0
                && text
                    .is(at - 1, &["as", "like", "wie", "comme", "como", "than", "not", "on", "over", "vs", "versus", "against"]);
            let supposed = any_phrase(text, at, SUPPOSED).is_some() && any_phrase(text, at, POLITE_IF).is_none();
            let then = text.is(at, &["in", "during", "im", "en"])
                && text.digits(at + 1).is_some_and(|d| d.len() == 4 && d.parse::<i16>().is_ok_and(|y| (1990..year).contains(&y)));
            let then = then
                || text.digits(at).is_some_and(|d| d.len() == 4 && d.parse::<i16>().is_ok_and(|y| (1990..year).contains(&y)))
                    && text.sign(at + 1) == Some(':')
                    && (at == 0 || breaks(text, at - 1));
            let passive =
                text.is(at, &["sold"]) && at > 0 && text.is(at - 1, &["is", "are", "be", "being", "gets", "get", "not"]);
            let usual = text.is(at, USUALLY)
                && (at..at + 24)
                    .take_while(|k| self.sentence.get(*k) == Some(&sentence))
                    .any(|k| any_phrase(text, k, NOW).is_some());
            let other = of_others(text, at);
            let past =
                then || usual || other || any_phrase(text, at, PAST).is_some() && !like && !passive && !self.is_plan(text, at);
            // What is set aside in brackets ends with them.
            match text.sign(at) {
                Some('(') => bracket = Some(until),
                Some(')') => until = bracket.take().unwrap_or(until),
                _ => {}
            }
            if past || supposed || any_phrase(text, at, OTHERS).is_some() && !like {
                // From the beginning of the clause, where it is not another statement's.
                let clause = self.clause[at];
                (0..at).rev().take_while(|n| self.clause[*n] == clause).for_each(|n| self.aside[n] = true);
                until = Some(sentence);
            } else if until.is_some()
                && any_phrase(text, at, NOW).is_some()
                && !(at > 0 && text.is(at - 1, &["to", "until", "till"]))
            {
                until = None;
            }
            if until.is_some() {
                self.aside[at] = true;
            }
        }
    }

    /// "the start was moved to", "was changed": these tell of this plan.
    fn is_plan(&self, text: &Text<'_>, at: usize) -> bool {
        text.is(at, &["was", "were", "had", "war", "fue"])
            && (at + 1..at + 4).any(|n| {
                text.is(
                    n,
                    &[
                        "moved",
                        "changed",
                        "agreed",
                        "decided",
                        "set",
                        "fixed",
                        "confirmed",
                        "raised",
                        "reduced",
                        "shifted",
                        "extended",
                        "shortened",
                    ],
                )
            })
    }

    fn questions(&mut self, text: &Text<'_>) {
        let mut first = 0;
        for at in 0..text.tokens.len() {
            if at > 0 && self.sentence[at] != self.sentence[at - 1] {
                first = at;
            }
            if text.sign(at) == Some('?') {
                let begin = (first..at.min(first + 4)).find(|n| !text.word(*n).is_empty()).unwrap_or(first);
                let answered =
                    (at + 1..at + 4).any(|n| text.is(n, &["no", "yes", "nein", "ja", "non", "oui", "si", "nope", "yep"]));
                let polite = answered || (begin..at).any(|n| any_phrase(text, n, POLITE).is_some());
                // A question that the next line answers: "how long?", "17 weeks".
                let line = text.tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Line);
                let answer = line && (at + 1..at + 8).any(|n| matches!(text.sign(n), Some(':'))) && labels(text, at + 2);
                if !polite && !answer {
                    (first..=at).for_each(|n| self.asks[n] = true);
                }
                first = at + 1;
            }
        }
    }
}

/// Whether a line begins with a label or a speaker: "Start date:", "anna:".
fn labels(text: &Text<'_>, at: usize) -> bool {
    let word = |k: &usize| {
        text.tokens
            .get(*k)
            .is_some_and(|t| t.kind == Kind::Word || matches!(t.kind, Kind::Sign('(' | ')' | '%' | '[' | ']' | '/')))
    };
    let end = (at..at + 6).take_while(word).count() + at;
    end > at && matches!(text.sign(end), Some(':' | '=')) && !text.word(at).is_empty()
}

/// "the kids team plans 22 weeks, ours 10": where the text tells of its own behind.
fn of_others(text: &Text<'_>, at: usize) -> bool {
    let verbs = &[
        "plans", "runs", "does", "has", "holds", "uses", "keeps", "goes", "takes", "starts", "wants", "lasts", "plan", "run",
        "keep", "use",
    ];
    let own = |k: usize| any_phrase(text, k, &["ours", "but we", "while we", "whereas we", "but our", "while our"]).is_some();
    at > 0
        && text.is(at, verbs)
        && !text.word(at - 1).is_empty()
        && !text.is(at - 1, &["we", "i", "you", "it", "ours", "please", "to", "and", "let", "us", "season", "plan"])
        && (at + 1..at + 24).any(own)
}

fn arrow(text: &Text<'_>, at: usize) -> bool {
    text.sign(at) == Some('→') || text.sign(at) == Some('-') && text.sign(at + 1) == Some('>')
}

fn number_before(text: &Text<'_>, at: usize) -> bool {
    text.digits(at - 1).is_some() || senses(text.word(at - 1), text.lang).any(|s| matches!(s, Sense::Num(_)))
}

fn between_digits(text: &Text<'_>, at: usize) -> bool {
    if text.sign(at) == Some('.') && text.tokens[at].apart && text.digits(at + 1).is_some() && text.glued(at + 1) {
        return true;
    }
    at > 0 && text.digits(at - 1).is_some() && text.digits(at + 1).is_some() && text.glued(at) && text.glued(at + 1)
}
