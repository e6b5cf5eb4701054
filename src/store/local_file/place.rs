//! The folder that the files are in, by its descriptor: what is mounted over it later, and wherever it is moved, the same
//! files are read and written.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Usage, Version};

/// How often a file is looked for that another one replaces meanwhile.
const ATTEMPTS: usize = 5;

/// An open file, and where it really is: links are followed.
#[derive(Clone, Debug)]
pub(in crate::store) struct Resolved {
    /// What it is called where it was looked for: it may be a link.
    pub link: OsString,
    pub place: Arc<Place>,
    /// What it is called there.
    pub name: OsString,
    pub stamp: Stamp,
    /// Not older than the last change of what is called so: of the file, or of the link to it.
    pub changed: SystemTime,
}

impl Resolved {
    /// Its path, which it has in no other spelling.
    pub fn shown(&self) -> String {
        self.place.shown(&self.name)
    }
}

/// A folder.
#[derive(Debug)]
pub(in crate::store) struct Place {
    folder: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path) -> Result<Place> {
        let io = |error: std::io::Error| Error::io(folder.display(), &error);
        let path = fs::canonicalize(folder).map_err(io)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| io(errno.into()))?;
        Ok(Place { folder, path })
    }

    /// The folder of a file, and the name that it has there. Links are followed: what is replaced is what they lead to, and
    /// they stay.
    ///
    /// # Errors
    /// `NotFound`; the system's.
    pub fn of_file(path: &Path) -> Result<(Place, OsString)> {
        let path = fs::canonicalize(path).map_err(|error| Error::io(path.display(), &error))?;
        Place::beside(&path)
    }

    /// The folder that a path is in, and its last name, whatever that leads to.
    ///
    /// # Errors
    /// The system's.
    pub fn beside(path: &Path) -> Result<(Place, OsString)> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let place = Place::open(folder.unwrap_or(Path::new(".")))?;
        Ok((place, path.file_name().unwrap_or_default().to_owned()))
    }

    /// Its descriptor, which only names it.
    pub fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it, for people.
    pub fn shown(&self, name: &OsStr) -> String {
        self.path.join(name).display().to_string()
    }

    /// A failure of the system, about a file in it.
    pub fn failure(&self, name: &OsStr, errno: Errno) -> Error {
        Error::io(self.shown(name), &errno.into())
    }

    /// What tells the file of this name from others, and its other versions.
    ///
    /// # Errors
    /// `NotFound`; the system's.
    pub fn stamp(&self, name: &OsStr) -> Result<Stamp> {
        let found = rustix::fs::statat(&self.folder, name, AtFlags::empty());
        found.map(|found| Stamp::of(&found)).map_err(|errno| self.failure(name, errno))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `Invalid` for what is no file; the system's.
    pub fn file(&self, name: &OsStr) -> Result<(File, Stamp)> {
        // What is a FIFO must not hold anybody.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty());
        let file = file.map_err(|errno| self.failure(name, errno))?;
        let found = rustix::fs::fstat(&file).map_err(|errno| self.failure(name, errno))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            let sentence = format!("{} is not a file", self.shown(name));
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Ok((file.into(), Stamp::of(&found)))
    }

    /// Waits until the names in it are on the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::openat(&self.folder, c".", flags, Mode::empty()).and_then(rustix::fs::fsync);
        synced.map_err(|errno| Error::io(self.path.display(), &errno.into()))
    }

    /// Opens a file for reading, and finds where it really is.
    ///
    /// # Errors
    /// `Stale` for one that is replaced again and again, or lies below another mount by now; as for [`Place::file`].
    pub fn resolve(self: &Arc<Place>, link: &OsStr) -> Result<(File, Resolved)> {
        for _ in 0..ATTEMPTS {
            let (file, stamp) = self.file(link)?;
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
            let path = path.map_err(|error| Error::io(self.shown(link), &error))?;
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let place =
                if folder == self.path { Ok(Arc::clone(self)) } else { Place::open(folder).map(Arc::new) };
            let Ok(place) = place else { continue };
            let there = rustix::fs::statat(&place.folder, name, AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| Stamp::of(&there).is_same_file(&stamp)) {
                let own = rustix::fs::statat(&self.folder, link, AtFlags::SYMLINK_NOFOLLOW);
                let changed = own.map_or(stamp.time(), |own| Stamp::of(&own).time().max(stamp.time()));
                let (link, name) = (link.to_owned(), name.to_owned());
                return Ok((file, Resolved { link, place, name, stamp, changed }));
            }
        }
        let sentence = format!("{}: another program replaces it right now", self.shown(link));
        Err(Error::new(ErrorKind::Stale, sentence))
    }

    /// The room on its file system, with this number of keys.
    pub fn usage(&self, keys: u64) -> Usage {
        let Ok(room) = rustix::fs::fstatvfs(&self.folder) else { return Usage::default() };
        let bytes = |blocks: u64| Some(blocks.saturating_mul(room.f_frsize));
        Usage { total: bytes(room.f_blocks), free: bytes(room.f_bavail), keys: Some(keys) }
    }
}

/// What tells one version of a file from another: which file it is, its size, and when its bytes were changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::store) struct Stamp {
    device: u64,
    inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, u64),
    /// The same of the last change of any kind, which comes with every rename; no part of what tells versions apart.
    #[serde(skip)]
    changed: Ignored,
}

/// Equal to all of its kind.
#[derive(Clone, Copy, Debug, Default)]
struct Ignored((i64, u64));

impl PartialEq for Ignored {
    fn eq(&self, _: &Ignored) -> bool {
        true
    }
}

impl Eq for Ignored {}

impl Stamp {
    pub fn of(found: &rustix::fs::Stat) -> Stamp {
        let nanoseconds = |of: i64| u64::try_from(of).unwrap_or(0);
        Stamp {
            device: found.st_dev,
            inode: found.st_ino,
            size: u64::try_from(found.st_size).unwrap_or(0),
            modified: (found.st_mtime, nanoseconds(found.st_mtime_nsec as i64)),
            changed: Ignored((found.st_ctime, nanoseconds(found.st_ctime_nsec as i64))),
        }
    }

    /// Whether it is the same version of the same file, also where its device has another number since the machine was
    /// started again.
    pub fn is_still(&self, other: &Stamp) -> bool {
        Stamp { device: other.device, ..*self } == *other
    }

    /// Whether both are versions of one file.
    pub fn is_same_file(&self, other: &Stamp) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Not older than its last change: a file that was moved here came when it was moved.
    pub fn time(&self) -> SystemTime {
        let (seconds, nanoseconds) = self.modified.max(self.changed.0);
        UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds as u32)
    }

    /// The version of what lies at `at` in the file.
    pub fn version(&self, at: u64) -> Version {
        let (seconds, nanoseconds) = self.modified;
        let words = [self.device, self.inode, self.size, seconds as u64, nanoseconds, at];
        Version(words.map(u64::to_le_bytes).as_flattened().into())
    }
}
