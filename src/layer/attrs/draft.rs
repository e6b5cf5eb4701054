//! Edits of the sidecar that are not written yet, seen by whoever reads through them.

use std::collections::BTreeMap;

use super::keys::{Whole, name_key, names_in, record_key};
use super::record::{Name, Record};
use super::sidecar::{Edited, Sidecar};
use crate::error::Result;
use crate::key::Key;

/// Edits of one sidecar, in no order: each key has one value in the end.
pub(super) struct Draft<'a> {
    sidecar: &'a Sidecar,
    edits: BTreeMap<Whole, Option<Vec<u8>>>,
}

impl<'a> Draft<'a> {
    /// No edits.
    pub fn new(sidecar: &'a Sidecar) -> Draft<'a> {
        Draft { sidecar, edits: BTreeMap::new() }
    }

    /// What is kept under a key, these edits included.
    pub fn get(&self, whole: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.edits.get(whole) {
            Some(edited) => Ok(edited.clone()),
            None => self.sidecar.get(whole),
        }
    }

    /// Keeps `value`, or nothing, under a key; what is not there already is not removed.
    pub fn set(&mut self, whole: Whole, value: Option<Vec<u8>>) {
        self.edits.insert(whole, value);
    }

    /// Removes what is kept under a key, if there is anything.
    pub fn remove(&mut self, whole: Whole) -> Result<()> {
        if self.get(&whole)?.is_some() {
            self.set(whole, None);
        }
        Ok(())
    }

    /// Moves what is kept under a key; nothing becomes nothing.
    pub fn rename(&mut self, from: Whole, to: Whole) -> Result<()> {
        match self.get(&from)? {
            Some(value) => {
                self.set(from, None);
                self.set(to, Some(value));
                Ok(())
            }
            None => self.remove(to),
        }
    }

    /// What is kept of the file at `key`, or of the directory.
    pub fn record(&self, key: &Key, directory: bool) -> Result<Option<Record>> {
        let whole = record_key(key, directory);
        let Some(bytes) = self.get(&whole)? else { return Ok(None) };
        let record = Record::decode(&bytes);
        if record.is_none() {
            self.sidecar.warn_of_unreadable(&whole);
        }
        Ok(record)
    }

    /// Keeps a record of the file at `key`, or of the directory.
    pub fn set_record(&mut self, key: &Key, directory: bool, record: &Record) {
        self.set(record_key(key, directory), Some(record.encode()));
    }

    /// What exists at `key` in the sidecar alone.
    pub fn name(&self, key: &Key) -> Result<Option<Name>> {
        let Some(whole) = name_key(key).filter(|_| self.has_names()) else { return Ok(None) };
        let Some(bytes) = self.get(&whole)? else { return Ok(None) };
        let name = Name::decode(&bytes);
        if name.is_none() {
            self.sidecar.warn_of_unreadable(&whole);
        }
        Ok(name)
    }

    fn has_names(&self) -> bool {
        self.sidecar.has_names() || !self.edits.is_empty()
    }

    /// Makes a name, or replaces it, and the directories above it: where there are names in a directory, it is one
    /// itself, so that it stays when the store has nothing below it any more.
    pub fn set_name(&mut self, key: &Key, name: &Name) -> Result<()> {
        let Some(whole) = name_key(key) else { return Ok(()) };
        self.set(whole, Some(name.encode()));
        let mut above = key.parent();
        while let Some(directory) = above {
            let Some(whole) = name_key(&directory) else { return Ok(()) };
            if self.get(&whole)?.is_some() {
                return Ok(());
            }
            self.set(whole, Some(Name::Directory.encode()));
            above = directory.parent();
        }
        Ok(())
    }

    /// Removes a name.
    pub fn remove_name(&mut self, key: &Key) -> Result<()> {
        match name_key(key).filter(|_| self.has_names()) {
            Some(whole) => self.remove(whole),
            None => Ok(()),
        }
    }

    /// Whether there are names directly in `directory`, as far as they are written.
    pub fn has_names_in(&self, directory: &Key) -> Result<bool> {
        if !self.sidecar.has_names() {
            return Ok(false);
        }
        let mut after: Option<Whole> = None;
        loop {
            let found = self.sidecar.keys(&names_in(directory), after.as_deref(), 16)?;
            let Some(last) = found.last().cloned() else { return Ok(false) };
            if found.iter().any(|whole| !matches!(self.edits.get(whole), Some(None))) {
                return Ok(true);
            }
            after = Some(last);
        }
    }

    /// The edits.
    pub fn into_edits(self) -> Vec<Edited> {
        self.edits.into_iter().collect()
    }
}
