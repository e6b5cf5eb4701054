//! What every store does, whatever it is made of: the contract of `store/api.rs`, clause by clause, and a reference
//! model beside it. A new store gets all of it by its line at the end of this file; what it cannot do, its
//! `Caps` say, and the tests hold it to that. Cloud buckets get it in `tests/buckets`, where their servers are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod case;
mod changes;
mod listing;
mod model;
mod place;
mod reference;
mod suite;
mod values;

use suite::conformance;

conformance! {
    memory: "memory", Commit::Auto;
    attrs_memory: "attrs(memory)", Commit::Auto;
    attrs_lmdb: "attrs(lmdb)", Commit::Auto;
    metadata_cache_memory: "metadata_cache(memory)", Commit::Auto;
    folder: "folder", Commit::Auto;
    folder_durable: "folder", Commit::Durable;
    read_ahead_memory: "read_ahead(memory)", Commit::Auto;
    block_cache_memory: "block_cache(memory)", Commit::Auto;
    scratch_memory: "scratch(memory)", Commit::Auto;
    network_memory: "network(memory)", Commit::Auto;
    lmdb: "lmdb", Commit::Auto;
    lmdb_close: "lmdb", Commit::Close;
    lmdb_within: "lmdb", Commit::Within(std::time::Duration::from_millis(20));
}
