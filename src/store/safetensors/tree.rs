//! The tensors of a model as an ordered map, which [`crate::store::flat`] makes a tree of.

use std::sync::Arc;
use std::time::SystemTime;

use super::incoming::Declared;
use super::model::{About, Model};
use super::names::Form;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Usage, Value};
use crate::store::flat::{Edit, Found, Kv, Step, walk};

/// The tensors in one form.
pub(super) struct Tensors {
    pub model: Arc<Model>,
    pub form: Form,
}

impl Kv for Tensors {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let state = self.model.current(About::One(key, self.form))?;
        Ok(state.contents.of(self.form).get(key).map(|tensor| tensor.found(self.form)))
    }

    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        let tensor = {
            let state = self.model.current(About::One(key, self.form))?;
            state.contents.of(self.form).get(key).cloned()
        };
        Ok(tensor.map(|tensor| tensor.open(self.form)))
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        let state = self.model.current(About::All)?;
        walk(state.contents.of(self.form), from, &mut |key, tensor| each(key, tensor.found(self.form)));
        Ok(())
    }

    fn any_below(&self, prefix: &[u8]) -> Result<bool> {
        let state = self.model.known();
        let mut from = state.contents.of(self.form).range(prefix.to_vec()..);
        Ok(from.next().is_some_and(|(key, _)| key.starts_with(prefix)))
    }

    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()> {
        if self.form == Form::Raw && edits.iter().any(|edit| !matches!(edit, Edit::Put { body: Some(_), .. }))
        {
            let sentence = "%raw has the bytes of tensors that have a file: remove or rename that one";
            return Err(Error::new(ErrorKind::NotPermitted, sentence));
        }
        self.model.edit(self.form, edits, &Declared::default())
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        self.model.names.check(key, self.form)
    }

    fn changed(&self) -> SystemTime {
        self.model.known().contents.changed
    }

    fn foreign_changes(&self) -> Option<u64> {
        Some(self.model.known().foreign_changes)
    }

    fn usage(&self) -> Usage {
        let keys = self.model.known().contents.len() as u64;
        self.model.location.place.usage(keys)
    }
}
