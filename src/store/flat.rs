//! Flat stores: an ordered map of byte strings, shown as a tree by splitting keys at a separator.
//!
//! [`Kv`] is what LMDB, RocksDB, SQLite, redb, etcd or TiKV offer; [`Flat`] makes a [`Store`] of it, once for all:
//!
//! | in the tree | in the map, with the separator `/` |
//! |---|---|
//! | the value of `Key["a", "b"]` | the key `a/b` |
//! | the value of `Key["a", ""]`, which is also the marker of the directory `a` (§2.2) | the key `a/` |
//! | the value of `Key[""]` | the key of no bytes |
//! | the root | nothing: it has no value |

mod kv;
mod listing;
mod separator;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

pub(in crate::store) use kv::walk;
pub use kv::{Edit, Found, Keys, Kv, Step, TellKey};
pub(in crate::store) use listing::{Directory, list};
pub use separator::Separator;
pub(in crate::store) use separator::after_all_with;

use super::api::{
    Caps, Change, Cursor, Entry, Event, Kind, Stat, Store, Tell, Usage, Value, Version, Watch, When,
    keeps_no_attributes,
};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Word};
use crate::payload::Payload;

/// A [`Store`] over an ordered map. The segments' words (§1.6) do not exist in it.
pub struct Flat<K> {
    kv: K,
    caps: Caps,
    separator: Separator,
}

impl<K: Kv> Flat<K> {
    /// Shows `kv` as a tree; `caps.branches` holds only where there is a separator.
    pub fn new(kv: K, caps: Caps, separator: Option<Vec<u8>>) -> Flat<K> {
        let separator = Separator::new(separator);
        let branches = caps.branches && separator.is_some();
        Flat { kv, caps: Caps { branches, ..caps }, separator }
    }

    /// The map itself.
    pub fn kv(&self) -> &K {
        &self.kv
    }

    /// What splits its keys.
    pub fn separator(&self) -> &Separator {
        &self.separator
    }

    /// The flat key of `key` where it can exist.
    fn existing(&self, key: &Key) -> Option<Vec<u8>> {
        self.separator.join(key).filter(|flat| flat.len() <= self.caps.key_max as usize)
    }

    /// What all below `key` starts with, where something can be there.
    fn existing_below(&self, key: &Key) -> Option<Vec<u8>> {
        self.separator.below(key).filter(|flat| flat.len() <= self.caps.key_max as usize)
    }

    /// The flat key under which `key` will be made.
    fn fitting(&self, key: &Key) -> Result<Vec<u8>> {
        let flat = self.separator.join(key).ok_or_else(|| self.impossible(key))?;
        self.check_flat(&flat)?;
        Ok(flat)
    }

    fn check_flat(&self, flat: &[u8]) -> Result<()> {
        if flat.len() > self.caps.key_max as usize {
            return Err(Error::new(
                ErrorKind::NameTooLong,
                format!(
                    "a key of {} bytes: {} holds at most {}",
                    flat.len(),
                    self.caps.kind,
                    self.caps.key_max
                ),
            ));
        }
        self.kv.check_key(flat)
    }

    fn impossible(&self, key: &Key) -> Error {
        let why = if key.is_root() {
            "the root has no value"
        } else if key.segments().any(|segment| segment.word != Word::None) {
            "this store has no types"
        } else if self.separator.is_some() {
            "no key is split at the separator into these names"
        } else {
            "this mount has no separator, so nothing can lie below a key"
        };
        Error::new(ErrorKind::Invalid, format!("{key:?}: {why}"))
    }

    /// The edits that carry out `change`.
    fn translate<'a>(&self, change: &Change<'a>, edits: &mut Vec<Edit<'a>>) -> Result<()> {
        match change {
            Change::Put { key, body, when } => {
                self.check_value(key, body)?;
                edits.push(Edit::Put { key: self.fitting(key)?, body: Some(body), when: when.clone() });
            }
            Change::Delete { key, when } => match (self.existing(key), when) {
                (Some(key), when) => edits.push(Edit::Delete { key, when: when.clone() }),
                (None, When::Always | When::Absent) => {}
                (None, When::Current(_)) => return Err(ErrorKind::Stale.into()),
            },
            Change::Rename { from, to, tree: false, replace } => {
                edits.push(self.move_value(from, to, *replace)?);
            }
            Change::Rename { from, to, tree: true, replace } => self.move_tree(from, to, *replace, edits)?,
            Change::Branch { key } => self.make_marker(key, edits)?,
            Change::RemoveBranch { key } => self.remove_marker(key, edits)?,
            Change::Make { .. } | Change::Set { .. } => return Err(keeps_no_attributes()),
        }
        Ok(())
    }

    fn check_value(&self, key: &Key, body: &Payload) -> Result<()> {
        if body.len() <= self.caps.value_max {
            return Ok(());
        }
        let (length, kind, limit) = (body.len(), self.caps.kind, self.caps.value_max);
        let sentence = format!("{key:?} would have {length} bytes: a value of {kind} has at most {limit}");
        Err(Error::new(ErrorKind::TooBig, sentence))
    }

    fn move_value(&self, from: &Key, to: &Key, replace: bool) -> Result<Edit<'static>> {
        if from == to {
            return Err(Error::new(ErrorKind::Invalid, format!("{from:?} cannot be renamed to itself")));
        }
        let to = self.fitting(to)?;
        let from = self.existing(from).ok_or_else(|| missing(from))?;
        Ok(Edit::Move { from, to, below: None, replace })
    }

    fn move_tree(&self, from: &Key, to: &Key, replace: bool, edits: &mut Vec<Edit<'_>>) -> Result<()> {
        if to.starts_with(from) {
            let sentence = format!("{from:?} cannot be renamed into itself, to {to:?}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let mut value = self.move_value(from, to, replace)?;
        let target = self.separator.below(to);
        if let Some(target) = &target {
            edits.push(if replace {
                Edit::Expect { none: Keys::Inside(target.clone()), otherwise: ErrorKind::NotEmpty }
            } else {
                Edit::Expect { none: Keys::Prefix(target.clone()), otherwise: ErrorKind::Exists }
            });
        }
        if let (Edit::Move { below, .. }, Some(source)) = (&mut value, self.existing_below(from)) {
            match target {
                // All below `from` is inside `to` then, where the expectation allows nothing.
                Some(_) if from.starts_with(to) => {}
                Some(target) => *below = Some((source, target)),
                None => {
                    let none = Keys::Prefix(source);
                    edits.push(Edit::Expect { none, otherwise: ErrorKind::Invalid });
                }
            }
        }
        edits.push(value);
        Ok(())
    }

    fn make_marker(&self, key: &Key, edits: &mut Vec<Edit<'_>>) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Exists, "the root is there already"));
        }
        if !self.caps.branches {
            return Err(Error::new(ErrorKind::Unsupported, "directories cannot be made in this store"));
        }
        let value = self.fitting(key)?;
        let marker = self.separator.below(key).ok_or_else(|| self.impossible(key))?;
        self.check_flat(&marker)?;
        edits.push(Edit::Expect { none: Keys::At(value), otherwise: ErrorKind::Exists });
        edits.push(Edit::Expect { none: Keys::Prefix(marker.clone()), otherwise: ErrorKind::Exists });
        edits.push(Edit::Put { key: marker, body: None, when: When::Always });
        Ok(())
    }

    fn remove_marker(&self, key: &Key, edits: &mut Vec<Edit<'_>>) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "the root cannot be removed"));
        }
        if let Some(value) = self.existing(key) {
            edits.push(Edit::Expect { none: Keys::At(value), otherwise: ErrorKind::NotEmpty });
        }
        if let Some(marker) = self.existing_below(key) {
            let none = Keys::Inside(marker.clone());
            edits.push(Edit::Expect { none, otherwise: ErrorKind::NotEmpty });
            edits.push(Edit::Delete { key: marker, when: When::Always });
        }
        Ok(())
    }
}

fn missing(key: &Key) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {key:?}"))
}

impl<K: Kv> Store for Flat<K> {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if key.is_root() {
            return Ok(Some(Stat::plain(Kind::Branch, 0, self.kv.changed())));
        }
        let Some(flat) = self.existing(key) else { return Ok(None) };
        let found = self.kv.get(&flat)?;
        let below = match self.existing_below(key) {
            Some(prefix) => self.kv.any_below(&prefix)?,
            None => false,
        };
        Ok(match (found, below) {
            (Some(Found { size, modified }), false) => Some(Stat::plain(Kind::Leaf, size, modified)),
            (Some(Found { size, modified }), true) => Some(Stat::plain(Kind::Both, size, modified)),
            (None, true) => Some(Stat::plain(Kind::Branch, 0, self.kv.changed())),
            (None, false) => None,
        })
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(prefix) = self.existing_below(dir) else {
            from.done = true;
            return Ok(());
        };
        let key_max = self.caps.key_max as usize;
        let directory = Directory { kv: &self.kv, separator: &self.separator, prefix, key_max };
        list(&directory, from, each)
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let position = self.existing_below(dir).map(|below| [&*below, prefix].concat());
        let Some(position) = position.filter(|flat| flat.len() <= self.caps.key_max as usize) else {
            return Ok(());
        };
        // Flat keys that start alike are neighbours, and so are the names.
        self.list(dir, &mut Cursor { position, ..Cursor::default() }, &mut |entry| {
            if entry.segment.bytes.starts_with(prefix) { each(entry) } else { ControlFlow::Break(()) }
        })
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.existing(key) {
            Some(flat) => self.kv.open(&flat),
            None => Ok(None),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this store is mounted read-only"));
        }
        let mut edits = Vec::with_capacity(changes.len());
        for change in changes.iter() {
            self.translate(change, &mut edits)?;
        }
        if edits.is_empty() { Ok(()) } else { self.kv.write(&mut edits) }
    }

    fn sync(&self) -> Result<()> {
        self.kv.sync()
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        self.existing(key).map_or_else(|| self.kv.sync(), |flat| self.kv.sync_key(&flat))
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        self.fitting(key).map(drop)
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        let flat = if directory { self.separator.below(key) } else { self.separator.join(key) };
        flat.unwrap_or_default()
    }

    fn version_of(&self, _key: &Key, body: &Payload) -> Result<Option<Version>> {
        Version::of_payload(body).map(Some)
    }

    fn foreign_changes(&self) -> Option<u64> {
        self.kv.foreign_changes()
    }

    fn watch(&self, tell: Tell) -> Result<Watch> {
        let separator = self.separator.clone();
        self.kv.watch(Arc::new(move |flat| {
            tell(flat.map_or(Event::Everything, |flat| Event::Key(separator.split(flat))));
        }))
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Store>> {
        let caps = Caps { write: false, immutable: true, branches: false, watch: false, ..self.caps.clone() };
        let kv = self.kv.snapshot()?;
        Ok(Arc::new(Flat { kv, caps, separator: self.separator.clone() }))
    }

    fn usage(&self) -> Usage {
        self.kv.usage()
    }

    fn compact(&self) -> Result<(u64, u64)> {
        self.kv.compact()
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        self.kv.facts()
    }

    fn close(&self) -> Result<()> {
        self.kv.close()
    }
}
