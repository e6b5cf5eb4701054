//! Attributes for a store that keeps none (§5): mode, owner, times, inode numbers and extended attributes, symbolic
//! links, FIFOs, sockets, and directories that last without a key of their own. They are kept in a *sidecar*, a map
//! beside the store, which the first attribute makes.
//!
//! | file | holds |
//! |---|---|
//! | `sidecar`, `keys` | the map and its keys |
//! | `record`, `fingerprint` | what is kept of one file, and which bytes its times belong to |
//! | `trust` | whether a recorded time belongs to what is there now |
//! | `reading`, `listing` | what is known of a key, and of a directory's names |
//! | `plan`, `changes` | what a change means for the store, and for the sidecar |
//! | `renaming` | what is kept below something that moves |
//! | `draft` | edits of the sidecar that are not written yet |
//! | `changing` | files that are being changed |
//! | `origin` | which store a sidecar belongs to, and in which state it was |
//!
//! The store is changed first and the sidecar after it; what happens to either in between is told by epoch and
//! fingerprint. Lock order: `order` → `moving` → `structure` → `changing` → `edits`. The store is never called
//! under `edits`.

mod changes;
mod changing;
mod draft;
pub(super) mod keys;
mod listing;
mod origin;
mod plan;
mod reading;
mod record;
mod renaming;
pub(super) mod sidecar;
#[cfg(test)]
mod tests;
mod trust;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use changing::Changing;
use listing::With;
use sidecar::Sidecar;
use trust::Trust;

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Caps, Change, Cursor, Entry, Stat, Store, Value};
use crate::store::attributes::Xattrs;
use crate::store::home::Home;

/// A store with attributes in a sidecar.
pub struct Attrs {
    store: Arc<dyn Store>,
    sidecar: Sidecar,
    caps: Caps,
    trust: Trust,
    /// What splits the store's keys, which the sidecar's paths come from.
    separator: Option<Vec<u8>>,
    /// Held for writing by whoever renames, takes a snapshot or notes the state of the store; by every other change
    /// for reading.
    order: RwLock<()>,
    /// Held for writing while records move, and for reading by whoever reads them.
    moving: RwLock<()>,
    /// Held by whoever makes or removes what exists in the sidecar alone.
    structure: Mutex<()>,
    changing: Changing,
    /// Held from reading what is kept to writing it anew.
    edits: Mutex<()>,
    warned: AtomicBool,
    /// Whether records are still to be moved after a rename, since the sidecar failed in the middle.
    unfinished: AtomicBool,
}

impl Attrs {
    /// `store`, whose keys are split at `separator`, with the attributes that are kept at `home`.
    ///
    /// # Errors
    /// One sentence: the sidecar cannot be opened, or is not this store's.
    pub fn new(store: Arc<dyn Store>, home: Box<dyn Home>, separator: Option<Vec<u8>>) -> Result<Attrs> {
        let sidecar = Sidecar::new(home)?;
        let trust = Trust::since(origin::enter(&sidecar, &store, separator.as_deref())?);
        let attrs = Attrs::over(store, sidecar, trust, separator);
        attrs.finish_intent()?;
        Ok(attrs)
    }

    fn over(store: Arc<dyn Store>, sidecar: Sidecar, trust: Trust, separator: Option<Vec<u8>>) -> Attrs {
        let inner = store.caps();
        let below = Key::of([&b"a"[..], b"b"]);
        let branches = inner.branches || (inner.write && store.check_key(&below).is_ok());
        let caps = Caps { attributes: true, branches, ..inner.clone() };
        Attrs {
            store,
            sidecar,
            caps,
            trust,
            separator,
            order: RwLock::new(()),
            moving: RwLock::new(()),
            structure: Mutex::new(()),
            changing: Changing::default(),
            edits: Mutex::new(()),
            warned: AtomicBool::new(false),
            unfinished: AtomicBool::new(false),
        }
    }

    /// Whether nothing is kept, and the store answers alone.
    fn is_bare(&self) -> bool {
        self.sidecar.map().is_none()
    }

    /// Tells once that something could not be kept that nobody asked for by itself.
    fn warn_once(&self, error: &Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}: times of files are not kept: {error}", self.sidecar.home().shown());
        }
    }
}

impl Store for Attrs {
    passes_on!(
        check_file,
        check_key,
        value_max,
        raw_key,
        version_of,
        foreign_changes,
        era,
        resume,
        watch,
        past,
        history,
        lost_at_end,
        known,
        usage,
        seen_absent,
        written_so_far
    );

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn keeps_attributes(&self, _key: &Key, _directory: bool) -> Result<bool> {
        Ok(self.caps.attributes)
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if self.is_bare() {
            return self.store.stat(key);
        }
        let _still = self.moving.read();
        self.look(key)
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list_with(dir, from, With::Type, each)
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list_with(dir, from, With::Attributes, each)
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list_prefix_of(dir, prefix, each)
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        if self.is_bare() {
            return Ok(Xattrs::new());
        }
        let _still = self.moving.read();
        self.xattrs_of(key, directory)
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.store.open(key)? {
            Some(value) => Ok(Some(value)),
            None if self.is_bare() => Ok(None),
            None => {
                let _still = self.moving.read();
                self.open_name(key)
            }
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        self.carry_out(changes)
    }

    fn sync(&self) -> Result<()> {
        let synced = self.store.sync();
        if synced.is_ok() {
            self.note_age()?;
        }
        self.sidecar.sync()?;
        synced
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        let synced = self.store.sync_key(key);
        self.sidecar.sync()?;
        synced
    }

    fn snapshot(self: Arc<Self>) -> Result<Arc<dyn Store>> {
        // Nothing of ours is under way then: what is recorded is of what the store has.
        let _alone = self.order.write();
        let store = Arc::clone(&self.store).snapshot()?;
        let sidecar = Sidecar::new(self.sidecar.home().snapshot()?)?;
        if self.sidecar.is_numbered() {
            sidecar.set_numbered();
        }
        // After the snapshot has noticed what others changed before it.
        let now = self.epoch().unwrap_or_else(trust::new_epoch);
        let trust = Trust::since(now.wrapping_sub(store.foreign_changes().unwrap_or_default()));
        Ok(Arc::new(Attrs::over(store, sidecar, trust, self.separator.clone())))
    }

    fn compact(&self) -> Result<(u64, u64)> {
        let mut sizes = self.store.compact()?;
        if let Some(map) = self.sidecar.map().filter(|_| self.caps.write) {
            self.note_identity()?;
            match map.compact() {
                Ok((before, after)) => sizes = (sizes.0 + before, sizes.1 + after),
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => tracing::warn!("{} is not compacted: {error}", self.sidecar.home().shown()),
            }
        }
        Ok(sizes)
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let home = self.sidecar.home().shown();
        let kept = match self.sidecar.map() {
            None => format!("sidecar at {home}, not made yet"),
            Some(map) => match map.usage().keys {
                Some(records) => format!("sidecar at {home}, {records} records"),
                None => format!("sidecar at {home}"),
            },
        };
        let mut facts = self.store.facts();
        facts.push(("attributes", kept));
        facts
    }

    fn close(&self) -> Result<()> {
        let closed = self.store.close();
        // Its last commit changes the state that it is in.
        let noted = if closed.is_ok() { self.note_age() } else { Ok(()) };
        let sidecar = self.sidecar.home().close();
        closed.and(noted).and(sidecar)
    }
}
