//! Puts and deletes that were accepted and are not committed yet: an ordered map above what the environment holds.
//!
//! Two generations, since closes go on while a commit runs: `sealed` is being committed, `open` gathers. A key is
//! looked up in `open`, then in `sealed`, then in the environment. Nothing leaves before a transaction that holds
//! it is visible, so that a reader who looks here first and opens its transaction second never misses a value.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::store::api::When;
use crate::store::flat::{Found, Step};

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
    /// What the environment's own value must be when this is committed, where others may commit in between.
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

    fn get(&self, database: &[u8], key: &[u8]) -> Option<&Entry> {
        self.databases.get(database)?.get(key)
    }

    fn insert(&mut self, database: &[u8], key: &[u8], mut entry: Entry) {
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

/// The generations of one environment. Whoever shares it locks it; it locks nothing itself.
#[derive(Debug, Default)]
pub struct Pending {
    open: Generation,
    sealed: Option<Arc<Generation>>,
}

impl Pending {
    /// The newest accepted change of `key`.
    pub fn get(&self, database: &[u8], key: &[u8]) -> Option<&Entry> {
        self.open.get(database, key).or_else(|| self.sealed.as_ref()?.get(database, key))
    }

    /// Accepts a change into the open generation.
    pub fn insert(&mut self, database: &[u8], key: &[u8], entry: Entry) {
        self.open.insert(database, key, entry);
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed.is_none()
    }

    /// How many changes wait, and in how many bytes.
    pub fn len(&self) -> (usize, usize) {
        let sealed = self.sealed.as_deref();
        (
            self.open.len() + sealed.map_or(0, Generation::len),
            self.open.bytes() + sealed.map_or(0, Generation::bytes),
        )
    }

    /// Whether `entries` more changes with `bytes` of keys and values fit. Anything fits into an empty map.
    pub fn has_room(&self, entries: usize, bytes: usize) -> bool {
        let (waiting, taken) = self.len();
        self.is_empty()
            || (waiting + entries <= ENTRIES_MAX && taken + bytes + entries * OVERHEAD <= BYTES_MAX)
    }

    /// The generation that gathers.
    pub fn open(&self) -> &Generation {
        &self.open
    }

    /// The generation that is being committed.
    pub fn sealed(&self) -> Option<&Arc<Generation>> {
        self.sealed.as_ref()
    }

    /// Closes the open generation for its commit; `None` when it is empty or another is being committed.
    pub fn seal(&mut self) -> Option<Arc<Generation>> {
        if self.open.is_empty() || self.sealed.is_some() {
            return None;
        }
        let sealed = Arc::new(std::mem::take(&mut self.open));
        self.sealed = Some(Arc::clone(&sealed));
        Some(sealed)
    }

    /// Takes the open generation out.
    pub fn take_open(mut self) -> Generation {
        std::mem::take(&mut self.open)
    }

    /// Lets go of the sealed generation: it is committed, or its bytes are kept elsewhere.
    pub fn settle(&mut self) {
        self.sealed = None;
    }

    /// A copy of what waits in `database` from `from` on, in order: keys, and what a lookup knows of each. It
    /// copies no bytes, and at most [`ENTRIES_MAX`] references.
    pub fn from(&self, database: &[u8], from: &[u8]) -> Above {
        let mut above = BTreeMap::new();
        for generation in self.sealed.as_deref().into_iter().chain([&self.open]) {
            let Some(keys) = generation.databases.get(database) else { continue };
            let range = (std::ops::Bound::Included(from), std::ops::Bound::Unbounded);
            above.extend(keys.range::<[u8], _>(range).map(|(key, entry)| (Arc::clone(key), entry.found())));
        }
        Above(above)
    }
}

/// What waits above a scan: keys with their new values, or `None` for those that are gone.
#[derive(Debug, Default)]
pub struct Above(BTreeMap<Bytes, Option<Found>>);

impl Above {
    /// Whether nothing waits: the scan needs no merging.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands out what `below` scans with this above it: in order, each key once, the waiting change before the
    /// committed one, nothing for a key that is gone. `below` starts where this was taken from, gives keys in the
    /// order of their bytes, and follows the steps it is told; so does this (see [`Step::Seek`]).
    ///
    /// # Errors
    /// Those of `below`.
    pub fn merge(
        self,
        below: impl FnOnce(&mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>,
        each: &mut dyn FnMut(&[u8], Found) -> Step,
    ) -> Result<()> {
        let mut merge = Merge { above: self.0, skip: None, stopped: false, each };
        below(&mut |key, found| merge.committed(key, found))?;
        merge.rest();
        Ok(())
    }
}

struct Merge<'a> {
    above: BTreeMap<Bytes, Option<Found>>,
    /// Where the caller asked to go on last: keys before it are passed over.
    skip: Option<Vec<u8>>,
    stopped: bool,
    each: &'a mut dyn FnMut(&[u8], Found) -> Step,
}

impl Merge<'_> {
    /// Meets a committed key: first what waits before it, then the key itself, unless something waits for it.
    fn committed(&mut self, key: &[u8], found: Found) -> Step {
        while let Some(waiting) = self.above.first_entry()
            && Borrow::<[u8]>::borrow(waiting.key()) < key
        {
            let (waiting, found) = waiting.remove_entry();
            self.give(&waiting, found);
            if self.stopped {
                return Step::Stop;
            }
        }
        let found = self.above.remove(key).unwrap_or(Some(found));
        self.give(key, found);
        match &self.skip {
            _ if self.stopped => Step::Stop,
            Some(to) if key < to.as_slice() => Step::Seek(to.clone()),
            _ => Step::Next,
        }
    }

    /// What waits after the last committed key.
    fn rest(&mut self) {
        while !self.stopped
            && let Some((key, found)) = self.above.pop_first()
        {
            self.give(&key, found);
        }
    }

    fn give(&mut self, key: &[u8], found: Option<Found>) {
        let Some(found) = found else { return };
        if self.skip.as_ref().is_some_and(|to| key < to.as_slice()) {
            return;
        }
        match (self.each)(key, found) {
            Step::Next => {}
            Step::Seek(to) => self.skip = Some(to),
            Step::Stop => self.stopped = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(value: Option<&[u8]>) -> Entry {
        Entry { value: value.map(Arc::from), base: When::Always, modified: SystemTime::UNIX_EPOCH }
    }

    /// A scan of a committed map that honours steps by the words of [`Step`], one by one.
    fn scan(
        committed: &BTreeMap<Vec<u8>, u64>,
        from: &[u8],
        each: &mut dyn FnMut(&[u8], Found) -> Step,
    ) -> Result<()> {
        let mut skip: Option<Vec<u8>> = None;
        for (key, size) in committed.range(from.to_vec()..) {
            if skip.as_ref().is_some_and(|to| key < to) {
                continue;
            }
            match each(key, Found { size: *size, modified: SystemTime::UNIX_EPOCH }) {
                Step::Next => {}
                Step::Seek(to) => skip = Some(to),
                Step::Stop => break,
            }
        }
        Ok(())
    }

    type Scan<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab/"[..]), 1..5)
    }

    proptest! {
        /// Pending over committed is the same as one map to which everything was committed, for every scan.
        #[test]
        fn a_merged_scan_is_the_scan_of_the_whole(
            committed in prop::collection::btree_map(key(), 0u64..9, 0..12),
            sealed in prop::collection::vec((key(), prop::option::of(0usize..9)), 0..8),
            open in prop::collection::vec((key(), prop::option::of(0usize..9)), 0..8),
            from in key(),
            stop_after in 0usize..20,
            seek_at_slash: bool,
        ) {
            let mut pending = Pending::default();
            let mut whole = committed.clone();
            for (half, changes) in [&sealed, &open].into_iter().enumerate() {
                for (key, size) in changes {
                    let bytes = size.map(|size| vec![0; size]);
                    pending.insert(b"", key, entry(bytes.as_deref()));
                    match size {
                        Some(size) => whole.insert(key.clone(), *size as u64),
                        None => whole.remove(key),
                    };
                }
                if half == 0 {
                    pending.seal();
                }
            }
            let walk = |scan: Scan<'_>| {
                let mut seen = Vec::new();
                scan(&mut |key, found| {
                    seen.push((key.to_vec(), found.size));
                    match key.iter().position(|b| *b == b'/') {
                        _ if seen.len() > stop_after => Step::Stop,
                        Some(slash) if seek_at_slash => Step::Seek([&key[..slash], b"0"].concat()),
                        _ => Step::Next,
                    }
                }).unwrap();
                seen
            };
            let expected = walk(&mut |each| scan(&whole, &from, each));
            let merged = walk(&mut |each| {
                pending.from(b"", &from).merge(|below| scan(&committed, &from, below), each)
            });
            prop_assert_eq!(merged, expected);
        }
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
        assert_eq!(sealed.iter().count(), 1);
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
