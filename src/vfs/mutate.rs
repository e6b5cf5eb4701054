//! Making, removing and renaming names.

use std::sync::Arc;

use super::attr::Attr;
use super::buffer::Buffer;
use super::lookup::Target;
use super::node::{Ino, Step, What};
use super::{Caller, Vfs};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::name;
use crate::store::api::{Change, Kind, Rename, Stat, When};

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
        if name.len() > name::NAME_MAX {
            return Err(Error::new(ErrorKind::NameTooLong, "a file name has at most 255 bytes"));
        }
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

    /// What a name that is to go stands for.
    fn target_to_take(&self, parent: Ino, name: &[u8]) -> Result<Target> {
        let place = self.place(parent)?;
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
        caller: Caller,
        parent: Ino,
        name: &[u8],
        target: Target,
        permissions: u32,
        when: When,
    ) -> Result<Attr> {
        let directory = self.directory_of(&target);
        let now = env::now();
        {
            let mut overlay = self.overlay.write();
            overlay.change(&target.key, |record| {
                record.new = true;
                let set = record.file.get_or_insert_default();
                **set = Default::default();
                self.own(set, caller, permissions, self.options.file_mode);
            });
        }
        self.touch_directory(&directory);
        let stat = Stat { kind: Kind::Leaf, size: 0, modified: now };
        let attr = self.remember(parent, name, target, What::File, Some(stat));
        if let Some(node) = self.table.lock().get_mut(attr.ino) {
            node.buffer = Some(Arc::new(Buffer::empty(when)));
        }
        Ok(attr)
    }

    /// The owner and the permissions of something new, as far as they are not the mount's own.
    fn own(&self, set: &mut super::overlay::Attributes, caller: Caller, permissions: u32, usual: u32) {
        set.uid = (caller.uid != self.options.uid).then_some(caller.uid);
        set.gid = (caller.gid != self.options.gid).then_some(caller.gid);
        set.mode = (permissions & 0o7777 != usual).then_some(permissions & 0o7777);
    }

    /// The directory that a target's name stands in.
    fn directory_of(&self, target: &Target) -> Key {
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
        let target = self.target_to_make(parent, name)?;
        if self.find(&target)?.is_some() || self.lookup_new(parent, name) {
            return Err(ErrorKind::Exists.into());
        }
        let attr = self.make_file(caller, parent, name, target, permissions, When::Absent)?;
        if let Some(buffer) = self.buffer_of(attr.ino) {
            self.put_if_dirty(attr.ino, &buffer)?;
        }
        self.let_go(attr.ino);
        Ok(attr)
    }

    /// Makes a directory that lasts (§2.2), or, where the store cannot, one for the life of the mount (§2.4).
    ///
    /// # Errors
    /// `Exists`, `Invalid`, `NameTooLong`, `NotPermitted` where every key is one file.
    pub fn mkdir(&self, caller: Caller, parent: Ino, name: &[u8], permissions: u32) -> Result<Attr> {
        self.check_writable()?;
        let target = self.target_to_make(parent, name)?;
        if self.find(&target)?.is_some() || self.lookup_new(parent, name) {
            return Err(ErrorKind::Exists.into());
        }
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
        {
            let mut overlay = self.overlay.write();
            overlay.change(&target.key, |record| {
                record.kept = !lasting;
                let set = record.directory.get_or_insert_default();
                **set = Default::default();
                self.own(set, caller, permissions, self.options.directory_mode);
            });
        }
        self.touch_directory(&target.key);
        self.touch_directory(&self.directory_of(&target));
        let stat = Stat { kind: Kind::Branch, size: 0, modified: env::now() };
        Ok(self.remember(parent, name, target, What::Directory, Some(stat)))
    }

    /// Makes a symbolic link, which lives in the mount.
    ///
    /// # Errors
    /// `Exists`, and as for creating.
    pub fn symlink(&self, caller: Caller, parent: Ino, name: &[u8], link: &[u8]) -> Result<Attr> {
        self.check_writable()?;
        let target = self.target_to_make(parent, name)?;
        if self.find(&target)?.is_some() || self.lookup_new(parent, name) {
            return Err(ErrorKind::Exists.into());
        }
        {
            let mut overlay = self.overlay.write();
            overlay.change(&target.key, |record| {
                record.symlink = Some(link.into());
                let set = record.file.get_or_insert_default();
                self.own(set, caller, 0o777, 0o777);
            });
        }
        self.touch_directory(&self.directory_of(&target));
        Ok(self.remember(parent, name, target, What::Symlink(link.into()), None))
    }

    /// Whether a file of this name was created and is not in the store yet.
    fn lookup_new(&self, parent: Ino, name: &[u8]) -> bool {
        let table = self.table.lock();
        table.child(parent, name).and_then(|ino| table.get(ino)).is_some_and(|node| node.buffer.is_some())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `IsDirectory`, `NotFound`, what the store answers.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        let target = self.target_to_take(parent, name)?;
        let known = self.table.lock().child(parent, name);
        let buffer = known.and_then(|ino| self.buffer_of(ino));
        let deadline = Deadline::after(self.options.timeout);
        let _putting = match &buffer {
            Some(buffer) => Some(buffer.putting.try_lock_until(deadline.at()).ok_or(ErrorKind::TimedOut)?),
            None => None,
        };
        match (self.find(&target)?, &buffer) {
            (None, None) => return Err(ErrorKind::NotFound.into()),
            (Some((What::Directory, _)), _) => return Err(ErrorKind::IsDirectory.into()),
            (Some((What::File, _)), _) => {
                self.store.apply(&mut [Change::Delete { key: &target.key, when: When::Always }])?;
            }
            (Some((What::Symlink(_), _)) | None, _) => {}
        }
        let directory = self.directory_of(&target);
        self.overlay.write().remove_file(&target.key);
        self.keep(&directory);
        self.touch_directory(&directory);
        if let Some(ino) = known {
            self.table.lock().unlink(ino);
        }
        Ok(())
    }

    /// A directory from which something was removed stays for the life of the mount (§2.4).
    fn keep(&self, directory: &Key) {
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
        let target = self.target_to_take(parent, name)?;
        match self.find(&target)? {
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
    fn check_empty(&self, key: &Key, stat: Option<Stat>) -> Result<()> {
        let has_value = stat.is_some_and(|stat| stat.kind.has_value());
        if has_value || !self.overlay.read().shown(key).is_empty() {
            return Err(ErrorKind::NotEmpty.into());
        }
        Ok(())
    }

    /// Renames a file, a directory or a link.
    ///
    /// # Errors
    /// `Exists` with `keep_existing`; `NotEmpty`, `IsDirectory`, `NotDirectory` as the target stands; `Invalid` for a
    /// directory into itself; `CrossDevice` where the store cannot.
    pub fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        keep_existing: bool,
    ) -> Result<()> {
        self.check_writable()?;
        let from = self.target_to_take(parent, name)?;
        let to = self.target_to_make(new_parent, new_name)?;
        let deadline = Deadline::after(self.options.timeout);
        let known = self.table.lock().child(parent, name);
        if let Some(ino) = known
            && let Some(buffer) = self.buffer_of(ino)
        {
            self.put_if_dirty(ino, &buffer)?;
        }
        let _tree = self.tree.try_write_until(deadline.at()).ok_or_else(|| {
            Error::new(ErrorKind::TimedOut, "a put did not end before the deadline of the rename")
        })?;
        let (what, _) = self.find(&from)?.ok_or(ErrorKind::NotFound)?;
        if from.key == to.key && (from.step == Step::Value) == (to.step == Step::Value) {
            return Ok(());
        }
        // As the kernel has it: what something lies in is not empty, whatever it is that is to go there.
        let above = from.key.len() > to.key.len() || from.step == Step::Value;
        if above && to.step != Step::Value && from.key.starts_with(&to.key) {
            return Err(ErrorKind::NotEmpty.into());
        }
        let replaced = self.find(&to)?;
        if replaced.is_some() && keep_existing {
            return Err(ErrorKind::Exists.into());
        }
        if what == What::Directory {
            self.rename_directory(&from, &to, replaced)?;
        } else {
            self.rename_file(&from, &to, &what, replaced, keep_existing)?;
        }
        let (old_directory, new_directory) = (self.directory_of(&from), self.directory_of(&to));
        self.keep(&old_directory);
        self.touch_directory(&old_directory);
        self.touch_directory(&new_directory);
        let mut table = self.table.lock();
        if let Some(ino) = table.child(parent, name) {
            table.rename(ino, new_parent, new_name, to.step);
        } else if let Some(ino) = table.child(new_parent, new_name) {
            table.unlink(ino);
        }
        Ok(())
    }

    fn rename_file(
        &self,
        from: &Target,
        to: &Target,
        what: &What,
        replaced: Option<(What, Option<Stat>)>,
        keep_existing: bool,
    ) -> Result<()> {
        let replaced_file = match replaced {
            Some((What::Directory, _)) => return Err(ErrorKind::IsDirectory.into()),
            Some((What::File, _)) => true,
            _ => false,
        };
        if *what == What::File {
            if self.caps.rename == Rename::No {
                return Err(ErrorKind::CrossDevice.into());
            }
            let change =
                Change::Rename { from: &from.key, to: &to.key, tree: false, replace: !keep_existing };
            self.store.apply(&mut [change])?;
        } else if replaced_file {
            self.store.apply(&mut [Change::Delete { key: &to.key, when: When::Always }])?;
        }
        self.overlay.write().rename_file(&from.key, &to.key);
        Ok(())
    }

    fn rename_directory(
        &self,
        from: &Target,
        to: &Target,
        replaced: Option<(What, Option<Stat>)>,
    ) -> Result<()> {
        if to.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        if to.key.starts_with(&from.key) {
            return Err(Error::new(ErrorKind::Invalid, "a directory cannot move into itself"));
        }
        if self.caps.rename != Rename::Tree {
            return Err(ErrorKind::CrossDevice.into());
        }
        let in_store = self.store.stat(&from.key)?.is_some();
        let mut changes = smallvec::SmallVec::<[Change<'_>; 2]>::new();
        match replaced {
            Some((What::Directory, stat)) => {
                self.check_empty(&to.key, stat)?;
                changes.push(Change::RemoveBranch { key: &to.key });
            }
            Some(_) => return Err(ErrorKind::NotDirectory.into()),
            None => {}
        }
        if in_store {
            changes.push(Change::Rename { from: &from.key, to: &to.key, tree: true, replace: false });
        }
        self.store.apply(&mut changes)?;
        self.overlay.write().rename_tree(&from.key, &to.key);
        Ok(())
    }
}
