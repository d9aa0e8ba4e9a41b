//! What a syntax error of YAML means to its author: tabs, missing quotes, unclosed brackets.

use saphyr_parser::ScanError;

use super::faults::{Faults, Place, shorten};
use crate::diagnostic::Span;

/// `{{ … }}` that begins a value without quotes; line from 1, characters from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unquoted {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The first character, from 0.
    pub(crate) from: usize,
    /// How many characters.
    pub(crate) length: usize,
}

/// The lines of a text as YAML counts them (`\n`, `\r\n` and a lone `\r` end a line).
pub(crate) fn lines(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        out.push(&rest[..end]);
        let width = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    out.push(rest);
    out
}

/// A span within one line.
pub(crate) fn span(line: u32, column: u32, length: u32) -> Span {
    Span { line, column, end_line: line, end_column: column + length.max(1) - 1 }
}

/// The first `{{ … }}` without quotes in this line or the two before it; within a text only in the line itself.
pub(crate) fn unquoted_near(lines: &[&str], line: usize) -> Option<Unquoted> {
    let candidates = [(line, false), (line.wrapping_sub(1), false), (line.wrapping_sub(2), false), (line, true)];
    candidates.into_iter().find_map(|(n, within)| {
        let text = lines.get(n.wrapping_sub(1))?;
        let (from, length) = unquoted(text, within)?;
        Some(Unquoted { line: n, from, length })
    })
}

/// Where `{{ … }}` begins a value without quotes (or stands `within` one in brackets): first character and length.
fn unquoted(line: &str, within: bool) -> Option<(usize, usize)> {
    let chars: Vec<char> = line.chars().collect();
    let mut quote = None;
    let mut before = None;
    let mut n = 0;
    while n < chars.len() {
        let c = chars[n];
        match quote {
            Some('"') if c == '\\' => n += 1,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '#' && (n == 0 || chars[n - 1].is_whitespace()) => return None,
            None if matches!(c, '"' | '\'') && matches!(before, None | Some(':' | '-' | '[' | '{' | ',')) => quote = Some(c),
            None if c == '{'
                && chars.get(n + 1) == Some(&'{')
                && (matches!(before, None | Some(':' | '-' | '[' | ',' | '?')) || within && line.contains(['[', '}'])) =>
            {
                let end = (n + 2..chars.len()).find(|e| chars[*e] == '}' && chars.get(e + 1) == Some(&'}'));
                let end = end.map_or(chars.len(), |e| e + 2);
                return Some((n, end - n));
            }
            None => {}
        }
        if !c.is_whitespace() {
            before = Some(c);
        }
        n += 1;
    }
    None
}

/// Tells of a syntax error in words of the author's. `open` is the innermost list or map that was begun, and whether in brackets.
pub(crate) fn explain(lines: &[&str], error: &ScanError, open: Option<(Place, bool)>, file: u16, faults: &mut Faults) {
    let line = error.marker().line().clamp(1, lines.len().max(1));
    let place =
        |line: usize, column: usize, length: usize| Place { file, span: span(line as u32, column as u32 + 1, length as u32) };
    if let Some(tab) = tab_near(lines, line) {
        faults
            .error("tab_indentation", place(tab, 0, 1), "a tab in the indentation: YAML indents with spaces only")
            .label("tab")
            .help("replace each tab by spaces; most editors can do so for the whole file");
        return;
    }
    if let Some((at, true)) = open
        && (at.span.line as usize) < line
    {
        let message = "syntax error: the bracket that is opened here is not closed";
        faults.error("yaml_syntax", at, message).help("close it, or put a comma between two entries");
        return;
    }
    if let Some((line, indent, word)) = colon_near(lines, line, error.info()) {
        let at = place(line, indent, word.chars().count());
        let text = lines.get(line - 1).copied().unwrap_or_default();
        let message = if text.contains(':') {
            format!("syntax error: after the colon of `{}` a space is missing", shorten(word))
        } else {
            format!("syntax error: expected a `:` after `{}`", shorten(word))
        };
        faults.error("yaml_syntax", at, message).help("a field is written `name: value`");
        return;
    }
    if error.info().contains("did not find expected key")
        && let Some((line, indent, usual)) = deeper_above(lines, line)
    {
        let message = format!("syntax error: this line is indented by {indent} spaces, those after it by {usual}");
        faults.error("yaml_syntax", place(line, indent, 1), message).help("entries of one block begin in the same column");
        return;
    }
    let text = lines.get(line - 1).copied().unwrap_or_default();
    let width = text.chars().count();
    let column = error.marker().col().min(width.saturating_sub(1));
    let (mut message, help) = said(error.info(), text, column);
    if let Some((at, false)) = open
        && error.info().contains("did not find expected key")
        && (at.span.line as usize) < line
    {
        message = format!("{message}, which begins in line {}", at.span.line);
    }
    faults.error("yaml_syntax", place(line, column, 1), message).maybe_help(help);
}

/// The line above a syntax error that is indented deeper than all that follows it in its block: line, its indentation, theirs.
fn deeper_above(lines: &[&str], line: usize) -> Option<(usize, usize, usize)> {
    let indent =
        |l: &str| (!l.trim().is_empty() && !l.trim_start().starts_with('#')).then(|| l.len() - l.trim_start_matches(' ').len());
    let usual = indent(lines.get(line - 1)?)?;
    let after = lines.get(line..)?.iter().filter_map(|l| indent(l)).take_while(|i| *i >= usual);
    if !after.take(50).any(|i| i == usual) {
        return None;
    }
    let above = lines[..line - 1].iter().enumerate().rev().filter_map(|(n, l)| Some((n + 1, indent(l)?)));
    let (line, indent) = above.take_while(|a| a.1 > usual).last()?;
    Some((line, indent, usual))
}

/// A line next to a syntax error whose field lacks its colon, or the space after it: line, indentation, name.
fn colon_near<'l>(lines: &[&'l str], line: usize, info: &str) -> Option<(usize, usize, &'l str)> {
    if !info.contains("simple key expect") && !info.contains("mapping values are not allowed") {
        return None;
    }
    [line, line.wrapping_sub(1)].into_iter().find_map(|n| {
        let text = *lines.get(n.wrapping_sub(1))?;
        let field = text.trim_start().trim_start_matches("- ").trim_end();
        let name = field.split([':', ' ']).next().filter(|n| !n.is_empty() && !n.starts_with(['#', '"', '\'', '[', '{']))?;
        let rest = &field[name.len()..];
        let lacks = rest.is_empty() && n < line
            || rest.len() > 1 && rest.starts_with(':') && !rest.starts_with(": ") && !rest.contains(": ");
        lacks.then(|| (n, text.len() - text.trim_start().trim_start_matches("- ").len(), name))
    })
}

/// The line next to a syntax error that is indented with a tab.
fn tab_near(lines: &[&str], line: usize) -> Option<usize> {
    [line, line + 1, line.wrapping_sub(1)].into_iter().find(|n| {
        let text = lines.get(n.wrapping_sub(1)).copied().unwrap_or_default();
        let indent = &text[..text.len() - text.trim_start_matches([' ', '\t']).len()];
        indent.contains('\t') && indent.len() < text.len()
    })
}

fn said(info: &str, line: &str, column: usize) -> (String, Option<String>) {
    let at: String = line.chars().skip(column).take_while(|c| !c.is_whitespace() && *c != ',').collect();
    let say = |message: &str, help: &str| (message.to_owned(), Some(help.to_owned()));
    if info.contains("recursion limit") {
        return say(
            "lists and maps are nested deeper than 64 levels",
            "a scenario needs far fewer levels: is a bracket missing?",
        );
    }
    if info.contains("mapping values are not allowed") {
        return say(
            "syntax error: a `:` is not expected here",
            "text that contains `: ` needs quotes; a nested field needs a line of its own, indented further",
        );
    }
    if info.contains("did not find expected key") || info.contains("invalid indentation") && !info.contains("quoted") {
        return say(
            "syntax error: expected another `key: value` of the block above",
            "check the indentation of this line, and whether a bracket or quote above it is closed",
        );
    }
    if info.contains("quoted scalar") && info.contains("escape") {
        return say(
            "syntax error: unknown escape in a text in double quotes",
            "write `\\\\` for a backslash, or use single quotes",
        );
    }
    if info.contains("quoted scalar") && info.contains("trailing") {
        return say(
            "syntax error: unexpected characters after the closing quote",
            "within single quotes an apostrophe is written twice: 'it''s'",
        );
    }
    if info.contains("quoted scalar") {
        return say("syntax error: the quoted text that begins here does not end", "close the quote");
    }
    if info.contains("unknown anchor") {
        return (
            format!("the alias `{}` names no anchor", shorten(&at)),
            Some(format!("set it with `&{}` first", shorten(at.trim_start_matches('*')))),
        );
    }
    if info.contains("anchor or alias") {
        return say("syntax error: `*` and `&` begin an alias or an anchor", "to mean every agent, put it in quotes: \"*\"");
    }
    if info.contains("unexpected character") {
        let c = line.chars().nth(column).unwrap_or(' ');
        return (format!("syntax error: a text cannot begin with `{c}`"), Some("put it in quotes".into()));
    }
    if info.contains("flow") || info.contains("':' indicator") || info.contains("expected ',' or") {
        return say("syntax error: a `[` or `{` before this place is not closed", "close it, or put a comma between two entries");
    }
    if info.contains("block sequence entries") {
        return say(
            "syntax error: a list entry `- ` cannot begin here",
            "put the list into the next line, or write it in brackets: [a, b]",
        );
    }
    (format!("syntax error: {}", shorten(info)), None)
}
