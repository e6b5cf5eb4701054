//! §4.4 and §8.3 on real environments: what a close accepted is found by every program that opens the environment
//! afterwards, and outlives a kill of the daemon.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod killed;
mod roles;
mod room;
mod stage;
mod store;
mod visible;
