//! What tells one version of a file from another: which file it is, its size, and when its bytes were changed last.
//!
//! `touch` changes the time of a file and none of its bytes. Where this store did that itself it knows so, and
//! the file has the version that it had; where another program did, it counts as changed.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::store::api::Version;

/// So many touches are remembered; of an older one the file counts as changed.
const REMEMBERED: usize = 4096;

/// One version of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, u64),
}

impl Stamp {
    pub fn of(found: &rustix::fs::Stat) -> Stamp {
        Stamp {
            device: found.st_dev,
            inode: found.st_ino,
            size: found.st_size,
            modified: (found.st_mtime, super::node::nanoseconds(found.st_mtime_nsec)),
        }
    }

    fn version(&self) -> Version {
        let (seconds, nanoseconds) = self.modified;
        let words = [
            self.device.to_le_bytes(),
            self.inode.to_le_bytes(),
            self.size.to_le_bytes(),
            seconds.to_le_bytes(),
            nanoseconds.to_le_bytes(),
        ];
        Version(words.as_flattened().into())
    }
}

/// Stamps that were set on bytes which had another one.
#[derive(Debug, Default)]
pub(super) struct Same(Mutex<VecDeque<(Stamp, Stamp)>>);

impl Same {
    /// The bytes that had the stamp `before` have the stamp `after` now.
    pub fn add(&self, before: Stamp, after: Stamp) {
        let first = self.first(before);
        let mut known = self.0.lock();
        known.retain(|(stamp, _)| *stamp != after);
        if after == first {
            return;
        }
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back((after, first));
    }

    /// The stamp that the bytes had before anyone touched them here.
    pub fn first(&self, stamp: Stamp) -> Stamp {
        self.0.lock().iter().rev().find(|(after, _)| *after == stamp).map_or(stamp, |(_, first)| *first)
    }

    /// Whether both are stamps of the same bytes.
    pub fn are(&self, one: Stamp, other: Stamp) -> bool {
        one == other || self.first(one) == self.first(other)
    }

    pub fn version(&self, stamp: Stamp) -> Version {
        self.first(stamp).version()
    }
}
