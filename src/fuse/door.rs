//! What all requests have in common: they are counted, and their failures told.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuser::{
    Errno, INodeNo, ReplyAttr, ReplyData, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyXattr,
};

use super::errno;
use super::words::{GENERATION, dot_attr, file_attr};
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::Vfs;
use crate::vfs::attr::Attr;
use crate::vfs::node::Ino;
use crate::vfs::report::Operation;
use crate::vfs::space::Seek;

/// The most names with attributes in one reply: the first reply of every listing is of this kind, and somebody waits
/// for its first name.
const PLUS_MOST: u32 = 512;

/// The file system as the kernel's requests meet it.
#[derive(Debug)]
pub(super) struct Door {
    pub vfs: Arc<Vfs>,
}

thread_local! {
    /// Where a reply of several pieces is put together. A thread serves one request at a time, and keeps it (a MiB at most, as
    /// long as a request of the kernel's): new pages for each reply cost more than the bytes that are copied into them.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Door {
    pub(super) fn count(&self, operation: Operation) {
        self.vfs.counters.count(operation);
    }

    pub(super) fn failed(&self, error: &Error) -> Errno {
        if matches!(
            error.kind(),
            ErrorKind::Io | ErrorKind::Uncertain | ErrorKind::TimedOut | ErrorKind::NoSpace
        ) {
            self.vfs.counters.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!("{error}");
        } else {
            tracing::debug!("{error}");
        }
        errno(error)
    }

    pub(super) fn entry(&self, outcome: Result<Attr>, reply: ReplyEntry) {
        match outcome {
            Ok(attr) => reply.entry(&self.vfs.ttl_of(&attr), &file_attr(&attr), GENERATION),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    pub(super) fn attr(&self, outcome: Result<Attr>, reply: ReplyAttr) {
        match outcome {
            Ok(attr) => reply.attr(&self.vfs.ttl_of(&attr), &file_attr(&attr)),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    /// The bytes of a range: straight from the store's own memory where it gives them in one piece.
    pub(super) fn give(&self, ino: Ino, handle: u64, offset: u64, size: u32, reply: ReplyData) {
        let mut reply = Some(reply);
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            let outcome = self.vfs.read(ino, handle, offset, u64::from(size), &mut |bytes| {
                if bytes.len() == size as usize
                    && let Some(reply) = reply.take()
                {
                    reply.data(bytes);
                } else {
                    gathered.extend_from_slice(bytes);
                }
            });
            if let Some(reply) = reply.take() {
                match outcome {
                    Ok(()) => reply.data(gathered),
                    Err(error) => reply.error(self.failed(&error)),
                }
            }
        });
    }

    /// Where the next data or hole is.
    pub(super) fn seek(&self, ino: Ino, handle: u64, offset: i64, whence: i32, reply: ReplyLseek) {
        let seek = match whence {
            libc::SEEK_DATA => Seek::Data,
            libc::SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        match self.vfs.seek(ino, handle, offset, seek) {
            Ok(found) => reply.offset(found as i64),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    /// One reply of a listing, with the attributes of each name.
    pub(super) fn list_with_attributes(&self, handle: u64, offset: u64, mut reply: ReplyDirectoryPlus) {
        let mut left = PLUS_MOST;
        let outcome = self.vfs.readdir(handle, offset, true, &mut |given| {
            if left == 0 {
                return false;
            }
            left -= 1;
            let name = OsStr::from_bytes(given.name);
            let (attr, ttl) = match given.attr {
                Some(attr) => (file_attr(attr), self.vfs.ttl_of(attr)),
                // The dots: the kernel takes the type and the number from here, and nothing else.
                None => (dot_attr(given.ino), Duration::ZERO),
            };
            !reply.add(INodeNo(given.ino), given.next, name, &ttl, &attr, GENERATION)
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    pub(super) fn empty(&self, outcome: Result<()>, reply: ReplyEmpty) {
        match outcome {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    pub(super) fn sized(&self, outcome: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
        match outcome {
            Ok(value) if size == 0 => reply.size(value.len() as u32),
            Ok(value) if value.len() <= size as usize => reply.data(&value),
            Ok(_) => reply.error(Errno::ERANGE),
            Err(error) => reply.error(self.failed(&error)),
        }
    }
}
