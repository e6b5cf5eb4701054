//! A home whose map stops writing, as when its daemon dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{ErrorKind, Result};
use crate::store::api::Value;
use crate::store::flat::{Edit, Found, Kv, Step};
use crate::store::home::{Home, InMemory};
use crate::store::memory::Memory;

pub(super) struct FaultyHome {
    home: InMemory<Memory>,
    left: Arc<AtomicUsize>,
}

/// A map that takes so many writes.
struct Shared {
    map: Arc<dyn Kv>,
    left: Arc<AtomicUsize>,
}

impl FaultyHome {
    pub fn new(key_max: usize) -> FaultyHome {
        FaultyHome { home: InMemory::new(Memory::new, key_max), left: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    /// So many writes more, and then none.
    pub fn fail_after(&self, writes: usize) {
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Every write works again.
    pub fn heal(&self) {
        self.fail_after(usize::MAX);
    }
}

impl Home for FaultyHome {
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>> {
        let map = self.home.open(create)?;
        Ok(map.map(|map| Arc::new(Shared { map, left: Arc::clone(&self.left) }) as Arc<dyn Kv>))
    }

    fn shown(&self) -> String {
        self.home.shown()
    }

    fn key_max(&self) -> usize {
        self.home.key_max()
    }

    fn snapshot(&self) -> Result<Box<dyn Home>> {
        self.home.snapshot()
    }

    fn close(&self) -> Result<()> {
        self.home.close()
    }

    fn remove(&self) -> Result<bool> {
        self.home.remove()
    }
}

impl Kv for Shared {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        self.map.get(key)
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        self.map.open(key)
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.map.scan(from, each)
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        let less = |left: usize| left.checked_sub(usize::from(left != usize::MAX));
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => self.map.write(edits),
            Err(_) => Err(ErrorKind::NoSpace.into()),
        }
    }
}
