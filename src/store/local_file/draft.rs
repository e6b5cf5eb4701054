//! A file written anew: without a name until it is whole ([`crate::store::unnamed`]), waited for, and put in the place of the
//! old one at once.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use rustix::io::Errno;

use super::place::{Place, Stamp};
use crate::error::{Error, ErrorKind, Result};
use crate::store::unnamed::{Kept, Unnamed};

/// A file that is being written.
pub(in crate::store) struct Draft<'a> {
    place: &'a Place,
    /// The name that it is to have.
    name: &'a OsStr,
    file: Unnamed<'a>,
}

impl<'a> Draft<'a> {
    /// An empty file beside `name`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(place: &'a Place, name: &'a OsStr) -> Result<Draft<'a>> {
        let file = Unnamed::new(place.folder()).map_err(|errno| place.failure(name, errno))?;
        Ok(Draft { place, name, file })
    }

    /// The file, to write to.
    pub fn file(&self) -> &File {
        self.file.file()
    }

    /// A failure to write it.
    pub fn failure(&self, error: &std::io::Error) -> Error {
        Error::io(format_args!("writing {} anew", self.place.shown(self.name)), error)
    }

    /// Takes over mode, owner and extended attributes of `base`, the file that has the name.
    ///
    /// # Errors
    /// `NotPermitted` where the owner cannot be kept; the system's.
    pub fn dress(&self, base: &File) -> Result<()> {
        let failure = |errno: Errno| self.failure(&errno.into());
        let found = rustix::fs::fstat(base).map_err(failure)?;
        self.file.take_over(base.as_fd(), &found).map_err(|kept| match kept {
            Kept::Owner => {
                let sentence = format!(
                    "{} belongs to user {}, group {}: a new file in its place would not",
                    self.place.shown(self.name),
                    found.st_uid,
                    found.st_gid
                );
                Error::new(ErrorKind::NotPermitted, sentence)
            }
            Kept::System(errno) => failure(errno),
        })?;
        // After the owner, whose change takes the set-id bits away.
        let mode = Permissions::from_mode(found.st_mode & 0o7777);
        self.file.file().set_permissions(mode).map_err(|error| self.failure(&error))
    }

    /// Waits for the disk; answers which version of the file it will be.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<Stamp> {
        self.file.file().sync_all().map_err(|error| self.failure(&error))?;
        let found = rustix::fs::fstat(self.file.file()).map_err(|errno| self.failure(&errno.into()))?;
        Ok(Stamp::of(&found))
    }

    /// Puts the file in the place of the one that has the name; answers it, open for reading.
    ///
    /// # Errors
    /// The system's; the old file is there still.
    pub fn name_over(self) -> Result<File> {
        let file = self.file.file().try_clone().map_err(|error| self.failure(&error))?;
        let (place, name) = (self.place, self.name);
        let named = self.file.name_over(name.as_bytes());
        named
            .map(|()| file)
            .map_err(|errno| Error::io(format_args!("writing {} anew", place.shown(name)), &errno.into()))
    }
}
