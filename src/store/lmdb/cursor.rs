//! A cursor: moves through one database of one transaction.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use lmdb_sys::{MDB_cursor, MDB_cursor_op, MDB_dbi, MDB_txn};

use super::failure::check;
use super::transaction::{slice_of, value_of};
use crate::error::{Error, ErrorKind, Result};

/// A record's key and value (or one duplicate), in the map.
pub type Record<'t> = (&'t [u8], &'t [u8]);

/// A cursor of the transaction that is borrowed for `'t`.
pub struct Cursor<'t> {
    raw: NonNull<MDB_cursor>,
    transaction: PhantomData<&'t ()>,
}

impl<'t> Cursor<'t> {
    /// Only through `Transaction::cursor`, which binds `'t`.
    pub(super) fn open(transaction: NonNull<MDB_txn>, database: MDB_dbi) -> Result<Cursor<'t>> {
        let mut raw = ptr::null_mut();
        // SAFETY: the transaction runs and `database` is a handle of its environment; `raw` outlives the call.
        let code = unsafe { lmdb_sys::mdb_cursor_open(transaction.as_ptr(), database, &raw mut raw) };
        check(code, "opening a cursor")?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::new(ErrorKind::Exhausted, "LMDB: out of memory"))?;
        Ok(Cursor { raw, transaction: PhantomData })
    }

    /// Moves as `operation` says and answers the record there; `None` at the end.
    ///
    /// # Errors
    /// LMDB's.
    pub fn go(&mut self, operation: MDB_cursor_op) -> Result<Option<Record<'t>>> {
        self.go_to(operation, &[], &[])
    }

    /// The first record whose key is not below `key`; from the very first where `key` is empty.
    ///
    /// # Errors
    /// LMDB's.
    pub fn seek(&mut self, key: &[u8]) -> Result<Option<Record<'t>>> {
        if key.is_empty() {
            return self.go(lmdb_sys::MDB_FIRST);
        }
        self.go_to(lmdb_sys::MDB_SET_RANGE, key, &[])
    }

    /// Moves as `operation` says with `key` and `value`; `None` where there is nothing. The key is empty after
    /// moves among duplicates, key and value after `MDB_GET_BOTH`.
    ///
    /// # Errors
    /// LMDB's.
    pub fn go_to(
        &mut self,
        operation: MDB_cursor_op,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Record<'t>>> {
        let mut found_key = value_of(key);
        let mut found = value_of(value);
        // SAFETY: the cursor is open in a running transaction; LMDB reads key and value before it fills them.
        let code = unsafe {
            lmdb_sys::mdb_cursor_get(self.raw.as_ptr(), &raw mut found_key, &raw mut found, operation)
        };
        if code == lmdb_sys::MDB_NOTFOUND {
            return Ok(None);
        }
        check(code, "reading a record")?;
        // Some moves leave what they were given, which may live shorter than `'t`, in place of the store's bytes.
        let has_key = !matches!(
            operation,
            lmdb_sys::MDB_GET_BOTH | lmdb_sys::MDB_GET_BOTH_RANGE | lmdb_sys::MDB_NEXT_DUP
        );
        let has_value = operation != lmdb_sys::MDB_GET_BOTH;
        // SAFETY: LMDB answered a key of this moment, which stays while the transaction is borrowed.
        let at: &'t [u8] = if has_key { unsafe { slice_of(&found_key) } } else { &[] };
        // SAFETY: as for the key.
        let bytes: &'t [u8] = if has_value { unsafe { slice_of(&found) } } else { &[] };
        Ok(Some((at, bytes)))
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        // SAFETY: the cursor is open; the transaction it belongs to is borrowed still.
        unsafe { lmdb_sys::mdb_cursor_close(self.raw.as_ptr()) };
    }
}
