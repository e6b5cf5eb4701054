//! Uploads of this machine that are under way, one small file each: what a daemon leaves behind that is killed is
//! aborted at the next mount, and nobody else's (§8.3). A daemon holds a lock on each of its files.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::env::Folders;
use crate::error::{Error, Result};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The journal of one bucket.
pub(super) struct Journal {
    folder: PathBuf,
}

/// An upload in parts, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    /// The object's key.
    pub key: String,
    /// The upload's name.
    pub upload: String,
}

/// An upload that is under way.
pub(super) struct Entry {
    path: PathBuf,
    key: String,
    file: Mutex<Flock<File>>,
}

impl Journal {
    /// The journal of the bucket that is called `source` in sentences.
    pub(super) fn of(source: &str) -> Journal {
        let name = format!("{:016x}", twox_hash::XxHash3_64::oneshot(source.as_bytes()));
        Journal { folder: Folders::get().state.join("uploads").join(name) }
    }

    /// Makes room for an upload to `key`, before it begins.
    ///
    /// # Errors
    /// The state folder's.
    pub(super) fn begin(&self, key: &str) -> Result<Entry> {
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
        Ok(Entry { path, key: key.to_owned(), file: Mutex::new(file) })
    }

    /// The uploads of daemons that are no more; each is told once `end` succeeded.
    pub(super) fn unfinished(&self, mut end: impl FnMut(&Unfinished) -> Result<()>) {
        let Ok(names) = fs::read_dir(&self.folder) else { return };
        for name in names.flatten() {
            let path = name.path();
            if let Err(error) = settle(&path, &mut end) {
                tracing::warn!("{}: an upload that was interrupted stays: {error}", path.display());
            }
        }
    }
}

/// Ends the upload that a file tells of, where no daemon has it.
fn settle(path: &Path, end: &mut dyn FnMut(&Unfinished) -> Result<()>) -> Result<()> {
    let fail = |e: std::io::Error| Error::io(path.display(), &e);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(fail)?;
    let Ok(_held) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(()) };
    let text = fs::read(path).map_err(fail)?;
    // One that was killed before it could write down the name has nothing that could be found.
    if let Ok(unfinished) = serde_json::from_slice::<Unfinished>(&text) {
        end(&unfinished)?;
    }
    fs::remove_file(path).map_err(fail)
}

impl Entry {
    /// Writes down the upload's name.
    ///
    /// # Errors
    /// The state folder's.
    pub(super) fn name(&self, upload: &str) -> Result<()> {
        let unfinished = Unfinished { key: self.key.clone(), upload: upload.to_owned() };
        let text = serde_json::to_vec(&unfinished).unwrap_or_default();
        self.file.lock().write_all(&text).map_err(|e| Error::io(self.path.display(), &e))
    }

    /// The upload has ended, and nothing is left of it.
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
        let journal = Journal { folder: folder.path().to_owned() };
        let held = journal.begin("held").unwrap();
        held.name("1").unwrap();
        let left = journal.begin("left").unwrap();
        left.name("2").unwrap();
        drop(left);
        drop(journal.begin("unnamed").unwrap());
        let mut ended = Vec::new();
        journal.unfinished(|unfinished| {
            ended.push(unfinished.clone());
            Ok(())
        });
        assert_eq!(ended, [Unfinished { key: "left".into(), upload: "2".into() }]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        held.end();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
