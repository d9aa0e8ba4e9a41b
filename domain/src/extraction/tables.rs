//! Tables whose first line names the columns: what stands in a cell belongs to its column's head.

use super::words::{Kind, Text};

/// A table has so many columns at least; of two, one line is one name and its value.
const COLUMNS: usize = 3;

/// Where in a table a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Which table.
    pub table: u32,
    /// Which column.
    pub column: u32,
    /// Whether it is in the line of names.
    pub head: bool,
}

/// The cell of each token that stands in one.
pub(super) fn cells(text: &Text<'_>) -> Vec<Option<Cell>> {
    let mut cells = vec![None; text.tokens.len()];
    let mut lines: Vec<(usize, usize)> = Vec::new();
    let mut from = 0;
    for at in 0..=text.tokens.len() {
        if text.tokens.get(at).is_none_or(|t| t.kind == Kind::Line) {
            lines.push((from, at));
            from = at + 1;
        }
    }
    let (mut open, mut table) = (None::<(char, usize)>, 0);
    for (n, (from, to)) in lines.iter().copied().enumerate() {
        if ruled(text, from, to) {
            continue;
        }
        if let Some((sign, count)) = open {
            if columns(text, from, to, sign) == count {
                mark(text, (from, to), sign, (table, false), &mut cells);
                continue;
            }
            open = None;
        }
        // A head has names only, and a line of as many cells below it.
        let names = (from..to).all(|k| text.digits(k).is_none()) && to > from;
        let below = lines[n + 1..].iter().copied().take(2).find(|(a, b)| !ruled(text, *a, *b));
        let head = ['|', ';'].into_iter().find(|sign| {
            let count = columns(text, from, to, *sign);
            let same =
                below.is_some_and(|(a, b)| columns(text, a, b, *sign) == count && (a..b).any(|k| text.digits(k).is_some()));
            names && count >= COLUMNS && same
        });
        if let Some(sign) = head {
            table += 1;
            open = Some((sign, columns(text, from, to, sign)));
            mark(text, (from, to), sign, (table, true), &mut cells);
        }
    }
    cells
}

/// A line under the head: "|---|:--|".
fn ruled(text: &Text<'_>, from: usize, to: usize) -> bool {
    let drawn = |k: usize| matches!(text.sign(k), Some('|' | '-' | ':' | '+' | '=' | '–' | '—'));
    to > from + 2 && (from..to).all(drawn)
}

fn columns(text: &Text<'_>, from: usize, to: usize, sign: char) -> usize {
    let inner = |k: &usize| text.sign(*k) == Some(sign) && *k > from && *k + 1 < to;
    let inner = (from..to).filter(inner).count();
    if inner == 0 { 0 } else { inner + 1 }
}

fn mark(text: &Text<'_>, line: (usize, usize), sign: char, of: (u32, bool), cells: &mut [Option<Cell>]) {
    let mut column = 0;
    for (at, cell) in cells.iter_mut().enumerate().take(line.1).skip(line.0) {
        if text.sign(at) == Some(sign) {
            column += u32::from(at > line.0);
        } else {
            *cell = Some(Cell { table: of.0, column, head: of.1 });
        }
    }
}
