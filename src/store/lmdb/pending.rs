//! Puts and deletes that were accepted and are not committed yet: an ordered map above what the environment holds.
//!
//! Two generations, since closes go on while a commit runs: `sealed` is being committed, `open` gathers. A key is
//! looked up in `open`, then in `sealed`, then in the environment. Nothing leaves before a transaction that holds
//! it is visible, so that a reader who looks here first and opens its transaction second never misses a value.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;

use super::above::Above;
use crate::store::api::When;
use crate::store::flat::Found;

/// Accepted bytes of both generations stay below this.
pub const BYTES_MAX: usize = 16 << 20;
/// Accepted keys of both generations stay below this.
pub const ENTRIES_MAX: usize = 8192;
/// What an entry costs besides its key and its bytes, about: nodes and reference counts.
const OVERHEAD: usize = 128;

/// Bytes shared by the map, the commit and the values that are open.
pub type Bytes = Arc<[u8]>;

/// What an accepted change makes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The new bytes; `None`: the key is gone.
    pub value: Option<Bytes>,
    /// What the environment's own value must be when this is committed.
    pub base: When,
    /// When it was accepted.
    pub modified: SystemTime,
}

impl Entry {
    /// What a lookup knows of the value; `None` where the key is gone.
    pub fn found(&self) -> Option<Found> {
        self.value.as_ref().map(|bytes| Found { size: bytes.len() as u64, modified: self.modified })
    }
}

/// Changes that are committed together: by database (the main one has the empty name), then by key.
#[derive(Debug, Default)]
pub struct Generation {
    databases: BTreeMap<Bytes, BTreeMap<Bytes, Entry>>,
    entries: usize,
    bytes: usize,
}

impl Generation {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// How much memory it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The changes, by database and key, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes, &Entry)> {
        self.databases.iter().flat_map(|(database, keys)| keys.iter().map(move |(key, e)| (database, key, e)))
    }

    /// The databases that are changed.
    pub fn databases(&self) -> impl Iterator<Item = &Bytes> {
        self.databases.keys()
    }

    /// The change of `key`.
    pub fn get(&self, database: &[u8], key: &[u8]) -> Option<&Entry> {
        self.databases.get(database)?.get(key)
    }

    /// The changes of `database` within `range`, in order.
    pub fn range(
        &self,
        database: &[u8],
        range: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = (&Bytes, &Entry)> {
        self.databases.get(database).into_iter().flat_map(move |keys| keys.range::<[u8], _>(range))
    }

    /// Adds a change, or replaces that of the same key.
    pub fn insert(&mut self, database: &[u8], key: &[u8], mut entry: Entry) {
        if !self.databases.contains_key(database) {
            self.databases.insert(database.into(), BTreeMap::new());
        }
        let Some(keys) = self.databases.get_mut(database) else { return };
        let weight = |entry: &Entry| entry.value.as_ref().map_or(0, |bytes| bytes.len());
        self.bytes += weight(&entry);
        match keys.get_mut(key) {
            // What the first change found in the environment is what the last one replaces.
            Some(old) => {
                self.bytes -= weight(old);
                entry.base = std::mem::replace(&mut old.base, When::Always);
                *old = entry;
            }
            None => {
                self.entries += 1;
                self.bytes += key.len() + OVERHEAD;
                keys.insert(key.into(), entry);
            }
        }
    }
}

/// A generation that scans may hold on to while it fills or is committed. Its lock is held for moments, but by the
/// commit, which only reads what nobody changes any more.
pub type SharedGeneration = Arc<RwLock<Generation>>;

/// The generations of one environment. Whoever shares it locks it.
#[derive(Debug, Default)]
pub struct Pending {
    open: SharedGeneration,
    sealed: Option<SharedGeneration>,
}

impl Pending {
    /// The newest accepted change of `key`.
    pub fn get(&self, database: &[u8], key: &[u8]) -> Option<Entry> {
        let open = self.open.read();
        if let Some(entry) = open.get(database, key) {
            return Some(entry.clone());
        }
        drop(open);
        self.sealed.as_ref()?.read().get(database, key).cloned()
    }

    /// Accepts a change into the open generation.
    pub fn insert(&mut self, database: &[u8], key: &[u8], entry: Entry) {
        self.open.write().insert(database, key, entry);
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.sealed.is_none() && self.open.read().is_empty()
    }

    /// How many changes wait, and in how many bytes.
    pub fn len(&self) -> (usize, usize) {
        let open = self.open.read();
        let sealed = self.sealed.as_ref().map(|sealed| sealed.read());
        (
            open.len() + sealed.as_ref().map_or(0, |sealed| sealed.len()),
            open.bytes() + sealed.as_ref().map_or(0, |sealed| sealed.bytes()),
        )
    }

    /// Whether `entries` more changes with `bytes` of keys and values fit. Anything fits into an empty map.
    pub fn has_room(&self, entries: usize, bytes: usize) -> bool {
        let (waiting, taken) = self.len();
        waiting == 0 || (waiting + entries <= ENTRIES_MAX && taken + bytes + entries * OVERHEAD <= BYTES_MAX)
    }

    /// How many bytes the generation has that gathers.
    pub fn open_bytes(&self) -> usize {
        self.open.read().bytes()
    }

    /// The generation that is being committed.
    pub fn sealed(&self) -> Option<&SharedGeneration> {
        self.sealed.as_ref()
    }

    /// Closes the open generation for its commit; `None` when it is empty or another is being committed.
    pub fn seal(&mut self) -> Option<SharedGeneration> {
        if self.open.read().is_empty() || self.sealed.is_some() {
            return None;
        }
        let sealed = std::mem::take(&mut self.open);
        self.sealed = Some(Arc::clone(&sealed));
        Some(sealed)
    }

    /// Lets go of the sealed generation: it is committed, or its bytes are kept elsewhere.
    pub fn settle(&mut self) {
        self.sealed = None;
    }

    /// What waits in `database` from `from` on, for a scan that begins its transaction afterwards.
    pub fn above(&self, database: &[u8], from: &[u8]) -> Above {
        let generations = [Some(&self.open), self.sealed.as_ref()];
        Above::new(generations.into_iter().flatten().cloned().collect(), database, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: Option<&[u8]>) -> Entry {
        Entry { value: value.map(Arc::from), base: When::Always, modified: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_change_stays_in_sight_until_its_generation_is_settled() {
        let mut pending = Pending::default();
        pending.insert(b"", b"k", entry(Some(b"one")));
        let sealed = pending.seal().unwrap();
        assert!(pending.seal().is_none(), "one commit at a time");
        pending.insert(b"", b"k", entry(None));
        pending.insert(b"other", b"k", entry(Some(b"two")));
        assert_eq!(pending.get(b"", b"k").unwrap().value, None);
        assert_eq!(sealed.read().iter().count(), 1);
        pending.settle();
        assert_eq!(pending.get(b"", b"k").unwrap().value, None);
        assert_eq!(pending.get(b"other", b"k").unwrap().value.as_deref(), Some(&b"two"[..]));
        pending.seal();
        pending.settle();
        assert!(pending.is_empty() && pending.get(b"", b"k").is_none());
    }

    #[test]
    fn a_key_changed_twice_keeps_the_condition_of_the_first_change_and_one_account() {
        let mut pending = Pending::default();
        pending.insert(b"", b"k", Entry { base: When::Absent, ..entry(Some(&[0; 1000])) });
        pending.insert(b"", b"k", entry(Some(b"new")));
        let kept = pending.get(b"", b"k").unwrap();
        assert_eq!((kept.base.clone(), kept.value.as_deref()), (When::Absent, Some(&b"new"[..])));
        assert_eq!(pending.len(), (1, 1 + OVERHEAD + 3));
    }

    #[test]
    fn there_is_a_bound_on_bytes_and_on_keys() {
        let mut pending = Pending::default();
        assert!(pending.has_room(1, 2 * BYTES_MAX), "a large one goes alone");
        pending.insert(b"", b"k", entry(Some(&vec![0; BYTES_MAX / 2])));
        assert!(pending.has_room(1, BYTES_MAX / 4));
        assert!(!pending.has_room(1, BYTES_MAX / 2));
        assert!(!pending.has_room(ENTRIES_MAX, 0));
    }
}
