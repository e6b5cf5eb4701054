//! Attributes of a file or directory: what the store knows, what was set in the mount, what is being written.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::SystemTime;

use twox_hash::{XxHash3_64, xxhash3_64};

use super::Vfs;
use super::buffer::Buffer;
use super::node::{Ino, Place, What};
use super::overlay::{Attributes, Guarded};
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

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The present.
    Now,
    /// A given time.
    At(SystemTime),
}

impl Time {
    fn resolve(self) -> SystemTime {
        match self {
            Time::Now => env::now(),
            Time::At(time) => time,
        }
    }
}

/// What `chmod`, `chown`, `utimens` and `truncate` set; `None` is left as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Set {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of the content.
    pub mtime: Option<Time>,
    /// The open file it is set through.
    pub handle: Option<u64>,
}

impl Vfs {
    /// The attributes of an inode.
    ///
    /// # Errors
    /// `Stale` for a number that is not known; `NotFound` where the key is gone.
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        let (place, buffer) = self.place_and_buffer(ino)?;
        self.attr(ino, &place, buffer.as_deref(), None)
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
        let directory = place.what == What::Directory;
        let mut attr = Attr {
            ino,
            what: place.what.clone(),
            size: match &place.what {
                What::Directory => 0,
                What::Symlink(target) => target.len() as u64,
                What::File => written
                    .map(|(len, _, _)| len)
                    .or(reading)
                    .unwrap_or_else(|| stat.map_or(0, |stat| stat.size)),
            },
            mode: match &place.what {
                What::Directory => self.options.directory_mode,
                What::Symlink(_) => 0o777,
                What::File => self.options.file_mode,
            },
            uid: self.options.uid,
            gid: self.options.gid,
            links: u32::from(place.linked),
            atime: self.started,
            mtime: stat.map_or(self.started, |stat| stat.modified),
            ctime: stat.map_or(self.started, |stat| stat.modified),
        };
        if place.more.is_some() {
            return Ok(attr);
        }
        self.merge(&mut attr, place, stat);
        if let Some((_, modified, true)) = written {
            (attr.mtime, attr.ctime) = (modified, modified);
        }
        if !directory {
            self.tell(ino, attr.size);
        }
        Ok(attr)
    }

    /// The attributes of a name in a listing, for which there is no node yet.
    pub(super) fn attr_of_entry(&self, ino: Ino, place: &Place, stat: Stat) -> Attr {
        let directory = place.what == What::Directory;
        let mut attr = Attr {
            ino,
            what: place.what.clone(),
            size: if directory { 0 } else { stat.size },
            mode: if directory { self.options.directory_mode } else { self.options.file_mode },
            uid: self.options.uid,
            gid: self.options.gid,
            links: u32::from(place.linked),
            atime: self.started,
            mtime: stat.modified,
            ctime: stat.modified,
        };
        self.merge(&mut attr, place, Some(stat));
        attr
    }

    /// Puts what was set in the mount over `attr`.
    fn merge(&self, attr: &mut Attr, place: &Place, stat: Option<Stat>) {
        let directory = place.what == What::Directory;
        let guarded = {
            let overlay = self.overlay.read();
            let Some(record) = overlay.get(&place.key) else { return };
            let Some(set) = (if directory { &record.directory } else { &record.file }) else { return };
            attr.mode = set.mode.unwrap_or(attr.mode);
            attr.uid = set.uid.unwrap_or(attr.uid);
            attr.gid = set.gid.unwrap_or(attr.gid);
            attr.atime = set.atime.unwrap_or(attr.atime);
            attr.ctime = set.ctime.unwrap_or(attr.ctime).max(attr.ctime);
            set.mtime
        };
        let Some(guarded) = guarded else { return };
        if self.still_holds(&guarded, place, stat) {
            attr.mtime = guarded.time;
        }
    }

    /// Whether the value is what it was when its time of change was recorded (§5.5). Asks for the value only where
    /// the store cannot rule out a change since.
    fn still_holds(&self, guarded: &Guarded, place: &Place, stat: Option<Stat>) -> bool {
        let Some(stat) = stat else { return true };
        if stat.modified <= guarded.known {
            return true;
        }
        // A directory's own time is a matter of the mount alone; other programs' keys below make it newer.
        let Some((size, hash)) = guarded.content else { return false };
        if size != stat.size {
            return false;
        }
        let Ok(Some(value)) = self.store.open(&place.key) else { return false };
        let same = hash_of_value(&*value).is_ok_and(|content| content == (size, hash));
        if same {
            let mut overlay = self.overlay.write();
            let set = overlay.attributes(&place.key, false);
            if let Some(mtime) = &mut set.mtime {
                mtime.known = mtime.known.max(stat.modified);
            }
        }
        same
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
        let mut overlay = self.overlay.write();
        overlay.change(key, |record| {
            record.new = false;
            let set = record.file.get_or_insert_default();
            set.mtime = Some(Guarded { time: modified, known: env::now(), content, asked });
            set.ctime = Some(modified);
        });
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

    /// Sets attributes.
    ///
    /// # Errors
    /// `ReadOnly`, `NotPermitted` in a `%more` directory, and for a size what writing gives.
    pub fn setattr(&self, ino: Ino, set: Set) -> Result<Attr> {
        self.check_writable()?;
        let (place, _) = self.place_and_buffer(ino)?;
        if place.more.is_some() {
            return Err(Error::new(
                ErrorKind::NotPermitted,
                "a %more directory has no attributes of its own",
            ));
        }
        if let Some(size) = set.size {
            self.truncate(ino, &place, size, set.handle.is_some())?;
        }
        // A file with bytes not yet put takes its time along to the put.
        let carried = set.mtime.is_some_and(|time| self.set_time_written(ino, time));
        let guard = if set.mtime.is_some() && !carried { Some(self.guard(&place)?) } else { None };
        let only_size = set.mode.is_none() && set.uid.is_none() && set.gid.is_none();
        if !(only_size && set.atime.is_none() && set.mtime.is_none()) && place.linked {
            let mut overlay = self.overlay.write();
            let stored = overlay.attributes(&place.key, place.what == What::Directory);
            store_set(stored, &set, guard);
        }
        self.getattr(ino)
    }

    /// Takes the set-user-id and set-group-id bits away.
    pub(super) fn clear_set_id(&self, ino: Ino) -> Result<()> {
        let key = self.place(ino)?.key;
        let mut overlay = self.overlay.write();
        if overlay.get(&key).is_some_and(|record| record.file.as_ref().is_some_and(|set| set.mode.is_some()))
        {
            let set = overlay.attributes(&key, false);
            set.mode = set.mode.map(|mode| mode & !0o6000);
        }
        Ok(())
    }

    fn set_time_written(&self, ino: Ino, time: Time) -> bool {
        let Some(buffer) = self.buffer_of(ino) else { return false };
        let mut state = buffer.state.write();
        if state.dirty {
            state.modified = time.resolve();
            state.modified_asked = true;
        }
        state.dirty
    }

    /// What a time that is set now is tied to: the stored content as it is.
    fn guard(&self, place: &Place) -> Result<Guarded> {
        let now = env::now();
        let mut guarded = Guarded { time: now, known: now, content: None, asked: true };
        if place.what != What::File {
            return Ok(guarded);
        }
        let recorded = self.overlay.read().get(&place.key).and_then(|record| record.file.as_ref()?.mtime);
        let stat = self.stat(place)?;
        if let (Some(recorded), Some(stat)) = (recorded, stat)
            && stat.modified <= recorded.known
        {
            guarded.content = recorded.content;
        } else if let Some(value) = self.store.open(&place.key)? {
            guarded.content = Some(hash_of_value(&*value)?);
        }
        Ok(guarded)
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

    fn reading(&self, ino: Ino) -> Option<Arc<dyn Value>> {
        self.table.lock().get(ino)?.reading.as_ref()?.upgrade()
    }

    fn tell(&self, ino: Ino, size: u64) {
        if let Some(node) = self.table.lock().get_mut(ino) {
            node.told = size;
        }
    }
}

fn store_set(stored: &mut Attributes, set: &Set, guard: Option<Guarded>) {
    stored.mode = set.mode.map(|mode| mode & 0o7777).or(stored.mode);
    stored.uid = set.uid.or(stored.uid);
    stored.gid = set.gid.or(stored.gid);
    stored.atime = set.atime.map(Time::resolve).or(stored.atime);
    if let (Some(time), Some(guard)) = (set.mtime, guard) {
        stored.mtime = Some(Guarded { time: time.resolve(), ..guard });
    }
    stored.ctime = Some(env::now());
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
