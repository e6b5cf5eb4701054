//! An open object: one version of it, read in ranges.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use super::bucket::{Joining, Object};
use super::reach::Reach;
use super::upload::PIECE;
use crate::env::Deadline;
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

    /// Whether its bytes from `from` on are those that `wanted` gives for each offset and length.
    pub(super) fn has_bytes(
        &self,
        from: u64,
        wanted: &mut dyn FnMut(u64, u64) -> Result<Bytes>,
    ) -> Result<bool> {
        let (mut at, mut same) = (from, true);
        while at < self.size && same {
            let size = PIECE.min(self.size - at);
            let wanted = wanted(at, size)?;
            let mut seen = 0;
            self.read(at, size, &mut |bytes| {
                same &= wanted.get(seen..seen + bytes.len()) == Some(bytes);
                seen += bytes.len();
            })?;
            at += size;
        }
        Ok(same)
    }

    /// Hands out the bytes `start .. end`; where the connection breaks, it goes on from there.
    fn fetch(&self, start: u64, end: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let (deadline, mut waits, mut at) = (Deadline::after(self.reach.timeout), Reach::waits(), start);
        loop {
            let before = at;
            let error = match self.fetch_once(&mut at, end, sink) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let broken = matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain | ErrorKind::TimedOut);
            // Bytes that came are worth going on for; without any, a few tries are.
            let wait = if at > before { Some(Duration::ZERO) } else { waits.next() };
            let Some(wait) = wait.filter(|_| broken && !deadline.passed()) else {
                return Err(match error.kind() {
                    ErrorKind::NotFound => Error::new(ErrorKind::Stale, format!("{:?} is gone", self.key)),
                    _ => Reach::about(&self.key, error),
                });
            };
            tracing::debug!("{:?}: reading on from {at}: {error}", self.key);
            if !wait.is_zero() {
                self.reach.pause(wait)?;
            }
        }
    }

    fn fetch_once(&self, at: &mut u64, end: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.reach.wait(async {
            let fetched = self.reach.bucket.get(&self.key, *at, end, Some(&self.version)).await?;
            let mut bytes = fetched.bytes;
            while *at < end
                && let Some(piece) = bytes.next().await
            {
                let piece = piece?;
                let wanted = piece.len().min(usize::try_from(end - *at).unwrap_or(usize::MAX));
                *at += wanted as u64;
                sink(&piece[..wanted]);
            }
            if *at == end {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::Io, "the object ended before its length"))
            }
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

    fn is_continued(&self) -> bool {
        self.size >= PIECE && self.reach.bucket.abilities().joining != Joining::No
    }
}
