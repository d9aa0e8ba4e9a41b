//! The id of a run: external, sortable by creation, and never part of what the run computes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `r_` and 26 characters of Crockford's base 32, of a UUID of version 7.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 bits as 26 characters of Crockford's base 32.
pub(crate) struct Digits;

impl Digits {
    pub(crate) fn of(bits: [u8; 16]) -> String {
        let mut bits = u128::from_be_bytes(bits);
        let mut digits = vec![b'0'; 26];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[usize::try_from(bits & 31).unwrap_or(0)];
            bits >>= 5;
        }
        String::from_utf8(digits).unwrap_or_default()
    }

    /// Whether a text may be such digits.
    pub(crate) fn are(text: &str) -> bool {
        text.len() == 26 && text.bytes().all(|b| DIGITS.contains(&b))
    }
}

/// The bits of a run id, for tables of many.
pub(crate) type RunKey = [u8; 16];

/// New bits, behind those of earlier ids.
pub(crate) fn new_key() -> RunKey {
    uuid::Uuid::now_v7().into_bytes()
}

impl RunId {
    /// A new id.
    pub fn new() -> RunId {
        RunId::of_key(new_key())
    }

    /// The id with these bits.
    pub(crate) fn of_key(key: RunKey) -> RunId {
        RunId(format!("r_{}", Digits::of(key)).into())
    }

    /// The id's bits.
    pub(crate) fn key(&self) -> RunKey {
        let value = |b: u8| DIGITS.iter().position(|d| *d == b).unwrap_or(0) as u128;
        self.0.bytes().skip(2).fold(0_u128, |bits, b| bits << 5 | value(b)).to_be_bytes()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RunId {
    fn default() -> RunId {
        RunId::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no run id: one looks like `r_` and 26 letters and digits (see `commedia ls`)")]
pub struct BadRunId(String);

impl FromStr for RunId {
    type Err = BadRunId;
    fn from_str(text: &str) -> Result<RunId, BadRunId> {
        let digits = text.strip_prefix("r_").filter(|digits| Digits::are(digits));
        digits.map(|_| RunId(text.into())).ok_or_else(|| BadRunId(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_text_are_one_id() {
        for id in [RunId::new(), RunId::of_key([0; 16]), RunId::of_key([255; 16])] {
            assert_eq!(RunId::of_key(id.key()), id);
            assert_eq!(id.as_str().parse().as_ref(), Ok(&id));
        }
    }
}
