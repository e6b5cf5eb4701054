//! Long objects that are sent while they are still being written: their parts leave as soon as there are enough bytes
//! for one, as long as the file only grows.
//!
//! The bytes stay in the payload until the put has succeeded, so that nothing is lost with a part that fails: the put
//! then sends them all.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::bucket::{Body, Condition, Headers, Object};
use super::journal::Entry;
use super::reach::{LONG_WORK, Reach};
use super::upload::{self, AT_ONCE, Unfinished};
use crate::budget::{Budget, Purpose};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::{Lineage, Payload};

/// Parts of one length; then they double, so that no upload runs out of parts: S3 takes 10,000 of them, and 5 TiB.
const PARTS_OF_ONE_LENGTH: u32 = 1000;

/// Uploads that run ahead of their puts.
#[derive(Default)]
pub(super) struct Ahead {
    uploads: Mutex<Vec<Upload>>,
}

/// An upload of what is still being written.
struct Upload {
    payload: Weak<Lineage>,
    key: String,
    name: String,
    headers: Headers,
    entry: Entry<Unfinished>,
    parts: Vec<JoinHandle<Result<String>>>,
    /// Bytes that the parts have.
    sent: u64,
    /// The tags of all parts, where all were sent and only the end is in doubt.
    tags: Option<Vec<String>>,
}

/// An upload whose parts were all sent by somebody else.
pub(super) struct Sent<'s> {
    pub key: &'s str,
    pub name: String,
    pub headers: &'s Headers,
    pub entry: Entry<Unfinished>,
    pub tags: Vec<String>,
}

impl Upload {
    /// The length of the next part.
    fn next_length(&self, reach: &Reach) -> u64 {
        let abilities = reach.bucket.abilities();
        let doublings = self.parts.len() as u32 / PARTS_OF_ONE_LENGTH;
        upload::PIECE.checked_shl(doublings).unwrap_or(u64::MAX).clamp(abilities.part_min, abilities.part_max)
    }

    /// Sends a part; waits for room, and for the parts before it, as long as a request may take.
    fn send(&mut self, reach: &Arc<Reach>, body: &Payload, length: u64) -> Result<()> {
        let deadline = Deadline::after(reach.timeout);
        if let Some(before) = self.parts.len().checked_sub(AT_ONCE)
            && !self.parts[before].is_finished()
        {
            // Its outcome is looked at when the put comes.
            let waited = &mut self.parts[before];
            let tag = env::wait(deadline, async { waited.await.unwrap_or_else(|_| Err(interrupted())) })?;
            self.parts[before] = env::spawn(async move { Ok(tag) })?;
        }
        let permit = Budget::global().take(Purpose::Upload, length, deadline)?;
        let bytes = upload::piece(body, self.sent, length)?;
        let (reach, key, name) = (Arc::clone(reach), self.key.clone(), self.name.clone());
        let number = self.parts.len() as u32 + 1;
        self.parts.push(env::spawn(async move {
            let _permit = permit;
            reach.bucket.part(&key, &name, number, Body::Bytes(bytes)).await
        })?);
        self.sent += length;
        Ok(())
    }

    /// Forgets what was sent.
    fn drop_parts(self, reach: &Reach) {
        self.parts.iter().for_each(JoinHandle::abort);
        match reach.wait(reach.bucket.abort(&self.key, &self.name)) {
            Ok(()) => self.entry.end(),
            Err(error) => {
                tracing::warn!("{:?}: its parts are removed at the next mount: {error}", self.key);
            }
        }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Io, "the upload of a part was interrupted")
}

impl Ahead {
    /// Takes out the upload of this payload.
    fn take(&self, lineage: &Arc<Lineage>) -> Option<Upload> {
        let mut uploads = self.uploads.lock();
        let found = uploads.iter().position(|upload| upload.payload.as_ptr() == Arc::as_ptr(lineage))?;
        Some(uploads.swap_remove(found))
    }

    /// Sends what there is, if it is enough for a part. `headers`: of the object, should it be a new one.
    pub(super) fn grown(
        &self,
        reach: &Arc<Reach>,
        key: &str,
        body: &Payload,
        headers: impl FnOnce() -> Result<Headers>,
    ) -> Result<()> {
        // What continues an object is put together at the close.
        if body.len() < 2 * upload::PIECE || body.beginning().is_some() {
            return Ok(());
        }
        self.sweep(reach);
        let mut upload = match self.take(body.lineage()) {
            Some(upload) if upload.key == key => upload,
            // Renamed while it is written: it belongs elsewhere.
            Some(upload) => {
                upload.drop_parts(reach);
                return Ok(());
            }
            None => begin(reach, key, body, headers()?)?,
        };
        while body.len() - upload.sent >= upload.next_length(reach) {
            let length = upload.next_length(reach);
            if let Err(error) = upload.send(reach, body, length) {
                upload.drop_parts(reach);
                return Err(error);
            }
        }
        self.uploads.lock().push(upload);
        Ok(())
    }

    /// Ends the upload of a payload that is to be put; `None` where none was begun that could be.
    ///
    /// # Errors
    /// Those of the request that makes an object of the parts.
    pub(super) fn finish(
        &self,
        reach: &Arc<Reach>,
        key: &str,
        body: &Payload,
        condition: &Condition,
    ) -> Option<Result<(Object, Headers)>> {
        let mut upload = self.take(body.lineage())?;
        if upload.key != key {
            upload.drop_parts(reach);
            return None;
        }
        let tags = match upload.last_parts(reach, body) {
            Ok(tags) => tags,
            Err(error) => {
                tracing::warn!("{key:?}: it is sent once more from its beginning: {error}");
                upload.drop_parts(reach);
                return None;
            }
        };
        let completed = reach.wait_long(
            LONG_WORK,
            reach.bucket.complete(key, &upload.name, &tags, &upload.headers, condition),
        );
        match completed {
            Ok(object) => {
                upload.entry.end();
                Some(Ok((object, upload.headers)))
            }
            Err(error) if error.kind() == ErrorKind::Uncertain => {
                upload.tags = Some(tags);
                self.uploads.lock().push(upload);
                Some(Err(error))
            }
            Err(error) => {
                upload.drop_parts(reach);
                Some(Err(error))
            }
        }
    }

    /// Keeps an upload of which all parts were sent and only the end is in doubt: whoever puts the payload once more
    /// ends it once more, and it is forgotten with the payload.
    pub(super) fn keep(&self, body: &Payload, sent: Sent<'_>) {
        let Sent { key, name, headers, entry, tags } = sent;
        self.uploads.lock().push(Upload {
            payload: Arc::downgrade(body.lineage()),
            key: key.to_owned(),
            name,
            headers: headers.clone(),
            entry,
            parts: Vec::new(),
            sent: body.len(),
            tags: Some(tags),
        });
    }

    /// Forgets uploads whose payload is gone, or was changed where it had been sent.
    pub(super) fn sweep(&self, reach: &Reach) {
        let lost: Vec<Upload> = {
            let mut uploads = self.uploads.lock();
            uploads.extract_if(.., |upload| upload.payload.strong_count() == 0).collect()
        };
        lost.into_iter().for_each(|upload| upload.drop_parts(reach));
    }
}

impl Upload {
    /// Sends what is left, and answers the tags of all parts.
    fn last_parts(&mut self, reach: &Arc<Reach>, body: &Payload) -> Result<Vec<String>> {
        if let Some(tags) = self.tags.take() {
            let grown = || Error::new(ErrorKind::Stale, "it has grown since its parts were sent");
            return if self.sent == body.len() { Ok(tags) } else { Err(grown()) };
        }
        while self.sent < body.len() {
            let length = self.next_length(reach).min(body.len() - self.sent);
            self.send(reach, body, length)?;
        }
        let parts = std::mem::take(&mut self.parts);
        reach.wait_long(AT_ONCE as u64, async {
            let mut tags = Vec::with_capacity(parts.len());
            for part in parts {
                tags.push(part.await.unwrap_or_else(|_| Err(interrupted()))?);
            }
            Ok(tags)
        })
    }
}

fn begin(reach: &Reach, key: &str, body: &Payload, headers: Headers) -> Result<Upload> {
    let entry = reach.uploads.begin()?;
    let name = reach.wait(reach.bucket.begin(key, &headers))?;
    entry.note(&Unfinished { key: key.to_owned(), upload: Some(name.clone()) })?;
    let payload = Arc::downgrade(body.lineage());
    Ok(Upload { payload, key: key.to_owned(), name, headers, entry, parts: Vec::new(), sent: 0, tags: None })
}
