//! POSIX over one [`Store`]: inodes, directories, handles, buffers, and what lives in the mount alone.
//!
//! | file | holds |
//! |---|---|
//! | `node`, `number` | the inodes that the kernel knows, and their numbers |
//! | `lookup` | names to keys and back |
//! | `dir`, `listing` | open directories and their names |
//! | `open` | opening and creating files: which version a handle reads |
//! | `pages` | which version the kernel's pages are of |
//! | `handle` | open files: reading, writing, closing |
//! | `space` | room ahead, ranges of zeros, holes |
//! | `copy` | copies between open files |
//! | `put` | how written bytes reach the store |
//! | `buffer` | the bytes of a file being written |
//! | `rejected` | bytes that the store can never hold |
//! | `kept` | bytes that an earlier mount could not put |
//! | `mutate`, `rename`, `exchange` | making, removing, renaming and exchanging names |
//! | `attr`, `setattr`, `xattr`, `touched` | attributes |
//! | `overlay` | what lives in the mount alone |
//! | `invalidate` | other programs' changes, told to the kernel |
//! | `report` | counts |
//!
//! Lock order: an open directory → `steady` → `tree` → `Buffer::putting` → `Buffer::state` → `overlay` → `table` or `handles`.
//! The last three are never held across a call of the store; `steady` and `tree` are never read twice by one thread.

pub mod attr;
pub mod buffer;
pub mod copy;
pub mod dir;
mod exchange;
pub mod handle;
pub mod invalidate;
pub mod kept;
mod listing;
pub mod lookup;
pub mod mutate;
pub mod node;
pub mod number;
pub mod open;
pub mod overlay;
mod pages;
pub mod put;
mod rejected;
mod rename;
pub mod report;
pub mod setattr;
pub mod space;
#[cfg(test)]
mod tests;
mod touched;
pub mod xattr;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::spool::Spool;
use crate::store::api::{Caps, Store};
use buffer::Buffer;
use dir::DirectoryHandle;
use handle::Handle;
use node::{Ino, Place, Table};
use overlay::Overlay;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Thread.
    pub pid: u32,
}

/// How a store shows as files.
#[derive(Clone, Debug)]
pub struct Options {
    /// Owner of everything that has no owner of its own.
    pub uid: u32,
    /// Group of everything that has none of its own.
    pub gid: u32,
    /// Permission bits of files.
    pub file_mode: u32,
    /// Permission bits of directories.
    pub directory_mode: u32,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// The deadline of every request (§8.1).
    pub timeout: Duration,
    /// How long the kernel may keep what a store told that does not tell of changes (§6.2).
    pub ttl: Duration,
    /// How long the kernel may keep it that there is nothing of a name, there.
    pub ttl_of_absence: Duration,
    /// What to call the store in the spool and in errors, without secrets.
    pub source: String,
    /// Whether a file that must not exist is put, empty, when it is opened, and not first when it is closed: for lock
    /// files.
    pub exclusive_at_open: bool,
    /// Where bytes are kept that could not be put (§8.4).
    pub spool: Spool,
}

/// As long as it lives, a key leads to the value of the inode that has it.
struct Steady<'v>(#[allow(dead_code, reason = "its drop lets names be exchanged")] RwLockReadGuard<'v, ()>);

/// POSIX over one store.
pub struct Vfs {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) caps: Caps,
    pub(crate) options: Options,
    pub(crate) started: SystemTime,
    /// Written by whoever renames, read by whoever makes, removes, lists or puts: a key is the key of now.
    tree: RwLock<()>,
    /// Written by whoever exchanges two names, read by whoever goes from an inode to its key, and to the store with
    /// it: between the store's exchange and the table's, a key leads to the other's value.
    steady: RwLock<()>,
    /// Counts renames, once at the beginning and once at the end: see [`Vfs::settled`].
    moves: AtomicU64,
    overlay: RwLock<Overlay>,
    table: Mutex<Table>,
    handles: Mutex<HashMap<u64, Arc<Handle>>>,
    directories: Mutex<HashMap<u64, Arc<Mutex<DirectoryHandle>>>>,
    next_handle: AtomicU64,
    /// Callers whose open was answered `Stale`, and when.
    sent_back: Mutex<HashMap<u32, std::time::Instant>>,
    /// Whether the log says already that no attributes are kept.
    said_no_attributes: AtomicBool,
    /// What is counted for `kvfs status`.
    pub counters: report::Counters,
    /// What the kernel may keep, and for how long.
    pub trust: invalidate::Trust,
}

impl Vfs {
    /// A file system over `store`.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Arc<Vfs> {
        let caps = store.caps().clone();
        Arc::new(Vfs {
            trust: invalidate::Trust::new(&caps, options.ttl, options.ttl_of_absence),
            caps,
            store,
            options,
            started: env::now(),
            tree: RwLock::new(()),
            steady: RwLock::new(()),
            moves: AtomicU64::new(0),
            overlay: RwLock::new(Overlay::default()),
            table: Mutex::new(Table::new()),
            handles: Mutex::new(HashMap::new()),
            directories: Mutex::new(HashMap::new()),
            next_handle: AtomicU64::new(1),
            sent_back: Mutex::new(HashMap::new()),
            said_no_attributes: AtomicBool::new(false),
            counters: report::Counters::default(),
        })
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether nothing can be changed through this mount.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only || !self.caps.write
    }

    fn check_writable(&self) -> Result<()> {
        if self.is_read_only() {
            return Err(Error::new(ErrorKind::ReadOnly, "the mount is read-only"));
        }
        Ok(())
    }

    /// How long the kernel may keep an attribute or a name (§6.2).
    pub fn ttl(&self) -> Duration {
        self.trust.ttl(|| self.table.lock().len())
    }

    /// The same of these attributes: what a layer told from memory is not as new as its answer.
    pub fn ttl_of(&self, attr: &attr::Attr) -> Duration {
        attr.good_for.map_or_else(|| self.ttl(), |good_for| good_for.min(self.ttl()))
    }

    /// Answers what `look` does; where it found nothing while something was being renamed, it looks again when that has
    /// ended: between its old key and its new one, what is renamed is not found.
    ///
    /// # Errors
    /// What `look` answers; `TimedOut`.
    fn settled<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        self.settle(&self.hold_steady()?, look)
    }

    /// The same, for whoever holds inodes and keys together.
    fn settle<T>(&self, _: &Steady<'_>, look: impl Fn() -> Result<T>) -> Result<T> {
        let moves = self.moves.load(Ordering::Acquire);
        let answer = look();
        let nothing = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        if nothing && (moves % 2 == 1 || self.moves.load(Ordering::Acquire) != moves) {
            let _names = self.hold_names()?;
            return look();
        }
        answer
    }

    /// Keeps inodes and their keys together. Not to be held twice by one thread, as for [`Vfs::hold_names`].
    ///
    /// # Errors
    /// `TimedOut`.
    fn hold_steady(&self) -> Result<Steady<'_>> {
        if let Some(steady) = self.steady.try_read() {
            return Ok(Steady(steady));
        }
        let deadline = Deadline::after(self.options.timeout);
        let steady = self.steady.try_read_until(deadline.at());
        steady
            .map(Steady)
            .ok_or_else(|| Error::new(ErrorKind::TimedOut, "an exchange of names takes too long"))
    }

    fn place(&self, ino: Ino) -> Result<Place> {
        self.table.lock().place(ino).ok_or_else(|| ErrorKind::Stale.into())
    }

    fn place_and_buffer(&self, ino: Ino) -> Result<(Place, Option<Arc<Buffer>>)> {
        let table = self.table.lock();
        let place = table.place(ino).ok_or(ErrorKind::Stale)?;
        Ok((place, table.get(ino).and_then(|node| node.buffer.clone())))
    }

    fn buffer_of(&self, ino: Ino) -> Option<Arc<Buffer>> {
        self.table.lock().get(ino)?.buffer.clone()
    }
}

impl std::fmt::Debug for Vfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vfs").field("kind", &self.caps.kind).finish_non_exhaustive()
    }
}
