//! A lock between daemons, on a file of our own beside what is kept of a store.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, ErrorKind, Result};

/// Held until it drops, or its process ends however it does.
pub(in crate::store) struct Lock(
    #[allow(dead_code, reason = "its drop lets another daemon have it")] Flock<File>,
);

impl Lock {
    /// Takes the lock whose file is `path`, which is made where it is not there; `shown` is what it is about, for people.
    ///
    /// # Errors
    /// `Busy` while another daemon has it; the folder's.
    pub fn take(path: &Path, shown: &str) -> Result<Lock> {
        let io = |error: std::io::Error| Error::io(path.display(), &error);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(io)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => {
                let sentence =
                    format!("{shown} is mounted already: unmount it there, or mount it with --read-only");
                Error::new(ErrorKind::Busy, sentence)
            }
            errno => io(errno.into()),
        })?;
        Ok(Lock(lock))
    }
}
