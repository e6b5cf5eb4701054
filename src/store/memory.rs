//! `memory`: an ordered map in the daemon's memory. It lasts as long as its daemon; `--load` and `--save` carry it
//! from and to a file.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;

use super::api::{Atomic, Caps, Pace, Rename, SharedBytes, Store, Usage, Value, Version, Watch, When};
use super::driver::{Driver, Location, Opening};
use super::flat::{Edit, Flat, Found, Keys, Kv, Step, TellKey};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;

/// The longest value: what the address space and one allocation carry without doubt, in bytes.
const VALUE_MAX: u64 = 4 << 30;
/// The longest key, in bytes: paths beyond PATH_MAX have room in it.
const KEY_MAX: u32 = 16 << 10;
/// What a key costs beside its own bytes and its value's, about: two allocations and a place in the map.
const ENTRY_COST: u64 = 96;

/// `memory` for the list of stores.
pub static DRIVER: Driver = Driver {
    kind: "memory",
    about: "keys in the daemon's memory, gone with it (--load and --save carry them from and to a file)",
    location: Location::None,
    caps,
    separator: "/",
    recognise: |_| false,
    open,
};

fn caps() -> Caps {
    Caps {
        kind: "memory",
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        // Nobody else can change it, so there is never anything to tell.
        watch: true,
        snapshot: true,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Memory,
        value_max: VALUE_MAX,
        key_max: KEY_MAX,
    }
}

fn open(opening: &Opening) -> Result<Arc<dyn Store>> {
    let memory = Memory::new();
    let caps = Caps { write: !opening.read_only, ..caps() };
    Ok(Arc::new(Flat::new(memory, caps, opening.separator.clone())))
}

/// An ordered map in memory, empty at first.
pub struct Memory {
    /// The map is copied only when something is written while a snapshot shares it.
    map: RwLock<Arc<Map>>,
    /// What all of it may cost, in bytes: half of the machine's memory, as for tmpfs.
    limit: u64,
}

#[derive(Clone)]
struct Map {
    values: BTreeMap<Box<[u8]>, Stored>,
    /// What the keys and values cost, in bytes.
    used: u64,
    changed: SystemTime,
}

#[derive(Clone)]
struct Stored {
    bytes: Arc<[u8]>,
    modified: SystemTime,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// An empty map that may fill half of the machine's memory.
    pub fn new() -> Memory {
        let half = nix::sys::sysinfo::sysinfo().map_or(1 << 30, |machine| machine.ram_total() / 2);
        Memory::with_limit(half)
    }

    /// An empty map that may cost `limit` bytes.
    pub fn with_limit(limit: u64) -> Memory {
        let map = Map { values: BTreeMap::new(), used: 0, changed: env::now() };
        Memory { map: RwLock::new(Arc::new(map)), limit }
    }
}

impl Kv for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        Ok(self.map.read().values.get(key).map(Stored::found))
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        let bytes = self.map.read().values.get(key).map(|stored| SharedBytes(Arc::clone(&stored.bytes)));
        Ok(bytes.map(|bytes| Box::new(bytes) as Box<dyn Value>))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        let map = self.map.read();
        let mut rest = map.values.range::<[u8], _>((Bound::Included(from), Bound::Unbounded));
        while let Some((key, stored)) = rest.next() {
            match each(key, stored.found()) {
                Step::Next => {}
                Step::Seek(to) => {
                    rest = map.values.range::<[u8], _>((Bound::Included(&*to), Bound::Unbounded));
                }
                Step::Stop => break,
            }
        }
        Ok(())
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        // The bodies are read before the lock is taken, since they may lie in files.
        let mut bodies = Vec::with_capacity(edits.len());
        for edit in edits.iter() {
            bodies.push(match edit {
                Edit::Put { body: Some(body), .. } => in_memory(body)?,
                _ => Arc::default(),
            });
        }
        let mut map = self.map.write();
        let mut transaction = Transaction {
            map: Arc::make_mut(&mut map),
            before: Vec::new(),
            now: env::now(),
            limit: self.limit,
        };
        for (edit, body) in edits.iter().zip(bodies) {
            if let Err(error) = transaction.carry_out(edit, body) {
                transaction.roll_back();
                return Err(error);
            }
        }
        transaction.map.changed = transaction.now;
        Ok(())
    }

    fn changed(&self) -> SystemTime {
        self.map.read().changed
    }

    fn watch(&self, tell: TellKey) -> Result<Watch> {
        drop(tell);
        Ok(Watch(Box::new(())))
    }

    fn snapshot(&self) -> Result<Memory> {
        Ok(Memory { map: RwLock::new(Arc::clone(&self.map.read())), limit: self.limit })
    }

    fn usage(&self) -> Usage {
        let map = self.map.read();
        Usage {
            total: Some(self.limit),
            free: Some(self.limit.saturating_sub(map.used)),
            keys: Some(map.values.len() as u64),
        }
    }
}

impl Stored {
    fn found(&self) -> Found {
        Found { size: self.bytes.len() as u64, modified: self.modified }
    }
}

/// The payload's bytes, copied once.
fn in_memory(body: &Payload) -> Result<Arc<[u8]>> {
    if let Some(bytes) = body.as_slice() {
        return Ok(Arc::from(bytes));
    }
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, body.len() as usize).collect();
    if let Some(room) = Arc::get_mut(&mut bytes) {
        let read = body.read(0, room)?;
        if read < room.len() {
            return Err(Error::new(ErrorKind::Io, "a spill file is shorter than it was"));
        }
    }
    Ok(bytes)
}

/// Edits under the write lock, and what there was before them.
struct Transaction<'a> {
    map: &'a mut Map,
    before: Vec<(Box<[u8]>, Option<Stored>)>,
    now: SystemTime,
    limit: u64,
}

impl Transaction<'_> {
    fn carry_out(&mut self, edit: &Edit<'_>, body: Arc<[u8]>) -> Result<()> {
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
                    let sentence = format!("there is a key where none was expected: {none:?}");
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

    fn insert(&mut self, key: &[u8], stored: Stored) -> Result<()> {
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

    fn roll_back(self) {
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
