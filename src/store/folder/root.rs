//! The folder by its descriptor, and keys as paths below it. Whatever is renamed meanwhile, and wherever links point,
//! the kernel leads no path out of the folder or onto another file system (`openat2`).

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::KEY_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Word};
use crate::store::api::Usage;

/// The longest file name, in bytes.
const NAME_MAX: usize = 255;
/// The kernel takes paths below 4,096 bytes; longer ones are walked in pieces.
const PIECE: usize = 4000;
/// Permissions of a directory that a put needs above it.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const BY_PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The folder.
pub(super) struct Root(OwnedFd);

/// What is at a key.
pub(super) enum Found {
    /// A file, a directory or else, by a descriptor that only names it (`O_PATH`).
    Node(OwnedFd, rustix::fs::Stat),
    /// Another file system is mounted there, maybe kvfs itself: nothing of it is asked.
    MountPoint,
}

impl Root {
    /// # Errors
    /// `NotFound` without `create`; the system's.
    pub fn open(folder: &Path, create: bool) -> Result<Root> {
        let io = |error: std::io::Error| Error::io(folder.display(), &error);
        if create {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::empty()).map_err(|errno| io(errno.into()))?;
        Ok(Root(fd))
    }

    /// Opens the first `count` segments of `key`.
    fn open_at(&self, key: &Key, count: usize, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut above: Option<OwnedFd> = None;
        let mut path = Vec::new();
        for segment in key.segments().take(count) {
            if segment.word != Word::None || !is_name(segment.bytes) {
                return Err(Errno::NOENT);
            }
            if path.len() + segment.bytes.len() > PIECE {
                above =
                    Some(open_below(above.as_ref().unwrap_or(&self.0), &path, BY_PATH | OFlags::DIRECTORY)?);
                path.clear();
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(segment.bytes);
        }
        if path.is_empty() {
            path.push(b'.');
        }
        open_below(above.as_ref().unwrap_or(&self.0), &path, flags)
    }

    /// What is at `key`; `None` where nothing is.
    ///
    /// # Errors
    /// `CrossDevice` below a mount point; the system's.
    pub fn find(&self, key: &Key) -> Result<Option<Found>> {
        let file = match self.open_at(key, key.len(), BY_PATH) {
            Ok(file) => file,
            Err(errno) if is_absent(errno) => return Ok(None),
            Err(Errno::XDEV) if self.open_at(key, key.len().saturating_sub(1), BY_PATH).is_ok() => {
                return Ok(Some(Found::MountPoint));
            }
            Err(errno) => return Err(failure(key, errno)),
        };
        let found = rustix::fs::fstat(&file).map_err(|errno| failure(key, errno))?;
        Ok(Some(Found::Node(file, found)))
    }

    /// Opens what is at `key` for reading, with these flags; `None` where nothing is.
    ///
    /// # Errors
    /// The system's.
    pub fn open_for_reading(&self, key: &Key, flags: OFlags) -> Result<Option<File>> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        match self.open_at(key, key.len(), flags) {
            Ok(file) => Ok(Some(file.into())),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(failure(key, errno)),
        }
    }

    /// The directory above `key`; `None` where there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn above(&self, key: &Key) -> Result<Option<OwnedFd>> {
        match self.open_at(key, key.len().saturating_sub(1), BY_PATH | OFlags::DIRECTORY) {
            Ok(directory) => Ok(Some(directory)),
            Err(errno) if is_absent(errno) => Ok(None),
            Err(errno) => Err(failure(key, errno)),
        }
    }

    /// The directory above `key`, made where it is missing.
    ///
    /// # Errors
    /// `NotDirectory` where something above is a file; the system's.
    pub fn made_above(&self, key: &Key) -> Result<OwnedFd> {
        if let Some(directory) = self.above(key)? {
            return Ok(directory);
        }
        let mut directory = self.open_at(key, 0, BY_PATH).map_err(|errno| failure(key, errno))?;
        for segment in key.segments().rev().skip(1).rev() {
            let made = rustix::fs::mkdirat(&directory, segment.bytes, DIRECTORY_MODE);
            if let Err(errno) = made.or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })
            {
                return Err(failure(key, errno));
            }
            let next = open_below(&directory, segment.bytes, BY_PATH | OFlags::DIRECTORY);
            directory = next.map_err(|errno| match errno {
                Errno::LOOP | Errno::NOTDIR => failure(key, Errno::NOTDIR),
                errno => failure(key, errno),
            })?;
        }
        Ok(directory)
    }

    /// Waits for the disk, for what is at `key` and its name.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self, key: &Key) -> Result<()> {
        let io = |error: std::io::Error| Error::io(format_args!("{key:?}"), &error);
        if let Some(Found::Node(_, found)) = self.find(key)?
            && super::node::has_xattrs(&found)
            && let Some(file) = self.open_for_reading(key, OFlags::NONBLOCK)?
        {
            file.sync_all().map_err(io)?;
        }
        match self.above(key)? {
            Some(directory) => sync_directory(&directory).map_err(|errno| failure(key, errno)),
            None => Ok(()),
        }
    }

    /// Waits for the disk, for all of the file system.
    ///
    /// # Errors
    /// The system's.
    pub fn sync_all(&self) -> Result<()> {
        let synced = reopened(&self.0).and_then(rustix::fs::syncfs);
        synced.map_err(|errno| Error::io("the folder", &errno.into()))
    }

    /// The room on its file system.
    pub fn usage(&self) -> Usage {
        let Ok(room) = rustix::fs::fstatvfs(&self.0) else { return Usage::default() };
        let bytes = |blocks: u64| Some(blocks.saturating_mul(room.f_frsize));
        Usage { total: bytes(room.f_blocks), free: bytes(room.f_bavail), keys: None }
    }
}

/// What is at `path` below a directory.
pub(super) fn open_below(directory: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    openat2(directory, path, flags, Mode::empty(), BENEATH)
}

/// What an entry of a directory is.
pub(super) fn look(directory: impl AsFd, name: &[u8]) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn reopened(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    open_below(directory, b".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
}

/// Waits until the names in a directory are on the disk.
pub(super) fn sync_directory(directory: &OwnedFd) -> Result<(), Errno> {
    reopened(directory).and_then(rustix::fs::fsync)
}

/// Whether there is nothing: also where a file or a link stands above.
fn is_absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
}

pub(super) fn failure(key: &Key, errno: Errno) -> Error {
    let shown = format!("{key:?}");
    if errno == Errno::XDEV {
        let sentence = "another file system is mounted there, or at its target: mount that one by itself";
        return Error::new(ErrorKind::CrossDevice, format!("{shown}: {sentence}"));
    }
    Error::io(shown, &errno.into())
}

/// Whether a file can be called so.
fn is_name(bytes: &[u8]) -> bool {
    !matches!(bytes, b"" | b"." | b"..") && !bytes.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Whether a file can be at `key` (§1.9).
///
/// # Errors
/// `NameTooLong`, `NameEncoding`, `Invalid`.
pub(super) fn check(key: &Key) -> Result<()> {
    if key.is_root() {
        return Err(Error::new(ErrorKind::Invalid, "the folder itself has no value"));
    }
    let mut length = key.len() - 1;
    for segment in key.segments() {
        if segment.word != Word::None {
            return Err(Error::new(ErrorKind::Invalid, format!("{key:?}: a folder has no types")));
        }
        if !is_name(segment.bytes) {
            let sentence = format!("{segment:?}: no file of a folder can be called so");
            return Err(Error::new(ErrorKind::NameEncoding, sentence));
        }
        if segment.bytes.len() > NAME_MAX {
            let sentence =
                format!("a name of {} bytes: a file's has at most {NAME_MAX}", segment.bytes.len());
            return Err(Error::new(ErrorKind::NameTooLong, sentence));
        }
        length += segment.bytes.len();
    }
    if length > KEY_MAX as usize {
        let sentence = format!("a path of {length} bytes: folder holds at most {KEY_MAX}");
        return Err(Error::new(ErrorKind::NameTooLong, sentence));
    }
    Ok(())
}
