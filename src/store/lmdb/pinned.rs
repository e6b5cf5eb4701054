//! What a held moment costs: pages that LMDB cannot use again while somebody may read them.

use super::engine::Engine;
use super::transaction::Transaction;
use crate::error::Result;

/// LMDB's own database of free pages: for each transaction that freed some, by its id, their count and their numbers.
const FREE: lmdb_sys::MDB_dbi = 0;

impl Engine {
    /// How many pages were freed after the transaction `id`, in bytes: whoever reads that moment keeps them.
    ///
    /// # Errors
    /// As for reading.
    pub(super) fn kept_since(&self, id: u64) -> Result<u64> {
        let reading = self.begin()?;
        let mut cursor = reading.cursor(FREE)?;
        let mut pages = 0;
        let mut at = cursor.seek(&(id + 1).to_ne_bytes())?;
        while let Some((_, freed)) = at {
            let count = freed.first_chunk().map_or(0, |count| u64::from_ne_bytes(*count));
            pages += count;
            at = cursor.go(lmdb_sys::MDB_NEXT)?;
        }
        Ok(pages * self.environment().page_size)
    }
}
