//! What is counted, for `kvfs status`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Vfs;
use super::overlay::Counts;

macro_rules! counted {
    ($($operation:ident),* $(,)?) => {
        /// The requests of the kernel, counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Operation { $($operation),* }

        const OPERATIONS: &[(Operation, &str)] = &[$((Operation::$operation, stringify!($operation))),*];
    };
}

counted!(
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Readlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Symlink,
    Rename,
    Link,
    Open,
    Read,
    Write,
    Flush,
    Release,
    Fsync,
    Opendir,
    Readdir,
    Readdirplus,
    Releasedir,
    Fsyncdir,
    Statfs,
    Setxattr,
    Getxattr,
    Listxattr,
    Removexattr,
    Create,
    Fallocate,
    Lseek,
    CopyFileRange,
    Ioctl,
    Poll,
);

/// Counts of requests and bytes since the mount began.
#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; OPERATIONS.len()],
    /// Bytes given to readers.
    pub read: AtomicU64,
    /// Bytes taken from writers.
    pub written: AtomicU64,
    /// Values put.
    pub puts: AtomicU64,
    /// Requests that failed for a reason of the store's (`Io`, `TimedOut`, `NoSpace`, `Stale`).
    pub errors: AtomicU64,
    /// Times the kernel was told that something changed.
    pub invalidations: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            requests: [const { AtomicU64::new(0) }; OPERATIONS.len()],
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Counts one request.
    pub fn count(&self, operation: Operation) {
        self.requests[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The requests so far, by name, those that came at all.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        OPERATIONS
            .iter()
            .map(|&(operation, name)| {
                (name.to_lowercase(), self.requests[operation as usize].load(Ordering::Relaxed))
            })
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

/// The state of a mount.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Requests by operation.
    pub requests: BTreeMap<String, u64>,
    /// Bytes given to readers.
    pub bytes_read: u64,
    /// Bytes taken from writers.
    pub bytes_written: u64,
    /// Values put.
    pub puts: u64,
    /// Failures of the store.
    pub errors: u64,
    /// Times the kernel was told of changes.
    pub invalidations: u64,
    /// Inodes the kernel knows.
    pub inodes: usize,
    /// Open files and directories.
    pub open: usize,
    /// Files with bytes that are not put.
    pub dirty: usize,
    /// Why puts failed that are still owed, by key.
    pub failing: Vec<String>,
    /// What would be lost with the mount.
    pub only_in_mount: Counts,
}

impl Vfs {
    /// The state of this mount.
    pub fn report(&self) -> Report {
        let (inodes, buffers) = {
            let table = self.table.lock();
            let buffers: Vec<_> = table
                .iter()
                .filter_map(|(ino, node)| Some((table.key(ino)?, node.buffer.clone()?)))
                .collect();
            (table.len(), buffers)
        };
        let mut dirty = 0;
        let mut failing = Vec::new();
        for (key, buffer) in buffers {
            // A file whose put hangs must not hang its report.
            let Some(state) = buffer.state.try_read() else {
                dirty += 1;
                continue;
            };
            dirty += usize::from(state.dirty);
            failing.extend(
                state.error.as_ref().filter(|_| !state.begun).map(|error| format!("{key:?}: {error}")),
            );
        }
        Report {
            requests: self.counters.requests(),
            bytes_read: self.counters.read.load(Ordering::Relaxed),
            bytes_written: self.counters.written.load(Ordering::Relaxed),
            puts: self.counters.puts.load(Ordering::Relaxed),
            errors: self.counters.errors.load(Ordering::Relaxed),
            invalidations: self.counters.invalidations.load(Ordering::Relaxed),
            inodes,
            open: self.handles.lock().len() + self.directories.lock().len(),
            dirty,
            failing,
            only_in_mount: self.overlay.read().counts(),
        }
    }
}
