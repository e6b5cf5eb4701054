//! What takes many requests and is under way, one small file each: uploads in parts, renames of folders. What a daemon leaves
//! behind that is killed is settled at the next mount, and nobody else's (§8.3). A daemon holds a lock on each of its files.

use std::fs::{self, File, OpenOptions};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::env::Folders;
use crate::error::{Error, Result};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The journal of one bucket, for one kind of work.
pub(super) struct Journal<T> {
    folder: PathBuf,
    of: PhantomData<fn(T)>,
}

/// Work that is under way.
pub(super) struct Entry<T> {
    path: PathBuf,
    file: Mutex<Flock<File>>,
    of: PhantomData<fn(T)>,
}

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Journal<T> {
        Journal { folder: self.folder.clone(), of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// The journal of the bucket that is called `source` in sentences, for `work`.
    pub(super) fn of(source: &str, work: &str) -> Journal<T> {
        let name = format!("{:016x}", twox_hash::XxHash3_64::oneshot(source.as_bytes()));
        Journal { folder: Folders::get().state.join(work).join(name), of: PhantomData }
    }

    /// Makes room for work, before it begins.
    ///
    /// # Errors
    /// The state folder's.
    pub(super) fn begin(&self) -> Result<Entry<T>> {
        let fail = |e: std::io::Error| Error::io(self.folder.display(), &e);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(&self.folder).map_err(fail)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::io(path.display(), &e))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| Error::io(path.display(), &errno.into()))?;
        Ok(Entry { path, file: Mutex::new(file), of: PhantomData })
    }

    /// Settles by `end` what daemons left behind that are no more; what it cannot stays.
    pub(super) fn unfinished(&self, mut end: impl FnMut(&T) -> Result<()>) {
        let Ok(names) = fs::read_dir(&self.folder) else { return };
        for name in names.flatten() {
            let path = name.path();
            if let Err(error) = settle(&path, &mut end) {
                tracing::warn!("{}: what was interrupted is not settled: {error}", path.display());
            }
        }
    }
}

/// Settles what a file tells of, where no daemon has it.
fn settle<T: DeserializeOwned>(path: &Path, end: &mut dyn FnMut(&T) -> Result<()>) -> Result<()> {
    let fail = |e: std::io::Error| Error::io(path.display(), &e);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
    let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    let text = fs::read(path).map_err(fail)?;
    // One that was killed before it could write down what it does has not begun.
    if let Ok(unfinished) = serde_json::from_slice::<T>(&text) {
        end(&unfinished)?;
    }
    fs::remove_file(path).map_err(fail)
}

impl<T: Serialize> Entry<T> {
    /// Writes down what is under way, in place of what was there.
    ///
    /// # Errors
    /// The state folder's.
    pub(super) fn note(&self, work: &T) -> Result<()> {
        let text = serde_json::to_vec(work).unwrap_or_default();
        let file = self.file.lock();
        let written = file.set_len(0).and_then(|()| file.write_all_at(&text, 0));
        written.map_err(|e| Error::io(self.path.display(), &e))
    }

    /// It has ended, and nothing is left of it.
    pub(super) fn end(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::<String> { folder: folder.path().to_owned(), of: PhantomData };
        let held = journal.begin().unwrap();
        held.note(&"held".to_owned()).unwrap();
        let left = journal.begin().unwrap();
        left.note(&"what was there before, and is longer".to_owned()).unwrap();
        left.note(&"left".to_owned()).unwrap();
        drop(left);
        drop(journal.begin().unwrap());
        let mut ended = Vec::new();
        journal.unfinished(|unfinished| {
            ended.push(unfinished.clone());
            Ok(())
        });
        assert_eq!(ended, ["left"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        held.end();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
