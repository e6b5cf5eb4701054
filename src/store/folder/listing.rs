//! Listings. A listing goes on in the directory that it began with, as long as that is open: the kernel gives each name
//! that stays exactly once then, on every file system (§2.6).
//!
//! The position in a cursor is the number of the listing and the kernel's own mark in the directory, 8 bytes each.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{FileType as Native, OFlags, RawDir, SeekFrom, fstat};
use rustix::io::Errno;

use super::node;
use super::root::{Found, Root, failure, look, open_below};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment};
use crate::store::api::{Cursor, Entry, Stat};

/// So many directories are kept open; the oldest is opened again, at its mark, when its listing goes on.
const OPEN_MOST: usize = 64;
/// Bytes of names that the kernel gives at once.
const BATCH: usize = 32 << 10;

/// The listings that go on.
#[derive(Default)]
pub(super) struct Listings {
    open: Mutex<Vec<(u64, Arc<Mutex<Directory>>)>>,
    last: std::sync::atomic::AtomicU64,
}

/// An open directory, and the names that were read ahead.
struct Directory {
    fd: OwnedFd,
    ahead: std::collections::VecDeque<Name>,
    /// The mark before the first name ahead.
    mark: u64,
}

struct Name {
    bytes: Box<[u8]>,
    native_type: Native,
    /// The mark behind it.
    mark: u64,
}

impl Listings {
    /// By the rules of [`crate::store::api::Store::list`].
    ///
    /// # Errors
    /// `Denied` for a mount point; the system's.
    pub fn list(
        &self,
        root: &Root,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if from.done {
            return Ok(());
        }
        let (number, mark) = numbers(&from.position);
        let Some((number, directory)) = self.directory(root, dir, number)? else {
            from.done = true;
            return Ok(());
        };
        let mut directory = directory.lock();
        directory.go_to(mark).map_err(|errno| failure(dir, errno))?;
        while let Some(name) = directory.next().map_err(|errno| failure(dir, errno))? {
            let stat = directory.stat(&name).map_err(|errno| failure(dir, errno))?;
            if let Some(stat) = stat
                && each(Entry { segment: Segment::plain(&name.bytes), stat }).is_break()
            {
                directory.ahead.push_front(name);
                return Ok(());
            }
            directory.mark = name.mark;
            from.position = [number.to_le_bytes(), name.mark.to_le_bytes()].concat();
        }
        from.done = true;
        self.open.lock().retain(|(open, _)| *open != number);
        Ok(())
    }

    /// The directory of a listing, opened where it is not; `None` where there is none.
    fn directory(
        &self,
        root: &Root,
        dir: &Key,
        number: Option<u64>,
    ) -> Result<Option<(u64, Arc<Mutex<Directory>>)>> {
        if let Some(number) = number
            && let Some((_, directory)) = self.open.lock().iter().find(|(open, _)| *open == number)
        {
            return Ok(Some((number, Arc::clone(directory))));
        }
        if matches!(root.find(dir)?, Some(Found::MountPoint)) {
            let sentence = format!("{dir:?}: another file system is mounted there: mount that one by itself");
            return Err(Error::new(ErrorKind::Denied, sentence));
        }
        let Some(file) = root.open_for_reading(dir, OFlags::DIRECTORY)? else { return Ok(None) };
        let directory = Directory { fd: file.into(), ahead: Default::default(), mark: 0 };
        let directory = Arc::new(Mutex::new(directory));
        let number = self.last.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut open = self.open.lock();
        if open.len() == OPEN_MOST {
            open.remove(0);
        }
        open.push((number, Arc::clone(&directory)));
        Ok(Some((number, directory)))
    }
}

impl Directory {
    fn go_to(&mut self, mark: u64) -> Result<(), Errno> {
        if mark != self.mark {
            rustix::fs::seek(&self.fd, SeekFrom::Start(mark))?;
            self.ahead.clear();
            self.mark = mark;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Name>, Errno> {
        if self.ahead.is_empty() {
            self.read_ahead()?;
        }
        Ok(self.ahead.pop_front())
    }

    fn read_ahead(&mut self) -> Result<(), Errno> {
        let mut room = Vec::with_capacity(BATCH);
        room.resize_with(BATCH, MaybeUninit::uninit);
        let mut names = RawDir::new(&self.fd, &mut room);
        while let Some(name) = names.next() {
            let name = name?;
            let bytes = name.file_name().to_bytes();
            if !matches!(bytes, b"." | b"..") {
                let (native_type, mark) = (name.file_type(), name.next_entry_cookie());
                self.ahead.push_back(Name { bytes: bytes.into(), native_type, mark });
            }
            if names.is_buffer_empty() && !self.ahead.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// What a name stands for; `None` where it is gone.
    fn stat(&self, name: &Name) -> Result<Option<Stat>, Errno> {
        if !matches!(name.native_type, Native::Directory | Native::Unknown) {
            return Ok(look(&self.fd, &name.bytes)?.as_ref().map(node::stat));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match open_below(&self.fd, &name.bytes, flags) {
            Ok(file) => fstat(file).map(|found| Some(node::stat(&found))),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::XDEV) => Ok(Some(node::mount_point())),
            Err(errno) => Err(errno),
        }
    }
}

/// What is in a position: the number of the listing, and the mark.
fn numbers(position: &[u8]) -> (Option<u64>, u64) {
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    match position.split_at_checked(8) {
        Some((number, mark)) => (word(number), word(mark).unwrap_or(0)),
        None => (None, 0),
    }
}
