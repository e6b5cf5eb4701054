//! Transactions: slices of the map live as long as the borrow of the transaction they were read in.

use std::ffi::{CStr, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use lmdb_sys::{MDB_dbi, MDB_txn, MDB_val};

use super::cursor::Cursor;
use super::environment::Environment;
use super::failure::{check, failure};
use crate::error::{Error, ErrorKind, Result};

/// What a read and a write transaction have in common: looking at one moment of an environment.
pub trait Transaction {
    /// The environment.
    fn environment(&self) -> &Environment;

    /// The running transaction.
    fn raw(&self) -> NonNull<MDB_txn>;

    /// The number of the moment it shows; a write transaction's is that of the commit it will make.
    fn id(&self) -> u64 {
        // SAFETY: the transaction runs.
        unsafe { lmdb_sys::mdb_txn_id(self.raw().as_ptr()) as u64 }
    }

    /// The value at `key` (the first one of duplicates).
    ///
    /// # Errors
    /// LMDB's; a key that cannot be is no error but absent.
    fn get(&self, database: MDB_dbi, key: &[u8]) -> Result<Option<&[u8]>> {
        if key.is_empty() || key.len() > self.environment().key_max as usize {
            return Ok(None);
        }
        let mut wanted = value_of(key);
        let mut found = value_of(&[]);
        // SAFETY: the transaction runs and `database` is a handle of its environment; LMDB only reads `wanted`.
        let code =
            unsafe { lmdb_sys::mdb_get(self.raw().as_ptr(), database, &raw mut wanted, &raw mut found) };
        if code == lmdb_sys::MDB_NOTFOUND {
            return Ok(None);
        }
        check(code, "reading a value")?;
        // SAFETY: LMDB answered a value of this moment; it stays in place until the transaction ends or writes,
        // for both of which the borrow of `self` must have ended.
        Ok(Some(unsafe { slice_of(&found) }))
    }

    /// A cursor in `database`.
    ///
    /// # Errors
    /// LMDB's.
    fn cursor(&self, database: MDB_dbi) -> Result<Cursor<'_>> {
        Cursor::open(self.raw(), database)
    }

    /// Figures of `database`.
    ///
    /// # Errors
    /// LMDB's.
    fn stat(&self, database: MDB_dbi) -> Result<lmdb_sys::MDB_stat> {
        let mut stat = lmdb_sys::MDB_stat::default();
        // SAFETY: the transaction runs; `stat` outlives the call.
        let code = unsafe { lmdb_sys::mdb_stat(self.raw().as_ptr(), database, &raw mut stat) };
        check(code, "the database's figures")?;
        Ok(stat)
    }

    /// Flags of `database`.
    ///
    /// # Errors
    /// LMDB's.
    fn flags(&self, database: MDB_dbi) -> Result<u32> {
        let mut flags: c_uint = 0;
        // SAFETY: the transaction runs; `flags` outlives the call.
        let code = unsafe { lmdb_sys::mdb_dbi_flags(self.raw().as_ptr(), database, &raw mut flags) };
        check(code, "the database's flags")?;
        Ok(flags)
    }

    /// How LMDB orders two keys of `database`.
    fn compare(&self, database: MDB_dbi, a: &[u8], b: &[u8]) -> std::cmp::Ordering {
        let (a, b) = (value_of(a), value_of(b));
        // SAFETY: the transaction runs and has `database`; LMDB reads the two keys and keeps nothing.
        unsafe { lmdb_sys::mdb_cmp(self.raw().as_ptr(), database, &raw const a, &raw const b) }.cmp(&0)
    }

    /// How LMDB orders two duplicates of `database`, which has them.
    fn compare_duplicates(&self, database: MDB_dbi, a: &[u8], b: &[u8]) -> std::cmp::Ordering {
        let (a, b) = (value_of(a), value_of(b));
        // SAFETY: as above, and the database is DUPSORT, so that it has a comparison of duplicates.
        unsafe { lmdb_sys::mdb_dcmp(self.raw().as_ptr(), database, &raw const a, &raw const b) }.cmp(&0)
    }
}

/// A read transaction.
pub struct Reading {
    environment: Arc<Environment>,
    raw: NonNull<MDB_txn>,
}

// SAFETY: with MDB_NOTLS a read transaction may move between threads, as long as one at a time uses it; it is not
// Sync.
unsafe impl Send for Reading {}

impl Reading {
    pub(super) fn new(environment: Arc<Environment>, raw: NonNull<MDB_txn>) -> Reading {
        Reading { environment, raw }
    }

    /// Opens the handle of a database: the main one, or the one of this name. The handle is everybody's once
    /// [`Reading::commit`] returned; `Environment::handles` is held over both.
    ///
    /// # Errors
    /// `NotFound` without such a database.
    pub(super) fn open_database(&self, name: Option<&CStr>) -> Result<MDB_dbi> {
        let mut handle: MDB_dbi = 0;
        let name = name.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the transaction runs, `name` is null or a C string, and no other transaction opens a handle.
        let code = unsafe { lmdb_sys::mdb_dbi_open(self.raw.as_ptr(), name, 0, &raw mut handle) };
        check(code, "opening a database")?;
        Ok(handle)
    }

    /// Ends the transaction so that the handles it opened stay.
    ///
    /// # Errors
    /// LMDB's.
    pub(super) fn commit(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the transaction runs and is not used after this.
        let code = unsafe { lmdb_sys::mdb_txn_commit(this.raw.as_ptr()) };
        this.environment.ended();
        // SAFETY: `this` is never dropped, so its Arc is taken out exactly once.
        drop(unsafe { ptr::read(&raw const this.environment) });
        check(code, "opening a database")
    }
}

impl Transaction for Reading {
    fn environment(&self) -> &Environment {
        &self.environment
    }

    fn raw(&self) -> NonNull<MDB_txn> {
        self.raw
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.environment.give_back(self.raw);
    }
}

/// The write transaction: one at a time among all processes. Dropped without [`Writing::commit`], it never was.
pub struct Writing<'e> {
    environment: &'e Environment,
    raw: NonNull<MDB_txn>,
    /// Changes made so far, also by calls that failed.
    changes: u64,
    /// Bytes of values put so far.
    bytes: u64,
    /// LMDB write transactions belong to their thread.
    not_send: PhantomData<*const ()>,
}

impl<'e> Writing<'e> {
    pub(super) fn new(environment: &'e Environment, raw: NonNull<MDB_txn>) -> Writing<'e> {
        Writing { environment, raw, changes: 0, bytes: 0, not_send: PhantomData }
    }

    /// Changes made so far, also by calls that failed: after a failure that changed this, only ending the
    /// transaction undoes what came before.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes of values put so far; LMDB holds as many in memory until the commit.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes `length` bytes of room for the value at `key`, replacing what is there, and lets `fill` write them.
    ///
    /// # Errors
    /// `NoSpace` when map or transaction are full; what `fill` returns.
    pub fn put_with(
        &mut self,
        database: MDB_dbi,
        key: &[u8],
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        self.changes += 1;
        self.bytes += length as u64;
        let mut at = value_of(key);
        let mut room = MDB_val { mv_size: length, mv_data: ptr::null_mut() };
        // SAFETY: the transaction runs and `database` is a handle of its environment, not DUPSORT (the caller's
        // care: reserving there is refused by LMDB's own check of sizes only).
        let code = unsafe {
            lmdb_sys::mdb_put(self.raw.as_ptr(), database, &raw mut at, &raw mut room, lmdb_sys::MDB_RESERVE)
        };
        check(code, "writing a value")?;
        if length == 0 {
            return fill(&mut []);
        }
        // LMDB's page memory may hold an earlier transaction's bytes; `fill` writes all of it or fails.
        // SAFETY: LMDB answered room for exactly `length` bytes, initialised pages of its own, that stay until the
        // next change in this transaction; `self` is borrowed mutably throughout.
        let room = unsafe { std::slice::from_raw_parts_mut(room.mv_data.cast::<u8>(), length) };
        fill(room)
    }

    /// Puts `value` at `key` with LMDB's `flags`; answers whether it was put (`false`: it was there already).
    ///
    /// # Errors
    /// `NoSpace` when map or transaction are full.
    pub fn put(&mut self, database: MDB_dbi, key: &[u8], value: &[u8], flags: u32) -> Result<bool> {
        self.changes += 1;
        self.bytes += value.len() as u64;
        let mut at = value_of(key);
        let mut bytes = value_of(value);
        // SAFETY: the transaction runs and `database` is a handle of its environment; without MDB_RESERVE LMDB
        // reads key and value and keeps neither.
        let code =
            unsafe { lmdb_sys::mdb_put(self.raw.as_ptr(), database, &raw mut at, &raw mut bytes, flags) };
        if code == lmdb_sys::MDB_KEYEXIST {
            return Ok(false);
        }
        check(code, "writing a value")?;
        Ok(true)
    }

    /// Puts the value at `from` at `to` too, another key.
    ///
    /// # Errors
    /// `NotFound` without a value at `from`; `NoSpace` when map or transaction are full.
    pub fn copy(&mut self, database: MDB_dbi, from: &[u8], to: &[u8]) -> Result<()> {
        let Some(length) = self.get(database, from)?.map(<[u8]>::len) else {
            return Err(failure(lmdb_sys::MDB_NOTFOUND, "copying a value"));
        };
        let mut room: *mut u8 = ptr::null_mut();
        self.put_with(database, to, length, |reserved| {
            room = reserved.as_mut_ptr();
            Ok(())
        })?;
        // Making room may have moved the old value, so it is looked up after that; looking up moves nothing.
        let Some(value) = self.get(database, from)?.filter(|value| value.len() == length) else {
            return Err(failure(lmdb_sys::MDB_CORRUPTED, "copying a value"));
        };
        // SAFETY: `room` has `length` bytes, nothing was changed since it was made, and the values of two keys do
        // not overlap.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), room, length) };
        Ok(())
    }

    /// Deletes `key`, or one duplicate of it; answers whether it was there.
    ///
    /// # Errors
    /// LMDB's.
    pub fn delete(&mut self, database: MDB_dbi, key: &[u8], duplicate: Option<&[u8]>) -> Result<bool> {
        if key.is_empty() || key.len() > self.environment.key_max as usize {
            return Ok(false);
        }
        self.changes += 1;
        let mut at = value_of(key);
        let mut bytes = value_of(duplicate.unwrap_or_default());
        let bytes = if duplicate.is_some() { &raw mut bytes } else { ptr::null_mut() };
        // SAFETY: the transaction runs and `database` is a handle of its environment; `bytes` is null or a value
        // that outlives the call.
        let code = unsafe { lmdb_sys::mdb_del(self.raw.as_ptr(), database, &raw mut at, bytes) };
        if code == lmdb_sys::MDB_NOTFOUND {
            return Ok(false);
        }
        check(code, "deleting a value")?;
        Ok(true)
    }

    /// Opens or makes the database of this name. Its handle is everybody's after the commit;
    /// `Environment::handles` is held until then.
    ///
    /// # Errors
    /// `Invalid` where a plain value has the name.
    pub(super) fn make_database(&mut self, name: &CStr, flags: u32) -> Result<MDB_dbi> {
        self.changes += 1;
        let mut handle: MDB_dbi = 0;
        // SAFETY: the transaction runs, `name` is a C string, and no other transaction opens a handle.
        let code = unsafe {
            lmdb_sys::mdb_dbi_open(
                self.raw.as_ptr(),
                name.as_ptr(),
                flags | lmdb_sys::MDB_CREATE,
                &raw mut handle,
            )
        };
        check(code, "making a database")?;
        Ok(handle)
    }

    /// Removes a named database and all in it. LMDB also gives up its handle, at once: the caller makes sure
    /// that no other transaction of this process uses it.
    ///
    /// # Errors
    /// LMDB's.
    pub(super) fn drop_database(&mut self, database: MDB_dbi) -> Result<()> {
        self.changes += 1;
        // SAFETY: the transaction runs and `database` is a handle of its environment.
        check(unsafe { lmdb_sys::mdb_drop(self.raw.as_ptr(), database, 1) }, "removing a database")
    }

    /// Commits: when it returns, the change is on the disk and every process sees it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`; then nothing was changed.
    pub fn commit(self) -> Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        this.environment.changes().own(this.id());
        // SAFETY: the transaction runs; committing ends it, also when that fails, and `this` is never dropped.
        let code = unsafe { lmdb_sys::mdb_txn_commit(this.raw.as_ptr()) };
        if code == lmdb_sys::MDB_SUCCESS {
            return Ok(());
        }
        this.environment.changes().changed();
        let what = format!("committing to {}", this.environment.place.shown.display());
        // LMDB reports a write that was cut short by a full disk as EIO.
        if code == libc::EIO && this.environment.disk_is_full() {
            return Err(Error::new(ErrorKind::NoSpace, format!("{what}: the disk is full")));
        }
        Err(failure(code, what))
    }
}

impl Transaction for Writing<'_> {
    fn environment(&self) -> &Environment {
        self.environment
    }

    fn raw(&self) -> NonNull<MDB_txn> {
        self.raw
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        // SAFETY: the transaction runs and is not used after this.
        unsafe { lmdb_sys::mdb_txn_abort(self.raw.as_ptr()) };
    }
}

/// Bytes as LMDB takes them. The pointer is only good as long as `bytes` is borrowed, and only for reading.
pub(super) fn value_of(bytes: &[u8]) -> MDB_val {
    MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast::<c_void>() }
}

/// Bytes as LMDB gives them.
///
/// # Safety
/// `value` was filled by LMDB, and its bytes stay in place for `'t`.
pub(super) unsafe fn slice_of<'t>(value: &MDB_val) -> &'t [u8] {
    if value.mv_size == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(value.mv_data.cast::<u8>(), value.mv_size) }
}
