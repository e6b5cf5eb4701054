//! Values that are safetensors files, as directories of `.npy` files: `--view tensor`. Which they are is told by their names,
//! which end in `.safetensors`, and by their headers; one with another header is a file. All of the mount is read-only.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::payload::Payload;
use crate::store::api::{Caps, Change, Cursor, Entry, Event, Kind, Stat, Store, Tell, Value, Watch};
use crate::store::attributes::Xattrs;
use crate::store::safetensors::within::{self, Tree};

/// What the name of a file ends in.
const SUFFIX: &[u8] = b".safetensors";
/// Headers of so many values are kept.
const KEPT: usize = 32;
/// So many entries of the store below are looked at together.
const BATCH: usize = 256;

/// A store in which the safetensors files are directories.
pub struct TensorView {
    store: Arc<dyn Store>,
    caps: Caps,
    /// The headers read last, the newest at the end; `None` where a value has none. Held for a moment, and never across a
    /// call of the store.
    kept: Mutex<Vec<Kept>>,
}

/// What a value was found to be: in this version of it, a tree or none.
type Kept = (Key, Stat, Option<Arc<Tree>>);

/// An entry of the store below.
struct Listed {
    bytes: Vec<u8>,
    word: Word,
    stat: Stat,
}

impl TensorView {
    /// `store`, read-only, with its safetensors files as directories.
    pub fn new(store: Arc<dyn Store>) -> TensorView {
        let caps = Caps { write: false, ..store.caps().clone() };
        TensorView { store, caps, kept: Mutex::default() }
    }

    /// The tensors of the value at `file`, which the store tells as `stat`; `None` where it is none of these files.
    fn tree(&self, file: &Key, stat: &Stat) -> Result<Option<Arc<Tree>>> {
        if stat.kind != Kind::Leaf || !may_be(file.last()) {
            return Ok(None);
        }
        let same =
            |own: &Stat| (own.size, own.modified, own.version) == (stat.size, stat.modified, stat.version);
        {
            let mut kept = self.kept.lock();
            if let Some(at) = kept.iter().position(|(key, own, _)| key == file && same(own)) {
                let found = kept.remove(at);
                let tree = found.2.clone();
                kept.push(found);
                return Ok(tree);
            }
        }
        let tree = within::tree(&self.store, file, stat, self.caps.clone())?.map(Arc::new);
        let mut kept = self.kept.lock();
        kept.retain(|(key, ..)| key != file);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((file.clone(), *stat, tree.clone()));
        Ok(tree)
    }

    /// The safetensors file that a key is in or is, and the key in it.
    fn inside(&self, key: &Key) -> Result<Option<(Arc<Tree>, Key)>> {
        let mut file = Key::root();
        for (index, segment) in key.segments().enumerate() {
            file.push(segment);
            if !may_be(Some(segment)) {
                continue;
            }
            let Some(stat) = self.store.stat(&file)? else { return Ok(None) };
            if let Some(tree) = self.tree(&file, &stat)? {
                return Ok(Some((tree, key.below(index + 1))));
            }
        }
        Ok(None)
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
                let stat = if may_be(Some(segment)) { self.shown(&dir.child(segment), *stat) } else { *stat };
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

/// Whether a value of this name is looked at.
fn may_be(name: Option<Segment<'_>>) -> bool {
    name.is_some_and(|name| name.word == Word::None && name.bytes.ends_with(SUFFIX))
}

fn read_only() -> Error {
    Error::new(ErrorKind::ReadOnly, "with --view tensor a mount is read-only: mount it without to write")
}

impl Store for TensorView {
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
        match self.inside(key)? {
            Some((tree, rest)) if rest.is_root() => {
                Ok(Some(Stat::plain(Kind::Branch, 0, tree.kv().stat().modified)))
            }
            Some((tree, rest)) => tree.stat(&rest),
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
            Some((tree, rest)) => tree.list(&rest, from, each),
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
            Some((tree, rest)) => tree.list(&rest, from, each),
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
        match self.inside(key)? {
            Some((tree, rest)) => tree.open(&rest),
            None => self.store.open(key),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        match self.inside(key)? {
            Some((tree, rest)) => tree.open(&rest),
            None => self.store.open_told(key, stat),
        }
    }

    fn good_for(&self, key: &Key) -> Option<Duration> {
        self.store.good_for(key)
    }

    fn written_so_far(&self, _key: &Key, _body: &Payload) {}

    fn seen_absent(&self, _key: &Key) {}

    fn apply(&self, _changes: &mut [Change<'_>]) -> Result<()> {
        Err(read_only())
    }

    fn raw_key(&self, key: &Key, directory: bool) -> Vec<u8> {
        self.store.raw_key(key, directory)
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        match self.inside(key)? {
            Some((tree, rest)) => Ok(tree.kv().known(&tree.raw_key(&rest, false))),
            None => self.store.known(key),
        }
    }

    fn watch(&self, tell: Tell) -> Result<Watch> {
        self.store.watch(Arc::new(move |event| {
            if let Event::Key(key) | Event::Value(key) = &event
                && may_be(key.last())
            {
                tell(Event::Below(key.clone()));
            }
            tell(event);
        }))
    }
}

#[cfg(test)]
mod tests;
