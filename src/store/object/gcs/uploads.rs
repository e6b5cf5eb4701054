//! Uploads in parts, by the XML API: the JSON API takes an upload's bytes only one after the other.
//!
//! A part's tag is its ETag and its size, `etag size`, so that what is put together is known to be as long as its parts.

use std::fmt::Write as _;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::objects::check;
use super::session::{Session, conditional};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Headers, Object};
use crate::store::object::client::{Repeat, Request};

/// How many deadlines the service may take to put parts together.
const LONG_WORK: u32 = 4;
/// What user metadata begins with.
const META: &str = "x-goog-meta-";

/// What beginning an upload answers.
#[derive(Debug, Deserialize)]
struct Begun {
    #[serde(rename = "UploadId")]
    upload: String,
}

impl Session {
    pub(super) async fn begin(&self, key: &str, headers: &Headers) -> Result<String> {
        check(key)?;
        let request = self.xml("CreateMultipartUpload", Method::POST, key).query("uploads", "");
        let request = write(request, headers)?;
        let what = request.to_string();
        let text = self.send(request).await?.text().await?;
        let begun: Begun = quick_xml::de::from_str(&text).map_err(|e| {
            Error::new(ErrorKind::Io, format!("{what}: the answer is not what Google answers: {e}"))
        })?;
        Ok(begun.upload)
    }

    pub(super) async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        let size = body.len();
        let Body::Bytes(bytes) = body;
        let request = self
            .xml("UploadPart", Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .body(bytes)
            .repeat(Repeat::Safe);
        let what = request.to_string();
        let response = self.send(request).await?;
        let etag = response
            .header("etag")
            .ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer has no ETag")))?;
        Ok(format!("{} {size}", etag.trim_matches('"')))
    }

    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        self.check_before(key, condition).await?;
        let (body, size) = manifest(parts)?;
        let mut request = self
            .xml("CompleteMultipartUpload", Method::POST, key)
            .timeout(self.client().timeout() * LONG_WORK)
            .query("uploadId", upload)
            .header("content-type", "application/xml")?
            .body(body.into());
        request = match condition {
            Condition::Always => request,
            Condition::Absent => request.header("x-goog-if-generation-match", "0")?,
            Condition::Version(version) => request.header("x-goog-if-generation-match", version)?,
        };
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        let date = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
        match response.header("x-goog-generation") {
            Some(generation) => Ok(Object {
                key: key.to_owned(),
                size,
                modified: date.unwrap_or_else(crate::env::now),
                version: generation.to_owned(),
                headers: Some(headers.clone()),
                class: None,
                archived: false,
            }),
            None => {
                let gone = || Error::new(ErrorKind::Stale, format!("{key:?}: somebody removed it at once"));
                self.head(key).await?.ok_or_else(gone)
            }
        }
    }

    /// Google does not say that the end of such an upload knows conditions, so they are looked at before it as well.
    async fn check_before(&self, key: &str, condition: &Condition) -> Result<()> {
        if *condition == Condition::Always {
            return Ok(());
        }
        let found = self.head(key).await?.map(|object| object.version);
        match (condition, found) {
            (Condition::Absent, Some(_)) => {
                Err(Error::new(ErrorKind::Exists, format!("{}: it is there already", self.subject(key))))
            }
            (Condition::Version(version), found) if found.as_ref() != Some(version) => Err(Error::new(
                ErrorKind::Stale,
                format!("{}: it has another generation now", self.subject(key)),
            )),
            _ => Ok(()),
        }
    }

    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<()> {
        let request = self.xml("AbortMultipartUpload", Method::DELETE, key).query("uploadId", upload);
        match self.send(request.repeat(Repeat::Safe)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

fn write(mut request: Request, headers: &Headers) -> Result<Request> {
    if let Some(content_type) = &headers.content_type {
        request = request.header("content-type", content_type)?;
    }
    for (name, value) in &headers.http {
        request = request.header(name, value)?;
    }
    for (name, value) in &headers.metadata {
        request = request.header(&format!("{META}{name}"), value)?;
    }
    Ok(request)
}

/// The list of the parts, and the bytes in all of them.
fn manifest(parts: &[String]) -> Result<(String, u64)> {
    let wrong =
        |part: &str| Error::new(ErrorKind::Invalid, format!("the part's tag {part:?} is none of Google's"));
    let mut body = String::from("<CompleteMultipartUpload>");
    let mut size = 0;
    for (number, part) in (1..).zip(parts) {
        let (etag, own) = part.split_once(' ').ok_or_else(|| wrong(part))?;
        size += own.parse::<u64>().map_err(|_| wrong(part))?;
        let etag = quick_xml::escape::escape(etag);
        // Writing to a String cannot fail.
        let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>");
    }
    body.push_str("</CompleteMultipartUpload>");
    Ok((body, size))
}
