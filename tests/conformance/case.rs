//! A store to try, and short ways to ask it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvfs::budget::{Budget, LEAST};
use kvfs::config::ScratchNames;
use kvfs::error::{ErrorKind, Result};
use kvfs::key::{Key, Segment};
use kvfs::layer::attrs::Attrs;
use kvfs::layer::metadata_cache::MetadataCache;
use kvfs::layer::read_ahead::ReadAhead;
use kvfs::layer::remote::Remote;
use kvfs::layer::scratch::{Scratch, Usual};
use kvfs::layer::with_blocks;
use kvfs::payload::Payload;
use kvfs::store::api::{Caps, Change, Cursor, Kind, Stat, Store, Value, When};
use kvfs::store::driver::{Commit, Driver, Location, Opening};
use tempfile::TempDir;

use crate::place;

/// An empty store of one kind.
pub struct Case {
    pub store: Arc<dyn Store>,
    kind: String,
    driver: &'static Driver,
    opening: Opening,
    folder: TempDir,
    layer: Layer,
}

/// What lies over the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    None,
    Attrs,
    MetadataCache,
    ReadAhead,
    Blocks,
    Scratch,
    /// What lies over a store behind a network, which tells versions along.
    Network,
}

/// The layers, by their names in front of a kind: `attrs(lmdb)`.
const LAYERS: &[(&str, Layer)] = &[
    ("attrs", Layer::Attrs),
    ("metadata_cache", Layer::MetadataCache),
    ("read_ahead", Layer::ReadAhead),
    #[cfg(feature = "object")]
    ("block_cache", Layer::Blocks),
    ("scratch", Layer::Scratch),
    ("network", Layer::Network),
];

/// Opens a store, with a layer over it where that is wanted.
fn open(driver: &Driver, opening: &Opening, layer: Layer, folder: &Path) -> Arc<dyn Store> {
    let store = (driver.open)(opening).unwrap();
    match layer {
        Layer::None => store,
        Layer::Attrs => {
            let home = (driver.sidecar)(opening).unwrap().unwrap();
            Arc::new(Attrs::new(store, home, opening.separator.clone()).unwrap())
        }
        Layer::MetadataCache => {
            // A time that no test outlasts: what is not forgotten by its own changes is seen.
            let ttl = Duration::from_secs(3600);
            Arc::new(MetadataCache::new(store, ttl, Budget::new(LEAST)))
        }
        Layer::ReadAhead => Arc::new(ReadAhead::new(store, Budget::new(LEAST), opening.timeout)),
        Layer::Blocks => {
            with_blocks(Arc::new(Remote::new(store)), "case", &folder.join("cache"), 16 << 20).unwrap()
        }
        Layer::Scratch => {
            Arc::new(Scratch::new(store, ScratchNames::usual(), Usual { mode: 0o644, uid: 0, gid: 0 }))
        }
        Layer::Network => {
            let budget = Budget::new(LEAST);
            let ahead = ReadAhead::new(Arc::new(Remote::new(store)), budget.clone(), opening.timeout);
            Arc::new(MetadataCache::new(Arc::new(ahead), Duration::from_secs(3600), budget))
        }
    }
}

/// A key of these segments.
pub fn key<const N: usize>(segments: [&[u8]; N]) -> Key {
    Key::of(segments)
}

/// A key of text, cut at slashes: `a//b` has an empty segment in the middle.
pub fn path(path: &str) -> Key {
    Key::of(path.split('/').map(str::as_bytes))
}

/// A key of so many bytes, cut into names of at most 255 bytes where no name is longer.
pub fn long_key(case: &Case, length: usize) -> Key {
    if !case.caps().folders {
        return key([&vec![b'k'; length]]);
    }
    let mut left = length;
    let mut key = Key::root();
    while left > 0 {
        // No name is left without bytes, nor with a slash alone.
        let name = if left == 256 { 100 } else { left.min(255) };
        key.push(Segment::plain(&vec![b'k'; name]));
        left -= name;
        left = left.saturating_sub(1);
    }
    key
}

/// All bytes of an open value.
pub fn bytes_of(value: &dyn Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
    bytes
}

/// The kind of failure, where there is one.
pub fn failure<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

impl Case {
    /// Opens an empty store, if this build has its kind; `attrs(KIND)` is one with attributes, and so on.
    pub fn open(kind: &str, commit: Commit) -> Option<Case> {
        let (name, plain) =
            kind.strip_suffix(')').and_then(|kind| kind.split_once('(')).unwrap_or(("", kind));
        let layer = LAYERS.iter().find(|(layer, _)| *layer == name).map_or(Layer::None, |(_, layer)| *layer);
        assert_eq!(layer == Layer::None, name.is_empty(), "no layer is called {name}");
        Case::open_with(plain, commit, layer)
    }

    fn open_with(kind: &str, commit: Commit, layer: Layer) -> Option<Case> {
        kvfs::env::Folders::keep_below(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")));
        let folder = tempfile::tempdir().unwrap();
        let Some((driver, opening)) = place::find(kind, folder.path()) else {
            eprintln!("skipped: this build has no store of kind {kind}");
            return None;
        };
        let opening = Opening { commit, ..opening };
        let store = open(driver, &opening, layer, folder.path());
        Some(Case { store, kind: kind.to_owned(), driver, opening, folder, layer })
    }

    /// What opened it.
    pub fn driver(&self) -> &Driver {
        self.driver
    }

    pub fn caps(&self) -> &Caps {
        self.store.caps()
    }

    /// Another store of the same kind, empty.
    pub fn another(&self) -> Case {
        Case::open_with(&self.kind, self.opening.commit, self.layer).unwrap()
    }

    /// Whether it is a bucket of a service: each question takes long, so the tests ask fewer; it keeps no version that was
    /// replaced (§3.1), tells times in seconds (§5.5), and has directories as markers beside attributes (§2.2).
    pub fn is_bucket(&self) -> bool {
        self.driver.location.is_bucket()
    }

    /// Whether a version that was replaced may be gone for whoever has it open: it is in a service alone.
    pub fn loses_versions(&self) -> bool {
        self.driver.location.is_url()
    }

    /// All bytes of an open value that was replaced or removed; `None` where a bucket says that this version has gone.
    pub fn bytes_still(&self, value: &dyn Value) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)) {
            Err(error) if self.loses_versions() && error.kind() == ErrorKind::Stale => None,
            read => {
                read.unwrap();
                Some(bytes)
            }
        }
    }

    /// Those that can be in this store together: where a key is a file or a directory, the first of the two.
    pub fn possible(&self, keys: impl IntoIterator<Item = Key>) -> Vec<Key> {
        let mut possible: Vec<Key> = Vec::new();
        for key in keys {
            let meets = |other: &Key| *other != key && (other.starts_with(&key) || key.starts_with(other));
            if self.store.check_key(&key).is_ok() && (!self.caps().folders || !possible.iter().any(meets)) {
                possible.push(key);
            }
        }
        possible
    }

    /// Whether what is put is still there when the store is opened again.
    pub fn lasts(&self) -> bool {
        self.driver.location != Location::None
    }

    /// Closes the store and opens it again, changed as `change` says.
    pub fn reopened(self, change: impl FnOnce(&mut Opening)) -> Case {
        let Case { store, kind, driver, mut opening, folder, layer } = self;
        store.sync().unwrap();
        store.close().unwrap();
        drop(store);
        change(&mut opening);
        let store = open(driver, &opening, layer, folder.path());
        Case { store, kind, driver, opening, folder, layer }
    }

    /// Whether the store has a place for the key whose one segment has no bytes.
    pub fn holds_the_empty_key(&self) -> bool {
        let other = self.another();
        other.try_put(&key([b""]), b"v", When::Always).is_ok()
    }

    pub fn try_put(&self, key: &Key, value: &[u8], when: When) -> Result<()> {
        let body = Payload::of(value).unwrap();
        self.store.apply(&mut [Change::Put { key, body: &body, when }])
    }

    pub fn put(&self, key: &Key, value: &[u8]) {
        self.try_put(key, value, When::Always).unwrap();
    }

    pub fn put_all<'a>(&self, keys: impl IntoIterator<Item = &'a Key>, value: &[u8]) {
        let body = Payload::of(value).unwrap();
        let mut puts: Vec<_> =
            keys.into_iter().map(|key| Change::Put { key, body: &body, when: When::Always }).collect();
        for batch in puts.chunks_mut(1000) {
            self.store.apply(batch).unwrap();
        }
    }

    pub fn try_delete(&self, key: &Key, when: When) -> Result<()> {
        self.store.apply(&mut [Change::Delete { key, when }])
    }

    pub fn delete(&self, key: &Key) {
        self.try_delete(key, When::Always).unwrap();
    }

    pub fn rename(&self, from: &Key, to: &Key, tree: bool, replace: bool) -> Result<()> {
        self.store.apply(&mut [Change::Rename { from, to, tree, replace }])
    }

    pub fn make(&self, key: &Key) -> Result<()> {
        self.store.apply(&mut [Change::Branch { key }])
    }

    pub fn remove(&self, key: &Key) -> Result<()> {
        self.store.apply(&mut [Change::RemoveBranch { key }])
    }

    pub fn kind(&self, key: &Key) -> Option<Kind> {
        self.store.stat(key).unwrap().map(|stat| stat.kind)
    }

    pub fn value(&self, key: &Key) -> Option<Vec<u8>> {
        // As the Vfs does: what was replaced between the open and the read is opened again.
        let again = |value: Box<dyn Value>| self.bytes_still(&*value).or_else(|| self.value(key));
        self.store.open(key).unwrap().and_then(again)
    }

    /// The next `count` entries of a listing.
    pub fn next(&self, dir: &Key, cursor: &mut Cursor, count: usize) -> Vec<(Vec<u8>, Stat)> {
        let mut entries = Vec::new();
        self.store
            .list(dir, cursor, &mut |entry| {
                if entries.len() == count {
                    return ControlFlow::Break(());
                }
                entries.push((entry.segment.bytes.to_vec(), entry.stat));
                ControlFlow::Continue(())
            })
            .unwrap();
        entries
    }

    /// All entries of a directory, each once.
    pub fn entries(&self, dir: &Key) -> BTreeMap<Vec<u8>, Stat> {
        let mut cursor = Cursor::default();
        let mut entries = BTreeMap::new();
        while !cursor.done {
            for (name, stat) in self.next(dir, &mut cursor, 3000) {
                assert!(entries.insert(name, stat).is_none(), "given twice in {dir:?}");
            }
        }
        entries
    }

    pub fn names(&self, dir: &Key) -> Vec<Vec<u8>> {
        self.entries(dir).into_keys().collect()
    }

    /// All values of the store, found by listing.
    pub fn walk(&self) -> BTreeMap<Key, Vec<u8>> {
        let mut values = BTreeMap::new();
        let mut ahead = vec![Key::root()];
        while let Some(dir) = ahead.pop() {
            for (name, stat) in self.entries(&dir) {
                let key = dir.child(Segment::plain(&name));
                if stat.kind.has_value() {
                    let value = self.value(&key).unwrap_or_else(|| panic!("{key:?} is listed and not there"));
                    values.insert(key.clone(), value);
                }
                if stat.kind.is_directory() {
                    ahead.push(key);
                }
            }
        }
        values
    }
}
