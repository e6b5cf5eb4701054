//! A bucket in memory, for tests of what stands on buckets: others may come in between, and answers may be lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;

use super::bucket::{
    Abilities, Body, Bucket, Condition, Copy, Fetched, Headers, Listing, Object, Page, Range,
};
use super::honoured::Honoured;
use super::upload;
use super::versioned::{OldVersion, Versioned, Versions};
use crate::error::{Error, ErrorKind, Result};

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Fine,
    /// It is lost on the way there.
    LostThere,
    /// It is carried out, and its answer is lost.
    LostBack,
}

type Meddle = dyn FnMut(&Shelf, &str, &str) -> Fate + Send;

/// The bucket.
pub(super) struct Shelf {
    objects: Mutex<BTreeMap<String, (Bytes, Object)>>,
    uploads: Mutex<BTreeMap<String, BTreeMap<u32, Bytes>>>,
    /// What was replaced and removed.
    old: Mutex<Vec<(Bytes, OldVersion)>>,
    /// Numbers what is put and removed; the time of each, too, in seconds since the epoch.
    next: AtomicU64,
    pub abilities: Abilities,
    /// Entries of a page at most.
    page: u32,
    /// Whether conditions are looked at.
    pub honours: bool,
    meddle: Mutex<Option<Box<Meddle>>>,
}

impl Shelf {
    pub(super) fn new() -> Shelf {
        Shelf {
            objects: Mutex::default(),
            uploads: Mutex::default(),
            old: Mutex::default(),
            next: AtomicU64::new(1),
            abilities: Abilities { listed_headers: true, ..upload::tests::abilities() },
            page: 3,
            honours: true,
            meddle: Mutex::default(),
        }
    }

    /// Calls `meddle` before each request, with its operation and its key.
    pub(super) fn meddle(&self, meddle: impl FnMut(&Shelf, &str, &str) -> Fate + Send + 'static) {
        *self.meddle.lock() = Some(Box::new(meddle));
    }

    /// Another program puts an object.
    pub(super) fn foreign(&self, key: &str, bytes: &str) {
        self.store(key, Bytes::copy_from_slice(bytes.as_bytes()), &Headers::default());
    }

    /// Keys and bytes.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let shown = |(key, (bytes, _)): (&String, &(Bytes, Object))| {
            (key.clone(), String::from_utf8_lossy(bytes).into_owned())
        };
        self.objects.lock().iter().map(shown).collect()
    }

    /// Uploads in parts that nobody ended.
    pub(super) fn unfinished(&self) -> usize {
        self.uploads.lock().len()
    }

    /// The time that the next change will have.
    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.next.load(Ordering::Relaxed))
    }

    /// Takes an object away, and keeps it as an old version.
    pub(super) fn retire(&self, key: &str) {
        let until = Some(self.now());
        if let Some((bytes, object)) = self.objects.lock().remove(key) {
            let (id, since) = (object.version.clone(), object.modified);
            self.old.lock().push((bytes, OldVersion { object, id, since, until }));
            self.next.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All versions, by their keys, the newest first.
    fn versions(&self) -> Vec<(Bytes, OldVersion)> {
        let current = |(bytes, object): &(Bytes, Object)| {
            let (id, since) = (object.version.clone(), object.modified);
            (bytes.clone(), OldVersion { object: object.clone(), id, since, until: None })
        };
        let mut all: Vec<_> = self.objects.lock().values().map(current).collect();
        all.extend(self.old.lock().iter().cloned());
        all.sort_by(|(_, one), (_, other)| {
            one.object.key.cmp(&other.object.key).then(other.since.cmp(&one.since))
        });
        all
    }

    fn store(&self, key: &str, bytes: Bytes, headers: &Headers) -> Object {
        self.retire(key);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let object = Object {
            key: key.to_owned(),
            size: bytes.len() as u64,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
            version: number.to_string(),
            headers: Some(headers.clone()),
            class: None,
            archived: false,
        };
        self.objects.lock().insert(key.to_owned(), (bytes, object.clone()));
        object
    }

    fn found(&self, key: &str) -> Option<(Bytes, Object)> {
        self.objects.lock().get(key).cloned()
    }

    fn check(&self, key: &str, condition: &Condition) -> Result<()> {
        let found = self.found(key).map(|(_, object)| object.version);
        match condition {
            Condition::Absent if self.honours && found.is_some() => Err(ErrorKind::Exists.into()),
            Condition::Version(version) if self.honours && found.as_ref() != Some(version) => {
                Err(ErrorKind::Stale.into())
            }
            _ => Ok(()),
        }
    }

    /// Carries out a request as its fate is.
    fn ask<T>(&self, operation: &str, key: &str, deed: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut meddle = self.meddle.lock().take();
        let fate = meddle.as_mut().map_or(Fate::Fine, |meddle| meddle(self, operation, key));
        self.meddle.lock().get_or_insert_with(|| meddle.unwrap_or_else(|| Box::new(|_, _, _| Fate::Fine)));
        let lost = || Error::new(ErrorKind::Uncertain, "the answer was lost");
        match fate {
            Fate::Fine => deed(),
            Fate::LostThere => Err(lost()),
            Fate::LostBack => deed().and_then(|_| Err(lost())),
        }
    }
}

#[async_trait]
impl Bucket for Shelf {
    fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.ask("head", key, || Ok(self.found(key).map(|(_, object)| object)))
    }

    async fn get(&self, key: &str, start: u64, end: u64, version: Option<&str>) -> Result<Fetched> {
        self.ask("get", key, || {
            let (bytes, object) = self.found(key).ok_or(ErrorKind::NotFound)?;
            if version.is_some_and(|version| version != object.version) {
                return Err(ErrorKind::Stale.into());
            }
            let bytes = bytes.slice(start as usize..(end as usize).min(bytes.len()));
            let bytes = futures::stream::iter([Ok(bytes)]).boxed();
            Ok(Fetched { version: object.version, bytes })
        })
    }

    async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        self.ask("list", listing.prefix, || {
            let mut page = Page::default();
            let after = listing.token.or(listing.after).unwrap_or_default();
            let most = listing.most.min(self.page) as usize;
            for (key, (_, object)) in self.objects.lock().iter() {
                let Some(rest) = key.strip_prefix(listing.prefix) else { continue };
                let end =
                    listing.delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
                let name = &key[..listing.prefix.len() + end.unwrap_or(rest.len())];
                if name <= after || page.prefixes.last().is_some_and(|last| last == name) {
                    continue;
                }
                if page.objects.len() + page.prefixes.len() == most {
                    let last_object = page.objects.last().map(|object| object.key.clone());
                    page.next = last_object.max(page.prefixes.last().cloned());
                    break;
                }
                match end {
                    Some(_) => page.prefixes.push(name.to_owned()),
                    None => page.objects.push(object.clone()),
                }
            }
            Ok(page)
        })
    }

    async fn put(&self, key: &str, body: Body, headers: &Headers, condition: &Condition) -> Result<Object> {
        self.ask("put", key, || {
            self.check(key, condition)?;
            let Body::Bytes(bytes) = body;
            Ok(self.store(key, bytes, headers))
        })
    }

    async fn delete(&self, key: &str, condition: &Condition) -> Result<()> {
        self.ask("delete", key, || {
            self.check(key, condition)?;
            self.retire(key);
            Ok(())
        })
    }

    async fn delete_batch(&self, keys: &[&str]) -> Result<Vec<(String, Error)>> {
        self.ask("delete batch", keys.first().unwrap_or(&""), || {
            keys.iter().for_each(|key| self.retire(key));
            Ok(Vec::new())
        })
    }

    async fn copy(&self, copy: &Copy<'_>) -> Result<Object> {
        self.ask("copy", copy.from, || {
            let (bytes, source) = self.found(copy.from).ok_or(ErrorKind::NotFound)?;
            if copy.source_version.is_some_and(|version| version != source.version) {
                return Err(ErrorKind::Stale.into());
            }
            self.check(copy.to, &copy.condition)?;
            let headers = copy.headers.cloned().or(source.headers).unwrap_or_default();
            Ok(self.store(copy.to, bytes, &headers))
        })
    }

    async fn begin(&self, key: &str, _headers: &Headers) -> Result<String> {
        self.ask("begin", key, || {
            let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
            self.uploads.lock().insert(name.clone(), BTreeMap::new());
            Ok(name)
        })
    }

    async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        self.ask("part", key, || {
            let Body::Bytes(bytes) = body;
            self.uploads.lock().get_mut(upload).ok_or(ErrorKind::NotFound)?.insert(number, bytes);
            Ok(number.to_string())
        })
    }

    async fn copy_part(&self, key: &str, upload: &str, number: u32, range: &Range<'_>) -> Result<String> {
        self.ask("copy part", key, || {
            let (bytes, object) = self.found(range.key).ok_or(ErrorKind::Stale)?;
            if object.version != range.version {
                return Err(ErrorKind::Stale.into());
            }
            let bytes = bytes.slice(range.start as usize..range.end as usize);
            self.uploads.lock().get_mut(upload).ok_or(ErrorKind::NotFound)?.insert(number, bytes);
            Ok(number.to_string())
        })
    }

    async fn join(
        &self,
        key: &str,
        pieces: [&Object; 2],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.ask("join", key, || {
            self.check(key, condition)?;
            let mut joined = Vec::new();
            for piece in pieces {
                let (bytes, object) = self.found(&piece.key).ok_or(ErrorKind::Stale)?;
                if object.version != piece.version {
                    return Err(ErrorKind::Stale.into());
                }
                joined.extend_from_slice(&bytes);
            }
            Ok(self.store(key, joined.into(), headers))
        })
    }

    async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.ask("complete", key, || {
            self.check(key, condition)?;
            let sent = self.uploads.lock().remove(upload).ok_or(ErrorKind::NotFound)?;
            assert_eq!(sent.len(), parts.len());
            Ok(self.store(key, sent.into_values().flatten().collect::<Vec<u8>>().into(), headers))
        })
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<()> {
        self.ask("abort", key, || {
            self.uploads.lock().remove(upload);
            Ok(())
        })
    }

    fn versioned(self: Arc<Self>) -> Option<Arc<dyn Versioned>> {
        Some(self)
    }

    fn requests(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

#[async_trait]
impl Versioned for Shelf {
    async fn keeps_versions(&self) -> Result<bool> {
        Ok(self.honours)
    }

    /// Its token is the number of versions that were looked at.
    async fn list_versions(&self, listing: &Listing<'_>) -> Result<Versions> {
        self.ask("list versions", listing.prefix, || {
            let mut page = Versions::default();
            let begin = listing.token.map_or(0, |token| token.parse().unwrap());
            for (index, (_, old)) in self.versions().into_iter().enumerate().skip(begin) {
                let Some(rest) = old.object.key.strip_prefix(listing.prefix) else { continue };
                if listing.after.is_some_and(|after| old.object.key.as_str() <= after) {
                    continue;
                }
                if page.versions.len() + page.prefixes.len() == self.page as usize {
                    page.next = Some(index.to_string());
                    break;
                }
                match listing.delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len())) {
                    Some(end) => page.prefixes.push(old.object.key[..listing.prefix.len() + end].to_owned()),
                    None => page.versions.push(old),
                }
                page.prefixes.dedup();
            }
            Ok(page)
        })
    }

    async fn head_version(&self, key: &str, id: &str) -> Result<Option<Object>> {
        let found = self.versions().into_iter().find(|(_, old)| old.object.key == key && old.id == id);
        Ok(found.map(|(_, old)| old.object))
    }

    async fn get_version(&self, key: &str, id: &str, start: u64, end: u64) -> Result<Fetched> {
        self.ask("get version", key, || {
            let found = self.versions().into_iter().find(|(_, old)| old.object.key == key && old.id == id);
            let (bytes, old) = found.ok_or(ErrorKind::Stale)?;
            let bytes = bytes.slice(start as usize..(end as usize).min(bytes.len()));
            let bytes = futures::stream::iter([Ok(bytes)]).boxed();
            Ok(Fetched { version: old.object.version, bytes })
        })
    }
}

/// A store over the bucket; its journals are those of every store of this name.
pub(super) fn tree(shelf: &Arc<Shelf>, name: &str) -> super::tree::Tree {
    let honoured = if shelf.honours { Honoured::ALL } else { Honoured::NONE };
    super::driver::over(Arc::clone(shelf) as Arc<dyn Bucket>, honoured, name)
}
