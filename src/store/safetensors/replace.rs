//! The file of a model written anew, from the files that its tensors are in.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::layout::Layout;
use super::source::Source;
use crate::error::{Error, Result};
use crate::store::local_file::draft::Draft;

/// The new file of a model.
pub(super) struct Filling<'a, 'd>(pub &'d Draft<'a>);

impl Filling<'_, '_> {
    fn io(&self, error: &std::io::Error) -> Error {
        self.0.failure(error)
    }

    /// Writes the header and the data, which are copied by the kernel where it can; holes stay holes. `base` is the file
    /// that is replaced: where nothing but the bytes of some tensors differs, its blocks are shared.
    ///
    /// # Errors
    /// `NoSpace`; `Stale` where a file was written into that is copied; the system's.
    pub fn fill(&self, layout: &Layout, base: &Source) -> Result<()> {
        let data = layout.head.len() as u64;
        self.0.file().set_len(data + layout.data).map_err(|error| self.io(&error))?;
        let shared = self.shares_blocks(layout, base);
        if !shared {
            self.0.file().write_all_at(&layout.head, 0).map_err(|error| self.io(&error))?;
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
        self.0.file().write_all_at(text, 0).map_err(|error| self.io(&error))
    }

    /// Has the file share all blocks of the one that it replaces, where it is laid out like that.
    fn shares_blocks(&self, layout: &Layout, base: &Source) -> bool {
        let mut head = vec![0; layout.head.len()];
        base.file().read_exact_at(&mut head, 0).is_ok()
            && head == layout.head
            && rustix::fs::ioctl_ficlone(self.0.file(), base.file()).is_ok()
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
            match rustix::fs::copy_file_range(file, Some(&mut at), self.0.file(), Some(&mut into), wanted) {
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
                outcome = self.0.file().write_all_at(piece, at);
                at += piece.len() as u64;
            }
        })?;
        outcome.map_err(|error| self.io(&error))
    }
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
