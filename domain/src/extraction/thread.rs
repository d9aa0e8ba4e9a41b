//! Threads of mails and chats: how old the message is that a word stands in.

use super::words::{Kind, Text, any_phrase};

/// How old the message is that each token stands in. A thread is read from quoting signs and from lines that head a message;
/// the newest stands on top.
pub(super) fn ages(text: &Text<'_>) -> Vec<u32> {
    let heads: Vec<usize> = (0..text.tokens.len())
        .filter(|at| (*at == 0 || text.tokens[at - 1].kind == Kind::Line) && heads_chat(text, *at))
        .collect();
    if heads.len() >= 2 {
        // In a chat the last message is the newest.
        let mut next = 0;
        let age = |at: usize, next: &mut usize| {
            while heads.get(*next).is_some_and(|h| *h <= at) {
                *next += 1;
            }
            (heads.len() - (*next).max(1)) as u32
        };
        return (0..text.tokens.len()).map(|at| age(at, &mut next)).collect();
    }
    let mut ages = Vec::with_capacity(text.tokens.len());
    let (mut below, mut quoted, mut line_start) = (0_u32, 0_u32, true);
    for (at, token) in text.tokens.iter().enumerate() {
        if line_start {
            quoted = (at..at + 8).take_while(|n| matches!(text.sign(*n), Some('>' | '|'))).count() as u32;
            if heads_message(text, at) {
                below += 1;
            }
        }
        line_start = token.kind == Kind::Line;
        ages.push(below + quoted);
    }
    ages
}

/// "On Monday Anna wrote:", "-----Original Message-----", "From: …", "Am 3. März schrieb …".
pub(super) fn heads_message(text: &Text<'_>, at: usize) -> bool {
    let start = (at..at + 40).find(|n| !matches!(text.sign(*n), Some('-' | '>' | '_' | '=' | '*' | '—' | '–'))).unwrap_or(at);
    let end = (start..start + 40).find(|n| text.tokens.get(*n).is_none_or(|t| t.kind == Kind::Line)).unwrap_or(start + 40);
    let dashed = start > at + 1;
    if dashed
        && any_phrase(
            text,
            start,
            &[
                "original message",
                "forwarded message",
                "ursprungliche nachricht",
                "message d origine",
                "mensaje original",
                "earlier",
                "previous message",
                "older",
            ],
        )
        .is_some()
    {
        return true;
    }
    let from = text.is(start, &["from", "von", "de"]) && text.sign(start + 1) == Some(':') && at > 0;
    let earlier = any_phrase(
        text,
        start,
        &["earlier", "previous message", "previous mail", "older message", "earlier message", "earlier mail"],
    )
    .is_some_and(|n| text.sign(n) == Some(':'));
    let wrote = (start..end).any(|n| text.is(n, &["wrote", "schrieb", "ecrit", "escribio"]))
        && at > 0
        && text.sign(end.saturating_sub(1)) == Some(':');
    from || earlier || wrote
}

/// "[Tue 09:10] Anna:", "09:10 Anna:".
fn heads_chat(text: &Text<'_>, at: usize) -> bool {
    let bracket = usize::from(text.sign(at) == Some('['));
    let day = usize::from(bracket == 1 && !text.word(at + 1).is_empty());
    let hour = at + bracket + day;
    text.digits(hour).is_some_and(|d| d.len() <= 2)
        && text.sign(hour + 1) == Some(':')
        && text.glued(hour + 2)
        && text.digits(hour + 2).is_some_and(|d| d.len() == 2)
}
