//! What a blob carries besides its bytes, as Azure's headers.

use std::time::SystemTime;

use http::HeaderMap;

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Condition, Headers, Object};
use crate::store::object::client::Request;

/// What user metadata begins with.
const META: &str = "x-ms-meta-";
/// What a blob has of HTTP: set with `x-ms-blob-` before it.
pub(super) const KEPT: [&str; 4] =
    ["cache-control", "content-disposition", "content-encoding", "content-language"];
/// The tier, where somebody chose it for this blob.
pub(super) const TIER: &str = "x-ms-access-tier";
/// The tier whose blobs must be brought back before they can be read.
const ARCHIVE: &str = "Archive";

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// What a response's head says that a blob carries.
fn read(from: &HeaderMap) -> Headers {
    let mut headers =
        Headers { content_type: text(from, "content-type").map(str::to_owned), ..Headers::default() };
    for name in KEPT {
        if let Some(value) = text(from, name) {
            headers.http.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tier) = text(from, TIER)
        && text(from, "x-ms-access-tier-inferred") != Some("true")
    {
        headers.http.insert(TIER.to_owned(), tier.to_owned());
    }
    for name in from.keys() {
        if let (Some(short), Some(value)) = (name.as_str().strip_prefix(META), text(from, name.as_str())) {
            headers.metadata.insert(short.to_owned(), value.to_owned());
        }
    }
    headers
}

/// Puts them on a request that makes a blob.
///
/// # Errors
/// `Invalid`: a name or a value that no header can hold.
pub(super) fn write(request: Request, headers: &Headers) -> Result<Request> {
    let request = write_metadata(write_content(request, headers)?, headers)?;
    match headers.http.get(TIER) {
        // A blob that is put cannot be away at once.
        Some(tier) if tier != ARCHIVE => request.header(TIER, tier),
        _ => Ok(request),
    }
}

/// The content headers; those that are not given are none.
pub(super) fn write_content(mut request: Request, headers: &Headers) -> Result<Request> {
    if let Some(content_type) = &headers.content_type {
        request = request.header("x-ms-blob-content-type", content_type)?;
    }
    for name in KEPT {
        if let Some(value) = headers.http.get(name) {
            request = request.header(&format!("x-ms-blob-{name}"), value)?;
        }
    }
    Ok(request)
}

pub(super) fn write_metadata(mut request: Request, headers: &Headers) -> Result<Request> {
    for (name, value) in &headers.metadata {
        request = request.header(&format!("{META}{name}"), value)?;
    }
    Ok(request)
}

/// An ETag as a version: without its quotes, which listings do not have.
pub(super) fn version(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

/// The version that a response names.
///
/// # Errors
/// `Io`: none.
pub(super) fn etag(what: &str, headers: &HeaderMap) -> Result<String> {
    let found = text(headers, "etag").map(version).filter(|version| !version.is_empty());
    found.ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer has no ETag")))
}

/// Asks for a condition on what the request changes.
///
/// # Errors
/// `Invalid`: a version that is none.
pub(super) fn on_condition(request: Request, condition: &Condition) -> Result<Request> {
    match condition {
        Condition::Always => Ok(request),
        Condition::Absent => request.header("if-none-match", "*"),
        Condition::Version(version) => request.header("if-match", &format!("\"{version}\"")),
    }
}

/// When a blob was put, in the answer to its put: the service's clock.
pub(super) fn modified(headers: &HeaderMap) -> SystemTime {
    let date = text(headers, "last-modified").or_else(|| text(headers, "date"));
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(env::now)
}

/// A blob as its properties tell it.
///
/// # Errors
/// `Io`: its length or its version is not told.
pub(super) fn object(what: &str, key: &str, headers: &HeaderMap) -> Result<Object> {
    let size = text(headers, "content-length")
        .and_then(|length| length.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::Io, format!("{what}: the answer has no length")))?;
    let class = text(headers, TIER).map(str::to_owned);
    Ok(Object {
        key: key.to_owned(),
        size,
        modified: modified(headers),
        version: etag(what, headers)?,
        headers: Some(read(headers)),
        archived: is_archived(class.as_deref()),
        class,
    })
}

pub(super) fn is_archived(tier: Option<&str>) -> bool {
    tier == Some(ARCHIVE)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;

    #[test]
    fn headers_are_written_under_the_names_that_azure_takes() {
        let mut headers = Headers { content_type: Some("text/plain".into()), ..Headers::default() };
        headers.http.insert("cache-control".into(), "no-store".into());
        headers.http.insert(TIER.into(), "Cool".into());
        headers.metadata.insert("mtime".into(), "1.5".into());
        let request = write(Request::new("Put", Method::PUT, "", "/".into()), &headers).unwrap();
        assert_eq!(request.headers["x-ms-blob-content-type"], "text/plain");
        assert_eq!(request.headers["x-ms-blob-cache-control"], "no-store");
        assert_eq!(request.headers["x-ms-meta-mtime"], "1.5");
        assert_eq!(request.headers[TIER], "Cool");
        headers.http.insert(TIER.into(), ARCHIVE.into());
        let request = write(Request::new("Put", Method::PUT, "", "/".into()), &headers).unwrap();
        assert!(!request.headers.contains_key(TIER));
    }

    #[test]
    fn properties_are_read() {
        let mut found = HeaderMap::new();
        for (name, value) in [
            ("content-length", "3"),
            ("etag", "\"0x8D\""),
            ("last-modified", "Fri, 03 Jan 2025 10:00:00 GMT"),
            ("content-type", "text/plain"),
            (TIER, ARCHIVE),
            ("x-ms-meta-mode", "644"),
        ] {
            found.insert(name, HeaderValue::from_static(value));
        }
        let object = object("head", "k", &found).unwrap();
        assert_eq!((object.size, object.version.as_str(), object.archived), (3, "0x8D", true));
        assert_eq!(object.headers.unwrap().metadata["mode"], "644");
    }
}
