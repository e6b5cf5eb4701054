//! What [`crate::store::api::Store::apply`] does to a folder: each change at once, one after the other.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType as Native, Mode, RenameFlags, mkdirat, unlinkat};
use rustix::io::Errno;

use super::draft::Draft;
use super::node;
use super::root::{self, Found, failure, look};
use super::stamp::Stamp;
use super::{Folder, VALUE_MAX, setting};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Change, When};
use crate::store::attributes::{FileType, Setting};

impl Folder {
    /// Carries out the changes in order. Those that belong together are one: attributes with what they are of, and the
    /// removal of the directory that another one replaces.
    pub(super) fn carry_out(&self, changes: &[Change<'_>]) -> Result<()> {
        let mut rest = changes;
        loop {
            rest = match rest {
                [] => return Ok(()),
                [
                    Change::Put { key, body, when },
                    Change::Set { key: same, directory: false, attributes },
                    after @ ..,
                ] if key == same => {
                    self.put(key, body, when, Some(attributes))?;
                    after
                }
                [
                    Change::RemoveBranch { key },
                    Change::Rename { from, to, tree: true, replace: false },
                    after @ ..,
                ] if key == to => {
                    self.rename(from, to, true, true)?;
                    after
                }
                [
                    Change::Rename { from: one, to: way, replace: false, .. },
                    Change::Rename { from: other, to: same, replace: false, .. },
                    Change::Rename { from: back, to: last, replace: false, .. },
                    after @ ..,
                ] if one == same && way == back && other == last => {
                    self.exchange(one, other)?;
                    after
                }
                [change, after @ ..] => {
                    self.carry_out_one(change)?;
                    after
                }
            };
        }
    }

    fn carry_out_one(&self, change: &Change<'_>) -> Result<()> {
        match change {
            Change::Put { key, body, when } => self.put(key, body, when, None),
            Change::Delete { key, when } => self.delete(key, when),
            Change::Rename { from, to, tree, replace } => self.rename(from, to, *tree, *replace),
            Change::Branch { key } => self.make_directory(key),
            Change::RemoveBranch { key } => self.remove_directory(key),
            Change::Make { key, file_type, target } => self.make(key, *file_type, target),
            Change::Set { key, directory, attributes } => self.set(key, *directory, attributes),
        }
    }

    fn put(&self, key: &Key, body: &Payload, when: &When, set: Option<&Setting>) -> Result<()> {
        let name = checked_name(key)?;
        if body.len() > VALUE_MAX {
            let sentence = format!("{key:?} would have {} bytes: a file has at most {VALUE_MAX}", body.len());
            return Err(Error::new(ErrorKind::TooBig, sentence));
        }
        let directory = self.root.made_above(key)?;
        let found = self.check_target(&directory, key, name, when)?;
        let draft = Draft::new(key, &directory)?;
        draft.fill(body)?;
        draft.dress(found.as_ref(), name, set)?;
        if self.durable {
            draft.sync()?;
        }
        {
            // As late as possible: only another program can come between this look and the name.
            let _names = self.hold_names()?;
            match self.check_target(&directory, key, name, when)? {
                None => draft.name_new(name)?,
                Some(_) => draft.name_over(name)?,
            }
        }
        self.settle(&directory, key)
    }

    /// What has the name that a put is to have, where it may.
    fn check_target(
        &self,
        directory: &OwnedFd,
        key: &Key,
        name: &[u8],
        when: &When,
    ) -> Result<Option<rustix::fs::Stat>> {
        let found = look(directory, name).map_err(|errno| failure(key, errno))?;
        if let Some(found) = &found
            && node::is_directory(found)
        {
            let kind = if *when == When::Absent { ErrorKind::Exists } else { ErrorKind::IsDirectory };
            return Err(Error::new(kind, format!("{key:?} is a directory")));
        }
        self.check(found.as_ref(), when)?;
        Ok(found)
    }

    fn check(&self, found: Option<&rustix::fs::Stat>, when: &When) -> Result<()> {
        match (when, found) {
            (When::Absent, Some(_)) => Err(ErrorKind::Exists.into()),
            (When::Current(_), None) => Err(ErrorKind::Stale.into()),
            (When::Current(version), Some(found)) if self.same.version(Stamp::of(found)) != *version => {
                Err(ErrorKind::Stale.into())
            }
            _ => Ok(()),
        }
    }

    fn delete(&self, key: &Key, when: &When) -> Result<()> {
        let absent = || self.check(None, when);
        let (Some(directory), Ok(name)) = (self.root.above(key)?, checked_name(key)) else { return absent() };
        let _names = self.hold_names()?;
        let found = look(&directory, name).map_err(|errno| failure(key, errno))?;
        let Some(found) = found.filter(|found| !node::is_directory(found)) else { return absent() };
        self.check(Some(&found), when)?;
        match unlinkat(&directory, name, AtFlags::empty()) {
            Err(Errno::NOENT) => absent(),
            outcome => outcome.map_err(|errno| failure(key, errno)),
        }?;
        self.settle(&directory, key)
    }

    fn rename(&self, from: &Key, to: &Key, tree: bool, replace: bool) -> Result<()> {
        let new_name = checked_name(to)?;
        if from == to || (tree && to.starts_with(from)) {
            let sentence = format!("{from:?} cannot be renamed to itself or into itself, to {to:?}");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no {from:?}"));
        let old_name = checked_name(from).map_err(|_| missing())?;
        let old = self.root.above(from)?.ok_or_else(missing)?;
        let look_at_source = || look(&old, old_name).map_err(|errno| failure(from, errno));
        let source =
            look_at_source()?.filter(|found| tree || !node::is_directory(found)).ok_or_else(missing)?;
        let new = self.root.made_above(to)?;
        let _names = self.hold_names()?;
        let target = look(&new, new_name).map_err(|errno| failure(to, errno))?;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        rustix::fs::renameat_with(&old, old_name, &new, new_name, flags).map_err(|errno| match errno {
            // The target is a directory with something in it, maybe the source.
            Errno::EXIST if replace => failure(to, Errno::NOTEMPTY),
            Errno::NOENT => missing(),
            errno => failure(to, errno),
        })?;
        // Two names of one file: Linux leaves both.
        let is_same =
            |found: &rustix::fs::Stat| (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino);
        if target.as_ref().is_some_and(is_same) && look_at_source()?.as_ref().is_some_and(is_same) {
            unlinkat(&old, old_name, AtFlags::empty()).map_err(|errno| failure(from, errno))?;
        }
        self.settle(&old, from)?;
        self.settle(&new, to)
    }

    fn exchange(&self, one: &Key, other: &Key) -> Result<()> {
        let place = |key: &Key| {
            let missing = || Error::new(ErrorKind::NotFound, format!("there is no {key:?}"));
            self.root.above(key)?.ok_or_else(missing)
        };
        let (above_one, above_other) = (place(one)?, place(other)?);
        let (name, other_name) = (checked_name(one)?, checked_name(other)?);
        let _names = self.hold_names()?;
        rustix::fs::renameat_with(&above_one, name, &above_other, other_name, RenameFlags::EXCHANGE)
            .map_err(|errno| failure(other, errno))?;
        self.settle(&above_one, one)?;
        self.settle(&above_other, other)
    }

    fn make_directory(&self, key: &Key) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Exists, "the folder is there already"));
        }
        let name = checked_name(key)?;
        let directory = self.root.made_above(key)?;
        mkdirat(&directory, name, Mode::from_raw_mode(0o755)).map_err(|errno| failure(key, errno))?;
        self.settle(&directory, key)
    }

    fn remove_directory(&self, key: &Key) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "the folder itself cannot be removed"));
        }
        let (Some(directory), Ok(name)) = (self.root.above(key)?, checked_name(key)) else { return Ok(()) };
        match unlinkat(&directory, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.settle(&directory, key),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTDIR | Errno::EXIST) => Err(failure(key, Errno::NOTEMPTY)),
            Err(errno) => Err(failure(key, errno)),
        }
    }

    fn make(&self, key: &Key, file_type: FileType, target: &[u8]) -> Result<()> {
        let name = checked_name(key)?;
        let directory = self.root.made_above(key)?;
        let mode = Mode::from_raw_mode(0o644);
        let native = match file_type {
            FileType::Symlink => Native::Symlink,
            FileType::Fifo => Native::Fifo,
            FileType::Socket => Native::Socket,
            FileType::Regular => {
                return Err(Error::new(ErrorKind::Invalid, "a file of bytes is put, not made"));
            }
        };
        let made = match native {
            Native::Symlink => rustix::fs::symlinkat(target, &directory, name),
            _ => rustix::fs::mknodat(&directory, name, native, mode, 0),
        };
        made.map_err(|errno| failure(key, errno))?;
        self.settle(&directory, key)
    }

    fn set(&self, key: &Key, directory: bool, attributes: &Setting) -> Result<()> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no {key:?}"));
        let Some(Found::Node(file, before)) = self.root.find(key)? else { return Err(missing()) };
        if node::is_directory(&before) != directory {
            return Err(missing());
        }
        let outcome = setting::set(&file, &before, attributes, key);
        if attributes.mtime.is_some()
            && let Ok(after) = rustix::fs::fstat(&file)
        {
            self.same.add(Stamp::of(&before), Stamp::of(&after));
        }
        outcome?;
        if self.durable { self.root.sync(key) } else { Ok(()) }
    }

    /// Waits for the disk where that was asked for.
    fn settle(&self, directory: &OwnedFd, key: &Key) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        root::sync_directory(directory).map_err(|errno| failure(key, errno))
    }
}

/// The name of the file at `key`.
fn checked_name(key: &Key) -> Result<&[u8]> {
    root::check(key)?;
    Ok(key.last().map_or(&b""[..], |segment| segment.bytes))
}
