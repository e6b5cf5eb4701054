//! Setting attributes: what `chmod`, `chown`, `utimens` and `truncate` ask for.

use std::sync::Arc;
use std::time::SystemTime;

use super::Vfs;
use super::attr::{Attr, hash_of_value};
use super::buffer::Buffer;
use super::lookup::Shared;
use super::node::{Ino, Place, What};
use super::overlay::{Attributes, Guarded};
use super::put::Unmoved;
use crate::env;
use crate::error::{Error, ErrorKind, Result};

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
    /// Whether a cut takes set-id bits away, as that by an ordinary user does.
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
    /// `ReadOnly`, `NotPermitted` in a `%more` directory, and for a size what writing gives.
    pub fn setattr(&self, ino: Ino, set: Set) -> Result<Attr> {
        self.check_writable()?;
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
            let before = self.getattr(ino)?;
            let names = self.hold_names()?;
            self.set_at(ino, &set, &before, &names)?;
        }
        self.getattr(ino)
    }

    fn set_at(&self, ino: Ino, set: &Set, before: &Attr, names: &Unmoved<'_>) -> Result<()> {
        let place = self.place(ino)?;
        // A file with bytes not yet put takes its time along to the put.
        let carried = set.mtime.is_some_and(|time| self.set_time_written(ino, time));
        let guard = if set.mtime.is_some() && !carried { Some(self.guard(ino, &place)?) } else { None };
        self.change_attributes(ino, &place, names, |stored| {
            let mode = set.mode.map(|mode| mode & 0o7777).or_else(|| mode_of_new_owner(set, before));
            stored.mode = mode.or(stored.mode);
            stored.uid = set.uid.or(stored.uid);
            stored.gid = set.gid.or(stored.gid);
            stored.atime = set.atime.map(Time::resolve).or(stored.atime);
            if let (Some(time), Some(guard)) = (set.mtime, guard) {
                stored.mtime = Some(Guarded { time: time.resolve(), ..guard });
            }
            stored.ctime = Some(env::now());
        });
        Ok(())
    }

    /// Changes what is set on a file or directory: under its key, or on the inode where it has no name.
    pub(super) fn change_attributes<T>(
        &self,
        ino: Ino,
        place: &Place,
        _: &Unmoved<'_>,
        change: impl FnOnce(&mut Attributes) -> T,
    ) -> T {
        let mut overlay = self.overlay.write();
        let mut table = self.table.lock();
        match table.get_mut(ino) {
            Some(node) if !node.linked => change(node.attributes.get_or_insert_default()),
            _ => {
                drop(table);
                change(overlay.attributes(&place.key, place.what == What::Directory))
            }
        }
    }

    /// Takes away the bits that a write by somebody else must not leave: set-user-id, and set-group-id where the
    /// group may execute.
    pub(super) fn clear_set_id(&self, ino: Ino) -> Result<()> {
        let place = self.place(ino)?;
        // Without a mode of its own it has the mount's, which has no such bits.
        let mode = self.attributes(ino, &place, |set| set.mode).flatten();
        if mode.is_some_and(|mode| without_set_id(mode) != mode) {
            let names = self.hold_names()?;
            let place = self.place(ino)?;
            self.change_attributes(ino, &place, &names, |set| set.mode = set.mode.map(without_set_id));
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
    fn guard(&self, ino: Ino, place: &Place) -> Result<Guarded> {
        let now = env::now();
        let mut guarded = Guarded { time: now, known: now, content: None, asked: true };
        if place.what != What::File || !place.linked {
            return Ok(guarded);
        }
        let recorded = self.attributes(ino, place, |set| set.mtime).flatten();
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

    /// Cuts or grows a file. It is put at once unless a close will follow that does.
    pub(super) fn truncate(&self, ino: Ino, place: &Place, size: u64, close_follows: bool) -> Result<()> {
        match place.what {
            What::File => {}
            What::Directory => return Err(ErrorKind::IsDirectory.into()),
            What::Symlink(_) => return Err(ErrorKind::Invalid.into()),
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
                let value = self.value_to_cut(ino, place)?;
                self.buffer_for_writing(ino, (size > 0).then_some(value))
            }
        };
        let value_max = self.store.value_max(&place.key);
        let owed_before = {
            let mut state = buffer.state.write();
            if state.len() == size && size != 0 {
                return Ok(());
            }
            self.stand_on_put(&mut state)?;
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

    /// The value that a file without a buffer has.
    fn value_to_cut(&self, ino: Ino, place: &Place) -> Result<Shared> {
        if !place.linked {
            return self.reading(ino).ok_or_else(|| ErrorKind::Stale.into());
        }
        self.store.open(&place.key)?.map(Shared::from).ok_or_else(|| ErrorKind::NotFound.into())
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
