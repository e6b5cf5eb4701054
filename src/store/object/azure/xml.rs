//! The answers of Azure in XML.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// A page of List Blobs.
#[derive(Debug, Deserialize)]
pub(super) struct EnumerationResults {
    #[serde(rename = "Blobs", default)]
    pub(super) blobs: Blobs,
    #[serde(rename = "NextMarker", default)]
    pub(super) next: Option<String>,
}

/// Blobs and prefixes, as they follow each other.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Blobs {
    #[serde(rename = "$value", default)]
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
pub(super) enum Entry {
    Blob(Box<Blob>),
    BlobPrefix(BlobPrefix),
}

#[derive(Debug, Deserialize)]
pub(super) struct BlobPrefix {
    #[serde(rename = "Name")]
    pub(super) name: Name,
}

#[derive(Debug, Deserialize)]
pub(super) struct Blob {
    #[serde(rename = "Name")]
    pub(super) name: Name,
    #[serde(rename = "Properties")]
    pub(super) properties: Properties,
    #[serde(rename = "Metadata", default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A name, percent-encoded where XML cannot hold it.
#[derive(Debug, Deserialize)]
pub(super) struct Name {
    #[serde(rename = "@Encoded", default)]
    encoded: bool,
    #[serde(rename = "$text", default)]
    text: String,
}

impl Name {
    /// # Errors
    /// `Io`: it is not UTF-8.
    pub(super) fn decoded(&self, what: &str) -> Result<String> {
        if !self.encoded {
            return Ok(self.text.clone());
        }
        let plain = percent_decode_str(&self.text).decode_utf8();
        plain.map(|plain| plain.into_owned()).map_err(|_| {
            Error::new(ErrorKind::Io, format!("{what}: a name that is not UTF-8: {:?}", self.text))
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Properties {
    #[serde(rename = "Last-Modified", default)]
    pub(super) modified: String,
    #[serde(rename = "Etag", default)]
    pub(super) etag: String,
    #[serde(rename = "Content-Length", default)]
    pub(super) size: u64,
    #[serde(rename = "Content-Type", default)]
    pub(super) content_type: Option<String>,
    #[serde(rename = "Content-Encoding", default)]
    pub(super) content_encoding: Option<String>,
    #[serde(rename = "Content-Language", default)]
    pub(super) content_language: Option<String>,
    #[serde(rename = "Cache-Control", default)]
    pub(super) cache_control: Option<String>,
    #[serde(rename = "Content-Disposition", default)]
    pub(super) content_disposition: Option<String>,
    #[serde(rename = "AccessTier", default)]
    pub(super) tier: Option<String>,
    #[serde(rename = "AccessTierInferred", default)]
    pub(super) tier_inferred: bool,
}

/// Reads an answer.
///
/// # Errors
/// `Io`: it is not what Azure answers.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    quick_xml::de::from_str(&with_blank_names(text.trim_start_matches('\u{feff}')))
        .map_err(|e| Error::new(ErrorKind::Io, format!("{what}: the answer is not what Azure answers: {e}")))
}

/// The same answer with names that are blanks alone as the service writes what XML cannot hold: the parser takes text of
/// blanks for none.
fn with_blank_names(text: &str) -> Cow<'_, str> {
    const NAME: [&str; 2] = ["<Name>", "</Name>"];
    let is_blank = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_whitespace());
    let mut pieces = text.split(NAME[0]);
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    let mut any = false;
    for piece in pieces {
        match piece.split_once(NAME[1]).filter(|(name, _)| is_blank(name)) {
            Some((name, rest)) => {
                any = true;
                let encoded = percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
                changed.push_str(&format!("<Name Encoded=\"true\">{encoded}{}{rest}", NAME[1]));
            }
            None => changed.extend([NAME[0], piece]),
        }
    }
    if any { Cow::Owned(changed) } else { Cow::Borrowed(text) }
}

/// A time of HTTP; the epoch where it is none.
pub(super) fn time(text: &str) -> SystemTime {
    httpdate::parse_http_date(text.trim()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The list of blocks that make a blob.
pub(super) fn block_list<'b>(blocks: impl Iterator<Item = &'b str>) -> String {
    let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for block in blocks {
        // Base64 has nothing to escape.
        list.push_str("<Latest>");
        list.push_str(block);
        list.push_str("</Latest>");
    }
    list.push_str("</BlockList>");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\" \
            ContainerName=\"c\"><Delimiter>/</Delimiter><Blobs><Blob><Name> a\tb &amp; </Name><Properties>\
            <Last-Modified>Fri, 03 Jan 2025 10:00:00 GMT</Last-Modified><Etag>0x8D</Etag><Content-Length>5</Content-Length>\
            <Content-Type>text/plain</Content-Type><Content-Encoding /><BlobType>BlockBlob</BlobType>\
            <AccessTier>Hot</AccessTier><AccessTierInferred>true</AccessTierInferred></Properties><Metadata><mtime>1.5</mtime>\
            <empty /></Metadata><OrMetadata /></Blob><BlobPrefix><Name Encoded=\"true\">d%01/</Name></BlobPrefix><Blob>\
            <Name>e</Name><Properties><Content-Length>0</Content-Length></Properties><Metadata /></Blob></Blobs>\
            <NextMarker>2!8!x</NextMarker></EnumerationResults>";
        let page: EnumerationResults = parse("list", text).unwrap();
        assert_eq!(page.next.as_deref(), Some("2!8!x"));
        let [Entry::Blob(first), Entry::BlobPrefix(prefix), Entry::Blob(last)] = &page.blobs.entries[..]
        else {
            panic!("{:?}", page.blobs)
        };
        assert_eq!(first.name.decoded("").unwrap(), " a\tb & ");
        assert_eq!((first.metadata["mtime"].as_str(), first.metadata["empty"].as_str()), ("1.5", ""));
        assert_eq!((first.properties.size, first.properties.tier_inferred), (5, true));
        assert_eq!(prefix.name.decoded("").unwrap(), "d\u{1}/");
        assert!(last.metadata.is_empty());
        let blank = "<EnumerationResults><Blobs><BlobPrefix><Name>a</Name></BlobPrefix><Blob><Name>  </Name><Properties>\
            </Properties></Blob></Blobs></EnumerationResults>";
        let blank: EnumerationResults = parse("list", blank).unwrap();
        let [Entry::BlobPrefix(_), Entry::Blob(blob)] = &blank.blobs.entries[..] else {
            panic!("{:?}", blank.blobs)
        };
        assert_eq!(blob.name.decoded("").unwrap(), "  ");
        let none = "<EnumerationResults><Blobs/><NextMarker/></EnumerationResults>";
        let none: EnumerationResults = parse("list", none).unwrap();
        assert!(none.blobs.entries.is_empty() && none.next.is_none_or(|next| next.is_empty()));
    }
}
