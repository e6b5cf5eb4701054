//! Attributes of a file or directory: what the store knows, what was set in the mount, what is being written.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::SystemTime;

use twox_hash::{XxHash3_64, xxhash3_64};

use super::buffer::Buffer;
use super::node::{Ino, Place, What};
use super::overlay::{Attributes, Guarded, Holds};
use super::{Steady, Vfs};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Kind, Stat, Value};

/// What `stat` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// File, directory or link.
    pub what: What,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names it has: one, or none once it was removed.
    pub links: u32,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of content or attributes.
    pub ctime: SystemTime,
}

impl Vfs {
    /// The attributes of an inode.
    ///
    /// # Errors
    /// `Stale` for a number that is not known; `NotFound` where the key is gone.
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        self.getattr_steady(ino, &self.hold_steady()?)
    }

    /// The same, for whoever holds inodes and keys together.
    pub(super) fn getattr_steady(&self, ino: Ino, steady: &Steady<'_>) -> Result<Attr> {
        self.settle(steady, || {
            let (place, buffer) = self.place_and_buffer(ino)?;
            self.attr(ino, &place, buffer.as_deref(), None)
        })
    }

    /// The attributes of what stands at `place`; `stat` where the store was asked just now.
    pub(super) fn attr(
        &self,
        ino: Ino,
        place: &Place,
        buffer: Option<&Buffer>,
        stat: Option<Stat>,
    ) -> Result<Attr> {
        let written = buffer.map(|buffer| {
            let state = buffer.state.read();
            (state.len(), state.modified, state.dirty)
        });
        // While handles read a version, its size is the file's: of what is read, not of what came after (§3.1).
        let reading = match written {
            None => self.reading(ino).map(|value| value.len()),
            Some(_) => None,
        };
        let stat = match (&written, stat) {
            (_, Some(stat)) => Some(stat),
            (Some((_, _, true)), None) => None,
            _ if matches!(place.what, What::Symlink(_)) => None,
            _ if !place.linked => None,
            _ => self.stat(place)?,
        };
        let absent = stat.is_none() && written.is_none() && reading.is_none();
        if absent && place.what == What::File && place.linked {
            return Err(ErrorKind::NotFound.into());
        }
        let size = written.map(|(len, _, _)| len).or(reading);
        let mut attr = self.plain_attr(ino, place, size, stat);
        if place.more.is_some() {
            return Ok(attr);
        }
        self.merge(&mut attr, place, stat);
        if let Some((_, modified, true)) = written {
            (attr.mtime, attr.ctime) = (modified, modified);
        }
        if place.what != What::Directory {
            self.tell(ino, attr.size);
        }
        Ok(attr)
    }

    /// The attributes of a name for which the store was asked just now, or which the mount alone has.
    pub(super) fn attr_of_entry(&self, ino: Ino, place: &Place, stat: Option<Stat>) -> Attr {
        let mut attr = self.plain_attr(ino, place, None, stat);
        self.merge(&mut attr, place, stat);
        attr
    }

    /// What the mount's options and the store say; `size` where the bytes are elsewhere than in the store.
    fn plain_attr(&self, ino: Ino, place: &Place, size: Option<u64>, stat: Option<Stat>) -> Attr {
        let modified = stat.map_or(self.started, |stat| stat.modified);
        let (size, mode) = match &place.what {
            What::Directory => (0, self.options.directory_mode),
            What::Symlink(target) => (target.len() as u64, 0o777),
            What::File => (size.unwrap_or_else(|| stat.map_or(0, |stat| stat.size)), self.options.file_mode),
        };
        Attr {
            ino,
            what: place.what.clone(),
            size,
            mode,
            uid: self.options.uid,
            gid: self.options.gid,
            links: u32::from(place.linked),
            atime: self.started,
            mtime: modified,
            ctime: modified,
        }
    }

    /// Puts what was set in the mount over `attr`.
    fn merge(&self, attr: &mut Attr, place: &Place, stat: Option<Stat>) {
        let guarded = self.attributes(attr.ino, place, |set| {
            attr.mode = set.mode.unwrap_or(attr.mode);
            attr.uid = set.uid.unwrap_or(attr.uid);
            attr.gid = set.gid.unwrap_or(attr.gid);
            attr.atime = set.atime.unwrap_or(attr.atime);
            attr.ctime = set.ctime.map_or(attr.ctime, |set| set.max(attr.ctime));
            set.mtime
        });
        let Some(guarded) = guarded.flatten() else { return };
        if self.still_holds(&guarded, place, stat) {
            attr.mtime = guarded.time;
        }
    }

    /// Looks at what was set on a file or directory: under its key, or on the inode where it has no name.
    pub(super) fn attributes<T>(
        &self,
        ino: Ino,
        place: &Place,
        look: impl FnOnce(&Attributes) -> T,
    ) -> Option<T> {
        if !place.linked {
            return self.table.lock().get(ino)?.attributes.as_deref().map(look);
        }
        let overlay = self.overlay.read();
        let record = overlay.get(&place.key)?;
        let set = if place.what == What::Directory { &record.directory } else { &record.file };
        set.as_deref().map(look)
    }

    /// Whether the value is what it was when its time of change was recorded (§5.5). Asks for the value only where
    /// the store cannot rule out a change since.
    fn still_holds(&self, guarded: &Guarded, place: &Place, stat: Option<Stat>) -> bool {
        match guarded.holds(stat) {
            Holds::Yes => true,
            Holds::No => false,
            Holds::WithTheSameBytes => {
                let Ok(Some(value)) = self.store.open(&place.key) else { return false };
                let same = hash_of_value(&*value).is_ok_and(|content| Some(content) == guarded.content);
                if let (true, Some(stat)) = (same, stat) {
                    self.overlay.write().holds_until(&place.key, stat.modified);
                }
                same
            }
        }
    }

    /// Whether the store must be asked for more than a listing tells before the entry's attributes are known.
    pub(super) fn must_ask(&self, key: &Key, stat: Stat) -> bool {
        let overlay = self.overlay.read();
        let set = overlay.get(key).and_then(|record| record.file.as_ref());
        let mtime = set.filter(|_| stat.kind == Kind::Leaf).and_then(|set| set.mtime);
        mtime.is_some_and(|mtime| mtime.holds(Some(stat)) == Holds::WithTheSameBytes)
    }

    /// Records that a file was put with these bytes, changed at `modified`.
    pub(super) fn record_put(
        &self,
        key: &Key,
        data: &Payload,
        modified: SystemTime,
        asked: bool,
    ) -> Result<()> {
        let content = Some((data.len(), hash_of(data)?));
        let mtime = Guarded { time: modified, known: env::now(), content, asked };
        self.overlay.write().record_put(key, mtime);
        Ok(())
    }

    /// Records that something came into, or went from, a directory.
    pub(super) fn touch_directory(&self, directory: &Key) {
        let now = env::now();
        let mut overlay = self.overlay.write();
        let set = overlay.attributes(directory, true);
        set.mtime = Some(Guarded { time: now, known: now, content: None, asked: false });
        set.ctime = Some(now);
    }

    /// What the store knows of a place; a value's own stat where the place is a file.
    pub(super) fn stat(&self, place: &Place) -> Result<Option<Stat>> {
        let stat = self.store.stat(&place.key)?;
        Ok(match (&place.what, stat) {
            (What::File, Some(stat)) if !stat.kind.has_value() => None,
            (What::Directory, Some(stat)) if stat.kind == Kind::Leaf => None,
            (_, stat) => stat,
        })
    }

    pub(super) fn reading(&self, ino: Ino) -> Option<Arc<dyn Value>> {
        self.table.lock().get(ino)?.reading.as_ref()?.upgrade()
    }

    fn tell(&self, ino: Ino, size: u64) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.told = size;
        }
    }
}

/// The length of a value, and a fast hash of its bytes.
pub(super) fn hash_of_value(value: &dyn Value) -> Result<(u64, u64)> {
    let mut hasher = xxhash3_64::Hasher::new();
    let mut at = 0;
    while at < value.len() {
        let before = at;
        value.read(at, 1 << 20, &mut |bytes| {
            hasher.write(bytes);
            at += bytes.len() as u64;
        })?;
        if at == before {
            return Err(Error::new(ErrorKind::Io, "the value ended before its length"));
        }
    }
    Ok((value.len(), hasher.finish()))
}

/// A fast hash of a payload's bytes, to tell later whether they are the same (§5.5).
pub(super) fn hash_of(data: &Payload) -> Result<u64> {
    if let Some(bytes) = data.as_slice() {
        return Ok(XxHash3_64::oneshot(bytes));
    }
    let mut hasher = xxhash3_64::Hasher::new();
    data.pieces(&mut |piece| {
        hasher.write(piece);
        Ok(())
    })?;
    Ok(hasher.finish())
}
