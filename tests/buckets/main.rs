//! Cloud buckets against servers on this machine: Ceph's gateway and moto for S3, Azurite, and a stand-in for Google's storage
//! (`scripts/servers`), each started when the first test needs it. Other clients see what kvfs wrote and write what it
//! reads; a proxy of our own counts the requests and breaks them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod bucket;
mod faults;
mod foreign;
#[path = "../mount/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the mount suite, which uses all of it"
)]
mod harness;
mod interoperation;
mod mounting;
mod place;
mod proxy;
mod requests;
mod server;
mod versions;

/// No test takes longer: servers and other clients, each slow by itself, share the machine with it.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

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
    ceph: "ceph", Commit::Auto;
    moto: "moto", Commit::Auto;
    azure: "azure", Commit::Auto;
    google: "google", Commit::Auto;
}
