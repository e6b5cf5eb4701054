//! `--view tensor`: values that are safetensors files, as directories of `.npy` files. Which they are is told by their names,
//! which end in `.safetensors`, and by their headers.

use std::sync::Arc;

use super::trees::{Shape, Tree};
use crate::error::Result;
use crate::key::{Key, Segment};
use crate::store::api::{Caps, Stat, Store};
use crate::store::safetensors::within;

/// What the name of a file ends in.
const SUFFIX: &[u8] = b".safetensors";

/// See the module.
pub(super) struct Tensors;

impl Shape for Tensors {
    fn name(&self) -> &'static str {
        "tensor"
    }

    fn may_be(&self, name: Segment<'_>, _size: Option<u64>) -> bool {
        name.bytes.ends_with(SUFFIX)
    }

    fn tree(
        &self,
        store: &Arc<dyn Store>,
        file: &Key,
        stat: &Stat,
        caps: &Caps,
    ) -> Result<Option<Arc<dyn Tree>>> {
        let tree = within::tree(store, file, stat, caps.clone())?;
        Ok(tree.map(|tree| Arc::new(tree) as Arc<dyn Tree>))
    }
}

impl Tree for within::Tree {
    fn store(&self) -> &dyn Store {
        self
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Ok(self.kv().known(&self.raw_key(key, false)))
    }

    fn bytes(&self) -> u64 {
        self.kv().bytes()
    }
}
