//! Buckets as such: ListBuckets, which `s3://` alone shows, CreateBucket, DeleteBucket.

use std::time::SystemTime;

use http::Method;

use super::session::Session;
use super::settings::USUAL_REGION;
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

/// Makes the session's bucket, in its region.
///
/// # Errors
/// `Exists`: it has an owner already, who may be whoever asks; `Denied`; `Invalid`: the service wants another name.
pub async fn make_bucket(session: &Session) -> Result<()> {
    let mut request = session.request("CreateBucket", Method::PUT, "");
    let region = session.region();
    if region != USUAL_REGION {
        let region = xml::escape(&region);
        let body = format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
             </LocationConstraint></CreateBucketConfiguration>"
        );
        request = request.body(body.into());
    }
    match session.send(request).await {
        Ok(_) => Ok(()),
        Err(failure) if matches!(failure.code(), "BucketAlreadyExists" | "BucketAlreadyOwnedByYou") => {
            Err(Error::new(ErrorKind::Exists, failure.to_string()))
        }
        Err(failure) => Err(failure.into()),
    }
}

/// Removes the session's bucket.
///
/// # Errors
/// `NotEmpty`; `NotFound`; `Denied`.
pub async fn remove_bucket(session: &Session) -> Result<()> {
    match session.send(session.request("DeleteBucket", Method::DELETE, "")).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == "BucketNotEmpty" => {
            Err(Error::new(ErrorKind::NotEmpty, failure.to_string()))
        }
        Err(failure) => Err(failure.into()),
    }
}
