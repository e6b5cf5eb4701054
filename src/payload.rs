//! The bytes of a value while it is being written: small ones in memory, large ones in an unlinked temporary file. The first
//! ones may still be those of a version in a store that makes longer values of it by itself: then they are not here at all.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

use crate::budget::{Budget, Permit, Purpose};
use crate::env::Folders;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Value;

/// Above this many bytes a payload moves to a file.
pub const MEMORY_MAX: u64 = 1 << 20;

/// Bytes of a value being written, of any length, readable and writable at any offset.
pub struct Payload {
    bytes: Bytes,
    /// For as many bytes in memory as there are, or more; where the budget has no more, the next ones go to a file.
    permit: Option<Permit>,
    /// Whose first bytes these are, and how many: they are holes in the file.
    beginning: Option<(Arc<dyn Value>, u64)>,
    /// Another one as soon as bytes change that were there before.
    lineage: OnceLock<Arc<Lineage>>,
}

/// What tells one payload, as long as it only grows, from every other: bytes that were there once under it are there
/// still. When nobody holds it any more, the payload is gone or changed.
#[derive(Debug)]
pub struct Lineage(());

#[derive(Debug)]
enum Bytes {
    Memory(Vec<u8>),
    /// An unlinked file and its length: the length is kept here, so that asking costs no system call.
    File(File, u64),
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beginning = self.beginning.as_ref().map(|(_, length)| length);
        f.debug_struct("Payload")
            .field("bytes", &self.bytes)
            .field("beginning", &beginning)
            .finish_non_exhaustive()
    }
}

impl Default for Payload {
    fn default() -> Payload {
        Payload::new()
    }
}

impl Payload {
    /// No bytes yet.
    pub fn new() -> Payload {
        let bytes = Bytes::Memory(Vec::new());
        Payload { bytes, permit: None, beginning: None, lineage: OnceLock::new() }
    }

    /// The first `length` bytes of a version in the store, which has to stay readable; nothing of it is read here.
    ///
    /// # Errors
    /// The scratch folder's.
    pub fn beginning_with(value: Arc<dyn Value>, length: u64) -> Result<Payload> {
        let file = Folders::get().unlinked_file()?;
        let length = length.min(value.len());
        file.set_len(length).map_err(|e| Error::io("the spill file", &e))?;
        let bytes = Bytes::File(file, length);
        let beginning = Some((value, length));
        Ok(Payload { bytes, permit: None, beginning, lineage: OnceLock::new() })
    }

    /// The version in the store whose first bytes these are still, and how many.
    pub fn beginning(&self) -> Option<(&Arc<dyn Value>, u64)> {
        self.beginning.as_ref().map(|(value, length)| (value, *length))
    }

    /// All these bytes are those of a version in the store now: one that was made of them.
    pub fn stand_on(&mut self, value: Arc<dyn Value>) {
        let length = self.len().min(value.len());
        self.beginning = Some((value, length));
    }

    /// Copies here what is still in the store alone, from `offset` on.
    ///
    /// # Errors
    /// `Stale` where that version is gone; as for [`Payload::write`].
    pub fn bring_down(&mut self, offset: u64) -> Result<()> {
        let Some((value, length)) = self.beginning.clone() else { return Ok(()) };
        let Bytes::File(file, _) = &self.bytes else { return Ok(()) };
        let mut at = offset;
        while at < length {
            let (begin, mut outcome) = (at, Ok(()));
            value.read(at, MEMORY_MAX.min(length - at), &mut |bytes| {
                if outcome.is_ok() {
                    outcome = file.write_all_at(bytes, at);
                    at += bytes.len() as u64;
                }
            })?;
            outcome.map_err(|e| Error::io("the spill file", &e))?;
            if at == begin {
                return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
            }
        }
        self.beginning = Some((value, length.min(offset))).filter(|(_, length)| *length > 0);
        Ok(())
    }

    /// The same bytes, all of them here; what is copied for that is here for both.
    ///
    /// # Errors
    /// As for [`Payload::bring_down`].
    pub fn brought_down(&self) -> Result<Payload> {
        let mut all = self.without_beginning()?;
        all.beginning.clone_from(&self.beginning);
        all.bring_down(0)?;
        Ok(all)
    }

    /// The bytes that are here, with zeros in place of those that are in the store alone; they share their file.
    ///
    /// # Errors
    /// The temporary file's.
    pub fn without_beginning(&self) -> Result<Payload> {
        let bytes = match &self.bytes {
            Bytes::File(file, len) => {
                Bytes::File(file.try_clone().map_err(|e| Error::io("the spill file", &e))?, *len)
            }
            Bytes::Memory(_) => return Err(ErrorKind::Invalid.into()),
        };
        Ok(Payload { bytes, permit: None, beginning: None, lineage: OnceLock::new() })
    }

    /// These bytes.
    ///
    /// # Errors
    /// The scratch folder's, where they are too many for memory.
    pub fn of(bytes: &[u8]) -> Result<Payload> {
        let mut payload = Payload::new();
        payload.write(0, bytes)?;
        Ok(payload)
    }

    /// The same bytes, by themselves.
    ///
    /// # Errors
    /// As for [`Payload::write`], and for reading.
    pub fn copy(&self) -> Result<Payload> {
        let mut copy = Payload::new();
        self.pieces(&mut |piece| copy.write(copy.len(), piece))?;
        Ok(copy)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes.len() as u64,
            Bytes::File(_, len) => *len,
        }
    }

    /// What it is told by as long as it only grows.
    pub fn lineage(&self) -> &Arc<Lineage> {
        self.lineage.get_or_init(|| Arc::new(Lineage(())))
    }

    /// Bytes that were there before are about to change.
    fn branch_off(&mut self) {
        self.lineage = OnceLock::new();
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as one slice, where they are in memory.
    pub fn as_slice(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Memory(bytes) => Some(bytes),
            Bytes::File(..) => None,
        }
    }

    /// Fills `into` from `offset` on; answers how many bytes there were (fewer only at the end).
    ///
    /// # Errors
    /// The temporary file's.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let Some((value, length)) = self.beginning.as_ref().filter(|(_, length)| offset < *length) else {
            return self.read_here(offset, into);
        };
        let first = (length - offset).min(into.len() as u64) as usize;
        let (first, rest) = into.split_at_mut(first);
        let mut filled = 0;
        value.read(offset, first.len() as u64, &mut |bytes| {
            first[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        })?;
        if filled < first.len() {
            return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
        }
        Ok(filled + self.read_here(*length, rest)?)
    }

    fn read_here(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let wanted = self.len().saturating_sub(offset).min(into.len() as u64) as usize;
        match &self.bytes {
            Bytes::Memory(bytes) if wanted > 0 => {
                let start = offset as usize;
                into[..wanted].copy_from_slice(&bytes[start..start + wanted]);
            }
            Bytes::Memory(_) => {}
            Bytes::File(file, _) => {
                file.read_exact_at(&mut into[..wanted], offset)
                    .map_err(|e| Error::io("the spill file", &e))?;
            }
        }
        Ok(wanted)
    }

    /// Writes `data` at `offset`; a gap before it reads as zeros.
    ///
    /// # Errors
    /// `NoSpace` and the like from the scratch folder; nothing is changed then.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset + data.len() as u64;
        self.bring_down(offset)?;
        self.make_room(end)?;
        if offset < self.len() {
            self.branch_off();
        }
        match &mut self.bytes {
            Bytes::Memory(bytes) => {
                let (start, end) = (offset as usize, end as usize);
                if start == bytes.len() {
                    bytes.extend_from_slice(data);
                } else {
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    bytes[start..end].copy_from_slice(data);
                }
            }
            Bytes::File(file, len) => {
                if let Err(error) = file.write_all_at(data, offset) {
                    // What was written of it past the end must not show when the payload grows.
                    drop(file.set_len(*len));
                    return Err(Error::io("the spill file", &error));
                }
                *len = (*len).max(end);
            }
        }
        Ok(())
    }

    /// Cuts or grows (with zeros) to `len` bytes.
    ///
    /// # Errors
    /// As for [`Payload::write`].
    pub fn resize(&mut self, len: u64) -> Result<()> {
        self.make_room(len)?;
        if len < self.len() {
            self.branch_off();
        }
        if let Some((_, length)) = &mut self.beginning {
            *length = len.min(*length);
        }
        match &mut self.bytes {
            Bytes::Memory(bytes) => {
                bytes.resize(len as usize, 0);
                if let Some(permit) = self.permit.as_mut().filter(|permit| permit.bytes() / 2 > len) {
                    bytes.shrink_to_fit();
                    permit.shrink(len);
                }
            }
            Bytes::File(file, old) => {
                file.set_len(len).map_err(|e| Error::io("the spill file", &e))?;
                *old = len;
            }
        }
        Ok(())
    }

    /// Makes the bytes of a range zeros, as far as there are bytes; in a file they become a hole.
    ///
    /// # Errors
    /// As for [`Payload::write`].
    pub fn zero(&mut self, offset: u64, length: u64) -> Result<()> {
        let end = offset.saturating_add(length).min(self.len());
        if offset >= end {
            return Ok(());
        }
        self.bring_down(offset)?;
        self.branch_off();
        match &mut self.bytes {
            Bytes::Memory(bytes) => bytes[offset as usize..end as usize].fill(0),
            Bytes::File(file, _) => {
                let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                match fallocate(&*file, flags, offset as i64, (end - offset) as i64) {
                    Err(Errno::EOPNOTSUPP) => write_zeros(file, offset, end),
                    outcome => outcome.map_err(std::io::Error::from),
                }
                .map_err(|e| Error::io("the spill file", &e))?;
            }
        }
        Ok(())
    }

    /// The first offset from this one on, which lies before the end, whose byte is not in a hole; `None` where all to
    /// the end is one. Bytes in memory have no holes.
    ///
    /// # Errors
    /// The temporary file's.
    pub fn next_data(&self, offset: u64) -> Result<Option<u64>> {
        let Bytes::File(file, len) = &self.bytes else { return Ok(Some(offset)) };
        if self.beginning.as_ref().is_some_and(|(_, length)| offset < *length) {
            return Ok(Some(offset));
        }
        match lseek(file, offset as i64, Whence::SeekData) {
            Ok(found) => Ok(Some(found as u64).filter(|found| found < len)),
            Err(Errno::ENXIO) => Ok(None),
            // A file system that knows no holes.
            Err(Errno::EINVAL) => Ok(Some(offset)),
            Err(errno) => Err(Error::io("the spill file", &errno.into())),
        }
    }

    /// The first offset from this one on, which lies before the end, that is in a hole or is the end.
    ///
    /// # Errors
    /// The temporary file's.
    pub fn next_hole(&self, offset: u64) -> Result<u64> {
        let Bytes::File(file, len) = &self.bytes else { return Ok(self.len()) };
        let offset = self.beginning.as_ref().map_or(offset, |(_, length)| offset.max(*length));
        if offset >= *len {
            return Ok(*len);
        }
        match lseek(file, offset as i64, Whence::SeekHole) {
            Ok(found) => Ok((*len).min(found as u64)),
            Err(Errno::EINVAL) => Ok(*len),
            Err(errno) => Err(Error::io("the spill file", &errno.into())),
        }
    }

    /// Hands out the bytes in order, in pieces of at most 1 MiB.
    ///
    /// # Errors
    /// The temporary file's, or what `each` returns.
    pub fn pieces(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(bytes) = self.as_slice() {
            return if bytes.is_empty() { Ok(()) } else { each(bytes) };
        }
        let mut piece = vec![0; MEMORY_MAX as usize];
        let mut offset = 0;
        while offset < self.len() {
            let read = self.read(offset, &mut piece)?;
            each(&piece[..read])?;
            offset += read as u64;
        }
        Ok(())
    }

    /// Accounts for growth to `end` bytes, moving to a file where memory is no longer the place.
    fn make_room(&mut self, end: u64) -> Result<()> {
        let Bytes::Memory(bytes) = &mut self.bytes else { return Ok(()) };
        let permitted = self.permit.as_ref().map_or(0, Permit::bytes);
        if end <= permitted || end <= bytes.len() as u64 {
            return Ok(());
        }
        if end <= MEMORY_MAX {
            // As the vector grows: by doubling.
            let wanted = end.max(2 * permitted).min(MEMORY_MAX) - permitted;
            match (Budget::global().try_take(Purpose::Written, wanted), &mut self.permit) {
                (None, _) => {}
                (Some(more), Some(permit)) => {
                    permit.add(more);
                    return Ok(());
                }
                (more, permit) => {
                    *permit = more;
                    return Ok(());
                }
            }
        }
        let file = Folders::get().unlinked_file()?;
        file.write_all_at(bytes, 0).map_err(|e| Error::io("the spill file", &e))?;
        self.bytes = Bytes::File(file, bytes.len() as u64);
        self.permit = None;
        Ok(())
    }
}

/// Writes zeros where the file system punches no holes.
fn write_zeros(file: &File, offset: u64, end: u64) -> std::io::Result<()> {
    let zeros = vec![0; MEMORY_MAX.min(end - offset) as usize];
    let mut at = offset;
    while at < end {
        let piece = (zeros.len() as u64).min(end - at);
        file.write_all_at(&zeros[..piece as usize], at)?;
        at += piece;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
