//! A text as tokens: words folded and mended, digits, signs. Each knows where it stood.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::lexicon::{self, Lang, Sense};

/// Distinct unknown words that are compared with known ones; further ones are taken as they are.
const MAX_MENDED: usize = 256;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Letters.
    Word,
    /// Digits.
    Digits,
    /// A sign.
    Sign(char),
    /// The end of a line.
    Line,
}

/// A word, number or sign of a text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// What it is.
    pub kind: Kind,
    /// Folded, and mended where it was misspelt; digits and signs as they are.
    pub text: String,
    /// The first byte.
    pub at: usize,
    /// The byte after the last.
    pub end: usize,
    /// Whether blanks stand before it.
    pub apart: bool,
    /// Whether it was mended.
    pub mended: bool,
}

/// A text read as tokens.
pub(super) struct Text<'t> {
    /// The text itself.
    pub source: &'t str,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its language.
    pub lang: Lang,
}

/// A letter in lower case without its accent.
fn fold(c: char, out: &mut String) {
    for c in c.to_lowercase() {
        match c {
            'à'..='å' => out.push('a'),
            'ç' => out.push('c'),
            'è'..='ë' => out.push('e'),
            'ì'..='ï' => out.push('i'),
            'ñ' => out.push('n'),
            'ò'..='ö' | 'ø' => out.push('o'),
            'ù'..='ü' => out.push('u'),
            'ý' | 'ÿ' => out.push('y'),
            'ß' => out.push_str("ss"),
            'œ' => out.push_str("oe"),
            'æ' => out.push_str("ae"),
            '\u{300}'..='\u{36f}' => {}
            c => out.push(c),
        }
    }
}

/// A text folded, for cues and synonyms.
pub(super) fn folded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| fold(c, &mut out));
    out
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’' | '‘' | '`')
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„' | '«' | '»')
}

impl<'t> Text<'t> {
    /// Reads a text; `cues` are words a misspelt one may stand for, beside those everybody knows.
    pub(super) fn new(source: &'t str, cues: &BTreeSet<String>) -> Text<'t> {
        let mut tokens = split(source);
        join(&mut tokens);
        let lang = lexicon::language(tokens.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str()));
        mend(&mut tokens, cues, lang);
        silence(&mut tokens, cues);
        Text { source, tokens, lang }
    }

    /// The word at a place; empty where there is none.
    pub(super) fn word(&self, at: usize) -> &str {
        self.tokens.get(at).filter(|t| t.kind == Kind::Word).map_or("", |t| &t.text)
    }

    /// Whether one of some words stands at a place.
    pub(super) fn is(&self, at: usize, words: &[&str]) -> bool {
        let word = self.word(at);
        !word.is_empty() && words.contains(&word)
    }

    /// The sign at a place.
    pub(super) fn sign(&self, at: usize) -> Option<char> {
        match self.tokens.get(at)?.kind {
            Kind::Sign(c) => Some(c),
            _ => None,
        }
    }

    /// The digits at a place.
    pub(super) fn digits(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|t| t.kind == Kind::Digits).map(|t| t.text.as_str())
    }

    /// Whether a token stands right behind the one before.
    pub(super) fn glued(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|t| !t.apart)
    }

    /// What the word at a place can mean.
    pub(super) fn senses(&self, at: usize) -> impl Iterator<Item = Sense> {
        lexicon::senses(self.word(at), self.lang)
    }

    /// Whether the word at a place can mean something.
    pub(super) fn means(&self, at: usize, sense: Sense) -> bool {
        self.senses(at).any(|s| s == sense)
    }

    /// The first sense of a word that a question accepts.
    pub(super) fn find<T>(&self, at: usize, pick: impl Fn(Sense) -> Option<T>) -> Option<T> {
        self.senses(at).find_map(pick)
    }

    /// The words of the text between two tokens.
    pub(super) fn quote(&self, from: usize, to: usize) -> &'t str {
        match (self.tokens.get(from), self.tokens.get(to.saturating_sub(1))) {
            (Some(a), Some(b)) if a.at <= b.end => self.source.get(a.at..b.end).unwrap_or_default(),
            _ => "",
        }
    }
}

fn split(source: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut apart = true;
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\n' {
            tokens.push(Token { kind: Kind::Line, text: String::new(), at, end: at + 1, apart: true, mended: false });
            apart = true;
            continue;
        }
        if c.is_whitespace() || c.is_control() || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}') {
            apart = true;
            continue;
        }
        let mut end = at + c.len_utf8();
        let mut text = String::new();
        let kind = if c.is_ascii_digit() {
            text.push(c);
            while let Some((n, d)) = chars.next_if(|(_, d)| d.is_ascii_digit()) {
                text.push(d);
                end = n + 1;
            }
            Kind::Digits
        } else if c.is_alphabetic() {
            fold(c, &mut text);
            loop {
                if let Some((n, d)) = chars.next_if(|(_, d)| d.is_alphabetic() || is_mark(*d)) {
                    fold(d, &mut text);
                    end = n + d.len_utf8();
                    continue;
                }
                // "don't" is one word; "l'entrepôt" and "let's" are two.
                let rest = source.get(end..).unwrap_or_default();
                let mut next = rest.chars();
                let joins = next.next().is_some_and(is_apostrophe)
                    && next.next().is_some_and(|t| matches!(t, 't' | 'T'))
                    && !next.next().is_some_and(char::is_alphabetic)
                    && text.ends_with('n');
                if !joins {
                    break;
                }
                chars.next();
            }
            Kind::Word
        } else {
            text.push(c);
            Kind::Sign(c)
        };
        tokens.push(Token { kind, text, at, end, apart, mended: false });
        apart = false;
    }
    tokens
}

/// Hyphens within words go: "bi-weekly" and "14-week" are two tokens each. Apostrophes and quotation marks go. "w/o" is "without".
fn join(tokens: &mut Vec<Token>) {
    let of = |tokens: &[Token], n: usize, kind: Kind| tokens.get(n).is_some_and(|t| t.kind == kind);
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut n = 0;
    while n < tokens.len() {
        let token = &tokens[n];
        let glued = !token.apart && tokens.get(n + 1).is_some_and(|t| !t.apart);
        let word_after = of(tokens, n + 1, Kind::Word);
        let own = n == 0 || token.apart;
        let slash = own && of(tokens, n + 1, Kind::Sign('/')) && !tokens[n + 1].apart;
        if token.text == "w" && slash {
            let without = tokens.get(n + 2).is_some_and(|t| t.text == "o" && !t.apart);
            let end = tokens[if without { n + 2 } else { n + 1 }].end;
            let text = if without { "without" } else { "with" };
            out.push(Token { text: text.to_owned(), end, ..token.clone() });
            n += if without { 3 } else { 2 };
            continue;
        }
        match token.kind {
            Kind::Sign('-' | '_' | '\u{2010}' | '\u{2011}') if glued && n > 0 => {
                let number = of(tokens, n - 1, Kind::Digits);
                let (letters, digits_after) = (of(tokens, n - 1, Kind::Word), of(tokens, n + 1, Kind::Digits));
                if !((letters || number) && word_after || letters && digits_after) {
                    out.push(Token { kind: Kind::Sign('-'), text: "-".into(), ..token.clone() });
                }
            }
            // "length ..... 12 weeks": dots that lead to a value.
            Kind::Sign('.') if run(tokens, n, '.') >= 4 => {
                let many = run(tokens, n, '.');
                out.push(Token { kind: Kind::Sign(':'), text: ":".into(), end: tokens[n + many - 1].end, ..token.clone() });
                n += many;
                continue;
            }
            Kind::Sign('-' | '=' | '–') if of(tokens, n + 1, Kind::Sign('>')) && !tokens[n + 1].apart => {
                out.push(Token { kind: Kind::Sign('→'), text: "→".into(), end: tokens[n + 1].end, ..token.clone() });
                n += 2;
                continue;
            }
            Kind::Sign(c) if is_apostrophe(c) || is_quote(c) => {}
            _ => out.push(token.clone()),
        }
        n += 1;
    }
    *tokens = out;
}

/// Who speaks in a chat says nothing by his name: the word at the head of two lines or more, "Max: …".
fn silence(tokens: &mut [Token], cues: &BTreeSet<String>) {
    let heads = |tokens: &[Token], at: usize| {
        tokens[at].kind == Kind::Word
            && tokens.get(at + 1).is_some_and(|t| t.kind == Kind::Sign(':'))
            && (at == 0 || tokens[at - 1].kind == Kind::Line)
    };
    let mut counts: HashMap<String, usize> = HashMap::new();
    for at in (0..tokens.len()).filter(|at| heads(tokens, *at)) {
        *counts.entry(tokens[at].text.clone()).or_default() += 1;
    }
    for at in 0..tokens.len() {
        if heads(tokens, at) && counts.get(&tokens[at].text).is_some_and(|n| *n > 1) && !is_cue(&tokens[at].text, cues) {
            tokens[at].text = "speaker".into();
        }
    }
}

/// How many of a sign stand in a row.
fn run(tokens: &[Token], from: usize, sign: char) -> usize {
    let same = |(k, t): &(usize, &Token)| t.kind == Kind::Sign(sign) && (*k == 0 || !t.apart);
    tokens.get(from..).unwrap_or_default().iter().take(80).enumerate().take_while(same).count()
}

static TARGETS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut all: Vec<&str> = lexicon::repairable().collect();
    all.sort_unstable();
    all
});

/// Mends misspelt words: unknown ones that are one or two slips from a known one.
fn mend(tokens: &mut [Token], cues: &BTreeSet<String>, lang: Lang) {
    let mut memory: HashMap<String, Option<String>> = HashMap::new();
    for token in tokens.iter_mut().filter(|t| t.kind == Kind::Word) {
        let length = token.text.chars().count();
        if !(4..=24).contains(&length) || lexicon::known(&token.text) || is_cue(&token.text, cues) {
            continue;
        }
        if !memory.contains_key(&token.text) && memory.len() < MAX_MENDED {
            memory.insert(token.text.clone(), nearest(&token.text, length, cues, lang));
        }
        if let Some(Some(meant)) = memory.get(&token.text) {
            token.text.clone_from(meant);
            token.mended = true;
        }
    }
}

fn is_cue(word: &str, cues: &BTreeSet<String>) -> bool {
    let begins = |(at, _): (usize, char)| at >= 5 && cues.contains(&format!("{}*", &word[..at]));
    if cues.contains(word) || word.char_indices().any(begins) {
        return true;
    }
    let stem = stem(word);
    cues.contains(stem) || cues.range(stem.to_owned()..).next().is_some_and(|c| c.starts_with(stem) && c.len() <= stem.len() + 1)
}

fn letters(word: &str) -> Vec<char> {
    let mut all: Vec<char> = word.chars().collect();
    all.sort_unstable();
    all
}

fn nearest(word: &str, length: usize, cues: &BTreeSet<String>, lang: Lang) -> Option<String> {
    let most = match length {
        0..=7 => 1,
        _ => 2,
    };
    let first = word.chars().next()?;
    let near = |target: &&str| {
        let size = target.chars().count();
        let swapped = length == 4 && size == 4 && letters(word) == letters(target);
        target.starts_with(first) && size.abs_diff(length) <= most && (size >= 5 || swapped)
    };
    let spoken = TARGETS.iter().copied().filter(|t| lexicon::spoken(t, lang));
    let all = spoken.chain(cues.iter().map(String::as_str).filter(|c| !c.ends_with('*')));
    let scored = all.filter(near).map(|t| (strsim::osa_distance(word, t), t));
    // A short word is mended only where a letter is missing or two changed places.
    let fits = |(d, t): &(usize, &str)| *d <= most && (length >= 5 || t.chars().count() == 5 || letters(word) == letters(t));
    scored.filter(fits).min().map(|(_, t)| t.to_owned())
}

/// A word without its ending, so that "replenished" and "replenishing" meet "replenish".
pub(super) fn stem(word: &str) -> &str {
    for ending in ["ing", "ed", "es", "s", "e"] {
        if let Some(rest) = word.strip_suffix(ending)
            && rest.len() >= 3
        {
            let bytes = rest.as_bytes();
            let (last, before) = (bytes[bytes.len() - 1], bytes[bytes.len() - 2]);
            let doubled = ending.len() >= 2
                && bytes.len() > 3
                && last == before
                && last.is_ascii_alphabetic()
                && !matches!(last, b'l' | b's');
            return if doubled { &rest[..rest.len() - 1] } else { rest };
        }
    }
    word
}

/// Whether a phrase stands at a place: words with blanks between.
fn phrase(text: &Text<'_>, at: usize, phrase: &str) -> Option<usize> {
    let mut n = at;
    for word in phrase.split(' ') {
        if text.word(n) != word {
            return None;
        }
        n += 1;
    }
    Some(n)
}

pub(super) fn any_phrase(text: &Text<'_>, at: usize, phrases: &[&str]) -> Option<usize> {
    let word = text.word(at);
    if word.is_empty() {
        return None;
    }
    phrases.iter().filter(|p| p.starts_with(word)).filter_map(|p| phrase(text, at, p)).max()
}
