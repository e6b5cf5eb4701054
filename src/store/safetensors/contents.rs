//! All tensors of a model, in the order of their flat keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::header::{HEADER_MAX, Metadata};
use super::layout::longest_entry;
use super::names::{Form, Names};
use super::tensor::Tensor;

/// What a model holds.
#[derive(Debug)]
pub(super) struct Contents {
    npy: BTreeMap<Vec<u8>, Arc<Tensor>>,
    /// The same, by the flat keys of their plain bytes, which have another order.
    raw: BTreeMap<Vec<u8>, Arc<Tensor>>,
    /// What stands under `__metadata__`.
    pub metadata: Option<Metadata>,
    /// The last change.
    pub changed: SystemTime,
    /// The longest that the tensors' part of a header can be, in bytes.
    header: u64,
}

impl Contents {
    pub fn new(metadata: Option<Metadata>, changed: SystemTime) -> Contents {
        Contents { npy: BTreeMap::new(), raw: BTreeMap::new(), metadata, changed, header: 0 }
    }

    /// The tensors by their flat keys.
    pub fn of(&self, form: Form) -> &BTreeMap<Vec<u8>, Arc<Tensor>> {
        match form {
            Form::Npy => &self.npy,
            Form::Raw => &self.raw,
        }
    }

    /// The tensors, in the order of their files' names.
    pub fn tensors(&self) -> impl Iterator<Item = &Arc<Tensor>> {
        self.npy.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.npy.len()
    }

    /// The tensor of this name.
    pub fn get(&self, names: &Names, name: &str) -> Option<&Arc<Tensor>> {
        self.npy.get(&names.flat(name, Form::Npy))
    }

    /// What is there of a name from now on; answers what was there.
    pub fn set(&mut self, names: &Names, name: &str, tensor: Option<Arc<Tensor>>) -> Option<Arc<Tensor>> {
        let (npy, raw) = (names.flat(name, Form::Npy), names.flat(name, Form::Raw));
        self.header += tensor.as_deref().map_or(0, longest_entry);
        let before = match tensor {
            Some(tensor) => {
                self.raw.insert(raw, Arc::clone(&tensor));
                self.npy.insert(npy, tensor)
            }
            None => {
                self.raw.remove(&raw);
                self.npy.remove(&npy)
            }
        };
        self.header -= before.as_deref().map_or(0, longest_entry);
        before
    }

    /// Whether the tensors surely fit into a header, with what stands under `__metadata__`.
    pub fn fits(&self) -> bool {
        self.fits_with(self.metadata.as_ref())
    }

    /// Whether they would with these metadata.
    pub fn fits_with(&self, metadata: Option<&Metadata>) -> bool {
        let texts = metadata.into_iter().flatten();
        let longest: usize = texts.map(|(name, text)| 6 * (name.len() + text.len() + 1)).sum();
        self.header + longest as u64 <= HEADER_MAX
    }
}
