//! From a character of a scalar's text back to its place in the file, through quotes, escapes and folding.

use super::faults::{Faults, Place, Source};
use super::node::{Node, Style};
use crate::diagnostic::Span;

/// Faults that are told at single characters.
const MAX_LOCATED: usize = 300;

/// The place of the characters `from..to` (exclusive) of a scalar's text; the whole scalar where they cannot be found.
pub(crate) fn within(faults: &mut Faults, node: &Node, from: usize, to: usize) -> Place {
    // Each search walks over the lines of the scalar; of very many faults the first ones are told precisely.
    faults.located += 1;
    if faults.located > MAX_LOCATED {
        return node.at;
    }
    found(faults, node, from, to).map_or(node.at, |span| Place { file: node.at.file, span })
}

fn found(faults: &Faults, node: &Node, from: usize, to: usize) -> Option<Span> {
    let scalar = node.scalar()?;
    if !node.at.written() || scalar.text.is_empty() {
        return None;
    }
    let source = faults.sources.get(usize::from(node.at.file))?;
    let length = scalar.text.chars().count();
    let first = from.min(length - 1);
    let last = to.saturating_sub(1).clamp(first, length - 1);
    let mut walk = Walk::new(source, node.at.span, scalar.style)?;
    let (mut start, mut end) = (None, None);
    for (n, c) in scalar.text.chars().enumerate() {
        let at = walk.step(c)?;
        if n == first {
            start = Some(at);
        }
        if n == last {
            end = Some(at);
            break;
        }
    }
    let ((line, column), (end_line, end_column)) = (start?, end?);
    Some(Span { line, column, end_line, end_column: if end_line == line { end_column.max(column) } else { end_column } })
}

/// Walks over the characters of a file along with the text they stand for.
struct Walk {
    lines: Vec<Vec<char>>,
    first: u32,
    line: usize,
    column: usize,
    style: Style,
}

impl Walk {
    fn new(source: &Source, span: Span, style: Style) -> Option<Walk> {
        let lines: Vec<Vec<char>> =
            (span.line..=span.end_line).map_while(|n| source.line(n)).map(|l| l.chars().collect()).collect();
        let mut walk = Walk { lines, first: span.line, line: 0, column: span.column as usize - 1, style };
        // An anchor or a tag before the text belongs to its span.
        while matches!(walk.here(), Some('&' | '!')) && style != Style::Block {
            while walk.here().is_some_and(|c| !c.is_whitespace()) {
                walk.column += 1;
            }
            walk.blanks();
        }
        if matches!(style, Style::Single | Style::Double) {
            walk.here().filter(|c| matches!(c, '"' | '\''))?;
            walk.column += 1;
        }
        Some(walk)
    }

    fn here(&self) -> Option<char> {
        self.lines.get(self.line)?.get(self.column).copied()
    }

    fn at(&self) -> (u32, u32) {
        (self.first + self.line as u32, self.column as u32 + 1)
    }

    /// Past blanks and line ends.
    fn blanks(&mut self) {
        loop {
            match self.here() {
                Some(c) if c.is_whitespace() => self.column += 1,
                Some(_) => return,
                None if self.line + 1 < self.lines.len() => {
                    self.line += 1;
                    self.column = 0;
                }
                None => return,
            }
        }
    }

    /// The place of the next character of the text, and past it.
    fn step(&mut self, c: char) -> Option<(u32, u32)> {
        if self.style == Style::Double && self.here() == Some('\\') && self.escape()? {
            return Some(self.passed());
        }
        if c.is_whitespace() {
            let at = self.at();
            match self.here() {
                Some(raw) if raw == c => self.column += 1,
                // A line end that folding made a blank, or kept: blanks of the next line are skipped by what follows.
                None if self.line + 1 < self.lines.len() => {
                    self.line += 1;
                    self.column = 0;
                }
                _ => {}
            }
            return Some(at);
        }
        if self.here() != Some(c) {
            self.blanks();
            if self.style == Style::Double && self.here() == Some('\\') && self.escape()? {
                return Some(self.passed());
            }
        }
        let at = self.at();
        (self.here()? == c).then_some(())?;
        self.column += if self.style == Style::Single && c == '\'' { 2 } else { 1 };
        Some(at)
    }

    fn passed(&self) -> (u32, u32) {
        (self.first + self.line as u32, (self.column as u32).max(1))
    }

    /// Past an escape that stands for one character; `false` where it only joins two lines.
    fn escape(&mut self) -> Option<bool> {
        let next = self.lines.get(self.line)?.get(self.column + 1).copied();
        let Some(next) = next else {
            self.column += 1;
            self.blanks();
            return Some(false);
        };
        self.column += match next {
            'x' => 4,
            'u' => 6,
            'U' => 10,
            _ => 2,
        };
        Some(true)
    }
}
