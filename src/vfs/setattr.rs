//! Setting attributes: what `chmod`, `chown`, `utimens` and `truncate` ask for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::attr::Attr;
use super::buffer::Buffer;
use super::lookup::Shared;
use super::node::{Ino, Place, What};
use super::put::Unmoved;
use super::{Caller, Vfs};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::Change;
use crate::store::attributes::{Attributes, Setting};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Whether a change of the length takes the set-id bits away, as one by another user does.
    pub clears_set_id: bool,
}

impl Set {
    /// Whether anything but the length is set.
    fn is_more_than_size(&self) -> bool {
        Set { size: None, handle: None, clears_set_id: false, ..*self } != Set::default()
    }
}

impl Vfs {
    /// Sets attributes.
    ///
    /// # Errors
    /// `ReadOnly`, `NotPermitted` in a `%more` directory, and for a size what writing gives; where no attributes are
    /// kept, `NotPermitted` for a mode or an owner and `Unsupported` for a time, unless they hold already (§5.3).
    pub fn setattr(&self, ino: Ino, set: Set) -> Result<Attr> {
        self.check_writable()?;
        let steady = self.hold_steady()?;
        let place = self.place(ino)?;
        if place.more.is_some() {
            return Err(Error::new(
                ErrorKind::NotPermitted,
                "a %more directory has no attributes of its own",
            ));
        }
        if let Some(size) = set.size {
            self.truncate(ino, &place, size, set.handle.is_some())?;
            if set.clears_set_id {
                self.clear_set_id(ino)?;
            }
        }
        if set.is_more_than_size() {
            // Also tells whether it is there still: nothing is set on what is gone.
            let before = self.getattr_steady(ino, &steady)?;
            if self.keeps_attributes(&place)? {
                let names = self.hold_names()?;
                self.set_attributes(ino, setting_of(&set, &before), &names)?;
            } else {
                self.refuse_lasting(&set, &before)?;
            }
        }
        self.getattr_steady(ino, &steady)
    }

    /// Whether attributes of what is there are kept. Asked without holding names, so that what is refused waits for no
    /// rename: should that take them to where none are kept, the store refuses.
    pub(super) fn keeps_attributes(&self, place: &Place) -> Result<bool> {
        self.store.keeps_attributes(&place.key, place.what == What::Directory)
    }

    /// Without a place for attributes, what holds already may be set, and a time to now; nothing is faked (§5.3).
    fn refuse_lasting(&self, set: &Set, before: &Attr) -> Result<()> {
        let lasts = |time: Option<Time>, now: SystemTime| match time {
            Some(Time::At(time)) => time == now,
            Some(Time::Now) | None => true,
        };
        let kind = if set.mode.is_some_and(|mode| mode & 0o7777 != before.mode)
            || set.uid.is_some_and(|uid| uid != before.uid)
            || set.gid.is_some_and(|gid| gid != before.gid)
        {
            ErrorKind::NotPermitted
        } else if !lasts(set.atime, before.atime) || !lasts(set.mtime, before.mtime) {
            ErrorKind::Unsupported
        } else {
            return Ok(());
        };
        Err(self.keeps_no_attributes(kind))
    }

    /// The failure of what would have to last where nothing keeps it; the log says so once.
    pub(super) fn keeps_no_attributes(&self, kind: ErrorKind) -> Error {
        let sentence = "this mount keeps no attributes (--attrs none)";
        if !self.said_no_attributes.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{sentence}: mode, owner, times, links and extended attributes need --attrs sidecar"
            );
        }
        Error::new(kind, sentence)
    }

    /// Sets attributes of a file or directory: together with the bytes that are still to be put, on the inode where it
    /// has no name, or at once.
    pub(super) fn set_attributes(&self, ino: Ino, setting: Setting, _: &Unmoved<'_>) -> Result<()> {
        let (place, buffer) = self.place_and_buffer(ino)?;
        if !place.linked {
            let mut table = self.table.lock();
            let nameless = table.get_mut(ino).ok_or(ErrorKind::Stale)?.nameless.get_or_insert_default();
            setting.apply(&mut nameless.attributes);
            setting.apply_xattrs(&mut nameless.xattrs);
            return Ok(());
        }
        if let Some(buffer) = &buffer {
            let mut state = buffer.state.write();
            if state.dirty {
                state.set(setting);
                return Ok(());
            }
        }
        let directory = place.what == What::Directory;
        self.store.apply(&mut [Change::Set { key: &place.key, directory, attributes: &setting }])?;
        if let Some(buffer) = buffer {
            setting.apply(&mut buffer.state.write().attributes);
        }
        if directory && setting.mtime.is_some() {
            self.overlay.write().untouch(&place.key);
        }
        Ok(())
    }

    /// Carries out a change, and sets attributes of `key` with it where they are kept.
    pub(super) fn apply_with(
        &self,
        change: Change<'_>,
        key: &Key,
        directory: bool,
        attributes: &Setting,
    ) -> Result<()> {
        let own;
        let attributes = if self.store.keeps_attributes(key, directory)? {
            attributes
        } else {
            own = attributes.of_xattrs(self.caps.settable);
            &own
        };
        if attributes.is_empty() {
            return self.store.apply(&mut [change]);
        }
        self.store.apply(&mut [change, Change::Set { key, directory, attributes }])
    }

    /// Takes away the bits that a write by somebody else must not leave: set-user-id, and set-group-id where the
    /// group may execute.
    pub(super) fn clear_set_id(&self, ino: Ino) -> Result<()> {
        let mode = self.getattr(ino)?.mode;
        if without_set_id(mode) != mode {
            let names = self.hold_names()?;
            let setting = Setting { mode: Some(without_set_id(mode)), ..Setting::default() };
            self.set_attributes(ino, setting, &names)?;
        }
        Ok(())
    }

    /// The same, where `caller` is not allowed to leave them.
    pub(super) fn clear_set_id_for(&self, caller: Caller, ino: Ino) -> Result<()> {
        if caller.uid == 0 { Ok(()) } else { self.clear_set_id(ino) }
    }

    /// Cuts or grows a file. It is put at once unless a close will follow that does.
    pub(super) fn truncate(&self, ino: Ino, place: &Place, size: u64, close_follows: bool) -> Result<()> {
        match place.what {
            What::File => {}
            What::Directory => return Err(ErrorKind::IsDirectory.into()),
            What::Symlink | What::Fifo | What::Socket => return Err(ErrorKind::Invalid.into()),
        }
        // Counted as open, so that a close at the same time does not let go of the buffer.
        self.count_open(ino, 1);
        let outcome = self.truncate_counted(ino, place, size, close_follows);
        self.count_open(ino, -1);
        self.let_go(ino);
        outcome
    }

    fn truncate_counted(&self, ino: Ino, place: &Place, size: u64, close_follows: bool) -> Result<()> {
        let buffer = match self.buffer_of(ino) {
            Some(buffer) => buffer,
            None => {
                let (value, attributes) = self.value_to_cut(ino, place)?;
                self.buffer_for_writing(ino, (size > 0).then_some(value), attributes)
            }
        };
        let value_max = self.store.value_max(&place.key);
        let owed_before = {
            let mut state = buffer.state.write();
            if state.len() == size && size != 0 {
                drop(state);
                // As long as it was: nothing is put, and it counts as changed.
                let now = Some(env::now());
                return self.touch_attributes(ino, Setting { mtime: now, ctime: now, ..Setting::default() });
            }
            self.stand_on_put(ino, &mut state)?;
            let owed = state.dirty && state.error.is_some();
            state.resize(size, value_max)?;
            owed
        };
        // `truncate(2)` has no close that would put it.
        if close_follows || self.has_writer(ino) {
            return Ok(());
        }
        self.put_if_dirty(ino, &buffer).inspect_err(|_| {
            if !owed_before {
                self.undo(ino, &buffer);
            }
        })
    }

    /// The value that a file without a buffer has, and its attributes.
    fn value_to_cut(&self, ino: Ino, place: &Place) -> Result<(Shared, Attributes)> {
        if !place.linked {
            let value = self.reading(ino).ok_or(ErrorKind::Stale)?;
            return Ok((value, Attributes::default()));
        }
        let attributes = self.stat(place)?.map(|stat| stat.file).unwrap_or_default();
        let value = self.store.open(&place.key)?.ok_or(ErrorKind::NotFound)?;
        Ok((value.into(), attributes))
    }

    /// Forgets a change that was refused to the only one who made it.
    fn undo(&self, ino: Ino, buffer: &Arc<Buffer>) {
        let mut table = self.table.lock();
        let Some(node) = table.get_mut(ino) else { return };
        let own = node.buffer.as_ref().is_some_and(|current| Arc::ptr_eq(current, buffer));
        // Others who have it open have seen the change, and may have written on.
        if own && node.opens == 1 {
            node.buffer = None;
            drop(table);
            self.distrust(ino);
        }
    }
}

/// What is to be kept of what is set.
fn setting_of(set: &Set, before: &Attr) -> Setting {
    Setting {
        mode: set.mode.map(|mode| mode & 0o7777).or_else(|| mode_of_new_owner(set, before)),
        uid: set.uid,
        gid: set.gid,
        atime: set.atime.map(Time::resolve),
        mtime: set.mtime.map(Time::resolve),
        ctime: Some(env::now()),
        ..Setting::default()
    }
}

/// A new owner does not take over what the bits allowed the old one's program.
fn mode_of_new_owner(set: &Set, before: &Attr) -> Option<u32> {
    let changes = set.uid.is_some() || set.gid.is_some();
    (changes && before.what == What::File && without_set_id(before.mode) != before.mode)
        .then(|| without_set_id(before.mode))
}

/// The mode without set-user-id, and without set-group-id where it means execution.
fn without_set_id(mode: u32) -> u32 {
    let group_executes = mode & 0o010 != 0;
    mode & !(if group_executes { 0o6000 } else { 0o4000 })
}
