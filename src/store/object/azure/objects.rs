//! Requests about one blob: its properties, its bytes, Put Blob, Delete Blob.

use http::{Method, StatusCode};

use super::headers;
use super::session::{Session, is_possible};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Fetched, Headers, Object};
use crate::store::object::client::{Failure, Response};
use crate::store::object::fetching;

impl Session {
    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>> {
        if !is_possible(key) {
            return Ok(None);
        }
        let request = self.request("GetBlobProperties", Method::HEAD, key)?;
        let what = request.to_string();
        match self.send(request).await {
            Ok(response) => headers::object(&what, key, &response.headers).map(Some),
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
            .request("GetBlob", Method::GET, key)?
            .header("x-ms-range", &format!("bytes={start}-{}", end - 1))?;
        if let Some(version) = version {
            request = headers::on_condition(request, &Condition::Version(version.to_owned()))?;
        }
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| match version {
            Some(version) => conditional(failure, &Condition::Version(version.to_owned())),
            None => failure.into(),
        })?;
        let found = headers::etag(&what, &response.headers)?;
        fetching::fetched(&what, response, start..end, found, version)
    }

    pub(super) async fn put(
        &self,
        key: &str,
        body: Body,
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let size = body.len();
        let Body::Bytes(bytes) = body;
        let request = self.request("PutBlob", Method::PUT, key)?.header("x-ms-blob-type", "BlockBlob")?;
        let request = headers::write(request, headers)?.body(bytes);
        let request = headers::on_condition(request, condition)?;
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        made(&what, key, size, headers, &response)
    }

    pub(super) async fn delete(&self, key: &str, condition: &Condition) -> Result<()> {
        if *condition == Condition::Absent {
            return Err(ErrorKind::Invalid.into());
        }
        if !is_possible(key) && *condition == Condition::Always {
            return Ok(());
        }
        let request = headers::on_condition(self.request("DeleteBlob", Method::DELETE, key)?, condition)?;
        match self.send(request).await {
            Ok(_) => Ok(()),
            Err(failure) if is_gone(&failure) && *condition == Condition::Always => Ok(()),
            Err(failure) => Err(conditional(failure, condition)),
        }
    }
}

/// A blob as the answer to what made it tells it.
pub(super) fn made(what: &str, key: &str, size: u64, given: &Headers, response: &Response) -> Result<Object> {
    Ok(Object {
        key: key.to_owned(),
        size,
        modified: headers::modified(&response.headers),
        version: headers::etag(what, &response.headers)?,
        headers: Some(given.clone()),
        class: None,
        archived: false,
    })
}

/// Whether there is no such blob; that there is no such container is another matter.
pub(super) fn is_gone(failure: &Failure) -> bool {
    failure.status() == Some(StatusCode::NOT_FOUND)
        && !matches!(failure.code(), "ContainerNotFound" | "ResourceNotFound" | "AccountNotFound")
}

/// What a refusal means under a condition.
pub(super) fn conditional(failure: Failure, condition: &Condition) -> Error {
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
    let exists = failed || failure.code() == "BlobAlreadyExists";
    let kind = match condition {
        Condition::Absent if exists => ErrorKind::Exists,
        Condition::Version(_) if failed || is_gone(&failure) => ErrorKind::Stale,
        _ => return failure.into(),
    };
    Error::new(kind, Error::from(failure).to_string())
}
