//! Folders whose names are asked for one after the other. When the questions have cost about as much as a listing would,
//! the folder is listed, and its names are known: making or removing thousands of files, or looking for them by name,
//! costs a listing now and then rather than questions for each. Should it have been for nothing, it has at most doubled
//! what the questions cost.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::key::Key;

/// Questions that cost about as much as a request that lists [`NAMES`] names.
const QUESTIONS: u64 = 8;
/// Names that a request lists.
const NAMES: u64 = 1000;
/// So many folders are looked at, those that were asked about last.
const FOLDERS: usize = 64;

/// The questions of late, by folder.
#[derive(Default)]
pub(super) struct Questions {
    folders: Mutex<VecDeque<Folder>>,
}

struct Folder {
    dir: Key,
    /// Since when they are counted, and how many there were.
    since: Instant,
    questions: u64,
    /// How many names a listing has to tell: as many as the last one told, or twice as many where it did not come to
    /// its end.
    names: u64,
    /// Somebody lists it now.
    listing: bool,
}

impl Questions {
    /// Counts a question about a name in `dir`; answers how many names are to be listed, where it is time to. Questions
    /// that are further apart than `ttl` are no crowd. Whoever is answered a number calls [`Questions::listed`].
    pub fn count(&self, dir: &Key, now: Instant, ttl: Duration) -> Option<u64> {
        if ttl.is_zero() {
            return None;
        }
        let mut folders = self.folders.lock();
        let known = folders.iter().position(|folder| folder.dir == *dir).and_then(|at| folders.remove(at));
        let mut folder = known.unwrap_or_else(|| Folder {
            dir: dir.clone(),
            since: now,
            questions: 0,
            names: 0,
            listing: false,
        });
        if now.saturating_duration_since(folder.since) > ttl {
            (folder.since, folder.questions) = (now, 0);
        }
        folder.questions += 1;
        let pages = folder.names / NAMES + 1;
        let due = !folder.listing && folder.questions >= pages.saturating_mul(QUESTIONS);
        folder.listing |= due;
        if folders.len() >= FOLDERS {
            folders.pop_front();
        }
        folders.push_back(folder);
        due.then(|| pages.saturating_mul(NAMES))
    }

    /// A listing that was due told so many names; `whole`: those are all.
    pub fn listed(&self, dir: &Key, names: u64, whole: bool) {
        let mut folders = self.folders.lock();
        let Some(folder) = folders.iter_mut().find(|folder| folder.dir == *dir) else { return };
        folder.listing = false;
        folder.questions = 0;
        folder.names = if whole { names } else { folder.names.max(names).max(NAMES).saturating_mul(2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env;

    const TTL: Duration = Duration::from_secs(1);

    fn dir(name: &str) -> Key {
        Key::of([name.as_bytes()])
    }

    /// How many questions it takes until a listing is due, and of how many names.
    fn until_due(questions: &Questions, now: Instant) -> (u64, u64) {
        (1..).find_map(|n| Some((n, questions.count(&dir("d"), now, TTL)?))).unwrap()
    }

    #[test]
    fn a_crowd_of_questions_has_its_folder_listed_and_a_larger_folder_takes_a_larger_crowd() {
        let (questions, now) = (Questions::default(), env::instant());
        assert_eq!(until_due(&questions, now), (8, 1000));
        questions.listed(&dir("d"), 1000, false);
        assert_eq!(until_due(&questions, now), (24, 3000));
        questions.listed(&dir("d"), 3000, false);
        assert_eq!(until_due(&questions, now), (56, 7000));
        questions.listed(&dir("d"), 5500, true);
        assert_eq!(until_due(&questions, now), (48, 6000));
    }

    #[test]
    fn questions_far_apart_are_no_crowd_and_one_lists_at_a_time() {
        let (questions, now) = (Questions::default(), env::instant());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!((0..100).all(|n| questions.count(&dir("d"), at(2 * n), TTL).is_none()));
        assert!((0..100).all(|_| questions.count(&dir("d"), now, Duration::ZERO).is_none()));
        until_due(&questions, at(300));
        assert!((0..100).all(|_| questions.count(&dir("d"), at(300), TTL).is_none()), "it is listed already");
        let many = |n: u32| dir(&n.to_string());
        assert!((0..1000).all(|n| questions.count(&many(n), at(300), TTL).is_none()));
        assert!(questions.folders.lock().len() <= FOLDERS);
    }
}
