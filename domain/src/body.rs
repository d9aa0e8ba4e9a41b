//! A user-sized value in an event. Above one KiB it is stored apart, as a blob named by a hash keyed per workspace, so that
//! it can be erased and the log still verifies. Inside the process the value is always at hand.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Hash32;
use crate::value::Value;

/// Bytes above which a body is stored as a blob.
pub const INLINE_MAX: usize = 1024;

/// The key blobs of a workspace are named with; derived from the workspace's id, so equal content has one name within it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlobKey([u8; 32]);

impl BlobKey {
    /// The key of a workspace.
    pub fn of_workspace(workspace: &str) -> BlobKey {
        BlobKey(blake3::derive_key("commedia 2026 blob name v1", workspace.as_bytes()))
    }

    /// The name of some bytes.
    pub fn name(&self, bytes: &[u8]) -> Hash32 {
        Hash32(*blake3::keyed_hash(&self.0, bytes).as_bytes())
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(..)")
    }
}

/// A value that may be stored apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    value: Value,
    /// The blob's name and length, for a large value.
    blob: Option<Box<(Hash32, u32)>>,
    /// False for a body read from a log whose blob is not loaded (yet, or any more).
    present: bool,
}

impl Default for Body {
    fn default() -> Body {
        Body::small(Value::Null)
    }
}

impl Body {
    /// A body of a value; large ones get their blob's name here.
    pub fn new(value: Value, key: &BlobKey) -> Body {
        let value = value.plain();
        if value.weight() <= INLINE_MAX {
            return Body::small(value);
        }
        let bytes = encode(&value);
        let blob = Some(Box::new((key.name(&bytes), u32::try_from(bytes.len()).unwrap_or(u32::MAX))));
        Body { value, blob, present: true }
    }

    /// A body that is known to be small, such as a number.
    pub fn small(value: Value) -> Body {
        Body { value, blob: None, present: true }
    }

    /// The value; null where the blob is not loaded.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The name of the blob this body lives in, and its bytes.
    pub fn blob(&self) -> Option<(Hash32, Vec<u8>)> {
        self.blob.as_ref().filter(|_| self.present).map(|b| (b.0, encode(&self.value)))
    }

    /// The name of a blob that must be loaded before the value can be read.
    pub fn missing(&self) -> Option<Hash32> {
        self.blob.as_ref().filter(|_| !self.present).map(|b| b.0)
    }

    /// Puts the loaded blob in. Bytes that are not a value are refused.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        self.value = postcard::from_bytes(bytes)?;
        self.present = true;
        Ok(())
    }
}

fn encode(value: &Value) -> Vec<u8> {
    postcard::to_stdvec(value).expect("a value without collections always encodes")
}

#[derive(Serialize, Deserialize)]
enum Stored<T> {
    Inline(T),
    Blob { name: Hash32, len: u32 },
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.blob.as_deref() {
            Some((name, len)) => Stored::<&Value>::Blob { name: *name, len: *len }.serialize(serializer),
            None => Stored::Inline(&self.value).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Body, D::Error> {
        Ok(match Stored::<Value>::deserialize(deserializer)? {
            Stored::Inline(value) => Body::small(value),
            Stored::Blob { name, len } => Body { value: Value::Null, blob: Some(Box::new((name, len))), present: false },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_is_stored_by_name_and_filled_again() {
        let key = BlobKey::of_workspace("default");
        for (len, apart) in [(10, false), (900, false), (1100, true), (100_000, true)] {
            let body = Body::new(Value::text("x".repeat(len)), &key);
            assert_eq!(body.blob().is_some(), apart, "{len}");
            let bytes = postcard::to_stdvec(&body).expect("encodes");
            assert!(bytes.len() <= INLINE_MAX + 16, "{len}");
            let mut read: Body = postcard::from_bytes(&bytes).expect("decodes");
            if let Some(name) = read.missing() {
                let (named, blob) = body.blob().expect("large");
                assert_eq!(name, named);
                read.fill(&blob).expect("fills");
            }
            assert_eq!(read, body);
        }
        assert_ne!(BlobKey::of_workspace("a").name(b"x"), BlobKey::of_workspace("b").name(b"x"));
    }
}
