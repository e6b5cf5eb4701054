//! Listings, with metadata; of the current generations alone, or of all.

use http::Method;

use super::resource::{self, FIELDS, Resource, Resources};
use super::session::Session;
use crate::error::Result;
use crate::store::object::bucket::{Listing, Page};
use crate::store::object::versioned::Versions;

/// What the service gives at most.
const PAGE_MAX: u32 = 1000;

impl Session {
    pub(super) async fn list(&self, listing: &Listing<'_>) -> Result<Page> {
        let found = self.page(listing, false).await?;
        let objects = found.items.into_iter().map(Resource::object).collect::<Result<_>>()?;
        Ok(Page { objects, prefixes: found.prefixes, next: found.next_page_token })
    }

    pub(super) async fn list_versions(&self, listing: &Listing<'_>) -> Result<Versions> {
        let found = self.page(listing, true).await?;
        let versions = found.items.into_iter().map(Resource::version).collect::<Result<_>>()?;
        Ok(Versions { versions, prefixes: found.prefixes, next: found.next_page_token })
    }

    async fn page(&self, listing: &Listing<'_>, versions: bool) -> Result<Resources> {
        let mut request = self
            .request("ListObjects", Method::GET, "", "")
            .about(self.subject(listing.prefix))
            .query("maxResults", listing.most.clamp(1, PAGE_MAX).to_string());
        let more = if versions { ",timeDeleted" } else { "" };
        request = request.query("fields", format!("items({FIELDS}{more}),prefixes,nextPageToken"));
        if versions {
            request = request.query("versions", "true");
        }
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
        let mut found: Resources = resource::parse(&what, &self.send(request).await?.text().await?)?;
        if let Some(after) = after {
            // The offset is where the service begins, that name included.
            found.items.retain(|item| item.name.as_str() > after);
            found.prefixes.retain(|prefix| prefix.as_str() > after);
        }
        found.next_page_token = found.next_page_token.filter(|token| !token.is_empty());
        Ok(found)
    }
}
