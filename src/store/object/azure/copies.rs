//! Copies. Azure copies within an account by itself, and answers before it has ended where that takes long; what the copy
//! is to have besides bytes is set afterwards where it is not what the source has.

use std::time::Duration;

use http::{Method, StatusCode};

use super::headers;
use super::objects::{conditional, is_gone, made};
use super::session::Session;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Condition, Copy, Headers, Object};
use crate::store::object::client::{Failure, Response};

/// The longest wait before a copy is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Session {
    pub(super) async fn copy(&self, copy: &Copy<'_>) -> Result<Object> {
        match copy.headers {
            Some(headers) if copy.from == copy.to => self.set_headers(copy, headers).await,
            Some(headers) => {
                let source = self.head(copy.from).await?.ok_or_else(|| missing(copy))?;
                let copied = self.copy_bytes(copy, Some(headers)).await?;
                let own = source.headers.unwrap_or_default();
                self.finish(copied, &own, headers).await
            }
            None => self.copy_bytes(copy, None).await,
        }
    }

    /// Copies a blob; `given` is its metadata where there is any, since none at all means the source's.
    async fn copy_bytes(&self, copy: &Copy<'_>, given: Option<&Headers>) -> Result<Object> {
        let mut request = self
            .request("CopyBlob", Method::PUT, copy.to)?
            .header("x-ms-copy-source", &self.address(copy.from))?;
        if let Some(version) = copy.source_version {
            request = request.header("x-ms-source-if-match", &format!("\"{version}\""))?;
        }
        if let Some(headers) = given {
            request = headers::write_metadata(request, headers)?;
            if let Some(tier) = headers.http.get(headers::TIER).filter(|tier| *tier != "Archive") {
                request = request.header(headers::TIER, tier)?;
            }
        }
        let request = headers::on_condition(request, &copy.condition)?;
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| refused(failure, copy))?;
        match response.header("x-ms-copy-status") {
            Some("pending") => self.wait_for_copy(&what, copy.to, &response).await,
            _ => self.head(copy.to).await?.ok_or_else(|| {
                Error::new(ErrorKind::Stale, format!("{what}: somebody removed the copy at once"))
            }),
        }
    }

    /// Looks at a copy until it has ended, as long as it gets on within the deadline.
    async fn wait_for_copy(&self, what: &str, key: &str, begun: &Response) -> Result<Object> {
        let id = begun.header("x-ms-copy-id").unwrap_or_default().to_owned();
        let timeout = self.client().timeout();
        let mut deadline = Deadline::after(timeout);
        let mut progress = String::new();
        let mut wait = Duration::from_millis(50);
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LOOK_AGAIN);
            let response = self.send(self.request("GetBlobProperties", Method::HEAD, key)?).await?;
            let status = response.header("x-ms-copy-status").unwrap_or("success");
            if response.header("x-ms-copy-id").is_some_and(|now| now != id) {
                return Err(Error::new(ErrorKind::Stale, format!("{what}: somebody else copied over it")));
            }
            match status {
                "success" => return headers::object(what, key, &response.headers),
                "pending" => {}
                _ => {
                    let why =
                        response.header("x-ms-copy-status-description").unwrap_or("it does not say why");
                    return Err(Error::new(ErrorKind::Io, format!("{what}: {status}: {why}")));
                }
            }
            let now = response.header("x-ms-copy-progress").unwrap_or_default();
            if now != progress {
                now.clone_into(&mut progress);
                deadline = Deadline::after(timeout);
            }
            if deadline.passed() {
                self.give_up_copy(key, &id).await;
                let sentence = format!("{what}: the service copied nothing for as long as --timeout");
                return Err(Error::new(ErrorKind::TimedOut, sentence));
            }
        }
    }

    async fn give_up_copy(&self, key: &str, id: &str) {
        let request = self.request("AbortCopyBlob", Method::PUT, key).and_then(|request| {
            request.query("comp", "copy").query("copyid", id).header("x-ms-copy-action", "abort")
        });
        if let Ok(request) = request
            && let Err(failure) = self.send(request).await
        {
            tracing::warn!("a copy that takes too long goes on: {failure}");
        }
    }

    /// Sets what a fresh copy has from its source and is not to have.
    async fn finish(&self, copied: Object, own: &Headers, wanted: &Headers) -> Result<Object> {
        let mut object = copied;
        let version = |object: &Object| Condition::Version(object.version.clone());
        if differs_in_content(own, wanted) {
            object = self.set_content(&object.key, object.size, wanted, &version(&object)).await?;
        }
        if wanted.metadata.is_empty() && !own.metadata.is_empty() {
            object = self.set_metadata(&object.key, object.size, wanted, &version(&object)).await?;
        }
        object.headers = Some(wanted.clone());
        Ok(object)
    }

    /// A copy onto itself: nothing but headers is changed, and no byte is copied.
    async fn set_headers(&self, copy: &Copy<'_>, wanted: &Headers) -> Result<Object> {
        let found = self.head(copy.from).await?.ok_or_else(|| missing(copy))?;
        let own = found.headers.clone().unwrap_or_default();
        if copy.condition == Condition::Absent {
            return Err(ErrorKind::Exists.into());
        }
        let named = match (&copy.condition, copy.source_version) {
            (Condition::Version(version), _) => Some(version.as_str()),
            (_, version) => version,
        };
        if named.is_some_and(|version| version != found.version) {
            return Err(ErrorKind::Stale.into());
        }
        // Also without a version that was named: what was read is what is changed.
        let mut condition = Condition::Version(found.version.clone());
        if differs_in_content(&own, wanted) {
            let changed = self.set_content(copy.to, found.size, wanted, &condition).await?;
            condition = Condition::Version(changed.version);
        }
        self.set_metadata(copy.to, found.size, wanted, &condition).await
    }

    async fn set_content(
        &self,
        key: &str,
        size: u64,
        wanted: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let request = self.request("SetBlobProperties", Method::PUT, key)?.query("comp", "properties");
        let request = headers::on_condition(headers::write_content(request, wanted)?, condition)?;
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        made(&what, key, size, wanted, &response)
    }

    async fn set_metadata(
        &self,
        key: &str,
        size: u64,
        wanted: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let request = self.request("SetBlobMetadata", Method::PUT, key)?.query("comp", "metadata");
        let request = headers::on_condition(headers::write_metadata(request, wanted)?, condition)?;
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        made(&what, key, size, wanted, &response)
    }
}

fn differs_in_content(own: &Headers, wanted: &Headers) -> bool {
    own.content_type != wanted.content_type
        || headers::KEPT.iter().any(|name| own.http.get(*name) != wanted.http.get(*name))
}

fn missing(copy: &Copy<'_>) -> Error {
    let kind = if copy.source_version.is_some() { ErrorKind::Stale } else { ErrorKind::NotFound };
    Error::new(kind, format!("there is no {:?} to copy", copy.from))
}

/// What a refusal of a copy means: Azure says which of the two it is about.
fn refused(failure: Failure, copy: &Copy<'_>) -> Error {
    let about_source = matches!(failure.code(), "SourceConditionNotMet" | "CannotVerifyCopySource");
    let absent = is_gone(&failure) || failure.code() == "CannotVerifyCopySource";
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
    let kind = match copy.source_version {
        Some(_) if about_source && (failed || absent) => ErrorKind::Stale,
        Some(_) if absent && copy.condition == Condition::Always => ErrorKind::Stale,
        // One code is for both: with no condition on the target it is the source's.
        Some(_) if failed && copy.condition == Condition::Always => ErrorKind::Stale,
        None if failure.status() == Some(StatusCode::NOT_FOUND) && absent => ErrorKind::NotFound,
        _ => return conditional(failure, &copy.condition),
    };
    Error::new(kind, Error::from(failure).to_string())
}
