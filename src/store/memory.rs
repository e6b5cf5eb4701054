//! `memory`: an ordered map in the daemon's memory. It lasts as long as its daemon; `--load` and `--save` carry it
//! from and to a file.

mod file;
mod map;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use map::{Map, Stored, Transaction};
use parking_lot::RwLock;

use super::api::{Atomic, Caps, Pace, Rename, SharedBytes, Store, Usage, Value, Watch};
use super::driver::{Driver, Location, Opening};
use super::flat::{Edit, Flat, Found, Kv, Step, TellKey, walk};
use super::home::{Home, InMemory};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;

/// The longest value: what the address space and one allocation carry without doubt, in bytes.
const VALUE_MAX: u64 = 4 << 30;
/// The longest key, in bytes: paths beyond PATH_MAX have room in it.
const KEY_MAX: u32 = 16 << 10;

/// `memory` for the list of stores.
pub static DRIVER: Driver = Driver {
    kind: "memory",
    about: "keys in the daemon's memory, gone with it (--load and --save carry them from and to a file)",
    same_as: None,
    location: Location::None,
    caps,
    separator: "/",
    recognise: |_| false,
    own_files: &[],
    rights: None,
    open,
    sidecar,
};

fn caps() -> Caps {
    Caps {
        kind: "memory",
        write: true,
        immutable: false,
        ordered: true,
        branches: true,
        attributes: false,
        folders: false,
        // Nobody else can change it, so there is never anything to tell.
        watch: true,
        snapshot: true,
        past: false,
        unlisted: "",
        settable: &[],
        collections: false,
        atomic: Atomic::Batch,
        rename: Rename::Tree,
        pace: Pace::Memory,
        value_max: VALUE_MAX,
        key_max: KEY_MAX,
    }
}

fn open(opening: &Opening) -> Result<Arc<dyn Store>> {
    let mut memory = Memory::new();
    if let Some(path) = &opening.load {
        file::load(&mut memory, path)?;
    }
    if let Some(path) = &opening.save {
        memory.save = Some(file::target(path)?);
    }
    let caps = Caps { write: !opening.read_only, ..caps() };
    Ok(Arc::new(Flat::new(memory, caps, opening.separator.clone())))
}

/// The sidecar is as lasting as the store: in memory, and with `--load FILE` and `--save FILE` in `FILE.kvfs`.
fn sidecar(opening: &Opening) -> Result<Option<Box<dyn Home>>> {
    let beside = |file: &PathBuf| {
        let mut name = file.clone().into_os_string();
        name.push(".kvfs");
        PathBuf::from(name)
    };
    let load = opening.load.as_ref().map(beside).filter(|file| file.exists());
    let save = opening.save.as_ref().map(beside);
    let target = save.as_deref().map(file::target).transpose()?;
    let make = move || Memory { save: target.clone(), ..Memory::new() };
    let home = InMemory::new(make.clone(), KEY_MAX as usize);
    // One that is there from an earlier mount is not taken for this one's: with nothing to keep, it is emptied.
    if load.is_none() && !save.is_some_and(|file| file.exists()) {
        return Ok(Some(Box::new(home)));
    }
    let mut map = make();
    if let Some(load) = load {
        file::load(&mut map, &load)?;
    }
    Ok(Some(Box::new(home.with(map))))
}

/// An ordered map in memory, empty at first.
pub struct Memory {
    /// The map is copied only when something is written while a snapshot shares it.
    map: RwLock<Arc<Map>>,
    /// What all of it may cost, in bytes: half of the machine's memory, as for tmpfs.
    limit: u64,
    /// The file that it is copied to when it closes.
    save: Option<PathBuf>,
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
        Memory { map: RwLock::new(Arc::new(Map::new(env::now()))), limit, save: None }
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
        walk(&self.map.read().values, from, &mut |key, stored| each(key, stored.found()));
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
        let mut transaction = Transaction::begin(Arc::make_mut(&mut map), env::now(), self.limit);
        for (edit, body) in edits.iter().zip(bodies) {
            if let Err(error) = transaction.carry_out(edit, body) {
                transaction.roll_back();
                return Err(error);
            }
        }
        transaction.commit();
        Ok(())
    }

    fn changed(&self) -> SystemTime {
        self.map.read().made
    }

    fn foreign_changes(&self) -> Option<u64> {
        // Nobody else can reach it.
        Some(0)
    }

    fn watch(&self, tell: TellKey) -> Result<Watch> {
        drop(tell);
        Ok(Watch(Box::new(())))
    }

    fn snapshot(&self) -> Result<Memory> {
        Ok(Memory { map: RwLock::new(Arc::clone(&self.map.read())), limit: self.limit, save: None })
    }

    fn usage(&self) -> Usage {
        let map = self.map.read();
        Usage {
            total: Some(self.limit),
            free: Some(self.limit.saturating_sub(map.used)),
            keys: Some(map.values.len() as u64),
        }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let save = self.save.as_ref().map(|path| ("saves to", path.display().to_string()));
        save.into_iter().collect()
    }

    fn close(&self) -> Result<()> {
        match &self.save {
            Some(path) => file::save(&Arc::clone(&self.map.read()), path),
            None => Ok(()),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api::{Version, When};

    fn put(memory: &Memory, key: &[u8], value: &[u8]) -> Result<()> {
        let body = Payload::of(value)?;
        memory.write(&mut [Edit::Put { key: key.to_vec(), body: Some(&body), when: When::Always }])
    }

    #[test]
    fn a_full_map_refuses_what_grows_and_takes_what_shrinks() {
        let memory = Memory::with_limit(1500);
        put(&memory, b"a", &[1; 1000]).unwrap();
        let refused = put(&memory, b"b", &[2; 1000]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NoSpace);
        assert_eq!(put(&memory, b"a", &[3; 2000]).unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(memory.open(b"a").unwrap().unwrap().version().unwrap(), Version::of_content(&[1; 1000]));
        put(&memory, b"a", &[4; 10]).unwrap();
        put(&memory, b"b", &[5; 1000]).unwrap();
        memory.write(&mut [Edit::Delete { key: b"a".to_vec(), when: When::Always }]).unwrap();
        memory.write(&mut [Edit::Delete { key: b"b".to_vec(), when: When::Always }]).unwrap();
        assert_eq!(memory.usage().free, Some(1500), "the account is even again");
    }

    #[test]
    fn a_failed_batch_leaves_the_account_even() {
        let memory = Memory::with_limit(1 << 20);
        put(&memory, b"a", b"old").unwrap();
        put(&memory, b"p/x", b"old").unwrap();
        let before = memory.usage();
        let body = Payload::of(&[7; 500]).unwrap();
        let failed = memory.write(&mut [
            Edit::Put { key: b"a".to_vec(), body: Some(&body), when: When::Always },
            Edit::Put { key: b"b".to_vec(), body: Some(&body), when: When::Always },
            Edit::Put { key: b"b".to_vec(), body: None, when: When::Always },
            Edit::Move {
                from: b"a".to_vec(),
                to: b"c".to_vec(),
                below: Some((b"p/".to_vec(), b"q/".to_vec())),
                replace: false,
            },
            Edit::Delete { key: b"q/x".to_vec(), when: When::Absent },
        ]);
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(memory.usage(), before);
        assert_eq!(memory.get(b"p/x").unwrap().unwrap().size, 3);
        assert_eq!(memory.get(b"a").unwrap().unwrap().size, 3);
        assert_eq!(memory.get(b"c").unwrap(), None);
    }
}
