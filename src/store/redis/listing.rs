//! What is listed: plain names and directories first, from the index, then the collections and documents that are directly in
//! the directory; of a collection, its parts.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::place::Place;
use super::shared::Shared;
use super::types::Type;
use super::view::View;
use super::{collection, whole};
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
/// So many documents are read at once for their lengths.
const MEASURED: usize = 16;
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
        let mut found: Vec<(Box<[u8]>, Type, std::time::SystemTime)> = Vec::new();
        let mut next = None;
        shared.scan(prefix, &from.position, &mut |key, known| {
            let Some(rest) = key.strip_prefix(prefix) else { return Step::Stop };
            if let Some(cut) = shared.separator.find(rest) {
                let below = [prefix, &rest[..cut], shared.separator.as_bytes()].concat();
                return after_all_with(&below).map_or(Step::Stop, Step::Seek);
            }
            if known.kind.has_word() {
                if found.len() == TOGETHER {
                    next = Some(key.to_vec());
                    return Step::Stop;
                }
                found.push((key.into(), known.kind, known.modified));
            }
            Step::Next
        })?;
        let mut lengths = HashMap::new();
        for (key, kind, modified) in &found {
            let stat = if kind.is_collection() {
                Stat::plain(Kind::Branch, 0, *modified)
            } else {
                if !lengths.contains_key(key) {
                    lengths = lengths_from(shared, &found, key)?;
                }
                Stat::plain(Kind::Leaf, lengths.get(key).copied().unwrap_or(0), *modified)
            };
            let segment = Segment { bytes: &key[prefix.len()..], word: kind.word() };
            if each(Entry { segment, stat }).is_break() {
                from.position = key.to_vec();
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

/// The lengths of files that are JSON in the server, which tells none: of some of these keys, from one on.
fn lengths_from(
    shared: &Shared,
    found: &[(Box<[u8]>, Type, std::time::SystemTime)],
    first: &[u8],
) -> Result<HashMap<Box<[u8]>, u64>> {
    let files = found.iter().filter(|(key, kind, _)| **key >= *first && !kind.is_collection());
    let keys: Vec<Box<[u8]>> = files.take(MEASURED).map(|(key, ..)| key.clone()).collect();
    let lengths = whole::lengths(shared, &keys)?;
    Ok(keys.into_iter().zip(lengths).collect())
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
    // The position is how many were given.
    let number = from.position.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
    let listing = from.repeating.get_or_insert_default().clone();
    let server = || shared.server.answering(key);
    let (number, done) = listing.list(
        number,
        &server,
        &mut |at| collection::page(shared, key, kind, at),
        &mut |name, size| entry(name, size, each),
    )?;
    from.position = number.to_le_bytes().to_vec();
    from.done = done;
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
