//! New bytes on their way to a name: a file without one (`O_TMPFILE`), so that nothing is left of it when the daemon is
//! killed. It takes over what the file that it replaces had besides bytes.
//!
//! No call of Linux gives a nameless file a name that is taken. There it is called `.kvfs-PID-N` first, and renamed at
//! once: between these two calls alone a kill leaves that name behind.

use std::fs::{File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, XattrFlags, fchown, fsetxattr, linkat};
use rustix::io::Errno;

use super::node::{self, native_type};
use super::root::{failure, open_below};
use super::setting;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::attributes::Setting;

/// Permissions of a new file for which nobody asked for others.
const FILE_MODE: u32 = 0o644;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written, in the directory where it is to be.
pub(super) struct Draft<'a> {
    key: &'a Key,
    directory: &'a OwnedFd,
    file: File,
    /// The name that it has meanwhile.
    name: Option<String>,
}

impl<'a> Draft<'a> {
    /// An empty file for `key` in `directory`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(key: &'a Key, directory: &'a OwnedFd) -> Result<Draft<'a>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        match rustix::fs::openat(directory, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Draft { key, directory, file: file.into(), name: None }),
            // A file system that has no files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let (name, file) = with_free_name(|name| {
                    rustix::fs::openat(directory, name, flags | OFlags::CREATE | OFlags::EXCL, mode)
                })
                .map_err(|errno| failure(key, errno))?;
                Ok(Draft { key, directory, file: file.into(), name: Some(name) })
            }
            Err(errno) => Err(failure(key, errno)),
        }
    }

    /// Writes the bytes; holes stay holes.
    ///
    /// # Errors
    /// `NoSpace`; the system's.
    pub fn fill(&self, body: &Payload) -> Result<()> {
        let io = |error: std::io::Error| Error::io(format_args!("{:?}", self.key), &error);
        self.file.set_len(body.len()).map_err(io)?;
        let mut piece = vec![0; body.len().min(PIECE as u64) as usize];
        let mut at = 0;
        while at < body.len()
            && let Some(start) = body.next_data(at)?
        {
            let end = body.next_hole(start)?;
            at = start;
            while at < end {
                let wanted = (end - at).min(PIECE as u64) as usize;
                let read = body.read(at, &mut piece[..wanted])?;
                self.file.write_all_at(&piece[..read], at).map_err(io)?;
                at += read as u64;
            }
        }
        Ok(())
    }

    /// Takes over what the file that is replaced has besides bytes, and sets what is to be set.
    ///
    /// # Errors
    /// `NotPermitted` where the owner cannot be kept; the system's.
    pub fn dress(
        &self,
        replaced: Option<&rustix::fs::Stat>,
        name: &[u8],
        set: Option<&Setting>,
    ) -> Result<()> {
        let replaced = replaced.filter(|found| native_type(found) == rustix::fs::FileType::RegularFile);
        let mut mode = FILE_MODE;
        let mut setting = Setting { mtime: Some(env::now()), ..Setting::default() };
        if let Some(found) = replaced {
            mode = found.st_mode & 0o7777;
            setting.atime = node::stat(found).file.atime;
            self.take_over(found, name)?;
        }
        self.file
            .set_permissions(Permissions::from_mode(mode))
            .map_err(|error| Error::io(format_args!("{:?}", self.key), &error))?;
        if let Some(set) = set {
            setting.add(set.clone());
        }
        let own = rustix::fs::fstat(&self.file).map_err(|errno| failure(self.key, errno))?;
        setting::set(&self.file, &own, &setting, self.key)
    }

    fn take_over(&self, found: &rustix::fs::Stat, name: &[u8]) -> Result<()> {
        let own = rustix::fs::fstat(&self.file).map_err(|errno| failure(self.key, errno))?;
        if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid) {
            let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
            fchown(&self.file, Some(uid), Some(gid)).map_err(|_| {
                let sentence = format!(
                    "{:?} belongs to user {}, group {}: a new file in its place would not",
                    self.key, found.st_uid, found.st_gid
                );
                Error::new(ErrorKind::NotPermitted, sentence)
            })?;
        }
        let old = match open_below(self.directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(old) => old,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failure(self.key, errno)),
        };
        let xattrs = setting::all_xattrs(&old).map_err(|errno| failure(self.key, errno))?;
        for (name, value) in xattrs {
            match fsetxattr(&self.file, &*name, &value, XattrFlags::empty()) {
                // Labels that the system sets by itself, and that only it may.
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if !name.starts_with(b"user.") => {}
                outcome => outcome.map_err(|errno| failure(self.key, errno))?,
            }
        }
        Ok(())
    }

    /// Waits for the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| Error::io(format_args!("{:?}", self.key), &error))
    }

    /// Gives the file its name, which nothing may have.
    ///
    /// # Errors
    /// `Exists`; the system's.
    pub fn name_new(mut self, name: &[u8]) -> Result<()> {
        let named = match &self.name {
            None => link(&self.file, self.directory, name),
            Some(own) => {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(self.directory, own.as_str(), self.directory, name, flags)
            }
        };
        named.map_err(|errno| failure(self.key, errno))?;
        self.name = None;
        Ok(())
    }

    /// Puts the file in the place of the one that has the name.
    ///
    /// # Errors
    /// The system's.
    pub fn name_over(mut self, name: &[u8]) -> Result<()> {
        let own = match self.name.take() {
            Some(own) => own,
            None => {
                let linked = with_free_name(|name| link(&self.file, self.directory, name.as_bytes()));
                linked.map_err(|errno| failure(self.key, errno))?.0
            }
        };
        let renamed = rustix::fs::renameat(self.directory, own.as_str(), self.directory, name);
        if renamed.is_err() {
            self.name = Some(own);
        }
        renamed.map_err(|errno| failure(self.key, errno))
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What led here is the failure to tell.
            let _ = rustix::fs::unlinkat(self.directory, name.as_str(), AtFlags::empty());
        }
    }
}

/// Gives a file without a name one that is free.
fn link(file: &File, directory: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    linkat(rustix::fs::CWD, setting::path(file.as_fd()), directory, name, AtFlags::SYMLINK_FOLLOW)
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
