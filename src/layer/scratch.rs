//! Scratch files (§4.7): what programs make for a moment beside the file that they mean lives in the mount, and never reaches
//! the store. Renamed to another name it is put there, as any write of that file would.
//!
//! A name is scratch when it matches and nothing in the store has it: keys that are there already stay files.

mod files;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use self::files::{File, Files};
use crate::config::ScratchNames;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::name::PIECE_MAX;
use crate::payload::Payload;
use crate::store::api::{Change, Cursor, Entry, Kind, Stat, Store, Value, Version, When};
use crate::store::attributes::{FileType, Setting, Xattrs};

/// The longest scratch file, in bytes. What is longer is put when it is closed, as any file, and renamed in the store, where
/// that has a place for it: put at the rename, it would hold up all other names of the mount for as long as that takes.
const LONGEST: u64 = 8 << 20;
/// Scratch files of a mount; a long one, or one that has no room in memory, has a file of its own. What is more is put.
const MOST: usize = 1000;
/// So many names are said at the end.
const SAID_MOST: usize = 10;

/// A store with scratch files in the mount alone.
pub struct Scratch {
    store: Arc<dyn Store>,
    names: ScratchNames,
    /// What a file has of which nobody said otherwise.
    usual: Usual,
    /// Directories that have nothing but scratch are as old as that.
    since: SystemTime,
    /// Held for a moment, and never across a call of the store.
    files: Mutex<Files>,
}

/// Mode and owner of a file of which nobody said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Scratch {
    /// `store`, in which files of these names are scratch.
    pub fn new(store: Arc<dyn Store>, names: ScratchNames, usual: Usual) -> Scratch {
        Scratch { store, names, usual, since: env::now(), files: Mutex::default() }
    }

    fn matches(&self, key: &Key) -> bool {
        // A longer name is shown in pieces, which no program makes for a moment.
        key.last().is_some_and(|last| {
            last.word == Word::None && last.bytes.len() <= PIECE_MAX && self.names.matches(last.bytes)
        })
    }

    fn file(&self, key: &Key) -> Option<File> {
        self.files.lock().get(key).cloned()
    }

    /// Whether what is made at `key` is scratch.
    fn takes(&self, key: &Key) -> Result<bool> {
        if !self.matches(key) {
            return Ok(false);
        }
        let (known, full) = {
            let files = self.files.lock();
            (files.get(key).is_some(), files.len() >= MOST)
        };
        Ok(known || (!full && self.store.stat(key)?.is_none()))
    }

    /// Carries out one change where it is about scratch; false where it is the store's.
    fn change(&self, change: &Change<'_>, behind: &[Change<'_>]) -> Result<bool> {
        match change {
            Change::Put { key, body, when } => {
                let long = body.len() > LONGEST && self.store.check_file(key).is_ok();
                if long || !self.takes(key)? {
                    return Ok(false);
                }
                self.put(key, body, when).map(|()| true)
            }
            Change::Make { key, file_type, target } => {
                if !self.takes(key)? {
                    return Ok(false);
                }
                let file = File::new(Payload::of(target)?, *file_type, env::now());
                self.files.lock().insert(key, file);
                Ok(true)
            }
            Change::Delete { key, .. } if self.matches(key) => Ok(self.files.lock().remove(key).is_some()),
            Change::Set { key, directory: false, attributes } if self.matches(key) => {
                Ok(self.files.lock().get_mut(key).map(|file| file.set(attributes)).is_some())
            }
            Change::Rename { from, to, tree: false, replace } => self.rename(from, to, *replace, behind),
            Change::RemoveBranch { key } if self.files.lock().any_below(key) => {
                Err(Error::new(ErrorKind::NotEmpty, "there are scratch files in it"))
            }
            _ => Ok(false),
        }
    }

    fn put(&self, key: &Key, body: &Payload, when: &When) -> Result<()> {
        let body = body.copy()?;
        let mut files = self.files.lock();
        match files.get_mut(key) {
            Some(_) if *when == When::Absent => Err(ErrorKind::Exists.into()),
            Some(file) => {
                file.replace(body, env::now());
                Ok(())
            }
            None => {
                files.insert(key, File::new(body, FileType::Regular, env::now()));
                Ok(())
            }
        }
    }

    /// Renames one file: within the mount, or into the store, where it is a write of what it is renamed to.
    fn rename(&self, from: &Key, to: &Key, replace: bool, behind: &[Change<'_>]) -> Result<bool> {
        let Some(file) = self.file(from) else {
            let taken = !replace && self.file(to).is_some();
            return if taken { Err(ErrorKind::Exists.into()) } else { Ok(false) };
        };
        if self.takes(to)? {
            let mut files = self.files.lock();
            if !replace && files.get(to).is_some() {
                return Err(ErrorKind::Exists.into());
            }
            files.rename(from, to);
            return Ok(true);
        }
        self.store.check_file(to)?;
        let file_type = file.attributes.file_type;
        if file_type != FileType::Regular && !self.store.keeps_attributes(to, false)? {
            // As making it there would be.
            return Err(Error::new(
                ErrorKind::NotPermitted,
                "the store keeps neither links nor special files",
            ));
        }
        let there = self.store.stat(to)?;
        let mut setting = file.setting();
        if let Some(there) = &there {
            // It has its own mode and owner, and not those of what it replaces.
            setting.mode = setting.mode.or(there.file.mode.and(Some(self.usual.mode)));
            setting.uid = setting.uid.or(there.file.uid.and(Some(self.usual.uid)));
            setting.gid = setting.gid.or(there.file.gid.and(Some(self.usual.gid)));
        }
        for change in behind {
            if let Change::Set { key, directory: false, attributes } = change
                && *key == to
            {
                setting.add((*attributes).clone());
            }
        }
        let target = file.target()?;
        if file_type == FileType::Regular {
            let when = if replace { When::Always } else { When::Absent };
            self.make(Change::Put { key: to, body: &file.body, when }, to, &setting)?;
        } else if there.is_none() {
            self.make(Change::Make { key: to, file_type, target: &target }, to, &setting)?;
        } else if replace {
            // What is no file of bytes is made where nothing is, and replaces something by its rename.
            self.make(Change::Make { key: from, file_type, target: &target }, from, &setting)?;
            let renamed = self.store.apply(&mut [Change::Rename { from, to, tree: false, replace }]);
            if renamed.is_err() {
                self.store.apply(&mut [Change::Delete { key: from, when: When::Always }])?;
            }
            renamed?;
        } else {
            return Err(ErrorKind::Exists.into());
        }
        self.files.lock().remove(from);
        Ok(true)
    }

    /// Makes something in the store, with its attributes where they are kept.
    fn make(&self, change: Change<'_>, key: &Key, setting: &Setting) -> Result<()> {
        self.apply_to_store(change, &[Change::Set { key, directory: false, attributes: setting }])
    }

    /// Carries out a change in the store, with what is set behind it as far as the store has a place for that: what was
    /// meant for scratch may become a file of its own.
    fn apply_to_store(&self, change: Change<'_>, set: &[Change<'_>]) -> Result<()> {
        let mut settings = Vec::new();
        for set in set {
            if let Change::Set { key, directory, attributes } = set {
                let kept = self.store.keeps_attributes(key, *directory)?;
                let own = || attributes.of_xattrs(self.store.caps().settable);
                settings.push((*key, *directory, if kept { (*attributes).clone() } else { own() }));
            }
        }
        settings.retain(|(_, _, attributes)| !attributes.is_empty());
        let mut together = vec![change];
        together.extend(settings.iter().map(|(key, directory, attributes)| Change::Set {
            key,
            directory: *directory,
            attributes,
        }));
        self.store.apply(&mut together)
    }

    /// Gives the scratch files of a directory; whether all were taken.
    fn list_files(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> bool {
        let files = self.files.lock().after(dir, from.scratch.as_deref());
        for (name, stat) in files {
            if each(Entry { segment: Segment::plain(&name), stat }).is_break() {
                return false;
            }
            from.scratch = Some(name);
        }
        true
    }

    /// Lists the scratch files first, then what `list` gives of the store.
    fn list_both(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
        list: impl FnOnce(&mut Cursor, &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) -> Result<()>,
    ) -> Result<()> {
        let is_new = |cursor: &Cursor| Cursor { scratch: None, ..cursor.clone() } == Cursor::default();
        if is_new(from) && !self.list_files(dir, from, each) {
            return Ok(());
        }
        // The store goes on as if there were nothing else.
        let mut own = Cursor { scratch: None, ..from.clone() };
        let any = self.files.lock().any_in(dir);
        let outcome = list(&mut own, &mut |entry| {
            let shadowed = any
                && entry.segment.word == Word::None
                && self.files.lock().get(&dir.child(entry.segment)).is_some();
            if shadowed { ControlFlow::Continue(()) } else { each(entry) }
        });
        *from = Cursor { scratch: from.scratch.take(), ..own };
        outcome
    }
}

impl Store for Scratch {
    passes_on!(
        caps,
        good_for,
        sync,
        value_max,
        raw_key,
        foreign_changes,
        era,
        resume,
        watch,
        snapshot,
        past,
        history,
        usage,
        compact,
        close
    );

    fn stat(&self, key: &Key) -> Result<Option<Stat>> {
        match self.file(key) {
            Some(file) => Ok(Some(file.stat())),
            None => {
                let found = self.store.stat(key)?;
                let scratch_below = found.is_none() && self.files.lock().any_below(key);
                Ok(found.or_else(|| scratch_below.then(|| Stat::plain(Kind::Branch, 0, self.since))))
            }
        }
    }

    fn list(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list_both(dir, from, each, |from, each| self.store.list(dir, from, each))
    }

    fn list_with_attributes(
        &self,
        dir: &Key,
        from: &mut Cursor,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.list_both(dir, from, each, |from, each| self.store.list_with_attributes(dir, from, each))
    }

    fn list_prefix(
        &self,
        dir: &Key,
        prefix: &[u8],
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let files = self.files.lock().after(dir, None);
        for (name, stat) in files.iter().filter(|(name, _)| name.starts_with(prefix)) {
            if each(Entry { segment: Segment::plain(name), stat: *stat }).is_break() {
                return Ok(());
            }
        }
        self.store.list_prefix(dir, prefix, each)
    }

    /// What is scratch has attributes in any store, for as long as the mount.
    fn keeps_attributes(&self, key: &Key, directory: bool) -> Result<bool> {
        Ok(self.store.keeps_attributes(key, directory)? || (!directory && self.takes(key)?))
    }

    fn xattrs(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        match self.file(key).filter(|_| !directory) {
            Some(file) => Ok(file.xattrs),
            None => self.store.xattrs(key, directory),
        }
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        if self.file(key).is_some() { Ok(Vec::new()) } else { self.store.known(key) }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        match self.file(key) {
            Some(file) => Ok(Some(file.value())),
            None => self.store.open(key),
        }
    }

    fn open_told(&self, key: &Key, stat: &Stat) -> Result<Option<Box<dyn Value>>> {
        match self.file(key) {
            Some(file) => Ok(Some(file.value())),
            None => self.store.open_told(key, stat),
        }
    }

    fn apply(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let about_scratch = |change: &Change<'_>| match change {
            Change::RemoveBranch { .. } => !self.files.lock().is_empty(),
            Change::Rename { tree: true, .. } => !self.files.lock().is_empty(),
            change => {
                let (key, to) = change.keys();
                self.matches(key) || to.is_some_and(|to| self.matches(to))
            }
        };
        if !changes.iter().any(about_scratch) {
            return self.store.apply(changes);
        }
        if changes.iter().filter(|change| matches!(change, Change::Rename { .. })).count() > 1 {
            // Half in the store and half in the mount, they would not be carried out at once.
            let scratch = |change: &Change<'_>| {
                let (key, to) = change.keys();
                self.file(key).is_some() || to.is_some_and(|to| self.file(to).is_some())
            };
            if changes.iter().any(scratch) {
                return Err(Error::new(ErrorKind::Invalid, "a scratch file changes places with nothing"));
            }
            return self.store.apply(changes);
        }
        let mut rest: &[Change<'_>] = changes;
        while let [first, behind @ ..] = rest {
            // What is set behind a change belongs to it: stores that keep attributes do both at once.
            let own = behind.iter().take_while(|change| matches!(change, Change::Set { .. })).count();
            let (own, later) = behind.split_at(own);
            rest = later;
            if self.change(first, own)? {
                self.set_what_is_scratch(own);
                continue;
            }
            if self.is_in_store(first)? {
                self.apply_to_store(first.again(), own)?;
            }
            match first {
                Change::Rename { from, to, tree: true, .. } => self.files.lock().rename_tree(from, to),
                // It has become too long for scratch, or something of the store has taken its name.
                Change::Put { key, .. } | Change::Rename { to: key, .. } => {
                    self.files.lock().remove(key);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn written_so_far(&self, key: &Key, body: &Payload) {
        if body.len() > LONGEST || !self.matches(key) {
            self.store.written_so_far(key, body);
        }
    }

    fn seen_absent(&self, key: &Key) {
        if !self.matches(key) {
            self.store.seen_absent(key);
        }
    }

    fn sync_key(&self, key: &Key) -> Result<()> {
        if self.file(key).is_some() { Ok(()) } else { self.store.sync_key(key) }
    }

    fn check_file(&self, key: &Key) -> Result<()> {
        if self.matches(key) { self.check_key(key) } else { self.store.check_file(key) }
    }

    fn check_key(&self, key: &Key) -> Result<()> {
        match self.store.check_key(key) {
            // A name that no key of the store can have lives in the mount all the same.
            Err(error)
                if self.matches(key)
                    && matches!(
                        error.kind(),
                        ErrorKind::NameEncoding | ErrorKind::NameTooLong | ErrorKind::Invalid
                    ) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    fn version_of(&self, key: &Key, body: &Payload) -> Result<Option<Version>> {
        if self.file(key).is_some() { Ok(None) } else { self.store.version_of(key, body) }
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = self.store.facts();
        facts.extend(self.files.lock().told(SAID_MOST).map(|told| ("scratch files", told)));
        facts
    }

    fn lost_at_end(&self) -> Vec<String> {
        let told = self.files.lock().told(SAID_MOST);
        let mut lost = self.store.lost_at_end();
        lost.extend(
            told.map(|told| format!("gone with the mount, in which alone they lived: scratch files, {told}")),
        );
        lost
    }
}

impl Scratch {
    /// Whether a change has anything to change in the store: a directory may have nothing but scratch files.
    fn is_in_store(&self, change: &Change<'_>) -> Result<bool> {
        match change {
            Change::Rename { from, tree: true, .. } if self.files.lock().any_below(from) => {
                Ok(self.store.stat(from)?.is_some())
            }
            _ => Ok(true),
        }
    }

    /// Sets what is set behind a change that was not the store's.
    fn set_what_is_scratch(&self, set: &[Change<'_>]) {
        let mut files = self.files.lock();
        for change in set {
            if let Change::Set { key, directory: false, attributes } = change
                && let Some(file) = files.get_mut(key)
            {
                file.set(attributes);
            }
        }
    }
}
