//! `--view json`: values that are JSON objects or arrays, as directories of their parts, in any store. What they are is told by
//! their content, so that each value that is not too long is read when it is listed; `NAME%json` is the value itself.

use std::sync::Arc;

use super::trees::{Shape, Tree};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::api::{Caps, Stat, Store};
use crate::store::document::within::{self, Document};

/// The longest value that is looked at, in bytes.
const LONGEST: u64 = 4 << 20;
/// The shortest object or array, in bytes.
const SHORTEST: u64 = 2;

/// See the module.
pub(super) struct Json {
    /// Whether each file of a scalar ends in a line end (`--newline`).
    pub newline: bool,
}

impl Shape for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn may_be(&self, _name: Segment<'_>, size: Option<u64>) -> bool {
        size.is_none_or(|size| (SHORTEST..=LONGEST).contains(&size))
    }

    fn tree(
        &self,
        store: &Arc<dyn Store>,
        file: &Key,
        stat: &Stat,
        _caps: &Caps,
    ) -> Result<Option<Arc<dyn Tree>>> {
        let Some(value) = store.open_told(file, stat)? else { return Ok(None) };
        if value.len() != stat.size {
            let sentence = format!("{file:?} was replaced while it was looked at");
            return Err(Error::new(ErrorKind::Stale, sentence));
        }
        let mut text = Vec::new();
        value.read(0, within::BEGINNING, &mut |piece| text.extend_from_slice(piece))?;
        if !within::may_begin(&text) {
            return Ok(None);
        }
        let begun = text.len() as u64;
        value.read(begun, value.len() - begun, &mut |piece| text.extend_from_slice(piece))?;
        let document = within::document(text, stat.modified, format!("{file:?}"), self.newline);
        Ok(document.map(|document| Arc::new(document) as Arc<dyn Tree>))
    }

    fn whole(&self) -> Option<Word> {
        Some(Word::Json)
    }
}

impl Tree for Document {
    fn store(&self) -> &dyn Store {
        self
    }

    fn known(&self, key: &Key) -> Result<Vec<(&'static str, Vec<u8>)>> {
        Store::known(self, key)
    }

    fn bytes(&self) -> u64 {
        self.text_bytes()
    }
}
