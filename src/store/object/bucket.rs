//! What a bucket can be asked: the requests of one service, whichever it is. Keys are whole, as the service has them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::versioned::Versioned;
use crate::error::{ErrorKind, Result};
use crate::store::api::Tag;

/// A bucket (an Azure container) of one service.
///
/// Each method is one request, but for retries within the client's deadline. An error whose outcome is not known,
/// because the answer was lost on the way, is [`crate::error::ErrorKind::Uncertain`].
#[async_trait]
pub trait Bucket: Send + Sync + 'static {
    /// What the service can do.
    fn abilities(&self) -> &Abilities;

    /// What is known of an object, with its headers; `None` where there is none.
    async fn head(&self, key: &str) -> Result<Option<Object>>;

    /// The bytes `start .. end` of an object, of this version where one is named.
    ///
    /// # Errors
    /// `Stale` where it has another version, or is gone; `NotFound` where no version was named.
    async fn get(&self, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<Fetched>;

    /// One page of a listing, in the order of the keys' bytes.
    async fn list(&self, listing: &Listing<'_>) -> Result<Page>;

    /// Puts an object; answers it as [`Bucket::head`] would, as far as the answer tells.
    ///
    /// # Errors
    /// `Exists`, `Stale` by the condition.
    async fn put(&self, key: &str, body: Body, headers: &Headers, condition: &Condition) -> Result<Object>;

    /// Removes an object; absent is no error without a condition.
    async fn delete(&self, key: &str, condition: &Condition) -> Result<()>;

    /// Removes up to [`Abilities::batch`] objects in one request; those that failed, each with its reason.
    async fn delete_batch(&self, keys: &[&str]) -> Result<Vec<(String, crate::error::Error)>>;

    /// Copies an object on the server, with `headers` in place of its own where they are given. Long copies are awaited.
    ///
    /// # Errors
    /// `NotFound` without a source; `Stale` where the source is not `source_version`; `Exists`, `Stale` by the condition on
    /// the target; `TooBig` over [`Abilities::copy_max`].
    async fn copy(&self, copy: &Copy<'_>) -> Result<Object>;

    /// Begins an upload in parts; its name.
    async fn begin(&self, key: &str, headers: &Headers) -> Result<String>;

    /// Uploads part `number`, counted from 1; its tag for [`Bucket::complete`].
    async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String>;

    /// A part that is a range of an object on the server.
    async fn copy_part(&self, key: &str, upload: &str, number: u32, range: &Range<'_>) -> Result<String>;

    /// Makes the parts an object. `headers` are those of [`Bucket::begin`], for services that take them here.
    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object>;

    /// Makes an object of two that there are, one behind the other, where [`Joining::Objects`].
    ///
    /// # Errors
    /// `Stale` where one of them has another version, or is gone; by the condition.
    async fn join(
        &self,
        key: &str,
        pieces: [&Object; 2],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let _ = (key, pieces, headers, condition);
        Err(ErrorKind::Unsupported.into())
    }

    /// Forgets an upload and its parts; one that is gone is no error.
    async fn abort(&self, key: &str, upload: &str) -> Result<()>;

    /// The old versions that it keeps; `None` for a service that keeps none, or does not say when they were replaced.
    fn versioned(self: Arc<Self>) -> Option<Arc<dyn Versioned>> {
        None
    }

    /// How often each operation was asked of the service, retries included.
    fn requests(&self) -> Vec<(&'static str, u64)>;
}

/// What a service can do, constant for its life.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// As on the command line: `s3`, `gs`, `az`.
    pub scheme: &'static str,
    /// Whether listings carry headers: metadata, content type.
    pub listed_headers: bool,
    /// Bytes of all metadata together, names included.
    pub metadata_max: usize,
    /// The smallest part but the last, in bytes.
    pub part_min: u64,
    /// The largest part, in bytes.
    pub part_max: u64,
    /// Parts of one upload.
    pub parts_max: u32,
    /// The largest object, in bytes.
    pub object_max: u64,
    /// The largest object that [`Bucket::copy`] copies, in bytes.
    pub copy_max: u64,
    /// The longest key, in bytes of UTF-8.
    pub key_max: u32,
    /// Objects that one request removes; 1 where it has no such request.
    pub batch: usize,
    /// Of what a longer object can be made without being sent the bytes that there are.
    pub joining: Joining,
    /// Whether a listing can begin after any key; otherwise only where a page ended.
    pub starts_anywhere: bool,
    /// Why no object can have this key, as a sentence about the service; `None` where one can.
    pub refuses: fn(&str) -> Option<&'static str>,
}

/// Of what a service makes a longer object by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// Of nothing: all bytes are sent.
    No,
    /// Of ranges of objects, as parts of an upload: [`Bucket::copy_part`].
    Parts,
    /// Of whole objects: [`Bucket::join`].
    Objects,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Whole.
    pub key: String,
    /// In bytes.
    pub size: u64,
    /// When it was put.
    pub modified: SystemTime,
    /// What tells this version from every other: an ETag as the service writes it, or a generation. It is what
    /// [`Condition::Version`] takes. Empty where a listing does not tell it.
    pub version: String,
    /// `None` where this answer does not carry them.
    pub headers: Option<Headers>,
    /// The storage class or tier, where the answer tells.
    pub class: Option<String>,
    /// Whether it is archived, and must be restored before it can be read.
    pub archived: bool,
}

impl Object {
    /// Its version, where the answer told one: some servers' listings do not.
    pub fn known_version(&self) -> Option<&str> {
        Some(self.version.as_str()).filter(|version| !version.is_empty())
    }

    /// The same, to come along with what is told of a name.
    pub fn tag(&self) -> Option<Tag> {
        self.known_version().and_then(|version| Tag::of(version.as_bytes()))
    }
}

/// What an object carries besides its bytes, and what a copy must carry along.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The other headers of HTTP that the service keeps, lower case: `cache-control`, `content-encoding`,
    /// `content-disposition`, `content-language`, `expires`.
    pub http: BTreeMap<String, String>,
    /// The user's own metadata: names in lower case, without the service's prefix.
    pub metadata: BTreeMap<String, String>,
}

/// One page of a listing that is to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// Keys begin with this.
    pub prefix: &'a str,
    /// What ends a common prefix; `None`: every key is listed.
    pub delimiter: Option<&'a str>,
    /// Where a page before ended: its [`Page::next`].
    pub token: Option<&'a str>,
    /// Only keys and prefixes after this, where [`Abilities::starts_anywhere`]; with no token.
    pub after: Option<&'a str>,
    /// At most so many; the service may give fewer.
    pub most: u32,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The objects, by their keys.
    pub objects: Vec<Object>,
    /// The common prefixes, each with its delimiter at the end, by their bytes.
    pub prefixes: Vec<String>,
    /// The token of the next page; `None` at the end.
    pub next: Option<String>,
}

/// Bytes that arrive.
pub struct Fetched {
    /// The object they are of.
    pub version: String,
    /// In order; an error where the connection broke, or where there were fewer than announced.
    pub bytes: BoxStream<'static, Result<Bytes>>,
}

/// Bytes to send, which can be sent again.
#[derive(Clone)]
pub enum Body {
    /// In memory.
    Bytes(Bytes),
}

impl Body {
    /// In bytes.
    pub fn len(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Under which condition something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None.
    Always,
    /// There is no object: `Exists`.
    Absent,
    /// It has this version: `Stale`.
    Version(String),
}

/// A copy on the server.
#[derive(Clone, Debug)]
pub struct Copy<'a> {
    /// From where, in the same bucket.
    pub from: &'a str,
    /// Only this version.
    pub source_version: Option<&'a str>,
    /// To where; may be `from`, with headers.
    pub to: &'a str,
    /// In place of the source's; `None`: the source's own.
    pub headers: Option<&'a Headers>,
    /// On the target.
    pub condition: Condition,
}

/// A range of an object on the server.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    /// Of which.
    pub key: &'a str,
    /// Only this version.
    pub version: &'a str,
    /// Offset in bytes.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
}
