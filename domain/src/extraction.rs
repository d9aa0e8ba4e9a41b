//! Parameters from language, by rules: what a text says of each parameter of a scenario, with the words it came from. Pure:
//! the day it was written comes in. It never guesses: what is not settled is named `ambiguous` and keeps its default.
//!
//! A text is cut into tokens (`words`), its quantities are found whatever they are of (`mentions`, `dates`, `numbers`), each is
//! given to the parameter that speaks for it (`cues`, `bind`, `remarks`), and claims become values (`settle`). All that is
//! particular to a scenario stands in its file: schema, unit, `extract`.

mod bind;
mod claims;
mod cues;
mod dates;
mod frame;
mod lexicon;
mod mentions;
mod modifiers;
mod numbers;
mod remarks;
mod settle;
mod tables;
mod thread;
mod words;

use std::sync::Arc;

use jiff::civil::Date;

use self::bind::Binder;
use self::cues::{Phrases, Sought};
use self::frame::Frame;
use self::settle::{Known, Settled};
use self::words::Text;
use crate::scenario::{Confirm, Extraction, OnMissing, Reads, Scenario};
use crate::value::Value;

/// Bytes of a text at most.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Who read a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A model, checked by rules.
    Model,
    /// Rules alone.
    Rules,
}

impl By {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            By::Model => "model",
            By::Rules => "rules",
        }
    }
}

/// What a text says of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// The parameter.
    pub name: Arc<str>,
    /// Its value; the default where nothing was said or nothing was settled, `None` where it has no default either.
    pub value: Option<Value>,
    /// The value where nothing is said.
    pub default: Option<Value>,
    /// The words it came from; empty where nothing was said.
    pub text: String,
    /// How sure it is, from 0 to 1. A default nobody spoke of is sure.
    pub confidence: f64,
    /// Whether nothing was said of it.
    pub defaulted: bool,
    /// Whether something was said that does not settle one valid value.
    pub ambiguous: bool,
    /// What an ambiguous one can mean.
    pub readings: Vec<Value>,
    /// Why it is ambiguous.
    pub why: Option<String>,
    /// Who read it.
    pub by: By,
}

impl Extracted {
    /// Whether it may stand without a person: settled, and as sure as asked.
    pub fn stands(&self, min_confidence: f64) -> bool {
        !self.ambiguous && self.value.is_some() && self.confidence >= min_confidence
    }
}

/// Whether a person has to confirm before a run starts from these.
pub fn needs_confirmation(rules: &Extraction, found: &[Extracted]) -> bool {
    let asked = |e: &Extracted| !e.stands(rules.min_confidence) || e.defaulted && rules.on_missing == OnMissing::Ask;
    match rules.confirm {
        Confirm::Always => true,
        Confirm::WhenAmbiguous => found.iter().any(asked),
        Confirm::Never => false,
    }
}

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRefused {
    /// It is too long.
    #[error("the text has {0} bytes; at most {MAX_TEXT_BYTES} are read")]
    TooLong(usize),
    /// It has characters no text has.
    #[error("the text has a control character (U+{0:04X}) at byte {1}")]
    Control(u32, usize),
}

/// Whether a text can be read: short enough, and without control characters other than blanks and line ends.
pub fn check_text(text: &str) -> Result<(), TextRefused> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(TextRefused::TooLong(text.len()));
    }
    let control = text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}'));
    control.map_or(Ok(()), |(at, c)| Err(TextRefused::Control(c.into(), at)))
}

/// The extractor of a scenario: its parameters' phrases, made ready once.
pub struct Extractor {
    scenario: Arc<Scenario>,
    sought: Vec<Sought>,
    phrases: Phrases,
}

impl Extractor {
    /// The extractor of a scenario.
    pub fn new(scenario: Arc<Scenario>) -> Extractor {
        let all = &scenario.parameters;
        let sought: Vec<Sought> = all.iter().map(|p| cues::sought(all, p)).collect();
        let phrases = Phrases::of(all, &sought);
        Extractor { scenario, sought, phrases }
    }

    /// The scenario.
    pub fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    /// What a text says, for a person who writes it on a day. Takes time in proportion to the text; a text past
    /// [`MAX_TEXT_BYTES`] is read as far as that.
    pub fn extract(&self, text: &str, today: Date) -> Vec<Extracted> {
        let end = (0..=text.len().min(MAX_TEXT_BYTES)).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        let text = Text::new(&text[..end], &self.phrases.words);
        let frame = Frame::of(&text, today.year());
        let hits = self.phrases.hits(&text);
        let mentions = mentions::mentions(&text, today);
        let (sought, hits, mentions) = (&self.sought[..], &hits[..], &mentions[..]);
        let cells = tables::cells(&text);
        let mut binder = Binder { text: &text, frame: &frame, cells: &cells, hits, mentions, sought, today, claims: Vec::new() };
        binder.bind();
        binder.remark();
        let claims = binder.claims;
        let now = today.to_zoned(jiff::tz::TimeZone::UTC).map_or(0, |z| z.timestamp().as_millisecond());
        let mut values: Vec<Option<Value>> = crate::run::defaults(&self.scenario, now);
        let defaults = values.clone();
        let mut open = vec![false; sought.len()];
        let mut settled: Vec<Settled> = vec![Settled::Silent; sought.len()];
        for param in self.order() {
            let known = Known { parameters: &self.scenario.parameters, sought, values: &values, open: &open };
            let found = known.settle(param, &claims, &frame);
            match &found {
                Settled::Value(value, _) => values[param] = Some(value.clone()),
                Settled::Open(..) => open[param] = true,
                Settled::Silent => {}
            }
            settled[param] = found;
        }
        let all = settled.into_iter().zip(defaults).enumerate();
        all.map(|(n, (settled, default))| self.told(n, settled, default, &text)).collect()
    }

    /// The name of an extraction: of the scenario, the text and its day, and nothing else.
    pub fn id(&self, text: &str, today: Date) -> String {
        let mut bytes = self.scenario.hash.0.to_vec();
        bytes.extend_from_slice(today.to_string().as_bytes());
        bytes.extend_from_slice(text.as_bytes());
        let hash = blake3::hash(&bytes).to_hex();
        format!("x_{}", &hash[..24])
    }

    /// Dates first, then what is counted from them, then places in what is counted.
    fn order(&self) -> impl Iterator<Item = usize> {
        let rank = |n: &usize| match self.sought[*n].reads {
            Reads::Date => 0,
            Reads::Position => 2,
            _ => 1,
        };
        let mut order: Vec<usize> = (0..self.sought.len()).collect();
        order.sort_by_key(rank);
        order.into_iter()
    }

    fn told(&self, param: usize, settled: Settled, default: Option<Value>, text: &Text<'_>) -> Extracted {
        let name = self.scenario.parameters[param].name.clone();
        let silent = Extracted {
            name,
            value: default.clone(),
            default,
            text: String::new(),
            confidence: 1.0,
            defaulted: true,
            ambiguous: false,
            readings: Vec::new(),
            why: None,
            by: By::Rules,
        };
        match settled {
            Settled::Silent => silent,
            Settled::Value(value, claim) => Extracted {
                value: Some(value),
                text: text.quote(claim.at, claim.to).to_owned(),
                confidence: libm::round(claim.sure * 100.0) / 100.0,
                defaulted: false,
                ..silent
            },
            Settled::Open(readings, why, claim) => Extracted {
                text: text.quote(claim.at, claim.to).to_owned(),
                confidence: 0.3,
                defaulted: false,
                ambiguous: true,
                readings,
                why: Some(why),
                ..silent
            },
        }
    }
}
