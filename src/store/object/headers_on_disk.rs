//! Headers of objects by their versions, on disk (`--cache`): where listings do not carry them, each object is asked for
//! them once, and not again after a remount.
//!
//! What is there can be thrown away at any time, and is checked when it is read back.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::{XxHash3_64, XxHash3_128};

use super::bucket::{Headers, Object};
use crate::env;
use crate::error::{ErrorKind, Result};
use crate::payload::Payload;
use crate::store;
use crate::store::api::When;
use crate::store::driver::Opening;
use crate::store::flat::{Edit, Kv, Step};
use crate::store::home::Home;

/// Objects that are remembered; a record has a few hundred bytes.
const MOST: u64 = 1 << 20;
/// So many of them go at once when there are more.
const EVICTED: usize = 1 << 13;

/// What is known of one version of one object.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    version: String,
    headers: Headers,
}

/// The records of one bucket.
pub(super) struct HeadersOnDisk {
    home: Box<dyn Home>,
    map: Arc<dyn Kv>,
}

impl HeadersOnDisk {
    /// Those of the bucket `source` in `folder`, which is made; `None`, and a line in the log, where another mount has
    /// them, or the folder cannot be used: then each object is asked.
    pub(super) fn open(folder: &Path, source: &str, opening: &Opening) -> Option<HeadersOnDisk> {
        let name = format!("attributes-{:016x}", XxHash3_64::oneshot(source.as_bytes()));
        let open = || -> Result<Option<HeadersOnDisk>> {
            env::private_folder(folder)?;
            let Some(home) = store::own_map(&folder.join(name), opening)? else { return Ok(None) };
            let map = home.open(true)?.ok_or(ErrorKind::Io)?;
            Ok(Some(HeadersOnDisk { home, map }))
        };
        open().unwrap_or_else(|error| {
            tracing::warn!("attributes are not remembered on disk: {error}");
            None
        })
    }

    /// The headers of this version.
    pub(super) fn get(&self, object: &Object) -> Option<Headers> {
        let version = object.known_version()?;
        let value = self.map.open(&place(&object.key)).ok()??;
        let mut bytes = Vec::with_capacity(value.len() as usize);
        value.read(0, value.len(), &mut |piece| bytes.extend_from_slice(piece)).ok()?;
        let (sum, text) = bytes.split_first_chunk::<8>()?;
        if *sum != XxHash3_64::oneshot(text).to_le_bytes() {
            return None;
        }
        let record: Record = serde_json::from_slice(text).ok()?;
        (record.key == object.key && record.version == version).then_some(record.headers)
    }

    /// Remembers objects with their headers; what is not remembered is asked for again.
    pub(super) fn put(&self, objects: &[Object]) {
        if let Err(error) = self.try_put(objects) {
            tracing::debug!("attributes are not remembered on disk: {error}");
        }
    }

    fn try_put(&self, objects: &[Object]) -> Result<()> {
        let bodies: Vec<(Vec<u8>, Payload)> = objects
            .iter()
            .filter_map(|object| Some((object, object.known_version()?, object.headers.as_ref()?)))
            .map(|(object, version, headers)| {
                let record =
                    Record { key: object.key.clone(), version: version.to_owned(), headers: headers.clone() };
                let text = serde_json::to_vec(&record).unwrap_or_default();
                let body = [&XxHash3_64::oneshot(&text).to_le_bytes(), text.as_slice()].concat();
                Ok((place(&object.key), Payload::of(&body)?))
            })
            .collect::<Result<_>>()?;
        let mut edits: Vec<Edit<'_>> = Vec::with_capacity(bodies.len());
        if self.map.usage().keys.is_some_and(|keys| keys > MOST) {
            self.evict(&mut edits)?;
        }
        edits.extend(bodies.iter().map(|(key, body)| Edit::Put {
            key: key.clone(),
            body: Some(body),
            when: When::Always,
        }));
        if edits.is_empty() { Ok(()) } else { self.map.write(&mut edits) }
    }

    /// Removes some: places are hashes, so that those after any place are as good as drawn.
    fn evict(&self, edits: &mut Vec<Edit<'_>>) -> Result<()> {
        let from = env::fresh_word().to_le_bytes();
        self.map.scan(&from, &mut |key, _| {
            edits.push(Edit::Delete { key: key.to_vec(), when: When::Always });
            if edits.len() < EVICTED { Step::Next } else { Step::Stop }
        })
    }
}

impl Drop for HeadersOnDisk {
    fn drop(&mut self) {
        if let Err(error) = self.home.close() {
            tracing::debug!("attributes that were remembered last are asked for again: {error}");
        }
    }
}

fn place(key: &str) -> Vec<u8> {
    XxHash3_128::oneshot(key.as_bytes()).to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn object(key: &str, version: &str, mode: &str) -> Object {
        let mut headers = Headers::default();
        headers.metadata.insert("mode".to_owned(), mode.to_owned());
        Object {
            key: key.to_owned(),
            size: 1,
            modified: SystemTime::UNIX_EPOCH,
            version: version.to_owned(),
            headers: Some(headers),
            class: None,
            archived: false,
        }
    }

    #[test]
    fn headers_are_there_after_a_restart_for_their_version_alone() {
        let folder = tempfile::tempdir().unwrap();
        let open = || HeadersOnDisk::open(folder.path(), "s3://b", &Opening::default()).unwrap();
        let (one, other) = (object("a", "1", "33188"), object("b", "7", "33152"));
        let kept = open();
        kept.put(&[one.clone(), other.clone()]);
        assert!(
            HeadersOnDisk::open(folder.path(), "s3://b", &Opening::default()).is_none(),
            "another mount's"
        );
        drop(kept);
        let kept = open();
        let untold = |object: &Object| Object { headers: None, ..object.clone() };
        assert_eq!(kept.get(&untold(&one)), one.headers);
        assert_eq!(kept.get(&untold(&other)), other.headers);
        assert_eq!(kept.get(&Object { version: "2".into(), ..untold(&one) }), None);
        assert_eq!(kept.get(&Object { key: "c".into(), ..untold(&one) }), None);
        kept.put(&[object("a", "2", "33261")]);
        assert_eq!(kept.get(&untold(&one)), None);
        let torn = Payload::of(b"12345678{}").unwrap();
        let edit = Edit::Put { key: place("b"), body: Some(&torn), when: When::Always };
        kept.map.write(&mut [edit]).unwrap();
        assert_eq!(kept.get(&untold(&other)), None);
    }
}
