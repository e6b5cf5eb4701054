//! Azure Blob over its REST interface: one container of a storage account.
//!
//! - `settings`: account, endpoint and credentials, from the address and the environment.
//! - `session`: the client with its credentials.
//! - `objects`, `copies`, `listing`, `uploads`: the requests.
//! - `headers`, `xml`: what goes into them and comes out.

mod copies;
mod headers;
mod listing;
mod objects;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod uploads;
mod xml;

use async_trait::async_trait;

use super::address::Address;
use super::bucket::{
    Abilities, Body, Bucket, Condition, Copy, Fetched, Headers, Joining, Listing, Object, Page, Range,
};
use crate::error::{Error, ErrorKind, Result};
use session::Session;

/// One container of a storage account.
pub struct Azure {
    session: Session,
    abilities: Abilities,
}

impl Azure {
    /// The container at this address; nothing is asked of it yet.
    ///
    /// # Errors
    /// `Invalid`: no account, or an endpoint that is none.
    pub fn new(address: &Address) -> Result<Azure> {
        Ok(Azure { session: Session::new(address)?, abilities: abilities() })
    }
}

fn abilities() -> Abilities {
    Abilities {
        scheme: "az",
        listed_headers: true,
        metadata_max: 8 << 10,
        part_min: 1,
        part_max: 4000 << 20,
        parts_max: 50_000,
        object_max: 50_000 * (4000 << 20),
        // Within an account a copy has no limit of its own.
        copy_max: 50_000 * (4000 << 20),
        key_max: 1024,
        batch: 1,
        joining: Joining::No,
        starts_anywhere: false,
        refuses: session::refuses,
    }
}

#[async_trait]
impl Bucket for Azure {
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

    async fn begin(&self, _key: &str, _headers: &Headers) -> Result<String> {
        // Blocks need no beginning: they are the blob's when a list of them is put.
        Ok(uploads::new_name())
    }

    async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        self.session.part(key, upload, number, body).await
    }

    /// The service takes a range of a blob from whoever gives it a signed address of that blob, which account keys and
    /// tokens are not.
    async fn copy_part(&self, _: &str, _: &str, _: u32, _: &Range<'_>) -> Result<String> {
        Err(Error::new(ErrorKind::Unsupported, "ranges are not copied between blobs"))
    }

    async fn complete(
        &self,
        key: &str,
        _upload: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.session.complete(key, parts, headers, condition).await
    }

    async fn abort(&self, _key: &str, _upload: &str) -> Result<()> {
        // Azure removes blocks of no list after a week, and there is no request that does.
        Ok(())
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.session.client().counters().requests()
    }
}
