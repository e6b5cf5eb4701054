//! LMDB without a file system: the baseline that puts through a mount are measured against, and the environments
//! that the mounts show.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::thread;

use kvfs::env;
use lmdb_sys::{
    MDB_NOTLS, MDB_dbi, MDB_env, MDB_txn, MDB_val, mdb_dbi_open, mdb_env_close, mdb_env_create, mdb_env_open,
    mdb_env_set_mapsize, mdb_put, mdb_txn_abort, mdb_txn_begin, mdb_txn_commit,
};

use crate::Measured;
use crate::files::FILE_SIZE;

const MAP_SIZE: usize = 16 << 30;

fn check(what: &str, code: i32) -> io::Result<()> {
    match code {
        0 => Ok(()),
        errno if errno > 0 => Err(io::Error::from_raw_os_error(errno)),
        code => Err(io::Error::other(format!("{what} answered {code}"))),
    }
}

struct Environment(*mut MDB_env);

// SAFETY: an LMDB environment may be used by any thread at any time (lmdb.h, mdb_env_open).
unsafe impl Sync for Environment {}

impl Environment {
    fn open(folder: &Path) -> io::Result<Environment> {
        let path = CString::new(folder.as_os_str().as_bytes())?;
        let mut env = ptr::null_mut();
        // SAFETY: the pointer is to a variable that lives beyond the call.
        check("mdb_env_create", unsafe { mdb_env_create(&mut env) })?;
        let environment = Environment(env);
        // SAFETY: `env` was made above and is not open yet.
        check("mdb_env_set_mapsize", unsafe { mdb_env_set_mapsize(env, MAP_SIZE) })?;
        // SAFETY: `env` was made above and `path` ends with a NUL.
        check("mdb_env_open", unsafe { mdb_env_open(env, path.as_ptr(), MDB_NOTLS, 0o644) })?;
        Ok(environment)
    }

    /// Begins a write transaction on the main database; it waits for the one before.
    fn begin(&self) -> io::Result<Transaction> {
        let mut txn = ptr::null_mut();
        // SAFETY: `self.0` is open as long as `self` lives.
        check("mdb_txn_begin", unsafe { mdb_txn_begin(self.0, ptr::null_mut(), 0, &mut txn) })?;
        let mut transaction = Transaction { txn, database: 0 };
        // SAFETY: `txn` was begun above; a null name is the main database, which needs no handle of its own.
        check("mdb_dbi_open", unsafe { mdb_dbi_open(txn, ptr::null(), 0, &mut transaction.database) })?;
        Ok(transaction)
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // SAFETY: made by mdb_env_create, closed once, and no transaction outlives the functions below.
        unsafe { mdb_env_close(self.0) }
    }
}

struct Transaction {
    txn: *mut MDB_txn,
    database: MDB_dbi,
}

impl Transaction {
    fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let as_value =
            |bytes: &[u8]| MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() };
        let (mut key, mut value) = (as_value(key), as_value(value));
        // SAFETY: the transaction is live, and LMDB only reads both slices, which live beyond the call.
        check("mdb_put", unsafe { mdb_put(self.txn, self.database, &mut key, &mut value, 0) })
    }

    fn commit(mut self) -> io::Result<()> {
        let txn = std::mem::replace(&mut self.txn, ptr::null_mut());
        // SAFETY: the transaction was live, and `drop` sees a null pointer from now on.
        check("mdb_txn_commit", unsafe { mdb_txn_commit(txn) })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.txn.is_null() {
            // SAFETY: neither committed nor aborted yet.
            unsafe { mdb_txn_abort(self.txn) }
        }
    }
}

/// Puts `count` values of 4 KiB into the environment in `folder`, each with a synced commit of its own, shared
/// out among `writers` threads.
///
/// # Errors
/// LMDB's.
pub fn put(folder: &Path, count: u64, writers: u64) -> io::Result<Measured> {
    fs::create_dir_all(folder)?;
    let environment = Environment::open(folder)?;
    let put_one = |index: u64| {
        let mut transaction = environment.begin()?;
        transaction.put(format!("new/f{index:06}").as_bytes(), &[b'x'; FILE_SIZE])?;
        transaction.commit()
    };
    let start = env::instant();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || (writer..count).step_by(writers as usize).try_for_each(put_one))
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a writer panicked"))?)
    })?;
    Ok(Measured { operations: count, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Makes an environment in `folder` whose keys are the files of `benches/empty.rs`.
///
/// # Errors
/// LMDB's.
pub fn fill(folder: &Path, files: u64, keys: u64, large: u64) -> io::Result<Measured> {
    fs::create_dir_all(folder)?;
    let environment = Environment::open(folder)?;
    let start = env::instant();
    let mut transaction = environment.begin()?;
    transaction.put(b"new/", b"")?; // the marker of a folder, in which `create` makes files
    for index in 0..files {
        transaction.put(format!("files/f{index:06}").as_bytes(), &[b'x'; FILE_SIZE])?;
    }
    for index in 0..keys {
        transaction.put(format!("million/k{index:07}").as_bytes(), b"value")?;
    }
    if large > 0 {
        transaction.put(b"large", &vec![b'x'; large as usize])?;
    }
    transaction.commit()?;
    let operations = files + keys + 1;
    Ok(Measured { operations, seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}

/// Has the environment in `folder` open until the standard input ends, as another program would.
///
/// # Errors
/// LMDB's.
pub fn hold(folder: &Path) -> io::Result<Measured> {
    let start = env::instant();
    let environment = Environment::open(folder)?;
    let mut rest = Vec::new();
    io::Write::write_all(&mut io::stdout(), b"ready\n")?;
    io::stdin().read_to_end(&mut rest)?;
    drop(environment);
    Ok(Measured { seconds: start.elapsed().as_secs_f64(), ..Measured::default() })
}
