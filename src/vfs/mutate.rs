//! Making and removing names.

use std::sync::Arc;

use smallvec::SmallVec;

use super::attr::Attr;
use super::buffer::Buffer;
use super::lookup::{Target, check_length};
use super::node::{Ino, Nameless, Step, Table, What};
use super::number;
use super::put::Unmoved;
use super::{Caller, Vfs};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::{Change, Kind, Stat, When};
use crate::store::attributes::{Attributes, FileType, Setting};

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
        check_length(name)?;
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
        if target.step == Step::Value && self.caps.folders {
            return Err(Error::new(ErrorKind::Invalid, "a directory of this store has no value of its own"));
        }
        self.store.check_file(&target.key)
    }

    /// What a name that is to go stands for.
    pub(super) fn target_to_take(&self, parent: Ino, name: &[u8]) -> Result<Target> {
        let place = self.place(parent)?;
        check_length(name)?;
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
        let kept = self.store.keeps_attributes(&target.key, false)?;
        let directory = self.directory_of(&target);
        let buffer = Buffer::empty(when, Attributes::default());
        // One time from the first answer on: what is told of the new file is what its buffer says later.
        let modified = buffer.state.read().modified;
        self.overlay.write().change(&target.key, |record| {
            if target.step == Step::Value { record.new_value = true } else { record.new = true }
        });
        self.touch_directory(&directory);
        self.detach(made);
        let mut setting = if kept { self.setting_of_new(made, What::File) } else { Setting::default() };
        let mut stat = Stat::plain(Kind::Leaf, 0, modified);
        setting.apply(&mut stat.file);
        let own_number = number::of(&target.key, false);
        let attr = self.remember(made.parent, made.name, target, What::File, Some(stat));
        setting.ino = (attr.ino != own_number).then_some(attr.ino);
        if kept {
            buffer.state.write().set(setting);
        }
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
            self.overlay.write().not_new(&place.key);
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

    /// The owner and the permissions of something new, as far as they are not what it has without being told: in a
    /// store of folders all of them, else those that are not the mount's own. For what is to have attributes.
    fn setting_of_new(&self, made: Made<'_>, what: What) -> Setting {
        let inherited = self.inherited_group(made.parent);
        let gid = inherited.unwrap_or(made.caller.gid);
        let (usual, passed_on) = match what {
            What::File | What::Fifo | What::Socket => (self.options.file_mode, 0),
            What::Directory => (self.options.directory_mode, inherited.map_or(0, |_| SET_GROUP_ID)),
            What::Symlink => (0o777, 0),
        };
        let permissions = made.permissions & 0o7777 | passed_on;
        let told = self.caps.folders;
        Setting {
            uid: (told || made.caller.uid != self.options.uid).then_some(made.caller.uid),
            gid: (told || gid != self.options.gid).then_some(gid),
            mode: (told || permissions != usual).then_some(permissions),
            ..Setting::default()
        }
    }

    /// The group that a directory gives to what is made in it: its own, where it has the set-group-id bit.
    fn inherited_group(&self, directory: Ino) -> Option<u32> {
        if !self.caps.attributes {
            return None;
        }
        let place = self.place(directory).ok()?;
        let kept = self.stat(&place).ok()??.directory;
        (kept.mode? & SET_GROUP_ID != 0).then(|| kept.gid.unwrap_or(self.options.gid))
    }

    /// The directory that a target's name stands in.
    pub(super) fn directory_of(&self, target: &Target) -> Key {
        match target.step {
            Step::Value => target.key.clone(),
            _ => target.key.parent().unwrap_or_default(),
        }
    }

    /// Makes an empty file without opening it, a named pipe or the name of a socket.
    ///
    /// # Errors
    /// `Exists`, and as for creating.
    pub fn make_node(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        permissions: u32,
        file_type: FileType,
    ) -> Result<Attr> {
        self.check_writable()?;
        let made = Made { caller, parent, name, permissions };
        if file_type != FileType::Regular {
            return self.make_special(made, file_type, &[]);
        }
        let names = self.hold_names()?;
        let target = self.target_of_free_name(parent, name)?;
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
        let made = Made { caller, parent, name, permissions };
        let kept = self.store.keeps_attributes(&target.key, true)?;
        let setting = if kept { self.setting_of_new(made, What::Directory) } else { Setting::default() };
        let branch = Change::Branch { key: &target.key };
        let lasting = match self.apply_with(branch, &target.key, true, &setting) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::Unsupported => false,
            Err(error) => return Err(error),
        };
        // Before the time that is recorded, so that what is told now is what is told later.
        let mut stat = Stat::plain(Kind::Branch, 0, env::now());
        if lasting {
            setting.apply(&mut stat.directory);
        }
        self.overlay.write().change(&target.key, |record| record.kept = !lasting);
        self.touch_directory(&target.key);
        self.touch_directory(&self.directory_of(&target));
        self.detach(made);
        Ok(self.remember(parent, name, target, What::Directory, Some(stat)))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// `Exists`, and as for creating; `NotPermitted` where no attributes are kept (§5.3).
    pub fn symlink(&self, caller: Caller, parent: Ino, name: &[u8], link: &[u8]) -> Result<Attr> {
        self.check_writable()?;
        self.make_special(Made { caller, parent, name, permissions: 0o777 }, FileType::Symlink, link)
    }

    /// Makes a file that is none of bytes.
    fn make_special(&self, made: Made<'_>, file_type: FileType, link: &[u8]) -> Result<Attr> {
        let _names = self.hold_names()?;
        let target = self.target_of_free_name(made.parent, made.name)?;
        if !self.store.keeps_attributes(&target.key, false)? {
            return Err(self.keeps_no_attributes(ErrorKind::NotPermitted));
        }
        self.check_file(&target)?;
        if target.step == Step::Value {
            return Err(Error::new(ErrorKind::Invalid, "%value is a file: the directory's own value"));
        }
        let now = env::now();
        let what = What::of_type(file_type);
        let setting = Setting { mtime: Some(now), ctime: Some(now), ..self.setting_of_new(made, what) };
        let change = Change::Make { key: &target.key, file_type, target: link };
        self.apply_with(change, &target.key, false, &setting)?;
        self.touch_directory(&self.directory_of(&target));
        self.detach(made);
        let mut stat = Stat::plain(Kind::Leaf, link.len() as u64, now);
        stat.file.file_type = file_type;
        setting.apply(&mut stat.file);
        Ok(self.remember(made.parent, made.name, target, what, Some(stat)))
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
        self.bring_down_named(parent, name)?;
        let _names = self.hold_names()?;
        let target = self.target_to_take(parent, name)?;
        let nameless = self.nameless_of(&target, (parent, name));
        let mut found = false;
        // Once more where somebody opened the file for writing meanwhile: it may have been put after the deletion.
        while !self.unlink_unless_put(&target, (parent, name), &mut found, &nameless)? {}
        self.touch_directory(&self.directory_of(&target));
        Ok(())
    }

    /// Deletes the key, and takes the name from its inodes, unless one of them was or may be put meanwhile.
    fn unlink_unless_put(
        &self,
        target: &Target,
        (parent, name): (Ino, &[u8]),
        found: &mut bool,
        nameless: &Nameless,
    ) -> Result<bool> {
        let writers = Writers::of(&self.table.lock(), parent, name);
        let deadline = Deadline::after(self.options.timeout);
        let _putting = writers.buffers().try_fold(Vec::new(), |mut putting, buffer| {
            putting.push(buffer.putting.try_lock_until(deadline.at()).ok_or(ErrorKind::TimedOut)?);
            Ok::<_, Error>(putting)
        })?;
        let in_store = match self.find(target)? {
            None if !*found && writers.buffers().next().is_none() => return Err(ErrorKind::NotFound.into()),
            None => false,
            Some((What::Directory, _)) => return Err(ErrorKind::IsDirectory.into()),
            Some(_) => true,
        };
        *found |= in_store;
        self.keeping(&self.directory_of(target), || {
            let delete = Change::Delete { key: &target.key, when: When::Always };
            if in_store { self.store.apply(&mut [delete]) } else { Ok(()) }
        })?;
        let mut overlay = self.overlay.write();
        let mut table = self.table.lock();
        // A put that was under way when its buffer was found here has ended, since it is waited for.
        if Writers::of(&table, parent, name) != writers {
            return Ok(false);
        }
        overlay.not_new(&target.key);
        for Writer { ino, .. } in &writers.0 {
            table.unlink_with(*ino, Some(Box::new(nameless.clone())));
        }
        Ok(true)
    }

    /// What a file that is about to lose its name takes along for those who have it open.
    pub(super) fn nameless_of(&self, target: &Target, (parent, name): (Ino, &[u8])) -> Nameless {
        let open = {
            let table = self.table.lock();
            let is_open = |ino: &Ino| table.get(*ino).is_some_and(|node| node.opens > 0);
            table.of_name(parent, name).into_iter().find(is_open)
        };
        let Some(ino) = open else { return Nameless::default() };
        // Those who have it open lose no more than the attributes where these cannot be had.
        let place = self.place(ino).ok();
        let xattrs = place.and_then(|place| self.xattrs(ino, &place).ok()).unwrap_or_default();
        let stat = self.store.stat(&target.key).ok().flatten();
        let mut attributes = stat.map(|stat| stat.file).unwrap_or_default();
        if let Some(stat) = stat {
            // Its time is the value's, which it cannot be asked for any more.
            attributes.mtime = attributes.mtime.or(Some(stat.modified));
        }
        if let Some(buffer) = self.buffer_of(ino) {
            buffer.state.read().pending.apply(&mut attributes);
        }
        attributes.ctime = Some(env::now());
        Nameless { attributes, xattrs }
    }

    /// A directory from which something was removed stays for the life of the mount (§2.4).
    pub(super) fn keep(&self, directory: &Key) {
        if !directory.is_root() {
            self.overlay.write().change(directory, |record| record.kept = true);
        }
    }

    /// Removes something from a directory, which is kept from before that on, so that it is never absent in between.
    fn keeping(&self, directory: &Key, remove: impl FnOnce() -> Result<()>) -> Result<()> {
        let was_kept = self.overlay.read().get(directory).is_some_and(|record| record.kept);
        self.keep(directory);
        remove().inspect_err(|_| {
            self.overlay.write().change(directory, |record| record.kept = was_kept);
        })
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
        let directory = self.directory_of(&target);
        self.keeping(&directory, || {
            match self.store.apply(&mut [Change::RemoveBranch { key: &target.key }]) {
                Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
                _ => Ok(()),
            }
        })?;
        self.overlay.write().remove_directory(&target.key);
        self.touch_directory(&directory);
        let mut table = self.table.lock();
        for ino in table.of_name(parent, name) {
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

/// The inodes that may be put under one name, in the order of their numbers, in which their buffers are locked.
#[derive(PartialEq)]
struct Writers(SmallVec<[Writer; 2]>);

struct Writer {
    ino: Ino,
    buffer: Option<Arc<Buffer>>,
    puts: u64,
}

impl Writers {
    fn of(table: &Table, parent: Ino, name: &[u8]) -> Writers {
        let inodes = table.of_name(parent, name).into_iter();
        let nodes = inodes.filter_map(|ino| Some((ino, table.get(ino)?)));
        Writers(
            nodes.map(|(ino, node)| Writer { ino, buffer: node.buffer.clone(), puts: node.puts }).collect(),
        )
    }

    fn buffers(&self) -> impl Iterator<Item = &Arc<Buffer>> {
        self.0.iter().filter_map(|writer| writer.buffer.as_ref())
    }
}

impl PartialEq for Writer {
    /// Whether nothing was put in between, but through the buffer, on whose puts one waits.
    fn eq(&self, other: &Writer) -> bool {
        self.ino == other.ino
            && match (&self.buffer, &other.buffer) {
                (Some(own), Some(other)) => Arc::ptr_eq(own, other),
                (None, None) => self.puts == other.puts,
                _ => false,
            }
    }
}
