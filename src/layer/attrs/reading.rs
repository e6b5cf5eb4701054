//! What is known of a key: the store's answer, and what the sidecar adds to it.

use super::Attrs;
use super::keys::{name_key, record_key};
use super::record::{Name, Record};
use crate::error::Result;
use crate::key::Key;
use crate::store::api::{Kind, SharedBytes, Stat, Value};
use crate::store::attributes::{Attributes, FileType, Xattrs};

/// What is to be done about times that may not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The value is read, and compared.
    Compare,
    /// Nothing: whoever asks may not call the store.
    Tell,
}

impl Attrs {
    /// What is at `key`, with its attributes.
    pub(super) fn look(&self, key: &Key) -> Result<Option<Stat>> {
        let found = self.store.stat(key)?;
        let Some(mut stat) = self.join(key, found)? else {
            self.purge(key)?;
            return Ok(None);
        };
        self.add_attributes(key, &mut stat, Doubt::Compare)?;
        Ok(Some(stat))
    }

    /// What exists at `key` in the sidecar alone.
    pub(super) fn name(&self, key: &Key) -> Result<Option<Name>> {
        let Some(whole) = name_key(key).filter(|_| self.sidecar.has_names()) else { return Ok(None) };
        let Some(bytes) = self.sidecar.get(&whole)? else { return Ok(None) };
        let name = Name::decode(&bytes);
        if name.is_none() {
            self.sidecar.warn_of_unreadable(&whole);
        }
        Ok(name)
    }

    /// The store's answer about `key` and what the sidecar has there, as one.
    pub(super) fn join(&self, key: &Key, found: Option<Stat>) -> Result<Option<Stat>> {
        if found.is_some_and(|stat| stat.kind.is_directory()) || !self.sidecar.has_names() {
            return Ok(found);
        }
        let name = self.name(key)?;
        match (found, name) {
            (found, None) => Ok(found),
            (Some(stat), Some(Name::Special { .. })) => {
                self.give_way(key)?;
                Ok(Some(stat))
            }
            (found, Some(name)) => self.unite(found, &name),
        }
    }

    /// The same, where the sidecar has `name`; the store's wins where that is no directory.
    pub(super) fn unite(&self, found: Option<Stat>, name: &Name) -> Result<Option<Stat>> {
        Ok(match (found, name) {
            (Some(stat), Name::Directory) if stat.kind == Kind::Leaf => {
                Some(Stat { kind: Kind::Both, ..stat })
            }
            (Some(stat), _) => Some(stat),
            (None, name) => Some(self.stat_of_name(name)?),
        })
    }

    /// What the sidecar alone has.
    fn stat_of_name(&self, name: &Name) -> Result<Stat> {
        let modified = match self.store.stat(&Key::root())? {
            Some(root) => root.modified,
            None => crate::env::now(),
        };
        Ok(match name {
            Name::Directory => Stat::plain(Kind::Branch, 0, modified),
            Name::Special { target, record } => {
                let stat = Stat::plain(Kind::Leaf, target.len() as u64, modified);
                Stat { file: record.attributes, ..stat }
            }
        })
    }

    /// Another program made a value where a link, a FIFO or a socket was: that goes.
    fn give_way(&self, key: &Key) -> Result<()> {
        // Where we put a value over it, that goes with the put.
        let theirs = self.caps.write && !self.changing.has(key);
        let Some(whole) = name_key(key).filter(|_| theirs) else { return Ok(()) };
        if let Some(bytes) = self.sidecar.get(&whole)?
            && self.sidecar.replace(&whole, &bytes, None)?
        {
            tracing::warn!("{key:?}: another program made a value there, so what was no file of bytes goes");
        }
        Ok(())
    }

    /// Forgets what was kept of something that is gone, so that what comes there next does not inherit it.
    fn purge(&self, key: &Key) -> Result<()> {
        if !self.caps.write {
            return Ok(());
        }
        for directory in [false, true] {
            let whole = record_key(key, directory);
            let Some(bytes) = self.sidecar.get(&whole)? else { continue };
            // What a record is of is there before it is: so this one is of something that came just now, or is old.
            if self.name(key)?.is_none() && self.store.stat(key)?.is_none() {
                self.sidecar.replace(&whole, &bytes, None)?;
            }
        }
        Ok(())
    }

    /// Adds the attributes of what is at `key`; false, and the times are missing, where they are in doubt and were not
    /// compared.
    pub(super) fn add_attributes(&self, key: &Key, stat: &mut Stat, doubt: Doubt) -> Result<bool> {
        if stat.kind.is_directory() {
            stat.directory = self.directory_attributes(key)?;
        }
        if stat.kind.has_value() && stat.file.file_type == FileType::Regular {
            let known = self.file_attributes(key, doubt)?;
            stat.file = known.unwrap_or_default();
            return Ok(known.is_some());
        }
        Ok(true)
    }

    /// Adds the inode numbers alone, which listings show; nothing is in doubt about them.
    pub(super) fn add_numbers(&self, key: &Key, stat: &mut Stat) -> Result<()> {
        if stat.file.file_type != FileType::Regular {
            let Attributes { file_type, ino, .. } = stat.file;
            stat.file = Attributes { file_type, ino, ..Attributes::default() };
        }
        if !self.sidecar.is_numbered() {
            return Ok(());
        }
        let number = |directory| -> Result<Option<u64>> {
            let bytes = self.sidecar.get(&record_key(key, directory))?;
            let record = bytes.and_then(|bytes| Record::decode_attributes(&bytes));
            Ok(record.and_then(|record| record.attributes.ino))
        };
        if stat.kind.is_directory() {
            stat.directory.ino = number(true)?;
        }
        if stat.kind.has_value() && stat.file.file_type == FileType::Regular {
            stat.file.ino = number(false)?;
        }
        Ok(())
    }

    fn directory_attributes(&self, key: &Key) -> Result<Attributes> {
        let Some(bytes) = self.sidecar.get(&record_key(key, true))? else { return Ok(Attributes::default()) };
        let Some(mut record) = Record::decode_attributes(&bytes) else {
            self.sidecar.warn_of_unreadable(&record_key(key, true));
            return Ok(Attributes::default());
        };
        if !self.holds(&record) {
            record.drop_times();
        }
        Ok(record.attributes)
    }

    /// The attributes of a value's file; `None` where the value must be looked at first.
    fn file_attributes(&self, key: &Key, doubt: Doubt) -> Result<Option<Attributes>> {
        let changing = self.changing.has(key);
        let whole = record_key(key, false);
        let Some(bytes) = self.sidecar.get(&whole)? else { return Ok(Some(Attributes::default())) };
        let Some(mut record) = Record::decode_attributes(&bytes) else {
            self.sidecar.warn_of_unreadable(&whole);
            return Ok(Some(Attributes::default()));
        };
        let verdict = self.verdict(&whole);
        if changing || verdict == Some(false) {
            record.drop_times();
        } else if verdict.is_none() && !self.holds(&record) {
            if doubt == Doubt::Tell {
                return Ok(None);
            }
            record = self.compare(key, &whole, &bytes)?;
        }
        Ok(Some(record.attributes))
    }

    /// Extended attributes of the file at `key`, or of the directory.
    pub(super) fn xattrs_of(&self, key: &Key, directory: bool) -> Result<Xattrs> {
        if !directory
            && let Some(Name::Special { record, .. }) = self.name(key)?
            && !self.store.stat(key)?.is_some_and(|stat| stat.kind.has_value())
        {
            return Ok(record.xattrs);
        }
        let bytes = self.sidecar.get(&record_key(key, directory))?;
        Ok(bytes.and_then(|bytes| Record::decode(&bytes)).unwrap_or_default().xattrs)
    }

    /// What a file that exists in the sidecar alone reads as.
    pub(super) fn open_name(&self, key: &Key) -> Result<Option<Box<dyn Value>>> {
        Ok(match self.name(key)? {
            Some(Name::Special { target, .. }) => Some(Box::new(SharedBytes(target.into()))),
            _ => None,
        })
    }
}
