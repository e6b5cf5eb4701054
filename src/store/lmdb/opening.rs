//! How an environment is opened: which files, with which rights, behind which lock, with how large a map.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::ptr::{self, NonNull};
use std::time::Duration;

use lmdb_sys::MDB_env;
use parking_lot::{Condvar, Mutex};

use super::check::{self, Extent};
use super::failure::{check, failure};
use super::header::Header;
use super::map::MapSize;
use super::place::Place;
use super::registry::Registered;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Named databases that one mount can use before it must be mounted anew: LMDB's handles are never given back
/// while transactions run. Each costs a few bytes a transaction.
pub const DATABASES_MAX: u32 = 1024;
/// Reader slots of a lock file that we make; that of one that exists holds. LMDB's own default.
const READERS: u32 = 126;
/// What an environment lets us do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and write, with the lock file.
    Write,
    /// Read, with a slot in the lock file that keeps writers from reusing what is being read.
    Read,
    /// Read without a lock file: a writer would not know of us, so what is read is checked afterwards.
    Unlocked,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Access::Write => "read and write",
            Access::Read => "read",
            Access::Unlocked => "read, without a lock file",
        })
    }
}

/// How an environment is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Whether nothing is to be written.
    pub read_only: bool,
    /// How much of it is looked at before it is trusted.
    pub extent: Extent,
    /// The map to reserve, in bytes; `None` is as large as the file system.
    pub map_size: Option<u64>,
    /// Until when a program that holds the opening lock is waited for.
    pub deadline: Deadline,
}

/// An environment as it was opened.
pub(super) struct Files {
    pub(super) data_file: File,
    pub(super) lock_file: Option<File>,
    pub(super) header: Option<Header>,
    pub(super) access: Access,
    pub(super) map_size: MapSize,
    pub(super) raw: NonNull<MDB_env>,
}

/// Opens the files of `place`, and the environment itself.
///
/// # Errors
/// A sentence that says what is wrong with the file, the lock file, their permissions or the disk.
pub(super) fn open_files(place: &Place, registered: &Registered, ask: Ask) -> Result<Files> {
    let (data_file, writable) = open_data(place, ask.read_only)?;
    let header = if place.new { None } else { Some(Header::read(&data_file, &place.shown_data())?) };
    // Without a lock file nobody has it open, and a damaged one is refused before anything is made.
    if let Some(header) = &header
        && !place.lock().exists()
    {
        check::pages(&data_file, header, Extent::First, &place.shown_data())?;
    }
    let (lock_file, access) = open_lock(place, ask.read_only, writable)?;
    if let Some(lock_file) = &lock_file {
        let found = lock_file.metadata().map_err(|e| Error::io(place.shown.display(), &e))?;
        registered.set_lock_file((found.dev(), found.ino()));
        wait_for_opening_lock(lock_file, ask.deadline).map_err(|e| e.context(place.shown.display()))?;
    }
    let map_size = MapSize::choose(&data_file, header.as_ref(), ask.map_size);
    let raw = open_raw(place, access, map_size.reserved)?;
    Ok(Files { data_file, lock_file, header, access, map_size, raw })
}

/// Opens the data file for looking at it, and tells whether it can be written.
pub(super) fn open_data(place: &Place, read_only: bool) -> Result<(File, bool)> {
    let shown = place.shown_data();
    let path = place.data();
    if !read_only {
        match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => return Ok((file, true)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                if OpenOptions::new().read(true).open(&path).is_ok() {
                    return Err(Error::new(
                        ErrorKind::Denied,
                        format!("{} may be read but not written: mount it with --read-only", shown.display()),
                    ));
                }
            }
            Err(_) => {}
        }
    }
    let file = OpenOptions::new()
        .read(true)
        .open(&path)
        .map_err(|e| Error::io(format_args!("cannot open {}", shown.display()), &e))?;
    Ok((file, false))
}

/// Opens the lock file, and tells what can be done with the environment.
fn open_lock(place: &Place, read_only: bool, writable: bool) -> Result<(Option<File>, Access)> {
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o664).open(place.lock());
    let error = match opened {
        Ok(file) => return Ok((Some(file), if writable { Access::Write } else { Access::Read })),
        Err(error) => error,
    };
    let shown = place.shown.display();
    match error.raw_os_error() {
        // Nobody can write to read-only media, so nobody needs to know of a reader.
        Some(libc::EROFS) => Ok((None, Access::Unlocked)),
        Some(libc::EACCES | libc::EPERM) if read_only => {
            tracing::warn!(
                "{shown}: its lock file cannot be written, so writers do not know of this mount: what they replace \
                 while it is read is reported as stale"
            );
            Ok((None, Access::Unlocked))
        }
        Some(libc::EACCES | libc::EPERM) => Err(Error::new(
            ErrorKind::Denied,
            format!(
                "the lock file of {shown} cannot be written: ask for the right to, or mount with --read-only"
            ),
        )),
        _ => Err(Error::io(format_args!("the lock file of {shown}"), &error)),
    }
}

/// Takes LMDB's opening lock as LMDB does (exclusive if nobody has it open, else shared), but not for ever:
/// `mdb_env_open` then finds it taken by its own process and waits for nobody.
pub(super) fn wait_for_opening_lock(lock_file: &File, deadline: Deadline) -> Result<()> {
    let pause = Mutex::new(());
    loop {
        for kind in [libc::F_WRLCK, libc::F_RDLCK] {
            let mut wanted = libc::flock {
                l_type: kind as libc::c_short,
                l_whence: libc::SEEK_SET as libc::c_short,
                l_start: 0,
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: the descriptor is open, and `wanted` is a flock that outlives the call.
            let code = unsafe { libc::fcntl(lock_file.as_raw_fd(), libc::F_SETLK, &raw mut wanted) };
            if code == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if !matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES | libc::EINTR)) {
                return Err(Error::io("its lock file cannot be locked", &error));
            }
        }
        if deadline.passed() {
            return Err(Error::new(
                ErrorKind::Busy,
                "another program holds its opening lock: end that program, or try again",
            ));
        }
        Condvar::new().wait_for(&mut pause.lock(), Duration::from_millis(2));
    }
}

/// `mdb_env_create`, its settings and `mdb_env_open`.
pub(super) fn open_raw(place: &Place, access: Access, map_size: u64) -> Result<NonNull<MDB_env>> {
    let path = place.for_lmdb()?;
    let mut flags = lmdb_sys::MDB_NOTLS;
    if place.single {
        flags |= lmdb_sys::MDB_NOSUBDIR;
    }
    if access != Access::Write {
        flags |= lmdb_sys::MDB_RDONLY;
    }
    if access == Access::Unlocked {
        flags |= lmdb_sys::MDB_NOLOCK;
    }
    loop {
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` outlives the call.
        check(unsafe { lmdb_sys::mdb_env_create(&raw mut raw) }, "LMDB")?;
        let Some(environment) = NonNull::new(raw) else {
            return Err(Error::new(ErrorKind::Exhausted, "LMDB: out of memory"));
        };
        // SAFETY: the environment was made and is not open.
        let code = unsafe { lmdb_sys::mdb_env_set_maxdbs(raw, DATABASES_MAX) };
        check(code, "LMDB")?;
        // SAFETY: as above.
        let code = unsafe { lmdb_sys::mdb_env_set_maxreaders(raw, READERS) };
        check(code, "LMDB")?;
        // SAFETY: as above.
        let code =
            unsafe { lmdb_sys::mdb_env_set_mapsize(raw, usize::try_from(map_size).unwrap_or(usize::MAX)) };
        check(code, "LMDB")?;
        // SAFETY: as above; the registry keeps this process from having it open twice; `path` is a C string.
        let code = unsafe { lmdb_sys::mdb_env_open(raw, path.as_ptr(), flags, 0o664) };
        if code == lmdb_sys::MDB_SUCCESS {
            set_close_on_exec(environment);
            return Ok(environment);
        }
        // SAFETY: an environment that failed to open may only be closed.
        unsafe { lmdb_sys::mdb_env_close(raw) };
        // A signal during the wait for the opening lock leaves its mark in errno, which LMDB takes for a failure.
        if code != libc::EINTR {
            return Err(failure(code, format_args!("cannot open {}", place.shown.display())));
        }
    }
}

/// LMDB leaves its data file's descriptor open across exec.
fn set_close_on_exec(environment: NonNull<MDB_env>) {
    let mut fd: c_int = -1;
    // SAFETY: the environment is open; `fd` outlives the call.
    let code = unsafe { lmdb_sys::mdb_env_get_fd(environment.as_ptr(), &raw mut fd) };
    if code == lmdb_sys::MDB_SUCCESS {
        // SAFETY: `fd` is the environment's own open descriptor; setting a flag on it changes nothing else.
        let done = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        if done != 0 {
            tracing::warn!("a data file's descriptor stays open across exec");
        }
    }
}
