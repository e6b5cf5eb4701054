//! A new file in the place of another one: without a name (`O_TMPFILE`) until it is whole, so that nothing is left of it when
//! the daemon is killed. It takes over what the file that it replaces has besides bytes.
//!
//! No call of Linux gives a nameless file a name that is taken. There it is called `.kvfs-PID-N` first, and renamed at
//! once: between these two calls alone a kill leaves that name behind.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags, fchown, fsetxattr, getxattr, linkat,
    listxattr,
};
use rustix::io::Errno;

use super::attributes::Xattrs;

/// The longest list of names, and the longest value, of extended attributes that Linux has, in bytes.
const XATTR_MAX: usize = 64 << 10;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written, in the directory where it is to be.
pub(super) struct Unnamed<'a> {
    directory: &'a OwnedFd,
    file: File,
    /// The name that it has meanwhile.
    name: Option<String>,
}

/// Why a file cannot take over what another one has.
pub(super) enum Kept {
    /// It would belong to somebody else.
    Owner,
    System(Errno),
}

impl<'a> Unnamed<'a> {
    /// An empty file in `directory`, which its owner alone may read.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(directory: &'a OwnedFd) -> Result<Unnamed<'a>, Errno> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        match rustix::fs::openat(directory, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Unnamed { directory, file: file.into(), name: None }),
            // A file system that has no files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let (name, file) = with_free_name(|name| {
                    rustix::fs::openat(directory, name, flags | OFlags::CREATE | OFlags::EXCL, mode)
                })?;
                Ok(Unnamed { directory, file: file.into(), name: Some(name) })
            }
            Err(errno) => Err(errno),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Takes over the owner of `old`, which is `found`, and its extended attributes, but for labels that the system sets by
    /// itself.
    ///
    /// # Errors
    /// See [`Kept`].
    pub(super) fn take_over(&self, old: BorrowedFd<'_>, found: &Stat) -> Result<(), Kept> {
        let own = rustix::fs::fstat(&self.file).map_err(Kept::System)?;
        if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid) {
            let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
            fchown(&self.file, Some(uid), Some(gid)).map_err(|_| Kept::Owner)?;
        }
        for (name, value) in all_xattrs(old).map_err(Kept::System)? {
            match fsetxattr(&self.file, &*name, &value, XattrFlags::empty()) {
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if !name.starts_with(b"user.") => {}
                outcome => outcome.map_err(Kept::System)?,
            }
        }
        Ok(())
    }

    /// Gives the file its name, which nothing may have.
    ///
    /// # Errors
    /// `EXIST`; the system's.
    pub(super) fn name_new(mut self, name: &[u8]) -> Result<(), Errno> {
        match &self.name {
            None => link(&self.file, self.directory, name),
            Some(own) => {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(self.directory, own.as_str(), self.directory, name, flags)
            }
        }?;
        self.name = None;
        Ok(())
    }

    /// Puts the file in the place of the one that has the name.
    ///
    /// # Errors
    /// The system's; the old file is there still.
    pub(super) fn name_over(mut self, name: &[u8]) -> Result<(), Errno> {
        let own = match self.name.take() {
            Some(own) => own,
            None => with_free_name(|name| link(&self.file, self.directory, name.as_bytes()))?.0,
        };
        let renamed = rustix::fs::renameat(self.directory, own.as_str(), self.directory, name);
        if renamed.is_err() {
            self.name = Some(own);
        }
        renamed
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What led here is the failure to tell.
            let _ = rustix::fs::unlinkat(self.directory, name.as_str(), AtFlags::empty());
        }
    }
}

/// The name of an open file by its descriptor, also of one that is only named: what is done there is done to the file
/// itself, wherever it was moved.
pub(super) fn path(file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// All extended attributes that the daemon may see; none where the file system keeps none.
///
/// # Errors
/// The system's.
pub(super) fn all_xattrs(file: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    let path = path(file);
    let mut room = vec![0_u8; XATTR_MAX];
    let length = match listxattr(&path, &mut room[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Xattrs::new()),
        Err(errno) => return Err(errno),
    };
    let names: Vec<Box<[u8]>> = room[..length].split(|byte| *byte == 0).map(Box::from).collect();
    let mut all = Xattrs::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        match getxattr(&path, &*name, &mut room[..]) {
            Ok(length) => drop(all.insert(name, room[..length].into())),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// Gives a file without a name one that is free.
fn link(file: &File, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    linkat(rustix::fs::CWD, path(file.as_fd()), directory, name, AtFlags::SYMLINK_FOLLOW)
}

/// Does what needs a name that nobody has.
fn with_free_name<T>(act: impl Fn(&str) -> Result<T, Errno>) -> Result<(String, T), Errno> {
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!(".kvfs-{}-{number}", std::process::id());
        match act(&name) {
            Err(Errno::EXIST) => {}
            outcome => return outcome.map(|done| (name, done)),
        }
    }
}
