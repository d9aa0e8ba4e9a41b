//! The id of a run: external, sortable by creation, and never part of what the run computes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// `r_` and 26 characters of Crockford's base 32, of a UUID of version 7.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl RunId {
    /// A new id.
    pub fn new() -> RunId {
        let mut bits = uuid::Uuid::now_v7().as_u128();
        let mut digits = [b'0'; 26];
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS[usize::try_from(bits & 31).unwrap_or(0)];
            bits >>= 5;
        }
        RunId(format!("r_{}", String::from_utf8_lossy(&digits)).into())
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
        let digits = text.strip_prefix("r_").filter(|d| d.len() == 26 && d.bytes().all(|b| DIGITS.contains(&b)));
        digits.map(|_| RunId(text.into())).ok_or_else(|| BadRunId(text.chars().take(64).collect()))
    }
}
