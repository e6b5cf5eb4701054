//! Open directories: the names that the mount alone shows, then the store's (`listing`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::Vfs;
use super::attr::Attr;
use super::listing::{Position, Reply};
use super::node::{Ino, Place, What};
use super::number;
use super::overlay::Shown;
use crate::error::{ErrorKind, Result};
use crate::name;

/// An open directory, and how far it was read.
#[derive(Debug)]
pub struct DirectoryHandle {
    pub(super) ino: Ino,
    pub(super) place: Place,
    /// The hash of its key, to which the numbers of its children add.
    pub(super) hash: u64,
    parent: Ino,
    /// File names that the mount alone showed when the listing began; given first.
    own: Vec<(Box<[u8]>, Shown)>,
    /// The same as encoded names and as file names: the store's listing passes over them.
    pub(super) own_names: HashSet<Box<[u8]>>,
    pub(super) at: Position,
    /// Pieces of long names given already (§1.8), with their offsets, where the store has no order.
    pub(super) pieces: HashMap<Box<[u8]>, u64>,
    /// The store's names in the last reply.
    pub(super) reply: Reply,
    /// Hashes of the directories that were given of the store's, with the offsets after them.
    pub(super) directories: HashMap<u64, u64>,
    /// Hashes of names that were given before and that the listing may meet again.
    pub(super) skip: HashSet<u64>,
    /// Earlier positions, for whoever seeks back.
    marks: Vec<Position>,
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
/// Of so many inodes in the kernel on, a reply has attributes for few names: each name that comes with them is one more,
/// which the kernel keeps until it needs the memory, and `find` asks for none of them.
pub(super) const CROWDED: usize = 1 << 16;
/// How many names that is. It is enough for the kernel to see whether somebody looks at them, and asks for more then.
pub(super) const FEW: usize = 16;
/// So many earlier positions are kept; with more, every second is dropped.
const MARKS_MOST: usize = 256;

impl Vfs {
    /// Opens a directory for listing.
    ///
    /// # Errors
    /// `NotDirectory`; `Stale` for a number that is not known.
    pub fn opendir(&self, ino: Ino) -> Result<u64> {
        let handle = self.directory_handle(ino)?;
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.count_open(ino, 1);
        self.directories.lock().insert(number, Arc::new(Mutex::new(handle)));
        Ok(number)
    }

    fn directory_handle(&self, ino: Ino) -> Result<DirectoryHandle> {
        let (place, parent) = self.place_and_parent(ino)?;
        let before = place.more.as_deref().unwrap_or_default();
        let mut own: Vec<(Box<[u8]>, Shown)> = Vec::new();
        let mut own_names = HashSet::new();
        let (in_mount, new_value) = {
            let overlay = self.overlay.read();
            let new_value = overlay.get(&place.key).is_some_and(|record| record.new_value);
            (overlay.shown(&place.key), new_value && place.more.is_none())
        };
        for (encoded, shown) in in_mount {
            if let Some(name) = name::shown(&encoded, before) {
                let name = Box::<[u8]>::from(&*name);
                let shown = if name.ends_with(name::MORE) { Shown::Directory } else { shown };
                if own_names.insert(name.clone()) {
                    own.push((name, shown));
                }
            }
            own_names.insert(encoded);
        }
        if new_value || self.has_own_value(&place)? {
            own.push((name::VALUE.into(), Shown::File));
        }
        Ok(DirectoryHandle {
            ino,
            hash: number::of_key(&place.key),
            parent,
            own,
            own_names,
            at: Position::default(),
            pieces: HashMap::new(),
            reply: Reply::default(),
            directories: HashMap::new(),
            skip: HashSet::new(),
            marks: Vec::new(),
            place,
        })
    }

    fn place_and_parent(&self, ino: Ino) -> Result<(Place, Ino)> {
        let table = self.table.lock();
        let place = table.place(ino).ok_or(ErrorKind::Stale)?;
        if place.what != What::Directory {
            return Err(ErrorKind::NotDirectory.into());
        }
        Ok((place, table.get(ino).ok_or(ErrorKind::Stale)?.parent))
    }

    /// Whether the directory's own key has a value in the store (§1.7).
    fn has_own_value(&self, place: &Place) -> Result<bool> {
        if place.key.is_root() || place.more.is_some() {
            return Ok(false);
        }
        Ok(self.store.stat(&place.key)?.is_some_and(|stat| stat.kind.has_value()))
    }

    /// Closes it.
    pub fn releasedir(&self, handle: u64) {
        let Some(directory) = self.directories.lock().remove(&handle) else { return };
        let ino = directory.lock().ino;
        self.count_open(ino, -1);
        self.table.lock().collect(ino);
    }

    /// Gives names from `offset` on until `take` is full; with `attributes`, each but the dots with its own.
    ///
    /// # Errors
    /// The store's, where nothing was given before: what was given is counted, and must reach the kernel.
    pub fn readdir(&self, handle: u64, offset: u64, attributes: bool, take: &mut Taker<'_>) -> Result<()> {
        let directory = self.directories.lock().get(&handle).cloned().ok_or(ErrorKind::BadHandle)?;
        let mut directory = directory.lock();
        let _names = self.hold_names()?;
        if offset == 0 && directory.at.next != 0 {
            // `rewinddir` shows the directory as it is now.
            *directory = self.directory_handle(directory.ino)?;
        }
        self.follow(&mut directory)?;
        let mut left = if attributes && self.table.lock().len() >= CROWDED { FEW } else { usize::MAX };
        let mut given = false;
        let outcome = self.read_from(&mut directory, offset, attributes, &mut |entry| {
            let counts = entry.attr.is_some();
            let taken = left > 0 && take(entry);
            left -= usize::from(taken && counts);
            given |= taken;
            taken
        });
        outcome.or_else(|error| if given { Ok(()) } else { Err(error) })
    }

    /// A directory that was renamed since is listed on under its new key: its names, and their order, are the same.
    fn follow(&self, directory: &mut DirectoryHandle) -> Result<()> {
        let (place, parent) = self.place_and_parent(directory.ino)?;
        directory.parent = parent;
        if place.key != directory.place.key {
            directory.hash = number::of_key(&place.key);
            directory.place = place;
            directory.marks.clear();
            directory.begin_at(Position::default());
        }
        Ok(())
    }

    fn read_from(
        &self,
        directory: &mut DirectoryHandle,
        offset: u64,
        attributes: bool,
        take: &mut Taker<'_>,
    ) -> Result<()> {
        if offset < directory.at.next && !self.go_back_in_reply(directory, offset)? {
            directory.go_back(offset);
        }
        if directory.at.next < offset {
            // Names before the offset are passed over, not given.
            let mut behind = offset - directory.at.next;
            self.give(directory, false, &mut |_| {
                let pass = behind > 0;
                behind -= u64::from(pass);
                pass
            })?;
        }
        directory.mark();
        self.give(directory, attributes, take)
    }

    fn give(&self, directory: &mut DirectoryHandle, attributes: bool, take: &mut Taker<'_>) -> Result<()> {
        while directory.at.next < DOTS {
            let (name, ino): (&[u8], _) =
                if directory.at.next == 0 { (b".", directory.ino) } else { (b"..", directory.parent) };
            let next = directory.at.next + 1;
            if !take(Given { ino, what: &What::Directory, name, next, attr: None }) {
                return Ok(());
            }
            directory.at.next = next;
        }
        while let Some((name, shown)) = directory.own.get((directory.at.next - DOTS) as usize) {
            let given = if attributes {
                self.give_looked_up(directory, name, take)
            } else {
                self.give_own(directory, name, *shown, take)
            };
            if !given {
                return Ok(());
            }
            directory.at.next += 1;
        }
        self.give_stored(directory, attributes, take)
    }

    /// Gives a name that was shown with the attributes it has now; false where it was not taken. One that is gone
    /// since is passed over.
    pub(super) fn give_looked_up(
        &self,
        directory: &DirectoryHandle,
        name: &[u8],
        take: &mut Taker<'_>,
    ) -> bool {
        let Ok(attr) = self.look_up(directory.ino, name) else { return true };
        let next = directory.at.next + 1;
        let taken = take(Given { ino: attr.ino, what: &attr.what, name, next, attr: Some(&attr) });
        if !taken {
            self.forget(attr.ino, 1);
        }
        taken
    }

    /// Gives a name that the mount alone shows.
    pub(super) fn give_own(
        &self,
        directory: &DirectoryHandle,
        name: &[u8],
        shown: Shown,
        take: &mut Taker<'_>,
    ) -> bool {
        let Some(target) = self.target(&directory.place, name) else { return true };
        let (what, number) = match (&target.step, shown) {
            (super::node::Step::More(prefix), _) => {
                (What::Directory, number::of_more(directory.hash, prefix))
            }
            (_, Shown::Directory) => (What::Directory, number::of(&target.key, true)),
            (_, Shown::File) => (What::File, number::of(&target.key, false)),
        };
        let ino = self.table.lock().child(directory.ino, name).unwrap_or(number);
        take(Given { ino, what: &what, name, next: directory.at.next + 1, attr: None })
    }

    /// Waits for everything that was put in a directory (§4.4).
    ///
    /// # Errors
    /// The store's.
    pub fn fsyncdir(&self) -> Result<()> {
        self.store.sync()
    }
}

impl DirectoryHandle {
    /// Goes on at this position.
    pub(super) fn begin_at(&mut self, position: Position) {
        self.pieces.retain(|_, given| *given <= position.next);
        self.directories.retain(|_, given| *given <= position.next);
        self.at = position;
        self.reply = Reply::default();
        self.skip.clear();
    }

    /// Goes back to the nearest known position at or before `offset`.
    fn go_back(&mut self, offset: u64) {
        let known = self.marks.iter().rposition(|mark| mark.next <= offset);
        self.marks.truncate(known.map_or(0, |known| known + 1));
        let position = self.marks.last().cloned().unwrap_or_default();
        self.begin_at(position);
    }

    /// Keeps the position, and not more than a few hundred of them.
    fn mark(&mut self) {
        if self.marks.last().is_none_or(|mark| mark.next < self.at.next) {
            if self.marks.len() >= MARKS_MOST {
                let mut index = 0;
                self.marks.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
            self.marks.push(self.at.clone());
        }
    }
}
