//! Names to keys and back: what a file name in a directory stands for.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Vfs;
use super::attr::{Attr, hash_of, hash_of_value};
use super::buffer::Buffer;
use super::node::{Ino, Place, Step, What, number};
use super::overlay::Shown;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::name::{self, Joined};
use crate::store::api::{Cursor, Kind, Stat, Value};

/// What a name stands for, before anyone asked whether it is there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub key: Key,
    pub step: Step,
}

impl Vfs {
    /// What `name` in the directory at `place` stands for; `None` where no segment is spelled so.
    pub(super) fn target(&self, place: &Place, name: &[u8]) -> Option<Target> {
        let before = place.more.as_deref().unwrap_or_default();
        if before.is_empty() && name == name::VALUE {
            return (!place.key.is_root()).then(|| Target { key: place.key.clone(), step: Step::Value });
        }
        if before.is_empty() && !name.ends_with(name::MORE) {
            let (bytes, word) = name::decode(name)?;
            let plain = word == Word::None && *bytes == *name;
            let key = place.key.child(Segment { bytes: &bytes, word });
            let step = if plain { Step::Plain } else { Step::Coded(bytes.as_ref().into(), word) };
            return Some(Target { key, step });
        }
        match name::join(before, name)? {
            Joined::Part(prefix) => Some(Target { key: place.key.clone(), step: Step::More(prefix.into()) }),
            Joined::Whole(encoded) => {
                let (bytes, word) = name::decode(&encoded)?;
                let key = place.key.child(Segment { bytes: &bytes, word });
                Some(Target { key, step: Step::Coded(bytes.as_ref().into(), word) })
            }
        }
    }

    /// Looks up a name; one more lookup is counted for the inode.
    ///
    /// # Errors
    /// `NotFound`, also for a name that no segment is spelled as (§1.2); `NameTooLong`; what the store answers.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        check_length(name)?;
        self.settled(|| self.look_up(parent, name))
    }

    pub(super) fn look_up(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let (place, known) = {
            let mut table = self.table.lock();
            let place = table.place(parent).ok_or(ErrorKind::Stale)?;
            let known = table.child(parent, name).and_then(|ino| {
                let place = table.place(ino)?;
                let node = table.get_mut(ino)?;
                // Counted now: were the node dropped before the answer, its number could be another file's by then.
                node.lookups += u64::from(node.buffer.is_some());
                Some((ino, place, node.buffer.clone(), node.reading.clone()))
            });
            (place, known)
        };
        // What is being written is there, whatever the store has yet.
        if let Some((ino, child, Some(buffer), _)) = &known {
            let answer = self.is_superseded(*ino, child, buffer).and_then(|superseded| {
                if superseded { Ok(None) } else { self.attr(*ino, child, Some(buffer), None).map(Some) }
            });
            match answer {
                Ok(Some(attr)) => return Ok(attr),
                Ok(None) => self.forget(*ino, 1),
                Err(error) => {
                    self.forget(*ino, 1);
                    return Err(error);
                }
            }
            // Handles go on with what they have; the name is what another program made of it (§6.1).
            self.table.lock().detach(*ino);
        }
        let target = self.target(&place, name).ok_or(ErrorKind::NotFound)?;
        if let Step::More(prefix) = &target.step {
            return self.lookup_more(parent, name, &place, prefix);
        }
        let Some((what, stat)) = self.find(&target)? else {
            if let Some((ino, ..)) = &known {
                // What may come under this name is another file.
                self.table.lock().detach(*ino);
            }
            self.forget_gone(&target);
            return Err(ErrorKind::NotFound.into());
        };
        if let (Some((ino, _, None, Some(reading))), Some(stat)) = (&known, &stat)
            && let Some(reading) = reading.upgrade()
            && !self.shows_same(*ino, &target.key, &*reading, stat)
        {
            // Handles go on reading the old version under the old number; the name gets a new one (§3.1).
            self.table.lock().detach(*ino);
        }
        Ok(self.remember(parent, name, target, what, stat))
    }

    /// What is there for a target: in the store, or in the mount alone.
    pub(super) fn find(&self, target: &Target) -> Result<Option<(What, Option<Stat>)>> {
        let stat = self.store.stat(&target.key)?;
        if target.step == Step::Value {
            return Ok(match stat {
                Some(stat) if stat.kind == Kind::Both => Some((What::File, Some(stat))),
                Some(stat) if stat.kind == Kind::Leaf && self.is_shown_directory(&target.key) => {
                    Some((What::File, Some(stat)))
                }
                _ => None,
            });
        }
        let shown = self.shown(&target.key);
        Ok(match (stat, shown) {
            (Some(stat), Some((Shown::Directory, _))) => Some((What::Directory, Some(stat))),
            (Some(stat), _) => {
                Some((if stat.kind.is_directory() { What::Directory } else { What::File }, Some(stat)))
            }
            (None, Some((Shown::Directory, _))) => Some((What::Directory, None)),
            (None, Some((Shown::Symlink, Some(link)))) => Some((What::Symlink(link), None)),
            // A new file has a buffer as long as it is new, and its node was found by then.
            (None, _) => None,
        })
    }

    /// What was set on something that is gone is not for what another program will make under its key.
    fn forget_gone(&self, target: &Target) {
        let known = self.overlay.read().get(&target.key).is_some();
        if known {
            self.overlay.write().remove_gone(&target.key, target.step == Step::Value);
        }
    }

    fn shown(&self, key: &Key) -> Option<(Shown, Option<Box<[u8]>>)> {
        let overlay = self.overlay.read();
        let record = overlay.get(key)?;
        Some((record.shows()?, record.symlink.clone()))
    }

    pub(super) fn is_shown_directory(&self, key: &Key) -> bool {
        matches!(self.shown(key), Some((Shown::Directory, _)))
    }

    /// A node for what was found, and its attributes.
    pub(super) fn remember(
        &self,
        parent: Ino,
        name: &[u8],
        target: Target,
        what: What,
        stat: Option<Stat>,
    ) -> Attr {
        let hash = number::of_key(&target.key);
        let hash = if what == What::Directory { number::of_directory(hash) } else { number::of_file(hash) };
        let is_value = target.step == Step::Value;
        let place = Place { key: target.key, what: what.clone(), more: None, linked: true, is_value };
        let mut table = self.table.lock();
        let ino = table.remember(parent, name, target.step, what, hash);
        drop(table);
        let attr = self.attr_of_entry(ino, &place, stat);
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.told = attr.size;
        }
        attr
    }

    /// A `%more` directory is there while a name in the directory starts with its prefix (§1.8).
    fn lookup_more(&self, parent: Ino, name: &[u8], place: &Place, prefix: &[u8]) -> Result<Attr> {
        let before = place.more.as_deref().unwrap_or_default();
        let is_piece_of = |encoded: &[u8]| {
            encoded.starts_with(prefix) && name::shown(encoded, before).is_some_and(|shown| *shown == *name)
        };
        let mut found = self.overlay.read().shown(&place.key).iter().any(|(own, _)| is_piece_of(own));
        if !found {
            self.store.list(&place.key, &mut Cursor::default(), &mut |entry| {
                found = is_piece_of(&name::encode(entry.segment));
                if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        if !found {
            return Err(ErrorKind::NotFound.into());
        }
        let hash = number::of_more(number::of_key(&place.key), prefix);
        let mut table = self.table.lock();
        let ino = table.remember(parent, name, Step::More(prefix.into()), What::Directory, hash);
        let place = table.place(ino).ok_or(ErrorKind::Stale)?;
        drop(table);
        self.attr(ino, &place, None, None)
    }

    /// Whether what open handles read is what the store has now: by time and size, else by content where that is
    /// quickly told.
    pub(super) fn shows_same(&self, ino: Ino, key: &Key, reading: &dyn Value, stat: &Stat) -> bool {
        if reading.len() != stat.size {
            return false;
        }
        if self.table.lock().get(ino).is_some_and(|node| node.pages == Some(stat.modified)) {
            return true;
        }
        match self.store.open(key) {
            Ok(Some(now)) => same_content(reading, &*now),
            _ => false,
        }
    }

    /// Whether another program changed a file that is open here for writing and has nothing to put.
    pub(super) fn is_superseded(&self, ino: Ino, place: &Place, buffer: &Buffer) -> Result<bool> {
        let state = buffer.state.read();
        if state.dirty || !place.linked {
            return Ok(false);
        }
        let Some(stat) = self.stat(place)? else {
            return Ok(state.data().is_some() || state.base().is_some());
        };
        // A key below it makes it a directory, of which it is the value.
        let became_directory = stat.kind.is_directory() && !place.is_value;
        if became_directory || stat.size != state.len() {
            return Ok(true);
        }
        match (state.data(), state.base()) {
            (Some(data), _) => {
                let recorded =
                    self.overlay.read().get(&place.key).and_then(|record| record.file.as_ref()?.mtime);
                if recorded.is_some_and(|recorded| stat.modified <= recorded.known) {
                    return Ok(false);
                }
                let Some(value) = self.store.open(&place.key)? else { return Ok(true) };
                let same = hash_of_value(&*value)?.1 == hash_of(data)?;
                if same {
                    self.overlay.write().holds_until(&place.key, stat.modified);
                }
                Ok(!same)
            }
            (None, Some(base)) => Ok(!self.shows_same(ino, &place.key, &**base, &stat)),
            (None, None) => Ok(false),
        }
    }

    /// Takes back lookups.
    pub fn forget(&self, ino: Ino, count: u64) {
        self.table.lock().forget(ino, count);
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// `Invalid` where it is none.
    pub fn readlink(&self, ino: Ino) -> Result<Box<[u8]>> {
        match self.place(ino)?.what {
            What::Symlink(target) => Ok(target),
            _ => Err(Error::new(ErrorKind::Invalid, "not a symbolic link")),
        }
    }
}

/// `NameTooLong` where no file can have the name.
pub(super) fn check_length(name: &[u8]) -> Result<()> {
    if name.len() > name::NAME_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, "a file name has at most 255 bytes"));
    }
    Ok(())
}

/// Values up to this length are compared byte by byte.
const COMPARABLE: u64 = 1 << 20;

/// Whether two values are the same bytes; false also where that would take long to tell.
pub(super) fn same_content(a: &dyn Value, b: &dyn Value) -> bool {
    if a.len() != b.len() || a.len() > COMPARABLE {
        return false;
    }
    let mut bytes = Vec::with_capacity(a.len() as usize);
    let mut same = a.read(0, a.len(), &mut |piece| bytes.extend_from_slice(piece)).is_ok();
    let mut at = 0;
    same &= b
        .read(0, b.len(), &mut |piece| {
            same &= bytes.get(at..at + piece.len()) == Some(piece);
            at += piece.len();
        })
        .is_ok();
    same && at == bytes.len()
}

/// A value shared by the handles that read it.
pub(super) type Shared = Arc<dyn Value>;
