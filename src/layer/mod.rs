//! Layers: stores over a store. A layer keeps the store below in its field `store`, writes out the methods that it
//! changes, and names those that it passes on:
//!
//! ```text
//! impl Store for ReadOnly {
//!     passes_on!(caps, stat, list, open, sync, ...);
//!     fn apply(&self, _: &mut [Change<'_>]) -> Result<()> { Err(ErrorKind::ReadOnly.into()) }
//! }
//! ```

/// Methods of [`crate::store::api::Store`] that go to `self.store` as they are. Each must be named, so that a new
/// method with a default is not passed over unseen in a review of a layer.
macro_rules! passes_on {
    ($($method:ident),* $(,)?) => { $(passes_on!(@ $method);)* };
    (@ caps) => { fn caps(&self) -> &$crate::store::api::Caps { self.store.caps() } };
    (@ stat) => {
        fn stat(&self, key: &$crate::key::Key) -> $crate::error::Result<Option<$crate::store::api::Stat>> {
            self.store.stat(key)
        }
    };
    (@ list) => {
        fn list(
            &self,
            dir: &$crate::key::Key,
            from: &mut $crate::store::api::Cursor,
            each: &mut dyn FnMut($crate::store::api::Entry<'_>) -> std::ops::ControlFlow<()>,
        ) -> $crate::error::Result<()> {
            self.store.list(dir, from, each)
        }
    };
    (@ list_prefix) => {
        fn list_prefix(
            &self,
            dir: &$crate::key::Key,
            prefix: &[u8],
            each: &mut dyn FnMut($crate::store::api::Entry<'_>) -> std::ops::ControlFlow<()>,
        ) -> $crate::error::Result<()> {
            self.store.list_prefix(dir, prefix, each)
        }
    };
    (@ open) => {
        fn open(
            &self,
            key: &$crate::key::Key,
        ) -> $crate::error::Result<Option<Box<dyn $crate::store::api::Value>>> {
            self.store.open(key)
        }
    };
    (@ open_told) => {
        fn open_told(
            &self,
            key: &$crate::key::Key,
            stat: &$crate::store::api::Stat,
        ) -> $crate::error::Result<Option<Box<dyn $crate::store::api::Value>>> {
            self.store.open_told(key, stat)
        }
    };
    (@ good_for) => {
        fn good_for(&self, key: &$crate::key::Key) -> Option<std::time::Duration> { self.store.good_for(key) }
    };
    (@ list_with_attributes) => {
        fn list_with_attributes(
            &self,
            dir: &$crate::key::Key,
            from: &mut $crate::store::api::Cursor,
            each: &mut dyn FnMut($crate::store::api::Entry<'_>) -> std::ops::ControlFlow<()>,
        ) -> $crate::error::Result<()> {
            self.store.list_with_attributes(dir, from, each)
        }
    };
    (@ xattrs) => {
        fn xattrs(
            &self,
            key: &$crate::key::Key,
            directory: bool,
        ) -> $crate::error::Result<$crate::store::attributes::Xattrs> {
            self.store.xattrs(key, directory)
        }
    };
    (@ keeps_attributes) => {
        fn keeps_attributes(&self, key: &$crate::key::Key, directory: bool) -> $crate::error::Result<bool> {
            self.store.keeps_attributes(key, directory)
        }
    };
    (@ foreign_changes) => { fn foreign_changes(&self) -> Option<u64> { self.store.foreign_changes() } };
    (@ era) => {
        fn era(&self) -> $crate::error::Result<Option<$crate::store::api::Era>> { self.store.era() }
    };
    (@ resume) => {
        fn resume(&self, era: &$crate::store::api::Era) -> $crate::error::Result<bool> { self.store.resume(era) }
    };
    (@ apply) => {
        fn apply(&self, changes: &mut [$crate::store::api::Change<'_>]) -> $crate::error::Result<()> {
            self.store.apply(changes)
        }
    };
    (@ sync) => { fn sync(&self) -> $crate::error::Result<()> { self.store.sync() } };
    (@ written_so_far) => {
        fn written_so_far(&self, key: &$crate::key::Key, body: &$crate::payload::Payload) {
            self.store.written_so_far(key, body)
        }
    };
    (@ seen_absent) => { fn seen_absent(&self, key: &$crate::key::Key) { self.store.seen_absent(key) } };
    (@ sync_key) => {
        fn sync_key(&self, key: &$crate::key::Key) -> $crate::error::Result<()> { self.store.sync_key(key) }
    };
    (@ check_file) => {
        fn check_file(&self, key: &$crate::key::Key) -> $crate::error::Result<()> { self.store.check_file(key) }
    };
    (@ check_key) => {
        fn check_key(&self, key: &$crate::key::Key) -> $crate::error::Result<()> { self.store.check_key(key) }
    };
    (@ value_max) => { fn value_max(&self, key: &$crate::key::Key) -> u64 { self.store.value_max(key) } };
    (@ raw_key) => {
        fn raw_key(&self, key: &$crate::key::Key, directory: bool) -> Vec<u8> {
            self.store.raw_key(key, directory)
        }
    };
    (@ version_of) => {
        fn version_of(
            &self,
            key: &$crate::key::Key,
            body: &$crate::payload::Payload,
        ) -> $crate::error::Result<Option<$crate::store::api::Version>> {
            self.store.version_of(key, body)
        }
    };
    (@ watch) => {
        fn watch(&self, tell: $crate::store::api::Tell) -> $crate::error::Result<$crate::store::api::Watch> {
            self.store.watch(tell)
        }
    };
    (@ snapshot) => {
        fn snapshot(
            self: std::sync::Arc<Self>,
        ) -> $crate::error::Result<std::sync::Arc<dyn $crate::store::api::Store>> {
            std::sync::Arc::clone(&self.store).snapshot()
        }
    };
    (@ past) => {
        fn past(
            self: std::sync::Arc<Self>,
            moment: std::time::SystemTime,
        ) -> $crate::error::Result<std::sync::Arc<dyn $crate::store::api::Store>> {
            std::sync::Arc::clone(&self.store).past(moment)
        }
    };
    (@ history) => {
        fn history(&self) -> Option<std::sync::Arc<dyn $crate::store::api::Store>> { self.store.history() }
    };
    (@ usage) => { fn usage(&self) -> $crate::store::api::Usage { self.store.usage() } };
    (@ compact) => { fn compact(&self) -> $crate::error::Result<(u64, u64)> { self.store.compact() } };
    (@ facts) => { fn facts(&self) -> Vec<(&'static str, String)> { self.store.facts() } };
    (@ known) => {
        fn known(&self, key: &$crate::key::Key) -> $crate::error::Result<Vec<(&'static str, Vec<u8>)>> {
            self.store.known(key)
        }
    };
    (@ lost_at_end) => { fn lost_at_end(&self) -> Vec<String> { self.store.lost_at_end() } };
    (@ close) => { fn close(&self) -> $crate::error::Result<()> { self.store.close() } };
}

use std::path::Path;
use std::sync::Arc;

use crate::budget::Budget;
use crate::error::Result;
#[cfg(not(feature = "object"))]
use crate::error::{Error, ErrorKind};
use crate::store::api::Store;

pub mod attrs;
#[cfg(feature = "object")]
pub mod block_cache;
#[cfg(test)]
mod complete;
pub mod fault;
pub mod metadata_cache;

pub mod own_files;
pub mod own_folder;
pub mod read_ahead;
pub mod remote;
pub mod scratch;
pub mod stamps;

/// `store` with a [`block_cache`] of at most `size` bytes in `folder`; `identity` tells the store from every other.
///
/// # Errors
/// The folder's; `Unsupported` where this build has none.
pub fn with_blocks(
    store: Arc<dyn Store>,
    identity: &str,
    folder: &Path,
    size: u64,
) -> Result<Arc<dyn Store>> {
    #[cfg(feature = "object")]
    return Ok(Arc::new(block_cache::BlockCache::new(store, identity, folder, size, Budget::global())?));
    #[cfg(not(feature = "object"))]
    {
        let _ = (store, identity, folder, size, Budget::global());
        Err(Error::new(ErrorKind::Unsupported, "this build keeps no blocks on disk: leave out --cache"))
    }
}
