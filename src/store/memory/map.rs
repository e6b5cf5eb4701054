//! The ordered map itself, and edits of it: carried out one by one, undone together.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use super::KEY_MAX;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Version, When};
use crate::store::flat::{Edit, Found, Keys};

/// What a key costs beside its own bytes and its value's, about: two allocations and a place in the map.
const ENTRY_COST: u64 = 96;

#[derive(Clone)]
pub(super) struct Map {
    pub values: BTreeMap<Box<[u8]>, Stored>,
    /// What the keys and values cost, in bytes.
    pub used: u64,
    /// When it was made: nobody but its mount changes it, and a mount knows the times of its own directories.
    pub made: SystemTime,
}

#[derive(Clone)]
pub(super) struct Stored {
    pub bytes: Arc<[u8]>,
    pub modified: SystemTime,
}

impl Stored {
    pub fn found(&self) -> Found {
        Found { size: self.bytes.len() as u64, modified: self.modified }
    }
}

/// Edits under the write lock, and what there was before them.
pub(super) struct Transaction<'a> {
    map: &'a mut Map,
    /// Each step: the key, and its value before. A step takes a value away or adds one, never both.
    before: Vec<(Box<[u8]>, Option<Stored>)>,
    now: SystemTime,
    limit: u64,
}

impl<'a> Transaction<'a> {
    /// Edits of `map` at the moment `now`, which may bring its cost up to `limit` bytes.
    pub fn begin(map: &'a mut Map, now: SystemTime, limit: u64) -> Transaction<'a> {
        Transaction { map, before: Vec::new(), now, limit }
    }

    /// Keeps what was done.
    pub fn commit(self) {}

    /// One edit; `body` is what a [`Edit::Put`] puts.
    pub fn carry_out(&mut self, edit: &Edit<'_>, body: Arc<[u8]>) -> Result<()> {
        match edit {
            Edit::Put { key, when, .. } => {
                self.check(key, when)?;
                self.insert(key, Stored { bytes: body, modified: self.now })
            }
            Edit::Delete { key, when } => {
                self.check(key, when)?;
                self.remove(key);
                Ok(())
            }
            Edit::Move { from, to, below, replace } => self.rename(from, to, below.as_ref(), *replace),
            Edit::Expect { none, otherwise } => {
                if self.map.any(none) {
                    let sentence = format!("there are keys at \"{}\"", none.bytes().escape_ascii());
                    return Err(Error::new(*otherwise, sentence));
                }
                Ok(())
            }
        }
    }

    fn check(&self, key: &[u8], when: &When) -> Result<()> {
        let stored = self.map.values.get(key);
        match when {
            When::Absent if stored.is_some() => Err(exists(key)),
            When::Current(version)
                if stored.is_none_or(|stored| Version::of_content(&stored.bytes) != *version) =>
            {
                Err(Error::new(
                    ErrorKind::Stale,
                    format!("\"{}\" has changed in the meantime", key.escape_ascii()),
                ))
            }
            _ => Ok(()),
        }
    }

    fn rename(
        &mut self,
        from: &[u8],
        to: &[u8],
        below: Option<&(Vec<u8>, Vec<u8>)>,
        replace: bool,
    ) -> Result<()> {
        if !replace && self.map.values.contains_key(to) {
            return Err(exists(to));
        }
        let mut moves = Vec::new();
        if self.map.values.contains_key(from) {
            moves.push((from.to_vec(), to.to_vec()));
        }
        if let Some((old, new)) = below {
            let inside = self.map.starting_with(old);
            moves.extend(inside.map(|(key, _)| (key.to_vec(), [&**new, &key[old.len()..]].concat())));
        }
        if moves.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no \"{}\" to rename", from.escape_ascii()),
            ));
        }
        for (from, to) in moves {
            if to.len() > KEY_MAX as usize {
                return Err(Error::new(
                    ErrorKind::NameTooLong,
                    format!("renamed, a key would have {} bytes: at most {KEY_MAX} are possible", to.len()),
                ));
            }
            if let Some(stored) = self.remove(&from) {
                self.insert(&to, stored)?;
            }
        }
        Ok(())
    }

    /// Puts a value, whatever was there.
    pub fn insert(&mut self, key: &[u8], stored: Stored) -> Result<()> {
        let old = self.remove(key);
        let used = self.map.used + cost(key, &stored);
        // What does not grow is allowed in a map that is over its limit, too.
        if used > self.limit && old.is_none_or(|old| old.bytes.len() < stored.bytes.len()) {
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!("the memory store is full: it holds {} bytes of at most {}", used, self.limit),
            ));
        }
        self.map.used = used;
        self.before.push((key.into(), None));
        self.map.values.insert(key.into(), stored);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Option<Stored> {
        let (key, stored) = self.map.values.remove_entry(key)?;
        self.map.used -= cost(&key, &stored);
        self.before.push((key, Some(stored.clone())));
        Some(stored)
    }

    /// Undoes what was done.
    pub fn roll_back(self) {
        for (key, stored) in self.before.into_iter().rev() {
            let replaced = match stored {
                Some(stored) => {
                    self.map.used += cost(&key, &stored);
                    self.map.values.insert(key, stored)
                }
                None => {
                    let removed = self.map.values.remove(&key);
                    self.map.used -= removed.as_ref().map_or(0, |stored| cost(&key, stored));
                    None
                }
            };
            debug_assert!(replaced.is_none(), "each step of the log is undone once");
        }
    }
}

impl Map {
    pub fn new(now: SystemTime) -> Map {
        Map { values: BTreeMap::new(), used: 0, made: now }
    }

    fn starting_with(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], &Stored)> {
        self.values
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(key, stored)| (&**key, stored))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn any(&self, keys: &Keys) -> bool {
        match keys {
            Keys::At(key) => self.values.contains_key(&**key),
            Keys::Prefix(prefix) => self.starting_with(prefix).next().is_some(),
            Keys::Inside(prefix) => self
                .starting_with(prefix)
                .any(|(key, stored)| key.len() > prefix.len() || !stored.bytes.is_empty()),
        }
    }
}

fn cost(key: &[u8], stored: &Stored) -> u64 {
    (key.len() + stored.bytes.len()) as u64 + ENTRY_COST
}

fn exists(key: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, format!("\"{}\" is there already", key.escape_ascii()))
}
