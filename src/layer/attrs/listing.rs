//! Listing a directory: the store's entries and the names that the sidecar alone has, each once, in the order of
//! their bytes as far as the store's entries are.
//!
//! A name that the sidecar has is given by the sidecar's side, and passed over on the store's, where the two meet: at
//! its place in the order of the names' bytes. In the store's order `a!` may come before `a`, of which only keys below
//! are there; so what was given by the sidecar's side and may be met again is remembered: it is a prefix of the
//! greatest name given so far, as in the listing of a flat store.
//!
//! The store must not be called while it hands out entries. So the names are prepared in pages, and the store's listing
//! is left where a new page is needed, or a value must be looked at.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::Attrs;
use super::keys::names_in;
use super::reading::Doubt;
use super::record::Name;
use crate::error::Result;
use crate::key::{Key, Segment, Word};
use crate::store::api::{Cursor, Entry, Stat};
use crate::store::attributes::Attributes;

/// Names in a page.
const PAGE: usize = 64;
/// Entries that are looked ahead at where one has times in doubt.
const AHEAD: usize = 256;

/// What each entry comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Its type, and its number.
    Type,
    /// All its attributes.
    Attributes,
}

/// How far a listing has come beside the store, as [`Cursor::beside`] has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Whether the store has given all of its entries.
    store_done: bool,
    /// The greatest name given, by either side. The sidecar's side goes on after it.
    last: Option<Vec<u8>>,
    /// Which prefixes of it the sidecar's side has given, by their lengths.
    given: Vec<u32>,
}

impl Progress {
    fn decode(beside: &[u8]) -> Progress {
        let Some((flags, rest)) = beside.split_first() else { return Progress::default() };
        let (count, rest) = rest
            .split_first_chunk()
            .map_or((0, rest), |(count, rest)| (u32::from_le_bytes(*count) as usize, rest));
        let (lengths, last) = rest
            .as_chunks::<4>()
            .0
            .split_at_checked(count)
            .map_or((&[][..], rest), |split| (split.0, &rest[count * 4..]));
        Progress {
            store_done: flags & 1 != 0,
            last: (flags & 2 != 0).then(|| last.to_vec()),
            given: lengths.iter().map(|length| u32::from_le_bytes(*length)).collect(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.store_done) | u8::from(self.last.is_some()) << 1];
        bytes.extend_from_slice(&(self.given.len() as u32).to_le_bytes());
        self.given.iter().for_each(|length| bytes.extend_from_slice(&length.to_le_bytes()));
        bytes.extend_from_slice(self.last.as_deref().unwrap_or_default());
        bytes
    }

    /// Whether the sidecar's side is past `name`.
    fn is_past(&self, name: &[u8]) -> bool {
        self.last.as_deref().is_some_and(|last| name <= last)
    }

    /// `name` was given, by the sidecar's side where `beside`.
    fn give(&mut self, name: &[u8], beside: bool) {
        if self.is_past(name) {
            return;
        }
        let last = self.last.get_or_insert_default();
        self.given.retain(|length| name.starts_with(&last[..*length as usize]));
        last.clear();
        last.extend_from_slice(name);
        if beside {
            self.given.push(name.len() as u32);
        }
    }
}

/// Why the store's listing was left.
enum Left {
    /// Whoever lists has had enough.
    Enough,
    /// The page is used up.
    Page,
    /// The times of an entry are in doubt.
    Doubt,
}

/// Names that are ready to be given.
struct Page {
    names: Vec<(Vec<u8>, Stat)>,
    /// How many of them were given.
    given: usize,
    more: bool,
}

/// A listing under way.
struct Listing<'a> {
    attrs: &'a Attrs,
    dir: &'a Key,
    with: With,
    page: Page,
    /// What was found out about entries whose times were in doubt, and what they were before that.
    settled: HashMap<Key, (Stat, Attributes)>,
}

type Each<'e> = dyn FnMut(Entry<'_>) -> ControlFlow<()> + 'e;

impl Attrs {
    /// [`crate::store::api::Store::list`], and with attributes.
    pub(super) fn list_with(
        &self,
        dir: &Key,
        from: &mut Cursor,
        with: With,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let plain = with == With::Type && !self.sidecar.is_numbered();
        let alone = self.is_bare() || (plain && !self.sidecar.has_names());
        if from.done || (alone && !self.caps.write) {
            return self.store.list(dir, from, each);
        }
        let mut progress = Progress::decode(&from.beside);
        if alone && !progress.store_done {
            return self.list_alone(dir, from, &mut progress, each);
        }
        let _still = self.moving.read();
        let mut cursor = Cursor { beside: Vec::new(), done: progress.store_done, ..from.clone() };
        let page = Page { names: Vec::new(), given: 0, more: self.sidecar.has_names() };
        let mut listing = Listing { attrs: self, dir, with, page, settled: HashMap::new() };
        let outcome = listing.run(&mut progress, &mut cursor, each);
        progress.store_done = cursor.done;
        let done = matches!(outcome, Ok(ControlFlow::Continue(())));
        *from = Cursor { beside: progress.encode(), done, ..cursor };
        outcome.map(drop)
    }
}

impl Attrs {
    /// [`crate::store::api::Store::list_prefix`]: the names first, then the store's entries.
    pub(super) fn list_prefix_of(&self, dir: &Key, prefix: &[u8], each: &mut Each<'_>) -> Result<()> {
        if !self.sidecar.has_names() {
            return self.store.list_prefix(dir, prefix, each);
        }
        let _still = self.moving.read();
        let names = names_in(dir);
        let start = [&*names, prefix].concat();
        let mut after = None;
        loop {
            let wholes = self.sidecar.keys(&start, after.as_deref(), PAGE)?;
            for whole in &wholes {
                let segment = Segment::plain(&whole[names.len()..]);
                if let Some(stat) = self.stat_of_named(&dir.child(segment))?
                    && each(Entry { segment, stat }).is_break()
                {
                    return Ok(());
                }
            }
            if wholes.len() < PAGE {
                break;
            }
            after = wholes.last().cloned();
        }
        let mut failure = None;
        self.store.list_prefix(dir, prefix, &mut |entry| match self.name(&dir.child(entry.segment)) {
            Ok(Some(Name::Directory)) => ControlFlow::Continue(()),
            Ok(_) => each(entry),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// What a name of the sidecar stands for; `None` where the store's side gives what another program made there.
    fn stat_of_named(&self, key: &Key) -> Result<Option<Stat>> {
        let Some(name) = self.name(key)? else { return Ok(None) };
        let found = self.store.stat(key)?;
        if found.is_some() && name != Name::Directory {
            return Ok(None);
        }
        self.unite(found, &name)
    }

    /// The store's entries, where there are no others yet; names that come while it is listed go on from there.
    fn list_alone(
        &self,
        dir: &Key,
        from: &mut Cursor,
        progress: &mut Progress,
        each: &mut Each<'_>,
    ) -> Result<()> {
        let outcome = self.store.list(dir, from, &mut |entry| {
            each(entry)?;
            if entry.segment.word == Word::None {
                progress.give(entry.segment.bytes, false);
            }
            ControlFlow::Continue(())
        });
        from.beside = progress.encode();
        outcome
    }
}

impl Listing<'_> {
    /// Lists until the end, or until `each` breaks.
    fn run(
        &mut self,
        progress: &mut Progress,
        cursor: &mut Cursor,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>> {
        loop {
            if self.page.given == self.page.names.len() && self.page.more {
                self.page = self.next_page(progress.last.as_deref())?;
            }
            let left = self.list_store(progress, cursor, each)?;
            match left {
                Some(Left::Enough) => return Ok(ControlFlow::Break(())),
                Some(Left::Page) => {}
                Some(Left::Doubt) => self.settle(cursor)?,
                None => {
                    if self.give_names(progress, None, each).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    if !self.page.more {
                        return Ok(ControlFlow::Continue(()));
                    }
                }
            }
        }
    }

    /// Names after `last`, each with what is there.
    fn next_page(&self, last: Option<&[u8]>) -> Result<Page> {
        let prefix = names_in(self.dir);
        let after = last.map(|last| [&*prefix, last].concat());
        let wholes = self.attrs.sidecar.keys(&prefix, after.as_deref(), PAGE)?;
        let more = wholes.len() >= PAGE;
        let end = wholes.last().map(|whole| whole[prefix.len()..].to_vec());
        let mut names = Vec::with_capacity(wholes.len());
        for whole in wholes {
            let raw = whole[prefix.len()..].to_vec();
            let key = self.dir.child(Segment::plain(&raw));
            let Some(mut stat) = self.attrs.stat_of_named(&key)? else { continue };
            if self.with == With::Attributes {
                self.attrs.add_attributes(&key, &mut stat, Doubt::Compare)?;
            } else {
                self.attrs.add_numbers(&key, &mut stat)?;
            }
            names.push((raw, stat));
        }
        match end {
            // Where all of a page went in the meantime, the next one begins at its end.
            Some(end) if names.is_empty() && more => self.next_page(Some(&end)),
            _ => Ok(Page { names, given: 0, more }),
        }
    }

    /// Gives the names of the page up to that of `entry`, or all.
    fn give_names(
        &mut self,
        progress: &mut Progress,
        entry: Option<Segment<'_>>,
        each: &mut Each<'_>,
    ) -> ControlFlow<()> {
        while let Some((raw, stat)) = self.page.names.get(self.page.given) {
            if entry.is_some_and(|entry| entry.word == Word::None && **raw > *entry.bytes) {
                break;
            }
            each(Entry { segment: Segment::plain(raw), stat: *stat })?;
            progress.give(raw, true);
            self.page.given += 1;
        }
        ControlFlow::Continue(())
    }

    /// Whether the sidecar's side has given this entry of the store.
    fn is_given(&self, progress: &Progress, key: &Key, segment: Segment<'_>) -> Result<bool> {
        let Some(last) = progress.last.as_deref() else { return Ok(false) };
        if segment.word != Word::None || segment.bytes > last {
            return Ok(false);
        }
        if last.starts_with(segment.bytes) {
            return Ok(progress.given.contains(&(segment.bytes.len() as u32)));
        }
        // The store's entries are in no order.
        Ok(self.attrs.name(key)? == Some(Name::Directory))
    }

    /// Gives the store's entries, and the names that come before each.
    fn list_store(
        &mut self,
        progress: &mut Progress,
        cursor: &mut Cursor,
        each: &mut Each<'_>,
    ) -> Result<Option<Left>> {
        let (mut left, mut failure) = (None, None);
        if cursor.done {
            return Ok(None);
        }
        let (attrs, dir) = (self.attrs, self.dir);
        attrs.store.list(dir, cursor, &mut |entry| {
            let outcome = self.take(progress, entry, each).unwrap_or_else(|error| {
                failure = Some(error);
                Some(Left::Enough)
            });
            left = outcome;
            if left.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failure.map_or(Ok(left), Err)
    }

    /// Gives one entry of the store, unless there is a reason to leave it for now.
    fn take(
        &mut self,
        progress: &mut Progress,
        entry: Entry<'_>,
        each: &mut Each<'_>,
    ) -> Result<Option<Left>> {
        if self.give_names(progress, Some(entry.segment), each).is_break() {
            return Ok(Some(Left::Enough));
        }
        if self.page.given == self.page.names.len() && self.page.more {
            return Ok(Some(Left::Page));
        }
        let key = self.dir.child(entry.segment);
        if self.is_given(progress, &key, entry.segment)? {
            return Ok(None);
        }
        let mut stat = entry.stat;
        if self.with == With::Type {
            self.attrs.add_numbers(&key, &mut stat)?;
        } else if !self.attrs.add_attributes(&key, &mut stat, Doubt::Tell)? {
            // Looked at once, it is given: also where the next change has come already, but then without the times, which
            // are of the bytes before.
            let Some((seen, settled)) = self.settled.get(&key) else { return Ok(Some(Left::Doubt)) };
            stat.file = *settled;
            if (seen.size, seen.modified) != (stat.size, stat.modified) {
                (stat.file.mtime, stat.file.ctime) = (None, None);
            }
        }
        if each(Entry { stat, ..entry }).is_break() {
            return Ok(Some(Left::Enough));
        }
        if entry.segment.word == Word::None {
            progress.give(entry.segment.bytes, false);
        }
        Ok(None)
    }

    /// Compares the times that are in doubt of the entries ahead.
    fn settle(&mut self, cursor: &Cursor) -> Result<()> {
        let mut ahead = Vec::new();
        self.attrs.store.list(self.dir, &mut cursor.clone(), &mut |entry| {
            if entry.stat.kind.has_value() {
                ahead.push((self.dir.child(entry.segment), entry.stat));
            }
            if ahead.len() < AHEAD { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.settled.clear();
        for (key, seen) in ahead {
            let mut stat = seen;
            self.attrs.add_attributes(&key, &mut stat, Doubt::Compare)?;
            self.settled.insert(key, (seen, stat.file));
        }
        Ok(())
    }
}
