//! Words around a quantity that change what it says: bounds, denials, changes.

use super::frame::Frame;
use super::lexicon::Sense;
use super::mentions::{Mention, What};
use super::numbers::{self, breaks};
use super::words::{Text, any_phrase};

/// Words before a quantity that make it a bound.
const BEFORE: &[&str] = &[
    "at least",
    "at most",
    "up to",
    "no more than",
    "not more than",
    "no less than",
    "not less than",
    "no fewer than",
    "less than",
    "more than",
    "under",
    "below",
    "above",
    "maximum",
    "minimum",
    "max",
    "min",
    "fewer than",
    "not exceeding",
    "a maximum of",
    "a minimum of",
    "minimum of",
    "maximum of",
    "no longer than",
    "not longer than",
    "longer than",
    "shorter than",
    "anything up to",
    "anything below",
    "anything above",
    "anywhere up to",
    "upwards of",
    "in excess of",
    "not over",
    "not above",
    "not below",
    "not under",
    "mindestens",
    "hochstens",
    "maximal",
    "minimal",
    "weniger als",
    "mehr als",
    "bis zu",
    "unter",
    "uber",
    "nicht mehr als",
    "au moins",
    "au plus",
    "moins de",
    "plus de",
    "jusqu a",
    "maximum de",
    "pas plus de",
    "al menos",
    "como maximo",
    "como minimo",
    "menos de",
    "mas de",
    "hasta",
    "por lo menos",
    "not before",
    "not earlier than",
    "no earlier than",
    "no later than",
    "not later than",
    "latest by",
    "not until",
    "before",
    "by",
    "after",
    "nicht vor",
    "spatestens",
    "fruhestens",
    "vor dem",
    "avant le",
    "avant",
    "apres le",
    "antes del",
    "antes de",
    "despues del",
    "sooner than",
    "at the latest",
    "at the earliest",
    "latest",
    "earliest",
    "any time after",
    "some time after",
    "sometime after",
    "over",
    "beyond",
    "exceed",
    "exceeds",
    "exceeding",
    "as much as",
    "as many as",
    "as little as",
    "capped at",
    "cap of",
    "cap at",
    "nach dem",
];
/// Words behind a quantity that make it a bound.
const BEHIND: &[&str] = &[
    "or more",
    "or less",
    "or fewer",
    "or longer",
    "or shorter",
    "or later",
    "or earlier",
    "or above",
    "or below",
    "at least",
    "at most",
    "max",
    "min",
    "tops",
    "minimum",
    "maximum",
    "at the latest",
    "at the earliest",
    "oder mehr",
    "oder weniger",
    "oder langer",
    "ou plus",
    "ou moins",
    "o mas",
    "o menos",
    "und mehr",
    "au moins",
    "au maximum",
    "au minimum",
    "maximal",
    "mindestens",
    "hochstens",
    "como maximo",
    "como minimo",
    "al menos",
    "upwards",
    "and up",
    "or higher",
    "or lower",
    "or over",
    "or under",
    "or so at most",
    "plus",
];

/// Whether only a bound is named: "at least 12 weeks", "12 weeks or more", "before 2 March".
pub(super) fn bounded(text: &Text<'_>, frame: &Frame, m: &Mention, is_cue: &dyn Fn(usize) -> bool) -> bool {
    if matches!(text.sign(m.to), Some('+')) && text.glued(m.to)
        || m.at > 0 && matches!(text.sign(m.at - 1), Some('<' | '>' | '≤' | '≥'))
    {
        return !line_quote(text, m.at);
    }
    let clause = frame.clause[m.at];
    let behind = any_phrase(text, m.to, BEHIND).is_some()
        || text.sign(m.to) == Some(',') && any_phrase(text, m.to + 1, &["max", "min", "at most", "at least", "tops"]).is_some();
    let before = (m.at.saturating_sub(5)..m.at).any(|k| {
        let Some(end) = any_phrase(text, k, BEFORE) else { return false };
        let filled = (end..m.at).all(|f| {
            text.senses(f).any(|s| matches!(s, Sense::Article))
                || text.is(
                    f,
                    &["the", "of", "week", "only", "to", "just", "about", "le", "el", "dem", "den", "day", "say", "a", "l"],
                )
        });
        // "minimum holdback of 20%" is a bound, too.
        let filled = filled
            || text
                .is(k, &["minimum", "maximum", "min", "max", "minimal", "maximal", "minimale", "maximale", "minimo", "maximo"])
                && (end..m.at).all(|f| {
                    is_cue(f)
                        || text.is(f, &["of", "at", "is", "de", "von"])
                        || text.sign(f) == Some(':')
                        || text.senses(f).any(|s| matches!(s, Sense::Article | Sense::Unit(_)))
                });
        let timed = text.is(k, &["before", "by", "after", "vor", "avant", "apres", "antes", "despues", "latest", "earliest"]);
        let dated = matches!(m.what, What::Date(_) | What::Place(..));
        let over = text.is(k, &["over", "uber"]) && matches!(m.what, What::Span(_));
        let back = k > 0 && text.is(k - 1, &["from", "starting"]);
        let share = text.is(k, &["by", "after", "before"]) && !dated;
        let clause = if text.sign(m.at - 1) == Some(':') { frame.clause[m.at - 1] } else { clause };
        frame.clause[k] == clause && filled && !over && !back && !share && (!timed || dated)
    });
    behind || before
}

fn line_quote(text: &Text<'_>, at: usize) -> bool {
    at < 2 || text.tokens[at - 2].kind == super::words::Kind::Line
}

/// Whether a quantity is said not to be meant: "not weekly", "instead of 12 weeks".
pub(super) fn denied(text: &Text<'_>, frame: &Frame, m: &Mention, said_before: bool) -> bool {
    let clause = frame.clause[m.at];
    let instead = [
        "instead of",
        "rather than",
        "statt",
        "anstatt",
        "au lieu de",
        "au lieu d",
        "en vez de",
        "en lugar de",
        "in place of",
        "as opposed to",
        "compared to",
        "compared with",
        "versus",
        "vs",
        "unlike",
        "and not",
        "but not",
        "up from",
        "down from",
        "plutot que",
        "plutot qu",
        "anstelle von",
        "pas plus",
        "in lieu of",
        "replacing",
        "forget",
        "scratch",
        "not the",
        "nicht",
    ];
    if text.is(m.to, &["no", "nein", "non", "nicht", "pas"]) && breaks(text, m.to + 1) {
        return true;
    }
    if is_too_much(text, m.to) || not_but(text, frame, m) {
        return true;
    }
    let back = m.at.saturating_sub(4)..m.at;
    for k in back {
        if let Some(end) = any_phrase(text, k, &instead)
            && (end..m.at).all(|f| small(text, f))
            && frame.sentence[k] == frame.sentence[m.at]
        {
            return true;
        }
        let no = text.means(k, Sense::No) && frame.clause[k] == clause;
        let plain_no = text.is(k, &["no", "non", "nein"]) && (!matches!(m.what, What::Rhythm(_)) || k + 1 == m.at && said_before);
        let double = any_phrase(
            text,
            k + 1,
            &[
                "only",
                "more",
                "less",
                "fewer",
                "longer",
                "later",
                "earlier",
                "before",
                "until",
                "exceed",
                "exceeding",
                "over",
                "above",
                "below",
                "under",
                "plus",
                "mehr",
                "mas",
                "vor",
                "sure",
                "decided",
                "forget",
                "just",
                "later than",
                "weniger",
                "menos",
                "moins",
                "avant",
                "antes",
                "yet",
            ],
        )
        .is_some();
        if no && !plain_no && !double && (k + 1..m.at).all(|f| small(text, f)) {
            return true;
        }
    }
    false
}

/// "… would be too often", "… is not enough", "… ist zu viel".
fn is_too_much(text: &Text<'_>, at: usize) -> bool {
    let verb = &[
        "is", "are", "be", "seems", "seem", "sounds", "feels", "looks", "s", "ist", "sind", "ware", "waren", "est", "sont",
        "serait", "es", "son", "seria",
    ];
    let helps =
        |k: usize| text.is(k, &["would", "will", "might", "may", "wird", "ne", "n", "just", "simply", "a", "bit", "probably"]);
    let from = (at..at + 3).find(|k| text.is(*k, verb)).filter(|v| (at..*v).all(helps));
    from.is_some_and(|v| {
        let k = (v + 1..v + 3).find(|k| !helps(*k)).unwrap_or(v + 1);
        text.is(k, &["too", "zu", "trop", "demasiado"])
            || any_phrase(
                text,
                k,
                &["not enough", "nicht genug", "pas assez", "not good", "not right", "wrong", "out", "overkill"],
            )
            .is_some()
    })
}

/// "not in week 6 but in week 7": a denial in the clause, and another of the same kind behind a "but".
fn not_but(text: &Text<'_>, frame: &Frame, m: &Mention) -> bool {
    let but = m.to + usize::from(text.sign(m.to) == Some(','));
    if !text.is(but, &["but", "sondern", "mais", "sino"]) {
        return false;
    }
    let no = (m.at.saturating_sub(10)..m.at).any(|k| frame.clause[k] == frame.clause[m.at] && text.means(k, Sense::No));
    let next = (but + 1..but + 5).find(|k| !small(text, *k) || numbers::unit(text, *k).is_some()).unwrap_or(but + 1);
    let number = numbers::number(text, next);
    let same = match m.what {
        What::Place(..) => numbers::unit(text, next).is_some() || numbers::ordinal(text, next).is_some(),
        What::Span(_) => number.is_some_and(|n| numbers::unit(text, n.to).is_some() || breaks(text, n.to)),
        What::Share(_) => number.is_some_and(|n| numbers::percent(text, n.to).is_some()) || numbers::share(text, next).is_some(),
        What::Rhythm(_) => super::mentions::rhythm(text, next).is_some(),
        What::Date(_) => {
            number.is_some() || text.find(next, |s| matches!(s, Sense::Month(_) | Sense::Weekday(_)).then_some(())).is_some()
        }
        _ => false,
    };
    no && same
}

fn small(text: &Text<'_>, at: usize) -> bool {
    text.senses(at).any(|s| matches!(s, Sense::Small | Sense::Article))
        || text.is(at, &["use", "using", "back", "previous", "old", "original", "usual"])
}

/// Whether something is being changed from one value to another: "move it from 2 March to 9 March".
pub(super) fn changes(text: &Text<'_>, frame: &Frame, at: usize) -> bool {
    let verbs = [
        "change",
        "changed",
        "changing",
        "move",
        "moved",
        "shift",
        "shifted",
        "raise",
        "raised",
        "extend",
        "extended",
        "increase",
        "increased",
        "reduce",
        "reduced",
        "cut",
        "lengthen",
        "shorten",
        "shortened",
        "bump",
        "bumped",
        "lower",
        "lowered",
        "went",
        "switch",
        "switched",
        "postpone",
        "postponed",
        "bring",
        "update",
        "updated",
        "push",
        "pushed",
        "delay",
        "delayed",
        "verschieben",
        "verlangern",
        "erhohen",
        "senken",
        "andern",
        "decaler",
        "passer",
        "cambiar",
        "mover",
        "pasar",
    ];
    let sentence = frame.sentence[at];
    (at.saturating_sub(16)..at).any(|k| frame.sentence[k] == sentence && text.is(k, &verbs))
        && (at.saturating_sub(8)..=at).any(|k| text.is(k, &["from", "von", "vom", "de", "du", "desde", "del"]))
}
