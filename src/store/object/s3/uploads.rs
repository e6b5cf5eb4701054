//! Uploads in parts.
//!
//! A part's tag is its ETag and its size, `etag size`, so that what is put together is known to be as long as its parts.

use std::fmt::Write as _;

use http::{Method, StatusCode};

use super::objects::{conditional, finished, lost};
use super::session::{LONG_WORK, Session, repeatable};
use super::{headers, xml};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Headers, Object, Range};

impl Session {
    pub(super) async fn begin(&self, key: &str, headers: &Headers) -> Result<String> {
        let request = self.request("CreateMultipartUpload", Method::POST, key).query("uploads", "");
        let request = headers::write(request, headers)?;
        let what = request.to_string();
        let text = self.send(request).await?.text().await.map_err(|error| lost(&error))?;
        let begun: xml::Begun = xml::parse(&what, &text).map_err(|error| lost(&error))?;
        Ok(begun.upload)
    }

    pub(super) async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        let size = body.len();
        let Body::Bytes(bytes) = body;
        let request = self
            .request("UploadPart", Method::PUT, key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .body(bytes);
        let what = request.to_string();
        let response = self.send(repeatable(request)).await?;
        Ok(Tag { etag: headers::etag(&what, &response.headers)?, size }.write())
    }

    pub(super) async fn copy_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        range: &Range<'_>,
    ) -> Result<String> {
        let request = self
            .request("UploadPartCopy", Method::PUT, key)
            .timeout(self.client().timeout() * LONG_WORK)
            .query("partNumber", number.to_string())
            .query("uploadId", upload)
            .header("x-amz-copy-source", &self.source(range.key))?
            .header(
                "x-amz-copy-source-range",
                &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
            )?;
        let request = repeatable(request);
        let what = request.to_string();
        let build = |tag: &str| self.of_version(request.clone(), tag);
        let sent = self.send_tagged(range.key, range.version, build).await;
        let response = sent.map_err(|failure| match failure.code() {
            "NoSuchUpload" => failure.into(),
            _ => conditional(failure, &Condition::Version(range.version.to_owned())),
        })?;
        let (status, head) = (response.status, response.headers.clone());
        let text = response.text().await.map_err(|error| lost(&error))?;
        let done = finished(&what, status, &head, &text)?;
        self.still_has(range.key, range.version).await?;
        Ok(Tag { etag: headers::version(&done.etag), size: range.end - range.start }.write())
    }

    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
        condition: &Condition,
    ) -> Result<Object> {
        let (body, size) = manifest(parts)?;
        let request = self
            .request("CompleteMultipartUpload", Method::POST, key)
            .timeout(self.client().timeout() * LONG_WORK)
            .query("uploadId", upload)
            .header("content-type", "application/xml")?
            .body(body.into());
        let what = request.to_string();
        let response = self.send_conditional(key, request, condition).await?;
        let (status, head) = (response.status, response.headers.clone());
        let text = response.text().await.map_err(|error| lost(&error))?;
        let done =
            finished(&what, status, &head, &text).map_err(|error| match (error.kind(), condition) {
                (ErrorKind::Stale, Condition::Absent) => Error::new(ErrorKind::Exists, error.to_string()),
                _ => error,
            })?;
        let version = headers::version(&done.etag);
        if version.is_empty() {
            return self.completed(key, size).await;
        }
        Ok(Object {
            key: key.to_owned(),
            size,
            modified: headers::date(&head),
            version,
            headers: None,
            class: None,
            archived: false,
        })
    }

    /// What was put together just now, asked for: Ceph does not say what version it is.
    async fn completed(&self, key: &str, size: u64) -> Result<Object> {
        let found = self.head(key).await.map_err(|error| lost(&error))?;
        found.filter(|object| object.size == size).ok_or_else(|| {
            let sentence = format!("{}: it was changed as soon as it was put together", self.subject(key));
            Error::new(ErrorKind::Uncertain, sentence)
        })
    }

    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<()> {
        let request = self.request("AbortMultipartUpload", Method::DELETE, key).query("uploadId", upload);
        match self.send(repeatable(request)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

struct Tag {
    etag: String,
    size: u64,
}

impl Tag {
    fn write(&self) -> String {
        format!("{} {}", self.etag, self.size)
    }

    fn read(text: &str) -> Option<Tag> {
        let (etag, size) = text.rsplit_once(' ')?;
        Some(Tag { etag: etag.to_owned(), size: size.parse().ok()? })
    }
}

/// The list of the parts, and the bytes in all of them.
fn manifest(parts: &[String]) -> Result<(String, u64)> {
    let mut body =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    let mut size = 0;
    for (number, part) in (1..).zip(parts) {
        let tag = Tag::read(part).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("the part's tag {part:?} is none of S3's"))
        })?;
        size += tag.size;
        let etag = xml::escape(&tag.etag);
        // Writing to a String cannot fail.
        let _ = write!(body, "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>");
    }
    body.push_str("</CompleteMultipartUpload>");
    Ok((body, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_listed_in_order_with_their_size_summed() {
        let (body, size) = manifest(&["a1 5242880".to_owned(), "b2 7".to_owned()]).unwrap();
        assert_eq!(size, 5_242_887);
        assert!(body.contains("<PartNumber>2</PartNumber><ETag>&quot;b2&quot;</ETag>"), "{body}");
        assert!(manifest(&["a1".to_owned()]).is_err());
    }
}
