//! Bindings to the system's liblmdb 0.9, as thin as they can be: what `lmdb.h` declares and kvfs uses, under
//! its own names. What each function demands of its caller is said in `lmdb.h`; the safe layer over it is
//! kvfs's `store/lmdb`.
//!
//! The system's library, not a bundled one, since every process that has an environment open must agree on the
//! layout of its lock file, and the other programs use the system's.

#![allow(non_camel_case_types)]

use libc::{c_char, c_int, c_uint, c_void, mode_t, size_t};

/// An environment: one data file, one lock file, one map.
#[repr(C)]
pub struct MDB_env {
    _opaque: [u8; 0],
}

/// A transaction.
#[repr(C)]
pub struct MDB_txn {
    _opaque: [u8; 0],
}

/// A cursor of one transaction in one database.
#[repr(C)]
pub struct MDB_cursor {
    _opaque: [u8; 0],
}

/// A handle of a database in an environment.
pub type MDB_dbi = c_uint;

/// Bytes: a key or a value, into or out of the library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MDB_val {
    /// Length in bytes.
    pub mv_size: size_t,
    /// The first byte.
    pub mv_data: *mut c_void,
}

/// Figures of one database.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MDB_stat {
    /// Page size in bytes.
    pub ms_psize: c_uint,
    /// Height of the tree.
    pub ms_depth: c_uint,
    /// Inner pages.
    pub ms_branch_pages: size_t,
    /// Leaf pages.
    pub ms_leaf_pages: size_t,
    /// Pages of values too large for a leaf.
    pub ms_overflow_pages: size_t,
    /// Records.
    pub ms_entries: size_t,
}

/// Figures of an environment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MDB_envinfo {
    /// The map's address, if fixed.
    pub me_mapaddr: *mut c_void,
    /// The map's length in bytes.
    pub me_mapsize: size_t,
    /// The last page in use.
    pub me_last_pgno: size_t,
    /// The last transaction committed, by the meta pages: seen there before its commit returns.
    pub me_last_txnid: size_t,
    /// Reader slots there are.
    pub me_maxreaders: c_uint,
    /// Reader slots ever used.
    pub me_numreaders: c_uint,
}

/// A comparison of two keys or duplicates.
pub type MDB_cmp_func = unsafe extern "C" fn(a: *const MDB_val, b: *const MDB_val) -> c_int;
/// Takes one line of [`mdb_reader_list`]; a negative answer ends it.
pub type MDB_msg_func = unsafe extern "C" fn(msg: *const c_char, ctx: *mut c_void) -> c_int;

/// What a cursor does next (`MDB_cursor_op`).
pub type MDB_cursor_op = c_uint;
/// The first record.
pub const MDB_FIRST: MDB_cursor_op = 0;
/// The first duplicate of the current key.
pub const MDB_FIRST_DUP: MDB_cursor_op = 1;
/// Exactly this key and duplicate.
pub const MDB_GET_BOTH: MDB_cursor_op = 2;
/// This key, and the first duplicate that is not below the one given.
pub const MDB_GET_BOTH_RANGE: MDB_cursor_op = 3;
/// The record at the cursor.
pub const MDB_GET_CURRENT: MDB_cursor_op = 4;
/// The last record.
pub const MDB_LAST: MDB_cursor_op = 6;
/// The next record.
pub const MDB_NEXT: MDB_cursor_op = 8;
/// The next duplicate of the current key.
pub const MDB_NEXT_DUP: MDB_cursor_op = 9;
/// The next key.
pub const MDB_NEXT_NODUP: MDB_cursor_op = 11;
/// The record before.
pub const MDB_PREV: MDB_cursor_op = 12;
/// The key before.
pub const MDB_PREV_NODUP: MDB_cursor_op = 14;
/// Exactly this key, answering the store's own copy of it.
pub const MDB_SET_KEY: MDB_cursor_op = 16;
/// The first key that is not below the one given.
pub const MDB_SET_RANGE: MDB_cursor_op = 17;

/// The path is the data file itself, the lock file is beside it.
pub const MDB_NOSUBDIR: c_uint = 0x4000;
/// Commits do not wait for the disk.
pub const MDB_NOSYNC: c_uint = 0x1_0000;
/// Nothing is written.
pub const MDB_RDONLY: c_uint = 0x2_0000;
/// Reader slots belong to transactions, not to threads.
pub const MDB_NOTLS: c_uint = 0x20_0000;
/// No lock file at all.
pub const MDB_NOLOCK: c_uint = 0x40_0000;

/// Keys are compared from their ends.
pub const MDB_REVERSEKEY: c_uint = 0x02;
/// A key has several values, in order.
pub const MDB_DUPSORT: c_uint = 0x04;
/// Keys are native integers of one width.
pub const MDB_INTEGERKEY: c_uint = 0x08;
/// Duplicates are all of one length.
pub const MDB_DUPFIXED: c_uint = 0x10;
/// Duplicates are native integers.
pub const MDB_INTEGERDUP: c_uint = 0x20;
/// Duplicates are compared from their ends.
pub const MDB_REVERSEDUP: c_uint = 0x40;
/// Makes the database where there is none.
pub const MDB_CREATE: c_uint = 0x4_0000;

/// Refuses a key that is there.
pub const MDB_NOOVERWRITE: c_uint = 0x10;
/// Refuses a duplicate that is there.
pub const MDB_NODUPDATA: c_uint = 0x20;
/// Makes room for a value and answers where it goes.
pub const MDB_RESERVE: c_uint = 0x1_0000;

/// A copy leaves out free pages.
pub const MDB_CP_COMPACT: c_uint = 0x01;

/// All went well.
pub const MDB_SUCCESS: c_int = 0;
/// The key or duplicate is there already.
pub const MDB_KEYEXIST: c_int = -30799;
/// No such key, or the end.
pub const MDB_NOTFOUND: c_int = -30798;
/// A page that does not exist is referred to.
pub const MDB_PAGE_NOTFOUND: c_int = -30797;
/// A page is not what it should be.
pub const MDB_CORRUPTED: c_int = -30796;
/// A meta page could not be written: the environment is unusable until it is opened again.
pub const MDB_PANIC: c_int = -30795;
/// Data or lock file of another LMDB.
pub const MDB_VERSION_MISMATCH: c_int = -30794;
/// Not an LMDB file.
pub const MDB_INVALID: c_int = -30793;
/// The map is full.
pub const MDB_MAP_FULL: c_int = -30792;
/// No handle for another database.
pub const MDB_DBS_FULL: c_int = -30791;
/// No reader slot is free.
pub const MDB_READERS_FULL: c_int = -30790;
/// Too many pages in one transaction.
pub const MDB_TXN_FULL: c_int = -30788;
/// Another process grew the data beyond our map.
pub const MDB_MAP_RESIZED: c_int = -30785;
/// The database is not of the kind that the call is for.
pub const MDB_INCOMPATIBLE: c_int = -30784;
/// A reader slot is in use.
pub const MDB_BAD_RSLOT: c_int = -30783;
/// The transaction has failed before.
pub const MDB_BAD_TXN: c_int = -30782;
/// A key, name or value of a length that cannot be.
pub const MDB_BAD_VALSIZE: c_int = -30781;
/// The handle's database changed.
pub const MDB_BAD_DBI: c_int = -30780;

#[allow(missing_docs, reason = "lmdb.h is the documentation")]
unsafe extern "C" {
    pub fn mdb_version(major: *mut c_int, minor: *mut c_int, patch: *mut c_int) -> *mut c_char;
    pub fn mdb_strerror(err: c_int) -> *mut c_char;
    pub fn mdb_env_create(env: *mut *mut MDB_env) -> c_int;
    pub fn mdb_env_open(env: *mut MDB_env, path: *const c_char, flags: c_uint, mode: mode_t) -> c_int;
    pub fn mdb_env_copyfd2(env: *mut MDB_env, fd: c_int, flags: c_uint) -> c_int;
    pub fn mdb_env_stat(env: *mut MDB_env, stat: *mut MDB_stat) -> c_int;
    pub fn mdb_env_info(env: *mut MDB_env, stat: *mut MDB_envinfo) -> c_int;
    pub fn mdb_env_sync(env: *mut MDB_env, force: c_int) -> c_int;
    pub fn mdb_env_close(env: *mut MDB_env);
    pub fn mdb_env_get_fd(env: *mut MDB_env, fd: *mut c_int) -> c_int;
    pub fn mdb_env_set_mapsize(env: *mut MDB_env, size: size_t) -> c_int;
    pub fn mdb_env_set_maxreaders(env: *mut MDB_env, readers: c_uint) -> c_int;
    pub fn mdb_env_set_maxdbs(env: *mut MDB_env, dbs: MDB_dbi) -> c_int;
    pub fn mdb_env_get_maxkeysize(env: *mut MDB_env) -> c_int;
    pub fn mdb_txn_begin(
        env: *mut MDB_env,
        parent: *mut MDB_txn,
        flags: c_uint,
        txn: *mut *mut MDB_txn,
    ) -> c_int;
    pub fn mdb_txn_id(txn: *mut MDB_txn) -> size_t;
    pub fn mdb_txn_commit(txn: *mut MDB_txn) -> c_int;
    pub fn mdb_txn_abort(txn: *mut MDB_txn);
    pub fn mdb_txn_reset(txn: *mut MDB_txn);
    pub fn mdb_txn_renew(txn: *mut MDB_txn) -> c_int;
    pub fn mdb_dbi_open(txn: *mut MDB_txn, name: *const c_char, flags: c_uint, dbi: *mut MDB_dbi) -> c_int;
    pub fn mdb_dbi_flags(txn: *mut MDB_txn, dbi: MDB_dbi, flags: *mut c_uint) -> c_int;
    pub fn mdb_dbi_close(env: *mut MDB_env, dbi: MDB_dbi);
    pub fn mdb_drop(txn: *mut MDB_txn, dbi: MDB_dbi, del: c_int) -> c_int;
    pub fn mdb_stat(txn: *mut MDB_txn, dbi: MDB_dbi, stat: *mut MDB_stat) -> c_int;
    pub fn mdb_set_compare(txn: *mut MDB_txn, dbi: MDB_dbi, cmp: MDB_cmp_func) -> c_int;
    pub fn mdb_cmp(txn: *mut MDB_txn, dbi: MDB_dbi, a: *const MDB_val, b: *const MDB_val) -> c_int;
    pub fn mdb_dcmp(txn: *mut MDB_txn, dbi: MDB_dbi, a: *const MDB_val, b: *const MDB_val) -> c_int;
    pub fn mdb_get(txn: *mut MDB_txn, dbi: MDB_dbi, key: *mut MDB_val, data: *mut MDB_val) -> c_int;
    pub fn mdb_put(
        txn: *mut MDB_txn,
        dbi: MDB_dbi,
        key: *mut MDB_val,
        data: *mut MDB_val,
        flags: c_uint,
    ) -> c_int;
    pub fn mdb_del(txn: *mut MDB_txn, dbi: MDB_dbi, key: *mut MDB_val, data: *mut MDB_val) -> c_int;
    pub fn mdb_cursor_open(txn: *mut MDB_txn, dbi: MDB_dbi, cursor: *mut *mut MDB_cursor) -> c_int;
    pub fn mdb_cursor_close(cursor: *mut MDB_cursor);
    pub fn mdb_cursor_get(
        cursor: *mut MDB_cursor,
        key: *mut MDB_val,
        data: *mut MDB_val,
        op: MDB_cursor_op,
    ) -> c_int;
    pub fn mdb_cursor_count(cursor: *mut MDB_cursor, count: *mut size_t) -> c_int;
    pub fn mdb_reader_list(env: *mut MDB_env, func: MDB_msg_func, ctx: *mut c_void) -> c_int;
    pub fn mdb_reader_check(env: *mut MDB_env, dead: *mut c_int) -> c_int;
}
