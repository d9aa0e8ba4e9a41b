//! Server-sent events, as far as models' answers use them: bytes in any pieces to the data of each event. A line has a bound.
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>)

/// Takes bytes, gives events.
#[derive(Debug)]
pub(crate) struct Events {
    bound: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    /// The last byte was a CR: an LF after it belongs to the same end of a line.
    returned: bool,
    began: bool,
}

/// Why bytes are no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// A line, or an event's data, is longer than the bound.
    TooLong,
}

impl Events {
    /// With a bound for lines, and for an event's data.
    pub(crate) fn new(bound: usize) -> Events {
        Events { bound, line: Vec::new(), data: Vec::new(), returned: false, began: false }
    }

    /// Takes a piece and tells each event's data that is whole now, as bytes: they may be cut anywhere, even in a character.
    pub(crate) fn take<E: From<Odd>>(&mut self, mut piece: &[u8], mut tell: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.returned) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let end = piece.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &piece[..end.unwrap_or(piece.len())];
            if self.line.len() + part.len() > self.bound {
                return Err(Odd::TooLong.into());
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.returned = piece[end] == b'\r';
            piece = &piece[end + 1..];
            self.end_of_line(&mut tell)?;
        }
        Ok(())
    }

    fn end_of_line<E: From<Odd>>(&mut self, tell: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut line = &self.line[..];
        if !std::mem::replace(&mut self.began, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            if !self.data.is_empty() {
                tell(&self.data)?;
                self.data.clear();
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            if self.data.len() + data.len() > self.bound {
                return Err(Odd::TooLong.into());
            }
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        }
        // Comments, and fields that say no more than the data does.
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], expect: &[&str]) {
        for size in 1..=text.len() {
            let mut events = Events::new(40);
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                let told = events.take::<Odd>(piece, |data| {
                    found.push(String::from_utf8(data.to_vec()).expect("whole characters"));
                    Ok(())
                });
                told.expect("within the bound");
            }
            assert_eq!(found, expect, "in pieces of {size}");
        }
    }

    #[test]
    fn events_are_found_however_they_are_cut() {
        check(b"data: a\n\ndata: b\n\n", &["a", "b"]);
        check("\u{feff}data: é€\u{1f600}\r\n\r\n".as_bytes(), &["é€\u{1f600}"]);
        check(b"data:a\rdata: b\r\rdata: c\r\n\r\n", &["a\nb", "c"]);
        check(b": ping\n\nevent: x\nid: 1\nretry: 5\nnonsense\ndata: a\n\n", &["a"]);
        check(b"data: a\n\ndata: cut", &["a"]);
        check(b"data:\n\n\n\ndata: a\n\n", &["a"]);
    }

    #[test]
    fn a_line_and_its_data_have_a_bound() {
        let mut events = Events::new(10);
        let mut tell = |_: &[u8]| Ok(());
        assert_eq!(events.take::<Odd>(b"data: 12345678", &mut tell), Err(Odd::TooLong));
        let mut events = Events::new(10);
        assert_eq!(events.take::<Odd>(b"data: 1234\ndata: 5678\ndata: 9012\n", &mut tell), Err(Odd::TooLong));
    }
}
