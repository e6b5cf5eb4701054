//! Where a store keeps its attributes: a map of its own beside it, which adds nothing to the store itself (§5.4).

use std::sync::Arc;

use parking_lot::Mutex;

use super::flat::Kv;
use crate::error::Result;

/// The place of a sidecar: made by the first attribute that is set, and never by reading (§5.1).
pub trait Home: Send + Sync {
    /// The map, where it is there or `create` makes it. Called until it answers one, which stays the same.
    ///
    /// # Errors
    /// One sentence: what is there instead, which right is missing.
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>>;

    /// Where it is, for sentences.
    fn shown(&self) -> String;

    /// The longest key that the map holds, in bytes; 64 at least.
    fn key_max(&self) -> usize;

    /// This moment of the map, where it is open.
    ///
    /// # Errors
    /// As for reading.
    fn snapshot(&self) -> Result<Box<dyn Home>>;

    /// Closes the map, where it is open, and lets another daemon in: nothing is written after this.
    ///
    /// # Errors
    /// As for committing.
    fn close(&self) -> Result<()>;

    /// Removes the map, which nobody has opened here; false where there was none.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self) -> Result<bool>;
}

impl<H: Home + ?Sized> Home for Arc<H> {
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>> {
        (**self).open(create)
    }

    fn shown(&self) -> String {
        (**self).shown()
    }

    fn key_max(&self) -> usize {
        (**self).key_max()
    }

    fn snapshot(&self) -> Result<Box<dyn Home>> {
        (**self).snapshot()
    }

    fn close(&self) -> Result<()> {
        (**self).close()
    }

    fn remove(&self) -> Result<bool> {
        (**self).remove()
    }
}

/// A home in memory: it lasts as long as its store.
pub struct InMemory<K> {
    map: Mutex<Option<Arc<K>>>,
    make: Arc<dyn Fn() -> K + Send + Sync>,
    key_max: usize,
}

impl<K: Kv> InMemory<K> {
    /// Nothing yet; `make` makes the map, whose keys have at most `key_max` bytes.
    pub fn new(make: impl Fn() -> K + Send + Sync + 'static, key_max: usize) -> InMemory<K> {
        InMemory { map: Mutex::new(None), make: Arc::new(make), key_max }
    }

    /// The same with a map that is there already.
    #[must_use]
    pub fn with(self, map: K) -> InMemory<K> {
        InMemory { map: Mutex::new(Some(Arc::new(map))), ..self }
    }
}

impl<K: Kv> Home for InMemory<K> {
    fn open(&self, create: bool) -> Result<Option<Arc<dyn Kv>>> {
        let mut map = self.map.lock();
        if map.is_none() && create {
            *map = Some(Arc::new((self.make)()));
        }
        Ok(map.clone().map(|map| map as Arc<dyn Kv>))
    }

    fn shown(&self) -> String {
        "memory".to_owned()
    }

    fn key_max(&self) -> usize {
        self.key_max
    }

    fn snapshot(&self) -> Result<Box<dyn Home>> {
        let map = self.map.lock().as_ref().map(|map| map.snapshot()).transpose()?;
        let (make, key_max) = (Arc::clone(&self.make), self.key_max);
        Ok(Box::new(InMemory { map: Mutex::new(map.map(Arc::new)), make, key_max }))
    }

    fn close(&self) -> Result<()> {
        self.map.lock().as_ref().map_or(Ok(()), |map| map.close())
    }

    fn remove(&self) -> Result<bool> {
        Ok(self.map.lock().take().is_some())
    }
}
