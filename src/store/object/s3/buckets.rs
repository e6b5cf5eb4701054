//! ListBuckets: what `s3://` alone shows.

use std::time::SystemTime;

use http::Method;

use super::session::Session;
use super::xml;
use crate::error::{Error, ErrorKind, Result};

/// Pages of buckets that are asked for at most: a service that never ends is not followed.
const PAGES_MAX: usize = 1000;

/// The buckets of whoever asks, and when each was made. Of a session whose address names no bucket.
///
/// # Errors
/// `Denied`; `Invalid` for a session that is about one bucket.
pub async fn buckets(session: &Session) -> Result<Vec<(String, SystemTime)>> {
    if !session.bucket().is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "the list of buckets is of a service, not of a bucket"));
    }
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let mut request = session.request("ListBuckets", Method::GET, "").about("s3://");
        if let Some(token) = &token {
            request = request.query("continuation-token", token);
        }
        let what = request.to_string();
        let text = session.send(request).await?.text().await?;
        let page: xml::ListAllMyBucketsResult = xml::parse(&what, &text)?;
        found.extend(page.buckets.list.into_iter().map(|entry| (entry.name, xml::time(&entry.created))));
        token = page.next.filter(|next| !next.is_empty());
        if token.is_none() {
            break;
        }
    }
    Ok(found)
}
