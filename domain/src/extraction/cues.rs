//! What each parameter of a scenario looks for: its cues, the words of its values, and how a quantity becomes one of its values.
//! All of it comes from the parameter's schema and its `extract` block; nothing here knows a scenario.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value as Json;

use super::lexicon::Unit;
use super::words::{Text, folded, stem};
use crate::scenario::{Parameter, Reads};
use crate::value::Value;

/// Words of one phrase at most.
const MAX_WORDS: usize = 8;

/// What a phrase says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The parameter is spoken of.
    Cue,
    /// Something else is spoken of.
    Not,
    /// The other part of the whole is spoken of.
    Rest,
    /// One of its values is said: its place among the options.
    Value(usize),
}

/// A phrase found in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Which parameter.
    pub param: usize,
    /// What it says.
    pub role: Role,
    /// The first token.
    pub at: usize,
    /// The token behind.
    pub to: usize,
}

/// A value of a closed list.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The value.
    pub value: Value,
    /// Days between two, where it names a rhythm.
    pub days: Option<u32>,
}

/// A parameter as the extractor sees it.
#[derive(Clone, Debug)]
pub(super) struct Sought {
    /// What kind of quantity it reads.
    pub reads: Reads,
    /// Its unit of time.
    pub unit: Option<Unit>,
    /// The values of its list.
    pub choices: Vec<Choice>,
    /// What "none of it" means, where it can mean something.
    pub negative: Option<Value>,
    /// The parameter that says how far a position can go.
    pub of: Option<usize>,
    /// The parameter that says which day is counted from.
    pub from: Option<usize>,
    /// The largest number allowed.
    pub maximum: Option<f64>,
    /// Whether whole numbers only.
    pub whole: bool,
}

struct Word {
    text: String,
    stem: String,
    prefix: bool,
}

impl Word {
    fn new(word: &str) -> Word {
        let (text, prefix) = word.strip_suffix('*').map_or((word, false), |w| (w, true));
        Word { text: text.to_owned(), stem: stem(text).to_owned(), prefix }
    }

    fn is(&self, word: &str) -> bool {
        if self.prefix {
            word.starts_with(&self.text)
        } else {
            word == self.text || word.len() >= 4 && self.text.len() >= 4 && stem(word) == self.stem
        }
    }
}

struct Phrase {
    words: Vec<Word>,
    param: usize,
    role: Role,
}

/// Words that may stand in a gap of a phrase.
const GAP: usize = 4;

impl Phrase {
    /// The token behind the phrase, where it stands at a place. A word `..` is a gap of a few words.
    fn end(&self, text: &Text<'_>, at: usize) -> Option<usize> {
        let mut n = at;
        let mut gap = false;
        for word in &self.words {
            if word.text == ".." {
                gap = true;
                continue;
            }
            let most = if gap { n + GAP } else { n };
            n = (n..=most).take_while(|k| !text.word(*k).is_empty()).find(|k| word.is(text.word(*k)))? + 1;
            gap = false;
        }
        Some(n)
    }
}

/// The phrases of all parameters.
pub(super) struct Phrases {
    all: Vec<Phrase>,
    /// By the first two letters.
    first: HashMap<String, Vec<usize>>,
    /// Words a misspelt one may stand for.
    pub words: BTreeSet<String>,
}

fn key(word: &str) -> String {
    word.chars().take(2).collect()
}

impl Phrases {
    /// The phrases of a scenario's parameters.
    pub(super) fn of(parameters: &[Parameter], sought: &[Sought]) -> Phrases {
        let mut phrases = Phrases { all: Vec::new(), first: HashMap::new(), words: BTreeSet::new() };
        for (ix, parameter) in parameters.iter().enumerate() {
            let hints = &parameter.extract;
            let name = parameter.name.replace(['_', '-'], " ");
            phrases.add(&name, ix, Role::Cue);
            parameter.title.iter().for_each(|t| phrases.add(t, ix, Role::Cue));
            hints.cues.iter().for_each(|c| phrases.add(c, ix, Role::Cue));
            hints.not.iter().for_each(|c| phrases.add(c, ix, Role::Not));
            hints.rest.iter().for_each(|c| phrases.add(c, ix, Role::Rest));
            let sought = &sought[ix];
            for (value, words) in &hints.synonyms {
                if let Some(n) = sought.choices.iter().position(|c| c.value == *value) {
                    words.iter().for_each(|w| phrases.add(w, ix, Role::Value(n)));
                }
            }
            // The options themselves, unless they are rhythms or say "none": those are read by what they mean.
            for (n, choice) in sought.choices.iter().enumerate() {
                let negative = sought.negative.as_ref() == Some(&choice.value);
                let Value::Text(word) = &choice.value else { continue };
                if choice.days.is_none() && !negative && word.len() >= 3 {
                    phrases.add(&word.replace(['_', '-'], " "), ix, Role::Value(n));
                }
            }
        }
        phrases
    }

    fn add(&mut self, phrase: &str, param: usize, role: Role) {
        let words = folded(phrase).replace(['-', '\'', '’'], " ");
        let words: Vec<Word> = words.split_whitespace().take(MAX_WORDS).map(Word::new).collect();
        let Some(first) = words.first() else { return };
        self.first.entry(key(&first.text)).or_default().push(self.all.len());
        for word in words.iter().filter(|w| w.text.chars().count() >= 4) {
            self.words.insert(word.text.clone());
            if word.prefix {
                self.words.insert(format!("{}*", word.text));
            }
        }
        self.all.push(Phrase { words, param, role });
    }

    /// All phrases in a text; of those that begin at one word only the longest of each parameter.
    pub(super) fn hits(&self, text: &Text<'_>) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        let mut covered: Vec<usize> = Vec::new();
        for at in 0..text.tokens.len() {
            let word = text.word(at);
            if word.is_empty() {
                continue;
            }
            let found = self.first.get(&key(word)).map_or(&[][..], Vec::as_slice);
            let matching = |n: &&usize| self.all[**n].end(text, at).is_some();
            let long = found.iter().filter(matching).map(|n| self.all[*n].words.len()).max().unwrap_or(0);
            for phrase in found.iter().filter(matching).map(|n| &self.all[*n]) {
                let hit = Hit { param: phrase.param, role: phrase.role, at, to: phrase.end(text, at).unwrap_or(at + 1) };
                let longest = phrase.words.len() == long;
                let free = covered.get(hit.param).is_none_or(|end| *end < hit.to);
                let new = !hits.iter().rev().take(16).any(|h| h.at == at && h.param == hit.param && h.role == hit.role);
                if longest && free && new {
                    hits.push(hit);
                    if covered.len() <= hit.param {
                        covered.resize(hit.param + 1, 0);
                    }
                    covered[hit.param] = hit.to;
                }
            }
        }
        hits
    }
}

/// A parameter's schema and hints as what is sought.
pub(super) fn sought(parameters: &[Parameter], parameter: &Parameter) -> Sought {
    let json = &parameter.schema.json;
    let hints = &parameter.extract;
    let named = |wanted: &str| match &json["type"] {
        Json::String(name) => name == wanted,
        Json::Array(names) => names.iter().any(|n| n == wanted),
        _ => false,
    };
    let options = json["enum"].as_array().map_or(&[][..], Vec::as_slice);
    let choices: Vec<Choice> =
        (options.iter()).map(|o| Choice { value: Value::from_json(o), days: o.as_str().and_then(rhythm_of) }).collect();
    let unit = parameter.unit.as_deref().and_then(unit_of);
    let maximum = json["maximum"].as_f64().or_else(|| json["exclusiveMaximum"].as_f64());
    let minimum = json["minimum"].as_f64();
    let percent = matches!(parameter.unit.as_deref(), Some("ratio" | "share" | "fraction"));
    let derived = || {
        if !choices.is_empty() {
            return if choices.iter().any(|c| c.days.is_some()) { Reads::Rhythm } else { Reads::Choice };
        }
        match () {
            () if json["format"] == "date" => Reads::Date,
            () if named("boolean") => Reads::Truth,
            () if named("number") && (percent || maximum == Some(1.0) && minimum == Some(0.0)) => Reads::Share,
            () if named("integer") || named("number") => {
                if unit.is_some() {
                    Reads::Length
                } else {
                    Reads::Number
                }
            }
            () => Reads::Words,
        }
    };
    let reads = hints.reads.unwrap_or_else(derived);
    let none = |v: &Value| matches!(v, Value::Text(t) if matches!(&**t, "none" | "never" | "no" | "off" | "nothing" | "without"));
    let negative = match reads {
        Reads::Rhythm | Reads::Choice => choices.iter().map(|c| &c.value).find(|v| none(v)).cloned(),
        Reads::Truth => Some(Value::Bool(false)),
        _ if named("null") || options.iter().any(Json::is_null) => Some(Value::Null),
        Reads::Share | Reads::Number if minimum.is_some_and(|m| m <= 0.0) => {
            Some(if named("number") { Value::Double(0.0) } else { Value::Int(0) })
        }
        _ => None,
    };
    let place = |name: &Option<String>| name.as_ref().and_then(|n| parameters.iter().position(|p| *p.name == **n));
    Sought {
        reads,
        unit,
        choices,
        negative,
        of: place(&hints.of),
        from: place(&hints.from),
        maximum,
        whole: named("integer") && !named("number"),
    }
}

fn unit_of(word: &str) -> Option<Unit> {
    Some(match word.trim_end_matches('s') {
        "day" => Unit::Day,
        "week" => Unit::Week,
        "month" => Unit::Month,
        "quarter" => Unit::Quarter,
        "year" => Unit::Year,
        _ => return None,
    })
}

/// Days between two of a rhythm that an option names.
fn rhythm_of(option: &str) -> Option<u32> {
    let text = Text::new(option, &BTreeSet::new());
    let (days, to) = super::mentions::rhythm(&text, 0)?;
    (to == text.tokens.len() && days > 0).then_some(days)
}
