//! Space in a file: room asked for ahead, ranges that become zeros, and where the holes are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Vfs;
use super::buffer::Buffer;
use super::handle::Handle;
use super::node::Ino;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::attributes::Setting;

/// What `fallocate` makes of a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallocate {
    /// Where the range begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it reads as zeros afterwards; otherwise only room for it is asked for.
    pub zeros: bool,
    /// Whether the file keeps its length where the range passes its end.
    pub keep_size: bool,
}

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// Bytes that are no hole.
    Data,
    /// A hole, or the end, behind which there is one.
    Hole,
}

impl Vfs {
    /// Asks for room, or makes zeros, in an open file. A file that grows does so without taking memory or disk:
    /// whether the store has room for its value is told when it is put (§4.8).
    ///
    /// # Errors
    /// `TooBig` where bytes of the range can never be written; `BadHandle`; as for writing.
    pub fn fallocate(&self, ino: Ino, handle: u64, wanted: Fallocate, clears_suid: bool) -> Result<()> {
        self.check_writable()?;
        let Fallocate { offset, length, zeros, keep_size } = wanted;
        let value_max = self.value_max(ino);
        let punches = zeros && keep_size;
        let end = offset.saturating_add(length);
        if end > value_max && !punches {
            return Err(Error::new(ErrorKind::TooBig, "over the store's limit for a value"));
        }
        let buffer = self.buffer_to_write(ino, handle)?;
        if clears_suid {
            self.clear_set_id(ino)?;
        }
        let mut state = buffer.state.write();
        let (zeros, grows) = (zeros && offset < state.len(), !keep_size && end > state.len());
        if zeros || grows {
            self.stand_on_put(ino, &mut state)?;
        }
        if zeros {
            state.zero(offset, length)?;
        }
        if grows {
            state.resize(end, value_max)?;
        }
        let unchanged = !state.dirty;
        drop(state);
        if !unchanged {
            return self.sync_if_synchronous(ino, handle);
        }
        self.touch_attributes(ino, Setting { ctime: Some(env::now()), ..Setting::default() })
    }

    /// Not a byte changed, but the file was: its times say so where they are kept, and nothing is put.
    pub(super) fn touch_attributes(&self, ino: Ino, times: Setting) -> Result<()> {
        if !self.keeps_attributes(&self.place(ino)?)? {
            return Ok(());
        }
        let names = self.hold_names()?;
        // A rename may have come in between.
        if !self.keeps_attributes(&self.place(ino)?)? {
            return Ok(());
        }
        self.set_attributes(ino, times, &names)
    }

    /// The first offset from this one on that is data, or a hole. A value in the store is one piece of data; what is
    /// being written has the holes of its spill file, unless the kernel may have other bytes for them.
    ///
    /// # Errors
    /// `PastEnd` from the end of the file on, and where only a hole is left before it; `Stale` as for reading.
    pub fn seek(&self, ino: Ino, handle: u64, offset: i64, seek: Seek) -> Result<u64> {
        let offset = u64::try_from(offset).map_err(|_| ErrorKind::PastEnd)?;
        let buffer = self.buffer_of(ino);
        let state = buffer.as_ref().map(|buffer| buffer.state.read());
        let len = match &state {
            Some(state) => state.len(),
            None => self.version_read(ino, handle)?.len(),
        };
        if offset >= len {
            return Err(ErrorKind::PastEnd.into());
        }
        let known = buffer.as_ref().is_some_and(|buffer| !self.may_be_dirty_in_kernel(ino, buffer));
        let data = state.as_ref().and_then(|state| state.data()).filter(|_| known);
        match (data, seek) {
            (Some(data), Seek::Data) => data.next_data(offset)?.ok_or_else(|| ErrorKind::PastEnd.into()),
            (Some(data), Seek::Hole) => data.next_hole(offset),
            (None, Seek::Data) => Ok(offset),
            (None, Seek::Hole) => Ok(len),
        }
    }

    /// Whether the kernel may hold changed pages that it has not written back: a mapping changes what was read before,
    /// and Linux writes nothing back before it asks for holes. A page in a hole that was never read is not there.
    fn may_be_dirty_in_kernel(&self, ino: Ino, buffer: &Buffer) -> bool {
        let is_mappable = |handle: &Arc<Handle>| handle.ino == ino && handle.mappable;
        buffer.paged.load(Ordering::Relaxed) && self.handles.lock().values().any(is_mappable)
    }
}
