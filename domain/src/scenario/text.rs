//! Bytes into text: UTF-8 of at most 1 MiB, without control characters.

use std::sync::Arc;

use super::faults::{Faults, Place};
use super::syntax;
use super::yaml::MAX_BYTES;
use crate::diagnostic::Span;

/// Control characters told one by one.
const MAX_CONTROLS: usize = 20;

/// Bytes as text: UTF-8 of at most 1 MiB, without a byte order mark and without control characters.
pub(crate) fn text_of(bytes: &[u8], name: &str, faults: &mut Faults) -> (u16, Option<Arc<str>>) {
    let first = Span { line: 1, column: 1, end_line: 1, end_column: 1 };
    if bytes.len() > MAX_BYTES {
        let file = faults.add_source(name, "".into());
        let message = format!("the document has {} bytes; the bound is 1 MiB ({MAX_BYTES} bytes)", bytes.len());
        faults
            .error("too_large", Place { file, span: first }, message)
            .help("put data into files and name them, such as `seed: {file: rows.csv}`");
        return (file, None);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let file = faults.add_source(name, "".into());
        faults
            .error("bad_encoding", Place { file, span: first }, "the file is UTF-16; a scenario is UTF-8")
            .help("save it as UTF-8");
        return (file, None);
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let file = faults.add_source(name, text.into());
            (file, Some(without_controls(text, file, faults)))
        }
        Err(e) => {
            let lossy = String::from_utf8_lossy(bytes);
            let file = faults.add_source(name, lossy.into_owned().into());
            let good = std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default();
            let line = u32::try_from(syntax::lines(good).len()).unwrap_or(u32::MAX);
            let column = syntax::lines(good).last().map_or(0, |l| l.chars().count()) as u32 + 1;
            let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
            let span = Span { line, column, end_line: line, end_column: column };
            faults
                .error(
                    "bad_encoding",
                    Place { file, span },
                    format!("the file is not UTF-8: byte 0x{byte:02X} does not fit here"),
                )
                .help("save the file as UTF-8");
            (file, None)
        }
    }
}

fn without_controls(text: &str, file: u16, faults: &mut Faults) -> Arc<str> {
    if !text.chars().any(is_control) {
        return text.into();
    }
    let mut told = 0;
    for (n, line) in syntax::lines(text).into_iter().enumerate() {
        for (column, c) in line.chars().enumerate().filter(|c| is_control(c.1)) {
            told += 1;
            if told <= MAX_CONTROLS {
                let name = if c == '\0' { "NUL, ".into() } else { String::new() };
                let message = format!("control character ({name}U+{:04X}) in the document", u32::from(c));
                let span = syntax::span(n as u32 + 1, column as u32 + 1, 1);
                faults
                    .error("control_character", Place { file, span }, message)
                    .help("remove it; line breaks and spaces are enough");
            }
        }
    }
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect::<String>().into()
}

/// Characters YAML does not let stand in a file, and bytes that only pretend to be text.
pub(crate) fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}') || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{feff}')
}
