//! S3 over its REST interface: Amazon's, and every server that speaks it.
//!
//! - `settings`: endpoint, region and style of addresses, from the address, the environment and the profile.
//! - `credentials`, `profile`: who asks.
//! - `session`: the client with its credentials; finds the bucket's region; the form of ETags that the server takes.
//! - `objects`, `listing`, `deletes`, `uploads`, `versions`: the requests.
//! - `headers`, `xml`: what goes into them and comes out.

mod buckets;
mod credentials;
mod deletes;
mod headers;
mod listing;
mod objects;
mod profile;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod uploads;
mod versions;
mod words;
mod xml;

use std::sync::Arc;

use async_trait::async_trait;

use super::address::Address;
use super::bucket::{
    Abilities, Body, Bucket, Condition, Copy, Fetched, Headers, Joining, Listing, Object, Page, Range,
};
use super::versioned::Versioned;
use crate::error::{Error, Result};

pub use buckets::{buckets, make_bucket, remove_bucket};
pub use session::Session;

/// One bucket of an S3 service.
pub struct S3 {
    session: Session,
    abilities: Abilities,
}

impl S3 {
    /// The bucket at this address; nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid`: the endpoint, the profile or the certificates that are named are wrong.
    pub fn new(address: &Address) -> Result<S3> {
        Ok(S3 { session: Session::new(address)?, abilities: abilities() })
    }

    /// The same with these keys in place of what the environment has: for programs that embed kvfs, and for tests.
    ///
    /// # Errors
    /// As for [`S3::new`].
    pub fn with_keys(address: &Address, id: &str, secret: &str) -> Result<S3> {
        Ok(S3 { session: Session::with_keys(address, id, secret)?, abilities: abilities() })
    }

    /// The session, for what is not about one bucket.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// As Amazon has them; other servers have these at least.
fn abilities() -> Abilities {
    Abilities {
        scheme: "s3",
        listed_headers: false,
        metadata_max: 2048,
        part_min: 5 << 20,
        part_max: 5 << 30,
        parts_max: 10_000,
        object_max: 5 << 40,
        copy_max: 5 << 30,
        key_max: 1024,
        batch: 1000,
        joining: Joining::Parts,
        starts_anywhere: true,
        refuses: |_| None,
    }
}

#[async_trait]
impl Bucket for S3 {
    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.session.head(key).await
    }

    async fn get(&self, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<Fetched> {
        self.session.get(key, start, end, version).await
    }

    async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        self.session.list(listing).await
    }

    async fn put(&self, key: &str, body: Body, headers: &Headers, condition: &Condition) -> Result<Object> {
        self.session.put(key, body, headers, condition).await
    }

    async fn delete(&self, key: &str, condition: &Condition) -> Result<()> {
        self.session.delete(key, condition).await
    }

    async fn delete_batch(&self, keys: &[&str]) -> Result<Vec<(String, Error)>> {
        self.session.delete_batch(keys).await
    }

    async fn copy(&self, copy: &Copy<'_>) -> Result<Object> {
        self.session.copy(copy).await
    }

    async fn begin(&self, key: &str, headers: &Headers) -> Result<String> {
        self.session.begin(key, headers).await
    }

    async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        self.session.part(key, upload, number, body).await
    }

    async fn copy_part(&self, key: &str, upload: &str, number: u32, range: &Range<'_>) -> Result<String> {
        self.session.copy_part(key, upload, number, range).await
    }

    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        _headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.session.complete(key, upload, parts, condition).await
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.session.abort(key, upload).await
    }

    fn versioned(self: Arc<Self>) -> Option<Arc<dyn Versioned>> {
        Some(self)
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.session.client().counters().requests()
    }
}
