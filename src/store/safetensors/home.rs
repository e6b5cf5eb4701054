//! The place of a journal in the state folder, and the locks beside it: one daemon at a time writes to a file, also where it is
//! one of a sharded model's.

use std::path::{Path, PathBuf};

use super::files::Files;
use super::journal;
use crate::error::{Error, ErrorKind, Result};
use crate::store::local_file::lock::Lock;

/// The place of a journal, which one daemon at a time has.
pub(super) struct Home {
    state: PathBuf,
    /// The journal.
    pub path: PathBuf,
    /// The paths of the files that nobody else writes to; the first is the one that the journal is called by.
    locks: Vec<(String, Lock)>,
}

impl Home {
    /// Takes the place of the journal of the model that is at `path`.
    ///
    /// # Errors
    /// `Busy` while another daemon has it; the folder's.
    pub fn take(state: &Path, path: &str) -> Result<Home> {
        let journal = journal::path_of(state, path)?;
        let lock = Lock::take(&journal.with_extension("lock"), path)?;
        Ok(Home { state: state.to_owned(), path: journal, locks: vec![(path.to_owned(), lock)] })
    }

    /// Takes the locks of all files, and lets go of those that are no longer among them.
    ///
    /// # Errors
    /// `Busy` while another daemon has one, or where the journal of a mount of one file alone waits to be carried out; the
    /// folder's.
    pub fn cover(&mut self, files: &Files) -> Result<()> {
        let mut locks = Vec::new();
        for file in files.all() {
            let path = file.shown();
            if let Some(at) = self.locks.iter().position(|(own, _)| *own == path) {
                locks.push(self.locks.swap_remove(at));
                continue;
            }
            let journal = journal::path_of(&self.state, &path)?;
            let lock = Lock::take(&journal.with_extension("lock"), &path)?;
            if journal.exists() {
                let sentence = format!(
                    "what the last mount of {path} could not write waits for the next one: mount it alone first"
                );
                return Err(Error::new(ErrorKind::Busy, sentence));
            }
            locks.push((path, lock));
        }
        if let Some((path, _)) = locks.first() {
            self.path = journal::path_of(&self.state, path)?;
        }
        self.locks = locks;
        Ok(())
    }
}
