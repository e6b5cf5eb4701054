//! Listings: the names that the mount alone shows, then the store's, streamed (§2.6).

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Vfs;
use super::attr::Attr;
use super::lookup::Target;
use super::node::{Ino, Place, Step, What, number};
use super::overlay::Shown;
use crate::error::{ErrorKind, Result};
use crate::key::{Segment, Word};
use crate::name;
use crate::store::api::{Cursor, Entry, Stat};

/// How far an open directory was read.
#[derive(Debug)]
pub struct DirectoryHandle {
    ino: Ino,
    place: Place,
    hash: u64,
    parent: Ino,
    /// Names that the mount alone showed when the listing began; given first.
    own: Vec<(Box<[u8]>, Shown)>,
    own_names: HashSet<Box<[u8]>>,
    /// Pieces of long names given already (§1.8).
    pieces: HashSet<Box<[u8]>>,
    cursor: Cursor,
    /// The offset of the next entry.
    next: u64,
    /// Cursors at earlier offsets, for whoever seeks back.
    marks: Vec<(u64, Cursor)>,
}

/// One name given to the kernel.
pub struct Given<'a> {
    /// The inode number.
    pub ino: Ino,
    /// What it is.
    pub what: &'a What,
    /// The file name.
    pub name: &'a [u8],
    /// The offset of the entry after it.
    pub next: u64,
    /// The attributes, where they were asked for and are known; then a lookup is counted if the name is taken.
    pub attr: Option<&'a Attr>,
}

/// Takes names until it is full, which it says with false.
pub type Taker<'a> = dyn FnMut(Given<'_>) -> bool + 'a;

/// Offsets 0 and 1 are `.` and `..`.
const DOTS: u64 = 2;

impl Vfs {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// `NotDirectory`; `Stale` for a number that is not known.
    pub fn opendir(&self, ino: Ino) -> Result<u64> {
        let (place, parent) = {
            let table = self.table.lock();
            (table.place(ino).ok_or(ErrorKind::Stale)?, table.get(ino).ok_or(ErrorKind::Stale)?.parent)
        };
        let handle = self.directory_handle(ino, place, parent)?;
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.opens += 1;
        }
        self.directories.lock().insert(number, Arc::new(Mutex::new(handle)));
        Ok(number)
    }

    fn directory_handle(&self, ino: Ino, place: Place, parent: Ino) -> Result<DirectoryHandle> {
        let mut own = Vec::new();
        if place.more.is_none() {
            own = self.overlay.read().shown(&place.key);
            if self.own_value(&place)?.is_some() {
                own.push((name::VALUE.into(), Shown::File));
            }
        }
        Ok(DirectoryHandle {
            ino,
            hash: number::of_key(&place.key),
            parent,
            own_names: own.iter().map(|(name, _)| name.clone()).collect(),
            own,
            pieces: HashSet::new(),
            cursor: Cursor::default(),
            next: 0,
            marks: Vec::new(),
            place,
        })
    }

    /// Closes it.
    pub fn releasedir(&self, handle: u64) {
        let Some(directory) = self.directories.lock().remove(&handle) else { return };
        let ino = directory.lock().ino;
        let mut table = self.table.lock();
        if let Some(node) = table.get_mut(ino) {
            node.opens = node.opens.saturating_sub(1);
        }
        table.collect(ino);
    }

    /// Gives names from `offset` on until `take` is full; with `attributes`, each but the dots with its own.
    ///
    /// # Errors
    /// The store's.
    pub fn readdir(&self, handle: u64, offset: u64, attributes: bool, take: &mut Taker<'_>) -> Result<()> {
        let directory = self.directories.lock().get(&handle).cloned().ok_or(ErrorKind::BadHandle)?;
        let mut directory = directory.lock();
        if offset == 0 && directory.next != 0 {
            let (ino, parent) = (directory.ino, directory.parent);
            // `rewinddir` shows the directory as it is now.
            *directory = self.directory_handle(ino, self.place(ino)?, parent)?;
        }
        self.read_from(&mut directory, offset, attributes, take)
    }

    fn read_from(
        &self,
        directory: &mut DirectoryHandle,
        offset: u64,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> Result<()> {
        directory.seek(offset);
        while directory.next < offset {
            // Names before the offset are passed over, not given.
            let behind = offset - directory.next;
            let mut left = behind;
            self.give(directory, false, &mut |_| {
                left -= u64::from(left > 0);
                left > 0
            })?;
            if directory.cursor.done && directory.next < offset {
                return Ok(());
            }
        }
        let mark = (directory.next, directory.cursor.clone());
        directory.mark(mark);
        self.give(directory, attributes, take)
    }

    fn give(&self, directory: &mut DirectoryHandle, attributes: bool, take: &mut Taker<'_>) -> Result<()> {
        while directory.next < DOTS {
            let (name, ino): (&[u8], _) =
                if directory.next == 0 { (b".", directory.ino) } else { (b"..", directory.parent) };
            let next = directory.next + 1;
            if !take(Given { ino, what: &What::Directory, name, next, attr: None }) {
                return Ok(());
            }
            directory.next = next;
        }
        while let Some((name, shown)) = directory.own.get((directory.next - DOTS) as usize) {
            let next = directory.next + 1;
            let (name, shown) = (name.clone(), *shown);
            if !self.give_own(directory, &name, shown, next, attributes, take) {
                return Ok(());
            }
            directory.next = next;
        }
        self.give_stored(directory, attributes, take)
    }

    /// Gives a name that the mount alone shows.
    fn give_own(
        &self,
        directory: &DirectoryHandle,
        name: &[u8],
        shown: Shown,
        next: u64,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> bool {
        if attributes {
            return match self.lookup(directory.ino, name) {
                Ok(attr) => {
                    let taken =
                        take(Given { ino: attr.ino, what: &attr.what, name, next, attr: Some(&attr) });
                    if !taken {
                        self.forget(attr.ino, 1);
                    }
                    taken
                }
                // Gone since the listing began.
                Err(_) => true,
            };
        }
        let Some(target) = self.target(&directory.place, name) else { return true };
        let hash = number::of_key(&target.key);
        let (what, hash) = match shown {
            Shown::Directory => (What::Directory, number::of_directory(hash)),
            Shown::Symlink => (What::Symlink(Box::default()), number::of_file(hash)),
            Shown::File => (What::File, number::of_file(hash)),
        };
        let ino = self.table.lock().child(directory.ino, name).unwrap_or(hash);
        take(Given { ino, what: &what, name, next, attr: None })
    }

    /// Gives the store's names.
    fn give_stored(
        &self,
        directory: &mut DirectoryHandle,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> Result<()> {
        let mut cursor = std::mem::take(&mut directory.cursor);
        let mut next = directory.next;
        let mut new_pieces = Vec::new();
        let hash = directory.hash;
        // Otherwise the number that the key gives is the number that `stat` shows.
        let renumbered = {
            let table = self.table.lock();
            table.renumbered && table.get(directory.ino).is_some_and(|node| !node.children.is_empty())
        };
        let outcome = self.store.list(&directory.place.key, &mut cursor, &mut |entry: Entry<'_>| {
            let encoded = name::encode(entry.segment);
            if !directory.own_names.is_empty() && directory.own_names.contains(&*encoded) {
                return ControlFlow::Continue(());
            }
            let before = directory.place.more.as_deref().unwrap_or_default();
            let Some(name) = name::shown(&encoded, before) else { return ControlFlow::Continue(()) };
            let given = Listed { name: &name, segment: entry.segment, stat: entry.stat, next: next + 1 };
            let taken = if name.len() != encoded.len() - before.len() {
                if directory.pieces.contains(&*name) || new_pieces.contains(&Box::from(&*name)) {
                    return ControlFlow::Continue(());
                }
                let taken = self.give_piece(directory, &name, before, given.next, attributes, take);
                if taken {
                    new_pieces.push(Box::from(&*name));
                }
                taken
            } else if attributes {
                self.give_with_attributes(directory, &given, take)
            } else {
                let below = number::below(hash, entry.segment);
                let (what, number) = if entry.stat.kind.is_directory() {
                    (What::Directory, number::of_directory(below))
                } else {
                    (What::File, number::of_file(below))
                };
                let known = if renumbered { self.table.lock().child(directory.ino, &name) } else { None };
                take(Given {
                    ino: known.unwrap_or(number),
                    what: &what,
                    name: &name,
                    next: given.next,
                    attr: None,
                })
            };
            if taken {
                next += 1;
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        directory.next = next;
        directory.cursor = cursor;
        directory.pieces.extend(new_pieces);
        outcome
    }

    /// The stat of the directory's own value, where it has one (§1.7).
    fn own_value(&self, place: &Place) -> Result<Option<Stat>> {
        if place.key.is_root() || place.more.is_some() {
            return Ok(None);
        }
        Ok(self.store.stat(&place.key)?.filter(|stat| stat.kind.has_value()))
    }

    /// Gives the `%more` directory of a long name (§1.8).
    fn give_piece(
        &self,
        directory: &DirectoryHandle,
        name: &[u8],
        before: &[u8],
        next: u64,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> bool {
        if attributes {
            return self.give_own(directory, name, Shown::Directory, next, true, take);
        }
        let piece = name.strip_suffix(name::MORE).unwrap_or(name);
        let ino = number::of_more(directory.hash, &[before, piece].concat());
        take(Given { ino, what: &What::Directory, name, next, attr: None })
    }

    /// Gives a name of the store's with its attributes; a lookup is counted if it is taken.
    fn give_with_attributes(
        &self,
        directory: &DirectoryHandle,
        listed: &Listed<'_>,
        take: &mut Taker<'_>,
    ) -> bool {
        let what = if listed.stat.kind.is_directory() { What::Directory } else { What::File };
        let written = {
            let mut table = self.table.lock();
            table.child(directory.ino, listed.name).and_then(|ino| {
                let buffer = table.get(ino)?.buffer.clone()?;
                if let Some(node) = table.get_mut(ino) {
                    node.lookups += 1;
                }
                Some((ino, table.place(ino)?, buffer))
            })
        };
        let attr = match written {
            Some((ino, place, buffer)) => match self.attr(ino, &place, Some(&buffer), None) {
                Ok(attr) => attr,
                Err(_) => {
                    self.forget(ino, 1);
                    return true;
                }
            },
            None => {
                let segment = listed.segment;
                let step = if listed.name == segment.bytes && segment.word == Word::None {
                    Step::Plain
                } else {
                    Step::Coded(segment.bytes.into(), segment.word)
                };
                let target = Target { key: directory.place.key.child(segment), step };
                self.remember(directory.ino, listed.name, target, what, Some(listed.stat))
            }
        };
        let taken = take(Given {
            ino: attr.ino,
            what: &attr.what,
            name: listed.name,
            next: listed.next,
            attr: Some(&attr),
        });
        if !taken {
            self.forget(attr.ino, 1);
        }
        taken
    }

    /// Waits for everything that was put in a directory (§4.4).
    ///
    /// # Errors
    /// The store's.
    pub fn fsyncdir(&self) -> Result<()> {
        self.store.sync()
    }
}

/// A name of the store's on its way to the kernel.
struct Listed<'a> {
    name: &'a [u8],
    segment: Segment<'a>,
    stat: Stat,
    next: u64,
}

impl DirectoryHandle {
    /// Goes back to the nearest known position at or before `offset`.
    fn seek(&mut self, offset: u64) {
        if offset >= self.next {
            return;
        }
        let position = self.marks.iter().rposition(|(at, _)| *at <= offset);
        match position.and_then(|position| self.marks.get(position).cloned()) {
            Some((at, cursor)) => (self.next, self.cursor) = (at, cursor),
            None => (self.next, self.cursor) = (0, Cursor::default()),
        }
        self.marks.retain(|(at, _)| *at <= self.next);
        self.pieces.clear();
    }

    /// Keeps a position, and not more than a few hundred of them.
    fn mark(&mut self, mark: (u64, Cursor)) {
        if self.marks.last().is_none_or(|(at, _)| *at < mark.0) {
            if self.marks.len() >= 256 {
                let mut index = 0;
                self.marks.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
            self.marks.push(mark);
        }
    }
}
