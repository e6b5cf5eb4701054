//! Copying between open files inside the daemon (`copy_file_range`): no byte of it goes through the kernel.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vfs;
use super::buffer::Buffer;
use super::lookup::Shared;
use super::node::Ino;
use crate::error::{Error, ErrorKind, Result};

/// A copy goes in pieces of this many bytes, each of which is in memory once.
const PIECE: u64 = 1 << 20;
/// One request copies at most this many bytes, so that it never takes long; whoever wants more asks again.
const AT_ONCE: u64 = 64 << 20;

/// A place in an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Which file.
    pub ino: Ino,
    /// The handle it is open by.
    pub handle: u64,
    /// Where in it, in bytes.
    pub offset: u64,
}

/// What is copied from: what is being written as it is at each piece, or the version that the handle reads.
enum Source {
    Written(Arc<Buffer>),
    Version(Shared),
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Source::Written(buffer) => buffer.state.read().len(),
            Source::Version(value) => value.len(),
        }
    }

    /// The bytes of a range, into `piece`. Nothing is held when it returns: the target may be the same file.
    fn read(&self, offset: u64, size: u64, piece: &mut Vec<u8>) -> Result<()> {
        piece.clear();
        let mut sink = |bytes: &[u8]| piece.extend_from_slice(bytes);
        match self {
            Source::Written(buffer) => buffer.state.read().read(offset, size, &mut sink),
            Source::Version(value) => value.read(offset, size, &mut sink),
        }
    }
}

impl Vfs {
    /// Copies up to `length` bytes between two open files, or within one; answers how many were copied: fewer at the end
    /// of the source, of a long range, and where something failed after the first bytes.
    ///
    /// # Errors
    /// `Invalid` for ranges of one file that overlap; `BadHandle` for a target that is not open for writing, or only at
    /// its end; `Stale` where the source's version is gone (§3.1); as for writing.
    pub fn copy_range(&self, from: Spot, to: Spot, length: u64, clears_suid: bool) -> Result<u64> {
        self.check_writable()?;
        let target = self.buffer_to_write(to.ino, to.handle)?;
        if self.handle(to.handle)?.append {
            return Err(ErrorKind::BadHandle.into());
        }
        let source = match self.buffer_of(from.ino) {
            Some(buffer) => Source::Written(buffer),
            None => Source::Version(self.version_read(from.ino, from.handle)?),
        };
        let length = length.min(source.len().saturating_sub(from.offset));
        if from.ino == to.ino && from.offset.abs_diff(to.offset) < length {
            return Err(Error::new(ErrorKind::Invalid, "the ranges overlap"));
        }
        let value_max = self.value_max(to.ino);
        if length > 0 && to.offset.saturating_add(length) > value_max {
            return Err(Error::new(ErrorKind::TooBig, "over the store's limit for a value"));
        }
        if clears_suid && length > 0 {
            self.clear_set_id(to.ino)?;
        }
        let mut copied = 0;
        if let Source::Version(value) = &source
            && (from.offset, to.offset) == (0, 0)
            && length == value.len()
        {
            let mut state = target.state.write();
            self.stand_on_put(to.ino, &mut state)?;
            copied = if state.adopt(value)? { length } else { 0 };
        }
        let mut piece = Vec::new();
        while copied < length.min(AT_ONCE) {
            let size = PIECE.min(length.min(AT_ONCE) - copied);
            let outcome = source.read(from.offset + copied, size, &mut piece).and_then(|()| {
                if piece.is_empty() {
                    return Ok(());
                }
                let mut state = target.state.write();
                self.stand_on_put(to.ino, &mut state)?;
                state.write(to.offset + copied, &piece, value_max)
            });
            match outcome {
                Err(error) if copied == 0 => return Err(error),
                // The next request tells what failed, or the source was cut meanwhile.
                Err(_) => break,
                Ok(()) if piece.is_empty() => break,
                Ok(()) => copied += piece.len() as u64,
            }
        }
        self.counters.written.fetch_add(copied, Ordering::Relaxed);
        self.sync_if_synchronous(to.ino, to.handle)?;
        Ok(copied)
    }
}
