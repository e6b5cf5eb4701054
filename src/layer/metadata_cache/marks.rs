//! What this mount changes while answers are under way: an answer that was asked for before a change and comes after it
//! may tell of before, and must not be remembered.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;

use crate::key::Key;

/// Keys share so many counters. Two keys that share one are forgotten together at worst.
const COUNTERS: usize = 256;

/// Counts changes, by the keys that they concern.
#[derive(Debug)]
pub(super) struct Marks {
    changes: [AtomicU64; COUNTERS],
}

/// The counts of a moment.
#[derive(Clone)]
pub(super) struct Moment([u64; COUNTERS]);

impl Default for Marks {
    fn default() -> Marks {
        Marks { changes: [const { AtomicU64::new(0) }; COUNTERS] }
    }
}

impl Marks {
    /// Now, before the store is asked.
    pub fn moment(&self) -> Moment {
        Moment(std::array::from_fn(|at| self.changes[at].load(Ordering::Acquire)))
    }

    /// Whether nothing was changed under this key since.
    pub fn is_unchanged(&self, key: &Key, since: &Moment) -> bool {
        let at = counter(key);
        self.changes[at].load(Ordering::Acquire) == since.0[at]
    }

    /// Something is changed under this key.
    pub fn change(&self, key: &Key) {
        self.changes[counter(key)].fetch_add(1, Ordering::AcqRel);
    }

    /// Anything may be changed.
    pub fn change_all(&self) {
        for counter in &self.changes {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn counter(key: &Key) -> usize {
    FixedState::default().hash_one(key) as usize % COUNTERS
}
