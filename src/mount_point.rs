//! The folder that is mounted over: what may be there before, and what is left when mounting fails.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::device::{self, Unmount};
use crate::env::Folders;
use crate::error::{Error, ErrorKind, Result};
use crate::mount_table;

/// How long a mount may take to say that it lives.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What a mount says when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Its daemon answers.
    Live,
    /// Its daemon is gone: every call fails.
    Dead,
    /// No answer in time: its daemon hangs, or is stopped.
    Hung,
}

/// Asks the file system at `path` and waits no longer than `time`, from a thread of its own: an answer of a FUSE mount may never come.
pub fn health(path: &Path, time: Duration) -> Health {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return Health::Live };
    let (answer, answered) = mpsc::sync_channel(1);
    // statfs, since the kernel answers stat from its cache for a while after the daemon died.
    let asking = thread::Builder::new().name("ask a mount".to_owned()).spawn(move || {
        // Nobody may listen any more.
        let _ = answer.send(nix::sys::statfs::statfs(path.as_c_str()).err());
    });
    if asking.is_err() {
        return Health::Hung;
    }
    match answered.recv_timeout(time) {
        Ok(Some(Errno::ENOTCONN | Errno::ECONNABORTED)) => Health::Dead,
        Ok(_) => Health::Live,
        Err(_) => Health::Hung,
    }
}

/// A folder that is ready to be mounted over.
#[derive(Debug)]
pub struct MountPoint {
    path: PathBuf,
    made: bool,
}

impl MountPoint {
    /// Makes the folder ready: one that is missing is made where its parent exists, a dead kvfs mount is cleaned up.
    /// `in_place`: the folder is the store's own, so that it may hold files.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotEmpty`, `Busy` (a mount is there), `Invalid` (inside our own folders, §8.6).
    pub fn prepare(path: &Path, in_place: bool) -> Result<MountPoint> {
        let path = mount_table::absolute(path).map_err(|error| {
            error.context(format_args!("the folder of the mount point {} must exist", path.display()))
        })?;
        keep_off_our_folders(&path, Folders::get())?;
        clean_up(&path)?;
        let made = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => false,
            Ok(_) => {
                let what = format!("the mount point {} is not a directory: name another", path.display());
                return Err(Error::new(ErrorKind::NotDirectory, what));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir(&path)
                    .map_err(|e| Error::io(format_args!("making the mount point {}", path.display()), &e))?;
                true
            }
            Err(error) => {
                return Err(Error::io(format_args!("the mount point {}", path.display()), &error));
            }
        };
        let point = MountPoint { path, made };
        if !in_place && let Err(error) = point.must_be_empty() {
            point.undo();
            return Err(error);
        }
        Ok(point)
    }

    /// Its path: absolute, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder if it was made here; what other programs put into it meanwhile stays.
    pub fn undo(&self) {
        if self.made
            && let Err(error) = fs::remove_dir(&self.path)
        {
            tracing::warn!("the folder {} was made and stays: {error}", self.path.display());
        }
    }

    fn must_be_empty(&self) -> Result<()> {
        let what = format_args!("the mount point {}", self.path.display()).to_string();
        let mut names = fs::read_dir(&self.path).map_err(|e| Error::io(&what, &e))?;
        if names.next().is_none() {
            return Ok(());
        }
        let sentence = format!(
            "{what} is not empty: name an empty folder (a store's own folder is mounted over by naming only its \
             kind, as in `kvfs mount lmdb {}`)",
            self.path.display()
        );
        Err(Error::new(ErrorKind::NotEmpty, sentence))
    }
}

/// Refuses a mount point in, or around, the folders where kvfs keeps its own files (§8.6).
fn keep_off_our_folders(path: &Path, folders: &Folders) -> Result<()> {
    let exec = folders.exec_mounts();
    for ours in [&folders.state, &folders.runtime] {
        let ours = fs::canonicalize(ours).unwrap_or_else(|_| ours.clone());
        let inside = path.starts_with(&ours) && !fs::canonicalize(&exec).is_ok_and(|exec| below(path, &exec));
        if inside || ours.starts_with(path) {
            let sentence = format!(
                "{} cannot be a mount point: kvfs keeps its own files in {}; name another folder",
                path.display(),
                ours.display()
            );
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
    }
    Ok(())
}

/// Refuses a mount point strictly below a folder that the store lives in, and a store below the mount point.
///
/// # Errors
/// `Invalid`.
pub fn keep_off_store(mount_point: &Path, store: &Path) -> Result<()> {
    let store = mount_table::absolute(store).unwrap_or_else(|_| store.to_owned());
    let sentence = if below(mount_point, &store) {
        format!("{} lies inside the store {}", mount_point.display(), store.display())
    } else if below(&store, mount_point) {
        format!("{} would be hidden by a mount on {}", store.display(), mount_point.display())
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, format!("{sentence}: name a mount point outside of it")))
}

fn below(path: &Path, folder: &Path) -> bool {
    path != folder && path.starts_with(folder)
}

/// Refuses a mount that lives; takes away one whose daemon is dead, where nothing can be lost any more.
fn clean_up(path: &Path) -> Result<()> {
    while let Some(entry) = mount_table::at(path)? {
        if !entry.is_fuse() {
            // An ordinary file system may be mounted there: what is in it is judged like any folder.
            return Ok(());
        }
        match (health(path, ANSWER_TIMEOUT), entry.is_kvfs()) {
            (Health::Dead, true) => {
                tracing::info!("{}: cleaning up a mount whose daemon is dead", path.display());
                device::unmount(path, Unmount::Detach)
                    .map_err(|e| e.context(format_args!("{} is a dead mount", path.display())))?;
            }
            // Another program's live mount is a folder like any other.
            (Health::Live, false) => return Ok(()),
            (health, _) => return Err(taken(path, &entry.source, health, entry.is_kvfs())),
        }
    }
    Ok(())
}

fn taken(path: &Path, source: &str, health: Health, ours: bool) -> Error {
    let how = match health {
        Health::Live => "",
        Health::Dead => ", and dead",
        Health::Hung => ", and does not answer",
    };
    let command = if ours { "kvfs unmount" } else { "fusermount3 -u" };
    let path = path.display();
    let sentence = format!(
        "{path} is a mount of {source} already{how}: end it with `{command} {path}`, or name another folder"
    );
    Error::new(ErrorKind::Busy, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_made_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let point = MountPoint::prepare(&path, false).unwrap();
        assert!(path.is_dir());
        point.undo();
        assert!(!path.exists());
        let error = MountPoint::prepare(&folder.path().join("a/b"), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn what_is_there_already_stays_and_may_refuse() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(MountPoint::prepare(&file, false).unwrap_err().kind(), ErrorKind::NotDirectory);
        assert_eq!(MountPoint::prepare(folder.path(), false).unwrap_err().kind(), ErrorKind::NotEmpty);
        let point = MountPoint::prepare(folder.path(), true).unwrap();
        point.undo();
        assert!(file.exists());
    }

    /// §8.6
    #[test]
    fn a_mount_point_in_its_own_store_is_refused() {
        let refused = |mount_point: &str, store: &str| {
            keep_off_store(Path::new(mount_point), Path::new(store)).is_err()
        };
        assert!(refused("/nowhere/store/inside", "/nowhere/store"));
        assert!(refused("/nowhere", "/nowhere/store"));
        assert!(!refused("/nowhere/store", "/nowhere/store"));
        assert!(!refused("/nowhere/store2", "/nowhere/store"));
        let folders = Folders {
            runtime: "/nowhere/run".into(),
            state: "/nowhere/state".into(),
            scratch: "/nowhere/tmp".into(),
        };
        assert!(keep_off_our_folders(Path::new("/nowhere/state/x"), &folders).is_err());
        assert!(keep_off_our_folders(Path::new("/nowhere"), &folders).is_err());
        assert!(keep_off_our_folders(Path::new("/nowhere/other"), &folders).is_ok());
    }
}
