//! Where the names of a template stand. What a template reads is known from the engine; this only finds it in the text.

/// Names, signs and literals of one `{{ … }}`.
const MAX_PARTS: usize = 256;
/// `elif` of one template.
const MAX_ELIFS: usize = 64;
/// A dotted path or the name of a filter within `{{ … }}` or `{% … %}`, with its characters from, to (exclusive).
pub(super) struct Token {
    /// The parts of the path.
    pub(super) path: Vec<String>,
    /// Whether it stands after `|`.
    pub(super) filter: bool,
    /// Where.
    pub(super) at: (usize, usize),
}

/// Parts of a template, read as the engine's lexer reads it: where names stand, and whether it is too complex for the
/// engine, whose parser recurses over operators, fields and `elif` without a bound of its own.
pub(super) struct Scan {
    /// The names.
    pub(super) tokens: Vec<Token>,
    /// Where it is too complex, and what for.
    pub(super) too_complex: Option<((usize, usize), &'static str)>,
}

/// Reads a template for its names.
pub(super) fn scan(source: &str) -> Scan {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Scan { tokens: Vec::new(), too_complex: None };
    // Open brackets count on over the ends of regions, as they do in the engine.
    let (mut n, mut inside, mut open, mut start, mut parts, mut elifs) = (0, None, 0i64, 0, 0, 0);
    while n < chars.len() {
        let two = (chars[n], chars.get(n + 1).copied().unwrap_or(' '));
        let Some(close) = inside else {
            inside = match two {
                ('{', '{') => Some('}'),
                ('{', '%') => Some('%'),
                ('{', '#') => Some('#'),
                _ => None,
            };
            (start, parts) = (n, 0);
            n += if inside.is_some() { 2 } else { 1 };
            continue;
        };
        if two == (close, '}') && (open == 0 || close == '#') {
            inside = None;
            n += 2;
            continue;
        }
        if close == '#' || chars[n].is_whitespace() {
            n += 1;
            continue;
        }
        parts += 1;
        if matches!(chars[n], '"' | '\'') {
            let quote = chars[n];
            n += 1;
            while n < chars.len() && chars[n] != quote {
                n += if chars[n] == '\\' { 2 } else { 1 };
            }
            n += 1;
        } else if chars[n].is_alphabetic() || chars[n] == '_' {
            let token = name(&chars, &mut n);
            parts += 2 * (token.path.len() - 1);
            match token.path.first().map(String::as_str) {
                Some("raw") if parts == 1 && close == '%' => out.too_complex = Some(((start, n), "`raw` blocks")),
                Some("elif") => elifs += 1,
                _ => {}
            }
            out.tokens.push(token);
        } else if chars[n].is_ascii_digit() {
            while chars.get(n).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '.') {
                n += 1;
            }
        } else {
            match chars[n] {
                '(' | '[' | '{' => open += 1,
                ')' | ']' | '}' => open -= 1,
                // A sign before the end of a region belongs to it, and to `{%- raw`.
                '-' | '+' if n == start + 2 => parts = 0,
                _ => {}
            }
            n += 1;
        }
        if parts > MAX_PARTS {
            out.too_complex = out.too_complex.or(Some(((start, start + 2), "so many parts in one `{{ … }}`")));
        }
    }
    if elifs > MAX_ELIFS {
        out.too_complex = Some(((0, chars.len()), "so many `elif`"));
    }
    out
}

/// A dotted path from here on.
fn name(chars: &[char], n: &mut usize) -> Token {
    let before = chars[..*n].iter().rev().find(|c| !c.is_whitespace()).copied();
    let start = *n;
    let mut path = vec![String::new()];
    loop {
        while *n < chars.len() && (chars[*n].is_alphanumeric() || chars[*n] == '_') {
            if let Some(part) = path.last_mut() {
                part.push(chars[*n]);
            }
            *n += 1;
        }
        if chars.get(*n) == Some(&'.') && chars.get(*n + 1).is_some_and(|c| c.is_alphabetic() || *c == '_') {
            path.push(String::new());
            *n += 1;
        } else {
            return Token { path, filter: before == Some('|'), at: (start, *n) };
        }
    }
}

/// Where a path stands; the whole text where it is not found.
pub(super) fn places(tokens: &[Token], path: &[&str], whole: (usize, usize)) -> Vec<(usize, usize)> {
    let found: Vec<_> = tokens
        .iter()
        .filter(|t| !t.filter && t.path.len() >= path.len() && t.path.iter().zip(path).all(|(a, b)| a == b))
        .map(|t| (t.at.0, t.at.0 + path.iter().map(|p| p.chars().count() + 1).sum::<usize>() - 1))
        .take(8)
        .collect();
    if found.is_empty() { vec![whole] } else { found }
}
