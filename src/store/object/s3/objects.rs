//! Requests about one object: HeadObject, GetObject, PutObject, DeleteObject, CopyObject.

use http::header::{IF_MATCH, IF_NONE_MATCH, RANGE};
use http::{HeaderValue, Method, StatusCode};

use super::session::{LONG_WORK, Session};
use super::{headers, xml};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Copy, Fetched, Headers, Object};
use crate::store::object::client::{Failure, Refusal, Request, Response, encode_path};
use crate::store::object::fetching;

impl Session {
    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>> {
        let request = self.request("HeadObject", Method::HEAD, key);
        let what = request.to_string();
        match self.send(request).await {
            Ok(response) => headers::object(&what, key, &response.headers).map(Some),
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
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
        if start >= end {
            return fetching::nothing(self.head(key).await?, version);
        }
        let request = self.request("GetObject", Method::GET, key);
        let what = request.to_string();
        let ranged = request.header(RANGE.as_str(), &format!("bytes={start}-{}", end - 1))?;
        let sent = match version {
            None => self.send(ranged).await,
            Some(version) => {
                let build = |tag: &str| ranged.clone().header(IF_MATCH.as_str(), tag);
                self.send_tagged(key, version, build).await
            }
        };
        let response = sent.map_err(|failure| stale_read(failure, version.is_some()))?;
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
        let request = headers::write(self.request("PutObject", Method::PUT, key).body(bytes), headers)?;
        let what = request.to_string();
        let response = self.send_conditional(key, request, condition).await?;
        Ok(Object {
            key: key.to_owned(),
            size,
            modified: headers::date(&response.headers),
            version: headers::etag(&what, &response.headers)?,
            headers: Some(headers.clone()),
            class: None,
            archived: false,
        })
    }

    pub(super) async fn delete(&self, key: &str, condition: &Condition) -> Result<()> {
        let request = self.request("DeleteObject", Method::DELETE, key);
        let sent = match condition {
            Condition::Always => self.send(request).await,
            Condition::Version(version) => {
                let build = |tag: &str| request.clone().header(IF_MATCH.as_str(), tag);
                self.send_tagged(key, version, build).await
            }
            Condition::Absent => return Err(ErrorKind::Invalid.into()),
        };
        match sent {
            Ok(_) => Ok(()),
            Err(failure) if is_gone(&failure) && *condition == Condition::Always => Ok(()),
            Err(failure) => Err(conditional(failure, condition)),
        }
    }

    pub(super) async fn copy(&self, copy: &Copy<'_>) -> Result<Object> {
        let mut request = self
            .request("CopyObject", Method::PUT, copy.to)
            .timeout(self.client().timeout() * LONG_WORK)
            .header("x-amz-copy-source", &self.source(copy.from))?;
        let carried = match copy.headers {
            Some(given) => {
                request = request.header("x-amz-metadata-directive", "REPLACE")?;
                request = headers::write(request, given)?;
                given.clone()
            }
            None => {
                let source = self.head(copy.from).await?.ok_or_else(|| self.missing(copy.from))?;
                let own = source.headers.unwrap_or_default();
                request = headers::write_kept(request, &own)?;
                own
            }
        };
        let what = request.to_string();
        if copy.condition == Condition::Absent {
            request.headers.insert(IF_NONE_MATCH, headers::star());
        }
        let sent = self.send_copy(copy, request).await;
        let response = sent.map_err(|failure| refused_copy(failure, copy))?;
        let (status, head) = (response.status, response.headers.clone());
        let text = response.text().await.map_err(|error| lost(&error))?;
        let done = finished(&what, status, &head, &text)?;
        if let Some(version) = copy.source_version {
            // Of an object that was put at once the ETag is the content's.
            if headers::version(&done.etag) != version {
                self.still_has(copy.from, version).await?;
            }
        }
        Ok(Object {
            key: copy.to.to_owned(),
            size: 0,
            modified: done.modified.as_deref().map_or_else(|| headers::date(&head), xml::time),
            version: headers::version(&done.etag),
            headers: Some(carried),
            class: None,
            archived: false,
        })
    }

    /// Sends a copy with the conditions that name versions.
    async fn send_copy(&self, copy: &Copy<'_>, request: Request) -> Result<Response, Failure> {
        let target = match &copy.condition {
            Condition::Version(version) => Some(version.as_str()),
            Condition::Always | Condition::Absent => None,
        };
        let (probed, version) = match (copy.source_version, target) {
            (Some(version), _) => (copy.from, version),
            (None, Some(version)) => (copy.to, version),
            (None, None) => return self.send(request).await,
        };
        let build = |tag: &str| {
            let mut request = request.clone();
            if copy.source_version.is_some() {
                request = self.of_version(request, tag)?;
            }
            if let Some(target) = target {
                let tag = if tag.starts_with('"') { format!("\"{target}\"") } else { target.to_owned() };
                request = request.header(IF_MATCH.as_str(), &tag)?;
            }
            Ok(request)
        };
        self.send_tagged(probed, version, build).await
    }

    /// Sends a request that makes an object, under a condition.
    pub(super) async fn send_conditional(
        &self,
        key: &str,
        mut request: Request,
        condition: &Condition,
    ) -> Result<Response> {
        let sent = match condition {
            Condition::Always => self.send(request).await,
            Condition::Absent => {
                request.headers.insert(IF_NONE_MATCH, headers::star());
                self.send(request).await
            }
            Condition::Version(version) => {
                let build = |tag: &str| request.clone().header(IF_MATCH.as_str(), tag);
                self.send_tagged(key, version, build).await
            }
        };
        sent.map_err(|failure| conditional(failure, condition))
    }

    /// Makes a copy one of the source's version alone. Ceph calls the header otherwise than Amazon.
    pub(super) fn of_version(&self, request: Request, tag: &str) -> Result<Request> {
        let request = request.header("x-amz-copy-source-if-match", tag)?;
        if self.is_amazon() { Ok(request) } else { request.header("x-amz-copy-if-match", tag) }
    }

    /// Whether what was copied was this version of `key`: some servers do not look. What still has it had it.
    ///
    /// # Errors
    /// `Stale`: it was another one, perhaps.
    pub(super) async fn still_has(&self, key: &str, version: &str) -> Result<()> {
        if self.is_amazon() || self.head(key).await?.is_some_and(|object| object.version == version) {
            return Ok(());
        }
        let sentence = format!("{}: it was changed while it was copied", self.subject(key));
        Err(Error::new(ErrorKind::Stale, sentence))
    }

    /// An object of this bucket as the source of a copy.
    pub(super) fn source(&self, key: &str) -> String {
        format!("/{}/{}", self.bucket(), encode_path(key))
    }

    pub(super) fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("{}: there is no such object", self.subject(key)))
    }
}

fn is_gone(failure: &Failure) -> bool {
    failure.status() == Some(StatusCode::NOT_FOUND) && failure.code() != "NoSuchBucket"
}

fn kind(kind: ErrorKind, failure: Failure) -> Error {
    Error::new(kind, Error::from(failure).to_string())
}

fn stale_read(failure: Failure, named: bool) -> Error {
    match failure.status() {
        Some(StatusCode::PRECONDITION_FAILED) => kind(ErrorKind::Stale, failure),
        Some(StatusCode::NOT_FOUND) if named && is_gone(&failure) => kind(ErrorKind::Stale, failure),
        _ => failure.into(),
    }
}

/// What a refusal means under a condition. 409 is a change by somebody else at the same moment.
pub(super) fn conditional(failure: Failure, condition: &Condition) -> Error {
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED)
        || failure.code() == "ConditionalRequestConflict";
    match condition {
        Condition::Absent if failed => kind(ErrorKind::Exists, failure),
        Condition::Version(_) if failed || is_gone(&failure) => kind(ErrorKind::Stale, failure),
        _ => failure.into(),
    }
}

/// 412 of a copy is about the source or about the target; Amazon says about which.
fn refused_copy(failure: Failure, copy: &Copy<'_>) -> Error {
    let about_source = failure
        .refusal()
        .and_then(|refusal| xml::condition(&refusal.body))
        .map_or(copy.source_version.is_some() && copy.condition != Condition::Absent, |named| {
            named.to_ascii_lowercase().contains("copy-source")
        });
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
    if failed && about_source {
        kind(ErrorKind::Stale, failure)
    } else if is_gone(&failure) && copy.source_version.is_none() && copy.condition == Condition::Always {
        failure.into()
    } else {
        let over =
            failure.code() == "InvalidRequest" && failure.to_string().contains("maximum allowable size");
        if over { kind(ErrorKind::TooBig, failure) } else { conditional(failure, &copy.condition) }
    }
}

/// The end of long work, which can be an error although the status was success.
pub(super) fn finished(
    what: &str,
    status: StatusCode,
    head: &http::HeaderMap<HeaderValue>,
    text: &str,
) -> Result<xml::Done> {
    if !xml::is_error(text) {
        return xml::parse(what, text).map_err(|error| lost(&error));
    }
    let refusal = Refusal::within(what, status, head.clone(), text);
    let error_kind = match refusal.code.as_str() {
        "PreconditionFailed" => ErrorKind::Stale,
        "NoSuchKey" | "NoSuchUpload" => ErrorKind::NotFound,
        "AccessDenied" => ErrorKind::Denied,
        "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall" => ErrorKind::Invalid,
        _ => ErrorKind::Uncertain,
    };
    Err(Error::new(error_kind, refusal.to_string()))
}

/// A change whose answer broke off: it may have been made.
pub(super) fn lost(error: &Error) -> Error {
    Error::new(ErrorKind::Uncertain, error.to_string())
}
