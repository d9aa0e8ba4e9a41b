//! One at a time for each key: whoever comes second waits for the first.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Whose turn it is, by key.
pub(crate) struct Turns<K> {
    taken: Mutex<HashSet<K>>,
    done: Notify,
}

impl<K> Default for Turns<K> {
    fn default() -> Turns<K> {
        Turns { taken: Mutex::default(), done: Notify::new() }
    }
}

/// The turn of a key, until it is dropped.
pub(crate) struct Turn<'t, K: Eq + Hash>(&'t Turns<K>, K);

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.done.notify_waiters();
    }
}

impl<K: Clone + Eq + Hash> Turns<K> {
    /// Waits until nobody else has the key's turn.
    pub(crate) async fn alone(&self, key: &K) -> Turn<'_, K> {
        loop {
            let done = self.done.notified();
            if self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
                return Turn(self, key.clone());
            }
            done.await;
        }
    }
}
