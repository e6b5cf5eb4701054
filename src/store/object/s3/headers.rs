//! What an object carries besides its bytes, as S3's headers.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

use super::words;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Headers, Object};
use crate::store::object::client::Request;

/// What user metadata begins with.
const META: &str = "x-amz-meta-";
/// The class that an answer does not name.
const STANDARD: &str = "STANDARD";
/// How an object is kept: what a copy would lose, and what is sent again as it came.
const KEPT: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// A header as text; some servers send UTF-8 where S3 sends encoded words.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// What a response's head says that an object carries.
pub(super) fn read(from: &HeaderMap) -> Headers {
    let mut headers =
        Headers { content_type: text(from, "content-type").map(str::to_owned), ..Headers::default() };
    for name in KEPT {
        if let Some(value) = text(from, name) {
            headers.http.insert((*name).to_owned(), value.to_owned());
        }
    }
    // What the server put on for the way, not what the object has.
    headers.http.retain(|name, value| !(name == "content-encoding" && value == "aws-chunked"));
    for name in from.keys() {
        if let (Some(short), Some(value)) = (name.as_str().strip_prefix(META), text(from, name.as_str())) {
            headers.metadata.insert(short.to_owned(), words::decode(value));
        }
    }
    headers
}

/// Puts them on a request.
///
/// # Errors
/// `Invalid`: a name or a value that no header can hold.
pub(super) fn write(mut request: Request, headers: &Headers) -> Result<Request> {
    if let Some(content_type) = &headers.content_type {
        request = request.header("content-type", content_type)?;
    }
    for (name, value) in &headers.http {
        request = request.header(name, value)?;
    }
    for (name, value) in &headers.metadata {
        request = request.header(&format!("{META}{name}"), &words::encode(value))?;
    }
    Ok(request)
}

/// Puts on a copy what it would lose although it takes all metadata along: the class, and how it is encrypted.
pub(super) fn write_kept(mut request: Request, headers: &Headers) -> Result<Request> {
    for (name, value) in headers.http.iter().filter(|(name, _)| name.starts_with("x-amz-")) {
        request = request.header(name, value)?;
    }
    Ok(request)
}

/// An ETag as a version: without its quotes, which not all servers put on everywhere.
pub(super) fn version(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// The version that a response names.
///
/// # Errors
/// `Io`: none.
pub(super) fn etag(what: &str, headers: &HeaderMap) -> Result<String> {
    let found = text(headers, "etag").map(version).filter(|version| !version.is_empty());
    found.ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer has no ETag")))
}

/// When the server answered, by its clock: within a second, when it put what it answers about.
pub(super) fn date(headers: &HeaderMap) -> SystemTime {
    text(headers, "date").and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(env::now)
}

/// An object as HeadObject tells it.
///
/// # Errors
/// `Io`: its length or its version is not told.
pub(super) fn object(what: &str, key: &str, headers: &HeaderMap) -> Result<Object> {
    let size = text(headers, "content-length")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer has no length")))?;
    let modified = text(headers, "last-modified").and_then(|date| httpdate::parse_http_date(date).ok());
    let class = text(headers, "x-amz-storage-class").unwrap_or(STANDARD);
    let away = text(headers, "x-amz-archive-status").is_some() || is_archive(class);
    let restored =
        text(headers, "x-amz-restore").is_some_and(|state| state.contains("ongoing-request=\"false\""));
    Ok(Object {
        key: key.to_owned(),
        size,
        modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
        version: etag(what, headers)?,
        headers: Some(read(headers)),
        class: Some(class.to_owned()),
        archived: away && !restored,
    })
}

/// Whether objects of a class must be restored before they can be read.
pub(super) fn is_archive(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

/// A header's value that is known to be one.
pub(super) fn star() -> HeaderValue {
    HeaderValue::from_static("*")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn headers_come_back_as_they_were_put() {
        let mut headers = Headers { content_type: Some("text/plain".into()), ..Headers::default() };
        headers.http.insert("cache-control".into(), "no-store".into());
        headers.http.insert("x-amz-storage-class".into(), "STANDARD_IA".into());
        headers.metadata.insert("mtime".into(), "1.5".into());
        headers.metadata.insert("name".into(), "ü😀".into());
        let request = write(Request::new("PutObject", Method::PUT, "", "/".into()), &headers).unwrap();
        assert_eq!(request.headers["x-amz-meta-mtime"], "1.5");
        assert_eq!(read(&request.headers), headers);
        headers.metadata.insert("no name".into(), String::new());
        assert!(write(Request::new("PutObject", Method::PUT, "", "/".into()), &headers).is_err());
    }

    #[test]
    fn an_archived_object_is_told_until_it_is_restored() {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", HeaderValue::from_static("3"));
        headers.insert("etag", HeaderValue::from_static("\"e\""));
        let tell = |headers: &HeaderMap| object("head", "k", headers).unwrap();
        assert!(!tell(&headers).archived);
        headers.insert("x-amz-storage-class", HeaderValue::from_static("GLACIER"));
        assert!(tell(&headers).archived);
        headers.insert("x-amz-restore", HeaderValue::from_static("ongoing-request=\"true\""));
        assert!(tell(&headers).archived);
        headers.insert(
            "x-amz-restore",
            HeaderValue::from_static("ongoing-request=\"false\", expiry-date=\"x\""),
        );
        assert!(!tell(&headers).archived);
        assert_eq!(tell(&headers).version, "e");
    }
}
