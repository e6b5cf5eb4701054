//! Attributes of a file or directory: what the store knows and keeps, and what is being written.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::buffer::{Buffer, State};
use super::node::{Ino, Nameless, Place, What};
use super::{Steady, Vfs};
use crate::error::{ErrorKind, Result};
use crate::store::api::{Kind, Stat, Value};
use crate::store::attributes::Attributes;

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
    /// For how long they are good, where a layer told them from memory.
    pub good_for: Option<Duration>,
}

/// What a buffer knows of its file.
struct Written {
    len: u64,
    dirty: bool,
    modified: SystemTime,
    changed: SystemTime,
    attributes: Attributes,
}

impl Written {
    fn of(state: &State) -> Written {
        let (len, dirty, attributes) = (state.len(), state.dirty, state.attributes);
        Written { len, dirty, modified: state.modified, changed: state.changed, attributes }
    }
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
        let written = buffer.map(|buffer| Written::of(&buffer.state.read()));
        // While handles read a version, its size is the file's: of what is read, not of what came after (§3.1).
        let reading = match written {
            None => self.reading(ino).map(|value| value.len()),
            Some(_) => None,
        };
        let stat = match (&written, stat) {
            (_, Some(stat)) => Some(stat),
            (Some(Written { dirty: true, .. }), None) => None,
            _ if !place.linked => None,
            _ => self.stat(place)?,
        };
        let absent = stat.is_none() && written.is_none() && reading.is_none();
        if absent && place.what != What::Directory && place.linked {
            return Err(ErrorKind::NotFound.into());
        }
        let size = written.as_ref().map(|written| written.len).or(reading);
        let mut attr = self.plain_attr(ino, place, size, stat);
        if place.more.is_some() {
            return Ok(attr);
        }
        match (&written, stat) {
            _ if !place.linked => {
                if let Some(nameless) = self.nameless(ino) {
                    attr.take(&nameless.attributes);
                }
            }
            (_, Some(stat)) => self.take_kept(&mut attr, place, &stat),
            (Some(written), None) => attr.take(&written.attributes),
            (None, None) => {}
        }
        if let Some(Written { dirty: true, modified, changed, .. }) = written {
            (attr.mtime, attr.ctime) = (modified, changed);
        }
        if place.what == What::Directory {
            self.take_touched(&mut attr, place);
        } else {
            self.tell(ino, attr.size);
        }
        Ok(attr)
    }

    /// The attributes of a name for which the store was asked just now, or which the mount alone has.
    pub(super) fn attr_of_entry(&self, ino: Ino, place: &Place, stat: Option<Stat>) -> Attr {
        let mut attr = self.plain_attr(ino, place, None, stat);
        if let Some(stat) = stat {
            self.take_kept(&mut attr, place, &stat);
        }
        if place.what == What::Directory {
            self.take_touched(&mut attr, place);
        }
        attr
    }

    /// What the mount's options and the store say; `size` where the bytes are elsewhere than in the store.
    fn plain_attr(&self, ino: Ino, place: &Place, size: Option<u64>, stat: Option<Stat>) -> Attr {
        let modified = stat.map_or(self.started, |stat| stat.modified);
        let stored = || size.unwrap_or_else(|| stat.map_or(0, |stat| stat.size));
        let (size, mode) = match place.what {
            What::Directory => (0, self.options.directory_mode),
            What::Symlink => (stored(), 0o777),
            What::File | What::Fifo | What::Socket => (stored(), self.options.file_mode),
        };
        Attr {
            ino,
            what: place.what,
            size,
            mode,
            uid: self.options.uid,
            gid: self.options.gid,
            links: u32::from(place.linked),
            atime: self.started,
            mtime: modified,
            ctime: modified,
            good_for: self.store.good_for(&place.key),
        }
    }

    fn take_kept(&self, attr: &mut Attr, place: &Place, stat: &Stat) {
        attr.take(if place.what == What::Directory { &stat.directory } else { &stat.file });
    }

    /// What came into a directory, and went from it, through this mount makes it newer.
    fn take_touched(&self, attr: &mut Attr, place: &Place) {
        let touched = self.overlay.read().touched(&place.key);
        attr.mtime = attr.mtime.max(touched);
        attr.ctime = attr.ctime.max(touched);
    }

    /// The attributes of a file that has no name any more.
    pub(super) fn nameless(&self, ino: Ino) -> Option<Nameless> {
        self.table.lock().get(ino)?.nameless.as_deref().cloned()
    }

    /// What the store knows of a place; a value's own stat where the place is a file.
    pub(super) fn stat(&self, place: &Place) -> Result<Option<Stat>> {
        let stat = self.store.stat(&place.key)?;
        Ok(match (&place.what, stat) {
            (What::Directory, Some(stat)) if stat.kind == Kind::Leaf => None,
            (What::Directory, stat) => stat,
            (_, Some(stat)) if !stat.kind.has_value() => None,
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

impl Attr {
    /// Takes over what is kept.
    fn take(&mut self, kept: &Attributes) {
        self.mode = kept.mode.unwrap_or(self.mode);
        self.uid = kept.uid.unwrap_or(self.uid);
        self.gid = kept.gid.unwrap_or(self.gid);
        self.atime = kept.atime.unwrap_or(self.atime);
        self.mtime = kept.mtime.unwrap_or(self.mtime);
        self.ctime = kept.ctime.unwrap_or(self.ctime);
    }
}
