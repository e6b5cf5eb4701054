//! Listings: List Blobs, with metadata.

use http::Method;

use super::session::{Session, is_possible};
use super::{headers, xml};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Headers, Listing, Object, Page};

/// What the service gives at most.
const PAGE_MAX: u32 = 5000;

impl Session {
    pub(super) async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        // The service would list what has a slash there.
        if listing.prefix.contains('\\') {
            return Ok(Page::default());
        }
        let mut request = self
            .request("ListBlobs", Method::GET, "")?
            .about(self.subject(listing.prefix))
            .query("restype", "container")
            .query("comp", "list")
            .query("include", "metadata")
            .query("maxresults", listing.most.clamp(1, PAGE_MAX).to_string());
        if !listing.prefix.is_empty() {
            request = request.query("prefix", listing.prefix);
        }
        if let Some(delimiter) = listing.delimiter {
            request = request.query("delimiter", delimiter);
        }
        if let Some(token) = listing.token {
            request = request.query("marker", token);
        }
        let what = request.to_string();
        let text = self.send(request).await?.text().await?;
        let found: xml::EnumerationResults = xml::parse(&what, &text)?;
        let mut page = Page { next: found.next.filter(|next| !next.is_empty()), ..Page::default() };
        for entry in found.blobs.entries {
            match entry {
                xml::Entry::BlobPrefix(prefix) => {
                    page.prefixes.push(ending(prefix.name.decoded(&what)?, listing.delimiter)?);
                }
                xml::Entry::Blob(blob) => page.objects.push(object(blob.name.decoded(&what)?, *blob)),
            }
        }
        let entries = page.objects.len() + page.prefixes.len();
        page.objects.retain(|object| is_possible(&object.key));
        page.prefixes.retain(|prefix| is_possible(prefix));
        let left_out = entries - page.objects.len() - page.prefixes.len();
        if left_out > 0 {
            tracing::warn!(
                "{what}: {left_out} names end with a dot, which Azure itself has none of: left out"
            );
        }
        page.objects.sort_by(|one, other| one.key.cmp(&other.key));
        page.prefixes.sort();
        Ok(page)
    }
}

/// A common prefix, which ends with the delimiter: some servers cut names in the middle of a long one.
fn ending(prefix: String, delimiter: Option<&str>) -> Result<String> {
    match delimiter {
        Some(delimiter) if !prefix.ends_with(delimiter) => {
            let sentence = format!(
                "the server tells of names that begin with {prefix:?}, which does not end with {delimiter:?}: it takes \
                 separators of one character only (--separator)"
            );
            Err(Error::new(ErrorKind::Unsupported, sentence))
        }
        _ => Ok(prefix),
    }
}

fn object(key: String, blob: xml::Blob) -> Object {
    let properties = blob.properties;
    let mut carried = Headers { content_type: properties.content_type, ..Headers::default() };
    let content = [
        ("cache-control", properties.cache_control),
        ("content-disposition", properties.content_disposition),
        ("content-encoding", properties.content_encoding),
        ("content-language", properties.content_language),
    ];
    for (name, value) in content {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            carried.http.insert(name.to_owned(), value);
        }
    }
    if let Some(tier) = &properties.tier
        && !properties.tier_inferred
    {
        carried.http.insert(headers::TIER.to_owned(), tier.clone());
    }
    carried.metadata = blob.metadata.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    Object {
        key,
        size: properties.size,
        modified: xml::time(&properties.modified),
        version: headers::version(&properties.etag),
        headers: Some(carried),
        archived: headers::is_archived(properties.tier.as_deref()),
        class: properties.tier,
    }
}
