//! Carrying out changes: each is a request or several, in order.

use super::bucket::{Body, Condition, Headers, Object};
use super::reach::Reach;
use super::tree::Tree;
use super::upload;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Change, Value, When, keeps_no_attributes};

impl Tree {
    /// Carries out all changes; those before the first that fails are done.
    pub(super) fn change(&self, changes: &mut [Change<'_>]) -> Result<()> {
        changes.iter().try_for_each(|change| match change {
            Change::Put { key, body, when } => self.put(key, body, when),
            Change::Delete { key, when } => self.delete(key, when),
            Change::Rename { from, to, tree, replace } => self.rename(from, to, *tree, *replace),
            Change::Branch { key } => self.make_marker(key),
            Change::RemoveBranch { key } => self.remove_marker(key),
            Change::Make { .. } | Change::Set { .. } => Err(keeps_no_attributes()),
        })
    }

    fn put(&self, key: &Key, body: &Payload, when: &When) -> Result<()> {
        let raw = self.reach.names.fitting(key)?;
        let most = self.caps.value_max;
        if body.len() > most {
            let sentence = format!("{raw:?} would have {} bytes: an object has at most {most}", body.len());
            return Err(Error::new(ErrorKind::TooBig, sentence));
        }
        self.put_raw(&raw, body, &Headers::default(), &condition(when))
    }

    /// Puts an object, in one request or in parts. Where the answer was lost, what is there now tells (§8.1).
    fn put_raw(&self, raw: &str, body: &Payload, headers: &Headers, condition: &Condition) -> Result<()> {
        let put = if body.len() <= upload::WHOLE_MOST {
            let bytes = upload::piece(body, 0, body.len())?;
            self.reach.wait(self.reach.bucket.put(raw, Body::Bytes(bytes), headers, condition))
        } else {
            upload::in_parts(&self.reach, raw, body, headers, condition)
        };
        let object = match put {
            Err(error) if error.kind() == ErrorKind::Uncertain => match self.found_there(raw, body)? {
                Some(object) => object,
                None => return Err(Reach::about(raw, error)),
            },
            Err(error) => return Err(Reach::about(raw, error)),
            Ok(object) => object,
        };
        self.reach.recent.put(raw, &object.version);
        Ok(())
    }

    /// The object at `raw`, where its bytes are those of `body`.
    fn found_there(&self, raw: &str, body: &Payload) -> Result<Option<Object>> {
        let Some(object) = self.reach.wait(self.reach.bucket.head(raw))? else { return Ok(None) };
        if object.size != body.len() {
            return Ok(None);
        }
        let value = super::value::Opened::of(&self.reach, &object)?;
        let (mut at, mut same) = (0, true);
        while at < object.size && same {
            let size = upload::PIECE.min(object.size - at);
            let wanted = upload::piece(body, at, size)?;
            let mut seen = 0;
            value.read(at, size, &mut |bytes| {
                same &= wanted.get(seen..seen + bytes.len()) == Some(bytes);
                seen += bytes.len();
            })?;
            at += size;
        }
        Ok(same.then_some(object))
    }

    fn delete(&self, key: &Key, when: &When) -> Result<()> {
        let Some(raw) = self.reach.names.existing(key) else {
            return if matches!(when, When::Current(_)) { Err(ErrorKind::Stale.into()) } else { Ok(()) };
        };
        // Repeated where its answer was lost: what is gone stays gone, and what somebody put meanwhile is guarded by
        // the condition where there is one.
        self.reach.wait(self.reach.bucket.delete(&raw, &condition(when))).map_err(|e| Reach::about(&raw, e))
    }

    fn make_marker(&self, key: &Key) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Exists, "the root is there already"));
        }
        let raw = self.reach.names.fitting_marker(key)?;
        if self.is_there(key)? {
            return Err(Error::new(ErrorKind::Exists, format!("{raw:?} is there already")));
        }
        self.put_raw(&raw, &Payload::new(), &Headers::default(), &Condition::Absent)
    }

    fn remove_marker(&self, key: &Key) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "the root cannot be removed"));
        }
        let Some(prefix) = self.reach.names.below(key) else { return Ok(()) };
        let value = self.reach.names.existing(key);
        let bucket = &self.reach.bucket;
        let (value, inside) = self.reach.wait(async {
            let value = async {
                match &value {
                    Some(raw) => bucket.head(raw).await,
                    None => Ok(None),
                }
            };
            futures::future::try_join(value, self.two_below(&prefix)).await
        })?;
        let marker = inside.iter().find(|object| object.key == prefix);
        if value.is_some() || inside.iter().any(|object| object.key != prefix || object.size > 0) {
            return Err(Error::new(ErrorKind::NotEmpty, format!("{prefix:?} has something in it")));
        }
        match marker {
            Some(_) => self.reach.wait(bucket.delete(&prefix, &Condition::Always)),
            None => Ok(()),
        }
    }

    /// Whether there is a value at `key`, or anything below it.
    pub(super) fn is_there(&self, key: &Key) -> Result<bool> {
        use crate::store::api::Store as _;
        Ok(self.stat(key)?.is_some())
    }

    /// The first two keys below a prefix: a marker, and what else there is.
    async fn two_below(&self, prefix: &str) -> Result<Vec<Object>> {
        let listing = super::bucket::Listing { prefix, delimiter: None, token: None, after: None, most: 2 };
        Ok(self.reach.bucket.list(&listing).await?.objects)
    }
}

/// The condition in the bucket's words.
pub(super) fn condition(when: &When) -> Condition {
    match when {
        When::Always => Condition::Always,
        When::Absent => Condition::Absent,
        When::Current(version) => Condition::Version(String::from_utf8_lossy(&version.0).into_owned()),
    }
}
