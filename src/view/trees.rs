//! A store in which values of a kind are directories. A value that turns out to be none of them is a file, as it is without
//! the view. All of the mount is read-only.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Caps, Change, Cursor, Entry, Event, Kind, Stat, Store, Tell, Value, Watch};
use crate::store::attributes::Xattrs;

/// So many values are kept as they were found to be, and trees of so many bytes in memory.
const KEPT: usize = 512;
const BYTES_KEPT: u64 = 32 << 20;
/// So many entries of the store below are looked at together.
const BATCH: usize = 256;

/// A kind of values that are directories.
pub(super) trait Shape: Send + Sync {
    /// What it is called on the command line.
    fn name(&self) -> &'static str;

    /// Whether a value of this name is looked at, and of this length, where that is known.
    fn may_be(&self, name: Segment<'_>, size: Option<u64>) -> bool;

    /// The tree that the value at `file` is, which `stat` speaks of; `None` where it is none.
    ///
    /// # Errors
    /// The store's.
    fn tree(
        &self,
        store: &Arc<dyn Store>,
        file: &Key,
        stat: &Stat,
        caps: &Caps,
    ) -> Result<Option<Arc<dyn Tree>>>;

    /// The word that ends the name of a file with the value itself, beside its directory; it is found by name, and not
    /// listed.
    fn whole(&self) -> Option<Word> {
        None
    }
}

/// What one version of a value shows as.
pub(super) trait Tree: Send + Sync {
    /// What is in it.
    fn store(&self) -> &dyn Store;

    /// What is known of a file in it (§5.7).
    ///
    /// # Errors
    /// As for reading.
    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>>;

    /// What it takes in memory, about, in bytes.
    fn bytes(&self) -> u64;
}

/// The store with these directories.
pub(super) struct Trees {
    store: Arc<dyn Store>,
    shape: Arc<dyn Shape>,
    caps: Caps,
    /// What was read last, the newest at the end; `None` where a value is none of these. Held for a moment, and never
    /// across a call of the store.
    kept: Mutex<VecDeque<Kept>>,
}

/// What a value was found to be: in this version of it, a tree or none.
type Kept = (Key, Stat, Option<Arc<dyn Tree>>);

/// A value that shows as a tree, of which version, and a key in it.
type Inside = (Arc<dyn Tree>, Stat, Key);

/// An entry of the store below.
struct Listed {
    bytes: Vec<u8>,
    word: Word,
    stat: Stat,
}

impl Trees {
    /// `store`, read-only, with its values of this shape as directories.
    pub fn new(store: Arc<dyn Store>, shape: Arc<dyn Shape>) -> Trees {
        let caps = Caps { write: false, collections: true, ..store.caps().clone() };
        Trees { store, shape, caps, kept: Mutex::default() }
    }

    /// Whether what is of this name is looked at.
    fn may_be(&self, name: Option<Segment<'_>>, stat: &Stat) -> bool {
        let plain = name.filter(|name| name.word == Word::None && stat.kind == Kind::Leaf);
        plain.is_some_and(|name| self.shape.may_be(name, Some(stat.size)))
    }

    /// The tree of the value at `file`, which the store tells as `stat`; `None` where it is none.
    fn tree(&self, file: &Key, stat: &Stat) -> Result<Option<Arc<dyn Tree>>> {
        if !self.may_be(file.last(), stat) {
            return Ok(None);
        }
        let same =
            |own: &Stat| (own.size, own.modified, own.version) == (stat.size, stat.modified, stat.version);
        {
            let mut kept = self.kept.lock();
            if let Some(at) = kept.iter().position(|(key, own, _)| key == file && same(own))
                && let Some(found) = kept.remove(at)
            {
                let tree = found.2.clone();
                kept.push_back(found);
                return Ok(tree);
            }
        }
        let tree = self.shape.tree(&self.store, file, stat, &self.caps)?;
        let mut kept = self.kept.lock();
        kept.retain(|(key, ..)| key != file);
        kept.push_back((file.clone(), *stat, tree.clone()));
        let bytes = |kept: &VecDeque<Kept>| {
            kept.iter().filter_map(|(.., tree)| Some(tree.as_ref()?.bytes())).sum::<u64>()
        };
        while kept.len() > 1 && (kept.len() > KEPT || bytes(&kept) > BYTES_KEPT) {
            kept.pop_front();
        }
        Ok(tree)
    }

    /// The value that a key is in or is, where that is a tree.
    fn inside(&self, key: &Key) -> Result<Option<Inside>> {
        let mut file = Key::root();
        for (index, segment) in key.segments().enumerate() {
            file.push(segment);
            // Without a question where the name alone says that it is none.
            if segment.word != Word::None || !self.shape.may_be(segment, None) {
                continue;
            }
            let Some(stat) = self.store.stat(&file)? else { return Ok(None) };
            if let Some(tree) = self.tree(&file, &stat)? {
                return Ok(Some((tree, stat, key.below(index + 1))));
            }
        }
        Ok(None)
    }

    /// The key of the value that a name with the shape's own word means.
    fn whole(&self, key: &Key) -> Result<Option<Key>> {
        let (Some(word), Some(last), Some(parent)) = (self.shape.whole(), key.last(), key.parent()) else {
            return Ok(None);
        };
        if last.word != word {
            return Ok(None);
        }
        let plain = parent.child(Segment::plain(last.bytes));
        let is_tree = self.inside(&plain)?.is_some_and(|(.., rest)| rest.is_root());
        Ok(is_tree.then_some(plain))
    }

    /// What a value of the store shows as.
    fn shown(&self, file: &Key, stat: Stat) -> Stat {
        match self.tree(file, &stat) {
            Ok(Some(_)) => Stat::plain(Kind::Branch, 0, stat.modified),
            Ok(None) => stat,
            Err(error) => {
                tracing::warn!("{file:?} is shown as a file: {error}");
                stat
            }
        }
    }

    /// Lists the store, some entries at a time, since their values are looked at between them.
    fn list_store(
        &self,
        (dir, attributes): (&Key, bool),
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let list = |from: &mut Cursor, each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>| match attributes {
            true => self.store.list_with_attributes(dir, from, each),
            false => self.store.list(dir, from, each),
        };
        loop {
            let start = from.clone();
            let mut batch = Vec::new();
            list(from, &mut |Entry { segment, stat }| {
                if batch.len() == BATCH {
                    return ControlFlow::Break(());
                }
                batch.push(Listed { bytes: segment.bytes.to_vec(), word: segment.word, stat });
                ControlFlow::Continue(())
            })?;
            for (given, Listed { bytes, word, stat }) in batch.iter().enumerate() {
                let segment = Segment { bytes, word: *word };
                let stat = if self.may_be(Some(segment), stat) {
                    self.shown(&dir.child(segment), *stat)
                } else {
                    *stat
                };
                if each(Entry { segment, stat }).is_break() {
                    // From there on it goes on: the same entries again, up to this one.
                    *from = start;
                    let mut left = given;
                    return list(from, &mut |_| match left.checked_sub(1) {
                        Some(less) => {
                            left = less;
                            ControlFlow::Continue(())
                        }
                        None => ControlFlow::Break(()),
                    });
                }
            }
            if batch.len() < BATCH {
                return Ok(());
            }
        }
    }
}

impl Store for Trees {
    passes_on!(
        sync,
        sync_key,
        value_max,
        version_of,
        foreign_changes,
        era,
        resume,
        snapshot,
        past,
        history,
        lost_at_end,
        usage,
        compact,
        facts,
        close,
        check_key,
        check_file
    );

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        if let Some(plain) = self.whole(key)? {
            return self.store.stat(&plain);
        }
        match self.inside(key)? {
            Some((_, stat, rest)) if rest.is_root() => Ok(Some(Stat::plain(Kind::Branch, 0, stat.modified))),
            Some((tree, _, rest)) => tree.store().stat(&rest),
            None => self.store.stat(key),
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.inside(dir)? {
            Some((tree, _, rest)) => tree.store().list(&rest, from, each),
            None => self.list_store((dir, false), from, each),
        }
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        match self.inside(dir)? {
            Some((tree, _, rest)) => tree.store().list(&rest, from, each),
            None => self.list_store((dir, true), from, each),
        }
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list(dir, &mut Cursor::default(), &mut |entry| {
            if entry.segment.bytes.starts_with(prefix) { each(entry) } else { ControlFlow::Continue(()) }
        })
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        if self.inside(key)?.is_some() { Ok(Xattrs::new()) } else { self.store.xattrs(key, directory) }
    }

    fn keeps_attributes(&self, _key: &Key, _directory: bool) -> Result<bool> {
        Ok(false)
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        if let Some(plain) = self.whole(key)? {
            return self.store.open(&plain);
        }
        match self.inside(key)? {
            Some((tree, _, rest)) => tree.store().open(&rest),
            None => self.store.open(key),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        let is_own = key.last().is_some_and(|last| last.word == Word::None) && self.inside(key)?.is_none();
        if is_own { self.store.open_told(key, stat) } else { self.open(key) }
    }

    fn good_for(&self, key: &Key) -> Option<Duration> {
        self.store.good_for(key)
    }

    fn written_so_far(&self, _key: &Key, _body: &Payload) {}

    fn seen_absent(&self, _key: &Key) {}

    fn apply(&self, _changes: &mut [Change<'_>]) -> Result<()> {
        let sentence =
            format!("with --view {} a mount is read-only: mount it without to write", self.shape.name());
        Err(Error::new(ErrorKind::ReadOnly, sentence))
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        self.store.raw_key(key, directory)
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match self.inside(key)? {
            Some((tree, _, rest)) => tree.known(&rest),
            None => self.store.known(key),
        }
    }

    fn watch(&self, tell: Tell) -> Result<Watch> {
        let shape = Arc::clone(&self.shape);
        self.store.watch(Arc::new(move |event| {
            if let Event::Key(key) | Event::Value(key) = &event
                && key.last().is_some_and(|name| name.word == Word::None && shape.may_be(name, None))
            {
                tell(Event::Below(key.clone()));
            }
            tell(event);
        }))
    }
}

#[cfg(test)]
mod tests;
