//! A file written anew: a file without a name (`O_TMPFILE`) beside the old one, so that a kill leaves nothing of it, which
//! takes over mode, owner and extended attributes, is waited for, and put in the place of the old one at once.
//!
//! No call of Linux gives a nameless file a name that is taken. There it is called `.kvfs-PID-N` first, and renamed at once:
//! between these two calls alone a kill leaves that name behind.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, SeekFrom, Uid, XattrFlags};
use rustix::io::Errno;

use super::layout::Layout;
use super::place::{Place, Stamp};
use super::source::Source;
use crate::error::{Error, ErrorKind, Result};

/// The longest list of names, and the longest value, of extended attributes that Linux has, in bytes.
const XATTR_MAX: usize = 64 << 10;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A file that is being written.
pub(super) struct Draft<'a> {
    place: &'a Place,
    /// The name that it is to have.
    name: &'a OsStr,
    file: File,
    /// The name that it has meanwhile.
    own: Option<String>,
}

impl<'a> Draft<'a> {
    /// An empty file beside `name`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(place: &'a Place, name: &'a OsStr) -> Result<Draft<'a>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let opened = match rustix::fs::openat(place.folder(), c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok((None, file)),
            // A file system that has no files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => with_free_name(|own| {
                rustix::fs::openat(place.folder(), own, flags | OFlags::CREATE | OFlags::EXCL, mode)
            })
            .map(|(own, file)| (Some(own), file)),
            Err(errno) => Err(errno),
        };
        let (own, file) = opened.map_err(|errno| place.failure(name, errno))?;
        Ok(Draft { place, name, file: file.into(), own })
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
        self.file.set_len(data + layout.data).map_err(|error| self.io(&error))?;
        let shared = self.shares_blocks(layout, base);
        if !shared {
            self.file.write_all_at(&layout.head, 0).map_err(|error| self.io(&error))?;
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

    /// Has the file share all blocks of the one that it replaces, where it is laid out like that.
    fn shares_blocks(&self, layout: &Layout, base: &Source) -> bool {
        let mut head = vec![0; layout.head.len()];
        base.file().read_exact_at(&mut head, 0).is_ok()
            && head == layout.head
            && rustix::fs::ioctl_ficlone(&self.file, base.file()).is_ok()
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
            match rustix::fs::copy_file_range(file, Some(&mut at), &self.file, Some(&mut into), wanted) {
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
                outcome = self.file.write_all_at(piece, at);
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
        let own = rustix::fs::fstat(&self.file).map_err(failure)?;
        if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid) {
            let owner = (Some(Uid::from_raw(found.st_uid)), Some(Gid::from_raw(found.st_gid)));
            rustix::fs::fchown(&self.file, owner.0, owner.1).map_err(|_| {
                let sentence = format!(
                    "{} belongs to user {}, group {}: a new file in its place would not",
                    self.place.shown(self.name),
                    found.st_uid,
                    found.st_gid
                );
                Error::new(ErrorKind::NotPermitted, sentence)
            })?;
        }
        let mode = Permissions::from_mode(found.st_mode & 0o7777);
        self.file.set_permissions(mode).map_err(|error| self.io(&error))?;
        let mut room = vec![0_u8; XATTR_MAX];
        let names = match rustix::fs::flistxattr(base.file(), &mut room[..]) {
            Ok(length) => room[..length].to_vec(),
            Err(Errno::OPNOTSUPP) => Vec::new(),
            Err(errno) => return Err(failure(errno)),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let length = match rustix::fs::fgetxattr(base.file(), name, &mut room[..]) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
                outcome => outcome.map_err(failure)?,
            };
            match rustix::fs::fsetxattr(&self.file, name, &room[..length], XattrFlags::empty()) {
                // Labels that the system sets by itself, and that only it may.
                Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) if !name.starts_with(b"user.") => {}
                outcome => outcome.map_err(failure)?,
            }
        }
        Ok(())
    }

    /// Waits for the disk; answers which version of the file it will be.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> Result<Stamp> {
        self.file.sync_all().map_err(|error| self.io(&error))?;
        let found = rustix::fs::fstat(&self.file).map_err(|errno| self.io(&errno.into()))?;
        Ok(Stamp::of(&found))
    }

    /// Puts the file in the place of the one that has the name; answers it, open for reading.
    ///
    /// # Errors
    /// The system's; the old file is there still.
    pub fn name_over(mut self) -> Result<File> {
        let file = self.file.try_clone().map_err(|error| self.io(&error))?;
        if self.own.is_none() {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let folder = self.place.folder();
            let linked = with_free_name(|own| {
                rustix::fs::linkat(rustix::fs::CWD, &*path, folder, own, AtFlags::SYMLINK_FOLLOW)
            });
            self.own = Some(linked.map_err(|errno| self.io(&errno.into()))?.0);
        }
        let own = self.own.as_deref().unwrap_or_default();
        rustix::fs::renameat(self.place.folder(), own, self.place.folder(), self.name)
            .map_err(|errno| self.io(&errno.into()))?;
        self.own = None;
        Ok(file)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            // What led here is the failure to tell.
            let _ = rustix::fs::unlinkat(self.place.folder(), own.as_str(), AtFlags::empty());
        }
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
