//! Carrying out changes: each is a request or several, in order.

use super::bucket::{Body, Condition, Headers, Object};
use super::continuing;
use super::metadata::{self, Holder};
use super::reach::{LONG_WORK, Reach};
use super::tree::Tree;
use super::upload::{self, Source};
use super::value::Opened;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::payload::Payload;
use crate::store::api::{Change, Store, When, keeps_no_attributes};
use crate::store::attributes::{FileType, Setting};

impl Tree {
    /// Carries out all changes; those before the first that fails are done. Attributes that are set right behind a change
    /// of the same key are part of its request.
    pub(super) fn change(&self, changes: &mut [Change<'_>]) -> Result<()> {
        let mut rest: &[Change<'_>] = changes;
        while let [change, behind @ ..] = rest {
            rest = behind;
            let mut setting = Setting::default();
            if let (
                Some((key, directory)),
                [Change::Set { key: set, directory: of_directory, attributes }, behind @ ..],
            ) = (made_by(change), rest)
                && (key, directory) == (*set, *of_directory)
            {
                setting = (*attributes).clone();
                rest = behind;
            }
            self.carry_out(change, setting)?;
        }
        Ok(())
    }

    fn carry_out(&self, change: &Change<'_>, setting: Setting) -> Result<()> {
        match change {
            Change::Put { key, body, when } => self.put(key, body, when, setting),
            Change::Delete { key, when } => self.delete(key, when),
            Change::Rename { from, to, tree, replace } => self.rename(from, to, *tree, *replace, &setting),
            Change::Branch { key } => self.make_marker(key, &setting),
            Change::RemoveBranch { key } => self.remove_marker(key),
            Change::Make { .. } if self.reach.style.is_none() => Err(keeps_no_attributes()),
            Change::Set { attributes, .. } if self.reach.style.is_none() && !is_content_type(attributes) => {
                Err(keeps_no_attributes())
            }
            Change::Make { key, file_type, target } => self.make(key, *file_type, target, &setting),
            Change::Set { key, directory, attributes } => self.set(key, *directory, attributes),
        }
    }

    fn put(&self, key: &Key, body: &Payload, when: &When, setting: Setting) -> Result<()> {
        let raw = self.reach.names.fitting(key)?;
        let most = self.caps.value_max;
        if body.len() > most {
            let sentence = format!("{raw:?} would have {} bytes: an object has at most {most}", body.len());
            return Err(Error::new(ErrorKind::TooBig, sentence));
        }
        let mut headers = match when {
            When::Absent => None,
            When::Always | When::Current(_) => self.headers_now(&raw)?,
        }
        .unwrap_or_else(|| new_headers(&raw));
        self.write_setting(&mut headers, &setting, Holder::File(FileType::Regular))?;
        self.put_raw(&raw, body, &headers, &condition(when))
    }

    /// The headers of an object, which whatever replaces its bytes keeps; `None` where there is no object.
    pub(super) fn headers_now(&self, raw: &str) -> Result<Option<Headers>> {
        if self.reach.recent.was_absent(raw) {
            return Ok(None);
        }
        if let Some(headers) = self.reach.recent.object(raw).and_then(|known| known.headers) {
            return Ok(Some(headers));
        }
        Ok(self.reach.wait(self.look(raw))?.map(|found| found.headers.unwrap_or_default()))
    }

    fn write_setting(&self, headers: &mut Headers, setting: &Setting, holder: Holder) -> Result<()> {
        let Some(style) = self.reach.style else { return metadata::write_content_type(headers, setting) };
        if setting.is_empty() && holder == Holder::File(FileType::Regular) {
            return Ok(());
        }
        metadata::write(style, headers, setting, holder, self.reach.bucket.abilities().metadata_max)
    }

    /// Puts an object: in one request, in parts, or by what was sent of it already.
    fn put_raw(&self, raw: &str, body: &Payload, headers: &Headers, condition: &Condition) -> Result<()> {
        let honoured = match condition {
            Condition::Absent => self.reach.honoured.absent,
            _ => self.reach.honoured.version,
        };
        // Where the answers were lost and nothing is there, it is done again, under the condition again.
        let mut waits = Reach::waits();
        let mut doubted = false;
        loop {
            let looked = self.reach.wait(self.looked_up(raw, condition.clone(), honoured));
            let put = looked.and_then(|condition| self.put_once(raw, body, headers, &condition));
            let error = match put {
                Ok((mut object, had)) => {
                    object.headers = Some(had);
                    self.reach.recent.put(&object);
                    return self.set_late(&object, headers);
                }
                Err(error) => error,
            };
            doubted |= error.kind() == ErrorKind::Uncertain;
            if doubted && let Some(mut object) = self.found_there(raw, body)? {
                object.headers = object.headers.or_else(|| Some(headers.clone()));
                self.reach.recent.put(&object);
                return self.set_late(&object, headers);
            }
            match waits.next().filter(|_| error.kind() == ErrorKind::Uncertain) {
                Some(wait) => self.reach.pause(wait)?,
                None => {
                    // Somebody changed it, perhaps: what is remembered of it is no longer so.
                    self.reach.recent.lost(raw);
                    return Err(Reach::about(raw, error));
                }
            }
        }
    }

    /// One try of a put: the object, and the headers that it was given.
    fn put_once(
        &self,
        raw: &str,
        body: &Payload,
        headers: &Headers,
        condition: &Condition,
    ) -> Result<(Object, Headers)> {
        if let Some(sent) = self.reach.ahead.finish(&self.reach, raw, body, condition) {
            return sent;
        }
        if let Some(object) = continuing::put(&self.reach, raw, body, headers, condition)? {
            return Ok((object, headers.clone()));
        }
        let brought;
        let body = match body.beginning() {
            // Not read where requests are waited for: it takes requests itself.
            Some(_) => {
                brought = body.brought_down()?;
                &brought
            }
            None => body,
        };
        let object = if body.len() <= upload::WHOLE_MOST {
            let bytes = upload::piece(body, 0, body.len())?;
            // A long body may take a little longer than other requests.
            self.reach.wait_long(2, self.reach.bucket.put(raw, Body::Bytes(bytes), headers, condition))?
        } else {
            let source = Source { body, from: 0, there: None };
            upload::in_parts(&self.reach, raw, &source, headers, condition)?
        };
        Ok((object, headers.clone()))
    }

    /// What was sent while it was written has the headers of then; those that came since are set now.
    fn set_late(&self, object: &Object, headers: &Headers) -> Result<()> {
        let differs = match &object.headers {
            Some(had) if self.reach.style.is_some() => had != headers,
            // A content type that nobody named is the service's.
            Some(had) => headers.content_type.is_some() && had.content_type != headers.content_type,
            None => self.reach.style.is_some(),
        };
        if !differs {
            return Ok(());
        }
        let raw = &object.key;
        self.reach.wait_long(LONG_WORK, self.copy_one(object, raw, Some(headers), Condition::Always))
    }

    /// Makes a symbolic link, a FIFO or a socket: an object whose metadata say so.
    fn make(&self, key: &Key, file_type: FileType, target: &[u8], setting: &Setting) -> Result<()> {
        let raw = self.reach.names.fitting(key)?;
        if self.is_there(key)? {
            return Err(Error::new(ErrorKind::Exists, format!("{raw:?} is there already")));
        }
        let mut headers = Headers::default();
        self.write_setting(&mut headers, setting, Holder::File(file_type))?;
        self.put_raw(&raw, &Payload::of(target)?, &headers, &Condition::Absent)
    }

    /// Sets attributes of what is there: a copy of the object onto itself, on the server. Those of a directory are its
    /// marker's, which is made where there is none.
    fn set(&self, key: &Key, directory: bool, setting: &Setting) -> Result<()> {
        let raw =
            if directory { self.reach.names.fitting_marker(key)? } else { self.reach.names.fitting(key)? };
        let found = self.reach.wait(self.look(&raw))?;
        let holder = match (&found, self.reach.style) {
            _ if directory => Holder::Directory,
            (Some(Object { headers: Some(headers), .. }), Some(style)) => {
                Holder::File(metadata::read(style, headers).attributes.file_type)
            }
            _ => Holder::File(FileType::Regular),
        };
        let Some(object) = found else {
            if !directory {
                return Err(Error::new(ErrorKind::NotFound, format!("there is no {raw:?}")));
            }
            let mut headers = Headers::default();
            self.write_setting(&mut headers, setting, holder)?;
            return self.put_raw(&raw, &Payload::new(), &headers, &Condition::Absent);
        };
        let mut headers = object.headers.clone().unwrap_or_default();
        self.write_setting(&mut headers, setting, holder)?;
        if object.headers.as_ref() == Some(&headers) {
            return Ok(());
        }
        self.reach.wait_long(LONG_WORK, self.copy_one(&object, &raw, Some(&headers), Condition::Always))
    }

    /// The object at `raw`, where its bytes are those of `body`. What somebody replaces while it is looked at has others.
    fn found_there(&self, raw: &str, body: &Payload) -> Result<Option<Object>> {
        let Some(object) = self.reach.wait(self.reach.bucket.head(raw))? else { return Ok(None) };
        if object.size != body.len() {
            return Ok(None);
        }
        let opened = Opened::of(&self.reach, &object)?;
        // What it begins with was there before.
        let from = body.beginning().map_or(0, |(_, length)| length);
        match opened.has_bytes(from, &mut |at, size| upload::piece(body, at, size)) {
            Ok(same) => Ok(same.then_some(object)),
            Err(error) if error.kind() == ErrorKind::Stale => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, key: &Key, when: &When) -> Result<()> {
        let Some(raw) = self.reach.names.existing(key) else {
            return if matches!(when, When::Current(_)) { Err(ErrorKind::Stale.into()) } else { Ok(()) };
        };
        // Repeated where its answer was lost: what is gone stays gone, and what somebody put meanwhile is guarded by
        // the condition where there is one.
        let outcome = self.reach.wait_long(2, self.delete_object(&raw, &condition(when)));
        self.reach.recent.lost(&raw);
        outcome.map_err(|e| Reach::about(&raw, e))
    }

    fn make_marker(&self, key: &Key, setting: &Setting) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Exists, "the root is there already"));
        }
        if !self.caps.branches {
            return Err(Error::new(ErrorKind::Unsupported, "directories cannot be made without a separator"));
        }
        let raw = self.reach.names.fitting_marker(key)?;
        if self.is_there(key)? {
            return Err(Error::new(ErrorKind::Exists, format!("{raw:?} is there already")));
        }
        let mut headers = Headers::default();
        self.write_setting(&mut headers, setting, Holder::Directory)?;
        self.put_raw(&raw, &Payload::new(), &headers, &Condition::Absent)
    }

    fn remove_marker(&self, key: &Key) -> Result<()> {
        if key.is_root() {
            return Err(Error::new(ErrorKind::Invalid, "the root cannot be removed"));
        }
        let Some(prefix) = self.reach.names.below(key) else { return Ok(()) };
        if self.reach.listing_denied() {
            let sentence = format!("{prefix:?} may have something in it: listing is denied");
            return Err(Error::new(ErrorKind::Denied, sentence));
        }
        let value = self.reach.names.existing(key);
        let bucket = &self.reach.bucket;
        let (value, inside, folder) = self.reach.wait(async {
            let object = async {
                match &value {
                    Some(raw) => bucket.head(raw).await,
                    None => Ok(None),
                }
            };
            let folder = self.reach.unmet_folder_marker(key);
            futures::try_join!(object, self.first_below(&prefix, 2), folder)
        })?;
        let marker = inside.iter().find(|object| object.key == prefix);
        if value.is_some() || inside.iter().any(|object| object.key != prefix || object.size > 0) {
            return Err(Error::new(ErrorKind::NotEmpty, format!("{prefix:?} has something in it")));
        }
        for marker in marker.into_iter().chain(&folder) {
            self.remove_found(marker)?;
        }
        Ok(())
    }

    /// Removes a marker as it was found: what somebody puts there after the look may be a file.
    pub(super) fn remove_found(&self, marker: &Object) -> Result<()> {
        let (bucket, key) = (&self.reach.bucket, &marker.key);
        let filled = || Error::new(ErrorKind::NotEmpty, format!("{key:?} was put anew by somebody else"));
        let outcome = self.reach.wait_long(2, async {
            // Some servers' listings tell no versions.
            let version = match marker.known_version() {
                Some(version) => version.to_owned(),
                None => match bucket.head(key).await? {
                    Some(found) if found.size == 0 => found.version,
                    Some(_) => return Err(filled()),
                    None => return Ok(()),
                },
            };
            match self.delete_object(key, &Condition::Version(version)).await {
                Err(error) if matches!(error.kind(), ErrorKind::Stale | ErrorKind::NotFound) => {
                    if bucket.head(key).await?.is_some() { Err(filled()) } else { Ok(()) }
                }
                outcome => outcome,
            }
        });
        self.reach.recent.lost(key);
        outcome
    }

    /// Whether there is a value at `key`, or anything below it.
    fn is_there(&self, key: &Key) -> Result<bool> {
        Ok(self.stat(key)?.is_some())
    }
}

/// What a change makes or moves, whose attributes may be set with it: the key, and whether it is a directory.
fn made_by<'a>(change: &Change<'a>) -> Option<(&'a Key, bool)> {
    match change {
        Change::Put { key, .. } | Change::Make { key, .. } => Some((key, false)),
        Change::Branch { key } => Some((key, true)),
        Change::Rename { to, tree, .. } => Some((to, *tree)),
        _ => None,
    }
}

/// Whether nothing but the content type is set, which every object has.
fn is_content_type(setting: &Setting) -> bool {
    !setting.is_empty() && *setting == setting.of_xattrs(&[metadata::CONTENT_TYPE])
}

/// The headers of an object that is new.
pub(super) fn new_headers(raw: &str) -> Headers {
    Headers { content_type: metadata::content_type(raw).map(str::to_owned), ..Headers::default() }
}

/// The condition in the bucket's words.
pub(super) fn condition(when: &When) -> Condition {
    match when {
        When::Always => Condition::Always,
        When::Absent => Condition::Absent,
        When::Current(version) => Condition::Version(String::from_utf8_lossy(&version.0).into_owned()),
    }
}
