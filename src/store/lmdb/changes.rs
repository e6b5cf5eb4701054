//! Which commits are our own, which are other programs', and when those were noticed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::env;

/// What is known of the changes of an environment.
#[derive(Debug)]
pub struct Changes {
    /// The last transaction that is our own, or was noticed.
    known: AtomicU64,
    /// When a change by somebody else was last noticed, in nanoseconds since 1970.
    modified: AtomicU64,
    /// How many times that was.
    foreign: AtomicU64,
}

impl Changes {
    /// Nothing but that somebody last changed something at `modified`.
    pub(super) fn since(modified: SystemTime) -> Changes {
        let modified = AtomicU64::new(nanoseconds(modified));
        Changes { known: AtomicU64::new(0), modified, foreign: AtomicU64::new(0) }
    }

    /// From transaction `id` on, what is not ours is somebody else's.
    pub(super) fn begin_at(&self, id: u64) {
        self.known.store(id, Ordering::Release);
    }

    /// Whether transaction `id` is somebody else's that was not noticed before; it is noted.
    pub(super) fn notice(&self, id: u64) -> bool {
        if id <= self.known.load(Ordering::Acquire) || self.known.fetch_max(id, Ordering::AcqRel) >= id {
            return false;
        }
        self.changed();
        true
    }

    /// Marks transaction `id` as our own, before its commit shows it: so no reader takes it for somebody else's.
    pub(super) fn own(&self, id: u64) {
        self.known.fetch_max(id, Ordering::AcqRel);
    }

    /// Somebody else changed something, or may have: a commit marked by [`Changes::own`] failed, and the same id may
    /// become somebody else's unnoticed.
    pub(super) fn changed(&self) {
        self.modified.fetch_max(nanoseconds(env::now()), Ordering::AcqRel);
        self.foreign.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes over when somebody else last changed something, from an earlier mount; false where others have changed
    /// something since this one began.
    pub(super) fn resume(&self, modified: SystemTime) -> bool {
        let unchanged = self.foreign() == 0;
        if unchanged {
            self.modified.store(nanoseconds(modified), Ordering::Release);
        }
        unchanged
    }

    /// When somebody else last changed something, as far as is known: a moment after the change.
    pub fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.modified.load(Ordering::Acquire))
    }

    /// How often changes by others were noticed.
    pub fn foreign(&self) -> u64 {
        self.foreign.load(Ordering::Acquire)
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_of_others_are_changes() {
        let changes = Changes::since(UNIX_EPOCH);
        changes.begin_at(5);
        assert!(!changes.notice(5));
        changes.own(6);
        assert!(!changes.notice(6));
        assert_eq!(changes.modified(), UNIX_EPOCH);
        assert!(changes.notice(7));
        assert!(!changes.notice(7));
        assert_eq!(changes.foreign(), 1);
        assert!(changes.modified() > UNIX_EPOCH);
    }
}
