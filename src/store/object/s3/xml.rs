//! The answers of S3 in XML.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// A page of ListObjectsV2.
#[derive(Debug, Deserialize)]
pub(super) struct ListBucketResult {
    #[serde(rename = "EncodingType")]
    pub(super) encoding: Option<String>,
    #[serde(rename = "IsTruncated", default)]
    pub(super) truncated: bool,
    #[serde(rename = "NextContinuationToken")]
    pub(super) next: Option<String>,
    #[serde(rename = "Contents", default)]
    pub(super) contents: Vec<Contents>,
    #[serde(rename = "CommonPrefixes", default)]
    pub(super) prefixes: Vec<CommonPrefix>,
}

/// A key of a page, or a version of one.
#[derive(Debug, Deserialize)]
pub(super) struct Contents {
    #[serde(rename = "Key")]
    pub(super) key: String,
    #[serde(rename = "VersionId")]
    pub(super) id: Option<String>,
    /// Whether it is the current one of its key.
    #[serde(rename = "IsLatest", default)]
    pub(super) latest: bool,
    #[serde(rename = "LastModified")]
    pub(super) modified: String,
    #[serde(rename = "ETag", default)]
    pub(super) etag: String,
    #[serde(rename = "Size", default)]
    pub(super) size: u64,
    #[serde(rename = "StorageClass")]
    pub(super) class: Option<String>,
    #[serde(rename = "RestoreStatus")]
    pub(super) restored: Option<RestoreStatus>,
}

/// A page of ListObjectVersions: its elements in their order, which is what tells versions that came in one second apart.
#[derive(Debug, Deserialize)]
pub(super) struct ListVersionsResult {
    #[serde(rename = "$value", default)]
    pub(super) items: Vec<VersionsItem>,
}

/// An element of that.
#[derive(Debug, Deserialize)]
pub(super) enum VersionsItem {
    EncodingType(String),
    IsTruncated(bool),
    NextKeyMarker(String),
    NextVersionIdMarker(String),
    Version(Box<Contents>),
    /// That a key was removed: neither ETag nor size.
    DeleteMarker(Box<Contents>),
    CommonPrefixes(CommonPrefix),
    /// What the request said already.
    #[serde(other)]
    Other,
}

/// Whether a bucket keeps versions: `Enabled`, `Suspended`, or nothing where it never did.
#[derive(Debug, Deserialize)]
pub(super) struct VersioningConfiguration {
    #[serde(rename = "Status", default)]
    pub(super) status: Option<String>,
}

/// Whether an archived object is back for a time.
#[derive(Debug, Deserialize)]
pub(super) struct RestoreStatus {
    #[serde(rename = "IsRestoreInProgress", default)]
    pub(super) running: bool,
}

/// What keys have in common up to the delimiter.
#[derive(Debug, Deserialize)]
pub(super) struct CommonPrefix {
    #[serde(rename = "Prefix")]
    pub(super) prefix: String,
}

/// What CopyObject, UploadPartCopy and CompleteMultipartUpload answer.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "LastModified")]
    pub(super) modified: Option<String>,
}

/// What CreateMultipartUpload answers.
#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    #[serde(rename = "UploadId")]
    pub(super) upload: String,
}

/// What DeleteObjects answers, quietly.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteResult {
    #[serde(rename = "Error", default)]
    pub(super) errors: Vec<DeleteError>,
}

/// A key that was not removed.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteError {
    #[serde(rename = "Key", default)]
    pub(super) key: String,
    #[serde(rename = "Code", default)]
    pub(super) code: String,
    #[serde(rename = "Message", default)]
    pub(super) message: String,
}

/// What ListBuckets answers.
#[derive(Debug, Deserialize)]
pub(super) struct ListAllMyBucketsResult {
    #[serde(rename = "Buckets", default)]
    pub(super) buckets: Buckets,
    #[serde(rename = "ContinuationToken")]
    pub(super) next: Option<String>,
}

/// The list in that.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Buckets {
    #[serde(rename = "Bucket", default)]
    pub(super) list: Vec<BucketEntry>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(super) struct BucketEntry {
    #[serde(rename = "Name")]
    pub(super) name: String,
    #[serde(rename = "CreationDate", default)]
    pub(super) created: String,
}

/// Reads an answer.
///
/// # Errors
/// `Io`: it is not what S3 answers.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    quick_xml::de::from_str(text)
        .map_err(|e| Error::new(ErrorKind::Io, format!("{what}: the answer is not what S3 answers: {e}")))
}

/// Whether an answer with a status of success is an error all the same: S3 sends the status of long work before the end.
pub(super) fn is_error(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    if rest.starts_with("<?") {
        rest = rest.split_once("?>").map_or("", |(_, rest)| rest.trim_start());
    }
    rest.strip_prefix("<Error").is_some_and(|rest| rest.starts_with(['>', ' ', '/']))
}

/// The region in an error that says that another was signed for.
pub(super) fn region(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Regional {
        #[serde(rename = "Region")]
        region: Option<String>,
    }
    quick_xml::de::from_str::<Regional>(text).ok()?.region.filter(|region| !region.is_empty())
}

/// Which condition failed, in an error that says so.
pub(super) fn condition(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Conditional {
        #[serde(rename = "Condition")]
        condition: Option<String>,
    }
    quick_xml::de::from_str::<Conditional>(text).ok()?.condition
}

/// A time as in `2009-10-12T17:50:30.000Z`; the epoch where it is none. In whole seconds, as headers tell it: some
/// servers write parts of a second here, and a file's time would depend on who was asked.
pub(super) fn time(text: &str) -> SystemTime {
    let since = exact_time(text).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

/// The same with its parts of a second.
pub(super) fn exact_time(text: &str) -> SystemTime {
    humantime::parse_rfc3339_weak(text.trim()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A text as the content of an element.
pub(super) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix/><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t/1==</NextContinuationToken>
<Contents><Key>a%2Bb</Key><LastModified>2009-10-12T17:50:30.250Z</LastModified><ETag>&quot;e1&quot;</ETag><Size>5</Size>
<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>
<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes></ListBucketResult>"#;
        let page: ListBucketResult = parse("list", text).unwrap();
        assert_eq!((page.truncated, page.next.as_deref()), (true, Some("t/1==")));
        assert_eq!((page.contents[0].key.as_str(), page.contents[0].etag.as_str()), ("a%2Bb", "\"e1\""));
        assert!(page.contents[0].restored.as_ref().is_some_and(|restored| !restored.running));
        assert_eq!(page.prefixes[0].prefix, "d/");
        let time = time(&page.contents[0].modified).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!((time.as_secs(), time.subsec_millis()), (1_255_369_830, 0));
        let empty: ListBucketResult =
            parse("list", "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert!(empty.contents.is_empty());
        assert!(parse::<ListBucketResult>("list", "<html>").is_err());
    }

    #[test]
    fn errors_in_answers_of_success_are_seen() {
        assert!(is_error("<?xml version=\"1.0\"?>\n\n  <Error><Code>InternalError</Code></Error>"));
        assert!(!is_error("<CopyObjectResult><ETag>x</ETag></CopyObjectResult>"));
        let wrong = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert_eq!(region(wrong).as_deref(), Some("eu-west-1"));
        assert_eq!(region("nothing"), None);
    }

    #[test]
    fn the_buckets_are_read() {
        let text = "<ListAllMyBucketsResult><Owner><ID>1</ID></Owner><Buckets><Bucket><Name>b</Name>\
                    <CreationDate>2019-12-11T23:32:47+00:00</CreationDate></Bucket></Buckets></ListAllMyBucketsResult>";
        let found: ListAllMyBucketsResult = parse("buckets", text).unwrap();
        assert_eq!(found.buckets.list[0].name, "b");
        let none: ListAllMyBucketsResult =
            parse("buckets", "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>").unwrap();
        assert!(none.buckets.list.is_empty());
    }
}
