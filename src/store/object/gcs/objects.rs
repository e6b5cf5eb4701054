//! Requests about one object: its metadata, its bytes, uploads of small ones, deletes.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::{Bytes, BytesMut};
use http::Method;

use super::resource::{self, FIELDS, Resource};
use super::session::{Session, conditional, is_gone, on_condition};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Fetched, Headers, Object};
use crate::store::object::client::{Request, Response};
use crate::store::object::fetching;

/// What Google takes for bytes of which nobody says what they are.
const UNKNOWN_TYPE: &str = "application/octet-stream";

impl Session {
    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>> {
        self.find(key, None).await?.map(Resource::object).transpose()
    }

    /// The current generation, or the one that is named.
    pub(super) async fn find(&self, key: &str, generation: Option<&str>) -> Result<Option<Resource>> {
        if !is_possible(key) {
            return Ok(None);
        }
        let mut request = self.request("GetObjectMetadata", Method::GET, key, "").query("fields", FIELDS);
        if let Some(generation) = generation {
            request = request.query("generation", generation);
        }
        let what = request.to_string();
        match self.send(request).await {
            Ok(response) => resource::parse(&what, &response.text().await?).map(Some),
            Err(failure) if is_gone(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    pub(super) async fn get(
        &self,
        key: &str,
        start: u64,
        end: u64,
        version: Option<&str>,
    ) -> Result<Fetched> {
        if start >= end || !is_possible(key) {
            return fetching::nothing(self.head(key).await?, version);
        }
        let mut request = self
            .request("GetObject", Method::GET, key, "")
            .query("alt", "media")
            .header("range", &format!("bytes={start}-{}", end - 1))?
            // Otherwise Google unpacks what was stored packed, and its bytes are not those of the object.
            .header("accept-encoding", "gzip")?;
        if let Some(version) = version {
            request = request.query("generation", version);
        }
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| match version {
            Some(version) => conditional(failure, &Condition::Version(version.to_owned())),
            None => failure.into(),
        })?;
        let found = response.header("x-goog-generation").map(str::to_owned);
        let found = found
            .or_else(|| version.map(str::to_owned))
            .ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer names no generation")))?;
        fetching::fetched(&what, response, start..end, found, version)
    }

    pub(super) async fn put(
        &self,
        key: &str,
        body: Body,
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        check(key)?;
        let Body::Bytes(bytes) = body;
        let mut fields = resource::fields(headers);
        fields.insert("name".to_owned(), key.into());
        let request = self.upload("PutObject", key).query("uploadType", "multipart").query("fields", FIELDS);
        let content_type = headers.content_type.as_deref().unwrap_or(UNKNOWN_TYPE);
        let request = related(request, &serde_json::Value::from(fields), content_type, &bytes)?;
        let request = on_condition(request, condition);
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        made(&what, response).await
    }

    pub(super) async fn delete(&self, key: &str, condition: &Condition) -> Result<()> {
        if *condition == Condition::Absent {
            return Err(ErrorKind::Invalid.into());
        }
        if !is_possible(key) && *condition == Condition::Always {
            return Ok(());
        }
        let request = on_condition(self.request("DeleteObject", Method::DELETE, key, ""), condition);
        match self.send(request).await {
            Ok(_) => Ok(()),
            Err(failure) if is_gone(&failure) && *condition == Condition::Always => Ok(()),
            Err(failure) => Err(conditional(failure, condition)),
        }
    }
}

/// The object in the answer to what made it. The answer may be lost behind the deed.
pub(super) async fn made(what: &str, response: Response) -> Result<Object> {
    let lost = |error: Error| Error::new(ErrorKind::Uncertain, error.to_string());
    let text = response.text().await.map_err(lost)?;
    resource::parse::<Resource>(what, &text).map_err(lost)?.object()
}

/// One body of an object's fields and its bytes.
fn related(
    request: Request,
    fields: &serde_json::Value,
    content_type: &str,
    bytes: &[u8],
) -> Result<Request> {
    let random = || RandomState::new().build_hasher().finish();
    let boundary = format!("kvfs-{:016x}{:016x}", random(), random());
    let head = format!(
        "--{boundary}\r\ncontent-type: application/json; charset=utf-8\r\n\r\n{fields}\r\n--{boundary}\r\n\
         content-type: {content_type}\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let mut body = BytesMut::with_capacity(head.len() + bytes.len() + tail.len());
    for piece in [head.as_bytes(), bytes, tail.as_bytes()] {
        body.extend_from_slice(piece);
    }
    let whole: Bytes = body.freeze();
    Ok(request.header("content-type", &format!("multipart/related; boundary={boundary}"))?.body(whole))
}

/// Why no object can have this key.
pub(super) fn refuses(key: &str) -> Option<&'static str> {
    let refused = matches!(key, "" | "." | "..")
        || key.contains(['\r', '\n'])
        || key.starts_with(".well-known/acme-challenge/");
    refused.then_some("no object of Google's can be called so")
}

fn is_possible(key: &str) -> bool {
    refuses(key).is_none()
}

/// # Errors
/// `NameEncoding`.
pub(super) fn check(key: &str) -> Result<()> {
    match refuses(key) {
        Some(why) => Err(Error::new(ErrorKind::NameEncoding, format!("{key:?}: {why}"))),
        None => Ok(()),
    }
}
