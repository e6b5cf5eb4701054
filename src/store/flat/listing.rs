//! Listing one directory of a flat map: names are collected in pages, in the order of the flat keys, whole subtrees
//! are passed over, and each name is given once (§2.6).
//!
//! In byte order `a`, `a!`, `a/b`: the key `a` and the keys below `a/` are one name, but other names lie between
//! them. So a value whose subtree is still ahead stays *open*: the scan decides about it when it comes by, one
//! look-up does when the page ends before. Open names are all prefixes of the place the scan has come to, which is
//! why their lengths are enough to remember them ([`Cursor::given`]).

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::kv::{Found, Kv, Step};
use super::separator::{Separator, after_all_with};
use crate::error::Result;
use crate::key::Segment;
use crate::store::api::{Cursor, Entry, Kind, Stat};

/// Entries in a page: at first; and at most, once so many were given that collecting more than are wanted costs
/// little.
const PAGE_FIRST: usize = 128;
const PAGE_MAX: usize = 1024;
/// Bytes of names after which a page ends.
const NAMES_MAX: usize = 1 << 18;
/// Keys of one subtree that are stepped over before the scan jumps: a step is several times cheaper than a jump.
const STEPS_BEFORE_JUMP: u32 = 8;

/// What [`list`] walks: one directory of one map.
pub(in crate::store) struct Directory<'a, K> {
    pub kv: &'a K,
    pub separator: &'a Separator,
    /// What the flat keys of all that is in it start with; empty for the root.
    pub prefix: Vec<u8>,
    /// The longest key there can be, in bytes.
    pub key_max: usize,
}

/// Hands out the names in `directory`: [`crate::store::api::Store::list`] for flat maps.
pub(in crate::store) fn list<K: Kv>(
    directory: &Directory<'_, K>,
    cursor: &mut Cursor,
    each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
) -> Result<()> {
    if cursor.position.is_empty() {
        cursor.position.clone_from(&directory.prefix);
    }
    let mut page = Page::new(directory.separator, directory.prefix.is_empty(), directory.kv.changed());
    while !cursor.done {
        page.begin(cursor, directory.prefix.len());
        directory.kv.scan(
            &cursor.position,
            &mut |key, found| match key.strip_prefix(&*directory.prefix) {
                Some(rest) => page.take(rest, found, &directory.prefix),
                None => Step::Stop,
            },
        )?;
        page.decide(directory)?;
        for index in 0..page.rows.len() {
            if each(page.entry(index)).is_break() {
                let stop = page.rows[index].place(&page.names, directory.separator);
                page.leave(cursor, &directory.prefix, index, &stop);
                return Ok(());
            }
        }
        match std::mem::take(&mut page.stopped) {
            Some(stop) => page.leave(cursor, &directory.prefix, page.rows.len(), &stop),
            None => {
                cursor.done = true;
                cursor.given.clear();
            }
        }
    }
    Ok(())
}

/// Some entries of a listing; one is reused for all pages of a call, so that no entry allocates.
struct Page<'a> {
    separator: &'a Separator,
    root: bool,
    changed: SystemTime,
    /// How many entries the pages before this one had.
    collected: usize,
    /// The names of all rows, one after the other.
    names: Vec<u8>,
    rows: Vec<Row>,
    /// The place below the prefix where the listing went on.
    start: Vec<u8>,
    /// Lengths of the prefixes of `start` that were given before this page.
    inherited: Vec<u32>,
    /// Values met whose subtrees are ahead; each name is a prefix of the next one's, and of `trail`.
    open: Vec<Open>,
    trail: Vec<u8>,
    /// The subtree that the scan is in, and how many of its keys it met.
    subtree: Option<(Vec<u8>, u32)>,
    /// The key below the prefix that did not fit; `None` when the scan came to the end.
    stopped: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Row {
    start: u32,
    end: u32,
    kind: Kind,
    /// Whether a key below it was met first, and not its value.
    met_below: bool,
    found: Found,
}

#[derive(Clone, Copy)]
struct Open {
    length: u32,
    /// Its row, where it is in this page.
    row: Option<u32>,
}

impl<'a> Page<'a> {
    fn new(separator: &'a Separator, root: bool, changed: SystemTime) -> Page<'a> {
        Page {
            separator,
            root,
            changed,
            collected: 0,
            names: Vec::new(),
            rows: Vec::new(),
            start: Vec::new(),
            inherited: Vec::new(),
            open: Vec::new(),
            trail: Vec::new(),
            subtree: None,
            stopped: None,
        }
    }

    /// Empties the page, to go on at `cursor`.
    fn begin(&mut self, cursor: &Cursor, prefix: usize) {
        self.collected += self.rows.len();
        self.names.clear();
        self.rows.clear();
        self.start.clear();
        self.start.extend_from_slice(&cursor.position[prefix..]);
        self.inherited.clone_from(&cursor.given);
        self.open.clear();
        self.open.extend(self.inherited.iter().map(|&length| Open { length, row: None }));
        self.trail.clone_from(&self.start);
        self.subtree = None;
        self.stopped = None;
    }

    /// Takes in the next key of the scan, without the directory's prefix.
    fn take(&mut self, rest: &[u8], found: Found, prefix: &[u8]) -> Step {
        let cut = self.separator.find(rest);
        let name = &rest[..cut.unwrap_or(rest.len())];
        if cut.is_some()
            && let Some((subtree, keys)) = &mut self.subtree
            && subtree == name
        {
            *keys += 1;
            return if *keys > STEPS_BEFORE_JUMP { self.jump(name, prefix) } else { Step::Next };
        }
        self.close_passed(rest);
        if cut.is_none() && rest.is_empty() && !self.root && found.size == 0 {
            return Step::Next; // the directory's own marker (§2.3)
        }
        let known = cut.and_then(|_| self.open.iter().rposition(|open| open.length as usize == name.len()));
        let capacity = (self.collected / 8).clamp(PAGE_FIRST, PAGE_MAX);
        if known.is_none() && (self.rows.len() >= capacity || self.names.len() >= NAMES_MAX) {
            self.stopped = Some(rest.to_vec());
            return Step::Stop;
        }
        match (cut, known) {
            (None, _) => self.add_value(name, found),
            (Some(_), Some(known)) => {
                if let Some(row) = self.open.remove(known).row {
                    self.rows[row as usize].kind = Kind::Both;
                }
                self.enter(name);
            }
            (Some(_), None) => {
                let found = Found { size: 0, modified: self.changed };
                self.add_row(name, Kind::Branch, true, found);
                self.enter(name);
            }
        }
        Step::Next
    }

    fn add_row(&mut self, name: &[u8], kind: Kind, met_below: bool, found: Found) {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(name);
        self.rows.push(Row { start, end: self.names.len() as u32, kind, met_below, found });
    }

    fn add_value(&mut self, name: &[u8], found: Found) {
        self.add_row(name, Kind::Leaf, false, found);
        if self.separator.fits_after(name) {
            self.open.push(Open { length: name.len() as u32, row: Some(self.rows.len() as u32 - 1) });
            self.trail.clear();
            self.trail.extend_from_slice(name);
        }
    }

    fn enter(&mut self, name: &[u8]) {
        let (subtree, keys) = self.subtree.get_or_insert_default();
        subtree.clear();
        subtree.extend_from_slice(name);
        *keys = 1;
    }

    fn jump(&self, name: &[u8], prefix: &[u8]) -> Step {
        let below = [prefix, name, self.separator.as_bytes()].concat();
        after_all_with(&below).map_or(Step::Stop, Step::Seek)
    }

    /// Closes the open names whose subtrees end before `rest`: nothing is below them.
    fn close_passed(&mut self, rest: &[u8]) {
        while let Some(open) = self.open.last() {
            let name = &self.trail[..open.length as usize];
            let separator = self.separator.as_bytes();
            if rest.strip_prefix(name).is_some_and(|tail| tail < separator || tail.starts_with(separator)) {
                break;
            }
            self.open.pop();
        }
    }

    /// Asks the map what the scan left undecided.
    fn decide<K: Kv>(&mut self, directory: &Directory<'_, K>) -> Result<()> {
        let undecided = if self.stopped.is_some() { self.open.as_slice() } else { &[] };
        for row in undecided.iter().filter_map(|open| open.row) {
            let row = &mut self.rows[row as usize];
            let name = row.name(&self.names);
            let below = [&*directory.prefix, name, self.separator.as_bytes()].concat();
            if below.len() <= directory.key_max && directory.kv.any_below(&below)? {
                row.kind = Kind::Both;
            }
        }
        // The segment without bytes has its value at the directory's own marker, which was passed over if empty.
        let unnamed = self.rows.iter_mut().find(|row| row.met_below && row.start == row.end && !self.root);
        if let Some(row) = unnamed
            && let Some(found) = directory.kv.get(&directory.prefix)?
        {
            row.kind = Kind::Both;
            row.found = found;
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Entry<'_> {
        let row = &self.rows[index];
        Entry {
            segment: Segment::plain(row.name(&self.names)),
            stat: Stat::plain(row.kind, row.found.size, row.found.modified),
        }
    }

    /// Leaves the listing before `stop` (below the prefix), with the first `given` rows given.
    fn leave(&self, cursor: &mut Cursor, prefix: &[u8], given: usize, stop: &[u8]) {
        let separator = self.separator.as_bytes();
        let ahead = |name: &[u8]| stop.strip_prefix(name).is_some_and(|tail| tail < separator);
        cursor.given.clear();
        cursor.given.extend(self.inherited.iter().filter(|&&length| ahead(&self.start[..length as usize])));
        for row in self.rows[..given].iter().filter(|row| !row.met_below) {
            let name = row.name(&self.names);
            if ahead(name) && self.separator.fits_after(name) {
                cursor.given.push(name.len() as u32);
            }
        }
        cursor.position.clear();
        cursor.position.extend_from_slice(prefix);
        cursor.position.extend_from_slice(stop);
    }
}

impl Row {
    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        &names[self.start as usize..self.end as usize]
    }

    /// The first key below the prefix that makes this entry.
    fn place(&self, names: &[u8], separator: &Separator) -> Vec<u8> {
        let mut place = self.name(names).to_vec();
        if self.met_below {
            place.extend_from_slice(separator.as_bytes());
        }
        place
    }
}
