//! Edits of a model's contents: carried out one by one, undone together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::contents::Contents;
use super::files::Files;
use super::journal::{Data, Noted};
use super::names::{Form, Names};
use super::tensor::{NEW, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::When;
use crate::store::flat::Keys;

/// Edits under the lock of the contents, and what there was before them.
pub(super) struct Transaction<'a> {
    contents: &'a mut Contents,
    files: &'a Files,
    names: &'a Names,
    form: Form,
    before: Vec<(String, Option<Arc<Tensor>>)>,
    done: bool,
}

impl<'a> Transaction<'a> {
    /// Edits by the flat keys of `form`. What is not [kept](Transaction::keep) is undone.
    pub fn begin(
        (contents, files): (&'a mut Contents, &'a Files),
        names: &'a Names,
        form: Form,
    ) -> Transaction<'a> {
        Transaction { contents, files, names, form, before: Vec::new(), done: false }
    }

    fn set(&mut self, name: &str, tensor: Option<Arc<Tensor>>) {
        let before = self.contents.set(self.names, name, tensor);
        self.before.push((name.to_owned(), before));
    }

    fn at(&self, key: &[u8]) -> Option<&Arc<Tensor>> {
        self.contents.of(self.form).get(key)
    }

    fn check(&self, key: &[u8], when: &When) -> Result<()> {
        let there = self.at(key);
        match when {
            When::Absent if there.is_some() => Err(exists(key)),
            When::Current(version) if there.is_none_or(|tensor| tensor.version != *version) => {
                Err(Error::new(
                    ErrorKind::Stale,
                    format!("\"{}\" has changed in the meantime", key.escape_ascii()),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Puts a tensor at a key.
    ///
    /// # Errors
    /// `Exists`, `Stale` by the condition; `NoSpace` where the header would be too long.
    pub fn put(&mut self, key: &[u8], tensor: Arc<Tensor>, when: &When) -> Result<()> {
        self.check(key, when)?;
        self.set(&tensor.name.clone(), Some(tensor));
        self.fits()
    }

    fn fits(&self) -> Result<()> {
        if self.contents.fits() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoSpace, "the header of the file would be longer than the format has it"))
    }

    /// Takes the tensor at a key away.
    ///
    /// # Errors
    /// `Stale` by the condition.
    pub fn delete(&mut self, key: &[u8], when: &When) -> Result<()> {
        self.check(key, when)?;
        if let Some(tensor) = self.at(key).cloned() {
            self.set(&tensor.name, None);
        }
        Ok(())
    }

    /// Gives tensors other names: see [`crate::store::flat::Edit::Move`].
    ///
    /// # Errors
    /// `NotFound`; `Exists`, also for a name that a file has besides what the index names; `Invalid` where no tensor can have
    /// one of the new names.
    pub fn rename(
        &mut self,
        from: &[u8],
        to: &[u8],
        below: Option<&(Vec<u8>, Vec<u8>)>,
        replace: bool,
    ) -> Result<()> {
        if !replace && self.at(to).is_some() {
            return Err(exists(to));
        }
        let mut moves: Vec<(Arc<Tensor>, Vec<u8>)> = Vec::new();
        moves.extend(self.at(from).map(|tensor| (Arc::clone(tensor), to.to_vec())));
        if let Some((old, new)) = below {
            let inside =
                self.contents.of(self.form).range(old.clone()..).take_while(|(key, _)| key.starts_with(old));
            moves.extend(
                inside.map(|(key, tensor)| (Arc::clone(tensor), [&**new, &key[old.len()..]].concat())),
            );
        }
        if moves.is_empty() {
            let sentence = format!("there is no \"{}\" to rename", from.escape_ascii());
            return Err(Error::new(ErrorKind::NotFound, sentence));
        }
        for (tensor, to) in moves {
            let name = self.names.name(&to, self.form)?;
            if self.files.has_unlisted(tensor.file, &name) {
                let sentence = format!("its file has a {name:?} already, which the index does not name");
                return Err(Error::new(ErrorKind::Exists, sentence));
            }
            let replaced = self.at(&to).map_or(NEW, |replaced| replaced.order);
            // What is new takes the place of what it replaces.
            let order = if tensor.order == NEW { replaced } else { tensor.order };
            self.set(&tensor.name, None);
            self.set(&name, Some(Arc::new(Tensor { name: name.clone(), order, ..Tensor::clone(&tensor) })));
        }
        self.fits()
    }

    /// Refuses with `otherwise` where there is a key among these.
    ///
    /// # Errors
    /// That.
    pub fn expect(&self, none: &Keys, otherwise: ErrorKind) -> Result<()> {
        let map = self.contents.of(self.form);
        let any = match none {
            Keys::At(key) => map.contains_key(key),
            // There are no markers, which would be empty.
            Keys::Prefix(prefix) | Keys::Inside(prefix) => {
                map.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(prefix))
            }
        };
        if !any {
            return Ok(());
        }
        Err(Error::new(otherwise, format!("there are tensors at \"{}\"", none.bytes().escape_ascii())))
    }

    /// The files that have to be written for it.
    pub fn touched(&self) -> BTreeSet<usize> {
        let before = self.before.iter().filter_map(|(_, tensor)| Some(tensor.as_ref()?.file));
        let names = self.before.iter().map(|(name, _)| name);
        before.chain(names.filter_map(|name| Some(self.contents.get(self.names, name)?.file))).collect()
    }

    /// What it all comes to, for the journal; data that are not in a file of the model are there.
    pub fn notes(&self) -> Vec<(String, Option<Noted>)> {
        let touched: BTreeMap<&str, ()> = self.before.iter().map(|(name, _)| (&**name, ())).collect();
        let note = |name: &str| {
            let tensor = self.contents.get(self.names, name)?;
            let part = self.files.parts.get(tensor.file);
            let in_file = part.is_some_and(|part| Arc::ptr_eq(&tensor.source, &part.source));
            let data = if in_file { Data::File(tensor.at) } else { Data::Journal(tensor.at) };
            let (dtype, shape) = (tensor.dtype, tensor.shape.to_vec());
            let (length, part, order) = (tensor.length, tensor.file, tensor.order);
            Some(Noted { dtype, shape, length, data, part, order })
        };
        touched.into_keys().map(|name| (name.to_owned(), note(name))).collect()
    }

    /// Keeps what was done.
    pub fn keep(mut self) {
        self.done = true;
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.done {
            for (name, before) in self.before.drain(..).rev() {
                self.contents.set(self.names, &name, before);
            }
        }
    }
}

fn exists(key: &[u8]) -> Error {
    Error::new(ErrorKind::Exists, format!("\"{}\" is there already", key.escape_ascii()))
}
