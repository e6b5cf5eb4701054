//! Which environments this process has open. LMDB forbids opening one twice in a process, and closing *any*
//! descriptor of a lock file drops LMDB's own locks on it: so an environment is known by the device and inode of
//! its data file, and shared.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::{Condvar, Mutex};

use super::engine::Engine;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Device and inode: what a file is, whatever its path.
pub type FileId = (u64, u64);

struct Registry {
    entries: Mutex<HashMap<FileId, Entry>>,
    /// Told when an entry is removed, or is complete.
    changed: Condvar,
}

struct Entry {
    /// Dangling while the environment is being opened or closed.
    engine: Weak<Engine>,
    lock_file: Option<FileId>,
}

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry { entries: Mutex::new(HashMap::new()), changed: Condvar::new() });

/// Whether this is the lock file of an environment that this process has open. Whoever opens local files asks
/// first: closing such a descriptor would let a committed value be lost.
pub fn is_lock_file(dev: u64, ino: u64) -> bool {
    REGISTRY.entries.lock().values().any(|entry| entry.lock_file == Some((dev, ino)))
}

/// A place in the registry: nobody else in this process opens the environment while it is held.
pub(super) struct Registered {
    data_file: FileId,
}

impl Registered {
    /// Tells which file is the environment's lock file, before it is opened.
    pub(super) fn set_lock_file(&self, lock_file: FileId) {
        if let Some(entry) = REGISTRY.entries.lock().get_mut(&self.data_file) {
            entry.lock_file = Some(lock_file);
        }
    }

    /// Lets others share the environment.
    pub(super) fn publish(&self, engine: &Arc<Engine>) {
        if let Some(entry) = REGISTRY.entries.lock().get_mut(&self.data_file) {
            entry.engine = Arc::downgrade(engine);
        }
        REGISTRY.changed.notify_all();
    }

    /// Moves the place to another data file, when a compaction replaced it.
    pub(super) fn rename(&mut self, data_file: FileId) {
        let mut entries = REGISTRY.entries.lock();
        if let Some(entry) = entries.remove(&self.data_file) {
            entries.insert(data_file, entry);
        }
        self.data_file = data_file;
    }

    /// The data file it stands for.
    pub(super) fn data_file(&self) -> FileId {
        self.data_file
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        REGISTRY.entries.lock().remove(&self.data_file);
        REGISTRY.changed.notify_all();
    }
}

/// The environment with this data file if the process has it open, else the right to open it; waits for
/// somebody who is opening or closing it.
///
/// # Errors
/// `Busy` when that takes longer than the deadline.
pub(super) fn enter(data_file: FileId, deadline: Deadline) -> Result<Result<Arc<Engine>, Registered>> {
    let mut entries = REGISTRY.entries.lock();
    loop {
        let Some(entry) = entries.get(&data_file) else {
            entries.insert(data_file, Entry { engine: Weak::new(), lock_file: None });
            return Ok(Err(Registered { data_file }));
        };
        if let Some(engine) = entry.engine.upgrade() {
            return Ok(Ok(engine));
        }
        if REGISTRY.changed.wait_until(&mut entries, deadline.at()).timed_out() {
            return Err(Error::new(ErrorKind::Busy, "another mount is opening or closing this environment"));
        }
    }
}
