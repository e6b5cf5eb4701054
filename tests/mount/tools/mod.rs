//! Real tools at work in a mount. Each script holds on an ordinary file system too (`KVFS_TEST_PLAIN=1`).
//!
//! `$OUTSIDE` is a folder on the machine's own file system, `$PLACE` the test's folder.

mod coreutils;
mod databases;
mod editors;
mod exerciser;
mod posix;
mod search;
mod trees;
