//! A store as one behind a network is: it tells versions along with what it lists, opens what it told without asking,
//! and what it is asked is counted. What tests of the layers above such stores stand on.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Cursor, Entry, Stat, Store, Tag, Value, Version};

/// How often a store was asked.
#[derive(Debug, Default)]
pub struct Asked {
    /// [`Store::stat`].
    pub stat: AtomicU64,
    /// Calls of [`Store::list`] and [`Store::list_with_attributes`].
    pub list: AtomicU64,
    /// [`Store::open`].
    pub open: AtomicU64,
    /// [`Value::read`], each with its range.
    pub reads: Mutex<Vec<(u64, u64)>>,
}

impl Asked {
    /// Questions in all.
    pub fn all(&self) -> u64 {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        count(&self.stat) + count(&self.list) + count(&self.open) + self.reads.lock().len() as u64
    }

    /// Bytes that were asked for.
    pub fn bytes(&self) -> u64 {
        self.reads.lock().iter().map(|(_, size)| size).sum()
    }
}

/// A store whose questions are counted.
pub struct Remote {
    store: Arc<dyn Store>,
    asked: Arc<Asked>,
}

impl Remote {
    /// `store`, which was asked nothing so far.
    pub fn new(store: Arc<dyn Store>) -> Remote {
        Remote { store, asked: Arc::default() }
    }

    /// What it was asked.
    pub fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }

    fn version(&self, key: &Key) -> Result<Option<Tag>> {
        let value = self.store.open(key)?;
        Ok(value.map(|value| value.version()).transpose()?.and_then(|version| Tag::of(&version.0)))
    }

    /// The versions of what a listing will tell: found out before it, since nothing is asked from inside it.
    fn versions(&self, dir: &Key, from: &Cursor) -> Result<HashMap<Key, Option<Tag>>> {
        self.asked.list.fetch_add(1, Ordering::Relaxed);
        let mut keys = Vec::new();
        self.store.list(dir, &mut from.clone(), &mut |entry| {
            keys.push(dir.child(entry.segment));
            ControlFlow::Continue(())
        })?;
        keys.into_iter().map(|key| Ok((key.clone(), self.version(&key)?))).collect()
    }
}

/// An entry with its version.
fn versioned<'e>(dir: &Key, entry: Entry<'e>, versions: &HashMap<Key, Option<Tag>>) -> Entry<'e> {
    let version = versions.get(&dir.child(entry.segment)).copied().flatten();
    Entry { stat: Stat { version, ..entry.stat }, ..entry }
}

/// A value whose reads are counted.
struct Counted {
    value: Box<dyn Value>,
    asked: Arc<Asked>,
}

impl Value for Counted {
    fn len(&self) -> u64 {
        self.value.len()
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let size_there = self.len().saturating_sub(offset).min(size);
        self.asked.reads.lock().push((offset, size_there));
        self.value.read(offset, size, sink)
    }

    fn version(&self) -> Result<Version> {
        self.value.version()
    }

    fn is_continued(&self) -> bool {
        self.value.is_continued()
    }

    fn is_copied(&self) -> bool {
        self.value.is_copied()
    }
}

/// A value that was told, and is looked for when it is first read.
struct Told {
    store: Arc<dyn Store>,
    key: Key,
    size: u64,
    version: Tag,
    found: OnceLock<Counted>,
    asked: Arc<Asked>,
}

impl Value for Told {
    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        if let Some(found) = self.found.get() {
            return found.read(offset, size, sink);
        }
        let value = self.store.open(&self.key)?.ok_or(ErrorKind::Stale)?;
        if !self.version.is(&value.version()?) {
            self.asked.reads.lock().push((offset, 0));
            return Err(ErrorKind::Stale.into());
        }
        let found = Counted { value, asked: Arc::clone(&self.asked) };
        self.found.get_or_init(|| found).read(offset, size, sink)
    }

    fn version(&self) -> Result<Version> {
        Ok(Version(self.version.as_bytes().into()))
    }
}

impl Store for Remote {
    passes_on!(
        caps,
        keeps_attributes,
        list_prefix,
        xattrs,
        good_for,
        apply,
        sync,
        sync_key,
        check_file,
        check_key,
        value_max,
        raw_key,
        version_of,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        lost_at_end,
        known,
        usage,
        compact,
        facts,
        close,
        seen_absent,
        written_so_far
    );

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        self.asked.stat.fetch_add(1, Ordering::Relaxed);
        let Some(stat) = self.store.stat(key)? else { return Ok(None) };
        Ok(Some(Stat { version: self.version(key)?, ..stat }))
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let versions = self.versions(dir, from)?;
        self.store.list(dir, from, &mut |entry| each(versioned(dir, entry, &versions)))
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let versions = self.versions(dir, from)?;
        self.store.list_with_attributes(dir, from, &mut |entry| each(versioned(dir, entry, &versions)))
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        self.asked.open.fetch_add(1, Ordering::Relaxed);
        let value = self.store.open(key)?;
        Ok(value.map(|value| Box::new(Counted { value, asked: Arc::clone(&self.asked) }) as Box<dyn Value>))
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        let Some(version) = stat.version else { return self.open(key) };
        let (store, asked) = (Arc::clone(&self.store), Arc::clone(&self.asked));
        Ok(Some(Box::new(Told {
            store,
            key: key.clone(),
            size: stat.size,
            version,
            found: OnceLock::new(),
            asked,
        })))
    }
}
