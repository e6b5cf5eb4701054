//! The versions that this mount put last: what is written next to the same key stands on them (§4.6).

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

/// So many keys are remembered.
const MOST: usize = 4096;

/// Versions by key, the newest puts.
#[derive(Default)]
pub(super) struct Recent {
    puts: Mutex<Puts>,
}

#[derive(Default)]
struct Puts {
    versions: HashMap<String, String>,
    /// In the order in which they came; a key stands here once.
    order: VecDeque<String>,
}

impl Recent {
    /// This mount put `version` of `key`.
    pub(super) fn put(&self, key: &str, version: &str) {
        let mut puts = self.puts.lock();
        if puts.versions.insert(key.to_owned(), version.to_owned()).is_none() {
            puts.order.push_back(key.to_owned());
        }
        while puts.order.len() > MOST {
            if let Some(oldest) = puts.order.pop_front() {
                puts.versions.remove(&oldest);
            }
        }
    }

    /// The version of `key` that this mount put last.
    pub(super) fn version(&self, key: &str) -> Option<String> {
        self.puts.lock().versions.get(key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let recent = Recent::default();
        for number in 0..MOST + 10 {
            recent.put(&number.to_string(), "1");
            recent.put(&number.to_string(), "2");
        }
        assert_eq!(recent.version("9"), None);
        assert_eq!(recent.version("10").as_deref(), Some("2"));
        assert_eq!(recent.puts.lock().order.len(), MOST);
    }
}
