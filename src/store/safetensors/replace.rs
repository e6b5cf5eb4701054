//! The file of a model written anew: a file without a name until it is whole ([`crate::store::unnamed`]), which is waited for, and
//! put in the place of the old one at once.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::layout::Layout;
use super::place::{Place, Stamp};
use super::source::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::store::unnamed::{Kept, Unnamed};

/// A file that is being written.
pub(super) struct Draft<'a> {
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

    fn io(&self, error: &std::io::Error) -> Error {
        Error::io(format_args!("writing {} anew", self.place.shown(self.name)), error)
    }

    /// Writes the header and the data, which are copied by the kernel where it can; holes stay holes. `base` is the file
    /// that is replaced: where nothing but the bytes of some tensors differs, its blocks are shared.
    ///
    /// # Errors
    /// `NoSpace`; `Stale` where a file was written into that is copied; the system's.
    pub fn fill(&self, layout: &Layout, base: &Source) -> Result<()> {
        let data = layout.head.len() as u64;
        self.file.file().set_len(data + layout.data).map_err(|error| self.io(&error))?;
        let shared = self.shares_blocks(layout, base);
        if !shared {
            self.file.file().write_all_at(&layout.head, 0).map_err(|error| self.io(&error))?;
        }
        // With the kernel's own reading ahead, which is right for a whole file.
        let whole = File::open(format!("/proc/self/fd/{}", base.file().as_raw_fd()))
            .map_err(|error| self.io(&error))?;
        let mut ahead = layout.tensors.iter().peekable();
        while let Some((begin, tensor)) = ahead.next() {
            if shared && std::ptr::eq(&*tensor.source, base) && tensor.at == data + begin {
                continue;
            }
            let mut length = tensor.length;
            // What lies side by side in both is one range.
            while let Some((_, next)) = ahead.peek()
                && std::ptr::eq(&*next.source, &*tensor.source)
                && next.at == tensor.at + length
            {
                length += next.length;
                ahead.next();
            }
            let is_base = std::ptr::eq(&*tensor.source, base);
            let file = if is_base { &whole } else { tensor.source.file() };
            self.copy((&tensor.source, file), tensor.at, data + begin, length)?;
        }
        base.check()
    }

    /// Writes this text.
    ///
    /// # Errors
    /// `NoSpace`; the system's.
    pub fn write(&self, text: &[u8]) -> Result<()> {
        self.file.file().write_all_at(text, 0).map_err(|error| self.io(&error))
    }

    /// Has the file share all blocks of the one that it replaces, where it is laid out like that.
    fn shares_blocks(&self, layout: &Layout, base: &Source) -> bool {
        let mut head = vec![0; layout.head.len()];
        base.file().read_exact_at(&mut head, 0).is_ok()
            && head == layout.head
            && rustix::fs::ioctl_ficlone(self.file.file(), base.file()).is_ok()
    }

    fn copy(&self, (source, file): (&Source, &File), from: u64, to: u64, length: u64) -> Result<()> {
        let (mut at, end) = (from, from + length);
        while at < end {
            let Some((begin, stop)) = next_data(file, at, end) else { return Ok(()) };
            self.copy_data((source, file), begin, to + (begin - from), stop - begin)?;
            at = stop;
        }
        Ok(())
    }

    fn copy_data(&self, (source, file): (&Source, &File), from: u64, to: u64, length: u64) -> Result<()> {
        let mut done = 0;
        while done < length {
            let (mut at, mut into) = (from + done, to + done);
            let wanted = usize::try_from(length - done).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(file, Some(&mut at), self.file.file(), Some(&mut into), wanted)
            {
                Ok(copied @ 1..) => done += copied as u64,
                // Between file systems, or by one that does not: as everybody copies.
                Ok(0) | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    return self.copy_bytes(source, from + done, to + done, length - done);
                }
                Err(errno) => return Err(self.io(&errno.into())),
            }
        }
        Ok(())
    }

    fn copy_bytes(&self, source: &Source, from: u64, to: u64, length: u64) -> Result<()> {
        let (mut at, mut outcome) = (to, Ok(()));
        source.read(from, length, &mut |piece| {
            if outcome.is_ok() {
                outcome = self.file.file().write_all_at(piece, at);
                at += piece.len() as u64;
            }
        })?;
        outcome.map_err(|error| self.io(&error))
    }

    /// Takes over mode, owner and extended attributes of the file that has the name.
    ///
    /// # Errors
    /// `NotPermitted` where the owner cannot be kept; the system's.
    pub fn dress(&self, base: &Source) -> Result<()> {
        let failure = |errno: Errno| self.io(&errno.into());
        let found = rustix::fs::fstat(base.file()).map_err(failure)?;
        self.file.take_over(base.file().as_fd(), &found).map_err(|kept| match kept {
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
        self.file.file().set_permissions(mode).map_err(|error| self.io(&error))
    }

    /// Waits for the disk; answers which version of the file it will be.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<Stamp> {
        self.file.file().sync_all().map_err(|error| self.io(&error))?;
        let found = rustix::fs::fstat(self.file.file()).map_err(|errno| self.io(&errno.into()))?;
        Ok(Stamp::of(&found))
    }

    /// Puts the file in the place of the one that has the name; answers it, open for reading.
    ///
    /// # Errors
    /// The system's; the old file is there still.
    pub fn name_over(self) -> Result<File> {
        let file = self.file.file().try_clone().map_err(|error| self.io(&error))?;
        let (place, name) = (self.place, self.name);
        let named = self.file.name_over(name.as_bytes());
        named
            .map(|()| file)
            .map_err(|errno| Error::io(format_args!("writing {} anew", place.shown(name)), &errno.into()))
    }
}

/// Waits until the names in the folder are on the disk.
///
/// # Errors
/// The system's.
pub(super) fn sync_folder(place: &Place) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::openat(place.folder(), c".", flags, Mode::empty()).and_then(rustix::fs::fsync);
    synced.map_err(|errno| Error::io(place.path().display(), &errno.into()))
}

/// The next bytes from `at` on, before `end`, that are in no hole.
fn next_data(file: &File, at: u64, end: u64) -> Option<(u64, u64)> {
    let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(begin) => begin,
        Err(Errno::NXIO) => return None,
        // A file system that knows no holes.
        Err(_) => return Some((at, end)),
    };
    let stop = rustix::fs::seek(file, SeekFrom::Hole(begin)).unwrap_or(end);
    (begin < end).then(|| (begin, stop.min(end).max(begin + 1)))
}
