//! Collects the faults of a document with their places; the rest of the front end only adds to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::syntax::lines;
use crate::diagnostic::{Diagnostic, Severity, Span};

/// How many faults are told; the rest is counted.
const TOLD: usize = 100;
/// How many characters of the author's text a message repeats.
const SHOWN: usize = 60;

/// A place in one of the files of a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Which file, by its position in `Faults::sources`.
    pub(crate) file: u16,
    /// Where in it. Line 0: not written by the author (a default, or a stored bundle).
    pub(crate) span: Span,
}

impl Place {
    /// Whether an author wrote it.
    pub(crate) fn written(self) -> bool {
        self.span.line > 0
    }
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// As the user named it.
    pub(crate) name: String,
    /// Its text, without a byte order mark.
    text: Arc<str>,
    /// Where its lines start and end, in bytes.
    lines: Vec<(usize, usize)>,
}

impl Source {
    /// A line, from 1.
    pub(crate) fn line(&self, n: u32) -> Option<&str> {
        let (from, to) = *self.lines.get((n as usize).checked_sub(1)?)?;
        self.text.get(from..to)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) sources: Vec<Source>,
    list: Vec<(u16, Diagnostic)>,
    errors: usize,
    /// Places whose content was replaced after a fault was told: what else is found there only follows from it.
    muted: BTreeSet<(u16, u32, u32, u32)>,
    path: Vec<Arc<str>>,
    /// Patterns compiled so far, over all schemas; bounded, because each takes time.
    pub(crate) patterns: usize,
    /// Places searched for within scalars so far.
    pub(crate) located: usize,
}

/// A fault that was just added and may be said more about.
pub(crate) struct Draft<'a>(Option<&'a mut Diagnostic>);

impl Draft<'_> {
    /// The remedy.
    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        self.maybe_help(Some(text.into()))
    }
    /// The remedy, where there is one.
    pub(crate) fn maybe_help(mut self, text: Option<String>) -> Self {
        if let (Some(d), Some(text)) = (self.0.as_deref_mut(), text) {
            d.help = Some(text);
        }
        self
    }
    /// Words under the marked characters.
    pub(crate) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(d) = self.0.as_deref_mut() {
            d.label = Some(text.into());
        }
        self
    }
    /// A second place in the same file.
    pub(crate) fn related(mut self, at: Place, text: impl Into<String>) -> Self {
        if let Some(d) = self.0.as_deref_mut() {
            d.related = Some((at.span, text.into()));
        }
        self
    }
}

impl Faults {
    /// Adds a file; its number goes into places.
    pub(crate) fn add_source(&mut self, name: impl Into<String>, text: Arc<str>) -> u16 {
        let start = text.as_ptr() as usize;
        let lines =
            lines(&text).into_iter().map(|l| (l.as_ptr() as usize - start, l.as_ptr() as usize - start + l.len())).collect();
        self.sources.push(Source { name: name.into(), text, lines });
        u16::try_from(self.sources.len() - 1).unwrap_or(u16::MAX)
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, code: &'static str, at: Place, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Error, code, at, message.into())
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, code: &'static str, at: Place, message: impl Into<String>) -> Draft<'_> {
        self.add(Severity::Warning, code, at, message.into())
    }

    fn add(&mut self, severity: Severity, code: &'static str, at: Place, message: String) -> Draft<'_> {
        let muted = self.is_muted(at);
        if severity == Severity::Error {
            self.errors += 1;
        }
        if muted {
            return Draft(None);
        }
        let file = self.sources.get(usize::from(at.file)).map(|s| s.name.clone()).unwrap_or_default();
        let mut span = at.span;
        if span.line == 0 {
            span = Span { line: 1, column: 1, end_line: 1, end_column: 1 };
        }
        self.list.push((at.file, Diagnostic { severity, code, message, file, span, label: None, help: None, related: None }));
        Draft(self.list.last_mut().map(|f| &mut f.1))
    }

    fn is_muted(&self, at: Place) -> bool {
        self.muted.iter().any(|m| m.0 == at.file && m.1 == at.span.line && m.2 <= at.span.column && at.span.column <= m.3)
    }

    /// From now on nothing more is told about this place.
    pub(crate) fn mute(&mut self, at: Place) {
        self.muted.insert((at.file, at.span.line, at.span.column, at.span.end_column));
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// Goes down into a field, for the paths in messages.
    pub(crate) fn enter(&mut self, field: Arc<str>) {
        self.path.push(field);
    }
    /// Comes up again.
    pub(crate) fn leave(&mut self) {
        self.path.pop();
    }
    /// The path of the field that is being read, such as `limits.turns`.
    pub(crate) fn path(&self) -> String {
        if self.path.is_empty() {
            return "the document".into();
        }
        self.path.iter().map(|p| shorten(p)).collect::<Vec<_>>().join(".")
    }

    /// All faults by file and place, at most a hundred of them, each once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|a, b| {
            (a.0, a.1.span, a.1.severity, a.1.code, &a.1.message).cmp(&(b.0, b.1.span, b.1.severity, b.1.code, &b.1.message))
        });
        let mut all: Vec<Diagnostic> = self.list.into_iter().map(|f| f.1).collect();
        all.dedup_by(|a, b| a.code == b.code && a.span == b.span && a.message == b.message && a.file == b.file);
        if all.len() > TOLD {
            // Errors first: a hundred warnings must not hide one.
            if all[TOLD - 1..].iter().any(|d| d.severity == Severity::Error) {
                all.sort_by_key(|d| d.severity);
            }
            let rest = all.len() - (TOLD - 1);
            let severity = all[TOLD - 1..].iter().map(|d| d.severity).min().unwrap_or(Severity::Warning);
            all.truncate(TOLD - 1);
            if let Some(last) = all.last().cloned() {
                let message = format!("and {rest} more faults; mend these first");
                all.push(Diagnostic { severity, code: "more_faults", message, label: None, help: None, related: None, ..last });
            }
        }
        all
    }
}

/// The author's text as a message repeats it: no line breaks, not too long.
pub(crate) fn shorten(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == SHOWN {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// The candidate a misspelt word most likely means.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let length = word.chars().count();
    if length == 0 || length > 64 {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let other = candidate.to_lowercase().replace('-', "_");
            let distance = strsim::damerau_levenshtein(&lower, &other);
            let longest = length.max(candidate.chars().count());
            let near = distance <= (longest / 3).max(1) && distance < longest;
            let part = length >= 4 && (other.starts_with(&lower) || lower.starts_with(&other) && other.len() >= 4);
            (near || part).then_some((distance, candidate))
        })
        .min_by_key(|c| c.0)
        .map(|c| c.1)
}

/// "did you mean …", or else what there is.
pub(crate) fn suggestion<'c>(word: &str, what: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    let all: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = closest(word, all.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    match all.len() {
        0 => Some(format!("there are no {what} here")),
        1..=12 => Some(format!("known {what}: {}", listed(all))),
        _ => None,
    }
}

/// Words in backquotes, with commas.
pub(crate) fn listed<'c>(words: impl IntoIterator<Item = &'c str>) -> String {
    words.into_iter().map(|w| format!("`{}`", shorten(w))).collect::<Vec<_>>().join(", ")
}
