//! ListObjectsV2.

use std::sync::atomic::{AtomicU8, Ordering};

use http::Method;
use percent_encoding::percent_decode_str;

use super::session::Session;
use super::{headers, xml};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Listing, Object, Page};
use crate::store::object::client::Request;

impl Session {
    pub(super) async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        let mut request = self.listing("ListObjectsV2", listing).query("list-type", "2");
        if let Some(token) = listing.token {
            request = request.query("continuation-token", token);
        } else if let Some(after) = listing.after {
            request = request.query("start-after", after);
        }
        if self.is_amazon() {
            request = request.header("x-amz-optional-object-attributes", "RestoreStatus")?;
        }
        let what = request.to_string();
        let text = self.send(request).await?.text().await?;
        let found: xml::ListBucketResult = xml::parse(&what, &text)?;
        self.page(&what, found).await
    }

    /// The request for a listing, but for where it begins. What stands in queries is sorted for the signature anyway.
    pub(super) fn listing(&self, operation: &'static str, listing: &Listing<'_>) -> Request {
        let mut request = self
            .request(operation, Method::GET, "")
            .about(self.subject(listing.prefix))
            .query("encoding-type", "url")
            .query("max-keys", listing.most.clamp(1, 1000).to_string());
        if !listing.prefix.is_empty() {
            request = request.query("prefix", listing.prefix);
        }
        if let Some(delimiter) = listing.delimiter {
            request = request.query("delimiter", delimiter);
        }
        request
    }

    async fn page(&self, what: &str, found: xml::ListBucketResult) -> Result<Page> {
        let next = found.next.filter(|token| found.truncated && !token.is_empty());
        if found.truncated && next.is_none() {
            return Err(Error::new(ErrorKind::Io, format!("{what}: the server does not say where to go on")));
        }
        let encoded = found.encoding.as_deref() == Some("url");
        let mut objects = Vec::with_capacity(found.contents.len());
        for entry in found.contents {
            let key = if encoded { self.plain(what, &entry.key).await? } else { entry.key };
            let away = entry.class.as_deref().is_some_and(headers::is_archive);
            objects.push(Object {
                key,
                size: entry.size,
                modified: xml::time(&entry.modified),
                version: headers::version(&entry.etag),
                headers: None,
                class: entry.class,
                archived: away && entry.restored.is_none_or(|restored| restored.running),
            });
        }
        let mut prefixes = Vec::with_capacity(found.prefixes.len());
        for entry in found.prefixes {
            prefixes.push(if encoded { self.plain(what, &entry.prefix).await? } else { entry.prefix });
        }
        Ok(Page { objects, prefixes, next })
    }

    /// A key of a listing, decoded.
    ///
    /// Amazon writes a space as `+`; some servers leave `+` as it is. The first key that has one is asked for both ways.
    pub(super) async fn plain(&self, what: &str, encoded: &str) -> Result<String> {
        if !encoded.contains('+') {
            return decode(what, encoded, false);
        }
        let as_space = decode(what, encoded, true)?;
        let known = Plus::of(self.plus().load(Ordering::Relaxed));
        let plus = match known {
            Plus::Unknown => {
                let literal = decode(what, encoded, false)?;
                let found = if self.exists(&as_space).await? {
                    Plus::Space
                } else if self.exists(&literal).await? {
                    Plus::Literal
                } else {
                    Plus::Unknown
                };
                self.plus().store(found as u8, Ordering::Relaxed);
                found
            }
            known => known,
        };
        if plus == Plus::Literal { decode(what, encoded, false) } else { Ok(as_space) }
    }

    /// Whether there is a key, or one below it where it is a common prefix.
    async fn exists(&self, key: &str) -> Result<bool> {
        let request = self
            .request("ListObjectsV2", Method::GET, "")
            .about(self.subject(key))
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("max-keys", "1")
            .query("prefix", key);
        let what = request.to_string();
        let text = self.send(request).await?.text().await?;
        Ok(!xml::parse::<xml::ListBucketResult>(&what, &text)?.contents.is_empty())
    }
}

/// What `+` stands for in this server's listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Plus {
    Unknown,
    Space,
    Literal,
}

impl Plus {
    fn of(byte: u8) -> Plus {
        match byte {
            1 => Plus::Space,
            2 => Plus::Literal,
            _ => Plus::Unknown,
        }
    }

    /// What is known at first.
    pub(super) fn unknown() -> AtomicU8 {
        AtomicU8::new(Plus::Unknown as u8)
    }
}

fn decode(what: &str, encoded: &str, plus_is_space: bool) -> Result<String> {
    let spaced;
    let text = if plus_is_space {
        spaced = encoded.replace('+', " ");
        &spaced
    } else {
        encoded
    };
    let plain = percent_decode_str(text).decode_utf8();
    let plain =
        plain.map_err(|_| Error::new(ErrorKind::Io, format!("{what}: a key that is not UTF-8: {text:?}")))?;
    Ok(plain.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded() {
        assert_eq!(decode("", "a%2Fb+c%25", true).unwrap(), "a/b c%");
        assert_eq!(decode("", "a%2Fb+c%25", false).unwrap(), "a/b+c%");
        assert_eq!(decode("", "%C3%BC/../%09", true).unwrap(), "ü/../\t");
        assert!(decode("", "%FF", true).is_err());
    }
}
