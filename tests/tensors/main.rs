//! Tensors both ways: files that Python's own safetensors wrote, read by numpy through the mount, and what numpy wrote into
//! the mount, read by safetensors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod full;
#[path = "../mount/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the mount suite, which uses all of it"
)]
mod harness;
mod killed;
mod large;
mod place;
mod promises;
mod reading;
mod rejected;
mod sharded;
mod view;
mod writing;
