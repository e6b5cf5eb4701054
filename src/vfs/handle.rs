//! Open files: which version a handle reads, and how it writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::attr::Attr;
use super::buffer::Buffer;
use super::lookup::Shared;
use super::node::{Ino, Place, What};
use super::{Caller, Vfs};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::When;

/// An open file.
pub struct Handle {
    /// Which file.
    pub ino: Ino,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether every write goes to the end.
    pub append: bool,
    /// The version it reads, until the file is written through this mount (§3.1).
    value: Mutex<Option<Shared>>,
    /// The thread that opened it, whose process's close is the one that counts (§4.2).
    pub opener: u32,
    /// The lock owner of that process, once a close of its own told it.
    pub owner: AtomicU64,
    /// Whether it writes past the kernel's pages.
    past_pages: bool,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("ino", &self.ino)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// What the kernel is told of an opened file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The number of the handle.
    pub handle: u64,
    /// Whether the pages that the kernel holds are still right.
    pub keep: bool,
    /// Whether reads bypass the kernel's pages.
    pub direct: bool,
    /// Whether a close needs no word.
    pub silent: bool,
}

/// A version that may be read through an inode.
struct Admitted {
    value: Shared,
    keep: bool,
    direct: bool,
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// For writing.
    pub write: bool,
    /// For writing alone.
    pub write_only: bool,
    /// For writing past the kernel's pages.
    pub past_pages: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// Emptied first.
    pub truncate: bool,
    /// Must not exist.
    pub exclusive: bool,
}

/// A caller that was sent back comes again within this time.
const SENT_BACK: Duration = Duration::from_secs(1);
/// So many callers are remembered before those that did not come again are forgotten.
const SENT_BACK_MOST: usize = 256;

/// Values from this length on are streamed past the kernel's pages, which is twice as fast.
const STREAMED: u64 = 4 << 20;

impl Vfs {
    /// Opens a file.
    ///
    /// # Errors
    /// `IsDirectory`, `ReadOnly`; `Stale` asks the kernel to look the name up again: the size it was told is not
    /// that of the version there is now.
    pub fn open(&self, caller: Caller, ino: Ino, mode: Mode) -> Result<Opened> {
        // Counted as open from here on, so that a close at the same time does not let go of the buffer in between.
        self.count_open(ino, 1);
        let outcome = self.open_counted(caller, ino, mode);
        self.count_open(ino, -1);
        if outcome.is_err() {
            self.let_go(ino);
        }
        outcome
    }

    fn count_open(&self, ino: Ino, change: i32) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.opens = node.opens.saturating_add_signed(change);
        }
    }

    fn open_counted(&self, caller: Caller, ino: Ino, mode: Mode) -> Result<Opened> {
        let (place, buffer) = self.place_and_buffer(ino)?;
        if place.what == What::Directory {
            return Err(ErrorKind::IsDirectory.into());
        }
        if mode.write || mode.truncate {
            self.check_writable()?;
        }
        if !place.linked && buffer.is_none() {
            return self.open_replaced(caller, ino, &place, mode);
        }
        let mut opened = Opened { handle: 0, keep: true, direct: false, silent: !mode.write };
        let mut value = None;
        if let Some(buffer) = &buffer {
            if self.is_superseded(ino, &place, buffer)? && self.send_back(caller) {
                return Err(ErrorKind::Stale.into());
            }
        } else {
            // The time first, so that pages are never taken for newer than they are.
            let stat = self.stat(&place)?;
            let found = self.store.open(&place.key)?.map(Shared::from);
            let (Some(stat), Some(found)) = (stat, found) else {
                return Err(self.vanished(caller));
            };
            let admitted = self.admit(caller, ino, &place, found, stat.modified)?;
            (opened.keep, opened.direct) = (admitted.keep, admitted.direct);
            value = Some(admitted.value);
        }
        if mode.write {
            self.buffer_for_writing(ino, value.clone());
            opened.direct = false;
        }
        opened.direct |= self.table.lock().get(ino).is_some_and(|node| node.past_pages > 0);
        if mode.truncate {
            self.truncate(ino, &place, 0, true)?;
        }
        opened.handle = self.new_handle(caller, ino, mode, value);
        self.sent_back.lock().remove(&caller.pid);
        Ok(opened)
    }

    /// Opens an inode whose name went to another file, or to none, between the kernel's lookup and its open: the kernel
    /// looks the name up again. Where that happens once more, a reader gets what has the name now, past the pages, since
    /// a name that is only ever replaced must never seem absent (§4.5).
    fn open_replaced(&self, caller: Caller, ino: Ino, place: &Place, mode: Mode) -> Result<Opened> {
        let again = self.send_back(caller);
        if again || mode.write || mode.truncate {
            return Err(ErrorKind::Stale.into());
        }
        let value = Shared::from(self.store.open(&place.key)?.ok_or(ErrorKind::NotFound)?);
        if let Some(node) = self.table.lock().get_mut(ino)
            && node.reading.as_ref().is_none_or(|reading| reading.strong_count() == 0)
        {
            node.reading = Some(Arc::downgrade(&value));
        }
        let handle = self.new_handle(caller, ino, mode, Some(value));
        Ok(Opened { handle, keep: false, direct: true, silent: true })
    }

    /// The error for an inode whose key is gone: the kernel looks the name up again.
    fn vanished(&self, caller: Caller) -> Error {
        if self.send_back(caller) { ErrorKind::Stale.into() } else { ErrorKind::NotFound.into() }
    }

    /// Whether the kernel is to look the name up again for this caller: it does so once for each open that is answered
    /// `Stale`, so the second time the caller must get an answer.
    fn send_back(&self, caller: Caller) -> bool {
        let mut sent_back = self.sent_back.lock();
        if sent_back.remove(&caller.pid).is_some_and(|since| since.elapsed() < SENT_BACK) {
            return false;
        }
        if sent_back.len() >= SENT_BACK_MOST {
            sent_back.retain(|_, since| since.elapsed() < SENT_BACK);
        }
        sent_back.insert(caller.pid, env::instant());
        true
    }

    /// Decides how a version may be read through this inode: whether the kernel's pages are of it, and whether it
    /// must bypass them. `Stale` sends the kernel back to look the name up, once.
    fn admit(
        &self,
        caller: Caller,
        ino: Ino,
        place: &Place,
        found: Shared,
        modified: std::time::SystemTime,
    ) -> Result<Admitted> {
        let (reading, told) = {
            let table = self.table.lock();
            let node = table.get(ino).ok_or(ErrorKind::Stale)?;
            (node.reading.as_ref().and_then(std::sync::Weak::upgrade), node.told)
        };
        let same_as_open = match &reading {
            None => true,
            Some(reading) => {
                let stat = crate::store::api::Stat {
                    kind: crate::store::api::Kind::Leaf,
                    size: found.len(),
                    modified,
                };
                self.shows_same(ino, &place.key, &**reading, &stat)
            }
        };
        let mut table = self.table.lock();
        let node = table.get_mut(ino).ok_or(ErrorKind::Stale)?;
        if !same_as_open || told != found.len() {
            drop(table);
            if self.send_back(caller) {
                return Err(ErrorKind::Stale.into());
            }
            // The kernel came back and the value changed once more: this handle reads past the pages.
            return Ok(Admitted { value: found, keep: false, direct: true });
        }
        let keep = node.pages == Some(modified);
        node.pages = Some(modified);
        // One value for all handles: it is known as long as any of them reads it.
        let value = reading.unwrap_or(found);
        node.reading = Some(Arc::downgrade(&value));
        let direct = value.len() >= STREAMED;
        Ok(Admitted { value, keep, direct })
    }

    /// The buffer of this inode, made over `value` where there is none.
    fn buffer_for_writing(&self, ino: Ino, value: Option<Shared>) -> Arc<Buffer> {
        let mut table = self.table.lock();
        let fresh = || {
            Arc::new(match value {
                Some(value) => Buffer::on(value),
                None => Buffer::empty(When::Always),
            })
        };
        match table.get_mut(ino) {
            Some(node) => Arc::clone(node.buffer.get_or_insert_with(fresh)),
            None => fresh(),
        }
    }

    pub(super) fn new_handle(&self, caller: Caller, ino: Ino, mode: Mode, value: Option<Shared>) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let handle = Handle {
            ino,
            writable: mode.write,
            append: mode.append,
            value: Mutex::new(value),
            opener: caller.pid,
            owner: AtomicU64::new(0),
            past_pages: mode.past_pages,
        };
        self.count_open(ino, 1);
        if mode.past_pages
            && let Some(node) = self.table.lock().get_mut(ino)
        {
            node.past_pages += 1;
        }
        self.handles.lock().insert(number, Arc::new(handle));
        number
    }

    /// Creates a file and opens it; it reaches the store when it is closed (§4.2).
    ///
    /// # Errors
    /// `Exists`, `Invalid` for a name that no key has, `NameTooLong`, `ReadOnly`.
    pub fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        permissions: u32,
        mode: Mode,
    ) -> Result<(Attr, Opened)> {
        self.check_writable()?;
        let target = self.target_to_make(parent, name)?;
        if let Some((what, stat)) = self.find(&target)? {
            if mode.exclusive {
                return Err(ErrorKind::Exists.into());
            }
            let attr = self.remember(parent, name, target, what, stat);
            let opened = self.open(caller, attr.ino, mode).inspect_err(|_| self.forget(attr.ino, 1))?;
            return Ok((self.getattr(attr.ino)?, opened));
        }
        let when = if mode.exclusive { When::Absent } else { When::Always };
        let attr = self.make_file(caller, parent, name, target, permissions, when)?;
        // A handle that only writes cannot be mapped for writing. Past the pages, the kernel does not ask for
        // `security.capability` before the first write; there are no pages yet that could be wrong.
        let mode = Mode { past_pages: mode.write_only, ..mode };
        let handle = self.new_handle(caller, attr.ino, mode, None);
        Ok((attr, Opened { handle, keep: false, direct: mode.past_pages, silent: !mode.write }))
    }

    /// The handle of this number.
    pub(super) fn handle(&self, handle: u64) -> Result<Arc<Handle>> {
        self.handles.lock().get(&handle).cloned().ok_or_else(|| ErrorKind::BadHandle.into())
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
        if self.trust.is_immutable() {
            // The kernel was told that files need no opening here.
            let key = self.place(ino)?.key;
            let value = self.store.open(&key)?.ok_or(ErrorKind::Stale)?;
            return value.read(offset, size, &mut count);
        }
        if let Some(buffer) = self.buffer_of(ino) {
            return buffer.state.read().read(offset, size, &mut count);
        }
        let handle = self.handle(handle)?;
        let value = handle.value.lock().clone();
        match value {
            Some(value) => value.read(offset, size, &mut count),
            // Written through this mount, put, and the buffer let go: what the store has now is it.
            None => {
                let key = self.place(ino)?.key;
                let value = self.store.open(&key)?.map(Shared::from).ok_or(ErrorKind::Stale)?;
                let kept = Arc::clone(handle.value.lock().get_or_insert(value));
                kept.read(offset, size, &mut count)
            }
        }
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
                self.buffer_for_writing(ino, value)
            }
        };
        let mut state = buffer.state.write();
        let offset = match self.handle(handle) {
            Ok(handle) if handle.append && !from_pages => state.len(),
            _ => offset,
        };
        self.stand_on_put(&mut state)?;
        state.write(offset, data, self.caps.value_max)?;
        self.counters.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts or grows a file. It is put at once unless a close will follow that does.
    pub(super) fn truncate(&self, ino: Ino, place: &Place, size: u64, close_follows: bool) -> Result<()> {
        match place.what {
            What::File => {}
            What::Directory => return Err(ErrorKind::IsDirectory.into()),
            What::Symlink(_) => return Err(ErrorKind::Invalid.into()),
        }
        let buffer = match self.buffer_of(ino) {
            Some(buffer) => buffer,
            None => {
                let value = if size == 0 { None } else { self.store.open(&place.key)?.map(Shared::from) };
                self.buffer_for_writing(ino, value)
            }
        };
        {
            let mut state = buffer.state.write();
            if state.len() == size && size != 0 {
                return Ok(());
            }
            self.stand_on_put(&mut state)?;
            state.resize(size, self.caps.value_max)?;
        }
        // `truncate(2)` has no close that would put it.
        if !close_follows && !self.has_writer(ino) && place.linked {
            self.put_if_dirty(ino, &buffer)?;
            self.let_go(ino);
        }
        Ok(())
    }

    fn has_writer(&self, ino: Ino) -> bool {
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
        if !is_opener(&handle, caller, owner) {
            return Ok(());
        }
        self.put_and_answer(ino, &buffer)
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

    /// Grows a file so that `offset + length` bytes are in it.
    ///
    /// # Errors
    /// As for writing.
    pub fn allocate(&self, ino: Ino, offset: u64, length: u64) -> Result<()> {
        self.check_writable()?;
        let end = offset.checked_add(length).ok_or(ErrorKind::TooBig)?;
        let buffer = self.buffer_of(ino).ok_or(ErrorKind::BadHandle)?;
        let mut state = buffer.state.write();
        if end > state.len() {
            self.stand_on_put(&mut state)?;
            state.resize(end, self.caps.value_max)?;
        }
        Ok(())
    }
}

/// Whether a close comes from the process that opened the file. Threads of one process share a lock owner; the first
/// time it is told by comparing the processes.
fn is_opener(handle: &Handle, caller: Caller, owner: u64) -> bool {
    let known = handle.owner.load(Ordering::Relaxed);
    if known != 0 {
        return known == owner;
    }
    let same = handle.opener == caller.pid
        || std::path::Path::new(&format!("/proc/{}/task/{}", caller.pid, handle.opener)).exists();
    if same && owner != 0 {
        handle.owner.store(owner, Ordering::Relaxed);
    }
    same
}
