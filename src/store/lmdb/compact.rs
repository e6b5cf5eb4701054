//! Compaction: the environment is copied without its free pages to a file beside it, which takes its place.
//!
//! LMDB files never shrink, so this is what gives space back. Nobody else may have the environment open: the
//! opening lock is held exclusively from before the copy until the new file is in place, and whoever comes
//! meanwhile waits in `mdb_env_open` and finds the new one. Values that are open are copied out first, since the
//! map is another file afterwards.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::Engine;
use super::environment::Environment;
use super::lock::OpeningLock;
use super::opening::Access;
use super::writer::Work;
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Rewrites the data file without its free pages; answers its size before and after, in bytes.
    ///
    /// # Errors
    /// `Busy` when somebody else has it open, or a snapshot of it is mounted; `NoSpace` without room for the copy:
    /// the environment stays as it was then.
    pub(super) fn compact(&self) -> Result<(u64, u64)> {
        if self.environment().access != Access::Write {
            return Err(Error::new(ErrorKind::ReadOnly, "this environment is open for reading only"));
        }
        let deadline = self.deadline();
        let _nothing_waits = self.pass()?;
        // The journal is known by the data file, which becomes another one.
        self.put_away()?;
        let mut sizes = (0, 0);
        let mut work = |environment: &Arc<Environment>| {
            let Some(lock_file) = environment.lock_file() else { return Err(ErrorKind::Unsupported.into()) };
            let lock = OpeningLock::of(lock_file);
            if !lock.alone()? {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{} is open in another program: end that first",
                        environment.place.shown.display()
                    ),
                ));
            }
            // Beginning a transaction notices what others did until now: the copy counts its own anew.
            let result = environment.read().map(drop).and_then(|()| {
                environment.quietly(deadline, &|| self.pins().retire_all(), || self.replace(environment))
            });
            // The reopened environment has the shared lock again; where nothing was replaced, ours becomes it.
            lock.share()?;
            sizes = result?;
            Ok(())
        };
        self.writer().submit(deadline, Work::Alone(&mut work))?;
        Ok(sizes)
    }

    fn replace(&self, environment: &Arc<Environment>) -> Result<(u64, u64)> {
        let before = size(environment.data_file())?;
        let path = beside(&environment.place.data());
        let copied = copy(environment, &path);
        let after = match copied {
            Ok(after) => after,
            Err(error) => {
                remove(&path);
                return Err(error);
            }
        };
        environment.reopen(self.deadline(), &|| {
            std::fs::rename(&path, environment.place.data())
                .map_err(|e| Error::io(environment.place.shown_data().display(), &e))?;
            environment.place.sync_folder()
        })?;
        self.forget_handles();
        Ok((before, after))
    }
}

/// Copies the environment to `path`, with the owner and the mode of the data file, and syncs it.
fn copy(environment: &Environment, path: &Path) -> Result<u64> {
    let fail =
        |e: std::io::Error| Error::io(format_args!("a copy of {}", environment.place.shown.display()), &e);
    // What an earlier, interrupted compaction left.
    remove(path);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    environment.copy_compact(&file)?;
    let found = environment.data_file().metadata().map_err(fail)?;
    fchown(&file, Some(found.uid()), Some(found.gid())).map_err(fail)?;
    file.set_permissions(found.permissions()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    size(&file)
}

fn size(file: &File) -> Result<u64> {
    file.metadata().map(|found| found.len()).map_err(|e| Error::io("the data file", &e))
}

fn beside(data: &Path) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_os_string();
    name.push(".compacting");
    data.with_file_name(name)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: {error}", path.display());
    }
}
