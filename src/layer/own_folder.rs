//! `%kvfs`, the mount's own folder at its root: what it shows besides the keys of the store. It is not listed there, so that
//! a walk meets each key once; by name it is found, and no key has it (§1.6).
//!
//! `%kvfs/versions` is the store's history, where it keeps one.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::api::{Change, Cursor, Entry, Kind, Stat, Store, Value};
use crate::store::attributes::Xattrs;

const VERSIONS: &[u8] = b"versions";

/// The store below, with the folder.
pub struct OwnFolder {
    store: Arc<dyn Store>,
    history: Arc<dyn Store>,
    since: SystemTime,
}

/// What a key leads to.
enum Place {
    /// The store's.
    Store,
    /// `%kvfs` itself.
    Folder,
    /// The history, and the key there.
    History(Key),
    Nowhere,
}

impl OwnFolder {
    /// `store` with the folder, where there is something to show in it.
    pub fn over(store: Arc<dyn Store>, now: SystemTime) -> Arc<dyn Store> {
        match store.history() {
            Some(history) => Arc::new(OwnFolder { store, history, since: now }),
            None => store,
        }
    }

    fn place(key: &Key) -> Place {
        let mut segments = key.segments();
        if segments.next() != Some(Segment { bytes: b"", word: Word::Kvfs }) {
            return Place::Store;
        }
        match segments.next() {
            None => Place::Folder,
            Some(second) if second == Segment::plain(VERSIONS) => Place::History(key.below(2)),
            Some(_) => Place::Nowhere,
        }
    }

    fn folder(&self) -> Stat {
        Stat::plain(Kind::Branch, 0, self.since)
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::ReadOnly, "%kvfs is the mount's own folder: nothing in it can be changed")
}

impl Store for OwnFolder {
    passes_on!(
        caps,
        keeps_attributes,
        good_for,
        sync,
        value_max,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        lost_at_end,
        usage,
        compact,
        facts,
        close,
        version_of,
        seen_absent,
        written_so_far
    );

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        match OwnFolder::place(key) {
            Place::Store => self.store.stat(key),
            Place::Folder => Ok(Some(self.folder())),
            Place::History(rest) => self.history.stat(&rest),
            Place::Nowhere => Ok(None),
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match OwnFolder::place(dir) {
            Place::Store => self.store.list(dir, from, each),
            Place::History(rest) => self.history.list(&rest, from, each),
            Place::Folder => {
                if !from.done
                    && each(Entry { segment: Segment::plain(VERSIONS), stat: self.folder() }).is_continue()
                {
                    from.done = true;
                }
                Ok(())
            }
            Place::Nowhere => Err(ErrorKind::NotFound.into()),
        }
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match OwnFolder::place(dir) {
            Place::Store => self.store.list_with_attributes(dir, from, each),
            _ => self.list(dir, from, each),
        }
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match OwnFolder::place(dir) {
            Place::Store => self.store.list_prefix(dir, prefix, each),
            Place::History(rest) => self.history.list_prefix(&rest, prefix, each),
            Place::Folder | Place::Nowhere => Ok(()),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match OwnFolder::place(key) {
            Place::Store => self.store.open(key),
            Place::History(rest) => self.history.open(&rest),
            Place::Folder | Place::Nowhere => Ok(None),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        match OwnFolder::place(key) {
            Place::Store => self.store.open_told(key, stat),
            Place::History(rest) => self.history.open_told(&rest, stat),
            Place::Folder | Place::Nowhere => Ok(None),
        }
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        match OwnFolder::place(key) {
            Place::Store => self.store.xattrs(key, directory),
            _ => Ok(Xattrs::new()),
        }
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match OwnFolder::place(key) {
            Place::Store => self.store.known(key),
            _ => Ok(Vec::new()),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let own = |key: &Key| !matches!(OwnFolder::place(key), Place::Store);
        let refuses = changes.iter().any(|change| {
            let (key, to) = change.keys();
            own(key) || to.is_some_and(own)
        });
        if refuses { Err(refused()) } else { self.store.apply(changes) }
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        match OwnFolder::place(key) {
            Place::Store => self.store.sync_key(key),
            _ => Ok(()),
        }
    }

    fn check_file(&self, key: &Key) -> Result<()> {
        match OwnFolder::place(key) {
            Place::Store => self.store.check_file(key),
            _ => Err(refused()),
        }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        match OwnFolder::place(key) {
            Place::Store => self.store.check_key(key),
            _ => Err(refused()),
        }
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        match OwnFolder::place(key) {
            Place::Store => self.store.raw_key(key, directory),
            Place::History(rest) => self.history.raw_key(&rest, directory),
            Place::Folder | Place::Nowhere => Vec::new(),
        }
    }
}
