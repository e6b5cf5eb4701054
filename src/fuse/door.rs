//! What all requests have in common: they are counted, and their failures told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fuser::{Errno, ReplyAttr, ReplyEmpty, ReplyEntry, ReplyXattr};

use super::errno;
use super::words::{GENERATION, file_attr};
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::Vfs;
use crate::vfs::attr::Attr;
use crate::vfs::report::Operation;

/// The file system as the kernel's requests meet it.
#[derive(Debug)]
pub(super) struct Door {
    pub vfs: Arc<Vfs>,
}

impl Door {
    pub(super) fn count(&self, operation: Operation) {
        self.vfs.counters.count(operation);
    }

    pub(super) fn failed(&self, error: &Error) -> Errno {
        if matches!(error.kind(), ErrorKind::Io | ErrorKind::TimedOut | ErrorKind::NoSpace) {
            self.vfs.counters.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!("{error}");
        } else {
            tracing::debug!("{error}");
        }
        errno(error)
    }

    pub(super) fn entry(&self, outcome: Result<Attr>, reply: ReplyEntry) {
        match outcome {
            Ok(attr) => reply.entry(&self.vfs.ttl(), &file_attr(&attr), GENERATION),
            Err(error) => reply.error(self.failed(&error)),
        }
    }

    pub(super) fn attr(&self, outcome: Result<Attr>, reply: ReplyAttr) {
        match outcome {
            Ok(attr) => reply.attr(&self.vfs.ttl(), &file_attr(&attr)),
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
