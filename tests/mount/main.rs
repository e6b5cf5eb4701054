//! kvfs as its users meet it: the real program, mounted by the kernel, used by real tools, with other programs on
//! the same store. `promises` has one test for each sentence of SEMANTICS.md that a mount of `memory` or `lmdb` can
//! show; the rest is grouped by what is used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod commands;
mod harness;
mod promises;
mod together;
mod tools;
