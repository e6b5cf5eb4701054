//! Whether a database is in the order that its flags say. A program may have set a comparison of its own
//! (`mdb_set_compare`), of which the file tells nothing: searching by another order then misses keys, and writing
//! would leave a tree that neither order describes.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicBool, Ordering as Memory};

use super::table::Table;
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};

/// Records looked at from each end when a database is first used.
const SAMPLE: usize = 1000;

/// What is known of a database's order; shared by all that use the database.
#[derive(Debug, Default)]
pub(super) struct Order {
    broken: AtomicBool,
}

impl Order {
    /// Whether disorder was seen.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Memory::Acquire)
    }

    /// Notes that disorder was seen, and says so.
    pub(super) fn broken(&self) -> Error {
        self.broken.store(true, Memory::Release);
        Error::new(
            ErrorKind::ReadOnly,
            "this database is in an order of its program's own, which LMDB does not tell: it can be read and \
             listed, only that program can write to it",
        )
    }

    /// Notes that disorder was seen while reading: the next look walks it.
    pub(super) fn met_disorder(&self) -> Error {
        self.broken();
        Error::new(ErrorKind::Io, "this database is in an order of its program's own: look again")
    }

    /// Looks at the first and the last records of `table`.
    pub(super) fn sample(&self, transaction: &impl Transaction, table: Table) -> Result<()> {
        let duplicates = table.flags & lmdb_sys::MDB_DUPSORT != 0;
        let ends = [
            (lmdb_sys::MDB_FIRST, lmdb_sys::MDB_NEXT, Ordering::Less),
            (lmdb_sys::MDB_LAST, lmdb_sys::MDB_PREV, Ordering::Greater),
        ];
        for (start, step, wanted) in ends {
            let mut cursor = transaction.cursor(table.handle)?;
            let mut before: Option<(&[u8], &[u8])> = None;
            let mut at = cursor.go(start)?;
            for _ in 0..SAMPLE {
                let Some((key, value)) = at else { break };
                if let Some((key_before, value_before)) = before {
                    let mut order = transaction.compare(table.handle, key_before, key);
                    if order == Ordering::Equal && duplicates {
                        order = transaction.compare_duplicates(table.handle, value_before, value);
                    }
                    if order != wanted {
                        self.broken.store(true, Memory::Release);
                        return Ok(());
                    }
                }
                before = Some((key, value));
                at = cursor.go(step)?;
            }
        }
        Ok(())
    }

    /// That `key` belongs where LMDB would put it: between the keys that are its neighbours there.
    ///
    /// # Errors
    /// `ReadOnly` where it does not.
    pub(super) fn check(&self, transaction: &impl Transaction, table: Table, key: &[u8]) -> Result<()> {
        let mut cursor = transaction.cursor(table.handle)?;
        let after = cursor.seek(key)?;
        if after.is_some_and(|(after, _)| transaction.compare(table.handle, after, key) == Ordering::Less) {
            return Err(self.broken());
        }
        let before = match after {
            Some(_) => cursor.go(lmdb_sys::MDB_PREV_NODUP)?,
            None => cursor.go(lmdb_sys::MDB_LAST)?,
        };
        if before.is_some_and(|(before, _)| transaction.compare(table.handle, before, key) != Ordering::Less)
        {
            return Err(self.broken());
        }
        Ok(())
    }
}
