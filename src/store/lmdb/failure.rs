//! LMDB's return codes as sentences.

use std::ffi::{CStr, c_int};
use std::fmt;

use crate::error::{Error, ErrorKind, Result, kind_of_io};

/// `Ok` for success, else the failure of `what`.
pub(super) fn check(code: c_int, what: impl fmt::Display) -> Result<()> {
    if code == lmdb_sys::MDB_SUCCESS { Ok(()) } else { Err(failure(code, what)) }
}

/// The failure that `code` stands for; positive codes are the system's.
pub(super) fn failure(code: c_int, what: impl fmt::Display) -> Error {
    if code > 0 {
        let error = std::io::Error::from_raw_os_error(code);
        return Error::new(kind_of_io(&error), format!("{what}: {error}"));
    }
    let (kind, remedy) = match code {
        lmdb_sys::MDB_MAP_FULL => {
            (ErrorKind::NoSpace, "the map is full: free space on the disk, or unmount and mount again")
        }
        lmdb_sys::MDB_TXN_FULL => (ErrorKind::NoSpace, "more pages than one LMDB transaction can hold"),
        lmdb_sys::MDB_READERS_FULL => (
            ErrorKind::Exhausted,
            "all reader slots of the environment are taken: end other programs that read it (mdb_stat -rr lists \
             them), or let the first program that opens it set more (max_readers)",
        ),
        lmdb_sys::MDB_DBS_FULL => (
            ErrorKind::Exhausted,
            "too many named databases were used in this mount: unmount and mount again to begin anew",
        ),
        lmdb_sys::MDB_BAD_VALSIZE => (ErrorKind::Invalid, "LMDB cannot hold a key or value of this length"),
        lmdb_sys::MDB_MAP_RESIZED => {
            (ErrorKind::Busy, "another program grew the data beyond our map: unmount and mount again")
        }
        lmdb_sys::MDB_VERSION_MISMATCH => (
            ErrorKind::Unsupported,
            "another version of LMDB has it open: close that program, or use one built on LMDB 0.9",
        ),
        lmdb_sys::MDB_INCOMPATIBLE | lmdb_sys::MDB_BAD_DBI => {
            (ErrorKind::Invalid, "another program changed the kind of this database: unmount and mount again")
        }
        lmdb_sys::MDB_NOTFOUND => (ErrorKind::NotFound, "it is gone"),
        lmdb_sys::MDB_KEYEXIST => (ErrorKind::Exists, "it is there already"),
        lmdb_sys::MDB_CORRUPTED | lmdb_sys::MDB_PAGE_NOTFOUND | lmdb_sys::MDB_INVALID => {
            (ErrorKind::Io, "the data file is damaged: restore it, or save what mdb_dump still reads")
        }
        lmdb_sys::MDB_PANIC => {
            (ErrorKind::Io, "a meta page could not be written: check the disk, unmount and mount again")
        }
        _ => return Error::new(ErrorKind::Io, format!("{what}: {}", words(code))),
    };
    Error::new(kind, format!("{what}: {remedy}"))
}

/// LMDB's own words for a code.
fn words(code: c_int) -> String {
    // SAFETY: mdb_strerror takes any code and answers a static string, or strerror's for positive codes, which
    // do not come here.
    let text = unsafe { lmdb_sys::mdb_strerror(code) };
    // SAFETY: `text` is a string with its NUL that lives as long as the library.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_kind_and_a_sentence() {
        for code in lmdb_sys::MDB_KEYEXIST..=lmdb_sys::MDB_BAD_DBI {
            assert!(failure(code, "x").to_string().len() > 8);
        }
        assert_eq!(failure(lmdb_sys::MDB_MAP_FULL, "x").kind(), ErrorKind::NoSpace);
        assert_eq!(failure(libc::ENOSPC, "x").kind(), ErrorKind::NoSpace);
        assert_eq!(failure(lmdb_sys::MDB_READERS_FULL, "x").kind(), ErrorKind::Exhausted);
    }
}
