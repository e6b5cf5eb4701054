//! What was asked of a service, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How often each operation was sent, and the bytes of bodies. Statistics: no two of them are read at one moment.
#[derive(Debug, Default)]
pub struct Counters {
    operations: Mutex<BTreeMap<&'static str, u64>>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    /// One more request of this operation.
    pub(super) fn count(&self, operation: &'static str) {
        *self.operations.lock().entry(operation).or_default() += 1;
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How often each operation was sent, retries included, by name.
    pub fn requests(&self) -> Vec<(&'static str, u64)> {
        self.operations.lock().iter().map(|(operation, count)| (*operation, *count)).collect()
    }

    /// Bytes of bodies that were handed to connections.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that came.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}
