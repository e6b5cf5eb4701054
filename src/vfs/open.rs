//! Opening and creating files: which version a handle reads (§3.1), and whether the kernel's pages are of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::attr::Attr;
use super::handle::Handle;
use super::lookup::Shared;
use super::mutate::Made;
use super::node::{Ino, Place, What};
use super::pages::Pages;
use super::{Caller, Vfs};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Stat, When};
use crate::store::attributes::Attributes;

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
    /// Every change is to survive a power cut when its call returns (`O_SYNC`, `O_DSYNC`).
    pub synchronous: bool,
}

/// A caller that was sent back comes again within this time: at once, unless the machine or the disk stands still. Sent back
/// a second time its open would fail, while one who is wrongly taken for back merely reads past the pages.
const SENT_BACK: Duration = Duration::from_secs(60);
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
        let outcome = self.hold_steady().and_then(|_steady| self.open_counted(caller, ino, mode));
        self.count_open(ino, -1);
        if outcome.is_err() {
            self.let_go(ino);
        }
        outcome
    }

    pub(super) fn count_open(&self, ino: Ino, change: i32) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.opens = node.opens.saturating_add_signed(change);
        }
    }

    fn open_counted(&self, caller: Caller, ino: Ino, mode: Mode) -> Result<Opened> {
        let (place, buffer) = self.place_and_buffer(ino)?;
        match place.what {
            What::File => {}
            What::Directory => return Err(ErrorKind::IsDirectory.into()),
            // The kernel opens these by itself.
            What::Symlink | What::Fifo | What::Socket => return Err(ErrorKind::Invalid.into()),
        }
        if mode.write || mode.truncate {
            self.check_writable()?;
        }
        if !place.linked && buffer.is_none() {
            return self.open_replaced(caller, ino, &place, mode);
        }
        let mut opened = Opened { handle: 0, keep: true, direct: false, silent: !mode.write };
        let mut value = None;
        let mut attributes = Attributes::default();
        if let Some(buffer) = &buffer {
            if self.is_superseded(ino, &place, buffer)? && self.send_back(caller) {
                return Err(ErrorKind::Stale.into());
            }
        } else {
            let Some((stat, found)) = self.newest(&place)? else { return Err(self.vanished(caller)) };
            let admitted = self.admit(caller, ino, &place, found, &stat)?;
            (opened.keep, opened.direct) = (admitted.keep, admitted.direct);
            attributes = stat.file;
            value = Some(admitted.value);
        }
        if mode.write {
            self.buffer_for_writing(ino, value.clone(), attributes);
            opened.direct = false;
        }
        opened.direct |= self.table.lock().get(ino).is_some_and(|node| node.past_pages > 0);
        if mode.truncate {
            self.truncate(ino, &place, 0, true)?;
            self.clear_set_id_for(caller, ino)?;
        }
        opened.handle = self.new_handle(caller, ino, mode, value, opened.direct);
        self.sent_back.lock().remove(&caller.pid);
        Ok(opened)
    }

    /// The value there is now, and what is told of it; `None` where one of them is not there. Both are of one version,
    /// where versions are told: what is told from memory may be of an older one, but not twice.
    fn newest(&self, place: &Place) -> Result<Option<(Stat, Shared)>> {
        let mut outdated = None;
        for _ in 0..2 {
            // The time first, so that pages are never taken for newer than they are.
            let stat = self.stat(place)?;
            let found = self.store.open(&place.key)?.map(Shared::from);
            let (Some(stat), Some(found)) = (stat, found) else { return Ok(None) };
            if stat.version.is_none_or(|version| found.version().is_ok_and(|found| version.is(&found))) {
                return Ok(Some((stat, found)));
            }
            // It changes faster than it can be looked at: no pages are of this version.
            outdated = Some((Stat { modified: env::now(), version: None, ..stat }, found));
        }
        Ok(outdated)
    }

    /// Opens an inode whose name went to another file, or to none. Mostly that happened between the kernel's lookup and
    /// its open: the kernel looks the name up again. Where it comes back, somebody opens the file that others have open
    /// (by `/proc/self/fd`), or the name went once more: then a reader gets what has the name now, past the pages,
    /// since a name that is only ever replaced must never seem absent (§4.5).
    fn open_replaced(&self, caller: Caller, ino: Ino, place: &Place, mode: Mode) -> Result<Opened> {
        if self.send_back(caller) {
            return Err(ErrorKind::Stale.into());
        }
        let mut value = match self.reading(ino) {
            Some(value) => value,
            None if mode.write || mode.truncate => return Err(ErrorKind::Stale.into()),
            None => Shared::from(self.store.open(&place.key)?.ok_or(ErrorKind::NotFound)?),
        };
        if let Some(node) = self.table.lock().get_mut(ino) {
            // Who came first meanwhile: all handles of an inode read one value.
            match node.reading.as_ref().and_then(Weak::upgrade) {
                Some(first) => value = first,
                None => node.reading = Some(Arc::downgrade(&value)),
            }
        }
        if mode.write {
            self.buffer_for_writing(ino, Some(Arc::clone(&value)), Attributes::default());
        }
        if mode.truncate {
            self.truncate(ino, place, 0, true)?;
            self.clear_set_id_for(caller, ino)?;
        }
        let handle = self.new_handle(caller, ino, mode, Some(value), true);
        Ok(Opened { handle, keep: false, direct: true, silent: !mode.write })
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
    fn admit(&self, caller: Caller, ino: Ino, place: &Place, found: Shared, stat: &Stat) -> Result<Admitted> {
        let (mut reading, mut same_as_open): (Option<Shared>, bool) = (None, true);
        let mut table = self.table.lock();
        // With the value that others read: compared without the table, during which another one may come.
        while let Some(other) =
            table.get(ino).ok_or(ErrorKind::Stale)?.reading.as_ref().and_then(Weak::upgrade)
            && reading.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &other))
        {
            drop(table);
            same_as_open = self.shows_same(ino, &place.key, &*other, &Stat { size: found.len(), ..*stat });
            reading = Some(other);
            table = self.table.lock();
        }
        let node = table.get_mut(ino).ok_or(ErrorKind::Stale)?;
        if !same_as_open || node.told != found.len() {
            drop(table);
            if self.send_back(caller) {
                return Err(ErrorKind::Stale.into());
            }
            // The kernel came back and the value changed once more: this handle reads past the pages.
            return Ok(Admitted { value: found, keep: false, direct: true });
        }
        let keep = node.pages == Some(Pages::of(stat));
        node.pages = Some(Pages::of(stat));
        // One value for all handles: it is known as long as any of them reads it.
        let value = reading.unwrap_or(found);
        node.reading = Some(Arc::downgrade(&value));
        let direct = value.len() >= STREAMED;
        Ok(Admitted { value, keep, direct })
    }

    pub(super) fn new_handle(
        &self,
        caller: Caller,
        ino: Ino,
        mode: Mode,
        value: Option<Shared>,
        direct: bool,
    ) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let handle = Handle {
            ino,
            writable: mode.write,
            mappable: mode.write && !mode.write_only,
            append: mode.append,
            value: Mutex::new(value),
            opener: caller.pid,
            owner: AtomicU64::new(0),
            past_pages: mode.past_pages,
            direct,
            synchronous: mode.synchronous,
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
        let names = self.hold_names()?;
        let target = self.target_to_make(parent, name)?;
        if self.find_named(&target, parent, name)?.is_none() {
            let when = if mode.exclusive { When::Absent } else { When::Always };
            self.store.seen_absent(&target.key);
            let made = Made { caller, parent, name, permissions };
            let attr = self.make_file(made, target, when, &names)?;
            if !mode.write || (mode.exclusive && self.options.exclusive_at_open) {
                // Its closes have nothing to put, or somebody waits to see it.
                self.put_made(made, attr.ino, &names)?;
            }
            // A handle that only writes cannot be mapped for writing. Past the pages, the kernel does not ask for
            // `security.capability` before the first write; there are no pages yet that could be wrong.
            let mode = Mode { past_pages: mode.write_only, ..mode };
            let handle = self.new_handle(caller, attr.ino, mode, None, mode.past_pages);
            return Ok((attr, Opened { handle, keep: false, direct: mode.past_pages, silent: !mode.write }));
        }
        drop(names);
        if mode.exclusive {
            return Err(ErrorKind::Exists.into());
        }
        let ino = self.lookup(parent, name)?.ino;
        let opened = self.open(caller, ino, mode).inspect_err(|_| self.forget(ino, 1))?;
        match self.getattr(ino) {
            Ok(attr) => Ok((attr, opened)),
            Err(error) => {
                self.release(ino, opened.handle);
                self.forget(ino, 1);
                Err(error)
            }
        }
    }
}
