//! Redis, against servers on this machine: Debian's, and the oldest and the newest: every type both ways beside `redis-cli`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod failing;
mod foreign;
#[path = "../mount/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the mount suite, which uses all of it"
)]
mod harness;
mod losing;
mod many;
mod place;
mod racing;
mod server;
mod sets;
mod strings;
mod types;
mod versions;

// The conformance suite, which finds its stores by `place`.
#[path = "../conformance/case.rs"]
mod case;
#[path = "../conformance/changes.rs"]
mod changes;
#[path = "../conformance/listing.rs"]
mod listing;
#[path = "../conformance/model.rs"]
mod model;
#[path = "../conformance/reference.rs"]
mod reference;
#[path = "../conformance/suite.rs"]
mod suite;
#[path = "../conformance/values.rs"]
mod values;

suite::conformance! {
    redis: "redis", Commit::Auto;
    redis_6: "redis-6", Commit::Auto;
    redis_8: "redis-8", Commit::Auto;
    valkey: "valkey", Commit::Auto;
    valkey_9: "valkey-9", Commit::Auto;
    cluster: "redis+cluster", Commit::Auto;
    read_ahead_redis: "read_ahead(redis)", Commit::Auto;
}
