//! A run's digest: what two runs have in common when scenario, parameters, seed and outcomes were the same.
//!
//! It covers the canonical payloads in order and nothing else: no seq, no time, no frame border, no run id.

use commedia_domain::id::Hash32;

/// The digest so far. `D₀` is 32 zero bytes and `Dₙ₊₁ = BLAKE3(Dₙ ‖ payload)`, so it goes on from any snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest(Hash32);

/// Payloads up to this length are hashed from one buffer on the stack.
const ON_STACK: usize = 1024;

impl Digest {
    /// The digest of nothing.
    pub fn new() -> Digest {
        Digest::default()
    }

    /// Goes on from a value taken earlier.
    pub fn resume(value: Hash32) -> Digest {
        Digest(value)
    }

    /// Takes in the next canonical payload.
    pub fn update(&mut self, payload: &[u8]) {
        let hash = if payload.len() <= ON_STACK {
            let mut buffer = [0; 32 + ON_STACK];
            buffer[..32].copy_from_slice(&self.0.0);
            buffer[32..32 + payload.len()].copy_from_slice(payload);
            blake3::hash(&buffer[..32 + payload.len()])
        } else {
            blake3::Hasher::new().update(&self.0.0).update(payload).finalize()
        };
        self.0 = Hash32(*hash.as_bytes());
    }

    /// The digest of what was taken in so far.
    pub fn value(&self) -> Hash32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_chain_it_says() {
        let mut digest = Digest::new();
        let mut expected = Hash32([0; 32]);
        for payload in [&b"one"[..], b"", &[7; 1024], &[8; 1025], &[9; 5000]] {
            digest.update(payload);
            expected = Hash32::of(&[&expected.0, payload].concat());
            assert_eq!(digest.value(), expected);
            digest = Digest::resume(digest.value());
        }
    }
}
