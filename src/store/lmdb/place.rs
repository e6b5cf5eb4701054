//! Where an environment is: a folder with `data.mdb` and `lock.mdb`, or one file with its lock file beside it.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::registry;
use crate::error::{Error, ErrorKind, Result};

/// Name of the data file in a folder.
const DATA: &str = "data.mdb";
/// Name of the lock file in a folder.
const LOCK: &str = "lock.mdb";

/// Where an environment is. Its folder is held open: an in-place mount hides the path, never the descriptor.
#[derive(Debug)]
pub struct Place {
    /// What the user named, for sentences.
    pub shown: PathBuf,
    /// Whether there is no data file yet.
    pub new: bool,
    /// Whether the environment is one file (`MDB_NOSUBDIR`).
    pub single: bool,
    /// Whether this mount made the folder.
    made_folder: bool,
    /// Whether it is one of kvfs's own: what cannot be committed to it is nothing that a person could recover.
    pub own: bool,
    folder: File,
    name: PathBuf,
}

impl Place {
    /// Finds the environment at `path`; with `create`, a missing or empty folder becomes a new one (a missing
    /// one is made, where its parent exists).
    ///
    /// # Errors
    /// One sentence: `NotFound` where nothing is there, `Invalid` where something else is, and the system's.
    pub fn find(path: &Path, create: bool) -> Result<Place> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Place::in_folder(path, create),
            Ok(found) => Place::of_file(path, &found),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && create => {
                fs::create_dir(path)
                    .map_err(|e| Error::io(format_args!("cannot make {}", path.display()), &e))?;
                let mut place = Place::in_folder(path, true)?;
                place.made_folder = true;
                Ok(place)
            }
            Err(e) => Err(Error::io(format_args!("no LMDB environment at {}", path.display()), &e)),
        }
    }

    fn in_folder(path: &Path, create: bool) -> Result<Place> {
        let folder = open_folder(path)?;
        let new = match fs::metadata(path.join(DATA)) {
            Ok(_) => false,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
            Err(e) => return Err(Error::io(path.join(DATA).display(), &e)),
        };
        if new {
            let other = other_than_lock(path)?;
            if let Some(other) = other {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "{} is not an LMDB environment: it has no {DATA}, but {}; name another folder, or an \
                         empty one to begin with",
                        path.display(),
                        other.display()
                    ),
                ));
            }
            if !create {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("{} is not an LMDB environment: it is empty", path.display()),
                ));
            }
        }
        Ok(Place {
            shown: path.into(),
            new,
            single: false,
            made_folder: false,
            own: false,
            folder,
            name: DATA.into(),
        })
    }

    fn of_file(path: &Path, found: &fs::Metadata) -> Result<Place> {
        if registry::is_lock_file(found.dev(), found.ino()) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{} is the lock file of an environment that is mounted", path.display()),
            ));
        }
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = open_folder(parent)?;
        Ok(Place {
            shown: path.into(),
            new: false,
            single: true,
            made_folder: false,
            own: false,
            folder,
            name,
        })
    }

    /// The same place as that of an environment of kvfs's own, with the path that people know it by.
    pub(super) fn own_as(self, shown: PathBuf) -> Place {
        Place { shown, own: true, ..self }
    }

    /// The same place once more.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub(super) fn again(&self) -> Result<Place> {
        let folder = self.folder.try_clone().map_err(|e| Error::io(self.shown.display(), &e))?;
        let (shown, name) = (self.shown.clone(), self.name.clone());
        Ok(Place { shown, new: false, single: self.single, made_folder: false, own: false, folder, name })
    }

    /// The data file, by way of the folder's descriptor.
    pub fn data(&self) -> PathBuf {
        self.through_folder().join(&self.name)
    }

    /// The lock file, by way of the folder's descriptor.
    pub fn lock(&self) -> PathBuf {
        if !self.single {
            return self.through_folder().join(LOCK);
        }
        let mut name = self.name.clone().into_os_string();
        name.push("-lock");
        self.through_folder().join(name)
    }

    /// What liblmdb is told: the folder or the file.
    ///
    /// # Errors
    /// `Invalid` for a name with a NUL, which no file has.
    pub fn for_lmdb(&self) -> Result<CString> {
        let path = if self.single { self.data() } else { self.through_folder() };
        CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::new(ErrorKind::Invalid, "a file name cannot hold a NUL"))
    }

    /// Makes the empty data file of a new environment, so that it has an inode to be known by; LMDB fills it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn make_data_file(&self) -> Result<()> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o664)
            .open(self.data())
            .map(drop)
            .map_err(|e| Error::io(format_args!("cannot make {}", self.shown_data().display()), &e))
    }

    /// Device and inode of the data file, without opening it.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn identity(&self) -> Result<registry::FileId> {
        fs::metadata(self.data())
            .map(|found| (found.dev(), found.ino()))
            .map_err(|e| Error::io(self.shown_data().display(), &e))
    }

    /// The data file as the user would write it.
    pub fn shown_data(&self) -> PathBuf {
        if self.single { self.shown.clone() } else { self.shown.join(DATA) }
    }

    /// The folder's descriptor, to make durable what was renamed in it.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_folder(&self) -> Result<()> {
        File::open(self.through_folder())
            .and_then(|folder| folder.sync_all())
            .map_err(|e| Error::io(self.shown.display(), &e))
    }

    /// Takes back what opening a new environment made; called when opening failed.
    pub fn undo(&self) {
        if !self.new {
            return;
        }
        for file in [self.data(), self.lock()] {
            if let Err(error) = fs::remove_file(&file)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!("{}: {error}", file.display());
            }
        }
        if self.made_folder
            && let Err(error) = fs::remove_dir(&self.shown)
        {
            tracing::warn!("{}: {error}", self.shown.display());
        }
    }

    /// The folder itself, as a path that a mount over it does not hide.
    pub fn through_folder(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.folder.as_raw_fd()).into()
    }
}

fn open_folder(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)
        .map_err(|e| Error::io(path.display(), &e))
}

fn other_than_lock(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder.display(), &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder.display(), &e))?;
        if entry.file_name() != LOCK {
            return Ok(Some(entry.file_name().into()));
        }
    }
    Ok(None)
}
