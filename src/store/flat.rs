//! Flat stores: an ordered map of byte strings, shown as a tree by splitting keys at a separator.
//!
//! [`Kv`] is what LMDB, RocksDB, SQLite, redb, etcd or TiKV offer; [`Flat`] makes a [`Store`] of it, once for all.

use std::time::SystemTime;

use super::api::{Value, When};
use crate::error::Result;
use crate::payload::Payload;

/// An ordered map of byte strings.
pub trait Kv: Send + Sync + 'static {
    /// What is known of the value at `key`; `None` where there is none.
    fn get(&self, key: &[u8]) -> Result<Option<Found>>;

    /// Opens the value at `key`: one version of it (§3.1).
    fn open(&self, key: &[u8]) -> Result<Option<Box<dyn Value>>>;

    /// Hands out keys in the order of their bytes, from `from` (inclusive) on, all of one moment. `each` is quick,
    /// and must not call the store.
    fn scan(&self, from: &[u8], each: &mut dyn FnMut(&[u8], Found) -> Step) -> Result<()>;

    /// Carries out all `edits`, in order, in one transaction.
    fn write(&self, edits: &mut [Edit<'_>]) -> Result<()>;
}

/// What is known of a value without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Length in bytes.
    pub size: u64,
    /// See [`super::api::Stat::modified`].
    pub modified: SystemTime,
}

/// What a scan does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next key.
    Next,
    /// The first key that is not below these bytes.
    Seek(Vec<u8>),
    /// Nothing more.
    Stop,
}

/// One change of a flat map.
#[derive(Debug)]
pub enum Edit<'a> {
    /// The value at `key` becomes `body`.
    Put {
        /// The flat key.
        key: Vec<u8>,
        /// Its new bytes; `None` is the empty value (a marker).
        body: Option<&'a Payload>,
        /// Under which condition.
        when: When,
    },
    /// The key goes; absent is no error with [`When::Always`].
    Delete {
        /// The flat key.
        key: Vec<u8>,
        /// Under which condition.
        when: When,
    },
    /// The value moves from one key to another; `NotFound` without a value at `from`, `Exists` with one at `to`
    /// unless `replace`.
    Move {
        /// The old flat key.
        from: Vec<u8>,
        /// The new flat key.
        to: Vec<u8>,
        /// Whether a value at `to` may go.
        replace: bool,
    },
    /// Every key that starts with `from` moves to `to` and the rest of it. None is no error.
    MovePrefix {
        /// The old prefix.
        from: Vec<u8>,
        /// The new prefix; neither is a prefix of the other.
        to: Vec<u8>,
    },
    /// The edit fails with `NotEmpty` when a key other than `prefix` itself starts with `prefix`; with `Exists`
    /// when `prefix` itself is a key and `alone`.
    Expect {
        /// The prefix.
        prefix: Vec<u8>,
        /// Whether the prefix itself must be absent too.
        alone: bool,
    },
}
