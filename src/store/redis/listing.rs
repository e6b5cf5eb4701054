//! What is listed: plain names and directories first, from the index, then the collections that are directly in the
//! directory; of a collection, its parts.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::collection;
use super::place::Place;
use super::shared::Shared;
use super::types::Type;
use super::view::View;
use crate::error::Result;
use crate::key::{Key, Segment};
use crate::store::api::{Cursor, Entry, Kind, Stat};
use crate::store::flat::{self, Directory, Step, after_all_with};

/// Gives out the entries of a listing.
type Each<'e> = dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'e;

/// The longest key that is listed, in bytes.
pub(super) const KEY_MAX: usize = 1 << 16;
/// Collections that are collected before they are given.
const TOGETHER: usize = 512;
/// So many collections are remembered whose parts are being listed, and so many names of them: the one that is listed
/// last has all of its own.
const GATHERED_MOST: usize = 8;
const NAMES_MOST: usize = 1 << 18;

/// See [`crate::store::api::Store::list`].
pub(super) fn list(shared: &Arc<Shared>, dir: &Key, from: &mut Cursor, each: &mut Each<'_>) -> Result<()> {
    if from.done {
        return Ok(());
    }
    let prefix = if dir.is_root() {
        Some(Vec::new())
    } else {
        match Place::of(&shared.separator, dir) {
            Place::Collection(key, kind) => return list_parts(shared, &key, kind, from, each),
            Place::Plain(_) => shared.separator.below(dir),
            Place::Element(..) | Place::Whole(..) | Place::Nowhere => None,
        }
    };
    let Some(prefix) = prefix else {
        from.done = true;
        return Ok(());
    };
    if from.part == 0 {
        let view = View { shared: Arc::clone(shared), prefix: prefix.clone() };
        let separator = &shared.separator;
        let directory = Directory { kv: &view, separator, prefix: prefix.clone(), key_max: KEY_MAX };
        flat::list(&directory, from, each)?;
        if !from.done {
            return Ok(());
        }
        *from = Cursor { part: 1, position: prefix.clone(), ..Cursor::default() };
    }
    list_collections(shared, &prefix, from, each)
}

/// The collections that are directly in a directory.
fn list_collections(shared: &Shared, prefix: &[u8], from: &mut Cursor, each: &mut Each<'_>) -> Result<()> {
    loop {
        let mut found: Vec<(Vec<u8>, Type, std::time::SystemTime)> = Vec::new();
        let mut next = None;
        shared.scan(prefix, &from.position, &mut |key, known| {
            let Some(rest) = key.strip_prefix(prefix) else { return Step::Stop };
            if let Some(cut) = shared.separator.find(rest) {
                let below = [prefix, &rest[..cut], shared.separator.as_bytes()].concat();
                return after_all_with(&below).map_or(Step::Stop, Step::Seek);
            }
            if known.kind.is_collection() {
                if found.len() == TOGETHER {
                    next = Some(key.to_vec());
                    return Step::Stop;
                }
                found.push((key.to_vec(), known.kind, known.modified));
            }
            Step::Next
        })?;
        for (key, kind, modified) in found {
            let segment = Segment { bytes: &key[prefix.len()..], word: kind.word() };
            if each(Entry { segment, stat: Stat::plain(Kind::Branch, 0, modified) }).is_break() {
                from.position = key;
                return Ok(());
            }
        }
        match next {
            Some(key) => from.position = key,
            None => {
                from.done = true;
                return Ok(());
            }
        }
    }
}

/// The parts of collections that are being listed whose server may tell a name twice: all names, in order.
#[derive(Default)]
pub(super) struct Gathered(Mutex<VecDeque<(Vec<u8>, Parts)>>);

type Parts = Arc<Vec<(Vec<u8>, u64)>>;

impl Gathered {
    /// All parts of a collection: those that were found when its listing began, where that is remembered.
    fn of(&self, shared: &Shared, key: &[u8], kind: Type, begins: bool) -> Result<Parts> {
        let known = {
            let gathered = self.0.lock();
            gathered.iter().find(|(of, _)| of == key).map(|(_, parts)| Arc::clone(parts))
        };
        if let Some(parts) = known.filter(|_| !begins) {
            return Ok(parts);
        }
        let (mut all, mut from) = (Vec::new(), Some(Vec::new()));
        while let Some(at) = from {
            let page = collection::page(shared, key, kind, &at)?;
            all.extend(page.parts);
            from = page.next;
        }
        all.sort();
        all.dedup_by(|second, first| second.0 == first.0);
        let parts = Arc::new(all);
        let mut gathered = self.0.lock();
        gathered.retain(|(of, _)| of != key);
        gathered.push_back((key.to_vec(), Arc::clone(&parts)));
        let names =
            |gathered: &VecDeque<(_, Parts)>| gathered.iter().map(|(_, parts)| parts.len()).sum::<usize>();
        while gathered.len() > 1 && (gathered.len() > GATHERED_MOST || names(&gathered) > NAMES_MOST) {
            gathered.pop_front();
        }
        Ok(parts)
    }

    fn forget(&self, key: &[u8]) {
        self.0.lock().retain(|(of, _)| of != key);
    }
}

fn list_parts(shared: &Shared, key: &[u8], kind: Type, from: &mut Cursor, each: &mut Each<'_>) -> Result<()> {
    let Some(known) = shared.known(key)?.filter(|known| known.kind == kind) else {
        from.done = true;
        return Ok(());
    };
    let entry = |name: &[u8], size: u64, each: &mut Each<'_>| {
        each(Entry { segment: Segment::plain(name), stat: Stat::plain(Kind::Leaf, size, known.modified) })
    };
    if matches!(kind, Type::List | Type::Stream) {
        return list_in_order(shared, key, kind, from, &mut |name, size| entry(name, size, each));
    }
    // The position is the last name given, behind one byte that says that there is one.
    let parts = shared.gathered.of(shared, key, kind, from.position.is_empty())?;
    let first = match from.position.split_first() {
        Some((_, last)) => parts.partition_point(|(name, _)| name.as_slice() <= last),
        None => 0,
    };
    for (name, size) in &parts[first..] {
        if entry(name, *size, each).is_break() {
            return Ok(());
        }
        from.position = [&[1], name.as_slice()].concat();
    }
    from.done = true;
    shared.gathered.forget(key);
    Ok(())
}

/// The parts of a collection that the server tells in the order of their names, each once. The position is where the
/// page begins, behind the number of those of it that were given.
fn list_in_order(
    shared: &Shared,
    key: &[u8],
    kind: Type,
    from: &mut Cursor,
    each: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>,
) -> Result<()> {
    loop {
        let (given, at) = match from.position.split_first_chunk::<4>() {
            Some((given, at)) => (u32::from_le_bytes(*given), at.to_vec()),
            None => (0, Vec::new()),
        };
        let page = collection::page(shared, key, kind, &at)?;
        for (number, (name, size)) in (0u32..).zip(&page.parts).skip(given as usize) {
            if each(name, *size).is_break() {
                from.position = [&number.to_le_bytes(), at.as_slice()].concat();
                return Ok(());
            }
        }
        match page.next {
            Some(next) => from.position = [&0u32.to_le_bytes(), next.as_slice()].concat(),
            None => {
                from.done = true;
                return Ok(());
            }
        }
    }
}
