//! The right of one daemon to a file, until it closes it or ends.

use std::fs::File;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use parking_lot::{Condvar, Mutex};

use crate::env::Deadline;

/// How often a file that somebody has is tried again.
const RETRY: Duration = Duration::from_millis(2);

/// Takes the right to `file`; a daemon that has it is waited for so long: one that was killed, or that unmounted a
/// moment ago, lets go with its last breath.
///
/// # Errors
/// `EWOULDBLOCK` where somebody has it still, or the system's.
pub(super) fn alone(mut file: File, patience: Duration) -> Result<Flock<File>, Errno> {
    let (deadline, pause) = (Deadline::after(patience), Mutex::new(()));
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(alone) => return Ok(alone),
            Err((again, Errno::EWOULDBLOCK | Errno::EINTR)) if !deadline.passed() => file = again,
            Err((_, errno)) => return Err(errno),
        }
        Condvar::new().wait_for(&mut pause.lock(), RETRY);
    }
}
