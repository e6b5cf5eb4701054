//! Names to keys and back: what a file name in a directory stands for.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Vfs;
use super::attr::Attr;
use super::buffer::Buffer;
use super::node::{Ino, Place, Step, What};
use super::number;
use super::overlay::Shown;
use super::pages::Pages;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::name::{self, Joined};
use crate::store::api::{Kind, Stat, Value};
use crate::store::fingerprint::Fingerprint;

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
        check_length(name)?;
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
            (Some(stat), Some(Shown::Directory)) => Some((What::Directory, Some(stat))),
            (Some(stat), _) => Some((What::of(&stat), Some(stat))),
            (None, Some(Shown::Directory)) => Some((What::Directory, None)),
            // A new file has a buffer as long as it is new, and its node was found by then.
            (None, _) => None,
        })
    }

    fn shown(&self, key: &Key) -> Option<Shown> {
        self.overlay.read().get(key)?.shows()
    }

    pub(super) fn is_shown_directory(&self, key: &Key) -> bool {
        self.shown(key) == Some(Shown::Directory)
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
        let directory = what == What::Directory;
        let kept = stat.and_then(|stat| if directory { stat.directory.ino } else { stat.file.ino });
        let hash = kept.unwrap_or_else(|| number::of(&target.key, directory));
        let is_value = target.step == Step::Value;
        let place = Place { key: target.key, what, more: None, linked: true, is_value };
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
            // As far as nothing is escaped, the name is the segment.
            let unescaped = prefix.split(|byte| *byte == b'%').next().unwrap_or_default();
            self.store.list_prefix(&place.key, unescaped, &mut |entry| {
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
        if self.table.lock().get(ino).is_some_and(|node| node.pages == Some(Pages::of(stat))) {
            return true;
        }
        let same = match &stat.version {
            Some(version) => reading.version().is_ok_and(|reading| version.is(&reading)),
            None => matches!(self.store.open(key), Ok(Some(now)) if same_content(reading, &*now)),
        };
        if same && let Some(node) = self.table.lock().get_mut(ino) {
            // The pages are of this version too, which is not compared again.
            node.pages = node.pages.map(|_| Pages::of(stat));
        }
        same
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
                // Asked after `stat`, which notices what others changed before it.
                let foreign_changes = self.store.foreign_changes();
                if foreign_changes.is_some() && state.foreign_changes == foreign_changes {
                    return Ok(false);
                }
                let Some(value) = self.store.open(&place.key)? else { return Ok(true) };
                let same = Fingerprint::of_payload(data)?.is_of(&*value)?;
                drop(state);
                if same {
                    buffer.state.write().foreign_changes = foreign_changes;
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
    /// `Invalid` where it is none; `Stale` for one that is gone.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        let place = self.place(ino)?;
        if place.what != What::Symlink {
            return Err(Error::new(ErrorKind::Invalid, "not a symbolic link"));
        }
        let link = self.store.open(&place.key)?.ok_or(ErrorKind::Stale)?;
        let mut target = Vec::with_capacity(link.len() as usize);
        link.read(0, link.len(), &mut |piece| target.extend_from_slice(piece))?;
        Ok(target)
    }
}

/// `NameTooLong` where no file can have the name.
pub(super) fn check_length(name: &[u8]) -> Result<()> {
    if name.len() > name::NAME_MAX {
        return Err(Error::new(ErrorKind::NameTooLong, "a file name has at most 255 bytes"));
    }
    Ok(())
}

/// So many bytes are compared at most: somebody waits in a look-up, and a longer value that only seems to be another
/// one costs no more than a new inode number. Where both values lie at the same place (in LMDB's map: nobody writes to
/// a page that an open value holds), nothing is compared, however long they are.
const COMPARED_MOST: u64 = 64 << 20;
/// A piece of a comparison.
const PIECE: u64 = 1 << 20;

/// Whether two values are the same bytes; false also where that would take long to tell.
pub(super) fn same_content(a: &dyn Value, b: &dyn Value) -> bool {
    let mut left = COMPARED_MOST;
    let mut same = a.len() == b.len();
    let mut at = 0;
    while same && at < a.len() {
        let before = at;
        let read = a.read(at, PIECE, &mut |piece| {
            same = same && has_at(b, at, piece, &mut left);
            at += piece.len() as u64;
        });
        same = same && read.is_ok() && at > before;
    }
    same
}

/// Whether `value` has these bytes at `offset`, told by comparing at most `left` of them.
fn has_at(value: &dyn Value, offset: u64, bytes: &[u8], left: &mut u64) -> bool {
    let mut rest = bytes;
    let mut same = true;
    let read = value.read(offset, bytes.len() as u64, &mut |piece| {
        let Some((expected, after)) = rest.split_at_checked(piece.len()) else { return same = false };
        rest = after;
        // Both are borrowed: one place holds one content.
        if !std::ptr::eq(expected, piece) {
            let may = left.checked_sub(piece.len() as u64);
            *left = may.unwrap_or(0);
            same = same && may.is_some() && expected == piece;
        }
    });
    same && read.is_ok() && rest.is_empty()
}

/// A value shared by the handles that read it.
pub(super) type Shared = Arc<dyn Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api::Version;

    /// So many bytes, all of them alike, a piece at a time.
    struct Alike<'a>(&'a [u8], u64);

    impl Value for Alike<'_> {
        fn len(&self) -> u64 {
            self.1
        }

        fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
            let mut left = size.min(self.1 - offset) as usize;
            while left > 0 {
                let piece = left.min(self.0.len());
                sink(&self.0[..piece]);
                left -= piece;
            }
            Ok(())
        }

        fn version(&self) -> Result<Version> {
            Err(ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn promise_3_1_values_are_compared_up_to_a_limit_and_longer_ones_by_their_place() {
        let here = vec![7; 1 << 20];
        let there = vec![7; 300_000];
        let same = |a: &[u8], b: &[u8], length| same_content(&Alike(a, length), &Alike(b, length));
        assert!(same(&here, &there, COMPARED_MOST));
        assert!(!same(&here, &there, COMPARED_MOST + 1));
        assert!(same(&here, &here, 16 * COMPARED_MOST + 1));
        assert!(!same(&here, &vec![8; 1 << 20], 1 << 20));
        assert!(!same_content(&Alike(&here, 5), &Alike(&here, 6)));
    }
}
