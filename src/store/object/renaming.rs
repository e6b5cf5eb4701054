//! Renames of folders: how far they have come, and what becomes of one that was interrupted.
//!
//! First all is copied, then all is removed. A daemon that is killed in between leaves a word in the journal, and the
//! next mount goes on: what is not copied yet is copied, unless something else is there by now, and what is, is removed where
//! it was.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::BytesMut;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::bucket::{Condition, Object};
use super::journal::Entry;
use super::reach::LONG_WORK;
use super::tree::Tree;
use super::value::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::Value;

/// A rename of a folder, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Renaming {
    /// What the old keys begin with.
    from: String,
    /// What the new ones begin with.
    to: String,
    /// When the newest of them was put, by the service's clock: what came later stays where it is.
    newest: SystemTime,
    /// What is renamed with the folder and lies beside it.
    #[serde(default)]
    beside: Vec<Beside>,
}

/// The value or Hadoop's marker of a folder that is renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Beside {
    key: String,
    target: String,
    /// What has another by now stays where it is.
    version: String,
}

/// How far renames have come.
#[derive(Default)]
pub(super) struct Progress {
    under_way: Mutex<Vec<Arc<Count>>>,
}

struct Count {
    what: String,
    total: usize,
    done: AtomicUsize,
}

/// A rename that is shown as long as it lives.
pub(super) struct Shown<'p> {
    progress: &'p Progress,
    count: Arc<Count>,
    copied: Mutex<HashSet<String>>,
}

impl Progress {
    /// Shows a rename of so many objects.
    pub(super) fn begin(&self, from: &str, to: &str, total: usize) -> Shown<'_> {
        let what = format!("{from:?} to {to:?}");
        let count = Arc::new(Count { what, total, done: AtomicUsize::new(0) });
        self.under_way.lock().push(Arc::clone(&count));
        Shown { progress: self, count, copied: Mutex::default() }
    }

    /// Renames of more than one object, for `kvfs status`.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let under_way = self.under_way.lock();
        let told = |count: &Arc<Count>| {
            let done = count.done.load(Ordering::Relaxed);
            ("renaming", format!("{}: {done} of {} objects copied", count.what, count.total))
        };
        under_way.iter().filter(|count| count.total > 1).map(told).collect()
    }
}

impl Shown<'_> {
    /// An object is copied to this key.
    pub(super) fn copied(&self, target: &str) {
        self.count.done.fetch_add(1, Ordering::Relaxed);
        self.copied.lock().insert(target.to_owned());
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.progress.under_way.lock().retain(|count| !Arc::ptr_eq(count, &self.count));
    }
}

impl Tree {
    /// Writes down the rename of a folder; that of a file leaves the source or the target whole by itself.
    pub(super) fn begin_renaming(
        &self,
        from: &Key,
        to: &Key,
        tree: bool,
        moves: &[(Object, String)],
    ) -> Result<Option<Entry<Renaming>>> {
        let names = &self.reach.names;
        let (Some(from), Some(to), true) = (names.below(from), names.below(to), tree) else {
            return Ok(None);
        };
        let entry = self.reach.renames.begin()?;
        let newest = moves.iter().map(|(object, _)| object.modified).max().unwrap_or(SystemTime::UNIX_EPOCH);
        let beside =
            moves.iter().filter(|(object, _)| !object.key.starts_with(&from)).map(|(object, target)| {
                let (key, version) = (object.key.clone(), object.version.clone());
                Beside { key, target: target.clone(), version }
            });
        let beside = beside.collect();
        entry.note(&Renaming { from, to, newest, beside })?;
        Ok(Some(entry))
    }

    /// Removes the copies of a rename that failed.
    pub(super) fn take_back(&self, moves: &[(Object, String)], shown: &Shown<'_>) {
        for (_, target) in moves.iter().filter(|(_, target)| shown.copied.lock().contains(target)) {
            let Some(made) = self.reach.recent.object(target) else { continue };
            let condition = Condition::Version(made.version);
            let outcome = self.reach.wait_long(2, self.delete_object(target, &condition));
            self.reach.recent.lost(target);
            if let Err(error) = outcome {
                tracing::warn!("{target:?} is a copy of a rename that failed, and stays: {error}");
            }
        }
    }

    /// Goes on with renames that were interrupted.
    pub(super) fn finish_renames(&self) {
        self.reach.renames.unfinished(|renaming| {
            let moved = self.go_on(renaming)?;
            tracing::info!(
                "the rename of {:?} to {:?} is finished: {moved} objects",
                renaming.from,
                renaming.to
            );
            Ok(())
        });
    }

    fn go_on(&self, renaming: &Renaming) -> Result<usize> {
        let mut left = Vec::new();
        for beside in &renaming.beside {
            let found = self.reach.wait(self.reach.bucket.head(&beside.key))?;
            let found = found.filter(|object| object.version == beside.version);
            left.extend(found.map(|object| (object, beside.target.clone())));
        }
        for object in self.all_below(&renaming.from)? {
            if object.modified <= renaming.newest {
                let target = renaming.to.clone() + &object.key[renaming.from.len()..];
                left.push((object, target));
            }
        }
        let shown = self.reach.progress.begin(&renaming.from, &renaming.to, left.len());
        for (object, target) in &left {
            match self.reach.wait_long(LONG_WORK, self.copy_one(object, target, None, Condition::Absent)) {
                Err(error) if error.kind() == ErrorKind::Exists => self.must_be_copy(object, target)?,
                outcome => outcome?,
            }
            shown.copied(target);
        }
        self.delete_all(left.iter().map(|(object, _)| object), Some(&renaming.from))?;
        Ok(left.len())
    }

    /// Whether two objects of one length have the same bytes.
    fn has_bytes_of(&self, one: &Object, other: &Object) -> Result<bool> {
        let other = Opened::of(&self.reach, other)?;
        Opened::of(&self.reach, one)?.has_bytes(0, &mut |at, size| {
            let mut bytes = BytesMut::new();
            other.read(at, size, &mut |piece| bytes.extend_from_slice(piece))?;
            Ok(bytes.freeze())
        })
    }

    /// What is in the way of a copy is the copy that was made before the interruption, or all stays as it is.
    fn must_be_copy(&self, object: &Object, target: &str) -> Result<()> {
        let found = self.reach.wait(self.look(target))?;
        if let Some(found) = found
            && found.size == object.size
            && self.has_bytes_of(&found, object)?
        {
            return Ok(());
        }
        let key = &object.key;
        let sentence = format!("{target:?} was put since, and is not {key:?}: move what is left yourself");
        Err(Error::new(ErrorKind::Exists, sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_is_shown_as_long_as_it_lives() {
        let progress = Progress::default();
        let one = progress.begin("f", "g", 1);
        let many = progress.begin("a/", "b/", 3);
        many.copied("b/1");
        let facts = progress.facts();
        assert_eq!(facts, [("renaming", "\"a/\" to \"b/\": 1 of 3 objects copied".to_owned())]);
        drop((one, many));
        assert!(progress.facts().is_empty() && progress.under_way.lock().is_empty());
    }
}
