//! What a bucket can be asked besides, where it keeps what is replaced and removed.

use std::time::SystemTime;

use async_trait::async_trait;

use super::bucket::{Fetched, Listing, Object};
use crate::error::Result;

/// A bucket whose service can keep old versions. Each method is one request, as those of [`super::bucket::Bucket`] are.
#[async_trait]
pub trait Versioned: Send + Sync + 'static {
    /// Whether this bucket keeps what is replaced, or did so once.
    async fn keeps_versions(&self) -> Result<bool>;

    /// One page of all versions, the current ones too, by their keys. A key's versions can go on in the next page.
    async fn list_versions(&self, listing: &Listing<'_>) -> Result<Versions>;

    /// What is known of one version, with its headers; `None` where it is gone.
    async fn head_version(&self, key: &str, id: &str) -> Result<Option<Object>>;

    /// The bytes `start .. end` of one version, and its [`Object::version`].
    ///
    /// # Errors
    /// `Stale`: it is gone.
    async fn get_version(&self, key: &str, id: &str, start: u64, end: u64) -> Result<Fetched>;
}

/// One version of an object: what there was, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct OldVersion {
    /// As a listing told it while it was current.
    pub object: Object,
    /// What the service calls the version: S3's version id (`null` for what was put while the bucket kept none), a
    /// generation.
    pub id: String,
    /// When it was put.
    pub since: SystemTime,
    /// When it was replaced or removed; `None` for the current one.
    pub until: Option<SystemTime>,
}

impl OldVersion {
    /// Whether it was the current one at this moment.
    pub fn was_there_at(&self, moment: SystemTime) -> bool {
        self.since <= moment && self.until.is_none_or(|until| moment < until)
    }
}

/// One page of a listing of versions.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// By their keys.
    pub versions: Vec<OldVersion>,
    /// The common prefixes of keys that have a version, or had one, each with its delimiter at the end, by their bytes.
    pub prefixes: Vec<String>,
    /// The token of the next page; `None` at the end.
    pub next: Option<String>,
}
