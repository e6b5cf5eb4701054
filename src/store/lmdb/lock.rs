//! The lock that every program takes to open an LMDB environment: a classic `fcntl` lock on byte 0 of the lock
//! file, belonging to the *process*, which makes it the gate behind which puts can wait for their commit unseen.
//!
//! What liblmdb 0.9 does (`mdb_env_setup_locks`, `mdb_env_excl_lock`), in every open that is not `MDB_NOLOCK`,
//! read-only ones too (`mdb_dump`, `mdb_stat`, `mdb_copy`):
//!
//! ```text
//!  F_SETLK  F_WRLCK byte 0 ── got it: nobody else is there, initialise mutexes and reader table ─> F_RDLCK
//!        └─ EAGAIN ─> F_SETLKW F_RDLCK, which waits while somebody holds F_WRLCK; only then the metas are read
//! ```
//!
//! As long as this process has the environment open, it holds F_RDLCK at least, so that no newcomer ever takes
//! the first branch. While it holds F_WRLCK, every newcomer stands in the second one, before it has read a byte.
//! One `fcntl` call changes the lock from one to the other in one step; it is never given up in between, since
//! the shared lock *is* liblmdb's own. Closing any descriptor of the file drops it: see `environment.rs`.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::error::{Error, Result};

/// This process's lock on byte 0 of an environment's lock file, seen through a descriptor of our own.
#[derive(Clone, Copy, Debug)]
pub struct OpeningLock<'e> {
    file: BorrowedFd<'e>,
}

impl<'e> OpeningLock<'e> {
    /// The lock of the environment whose lock file this is: open for reading and writing since before the
    /// environment was opened, and until after it is closed. Only borrowed: a duplicate would be one to close.
    pub fn of(file: BorrowedFd<'e>) -> OpeningLock<'e> {
        OpeningLock { file }
    }

    /// Tries to be the only process that has the environment open: shared becomes exclusive, and newcomers wait.
    /// `false` when others have it open; the lock stays shared then. Two to five microseconds, never a wait.
    ///
    /// # Errors
    /// The file system's, where it keeps no locks.
    pub fn alone(&self) -> Result<bool> {
        match self.set(libc::F_WRLCK) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(Error::io("the lock file of the environment", &errno.into())),
        }
    }

    /// Lets newcomers in: back to the shared lock that liblmdb holds on its own behalf. Harmless when shared.
    ///
    /// # Errors
    /// The file system's; the lock is exclusive still then.
    pub fn share(&self) -> Result<()> {
        self.set(libc::F_RDLCK).map_err(|errno| Error::io("the lock file of the environment", &errno.into()))
    }

    fn set(&self, kind: libc::c_int) -> nix::Result<()> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        loop {
            match fcntl(self.file, FcntlArg::F_SETLK(&lock)) {
                Err(Errno::EINTR) => {}
                done => return done.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::os::fd::AsFd;

    /// An open file description's lock conflicts with the process's own, as another process's would.
    fn stranger(file: &File, kind: libc::c_int) -> nix::Result<()> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
    }

    #[test]
    fn a_newcomer_gets_in_only_while_the_lock_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options.open(folder.path().join("lock.mdb")).unwrap()
        };
        // Both descriptors live to the end of the test: closing one would drop the process's lock.
        let (newcomer, file) = (open(), open());
        let ours = OpeningLock::of(file.as_fd());
        ours.share().unwrap();
        assert!(ours.alone().unwrap());
        assert!(ours.alone().unwrap(), "taking it twice is harmless");
        assert_eq!(stranger(&newcomer, libc::F_RDLCK), Err(Errno::EAGAIN));
        ours.share().unwrap();
        assert_eq!(stranger(&newcomer, libc::F_WRLCK), Err(Errno::EAGAIN), "shared is held still");
        stranger(&newcomer, libc::F_RDLCK).unwrap();
        assert!(!ours.alone().unwrap());
        assert_eq!(stranger(&newcomer, libc::F_WRLCK), Err(Errno::EAGAIN), "a failed try keeps it shared");
        stranger(&newcomer, libc::F_UNLCK).unwrap();
        assert!(ours.alone().unwrap());
    }
}
