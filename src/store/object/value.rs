//! An open object: one version of it, read in ranges.

use std::sync::Arc;

use futures::StreamExt;

use super::bucket::Object;
use super::reach::Reach;
use crate::error::{Error, ErrorKind, Result};
use crate::store::api::{Tag, Value, Version};

/// One version of one object.
pub(super) struct Opened {
    reach: Arc<Reach>,
    key: String,
    size: u64,
    version: String,
}

impl Opened {
    /// Opens this version.
    pub(super) fn of(reach: &Arc<Reach>, object: &Object) -> Result<Opened> {
        if object.archived {
            let class = object.class.as_deref().unwrap_or("archived");
            let sentence =
                format!("{:?} is archived ({class}): restore it with the service's own tools", object.key);
            return Err(Error::new(ErrorKind::Denied, sentence));
        }
        Ok(Opened {
            reach: Arc::clone(reach),
            key: object.key.clone(),
            size: object.size,
            version: object.version.clone(),
        })
    }

    /// Opens the version that was told a moment ago; the first read shows whether it is there still.
    pub(super) fn told(reach: &Arc<Reach>, key: String, size: u64, version: &Tag) -> Opened {
        let version = String::from_utf8_lossy(version.as_bytes()).into_owned();
        Opened { reach: Arc::clone(reach), key, size, version }
    }

    fn fetch(&self, start: u64, end: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let fetched = self.reach.wait(async {
            let fetched = self.reach.bucket.get(&self.key, start, end, Some(&self.version)).await?;
            let mut bytes = fetched.bytes;
            let mut left = end - start;
            while let Some(piece) = bytes.next().await {
                let piece = piece?;
                let wanted = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                left -= wanted as u64;
                sink(&piece[..wanted]);
            }
            if left == 0 {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::Io, "the object ended before its length"))
            }
        });
        fetched.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::new(ErrorKind::Stale, format!("{:?} is gone", self.key)),
            _ => Reach::about(&self.key, error),
        })
    }
}

impl Value for Opened {
    fn len(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let end = self.size.min(offset.saturating_add(size));
        if offset >= end {
            return Ok(());
        }
        self.fetch(offset, end, sink)
    }

    fn version(&self) -> Result<Version> {
        Ok(Version(self.version.as_bytes().into()))
    }
}
