//! Open files: reading, writing, closing.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::buffer::Buffer;
use super::lookup::Shared;
use super::node::Ino;
use super::{Caller, Vfs};
use crate::error::{ErrorKind, Result};
use crate::name;
use crate::store::api::{Pace, When};
use crate::store::attributes::Attributes;

/// An open file.
pub struct Handle {
    /// Which file.
    pub ino: Ino,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether it may be mapped for writing.
    pub mappable: bool,
    /// Whether every write goes to the end.
    pub append: bool,
    /// The version it reads, until the file is written through this mount (§3.1).
    pub(super) value: Mutex<Option<Shared>>,
    /// The thread that opened it, whose process's close is the one that counts (§4.2).
    pub opener: u32,
    /// The lock owner of that process, once a close of its own told it.
    pub owner: AtomicU64,
    /// Whether it writes past the kernel's pages.
    pub(super) past_pages: bool,
    /// Whether the kernel was told to bypass its pages.
    pub(super) direct: bool,
    /// Whether every change is to survive a power cut when its call returns.
    pub(super) synchronous: bool,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("ino", &self.ino)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

impl Vfs {
    /// The handle of this number.
    pub(super) fn handle(&self, handle: u64) -> Result<Arc<Handle>> {
        self.handles.lock().get(&handle).cloned().ok_or_else(|| ErrorKind::BadHandle.into())
    }

    /// The longest value that the file may come to have.
    pub(super) fn value_max(&self, ino: Ino) -> u64 {
        self.place(ino).map_or(self.caps.value_max, |place| self.store.value_max(&place.key))
    }

    /// The buffer of this inode, made over `value` where there is none.
    pub(super) fn buffer_for_writing(
        &self,
        ino: Ino,
        value: Option<Shared>,
        attributes: Attributes,
    ) -> Arc<Buffer> {
        let mut table = self.table.lock();
        let fresh = || {
            Arc::new(match value {
                Some(value) => Buffer::on(value, attributes),
                None => Buffer::empty(When::Always, attributes),
            })
        };
        match table.get_mut(ino) {
            Some(node) => Arc::clone(node.buffer.get_or_insert_with(fresh)),
            None => fresh(),
        }
    }

    /// Hands a range of an open file to `sink`, in one piece or several.
    ///
    /// # Errors
    /// `Stale` where the handle's version is gone (§3.1); what the store answers.
    pub fn read(
        &self,
        ino: Ino,
        handle: u64,
        offset: u64,
        size: u64,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let mut count = |bytes: &[u8]| {
            self.counters.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            sink(bytes);
        };
        if self.trust.opens_by_itself() {
            // The kernel was told that files need no opening here.
            let key = self.table.lock().key(ino).ok_or(ErrorKind::Stale)?;
            let value = self.store.open(&key)?.ok_or(ErrorKind::Stale)?;
            return value.read(offset, size, &mut count);
        }
        if let Some(buffer) = self.buffer_of(ino) {
            buffer.paged.store(true, Ordering::Relaxed);
            return buffer.state.read().read(offset, size, &mut count);
        }
        self.version_read(ino, handle)?.read(offset, size, &mut count)
    }

    /// The version that a handle reads, of a file without a buffer.
    ///
    /// # Errors
    /// `Stale` where it is gone; what the store answers.
    pub(super) fn version_read(&self, ino: Ino, handle: u64) -> Result<Shared> {
        let handle = self.handle(handle)?;
        if let Some(value) = &*handle.value.lock() {
            return Ok(Arc::clone(value));
        }
        // Written through this mount, put, and the buffer let go: what the store has now is it.
        let _steady = self.hold_steady()?;
        let key = self.place(ino)?.key;
        let value = self.store.open(&key)?.map(Shared::from).ok_or(ErrorKind::Stale)?;
        Ok(Arc::clone(handle.value.lock().get_or_insert(value)))
    }

    /// The buffer that writes through a handle go to.
    ///
    /// # Errors
    /// `BadHandle` where it is not open for writing.
    pub(super) fn buffer_to_write(&self, ino: Ino, handle: u64) -> Result<Arc<Buffer>> {
        let handle = self.handle(handle)?;
        if !handle.writable {
            return Err(ErrorKind::BadHandle.into());
        }
        if let Some(buffer) = self.buffer_of(ino) {
            return Ok(buffer);
        }
        let stat = self.stat(&self.place(ino)?)?;
        let attributes = stat.map(|stat| stat.file).unwrap_or_default();
        Ok(self.buffer_for_writing(ino, handle.value.lock().clone(), attributes))
    }

    /// Writes to an open file: all of `data`. Pages that the kernel writes back go where they are; other writes through
    /// an appending handle go to the end. `clears_suid` takes the set-id bits away, as a write by another user does.
    ///
    /// # Errors
    /// `TooBig` at the first write past the store's limit (§4.8), `NoSpace` from the scratch folder.
    pub fn write(
        &self,
        ino: Ino,
        handle: u64,
        offset: u64,
        data: &[u8],
        from_pages: bool,
        clears_suid: bool,
    ) -> Result<()> {
        self.check_writable()?;
        if clears_suid {
            self.clear_set_id(ino)?;
        }
        let buffer = match self.buffer_of(ino) {
            Some(buffer) => buffer,
            None => {
                let value = self.handle(handle)?.value.lock().clone();
                let stat = self.stat(&self.place(ino)?)?;
                self.buffer_for_writing(ino, value, stat.map(|stat| stat.file).unwrap_or_default())
            }
        };
        let value_max = self.value_max(ino);
        let mut state = buffer.state.write();
        let offset = match self.handle(handle) {
            Ok(handle) if handle.append && !from_pages => state.len(),
            _ => offset,
        };
        self.stand_on_put(ino, &mut state)?;
        let before = state.len();
        state.write(offset, data, value_max)?;
        self.send_ahead(ino, before, &state);
        self.counters.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// After a write that is to survive a power cut when it returns: does what the kernel asks for by itself where the
    /// write went through its pages, but not where it bypassed them.
    ///
    /// # Errors
    /// As for [`Vfs::fsync`].
    pub fn sync_direct_write(&self, ino: Ino, handle: u64) -> Result<()> {
        if self.handle(handle)?.direct { self.fsync(ino) } else { Ok(()) }
    }

    /// After a change that the kernel never syncs by itself.
    pub(super) fn sync_if_synchronous(&self, ino: Ino, handle: u64) -> Result<()> {
        if self.handle(handle)?.synchronous { self.fsync(ino) } else { Ok(()) }
    }

    pub(super) fn has_writer(&self, ino: Ino) -> bool {
        self.handles.lock().values().any(|handle| handle.ino == ino && handle.writable)
    }

    /// A `close` of a descriptor: puts what was written, when it is the opener's own (§4.2).
    ///
    /// # Errors
    /// The put's.
    pub fn flush_handle(&self, caller: Caller, ino: Ino, handle: u64, owner: u64) -> Result<()> {
        let handle = self.handle(handle)?;
        if !handle.writable {
            return Ok(());
        }
        let Some(buffer) = self.buffer_of(ino) else { return Ok(()) };
        if !is_opener(&handle, caller, owner) || self.is_redirected(caller, ino, &buffer) {
            return Ok(());
        }
        self.put_and_answer(ino, &buffer)
    }

    /// Whether a close is the shell's, which makes a file, duplicates its descriptor for the command, and closes the
    /// first before anything was written: one request less where each takes long. The duplicate's close puts the file.
    fn is_redirected(&self, caller: Caller, ino: Ino, buffer: &Buffer) -> bool {
        if self.caps.pace != Pace::Network {
            return false;
        }
        let untouched = {
            let state = buffer.state.read();
            state.dirty && state.is_empty() && !state.settled && state.error.is_none()
        };
        let name = untouched.then(|| self.place(ino).ok()).flatten();
        let name = name.and_then(|place| Some(name::encode(place.key.last()?).into_owned()));
        name.is_some_and(|name| has_descriptor(caller, &name))
    }

    /// The last of an open file.
    pub fn release(&self, ino: Ino, number: u64) {
        let Some(handle) = self.handles.lock().remove(&number) else { return };
        let buffer = self.buffer_of(ino);
        if handle.writable
            && let Some(buffer) = &buffer
        {
            self.put_last(ino, buffer);
        }
        if handle.past_pages
            && let Some(node) = self.table.lock().get_mut(ino)
        {
            node.past_pages = node.past_pages.saturating_sub(1);
        }
        drop(handle);
        self.count_open(ino, -1);
        self.let_go(ino);
    }

    /// Makes what was written to a file survive a power cut (§4.3).
    ///
    /// # Errors
    /// The put's, the store's.
    pub fn fsync(&self, ino: Ino) -> Result<()> {
        if self.is_read_only() {
            return Ok(());
        }
        if let Some(buffer) = self.buffer_of(ino) {
            self.put_and_answer(ino, &buffer)?;
        }
        let key = self.table.lock().key(ino);
        key.map_or_else(|| self.store.sync(), |key| self.store.sync_key(&key))
    }
}

/// Whether the caller's process has a descriptor of a file of this name. The one that is being closed is gone already.
fn has_descriptor(caller: Caller, name: &[u8]) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{}/fd", caller.pid)) else { return false };
    descriptors.flatten().any(|descriptor| {
        std::fs::read_link(descriptor.path())
            .is_ok_and(|target| target.file_name().is_some_and(|last| last.as_bytes() == name))
    })
}

/// Whether a close comes from the process that opened the file. Threads of one process share a lock owner; the first
/// time it is told by comparing the processes. Where the thread that opened has ended, nobody else's close is the
/// opener's, so that every close counts as one.
fn is_opener(handle: &Handle, caller: Caller, owner: u64) -> bool {
    let known = handle.owner.load(Ordering::Relaxed);
    if known != 0 {
        return known == owner;
    }
    let is_there = |path: String| std::path::Path::new(&path).exists();
    let opener = handle.opener;
    if opener == caller.pid || is_there(format!("/proc/{}/task/{opener}", caller.pid)) {
        handle.owner.store(owner, Ordering::Relaxed);
        return true;
    }
    !is_there(format!("/proc/{opener}"))
}
