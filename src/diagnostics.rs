//! Faults of files as people read them (the way rustc tells them) and as programs do. The only home of `annotate-snippets`.

use std::collections::BTreeMap;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};
use commedia_domain::diagnostic::{Diagnostic, Severity, Span};
use serde_json::{Value as Json, json};

use crate::source::Source;

/// Bytes of source that one report shows lines of.
const MAX_SHOWN: usize = 64 * 1024;
/// Characters of a line that is shown.
const MAX_LINE: usize = 1000;

/// The texts faults point into, by file.
#[derive(Debug, Default)]
pub struct Texts(BTreeMap<String, Option<String>>);

impl Texts {
    /// The texts that some faults of a source need.
    pub fn of(source: Option<&Source>, faults: &[Diagnostic]) -> Texts {
        let mut texts = BTreeMap::new();
        for fault in faults {
            texts.entry(fault.file.clone()).or_insert_with(|| source.and_then(|s| s.text(&fault.file)));
        }
        Texts(texts)
    }

    fn get(&self, file: &str) -> Option<&str> {
        self.0.get(file).and_then(|t| t.as_deref())
    }
}

/// One fault as people read it, ending with a line break.
pub fn render(fault: &Diagnostic, texts: &Texts, colour: bool) -> String {
    let level = match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let message = normalize_untrusted_str(&fault.message);
    let title = level.primary_title(message).id(fault.code);
    let path = normalize_untrusted_str(&fault.file);
    let shown = texts.get(&fault.file).and_then(|text| Excerpt::of(text, fault));
    let mut group = match &shown {
        Some(excerpt) => {
            let label = fault.label.as_deref().map(normalize_untrusted_str);
            let mut snippet = Snippet::source(excerpt.text)
                .path(path)
                .line_start(excerpt.first_line)
                .annotation(AnnotationKind::Primary.span(excerpt.primary.clone()).label(label));
            if let Some((span, words)) = &excerpt.related {
                snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(normalize_untrusted_str(words)));
            }
            title.element(snippet)
        }
        None => title.element(origin(path, fault.span)),
    };
    if shown.as_ref().is_none_or(|e| e.related.is_none())
        && let Some((span, words)) = &fault.related
    {
        group = group.element(Level::NOTE.message(format!("{} (line {})", normalize_untrusted_str(words), span.line)));
    }
    if shown.is_none()
        && let Some(label) = &fault.label
    {
        group = group.element(Level::NOTE.message(normalize_untrusted_str(label)));
    }
    if let Some(help) = &fault.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    let report: &[Group<'_>] = &[group];
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.decor_style(DecorStyle::Ascii).render(report);
    text.push('\n');
    text
}

fn origin(path: String, span: Span) -> Origin<'static> {
    Origin::path(path).line(span.line.max(1) as usize).char_column(span.column.max(1) as usize)
}

/// The lines a report shows.
struct Excerpt<'t> {
    text: &'t str,
    first_line: usize,
    primary: std::ops::Range<usize>,
    related: Option<(std::ops::Range<usize>, String)>,
}

impl<'t> Excerpt<'t> {
    /// `None` where the place is not in the text, or its lines are too long to be shown.
    fn of(text: &'t str, fault: &Diagnostic) -> Option<Excerpt<'t>> {
        let span = first_line_of(fault.span);
        let related = fault.related.as_ref().map(|(s, words)| (first_line_of(*s), words.clone()));
        let both = related.and_then(|related| Excerpt::between(text, span, Some(related)));
        both.or_else(|| Excerpt::between(text, span, None))
    }

    fn between(text: &'t str, span: Span, related: Option<(Span, String)>) -> Option<Excerpt<'t>> {
        let lines = related.iter().map(|r| r.0.line).chain([span.line]);
        let (first, last) = (lines.clone().min()?, lines.max()?);
        let (start, _) = line(text, first)?;
        let (last_start, last_text) = line(text, last)?;
        let shown = &text[start..last_start + last_text.len()];
        if shown.len() > MAX_SHOWN {
            return None;
        }
        let place = |span: Span| {
            let (at, line) = line(text, span.line)?;
            if line.chars().nth(MAX_LINE).is_some() {
                return None;
            }
            let byte = |column: u32| {
                let n = column.saturating_sub(1) as usize;
                line.char_indices().nth(n).map_or(line.len(), |(b, _)| b)
            };
            let from = at - start + byte(span.column);
            let to = at - start + byte(span.end_column.saturating_add(1));
            Some(from..to.max(from))
        };
        let primary = place(span)?;
        let related = related.and_then(|(s, words)| place(s).map(|r| (r, words)));
        Some(Excerpt { text: shown, first_line: first as usize, primary, related })
    }
}

/// A place without its further lines: those start where the reader looks first.
fn first_line_of(span: Span) -> Span {
    if span.end_line > span.line { Span { end_line: span.line, end_column: u32::MAX - 1, ..span } } else { span }
}

/// The byte a line starts at and its text without its break. Lines end with `\n` or `\r\n`.
fn line(text: &str, number: u32) -> Option<(usize, &str)> {
    let wanted = number.checked_sub(1)? as usize;
    let start = match wanted {
        0 => 0,
        n => text.match_indices('\n').nth(n - 1)?.0 + 1,
    };
    let rest = &text[start..];
    let line = rest.split('\n').next().unwrap_or(rest);
    Some((start, line.strip_suffix('\r').unwrap_or(line)))
}

/// A fault as promised: `{severity, code, message, line, column, end_column, help}`.
pub fn to_json(fault: &Diagnostic, texts: &Texts) -> Json {
    let span = fault.span;
    let (first, column) = (span.line.max(1), span.column.max(1));
    let end_column = if span.end_line > span.line {
        // The place goes on below: its first line counts, to its end.
        let chars = texts.get(&fault.file).and_then(|t| line(t, first)).map_or(0, |(_, l)| l.chars().count());
        u32::try_from(chars).unwrap_or(u32::MAX)
    } else {
        span.end_column
    };
    json!({
        "severity": fault.severity, "code": fault.code, "message": fault.message,
        "line": first, "column": column, "end_column": end_column.max(column), "help": fault.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(span: (u32, u32, u32, u32), related: Option<(u32, u32, &str)>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "unknown_agent",
            message: "unknown agent `princing`".into(),
            file: "shop.yaml".into(),
            span: Span { line: span.0, column: span.1, end_line: span.2, end_column: span.3 },
            label: Some("no agent has this name".into()),
            help: Some("did you mean `pricing`?".into()),
            related: related
                .map(|(line, column, words)| (Span { line, column, end_line: line, end_column: column }, words.into())),
        }
    }

    fn rendered(text: &str, fault: &Diagnostic) -> String {
        render(fault, &Texts([("shop.yaml".to_owned(), Some(text.to_owned()))].into()), false)
    }

    #[test]
    fn a_fault_shows_its_line_its_label_and_its_remedy() {
        let text = rendered("name: é\nagents:\n  - { to: princing }\n", &fault((3, 11, 3, 18), None));
        let expect = "error[unknown_agent]: unknown agent `princing`\n --> shop.yaml:3:11\n  |\n3 |   - { to: princing }\n  |           ^^^^^^^^ \
                      no agent has this name\n  |\n  = help: did you mean `pricing`?\n";
        assert_eq!(text, expect);
    }

    #[test]
    fn a_second_place_is_shown_too() {
        let text = rendered("a: 1\nb: 2\na: 3\n", &fault((3, 1, 3, 1), Some((1, 1, "first here"))));
        assert!(text.contains("1 | a: 1") && text.contains("first here") && text.contains("3 | a: 3"), "{text}");
    }

    #[test]
    fn no_place_makes_it_panic() {
        let long = "x".repeat(100_000);
        for text in ["", "a", "\u{feff}a\r\nb", "\u{202e}\u{0}\n", &long] {
            for (line, column) in [(0, 0), (1, 1), (1, 200), (2, 1), (u32::MAX, u32::MAX)] {
                let text = rendered(text, &fault((line, column, line, column), Some((line, 3, "there"))));
                assert!(text.contains("unknown agent"), "{text}");
                assert!(!text.contains('\u{0}') && !text.contains('\u{202e}'), "{text:?}");
            }
        }
    }

    #[test]
    fn json_has_a_place_on_one_line() {
        let check = |span: (u32, u32, u32, u32), expect: (u32, u32, u32)| {
            let json = to_json(&fault(span, None), &Texts([("shop.yaml".to_owned(), Some("ab\nébcd\n".to_owned()))].into()));
            assert_eq!((json["line"].as_u64(), json["column"].as_u64(), json["end_column"].as_u64()), {
                (Some(expect.0.into()), Some(expect.1.into()), Some(expect.2.into()))
            });
        };
        check((2, 2, 2, 3), (2, 2, 3));
        check((2, 2, 4, 1), (2, 2, 4));
        check((0, 0, 0, 0), (1, 1, 1));
    }
}
