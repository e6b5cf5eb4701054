//! One directory of the index as an ordered map: what is listed of plain names. Collections are not in it where they are
//! directly in the directory: there they have a name of their own ([`super::listing`]).

use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::Value;
use crate::store::flat::{Edit, Found, Kv, Step};

/// The plain names below a prefix.
pub(super) struct View {
    pub shared: std::sync::Arc<Shared>,
    /// What the keys of all that is in the directory begin with.
    pub prefix: Vec<u8>,
}

impl Kv for View {
    fn get(&self, key: &[u8]) -> Result<Option<Found>> {
        let known = self.shared.known(key)?.filter(|known| !known.kind.has_word());
        Ok(known.map(|known| Found { size: known.size, modified: known.modified }))
    }

    fn open(&self, _key: &[u8]) -> Result<Option<Box<dyn Value>>> {
        Ok(None)
    }

    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()> {
        self.shared.scan(&self.prefix, from, &mut |key, known| {
            let named = known.kind.has_word()
                && key
                    .strip_prefix(&*self.prefix)
                    .is_some_and(|rest| self.shared.separator.find(rest).is_none());
            if named { Step::Next } else { each(key, Found { size: known.size, modified: known.modified }) }
        })
    }

    fn any_below(&self, prefix: &[u8]) -> Result<bool> {
        Ok(self.shared.look(None, Some(prefix))?.1)
    }

    fn write(&self, _edits: &mut [Edit<'_>]) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "a view is only read"))
    }

    fn changed(&self) -> std::time::SystemTime {
        self.shared.index.modified()
    }
}
