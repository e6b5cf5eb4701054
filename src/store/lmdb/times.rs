//! When values changed, as far as it is known. LMDB keeps no times, so a value is as new as the last change by
//! somebody else that was noticed (at first the data file's time), or as our own last write of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use twox_hash::XxHash3_64;

use crate::env;
use crate::store::flat::Edit;

/// Keys whose times are remembered; with more, everything counts as changed now, and it begins anew.
const KEYS_MAX: usize = 1 << 16;

/// The times of our own writes. Keys are known by hashes: two with the same one are both as new as the newer.
#[derive(Clone, Debug)]
pub(super) struct Times {
    written: Arc<RwLock<Written>>,
}

#[derive(Clone, Debug)]
struct Written {
    /// No key that is not in `keys` was written after this.
    others: SystemTime,
    keys: HashMap<u64, SystemTime>,
}

impl Default for Times {
    fn default() -> Times {
        let begin = SystemTime::UNIX_EPOCH;
        let written = Written { others: begin, keys: HashMap::new() };
        Times { written: Arc::new(RwLock::new(written)) }
    }
}

impl Times {
    /// The same times, which later writes do not change.
    pub(super) fn frozen(&self) -> Times {
        Times { written: Arc::new(RwLock::new(self.written.read().clone())) }
    }

    /// Notes that `edits` are about to be carried out in the database `name`.
    pub(super) fn write(&self, name: &[u8], edits: &[Edit<'_>]) {
        let now = env::now();
        let mut written = self.written.write();
        for edit in edits {
            match edit {
                Edit::Put { key, .. } | Edit::Delete { key, .. } => written.note(name, key, now),
                Edit::Move { to, below, .. } => {
                    written.note(name, to, now);
                    if below.is_some() {
                        // A whole tree has new names, and its values the names' times.
                        written.forget(now);
                    }
                }
                Edit::Expect { .. } => {}
            }
        }
    }

    /// When we last wrote `key`, or may have.
    pub(super) fn of(&self, name: &[u8], key: &[u8]) -> SystemTime {
        let written = self.written.read();
        if written.keys.is_empty() {
            return written.others;
        }
        written.keys.get(&hash(name, key)).copied().unwrap_or(written.others)
    }
}

impl Written {
    fn note(&mut self, name: &[u8], key: &[u8], now: SystemTime) {
        if self.keys.len() >= KEYS_MAX {
            self.forget(now);
        }
        self.keys.insert(hash(name, key), now);
    }

    fn forget(&mut self, now: SystemTime) {
        self.others = now;
        self.keys.clear();
    }
}

fn hash(name: &[u8], key: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(name), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api::When;

    fn put(key: &[u8]) -> Edit<'static> {
        Edit::Put { key: key.to_vec(), body: None, when: When::Always }
    }

    #[test]
    fn a_key_is_as_new_as_its_write_and_others_are_not() {
        let times = Times::default();
        times.write(b"", &[put(b"a")]);
        assert!(times.of(b"", b"a") > SystemTime::UNIX_EPOCH);
        assert_eq!(times.of(b"", b"b"), SystemTime::UNIX_EPOCH);
        assert_eq!(times.of(b"named", b"a"), SystemTime::UNIX_EPOCH);
        let frozen = times.frozen();
        times.write(b"", &[put(b"b")]);
        assert_eq!(frozen.of(b"", b"b"), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let times = Times::default();
        let before = env::now();
        for index in 0..=KEYS_MAX {
            times.write(b"", &[put(&index.to_le_bytes())]);
        }
        assert!(times.written.read().keys.len() <= KEYS_MAX);
        assert!(times.of(b"", b"never seen") >= before);
    }
}
