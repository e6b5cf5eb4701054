//! The command line: what it refuses and in which words, what it leaves behind (nothing), names without a mount, the
//! life of daemons, ordinary users. The mount itself is tested in `tests/mount`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod daemons;
mod executing;
#[path = "../mount/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the mount suite, which uses all of it"
)]
mod harness;
mod owed;
mod usage;
mod users;
