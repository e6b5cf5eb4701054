//! A bucket as it was at one moment, as a bucket that is only read: all that stands on buckets shows it without knowing.
//!
//! Whether a version was there is told by the versions around it, which a listing of versions has. A common prefix says
//! only that something below it was there once: each is asked whether it was at that moment.
//!
//! Without a moment it is all that ever was: each key once, with the version that the service tells first.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use futures::stream::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::bucket::{
    Abilities, Body, Bucket, Condition, Copy, Fetched, Headers, Listing, Object, Page, Range,
};
use super::versioned::{OldVersion, Versioned};
use crate::error::{Error, ErrorKind, Result};

/// Versions that are asked for to find one of one key: few keys have more.
const OF_ONE_KEY: u32 = 20;
/// Versions that are asked for to find any: what a service gives at most.
const PAGE: u32 = 1000;
/// Common prefixes that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// S3's id of all that was put while the bucket kept no versions: it is put anew without another id.
const NULL: &str = "null";

/// What tells a version from every other of its key, as [`Object::version`]: its id, which no other has, and for the one id
/// that others can have after it the ETag, too.
pub(super) fn version_of(old: &OldVersion) -> String {
    if old.id == NULL { format!("{NULL} {}", old.object.version) } else { old.id.clone() }
}

/// The bytes `start .. end` of what [`version_of`] told.
pub(super) async fn get(
    bucket: &dyn Versioned,
    key: &str,
    start: u64,
    end: u64,
    version: &str,
) -> Result<Fetched> {
    let null = version.strip_prefix(NULL).and_then(|rest| rest.strip_prefix(' '));
    let fetched = bucket.get_version(key, if null.is_some() { NULL } else { version }, start, end).await?;
    if null.is_some_and(|etag| etag != fetched.version) {
        return Err(Error::new(ErrorKind::Stale, format!("{key:?}: this version was put anew")));
    }
    Ok(Fetched { version: version.to_owned(), ..fetched })
}

/// The first version of exactly this key that `wanted` takes.
pub(super) async fn find(
    bucket: &dyn Versioned,
    key: &str,
    wanted: impl Fn(&OldVersion) -> bool + Send,
) -> Result<Option<OldVersion>> {
    let mut token = None;
    loop {
        let listing =
            Listing { prefix: key, delimiter: None, token: token.as_deref(), after: None, most: OF_ONE_KEY };
        let page = bucket.list_versions(&listing).await?;
        // The key itself comes before all that begin with it.
        let ended = page.versions.iter().any(|old| old.object.key != key);
        let mut own = page.versions.into_iter().filter(|old| old.object.key == key);
        if let Some(found) = own.find(|old| wanted(old)) {
            return Ok(Some(found));
        }
        token = page.next;
        if ended || token.is_none() {
            return Ok(None);
        }
    }
}

/// A bucket at one moment.
pub(super) struct Past {
    /// The same bucket, for what both count.
    pub now: Arc<dyn Bucket>,
    pub versions: Arc<dyn Versioned>,
    /// `None`: ever.
    pub moment: Option<SystemTime>,
    /// Whether headers are wanted where listings do not carry them: attributes are kept there.
    pub headers: bool,
}

/// Where the next page begins: a token of ours.
#[derive(Debug, Serialize, Deserialize)]
enum Next {
    /// After this key.
    Key(String),
    /// Where the service says, and the last key that was told.
    Page(String, Option<String>),
}

impl Next {
    fn token(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))
    }

    fn read(token: &str) -> Result<Next> {
        serde_json::from_str(token).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))
    }
}

impl Past {
    fn shown(old: OldVersion) -> Object {
        let version = version_of(&old);
        Object { version, ..old.object }
    }

    fn shows(&self, old: &OldVersion) -> bool {
        self.moment.is_none_or(|moment| old.was_there_at(moment))
    }

    /// Whether anything below a common prefix was there.
    async fn was_below(&self, prefix: &str) -> Result<bool> {
        if self.moment.is_none() {
            return Ok(true);
        }
        let listing = Listing { prefix, delimiter: None, token: None, after: None, most: 1 };
        Ok(!self.list(&listing).await?.objects.is_empty())
    }

    /// One page of versions, as far as they are shown and are not of the key `told`; its token is the service's.
    async fn page(&self, listing: &Listing<'_>, told: Option<&str>) -> Result<Page> {
        let found = self.versions.list_versions(listing).await?;
        let mut objects: Vec<Object> = Vec::new();
        for old in found.versions.into_iter().filter(|old| self.shows(old)) {
            let last = objects.last().map_or(told, |object| Some(object.key.as_str()));
            if last != Some(old.object.key.as_str()) {
                objects.push(Past::shown(old));
            }
        }
        let asked = found
            .prefixes
            .into_iter()
            .map(|prefix| async move { Ok::<_, Error>(self.was_below(&prefix).await?.then_some(prefix)) });
        let prefixes: Vec<_> = futures::stream::iter(asked).buffered(ASKED_AT_ONCE).try_collect().await?;
        Ok(Page { objects, prefixes: prefixes.into_iter().flatten().collect(), next: found.next })
    }
}

fn refused<T>() -> Result<T> {
    Err(Error::new(ErrorKind::ReadOnly, "what was cannot be changed"))
}

#[async_trait]
impl Bucket for Past {
    fn abilities(&self) -> &Abilities {
        self.now.abilities()
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        let Some(old) = find(&*self.versions, key, |old| self.shows(old)).await? else {
            return Ok(None);
        };
        if !self.headers || old.object.headers.is_some() {
            return Ok(Some(Past::shown(old)));
        }
        let version = version_of(&old);
        let found = self.versions.head_version(key, &old.id).await?;
        Ok(found.map(|object| Object { version, ..object }))
    }

    async fn get(&self, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<Fetched> {
        let found;
        let version = match version {
            Some(version) => version,
            None => {
                found = self.head(key).await?.ok_or(ErrorKind::NotFound)?.version;
                &found
            }
        };
        get(&*self.versions, key, start, end, version).await
    }

    async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        let (mut token, after, mut told) = match listing.token.map(Next::read).transpose()? {
            Some(Next::Key(key)) => (None, Some(key), None),
            Some(Next::Page(token, told)) => (Some(token), None, told),
            None => (None, listing.after.map(str::to_owned), None),
        };
        // Few of those that are asked for may have been there. With a delimiter a page is not cut below: then nobody
        // asks for few.
        let few = listing.delimiter.is_none();
        let most = if few { PAGE } else { listing.most };
        loop {
            let after = after.as_deref().filter(|_| token.is_none());
            let asked = Listing { token: token.as_deref(), after, most, ..*listing };
            let mut page = self.page(&asked, told.as_deref()).await?;
            let cut = few && page.objects.len() > listing.most as usize;
            if cut {
                page.objects.truncate(listing.most as usize);
            }
            let last = page.objects.last().map(|object| object.key.clone());
            if last.is_some() {
                told = last;
            }
            let empty = page.objects.is_empty() && page.prefixes.is_empty();
            token = page.next.take();
            page.next = match (&token, &told) {
                (_, Some(last)) if cut => Some(Next::Key(last.clone()).token()?),
                (Some(token), _) => Some(Next::Page(token.clone(), told.clone()).token()?),
                (None, _) => None,
            };
            if !empty || page.next.is_none() {
                return Ok(page);
            }
        }
    }

    async fn put(&self, _: &str, _: Body, _: &Headers, _: &Condition) -> Result<Object> {
        refused()
    }

    async fn delete(&self, _: &str, _: &Condition) -> Result<()> {
        refused()
    }

    async fn delete_batch(&self, _: &[&str]) -> Result<Vec<(String, Error)>> {
        refused()
    }

    async fn copy(&self, _: &Copy<'_>) -> Result<Object> {
        refused()
    }

    async fn begin(&self, _: &str, _: &Headers) -> Result<String> {
        refused()
    }

    async fn part(&self, _: &str, _: &str, _: u32, _: Body) -> Result<String> {
        refused()
    }

    async fn copy_part(&self, _: &str, _: &str, _: u32, _: &Range<'_>) -> Result<String> {
        refused()
    }

    async fn complete(&self, _: &str, _: &str, _: &[String], _: &Headers, _: &Condition) -> Result<Object> {
        refused()
    }

    async fn abort(&self, _: &str, _: &str) -> Result<()> {
        refused()
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        self.now.requests()
    }
}
