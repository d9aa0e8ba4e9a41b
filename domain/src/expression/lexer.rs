//! Characters to tokens, each with its place in characters. Every text gives tokens or one fault; nothing here panics.

use std::sync::Arc;

use super::Fault;

/// The longest text of an expression, bytes.
pub(super) const MAX_LENGTH: usize = 16 * 1024;

/// A part of the text: characters from, to (exclusive).
pub(super) type At = (u32, u32);

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A whole number without its sign.
    Int(u64),
    /// A number without its sign; finite.
    Double(f64),
    /// Text with its escapes resolved.
    Text(Arc<str>),
    /// A word.
    Name(Arc<str>),
    /// A field's name in backquotes.
    Quoted(Arc<str>),
    /// An operator or a bracket.
    Sym(&'static str),
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: At,
}

impl Token {
    /// The token as a message names it.
    pub(super) fn show(&self) -> String {
        match &self.kind {
            Kind::Int(i) => format!("`{i}`"),
            Kind::Double(d) => format!("`{d}`"),
            Kind::Text(t) if t.chars().count() > 20 => "text".to_owned(),
            Kind::Text(t) => format!("text '{t}'"),
            Kind::Name(n) | Kind::Quoted(n) => format!("`{n}`"),
            Kind::Sym(s) => format!("`{s}`"),
            Kind::End => "the end of the expression".to_owned(),
        }
    }
}

/// A syntax fault.
pub(super) fn syntax(what: impl std::fmt::Display, help: Option<&str>, at: At) -> Fault {
    Fault {
        code: "cel_syntax",
        message: format!("syntax error: {what}"),
        help: help.map(str::to_owned),
        at: (at.0 as usize, at.1 as usize),
        warning: false,
    }
}

const SYMBOLS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ",", ".",
];

/// All tokens of a text, closed by `Kind::End`.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Fault> {
    if source.len() > MAX_LENGTH {
        let what = format!("an expression has at most {MAX_LENGTH} bytes, this one has {}", source.len());
        return Err(syntax(what, Some("split it into several `let`s or views"), (0, 1)));
    }
    let mut lexer = Lexer { chars: source.chars().collect(), pos: 0 };
    let mut out = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == Kind::End;
        out.push(token);
        if end {
            return Ok(out);
        }
    }
}

struct Lexer {
    chars: Vec<char>,
    pos: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.pos + ahead).copied().unwrap_or('\0')
    }

    fn done(&self) -> bool {
        self.pos >= self.chars.len()
    }

    fn since(&self, from: usize) -> At {
        (narrow(from), narrow(self.pos.max(from + 1)))
    }

    fn next(&mut self) -> Result<Token, Fault> {
        self.skip_blank();
        let from = self.pos;
        if self.done() {
            return Ok(Token { kind: Kind::End, at: (narrow(from), narrow(from)) });
        }
        let c = self.peek(0);
        let kind = if let Some((raw, bytes, skip)) = self.text_prefix() {
            if bytes {
                self.pos += skip + 1;
                return Err(syntax("bytes are not supported", Some("write text: 'abc' instead of b'abc'"), self.since(from)));
            }
            self.pos += skip;
            self.text(raw)?
        } else if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            self.number()?
        } else if c == '_' || c.is_alphabetic() {
            while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
                self.pos += 1;
            }
            Kind::Name(self.slice(from))
        } else if c == '`' {
            self.quoted()?
        } else {
            self.symbol()?
        };
        Ok(Token { kind, at: self.since(from) })
    }

    fn slice(&self, from: usize) -> Arc<str> {
        self.chars[from..self.pos].iter().collect::<String>().into()
    }

    fn skip_blank(&mut self) {
        loop {
            if !self.done() && self.peek(0).is_whitespace() {
                self.pos += 1;
            } else if self.peek(0) == '/' && self.peek(1) == '/' {
                while !self.done() && self.peek(0) != '\n' {
                    self.pos += 1;
                }
            } else {
                return;
            }
        }
    }

    fn symbol(&mut self) -> Result<Kind, Fault> {
        for symbol in SYMBOLS {
            if symbol.chars().enumerate().all(|(n, c)| self.peek(n) == c) {
                self.pos += symbol.len();
                return Ok(Kind::Sym(symbol));
            }
        }
        let from = self.pos;
        self.pos += 1;
        let (what, help) = match self.chars[from] {
            '=' => ("expected an operator, found `=`", Some("equality is written `==`")),
            '&' => ("expected an operator, found `&`", Some("and is written `&&`")),
            '|' => ("expected an operator, found `|`", Some("or is written `||`")),
            '“' | '”' | '‘' | '’' => ("typographic quotes", Some("text is written 'so' or \"so\"")),
            '$' => ("found `$`", Some("a name stands by itself: `params.x`, not `${params.x}`")),
            c if c.is_control() => ("found a control character", None),
            c => return Err(syntax(format!("found `{c}`"), None, self.since(from))),
        };
        Err(syntax(what, help, self.since(from)))
    }

    fn quoted(&mut self) -> Result<Kind, Fault> {
        let from = self.pos;
        self.pos += 1;
        while !self.done() && self.peek(0) != '`' && self.peek(0) != '\n' {
            self.pos += 1;
        }
        if self.peek(0) != '`' || self.done() {
            return Err(syntax("expected a closing backquote", None, self.since(from)));
        }
        let name = self.chars[from + 1..self.pos].iter().collect::<String>();
        self.pos += 1;
        if name.is_empty() { Err(syntax("an empty name", None, self.since(from))) } else { Ok(Kind::Quoted(name.into())) }
    }

    /// Raw or not, bytes or not, and the length of the prefix, where text starts here.
    fn text_prefix(&self) -> Option<(bool, bool, usize)> {
        let (mut raw, mut bytes) = (false, false);
        for n in 0..3 {
            match self.peek(n) {
                '\'' | '"' => return Some((raw, bytes, n)),
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                _ => return None,
            }
        }
        None
    }

    fn text(&mut self, raw: bool) -> Result<Kind, Fault> {
        let from = self.pos;
        let quote = self.peek(0);
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        self.pos += if triple { 3 } else { 1 };
        let mut out = String::new();
        loop {
            let c = self.peek(0);
            if self.done() || (!triple && (c == '\n' || c == '\r')) {
                let help = if self.done() { None } else { Some("text over several lines is written '''so'''") };
                let close = if triple { quote.to_string().repeat(3) } else { quote.to_string() };
                let found = if self.done() { "the end of the expression" } else { "the end of the line" };
                return Err(syntax(format!("expected a closing {close}, found {found}"), help, self.since(from)));
            }
            if c == quote && (!triple || (self.peek(1) == quote && self.peek(2) == quote)) {
                self.pos += if triple { 3 } else { 1 };
                return Ok(Kind::Text(out.into()));
            }
            self.pos += 1;
            if c == '\\' && !raw { out.push(self.escape()?) } else { out.push(c) }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let from = self.pos - 1;
        let c = self.peek(0);
        self.pos += 1;
        let digits = match c {
            'a' => return Ok('\u{7}'),
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'v' => return Ok('\u{b}'),
            '\\' | '?' | '"' | '\'' | '`' => return Ok(c),
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.pos -= 1;
                (3, 8)
            }
            _ => {
                let help = "a backslash itself is written \\\\, or the text raw: r'…'";
                self.pos = self.pos.min(self.chars.len());
                return Err(syntax("an unknown escape in a text", Some(help), self.since(from)));
            }
        };
        let mut code = 0u32;
        for _ in 0..digits.0 {
            let digit = self.peek(0).to_digit(digits.1);
            let Some(digit) = digit else {
                return Err(syntax(format!("expected {} digits in an escape", digits.0), None, self.since(from)));
            };
            code = code.wrapping_mul(digits.1) | digit;
            self.pos += 1;
        }
        char::from_u32(code).ok_or_else(|| syntax("an escape that is no character", None, self.since(from)))
    }

    fn number(&mut self) -> Result<Kind, Fault> {
        let from = self.pos;
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') {
            self.pos += 2;
            return self.hex(from);
        }
        self.digits();
        let mut double = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            double = true;
            self.pos += 1;
            self.digits();
        }
        let sign = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + sign).is_ascii_digit() {
            double = true;
            self.pos += 1 + sign;
            self.digits();
        }
        let text = self.chars[from..self.pos].iter().collect::<String>();
        if double {
            self.no_word_after(from)?;
            return match text.parse::<f64>() {
                Ok(d) if d.is_finite() => Ok(Kind::Double(d)),
                _ => Err(syntax("a number too large for a double", None, self.since(from))),
            };
        }
        self.unsigned_suffix(from)?;
        match text.parse::<u64>() {
            Ok(i) if i <= 1 << 63 => Ok(Kind::Int(i)),
            _ => Err(syntax(
                format!("the number {text} does not fit in 64 bits"),
                Some("write it as a double: 1e20"),
                self.since(from),
            )),
        }
    }

    fn hex(&mut self, from: usize) -> Result<Kind, Fault> {
        let start = self.pos;
        while self.peek(0).is_ascii_hexdigit() {
            self.pos += 1;
        }
        let text = self.chars[start..self.pos].iter().collect::<String>();
        self.unsigned_suffix(from)?;
        match u64::from_str_radix(&text, 16) {
            Ok(i) if i <= 1 << 63 => Ok(Kind::Int(i)),
            _ => Err(syntax("expected a hexadecimal number of at most 64 bits", None, self.since(from))),
        }
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.pos += 1;
        }
    }

    fn unsigned_suffix(&mut self, from: usize) -> Result<(), Fault> {
        if matches!(self.peek(0), 'u' | 'U') {
            self.pos += 1;
        }
        self.no_word_after(from)
    }

    fn no_word_after(&mut self, from: usize) -> Result<(), Fault> {
        if self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
            while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
                self.pos += 1;
            }
            let text = self.slice(from);
            return Err(syntax(format!("`{text}` is neither a number nor a name"), None, self.since(from)));
        }
        Ok(())
    }
}

/// A place as 32 bits; a text has at most `MAX_LENGTH` characters.
fn narrow(pos: usize) -> u32 {
    u32::try_from(pos).unwrap_or(u32::MAX)
}
