//! Newtypes for everything that is counted or named, so that no two are confused across a file border.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u16);
        impl $name {
            /// The position as an index into the scenario's list.
            pub fn at(self) -> usize { usize::from(self.0) }
        }
        impl From<usize> for $name {
            fn from(n: usize) -> Self { $name(u16::try_from(n).expect("a document has at most 10,000 nodes")) }
        }
    )*};
}

index! {
    /// An agent's place in the scenario, in declaration order.
    AgentIx
    /// A collection's place in the scenario.
    CollectionIx
    /// A state variable's place in the scenario.
    StateIx
    /// A tool's place in the scenario.
    ToolIx
    /// A view's place in the scenario.
    ViewIx
    /// A metric's place in the scenario.
    MetricIx
    /// A trigger's place in the scenario.
    TriggerIx
    /// A model alias' place in the scenario.
    ModelIx
}

/// A BLAKE3 hash of 32 bytes; shown in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Hash32 {
        Hash32(*blake3::hash(bytes).as_bytes())
    }

    /// The hash from 64 hex digits.
    pub fn from_hex(hex: &str) -> Option<Hash32> {
        blake3::Hash::from_hex(hex).ok().map(|h| Hash32(*h.as_bytes()))
    }
}

impl fmt::Display for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |half: u8| DIGITS[usize::from(half)];
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            (pair[0], pair[1]) = (digit(byte >> 4), digit(byte & 15));
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}
impl fmt::Debug for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
