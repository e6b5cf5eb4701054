//! The requests of a bucket, against real S3 servers: each test runs against every server in [`server::SERVERS`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod conditions;
mod copying;
mod errors;
mod keys;
mod listing;
mod objects;
mod server;
mod uploads;
