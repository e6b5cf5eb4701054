//! Which database of an environment: the main one, or a named one, which is a record of the main one.

use std::ffi::{CStr, CString};
use std::fmt;
use std::ops::ControlFlow;

use lmdb_sys::MDB_dbi;

use super::cursor::Record;
use super::environment::Environment;
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};

/// Length of a named database's record: LMDB's `MDB_db`.
const RECORD: usize = 48;
/// The node flag of such a record (`F_SUBDATA`).
const SUBDATA: u16 = 0x02;
/// Bytes of a node before its key: length of the data u16 u16, flags u16, length of the key u16.
const NODE: usize = 8;
/// The flags that a database keeps (`PERSISTENT_FLAGS`).
const PERSISTENT: u32 = 0x7fff;

/// A database open in a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) handle: MDB_dbi,
    pub(super) flags: u32,
}

/// A database's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Main,
    Named(CString),
}

impl Name {
    /// The named database `name`; `None` where LMDB can have none of this name.
    pub(super) fn named(name: &[u8]) -> Option<Name> {
        if name.is_empty() { None } else { CString::new(name).ok().map(Name::Named) }
    }

    /// As [`Name::named`], for making it.
    ///
    /// # Errors
    /// `NameEncoding` for an empty name and one with a NUL.
    pub(super) fn to_make(name: &[u8]) -> Result<Name> {
        Name::named(name).ok_or_else(|| {
            Error::new(ErrorKind::NameEncoding, "the name of an LMDB database has no NUL and is not empty")
        })
    }

    /// The flags of the database in `transaction`; `None` where it does not exist.
    pub(super) fn flags_in(&self, transaction: &impl Transaction) -> Result<Option<u32>> {
        let Name::Named(name) = self else { return Ok(Some(transaction.environment().main_flags())) };
        let key = name.as_bytes();
        let record = transaction.get(Environment::MAIN, key)?;
        Ok(record.filter(|value| holds_databases(transaction) && in_map_as_database(key, value)).map(
            |value| {
                let mut flags = [0; 2];
                flags.copy_from_slice(&value[4..6]);
                u32::from(u16::from_ne_bytes(flags)) & PERSISTENT
            },
        ))
    }

    /// Hands out the names of the databases whose names are not below `from`, in order.
    pub(super) fn each_in(
        transaction: &impl Transaction,
        from: &[u8],
        each: &mut dyn FnMut(CString) -> ControlFlow<()>,
    ) -> Result<()> {
        if !holds_databases(transaction) {
            return Ok(());
        }
        let mut cursor = transaction.cursor(Environment::MAIN)?;
        let mut at = cursor.seek(from)?;
        while let Some(record) = at {
            if is_database(record)
                && let Ok(name) = CString::new(record.0)
                && each(name).is_break()
            {
                break;
            }
            at = cursor.go(lmdb_sys::MDB_NEXT)?;
        }
        Ok(())
    }

    /// Its bytes; none for the main database.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.as_c_str().map_or(&[], CStr::to_bytes)
    }

    /// The name for LMDB; `None` for the main database.
    pub(super) fn as_c_str(&self) -> Option<&CStr> {
        match self {
            Name::Main => None,
            Name::Named(name) => Some(name),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Main => f.write_str("the main database"),
            Name::Named(name) => write!(f, "the database \"{}\"", name.as_bytes().escape_ascii()),
        }
    }
}

/// Whether the main database can hold others: LMDB forbids it with these flags.
pub(super) fn holds_databases(transaction: &impl Transaction) -> bool {
    transaction.environment().main_flags() & (lmdb_sys::MDB_DUPSORT | lmdb_sys::MDB_INTEGERKEY) == 0
}

/// Whether a record of the main database, as a cursor answered it, is a named database.
pub(super) fn is_database(record: Record<'_>) -> bool {
    record.1.len() == RECORD && in_map_as_database(record.0, record.1)
}

/// Whether the value of `key` in the main database, as LMDB answered it, is a named database. LMDB's functions
/// hand out such a record like any other; what tells it apart is a flag of its node, in front of the key:
///
/// ```text
/// node: data length u16 u16 | flags u16 | key length u16 | key | data
/// ```
pub(super) fn in_map_as_database(key: &[u8], value: &[u8]) -> bool {
    if value.len() != RECORD {
        return false;
    }
    // SAFETY: `value` is 48 bytes as LMDB answered them for `key` in a database without duplicates. So short a
    // value lies in its leaf page behind its key and node header (the page sizes that `header.rs` accepts hold the
    // longest key with it), so the bytes before it, header included, are of the same page.
    let node = unsafe { value.as_ptr().sub(key.len() + NODE) };
    // SAFETY: as above.
    let head = unsafe { std::slice::from_raw_parts(node, NODE + key.len()) };
    let field = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    usize::from(field(6)) == key.len() && &head[NODE..] == key && field(4) & SUBDATA != 0
}
