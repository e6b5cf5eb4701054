//! New bytes on their way to a name: a file without one until it is whole ([`crate::store::unnamed`]), which takes over what
//! the file that it replaces had besides bytes.

use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::node::{self, native_type};
use super::root::{failure, open_below};
use super::setting;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::attributes::Setting;
use crate::store::unnamed::{Kept, Unnamed};

/// Permissions of a new file for which nobody asked for others.
const FILE_MODE: u32 = 0o644;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// A file that is being written, in the directory where it is to be.
pub(super) struct Draft<'a> {
    key: &'a Key,
    directory: &'a OwnedFd,
    file: Unnamed<'a>,
}

impl<'a> Draft<'a> {
    /// An empty file for `key` in `directory`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(key: &'a Key, directory: &'a OwnedFd) -> Result<Draft<'a>> {
        let file = Unnamed::new(directory).map_err(|errno| failure(key, errno))?;
        Ok(Draft { key, directory, file })
    }

    /// Writes the bytes; holes stay holes.
    ///
    /// # Errors
    /// `NoSpace`; the system's.
    pub fn fill(&self, body: &Payload) -> Result<()> {
        let io = |error: std::io::Error| Error::io(format_args!("{:?}", self.key), &error);
        self.file.file().set_len(body.len()).map_err(io)?;
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
                self.file.file().write_all_at(&piece[..read], at).map_err(io)?;
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
            .file()
            .set_permissions(Permissions::from_mode(mode))
            .map_err(|error| Error::io(format_args!("{:?}", self.key), &error))?;
        if let Some(set) = set {
            setting.add(set.clone());
        }
        let own = rustix::fs::fstat(self.file.file()).map_err(|errno| failure(self.key, errno))?;
        setting::set(self.file.file(), &own, &setting, self.key)
    }

    fn take_over(&self, found: &rustix::fs::Stat, name: &[u8]) -> Result<()> {
        let old = match open_below(self.directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(old) => old,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failure(self.key, errno)),
        };
        self.file.take_over(old.as_fd(), found).map_err(|kept| match kept {
            Kept::Owner => {
                let sentence = format!(
                    "{:?} belongs to user {}, group {}: a new file in its place would not",
                    self.key, found.st_uid, found.st_gid
                );
                Error::new(ErrorKind::NotPermitted, sentence)
            }
            Kept::System(errno) => failure(self.key, errno),
        })
    }

    /// Waits for the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<()> {
        self.file.file().sync_all().map_err(|error| Error::io(format_args!("{:?}", self.key), &error))
    }

    /// Gives the file its name, which nothing may have.
    ///
    /// # Errors
    /// `Exists`; the system's.
    pub fn name_new(self, name: &[u8]) -> Result<()> {
        self.file.name_new(name).map_err(|errno| failure(self.key, errno))
    }

    /// Puts the file in the place of the one that has the name.
    ///
    /// # Errors
    /// The system's.
    pub fn name_over(self, name: &[u8]) -> Result<()> {
        self.file.name_over(name).map_err(|errno| failure(self.key, errno))
    }
}
