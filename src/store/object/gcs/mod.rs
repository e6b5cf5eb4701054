//! Google Cloud Storage: the JSON API for all but uploads in parts, which the XML API has.
//!
//! - `session`: the client with its credentials, and the paths of both APIs.
//! - `objects`, `copies`, `listing`, `uploads`: the requests.
//! - `resource`: objects as JSON.
//!
//! A version is a generation. It is the bytes': metadata that is changed leaves it as it was.

mod copies;
mod listing;
mod objects;
mod resource;
mod session;
#[cfg(test)]
mod tests;
mod uploads;

use std::sync::Arc;

use async_trait::async_trait;

use super::address::Address;
use super::bucket::{
    Abilities, Body, Bucket, Condition, Copy, Fetched, Headers, Joining, Listing, Object, Page, Range,
};
use super::fetching;
use super::versioned::{Versioned, Versions};
use crate::error::{Error, ErrorKind, Result};
use resource::Resource;
use session::Session;

/// One bucket.
pub struct Gcs {
    session: Session,
    abilities: Abilities,
}

impl Gcs {
    /// The bucket at this address; nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid`: an endpoint that is none.
    pub fn new(address: &Address) -> Result<Gcs> {
        Ok(Gcs { session: Session::new(address)?, abilities: abilities() })
    }
}

fn abilities() -> Abilities {
    Abilities {
        scheme: "gs",
        listed_headers: true,
        metadata_max: 8 << 10,
        part_min: 5 << 20,
        part_max: 5 << 30,
        parts_max: 10_000,
        object_max: 5 << 40,
        copy_max: 5 << 40,
        key_max: 1024,
        batch: 1,
        joining: Joining::Objects,
        starts_anywhere: true,
        refuses: objects::refuses,
    }
}

#[async_trait]
impl Bucket for Gcs {
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
        let mut failed = Vec::new();
        for key in keys {
            if let Err(error) = self.session.delete(key, &Condition::Always).await {
                failed.push(((*key).to_owned(), error));
            }
        }
        Ok(failed)
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

    async fn copy_part(&self, _: &str, _: &str, _: u32, _: &Range<'_>) -> Result<String> {
        Err(Error::new(ErrorKind::Unsupported, "ranges are not copied between objects"))
    }

    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.session.complete(key, upload, parts, headers, condition).await
    }

    async fn join(
        &self,
        key: &str,
        pieces: [&Object; 2],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.session.compose(key, pieces, headers, condition).await
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

#[async_trait]
impl Versioned for Gcs {
    async fn keeps_versions(&self) -> Result<bool> {
        self.session.keeps_versions().await
    }

    async fn list_versions(&self, listing: &Listing<'_>) -> Result<Versions> {
        self.session.list_versions(listing).await
    }

    async fn head_version(&self, key: &str, id: &str) -> Result<Option<Object>> {
        self.session.find(key, Some(id)).await?.map(Resource::object).transpose()
    }

    async fn get_version(&self, key: &str, id: &str, start: u64, end: u64) -> Result<Fetched> {
        if start >= end {
            return fetching::nothing(self.head_version(key, id).await?, None);
        }
        self.session.get(key, start, end, Some(id)).await
    }
}
