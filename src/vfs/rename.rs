//! Renaming. A directory's inodes hang below it, so that it moves with one change of the table.

use std::sync::atomic::Ordering;

use super::Vfs;
use super::lookup::Target;
use super::node::{Ino, Step, What};
use super::number;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Change, Rename, Stat};
use crate::store::attributes::Setting;

/// What there was of a name that is to be replaced.
type Replaced = Option<(What, Option<Stat>)>;

impl Vfs {
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
        self.put_before_rename(parent, name)?;
        self.bring_down_named(new_parent, new_name)?;
        self.moving_names(|| self.rename_held((parent, name), (new_parent, new_name), keep_existing))
    }

    /// Lets `act` move names, while nobody relies on where they are.
    ///
    /// # Errors
    /// `TimedOut`; what `act` answers.
    pub(super) fn moving_names(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let deadline = Deadline::after(self.options.timeout);
        let _names = self.tree.try_write_until(deadline.at()).ok_or_else(|| {
            Error::new(ErrorKind::TimedOut, "a put did not end before the deadline of the rename")
        })?;
        // Odd while names are neither here nor there.
        self.moves.fetch_add(1, Ordering::AcqRel);
        let outcome = act();
        self.moves.fetch_add(1, Ordering::AcqRel);
        outcome
    }

    /// What was written is put under the name it was written to.
    pub(super) fn put_before_rename(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let Some(ino) = self.table.lock().child(parent, name) else { return Ok(()) };
        if let Some(buffer) = self.buffer_of(ino) {
            self.put_if_dirty(ino, &buffer)?;
            self.let_go(ino);
        }
        self.bring_down_named(parent, name)
    }

    /// See [`Vfs::bring_down`].
    pub(super) fn bring_down_named(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let ino = self.table.lock().child(parent, name);
        ino.map_or(Ok(()), |ino| self.bring_down(ino))
    }

    /// Renames, for whoever holds all names.
    fn rename_held(&self, old: (Ino, &[u8]), new: (Ino, &[u8]), keep_existing: bool) -> Result<()> {
        let from = self.target_to_take(old.0, old.1)?;
        let to = self.target_to_make(new.0, new.1)?;
        let (what, stat) = self.find(&from)?.ok_or(ErrorKind::NotFound)?;
        if from.key == to.key && (from.step == Step::Value) == (to.step == Step::Value) {
            return Ok(());
        }
        // As the kernel has it: what something lies in is not empty, whatever it is that is to go there.
        let above = from.key.len() > to.key.len() || from.step == Step::Value;
        if above && to.step != Step::Value && from.key.starts_with(&to.key) {
            return Err(ErrorKind::NotEmpty.into());
        }
        let replaced = self.find_named(&to, new.0, new.1)?;
        if keep_existing && replaced.is_some() {
            return Err(ErrorKind::Exists.into());
        }
        let nameless = self.nameless_of(&to, new);
        let setting = self.setting_of_renamed(&from, &to, old, (what, stat));
        if what == What::Directory {
            self.rename_directory(&from, &to, replaced, &setting)?;
        } else {
            self.rename_file(&from, &to, what, replaced, keep_existing, &setting)?;
        }
        let (old_directory, new_directory) = (self.directory_of(&from), self.directory_of(&to));
        self.keep(&old_directory);
        self.touch_directory(&old_directory);
        self.touch_directory(&new_directory);
        let mut table = self.table.lock();
        for ino in table.of_name(new.0, new.1) {
            table.unlink_with(ino, Some(Box::new(nameless.clone())));
        }
        table.rename(old, new, &to.step);
        Ok(())
    }

    /// A renamed file or directory keeps its number, where attributes are kept (§5.6).
    pub(super) fn setting_of_renamed(
        &self,
        from: &Target,
        to: &Target,
        old: (Ino, &[u8]),
        (what, stat): (What, Option<Stat>),
    ) -> Setting {
        let directory = what == What::Directory;
        let known = self.table.lock().child(old.0, old.1);
        let kept = stat.and_then(|stat| if directory { stat.directory.ino } else { stat.file.ino });
        let ino = known.or(kept).unwrap_or_else(|| number::of(&from.key, directory));
        // A number of its own that is the key's again is told too: an older one must not stay.
        let needed = kept.is_some() || ino != number::of(&to.key, directory);
        Setting { ino: needed.then_some(ino), ctime: Some(env::now()), ..Setting::default() }
    }

    fn rename_file(
        &self,
        from: &Target,
        to: &Target,
        what: What,
        replaced: Replaced,
        keep_existing: bool,
        setting: &Setting,
    ) -> Result<()> {
        self.check_file(to)?;
        if matches!(replaced, Some((What::Directory, _))) {
            return Err(ErrorKind::IsDirectory.into());
        }
        if what != What::File && to.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        if self.caps.rename == Rename::No {
            return Err(ErrorKind::CrossDevice.into());
        }
        let change = Change::Rename { from: &from.key, to: &to.key, tree: false, replace: !keep_existing };
        self.apply_with(change, &to.key, false, setting)?;
        self.overlay.write().not_new(&to.key);
        Ok(())
    }

    fn rename_directory(
        &self,
        from: &Target,
        to: &Target,
        replaced: Replaced,
        setting: &Setting,
    ) -> Result<()> {
        if to.key.starts_with(&from.key) {
            return Err(Error::new(ErrorKind::Invalid, "a directory cannot move into itself"));
        }
        if replaced.is_some_and(|(what, _)| what != What::Directory) {
            return Err(ErrorKind::NotDirectory.into());
        }
        if to.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        if !matches!(self.caps.rename, Rename::Tree | Rename::Copy) {
            return Err(ErrorKind::CrossDevice.into());
        }
        let in_store = self.store.stat(&from.key)?.is_some();
        let mut changes = smallvec::SmallVec::<[Change<'_>; 3]>::new();
        if let Some((_, stat)) = replaced {
            self.check_empty(&to.key, stat)?;
            changes.push(Change::RemoveBranch { key: &to.key });
        }
        if in_store {
            changes.push(Change::Rename { from: &from.key, to: &to.key, tree: true, replace: false });
            if self.caps.attributes {
                changes.push(Change::Set { key: &to.key, directory: true, attributes: setting });
            }
        }
        self.store.apply(&mut changes)?;
        self.overlay.write().rename_tree(&from.key, &to.key);
        Ok(())
    }
}
