//! Objects as this mount saw or put them last: what is written next to the same key stands on their version (§4.6), and
//! keeps their headers.
//!
//! Two generations take turns: when the young one is full it becomes the old one, and the old one goes. So each is
//! asked for and forgotten at the same small cost, however many there are.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bucket::Object;
use crate::env;

/// What one generation may take, about, in bytes.
const GENERATION: usize = 4 << 20;
/// What an object takes besides its key and its headers, about, in bytes.
const EACH: usize = 512;
/// So many keys that are about to be made are remembered.
const ABSENT_MOST: usize = 4096;
/// A file that is made is put within this time, or asks again.
const ABSENT_GOOD: Duration = Duration::from_secs(60);

/// Objects by key, the newest.
#[derive(Default)]
pub(super) struct Recent {
    seen: Mutex<Seen>,
    /// Keys that are about to be made, and since when.
    absent: Mutex<HashMap<String, Instant>>,
}

#[derive(Default)]
struct Seen {
    young: HashMap<String, Known>,
    old: HashMap<String, Known>,
    /// What the young ones take.
    bytes: usize,
}

/// What is known of an object.
struct Known {
    object: Object,
    /// The version that this mount put last.
    put: Option<String>,
}

impl Seen {
    fn get(&self, key: &str) -> Option<&Known> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn insert(&mut self, known: Known) {
        let headers = known.object.headers.as_ref().map_or(0, |headers| {
            headers.metadata.iter().chain(&headers.http).map(|(name, value)| name.len() + value.len()).sum()
        });
        let bytes = known.object.key.len() + headers + EACH;
        if self.bytes + bytes > GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.young.insert(known.object.key.clone(), known);
    }
}

impl Recent {
    /// This mount put it.
    pub(super) fn put(&self, object: &Object) {
        self.absent.lock().remove(&object.key);
        let put = Some(object.version.clone());
        self.seen.lock().insert(Known { object: object.clone(), put });
    }

    /// This is what there is now, as far as is known, with all its headers.
    pub(super) fn saw(&self, object: &Object) {
        let mut seen = self.seen.lock();
        let put = seen.get(&object.key).and_then(|known| known.put.clone());
        seen.insert(Known { object: object.clone(), put });
    }

    /// There is none any more.
    pub(super) fn lost(&self, key: &str) {
        let mut seen = self.seen.lock();
        seen.young.remove(key);
        seen.old.remove(key);
    }

    /// The version that this mount put last; others may have put more since.
    pub(super) fn version_put(&self, key: &str) -> Option<String> {
        self.seen.lock().get(key)?.put.clone()
    }

    /// What was seen or put last.
    pub(super) fn object(&self, key: &str) -> Option<Object> {
        self.seen.lock().get(key).map(|known| known.object.clone())
    }

    /// Whoever is about to put `key` has seen that there is nothing.
    pub(super) fn seen_absent(&self, key: String) {
        let mut absent = self.absent.lock();
        if absent.len() >= ABSENT_MOST {
            absent.retain(|_, since| since.elapsed() < ABSENT_GOOD);
        }
        if absent.len() < ABSENT_MOST {
            absent.insert(key, env::instant());
        }
    }

    /// Whether there was nothing at `key` when it was seen last; until it is put.
    pub(super) fn was_absent(&self, key: &str) -> bool {
        self.absent.lock().get(key).is_some_and(|since| since.elapsed() < ABSENT_GOOD)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn object(key: &str, version: &str) -> Object {
        Object {
            key: key.to_owned(),
            size: 1,
            modified: SystemTime::UNIX_EPOCH,
            version: version.to_owned(),
            headers: None,
            class: None,
            archived: false,
        }
    }

    #[test]
    fn the_newest_are_remembered_within_a_bound() {
        let recent = Recent::default();
        let most = 2 * GENERATION / EACH;
        for number in 0..2 * most {
            recent.saw(&object(&number.to_string(), "1"));
        }
        assert_eq!(recent.object("9"), None);
        assert_eq!(recent.object(&(2 * most - 1).to_string()).unwrap().version, "1");
        let seen = recent.seen.lock();
        assert!(seen.young.len() + seen.old.len() <= most);
    }

    #[test]
    fn what_others_put_is_not_taken_for_what_this_mount_put() {
        let recent = Recent::default();
        recent.seen_absent("k".to_owned());
        assert!(recent.was_absent("k") && recent.was_absent("k"));
        recent.put(&object("k", "ours"));
        assert!(!recent.was_absent("k"));
        recent.saw(&object("k", "theirs"));
        assert_eq!(recent.object("k").unwrap().version, "theirs");
        assert_eq!(recent.version_put("k").as_deref(), Some("ours"));
        recent.lost("k");
        assert_eq!((recent.object("k"), recent.version_put("k")), (None, None));
    }
}
