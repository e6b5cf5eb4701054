//! The objects of the bucket, and its unfinished uploads.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bytes::Bytes;
use md5::{Digest, Md5};

/// How many objects the folders of [`Objects::fill`] have.
const A_FOLDER: u64 = 1000;

/// Headers and metadata that come back with an object.
pub type Metadata = HashMap<String, String>;

/// One object.
#[derive(Clone, Default)]
pub struct Object {
    /// In order.
    pub pieces: Vec<Bytes>,
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub modified: Option<SystemTime>,
    pub metadata: Metadata,
    pub content_type: Option<String>,
}

impl Object {
    /// Of the bytes of one request.
    pub fn new(pieces: Vec<Bytes>) -> Object {
        let mut hash = Md5::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        Object { pieces, size, etag: hex(&hash.finalize()), modified: Some(SystemTime::now()), ..Object::default() }
    }

    /// Of parts, each an object.
    pub fn joined(parts: Vec<Object>) -> Object {
        let mut hash = Md5::new();
        parts.iter().for_each(|part| hash.update(&part.etag));
        let etag = format!("{}-{}", hex(&hash.finalize()), parts.len());
        let size = parts.iter().map(|part| part.size).sum();
        let pieces = parts.into_iter().flat_map(|part| part.pieces).collect();
        Object { pieces, size, etag, modified: Some(SystemTime::now()), ..Object::default() }
    }

    /// The bytes of a range.
    pub fn range(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut at = 0;
        let mut found = Vec::new();
        for piece in &self.pieces {
            let end = at + piece.len() as u64;
            if end > range.start && at < range.end {
                let from = range.start.saturating_sub(at) as usize;
                let to = (range.end.min(end) - at) as usize;
                found.push(piece.slice(from..to));
            }
            at = end;
        }
        found
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An upload in parts.
#[derive(Default)]
pub struct Upload {
    pub parts: BTreeMap<i32, Object>,
    pub metadata: Metadata,
    pub content_type: Option<String>,
}

/// One page of a listing: objects and common prefixes in one order, and where the next page begins.
#[derive(Default)]
pub struct Page {
    pub objects: Vec<(String, Object)>,
    pub prefixes: Vec<String>,
    pub next: Option<String>,
}

/// All that there is.
#[derive(Default)]
pub struct Objects {
    objects: RwLock<BTreeMap<String, Object>>,
    uploads: RwLock<HashMap<String, Upload>>,
    uploads_begun: AtomicU64,
}

impl Objects {
    /// Puts so many small objects into folders below `million/`.
    pub fn fill(&self, count: u64) {
        let object = Object::new(vec![Bytes::from_static(b"x")]);
        let name = |number| format!("million/{:04}/{number:07}", number / A_FOLDER);
        self.write().extend((0..count).map(|number| (name(number), object.clone())));
    }

    pub fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Object>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Object>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &str) -> Option<Object> {
        self.read().get(key).cloned()
    }

    /// Begins an upload; its name.
    pub fn begin(&self, upload: Upload) -> String {
        let name = format!("upload-{}", self.uploads_begun.fetch_add(1, Ordering::Relaxed));
        self.uploads().insert(name.clone(), upload);
        name
    }

    pub fn uploads(&self) -> RwLockWriteGuard<'_, HashMap<String, Upload>> {
        self.uploads.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes behind `after`, at most `most` of objects and common prefixes together.
    pub fn page(&self, prefix: &str, delimiter: Option<&str>, after: &str, most: usize) -> Page {
        let objects = self.read();
        let mut page = Page::default();
        let mut last = after.to_owned();
        let mut from = if after < prefix { Bound::Included(prefix.to_owned()) } else { past(after, delimiter) };
        while let Some((key, object)) = objects.range((from, Bound::Unbounded)).next() {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            if page.objects.len() + page.prefixes.len() == most {
                page.next = Some(last);
                break;
            }
            match delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len())) {
                Some(end) => {
                    last = key[..prefix.len() + end].to_owned();
                    page.prefixes.push(last.clone());
                    from = past(&last, delimiter);
                }
                None => {
                    last.clone_from(key);
                    page.objects.push((key.clone(), Object { pieces: Vec::new(), ..object.clone() }));
                    from = Bound::Excluded(key.clone());
                }
            }
        }
        page
    }
}

/// Behind a key, or behind all that begins with a common prefix.
fn past(after: &str, delimiter: Option<&str>) -> Bound<String> {
    match delimiter {
        Some(delimiter) if after.ends_with(delimiter) => Bound::Excluded(format!("{after}\u{10FFFF}")),
        _ => Bound::Excluded(after.to_owned()),
    }
}
