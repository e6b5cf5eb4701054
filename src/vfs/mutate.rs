//! Making and removing names.

use std::sync::Arc;

use super::attr::Attr;
use super::buffer::Buffer;
use super::lookup::{Target, check_name_length};
use super::node::{Ino, Step, Table, What};
use super::overlay::{Attributes, Guarded};
use super::put::Unmoved;
use super::{Caller, Vfs};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Change, Kind, Stat, When};

/// The bit by which a directory gives its group to what is made in it.
const SET_GROUP_ID: u32 = 0o2000;

/// Something new in a directory: who makes it, and with which permission bits.
#[derive(Clone, Copy)]
pub(super) struct Made<'n> {
    pub caller: Caller,
    pub parent: Ino,
    pub name: &'n [u8],
    pub permissions: u32,
}

impl Vfs {
    /// What a new name would stand for.
    ///
    /// # Errors
    /// `Invalid` for a name that no segment is spelled as (§1.2); `NotPermitted` for a `%more` directory (§1.8);
    /// `NameTooLong`, `NameEncoding` for a key that the store cannot hold (§1.9).
    pub(super) fn target_to_make(&self, parent: Ino, name: &[u8]) -> Result<Target> {
        let place = self.place(parent)?;
        if !place.linked {
            return Err(ErrorKind::NotFound.into());
        }
        check_name_length(name)?;
        let target = self.target(&place, name).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("no key has the file name \"{}\"", name.escape_ascii()))
        })?;
        if matches!(target.step, Step::More(_)) {
            return Err(Error::new(
                ErrorKind::NotPermitted,
                "%more directories come and go with the names in them",
            ));
        }
        self.store.check_key(&target.key)?;
        Ok(target)
    }

    /// `Invalid` for the name of something that is a directory by its type.
    pub(super) fn check_file(&self, target: &Target) -> Result<()> {
        if target.step != Step::Value && target.key.last().is_some_and(|last| last.word.is_directory()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a name of this type is a directory: mkdir makes one",
            ));
        }
        Ok(())
    }

    /// What a name that is to go stands for.
    pub(super) fn target_to_take(&self, parent: Ino, name: &[u8]) -> Result<Target> {
        let place = self.place(parent)?;
        check_name_length(name)?;
        let target = self.target(&place, name).ok_or(ErrorKind::NotFound)?;
        if matches!(target.step, Step::More(_)) {
            return Err(Error::new(
                ErrorKind::NotPermitted,
                "%more directories come and go with the names in them",
            ));
        }
        Ok(target)
    }

    /// A new file that lives in the mount until it is put.
    pub(super) fn make_file(
        &self,
        made: Made<'_>,
        target: Target,
        when: When,
        _: &Unmoved<'_>,
    ) -> Result<Attr> {
        self.check_file(&target)?;
        let directory = self.directory_of(&target);
        let buffer = Buffer::empty(when);
        // One time from the first answer on: what is told of the new file is what its buffer says later.
        let modified = buffer.state.read().modified;
        let attributes = self.attributes_of_new(made, &What::File);
        self.overlay.write().change(&target.key, |record| {
            if target.step == Step::Value {
                record.new_value = true
            } else {
                record.new = true
            }
            record.file = Some(Box::new(attributes));
        });
        self.touch_directory(&directory);
        self.detach(made);
        let stat = Stat { kind: Kind::Leaf, size: 0, modified };
        let attr = self.remember(made.parent, made.name, target, What::File, Some(stat));
        if let Some(node) = self.table.lock().get_mut(attr.ino) {
            node.buffer = Some(Arc::new(buffer));
        }
        Ok(attr)
    }

    /// A file that another program removed and that handles still read is not the one that is made under its name.
    fn detach(&self, made: Made<'_>) {
        let mut table = self.table.lock();
        if let Some(old) = table.child(made.parent, made.name) {
            table.detach(old);
        }
    }

    /// Puts a file that was made just now; where that fails it was not made.
    pub(super) fn put_made(&self, made: Made<'_>, ino: Ino, names: &Unmoved<'_>) -> Result<()> {
        let (place, buffer) = self.place_and_buffer(ino)?;
        let Some(buffer) = buffer else { return Ok(()) };
        self.put_where_it_is(ino, &buffer, names).inspect_err(|_| {
            self.overlay.write().remove_file(&place.key);
            let mut table = self.table.lock();
            if table.child(made.parent, made.name) == Some(ino) {
                table.unlink(ino);
            }
            if let Some(node) = table.get_mut(ino) {
                node.buffer = None;
            }
            table.forget(ino, 1);
        })
    }

    /// The owner and the permissions of something new, as far as they are not the mount's own.
    fn attributes_of_new(&self, made: Made<'_>, what: &What) -> Attributes {
        let inherited = self.inherited_group(made.parent);
        let gid = inherited.unwrap_or(made.caller.gid);
        let (usual, passed_on) = match what {
            What::File => (self.options.file_mode, 0),
            What::Directory => (self.options.directory_mode, inherited.map_or(0, |_| SET_GROUP_ID)),
            What::Symlink(_) => (0o777, 0),
        };
        let permissions = made.permissions & 0o7777 | passed_on;
        Attributes {
            uid: (made.caller.uid != self.options.uid).then_some(made.caller.uid),
            gid: (gid != self.options.gid).then_some(gid),
            mode: (permissions != usual).then_some(permissions),
            ..Attributes::default()
        }
    }

    /// The group that a directory gives to what is made in it: its own, where it has the set-group-id bit.
    fn inherited_group(&self, directory: Ino) -> Option<u32> {
        let place = self.place(directory).ok()?;
        let (mode, gid) = self.attributes(directory, &place, |set| (set.mode, set.gid))?;
        (mode? & SET_GROUP_ID != 0).then(|| gid.unwrap_or(self.options.gid))
    }

    /// The directory that a target's name stands in.
    pub(super) fn directory_of(&self, target: &Target) -> Key {
        match target.step {
            Step::Value => target.key.clone(),
            _ => target.key.parent().unwrap_or_default(),
        }
    }

    /// Makes an empty file without opening it.
    ///
    /// # Errors
    /// `Exists`, and as for creating.
    pub fn make_node(&self, caller: Caller, parent: Ino, name: &[u8], permissions: u32) -> Result<Attr> {
        self.check_writable()?;
        let names = self.hold_names()?;
        let target = self.target_of_free_name(parent, name)?;
        let made = Made { caller, parent, name, permissions };
        let attr = self.make_file(made, target, When::Absent, &names)?;
        self.put_made(made, attr.ino, &names)?;
        self.let_go(attr.ino);
        Ok(attr)
    }

    /// Makes a directory that lasts (§2.2), or, where the store cannot, one for the life of the mount (§2.4).
    ///
    /// # Errors
    /// `Exists`, `Invalid`, `NameTooLong`, `NotPermitted` where every key is one file.
    pub fn mkdir(&self, caller: Caller, parent: Ino, name: &[u8], permissions: u32) -> Result<Attr> {
        self.check_writable()?;
        let _names = self.hold_names()?;
        let target = self.target_of_free_name(parent, name)?;
        if target.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        if !self.caps.branches {
            return Err(Error::new(ErrorKind::NotPermitted, "without a separator every key is one file"));
        }
        let lasting = match self.store.apply(&mut [Change::Branch { key: &target.key }]) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::Unsupported => false,
            Err(error) => return Err(error),
        };
        let made = Made { caller, parent, name, permissions };
        let attributes = self.attributes_of_new(made, &What::Directory);
        self.overlay.write().change(&target.key, |record| {
            record.kept = !lasting;
            record.directory = Some(Box::new(attributes));
        });
        // Before the time that is recorded, so that what is told now is what is told later.
        let stat = Stat { kind: Kind::Branch, size: 0, modified: env::now() };
        self.touch_directory(&target.key);
        self.touch_directory(&self.directory_of(&target));
        self.detach(made);
        Ok(self.remember(parent, name, target, What::Directory, Some(stat)))
    }

    /// Makes a symbolic link, which lives in the mount.
    ///
    /// # Errors
    /// `Exists`, and as for creating.
    pub fn symlink(&self, caller: Caller, parent: Ino, name: &[u8], link: &[u8]) -> Result<Attr> {
        self.check_writable()?;
        let _names = self.hold_names()?;
        let target = self.target_of_free_name(parent, name)?;
        self.check_file(&target)?;
        if target.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        let made = Made { caller, parent, name, permissions: 0o777 };
        let now = env::now();
        let mtime = Guarded { time: now, known: now, content: None, asked: false };
        let what = What::Symlink(link.into());
        let attributes =
            Attributes { mtime: Some(mtime), ctime: Some(now), ..self.attributes_of_new(made, &what) };
        self.overlay.write().change(&target.key, |record| {
            record.symlink = Some(link.into());
            record.file = Some(Box::new(attributes));
        });
        self.touch_directory(&self.directory_of(&target));
        self.detach(made);
        Ok(self.remember(parent, name, target, what, None))
    }

    /// What a new name would stand for, where nothing has it.
    fn target_of_free_name(&self, parent: Ino, name: &[u8]) -> Result<Target> {
        let target = self.target_to_make(parent, name)?;
        if self.find_named(&target, parent, name)?.is_some() {
            return Err(ErrorKind::Exists.into());
        }
        Ok(target)
    }

    /// What there is of a name: in the store, in the mount alone, or with bytes that are not in the store yet.
    pub(super) fn find_named(
        &self,
        target: &Target,
        parent: Ino,
        name: &[u8],
    ) -> Result<Option<(What, Option<Stat>)>> {
        let found = self.find(target)?;
        Ok(found.or_else(|| self.is_being_written(parent, name).then_some((What::File, None))))
    }

    /// Whether a file of this name has bytes that are not in the store yet.
    fn is_being_written(&self, parent: Ino, name: &[u8]) -> bool {
        let buffer = {
            let table = self.table.lock();
            table.child(parent, name).and_then(|ino| table.get(ino)?.buffer.clone())
        };
        buffer.is_some_and(|buffer| buffer.state.read().dirty)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `IsDirectory`, `NotFound`, what the store answers.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        let _names = self.hold_names()?;
        let target = self.target_to_take(parent, name)?;
        let known = self.table.lock().child(parent, name);
        let mut found = None;
        // Once more where somebody opened the file for writing meanwhile: it may have been put after the deletion.
        while !self.unlink_unless_put(&target, known, &mut found)? {}
        let directory = self.directory_of(&target);
        self.keep(&directory);
        self.touch_directory(&directory);
        Ok(())
    }

    /// Deletes the key, and takes the name from the inode, unless it was or may be put meanwhile.
    fn unlink_unless_put(
        &self,
        target: &Target,
        known: Option<Ino>,
        found: &mut Option<Stat>,
    ) -> Result<bool> {
        let (buffer, puts) = buffer_and_puts(&self.table.lock(), known);
        let deadline = Deadline::after(self.options.timeout);
        let _putting = match &buffer {
            Some(buffer) => Some(buffer.putting.try_lock_until(deadline.at()).ok_or(ErrorKind::TimedOut)?),
            None => None,
        };
        match (self.find(target)?, &buffer) {
            (None, None) if found.is_none() => return Err(ErrorKind::NotFound.into()),
            (Some((What::Directory, _)), _) => return Err(ErrorKind::IsDirectory.into()),
            (Some((What::File, stat)), _) => {
                self.store.apply(&mut [Change::Delete { key: &target.key, when: When::Always }])?;
                *found = stat;
            }
            (Some((What::Symlink(_), _)) | None, _) => {}
        }
        let mut overlay = self.overlay.write();
        let mut table = self.table.lock();
        let (now, puts_now) = buffer_and_puts(&table, known);
        // A put that was under way when its buffer was found here has ended, since it is waited for.
        if !same_buffer(buffer.as_ref(), now.as_ref()) || (buffer.is_none() && puts != puts_now) {
            return Ok(false);
        }
        let attributes = overlay.remove_file(&target.key);
        if let Some(ino) = known {
            table.unlink_with(ino, Some(attributes_of_removed(attributes, *found)));
        }
        Ok(true)
    }

    /// A directory from which something was removed stays for the life of the mount (§2.4).
    pub(super) fn keep(&self, directory: &Key) {
        if !directory.is_root() {
            self.overlay.write().change(directory, |record| record.kept = true);
        }
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotEmpty` with anything in it, a value of its own included (§2.5); `NotDirectory`, `NotFound`.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        let _names = self.hold_names()?;
        let target = self.target_to_take(parent, name)?;
        match self.find_named(&target, parent, name)? {
            None => return Err(ErrorKind::NotFound.into()),
            Some((What::Directory, stat)) => self.check_empty(&target.key, stat)?,
            Some(_) => return Err(ErrorKind::NotDirectory.into()),
        }
        match self.store.apply(&mut [Change::RemoveBranch { key: &target.key }]) {
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ => {}
        }
        self.overlay.write().remove_directory(&target.key);
        let directory = self.directory_of(&target);
        self.keep(&directory);
        self.touch_directory(&directory);
        let mut table = self.table.lock();
        if let Some(ino) = table.child(parent, name) {
            table.unlink(ino);
        }
        Ok(())
    }

    /// `NotEmpty` where a directory has a value, or something in the mount alone. The store answers for its own keys.
    pub(super) fn check_empty(&self, key: &Key, stat: Option<Stat>) -> Result<()> {
        let has_value = stat.is_some_and(|stat| stat.kind.has_value());
        let overlay = self.overlay.read();
        let has_new_value = overlay.get(key).is_some_and(|record| record.new_value);
        if has_value || has_new_value || !overlay.shown(key).is_empty() {
            return Err(ErrorKind::NotEmpty.into());
        }
        Ok(())
    }
}

fn buffer_and_puts(table: &Table, ino: Option<Ino>) -> (Option<Arc<Buffer>>, u64) {
    let node = ino.and_then(|ino| table.get(ino));
    node.map_or((None, 0), |node| (node.buffer.clone(), node.puts))
}

fn same_buffer(a: Option<&Arc<Buffer>>, b: Option<&Arc<Buffer>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// What was set on a file that lost its name, for those who have it open; its time is the value's, which it cannot be
/// asked for any more.
pub(super) fn attributes_of_removed(
    attributes: Option<Box<Attributes>>,
    stat: Option<Stat>,
) -> Box<Attributes> {
    let mut attributes = attributes.unwrap_or_default();
    if let (None, Some(stat)) = (attributes.mtime, stat) {
        let (time, known) = (stat.modified, stat.modified);
        attributes.mtime = Some(Guarded { time, known, content: None, asked: false });
        attributes.ctime.get_or_insert(time);
    }
    attributes
}
