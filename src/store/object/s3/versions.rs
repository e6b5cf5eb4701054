//! Old versions: ListObjectVersions, and reads of one version.

use std::time::SystemTime;

use async_trait::async_trait;
use http::header::RANGE;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::session::Session;
use super::xml::{self, VersionsItem};
use super::{S3, headers};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Fetched, Listing, Object};
use crate::store::object::client::Failure;
use crate::store::object::fetching;
use crate::store::object::versioned::{OldVersion, Versioned, Versions};

/// Where a listing goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    key: String,
    version: Option<String>,
    /// The version before that place, which is the newer one of what comes next where that has the same key.
    newer: Option<(String, SystemTime)>,
}

/// A page as it comes, before its keys are decoded.
#[derive(Default)]
struct Raw {
    encoded: bool,
    truncated: bool,
    next_key: Option<String>,
    next_version: Option<String>,
    /// Versions, and the marks of what was removed (`true`), the newest of a key first.
    entries: Vec<(xml::Contents, bool)>,
    prefixes: Vec<String>,
}

impl Raw {
    fn of(found: xml::ListVersionsResult) -> Raw {
        let mut raw = Raw::default();
        for item in found.items {
            match item {
                VersionsItem::EncodingType(kind) => raw.encoded = kind == "url",
                VersionsItem::IsTruncated(truncated) => raw.truncated = truncated,
                VersionsItem::NextKeyMarker(key) => raw.next_key = Some(key),
                VersionsItem::NextVersionIdMarker(version) => raw.next_version = Some(version),
                VersionsItem::Version(version) => raw.entries.push((*version, false)),
                VersionsItem::DeleteMarker(mark) => raw.entries.push((*mark, true)),
                VersionsItem::CommonPrefixes(common) => raw.prefixes.push(common.prefix),
                VersionsItem::Other => {}
            }
        }
        raw
    }
}

/// Puts the entries of a page in Amazon's order: some servers give all marks behind all versions. What came in one second
/// stays in its order, but for the current one. Keys are decoded.
fn put_in_order(entries: &mut [(xml::Contents, bool)]) {
    entries.sort_by(|(one, _), (other, _)| {
        let newest_first = xml::exact_time(&other.modified).cmp(&xml::exact_time(&one.modified));
        one.key.cmp(&other.key).then(newest_first).then(other.latest.cmp(&one.latest))
    });
}

#[async_trait]
impl Versioned for S3 {
    async fn keeps_versions(&self) -> Result<bool> {
        let session = self.session();
        let request = session.request("GetBucketVersioning", Method::GET, "").query("versioning", "");
        let what = request.to_string();
        let text = session.send(request).await?.text().await?;
        Ok(xml::parse::<xml::VersioningConfiguration>(&what, &text)?.status.is_some())
    }

    async fn list_versions(&self, listing: &Listing<'_>) -> Result<Versions> {
        let session = self.session();
        let mut request = session.listing("ListObjectVersions", listing).query("versions", "");
        let place: Place = match listing.token {
            Some(token) => {
                serde_json::from_str(token).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?
            }
            None => Place { key: listing.after.unwrap_or_default().to_owned(), ..Place::default() },
        };
        if !place.key.is_empty() {
            request = request.query("key-marker", &place.key);
        }
        if let Some(version) = &place.version {
            request = request.query("version-id-marker", version);
        }
        let what = request.to_string();
        let text = session.send(request).await?.text().await?;
        session.versions(&what, Raw::of(xml::parse(&what, &text)?), place.newer).await
    }

    async fn head_version(&self, key: &str, id: &str) -> Result<Option<Object>> {
        let request = self.session().request("HeadObject", Method::HEAD, key).query("versionId", id);
        let what = request.to_string();
        match self.session().send(request).await {
            Ok(response) => headers::object(&what, key, &response.headers).map(Some),
            Err(failure) if is_gone(&failure) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn get_version(&self, key: &str, id: &str, start: u64, end: u64) -> Result<Fetched> {
        if start >= end {
            return fetching::nothing(self.head_version(key, id).await?, None);
        }
        let request = self.session().request("GetObject", Method::GET, key).query("versionId", id);
        let what = request.to_string();
        let ranged = request.header(RANGE.as_str(), &format!("bytes={start}-{}", end - 1))?;
        let response = self.session().send(ranged).await.map_err(|failure| {
            let gone = is_gone(&failure);
            let error = Error::from(failure);
            if gone { Error::new(ErrorKind::Stale, error.to_string()) } else { error }
        })?;
        let found = headers::etag(&what, &response.headers)?;
        fetching::fetched(&what, response, start..end, found, None)
    }
}

/// A version that was removed for good, or an id that is no version's.
fn is_gone(failure: &Failure) -> bool {
    match failure.status() {
        Some(StatusCode::NOT_FOUND) => failure.code() != "NoSuchBucket",
        Some(StatusCode::BAD_REQUEST) => failure.code() == "InvalidArgument",
        Some(StatusCode::METHOD_NOT_ALLOWED) => true,
        _ => false,
    }
}

impl Session {
    async fn versions(&self, what: &str, raw: Raw, newer: Option<(String, SystemTime)>) -> Result<Versions> {
        let plain = async |text: String| {
            if raw.encoded { self.plain(what, &text).await } else { Ok(text) }
        };
        let mut newer = newer;
        let mut entries = raw.entries;
        for (entry, _) in &mut entries {
            entry.key = plain(std::mem::take(&mut entry.key)).await?;
        }
        put_in_order(&mut entries);
        let mut versions = Vec::with_capacity(entries.len());
        for (entry, removed) in entries {
            let key = entry.key;
            let since = xml::exact_time(&entry.modified);
            let until = newer.filter(|(of, _)| *of == key).map(|(_, since)| since);
            newer = Some((key.clone(), since));
            if removed {
                continue;
            }
            let archived = entry.class.as_deref().is_some_and(headers::is_archive);
            let object = Object {
                key,
                size: entry.size,
                modified: xml::time(&entry.modified),
                version: headers::version(&entry.etag),
                headers: None,
                class: entry.class,
                archived,
            };
            let id = entry.id.unwrap_or_else(|| "null".to_owned());
            versions.push(OldVersion { object, id, since, until });
        }
        let mut prefixes = Vec::with_capacity(raw.prefixes.len());
        for prefix in raw.prefixes {
            prefixes.push(plain(prefix).await?);
        }
        let next = match raw.next_key.filter(|_| raw.truncated) {
            Some(key) => {
                let version = raw.next_version.filter(|version| !version.is_empty());
                let place = Place { key: plain(key).await?, version, newer };
                Some(serde_json::to_string(&place).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?)
            }
            None if raw.truncated => {
                let sentence = format!("{what}: the server does not say where to go on");
                return Err(Error::new(ErrorKind::Io, sentence));
            }
            None => None,
        };
        Ok(Versions { versions, prefixes, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_in_its_order() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><KeyMarker/><VersionIdMarker/>
<NextKeyMarker>b%2Fc</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker><MaxKeys>3</MaxKeys>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
<DeleteMarker><Key>a</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest><LastModified>2025-01-03T10:00:05.000Z</LastModified>
<Owner><ID>x</ID></Owner></DeleteMarker>
<Version><Key>a</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest><LastModified>2025-01-03T10:00:05.000Z</LastModified>
<ETag>&quot;e2&quot;</ETag><Size>5</Size><StorageClass>STANDARD</StorageClass><Owner><ID>x</ID></Owner></Version>
<Version><Key>b</Key><VersionId>v8</VersionId><IsLatest>false</IsLatest><LastModified>2025-01-03T10:00:06Z</LastModified>
<ETag>e</ETag><Size>1</Size></Version><Version><Key>c</Key><VersionId>v10</VersionId><LastModified>2025-01-03T10:00:06Z</LastModified>
<ETag>e</ETag><Size>1</Size></Version><DeleteMarker><Key>b</Key><VersionId>v9</VersionId><IsLatest>true</IsLatest><LastModified>2025-01-03T10:00:06Z</LastModified></DeleteMarker>
<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListVersionsResult>"#;
        let mut raw = Raw::of(xml::parse("list", text).unwrap());
        put_in_order(&mut raw.entries);
        assert!(raw.encoded && raw.truncated);
        assert_eq!((raw.next_key.as_deref(), raw.next_version.as_deref()), (Some("b%2Fc"), Some("v1")));
        let seen: Vec<_> =
            raw.entries.iter().map(|(entry, removed)| (entry.id.as_deref().unwrap(), *removed)).collect();
        assert_eq!(seen, [("v3", true), ("v2", false), ("v9", true), ("v8", false), ("v10", false)]);
        assert_eq!((raw.entries[1].0.size, raw.prefixes.as_slice()), (5, &["d/".to_owned()][..]));
        let status = |text| xml::parse::<xml::VersioningConfiguration>("", text).unwrap().status;
        assert_eq!(status("<VersioningConfiguration/>"), None);
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        assert_eq!(status(on).as_deref(), Some("Enabled"));
    }
}
