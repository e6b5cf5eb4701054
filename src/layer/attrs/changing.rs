//! Which files are being changed: one change at a time, and whoever looks meanwhile trusts no recorded time of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::key::Key;

/// The files that are being changed.
#[derive(Default)]
pub(super) struct Changing {
    keys: Mutex<HashSet<Key>>,
    ended: Condvar,
    /// How many there are, for whoever looks: mostly none.
    count: AtomicUsize,
}

/// Files that only the holder changes.
pub(super) struct Held<'a> {
    changing: &'a Changing,
    keys: Vec<Key>,
}

impl Changing {
    /// Waits until none of `keys` is being changed, and holds them all: as long as the store takes for a change.
    pub fn hold<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Held<'_> {
        let mut keys: Vec<Key> = keys.cloned().collect();
        keys.sort_unstable();
        keys.dedup();
        let mut held = self.keys.lock();
        while keys.iter().any(|key| held.contains(key)) {
            self.ended.wait(&mut held);
        }
        held.extend(keys.iter().cloned());
        self.count.store(held.len(), Ordering::SeqCst);
        Held { changing: self, keys }
    }

    /// Whether `key` is being changed. Asked after its value was looked at, and before its record is: then the record
    /// is that of the value, or of a newer one.
    pub fn has(&self, key: &Key) -> bool {
        self.count.load(Ordering::SeqCst) > 0 && self.keys.lock().contains(key)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.changing.keys.lock();
        for key in &self.keys {
            held.remove(key);
        }
        self.changing.count.store(held.len(), Ordering::SeqCst);
        self.changing.ended.notify_all();
    }
}
