//! Listings, with metadata.

use http::Method;

use super::resource::{self, FIELDS, Resource, Resources};
use super::session::Session;
use crate::error::Result;
use crate::store::object::bucket::{Listing, Page};

/// What the service gives at most.
const PAGE_MAX: u32 = 1000;

impl Session {
    pub(super) async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        let mut request = self
            .request("ListObjects", Method::GET, "", "")
            .about(self.subject(listing.prefix))
            .query("maxResults", listing.most.clamp(1, PAGE_MAX).to_string())
            .query("fields", format!("items({FIELDS}),prefixes,nextPageToken"));
        if !listing.prefix.is_empty() {
            request = request.query("prefix", listing.prefix);
        }
        if let Some(delimiter) = listing.delimiter {
            request = request.query("delimiter", delimiter);
        }
        if let Some(token) = listing.token {
            request = request.query("pageToken", token);
        }
        let after = listing.after.filter(|_| listing.token.is_none());
        if let Some(after) = after {
            request = request.query("startOffset", after);
        }
        let what = request.to_string();
        let found: Resources = resource::parse(&what, &self.send(request).await?.text().await?)?;
        // The offset is where the service begins, that name included.
        let is_after = |name: &str| after.is_none_or(|after| name > after);
        let objects = found.items.into_iter().filter(|item| is_after(&item.name)).map(Resource::object);
        Ok(Page {
            objects: objects.collect::<Result<_>>()?,
            prefixes: found.prefixes.into_iter().filter(|prefix| is_after(prefix)).collect(),
            next: found.next_page_token.filter(|token| !token.is_empty()),
        })
    }
}
