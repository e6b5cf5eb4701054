//! Objects as this mount saw or put them last: what is written next to the same key stands on their version (§4.6), and
//! keeps their headers.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bucket::Object;
use crate::env;

/// So many objects are remembered.
const MOST: usize = 16 << 10;

/// Objects by key, the newest.
#[derive(Default)]
pub(super) struct Recent {
    seen: Mutex<Seen>,
    /// Keys that are about to be made, and since when.
    absent: Mutex<HashMap<String, Instant>>,
}

/// A file that is made is put within this time, or asks again.
const ABSENT_GOOD: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Seen {
    objects: HashMap<String, Object>,
    /// The version that this mount put last, of those among `objects` that it put.
    puts: HashMap<String, String>,
    /// In the order in which they came; a key stands here once.
    order: VecDeque<String>,
}

impl Recent {
    /// This mount put it.
    pub(super) fn put(&self, object: &Object) {
        self.saw(object);
        self.seen.lock().puts.insert(object.key.clone(), object.version.clone());
    }

    /// This is what there is now, as far as is known, with all its headers.
    pub(super) fn saw(&self, object: &Object) {
        let mut seen = self.seen.lock();
        if seen.objects.insert(object.key.clone(), object.clone()).is_none() {
            seen.order.push_back(object.key.clone());
        }
        while seen.order.len() > MOST {
            if let Some(oldest) = seen.order.pop_front() {
                seen.objects.remove(&oldest);
                seen.puts.remove(&oldest);
            }
        }
    }

    /// There is none any more.
    pub(super) fn lost(&self, key: &str) {
        let mut seen = self.seen.lock();
        seen.puts.remove(key);
        if seen.objects.remove(key).is_some() {
            seen.order.retain(|other| other != key);
        }
    }

    /// The version that this mount put last; others may have put more since.
    pub(super) fn version_put(&self, key: &str) -> Option<String> {
        self.seen.lock().puts.get(key).cloned()
    }

    /// Whoever is about to put `key` has seen that there is nothing.
    pub(super) fn seen_absent(&self, key: String) {
        let mut absent = self.absent.lock();
        if absent.len() >= MOST {
            absent.retain(|_, since| since.elapsed() < ABSENT_GOOD);
        }
        if absent.len() < MOST {
            absent.insert(key, env::instant());
        }
    }

    /// Whether there was nothing at `key` when it was seen last; told once.
    pub(super) fn was_absent(&self, key: &str) -> bool {
        self.absent.lock().remove(key).is_some_and(|since| since.elapsed() < ABSENT_GOOD)
    }

    /// What was seen or put last.
    pub(super) fn object(&self, key: &str) -> Option<Object> {
        self.seen.lock().objects.get(key).cloned()
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
    fn the_newest_are_remembered() {
        let recent = Recent::default();
        for number in 0..MOST + 10 {
            recent.saw(&object(&number.to_string(), "1"));
            recent.saw(&object(&number.to_string(), "2"));
        }
        assert_eq!(recent.object("9"), None);
        assert_eq!(recent.object("10").unwrap().version, "2");
        recent.lost("10");
        assert_eq!(recent.object("10"), None);
        let seen = recent.seen.lock();
        assert_eq!((seen.order.len(), seen.objects.len()), (MOST - 1, MOST - 1));
    }
}
