//! What every test of this suite stands on: a folder of its own, mounts of the real program, a watchdog, and
//! programs run beside and inside the mount.
//!
//! `KVFS_TEST_PLAIN=1` runs the tool tests in a plain folder instead of a mount: what they expect must hold on
//! the machine's own file system too. `KVFS_TEST_BINARY` and `KVFS_TEST_TOOLS` name the program and the folder of
//! helper tools where they are not where cargo and `scripts/setup` put them. `KVFS_TEST_OPERATIONS` makes long tests
//! longer: `scripts/exercise` does.

mod foreign;
mod kernel;
mod mount;
mod place;
mod watchdog;

pub use foreign::{Foreign, dump, load};
pub use kernel::mounts_below;
pub use mount::{Kind, Mount, field};
pub use place::{Finished, Place, finish};
pub use watchdog::{skip, watched};

use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvfs::env::Deadline;

/// How long a test may take unless it says otherwise.
pub const LIMIT: Duration = Duration::from_secs(90);

/// How long anything awaited may take on a busy machine before a test fails for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The program under test.
pub fn binary() -> PathBuf {
    variable("KVFS_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_kvfs").into())
}

/// A helper tool that `scripts/setup` installs; skips the test where it is absent.
pub fn tool(name: &str) -> PathBuf {
    let tools = variable("KVFS_TEST_TOOLS")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools").into());
    let tool = tools.join(name);
    if !tool.exists() {
        skip(format!("{name} is not installed: run scripts/setup --tests"));
    }
    tool
}

/// Whether tests run in a plain folder, to check what they expect.
pub fn plain() -> bool {
    variable("KVFS_TEST_PLAIN").is_some()
}

/// How many operations a long test makes: `KVFS_TEST_OPERATIONS`, or the usual number.
pub fn operations(usual: u64) -> u64 {
    let Some(count) = variable("KVFS_TEST_OPERATIONS") else { return usual };
    count.to_str().and_then(|count| count.parse().ok()).expect("KVFS_TEST_OPERATIONS is a number")
}

/// Skips the test where it is run by an ordinary user.
pub fn needs_root(why: &str) {
    if !nix::unistd::geteuid().is_root() {
        skip(format!("{why} needs root"));
    }
}

/// Skips the test where there is no mount to look at.
pub fn needs_kvfs() {
    if plain() {
        skip("a plain folder does not promise this");
    }
}

#[allow(clippy::disallowed_methods, reason = "the suite has no command line of its own")]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Looks again and again until `look` answers; fails with `what` when that takes longer than `limit`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("after {limit:?} still not: {what}"))
}

/// Looks again and again until `look` answers; `None` when that takes longer than `limit`.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.passed() {
            return None;
        }
        pause();
    }
}

/// The wait between two looks at a condition; never awaited for its own sake.
#[allow(clippy::disallowed_methods, reason = "conditions of other processes can only be polled")]
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Writes a whole file and answers what its close says, which `fs::write` does not.
pub fn put(path: impl AsRef<Path>, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    close(file)
}

/// Closes `file` and answers what close says, which `drop` does not.
pub fn close(file: File) -> std::io::Result<()> {
    nix::unistd::close(file.into_raw_fd()).map_err(std::io::Error::from)
}

/// Asserts that `result` is the error `errno`.
#[track_caller]
pub fn refused<T>(errno: i32, what: &str, result: std::io::Result<T>) {
    match result {
        Ok(_) => panic!("{what} succeeded, expected errno {errno}"),
        Err(error) => assert_eq!(
            error.raw_os_error(),
            Some(errno),
            "{what}: {error}, expected {}",
            std::io::Error::from_raw_os_error(errno)
        ),
    }
}

/// Asserts that `found` is `expected`, naming only the first difference.
#[track_caller]
pub fn same_bytes(what: &str, found: &[u8], expected: &[u8]) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    panic!("{what}: {} bytes, expected {}; the first difference is at {at}", found.len(), expected.len());
}

/// Bytes that differ everywhere and from seed to seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Makes one test a kind of mount: `name::memory`, `name::in_place`, `name::apart` and `name::folder`.
macro_rules! on_every_mount {
    ($($(#[doc = $about:literal])* fn $name:ident($mount:ident) $body:block)*) => {$(
        $(#[doc = $about])*
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn body($mount: &mut crate::harness::Mount) $body
            #[test]
            fn memory() {
                crate::harness::Mount::try_on(crate::harness::Kind::Memory, body);
            }
            #[test]
            fn in_place() {
                crate::harness::Mount::try_on(crate::harness::Kind::InPlace, body);
            }
            #[test]
            fn folder() {
                crate::harness::Mount::try_on(crate::harness::Kind::Folder, body);
            }
            #[test]
            fn apart() {
                crate::harness::Mount::try_on(crate::harness::Kind::Apart, body);
            }
        }
    )*};
}
pub(crate) use on_every_mount;
