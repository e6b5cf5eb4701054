//! What every service's answer to a read is held against.

use std::ops::Range;

use futures::StreamExt;
use futures::stream;
use http::StatusCode;

use super::bucket::{Fetched, Object};
use super::client::Response;
use crate::error::{Error, ErrorKind, Result};

/// No bytes of an object, which no request can ask for: it is `found`, or it is not.
///
/// # Errors
/// As for [`super::bucket::Bucket::get`].
pub(super) fn nothing(found: Option<Object>, version: Option<&str>) -> Result<Fetched> {
    match (found.map(|object| object.version), version) {
        (Some(found), Some(version)) if found != version => Err(ErrorKind::Stale.into()),
        (Some(found), _) => Ok(Fetched { version: found, bytes: stream::empty().boxed() }),
        (None, Some(_)) => Err(ErrorKind::Stale.into()),
        (None, None) => Err(ErrorKind::NotFound.into()),
    }
}

/// The bytes of the answer to `what`, which is of the version `found`: those of `range`, and of `version` where one was
/// named.
///
/// # Errors
/// `Stale`; `Io` from a server that knows no ranges.
pub(super) fn fetched(
    what: &str,
    response: Response,
    range: Range<u64>,
    found: String,
    version: Option<&str>,
) -> Result<Fetched> {
    if version.is_some_and(|version| version != found) {
        return Err(Error::new(ErrorKind::Stale, format!("{what}: it has another version now")));
    }
    // An answer without a range may be what was asked for all the same.
    let length = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
    let is_whole = range.start == 0 && length.is_some_and(|length| length <= range.end);
    if response.status != StatusCode::PARTIAL_CONTENT && !is_whole {
        return Err(Error::new(ErrorKind::Io, format!("{what}: the server does not know ranges")));
    }
    Ok(Fetched { version: found, bytes: response.stream() })
}
