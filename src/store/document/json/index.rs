//! Where the parts of a text are, without a copy of any: what is long enough has its end noted, so that it can be stepped over;
//! what has many parts has a table of them. Both together are smaller than the text.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::scan::{self, Scanned, Wrong};
use super::text;

/// Arrays and objects in each other, at most.
pub(super) const DEPTH_MAX: usize = 512;
/// What is shorter, times its depth, is read again rather than noted, in bytes: so the notes of all depths together stay
/// below the text.
const NOTED: usize = 128;
/// From so many parts on there is a table, and so many elements of an array are stepped over to find one.
const TOGETHER: usize = 64;
/// Bits of an entry that are an offset; the others are of a hash.
const OFFSET_BITS: u32 = 40;
const OFFSETS: u64 = (1 << OFFSET_BITS) - 1;

/// The notes of a text.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Where the root begins and ends.
    pub root: (usize, usize),
    /// Begin and end of what is long, in the order of the begins.
    long: Vec<(u64, u64)>,
    /// By where they begin.
    tables: HashMap<u64, Table, RandomState>,
    hasher: RandomState,
    /// A name that an object has twice, and where.
    pub duplicate: Option<usize>,
}

/// The parts of an object or array that has many.
#[derive(Debug)]
struct Table {
    count: u64,
    /// Of an object: the hash and the offset of each name, in the order of hashes. Of an array: the offset of each 64th
    /// element.
    entries: Box<[u64]>,
}

/// An array or object that has no end yet.
struct Open {
    begin: usize,
    object: bool,
    count: u64,
    /// How many entries there were before.
    entries: usize,
}

impl Index {
    /// Reads a text: from `at` on, to its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8], at: usize) -> Scanned<Index> {
        let mut index = Index::default();
        let begin = scan::blank(text, at)?;
        if !matches!(text.get(begin), Some(b'{' | b'[')) {
            return Err(Wrong { at: begin, why: "an object or an array is expected" });
        }
        let end = index.walk(text, begin)?;
        let after = scan::blank(text, end)?;
        if after < text.len() {
            return Err(Wrong { at: after, why: "nothing is expected behind the end" });
        }
        index.root = (begin, end);
        index.long.sort_unstable();
        index.long.shrink_to_fit();
        Ok(index)
    }

    fn walk(&mut self, text: &[u8], begin: usize) -> Scanned<usize> {
        let mut open: Vec<Open> = Vec::new();
        let mut entries: Vec<u64> = Vec::new();
        let mut at = begin;
        loop {
            // A value begins here.
            if let Some(byte @ (b'{' | b'[')) = text.get(at) {
                if open.len() == DEPTH_MAX {
                    return Err(Wrong { at, why: "more than 512 arrays and objects in each other" });
                }
                open.push(Open { begin: at, object: *byte == b'{', count: 0, entries: entries.len() });
                at = scan::blank(text, at + 1)?;
            } else {
                at = scan::blank(text, scan::scalar(text, at)?)?;
                at = behind(text, at)?;
            }
            // A part, or the end of what is open.
            while let Some(last) = open.last()
                && text.get(at) == Some(if last.object { &b'}' } else { &b']' })
            {
                let (begin, end) = (last.begin, at + 1);
                self.close(text, &open, &mut entries, end);
                open.pop();
                if open.is_empty() {
                    return Ok(end);
                }
                if end - begin >= NOTED * (open.len() + 1) {
                    self.long.push((begin as u64, end as u64));
                }
                at = behind(text, scan::blank(text, end)?)?;
            }
            let Some(last) = open.last_mut() else { return Ok(at) };
            if last.object {
                let name = scan::blank(text, at)?;
                if text.get(name) != Some(&b'"') {
                    return Err(Wrong { at: name, why: "a name in quotes is expected" });
                }
                let end = scan::string(text, name)?;
                entries.push(entry(&self.hasher, &text[name..end], name));
                at = colon(text, end)?;
            } else if last.count.is_multiple_of(TOGETHER as u64) {
                entries.push(at as u64);
            }
            last.count += 1;
        }
    }

    /// Looks at all parts of what ends at `end`, and keeps a table where there are many.
    fn close(&mut self, text: &[u8], open: &[Open], entries: &mut Vec<u64>, end: usize) {
        let Some(last) = open.last() else { return };
        debug_assert!(end > last.begin);
        let own = &mut entries[last.entries..];
        if last.object {
            own.sort_unstable();
            self.find_duplicate(text, own);
        }
        if last.count >= TOGETHER as u64 {
            let table = Table { count: last.count, entries: own.into() };
            self.tables.insert(last.begin as u64, table);
        }
        entries.truncate(last.entries);
    }

    fn find_duplicate(&mut self, text: &[u8], entries: &[u64]) {
        if self.duplicate.is_some() {
            return;
        }
        for same in entries.chunk_by(|a, b| a >> OFFSET_BITS == b >> OFFSET_BITS) {
            if same.len() < 2 {
                continue;
            }
            let mut names: Vec<_> =
                same.iter().map(|entry| name_at(text, (entry & OFFSETS) as usize)).collect();
            names.sort_unstable();
            if names.windows(2).any(|pair| pair[0] == pair[1]) {
                self.duplicate = same.last().map(|entry| (entry & OFFSETS) as usize);
                return;
            }
        }
    }

    /// The end of the value that begins at `at`.
    pub fn end_of(&self, text: &[u8], at: usize) -> usize {
        if at == self.root.0 {
            return self.root.1;
        }
        if !matches!(text.get(at), Some(b'{' | b'[')) {
            return scan::scalar(text, at).unwrap_or(at);
        }
        let mut depth = 0_usize;
        let mut next = at;
        while let Some(byte) = text.get(next) {
            match byte {
                b'{' | b'[' => {
                    if let Ok(found) = self.long.binary_search_by_key(&(next as u64), |(begin, _)| *begin) {
                        next = self.long[found].1 as usize;
                        if depth == 0 {
                            return next;
                        }
                        continue;
                    }
                    depth += 1;
                    next += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    next += 1;
                    if depth == 0 {
                        return next;
                    }
                }
                b'"' => next = scan::string(text, next).unwrap_or(text.len()),
                b'/' => next = scan::comment(text, next).unwrap_or(text.len()),
                _ => next += 1,
            }
        }
        next
    }

    /// How many parts what begins at `begin` has, where that is known.
    pub fn count(&self, begin: usize) -> Option<u64> {
        self.tables.get(&(begin as u64)).map(|table| table.count)
    }

    /// The last place of a name in an object that has a table; `None` where there is no table.
    pub fn find_name(&self, text: &[u8], begin: usize, name: &[u8]) -> Option<Option<usize>> {
        let table = self.tables.get(&(begin as u64))?;
        let hash = hash(&self.hasher, name);
        let from = table.entries.partition_point(|entry| entry >> OFFSET_BITS < hash);
        let same = table.entries[from..].iter().take_while(|entry| **entry >> OFFSET_BITS == hash);
        let offsets = same.map(|entry| (entry & OFFSETS) as usize);
        Some(offsets.filter(|at| name_at(text, *at).is_some_and(|there| *there == *name)).last())
    }

    /// Where to look for an element of an array: the index and the place of one that is not far before it.
    pub fn near(&self, begin: usize, index: u64) -> Option<(u64, usize)> {
        let table = self.tables.get(&(begin as u64))?;
        let step = index / TOGETHER as u64;
        let at = table.entries.get(usize::try_from(step).ok()?)?;
        Some((step * TOGETHER as u64, *at as usize))
    }
}

/// Behind a value: over its comma, where it has one.
fn behind(text: &[u8], at: usize) -> Scanned<usize> {
    match text.get(at) {
        Some(b',') => scan::blank(text, at + 1),
        Some(b'}' | b']') => Ok(at),
        Some(_) => Err(Wrong { at, why: "a comma or an end is expected" }),
        None => Err(Wrong { at, why: "the text ends within an array or object" }),
    }
}

/// Where the value begins that belongs to the name that ends at `end`.
pub(super) fn colon(text: &[u8], end: usize) -> Scanned<usize> {
    let at = scan::blank(text, end)?;
    if text.get(at) != Some(&b':') {
        return Err(Wrong { at, why: "a colon is expected" });
    }
    scan::blank(text, at + 1)
}

/// The name whose quote is at `at`.
fn name_at(text: &[u8], at: usize) -> Option<std::borrow::Cow<'_, [u8]>> {
    let end = scan::string(text, at).ok()?;
    text::decode(&text[at..end])
}

fn hash(hasher: &RandomState, name: &[u8]) -> u64 {
    hasher.hash_one(name) >> OFFSET_BITS
}

/// What a table has of a name; one that is no text has the hash of its token, and is found by nobody.
fn entry(hasher: &RandomState, token: &[u8], at: usize) -> u64 {
    let hash = match text::decode(token) {
        Some(name) => hash(hasher, &name),
        None => hash(hasher, token),
    };
    hash << OFFSET_BITS | at as u64
}
